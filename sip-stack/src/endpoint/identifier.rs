//! Branches, tags and Call-IDs: random text that tells us, and only us, who made it.
//!
//! Eight random bytes, then seven bytes under a mask: node, shard, epoch and a check byte. The mask is
//! the ChaCha20 key stream whose nonce is the random part, so that all processes with the same mask
//! key can read which of them an identifier belongs to, and equal origins look unlike. Written in the
//! letters of Crockford's base 32, lower case: valid as token and word in every header, and safe with
//! peers that change the case.

use std::hash::Hasher;

use bytes::Bytes;

use crate::random::{Random, chacha20_block};

/// The start of every branch of RFC 3261 (§8.1.1.7).
pub(super) const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// Letters in an identifier.
pub(super) const LEN: usize = 24;

/// The process that made an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The node of the cluster.
    pub node: u8,
    /// The shard of signalling in the process.
    pub shard: u8,
    /// The start of the process: a number that grows with every start.
    pub epoch: u32,
}

/// Makes identifiers.
pub(super) struct Identifiers {
    origin: Origin,
    mask: [u8; 32],
    random: Random,
}

impl Identifiers {
    pub(super) const fn new(origin: Origin, mask: [u8; 32], seed: [u8; 32]) -> Self {
        Self { origin, mask, random: Random::new(seed) }
    }

    /// A fresh identifier.
    pub(super) fn fresh(&mut self) -> [u8; LEN] {
        let nonce = self.random.bytes();
        self.write(nonce)
    }

    /// The identifier that stands for these bytes in this process: the same whenever it is asked for. Builds with one
    /// standard library agree on it.
    pub(super) fn derived(&self, from: &[u8]) -> [u8; LEN] {
        self.write(self.digest(from))
    }

    /// Whether an identifier that is known to be ours (see [`Identifiers::origin`]; that is not asked again) is the one
    /// that stands for these bytes, whichever of our processes derived it.
    pub(super) fn is_derived(&self, identifier: &[u8], from: &[u8]) -> bool {
        let letters: Option<&[u8; LEN]> = identifier.try_into().ok();
        letters.and_then(decode).is_some_and(|bytes| bytes[..8] == self.digest(from))
    }

    /// Who made this identifier, branch or tag; `None` when it is not one of ours.
    pub(super) fn origin(&self, text: &[u8]) -> Option<Origin> {
        let letters: &[u8; LEN] = without_cookie(text).unwrap_or(text).try_into().ok()?;
        let bytes = decode(letters)?;
        let (nonce, rest) = bytes.split_at(8);
        let mut masked: [u8; 7] = rest.try_into().ok()?;
        self.apply_mask(nonce.try_into().ok()?, &mut masked);
        let [node, shard, e0, e1, e2, e3, check] = masked;
        let epoch = u32::from_be_bytes([e0, e1, e2, e3]);
        (check == 0).then_some(Origin { node, shard, epoch })
    }

    fn digest(&self, of: &[u8]) -> [u8; 8] {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&self.mask);
        hasher.write(of);
        hasher.finish().to_be_bytes()
    }

    fn write(&self, nonce: [u8; 8]) -> [u8; LEN] {
        let [e0, e1, e2, e3] = self.origin.epoch.to_be_bytes();
        let mut masked = [self.origin.node, self.origin.shard, e0, e1, e2, e3, 0];
        self.apply_mask(nonce, &mut masked);
        let mut bytes = [0; 15];
        bytes[..8].copy_from_slice(&nonce);
        bytes[8..].copy_from_slice(&masked);
        encode(&bytes)
    }

    fn apply_mask(&self, nonce: [u8; 8], bytes: &mut [u8; 7]) {
        let mut long = [0; 12];
        long[..8].copy_from_slice(&nonce);
        let stream = chacha20_block(&self.mask, 0, &long);
        for (byte, mask) in bytes.iter_mut().zip(stream) {
            *byte ^= mask;
        }
    }
}

/// What follows the magic cookie; `None` when the branch has none (RFC 2543 peers).
pub(super) fn without_cookie(branch: &[u8]) -> Option<&[u8]> {
    let (cookie, rest) = branch.split_at_checked(MAGIC_COOKIE.len())?;
    cookie.eq_ignore_ascii_case(MAGIC_COOKIE).then_some(rest)
}

/// An identifier as text of its own.
pub(super) fn text(identifier: &[u8; LEN]) -> Bytes {
    Bytes::copy_from_slice(identifier)
}

