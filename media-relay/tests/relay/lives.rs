//! Thousands of sessions that die and are resumed, over a bad network, with checkpoints that are late,
//! old or gone. One oracle hears all that is sent: no index of SRTP or SRTCP comes twice under one key
//! and source over all lives (RFC 3711 §9.1). Others hear what the network leaves: all of it must be
//! authentic to them, with the rollover counter that they count for themselves.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use media_relay::srtp::Suite;
use media_relay::{SessionState, Side};

use crate::bench::{Bench, ms};
use crate::peer::{Peer, security};
use crate::play::music;
use crate::rtcp::sender_report;

/// A run, repeatable by its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// What we send to one SRTP peer, as two listeners hear it.
struct Ear {
    suite: Suite,
    /// Hears everything, in the order in which it was sent.
    tap: Peer,
    /// Hears what was not lost.
    peer: Peer,
    /// Of each source.
    highest: Vec<(u32, u64)>,
    rtp: HashSet<(u32, u64)>,
    rtcp: HashSet<(u32, u32)>,
}

impl Ear {
    fn new(suite: Suite, hears: u8) -> Self {
        let peer = || Peer::secure(0, suite, 0, hears);
        let (rtp, rtcp) = (HashSet::new(), HashSet::new());
        Self { suite, tap: peer(), peer: peer(), highest: Vec::new(), rtp, rtcp }
    }

    fn hear(&mut self, wire: &[u8], lost: bool) {
        if (200..=207).contains(&wire[1]) {
            let clear = self.tap.hear_rtcp(wire);
            let tag = match self.suite {
                Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 10,
                Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 0,
            };
            let index = wire[wire.len() - tag - 4..].first_chunk::<4>().unwrap();
            let ssrc = clear[4..].first_chunk::<4>().unwrap();
            let [ssrc, index] = [ssrc, index].map(|bytes| u32::from_be_bytes(*bytes));
            assert!(self.rtcp.insert((ssrc, index)), "SRTCP index {index:x} twice");
            if !lost {
                self.peer.hear_rtcp(wire);
            }
            return;
        }
        let packet = self.tap.hear(wire);
        // Authentic, so that this is the index it was sent with.
        let index = match self.highest.iter_mut().find(|(ssrc, _)| *ssrc == packet.ssrc) {
            None => {
                let index = u64::from(packet.sequence);
                self.highest.push((packet.ssrc, index));
                index
            }
            Some((_, highest)) => {
                let step = packet.sequence.wrapping_sub(*highest as u16).cast_signed();
                let index = highest.saturating_add_signed(step.into());
                *highest = index.max(*highest);
                index
            }
        };
        assert!(self.rtp.insert((packet.ssrc, index)), "SRTP index {index:x} twice");
        if !lost {
            self.peer.hear(wire);
        }
    }
}

/// One session, its two peers, and what is known of both.
struct World {
    random: Random,
    bench: Bench,
    peers: [Peer; 2],
    ears: [Option<Ear>; 2],
    /// What came from an SRTP peer and was taken: when, from which side, and what.
    taken: Vec<(Instant, Side, Vec<u8>)>,
    /// One in so many packets that we send is lost.
    loss: u64,
    /// How far A jumps ahead now and then.
    leaps: bool,
    /// Now and then a peer is played something, until it is not any more.
    plays: bool,
}

