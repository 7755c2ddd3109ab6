//! Admission: a call goes on only with a [`Permit`] for each of its ends, which counts it against that tenant or trunk, the
//! way it goes, and the number. A call for help counts as well, and is never one too many.
//!
//! Ends are counted by name, so that a limit holds across configurations: a call that began under a former one still takes
//! its place. How fast calls came is not kept across a restart: after one, a burst may come again.

mod pace;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use config::Limits;

use self::usage::{Reached, Usage};
use crate::failure::Cause;
use crate::routing::{End, Routes};

/// How many calls each tenant and trunk has, and whether new ones are taken at all. As large as the configuration, and the
/// calls of ends that went out of it.
#[derive(Debug, Default)]
pub struct Admission {
    usage: HashMap<Who, Usage>,
    /// Calls of tenants in another process of an upgrade.
    elsewhere: HashMap<String, u32>,
    draining: bool,
}

/// A tenant or trunk by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Tenant(Arc<str>),
    Trunk(Arc<str>),
}

/// Whether an end makes a call or receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It calls.
    Made,
    /// It is called.
    Received,
}

/// What is asked of admission: an end, the way a call goes there, and the end's own number in it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The tenant or trunk.
    pub end: End,
    /// Whether it calls or is called.
    pub way: Way,
    /// The caller's number where it calls, the called one where it is called.
    pub number: Option<&'a str>,
    /// It is a call for help.
    pub help: bool,
}

/// The proof that a call may be made by, or to, one end. Given back by [`Admission::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back counts for ever"]
pub struct Permit {
    who: Who,
    way: Way,
    number: Option<Box<str>>,
}

/// The permits of a call.
#[derive(Debug, Default)]
pub struct Permits {
    /// Of who calls.
    pub caller: Option<Permit>,
    /// Of who is called, at the hop that is tried.
    pub callee: Option<Permit>,
    /// Of who is asked to take a side's place.
    pub target: Option<Permit>,
}

