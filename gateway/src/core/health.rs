//! Which of the places that calls go to are well: orders them, and says when they are to be asked.
//!
//! ```text
//! state   | well when asked        | ill when asked, or in a call | later
//! --------+------------------------+------------------------------+--------------------------------
//! Unknown | → Up                   | → Down                       |
//! Up      |                        | → Down                       |
//! Down    | → Up; a peer: 3 times  |                              | a peer that is not asked while
//!         | in a row               |                              | well: → Unknown after 5 min
//! ```
//!
//! A proxy is asked each `options_interval`, never sooner (only where no OPTIONS could leave, every 10 s); a peer each
//! `options_interval` if its trunk has one, and every 5 s while it is down. A place that asked for no further calls
//! (Retry-After) is held until then, at most [`LONGEST_HOLD`], whatever it answers to OPTIONS.
//!
//! Nothing is ever left out for being down: it is tried last. Keyed by name, so that knowledge outlives a change of the
//! configuration. As large as the configuration.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use config::Config;

use crate::call::Trouble;
use crate::random::Random;
use crate::routing::{EdgeId, Place, PlaceName, Routes, TrunkId};

/// One place; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceId(pub(super) u64);

/// What is known of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unknown,
    Up,
    Down,
}

/// Why a place is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NotLocated,
    NoConnection,
    /// OPTIONS were not answered.
    Unanswered,
    /// OPTIONS were answered with this status.
    Refused(u16),
    /// An INVITE was not answered.
    Silent,
    /// It has not registered with us, or not any more.
    NotRegistered,
}

/// One place.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) place: Place,
    pub(super) name: PlaceName,
    /// Time between two OPTIONS while all is well; `None`: not asked then.
    interval: Option<Duration>,
    jitter: Duration,
    pub(super) state: State,
    why: Option<Why>,
    since: Instant,
    /// Good answers in a row since it is down.
    good: u8,
    held: Option<Instant>,
    timer: Option<Instant>,
    /// Where the last OPTIONS went.
    pub(super) remote: Option<SocketAddr>,
    /// Counts the OPTIONS, so that a late answer is not taken for the newest.
    pub(super) probe: u32,
}

/// What changed, for the log and the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It is up.
    Up,
    /// It is down, or down for another reason than before.
    Down(Why),
}

/// All places.
#[derive(Debug)]
pub(super) struct Health {
    places: BTreeMap<PlaceId, Watched>,
    names: HashMap<PlaceName, PlaceId>,
    /// By position in the configuration.
    edges: Vec<Vec<PlaceId>>,
    trunks: Vec<Vec<PlaceId>>,
    timers: BTreeSet<(Instant, PlaceId)>,
    last: u64,
    /// How many are down or were held: while there are none, nothing needs to be looked up.
    troubled: BTreeSet<PlaceId>,
}

impl Health {
    pub(super) fn new(routes: &Routes, now: Instant, random: &mut Random) -> Self {
        let mut health = Self {
            places: BTreeMap::new(),
            names: HashMap::new(),
            edges: Vec::new(),
            trunks: Vec::new(),
            timers: BTreeSet::new(),
            last: 0,
            troubled: BTreeSet::new(),
        };
        health.replace(routes, now, random);
        health
    }

    /// Another configuration: what it has in common with the last one stays known.
    pub(super) fn replace(&mut self, routes: &Routes, now: Instant, random: &mut Random) {
        let before = std::mem::take(&mut self.names);
        let config = routes.config();
        (self.edges, self.trunks) = (Vec::new(), Vec::new());
        for (index, edge) in config.edges.iter().enumerate() {
            let places = (0..edge.proxies.len())
                .map(|proxy| Place::Proxy { edge: EdgeId(index), proxy })
                .map(|place| self.watch(routes, place, &before, now, random))
                .collect();
            self.edges.push(places);
        }
        for (index, trunk) in config.trunks.iter().enumerate() {
            let places = (0..trunk.peers.len())
                .map(|peer| Place::Peer { trunk: TrunkId(index), peer })
                .map(|place| self.watch(routes, place, &before, now, random))
                .collect();
            self.trunks.push(places);
        }
        for (name, id) in before {
            if !self.names.contains_key(&name) {
                self.schedule(id, None);
                self.troubled.remove(&id);
                self.places.remove(&id);
            }
        }
    }

