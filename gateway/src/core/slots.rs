//! The calls: each in a slot with what it holds, taken out while it works, put back or reaped afterwards.
//!
//! A call works with its own queue, and what it asks for is done only when it has returned. When it panics, that call
//! is ended: what it was about to do is dropped, its legs hang up on their peers, and everything it held is given back;
//! nothing else notices.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use media_relay::{Command, Port, SessionId};
use sip_stack::endpoint::ClientId;
use sip_stack::leg::{Action, Leg, State};
use sip_stack::locate::Address;
use sip_stack::message::{Draft, HeaderId};

use super::pairs::UnderWay;
use super::{Asker, Core, LONGEST_FAREWELL, Output, call_of, owner};
use crate::admission::{PermitBook, Permits};
use crate::call::{Call, CallKey, Context, Do, PortBook, Story};
use crate::cdr::Record;
use crate::event::Event;
use crate::failure::Cause;
use crate::journal::Entry;

/// One call and what it holds.
#[derive(Debug)]
pub(super) struct Slot {
    call: Option<Box<Call>>,
    permits: Permits,
    /// Who calls whom, until that is answered.
    under_way: Option<UnderWay>,
    ports: Vec<Port>,
    tags: Vec<Bytes>,
    /// Its INVITE transactions, for CANCEL: leg, token.
    invites: Vec<(u8, u32, ClientId)>,
    /// The shard of its media, once it asked for any.
    shard: Option<u8>,
    due: Option<Instant>,
    /// When it was over; its slot does not outlive that by much.
    over: Option<Instant>,
    /// It was told to be over, though its figures are still to come.
    ending: bool,
    /// It failed once by a fault of ours.
    failed: bool,
    /// The record as it was last kept, for a call that fails by a fault of ours.
    kept: Arc<Record>,
}

/// All calls.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<CallKey, Slot>,
    timers: BTreeSet<(Instant, CallKey)>,
    last: u64,
    over: usize,
}

impl Slots {
    /// A fresh name for a call.
    pub(super) const fn next_key(&mut self) -> CallKey {
        self.last += 1;
        CallKey(self.last)
    }

    /// A slot that its call will fill. Whatever is held for the call stands in it from the beginning, so that nothing is
    /// lost when the call fails before it is one.
    pub(super) fn open(
        &mut self,
        key: CallKey,
        permits: Permits,
        under_way: Option<UnderWay>,
        ports: Vec<Port>,
        begun: Arc<Record>,
    ) {
        let slot = Slot {
            call: None,
            permits,
            under_way,
            ports,
            tags: Vec::new(),
            invites: Vec::new(),
            shard: None,
            due: None,
            over: None,
            ending: false,
            failed: false,
            kept: begun,
        };
        self.slots.insert(key, slot);
    }

    /// What a call holds before it is one.
    pub(super) fn hold(&mut self, key: CallKey, ports: [Port; 2]) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.ports.extend(ports);
        }
    }

    pub(super) fn due(&self, now: Instant) -> Option<CallKey> {
        self.timers.first().filter(|(due, _)| *due <= now).map(|(_, key)| *key)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub(super) fn keys(&self) -> Vec<CallKey> {
        self.slots.keys().copied().collect()
    }

    /// Calls that are not over.
    pub(super) fn live(&self) -> usize {
        self.slots.len() - self.over
    }

    /// All calls, also those that are over.
    pub(super) fn all(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn call(&self, key: CallKey) -> Option<&Call> {
        self.slots.get(&key)?.call.as_deref()
    }

    /// The thread that has its media.
    pub(super) fn shard(&self, key: CallKey) -> Option<u8> {
        self.slots.get(&key)?.shard
    }

    pub(super) fn has(&self, key: CallKey) -> bool {
        self.slots.contains_key(&key)
    }

    /// The call that was begun last.
    pub(super) const fn newest(&self) -> CallKey {
        CallKey(self.last)
    }

    /// Every leg of every call.
    pub(super) fn legs(&self) -> impl Iterator<Item = (CallKey, &Leg)> {
        self.slots.iter().flat_map(|(key, slot)| {
            slot.call.iter().flat_map(|call| call.legs()).map(move |leg| (*key, leg))
        })
    }

    /// Never mind when the call wanted to be served.
    pub(super) fn forget_due(&mut self, key: CallKey) {
        self.schedule(key, None);
    }

    fn schedule(&mut self, key: CallKey, due: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.due == due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut slot.due, due) {
            self.timers.remove(&(old, key));
        }
        if let Some(due) = due {
            self.timers.insert((due, key));
        }
    }
}

