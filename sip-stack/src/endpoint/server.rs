//! Server transactions: receiving requests (RFC 3261 §17.2.3, §18.2.1) and the responses of the user
//! (§18.2.2).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::key::{self, Class};
use super::{Endpoint, Output, Owner, REPLIES, SendId, ServerId, Transaction, identifier, route};
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
    pub(super) pending: Option<Box<Pending>>,
    deadline: Option<Instant>,
}

/// What an unanswered request needs.
pub(super) struct Pending {
    request: Message,
    pub(super) owner: Option<Owner>,
    pub(super) cancelled: bool,
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
        if *message.method() == Method::Ack {
            return self.handle_ack(source, message, now);
        }
        match Class::of(message.method()) {
            Class::Cancel => self.handle_cancel(source, message, now),
            class @ (Class::Invite | Class::Other(_)) => {
                self.handle_new(class, source, &message, now);
            }
        }
    }

    pub(super) fn server_timeout(&mut self, server: ServerId, now: Instant) {
        self.server_event(server, Event::Timer, now);
    }

    /// Whoever was to answer the request is gone, has failed or forgot it: what is not answered gets 500
    /// (RFC 3261 §21.5.1).
    pub fn abandon(&mut self, server: ServerId, now: Instant) {
        let pending = self.servers.get(&server).and_then(|found| found.pending.as_ref());
        if let Some(pending) = pending {
            let response = Draft::response(&pending.request, 500);
            self.respond(server, response, now);
        }
    }

    /// Drops a transaction with everything that is known of it.
    pub(super) fn forget_server(&mut self, server: ServerId) {
        let Some(found) = self.servers.remove(&server) else { return };
        self.keys.remove(&found.key);
        if let Some(owner) = found.pending.and_then(|pending| pending.owner) {
            self.owned.remove(&(owner, Transaction::Server(server)));
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

    /// Whether the request has to be refused. Those inside dialogs of ours have a reserve; a tag that somebody made up
    /// opens it to nobody.
    fn is_full_for(&self, message: &Message) -> bool {
        let limits = &self.settings.limits;
        let ours = message.to_tag().is_some_and(|tag| self.origin(tag).is_some());
        let reserve = if ours { limits.in_dialog_reserve } else { 0 };
        self.servers.len() >= limits.server_transactions.saturating_add(reserve)
    }

    /// Gives a repeat of a known request to its transaction, and tells whether it was one.
    pub(super) fn absorb(
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

    pub(super) fn find(
        &mut self,
        class: Class<'_>,
        source: &Source,
        message: &Message,
    ) -> Option<ServerId> {
        key::write(&mut self.key, class, source, message);
        self.keys.get(&self.key[..]).copied()
    }

    pub(super) fn begin_server(
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
        self.servers.insert(server, Box::new(new));
        self.settle_server(server);
        server
    }

    /// All responses to one request carry one To tag: the user's, or one of ours.
    pub(super) fn tag(&mut self, server: ServerId, response: &mut Draft) {
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
                    self.abandon(server, now);
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
        self.push_reply(server, target, bytes.clone());
    }

    fn repeat_reply(&mut self, server: ServerId, event: &Event<'_>) {
        let Some(found) = self.servers.get(&server) else { return };
        if matches!(event, Event::Timer) {
            self.counters.repeats += 1;
        }
        let (target, bytes) = (found.target.clone(), found.reply.clone());
        self.push_reply(server, target, bytes);
    }

    /// A response did not leave: the connection of its request is gone. The last one is sent once more, on a new connection to
    /// where the request came from and the sent-by port (§18.2.2).
    pub(super) fn reply_send_failed(&mut self, server: ServerId) {
        if let Some(found) = self.servers.get_mut(&server) {
            found.target.flow = None;
        }
        match self.replies.take_last(server) {
            Some((target, bytes)) => self.push_reply(server, target, bytes),
            None => self.counters.lost_sends += 1,
        }
    }

    fn push_reply(&mut self, server: ServerId, target: Target, bytes: Bytes) {
        self.replies.keep(server, &target, &bytes);
        let id = SendId(REPLIES | server.0);
        self.outputs.push_back(Output::Send { id, target, bytes });
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

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::fixture::{
        Out, drain, endpoint, incoming, run_out, seconds, source, with_limits,
    };
    use super::*;
    use crate::message::ParseError;
    use crate::transport::Transport::{Tls, Udp};

    const US: Owner = Owner(8);

    #[test]
    fn an_invite_is_answered_100_at_once_and_delivered_once() {
        let (mut endpoint, now) = endpoint();
        let invite = incoming("INVITE", &["Timestamp: 54"]);

        endpoint.handle_message(source(Udp), invite.clone(), now);
        let out = drain(&mut endpoint);

        assert_eq!((out.kinds(), out.requests.len()), (vec!["100".to_owned()], 1));
        let (_, target, trying) = &out.sent[0];
        assert_eq!(target.remote, source(Udp).remote);
        assert_eq!(trying.value(HeaderId::Timestamp), Some(&b"54"[..]));
        assert_eq!(trying.to_tag(), None);
        let via = trying.top_via();
        assert_eq!((via.received(), via.rport()), (Some(source(Udp).remote.ip()), Some(40000)));

        endpoint.handle_message(source(Udp), invite, now);
        let again = drain(&mut endpoint);
        assert_eq!((again.kinds(), again.requests.len()), (vec!["100".to_owned()], 0));
        assert_eq!(endpoint.counters().repeated_requests, 1);
    }

    #[test]
    fn a_response_whose_connection_is_gone_leaves_on_another_once() {
        let (mut endpoint, now) = endpoint();
        endpoint.handle_message(source(Tls), incoming("OPTIONS", &[]), now);
        let (server, request) = drain(&mut endpoint).requests.remove(0);
        endpoint.respond(server, Draft::response(&request, 200), now);
        let (id, target, _) = drain(&mut endpoint).sent.remove(0);
        assert_eq!(target.flow, source(Tls).flow);

        endpoint.handle_send_failed(id, now);
        let (again, target, ok) = drain(&mut endpoint).sent.remove(0);
        assert_eq!((target.flow, target.remote.port(), ok.status()), (None, 5070, 200));
        assert_eq!(target.remote.ip(), source(Tls).remote.ip());

        endpoint.handle_send_failed(again, now);
        assert!(endpoint.poll_output().is_none());
        assert_eq!(endpoint.counters().lost_sends, 1);
    }

    #[test]
    fn of_several_replies_that_did_not_leave_the_last_one_is_sent_again() {
        let (mut endpoint, now) = endpoint();
        let invite = incoming("INVITE", &[]);
        endpoint.handle_message(source(Tls), invite, now);
        let (server, invite) = drain(&mut endpoint).requests.remove(0);
        endpoint.respond(server, Draft::response(&invite, 180), now);
        endpoint.respond(server, Draft::response(&invite, 200), now);
        let sent = drain(&mut endpoint).sent;
        assert_eq!(sent.len(), 2);
        for (send, ..) in sent {
            endpoint.handle_send_failed(send, now);
        }
        assert_eq!(drain(&mut endpoint).kinds(), ["200"]);
    }

    #[test]
    fn a_refusal_is_repeated_until_its_ack_which_stays_here() {
        let (mut endpoint, now) = endpoint();
        let (server, invite) = receive(&mut endpoint, incoming("INVITE", &[]), now);
        endpoint.respond(server, Draft::response(&invite, 180), now);
        endpoint.respond(server, Draft::response(&invite, 486), now);
        let sent = drain(&mut endpoint).sent;
        let (ringing, busy) = (&sent[0].2, &sent[1].2);
        assert!(ringing.to_tag().is_some() && ringing.to_tag() == busy.to_tag());

        endpoint.handle_message(source(Udp), invite, now);
        endpoint.handle_timeout(now + seconds(1));
        let repeats = drain(&mut endpoint).sent;
        assert_eq!(repeats.len(), 2, "for the repeated INVITE, and for Timer G");
        assert!(repeats.iter().all(|(_, _, repeat)| repeat.raw() == busy.raw()));

        for _ in 0..2 {
            endpoint.handle_message(source(Udp), incoming("ACK", &[]), now);
        }
        assert!(drain(&mut endpoint).is_empty());
        assert!(run_out(&mut endpoint).is_empty());
        assert_eq!(endpoint.counters().unacknowledged, 0);
    }

    #[test]
    fn a_refusal_without_ack_is_counted() {
        let (mut endpoint, now) = endpoint();
        let (server, invite) = receive(&mut endpoint, incoming("INVITE", &[]), now);
        endpoint.respond(server, Draft::response(&invite, 486), now);
        assert_eq!(run_out(&mut endpoint).sent.len(), 11, "RFC 3261 §17.2.1: once and ten repeats");
        assert_eq!(endpoint.counters().unacknowledged, 1);
    }

    #[test]
    fn after_a_2xx_repeats_are_absorbed_and_every_ack_is_delivered() {
        let (mut endpoint, now) = endpoint();
        let (server, invite) = receive(&mut endpoint, incoming("INVITE", &[]), now);
        let mut ok = Draft::response(&invite, 200);
        ok.set_to_tag(b"mine");
        endpoint.respond(server, ok.clone(), now);
        endpoint.handle_message(source(Udp), invite.clone(), now);
        endpoint.respond(server, ok, now);
        endpoint.respond(server, Draft::response(&invite, 486), now);
        let out = drain(&mut endpoint);
        assert_eq!((out.kinds(), out.requests.len()), (vec!["200".to_owned(); 2], 0));
        assert_eq!(out.sent[1].2.to_tag(), Some(&b"mine"[..]));
        assert_eq!(endpoint.counters().late_responses, 1);

        let same_branch = incoming("ACK", &[]);
        let own_branch = incoming("ACK", &["Via: SIP/2.0/UDP peer.example;branch=z9hG4bKack"]);
        endpoint.handle_message(source(Udp), same_branch, now);
        endpoint.handle_message(source(Udp), own_branch, now);
        assert_eq!(drain(&mut endpoint).acks.len(), 2);
        assert!(run_out(&mut endpoint).is_empty());
    }

    #[test]
    fn a_request_is_answered_once_and_repeats_get_the_same_bytes() {
        let (mut endpoint, now) = endpoint();
        let (server, options) = receive(&mut endpoint, incoming("OPTIONS", &[]), now);
        endpoint.handle_message(source(Udp), options.clone(), now);
        assert!(drain(&mut endpoint).is_empty(), "not answered yet, and delivered already");

        endpoint.respond(server, Draft::response(&options, 200), now);
        endpoint.respond(server, Draft::response(&options, 500), now);
        endpoint.handle_message(source(Udp), options, now);

        let out = drain(&mut endpoint);
        assert_eq!(out.kinds(), ["200", "200"]);
        assert_eq!(out.sent[0].2.raw(), out.sent[1].2.raw());
        assert!(out.requests.is_empty());
        assert!(run_out(&mut endpoint).is_empty());
    }

    #[test]
    fn a_finished_transaction_keeps_key_and_reply_alone() {
        let (mut endpoint, now) = endpoint();
        let (server, bye) = receive(&mut endpoint, incoming("BYE", &[]), now);
        endpoint.adopt(server, US);
        endpoint.respond(server, Draft::response(&bye, 200), now);
        let finished = &endpoint.servers[&server];
        assert!(finished.pending.is_none() && !finished.reply.is_empty());
        assert!(endpoint.owned.is_empty());

        let (server, invite) = receive(&mut endpoint, incoming("INVITE", &[]), now);
        endpoint.respond(server, Draft::response(&invite, 200), now);
        let finished = &endpoint.servers[&server];
        assert!(finished.pending.is_none() && finished.reply.is_empty());
    }

    #[test]
    fn too_many_transactions_get_503_but_dialogs_go_on() {
        let limits = Limits { server_transactions: 2, in_dialog_reserve: 2, retry_after: 7 };
        let (mut endpoint, now) = with_limits(limits);
        let (_, first) = receive(&mut endpoint, incoming("INVITE", &["Call-ID: 1"]), now);
        receive(&mut endpoint, incoming("OPTIONS", &["Call-ID: 2"]), now);

        let out = give(&mut endpoint, incoming("INVITE", &["Call-ID: 3"]), now);
        assert_eq!((out.kinds(), out.requests.len()), (vec!["503".to_owned()], 0));
        assert_eq!(out.sent[0].2.value(HeaderId::RetryAfter), Some(&b"7"[..]));
        assert!(out.sent[0].2.to_tag().is_some());
        let again = give(&mut endpoint, incoming("INVITE", &["Call-ID: 3"]), now);
        assert_eq!(again.sent[0].2.raw(), out.sent[0].2.raw());

        assert_eq!(give(&mut endpoint, first, now).kinds(), ["100"], "a known request");
        let cancel = give(&mut endpoint, incoming("CANCEL", &["Call-ID: 1"]), now);
        assert_eq!((cancel.kinds(), cancel.cancelled.len()), (vec!["200".to_owned()], 1));
        assert_eq!(give(&mut endpoint, incoming("ACK", &["Call-ID: 4"]), now).acks.len(), 1);

        let bye = |call: &str, tag: &[u8]| {
            let to = format!("To: <sip:a@us.example>;tag={}", String::from_utf8_lossy(tag));
            incoming("BYE", &[&format!("Call-ID: {call}"), &to])
        };
        let ours = endpoint.new_tag();
        let forged = give(&mut endpoint, bye("7", b"x"), now);
        assert_eq!(forged.kinds(), ["503"], "a tag that we did not make opens no reserve");
        assert_eq!(give(&mut endpoint, bye("5", &ours), now).requests.len(), 1);
        let last = give(&mut endpoint, bye("6", &ours), now);
        assert_eq!(last.kinds(), ["503"], "the reserve has an end");
        assert_eq!(endpoint.counters().refused, 4);
        assert_eq!(endpoint.transactions(), (0, 4));
    }

    #[test]
    fn what_a_released_owner_left_is_answered_500() {
        let (mut endpoint, now) = endpoint();
        let (invite, _) = receive(&mut endpoint, incoming("INVITE", &["Call-ID: 1"]), now);
        let (info, _) = receive(&mut endpoint, incoming("INFO", &["Call-ID: 2"]), now);
        let (other, _) = receive(&mut endpoint, incoming("INFO", &["Call-ID: 3"]), now);
        let (answered, bye) = receive(&mut endpoint, incoming("BYE", &["Call-ID: 4"]), now);
        receive(&mut endpoint, incoming("OPTIONS", &["Call-ID: 5"]), now);
        for server in [info, invite, other, answered] {
            endpoint.adopt(server, US);
        }
        endpoint.adopt(other, Owner(9));
        endpoint.respond(answered, Draft::response(&bye, 200), now);
        drain(&mut endpoint);

        endpoint.release(US, now);

        let out = drain(&mut endpoint);
        let calls: Vec<_> = out.sent.iter().map(|(_, _, reply)| reply.call_id()).collect();
        assert_eq!((out.kinds(), calls), (vec!["500".to_owned(); 2], vec![&b"1"[..], b"2"]));
        endpoint.release(US, now);
        assert!(drain(&mut endpoint).is_empty());
    }

    #[test]
    fn what_the_user_forgets_ends_by_itself() {
        let (mut endpoint, now) = endpoint();
        receive(&mut endpoint, incoming("INVITE", &[]), now);
        receive(&mut endpoint, incoming("INFO", &[]), now);

        let out = run_out(&mut endpoint);

        assert_eq!(out.kinds(), vec!["500"; 11], "the INVITE alone: once and ten repeats");
        assert_eq!(endpoint.counters().unanswered, 2);
    }

    #[test]
    fn a_response_after_the_end_is_dropped() {
        let (mut endpoint, now) = endpoint();
        let (server, info) = receive(&mut endpoint, incoming("INFO", &[]), now);
        run_out(&mut endpoint);
        endpoint.respond(server, Draft::response(&info, 200), now);
        endpoint.adopt(server, US);
        assert!(drain(&mut endpoint).is_empty() && endpoint.owned.is_empty());
        assert_eq!(endpoint.counters().late_responses, 1);
    }

    #[test]
    fn unreadable_requests_are_answered_and_other_bytes_are_not() {
        let (mut endpoint, now) = endpoint();
        let head = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:b@p>;tag=1\r\n\
                    To: <sip:a@u>\r\nCall-ID: 1\r\n";
        for (text, answered) in [
            (format!("OPTIONS sip:a@u SIP/2.0\r\n{head}CSeq: x OPTIONS\r\n\r\n"), true),
            (format!("ACK sip:a@u SIP/2.0\r\n{head}CSeq: x ACK\r\n\r\n"), false),
            (format!("SIP/2.0 200 OK\r\n{head}CSeq: x OPTIONS\r\n\r\n"), false),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), false),
        ] {
            let error: ParseError = Message::parse(Bytes::from(text)).unwrap_err();
            endpoint.handle_unreadable(source(Udp), error, now);
            let mut sent = Vec::new();
            while let Some(output) = endpoint.poll_output() {
                let Output::Send { target, bytes, .. } = output else { panic!("{output:?}") };
                assert_eq!(target.remote, "192.0.2.9:5060".parse().unwrap(), "no rport asked");
                sent.push(bytes);
            }
            assert_eq!(sent.len(), usize::from(answered));
            assert!(sent.iter().all(|reply| reply.starts_with(b"SIP/2.0 400 ")));
        }
        assert_eq!((endpoint.counters().unreadable, endpoint.transactions()), (4, (0, 0)));
    }

    /// RFC 4475 §3.1.2.16, "badvers": its Via is of the other version too.
    #[test]
    fn a_request_whose_via_cannot_be_read_is_refused_where_it_came_from() {
        let (mut endpoint, now) = endpoint();
        let text =
            "OPTIONS sip:h SIP/7.0\r\nVia: SIP/7.0/UDP h:7;branch=z9hG4bK1\r\nTo: <sip:b>\r\n\r\n";
        let error: ParseError = Message::parse(Bytes::from(text)).unwrap_err();
        endpoint.handle_unreadable(source(Udp), error, now);
        let Some(Output::Send { target, bytes, .. }) = endpoint.poll_output() else { panic!() };
        assert_eq!(target.remote, source(Udp).remote);
        assert!(bytes.starts_with(b"SIP/2.0 505 "));
    }

    fn receive(endpoint: &mut Endpoint, request: Message, now: Instant) -> (ServerId, Message) {
        give(endpoint, request, now).requests.remove(0)
    }

    fn give(endpoint: &mut Endpoint, request: Message, now: Instant) -> Out {
        endpoint.handle_message(source(Udp), request, now);
        drain(endpoint)
    }
}
