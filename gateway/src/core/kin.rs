//! Whose a message is, while an upgrade has left several processes (see [`crate::handover`]).
//!
//! Our tags and branches say which process made them: a request with a To tag, and every response, belongs to that
//! process. An initial request carries nothing of ours: it belongs to the elder when it repeats, cancels or acknowledges
//! one of the transactions that the elder named when it handed over; else to the newest process, which alone takes what
//! is new. What came over a link never goes back the same way.
//!
//! Bounded: the elder's digests are as many as an endpoint has transactions, and go with the elder.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use bytes::Bytes;
use media_relay::{Command, Port};
use sip_stack::endpoint::Origin;
use sip_stack::message::{HeaderId, Message, Replaces};
use sip_stack::transport::Source;

use super::flows::{Opened, Retired};
use super::{Core, Event, Output};
pub use crate::handover::flow::Kin;
use crate::handover::note::Load;

/// The processes beside this one.
#[derive(Debug)]
pub(super) struct Kindred {
    own: Origin,
    /// Whose tags and branches lead to the elder; `None`: there is no elder.
    elder: Option<Vec<Origin>>,
    /// The elder's transactions.
    known: HashSet<u64>,
    /// Whether another process has taken over.
    heir: bool,
}

impl Kindred {
    /// Alone.
    pub(super) fn new(own: Origin) -> Self {
        Self { own, elder: None, known: HashSet::new(), heir: false }
    }

    /// Whether what is new belongs to another process.
    pub(super) const fn has_heir(&self) -> bool {
        self.heir
    }

    const fn is_alone(&self) -> bool {
        self.elder.is_none() && !self.heir
    }

    /// Which process made an identifier: another one, or (`None`) this one.
    pub(super) fn made_by(&self, origin: Origin) -> Option<Kin> {
        let node = |origin: Origin| (origin.node, origin.shard);
        if origin == self.own || node(origin) != node(self.own) {
            // One of another node is none of this state directory: a peer's own text that looks like ours.
            None
        } else if self.elder.as_ref().is_some_and(|origins| origins.contains(&origin)) {
            Some(Kin::Elder)
        } else {
            // Made by one that did not exist when the elder told its origins.
            self.heir.then_some(Kin::Heir)
        }
    }
}

impl Core {
    /// An elder has handed over: its side has these origins, and these transactions.
    pub fn succeed(&mut self, origins: Vec<Origin>, known: impl IntoIterator<Item = u64>) {
        self.kindred.elder = Some(origins);
        self.kindred.known = known.into_iter().collect();
    }

    /// The elder is gone.
    pub fn outlive_elder(&mut self) {
        self.kindred.elder = None;
        self.kindred.known = HashSet::new();
        self.admission.set_elsewhere(Vec::new(), false);
    }

    /// How many calls the ends have in the elder; `more` than those that were told before.
    pub fn note_load(&mut self, ends: Vec<Load>, more: bool) {
        self.admission.set_elsewhere(ends, more);
    }

    /// Another process takes over: what is new belongs to it from now on. The digests of all server transactions, here
    /// and in the elder.
    pub fn hand_over(&mut self, now: Instant) -> Vec<u64> {
        self.kindred.heir = true;
        for (flow, _) in self.flows.inbound() {
            self.retire(flow, Retired::Replaced, now);
        }
        self.endpoint.server_digests().chain(self.kindred.known.iter().copied()).collect()
    }

    /// The process that took over is dead: what is new belongs to this one again.
    pub const fn take_back(&mut self) {
        self.kindred.heir = false;
    }

    /// Gives up media ports that are free, for another process to take, and keeps only so many ahead.
    pub fn give_up_ports(&mut self, spare: u16) {
        let mut given: Vec<Vec<Port>> = vec![Vec::new(); self.routes.config().workers];
        for port in self.ports.cool(usize::from(spare)) {
            if let Some(of_shard) = given.get_mut(usize::from(port.shard)) {
                of_shard.push(port);
            }
        }
        self.keep_ports(spare, given);
    }

    /// Keeps a few media ports back for calls for help. Not while a process gives its ports away, or has not got them yet: it
    /// would refuse every other call for the few that it has.
    pub fn keep_ports_for_help(&mut self, kept: bool) {
        self.ports.keep_back(if kept { FOR_HELP } else { 0 });
    }

    /// Keeps so many media ports ahead again.
    pub fn keep_ports_ahead(&mut self, reserve: u16) {
        let none = vec![Vec::new(); self.routes.config().workers];
        self.keep_ports(reserve, none);
    }

