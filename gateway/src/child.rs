//! A gateway as a child process: this program, started again between the fakes of the lab.

use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

/// Why it could not be played with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the operating system refuses: {0}")]
    System(#[source] io::Error),
    #[error("the gateway did not get ready within {} s", READY.as_secs())]
    NotReady,
    #[error("the gateway ended by itself ({0})")]
    Ended(ExitStatus),
    #[error("the gateway did not stop within {} s", STOP.as_secs())]
    NotStopped,
}

/// A gateway between fakes. It does not outlive this.
pub(crate) struct Gateway {
    child: Child,
    ready: Option<oneshot::Receiver<()>>,
}

impl Gateway {
    /// Starts this program again as a gateway; its log goes to a file.
    pub(crate) fn start(config: &Path, log: &Path) -> Result<Self, ChildError> {
        let at_log = |source| ChildError::File { path: log.to_owned(), source };
        let stderr = File::create(log).map_err(at_log)?;
        let program = std::env::current_exe().map_err(ChildError::System)?;
        let mut child = Command::new(program)
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(ChildError::System)?;
        let stdout = child.stdout.take();
        let (tell, ready) = oneshot::channel();
        let gateway = Self { child, ready: Some(ready) };
        if let Some(stdout) = stdout {
            let listen = std::thread::Builder::new().name("stdout".into());
            listen.spawn(move || listen_for_ready(stdout, tell)).map_err(ChildError::System)?;
        }
        Ok(gateway)
    }

    /// Waits until every listener is open.
    pub(crate) async fn ready(&mut self) -> Result<(), ChildError> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        match tokio::time::timeout(READY, ready).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ChildError::Ended(self.ended().await?)),
            Err(_) => Err(ChildError::NotReady),
        }
    }

    /// Waits until it ends.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, ChildError> {
        loop {
            if let Some(status) = self.child.try_wait().map_err(ChildError::System)? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks it to stop, and waits until it has. A second signal cuts off calls that are left over.
    pub(crate) async fn stop(&mut self) -> Result<(), ChildError> {
        for _ in 0..2 {
            // It can only fail when the child has ended, which is seen below.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            match tokio::time::timeout(STOP, self.ended()).await {
                Ok(Ok(status)) if status.success() => return Ok(()),
                Ok(Ok(status)) => return Err(ChildError::Ended(status)),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {}
            }
        }
        Err(ChildError::NotStopped)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Most often it has ended already, and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the end, so that the gateway never finds its stdout closed or full.
fn listen_for_ready(stdout: ChildStdout, tell: oneshot::Sender<()>) {
    let mut tell = Some(tell);
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if line == "ready"
            && let Some(tell) = tell.take()
        {
            // Nobody listens any more when the wait was too long.
            let _ = tell.send(());
        }
    }
}

/// A directory for this run alone.
pub(crate) fn make_directory(what: &str) -> Result<PathBuf, ChildError> {
    let mut suffix = [0; 4];
    getrandom::fill(&mut suffix).map_err(|error| ChildError::System(error.into()))?;
    let name = format!("trunkgate-{what}-{:08x}", u32::from_le_bytes(suffix));
    let path = std::env::temp_dir().join(name);
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(ChildError::File { path, source }),
    }
}

/// Its log in such a directory.
pub(crate) fn log_file(directory: &Path) -> PathBuf {
    directory.join("gateway.log")
}

/// The last lines of that log.
pub(crate) fn end_of_log(directory: &Path) -> String {
    let log = std::fs::read_to_string(log_file(directory)).unwrap_or_default();
    tail(&log, TAIL).to_owned()
}

/// Whole lines of the end.
fn tail(text: &str, lines: usize) -> &str {
    let start = text.trim_end().rmatch_indices('\n').nth(lines - 1).map_or(0, |(at, _)| at + 1);
    &text[start..]
}

/// The gateway is ready within this time.
const READY: Duration = Duration::from_secs(10);
/// It stops within this time when no call goes on.
const STOP: Duration = Duration::from_secs(5);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of its log that are shown when something failed.
const TAIL: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_whole_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a\n", 2), "a\n");
        assert_eq!(tail("", 2), "");
    }
}
