//! Two endpoints and a network between them, on virtual time.
//!
//! The network of each seed loses, delays, repeats and reorders datagrams, or is a pair of streams
//! that now and then breaks. On either side stands a user that asks, answers, rings, gives up, forgets
//! and repeats its 2xx as a leg would. Whatever happens: every transaction ends, no timer is left, no
//! request is delivered twice, every request of ours ends exactly once, and a seed always gives the
//! same run.
//!
//! A seed that fails is printed; `TRUNKGATE_SEED=<seed> cargo test -p sip-stack pair -- --nocapture`
//! replays it and prints every step.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::fixture::source;
use super::*;
use crate::message::Method;
use crate::random::Random;
use crate::transport::Transport;

/// `TRUNKGATE_SEEDS` may ask for more.
const SEEDS: u64 = 10_000;

#[test]
fn r20_transactions_end_whatever_the_network_does() {
    if let Ok(seed) = std::env::var("TRUNKGATE_SEED") {
        let tally = Pair::new(seed.parse().unwrap(), true).run();
        return println!("{tally:?}");
    }
    let mut total = Tally::default();
    let seeds = std::env::var("TRUNKGATE_SEEDS").map_or(SEEDS, |text| text.parse().unwrap());
    for seed in 0..seeds {
        let tally = Pair::new(seed, false).run();
        if seed % 50 == 0 {
            assert_eq!(tally, Pair::new(seed, false).run(), "the same seed, another run");
        }
        total.add(&tally);
    }
    println!("{total:?}");
    // Each kind of ending has happened often enough for the run to mean something.
    assert!(total.asked > 20_000 && total.answered > 15_000, "{total:?}");
    assert!(total.timeouts > 100 && total.transport_failures > 100, "{total:?}");
    assert!(total.cancelled > 500 && total.repeats > 10_000 && total.acks > 2000, "{total:?}");
}

#[test]
fn on_a_clean_network_every_request_is_answered() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed, false);
        pair.network = Network { loss: 0, copies: 0, breaks: 0, ..pair.network };
        pair.users = Users::FAITHFUL;
        let tally = pair.run();
        assert_eq!(tally.answered, tally.asked);
        assert_eq!((tally.timeouts, tally.transport_failures), (0, 0));
    }
}

/// Five per cent of loss is more than a bad trunk has.
#[test]
fn at_five_per_cent_of_loss_every_request_is_answered() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed, false);
        pair.network = Network { transport: Transport::Udp, loss: 5, copies: 1, ..pair.network };
        pair.users = Users::FAITHFUL;
        let tally = pair.run();
        assert_eq!(tally.answered, tally.asked);
    }
}

/// What the network does; chances in per cent.
#[derive(Clone, Copy, Debug)]
struct Network {
    transport: Transport,
    loss: u64,
    copies: u64,
    /// Over a stream: the chance that a send fails.
    breaks: u64,
    /// The longest delay in milliseconds, below T1: a repeat of Timer A or E that takes longer may
    /// arrive when Timer H or J has ended the transaction, and RFC 3261 takes it for a new request.
    delay: u64,
}

/// What the users do; chances in per cent.
#[derive(Clone, Copy, Debug)]
struct Users {
    forgets: u64,
    gives_up: u64,
    /// The chance that a transaction belongs to the owner that dies on the way.
    dies: u64,
}

