//! Packets of one test's addresses, captured by dumpcap, judged by tshark and by libsrtp.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::media::{Crypto, Rtp};
use super::peer::{peers_dir, python};
use super::place::{Place, STRANGER};
use super::sip::Msg;
use super::watchdog;

pub struct Capture {
    child: Child,
    place: Place,
    pub path: PathBuf,
}

impl Capture {
    /// Runs when the first packet of its own has been seen.
    pub fn start(dir: &Path, place: Place) -> Self {
        let path = dir.join("capture.pcapng");
        // That of a former one: its marks are not ours.
        if let Err(error) = fs::remove_file(&path) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", path.display());
        }
        let child = Command::new("dumpcap")
            .args(["-i", "lo", "-B", "16", "-f", &format!("net {}", place.net()), "-w"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("dumpcap: {e}; run tests/peers/install"));
        watchdog::adopt(child.id());
        let capture = Self { child, place, path };
        capture.mark("capture begins");
        capture
    }

    /// Sends a packet with that text until it stands in the file.
    fn mark(&self, text: &str) {
        let socket = UdpSocket::bind(self.place.at(STRANGER, 0)).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while !fs::read(&self.path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        {
            assert!(Instant::now() < end, "dumpcap sees no packet on lo; run tests/peers/install");
            drop(socket.send_to(text.as_bytes(), self.place.at(STRANGER, 9)));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends when all packets so far are in the file.
    pub fn stop(mut self) -> PathBuf {
        self.mark("capture ends");
        watchdog::signal(self.child.id(), Signal::INT);
        drop(self.child.wait());
        watchdog::forget(self.child.id());
        self.path.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        watchdog::forget(self.child.id());
    }
}

/// tshark on a capture: nothing malformed; says how many messages it took for SIP.
pub fn dissected(pcap: &Path) -> usize {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(pcap)
        .args(["-d", "udp.port==5060,sip", "-d", "tcp.port==5060,sip"])
        .args(["-T", "fields", "-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.col.Info"])
        .output()
        .unwrap_or_else(|e| panic!("tshark: {e}; run tests/peers/install"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let bad: Vec<_> = text
        .lines()
        .filter(|line| line.contains("_ws.malformed") || line.contains("Malformed"))
        .collect();
    assert!(bad.is_empty(), "tshark on {}: {}", pcap.display(), bad.join("\n"));
    text.lines().filter(|line| line.contains(":sip")).count()
}

/// Every stream of datagrams with more than fifty: from where, to where, and the longest time between two.
pub fn silences(pcap: &Path) -> Vec<(SocketAddr, SocketAddr, Duration)> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(pcap).args(["-Y", "udp && !icmp", "-T", "fields"]);
    for field in ["frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport"] {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap_or_else(|e| panic!("tshark: {e}"));
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let mut streams: BTreeMap<(SocketAddr, SocketAddr), Vec<f64>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [time, from, from_port, to, to_port] = fields[..] else { continue };
        let address = |ip: &str, port: &str| format!("{ip}:{port}").parse().ok();
        let (Some(from), Some(to)) = (address(from, from_port), address(to, to_port)) else {
            continue;
        };
        streams.entry((from, to)).or_default().push(time.parse().expect("seconds"));
    }
    let longest = |times: &[f64]| times.windows(2).map(|t| t[1] - t[0]).fold(0.0, f64::max);
    streams
        .into_iter()
        .filter(|(_, times)| times.len() > 50)
        .map(|((from, to), times)| (from, to, Duration::from_secs_f64(longest(&times))))
        .collect()
}

/// The messages of an encrypted leg, written down as if they had gone over UDP, for tshark.
pub fn as_pcap(path: &Path, messages: &[Msg]) {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 228] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for (number, msg) in messages.iter().enumerate() {
        let udp = 8 + msg.raw.len();
        let total = 20 + udp;
        let number = u32::try_from(number).unwrap();
        for word in [number, 0, u32::try_from(total).unwrap(), u32::try_from(total).unwrap()] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let total = u16::try_from(total).expect("below 64 KiB").to_be_bytes();
        out.extend_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0]);
        out.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 2]);
        let udp = u16::try_from(udp).expect("below 64 KiB").to_be_bytes();
        out.extend_from_slice(&[0x13, 0xc4, 0x13, 0xc4, udp[0], udp[1], 0, 0]);
        out.extend_from_slice(&msg.raw);
    }
    fs::write(path, out).unwrap();
}

