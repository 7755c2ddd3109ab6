//! Scanning of header values: white space (folds included), tokens, quoted strings, parameters,
//! comma lists (RFC 3261 §25.1).
//!
//! Works on the raw bytes of a value. A CR or LF inside a value can only be part of a fold, since
//! the line reader refuses bare ones; so both count as white space here.

use std::borrow::Cow;

/// Whether a byte is linear white space inside a header value.
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a byte may stand in a token (RFC 3261 §25.1).
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Where the first byte stands that `FLIP` makes less than `BELOW` (128 at most): eight at a time. What is looked for in a
/// message is near, a few dozen bytes away, where a call of memchr costs more than it saves.
fn first<const FLIP: u8, const BELOW: u8>(text: &[u8]) -> Option<usize> {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let (words, rest) = text.as_chunks();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word) ^ all(FLIP);
        // The highest bit of each byte that is less. A borrow reaches only those behind the first one.
        let less = word.wrapping_sub(all(BELOW)) & !word & all(0x80);
        if less != 0 {
            return Some(8 * place + less.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| byte ^ FLIP < BELOW).map(|at| 8 * words.len() + at)
}

/// Where a byte stands first.
pub(crate) fn find<const BYTE: u8>(text: &[u8]) -> Option<usize> {
    first::<BYTE, 1>(text)
}

/// Where the first CR, LF or NUL stands.
pub(crate) fn find_line_break(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        // All three are below 14, and of what else is there, tab alone is usual.
        let at = from + first::<0, 14>(&text[from..])?;
        if matches!(text[at], b'\r' | b'\n' | 0) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// `value` without white space at both ends.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let Some(start) = value.iter().position(|&b| !is_lws(b)) else {
        return &[];
    };
    let end = value.iter().rposition(|&b| !is_lws(b)).map_or(start, |at| at + 1);
    &value[start..end]
}

/// Whether any byte cannot stand in a URI: controls, space, quotes, angle brackets. Looks at every
/// byte without branching, so that the compiler makes vector code of it.
pub(crate) fn is_unfit_for_uri(text: &[u8]) -> bool {
    let unfit = |b: u8| b <= b' ' || b == 0x7f || b == b'<' || b == b'>' || b == b'"';
    text.iter().fold(0, |bad, &b| bad | u8::from(unfit(b))) != 0
}

/// Where `part` stands inside `whole`, in bytes; both must be of one buffer.
pub(crate) fn offset(whole: &[u8], part: &[u8]) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (at + part.len() <= whole.len()).then_some(at)
}

/// The length of the quoted string that `value` begins with, both quotes included; `None` when it
/// is not closed.
pub(crate) fn quoted_len(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', value.get(at..)?)?;
        if value[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Whether every quoted string in `text` is closed: what is added behind an open one would vanish in
/// it.
pub(crate) fn are_quotes_closed(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = find::<b'"'>(&text[at..]) {
        let Some(len) = quoted_len(&text[at + found..]) else { return false };
        at += found + len;
    }
    true
}

/// The text of a quoted string without quotes and escapes; any other value as it is.
pub fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = value else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        text.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    Cow::Owned(text)
}

/// A decimal number: digits only, no sign, no white space.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Iterates over the comma-separated elements of one header value, white space trimmed, empty
/// elements left out. Commas inside quotes and angle brackets do not separate.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements of `value`.
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = element_len(self.rest);
            let element = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

fn element_len(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b',', b'"', b'<', &value[at..]) {
        at += found;
        let skip = match value[at] {
            b',' => return at,
            b'"' => quoted_len(&value[at..]),
            _ => memchr::memchr(b'>', &value[at..]).map(|end| end + 1),
        };
        match skip {
            Some(len) => at += len,
            None => break,
        }
    }
    value.len()
}

/// Iterates over `;name=value` parameters. White space around names, `=` and values is dropped;
/// a quoted value keeps its quotes (see [`unquote`]).
#[derive(Clone, Debug)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameters in `text`, which begins at or before the first `;`.
    pub fn new(text: &'a [u8]) -> Self {
        let start = find::<b';'>(text).map_or(text.len(), |at| at + 1);
        Self { rest: &text[start..] }
    }

    /// The first parameter of that name, in any case: `Some(None)` when it has no value.
    pub fn find(mut self, name: &str) -> Option<Option<&'a [u8]>> {
        self.find_map(|(known, value)| known.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
    }
}

impl<'a> Params<'a> {
    /// The next parameter, even one without a name.
    pub(crate) fn next_raw(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        if self.rest.is_empty() {
            return None;
        }
        let (end, equals) = param_len(self.rest);
        let item = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(match equals {
            Some(at) => (trim(&item[..at]), Some(trim(&item[at + 1..]))),
            None => (trim(item), None),
        })
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let param = self.next_raw()?;
            if !param.0.is_empty() {
                return Some(param);
            }
        }
    }
}

