//! The random source of the cores: ChaCha20 (RFC 8439 §2.3) over a seed given at birth.
//!
//! Tags and branches must not be guessed (RFC 3261 §19.3), and two runs with the same seed must give
//! the same output; a seeded stream cipher is both. Fresh seeds come from whoever makes the core.

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
            // 2^70 bytes until the counter wraps.
            let [c0, c1, c2, c3, c4, c5, c6, c7] = self.counter.to_le_bytes();
            let counter = u32::from_le_bytes([c0, c1, c2, c3]);
            let nonce = [c4, c5, c6, c7, 0, 0, 0, 0, 0, 0, 0, 0];
            self.block = chacha20_block(&self.key, counter, &nonce);
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        bytes
    }
}

/// One block of key stream (RFC 8439 §2.3.1).
pub(crate) fn chacha20_block(key: &[u8; 32], counter: u32, nonce: &[u8; 12]) -> [u8; 64] {
    let word = |bytes: &[u8], i: usize| {
        u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
    };
    let mut start = [0_u32; 16];
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    for i in 0..8 {
        start[4 + i] = word(key, i);
    }
    start[12] = counter;
    for i in 0..3 {
        start[13 + i] = word(nonce, i);
    }

    let mut state = start;
    for _ in 0..10 {
        quarter_round(&mut state, 0, 4, 8, 12);
        quarter_round(&mut state, 1, 5, 9, 13);
        quarter_round(&mut state, 2, 6, 10, 14);
        quarter_round(&mut state, 3, 7, 11, 15);
        quarter_round(&mut state, 0, 5, 10, 15);
        quarter_round(&mut state, 1, 6, 11, 12);
        quarter_round(&mut state, 2, 7, 8, 13);
        quarter_round(&mut state, 3, 4, 9, 14);
    }

    let mut block = [0; 64];
    for (i, out) in block.chunks_exact_mut(4).enumerate() {
        out.copy_from_slice(&state[i].wrapping_add(start[i]).to_le_bytes());
    }
    block
}

const fn quarter_round(state: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
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
