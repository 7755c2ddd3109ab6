//! The gateway's whole core, its peers and the line between them on one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::{EarlyMedia, Refer};
use media_relay::{End, SessionId, Sound};
use sip_stack::locate::{Answer, Record};
use sip_stack::message::{HeaderId, Message, Method};
use sip_stack::transport::Transport;

use super::super::{Opened, Output, World, assert_no_forbidden_forms, config, routes};
use super::agent::{Agent, Site, first_line};
use super::dice::Dice;
use super::line::{Arrival, Line, Mood};
use super::script::{Event, Role, Script};
use super::witness::Witness;
use crate::call::CallKey;
use crate::event::Refusal;
use crate::routing::Routes;

/// Everything of one seed.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) line: Line,
    pub(super) agents: Vec<Agent>,
    pub(super) witness: Witness,
    pub(super) script: Script,
    dice: Dice,
    start: Instant,
    events: BTreeMap<(Instant, usize), Event>,
    /// By Call-ID: the call in the script, and the side.
    sides: BTreeMap<Bytes, (usize, Role)>,
    pub(super) deaf: BTreeSet<(usize, Role)>,
    /// What the relay has given up.
    pub(super) given: BTreeSet<SessionId>,
    /// What happened, if anybody wants to know.
    trace: Option<Vec<String>>,
}

