//! Calls for help: which they are, by which trunks they go, as whom their callers are shown, and who is called back.

use std::collections::BTreeSet;

use config::{Config, Number, Site};

use super::{End, Hop, Place, Plan, Routes, TenantId, TrunkId};
use crate::emergency::{calls_for_help, is_among, is_emergency, is_for_help};
use crate::failure::Cause;
use crate::numbers::Number as Called;

impl Routes {
    /// Whether a call asks for help, where it comes from, by its Request-URI or by the number that it means; never where that is
    /// an extension of a tenant.
    pub fn is_help(&self, from: End, uri: &[u8], called: &Called) -> bool {
        let own = match from {
            End::Tenant(id) => self.config.tenants[id.0].emergency.numbers.as_ref(),
            End::Trunk(_) => None,
        };
        let country = self.country(from);
        let digits = called.as_str().trim_start_matches('+');
        let help = calls_for_help(uri, country, own)
            || !called.is_public() && is_for_help(digits, country, own);
        help && !self.is_extension(from, called)
    }

    /// Whether it may ask for help, by its Request-URI alone: by the numbers of any country or tenant.
    pub fn may_be_help(&self, uri: &[u8]) -> bool {
        is_emergency(uri) || is_among(uri, &self.help_of_tenants)
    }

    /// The site of a caller, where calls for help show another number than its own.
    pub fn site_of(&self, from: End, caller: &str) -> Option<&Site> {
        let End::Tenant(id) = from else { return None };
        let number = Number::parse(&super::lookup::plus(caller))?;
        let mut sites = self.config.tenants[id.0].emergency.sites.iter();
        sites.find(|site| site.numbers.contains_number(number))
    }

    /// The plan of a call to a tenant whatever the number: of one that is called back.
    ///
    /// # Errors
    /// [`Cause::NoRoute`] when no edge knows the tenant.
    pub fn plan_back(&self, tenant: TenantId, rank: impl Fn(Place) -> u8) -> Result<Plan, Cause> {
        let mut hops = self.hops_to_tenant(tenant);
        hops.sort_by_key(|hop| rank(hop.place()));
        if hops.is_empty() { Err(Cause::NoRoute) } else { Ok(Plan { hops }) }
    }

    /// A tenant by its name.
    pub fn tenant_named(&self, name: &str) -> Option<TenantId> {
        let found = self.config.tenants.binary_search_by(|tenant| tenant.name.as_str().cmp(name));
        found.ok().map(TenantId)
    }

    /// By which hops an end's calls for help go out.
    pub(super) fn hops_for_help(&self, from: End) -> Vec<Hop> {
        let (tenant, except) = match from {
            End::Tenant(id) => (Some(id.0), None),
            End::Trunk(id) => (self.config.trunks[id.0].owner, Some(id)),
        };
        let trunks = tenant.map_or(&[][..], |id| &self.config.tenants[id].emergency.trunks);
        let trunks = trunks.iter().map(|trunk| TrunkId(*trunk)).filter(|id| Some(*id) != except);
        trunks.flat_map(|trunk| self.hops_to_trunk(trunk)).collect()
    }
}

/// The numbers for help that tenants have of their own.
pub(super) fn help_of_tenants(config: &Config) -> BTreeSet<String> {
    let own = config.tenants.iter().filter_map(|tenant| tenant.emergency.numbers.as_ref());
    own.flatten().cloned().collect()
}
