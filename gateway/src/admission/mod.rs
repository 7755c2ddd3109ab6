//! Admission: a call goes on only with a [`Permit`] for each of its ends, which counts it against that tenant or trunk, the
//! way it goes, and the number. A call for help counts as well, and is never one too many.
//!
//! Ends are counted by name, so that a limit holds across configurations: a call that began under a former one still takes
//! its place. How fast calls came is not kept across a restart: after one, a burst may come again. How long they lasted today
//! is kept ([`Spent`]).

mod book;
mod minutes;
mod pace;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use config::Limits;

pub use self::book::PermitBook;
pub use self::minutes::Spent;
use self::usage::{Reached, Usage};
use crate::failure::Cause;
use crate::handover::note::Load;
use crate::routing::{End, Routes};

/// How many calls each tenant and trunk has, and whether new ones are taken at all. As large as the configuration, and the
/// calls of ends that went out of it.
#[derive(Debug, Default)]
pub struct Admission {
    usage: HashMap<Who, Usage>,
    /// Calls in another process of an upgrade, made and received.
    elsewhere: HashMap<Who, [u32; 2]>,
    /// What the wall clock, in milliseconds since 1970, shows at that time.
    clock: Option<(Instant, u64)>,
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
    /// When its call was answered, in milliseconds since 1970.
    answered: Option<u64>,
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
    /// Of the trunk that asked for it: it makes that call.
    pub referrer: Option<Permit>,
    /// The same once the target is there: of who has put the caller, and the callee, into their places.
    pub referred: [Option<Permit>; 2],
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
        let elsewhere = self.elsewhere.get(&who).copied().unwrap_or_default();
        let idle = Usage::default();
        let usage = self.usage.get(&who).unwrap_or(&idle);
        let limits = limits(routes, asked.end);
        let fits = usage.fits(limits, asked.way, asked.number, elsewhere, now);
        let wall = self.wall(now);
        let fits =
            fits.and_then(|()| match usage.minutes.let_one(limits.minutes, asked.way, wall) {
                true => Ok(()),
                false => Err(Reached::Minutes),
            });
        fits.map_err(|reached| match (reached, asked.end) {
            (Reached::Calls, End::Tenant(_)) => Cause::TenantFull,
            (Reached::Calls, End::Trunk(_)) => Cause::TrunkFull,
            (Reached::CallsOfNumber, _) => Cause::NumberFull,
            (Reached::Rate, _) => Cause::TooFast,
            (Reached::Minutes, _) => Cause::MinutesSpent,
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
        let wall = self.wall(now);
        let usage = self.usage.entry(permit.who.clone()).or_default();
        usage.minutes.live_by(&limits.timezone, wall);
        usage.begin(limits, permit.way, permit.number.as_deref(), now);
        Ok(permit)
    }

    /// Counts a call that another process admitted, or that takes nobody's turn, whatever the limits are now.
    pub fn readmit(&mut self, routes: &Routes, asked: Request<'_>, now: Instant) -> Permit {
        let (permit, limits) = permit(routes, asked);
        let wall = self.wall(now);
        let usage = self.usage.entry(permit.who.clone()).or_default();
        usage.minutes.live_by(&limits.timezone, wall);
        usage.add(permit.way, permit.number.as_deref(), now);
        permit
    }

    /// The call of these permits was answered, if they do not say so yet.
    pub fn answered(&mut self, permits: &mut Permits, mut at: impl FnMut() -> SystemTime) {
        let sides = [&mut permits.caller, &mut permits.callee].into_iter().flatten();
        for permit in sides.filter(|permit| permit.answered.is_none()) {
            let at = millis(at());
            self.begin_minutes(permit, at);
        }
    }

    fn begin_minutes(&mut self, permit: &mut Permit, at: u64) {
        if let Some(usage) = self.usage.get_mut(&permit.who) {
            permit.answered = Some(at);
            usage.minutes.begin(permit.way, at);
        }
    }

    /// Takes a permit back when its call is over.
    pub fn release(&mut self, permit: Permit, now: Instant) {
        let wall = self.wall(now);
        self.take_out(Some(&permit));
        if let Some(usage) = self.usage.get_mut(&permit.who) {
            permit.answered.iter().for_each(|at| usage.minutes.end(permit.way, *at, wall));
        }
    }

    fn take_out(&mut self, permit: Option<&Permit>) {
        if let Some((permit, usage)) =
            permit.and_then(|it| Some((it, self.usage.get_mut(&it.who)?)))
        {
            usage.end(permit.way, permit.number.as_deref());
        }
    }

    fn put_back(&mut self, permit: Option<&Permit>, now: Instant) {
        if let Some(permit) = permit {
            let usage = self.usage.entry(permit.who.clone()).or_default();
            usage.add(permit.way, permit.number.as_deref(), now);
        }
    }

    /// The same of a permit that may have been taken.
    fn give_back(&mut self, permit: Option<Permit>, now: Instant) {
        permit.into_iter().for_each(|permit| self.release(permit, now));
    }

    /// Takes back what a call holds.
    pub fn release_all(&mut self, permits: Permits, now: Instant) {
        let Permits { caller, callee, target, referrer, referred: [first, second] } = permits;
        let held = [caller, callee, target, referrer, first, second];
        held.into_iter().for_each(|permit| self.give_back(permit, now));
    }

    /// What the clock on the wall shows now.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = Some((now, millis(wall)));
    }

