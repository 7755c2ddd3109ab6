//! The end of a session (RFC 3261 §15) and what a leg owes the peer after it.
//!
//! ```text
//! input              | Ending
//! -------------------+---------------------------------------------------------------
//! BYE                | 200
//! other request      | 481
//! ACK                | the held BYE goes out
//! final to a BYE     | -> Ended when nothing else is owed
//! 2xx to an INVITE   | ACK again; of a fork: ACK and BYE; of our re-INVITE: ACK
//! 64*T1              | CANCEL of our re-INVITE if it is still out; -> Ended
//! ```
//!
//! A called side that ends the call before the ACK came holds its BYE until then, or until 64*T1
//! have passed (§15): its 2xx goes on being repeated meanwhile.

use std::time::Instant;

use super::offer_answer::Exchange;
use super::reply::push_extra;
use super::timer::{PATIENCE, Timer};
use super::{Action, EndedBy, Event, Extra, Leg, Outbox, Phase, Token};
use crate::endpoint::ServerId;
use crate::message::{HeaderId, Message, Method};

/// A leg after its session.
pub(super) struct Closing {
    /// The headers of a BYE that waits for the ACK of our 2xx.
    held: Option<Vec<Extra>>,
    /// 2xx of further forks are waited for.
    lingers: bool,
}

impl Leg {
    /// Ends the leg: by BYE once it was answered; before that our INVITE is cancelled (with the
    /// Reason among `extra`) and the peer's refused with 480.
    pub fn bye(&mut self, extra: &[Extra], now: Instant, out: &mut Outbox) {
        match &self.phase {
            Phase::Calling(_) => {
                let reason = extra.iter().find(|(id, _)| *id == HeaderId::Reason);
                self.cancel(reason.map(|(_, value)| value.clone()), now, out);
            }
            Phase::Called(_) => self.reject(480, None, extra, out),
            Phase::Talking => {
                self.hang_up(extra, now, out);
                self.tell_end(EndedBy::Local, None, out);
            }
            Phase::Closing(_) | Phase::Closed => {}
        }
    }

    /// The session cannot go on: BYE.
    pub(super) fn end(
        &mut self,
        by: EndedBy,
        message: Option<&Message>,
        now: Instant,
        out: &mut Outbox,
    ) {
        if matches!(self.phase, Phase::Talking) {
            self.hang_up(&[], now, out);
            self.tell_end(by, message, out);
        }
    }

    /// The peer does not know the dialog any more, or is away (RFC 3261 §12.2.1.2).
    pub(super) fn gone(&mut self, message: Option<&Message>, now: Instant, out: &mut Outbox) {
        self.end(EndedBy::Gone, message, now, out);
    }

    pub(super) fn tell_end(&self, by: EndedBy, message: Option<&Message>, out: &mut Outbox) {
        out.push_back(Action::Event(Event::Ended { by, message: message.cloned() }));
    }

    /// Sends BYE, or holds it until the ACK.
    pub(super) fn hang_up(&mut self, extra: &[Extra], now: Instant, out: &mut Outbox) {
        let awaits_ack = matches!(&self.offers.exchange,
            Exchange::AckAwaited(awaited) if awaited.initial);
        self.enter_closing(now, out);
        if awaits_ack {
            self.hold_bye(extra.to_vec());
        } else {
            self.send_bye(extra, out);
        }
    }

