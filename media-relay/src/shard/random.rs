//! Numbers that a stranger should not guess but that guard no secret: SSRCs, first sequence
//! numbers, CNAMEs (RFC 3550 §5.1, §8.1). xoshiro256++ from a seed given at birth, so that a run
//! can be repeated; keys never come from here.

/// A generator of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        if state == [0; 4] {
            state[0] = 1;
        }
        let mut random = Self { state };
        // A poor seed is spread over the whole state before its first use.
        for _ in 0..16 {
            random.next();
        }
        random
    }

    /// Another generator, which goes its own way.
    pub(crate) fn split(&mut self) -> Self {
        let mut seed = [0; 32];
        for word in seed.as_chunks_mut::<8>().0 {
            *word = self.next().to_le_bytes();
        }
        Self::new(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// A number below `bound` (not zero), good enough for a shuffle.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_repeat_and_others_differ() {
        let run = |seed| {
            let mut random = Random::new([seed; 32]);
            [(); 8].map(|()| random.next())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(0).iter().all(|number| *number != 0));
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut random = Random::new([7; 32]);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[random.below(5) as usize] = true);
        assert_eq!(seen, [true; 5]);
    }
}
