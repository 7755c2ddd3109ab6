//! Hash algorithms (RFC 7616 §3.2, RFC 8760 §2.1), the weakest first.

use digest::Digest;
use md5::Md5;
use sha2::{Sha256, Sha512_256};
use zeroize::Zeroizing;

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// What servers know that were never taught another.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

/// The `algorithm` of a challenge. Ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Algorithm {
    /// The hash.
    pub hash: Hash,
    /// `-sess`: nonce and cnonce are part of the key.
    pub session: bool,
}

impl Algorithm {
    /// The value of the parameter in any case; without one it is MD5.
    pub fn parse(value: &[u8]) -> Option<Self> {
        ALL.into_iter().find(|known| known.name().as_bytes().eq_ignore_ascii_case(value))
    }

    /// The value of the parameter.
    pub const fn name(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }

    pub(super) const MD5: Self = Self { hash: Hash::Md5, session: false };
}

impl Hash {
    /// The hash of the parts with colons between them, in lower-case hexadecimal.
    pub(super) fn hex(self, parts: &[&[u8]]) -> Zeroizing<String> {
        match self {
            Self::Md5 => hex::<Md5>(parts),
            Self::Sha256 => hex::<Sha256>(parts),
            Self::Sha512_256 => hex::<Sha512_256>(parts),
        }
    }
}

fn hex<D: Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut hash = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut text = Zeroizing::new(String::with_capacity(digest.len() * 2));
    for byte in &digest {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from(DIGITS[usize::from(nibble)]));
        }
    }
    text
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const ALL: [Algorithm; 6] = [
    Algorithm { hash: Hash::Md5, session: false },
    Algorithm { hash: Hash::Md5, session: true },
    Algorithm { hash: Hash::Sha256, session: false },
    Algorithm { hash: Hash::Sha256, session: true },
    Algorithm { hash: Hash::Sha512_256, session: false },
    Algorithm { hash: Hash::Sha512_256, session: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321 §A.5, FIPS 180-4.
    #[test]
    fn hashes_of_abc() {
        let hashes = [
            (Hash::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Hash::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Hash::Sha512_256, "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
        ];
        for (hash, expected) in hashes {
            assert_eq!(*hash.hex(&[b"abc"]), expected);
        }
    }

    #[test]
    fn parts_are_joined_by_colons() {
        assert_eq!(Hash::Md5.hex(&[b"a", b"", b"b"]), Hash::Md5.hex(&[b"a::b"]));
    }

    #[test]
    fn names_are_read_in_any_case_and_ordered_by_strength() {
        for algorithm in ALL {
            let lower = algorithm.name().to_ascii_lowercase();
            assert_eq!(Algorithm::parse(lower.as_bytes()), Some(algorithm));
        }
        assert!(ALL.is_sorted());
        for unknown in ["", "SHA-1", "MD5-", "AKAv1-MD5", "SHA-256 "] {
            assert_eq!(Algorithm::parse(unknown.as_bytes()), None, "{unknown}");
        }
    }
}