    fn hold_bye(&mut self, extra: Vec<Extra>) {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.held = Some(extra);
        }
    }

    /// The ACK came, or never will.
    pub(super) fn send_held_bye(&mut self, now: Instant, out: &mut Outbox) {
        let Phase::Closing(closing) = &mut self.phase else { return };
        if let Some(extra) = closing.held.take() {
            self.timers.set(Timer::Closing, now + PATIENCE);
            self.send_bye(&extra, out);
        }
    }

    fn send_bye(&mut self, extra: &[Extra], out: &mut Outbox) {
        let (mut draft, hop) = self.dialog.request(Method::Bye);
        self.sign(&mut draft, &Method::Bye);
        push_extra(&mut draft, extra);
        let token = self.next_token();
        self.byes.push(token);
        out.push_back(Action::Request { token, draft, hop });
    }

    /// The peer's BYE on the answered leg.
    pub(super) fn bye_request(
        &mut self,
        server: ServerId,
        bye: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.reply(server, bye, 200, out);
        self.take_awaited();
        self.enter_closing(now, out);
        self.tell_end(EndedBy::Remote, Some(bye), out);
    }

    /// Settles what is open with the peer: requests are answered 487 (§15.1.2), an owed ACK goes
    /// out, timers of the session stop.
    fn enter_closing(&mut self, now: Instant, out: &mut Outbox) {
        let (answer, ack) = (self.timers.at(Timer::Answer), self.timers.at(Timer::Ack));
        self.timers.stop_all();
        let awaits_ack = match &self.offers.exchange {
            Exchange::AckAwaited(awaited) => awaited.initial,
            Exchange::Idle
            | Exchange::Sent(_)
            | Exchange::AckOwed { .. }
            | Exchange::Received(_) => false,
        };
        if awaits_ack {
            answer.inspect(|at| self.timers.set(Timer::Answer, *at));
            ack.inspect(|at| self.timers.set(Timer::Ack, *at));
        }
        self.drop_exchange(out);
        self.drop_waiting(out);
        self.offers.next = None;
        let lingers = self.forked && self.answered.is_some_and(|at| now < at + PATIENCE);
        self.phase = Phase::Closing(Closing { held: None, lingers });
        self.timers.set(Timer::Closing, now + PATIENCE);
    }

    /// Answers the owner's requests that it will not answer any more.
    pub(super) fn drop_waiting(&mut self, out: &mut Outbox) {
        for (server, request) in std::mem::take(&mut self.waiting) {
            self.reply(server, &request, 487, out);
        }
    }

    /// A final response to a BYE of ours.
    pub(super) fn bye_response(&mut self, token: Token, status: u16) {
        if status >= 200 {
            self.byes.retain(|bye| *bye != token);
        }
    }

    /// A request after the session.
    pub(super) fn closing_request(
        &mut self,
        server: ServerId,
        request: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        if !matches!(request.method(), Method::Bye) {
            return self.reply(server, request, 481, out);
        }
        self.reply(server, request, 200, out);
        // The peer hung up before its ACK: our BYE is no longer needed.
        if self.dialog.owns_request(request) && self.take_awaited().is_some() {
            if let Phase::Closing(closing) = &mut self.phase {
                closing.held = None;
            }
            self.timers.set(Timer::Closing, now + PATIENCE);
        }
    }

    /// Whether everything is done that an ended leg owes.
    pub(super) fn settle(&mut self) {
        let Phase::Closing(closing) = &self.phase else { return };
        let open = closing.lingers
            || closing.held.is_some()
            || !self.byes.is_empty()
            || matches!(self.offers.exchange, Exchange::Sent(_));
        if !open {
            self.close();
        }
    }

    /// [`Timer::Closing`]: enough waited. A re-INVITE that has no final response by now (the peer's
    /// was lost, and its BYE ended it) is cancelled, so that its transaction ends too.
    pub(super) fn close_late(&mut self, out: &mut Outbox) {
        if let Exchange::Sent(sent) = &self.offers.exchange {
            out.push_back(Action::Cancel { token: sent.token, reason: None });
        }
        self.close();
    }

    /// Nothing is left to do.
    pub(super) fn close(&mut self) {
        self.timers.stop_all();
        self.phase = Phase::Closed;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rig::{OURS, Rig, THEIRS, bytes};
    use super::super::{Failure, State};

    use super::*;

    #[test]
    fn bye_is_in_the_dialog() {
        let mut rig = Rig::talking();
        rig.leg.bye(&[(HeaderId::Reason, bytes("Q.850;cause=16"))], rig.now, &mut rig.out);
        assert_eq!(rig.header(HeaderId::CSeq), "2 BYE");
        assert_eq!(rig.header(HeaderId::Reason), "Q.850;cause=16");
        assert_eq!(rig.header(HeaderId::MaxForwards), "70");
        assert_eq!(rig.header(HeaderId::To), "<sip:them@peer.example>;tag=them");
        assert_eq!(rig.last_draft().uri(), b"sip:them@10.0.0.1;x=%41");
    }

    #[test]
    fn table() {
        type Row = (&'static str, fn(&mut Rig), &'static [&'static str], State);
        let rows: [Row; 10] = [
            ("200 to it", |rig| rig.response("BYE", 2, 200, "them", ""), &[], State::Ended),
            ("481 to it", |rig| rig.response("BYE", 2, 481, "them", ""), &[], State::Ended),
            ("401 to it", |rig| rig.response("BYE", 2, 401, "them", ""), &[], State::Ended),
            ("100 to it", |rig| rig.response("BYE", 2, 100, "", ""), &[], State::Ending),
            ("time-out", |rig| rig.failed(2, Failure::Timeout), &[], State::Ended),
            ("transport", |rig| rig.failed(2, Failure::Transport), &[], State::Ended),
            (
                "200 to the INVITE",
                |rig| rig.response("INVITE", 1, 200, "them", THEIRS),
                &["ACK"],
                State::Ending,
            ),
            ("BYE that crosses it", |rig| rig.request("BYE", "", ""), &["200 BYE"], State::Ending),
            (
                "re-INVITE that crosses it",
                |rig| rig.request("INVITE", "", "v=0 new"),
                &["481 INVITE"],
                State::Ending,
            ),
            ("64*T1", |rig| rig.seconds(32), &[], State::Ended),
        ];
        for (name, input, does, leads) in rows {
            let mut rig = Rig::talking();
            rig.bye();
            rig.drain();
            input(&mut rig);
            assert_eq!(rig.drain(), does, "{name}");
            assert_eq!(rig.state(), leads, "{name}");
        }
    }

    #[test]
    fn nothing_is_told_or_done_after_the_end() {
        let mut rig = Rig::talking();
        rig.request("BYE", "", "");
        assert_eq!(rig.drain(), ["200 BYE", "Ended Remote"]);
        rig.bye();
        rig.cancel();
        rig.offer(OURS);
        rig.accept(OURS);
        rig.refuse(488);
        rig.answer(OURS);
        rig.reject(500);
        rig.failed(1, Failure::Timeout);
        rig.cancelled(10);
        rig.seconds(10_000);
        assert!(rig.drain().is_empty());
        assert_eq!(rig.leg.poll_timeout(), None);
        rig.request("BYE", "", "");
        rig.request("INFO", "", "");
        assert_eq!(rig.drain(), ["200 BYE", "481 INFO"]);
    }

    #[test]
    fn timers_of_the_session_stop_with_it() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 491, "them", "");
        rig.bye();
        rig.drain();
        rig.response("BYE", 3, 200, "them", "");
        rig.pass(Duration::from_secs(100));
        assert!(rig.drain().is_empty());
    }
}
