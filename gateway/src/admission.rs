//! Admission: a call goes on only with a [`Permit`], which counts it against every tenant at its ends. A call for help counts
//! as well, and is never one too many.
//!
//! Tenants are counted by name, so that a limit holds across configurations: a call that began under a former one
//! still takes its place.

use std::collections::HashMap;
use std::sync::Arc;

use crate::failure::Cause;
use crate::routing::{End, Routes};

/// How many calls each tenant has, and whether new ones are taken at all. Bounded by the calls: a tenant without any is
/// not kept.
#[derive(Debug, Default)]
pub struct Admission {
    calls: HashMap<Arc<str>, u32>,
    /// Calls in another process of an upgrade.
    elsewhere: HashMap<String, u32>,
    draining: bool,
}

/// The proof that a call may be made from one end to the other. Given back by [`Admission::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back counts for ever"]
pub struct Permit {
    tenants: [Option<Arc<str>>; 2],
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

    /// Admits a call, for help or not, or says why not.
    pub fn admit(
        &mut self,
        routes: &Routes,
        from: End,
        to: End,
        help: bool,
    ) -> Result<Permit, Cause> {
        if self.draining {
            return Err(Cause::Draining);
        }
        let config = routes.config();
        for tenant in tenants(from, to).into_iter().flatten() {
            let tenant = &config.tenants[tenant];
            let elsewhere = self.elsewhere.get(&tenant.name).copied().unwrap_or(0);
            let calls = self.calls(&tenant.name).saturating_add(elsewhere);
            if calls >= tenant.max_calls.unwrap_or(u32::MAX) && !help {
                return Err(Cause::TenantFull);
            }
        }
        Ok(self.count(routes, from, to))
    }

    /// Counts a call that another process admitted, whatever the limits are now.
    pub fn readmit(&mut self, routes: &Routes, from: End, to: End) -> Permit {
        self.count(routes, from, to)
    }

    fn count(&mut self, routes: &Routes, from: End, to: End) -> Permit {
        let name = |tenant: usize| Arc::from(routes.config().tenants[tenant].name.as_str());
        let permit = Permit { tenants: tenants(from, to).map(|tenant| tenant.map(name)) };
        for tenant in permit.tenants.iter().flatten() {
            *self.calls.entry(Arc::clone(tenant)).or_default() += 1;
        }
        permit
    }

    /// Takes a permit back when its call is over.
    pub fn release(&mut self, permit: &Permit) {
        for tenant in permit.tenants.iter().flatten() {
            if let Some(calls) = self.calls.get_mut(tenant) {
                *calls -= 1;
                if *calls == 0 {
                    self.calls.remove(tenant);
                }
            }
        }
    }

    /// Another process of an upgrade has so many calls, by the names of tenants.
    pub fn set_elsewhere(&mut self, calls: HashMap<String, u32>) {
        self.elsewhere = calls;
    }

    /// How many calls each tenant has, here and elsewhere, by name.
    pub fn by_tenant(&self) -> Vec<(String, u32)> {
        let mut all = self.elsewhere.clone();
        for (tenant, calls) in &self.calls {
            *all.entry(tenant.to_string()).or_default() += calls;
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort();
        all
    }

    /// How many calls a tenant has now.
    pub fn calls(&self, tenant: &str) -> u32 {
        self.calls.get(tenant).copied().unwrap_or(0)
    }
}

/// The tenants at both ends, each once, by their positions.
fn tenants(from: End, to: End) -> [Option<usize>; 2] {
    let tenant = |end| match end {
        End::Tenant(id) => Some(id.0),
        End::Trunk(_) => None,
    };
    [tenant(from), tenant(to).filter(|_| to != from)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::tests::routes;
    use crate::routing::{TenantId, TrunkId};

    #[test]
    fn a_full_tenant_is_refused_and_its_neighbour_is_not() {
        let routes = routes();
        let (full, other) = (End::Tenant(TenantId(0)), End::Tenant(TenantId(1)));
        let trunk = End::Trunk(TrunkId(0));
        let mut admission = Admission::default();
        let first = admission.admit(&routes, trunk, full, false).unwrap();
        let _second = admission.admit(&routes, full, trunk, false).unwrap();
        assert_eq!(admission.admit(&routes, trunk, full, false), Err(Cause::TenantFull));
        assert_eq!(admission.admit(&routes, other, full, false), Err(Cause::TenantFull));
        assert_eq!(admission.calls("t002"), 0, "a refused call counts for nobody");
        assert!(admission.admit(&routes, trunk, other, false).is_ok());
        admission.release(&first);
        assert!(admission.admit(&routes, trunk, full, false).is_ok());
    }

    #[test]
    fn r05_a_tenant_counts_by_its_name_whatever_its_place_is() {
        let before = routes();
        let mut config = before.config().clone();
        config.tenants.reverse();
        config.tenants[1].max_calls = Some(1);
        let after = Routes::new(Arc::new(config));
        let trunk = End::Trunk(TrunkId(0));
        let mut admission = Admission::default();
        let permit = admission.admit(&before, trunk, End::Tenant(TenantId(0)), false).unwrap();
        assert_eq!(admission.calls("t001"), 1);
        let full = admission.admit(&after, trunk, End::Tenant(TenantId(1)), false);
        assert_eq!(full, Err(Cause::TenantFull), "another limit, the same tenant");
        let other = admission.admit(&after, trunk, End::Tenant(TenantId(0)), false).unwrap();
        admission.release(&permit);
        assert_eq!((admission.calls("t001"), admission.calls("t002")), (0, 1));
        admission.release(&other);
        assert!(admission.calls.is_empty());
    }

    #[test]
    fn a_restored_call_counts_though_its_tenant_is_full() {
        let routes = routes();
        let (full, trunk) = (End::Tenant(TenantId(0)), End::Trunk(TrunkId(0)));
        let mut admission = Admission::default();
        let permits: Vec<_> = (0..5).map(|_| admission.readmit(&routes, trunk, full)).collect();
        assert_eq!(admission.calls("t001"), 5);
        assert_eq!(admission.admit(&routes, trunk, full, false), Err(Cause::TenantFull));
        permits.iter().for_each(|permit| admission.release(permit));
        assert!(admission.admit(&routes, trunk, full, false).is_ok());
    }

    #[test]
    fn tr_068_a_call_for_help_counts_and_is_never_one_too_many() {
        let routes = routes();
        let (full, trunk) = (End::Tenant(TenantId(0)), End::Trunk(TrunkId(0)));
        let mut admission = Admission::default();
        let permits: Vec<_> = [false, false, true, true]
            .map(|help| admission.admit(&routes, full, trunk, help).unwrap())
            .into();
        assert_eq!(admission.calls("t001"), 4);
        permits[..2].iter().for_each(|permit| admission.release(permit));
        assert_eq!(admission.admit(&routes, full, trunk, false), Err(Cause::TenantFull));
        permits[2..].iter().for_each(|permit| admission.release(permit));
        assert!(admission.admit(&routes, full, trunk, false).is_ok());
        admission.drain();
        assert_eq!(admission.admit(&routes, full, trunk, true), Err(Cause::Draining));
    }

    #[test]
    fn draining_admits_nobody() {
        let mut admission = Admission::default();
        admission.drain();
        let refused =
            admission.admit(&routes(), End::Trunk(TrunkId(0)), End::Tenant(TenantId(1)), false);
        assert_eq!(refused, Err(Cause::Draining));
    }
}
