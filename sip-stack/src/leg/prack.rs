//! Reliable provisional responses of the peer (RFC 3262 §4, §5): acknowledged by PRACK, in order, on
//! each early dialog by itself.
//!
//! ```text
//! reliable 18x on a dialog   | then
//! ---------------------------+-------------------------------------------------------------------
//! the first, or the next one | PRACK, Provisional
//! one that came before       | nothing: its PRACK is repeated by its own transaction
//! one too far                | nothing: those before it come again, and so does it
//! with SDP, we had offered   | that is the answer on this dialog: what later ones and the 2xx say
//!                            | in its place is not read; UPDATE may change it
//! with SDP, we had not       | that is the offer: the PRACK waits for `accept_offer`
//! ```
//!
//! The last row is for owners whose INVITEs make no offer. The gateway is none: all of its INVITEs
//! have one.
//!
//! A response is taken for reliable only where our INVITE named `100rel`. Re-INVITEs of ours do not
//! name it (§4 has that in every INVITE), so that nobody answers them in pieces. A PRACK that fails
//! is left to the final response of the INVITE, which the called side then owes; where it had our
//! answer in it, the call is given up.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::reliable::{TAG, number};
use super::reply::push_sdp;
use super::{Action, Leg, LegIdentity, Outbox, Phase, Token, supports};
use crate::message::{HeaderId, Message, Method};

/// What is known of reliable responses on one early dialog.
#[derive(Default)]
pub(super) struct Reliable {
    /// The RSeq of the last that was taken.
    rseq: Option<u32>,
    /// Offer and answer are agreed on.
    pub(super) agreed: bool,
    /// Our part of what is agreed, where it is not what our INVITE offered.
    pub(super) ours: Option<Bytes>,
    /// RSeq and CSeq of a response with an offer, whose PRACK waits for the owner's answer.
    owed: Option<(u32, u32)>,
    /// The PRACK with that answer.
    answering: Option<Token>,
}

/// What is to be done about an 18x.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is no reliable one.
    Plain,
    /// It is taken, and its PRACK is due.
    Next { rseq: u32 },
    /// It came before, or another one has to come before it.
    Else,
}

impl Reliable {
    /// Reads an 18x on this dialog.
    pub(super) fn hear(&mut self, message: &Message, identity: &LegIdentity) -> Heard {
        let Some(rseq) = rseq(message).filter(|_| supports(&identity.supported, TAG)) else {
            return Heard::Plain;
        };
        match self.rseq {
            Some(last) if last.checked_add(1) != Some(rseq) => Heard::Else,
            Some(_) | None => {
                self.rseq = Some(rseq);
                Heard::Next { rseq }
            }
        }
    }
}

impl Leg {
    /// Acknowledges a reliable 18x, unless it has an offer that is to be answered first.
    pub(super) fn acknowledge(&mut self, rseq: u32, message: &Message, out: &mut Outbox) {
        let (tag, cseq) = (message.to_tag().unwrap_or_default(), message.cseq());
        let Phase::Calling(calling) = &mut self.phase else { return };
        let offered = calling.offer.is_some();
        let Some(early) = calling.early_of(tag) else { return };
        let describes = message.sdp().is_some() && !early.reliable.agreed;
        if describes && !offered {
            early.reliable.owed = Some((rseq, cseq));
            return;
        }
        early.reliable.agreed |= describes;
        self.send_prack(tag, rseq, cseq, None, out);
    }

    /// The owner's answer to the offer in a reliable 18x.
    pub(super) fn answer_by_prack(&mut self, sdp: Bytes, out: &mut Outbox) {
        let Phase::Calling(calling) = &mut self.phase else { return };
        let owing = calling.early.iter_mut().find(|early| early.reliable.owed.is_some());
        let Some(early) = owing else { return };
        let Some((rseq, cseq)) = early.reliable.owed.take() else { return };
        early.reliable.agreed = true;
        early.reliable.ours = Some(sdp.clone());
        let tag = early.dialog.id.remote_tag.clone();
        let token = self.send_prack(&tag, rseq, cseq, Some(sdp), out);
        if let Phase::Calling(calling) = &mut self.phase
            && let Some(early) = calling.early_of(&tag)
        {
            early.reliable.answering = token;
        }
    }

