//! SIP messages (RFC 3261 §7): a zero-copy index for reading, a header list for writing.
//!
//! [`Message`] is what came: the bytes as received plus where things stand in them. Typed views
//! ([`NameAddr`], [`Via`], [`crate::uri::Uri`]) are read on demand from the values it hands out.
//! [`Draft`] is what goes: written once, in one pass.
//!
//! Stricter than RFC 3261, on purpose: no NUL in the header block, escaped or not (§25.1 lets a quoted
//! pair hold one); no CSeq of 2^31 and above, no Max-Forwards above 255; no Request-URI with headers;
//! no branch that is the magic cookie alone. Laxer: a display name need not be a token or quoted, a
//! tag need not be a token.
//!
//! Deliberately absent: a tree of typed headers. What we do not need we do not read, and what we do
//! not know passes byte for byte.

mod draft;
mod error;
mod header;
mod limits;
mod lines;
mod method;
mod multipart;
mod name_addr;
mod parse;
mod replaces;
pub(crate) mod scan;
mod span;
mod status;
pub(crate) mod vector;
mod via;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use draft::{Draft, DraftField};
pub use error::{ParseError, ParseErrorKind};
pub use header::HeaderId;
pub use limits::Limits;
pub use method::Method;
pub use multipart::{MultipartError, Part};
pub use name_addr::{NameAddr, NameAddrError};
pub use replaces::Replaces;
pub use scan::{Elements, Params, unquote};
pub use status::default_phrase;
pub use via::{Via, stamp as stamp_via};

pub(crate) use lines::line_end;
pub(crate) use parse::content_length;
pub(crate) use scan::{are_quotes_closed, is_token, number, trim};

use parse::{Entry, Index, Start};

/// A received message: its bytes and their index. Cloning copies two pointers.
#[derive(Clone)]
pub struct Message {
    raw: Bytes,
    index: Arc<Index>,
}

/// One header line of a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which header it is.
    pub id: HeaderId,
    /// The name as received.
    pub name: &'a [u8],
    /// The value without outer white space; folds inside are kept.
    pub value: &'a [u8],
}

impl Message {
    /// Reads one whole message, a datagram or what [`crate::framing::Framer`] cut from a stream,
    /// under the default [`Limits`]. Bytes behind the body that Content-Length states are dropped
    /// (RFC 3261 §18.3).
    ///
    /// Via, From, To, Call-ID and CSeq are checked here, so the accessors below cannot fail.
    ///
    /// # Errors
    /// With the refusal to send, where there is one.
    pub fn parse(raw: Bytes) -> Result<Self, ParseError> {
        Self::parse_within(raw, &Limits::default())
    }

    /// [`Self::parse`] under other limits.
    ///
    /// # Errors
    /// With the refusal to send, where there is one.
    pub fn parse_within(mut raw: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        while raw.starts_with(b"\r\n") {
            raw = raw.slice(2..);
        }
        if raw.is_empty() {
            return Err(ParseError { kind: ParseErrorKind::Empty, reply: None });
        }
        match parse::index(&raw, limits) {
            Ok(index) => {
                raw.truncate(index.body.end as usize);
                Ok(Self { raw, index: Arc::new(index) })
            }
            Err(kind) => Err(ParseError::new(kind, &raw)),
        }
    }

    /// The message as received, from the start line to the end of the body.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, Start::Request { .. })
    }

    /// The method; of a response, the CSeq method.
    pub fn method(&self) -> &Method {
        &self.index.method
    }

    /// The Request-URI as received; empty for a response.
    pub fn uri(&self) -> &[u8] {
        match &self.index.start {
            Start::Request { uri } => uri.of(&self.raw),
            Start::Response { .. } => &[],
        }
    }

    /// The status, 100 to 699; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.index.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    /// The reason phrase as received; empty for a request.
    pub fn reason_phrase(&self) -> &[u8] {
        match &self.index.start {
            Start::Request { .. } => &[],
            Start::Response { phrase, .. } => phrase.of(&self.raw),
        }
    }

    /// The Call-ID; never empty.
    pub fn call_id(&self) -> &[u8] {
        self.index.call_id.of(&self.raw)
    }

    /// The CSeq number, below 2^31.
    pub fn cseq(&self) -> u32 {
        self.index.cseq
    }

    /// The From tag; never empty.
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.index.from_tag.as_ref().map(|tag| tag.of(&self.raw))
    }

    /// The To tag; never empty.
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.index.to_tag.as_ref().map(|tag| tag.of(&self.raw))
    }

    /// The branch of the topmost Via; empty when it has none (RFC 2543 peers).
    pub fn branch(&self) -> &[u8] {
        self.index.branch.of(&self.raw)
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Via<'_> {
        Via::parse(self.index.via.of(&self.raw)).expect("the index holds a Via that was read once")
    }

    /// Max-Forwards, 0 to 255, where present.
    pub fn max_forwards(&self) -> Option<u32> {
        self.index.max_forwards
    }

    /// The first value of a header, outer white space trimmed.
    pub fn value(&self, id: HeaderId) -> Option<&[u8]> {
        self.values(id).next()
    }

    /// The values of a header, one for each line.
    pub fn values(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        self.entries(id).map(|entry| entry.value.of(&self.raw))
    }

    /// The comma-separated elements of a header over all its lines, in order.
    pub fn elements(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        self.values(id).flat_map(Elements::new)
    }

    /// The first value of a header by name, any case: for names that [`HeaderId`] does not list.
    pub fn other(&self, name: &str) -> Option<&[u8]> {
        let id = HeaderId::from_name(name.as_bytes());
        if id != HeaderId::Other {
            return self.value(id);
        }
        self.fields()
            .find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }

    /// All header lines in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.index.entries.iter().map(|entry| Field {
            id: entry.id,
            name: entry.name.of(&self.raw),
            value: entry.value.of(&self.raw),
        })
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> Bytes {
        self.raw.slice(self.index.body.start as usize..self.index.body.end as usize)
    }

    /// The bytes of a part of this message without copying them.
    ///
    /// # Panics
    /// When `part` is not a slice of [`Self::raw`].
    pub fn slice(&self, part: &[u8]) -> Bytes {
        self.raw.slice_ref(part)
    }

    /// The session description: the body if it is `application/sdp`, or the first such part of a
    /// multipart body.
    pub fn sdp(&self) -> Option<Bytes> {
        multipart::sdp(self)
    }

    /// The parts of a multipart body; `None` when the body is not multipart.
    ///
    /// # Errors
    /// When the multipart body is malformed: answer 400.
    pub fn parts(&self) -> Option<Result<Vec<Part>, MultipartError>> {
        multipart::parts(self)
    }

    fn entries(&self, id: HeaderId) -> impl Iterator<Item = &Entry> {
        self.index.entries.iter().filter(move |entry| entry.id == id)
    }
}