impl Users {
    const FAITHFUL: Self = Self { forgets: 0, gives_up: 0, dies: 0 };
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tally {
    asked: u64,
    answered: u64,
    timeouts: u64,
    transport_failures: u64,
    released: u64,
    cancelled: u64,
    acks: u64,
    repeats: u64,
    trace: u64,
}

struct Pair {
    seed: u64,
    print: bool,
    network: Network,
    users: Users,
    random: Random,
    start: Instant,
    now: Instant,
    sides: [Side; 2],
    /// What will happen, in order of time, then of making.
    events: BTreeMap<(Instant, u64), (usize, Event)>,
    next_event: u64,
    /// Over a stream nothing overtakes: when the last message towards each side arrives.
    arrivals: [Instant; 2],
    trace: DefaultHasher,
    tally: Tally,
}

/// One endpoint and what its user knows.
struct Side {
    endpoint: Endpoint,
    asked: BTreeMap<ClientId, Asked>,
    /// Requests that the user got: Call-ID, CSeq and method.
    got: BTreeSet<(Vec<u8>, u32, Vec<u8>)>,
    /// Requests that the user has not answered finally.
    pending: BTreeMap<ServerId, (Owner, Message)>,
    /// Final responses that were given, by Call-ID.
    given: BTreeMap<Vec<u8>, u16>,
    /// 2xx that await their ACK.
    unacknowledged: BTreeMap<ServerId, Message>,
    /// Whether the owner that dies has died.
    died: bool,
}

struct Asked {
    owner: Owner,
    method: Method,
    call: Bytes,
    ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Status(u16),
    Failed(Failure),
    Released,
}

#[derive(Debug)]
enum Event {
    Arrive(Bytes),
    SendFailed(SendId),
    Ask(Method),
    Answer(ServerId, u16),
    /// The user repeats its 2xx: next interval, and for how long it has done so.
    RepeatAnswer(ServerId, Duration, Duration),
    GiveUp(ClientId),
    Release,
}

const LIVES: Owner = Owner(1);
const DIES: Owner = Owner(2);

impl Pair {
    fn new(seed: u64, print: bool) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = Random::new(key);
        let transport = match below(&mut random, 4) {
            0 => Transport::Tls,
            _ => Transport::Udp,
        };
        let network = Network {
            transport,
            loss: below(&mut random, 50),
            copies: below(&mut random, 20),
            breaks: below(&mut random, 20),
            delay: 1 + below(&mut random, 499),
        };
        let start = crate::transaction::table::start();
        let side = |node| Side {
            endpoint: Endpoint::new(Settings { node, ..Settings::default() }, [node; 32]),
            asked: BTreeMap::new(),
            got: BTreeSet::new(),
            pending: BTreeMap::new(),
            given: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            died: false,
        };
        Self {
            seed,
            print,
            network,
            users: Users { forgets: 5, gives_up: 25, dies: 10 },
            random,
            start,
            now: start,
            sides: [side(1), side(2)],
            events: BTreeMap::new(),
            next_event: 0,
            arrivals: [start; 2],
            trace: DefaultHasher::new(),
            tally: Tally::default(),
        }
    }

    fn run(mut self) -> Tally {
        let _report = Report(self.seed);
        let network = format!("{:?} {:?}", self.network, self.users);
        self.note(0, &network);
        for side in 0..2 {
            for _ in 0..6 {
                let method = if self.chance(33) { Method::Options } else { Method::Invite };
                self.later(side, 10_000, Event::Ask(method));
            }
            self.later(side, 20_000, Event::Release);
        }
        while let Some((side, event)) = self.next() {
            match event {
                Some(event) => self.happen(side, event),
                None => self.sides[side].endpoint.handle_timeout(self.now),
            }
            self.drain(side);
        }
        self.check();
        self.tally.trace = self.trace.finish();
        self.tally
    }

    /// All is over: nothing is left, and every request of ours has ended.
    fn check(&mut self) {
        for side in &mut self.sides {
            let endpoint = &mut side.endpoint;
            assert_eq!((endpoint.transactions(), endpoint.timers()), ((0, 0), 0));
            assert!(endpoint.branches.is_empty() && endpoint.keys.is_empty());
            assert!(endpoint.owned.is_empty() && endpoint.poll_output().is_none());
            self.tally.repeats += endpoint.counters().repeats;
            for (client, asked) in &side.asked {
                self.tally.asked += 1;
                match asked.ending {
                    Some(Ending::Status(_)) => self.tally.answered += 1,
                    Some(Ending::Failed(Failure::Timeout)) => self.tally.timeouts += 1,
                    Some(Ending::Failed(Failure::Transport)) => self.tally.transport_failures += 1,
                    Some(Ending::Released) => self.tally.released += 1,
                    None => panic!("{client:?} {} never ended", asked.method),
                }
            }
        }
        for (side, peer) in [(0, 1), (1, 0)] {
            for asked in self.sides[side].asked.values() {
                if let Some(Ending::Status(status)) = asked.ending {
                    let given = self.sides[peer].given.get(&asked.call[..]).copied();
                    // The endpoint itself answers 500 for a user that died or forgot.
                    assert_eq!(status, given.unwrap_or(500), "the peer's own answer");
                }
            }
        }
    }

    /// The next event or timer; `None` when nothing will happen any more.
    fn next(&mut self) -> Option<(usize, Option<Event>)> {
        let timer =
            (0..2).filter_map(|side| Some((self.sides[side].endpoint.poll_timeout()?, side))).min();
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        if let Some((at, side)) = timer
            && event.is_none_or(|event| at < event)
        {
            assert!(at >= self.now, "time runs forward");
            self.now = at;
            return Some((side, None));
        }
        let ((at, _), (side, event)) = self.events.pop_first()?;
        self.now = at;
        Some((side, Some(event)))
    }

