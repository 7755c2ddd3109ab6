//! The `name=value` pairs behind `Digest` in a challenge or its answer (RFC 7616 §3.3, §3.4; RFC 3261 §25.1).

use crate::message::Elements;
use crate::message::scan::{is_lws, is_token, trim};

/// The pairs of one header value.
pub(super) struct Pairs<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Pairs<'a> {
    /// `None` when it is another scheme, or not to be understood: a pair without a value, the same name twice, a
    /// control character, more or longer than anyone needs.
    pub(super) fn read(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.first().copied().is_some_and(is_lws) {
            return None;
        }
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
        for element in Elements::new(rest) {
            let equals = element.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (trim(&element[..equals]), trim(&element[equals + 1..]));
            let value = match value {
                [b'"', inner @ .., b'"'] => inner,
                bare if bare.iter().copied().all(is_bare) => bare,
                _ => return None,
            };
            let named = !name.is_empty() && name.iter().copied().all(is_token);
            let fits = value.len() <= LONGEST && !value.iter().any(u8::is_ascii_control);
            let known = pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if !named || !fits || known || !is_closed(value) || pairs.len() >= MOST {
                return None;
            }
            pairs.push((name, value));
        }
        Some(Self(pairs))
    }

    /// The value of that name, as it stands between its quotes.
    pub(super) fn find(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| *value)
    }
}

/// What stands without quotes: a token, or what some servers do not quote though they should (a nonce in base64).
const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',')
}

/// Whether a text can stand between quotes as it is: none in it but escaped ones, and no escape left open.
pub(super) fn is_closed(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return false,
            b'\\' if bytes.next().is_none() => return false,
            _ => {}
        }
    }
    true
}

const SCHEME: &[u8] = b"Digest";
/// How many pairs a header may have; thirteen have a meaning.
const MOST: usize = 32;
/// How long a value may be.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_with_and_without_quotes_and_white_space() {
        let pairs =
            Pairs::read(b"dIGEST realm=\"a, \\\"b\\\"\" ,nonce = abc=,  QOP=\"\",").unwrap();
        assert_eq!(pairs.find("realm"), Some(&b"a, \\\"b\\\""[..]));
        assert_eq!(pairs.find("Nonce"), Some(&b"abc="[..]));
        assert_eq!(pairs.find("qop"), Some(&b""[..]));
        assert_eq!(pairs.find("opaque"), None);
    }

    #[test]
    fn what_cannot_be_understood_is_nothing() {
        let long = format!("Digest a=\"{}\"", "x".repeat(LONGEST + 1));
        let many: String = (0..=MOST).map(|n| format!(",a{n}=1")).collect();
        let many = format!("Digest {many}");
        for text in [
            "",
            "Digest",
            "Basic realm=\"a\"",
            "Digestrealm=\"a\"",
            "Digest a",
            "Digest =a",
            "Digest a=1, A=2",
            "Digest a=\"b",
            "Digest a=b\"c\"",
            "Digest a b=c",
            "Digest a=\"\x01\"",
            "Digest a=\"b\\\"",
            &long,
            &many,
        ] {
            assert!(Pairs::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
