//! Reliable provisional responses of ours (RFC 3262 §3, §5): an 18x that is repeated until its PRACK.
//!
//! An 18x goes reliably where the caller's INVITE requires it, and where that supports it and we
//! want it so ([`LegIdentity::reliable`](super::LegIdentity)). One at a time:
//!
//! ```text
//! input              | none out          | one out
//! -------------------+-------------------+---------------------------------------------------------
//! ring()             | 18x, RSeq         | held: the newest goes out after the PRACK
//! answer()           | 2xx               | 2xx; held until the PRACK where the 18x had SDP
//! reject(), CANCEL   | final             | final
//! PRACK that matches | 481               | 200; with SDP, Offer; then what was held
//! other PRACK        | 481               | 481
//! T1, doubling       | -                 | 18x again
//! 64*T1              | -                 | 504, Ended NoPrack
//! ```
//!
//! SDP in a reliable 18x is the answer to the INVITE: no later 18x or 2xx has any, and from then on
//! UPDATE and PRACK may offer a change (RFC 3311 §5.1). A 2xx waits until such an offer is settled;
//! the owner, and whoever answered it, are not told that it waits.
//!
//! Where the caller requires reliability and makes no offer, it gets no 18x: the first one would have
//! to make the offer (§5), before it is known what the other side speaks. A PRACK that comes after
//! our refusal of the call gets 481.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::offer_answer::Exchange;
use super::reply::push_sdp;
use super::timer::{PATIENCE, T1, Timer};
use super::{Action, EndedBy, Extra, Leg, Outbox, Phase, supports};
use crate::endpoint::ServerId;
use crate::message::{Draft, HeaderId, Message, Method};

/// The option tag of RFC 3262.
pub(super) const TAG: &[u8] = b"100rel";

/// The reliable 18x of a called leg.
#[derive(Default)]
pub(super) struct Provisionals {
    /// The RSeq of the last one; 0 before the first.
    rseq: u32,
    /// The one whose PRACK has not come.
    out: Option<Unacknowledged>,
    /// The newest 18x that waits for that.
    next: Option<(Draft, Option<Bytes>)>,
    /// The answer that waits.
    held: Option<(Bytes, Vec<Extra>)>,
}

#[cfg(test)]
impl Provisionals {
    /// The RSeq of the last one.
    pub(super) const fn last(&self) -> Option<u32> {
        if self.rseq == 0 { None } else { Some(self.rseq) }
    }
}

struct Unacknowledged {
    draft: Draft,
    interval: Duration,
    /// It has our answer in it.
    describes: bool,
}

/// How an 18x goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Reliably,
    /// Not at all.
    Never,
}

impl Leg {
    /// Sends an 18x the way that the caller's INVITE asks for.
    pub(super) fn send_ringing(
        &mut self,
        draft: Draft,
        sdp: Option<Bytes>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Phase::Called(called) = &self.phase else { return };
        let server = called.server;
        match self.way(&called.invite) {
            Way::Never => {}
            Way::Plain => {
                let mut draft = draft;
                if let Some(sdp) = sdp.filter(|_| self.offers.local.is_none()) {
                    push_sdp(&mut draft, sdp);
                }
                out.push_back(Action::Respond { server, draft });
            }
            Way::Reliably if self.provisionals.out.is_some() => {
                self.provisionals.next = Some((draft, sdp));
            }
            Way::Reliably => self.send_reliably(server, draft, sdp, now, out),
        }
    }

    fn way(&self, invite: &Message) -> Way {
        let lists = |id| invite.elements(id).any(|tag| tag.eq_ignore_ascii_case(TAG));
        let required = lists(HeaderId::Require);
        let wanted = self.identity.reliable && lists(HeaderId::Supported);
        let takes_part = supports(&self.identity.supported, TAG) && (required || wanted);
        match (takes_part, self.offers.remote.is_some()) {
            (false, _) => Way::Plain,
            (true, true) => Way::Reliably,
            (true, false) if required => Way::Never,
            (true, false) => Way::Plain,
        }
    }

    fn send_reliably(
        &mut self,
        server: ServerId,
        mut draft: Draft,
        sdp: Option<Bytes>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let answers = sdp.filter(|_| self.offers.local.is_none()).zip(self.offers.remote.clone());
        let describes = answers.is_some();
        if let Some((ours, theirs)) = answers {
            push_sdp(&mut draft, ours.clone());
            self.offers.agree(ours, theirs);
        }
        self.provisionals.rseq = match self.provisionals.rseq {
            0 => u32::try_from(self.random.between(1, FIRST_RSEQ)).unwrap_or(1),
            last => last + 1,
        };
        draft.push(HeaderId::Require, TAG);
        draft.push(HeaderId::RSeq, self.provisionals.rseq.to_string());
        out.push_back(Action::Respond { server, draft: draft.clone() });
        self.provisionals.out = Some(Unacknowledged { draft, interval: T1, describes });
        self.timers.set(Timer::Provisional, now + T1);
        self.timers.set(Timer::Prack, now + PATIENCE);
    }

