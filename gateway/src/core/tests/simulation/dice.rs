//! The dice of a seed: everything that is left to chance in a simulation is drawn from here, in one order.

use std::time::Duration;

/// Numbers from a seed (SplitMix64).
pub(in crate::core::tests) struct Dice(u64);

impl Dice {
    pub(in crate::core::tests) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::core::tests) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to and with `high`.
    pub(in crate::core::tests) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Whether something of so many in a thousand happens.
    pub(in crate::core::tests) const fn chance(&mut self, per_mille: u64) -> bool {
        self.between(1, 1000) <= per_mille
    }

    /// One of several, each as likely.
    pub(in crate::core::tests) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let last = u64::try_from(of.len()).unwrap() - 1;
        of[usize::try_from(self.between(0, last)).unwrap()]
    }

    /// One of several, by weight.
    pub(in crate::core::tests) fn weigh<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let all = of.iter().map(|(weight, _)| weight).sum::<u64>();
        let mut at = self.between(1, all);
        for (weight, item) in of {
            if at <= *weight {
                return *item;
            }
            at -= weight;
        }
        unreachable!("below the sum of all weights")
    }

    /// From 1 up to one of these bounds, by weight.
    pub(in crate::core::tests) fn below(&mut self, bounds: &[(u64, u64)]) -> u64 {
        let bound = self.weigh(bounds);
        self.between(1, bound)
    }

    /// The same in milliseconds.
    pub(in crate::core::tests) fn within(&mut self, bounds: &[(u64, u64)]) -> Duration {
        Duration::from_millis(self.below(bounds))
    }

    /// So many milliseconds.
    pub(in crate::core::tests) const fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}