impl Stage {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let script = Script::draw(&mut dice);
        let trunks = if script.tcp { Transport::Tcp } else { Transport::Udp };
        let sites = [
            Site::proxies(),
            Site::trunk("carrier-a", "127.0.0.50", trunks),
            Site::trunk("carrier-b", "127.0.0.51", trunks),
            Site::trunk("centre", "127.0.0.52", trunks),
        ];
        let mut world = World::of(tables(&script), 1, dice.next());
        world.silent_relay = script.silent_relay;
        let start = world.now;
        let events = script.events.iter().enumerate();
        let mut stage = Self {
            events: events.map(|(at, (after, event))| ((start + *after, at), *event)).collect(),
            world,
            line: Line::new(script.weather),
            agents: (1..).zip(sites).map(|(at, site)| Agent::new(site, at, &mut dice)).collect(),
            witness: Witness::default(),
            script,
            dice,
            start,
            sides: BTreeMap::new(),
            deaf: BTreeSet::new(),
            given: BTreeSet::new(),
            trace: traced.then(Vec::new),
        };
        stage.drain();
        stage
    }

    pub(super) const fn now(&self) -> Instant {
        self.world.now
    }

    /// When the last thing of the script happens.
    pub(super) fn last_event(&self) -> Duration {
        self.script.events.iter().map(|(at, _)| *at).max().unwrap_or_default()
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let at = (self.world.now - self.start).as_millis();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6}.{:03} {}", at / 1000, at % 1000, text()));
        }
    }

    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Lets that much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            let agents = self.agents.iter().filter_map(Agent::poll_timeout);
            let own = [
                self.world.core.poll_timeout(),
                self.line.poll_timeout(),
                self.events.keys().next().map(|(at, _)| *at),
            ];
            let Some(due) = agents.chain(own.into_iter().flatten()).min().filter(|at| *at <= end)
            else {
                break;
            };
            self.world.now = self.world.now.max(due);
            self.serve();
        }
        self.world.now = end;
    }

    /// Serves everything that is due.
    fn serve(&mut self) {
        let now = self.world.now;
        while let Some(arrival) = self.line.take_due(now) {
            self.arrive(arrival);
        }
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now) {
            let event = entry.remove();
            self.note(|| format!("-- {event:?}"));
            self.befall(event);
        }
        if self.world.core.poll_timeout().is_some_and(|due| due <= now) {
            self.world.core.handle_timeout(now);
            self.drain();
        }
        for at in 0..self.agents.len() {
            if self.agents[at].poll_timeout().is_some_and(|due| due <= now) {
                self.agents[at].handle_timeout(now, &mut self.dice);
                self.settle(at);
            }
        }
    }

    /// Something arrives at the gateway or at a peer.
    fn arrive(&mut self, arrival: Arrival) {
        let now = self.world.now;
        match arrival {
            Arrival::ToGateway(source, message) => {
                if self.is_deaf(&message) {
                    return;
                }
                self.note(|| format!("  > {} {}", source.remote, show(&message)));
                self.witness.heard(&message, now);
                let raw = message.raw().clone();
                if self.world.core.sort(&source, &raw, now).is_some() {
                    self.world.core.handle_message(source, message, now);
                }
            }
            Arrival::ToPeer(source, message) => {
                let ip = source.local_addr.ip();
                let of_peer = |agent: &Agent| agent.site.addresses.iter().any(|a| a.ip() == ip);
                let at = self.agents.iter().position(of_peer);
                let Some(at) = at.filter(|_| !self.is_deaf(&message)) else { return };
                self.note(|| format!("  < {ip} {}", show(&message)));
                self.witness.arrived(&message);
                self.agents[at].endpoint.handle_message(source, message, now);
                return self.settle(at);
            }
            Arrival::Opened(flow) => {
                let connection = &self.line.connections[&flow];
                let (local, remote, inbound) =
                    (connection.local, connection.remote, connection.inbound);
                self.note(|| format!("  = connection {} with {remote}", flow.0));
                self.world.core.handle_opened(flow, Opened { local, remote, inbound }, now);
            }
            Arrival::Refused(remote) => {
                self.note(|| format!("  = no connection to {remote}"));
                self.world.core.handle_refused(Refusal::Dial, remote, now);
            }
            Arrival::Closed(flow) => {
                self.note(|| format!("  = connection {} is gone", flow.0));
                let unsent = self.line.noticed(flow);
                self.world.core.handle_closed(flow, now);
                for send in unsent {
                    self.drain();
                    self.world.core.handle_send_failed(send, now);
                }
            }
        }
        self.drain();
    }

    /// Something of the script happens.
    fn befall(&mut self, event: Event) {
        let now = self.world.now;
        match event {
            Event::Call(number) => {
                let from = self.script.calls[number].from;
                let call = &self.script.calls[number];
                self.agents[from].call(number, call, now, &mut self.dice);
                self.settle(from);
            }
            Event::Act(number, role, act) => {
                let found = self.agents.iter().enumerate();
                let mut found =
                    found.filter_map(|(at, agent)| Some((at, agent.session(number, role)?)));
                if let Some((at, session)) = found.next() {
                    self.agents[at].act(session, act, &self.script.calls, now, &mut self.dice);
                    self.settle(at);
                }
            }
            Event::Deaf(number, role) => {
                self.deaf.insert((number, role));
            }
            Event::Break(at) => {
                let ips: Vec<_> = self.agents[at].site.addresses.iter().map(|a| a.ip()).collect();
                let flows: Vec<_> = ips.into_iter().flat_map(|ip| self.line.of(ip)).collect();
                if !flows.is_empty() {
                    let flow = self.dice.pick(&flows);
                    self.line.break_down(flow, now, &mut self.dice);
                }
            }
            Event::Mood(ip, mood) => {
                self.line.moods.insert(ip, mood);
            }
            Event::Dead(number, role) => {
                if let Some(session) = self.session(number) {
                    let mut sides = [Sound::Heard; 2];
                    sides[usize::from(role == Role::Callee)] = Sound::Dead;
                    let event = media_relay::Event::Sound { session, sides };
                    self.world.core.handle_media(event, now);
                    self.drain();
                }
            }
            Event::Given(number) => {
                if let Some(session) = self.session(number) {
                    self.given.insert(session);
                    let (why, stats) = (End::Failed, Box::default());
                    let event = media_relay::Event::Ended { session, why, stats };
                    self.world.core.handle_media(event, now);
                    self.drain();
                }
            }
        }
    }

    /// The media of a call, once the relay knows of them.
    fn session(&self, number: usize) -> Option<SessionId> {
        let of_call = |call_id: &Bytes| self.sides.get(call_id) == Some(&(number, Role::Caller));
        let mut legs = self.world.core.slots.legs();
        let (CallKey(key), _) = legs.find(|(_, leg)| of_call(leg.call_id()))?;
        let session = SessionId(key);
        self.world.core.slots.shard(CallKey(key)).map(|_| session)
    }

    /// The script is over: whoever can, hangs up, and all addresses take connections again.
    pub(super) fn finish(&mut self) {
        self.note(|| "-- all hang up".to_owned());
        self.line.moods.values_mut().for_each(|mood| *mood = Mood::Open);
        for at in 0..self.agents.len() {
            self.agents[at].hang_up_all(self.world.now, &mut self.dice);
            self.settle(at);
        }
    }

    /// Passes on what the gateway has to say.
    fn drain(&mut self) {
        while let Some(output) = self.world.core.poll_output() {
            let now = self.world.now;
            if let Output::Send { id, target, bytes } = output {
                assert_no_forbidden_forms(&target, &String::from_utf8_lossy(&bytes));
                let message = Message::parse(bytes).unwrap();
                self.learn(&message, true);
                self.note(|| format!("<   {} {}", target.remote, show(&message)));
                self.witness.sent(&message, now);
                self.line.send_to_peer(id, &target, message, now, &mut self.dice);
            } else {
                self.world.take(output);
            }
        }
        for flow in std::mem::take(&mut self.world.retired) {
            self.line.retire(flow);
        }
        for flow in std::mem::take(&mut self.world.closed) {
            self.line.close(flow, self.world.now);
        }
        while let Some((query, ..)) = self.world.queries.pop_front() {
            let found = Answer::Found {
                records: vec![Record::Address([127, 0, 0, 20].into())],
                ttl: Duration::from_secs(60),
            };
            let nothing = Answer::Nothing { ttl: Duration::ZERO };
            let answer = match self.dice.between(0, 9) {
                0 => Answer::Failed,
                1 => nothing,
                _ => found,
            };
            self.world.core.handle_answer(query, answer, self.world.now);
            self.drain();
        }
    }

    /// Passes on what a peer has to say.
    fn settle(&mut self, at: usize) {
        let now = self.world.now;
        let Self { agents, script, dice, .. } = self;
        let sends = agents[at].settle(&script.calls, now, dice);
        let from = self.agents[at].site.addresses[0];
        for (target, bytes) in sends {
            let message = Message::parse(bytes).unwrap();
            self.learn(&message, false);
            self.note(|| format!(">   {from} {}", show(&message)));
            self.line.send_to_gateway(from, &target, message, now, &mut self.dice);
        }
    }

    /// Remembers whose a Call-ID is.
    fn learn(&mut self, message: &Message, ours: bool) {
        let begins = message.is_request() && message.to_tag().is_none();
        if begins && *message.method() == Method::Invite {
            let (number, role) = super::agent::called(message);
            let role = match message.value(HeaderId::Replaces) {
                _ if ours => role,
                Some(_) => Role::Newcomer,
                None => Role::Caller,
            };
            self.sides.entry(message.slice(message.call_id())).or_insert((number, role));
        }
    }

    fn is_deaf(&self, message: &Message) -> bool {
        let side = self.sides.get(message.call_id());
        side.is_some_and(|side| self.deaf.contains(side))
    }
}

