//! The numbering of all configured pairs of ports, the same in signalling and in every shard.

use std::net::IpAddr;

use crate::plan::{PoolConfig, PoolId, Port};

/// A pair in the dense numbering of a [`PortMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) u32);

/// The dense numbering of all configured pairs, the same in signalling and in every shard. Pairs
/// are dealt to the shards in turn.
#[derive(Clone, Debug)]
pub struct PortMap {
    pub(super) ranges: Vec<Range>,
    shards: u8,
    pairs: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) pool: PoolId,
    index: u8,
    pub(super) address: IpAddr,
    dscp: Option<u8>,
    first: u16,
    pub(super) pairs: u32,
    pub(super) base: u32,
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
