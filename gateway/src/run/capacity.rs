//! How many calls there may be: by media ports, and by file descriptors.

use std::collections::BTreeSet;

use config::Config;
use rustix::process::{Resource, getrlimit, setrlimit};

/// How many calls there may be at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// By the pairs of media ports.
    pub by_ports: u64,
    /// By the file descriptors that the process may have.
    pub by_descriptors: u64,
    /// How many file descriptors these are.
    pub descriptors: u64,
}

impl Capacity {
    /// Of a configuration, in a process that may have so many file descriptors.
    pub fn new(config: &Config, descriptors: u64) -> Self {
        let reserve = u64::from(reserve(config, descriptors));
        let spare = BASE_DESCRIPTORS + stocks(config) * reserve * DESCRIPTORS_PER_PAIR;
        Self {
            by_ports: by_ports(config),
            by_descriptors: descriptors.saturating_sub(spare) / DESCRIPTORS_PER_CALL,
            descriptors,
        }
    }

    /// The smaller of both.
    pub fn calls(&self) -> u64 {
        self.by_ports.min(self.by_descriptors)
    }
}

/// Pairs of ports that each relay thread keeps bound on each address beyond those in use, so that as
/// many calls may begin in one moment: a thousand, but no more than an eighth of all descriptors.
pub(super) fn reserve(config: &Config, descriptors: u64) -> u16 {
    let share = descriptors / 8 / DESCRIPTORS_PER_PAIR / stocks(config).max(1);
    u16::try_from(share.clamp(1, MAX_RESERVE)).unwrap_or(u16::MAX)
}

/// How many relay threads keep pairs of how many addresses, multiplied.
fn stocks(config: &Config) -> u64 {
    let addresses: u64 = config.media.iter().map(|pool| pool.addresses.len() as u64).sum();
    addresses * config.workers as u64
}

/// The most file descriptors that this process may have: the hard limit.
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard one; how many file descriptors there may be then.
pub(super) fn raise_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => soft.unwrap_or(u64::MAX),
    }
}

/// A call takes a pair on each side. Between an edge and a realm each side has its pools; within
/// one kind, both pairs come from the same.
fn by_ports(config: &Config) -> u64 {
    let edges: BTreeSet<usize> = config.edges.iter().map(|edge| edge.media).collect();
    let realms: BTreeSet<usize> = config.realms.iter().map(|realm| realm.media).collect();
    let pairs = |pools: &mut dyn Iterator<Item = &usize>| -> u64 {
        pools.map(|pool| config.media[*pool].pairs() as u64).sum()
    };
    let all = pairs(&mut edges.union(&realms)) / 2;
    let one = |pools: &BTreeSet<usize>| {
        if pools.is_empty() { u64::MAX } else { pairs(&mut pools.iter()) }
    };
    all.min(one(&edges)).min(one(&realms))
}

/// At 2,500 calls a second these last for 0.4 s without a turn of the relay thread.
const MAX_RESERVE: u64 = 1024;
/// RTP and RTCP.
const DESCRIPTORS_PER_PAIR: u64 = 2;
/// Two pairs, and the quarter more that the relay keeps bound under load.
const DESCRIPTORS_PER_CALL: u64 = 2 * DESCRIPTORS_PER_PAIR + 1;
/// Listeners, connections, files.
const BASE_DESCRIPTORS: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::example;

    fn pairs(config: &mut Config, pool: usize, pairs: u16) {
        let address = &mut config.media[pool].addresses[0];
        address.ports = 20000..=20000 + 2 * pairs - 1;
        config.media[pool].addresses.truncate(1);
    }

    #[test]
    fn the_smaller_side_counts() {
        let mut config = example();
        let (edge, realm) = (config.edges[0].media, config.realms[0].media);
        assert_ne!(edge, realm);
        for (at_edge, at_realm, calls) in [(100, 100, 100), (100, 30, 30), (30, 100, 30)] {
            pairs(&mut config, edge, at_edge);
            pairs(&mut config, realm, at_realm);
            assert_eq!(by_ports(&config), calls);
        }
    }

    #[test]
    fn a_pool_used_by_both_sides_gives_half() {
        let mut config = example();
        let edge = config.edges[0].media;
        pairs(&mut config, edge, 100);
        config.realms[0].media = edge;
        assert_eq!(by_ports(&config), 50);
        config.edges.clear();
        assert_eq!(by_ports(&config), 50);
    }

    #[test]
    fn few_descriptors_are_few_calls() {
        let config = example();
        assert_eq!(Capacity::new(&config, 100).calls(), 0);
        let plenty = Capacity::new(&config, 1 << 20);
        assert_eq!(plenty.calls(), plenty.by_ports);
        assert_eq!(plenty.by_descriptors / 1000, 208, "{plenty:?}");
    }

    #[test]
    fn the_reserve_takes_a_small_part_of_the_descriptors() {
        let config = example();
        let stocks = stocks(&config);
        assert!(stocks > 0);
        for (descriptors, pairs) in [(0, 1), (16 * stocks * 100, 100), (u64::MAX, 1024)] {
            assert_eq!(u64::from(reserve(&config, descriptors)), pairs);
        }
    }
}