/// One direction of a call: SRTP packets that must carry what the plain packets carry.
pub struct Pairing {
    /// `None`: a peer that sends from elsewhere than it said.
    pub secure_from: Option<SocketAddr>,
    pub secure_to: Option<SocketAddr>,
    pub crypto: Crypto,
    pub plain_from: SocketAddr,
    pub plain_to: SocketAddr,
    /// The gateway writes the secure packets (true) or the plain ones.
    pub sealed_here: bool,
    /// Offers and answers of the call, each of which may cost the packets that cross it; its first one counts.
    pub exchanges: usize,
}

/// What libsrtp found of one direction.
#[derive(Debug)]
pub struct Compared {
    /// Packets that came out of the gateway, each equal to one that went into it.
    pub equal: u64,
    /// Packets that did not.
    pub lost: u64,
    /// SRTCP packets, all of which decrypted.
    pub reports: u64,
}

/// Compares by libsrtp, each direction.
pub fn verify_media(pcap: &Path, pairings: &[Pairing]) -> Vec<Compared> {
    compare_media(pcap, pairings).unwrap_or_else(|why| panic!("verify_media: {why}"))
}

/// The same; `Err` says what is not equal.
pub fn compare_media(pcap: &Path, pairings: &[Pairing]) -> Result<Vec<Compared>, String> {
    let end = |end: Option<SocketAddr>| end.map_or("*".to_owned(), |end| end.to_string());
    let wanted: Vec<Value> = pairings
        .iter()
        .map(|p| {
            json!({
                "secure": [end(p.secure_from), end(p.secure_to)],
                "plain": [p.plain_from.to_string(), p.plain_to.to_string()],
                "suite": p.crypto.suite, "key": p.crypto.key, "sealed_here": p.sealed_here,
                "exchanges": p.exchanges,
            })
        })
        .collect();
    let result = read("verify_media.py", pcap, wanted)?;
    let compared = |each: &Value| {
        let [equal, lost, reports] = ["equal", "lost", "reports"].map(|key| each[key].as_u64());
        Some(Compared { equal: equal?, lost: lost?, reports: reports? })
    };
    Ok(result.iter().map(|each| compared(each).expect("three numbers")).collect())
}

/// The RTP that one address was sent by another, in order, decrypted by libsrtp where it is encrypted; there every report
/// between the two has to decrypt as well.
pub fn heard_on_the_wire(
    pcap: &Path,
    from: SocketAddr,
    to: SocketAddr,
    crypto: Option<&Crypto>,
) -> Vec<Rtp> {
    let mut wanted = json!({"ends": [from.to_string(), to.to_string()]});
    if let Some(Crypto { suite, key, .. }) = crypto {
        wanted["suite"] = suite.clone().into();
        wanted["key"] = key.clone().into();
    }
    let found = read("open_media.py", pcap, vec![wanted])
        .unwrap_or_else(|why| panic!("from {from} to {to}: {why}"));
    let packet = |fields: &Value| {
        let number = |at: usize| fields[at].as_u64().expect("a number");
        let text = fields[4].as_str().expect("hexadecimal").as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        Rtp {
            payload_type: number(0) as u8,
            // It is not asked for.
            marker: false,
            sequence: number(1) as u16,
            timestamp: number(2) as u32,
            ssrc: number(3) as u32,
            payload: text.chunks(2).map(|pair| byte(pair).unwrap()).collect(),
        }
    };
    found[0].as_array().expect("packets").iter().map(packet).collect()
}

/// What a script says of a capture.
fn read(script: &str, pcap: &Path, wanted: Vec<Value>) -> Result<Vec<Value>, String> {
    let output = Command::new(python())
        .arg(peers_dir().join(script))
        .arg(pcap)
        .arg(Value::from(wanted).to_string())
        .output()
        .expect("python");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
}
