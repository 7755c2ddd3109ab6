//! Kamailio (and what runs beside it) as a child: started on a configuration, ended with this.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::pki::{Leaf, Pki};
use rustix::process::Signal;

use super::place::{CARRIER_A, CARRIER_B, CARRIER_SIDE};
use super::scene::Scene;
use super::watchdog;

const REGISTRAR: &str = include_str!("../../peers/kamailio/registrar.cfg");
const TLS: &str = include_str!("../../../benches/kamailio/tls.cfg");

/// Programs, ended with this, the last one first. What they said is told when the test fails.
#[derive(Default)]
pub struct Programs(Vec<(Child, PathBuf)>);

impl Programs {
    pub fn run<'a>(&mut self, name: &str, words: impl Iterator<Item = &'a String>, dir: &Path) {
        let path = dir.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path).unwrap();
        let mut command = Command::new(program(name));
        command.args(words).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|why| panic!("{name}: {why}"));
        watchdog::adopt(child.id());
        self.0.push((child, path));
    }

    /// Runs rtpengine with these words until it answers there: Kamailio does without one that is not there when it starts.
    pub fn rtpengine<'a>(
        &mut self,
        words: impl Iterator<Item = &'a String>,
        ng: SocketAddr,
        dir: &Path,
    ) {
        self.run("rtpengine", words, dir);
        let socket = UdpSocket::bind((ng.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (end, mut heard) = (Instant::now() + START, [0; 256]);
        loop {
            // Refused as long as nobody is there.
            let _ = socket.send_to(b"1 d7:command4:pinge", ng);
            match socket.recv(&mut heard) {
                Ok(length) if heard[..length].ends_with(b"4:ponge") => return,
                Ok(_) | Err(_) => {}
            }
            let said = || fs::read_to_string(dir.join("rtpengine.log")).unwrap_or_default();
            assert!(Instant::now() < end, "rtpengine does not answer:\n{}", said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs Kamailio on this configuration until it listens there.
    pub fn kamailio(&mut self, config: &str, at: SocketAddr, dir: &Path) {
        let path = dir.join("kamailio.cfg");
        fs::write(&path, config).unwrap();
        let [config, dir_too] = [&path, &dir.to_owned()].map(|it| it.display().to_string());
        let words =
            ["-DD", "-E", "-m", "128", "-M", "8", "-f", &config, "-Y", &dir_too, "-w", &dir_too];
        let words = words.map(str::to_owned);
        self.run("kamailio", words.iter(), dir);
        listening(at, &dir.join("kamailio.log"));
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for (child, log) in self.0.iter_mut().rev() {
            if thread::panicking() {
                // Uncaptured: a run that is cut short shows it, too.
                let said = fs::read(&*log).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                let lines: Vec<&str> = said.lines().collect();
                let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
                let _ = writeln!(io::stderr(), "{}:\n{last}", log.display());
            }
            watchdog::signal(child.id(), Signal::TERM);
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
            drop((child.kill(), child.wait()));
            watchdog::forget(child.id());
        }
    }
}

/// The settings of its TLS, with a certificate for these names.
pub fn tls_settings(pki: &Pki, names: &[String], dir: &Path) -> PathBuf {
    let own = pki.issue("kamailio", &Leaf::new(names.to_vec())).unwrap();
    let text = TLS
        .replace("@KEY@", &own.key.to_string_lossy())
        .replace("@CERTIFICATE@", &own.certificate.to_string_lossy())
        .replace("@ROOTS@", &pki.roots_path().to_string_lossy());
    let path = dir.join("tls.cfg");
    fs::write(&path, text).unwrap();
    path
}

/// Kamailio at `CARRIER_A` as a carrier that wants passwords: who registers is line1; behind it a phone at `CARRIER_B`.
pub struct Registrar<'a> {
    pub realm: &'a str,
    pub word: &'a str,
    pub algorithm: &'a str,
    /// The longest registration, and the age at which a nonce is stale, in seconds.
    pub expires: u32,
    pub nonce: u32,
}

/// The name that its certificate is for.
pub const REGISTRAR_NAME: &str = "carrier.test";

impl Registrar<'_> {
    pub fn start(&self, scene: &Scene) -> Programs {
        let (place, dir) = (scene.place, scene.dir());
        let tls = tls_settings(&scene.pki, &[REGISTRAR_NAME.to_owned()], dir);
        let here = place.at(CARRIER_A, 5060);
        let config = REGISTRAR
            .replace("@HERE@", &here.to_string())
            .replace("@HERE_TLS@", &place.at(CARRIER_A, 5061).to_string())
            .replace("@TLS@", &tls.to_string_lossy())
            .replace("@GATEWAY@", &place.ip(CARRIER_SIDE).to_string())
            .replace("@PHONE@", &place.at(CARRIER_B, 5060).to_string())
            .replace("@REALM@", self.realm)
            .replace("@WORD@", self.word)
            .replace("@ALGORITHM@", self.algorithm)
            .replace("@EXPIRES@", &self.expires.to_string())
            .replace("@NONCE@", &self.nonce.to_string());
        let mut programs = Programs::default();
        programs.kamailio(&config, here, dir);
        programs
    }
}

fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin"].map(|dir| Path::new(dir).join(name));
    let found = found.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: run `make peers`"))
}

fn listening(at: SocketAddr, log: &Path) {
    let end = Instant::now() + START;
    while TcpStream::connect(at).is_err() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < end, "kamailio does not listen:\n{}", said());
        thread::sleep(Duration::from_millis(50));
    }
}

/// As much is shown of what a peer said.
const LINES: usize = 100;
/// Programs that were installed a moment ago are read from the disk first.
const START: Duration = Duration::from_secs(30);
