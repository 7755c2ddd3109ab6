//! Counters of a relay thread, written by it alone and read by whoever wants to know.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::shard::Counters;

/// What one relay thread has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadCounters {
    /// Of its shard.
    pub shard: Counters,
    /// Packets that the system did not take.
    pub send_failed: u64,
    /// Pairs of ports bound now (a gauge).
    pub bound: u64,
}

/// The same, shared.
#[derive(Debug, Default)]
pub(super) struct SharedCounters([AtomicU64; FIELDS]);

impl SharedCounters {
    pub(super) fn store(&self, counters: &ThreadCounters) {
        for (shared, value) in self.0.iter().zip(to_array(counters)) {
            shared.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn load(&self) -> ThreadCounters {
        let values = self.0.each_ref().map(|shared| shared.load(Ordering::Relaxed));
        from_array(values)
    }
}

const FIELDS: usize = 17;

const fn to_array(counters: &ThreadCounters) -> [u64; FIELDS] {
    let ThreadCounters { shard, send_failed, bound } = *counters;
    [
        shard.received,
        shard.relayed,
        shard.own_rtcp,
        shard.played,
        shard.stray,
        shard.foreign,
        shard.malformed,
        shard.auth_failed,
        shard.duplicates,
        shard.unlisted,
        shard.held,
        shard.dropped,
        shard.faults,
        shard.refused,
        shard.sessions,
        send_failed,
        bound,
    ]
}

const fn from_array(values: [u64; FIELDS]) -> ThreadCounters {
    let [
        received,
        relayed,
        own_rtcp,
        played,
        stray,
        foreign,
        malformed,
        auth_failed,
        duplicates,
        unlisted,
        held,
        dropped,
        faults,
        refused,
        sessions,
        send_failed,
        bound,
    ] = values;
    let shard = Counters {
        received,
        relayed,
        own_rtcp,
        played,
        stray,
        foreign,
        malformed,
        auth_failed,
        duplicates,
        unlisted,
        held,
        dropped,
        faults,
        refused,
        sessions,
    };
    ThreadCounters { shard, send_failed, bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let values: [u64; FIELDS] = std::array::from_fn(|index| index as u64 + 1);
        let shared = SharedCounters::default();
        shared.store(&from_array(values));
        assert_eq!(to_array(&shared.load()), values);
    }
}