    /// All dialogs of a leg count their CSeq together, so that any of them may become the leg's own.
    fn send_prack(
        &mut self,
        tag: &[u8],
        rseq: u32,
        cseq: u32,
        sdp: Option<Bytes>,
        out: &mut Outbox,
    ) -> Option<Token> {
        let Phase::Calling(calling) = &mut self.phase else { return None };
        let early = calling.early_of(tag)?;
        early.dialog.local_cseq = self.dialog.local_cseq;
        let (mut draft, hop) = early.dialog.request(Method::Prack);
        self.dialog.local_cseq = early.dialog.local_cseq;
        draft.push(HeaderId::RAck, format!("{rseq} {cseq} INVITE"));
        self.sign(&mut draft, &Method::Prack);
        if let Some(sdp) = sdp {
            push_sdp(&mut draft, sdp);
        }
        let token = self.next_token();
        out.push_back(Action::Request { token, draft, hop });
        Some(token)
    }

    /// Whether an offer in a reliable 18x lies with the owner.
    pub(super) fn owes_prack(&self) -> bool {
        matches!(&self.phase, Phase::Calling(calling)
            if calling.early.iter().any(|early| early.reliable.owed.is_some()))
    }

    /// A PRACK of ours has its final response, or gets none.
    pub(super) fn prack_answered(
        &mut self,
        token: Token,
        status: u16,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Phase::Calling(calling) = &mut self.phase else { return };
        let mut all = calling.early.iter_mut();
        let early = all.find(|early| early.reliable.answering == Some(token));
        let Some(early) = early.filter(|_| status >= 200) else { return };
        early.reliable.answering = None;
        if status >= 300 {
            self.cancel(None, now, out);
        }
    }
}

/// The RSeq of an 18x that is to be acknowledged.
fn rseq(message: &Message) -> Option<u32> {
    let required = message.elements(HeaderId::Require).any(|tag| tag.eq_ignore_ascii_case(TAG));
    let reliable = required && message.status() > 100 && message.to_tag().is_some();
    number(message.value(HeaderId::RSeq)?.trim_ascii()).filter(|rseq| reliable && *rseq > 0)
}