    fn keep_ports(&mut self, reserve: u16, given: Vec<Vec<Port>>) {
        for (shard, ports) in (0..).zip(given) {
            let command = Command::Cool { ports, reserve };
            self.outputs.push_back(Output::Media { shard, command });
        }
    }

    /// Whether each pool of media ports has so many pairs that calls can have, or half of all that it may have.
    pub fn has_ports(&self, enough: u32) -> bool {
        self.pools.ids().all(|id| {
            let capacity = self.ports.capacity(id);
            capacity.free >= enough.min(capacity.configured / 2)
        })
    }

    /// How many calls each end has, those of the elder included.
    pub fn load(&self) -> Vec<Load> {
        self.admission.by_end()
    }

    /// Whose tags and branches lead here: this process, those that pass through it, and those whose calls it took up.
    pub fn origins(&self) -> Vec<Origin> {
        let here = self.dialogs.keys().filter_map(|tag| self.endpoint.origin(tag));
        let elder = self.kindred.elder.iter().flatten().copied();
        let all: BTreeSet<_> = std::iter::once(self.kindred.own)
            .chain(elder)
            .chain(here)
            .map(|Origin { node, shard, epoch }| (node, shard, epoch))
            .collect();
        all.into_iter().map(|(node, shard, epoch)| Origin { node, shard, epoch }).collect()
    }

    /// Another process hands over what came to it.
    pub(super) fn take_handed(
        &mut self,
        from: Kin,
        source: Source,
        message: Message,
        now: Instant,
    ) {
        #[cfg(test)]
        self.spring(super::inputs::Trap::Handed);
        if self.hand_on(&source, &message, Some(from)) {
            return;
        }
        if let Some(flow) = source.flow.filter(|flow| !self.flows.contains(*flow)) {
            let opened = Opened { local: source.local, remote: source.remote, inbound: true };
            match from {
                // It shall end soon: what is new waits for no more than its answer there.
                Kin::Elder => {
                    self.note_opened(flow, opened, now);
                    self.retire(flow, Retired::Distrusted, now);
                }
                Kin::Heir if self.flows.len() < MOST_FLOWS => self.note_opened(flow, opened, now),
                Kin::Heir => {}
            }
        }
        self.take_own(source, message, now);
    }

    /// Hands a message to the process it belongs to; false: it is ours.
    pub(super) fn hand_on(
        &mut self,
        source: &Source,
        message: &Message,
        from: Option<Kin>,
    ) -> bool {
        if self.kindred.is_alone() {
            return false;
        }
        match self.whose(source, message).filter(|kin| Some(*kin) != from) {
            None => false,
            Some(to) => {
                let raw = message.raw().clone();
                self.outputs.push_back(Output::Hand { to, source: *source, raw });
                self.outputs.push_back(Output::Event(Event::Handed));
                true
            }
        }
    }

    /// Whether another process may have to do with a call that is to be refused for load: a repeat of an INVITE that the
    /// elder has, or anything new when there is an heir.
    pub(super) fn is_of_others(&mut self, source: &Source, raw: &Bytes) -> bool {
        if self.kindred.known.is_empty() {
            return self.kindred.heir;
        }
        Message::parse(raw.clone()).is_ok_and(|message| self.whose(source, &message).is_some())
    }

    fn whose(&mut self, source: &Source, message: &Message) -> Option<Kin> {
        if !message.is_request() {
            return self.kindred.made_by(self.endpoint.origin(message.branch())?);
        }
        // An INVITE that wants to replace a leg is for the process that has it.
        let replaced = message.value(HeaderId::Replaces).and_then(Replaces::parse);
        if let Some(tag) = message.to_tag().or(replaced.map(|named| named.to_tag)) {
            let ours = self.dialogs.contains_key(tag);
            let origin = self.endpoint.origin(tag).filter(|_| !ours)?;
            return self.kindred.made_by(origin);
        }
        if self.endpoint.knows(source, message) {
            return None;
        }
        if !self.kindred.known.is_empty() {
            let digest = self.endpoint.digest(source, message);
            if self.kindred.known.contains(&digest) {
                return Some(Kin::Elder);
            }
        }
        self.kindred.heir.then_some(Kin::Heir)
    }
}

/// Connections of an heir that are remembered; a request on any other is sent where its URI leads.
const MOST_FLOWS: usize = 8192;

/// Pairs of ports, of each address and relay thread, that only calls for help get.
const FOR_HELP: usize = 8;
