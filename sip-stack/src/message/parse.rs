//! The index of a message: one pass over the header block (RFC 3261 §7), strict about where a
//! message, a line and a header end, tolerant inside a value.
//!
//! Refused: what `lines` refuses (another parser's line end must not be missed by ours), doubled single-instance
//! headers, header lines without a colon. Taken: any case, compact names, folds, white space before the colon, bytes
//! that are not UTF-8.

use bytes::Bytes;

use super::error::ParseErrorKind as Fault;
use super::header::HeaderId;
use super::limits::Limits;
use super::lines::{Lines, line_end};
use super::method::Method;
use super::name_addr::NameAddr;
use super::scan::{Elements, Params, is_lws, is_token, number, trim};
use super::span::Span;
use super::vector::{find, is_unfit_for_call_id, is_unfit_for_tag};
use super::via::Via;
use crate::uri::{Scheme, Uri};

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

/// Bytes of the shortest element of a list of hops.
const SHORTEST: usize = 6;
/// Common messages have fewer lines, so that the list is allocated once.
const LINES: usize = 32;

/// Indexes one whole message; `raw` begins at the start line.
pub(super) fn index(raw: &Bytes, limits: &Limits) -> Result<Index, Fault> {
    if raw.len() > limits.message_bytes.min(u32::MAX as usize) {
        return Err(Fault::TooLarge);
    }
    let block = &raw[..raw.len().min(limits.header_bytes)];
    let cut = block.len() < raw.len();
    let or_cut = |fault| if cut && fault == Fault::Unterminated { Fault::TooLarge } else { fault };

    let end = line_end(block, 0).map_err(or_cut)?;
    let (start, mut method) = start_line(raw, end)?;
    let mut entries = Vec::with_capacity(LINES);
    let mut seen = Seen::new();
    let at =
        header_lines(block, end + 2, limits.headers, &mut entries, &mut seen).map_err(or_cut)?;

    let value = |id: HeaderId| match seen.at(id) {
        Some(line) => Ok(entries[line].value.of(raw)),
        None => Err(Fault::Missing(id)),
    };
    for id in [HeaderId::Via, HeaderId::Route, HeaderId::RecordRoute] {
        if let Some(first) = seen.at(id) {
            hops(raw, id, &entries[first..], limits.hops)?;
        }
    }
    let via = Elements::new(value(HeaderId::Via)?).next().unwrap_or_default();
    let branch = branch(via).ok_or(Fault::Malformed(HeaderId::Via))?;
    let from_tag = tag(HeaderId::From, value(HeaderId::From)?)?;
    let to_tag = tag(HeaderId::To, value(HeaderId::To)?)?;
    let call_id = value(HeaderId::CallId)?;
    if call_id.is_empty() || is_unfit_for_call_id(call_id) {
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

/// Reads the header lines from `at` on, `most` of them; says where the body begins. A function of its own: within
/// [`index`] its variables are kept in memory (`--bench message`: 0.90 in place of 0.85 us).
#[inline(never)]
fn header_lines(
    block: &[u8],
    at: usize,
    most: usize,
    entries: &mut Vec<Entry>,
    seen: &mut Seen,
) -> Result<usize, Fault> {
    let mut lines = Lines::new(block, at);
    while let Some(line) = lines.next()? {
        if entries.len() == most {
            return Err(Fault::TooLarge);
        }
        let (id, name, value) = line.read(block)?;
        seen.note(id, entries.len())?;
        entries.push(Entry { name, value, id });
    }
    Ok(lines.at())
}

/// The value of Content-Length in a header block that ends with its blank line: for framing, before
/// the message is whole. `Ok(None)` when there is none.
pub(crate) fn content_length(block: &[u8]) -> Result<Option<u64>, Fault> {
    let mut lines = Lines::new(block, line_end(block, 0)? + 2);
    let mut length = None;
    while let Some(line) = lines.next()? {
        if matches!(block[line.start] | 0x20, b'c' | b'l') {
            let (id, _, value) = line.read(block)?;
            if id == HeaderId::ContentLength {
                if length.is_some() {
                    return Err(Fault::Doubled(id));
                }
                length = Some(number(value.of(block)).ok_or(Fault::Malformed(id))?);
            }
        }
    }
    Ok(length)
}

fn start_line(raw: &Bytes, end: usize) -> Result<(Start, Method), Fault> {
    let line = &raw[..end];
    if let Some(rest) = strip_prefix_ignore_case(line, b"SIP/2.0 ") {
        return status_line(rest, end);
    }
    let first = find(b' ', line).ok_or(Fault::StartLine)?;
    let last = line.iter().rposition(|&b| b == b' ').ok_or(Fault::StartLine)?;
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
/// shows the magic cookie without anything behind it (RFC 4475 §3.2.1, "badbranch").
fn branch(via: &[u8]) -> Option<&[u8]> {
    let branch = Via::parse(via)?.checked_branch()?;
    let is_key = branch.is_empty() || is_tag(branch);
    (is_key && !branch.eq_ignore_ascii_case(b"z9hG4bK")).then_some(branch)
}

fn tag(id: HeaderId, value: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let address = NameAddr::parse(value).map_err(|_| Fault::Malformed(id))?;
    let mut tags =
        Params::new(address.params).filter(|(name, _)| name.eq_ignore_ascii_case(b"tag"));
    let tag = match tags.next() {
        None => return Ok(None),
        Some((_, Some(tag))) if is_tag(tag) => tag,
        Some(_) => return Err(Fault::Malformed(id)),
    };
    if tags.next().is_some() {
        return Err(Fault::Malformed(id));
    }
    Ok(Some(tag))
}

/// Tags and branches should be tokens; peers put more into them, which does no harm as long as nothing can end
/// one early.
fn is_tag(tag: &[u8]) -> bool {
    !tag.is_empty() && !is_unfit_for_tag(tag)
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

/// No more elements of one header, over all its lines, than there can be hops.
fn hops(raw: &[u8], id: HeaderId, entries: &[Entry], most: usize) -> Result<(), Fault> {
    let lines = || entries.iter().filter(|entry| entry.id == id).map(|entry| entry.value.of(raw));
    // The shortest element is `<s:h>` and its comma: counting is for lists that can be too long.
    if lines().map(<[u8]>::len).sum::<usize>() < most * SHORTEST {
        return Ok(());
    }
    let count = lines().flat_map(Elements::new).take(most + 1).count();
    if count > most { Err(Fault::TooLarge) } else { Ok(()) }
}

fn method_of(raw: &Bytes, token: &[u8]) -> Method {
    Method::known(token).unwrap_or_else(|| Method::Other(raw.slice_ref(token)))
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIA: &str = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n";
    const FROM: &str = "From: <sip:a@h>;tag=1\r\n";
    const TO: &str = "To: <sip:b@h>\r\n";
    const CALL_ID: &str = "Call-ID: c\r\n";
    const CSEQ: &str = "CSeq: 1 OPTIONS\r\n";

    fn read(text: &str) -> Result<Index, Fault> {
        index(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
    }

    /// A request with other lines in place of the mandatory ones where given.
    fn with(replaced: &str, line: &str) -> String {
        let lines = [VIA, FROM, TO, CALL_ID, CSEQ].map(|l| if l == replaced { line } else { l });
        format!("OPTIONS sip:h SIP/2.0\r\n{}\r\n", lines.concat())
    }

    fn adding(lines: &str) -> String {
        with(CSEQ, &format!("{CSEQ}{lines}"))
    }

    fn starting(line: &str) -> String {
        with("", "").replacen("OPTIONS sip:h SIP/2.0", line, 1)
    }

    #[test]
    fn at_23_more_hops_than_a_request_can_have_made_are_too_large() {
        for name in ["Via", "Route", "Record-Route"] {
            let element = if name == "Via" { "SIP/2.0/UDP h" } else { "<sip:h;lr>" };
            let already = usize::from(name == "Via");
            let most = Limits::default().hops - already;
            for (hops, taken) in [(most, true), (most + 1, false), (500, false)] {
                let list = format!("{name}: {}\r\n", vec![element; hops].join(","));
                assert_eq!(read(&adding(&list)).is_ok(), taken, "{name} {hops} in one line");
                let lines = format!("{name}: {element}\r\n").repeat(hops.min(240));
                let fault = read(&adding(&lines)).err();
                assert_eq!(fault, (!taken).then_some(Fault::TooLarge), "{name} {hops} lines");
            }
        }
    }

    #[test]
    fn start_lines() {
        for good in [
            "OPTIONS sip:h sip/2.0",
            "OPTIONS tel:+1 SIP/2.0",
            "OPTIONS odd:x?y SIP/2.0",
            "SIP/2.0 200 OK",
            "sip/2.0 200 ",
            "SIP/2.0 699",
            "SIP/2.0 200 caf\u{e9} \u{1}",
        ] {
            assert!(read(&starting(good)).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("", Fault::StartLine),
            ("OPTIONS", Fault::StartLine),
            ("OPTIONS sip:h", Fault::StartLine),
            (" sip:h SIP/2.0", Fault::StartLine),
            ("OPT(IONS sip:h SIP/2.0", Fault::StartLine),
            ("OPTIONS sip:h HTTP/1.1", Fault::StartLine),
            ("OPTIONS sip:h SIP/", Fault::StartLine),
            ("OPTIONS sip:h SIP/2.0 ", Fault::StartLine),
            ("OPTIONS sip:h SIP/3.0", Fault::Version),
            ("OPTIONS sip:h SIP/2.00", Fault::Version),
            ("OPTIONS  sip:h SIP/2.0", Fault::RequestUri),
            ("OPTIONS sip:h  SIP/2.0", Fault::RequestUri),
            ("OPTIONS sip:h;a b SIP/2.0", Fault::RequestUri),
            ("OPTIONS <sip:h> SIP/2.0", Fault::RequestUri),
            ("OPTIONS h SIP/2.0", Fault::RequestUri),
            ("OPTIONS sip:h?a=b SIP/2.0", Fault::RequestUri),
            ("SIP/2.0 ", Fault::StartLine),
            ("SIP/2.0 20", Fault::StartLine),
            ("SIP/2.0 099 x", Fault::StartLine),
            ("SIP/2.0 700 x", Fault::StartLine),
            ("SIP/2.0 2000 x", Fault::StartLine),
            ("SIP/2.0 +20 x", Fault::StartLine),
        ] {
            assert_eq!(read(&starting(bad)).unwrap_err(), fault, "{bad}");
        }
    }

    #[test]
    fn mandatory_headers() {
        for (line, id) in [
            (VIA, HeaderId::Via),
            (FROM, HeaderId::From),
            (TO, HeaderId::To),
            (CALL_ID, HeaderId::CallId),
            (CSEQ, HeaderId::CSeq),
        ] {
            assert_eq!(read(&with(line, "")).unwrap_err(), Fault::Missing(id));
            if id != HeaderId::Via {
                assert_eq!(read(&adding(line)).unwrap_err(), Fault::Doubled(id));
            }
        }
    }

    #[test]
    fn values_that_the_stack_depends_on() {
        for (line, other, id) in [
            (VIA, "Via:\r\n", HeaderId::Via),
            (VIA, "Via: ,\r\n", HeaderId::Via),
            (VIA, "Via: SIP/2.0/UDP h;;,\r\n", HeaderId::Via),
            (VIA, "Via: SIP/2.0/UDP h;branch=\"x\"\r\n", HeaderId::Via),
            (VIA, "Via: SIP/2.0/UDP h;branch=Z9hg4bk\r\n", HeaderId::Via),
            (FROM, "From: nobody\r\n", HeaderId::From),
            (FROM, "From: <sip:a>;tag=1;tag=2\r\n", HeaderId::From),
            (FROM, "From: <sip:a>;tag=\"1\"\r\n", HeaderId::From),
            (TO, "To: <sip:a>;tag=\r\n", HeaderId::To),
            (TO, "To: <sip:a>;tag\r\n", HeaderId::To),
            (TO, "To: <sip:a>;tag=a b\r\n", HeaderId::To),
            (CALL_ID, "Call-ID:\r\n", HeaderId::CallId),
            (CALL_ID, "i: a b\r\n", HeaderId::CallId),
            (CALL_ID, "i: a\r\n b\r\n", HeaderId::CallId),
            (CSEQ, "CSeq: 1\r\n", HeaderId::CSeq),
            (CSEQ, "CSeq: OPTIONS\r\n", HeaderId::CSeq),
            (CSEQ, "CSeq: 1OPTIONS\r\n", HeaderId::CSeq),
            (CSEQ, "CSeq: -1 OPTIONS\r\n", HeaderId::CSeq),
            (CSEQ, "CSeq: 1 OPT IONS\r\n", HeaderId::CSeq),
            (CSEQ, "CSeq: 2147483648 OPTIONS\r\n", HeaderId::CSeq),
            (CSEQ, "CSeq: 4294967297 OPTIONS\r\n", HeaderId::CSeq),
        ] {
            assert_eq!(read(&with(line, other)).unwrap_err(), Fault::Malformed(id), "{other}");
        }
        let mismatch = with(CSEQ, "CSeq: 1 INVITE\r\n");
        assert_eq!(read(&mismatch).unwrap_err(), Fault::MethodMismatch);
        for (lines, id) in [
            ("Max-Forwards: 256\r\n", HeaderId::MaxForwards),
            ("Max-Forwards: -1\r\n", HeaderId::MaxForwards),
            ("Content-Length: -1\r\n", HeaderId::ContentLength),
            ("Content-Length: 0, 0\r\n", HeaderId::ContentLength),
            ("Contact: sip:h?Route=x\r\n", HeaderId::Contact),
            ("Contact: <sip:h>, nobody\r\n", HeaderId::Contact),
        ] {
            assert_eq!(read(&adding(lines)).unwrap_err(), Fault::Malformed(id), "{lines}");
        }
        assert_eq!(read(&adding("m: *\r\nMax-Forwards: 0\r\n")).unwrap().max_forwards, Some(0));
    }

    #[test]
    fn header_lines() {
        for good in [
            "x\t : y\r\n",
            "X:\r\n",
            "X:y\r\n z\r\n\tz\r\n",
            "X: \u{7}\u{ff}\r\n",
            "X:\r\n \r\n",
            "!%*_+`'~-.: x\r\n",
        ] {
            assert!(read(&adding(good)).is_ok(), "{good:?}");
        }
        for (bad, fault) in [
            ("X y\r\n", Fault::HeaderLine),
            (": y\r\n", Fault::HeaderLine),
            ("X@: y\r\n", Fault::HeaderLine),
            ("X\r\n: y\r\n", Fault::HeaderLine),
            ("X: a\nY: b\r\n", Fault::BareLineEnd),
            ("X: a\rY: b\r\n", Fault::BareLineEnd),
            ("X: a\r\r\n", Fault::BareLineEnd),
            ("X: a\0b\r\n", Fault::Nul),
            ("c: a/b\r\nContent-Type: a/b\r\n", Fault::Doubled(HeaderId::ContentType)),
            ("Max-Forwards: 1\r\nMax-Forwards: 1\r\n", Fault::Doubled(HeaderId::MaxForwards)),
            ("l: 0\r\nContent-Length: 0\r\n", Fault::Doubled(HeaderId::ContentLength)),
        ] {
            assert_eq!(read(&adding(bad)).unwrap_err(), fault, "{bad:?}");
        }
        let folded_start = starting("OPTIONS sip:h SIP/2.0\r\n x");
        assert_eq!(read(&folded_start).unwrap_err(), Fault::HeaderLine);
    }

    #[test]
    fn the_end_of_the_block_and_of_the_body() {
        let open = with("", "");
        assert_eq!(read(&open[..open.len() - 2]).unwrap_err(), Fault::Unterminated);
        assert_eq!(read(&open[..open.len() - 1]).unwrap_err(), Fault::Unterminated);
        assert_eq!(read(&format!("{}{}", adding("l: 5\r\n"), "1234")).unwrap_err(), Fault::Short);
        let body = |text: String| {
            let index = read(&text).unwrap();
            text[index.body.start as usize..index.body.end as usize].to_owned()
        };
        assert_eq!(body(format!("{}{}", adding("l: 4\r\n"), "12345")), "1234");
        assert_eq!(body(format!("{open}\0\n\r")), "\0\n\r");
        assert_eq!(body(adding("l: 0\r\n")), "");
    }

    #[test]
    fn limits() {
        let lines = |count: usize| adding(&"X: y\r\n".repeat(count));
        assert!(read(&lines(251)).is_ok());
        let long = starting(&format!("OPTIONS sip:{} SIP/2.0", "h".repeat(61_440)));
        assert_eq!(read(&long).unwrap_err(), Fault::TooLarge);
        assert_eq!(read(&lines(252)).unwrap_err(), Fault::TooLarge);
        assert_eq!(
            read(&adding(&format!("X: {}\r\n", "y".repeat(65536)))).unwrap_err(),
            Fault::TooLarge
        );
        assert_eq!(
            read(&format!("{}{}", adding(""), "y".repeat(192 * 1024))).unwrap_err(),
            Fault::TooLarge
        );
    }
}
