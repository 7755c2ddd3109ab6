//! In whose name an end may call: whose a number is, and what becomes of a call in the name of another one.
//!
//! ```text
//! caller's number       | foreign_caller = main | refuse | pass
//! ----------------------+-----------------------+--------+------
//! its own, in use       | shown                 | shown  | shown
//! another one, diverted | shown                 | shown  | shown    an own number has sent the call on
//! another one           | main_number           | 403    | shown    a call for help: main_number in place of 403
//! ```
//!
//! A trunk in a tenant's file has its own numbers and the tenant's. One without numbers is a way to the public network, so
//! that the numbers of which nobody here knows are its own as well.

use config::{ForeignCaller, Number, NumberState};

use super::lookup::plus;
use super::{End, Routes, TenantId};
use crate::failure::Cause;
use crate::profile::Caller;

impl Routes {
    /// The caller as it may be shown. `diverted` says that a number of the end has sent the call on.
    ///
    /// # Errors
    /// [`Cause::ForeignCaller`] when the end may not call in that name, and calls in another are refused.
    pub fn granted(
        &self,
        from: End,
        caller: Caller,
        diverted: bool,
        help: bool,
    ) -> Result<Caller, Cause> {
        let (policy, _) = self.naming(from);
        if policy == ForeignCaller::Pass || diverted {
            return Ok(caller);
        }
        let foreign = |number: &str| !self.may_show(from, number);
        let shown = caller.shown().is_some_and(|(user, _)| foreign(user));
        let vouched = caller.vouched().is_some_and(foreign);
        if !shown && !vouched {
            return Ok(caller);
        }
        if policy == ForeignCaller::Refuse && !help {
            return Err(Cause::ForeignCaller);
        }
        let main = self.main_number(from).map(|number| number.to_string());
        Ok(caller.replaced([shown, vouched], main.as_deref()))
    }

    /// What a number of an end is in; active when it is not among its own.
    pub fn state_of(&self, end: End, number: Number) -> NumberState {
        match end {
            End::Tenant(id) => self.config.tenants[id.0].states.of(number),
            End::Trunk(id) => self.config.trunks[id.0].states.of(number),
        }
    }

    /// Whether an end has this number, and uses it.
    pub fn uses(&self, end: End, number: Number) -> bool {
        let numbers = match end {
            End::Tenant(id) => &self.config.tenants[id.0].numbers,
            End::Trunk(id) => &self.config.trunks[id.0].numbers,
        };
        numbers.contains_number(number) && self.state_of(end, number).is_in_use()
    }

    /// Whether a number is an end's own, to be shown in its calls.
    pub fn may_show(&self, from: End, number: &str) -> bool {
        let Some(number) = Number::parse(&plus(number)) else { return false };
        match from {
            End::Tenant(_) => self.uses(from, number),
            End::Trunk(id) => {
                let trunk = &self.config.trunks[id.0];
                let owner = trunk.owner.map(|tenant| End::Tenant(TenantId(tenant)));
                let public = trunk.numbers.is_empty() && !number.is_private();
                self.uses(from, number)
                    || owner.is_some_and(|owner| self.uses(owner, number))
                    || public && self.public.of(number).is_none()
            }
        }
    }

    fn naming(&self, end: End) -> (ForeignCaller, Option<Number>) {
        match end {
            End::Tenant(id) => {
                let tenant = &self.config.tenants[id.0];
                (tenant.foreign_caller, tenant.main_number)
            }
            End::Trunk(id) => {
                let trunk = &self.config.trunks[id.0];
                (trunk.foreign_caller, trunk.main_number)
            }
        }
    }

    /// Of a trunk without one that of the tenant whose it is.
    fn main_number(&self, end: End) -> Option<Number> {
        let own = self.naming(end).1;
        own.or_else(|| match end {
            End::Tenant(_) => None,
            End::Trunk(id) => self.config.tenants[self.config.trunks[id.0].owner?].main_number,
        })
    }
}