    /// [`Timer::Provisional`]: the interval doubles without bound (§3).
    pub(super) fn provisional_again(&mut self, now: Instant, out: &mut Outbox) {
        let Phase::Called(called) = &self.phase else { return };
        let Some(waiting) = &mut self.provisionals.out else { return };
        waiting.interval *= 2;
        self.timers.set(Timer::Provisional, now + waiting.interval);
        let draft = waiting.draft.clone();
        out.push_back(Action::Respond { server: called.server, draft });
    }

    /// [`Timer::Prack`]: the caller does not hear us (§3).
    pub(super) fn prack_missing(&mut self, out: &mut Outbox) {
        if matches!(self.phase, Phase::Called(_)) && self.provisionals.out.is_some() {
            self.refuse_invite(504, None, &[], EndedBy::NoPrack, out);
        }
    }

    /// A PRACK on the called leg.
    pub(super) fn prack_request(
        &mut self,
        server: ServerId,
        prack: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        let matches = self.provisionals.out.is_some()
            && RAck::of(prack).is_some_and(|rack| {
                rack.rseq == self.provisionals.rseq && Some(rack.cseq) == self.invite_cseq
            });
        if !matches {
            return self.reply(server, prack, 481, out);
        }
        if let Some(draft) = Self::refusal_in_dialog(prack, &self.identity) {
            return self.refuse(server, prack, draft, out);
        }
        let offers = prack.sdp().is_some();
        let idle = matches!(self.offers.exchange, Exchange::Idle);
        if offers && (self.offers.local.is_none() || !idle) {
            // An offer of its own is not answered yet.
            return self.busy(server, prack, out);
        }
        self.provisionals.out = None;
        self.timers.stop(Timer::Provisional);
        self.timers.stop(Timer::Prack);
        if offers {
            self.offer_request(server, prack, now, out);
        } else {
            self.reply(server, prack, 200, out);
        }
        self.send_held(now, out);
    }

    /// Keeps an answer that may not go out yet; whether it was kept (§3, §5).
    pub(super) fn hold_answer(&mut self, sdp: &Bytes, extra: &[Extra]) -> bool {
        if !matches!(self.phase, Phase::Called(_)) {
            return false;
        }
        let Provisionals { out, held, next, .. } = &mut self.provisionals;
        *next = None;
        let waits = out.as_ref().is_some_and(|waiting| waiting.describes)
            || !matches!(self.offers.exchange, Exchange::Idle);
        if waits {
            held.get_or_insert_with(|| (sdp.clone(), extra.to_vec()));
        }
        waits
    }

    /// Whether the owner has answered, and the 2xx waits.
    pub(super) const fn holds_answer(&self) -> bool {
        self.provisionals.held.is_some()
    }

    /// Nothing is in the way any more: the next 18x goes out, or the 2xx.
    pub(super) fn send_held(&mut self, now: Instant, out: &mut Outbox) {
        let Phase::Called(called) = &self.phase else { return };
        let server = called.server;
        if self.provisionals.out.is_some() || !matches!(self.offers.exchange, Exchange::Idle) {
            return;
        }
        if let Some((sdp, extra)) = self.provisionals.held.take() {
            self.answer(sdp, &extra, now, out);
        } else if let Some((draft, sdp)) = self.provisionals.next.take() {
            self.send_reliably(server, draft, sdp, now, out);
        }
    }
}

/// What a PRACK acknowledges (RFC 3262 §7.2).
struct RAck {
    rseq: u32,
    cseq: u32,
}

impl RAck {
    /// `None` without one that can be read and is about an INVITE.
    fn of(prack: &Message) -> Option<Self> {
        let value = prack.value(HeaderId::RAck)?;
        let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let rack = Self { rseq: number(words.next()?)?, cseq: number(words.next()?)? };
        let invite = words.next()? == Method::Invite.as_bytes() && words.next().is_none();
        invite.then_some(rack)
    }
}

