//! The relay's threads and sockets, on loopback addresses of this process alone.

mod generated;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use media_relay::srtp::Suite;
use media_relay::{
    Command, End, Event, Full, Plan, PoolConfig, PoolId, Port, Ports, Relay, RelayConfig,
    SessionId, Side, SidePlan, SideStats, StartError,
};

use crate::peer::{Peer, security};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const INSIDE: PoolId = PoolId(0);
const OUTSIDE: PoolId = PoolId(1);

#[test]
fn a_call_crosses_and_every_packet_is_counted() {
    let mut rig = Rig::start(1, 1, 20);
    let (mut a, mut b) = (Phone::plain(1), Phone::secure(2));
    let plan = rig.plan(SessionId(1), &a, &b);
    rig.apply(&plan);
    let stranger = Phone::plain(9);
    for _ in 0..500 {
        a.talk(rig.address(plan.sides[0].port), &mut b);
        b.talk(rig.address(plan.sides[1].port), &mut a);
        stranger.socket.send_to(&[0x80; 172], rig.address(plan.sides[0].port)).unwrap();
        stranger.socket.send_to(&[0x80; 172], rig.address(plan.sides[1].port)).unwrap();
    }
    let latched = |side, phone: &Phone| {
        let from = phone.socket.local_addr().unwrap();
        Event::Latched { session: SessionId(1), side, from }
    };
    let events = [latched(Side::A, &a), latched(Side::B, &b)];
    rig.wait("both latches", |seen| events.iter().all(|event| seen.contains(event)));
    let [a, b] = rig.release(SessionId(1));
    for stats in [a, b] {
        assert_eq!((stats.received, stats.relayed, stats.sent), (500, 500, 500));
        assert_eq!((stats.lost, stats.auth_failed, stats.duplicates), (0, 0, 0));
    }
    let counters = rig.relay.counters().next().unwrap();
    assert_eq!((counters.shard.relayed, counters.send_failed), (1000, 0));
    rig.relay.stop();
}

#[test]
fn rtcp_has_its_own_port_or_shares_it() {
    let mut rig = Rig::start(2, 1, 20);
    let (mut a, mut b) = (Phone::plain(1), Phone::secure(2));
    let mut plan = rig.plan(SessionId(1), &a, &b);
    plan.sides[1].mux = true;
    let apart = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    apart.set_read_timeout(Some(PATIENCE)).unwrap();
    plan.sides[0].rtcp = Some(apart.local_addr().unwrap());
    rig.apply(&plan);
    b.talk(rig.address(plan.sides[1].port), &mut a);
    // A receiver report of B, and its bare CNAME.
    let report = [0x80, 201, 0, 1, 0, 0, 0, 2];
    let wire = b.peer.protect_rtcp(&report);
    b.socket.send_to(&wire, rig.address(plan.sides[1].port)).unwrap();
    let mut buf = [0; 2048];
    let (len, from) = apart.recv_from(&mut buf).unwrap();
    let mut rtcp = rig.address(plan.sides[0].port);
    rtcp.set_port(plan.sides[0].port.rtcp());
    // It names what A was sent, so it is a sender report by now.
    assert_eq!((buf[1], from), (200, rtcp), "{:02x?}", &buf[..len]);
    apart.send_to(&report, rtcp).unwrap();
    let len = b.socket.recv(&mut buf).unwrap();
    assert_eq!(b.peer.hear_rtcp(&buf[..len])[1], 201);
}

#[test]
fn ports_are_used_again_and_hear_nothing_of_the_call_before() {
    let mut rig = Rig::start(3, 1, 2);
    let (mut old_a, mut old_b) = (Phone::plain(1), Phone::secure(2));
    for n in 0..30 {
        let (mut a, mut b) = (Phone::plain(1), Phone::secure(2));
        let plan = rig.plan(SessionId(n), &a, &b);
        rig.apply(&plan);
        let ports = [0, 1].map(|side: usize| rig.address(plan.sides[side].port));
        for _ in 0..3 {
            a.talk(ports[0], &mut b);
            b.talk(ports[1], &mut a);
            // The phones of the call before have not hung up.
            old_a.say(ports[0]);
            old_b.say(ports[1]);
        }
        let stats = rig.release(SessionId(n));
        assert!(stats.iter().all(|stats| (stats.received, stats.sent) == (3, 3)), "{stats:?}");
        (old_a, old_b) = (a, b);
    }
    assert_eq!(rig.ports.capacity(INSIDE).warm, 1);
    let bound = rig.relay.counters().next().unwrap().bound;
    assert_eq!(bound, 2);
}

