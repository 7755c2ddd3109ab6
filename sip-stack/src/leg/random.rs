//! The leg's dice: glare timers (RFC 3261 §14.1) and Retry-After values (§14.2).
//!
//! Seeded by the local tag, which is random itself, so that two runs with the same input agree.
//! Not for secrets.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: &[u8]) -> Self {
        // FNV-1a.
        let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// How long to wait after a 491, in steps of 10 ms (RFC 3261 §14.1): the owner of the Call-ID
    /// 2.1-4 s, the other 0-2 s.
    pub(super) fn glare(&mut self, owns_call_id: bool) -> Duration {
        let steps = if owns_call_id { self.between(210, 400) } else { self.between(0, 200) };
        Duration::from_millis(steps * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glare_waits_keep_the_bounds_of_the_rfc() {
        let mut random = Random::new(b"tag");
        for _ in 0..2000 {
            let owner = random.glare(true).as_millis();
            assert!((2100..=4000).contains(&owner) && owner.is_multiple_of(10));
            let other = random.glare(false).as_millis();
            assert!(other <= 2000 && other.is_multiple_of(10));
        }
    }

    #[test]
    fn tags_seed_it() {
        assert_ne!(Random::new(b"a").next(), Random::new(b"b").next());
        assert_eq!(Random::new(b"a").next(), Random::new(b"a").next());
    }
}
