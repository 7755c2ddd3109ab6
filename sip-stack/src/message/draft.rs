//! Outgoing messages: a start line, an ordered header list and a body, written in one pass.
//!
//! Nothing put into a draft can make a new line on the wire: CR, LF and NUL in a value become
//! spaces, in a name `-`, in a Request-URI escapes. Content-Length is counted, stands last, and
//! cannot be set.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::header::HeaderId;
use super::method::Method;
use super::name_addr::NameAddr;
use super::parse::Start;
use super::scan::is_token;
use super::status::default_phrase;
use super::{Message, via};

/// A message to be sent.
#[derive(Clone)]
pub struct Draft {
    start: StartLine,
    method: Method,
    fields: Vec<DraftField>,
    body: Bytes,
}

/// One header line of a [`Draft`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftField {
    /// Which header it is.
    pub id: HeaderId,
    /// The name of an [`HeaderId::Other`]; empty for a known header.
    pub name: Bytes,
    /// The value.
    pub value: Bytes,
}

#[derive(Clone)]
enum StartLine {
    Request { uri: Bytes },
    Response { status: u16, phrase: Option<Bytes> },
}

/// Room for the headers of a common request, so that the list is allocated once.
const FIELDS: usize = 16;

impl Draft {
    /// A request without headers.
    pub fn request(method: Method, uri: impl Into<Bytes>) -> Self {
        Self::new(StartLine::Request { uri: uri.into() }, method)
    }

    /// A response with the default reason phrase and the Via lines, From, To, Call-ID and CSeq of
    /// the request (RFC 3261 §8.2.6.2), for a 100 Timestamp too (§8.2.6.1).
    pub fn response(request: &Message, status: u16) -> Self {
        let start = StartLine::Response { status, phrase: None };
        let mut draft = Self::new(start, request.method().clone());
        draft.copy(request, HeaderId::Via);
        draft.copy(request, HeaderId::From);
        draft.copy(request, HeaderId::To);
        draft.copy(request, HeaderId::CallId);
        draft.copy(request, HeaderId::CSeq);
        if status == 100 {
            draft.copy(request, HeaderId::Timestamp);
        }
        draft
    }

    /// A response to a request that could not be indexed.
    pub(super) fn refusal(method: Method, status: u16, phrase: &'static str) -> Self {
        let phrase = Some(Bytes::from_static(phrase.as_bytes()));
        Self::new(StartLine::Response { status, phrase }, method)
    }