#[test]
fn two_threads_share_the_ports_and_the_calls() {
    let mut rig = Rig::start(4, 2, 40);
    let mut calls: Vec<_> = (0..6)
        .map(|n| {
            let (a, b) = (Phone::plain(1), Phone::secure(2));
            let plan = rig.plan(SessionId(n), &a, &b);
            rig.apply(&plan);
            (plan, a, b)
        })
        .collect();
    let shards: Vec<_> = calls.iter().map(|(plan, ..)| plan.sides[0].port.shard).collect();
    assert_eq!(shards, [0, 1, 0, 1, 0, 1]);
    for _ in 0..20 {
        for (plan, a, b) in &mut calls {
            a.talk(rig.address(plan.sides[0].port), b);
            b.talk(rig.address(plan.sides[1].port), a);
        }
    }
    for (n, (plan, ..)) in calls.iter().enumerate() {
        rig.shard = plan.sides[0].port.shard;
        let [a, b] = rig.release(SessionId(n as u64));
        assert_eq!((a.relayed, b.relayed), (20, 20));
    }
}

#[test]
fn a_port_of_another_process_is_skipped() {
    let address = address(5, INSIDE);
    let taken =
        [UdpSocket::bind((address, 20002)).unwrap(), UdpSocket::bind((address, 20007)).unwrap()];
    let rig = Rig::start(5, 1, 10);
    let warm: Vec<_> = rig.warm.iter().filter(|port| port.pool == INSIDE).collect();
    assert_eq!(warm.len(), 3);
    assert!(warm.iter().all(|port| port.number != 20002 && port.number != 20006), "{warm:?}");
    drop(taken);
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let config = |pools| RelayConfig {
        workers: 1,
        pools,
        warm: 4,
        reserve: 4,
        patient: false,
        rest: Duration::ZERO,
        pin: false,
        seed: [1; 32],
    };
    let elsewhere = pool(INSIDE, "192.0.2.1".parse().unwrap(), 10);
    let Err(error @ StartError::Address { .. }) = Relay::start(config(vec![elsewhere]), || ())
    else {
        panic!("started on an address of others");
    };
    assert!(error.to_string().starts_with("media address 192.0.2.1 cannot be used: "));

    let address = address(6, INSIDE);
    let taken = UdpSocket::bind((address, 20001)).unwrap();
    let full = pool(INSIDE, address, 2);
    let Err(error @ StartError::NoPorts { .. }) = Relay::start(config(vec![full]), || ()) else {
        panic!("started without a port");
    };
    assert_eq!(
        error.to_string(),
        format!("no media port of {address} (pool 0) could be bound for relay thread 0")
    );
    // One that knows that they will be free goes on.
    let full = vec![pool(INSIDE, address, 2)];
    let patient = RelayConfig { patient: true, ..config(full) };
    let mut relay = Relay::start(patient, || ()).unwrap();
    drop(taken);
    let (start, mut events) = (clock(), Vec::new());
    while events.is_empty() {
        assert!(start.elapsed() < 2 * PATIENCE, "the port was never tried again");
        std::thread::sleep(Duration::from_millis(20));
        relay.poll_events(&mut events);
    }
    assert!(matches!(&events[..], [Event::Warm { .. }]), "{events:?}");
}