const SIDES: [Side; 2] = [Side::A, Side::B];

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let suites = [0, 1].map(|_| Suite::ALL[random.below(4) as usize]);
        let secure = [random.one_in(3), true];
        let mux = [0, 1].map(|_| random.one_in(2));
        let mut bench = Bench::with(|sides| {
            for (n, side) in sides.iter_mut().enumerate() {
                let keys = 10 * n as u8;
                side.security =
                    secure[n].then(|| security(suites[n], keys + 1, keys + 2)).flatten();
                side.mux = mux[n];
            }
        });
        // The process that dies is never the first thing its clock saw.
        bench.pass(ms(random.below(5000)));
        let mut peers = [0_usize, 1].map(|n| {
            let (ssrc, keys) = (n as u32 + 1, 10 * n as u8);
            match secure[n] {
                true => Peer::secure(ssrc, suites[n], keys + 1, keys + 2),
                false => Peer::plain(ssrc),
            }
        });
        for peer in &mut peers {
            peer.next.sequence = match random.below(3) {
                0 => 65_535 - random.below(200) as u16,
                1 => 32_768 - random.below(200) as u16,
                _ => random.next() as u16,
            };
        }
        let ears = [0_usize, 1].map(|n| secure[n].then(|| Ear::new(suites[n], 10 * n as u8 + 2)));
        let (loss, leaps) = (2 + random.below(60), random.one_in(2));
        Self { random, bench, peers, ears, taken: Vec::new(), loss, leaps, plays: false }
    }

    /// What we sent to a side reaches who listens there.
    fn deliver(&mut self, side: Side, wire: &[u8]) {
        let lost = self.random.one_in(self.loss);
        if let Some(ear) = &mut self.ears[side.index()] {
            ear.hear(wire, lost);
        }
    }

    fn hear_reports(&mut self) {
        for (_, forward, wire) in std::mem::take(&mut self.bench.reports) {
            let side = SIDES.into_iter().find(|side| {
                let port = self.bench.plan.sides[side.index()].port;
                self.bench.shard.socket(port, false).is_some_and(|s| s.slot == forward.slot)
            });
            self.deliver(side.unwrap(), &wire);
        }
    }

    /// A packet of a peer arrives; whether it went on.
    fn arrive(&mut self, side: Side, rtcp: bool, wire: Vec<u8>) -> bool {
        let sent = match rtcp {
            true => self.bench.rtcp(side, &wire),
            false => self.bench.rtp(side, &wire),
        };
        let went_on = sent.is_some();
        if let Some((_, relayed)) = sent {
            self.deliver(side.other(), &relayed);
            if self.ears[side.index()].is_some() && !rtcp {
                self.taken.push((self.bench.now, side, wire));
            }
        }
        went_on
    }

    /// One packet of each peer every 20 ms, with all that may befall it.
    fn talk(&mut self, packets: u64) {
        for _ in 0..packets {
            if self.plays && self.random.one_in(15) {
                let side = &mut self.bench.plan.sides[self.random.below(2) as usize];
                side.play = side.play.take().map_or_else(|| Some(music(true)), |_| None);
                self.bench.apply();
            }
            for side in SIDES {
                let peer = &mut self.peers[side.index()];
                if self.leaps && side == Side::A && self.random.one_in(8) {
                    // Never so far that an SRTP peer's own counter would be lost.
                    let leap = self.random.below(2990) as u16;
                    peer.next.sequence = peer.next.sequence.wrapping_add(leap);
                }
                let (_, wire) = peer.say();
                match self.random.below(20) {
                    0 => {}
                    1 => {
                        let (_, next) = self.peers[side.index()].say();
                        self.arrive(side, false, next);
                        self.arrive(side, false, wire);
                    }
                    2 => {
                        self.arrive(side, false, wire.clone());
                        assert!(!self.arrive(side, false, wire), "a second copy");
                    }
                    _ => {
                        self.arrive(side, false, wire);
                    }
                }
                if self.random.one_in(40) {
                    let peer = &mut self.peers[side.index()];
                    let (ssrc, ntp) = (peer.next.ssrc, self.random.next());
                    let report = sender_report(ssrc, ntp, peer.next.timestamp, None);
                    let wire = peer.protect_rtcp(&report);
                    self.arrive(side, true, wire);
                }
            }
            self.bench.pass(ms(20));
            self.hear_reports();
        }
    }

    /// The process dies; the peers talk on for a while; the next one has this state.
    fn crash(&mut self, kept: Option<(Instant, SessionState)>) {
        let away = self.random.below(1500);
        self.bench.crash(kept.as_ref().map(|(_, state)| state.clone()), ms(away));
        for peer in &mut self.peers {
            for _ in 0..away / 20 {
                peer.say();
            }
        }
        // Whoever recorded what was sent before the checkpoint gets nowhere with it.
        let Some((at, _)) = kept else { return };
        for (when, side, wire) in std::mem::take(&mut self.taken) {
            if when < at {
                let again = self.bench.rtp(side, &wire);
                assert_eq!(again, None, "a packet of an earlier life");
            }
        }
    }

    /// One packet of each peer every millisecond.
    fn wild(&mut self, packets: u64) {
        for _ in 0..packets {
            for side in SIDES {
                let peer = &mut self.peers[side.index()];
                if self.leaps && side == Side::A && self.random.one_in(3) {
                    let leap = self.random.below(2990) as u16;
                    peer.next.sequence = peer.next.sequence.wrapping_add(leap);
                }
                let (_, wire) = peer.say();
                self.arrive(side, false, wire);
            }
            self.bench.pass(ms(1));
            self.hear_reports();
        }
    }

    /// At the end the line is clear: every packet goes on and is heard.
    fn settle(&mut self) {
        self.leaps = false;
        self.loss = u64::MAX;
        self.bench.deaf = false;
        self.bench.plan.sides.iter_mut().for_each(|side| side.play = None);
        self.bench.apply();
        self.bench.pass(ms(20));
        self.hear_reports();
        for round in 0..20 {
            for side in SIDES {
                let (_, wire) = self.peers[side.index()].say();
                let went_on = self.arrive(side, false, wire);
                assert!(
                    went_on || round < 2,
                    "{side:?} in round {round}: {:?}",
                    self.bench.stats(side)
                );
            }
            self.bench.pass(ms(20));
            self.hear_reports();
        }
        let before = self.ears.each_ref().map(|ear| ear.as_ref().map(|ear| ear.rtcp.len()));
        self.bench.pass(ms(5000));
        self.hear_reports();
        for (ear, before) in self.ears.iter().zip(before) {
            assert!(ear.as_ref().map(|ear| ear.rtcp.len()) > before || before.is_none(), "no RTCP");
        }
    }
}