    fn watch(
        &mut self,
        routes: &Routes,
        place: Place,
        before: &HashMap<PlaceName, PlaceId>,
        now: Instant,
        random: &mut Random,
    ) -> PlaceId {
        let name = routes.place_name(place);
        let interval = interval(routes.config(), place);
        // A trunk may name a peer twice.
        if let Some(id) = before.get(&name).or_else(|| self.names.get(&name)).copied() {
            self.names.insert(name, id);
            if let Some(watched) = self.places.get_mut(&id) {
                (watched.place, watched.interval) = (place, interval);
                if watched.timer.is_none() && interval.is_some() {
                    self.schedule(id, Some(now));
                }
            }
            return id;
        }
        self.last += 1;
        let id = PlaceId(self.last);
        let watched = Watched {
            place,
            name: name.clone(),
            interval,
            jitter: Duration::from_millis(random.number() % MOST_JITTER_MS),
            state: State::Unknown,
            why: None,
            since: now,
            good: 0,
            held: None,
            timer: None,
            remote: None,
            probe: 0,
        };
        self.places.insert(id, watched);
        self.names.insert(name, id);
        self.schedule(id, interval.map(|_| now));
        id
    }

    pub(super) fn get(&self, id: PlaceId) -> Option<&Watched> {
        self.places.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PlaceId) -> Option<&mut Watched> {
        self.places.get_mut(&id)
    }

