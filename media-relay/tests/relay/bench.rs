//! A shard on virtual time with one call between two peers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use media_relay::ports::PortMap;
use media_relay::shard::{Forward, Output, Shard};
use media_relay::{
    Command, Event, Plan, PoolConfig, PoolId, Port, SessionId, SessionState, Side, SidePlan,
    SideStats,
};

use crate::peer::{Packet, Peer};

/// Where the peers' RTP comes from and was signalled; their RTCP is one port higher.
pub(crate) const ADDRESS: [&str; 2] = ["192.0.2.1:4000", "198.51.100.1:5000"];
pub(crate) const SESSION: SessionId = SessionId(1);

/// A shard, the time, and what it wanted.
pub(crate) struct Bench {
    pub(crate) shard: Shard,
    pub(crate) now: Instant,
    pub(crate) plan: Plan,
    /// Since last taken.
    pub(crate) outputs: Vec<Output>,
    /// Reports made by the shard: when, from where, and what.
    pub(crate) reports: Vec<(Instant, Forward, Vec<u8>)>,
    /// The newest checkpoint that was told, when, and how many were.
    pub(crate) checkpoint: Option<(Instant, SessionState)>,
    pub(crate) checkpoints: usize,
    /// Nobody takes checkpoints.
    pub(crate) deaf: bool,
    /// They are taken, but the disk does not take them.
    pub(crate) full: bool,
    buf: Vec<u8>,
}

impl Bench {
    /// One session with plain sides, applied.
    pub(crate) fn plain() -> Self {
        Self::with(|_| ())
    }

    /// One session whose plan was changed before it was applied.
    pub(crate) fn with(change: impl FnOnce(&mut [SidePlan; 2])) -> Self {
        let mut sides = [0, 1].map(|n: u16| {
            let mut side = SidePlan::new(port(20000 + 2 * n));
            side.rtp = Some(ADDRESS[usize::from(n)].parse().unwrap());
            side
        });
        change(&mut sides);
        let mut bench = Self {
            shard: shard(start()),
            now: start(),
            plan: Plan { session: SESSION, sides },
            outputs: Vec::new(),
            reports: Vec::new(),
            checkpoint: None,
            checkpoints: 0,
            deaf: false,
            full: false,
            buf: vec![0; 2048],
        };
        bench.apply();
        bench
    }

    /// The process dies and another one takes the session up with this state, after a while.
    pub(crate) fn crash(&mut self, state: Option<SessionState>, away: Duration) {
        self.now += away;
        self.shard = shard(self.now);
        self.outputs.clear();
        self.checkpoint = None;
        let plan = Box::new(self.plan.clone());
        self.command(&Command::Resume { plan, state: state.map(Box::new) });
    }

    /// Applies the plan as it stands.
    pub(crate) fn apply(&mut self) {
        self.command(&Command::Apply(Box::new(self.plan.clone())));
    }

    pub(crate) fn command(&mut self, command: &Command) {
        self.shard.handle_command(command, self.now);
        self.drain();
    }

    /// Lets time pass, with all that falls due in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.shard.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.serve();
        }
        self.now = until;
    }

    /// Time passes in which the thread does not run; then it serves its timers.
    pub(crate) fn stand_still(&mut self, time: Duration) {
        self.now += time;
        self.serve();
    }

    fn serve(&mut self) {
        self.shard.handle_timeout(self.now);
        while let Some(forward) = self.shard.poll_transmit(&mut self.buf, self.now) {
            self.reports.push((self.now, forward, self.buf[..forward.len].to_vec()));
        }
        self.drain();
    }

    /// A datagram to one of our sockets; what is sent on.
    pub(crate) fn datagram(
        &mut self,
        port: Port,
        rtcp: bool,
        from: &str,
        bytes: &[u8],
    ) -> Option<(Forward, Vec<u8>)> {
        let socket = self.shard.socket(port, rtcp).unwrap();
        self.buf[..bytes.len()].copy_from_slice(bytes);
        let from = from.parse().unwrap();
        let forward = self.shard.handle_packet(socket, from, &mut self.buf, bytes.len(), self.now);
        self.drain();
        forward.map(|forward| (forward, self.buf[..forward.len].to_vec()))
    }

    /// RTP from the peer of a side, from anywhere; what is sent on.
    pub(crate) fn rtp_from(
        &mut self,
        side: Side,
        from: &str,
        bytes: &[u8],
    ) -> Option<(Forward, Vec<u8>)> {
        self.datagram(self.plan.sides[side.index()].port, false, from, bytes)
    }

    /// RTP from where the peer of a side usually sends; what is sent on.
    pub(crate) fn rtp(&mut self, side: Side, bytes: &[u8]) -> Option<(Forward, Vec<u8>)> {
        self.rtp_from(side, ADDRESS[side.index()], bytes)
    }

    /// RTCP from the usual place: the RTP port if multiplexed, else the next.
    pub(crate) fn rtcp(&mut self, side: Side, bytes: &[u8]) -> Option<(Forward, Vec<u8>)> {
        let plan = &self.plan.sides[side.index()];
        let (port, apart) = (plan.port, !plan.mux);
        let mut from: SocketAddr = ADDRESS[side.index()].parse().unwrap();
        from.set_port(from.port() + u16::from(apart));
        self.datagram(port, apart, &from.to_string(), bytes)
    }

    /// One packet from the peer of `side` arrives whole at the other one.
    pub(crate) fn talk(&mut self, side: Side, from: &mut Peer, to: &mut Peer) -> (Packet, Packet) {
        let (said, wire) = from.say();
        let (forward, relayed) = self.rtp(side, &wire).expect("relayed");
        let there = side.other();
        assert_eq!(forward.to, ADDRESS[there.index()].parse().unwrap());
        let heard = to.hear(&relayed);
        assert_eq!(heard.payload, said.payload);
        assert_eq!(heard.marker, said.marker);
        (said, heard)
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.shard.poll_event()).collect()
    }

    pub(crate) fn stats(&self, side: Side) -> SideStats {
        self.shard.figures(SESSION).unwrap()[side.index()]
    }

    fn drain(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            self.outputs.push(output);
        }
        while let Some(event) = (!self.deaf).then(|| self.shard.poll_checkpoint(self.now)).flatten()
        {
            let Event::Checkpoint { sessions } = event else { panic!("{event:?}") };
            if self.full {
                continue;
            }
            let kept = sessions.iter().map(|(id, state)| (*id, state.reach())).collect();
            self.shard.handle_command(&Command::Kept(kept), self.now);
            for (session, state) in sessions {
                if session == self.plan.session {
                    self.checkpoint = Some((self.now, state));
                    self.checkpoints += 1;
                }
            }
        }
    }
}

pub(crate) fn port(number: u16) -> Port {
    Port { shard: 0, pool: PoolId(0), index: 0, number }
}

/// A shard that is born now, in a process whose number makes no difference to the sessions.
pub(crate) fn shard(now: Instant) -> Shard {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let pool = PoolConfig { id: PoolId(0), address, ports: 20000..=20019, dscp: None };
    let since = now.duration_since(start());
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(since.as_nanos() as u64).to_le_bytes());
    let wall = SystemTime::UNIX_EPOCH + since;
    Shard::new(PortMap::new(1, &[pool]), 0, seed, now, wall)
}

pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// The same moment for the whole run, so that equal inputs give equal results.
#[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
pub(crate) fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
