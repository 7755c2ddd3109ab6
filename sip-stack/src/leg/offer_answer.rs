//! Offers and answers after the leg was answered (RFC 3264, RFC 6337, RFC 3261 §14, RFC 3311): our
//! re-INVITE, the peer's re-INVITE and UPDATE, and the ACK that may carry an answer.
//!
//! One exchange at a time:
//!
//! ```text
//! input           | Idle             | Sent           | AckOwed    | Received    | AckAwaited
//! ----------------+------------------+----------------+------------+-------------+------------
//! offer()         | INVITE -> Sent   | queued         | queued     | refused 491 | queued
//! accept_offer()  | -                | -              | ACK+SDP    | 200 (1)     | -
//! refuse_offer()  | -                | -              | ACK, BYE   | final       | -
//! INVITE, SDP new | Offer -> Received| 491            | 491        | 500 (2)     | as Idle (7)
//! INVITE, SDP same| 200 -> AckAwaited| 491            | 491        | 500 (2)     | as Idle (7)
//! INVITE, no SDP  | Offer -> Received| 491            | 491        | 500 (2)     | as Idle (7)
//! UPDATE with SDP | as INVITE, no ACK| 491            | 491        | 500 (2)     | 500 (2)
//! UPDATE, no SDP  | 200              | 200            | 200        | 200         | 200
//! CANCEL          | -                | -              | -          | 487 (3)     | -
//! 20 s, 90 s (6)  | -                | -              | -          | 504 (3)     | -
//! ACK             | -                | -              | -          | -           | -> Idle
//! 2xx to ours     | ACK again        | ACK, Answer (4)| -          | ACK again   | ACK again
//! 491, 500 (2)    | -                | Idle, again (5)| -          | -           | -
//! 481, 408        | -                | BYE, Ended Gone| -          | -           | -
//! other final     | -                | OfferRefused   | -          | -           | -
//!
//! (1) -> AckAwaited for an INVITE, -> Idle for an UPDATE
//! (2) with Retry-After
//! (3) OfferWithdrawn, -> Idle
//! (4) OfferRefused 488 when the 2xx has no answer
//! (5) after the glare wait or Retry-After, with the newest offer, a bounded number of times; the
//!     peer's offer accepted meanwhile takes its place: OfferRefused 491
//! (6) without the owner's decision on an UPDATE, an INVITE
//! (7) the ACK was sent before it and comes another way, or is lost (RFC 5407 §3.1.4, case 1); 500 (2) where it owes us an
//!     answer
//! ```
//!
//! An SDP that equals the peer's last one byte for byte (a session refresh) is answered here with
//! our last one. SDP is opaque bytes to a leg.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ack::AckAwaited;
use super::reinvite::Sent;
use super::reply::push_sdp;
use super::timer::Timer;
use super::{Action, Event, Leg, Outbox, Phase, Token};
use crate::dialog::keep;
use crate::endpoint::ServerId;
use crate::message::{HeaderId, Message, Method};

/// What was agreed, what is being negotiated, and what waits.
#[derive(Default)]
pub(super) struct Offers {
    /// Our SDP as last agreed.
    pub(super) local: Option<Bytes>,
    /// The peer's SDP as last agreed; the INVITE's offer while `Called`.
    pub(super) remote: Option<Bytes>,
    pub(super) exchange: Exchange,
    /// The owner's newest offer that could not be sent yet.
    pub(super) next: Option<Bytes>,
    /// How often our offer was put off by the peer.
    pub(super) put_off: u8,
}

/// The exchange in progress.
#[derive(Default)]
pub(super) enum Exchange {
    /// None.
    #[default]
    Idle,
    /// Our re-INVITE is out.
    Sent(Sent),
    /// Our INVITE without offer was answered with one; the ACK waits for the owner's answer.
    AckOwed { token: Token, cseq: u32, offer: Bytes },
    /// The peer's re-INVITE or UPDATE lies with the owner.
    Received(Received),
    /// Our 2xx is out.
    AckAwaited(Box<AckAwaited>),
}

