//! A thousand forged packets change nothing but counters: the whole shard is compared, field by field, in every
//! state of keys and latches that strangers may find a call in.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::packet::RtcpWriter;
use crate::packet::Ssrc;
use crate::plan::{PoolConfig, PoolId, Security, SidePlan};
use crate::ports::PortMap;
use crate::srtp::{MAX_TRAILER, MasterKey, Sender, Suite};

const PEERS: [&str; 2] = ["192.0.2.1:4000", "198.51.100.1:5000"];
const SSRC: u32 = 0x0101_0101;

/// A plain peer on A, an SRTP peer on B, and what B's keys would make of a packet.
struct Rig {
    shard: Shard,
    plan: Plan,
    now: Instant,
    random: Random,
    /// B's key, another of its keys, and that of somebody else.
    senders: [Sender; 3],
    sequence: u16,
    /// What B has sent and was taken.
    taken: Vec<(bool, Vec<u8>)>,
}

/// How a call stands when the forgeries come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody has said a word.
    New,
    Talking,
    /// Nothing was heard for three seconds: latches are open.
    Silent,
    /// B described another address.
    Moved,
    Held,
    /// B has another key, unheard; and heard.
    Rekeyed,
    Settled,
    /// Two early dialogs.
    Forked,
}

const STANDINGS: [Standing; 8] = [
    Standing::New,
    Standing::Talking,
    Standing::Silent,
    Standing::Moved,
    Standing::Held,
    Standing::Rekeyed,
    Standing::Settled,
    Standing::Forked,
];

