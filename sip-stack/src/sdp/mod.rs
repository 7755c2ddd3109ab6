//! Session descriptions (RFC 8866, RFC 4566): lines in order, unknown ones byte for byte, typed
//! views on demand, edited in place and written with CRLF.
//!
//! Deliberately tolerant inside a line (peers are), strict about the shape: every line is `x=`,
//! `v=0` comes first, `o=` and every `m=` can be read. Offer and answer logic is not here.

mod attribute;
mod crypto;
mod media;
mod payload;

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

pub use attribute::{Direction, RtpMap};
pub use crypto::{Crypto, KeyParam};
pub use media::Media;
pub use payload::static_payload;

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
    /// A line without `x=`, or with a NUL.
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
