//! What is wrong with a message, and the answer to it where there is one.
//!
//! A message that cannot be indexed may still show enough to be answered (RFC 3261 §8.2, RFC 4475
//! §3): the header lines that a response copies are picked out line by line, without trust. Where a
//! message has line ends as they must be, no other byte begins a line here: a bare LF must not make a
//! header of what our neighbours read as part of a value.

use bytes::Bytes;

use super::header::HeaderId;
use super::limits::Limits;
use super::method::Method;
use super::scan::{is_token, trim};
use super::{Draft, scan};

/// Why bytes are not a message that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Nothing but line ends: a keep-alive on a datagram transport.
    #[error("empty")]
    Empty,
    /// The start line is neither a request line nor a status line.
    #[error("malformed start line")]
    StartLine,
    /// A request of another SIP version (RFC 3261 §21.5.6).
    #[error("SIP version not supported")]
    Version,
    /// The Request-URI is malformed, or carries headers (RFC 4475 §3.3.15).
    #[error("malformed Request-URI")]
    RequestUri,
    /// A CR or LF that is not part of CRLF.
    #[error("bare CR or LF in the header block")]
    BareLineEnd,
    /// A NUL byte in the header block.
    #[error("NUL in the header block")]
    Nul,
    /// A header line without a name, or without a colon.
    #[error("malformed header line")]
    HeaderLine,
    /// The blank line that ends the header block is missing.
    #[error("header block is not closed")]
    Unterminated,
    /// More header bytes or lines, or a larger message, than [`Limits`] allow.
    #[error("message too large")]
    TooLarge,
    /// A header that may stand once stands twice.
    #[error("{} stands twice", .0.name())]
    Doubled(HeaderId),
    /// A mandatory header is missing.
    #[error("{} is missing", .0.name())]
    Missing(HeaderId),
    /// A header that the stack depends on is malformed.
    #[error("{} is malformed", .0.name())]
    Malformed(HeaderId),
    /// The CSeq method differs from that of the request line.
    #[error("CSeq method differs from the request line")]
    MethodMismatch,
    /// Content-Length is larger than what came.
    #[error("body shorter than Content-Length")]
    Short,
}

impl ParseErrorKind {
    /// The status and reason phrase to refuse such a request with.
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::Version => (505, "Version Not Supported"),
            Self::TooLarge => (513, "Message Too Large"),
            Self::RequestUri => (400, "Malformed Request-URI"),
            Self::BareLineEnd | Self::Nul => (400, "Malformed Line End"),
            Self::HeaderLine | Self::Unterminated => (400, "Malformed Header"),
            Self::Doubled(_) => (400, "Doubled Header"),
            Self::Missing(_) => (400, "Missing Header"),
            Self::Malformed(_) => (400, "Malformed Header"),
            Self::MethodMismatch => (400, "CSeq Method Mismatch"),
            Self::Short => (400, "Body Shorter Than Content-Length"),
            Self::Empty | Self::StartLine => (400, "Bad Request"),
        }
    }
}

impl ParseErrorKind {
    /// The label in metrics: one word for each kind, whichever header it is about.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::StartLine => "start_line",
            Self::Version => "version",
            Self::RequestUri => "request_uri",
            Self::BareLineEnd => "bare_line_end",
            Self::Nul => "nul",
            Self::HeaderLine => "header_line",
            Self::Unterminated => "unterminated",
            Self::TooLarge => "too_large",
            Self::Doubled(_) => "doubled",
            Self::Missing(_) => "missing",
            Self::Malformed(_) => "malformed",
            Self::MethodMismatch => "method_mismatch",
            Self::Short => "short",
        }
    }
}

/// Bytes that are not a message that we take.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// The refusal, where the bytes are a request other than ACK and show whom to answer.
    pub reply: Option<Box<Draft>>,
}

impl ParseError {
    /// The error for `raw`, with the refusal that can be read from it.
    pub(crate) fn new(kind: ParseErrorKind, raw: &Bytes) -> Self {
        Self { kind, reply: reply(kind, raw).map(Box::new) }
    }
}

/// What a response copies besides Via (RFC 3261 §8.2.6.2).
const COPIED: [HeaderId; 4] = [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq];
/// Header lines that are looked at for the answer, which so stays smaller than what came.
const REPLY_LINES: usize = 64;

