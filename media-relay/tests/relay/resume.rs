//! A process dies and the next one takes its sessions up: both peers go on as if nothing but a gap
//! had been, and no index of SRTP or SRTCP comes twice under one key and source (RFC 3711 §9.1).

use media_relay::Side;
use media_relay::srtp::Suite;

use crate::bench::{ADDRESS, Bench, ms};
use crate::peer::{Peer, security};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// A carrier on A, an SRTP peer on B.
fn call() -> (Bench, Peer, Peer) {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    bench.plan.sides[1].mux = true;
    bench.apply();
    (bench, Peer::plain(1), Peer::secure(2, SUITE, 1, 2))
}

/// Both talk for a while.
fn talk(bench: &mut Bench, a: &mut Peer, b: &mut Peer, packets: usize) -> Vec<u16> {
    let mut heard = Vec::new();
    for _ in 0..packets {
        heard.push(bench.talk(Side::A, a, b).1.sequence);
        bench.talk(Side::B, b, a);
        bench.pass(ms(20));
    }
    heard
}

#[test]
fn both_peers_go_on_after_a_crash_on_the_same_ports_keys_and_source() {
    let (mut bench, mut a, mut b) = call();
    talk(&mut bench, &mut a, &mut b, 200);
    let before = bench.talk(Side::A, &mut a, &mut b).1;
    let old = b.say().1;
    bench.rtp(Side::B, &old).unwrap();
    bench.pass(ms(20));
    let (at, state) = bench.checkpoint.clone().unwrap();
    assert!(bench.now - at <= ms(1100));
    // What was said in the meantime is lost.
    bench.crash(Some(state), ms(700));
    for _ in 0..35 {
        a.say();
        b.say();
    }
    let after = bench.talk(Side::A, &mut a, &mut b).1;
    assert_eq!(after.ssrc, before.ssrc);
    let jump = after.sequence.wrapping_sub(before.sequence);
    assert!((8000..9000).contains(&jump), "{jump}");
    let elapsed = after.timestamp.wrapping_sub(before.timestamp);
    assert!((5700..6200).contains(&elapsed), "720 ms are 5760: {elapsed}");
    talk(&mut bench, &mut a, &mut b, 100);
    assert_eq!(bench.rtp(Side::B, &old), None);
    assert_eq!(bench.stats(Side::B).duplicates, 1);
}

#[test]
fn a_session_without_packets_tells_nothing_and_one_with_them_once_a_second() {
    let (mut bench, mut a, mut b) = call();
    bench.pass(ms(4000));
    assert_eq!(bench.checkpoints, 0);
    talk(&mut bench, &mut a, &mut b, 1);
    // Two new latches.
    assert!((1..=2).contains(&bench.checkpoints), "{}", bench.checkpoints);
    bench.checkpoints = 0;
    talk(&mut bench, &mut a, &mut b, 500);
    assert!((9..=10).contains(&bench.checkpoints), "{}", bench.checkpoints);
    // The last one says all; after it nothing more than our own RTCP is told.
    bench.pass(ms(1100));
    bench.checkpoints = 0;
    bench.pass(ms(9000));
    assert!((2..=4).contains(&bench.checkpoints), "{}", bench.checkpoints);
}

#[test]
fn without_a_state_an_srtp_side_is_another_source() {
    let (mut bench, mut a, mut b) = call();
    talk(&mut bench, &mut a, &mut b, 10);
    let before = bench.talk(Side::A, &mut a, &mut b).1;
    bench.plan.sides[1].ssrc = Some(before.ssrc);
    bench.crash(None, ms(500));
    let after = bench.talk(Side::A, &mut a, &mut b).1;
    assert_ne!(after.ssrc, before.ssrc);
    assert!(after.sequence < 1 << 15);
    // An offer that changes nothing does not bring the old source back.
    bench.apply();
    assert_eq!(bench.talk(Side::A, &mut a, &mut b).1.ssrc, after.ssrc);
    // Nor does the next process.
    bench.pass(ms(1100));
    let (_, state) = bench.checkpoint.clone().unwrap();
    bench.crash(Some(state), ms(500));
    assert_eq!(bench.talk(Side::A, &mut a, &mut b).1.ssrc, after.ssrc);
}

#[test]
fn latches_are_kept_and_sent_to_at_once() {
    let (mut bench, mut a, mut b) = call();
    let elsewhere = "203.0.113.5:7777";
    let said = b.say().1;
    bench.rtp_from(Side::B, elsewhere, &said).unwrap();
    let (_, state) = bench.checkpoint.clone().unwrap();
    bench.crash(Some(state.clone()), ms(500));
    let (forward, _) = bench.rtp(Side::A, &a.say().1).unwrap();
    assert_eq!(forward.to, elsewhere.parse().unwrap());
    // It moves on authentication.
    bench.rtp(Side::B, &b.say().1).unwrap();
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, ADDRESS[1].parse().unwrap());
    // An address that was signalled since is the better one.
    bench.plan.sides[1].rtp = Some("203.0.113.6:9".parse().unwrap());
    bench.crash(Some(state), ms(500));
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, "203.0.113.6:9".parse().unwrap());
}
