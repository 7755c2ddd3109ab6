//! Writing a description of our own, straight into its bytes: a third of what building and then
//! writing an [`super::Sdp`] costs, and every call writes three.
//!
//! No value makes a new line: CR, LF and NUL become spaces, as [`super::Sdp::write`] does it.

use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;

use super::{Crypto, Direction};

/// A description that grows from top to bottom.
#[derive(Debug)]
pub struct Writer {
    out: Text,
}

struct Text(Vec<u8>);

impl Writer {
    /// The lines before the first `m=`: user name and session name "-", the address in `o=` and `c=`.
    #[must_use]
    pub fn new(session_id: u64, version: u64, address: IpAddr) -> Self {
        let family = if address.is_ipv6() { "IP6" } else { "IP4" };
        let mut writer = Self { out: Text(Vec::with_capacity(ROOM)) };
        writer.line(format_args!("v=0\r\no=- {session_id} {version} IN {family} "));
        let from = writer.out.0.len();
        writer.line(format_args!("{address}"));
        let to = writer.out.0.len();
        writer.raw("\r\ns=-\r\nc=IN ");
        writer.raw(family);
        writer.raw(" ");
        writer.out.0.extend_from_within(from..to);
        writer.raw("\r\nt=0 0\r\n");
        writer
    }

    /// An `m=` line; attributes that follow are its.
    pub fn media<F: Display>(
        &mut self,
        kind: &str,
        port: u16,
        protocol: &str,
        formats: impl IntoIterator<Item = F>,
    ) {
        self.raw("m=");
        self.put(kind);
        self.line(format_args!(" {port} "));
        self.put(protocol);
        for format in formats {
            self.raw(" ");
            self.value(format_args!("{format}"));
        }
        self.raw("\r\n");
    }

    /// An attribute with a value.
    pub fn attribute(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.raw("a=");
        self.raw(name);
        self.raw(":");
        self.value(value);
        self.raw("\r\n");
    }

    /// An attribute without a value.
    pub fn flag(&mut self, name: &str) {
        self.raw("a=");
        self.raw(name);
        self.raw("\r\n");
    }

    /// The direction of the medium.
    pub fn direction(&mut self, direction: Direction) {
        self.flag(direction.name());
    }

    /// A key.
    pub fn crypto(&mut self, crypto: &Crypto) {
        self.raw("a=crypto:");
        self.put(&crypto.write());
        self.raw("\r\n");
    }

    /// The description.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out.0
    }

    /// Text of ours.
    fn raw(&mut self, text: &str) {
        self.out.0.extend_from_slice(text.as_bytes());
    }

    /// Numbers and text of ours; writing to memory does not fail.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        let _ = std::io::Write::write_fmt(&mut self.out.0, text);
    }

    fn value(&mut self, value: fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(value);
    }

    /// Text of others.
    fn put(&mut self, text: &str) {
        let _ = self.out.write_str(text);
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = text.as_bytes();
        if memchr::memchr3(b'\r', b'\n', 0, bytes).is_none() {
            self.0.extend_from_slice(bytes);
        } else {
            let tame = |b: &u8| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { *b };
            self.0.extend(bytes.iter().map(tame));
        }
        Ok(())
    }
}

impl fmt::Debug for Text {
    /// It may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A typical description of ours is below this.
const ROOM: usize = 640;

#[cfg(test)]
mod tests {
    use super::super::{Media, Origin, Sdp};
    use super::*;

    /// The same description, built line by line.
    fn built(address: IpAddr, crypto: &Crypto) -> Vec<u8> {
        let origin = Origin {
            username: "-".to_owned(),
            session_id: "77".to_owned(),
            version: 3,
            address: address.to_string(),
        };
        let mut sdp = Sdp::new(&origin, address);
        let mut media = Media::new("audio", 20_000, "RTP/SAVP");
        media.formats.extend(["8", "101"].map(Into::into));
        media.push_attribute("rtpmap", "8 PCMA/8000");
        media.set_direction(Direction::SendOnly);
        media.push_attribute("rtcp-mux", "");
        media.push_crypto(crypto);
        sdp.media.push(media);
        sdp.write().to_vec()
    }

    #[test]
    fn it_writes_what_a_built_description_writes() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address = address.parse().unwrap();
            let crypto = Crypto::new(1, "AES_CM_128_HMAC_SHA1_80", &[7; 30]);
            let mut writer = Writer::new(77, 3, address);
            writer.media("audio", 20_000, "RTP/SAVP", [8_u8, 101]);
            writer.attribute("rtpmap", format_args!("{} {}/{}", 8, "PCMA", 8000));
            writer.direction(Direction::SendOnly);
            writer.flag("rtcp-mux");
            writer.crypto(&crypto);
            assert_eq!(writer.finish(), built(address, &crypto));
        }
    }

    #[test]
    fn no_value_makes_a_line() {
        let mut writer = Writer::new(1, 0, "192.0.2.1".parse().unwrap());
        writer.media("audio\r\nx", 1, "RTP\nAVP", ["0\r"]);
        writer.attribute("fmtp", format_args!("{}", "a\r\nb=\0"));
        let text = String::from_utf8(writer.finish()).unwrap();
        assert!(text.ends_with("m=audio  x 1 RTP AVP 0 \r\na=fmtp:a  b= \r\n"), "{text}");
    }
}
