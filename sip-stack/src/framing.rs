//! Framing of a byte stream into messages (RFC 3261 §7.5, §18.3): CRLF line ends, Content-Length
//! required, keep-alives of RFC 5626 §3.5.1 between messages.
//!
//! Once the place where a message ends is in doubt the stream is lost: the first fault is the last
//! frame, and the connection must be closed after the refusal has been sent. Of what begins as a
//! request the rest of the header block is waited for, so that the refusal names it whole; anything
//! else is broken at once.

use bytes::{Buf, Bytes, BytesMut};

use crate::message::{
    HeaderId, Limits, ParseError, ParseErrorKind, content_length, is_token, line_end,
};

/// Cuts a stream into frames. Holds at most one message and what was read with it; empty, it owns
/// no memory.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limits: Limits,
    state: State,
}

/// What a stream carries.
#[derive(Clone, Debug)]
pub enum Frame {
    /// One whole message, in a buffer of exactly its size: a message that is kept pins no more.
    Message(Bytes),
    /// A double CRLF between messages: answer one CRLF (RFC 5626 §3.5.1).
    KeepAlive,
    /// The stream cannot be read any further: send the refusal, if there is one, and close. Nothing
    /// comes after it.
    Broken(ParseError),
}

#[derive(Debug)]
enum State {
    /// Before a start line.
    Between,
    /// In a header block: behind `count` lines without folds, the line that is not whole yet begins
    /// at `line`, and has no end before `seen`. Each byte is looked at once, however small the writes.
    Headers { count: usize, line: usize, seen: usize },
    /// A fault in a header block that begins as a request; there is no blank line before `seen`.
    Faulty { kind: ParseErrorKind, seen: usize },
    /// The header block is whole; the message ends here.
    Body { end: usize },
    /// After a fault.
    Broken,
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, state: State::Between }
    }

    /// Adds what was read. After a fault it is dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Broken) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The buffer to read into directly, instead of [`Self::push`]; only append to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether a message has begun and is not whole: the time until it must be is running.
    pub fn is_partial(&self) -> bool {
        match self.state {
            State::Between => self.buffer.iter().any(|&b| !matches!(b, b'\r' | b'\n')),
            State::Headers { .. } | State::Faulty { .. } | State::Body { .. } => true,
            State::Broken => false,
        }
    }

    /// The next frame; `None` until more has been read. Drain it after each [`Self::push`].
    #[expect(clippy::should_implement_trait, reason = "more may come after None")]
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            match self.state {
                State::Between => {
                    if self.buffer.starts_with(b"\r\n\r\n") {
                        self.buffer.advance(4);
                        return Some(Frame::KeepAlive);
                    }
                    match &self.buffer[..] {
                        [] => {
                            self.buffer = BytesMut::new();
                            return None;
                        }
                        b"\r" | b"\r\n" | b"\r\n\r" => return None,
                        [b'\r', b'\n', ..] => self.buffer.advance(2),
                        [..] => {}
                    }
                    self.state = State::Headers { count: 0, line: 0, seen: 0 };
                }
                State::Headers { count, line, seen } => match self.headers(count, line, seen) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(kind @ (ParseErrorKind::BareLineEnd | ParseErrorKind::Nul)) => {
                        self.state = State::Faulty { kind, seen: 0 };
                    }
                    Err(kind) => return Some(self.broken(kind)),
                },
                State::Faulty { kind, seen } => {
                    let block = &self.buffer[..self.buffer.len().min(self.limits.header_bytes)];
                    let end = blank_line(&block[seen..]).map(|end| seen + end);
                    let is_over =
                        block.len() == self.limits.header_bytes || !begins_as_request(block);
                    if end.is_some() || is_over {
                        // What comes behind is nobody's.
                        self.buffer.truncate(end.unwrap_or(block.len()));
                        return Some(self.broken(kind));
                    }
                    // The blank line may have begun.
                    self.state = State::Faulty { kind, seen: block.len().saturating_sub(3) };
                    return None;
                }
                State::Body { end } => {
                    if self.buffer.len() < end {
                        return None;
                    }
                    let message = Bytes::copy_from_slice(&self.buffer[..end]);
                    self.buffer.advance(end);
                    self.state = State::Between;
                    return Some(Frame::Message(message));
                }
                State::Broken => return None,
            }
        }
    }

    /// Looks at the lines that have become whole; says whether the header block is.
    fn headers(
        &mut self,
        mut count: usize,
        mut line: usize,
        mut seen: usize,
    ) -> Result<bool, ParseErrorKind> {
        let block = &self.buffer[..self.buffer.len().min(self.limits.header_bytes)];
        loop {
            match line_end(block, seen) {
                Ok(end) if end == line => {
                    let head = line + 2;
                    let body = content_length(&block[..head])?
                        .ok_or(ParseErrorKind::Missing(HeaderId::ContentLength))?;
                    let room = self.limits.message_bytes.saturating_sub(head);
                    let body = usize::try_from(body).map_err(|_| ParseErrorKind::TooLarge)?;
                    if body > room {
                        return Err(ParseErrorKind::TooLarge);
                    }
                    self.state = State::Body { end: head + body };
                    return Ok(true);
                }
                Ok(end) => {
                    count += usize::from(!matches!(block[line], b' ' | b'\t'));
                    // The first one is the start line.
                    if count > self.limits.headers + 1 {
                        return Err(ParseErrorKind::TooLarge);
                    }
                    line = end + 2;
                    seen = line;
                }
                Err(ParseErrorKind::Unterminated) => {
                    if block.len() == self.limits.header_bytes {
                        return Err(ParseErrorKind::TooLarge);
                    }
                    // The last byte may be the CR of a CRLF.
                    let seen = seen.max(block.len() - 1);
                    self.state = State::Headers { count, line, seen };
                    return Ok(false);
                }
                Err(kind) => return Err(kind),
            }
        }
    }

    fn broken(&mut self, kind: ParseErrorKind) -> Frame {
        self.state = State::Broken;
        let raw = std::mem::take(&mut self.buffer).freeze();
        Frame::Broken(ParseError::new(kind, &raw))
    }
}

