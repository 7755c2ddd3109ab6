//! Admission: a call goes on only with a [`Permit`], which counts it against every tenant at its ends.

use std::collections::HashMap;

use crate::failure::Cause;
use crate::routing::{End, Routes, TenantId};

/// How many calls each tenant has, and whether new ones are taken at all.
#[derive(Debug, Default)]
pub struct Admission {
    calls: HashMap<TenantId, u32>,
    draining: bool,
}

/// The proof that a call may be made from one end to the other. Given back by [`Admission::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back counts for ever"]
pub struct Permit {
    from: End,
    to: End,
}

impl Admission {
    /// From now on no call is admitted.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether new calls are refused because the daemon is stopping.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Admits a call, or says why not.
    pub fn admit(&mut self, routes: &Routes, from: End, to: End) -> Result<Permit, Cause> {
        if self.draining {
            return Err(Cause::Draining);
        }
        let permit = Permit { from, to };
        for tenant in permit.tenants() {
            let limit = routes.config().tenants[tenant.0].max_calls.unwrap_or(u32::MAX);
            if self.calls(tenant) >= limit {
                return Err(Cause::TenantFull);
            }
        }
        for tenant in permit.tenants() {
            *self.calls.entry(tenant).or_default() += 1;
        }
        Ok(permit)
    }

    /// Takes a permit back when its call is over.
    pub fn release(&mut self, permit: &Permit) {
        for tenant in permit.tenants() {
            if let Some(calls) = self.calls.get_mut(&tenant) {
                *calls = calls.saturating_sub(1);
            }
        }
    }

    /// How many calls a tenant has now.
    pub fn calls(&self, tenant: TenantId) -> u32 {
        self.calls.get(&tenant).copied().unwrap_or(0)
    }
}

impl Permit {
    /// Who calls.
    pub const fn from(&self) -> End {
        self.from
    }

    fn tenants(&self) -> impl Iterator<Item = TenantId> + use<> {
        let second = (self.to != self.from).then_some(self.to);
        std::iter::once(self.from).chain(second).filter_map(|end| match end {
            End::Tenant(id) => Some(id),
            End::Trunk(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TrunkId;
    use crate::routing::tests::routes;

    #[test]
    fn a_full_tenant_is_refused_and_its_neighbour_is_not() {
        let routes = routes();
        let (full, other) = (End::Tenant(TenantId(0)), End::Tenant(TenantId(1)));
        let trunk = End::Trunk(TrunkId(0));
        let mut admission = Admission::default();
        let first = admission.admit(&routes, trunk, full).unwrap();
        let _second = admission.admit(&routes, full, trunk).unwrap();
        assert_eq!(admission.admit(&routes, trunk, full), Err(Cause::TenantFull));
        assert_eq!(admission.admit(&routes, other, full), Err(Cause::TenantFull));
        assert_eq!(admission.calls(TenantId(1)), 0, "a refused call counts for nobody");
        assert!(admission.admit(&routes, trunk, other).is_ok());
        admission.release(&first);
        assert!(admission.admit(&routes, trunk, full).is_ok());
    }

    #[test]
    fn draining_admits_nobody() {
        let mut admission = Admission::default();
        admission.drain();
        let refused = admission.admit(&routes(), End::Trunk(TrunkId(0)), End::Tenant(TenantId(1)));
        assert_eq!(refused, Err(Cause::Draining));
    }
}
