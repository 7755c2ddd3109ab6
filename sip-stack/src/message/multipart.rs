//! Multipart bodies (RFC 5621, RFC 2046 §5.1): finding the session description among other parts, and writing one beside
//! others.
//!
//! One level only: a part that is itself multipart is handed out as bytes. Parts are bounded in
//! number and in header size.

use bytes::Bytes;

use super::header::HeaderId;
use super::lines::Lines;
use super::scan::{Params, trim, unquote};
use super::vector::find;
use super::{Draft, Message};

/// One part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Content-Type as written; empty when the part states none.
    pub content_type: Bytes,
    /// The header lines of the part, without the blank line.
    pub headers: Bytes,
    /// The content.
    pub body: Bytes,
}

/// Why a multipart body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MultipartError {
    /// The boundary parameter is missing, empty or longer than 70 bytes.
    #[error("no usable boundary")]
    Boundary,
    /// No first boundary line, or no closing one.
    #[error("multipart body is not closed")]
    Unclosed,
    /// A part's header block is malformed, larger than 4 kB, or has two Content-Types.
    #[error("malformed part headers")]
    PartHeaders,
    /// More than 16 parts.
    #[error("too many parts")]
    TooMany,
    /// More than one session description.
    #[error("several session descriptions")]
    Ambiguous,
}

impl Part {
    /// The first header of that name in the part, outer white space trimmed; folds inside are kept.
    pub fn header(&self, id: HeaderId) -> Option<&[u8]> {
        let mut lines = Lines::new(&self.headers, 0);
        while let Ok(Some(line)) = lines.next() {
            let (known, _, value) = line.read(&self.headers).ok()?;
            if known == id {
                return Some(value.of(&self.headers));
            }
        }
        None
    }

    /// Whether the part is of that type, in any case.
    pub fn is_type(&self, kind: &str, subtype: &str) -> bool {
        is_type(&self.content_type, kind.as_bytes(), Some(subtype.as_bytes()))
    }
}

impl Draft {
    /// Sets an SDP body with parts beside it, each as it was received (multipart/mixed); the SDP alone when there is
    /// none. `boundary` is a token that no part can know beforehand.
    pub fn sdp_beside(&mut self, sdp: &[u8], parts: &[Part], boundary: &[u8]) -> &mut Self {
        if parts.is_empty() {
            return self.body(&b"application/sdp"[..], Bytes::copy_from_slice(sdp));
        }
        let mut body =
            [&b"--"[..], boundary, b"\r\nContent-Type: application/sdp\r\n\r\n", sdp].concat();
        for part in parts {
            for piece in
                [&b"\r\n--"[..], boundary, b"\r\n", &part.headers[..], b"\r\n", &part.body[..]]
            {
                body.extend_from_slice(piece);
            }
        }
        body.extend_from_slice(&[&b"\r\n--"[..], boundary, b"--\r\n"].concat());
        self.push(HeaderId::MimeVersion, "1.0");
        self.body([&b"multipart/mixed;boundary="[..], boundary].concat(), body)
    }
}

const PARTS: usize = 16;
const PART_HEADERS: usize = 4096;
const BOUNDARY: usize = 70;

pub(super) fn sdp(message: &Message) -> Option<Bytes> {
    let content_type = message.value(HeaderId::ContentType)?;
    if is_type(content_type, b"application", Some(b"sdp")) {
        return Some(message.body()).filter(|body| !body.is_empty());
    }
    let parts = parts(message)?.ok()?;
    Some(parts.into_iter().find(|part| part.is_type("application", "sdp"))?.body)
}

pub(super) fn parts(message: &Message) -> Option<Result<Vec<Part>, MultipartError>> {
    let content_type = message.value(HeaderId::ContentType)?;
    if !is_type(content_type, b"multipart", None) {
        return None;
    }
    let parts = split(content_type, &message.body());
    let described =
        |parts: &[Part]| parts.iter().filter(|part| part.is_type("application", "sdp")).count();
    Some(parts.and_then(|parts| match described(&parts) {
        0 | 1 => Ok(parts),
        _ => Err(MultipartError::Ambiguous),
    }))
}

/// Whether a Content-Type value names that type; any subtype when `subtype` is `None`.
fn is_type(value: &[u8], kind: &[u8], subtype: Option<&[u8]>) -> bool {
    let media = value.split(|&b| b == b';').next().unwrap_or_default();
    let Some(slash) = find(b'/', media) else { return false };
    trim(&media[..slash]).eq_ignore_ascii_case(kind)
        && subtype.is_none_or(|sub| trim(&media[slash + 1..]).eq_ignore_ascii_case(sub))
}

