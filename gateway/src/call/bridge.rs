//! What passes from one leg to the other: answers, offers, ends.

use bytes::Bytes;
use sip_stack::endpoint::ServerId;
use sip_stack::leg::{EndedBy, Event as LegEvent, Extra};
use sip_stack::message::{Draft, HeaderId, Message, Method};

use super::{CALLEE, CALLER, Call, CallLeg, Context, Do, Exchange, FIGURES, Phase};
use crate::event::Event;
use crate::failure::{Cause, RETRY_AFTER, reason_header};
use crate::profile::{Further, Location};

impl Call {
    /// Reacts to what happened on a leg.
    pub(super) fn on_event(&mut self, at: usize, event: LegEvent, cx: &mut Context<'_>) {
        if self.transfer.as_ref().is_some_and(|transfer| transfer.leg == Some(at)) {
            return self.on_target(at, event, cx);
        }
        if !self.speakers.contains(&Some(at)) {
            // An attempt that was given up, or a leg that was replaced: it ends by itself.
            return self.on_parted(at, event, cx);
        }
        match event {
            LegEvent::Provisional { message, sdp } => self.provisional(&message, sdp.as_ref(), cx),
            LegEvent::Answered { message, sdp } => self.answered(at, &message, sdp.as_ref(), cx),
            LegEvent::Rejected { status, message, why } => {
                self.note(at, message.as_ref());
                self.attempt_failed(status, message.as_ref(), why, cx);
            }
            LegEvent::Confirmed => self.confirmed(at, cx),
            LegEvent::Answer { sdp } => self.offer_answered(at, &sdp, cx),
            LegEvent::Refreshed { sdp } => self.refreshed(at, &sdp, cx),
            LegEvent::Offer { sdp, .. } => self.offered(at, sdp.as_ref(), cx),
            LegEvent::OfferWithdrawn => self.offer_withdrawn(at, cx),
            LegEvent::OfferRefused { status } => self.offer_refused(at, status, cx),
            LegEvent::Request { server, message } if *message.method() == Method::Refer => {
                self.refer(at, server, &message, cx);
            }
            LegEvent::Request { server, message } if *message.method() == Method::Notify => {
                self.notified(at, server, &message, cx);
            }
            LegEvent::Request { server, message } => self.respond(at, server, &message, 405, cx),
            LegEvent::Referred { status } => self.referral_answered(status, cx),
            LegEvent::Ended { by, message } => self.ended(at, by, message.as_ref(), cx),
            LegEvent::Cancelled { message } => {
                self.note(at, Some(&message));
                self.conclude("caller", Cause::CallerGaveUp, Some(&message), cx);
            }
        }
    }

    /// The callee answered: the caller gets an answer to its offer, or an offer when it made none.
    fn answered(
        &mut self,
        at: usize,
        message: &Message,
        sdp: Option<&Bytes>,
        cx: &mut Context<'_>,
    ) {
        self.attempts.timers.stop_all();
        self.story.attempt_result(message.status());
        self.note(at, Some(message));
        let offers = self.legs[CALLER].leg.remote_offer().is_none();
        let taken = match sdp {
            Some(sdp) => self.media.take_answer(CALLEE, sdp, cx.owned),
            None => Err(Cause::BadOffer),
        };
        let described = taken.and_then(|()| match &self.told {
            Some(told) => Ok(told.clone()),
            None if offers => Ok(self.media.offer(CALLER, cx.random).into()),
            None => self.media.answer(CALLER, cx.random).map(Bytes::from),
        });
        let sdp = match described {
            Ok(sdp) => sdp,
            Err(cause) => return self.conclude("gateway", cause, None, cx),
        };
        self.media.end_ringback(CALLER);
        self.phase = Phase::Talking;
        self.location = Location::default();
        self.further = Further::default();
        if offers {
            self.exchange = Exchange::InAck(CALLER);
        }
        self.bound(at, cx);
        self.story.answered(cx.wall);
        cx.out.push(Do::Event(Event::CallAnswered { setup: self.story.setup() }));
        self.apply(cx);
        self.on_leg(CALLER, cx, |leg, now, out| leg.answer(sdp, &[], now, out));
    }

