//! Registration with carriers (RFC 3261 §10.2): which trunks register where, when they do so again, and how that stands.
//! A pure machine; [`request`] writes what it sends.
//!
//! ```text
//! state    | due                | granted               | too brief (423) | failed                      | not wanted any more
//! ---------+--------------------+-----------------------+-----------------+-----------------------------+--------------------
//! Waiting  | Ask → Asking       |                       |                 |                             | bound: Leave → Leaving
//! Asking   | -                  | → Waiting for refresh | Ask, with more  | next peer: Ask; else        | else: forgotten
//!          |                    |                       |                 | → Waiting, longer each time |
//! Leaving  | forgotten          | forgotten             |                 | forgotten                   |
//! ```
//!
//! Refreshed at a random time between 1/2 and 9/10 of what was granted, so that many registrations do not come together.
//! Waits after failures as RFC 5626 §4.5 has it: 30 s, doubled with each, at most 30 min, of which a random half is taken
//! off; Retry-After is obeyed. What was granted holds until its time is over, whatever fails meanwhile.
//!
//! Kept by name of the trunk, so that a reload leaves alone what has not changed.

pub mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::{Login, Peer, Register};
use sip_stack::endpoint::Request;
use sip_stack::message::HeaderId;

use crate::random::Random;
use crate::routing::{Place, Routes, TrunkId};

/// One registration; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistrationId(pub u64);

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Task {
    /// Register at this place.
    Ask {
        /// Which.
        id: RegistrationId,
        /// Where.
        place: Place,
    },
    /// Take the registration back, by this request with another CSeq and no time.
    Leave {
        /// Which.
        id: RegistrationId,
        /// What registered it.
        request: Box<Request>,
    },
    /// The time that was granted is over.
    Lapsed {
        /// Which.
        id: RegistrationId,
    },
}

/// Why it was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The registrar was not found, not reached or said nothing, or has a fault of its own: another peer may do better.
    Elsewhere,
    /// It refused.
    Refused,
}

/// One registration: at one peer, or at the first of several that takes it.
#[derive(Debug)]
pub struct Registration {
    /// The trunk, in these routes.
    pub trunk: TrunkId,
    /// The configuration that it was made by, or an equal one.
    pub routes: Arc<Routes>,
    /// Names all its requests.
    pub call_id: Bytes,
    /// Our tag in them.
    pub tag: Bytes,
    /// Counts the requests, so that a late answer is not taken for that of the newest.
    pub attempt: u32,
    /// For how long to ask.
    pub wish: Duration,
    /// Whether its failure has been told of since it last worked.
    pub complained: bool,
    what: What,
    state: State,
    cseq: u32,
    /// Which of the peers is asked.
    peer: usize,
    /// How many have failed in a row.
    failed: u32,
    bound: Option<Bound>,
    due: Option<Instant>,
    /// As it stands in the table.
    timer: Option<Instant>,
    /// What was sent last.
    sent: Option<Box<Request>>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Registrations {
    all: BTreeMap<RegistrationId, Registration>,
    timers: BTreeSet<(Instant, RegistrationId)>,
    last: u64,
    left: bool,
}

/// By what a registration is the same after a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct What {
    trunk: String,
    realm: String,
    peers: Vec<Peer>,
    /// The position of the first of them in the configuration.
    first: usize,
    register: Register,
    credentials: Vec<Login>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Asking,
    Leaving,
}

/// What the registrar has granted.
#[derive(Debug)]
struct Bound {
    until: Instant,
    granted: Duration,
    request: Box<Request>,
}

/// How a trunk's registrations stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether all that it has are in force.
    pub up: bool,
    /// The shortest time that was granted, if any.
    pub granted: Duration,
}

