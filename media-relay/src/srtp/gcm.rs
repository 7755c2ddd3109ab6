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
    rtp: LessSafeKey,
    rtp_salt: Zeroizing<[u8; 12]>,
    rtcp: LessSafeKey,
    rtcp_salt: Zeroizing<[u8; 12]>,
}

impl Gcm {
    /// Bytes of every tag.
    pub(super) const TAG_LEN: usize = 16;

    pub(super) fn new(master: &MasterKey) -> Self {
        Self {
            rtp: session_key(master, Label::RtpKey),
            rtp_salt: derive(master, Label::RtpSalt),
            rtcp: session_key(master, Label::RtcpKey),
            rtcp_salt: derive(master, Label::RtcpSalt),
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
        seal(&self.rtp, iv(&self.rtp_salt, ssrc, index), header, payload)
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
        open(&self.rtp, iv(&self.rtp_salt, ssrc, index), header, payload, tag)
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
        let iv = iv(&self.rtcp_salt, ssrc, index_of(word));
        seal(&self.rtcp, iv, &rtcp_header(header, word), body)
    }

    /// Decrypts an SRTCP packet if `tag` is right; else leaves it as it is.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        tag: &[u8],
        ssrc: Ssrc,
        word: [u8; 4],
    ) -> bool {
        let iv = iv(&self.rtcp_salt, ssrc, index_of(word));
        if word[0] & 0x80 != 0 {
            let Some((header, body)) = packet.split_first_chunk_mut::<8>() else { return false };
            return open(&self.rtcp, iv, &rtcp_header(header, word), body, tag);
        }
        // Not encrypted: all of the packet is associated data (RFC 7714 §9.3).
        with_scratch(packet.len() + 4, |whole| {
            whole[..packet.len()].copy_from_slice(packet);
            whole[packet.len()..].copy_from_slice(&word);
            open(&self.rtcp, iv, whole, &mut [], tag)
        })
    }
}

fn session_key(master: &MasterKey, label: Label) -> LessSafeKey {
    let key: Zeroizing<[u8; 32]> = derive(master, label);
    let key = &key[..master.key().len()];
    let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
    let key =
        UnboundKey::new(algorithm, key).expect("the algorithm was chosen by the key's length");
    LessSafeKey::new(key)
}

fn seal(key: &LessSafeKey, iv: [u8; 12], aad: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
    let nonce = Nonce::assume_unique_for_key(iv);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
    tag.as_ref().first_chunk().copied()
}

/// aws-lc clears its output when the tag is wrong, so the packet is opened beside itself: it must
/// survive to be offered to another context.
fn open(key: &LessSafeKey, iv: [u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
    with_scratch(text.len(), |clear| {
        let nonce = Nonce::assume_unique_for_key(iv);
        let opened = key.open_separate_gather(nonce, Aad::from(aad), text, tag, clear).is_ok();
        if opened {
            text.copy_from_slice(clear);
        }
        opened
    })
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