    /// A leg's 2xx was acknowledged. What the caller was told early stands in its 2xx as well (RFC 3261 §13.2.1); where
    /// the callee that answered has agreed to something else, it is told now.
    fn confirmed(&mut self, at: usize, cx: &mut Context<'_>) {
        let told = at == CALLER && self.told.take().is_some();
        if told && self.exchange == Exchange::Idle && !self.media.agrees(CALLEE) {
            self.offer_again(CALLER, cx);
        }
        if at == CALLER {
            self.settle_amended(cx);
        }
    }

    /// A peer offers a change. What concerns only our side of it is answered here; anything else is offered to the
    /// other side first.
    fn offered(&mut self, at: usize, sdp: Option<&Bytes>, cx: &mut Context<'_>) {
        if self.phase == Phase::Trying {
            return self.offered_early(at, sdp, cx);
        }
        if self.exchange != Exchange::Idle {
            return self.refuse(at, 491, cx);
        }
        let own = self.legs[at].side;
        let Some(sdp) = sdp else {
            // RFC 3264: it asks us to offer; its answer comes in the ACK.
            self.exchange = Exchange::InAck(at);
            let offer = Bytes::from(self.media.offer_asked_for(own, cx.random));
            return self.on_leg(at, cx, |leg, now, out| leg.accept_offer(offer, now, out));
        };
        if let Err(cause) = self.media.take_offer(own, sdp, cx.owned) {
            return self.refuse(at, cause.status(), cx);
        }
        // Nobody is there, until the target of a transfer answers: what it then needs is offered then.
        let Some(other) = self.other(at) else { return self.accept(at, cx) };
        if self.media.lacks_music(self.legs[other].side) {
            tracing::debug!(call = self.story.id(), "no music on hold: no G.711 with that side");
        }
        if !self.media.concerns_other(own) {
            return self.accept(at, cx);
        }
        if !self.media.can_offer(self.legs[other].side) {
            return self.refuse(at, Cause::NothingInCommon.status(), cx);
        }
        self.exchange = Exchange::For(at);
        self.offer_to(other, cx);
    }

    /// An answer to an offer of ours: in a 2xx to our re-INVITE, or in an ACK.
    fn offer_answered(&mut self, at: usize, sdp: &Bytes, cx: &mut Context<'_>) {
        let own = self.legs[at].side;
        let taken = self.media.take_answer(own, sdp, cx.owned);
        let strays = taken.is_err() && self.media.reject_answer(own, sdp);
        match (std::mem::replace(&mut self.exchange, Exchange::Idle), taken) {
            (Exchange::For(waiting), Ok(())) => self.accept(waiting, cx),
            (Exchange::For(waiting), Err(cause)) => {
                self.refuse(waiting, cause.status(), cx);
                if strays {
                    // It has accepted to have no stream at all: the one that stands is offered anew.
                    self.offer_again(at, cx);
                }
            }
            (Exchange::Withdrawn(_), _) => {
                self.offer_again(at, cx);
            }
            (Exchange::InAck(_), Err(cause)) => self.conclude("gateway", cause, None, cx),
            (Exchange::Idle | Exchange::Resync(_), Err(cause)) => {
                tracing::warn!(call = self.story.id(), %cause, "an answer cannot be taken");
                // Twice it has left us without any stream, or it holds on to another kind than the other side.
                if strays || self.media.is_apart() {
                    return self.conclude("gateway", cause, None, cx);
                }
            }
            (Exchange::InAck(_), Ok(())) => {
                self.apply(cx);
                self.bring_together(own, cx);
            }
            (Exchange::Idle | Exchange::Resync(_), Ok(())) => self.apply(cx),
        }
        self.settle_amended(cx);
    }

    /// The answer to a session refresh: the peer has another key or address, or other codecs. Offers that are under way
    /// are answered apart from it.
    fn refreshed(&mut self, at: usize, sdp: &Bytes, cx: &mut Context<'_>) {
        let own = self.legs[at].side;
        if let Err(cause) = self.media.take_refreshed(own, sdp, cx.owned) {
            tracing::warn!(call = self.story.id(), %cause, "the answer to a refresh cannot be taken");
            return;
        }
        self.apply(cx);
        if self.exchange == Exchange::Idle
            && !self.media.agrees(own)
            && let Some(other) = self.other(at)
        {
            self.offer_again(other, cx);
        }
    }