/// Where a call gets permits for further hops.
pub struct PermitBook<'a> {
    /// Of all calls.
    pub admission: &'a mut Admission,
    /// Those of this call.
    pub held: &'a mut Permits,
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

    /// Whether a call would be admitted, or why not. Counts nothing.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn check(&self, routes: &Routes, asked: Request<'_>, now: Instant) -> Result<(), Cause> {
        if self.draining {
            return Err(Cause::Draining);
        }
        if asked.help {
            return Ok(());
        }
        let who = Who::of(routes, asked.end);
        let elsewhere = match &who {
            Who::Tenant(name) => self.elsewhere.get(&**name).copied().unwrap_or(0),
            Who::Trunk(_) => 0,
        };
        let idle = Usage::default();
        let usage = self.usage.get(&who).unwrap_or(&idle);
        let limits = limits(routes, asked.end);
        let fits = usage.fits(limits, asked.way, asked.number, elsewhere, now);
        fits.map_err(|reached| match (reached, asked.end) {
            (Reached::Calls, End::Tenant(_)) => Cause::TenantFull,
            (Reached::Calls, End::Trunk(_)) => Cause::TrunkFull,
            (Reached::CallsOfNumber, _) => Cause::NumberFull,
            (Reached::Rate, _) => Cause::TooFast,
        })
    }

    /// Admits a call, or says why not.
    ///
    /// # Errors
    /// The bound that is reached; nothing is counted then.
    pub fn admit(
        &mut self,
        routes: &Routes,
        asked: Request<'_>,
        now: Instant,
    ) -> Result<Permit, Cause> {
        self.check(routes, asked, now)?;
        if asked.help {
            return Ok(self.readmit(routes, asked, now));
        }
        let (permit, limits) = permit(routes, asked);
        let usage = self.usage.entry(permit.who.clone()).or_default();
        usage.begin(limits, permit.way, permit.number.as_deref(), now);
        Ok(permit)
    }

    /// Counts a call that another process admitted, or that takes nobody's turn, whatever the limits are now.
    pub fn readmit(&mut self, routes: &Routes, asked: Request<'_>, now: Instant) -> Permit {
        let (permit, _) = permit(routes, asked);
        let usage = self.usage.entry(permit.who.clone()).or_default();
        usage.add(permit.way, permit.number.as_deref(), now);
        permit
    }

    /// Takes a permit back when its call is over.
    pub fn release(&mut self, permit: Permit) {
        if let Some(usage) = self.usage.get_mut(&permit.who) {
            usage.end(permit.way, permit.number.as_deref());
        }
    }

    /// Takes back what a call holds.
    pub fn release_all(&mut self, permits: Permits) {
        let Permits { caller, callee, target } = permits;
        [caller, callee, target].into_iter().flatten().for_each(|permit| self.release(permit));
    }

    /// Another configuration is in force: ends that it does not have, and that have no calls, are forgotten.
    pub fn forget_idle(&mut self, now: Instant) {
        self.usage.retain(|_, usage| !usage.is_idle(now));
    }

    /// Another process of an upgrade has so many calls, by the names of tenants.
    pub fn set_elsewhere(&mut self, calls: HashMap<String, u32>) {
        self.elsewhere = calls;
    }

    /// How many calls each tenant has, here and elsewhere, by name.
    pub fn by_tenant(&self) -> Vec<(String, u32)> {
        let mut all = self.elsewhere.clone();
        for (who, usage) in &self.usage {
            if let Who::Tenant(name) = who
                && usage.all() > 0
            {
                *all.entry(name.to_string()).or_default() += usage.all();
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort();
        all
    }

    /// How many calls a tenant has now.
    pub fn calls(&self, tenant: &str) -> u32 {
        self.usage.get(&Who::Tenant(tenant.into())).map_or(0, Usage::all)
    }

    /// How many calls all ends together have.
    #[cfg(test)]
    pub(crate) fn all_calls(&self) -> u32 {
        self.usage.values().map(Usage::all).sum()
    }
}

impl PermitBook<'_> {
    /// Gets a permit for the callee of another attempt, in place of the one for the last.
    ///
    /// # Errors
    /// The bound that is reached; no permit for a callee is held then.
    pub fn for_callee(
        &mut self,
        routes: &Routes,
        asked: Request<'_>,
        now: Instant,
    ) -> Result<(), Cause> {
        let (wanted, _) = permit(routes, asked);
        if self.held.callee.as_ref().is_some_and(|held| {
            held.who == wanted.who && (held.number.is_none() || held.number == wanted.number)
        }) {
            return Ok(());
        }
        if let Some(permit) = self.held.callee.take() {
            self.admission.release(permit);
        }
        self.held.callee = Some(self.admission.admit(routes, asked, now)?);
        Ok(())
    }

    /// Gets a permit for who is asked to take a side's place. None is needed at an end that is in the call already: it has
    /// one call before and after.
    ///
    /// # Errors
    /// The bound that is reached; no permit for a target is held then.
    pub fn for_target(
        &mut self,
        routes: &Routes,
        asked: Request<'_>,
        now: Instant,
    ) -> Result<(), Cause> {
        let who = Who::of(routes, asked.end);
        if self.held.target.as_ref().is_some_and(|permit| permit.who == who) {
            return Ok(());
        }
        self.give_up_target();
        let held = [&self.held.caller, &self.held.callee];
        if held.into_iter().flatten().all(|permit| permit.who != who) {
            self.held.target = Some(self.admission.admit(routes, asked, now)?);
        }
        Ok(())
    }

    /// The target has taken its place, and whoever had it, with that side's permit, is gone.
    pub fn settle(&mut self, caller_side: bool) {
        let Some(permit) = self.held.target.take() else { return };
        let side = if caller_side { &mut self.held.caller } else { &mut self.held.callee };
        if let Some(before) = side.replace(permit) {
            self.admission.release(before);
        }
    }

    fn give_up_target(&mut self) {
        if let Some(permit) = self.held.target.take() {
            self.admission.release(permit);
        }
    }
}

impl Who {
    fn of(routes: &Routes, end: End) -> Self {
        let name = routes.name(end).into();
        match end {
            End::Tenant(_) => Self::Tenant(name),
            End::Trunk(_) => Self::Trunk(name),
        }
    }
}

/// A permit, not counted yet. Its number stands there only where that counts.
fn permit<'r>(routes: &'r Routes, asked: Request<'_>) -> (Permit, &'r Limits) {
    let limits = limits(routes, asked.end);
    let number = asked.number.filter(|_| !limits.number.is_open()).map(Into::into);
    (Permit { who: Who::of(routes, asked.end), way: asked.way, number }, limits)
}

fn limits(routes: &Routes, end: End) -> &Limits {
    let config = routes.config();
    match end {
        End::Tenant(id) => &config.tenants[id.0].limits,
        End::Trunk(id) => &config.trunks[id.0].limits,
    }
}

#[cfg(test)]
mod tests;