const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What each letter stands for, in either case.
const VALUES: [u8; 256] = {
    let mut values = [NO_LETTER; 256];
    let mut value = 0;
    while value < LETTERS.len() {
        let letter = LETTERS[value];
        values[letter as usize] = value as u8;
        values[letter.to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_LETTER: u8 = 0xff;

/// 15 bytes are three groups of 40 bits, each eight letters.
fn encode(bytes: &[u8; 15]) -> [u8; LEN] {
    let mut letters = [0; LEN];
    for (group, out) in bytes.chunks_exact(5).zip(letters.chunks_exact_mut(8)) {
        let bits = group.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        for (i, letter) in out.iter_mut().enumerate() {
            *letter = LETTERS[(bits >> (35 - 5 * i)) as usize & 31];
        }
    }
    letters
}

fn decode(letters: &[u8; LEN]) -> Option<[u8; 15]> {
    let mut bytes = [0; 15];
    for (group, out) in letters.chunks_exact(8).zip(bytes.chunks_exact_mut(5)) {
        let mut bits = 0_u64;
        for letter in group {
            let value = VALUES[usize::from(*letter)];
            if value == NO_LETTER {
                return None;
            }
            bits = bits << 5 | u64::from(value);
        }
        out.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    const ORIGIN: Origin = Origin { node: 3, shard: 1, epoch: 0x0102_0304 };

    #[test]
    fn identifiers_are_fresh_and_show_their_origin_only_under_the_mask() {
        let mut ours = Identifiers::new(ORIGIN, [9; 32], [1; 32]);
        let sibling = Identifiers::new(Origin { node: 4, shard: 0, epoch: 7 }, [9; 32], [2; 32]);
        let stranger = Identifiers::new(ORIGIN, [8; 32], [1; 32]);
        let mut seen = std::collections::HashSet::new();
        let mut read_by_strangers = 0;
        for _ in 0..2000 {
            let identifier = ours.fresh();
            assert!(seen.insert(identifier));
            assert_eq!(ours.origin(&identifier), Some(ORIGIN));
            assert_eq!(sibling.origin(&identifier), Some(ORIGIN));
            assert_eq!(sibling.origin(&identifier.to_ascii_uppercase()), Some(ORIGIN));
            assert_eq!(ours.origin(&[MAGIC_COOKIE, &identifier].concat()), Some(ORIGIN));
            read_by_strangers += usize::from(stranger.origin(&identifier) == Some(ORIGIN));
        }
        assert_eq!(read_by_strangers, 0);
    }

    #[test]
    fn derived_identifiers_stay_the_same() {
        let ids = Identifiers::new(ORIGIN, [9; 32], [1; 32]);
        assert_eq!(ids.derived(b"one"), ids.derived(b"one"));
        assert_ne!(ids.derived(b"one"), ids.derived(b"two"));
        assert_eq!(ids.origin(&ids.derived(b"one")), Some(ORIGIN));
        let sibling = Identifiers::new(Origin { node: 4, shard: 0, epoch: 7 }, [9; 32], [2; 32]);
        for identifier in [ids.derived(b"one"), sibling.derived(b"one")] {
            assert!(ids.is_derived(&identifier, b"one"));
            assert!(ids.is_derived(&identifier.to_ascii_uppercase(), b"one"));
        }
        assert!(!ids.is_derived(&ids.derived(b"one"), b"two"));
        assert!(!ids.is_derived(b"one", b"one"));
    }

    #[test]
    fn texts_of_others_have_no_origin() {
        let ids = Identifiers::new(ORIGIN, [9; 32], [1; 32]);
        for text in [&b""[..], b"z9hG4bK", b"as7d9f", b"uuuuuuuuuuuuuuuuuuuuuuuu"] {
            assert_eq!(ids.origin(text), None);
        }
    }

    #[test]
    fn what_another_of_our_kind_makes_is_not_taken_for_a_loop() {
        let (mut endpoint, _) = fixture::endpoint();
        let mut other = Identifiers::new(ORIGIN, [8; 32], [1; 32]);
        let alike = |id: &[u8; LEN]| endpoint.origin(id).is_some_and(|it| it.node == 3);
        let theirs = std::iter::repeat_with(|| other.fresh()).find(alike).unwrap();
        for (identifier, ours) in [(text(&theirs), false), (endpoint.new_tag(), true)] {
            let branch = String::from_utf8_lossy(&identifier);
            let via = format!("Via: SIP/2.0/UDP peer.example;branch=z9hG4bK{branch}");
            let request = fixture::incoming("OPTIONS", &[&via]);
            assert_eq!(endpoint.has_passed(&request), ours);
        }
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_decoding(bytes: [u8; 15]) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