/// A Supported value without `100rel`.
pub(super) fn without(supported: &Bytes) -> Bytes {
    if !supports(supported, TAG) {
        return supported.clone();
    }
    let mut left = BytesMut::with_capacity(supported.len());
    let tags = supported.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for tag in tags.filter(|tag| !tag.eq_ignore_ascii_case(TAG)) {
        if !left.is_empty() {
            left.put_slice(b", ");
        }
        left.put_slice(tag);
    }
    left.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::rig::{OURS, Rig, THEIRS, bytes, identity};
    use super::super::{Failure, State};
    use super::*;

    fn able() -> LegIdentity {
        LegIdentity { supported: Bytes::from_static(b"timer, 100rel"), ..identity() }
    }

    fn calling(offer: &str) -> Rig {
        let mut rig = Rig::calling_as(able(), offer);
        rig.drain();
        rig
    }

    fn rings(rig: &mut Rig, tag: &str, rseq: u32, sdp: &str) {
        let headers = format!("Require: 100rel\nRSeq: {rseq}");
        rig.response_with("INVITE", 1, 183, tag, &headers, sdp);
    }

    #[test]
    fn a_reliable_18x_is_acknowledged_and_counted() {
        let mut rig = calling(OURS);
        rings(&mut rig, "them", 7, "");
        assert_eq!(rig.header(HeaderId::RAck), "7 1 INVITE");
        assert_eq!(rig.header(HeaderId::CSeq), "2 PRACK");
        assert_eq!(rig.header(HeaderId::To), "<sip:them@peer.example>;tag=them");
        assert_eq!(rig.last_draft().uri(), b"sip:them@10.0.0.1;x=%41");
        assert_eq!(rig.drain(), ["PRACK 2", "Provisional 183 -"]);
        rings(&mut rig, "them", 7, "");
        rings(&mut rig, "them", 9, "");
        rings(&mut rig, "them", 6, "");
        assert!(rig.drain().is_empty(), "a repeat, a gap, one from before");
        rings(&mut rig, "them", 8, "");
        assert_eq!(rig.header(HeaderId::CSeq), "3 PRACK");
        assert_eq!(rig.drain(), ["PRACK 3", "Provisional 183 -"]);
        rig.response("PRACK", 2, 200, "them", "");
        rig.response("PRACK", 3, 481, "them", "");
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.header(HeaderId::CSeq), "1 ACK");
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 theirs"]);
        rig.bye();
        assert_eq!(rig.header(HeaderId::CSeq), "4 BYE");
    }

    #[test]
    fn each_fork_counts_by_itself_and_cseq_over_all() {
        let mut rig = calling(OURS);
        for (tag, rseq, cseq) in [("a", 1, 2), ("b", 900, 3), ("a", 2, 4), ("b", 901, 5)] {
            rings(&mut rig, tag, rseq, "");
            assert_eq!(rig.header(HeaderId::RAck), format!("{rseq} 1 INVITE"));
            assert_eq!(rig.header(HeaderId::CSeq), format!("{cseq} PRACK"));
            assert!(rig.header(HeaderId::To).ends_with(&format!(";tag={tag}")));
            rig.drain();
        }
        rig.response("INVITE", 1, 200, "a", THEIRS);
        rig.bye();
        assert_eq!(rig.header(HeaderId::CSeq), "6 BYE");
    }

    #[test]
    fn what_is_not_reliable_gets_no_prack() {
        let mut rig = calling(OURS);
        for headers in
            ["Require: 100rel", "RSeq: 1", "Require: 100rel\nRSeq: 0", "Require: 100rel\nRSeq: x"]
        {
            rig.response_with("INVITE", 1, 183, "them", headers, "");
            assert_eq!(rig.drain(), ["Provisional 183 -"], "{headers}");
        }
        rings(&mut rig, "", 1, "");
        assert_eq!(rig.drain(), ["Provisional 183 -"], "no dialog");
        let mut rig = Rig::calling(OURS);
        rig.drain();
        rings(&mut rig, "them", 1, "");
        assert_eq!(rig.drain(), ["Provisional 183 -"], "we never said that we can");
    }

    #[test]
    fn it_is_required_where_it_has_to_be_and_not_named_in_reinvites() {
        let mut rig = Rig::calling_as(LegIdentity { reliable: true, ..able() }, OURS);
        assert_eq!(rig.header(HeaderId::Require), "100rel");
        assert_eq!(rig.header(HeaderId::Supported), "timer, 100rel");
        rig.response("INVITE", 1, 200, "them", THEIRS);
        rig.offer("v=0 ours 2");
        assert_eq!(rig.header(HeaderId::Require), "");
        assert_eq!(rig.header(HeaderId::Supported), "timer");
    }

    #[test]
    fn after_a_cancel_it_is_still_acknowledged() {
        let mut rig = calling(OURS);
        rig.response("INVITE", 1, 100, "", "");
        rig.cancel();
        rig.drain();
        rings(&mut rig, "them", 1, "");
        assert_eq!(rig.drain(), ["PRACK 2"]);
        rig.response("INVITE", 1, 487, "them", "");
        assert_eq!(rig.drain(), ["Rejected 487 Cancelled"]);
    }

    #[test]
    fn a_reliable_answer_stands() {
        let mut rig = calling(OURS);
        rings(&mut rig, "them", 1, THEIRS);
        assert_eq!(rig.drain(), ["PRACK 2", "Provisional 183 v=0 theirs"]);
        rings(&mut rig, "them", 2, "v=0 other");
        rig.response("INVITE", 1, 180, "them", "v=0 other");
        assert_eq!(rig.drain(), ["PRACK 3", "Provisional 183 -", "Provisional 180 -"]);
        rig.response("INVITE", 1, 200, "them", "v=0 other");
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 theirs"]);
    }

    #[test]
    fn an_update_changes_a_reliable_answer_of_its_own_fork() {
        let mut rig = calling(OURS);
        rings(&mut rig, "fork", 1, "v=0 fork");
        rings(&mut rig, "them", 1, THEIRS);
        rig.drain();
        rig.request("UPDATE", "Contact: <sip:moved@10.0.0.7>", "v=0 theirs 2");
        assert_eq!(rig.drain(), ["Offer v=0 theirs 2"]);
        rig.request_as("UPDATE", 20, "fork", "", "v=0 fork 2");
        assert_eq!(rig.drain(), ["500 UPDATE"]);
        rig.accept("v=0 ours 2");
        assert_eq!(rig.drain(), ["200 UPDATE +sdp"]);
        rig.response_with("INVITE", 1, 200, "them", "Contact: <sip:moved@10.0.0.7>", "");
        assert_eq!(rig.last_draft().uri(), b"sip:moved@10.0.0.7");
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 theirs 2"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes("v=0 ours 2")));

        let mut rig = calling(OURS);
        rig.response("INVITE", 1, 183, "them", THEIRS);
        rig.drain();
        rig.request("UPDATE", "", "v=0 theirs 2");
        assert_eq!(rig.drain(), ["491 UPDATE"], "a preview is no answer yet");
    }

    #[test]
    fn a_final_response_overtakes_an_offer_that_nobody_decided_on() {
        for (status, last) in [(200, "Answered v=0 theirs"), (486, "Rejected 486 Response")] {
            let mut rig = calling(OURS);
            rings(&mut rig, "them", 1, THEIRS);
            rig.request("UPDATE", "", "v=0 theirs 2");
            rig.drain();
            rig.response("INVITE", 1, status, "them", "");
            let words = rig.drain();
            assert_eq!(words[..2], ["487 UPDATE", "OfferWithdrawn"]);
            assert_eq!(words.last().unwrap(), last);
        }
    }

    #[test]
    fn an_offer_in_a_reliable_18x_is_answered_in_its_prack() {
        let mut rig = calling("");
        rings(&mut rig, "them", 1, THEIRS);
        assert_eq!(rig.drain(), ["Provisional 183 v=0 theirs"]);
        rig.accept(OURS);
        assert_eq!(rig.last_draft().payload(), OURS);
        assert_eq!(rig.header(HeaderId::RAck), "1 1 INVITE");
        assert_eq!(rig.drain(), ["PRACK 2 +sdp"]);
        rig.accept(OURS);
        rig.response("PRACK", 2, 200, "them", "");
        rig.response("INVITE", 1, 200, "them", "");
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 theirs"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)));
        assert_eq!(rig.state(), State::Confirmed);
    }

    #[test]
    fn an_answer_that_does_not_arrive_or_is_not_given_ends_the_call() {
        let ways: [fn(&mut Rig); 4] = [
            |rig| rig.refuse(488),
            |rig| {
                rig.accept(OURS);
                rig.response("PRACK", 2, 481, "them", "");
            },
            |rig| {
                rig.accept(OURS);
                rig.failed(2, Failure::Timeout);
            },
            |rig| {
                rig.accept(OURS);
                rig.failed(2, Failure::Transport);
            },
        ];
        for way in ways {
            let mut rig = calling("");
            rings(&mut rig, "them", 1, THEIRS);
            way(&mut rig);
            assert_eq!(rig.drain().last().unwrap(), "CANCEL 1");
        }
    }
}
