//! Calls for help, as they begin: in whose name they go, and who may be called back after one.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::Serialize;

use super::{Core, Output};
use crate::cdr::timestamp;
use crate::numbers::{Masked, Number};
use crate::profile::Caller;
use crate::routing::{End, TenantId};

/// A call for help, as others are told of it: its JSON object is what the webhook gets. Numbers are not masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HelpCall {
    /// The call's UUID, as in its record.
    pub id: String,
    /// The node that has it.
    pub node: String,
    /// When it came: RFC 3339, UTC.
    pub t: String,
    /// Whose call it is, or
    pub tenant: Option<String>,
    /// by which trunk it came.
    pub trunk: Option<String>,
    /// Where the caller is.
    pub site: Option<String>,
    /// Who calls.
    pub caller: Option<String>,
    /// The number that is shown, at which the caller is called back.
    pub shown: Option<String>,
    /// The number that was called.
    pub called: String,
    /// Why it was refused; `None`: it goes on.
    pub refused: Option<&'static str>,
}

/// In whose name a call for help goes out.
pub(super) struct ForHelp {
    site: Option<String>,
    number: Option<String>,
    shown: Option<String>,
    /// Whether whoever calls the shown number back means this tenant.
    own: bool,
}

impl Core {
    /// Whom a call of a trunk means that calls back whoever called for help.
    pub(super) fn called_back(
        &self,
        from: End,
        called: &Number,
        wall: SystemTime,
    ) -> Option<(TenantId, Number)> {
        let (End::Trunk(_), Number::Public(number)) = (from, called) else { return None };
        let back = self.callbacks.find(number, wall)?;
        let tenant = self.routes.tenant_named(&back.tenant)?;
        Some((tenant, Number::read(back.caller.as_bytes(), None)?))
    }

    /// A call for help that is to be: its caller, a tenant's in the name of its site.
    pub(super) fn for_help(
        &self,
        from: End,
        caller: Caller,
        wall: SystemTime,
    ) -> (Caller, ForHelp) {
        let number = caller.shown().map(|(user, _)| user.to_owned());
        let (End::Tenant(id), Some(known)) = (from, &number) else {
            let shown = number.clone();
            return (caller, ForHelp { site: None, number, shown, own: false });
        };
        let routes = &self.routes;
        let site = routes.site_of(from, known);
        let elins: Vec<String> =
            site.iter().flat_map(|site| &site.elins).map(ToString::to_string).collect();
        let tenant = &routes.config().tenants[id.0].name;
        let elin = self.callbacks.choose(&elins, tenant, known, wall);
        let shown = elin.unwrap_or(known).clone();
        // In another's name it is not called back there: that number is not this tenant's.
        let own = elin.is_some() || routes.may_show(from, &shown);
        let caller = match elin {
            Some(elin) => caller.replaced([true; 2], Some(elin)),
            None => caller,
        };
        let site = site.map(|site| site.name.clone());
        (caller, ForHelp { site, number, shown: Some(shown), own })
    }

    /// It begins: it is told, and whoever is shown may be called back.
    pub(super) fn note_for_help(
        &mut self,
        call: ForHelp,
        (id, from, called): (&str, End, &str),
        (wall, now): (SystemTime, Instant),
    ) {
        let ForHelp { site, number, shown, own } = call;
        let help =
            HelpCall { site, caller: number, shown, ..self.help_call(id, from, called, wall) };
        if let (true, Some(tenant), Some(number), Some(shown)) =
            (own, &help.tenant, &help.caller, &help.shown)
        {
            self.callbacks.note(shown, tenant, number, wall);
            self.outputs.push_back(Output::Callbacks(self.callbacks.all()));
        }
        self.tell_of_help(help, now);
    }

    /// What is known of a call for help before its caller is.
    pub(super) fn help_call(
        &self,
        id: &str,
        from: End,
        called: &str,
        wall: SystemTime,
    ) -> HelpCall {
        let name = Some(self.routes.name(from).to_owned());
        let (tenant, trunk) = match from {
            End::Tenant(_) => (name, None),
            End::Trunk(_) => (None, name),
        };
        HelpCall {
            id: id.to_owned(),
            node: self.routes.config().gateway.node.clone(),
            t: timestamp(wall),
            tenant,
            trunk,
            site: None,
            caller: None,
            shown: None,
            called: called.to_owned(),
            refused: None,
        }
    }

    /// A line in the log, and the webhook.
    pub(super) fn tell_of_help(&mut self, call: HelpCall, now: Instant) {
        let routes = Arc::clone(&self.routes);
        let config = routes.config();
        let masked = |number: &Option<String>| {
            let hidden = config.log.mask_numbers;
            number.as_ref().map(|number| Masked::new(number, hidden).to_string())
        };
        if let Some(untold) = self.help_lines.note(LINES, now) {
            tracing::warn!(
                call = call.id,
                tenant = call.tenant,
                trunk = call.trunk,
                site = call.site,
                caller = masked(&call.caller),
                shown = masked(&call.shown),
                refused = call.refused,
                untold = (untold > 0).then_some(untold),
                "a call for help"
            );
        }
        if let Some(url) = config.gateway.emergency_webhook.clone() {
            self.outputs.push_back(Output::Help { url, call: Box::new(call) });
        }
    }
}

/// Lines a second of calls for help; what comes beyond is counted in the next.
const LINES: u32 = 50;