impl Registrations {
    /// Another configuration: what it has in common with the last one stays. The trunks of which something does not.
    pub fn replace(
        &mut self,
        routes: &Arc<Routes>,
        now: Instant,
        mut identifiers: impl FnMut() -> (Bytes, Bytes),
    ) -> Vec<String> {
        let mut gone = Vec::new();
        let mut wanted: Vec<(TrunkId, What)> = wanted(routes).collect();
        let ids: Vec<_> = self.all.keys().copied().collect();
        for id in ids {
            let Some(known) = self.all.get_mut(&id).filter(|known| known.state != State::Leaving)
            else {
                continue;
            };
            match wanted.iter().position(|(_, what)| what.binds_as(&known.what)) {
                Some(at) => {
                    let (trunk, what) = wanted.swap_remove(at);
                    (known.trunk, known.routes) = (trunk, Arc::clone(routes));
                    if what != known.what {
                        // Taken back and made anew at once, it could end taken back.
                        (known.wish, known.what) = (what.register.expires, what);
                        (known.state, known.failed, known.attempt) =
                            (State::Waiting, 0, known.attempt + 1);
                        self.schedule(id, Some(now));
                    }
                }
                None => {
                    gone.push(known.what.trunk.clone());
                    self.leave(id, now);
                }
            }
        }
        if self.left {
            return gone;
        }
        for (trunk, what) in wanted {
            self.last += 1;
            let id = RegistrationId(self.last);
            let (call_id, tag) = identifiers();
            let new = Registration {
                trunk,
                routes: Arc::clone(routes),
                call_id,
                tag,
                attempt: 0,
                wish: what.register.expires,
                complained: false,
                what,
                state: State::Waiting,
                cseq: 0,
                peer: 0,
                failed: 0,
                bound: None,
                due: None,
                timer: None,
                sent: None,
            };
            self.all.insert(id, new);
            self.schedule(id, Some(now));
        }
        gone
    }

    /// The process stops: everything is taken back, and nothing is registered any more.
    pub fn leave_all(&mut self, now: Instant) {
        self.left = true;
        let ids: Vec<_> = self.all.keys().copied().collect();
        for id in ids {
            self.leave(id, now);
        }
    }

    /// How many are being taken back.
    pub fn leaving(&self) -> usize {
        self.all.values().filter(|known| known.state == State::Leaving).count()
    }

    /// One of them.
    pub fn get(&self, id: RegistrationId) -> Option<&Registration> {
        self.all.get(&id)
    }

    /// When [`Registrations::due`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// What is to be done now.
    pub fn due(&mut self, now: Instant) -> Option<Task> {
        loop {
            let (_, id) = self.timers.first().copied().filter(|(due, _)| *due <= now)?;
            let known = self.all.get_mut(&id)?;
            if known.state != State::Leaving && known.bound.as_ref().is_some_and(|b| b.until <= now)
            {
                known.bound = None;
                self.reset(id);
                return Some(Task::Lapsed { id });
            }
            let Some(due) = known.due.filter(|due| *due <= now) else {
                self.reset(id);
                continue;
            };
            match known.state {
                State::Waiting => {
                    known.state = State::Asking;
                    known.attempt += 1;
                    let place = known.place();
                    self.schedule(id, None);
                    return Some(Task::Ask { id, place });
                }
                State::Asking => self.schedule(id, None),
                State::Leaving => match known.bound.take() {
                    Some(Bound { request, .. }) => {
                        known.attempt += 1;
                        self.schedule(id, Some(due.max(now) + FAREWELL));
                        return Some(Task::Leave { id, request });
                    }
                    None => self.forget(id),
                },
            }
        }
    }

    /// The CSeq of its next request.
    pub fn next_cseq(&mut self, id: RegistrationId) -> Option<u32> {
        let known = self.all.get_mut(&id)?;
        known.cseq += 1;
        Some(known.cseq)
    }

    /// What it sends.
    pub fn sends(&mut self, id: RegistrationId, request: &Request) {
        if let Some(known) = self.all.get_mut(&id) {
            known.sent = Some(Box::new(request.clone()));
        }
    }

