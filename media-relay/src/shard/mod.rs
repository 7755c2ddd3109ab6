//! A shard: the sessions and ports that one relay thread owns, without its sockets and its clock.
//!
//! The owner reads a datagram and gives it to [`Shard::handle_packet`], which works in the given
//! buffer and says where to send it. Commands come in order; after every call the owner drains
//! [`Shard::poll_output`], after a timeout also [`Shard::poll_transmit`], and as far as it has room
//! [`Shard::poll_event`]: events are kept as flags and lists bounded by the number of pairs, so
//! that none is lost while nobody takes them.
//!
//! No packet allocates. A packet that is refused changes nothing but a counter.

mod checkpoint;
mod fault;
#[cfg(test)]
mod forged;
mod keys;
mod latch;
mod observe;
mod pace;
mod path;
mod payload;
mod play;
mod random;
mod refusal;
mod remote;
mod report;
mod resume;
mod rewrite;
mod session;
mod side;
mod silence;
mod udptl;
mod wheel;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use slab::Slab;

pub(crate) use self::random::Random;
pub use self::refusal::Counters;

use self::checkpoint::Checkpoints;
#[cfg(all(test, feature = "net"))]
pub(crate) use self::fault::FAULTY;
use self::fault::{Moment, strike};
use self::refusal::Refusal;
use self::report::Epoch;
use self::session::Session;
use self::wheel::Wheel;
use crate::packet::{Kind, classify};
use crate::plan::{Command, End, Event, Plan, Port, SessionId, Side, SideStats};
use crate::ports::{PortMap, Slot};
use crate::state::SessionState;
use crate::tap::Tap;

/// One of the two sockets of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// The pair.
    pub slot: Slot,
    /// The RTCP socket of it.
    pub rtcp: bool,
}

/// A datagram to send: `len` bytes of the buffer, to `to`, from our own socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The pair to send from.
    pub slot: Slot,
    /// From the RTCP socket of it.
    pub rtcp: bool,
    /// The destination.
    pub to: SocketAddr,
    /// Bytes at the beginning of the buffer.
    pub len: usize,
}

/// What the owner of the sockets has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A session uses this pair from now on.
    Use(Slot),
    /// No session uses this pair any more: both sockets go back, open to all and empty.
    Idle(Slot),
    /// Close the RTP socket of the pair to all but this peer; sends there cost less then.
    Connect(Slot, SocketAddr),
    /// Open it to all again.
    Disconnect(Slot),
    /// Close both sockets of this pair, which no session uses, and bind it again only when no other
    /// is left.
    Close(Slot),
    /// Keep so many pairs of each address bound beyond those in use.
    Keep(u16),
}

/// Sessions and ports of one relay thread.
pub struct Shard {
    map: PortMap,
    shard: u8,
    pairs: Vec<Pair>,
    sessions: Slab<Session>,
    by_id: HashMap<SessionId, usize>,
    /// One entry for each session.
    timers: BTreeSet<(Instant, usize)>,
    /// Who is played something.
    wheel: Wheel,
    /// Reports and packets to make.
    due: VecDeque<(SessionId, Side, Duty)>,
    outputs: VecDeque<Output>,
    ended: VecDeque<Event>,
    latched: VecDeque<SessionId>,
    strays: VecDeque<Slot>,
    checkpoints: Checkpoints,
    random: Random,
    epoch: Epoch,
    counters: Counters,
    /// The session that is being worked on, in case that fails.
    current: Option<usize>,
    /// The session that a command asks for, in case that fails before there is one.
    asked: Option<SessionId>,
    /// The batch of checkpoints that is being made.
    telling: Vec<(SessionId, SessionState)>,
}

#[derive(Clone, Copy, Debug)]
enum Pair {
    /// No session's.
    Idle(Stray),
    Used(usize, Side),
}

/// What is made here for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    Report,
    /// A packet of what it is played.
    Play,
}

/// Packets that came to an idle pair.
#[derive(Clone, Copy, Debug, Default)]
struct Stray {
    noted: Option<Instant>,
    /// Stands in the list of pairs to tell.
    listed: bool,
}

