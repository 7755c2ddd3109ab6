//! A simulated peer: a place with addresses, its transactions, and its side of every call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use sip_stack::dialog::Dialog;
use sip_stack::endpoint::{ClientId, Endpoint, Output, ServerId, Settings};
use sip_stack::leg::Extra;
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::{LocalId, Source, Target, Transport};

use super::dice::Dice;
use super::line::listener;
use super::script::{Act, CallScript, Program, Role};
use super::session::{Errand, Session, State, Tools};
use super::talk::Talk;

/// Where a peer is, and how it shows.
pub(super) struct Site {
    pub(super) name: &'static str,
    /// Its addresses; it sends from the first one.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) transport: Transport,
    /// The identity of the gateway that it speaks to.
    local: LocalId,
    pub(super) contact: Bytes,
    pub(super) sent_by: String,
    /// The host in From and To.
    host: &'static str,
}

/// A peer.
pub(super) struct Agent {
    pub(super) site: Site,
    pub(super) endpoint: Endpoint,
    pub(super) sessions: Vec<Session>,
    clients: BTreeMap<ClientId, (usize, Errand)>,
    /// How often each call was tried here, and its target.
    tries: BTreeMap<(usize, Role), usize>,
    pub(super) faults: Vec<String>,
}

impl Site {
    /// The proxies of the phone system: one behind all addresses.
    pub(super) fn proxies() -> Self {
        Self {
            name: "teams",
            addresses: vec![([127, 0, 0, 20], 5061).into(), ([127, 0, 0, 21], 5061).into()],
            transport: Transport::Tls,
            local: LocalId(0),
            contact: Bytes::from_static(
                b"<sip:api-du-a.pstnhub.test:443;x-i=0900a0b8-ffff-4f45-b1bd-000000000001;x-c=a/s/1/b>",
            ),
            sent_by: "sip-du-a.pstnhub.test:5061".to_owned(),
            host: "sip.teams.test",
        }
    }

    /// The peer of a trunk.
    pub(super) fn trunk(name: &'static str, host: &'static str, transport: Transport) -> Self {
        let address: SocketAddr = format!("{host}:5070").parse().unwrap();
        let parameter = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
        Self {
            name,
            addresses: vec![address],
            transport,
            local: LocalId(1),
            contact: format!("<sip:{host}:5070{parameter}>").into(),
            sent_by: format!("{host}:5070"),
            host,
        }
    }

    /// The gateway.
    pub(super) fn target(&self) -> Target {
        let remote = listener(self.local);
        let local = LocalId(0);
        Target { transport: self.transport, local, remote, name: None, flow: None }
    }

    /// Whom a REFER in that call asks for, as that place has to write it.
    pub(super) fn refer_to(&self, call: usize) -> String {
        match self.name {
            "teams" => {
                format!("<sip:+44207946005{call}@sip.teams.test:5061;user=phone;transport=tls>")
            }
            "carrier-a" => format!("<sip:+44207946005{call}@127.0.0.10>"),
            "carrier-b" => format!("<sip:+1202555015{call}@127.0.0.10>"),
            _ => format!("<sip:+3312345675{call}@127.0.0.10>"),
        }
    }

    fn talk(&self, call: usize, more: usize) -> Talk {
        let number = u16::try_from(call * 8 + more).unwrap();
        let host = self.addresses[0].ip().to_string();
        Talk::new(host, self.transport == Transport::Tls, 30000 + 4 * number, number as u8)
    }
}

