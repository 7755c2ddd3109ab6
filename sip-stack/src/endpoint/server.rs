//! Server transactions: receiving requests (RFC 3261 §17.2.3, §18.2.1), CANCEL (§9.2), and the
//! responses of the user (§18.2.2).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::key::{self, Class};
use super::{Endpoint, Output, Owner, ServerId, Transaction, identifier, route};
use crate::message::{Draft, HeaderId, Message, Method, NameAddr};
use crate::transaction::server_invite::{self, ServerInvite};
use crate::transaction::server_non_invite::{self, ServerNonInvite};
use crate::transport::{Source, Target};

/// One server transaction. When it is finished, `pending` goes: what stays is the key, the way back
/// and the bytes of the reply.
pub(super) struct Server {
    machine: Machine,
    key: Arc<[u8]>,
    source: Source,
    target: Target,
    /// The To tag of our responses, once one was sent.
    tag: Option<Bytes>,
    /// What a repeat sends.
    reply: Bytes,
    pending: Option<Box<Pending>>,
    deadline: Option<Instant>,
}

/// What an unanswered request needs.
struct Pending {
    request: Message,
    owner: Option<Owner>,
    cancelled: bool,
}

enum Machine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

/// What happens to a server transaction.
enum Event<'a> {
    /// The request came again.
    Repeat,
    /// An ACK came.
    Ack(Source, &'a Message),
    /// The user answers: the status, and the response as it goes on the wire.
    Response(u16, Bytes),
    /// A timer may be due.
    Timer,
}

impl Endpoint {
    /// Answers a request. To gets a tag if the response has none. The 2xx to an INVITE may be given
    /// again until its ACK comes (RFC 6026 §7.1); any other second final response, or one that comes
    /// after the end of the transaction, is dropped and counted.
    pub fn respond(&mut self, server: ServerId, mut response: Draft, now: Instant) {
        let status = response.status();
        if let Some(found) = self.servers.get(&server) {
            response.stamp_via(found.source.remote);
            if status > 100 {
                self.tag(server, &mut response);
            }
            self.server_event(server, Event::Response(status, response.write()), now);
        } else {
            self.counters.late_responses += 1;
        }
    }

    /// The request belongs to this owner from now on.
    pub fn adopt(&mut self, server: ServerId, owner: Owner) {
        let pending = self.servers.get_mut(&server).and_then(|found| found.pending.as_mut());
        let Some(pending) = pending else { return };
        let transaction = Transaction::Server(server);
        if let Some(old) = pending.owner.replace(owner) {
            self.owned.remove(&(old, transaction));
        }
        self.owned.insert((owner, transaction));
    }

    pub(super) fn handle_request(&mut self, source: Source, message: Message, now: Instant) {
        match message.method() {
            Method::Ack => self.handle_ack(source, message, now),
            Method::Cancel => self.handle_cancel(source, message, now),
            Method::Invite => self.handle_new(Class::Invite, source, &message, now),
            other @ (Method::Bye
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Message
            | Method::Publish
            | Method::Other(_)) => self.handle_new(Class::Other(other), source, &message, now),
        }
    }

    pub(super) fn server_timeout(&mut self, server: ServerId, now: Instant) {
        self.server_event(server, Event::Timer, now);
    }

    /// The owner is gone or forgot the request: what is not answered gets 500.
    pub(super) fn abandon_server(&mut self, server: ServerId, now: Instant) {
        let pending = self.servers.get(&server).and_then(|found| found.pending.as_ref());
        if let Some(pending) = pending {
            let response = Draft::response(&pending.request, 500);
            self.respond(server, response, now);
        }
    }

    /// Any method but ACK and CANCEL: a repeat, or a new transaction.
    fn handle_new(&mut self, class: Class<'_>, source: Source, message: &Message, now: Instant) {
        if self.absorb(class, &source, message, now) {
            return;
        }
        if self.is_full_for(message) {
            self.counters.refused += 1;
            let mut refusal = Draft::response(message, 503);
            let seconds = self.settings.limits.retry_after.to_string();
            refusal.push(HeaderId::RetryAfter, seconds);
            return self.reply_stateless(&source, refusal);
        }
        let server = self.begin_server(class, source, message, now);
        match class {
            Class::Invite => {
                let mut trying = Draft::response(message, 100);
                trying.copy(message, HeaderId::Timestamp);
                self.respond(server, trying, now);
            }
            Class::Cancel | Class::Other(_) => {}
        }
        self.counters.requests += 1;
        let message = message.clone();
        self.outputs.push_back(Output::Request { server, source, message });
    }