/// Checkpoints as they come, or missed for a while; up to three deaths, the second sometimes at once.
#[test]
fn no_index_comes_twice_over_all_lives_and_every_packet_is_heard() {
    for_seeds(2000, |seed| {
        let mut world = World::new(seed);
        let mut kept = None;
        for _ in 0..=world.random.below(3) {
            let packets = world.random.below(150);
            world.talk(packets);
            if world.random.one_in(3) {
                world.bench.deaf = true;
                let packets = world.random.below(200);
                world.talk(packets);
            }
            kept = world.bench.checkpoint.take().or(kept);
            // Whoever has nothing to tell has sent nothing.
            if kept.is_none() {
                continue;
            }
            if world.random.one_in(3) {
                // Dead again before anything it told was kept; perhaps before anybody heard of it.
                world.bench.deaf = world.random.one_in(2);
                world.bench.full = true;
                world.crash(kept.clone());
                kept = kept.map(|(at, state)| (at, state.resumed()));
                // However A leaps; but an SRTP peer's own counter can be lost by that, as nothing of it is kept.
                let leaps = world.leaps;
                world.leaps &= world.ears[0].is_none();
                let packets = world.random.below(600);
                world.talk(packets);
                world.leaps = leaps;
            }
            (world.bench.deaf, world.bench.full) = (false, false);
            world.crash(kept.clone());
            kept = kept.map(|(at, state)| (at, state.resumed()));
        }
        world.settle();
    });
}

/// The state is gone: another source under the same key, and nothing of the old one again.
#[test]
fn without_a_state_no_index_comes_twice_either() {
    for_seeds(500, |seed| {
        let mut world = World::new(seed);
        // A peer's rollover counter is guessed only near its beginning.
        for peer in &mut world.peers {
            peer.next.sequence &= 0x3fff;
        }
        world.leaps = false;
        for _ in 0..3 {
            let packets = world.random.below(60);
            world.talk(packets);
            world.crash(None);
        }
        world.settle();
    });
}