    fn happen(&mut self, side: usize, event: Event) {
        let now = self.now;
        let endpoint = &mut self.sides[side].endpoint;
        match event {
            Event::Arrive(bytes) => {
                let source = source(self.network.transport);
                endpoint.handle_message(source, Message::parse(bytes).unwrap(), now);
            }
            Event::SendFailed(send) => endpoint.handle_send_failed(send, now),
            Event::Ask(method) => self.ask(side, method),
            Event::Answer(server, status) => self.answer(side, server, status),
            Event::RepeatAnswer(server, interval, since) => {
                self.repeat_answer(side, server, interval, since);
            }
            Event::GiveUp(client) => endpoint.cancel(client, None, now),
            Event::Release => self.release(side),
        }
    }

    fn ask(&mut self, side: usize, method: Method) {
        let owner = self.owner(side);
        let user = &mut self.sides[side];
        let call = user.endpoint.new_call_id();
        let tag = user.endpoint.new_tag();
        let mut draft = Draft::request(method.clone(), &b"sip:peer.example"[..]);
        draft
            .push(HeaderId::MaxForwards, &b"70"[..])
            .push(HeaderId::From, [b"<sip:us.example>;tag=", &tag[..]].concat())
            .push(HeaderId::To, &b"<sip:peer.example>"[..])
            .push(HeaderId::CallId, call.clone())
            .push(HeaderId::CSeq, [b"1 ", method.as_bytes()].concat());
        let request = Request { draft, target: self.target(), sent_by: US, timeout: None };
        let client = self.sides[side].endpoint.request(owner, 7, request, self.now);
        if method == Method::Invite && self.chance(self.users.gives_up) {
            self.later(side, 6000, Event::GiveUp(client));
        }
        self.sides[side].asked.insert(client, Asked { owner, method, call, ending: None });
    }

    fn answer(&mut self, side: usize, server: ServerId, status: u16) {
        let Some((_, request)) = self.sides[side].pending.get(&server).cloned() else { return };
        let response = Draft::response(&request, status);
        self.sides[side].endpoint.respond(server, response, self.now);
        if status < 200 {
            return;
        }
        let user = &mut self.sides[side];
        user.pending.remove(&server);
        user.given.insert(request.call_id().to_vec(), status);
        if *request.method() == Method::Invite && status == 200 {
            user.unacknowledged.insert(server, request);
            let t1 = Timing::default().t1;
            self.at(side, t1, Event::RepeatAnswer(server, t1, t1));
        }
    }

    /// As RFC 3261 §13.3.1.4 wants it of a leg.
    fn repeat_answer(
        &mut self,
        side: usize,
        server: ServerId,
        interval: Duration,
        since: Duration,
    ) {
        let timing = Timing::default();
        let user = &mut self.sides[side];
        let Some(request) = user.unacknowledged.get(&server) else { return };
        if since >= timing.t1_64() {
            user.unacknowledged.remove(&server);
            return;
        }
        let response = Draft::response(request, 200);
        user.endpoint.respond(server, response, self.now);
        let next = (interval * 2).min(timing.t2);
        self.at(side, next, Event::RepeatAnswer(server, next, since + next));
    }

    fn release(&mut self, side: usize) {
        let user = &mut self.sides[side];
        user.died = true;
        user.endpoint.release(DIES, self.now);
        user.pending.retain(|_, (owner, _)| *owner != DIES);
        for asked in user.asked.values_mut().filter(|asked| asked.owner == DIES) {
            asked.ending.get_or_insert(Ending::Released);
        }
    }

    fn drain(&mut self, side: usize) {
        while let Some(output) = self.sides[side].endpoint.poll_output() {
            match output {
                Output::Send { id, bytes, .. } => self.transmit(side, id, bytes),
                Output::Request { server, message, .. } => self.got(side, server, message),
                Output::Cancelled { server, .. } => {
                    self.note(side, "cancelled");
                    self.tally.cancelled += 1;
                    self.answer(side, server, 487);
                }
                Output::Ack { message, .. } => {
                    self.tally.acks += 1;
                    let calls = &mut self.sides[side].unacknowledged;
                    calls.retain(|_, invite| invite.call_id() != message.call_id());
                }
                Output::Response { client, owner, message, .. } => {
                    self.ended(side, client, owner, Ok(message));
                }
                // Whoever has no call for an answer any more is beyond this test.
                Output::Stray { .. } => {}
                Output::Failed { client, owner, why, .. } => {
                    self.ended(side, client, owner, Err(why));
                }
            }
        }
    }