    fn offer_withdrawn(&mut self, at: usize, cx: &mut Context<'_>) {
        self.media.drop_offer(self.legs[at].side);
        self.exchange = match self.exchange {
            Exchange::For(leg) if leg == at => Exchange::Withdrawn(at),
            Exchange::InAck(leg) if leg == at => Exchange::Idle,
            other @ (Exchange::Idle
            | Exchange::For(_)
            | Exchange::Withdrawn(_)
            | Exchange::Resync(_)
            | Exchange::InAck(_)) => other,
        };
        self.settle_amended(cx);
    }

    fn offer_refused(&mut self, at: usize, status: u16, cx: &mut Context<'_>) {
        self.media.withdraw_offer(self.legs[at].side);
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::For(waiting) => self.refuse(waiting, status, cx),
            // One side speaks and the other one faxes, and will not be brought together: nobody would hear anything.
            Exchange::Resync(_) if self.media.is_apart() => {
                return self.conclude("gateway", Cause::NothingInCommon, None, cx);
            }
            Exchange::Idle | Exchange::Withdrawn(_) | Exchange::Resync(_) | Exchange::InAck(_) => {}
        }
        self.settle_amended(cx);
    }

    /// Tells a leg what stands now.
    pub(super) fn offer_again(&mut self, at: usize, cx: &mut Context<'_>) {
        self.exchange = Exchange::Resync(at);
        self.offer_to(at, cx);
    }

    fn offer_to(&mut self, at: usize, cx: &mut Context<'_>) {
        let offer = Bytes::from(self.media.offer(self.legs[at].side, cx.random));
        self.on_leg(at, cx, |leg, now, out| leg.offer(offer, now, out));
    }

    pub(super) fn accept(&mut self, at: usize, cx: &mut Context<'_>) {
        match self.media.answer(self.legs[at].side, cx.random) {
            Ok(sdp) => {
                self.apply(cx);
                self.on_leg(at, cx, |leg, now, out| leg.accept_offer(sdp.into(), now, out));
            }
            Err(cause) => self.refuse(at, cause.status(), cx),
        }
    }

    pub(super) fn refuse(&mut self, at: usize, status: u16, cx: &mut Context<'_>) {
        self.media.drop_offer(self.legs[at].side);
        self.on_leg(at, cx, |leg, now, out| leg.refuse_offer(status, now, out));
    }

    fn ended(&mut self, at: usize, by: EndedBy, message: Option<&Message>, cx: &mut Context<'_>) {
        let role = if self.legs[at].side == CALLER { "caller" } else { "callee" };
        self.note(at, message);
        let leaves = |transfer: &super::Transfer| transfer.side == self.legs[at].side;
        if self.transfer.as_ref().is_some_and(leaves) {
            return self.referrer_left(at, cx);
        }
        match by {
            EndedBy::Remote => self.conclude(role, Cause::Normal, message, cx),
            EndedBy::Local => self.conclude("gateway", Cause::Normal, message, cx),
            EndedBy::NoAck => self.conclude("gateway", Cause::NotConfirmed, None, cx),
            EndedBy::NoPrack => self.conclude("gateway", Cause::NotAcknowledged, None, cx),
            EndedBy::NoAnswer => self.conclude("gateway", Cause::BadOffer, None, cx),
            EndedBy::Gone | EndedBy::Expired => self.conclude("gateway", Cause::Lost, message, cx),
        }
    }

    /// Ends the call: once, with every leg told in its own way. `message` is the peer's that ended it, whose Reason
    /// goes on to the other side.
    pub(super) fn conclude(
        &mut self,
        by: &'static str,
        cause: Cause,
        message: Option<&Message>,
        cx: &mut Context<'_>,
    ) {
        if self.phase == Phase::Over {
            return;
        }
        let answered = self.phase == Phase::Talking;
        self.phase = Phase::Over;
        self.attempts.timers.stop_all();
        let reason = message.map(reasons).filter(|reason| !reason.is_empty()).map(Bytes::from);
        if self.speakers[CALLEE].is_some() && !answered {
            self.story.attempt_result(487);
        }
        self.story.ended(by, cause, answered, reason.as_deref(), cx.wall);
        let own_reason = || Bytes::from(reason_header(cause));
        if answered {
            self.transfer = None;
        }
        if let Some(at) = self.speakers[CALLEE] {
            let extra = reason.clone().or_else(|| (by == "gateway").then(own_reason));
            let extra: Vec<Extra> = extra.map(|r| (HeaderId::Reason, r)).into_iter().collect();
            self.on_leg(at, cx, |leg, now, out| leg.bye(&extra, now, out));
        }
        let mut extra: Vec<Extra> = vec![(HeaderId::Reason, reason.unwrap_or_else(own_reason))];
        if answered {
            // The speaker for the caller, the target of a transfer, and who was replaced and has stayed.
            for at in 0..self.legs.len() {
                self.on_leg(at, cx, |leg, now, out| leg.bye(&extra, now, out));
            }
        } else {
            let status = self.status_for_caller(cause);
            if cause.asks_to_wait() && status == 503 {
                extra.push((HeaderId::RetryAfter, RETRY_AFTER.into()));
            }
            self.on_leg(CALLER, cx, |leg, _, out| leg.reject(status, None, &extra, out));
        }
        if self.relayed {
            self.figures_deadline = Some(cx.now + FIGURES);
            cx.out.push(Do::Media(media_relay::Command::Release(self.media.session())));
        }
        cx.out.push(Do::Event(Event::CallEnded { cause }));
    }

    /// Ends a call that failed by a fault of ours, wherever that has left it: every leg hangs up. Figures are waited for
    /// only if the relay knows of the call.
    pub fn abandon(&mut self, has_media: bool, cx: &mut Context<'_>) {
        self.relayed &= has_media;
        self.conclude("gateway", Cause::Internal, None, cx);
        let extra = reason(Cause::Internal);
        self.on_leg(CALLER, cx, |leg, _, out| leg.reject(500, None, &extra, out));
        for at in 0..self.legs.len() {
            self.on_leg(at, cx, |leg, now, out| leg.bye(&extra, now, out));
        }
    }

    /// Tells the relay what was agreed.
    pub(super) fn apply(&mut self, cx: &mut Context<'_>) {
        self.relayed = true;
        let plan = match self.phase {
            Phase::Talking => self.bounds.watched(self.media.plan()),
            Phase::Trying | Phase::Over => self.media.plan(),
        };
        cx.out.push(Do::Media(media_relay::Command::Apply(Box::new(plan))));
    }

    /// Answers a request that is not about the session.
    pub(super) fn respond(
        &mut self,
        at: usize,
        server: ServerId,
        request: &Message,
        status: u16,
        cx: &mut Context<'_>,
    ) {
        let draft = Draft::response(request, status);
        self.on_leg(at, cx, |leg, _, out| leg.respond(server, draft, out));
    }

    pub(super) fn other(&self, at: usize) -> Option<usize> {
        self.speakers[1 - self.legs[at].side]
    }

    /// What a final message of a leg says in its peer's own terms, for the record.
    pub(super) fn note(&mut self, at: usize, message: Option<&Message>) {
        let CallLeg { profile, leg, .. } = &self.legs[at];
        if let Some(id) = message.and_then(|message| profile.correlation?(message)) {
            self.story.correlation(leg.call_id(), id);
        }
        self.story.heard(message.and_then(|message| profile.verdict?(message)));
    }
}

/// The Reason of what we end by ourselves (RFC 3326).
pub(super) fn reason(cause: Cause) -> [Extra; 1] {
    [(HeaderId::Reason, Bytes::from(reason_header(cause)))]
}

/// Every Reason of a message as one value (RFC 3326 §2: a list): a peer may look for one of them only.
fn reasons(message: &Message) -> Vec<u8> {
    message.values(HeaderId::Reason).collect::<Vec<_>>().join(&b", "[..])
}
