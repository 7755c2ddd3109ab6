//! Session descriptions (RFC 8866, RFC 4566): lines in order, unknown ones byte for byte, typed
//! views on demand, edited in place and written with CRLF.
//!
//! Deliberately tolerant inside a line (peers are), strict about the shape: every line is `x=`,
//! `v=0` comes first, `o=` and every `m=` can be read. Offer and answer logic is not here.

mod attribute;
mod crypto;
mod media;
mod payload;
mod writer;

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

pub use attribute::{Direction, RtpMap};
pub use crypto::{Crypto, KeyParam};
pub use media::Media;
pub use payload::static_payload;
pub use writer::Writer;

use attribute::address;

/// A session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdp {
    /// The lines before the first `m=`, in order.
    pub session: Vec<Line>,
    /// The media, in order.
    pub media: Vec<Media>,
}

/// One line: a letter and its value, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// The letter before `=`.
    pub kind: u8,
    /// What stands behind `=`, without the line end.
    pub value: Bytes,
}

/// The `o=` line (RFC 8866 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The user name; "-" for none.
    pub username: String,
    /// The session id, a decimal number of any size.
    pub session_id: String,
    /// The version: grows with each change of the description.
    pub version: u64,
    /// The address: IP or name, never used to send to.
    pub address: String,
}

/// How a peer says that it holds a stream (RFC 3264 §8.4, RFC 2543 §B.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `c=0.0.0.0` or `::`, the old form.
    ZeroAddress,
    /// `a=sendonly`: the holder may play music.
    SendOnly,
    /// `a=inactive`.
    Inactive,
}

/// Why bytes are not a session description that we take: answer 400 or 488.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// More bytes, lines or media than the bounds in this module.
    #[error("session description too large")]
    TooLarge,
    /// A line without `x=`, or with a NUL or a bare CR.
    #[error("malformed line")]
    Line,
    /// The first line is not `v=0`.
    #[error("not v=0")]
    Version,
    /// `o=` is missing or malformed.
    #[error("o= missing or malformed")]
    Origin,
    /// An `m=` line is malformed, or its port is above 65535.
    #[error("malformed m= line")]
    Media,
    /// A `c=` line is malformed.
    #[error("malformed c= line")]
    Connection,
}

/// Bytes of a description.
const BYTES: usize = 64 * 1024;
/// Lines of a description.
const LINES: usize = 1024;
/// Media of a description.
const MEDIA: usize = 32;

impl Sdp {
    /// A description without media, for an offer or answer of our own.
    pub fn new(origin: &Origin, address: IpAddr) -> Self {
        let mut sdp = Self {
            session: vec![
                Line::new(b'v', "0"),
                Line::new(b'o', ""),
                Line::new(b's', "-"),
                Line::new(b'c', attribute::connection_value(address)),
                Line::new(b't', "0 0"),
            ],
            media: Vec::new(),
        };
        sdp.set_origin(origin);
        sdp
    }