impl fmt::Debug for Message {
    /// The kind, Call-ID and CSeq only: a message holds numbers and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", self.method())
            .field("status", &self.status())
            .field("call_id", &String::from_utf8_lossy(self.call_id()))
            .field("cseq", &self.cseq())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:+14255550100@c1.sbc.example.com:5061;user=phone SIP/2.0\r\n\
        FROM: John Doe<sip:+14255550123@sip.example.net:5061;user=phone>;tag=ab12\r\n\
        t : <sip:+14255550100@c1.sbc.example.com:5061;user=phone>\r\n\
        CSEQ: 1 INVITE\r\n\
        CALL-ID: one\r\n\
        MAX-FORWARDS: 70\r\n\
        VIA: SIP/2.0/TLS 127.0.0.78:5061;branch=z9hG4bKT02\r\n\
        CONTACT: <sip:api.example.net:443;x-i=b712;x-c=a35a/s/1>\r\n\
        X-Odd:  \u{ff} kept \r\n\
        v: SIP/2.0/UDP a, SIP/2.0/UDP b\r\n\
        SUBJECT: two\r\n  lines\r\n\
        ALLOW: INVITE,ACK, OPTIONS\r\n\
        c: application/sdp\r\n\
        CONTENT-LENGTH: 5\r\n\r\nv=0\r\nrest";

    fn parse(text: &str) -> Result<Message, ParseError> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_request_shows_what_it_holds() {
        let message = parse(INVITE).unwrap();
        assert!(message.is_request());
        assert_eq!(message.method(), &Method::Invite);
        assert_eq!(message.uri(), b"sip:+14255550100@c1.sbc.example.com:5061;user=phone");
        assert_eq!((message.status(), message.reason_phrase()), (0, &b""[..]));
        assert_eq!((message.call_id(), message.cseq()), (&b"one"[..], 1));
        assert_eq!((message.from_tag(), message.to_tag()), (Some(&b"ab12"[..]), None));
        assert_eq!(message.branch(), b"z9hG4bKT02");
        assert_eq!(message.top_via().port, Some(5061));
        assert_eq!(message.max_forwards(), Some(70));
        assert_eq!(message.value(HeaderId::Subject), Some(&b"two\r\n  lines"[..]));
        assert_eq!(message.other("x-odd"), Some("\u{ff} kept".as_bytes()));
        assert_eq!(message.other("from"), message.value(HeaderId::From));
        assert_eq!(message.values(HeaderId::Via).count(), 2);
        assert_eq!(message.elements(HeaderId::Via).count(), 3);
        assert_eq!(
            message.elements(HeaderId::Allow).collect::<Vec<_>>(),
            [&b"INVITE"[..], b"ACK", b"OPTIONS"]
        );
        assert_eq!(message.sdp().unwrap(), "v=0\r\n");
        assert!(message.raw().ends_with(b"v=0\r\n"));
        assert_eq!(message.fields().nth(1).unwrap().name, b"t");
    }

    #[test]
    fn a_response_shows_what_it_holds() {
        let message = parse(
            "SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
             To: <sip:b>;tag=2\r\nCall-ID: c\r\nCSeq: 2147483647 INVITE\r\nContent-Length: 0\r\n\r\n",
        )
        .unwrap();
        assert!(!message.is_request());
        assert_eq!((message.status(), message.reason_phrase()), (183, &b"Session Progress"[..]));
        assert_eq!(message.method(), &Method::Invite);
        assert_eq!(message.uri(), b"");
        assert_eq!(message.to_tag(), Some(&b"2"[..]));
        assert_eq!(message.cseq(), 2_147_483_647);
        assert_eq!(message.sdp(), None);
    }
}
