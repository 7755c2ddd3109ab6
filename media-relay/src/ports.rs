//! Which UDP ports exist, and which of them a call may have.
//!
//! [`Ports`] lives with the signalling core: shards bind pairs ahead and tell their numbers
//! ([`Event::Warm`](crate::plan::Event::Warm)), so that reserving is synchronous and cannot fail
//! late. A released pair rests for a while, because packets of the old call may still be on their
//! way; the oldest is reused first, and the rest is cut short when nothing else is left, except
//! where packets still arrive, which are the last resort. No socket, no clock.

mod map;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use self::map::{PortMap, Slot};
use crate::plan::{PoolConfig, PoolId, Port};

/// Which kind of address a reservation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Either.
    Any,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
}

/// What a reservation asks for. A [`PoolId`] alone means any address of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The pool.
    pub pool: PoolId,
    /// The kind of address.
    pub family: Family,
    /// It may have what is kept back ([`Ports::keep_back`]).
    pub urgent: bool,
}

impl From<PoolId> for Want {
    fn from(pool: PoolId) -> Self {
        Self { pool, family: Family::Any, urgent: false }
    }
}

/// The pairs of a pool by what they are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Configured; an upper bound for all others.
    pub configured: u32,
    /// Bound by a shard so far; the sum of the three that follow.
    pub warm: u32,
    /// Ready to be reserved.
    pub free: u32,
    /// In use by calls.
    pub reserved: u32,
    /// Released a short time ago.
    pub resting: u32,
}

/// The pairs that calls may have.
#[derive(Debug)]
pub struct Ports {
    map: PortMap,
    rest: Duration,
    pairs: Vec<Pair>,
    /// By range and shard.
    queues: Vec<Queue>,
    turn: usize,
    /// How many pairs of each queue only urgent reservations get.
    kept_back: usize,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    phase: Phase,
    stray: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not bound yet.
    Cold,
    Free,
    Reserved,
    Resting,
}

/// Pairs that are not in use; each stands in at most one of the two.
#[derive(Debug, Default)]
struct Queue {
    free: VecDeque<Slot>,
    resting: VecDeque<(Instant, Slot)>,
}

impl Queue {
    fn available(&self) -> usize {
        self.free.len() + self.resting.len()
    }
}

impl Ports {
    /// All pairs of these pools, none of them warm yet. `rest` is how long a released pair is left
    /// alone while others are free.
    pub fn new(shards: u8, pools: &[PoolConfig], rest: Duration) -> Self {
        let map = PortMap::new(shards, pools);
        let pairs = vec![Pair { phase: Phase::Cold, stray: None }; map.pairs() as usize];
        let mut queues = Vec::new();
        queues.resize_with(map.addresses() * usize::from(map.shards()), Queue::default);
        Self { map, rest, pairs, queues, turn: 0, kept_back: 0 }
    }

    /// Takes in pairs that a shard has bound.
    pub fn warm(&mut self, ports: &[Port]) {
        for port in ports {
            let Some(slot) = self.map.slot(*port) else { continue };
            if self.pairs[slot.0 as usize].phase == Phase::Cold {
                self.pairs[slot.0 as usize].phase = Phase::Free;
                self.queue(slot).free.push_back(slot);
            }
        }
    }

    /// Notes that packets come to a pair that no session uses.
    pub fn stray(&mut self, port: Port, now: Instant) {
        if let Some(slot) = self.map.slot(port) {
            self.pairs[slot.0 as usize].stray = Some(now);
        }
    }

    /// Reserves a pair for each side of a session, both in one shard; shards take turns. `None`
    /// when no shard has both.
    pub fn reserve(
        &mut self,
        a: impl Into<Want>,
        b: impl Into<Want>,
        now: Instant,
    ) -> Option<(Port, Port)> {
        let (a, b) = (a.into(), b.into());
        let shards = usize::from(self.map.shards());
        for step in 0..shards {
            let shard = ((self.turn + step) % shards) as u8;
            let Some(first) = self.reserve_in(shard, a, now) else { continue };
            let Some(second) = self.reserve_in(shard, b, now) else {
                self.give_back(first);
                continue;
            };
            self.turn = self.turn.wrapping_add(step + 1);
            return Some((first, second));
        }
        None
    }

    /// Keeps so many pairs of each address and shard back for urgent reservations; fewer where a range is so small that this
    /// were more than a sixteenth of it.
    pub fn keep_back(&mut self, pairs: usize) {
        self.kept_back = pairs;
    }

    /// Reserves one more pair in a shard, for another peer of a session that lives there.
    pub fn reserve_in(&mut self, shard: u8, want: impl Into<Want>, now: Instant) -> Option<Port> {
        let want = want.into();
        let range = self
            .map
            .ranges
            .iter()
            .enumerate()
            .filter(|(_, range)| range.pool == want.pool && want.family.fits(range.address))
            .map(|(index, _)| index)
            .max_by_key(|index| {
                let queue = &self.queues[self.queue_index(*index, shard)];
                (!queue.free.is_empty(), queue.available())
            })?;
        let queue = self.queue_index(range, shard);
        let configured = self.map.ranges[range].pairs as usize / usize::from(self.map.shards());
        let kept = if want.urgent { 0 } else { self.kept_back.min(configured / 16) };
        if self.queues[queue].available() <= kept {
            return None;
        }
        let slot = self.take(queue, now)?;
        self.pairs[slot.0 as usize].phase = Phase::Reserved;
        Some(self.map.port(slot))
    }

