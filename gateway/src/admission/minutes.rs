//! How long the calls of one tenant or trunk have lasted today: of those that are over, and of those that go on. Counted from
//! the answer, in milliseconds of the wall clock; what lasts over midnight counts in both days, each its part.

use std::ops::Range;

use config::{Minutes as Bounds, Timezone};
use serde::{Deserialize, Serialize};

use super::Way;

/// Of one tenant or trunk, each way.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    zone: Timezone,
    day: Range<u64>,
    ways: [Lasted; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Lasted {
    /// Of calls that are over.
    past: u64,
    /// Of those of other processes.
    elsewhere: u64,
    /// Of how many calls more each moment is added.
    running: u64,
    /// When these began, or the day did, summed up.
    since: u128,
}

/// How long the calls of one end have lasted in a day, but for those that go on: what is kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The end's name, behind "tenant " or "trunk ".
    pub end: String,
    /// The first millisecond of the day, since 1970.
    pub day: u64,
    /// Of the calls that it made, in milliseconds.
    pub made: u64,
    /// Of the calls that it received, in milliseconds.
    pub received: u64,
}

impl Minutes {
    /// Days begin by this clock.
    pub(super) fn live_by(&mut self, zone: &Timezone, now: u64) {
        if self.zone != *zone {
            self.zone = zone.clone();
            self.day.end = 0;
            self.turn(now);
        }
    }

    /// Whether one more call may begin.
    pub(super) fn let_one(&self, bounds: Bounds, way: Way, now: u64) -> bool {
        if bounds.is_open() {
            return true;
        }
        let today = self.is_today(now);
        let start = if today { 0 } else { self.zone.day(now).start };
        let [made, received] = self.ways.map(|way| match today {
            true => way.lasted(now),
            false => way.running.saturating_mul(now.saturating_sub(start)),
        });
        let one = [(made, bounds.made), (received, bounds.received)][way.at()];
        let fits = |(lasted, minutes): (u64, Option<u32>)| {
            minutes.is_none_or(|minutes| lasted < u64::from(minutes) * MINUTE)
        };
        fits((made.saturating_add(received), bounds.all)) && fits(one)
    }

    /// A call was answered, at that time.
    pub(super) fn begin(&mut self, way: Way, answered: u64) {
        self.turn(answered);
        let lasted = &mut self.ways[way.at()];
        lasted.running += 1;
        lasted.since += u128::from(answered.max(self.day.start));
    }

    /// Such a call is over.
    pub(super) fn end(&mut self, way: Way, answered: u64, now: u64) {
        self.turn(now);
        let since = answered.max(self.day.start);
        let lasted = &mut self.ways[way.at()];
        lasted.running = lasted.running.saturating_sub(1);
        lasted.since = lasted.since.saturating_sub(u128::from(since));
        lasted.past += now.saturating_sub(since);
    }

    /// What is to be kept; nothing when nothing is over yet.
    pub(super) fn spent(&self, end: impl FnOnce() -> String) -> Option<Spent> {
        let [made, received] = self.ways.map(|way| way.past);
        (made + received > 0).then(|| Spent { end: end(), day: self.day.start, made, received })
    }

    /// What other processes have kept, all of it: it counts when it is of this day.
    pub(super) fn learn<'s>(&mut self, spent: impl Iterator<Item = &'s Spent>, now: u64) {
        self.turn(now);
        let today = spent.filter(|spent| spent.day == self.day.start);
        let sum = today.fold([0, 0], |[made, received], spent| {
            [spent.made.saturating_add(made), spent.received.saturating_add(received)]
        });
        self.ways.iter_mut().zip(sum).for_each(|(way, sum)| way.elsewhere = sum);
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_quiet(&self, now: u64) -> bool {
        let spent = |way: &Lasted| way.past > 0 || way.elsewhere > 0;
        let none = |way: &Lasted| way.running == 0 && !(self.is_today(now) && spent(way));
        self.ways.iter().all(none)
    }

    /// A clock that was set back a little stays in the day that it knows; one that was days ahead does not.
    const fn is_today(&self, now: u64) -> bool {
        now < self.day.end && now.saturating_add(LONGEST_DAY) >= self.day.start
    }

    /// Another day may have begun.
    fn turn(&mut self, now: u64) {
        if self.is_today(now) {
            return;
        }
        let day = self.zone.day(now);
        let same = day.start == self.day.start;
        self.day = day;
        for way in self.ways.iter_mut().filter(|_| !same) {
            let since = u128::from(way.running) * u128::from(self.day.start);
            *way = Lasted { running: way.running, since, ..Lasted::default() };
        }
    }
}

impl Lasted {
    fn lasted(self, now: u64) -> u64 {
        let running = (u128::from(self.running) * u128::from(now)).saturating_sub(self.since);
        let running = u64::try_from(running).unwrap_or(u64::MAX);
        self.past.saturating_add(self.elsewhere).saturating_add(running)
    }
}

