//! Which UDP ports exist, and which of them a call may have.
//!
//! [`Ports`] lives with the signalling core: shards bind pairs ahead and tell their numbers
//! ([`Event::Warm`](crate::plan::Event::Warm)), so that reserving is synchronous and cannot fail
//! late. A released pair rests for a while, because packets of the old call may still be on their
//! way; the oldest is reused first, and the rest is cut short when nothing else is left, except
//! where packets still arrive, which are the last resort. No socket, no clock.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::plan::{PoolConfig, PoolId, Port};

/// A pair in the dense numbering of a [`PortMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) u32);

/// The dense numbering of all configured pairs, the same in signalling and in every shard. Pairs
/// are dealt to the shards in turn.
#[derive(Clone, Debug)]
pub struct PortMap {
    ranges: Vec<Range>,
    shards: u8,
    pairs: u32,
}

#[derive(Clone, Debug)]
struct Range {
    pool: PoolId,
    index: u8,
    address: IpAddr,
    dscp: Option<u8>,
    first: u16,
    pairs: u32,
    base: u32,
}

impl PortMap {
    /// Numbers the pairs of these pools, dealt to `shards` relay threads (at least one).
    pub fn new(shards: u8, pools: &[PoolConfig]) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        let mut base = 0;
        for pool in pools {
            let first = (u32::from(*pool.ports.start()) + 1) & !1;
            let pairs = (u32::from(*pool.ports.end()) + 1).saturating_sub(first) / 2;
            let index = ranges.iter().filter(|range| range.pool == pool.id).count();
            let (Ok(first), Ok(index)) = (u16::try_from(first), u8::try_from(index)) else {
                continue;
            };
            let (pool, address, dscp) = (pool.id, pool.address, pool.dscp);
            ranges.push(Range { pool, index, address, dscp, first, pairs, base });
            base += pairs;
        }
        Self { ranges, shards: shards.max(1), pairs: base }
    }

    /// How many pairs there are.
    pub const fn pairs(&self) -> u32 {
        self.pairs
    }

    /// How many relay threads share them.
    pub const fn shards(&self) -> u8 {
        self.shards
    }

    /// The place of a port; `None` if it is not configured or dealt to another shard.
    pub fn slot(&self, port: Port) -> Option<Slot> {
        let range = self.ranges.iter().find(|r| r.pool == port.pool && r.index == port.index)?;
        let offset = port.number.checked_sub(range.first)?;
        let pair = u32::from(offset) / 2;
        let ours = offset % 2 == 0
            && pair < range.pairs
            && pair % u32::from(self.shards) == u32::from(port.shard);
        ours.then_some(Slot(range.base + pair))
    }

    /// The port at a place.
    ///
    /// # Panics
    /// When the slot is of another map.
    pub fn port(&self, slot: Slot) -> Port {
        let range = self.range(slot);
        let pair = slot.0 - range.base;
        let shard = (pair % u32::from(self.shards)) as u8;
        let number = range.first + (pair * 2) as u16;
        Port { shard, pool: range.pool, index: range.index, number }
    }

    /// The local address of a pair.
    pub fn address(&self, slot: Slot) -> IpAddr {
        self.range(slot).address
    }

    /// The code point for what is sent from a pair.
    pub fn dscp(&self, slot: Slot) -> Option<u8> {
        self.range(slot).dscp
    }

    /// How many addresses there are.
    pub const fn addresses(&self) -> usize {
        self.ranges.len()
    }

    /// The pairs of one address that were dealt to a shard.
    pub fn dealt(&self, address: usize, shard: u8) -> impl Iterator<Item = Slot> + use<> {
        let (base, pairs) = self.ranges.get(address).map_or((0, 0), |r| (r.base, r.pairs));
        (u32::from(shard)..pairs)
            .step_by(usize::from(self.shards))
            .map(move |pair| Slot(base + pair))
    }

    /// Which address a pair belongs to.
    pub fn address_index(&self, slot: Slot) -> usize {
        self.range_index(slot)
    }

    fn range(&self, slot: Slot) -> &Range {
        &self.ranges[self.range_index(slot)]
    }

    fn range_index(&self, slot: Slot) -> usize {
        self.ranges.partition_point(|range| range.base + range.pairs <= slot.0)
    }
}

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
        queues.resize_with(map.ranges.len() * usize::from(map.shards()), Queue::default);
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
        let index = self.queue_index(self.map.range_index(slot), shard);
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
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbering_keeps_whole_even_pairs_and_deals_them_to_the_shards() {
        let map = PortMap::new(2, &[pool(1, 20001..=20006), pool(2, 30000..=30003)]);
        // 20001 and 20006 have no partner inside the range.
        assert_eq!(map.pairs(), 4);
        let ports: Vec<Port> = (0..4).map(|slot| map.port(Slot(slot))).collect();
        let seen: Vec<_> = ports.iter().map(|p| (p.pool.0, p.number, p.shard)).collect();
        assert_eq!(seen, [(1, 20002, 0), (1, 20004, 1), (2, 30000, 0), (2, 30002, 1)]);
        for (slot, port) in ports.iter().enumerate() {
            assert_eq!(map.slot(*port), Some(Slot(slot as u32)));
        }
    }

    #[test]
    fn numbering_ends_with_the_last_port() {
        let map = PortMap::new(1, &[pool(1, 65534..=65535), pool(2, 65535..=65535)]);
        assert_eq!(map.pairs(), 1);
        assert_eq!(map.port(Slot(0)).number, 65534);
        assert_eq!(map.port(Slot(0)).rtcp(), 65535);
    }

    #[test]
    fn what_is_kept_back_goes_to_the_urgent_alone() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20127)]);
        ports.keep_back(8);
        let mut count = |urgent: bool| {
            let want = Want { urgent, ..PoolId(1).into() };
            std::iter::from_fn(|| ports.reserve_in(0, want, now)).count()
        };
        // A sixteenth of 64 pairs.
        assert_eq!([count(false), count(false), count(true)], [60, 0, 4]);
    }

    #[test]
    fn ports_of_others_have_no_place() {
        let map = PortMap::new(2, &[pool(1, 20000..=20003)]);
        let good = map.port(Slot(0));
        for bad in [
            Port { number: 20001, ..good },
            Port { number: 19998, ..good },
            Port { number: 20004, ..good },
            Port { number: 20002, ..good },
            Port { shard: 1, ..good },
            Port { index: 1, ..good },
            Port { pool: PoolId(2), ..good },
        ] {
            assert_eq!(map.slot(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn exactly_this_pair_is_claimed_once_whatever_it_was() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20007)]);
        let taken = ports.reserve_in(0, PoolId(1), now).unwrap();
        let resting = ports.reserve_in(0, PoolId(1), now).unwrap();
        ports.release(resting, now);
        let mut cold = Ports::new(1, &[pool(1, 20000..=20007)], ms(1000));
        let mut free = (20000..=20006).step_by(2).map(|number| Port { number, ..taken });
        let free = free.rfind(|port| ![taken, resting].contains(port)).unwrap();
        for (port, mine) in [
            (taken, false),
            (resting, true),
            (free, true),
            (Port { number: 20008, ..taken }, false),
            (Port { shard: 1, ..taken }, false),
        ] {
            assert_eq!(ports.claim(port), mine, "{port:?}");
            assert!(!ports.claim(port), "{port:?} again");
        }
        assert_eq!(ports.capacity(PoolId(1)).reserved, 3);
        assert!(cold.claim(taken) && !cold.claim(taken));
        // What was claimed is nobody else's, told as warm or not, and rests like any other.
        cold.warm(&[taken]);
        assert_eq!(cold.reserve_in(0, PoolId(1), now), None);
        cold.release(taken, now);
        assert_eq!(cold.reserve_in(0, PoolId(1), now), Some(taken));
        let left = ports.reserve_in(0, PoolId(1), now).unwrap();
        assert!(![taken, resting, free].contains(&left));
        assert_eq!(ports.reserve_in(0, PoolId(1), now), None);
    }

    #[test]
    fn a_pair_that_went_cold_is_not_to_be_had_until_it_is_warm() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
        let (a, b) = ports.reserve(PoolId(1), PoolId(1), now).unwrap();
        ports.release(b, now);
        ports.cold(a);
        ports.cold(b);
        ports.release(a, now);
        assert_eq!(ports.capacity(PoolId(1)).warm, 0);
        assert_eq!(ports.reserve_in(0, PoolId(1), now), None);
        ports.warm(&[a]);
        assert_eq!(ports.reserve_in(0, PoolId(1), now), Some(a));
    }

    #[test]
    fn free_pairs_are_given_up_beyond_some() {
        let (mut ports, now) = warm(2, &[pool(1, 20000..=20019), pool(2, 30000..=30019)]);
        let (a, b) = ports.reserve(PoolId(1), PoolId(2), now).unwrap();
        let (c, _) = ports.reserve(PoolId(1), PoolId(2), now).unwrap();
        ports.release(c, now);
        // Of five pairs each queue keeps two; two in each pool are reserved, and one rests.
        let given = ports.cool(2);
        assert!(!given.contains(&a) && !given.contains(&b));
        let left = [1, 2].map(|id| ports.capacity(PoolId(id)));
        assert_eq!(left.map(|c| (c.reserved, c.free + c.resting)), [(1, 4), (2, 4)]);
        assert_eq!(given.len(), 20 - 3 - 8);
        assert_eq!(ports.cool(2), []);
        ports.warm(&given);
        assert_eq!(ports.capacity(PoolId(1)).warm, 10);
    }

    #[test]
    fn both_sides_lie_in_one_shard_and_shards_take_turns() {
        let (mut ports, now) = warm(3, &[pool(1, 20000..=20029), pool(2, 30000..=30029)]);
        let shards: Vec<_> = (0..6)
            .map(|_| {
                let (a, b) = ports.reserve(PoolId(1), PoolId(2), now).unwrap();
                assert_eq!((a.shard, a.pool, b.pool), (b.shard, PoolId(1), PoolId(2)));
                a.shard
            })
            .collect();
        assert_eq!(shards, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn nothing_is_kept_when_only_one_side_is_left() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20003), pool(2, 30000..=30001)]);
        assert!(ports.reserve(PoolId(1), PoolId(2), now).is_some());
        assert_eq!(ports.reserve(PoolId(1), PoolId(2), now), None);
        assert_eq!(ports.capacity(PoolId(1)).free, 1);
        assert_eq!(ports.reserve(PoolId(1), PoolId(9), now), None);
    }

    #[test]
    fn one_pool_serves_both_sides_with_different_pairs() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
        let (a, b) = ports.reserve(PoolId(1), PoolId(1), now).unwrap();
        assert_ne!(a, b);
        assert_eq!(ports.reserve(PoolId(1), PoolId(1), now), None);
    }

    #[test]
    fn a_released_pair_rests_and_the_oldest_comes_first() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20005)]);
        let taken: Vec<_> = (0..3).map(|_| ports.reserve_in(0, PoolId(1), now).unwrap()).collect();
        ports.release(taken[1], now);
        ports.release(taken[0], now + ms(600));
        // Under demand the rest is cut short, oldest first.
        assert_eq!(ports.reserve_in(0, PoolId(1), now + ms(700)), Some(taken[1]));
        ports.release(taken[1], now + ms(800));
        ports.release(taken[2], now + ms(900));
        assert_eq!(ports.capacity(PoolId(1)).resting, 3);
        // After their rest they come in the order of release.
        let later = now + ms(5000);
        let again: Vec<_> =
            (0..3).map(|_| ports.reserve_in(0, PoolId(1), later).unwrap()).collect();
        assert_eq!(again, [taken[0], taken[1], taken[2]]);
    }

    #[test]
    fn a_resting_pair_waits_while_others_are_free() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
        let first = ports.reserve_in(0, PoolId(1), now).unwrap();
        ports.release(first, now);
        let second = ports.reserve_in(0, PoolId(1), now + ms(10)).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_pair_that_still_gets_packets_is_the_last_resort() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
        let free = ports.reserve_in(0, PoolId(1), now).unwrap();
        ports.release(free, now);
        let soon = now + ms(10);
        let other = Port { number: 20002, ..free };
        ports.stray(other, soon);
        // The resting pair is quiet, the free one is not.
        assert_eq!(ports.reserve_in(0, PoolId(1), soon), Some(free));
        // And yet it is used when nothing else is left.
        assert_eq!(ports.reserve_in(0, PoolId(1), soon), Some(other));
        assert_eq!(ports.reserve_in(0, PoolId(1), soon), None);
    }

    #[test]
    fn a_pool_of_two_families_gives_the_one_that_is_asked_for() {
        let v6 = PoolConfig { address: "::1".parse().unwrap(), ..pool(1, 20000..=20003) };
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20003), v6]);
        let want = Want { family: Family::V6, ..PoolId(1).into() };
        for _ in 0..2 {
            let port = ports.reserve_in(0, want, now).unwrap();
            assert_eq!(port.index, 1);
            assert!(ports.address(port).unwrap().is_ipv6());
        }
        assert_eq!(ports.reserve_in(0, want, now), None);
        assert_eq!(ports.capacity(PoolId(1)).free, 2);
    }

    #[test]
    fn what_was_not_reserved_is_not_released_and_warm_twice_is_warm_once() {
        let (mut ports, now) = warm(1, &[pool(1, 20000..=20001)]);
        let port = ports.reserve_in(0, PoolId(1), now).unwrap();
        ports.warm(&[port]);
        ports.release(port, now);
        ports.release(port, now);
        let before = Capacity { configured: 1, warm: 1, resting: 1, ..Capacity::default() };
        assert_eq!(ports.capacity(PoolId(1)), before);
        assert!(ports.reserve_in(0, PoolId(1), now).is_some());
        assert_eq!(ports.reserve_in(0, PoolId(1), now), None);
    }

    proptest! {
        /// No pair is ever in two hands, none is lost, and the figures add up.
        #[test]
        fn pairs_are_conserved(steps in prop::collection::vec((0u8..5, any::<u8>()), 1..200)) {
            let pools = [pool(1, 20000..=20011), pool(2, 30000..=30007)];
            let (mut ports, start) = warm(2, &pools);
            let mut held: Vec<Port> = Vec::new();
            for (time, (step, pick)) in steps.into_iter().enumerate() {
                let now = start + ms(100 * time as u64);
                match step {
                    0 | 1 => held.extend(
                        ports.reserve(PoolId(1), PoolId(2), now).map(<[Port; 2]>::from).into_iter().flatten(),
                    ),
                    2 => held.extend(ports.reserve_in(pick % 2, PoolId(1), now)),
                    3 if !held.is_empty() => {
                        let port = held.swap_remove(usize::from(pick) % held.len());
                        ports.release(port, now);
                    }
                    _ => ports.stray(Port { shard: 0, pool: PoolId(1), index: 0, number: 20000 }, now),
                }
                let distinct: HashSet<_> = held.iter().collect();
                prop_assert_eq!(distinct.len(), held.len());
                let (one, two) = (ports.capacity(PoolId(1)), ports.capacity(PoolId(2)));
                prop_assert_eq!((one.reserved + two.reserved) as usize, held.len());
                prop_assert_eq!(one.free + one.resting + one.reserved, 6);
                prop_assert_eq!(two.free + two.resting + two.reserved, 4);
                let queued: usize = ports.queues.iter().map(Queue::available).sum();
                prop_assert_eq!(queued + held.len(), 10);
            }
        }
    }

    fn pool(id: u8, ports: std::ops::RangeInclusive<u16>) -> PoolConfig {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        PoolConfig { id: PoolId(id), address, ports, dscp: None }
    }

    fn warm(shards: u8, pools: &[PoolConfig]) -> (Ports, Instant) {
        let mut ports = Ports::new(shards, pools, Duration::from_secs(1));
        let all: Vec<_> = (0..ports.map.pairs()).map(|slot| ports.map.port(Slot(slot))).collect();
        ports.warm(&all);
        #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
        let now = Instant::now();
        (ports, now)
    }

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }
}
