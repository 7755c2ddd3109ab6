//! Which counts of which nonces were used (RFC 7616 §3.4.6: a count that does not go up is a replay).
//!
//! Bounded: beyond [`MOST`] nonces the oldest is forgotten, and whatever is not newer than that is stale from then on.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use bytes::Bytes;

use super::LIFE;

/// What was used.
#[derive(Debug)]
pub(super) struct Replays {
    counts: HashMap<Bytes, u32>,
    /// By when they were made, the oldest first.
    order: BTreeMap<(SystemTime, Bytes), ()>,
    /// Nothing is known of nonces made before then.
    floor: SystemTime,
}

impl Replays {
    pub(super) fn new(floor: SystemTime) -> Self {
        Self { counts: HashMap::new(), order: BTreeMap::new(), floor }
    }

    /// Whether nothing is known of the nonces of that time.
    pub(super) fn predates(&self, made: SystemTime) -> bool {
        made < self.floor
    }

    /// Whether that count is higher than any before it; notes it.
    pub(super) fn is_new(
        &mut self,
        nonce: &Bytes,
        made: SystemTime,
        count: u32,
        wall: SystemTime,
    ) -> bool {
        while let Some(((oldest, _), ())) = self.order.first_key_value() {
            let over = *oldest + LIFE < wall;
            if !over && self.counts.len() < MOST {
                break;
            }
            if let Some(((oldest, nonce), ())) = self.order.pop_first() {
                self.counts.remove(&nonce);
                self.floor = self.floor.max(oldest + std::time::Duration::from_millis(1));
            }
        }
        if let Some(last) = self.counts.get_mut(nonce) {
            let new = count > *last;
            *last = count.max(*last);
            return new;
        }
        if self.predates(made) || count == 0 {
            return false;
        }
        // A copy of its own: what came must not live as long as this.
        let nonce = Bytes::copy_from_slice(nonce);
        self.order.insert((made, nonce.clone()), ());
        self.counts.insert(nonce, count);
        true
    }
}

const MOST: usize = 8192;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const WALL: SystemTime = UNIX_EPOCH;

    fn nonce(n: usize) -> Bytes {
        n.to_string().into()
    }

    #[test]
    fn a_count_must_go_up() {
        let mut replays = Replays::new(WALL);
        for (count, new) in [(0, false), (1, true), (1, false), (5, true), (4, false), (6, true)] {
            assert_eq!(replays.is_new(&nonce(1), WALL, count, WALL), new, "{count}");
        }
        assert!(replays.is_new(&nonce(2), WALL, 1, WALL));
    }

    #[test]
    fn what_is_forgotten_is_stale_and_never_new() {
        let mut replays = Replays::new(WALL);
        let at = |n: usize| WALL + Duration::from_millis(n as u64);
        for n in 0..MOST + 10 {
            assert!(replays.is_new(&nonce(n), at(n), 1, at(n)));
        }
        assert_eq!((replays.counts.len(), replays.order.len()), (MOST, MOST));
        assert!(replays.predates(at(9)) && !replays.predates(at(10)));
        assert!(!replays.is_new(&nonce(3), at(3), 9, at(MOST)));
        let later = at(MOST) + LIFE + Duration::from_secs(1);
        assert!(replays.is_new(&nonce(0), later, 1, later));
        assert_eq!(replays.counts.len(), 1, "the old ones are gone");
    }
}
