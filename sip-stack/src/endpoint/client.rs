//! Client transactions: sending requests, matching responses to them (RFC 3261 §17.1.3), the ACK
//! for a final response other than 2xx (§17.1.1.3).

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::identifier::{LEN, MAGIC_COOKIE, without_cookie};
use super::{ClientId, Endpoint, Failure, Output, Owner, Request, SendId, Transaction};
use crate::message::{Draft, HeaderId, Message, Method};
use crate::transaction::Timing;
use crate::transaction::client_invite::{self, ClientInvite};
use crate::transaction::client_non_invite::{self, ClientNonInvite};
use crate::transport::{Source, Target, Transport};

/// One client transaction. What only an unfinished one needs is in `pending`, so that a finished one
/// is small.
pub(super) struct Client {
    machine: Machine,
    pub(super) branch: Branch,
    method: Method,
    /// Who is told; nobody for a CANCEL, or when the owner is gone.
    user: Option<(Owner, u32)>,
    pub(super) target: Target,
    /// What a repeat sends: the request; after a final response to INVITE, the ACK.
    wire: Bytes,
    pub(super) pending: Option<Box<Pending>>,
    deadline: Option<Instant>,
}

/// What an unfinished INVITE needs for its ACK and CANCEL.
pub(super) struct Pending {
    /// The request as sent, with our Via.
    pub(super) draft: Draft,
    /// The Reason of the CANCEL.
    pub(super) reason: Option<Bytes>,
}

enum Machine {
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

/// Our branch, and whether it is the CANCEL's use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Branch {
    pub(super) identifier: [u8; LEN],
    pub(super) cancel: bool,
}

impl Client {
    /// The transaction of a request that has its Via already.
    pub(super) fn new(
        branch: Branch,
        user: Option<(Owner, u32)>,
        target: Target,
        draft: Draft,
        timeout: Option<Duration>,
        timing: &Timing,
        now: Instant,
    ) -> Self {
        let reliable = target.transport.is_reliable();
        let method = draft.method().clone();
        let wire = draft.write();
        let (machine, pending) = if method == Method::Invite {
            let machine = ClientInvite::new(reliable, timeout, timing, now);
            (Machine::Invite(machine), Some(Box::new(Pending { draft, reason: None })))
        } else {
            (Machine::NonInvite(ClientNonInvite::new(reliable, timeout, timing, now)), None)
        };
        Self { machine, branch, method, user, target, wire, pending, deadline: None }
    }
}

impl Endpoint {
    /// Sends a request in a transaction of its own. `token` is the owner's mark on its outputs.
    pub fn request(
        &mut self,
        owner: Owner,
        token: u32,
        request: Request,
        now: Instant,
    ) -> ClientId {
        let Request { mut draft, target, sent_by, timeout } = request;
        let identifier = self.identifiers.fresh();
        draft.insert_first(HeaderId::Via, via(&target, &sent_by, &identifier));
        let branch = Branch { identifier, cancel: false };
        let (user, timing) = (Some((owner, token)), &self.settings.timing);
        let client = Client::new(branch, user, target, draft, timeout, timing, now);
        self.begin(client)
    }

    pub(super) fn handle_response(&mut self, source: Source, message: Message, now: Instant) {
        let Some(client) = self.client_of(&message) else {
            self.counters.stray_responses += 1;
            if !self.is_open(&message) {
                self.deliver_stray(&source, &message);
            }
            return;
        };
        self.counters.responses += 1;
        let response = Some((source, &message));
        match self.clients.get(&client).map(|client| &client.machine) {
            Some(Machine::Invite(_)) => {
                let input = match message.status() {
                    ..200 => client_invite::Input::Provisional,
                    200..300 => client_invite::Input::Success,
                    300.. => client_invite::Input::Failure,
                };
                self.client_invite(client, input, response, now);
            }
            Some(Machine::NonInvite(_)) => {
                let input = match message.status() {
                    ..200 => client_non_invite::Input::Provisional,
                    200.. => client_non_invite::Input::Final,
                };
                self.client_non_invite(client, input, response, now);
            }
            None => {}
        }
    }

    pub(super) fn client_send_failed(&mut self, client: ClientId, now: Instant) {
        match self.clients.get(&client).map(|client| &client.machine) {
            Some(Machine::Invite(_)) => {
                self.client_invite(client, client_invite::Input::SendFailed, None, now);
            }
            Some(Machine::NonInvite(_)) => {
                self.client_non_invite(client, client_non_invite::Input::SendFailed, None, now);
            }
            None => {}
        }
    }