    fn new(start: StartLine, method: Method) -> Self {
        Self { start, method, fields: Vec::with_capacity(FIELDS), body: Bytes::new() }
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method; of a response, that of the request it answers.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The Request-URI; empty for a response.
    pub fn uri(&self) -> &[u8] {
        match &self.start {
            StartLine::Request { uri } => uri,
            StartLine::Response { .. } => &[],
        }
    }

    /// Replaces the Request-URI; nothing happens to a response.
    pub fn set_uri(&mut self, uri: impl Into<Bytes>) {
        match &mut self.start {
            StartLine::Request { uri: old } => *old = uri.into(),
            StartLine::Response { .. } => {}
        }
    }

    /// The status; 0 for a request.
    pub const fn status(&self) -> u16 {
        match self.start {
            StartLine::Request { .. } => 0,
            StartLine::Response { status, .. } => status,
        }
    }

    /// Sets the reason phrase; nothing happens to a request.
    pub fn reason_phrase(&mut self, text: impl Into<Bytes>) -> &mut Self {
        match &mut self.start {
            StartLine::Response { phrase, .. } => *phrase = Some(text.into()),
            StartLine::Request { .. } => {}
        }
        self
    }

    /// Adds a header line behind all others. Content-Length is ignored: it is counted.
    pub fn push(&mut self, id: HeaderId, value: impl Into<Bytes>) -> &mut Self {
        if !matches!(id, HeaderId::Other | HeaderId::ContentLength) {
            self.fields.push(DraftField { id, name: Bytes::new(), value: value.into() });
        }
        self
    }

    /// Adds a header line by name, behind all others. A name that the stack knows becomes that
    /// header.
    pub fn push_other(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        let name = name.into();
        let id = HeaderId::from_name(&name);
        if id != HeaderId::Other {
            self.push(id, value);
        } else if !name.is_empty() {
            self.fields.push(DraftField { id, name, value: value.into() });
        }
        self
    }

    /// Adds a header line before all others.
    pub fn insert_first(&mut self, id: HeaderId, value: impl Into<Bytes>) -> &mut Self {
        if !matches!(id, HeaderId::Other | HeaderId::ContentLength) {
            self.fields.insert(0, DraftField { id, name: Bytes::new(), value: value.into() });
        }
        self
    }

    /// Replaces all lines of a header by one, at the place of the first.
    pub fn set(&mut self, id: HeaderId, value: impl Into<Bytes>) -> &mut Self {
        let Some(at) = self.fields.iter().position(|field| field.id == id) else {
            return self.push(id, value);
        };
        if id != HeaderId::Other {
            self.fields[at].value = value.into();
            let mut line = 0;
            self.fields.retain(|field| {
                line += 1;
                field.id != id || line == at + 1
            });
        }
        self
    }

    /// Removes all lines of a header.
    pub fn remove(&mut self, id: HeaderId) -> &mut Self {
        self.fields.retain(|field| field.id != id);
        self
    }

    /// Removes all lines of a header by name, in any case.
    pub fn remove_other(&mut self, name: &str) -> &mut Self {
        let id = HeaderId::from_name(name.as_bytes());
        if id != HeaderId::Other {
            return self.remove(id);
        }
        self.fields.retain(|field| !field.name.eq_ignore_ascii_case(name.as_bytes()));
        self
    }

    pub(super) fn remove_last(&mut self, id: HeaderId) {
        if let Some(at) = self.fields.iter().rposition(|field| field.id == id) {
            self.fields.remove(at);
        }
    }

    /// The first value of a header.
    pub fn value(&self, id: HeaderId) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.id == id).map(|field| &field.value[..])
    }

    /// All header lines in order, without Content-Length.
    pub fn fields(&self) -> impl Iterator<Item = &DraftField> {
        self.fields.iter()
    }

    /// Adds all lines of a header of a received message, bytes kept.
    pub fn copy(&mut self, from: &Message, id: HeaderId) -> &mut Self {
        for value in from.values(id) {
            self.push(id, from.slice(value));
        }
        self
    }

    /// Adds `;tag=` to To when it has none.
    pub fn set_to_tag(&mut self, tag: &[u8]) -> &mut Self {
        let to = self.fields.iter_mut().find(|field| field.id == HeaderId::To);
        if let Some(to) = to
            && NameAddr::parse(&to.value).is_ok_and(|address| address.param("tag").is_none())
        {
            to.value = Bytes::from([&to.value[..], b";tag=", tag].concat());
        }
        self
    }

    /// Notes in the topmost Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4); see
    /// [`via::stamp`].
    pub fn stamp_via(&mut self, source: std::net::SocketAddr) -> &mut Self {
        if let Some(field) = self.fields.iter_mut().find(|field| field.id == HeaderId::Via) {
            field.value = via::stamp(&field.value, source);
        }
        self
    }

    /// Sets body and Content-Type.
    pub fn body(&mut self, content_type: impl Into<Bytes>, body: impl Into<Bytes>) -> &mut Self {
        self.set(HeaderId::ContentType, content_type);
        self.body = body.into();
        self
    }

    /// The body that was set.
    pub const fn payload(&self) -> &Bytes {
        &self.body
    }

    /// The message as it goes on the wire: one pass, one buffer.
    pub fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.room());
        match &self.start {
            StartLine::Request { uri } => {
                put(&mut out, self.method.as_bytes(), |b| is_token(b).then_some(b), b'-');
                out.put_u8(b' ');
                put_uri(&mut out, uri);
                out.put_slice(b" SIP/2.0\r\n");
            }
            StartLine::Response { status, phrase } => {
                out.put_slice(b"SIP/2.0 ");
                put_number(&mut out, usize::from(*status));
                out.put_u8(b' ');
                match phrase {
                    Some(phrase) => put_value(&mut out, phrase),
                    None => out.put_slice(default_phrase(*status).as_bytes()),
                }
                out.put_slice(b"\r\n");
            }
        }
        for field in &self.fields {
            if field.id == HeaderId::Other {
                put(&mut out, &field.name, |b| is_token(b).then_some(b), b'-');
            } else {
                out.put_slice(field.id.name().as_bytes());
            }
            out.put_slice(b": ");
            put_value(&mut out, &field.value);
            out.put_slice(b"\r\n");
        }
        out.put_slice(b"Content-Length: ");
        put_number(&mut out, self.body.len());
        out.put_slice(b"\r\n\r\n");
        out.put_slice(&self.body);
        out.freeze()
    }

    fn room(&self) -> usize {
        const NAME_AND_SEPARATORS: usize = 28;
        let fields: usize = self
            .fields
            .iter()
            .map(|field| NAME_AND_SEPARATORS + field.name.len() + field.value.len())
            .sum();
        fields + self.body.len() + self.uri().len() + 128
    }
}

