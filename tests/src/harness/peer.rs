//! Independent peers as child processes: PJSIP (driven by JSON lines), SIPp, baresip.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lab::pki::Identity;
use serde_json::{Value, json};

use super::sip::Msg;
use super::watchdog;
use super::wire::SOON;

/// `tests/peers`; cargo runs tests in the package's directory.
pub fn peers_dir() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| ".".into(), PathBuf::from);
    package.join("peers").canonicalize().expect("tests/peers")
}

/// The interpreter with the wheels. A missing peer is a failure, never a test that passes.
pub fn python() -> PathBuf {
    let path = peers_dir().join("../../target/peers/venv/bin/python");
    assert!(path.exists(), "{} is missing: run `make peers`", path.display());
    path
}

/// Three seconds of 8 kHz noise: as PCM in a WAV, and as G.711 µ-law bytes.
pub fn noise(dir: &Path) -> (PathBuf, PathBuf) {
    let (wav, ulaw) = (dir.join("noise.wav"), dir.join("noise.ulaw"));
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let samples = 24_000_u32;
    let mut out = Vec::new();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + samples * 2).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    for word in [16_u32, 0x0001_0001, 8_000, 16_000, 0x0010_0002] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&(samples * 2).to_le_bytes());
    for _ in 0..samples {
        let sample = i16::try_from(next() % 16_384).unwrap() - 8_192;
        out.extend_from_slice(&sample.to_le_bytes());
    }
    fs::write(&wav, out).unwrap();
    let bytes: Vec<u8> = (0..samples * 4).map(|_| next().to_be_bytes()[0]).collect();
    fs::write(&ulaw, bytes).unwrap();
    (wav, ulaw)
}

#[derive(Default)]
struct Events {
    waiting: Mutex<(VecDeque<Value>, Vec<String>)>,
    news: Condvar,
}

/// What a PJSIP client is.
pub struct PjsipSetup<'a> {
    pub name: &'a str,
    pub transport: &'a str,
    pub address: SocketAddr,
    pub id: &'a str,
    pub contact: Option<&'a str>,
    pub route: Option<&'a str>,
    pub dns: Option<IpAddr>,
    /// What it answers challenges with: "name:password".
    pub auth: Option<&'a str>,
    /// Where it registers, and for how many seconds.
    pub registrar: Option<(&'a str, u32)>,
    /// Client and server certificate, trusted roots; SDES becomes mandatory.
    pub tls: Option<(&'a Identity, &'a Path)>,
    pub answer: u16,
    /// Whether it requires 100rel of whoever calls it or is called.
    pub reliable: bool,
    /// How many calls it takes at a time, 1 or 2: "first" and "second" in its commands and events.
    pub calls: u8,
}

pub struct Pjsip {
    name: String,
    child: Child,
    stdin: ChildStdin,
    events: Arc<Events>,
    log: PathBuf,
    recorded: PathBuf,
}

