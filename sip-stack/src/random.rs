//! The random source of the cores: ChaCha20 (RFC 8439 §2.3) over a seed given at birth.
//!
//! Tags and branches must not be guessed (RFC 3261 §19.3), and two runs with the same seed must give
//! the same output; a seeded stream cipher is both. Fresh seeds come from whoever makes the core.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

/// An endless stream of random numbers from one seed.
#[derive(Clone)]
pub(crate) struct Random {
    key: [u8; 32],
    counter: u64,
    block: [u8; 64],
    used: usize,
}

impl Random {
    /// The stream of this seed.
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self { key: seed, counter: 0, block: [0; 64], used: 64 }
    }

    /// The next eight bytes.
    pub(crate) fn bytes(&mut self) -> [u8; 8] {
        if self.used == self.block.len() {
            // A nonce has 2^31 blocks, half of what it could have: the crate refuses the last one. 2^70 bytes until
            // the counter wraps.
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&(self.counter >> 31).to_le_bytes());
            self.block = chacha20_block(&self.key, self.counter as u32 & 0x7fff_ffff, &nonce);
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        bytes
    }
}

/// One block of key stream (RFC 8439 §2.3.1); `counter` is not the largest there is.
pub(crate) fn chacha20_block(key: &[u8; 32], counter: u32, nonce: &[u8; 12]) -> [u8; 64] {
    let mut cipher = ChaCha20::new(key.into(), nonce.into());
    let mut block = [0; 64];
    cipher.seek(u64::from(counter) * block.len() as u64);
    cipher.apply_keystream(&mut block);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_of_rfc_8439_section_2_3_2() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let nonce = [0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0];
        let expected = [
            0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20,
            0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a,
            0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2,
            0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9,
            0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
        ];
        assert_eq!(chacha20_block(&key, 1, &nonce), expected);
    }

    #[test]
    fn the_stream_goes_on_after_the_last_block_of_a_nonce() {
        let mut seen = std::collections::HashSet::new();
        for last in [(1 << 31) - 1, (1 << 32) - 1, u64::MAX] {
            let mut random = Random { counter: last - 1, ..Random::new([7; 32]) };
            assert!((0..32).all(|_| seen.insert(random.bytes())), "after block {last}");
        }
    }

    #[test]
    fn one_seed_gives_one_stream_without_repeats() {
        let mut first = Random::new([7; 32]);
        let mut again = Random::new([7; 32]);
        let mut other = Random::new([8; 32]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let bytes = first.bytes();
            assert_eq!(bytes, again.bytes());
            assert!(seen.insert(bytes) && seen.insert(other.bytes()));
        }
    }
}
