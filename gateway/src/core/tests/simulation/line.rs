//! The line between the gateway and its peers: datagrams that are lost, doubled and overtake each other; connections that
//! keep their order, take time to open, and may break with all that is on them. What the transport's driver does with
//! connections (which one a message leaves on, what is told when one fails) is done here in the same way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_stack::endpoint::SendId;
use sip_stack::message::Message;
use sip_stack::transport::{FlowId, LocalId, Source, Target};

use super::dice::Dice;

/// What becomes of datagrams. Chances in a thousand; delays in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// The longest delay of a datagram; any shorter one is as likely, so datagrams overtake.
    pub(super) delay: u64,
}

/// How an address takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Open,
    /// They are refused at once.
    Refuses,
    /// Nothing comes back: the transport gives up after 1.5 s.
    Hangs,
}

/// What arrives.
pub(super) enum Arrival {
    ToGateway(Source, Message),
    ToPeer(Source, Message),
    /// A connection is open.
    Opened(FlowId),
    /// A connection to that address could not be opened.
    Refused(SocketAddr),
    /// The gateway notices that a connection is gone.
    Closed(FlowId),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) local: LocalId,
    /// The peer's end.
    pub(super) remote: SocketAddr,
    /// The peer opened it.
    pub(super) inbound: bool,
    ready: Instant,
    /// When the last message arrives: at the gateway, at the peer.
    last: [Instant; 2],
    /// Nothing more arrives at either end.
    broken: bool,
    /// The gateway knows that it is gone, or has closed it.
    gone: bool,
    /// Sends of the gateway since it broke.
    unsent: Vec<SendId>,
}

type Pooled = (u16, SocketAddr, Option<Arc<str>>);

/// Everything between the gateway and its peers.
pub(super) struct Line {
    pub(super) weather: Weather,
    pub(super) moods: BTreeMap<IpAddr, Mood>,
    pub(super) connections: BTreeMap<FlowId, Connection>,
    /// The gateway's own, one for each peer and name.
    pool: BTreeMap<Pooled, FlowId>,
    flying: BTreeMap<(Instant, u64), (Option<FlowId>, Arrival)>,
    count: u64,
    last_flow: u64,
    last_port: u16,
}

const AT_GATEWAY: usize = 0;
const AT_PEER: usize = 1;
/// As the driver has it.
const CONNECT: Duration = Duration::from_millis(1500);

