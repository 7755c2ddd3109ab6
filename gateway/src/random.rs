//! The random source that a core is given at birth.

/// Fills a buffer with random bytes: the operating system's in the daemon, a seeded one in tests.
pub struct Random(Box<Fill>);

type Fill = dyn FnMut(&mut [u8]) + Send;

impl Random {
    /// A source from any function that fills a buffer.
    pub fn new(fill: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        Self(Box::new(fill))
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

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}
