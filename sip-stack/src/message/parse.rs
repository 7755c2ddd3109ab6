//! The index of a message: one pass over the header block (RFC 3261 §7), strict about where a
//! message, a line and a header end, tolerant inside a value.
//!
//! Refused: bare CR or LF and NUL anywhere in the header block (what another parser reads as a line
//! end must not be one of ours), doubled single-instance headers, header lines without a colon.
//! Taken: any case, compact names, folds, white space before the colon, bytes that are not UTF-8.

use bytes::Bytes;

use super::error::ParseErrorKind as Fault;
use super::header::HeaderId;
use super::limits::Limits;
use super::method::Method;
use super::name_addr::NameAddr;
use super::scan::{self, Elements, Params, is_lws, is_token, number, trim};
use super::via::Via;
use crate::uri::{Scheme, Uri};

/// A range of the message, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// Offsets fit: no message is above 4 GiB, which [`index`] checks first.
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        &raw[self.start as usize..self.end as usize]
    }

    fn within(raw: &[u8], part: &[u8]) -> Self {
        scan::offset(raw, part).map_or(Self::default(), |at| Self::new(at, at + part.len()))
    }
}

/// One header line: 20 bytes, so that a common message's list stays within eight cache lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: Span,
    pub(super) value: Span,
    pub(super) id: HeaderId,
}

#[derive(Clone, Debug)]
pub(super) enum Start {
    Request { uri: Span },
    Response { status: u16, phrase: Span },
}

#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) start: Start,
    pub(super) method: Method,
    pub(super) entries: Vec<Entry>,
    pub(super) via: Span,
    pub(super) branch: Span,
    pub(super) call_id: Span,
    pub(super) cseq: u32,
    pub(super) from_tag: Option<Span>,
    pub(super) to_tag: Option<Span>,
    pub(super) max_forwards: Option<u32>,
    pub(super) body: Span,
}

/// Common messages have fewer lines, so that the list is allocated once.
const LINES: usize = 32;

/// Indexes one whole message; `raw` begins at the start line.
pub(super) fn index(raw: &Bytes, limits: &Limits) -> Result<Index, Fault> {
    if raw.len() > limits.message_bytes.min(u32::MAX as usize) {
        return Err(Fault::TooLarge);
    }
    let block = &raw[..raw.len().min(limits.header_bytes)];
    let cut = block.len() < raw.len();
    let line_end = |from| match line_end(block, from) {
        Err(Fault::Unterminated) if cut => Err(Fault::TooLarge),
        other => other,
    };

    let end = line_end(0)?;
    let (start, mut method) = start_line(raw, end)?;
    let mut at = end + 2;
    let mut entries = Vec::with_capacity(LINES);
    let mut seen = Seen::new();
    loop {
        let mut end = line_end(at)?;
        if end == at {
            at += 2;
            break;
        }
        while matches!(block.get(end + 2), Some(b' ' | b'\t')) {
            end = line_end(end + 2)?;
        }
        if entries.len() == limits.headers {
            return Err(Fault::TooLarge);
        }
        let entry = header_line(block, at, end)?;
        seen.note(entry.id, entries.len())?;
        entries.push(entry);
        at = end + 2;
    }

    let value = |id: HeaderId| match seen.at(id) {
        Some(line) => Ok(entries[line].value.of(raw)),
        None => Err(Fault::Missing(id)),
    };
    let via = Elements::new(value(HeaderId::Via)?).next().unwrap_or_default();
    let branch = branch(via).ok_or(Fault::Malformed(HeaderId::Via))?;
    let from_tag = tag(HeaderId::From, value(HeaderId::From)?)?;
    let to_tag = tag(HeaderId::To, value(HeaderId::To)?)?;
    let call_id = value(HeaderId::CallId)?;
    if call_id.is_empty() || call_id.iter().any(|&b| b <= b' ' || b == 0x7f) {
        return Err(Fault::Malformed(HeaderId::CallId));
    }
    let (cseq, cseq_method) =
        cseq(value(HeaderId::CSeq)?).ok_or(Fault::Malformed(HeaderId::CSeq))?;
    match start {
        Start::Request { .. } if method.as_bytes() != cseq_method => {
            return Err(Fault::MethodMismatch);
        }
        Start::Request { .. } => {
            contacts(raw, &entries[seen.at(HeaderId::Contact).unwrap_or(entries.len())..])?
        }
        Start::Response { .. } => method = method_of(raw, cseq_method),
    }
    let max_forwards = match value(HeaderId::MaxForwards) {
        Ok(text) => match number(text) {
            Some(hops @ 0..=255) => Some(hops as u32),
            _ => return Err(Fault::Malformed(HeaderId::MaxForwards)),
        },
        Err(_) => None,
    };
    let body = match value(HeaderId::ContentLength) {
        Ok(text) => {
            let len = number(text).ok_or(Fault::Malformed(HeaderId::ContentLength))?;
            let room = (raw.len() - at) as u64;
            if len > room {
                return Err(Fault::Short);
            }
            Span::new(at, at + len as usize)
        }
        Err(_) => Span::new(at, raw.len()),
    };
    Ok(Index {
        start,
        method,
        via: Span::within(raw, via),
        branch: Span::within(raw, branch),
        call_id: Span::within(raw, call_id),
        cseq,
        from_tag: from_tag.map(|tag| Span::within(raw, tag)),
        to_tag: to_tag.map(|tag| Span::within(raw, tag)),
        max_forwards,
        body,
        entries,
    })
}

