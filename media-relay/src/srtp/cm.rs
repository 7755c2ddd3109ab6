//! AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1). The key schedule of SRTP and the
//! pads of both tags are kept; SRTCP, one packet in five seconds, expands its key for each packet.

use aes::{
    Aes128Enc, Block,
    cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    MasterKey,
    derive::{Label, derive},
    hmac::HmacSha1,
};
use crate::packet::Ssrc;

/// Session keys of SRTP and SRTCP.
pub(super) struct Cm {
    rtp_auth: HmacSha1,
    rtp_salt: Zeroizing<[u8; 14]>,
    rtp_tag_len: u8,
    rtp: Aes128Enc,
    rtcp_auth: HmacSha1,
    rtcp_salt: Zeroizing<[u8; 14]>,
    rtcp: Zeroizing<[u8; 16]>,
}

impl Cm {
    /// Bytes of an SRTCP tag; RFC 4568 §6.2.2 keeps 80 bits where SRTP has 32.
    pub(super) const RTCP_TAG_LEN: usize = 10;

    pub(super) fn new(master: &MasterKey, rtp_tag_len: u8) -> Self {
        Self {
            rtp_auth: HmacSha1::new(&derive(master, Label::RtpAuth)),
            rtp_salt: derive(master, Label::RtpSalt),
            rtp_tag_len,
            rtp: Aes128Enc::new((&*derive::<16>(master, Label::RtpKey)).into()),
            rtcp_auth: HmacSha1::new(&derive(master, Label::RtcpAuth)),
            rtcp_salt: derive(master, Label::RtcpSalt),
            rtcp: derive(master, Label::RtcpKey),
        }
    }

    /// Bytes of an SRTP tag: 10 or 4.
    pub(super) fn rtp_tag_len(&self) -> usize {
        usize::from(self.rtp_tag_len)
    }

    /// Encrypts the payload of `packet` and returns the tag of packet and rollover counter.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> [u8; 20] {
        apply_keystream(&self.rtp, iv(&self.rtp_salt, ssrc, index), &mut packet[header_len..]);
        self.rtp_auth.tag(packet, Some(rollovers(index)))
    }

    /// Whether `tag` belongs to `packet` at `index`.
    pub(super) fn verify_rtp(&self, packet: &[u8], tag: &[u8], index: u64) -> bool {
        equal(&self.rtp_auth.tag(packet, Some(rollovers(index))), tag)
    }

    /// Decrypts the payload of a packet that was verified.
    pub(super) fn decrypt_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: Ssrc, index: u64) {
        apply_keystream(&self.rtp, iv(&self.rtp_salt, ssrc, index), &mut packet[header_len..]);
    }

    /// Encrypts or decrypts what follows the first eight bytes of an SRTCP packet.
    pub(super) fn apply_rtcp(&self, body: &mut [u8], ssrc: Ssrc, index: u32) {
        let cipher = Aes128Enc::new((&*self.rtcp).into());
        apply_keystream(&cipher, iv(&self.rtcp_salt, ssrc, index.into()), body);
    }

    /// The tag of an SRTCP packet with its index.
    pub(super) fn tag_rtcp(&self, packet: &[u8]) -> [u8; 20] {
        self.rtcp_auth.tag(packet, None)
    }

    /// Whether `tag` belongs to an SRTCP packet with its index.
    pub(super) fn verify_rtcp(&self, packet: &[u8], tag: &[u8]) -> bool {
        equal(&self.tag_rtcp(packet), tag)
    }
}

/// XORs the key stream that begins with counter `iv` onto `data` (RFC 3711 §4.1.1). The last two
/// bytes of `iv` are zero and count blocks; packets are far shorter than 2^16 blocks.
pub(super) fn apply_keystream<C>(cipher: &C, iv: [u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let start = u128::from_be_bytes(iv);
    let mut counter = 0;
    for batch in data.chunks_mut(BATCH * 16) {
        let mut stream = [Block::default(); BATCH];
        let stream = &mut stream[..batch.len().div_ceil(16)];
        for block in stream.iter_mut() {
            *block = (start + counter).to_be_bytes().into();
            counter += 1;
        }
        cipher.encrypt_blocks(stream);
        let (whole, rest) = batch.as_chunks_mut::<16>();
        for (data, key) in whole.iter_mut().zip(stream.iter()) {
            *data = (u128::from_ne_bytes(*data) ^ u128::from_ne_bytes(key.0)).to_ne_bytes();
        }
        if let Some(last) = stream.last() {
            rest.iter_mut().zip(last).for_each(|(data, key)| *data ^= key);
        }
    }
}

/// Blocks of key stream made in one call: a 20 ms G.711 payload takes ten.
const BATCH: usize = 16;

/// (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
fn iv(salt: &[u8; 14], ssrc: Ssrc, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    let source = u128::from(ssrc.0) << 64 | u128::from(index) << 16;
    (u128::from_be_bytes(iv) ^ source).to_be_bytes()
}

/// The rollover counter as it follows the packet in the authenticated part (RFC 3711 §4.2).
fn rollovers(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// Compares in constant time as many bytes of the full tag as the packet has.
fn equal(full: &[u8; 20], tag: &[u8]) -> bool {
    full.get(..tag.len()).is_some_and(|full| full.ct_eq(tag).into())
}
