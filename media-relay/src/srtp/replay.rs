//! The replay window (RFC 3711 §3.3.2): the newest index and which of the 128 up to it were seen.
//! A sender keeps one too, so that no index is protected twice.

/// The newest index of a stream and its 127 predecessors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Window {
    highest: u64,
    /// Bit n of the 128, as two halves (lower first): `highest - n` was seen. Two words instead of
    /// a `u128` keep the struct at 24 bytes. All zero: nothing was seen yet.
    seen: [u64; 2],
}

/// What a window knows of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fresh,
    Seen,
    /// Before the window.
    Late,
}

impl Window {
    /// How far back the window reaches.
    pub(super) const LEN: u64 = 128;

    /// Everything up to `highest` counts as seen.
    pub(super) fn up_to(highest: u64) -> Self {
        Self { highest, seen: [u64::MAX; 2] }
    }

    /// The newest index; `None` before the first.
    #[inline]
    pub(super) fn highest(&self) -> Option<u64> {
        (self.seen != [0; 2]).then_some(self.highest)
    }

    #[inline]
    pub(super) fn check(&self, index: u64) -> Verdict {
        if self.seen == [0; 2] || index > self.highest {
            return Verdict::Fresh;
        }
        let age = self.highest - index;
        if age >= Self::LEN {
            Verdict::Late
        } else if self.bits() >> age & 1 == 1 {
            Verdict::Seen
        } else {
            Verdict::Fresh
        }
    }

    /// Marks an index that was checked and found authentic.
    #[inline]
    pub(super) fn accept(&mut self, index: u64) {
        let mut bits = self.bits();
        if bits == 0 {
            self.highest = index;
            bits = 1;
        } else if index > self.highest {
            let step = index - self.highest;
            bits = if step < Self::LEN { bits << step | 1 } else { 1 };
            self.highest = index;
        } else if self.highest - index < Self::LEN {
            bits |= 1 << (self.highest - index);
        }
        self.seen = [bits as u64, (bits >> 64) as u64];
    }

    #[inline]
    fn bits(&self) -> u128 {
        u128::from(self.seen[1]) << 64 | u128::from(self.seen[0])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_slides() {
        let mut window = Window::default();
        assert_eq!((window.highest(), window.check(0)), (None, Verdict::Fresh));
        window.accept(1000);
        assert_eq!(window.check(1000), Verdict::Seen);
        assert_eq!(window.check(999), Verdict::Fresh);
        assert_eq!(window.check(1000 - 127), Verdict::Fresh);
        assert_eq!(window.check(1000 - 128), Verdict::Late);
        window.accept(1000 - 127);
        assert_eq!(window.check(1000 - 127), Verdict::Seen);
        window.accept(1001);
        assert_eq!(window.check(1000 - 127), Verdict::Late);
        assert_eq!(window.check(1000), Verdict::Seen);
        assert_eq!(window.highest(), Some(1001));
    }

    #[test]
    fn index_zero_is_seen_too() {
        let mut window = Window::default();
        window.accept(0);
        assert_eq!((window.highest(), window.check(0)), (Some(0), Verdict::Seen));
    }

    #[test]
    fn a_full_window_takes_nothing_old() {
        let window = Window::up_to(500);
        assert_eq!(window.check(501), Verdict::Fresh);
        assert_eq!(window.check(500), Verdict::Seen);
        assert_eq!(window.check(373), Verdict::Seen);
        assert_eq!(window.check(372), Verdict::Late);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(-200_i64..200, 1..300)) {
            let (mut window, mut set) = (Window::default(), HashSet::new());
            let (mut at, mut highest) = (1_000_000_i64, None::<u64>);
            for step in steps {
                at += step;
                let index = at as u64;
                let want = match highest {
                    Some(highest) if highest >= index + 128 => Verdict::Late,
                    _ if set.contains(&index) => Verdict::Seen,
                    _ => Verdict::Fresh,
                };
                prop_assert_eq!(window.check(index), want);
                if want == Verdict::Fresh {
                    window.accept(index);
                    set.insert(index);
                    highest = highest.max(Some(index));
                }
                prop_assert_eq!(window.highest(), highest);
            }
        }
    }
}