    pub(super) fn client_timeout(&mut self, client: ClientId, now: Instant) {
        match self.clients.get_mut(&client).map(|client| &mut client.machine) {
            Some(Machine::Invite(machine)) => {
                if let Some(timer) = machine.take_due(now) {
                    let input = client_invite::Input::Timer(timer);
                    self.client_invite(client, input, None, now);
                }
            }
            Some(Machine::NonInvite(machine)) => {
                if let Some(timer) = machine.take_due(now) {
                    let input = client_non_invite::Input::Timer(timer);
                    self.client_non_invite(client, input, None, now);
                }
            }
            None => {}
        }
    }

    /// The owner is gone: nobody is told any more, and an INVITE is cancelled.
    pub(super) fn orphan_client(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some((owner, _)) = client.user.take() {
            self.owned.remove(&(owner, Transaction::Client(id)));
        }
        self.cancel(id, None, now);
    }

    pub(super) fn begin(&mut self, client: Client) -> ClientId {
        let id = ClientId(self.next_transaction());
        self.counters.sent_requests += 1;
        self.branches.insert(client.branch, id);
        if let Some((owner, _)) = client.user {
            self.owned.insert((owner, Transaction::Client(id)));
        }
        self.clients.insert(id, Box::new(client));
        self.send_wire(id);
        self.settle_client(id);
        id
    }

    /// Finds the transaction of a response: by branch and CSeq method. More than one Via means that
    /// it is not for us (§8.1.3.3).
    fn client_of(&self, response: &Message) -> Option<ClientId> {
        let mut identifier: [u8; LEN] = without_cookie(response.branch())?.try_into().ok()?;
        identifier.make_ascii_lowercase();
        let cancel = *response.method() == Method::Cancel;
        let id = *self.branches.get(&Branch { identifier, cancel })?;
        let same_method = self.clients.get(&id)?.method == *response.method();
        let one_via = response.elements(HeaderId::Via).nth(1).is_none();
        (same_method && one_via).then_some(id)
    }

    /// Whether a request of ours with this branch waits for a response, or may still get another one.
    pub fn awaits(&self, branch: &[u8]) -> bool {
        let identifier = without_cookie(branch).and_then(|id| <[u8; LEN]>::try_from(id).ok());
        identifier.is_some_and(|mut identifier| {
            identifier.make_ascii_lowercase();
            let of = |cancel| self.branches.contains_key(&Branch { identifier, cancel });
            of(false) || of(true)
        })
    }

    /// Whether a transaction has the branch of a response that is not its own.
    fn is_open(&self, response: &Message) -> bool {
        let identifier = without_cookie(response.branch()).and_then(|id| id.try_into().ok());
        let of = |mut identifier: [u8; LEN]| {
            identifier.make_ascii_lowercase();
            self.branches.contains_key(&Branch { identifier, cancel: false })
        };
        identifier.is_some_and(of)
    }

    pub(super) fn client_invite(
        &mut self,
        id: ClientId,
        input: client_invite::Input,
        response: Option<(Source, &Message)>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Machine::Invite(machine) = &mut client.machine else { return };
        for action in machine.handle(input, &self.settings.timing, now) {
            match action {
                client_invite::Action::Repeat => self.repeat_wire(id),
                client_invite::Action::Ack => self.acknowledge(id, response),
                client_invite::Action::Cancel => self.send_cancel(id, now),
                client_invite::Action::Deliver => self.deliver_response(id, response),
                client_invite::Action::TimedOut => self.fail(id, Failure::Timeout),
                client_invite::Action::SendFailed => self.fail(id, Failure::Transport),
            }
        }
        self.settle_client(id);
    }

    fn client_non_invite(
        &mut self,
        id: ClientId,
        input: client_non_invite::Input,
        response: Option<(Source, &Message)>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Machine::NonInvite(machine) = &mut client.machine else { return };
        for action in machine.handle(input, &self.settings.timing, now) {
            match action {
                client_non_invite::Action::Repeat => self.repeat_wire(id),
                client_non_invite::Action::Deliver => self.deliver_response(id, response),
                client_non_invite::Action::TimedOut => self.fail(id, Failure::Timeout),
                client_non_invite::Action::SendFailed => self.fail(id, Failure::Transport),
            }
        }
        self.settle_client(id);
    }

