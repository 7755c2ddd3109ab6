//! A glance at a request that has not been read: enough to choose its place in the queue, or to
//! refuse it (RFC 3261 §8.2.7) for a fraction of the cost of reading it.
//!
//! Only what is beyond doubt is seen: lines that end in CRLF, no folds, no NUL, From, To, Call-ID and
//! CSeq once, at most four Via lines. Whatever else there may be is for [`crate::message`] to read,
//! which takes six times as long.

use crate::message::{Elements, NameAddr, Via, trim};

/// What a glance shows. Values are as received, without outer white space.
#[derive(Clone, Copy, Debug)]
pub struct Glance<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The Request-URI.
    pub uri: &'a [u8],
    /// The values of From, To, Call-ID and CSeq.
    pub from: &'a [u8],
    /// See `from`.
    pub to: &'a [u8],
    /// See `from`.
    pub call_id: &'a [u8],
    /// See `from`.
    pub cseq: &'a [u8],
    /// The value of User-Agent; empty when there is none.
    pub agent: &'a [u8],
    vias: [&'a [u8]; VIAS],
}

impl<'a> Glance<'a> {
    /// Looks at a request; `None` when it is none, or not beyond doubt.
    pub fn request(raw: &'a [u8]) -> Option<Self> {
        let (line, mut rest) = line(raw)?;
        let (method, tail) = split(line, b' ')?;
        let (uri, version) = split(tail, b' ')?;
        if version != b"SIP/2.0" || method.is_empty() || uri.is_empty() {
            return None;
        }
        let mut glance = Self {
            method,
            uri,
            from: &[],
            to: &[],
            call_id: &[],
            cseq: &[],
            agent: &[],
            vias: [&[]; VIAS],
        };
        for _ in 0..LINES {
            let (line, after) = self::line(rest)?;
            rest = after;
            if line.is_empty() {
                return glance.is_whole().then_some(glance);
            }
            glance.note(line)?;
        }
        None
    }

    /// The values of the Via lines, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = &'a [u8]> {
        self.vias.into_iter().filter(|via| !via.is_empty())
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Option<Via<'a>> {
        Via::parse(Elements::new(self.vias[0]).next()?)
    }

    /// The To tag.
    pub fn to_tag(&self) -> Option<&'a [u8]> {
        NameAddr::parse(self.to).ok()?.tag().filter(|tag| !tag.is_empty())
    }

    /// The CSeq number, where the CSeq method is that of the request.
    pub fn cseq_number(&self) -> Option<u32> {
        let (number, method) = split(self.cseq, b' ')?;
        if trim(method) != self.method {
            return None;
        }
        let number = crate::message::number(number)?;
        u32::try_from(number).ok().filter(|number| number >> 31 == 0)
    }

    fn note(&mut self, line: &'a [u8]) -> Option<()> {
        let (name, value) = field(line)?;
        let place = match name.len() {
            1 => match name[0].to_ascii_lowercase() {
                b'v' => self.via()?,
                b'f' => &mut self.from,
                b't' => &mut self.to,
                b'i' => &mut self.call_id,
                _ => return Some(()),
            },
            2 if name.eq_ignore_ascii_case(b"to") => &mut self.to,
            3 if name.eq_ignore_ascii_case(b"via") => self.via()?,
            4 if name.eq_ignore_ascii_case(b"from") => &mut self.from,
            4 if name.eq_ignore_ascii_case(b"cseq") => &mut self.cseq,
            7 if name.eq_ignore_ascii_case(b"call-id") => &mut self.call_id,
            10 if name.eq_ignore_ascii_case(b"user-agent") => {
                self.agent = trim(value);
                return Some(());
            }
            0 => return None,
            _ => return Some(()),
        };
        let value = trim(value);
        // Twice, or nothing.
        if !place.is_empty() || value.is_empty() {
            return None;
        }
        *place = value;
        Some(())
    }

    fn via(&mut self) -> Option<&mut &'a [u8]> {
        self.vias.iter_mut().find(|via| via.is_empty())
    }

    fn is_whole(&self) -> bool {
        [self.from, self.to, self.call_id, self.cseq, self.vias[0]].iter().all(|v| !v.is_empty())
    }
}

/// The branch of the topmost Via of a response that has not been read.
pub fn response_branch(raw: &[u8]) -> Option<&[u8]> {
    let (first, mut rest) = line(raw)?;
    if !first.starts_with(b"SIP/2.0 ") {
        return None;
    }
    for _ in 0..LINES {
        let (line, after) = line(rest)?;
        rest = after;
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v") {
            return Via::parse(Elements::new(trim(value)).next()?).map(|via| via.branch());
        }
    }
    None
}

/// The next line without its CRLF, and what follows; `None` where there is no CRLF, or something that
/// no line holds.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr3(b'\r', b'\n', 0, text)?;
    let rest = text[end..].strip_prefix(b"\r\n")?;
    Some((&text[..end], rest))
}

/// Name and value of a header line; `None` for one that goes on with the line before.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = split(line, b':')?;
    let folded = matches!(name.first(), Some(b' ' | b'\t'));
    (!folded).then(|| (trim(name), value))
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(at, text)?;
    Some((&text[..at], &text[at + 1..]))
}

