//! The binary under test: started on a configuration, watched, ended by its id.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::watchdog;

/// The binary: `TRUNKGATE_BIN`, or the one beside this test in the target directory.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TRUNKGATE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a path of this test");
    let profile = test.ancestors().nth(2).expect("<target>/<profile>/deps/<test>");
    let path = profile.join("trunkgate");
    assert!(
        path.exists(),
        "{} is missing: cargo build --profile ci -p gateway, or set TRUNKGATE_BIN",
        path.display()
    );
    path
}

/// The library that makes a process's clock run faster (Debian's libfaketime).
fn faketime() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib").expect("/usr/lib").map_while(Result::ok);
    let path = libraries
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    path.unwrap_or_else(|| panic!("libfaketime is missing: run `make peers`"))
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    news: Condvar,
}

impl Output {
    fn keep(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                output.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                output.news.notify_all();
            }
        });
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn wait(&self, limit: Duration, fits: impl Fn(&str) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lines.iter().any(|line| fits(line)) {
                return true;
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else { return false };
            lines = self.news.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

pub struct Gateway {
    child: Child,
    ended: Option<ExitStatus>,
    out: Arc<Output>,
    err: Arc<Output>,
    state: PathBuf,
    admin: SocketAddr,
    pub started: Instant,
}

impl Gateway {
    /// Starts it and waits until every listener is open.
    pub fn start(config: &Path, state: PathBuf, admin: SocketAddr) -> Self {
        Self::begin(config, state, admin, false, 1)
    }

    /// The same; its clock runs so many times as fast as ours.
    pub fn start_faster(config: &Path, state: PathBuf, admin: SocketAddr, times: u32) -> Self {
        Self::begin(config, state, admin, false, times)
    }

    /// Takes over from the one that runs.
    pub fn upgrade(config: &Path, state: PathBuf, admin: SocketAddr) -> Self {
        Self::begin(config, state, admin, true, 1)
    }

    fn begin(config: &Path, state: PathBuf, admin: SocketAddr, upgrade: bool, times: u32) -> Self {
        let mut gateway = Self::launch_faster(config, state, admin, upgrade, times);
        if !gateway.out.wait(Duration::from_secs(10), |line| line == "ready") {
            let text = fs::read_to_string(config).unwrap_or_default();
            let ended = gateway.child.try_wait().ok().flatten();
            panic!("no \"ready\" ({ended:?}):\n{}\nwith\n{text}", gateway.err.text());
        }
        gateway.started = Instant::now();
        gateway
    }

    /// Starts it and does not wait.
    pub fn launch(config: &Path, state: PathBuf, admin: SocketAddr, upgrade: bool) -> Self {
        Self::launch_faster(config, state, admin, upgrade, 1)
    }

    fn launch_faster(
        config: &Path,
        state: PathBuf,
        admin: SocketAddr,
        upgrade: bool,
        times: u32,
    ) -> Self {
        let mut command = Command::new(binary());
        if times > 1 {
            command.env("LD_PRELOAD", faketime()).env("FAKETIME", format!("+0 x{times}"));
        }
        let mut child = command
            .args(["run", "--config"])
            .arg(config)
            .args(upgrade.then_some("--upgrade"))
            // The allocator gives unused pages back at once instead of within 10 s: what is resident is what is used.
            .env("_RJEM_MALLOC_CONF", "dirty_decay_ms:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        watchdog::adopt(child.id());
        let (out, err) = (Arc::new(Output::default()), Arc::new(Output::default()));
        out.keep(child.stdout.take().expect("piped"));
        err.keep(child.stderr.take().expect("piped"));
        Self { child, ended: None, out, err, state, admin, started: Instant::now() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.err.text()
    }

    /// GET from the admin listener: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin listener");
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let status = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// A figure of `/metrics`, with its labels.
    pub fn figure(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// The same for a counter that appears with its first event: 0 until then.
    pub fn count(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        text.lines().find_map(value).unwrap_or(0.0)
    }

    /// Waits until calls can be made.
    pub fn healthy(&self) {
        self.until("healthy", || self.get("/health").0 == 200);
    }

    /// Waits for something that only this process shows.
    pub fn until(&self, what: &str, mut fits: impl FnMut() -> bool) {
        let end = Instant::now() + super::wire::SOON;
        while !fits() {
            assert!(Instant::now() < end, "not {what} in time:\n{}", self.err.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The call detail records so far.
    pub fn records(&self) -> Vec<Value> {
        let Ok(directory) = fs::read_dir(self.state.join("cdr")) else { return Vec::new() };
        let mut files: Vec<_> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        files
            .iter()
            .flat_map(|path| {
                fs::read_to_string(path)
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .map(|line| serde_json::from_str(&line).unwrap_or_else(|e| panic!("CDR {line:?}: {e}")))
            .collect()
    }

    /// Waits for that many records.
    pub fn wait_records(&self, count: usize) -> Vec<Value> {
        self.until(&format!("{count} CDRs"), || self.records().len() >= count);
        self.records()
    }

    pub fn cdr_dir(&self) -> PathBuf {
        self.state.join("cdr")
    }

    /// How long its first thread, which starts everything, was ready to run and had no CPU.
    pub fn starved(&self) -> Duration {
        let path = format!("/proc/{0}/task/{0}/schedstat", self.pid());
        let text = fs::read_to_string(path).unwrap_or_default();
        let nanoseconds = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        Duration::from_nanos(nanoseconds.expect("schedstat"))
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
            .expect("VmRSS")
    }

    pub fn is_running(&mut self) -> bool {
        self.ended.is_none() && matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        watchdog::signal(self.child.id(), signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                watchdog::forget(self.child.id());
                self.ended = Some(status);
                return status;
            }
            assert!(Instant::now() < end, "still running after {limit:?}:\n{}", self.err.text());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let alive = self.is_running();
        if alive {
            // A second SIGTERM stops at once.
            self.signal(Signal::TERM);
            thread::sleep(Duration::from_millis(5));
            self.signal(Signal::TERM);
            let end = Instant::now() + Duration::from_secs(5);
            while self.is_running() && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
            drop(self.child.kill());
            let status = self.child.wait().ok();
            watchdog::forget(self.child.id());
            self.ended = status;
        }
        let log = self.err.text();
        if thread::panicking() {
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the gateway's log\n{}", tail.join("\n"));
            return;
        }
        assert!(!log.contains("panicked at"), "a panic in the gateway:\n{log}");
        if let Some(signal) = self.ended.and_then(|status| status.signal()) {
            assert!(signal == 15 || signal == 9, "the gateway died of signal {signal}:\n{log}");
        }
        assert!(alive || self.ended.is_some(), "the gateway ended by itself:\n{log}");
    }
}