    /// Reserves exactly this pair, for a session that another process had; bound or not, the shard
    /// sees to that. `false`, and nothing changes, when it is reserved or not configured.
    pub fn claim(&mut self, port: Port) -> bool {
        let Some(slot) = self.map.slot(port) else { return false };
        if self.pairs[slot.0 as usize].phase == Phase::Reserved {
            return false;
        }
        self.withdraw(slot);
        self.pairs[slot.0 as usize].phase = Phase::Reserved;
        true
    }

    /// Takes in that a pair cannot be bound: nobody has it until it is told as warm again.
    pub fn cold(&mut self, port: Port) {
        let Some(slot) = self.map.slot(port) else { return };
        self.withdraw(slot);
        self.pairs[slot.0 as usize].phase = Phase::Cold;
    }

    /// Gives up the pairs that are free beyond `spare` for each address and shard, for another process
    /// to take: they are cold now. [`Command::Cool`](crate::plan::Command::Cool) closes them.
    pub fn cool(&mut self, spare: usize) -> Vec<Port> {
        let mut given = Vec::new();
        for queue in &mut self.queues {
            while queue.available() > spare {
                let free = queue.free.pop_front();
                let Some(slot) = free.or_else(|| queue.resting.pop_back().map(|(_, slot)| slot))
                else {
                    break;
                };
                self.pairs[slot.0 as usize].phase = Phase::Cold;
                given.push(self.map.port(slot));
            }
        }
        given
    }

    /// Ends a reservation: the pair rests, then it is free again. Give it back when the Release
    /// (or the Apply that no longer names it) has been sent.
    pub fn release(&mut self, port: Port, now: Instant) {
        let Some(slot) = self.map.slot(port) else { return };
        if self.pairs[slot.0 as usize].phase == Phase::Reserved {
            self.pairs[slot.0 as usize].phase = Phase::Resting;
            self.queue(slot).resting.push_back((now, slot));
        }
    }

    /// The local address of a port, as bound.
    pub fn address(&self, port: Port) -> Option<IpAddr> {
        self.map.slot(port).map(|slot| self.map.address(slot))
    }

    /// The figures of a pool over all its addresses and shards.
    pub fn capacity(&self, pool: PoolId) -> Capacity {
        let mut sum = Capacity::default();
        for range in self.map.ranges.iter().filter(|range| range.pool == pool) {
            sum.configured += range.pairs;
            let pairs = range.base as usize..(range.base + range.pairs) as usize;
            for pair in &self.pairs[pairs] {
                match pair.phase {
                    Phase::Cold => continue,
                    Phase::Free => sum.free += 1,
                    Phase::Reserved => sum.reserved += 1,
                    Phase::Resting => sum.resting += 1,
                }
                sum.warm += 1;
            }
        }
        sum
    }

    /// Takes a pair out of its queue. Rare, so that it may take long.
    fn withdraw(&mut self, slot: Slot) {
        match self.pairs[slot.0 as usize].phase {
            Phase::Cold | Phase::Reserved => {}
            Phase::Free => self.queue(slot).free.retain(|other| *other != slot),
            Phase::Resting => self.queue(slot).resting.retain(|(_, other)| *other != slot),
        }
    }

    /// Undoes a reservation that nobody has seen.
    fn give_back(&mut self, port: Port) {
        let Some(slot) = self.map.slot(port) else { return };
        self.pairs[slot.0 as usize].phase = Phase::Free;
        self.queue(slot).free.push_front(slot);
    }

    fn take(&mut self, queue: usize, now: Instant) -> Option<Slot> {
        let Self { pairs, queues, rest, .. } = self;
        let queue = &mut queues[queue];
        while let Some((since, slot)) = queue.resting.front().copied() {
            if now.saturating_duration_since(since) < *rest {
                break;
            }
            queue.resting.pop_front();
            pairs[slot.0 as usize].phase = Phase::Free;
            queue.free.push_back(slot);
        }
        let quiet = |slot: Slot| {
            pairs[slot.0 as usize]
                .stray
                .is_none_or(|at| now.saturating_duration_since(at) >= NOISY.max(*rest))
        };
        // Noisy pairs go to the back; the look is short, so that a spray cannot make it costly.
        for _ in 0..queue.free.len().min(LOOK) {
            let slot = queue.free.pop_front()?;
            if quiet(slot) {
                return Some(slot);
            }
            queue.free.push_back(slot);
        }
        if let Some(position) = queue.resting.iter().take(LOOK).position(|(_, slot)| quiet(*slot)) {
            return queue.resting.remove(position).map(|(_, slot)| slot);
        }
        queue.free.pop_front().or_else(|| queue.resting.pop_front().map(|(_, slot)| slot))
    }

    fn queue(&mut self, slot: Slot) -> &mut Queue {
        let shard = self.map.port(slot).shard;
        let index = self.queue_index(self.map.address_index(slot), shard);
        &mut self.queues[index]
    }

    fn queue_index(&self, range: usize, shard: u8) -> usize {
        let shards = usize::from(self.map.shards());
        range * shards + usize::from(shard).min(shards - 1)
    }
}

impl Family {
    fn fits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// How long a stray packet marks a pair.
const NOISY: Duration = Duration::from_secs(2);
/// How many pairs are looked at for a quiet one.
const LOOK: usize = 64;

#[cfg(test)]
mod tests;
