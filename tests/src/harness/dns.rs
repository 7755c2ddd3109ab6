//! A name server for peers that look up our names: A records only, everything else has no data.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub struct NameServer {
    stop: Arc<AtomicBool>,
}

impl NameServer {
    /// `names`: host name, or `*.suffix`, to address.
    pub fn start(address: SocketAddr, names: HashMap<String, IpAddr>) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|e| {
            panic!("name server on {address}: {e} (tests/peers/install lets users bind it)")
        });
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let mut query = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = answer(&query[..length], &names) {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { stop }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// RFC 1035 §4: header, the question as it came, at most one A record.
fn answer(query: &[u8], names: &HashMap<String, IpAddr>) -> Option<Vec<u8>> {
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
    let known = names.get(&name).or_else(|| names.get(&wild));
    let address = match known {
        Some(IpAddr::V4(address)) if kind == 1 => Some(address.octets()),
        Some(_) | None => None,
    };
    let code = if known.is_some() { 0 } else { 3 };
    let mut out = vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0];
    out[7] = u8::from(address.is_some());
    out.extend_from_slice(question);
    if let Some(address) = address {
        out.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend_from_slice(&address);
    }
    Some(out)
}
