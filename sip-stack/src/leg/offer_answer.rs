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
//! INVITE, SDP new | Offer -> Received| 491            | 491        | 500 (2)     | 500 (2)
//! INVITE, SDP same| 200 -> AckAwaited| 491            | 491        | 500 (2)     | 500 (2)
//! INVITE, no SDP  | Offer -> Received| 491            | 491        | 500 (2)     | 500 (2)
//! UPDATE with SDP | as INVITE, no ACK| 491            | 491        | 500 (2)     | 500 (2)
//! UPDATE, no SDP  | 200              | 200            | 200        | 200         | 200
//! CANCEL          | -                | -              | -          | 487 (3)     | -
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
//! ```
//!
//! An SDP that equals the peer's last one byte for byte (a session refresh) is answered here with
//! our last one. SDP is opaque bytes to a leg.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::reply::push_sdp;
use super::timer::{PATIENCE, T1, T2, Timer};
use super::{Action, EndedBy, Event, Failure, Hop, Leg, Outbox, Phase, Token};
use crate::dialog::keep;
use crate::endpoint::ServerId;
use crate::message::{Draft, HeaderId, Message, Method};
use crate::transport::Source;

/// What was agreed, what is being negotiated, and what waits.
#[derive(Debug, Default)]
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
#[derive(Debug, Default)]
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

#[derive(Debug)]
pub(super) struct Sent {
    token: Token,
    sdp: Bytes,
    /// Not the owner's offer but a refresh with our last SDP: its outcome is not told.
    refresh: bool,
    cancelled: bool,
}

#[derive(Debug)]
pub(super) struct Received {
    server: ServerId,
    request: Message,
    sdp: Option<Bytes>,
}

#[derive(Debug)]
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

/// An ACK that we sent for a 2xx.
#[derive(Debug)]
pub(super) struct Acked {
    pub(super) token: Token,
    pub(super) tag: Bytes,
    pub(super) draft: Draft,
    pub(super) hop: Hop,
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

/// Ours.
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
                let news = !sent.refresh || self.offers.remote.as_ref() != Some(&theirs);
                let theirs = keep(&theirs);
                self.offers.agree(sent.sdp, theirs.clone());
                if news {
                    out.push_back(Action::Event(Event::Answer { sdp: theirs }));
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
                self.offers.agree(sdp.clone(), theirs);
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
            }
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
            }
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
        self.dialog.follow(request);
        let mut draft = self.response(request, 200);
        self.grant_session(request, &mut draft, now);
        push_sdp(&mut draft, sdp);
        if matches!(request.method(), Method::Invite) {
            self.await_ack(server, request.cseq(), draft, offer, false, now, out);
        } else {
            out.push_back(Action::Respond { server, draft });
            self.flush(now, out);
        }
    }
}

/// The 2xx until its ACK.
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

/// The wait that a 500 names, if it is one of RFC 3261 §14.2 (0 to 10 s).
fn retry_after(message: &Message) -> Option<Duration> {
    let value = message.value(HeaderId::RetryAfter)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds: u64 = std::str::from_utf8(&value[..digits]).ok()?.parse().ok()?;
    (seconds <= 10).then(|| Duration::from_secs(seconds))
}

/// How often one offer is tried again before the owner hears of it.
const PUT_OFF_LIMIT: u8 = 5;