impl Agent {
    pub(super) fn new(site: Site, number: u8, dice: &mut Dice) -> Self {
        let settings = Settings { node: 100 + number, mask: [number; 32], ..Settings::default() };
        let mut seed = [0; 32];
        seed.iter_mut().for_each(|byte| *byte = dice.next() as u8);
        Self {
            site,
            endpoint: Endpoint::new(settings, seed),
            sessions: Vec::new(),
            clients: BTreeMap::new(),
            tries: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().filter_map(Session::poll_timeout);
        sessions.chain(self.endpoint.poll_timeout()).min()
    }

    /// Lets one session work.
    fn with(
        &mut self,
        at: usize,
        now: Instant,
        dice: &mut Dice,
        work: impl FnOnce(&mut Session, &mut Tools<'_>),
    ) {
        let Self { site, endpoint, sessions, clients, faults, .. } = self;
        let mut tools = Tools { now, site, endpoint, dice, clients, faults };
        work(&mut sessions[at], &mut tools);
    }

    /// Begins a call.
    pub(super) fn call(&mut self, number: usize, call: &CallScript, now: Instant, dice: &mut Dice) {
        let expires = call.expires.map(|value| (HeaderId::SessionExpires, value.into()));
        let extra: Vec<Extra> = expires.into_iter().collect();
        self.invite((number, Role::Caller), call, &extra, now, dice);
    }

    /// Calls once more, to take the place of a session that is up.
    fn replace(&mut self, at: usize, call: &CallScript, now: Instant, dice: &mut Dice) {
        let session = &self.sessions[at];
        if session.state != State::Up {
            return;
        }
        let id = &session.dialog.id;
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let (to, from) = (text(&id.remote_tag), text(&id.local_tag));
        let replaces = format!("{};to-tag={to};from-tag={from}", text(&id.call_id));
        let extra = [
            (HeaderId::Replaces, replaces.into()),
            (HeaderId::Require, Bytes::from_static(b"replaces")),
        ];
        self.invite((session.call, Role::Newcomer), call, &extra, now, dice);
    }

    fn invite(
        &mut self,
        who: (usize, Role),
        call: &CallScript,
        extra: &[Extra],
        now: Instant,
        dice: &mut Dice,
    ) {
        let index = self.sessions.len();
        let talk = self.site.talk(who.0, index % 8);
        let Self { site, endpoint, clients, faults, .. } = self;
        let local = format!("<sip:{}@{}>", call.caller, site.host);
        let host = if site.local == LocalId(0) { "t001.sbc.test" } else { "127.0.0.10" };
        let uri = match site.local {
            LocalId(0) => format!("sip:{}@{host}:5061;user=phone;transport=tls", call.called),
            LocalId(_) => format!("sip:{}@{host}:5060", call.called),
        };
        let remote = format!("<sip:{}@{host}>", call.called);
        let dialog = Dialog::calling(
            endpoint.new_call_id(),
            endpoint.new_tag(),
            local.into(),
            remote.into(),
            uri.into(),
            site.target(),
        );
        let mut tools = Tools { now, site, endpoint, dice, clients, faults };
        let what = (call.offers, extra);
        let session = Session::calling(index, who, dialog, talk, what, &mut tools);
        self.sessions.push(session);
    }

    /// The session of that call in that role: the one that is up, if there is one.
    pub(super) fn session(&self, number: usize, role: Role) -> Option<usize> {
        let of_call = |s: &Session| s.call == number && s.role == role;
        let up = self.sessions.iter().position(|s| of_call(s) && s.state == State::Up);
        up.or_else(|| self.sessions.iter().position(of_call))
    }

    /// Does what the script says in a session.
    pub(super) fn act(
        &mut self,
        at: usize,
        act: Act,
        calls: &[CallScript],
        now: Instant,
        dice: &mut Dice,
    ) {
        if matches!(act, Act::Replace) {
            let call = &calls[self.sessions[at].call];
            return self.replace(at, call, now, dice);
        }
        self.with(at, now, dice, |session, tools| session.act(act, tools));
    }

    /// Hangs up whatever is up.
    pub(super) fn hang_up_all(&mut self, now: Instant, dice: &mut Dice) {
        for at in 0..self.sessions.len() {
            self.with(at, now, dice, |session, tools| {
                session.act(Act::Cancel, tools);
                session.hang_up(tools);
            });
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, dice: &mut Dice) {
        self.endpoint.handle_timeout(now);
        for at in 0..self.sessions.len() {
            if self.sessions[at].poll_timeout().is_some_and(|due| due <= now) {
                self.with(at, now, dice, Session::handle_timeout);
            }
        }
    }

    /// Passes on what the endpoint has to say; what it sends is returned.
    pub(super) fn settle(
        &mut self,
        calls: &[CallScript],
        now: Instant,
        dice: &mut Dice,
    ) -> Vec<(Target, Bytes)> {
        let mut sends = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { target, bytes, .. } => sends.push((target, bytes)),
                Output::Request { server, source, message } => {
                    self.request(server, &source, &message, calls, now, dice);
                }
                Output::Cancelled { server, .. } => {
                    for at in 0..self.sessions.len() {
                        self.with(at, now, dice, |s, tools| s.handle_cancelled(server, tools));
                    }
                }
                Output::Ack { message, .. } => {
                    if let Some(at) = self.session_of(&message) {
                        self.with(at, now, dice, |s, tools| s.handle_ack(&message, tools));
                    }
                }
                Output::Response { client, source, message, .. } => {
                    if let Some((at, errand)) = self.clients.get(&client).copied() {
                        self.with(at, now, dice, |s, tools| {
                            s.handle_response(errand, &source, &message, tools);
                        });
                    }
                }
                Output::Stray { message, .. } => {
                    for at in 0..self.sessions.len() {
                        if self.sessions[at].dialog.id.call_id == message.call_id() {
                            self.with(at, now, dice, |s, tools| {
                                s.acknowledged(&message, tools);
                            });
                        }
                    }
                }
                Output::Failed { client, .. } => {
                    if let Some((at, errand)) = self.clients.get(&client).copied() {
                        self.with(at, now, dice, |s, tools| s.handle_failed(errand, tools));
                    }
                }
            }
        }
        sends
    }

    fn session_of(&self, request: &Message) -> Option<usize> {
        let tag = request.to_tag()?;
        self.sessions.iter().position(|session| {
            session.dialog.id.local_tag == tag && session.dialog.id.call_id == request.call_id()
        })
    }

    fn request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        calls: &[CallScript],
        now: Instant,
        dice: &mut Dice,
    ) {
        if let Some(at) = self.session_of(message) {
            return self.with(at, now, dice, |session, tools| {
                session.handle_request(server, source, message, tools);
            });
        }
        let status = match message.method() {
            method if *method == Method::Options && message.to_tag().is_none() => 200,
            method if *method == Method::Invite && message.to_tag().is_none() => {
                return self.ring(server, source, message, calls, now);
            }
            _ => 481,
        };
        let mut draft = Draft::response(message, status);
        draft.set_to_tag(&self.endpoint.new_tag());
        self.endpoint.respond(server, draft, now);
    }

