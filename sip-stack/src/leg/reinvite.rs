//! Our re-INVITE (RFC 3261 §14.1): the owner's offers and session refreshes, one at a time, and
//! what the peer makes of them. The table is in `offer_answer`.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::offer_answer::Exchange;
use super::prack::without;
use super::reply::push_sdp;
use super::timer::{PATIENCE, Timer};
use super::{Action, Event, Failure, Leg, Outbox, Phase, Token};
use crate::dialog::keep;
use crate::message::{HeaderId, Message, Method};
use crate::transport::Source;

/// Our re-INVITE without a final response.
pub(super) struct Sent {
    pub(super) token: Token,
    sdp: Bytes,
    /// Not the owner's offer but a refresh with our last SDP: its outcome is not told.
    refresh: bool,
    cancelled: bool,
}

impl Leg {
    /// Offers a change by re-INVITE. While another exchange is in progress, or the leg is not yet
    /// confirmed, the offer waits; a newer one takes its place silently. While the peer's own
    /// offer lies with the owner it is refused at once with 491 (both would wait for each other).
    ///
    /// `Answer` or `OfferRefused` follows for each offer that is sent, unless the leg ends before.
    pub fn offer(&mut self, sdp: Bytes, now: Instant, out: &mut Outbox) {
        match (&self.phase, &self.offers.exchange) {
            (Phase::Closing(_) | Phase::Closed, _) => {}
            (Phase::Calling(_) | Phase::Called(_) | Phase::Talking, Exchange::Received(_)) => {
                out.push_back(Action::Event(Event::OfferRefused { status: 491 }));
            }
            (
                Phase::Calling(_) | Phase::Called(_) | Phase::Talking,
                Exchange::Idle
                | Exchange::Sent(_)
                | Exchange::AckOwed { .. }
                | Exchange::AckAwaited(_),
            ) => {
                self.offers.next = Some(sdp);
                self.flush(now, out);
            }
        }
    }

    /// Sends the offer that waits, if it may go now. Also [`Timer::Retry`].
    pub(super) fn flush(&mut self, now: Instant, out: &mut Outbox) {
        self.send_held(now, out);
        let free = matches!(self.phase, Phase::Talking)
            && matches!(self.offers.exchange, Exchange::Idle)
            && !self.timers.runs(Timer::Retry);
        if free && let Some(sdp) = self.offers.next.take() {
            self.send_offer(sdp, false, now, out);
        }
    }

    pub(super) fn send_offer(&mut self, sdp: Bytes, refresh: bool, now: Instant, out: &mut Outbox) {
        let (mut draft, hop) = self.dialog.request(Method::Invite);
        self.sign(&mut draft, &Method::Invite);
        match without(&self.identity.supported) {
            left if left.is_empty() => draft.remove(HeaderId::Supported),
            left => draft.set(HeaderId::Supported, left),
        };
        self.keep_session(&mut draft);
        push_sdp(&mut draft, sdp.clone());
        let token = self.next_token();
        self.offers.exchange = Exchange::Sent(Sent { token, sdp, refresh, cancelled: false });
        self.timers.set(Timer::Offer, now + PATIENCE);
        out.push_back(Action::Request { token, draft, hop });
    }

    /// A response to our re-INVITE.
    pub(super) fn reinvite_response(
        &mut self,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.dialog.hear(source);
        if message.status() < 200 {
            return;
        }
        let Some(sent) = self.take_sent() else { return };
        if (200..300).contains(&message.status()) {
            self.dialog.follow(message);
            self.send_ack(sent.token, message.cseq(), None, out);
        }
        if matches!(self.phase, Phase::Talking) {
            self.peer_is_there();
            match message.status() {
                ..300 => self.offer_accepted(sent, message, now, out),
                408 | 481 => self.gone(Some(message), now, out),
                422 if self.raise_session(message) && self.put_off() => {
                    self.send_offer(sent.sdp, sent.refresh, now, out);
                }
                491 => {
                    let wait = self.random.glare(self.caller);
                    self.offer_put_off(sent, message, wait, now, out);
                }
                status => match retry_after(message) {
                    Some(wait) if status == 500 => {
                        self.offer_put_off(sent, message, wait, now, out);
                    }
                    Some(_) | None => self.offer_refused(&sent, status, now, out),
                },
            }
        }
    }