impl Shard {
    /// An empty shard, number `shard` of `map`. `wall` is the time of day at `now`, for the NTP
    /// times in reports.
    pub fn new(map: PortMap, shard: u8, seed: [u8; 32], now: Instant, wall: SystemTime) -> Self {
        let mut seed = seed;
        seed[0] ^= shard;
        let pairs = map.pairs() as usize;
        // Sized for all at once: a slab that grows would move every context in a busy moment.
        let sessions = (pairs / usize::from(map.shards())).div_ceil(2);
        Self {
            shard,
            pairs: vec![Pair::Idle(Stray::default()); pairs],
            map,
            sessions: Slab::with_capacity(sessions),
            by_id: HashMap::new(),
            timers: BTreeSet::new(),
            wheel: Wheel::new(now),
            due: VecDeque::new(),
            outputs: VecDeque::with_capacity(64),
            ended: VecDeque::new(),
            latched: VecDeque::new(),
            strays: VecDeque::new(),
            checkpoints: Checkpoints::new(sessions, now),
            random: Random::new(seed),
            epoch: Epoch::new(wall, now),
            counters: Counters::default(),
            current: None,
            asked: None,
            telling: Vec::new(),
        }
    }

    /// Takes in `buf[..len]`, which came to `socket` from `from`, and relays it: the result, also
    /// at the beginning of `buf`, is to be sent. `buf` needs room beyond `len` for what SRTP adds
    /// ([`MAX_TRAILER`](crate::srtp::MAX_TRAILER)) and for a report (200 bytes).
    pub fn handle_packet(
        &mut self,
        socket: Socket,
        from: SocketAddr,
        buf: &mut [u8],
        len: usize,
        now: Instant,
    ) -> Option<Forward> {
        self.counters.received += 1;
        let (key, side) = match self.pairs.get(socket.slot.0 as usize)? {
            Pair::Used(key, side) => (*key, *side),
            Pair::Idle(_) => {
                self.stray(socket.slot, now);
                return None;
            }
        };
        self.current = Some(key);
        let session = self.sessions.get_mut(key)?;
        strike(session.id, Moment::Packet);
        let epoch = self.epoch;
        let datagram = buf.get(..len).filter(|_| len <= MAX_DATAGRAM).unwrap_or_default();
        let relayed = match arrival(datagram, socket.rtcp, &session.sides[side.index()]) {
            Arrival::Rtp => session.handle_rtp(side, from, buf, len, now),
            Arrival::Rtcp => session.handle_rtcp(side, socket.rtcp, from, buf, len, epoch, now),
            Arrival::Udptl => session.handle_udptl(side, from, datagram, now),
            Arrival::Neither => Err(Refusal::Malformed),
        };
        let attention = session.attention;
        let behind = session.due.is_behind(session.news);
        let forward = match relayed {
            Ok(forward) => {
                self.counters.relayed += 1;
                Some(forward)
            }
            Err(refusal) => {
                refusal.count(&mut session.sides[side.index()].stats, &mut self.counters);
                None
            }
        };
        if attention {
            self.attend(key, now);
        }
        if behind {
            self.note(key, now);
        }
        self.current = None;
        forward
    }

    /// Does what signalling asks.
    pub fn handle_command(&mut self, command: &Command, now: Instant) {
        match command {
            Command::Apply(plan) => self.apply(plan, None, now),
            Command::Resume { plan, state } => self.apply(plan, Some(state.as_deref()), now),
            Command::Cool { ports, reserve } => self.cool(ports, *reserve),
            Command::Kept(sessions) => {
                for (session, reach) in sessions {
                    let key = self.by_id.get(session);
                    if let Some(session) = key.and_then(|key| self.sessions.get_mut(*key)) {
                        session.kept(reach, now);
                    }
                }
            }
            Command::Tap { session, side, tap } => {
                let key = self.by_id.get(session);
                if let Some(session) = key.and_then(|key| self.sessions.get_mut(*key)) {
                    session.sides[side.index()].tap = tap.as_ref().and_then(Tap::writer);
                }
            }
            Command::Release(session) => {
                if let Some(key) = self.by_id.get(session).copied() {
                    if let Some(session) = self.sessions.get_mut(key) {
                        session.look(now);
                    }
                    self.end(key, End::Released);
                }
            }
        }
    }

