//! The one timer queue of the endpoint: for each transaction its next deadline.
//!
//! As large as there are transactions, never larger: moving a deadline takes the old one out. Equal
//! deadlines fire in the order in which the transactions were made, so that runs repeat.

use std::collections::BTreeSet;
use std::time::Instant;

/// Deadlines of things known by `K`.
pub(super) struct TimerQueue<K> {
    deadlines: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> TimerQueue<K> {
    pub(super) const fn new() -> Self {
        Self { deadlines: BTreeSet::new() }
    }

    /// Moves a deadline. `place` remembers where it stands and belongs to the thing itself.
    pub(super) fn set(&mut self, key: K, place: &mut Option<Instant>, deadline: Option<Instant>) {
        if *place == deadline {
            return;
        }
        if let Some(old) = *place {
            self.deadlines.remove(&(old, key));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, key));
        }
        *place = deadline;
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The thing whose deadline is earliest, if it is due. It stays in the queue until [`Self::set`]
    /// moves it.
    pub(super) fn due(&self, now: Instant) -> Option<K> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// Takes the thing out whose deadline is earliest, if it is due: for one that is given up.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<K> {
        let due = self.due(now)?;
        self.deadlines.pop_first();
        Some(due)
    }

    /// How many deadlines are set.
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fires_in_order_and_holds_one_deadline_each() {
        let start = crate::transaction::table::start();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let mut queue = TimerQueue::new();
        let mut places = [None; 3];
        queue.set(0, &mut places[0], at(30));
        queue.set(2, &mut places[2], at(10));
        queue.set(1, &mut places[1], at(10));
        queue.set(0, &mut places[0], at(20));
        assert_eq!((queue.len(), queue.next()), (3, at(10)));
        assert_eq!(queue.due(start), None);

        let mut fired = Vec::new();
        while let Some(key) = queue.due(start + Duration::from_millis(20)) {
            queue.set(key, &mut places[key], None);
            fired.push(key);
        }

        assert_eq!(fired, [1, 2, 0]);
        assert_eq!((queue.len(), queue.next(), places), (0, None, [None; 3]));
    }
}
