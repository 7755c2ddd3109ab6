//! RTP of the raw ends: two sockets, packets whose payload names them, and on secure ends an SRTP
//! that is not the gateway's.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::sip::Msg;
use super::tape::Track;

pub const CM_80: &str = "AES_CM_128_HMAC_SHA1_80";
pub const CM_32: &str = "AES_CM_128_HMAC_SHA1_32";
pub const GCM_128: &str = "AEAD_AES_128_GCM";
pub const GCM_256: &str = "AEAD_AES_256_GCM";

/// One `a=crypto` (RFC 4568).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: String,
    /// Base64 of key and salt.
    pub key: String,
    pub lifetime: Option<String>,
    /// Value and length in bytes.
    pub mki: Option<(u32, usize)>,
}

impl Crypto {
    pub fn fresh(tag: u32, suite: &str) -> Self {
        let profile = profile(suite);
        let mut bytes = vec![0; profile.key_len() + profile.salt_len()];
        getrandom::fill(&mut bytes).unwrap();
        let lifetime = Some("2^31".to_owned());
        Self { tag, suite: suite.to_owned(), key: STANDARD.encode(bytes), lifetime, mki: None }
    }

    /// The value of an attribute as it stands in SDP.
    pub fn read(value: &str) -> Self {
        let mut words = value.split_whitespace();
        let mut word = || words.next().unwrap_or_else(|| panic!("crypto {value:?}"));
        let (tag, suite, params) = (word().parse().unwrap(), word().to_owned(), word());
        let params = params.split(';').next().unwrap_or_default();
        let mut parts = params.strip_prefix("inline:").expect("inline:").split('|');
        let key = parts.next().unwrap_or_default().to_owned();
        let (mut lifetime, mut mki) = (None, None);
        for part in parts {
            match part.split_once(':') {
                Some((value, length)) => {
                    mki = Some((value.parse().unwrap(), length.parse().unwrap()));
                }
                None => lifetime = Some(part.to_owned()),
            }
        }
        Self { tag, suite, key, lifetime, mki }
    }

    pub fn of(msg: &Msg) -> Self {
        Self::read(msg.attribute("crypto").unwrap_or_else(|| panic!("no a=crypto in\n{msg}")))
    }

    pub fn write(&self) -> String {
        let lifetime = self.lifetime.as_ref().map(|l| format!("|{l}")).unwrap_or_default();
        let mki = self.mki.map(|(v, l)| format!("|{v}:{l}")).unwrap_or_default();
        format!("{} {} inline:{}{lifetime}{mki}", self.tag, self.suite, self.key)
    }

    fn context(&self) -> Context {
        let profile = profile(&self.suite);
        let bytes = STANDARD.decode(&self.key).expect("base64");
        let (key, salt) = bytes.split_at(profile.key_len());
        Context::new(key, salt, profile, None, None).expect("a key of the suite's length")
    }

    fn mki_bytes(&self) -> Vec<u8> {
        self.mki.map_or(Vec::new(), |(value, length)| value.to_be_bytes()[4 - length..].to_vec())
    }
}

fn profile(suite: &str) -> ProtectionProfile {
    match suite {
        CM_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        CM_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        GCM_128 => ProtectionProfile::AeadAes128Gcm,
        GCM_256 => ProtectionProfile::AeadAes256Gcm,
        other => panic!("suite {other}"),
    }
}

/// One RTP packet, decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtp {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
}

impl Rtp {
    fn write(&self) -> Vec<u8> {
        let mut out = vec![0x80, self.payload_type | (u8::from(self.marker) << 7)];
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }

    fn read(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 12 && bytes[0] >> 6 == 2, "an RTP packet: {bytes:02x?}");
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let start = 12 + 4 * usize::from(bytes[0] & 15);
        Self {
            payload_type: bytes[1] & 0x7f,
            marker: bytes[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: word(4),
            ssrc: word(8),
            payload: bytes[start..].to_vec(),
        }
    }
}

/// One end of a media session.
pub struct MediaEnd {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    address: SocketAddr,
    pub remote: Option<SocketAddr>,
    pub mux: bool,
    pub payload_type: u8,
    pub ssrc: u32,
    pub sequence: u16,
    timestamp: u32,
    send: Option<(Context, Vec<u8>, usize)>,
    receive: Option<Context>,
    /// RTCP compound packets, decrypted, with the time they came.
    pub reports: Vec<(Instant, Vec<u8>)>,
    /// How many of them came to the port of RTCP, not to that of RTP.
    pub reports_apart: usize,
    /// The keys that we last described.
    own: Option<Crypto>,
    /// What did not decrypt.
    pub undecryptable: usize,
    /// Addresses that packets came from.
    pub sources: Vec<SocketAddr>,
    /// Keeps all that is sent and received, as it is on the wire.
    pub track: Option<Track>,
}

