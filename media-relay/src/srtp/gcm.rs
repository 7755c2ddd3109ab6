//! AES in Galois/counter mode (RFC 7714 §8, §9). The keys lie in aws-lc's memory, which it clears
//! when they are freed.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{
    MAX_PACKET, MasterKey,
    derive::{Label, derive},
};
use crate::packet::Ssrc;

/// Session keys of SRTP and SRTCP.
pub(super) struct Gcm {
    rtp: Session,
    rtcp: Session,
}

struct Session {
    key: LessSafeKey,
    salt: Zeroizing<[u8; 12]>,
}

impl Gcm {
    /// Bytes of every tag.
    pub(super) const TAG_LEN: usize = 16;

    pub(super) fn new(master: &MasterKey) -> Self {
        let session = |key, salt| {
            let key: Zeroizing<[u8; 32]> = derive(master, key);
            Session::new(&key[..master.key().len()], derive(master, salt))
        };
        Self {
            rtp: session(Label::RtpKey, Label::RtpSalt),
            rtcp: session(Label::RtcpKey, Label::RtcpSalt),
        }
    }

    /// Encrypts `packet` after its header and returns the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Option<[u8; 16]> {
        let (header, payload) = packet.split_at_mut_checked(header_len)?;
        self.rtp.seal(ssrc, index, header, payload)
    }

    /// Decrypts `packet` after its header if `tag` is right; else leaves it as it is.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        tag: &[u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> bool {
        let Some((header, payload)) = packet.split_at_mut_checked(header_len) else {
            return false;
        };
        self.rtp.open(ssrc, index, header, payload, tag)
    }

    /// Encrypts an SRTCP packet after its first eight bytes and returns the tag. `word` is the
    /// encryption flag and the index as they stand in the packet.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: Ssrc,
        word: [u8; 4],
    ) -> Option<[u8; 16]> {
        let (header, body) = packet.split_first_chunk_mut::<8>()?;
        self.rtcp.seal(ssrc, index_of(word), &rtcp_header(header, word), body)
    }

    /// Decrypts an SRTCP packet if `tag` is right; else leaves it as it is.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        tag: &[u8],
        ssrc: Ssrc,
        word: [u8; 4],
    ) -> bool {
        let index = index_of(word);
        if word[0] & 0x80 != 0 {
            let Some((header, body)) = packet.split_first_chunk_mut::<8>() else { return false };
            return self.rtcp.open(ssrc, index, &rtcp_header(header, word), body, tag);
        }
        // Not encrypted: all of the packet is associated data (RFC 7714 §9.3).
        with_scratch(packet.len() + 4, |whole| {
            whole[..packet.len()].copy_from_slice(packet);
            whole[packet.len()..].copy_from_slice(&word);
            self.rtcp.open(ssrc, index, whole, &mut [], tag)
        })
    }
}

impl Session {
    fn new(key: &[u8], salt: Zeroizing<[u8; 12]>) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key);
        let key = key.expect("the algorithm was chosen by the key's length");
        Self { key: LessSafeKey::new(key), salt }
    }

    fn seal(&self, ssrc: Ssrc, index: u64, aad: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(iv(&self.salt, ssrc, index));
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
        tag.as_ref().first_chunk().copied()
    }

    /// aws-lc clears its output when the tag is wrong, so the packet is opened beside itself: it
    /// must survive to be offered to another context.
    fn open(&self, ssrc: Ssrc, index: u64, aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
        with_scratch(text.len(), |clear| {
            let nonce = Nonce::assume_unique_for_key(iv(&self.salt, ssrc, index));
            let aad = Aad::from(aad);
            let opened = self.key.open_separate_gather(nonce, aad, text, tag, clear).is_ok();
            if opened {
                text.copy_from_slice(clear);
            }
            opened
        })
    }
}

/// Clearing two kilobytes would cost a voice packet more than opening it does.
fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    if len <= 256 { f(&mut [0; 256][..len]) } else { f(&mut [0; MAX_PACKET][..len]) }
}

/// Two zero bytes, SSRC, 48-bit index, XOR salt; SRTCP's index has 31 bits in the same place
/// (RFC 7714 §8.1, §9.1).
fn iv(salt: &[u8; 12], ssrc: Ssrc, index: u64) -> [u8; 12] {
    let mut iv = [0; 12];
    iv[2..6].copy_from_slice(&ssrc.0.to_be_bytes());
    iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    iv.iter_mut().zip(salt).for_each(|(iv, salt)| *iv ^= salt);
    iv
}

fn index_of(word: [u8; 4]) -> u64 {
    u64::from(u32::from_be_bytes(word) & 0x7fff_ffff)
}

fn rtcp_header(header: &[u8; 8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..8].copy_from_slice(header);
    aad[8..].copy_from_slice(&word);
    aad
}

#[cfg(test)]
impl Gcm {
    /// With session key and salt given, as RFC 7714 gives them in its examples.
    pub(super) fn of_session(key: &[u8], salt: [u8; 12]) -> Self {
        let session = || Session::new(key, Zeroizing::new(salt));
        Self { rtp: session(), rtcp: session() }
    }
}
