//! The ordered choice made for one call: which hops to try, one after the other.

use super::{EdgeId, End, Routes, TenantId, TrunkId};
use crate::failure::Cause;
use crate::numbers::Number;

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
}

impl Routes {
    /// The plan for a call from `from` to `called`.
    ///
    /// First whoever owns the number and takes calls from there; otherwise the caller's outbound trunks. Proxies for
    /// which `is_down` holds are tried last, not left out.
    pub fn plan(
        &self,
        from: End,
        called: &Number,
        is_down: impl Fn(EdgeId, usize) -> bool,
    ) -> Result<Plan, Cause> {
        let owner = match from {
            End::Tenant(tenant) => self.owner_from_tenant(tenant, called),
            End::Trunk(trunk) => self.owner_from_trunk(trunk, called),
        };
        let hops = match owner {
            Some(End::Tenant(tenant)) => self.hops_to_tenant(tenant, is_down),
            Some(End::Trunk(trunk)) => self.hops_to_trunk(trunk).collect(),
            None => self.hops_out(from),
        };
        if hops.is_empty() {
            return Err(match from {
                End::Tenant(_) => Cause::NoRoute,
                End::Trunk(_) => Cause::UnknownNumber,
            });
        }
        Ok(Plan { hops })
    }

    fn hops_to_tenant(
        &self,
        tenant: TenantId,
        is_down: impl Fn(EdgeId, usize) -> bool,
    ) -> Vec<Hop> {
        let mut hops = Vec::new();
        for name in &self.config.tenants[tenant.0].names {
            let edge = EdgeId(name.edge);
            for proxy in 0..self.config.edges[edge.0].proxies.len() {
                hops.push(Hop::Proxy { tenant, edge, proxy });
            }
        }
        // Stable: the configured order stays within the healthy and within the others.
        hops.sort_by_key(|hop| match hop {
            Hop::Proxy { edge, proxy, .. } => is_down(*edge, *proxy),
            Hop::Peer { .. } => false,
        });
        hops
    }

    fn hops_to_trunk(&self, trunk: TrunkId) -> impl Iterator<Item = Hop> + use<> {
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
