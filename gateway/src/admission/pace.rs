//! How fast calls may come: the generic cell rate algorithm (ITU-T I.371, as a virtual schedule), which is a token bucket
//! that holds one time in place of tokens. Over any time, no more calls than rate x time + burst; no call is refused that
//! comes a full interval after the one before.

use std::time::Instant;

use config::Rate;

/// When the next call is due at the full rate; none while it was quiet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace(Option<Instant>);

impl Pace {
    /// Whether a call may come now.
    pub(super) fn lets(self, rate: Option<Rate>, now: Instant) -> bool {
        let (Some(rate), Some(due)) = (rate, self.0) else { return true };
        due <= now + rate.interval() * (rate.burst - 1)
    }

    /// A call came.
    pub(super) fn took(&mut self, rate: Option<Rate>, now: Instant) {
        self.0 = rate.map(|rate| self.0.unwrap_or(now).max(now) + rate.interval());
    }

    /// Whether it is as if no call had ever come.
    pub(super) fn is_quiet(self, now: Instant) -> bool {
        self.0.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rate(per_1000_s: u32, burst: u32) -> Option<Rate> {
        Some(Rate { per_1000_s, burst })
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let rate = rate(2_000, 3);
        let mut taken = Vec::new();
        for ms in (0..3000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            if pace.lets(rate, now) {
                pace.took(rate, now);
                taken.push(ms);
            }
        }
        assert_eq!(taken, [0, 10, 20, 500, 1000, 1500, 2000, 2500]);
        assert!(!pace.is_quiet(start + Duration::from_millis(2990)));
        assert!(pace.is_quiet(start + Duration::from_millis(4000)));
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        pace.took(rate(1_000, 1), now);
        assert!(!pace.lets(rate(1_000, 1), now) && pace.lets(None, now));
        pace.took(None, now);
        assert!(pace.lets(rate(1_000, 1), now));
    }

    proptest! {
        /// Counted over every span of time.
        #[test]
        fn never_more_than_rate_and_burst(
            per_1000_s in 1_u32..20_000,
            burst in 1_u32..6,
            gaps in proptest::collection::vec(0_u64..2_000, 1..60),
        ) {
            let (start, mut pace) = (Instant::now(), Pace::default());
            let rate = rate(per_1000_s, burst);
            let (mut now, mut taken) = (start, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if pace.lets(rate, now) {
                    pace.took(rate, now);
                    taken.push(now);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let span = to.duration_since(*from).as_secs_f64();
                    let most = span * f64::from(per_1000_s) / 1000.0 + f64::from(burst) + 1e-6;
                    prop_assert!((last - first + 1) as f64 <= most);
                }
            }
        }
    }
}
