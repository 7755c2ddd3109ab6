//! The inputs of the core: whatever the network, the relay, a resolver or time can bring about comes in here, behind a
//! guard.
//!
//! A fault of ours costs what it befell: one message, one deadline, one event; what is served next is served. (A fault
//! inside a call is caught nearer, in `slots`, and costs that call.) What was held for a call that was not yet one is
//! given back. A deadline that fails is taken out, so that it does not fail again at once and for ever.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;
use media_relay::SessionId;
use sip_stack::endpoint::SendId;
use sip_stack::locate::{Answer, QueryId};
use sip_stack::message::{Message, ParseError};
use sip_stack::transport::{FlowId, Source};

use super::kin::Kin;
use super::{Core, Opened, Output};
use crate::call::CallKey;
use crate::event::{Dropped, Event, Refusal};
use crate::failure::Cause;
use crate::intake::Place;

impl Core {
    /// Where a message belongs that has not been read; `None` when it is dropped.
    pub fn sort(&mut self, source: &Source, raw: &[u8], now: Instant) -> Option<Place> {
        self.guarded(now, |core| core.place_of(source, raw, now)).flatten()
    }

    /// Refuses a new call for load. False when it is none, and has to be served.
    pub fn shed(&mut self, source: &Source, raw: &Bytes, now: Instant) -> bool {
        let refused = self.input(now, |core| core.turn_away_for_load(source, raw, now));
        refused.unwrap_or(true)
    }

    /// A message came.
    pub fn handle_message(&mut self, source: Source, message: Message, now: Instant) {
        self.input(now, |core| {
            if !core.hand_on(&source, &message, None) {
                core.take_own(source, message, now);
            }
        });
    }

    /// Another process hands over what came to it.
    pub fn handle_handed(&mut self, from: Kin, source: Source, message: Message, now: Instant) {
        self.input(now, |core| core.take_handed(from, source, message, now));
    }

    /// Something came that is no message.
    pub fn handle_unreadable(&mut self, source: Source, error: ParseError, now: Instant) {
        self.input(now, |core| core.take_unreadable(source, error, now));
    }

    /// A connection is open.
    pub fn handle_opened(&mut self, flow: FlowId, opened: Opened, now: Instant) {
        self.input(now, |core| core.note_opened(flow, opened, now));
    }

    /// A connection is gone. Dialogs live on without it.
    pub fn handle_closed(&mut self, flow: FlowId, now: Instant) {
        self.input(now, |core| {
            core.flows.close(flow);
            core.unregister_on(flow, now);
        });
    }

    /// A connection from or to that address was refused.
    pub fn handle_refused(&mut self, refusal: Refusal, remote: SocketAddr, now: Instant) {
        self.input(now, |core| {
            if refusal.is_ours() {
                core.health.not_reached(remote, now);
            }
            core.outputs.push_back(Output::Event(Event::Refused(refusal)));
        });
    }

    /// A send could not be delivered.
    pub fn handle_send_failed(&mut self, send: SendId, now: Instant) {
        self.input(now, |core| {
            #[cfg(test)]
            core.spring(Trap::SendFailed);
            if !core.retry_ack(send, now) {
                core.endpoint.handle_send_failed(send, now);
            }
        });
    }

    /// A resolver answered.
    pub fn handle_answer(&mut self, query: QueryId, answer: Answer, now: Instant) {
        self.input(now, |core| {
            #[cfg(test)]
            core.spring(Trap::Answer);
            core.locator.handle_answer(query, answer, now);
        });
    }

    /// The relay tells something.
    pub fn handle_media(&mut self, event: media_relay::Event, now: Instant) {
        self.input(now, |core| core.take_media(event, now));
    }

    /// The relay did not take a plan. A call without media is no call: it ends, and its session is released, for which
    /// the relay always has room.
    pub fn handle_media_refused(&mut self, session: SessionId, now: Instant) {
        self.input(now, |core| {
            core.with_call(CallKey(session.0), now, |call, cx| call.end(Cause::Internal, cx));
        });
    }

