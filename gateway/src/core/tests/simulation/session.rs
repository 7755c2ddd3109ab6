//! A simulated peer's side of one INVITE dialog (RFC 3261 §12-15, RFC 3264): it calls or is called, offers, answers,
//! refreshes, cancels, hangs up. It is made of transactions and a dialog alone, without the leg that the gateway is made
//! of, so that the two do not share their faults.
//!
//! It keeps the rules that a peer has to keep (one exchange at a time, 491 for what crosses it, 2xx again until the ACK,
//! no BYE by the called side before it), so that whatever goes wrong is the gateway's fault or the line's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::dialog::{Dialog, Order};
use sip_stack::endpoint::{ClientId, Endpoint, Owner, Request, ServerId};
use sip_stack::leg::Extra;
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::Source;

use super::agent::Site;
use super::dice::Dice;
use super::script::{Act, Role, Step};
use super::talk::{Change, Talk};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Calling,
    Called,
    Up,
    Over,
    /// The peer has lost what it knew of it.
    Forgotten,
}

/// What a transaction of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    Invite,
    /// A re-INVITE.
    Offer,
    Bye,
    /// Anything that changes nothing.
    Tell,
    /// How a call fares that we were asked to make.
    Notify,
}

/// What a session may use while it works.
pub(super) struct Tools<'a> {
    pub(super) now: Instant,
    pub(super) site: &'a Site,
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) dice: &'a mut Dice,
    pub(super) clients: &'a mut BTreeMap<ClientId, (usize, Errand)>,
    /// What the gateway did that it must not do.
    pub(super) faults: &'a mut Vec<String>,
}

/// One dialog, or what may become one.
pub(super) struct Session {
    /// Its number among those of its peer.
    index: usize,
    /// The number of its call in the script.
    pub(super) call: usize,
    pub(super) role: Role,
    pub(super) dialog: Dialog,
    pub(super) state: State,
    pub(super) talk: Talk,
    /// As it was before our offer that is under way.
    before: Option<Talk>,
    /// It has refused an offer of the gateway.
    pub(super) refused: bool,
    pub(super) exchange: Exchange,
    /// The INVITE that began it: ours.
    client: Option<ClientId>,
    /// The gateway's.
    invite: Option<(ServerId, Message)>,
    cancelled: bool,
    /// The offer in our INVITE.
    offer: Option<Bytes>,
    /// The answer in a 18x of ours.
    told: Option<Bytes>,
    /// What we have sent for 2xx, by CSeq.
    acks: Vec<(u32, Draft)>,
    /// A BYE waits for the ACK.
    held: bool,
    /// Session-Expires in our 2xx to the gateway's INVITE.
    expires: Option<&'static str>,
    later: Vec<(Instant, Later)>,
}

/// The exchange that is under way after the first one.
pub(super) enum Exchange {
    Idle,
    /// Our re-INVITE; without an offer, it asks for one.
    Sent {
        client: ClientId,
        offer: Option<Bytes>,
    },
    /// The gateway's re-INVITE is being thought about.
    Thinking {
        until: Instant,
        server: ServerId,
        message: Message,
    },
    /// Our 2xx waits for its ACK.
    Answered(Box<Answered>),
}

pub(super) struct Answered {
    cseq: u32,
    server: ServerId,
    draft: Draft,
    /// Our offer in it.
    offer: Option<Bytes>,
    next: Instant,
    wait: Duration,
    end: Instant,
}

#[derive(Clone, Copy)]
enum Later {
    Step(Step),
    Offer(Change),
    /// Every half interval.
    Refresh(Duration),
    Bye,
    /// How what a REFER asked for fares.
    Notify(u16),
}

