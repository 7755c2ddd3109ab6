//! Client transactions: sending requests, matching responses to them (RFC 3261 §17.1.3), the ACK
//! for a final response other than 2xx (§17.1.1.3) and the CANCEL (§9.1).

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::identifier::{LEN, MAGIC_COOKIE, without_cookie};
use super::{ClientId, Endpoint, Failure, Output, Owner, Request, SendId, Transaction};
use crate::message::{Draft, HeaderId, Message, Method};
use crate::transaction::client_invite::{self, ClientInvite};
use crate::transaction::client_non_invite::{self, ClientNonInvite};
use crate::transport::{Source, Target, Transport};

/// One client transaction. What only an unfinished one needs is in `pending`, so that a finished one
/// is small.
pub(super) struct Client {
    machine: Machine,
    branch: Branch,
    method: Method,
    /// Who is told; nobody for a CANCEL, or when the owner is gone.
    user: Option<(Owner, u32)>,
    target: Target,
    /// What a repeat sends: the request; after a final response to INVITE, the ACK.
    wire: Bytes,
    pending: Option<Box<Pending>>,
    deadline: Option<Instant>,
}

/// What an unfinished INVITE needs for its ACK and CANCEL.
struct Pending {
    /// The request as sent, with our Via.
    draft: Draft,
    /// The Reason of the CANCEL (RFC 3326).
    reason: Option<Bytes>,
}

enum Machine {
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

/// Our branch, and whether it is the CANCEL's use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Branch {
    identifier: [u8; LEN],
    cancel: bool,
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
        let reliable = target.transport.is_reliable();
        let timing = &self.settings.timing;
        let method = draft.method().clone();
        let wire = draft.write();
        let (machine, pending) = if method == Method::Invite {
            let machine = ClientInvite::new(reliable, timeout, timing, now);
            (Machine::Invite(machine), Some(Box::new(Pending { draft, reason: None })))
        } else {
            (Machine::NonInvite(ClientNonInvite::new(reliable, timeout, timing, now)), None)
        };
        let branch = Branch { identifier, cancel: false };
        let user = Some((owner, token));
        let deadline = None;
        self.begin(Client { machine, branch, method, user, target, wire, pending, deadline })
    }

    /// Gives up an INVITE (§9.1): the CANCEL goes when a provisional response is there. Its `reason`
    /// becomes the Reason header. Nothing happens after a final response.
    pub fn cancel(&mut self, client: ClientId, reason: Option<Bytes>, now: Instant) {
        if let Some(pending) =
            self.clients.get_mut(&client).and_then(|client| client.pending.as_mut())
        {
            pending.reason = reason;
            self.client_invite(client, client_invite::Input::Cancel, None, now);
        }
    }

    pub(super) fn handle_response(&mut self, source: Source, message: Message, now: Instant) {
        let Some(client) = self.client_of(&message) else {
            self.counters.stray_responses += 1;
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

    fn begin(&mut self, client: Client) -> ClientId {
        let id = ClientId(self.next_transaction());
        self.counters.sent_requests += 1;
        self.branches.insert(client.branch, id);
        if let Some((owner, _)) = client.user {
            self.owned.insert((owner, Transaction::Client(id)));
        }
        self.clients.insert(id, client);
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

    fn client_invite(
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

    fn send_cancel(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get(&id) else { return };
        let Some(pending) = &client.pending else { return };
        let mut cancel = follow_up(&pending.draft, Method::Cancel);
        if let Some(reason) = &pending.reason {
            cancel.push(HeaderId::Reason, reason.clone());
        }
        let reliable = client.target.transport.is_reliable();
        let machine = ClientNonInvite::new(reliable, None, &self.settings.timing, now);
        let cancel = Client {
            machine: Machine::NonInvite(machine),
            branch: Branch { cancel: true, ..client.branch },
            method: Method::Cancel,
            user: None,
            target: client.target.clone(),
            wire: cancel.write(),
            pending: None,
            deadline: None,
        };
        self.begin(cancel);
    }

    fn deliver_response(&mut self, client: ClientId, response: Option<(Source, &Message)>) {
        let user = self.clients.get(&client).and_then(|client| client.user);
        if let (Some((owner, token)), Some((source, message))) = (user, response) {
            let message = message.clone();
            self.outputs.push_back(Output::Response { client, owner, token, source, message });
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
fn follow_up(invite: &Draft, method: Method) -> Draft {
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
        let copied =
            matches!(field.id, HeaderId::Route | HeaderId::From | HeaderId::To | HeaderId::CallId)
                || field.id == HeaderId::Via && !std::mem::replace(&mut via, true);
        if copied {
            draft.push(field.id, field.value.clone());
        }
    }
    draft.push(HeaderId::MaxForwards, &b"70"[..]);
    draft.push(HeaderId::CSeq, cseq);
    draft
}