    /// Drops a transaction with everything that is known of it; its owner, if it still waits, hears of a time-out.
    pub(super) fn forget_client(&mut self, id: ClientId) {
        self.fail(id, Failure::Timeout);
        let Some(client) = self.clients.remove(&id) else { return };
        self.branches.remove(&client.branch);
        if let Some((owner, _)) = client.user {
            self.owned.remove(&(owner, Transaction::Client(id)));
        }
    }

    /// After every input: moves the deadline, drops what a finished transaction no longer needs, and
    /// forgets one that is over.
    fn settle_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let (deadline, phase) = match &client.machine {
            Machine::Invite(machine) => {
                let phase = match machine.state() {
                    client_invite::State::Calling
                    | client_invite::State::CallingCancelled
                    | client_invite::State::Proceeding
                    | client_invite::State::Cancelling => Phase::Open,
                    client_invite::State::Completed => Phase::Answered { user: false, wire: true },
                    client_invite::State::Accepted => Phase::Answered { user: true, wire: false },
                    client_invite::State::Terminated => Phase::Over,
                };
                (machine.poll_timeout(), phase)
            }
            Machine::NonInvite(machine) => {
                let phase = match machine.state() {
                    client_non_invite::State::Trying | client_non_invite::State::Proceeding => {
                        Phase::Open
                    }
                    client_non_invite::State::Completed => {
                        Phase::Answered { user: false, wire: false }
                    }
                    client_non_invite::State::Terminated => Phase::Over,
                };
                (machine.poll_timeout(), phase)
            }
        };
        let transaction = Transaction::Client(id);
        self.timers.set(transaction, &mut client.deadline, deadline);
        let (keep_user, keep_wire) = match phase {
            Phase::Open => return,
            Phase::Answered { user, wire } => (user, wire),
            Phase::Over => (false, false),
        };
        client.pending = None;
        if !keep_wire {
            client.wire = Bytes::new();
        }
        if !keep_user && let Some((owner, _)) = client.user.take() {
            self.owned.remove(&(owner, transaction));
        }
        if phase == Phase::Over {
            self.branches.remove(&client.branch);
            self.clients.remove(&id);
        }
    }

    fn repeat_wire(&mut self, id: ClientId) {
        self.counters.repeats += 1;
        self.send_wire(id);
    }

    fn send_wire(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get(&id) {
            let (target, bytes) = (client.target.clone(), client.wire.clone());
            self.outputs.push_back(Output::Send { id: SendId(id.0), target, bytes });
        }
    }

    /// The ACK goes where the INVITE went; a repeated response gets the same one again.
    fn acknowledge(&mut self, id: ClientId, response: Option<(Source, &Message)>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(pending) = client.pending.take()
            && let Some((_, response)) = response
        {
            let mut ack = follow_up(&pending.draft, Method::Ack);
            if let Some(to) = response.value(HeaderId::To) {
                ack.set(HeaderId::To, response.slice(to));
            }
            client.wire = ack.write();
        }
        self.send_wire(id);
    }

    fn deliver_response(&mut self, client: ClientId, response: Option<(Source, &Message)>) {
        let user = self.clients.get(&client).and_then(|client| client.user);
        let Some((source, message)) = response else { return };
        match user {
            Some((owner, token)) => {
                let message = message.clone();
                self.outputs.push_back(Output::Response { client, owner, token, source, message });
            }
            None => self.deliver_stray(&source, message),
        }
    }

    fn deliver_stray(&mut self, source: &Source, message: &Message) {
        let answer = *message.method() == Method::Invite && (200..300).contains(&message.status());
        let ours = self.identifiers.origin(message.branch()).is_some();
        if answer && ours && message.elements(HeaderId::Via).nth(1).is_none() {
            self.outputs.push_back(Output::Stray { source: *source, message: message.clone() });
        }
    }

    fn fail(&mut self, client: ClientId, why: Failure) {
        match why {
            Failure::Timeout => self.counters.timeouts += 1,
            Failure::Transport => self.counters.transport_failures += 1,
        }
        let user = self.clients.get(&client).and_then(|client| client.user);
        if let Some((owner, token)) = user {
            self.outputs.push_back(Output::Failed { client, owner, token, why });
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// No final response.
    Open,
    /// Finished, and absorbing repeats: whether the user is still told, and whether there is
    /// something to send again.
    Answered {
        user: bool,
        wire: bool,
    },
    Over,
}

/// The value of our Via: transport, sent-by, branch, and over UDP the wish for `rport` (RFC 3581).
pub(super) fn via(target: &Target, sent_by: &[u8], identifier: &[u8; LEN]) -> Bytes {
    let transport = target.transport.via_name().as_bytes();
    let mut value = BytesMut::with_capacity(64 + sent_by.len());
    value.put_slice(b"SIP/2.0/");
    value.put_slice(transport);
    value.put_u8(b' ');
    value.put_slice(sent_by);
    value.put_slice(b";branch=");
    value.put_slice(MAGIC_COOKIE);
    value.put_slice(identifier);
    match target.transport {
        Transport::Udp => value.put_slice(b";rport"),
        Transport::Tcp | Transport::Tls => {}
    }
    value.freeze()
}

/// The ACK (§17.1.1.3) or CANCEL (§9.1) of an INVITE: the same Request-URI, topmost Via, Route, From,
/// To, Call-ID and CSeq number.
pub(super) fn follow_up(invite: &Draft, method: Method) -> Draft {
    let number: Vec<u8> = invite
        .value(HeaderId::CSeq)
        .unwrap_or_default()
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    let cseq = [&number[..], b" ", method.as_bytes()].concat();
    let mut draft = Draft::request(method, Bytes::copy_from_slice(invite.uri()));
    let mut via = false;
    for field in invite.fields() {
        // §22.1: neither can be challenged.
        let proves = matches!(field.id, HeaderId::Authorization | HeaderId::ProxyAuthorization);
        let copied =
            matches!(field.id, HeaderId::Route | HeaderId::From | HeaderId::To | HeaderId::CallId)
                || field.id == HeaderId::Via && !std::mem::replace(&mut via, true);
        if copied || proves {
            draft.push(field.id, field.value.clone());
        }
    }
    draft.push(HeaderId::MaxForwards, &b"70"[..]);
    draft.push(HeaderId::CSeq, cseq);
    draft
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{answer, drain, endpoint, outgoing, run_out, seconds, source};
    use super::super::{Origin, Output};
    use super::*;
    use Transport::{Tcp, Tls, Udp};

    const US: Owner = Owner(8);

    #[test]
    fn our_via_carries_sent_by_a_branch_of_ours_and_rport_over_udp() {
        for (transport, text) in [(Udp, "UDP"), (Tcp, "TCP"), (Tls, "TLS")] {
            let (mut endpoint, now) = endpoint();
            endpoint.request(US, 1, outgoing(Method::Options, transport), now);
            let (_, _, sent) = drain(&mut endpoint).sent.remove(0);
            let via = sent.top_via();
            assert_eq!((via.transport, via.host), (text.as_bytes(), &b"us.example"[..]));
            assert_eq!((via.port, via.has_rport()), (Some(5060), transport == Udp));
            assert!(via.branch().starts_with(MAGIC_COOKIE));
            let origin = Origin { node: 3, shard: 0, epoch: 77 };
            assert_eq!(endpoint.origin(via.branch()), Some(origin));
        }
    }

    #[test]
    fn responses_are_matched_by_branch_and_method_and_strays_are_counted() {
        let (mut endpoint, now) = endpoint();
        let client = endpoint.request(US, 1, outgoing(Method::Options, Udp), now);
        let (_, _, sent) = drain(&mut endpoint).sent.remove(0);
        let branch = std::str::from_utf8(sent.branch()).unwrap().to_owned();
        let response = String::from_utf8(answer(&sent, 200).raw().to_vec()).unwrap();

        let strays = [
            response.replace(&branch, "z9hG4bKxxxxxxxxxxxxxxxxxxxxxxxx"),
            response.replace(&branch, "nobranch"),
            response.replace("7 OPTIONS", "7 CANCEL"),
            response.replace("7 OPTIONS", "7 INVITE"),
            response.replace("\r\nFrom", "\r\nVia: SIP/2.0/UDP other.example\r\nFrom"),
        ];
        for stray in &strays {
            let stray = Message::parse(Bytes::from(stray.clone())).unwrap();
            endpoint.handle_message(source(Udp), stray, now);
        }
        assert!(drain(&mut endpoint).is_empty());
        assert_eq!(endpoint.counters().stray_responses, 5);

        let shouted = response.replace(&branch, &branch.to_ascii_uppercase());
        let shouted = Message::parse(Bytes::from(shouted)).unwrap();
        endpoint.handle_message(source(Udp), shouted, now);
        assert_eq!(drain(&mut endpoint).responses, [(client, US, 1, 200)]);
    }

    #[test]
    fn a_refused_invite_is_acknowledged_here_and_told_once() {
        for transport in [Udp, Tls] {
            let (mut endpoint, now) = endpoint();
            let client = endpoint.request(US, 1, outgoing(Method::Invite, transport), now);
            let (_, target, invite) = drain(&mut endpoint).sent.remove(0);
            let busy = answer(&invite, 486);

            endpoint.handle_message(source(transport), busy.clone(), now);
            let out = drain(&mut endpoint);

            assert_eq!(out.responses, [(client, US, 1, 486)]);
            assert_eq!(out.kinds(), ["ACK"]);
            let (_, ack_target, ack) = &out.sent[0];
            assert_eq!((ack_target, ack.uri()), (&target, invite.uri()));
            assert_eq!(ack.value(HeaderId::Via), invite.value(HeaderId::Via));
            assert_eq!(ack.value(HeaderId::From), invite.value(HeaderId::From));
            assert_eq!(ack.value(HeaderId::To), busy.value(HeaderId::To));
            assert_eq!(ack.value(HeaderId::CSeq), Some(&b"7 ACK"[..]));
            assert_eq!(ack.call_id(), invite.call_id());
            assert!(ack.values(HeaderId::Route).eq(invite.values(HeaderId::Route)));

            endpoint.handle_message(source(transport), busy, now);
            let again = drain(&mut endpoint);
            assert!(again.responses.is_empty());
            match transport {
                Udp => assert_eq!(again.sent[0].2.raw(), ack.raw()),
                Tcp | Tls => assert!(again.is_empty()),
            }
            assert!(run_out(&mut endpoint).is_empty());
        }
    }

    #[test]
    fn every_2xx_goes_to_the_user_until_timer_m() {
        let (mut endpoint, now) = endpoint();
        let client = endpoint.request(US, 1, outgoing(Method::Invite, Tls), now);
        let (_, _, invite) = drain(&mut endpoint).sent.remove(0);
        let ok = answer(&invite, 200);

        for _ in 0..2 {
            endpoint.handle_message(source(Tls), ok.clone(), now);
            let out = drain(&mut endpoint);
            assert_eq!(out.responses, [(client, US, 1, 200)]);
            assert!(out.sent.is_empty(), "the user acknowledges a 2xx");
        }
        assert_eq!(endpoint.poll_timeout(), Some(now + seconds(32)));
        assert!(run_out(&mut endpoint).is_empty());

        endpoint.handle_message(source(Tls), ok, now);
        let out = drain(&mut endpoint);
        assert!(out.responses.is_empty() && out.strays.len() == 1);
        assert_eq!(endpoint.counters().stray_responses, 1);
    }

    #[test]
    fn what_cannot_be_sent_fails_once() {
        for method in [Method::Invite, Method::Bye] {
            let (mut endpoint, now) = endpoint();
            let client = endpoint.request(US, 1, outgoing(method, Tls), now);
            let (send, ..) = drain(&mut endpoint).sent.remove(0);

            endpoint.handle_send_failed(send, now);
            endpoint.handle_send_failed(send, now);

            let out = drain(&mut endpoint);
            assert_eq!(out.failed, [(client, US, 1, Failure::Transport)]);
            assert!(run_out(&mut endpoint).is_empty());
        }
    }

    #[test]
    fn the_users_patience_ends_a_request() {
        let (mut endpoint, now) = endpoint();
        let patience = Some(seconds(1));
        let invite = Request { timeout: patience, ..outgoing(Method::Invite, Tls) };
        let options = Request { timeout: patience, ..outgoing(Method::Options, Tls) };
        let first = endpoint.request(US, 1, invite, now);
        let second = endpoint.request(US, 2, options, now);

        endpoint.handle_timeout(now + seconds(1));

        let out = drain(&mut endpoint);
        let expected = [(first, US, 1, Failure::Timeout), (second, US, 2, Failure::Timeout)];
        assert_eq!(out.failed, expected);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_a_stray_when_its_branch_is_ours() {
        let (mut endpoint, now) = endpoint();
        endpoint.request(US, 1, outgoing(Method::Invite, Udp), now);
        let (_, _, invite) = drain(&mut endpoint).sent.remove(0);
        endpoint.release(US, now);
        drain(&mut endpoint);
        endpoint.handle_message(source(Udp), answer(&invite, 180), now);
        assert!(drain(&mut endpoint).strays.is_empty());
        endpoint.handle_message(source(Udp), answer(&invite, 200), now);
        let out = drain(&mut endpoint);
        assert_eq!((out.strays.len(), out.responses.len()), (1, 0));
        run_out(&mut endpoint);
        let late = now + seconds(100);
        endpoint.handle_message(source(Udp), answer(&invite, 200), late);
        assert_eq!(drain(&mut endpoint).strays.len(), 1, "also when its transaction is gone");
        endpoint.handle_message(source(Udp), answer(&invite, 486), late);
        let foreign = String::from_utf8(answer(&invite, 200).raw().to_vec()).unwrap();
        let branch = String::from_utf8(invite.branch().to_vec()).unwrap();
        let foreign = foreign.replace(&branch, "z9hG4bKof-somebody-else");
        let foreign = Message::parse(Bytes::from(foreign)).unwrap();
        endpoint.handle_message(source(Udp), foreign, late);
        assert!(drain(&mut endpoint).is_empty());
    }

    #[test]
    fn what_a_released_owner_left_falls_silent() {
        let (mut endpoint, now) = endpoint();
        endpoint.request(US, 1, outgoing(Method::Invite, Udp), now);
        endpoint.request(US, 2, outgoing(Method::Options, Udp), now);
        let other = endpoint.request(Owner(9), 3, outgoing(Method::Options, Udp), now);
        let sent = drain(&mut endpoint).sent;
        endpoint.handle_message(source(Udp), answer(&sent[0].2, 180), now);
        drain(&mut endpoint);

        endpoint.release(US, now);
        assert_eq!(drain(&mut endpoint).kinds(), ["CANCEL"]);
        for (_, _, request) in &sent {
            endpoint.handle_message(source(Udp), answer(request, 500), now);
        }

        let out = drain(&mut endpoint);
        assert_eq!(out.responses, [(other, Owner(9), 3, 500)]);
        assert_eq!(out.kinds(), ["ACK"]);
        let rest = run_out(&mut endpoint);
        assert!(rest.responses.is_empty() && rest.failed.is_empty());
    }

    #[test]
    fn a_finished_transaction_keeps_only_what_repeats_need() {
        let (mut endpoint, now) = endpoint();
        for status in [200, 486] {
            let client = endpoint.request(US, 1, outgoing(Method::Invite, Udp), now);
            let (_, _, invite) = drain(&mut endpoint).sent.remove(0);
            endpoint.handle_message(source(Udp), answer(&invite, status), now);
            let finished = &endpoint.clients[&client];
            assert!(finished.pending.is_none());
            assert_eq!(finished.wire.is_empty(), status == 200);
            drain(&mut endpoint);
        }
        let client = endpoint.request(US, 1, outgoing(Method::Bye, Udp), now);
        let (_, _, bye) = drain(&mut endpoint).sent.remove(0);
        endpoint.handle_message(source(Udp), answer(&bye, 200), now);
        assert!(endpoint.clients[&client].wire.is_empty());
    }

    #[test]
    fn a_message_outside_transactions_gets_a_branch_of_its_own() {
        let (mut endpoint, now) = endpoint();
        let ack = outgoing(Method::Ack, Udp);
        endpoint.send(ack.target.clone(), ack.sent_by.clone(), ack.draft.clone(), now);
        endpoint.send(ack.target, ack.sent_by, ack.draft, now);
        let mut sends = Vec::new();
        while let Some(Output::Send { id, bytes, .. }) = endpoint.poll_output() {
            sends.push((id, Message::parse(bytes).unwrap().branch().to_vec()));
        }
        assert_eq!(sends.len(), 2);
        assert!(sends[0].0 != sends[1].0 && sends[0].1 != sends[1].1);
        assert_eq!((endpoint.transactions(), endpoint.poll_timeout()), ((0, 0), None));

        endpoint.handle_send_failed(sends[0].0, now);
        assert_eq!(endpoint.counters().lost_sends, 1);
    }
}