    /// Serves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.guarded(now, |core| core.serve_transactions(now)).is_none() {
            self.guarded(now, |core| core.endpoint.forget_due(now));
        }
        self.guarded(now, |core| core.locator.handle_timeout(now));
        while let Some(key) = self.slots.due(now) {
            let served = self.guarded(now, |core| {
                core.with_call(key, now, |call, cx| call.handle_timeout(cx));
            });
            if served.is_none() {
                self.slots.forget_due(key);
                self.guarded(now, |core| core.lose(key, now));
            }
        }
        while let Some(place) = self.health.due(now) {
            // The newest process alone speaks for all.
            if !self.kindred.has_heir() {
                self.guarded(now, |core| core.probe(place, now));
            }
        }
        self.serve_registrations(now);
        self.input(now, |core| core.serve_registrar(now));
        self.input(now, |core| core.check_flows(now));
    }

    pub(super) fn serve_registrations(&mut self, now: Instant) {
        while let Some(task) = self.registrations.due(now) {
            self.guarded(now, |core| core.serve_registration(task, now));
        }
    }

    /// An input, and then whatever endpoint and locator have to say.
    fn input<T>(&mut self, now: Instant, handle: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let handled = self.guarded(now, handle);
        self.settle_guarded(now);
        handled
    }

    /// What fails is gone; what was said after it still counts.
    pub(super) fn settle_guarded(&mut self, now: Instant) {
        for _ in 0..MOST_FAULTS {
            if self.guarded(now, |core| core.settle(now)).is_some() {
                break;
            }
        }
    }

    /// `None` when it failed by a fault of ours.
    pub(super) fn guarded<T>(
        &mut self,
        now: Instant,
        handle: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| handle(self)));
        if result.is_err() {
            tracing::error!("an input failed by a fault of the gateway and was dropped");
            self.outputs.push_back(Output::Event(Event::Fault));
            // When that fails as well it is left as it is.
            let _ = catch_unwind(AssertUnwindSafe(|| self.lose_unborn(now)));
            if let Some(server) = self.serving.take() {
                let abandon = || self.endpoint.abandon(server, now);
                let _ = catch_unwind(AssertUnwindSafe(abandon));
            }
        }
        result.ok()
    }

    /// A message that is for this process. Requests of strangers are dropped unanswered, before anything is kept of
    /// them.
    pub(super) fn take_own(&mut self, source: Source, message: Message, now: Instant) {
        if self.is_registering(&source, &message) {
            return self.take_register(source, message, now);
        }
        let known = self.is_known(&source)
            || self.dialog_of(&source, &message).is_some()
            // A CANCEL, an ACK, a repeat of somebody who was known a moment ago.
            || self.endpoint.knows(&source, &message);
        if message.is_request() && !known {
            self.note_stranger(source.remote.ip(), now);
            self.outputs.push_back(Output::Event(Event::Dropped(Dropped::Stranger)));
            return;
        }
        #[cfg(test)]
        self.spring(Trap::Message);
        self.endpoint.handle_message(source, message, now);
    }

    fn take_unreadable(&mut self, source: Source, error: ParseError, now: Instant) {
        #[cfg(test)]
        self.spring(Trap::Unreadable);
        if self.is_known(&source) {
            let cause = error.kind.label();
            tracing::debug!(from = %source.remote, cause, "unreadable message");
            self.outputs.push_back(Output::Event(Event::Unreadable { cause }));
            self.trace_unreadable(&source, &error, now);
            self.endpoint.handle_unreadable(source, error, now);
        } else {
            self.outputs.push_back(Output::Event(Event::Dropped(Dropped::Stranger)));
        }
    }

    fn take_media(&mut self, event: media_relay::Event, now: Instant) {
        #[cfg(test)]
        self.spring(Trap::Media);
        match event {
            media_relay::Event::Warm { ports } => self.ports.warm(&ports),
            media_relay::Event::Stray { port } => self.ports.stray(port, now),
            media_relay::Event::Cold { port } => self.ports.cold(port),
            media_relay::Event::Checkpoint { sessions } => self.keep_media(sessions),
            media_relay::Event::Latched { session, side, from } => {
                tracing::debug!(session = session.0, ?side, %from, "media source");
            }
            media_relay::Event::Sound { session, sides } => {
                let key = CallKey(session.0);
                self.with_call(key, now, |call, cx| call.handle_sound(sides, cx));
            }
            media_relay::Event::Ended { session, why, stats } => {
                if why != media_relay::End::Released {
                    tracing::error!(
                        session = session.0,
                        ?why,
                        "the relay ended a session by itself"
                    );
                }
                let key = CallKey(session.0);
                self.with_call(key, now, |call, cx| call.handle_media_ended(stats, cx));
            }
        }
    }

    fn serve_transactions(&mut self, now: Instant) {
        #[cfg(test)]
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.spring(Trap::Timer);
        }
        self.endpoint.handle_timeout(now);
    }

    /// Fails where a test has set a trap.
    #[cfg(test)]
    pub(super) fn spring(&mut self, at: Trap) {
        if let Some((set, left)) = &mut self.trap
            && *set == at
            && *left > 0
        {
            *left -= 1;
            panic!("a fault injected by a test");
        }
    }
}

/// Where a test lets the core fail.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    Door,
    Shed,
    Message,
    Handed,
    Unreadable,
    SendFailed,
    Answer,
    Media,
    Timer,
    /// What a call has asked for is being done.
    Deeds,
    /// A request has come that nobody serves yet.
    Request,
    /// A call is being made: what it needs is held already.
    Invite,
    /// A call is being taken up: what it needs is held already.
    Restore,
}

/// Faults in what one input has led to, after which the rest waits for the next input.
const MOST_FAULTS: usize = 64;
