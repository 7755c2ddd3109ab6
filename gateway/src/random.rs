//! The random source that a core is given at birth.

use zeroize::Zeroize;

/// Fills a buffer with random bytes: the operating system's in the daemon, a seeded one in tests.
pub struct Random(Box<Fill>);

type Fill = dyn FnMut(&mut [u8]) + Send;

impl Random {
    /// A source from any function that fills a buffer.
    pub fn new(fill: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        Self(Box::new(fill))
    }

    /// A source that gives the same every time.
    #[cfg(test)]
    pub(crate) fn seeded(mut seed: u64) -> Self {
        Self::new(move |buffer| {
            for byte in buffer {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 33) as u8;
            }
        })
    }

    /// Fills the buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        (self.0)(buffer);
    }

    /// So many random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut buffer = [0; N];
        self.fill(&mut buffer);
        buffer
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// Random bytes drawn from a slow source in larger pieces; none is given out twice, and what was
/// given out is not kept.
pub struct Drawn<F> {
    source: F,
    bytes: [u8; DRAW],
    used: usize,
}

impl<F: FnMut(&mut [u8])> Drawn<F> {
    /// Nothing is drawn yet.
    pub const fn new(source: F) -> Self {
        Self { source, bytes: [0; DRAW], used: DRAW }
    }

    /// Fills the buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        if buffer.len() > DRAW {
            return (self.source)(buffer);
        }
        if buffer.len() > DRAW - self.used {
            (self.source)(&mut self.bytes);
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..self.used + buffer.len()];
        buffer.copy_from_slice(taken);
        taken.zeroize();
        self.used += buffer.len();
    }
}

/// Bytes drawn at once: the keys and identifiers of some three calls.
const DRAW: usize = 512;

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts, so that what was given out twice or left out is seen.
    fn counting() -> impl FnMut(&mut [u8]) {
        let mut next = 0_u8;
        move |buffer| {
            for byte in buffer {
                *byte = next;
                next = next.wrapping_add(1);
            }
        }
    }

    #[test]
    fn nothing_is_given_out_twice_or_kept() {
        let mut drawn = Drawn::new(counting());
        let mut buffer = [0; 30];
        for round in 0..DRAW / 30 {
            drawn.fill(&mut buffer);
            let expected: [u8; 30] = std::array::from_fn(|at| (round * 30 + at) as u8);
            assert_eq!(buffer, expected);
            assert!(drawn.bytes[..drawn.used].iter().all(|byte| *byte == 0));
        }
        // What is left does not suffice: a whole new draw, which begins at 512 = 0.
        drawn.fill(&mut buffer);
        assert_eq!(buffer[0], 0);
        let mut large = [0xff; DRAW + 1];
        drawn.fill(&mut large);
        assert_eq!(large[0], 0, "straight from the source");
    }
}