    /// The next place to ask; schedules the question after that.
    pub(super) fn due(&mut self, now: Instant) -> Option<PlaceId> {
        loop {
            let (_, id) = self.timers.first().copied().filter(|(due, _)| *due <= now)?;
            let watched = self.places.get_mut(&id)?;
            if watched.is_forgiven(now) {
                watched.state = State::Unknown;
                self.troubled.remove(&id);
                self.schedule(id, None);
                continue;
            }
            let next = watched.next(now);
            self.schedule(id, next);
            return Some(id);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// No connection could be made to that address, so no OPTIONS left: again before the interval is over.
    pub(super) fn not_reached(&mut self, remote: SocketAddr, now: Instant) {
        let there = self.places.iter().filter(|(_, watched)| watched.remote == Some(remote));
        let there: Vec<_> = there.map(|(id, _)| *id).collect();
        for id in there {
            self.again_soon(id, now);
        }
    }

    /// Asks a proxy before its interval is over: only where no OPTIONS left the last time.
    pub(super) fn again_soon(&mut self, id: PlaceId, now: Instant) {
        if self.places.get(&id).is_some_and(|watched| watched.is_proxy()) {
            self.schedule(id, Some(now + RECONNECT));
        }
    }

    /// The order of trial: lower first. 0: well, or nothing is known; 1: down; 2: wants no calls for now.
    pub(super) fn rank(&self, place: Place, now: Instant) -> u8 {
        if self.troubled.is_empty() {
            return 0;
        }
        let ids = match place {
            Place::Proxy { edge, proxy } => self.edges.get(edge.0).and_then(|e| e.get(proxy)),
            Place::Peer { trunk, peer } => self.trunks.get(trunk.0).and_then(|t| t.get(peer)),
        };
        let Some(watched) = ids.and_then(|id| self.places.get(id)) else { return 0 };
        match watched.state {
            _ if watched.held.is_some_and(|until| now < until) => 2,
            State::Down => 1,
            State::Unknown | State::Up => 0,
        }
    }

    /// Whether calls can be made: there is no edge, or a proxy that is not known to be down.
    pub(super) fn is_able(&self) -> bool {
        let mut proxies = self.places.values().filter(|watched| watched.is_proxy()).peekable();
        proxies.peek().is_none() || proxies.any(|watched| watched.state != State::Down)
    }

    /// The place of that name while something is wrong with it.
    pub(super) fn troubled(&self, name: impl FnOnce() -> PlaceName) -> Option<PlaceId> {
        if self.troubled.is_empty() {
            return None;
        }
        self.named(&name()).filter(|id| self.troubled.contains(id))
    }

    /// Whether nothing is known of it, or that it has not registered with us.
    pub(super) fn is_missed(&self, id: PlaceId) -> bool {
        self.places.get(&id).is_some_and(|watched| match watched.state {
            State::Unknown => true,
            State::Down => watched.why == Some(Why::NotRegistered),
            State::Up => false,
        })
    }

    pub(super) fn named(&self, name: &PlaceName) -> Option<PlaceId> {
        self.names.get(name).copied()
    }

    /// It asked for no calls for so long.
    pub(super) fn hold(&mut self, id: PlaceId, wait: Duration, now: Instant) {
        if let Some(watched) = self.places.get_mut(&id) {
            let until = now + wait.min(LONGEST_HOLD);
            watched.held = watched.held.max(Some(until));
            self.troubled.insert(id);
        }
    }

    /// It is ill.
    pub(super) fn ill(&mut self, id: PlaceId, why: Why, now: Instant) -> Change {
        let Some(watched) = self.places.get_mut(&id) else { return Change::None };
        watched.good = 0;
        let before = watched.state;
        if before == State::Down && watched.why == Some(why) {
            return Change::None;
        }
        (watched.state, watched.why) = (State::Down, Some(why));
        self.troubled.insert(id);
        if before != State::Down {
            watched.since = now;
        }
        let proxy = watched.is_proxy();
        if why == Why::NotRegistered {
            // There is nobody to be asked.
            self.schedule(id, None);
        } else if before != State::Down && !proxy {
            self.schedule(id, Some(now + DOWN_INTERVAL));
        }
        Change::Down(why)
    }

    /// It answered as it should; `enough`: no further proof is needed.
    pub(super) fn well(&mut self, id: PlaceId, enough: bool, now: Instant) -> Change {
        let Some(watched) = self.places.get_mut(&id) else { return Change::None };
        watched.good = watched.good.saturating_add(1);
        let proven = enough || watched.is_proxy() || watched.good >= GOOD_ANSWERS;
        match watched.state {
            State::Up => return Change::None,
            State::Down if !proven => return Change::None,
            State::Unknown | State::Down => {}
        }
        (watched.state, watched.why) = (State::Up, None);
        let (proxy, interval, jitter) = (watched.is_proxy(), watched.interval, watched.jitter);
        if watched.held.is_none_or(|until| until <= now) {
            self.troubled.remove(&id);
        }
        if !proxy {
            self.schedule(id, interval.map(|interval| now + interval + jitter));
        }
        Change::Up
    }

    fn schedule(&mut self, id: PlaceId, at: Option<Instant>) {
        let Some(watched) = self.places.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut watched.timer, at) {
            self.timers.remove(&(old, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }
}

impl Watched {
    pub(super) const fn is_proxy(&self) -> bool {
        matches!(self.place, Place::Proxy { .. })
    }

    /// When it is asked after now.
    fn next(&self, now: Instant) -> Option<Instant> {
        if self.state == State::Down && !self.is_proxy() {
            return Some(now + DOWN_INTERVAL);
        }
        self.interval.map(|interval| now + interval + self.jitter)
    }

    /// A peer that may never answer OPTIONS at all is given calls again after a while.
    fn is_forgiven(&self, now: Instant) -> bool {
        let mute = self.interval.is_none() && self.good == 0;
        mute && self.state == State::Down && now >= self.since + FORGIVEN
    }
}

impl Why {
    /// In words, for the log.
    pub(super) fn words(self) -> String {
        match self {
            Self::NotLocated => "not located".to_owned(),
            Self::NoConnection => "no connection".to_owned(),
            Self::Unanswered => "OPTIONS not answered".to_owned(),
            Self::Refused(status) => format!("OPTIONS refused with {status}"),
            Self::Silent => "INVITE not answered".to_owned(),
            Self::NotRegistered => "not registered".to_owned(),
        }
    }
}

impl From<Trouble> for Option<Why> {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Silent => Some(Why::Silent),
            Trouble::Unreachable => Some(Why::NoConnection),
            Trouble::Busy(_) => None,
        }
    }
}

fn interval(config: &Config, place: Place) -> Option<Duration> {
    match place {
        Place::Proxy { edge, .. } => Some(config.edges[edge.0].options_interval),
        Place::Peer { trunk, .. } => config.trunks[trunk.0].options_interval,
    }
}

/// Between two attempts to reach a proxy that cannot be reached.
const RECONNECT: Duration = Duration::from_secs(10);
/// Between two OPTIONS to a peer that is down.
const DOWN_INTERVAL: Duration = Duration::from_secs(5);
/// How many good answers bring a peer back.
const GOOD_ANSWERS: u8 = 3;
/// After so long a peer that says nothing to OPTIONS either is tried again.
const FORGIVEN: Duration = Duration::from_secs(300);
/// No Retry-After is heeded for longer.
const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// Not all gateways of an operator ask at the same moment.
const MOST_JITTER_MS: u64 = 5000;
