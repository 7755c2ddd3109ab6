//! The few things a load generator reads in a message, and its templates.

use std::io::Write;
use std::net::SocketAddr;

use memchr::{memchr, memmem};

use super::{DOMAIN, FQDN, TENANT};

/// Which header a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    RecordRoute,
    Length,
    Other,
}

impl Name {
    fn read(name: &[u8]) -> Self {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        match name.first().map(u8::to_ascii_lowercase) {
            Some(b'v') if is(b"via") || is(b"v") => Self::Via,
            Some(b'f') if is(b"from") || is(b"f") => Self::From,
            Some(b't') if is(b"to") || is(b"t") => Self::To,
            Some(b'c') if is(b"call-id") => Self::CallId,
            Some(b'c') if is(b"cseq") => Self::CSeq,
            Some(b'c') if is(b"contact") => Self::Contact,
            Some(b'c') if is(b"content-length") => Self::Length,
            Some(b'i') if is(b"i") => Self::CallId,
            Some(b'm') if is(b"m") => Self::Contact,
            Some(b'l') if is(b"l") => Self::Length,
            Some(b'r') if is(b"record-route") => Self::RecordRoute,
            Some(_) | None => Self::Other,
        }
    }
}

/// The header lines of a message: name, value, and the whole line with its end.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
    let mut rest = memchr(b'\n', head).map_or(&[][..], |end| &head[end + 1..]);
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)? + 1;
        let (line, after) = rest.split_at(end);
        rest = after;
        let colon = memchr(b':', line)?;
        Some((Name::read(&line[..colon]), line[colon + 1..].trim_ascii(), line))
    })
}

/// The length of the first message in a stream's bytes; `None` while it is not whole.
pub(super) fn whole(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let length = lines(&bytes[..head]).find(|(name, ..)| *name == Name::Length);
    let body = length.and_then(|(_, value, _)| number(value)).unwrap_or(0);
    (bytes.len() >= head + body as usize).then_some(head + body as usize)
}

/// The digits at the front.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut any = false;
    let value = digits.fold(0_u64, |value, byte| {
        any = true;
        value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'))
    });
    any.then_some(value)
}

/// The status of a response; `None` for a request.
pub(super) fn status(message: &[u8]) -> Option<u16> {
    let rest = message.strip_prefix(b"SIP/2.0 ")?;
    number(rest).and_then(|status| u16::try_from(status).ok())
}

/// The URI between angle brackets, or the value without parameters.
pub(super) fn uri(value: &[u8]) -> &[u8] {
    if let (Some(open), Some(close)) = (memchr(b'<', value), memchr(b'>', value))
        && open < close
    {
        return &value[open + 1..close];
    }
    memchr(b';', value).map_or(value, |end| &value[..end])
}

/// What one end writes about itself.
#[derive(Clone, Debug)]
pub(super) struct Persona {
    pub(super) transport: &'static str,
    /// `sent-by` of its Via.
    pub(super) sent_by: String,
    pub(super) contact: String,
    /// Further header lines of its requests and 200s.
    pub(super) extra: &'static str,
    pub(super) sdp: String,
    /// `@host` of numbers in From, and in Request-URI and To when it calls.
    pub(super) from_host: String,
    pub(super) to_host: String,
    /// Parameters of the URIs it calls.
    pub(super) uri_params: &'static str,
}

impl Persona {
    pub(super) fn carrier(at: SocketAddr, server: SocketAddr) -> Self {
        let ip = at.ip();
        let sdp = format!(
            "v=0\r\no=carrier 20 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
        );
        Self {
            transport: "UDP",
            sent_by: at.to_string(),
            contact: format!("<sip:carrier@{at}>"),
            extra: "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nUser-Agent: load\r\n",
            sdp,
            from_host: ip.to_string(),
            to_host: server.to_string(),
            uri_params: "",
        }
    }

    pub(super) fn teams(at: SocketAddr) -> Self {
        let ip = at.ip();
        let sdp = format!(
            "v=0\r\no=- 31201 0 IN IP4 {ip}\r\ns=session\r\nc=IN IP4 {ip}\r\nb=CT:10000000\r\nt=0 0\r\n\
             m=audio 50000 RTP/SAVP 8 0 13 101\r\nc=IN IP4 {ip}\r\na=rtcp:50001\r\na=label:main-audio\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31\r\n\
             a=sendrecv\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:13 CN/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n"
        );
        Self {
            transport: "TLS",
            sent_by: format!("sip.{DOMAIN}:5061"),
            contact: format!(
                "<sip:api-du-a-euwe.{DOMAIN}:443;x-i=b712d12c-77e8-4017-b50d-6d321507aa28;\
                 x-c=a35ae5eac0105fb38b0c8892d3467cb5/s/1/4b30e7706660465fbbd332a888abd49a>"
            ),
            extra: "ALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY\r\n\
                    SERVER: Microsoft.PSTNHub.SIPProxy v.2024.2.6.5 i.USEA.5\r\n",
            sdp,
            from_host: format!("sip.{DOMAIN}:5061"),
            to_host: format!("{TENANT}:5061"),
            uri_params: ";user=phone",
        }
    }

