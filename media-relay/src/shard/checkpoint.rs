//! When the state of each session is told: a second after it changed at the latest, once a second
//! at most, each session in its own part of the second, and at once where waiting would cost much.
//!
//! A wheel of 64 ticks, 32 to the second. A session stands in it from the first packet after its
//! last checkpoint, so that one without packets costs nothing, and a packet costs one comparison.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::plan::SessionId;

/// How a session stands with its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// All was told.
    Quiet,
    /// To be told at this tick.
    At(u64),
    /// Stands in the list of those to be told now.
    Listed,
}

/// What has happened in a session since its last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// Nothing that is worth keeping.
    None,
    /// Packets.
    Some,
    /// A rollover, a new latch, other keys, or many packets.
    Urgent,
}

impl Due {
    /// Lists it if its time has come by `tick`; how it stood.
    pub(crate) fn come(&mut self, tick: u64) -> Self {
        let before = *self;
        if let Self::At(at) = before
            && at <= tick
        {
            *self = Self::Listed;
        }
        before
    }

    /// Whether this is later than the news ask for.
    #[inline]
    pub(crate) const fn is_behind(self, news: News) -> bool {
        match (self, news) {
            (_, News::None) | (Self::Listed, _) | (Self::At(_), News::Some) => false,
            (Self::Quiet, _) | (Self::At(_), News::Urgent) => true,
        }
    }
}

/// The sessions that have something to be told.
pub(crate) struct Checkpoints {
    start: Instant,
    /// Worked off up to here.
    done: u64,
    /// Sessions by tick modulo the wheel. A session that was told early stays where it stands and
    /// is passed over there.
    slots: Vec<Vec<SessionId>>,
    /// Bit n: slot n is not empty.
    filled: u64,
    /// To be told now, each once.
    listed: VecDeque<SessionId>,
}

impl Checkpoints {
    /// `sessions` is about how many there will be at most.
    pub(crate) fn new(sessions: usize, start: Instant) -> Self {
        let slot = || Vec::with_capacity(sessions / PERIOD as usize + 8);
        let slots = std::iter::repeat_with(slot).take(WHEEL as usize).collect();
        Self { start, done: 0, slots, filled: 0, listed: VecDeque::new() }
    }

    /// Notes a session that is behind its news.
    #[cold]
    pub(crate) fn note(&mut self, id: SessionId, news: News, told: bool, now: Instant) -> Due {
        if news == News::Urgent {
            self.listed.push_back(id);
            return Due::Listed;
        }
        let tick = self.tick(now);
        if self.filled == 0 {
            self.done = self.done.max(tick);
        }
        // The first time anywhere within the second, then a second later each time.
        let at = tick + if told { PERIOD } else { 1 + spread(id) % PERIOD };
        self.slots[(at % WHEEL) as usize].push(id);
        self.filled |= 1 << (at % WHEEL);
        Due::At(at)
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.filled == 0 {
            return None;
        }
        let next = self.done + 1;
        let wait = self.filled.rotate_right((next % WHEEL) as u32).trailing_zeros();
        let ticks = next + u64::from(wait);
        Some(self.start + Duration::from_micros(ticks.saturating_mul(TICK_MICROS)))
    }

    /// Lists the sessions whose time has come; `come` is [`Due::come`] of one, if it is still there.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        mut come: impl FnMut(SessionId, u64) -> Option<Due>,
    ) {
        let tick = self.tick(now);
        for passed in (self.done + 1..=tick).take(WHEEL as usize) {
            let slot = (passed % WHEEL) as usize;
            if self.filled & (1 << slot) == 0 {
                continue;
            }
            let listed = &mut self.listed;
            self.slots[slot].retain(|id| {
                match come(*id, tick) {
                    Some(Due::At(at)) if at <= tick => {
                        listed.push_back(*id);
                        false
                    }
                    // One whole turn of the wheel away, if it is this entry's at all.
                    Some(Due::At(at)) => at % WHEEL == passed % WHEEL,
                    Some(Due::Quiet | Due::Listed) | None => false,
                }
            });
            if self.slots[slot].is_empty() {
                self.filled &= !(1 << slot);
            }
        }
        self.done = self.done.max(tick);
    }

    /// The next session to tell.
    pub(crate) fn pop(&mut self) -> Option<SessionId> {
        self.listed.pop_front()
    }

    /// Whether there is one.
    pub(crate) fn waiting(&self) -> bool {
        !self.listed.is_empty()
    }

    fn tick(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start);
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX) / TICK_MICROS
    }
}

