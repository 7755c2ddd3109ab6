//! One medium: an `m=` line and what follows it (RFC 8866 §5.14).

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::attribute::{self, Direction, RtpMap, address};
use super::crypto::{self, Crypto};
use super::payload::static_payload;
use super::{Line, SdpError, write_lines};

/// A medium of a session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    kind: Bytes,
    /// The port; 0 when the medium is refused or switched off.
    pub port: u16,
    /// The number of ports behind `/`, should one be written.
    pub port_count: Option<u16>,
    protocol: Bytes,
    /// The formats, in order of preference: payload types for RTP.
    pub formats: Vec<Bytes>,
    /// The lines below `m=`, in order.
    pub lines: Vec<Line>,
}

/// Formats of an `m=` line.
const FORMATS: usize = 128;
/// `a=crypto` lines that are looked at.
const CRYPTO: usize = 16;
/// Longest packet time that is believed, in milliseconds.
const PTIME: u16 = 1000;

impl Media {
    /// A medium without formats: `Media::new("audio", 40000, "RTP/SAVP")`.
    pub fn new(kind: &str, port: u16, protocol: &str) -> Self {
        Self {
            kind: Bytes::copy_from_slice(kind.as_bytes()),
            port,
            port_count: None,
            protocol: Bytes::copy_from_slice(protocol.as_bytes()),
            formats: Vec::new(),
            lines: Vec::new(),
        }
    }

