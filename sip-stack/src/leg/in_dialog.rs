//! Requests that come inside the dialog (RFC 3261 §12.2.2): matched by Call-ID and tags, kept in
//! CSeq order, and answered here unless they belong to another usage.
//!
//! ```text
//! method        | Inviting, early tag | Invited          | Answered, Confirmed | Ending
//! --------------+---------------------+------------------+---------------------+-------
//! BYE           | 200                 | 200, 487 (1)     | 200, Ended          | 200
//! INVITE        | 491                 | 500 (2)          | see offer_answer    | 481
//! UPDATE + SDP  | 491 (3)             | 500 (2) (3)      | see offer_answer    | 481
//! UPDATE        | 200                 | 200              | 200                 | 481
//! OPTIONS       | 200                 | 200              | 200                 | 481
//! PRACK         | 481                 | see reliable     | see reliable        | 481
//! other, allowed| Request             | Request          | Request             | 481
//! other         | 405                 | 405              | 405                 | 481
//!
//! (1) Cancelled
//! (2) with Retry-After
//! (3) Offer once a reliable 18x has answered the first one
//! ```
//!
//! A CSeq lower than the last gets 500. A BYE on an early dialog of our INVITE is against §15; it is answered, and the final response
//! decides.

use std::time::Instant;

use super::refusal::unsupported;
use super::{Action, Event, Leg, Outbox, Phase, supports};
use crate::dialog::Order;
use crate::endpoint::ServerId;
use crate::message::{Draft, HeaderId, Message, Method};
use crate::transport::Source;

impl Leg {
    /// A request with our tag: of this dialog, or 481.
    pub fn handle_request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        match &self.phase {
            Phase::Calling(_) => self.early_request(server, source, message, now, out),
            Phase::Called(_) | Phase::Talking => {
                self.dialog_request(server, source, message, now, out);
            }
            Phase::Closing(_) | Phase::Closed => self.closing_request(server, message, now, out),
        }
        self.settle();
    }

    fn dialog_request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        if !self.dialog.owns_request(message) {
            return self.reply(server, message, 481, out);
        }
        match self.dialog.order(message.cseq()) {
            Order::Fine => {}
            Order::Behind => return self.reply(server, message, 500, out),
        }
        self.dialog.hear(source);
        let called = matches!(self.phase, Phase::Called(_));
        match message.method() {
            Method::Bye if called => {
                self.reply(server, message, 200, out);
                self.caller_gave_up(message, out);
            }
            Method::Bye => self.bye_request(server, message, now, out),
            Method::Invite | Method::Update => {
                self.change_request(server, message, now, out);
            }
            Method::Prack => self.prack_request(server, message, now, out),
            Method::Options
            | Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Info
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Message
            | Method::Publish
            | Method::Other(_) => self.other_request(server, message, out),
        }
    }

    /// re-INVITE and UPDATE, which may change the session, its timer and the remote target.
    fn change_request(
        &mut self,
        server: ServerId,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        if let Some(draft) = Self::refusal_in_dialog(message, &self.identity) {
            return self.refuse(server, message, draft, out);
        }
        let is_update = matches!(message.method(), Method::Update);
        if is_update && message.sdp().is_none() {
            self.dialog.follow(message);
            let mut draft = self.response(message, 200);
            if matches!(self.phase, Phase::Talking) {
                self.grant_session(message, &mut draft, now);
            }
            out.push_back(Action::Respond { server, draft });
        } else if matches!(self.phase, Phase::Talking) || (is_update && self.offers.local.is_some())
        {
            self.offer_request(server, message, now, out);
        } else {
            self.busy(server, message, out);
        }
    }

    /// A request of the called side before it answered our INVITE.
    fn early_request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        let order = self.early_dialog(message).map(|early| {
            early.dialog.hear(source);
            early.dialog.order(message.cseq())
        });
        match order {
            None => return self.reply(server, message, 481, out),
            Some(Order::Behind) => return self.reply(server, message, 500, out),
            Some(Order::Fine) => {}
        }
        match message.method() {
            Method::Bye => self.reply(server, message, 200, out),
            Method::Invite => self.reply(server, message, 491, out),
            Method::Update => self.early_update(server, message, now, out),
            Method::Options
            | Method::Prack
            | Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Info
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Message
            | Method::Publish
            | Method::Other(_) => self.other_request(server, message, out),
        }
    }

    /// A target refresh of an early dialog; with SDP, a change of what a reliable 18x has agreed to.
    fn early_update(
        &mut self,
        server: ServerId,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        if let Some(draft) = Self::refusal_in_dialog(message, &self.identity) {
            return self.refuse(server, message, draft, out);
        }
        let Some(early) = self.early_dialog(message) else { return };
        let agreed = early.reliable.agreed;
        match message.sdp() {
            Some(_) if agreed => self.offer_request(server, message, now, out),
            Some(_) => self.reply(server, message, 491, out),
            None => {
                early.dialog.follow(message);
                self.reply(server, message, 200, out);
            }
        }
    }

    /// What neither changes nor ends the session.
    fn other_request(&mut self, server: ServerId, message: &Message, out: &mut Outbox) {
        match message.method() {
            Method::Options => {
                let mut draft = self.response(message, 200);
                draft.push(HeaderId::Accept, "application/sdp");
                out.push_back(Action::Respond { server, draft });
            }
            Method::Prack => self.reply(server, message, 481, out),
            // These never reach a leg as requests.
            Method::Ack | Method::Cancel => {}
            method @ (Method::Invite
            | Method::Bye
            | Method::Update
            | Method::Register
            | Method::Info
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Message
            | Method::Publish
            | Method::Other(_)) => self.owner_request(server, message, method, out),
        }
    }

    /// A request of another usage: the owner's, if it takes part in it.
    fn owner_request(
        &mut self,
        server: ServerId,
        message: &Message,
        method: &Method,
        out: &mut Outbox,
    ) {
        if !supports(&self.identity.allow, method.as_bytes()) {
            return self.reply(server, message, 405, out);
        }
        if let Some(tags) = unsupported(message, &self.identity.supported) {
            let mut draft = Draft::response(message, 420);
            draft.push(HeaderId::Unsupported, tags);
            return self.refuse(server, message, draft, out);
        }
        if self.waiting.len() >= WAITING {
            return self.busy(server, message, out);
        }
        self.waiting.push((server, message.clone()));
        out.push_back(Action::Event(Event::Request { server, message: message.clone() }));
    }

    /// The owner's response to a request that it was told of. Tag, Contact and Server are added.
    /// Nothing happens when the request was answered already (487 at the end of the leg).
    pub fn respond(&mut self, server: ServerId, mut draft: Draft, out: &mut Outbox) {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == server) else {
            return;
        };
        self.complete(&self.waiting[at].1, &mut draft);
        if draft.status() >= 200 {
            self.waiting.remove(at);
        }
        out.push_back(Action::Respond { server, draft });
    }

    pub(super) fn refuse(
        &self,
        server: ServerId,
        request: &Message,
        mut draft: Draft,
        out: &mut Outbox,
    ) {
        self.complete(request, &mut draft);
        out.push_back(Action::Respond { server, draft });
    }
}