    /// Our re-INVITE got no response.
    pub(super) fn reinvite_failed(&mut self, why: Failure, now: Instant, out: &mut Outbox) {
        let Some(sent) = self.take_sent() else { return };
        if matches!(self.phase, Phase::Talking) {
            match why {
                Failure::Timeout => self.gone(None, now, out),
                Failure::Transport => self.offer_refused(&sent, 503, now, out),
            }
        }
    }

    /// [`Timer::Offer`]: the peer takes its time; first we cancel, then we take it as gone.
    pub(super) fn offer_unanswered(&mut self, now: Instant, out: &mut Outbox) {
        let Exchange::Sent(sent) = &mut self.offers.exchange else { return };
        if sent.cancelled {
            self.offers.exchange = Exchange::Idle;
            self.gone(None, now, out);
        } else {
            sent.cancelled = true;
            out.push_back(Action::Cancel { token: sent.token, reason: None });
            self.timers.set(Timer::Offer, now + PATIENCE);
        }
    }

    fn take_sent(&mut self) -> Option<Sent> {
        if !matches!(self.offers.exchange, Exchange::Sent(_)) {
            return None;
        }
        let Exchange::Sent(sent) = mem::take(&mut self.offers.exchange) else { return None };
        self.timers.stop(Timer::Offer);
        Some(sent)
    }

    fn offer_accepted(&mut self, sent: Sent, message: &Message, now: Instant, out: &mut Outbox) {
        self.take_session(message, now);
        match message.sdp() {
            Some(theirs) => {
                let same = self.offers.remote.as_ref() == Some(&theirs);
                let sdp = keep(&theirs);
                self.offers.agree(sent.sdp, sdp.clone());
                match (sent.refresh, same) {
                    (true, true) => {}
                    (true, false) => out.push_back(Action::Event(Event::Refreshed { sdp })),
                    (false, _) => out.push_back(Action::Event(Event::Answer { sdp })),
                }
            }
            None if sent.refresh => {}
            None => out.push_back(Action::Event(Event::OfferRefused { status: 488 })),
        }
        self.flush(now, out);
    }

    fn offer_refused(&mut self, sent: &Sent, status: u16, now: Instant, out: &mut Outbox) {
        self.offers.put_off = 0;
        if sent.refresh {
            self.refresh_refused(now);
        } else {
            out.push_back(Action::Event(Event::OfferRefused { status }));
        }
        self.flush(now, out);
    }

    /// Glare (RFC 3261 §14.1), or a peer that is not done yet (§14.2): again later.
    fn offer_put_off(
        &mut self,
        sent: Sent,
        message: &Message,
        wait: Duration,
        now: Instant,
        out: &mut Outbox,
    ) {
        if sent.refresh {
            self.timers.set(Timer::Refresh, now + wait);
            self.flush(now, out);
        } else if self.put_off() {
            self.offers.next.get_or_insert(sent.sdp);
            self.timers.set(Timer::Retry, now + wait);
        } else {
            self.offer_refused(&sent, message.status(), now, out);
        }
    }

    /// Counts one more postponement; whether there may be one.
    const fn put_off(&mut self) -> bool {
        self.offers.put_off += 1;
        self.offers.put_off <= PUT_OFF_LIMIT
    }
}

/// The wait that a 500 names, if it is one of RFC 3261 §14.2 (0 to 10 s).
fn retry_after(message: &Message) -> Option<Duration> {
    let value = message.value(HeaderId::RetryAfter)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds: u64 = std::str::from_utf8(&value[..digits]).ok()?.parse().ok()?;
    (seconds <= 10).then(|| Duration::from_secs(seconds))
}

