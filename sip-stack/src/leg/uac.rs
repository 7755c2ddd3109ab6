//! The calling side until its INVITE has a final response (RFC 3261 §9.1, §13.2, RFC 6026 §7.2).
//!
//! ```text
//! input                | Inviting                            | Inviting, cancelled
//! ---------------------+-------------------------------------+---------------------------------
//! 1xx                  | Provisional (1)                     | -
//! 2xx with what it owes| ACK, Answered -> Confirmed          | ACK, BYE, Rejected 487 -> Ending
//! 2xx without          | ACK, BYE, Rejected 488 -> Ending    | ACK, BYE, Rejected 487 -> Ending
//! 422                  | INVITE with larger Session-Expires  | Rejected 487 -> Ended
//! other 3xx-6xx        | Rejected -> Ended                   | Rejected 487 -> Ended
//! time-out, transport  | Rejected 408, 503 -> Ended          | Rejected 487 -> Ended
//! cancel(), bye()      | CANCEL                              | -
//! 64*T1 after CANCEL   |                                     | Rejected 487 -> Ended
//!
//! (1) a reliable one gets its PRACK first, cancelled or not: see `prack`
//! ```
//!
//! What comes after the first 2xx is in `fork`.

use std::mem;
use std::time::Instant;

use bytes::Bytes;

use super::offer_answer::{Exchange, Offers};
use super::prack::{Heard, Reliable};
use super::reliable::TAG;
use super::reply::push_extra;
use super::timer::{PATIENCE, Timer};
use super::{
    Action, Event, Extra, Failure, Hop, Leg, LegIdentity, Outbox, Phase, Rejection, Token,
};
use crate::dialog::{Dialog, cseq_value, keep, with_tag};
use crate::message::{Draft, HeaderId, Message, Method, Part};
use crate::transport::Source;

/// An INVITE of ours without a final response.
pub(super) struct Calling {
    /// Its transaction.
    pub(super) token: Token,
    /// As sent, for another try after a 422.
    draft: Draft,
    hop: Hop,
    /// Our offer in it.
    pub(super) offer: Option<Bytes>,
    /// We gave up on it.
    cancelled: bool,
    /// A 422 was already heeded.
    retried: bool,
    /// The early dialogs, one for each To tag seen.
    pub(super) early: Vec<Early>,
}

pub(super) struct Early {
    pub(super) dialog: Dialog,
    /// The last SDP seen on it.
    pub(super) preview: Option<Bytes>,
    pub(super) reliable: Reliable,
}

impl Calling {
    /// The early dialog of that To tag.
    pub(super) fn early_of(&mut self, tag: &[u8]) -> Option<&mut Early> {
        self.early.iter_mut().find(|early| early.dialog.id.remote_tag == tag)
    }
}

/// The start of a leg on the calling side.
#[derive(Clone)]
pub struct Outgoing {
    /// Who we are on it.
    pub identity: LegIdentity,
    /// A fresh Call-ID.
    pub call_id: Bytes,
    /// A fresh tag.
    pub local_tag: Bytes,
    /// The Request-URI, byte for byte.
    pub request_uri: Bytes,
    /// Our offer; `None` lets the peer offer.
    pub offer: Option<Bytes>,
    /// What goes beside it (multipart/mixed, RFC 5621).
    pub beside: Vec<Part>,
    /// Further headers of the INVITE.
    pub extra: Vec<Extra>,
    /// More of them, by their names.
    pub further: Vec<(Bytes, Bytes)>,
    /// Max-Forwards of the INVITE.
    pub max_forwards: u32,
    /// Where it goes.
    pub hop: Hop,
}

