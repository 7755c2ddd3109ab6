//! The called side until it answers (RFC 3261 §13.3), and the 2xx until its ACK (RFC 6026 §7.1).
//!
//! ```text
//! input                 | Invited
//! ----------------------+----------------------------------------------------------
//! ring()                | 18x, repeated each minute
//! answer()              | 2xx, repeated until its ACK -> Answered
//! reject(), bye()       | final -> Ended
//! CANCEL, BYE           | 487, Cancelled -> Ended
//!
//! input                 | Answered
//! ----------------------+----------------------------------------------------------
//! ACK                   | Confirmed, after Answer if our 2xx made the offer
//! ACK without answer    | BYE, Ended NoAnswer -> Ending
//! 64*T1 without ACK     | BYE, Ended NoAck -> Ending
//! bye()                 | Ended Local -> Ending; the BYE waits for ACK or 64*T1 (§15)
//! BYE                   | 200, Ended Remote -> Ending
//! CANCEL                | -
//! ```
//!
//! `ring`, `answer` and `reject` do nothing in any other state: the caller was faster.

use std::mem;
use std::time::Instant;

use bytes::Bytes;

use super::offer_answer::Offers;
use super::reply::{push_extra, push_sdp};
use super::timer::{RING, Timer};
use super::{Action, Event, Extra, Leg, LegIdentity, Outbox, Phase};
use crate::dialog::{Dialog, keep};
use crate::endpoint::ServerId;
use crate::message::{Draft, Message};
use crate::transport::Source;

/// The peer's INVITE without a final response.
#[derive(Debug)]
pub(super) struct Called {
    server: ServerId,
    invite: Message,
    /// The last 18x.
    ringing: Option<Draft>,
}

impl Leg {
    /// Begins a leg on the called side. The INVITE must have passed [`Leg::refusal`]; nothing is
    /// sent yet. `identity.remote` and `identity.local` are what From and To of our own later
    /// requests show.
    pub fn incoming(
        server: ServerId,
        invite: &Message,
        source: &Source,
        identity: LegIdentity,
        local_tag: Bytes,
    ) -> Self {
        let (local, remote) = (identity.local.clone(), identity.remote.clone());
        let dialog = Dialog::uas(invite, source, local_tag, local, remote);
        let remote = invite.sdp().map(|sdp| keep(&sdp));
        let called = Called { server, invite: invite.clone(), ringing: None };
        let offers = Offers { remote, ..Offers::default() };
        Self::new(identity, dialog, false, Phase::Called(Box::new(called)), offers)
    }

    /// The offer in the peer's INVITE, while it is not answered.
    pub const fn remote_offer(&self) -> Option<&Bytes> {
        match &self.phase {
            Phase::Called(_) => self.offers.remote.as_ref(),
            Phase::Calling(_) | Phase::Talking | Phase::Closing(_) | Phase::Closed => None,
        }
    }

    /// Sends a provisional response from 101 to 199, with a preview of the answer if there is one
    /// (it must then be the same in every 18x and in the 2xx: RFC 6337 §3.1.1).
    pub fn ring(
        &mut self,
        status: u16,
        sdp: Option<Bytes>,
        extra: &[Extra],
        now: Instant,
        out: &mut Outbox,
    ) {
        let Phase::Called(called) = &self.phase else { return };
        if !(101..200).contains(&status) {
            return;
        }
        let server = called.server;
        let mut draft = self.response(&called.invite, status);
        push_extra(&mut draft, extra);
        if let Some(sdp) = sdp {
            push_sdp(&mut draft, sdp);
        }
        if let Phase::Called(called) = &mut self.phase {
            called.ringing = Some(draft.clone());
        }
        self.timers.set(Timer::Ring, now + RING);
        out.push_back(Action::Respond { server, draft });
    }

    /// [`Timer::Ring`].
    pub(super) fn ring_again(&mut self, now: Instant, out: &mut Outbox) {
        let Phase::Called(called) = &self.phase else { return };
        let Some(draft) = called.ringing.clone() else { return };
        self.timers.set(Timer::Ring, now + RING);
        out.push_back(Action::Respond { server: called.server, draft });
    }

    /// Answers with 200: `sdp` is our answer, or our offer when the INVITE had none.
    pub fn answer(&mut self, sdp: Bytes, extra: &[Extra], now: Instant, out: &mut Outbox) {
        let Some((server, invite)) = self.take_invite(Phase::Talking) else { return };
        let mut draft = self.response(&invite, 200);
        push_extra(&mut draft, extra);
        self.grant_session(&invite, &mut draft, now);
        push_sdp(&mut draft, sdp.clone());
        let offer = if let Some(theirs) = self.offers.remote.take() {
            self.offers.agree(sdp, theirs);
            None
        } else {
            Some(sdp)
        };
        self.await_ack(server, invite.cseq(), draft, offer, true, now, out);
    }

    /// Refuses the call with a final response from 300 to 699 (500 stands for any other number).
    pub fn reject(
        &mut self,
        status: u16,
        reason_phrase: Option<Bytes>,
        extra: &[Extra],
        out: &mut Outbox,
    ) {
        let Some((server, invite)) = self.take_invite(Phase::Closed) else { return };
        let status = if (300..700).contains(&status) { status } else { 500 };
        let mut draft = self.response(&invite, status);
        if let Some(phrase) = reason_phrase {
            draft.reason_phrase(phrase);
        }
        push_extra(&mut draft, extra);
        self.drop_waiting(out);
        self.close();
        out.push_back(Action::Respond { server, draft });
    }

    /// The CANCEL of an INVITE of the peer; the endpoint answered the CANCEL itself.
    pub fn handle_cancelled(&mut self, message: &Message, now: Instant, out: &mut Outbox) {
        match &self.phase {
            Phase::Called(called) if called.invite.cseq() == message.cseq() => {
                self.caller_gave_up(message, out);
            }
            Phase::Talking => self.withdraw_offer(message, now, out),
            Phase::Called(_) | Phase::Calling(_) | Phase::Closing(_) | Phase::Closed => {}
        }
    }

    /// CANCEL, or BYE on the early dialog: 487 (RFC 3261 §9.2, §15.1.2).
    pub(super) fn caller_gave_up(&mut self, message: &Message, out: &mut Outbox) {
        let Some((server, invite)) = self.take_invite(Phase::Closed) else { return };
        self.reply(server, &invite, 487, out);
        self.drop_waiting(out);
        self.close();
        out.push_back(Action::Event(Event::Cancelled { message: message.clone() }));
    }

    /// The INVITE that waits for its final response; the leg goes on to `next`.
    fn take_invite(&mut self, next: Phase) -> Option<(ServerId, Message)> {
        if !matches!(self.phase, Phase::Called(_)) {
            return None;
        }
        let Phase::Called(called) = mem::replace(&mut self.phase, next) else { return None };
        self.timers.stop(Timer::Ring);
        Some((called.server, called.invite))
    }
}