/// Music that begins, ends and goes on over deaths takes its indexes from the same run.
#[test]
fn no_index_comes_twice_with_music_either() {
    for_seeds(1000, |seed| {
        let mut world = World::new(seed);
        world.plays = true;
        let mut kept = None;
        for _ in 0..=world.random.below(3) {
            let packets = world.random.below(150);
            world.talk(packets);
            world.bench.deaf = world.random.one_in(4);
            let packets = world.random.below(150);
            world.talk(packets);
            kept = world.bench.checkpoint.take().or(kept);
            world.bench.deaf = false;
            if kept.is_some() {
                world.crash(kept.clone());
                kept = kept.map(|(at, state)| (at, state.resumed()));
            }
        }
        world.settle();
    });
}

/// A second on the wire is a thousand packets, some of them far ahead, and the disk takes nothing for a
/// while: then the process dies.
#[test]
fn r10_what_was_told_and_never_kept_costs_no_index() {
    for_seeds(60, |seed| {
        let mut world = World::new(seed);
        // An SRTP peer's own counter could be lost by that, as nothing of it is kept.
        world.leaps = world.ears[0].is_none();
        world.talk(60);
        let mut kept = world.bench.checkpoint.take();
        for _ in 0..2 {
            world.bench.full = true;
            world.wild(5_000 + seed * 200);
            world.crash(kept.clone());
            kept = kept.map(|(at, state)| (at, state.resumed()));
            world.bench.full = false;
            world.wild(100);
            kept = world.bench.checkpoint.take().or(kept);
        }
        world.crash(kept);
        world.settle();
    });
}

/// A disk that stays full silences nobody for long: what is sent goes on as another source.
#[test]
fn r10_media_go_on_while_nothing_is_kept() {
    let mut world = World::new(7);
    world.leaps = false;
    world.talk(60);
    world.bench.full = true;
    let sources = |world: &World| world.ears[1].as_ref().map_or(0, |ear| ear.highest.len());
    let heard = |world: &World| world.ears[1].as_ref().map_or(0, |ear| ear.rtp.len());
    assert_eq!(sources(&world), 1);
    // An hour and a half, more sources than a context keeps.
    let mut longest = (0, 0);
    for _ in 0..270 {
        let before = heard(&world);
        world.talk(1000);
        longest = if heard(&world) == before { (longest.0 + 1, longest.1) } else { (0, longest.1) };
        longest.1 = longest.1.max(longest.0);
    }
    assert!((33..=36).contains(&sources(&world)), "{}", sources(&world));
    assert!(longest.1 <= 1, "silent for {} times 20 s", longest.1);
    world.bench.full = false;
    world.settle();
}

/// Nobody takes checkpoints: what is sent under one source ends before the next life could meet it.
#[test]
fn nothing_is_sent_further_than_the_next_life_would_jump() {
    let mut world = World::new(7);
    let told = loop {
        world.talk(10);
        if let Some(told) = world.bench.checkpoint.take() {
            break told;
        }
    };
    world.leaps = false;
    world.bench.deaf = true;
    let ear = |world: &World| world.ears[1].as_ref().map_or(0, |ear| ear.rtp.len());
    let before = ear(&world);
    for _ in 0..1100 {
        world.talk(10);
    }
    let sent = ear(&world) - before;
    assert!(sent > 9000, "it went on: {sent}");
    let ears = world.ears[1].as_ref();
    let first = ears.map(|ear| ear.highest[0].0);
    let of_first =
        ears.map_or(0, |ear| ear.rtp.iter().filter(|(of, _)| Some(*of) == first).count());
    assert!((7000..=8192 + before).contains(&of_first), "{of_first}");
    world.bench.deaf = false;
    world.talk(2);
    assert!(ear(&world) > before + sent);
    // That the state is from long ago makes it another source.
    world.crash(Some(told));
    world.settle();
}

/// Says which seed failed.
fn for_seeds(seeds: u64, run: impl Fn(u64)) {
    for seed in 0..seeds {
        let result = catch_unwind(AssertUnwindSafe(|| run(seed)));
        assert!(result.is_ok(), "seed {seed}");
    }
}