fn split(content_type: &[u8], body: &Bytes) -> Result<Vec<Part>, MultipartError> {
    let boundary = Params::new(content_type).find("boundary").flatten().unwrap_or_default();
    let boundary = unquote(boundary);
    if boundary.is_empty() || boundary.len() > BOUNDARY {
        return Err(MultipartError::Boundary);
    }
    let delimiter = [b"--", boundary.as_ref()].concat();
    let finder = memchr::memmem::Finder::new(&delimiter);

    let mut parts = Vec::new();
    let mut open = None;
    let mut at = 0;
    loop {
        let found = finder.find(&body[at..]).ok_or(MultipartError::Unclosed)?;
        let line = at + found;
        let after = line + delimiter.len();
        at = after;
        let Some(kind) = delimiter_line(body, line, after) else { continue };
        if let Some(start) = open {
            if parts.len() == PARTS {
                return Err(MultipartError::TooMany);
            }
            // The CRLF before a delimiter belongs to it; an empty part has none.
            let end = line.checked_sub(2).filter(|&end| end >= start).unwrap_or(start);
            parts.push(part(&body.slice(start..end))?);
        }
        match kind {
            Delimiter::Next(start) => open = Some(start),
            Delimiter::Close if open.is_some() => return Ok(parts),
            Delimiter::Close => return Err(MultipartError::Unclosed),
        }
    }
}

enum Delimiter {
    /// A part begins here.
    Next(usize),
    Close,
}

fn delimiter_line(body: &[u8], line: usize, after: usize) -> Option<Delimiter> {
    if line != 0 && !body[..line].ends_with(b"\r\n") {
        return None;
    }
    if body[after..].starts_with(b"--") {
        return Some(Delimiter::Close);
    }
    let padding = body[after..].iter().take_while(|&&b| matches!(b, b' ' | b'\t')).count();
    let end = after + padding;
    body[end..].starts_with(b"\r\n").then_some(Delimiter::Next(end + 2))
}

