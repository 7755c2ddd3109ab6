//! How the daemon stops: a machine over signals, calls and time.
//!
//! ```text
//! phase    | signal            | no call is left | its time is over
//! ---------+-------------------+-----------------+------------------
//! serving  | Drain → draining  | -               | -
//! draining | → over            | → over          | EndAll → ending
//! ending   | → over            | → over          | → over
//! over     | -                 | -               | -
//! ```

use std::time::{Duration, Instant};

/// How long calls may go on after the first signal.
pub(super) const DRAIN: Duration = Duration::from_secs(30);
/// How long calls that we end may take to end.
pub(super) const ENDING: Duration = Duration::from_secs(5);

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
    /// All calls are being ended.
    Ending {
        /// When nobody waits for them any more.
        until: Instant,
    },
    /// Leave.
    Over,
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
    /// SIGTERM or SIGINT came.
    pub(super) fn signal(&mut self, now: Instant) -> Option<Order> {
        match *self {
            Self::Serving => {
                *self = Self::Draining { until: now + DRAIN };
                Some(Order::Drain)
            }
            Self::Draining { .. } | Self::Ending { .. } | Self::Over => {
                *self = Self::Over;
                None
            }
        }
    }

    /// So many calls are left now.
    pub(super) fn check(&mut self, calls: usize, now: Instant) -> Option<Order> {
        match *self {
            Self::Serving | Self::Over => None,
            Self::Draining { .. } | Self::Ending { .. } if calls == 0 => {
                *self = Self::Over;
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
            Self::Draining { .. } | Self::Ending { .. } => None,
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
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Input {
        Signal,
        Calls(usize),
        Late(usize),
    }

    /// Every phase with every input: what is ordered, and the phase afterwards.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn every_phase_meets_every_input() {
        use Input::{Calls, Late, Signal};
        let now = Instant::now();
        let late = now + DRAIN.max(ENDING);
        let draining = Stop::Draining { until: now + DRAIN };
        let ending = Stop::Ending { until: now + ENDING };
        let ended_late = Stop::Ending { until: late + ENDING };
        let table = [
            (Stop::Serving, Signal, Some(Order::Drain), draining),
            (Stop::Serving, Calls(0), None, Stop::Serving),
            (Stop::Serving, Calls(1), None, Stop::Serving),
            (Stop::Serving, Late(1), None, Stop::Serving),
            (draining, Signal, None, Stop::Over),
            (draining, Calls(0), None, Stop::Over),
            (draining, Calls(1), None, draining),
            (draining, Late(0), None, Stop::Over),
            (draining, Late(1), Some(Order::EndAll), ended_late),
            (ending, Signal, None, Stop::Over),
            (ending, Calls(0), None, Stop::Over),
            (ending, Calls(1), None, ending),
            (ending, Late(0), None, Stop::Over),
            (ending, Late(1), None, Stop::Over),
            (Stop::Over, Signal, None, Stop::Over),
            (Stop::Over, Calls(0), None, Stop::Over),
            (Stop::Over, Calls(1), None, Stop::Over),
            (Stop::Over, Late(1), None, Stop::Over),
        ];
        for (before, input, order, after) in table {
            let mut stop = before;
            let given = match input {
                Signal => stop.signal(now),
                Calls(calls) => stop.check(calls, now),
                Late(calls) => stop.check(calls, late),
            };
            assert_eq!((given, stop), (order, after), "{before:?} {input:?}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn a_daemon_with_a_call_that_never_ends_stops_all_the_same() {
        let mut now = Instant::now();
        let started = now;
        let mut stop = Stop::Serving;
        stop.signal(now);
        while let Some(due) = stop.deadline() {
            now = due;
            stop.check(1, now);
        }
        assert_eq!(stop, Stop::Over);
        assert_eq!(now - started, DRAIN + ENDING);
    }
}