impl Leg {
    /// Starts a leg on the calling side: sends an INVITE.
    pub fn outgoing(call: Outgoing, out: &mut Outbox) -> Self {
        let Outgoing { identity, call_id, local_tag, request_uri, offer, beside, .. } = call;
        let Outgoing { extra, further, max_forwards, hop, .. } = call;
        let heard = match &hop {
            Hop::Target(target) | Hop::Uri { last: target, .. } => target.clone(),
        };
        let mut dialog = Dialog::calling(
            call_id,
            local_tag,
            identity.local.clone(),
            identity.remote.clone(),
            request_uri.clone(),
            heard,
        );
        dialog.local_cseq = 1;
        let mut draft = Draft::request(Method::Invite, request_uri);
        draft.push(HeaderId::MaxForwards, max_forwards.to_string());
        draft.push(HeaderId::From, with_tag(&dialog.local, &dialog.id.local_tag));
        draft.push(HeaderId::To, dialog.remote.clone());
        draft.push(HeaderId::CallId, dialog.id.call_id.clone());
        draft.push(HeaderId::CSeq, cseq_value(1, &Method::Invite));
        let mut leg = Self::new(identity, dialog, true, Phase::Talking, Offers::default());
        leg.sign(&mut draft, &Method::Invite);
        leg.ask_for_session(&mut draft);
        if leg.identity.reliable {
            draft.push(HeaderId::Require, TAG);
        }
        push_extra(&mut draft, &extra);
        for (name, value) in further {
            draft.push_other(name, value);
        }
        if let Some(sdp) = &offer {
            draft.sdp_beside(sdp, &beside, &leg.dialog.id.local_tag);
        }
        let token = leg.next_token();
        leg.invite = Some(token);
        leg.phase = Phase::Calling(Box::new(Calling {
            token,
            draft: draft.clone(),
            hop: hop.clone(),
            offer,
            cancelled: false,
            retried: false,
            early: Vec::new(),
        }));
        out.push_back(Action::Request { token, draft, hop });
        leg
    }

    /// Gives up the call (RFC 3261 §9.1), with the value of a Reason header for the CANCEL. A leg
    /// that was answered already is ended by BYE instead, with the same Reason.
    pub fn cancel(&mut self, reason: Option<Bytes>, now: Instant, out: &mut Outbox) {
        match &mut self.phase {
            Phase::Calling(calling) => {
                if !calling.cancelled {
                    calling.cancelled = true;
                    self.timers.set(Timer::Cancel, now + PATIENCE);
                    out.push_back(Action::Cancel { token: calling.token, reason });
                }
            }
            Phase::Called(_) | Phase::Talking => {
                let extra: Vec<Extra> =
                    reason.into_iter().map(|reason| (HeaderId::Reason, reason)).collect();
                self.bye(&extra, now, out);
            }
            Phase::Closing(_) | Phase::Closed => {}
        }
    }

    /// A response to our INVITE while it has no final one.
    pub(super) fn invite_response(
        &mut self,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.dialog.hear(source);
        match message.status() {
            ..200 => self.invite_progressed(source, message, out),
            200..300 => self.invite_answered(source, message, now, out),
            422 => self.invite_too_brief(message, out),
            300.. => {
                self.invite_rejected(message.status(), Some(message), Rejection::Response, out)
            }
        }
    }

    fn invite_progressed(&mut self, source: &Source, message: &Message, out: &mut Outbox) {
        let Phase::Calling(calling) = &mut self.phase else { return };
        let (mut sdp, cancelled) = (message.sdp(), calling.cancelled);
        let mut heard = Heard::Plain;
        if let Some(tag) = message.to_tag()
            && message.status() > 100
        {
            if calling.early_of(tag).is_none() && calling.early.len() < FORKS {
                let dialog = self.dialog.uac(message, source);
                let reliable = Reliable::default();
                calling.early.push(Early { dialog, preview: None, reliable });
            }
            if let Some(early) = calling.early_of(tag) {
                heard = early.reliable.hear(message, &self.identity);
                if heard == Heard::Else {
                    return;
                }
                early.dialog.follow(message);
                if early.reliable.agreed {
                    sdp = None;
                } else if sdp.is_some() {
                    early.preview.clone_from(&sdp);
                }
            }
        }
        if let Heard::Next { rseq } = heard {
            self.acknowledge(rseq, message, out);
        }
        if !cancelled {
            out.push_back(Action::Event(Event::Provisional { message: message.clone(), sdp }));
        }
    }

