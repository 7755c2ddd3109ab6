//! Which trunks may speak to a realm from an address: by the lengths of the networks that are in use, the longest
//! first, one look-up for each. Three or four lengths are usual, whatever the number of trunks.

use std::collections::HashMap;
use std::net::IpAddr;

use config::Config;
use ipnet::IpNet;

use super::{RealmId, TrunkId};

/// The networks of all trunks.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// In the order of the configuration.
    trunks: HashMap<(usize, IpNet), Vec<TrunkId>>,
    /// Of each realm, longest first, for IPv4 and IPv6.
    lengths: HashMap<usize, [Vec<u8>; 2]>,
}

impl Sources {
    pub(super) fn new(config: &Config) -> Self {
        let mut sources = Self::default();
        for (index, trunk) in config.trunks.iter().enumerate() {
            for network in &trunk.networks {
                let (realm, network) = (trunk.realm, network.trunc());
                let found = sources.trunks.entry((realm, network)).or_default();
                if found.last() != Some(&TrunkId(index)) {
                    found.push(TrunkId(index));
                }
                let lengths = &mut sources.lengths.entry(realm).or_default();
                let lengths = &mut lengths[family(network.addr())];
                if let Err(at) = lengths.binary_search_by(|len| network.prefix_len().cmp(len)) {
                    lengths.insert(at, network.prefix_len());
                }
            }
        }
        sources
    }

    /// The trunks of a realm whose networks contain the address, those of the narrowest network first.
    pub(super) fn of(
        &self,
        realm: RealmId,
        source: IpAddr,
    ) -> impl Iterator<Item = (u8, &[TrunkId])> {
        let lengths = self.lengths.get(&realm.0).map(|lengths| &lengths[family(source)][..]);
        lengths.unwrap_or_default().iter().filter_map(move |length| {
            let network = IpNet::new(source, *length).ok()?.trunc();
            Some((*length, &self.trunks.get(&(realm.0, network))?[..]))
        })
    }
}

fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}