impl Pjsip {
    pub fn start(dir: &Path, setup: &PjsipSetup<'_>) -> Self {
        let name = setup.name;
        let (wav, _) = noise(dir);
        let log = dir.join(format!("{name}.log"));
        let recorded = dir.join(format!("{name}.wav"));
        let mut command = Command::new(python());
        command
            .arg(peers_dir().join("pjsip_peer.py"))
            .args(["--transport", setup.transport, "--bind", &setup.address.ip().to_string()])
            .args(["--port", &setup.address.port().to_string(), "--id", setup.id])
            .args(["--answer", &setup.answer.to_string(), "--calls", &setup.calls.to_string()])
            .arg("--play")
            .arg(wav)
            .arg("--record")
            .arg(&recorded)
            .arg("--log")
            .arg(&log);
        if let Some(contact) = setup.contact {
            command.args(["--contact", contact]);
        }
        if let Some(route) = setup.route {
            command.args(["--route", route]);
        }
        if setup.reliable {
            command.arg("--reliable");
        }
        if let Some(dns) = setup.dns {
            command.args(["--dns", &dns.to_string()]);
        }
        if let Some(auth) = setup.auth {
            command.args(["--auth", auth]);
        }
        if let Some((registrar, expires)) = setup.registrar {
            command.args(["--registrar", registrar, "--expires", &expires.to_string()]);
        }
        if let Some((identity, ca)) = setup.tls {
            command.arg("--srtp").arg("--cert").arg(&identity.certificate);
            command.arg("--key").arg(&identity.key).arg("--ca").arg(ca);
        }
        let stderr = fs::File::create(dir.join(format!("{name}.err"))).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("python");
        watchdog::adopt(child.id());
        let events = Arc::new(Events::default());
        let (out, sink) = (child.stdout.take().expect("piped"), Arc::clone(&events));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let mut waiting = sink.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Ok(event) = serde_json::from_str::<Value>(&line) {
                    waiting.0.push_back(event);
                }
                waiting.1.push(line);
                drop(waiting);
                sink.news.notify_all();
            }
        });
        let stdin = child.stdin.take().expect("piped");
        let peer = Self { name: name.to_owned(), child, stdin, events, log, recorded };
        peer.wait(&json!({"event": "ready"}));
        peer
    }

    pub fn command(&mut self, command: &Value) {
        writeln!(self.stdin, "{command}").expect("PJSIP runs");
    }

    pub fn call(&mut self, uri: &str) {
        self.command(&json!({"do": "call", "uri": uri}));
    }

    pub fn hang_up(&mut self) {
        self.command(&json!({"do": "hangup"}));
    }

    /// Holds one of its calls. It may ask nothing else of that call before the other side has answered, which is waited for.
    pub fn hold(&mut self, call: &str, form: &str) {
        self.command(&json!({"do": "hold", "on": call, "form": form}));
        self.media_of(call, "local hold");
    }

    /// Takes the hold back, or offers the same again, and waits for the answer.
    pub fn resume(&mut self, call: &str) {
        self.command(&json!({"do": "resume", "on": call}));
        self.media_of(call, "active");
    }

    /// The next event that has these members; earlier ones are dropped.
    pub fn wait(&self, like: &Value) -> Value {
        self.wait_all([like]).remove(0)
    }

    /// The next event like each of these, in any order; others are dropped.
    pub fn wait_all<const N: usize>(&self, like: [&Value; N]) -> Vec<Value> {
        let end = Instant::now() + SOON;
        let mut found: [Option<Value>; N] = [const { None }; N];
        let mut waiting = self.events.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(event) = waiting.0.pop_front() {
                let fits = |like: &Value| {
                    let wanted = like.as_object().expect("an object");
                    wanted.iter().all(|(key, value)| event.get(key) == Some(value))
                };
                let place = (0..N).find(|n| found[*n].is_none() && fits(like[*n]));
                if let Some(place) = place {
                    found[place] = Some(event);
                }
                if found.iter().all(Option::is_some) {
                    return found.into_iter().flatten().collect();
                }
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                panic!("PJSIP {}: no {like:?}; said:\n{}", self.name, waiting.1.join("\n"));
            };
            waiting = self
                .events
                .news
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub fn state(&self, state: &str) -> Value {
        self.wait(&json!({"event": "state", "state": state}))
    }

    pub fn media(&self, status: &str) {
        self.media_of("first", status);
    }

    /// What the media of one of its calls have become.
    pub fn media_of(&self, call: &str, status: &str) {
        self.wait(&json!({"event": "media", "on": call, "status": status}));
    }

    /// A state of one of its calls.
    pub fn state_of(&self, call: &str, state: &str) -> Value {
        self.wait(&json!({"event": "state", "on": call, "state": state}))
    }

    /// Figures of the present stream.
    pub fn stats(&mut self) -> Value {
        self.stats_of("first")
    }

    /// Figures of the present stream of one of its calls.
    pub fn stats_of(&mut self, call: &str) -> Value {
        self.command(&json!({"do": "stats", "on": call}));
        self.wait(&json!({"event": "stats", "on": call}))
    }

    /// Packets received in the present stream.
    pub fn heard(&mut self) -> u64 {
        self.stats()["rx"].as_u64().expect("a number")
    }

    /// Waits until it has received that many packets in the present stream, none lost.
    pub fn hears(&mut self, count: u64) {
        self.hears_on("first", count, 0);
    }

    /// The same in one of its calls, where so many were missed before: another speaker counts its packets from elsewhere.
    pub fn hears_on(&mut self, call: &str, count: u64, missed: u64) {
        let end = Instant::now() + SOON;
        loop {
            let stats = self.stats_of(call);
            if stats["rx"].as_u64() >= Some(count) {
                assert_eq!(stats["lost"], missed, "PJSIP {}: {stats}", self.name);
                return;
            }
            assert!(Instant::now() < end, "PJSIP {} hears too little: {stats}", self.name);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it and returns every message it received (true) or sent, in order.
    pub fn finish(mut self) -> Vec<(bool, Msg)> {
        self.command(&json!({"do": "quit"}));
        self.wait(&json!({"event": "gone"}));
        let end = Instant::now() + SOON;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let recorded = fs::metadata(&self.recorded).map_or(0, |file| file.len());
        assert!(recorded > 1_000, "PJSIP {} recorded {recorded} bytes", self.name);
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned();
        let undecryptable: Vec<_> = log.lines().filter(|l| l.contains("to unprotect")).collect();
        assert!(undecryptable.is_empty(), "PJSIP {}: {undecryptable:#?}", self.name);
        self.messages()
    }

    /// From its log: `RX 1636 bytes Request msg ... from TLS ...:` to `--end msg--`.
    pub fn messages(&self) -> Vec<(bool, Msg)> {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut out = Vec::new();
        // What follows the last mark is being written.
        let complete = text.rfind("--end msg--").map_or("", |end| &text[..end]);
        for part in complete.split("--end msg--") {
            let Some((head, body)) = part
                .match_indices(" bytes Re")
                .last()
                .and_then(|(at, _)| Some((&part[..at], part[at..].split_once('\n')?.1)))
            else {
                continue;
            };
            let received = head.rfind("RX ") > head.rfind("TX ");
            let length: usize =
                head.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let body = body.as_bytes();
            assert!(body.len() >= length, "PJSIP's log is cut");
            let msg = Msg::read(&body[..length]).unwrap_or_else(|e| panic!("{e}: {part}"));
            out.push((received, msg));
        }
        out
    }
}

impl Drop for Pjsip {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        watchdog::forget(self.child.id());
        if thread::panicking() {
            let waiting = self.events.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!(
                "--- PJSIP {} said\n{}\n(log: {})",
                self.name,
                waiting.1.join("\n"),
                self.log.display()
            );
        }
    }
}

/// A SIPp scenario.
pub struct Sipp {
    child: Child,
    dir: PathBuf,
    name: String,
}

impl Sipp {
    /// `scenario`: file in tests/peers/sipp. `to`: whom to call, and the number.
    pub fn start(
        dir: &Path,
        scenario: &str,
        transport: &str,
        local: SocketAddr,
        call: Option<(SocketAddr, &str, &str)>,
    ) -> Self {
        let (_, ulaw) = noise(dir);
        let text = fs::read_to_string(peers_dir().join("sipp").join(scenario)).expect(scenario);
        let caller = call.map_or("", |(_, caller, _)| caller);
        let text =
            text.replace("[$stream]", &ulaw.display().to_string()).replace("[$caller]", caller);
        let name = format!("sipp-{}-{}", local.ip(), scenario.trim_end_matches(".xml"));
        let work = dir.join(&name);
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("scenario.xml"), text).unwrap();
        let ip = local.ip().to_string();
        let mut command = Command::new("sipp");
        if let Some((to, _, called)) = call {
            command.args([&to.to_string(), "-s", called]);
        }
        // Over UDP it would take for done what comes again, and this scenario waits for that.
        command.args((scenario == "uac_100rel.xml").then_some("-nr"));
        command
            .args(["-sf", "scenario.xml", "-i", &ip, "-mi", &ip, "-mp", "6000"])
            .args([
                "-p",
                &local.port().to_string(),
                "-t",
                if transport == "tcp" { "t1" } else { "u1" },
            ])
            .args(["-m", "1", "-d", "1500", "-timeout", "20s", "-timeout_error", "-nostdin"])
            .args([
                "-trace_err",
                "-error_file",
                "errors.log",
                "-trace_msg",
                "-message_file",
                "messages.log",
            ]);
        let child = command
            .current_dir(&work)
            .stdin(Stdio::null())
            .stdout(fs::File::create(work.join("out")).unwrap())
            .stderr(fs::File::create(work.join("err")).unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("sipp: {e}; run `make peers`"));
        watchdog::adopt(child.id());
        let sipp = Self { child, dir: work, name };
        if call.is_none() {
            sipp.wait_listening(transport, local);
        }
        sipp
    }

    /// Calls at a rate, without media: so many calls of so many milliseconds each. `more`: further options.
    pub fn load(
        dir: &Path,
        local: SocketAddr,
        (to, caller, called): (SocketAddr, &str, &str),
        (rate, count, hold): (u32, u32, u32),
        more: &[&str],
    ) -> Self {
        let text = fs::read_to_string(peers_dir().join("sipp").join("load.xml")).unwrap();
        let name = format!("sipp-{}-load", local.ip());
        let work = dir.join(&name);
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("scenario.xml"), text.replace("[$caller]", caller)).unwrap();
        let ip = local.ip().to_string();
        let numbers = [("-r", rate), ("-m", count), ("-d", hold), ("-p", local.port().into())];
        let child = Command::new("sipp")
            .args([&to.to_string(), "-s", called, "-sf", "scenario.xml", "-t", "u1", "-i", &ip])
            .args(numbers.iter().flat_map(|(key, n)| [(*key).to_owned(), n.to_string()]))
            .args(["-l", "10000", "-timeout", "120s", "-timeout_error", "-nostdin"])
            .args(more)
            .args(["-recv_timeout", "8000", "-trace_err", "-error_file", "errors.log"])
            .args(["-trace_stat", "-stf", "stat.csv", "-fd", "1"])
            .args(["-trace_msg", "-message_file", "messages.log"])
            .current_dir(&work)
            .stdin(Stdio::null())
            .stdout(fs::File::create(work.join("out")).unwrap())
            .stderr(fs::File::create(work.join("err")).unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("sipp: {e}; run `make peers`"));
        watchdog::adopt(child.id());
        Self { child, dir: work, name }
    }

    /// A cumulative figure of the statistics, once it has ended.
    pub fn figure(&self, column: &str) -> u64 {
        let text = fs::read_to_string(self.dir.join("stat.csv")).unwrap_or_default();
        let (mut lines, last) = (text.lines(), text.lines().last().unwrap_or_default());
        let names = lines.next().unwrap_or_default().split(';');
        let value = names.zip(last.split(';')).find(|(name, _)| *name == column);
        value.and_then(|(_, n)| n.parse().ok()).unwrap_or_else(|| panic!("no {column}: {text}"))
    }

    /// Waits for its end, whatever its calls came to.
    pub fn over(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "{} does not end", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_listening(&self, transport: &str, local: SocketAddr) {
        let IpAddr::V4(ip) = local.ip() else { panic!("IPv4") };
        let line = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), local.port());
        let table = if transport == "tcp" { "/proc/net/tcp" } else { "/proc/net/udp" };
        let end = Instant::now() + SOON;
        while !fs::read_to_string(table).unwrap_or_default().contains(&line) {
            assert!(Instant::now() < end, "{} does not listen", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end; every step of the scenario must have come to pass.
    pub fn finish(mut self) {
        self.done(Duration::from_secs(25));
    }

    /// The same, within that time; its figures can be read afterwards.
    pub fn done(&mut self, limit: Duration) {
        let status = self.over(limit);
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        assert!(
            status.success(),
            "{} {status}:\n{}\n{}",
            self.name,
            read("errors.log"),
            read("messages.log")
        );
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        watchdog::forget(self.child.id());
    }
}

/// baresip as a Teams end: its own TLS client, its own SRTP, and RTP that leaves from another
/// address than the signalled one.
pub struct Baresip {
    child: Child,
    trace: PathBuf,
    control: SocketAddr,
}

impl Baresip {
    /// TLS on port 5061 of `address`; answers every call.
    pub fn start(
        dir: &Path,
        address: IpAddr,
        dns: IpAddr,
        user: &str,
        identity: &Identity,
        ca: &Path,
    ) -> Self {
        let home = dir.join("baresip");
        fs::create_dir_all(&home).unwrap();
        let both = home.join("identity.pem");
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        fs::write(&both, read(&identity.certificate) + &read(&identity.key)).unwrap();
        let modules = ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("baresip's modules; run `make peers`");
        let (wav, _) = noise(dir);
        for file in ["config", "accounts"] {
            let text = read(&peers_dir().join("baresip").join(file))
                .replace("@ADDRESS@", &address.to_string())
                .replace("@CERTIFICATE@", &both.display().to_string())
                .replace("@CA@", &ca.display().to_string())
                .replace("@WAV@", &wav.display().to_string())
                .replace("@DNS@", &dns.to_string())
                .replace("@MODULES@", modules)
                .replace("@USER@", user);
            fs::write(home.join(file), text).unwrap();
        }
        let trace = dir.join("baresip.trace");
        let sink = fs::File::create(&trace).unwrap();
        let child = Command::new("baresip")
            .args(["-s", "-v", "-f"])
            .arg(&home)
            .stdin(Stdio::null())
            .stdout(sink.try_clone().unwrap())
            .stderr(sink)
            .spawn()
            .unwrap_or_else(|e| panic!("baresip: {e}; run `make peers`"));
        watchdog::adopt(child.id());
        let baresip = Self { child, trace, control: SocketAddr::new(address, 4444) };
        baresip.said("baresip is ready", 1);
        baresip
    }

    /// Waits until its trace has that text so many times.
    pub fn said(&self, text: &str, times: usize) {
        let end = Instant::now() + SOON;
        while self.trace().matches(text).count() < times {
            assert!(Instant::now() < end, "baresip: no {text:?}, {times} times");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.trace).unwrap_or_default()).into_owned()
    }

    /// Every message that it sent or received, in order.
    pub fn messages(&self) -> Vec<Msg> {
        let trace = self.trace();
        let parts = trace.split("\u{1b}[36;1m#").skip(1);
        parts
            .filter_map(|part| {
                let (_addresses, rest) = part.trim_start().split_once('\n')?;
                let text = rest.split("\u{1b}[;m").next()?;
                Msg::read(text.as_bytes()).ok()
            })
            .collect()
    }

    /// A command of its menu, such as `dial` or `hangup`.
    pub fn command(&self, command: &str, params: &str) {
        let text = json!({"command": command, "params": params, "token": command}).to_string();
        let mut stream = std::net::TcpStream::connect(self.control).expect("baresip's control");
        write!(stream, "{}:{text},", text.len()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = [0; 256];
        drop(std::io::Read::read(&mut stream, &mut answer));
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        watchdog::forget(self.child.id());
        if thread::panicking() {
            eprintln!("--- baresip said\n{}", self.trace());
        }
    }
}