/// Where the parameter ends and where its first `=` stands.
fn param_len(text: &[u8]) -> (usize, Option<usize>) {
    let mut at = 0;
    let mut equals = None;
    while let Some(&byte) = text.get(at) {
        match byte {
            b';' => return (at, equals),
            b'=' if equals.is_none() => equals = Some(at),
            b'"' => match quoted_len(&text[at..]) {
                Some(len) => {
                    at += len;
                    continue;
                }
                None => return (text.len(), equals),
            },
            _ => {}
        }
        at += 1;
    }
    (at, equals)
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(value: &str) -> Vec<&str> {
        Elements::new(value.as_bytes()).map(|e| std::str::from_utf8(e).unwrap()).collect()
    }

    #[test]
    fn commas_separate_outside_quotes_and_brackets() {
        assert_eq!(elements("INVITE,ACK , BYE"), ["INVITE", "ACK", "BYE"]);
        assert_eq!(
            elements("\"a, \\\"b\" <sip:x,y@h>;q=1 ,<sip:z>"),
            ["\"a, \\\"b\" <sip:x,y@h>;q=1", "<sip:z>"]
        );
        assert_eq!(elements(" , ,"), [""; 0]);
        assert_eq!(elements("a,\"open, b"), ["a", "\"open, b"]);
    }

    #[test]
    fn parameters() {
        let params = Params::new(b"; lr ;Tag = abc;q=\"a;b=c\";;=x;last");
        let all: Vec<_> = params.clone().collect();
        assert_eq!(
            all,
            [
                (&b"lr"[..], None),
                (b"Tag", Some(&b"abc"[..])),
                (b"q", Some(b"\"a;b=c\"")),
                (b"last", None)
            ]
        );
        assert_eq!(params.clone().find("tag"), Some(Some(&b"abc"[..])));
        assert_eq!(params.clone().find("LR"), Some(None));
        assert_eq!(params.find("none"), None);
        assert_eq!(Params::new(b"no semicolon").next(), None);
    }

    #[test]
    fn quoted_strings() {
        assert_eq!(quoted_len(b"\"a\\\"b\" c"), Some(6));
        assert_eq!(quoted_len(b"\"a\\"), None);
        assert_eq!(quoted_len(b"\"a"), None);
        assert!(are_quotes_closed(b"a\"\\\"\"b\"\"") && are_quotes_closed(b""));
        assert!(!are_quotes_closed(b"a\"\"\"b") && !are_quotes_closed(b"\"\\\""));
        assert_eq!(unquote(b"\"a\\\"b\\\\\"").as_ref(), b"a\"b\\");
        assert_eq!(unquote(b"\"plain\"").as_ref(), b"plain");
        assert_eq!(unquote(b"token").as_ref(), b"token");
        assert_eq!(unquote(b"\"").as_ref(), b"\"");
    }

    #[test]
    fn bytes_unfit_for_a_uri_are_seen_anywhere() {
        for len in [1, 15, 16, 17, 31, 32, 33, 100] {
            let clean = vec![b'a'; len];
            assert!(!is_unfit_for_uri(&clean));
            for at in 0..len {
                for bad in [0, b'\r', b' ', 0x7f, b'<', b'>', b'"'] {
                    let mut text = clean.clone();
                    text[at] = bad;
                    assert!(is_unfit_for_uri(&text), "{bad} at {at} of {len}");
                }
            }
        }
        assert!(!is_unfit_for_uri(b"") && !is_unfit_for_uri(b"\xff!#;?%[]"));
    }

    #[test]
    fn bytes_are_found_where_a_slow_search_finds_them() {
        let mut text = Vec::new();
        for len in 0..40 {
            for at in 0..=len {
                for (behind, byte) in
                    [(b'a', b':'), (b':', b':'), (0xff, 0), (b'\r', b'\n'), (0x80, b'\r')]
                {
                    text.clear();
                    text.extend((0..at).map(|i| [b';', b'\t', 0x0b, 0xba, 0x8a, 1][i % 6]));
                    text.push(byte);
                    text.resize(text.len().max(len), behind);
                    let slow = text.iter().position(|b| *b == b':');
                    assert_eq!(find::<b':'>(&text), slow, "{text:?}");
                    let slow = text.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
                    assert_eq!(find_line_break(&text), slow, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "+1", " 1", "1 ", "1a", "18446744073709551616"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn trimming_takes_folds() {
        assert_eq!(trim(b" \r\n\t a b\r\n "), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(trim(b""), b"");
    }
}
