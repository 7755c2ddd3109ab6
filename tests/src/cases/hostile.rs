//! Random bytes on every port: no panic, no growth, and afterwards calls as before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::harness::place::{ADMIN, CARRIER_A, CARRIER_SIDE, EDGE, PROXY, STRANGER};
use crate::harness::scene::{FQDN, Scene};
use crate::harness::talking::{CALLED, Talking};
use crate::harness::wire::connect_from;

/// Reproducible bytes.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// A message that is damaged in a few places, repeated, cut, or no message at all.
    fn message(&mut self, whole: &[u8]) -> Vec<u8> {
        match self.below(6) {
            0 => {
                let length = self.below(1_400);
                self.bytes(length)
            }
            1 => whole[..self.below(whole.len())].to_vec(),
            2 => [whole, whole].concat(),
            _ => {
                let mut text = whole.to_vec();
                for _ in 0..=self.below(8) {
                    let at = self.below(text.len());
                    match self.below(3) {
                        0 => text[at] = self.next().to_le_bytes()[0],
                        1 => drop(text.drain(at..(at + self.below(40)).min(text.len()))),
                        _ => {
                            let length = self.below(60);
                            let more = self.bytes(length);
                            text.splice(at..at, more);
                        }
                    }
                    if text.is_empty() {
                        break;
                    }
                }
                text
            }
        }
    }
}

fn invite(place_of_sender: SocketAddr, number: usize) -> Vec<u8> {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\n",
        place_of_sender.ip()
    );
    format!(
        "INVITE sip:{CALLED}@gateway.test SIP/2.0\r\nVia: SIP/2.0/UDP {place_of_sender};branch=z9hG4bKx{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+442071230000@{0}>;tag=x{number}\r\nTo: <sip:{CALLED}@gateway.test>\r\n\
         Call-ID: hostile-{number}\r\nCSeq: 1 OPTIONS\r\nContact: <sip:{place_of_sender}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {1}\r\n\r\n{body}",
        place_of_sender.ip(),
        body.len()
    )
    .into_bytes()
}

#[test]
fn random_bytes_on_every_port() {
    let mut scene = Scene::within("hostile", Duration::from_secs(120));
    scene.usual_ends();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let place = scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    // From a stranger, and from another port of the trunk itself.
    let sockets = [STRANGER, CARRIER_A].map(|host| UdpSocket::bind(place.at(host, 5099)).unwrap());
    let mut growth = Vec::new();
    for round in 0..6 {
        for number in 0..1_500 {
            let socket = &sockets[number % 2];
            let whole = invite(socket.local_addr().unwrap(), round * 10_000 + number);
            let bytes = dice.message(&whole);
            drop(socket.send_to(&bytes, sip));
        }
        for number in 0..60 {
            let host = [STRANGER, CARRIER_A][number % 2];
            if let Ok(mut stream) = connect_from(place.ip(host), sip) {
                let whole = invite(place.at(host, 5099), 70_000 + number);
                let bytes = dice.message(&whole);
                drop(stream.write_all(&bytes));
            }
        }
        tls_noise(&scene, &teams, &mut dice);
        media_noise(&scene, &call, &mut dice);
        admin_noise(place.at(ADMIN, 8080), &mut dice);
        assert!(gateway.is_running(), "{}", gateway.log());
        assert_eq!(gateway.get("/live").0, 200);
        growth.push(gateway.resident());
    }
    let (settled, last) = (growth[2], growth[5]);
    assert!(last < settled + 24 * 1024, "resident memory in KiB by round: {growth:?}");
    // Still there: the old call, OPTIONS on both sides, a new call.
    call.talk();
    call.carrier_hangs_up();
    let flow = teams.connect(FQDN);
    let ping = teams.ping(&flow, FQDN);
    teams.inbox.take("200", |r| r.msg.status() == 200 && r.msg.call_id() == ping);
    let mut call = Talking::incoming_from(&teams, &carrier, CALLED, 7050);
    call.talk();
    call.teams_hangs_up();
}

/// Bytes that are no TLS, half handshakes, and rubbish inside a good session.
fn tls_noise(scene: &Scene, teams: &crate::harness::scene::Teams, dice: &mut Dice) {
    let edge = scene.place.at(EDGE, 5061);
    for _ in 0..20 {
        if let Ok(mut stream) = connect_from(scene.place.ip(PROXY), edge) {
            let length = dice.below(3_000);
            let mut bytes = dice.bytes(length);
            if dice.below(2) == 0 {
                bytes.splice(0..0, [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
            }
            drop(stream.write_all(&bytes));
        }
    }
    for _ in 0..10 {
        let Ok(stream) = connect_from(scene.place.ip(PROXY), edge) else { continue };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let name = ServerName::try_from(FQDN).unwrap();
        let session = ClientConnection::new(Arc::clone(&teams.client), name).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let whole = invite(scene.place.at(PROXY, 5061), dice.below(1_000_000));
        let bytes = dice.message(&whole);
        drop(stream.write_all(&bytes));
        drop(stream.flush());
    }
}

/// To every media port in use, and to its neighbours, from strangers and from the peers.
fn media_noise(scene: &Scene, call: &Talking, dice: &mut Dice) {
    let sockets = [STRANGER, PROXY, CARRIER_A]
        .map(|host| UdpSocket::bind((scene.place.ip(host), 0)).unwrap());
    let ports = [call.described_to_teams().media(), call.carrier_media.remote.unwrap()];
    for number in 0..1_000 {
        let length = dice.below(400);
        let mut bytes = dice.bytes(length);
        if number % 3 != 0 && !bytes.is_empty() {
            bytes[0] = 0x80;
        }
        for port in ports {
            let to = SocketAddr::new(port.ip(), port.port() + u16::try_from(number % 4).unwrap());
            drop(sockets[number % 3].send_to(&bytes, to));
        }
    }
    // The very sockets of the peers, too: an authenticated source that has gone mad. Version bits
    // other than 2, so that a plain leg has nothing to relay.
    for _ in 0..200 {
        let length = 1 + dice.below(200);
        let mut bytes = dice.bytes(length);
        bytes[0] &= 0x3f;
        call.teams_media.send_raw(&bytes);
        call.carrier_media.send_raw(&bytes);
    }
}

fn admin_noise(admin: SocketAddr, dice: &mut Dice) {
    for _ in 0..20 {
        let Ok(mut stream) = TcpStream::connect(admin) else { continue };
        let length = dice.below(2_000);
        let bytes = dice.bytes(length);
        drop(stream.write_all(&bytes));
        drop(stream.write_all(b"\r\n\r\n"));
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        drop(stream.read(&mut [0; 256]));
    }
}

/// Connections that say nothing are closed, and do not keep anybody out.
#[test]
fn silent_connections_are_closed() {
    let scene = Scene::usual("silent");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut silent: Vec<_> = (0..40)
        .filter_map(|_| connect_from(scene.place.ip(PROXY), scene.place.at(EDGE, 5061)).ok())
        .collect();
    let start = Instant::now();
    let call = Talking::incoming(&teams, &carrier, CALLED);
    call.teams_hangs_up();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    // The handshake has five seconds.
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        let mut byte = [0; 16];
        let end = stream.read(&mut byte);
        assert!(
            !matches!(&end, Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
            "a silent connection is open after 8 s"
        );
    }
}