/// Digits that make a number of 32 bits.
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// §3: the first RSeq lies below 2^31, so that it can go up for long.
const FIRST_RSEQ: u64 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::super::rig::{OURS, Rig, THEIRS, bytes, identity};
    use super::super::{LegIdentity, State};
    use super::*;

    fn able(reliable: bool) -> LegIdentity {
        let supported = Bytes::from_static(b"timer, 100rel");
        LegIdentity { supported, reliable, ..identity() }
    }

    fn called(headers: &str, reliable: bool, offer: &str) -> Rig {
        let mut rig = Rig::called_with(headers, offer);
        rig.leg.identity = able(reliable);
        rig
    }

    /// A caller that requires it, rung with SDP, and the RSeq of that.
    fn rung() -> (Rig, u32) {
        let mut rig = called("Require: 100rel", false, THEIRS);
        rig.ring(183, OURS);
        let rseq = rseq(&rig);
        rig.drain();
        (rig, rseq)
    }

    fn rseq(rig: &Rig) -> u32 {
        rig.header(HeaderId::RSeq).parse().unwrap()
    }

    fn prack(rig: &mut Rig, rseq: u32, sdp: &str) {
        rig.request("PRACK", &format!("RAck: {rseq} 10 INVITE"), sdp);
    }

    #[test]
    fn an_18x_is_reliable_where_it_is_required_or_can_be_and_is_wanted() {
        for (headers, wanted, reliable) in [
            ("", true, false),
            ("Supported: 100rel", false, false),
            ("Supported: timer, 100REL", true, true),
            ("Require: 100rel", false, true),
        ] {
            let mut rig = called(headers, wanted, THEIRS);
            rig.ring(180, "");
            let require = rig.header(HeaderId::Require);
            assert_eq!(require, if reliable { "100rel" } else { "" }, "{headers}");
            assert_eq!(rig.header(HeaderId::RSeq).is_empty(), !reliable, "{headers}");
            assert_eq!(rig.drain(), ["180 INVITE"]);
        }
    }

    #[test]
    fn without_100rel_in_supported_it_is_never_reliable() {
        let mut rig = Rig::called_with("Supported: 100rel", THEIRS);
        rig.leg.identity.reliable = true;
        rig.ring(180, "");
        assert_eq!(rig.header(HeaderId::RSeq), "");
    }

    #[test]
    fn it_is_repeated_at_t1_doubling_and_then_the_call_is_refused() {
        let (mut rig, _) = rung();
        let mut sent = Vec::new();
        for step in 0..=320_u32 {
            sent.extend(rig.drain().into_iter().map(|word| (step * 100, word)));
            rig.pass(Duration::from_millis(100));
        }
        let at: Vec<u32> =
            sent.iter().filter(|(_, w)| w == "183 INVITE +sdp").map(|s| s.0).collect();
        assert_eq!(at, [500, 1500, 3500, 7500, 15500, 31500]);
        let end: Vec<_> = sent.iter().rev().take(2).map(|(at, word)| (*at, &word[..])).collect();
        assert_eq!(end, [(32000, "Ended NoPrack"), (32000, "504 INVITE")]);
        assert_eq!(rig.state(), State::Ended);
    }

    #[test]
    fn a_prack_ends_the_repeats_and_only_the_right_one_does() {
        let (mut rig, rseq) = rung();
        for rack in [
            format!("{} 10 INVITE", rseq + 1),
            format!("{rseq} 9 INVITE"),
            format!("{rseq} 10 UPDATE"),
            format!("{rseq} 10 INVITE x"),
            format!("{rseq} 10"),
            format!("+{rseq} 10 INVITE"),
            String::new(),
        ] {
            rig.request("PRACK", &format!("RAck: {rack}"), "");
            assert_eq!(rig.drain(), ["481 PRACK"], "{rack}");
        }
        rig.pass(Duration::from_millis(500));
        assert_eq!(rig.drain(), ["183 INVITE +sdp"]);
        prack(&mut rig, rseq, "");
        assert_eq!(rig.drain(), ["200 PRACK"]);
        rig.seconds(40);
        assert!(rig.drain().is_empty());
        prack(&mut rig, rseq, "");
        assert_eq!(rig.drain(), ["481 PRACK"], "nothing is out any more");
    }

    #[test]
    fn the_next_waits_for_the_prack_and_counts_up_by_one() {
        let (mut rig, first) = rung();
        rig.ring(180, "");
        rig.ring(182, "");
        assert!(rig.drain().is_empty());
        prack(&mut rig, first, "");
        assert_eq!(rseq(&rig), first + 1);
        assert_eq!(rig.drain(), ["200 PRACK", "182 INVITE"], "the newest alone");
    }

    #[test]
    fn a_minute_later_it_comes_again_as_the_next_one() {
        let (mut rig, first) = rung();
        prack(&mut rig, first, "");
        rig.drain();
        rig.seconds(60);
        assert_eq!(rseq(&rig), first + 1);
        assert_eq!(rig.drain(), ["183 INVITE"], "what was answered is not said again");
    }

    #[test]
    fn the_2xx_waits_for_the_prack_of_an_18x_with_sdp_and_has_none() {
        let (mut rig, rseq) = rung();
        rig.answer(OURS);
        rig.answer("v=0 ours 2");
        rig.ring(180, "");
        assert!(rig.drain().is_empty());
        assert_eq!(rig.state(), State::Invited);
        prack(&mut rig, rseq, "");
        assert_eq!(rig.drain(), ["200 PRACK", "200 INVITE"]);
        rig.ack(10, "");
        assert_eq!(rig.drain(), ["Confirmed"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes(THEIRS)));
    }

    #[test]
    fn the_2xx_does_not_wait_for_the_prack_of_one_without_sdp_which_is_taken_late() {
        let mut rig = called("Require: 100rel", false, THEIRS);
        rig.ring(180, "");
        let rseq = rseq(&rig);
        rig.answer(OURS);
        assert_eq!(rig.drain(), ["180 INVITE", "200 INVITE +sdp"]);
        prack(&mut rig, rseq, "");
        assert_eq!(rig.drain(), ["200 PRACK"]);
        rig.ack(10, "");
        rig.seconds(60);
        assert_eq!(rig.drain(), ["Confirmed"]);
    }

    #[test]
    fn a_caller_that_gives_up_or_is_refused_meanwhile_hears_no_more_of_it() {
        type End = (fn(&mut Rig), &'static [&'static str]);
        let ends: [End; 3] = [
            (|rig| rig.cancelled(10), &["487 INVITE", "Cancelled"]),
            (|rig| rig.reject(486), &["486 INVITE", "Ended Local"]),
            (|rig| rig.request("BYE", "", ""), &["200 BYE", "487 INVITE", "Cancelled"]),
        ];
        for (end, does) in ends {
            let (mut rig, rseq) = rung();
            rig.answer(OURS);
            end(&mut rig);
            assert_eq!(rig.drain(), does);
            rig.seconds(60);
            prack(&mut rig, rseq, "");
            assert_eq!(rig.drain(), ["481 PRACK"]);
            assert_eq!(rig.leg.poll_timeout(), None);
        }
    }

    #[test]
    fn prack_and_update_may_change_what_was_answered_reliably() {
        for method in ["PRACK", "UPDATE"] {
            let (mut rig, rseq) = rung();
            let rack = format!("RAck: {rseq} 10 INVITE");
            rig.request(method, &rack, "v=0 theirs 2");
            assert_eq!(rig.drain(), ["Offer v=0 theirs 2"]);
            rig.answer(OURS);
            rig.request("UPDATE", "", "v=0 theirs 3");
            assert_eq!(rig.drain(), ["500 UPDATE"], "one at a time");
            rig.accept("v=0 ours 2");
            if method == "UPDATE" {
                assert_eq!(rig.drain(), ["200 UPDATE +sdp"]);
                prack(&mut rig, rseq, "");
                assert_eq!(rig.drain(), ["200 PRACK", "200 INVITE"]);
            } else {
                assert_eq!(rig.drain(), ["200 PRACK +sdp", "200 INVITE"], "the 2xx waited");
            }
            rig.ack(10, "");
            assert_eq!(rig.leg.local_sdp(), Some(&bytes("v=0 ours 2")));
            assert_eq!(rig.leg.remote_sdp(), Some(&bytes("v=0 theirs 2")));
        }
    }

    #[test]
    fn a_change_that_nobody_decides_on_is_refused_and_the_answer_goes_out() {
        let (mut rig, rseq) = rung();
        prack(&mut rig, rseq, "v=0 theirs 2");
        rig.answer(OURS);
        rig.drain();
        rig.seconds(20);
        assert_eq!(rig.drain(), ["504 PRACK", "200 INVITE", "OfferWithdrawn"]);
    }

    #[test]
    fn an_offer_before_the_first_one_is_answered_has_to_come_again() {
        let mut rig = called("Require: 100rel", false, THEIRS);
        rig.ring(180, "");
        let rseq = rseq(&rig);
        rig.drain();
        rig.request("UPDATE", "", "v=0 theirs 2");
        prack(&mut rig, rseq, "v=0 theirs 2");
        assert_eq!(rig.drain(), ["500 UPDATE", "500 PRACK"]);
        prack(&mut rig, rseq, "");
        assert_eq!(rig.drain(), ["200 PRACK"]);
    }

    #[test]
    fn a_caller_that_requires_it_and_makes_no_offer_hears_nothing_before_the_answer() {
        let mut rig = called("Require: 100rel", false, "");
        rig.ring(180, "");
        assert!(rig.drain().is_empty());
        rig.answer(OURS);
        rig.ack(10, THEIRS);
        assert_eq!(rig.drain(), ["200 INVITE +sdp", "Answer v=0 theirs", "Confirmed"]);
        let mut rig = called("Supported: 100rel", true, "");
        rig.ring(180, "");
        assert_eq!(rig.header(HeaderId::RSeq), "");
        assert_eq!(rig.drain(), ["180 INVITE"]);
    }
}
