//! The timers of a leg: one enum and a table of deadlines. No clock; the leg is told the time.

use std::time::{Duration, Instant};

/// What a deadline is for. The order is the order in which due timers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Repeat the last 18x, so that proxies keep the transaction (RFC 3261 §13.3.1.1).
    Ring,
    /// Repeat a reliable 18x (RFC 3262 §3).
    Provisional,
    /// Give up waiting for its PRACK.
    Prack,
    /// Repeat the 2xx (RFC 3261 §13.3.1.4).
    Answer,
    /// Give up waiting for the ACK of our 2xx.
    Ack,
    /// Give up waiting for the end of an INVITE that we cancelled (RFC 3261 §9.1).
    Cancel,
    /// Offer again after glare (RFC 3261 §14.1).
    Retry,
    /// Give up waiting for the answer to our re-INVITE.
    Offer,
    /// Refuse the peer's offer that the owner has not decided on.
    Decision,
    /// Refresh the session (RFC 4028 §10).
    Refresh,
    /// The session has expired (RFC 4028 §10).
    Expiry,
    /// Stop waiting for what an ended leg still owes or is owed.
    Closing,
}

const ALL: [Timer; 12] = [
    Timer::Ring,
    Timer::Provisional,
    Timer::Prack,
    Timer::Answer,
    Timer::Ack,
    Timer::Cancel,
    Timer::Retry,
    Timer::Offer,
    Timer::Decision,
    Timer::Refresh,
    Timer::Expiry,
    Timer::Closing,
];

/// The deadlines.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; ALL.len()],
}

impl Timers {
    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.deadlines[timer as usize] = Some(at);
    }

    pub(super) const fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(super) const fn stop_all(&mut self) {
        self.deadlines = [None; ALL.len()];
    }

    pub(super) const fn at(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    pub(super) const fn runs(&self, timer: Timer) -> bool {
        self.at(timer).is_some()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes one timer that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        let timer = ALL.into_iter().find(|timer| self.at(*timer).is_some_and(|at| at <= now))?;
        self.stop(timer);
        Some(timer)
    }
}

/// RFC 3261 §17.1.1.1: the estimate of the round-trip time.
pub(super) const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.2: the longest interval of repeats.
pub(super) const T2: Duration = Duration::from_secs(4);
/// 64*T1: how long a peer has to react (RFC 3261 §13.3.1.4, §9.1, §17.1.1.2).
pub(super) const PATIENCE: Duration = Duration::from_secs(32);
/// RFC 3261 §13.3.1.1: a provisional response at least each minute.
pub(super) const RING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_enum_agree() {
        for (index, timer) in ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, index);
        }
    }

    #[test]
    fn due_timers_come_in_order_and_once() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(Timer::Closing, now);
        timers.set(Timer::Answer, now + T1);
        timers.set(Timer::Ring, now + T2);
        assert_eq!(timers.next(), Some(now));
        assert_eq!(timers.due(now + T1), Some(Timer::Answer));
        assert_eq!(timers.due(now + T1), Some(Timer::Closing));
        assert_eq!(timers.due(now + T1), None);
        assert!(timers.runs(Timer::Ring));
        timers.stop_all();
        assert_eq!(timers.next(), None);
    }
}