/// When a fault that a test injects befalls a call's work.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Before,
    After,
}

impl Core {
    /// Begins a call in an opened slot.
    pub(super) fn begin(
        &mut self,
        key: CallKey,
        now: Instant,
        start: impl FnOnce(&mut Context<'_>) -> Call,
    ) {
        self.work(key, None, now, |call, cx| *call = Some(Box::new(start(cx))));
    }

    /// Lets a call handle something. Does nothing when there is no such call.
    pub(super) fn with_call(
        &mut self,
        key: CallKey,
        now: Instant,
        handle: impl FnOnce(&mut Call, &mut Context<'_>),
    ) {
        let Some(call) = self.slots.slots.get_mut(&key).and_then(|slot| slot.call.take()) else {
            return;
        };
        self.work(key, Some(call), now, |call, cx| {
            if let Some(call) = call {
                handle(call, cx);
            }
        });
    }

    /// Lets a call work, then does what it asks for. A call that fails by a fault of ours is ended with what it has
    /// left: what it was doing is dropped, its legs say goodbye. When it fails at that too, or once more, it is dropped.
    fn work(
        &mut self,
        key: CallKey,
        call: Option<Box<Call>>,
        now: Instant,
        job: impl FnOnce(&mut Option<Box<Call>>, &mut Context<'_>),
    ) {
        if self.attempt(key, call, now, job) {
            return;
        }
        self.outputs.push_back(Output::Event(Event::Fault));
        tracing::error!(call = key.0, "a call failed by a fault of the gateway and is ended");
        if let Some(slot) = self.slots.slots.get_mut(&key)
            && !std::mem::replace(&mut slot.failed, true)
        {
            let (call, has_media) = (slot.call.take(), slot.shard.is_some());
            let abandoned = self.attempt(key, call, now, |call, cx| {
                if let Some(call) = call {
                    call.abandon(has_media, cx);
                }
            });
            if abandoned {
                return;
            }
        }
        self.lose(key, now);
    }

    /// Lets a call work, and does what it asks for; false when either failed. What there is of the call is in its slot
    /// afterwards.
    fn attempt(
        &mut self,
        key: CallKey,
        mut call: Option<Box<Call>>,
        now: Instant,
        job: impl FnOnce(&mut Option<Box<Call>>, &mut Context<'_>),
    ) -> bool {
        let todo = self.isolated(key, &mut call, now, job);
        let exists = call.is_some();
        if let Some(slot) = self.slots.slots.get_mut(&key) {
            slot.call = call;
        }
        let Some(todo) = todo.filter(|_| exists) else { return false };
        // What is used afterwards: the slot, which is given back whole when this fails again.
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.carry_out(key, todo, now);
            self.finish(key, now);
        }));
        done.is_ok()
    }

    /// Drops a call that failed by a fault of ours.
    pub(super) fn lose(&mut self, key: CallKey, now: Instant) {
        self.record_fault(key, self.wall(now));
        self.reap(key, now);
    }

    /// Drops what was to become a call when a fault befell it.
    pub(super) fn lose_unborn(&mut self, now: Instant) {
        let unborn = self.slots.slots.iter().filter(|(_, slot)| slot.call.is_none());
        let unborn: Vec<CallKey> = unborn.map(|(key, _)| *key).collect();
        for key in unborn {
            self.lose(key, now);
        }
    }

    /// Lets a call work on its own queue; `None` when it panicked. The call stays outside, so that it outlives that.
    fn isolated(
        &mut self,
        key: CallKey,
        call: &mut Option<Box<Call>>,
        now: Instant,
        job: impl FnOnce(&mut Option<Box<Call>>, &mut Context<'_>),
    ) -> Option<Vec<Do>> {
        let wall = self.wall(now);
        let mut todo = Vec::new();
        let slot = self.slots.slots.get_mut(&key)?;
        let endpoint = &mut self.endpoint;
        let mut identifiers = || (endpoint.new_call_id(), endpoint.new_tag());
        let urgent = call.as_ref().is_some_and(|call| call.is_help());
        let mut ports =
            PortBook { ports: &mut self.ports, pools: &self.pools, held: &mut slot.ports, urgent };
        let mut permits = PermitBook { admission: &mut self.admission, held: &mut slot.permits };
        let flows = &self.flows;
        let opened = |local, remote| flows.opened_at(local, remote);
        let registrar = &self.registrar;
        let contact = |trunk: &str, address: &Address| {
            let binding = registrar.contact_at(trunk, address)?;
            Some((binding.uri.clone(), binding.origin.flow))
        };
        let health = &self.health;
        let rank = |place| health.rank(place, now);
        let mut context = Context {
            now,
            wall,
            random: &mut self.random,
            identifiers: &mut identifiers,
            rank: &rank,
            opened: &opened,
            contact: &contact,
            owned: &self.owned,
            ports: &mut ports,
            permits: &mut permits,
            out: &mut todo,
        };
        #[cfg(test)]
        let fault = self.fault.as_mut().and_then(|(fault, times, when)| {
            let hit = *fault == key && *times > 0;
            *times -= u8::from(hit);
            hit.then_some(*when)
        });
        // The context and what the call asked for go down with the job; of the call only its legs are used after that.
        let result = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            assert!(fault != Some(Fault::Before), "a fault injected by a test");
            job(call, &mut context);
            #[cfg(test)]
            assert!(fault != Some(Fault::After), "a fault injected by a test");
        }));
        result.ok().map(|()| todo)
    }

    /// The record of a call that failed by a fault of ours and cannot tell its own, unless it was written already.
    fn record_fault(&mut self, key: CallKey, wall: SystemTime) {
        let Some(slot) = self.slots.slots.get(&key).filter(|slot| slot.over.is_none()) else {
            return;
        };
        self.outputs.push_back(Output::Event(Event::CallEnded { cause: Cause::Internal }));
        let answered = slot.kept.t_answer.is_some();
        let mut story = Story::resume(Arc::clone(&slot.kept), wall);
        story.ended("gateway", Cause::Internal, answered, None, wall);
        self.outputs.extend(story.take().map(|record| Output::Journal(Entry::Ended(record))));
    }

    fn carry_out(&mut self, key: CallKey, todo: Vec<Do>, now: Instant) {
        #[cfg(test)]
        self.spring(super::inputs::Trap::Deeds);
        for item in todo {
            match item {
                Do::Leg { leg, sent_by, action } => self.act(key, leg, sent_by, *action, now),
                Do::Locate { reach, search } => {
                    self.reach(Asker::Call(key, search), reach, now);
                }
                Do::Trouble { place, address, all, trouble } => {
                    self.trouble(&place, address, all, trouble, now);
                }
                Do::Media(command) => self.media(key, command, now),
                Do::Event(event) => self.outputs.push_back(Output::Event(event)),
                Do::Dialog { tag, leg } => {
                    if let Some(slot) = self.slots.slots.get_mut(&key) {
                        slot.tags.push(tag.clone());
                        self.dialogs.insert(tag, (key, leg));
                    }
                }
            }
        }
    }

    fn act(&mut self, key: CallKey, leg: u8, sent_by: Bytes, action: Action, now: Instant) {
        match action {
            Action::Request { token, draft, hop } => {
                self.deliver_request(owner(key, leg), token.0, draft, hop, sent_by, now);
            }
            Action::Ack { draft, hop } => {
                self.deliver_ack(owner(key, leg), draft, hop, sent_by, now);
            }
            Action::Respond { server, draft } => {
                if draft.status() >= 400 && !self.answers_first_invite(key, leg, &draft) {
                    self.outputs.push_back(Output::Event(Event::RequestRefused));
                }
                self.endpoint.respond(server, draft, now);
            }
            Action::Cancel { token, reason } => {
                self.challenges.settle(owner(key, leg), token.0);
                self.delivery.larges.forget(owner(key, leg), token.0);
                let client = self.slots.slots.get(&key).and_then(|slot| {
                    slot.invites.iter().find(|(l, t, _)| (*l, *t) == (leg, token.0))
                });
                if let Some((_, _, client)) = client {
                    self.endpoint.cancel(*client, reason, now);
                }
            }
            Action::Event(_) => {}
        }
    }

    /// Whether a response of a leg is to the INVITE by which that began.
    fn answers_first_invite(&self, key: CallKey, leg: u8, draft: &Draft) -> bool {
        let leg = self.slots.call(key).and_then(|call| call.legs().nth(usize::from(leg)));
        let confirmed = leg.is_some_and(|leg| leg.state() == State::Confirmed);
        let cseq = draft.value(HeaderId::CSeq).unwrap_or_default();
        !confirmed && cseq.ends_with(b"INVITE")
    }

    /// Remembers an INVITE transaction, so that it can be cancelled.
    pub(super) fn note_invite(
        &mut self,
        owner: sip_stack::endpoint::Owner,
        token: u32,
        client: ClientId,
    ) {
        let Some((key, leg)) = call_of(owner) else { return };
        if let Some(slot) = self.slots.slots.get_mut(&key) {
            slot.invites.retain(|(l, ..)| *l != leg);
            slot.invites.push((leg, token, client));
        }
    }

    fn media(&mut self, key: CallKey, command: Command, now: Instant) {
        let Some(slot) = self.slots.slots.get_mut(&key) else { return };
        if let Command::Apply(plan) | Command::Resume { plan, .. } = &command {
            slot.shard = Some(plan.sides[0].port.shard);
        }
        let release = matches!(command, Command::Release(_));
        if let Some(shard) = slot.shard {
            self.outputs.push_back(Output::Media { shard, command });
        }
        if release {
            for port in slot.ports.drain(..) {
                self.ports.release(port, now);
            }
        }
    }

    /// After a call worked: writes its record when it is over, and drops it when nothing is left to do.
    fn finish(&mut self, key: CallKey, now: Instant) {
        let wall = self.wall(now);
        let Some(slot) = self.slots.slots.get_mut(&key) else { return };
        let Some(call) = &mut slot.call else { return };
        // A call that is over takes nobody's place, whatever is still owed for it.
        if call.is_answered() || call.is_over() {
            slot.under_way.take().iter().for_each(|call| self.pairs.end(call));
        }
        if call.is_answered() {
            let at = || call.story().answered_at().unwrap_or(wall);
            self.admission.answered(&mut slot.permits, at);
        }
        if call.is_over() {
            self.admission.release_all(std::mem::take(&mut slot.permits), now);
        } else if !call.is_transferring() {
            let left = [slot.permits.target.take(), slot.permits.referrer.take()];
            left.into_iter().flatten().for_each(|permit| self.admission.release(permit, now));
        }
        if let Some(snapshot) = call.news(now, wall) {
            slot.kept = Arc::clone(snapshot.record());
            self.outputs.push_back(Output::Journal(Entry::Standing(snapshot)));
        }
        if call.is_over() && !call.is_recorded() && !std::mem::replace(&mut slot.ending, true) {
            // The next process shall not take up what both sides have left.
            let record = Arc::clone(call.story().record());
            self.outputs.push_back(Output::Journal(Entry::Ending(record)));
        }
        if call.is_recorded() && slot.over.is_none() {
            slot.over = Some(now);
            self.slots.over += 1;
            if let Some(record) = call.story().take() {
                self.outputs.push_back(Output::Journal(Entry::Ended(record)));
            }
            for port in slot.ports.drain(..) {
                self.ports.release(port, now);
            }
        }
        let outlived = slot.over.is_some_and(|over| now >= over + LONGEST_FAREWELL);
        if call.is_finished() || outlived {
            self.reap(key, now);
            return;
        }
        let due = call.poll_timeout().into_iter().chain(slot.over.map(|o| o + LONGEST_FAREWELL));
        let due = due.min();
        self.slots.schedule(key, due);
    }

    /// Drops a call with everything that is known of it.
    pub(super) fn reap(&mut self, key: CallKey, now: Instant) {
        self.slots.schedule(key, None);
        let Some(slot) = self.slots.slots.remove(&key) else { return };
        if slot.over.is_some() {
            self.slots.over -= 1;
        } else if let Some(shard) = slot.shard {
            let command = Command::Release(SessionId(key.0));
            self.outputs.push_back(Output::Media { shard, command });
        }
        for tag in &slot.tags {
            self.dialogs.remove(tag);
        }
        // One more than has a tag: the fault may have come before the tag was told.
        for leg in 0..=u8::try_from(slot.tags.len()).unwrap_or(u8::MAX) {
            self.endpoint.release(owner(key, leg), now);
            self.delivery.forget(owner(key, leg));
            self.challenges.forget(owner(key, leg));
        }
        self.admission.release_all(slot.permits, now);
        slot.under_way.iter().for_each(|call| self.pairs.end(call));
        for port in slot.ports {
            self.ports.release(port, now);
        }
    }
}
