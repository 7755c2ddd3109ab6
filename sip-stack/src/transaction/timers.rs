//! The timers of transactions: base values (RFC 3261 §17.1.1.1, Table 4) and the table of
//! deadlines that each machine keeps.
//!
//! A machine runs at most two timers at a time: one that repeats a message and one that ends the
//! state. So the table has two places, and nothing can overflow. No clock is read here.

use std::time::{Duration, Instant};

/// The base values from which all timers of transactions follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Estimate of the round trip: 500 ms.
    pub t1: Duration,
    /// Longest interval between repeats of a non-INVITE request or a final response: 4 s.
    pub t2: Duration,
    /// Longest time a message stays in the network: 5 s.
    pub t4: Duration,
    /// How long an INVITE may stay between a provisional response and the next one, on either side,
    /// before the transaction is ended: Timer C of RFC 3261 §16.6 (more than 3 minutes). A net
    /// below users that forget; they have shorter limits of their own.
    pub c: Duration,
}

impl Timing {
    /// 64 × T1: Timers B, F, H, J, L and M, and the wait after a CANCEL (§9.1).
    pub fn t1_64(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// Timer D on an unreliable transport: at least 32 s (§17.1.1.2).
    pub fn d(&self) -> Duration {
        self.t1_64().max(Duration::from_secs(32))
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            c: Duration::from_secs(600),
        }
    }
}

/// The running timers of one machine; `T` is its timer enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines<T> {
    repeat: Option<(T, Instant)>,
    end: Option<(T, Instant)>,
}

impl<T: Copy> Deadlines<T> {
    /// No timer runs.
    pub const fn new() -> Self {
        Self { repeat: None, end: None }
    }

    /// Starts the timer that repeats a message, in place of the one that ran.
    pub const fn start_repeat(&mut self, timer: T, at: Instant) {
        self.repeat = Some((timer, at));
    }

    /// Starts the timer that ends the state, in place of the one that ran.
    pub const fn start_end(&mut self, timer: T, at: Instant) {
        self.end = Some((timer, at));
    }

    /// Stops all timers.
    pub const fn clear(&mut self) {
        self.repeat = None;
        self.end = None;
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        let deadline = |timer: &Option<(T, Instant)>| timer.as_ref().map(|(_, at)| *at);
        match (deadline(&self.repeat), deadline(&self.end)) {
            (Some(repeat), Some(end)) => Some(repeat.min(end)),
            (repeat, end) => repeat.or(end),
        }
    }

    /// All running timers, for tables of tests.
    #[cfg(test)]
    pub(crate) fn running(&self) -> Vec<(T, Instant)> {
        self.repeat.into_iter().chain(self.end).collect()
    }

    /// Takes the earliest timer that is due; of two equal ones that which ends the state.
    pub fn take_due(&mut self, now: Instant) -> Option<T> {
        let next = self.next().filter(|at| *at <= now)?;
        let slot = match self.end {
            Some((_, at)) if at == next => &mut self.end,
            Some(_) | None => &mut self.repeat,
        };
        slot.take().map(|(timer, _)| timer)
    }
}

impl<T: Copy> Default for Deadlines<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Timer {
        Repeat,
        End,
    }

    #[test]
    fn default_values_are_those_of_rfc_3261_table_4() {
        let timing = Timing::default();
        assert_eq!(timing.t1, Duration::from_millis(500));
        assert_eq!(timing.t2, Duration::from_secs(4));
        assert_eq!(timing.t4, Duration::from_secs(5));
        assert_eq!(timing.t1_64(), Duration::from_secs(32));
        assert_eq!(timing.d(), Duration::from_secs(32));
        assert!(timing.c > Duration::from_secs(180));
    }

    #[test]
    fn timer_d_is_never_below_32_seconds() {
        let fast = Timing { t1: Duration::from_millis(10), ..Timing::default() };
        let slow = Timing { t1: Duration::from_secs(1), ..Timing::default() };
        assert_eq!(fast.d(), Duration::from_secs(32));
        assert_eq!(slow.d(), Duration::from_secs(64));
    }

    #[test]
    fn takes_due_timers_in_order_and_the_ending_one_first_when_equal() {
        let start = crate::transaction::table::start();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::new();
        assert_eq!((deadlines.next(), deadlines.take_due(start)), (None, None));

        deadlines.start_repeat(Timer::Repeat, at(5));
        deadlines.start_end(Timer::End, at(9));
        assert_eq!((deadlines.next(), deadlines.take_due(at(4))), (Some(at(5)), None));
        assert_eq!(deadlines.take_due(at(20)), Some(Timer::Repeat));
        assert_eq!(deadlines.take_due(at(20)), Some(Timer::End));
        assert_eq!(deadlines.take_due(at(20)), None);

        deadlines.start_repeat(Timer::Repeat, at(5));
        deadlines.start_end(Timer::End, at(5));
        assert_eq!(deadlines.take_due(at(5)), Some(Timer::End));
        assert_eq!(deadlines.next(), Some(at(5)));
        deadlines.clear();
        assert_eq!(deadlines, Deadlines::default());
    }
}
