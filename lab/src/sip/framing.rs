//! Cutting a byte stream into messages by Content-Length (RFC 3261 §18.3).

use crate::sip::Message;

/// Collects the bytes of one connection.
#[derive(Default)]
pub struct Framing {
    bytes: Vec<u8>,
}

/// What stands at the front of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message.
    Message(Vec<u8>),
    /// A double CRLF (RFC 5626 §4.4.1), to be answered by one CRLF.
    Ping,
    /// This will never become a message.
    Garbage,
}

impl Framing {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if all its bytes have come.
    #[allow(clippy::should_implement_trait, reason = "more may come after a None")]
    pub fn next(&mut self) -> Option<Frame> {
        if self.bytes.starts_with(b"\r\n\r\n") {
            self.bytes.drain(..4);
            return Some(Frame::Ping);
        }
        while self.bytes.starts_with(b"\r\n") && self.bytes.len() > 2 && self.bytes[2] != b'\r' {
            self.bytes.drain(..2);
        }
        if self.bytes.len() > LARGEST {
            return Some(Frame::Garbage);
        }
        let head = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let Some(message) = Message::read(&self.bytes[..head]) else {
            return Some(Frame::Garbage);
        };
        let length = message.header("Content-Length").unwrap_or("0");
        let Ok(length) = length.parse::<usize>() else {
            return Some(Frame::Garbage);
        };
        if length > LARGEST {
            return Some(Frame::Garbage);
        }
        (self.bytes.len() >= head + length)
            .then(|| Frame::Message(self.bytes.drain(..head + length).collect()))
    }
}

/// Nothing in the lab's plays comes near.
const LARGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nL: 3\r\n\r\nabc";

    #[test]
    fn messages_are_cut_at_any_byte() {
        for cut in 0..ONE.len() {
            let mut framing = Framing::default();
            framing.push(&ONE[..cut]);
            assert_eq!(framing.next(), None, "{cut}");
            framing.push(&ONE[cut..]);
            framing.push(ONE);
            assert_eq!(framing.next(), Some(Frame::Message(ONE.to_vec())));
            assert_eq!(framing.next(), Some(Frame::Message(ONE.to_vec())));
            assert_eq!(framing.next(), None);
        }
    }

    #[test]
    fn pings_stray_line_ends_and_garbage_are_told_apart() {
        let mut framing = Framing::default();
        framing.push(b"\r\n\r\n\r\n");
        assert_eq!(framing.next(), Some(Frame::Ping));
        assert_eq!(framing.next(), None);
        framing.push(ONE);
        assert_eq!(framing.next(), Some(Frame::Message(ONE.to_vec())));
        framing.push(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(framing.next(), Some(Frame::Garbage));
    }
}