/// The tables of the configuration in each of its forms, made once.
fn tables(script: &Script) -> Arc<Routes> {
    static TABLES: Mutex<Vec<(Form, Arc<Routes>)>> = Mutex::new(Vec::new());
    let form = (script.early, script.refer, script.tcp);
    let mut tables = TABLES.lock().unwrap();
    if let Some((_, made)) = tables.iter().find(|(of, _)| *of == form) {
        return Arc::clone(made);
    }
    let made = routes(configured(form));
    tables.push((form, Arc::clone(&made)));
    made
}

type Form = (EarlyMedia, Refer, bool);

fn configured((early, refer, tcp): Form) -> config::Config {
    let mut config = config();
    for trunk in &mut config.trunks {
        (trunk.early_media, trunk.refer) = (early, refer);
        // What nobody is left to end, ends by this.
        trunk.max_duration = Some(LONGEST_CALL);
        if tcp {
            trunk.peers[0].transport = config::Transport::Tcp;
        }
    }
    config
}

/// A message in a line of the trace.
fn show(message: &Message) -> String {
    let call_id = String::from_utf8_lossy(message.call_id());
    let (id, _) = call_id.split_at(call_id.len().min(6));
    let (method, cseq) = (String::from_utf8_lossy(message.method().as_bytes()), message.cseq());
    let sdp = if message.sdp().is_some() { " +sdp" } else { "" };
    let line = if message.is_request() {
        first_line(message).split(' ').take(2).collect::<Vec<_>>().join(" ")
    } else {
        message.status().to_string()
    };
    let tag =
        message.to_tag().map(|tag| String::from_utf8_lossy(&tag[tag.len().min(20)..]).into_owned());
    format!("{line} ({cseq} {method}, {id}, {}){sdp}", tag.unwrap_or_default())
}

/// Calls that both sides have left without a word.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(1800);