impl MediaEnd {
    /// RTP on `port`, RTCP on the next.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        let bind = |port| {
            let socket = UdpSocket::bind((ip, port)).unwrap_or_else(|e| panic!("{ip}:{port}: {e}"));
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self {
            rtp: bind(port),
            rtcp: bind(port + 1),
            address: SocketAddr::new(ip, port),
            remote: None,
            mux: false,
            payload_type: 0,
            ssrc: u32::from(port) << 8 | 0x5a,
            sequence: 65_530,
            timestamp: 160,
            send: None,
            receive: None,
            reports: Vec::new(),
            reports_apart: 0,
            own: None,
            undecryptable: 0,
            sources: Vec::new(),
            track: None,
        }
    }

    /// Sends with `own`, the key of our SDP; receives with the key of theirs.
    pub fn secure(&mut self, own: &Crypto, theirs: &Crypto) {
        let tag = match profile(&own.suite) {
            ProtectionProfile::Aes128CmHmacSha1_32 => 4,
            ProtectionProfile::Aes128CmHmacSha1_80 => 10,
            _ => 0,
        };
        self.send = Some((own.context(), own.mki_bytes(), tag));
        self.own = Some(own.clone());
        self.receive = Some(theirs.context());
    }

    /// Another key to send with; what is received keeps its context.
    pub fn rekey(&mut self, own: &Crypto) {
        let tag = self.send.as_ref().map_or(0, |(_, _, tag)| *tag);
        self.send = Some((own.context(), own.mki_bytes(), tag));
        if let Some(track) = &self.track {
            track.rekeyed(&own.key);
        }
    }

    /// Takes the address from the other side's SDP.
    pub fn towards(&mut self, sdp: &Msg) {
        self.remote = Some(sdp.media());
    }

    /// G.711, telephone events, in clear.
    pub fn plain_sdp(&self, direction: &str) -> String {
        self.sdp("RTP/AVP", &format!("a={direction}\r\n"))
    }

    /// The same with keys.
    pub fn secure_sdp(&self, cryptos: &[&Crypto], direction: &str, more: &str) -> String {
        let keys: String = cryptos.iter().map(|c| format!("a=crypto:{}\r\n", c.write())).collect();
        self.sdp("RTP/SAVP", &format!("{keys}{more}a={direction}\r\n"))
    }

    /// The same again, in another direction.
    pub fn own_sdp(&self, direction: &str) -> String {
        let own = self.own.as_ref().expect("secure() first");
        self.secure_sdp(&[own], direction, if self.mux { "a=rtcp-mux\r\n" } else { "" })
    }

    pub fn sdp(&self, protocol: &str, more: &str) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        format!(
            "v=0\r\no=- {port} 0 IN {family} {ip}\r\ns=session\r\nc=IN {family} {ip}\r\nb=CT:10000000\r\nt=0 0\r\n\
             m=audio {port} {protocol} 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n{more}"
        )
    }

    /// One packet of 160 bytes that no other packet equals; it is returned in clear.
    pub fn speak(&mut self) -> Rtp {
        let number = u32::from(self.sequence);
        let payload = (0..40_u32)
            .flat_map(|i| {
                (self.ssrc ^ number.wrapping_mul(2_654_435_761)).rotate_left(i).to_be_bytes()
            })
            .collect();
        self.say(self.payload_type, false, 160, payload)
    }

    /// One packet of any kind.
    pub fn say(&mut self, payload_type: u8, marker: bool, step: u32, payload: Vec<u8>) -> Rtp {
        let packet = Rtp {
            payload_type,
            marker,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(step);
        let mut bytes = packet.write();
        if let Some((context, mki, tag)) = &mut self.send {
            let sealed = context.encrypt_rtp(&bytes).expect("encrypt");
            let body = sealed.len() - *tag;
            bytes = [&sealed[..body], mki, &sealed[body..]].concat();
        }
        self.send_raw(&bytes);
        packet
    }

    pub fn send_raw(&self, bytes: &[u8]) {
        if let Some(track) = &self.track {
            track.sent(bytes);
        }
        // A port that is closed answers by ICMP; the next send reports it.
        drop(self.rtp.send_to(bytes, self.remote.expect("towards() first")));
    }

    /// A sender report with nothing but a source description.
    pub fn report(&mut self) {
        let mut bytes = vec![0x80, 200, 0, 6];
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(&[0; 20]);
        bytes.extend_from_slice(&[0x81, 202, 0, 3]);
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(&[1, 4, b'p', b'e', b'e', b'r', 0, 0]);
        if let Some((context, mki, tag)) = &mut self.send {
            let sealed = context.encrypt_rtcp(&bytes).expect("encrypt");
            // The tag of SRTCP is always that of 80 bits.
            let tag = if *tag == 0 { 0 } else { 10 };
            let body = sealed.len() - tag;
            bytes = [&sealed[..body], mki, &sealed[body..]].concat();
        }
        if let Some(track) = &self.track {
            track.sent(&bytes);
        }
        let remote = self.remote.expect("towards() first");
        let sent = if self.mux {
            self.rtp.send_to(&bytes, remote)
        } else {
            self.rtcp.send_to(&bytes, (remote.ip(), remote.port() + 1))
        };
        drop(sent);
    }

    /// What has arrived so far.
    pub fn hear(&mut self) -> Vec<Rtp> {
        let mut heard = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.rtp.recv_from(&mut buffer) {
            if !self.sources.contains(&from) {
                self.sources.push(from);
            }
            let bytes = &buffer[..length];
            self.received(bytes);
            if length > 1 && (192..=223).contains(&bytes[1]) {
                self.keep_report(bytes);
                continue;
            }
            let clear = match &mut self.receive {
                Some(context) => context.decrypt_rtp(bytes).map(|clear| clear.to_vec()).ok(),
                None => Some(bytes.to_vec()),
            };
            match clear {
                Some(clear) => heard.push(Rtp::read(&clear)),
                None => self.undecryptable += 1,
            }
        }
        while let Ok((length, _)) = self.rtcp.recv_from(&mut buffer) {
            let bytes = buffer[..length].to_vec();
            self.received(&bytes);
            self.keep_report(&bytes);
            self.reports_apart += 1;
        }
        heard
    }

    /// What has arrived so far on the port of RTP, whatever it is.
    pub fn hear_raw(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2048];
        std::iter::from_fn(|| {
            let (length, _) = self.rtp.recv_from(&mut buffer).ok()?;
            Some(buffer[..length].to_vec())
        })
        .collect()
    }

    fn received(&self, bytes: &[u8]) {
        if let Some(track) = &self.track {
            track.received(bytes);
        }
    }

    fn keep_report(&mut self, bytes: &[u8]) {
        let clear = match &mut self.receive {
            Some(context) => context.decrypt_rtcp(bytes).map(|clear| clear.to_vec()).ok(),
            None => Some(bytes.to_vec()),
        };
        match clear {
            Some(clear) => self.reports.push((Instant::now(), clear)),
            None => self.undecryptable += 1,
        }
    }
}

