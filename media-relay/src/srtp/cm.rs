//! AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1). The key schedule of SRTP and the
//! pads of both tags are kept; SRTCP, one packet in five seconds, expands its key for each packet.

use aes::{
    Aes128Enc, Block,
    cipher::{
        BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
        ParBlocks, consts::U16, typenum::Unsigned,
    },
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
    cipher.encrypt_with_backend(Keystream { counter: u128::from_be_bytes(iv), data });
}

/// Counter mode as the cipher's backends take it: the counters are made, encrypted and XORed
/// within the function that has the processor's AES instructions, without a buffer between.
struct Keystream<'a> {
    counter: u128,
    data: &'a mut [u8],
}

impl BlockSizeUser for Keystream<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Keystream<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Self { mut counter, mut data } = self;
        let batch = B::ParBlocksSize::USIZE;
        while batch > 1 && data.len() >= 16 * batch {
            let (now, rest) = data.split_at_mut(16 * batch);
            let mut stream = ParBlocks::<B>::default();
            for block in &mut stream {
                *block = counter.to_be_bytes().into();
                counter += 1;
            }
            backend.encrypt_par_blocks((&mut stream).into());
            for (data, key) in now.as_chunks_mut().0.iter_mut().zip(&stream) {
                xor(data, key.0);
            }
            data = rest;
        }
        let (whole, rest) = data.as_chunks_mut();
        for data in whole {
            let mut block = Block::from(counter.to_be_bytes());
            counter += 1;
            backend.encrypt_block((&mut block).into());
            xor(data, block.0);
        }
        if !rest.is_empty() {
            let mut block = Block::from(counter.to_be_bytes());
            backend.encrypt_block((&mut block).into());
            rest.iter_mut().zip(block).for_each(|(data, key)| *data ^= key);
        }
    }
}

#[inline(always)]
fn xor(data: &mut [u8; 16], key: [u8; 16]) {
    *data = (u128::from_ne_bytes(*data) ^ u128::from_ne_bytes(key)).to_ne_bytes();
}

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

/// Compares in constant time as many bytes of the full tag as the packet has: 10 or 4. By words,
/// since `subtle` takes 20 ns for the slices.
fn equal(full: &[u8; 20], tag: &[u8]) -> bool {
    let (Some(full), true) = (full.get(..tag.len()), tag.len() <= 16) else { return false };
    let words = |bytes: &[u8]| {
        let mut padded = [0; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        u128::from_ne_bytes(padded)
    };
    words(full).ct_eq(&words(tag)).into()
}
