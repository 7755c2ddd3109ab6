//! How the daemon stops: a machine over signals, calls and time.
//!
//! ```text
//! phase       | signal           | hand over     | take back | shorten | nothing is left | no call goes on | its time is over
//! ------------+------------------+---------------+-----------+---------+-----------------+-----------------+------------------
//! serving     | Drain → draining | → handed over | -         | -       | -               | -               | -
//! handed over | EndAll → ending  | -             | → serving | sooner  | → over          | → ending        | EndAll → ending
//! draining    | EndAll → ending  | -             | -         | sooner  | → over          | → ending        | EndAll → ending
//! ending      | → over           | -             | -         | -       | → over          | -               | → over
//! over        | -                | -             | -         | -       | -               | -               | -
//! ```
//!
//! Handed over: another process has taken over (see [`crate::handover`]); the calls that began here go on here.

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
    /// Another process takes the calls; those that are here go on.
    HandedOver {
        /// When they are ended.
        until: Instant,
    },
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
            Self::Draining { .. } | Self::HandedOver { .. } => {
                *self = Self::Ending { until: now + HURRY };
                Some(Order::EndAll)
            }
            Self::Ending { .. } | Self::Over => {
                *self = Self::Over;
                None
            }
        }
    }

    /// Another process has taken over; calls here may go on so long.
    pub(super) fn hand_over(&mut self, drain: Duration, now: Instant) {
        match self {
            Self::Serving => *self = Self::HandedOver { until: now + drain },
            Self::HandedOver { .. } | Self::Draining { .. } | Self::Ending { .. } | Self::Over => {}
        }
    }

    /// The other process is gone.
    pub(super) fn take_back(&mut self) {
        match self {
            Self::HandedOver { .. } => *self = Self::Serving,
            Self::Serving | Self::Draining { .. } | Self::Ending { .. } | Self::Over => {}
        }
    }

    /// Calls may go on no longer than that.
    pub(super) fn shorten(&mut self, most: Instant) {
        match self {
            Self::HandedOver { until } | Self::Draining { until } => *until = most.min(*until),
            Self::Serving | Self::Ending { .. } | Self::Over => {}
        }
    }

    /// This is left now.
    pub(super) fn check(&mut self, left: Left, now: Instant) -> Option<Order> {
        match *self {
            Self::HandedOver { .. } | Self::Draining { .. } | Self::Ending { .. }
                if left.unfinished == 0 =>
            {
                *self = Self::Over;
                None
            }
            Self::HandedOver { .. } | Self::Draining { .. } if left.calls == 0 => {
                *self = Self::Ending { until: now + SETTLING };
                None
            }
            Self::HandedOver { until } | Self::Draining { until } if until <= now => {
                *self = Self::Ending { until: now + ENDING };
                Some(Order::EndAll)
            }
            Self::Ending { until } if until <= now => {
                *self = Self::Over;
                None
            }
            Self::Serving
            | Self::HandedOver { .. }
            | Self::Draining { .. }
            | Self::Ending { .. }
            | Self::Over => None,
        }
    }

    /// When [`Stop::check`] has something to say though no call ends.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::HandedOver { until } | Self::Draining { until } | Self::Ending { until } => {
                Some(until)
            }
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
        HandOver,
        TakeBack,
        Shorten,
        Check(Left),
        Late(Left),
    }

    const DRAIN: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_secs(10);
    const NOTHING: Left = Left { calls: 0, unfinished: 0 };
    const DEBTS: Left = Left { calls: 0, unfinished: 1 };
    const CALLS: Left = Left { calls: 1, unfinished: 2 };

    /// Every phase with every input: what is ordered, and the phase afterwards.
    #[test]
    fn tr_073_every_phase_meets_every_input() {
        use Input::{Check, HandOver, Late, Shorten, Signal, TakeBack};
        let now = Instant::now();
        let late = now + DRAIN.max(ENDING);
        let handed_over = Stop::HandedOver { until: now + DRAIN };
        let draining = Stop::Draining { until: now + DRAIN };
        let ending = Stop::Ending { until: now + ENDING };
        let settling = |from| Stop::Ending { until: from + SETTLING };
        let inputs = [
            Signal,
            HandOver,
            TakeBack,
            Shorten,
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
        let (handed, wait, end) = ((None, handed_over), (None, draining), (None, ending));
        let handed_short = (None, Stop::HandedOver { until: now + SHORT });
        let short = (None, Stop::Draining { until: now + SHORT });
        let (settle, settle_late) = ((None, settling(now)), (None, settling(late)));
        let end_all = (Some(Order::EndAll), Stop::Ending { until: late + ENDING });
        let hurry = (Some(Order::EndAll), Stop::Ending { until: now + HURRY });
        let table = [
            (Stop::Serving, [drain, handed, same, same, same, same, same, same, same, same]),
            (
                handed_over,
                [
                    hurry,
                    handed,
                    same,
                    handed_short,
                    over,
                    settle,
                    handed,
                    over,
                    settle_late,
                    end_all,
                ],
            ),
            (draining, [hurry, wait, wait, short, over, settle, wait, over, settle_late, end_all]),
            (ending, [over, end, end, end, over, end, end, over, over, over]),
            (Stop::Over, [over; 10]),
        ];
        for (before, expected) in table {
            for (input, expected) in inputs.into_iter().zip(expected) {
                let mut stop = before;
                let order = match input {
                    Signal => stop.signal(DRAIN, now),
                    HandOver => {
                        stop.hand_over(DRAIN, now);
                        None
                    }
                    TakeBack => {
                        stop.take_back();
                        None
                    }
                    Shorten => {
                        stop.shorten(now + SHORT);
                        stop.shorten(now + DRAIN);
                        None
                    }
                    Check(left) => stop.check(left, now),
                    Late(left) => stop.check(left, late),
                };
                assert_eq!((order, stop), expected, "{before:?} {input:?}");
            }
        }
    }

    #[test]
    fn a_daemon_with_a_call_that_never_ends_stops_all_the_same() {
        let begun = Instant::now();
        let mut signalled = Stop::Serving;
        signalled.signal(DRAIN, begun);
        let mut replaced = Stop::Serving;
        replaced.hand_over(DRAIN, begun);
        for mut stop in [signalled, replaced] {
            let mut now = begun;
            while let Some(due) = stop.deadline() {
                now = due;
                stop.check(CALLS, now);
            }
            assert_eq!(stop, Stop::Over);
            assert_eq!(now - begun, DRAIN + ENDING);
        }
    }
}
