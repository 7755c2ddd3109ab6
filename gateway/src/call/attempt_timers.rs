//! The timers of a call that is not answered yet, in one table.
//!
//! ```text
//! timer    | runs                                          | length                | when it passes
//! ---------+-----------------------------------------------+-----------------------+----------------------
//! Silence  | from the INVITE of an attempt to its first    | proxy 1 s, peer 2.5 s | CANCEL, the next hop
//!          | response, 100 included                        | on an open connection |
//! Search   | while no attempt has said anything; goes on   | 7.5 s in all          | CANCEL, 503
//!          | with what is left when one that had fails     |                       |
//! Progress | until the caller heard a 18x                  | 1 s before the caller | 183 to the caller
//!          |                                               | gives up              |
//! Ring     | until the answer                              | 120 s                 | CANCEL, 408
//! ```
//!
//! Opening a connection (TCP and TLS) takes at most 1.5 s, which the transport ends by itself; silence is counted from
//! when the connection is open. Once an attempt has said 100 it is alive (RFC 3261 §16.7 knows no shorter limit), and
//! only Ring ends it.

use std::time::{Duration, Instant};

use crate::routing::Hop;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The attempt says nothing.
    Silence,
    /// No hop says anything.
    Search,
    /// The caller is about to give up, having heard nothing.
    Progress,
    /// Nobody answers.
    Ring,
}

/// The deadlines of one call.
#[derive(Debug)]
pub(super) struct Timers {
    due: [Option<Instant>; 4],
    /// What is left of the search while it does not run.
    left: Duration,
}

impl Timers {
    /// Begins with the call. `patience` is how long its caller waits for a sign of life.
    pub(super) fn begin(patience: Option<Duration>, now: Instant) -> Self {
        let mut timers = Self { due: [None; 4], left: SEARCH };
        timers.search(now);
        timers.set(Timer::Ring, now + RING);
        if let Some(patience) = patience {
            timers.set(Timer::Progress, now + patience.saturating_sub(MARGIN));
        }
        timers
    }

    /// No attempt is alive: the search goes on.
    pub(super) fn search(&mut self, now: Instant) {
        if self.due[Timer::Search as usize].is_none() {
            self.set(Timer::Search, now + self.left);
        }
    }

    /// An attempt is alive: neither it nor the search is silent.
    pub(super) fn heard(&mut self, now: Instant) {
        self.stop(Timer::Silence);
        if let Some(due) = self.due[Timer::Search as usize].take() {
            self.left = due.saturating_duration_since(now);
        }
    }

    /// Sets a deadline.
    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.due[timer as usize] = Some(at);
    }

    /// Forgets a deadline.
    pub(super) const fn stop(&mut self, timer: Timer) {
        self.due[timer as usize] = None;
    }

    /// Of a call that was answered long ago.
    pub(super) const fn stopped() -> Self {
        Self { due: [None; 4], left: Duration::ZERO }
    }

    /// The call is answered or over.
    pub(super) const fn stop_all(&mut self) {
        self.due = [None; 4];
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.iter().copied().flatten().min()
    }

    /// A timer that has passed; it is stopped. Of several, the first of the table.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let timer = ALL
            .into_iter()
            .find(|timer| self.due[*timer as usize].is_some_and(|due| due <= now))?;
        self.stop(timer);
        Some(timer)
    }
}

/// When an attempt counts as silent, or is to be looked at again: `began` with its INVITE, on a connection that is open
/// since `opened`, if it needs one.
pub(super) fn silent_at(
    hop: Hop,
    reliable: bool,
    began: Instant,
    opened: Option<Instant>,
    now: Instant,
) -> Instant {
    let quiet = match hop {
        Hop::Proxy { .. } => PROXY,
        Hop::Peer { .. } => PEER,
    };
    match opened {
        Some(opened) => opened.max(began) + quiet,
        None if !reliable => began + quiet,
        // Not open yet: looked at again when it must be, at the latest.
        None if now < began + quiet => began + quiet,
        None if now < began + CONNECT => began + CONNECT,
        None => began + CONNECT + quiet,
    }
}

const ALL: [Timer; 4] = [Timer::Search, Timer::Silence, Timer::Progress, Timer::Ring];

/// A proxy says 100 at once; another one is as good.
const PROXY: Duration = Duration::from_secs(1);
/// A peer may be slower, and over UDP an INVITE or its 100 may be lost (repeats after 0.5 s and 1.5 s).
const PEER: Duration = Duration::from_millis(2500);
/// TCP and TLS together, as the transport has it.
const CONNECT: Duration = Duration::from_millis(1500);
/// Below 8 s, within which a caller hears that nobody is there.
const SEARCH: Duration = Duration::from_millis(7500);
/// How long before the caller gives up it is told to wait.
const MARGIN: Duration = Duration::from_secs(1);
/// How long a call may ring.
const RING: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TrunkId;

    const PEER_HOP: Hop = Hop::Peer { trunk: TrunkId(0), peer: 0 };

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        Instant::now()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn silence_is_counted_from_the_open_connection() {
        let now = start();
        let at = |opened: Option<u64>, waited: u64| {
            let opened = opened.map(|t| now + ms(t));
            silent_at(PEER_HOP, true, now, opened, now + ms(waited)) - now
        };
        assert_eq!(at(Some(0), 0), ms(2500));
        assert_eq!(at(Some(1400), 1500), ms(3900));
        assert_eq!(at(None, 0), ms(2500));
        assert_eq!(at(None, 2500), ms(4000), "never beyond connecting and silence");
        assert_eq!(silent_at(PEER_HOP, false, now, None, now) - now, ms(2500));
    }

    #[test]
    fn the_search_does_not_run_while_an_attempt_is_alive() {
        let now = start();
        let mut timers = Timers::begin(None, now);
        timers.heard(now + ms(500));
        assert_eq!(timers.next(), Some(now + RING));
        timers.search(now + ms(60_000));
        timers.search(now + ms(61_000));
        assert_eq!(timers.next(), Some(now + ms(67_000)));
        assert_eq!(timers.take_due(now + ms(67_000)), Some(Timer::Search));
        assert_eq!(timers.take_due(now + ms(67_000)), None);
    }

    #[test]
    fn a_caller_without_patience_is_told_a_second_before() {
        let now = start();
        let mut timers = Timers::begin(Some(ms(10_000)), now);
        timers.heard(now);
        assert_eq!(timers.next(), Some(now + ms(9000)));
        assert_eq!(timers.take_due(now + ms(9000)), Some(Timer::Progress));
        timers.stop_all();
        assert_eq!(timers.next(), None);
    }
}