fn reply(kind: ParseErrorKind, raw: &Bytes) -> Option<Draft> {
    let mut lines = LooseLines::new(&raw[..raw.len().min(Limits::default().header_bytes)]);
    let start = lines.find(|line| !line.is_empty())?;
    let method_len = start.iter().take_while(|&&b| is_token(b)).count();
    let is_request = method_len > 0 && start.get(method_len) == Some(&b' ');
    let method = Method::from_bytes(&start[..method_len]);
    if !is_request || method == Method::Ack {
        return None;
    }
    let (status, phrase) = kind.status();
    let mut draft = Draft::refusal(method, status, phrase);
    let mut last = None;
    for line in lines.take_while(|line| !line.is_empty()).take(REPLY_LINES) {
        if matches!(line[0], b' ' | b'\t') {
            // A fold goes on with the line before: the two are one slice of the buffer.
            if let Some((id, start)) = last {
                let end = scan::offset(raw, line)? + line.len();
                draft.remove_last(id);
                draft.push(id, raw.slice_ref(trim(&raw[start..end])));
            }
            continue;
        }
        last = None;
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let id = HeaderId::from_name(trim(&line[..colon]));
        let wanted = id == HeaderId::Via || (COPIED.contains(&id) && draft.value(id).is_none());
        let value = trim(&line[colon + 1..]);
        if wanted {
            last = scan::offset(raw, line).map(|at| (id, at + colon + 1));
            draft.push(id, raw.slice_ref(value));
        }
    }
    draft.value(HeaderId::Via).filter(|via| !via.is_empty())?;
    Some(draft)
}

/// Lines of a header block that may be broken: what stands before any CR or LF. The next line begins behind a CRLF, or where there is no
/// CRLF at all behind any line end.
struct LooseLines<'a> {
    rest: &'a [u8],
    crlf: bool,
}

impl<'a> LooseLines<'a> {
    fn new(block: &'a [u8]) -> Self {
        Self { rest: block, crlf: memchr::memmem::find(block, b"\r\n").is_some() }
    }
}

impl<'a> Iterator for LooseLines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\r', b'\n', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        let next = if self.crlf {
            memchr::memmem::find(&self.rest[end..], b"\r\n")
                .map_or(self.rest.len(), |at| end + at + 2)
        } else {
            end + 1
        };
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    const LINES: &str = "v: SIP/2.0/UDP h;branch=z9hG4bK1, SIP/2.0/UDP i\r\nVia: SIP/2.0/TCP j\r\n\
        From:\r\n <sip:a>;tag=1\r\nFrom: <sip:z>\r\nTo: <sip:b>\r\ni: c\r\nCSeq: 9999999999 INVITE\r\n\
        X: y\r\n\r\nTo: <sip:body>\r\n";

    fn refuse(text: &str) -> ParseError {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_err()
    }

    #[test]
    fn a_refusal_repeats_what_can_be_read() {
        let error = refuse(&format!("INVITE sip:h SIP/2.0\r\n{LINES}"));
        assert_eq!(error.kind, ParseErrorKind::Doubled(HeaderId::From));
        assert_eq!(
            error.reply.unwrap().write(),
            "SIP/2.0 400 Doubled Header\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1, SIP/2.0/UDP i\r\n\
             Via: SIP/2.0/TCP j\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\n\
             CSeq: 9999999999 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        let error = refuse(&format!("INVITE sip:h SIP/7.0\r\n{LINES}"));
        assert_eq!(error.kind.status(), (505, "Version Not Supported"));
        assert_eq!(error.reply.unwrap().status(), 505);
    }

    #[test]
    fn a_refusal_has_no_line_of_the_attackers() {
        let via = "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nTo: <sip:b>\0\n";
        let text = refuse(&format!("{via}X: y\r\n\r\n")).reply.unwrap().write();
        assert_eq!(
            text,
            "SIP/2.0 400 Malformed Line End\r\nVia: SIP/2.0/UDP h\r\nTo: <sip:b> \r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_bare_line_end_begins_no_header_of_a_refusal() {
        for evil in ["\n", "\r", "\0\n", "\r\r"] {
            let error = refuse(&format!(
                "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nX: a{evil}Via: SIP/2.0/UDP evil{evil}To: <sip:evil>\r\n\
                 To: <sip:b>{evil}Call-ID: evil\r\n\r\n"
            ));
            assert_eq!(error.kind.status().0, 400);
            assert_eq!(
                String::from_utf8_lossy(&error.reply.unwrap().write()).replace(' ', ""),
                "SIP/2.0400MalformedLineEnd\r\nVia:SIP/2.0/UDPh\r\nTo:<sip:b>\r\nContent-Length:0\r\n\r\n"
            );
        }
        // Where nothing but LF ends lines, whoever wrote it means them.
        let text = "INVITE sip:h SIP/2.0\nVia: SIP/2.0/UDP h\nTo: <sip:b>\n\n";
        assert_eq!(refuse(text).reply.unwrap().fields().count(), 2);
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        for text in [
            "",
            "\r\n\r\n",
            "garbage",
            "SIP/2.0 2000 no\r\nVia: SIP/2.0/UDP h\r\n\r\n",
            "ACK sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n",
            "INVITE sip:h SIP/2.0\r\nTo: <sip:b>\r\n\r\n",
            "INVITE sip:h SIP/2.0\r\nVia:\r\n\r\n",
            "INVITE sip:h SIP/2.0\r\n\r\nVia: SIP/2.0/UDP h\r\n\r\n",
        ] {
            assert!(refuse(text).reply.is_none(), "{text}");
        }
        assert_eq!(refuse("\r\n\r\n").kind, ParseErrorKind::Empty);
    }
}
