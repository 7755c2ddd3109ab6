//! The stream connections as the core knows them, and how one goes out of use without a call noticing.
//!
//! A connection is *retired* when a newer one shall take its place: its certificate was renewed, its trust withdrawn,
//! its peer said "not now". From then on nothing new leaves on it; what comes in on it, answers, and requests of dialogs
//! that were last heard on it go on. It is closed when no leg of a call leans on it any more, or after the longest time:
//! dialogs live without connections, so that what is left of them opens another.
//!
//! One from an address of no configured network, as those have that register with us, is retired where nobody has
//! registered on it within [`PROVE`], or any more, and where its address is banned: strangers hold none for longer.
//!
//! Bounded by the driver, which opens and accepts no more than its own limits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::leg::{Leg, State};
use sip_stack::transport::{FlowId, LocalId};

use super::{Core, Output};
use crate::call::CallKey;

/// What is known of a connection when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The identity it belongs to.
    pub local: LocalId,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Whether the peer opened it.
    pub inbound: bool,
}

/// Why a connection goes out of use, which decides who may keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retired {
    /// A better one shall take its place: it stays while any call leans on it.
    Replaced,
    /// It would not be let in any more: it stays while a call is set up or ended on it; answered calls go on without.
    Distrusted,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Flows {
    open: HashMap<FlowId, Flow>,
    /// Those that we opened, by both ends.
    dialled: BTreeSet<(LocalId, SocketAddr, FlowId)>,
    retiring: BTreeMap<FlowId, Retiring>,
    /// When the retiring ones are looked at next.
    check: Option<Instant>,
    /// Those from addresses that nobody knows, by when they are looked at next: has somebody registered on them?
    unproven: BTreeSet<(Instant, FlowId)>,
    /// Connections up to this one of these identities were begun under former settings.
    outdated: BTreeMap<LocalId, (FlowId, Retired)>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    opened: Opened,
    since: Instant,
    /// Where it stands in [`Flows::unproven`].
    proves: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Retiring {
    opened: Opened,
    why: Retired,
    since: Instant,
    /// The newest call at that time: a later one without a connection of its own leans on another.
    newest: CallKey,
}

impl Flows {
    /// A connection is ready. Why it has to be retired at once, when it was begun under settings that hold no more.
    fn open(&mut self, flow: FlowId, opened: Opened, now: Instant) -> Option<Retired> {
        self.open.entry(flow).or_insert(Flow { opened, since: now, proves: None });
        if !opened.inbound {
            self.dialled.insert((opened.local, opened.remote, flow));
        }
        let (last, why) = self.outdated.get(&opened.local)?;
        (flow <= *last).then_some(*why)
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, flow: FlowId) {
        if let Some(Flow { opened, proves, .. }) = self.open.remove(&flow) {
            self.dialled.remove(&(opened.local, opened.remote, flow));
            if let Some(at) = proves {
                self.unproven.remove(&(at, flow));
            }
        }
        self.retiring.remove(&flow);
        if self.retiring.is_empty() {
            self.check = None;
        }
    }

    /// Whether a request inside a dialog may be sent on it.
    pub(super) fn serves(&self, flow: FlowId) -> bool {
        let distrusted = |r: &Retiring| r.why == Retired::Distrusted;
        self.open.contains_key(&flow) && !self.retiring.get(&flow).is_some_and(distrusted)
    }

    pub(super) fn contains(&self, flow: FlowId) -> bool {
        self.open.contains_key(&flow)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Connections that go out of use.
    pub(super) fn retiring(&self) -> usize {
        self.retiring.len()
    }

    /// The connections that we opened to that address and that are in use for what is new, oldest first.
    pub(super) fn to(
        &self,
        local: LocalId,
        remote: SocketAddr,
    ) -> impl DoubleEndedIterator<Item = FlowId> {
        let ends = (local, remote, FlowId(0))..=(local, remote, FlowId(u64::MAX));
        let flows = self.dialled.range(ends).map(|(_, _, flow)| *flow);
        flows.filter(|flow| !self.retiring.contains_key(flow))
    }

    /// Since when the newest of [`Flows::to`] is open.
    pub(super) fn opened_at(&self, local: LocalId, remote: SocketAddr) -> Option<Instant> {
        let newest = self.to(local, remote).next_back()?;
        self.open.get(&newest).map(|flow| flow.since)
    }

    /// Begins to retire one. False when there is no such connection, or it goes out of use for as good a reason.
    fn retire(&mut self, flow: FlowId, why: Retired, newest: CallKey, now: Instant) -> bool {
        let Some(known) = self.open.get(&flow) else { return false };
        let opened = known.opened;
        self.check.get_or_insert(now + CHECK);
        match self.retiring.get_mut(&flow) {
            Some(retiring) if retiring.why >= why => false,
            Some(retiring) => {
                retiring.why = why;
                retiring.since = now;
                true
            }
            None => {
                self.retiring.insert(flow, Retiring { opened, why, since: now, newest });
                true
            }
        }
    }

    /// Whether we opened it.
    pub(super) fn is_ours(&self, flow: FlowId) -> bool {
        self.open.get(&flow).is_some_and(|known| !known.opened.inbound)
    }

    /// The connections that peers opened, oldest first.
    pub(super) fn inbound(&self) -> Vec<(FlowId, Opened)> {
        let inbound = self.open.iter().filter(|(_, known)| known.opened.inbound);
        let mut flows: Vec<_> = inbound.map(|(flow, known)| (*flow, known.opened)).collect();
        flows.sort_unstable_by_key(|(flow, _)| *flow);
        flows
    }

    fn of(&self, local: LocalId) -> Vec<FlowId> {
        let mut flows: Vec<FlowId> =
            self.open.iter().filter(|(_, f)| f.opened.local == local).map(|(id, _)| *id).collect();
        flows.sort_unstable();
        flows
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let unproven = self.unproven.first().map(|(at, _)| *at);
        self.check.into_iter().chain(unproven).min()
    }

    /// One from an address that nobody knows is looked at by then.
    fn proves_by(&mut self, flow: FlowId, at: Instant) {
        if let Some(known) = self.open.get_mut(&flow)
            && known.proves.is_none()
        {
            known.proves = Some(at);
            self.unproven.insert((at, flow));
        }
    }

    /// The next one that is to be looked at.
    fn next_unproven(&mut self, now: Instant) -> Option<(FlowId, Opened)> {
        let (at, flow) = self.unproven.first().copied().filter(|(at, _)| *at <= now)?;
        self.unproven.remove(&(at, flow));
        let known = self.open.get_mut(&flow)?;
        known.proves = None;
        Some((flow, known.opened))
    }
}

impl Retiring {
    /// Whether this leg of that call would miss the connection.
    fn holds(&self, flow: FlowId, key: CallKey, leg: &Leg) -> bool {
        let settled = match leg.state() {
            State::Ended => true,
            State::Confirmed => self.why == Retired::Distrusted,
            State::Inviting | State::Invited | State::Answered | State::Ending => false,
        };
        let heard = leg.heard();
        let on_it = match heard.flow {
            Some(other) => other == flow,
            // It has heard nothing yet: its INVITE left on what was in use at the time.
            None => {
                !self.opened.inbound
                    && key <= self.newest
                    && (heard.local, heard.remote) == (self.opened.local, self.opened.remote)
            }
        };
        on_it && !settled
    }

    /// Until when it stays though nothing leans on it, for what no call knows of: an OPTIONS of ours.
    fn least(&self) -> Instant {
        if self.opened.inbound { self.since } else { self.since + LEAST }
    }

    fn longest(&self) -> Instant {
        self.since
            + match self.why {
                Retired::Replaced => LONGEST,
                Retired::Distrusted => LONGEST_DISTRUSTED,
            }
    }
}

impl Core {
    /// A connection is open.
    pub(super) fn note_opened(&mut self, flow: FlowId, opened: Opened, now: Instant) {
        if let Some(why) = self.flows.open(flow, opened, now) {
            self.retire(flow, why, now);
        }
        if opened.inbound && !self.lets_in(opened.local, opened.remote.ip()) {
            self.watch_stranger(flow, opened, now);
        }
    }

    /// A connection from an address of no configured network: it is kept for who registers on it.
    pub(super) fn watch_stranger(&mut self, flow: FlowId, opened: Opened, now: Instant) {
        if self.is_banned(opened.remote.ip(), now) && !self.registrar.leans_on(flow) {
            self.retire(flow, Retired::Replaced, now);
        } else {
            self.flows.proves_by(flow, now + PROVE);
        }
    }

    /// Takes out of use what strangers hold.
    fn check_strangers(&mut self, now: Instant) {
        while let Some((flow, opened)) = self.flows.next_unproven(now) {
            if self.lets_in(opened.local, opened.remote.ip()) {
                continue;
            }
            if self.registrar.leans_on(flow) {
                self.flows.proves_by(flow, now + PROVE);
            } else {
                self.retire(flow, Retired::Replaced, now);
            }
        }
    }

    /// An address is left out from now on, and what it holds with it.
    pub(super) fn retire_banned(&mut self, now: Instant) {
        for (flow, opened) in self.flows.inbound() {
            let address = opened.remote.ip();
            if self.is_banned(address, now)
                && !self.lets_in(opened.local, address)
                && !self.registrar.leans_on(flow)
            {
                self.retire(flow, Retired::Replaced, now);
            }
        }
    }

    /// Takes a connection out of use.
    pub(super) fn retire(&mut self, flow: FlowId, why: Retired, now: Instant) {
        let newest = self.slots.newest();
        if self.flows.retire(flow, why, newest, now) {
            self.outputs.push_back(Output::Retire(flow));
        }
    }

    /// The settings of an identity have changed: takes out of use what was begun under the former ones, up to the
    /// connection `last`, also where it is not ready yet.
    pub fn retire_up_to(&mut self, local: LocalId, last: FlowId, why: Retired, now: Instant) {
        self.flows.outdated.insert(local, (last, why));
        for flow in self.flows.of(local).into_iter().filter(|flow| *flow <= last) {
            self.retire(flow, why, now);
        }
    }

    /// Closes what nothing leans on any more.
    pub(super) fn check_flows(&mut self, now: Instant) {
        self.check_strangers(now);
        if self.flows.check.is_none_or(|due| due > now) {
            return;
        }
        // First, so that a fault does not come again at once.
        self.flows.check = Some(now + CHECK);
        let retiring = &self.flows.retiring;
        let mut held = HashSet::new();
        for (key, leg) in self.slots.legs() {
            held.extend(
                retiring.iter().filter(|(f, r)| r.holds(**f, key, leg)).map(|(flow, _)| *flow),
            );
        }
        // Whoever has registered on one is reached by it alone; it takes another when it registers again.
        if !self.kindred.has_heir() {
            let replaced = retiring.iter().filter(|(_, r)| r.why == Retired::Replaced);
            held.extend(
                replaced.map(|(flow, _)| *flow).filter(|flow| self.registrar.leans_on(*flow)),
            );
        }
        let done = |(flow, r): &(&FlowId, &Retiring)| {
            now >= r.longest() || (now >= r.least() && !held.contains(flow))
        };
        let closing: Vec<FlowId> = retiring.iter().filter(done).map(|(flow, _)| *flow).collect();
        for flow in closing {
            // It is ours no more, whatever still comes in on it while it closes.
            self.flows.close(flow);
            self.outputs.push_back(Output::Close(flow));
        }
        self.flows.check = (!self.flows.retiring.is_empty()).then_some(now + CHECK);
    }
}

/// Between two looks at the retiring connections.
const CHECK: Duration = Duration::from_secs(1);
/// Within this time somebody has registered on a connection from an address that nobody knows. With [`CHECK`] it is closed
/// within ten seconds.
const PROVE: Duration = Duration::from_secs(9);
/// What we sent outside calls is answered, or given up, by then.
const LEAST: Duration = Duration::from_secs(10);
/// How long a call may keep a connection that shall be replaced.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a call that is set up or ended may keep a connection that is not trusted any more.
const LONGEST_DISTRUSTED: Duration = Duration::from_secs(32);
