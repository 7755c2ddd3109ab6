//! How much of what one peer sends is passed on in a second: far more than any phone sends, so that a
//! peer that runs wild, or somebody who writes its address, does not become our flood at the other
//! side. Counted after authentication: a stranger cannot use up what is the peer's.

use std::time::{Duration, Instant};

/// The packets of one kind from one peer.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    since: Instant,
    count: u32,
    limit: u32,
}

impl Pace {
    /// Packets in a second: ten times what comes with a packet every 10 ms.
    pub(crate) const RTP: u32 = 1000;
    /// Compounds in a second; one comes every few seconds.
    pub(crate) const RTCP: u32 = 50;

    pub(crate) const fn new(limit: u32, now: Instant) -> Self {
        Self { since: now, count: 0, limit }
    }

    /// Counts a packet; `false` when it is one too many.
    #[inline]
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.limit
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_no_more() {
        #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        // 5,000 a second for three seconds, a pause, and an honest stream.
        let flood = (0..15_000).filter(|n| pace.admits(start + SECOND * *n / 5000));
        assert_eq!(flood.count(), 300);
        let later = start + SECOND * 10;
        assert!((0..1000).all(|n| pace.admits(later + SECOND * n / 100)));
    }
}
