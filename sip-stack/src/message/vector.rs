//! Bytes looked at sixteen at a time, by the crate wide: searches, judgements, comparisons.
//!
//! For values of a few dozen bytes, where what is looked for is near: the first sixteen are looked at in line with
//! the caller, and what lies beyond in one function for each kind of search. memchr, made for long texts, is called
//! for each byte that is found: with it an INVITE's index took 1.25 us, with words of eight bytes 1.21, with these
//! 1.10 (`--bench message`, beside each other).

use wide::u8x16;

/// Where the first byte stands that `is_wanted` marks.
#[inline]
fn first(text: &[u8], is_wanted: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    let marks_of = |bytes: &[u8; 16]| is_wanted(u8x16::new(*bytes)).to_bitmask();
    let Some(head) = text.first_chunk() else {
        let marks = marks_of(&padded(text)) & !(u32::MAX << text.len());
        return (marks != 0).then(|| marks.trailing_zeros() as usize);
    };
    match marks_of(head) {
        0 => behind_head(text, marks_of),
        marks => Some(marks.trailing_zeros() as usize),
    }
}

/// [`first`] of 16 bytes and more, of which the first 16 have no marks.
#[inline(never)]
fn behind_head(text: &[u8], marks_of: impl Fn(&[u8; 16]) -> u32) -> Option<usize> {
    let mut at = 16;
    while let Some(chunk) = text[at..].first_chunk() {
        let marks = marks_of(chunk);
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize);
        }
        at += 16;
    }
    // Of the last sixteen, those in front were seen already.
    let marks = marks_of(text.last_chunk()?);
    (marks != 0).then(|| text.len() - 16 + marks.trailing_zeros() as usize)
}

/// Less than 16 bytes, and zeros behind them. Halves that overlap say the same where they do.
#[inline(never)]
fn padded(text: &[u8]) -> [u8; 16] {
    let len = text.len();
    if len == 0 {
        return [0; 16];
    }
    let bits = if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        u128::from(u64::from_le_bytes(*head))
            | u128::from(u64::from_le_bytes(*tail)) << (8 * (len - 8))
    } else if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        u128::from(
            u64::from(u32::from_le_bytes(*head))
                | u64::from(u32::from_le_bytes(*tail)) << (8 * (len - 4)),
        )
    } else {
        let byte = |at: usize| u32::from(text[at]) << (8 * at);
        u128::from(byte(0) | byte(len / 2) | byte(len - 1))
    };
    bits.to_le_bytes()
}

