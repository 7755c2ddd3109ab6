//! How the daemon stops: a machine over signals, calls and time.
//!
//! ```text
//! phase    | signal           | nothing is left | no call goes on | its time is over
//! ---------+------------------+-----------------+-----------------+------------------
//! serving  | Drain → draining | -               | -               | -
//! draining | EndAll → ending | → over          | → ending        | EndAll → ending
//! ending   | → over           | → over          | -               | → over
//! over     | -                | -               | -               | -
//! ```

use std::time::{Duration, Instant};

/// How long calls that ended by themselves may take to finish what they owe: two repeats of a BYE
/// over UDP (RFC 3261 §17.1.2.2: 0.5 s, 1.5 s). A leg that forked would listen for 32 s.
pub(super) const SETTLING: Duration = Duration::from_secs(2);
/// The same for calls that we ended.
pub(super) const ENDING: Duration = Duration::from_secs(5);
/// The same after a second signal: BYEs leave and records are written, but no answer is waited for.
pub(super) const HURRY: Duration = Duration::from_millis(300);

/// Where the daemon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Calls are taken.
    Serving,
    /// No new calls; those that are go on.
    Draining {
        /// When they are ended.
        until: Instant,
    },
    /// No call goes on: what is owed to peers is finished.
    Ending {
        /// When nobody waits for it any more.
        until: Instant,
    },
    /// Leave.
    Over,
}

/// What is left of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Calls that go on.
    pub(super) calls: usize,
    /// These, and those that are over and owe their peers something.
    pub(super) unfinished: usize,
}

/// What the core has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Take no new calls.
    Drain,
    /// End every call.
    EndAll,
}

impl Stop {
    /// SIGTERM or SIGINT came; calls may go on so long.
    pub(super) fn signal(&mut self, drain: Duration, now: Instant) -> Option<Order> {
        match *self {
            Self::Serving => {
                *self = Self::Draining { until: now + drain };
                Some(Order::Drain)
            }
            Self::Draining { .. } => {
                *self = Self::Ending { until: now + HURRY };
                Some(Order::EndAll)
            }
            Self::Ending { .. } | Self::Over => {
                *self = Self::Over;
                None
            }
        }
    }

    /// This is left now.
    pub(super) fn check(&mut self, left: Left, now: Instant) -> Option<Order> {
        match *self {
            Self::Draining { .. } | Self::Ending { .. } if left.unfinished == 0 => {
                *self = Self::Over;
                None
            }
            Self::Draining { .. } if left.calls == 0 => {
                *self = Self::Ending { until: now + SETTLING };
                None
            }
            Self::Draining { until } if until <= now => {
                *self = Self::Ending { until: now + ENDING };
                Some(Order::EndAll)
            }
            Self::Ending { until } if until <= now => {
                *self = Self::Over;
                None
            }
            Self::Serving | Self::Draining { .. } | Self::Ending { .. } | Self::Over => None,
        }
    }

    /// When [`Stop::check`] has something to say though no call ends.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Draining { until } | Self::Ending { until } => Some(until),
            Self::Serving | Self::Over => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Input {
        Signal,
        Check(Left),
        Late(Left),
    }

    const DRAIN: Duration = Duration::from_secs(30);
    const NOTHING: Left = Left { calls: 0, unfinished: 0 };
    const DEBTS: Left = Left { calls: 0, unfinished: 1 };
    const CALLS: Left = Left { calls: 1, unfinished: 2 };

    /// Every phase with every input: what is ordered, and the phase afterwards.
    #[test]
    fn tr_073_every_phase_meets_every_input() {
        use Input::{Check, Late, Signal};
        let now = Instant::now();
        let late = now + DRAIN.max(ENDING);
        let draining = Stop::Draining { until: now + DRAIN };
        let ending = Stop::Ending { until: now + ENDING };
        let settling = |from| Stop::Ending { until: from + SETTLING };
        let inputs = [
            Signal,
            Check(NOTHING),
            Check(DEBTS),
            Check(CALLS),
            Late(NOTHING),
            Late(DEBTS),
            Late(CALLS),
        ];
        let over = (None, Stop::Over);
        let same = (None, Stop::Serving);
        let drain = (Some(Order::Drain), draining);
        let (wait, end) = ((None, draining), (None, ending));
        let (settle, settle_late) = ((None, settling(now)), (None, settling(late)));
        let end_all = (Some(Order::EndAll), Stop::Ending { until: late + ENDING });
        let hurry = (Some(Order::EndAll), Stop::Ending { until: now + HURRY });
        let table = [
            (Stop::Serving, [drain, same, same, same, same, same, same]),
            (draining, [hurry, over, settle, wait, over, settle_late, end_all]),
            (ending, [over, over, end, end, over, over, over]),
            (Stop::Over, [over; 7]),
        ];
        for (before, expected) in table {
            for (input, expected) in inputs.into_iter().zip(expected) {
                let mut stop = before;
                let order = match input {
                    Signal => stop.signal(DRAIN, now),
                    Check(left) => stop.check(left, now),
                    Late(left) => stop.check(left, late),
                };
                assert_eq!((order, stop), expected, "{before:?} {input:?}");
            }
        }
    }

    #[test]
    fn a_daemon_with_a_call_that_never_ends_stops_all_the_same() {
        let mut now = Instant::now();
        let started = now;
        let mut stop = Stop::Serving;
        stop.signal(DRAIN, now);
        while let Some(due) = stop.deadline() {
            now = due;
            stop.check(CALLS, now);
        }
        assert_eq!(stop, Stop::Over);
        assert_eq!(now - started, DRAIN + ENDING);
    }
}
