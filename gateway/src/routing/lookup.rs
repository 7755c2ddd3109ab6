//! Whom a number means: the owner of a number, as seen from a trunk or a tenant.

use super::{End, Routes, TenantId, TrunkId};
use crate::numbers::Number;

impl Routes {
    /// Who has this number and takes calls from that trunk.
    pub fn owner_from_trunk(&self, trunk: TrunkId, called: &Number) -> Option<End> {
        let number = config::Number::parse(&plus(called))?;
        if number.is_private() {
            return self.private.get(&trunk)?.of(number);
        }
        self.public.of(number).filter(|end| self.takes_from(*end, trunk))
    }

    /// Who else has this public number and takes calls from a trunk by which this tenant's calls leave: the call stays
    /// in the house instead of going out to the carrier and back.
    pub fn owner_from_tenant(&self, tenant: TenantId, called: &Number) -> Option<End> {
        let number = config::Number::parse(&plus(called))?;
        let trunks = &self.config.tenants[tenant.0].trunks;
        if number.is_private() {
            let owned = trunks.iter().find_map(|t| self.private.get(&TrunkId(*t))?.of(number));
            // A private number of another tenant is nobody's business here.
            return owned.filter(|end| matches!(end, End::Trunk(_)));
        }
        self.public
            .of(number)
            .filter(|end| *end != End::Tenant(tenant))
            .filter(|end| trunks.iter().any(|trunk| self.takes_from(*end, TrunkId(*trunk))))
    }

    /// Whether this number, dialled by `from`, is an extension of a tenant, whatever it means elsewhere.
    pub fn is_extension(&self, from: End, called: &Number) -> bool {
        let owner = match from {
            End::Trunk(trunk) => self.owner_from_trunk(trunk, called),
            End::Tenant(tenant) => self.owner_from_tenant(tenant, called),
        };
        matches!(owner, Some(End::Tenant(_)))
    }

    /// Whether an end may say of this number that it has sent a call on: a tenant of its own numbers, a trunk of those that
    /// are its own, nobody's here, or somebody's who takes calls from it.
    pub fn may_divert(&self, from: End, number: &Number) -> bool {
        let Some(number) = config::Number::parse(number.as_str()) else { return false };
        let owner = self.public.of(number);
        match from {
            End::Tenant(_) => owner == Some(from),
            End::Trunk(trunk) => {
                owner.is_none_or(|owner| owner == from || self.takes_from(owner, trunk))
            }
        }
    }

    fn takes_from(&self, end: End, trunk: TrunkId) -> bool {
        match end {
            End::Tenant(id) => self.config.tenants[id.0].inbound_trunks.contains(&trunk.0),
            // Never back to where it came from: that would be a loop.
            End::Trunk(id) => {
                id != trunk && self.config.trunks[id.0].inbound_trunks.contains(&trunk.0)
            }
        }
    }
}

/// Private numbers are configured with a plus; callers may leave it out.
fn plus(number: &Number) -> String {
    let text = number.as_str();
    if text.starts_with('+') { text.to_owned() } else { format!("+{text}") }
}
