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
//! Refreshed at a random time between 1/2 and 9/10 of what was granted, so that many registrations do not come together, and
//! never sooner than after 10 s; a longer time is asked for once in each round: no registrar drives us.
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
    /// The registrar has asked for a longer time in this round.
    raised: bool,
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
                raised: false,
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
                (known.failed, known.complained, known.raised) = (0, false, false);
                known.state = State::Waiting;
                known.bound = Some(Bound { until: now + granted, granted, request });
                let part = HALF_PERMILLE + random.number() % (MOST_PERMILLE - HALF_PERMILLE);
                let wait = granted.mul_f64(permille(part)).max(LEAST_WAIT);
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
        if least <= known.wish || least > LONGEST || std::mem::replace(&mut known.raised, true) {
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
        (known.state, known.raised) = (State::Waiting, false);
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
        let peers = |what: &Self| what.peers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let address = |what: &Self| {
            let Register { registrar, user, contact, .. } = what.register.clone();
            (registrar, user, contact)
        };
        // How they share calls is no business of the registrar.
        (&self.trunk, &self.realm, self.first) == (&other.trunk, &other.realm, other.first)
            && peers(self) == peers(other)
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
/// Not even a registrar that grants next to nothing is asked sooner.
const LEAST_WAIT: Duration = Duration::from_secs(10);
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
mod tests;