/// The value of Content-Length in a header block that ends with its blank line: for framing, before
/// the message is whole. `Ok(None)` when there is none.
pub(crate) fn content_length(block: &[u8]) -> Result<Option<u64>, Fault> {
    let mut at = line_end(block, 0)? + 2;
    let mut length = None;
    loop {
        let mut end = line_end(block, at)?;
        if end == at {
            return Ok(length);
        }
        while matches!(block.get(end + 2), Some(b' ' | b'\t')) {
            end = line_end(block, end + 2)?;
        }
        if matches!(block[at] | 0x20, b'c' | b'l') {
            let entry = header_line(block, at, end)?;
            if entry.id == HeaderId::ContentLength {
                if length.is_some() {
                    return Err(Fault::Doubled(entry.id));
                }
                let value = number(entry.value.of(block));
                length = Some(value.ok_or(Fault::Malformed(HeaderId::ContentLength))?);
            }
        }
        at = end + 2;
    }
}

/// Where the line that begins at `from` ends: the place of its CRLF.
pub(crate) fn line_end(block: &[u8], from: usize) -> Result<usize, Fault> {
    let rest = block.get(from..).ok_or(Fault::Unterminated)?;
    let end = from + memchr::memchr3(b'\r', b'\n', 0, rest).ok_or(Fault::Unterminated)?;
    match (block[end], block.get(end + 1)) {
        (b'\r', Some(b'\n')) => Ok(end),
        (b'\r', None) => Err(Fault::Unterminated),
        (0, _) => Err(Fault::Nul),
        _ => Err(Fault::BareLineEnd),
    }
}

fn start_line(raw: &Bytes, end: usize) -> Result<(Start, Method), Fault> {
    let line = &raw[..end];
    if let Some(rest) = strip_prefix_ignore_case(line, b"SIP/2.0 ") {
        return status_line(rest, end);
    }
    let first = memchr::memchr(b' ', line).ok_or(Fault::StartLine)?;
    let last = memchr::memrchr(b' ', line).ok_or(Fault::StartLine)?;
    let version = &line[last + 1..];
    if first == 0 || first == last || !line[..first].iter().all(|&b| is_token(b)) {
        return Err(Fault::StartLine);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(match version {
            [b'S' | b's', b'I' | b'i', b'P' | b'p', b'/', digit, ..] if digit.is_ascii_digit() => {
                Fault::Version
            }
            _ => Fault::StartLine,
        });
    }
    let uri = &line[first + 1..last];
    request_uri(uri)?;
    Ok((Start::Request { uri: Span::new(first + 1, last) }, method_of(raw, &line[..first])))
}

fn status_line(rest: &[u8], end: usize) -> Result<(Start, Method), Fault> {
    let code = rest.get(..3).and_then(number).ok_or(Fault::StartLine)?;
    // Some peers leave out the space that stands before an empty phrase.
    let phrase = match rest.get(3) {
        Some(b' ') => Span::new(end - rest.len() + 4, end),
        None => Span::new(end, end),
        Some(_) => return Err(Fault::StartLine),
    };
    match u16::try_from(code) {
        Ok(status @ 100..=699) => Ok((Start::Response { status, phrase }, Method::Ack)),
        _ => Err(Fault::StartLine),
    }
}

