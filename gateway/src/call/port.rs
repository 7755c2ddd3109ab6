//! The media ports of a call: which pool a side takes them from, and what its peer is told.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use config::Config;
use ipnet::IpNet;
use media_relay::{Family, PoolConfig, PoolId, Port, Ports, Want};

use crate::routing::{EdgeId, End, Hop, RealmId, Routes};

/// Every media address of the configuration, as the relay needs them and as peers are told.
#[derive(Clone, Debug)]
pub struct Pools {
    configs: Vec<PoolConfig>,
    /// By (pool, index): the address that peers are told.
    public: Vec<Vec<IpAddr>>,
}

/// The reserved ports of one call, and where more come from. What is reserved stays known here when a call fails.
pub struct PortBook<'a> {
    /// All ports.
    pub ports: &'a mut Ports,
    /// The addresses.
    pub pools: &'a Pools,
    /// What this call holds.
    pub held: &'a mut Vec<Port>,
    /// It is a call for help: it may have what is kept back.
    pub urgent: bool,
}

impl Pools {
    /// Reads the media pools of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut pools = Self { configs: Vec::new(), public: Vec::new() };
        for (index, pool) in config.media.iter().enumerate() {
            let id = pool_id(index);
            pools
                .public
                .push(pool.addresses.iter().map(|a| a.advertise.unwrap_or(a.address)).collect());
            pools.configs.extend(pool.addresses.iter().map(|a| PoolConfig {
                id,
                address: a.address,
                ports: a.ports.clone(),
                dscp: a.dscp,
            }));
        }
        pools
    }

    /// What the relay is started with.
    pub fn configs(&self) -> &[PoolConfig] {
        &self.configs
    }

    /// Every pool.
    pub fn ids(&self) -> impl Iterator<Item = PoolId> + use<> {
        (0..self.public.len()).map(pool_id)
    }

    /// The address that a peer is told for this port.
    pub fn address(&self, port: Port) -> IpAddr {
        let told = self.public.get(usize::from(port.pool.0));
        *told
            .and_then(|addresses| addresses.get(usize::from(port.index)))
            .expect("ports come from the pools of this very configuration")
    }

    /// A port of another process, under the numbers that its address has here: the address that the peer was told, and
    /// the port number.
    pub fn find(&self, told: IpAddr, port: Port) -> Option<Port> {
        let places = self.public.iter().enumerate().flat_map(|(pool, addresses)| {
            addresses
                .iter()
                .enumerate()
                .map(move |(index, address)| (pool_id(pool), index, *address))
        });
        let found = places.filter(|(pool, index, address)| {
            let config = self.configs.iter().filter(|config| config.id == *pool).nth(*index);
            *address == told && config.is_some_and(|config| config.ports.contains(&port.number))
        });
        let found = found.map(|(pool, index, _)| Port { pool, index: index as u8, ..port });
        // Two pools may share an address behind which they cannot be told apart; then its old place counts.
        found.max_by_key(|found| (found.pool, found.index) == (port.pool, port.index))
    }

    /// The pool of an edge.
    pub fn of_edge(&self, config: &Config, edge: EdgeId) -> PoolId {
        pool_id(config.edges[edge.0].media)
    }

    /// The pool of a realm.
    pub fn of_realm(&self, config: &Config, realm: RealmId) -> PoolId {
        pool_id(config.realms[realm.0].media)
    }

    /// The pool of a hop.
    pub fn of_hop(&self, routes: &Routes, hop: Hop) -> PoolId {
        let config = routes.config();
        match hop {
            Hop::Proxy { edge, .. } => self.of_edge(config, edge),
            Hop::Peer { trunk, .. } => self.of_realm(config, RealmId(config.trunks[trunk.0].realm)),
        }
    }

    /// Whether a pool has an address of that family.
    pub fn has(&self, pool: PoolId, ipv6: bool) -> bool {
        self.configs.iter().any(|c| c.id == pool && c.address.is_ipv6() == ipv6)
    }

    /// What to ask for: an address of the peer's family if the pool has one, else any.
    pub fn want(&self, pool: PoolId, ipv6: bool) -> Want {
        let family = match (self.has(pool, ipv6), ipv6) {
            (false, _) => Family::Any,
            (true, true) => Family::V6,
            (true, false) => Family::V4,
        };
        Want { pool, family, urgent: false }
    }
}

impl PortBook<'_> {
    /// The address that a peer is told for this port.
    pub fn address(&self, port: Port) -> IpAddr {
        self.pools.address(port)
    }

    /// The port of the callee's side for a hop: the one it has, when that fits, else another of the same shard.
    pub fn for_hop(
        &mut self,
        routes: &Routes,
        hop: Hop,
        remote: SocketAddr,
        before: Port,
        now: Instant,
    ) -> Option<Port> {
        let pool = self.pools.of_hop(routes, hop);
        let ipv6 = remote.is_ipv6();
        let fits = |port: Port| {
            let families_differ = self.pools.want(pool, ipv6).family != Family::Any
                && self.pools.address(port).is_ipv6() != ipv6;
            port.pool == pool && !families_differ
        };
        if fits(before) {
            return Some(before);
        }
        self.another(routes, hop, remote, before.shard, now)
    }

    /// A port that was not used after all, if there is one.
    pub fn give_back(&mut self, port: Option<Port>, now: Instant) {
        let Some(port) = port else { return };
        if let Some(at) = self.held.iter().position(|held| *held == port) {
            self.held.swap_remove(at);
            self.ports.release(port, now);
        }
    }

    /// A further port like this one: of its shard, pool and family.
    pub fn beside(&mut self, port: Port, now: Instant) -> Option<Port> {
        let want = self.pools.want(port.pool, self.pools.address(port).is_ipv6());
        let want = Want { urgent: self.urgent, ..want };
        let beside = self.ports.reserve_in(port.shard, want, now)?;
        self.held.push(beside);
        Some(beside)
    }

    /// A further port for a hop, of this shard.
    pub fn another(
        &mut self,
        routes: &Routes,
        hop: Hop,
        remote: SocketAddr,
        shard: u8,
        now: Instant,
    ) -> Option<Port> {
        let pool = self.pools.of_hop(routes, hop);
        let want = Want { urgent: self.urgent, ..self.pools.want(pool, remote.is_ipv6()) };
        let port = self.ports.reserve_in(shard, want, now)?;
        self.held.push(port);
        Some(port)
    }
}

/// The networks from which plain media of an end may come besides the signalled address. Where it has registered with us, the
/// address that it signals from is one: the SDP of a peer behind a NAT names another.
pub fn sources(routes: &Routes, end: End, peer: IpAddr) -> Vec<IpNet> {
    let End::Trunk(trunk) = end else { return Vec::new() };
    let allowed = &routes.config().trunks[trunk.0].media_networks;
    let mut networks = allowed.networks.clone();
    if allowed.signalled && routes.is_registered_at(Some(end), peer).is_some() {
        networks.push(IpNet::from(peer));
    }
    networks
}

fn pool_id(media: usize) -> PoolId {
    PoolId(u8::try_from(media).expect("the configuration admits fewer than 256 media pools"))
}