impl Line {
    pub(super) const fn new(weather: Weather) -> Self {
        Self {
            weather,
            moods: BTreeMap::new(),
            connections: BTreeMap::new(),
            pool: BTreeMap::new(),
            flying: BTreeMap::new(),
            count: 0,
            last_flow: 0,
            last_port: 40000,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Arrival> {
        let entry = self.flying.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove().1)
    }

    fn fly(&mut self, at: Instant, flow: Option<FlowId>, arrival: Arrival) {
        self.count += 1;
        self.flying.insert((at, self.count), (flow, arrival));
    }

    /// The gateway sends.
    pub(super) fn send_to_peer(
        &mut self,
        id: SendId,
        target: &Target,
        message: Message,
        now: Instant,
        dice: &mut Dice,
    ) {
        let listener = listener(target.local);
        let source = |remote, flow| Source {
            transport: target.transport,
            local: LocalId(0),
            local_addr: remote,
            remote: listener,
            flow,
        };
        if !target.transport.is_reliable() {
            return self.datagrams(dice, now, || {
                Arrival::ToPeer(source(target.remote, None), message.clone())
            });
        }
        let flow = self.flow_for_gateway(target, now, dice);
        let connection = self.connections.get_mut(&flow).expect("made for this");
        if connection.broken {
            // What was written before the end was noticed may be lost without a word.
            if connection.ready > now || dice.chance(500) {
                connection.unsent.push(id);
            }
            return;
        }
        let remote = connection.remote;
        self.stream(flow, AT_PEER, Arrival::ToPeer(source(remote, Some(flow)), message), now, dice);
    }

    /// A peer sends from one of its addresses; `flow` is the connection it would like best.
    pub(super) fn send_to_gateway(
        &mut self,
        from: SocketAddr,
        target: &Target,
        message: Message,
        now: Instant,
        dice: &mut Dice,
    ) {
        let local = if target.remote.port() == 5061 { LocalId(0) } else { LocalId(1) };
        let source = |remote, flow| Source {
            transport: target.transport,
            local,
            local_addr: listener(local),
            remote,
            flow,
        };
        if !target.transport.is_reliable() {
            return self
                .datagrams(dice, now, || Arrival::ToGateway(source(from, None), message.clone()));
        }
        let open = |connection: &Connection| !connection.broken;
        let wished = target.flow.filter(|flow| self.connections.get(flow).is_some_and(open));
        let mut usable = self.connections.iter().filter(|(_, c)| {
            open(c) && c.remote.ip() == from.ip() && c.local == local && c.ready <= now
        });
        let any: Vec<FlowId> = usable.by_ref().map(|(flow, _)| *flow).collect();
        let flow = match wished {
            Some(flow) => flow,
            None if any.is_empty() || dice.chance(100) => {
                self.last_port += 1;
                let remote = SocketAddr::new(from.ip(), self.last_port);
                let ready = now + dice.millis(1, 60);
                let flow = self.connect(local, remote, true, ready);
                self.fly(ready, Some(flow), Arrival::Opened(flow));
                flow
            }
            None => dice.pick(&any),
        };
        let remote = self.connections[&flow].remote;
        let arrival = Arrival::ToGateway(source(remote, Some(flow)), message);
        self.stream(flow, AT_GATEWAY, arrival, now, dice);
    }

    fn datagrams(&mut self, dice: &mut Dice, now: Instant, arrival: impl Fn() -> Arrival) {
        let Weather { lost, doubled, delay } = self.weather;
        if dice.chance(lost) {
            return;
        }
        for _ in 0..=u64::from(dice.chance(doubled)) {
            let at = now + dice.millis(1, delay);
            self.fly(at, None, arrival());
        }
    }

    fn stream(
        &mut self,
        flow: FlowId,
        end: usize,
        arrival: Arrival,
        now: Instant,
        dice: &mut Dice,
    ) {
        let delay = self.weather.delay.min(300);
        let connection = self.connections.get_mut(&flow).expect("only connections that are known");
        let at = (now.max(connection.ready) + dice.millis(1, delay)).max(connection.last[end]);
        connection.last[end] = at;
        if connection.gone && end == AT_GATEWAY {
            // The gateway has closed it: what comes now is read by nobody.
            return;
        }
        self.fly(at, Some(flow), arrival);
    }

    /// The connection of a message, else the one that we have to that peer, else a new one.
    fn flow_for_gateway(&mut self, target: &Target, now: Instant, dice: &mut Dice) -> FlowId {
        let usable = |flow: &FlowId| self.connections.get(flow).is_some_and(|c| !c.gone);
        let pooled = (target.local.0, target.remote, target.name.clone());
        let known = target.flow.or_else(|| self.pool.get(&pooled).copied());
        if let Some(flow) = known.filter(usable) {
            return flow;
        }
        if let Some(flow) = self.pool.get(&pooled).copied().filter(usable) {
            return flow;
        }
        let mood = self.moods.get(&target.remote.ip()).copied().unwrap_or(Mood::Open);
        // Nobody listens at the port from which a peer has made a connection.
        let mood = if target.remote.port() >= 40000 { Mood::Refuses } else { mood };
        let (ready, opens) = match mood {
            Mood::Open => (now + dice.millis(1, 60), true),
            Mood::Refuses => (now + dice.millis(1, 20), false),
            Mood::Hangs => (now + CONNECT, false),
        };
        let flow = self.connect(target.local, target.remote, false, ready);
        self.pool.insert(pooled, flow);
        if opens {
            self.fly(ready, Some(flow), Arrival::Opened(flow));
        } else {
            self.connections.get_mut(&flow).expect("just made").broken = true;
            self.fly(ready, None, Arrival::Refused(target.remote));
            self.fly(ready, None, Arrival::Closed(flow));
        }
        flow
    }

    fn connect(
        &mut self,
        local: LocalId,
        remote: SocketAddr,
        inbound: bool,
        ready: Instant,
    ) -> FlowId {
        self.last_flow += 1;
        let flow = FlowId(self.last_flow);
        let connection = Connection {
            local,
            remote,
            inbound,
            ready,
            last: [ready; 2],
            broken: false,
            gone: false,
            unsent: Vec::new(),
        };
        self.connections.insert(flow, connection);
        flow
    }

    /// A connection breaks: what is on it is lost, and some time later the gateway notices.
    pub(super) fn break_down(&mut self, flow: FlowId, now: Instant, dice: &mut Dice) {
        let Some(connection) = self.connections.get_mut(&flow).filter(|c| !c.broken) else {
            return;
        };
        connection.broken = true;
        let lost = |of: &Option<FlowId>, arrival: &Arrival| {
            *of == Some(flow) && !matches!(arrival, Arrival::Opened(_))
        };
        self.flying.retain(|_, (of, arrival)| !lost(of, arrival));
        let noticed = now.max(connection.ready) + dice.millis(0, 3000);
        self.fly(noticed, None, Arrival::Closed(flow));
    }

    /// The connections of an address that have not broken.
    pub(super) fn of(&self, ip: IpAddr) -> Vec<FlowId> {
        let of = self.connections.iter().filter(|(_, c)| c.remote.ip() == ip && !c.broken);
        of.map(|(flow, _)| *flow).collect()
    }

    /// The gateway takes nothing new for a connection.
    pub(super) fn retire(&mut self, flow: FlowId) {
        self.pool.retain(|_, pooled| *pooled != flow);
    }

    /// The gateway closes a connection: what was sent on it by then arrives at both ends.
    pub(super) fn close(&mut self, flow: FlowId, now: Instant) {
        self.retire(flow);
        let Some(connection) = self.connections.get_mut(&flow) else { return };
        (connection.broken, connection.gone) = (true, true);
        let at = now.max(connection.last[AT_GATEWAY]);
        self.fly(at, None, Arrival::Closed(flow));
    }

    /// The gateway has noticed that a connection is gone: what it wrote since then has failed, and nothing new leaves on it.
    pub(super) fn noticed(&mut self, flow: FlowId) -> Vec<SendId> {
        self.retire(flow);
        let Some(connection) = self.connections.get_mut(&flow) else { return Vec::new() };
        connection.gone = true;
        std::mem::take(&mut connection.unsent)
    }
}

/// Where the gateway listens.
pub(super) fn listener(local: LocalId) -> SocketAddr {
    let edge = local == LocalId(0);
    if edge { ([127, 0, 0, 11], 5061).into() } else { ([127, 0, 0, 10], 5060).into() }
}