    /// The pair cannot be had: its session, if any, ends as refused.
    pub fn handle_lost(&mut self, slot: Slot) {
        if let Some(Pair::Used(key, _)) = self.pairs.get(slot.0 as usize).copied() {
            self.counters.refused += 1;
            self.end(key, End::Refused);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Self { checkpoints, sessions, by_id, .. } = self;
        checkpoints.handle_timeout(now, |id, tick| {
            let session = by_id.get(&id).and_then(|key| sessions.get_mut(*key))?;
            Some(session.due.come(tick))
        });
        self.turn_wheel(now);
        while let Some((at, key)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.current = Some(key);
            let Some(session) = self.sessions.get_mut(key) else { continue };
            strike(session.id, Moment::Timer);
            if now.saturating_duration_since(at) > HELD_UP {
                session.forgive(now);
            }
            for side in [Side::A, Side::B] {
                let state = &mut session.sides[side.index()];
                if state.reports.due() <= now {
                    // Counts as sent even if there is nowhere to send it: tried again later.
                    state.reports.note_sent(now);
                    self.due.push_back((session.id, side, Duty::Report));
                }
            }
            self.attend(key, now);
            self.current = None;
        }
    }

    /// What peers are played now. A packet moves nothing, wherever its session stands.
    fn turn_wheel(&mut self, now: Instant) {
        let Self { wheel, sessions, due, current, .. } = self;
        wheel.turn(now, |key, side, place| {
            let Some(session) = sessions.get_mut(key) else { return false };
            let state = &mut session.sides[side.index()];
            if !state.plays_at(place) {
                return false;
            }
            *current = Some(key);
            for _ in 0..state.packets_due(now) {
                due.push_back((session.id, side, Duty::Play));
            }
            *current = None;
            true
        });
    }

    /// When [`Shard::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.wheel.due(), self.checkpoints.poll_timeout()].into_iter().flatten().min()
    }

    /// The next report to send, or packet of what a peer is played, written at the beginning of `buf`.
    pub fn poll_transmit(&mut self, buf: &mut [u8], now: Instant) -> Option<Forward> {
        while let Some((id, side, duty)) = self.due.pop_front() {
            let Some(key) = self.by_id.get(&id).copied() else { continue };
            self.current = Some(key);
            let session = self.sessions.get_mut(key)?;
            let (made, count) = match duty {
                Duty::Report => {
                    (session.report(side, buf, self.epoch, now), &mut self.counters.own_rtcp)
                }
                Duty::Play => (session.play(side, buf, now), &mut self.counters.played),
            };
            *count += u64::from(made.is_some());
            if session.due.is_behind(session.news) {
                self.note(key, now);
            }
            self.current = None;
            if made.is_some() {
                return made;
            }
        }
        None
    }