    fn invite_answered(
        &mut self,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.withdraw_received(out);
        let Phase::Calling(calling) = mem::replace(&mut self.phase, Phase::Talking) else { return };
        let Calling { token, mut offer, cancelled, early, .. } = *calling;
        self.timers.stop(Timer::Cancel);
        self.dialog = self.dialog.uac(message, source);
        let (mut preview, mut agreed) = (None, false);
        for known in early {
            if known.dialog.id.remote_tag == self.dialog.id.remote_tag {
                self.dialog.remote_cseq = known.dialog.remote_cseq;
                preview = known.preview;
                agreed = known.reliable.agreed;
                offer = known.reliable.ours.or(offer);
            } else {
                self.forked = true;
            }
        }
        self.answered = Some(now);
        let sdp = match &offer {
            // What was agreed reliably stands (RFC 6337 §3.1.1).
            Some(_) if agreed => preview,
            Some(_) => message.sdp().or(preview),
            None => message.sdp(),
        };
        let (Some(theirs), false) = (sdp, cancelled) else {
            let (status, why) =
                if cancelled { (487, Rejection::Cancelled) } else { (488, Rejection::NoAnswer) };
            self.send_ack(token, message.cseq(), None, out);
            self.hang_up(&[], now, out);
            let message = Some(message.clone());
            out.push_back(Action::Event(Event::Rejected { status, message, why }));
            return;
        };
        self.take_session(message, now);
        let theirs = keep(&theirs);
        if let Some(ours) = offer {
            self.send_ack(token, message.cseq(), None, out);
            self.offers.agree(ours, theirs.clone());
        } else {
            let cseq = message.cseq();
            self.offers.exchange = Exchange::AckOwed { token, cseq, offer: theirs.clone() };
        }
        let message = message.clone();
        out.push_back(Action::Event(Event::Answered { message, sdp: Some(theirs) }));
        self.flush(now, out);
    }

    /// RFC 4028 §7.3: once more, with the interval that the peer wants.
    fn invite_too_brief(&mut self, message: &Message, out: &mut Outbox) {
        let raised = self.raise_session(message);
        match &mut self.phase {
            Phase::Calling(calling) if raised && !calling.retried && !calling.cancelled => {
                calling.retried = true;
                self.dialog.local_cseq += 1;
                let cseq = cseq_value(self.dialog.local_cseq, &Method::Invite);
                calling.draft.set(HeaderId::CSeq, cseq);
                self.session.ask(&mut calling.draft);
                let (draft, hop) = (calling.draft.clone(), calling.hop.clone());
                self.last_token += 1;
                calling.token = Token(self.last_token);
                self.invite = Some(calling.token);
                out.push_back(Action::Request { token: calling.token, draft, hop });
            }
            Phase::Calling(_)
            | Phase::Called(_)
            | Phase::Talking
            | Phase::Closing(_)
            | Phase::Closed => {
                self.invite_rejected(422, Some(message), Rejection::Response, out);
            }
        }
    }

    fn invite_rejected(
        &mut self,
        status: u16,
        message: Option<&Message>,
        why: Rejection,
        out: &mut Outbox,
    ) {
        self.withdraw_received(out);
        let Phase::Calling(calling) = &self.phase else { return };
        let (status, why) =
            if calling.cancelled { (487, Rejection::Cancelled) } else { (status, why) };
        self.drop_waiting(out);
        self.close();
        let message = message.cloned();
        out.push_back(Action::Event(Event::Rejected { status, message, why }));
    }