    /// Reads a description. Lines may end with CRLF or LF.
    ///
    /// # Errors
    /// See [`SdpError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > BYTES {
            return Err(SdpError::TooLarge);
        }
        if memchr::memchr(0, bytes).is_some() {
            return Err(SdpError::Line);
        }
        let text = Bytes::copy_from_slice(bytes);
        let mut sdp = Self { session: Vec::with_capacity(8), media: Vec::new() };
        let mut lines = 0;
        for line in bytes.split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            lines += 1;
            if lines > LINES {
                return Err(SdpError::TooLarge);
            }
            let [kind @ b'a'..=b'z', b'=', value @ ..] = line else {
                return Err(SdpError::Line);
            };
            if value.contains(&b'\r') {
                return Err(SdpError::Line);
            }
            if lines == 1 && line != b"v=0" {
                return Err(SdpError::Version);
            }
            let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
            sdp.add(*kind, text.slice(start..start + value.len()))?;
        }
        if lines == 0 {
            return Err(SdpError::Version);
        }
        read_origin(&sdp.session).ok_or(SdpError::Origin)?;
        Ok(sdp)
    }

    fn add(&mut self, kind: u8, value: Bytes) -> Result<(), SdpError> {
        if kind == b'm' {
            if self.media.len() == MEDIA {
                return Err(SdpError::TooLarge);
            }
            self.media.push(Media::parse(&value)?);
            return Ok(());
        }
        if kind == b'c' && !attribute::is_connection(&value) {
            return Err(SdpError::Connection);
        }
        let lines = self.media.last_mut().map_or(&mut self.session, |media| &mut media.lines);
        lines.push(Line { kind, value });
        Ok(())
    }

    /// The description as it goes into a body, every line with CRLF.
    pub fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1024);
        write_lines(&self.session, &mut out);
        for media in &self.media {
            media.write(&mut out);
        }
        out.freeze()
    }

    /// The `o=` line.
    pub fn origin(&self) -> Origin {
        read_origin(&self.session).unwrap_or_else(|| Origin {
            username: "-".into(),
            session_id: "0".into(),
            version: 0,
            address: "0.0.0.0".into(),
        })
    }

    /// Replaces the `o=` line.
    pub fn set_origin(&mut self, origin: &Origin) {
        let family = if origin.address.contains(':') { "IP6" } else { "IP4" };
        let value = format!(
            "{} {} {} IN {family} {}",
            origin.username, origin.session_id, origin.version, origin.address
        );
        let at = self.session.len().min(1);
        set_line(&mut self.session, b'o', value.into(), at);
    }

    /// The address of the session-level `c=` line, where that is an IP address.
    pub fn connection(&self) -> Option<IpAddr> {
        self.session.iter().find(|line| line.kind == b'c').and_then(|line| address(&line.value))
    }

    /// Sets the session-level `c=` line and removes those of the media.
    pub fn set_connection(&mut self, address: IpAddr) {
        let behind =
            |line: &Line| matches!(line.kind, b'v' | b'o' | b's' | b'i' | b'u' | b'e' | b'p');
        let at = self.session.iter().take_while(|line| behind(line)).count();
        set_line(&mut self.session, b'c', attribute::connection_value(address).into(), at);
        for media in &mut self.media {
            media.lines.retain(|line| line.kind != b'c');
        }
    }

    /// The address of a medium: its own `c=` line, else the session's.
    pub fn address(&self, medium: usize) -> Option<IpAddr> {
        let media = self.media.get(medium)?;
        match media.lines.iter().find(|line| line.kind == b'c') {
            Some(line) => address(&line.value),
            None => self.connection(),
        }
    }

    /// The direction of a medium: its own attribute, else the session's, else sendrecv.
    pub fn direction(&self, medium: usize) -> Direction {
        self.media
            .get(medium)
            .and_then(Media::direction)
            .or_else(|| attribute::direction(&self.session))
            .unwrap_or(Direction::SendRecv)
    }

    /// Whether and how the sender of this description holds a medium.
    pub fn hold(&self, medium: usize) -> Option<Hold> {
        if self.address(medium).is_some_and(|address| address.is_unspecified()) {
            return Some(Hold::ZeroAddress);
        }
        match self.direction(medium) {
            Direction::SendOnly => Some(Hold::SendOnly),
            Direction::Inactive => Some(Hold::Inactive),
            Direction::SendRecv | Direction::RecvOnly => None,
        }
    }

    /// The value of the first session attribute of that name; empty for a flag.
    pub fn attribute(&self, name: &str) -> Option<&[u8]> {
        attribute::all(&self.session, name).next()
    }

    /// Removes all session attributes of that name.
    pub fn remove_attribute(&mut self, name: &str) {
        attribute::remove(&mut self.session, name);
    }

    /// Adds a session attribute behind all others; a flag when `value` is empty.
    pub fn push_attribute(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.session.push(attribute::line(name, value.as_ref()));
    }
}

