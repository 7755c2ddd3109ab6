//! The Replaces header (RFC 3891 §6.1): the dialog whose place an INVITE asks for.

use super::scan::{Params, trim};

/// The dialog that a Replaces names, as the one who reads it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// Our own tag in it.
    pub to_tag: &'a [u8],
    /// The peer's tag in it.
    pub from_tag: &'a [u8],
    /// Only if it is not answered yet.
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// Reads a value; `None` when it is none: each of both tags has to stand in it once.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let end = value.iter().position(|b| *b == b';')?;
        let call_id = trim(&value[..end]);
        if call_id.is_empty() || call_id.iter().any(u8::is_ascii_whitespace) {
            return None;
        }
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for (name, value) in Params::new(&value[end..]) {
            let place = if name.eq_ignore_ascii_case(b"to-tag") {
                &mut to_tag
            } else if name.eq_ignore_ascii_case(b"from-tag") {
                &mut from_tag
            } else {
                early_only |= name.eq_ignore_ascii_case(b"early-only");
                continue;
            };
            let tag = value.filter(|tag| !tag.is_empty())?;
            if place.replace(tag).is_some() {
                return None;
            }
        }
        Some(Self { call_id, to_tag: to_tag?, from_tag: from_tag?, early_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_and_what_is_none() {
        let call = Replaces::parse(b"12adf2f34456gs5;to-tag=12345;from-tag=54321");
        let plain = Replaces {
            call_id: b"12adf2f34456gs5",
            to_tag: b"12345",
            from_tag: b"54321",
            early_only: false,
        };
        assert_eq!(call, Some(plain));
        let early = Replaces::parse(b"a@h ; FROM-tag=x;early-only;to-tag=y;z=1").unwrap();
        assert_eq!((early.call_id, early.to_tag, early.early_only), (&b"a@h"[..], &b"y"[..], true));
        for none in [
            "",
            "a",
            "a;to-tag=1",
            "a;from-tag=1",
            "a;to-tag=1;from-tag",
            "a;to-tag=1;to-tag=2;from-tag=3",
            ";to-tag=1;from-tag=2",
            "a b;to-tag=1;from-tag=2",
            "a;to-tag=;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(none.as_bytes()), None, "{none}");
        }
    }
}
