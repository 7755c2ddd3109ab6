//! openssl as a client, which can still do what it should not; and ClientHellos (RFC 5246 §7.4.1.2) by hand, for what even
//! openssl has forgotten.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::pki::Identity;

use super::dialog::token;
use super::place::{EDGE, PROXY};
use super::scene::{FQDN, Scene};
use super::wire::connect_from;

/// `openssl s_client` at the edge, from a proxy's address.
pub struct Client {
    child: Child,
    stdin: ChildStdin,
    said: std::path::PathBuf,
}

impl Client {
    pub fn start(scene: &Scene, identity: &Identity, arguments: &[&str]) -> Self {
        let said = scene.dir().join(token("openssl"));
        let file = File::create(&said).unwrap();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &scene.place.at(EDGE, 5061).to_string()])
            .args(["-servername", FQDN, "-bind", &format!("{}:0", scene.place.ip(PROXY)), "-cert"])
            .arg(&identity.certificate)
            .arg("-cert_chain")
            .arg(&identity.certificate)
            .arg("-key")
            .arg(&identity.key)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("openssl");
        let stdin = child.stdin.take().unwrap();
        Self { child, stdin, said }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        drop(self.stdin.write_all(bytes));
    }

    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).unwrap_or_default()).into_owned()
    }

    /// Waits until it has said that.
    pub fn says(&self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let said = self.said();
            if said.contains(text) {
                return said;
            }
            assert!(Instant::now() < end, "openssl: no {text:?} in {said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end: its status, or `None` if it goes on for ten seconds; and what it said.
    pub fn ends(mut self) -> (Option<ExitStatus>, String) {
        let end = Instant::now() + LIMIT;
        let status = loop {
            let status = self.child.try_wait().unwrap();
            if status.is_some() || Instant::now() > end {
                break status;
            }
            thread::sleep(Duration::from_millis(20));
        };
        (status, self.said())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const LIMIT: Duration = Duration::from_secs(10);

/// What a server says to a ClientHello.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// Level and description.
    Alert(u8, u8),
    /// The suite that it chose.
    Chosen(u16),
}

/// Offers these suites and nothing newer than that version (0x0303: TLS 1.2).
pub fn hello(scene: &Scene, version: u16, suites: &[u16]) -> Hello {
    let edge: SocketAddr = scene.place.at(EDGE, 5061);
    let mut stream = connect_from(scene.place.ip(PROXY), edge).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(&client_hello(version, suites)).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("a record");
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).expect("the whole record");
    match head[0] {
        21 => {
            let rest = stream.read_to_end(&mut Vec::new());
            let reset = |e: io::Error| e.kind() == io::ErrorKind::ConnectionReset;
            assert!(rest.map_or_else(reset, |length| length == 0), "it is closed after an alert");
            Hello::Alert(body[0], body[1])
        }
        22 => {
            // Type, length, version, random; the session's id; the suite.
            let at = 4 + 2 + 32 + 1 + usize::from(body[38]);
            Hello::Chosen(u16::from_be_bytes([body[at], body[at + 1]]))
        }
        other => panic!("record {other}: {body:02x?}"),
    }
}

fn client_hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let words = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let name = [&[0], &sized(FQDN.as_bytes())[..]].concat();
    let extensions = [
        // server_name; supported_groups: X25519, P-256, P-384; ec_point_formats: uncompressed.
        [&[0, 0], &sized(&sized(&name))[..]].concat(),
        [&[0, 10], &sized(&sized(&words(&[0x1d, 0x17, 0x18])))[..]].concat(),
        [&[0, 11], &sized(&[1, 0])[..]].concat(),
        // signature_algorithms: RSA-PSS, ECDSA and PKCS#1 with SHA-256, PKCS#1 and ECDSA with SHA-1.
        [&[0, 13], &sized(&sized(&words(&[0x0804, 0x0403, 0x0401, 0x0201, 0x0203])))[..]].concat(),
        // extended_master_secret; renegotiation_info.
        [&[0, 23], &sized(&[])[..]].concat(),
        [&[0xff, 1], &sized(&[0])[..]].concat(),
    ]
    .concat();
    let mut random = [0; 32];
    getrandom::fill(&mut random).unwrap();
    let body = [
        &version.to_be_bytes()[..],
        &random,
        &[0],
        &sized(&words(suites)),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    let message = [&[1, 0], &sized(&body)[..]].concat();
    [&[22, 3, 1], &sized(&message)[..]].concat()
}
