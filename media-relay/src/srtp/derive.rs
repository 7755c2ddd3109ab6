//! Session keys from a master key (RFC 3711 §4.3.1 and §4.3.3; with AES-256: RFC 6188 §3; with a
//! 96-bit salt: RFC 7714 §11). The key derivation rate is zero: one derivation for a key's life.

use aes::{Aes128Enc, Aes256Enc, cipher::KeyInit};
use zeroize::Zeroizing;

use super::{MasterKey, cm::apply_keystream};

/// What a session key is for (RFC 3711 §4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// The first `N` bytes of the key stream that belongs to `label`.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: Label) -> Zeroizing<[u8; N]> {
    key_stream(master.key(), master.salt(), label)
}

/// As [`derive`], with the master key of any suite.
pub(super) fn key_stream<const N: usize>(
    key: &[u8],
    salt: &[u8],
    label: Label,
) -> Zeroizing<[u8; N]> {
    // x = label XOR salt, both aligned to 112 bits with the label at byte 7; a 96-bit salt is
    // padded on the right. The last two bytes count blocks.
    let mut iv = Zeroizing::new([0; 16]);
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label as u8;

    let mut out = Zeroizing::new([0; N]);
    if let Some(key) = key.first_chunk::<32>() {
        apply_keystream(&Aes256Enc::new(key.into()), *iv, out.as_mut());
    } else if let Some(key) = key.first_chunk::<16>() {
        apply_keystream(&Aes128Enc::new(key.into()), *iv, out.as_mut());
    }
    out
}
