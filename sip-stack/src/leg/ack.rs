//! ACKs (RFC 3261 §13.2.2.4, §13.3.1.4, RFC 6026): ours for a 2xx to an INVITE, sent again with each
//! repeat of that 2xx; and the peer's, until which our 2xx is repeated.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::offer_answer::Exchange;
use super::reply::push_sdp;
use super::timer::{PATIENCE, T1, T2, Timer};
use super::{Action, EndedBy, Event, Hop, Leg, Outbox, Phase, Token};
use crate::dialog::keep;
use crate::endpoint::ServerId;
use crate::message::{Draft, Message, Method};
use crate::transport::Source;

pub(super) struct AckAwaited {
    server: ServerId,
    cseq: u32,
    draft: Draft,
    interval: Duration,
    /// Our offer in the 2xx, whose answer the ACK owes us.
    offer: Option<Bytes>,
    /// Of the initial INVITE.
    pub(super) initial: bool,
}

impl AckAwaited {
    /// Our 2xx made the offer.
    pub(super) const fn owes_answer(&self) -> bool {
        self.offer.is_some()
    }
}

/// An ACK that we sent for a 2xx.
pub(super) struct Acked {
    pub(super) token: Token,
    pub(super) tag: Bytes,
    pub(super) draft: Draft,
    pub(super) hop: Hop,
}

/// Ours.
impl Leg {
    /// Sends the ACK for a 2xx to an INVITE of ours and remembers it for repeats of that 2xx.
    pub(super) fn send_ack(
        &mut self,
        token: Token,
        cseq: u32,
        sdp: Option<Bytes>,
        out: &mut Outbox,
    ) {
        let (mut draft, hop) = self.dialog.ack(cseq);
        self.sign(&mut draft, &Method::Ack);
        if let Some(sdp) = sdp {
            push_sdp(&mut draft, sdp);
        }
        let (invite, tag) = (self.invite, self.dialog.id.remote_tag.clone());
        // Of a dialog's INVITEs only the first and the last can still be repeated.
        self.acks.retain(|ack| ack.tag != tag || Some(ack.token) == invite);
        self.acks.push(Acked { token, tag, draft: draft.clone(), hop: hop.clone() });
        out.push_back(Action::Ack { draft, hop });
    }

    /// A 2xx came again: so does its ACK (RFC 3261 §13.2.2.4).
    pub(super) fn repeat_ack(&self, token: Token, message: &Message, out: &mut Outbox) {
        let tag = message.to_tag().unwrap_or_default();
        let sent = self.acks.iter().find(|ack| ack.token == token && ack.tag == tag);
        if let Some(ack) = sent {
            out.push_back(Action::Ack { draft: ack.draft.clone(), hop: ack.hop.clone() });
        }
    }
}

/// The peer's.
impl Leg {
    #[expect(clippy::too_many_arguments, reason = "one 2xx has this much to it; three callers")]
    pub(super) fn await_ack(
        &mut self,
        server: ServerId,
        cseq: u32,
        draft: Draft,
        offer: Option<Bytes>,
        initial: bool,
        now: Instant,
        out: &mut Outbox,
    ) {
        out.push_back(Action::Respond { server, draft: draft.clone() });
        let awaited = AckAwaited { server, cseq, draft, interval: T1, offer, initial };
        self.offers.exchange = Exchange::AckAwaited(Box::new(awaited));
        self.timers.set(Timer::Answer, now + T1);
        self.timers.set(Timer::Ack, now + PATIENCE);
    }

    /// [`Timer::Answer`].
    pub(super) fn answer_again(&mut self, now: Instant, out: &mut Outbox) {
        let Exchange::AckAwaited(awaited) = &mut self.offers.exchange else { return };
        awaited.interval = (awaited.interval * 2).min(T2);
        self.timers.set(Timer::Answer, now + awaited.interval);
        let (server, draft) = (awaited.server, awaited.draft.clone());
        out.push_back(Action::Respond { server, draft });
    }

