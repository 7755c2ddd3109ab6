//! A name server: A and SRV records of a fixed table, everything else has no data. It can be told to fail.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

pub struct NameServer {
    stop: Arc<AtomicBool>,
    mood: Arc<AtomicU8>,
}

/// How it takes questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Answers,
    Silent,
    /// SERVFAIL (RFC 1035 §4.1.1).
    Fails,
}

impl NameServer {
    /// `names`: host name, or `*.suffix`, to address.
    pub fn start(address: SocketAddr, names: HashMap<String, IpAddr>) -> Self {
        Self::with_services(address, names, HashMap::new())
    }

    /// `services`: SRV name to (priority, port, target).
    pub fn with_services(
        address: SocketAddr,
        names: HashMap<String, IpAddr>,
        services: HashMap<String, Vec<(u16, u16, String)>>,
    ) -> Self {
        Self::with(address, names, services, 60)
    }

    /// Its answers hold for a second.
    pub fn brief(address: SocketAddr, names: HashMap<String, IpAddr>) -> Self {
        Self::with(address, names, HashMap::new(), 1)
    }

    fn with(
        address: SocketAddr,
        names: HashMap<String, IpAddr>,
        services: HashMap<String, Vec<(u16, u16, String)>>,
        ttl: u8,
    ) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|e| {
            panic!("name server on {address}: {e} (tests/peers/install lets users bind it)")
        });
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mood = Arc::new(AtomicU8::new(Mood::Answers as u8));
        let feels = Arc::clone(&mood);
        thread::spawn(move || {
            let mut query = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let mood = feels.load(Ordering::Relaxed);
                if mood == Mood::Silent as u8 {
                    continue;
                }
                if let Some(mut answer) = answer(&query[..length], &names, &services, ttl) {
                    if mood == Mood::Fails as u8 {
                        answer.truncate(length);
                        answer[3] = 0x82;
                        answer[6..12].fill(0);
                    }
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { stop, mood }
    }

    pub fn is(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// RFC 1035 §4, RFC 2782: header, the question as it came, the records.
fn answer(
    query: &[u8],
    names: &HashMap<String, IpAddr>,
    services: &HashMap<String, Vec<(u16, u16, String)>>,
    ttl: u8,
) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let name = labels.join(".");
    let wild = format!("*.{}", labels.get(1..).unwrap_or_default().join("."));
    let address = names.get(&name).or_else(|| names.get(&wild));
    let mut records: Vec<Vec<u8>> = Vec::new();
    match (kind, address) {
        (A, Some(IpAddr::V4(address))) => records.push(address.octets().to_vec()),
        (SRV, _) => {
            for (priority, port, target) in services.get(&name).into_iter().flatten() {
                let mut data = Vec::new();
                for word in [*priority, 1, *port] {
                    data.extend_from_slice(&word.to_be_bytes());
                }
                for label in target.split('.') {
                    data.push(u8::try_from(label.len()).ok()?);
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                records.push(data);
            }
        }
        _ => {}
    }
    let known = address.is_some() || services.keys().any(|service| service.ends_with(&name));
    let code = if known { 0 } else { 3 };
    let mut out = vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0];
    out[7] = u8::try_from(records.len()).ok()?;
    out.extend_from_slice(question);
    for data in records {
        out.extend_from_slice(&[0xC0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, ttl]);
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

const A: u16 = 1;
const SRV: u16 = 33;