    /// Our INVITE got no final response at all.
    pub(super) fn invite_failed(&mut self, why: Failure, out: &mut Outbox) {
        let (status, why) = match why {
            Failure::Timeout => (408, Rejection::Timeout),
            Failure::Transport => (503, Rejection::Transport),
        };
        self.invite_rejected(status, None, why, out);
    }

    /// [`Timer::Cancel`]: RFC 3261 §9.1 takes the INVITE as cancelled.
    pub(super) fn cancel_unanswered(&mut self, out: &mut Outbox) {
        self.invite_rejected(487, None, Rejection::Cancelled, out);
    }

    /// The early dialog that a request of the called side names.
    pub(super) fn early_dialog(&mut self, request: &Message) -> Option<&mut Early> {
        let Phase::Calling(calling) = &mut self.phase else { return None };
        calling.early.iter_mut().find(|early| early.dialog.owns_request(request))
    }
}

/// How many forks of one INVITE are remembered.
pub(super) const FORKS: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rig::{OURS, Rig, THEIRS, bytes, identity};
    use super::super::{Action, Failure, Hop, State};
    use super::*;

    #[test]
    fn invite_has_what_it_needs() {
        let rig = Rig::calling(OURS);
        let draft = rig.last_draft();
        assert_eq!(draft.uri(), b"sip:them@peer.example");
        assert_eq!(rig.header(HeaderId::From), "<sip:us@gw.example>;tag=us");
        assert_eq!(rig.header(HeaderId::To), "<sip:them@peer.example>");
        assert_eq!(rig.header(HeaderId::CallId), "call");
        assert_eq!(rig.header(HeaderId::CSeq), "1 INVITE");
        assert_eq!(rig.header(HeaderId::MaxForwards), "42");
        assert_eq!(rig.header(HeaderId::Contact), "<sip:us@gw.example:5061;transport=tls>");
        assert_eq!(rig.header(HeaderId::Supported), "replaces, timer");
        assert_eq!(rig.header(HeaderId::UserAgent), "bench");
        assert_eq!(rig.header(HeaderId::Reason), "extra");
        assert_eq!(rig.header(HeaderId::SessionExpires), "");
        assert_eq!(draft.payload(), OURS);
        assert_eq!(rig.state(), State::Inviting);
    }

    /// Every input in both states, with what it does and where it leads.
    #[test]
    fn table() {
        type Outcome = (&'static [&'static str], State);
        type Row = (&'static str, fn(&mut Rig), Outcome, Outcome);
        let inputs: [Row; 14] = [
            (
                "100",
                |rig| rig.response("INVITE", 1, 100, "", ""),
                (&["Provisional 100 -"], State::Inviting),
                (&[], State::Inviting),
            ),
            (
                "180",
                |rig| rig.response("INVITE", 1, 180, "them", ""),
                (&["Provisional 180 -"], State::Inviting),
                (&[], State::Inviting),
            ),
            (
                "183 with SDP",
                |rig| rig.response("INVITE", 1, 183, "them", THEIRS),
                (&["Provisional 183 v=0 theirs"], State::Inviting),
                (&[], State::Inviting),
            ),
            (
                "200",
                |rig| rig.response("INVITE", 1, 200, "them", THEIRS),
                (&["ACK", "Answered v=0 theirs"], State::Confirmed),
                (&["ACK", "BYE 2", "Rejected 487 Cancelled"], State::Ending),
            ),
            (
                "200 without SDP",
                |rig| rig.response("INVITE", 1, 200, "them", ""),
                (&["ACK", "BYE 2", "Rejected 488 NoAnswer"], State::Ending),
                (&["ACK", "BYE 2", "Rejected 487 Cancelled"], State::Ending),
            ),
            (
                "302",
                |rig| rig.response("INVITE", 1, 302, "them", ""),
                (&["Rejected 302 Response"], State::Ended),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
            (
                "422 unasked",
                |rig| rig.response_with("INVITE", 1, 422, "them", "Min-SE: 1800", ""),
                (&["INVITE 2 +sdp"], State::Inviting),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
            (
                "422 without Min-SE",
                |rig| rig.response("INVITE", 1, 422, "them", ""),
                (&["Rejected 422 Response"], State::Ended),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
            (
                "486",
                |rig| rig.response("INVITE", 1, 486, "them", ""),
                (&["Rejected 486 Response"], State::Ended),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
            (
                "time-out",
                |rig| rig.failed(1, Failure::Timeout),
                (&["Rejected 408 Timeout"], State::Ended),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
            (
                "transport",
                |rig| rig.failed(1, Failure::Transport),
                (&["Rejected 503 Transport"], State::Ended),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
            ("cancel()", Rig::cancel, (&["CANCEL 1"], State::Inviting), (&[], State::Inviting)),
            ("bye()", Rig::bye, (&["CANCEL 1"], State::Inviting), (&[], State::Inviting)),
            (
                "a day",
                |rig| rig.seconds(86_400),
                (&[], State::Inviting),
                (&["Rejected 487 Cancelled"], State::Ended),
            ),
        ];
        for (name, input, (does, leads), (does_cancelled, leads_cancelled)) in inputs {
            let mut rig = Rig::calling(OURS);
            rig.drain();
            input(&mut rig);
            assert_eq!(rig.drain(), does, "{name}");
            assert_eq!(rig.state(), leads, "{name}");

            let mut rig = Rig::calling(OURS);
            rig.cancel();
            rig.drain();
            input(&mut rig);
            assert_eq!(rig.drain(), does_cancelled, "{name}, cancelled");
            assert_eq!(rig.state(), leads_cancelled, "{name}, cancelled");
        }
    }

    #[test]
    fn owner_calls_of_other_states_do_nothing() {
        let mut rig = Rig::calling(OURS);
        rig.drain();
        rig.ring(180, "");
        rig.answer(OURS);
        rig.reject(486);
        rig.accept(OURS);
        rig.refuse(488);
        rig.ack(1, "");
        rig.cancelled(1);
        rig.offer(OURS);
        assert!(rig.drain().is_empty());
        assert_eq!(rig.state(), State::Inviting);
    }

    #[test]
    fn ack_and_later_requests_go_to_the_contact_byte_for_byte() {
        let mut rig = Rig::calling(OURS);
        rig.take();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        let actions = rig.take();
        let Action::Ack { draft, hop } = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(draft.uri(), b"sip:them@10.0.0.1;x=%41");
        assert_eq!(draft.value(HeaderId::CSeq), Some(&b"1 ACK"[..]));
        assert_eq!(draft.value(HeaderId::MaxForwards), Some(&b"70"[..]));
        assert_eq!(draft.value(HeaderId::To), Some(&b"<sip:them@peer.example>;tag=them"[..]));
        let Hop::Uri { uri, .. } = hop else { panic!("{hop:?}") };
        assert_eq!(uri, "sip:them@10.0.0.1;x=%41");
        assert_eq!(rig.leg.remote_target(), "sip:them@10.0.0.1;x=%41");
        assert_eq!(rig.leg.id().remote_tag, "them");
    }

    #[test]
    fn answer_on_a_tag_never_seen_is_taken() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 180, "a", "");
        rig.response("INVITE", 1, 183, "b", "v=0 b");
        rig.drain();
        rig.response("INVITE", 1, 200, "c", "v=0 c");
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 c"]);
        assert_eq!(rig.leg.id().remote_tag, "c");
    }

    #[test]
    fn answer_without_sdp_is_completed_by_the_preview_of_its_own_tag() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 183, "a", "v=0 a");
        rig.response("INVITE", 1, 183, "b", "v=0 b1");
        rig.response("INVITE", 1, 183, "b", "v=0 b2");
        rig.drain();
        rig.response("INVITE", 1, 200, "b", "");
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 b2"]);
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes("v=0 b2")));
    }

    #[test]
    fn offerless_invite_acknowledges_with_the_owners_answer() {
        let mut rig = Rig::calling("");
        assert_eq!(rig.drain(), ["INVITE 1"]);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["Answered v=0 theirs"]);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert!(rig.drain().is_empty(), "a repeat before the ACK");
        rig.accept(OURS);
        assert_eq!(rig.drain(), ["ACK +sdp"]);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["ACK +sdp"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes(THEIRS)));
    }

    #[test]
    fn offer_in_a_200_that_is_refused_ends_the_leg() {
        let mut rig = Rig::calling("");
        rig.response("INVITE", 1, 200, "them", THEIRS);
        rig.drain();
        rig.refuse(488);
        assert_eq!(rig.drain(), ["ACK", "BYE 2", "Ended Local"]);
    }

    #[test]
    fn offerless_invite_answered_without_offer_is_hung_up_on() {
        let mut rig = Rig::calling("");
        rig.drain();
        rig.response("INVITE", 1, 200, "them", "");
        assert_eq!(rig.drain(), ["ACK", "BYE 2", "Rejected 488 NoAnswer"]);
    }

    #[test]
    fn answer_that_crosses_the_cancel_is_hung_up_on_and_rejected_once() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 180, "them", "");
        rig.cancel();
        rig.drain();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["ACK", "BYE 2", "Rejected 487 Cancelled"]);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["ACK"]);
        rig.response("BYE", 2, 200, "them", "");
        assert!(rig.leg.is_ended() && rig.drain().is_empty());
    }

    #[test]
    fn cancel_of_an_answered_leg_is_a_bye_with_its_reason() {
        let mut rig = Rig::talking();
        let reason = Some(bytes("SIP;cause=200"));
        rig.leg.cancel(reason, rig.now, &mut rig.out);
        assert_eq!(rig.header(HeaderId::Reason), "SIP;cause=200");
        assert_eq!(rig.drain(), ["BYE 2", "Ended Local"]);
    }

    #[test]
    fn reason_of_a_bye_before_the_answer_goes_into_the_cancel() {
        let mut rig = Rig::calling(OURS);
        rig.take();
        rig.leg.bye(&[(HeaderId::Reason, bytes("SIP;cause=200"))], rig.now, &mut rig.out);
        let actions = rig.take();
        assert!(matches!(&actions[..],
            [Action::Cancel { reason: Some(reason), .. }] if reason == "SIP;cause=200"));
    }

    #[test]
    fn rejected_comes_once() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 486, "them", "");
        rig.drain();
        rig.response("INVITE", 1, 486, "them", "");
        rig.failed(1, Failure::Timeout);
        rig.cancel();
        rig.bye();
        rig.seconds(100);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn interval_too_brief_is_raised_once() {
        let mut asks = identity();
        asks.session_expires = Some(Duration::from_secs(600));
        let mut rig = Rig::calling_as(asks, OURS);
        assert_eq!(rig.header(HeaderId::SessionExpires), "600");
        rig.drain();
        rig.response_with("INVITE", 1, 422, "them", "Min-SE: 1800", "");
        assert_eq!(rig.header(HeaderId::CSeq), "2 INVITE");
        assert_eq!(rig.header(HeaderId::SessionExpires), "1800");
        assert_eq!(rig.header(HeaderId::MinSe), "1800");
        assert_eq!(rig.drain(), ["INVITE 2 +sdp"]);
        rig.response_with("INVITE", 1, 422, "them", "Min-SE: 3600", "");
        assert!(rig.drain().is_empty(), "of the first INVITE, repeated");
        rig.response_with("INVITE", 2, 422, "them", "Min-SE: 3600", "");
        assert_eq!(rig.drain(), ["Rejected 422 Response"]);
    }
}