fn part(bytes: &Bytes) -> Result<Part, MultipartError> {
    let block = &bytes[..bytes.len().min(PART_HEADERS)];
    let mut content_type = None;
    let mut lines = Lines::new(block, 0);
    while let Some(line) = lines.next().map_err(|_| MultipartError::PartHeaders)? {
        let (id, _, value) = line.read(block).map_err(|_| MultipartError::PartHeaders)?;
        let is_type = id == HeaderId::ContentType;
        if is_type && content_type.replace(bytes.slice_ref(value.of(block))).is_some() {
            return Err(MultipartError::PartHeaders);
        }
    }
    let body = lines.at();
    Ok(Part {
        content_type: content_type.unwrap_or_default(),
        headers: bytes.slice(..body - 2),
        body: bytes.slice(body..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "preamble\r\n--b1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <x>\r\n\r\n\
        <a/>--b1\r\n--b1 \t\r\nc : Application/SDP;x=y\r\nContent-Disposition: session\r\n\r\nv=0\r\n\r\n\
        --b1--\r\nepilogue";

    fn message(content_type: &str, body: &str) -> Message {
        Message::parse(Bytes::from(format!(
            "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{content_type}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )))
        .unwrap()
    }

    fn error(content_type: &str, body: &str) -> MultipartError {
        let content_type = format!("Content-Type: multipart/mixed{content_type}\r\n");
        let message = message(&content_type, body);
        assert_eq!(message.sdp(), None);
        message.parts().unwrap().unwrap_err()
    }

    #[test]
    fn the_description_is_found_among_parts() {
        let message = message("c: multipart/mixed ; boundary=\"b1\"\r\n", BODY);
        let parts = message.parts().unwrap().unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].content_type, "application/pidf+xml");
        assert_eq!(parts[0].headers, "Content-Type: application/pidf+xml\r\nContent-ID: <x>\r\n");
        assert_eq!(parts[0].body, "<a/>--b1");
        assert_eq!(message.sdp().unwrap(), "v=0\r\n");
    }

    #[test]
    fn a_plain_description() {
        let sdp = |content_type: &str, body: &str| message(content_type, body).sdp();
        assert_eq!(sdp("Content-Type: APPLICATION / sdp ;x\r\n", "v=0").unwrap(), "v=0");
        assert_eq!(sdp("Content-Type: application/sdp\r\n", ""), None);
        assert_eq!(sdp("Content-Type: application/sdpx\r\n", "v=0"), None);
        assert_eq!(sdp("Content-Type: sdp\r\n", "v=0"), None);
        assert_eq!(sdp("", "v=0"), None);
        assert!(message("Content-Type: text/plain\r\n", "x").parts().is_none());
    }

    #[test]
    fn a_part_without_headers() {
        let message =
            message("Content-Type: multipart/mixed;boundary=b\r\n", "--b\r\n\r\nx\r\n--b--");
        let parts = message.parts().unwrap().unwrap();
        assert_eq!((&parts[0].content_type[..], &parts[0].body[..]), (&b""[..], &b"x"[..]));
        assert_eq!(message.sdp(), None);
    }

    /// RFC 6442 §4.1: what stands beside the description is passed on to the letter.
    #[test]
    fn tr_068_a_part_comes_out_as_it_went_in() {
        let received = message("c: multipart/mixed;boundary=b1\r\n", BODY);
        let parts = received.parts().unwrap().unwrap();
        assert_eq!(parts[0].header(HeaderId::ContentId), Some(&b"<x>"[..]));
        assert_eq!(parts[1].header(HeaderId::ContentId), None);
        let mut draft = Draft::request(crate::message::Method::Invite, "sip:b");
        for line in [
            "Via: SIP/2.0/UDP h",
            "From: <sip:a>;tag=1",
            "To: <sip:b>",
            "Call-ID: c",
            "CSeq: 1 INVITE",
        ] {
            let (name, value) = line.split_once(": ").unwrap();
            draft.push(HeaderId::from_name(name.as_bytes()), value);
        }
        draft.sdp_beside(b"v=1\r\n", &parts[..1], b"fresh");
        let sent = Message::parse(draft.write()).unwrap();
        assert_eq!(sent.value(HeaderId::MimeVersion), Some(&b"1.0"[..]));
        assert_eq!(sent.sdp().unwrap(), "v=1\r\n");
        assert_eq!(sent.parts().unwrap().unwrap()[1..], parts[..1]);
        draft.sdp_beside(b"v=2\r\n", &[], b"fresh");
        let sent = Message::parse(draft.write()).unwrap();
        assert_eq!((sent.parts(), &sent.sdp().unwrap()[..]), (None, &b"v=2\r\n"[..]));
    }

    #[test]
    fn what_stands_in_a_fold_is_no_header() {
        let part = part(&Bytes::from_static(
            b"X: a\r\n Content-ID: <no>\r\nContent-ID :\r\n <x>\r\nContent-Type: a/b;\r\n\tc=d\r\n\r\n",
        ))
        .unwrap();
        assert_eq!(part.header(HeaderId::ContentId), Some(&b"<x>"[..]));
        assert_eq!(part.header(HeaderId::ContentType), Some(&b"a/b;\r\n\tc=d"[..]));
        assert_eq!(part.content_type, "a/b;\r\n\tc=d");
    }

    #[test]
    fn what_is_refused() {
        let many = format!("{}--b--", "--b\r\n\r\nx\r\n".repeat(17));
        let header = format!("--b\r\nX: {}\r\n\r\nx\r\n--b--", "y".repeat(5000));
        let long = format!(";boundary={}", "b".repeat(71));
        let twice = "--b\r\nc: application/sdp\r\n\r\nv=0\r\n".repeat(2) + "--b--";
        for (content_type, body, expected) in [
            ("", "--b\r\n\r\nx\r\n--b--", MultipartError::Boundary),
            (";boundary=", "x", MultipartError::Boundary),
            (";boundary=\"\"", "x", MultipartError::Boundary),
            (&long, "x", MultipartError::Boundary),
            (";boundary=b", "", MultipartError::Unclosed),
            (";boundary=b", "--b--", MultipartError::Unclosed),
            (";boundary=b", "--b\r\n\r\nx", MultipartError::Unclosed),
            (";boundary=b", "--b\r\n\r\nx--b--", MultipartError::Unclosed),
            (";boundary=b", "--b\r\n--b--", MultipartError::PartHeaders),
            (";boundary=b", "--b\r\nnonsense\r\n\r\nx\r\n--b--", MultipartError::PartHeaders),
            (";boundary=b", "--b\r\nX: a\nY: b\r\n\r\nx\r\n--b--", MultipartError::PartHeaders),
            (";boundary=b", "--b\r\n c: a/b\r\n\r\nx\r\n--b--", MultipartError::PartHeaders),
            (
                ";boundary=b",
                "--b\r\nc: a/b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--",
                MultipartError::PartHeaders,
            ),
            (";boundary=b", &header, MultipartError::PartHeaders),
            (";boundary=b", &many, MultipartError::TooMany),
            (";boundary=b", &twice, MultipartError::Ambiguous),
        ] {
            assert_eq!(error(content_type, body), expected, "{body:.60}");
        }
    }
}