    /// Another process speaks for all now: this one asks again later, if it is still there.
    pub fn put_off(&mut self, id: RegistrationId, now: Instant) {
        if let Some(known) = self.all.get_mut(&id).filter(|known| known.state == State::Asking) {
            known.state = State::Waiting;
            self.schedule(id, Some(now + FIRST_WAIT));
        }
    }

    /// The registrar has granted so much. Whether that is news.
    pub fn granted(
        &mut self,
        id: RegistrationId,
        granted: Duration,
        now: Instant,
        random: &mut Random,
    ) -> bool {
        let Some(known) = self.all.get_mut(&id) else { return false };
        match (known.state, known.sent.clone()) {
            (State::Asking, Some(request)) => {
                let news = known.bound.is_none() || known.complained;
                (known.failed, known.complained) = (0, false);
                known.state = State::Waiting;
                known.bound = Some(Bound { until: now + granted, granted, request });
                let part = HALF_PERMILLE + random.number() % (MOST_PERMILLE - HALF_PERMILLE);
                let wait = granted.mul_f64(permille(part));
                self.schedule(id, Some(now + wait));
                news
            }
            (State::Asking, None) | (State::Waiting, _) => false,
            (State::Leaving, _) => {
                self.forget(id);
                false
            }
        }
    }

    /// The registrar wants a longer time (RFC 3261 §10.2.8). False when it said so before.
    pub fn too_brief(&mut self, id: RegistrationId, least: Duration, now: Instant) -> bool {
        let Some(known) = self.all.get_mut(&id).filter(|known| known.state == State::Asking) else {
            return true;
        };
        if least <= known.wish || least > LONGEST {
            return false;
        }
        known.wish = least;
        known.state = State::Waiting;
        self.schedule(id, Some(now));
        true
    }

    /// It was not registered: the wait until the next attempt.
    pub fn failed(
        &mut self,
        id: RegistrationId,
        why: Failed,
        retry_after: Option<Duration>,
        now: Instant,
        random: &mut Random,
    ) -> Option<Duration> {
        let known = self.all.get_mut(&id)?;
        match known.state {
            State::Waiting => return None,
            State::Leaving => {
                self.forget(id);
                return None;
            }
            State::Asking => {}
        }
        known.state = State::Waiting;
        known.peer = (known.peer + 1) % known.what.peers.len().max(1);
        if why == Failed::Refused {
            known.peer = 0;
        }
        let wait = if known.peer != 0 {
            Duration::ZERO
        } else {
            known.failed += 1;
            let longest = FIRST_WAIT * (1 << (known.failed - 1).min(10));
            let part = HALF_PERMILLE + random.number() % (1000 - HALF_PERMILLE);
            let own = longest.min(LONGEST_WAIT).mul_f64(permille(part));
            retry_after.map_or(own, |told| told.min(LONGEST_TOLD) + own / 10)
        };
        self.schedule(id, Some(now + wait));
        Some(wait)
    }

    /// Its failure is told of: whether that is news.
    pub fn complain(&mut self, id: RegistrationId) -> bool {
        self.all.get_mut(&id).is_some_and(|known| !std::mem::replace(&mut known.complained, true))
    }

    /// How the registrations of a trunk stand; `None`: it has none.
    pub fn standing(&self, trunk: &str) -> Option<Standing> {
        let own = self.all.values().filter(|known| known.state != State::Leaving);
        let own: Vec<_> = own.filter(|known| known.what.trunk == trunk).collect();
        let granted = own.iter().filter_map(|known| Some(known.bound.as_ref()?.granted)).min();
        let up = own.iter().all(|known| known.bound.is_some());
        (!own.is_empty()).then(|| Standing { up, granted: granted.unwrap_or_default() })
    }

