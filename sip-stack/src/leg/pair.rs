//! Two legs, each over a real endpoint, joined by a network that loses, delays, doubles and
//! reorders datagrams, on virtual time. Owners ring, answer, offer, accept, refuse, cancel and hang
//! up at random times. A failing seed replays.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::random::Random;
use super::rig::{bytes, word};
use super::{Action, Event, Hop, Leg, LegIdentity, Outbox, Outgoing, State, Token};
use crate::endpoint::{ClientId, Endpoint, Output, Owner, Request, Settings};
use crate::message::Message;
use crate::transport::{LocalId, Source, Target, Transport};

/// Chances in a thousand.
#[derive(Clone, Copy)]
struct Network {
    lost: u64,
    doubled: u64,
    /// The longest delay, in milliseconds; any shorter one is as likely, so datagrams overtake.
    delay: u64,
}

struct Side {
    name: &'static str,
    address: SocketAddr,
    endpoint: Endpoint,
    leg: Option<Leg>,
    clients: HashMap<Token, ClientId>,
    /// What the leg did, for the report and the checks.
    log: Vec<String>,
    /// The owner's next number of an SDP.
    version: u32,
    /// An offer of the peer lies with the owner.
    asked: bool,
    /// Whether 18x are reliable: not at all, where the other side has them so, or wherever it can.
    reliable: Option<bool>,
    /// How many final events came, and how many events after one.
    finals: u32,
    late: u32,
}

struct World {
    now: Instant,
    start: Instant,
    sides: [Side; 2],
    /// Datagrams on their way: by time and a number of their own; to whom.
    flying: BTreeMap<(Instant, u64), (usize, Bytes)>,
    sent: u64,
    network: Network,
    random: Random,
}

fn side(name: &'static str, host: u8) -> Side {
    Side {
        name,
        address: SocketAddr::from(([127, 0, 0, host], 5060)),
        endpoint: Endpoint::new(Settings { node: host, ..Settings::default() }, [host; 32]),
        leg: None,
        clients: HashMap::new(),
        log: Vec::new(),
        version: 0,
        asked: false,
        reliable: None,
        finals: 0,
        late: 0,
    }
}

impl Side {
    fn identity(&self) -> LegIdentity {
        LegIdentity {
            local: bytes(&format!("<sip:{}@{}>", self.name, self.address)),
            remote: bytes("<sip:peer@example>"),
            contact: bytes(&format!("<sip:{}@{}>", self.name, self.address)),
            sent_by: bytes(&self.address.to_string()),
            allow: bytes("INVITE, ACK, BYE, CANCEL, OPTIONS"),
            supported: bytes(if self.reliable.is_some() { "timer, 100rel" } else { "timer" }),
            reliable: self.reliable == Some(true),
            agent: Bytes::new(),
            local_id: LocalId(0),
            session_expires: Some(Duration::from_secs(90)),
        }
    }

    fn sdp(&mut self) -> Bytes {
        self.version += 1;
        bytes(&format!("v=0 {} {}", self.name, self.version))
    }

    fn state(&self) -> Option<State> {
        self.leg.as_ref().map(Leg::state)
    }
}