    /// An INVITE comes: every fork of the program has a session.
    fn ring(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        calls: &[CallScript],
        now: Instant,
    ) {
        let (number, role) = called(message);
        let Some(call) = calls.get(number) else {
            self.faults.push(format!("an INVITE to nobody: {}", first_line(message)));
            return;
        };
        let tried = self.tries.entry((number, role)).or_default();
        *tried += 1;
        let programs = if role == Role::Target { &call.target } else { &call.programs };
        let program: &Program = &programs[(*tried - 1).min(programs.len() - 1)];
        for steps in &program.forks {
            let name = |id| without_tag(message.value(id).unwrap_or_default());
            let (tag, from) = (self.endpoint.new_tag(), name(HeaderId::From));
            let dialog = Dialog::uas(message, source, tag, name(HeaderId::To), from);
            let index = self.sessions.len();
            let talk = self.site.talk(number, index % 8);
            let (invite, plan) = ((server, message), (&steps[..], program.expires));
            let who = (number, role);
            self.sessions.push(Session::called(index, who, dialog, talk, invite, plan, now));
        }
    }
}

/// Whom an INVITE is for: the number of a call in the script is the last digit, and the one before it is 5 for the target
/// of a transfer.
pub(super) fn called(message: &Message) -> (usize, Role) {
    let uri = String::from_utf8_lossy(message.uri()).into_owned();
    let user = uri.split(['@', ';']).next().unwrap_or_default();
    let mut digits = user.bytes().rev();
    let number = digits.next().map_or(usize::MAX, |digit| usize::from(digit.wrapping_sub(b'0')));
    (number, if digits.next() == Some(b'5') { Role::Target } else { Role::Callee })
}

pub(super) fn first_line(message: &Message) -> String {
    let raw = String::from_utf8_lossy(message.raw());
    raw.lines().next().unwrap_or_default().to_owned()
}

fn without_tag(value: &[u8]) -> Bytes {
    let end = value.windows(5).position(|part| part == b";tag=").unwrap_or(value.len());
    Bytes::copy_from_slice(&value[..end])
}
