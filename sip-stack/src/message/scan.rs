//! Scanning of header values: white space (folds included), tokens, quoted strings, parameters,
//! comma lists (RFC 3261 §25.1).
//!
//! Works on the raw bytes of a value. A CR or LF inside a value can only be part of a fold, since
//! the line reader refuses bare ones; so both count as white space here.

use std::borrow::Cow;

use super::vector::{find, find_any};

/// Whether a byte is linear white space inside a header value.
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a byte may stand in a token (RFC 3261 §25.1).
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// `value` without white space at both ends.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let Some(start) = value.iter().position(|&b| !is_lws(b)) else {
        return &[];
    };
    let end = value.iter().rposition(|&b| !is_lws(b)).map_or(start, |at| at + 1);
    &value[start..end]
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
        at += find_any([b'"', b'\\'], value.get(at..)?)?;
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
    while let Some(found) = find(b'"', &text[at..]) {
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
    while let Some(found) = find_any([b',', b'"', b'<'], &value[at..]) {
        at += found;
        let skip = match value[at] {
            b',' => return at,
            b'"' => quoted_len(&value[at..]),
            _ => find(b'>', &value[at..]).map(|end| end + 1),
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
        let start = find(b';', text).map_or(text.len(), |at| at + 1);
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
    loop {
        let rest = &text[at..];
        let found = match equals {
            None => find_any([b';', b'=', b'"'], rest),
            Some(_) => find_any([b';', b'"'], rest),
        };
        let Some(found) = found else { break };
        at += found;
        at += match text[at] {
            b';' => return (at, equals),
            b'=' => {
                equals = Some(at);
                1
            }
            _ => match quoted_len(&text[at..]) {
                Some(len) => len,
                None => break,
            },
        };
    }
    (text.len(), equals)
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
        let odd: Vec<_> = Params::new(b";a=b=c;d==\"x;=\"=;e=\"open;f=g").collect();
        assert_eq!(
            odd,
            [
                (&b"a"[..], Some(&b"b=c"[..])),
                (b"d", Some(b"=\"x;=\"=")),
                (b"e", Some(b"\"open;f=g"))
            ]
        );
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