/// Whether the first line has the beginning of a request line: a method and a space, or what may
/// become that.
fn begins_as_request(block: &[u8]) -> bool {
    let method = block.iter().take_while(|&&b| is_token(b)).count();
    method > 0 && matches!(block.get(method), None | Some(b' ')) && !block.starts_with(b"SIP/")
}

/// Where a blank line ends, by whatever line ends there are.
fn blank_line(block: &[u8]) -> Option<usize> {
    let ends = [&b"\r\n\r\n"[..], b"\n\n", b"\n\r\n", b"\r\r"];
    ends.iter().filter_map(|end| Some(memchr::memmem::find(block, end)? + end.len())).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
        To: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n";

    fn message(body: &str) -> String {
        format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    fn frames(framer: &mut Framer, bytes: &[u8]) -> Vec<String> {
        framer.push(bytes);
        std::iter::from_fn(|| framer.next())
            .map(|frame| match frame {
                Frame::Message(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Frame::KeepAlive => "keep-alive".into(),
                Frame::Broken(error) => {
                    let status = error.reply.map_or(0, |reply| reply.status());
                    format!("{} {status}", error.kind)
                }
            })
            .collect()
    }

    fn all(text: &str) -> Vec<String> {
        frames(&mut Framer::new(Limits::default()), text.as_bytes())
    }

    #[test]
    fn messages_follow_each_other() {
        let (one, two) = (message(""), message("body\r\n\r\n"));
        assert_eq!(all(&format!("{one}{two}{one}")), [&one[..], &two, &one]);
    }

    #[test]
    fn any_cut_gives_the_same_frames() {
        let stream = format!("\r\n\r\n{}\r\n{}\r\n\r\n", message("x\n\r"), message(""));
        let whole = all(&stream);
        assert_eq!(whole, ["keep-alive", &message("x\n\r"), &message(""), "keep-alive"]);
        for size in [1, 2, 3, 7, 50] {
            let mut framer = Framer::new(Limits::default());
            let cut: Vec<_> = stream
                .as_bytes()
                .chunks(size)
                .flat_map(|chunk| frames(&mut framer, chunk))
                .collect();
            assert_eq!(cut, whole, "{size} bytes at a time");
            assert!(!framer.is_partial());
        }
    }

    #[test]
    fn what_has_begun_is_partial() {
        let mut framer = Framer::new(Limits::default());
        let text = message("body");
        assert!(!framer.is_partial());
        assert_eq!(frames(&mut framer, b"\r\n"), [""; 0]);
        assert!(!framer.is_partial());
        for byte in &text.as_bytes()[..text.len() - 1] {
            assert_eq!(frames(&mut framer, &[*byte]), [""; 0]);
            assert!(framer.is_partial());
        }
        assert_eq!(frames(&mut framer, b"y").len(), 1);
        assert!(!framer.is_partial());
    }

    #[test]
    fn the_first_fault_is_the_last_frame() {
        let end = "\r\n\r\n";
        for (text, expected) in [
            (format!("{HEAD}\r\n"), "Content-Length is missing 400"),
            (format!("{HEAD}Content-Length: -1{end}"), "Content-Length is malformed 400"),
            (format!("{HEAD}l: 0x5{end}"), "Content-Length is malformed 400"),
            (format!("{HEAD}l:{end}"), "Content-Length is malformed 400"),
            (format!("{HEAD}l: 1\r\n 2{end}"), "Content-Length is malformed 400"),
            (format!("{HEAD}l: 18446744073709551616{end}"), "Content-Length is malformed 400"),
            (format!("{HEAD}l: 4294967297{end}"), "message too large 513"),
            (format!("{HEAD}l: 0\r\nContent-Length : 0{end}"), "Content-Length stands twice 400"),
            (format!("{HEAD}X: a\nl: 0{end}"), "bare CR or LF in the header block 400"),
            (format!("{HEAD}X: a\rl: 0{end}"), "bare CR or LF in the header block 400"),
            (format!("{HEAD}X: \0\r\nl: 0{end}"), "NUL in the header block 400"),
            ("\u{16}\u{3}\u{1}\u{2}\0".into(), "NUL in the header block 0"),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "Content-Length is missing 0"),
            (format!("{HEAD}{}", "X: y\r\n".repeat(20_000)), "message too large 513"),
            (format!("{HEAD}{}l: 0{end}", "X: y\r\n".repeat(251)), "message too large 513"),
            (format!("{HEAD}X: {}", "y".repeat(70_000)), "message too large 513"),
        ] {
            let next = message("");
            assert_eq!(all(&format!("{text}{next}")), [expected], "{text:.300}");
        }
    }

    #[test]
    fn what_is_no_request_is_broken_before_its_block_ends() {
        for text in ["SIP/2.0 200 OK\r\nX: a\nb", "\u{16}\u{3}\u{1}\u{2}\0", "(\n", "GET\n"] {
            let mut framer = Framer::new(Limits::default());
            assert_eq!(frames(&mut framer, text.as_bytes()).len(), 1, "{text:?}");
            assert_eq!(frames(&mut framer, message("").as_bytes()), [""; 0]);
            assert!(!framer.is_partial());
            assert!(framer.buffer.is_empty());
        }
    }

    #[test]
    fn a_refusal_is_whole_however_small_the_writes() {
        let tail = "l: 0\r\nX: a";
        let via = "Via: SIP/2.0/TCP h;branch=z9hG4bK1";
        let ids = "From: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS";
        for text in [
            format!("OPTIONS sip:h SIP/2.0\r\n{tail}\n\r\n{via}\r\n{ids}\r\n\r\n"),
            format!("OPTIONS sip:h SIP/2.0\r\n{via}\r\n{tail}\0b\r\n{ids}\r\n\r\n"),
            format!("OPTIONS sip:h SIP/2.0\r\n{via}\r\n{tail}\rb\r\n{ids}\r\n\r\n"),
            format!("OPTIONS sip:h SIP/2.0\n{via}\n{ids}\n\n").replace("\r\n", "\n"),
        ] {
            let refusals = [1, 2, 3, 7, 50, text.len()].map(|size| {
                let mut framer = Framer::new(Limits::default());
                let mut found = Vec::new();
                for chunk in text.as_bytes().chunks(size) {
                    framer.push(chunk);
                    found.extend(std::iter::from_fn(|| framer.next()));
                }
                let [Frame::Broken(error)] = &found[..] else { panic!("{found:?}") };
                error.reply.as_ref().map(|reply| reply.write())
            });
            for refusal in &refusals {
                assert_eq!(refusal, &refusals[0], "{text:?}");
            }
        }
    }

    #[test]
    fn a_fault_without_an_end_is_over_at_the_limit() {
        let mut framer = Framer::new(Limits::default());
        assert_eq!(frames(&mut framer, format!("{HEAD}X: a\0").as_bytes()), [""; 0]);
        assert!(framer.is_partial());
        assert_eq!(frames(&mut framer, &[b'x'; 70_000]).len(), 1);
        assert!(!framer.is_partial());
    }

    #[test]
    fn as_many_header_lines_as_the_parser_takes_are_framed() {
        let folds = "X: y\r\n z\r\n\tz\r\n".repeat(250);
        let text = format!("{HEAD}{folds}Content-Length: 0\r\n\r\n");
        assert_eq!(all(&text), [&text[..]]);
        assert!(crate::message::Message::parse(text.into()).is_ok());
    }

    #[test]
    fn a_folded_length_is_read() {
        let text = format!("{HEAD}Content-Length:\r\n  2\r\n\r\nab");
        assert_eq!(all(&text), [text]);
    }
}
