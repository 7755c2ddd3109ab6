//! Entries with keys are sealed: AES-256-GCM (NIST SP 800-38D) under a key of this process's own directory, made of
//! the state key and a random salt, so that a nonce, which is a count, never comes twice under one key.
//!
//! ```text
//! count u64 LE · ciphertext · tag (16 bytes); kind and call are authenticated beside it
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::frame;
use super::{CallId, Kind};

/// Random bytes that tell the key of one directory from those of all others.
pub(crate) type Salt = [u8; 32];

/// Seals and opens.
pub(crate) struct Sealer {
    key: LessSafeKey,
    count: u64,
}

impl Sealer {
    /// `master` is the journal's key of the state directory.
    pub(crate) fn new(master: &[u8; 32], salt: &Salt) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, master), salt);
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(tag.as_ref());
        let key =
            UnboundKey::new(&AES_256_GCM, &bytes[..]).expect("the key has the cipher's length");
        Self { key: LessSafeKey::new(key), count: 0 }
    }

    /// Appends what `write` appends, sealed where it lies.
    pub(crate) fn seal(
        &mut self,
        kind: Kind,
        call: CallId,
        into: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.count += 1;
        into.extend_from_slice(&self.count.to_le_bytes());
        let start = into.len();
        write(into);
        let aad = Aad::from(frame::name(kind, call));
        let sealed = &mut into[start..];
        let tag = self.key.seal_in_place_separate_tag(nonce(self.count), aad, sealed);
        into.extend_from_slice(tag.expect("an entry is far below the cipher's limit").as_ref());
    }

    /// The plain payload; `None` when it was sealed under another key or is not what was sealed.
    pub(crate) fn open(
        &self,
        kind: Kind,
        call: CallId,
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (count, sealed) = sealed.split_first_chunk()?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(frame::name(kind, call));
        let nonce = nonce(u64::from_le_bytes(*count));
        let length = self.key.open_in_place(nonce, aad, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("count", &self.count).finish_non_exhaustive()
    }
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallId = CallId([7; 16]);

    #[test]
    fn only_the_same_key_kind_and_call_open_it() {
        let mut sealer = Sealer::new(&[1; 32], &[2; 32]);
        let mut sealed = Vec::new();
        sealer.seal(Kind::Standing, CALL, &mut sealed, |b| b.extend_from_slice(b"secret"));
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        let open =
            |sealer: &Sealer, kind, call| sealer.open(kind, call, &sealed).map(|p| p.to_vec());
        assert_eq!(open(&sealer, Kind::Standing, CALL), Some(b"secret".to_vec()));
        assert_eq!(open(&sealer, Kind::Media, CALL), None);
        assert_eq!(open(&sealer, Kind::Standing, CallId([8; 16])), None);
        assert_eq!(open(&Sealer::new(&[3; 32], &[2; 32]), Kind::Standing, CALL), None);
        assert_eq!(open(&Sealer::new(&[1; 32], &[3; 32]), Kind::Standing, CALL), None);
        for at in 0..sealed.len() {
            let mut spoilt = sealed.clone();
            spoilt[at] ^= 1;
            assert!(sealer.open(Kind::Standing, CALL, &spoilt).is_none(), "{at}");
            assert!(sealer.open(Kind::Standing, CALL, &sealed[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn equal_payloads_look_unlike() {
        let mut sealer = Sealer::new(&[1; 32], &[2; 32]);
        let mut seal = || {
            let mut sealed = Vec::new();
            sealer.seal(Kind::Standing, CALL, &mut sealed, |b| b.extend_from_slice(b"secret"));
            sealed
        };
        let (first, second) = (seal(), seal());
        assert_ne!(first[8..], second[8..]);
    }
}