/// Nobody takes events, the queues fill; and yet every session that was taken in ends, once.
#[test]
fn no_end_is_lost_while_nobody_listens() {
    let mut rig = Rig::start(7, 1, 2);
    let (a, b) = (Phone::plain(1), Phone::secure(2));
    let mut plan = rig.plan(SessionId(0), &a, &b);
    let (mut applied, mut refused) = (0, 0);
    for n in 0..20_000 {
        plan.session = SessionId(n);
        match rig.command(0, Command::Apply(Box::new(plan.clone()))) {
            Ok(()) => {
                applied += 1;
                rig.command(0, Command::Release(plan.session)).unwrap();
            }
            Err(Full) => {
                refused += 1;
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
    assert!(applied > 2000 && refused > 0, "{applied} {refused}");
    let ended = |events: &[Event]| {
        let end = |event: &&Event| matches!(event, Event::Ended { why: End::Released, .. });
        events.iter().filter(end).count()
    };
    rig.wait("all ends", |events| ended(events) == applied);
}

/// A process dies and the next one claims a pair that nobody has bound yet, while the thread goes on
/// binding; and one that another process holds.
#[test]
fn claimed_pairs_are_bound_for_their_sessions() {
    let mut rig = Rig::start(20, 1, 200);
    let (mut a, mut b) = (Phone::plain(1), Phone::secure(2));
    let mut plan = rig.plan(SessionId(1), &a, &b);
    let cold = (20000..20200).step_by(2).map(|number| Port { number, ..plan.sides[0].port });
    let cold: Vec<_> = cold.filter(|port| !rig.warm.contains(port)).take(2).collect();
    plan.sides[0].port = cold[0];
    assert!(rig.ports.claim(cold[0]) && !rig.ports.claim(plan.sides[1].port));
    let resume = Command::Resume { plan: Box::new(plan.clone()), state: None };
    rig.command(0, resume).unwrap();
    let [to_a, to_b] = [0, 1].map(|side| rig.address(plan.sides[side].port));
    // The first packets may come before the port is there.
    while rig.relay.counters().next().unwrap().shard.sessions == 0 {
        std::thread::sleep(Duration::from_micros(200));
    }
    for _ in 0..5 {
        a.talk(to_a, &mut b);
        b.talk(to_b, &mut a);
    }
    rig.wait("a checkpoint", |events| {
        events.iter().any(|event| matches!(event, Event::Checkpoint { .. }))
    });

    let taken = UdpSocket::bind(rig.address(cold[1])).unwrap();
    let mut other = rig.plan(SessionId(2), &a, &b);
    other.sides[0].port = cold[1];
    assert!(rig.ports.claim(cold[1]));
    rig.command(0, Command::Resume { plan: Box::new(other), state: None }).unwrap();
    rig.wait("the refusal", |events| {
        events.contains(&Event::Cold { port: cold[1] })
            && events.iter().any(|event| matches!(event, Event::Ended { why: End::Refused, .. }))
    });
    drop(taken);
}

/// Many more calls begin in one moment than pairs were bound at the start.
#[test]
fn a_burst_of_calls_finds_ports() {
    let [inside, outside] = [INSIDE, OUTSIDE].map(|id| pool(id, address(21, id), 1000));
    let mut rig = Rig::reserving(1, vec![inside, outside], 500);
    let free = |rig: &Rig| rig.ports.capacity(INSIDE).free.min(rig.ports.capacity(OUTSIDE).free);
    let start = clock();
    while free(&rig) < 500 {
        assert!(start.elapsed() < Duration::from_secs(1), "{} after a second", free(&rig));
        let _ = rig.woken.recv_timeout(Duration::from_millis(10));
        rig.take_events();
    }
    let pairs = std::iter::from_fn(|| rig.ports.reserve(INSIDE, OUTSIDE, clock()));
    assert_eq!(pairs.count(), 500);
}

#[test]
fn stray_packets_are_told_and_their_ports_left_alone() {
    let mut rig = Rig::start(8, 1, 4);
    let stray = rig.warm.iter().copied().find(|port| port.pool == INSIDE).unwrap();
    let phone = Phone::plain(1);
    for _ in 0..20 {
        phone.socket.send_to(b"anyone?", rig.address(stray)).unwrap();
    }
    rig.wait("a stray packet", |events| events.contains(&Event::Stray { port: stray }));
    rig.ports.stray(stray, clock());
    let (a, b) = (Phone::plain(1), Phone::secure(2));
    assert_ne!(rig.plan(SessionId(1), &a, &b).sides[0].port, stray);
    let strays = rig.events.iter().filter(|event| matches!(event, Event::Stray { .. }));
    assert_eq!(strays.count(), 1);
}

#[test]
fn at_43_huge_packets_go_nowhere_and_hurt_nobody() {
    let mut rig = Rig::start(9, 1, 4);
    let (mut a, mut b) = (Phone::plain(1), Phone::secure(2));
    let plan = rig.plan(SessionId(1), &a, &b);
    rig.apply(&plan);
    let ports = [0, 1].map(|side: usize| rig.address(plan.sides[side].port));
    for _ in 0..20 {
        for size in [0, 1, 11, 1601, 2048, 9000, 65_000] {
            a.socket.send_to(&vec![0x80; size], ports[0]).unwrap();
            b.socket.send_to(&vec![0x80; size], ports[1]).unwrap();
        }
        a.talk(ports[0], &mut b);
        b.talk(ports[1], &mut a);
    }
    let [a, b] = rig.release(SessionId(1));
    assert_eq!((a.relayed, b.relayed), (20, 20));
    assert_eq!((a.malformed, b.malformed), (140, 140));
}

/// One port gets a hundred times what a phone sends, from the phone itself, and another one packets of
/// 9 kB: a turn reads one packet of each port, so that the calls beside them wait for little.
#[test]
fn at_43_a_flood_on_one_port_delays_no_other_call() {
    let mut rig = Rig::start(22, 1, 20);
    let mut calls: Vec<_> = (1..=3)
        .map(|id| {
            let (a, b) = (Phone::plain(1), Phone::secure(2));
            let plan = rig.plan(SessionId(id), &a, &b);
            rig.apply(&plan);
            let ports = [0, 1].map(|side: usize| rig.address(plan.sides[side].port));
            (a, b, ports)
        })
        .collect();
    // The slowest but one of a hundred.
    let late = |a: &mut Phone, b: &mut Phone, to: SocketAddr| {
        let mut delays: Vec<_> = (0..200)
            .map(|_| {
                let sent = clock();
                a.talk(to, b);
                let delay = sent.elapsed();
                std::thread::sleep(Duration::from_millis(1));
                delay
            })
            .collect();
        delays.sort();
        delays[197]
    };
    let (mut a, mut b, [to, _]) = calls.pop().unwrap();
    let stop = AtomicBool::new(false);
    let flooding = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (n, (mut flooder, _, [port, _])) in calls.into_iter().enumerate() {
            let (stop, flooding, sent) = (&stop, &flooding, &sent);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if flooding.load(Ordering::Relaxed) {
                        for _ in 0..5 {
                            let wire = if n == 0 { flooder.peer.say().1 } else { vec![0x80; 9000] };
                            let _ = flooder.socket.send_to(&wire, port);
                        }
                        sent.fetch_add(5, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        // The machine may be busy with other things, which only ever makes a delay longer: the best
        // of some rounds tells what the relay does.
        let mut best = [Duration::MAX; 2];
        for _ in 0..8 {
            for (flood, best) in [false, true].into_iter().zip(&mut best) {
                flooding.store(flood, Ordering::Relaxed);
                *best = late(&mut a, &mut b, to).min(*best);
            }
            if best[1] <= best[0] + Duration::from_millis(1) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(best[1] <= best[0] + Duration::from_millis(1), "{best:?}");
        assert!(sent.load(Ordering::Relaxed) > 200);
    });
}

#[test]
fn ipv6_works_where_the_machine_has_it() {
    let local = "::1".parse().unwrap();
    let Ok(probe) = UdpSocket::bind((local, 0)) else { return };
    let first = probe.local_addr().unwrap().port() & 0xfff0;
    drop(probe);
    let ports = first..=first.saturating_add(63);
    let pools = [INSIDE, OUTSIDE].map(|id| PoolConfig {
        id,
        address: local,
        ports: ports.clone(),
        dscp: Some(46),
    });
    let mut rig = Rig::with(1, pools.to_vec());
    let (mut a, mut b) = (Phone::on(local, Peer::plain(1)), Phone::on(local, Peer::plain(2)));
    let mut plan = rig.plan(SessionId(1), &a, &b);
    plan.sides[1].security = None;
    rig.apply(&plan);
    a.talk(rig.address(plan.sides[0].port), &mut b);
    b.talk(rig.address(plan.sides[1].port), &mut a);
    let [a, b] = rig.release(SessionId(1));
    assert_eq!((a.relayed, b.relayed), (1, 1));
}

/// A relay, the ports as signalling sees them, and all that was told.
struct Rig {
    relay: Relay,
    ports: Ports,
    warm: Vec<Port>,
    events: Vec<Event>,
    woken: Receiver<()>,
    shard: u8,
    /// Sessions that are up.
    applied: u64,
}

impl Rig {
    /// Two pools with this many ports each, on addresses for this test alone.
    fn start(test: u8, workers: u8, ports: u16) -> Self {
        let pools = [INSIDE, OUTSIDE].map(|id| pool(id, address(test, id), ports));
        Self::with(workers, pools.to_vec())
    }

    fn with(workers: u8, pools: Vec<PoolConfig>) -> Self {
        Self::reserving(workers, pools, 8)
    }

    fn reserving(workers: u8, pools: Vec<PoolConfig>, reserve: u16) -> Self {
        let (wake, woken) = sync_channel(1);
        let rest = Duration::from_millis(10);
        let config = RelayConfig {
            workers,
            pools,
            warm: 8,
            reserve,
            patient: false,
            rest,
            pin: true,
            seed: [3; 32],
        };
        let relay = Relay::start(config, move || {
            let _ = wake.try_send(());
        })
        .unwrap();
        let ports = relay.ports();
        let mut rig = Self {
            relay,
            ports,
            warm: Vec::new(),
            events: Vec::new(),
            woken,
            shard: 0,
            applied: 0,
        };
        // The first ports are told before start returns.
        rig.take_events();
        assert!(!rig.warm.is_empty());
        rig
    }

    fn command(&self, shard: u8, command: Command) -> Result<(), Full> {
        self.relay.send(shard, command)?;
        self.relay.flush();
        Ok(())
    }

    fn plan(&mut self, session: SessionId, a: &Phone, b: &Phone) -> Plan {
        let (inside, outside) = self.ports.reserve(INSIDE, OUTSIDE, clock()).unwrap();
        let mut sides = [SidePlan::new(inside), SidePlan::new(outside)];
        sides[0].rtp = Some(a.socket.local_addr().unwrap());
        sides[1].rtp = Some(b.socket.local_addr().unwrap());
        sides[1].security = security(SUITE, 1, 2);
        Plan { session, sides }
    }

    fn apply(&mut self, plan: &Plan) {
        self.shard = plan.sides[0].port.shard;
        self.command(self.shard, Command::Apply(Box::new(plan.clone()))).unwrap();
        // Nothing tells that a plan is in force; packets before it would be stray. The figures are
        // written before an end is told, so that the calls before are not counted any more.
        let sessions = |rig: &Self| rig.relay.counters().map(|c| c.shard.sessions).sum::<u64>();
        let start = clock();
        self.applied += 1;
        while sessions(self) < self.applied {
            assert!(start.elapsed() < PATIENCE, "the plan was never applied");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Ends a session; its figures.
    fn release(&mut self, id: SessionId) -> [SideStats; 2] {
        self.command(self.shard, Command::Release(id)).unwrap();
        let mut found = None;
        self.wait("the end", |events| {
            found = events.iter().find_map(|event| {
                let Event::Ended { session, stats, .. } = event else { return None };
                (*session == id).then_some(**stats)
            });
            found.is_some()
        });
        self.applied -= 1;
        let held: Vec<_> = self.warm.clone();
        held.into_iter().for_each(|port| self.ports.release(port, clock()));
        found.unwrap()
    }

    fn wait(&mut self, what: &str, mut done: impl FnMut(&[Event]) -> bool) {
        let start = clock();
        loop {
            self.take_events();
            if done(&self.events) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
            let _ = self.woken.recv_timeout(Duration::from_millis(100));
        }
    }

    fn take_events(&mut self) {
        let known = self.events.len();
        self.relay.poll_events(&mut self.events);
        for event in &self.events[known..] {
            if let Event::Warm { ports } = event {
                self.ports.warm(ports);
                self.warm.extend(ports);
            }
        }
    }

    fn address(&self, port: Port) -> SocketAddr {
        SocketAddr::new(self.ports.address(port).unwrap(), port.number)
    }
}

/// A peer with a socket.
struct Phone {
    socket: UdpSocket,
    peer: Peer,
}

impl Phone {
    fn plain(ssrc: u32) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), Peer::plain(ssrc))
    }

    fn secure(ssrc: u32) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), Peer::secure(ssrc, SUITE, 1, 2))
    }

    fn on(address: IpAddr, peer: Peer) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, peer }
    }

    fn say(&mut self, to: SocketAddr) -> Vec<u8> {
        let (said, wire) = self.peer.say();
        self.socket.send_to(&wire, to).unwrap();
        said.payload
    }

    /// Says something that the other one hears.
    fn talk(&mut self, to: SocketAddr, other: &mut Self) {
        let said = self.say(to);
        let mut buf = [0; 2048];
        let len = other.socket.recv(&mut buf).unwrap();
        assert_eq!(other.peer.hear(&buf[..len]).payload, said);
    }
}

fn pool(id: PoolId, address: IpAddr, ports: u16) -> PoolConfig {
    PoolConfig { id, address, ports: 20000..=20000 + ports - 1, dscp: None }
}

/// An address for one pool of one test of this process.
fn address(test: u8, pool: PoolId) -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 + (high & 63), low, test * 2 + pool.0 + 10))
}

#[allow(clippy::disallowed_methods, reason = "real sockets want real time")]
fn clock() -> Instant {
    Instant::now()
}

const PATIENCE: Duration = Duration::from_secs(5);