impl Line {
    /// A line of that letter.
    pub fn new(kind: u8, value: impl Into<Bytes>) -> Self {
        Self { kind, value: value.into() }
    }
}

impl fmt::Debug for Line {
    /// Hides what holds keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.kind == b'k' || attribute::holds_key(self);
        let value = if secret { "(hidden)".into() } else { String::from_utf8_lossy(&self.value) };
        write!(f, "{}={value}", self.kind as char)
    }
}

fn write_lines(lines: &[Line], out: &mut BytesMut) {
    for line in lines {
        out.put_u8(line.kind);
        out.put_u8(b'=');
        put_value(&line.value, out);
        out.put_slice(b"\r\n");
    }
}

/// CR, LF and NUL become spaces: no value makes a new line.
fn put_value(value: &[u8], out: &mut BytesMut) {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        out.put_slice(value);
    } else {
        out.extend(value.iter().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { *b }));
    }
}

/// Replaces the first line of a kind and removes the others, or inserts one at `at`.
fn set_line(lines: &mut Vec<Line>, kind: u8, value: Bytes, at: usize) {
    let at = lines.iter().position(|line| line.kind == kind).unwrap_or(at);
    lines.retain(|line| line.kind != kind);
    lines.insert(at.min(lines.len()), Line { kind, value });
}

