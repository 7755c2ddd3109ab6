//! `trunkgate demo`: a real gateway as a child process between fake ends, calls in both directions,
//! and what came of them.

use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use lab::demo::{DemoError, Report, Scene};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::cli::{Demo, EXIT_FAILURE};
use crate::run::Signals;

/// Does it. The exit code.
pub fn command(options: &Demo) -> u8 {
    let directory = match make_directory() {
        Ok(directory) => directory,
        Err(failure) => return fail(&failure, None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = runtime
        .map_err(Failure::System)
        .and_then(|runtime| runtime.block_on(play(options, &directory)));
    if matches!(played, Ok(()) | Err(Failure::Interrupted)) {
        // What is left of it does no harm.
        let _ = std::fs::remove_dir_all(&directory);
    }
    match played {
        Ok(()) => 0,
        Err(Failure::Interrupted) => fail(&Failure::Interrupted, None),
        Err(failure) => fail(&failure, Some(&directory)),
    }
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Scene(#[from] DemoError),
    #[error("the operating system refuses: {0}")]
    System(#[source] io::Error),
    #[error("the gateway did not get ready within {} s", READY.as_secs())]
    NotReady,
    #[error("the gateway ended by itself ({0})")]
    Ended(ExitStatus),
    #[error("the gateway did not stop within {} s", STOP.as_secs())]
    NotStopped,
    #[error("not every call went well")]
    Calls,
    #[error("interrupted")]
    Interrupted,
}

async fn play(options: &Demo, directory: &Path) -> Result<(), Failure> {
    let started = lab::now();
    let progress = move |line: &str| {
        let seconds = started.elapsed().as_secs_f64();
        say(&format!("[{seconds:5.1} s] {line}\n"));
    };
    let mut signals = Signals::open().map_err(Failure::System)?;
    progress("making certificates and a configuration, starting the fakes");
    let scene = lab::demo::prepare(directory).await?;
    progress("starting the gateway");
    let mut gateway = Gateway::start(&scene.config, &log_file(directory))?;
    let report = tokio::select! {
        report = run(&mut gateway, &scene, &progress) => report?,
        _ = signals.next() => return Err(Failure::Interrupted),
    };
    say(&format!("\n{report}"));
    if options.keep {
        say(&format!("\n{}\n", scene.help()));
        tokio::select! {
            () = scene.keep(&progress) => {}
            _ = signals.next() => {}
            status = gateway.ended() => return Err(Failure::Ended(status?)),
        }
    }
    let stopped = gateway.stop().await;
    if report.is_ok() { stopped } else { Err(Failure::Calls) }
}

async fn run(
    gateway: &mut Gateway,
    scene: &Scene,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, Failure> {
    gateway.ready().await?;
    progress("the gateway is ready");
    tokio::select! {
        report = lab::demo::run(scene, progress) => Ok(report),
        status = gateway.ended() => Err(Failure::Ended(status?)),
    }
}

/// The gateway under show. It does not outlive this.
struct Gateway {
    child: Child,
    ready: Option<oneshot::Receiver<()>>,
}

impl Gateway {
    /// Starts this program again as a gateway; its log goes to a file.
    fn start(config: &Path, log: &Path) -> Result<Self, Failure> {
        let at_log = |source| Failure::Directory { path: log.to_owned(), source };
        let stderr = File::create(log).map_err(at_log)?;
        let program = std::env::current_exe().map_err(Failure::System)?;
        let mut child = Command::new(program)
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(Failure::System)?;
        let stdout = child.stdout.take();
        let (tell, ready) = oneshot::channel();
        let gateway = Self { child, ready: Some(ready) };
        if let Some(stdout) = stdout {
            let listen = std::thread::Builder::new().name("stdout".into());
            listen.spawn(move || listen_for_ready(stdout, tell)).map_err(Failure::System)?;
        }
        Ok(gateway)
    }

    /// Waits until every listener is open.
    async fn ready(&mut self) -> Result<(), Failure> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        match tokio::time::timeout(READY, ready).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::Ended(self.ended().await?)),
            Err(_) => Err(Failure::NotReady),
        }
    }

    /// Waits until it ends.
    async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        loop {
            if let Some(status) = self.child.try_wait().map_err(Failure::System)? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks it to stop, and waits until it has. A second signal cuts off calls that are left over.
    async fn stop(&mut self) -> Result<(), Failure> {
        for _ in 0..2 {
            // It can only fail when the child has ended, which is seen below.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            match tokio::time::timeout(STOP, self.ended()).await {
                Ok(Ok(status)) if status.success() => return Ok(()),
                Ok(Ok(status)) => return Err(Failure::Ended(status)),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {}
            }
        }
        Err(Failure::NotStopped)
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

fn make_directory() -> Result<PathBuf, Failure> {
    let mut suffix = [0; 4];
    getrandom::fill(&mut suffix).map_err(|error| Failure::System(error.into()))?;
    let name = format!("trunkgate-demo-{:08x}", u32::from_le_bytes(suffix));
    let path = std::env::temp_dir().join(name);
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(Failure::Directory { path, source }),
    }
}

/// Says what failed, with the end of the gateway's log. The exit code.
fn fail(failure: &Failure, directory: Option<&Path>) -> u8 {
    let mut text = format!("trunkgate demo: {failure}\n");
    if let Some(directory) = directory {
        let log = std::fs::read_to_string(log_file(directory)).unwrap_or_default();
        text.push_str(&format!("The end of the gateway's log:\n{}", tail(&log, TAIL)));
        text.push_str(&format!("Everything is left in {}\n", directory.display()));
    }
    // Whoever closed stderr does not want to read it.
    let _ = io::stderr().write_all(text.as_bytes());
    EXIT_FAILURE
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("gateway.log")
}

/// The last lines.
fn tail(text: &str, lines: usize) -> &str {
    let start = text.trim_end().rmatch_indices('\n').nth(lines - 1).map_or(0, |(at, _)| at + 1);
    &text[start..]
}

/// Whoever closed stdout does not want to read it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
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