    /// The next thing to do with the sockets, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next event. May be left for later.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(ended) = self.ended.pop_front() {
            return Some(ended);
        }
        if let Some(latched) = self.poll_latched() {
            return Some(latched);
        }
        let slot = self.strays.pop_front()?;
        if let Some(Pair::Idle(stray)) = self.pairs.get_mut(slot.0 as usize) {
            stray.listed = false;
        }
        Some(Event::Stray { port: self.map.port(slot) })
    }

    /// How some sessions stand, if that is to be told. May be left for later, but not for long: see
    /// [`Event::Checkpoint`].
    pub fn poll_checkpoint(&mut self, now: Instant) -> Option<Event> {
        while self.telling.len() < CHECKPOINTS {
            let Some(id) = self.checkpoints.pop() else { break };
            let Some(key) = self.by_id.get(&id).copied() else { continue };
            self.current = Some(key);
            if let Some(session) = self.sessions.get_mut(key) {
                strike(id, Moment::Checkpoint);
                self.telling.push((id, session.checkpoint(self.epoch, now)));
            }
            self.current = None;
        }
        let sessions = std::mem::take(&mut self.telling);
        (!sessions.is_empty()).then_some(Event::Checkpoint { sessions })
    }

    /// Whether [`Shard::poll_checkpoint`] has something to tell.
    pub fn has_checkpoint(&self) -> bool {
        self.checkpoints.waiting() || !self.telling.is_empty()
    }

    /// Ends of sessions that wait for [`Shard::poll_event`]. An owner takes no more commands while
    /// there are more than it has pairs.
    pub fn backlog(&self) -> usize {
        self.ended.len()
    }

    /// Something panicked: ends the session that was being worked on, if it was one.
    pub fn handle_fault(&mut self) {
        self.counters.faults += 1;
        let (current, asked) = (self.current.take(), self.asked.take());
        let known = asked.and_then(|id| self.by_id.get(&id).copied());
        match (current.or(known), asked) {
            (Some(key), _) => self.end(key, End::Failed),
            (None, Some(session)) => self.ended.push_back(Event::Ended {
                session,
                why: End::Failed,
                stats: Box::default(),
            }),
            (None, None) => {}
        }
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        Counters { sessions: self.sessions.len() as u64, ..self.counters }
    }

    /// Figures of a session that is up.
    pub fn figures(&self, session: SessionId) -> Option<[SideStats; 2]> {
        let key = self.by_id.get(&session)?;
        self.sessions.get(*key).map(Session::figures)
    }

    /// A socket of a port.
    pub fn socket(&self, port: Port, rtcp: bool) -> Option<Socket> {
        self.map.slot(port).map(|slot| Socket { slot, rtcp })
    }

    /// `resumed`: the session is another process's, perhaps with its state.
    fn apply(&mut self, plan: &Plan, resumed: Option<Option<&SessionState>>, now: Instant) {
        let known = self.by_id.get(&plan.session).copied();
        self.asked = Some(plan.session);
        strike(plan.session, Moment::Plan);
        let Some(slots) = self.slots(plan, known) else {
            self.asked = None;
            self.refuse(plan.session, known);
            return;
        };
        let key = match known {
            Some(key) => {
                self.current = Some(key);
                let session = &mut self.sessions[key];
                for (side, slot) in session.sides.iter_mut().zip(slots) {
                    let before = side.slot;
                    if before != slot && side.rtp.connected.take().is_some() {
                        self.outputs.push_back(Output::Disconnect(before));
                    }
                    if !slots.contains(&before) {
                        self.pairs[before.0 as usize] = Pair::Idle(Stray::default());
                        self.outputs.push_back(Output::Idle(before));
                    }
                }
                session.apply(plan, slots, now);
                key
            }
            None => {
                let mut session = Session::new(plan, slots, &mut self.random, now);
                if let Some(state) = resumed {
                    session.resume(plan, state, self.epoch, now);
                }
                let key = self.sessions.insert(session);
                self.by_id.insert(plan.session, key);
                self.timers.insert((now, key));
                self.current = Some(key);
                key
            }
        };
        for (slot, side) in slots.into_iter().zip([Side::A, Side::B]) {
            let pair = &mut self.pairs[slot.0 as usize];
            if let Pair::Idle(_) = pair {
                self.outputs.push_back(Output::Use(slot));
            }
            *pair = Pair::Used(key, side);
        }
        self.enter_wheel(key);
        self.attend(key, now);
        self.note(key, now);
        (self.current, self.asked) = (None, None);
    }

    /// Gives those that begin to be played something their place.
    fn enter_wheel(&mut self, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        for side in [Side::A, Side::B] {
            let state = &mut session.sides[side.index()];
            if let Some(due) = state.play_due() {
                state.play_at(self.wheel.enter(key, side, due));
            }
        }
    }

    /// Sees to it that the session's next checkpoint is told in time.
    fn note(&mut self, key: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.due.is_behind(session.news) {
            session.due = self.checkpoints.note(session.id, session.news, session.told, now);
        }
    }

    fn cool(&mut self, ports: &[Port], reserve: u16) {
        self.outputs.push_back(Output::Keep(reserve));
        for port in ports.iter().filter(|port| port.shard == self.shard) {
            let Some(slot) = self.map.slot(*port) else { continue };
            if matches!(self.pairs[slot.0 as usize], Pair::Idle(_)) {
                self.outputs.push_back(Output::Close(slot));
            }
        }
    }

    /// The pairs of a plan, if the session may have them.
    fn slots(&self, plan: &Plan, known: Option<usize>) -> Option<[Slot; 2]> {
        let free = |slot: &Slot| match self.pairs[slot.0 as usize] {
            Pair::Idle(_) => true,
            Pair::Used(key, _) => known == Some(key),
        };
        let slot =
            |port: Port| self.map.slot(port).filter(|slot| port.shard == self.shard && free(slot));
        let [a, b] = [slot(plan.sides[0].port)?, slot(plan.sides[1].port)?];
        (a != b).then_some([a, b])
    }

    fn refuse(&mut self, session: SessionId, known: Option<usize>) {
        self.counters.refused += 1;
        match known {
            Some(key) => self.end(key, End::Refused),
            None => self.ended.push_back(Event::Ended {
                session,
                why: End::Refused,
                stats: Box::default(),
            }),
        }
    }

    fn end(&mut self, key: usize, why: End) {
        let Some(session) = self.sessions.try_remove(key) else { return };
        self.by_id.remove(&session.id);
        self.timers.remove(&(session.deadline, key));
        for side in &session.sides {
            let pair = &mut self.pairs[side.slot.0 as usize];
            if matches!(pair, Pair::Used(user, _) if *user == key) {
                *pair = Pair::Idle(Stray::default());
                self.outputs.push_back(Output::Idle(side.slot));
            }
        }
        let stats = Box::new(session.figures());
        self.ended.push_back(Event::Ended { session: session.id, why, stats });
    }

    /// Looks after a session whose latches, plan or timer changed.
    fn attend(&mut self, key: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.attention = false;
        session.look(now);
        for side in &mut session.sides {
            let settled = side.rtp.settled(now);
            if settled != side.rtp.connected {
                side.rtp.connected = settled;
                self.outputs.push_back(match settled {
                    Some(peer) => Output::Connect(side.slot, peer),
                    None => Output::Disconnect(side.slot),
                });
            }
        }
        if session.has_news() && !session.listed {
            session.listed = true;
            self.latched.push_back(session.id);
        }
        self.timers.remove(&(session.deadline, key));
        session.deadline = session.next_deadline(now).max(now + TICK);
        self.timers.insert((session.deadline, key));
    }

    fn poll_latched(&mut self) -> Option<Event> {
        while let Some(id) = self.latched.front().copied() {
            let session = self.by_id.get(&id).and_then(|key| self.sessions.get_mut(*key));
            if let Some(session) = session {
                for side in [Side::A, Side::B] {
                    let source = session.sides[side.index()].rtp.source();
                    if std::mem::take(&mut session.latched[side.index()])
                        && let Some(from) = source
                    {
                        return Some(Event::Latched { session: id, side, from });
                    }
                }
                if let Some(sides) = session.new_sounds() {
                    return Some(Event::Sound { session: id, sides });
                }
                session.listed = false;
            }
            self.latched.pop_front();
        }
        None
    }

    fn stray(&mut self, slot: Slot, now: Instant) {
        self.counters.stray += 1;
        let Some(Pair::Idle(stray)) = self.pairs.get_mut(slot.0 as usize) else { return };
        if stray.noted.is_some_and(|at| now.saturating_duration_since(at) < STRAY_INTERVAL) {
            return;
        }
        stray.noted = Some(now);
        // A pair that was used in between may stand there already.
        if !stray.listed && self.strays.len() < self.map.pairs() as usize {
            stray.listed = true;
            self.strays.push_back(slot);
        }
    }
}