    fn handle_ack(&mut self, source: Source, message: Message, now: Instant) {
        self.counters.acks += 1;
        match self.find(Class::Invite, &source, &message) {
            Some(server) => self.server_event(server, Event::Ack(source, &message), now),
            None => self.outputs.push_back(Output::Ack { source, message }),
        }
    }

    fn handle_cancel(&mut self, source: Source, message: Message, now: Instant) {
        if self.absorb(Class::Cancel, &source, &message, now) {
            return;
        }
        let Some(invite) = self.find(Class::Invite, &source, &message) else {
            self.counters.stray_cancels += 1;
            return self.reply_stateless(&source, Draft::response(&message, 481));
        };
        self.counters.cancels += 1;
        // Tagged as the responses to the INVITE are (§9.2).
        let mut response = Draft::response(&message, 200);
        self.tag(invite, &mut response);
        let server = self.begin_server(Class::Cancel, source, &message, now);
        self.respond(server, response, now);
        let pending = self.servers.get_mut(&invite).and_then(|invite| invite.pending.as_mut());
        if let Some(pending) = pending
            && !std::mem::replace(&mut pending.cancelled, true)
        {
            let owner = pending.owner;
            self.outputs.push_back(Output::Cancelled { server: invite, owner, message });
        }
    }

    /// Whether the request has to be refused. Those inside dialogs have a reserve.
    fn is_full_for(&self, message: &Message) -> bool {
        let limits = &self.settings.limits;
        let reserve = if message.to_tag().is_some() { limits.in_dialog_reserve } else { 0 };
        self.servers.len() >= limits.server_transactions.saturating_add(reserve)
    }

    /// Gives a repeat of a known request to its transaction, and tells whether it was one.
    fn absorb(
        &mut self,
        class: Class<'_>,
        source: &Source,
        message: &Message,
        now: Instant,
    ) -> bool {
        let Some(server) = self.find(class, source, message) else { return false };
        self.counters.repeated_requests += 1;
        self.server_event(server, Event::Repeat, now);
        true
    }

    fn find(&mut self, class: Class<'_>, source: &Source, message: &Message) -> Option<ServerId> {
        key::write(&mut self.key, class, source, message);
        self.keys.get(&self.key[..]).copied()
    }

    fn begin_server(
        &mut self,
        class: Class<'_>,
        source: Source,
        message: &Message,
        now: Instant,
    ) -> ServerId {
        let reliable = source.transport.is_reliable();
        let timing = &self.settings.timing;
        let machine = match class {
            Class::Invite => Machine::Invite(ServerInvite::new(reliable, timing, now)),
            Class::Cancel | Class::Other(_) => {
                Machine::NonInvite(ServerNonInvite::new(reliable, timing, now))
            }
        };
        key::write(&mut self.key, class, &source, message);
        let key: Arc<[u8]> = self.key[..].into();
        let pending = Pending { request: message.clone(), owner: None, cancelled: false };
        let new = Server {
            machine,
            key: Arc::clone(&key),
            source,
            target: route::response_target(&source, &message.top_via()),
            tag: None,
            reply: Bytes::new(),
            pending: Some(Box::new(pending)),
            deadline: None,
        };
        let server = ServerId(self.next_transaction());
        self.keys.insert(key, server);
        self.servers.insert(server, new);
        self.settle_server(server);
        server
    }

    /// All responses to one request carry one To tag: the user's, or one of ours.
    fn tag(&mut self, server: ServerId, response: &mut Draft) {
        let Some(found) = self.servers.get_mut(&server) else { return };
        let given = response.value(HeaderId::To).and_then(|to| NameAddr::parse(to).ok()?.tag());
        if let Some(given) = given {
            if found.tag.as_deref() != Some(given) {
                found.tag = Some(Bytes::copy_from_slice(given));
            }
        } else {
            let identifiers = &mut self.identifiers;
            let tag = found.tag.get_or_insert_with(|| identifier::text(&identifiers.fresh()));
            response.set_to_tag(tag);
        }
    }

    fn server_event(&mut self, server: ServerId, event: Event<'_>, now: Instant) {
        match self.servers.get(&server).map(|found| &found.machine) {
            Some(Machine::Invite(_)) => self.invite_event(server, event, now),
            Some(Machine::NonInvite(_)) => self.non_invite_event(server, event, now),
            None => {}
        }
        self.settle_server(server);
    }

