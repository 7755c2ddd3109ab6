//! Whom a number means: the owner of a number, as seen from a trunk or a tenant.

use std::borrow::Cow;

use config::NumberState;

use super::{End, Routes, TenantId, TrunkId};
use crate::numbers::Number;

impl Routes {
    /// Who has this number and takes calls from that trunk.
    pub fn owner_from_trunk(&self, trunk: TrunkId, called: &Number) -> Option<End> {
        let number = config::Number::parse(&plus(called.as_str()))?;
        if number.is_private() {
            return self.private.get(&trunk)?.of(number);
        }
        self.public.of(number).filter(|end| self.takes_from(*end, trunk))
    }

    /// Who else has this public number and takes calls from a trunk by which this tenant's calls leave: the call stays
    /// in the house instead of going out to the carrier and back.
    pub fn owner_from_tenant(&self, tenant: TenantId, called: &Number) -> Option<End> {
        let number = config::Number::parse(&plus(called.as_str()))?;
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

    /// What the number of an end is in; what it has not is active.
    pub(super) fn state_of_called(&self, end: End, called: &Number) -> NumberState {
        let number = config::Number::parse(&plus(called.as_str()));
        number.map_or(NumberState::Active, |number| self.state_of(end, number))
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
        let in_use = owner.is_none_or(|owner| self.state_of(owner, number).is_in_use());
        in_use
            && match from {
                End::Tenant(_) => owner == Some(from),
                End::Trunk(trunk) => {
                    owner.is_none_or(|owner| owner == from || self.takes_from(owner, trunk))
                }
            }
    }

    /// Never back to where it came from: that would be a loop.
    fn takes_from(&self, end: End, trunk: TrunkId) -> bool {
        end != End::Trunk(trunk) && self.inbound.takes(end, trunk)
    }
}

/// Private numbers are configured with a plus; callers may leave it out.
pub(super) fn plus(number: &str) -> Cow<'_, str> {
    if number.starts_with('+') { number.into() } else { format!("+{number}").into() }
}
