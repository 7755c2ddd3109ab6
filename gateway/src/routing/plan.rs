//! The ordered choice made for one call: which hops to try, one after the other.

use std::fmt;

use config::{Host, NumberState};
use sip_stack::locate::{Destination, Family};
use sip_stack::transport::Transport;

use super::share::share;
use super::{EdgeId, End, Routes, TenantId, TrunkId};
use crate::failure::Cause;
use crate::numbers::Number;
use crate::profile::trunk::from_config;
use crate::random::Random;

/// A next hop of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A tenant, by one proxy (position in [`config::Edge::proxies`]) of one of its edges.
    Proxy {
        /// Who is called.
        tenant: TenantId,
        /// By which edge.
        edge: EdgeId,
        /// By which of its proxies.
        proxy: usize,
    },
    /// A peer (position in [`config::Trunk::peers`]) of a trunk.
    Peer {
        /// Which trunk.
        trunk: TrunkId,
        /// Which of its peers.
        peer: usize,
    },
}

/// Where a hop leads, whoever is called by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A proxy of an edge.
    Proxy {
        /// Of which edge.
        edge: EdgeId,
        /// Position in [`config::Edge::proxies`].
        proxy: usize,
    },
    /// A peer of a trunk.
    Peer {
        /// Of which trunk.
        trunk: TrunkId,
        /// Position in [`config::Trunk::peers`].
        peer: usize,
    },
}

/// What a place is called: the same in every configuration that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceName {
    /// A proxy of an edge.
    Proxy {
        /// Name of the edge.
        edge: String,
        /// Host name of the proxy.
        proxy: String,
    },
    /// A peer of a trunk.
    Peer {
        /// Name of the trunk.
        trunk: String,
        /// The peer as configured, such as `udp:192.0.2.50:5060`.
        peer: String,
    },
}

/// How a place is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By RFC 3263.
    Locate(Destination),
    /// Where the trunk of that name has registered with us from.
    Registered(String),
}

/// Where a call goes: never empty, in the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The hops to try.
    pub hops: Vec<Hop>,
}

impl Hop {
    /// The end that this hop belongs to.
    pub const fn end(self) -> End {
        match self {
            Self::Proxy { tenant, .. } => End::Tenant(tenant),
            Self::Peer { trunk, .. } => End::Trunk(trunk),
        }
    }

    /// Where it leads.
    pub const fn place(self) -> Place {
        match self {
            Self::Proxy { edge, proxy, .. } => Place::Proxy { edge, proxy },
            Self::Peer { trunk, peer } => Place::Peer { trunk, peer },
        }
    }
}

impl fmt::Display for PlaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy { proxy, .. } => f.write_str(proxy),
            Self::Peer { peer, .. } => f.write_str(peer),
        }
    }
}

impl Routes {
    /// The plan for a call from `from` to `called`.
    ///
    /// First whoever owns the number and takes calls from there; otherwise the caller's outbound trunks, or those for calls for
    /// help. Places of a higher rank are tried later, not left out; among equals the configured order stays, but for peers
    /// that share their trunk's calls by weight.
    pub fn plan(
        &self,
        from: End,
        called: &Number,
        help: bool,
        rank: impl Fn(Place) -> u8,
        random: &mut Random,
    ) -> Result<Plan, Cause> {
        let owner = match from {
            End::Tenant(tenant) => self.owner_from_tenant(tenant, called),
            End::Trunk(trunk) => self.owner_from_trunk(trunk, called),
        };
        let state = owner.map(|owner| self.state_of_called(owner, called));
        let owner = match (from, state) {
            (_, Some(NumberState::Reserved | NumberState::Quarantine)) => {
                return Err(Cause::NumberNotInUse);
            }
            // It may still be at another carrier: whoever has it there is reached by the public network.
            (End::Tenant(_), Some(NumberState::Porting)) => None,
            (_, Some(NumberState::Active | NumberState::Porting) | None) => owner,
        };
        let mut hops: Vec<Hop> = match owner {
            Some(End::Tenant(tenant)) => self.hops_to_tenant(tenant),
            Some(End::Trunk(trunk)) => self.hops_to_trunk(trunk).collect(),
            None if help => self.hops_for_help(from),
            None if self.bars(from, called) => return Err(Cause::Barred),
            None => self.hops_out(from),
        };
        if hops.is_empty() && help {
            hops = self.hops_out(from);
        }
        hops.sort_by_key(|hop| rank(hop.place()));
        share(&mut hops, |hop| self.weight(hop), |hop| rank(hop.place()), random);
        if hops.is_empty() {
            return Err(match from {
                End::Tenant(_) => Cause::NoRoute,
                End::Trunk(_) => Cause::UnknownNumber,
            });
        }
        Ok(Plan { hops })
    }

    fn weight(&self, hop: Hop) -> Option<u16> {
        match hop {
            Hop::Proxy { .. } => None,
            Hop::Peer { trunk, peer } => self.config.trunks[trunk.0].peers[peer].weight,
        }
    }

    /// What a place is called.
    pub fn place_name(&self, place: Place) -> PlaceName {
        match place {
            Place::Proxy { edge, proxy } => {
                let edge = &self.config.edges[edge.0];
                PlaceName::Proxy { edge: edge.name.clone(), proxy: edge.proxies[proxy].clone() }
            }
            Place::Peer { trunk, peer } => {
                let trunk = &self.config.trunks[trunk.0];
                PlaceName::Peer { trunk: trunk.name.clone(), peer: trunk.peers[peer].to_string() }
            }
        }
    }

    /// How a place is found.
    pub fn reach(&self, place: Place) -> Reach {
        match place {
            Place::Proxy { edge, proxy } => {
                let edge = &self.config.edges[edge.0];
                Reach::Locate(Destination {
                    host: edge.proxies[proxy].clone(),
                    port: Some(edge.port),
                    transport: Some(Transport::Tls),
                    secure: false,
                    family: Family::Any,
                })
            }
            Place::Peer { trunk, peer } => {
                let trunk = &self.config.trunks[trunk.0];
                let peer = &trunk.peers[peer];
                if peer.host == Host::Registered {
                    return Reach::Registered(trunk.name.clone());
                }
                Reach::Locate(Destination {
                    host: peer.host.to_string().trim_matches(['[', ']']).to_owned(),
                    port: peer.port,
                    transport: Some(from_config(peer.transport)),
                    secure: false,
                    family: Family::Any,
                })
            }
        }
    }

    pub(super) fn hops_to_tenant(&self, tenant: TenantId) -> Vec<Hop> {
        let mut hops = Vec::new();
        for name in &self.config.tenants[tenant.0].names {
            let edge = EdgeId(name.edge);
            for proxy in 0..self.config.edges[edge.0].proxies.len() {
                hops.push(Hop::Proxy { tenant, edge, proxy });
            }
        }
        hops
    }

    pub(super) fn hops_to_trunk(&self, trunk: TrunkId) -> impl Iterator<Item = Hop> + use<> {
        (0..self.config.trunks[trunk.0].peers.len()).map(move |peer| Hop::Peer { trunk, peer })
    }

    fn hops_out(&self, from: End) -> Vec<Hop> {
        let (trunks, except) = match from {
            End::Tenant(id) => (&self.config.tenants[id.0].trunks, None),
            End::Trunk(id) => (&self.config.trunks[id.0].trunks, Some(id)),
        };
        trunks
            .iter()
            .map(|trunk| TrunkId(*trunk))
            .filter(|trunk| Some(*trunk) != except)
            .flat_map(|trunk| self.hops_to_trunk(trunk))
            .collect()
    }
}
