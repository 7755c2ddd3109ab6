//! Requests that come inside the dialog (RFC 3261 §12.2.2): matched by Call-ID and tags, kept in
//! CSeq order, and answered here unless they belong to another usage.
//!
//! ```text
//! method        | Inviting, early tag | Invited          | Answered, Confirmed | Ending
//! --------------+---------------------+------------------+---------------------+-------
//! BYE           | 200                 | 200, 487 (1)     | 200, Ended          | 200
//! INVITE        | 491                 | 500 (2)          | see offer_answer    | 481
//! UPDATE + SDP  | 491                 | 500 (2)          | see offer_answer    | 481
//! UPDATE        | 200                 | 200              | 200                 | 481
//! OPTIONS       | 200                 | 200              | 200                 | 481
//! PRACK         | 481                 | 481              | 481                 | 481
//! other, allowed| Request             | Request          | Request             | 481
//! other         | 405                 | 405              | 405                 | 481
//!
//! (1) Cancelled
//! (2) with Retry-After
//! ```
//!
//! A CSeq lower than the last gets 500. PRACK gets 481 because no response of ours asked for one.
//! A BYE on an early dialog of our INVITE is against §15; it is answered, and the final response
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
        } else if matches!(self.phase, Phase::Talking) {
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
        let order = self.early_dialog(message).map(|dialog| {
            dialog.hear(source);
            dialog.order(message.cseq())
        });
        match order {
            None => return self.reply(server, message, 481, out),
            Some(Order::Behind) => return self.reply(server, message, 500, out),
            Some(Order::Fine) => {}
        }
        match message.method() {
            Method::Bye => self.reply(server, message, 200, out),
            Method::Invite => self.reply(server, message, 491, out),
            Method::Update if message.sdp().is_some() => self.reply(server, message, 491, out),
            Method::Update => self.change_request(server, message, now, out),
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
        if let Some(tags) = unsupported(message, &self.identity) {
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

    fn refuse(&self, server: ServerId, request: &Message, mut draft: Draft, out: &mut Outbox) {
        self.complete(request, &mut draft);
        out.push_back(Action::Respond { server, draft });
    }
}

/// How many requests may lie unanswered with the owner; more are told to come again.
const WAITING: usize = 8;
