//! The called side until it answers (RFC 3261 §13.3), and the 2xx until its ACK (RFC 6026 §7.1).
//!
//! ```text
//! input                 | Invited
//! ----------------------+----------------------------------------------------------
//! ring()                | 18x, repeated each minute; reliably where that is due (see reliable)
//! answer()              | 2xx, repeated until its ACK -> Answered
//! reject(), bye()       | final, Ended Local -> Ended
//! CANCEL, BYE           | 487, Cancelled -> Ended
//!
//! input                 | Answered
//! ----------------------+----------------------------------------------------------
//! ACK                   | Confirmed, after Answer if our 2xx made the offer
//! re-INVITE             | implies the ACK, unless that owes us an answer (see offer_answer)
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
use super::{Action, EndedBy, Event, Extra, Leg, LegIdentity, Outbox, Phase};
use crate::dialog::{Dialog, keep};
use crate::endpoint::ServerId;
use crate::message::{Draft, Message};
use crate::transport::Source;

/// The peer's INVITE without a final response.
pub(super) struct Called {
    pub(super) server: ServerId,
    pub(super) invite: Message,
    /// The last 18x, and its SDP.
    ringing: Option<(Draft, Option<Bytes>)>,
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
        let mut leg = Self::new(identity, dialog, false, Phase::Called(Box::new(called)), offers);
        leg.invite_cseq = Some(invite.cseq());
        leg
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
        if !(101..200).contains(&status) || self.holds_answer() {
            return;
        }
        let mut draft = self.response(&called.invite, status);
        push_extra(&mut draft, extra);
        if let Phase::Called(called) = &mut self.phase {
            called.ringing = Some((draft.clone(), sdp.clone()));
        }
        self.timers.set(Timer::Ring, now + RING);
        self.send_ringing(draft, sdp, now, out);
    }

    /// [`Timer::Ring`].
    pub(super) fn ring_again(&mut self, now: Instant, out: &mut Outbox) {
        let Phase::Called(called) = &self.phase else { return };
        let Some((draft, sdp)) = called.ringing.clone() else { return };
        self.timers.set(Timer::Ring, now + RING);
        if !self.holds_answer() {
            self.send_ringing(draft, sdp, now, out);
        }
    }

    /// Answers with 200: `sdp` is our answer, or our offer when the INVITE had none. What a reliable
    /// 18x has answered already is not said again, and the 200 waits for the PRACK of that.
    pub fn answer(&mut self, sdp: Bytes, extra: &[Extra], now: Instant, out: &mut Outbox) {
        if self.hold_answer(&sdp, extra) {
            return;
        }
        let Some((server, invite)) = self.take_invite(Phase::Talking) else { return };
        let mut draft = self.response(&invite, 200);
        push_extra(&mut draft, extra);
        self.grant_session(&invite, &mut draft, now);
        let mut offer = None;
        if self.offers.local.is_none() {
            push_sdp(&mut draft, sdp.clone());
            match self.offers.remote.take() {
                Some(theirs) => self.offers.agree(sdp, theirs),
                None => offer = Some(sdp),
            }
        }
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
        let status = if (300..700).contains(&status) { status } else { 500 };
        self.refuse_invite(status, reason_phrase, extra, EndedBy::Local, out);
    }

    pub(super) fn refuse_invite(
        &mut self,
        status: u16,
        reason_phrase: Option<Bytes>,
        extra: &[Extra],
        by: EndedBy,
        out: &mut Outbox,
    ) {
        let Some((server, invite)) = self.take_invite(Phase::Closed) else { return };
        let mut draft = self.response(&invite, status);
        if let Some(phrase) = reason_phrase {
            draft.reason_phrase(phrase);
        }
        push_extra(&mut draft, extra);
        self.drop_exchange(out);
        self.drop_waiting(out);
        self.close();
        out.push_back(Action::Respond { server, draft });
        self.tell_end(by, None, out);
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
        self.drop_exchange(out);
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
        self.timers.stop(Timer::Provisional);
        self.timers.stop(Timer::Prack);
        Some((called.server, called.invite))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::State;
    use super::super::rig::{OURS, Rig, THEIRS, bytes};
    use crate::message::HeaderId;

    #[test]
    fn dialog_is_that_of_the_invite() {
        let rig = Rig::called(THEIRS);
        assert_eq!(rig.leg.id().call_id, "call");
        assert_eq!(rig.leg.id().local_tag, "us");
        assert_eq!(rig.leg.id().remote_tag, "them");
        assert_eq!(rig.leg.remote_target(), "sip:them@10.0.0.1");
        assert_eq!(rig.leg.remote_offer(), Some(&bytes(THEIRS)));
        assert_eq!(rig.state(), State::Invited);
        assert!(!rig.leg.is_caller());
    }

    #[test]
    fn responses_have_what_they_need() {
        let mut rig = Rig::called_with("Record-Route: <sip:r1;lr>, <sip:r2;lr>", THEIRS);
        rig.leg.ring(
            183,
            Some(bytes(OURS)),
            &[(HeaderId::Reason, bytes("x"))],
            rig.now,
            &mut rig.out,
        );
        assert_eq!(rig.header(HeaderId::To), "<sip:us@gw.example>;tag=us");
        assert_eq!(rig.header(HeaderId::Contact), "<sip:us@gw.example:5061;transport=tls>");
        assert_eq!(rig.header(HeaderId::RecordRoute), "<sip:r1;lr>, <sip:r2;lr>");
        assert_eq!(rig.header(HeaderId::Server), "bench");
        assert_eq!(rig.header(HeaderId::Reason), "x");
        assert_eq!(rig.last_draft().payload(), OURS);
        rig.answer(OURS);
        assert_eq!(rig.header(HeaderId::RecordRoute), "<sip:r1;lr>, <sip:r2;lr>");
        assert_eq!(rig.header(HeaderId::Supported), "replaces, timer");
        assert!(rig.header(HeaderId::Allow).starts_with("INVITE"));
        assert_eq!(rig.last_draft().payload(), OURS);
    }

    /// Every input while `Invited`, and while `Answered`.
    #[test]
    fn table() {
        type Outcome = (&'static [&'static str], State);
        type Row = (&'static str, fn(&mut Rig), Outcome, Outcome);
        let rows: [Row; 14] = [
            (
                "ring(180)",
                |rig| rig.ring(180, ""),
                (&["180 INVITE"], State::Invited),
                (&[], State::Answered),
            ),
            (
                "ring(183) with SDP",
                |rig| rig.ring(183, OURS),
                (&["183 INVITE +sdp"], State::Invited),
                (&[], State::Answered),
            ),
            ("ring(100)", |rig| rig.ring(100, ""), (&[], State::Invited), (&[], State::Answered)),
            (
                "answer()",
                |rig| rig.answer(OURS),
                (&["200 INVITE +sdp"], State::Answered),
                (&[], State::Answered),
            ),
            (
                "reject(486)",
                |rig| rig.reject(486),
                (&["486 INVITE", "Ended Local"], State::Ended),
                (&[], State::Answered),
            ),
            (
                "reject(200)",
                |rig| rig.reject(200),
                (&["500 INVITE", "Ended Local"], State::Ended),
                (&[], State::Answered),
            ),
            (
                "bye()",
                Rig::bye,
                (&["480 INVITE", "Ended Local"], State::Ended),
                (&["Ended Local"], State::Ending),
            ),
            (
                "cancel()",
                Rig::cancel,
                (&["480 INVITE", "Ended Local"], State::Ended),
                (&["Ended Local"], State::Ending),
            ),
            (
                "CANCEL",
                |rig| rig.cancelled(10),
                (&["487 INVITE", "Cancelled"], State::Ended),
                (&[], State::Answered),
            ),
            (
                "ACK",
                |rig| rig.ack(10, ""),
                (&[], State::Invited),
                (&["Confirmed"], State::Confirmed),
            ),
            (
                "ACK of another INVITE",
                |rig| rig.ack(9, ""),
                (&[], State::Invited),
                (&[], State::Answered),
            ),
            (
                "BYE",
                |rig| rig.request("BYE", "", ""),
                (&["200 BYE", "487 INVITE", "Cancelled"], State::Ended),
                (&["200 BYE", "Ended Remote"], State::Ended),
            ),
            (
                "INVITE",
                |rig| rig.request("INVITE", "", "v=0 new"),
                (&["500 INVITE"], State::Invited),
                (&["Confirmed", "Offer v=0 new"], State::Confirmed),
            ),
            (
                "accept_offer(), refuse_offer()",
                |rig| {
                    rig.accept(OURS);
                    rig.refuse(488);
                },
                (&[], State::Invited),
                (&[], State::Answered),
            ),
        ];
        for (name, input, (does, leads), (does_answered, leads_answered)) in rows {
            let mut rig = Rig::called(THEIRS);
            input(&mut rig);
            assert_eq!(rig.drain(), does, "{name}");
            assert_eq!(rig.state(), leads, "{name}");

            let mut rig = Rig::called(THEIRS);
            rig.answer(OURS);
            rig.drain();
            input(&mut rig);
            assert_eq!(rig.drain(), does_answered, "{name}, answered");
            assert_eq!(rig.state(), leads_answered, "{name}, answered");
        }
    }

    #[test]
    fn answer_after_the_caller_cancelled_does_nothing() {
        let mut rig = Rig::called(THEIRS);
        rig.ring(180, "");
        rig.cancelled(10);
        rig.drain();
        rig.answer(OURS);
        rig.reject(486);
        rig.ring(180, "");
        rig.bye();
        rig.offer(OURS);
        rig.cancelled(10);
        rig.seconds(300);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn ringing_is_repeated_each_minute() {
        let mut rig = Rig::called(THEIRS);
        rig.ring(180, "");
        rig.seconds(30);
        rig.ring(183, OURS);
        rig.drain();
        rig.seconds(150);
        assert_eq!(rig.drain(), ["183 INVITE +sdp", "183 INVITE +sdp"]);
        rig.answer(OURS);
        rig.ack(10, "");
        rig.drain();
        rig.seconds(300);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn answer_is_repeated_at_t1_doubling_to_t2_and_then_hung_up() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        let mut sent = Vec::new();
        for step in 0..=320_u32 {
            for word in rig.drain() {
                sent.push((step * 100, word));
            }
            rig.pass(Duration::from_millis(100));
        }
        let at: Vec<u32> = sent.iter().filter(|(_, w)| w.starts_with("200")).map(|s| s.0).collect();
        assert_eq!(at, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        let end: Vec<&str> = sent.iter().rev().take(2).map(|(_, word)| word.as_str()).collect();
        assert_eq!(end, ["Ended NoAck", "BYE 1"]);
    }

    #[test]
    fn bye_before_the_ack_waits_for_it() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.drain();
        rig.bye();
        assert_eq!(rig.drain(), ["Ended Local"]);
        rig.pass(Duration::from_millis(500));
        assert_eq!(rig.drain(), ["200 INVITE +sdp"]);
        rig.ack(10, "");
        assert_eq!(rig.drain(), ["BYE 1"]);
        rig.response("BYE", 1, 200, "them", "");
        assert!(rig.leg.is_ended());
    }

    #[test]
    fn bye_before_the_ack_goes_out_when_none_comes() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.seconds(10);
        rig.bye();
        rig.seconds(21);
        assert!(!rig.drain().contains(&"BYE 1".to_owned()));
        rig.seconds(1);
        assert_eq!(rig.drain().last().unwrap(), "BYE 1");
        rig.seconds(32);
        assert!(rig.leg.is_ended());
    }

    #[test]
    fn callers_bye_before_its_ack_ends_a_held_one() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.bye();
        rig.drain();
        rig.request("BYE", "", "");
        assert_eq!(rig.drain(), ["200 BYE"]);
        assert!(rig.leg.is_ended());
    }

    #[test]
    fn late_ack_of_an_ended_call_is_harmless() {
        let mut rig = Rig::called(THEIRS);
        rig.answer(OURS);
        rig.request("BYE", "", "");
        rig.drain();
        rig.ack(10, "");
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn offerless_invite_gets_our_offer_and_its_ack_the_answer() {
        let mut rig = Rig::called("");
        assert_eq!(rig.leg.remote_offer(), None);
        rig.answer(OURS);
        assert_eq!(rig.drain(), ["200 INVITE +sdp"]);
        assert_eq!(rig.leg.local_sdp(), None);
        rig.ack(10, THEIRS);
        assert_eq!(rig.drain(), ["Answer v=0 theirs", "Confirmed"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes(THEIRS)));
    }

    #[test]
    fn offerless_invite_without_answer_in_the_ack_ends() {
        let mut rig = Rig::called("");
        rig.answer(OURS);
        rig.drain();
        rig.ack(10, "");
        assert_eq!(rig.drain(), ["BYE 1", "Ended NoAnswer"]);
    }

    #[test]
    fn reject_carries_phrase_and_headers() {
        let mut rig = Rig::called(THEIRS);
        let extra = [(HeaderId::Reason, bytes("Q.850;cause=17"))];
        rig.leg.reject(486, Some(bytes("Busy indeed")), &extra, &mut rig.out);
        assert_eq!(rig.header(HeaderId::Reason), "Q.850;cause=17");
        assert_eq!(rig.header(HeaderId::To), "<sip:us@gw.example>;tag=us");
        assert_eq!(rig.header(HeaderId::Contact), "");
        assert!(rig.last_draft().write().starts_with(b"SIP/2.0 486 Busy indeed\r\n"));
    }
}