pub(super) struct Received {
    server: ServerId,
    request: Message,
    sdp: Option<Bytes>,
}

impl Offers {
    pub(super) fn agree(&mut self, local: Bytes, remote: Bytes) {
        self.local = Some(local);
        self.remote = Some(remote);
        self.put_off = 0;
    }

    pub(super) fn is_sent(&self, token: Token) -> bool {
        matches!(&self.exchange, Exchange::Sent(sent) if sent.token == token)
    }
}

impl Leg {
    /// A re-INVITE, or an UPDATE with SDP, on the answered leg.
    pub(super) fn offer_request(
        &mut self,
        server: ServerId,
        request: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        match &self.offers.exchange {
            Exchange::Idle => {}
            Exchange::Sent(_) | Exchange::AckOwed { .. } => {
                return self.reply(server, request, 491, out);
            }
            Exchange::AckAwaited(awaited)
                if *request.method() == Method::Invite && !awaited.owes_answer() =>
            {
                self.ack_implied(out);
            }
            Exchange::Received(_) | Exchange::AckAwaited(_) => {
                return self.busy(server, request, out);
            }
        }
        let sdp = request.sdp().map(|sdp| keep(&sdp));
        let same = sdp.is_some() && sdp == self.offers.remote;
        if let (true, Some(ours)) = (same, self.offers.local.clone()) {
            self.grant_offer(server, request, ours, None, now, out);
            return;
        }
        let is_invite = matches!(request.method(), Method::Invite);
        let limit = if is_invite { INVITE_DECISION } else { UPDATE_DECISION };
        self.timers.set(Timer::Decision, now + limit);
        let received = Received { server, request: request.clone(), sdp: sdp.clone() };
        self.offers.exchange = Exchange::Received(received);
        out.push_back(Action::Event(Event::Offer { sdp, message: request.clone() }));
    }