const MINUTE: u64 = 60_000;
const LONGEST_DAY: u64 = 26 * 60 * MINUTE;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    /// A midnight of UTC.
    const START: u64 = 20_000 * DAY;

    fn open() -> Bounds {
        Bounds::default()
    }

    #[test]
    fn calls_count_while_they_last_and_after() {
        let mut minutes = Minutes::default();
        let ten = Bounds { all: Some(10), ..open() };
        let noon = START + DAY / 2;
        minutes.begin(Way::Made, noon);
        minutes.begin(Way::Received, noon + MINUTE);
        assert!(minutes.let_one(ten, Way::Made, noon + 5 * MINUTE));
        assert!(minutes.let_one(ten, Way::Made, noon + 5 * MINUTE + MINUTE / 2 - 1));
        assert!(!minutes.let_one(ten, Way::Made, noon + 5 * MINUTE + MINUTE / 2));
        minutes.end(Way::Made, noon, noon + 6 * MINUTE);
        minutes.end(Way::Received, noon + MINUTE, noon + 6 * MINUTE);
        assert!(!minutes.let_one(ten, Way::Made, START + DAY - 1));
        let each = Bounds { made: Some(6), received: Some(6), ..open() };
        assert!(!minutes.let_one(each, Way::Made, noon + 9 * MINUTE));
        assert!(minutes.let_one(each, Way::Received, noon + 9 * MINUTE));
        assert!(minutes.let_one(ten, Way::Made, START + DAY));
    }

    #[test]
    fn a_call_over_midnight_counts_in_both_days() {
        let mut minutes = Minutes::default();
        let before = START + DAY - 20 * MINUTE;
        minutes.begin(Way::Made, before);
        let five = Bounds { made: Some(5), ..open() };
        assert!(!minutes.let_one(five, Way::Made, START + DAY - 1));
        assert!(minutes.let_one(five, Way::Made, START + DAY + 4 * MINUTE));
        minutes.end(Way::Made, before, START + DAY + 5 * MINUTE);
        assert!(!minutes.let_one(five, Way::Made, START + DAY + 6 * MINUTE));
        let spent = minutes.spent(|| "tenant t".into()).unwrap();
        assert_eq!((spent.day, spent.made, spent.received), (START + DAY, 5 * MINUTE, 0));
    }

    #[test]
    fn what_was_kept_counts_on_its_day_alone() {
        let five = Bounds { all: Some(5), ..open() };
        let spent = Spent { end: "tenant t".into(), day: START, made: 4 * MINUTE, received: 0 };
        let other = Spent { made: 0, received: MINUTE, ..spent.clone() };
        for (now, fits) in [(START + MINUTE, false), (START + DAY, true)] {
            let mut minutes = Minutes::default();
            minutes.learn([&spent, &other].into_iter(), now);
            assert_eq!(minutes.let_one(five, Way::Received, now), fits);
            assert_eq!(minutes.is_quiet(now), fits);
            assert!(minutes.spent(String::new).is_none());
        }
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_back() {
        let mut minutes = Minutes::default();
        let one = Bounds { all: Some(1), ..open() };
        minutes.begin(Way::Made, START + 10 * MINUTE);
        minutes.end(Way::Made, START + 10 * MINUTE, START + 11 * MINUTE);
        assert!(!minutes.let_one(one, Way::Made, START - MINUTE));
        minutes.begin(Way::Made, START - MINUTE);
        minutes.end(Way::Made, START - MINUTE, START - 2 * MINUTE);
        assert!(!minutes.let_one(one, Way::Made, START + 12 * MINUTE));
        assert!(minutes.let_one(one, Way::Made, START + DAY));
    }

    #[test]
    fn a_clock_that_was_years_ahead_freezes_no_day() {
        let mut minutes = Minutes::default();
        let ahead = START + 3650 * DAY;
        minutes.begin(Way::Made, ahead);
        minutes.end(Way::Made, ahead, ahead + 2 * MINUTE);
        let one = Bounds { all: Some(1), ..open() };
        assert!(!minutes.let_one(one, Way::Made, ahead + 3 * MINUTE));
        assert!(minutes.let_one(one, Way::Made, START));
        minutes.begin(Way::Made, START);
        assert!(!minutes.let_one(one, Way::Made, START + MINUTE));
        assert!(minutes.let_one(one, Way::Received, START + DAY));
    }

    #[test]
    fn another_time_zone_cuts_the_days_anew() {
        let mut minutes = Minutes::default();
        minutes.begin(Way::Made, START + MINUTE);
        minutes.end(Way::Made, START + MINUTE, START + 2 * MINUTE);
        let one = Bounds { all: Some(1), ..open() };
        assert!(!minutes.let_one(one, Way::Made, START + 3 * MINUTE));
        assert!(!minutes.is_quiet(START + 3 * MINUTE));
        minutes.live_by(&Timezone::default(), START + 3 * MINUTE);
        assert!(!minutes.let_one(one, Way::Made, START + 3 * MINUTE));
        let tokyo = config::Timezone::named("Asia/Tokyo").unwrap();
        minutes.live_by(&tokyo, START + 3 * MINUTE);
        assert_eq!(minutes.day.start, START - 9 * 60 * MINUTE);
    }
}
