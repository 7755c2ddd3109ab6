//! What every attack is seen against: a call that is up and has to stay so, and the gateway's figures.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::gateway::Gateway;
use super::place::CARRIER_A;
use super::scene::{Carrier, FQDN, Scene, Teams};
use super::talking::{CALLED, Talking};

pub struct Standing {
    pub gateway: Gateway,
    pub teams: Teams,
    pub carrier: Carrier,
    pub scene: Scene,
    pub call: Talking,
}

impl Standing {
    pub fn new(test: &str) -> Self {
        Self::within(test, Duration::from_secs(60))
    }

    /// A call between a UDP trunk and a tenant is up.
    pub fn within(test: &str, limit: Duration) -> Self {
        Self::beside(test, limit, |_| {})
    }

    /// The same where there is more than that trunk and that tenant.
    pub fn beside(test: &str, limit: Duration, prepare: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = Scene::within(test, limit);
        prepare(&mut scene);
        scene.trunk("carrier-a", "udp", CARRIER_A, "").tenant(
            "t001",
            &["carrier-a"],
            &["+15550010000-+15550010999"],
            "",
        );
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let mut call = Talking::incoming(&teams, &carrier, CALLED);
        call.talk();
        Self { gateway, teams, carrier, scene, call }
    }

    /// Waits until a figure has reached that.
    pub fn rises(&self, figure: &str, to: f64) {
        self.gateway.until(&format!("{figure} at {to}"), || self.gateway.count(figure) >= to);
    }

    /// Waits until the messages dropped for these causes together have reached that.
    pub fn rises_to_all(&self, causes: &[&str], to: f64) {
        let figure = |cause: &&str| {
            self.gateway.count(&format!("trunkgate_messages_dropped_total{{cause=\"{cause}\"}}"))
        };
        self.gateway.until("dropped", || causes.iter().map(figure).sum::<f64>() >= to);
    }

    /// The call is as before, OPTIONS are answered, and a new call goes through.
    pub fn untouched(self) {
        let Self { scene, carrier, teams, mut gateway, mut call } = self;
        assert!(gateway.is_running(), "{}", gateway.log());
        call.talk();
        let flow = teams.connect(FQDN);
        let ping = teams.ping(&flow, FQDN);
        teams.inbox.take("200", |r| r.msg.status() == 200 && r.msg.call_id() == ping);
        let mut another = Talking::incoming_from(&teams, &carrier, CALLED, 7900);
        another.talk();
        another.teams_hangs_up();
        call.carrier_hangs_up();
        drop((gateway, scene));
    }
}

/// A request outside dialogs.
pub fn options(method: &str, from: SocketAddr, agent: &str) -> String {
    format!(
        "{method} sip:100@gateway.test SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKs{};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@{from}>;tag=1\r\nTo: <sip:100@gateway.test>\r\n\
         Call-ID: {from}\r\nCSeq: 1 {method}\r\nContact: <sip:100@{from}>\r\nUser-Agent: {agent}\r\n\
         Content-Length: 0\r\n\r\n",
        from.port()
    )
}

/// A good INVITE, with that Call-ID and branch.
pub fn invite(from: SocketAddr, called: &str, id: &str) -> String {
    let ip = from.ip();
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9000 RTP/AVP 8\r\n\
         a=rtpmap:8 PCMA/8000\r\n"
    );
    format!(
        "INVITE sip:{called}@gateway.test SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+442071230000@{ip}>;tag={id}\r\nTo: <sip:{called}@gateway.test>\r\n\
         Call-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:{from}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// That connection ends in time, and not a byte comes on it.
pub fn refused_or_closed(stream: io::Result<TcpStream>, bytes: &[u8], limit: Duration) {
    let got = bytes_until_end(stream, bytes, limit);
    assert!(got.is_empty(), "{}", String::from_utf8_lossy(&got));
}

/// What comes on that connection until it ends, which it does in time.
pub fn bytes_until_end(stream: io::Result<TcpStream>, bytes: &[u8], limit: Duration) -> Vec<u8> {
    let Ok(mut stream) = stream else { return Vec::new() };
    let start = Instant::now();
    drop(stream.write_all(bytes));
    // A moment for a busy machine.
    stream.set_read_timeout(Some(limit + Duration::from_secs(3))).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("still open after {:?}", start.elapsed());
            }
            Err(_) => break,
        }
    }
    all
}