    /// 500 with Retry-After (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn busy(&mut self, server: ServerId, request: &Message, out: &mut Outbox) {
        let mut draft = self.response(request, 500);
        draft.push(HeaderId::RetryAfter, self.random.between(0, 10).to_string());
        out.push_back(Action::Respond { server, draft });
    }

    /// Accepts the peer's offer with our answer; or, when it asked us to offer, sends our offer.
    pub fn accept_offer(&mut self, sdp: Bytes, now: Instant, out: &mut Outbox) {
        match mem::take(&mut self.offers.exchange) {
            Exchange::Received(Received { server, request, sdp: Some(theirs) }) => {
                self.agree(&request, sdp.clone(), theirs);
                self.drop_put_off(out);
                self.grant_offer(server, &request, sdp, None, now, out);
            }
            Exchange::Received(Received { server, request, sdp: None }) => {
                self.drop_put_off(out);
                self.grant_offer(server, &request, sdp.clone(), Some(sdp), now, out);
            }
            Exchange::AckOwed { token, cseq, offer } => {
                self.offers.agree(sdp.clone(), offer);
                self.send_ack(token, cseq, Some(sdp), out);
                self.flush(now, out);
            }
            other @ (Exchange::Idle | Exchange::Sent(_) | Exchange::AckAwaited(_)) => {
                self.offers.exchange = other;
                self.answer_by_prack(sdp, out);
            }
        }
    }

    /// What was agreed by a request of the peer: on the early dialog that it names, or for good.
    fn agree(&mut self, request: &Message, ours: Bytes, theirs: Bytes) {
        match self.early_dialog(request) {
            Some(early) => {
                early.reliable.ours = Some(ours);
                early.preview = Some(theirs);
            }
            None => self.offers.agree(ours, theirs),
        }
    }

    /// Refuses the peer's offer with a final status from 300 to 699 (488 stands for any other);
    /// what was agreed before stays. The offer in the 2xx to our INVITE cannot be refused: the leg
    /// is ended.
    pub fn refuse_offer(&mut self, status: u16, now: Instant, out: &mut Outbox) {
        match mem::take(&mut self.offers.exchange) {
            Exchange::Received(Received { server, request, .. }) => {
                let status = if (300..700).contains(&status) { status } else { 488 };
                self.reply(server, &request, status, out);
                self.flush(now, out);
            }
            owed @ Exchange::AckOwed { .. } => {
                self.offers.exchange = owed;
                self.bye(&[], now, out);
            }
            other @ (Exchange::Idle | Exchange::Sent(_) | Exchange::AckAwaited(_)) => {
                self.offers.exchange = other;
                if self.owes_prack() {
                    self.cancel(None, now, out);
                }
            }
        }
    }

    /// [`Timer::Decision`]: 504 (RFC 3311 §5.2).
    pub(super) fn undecided(&mut self, now: Instant, out: &mut Outbox) {
        if matches!(self.offers.exchange, Exchange::Received(_)) {
            self.refuse_offer(504, now, out);
            out.push_back(Action::Event(Event::OfferWithdrawn));
        }
    }

    /// CANCEL of the peer's re-INVITE (RFC 3261 §9.2).
    pub(super) fn withdraw_offer(&mut self, cancel: &Message, now: Instant, out: &mut Outbox) {
        match mem::take(&mut self.offers.exchange) {
            Exchange::Received(Received { server, request, .. })
                if matches!(request.method(), Method::Invite)
                    && request.cseq() == cancel.cseq() =>
            {
                self.reply(server, &request, 487, out);
                out.push_back(Action::Event(Event::OfferWithdrawn));
                self.flush(now, out);
            }
            other @ (Exchange::Idle
            | Exchange::Sent(_)
            | Exchange::AckOwed { .. }
            | Exchange::Received(_)
            | Exchange::AckAwaited(_)) => self.offers.exchange = other,
        }
    }

    /// The peer's offer was accepted while ours waited after a 491: ours is older than what was
    /// just agreed, so the owner must think again.
    fn drop_put_off(&mut self, out: &mut Outbox) {
        self.timers.stop(Timer::Retry);
        if self.offers.next.take().is_some() {
            out.push_back(Action::Event(Event::OfferRefused { status: 491 }));
        }
    }

    /// 200 to a re-INVITE or UPDATE.
    fn grant_offer(
        &mut self,
        server: ServerId,
        request: &Message,
        sdp: Bytes,
        offer: Option<Bytes>,
        now: Instant,
        out: &mut Outbox,
    ) {
        match self.early_dialog(request) {
            Some(early) => early.dialog.follow(request),
            None => self.dialog.follow(request),
        }
        let mut draft = self.response(request, 200);
        if matches!(self.phase, Phase::Talking) {
            self.grant_session(request, &mut draft, now);
        }
        push_sdp(&mut draft, sdp);
        if matches!(request.method(), Method::Invite) {
            self.await_ack(server, request.cseq(), draft, offer, false, now, out);
        } else {
            out.push_back(Action::Respond { server, draft });
            self.flush(now, out);
        }
    }

    /// The peer's offer on an early dialog is overtaken by the final response of our INVITE.
    pub(super) fn withdraw_received(&mut self, out: &mut Outbox) {
        if matches!(self.offers.exchange, Exchange::Received(_)) {
            self.drop_exchange(out);
            self.timers.stop(Timer::Decision);
            out.push_back(Action::Event(Event::OfferWithdrawn));
        }
    }

    /// The session is over: what is open is closed towards the peer. A re-INVITE of ours stays, for
    /// the ACK of its 2xx, and so does the 2xx to the initial INVITE.
    pub(super) fn drop_exchange(&mut self, out: &mut Outbox) {
        match mem::take(&mut self.offers.exchange) {
            Exchange::Received(Received { server, request, .. }) => {
                self.reply(server, &request, 487, out);
            }
            Exchange::AckOwed { token, cseq, .. } => self.send_ack(token, cseq, None, out),
            Exchange::AckAwaited(awaited) if awaited.initial => {
                self.offers.exchange = Exchange::AckAwaited(awaited);
            }
            sent @ Exchange::Sent(_) => self.offers.exchange = sent,
            Exchange::Idle | Exchange::AckAwaited(_) => {}
        }
    }
}

