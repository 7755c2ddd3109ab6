//! How often signalling has a turn: at once while there is little to do, at most every [`PACE`] while there is much.
//!
//! Each turn has a price of its own: a wake-up, one write of the journal, one send for each socket, one wake-up of the relay.
//! Under load a short rest after a turn brings more messages into the next one, as network cards do with their interrupts. A
//! message then waits for as long at most; a long turn is followed by none.

use std::time::{Duration, Instant};

/// The turns of late.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    turns: u32,
    busy: bool,
}

impl Pace {
    /// Nothing has been done yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, turns: 0, busy: false }
    }

    /// A turn that began then has ended: until when to rest before the next one, if that is not past.
    pub(super) fn rest(&mut self, began: Instant) -> Option<Instant> {
        if began.saturating_duration_since(self.since) >= WHILE {
            // A while without turns in it was longer than one.
            let lately = began.saturating_duration_since(self.since) < 2 * WHILE;
            self.busy = lately && self.turns >= MANY;
            (self.since, self.turns) = (began, 0);
        }
        self.turns += 1;
        self.busy.then_some(began + PACE)
    }
}

/// The shortest time from the beginning of a turn to that of the next one, under load.
const PACE: Duration = Duration::from_micros(500);
/// Load is [`MANY`] turns in a while.
const WHILE: Duration = Duration::from_millis(10);
/// Fewer than fit in when each takes [`PACE`], so that resting does not look like idling.
const MANY: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns that begin every so many microseconds, unless they rest, for a second; how many there were, and after how many
    /// there was a rest.
    fn second(every: u64) -> (usize, usize) {
        let start = crate::run::clock();
        let (mut pace, mut now, mut turns, mut rests) = (Pace::new(start), start, 0, 0);
        while now < start + Duration::from_secs(1) {
            let until = pace.rest(now);
            turns += 1;
            rests += usize::from(until.is_some());
            now = until.unwrap_or(now).max(now + Duration::from_micros(every));
        }
        (turns, rests)
    }

    #[test]
    fn little_to_do_is_done_at_once() {
        assert_eq!(second(1100), (910, 0));
    }

    #[test]
    fn under_load_turns_come_at_their_pace_and_go_on_so() {
        let (turns, rests) = second(100);
        assert!((2000..2100).contains(&turns) && turns - rests <= 110, "{turns}, {rests}");
    }

    #[test]
    fn after_a_pause_the_first_turns_do_not_rest() {
        let start = crate::run::clock();
        let mut pace = Pace::new(start);
        let at = |micros| start + Duration::from_micros(micros);
        assert!((0..1000).any(|n| pace.rest(at(n * 100)).is_some()));
        assert_eq!(pace.rest(at(1_000_000)), None);
    }
}