    pub(super) fn parse(value: &Bytes) -> Result<Self, SdpError> {
        let mut words = value.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next())
        else {
            return Err(SdpError::Media);
        };
        if !kind.iter().chain(protocol).all(u8::is_ascii_graphic) {
            return Err(SdpError::Media);
        }
        let mut ports = port.splitn(2, |&b| b == b'/').map(number);
        let port = ports.next().flatten().ok_or(SdpError::Media)?;
        let port_count = match ports.next() {
            None => None,
            Some(count) => Some(count.ok_or(SdpError::Media)?),
        };
        let formats: Vec<_> = words.map(|word| value.slice_ref(word)).collect();
        if formats.len() > FORMATS {
            return Err(SdpError::TooLarge);
        }
        Ok(Self {
            kind: value.slice_ref(kind),
            port,
            port_count,
            protocol: value.slice_ref(protocol),
            formats,
            lines: Vec::with_capacity(16),
        })
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        let mut value = BytesMut::with_capacity(64);
        value.put_slice(&self.kind);
        value.put_slice(format!(" {}", self.port).as_bytes());
        if let Some(count) = self.port_count {
            value.put_slice(format!("/{count}").as_bytes());
        }
        value.put_u8(b' ');
        value.put_slice(&self.protocol);
        for format in &self.formats {
            value.put_u8(b' ');
            value.put_slice(format);
        }
        write_lines(&[Line { kind: b'm', value: value.freeze() }], out);
        write_lines(&self.lines, out);
    }

    /// "audio", "video", "image", any other token.
    pub fn kind(&self) -> &str {
        std::str::from_utf8(&self.kind).unwrap_or_default()
    }

    /// "RTP/AVP", "RTP/SAVP", any other.
    pub fn protocol(&self) -> &str {
        std::str::from_utf8(&self.protocol).unwrap_or_default()
    }

    /// Replaces the protocol.
    pub fn set_protocol(&mut self, protocol: &str) {
        self.protocol = Bytes::copy_from_slice(protocol.as_bytes());
    }

    /// Whether the protocol is RTP, secured or not.
    pub fn is_rtp(&self) -> bool {
        self.protocol().to_ascii_uppercase().contains("RTP/")
    }

    /// Whether the protocol is a secured RTP profile (SAVP, SAVPF, over DTLS or not).
    pub fn is_secure(&self) -> bool {
        let protocol = self.protocol().to_ascii_uppercase();
        protocol.ends_with("RTP/SAVP") || protocol.ends_with("RTP/SAVPF")
    }

    /// Whether the medium is refused or switched off.
    pub const fn is_rejected(&self) -> bool {
        self.port == 0
    }

    /// The formats that are RTP payload types, in order of preference.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        self.formats.iter().filter_map(|format| payload_type(format))
    }

    /// The address of this medium's own `c=` line, where that is an IP address.
    pub fn connection(&self) -> Option<IpAddr> {
        self.lines.iter().find(|line| line.kind == b'c').and_then(|line| address(&line.value))
    }

    /// Sets this medium's own `c=` line.
    pub fn set_connection(&mut self, address: IpAddr) {
        let at = usize::from(self.lines.first().is_some_and(|line| line.kind == b'i'));
        super::set_line(&mut self.lines, b'c', attribute::connection_value(address).into(), at);
    }

    /// The direction stated at this medium; see also [`super::Sdp::direction`].
    pub fn direction(&self) -> Option<Direction> {
        attribute::direction(&self.lines)
    }

    /// Replaces the direction, at the place of the old one.
    pub fn set_direction(&mut self, direction: Direction) {
        let line = attribute::line(direction.name(), &[]);
        let is_direction = |line: &Line| attribute::direction(std::slice::from_ref(line)).is_some();
        let at = self.lines.iter().position(is_direction).unwrap_or(self.lines.len());
        self.lines.retain(|line| !is_direction(line));
        self.lines.insert(at, line);
    }

    /// The encoding of a payload type: its `a=rtpmap`, else the static table of RFC 3551.
    pub fn rtpmap(&self, payload: u8) -> Option<RtpMap<'_>> {
        self.of_payload("rtpmap", payload)
            .and_then(RtpMap::parse)
            .or_else(|| static_payload(payload))
    }

    /// The format parameters of a payload type.
    pub fn fmtp(&self, payload: u8) -> Option<&str> {
        self.of_payload("fmtp", payload)
    }

    fn of_payload(&self, name: &str, payload: u8) -> Option<&str> {
        self.attributes(name).find_map(|value| {
            let end = value.iter().position(|b| matches!(b, b' ' | b'\t'))?;
            let text = std::str::from_utf8(&value[end..]).ok()?;
            (payload_type(&value[..end]) == Some(payload)).then(|| text.trim())
        })
    }

    /// The packet time in milliseconds, 1 to 1000; anything else counts as not stated.
    pub fn ptime(&self) -> Option<u16> {
        self.time("ptime")
    }

    /// The longest packet time in milliseconds, 1 to 1000.
    pub fn maxptime(&self) -> Option<u16> {
        self.time("maxptime")
    }

    fn time(&self, name: &str) -> Option<u16> {
        let text = self.attribute(name)?;
        number(text).filter(|time| (1..=PTIME).contains(time))
    }

    /// The RTCP port and address of `a=rtcp` (RFC 3605).
    pub fn rtcp(&self) -> Option<(u16, Option<IpAddr>)> {
        let value = self.attribute("rtcp")?;
        let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
        Some((number(&value[..end])?, address(&value[end..])))
    }

    /// Whether RTP and RTCP may share a port (RFC 5761, RFC 8035).
    pub fn rtcp_mux(&self) -> bool {
        self.attribute("rtcp-mux").is_some()
    }

    /// The keys of `a=crypto` (RFC 4568), in order. Malformed lines and repeated tags are left out.
    pub fn crypto(&self) -> Vec<Crypto> {
        let mut found: Vec<Crypto> = Vec::new();
        for line in self.attributes("crypto").take(CRYPTO).filter_map(crypto::parse) {
            if found.iter().all(|known| known.tag != line.tag) {
                found.push(line);
            }
        }
        found
    }

    /// Adds an `a=crypto` line.
    pub fn push_crypto(&mut self, crypto: &Crypto) {
        self.push_attribute("crypto", crypto.write());
    }

    /// The value of the first attribute of that name; empty for a flag.
    pub fn attribute(&self, name: &str) -> Option<&[u8]> {
        self.attributes(name).next()
    }

    /// The values of all attributes of that name.
    pub fn attributes(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        attribute::all(&self.lines, name)
    }

    /// Removes all attributes of that name.
    pub fn remove_attribute(&mut self, name: &str) {
        attribute::remove(&mut self.lines, name);
    }

    /// Adds an attribute behind all others; a flag when `value` is empty.
    pub fn push_attribute(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.lines.push(attribute::line(name, value.as_ref()));
    }
}

fn payload_type(text: &[u8]) -> Option<u8> {
    number(text).and_then(|number| u8::try_from(number).ok()).filter(|&payload| payload < 128)
}

fn number(text: &[u8]) -> Option<u16> {
    crate::message::number(text).and_then(|number| u16::try_from(number).ok())
}