/// Neighbours far apart.
const fn spread(id: SessionId) -> u64 {
    id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

/// Slots of the wheel.
const WHEEL: u64 = 64;
/// Ticks between two checkpoints of a session.
const PERIOD: u64 = 32;
/// A second in [`PERIOD`] parts.
const TICK_MICROS: u64 = 31_250;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_is_asked_for_and_what_is_noted() {
        use News::{None, Some, Urgent};
        let rows = [
            (Due::Quiet, [false, true, true]),
            (Due::At(7), [false, false, true]),
            (Due::Listed, [false, false, false]),
        ];
        for (due, behind) in rows {
            assert_eq!([None, Some, Urgent].map(|news| due.is_behind(news)), behind, "{due:?}");
        }
    }

    /// Ten thousand sessions that all begin in one moment and never pause.
    #[test]
    fn a_crowd_is_spread_over_the_second_and_everyone_has_one_a_second() {
        let start = now();
        let mut wheel = Checkpoints::new(10_000, start);
        let mut due: HashMap<SessionId, Due> =
            (0..10_000).map(|n| (SessionId(n), Due::Quiet)).collect();
        let mut told: HashMap<SessionId, Vec<u32>> = HashMap::new();
        for ms in 0..5000_u32 {
            let now = start + Duration::from_millis(ms.into());
            if wheel.poll_timeout().is_some_and(|at| at <= now) {
                wheel.handle_timeout(now, |id, tick| due.get_mut(&id).map(|due| due.come(tick)));
            }
            let mut burst = 0;
            while let Some(id) = wheel.pop() {
                burst += 1;
                told.entry(id).or_default().push(ms);
                due.insert(id, Due::Quiet);
            }
            assert!(burst <= 500, "{burst} at {ms}");
            if ms % 20 == 0 {
                for n in 0..10_000 {
                    let id = SessionId(n);
                    if due[&id].is_behind(News::Some) {
                        let at = wheel.note(id, News::Some, told.contains_key(&id), now);
                        due.insert(id, at);
                    }
                }
            }
        }
        assert_eq!(told.len(), 10_000);
        for times in told.values() {
            assert!(times[0] <= 1000 + 32, "{times:?}");
            assert!(times.windows(2).all(|pair| (968..1100).contains(&(pair[1] - pair[0]))));
            assert!(times.len() >= 4, "{times:?}");
        }
    }

    #[test]
    fn the_urgent_overtake_and_are_not_told_twice() {
        let start = now();
        let mut wheel = Checkpoints::new(1, start);
        let id = SessionId(1);
        let mut due = wheel.note(id, News::Some, false, start);
        assert!(matches!(due, Due::At(1..=32)) && wheel.poll_timeout().is_some());
        due = wheel.note(id, News::Urgent, false, start);
        assert_eq!((due, wheel.pop(), wheel.pop()), (Due::Listed, Some(id), None));
        due = Due::Quiet;
        wheel.handle_timeout(start + Duration::from_secs(2), |_, tick| Some(due.come(tick)));
        assert_eq!((wheel.pop(), wheel.poll_timeout()), (None, None));
    }

    #[test]
    fn those_that_ended_are_forgotten_and_a_late_look_misses_none() {
        let start = now();
        let mut wheel = Checkpoints::new(1, start);
        wheel.note(SessionId(1), News::Some, true, start);
        let mut due =
            wheel.note(SessionId(2), News::Some, true, start + Duration::from_millis(600));
        let late = start + Duration::from_secs(60);
        wheel.handle_timeout(late, |id, tick| (id == SessionId(2)).then(|| due.come(tick)));
        assert_eq!((wheel.pop(), wheel.pop()), (Some(SessionId(2)), None));
        assert!(!wheel.waiting() && wheel.poll_timeout().is_none());
        // The wheel goes on where it is.
        due = wheel.note(SessionId(2), News::Some, true, late);
        assert!(due != Due::Listed && wheel.poll_timeout().unwrap() > late);
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn now() -> Instant {
        Instant::now()
    }
}