fn read_origin(session: &[Line]) -> Option<Origin> {
    let line = session.iter().find(|line| line.kind == b'o')?;
    let text = String::from_utf8_lossy(&line.value);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [username, session_id, version, _net, _family, address] = words[..] else { return None };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(session_id) || !digits(version) {
        return None;
    }
    Some(Origin {
        username: username.into(),
        session_id: session_id.into(),
        version: version.parse().ok()?,
        address: address.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\n\
        o=- 31201 7 IN IP4 127.0.0.1\r\n\
        s=session\r\n\
        c=IN IP4 192.0.2.78\r\n\
        b=CT:10000000\r\n\
        t=0 0\r\n\
        a=x-odd: \u{fe} kept\r\n\
        m=audio 49170 RTP/SAVP 104 9 0 101 13 118\r\n\
        c=IN IP4 192.0.2.79\r\n\
        a=rtcp:49171\r\n\
        a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31\r\n\
        a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n\
        a=crypto:broken\r\n\
        a=sendonly\r\n\
        a=rtpmap:104 SILK/16000\r\n\
        a=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-16\r\n\
        a=rtpmap:118 CN/16000\r\n\
        a=ptime:20\r\n\
        m=video 0/2 RTP/AVP 31\r\n";

    fn parse(text: &str) -> Result<Sdp, SdpError> {
        Sdp::parse(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        assert_eq!(parse(OFFER).unwrap().write(), OFFER);
        assert_eq!(parse(&OFFER.replace("\r\n", "\n")).unwrap().write(), OFFER);
    }

    #[test]
    fn an_offer_shows_what_it_holds() {
        let sdp = parse(OFFER).unwrap();
        assert_eq!((sdp.origin().session_id.as_str(), sdp.origin().version), ("31201", 7));
        assert_eq!(sdp.connection(), Some("192.0.2.78".parse().unwrap()));
        assert_eq!(sdp.attribute("x-odd"), Some("\u{fe} kept".as_bytes()));
        assert_eq!(sdp.address(0), Some("192.0.2.79".parse().unwrap()));
        assert_eq!(sdp.address(1), sdp.connection());
        assert_eq!(sdp.address(2), None);
        let audio = &sdp.media[0];
        assert_eq!((audio.kind(), audio.port, audio.protocol()), ("audio", 49170, "RTP/SAVP"));
        assert!(audio.is_rtp() && audio.is_secure() && !audio.is_rejected());
        assert_eq!(audio.payload_types().collect::<Vec<_>>(), [104, 9, 0, 101, 13, 118]);
        let names = [(104, "SILK"), (9, "G722"), (0, "PCMU"), (101, "telephone-event"), (13, "CN")];
        for (payload, name) in names {
            assert_eq!(audio.rtpmap(payload).unwrap().name, name);
        }
        assert_eq!(audio.rtpmap(105), None);
        assert_eq!((audio.fmtp(101), audio.fmtp(0)), (Some("0-16"), None));
        assert_eq!((audio.ptime(), audio.maxptime()), (Some(20), None));
        assert_eq!(audio.rtcp(), Some((49171, None)));
        assert!(!audio.rtcp_mux());
        assert_eq!(audio.crypto().len(), 1);
        assert_eq!(audio.crypto()[0].suite, "AES_CM_128_HMAC_SHA1_80");
        let video = &sdp.media[1];
        assert!(video.is_rejected() && !video.is_secure());
        assert_eq!(video.port_count, Some(2));
    }

    #[test]
    fn directions_are_inherited_and_hold_is_seen() {
        let hold = |session: &str, media: &str| {
            let text = format!("v=0\no=- 1 1 IN IP4 h\n{session}m=audio 9 RTP/AVP 0\n{media}");
            let sdp = parse(&text).unwrap();
            (sdp.direction(0), sdp.hold(0))
        };
        assert_eq!(hold("", ""), (Direction::SendRecv, None));
        assert_eq!(hold("a=sendonly\n", ""), (Direction::SendOnly, Some(Hold::SendOnly)));
        assert_eq!(hold("a=inactive\n", "a=sendrecv\n"), (Direction::SendRecv, None));
        assert_eq!(hold("", "a=inactive\n"), (Direction::Inactive, Some(Hold::Inactive)));
        assert_eq!(hold("", "a=recvonly\n"), (Direction::RecvOnly, None));
        assert_eq!(
            hold("c=IN IP4 0.0.0.0\n", "a=sendrecv\n"),
            (Direction::SendRecv, Some(Hold::ZeroAddress))
        );
        assert_eq!(hold("", "c=IN IP6 ::\n").1, Some(Hold::ZeroAddress));
    }

    #[test]
    fn editing() {
        let mut sdp = parse(OFFER).unwrap();
        let ours = "198.51.100.1".parse().unwrap();
        let mut origin = sdp.origin();
        origin.version += 1;
        origin.address = "198.51.100.1".into();
        sdp.set_origin(&origin);
        sdp.set_connection(ours);
        assert_eq!((sdp.connection(), sdp.address(0)), (Some(ours), Some(ours)));
        let audio = &mut sdp.media[0];
        audio.port = 40000;
        audio.set_protocol("RTP/AVP");
        audio.remove_attribute("crypto");
        audio.remove_attribute("rtcp");
        audio.set_direction(Direction::SendRecv);
        audio.push_attribute("rtcp-mux", "");
        assert!(audio.rtcp_mux() && audio.crypto().is_empty());
        let text = String::from_utf8(sdp.write().to_vec()).unwrap();
        assert!(text.starts_with(
            "v=0\r\no=- 31201 8 IN IP4 198.51.100.1\r\ns=session\r\nc=IN IP4 198.51.100.1\r\n"
        ));
        assert!(text.contains(
            "m=audio 40000 RTP/AVP 104 9 0 101 13 118\r\na=sendrecv\r\na=rtpmap:104 SILK/16000\r\n"
        ));
        assert!(text.contains("a=ptime:20\r\na=rtcp-mux\r\nm=video 0/2 RTP/AVP 31\r\n"));
    }

    #[test]
    fn a_description_of_our_own() {
        let origin = Origin {
            username: "-".into(),
            session_id: "1".into(),
            version: 2,
            address: "2001:db8::1".into(),
        };
        let mut sdp = Sdp::new(&origin, "2001:db8::1".parse().unwrap());
        let mut audio = Media::new("audio", 40000, "RTP/SAVP");
        audio.formats.push("0".into());
        audio.push_crypto(&Crypto::new(1, "AES_CM_128_HMAC_SHA1_80", &[7; 30]));
        sdp.media.push(audio);
        let back = Sdp::parse(&sdp.write()).unwrap();
        assert_eq!(back, sdp);
        assert_eq!((back.origin(), back.connection()), (origin, "2001:db8::1".parse().ok()));
        assert_eq!(back.media[0].crypto()[0].keys[0].key_salt[..], [7; 30]);
    }

    #[test]
    fn values_make_no_lines() {
        let mut sdp = parse(OFFER).unwrap();
        sdp.push_attribute("x", "a\r\nm=audio 1 RTP/AVP 0\0");
        let back = Sdp::parse(&sdp.write()).unwrap();
        assert_eq!(back.media.len(), 2);
        assert_eq!(back.attribute("x"), Some(&b"a  m=audio 1 RTP/AVP 0"[..]));
    }

    #[test]
    fn what_is_refused() {
        let origin = "v=0\no=- 1 1 IN IP4 h\n";
        for (text, error) in [
            (String::new(), SdpError::Version),
            ("\r\n".into(), SdpError::Version),
            ("v=1\n".into(), SdpError::Version),
            ("o=- 1 1 IN IP4 h\n".into(), SdpError::Version),
            ("v=0\n".into(), SdpError::Origin),
            ("v=0\no=- x 1 IN IP4 h\n".into(), SdpError::Origin),
            ("v=0\no=- 1 18446744073709551616 IN IP4 h\n".into(), SdpError::Origin),
            ("v=0\no=- 1 1 IN IP4\n".into(), SdpError::Origin),
            (format!("{origin}nonsense\n"), SdpError::Line),
            (format!("{origin}A=x\n"), SdpError::Line),
            (format!("{origin}a=\0\n"), SdpError::Line),
            (format!("{origin}a=x\ra=y\r\n"), SdpError::Line),
            (format!("{origin}c=IN IP4\n"), SdpError::Connection),
            (format!("{origin}m=audio\n"), SdpError::Media),
            (format!("{origin}m=audio 65536 RTP/AVP 0\n"), SdpError::Media),
            (format!("{origin}m=audio -1 RTP/AVP 0\n"), SdpError::Media),
            (format!("{origin}m=audio 1/x RTP/AVP 0\n"), SdpError::Media),
            (format!("{origin}m=audio 1 RTP/\u{e9} 0\n"), SdpError::Media),
            (format!("{origin}{}", "m=audio 9 RTP/AVP 0\n".repeat(33)), SdpError::TooLarge),
            (format!("{origin}{}", "a=x\n".repeat(1023)), SdpError::TooLarge),
            (format!("{origin}a={}\n", "x".repeat(65536)), SdpError::TooLarge),
            (format!("{origin}m=audio 9 RTP/AVP{}\n", " 0".repeat(129)), SdpError::TooLarge),
        ] {
            assert_eq!(parse(&text), Err(error), "{text:.80}");
        }
    }

    #[test]
    fn odd_numbers_count_as_not_stated() {
        let sdp = parse(
            "v=0\no=- 1 1 IN IP4 h\nm=audio 9 RTP/AVP 0 128 99999 x\na=ptime:0\na=maxptime:1000000000\n\
             a=rtpmap:99999 X/8000\na=rtpmap:97 Y/0\na=rtcp:65536\n",
        )
        .unwrap();
        let audio = &sdp.media[0];
        assert_eq!(audio.payload_types().collect::<Vec<_>>(), [0]);
        assert_eq!((audio.ptime(), audio.maxptime(), audio.rtcp()), (None, None, None));
        assert_eq!(audio.rtpmap(97), None);
        assert_eq!(sdp.connection(), None);
    }

    #[test]
    fn debug_hides_keys() {
        let sdp = parse(&OFFER.replace("t=0 0\r\n", "t=0 0\r\nk=clear:secret\r\n")).unwrap();
        let shown = format!("{sdp:?}");
        assert!(!shown.contains("AAEC") && !shown.contains("secret"), "{shown}");
        assert!(shown.contains("rtcp:49171"));
    }
}