    fn invite_event(&mut self, server: ServerId, event: Event<'_>, now: Instant) {
        let Some(found) = self.servers.get_mut(&server) else { return };
        let Machine::Invite(machine) = &mut found.machine else { return };
        let input = match event {
            Event::Repeat => server_invite::Input::Invite,
            Event::Ack(..) => server_invite::Input::Ack,
            Event::Response(..200, _) => server_invite::Input::Provisional,
            Event::Response(200..300, _) => server_invite::Input::Success,
            Event::Response(300.., _) => server_invite::Input::Failure,
            Event::Timer => match machine.take_due(now) {
                Some(timer) => server_invite::Input::Timer(timer),
                None => return,
            },
        };
        let actions = machine.handle(input, &self.settings.timing, now);
        self.note_late(&event, actions.is_empty());
        for action in actions {
            match action {
                server_invite::Action::Send => self.send_reply(server, &event),
                server_invite::Action::Repeat => self.repeat_reply(server, &event),
                server_invite::Action::Deliver => self.deliver_ack(&event),
                server_invite::Action::Abandoned => {
                    self.counters.unanswered += 1;
                    self.abandon_server(server, now);
                }
                server_invite::Action::Unacknowledged => self.counters.unacknowledged += 1,
            }
        }
    }

    fn non_invite_event(&mut self, server: ServerId, event: Event<'_>, now: Instant) {
        let Some(found) = self.servers.get_mut(&server) else { return };
        let Machine::NonInvite(machine) = &mut found.machine else { return };
        let input = match event {
            Event::Repeat => server_non_invite::Input::Request,
            Event::Response(..200, _) => server_non_invite::Input::Provisional,
            Event::Response(200.., _) => server_non_invite::Input::Final,
            Event::Timer => match machine.take_due(now) {
                Some(timer) => server_non_invite::Input::Timer(timer),
                None => return,
            },
            // ACK belongs to INVITE alone.
            Event::Ack(..) => return,
        };
        let actions = machine.handle(input, &self.settings.timing, now);
        self.note_late(&event, actions.is_empty());
        for action in actions {
            match action {
                server_non_invite::Action::Send => self.send_reply(server, &event),
                server_non_invite::Action::Repeat => self.repeat_reply(server, &event),
                server_non_invite::Action::Unanswered => self.counters.unanswered += 1,
            }
        }
    }

    const fn note_late(&mut self, event: &Event<'_>, dropped: bool) {
        if dropped && matches!(event, Event::Response(..)) {
            self.counters.late_responses += 1;
        }
    }

    fn send_reply(&mut self, server: ServerId, event: &Event<'_>) {
        let (Some(found), Event::Response(_, bytes)) = (self.servers.get_mut(&server), event)
        else {
            return;
        };
        found.reply = bytes.clone();
        let target = found.target.clone();
        self.push_send(target, bytes.clone());
    }

    fn repeat_reply(&mut self, server: ServerId, event: &Event<'_>) {
        let Some(found) = self.servers.get(&server) else { return };
        if matches!(event, Event::Timer) {
            self.counters.repeats += 1;
        }
        let (target, bytes) = (found.target.clone(), found.reply.clone());
        self.push_send(target, bytes);
    }

    fn deliver_ack(&mut self, event: &Event<'_>) {
        if let Event::Ack(source, message) = event {
            let (source, message) = (*source, (*message).clone());
            self.outputs.push_back(Output::Ack { source, message });
        }
    }

    /// After every event: moves the deadline, drops what a finished transaction no longer needs, and
    /// forgets one that is over.
    fn settle_server(&mut self, server: ServerId) {
        let Some(found) = self.servers.get_mut(&server) else { return };
        let (deadline, phase) = match &found.machine {
            Machine::Invite(machine) => {
                let phase = match machine.state() {
                    server_invite::State::Proceeding => Phase::Open,
                    server_invite::State::Completed => Phase::Repeating,
                    server_invite::State::Accepted | server_invite::State::Confirmed => {
                        Phase::Absorbing
                    }
                    server_invite::State::Terminated => Phase::Over,
                };
                (machine.poll_timeout(), phase)
            }
            Machine::NonInvite(machine) => {
                let phase = match machine.state() {
                    server_non_invite::State::Trying | server_non_invite::State::Proceeding => {
                        Phase::Open
                    }
                    server_non_invite::State::Completed => Phase::Repeating,
                    server_non_invite::State::Terminated => Phase::Over,
                };
                (machine.poll_timeout(), phase)
            }
        };
        let transaction = Transaction::Server(server);
        self.timers.set(transaction, &mut found.deadline, deadline);
        if phase == Phase::Open {
            return;
        }
        if let Some(owner) = found.pending.take().and_then(|pending| pending.owner) {
            self.owned.remove(&(owner, transaction));
        }
        if phase != Phase::Repeating {
            found.reply = Bytes::new();
        }
        if phase == Phase::Over {
            self.keys.remove(&found.key);
            self.servers.remove(&server);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Not answered finally.
    Open,
    /// Answered; the reply is sent again on demand.
    Repeating,
    /// Answered; repeats are absorbed in silence.
    Absorbing,
    /// Over.
    Over,
}