/// How many requests may lie unanswered with the owner; more are told to come again.
const WAITING: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::rig::{OURS, Rig, THEIRS};
    use super::*;

    fn inviting() -> Rig {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 180, "them", "");
        rig.drain();
        rig
    }

    fn invited() -> Rig {
        let mut rig = Rig::called(THEIRS);
        rig.ring(180, "");
        rig.drain();
        rig
    }

    fn ending() -> Rig {
        let mut rig = Rig::talking();
        rig.bye();
        rig.drain();
        rig
    }

    #[test]
    fn table() {
        let states: [fn() -> Rig; 4] = [inviting, invited, Rig::talking, ending];
        let rows: [(&str, &str, [&[&str]; 4]); 11] = [
            (
                "BYE",
                "",
                [
                    &["200 BYE"],
                    &["200 BYE", "487 INVITE", "Cancelled"],
                    &["200 BYE", "Ended Remote"],
                    &["200 BYE"],
                ],
            ),
            (
                "INVITE",
                "v=0 new",
                [&["491 INVITE"], &["500 INVITE"], &["Offer v=0 new"], &["481 INVITE"]],
            ),
            (
                "UPDATE",
                "v=0 new",
                [&["491 UPDATE"], &["500 UPDATE"], &["Offer v=0 new"], &["481 UPDATE"]],
            ),
            ("UPDATE", "", [&["200 UPDATE"], &["200 UPDATE"], &["200 UPDATE"], &["481 UPDATE"]]),
            (
                "OPTIONS",
                "",
                [&["200 OPTIONS"], &["200 OPTIONS"], &["200 OPTIONS"], &["481 OPTIONS"]],
            ),
            ("PRACK", "", [&["481 PRACK"], &["481 PRACK"], &["481 PRACK"], &["481 PRACK"]]),
            ("INFO", "", [&["Request INFO"], &["Request INFO"], &["Request INFO"], &["481 INFO"]]),
            (
                "REFER",
                "",
                [&["Request REFER"], &["Request REFER"], &["Request REFER"], &["481 REFER"]],
            ),
            (
                "NOTIFY",
                "",
                [&["Request NOTIFY"], &["Request NOTIFY"], &["Request NOTIFY"], &["481 NOTIFY"]],
            ),
            (
                "MESSAGE",
                "",
                [&["405 MESSAGE"], &["405 MESSAGE"], &["405 MESSAGE"], &["481 MESSAGE"]],
            ),
            ("JUMP", "", [&["405 JUMP"], &["405 JUMP"], &["405 JUMP"], &["481 JUMP"]]),
        ];
        for (method, sdp, expected) in rows {
            for ((state, make), expected) in
                ["Inviting", "Invited", "Confirmed", "Ending"].into_iter().zip(states).zip(expected)
            {
                let mut rig = make();
                rig.request(method, "", sdp);
                assert_eq!(rig.drain(), expected, "{method} {sdp} in {state}");
            }
        }
    }

    #[test]
    fn other_tags_are_other_dialogs() {
        for make in [inviting, invited, Rig::talking] {
            let mut rig = make();
            for method in ["BYE", "INVITE", "INFO", "OPTIONS"] {
                rig.request_as(method, 11, "stranger", "", "");
                assert_eq!(rig.drain(), [format!("481 {method}")]);
            }
        }
    }

    #[test]
    fn cseq_that_goes_back_is_refused() {
        for make in [inviting, invited, Rig::talking_called] {
            let mut rig = make();
            rig.request_as("OPTIONS", 20, "them", "", "");
            rig.request_as("OPTIONS", 19, "them", "", "");
            rig.request_as("BYE", 0, "them", "", "");
            rig.request_as("OPTIONS", 20, "them", "", "");
            assert_eq!(rig.drain(), ["200 OPTIONS", "500 OPTIONS", "500 BYE", "200 OPTIONS"]);
        }
    }

    #[test]
    fn early_cseq_counts_after_the_answer() {
        let mut rig = inviting();
        rig.request_as("OPTIONS", 50, "them", "", "");
        rig.response("INVITE", 1, 200, "them", THEIRS);
        rig.drain();
        rig.request_as("BYE", 49, "them", "", "");
        assert_eq!(rig.drain(), ["500 BYE"]);
    }

    #[test]
    fn reinvite_that_wants_too_much_is_refused_and_changes_nothing() {
        let mut rig = Rig::talking();
        rig.request("INVITE", "Require: 100rel, timer, x-y", "v=0 new");
        assert_eq!(rig.header(HeaderId::Unsupported), "100rel, x-y");
        rig.request("INVITE", "Content-Type: text/plain", "");
        rig.request("INFO", "Require: x-y", "");
        assert_eq!(rig.drain(), ["420 INVITE", "Offer -", "420 INFO"]);
    }

    #[test]
    fn options_are_answered_in_full() {
        let mut rig = Rig::talking();
        rig.request("OPTIONS", "", "");
        assert_eq!(rig.header(HeaderId::Accept), "application/sdp");
        assert_eq!(rig.header(HeaderId::Contact), "<sip:us@gw.example:5061;transport=tls>");
        assert_eq!(rig.header(HeaderId::Supported), "replaces, timer");
        assert!(rig.header(HeaderId::Allow).contains("REFER"));
        assert!(rig.header(HeaderId::To).ends_with(";tag=us"));
    }

    #[test]
    fn method_not_allowed_names_those_that_are() {
        let mut rig = Rig::talking();
        rig.request("PUBLISH", "", "");
        assert!(rig.header(HeaderId::Allow).starts_with("INVITE"));
    }

    #[test]
    fn owner_answers_its_requests_once() {
        let mut rig = Rig::talking();
        rig.request("REFER", "Refer-To: <sip:x@example>", "");
        let actions = rig.take();
        let [Action::Event(Event::Request { server, message })] = &actions[..] else {
            panic!("{actions:?}")
        };
        rig.leg.respond(*server, Draft::response(message, 202), &mut rig.out);
        assert_eq!(rig.header(HeaderId::Contact), "<sip:us@gw.example:5061;transport=tls>");
        assert_eq!(rig.drain(), ["202 REFER"]);
        rig.leg.respond(*server, Draft::response(message, 603), &mut rig.out);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn requests_left_with_the_owner_are_bounded_and_ended_with_the_leg() {
        let mut rig = Rig::talking();
        for _ in 0..20 {
            rig.request("INFO", "", "");
        }
        let words = rig.drain();
        assert_eq!(words.iter().filter(|word| *word == "Request INFO").count(), WAITING);
        assert_eq!(words.iter().filter(|word| *word == "500 INFO").count(), 20 - WAITING);
        rig.request("BYE", "", "");
        let words = rig.drain();
        assert_eq!(words.iter().filter(|word| *word == "487 INFO").count(), WAITING);
        assert_eq!(words.last().unwrap(), "Ended Remote");
    }

    #[test]
    fn requests_left_with_the_owner_end_with_a_call_that_never_was() {
        let mut rig = inviting();
        rig.request("INFO", "", "");
        rig.drain();
        rig.response("INVITE", 1, 486, "them", "");
        assert_eq!(rig.drain(), ["487 INFO", "Rejected 486 Response"]);
        assert_eq!(rig.state(), State::Ended);
    }
}