    fn leave(&mut self, id: RegistrationId, now: Instant) {
        let Some(known) = self.all.get_mut(&id).filter(|known| known.state != State::Leaving)
        else {
            return;
        };
        // One that is being asked for is taken back as well: the answer may be under way.
        if let Some(request) = known.sent.take().filter(|_| known.state == State::Asking) {
            known.bound = Some(Bound { until: now, granted: Duration::ZERO, request });
        }
        known.state = State::Leaving;
        self.schedule(id, Some(now));
    }

    fn forget(&mut self, id: RegistrationId) {
        let known = self.all.remove(&id);
        if let Some(at) = known.and_then(|known| known.timer) {
            self.timers.remove(&(at, id));
        }
    }

    fn schedule(&mut self, id: RegistrationId, due: Option<Instant>) {
        if let Some(known) = self.all.get_mut(&id) {
            known.due = due;
        }
        self.reset(id);
    }

    /// The timer of one: whatever comes first.
    fn reset(&mut self, id: RegistrationId) {
        let Some(known) = self.all.get_mut(&id) else { return };
        let leaving = known.state == State::Leaving;
        let until = known.bound.as_ref().filter(|_| !leaving).map(|bound| bound.until);
        let next = known.due.into_iter().chain(until).min();
        if let Some(old) = std::mem::replace(&mut known.timer, next) {
            self.timers.remove(&(old, id));
        }
        self.timers.extend(next.map(|next| (next, id)));
    }
}

impl What {
    /// Whether the registrar sees the same: what differs is for how long, and how it is asked for.
    fn binds_as(&self, other: &Self) -> bool {
        let address = |what: &Self| {
            let Register { registrar, user, contact, .. } = what.register.clone();
            (registrar, user, contact)
        };
        (&self.trunk, &self.realm, &self.peers, self.first)
            == (&other.trunk, &other.realm, &other.peers, other.first)
            && address(self) == address(other)
    }
}

impl Registration {
    /// Where it is asked for now.
    pub fn place(&self) -> Place {
        Place::Peer { trunk: self.trunk, peer: self.what.first + self.peer }
    }

    /// Name of the trunk.
    pub fn name(&self) -> &str {
        &self.what.trunk
    }

    /// How it registers.
    pub const fn register(&self) -> &Register {
        &self.what.register
    }

    /// Where its last request went.
    pub fn sent_to(&self) -> Option<SocketAddr> {
        self.sent.as_ref().map(|request| request.target.remote)
    }

    /// Our Contact in it.
    pub fn contact(&self) -> Option<Bytes> {
        let contact = self.sent.as_ref()?.draft.value(HeaderId::Contact)?;
        Some(Bytes::copy_from_slice(contact))
    }

    /// Whether it is being taken back.
    pub fn is_leaving(&self) -> bool {
        self.state == State::Leaving
    }
}

/// What a configuration wants registered.
fn wanted(routes: &Routes) -> impl Iterator<Item = (TrunkId, What)> {
    let config = routes.config();
    let trunks = config.trunks.iter().enumerate();
    let trunks = trunks.filter_map(|(index, trunk)| Some((index, trunk, trunk.register.as_ref()?)));
    trunks.flat_map(move |(index, trunk, register)| {
        let what = move |first: usize, peers: &[Peer]| What {
            trunk: trunk.name.clone(),
            realm: config.realms[trunk.realm].name.clone(),
            peers: peers.to_vec(),
            first,
            register: register.clone(),
            credentials: trunk.credentials.clone(),
        };
        let each = register.each_peer;
        let size = if each { 1 } else { trunk.peers.len().max(1) };
        let parts = trunk.peers.chunks(size).enumerate();
        parts.map(move |(first, peers)| (TrunkId(index), what(first, peers)))
    })
}

#[expect(clippy::cast_precision_loss, reason = "at most 1000")]
fn permille(part: u64) -> f64 {
    part as f64 / 1000.0
}