#[inline]
fn equal(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

#[inline]
fn any_of<const N: usize>(bytes: u8x16, wanted: [u8; N]) -> u8x16 {
    wanted.into_iter().fold(u8x16::ZERO, |found, byte| found | equal(bytes, byte))
}

#[inline]
fn at_most(bytes: u8x16, most: u8) -> u8x16 {
    bytes.min(u8x16::splat(most)).simd_eq(bytes)
}

#[inline]
fn at_least(bytes: u8x16, least: u8) -> u8x16 {
    bytes.max(u8x16::splat(least)).simd_eq(bytes)
}

/// Where a byte stands first.
#[inline]
pub(crate) fn find(byte: u8, text: &[u8]) -> Option<usize> {
    first(text, |bytes| equal(bytes, byte))
}

/// Where the first of some bytes stands.
#[inline]
pub(crate) fn find_any<const N: usize>(wanted: [u8; N], text: &[u8]) -> Option<usize> {
    first(text, |bytes| any_of(bytes, wanted))
}

/// A bit for each of the first 64 bytes that is below 14: CR, LF and NUL, and of what else is there TAB.
#[inline]
pub(crate) fn low_bytes(text: &[u8]) -> u64 {
    let Some(bytes) = text.first_chunk::<64>() else {
        let mut padded = [b' '; 64];
        padded[..text.len()].copy_from_slice(text);
        return low_bytes(&padded);
    };
    bytes.as_chunks().0.iter().rev().fold(0, |marks, quarter| {
        marks << 16 | u64::from(at_most(u8x16::new(*quarter), 13).to_bitmask())
    })
}

/// A bit for each byte of `text` that, with the bits of `set`, is the one in `known`.
#[inline]
pub(crate) fn equal_with(text: &[u8; 16], set: &[u8; 16], known: &[u8; 16]) -> u32 {
    (u8x16::new(*text) | u8x16::new(*set)).simd_eq(u8x16::new(*known)).to_bitmask()
}

/// Whether any byte cannot stand in a URI: controls, space, quotes, angle brackets.
pub(crate) fn is_unfit_for_uri(text: &[u8]) -> bool {
    first(text, |bytes| at_most(bytes, b' ') | any_of(bytes, [0x7f, b'<', b'>', b'"'])).is_some()
}

/// Whether any byte cannot stand in a Call-ID: controls, white space.
pub(crate) fn is_unfit_for_call_id(text: &[u8]) -> bool {
    first(text, |bytes| at_most(bytes, b' ') | equal(bytes, 0x7f)).is_some()
}

/// Whether any byte cannot stand in a tag or branch: what could end one early, and what is not printable ASCII.
pub(crate) fn is_unfit_for_tag(text: &[u8]) -> bool {
    let unfit = |bytes| {
        at_most(bytes, b' ') | at_least(bytes, 0x7f) | any_of(bytes, [b'"', b',', b';', b'<', b'>'])
    };
    first(text, unfit).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of all lengths to 50 with one byte of its own at any place, among bytes that differ from it in one bit.
    fn texts(own: u8, mut see: impl FnMut(&[u8], usize)) {
        for len in 1..50 {
            for at in 0..len {
                for bit in 0..8 {
                    let mut text = vec![own ^ 1 << bit; len];
                    text[at] = own;
                    see(&text, at);
                }
            }
        }
    }

    #[test]
    fn a_byte_is_found_at_every_place() {
        for own in [0, b'\t', b'\r', b':', b'"', 0x7f, 0x80, 0xff] {
            texts(own, |text, at| {
                assert_eq!(find(own, text), Some(at), "{text:?}");
                let slow = text.iter().position(|byte| [b':', own, b';'].contains(byte));
                assert_eq!(find_any([b':', own, b';'], text), slow, "{text:?}");
                assert_eq!(find(own, &text[..at]), None, "{text:?}");
                assert_eq!(find(own, &text[at + 1..]), None, "{text:?}");
            });
        }
        assert_eq!(find(0, b""), None);
        assert_eq!(find(b'b', b"abcb"), Some(1));
    }

    #[test]
    fn every_byte_is_judged_at_every_place() {
        let uri = |b: u8| b <= b' ' || matches!(b, 0x7f | b'<' | b'>' | b'"');
        let call_id = |b: u8| b <= b' ' || b == 0x7f;
        let tag = |b: u8| !b.is_ascii_graphic() || matches!(b, b'"' | b',' | b';' | b'<' | b'>');
        for len in 1..40 {
            for at in 0..len {
                let mut text = vec![b'a'; len];
                for byte in 0..=255 {
                    text[at] = byte;
                    assert_eq!(is_unfit_for_uri(&text), uri(byte), "{text:?}");
                    assert_eq!(is_unfit_for_call_id(&text), call_id(byte), "{text:?}");
                    assert_eq!(is_unfit_for_tag(&text), tag(byte), "{text:?}");
                }
            }
        }
        assert!(!is_unfit_for_uri(b"") && !is_unfit_for_call_id(b"") && !is_unfit_for_tag(b""));
    }

    #[test]
    fn low_bytes_have_their_bits() {
        for len in 0..=70 {
            for byte in [0, b'\n', b'\r', 14, b' ', 0x8d, 0xff] {
                for at in 0..len {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    let expected = if byte < 14 && at < 64 { 1 << at } else { 0 };
                    assert_eq!(low_bytes(&text), expected, "{text:?}");
                }
            }
        }
    }
}
