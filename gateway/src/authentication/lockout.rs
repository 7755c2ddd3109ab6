//! Sources whose answers were wrong too often: none of theirs is looked at for a while, and longer with each time.
//!
//! Keyed by address and trunk, so that nobody else at a trunk is shut out by one who guesses. Bounded: the one that was
//! quiet for longest is forgotten first.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

type Who = (IpAddr, String);

/// Failures by source and trunk.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    known: HashMap<Who, Failures>,
    quiet: BTreeSet<(Instant, Who)>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    until: Option<Instant>,
}

impl Lockout {
    /// Whether that source is locked out of that trunk.
    pub(super) fn holds(&self, source: IpAddr, trunk: &str, now: Instant) -> bool {
        let known = self.known.get(&(source, trunk.to_owned()));
        known.is_some_and(|failures| failures.until.is_some_and(|until| now < until))
    }

    /// One more wrong answer.
    pub(super) fn note(&mut self, source: IpAddr, trunk: &str, now: Instant) {
        let who = (source, trunk.to_owned());
        if !self.known.contains_key(&who)
            && self.known.len() >= MOST
            && let Some((_, quietest)) = self.quiet.pop_first()
        {
            self.known.remove(&quietest);
        }
        let failures =
            self.known.entry(who.clone()).or_insert(Failures { count: 0, last: now, until: None });
        self.quiet.remove(&(failures.last, who.clone()));
        if now.saturating_duration_since(failures.last) >= FORGIVEN {
            failures.count = 0;
        }
        failures.last = now;
        failures.count = failures.count.saturating_add(1);
        if let Some(beyond) = failures.count.checked_sub(ALLOWED) {
            let wait = FIRST * (1 << beyond.min(10));
            failures.until = Some(now + wait.min(LONGEST));
        }
        self.quiet.insert((now, who));
    }

    /// It has the password after all.
    pub(super) fn forgive(&mut self, source: IpAddr, trunk: &str) {
        let who = (source, trunk.to_owned());
        if let Some(failures) = self.known.remove(&who) {
            self.quiet.remove(&(failures.last, who));
        }
    }
}

/// With so many wrong answers in a row it begins.
const ALLOWED: u32 = 5;
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(1800);
/// After so long without a wrong answer they are counted anew.
const FORGIVEN: Duration = Duration::from_secs(3600);
const MOST: usize = 4096;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn at_10_the_fifth_wrong_answer_locks_out_and_each_further_one_for_longer() {
        let (mut lockout, mut now) = (Lockout::default(), Instant::now());
        for _ in 0..4 {
            lockout.note(SOURCE, "a", now);
            assert!(!lockout.holds(SOURCE, "a", now));
        }
        for wait in [30, 60, 120, 240, 480, 960, 1800, 1800] {
            lockout.note(SOURCE, "a", now);
            assert!(lockout.holds(SOURCE, "a", now + (wait - 1) * SECOND));
            now += wait * SECOND;
            assert!(!lockout.holds(SOURCE, "a", now));
        }
        lockout.note(SOURCE, "a", now);
        assert!(!lockout.holds(SOURCE, "b", now), "another trunk");
        assert!(!lockout.holds("127.0.0.2".parse().unwrap(), "a", now), "another source");
        lockout.forgive(SOURCE, "a");
        assert!(!lockout.holds(SOURCE, "a", now) && lockout.quiet.is_empty());
    }

    #[test]
    fn after_an_hour_the_count_begins_anew() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        for _ in 0..4 {
            lockout.note(SOURCE, "a", now);
        }
        lockout.note(SOURCE, "a", now + FORGIVEN);
        assert!(!lockout.holds(SOURCE, "a", now + FORGIVEN));
    }

    #[test]
    fn as_many_as_there_may_be_are_remembered() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        for n in 0..MOST as u32 + 50 {
            let source = IpAddr::V4((0x0a00_0000 + n).into());
            for _ in 0..5 {
                lockout.note(source, "a", now + n * SECOND / 1000);
            }
        }
        assert_eq!((lockout.known.len(), lockout.quiet.len()), (MOST, MOST));
        let (first, last) =
            (IpAddr::V4(0x0a00_0000.into()), IpAddr::V4((0x0a00_0000 + MOST as u32).into()));
        assert!(!lockout.holds(first, "a", now) && lockout.holds(last, "a", now));
    }
}