/// More Via lines are rare.
const VIAS: usize = 4;
/// Header lines; more than twice as many as we have seen.
const LINES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "INVITE sip:+4912@h;user=phone SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
        VIA : SIP/2.0/UDP b, SIP/2.0/UDP c\r\nFrom: \"x;tag=no\" <sip:a@b>;tag=1\r\nt:  <sip:b;tag=no>\r\n\
        Call-ID: one@two \r\nCSEQ: 7 INVITE\r\nUser-Agent: friendly-scanner\r\nX: y\r\n\r\nbody";

    fn glance(text: &str) -> Option<Glance<'_>> {
        Glance::request(text.as_bytes())
    }

    #[test]
    fn a_clean_request_is_seen() {
        let seen = glance(HEAD).unwrap();
        assert_eq!((seen.method, seen.uri), (&b"INVITE"[..], &b"sip:+4912@h;user=phone"[..]));
        assert_eq!(seen.vias().count(), 2);
        assert_eq!(seen.top_via().unwrap().branch(), b"z9hG4bK1");
        assert_eq!((seen.call_id, seen.cseq_number()), (&b"one@two"[..], Some(7)));
        assert_eq!((seen.to_tag(), seen.agent), (None, &b"friendly-scanner"[..]));
        let inside =
            HEAD.replace("t:  <sip:b;tag=no>", "t: \"a <b>;tag=no\" <sip:b>;x=\"\";TAG=in");
        assert_eq!(glance(&inside).unwrap().to_tag(), Some(&b"in"[..]));
        let late = HEAD.replace("7 INVITE", "2147483648 INVITE");
        assert_eq!(glance(&late).unwrap().cseq_number(), None);
    }

    /// White space is what RFC 3261 §25.1 calls so, here as where messages are read.
    #[test]
    fn a_form_feed_is_no_white_space() {
        let odd = HEAD.replace("<sip:a@b>;tag=1", "<sip:a@b>;tag=1\u{c}");
        assert_eq!(glance(&odd).unwrap().from.last(), Some(&b'\x0c'));
    }

    #[test]
    fn what_is_in_doubt_is_not_seen() {
        for (what, with) in [
            ("SIP/2.0\r\nv", "SIP/3.0\r\nv"),
            ("CSEQ: 7 INVITE\r\n", ""),
            ("X: y", "To: <sip:b>"),
            ("X: y", "f: <sip:b>"),
            ("X: y", "X: y\r\n z"),
            ("X: y", "X: y\r\n t: <sip:b>"),
            ("X: y", "X: y\r\n\tUser-Agent: z"),
            ("X: y", "X: y\nz: a"),
            ("X: y", "X: y\rz: a"),
            ("X: y", "X: \0"),
            ("X: y", "X y"),
            ("X: y", " : y"),
            ("X: y", "v: a\r\nv: b\r\nv: c"),
            ("one@two", ""),
            ("\r\n\r\nbody", "\r\n"),
        ] {
            assert!(HEAD.contains(what));
            assert!(glance(&HEAD.replacen(what, with, 1)).is_none(), "{what:?} {with:?}");
        }
        let many = HEAD.replace("X: y", &"X: y\r\n".repeat(LINES));
        assert!(glance(&many).is_none());
        assert!(glance("SIP/2.0 200 OK\r\n\r\n").is_none());
        assert!(glance("").is_none());
    }

    #[test]
    fn a_response_shows_its_branch() {
        let text =
            "SIP/2.0 200 OK\r\nX: y\r\nVia : SIP/2.0/UDP a;branch=z9hG4bK5, SIP/2.0/UDP b\r\n\r\n";
        assert_eq!(response_branch(text.as_bytes()), Some(&b"z9hG4bK5"[..]));
        for none in
            ["SIP/2.0 200 OK\r\n\r\n", "INVITE sip:a SIP/2.0\r\nv: SIP/2.0/UDP a;branch=1\r\n"]
        {
            assert_eq!(response_branch(none.as_bytes()), None);
        }
    }

    proptest::proptest! {
        /// Whatever is seen is what reading shows.
        #[test]
        fn a_glance_agrees_with_reading(at in 0..400_usize, with in proptest::collection::vec(proptest::num::u8::ANY, 0..4)) {
            let mut bytes = HEAD.as_bytes().to_vec();
            let at = at.min(bytes.len());
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with);
            let Ok(message) = crate::message::Message::parse(bytes.clone().into()) else { return Ok(()) };
            let Some(seen) = Glance::request(&bytes) else { return Ok(()) };
            proptest::prop_assert_eq!(seen.method, message.method().as_bytes());
            proptest::prop_assert_eq!(seen.uri, message.uri());
            proptest::prop_assert_eq!(seen.to_tag(), message.to_tag());
            proptest::prop_assert_eq!(seen.call_id, message.call_id());
            proptest::prop_assert_eq!(seen.cseq_number(), Some(message.cseq()));
            proptest::prop_assert_eq!(seen.top_via().map(|via| via.branch()).unwrap_or_default(), message.branch());
        }
    }
}
