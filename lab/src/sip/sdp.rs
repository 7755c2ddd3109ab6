//! The lines of one audio SDP that the lab cares for (RFC 8866, RFC 4568).

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// An audio description, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdp {
    /// Where RTP is wanted; port 0 when the medium is refused.
    pub rtp: SocketAddr,
    /// Where RTCP is wanted: `a=rtcp`, else the RTP port (mux) or the one above.
    pub rtcp: SocketAddr,
    /// `a=rtcp-mux` is there.
    pub mux: bool,
    /// `RTP/AVP`, `RTP/SAVP`, …
    pub protocol: String,
    /// Payload types of the m= line, in order.
    pub formats: Vec<u8>,
    /// `a=rtpmap` lines; those of the static types are filled in.
    pub rtpmaps: Vec<Rtpmap>,
    /// `a=crypto` lines, in order.
    pub cryptos: Vec<Crypto>,
    /// Direction, `sendrecv` if none is written.
    pub direction: Direction,
    /// Version in the o= line.
    pub version: u64,
}

/// One payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtpmap {
    /// Payload type.
    pub payload: u8,
    /// Encoding name, upper case.
    pub name: String,
    /// Clock rate in Hz.
    pub clock: u32,
}

/// One `a=crypto` line.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Tag.
    pub tag: u32,
    /// Suite name.
    pub suite: String,
    /// Master key and salt of the first `inline:`.
    pub key_salt: Vec<u8>,
    /// Lifetime as written, if any (`2^31`).
    pub lifetime: Option<String>,
    /// MKI value and its length in bytes, if any.
    pub mki: Option<(u64, usize)>,
}

/// Direction attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// Only from the writer.
    SendOnly,
    /// Only to the writer.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// As in its attribute.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// What an obliging answer says (RFC 3264 §6.1).
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }
}

impl std::fmt::Debug for Crypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crypto {{ tag: {}, suite: {:?}, .. }}", self.tag, self.suite)
    }
}

impl Sdp {
    /// Reads the first audio medium of an SDP. `None` if there is none or it has no address.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let start = lines.iter().position(|line| line.starts_with("m=audio "))?;
        let (session, rest) = lines.split_at(start);
        let end = rest.iter().skip(1).position(|line| line.starts_with("m="));
        let media = &rest[1..end.map_or(rest.len(), |end| end + 1)];

        let mut words = rest[0]["m=audio ".len()..].split_whitespace();
        let port: u16 = words.next()?.parse().ok()?;
        let protocol = words.next()?.to_owned();
        let formats: Vec<u8> = words.filter_map(|word| word.parse().ok()).collect();

        let address = address(media).or_else(|| address(session))?;
        let mux = media.contains(&"a=rtcp-mux");
        let rtcp = media.iter().find_map(|line| line.strip_prefix("a=rtcp:"));
        let rtcp = rtcp.and_then(|value| rtcp_address(value, address)).unwrap_or_else(|| {
            SocketAddr::new(address, if mux { port } else { port.saturating_add(1) })
        });
        let direction = direction(media).or_else(|| direction(session));
        let origin = session.iter().find_map(|line| line.strip_prefix("o="));
        let version = origin.and_then(|value| value.split(' ').nth(2)?.parse().ok());
        Some(Self {
            rtp: SocketAddr::new(address, port),
            rtcp,
            mux,
            protocol,
            rtpmaps: formats.iter().filter_map(|payload| rtpmap(media, *payload)).collect(),
            formats,
            cryptos: media.iter().filter_map(|line| crypto(line)).collect(),
            direction: direction.unwrap_or(Direction::SendRecv),
            version: version.unwrap_or(0),
        })
    }

    /// The payload type of an encoding (`PCMU`, `telephone-event`, any case) at a clock rate.
    #[must_use]
    pub fn payload(&self, name: &str, clock: u32) -> Option<u8> {
        let found = |map: &&Rtpmap| map.name.eq_ignore_ascii_case(name) && map.clock == clock;
        self.rtpmaps.iter().find(found).map(|map| map.payload)
    }

    /// The first G.711 law in the order of the m= line.
    #[must_use]
    pub fn g711(&self) -> Option<u8> {
        let is_g711 = |map: &&Rtpmap| matches!(map.name.as_str(), "PCMU" | "PCMA");
        self.rtpmaps.iter().find(is_g711).map(|map| map.payload)
    }

    /// Whether a payload type is A-law (else, for a G.711 type, µ-law).
    #[must_use]
    pub fn is_alaw(&self, payload: u8) -> bool {
        self.rtpmaps.iter().any(|map| map.payload == payload && map.name == "PCMA")
    }
}