impl World {
    fn new(seed: u64, network: Network) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let now = Instant::now();
        Self {
            now,
            start: now,
            sides: [side("a", 1), side("b", 2)],
            flying: BTreeMap::new(),
            sent: 0,
            network,
            random: Random::new(&seed.to_le_bytes()),
        }
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.random.between(1, 1000) <= per_mille
    }

    /// Calls into one leg, then applies what it asks for.
    fn with(&mut self, at: usize, call: impl FnOnce(&mut Leg, Instant, &mut Outbox)) {
        let mut out = Outbox::new();
        if let Some(leg) = &mut self.sides[at].leg {
            call(leg, self.now, &mut out);
        }
        self.apply(at, out);
    }

    fn apply(&mut self, at: usize, out: Outbox) {
        let remote = self.sides[1 - at].address;
        let now = self.now;
        let mut events = Vec::new();
        let side = &mut self.sides[at];
        let sent_by = bytes(&side.address.to_string());
        let target =
            Target { transport: Transport::Udp, local: LocalId(0), remote, name: None, flow: None };
        for action in out {
            let elapsed = now.duration_since(self.start).as_millis();
            side.log.push(format!("{elapsed} {} {}", side.name, word(&action)));
            match action {
                Action::Request { token, draft, .. } => {
                    let request = Request {
                        draft,
                        target: target.clone(),
                        sent_by: sent_by.clone(),
                        timeout: None,
                    };
                    let client = side.endpoint.request(Owner(1), token.0, request, now);
                    side.clients.insert(token, client);
                }
                Action::Ack { draft, .. } => {
                    side.endpoint.send(target.clone(), sent_by.clone(), draft, now);
                }
                Action::Respond { server, draft } => side.endpoint.respond(server, draft, now),
                Action::Cancel { token, reason } => {
                    side.endpoint.cancel(side.clients[&token], reason, now);
                }
                Action::Event(event) => events.push(event),
            }
        }
        for event in events {
            self.event(at, &event);
        }
        self.drain(at);
    }

    fn event(&mut self, at: usize, event: &Event) {
        let side = &mut self.sides[at];
        side.late += side.finals;
        match event {
            Event::Rejected { .. } | Event::Ended { .. } | Event::Cancelled { .. } => {
                side.finals += 1;
            }
            Event::Offer { .. } => {
                assert!(!side.asked, "one offer at a time");
                side.asked = true;
            }
            Event::OfferWithdrawn => side.asked = false,
            Event::Answer { .. }
            | Event::Refreshed { .. }
            | Event::OfferRefused { .. }
            | Event::Referred { .. }
            | Event::Provisional { .. }
            | Event::Answered { .. }
            | Event::Confirmed
            | Event::Request { .. } => {}
        }
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.sides[at].endpoint.poll_output() {
            match output {
                Output::Send { bytes, .. } => self.send(1 - at, bytes),
                Output::Request { server, source, message } => {
                    if self.sides[at].leg.is_none() && message.to_tag().is_none() {
                        let tag = self.sides[at].endpoint.new_tag();
                        let identity = self.sides[at].identity();
                        assert!(Leg::refusal(&message, &identity).is_none());
                        let leg = Leg::incoming(server, &message, &source, identity, tag);
                        self.sides[at].leg = Some(leg);
                    } else {
                        self.with(at, |leg, now, out| {
                            leg.handle_request(server, &source, &message, now, out);
                        });
                    }
                }
                Output::Cancelled { message, .. } => {
                    self.with(at, |leg, now, out| leg.handle_cancelled(&message, now, out));
                }
                Output::Ack { source, message } => {
                    self.with(at, |leg, now, out| leg.handle_ack(&source, &message, now, out));
                }
                Output::Response { token, source, message, .. } => {
                    self.with(at, |leg, now, out| {
                        leg.handle_response(Token(token), &source, &message, now, out);
                    })
                }
                Output::Stray { .. } => {}
                Output::Failed { token, why, .. } => {
                    self.with(at, |leg, now, out| leg.handle_failed(Token(token), why, now, out));
                }
            }
        }
    }

    fn send(&mut self, to: usize, bytes: Bytes) {
        if self.chance(self.network.lost) {
            return;
        }
        let copies = if self.chance(self.network.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = Duration::from_millis(self.random.between(1, self.network.delay));
            self.sent += 1;
            self.flying.insert((self.now + delay, self.sent), (to, bytes.clone()));
        }
    }

    fn call(&mut self, offer: bool) {
        let side = &mut self.sides[0];
        let call = Outgoing {
            identity: side.identity(),
            call_id: side.endpoint.new_call_id(),
            local_tag: side.endpoint.new_tag(),
            request_uri: bytes("sip:b@127.0.0.2"),
            offer: offer.then(|| side.sdp()),
            beside: Vec::new(),
            extra: Vec::new(),
            further: Vec::new(),
            max_forwards: 70,
            hop: Hop::Target(Target {
                transport: Transport::Udp,
                local: LocalId(0),
                remote: SocketAddr::from(([127, 0, 0, 2], 5060)),
                name: None,
                flow: None,
            }),
        };
        let mut out = Outbox::new();
        self.sides[0].leg = Some(Leg::outgoing(call, &mut out));
        self.apply(0, out);
    }

    /// Serves what is due until that time.
    fn run_until(&mut self, end: Instant) {
        loop {
            let flying = self.flying.keys().next().map(|(at, _)| *at);
            let timers = self.sides.iter().flat_map(|side| {
                [side.endpoint.poll_timeout(), side.leg.as_ref().and_then(Leg::poll_timeout)]
            });
            let Some(at) = timers.chain([flying]).flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            while let Some(entry) = self.flying.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, bytes) = entry.remove();
                self.deliver(to, bytes);
            }
            for at in 0..2 {
                self.sides[at].endpoint.handle_timeout(self.now);
                self.drain(at);
                self.with(at, Leg::handle_timeout);
            }
        }
        self.now = end;
    }

    fn run(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    fn deliver(&mut self, to: usize, bytes: Bytes) {
        let source = Source {
            transport: Transport::Udp,
            local: LocalId(0),
            local_addr: self.sides[to].address,
            remote: self.sides[1 - to].address,
            flow: None,
        };
        let message = Message::parse(bytes).unwrap();
        self.sides[to].endpoint.handle_message(source, message, self.now);
        self.drain(to);
    }

    /// An owner does something that it may do now.
    fn act(&mut self, at: usize) {
        let sdp = self.sides[at].sdp();
        let dice = self.random.between(0, 99);
        let asked = std::mem::take(&mut self.sides[at].asked);
        self.with(at, |leg, now, out| match (leg.state(), dice) {
            (State::Invited, 0..40) => leg.ring(180, None, &[], now, out),
            (State::Invited, 40..50) => leg.ring(183, Some(sdp), &[], now, out),
            (State::Invited, 50..90) => leg.answer(sdp, &[], now, out),
            (State::Invited, _) => leg.reject(486, None, &[], out),
            (State::Inviting, 0..10) => leg.cancel(None, now, out),
            (_, 10..20) if asked => leg.refuse_offer(488, now, out),
            (_, 20..) if asked => leg.accept_offer(sdp, now, out),
            (_, 0..3) => leg.bye(&[], now, out),
            (_, 60..) => leg.offer(sdp, now, out),
            (_, _) => {}
        });
        // An offerless INVITE of ours was answered: the owner gives its answer.
        self.with(at, |leg, now, out| {
            if leg.is_caller() && leg.local_sdp().is_none() {
                leg.accept_offer(bytes("v=0 a first"), now, out);
            }
        });
    }

    fn log(&self) -> String {
        let mut log: Vec<&String> = self.sides.iter().flat_map(|side| &side.log).collect();
        log.sort_by_key(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap());
        log.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Both sides agree on what was agreed, when neither has anything open.
    fn check_agreement(&self, seed: u64) {
        let [a, b] = &self.sides;
        if let (Some(a), Some(b)) = (&a.leg, &b.leg)
            && a.state() == State::Confirmed
            && b.state() == State::Confirmed
        {
            assert_eq!(a.local_sdp(), b.remote_sdp(), "seed {seed}\n{}", self.log());
            assert_eq!(b.local_sdp(), a.remote_sdp(), "seed {seed}\n{}", self.log());
        }
    }
}

fn play(seed: u64, network: Network) -> (World, bool) {
    let mut world = World::new(seed, network);
    for (side, way) in world.sides.iter_mut().zip([seed / 3, seed]) {
        side.reliable = [None, Some(false), Some(true)][(way % 3) as usize];
    }
    // Who requires it of somebody that has none of it is refused.
    if world.sides[1].reliable.is_none() {
        world.sides[0].reliable = world.sides[0].reliable.and(Some(false));
    }
    let offer = world.chance(850);
    world.call(offer);
    let mut talked = false;
    for _ in 0..world.random.between(5, 60) {
        let pause = Duration::from_millis(world.random.between(1, 3000));
        world.run(pause);
        let at = usize::from(world.chance(500));
        world.act(at);
        talked |= world.sides[0].state() == Some(State::Confirmed);
    }
    // Owners settle what lies with them, then leave the line alone.
    for _ in 0..40 {
        world.run(Duration::from_secs(5));
        for at in 0..2 {
            if std::mem::take(&mut world.sides[at].asked) {
                let sdp = world.sides[at].sdp();
                world.with(at, |leg, now, out| leg.accept_offer(sdp, now, out));
            }
        }
    }
    world.check_agreement(seed);
    for at in 0..2 {
        world.with(at, |leg, now, out| leg.bye(&[], now, out));
    }
    world.run(Duration::from_secs(200));
    (world, talked)
}

fn check_end(world: &World, seed: u64) {
    for side in &world.sides {
        let Some(leg) = &side.leg else { continue };
        assert!(leg.is_ended(), "seed {seed}: {}\n{}", side.name, world.log());
        assert_eq!(side.finals, 1, "seed {seed}: {}\n{}", side.name, world.log());
        assert_eq!(side.late, 0, "seed {seed}: {}\n{}", side.name, world.log());
        assert_eq!(leg.poll_timeout(), None);
        assert_eq!(side.endpoint.transactions(), (0, 0), "seed {seed}\n{}", world.log());
    }
}

#[test]
fn r20_calls_end_and_agree_whatever_the_network_does() {
    // `TRUNKGATE_SEEDS` may ask for more.
    let all = std::env::var("TRUNKGATE_SEEDS").map_or(10_000, |text| text.parse::<u64>().unwrap());
    for (network, seeds) in [
        (Network { lost: 0, doubled: 0, delay: 20 }, 0..all * 3 / 10),
        (Network { lost: 50, doubled: 30, delay: 200 }, all * 3 / 10..all * 8 / 10),
        (Network { lost: 250, doubled: 100, delay: 1500 }, all * 8 / 10..all),
    ] {
        let (mut talked, mut acknowledged) = (0, 0);
        for seed in seeds.clone() {
            let (world, confirmed) = play(seed, network);
            check_end(&world, seed);
            let log = world.sides.iter().flat_map(|side| &side.log);
            acknowledged += log.filter(|line| line.contains(" 200 PRACK")).count();
            talked += u64::from(confirmed);
        }
        assert!(talked > (seeds.end - seeds.start) / 4, "most calls come about: {talked}");
        assert!(acknowledged > 0, "some ringing is reliable");
    }
}

#[test]
fn quiet_network_call() {
    let mut world = World::new(1, Network { lost: 0, doubled: 0, delay: 1 });
    world.call(true);
    world.run(Duration::from_millis(10));
    world.with(1, |leg, now, out| leg.ring(180, None, &[], now, out));
    world.run(Duration::from_secs(1));
    world.with(1, |leg, now, out| leg.answer(bytes("v=0 b 1"), &[], now, out));
    world.run(Duration::from_secs(1));
    assert_eq!(world.sides[0].state(), Some(State::Confirmed));
    assert_eq!(world.sides[1].state(), Some(State::Confirmed));
    // Forty sessions of 90 s pass by refreshes alone.
    world.run(Duration::from_secs(3600));
    assert_eq!(world.sides[0].state(), Some(State::Confirmed));
    world.check_agreement(1);
    let refreshes = world.sides[0].log.iter().filter(|line| line.contains(" a INVITE")).count();
    assert!((80..=81).contains(&refreshes), "{refreshes}");
    let told = world.sides[1].log.iter().any(|line| line.contains("Offer"));
    assert!(!told, "refreshes are absorbed");
    world.with(1, |leg, now, out| leg.bye(&[], now, out));
    world.run(Duration::from_secs(40));
    check_end(&world, 1);
}

#[test]
fn both_offer_at_once_and_both_come_through() {
    let mut world = World::new(3, Network { lost: 0, doubled: 0, delay: 1 });
    world.call(true);
    world.run(Duration::from_millis(10));
    world.with(1, |leg, now, out| leg.answer(bytes("v=0 b 1"), &[], now, out));
    world.run(Duration::from_millis(100));
    world.with(0, |leg, now, out| leg.offer(bytes("v=0 a new"), now, out));
    world.with(1, |leg, now, out| leg.offer(bytes("v=0 b new"), now, out));
    for _ in 0..100 {
        world.run(Duration::from_millis(100));
        for at in 0..2 {
            if std::mem::take(&mut world.sides[at].asked) {
                let sdp = world.sides[at].sdp();
                world.with(at, |leg, now, out| leg.accept_offer(sdp, now, out));
            }
        }
    }
    let log = world.log();
    assert_eq!(log.matches("491 INVITE").count(), 2, "{log}");
    assert!(log.contains("a Answer"), "or told that the other came first: {log}");
    world.check_agreement(3);
}