impl Session {
    /// Begins to call.
    pub(super) fn calling(
        index: usize,
        (call, role): (usize, Role),
        dialog: Dialog,
        mut talk: Talk,
        (offers, extra): (bool, &[Extra]),
        tools: &mut Tools<'_>,
    ) -> Self {
        let offer = offers.then(|| talk.offer(Change::Resume));
        let mut session = Self::new(index, (call, role), dialog, talk, State::Calling);
        session.dialog.local_cseq = 1;
        let dialog = &session.dialog;
        let mut draft = Draft::request(Method::Invite, dialog.remote_target.clone());
        let from = [&dialog.local[..], b";tag=", &dialog.id.local_tag].concat();
        draft
            .push(HeaderId::MaxForwards, "70")
            .push(HeaderId::From, from)
            .push(HeaderId::To, dialog.remote.clone())
            .push(HeaderId::CallId, dialog.id.call_id.clone())
            .push(HeaderId::CSeq, "1 INVITE");
        for (id, value) in extra {
            draft.push(*id, value.clone());
        }
        session.offer.clone_from(&offer);
        session.client = Some(session.start(draft, offer, Errand::Invite, tools));
        session
    }

    /// Is called; what it does then is `steps`, in milliseconds from now.
    pub(super) fn called(
        index: usize,
        (call, role): (usize, Role),
        dialog: Dialog,
        talk: Talk,
        (server, invite): (ServerId, &Message),
        (steps, expires): (&[(u64, Step)], Option<&'static str>),
        now: Instant,
    ) -> Self {
        let mut session = Self::new(index, (call, role), dialog, talk, State::Called);
        session.invite = Some((server, invite.clone()));
        session.expires = expires;
        session.later = steps
            .iter()
            .map(|(after, step)| (now + Duration::from_millis(*after), Later::Step(*step)))
            .collect();
        session
    }

    const fn new(
        index: usize,
        (call, role): (usize, Role),
        dialog: Dialog,
        talk: Talk,
        state: State,
    ) -> Self {
        Self {
            index,
            call,
            role,
            dialog,
            state,
            talk,
            before: None,
            refused: false,
            exchange: Exchange::Idle,
            client: None,
            invite: None,
            cancelled: false,
            offer: None,
            told: None,
            acks: Vec::new(),
            held: false,
            expires: None,
            later: Vec::new(),
        }
    }

    /// Whether we sent the INVITE.
    const fn calls(&self) -> bool {
        matches!(self.role, Role::Caller | Role::Newcomer)
    }

    /// Whether nothing is being negotiated.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.exchange, Exchange::Idle)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let exchange = match &self.exchange {
            Exchange::Idle | Exchange::Sent { .. } => None,
            Exchange::Thinking { until, .. } => Some(*until),
            Exchange::Answered(answered) => Some(answered.next),
        };
        self.later.iter().map(|(at, _)| *at).chain(exchange).min()
    }

    pub(super) fn handle_timeout(&mut self, tools: &mut Tools<'_>) {
        let now = tools.now;
        while let Some(at) = self.later.iter().position(|(at, _)| *at <= now) {
            match self.later.remove(at).1 {
                Later::Step(step) => self.step(step, tools),
                Later::Offer(change) => self.offer(Some(change), tools),
                Later::Refresh(every) => {
                    self.later.push((now + every, Later::Refresh(every)));
                    self.offer(Some(Change::Refresh), tools);
                }
                Later::Bye => self.hang_up(tools),
                Later::Notify(status) => self.notify(status, tools),
            }
        }
        match &mut self.exchange {
            Exchange::Idle | Exchange::Sent { .. } => {}
            Exchange::Thinking { until, .. } if *until > now => {}
            Exchange::Thinking { .. } => self.decide(tools),
            Exchange::Answered(answered) if answered.next > now => {}
            Exchange::Answered(answered) if now >= answered.end => {
                // RFC 3261 §13.3.1.4: without an ACK there is no session.
                self.exchange = Exchange::Idle;
                self.held = false;
                self.hang_up(tools);
            }
            Exchange::Answered(answered) => {
                tools.endpoint.respond(answered.server, answered.draft.clone(), now);
                answered.wait = (answered.wait * 2).min(T2);
                answered.next = (now + answered.wait).min(answered.end);
            }
        }
    }

    /// Something that the called side does.
    fn step(&mut self, step: Step, tools: &mut Tools<'_>) {
        let (State::Called, Some((server, invite))) = (self.state, self.invite.clone()) else {
            return;
        };
        match step {
            Step::Ring { status, sdp } => {
                let mut draft = self.response(&invite, status, tools.site);
                if sdp && let Some(answer) = self.answer_to(&invite) {
                    self.told = Some(answer.clone());
                    draft.body(SDP, answer);
                }
                tools.endpoint.respond(server, draft, tools.now);
            }
            Step::Refuse { status, wait } => {
                let mut draft = self.response(&invite, status, tools.site);
                if let Some(wait) = wait {
                    draft.push(HeaderId::RetryAfter, wait);
                }
                self.state = State::Over;
                tools.endpoint.respond(server, draft, tools.now);
            }
            Step::Answer { sdp } => {
                let mut draft = self.response(&invite, 200, tools.site);
                self.expire(self.expires, &mut draft, tools);
                let answer = self.answer_to(&invite);
                if let Some(answer) = answer.filter(|_| sdp || self.told.is_none()) {
                    draft.body(SDP, answer);
                }
                self.state = State::Up;
                self.await_ack(server, invite.cseq(), draft, None, tools);
            }
        }
    }

    fn answer_to(&mut self, invite: &Message) -> Option<Bytes> {
        let offer = invite.sdp()?;
        let told = self.told.clone();
        Some(told.unwrap_or_else(|| self.talk.answer(&offer)))
    }

    /// What a session timer in our 2xx asks of us.
    fn expire(&mut self, expires: Option<&'static str>, draft: &mut Draft, tools: &Tools<'_>) {
        if let Some(expires) = expires {
            draft.push(HeaderId::SessionExpires, expires).push(HeaderId::Require, "timer");
            if expires.ends_with("uas") {
                let every = Duration::from_secs(45);
                self.later.push((tools.now + every, Later::Refresh(every)));
            }
        }
    }

    /// Something that the script has it do. What makes no sense now is left out.
    pub(super) fn act(&mut self, act: Act, tools: &mut Tools<'_>) {
        match act {
            Act::Cancel => {
                if let (State::Calling, Some(client)) = (self.state, self.client) {
                    self.cancelled = true;
                    tools.endpoint.cancel(client, None, tools.now);
                }
            }
            Act::Bye => self.hang_up(tools),
            Act::Offer(change) => self.offer(Some(change), tools),
            Act::Ask => self.offer(None, tools),
            Act::Withdraw => {
                if let Exchange::Sent { client, .. } = self.exchange {
                    tools.endpoint.cancel(client, None, tools.now);
                }
            }
            Act::Tell(method) => {
                if self.state == State::Up {
                    let method = Method::from_bytes(method.as_bytes());
                    let (draft, _) = self.dialog.request(method);
                    self.start(draft, None, Errand::Tell, tools);
                }
            }
            Act::Refer => {
                if self.state == State::Up {
                    let (mut draft, _) = self.dialog.request(Method::Refer);
                    let to = tools.site.refer_to(self.call);
                    draft.push(HeaderId::ReferTo, to).push(HeaderId::ReferredBy, REFERRED_BY);
                    self.start(draft, None, Errand::Tell, tools);
                }
            }
            // Begins another session: the agent's.
            Act::Replace => {}
            Act::Forget => {
                if self.state == State::Up {
                    self.state = State::Forgotten;
                    self.exchange = Exchange::Idle;
                    self.later.clear();
                }
            }
        }
    }

    /// Ends an answered session; the called side waits for the ACK first.
    pub(super) fn hang_up(&mut self, tools: &mut Tools<'_>) {
        if self.state != State::Up {
            return;
        }
        match &self.exchange {
            Exchange::Answered(answered)
                if !self.calls() && answered.cseq == self.invite_cseq() =>
            {
                self.held = true;
                return;
            }
            Exchange::Thinking { server, message, .. } => {
                let draft = self.response(message, 487, tools.site);
                tools.endpoint.respond(*server, draft, tools.now);
            }
            Exchange::Idle | Exchange::Sent { .. } | Exchange::Answered(_) => {}
        }
        self.over();
        let (draft, _) = self.dialog.request(Method::Bye);
        self.start(draft, None, Errand::Bye, tools);
    }

    fn invite_cseq(&self) -> u32 {
        self.invite.as_ref().map_or(0, |(_, invite)| invite.cseq())
    }

    fn over(&mut self) {
        self.state = State::Over;
        self.later.clear();
        if !matches!(self.exchange, Exchange::Sent { .. }) {
            self.exchange = Exchange::Idle;
        }
    }

    /// Tells how the call fares that the gateway asked us to make.
    fn notify(&mut self, status: u16, tools: &mut Tools<'_>) {
        if self.state != State::Up {
            return;
        }
        let (mut draft, _) = self.dialog.request(Method::Notify);
        let state = if status < 200 { "active;expires=60" } else { "terminated;reason=noresource" };
        draft.push(HeaderId::Event, "refer").push(HeaderId::SubscriptionState, state);
        draft.body("message/sipfrag;version=2.0", format!("SIP/2.0 {status} X\r\n"));
        self.start(draft, None, Errand::Notify, tools);
    }

    /// Offers a change, or asks for an offer.
    fn offer(&mut self, change: Option<Change>, tools: &mut Tools<'_>) {
        if self.state != State::Up || !self.is_idle() {
            return;
        }
        self.before = Some(self.talk.clone());
        let offer = change.map(|change| self.talk.offer(change));
        let (draft, _) = self.dialog.request(Method::Invite);
        let client = self.start(draft, offer.clone(), Errand::Offer, tools);
        self.exchange = Exchange::Sent { client, offer };
    }

    /// Sends a request in a transaction.
    fn start(
        &self,
        mut draft: Draft,
        sdp: Option<Bytes>,
        errand: Errand,
        tools: &mut Tools<'_>,
    ) -> ClientId {
        draft
            .push(HeaderId::Contact, tools.site.contact.clone())
            .push(HeaderId::Supported, "timer");
        if let Some(sdp) = sdp {
            draft.body(SDP, sdp);
        }
        let (target, sent_by) = (tools.site.target(), tools.site.sent_by.clone().into());
        let request = Request { draft, target, sent_by, timeout: None };
        let owner = Owner(u64::try_from(self.index).unwrap());
        let client = tools.endpoint.request(owner, 0, request, tools.now);
        tools.clients.insert(client, (self.index, errand));
        client
    }

    fn response(&self, request: &Message, status: u16, site: &Site) -> Draft {
        let mut draft = Draft::response(request, status);
        draft.set_to_tag(&self.dialog.id.local_tag);
        draft.push(HeaderId::Contact, site.contact.clone());
        draft
    }

    fn reply(&self, server: ServerId, request: &Message, status: u16, tools: &mut Tools<'_>) {
        let mut draft = self.response(request, status, tools.site);
        if status == 500 {
            draft.push(HeaderId::RetryAfter, "2");
        }
        tools.endpoint.respond(server, draft, tools.now);
    }

    fn await_ack(
        &mut self,
        server: ServerId,
        cseq: u32,
        draft: Draft,
        offer: Option<Bytes>,
        tools: &mut Tools<'_>,
    ) {
        let now = tools.now;
        tools.endpoint.respond(server, draft.clone(), now);
        let end = now + 64 * T1;
        let answered = Answered { cseq, server, draft, offer, next: now + T1, wait: T1, end };
        self.exchange = Exchange::Answered(Box::new(answered));
    }
}

/// What the gateway sends to a session is in here.
mod inputs;

const REFERRED_BY: &str = "<sip:sip.teams.test:5061;x-m=8:orgid:9A8b;x-ti=cOrr>";
const SDP: &str = "application/sdp";
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
