//! Multipart bodies (RFC 5621, RFC 2046 §5.1): finding the session description among other parts.
//!
//! One level only: a part that is itself multipart is handed out as bytes. Parts are bounded in
//! number and in header size.

use bytes::Bytes;

use super::header::HeaderId;
use super::scan::{Params, trim, unquote};
use super::{Message, line_end};

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
    /// A part's header block is malformed or larger than 4 kB.
    #[error("malformed part headers")]
    PartHeaders,
    /// More than 16 parts.
    #[error("too many parts")]
    TooMany,
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
    let part =
        parts.into_iter().find(|p| is_type(&p.content_type, b"application", Some(b"sdp")))?;
    Some(part.body)
}

pub(super) fn parts(message: &Message) -> Option<Result<Vec<Part>, MultipartError>> {
    let content_type = message.value(HeaderId::ContentType)?;
    is_type(content_type, b"multipart", None).then(|| split(content_type, &message.body()))
}

/// Whether a Content-Type value names that type; any subtype when `subtype` is `None`.
fn is_type(value: &[u8], kind: &[u8], subtype: Option<&[u8]>) -> bool {
    let media = value.split(|&b| b == b';').next().unwrap_or_default();
    let Some(slash) = memchr::memchr(b'/', media) else { return false };
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
    let mut content_type = Bytes::new();
    let mut at = 0;
    loop {
        let mut end = line_end(block, at).map_err(|_| MultipartError::PartHeaders)?;
        if end == at {
            let headers = bytes.slice(..at);
            return Ok(Part { content_type, headers, body: bytes.slice(at + 2..) });
        }
        while matches!(block.get(end + 2), Some(b' ' | b'\t')) {
            end = line_end(block, end + 2).map_err(|_| MultipartError::PartHeaders)?;
        }
        let line = &block[at..end];
        let colon = memchr::memchr(b':', line).ok_or(MultipartError::PartHeaders)?;
        if HeaderId::from_name(trim(&line[..colon])) == HeaderId::ContentType {
            content_type = bytes.slice_ref(trim(&line[colon + 1..]));
        }
        at = end + 2;
    }
}