impl Rig {
    fn new(suite: Suite, seed: u64) -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let pool = PoolConfig { id: PoolId(0), address, ports: 20000..=20019, dscp: None };
        let now = start();
        let shard = Shard::new(PortMap::new(1, &[pool]), 0, [9; 32], now, SystemTime::UNIX_EPOCH);
        let mut sides = [20000, 20002].map(|number| SidePlan::new(port(number)));
        for (side, peer) in sides.iter_mut().zip(PEERS) {
            side.rtp = Some(peer.parse().unwrap());
        }
        sides[1].security = Some(Security { send: key(suite, 9), receive: vec![key(suite, 0)] });
        sides[1].mux = true;
        let plan = Plan { session: SessionId(1), sides };
        let senders = [0, 1, 2].map(|byte| Sender::new(&key(suite, byte)));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = Random::new(bytes);
        let mut rig = Self { shard, plan, now, random, senders, sequence: 7, taken: Vec::new() };
        rig.apply();
        rig
    }

    fn stand(&mut self, suite: Suite, standing: Standing) {
        if standing != Standing::New {
            self.talk(0, 20);
        }
        let side = &mut self.plan.sides[1];
        let receive = &mut side.security.as_mut().unwrap().receive;
        match standing {
            Standing::New | Standing::Talking => {}
            Standing::Silent => self.now += Duration::from_secs(3),
            Standing::Moved => side.rtp = Some("203.0.113.5:6000".parse().unwrap()),
            Standing::Held => (side.send, side.receive) = (false, false),
            Standing::Rekeyed | Standing::Settled => *receive = vec![key(suite, 1)],
            Standing::Forked => receive.insert(0, key(suite, 1)),
        }
        self.apply();
        if standing == Standing::Settled {
            self.talk(1, 5);
        }
        self.shard.handle_timeout(self.now);
        let mut buf = [0; 1000];
        while self.shard.poll_transmit(&mut buf, self.now).is_some() {}
        self.drain();
    }

    fn apply(&mut self) {
        let apply = Command::Apply(Box::new(self.plan.clone()));
        self.shard.handle_command(&apply, self.now);
        self.drain();
    }

    /// What the owner takes.
    fn drain(&mut self) {
        while self.shard.poll_output().is_some() {}
        while self.shard.poll_event().is_some() {}
        while self.shard.poll_checkpoint(self.now).is_some() {}
    }

    /// Both ways; B under its key number `which`.
    fn talk(&mut self, which: usize, packets: usize) {
        for n in 0..packets {
            let rtcp = n % 5 == 4;
            let wire = self.packet(which, rtcp);
            let before = self.reports();
            let forward = self.hear(1, false, PEERS[1], &wire);
            assert!(forward.is_some() || rtcp, "heard under key {which}");
            self.taken.push((rtcp, wire));
            let plain = self.clear(rtcp);
            let from = if rtcp { "192.0.2.1:4001" } else { PEERS[0] };
            assert!(self.hear(0, rtcp, from, &plain).is_some() || rtcp);
            assert_eq!(self.reports(), before.map(|count| count + u64::from(rtcp)));
            self.now += Duration::from_millis(20);
            self.drain();
        }
    }

    /// Reports taken from each side.
    fn reports(&self) -> [u64; 2] {
        let sides = self.shard.figures(self.plan.session).unwrap();
        sides.map(|side| side.received_rtcp)
    }

    fn hear(&mut self, side: usize, rtcp: bool, from: &str, bytes: &[u8]) -> Option<Forward> {
        let socket = self.shard.socket(self.plan.sides[side].port, rtcp).unwrap();
        let mut buf = bytes.to_vec();
        buf.resize(bytes.len() + 300, 0);
        self.shard.handle_packet(socket, from.parse().unwrap(), &mut buf, bytes.len(), self.now)
    }

    fn clear(&mut self, rtcp: bool) -> Vec<u8> {
        self.sequence += 1;
        let mut buf = [0x55; 100];
        if rtcp {
            let mut writer = RtcpWriter::new(&mut buf);
            writer.receiver_report(Ssrc(SSRC), &[]).unwrap();
            writer.source_description(Ssrc(SSRC), b"peer").unwrap();
            let len = writer.len();
            return buf[..len].to_vec();
        }
        buf[..2].copy_from_slice(&[0x80, 8]);
        buf[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        buf[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
        buf[8..12].copy_from_slice(&SSRC.to_be_bytes());
        buf.to_vec()
    }

    /// As the peer with that key would send it next.
    fn packet(&mut self, which: usize, rtcp: bool) -> Vec<u8> {
        let mut buf = self.clear(rtcp);
        let len = buf.len();
        buf.resize(len + MAX_TRAILER, 0);
        let sender = &mut self.senders[which];
        let sealed = if rtcp {
            sender.protect_rtcp(&mut buf, len).unwrap()
        } else {
            sender.protect_rtp(&mut buf, len).unwrap()
        };
        buf.truncate(sealed);
        buf
    }

    /// Something that is not the peer's, or is not new; and from where.
    fn forge(&mut self) -> (usize, bool, String, Vec<u8>) {
        let rtcp = self.random.below(3) == 0;
        let stranger =
            format!("203.0.113.{}:{}", self.random.below(10) + 100, 1024 + self.random.below(1000));
        // On the plain leg only the address tells a stranger.
        if self.random.below(3) == 0 {
            let bytes = self.clear(rtcp);
            let apart = self.random.below(2) == 0;
            return (0, apart, stranger, bytes);
        }
        let from = match self.random.below(2) {
            0 => stranger,
            _ => PEERS[1].to_owned(),
        };
        let apart = rtcp && self.random.below(4) == 0;
        let bytes = match self.random.below(6) {
            0 => {
                let len = self.random.below(400) as usize;
                let mut noise: Vec<u8> =
                    std::iter::repeat_with(|| self.random.next_u32() as u8).take(len).collect();
                if let [first, ..] = &mut noise[..] {
                    *first = 0x80 | *first & 0x3f;
                }
                noise
            }
            1 => self.packet(2, rtcp),
            2 => {
                let mut wire = self.packet(2, rtcp);
                wire[2..4].copy_from_slice(&(self.random.next_u32() as u16).to_be_bytes());
                wire
            }
            3 => self.clear(rtcp),
            // What was heard before: the same, with one bit changed, or cut.
            kind if !self.taken.is_empty() => {
                let at = self.random.below(self.taken.len() as u32) as usize;
                let mut wire = self.taken[at].1.clone();
                if kind == 4 {
                    let bit = self.random.below(8 * wire.len() as u32) as usize;
                    wire[bit / 8] ^= 1 << (bit % 8);
                } else if self.random.below(2) == 0 {
                    let cut = 1 + self.random.below(wire.len() as u32 - 1) as usize;
                    wire.truncate(wire.len() - cut);
                }
                wire
            }
            _ => vec![0x80; 2000],
        };
        (1, apart, from, bytes)
    }

    /// Everything but counters, as it stands at this moment.
    fn state(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let shard = &self.shard;
        for (key, session) in &shard.sessions {
            let Session { id, deadline, attention, latched, listed, news, due, told, .. } = session;
            write!(
                text,
                "{key} {id:?} {deadline:?} {attention} {latched:?} {listed} {news:?} {due:?} {told}"
            )
            .unwrap();
            for side in &session.sides {
                // Time alone opens a latch.
                let (mut rtp, mut rtcp) = (side.rtp.clone(), side.rtcp.clone());
                let settled = (rtp.settled(self.now), rtcp.settled(self.now));
                let stats = SideStats {
                    auth_failed: 0,
                    foreign: 0,
                    malformed: 0,
                    duplicates: 0,
                    dropped: 0,
                    ..side.figures()
                };
                write!(
                    text,
                    "\n{:?} {rtp:?} {rtcp:?} {settled:?} {} {} {} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {} {stats:?}",
                    side.slot,
                    side.mux,
                    side.send,
                    side.receive,
                    side.keys.snapshot(),
                    side.keys.peer_state(),
                    side.observer,
                    side.rewriter,
                    side.reports,
                    side.pace,
                    side.rtcp_pace,
                    side.kept,
                    side.reported,
                )
                .unwrap();
            }
        }
        let waiting = (shard.outputs.len(), shard.ended.len(), shard.latched.len());
        write!(
            text,
            "\n{:?} {:?} {waiting:?} {} {} {:?}",
            shard.timers,
            shard.due,
            shard.telling.len(),
            shard.has_checkpoint(),
            shard.poll_timeout(),
        )
        .unwrap();
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_thousand_forged_packets_change_nothing_but_counters(
        seed: u64,
        suite in proptest::sample::select(&Suite::ALL[..]),
    ) {
        for standing in STANDINGS {
            let mut rig = Rig::new(suite, seed);
            rig.stand(suite, standing);
            let before = rig.state();
            let refused = |rig: &Rig| {
                let [a, b] = rig.shard.figures(SessionId(1)).unwrap();
                [a, b].map(|s| s.auth_failed + s.foreign + s.malformed + s.duplicates + s.dropped)
            };
            let counted = refused(&rig);
            for _ in 0..1000 {
                let (side, apart, from, bytes) = rig.forge();
                let sent = rig.hear(side, apart, &from, &bytes);
                prop_assert_eq!(sent, None, "{:?} {:?}", standing, bytes);
            }
            prop_assert_eq!(rig.state(), before, "{:?}", standing);
            let now = refused(&rig);
            prop_assert_eq!(now[0] + now[1], counted[0] + counted[1] + 1000);
            // And the call is what it was.
            if !matches!(standing, Standing::Held) {
                let heard = usize::from(matches!(standing, Standing::Rekeyed | Standing::Settled));
                rig.sequence = 500;
                let wire = rig.packet(heard, false);
                prop_assert!(rig.hear(1, false, PEERS[1], &wire).is_some(), "{:?}", standing);
            }
        }
    }
}

fn key(suite: Suite, byte: u8) -> MasterKey {
    MasterKey::new(suite, &vec![byte; suite.key_salt_len()]).unwrap()
}

fn port(number: u16) -> Port {
    Port { shard: 0, pool: PoolId(0), index: 0, number }
}

#[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn start() -> Instant {
    Instant::now()
}