    /// The ACK for a 2xx of ours.
    pub fn handle_ack(
        &mut self,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        let expected = matches!(&self.offers.exchange,
            Exchange::AckAwaited(awaited) if awaited.cseq == message.cseq());
        if !expected || !self.dialog.owns_request(message) {
            return;
        }
        let Some(awaited) = self.take_awaited() else { return };
        self.dialog.hear(source);
        if matches!(self.phase, Phase::Closing(_)) {
            self.send_held_bye(now, out);
            return;
        }
        match (awaited.offer, message.sdp()) {
            (Some(ours), Some(theirs)) => {
                let theirs = keep(&theirs);
                self.offers.agree(ours, theirs.clone());
                out.push_back(Action::Event(Event::Answer { sdp: theirs }));
            }
            (Some(_), None) if awaited.initial => {
                self.end(EndedBy::NoAnswer, Some(message), now, out);
                return;
            }
            (Some(_), None) => {
                out.push_back(Action::Event(Event::OfferRefused { status: 488 }));
            }
            (None, _) => {}
        }
        if awaited.initial {
            out.push_back(Action::Event(Event::Confirmed));
        }
        self.flush(now, out);
    }

    /// The peer has sent what it sends after its ACK only.
    pub(super) fn ack_implied(&mut self, out: &mut Outbox) {
        if self.take_awaited().is_some_and(|awaited| awaited.initial) {
            out.push_back(Action::Event(Event::Confirmed));
        }
    }

    /// [`Timer::Ack`]: no ACK came (RFC 3261 §13.3.1.4, §14.2).
    pub(super) fn ack_missing(&mut self, now: Instant, out: &mut Outbox) {
        if self.take_awaited().is_none() {
            return;
        }
        if matches!(self.phase, Phase::Closing(_)) {
            self.send_held_bye(now, out);
        } else {
            self.end(EndedBy::NoAck, None, now, out);
        }
    }

    pub(super) fn take_awaited(&mut self) -> Option<AckAwaited> {
        if !matches!(self.offers.exchange, Exchange::AckAwaited(_)) {
            return None;
        }
        let Exchange::AckAwaited(awaited) = mem::take(&mut self.offers.exchange) else {
            return None;
        };
        self.timers.stop(Timer::Answer);
        self.timers.stop(Timer::Ack);
        Some(*awaited)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::rig::{OURS, Rig, THEIRS};

    #[test]
    fn ack_of_a_200_is_the_same_each_time() {
        let mut rig = Rig::calling(OURS);
        rig.take();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        let first = rig.last_draft().write();
        rig.take();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.last_draft().write(), first);
    }

    #[test]
    fn repeated_ack_is_absorbed() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.ack(10, "");
        rig.drain();
        rig.ack(10, "");
        rig.ack(10, THEIRS);
        assert!(rig.drain().is_empty());
        assert_eq!(rig.state(), State::Confirmed);
    }

    #[test]
    fn ack_with_an_answer_that_nobody_asked_for_changes_nothing() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.drain();
        rig.ack(10, "v=0 other");
        assert_eq!(rig.drain(), ["Confirmed"]);
        assert_eq!(rig.leg.remote_sdp().unwrap(), THEIRS);
    }

    #[test]
    fn repeated_200_is_the_same_each_time() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        let first = rig.last_draft().write();
        rig.take();
        rig.seconds(5);
        assert_eq!(rig.last_draft().write(), first);
    }

    /// RFC 5407 §3.1.4: on another connection, or over UDP, it may come before the ACK, or instead of it.
    #[test]
    fn a_reinvite_before_the_ack_implies_it() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.drain();
        rig.request("INVITE", "", "v=0 new");
        assert_eq!(rig.drain(), ["Confirmed", "Offer v=0 new"]);
        rig.accept("v=0 ours 2");
        assert_eq!(rig.drain(), ["200 INVITE +sdp"]);
        rig.ack(10, "");
        assert!(rig.drain().is_empty(), "late");
        rig.request("INVITE", "", "v=0 new");
        assert_eq!(rig.drain(), ["200 INVITE +sdp"], "the second is acknowledged by the third");
        rig.ack(12, "");
        rig.seconds(60);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn a_reinvite_before_the_ack_that_owes_us_an_answer_is_told_to_come_again() {
        let mut rig = Rig::called("");
        rig.answer(OURS);
        rig.drain();
        rig.request("INVITE", "", "v=0 new");
        assert_eq!(rig.drain(), ["500 INVITE"]);
        rig.ack(10, THEIRS);
        rig.request("INVITE", "", "v=0 new");
        assert_eq!(rig.drain(), ["Answer v=0 theirs", "Confirmed", "Offer v=0 new"]);
    }
}