impl fmt::Debug for Draft {
    /// The kind, Call-ID and CSeq only: a message holds numbers and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |id| String::from_utf8_lossy(self.value(id).unwrap_or_default());
        f.debug_struct("Draft")
            .field("method", &self.method)
            .field("status", &self.status())
            .field("call_id", &text(HeaderId::CallId))
            .field("cseq", &text(HeaderId::CSeq))
            .finish_non_exhaustive()
    }
}

impl From<&Message> for Draft {
    /// A draft with everything that the message holds: values as received, known names in their
    /// canonical spelling.
    fn from(message: &Message) -> Self {
        let start = match message.index.start {
            Start::Request { .. } => StartLine::Request { uri: message.slice(message.uri()) },
            Start::Response { status, .. } => {
                let phrase = Some(message.slice(message.reason_phrase()));
                StartLine::Response { status, phrase }
            }
        };
        let mut draft = Self::new(start, message.method().clone());
        for field in message.fields() {
            if field.id == HeaderId::Other {
                draft.push_other(message.slice(field.name), message.slice(field.value));
            } else {
                draft.push(field.id, message.slice(field.value));
            }
        }
        draft.body = message.body();
        draft
    }
}

/// Appends `bytes`; where `keep` says `None`, `instead` stands.
fn put(out: &mut BytesMut, bytes: &[u8], keep: impl Fn(u8) -> Option<u8>, instead: u8) {
    out.extend(bytes.iter().map(|&byte| keep(byte).unwrap_or(instead)));
}

fn put_value(out: &mut BytesMut, value: &[u8]) {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        out.put_slice(value);
    } else {
        put(out, value, |b| (!matches!(b, b'\r' | b'\n' | 0)).then_some(b), b' ');
    }
}

fn put_uri(out: &mut BytesMut, uri: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if !uri.iter().any(|&b| b <= b' ' || b == 0x7f) {
        return out.put_slice(uri);
    }
    for &byte in uri {
        match byte {
            0..=b' ' | 0x7f => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.put_slice(&[b'%', HEX[high], HEX[low]]);
            }
            _ => out.put_u8(byte),
        }
    }
}