/// How long the owner may think about an UPDATE, whose sender waits 64*T1 for its final response.
const UPDATE_DECISION: Duration = Duration::from_secs(20);
/// How long about a re-INVITE: longer than a re-INVITE of ours to another peer can last.
const INVITE_DECISION: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::super::rig::{OURS, Rig, THEIRS, bytes};
    use super::super::{Action, State};
    use super::*;

    const NEW: &str = "v=0 theirs 2";

    fn idle() -> Rig {
        Rig::talking()
    }

    fn sent() -> Rig {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.drain();
        rig
    }

    fn ack_owed() -> Rig {
        let mut rig = Rig::calling("");
        rig.response("INVITE", 1, 200, "them", THEIRS);
        rig.drain();
        rig
    }

    fn received() -> Rig {
        let mut rig = Rig::talking();
        rig.request("INVITE", "", "v=0 theirs 1");
        rig.drain();
        rig
    }

    fn ack_awaited() -> Rig {
        let mut rig = received();
        rig.accept("v=0 ours 1");
        rig.drain();
        rig
    }

    /// Every input in every state of the exchange: what the leg does.
    #[test]
    fn table() {
        type Row = (&'static str, fn(&mut Rig), [&'static [&'static str]; 5]);
        let states: [fn() -> Rig; 5] = [idle, sent, ack_owed, received, ack_awaited];
        let rows: [Row; 18] = [
            (
                "offer()",
                |rig| rig.offer("v=0 ours 3"),
                [&["INVITE 2 +sdp"], &[], &[], &["OfferRefused 491"], &[]],
            ),
            (
                "accept_offer()",
                |rig| rig.accept("v=0 ours 3"),
                [&[], &[], &["ACK +sdp"], &["200 INVITE +sdp"], &[]],
            ),
            (
                "refuse_offer()",
                |rig| rig.refuse(488),
                [&[], &[], &["ACK", "BYE 2", "Ended Local"], &["488 INVITE"], &[]],
            ),
            (
                "INVITE with new SDP",
                |rig| rig.request("INVITE", "", NEW),
                [
                    &["Offer v=0 theirs 2"],
                    &["491 INVITE"],
                    &["491 INVITE"],
                    &["500 INVITE"],
                    &["Offer v=0 theirs 2"],
                ],
            ),
            (
                "INVITE with the same SDP",
                |rig| rig.request("INVITE", "", THEIRS),
                [
                    &["200 INVITE +sdp"],
                    &["491 INVITE"],
                    &["491 INVITE"],
                    &["500 INVITE"],
                    &["Offer v=0 theirs"],
                ],
            ),
            (
                "INVITE without SDP",
                |rig| rig.request("INVITE", "", ""),
                [&["Offer -"], &["491 INVITE"], &["491 INVITE"], &["500 INVITE"], &["Offer -"]],
            ),
            (
                "UPDATE with new SDP",
                |rig| rig.request("UPDATE", "", NEW),
                [
                    &["Offer v=0 theirs 2"],
                    &["491 UPDATE"],
                    &["491 UPDATE"],
                    &["500 UPDATE"],
                    &["500 UPDATE"],
                ],
            ),
            (
                "UPDATE with the same SDP",
                |rig| rig.request("UPDATE", "", THEIRS),
                [
                    &["200 UPDATE +sdp"],
                    &["491 UPDATE"],
                    &["491 UPDATE"],
                    &["500 UPDATE"],
                    &["500 UPDATE"],
                ],
            ),
            (
                "UPDATE without SDP",
                |rig| rig.request("UPDATE", "", ""),
                [
                    &["200 UPDATE"],
                    &["200 UPDATE"],
                    &["200 UPDATE"],
                    &["200 UPDATE"],
                    &["200 UPDATE"],
                ],
            ),
            (
                "CANCEL",
                |rig| rig.cancelled(11),
                [&[], &[], &[], &["487 INVITE", "OfferWithdrawn"], &[]],
            ),
            ("CANCEL of another INVITE", |rig| rig.cancelled(9), [&[], &[], &[], &[], &[]]),
            ("ACK", |rig| rig.ack(11, ""), [&[], &[], &[], &[], &[]]),
            (
                "200 to ours",
                |rig| rig.response("INVITE", 2, 200, "them", NEW),
                [&[], &["ACK", "Answer v=0 theirs 2"], &[], &[], &[]],
            ),
            (
                "200 to ours, no SDP",
                |rig| rig.response("INVITE", 2, 200, "them", ""),
                [&[], &["ACK", "OfferRefused 488"], &[], &[], &[]],
            ),
            (
                "491 to ours",
                |rig| rig.response("INVITE", 2, 491, "them", ""),
                [&[], &[], &[], &[], &[]],
            ),
            (
                "481 to ours",
                |rig| rig.response("INVITE", 2, 481, "them", ""),
                [&[], &["BYE 3", "Ended Gone"], &[], &[], &[]],
            ),
            (
                "408 to ours",
                |rig| rig.response("INVITE", 2, 408, "them", ""),
                [&[], &["BYE 3", "Ended Gone"], &[], &[], &[]],
            ),
            (
                "488 to ours",
                |rig| rig.response("INVITE", 2, 488, "them", ""),
                [&[], &["OfferRefused 488"], &[], &[], &[]],
            ),
        ];
        for (name, input, expected) in rows {
            for ((state, make), expected) in ["Idle", "Sent", "AckOwed", "Received", "AckAwaited"]
                .into_iter()
                .zip(states)
                .zip(expected)
            {
                let mut rig = make();
                input(&mut rig);
                assert_eq!(rig.drain(), expected, "{name} in {state}");
            }
        }
    }

    #[test]
    fn accepted_offer_is_repeated_until_its_ack_and_then_agreed() {
        let mut rig = received();
        rig.accept("v=0 ours 1");
        assert_eq!(rig.drain(), ["200 INVITE +sdp"]);
        rig.pass(Duration::from_millis(1500));
        assert_eq!(rig.drain(), ["200 INVITE +sdp", "200 INVITE +sdp"]);
        rig.ack(11, "");
        rig.seconds(60);
        assert!(rig.drain().is_empty());
        assert_eq!(rig.leg.local_sdp(), Some(&bytes("v=0 ours 1")));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes("v=0 theirs 1")));
        assert_eq!(rig.state(), State::Confirmed);
    }

    #[test]
    fn reinvite_never_acknowledged_ends_the_leg() {
        let mut rig = ack_awaited();
        rig.pass(Duration::from_millis(31_999));
        rig.drain();
        rig.pass(Duration::from_millis(1));
        assert_eq!(rig.drain(), ["BYE 2", "Ended NoAck"]);
    }

    #[test]
    fn update_is_answered_without_waiting_for_an_ack() {
        let mut rig = Rig::talking();
        rig.request("UPDATE", "Contact: <sip:moved@10.0.0.7>", NEW);
        rig.drain();
        rig.accept("v=0 ours 2");
        assert_eq!(rig.drain(), ["200 UPDATE +sdp"]);
        assert_eq!(rig.leg.remote_target(), "sip:moved@10.0.0.7");
        rig.offer("v=0 ours 3");
        assert_eq!(rig.drain(), ["INVITE 2 +sdp"]);
    }

    #[test]
    fn equal_sdp_is_answered_with_ours_and_not_told() {
        let mut rig = Rig::talking();
        for cseq in 11..14 {
            rig.request("INVITE", "Contact: <sip:moved@10.0.0.7>", THEIRS);
            assert_eq!(rig.last_draft().payload(), OURS);
            assert_eq!(rig.drain(), ["200 INVITE +sdp"]);
            rig.ack(cseq, "");
        }
        assert_eq!(rig.leg.remote_target(), "sip:moved@10.0.0.7");
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn equal_sdp_is_measured_by_the_last_agreed_one() {
        let mut rig = ack_awaited();
        rig.ack(11, "");
        rig.request("INVITE", "", THEIRS);
        assert_eq!(rig.drain(), ["Offer v=0 theirs"], "the one before");
        rig.refuse(488);
        rig.drain();
        rig.request("INVITE", "", THEIRS);
        assert_eq!(rig.drain(), ["Offer v=0 theirs"], "a refused one was not agreed");
        rig.refuse(488);
        rig.drain();
        rig.request("INVITE", "", "v=0 theirs 1");
        assert_eq!(rig.last_draft().payload(), "v=0 ours 1");
    }

    #[test]
    fn offerless_reinvite_gets_our_offer_and_its_ack_the_answer() {
        let mut rig = Rig::talking();
        rig.request("INVITE", "", "");
        rig.accept("v=0 ours 2");
        assert_eq!(rig.drain(), ["Offer -", "200 INVITE +sdp"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)), "not agreed yet");
        rig.ack(11, NEW);
        assert_eq!(rig.drain(), ["Answer v=0 theirs 2"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes("v=0 ours 2")));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes(NEW)));
    }

    #[test]
    fn offerless_reinvite_without_answer_leaves_the_session_as_it_was() {
        let mut rig = Rig::talking();
        rig.request("INVITE", "", "");
        rig.accept("v=0 ours 2");
        rig.drain();
        rig.ack(11, "");
        assert_eq!(rig.drain(), ["OfferRefused 488"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)));
        assert_eq!(rig.state(), State::Confirmed);
    }

    #[test]
    fn refused_offer_moves_no_target() {
        let mut rig = Rig::talking();
        rig.request("INVITE", "Contact: <sip:moved@10.0.0.7>", NEW);
        rig.refuse(200);
        assert_eq!(rig.drain(), ["Offer v=0 theirs 2", "488 INVITE"]);
        assert_eq!(rig.leg.remote_target(), "sip:them@10.0.0.1;x=%41");
    }

    #[test]
    fn bye_while_the_offer_lies_with_the_owner() {
        let mut rig = received();
        rig.request("BYE", "", "");
        assert_eq!(rig.drain(), ["200 BYE", "487 INVITE", "Ended Remote"]);
        rig.accept(OURS);
        rig.refuse(488);
        assert!(rig.drain().is_empty());
        assert!(rig.leg.is_ended());

        let mut rig = received();
        rig.bye();
        assert_eq!(rig.drain(), ["487 INVITE", "BYE 2", "Ended Local"]);
    }

    #[test]
    fn bye_while_the_answer_in_the_ack_is_owed() {
        let mut rig = ack_owed();
        rig.request("BYE", "", "");
        assert_eq!(rig.drain(), ["200 BYE", "ACK", "Ended Remote"]);
        rig.accept(OURS);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn offer_that_the_owner_forgot_is_refused() {
        for (method, seconds) in [("UPDATE", 20), ("INVITE", 90)] {
            let mut rig = Rig::talking();
            rig.request(method, "", NEW);
            rig.drain();
            rig.seconds(seconds - 1);
            assert!(rig.drain().is_empty());
            rig.seconds(1);
            assert_eq!(rig.drain(), [format!("504 {method}"), "OfferWithdrawn".to_owned()]);
            rig.accept(OURS);
            assert!(rig.drain().is_empty());
            rig.request(method, "", NEW);
            rig.seconds(seconds / 2);
            rig.accept(OURS);
            rig.ack(12, "");
            rig.drain();
            rig.request("UPDATE", "", "v=0 theirs 3");
            rig.seconds(19);
            assert_eq!(rig.drain(), ["Offer v=0 theirs 3"], "each has its own time");
        }
    }

    #[test]
    fn busy_names_a_wait_of_at_most_ten_seconds() {
        let mut rig = received();
        for _ in 0..50 {
            rig.request("INVITE", "", NEW);
            let Some(Action::Respond { draft, .. }) = rig.out.pop_back() else { panic!() };
            let value = String::from_utf8(draft.value(HeaderId::RetryAfter).unwrap().to_vec());
            assert!(value.unwrap().parse::<u32>().unwrap() <= 10);
        }
    }
}
