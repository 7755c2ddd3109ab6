//! Calls at a rate: SIPp on both sides of the gateway, with its own plain scenarios.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::watchdog;

/// One SIPp.
pub struct Load {
    child: Child,
    dir: PathBuf,
}

/// Calls to make.
pub struct Calls<'a> {
    pub to: SocketAddr,
    pub number: &'a str,
    pub rate: u32,
    pub count: u32,
    pub hold: Duration,
}

impl Load {
    /// Answers every call.
    pub fn callee(dir: &Path, local: SocketAddr) -> Self {
        Self::start(dir, local, &["-sn", "uas"])
    }

    /// Makes calls; any that does not go through from INVITE to BYE is a failure.
    pub fn caller(dir: &Path, local: SocketAddr, calls: &Calls<'_>) -> Self {
        let Calls { to, number, rate, count, hold } = calls;
        let words =
            [to.to_string(), rate.to_string(), count.to_string(), hold.as_millis().to_string()];
        let [to, rate, count, hold] = words.each_ref().map(String::as_str);
        Self::start(
            dir,
            local,
            &["-sn", "uac", to, "-s", number, "-r", rate, "-m", count, "-d", hold],
        )
    }

    fn start(dir: &Path, local: SocketAddr, words: &[&str]) -> Self {
        let dir = dir.join(format!("load-{}", local.ip()));
        fs::create_dir_all(&dir).unwrap();
        let (ip, port) = (local.ip().to_string(), local.port().to_string());
        let child = Command::new("sipp")
            .args(words)
            .args(["-i", &ip, "-mi", &ip, "-p", &port, "-t", "u1", "-nostdin"])
            .args(["-trace_err", "-error_file", "errors.log"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("out")).unwrap())
            .stderr(fs::File::create(dir.join("err")).unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("sipp: {e}; run `make peers`"));
        watchdog::adopt(child.id());
        Self { child, dir }
    }

    /// Whether it still has calls to make.
    pub fn goes_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end: all calls succeeded.
    pub fn finish(mut self, limit: Duration) {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < end, "SIPp does not end");
            thread::sleep(Duration::from_millis(20));
        };
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let (out, errors) = (read("out"), read("errors.log"));
        let tail = |text: &str| text[text.len().saturating_sub(4000)..].to_owned();
        assert!(status.success(), "SIPp {status}:\n{}\n{}", tail(&out), tail(&errors));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        watchdog::forget(self.child.id());
    }
}