/// Both ends speak `count` packets at the pace of a fast clock; every packet has to arrive at the
/// other end with equal payload and in order, but for the first few, which may cross the set-up.
pub fn talk(a: &mut MediaEnd, b: &mut MediaEnd, count: usize) {
    drop(a.hear());
    drop(b.hear());
    let (mut from_a, mut from_b, mut at_a, mut at_b) = (vec![], vec![], vec![], vec![]);
    for _ in 0..count {
        from_a.push(a.speak());
        from_b.push(b.speak());
        thread::sleep(Duration::from_millis(4));
        at_a.extend(a.hear());
        at_b.extend(b.hear());
    }
    let end = Instant::now() + Duration::from_secs(1);
    while (at_a.last().map(|p| &p.payload) != from_b.last().map(|p| &p.payload)
        || at_b.last().map(|p| &p.payload) != from_a.last().map(|p| &p.payload))
        && Instant::now() < end
    {
        thread::sleep(Duration::from_millis(2));
        at_a.extend(a.hear());
        at_b.extend(b.hear());
    }
    same("first to second", &from_a, &at_b);
    same("second to first", &from_b, &at_a);
    assert_eq!((a.undecryptable, b.undecryptable), (0, 0), "packets that did not decrypt");
}

/// Packets that may be lost at the very beginning.
const CROSSING: usize = 3;

fn same(way: &str, sent: &[Rtp], heard: &[Rtp]) {
    let missing = sent.len().saturating_sub(heard.len());
    assert!(missing <= CROSSING, "{way}: {} of {} arrived", heard.len(), sent.len());
    for (sent, heard) in sent[missing..].iter().zip(heard) {
        assert_eq!(sent.payload, heard.payload, "{way}: payload of packet {}", sent.sequence);
        assert_eq!(sent.marker, heard.marker, "{way}: marker of packet {}", sent.sequence);
    }
    for pair in heard.windows(2) {
        assert_eq!(pair[0].sequence.wrapping_add(1), pair[1].sequence, "{way}: sequence numbers");
        assert_eq!(pair[0].ssrc, pair[1].ssrc, "{way}: SSRC");
    }
    assert_eq!(heard.len(), sent.len() - missing, "{way}: more arrived than was sent");
}
