//! HMAC-SHA1 (RFC 2104) with both key pads hashed once, so that a tag costs the message's blocks
//! and one more.

use sha1::block_api::compress;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The state of SHA-1 after the inner and the outer pad.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct HmacSha1 {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl HmacSha1 {
    pub(super) fn new(key: &[u8; 20]) -> Self {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
            let mut state = START;
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: pad(0x36), outer: pad(0x5c) }
    }

    /// The tag of `message` with the four bytes of `suffix` after it, or of `message` alone.
    pub(super) fn tag(&self, message: &[u8], suffix: Option<[u8; 4]>) -> [u8; 20] {
        let (blocks, rest) = message.as_chunks::<64>();
        let mut state = self.inner;
        compress(&mut state, blocks);

        let mut tail = [[0; 64]; 2];
        let flat = tail.as_flattened_mut();
        let mut end = rest.len();
        flat[..end].copy_from_slice(rest);
        if let Some(suffix) = suffix {
            flat[end..end + 4].copy_from_slice(&suffix);
            end += 4;
        }
        flat[end] = 0x80;
        let used = if end + 9 <= 64 { 1 } else { 2 };
        // The pad's block counts too.
        let bits = 8 * (64 + 64 * blocks.len() + end) as u64;
        flat[64 * used - 8..64 * used].copy_from_slice(&bits.to_be_bytes());
        compress(&mut state, &tail[..used]);

        let mut block = [0; 64];
        block[..20].copy_from_slice(&bytes(state));
        block[20] = 0x80;
        block[56..].copy_from_slice(&(8_u64 * (64 + 20)).to_be_bytes());
        let mut state = self.outer;
        compress(&mut state, &[block]);
        bytes(state)
    }
}

fn bytes(state: [u32; 5]) -> [u8; 20] {
    let mut out = [0; 20];
    for (four, word) in out.as_chunks_mut().0.iter_mut().zip(state) {
        *four = word.to_be_bytes();
    }
    out
}

/// FIPS 180-4 §5.3.1.
const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

#[cfg(test)]
mod tests {
    use sha1::{Digest, Sha1};

    use super::*;

    fn straight(key: &[u8; 20], message: &[u8]) -> [u8; 20] {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
            block
        };
        let inner = Sha1::new().chain_update(pad(0x36)).chain_update(message).finalize();
        Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
    }

    #[test]
    fn rfc_2202_case_1() {
        let tag = HmacSha1::new(&[0x0b; 20]).tag(b"Hi There", None);
        let want = [
            0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b, 0xc0, 0xb6, 0xfb, 0x37,
            0x8c, 0x8e, 0xf1, 0x46, 0xbe, 0x00,
        ];
        assert_eq!(tag, want);
    }

    #[test]
    fn every_length_with_and_without_suffix() {
        let key: [u8; 20] = std::array::from_fn(|i| i as u8 * 7);
        let hmac = HmacSha1::new(&key);
        let message: Vec<u8> = (0..300_u32).map(|i| (i * 31) as u8).collect();
        for len in 0..message.len() {
            let message = &message[..len];
            assert_eq!(hmac.tag(message, None), straight(&key, message), "{len}");
            let with_suffix = [message, &[1, 2, 3, 4]].concat();
            assert_eq!(hmac.tag(message, Some([1, 2, 3, 4])), straight(&key, &with_suffix));
        }
    }
}