fn request_uri(uri: &[u8]) -> Result<(), Fault> {
    let parsed = Uri::parse(uri).map_err(|_| Fault::RequestUri)?;
    match parsed.scheme() {
        Scheme::Sip | Scheme::Sips if parsed.headers().is_some() => Err(Fault::RequestUri),
        Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other => Ok(()),
    }
}

fn header_line(block: &[u8], start: usize, end: usize) -> Result<Entry, Fault> {
    let line = &block[start..end];
    let name = line.iter().take_while(|&&b| is_token(b)).count();
    let blank = line[name..].iter().take_while(|&&b| matches!(b, b' ' | b'\t')).count();
    if name == 0 || line.get(name + blank) != Some(&b':') {
        return Err(Fault::HeaderLine);
    }
    let mut from = start + name + blank + 1;
    let mut to = end;
    while from < to && is_lws(block[from]) {
        from += 1;
    }
    while from < to && is_lws(block[to - 1]) {
        to -= 1;
    }
    Ok(Entry {
        id: HeaderId::from_name(&line[..name]),
        name: Span::new(start, start + name),
        value: Span::new(from, to),
    })
}

/// The first line of each header: its number plus one, 0 for none.
struct Seen([u32; HeaderId::COUNT]);

impl Seen {
    const fn new() -> Self {
        Self([0; HeaderId::COUNT])
    }

    fn note(&mut self, id: HeaderId, line: usize) -> Result<(), Fault> {
        let first = &mut self.0[id as usize];
        if *first == 0 {
            *first = line as u32 + 1;
        } else if id.is_single() {
            return Err(Fault::Doubled(id));
        }
        Ok(())
    }

    fn at(&self, id: HeaderId) -> Option<usize> {
        (self.0[id as usize] as usize).checked_sub(1)
    }
}

/// The branch of a Via element, empty when there is none; `None` when the element is malformed, or
/// shows the magic cookie without anything behind it (RFC 4475 §3.2.1).
fn branch(via: &[u8]) -> Option<&[u8]> {
    let branch = Via::parse(via)?.branch();
    (!branch.eq_ignore_ascii_case(b"z9hG4bK")).then_some(branch)
}

fn tag(id: HeaderId, value: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let address = NameAddr::parse(value).map_err(|_| Fault::Malformed(id))?;
    let mut tags =
        Params::new(address.params).filter(|(name, _)| name.eq_ignore_ascii_case(b"tag"));
    let tag = match tags.next() {
        None => return Ok(None),
        Some((_, Some(tag))) if !tag.is_empty() && tag.iter().all(|&b| is_token(b)) => tag,
        Some(_) => return Err(Fault::Malformed(id)),
    };
    if tags.next().is_some() {
        return Err(Fault::Malformed(id));
    }
    Ok(Some(tag))
}

/// CSeq: a number below 2^31 and a method (RFC 3261 §8.1.1.5, §20.16).
fn cseq(value: &[u8]) -> Option<(u32, &[u8])> {
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    let sequence = number(&value[..digits]).filter(|&n| n < 1 << 31)?;
    let method = trim(&value[digits..]);
    let spaced = value.get(digits).copied().is_some_and(is_lws);
    let token = !method.is_empty() && method.iter().all(|&b| is_token(b));
    (spaced && token).then_some((sequence as u32, method))
}

/// Every Contact of a request can be read, or is the `*` of a REGISTER.
fn contacts(raw: &[u8], entries: &[Entry]) -> Result<(), Fault> {
    let lines = entries.iter().filter(|entry| entry.id == HeaderId::Contact);
    for element in lines.flat_map(|entry| Elements::new(entry.value.of(raw))) {
        if element != b"*" && NameAddr::parse(element).is_err() {
            return Err(Fault::Malformed(HeaderId::Contact));
        }
    }
    Ok(())
}

fn method_of(raw: &Bytes, token: &[u8]) -> Method {
    Method::known(token).unwrap_or_else(|| Method::Other(raw.slice_ref(token)))
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