    /// The INVITE of a call. `called` and `caller` are numbers without `+`.
    pub(super) fn invite(&self, out: &mut Vec<u8>, call: &Label, caller: u64, called: u64) {
        let Self { transport, sent_by, contact, extra, sdp, from_host, to_host, uri_params } = self;
        let Label { number, salt } = *call;
        let _ = write!(
            out,
            "INVITE sip:+{called}@{to_host}{uri_params} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{salt:08x}i{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+{caller}@{from_host}>;tag={number}f{salt:08x}\r\n\
             To: <sip:+{called}@{to_host}>\r\nCall-ID: {number}-{salt:08x}@load\r\nCSeq: 1 INVITE\r\n\
             Contact: {contact}\r\n{extra}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
    }

    /// The ACK of a refusal: hop by hop, the INVITE's branch (RFC 3261 §17.1.1.3).
    pub(super) fn ack_refusal(
        &self,
        out: &mut Vec<u8>,
        call: &Label,
        caller: u64,
        called: u64,
        to: &[u8],
    ) {
        let Self { transport, sent_by, from_host, to_host, uri_params, .. } = self;
        let Label { number, salt } = *call;
        let _ = write!(
            out,
            "ACK sip:+{called}@{to_host}{uri_params} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{salt:08x}i{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+{caller}@{from_host}>;tag={number}f{salt:08x}\r\nTo: "
        );
        out.extend_from_slice(to);
        let _ = write!(
            out,
            "\r\nCall-ID: {number}-{salt:08x}@load\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
        );
    }

    /// A request in the dialog of an answered call: `method` is ACK or BYE.
    pub(super) fn in_dialog(
        &self,
        out: &mut Vec<u8>,
        call: &Label,
        caller: u64,
        method: &str,
        dialog: &Dialog,
    ) {
        let Self { transport, sent_by, from_host, .. } = self;
        let Label { number, salt } = *call;
        let (mark, cseq) = if method == "ACK" { ('a', 1) } else { ('b', 2) };
        let _ = write!(out, "{method} ");
        out.extend_from_slice(&dialog.target);
        let _ = write!(
            out,
            " SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{salt:08x}{mark}{number}\r\n"
        );
        out.extend_from_slice(&dialog.routes);
        let _ = write!(
            out,
            "Max-Forwards: 70\r\nFrom: <sip:+{caller}@{from_host}>;tag={number}f{salt:08x}\r\nTo: "
        );
        out.extend_from_slice(&dialog.to);
        let _ = write!(
            out,
            "\r\nCall-ID: {number}-{salt:08x}@load\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
        );
    }

    /// A response to `request` in our words.
    pub(super) fn respond(
        &self,
        out: &mut Vec<u8>,
        request: &[u8],
        status: &str,
        tag: u64,
        sdp: bool,
    ) {
        let _ = write!(out, "SIP/2.0 {status}\r\n");
        let head = memmem::find(request, b"\r\n\r\n").map_or(request, |end| &request[..end + 2]);
        for (name, value, line) in lines(head) {
            match name {
                Name::To
                    if memmem::find(value, b";tag=").is_none() && !status.starts_with("100") =>
                {
                    out.extend_from_slice(line.trim_ascii_end());
                    let _ = write!(out, ";tag=u{tag}\r\n");
                }
                Name::Via
                | Name::From
                | Name::To
                | Name::CallId
                | Name::CSeq
                | Name::RecordRoute => {
                    out.extend_from_slice(line);
                }
                Name::Contact | Name::Length | Name::Other => {}
            }
        }
        if status.starts_with("100") {
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            return;
        }
        let (contact, extra) = (&self.contact, self.extra);
        let _ = write!(out, "Contact: {contact}\r\n{extra}");
        if sdp {
            let length = self.sdp.len();
            let _ =
                write!(out, "Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n");
            out.extend_from_slice(self.sdp.as_bytes());
        } else {
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        }
    }
}

/// A call's number and the mark of its run, which stand in its identifiers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) number: u64,
    pub(super) salt: u32,
}

/// What the caller keeps of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialog {
    pub(super) to: Vec<u8>,
    pub(super) target: Vec<u8>,
    /// Whole Route lines.
    pub(super) routes: Vec<u8>,
}

impl Dialog {
    /// From a 200: To, Contact and Record-Route, the last first (RFC 3261 §12.1.2).
    pub(super) fn read(&mut self, head: &[u8]) {
        self.to.clear();
        self.target.clear();
        self.routes.clear();
        let mut routes: Vec<&[u8]> = Vec::new();
        for (name, value, _) in lines(head) {
            match name {
                Name::To => self.to.extend_from_slice(value),
                Name::Contact => self.target.extend_from_slice(uri(value)),
                Name::RecordRoute => routes.extend(value.split(|byte| *byte == b',')),
                Name::Via | Name::From | Name::CallId | Name::CSeq | Name::Length | Name::Other => {
                }
            }
        }
        for route in routes.iter().rev() {
            self.routes.extend_from_slice(b"Route: ");
            self.routes.extend_from_slice(route.trim_ascii());
            self.routes.extend_from_slice(b"\r\n");
        }
    }
}

/// The name asked for in a TLS handshake towards the server.
pub(super) const SNI: &str = FQDN;