    /// How long the calls of ends with bounds have lasted today, those that go on aside.
    pub fn spent(&self, routes: &Routes) -> Vec<Spent> {
        let ends = routes.ends().filter(|end| !limits(routes, *end).minutes.is_open());
        let spent = ends.filter_map(|end| {
            let who = Who::of(routes, end);
            self.usage.get(&who)?.minutes.spent(|| who.key())
        });
        spent.collect()
    }

    /// What all other processes have kept of that.
    pub fn learn_spent(&mut self, routes: &Routes, spent: &[Spent], now: Instant) {
        let wall = self.wall(now);
        let mut by_end: HashMap<&str, Vec<&Spent>> = HashMap::new();
        spent.iter().for_each(|spent| by_end.entry(&spent.end).or_default().push(spent));
        for end in routes.ends() {
            let who = Who::of(routes, end);
            if let Some(of_end) = by_end.get(&*who.key()) {
                let usage = self.usage.entry(who).or_default();
                usage.minutes.live_by(&limits(routes, end).timezone, wall);
                usage.minutes.learn(of_end.iter().copied(), wall);
            }
        }
    }

    fn wall(&self, now: Instant) -> u64 {
        self.clock.map_or(0, |(then, wall)| {
            let since = now.saturating_duration_since(then).as_millis();
            wall.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
        })
    }

    /// Another configuration is in force: days begin as it says; ends that it does not have, and that have no calls, are
    /// forgotten.
    pub fn reload(&mut self, routes: &Routes, now: Instant) {
        let wall = self.wall(now);
        for end in routes.ends() {
            if let Some(usage) = self.usage.get_mut(&Who::of(routes, end)) {
                usage.minutes.live_by(&limits(routes, end).timezone, wall);
            }
        }
        self.usage.retain(|_, usage| !usage.is_idle(now, wall));
    }

    /// Another process of an upgrade has so many calls, beside what it told before or in place of that.
    pub fn set_elsewhere(&mut self, ends: Vec<Load>, beside: bool) {
        if !beside {
            self.elsewhere.clear();
        }
        self.elsewhere.extend(ends.into_iter().map(|Load { trunk, name, calls }| {
            let who = if trunk { Who::Trunk(name.into()) } else { Who::Tenant(name.into()) };
            (who, calls)
        }));
    }

    /// How many calls each end has, here and elsewhere: tenants first, by name.
    pub fn by_end(&self) -> Vec<Load> {
        let mut all = self.elsewhere.clone();
        for (who, usage) in self.usage.iter().filter(|(_, usage)| usage.all() > 0) {
            let calls = all.entry(who.clone()).or_default();
            for (sum, here) in calls.iter_mut().zip(usage.calls()) {
                *sum = sum.saturating_add(here);
            }
        }
        let mut all: Vec<_> = all
            .into_iter()
            .map(|(who, calls)| match who {
                Who::Tenant(name) => Load { trunk: false, name: name.to_string(), calls },
                Who::Trunk(name) => Load { trunk: true, name: name.to_string(), calls },
            })
            .collect();
        all.sort_by(|a, b| (a.trunk, &a.name).cmp(&(b.trunk, &b.name)));
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

impl Who {
    fn of(routes: &Routes, end: End) -> Self {
        let name = routes.name(end).into();
        match end {
            End::Tenant(_) => Self::Tenant(name),
            End::Trunk(_) => Self::Trunk(name),
        }
    }

    /// As it is called in what is kept.
    fn key(&self) -> String {
        match self {
            Self::Tenant(name) => format!("tenant {name}"),
            Self::Trunk(name) => format!("trunk {name}"),
        }
    }
}

/// A permit, not counted yet. Its number stands there only where that counts.
fn permit<'r>(routes: &'r Routes, asked: Request<'_>) -> (Permit, &'r Limits) {
    let limits = limits(routes, asked.end);
    let number = asked.number.filter(|_| !limits.number.is_open()).map(Into::into);
    (Permit { who: Who::of(routes, asked.end), way: asked.way, number, answered: None }, limits)
}

fn limits(routes: &Routes, end: End) -> &Limits {
    let config = routes.config();
    match end {
        End::Tenant(id) => &config.tenants[id.0].limits,
        End::Trunk(id) => &config.trunks[id.0].limits,
    }
}

fn millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