fn put_number(out: &mut BytesMut, mut number: usize) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.put_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "INVITE sip:h SIP/2.0\r\nv: SIP/2.0/UDP a;rport;branch=z9hG4bK1\r\n\
        via: SIP/2.0/UDP b\r\nf: <sip:a>;tag=1\r\nTo: <sip:b>\r\ni: c\r\nCSeq: 7 INVITE\r\n\
        X-Odd: 1\r\nx-odd: 2\r\nl: 2\r\n\r\nhi";

    fn request() -> Message {
        Message::parse(Bytes::from_static(REQUEST.as_bytes())).unwrap()
    }

    fn text(draft: &Draft) -> String {
        String::from_utf8(draft.write().to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_written() {
        let mut draft = Draft::request(Method::Invite, "sip:b@h");
        draft
            .push(HeaderId::From, "<sip:a>;tag=1")
            .push_other("X-Odd", "y")
            .push_other("T", "<sip:b>");
        draft.insert_first(HeaderId::Via, "SIP/2.0/UDP h").push(HeaderId::ContentLength, "99");
        draft.body("text/plain", "hello");
        assert_eq!((draft.is_request(), draft.status(), draft.uri()), (true, 0, &b"sip:b@h"[..]));
        assert_eq!(
            text(&draft),
            "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>;tag=1\r\nX-Odd: y\r\n\
             To: <sip:b>\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
        );
    }

    #[test]
    fn a_response_repeats_its_request() {
        let mut draft = Draft::response(&request(), 180);
        draft.set_to_tag(b"x").set_to_tag(b"y");
        draft.stamp_via("192.0.2.1:9".parse().unwrap());
        assert_eq!((draft.method(), draft.status()), (&Method::Invite, 180));
        assert_eq!(
            text(&draft),
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1;rport=9\r\n\
             Via: SIP/2.0/UDP b\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=x\r\nCall-ID: c\r\n\
             CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        draft.reason_phrase("Somewhere");
        assert!(text(&draft).starts_with("SIP/2.0 180 Somewhere\r\n"));
    }

    #[test]
    fn editing() {
        let mut draft = Draft::from(&request());
        draft.set(HeaderId::Via, "SIP/2.0/TLS n").set(HeaderId::Subject, "s");
        draft.remove(HeaderId::From).remove_other("X-ODD").remove_other("cseq");
        draft.set_uri("tel:+1");
        assert_eq!(draft.value(HeaderId::Via), Some(&b"SIP/2.0/TLS n"[..]));
        assert_eq!(
            text(&draft),
            "INVITE tel:+1 SIP/2.0\r\nVia: SIP/2.0/TLS n\r\nTo: <sip:b>\r\nCall-ID: c\r\n\
             Subject: s\r\nContent-Length: 2\r\n\r\nhi"
        );
        draft.copy(&request(), HeaderId::Via);
        assert_eq!(draft.fields().filter(|field| field.id == HeaderId::Via).count(), 3);
    }

    #[test]
    fn nothing_makes_a_new_line() {
        let evil = "x\r\nVia: evil\0\ny";
        let mut draft = Draft::request(Method::Other(evil.into()), evil);
        draft.push(HeaderId::Subject, evil).push_other(evil, evil).push_other("", "x");
        assert_eq!(
            text(&draft),
            "x--Via--evil--y x%0D%0AVia:%20evil%00%0Ay SIP/2.0\r\nSubject: x  Via: evil  y\r\n\
             x--Via--evil--y: x  Via: evil  y\r\nContent-Length: 0\r\n\r\n"
        );
        let mut draft = Draft::response(&request(), 200);
        draft.reason_phrase(evil);
        assert!(text(&draft).starts_with("SIP/2.0 200 x  Via: evil  y\r\n"));
    }

    #[test]
    fn a_name_cannot_hide_a_known_header() {
        let mut draft = Draft::request(Method::Options, "sip:h");
        draft.push_other("content-length", "9").push_other("V", "SIP/2.0/UDP h");
        assert_eq!(draft.value(HeaderId::Via), Some(&b"SIP/2.0/UDP h"[..]));
        assert_eq!(text(&draft).matches("ontent-").count(), 1);
    }

    #[test]
    fn numbers_are_written() {
        for number in [0, 9, 10, 65535, usize::MAX] {
            let mut out = BytesMut::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