fn address(lines: &[&str]) -> Option<IpAddr> {
    let line = lines.iter().find_map(|line| line.strip_prefix("c=IN "))?;
    let address = line.split(' ').nth(1)?;
    address.split('/').next()?.parse().ok()
}

fn rtcp_address(value: &str, default: IpAddr) -> Option<SocketAddr> {
    let mut words = value.split_whitespace();
    let port = words.next()?.parse().ok()?;
    let written = words.nth(2).and_then(|word| word.parse().ok());
    Some(SocketAddr::new(written.unwrap_or(default), port))
}

fn direction(lines: &[&str]) -> Option<Direction> {
    lines.iter().find_map(|line| match *line {
        "a=sendrecv" => Some(Direction::SendRecv),
        "a=sendonly" => Some(Direction::SendOnly),
        "a=recvonly" => Some(Direction::RecvOnly),
        "a=inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

fn rtpmap(lines: &[&str], payload: u8) -> Option<Rtpmap> {
    let prefix = format!("a=rtpmap:{payload} ");
    let written = lines.iter().find_map(|line| line.strip_prefix(prefix.as_str()));
    let encoding = written.or(match payload {
        0 => Some("PCMU/8000"),
        8 => Some("PCMA/8000"),
        9 => Some("G722/8000"),
        13 => Some("CN/8000"),
        18 => Some("G729/8000"),
        _ => None,
    })?;
    let mut parts = encoding.split('/');
    let name = parts.next()?.trim().to_ascii_uppercase();
    let clock = parts.next()?.trim().parse().ok()?;
    Some(Rtpmap { payload, name, clock })
}

fn crypto(line: &str) -> Option<Crypto> {
    let mut words = line.strip_prefix("a=crypto:")?.split_whitespace();
    let tag = words.next()?.parse().ok()?;
    let suite = words.next()?.to_owned();
    let key = words.next()?.split(';').next()?.strip_prefix("inline:")?;
    let mut parts = key.split('|');
    let key_salt = STANDARD.decode(parts.next()?).ok()?;
    let (mut lifetime, mut mki) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some((value, length)) => mki = Some((value.parse().ok()?, length.parse().ok()?)),
            None => lifetime = Some(part.to_owned()),
        }
    }
    Some(Crypto { tag, suite, key_salt, lifetime, mki })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 31201 4 IN IP4 127.0.0.1\r\ns=session\r\n\
        c=IN IP4 127.0.0.78\r\nb=CT:10000000\r\nt=0 0\r\n\
        m=audio 49170 RTP/SAVP 104 9 0 8 97 101 13\r\na=rtcp:49999\r\n\
        a=crypto:0 AES_CM_128_HMAC_SHA1_32 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n\
        a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31|1:1\r\n\
        a=rtpmap:104 SILK/16000\r\na=rtpmap:101 telephone-event/8000\r\na=inactive\r\n\
        m=video 0 RTP/AVP 31\r\na=sendonly\r\n";

    #[test]
    fn an_offer_is_read() {
        let sdp = Sdp::read(OFFER).unwrap();
        assert_eq!(sdp.rtp, "127.0.0.78:49170".parse().unwrap());
        assert_eq!(sdp.rtcp, "127.0.0.78:49999".parse().unwrap());
        assert_eq!((sdp.protocol.as_str(), sdp.mux, sdp.version), ("RTP/SAVP", false, 4));
        assert_eq!(sdp.formats, [104, 9, 0, 8, 97, 101, 13]);
        assert_eq!(sdp.direction, Direction::Inactive);
        assert_eq!(sdp.payload("Telephone-Event", 8000), Some(101));
        assert_eq!(sdp.g711(), Some(0));
        assert!(sdp.is_alaw(8) && !sdp.is_alaw(0));
        assert_eq!(sdp.cryptos.len(), 2);
        assert_eq!(sdp.cryptos[1].key_salt.len(), 30);
        assert_eq!(sdp.cryptos[1].lifetime.as_deref(), Some("2^31"));
        assert_eq!(sdp.cryptos[1].mki, Some((1, 1)));
    }

    #[test]
    fn rtcp_is_beside_rtp_or_on_it() {
        let plain = "v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 0\n";
        assert_eq!(Sdp::read(plain).unwrap().rtcp.port(), 4001);
        assert_eq!(Sdp::read(&format!("{plain}a=rtcp-mux\n")).unwrap().rtcp.port(), 4000);
    }

    #[test]
    fn no_audio_or_no_address_is_none() {
        assert!(Sdp::read("v=0\nm=audio 1 RTP/AVP 0\n").is_none());
        assert!(Sdp::read("v=0\nc=IN IP4 10.0.0.1\n").is_none());
    }
}