/// How often one offer is tried again before the owner hears of it.
const PUT_OFF_LIMIT: u8 = 5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rig::{OURS, Rig, THEIRS, bytes};
    use super::super::{Failure, Hop, State};
    use super::*;

    /// Time until the next INVITE goes out, at most half a minute.
    fn until_invite(rig: &mut Rig) -> Option<Duration> {
        for step in 0..3000_u32 {
            if rig.drain().iter().any(|word| word.starts_with("INVITE")) {
                return Some(Duration::from_millis(10) * step);
            }
            rig.pass(Duration::from_millis(10));
        }
        None
    }

    #[test]
    fn reinvite_has_what_it_needs() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        assert_eq!(rig.header(HeaderId::CSeq), "2 INVITE");
        assert_eq!(rig.header(HeaderId::MaxForwards), "70");
        assert_eq!(rig.header(HeaderId::From), "<sip:us@gw.example>;tag=us");
        assert_eq!(rig.header(HeaderId::To), "<sip:them@peer.example>;tag=them");
        assert_eq!(rig.header(HeaderId::Contact), "<sip:us@gw.example:5061;transport=tls>");
        let actions = rig.take();
        let [Action::Request { draft, hop, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(draft.uri(), b"sip:them@10.0.0.1;x=%41");
        assert_eq!(draft.payload(), "v=0 ours 2");
        assert!(matches!(hop, Hop::Uri { uri, .. } if uri == "sip:them@10.0.0.1;x=%41"));
    }

    #[test]
    fn answer_is_agreed_and_moves_the_target() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 100, "", "");
        rig.response("INVITE", 2, 180, "them", "");
        rig.drain();
        rig.response_with("INVITE", 2, 200, "them", "Contact: <sip:moved@10.0.0.7>", "v=0 t2");
        assert_eq!(rig.last_draft().uri(), b"sip:moved@10.0.0.7");
        assert_eq!(rig.drain(), ["ACK", "Answer v=0 t2"]);
        assert_eq!(rig.leg.local_sdp(), Some(&bytes("v=0 ours 2")));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes("v=0 t2")));
        rig.seconds(200);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn refused_offer_leaves_what_was_agreed() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 488, "them", "");
        assert_eq!(rig.leg.local_sdp(), Some(&bytes(OURS)));
        assert_eq!(rig.leg.remote_sdp(), Some(&bytes(THEIRS)));
        assert_eq!(rig.state(), State::Confirmed);
    }

    #[test]
    fn of_waiting_offers_only_the_newest_is_sent() {
        let mut rig = Rig::talking();
        rig.offer("v=0 a");
        rig.offer("v=0 b");
        rig.offer("v=0 c");
        assert_eq!(rig.drain(), ["INVITE 2 +sdp"]);
        rig.response("INVITE", 2, 200, "them", "v=0 t");
        assert_eq!(rig.last_draft().payload(), "v=0 c");
        assert_eq!(rig.drain(), ["ACK", "Answer v=0 t", "INVITE 3 +sdp"]);
        rig.response("INVITE", 3, 488, "them", "");
        assert_eq!(rig.drain(), ["OfferRefused 488"]);
    }

    #[test]
    fn offer_before_the_answer_waits_for_it() {
        let mut rig = Rig::calling(OURS);
        rig.offer("v=0 ours 2");
        rig.drain();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["ACK", "Answered v=0 theirs", "INVITE 2 +sdp"]);

        let mut rig = Rig::called(THEIRS);
        rig.offer("v=0 ours 2");
        rig.answer(OURS);
        assert_eq!(rig.drain(), ["200 INVITE +sdp"]);
        rig.ack(10, "");
        assert_eq!(rig.drain(), ["Confirmed", "INVITE 1 +sdp"]);
    }

    #[test]
    fn glare_waits_longer_where_the_call_id_is_ours() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.drain();
        rig.response("INVITE", 2, 491, "them", "");
        let wait = until_invite(&mut rig).unwrap();
        assert!((2100..=4010).contains(&wait.as_millis()), "{wait:?}");

        let mut rig = Rig::talking_called();
        rig.offer("v=0 ours 2");
        rig.drain();
        rig.response("INVITE", 1, 491, "them", "");
        let wait = until_invite(&mut rig).unwrap();
        assert!(wait.as_millis() <= 2010, "{wait:?}");
    }

    #[test]
    fn retry_after_of_a_500_is_heeded() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.drain();
        rig.response_with("INVITE", 2, 500, "them", "Retry-After: 5 (busy)", "");
        let wait = until_invite(&mut rig).unwrap();
        assert_eq!(wait.as_secs(), 5);
        rig.response_with("INVITE", 3, 500, "them", "Retry-After: 3600", "");
        assert_eq!(rig.drain(), ["OfferRefused 500"]);
    }

    #[test]
    fn glare_without_end_is_told() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.drain();
        let mut tries = 1;
        loop {
            rig.response("INVITE", tries + 1, 491, "them", "");
            if let [word] = &rig.drain()[..] {
                assert_eq!(word, "OfferRefused 491");
                break;
            }
            until_invite(&mut rig).unwrap();
            tries += 1;
            assert!(tries < 10);
        }
        assert_eq!(tries, u32::from(PUT_OFF_LIMIT) + 1);
    }

    #[test]
    fn newest_offer_goes_out_after_glare() {
        let mut rig = Rig::talking();
        rig.offer("v=0 a");
        rig.response("INVITE", 2, 491, "them", "");
        rig.drain();
        rig.offer("v=0 b");
        assert!(rig.drain().is_empty(), "the wait is not cut short");
        rig.seconds(4);
        assert_eq!(rig.last_draft().payload(), "v=0 b");
        assert_eq!(rig.drain(), ["INVITE 3 +sdp"]);
    }

    #[test]
    fn peers_offer_accepted_in_the_glare_wait_replaces_ours() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 491, "them", "");
        rig.request("INVITE", "", "v=0 theirs 2");
        rig.drain();
        rig.accept("v=0 ours 3");
        assert_eq!(rig.drain(), ["OfferRefused 491", "200 INVITE +sdp"]);
        rig.ack(11, "");
        rig.seconds(10);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn peers_refresh_in_the_glare_wait_does_not() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 491, "them", "");
        rig.drain();
        rig.request("INVITE", "", THEIRS);
        rig.seconds(5);
        rig.drain();
        rig.ack(11, "");
        assert_eq!(rig.drain(), ["INVITE 3 +sdp"]);
    }

    #[test]
    fn peers_offer_refused_in_the_glare_wait_does_not() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 491, "them", "");
        rig.request("INVITE", "", "v=0 theirs 2");
        rig.seconds(5);
        rig.drain();
        rig.refuse(488);
        assert_eq!(rig.drain(), ["488 INVITE", "INVITE 3 +sdp"]);
    }

    #[test]
    fn transport_failure_keeps_the_session_and_a_timeout_ends_it() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.drain();
        rig.failed(2, Failure::Transport);
        assert_eq!(rig.drain(), ["OfferRefused 503"]);
        rig.offer("v=0 ours 2");
        rig.drain();
        rig.failed(3, Failure::Timeout);
        assert_eq!(rig.drain(), ["BYE 4", "Ended Gone"]);
    }

    #[test]
    fn silent_peer_is_cancelled_then_given_up() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 100, "", "");
        rig.drain();
        rig.seconds(32);
        assert_eq!(rig.drain(), ["CANCEL 2"]);
        rig.seconds(32);
        assert_eq!(rig.drain(), ["BYE 3", "Ended Gone"]);

        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 100, "", "");
        rig.seconds(32);
        rig.drain();
        rig.response("INVITE", 2, 487, "them", "");
        rig.seconds(100);
        assert_eq!(rig.drain(), ["OfferRefused 487"]);
    }

    #[test]
    fn bye_while_our_reinvite_is_out_still_acknowledges_its_200() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.bye();
        assert_eq!(rig.drain(), ["INVITE 2 +sdp", "BYE 3", "Ended Local"]);
        rig.response("BYE", 3, 200, "them", "");
        assert_eq!(rig.state(), State::Ending);
        rig.response("INVITE", 2, 200, "them", "v=0 t2");
        assert_eq!(rig.drain(), ["ACK"]);
        assert!(rig.leg.is_ended());

        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.request("BYE", "", "");
        assert_eq!(rig.drain(), ["INVITE 2 +sdp", "200 BYE", "Ended Remote"]);
        rig.response("INVITE", 2, 487, "them", "");
        assert!(rig.leg.is_ended() && rig.drain().is_empty());
    }

    /// Seen in simulation: the peer's 200 was lost, and after the BYE it is not repeated.
    #[test]
    fn reinvite_without_final_after_the_bye_is_cancelled() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.bye();
        rig.response("BYE", 3, 200, "them", "");
        rig.drain();
        rig.seconds(31);
        assert!(rig.drain().is_empty());
        rig.seconds(1);
        assert_eq!(rig.drain(), ["CANCEL 2"]);
        assert!(rig.leg.is_ended());
    }

    #[test]
    fn repeated_200_to_a_reinvite_gets_its_ack_again() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 200, "them", "v=0 t2");
        rig.drain();
        rig.response("INVITE", 2, 200, "them", "v=0 t2");
        assert_eq!(rig.drain(), ["ACK"]);
    }
}