const HALF_PERMILLE: u64 = 500;
const MOST_PERMILLE: u64 = 900;
/// RFC 5626 §4.5.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(1800);
/// No Retry-After is heeded for longer.
const LONGEST_TOLD: Duration = Duration::from_secs(3600);
/// No Min-Expires is heeded beyond that.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How long the answer to the last REGISTER is waited for.
pub const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use sip_stack::message::{Draft, Method};
    use sip_stack::transport::{LocalId, Target, Transport};

    use super::*;
    use crate::routing::tests::config;

    const SECOND: Duration = Duration::from_secs(1);

    struct Bench {
        all: Registrations,
        random: Random,
        start: Instant,
        now: Instant,
    }

    fn register() -> Register {
        Register {
            registrar: "carrier.example".to_owned(),
            user: "u".to_owned(),
            contact: "u".to_owned(),
            expires: 600 * SECOND,
            each_peer: false,
        }
    }

    /// The first trunk has two peers.
    fn with(change: impl FnOnce(&mut config::Trunk)) -> Arc<Routes> {
        let mut config = config();
        let trunk = &mut config.trunks[0];
        let mut second = trunk.peers[0].clone();
        second.port = Some(5099);
        trunk.peers.push(second);
        trunk.register = Some(register());
        change(trunk);
        Arc::new(Routes::new(Arc::new(config)))
    }

    impl Bench {
        fn new(routes: &Arc<Routes>, seed: u64) -> Self {
            let mut state = seed;
            let random = Random::new(move |bytes| {
                for byte in bytes {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = (state >> 33) as u8;
                }
            });
            let now = Instant::now();
            let mut bench = Self { all: Registrations::default(), random, start: now, now };
            bench.reload(routes);
            bench
        }

        fn reload(&mut self, routes: &Arc<Routes>) -> Vec<String> {
            self.all.replace(routes, self.now, || ("c".into(), "t".into()))
        }

        /// The next thing to do, and after how many seconds.
        fn next(&mut self) -> Option<(Task, f64)> {
            let before = self.now;
            loop {
                if let Some(task) = self.all.due(self.now) {
                    return Some((task, (self.now - before).as_secs_f64()));
                }
                self.now = self.all.poll_timeout()?.max(self.now);
            }
        }

        /// It is to be asked for: at which peer, and after how many seconds.
        fn asks(&mut self) -> (RegistrationId, usize, f64) {
            let Some((Task::Ask { id, place: Place::Peer { peer, .. } }, after)) = self.next()
            else {
                panic!("nothing is asked for")
            };
            let target = Target {
                transport: Transport::Udp,
                local: LocalId(1),
                remote: "192.0.2.1:5060".parse().unwrap(),
                name: None,
                flow: None,
            };
            let draft = Draft::request(Method::Register, "sip:carrier.example");
            let request = Request { draft, target, sent_by: "a".into(), timeout: None };
            self.all.sends(id, &request);
            (id, peer, after)
        }

        fn granted(&mut self, id: RegistrationId, seconds: u32) -> bool {
            self.all.granted(id, seconds * SECOND, self.now, &mut self.random)
        }

        fn failed(&mut self, id: RegistrationId, why: Failed, told: Option<u32>) -> Option<f64> {
            let told = told.map(|seconds| seconds * SECOND);
            let wait = self.all.failed(id, why, told, self.now, &mut self.random);
            wait.map(|wait| wait.as_secs_f64())
        }

        fn is_up(&self) -> bool {
            self.all.standing("carrier-a").is_some_and(|standing| standing.up)
        }
    }

    /// RFC 3261 §10.2.4.
    #[test]
    fn it_is_refreshed_at_a_random_time_of_the_second_half() {
        let mut waits = Vec::new();
        for seed in 0..200 {
            let mut bench = Bench::new(&with(|_| {}), seed);
            let (id, peer, after) = bench.asks();
            assert_eq!((peer, after, bench.is_up()), (0, 0.0, false));
            assert!(bench.granted(id, 100) && bench.is_up());
            let (id, peer, after) = bench.asks();
            assert!(peer == 0 && (50.0..=90.0).contains(&after), "{after}");
            assert!(!bench.granted(id, 100), "no news");
            waits.push(after);
        }
        waits.sort_by(f64::total_cmp);
        assert!(waits[0] < 53.0 && waits[199] > 87.0, "{} {}", waits[0], waits[199]);
    }

    #[test]
    fn what_was_granted_holds_until_its_time_is_over() {
        let mut bench = Bench::new(&with(|trunk| trunk.peers.truncate(1)), 1);
        let (id, ..) = bench.asks();
        bench.granted(id, 60);
        let granted = bench.now;
        loop {
            match bench.next().unwrap().0 {
                Task::Ask { id, .. } => {
                    assert!(bench.is_up());
                    bench.failed(id, Failed::Refused, None);
                }
                Task::Lapsed { .. } => break,
                Task::Leave { .. } => panic!(),
            }
        }
        assert_eq!((bench.now - granted, bench.is_up()), (60 * SECOND, false));
        let (id, ..) = bench.asks();
        assert!(bench.granted(id, 60) && bench.is_up(), "it is news");
    }

    /// RFC 5626 §4.5.
    #[test]
    fn failures_are_waited_out_longer_each_time_with_jitter_and_after_all_peers() {
        let mut firsts = BTreeSet::new();
        for seed in 0..50 {
            let mut bench = Bench::new(&with(|_| {}), seed);
            for round in 0..12_u32 {
                let (id, peer, _) = bench.asks();
                assert_eq!(peer, 0);
                assert_eq!(bench.failed(id, Failed::Elsewhere, None), Some(0.0));
                let (id, peer, after) = bench.asks();
                assert_eq!((peer, after), (1, 0.0));
                let wait = bench.failed(id, Failed::Elsewhere, None).unwrap();
                let most = (30.0 * f64::from(1 << round.min(10))).min(1800.0);
                assert!((most / 2.0..=most).contains(&wait), "{round}: {wait}");
                if round == 0 {
                    firsts.insert((wait * 1000.0) as u64);
                }
            }
            let (id, ..) = bench.asks();
            bench.granted(id, 60);
            let (id, ..) = bench.asks();
            bench.failed(id, Failed::Elsewhere, None);
            let (id, ..) = bench.asks();
            let wait = bench.failed(id, Failed::Elsewhere, None).unwrap();
            assert!(wait <= 30.0, "a success starts anew: {wait}");
        }
        assert!(firsts.len() > 40, "{}", firsts.len());
    }

    #[test]
    fn a_refusal_is_the_same_at_every_peer_and_retry_after_is_obeyed() {
        let mut bench = Bench::new(&with(|_| {}), 3);
        let (id, ..) = bench.asks();
        let wait = bench.failed(id, Failed::Refused, None).unwrap();
        assert!((15.0..=30.0).contains(&wait));
        let (id, peer, after) = bench.asks();
        assert!(peer == 0 && (after - wait).abs() < 0.01);
        bench.failed(id, Failed::Elsewhere, Some(300));
        let (id, ..) = bench.asks();
        let wait = bench.failed(id, Failed::Elsewhere, Some(300)).unwrap();
        assert!((300.0..=330.0).contains(&wait), "{wait}");
        bench.asks();
        bench.failed(id, Failed::Elsewhere, None);
        bench.asks();
        let wait = bench.failed(id, Failed::Elsewhere, Some(1_000_000)).unwrap();
        assert!((3600.0..4000.0).contains(&wait), "{wait}");
    }

    /// RFC 3261 §10.2.8.
    #[test]
    fn a_registrar_that_wants_more_gets_more_once() {
        let mut bench = Bench::new(&with(|_| {}), 3);
        let (id, ..) = bench.asks();
        assert!(bench.all.too_brief(id, 1800 * SECOND, bench.now));
        let (id, _, after) = bench.asks();
        assert_eq!((after, bench.all.get(id).unwrap().wish), (0.0, 1800 * SECOND));
        assert!(!bench.all.too_brief(id, 1800 * SECOND, bench.now), "it has more than once asked");
        assert!(!bench.all.too_brief(id, 90_000 * SECOND, bench.now));
    }

    #[test]
    fn each_peer_has_a_registration_of_its_own_where_that_is_wanted() {
        let routes = with(|trunk| trunk.register.as_mut().unwrap().each_peer = true);
        let mut bench = Bench::new(&routes, 3);
        let (first, peer, _) = bench.asks();
        let (second, other, after) = bench.asks();
        assert_eq!((peer, other, after), (0, 1, 0.0));
        bench.granted(first, 100);
        assert!(!bench.is_up());
        bench.granted(second, 50);
        let standing = bench.all.standing("carrier-a");
        assert_eq!(standing, Some(Standing { up: true, granted: 50 * SECOND }));
        let (id, ..) = bench.asks();
        assert!(bench.failed(id, Failed::Elsewhere, None).unwrap() >= 15.0, "no other peer");
    }

    #[test]
    fn a_reload_leaves_alone_what_has_not_changed_and_takes_back_what_is_gone() {
        let mut bench = Bench::new(&with(|_| {}), 3);
        let (id, ..) = bench.asks();
        bench.granted(id, 600);
        assert!(bench.reload(&with(|trunk| trunk.numbers = Default::default())).is_empty());
        let due = bench.all.poll_timeout().unwrap();
        assert!(bench.is_up() && due > bench.now + 299 * SECOND);
        // Another lifetime: asked for at once, never taken back.
        let longer = with(|trunk| trunk.register.as_mut().unwrap().expires = 900 * SECOND);
        assert!(bench.reload(&longer).is_empty());
        let (same, _, after) = bench.asks();
        assert!(same == id && after == 0.0 && bench.is_up());
        assert_eq!(bench.all.get(id).unwrap().wish, 900 * SECOND);
        bench.granted(id, 900);
        // Another user: the old one goes, the new one comes.
        let other = with(|trunk| trunk.register.as_mut().unwrap().user = "v".to_owned());
        assert_eq!(bench.reload(&other), ["carrier-a"]);
        let mut tasks = [bench.next().unwrap().0, bench.next().unwrap().0];
        tasks.sort_by_key(|task| matches!(task, Task::Leave { .. }));
        let [Task::Ask { id: new, .. }, Task::Leave { id: old, .. }] = &tasks else {
            panic!("{tasks:?}")
        };
        assert!(*old == id && *new != id && bench.all.leaving() == 1);
        bench.granted(*old, 0);
        assert_eq!((bench.all.leaving(), bench.all.get(id).is_none()), (0, true));
        // And none at all.
        bench.reload(&with(|trunk| trunk.register = None));
        assert_eq!(bench.all.standing("carrier-a"), None);
    }

    #[test]
    fn a_stop_takes_everything_back_and_waits_for_no_answer_for_long() {
        let mut bench = Bench::new(&with(|_| {}), 3);
        let (id, ..) = bench.asks();
        bench.granted(id, 600);
        bench.all.leave_all(bench.now);
        assert_eq!(bench.all.leaving(), 1);
        assert!(matches!(bench.next(), Some((Task::Leave { .. }, 0.0))));
        assert_eq!(bench.next().map(|(_, after)| after), None);
        assert_eq!(bench.now - bench.start, FAREWELL);
        assert_eq!(bench.all.leaving(), 0);
        assert!(bench.reload(&with(|_| {})).is_empty() && bench.all.poll_timeout().is_none());
        // One that never was is forgotten at once; one that is being asked for is taken back.
        for asked in [false, true] {
            let mut bench = Bench::new(&with(|_| {}), 3);
            if asked {
                bench.asks();
            }
            bench.all.leave_all(bench.now);
            let task = bench.next();
            assert_eq!(matches!(task, Some((Task::Leave { .. }, _))), asked);
        }
    }
}