    fn got(&mut self, side: usize, server: ServerId, request: Message) {
        let method = request.method().clone();
        let mark = (request.call_id().to_vec(), request.cseq(), method.as_bytes().to_vec());
        assert!(self.sides[side].got.insert(mark), "{request:?} is delivered twice");
        self.note(side, &format!("got {request:?}"));
        let owner = self.owner(side);
        self.sides[side].endpoint.adopt(server, owner);
        self.sides[side].pending.insert(server, (owner, request));
        if self.chance(60) {
            self.answer(side, server, 180);
        }
        if !self.chance(self.users.forgets) {
            let status = if self.chance(50) { 200 } else { 486 };
            self.later(side, 5000, Event::Answer(server, status));
        }
    }

    /// A response or failure came to the user: in the right order, to the right owner, once.
    fn ended(
        &mut self,
        side: usize,
        client: ClientId,
        owner: Owner,
        end: Result<Message, Failure>,
    ) {
        let user = &mut self.sides[side];
        assert!(owner == LIVES || !user.died, "{client:?}: nobody tells the dead");
        let asked = user.asked.get_mut(&client).unwrap();
        let note = format!("{client:?} {} {end:?}", asked.method);
        let ending = match &end {
            Ok(response) if response.status() < 200 => {
                assert_eq!(asked.ending, None, "{note} after the end");
                return;
            }
            Ok(response) => Ending::Status(response.status()),
            Err(why) => Ending::Failed(*why),
        };
        let accepted = asked.method == Method::Invite && ending == Ending::Status(200);
        assert!(asked.ending.is_none() || accepted && asked.ending == Some(ending), "{note}");
        asked.ending = Some(ending);
        if accepted && let Ok(response) = &end {
            let mut ack = Draft::request(Method::Ack, &b"sip:peer.example"[..]);
            for id in [HeaderId::From, HeaderId::To, HeaderId::CallId] {
                ack.copy(response, id);
            }
            ack.push(HeaderId::CSeq, &b"1 ACK"[..]);
            let target = self.target();
            self.sides[side].endpoint.send(target, US, ack, self.now);
        }
        self.note(side, &note);
    }

    fn transmit(&mut self, side: usize, id: SendId, bytes: Bytes) {
        let first_line = bytes.split(|&b| b == b'\r').next().unwrap_or_default();
        self.note(side, &format!("{id:?} {}", String::from_utf8_lossy(first_line)));
        bytes.hash(&mut self.trace);
        if self.network.transport.is_reliable() {
            if self.chance(self.network.breaks) {
                return self.later(side, self.network.delay, Event::SendFailed(id));
            }
            let delay = self.delay();
            let peer = 1 - side;
            self.arrivals[peer] = self.arrivals[peer].max(self.now + delay);
            return self.at(peer, self.arrivals[peer] - self.now, Event::Arrive(bytes));
        }
        let copies = if self.chance(self.network.copies) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.chance(self.network.loss) {
                self.later(1 - side, self.network.delay, Event::Arrive(bytes.clone()));
            }
        }
    }

    /// Some time from now on, at most `within` milliseconds.
    fn later(&mut self, side: usize, within: u64, event: Event) {
        let delay = Duration::from_millis(1 + below(&mut self.random, within));
        self.at(side, delay, event);
    }

    fn at(&mut self, side: usize, delay: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + delay, self.next_event), (side, event));
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(1 + below(&mut self.random, self.network.delay))
    }

    fn chance(&mut self, per_cent: u64) -> bool {
        below(&mut self.random, 100) < per_cent
    }

    fn owner(&mut self, side: usize) -> Owner {
        let dies = self.chance(self.users.dies);
        if dies && !self.sides[side].died { DIES } else { LIVES }
    }

    fn target(&self) -> Target {
        super::fixture::target(self.network.transport)
    }

    fn note(&mut self, side: usize, text: &str) {
        let at = (self.now - self.start).as_millis();
        (at, side, text).hash(&mut self.trace);
        if self.print {
            println!("{at:>8} ms  {side}  {text}");
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.timeouts += other.timeouts;
        self.transport_failures += other.transport_failures;
        self.released += other.released;
        self.cancelled += other.cancelled;
        self.acks += other.acks;
        self.repeats += other.repeats;
        self.trace ^= other.trace;
    }
}

/// Prints the seed of a run that panics.
struct Report(u64);

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: TRUNKGATE_SEED={}", self.0);
        }
    }
}

const US: Bytes = Bytes::from_static(b"us.example:5060");

fn below(random: &mut Random, bound: u64) -> u64 {
    u64::from_le_bytes(random.bytes()) % bound
}