/// The longest datagram that is relayed; longer ones are malformed. No more than an Ethernet frame
/// is useful for one frame of audio.
pub const MAX_DATAGRAM: usize = 1600;

/// What a datagram on a session's socket is taken for.
enum Arrival {
    Rtp,
    Rtcp,
    Udptl,
    Neither,
}

/// Without multiplexing an RTP payload type of 64-95 with the marker set looks like RTCP; 72-79,
/// which are the RTCP types in use, are never RTP (RFC 3551 §6), and a peer may multiplex before
/// it knows our answer.
fn arrival(datagram: &[u8], apart: bool, side: &side::SideState) -> Arrival {
    if side.udptl {
        return if apart || datagram.is_empty() { Arrival::Neither } else { Arrival::Udptl };
    }
    match (classify(datagram), apart) {
        (Kind::Rtcp, true) => Arrival::Rtcp,
        (Kind::Rtcp, false) if side.mux || matches!(datagram, [_, 200..=207, ..]) => Arrival::Rtcp,
        (Kind::Rtp | Kind::Rtcp, false) => Arrival::Rtp,
        (Kind::Rtp, true) | (Kind::Stun | Kind::Dtls | Kind::Other, _) => Arrival::Neither,
    }
}

/// A session's timer never rings more often.
const TICK: Duration = Duration::from_millis(1);
/// Sessions in one checkpoint.
const CHECKPOINTS: usize = 32;
/// A timer that comes so late says that the thread stood still, not that nothing came.
const HELD_UP: Duration = Duration::from_secs(1);
const STRAY_INTERVAL: Duration = Duration::from_secs(1);
