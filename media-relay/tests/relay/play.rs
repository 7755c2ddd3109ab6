//! What a peer is played instead of the other side: when, what, and as part of one stream.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Instant;

use media_relay::audio::{Clip, Law, tone};
use media_relay::srtp::Suite;
use media_relay::{Play, Side};

use crate::bench::{ADDRESS, Bench, ms};
use crate::peer::{Packet, Peer, security};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// Half a second and one sample of 1000 Hz, so that it never ends with a packet.
pub(crate) fn music(looped: bool) -> Play {
    let wave = |n: u32| ((TAU * f64::from(n) / 8.0).sin() * 8000.0) as i16;
    let samples: Vec<i16> = (0..4001).map(wave).collect();
    let clip = Arc::new(Clip::new(&samples).unwrap());
    Play { clip, law: Law::A, payload: 8, looped, yields: false }
}

/// The packets that the peer of a side was sent since last asked, and when.
fn heard(bench: &mut Bench, side: Side, peer: &mut Peer) -> Vec<(Instant, Packet)> {
    let slot = bench.shard.socket(bench.plan.sides[side.index()].port, false).unwrap().slot;
    let mut packets = Vec::new();
    for (at, forward, wire) in std::mem::take(&mut bench.reports) {
        let rtcp = forward.rtcp || (200..=207).contains(&wire[1]);
        if forward.slot == slot && !rtcp {
            assert_eq!(forward.to, ADDRESS[side.index()].parse().unwrap());
            packets.push((at, peer.hear(&wire)));
        }
    }
    packets
}

fn samples(packets: &[(Instant, Packet)], law: Law) -> Vec<i16> {
    packets.iter().flat_map(|(_, p)| p.payload.iter().map(|byte| law.decode(*byte))).collect()
}

/// The peak of a sine of that frequency in these samples (Goertzel).
fn peak(samples: &[i16], hertz: u32) -> f64 {
    let coefficient = 2.0 * (TAU * f64::from(hertz) / 8000.0).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (f64::from(*sample) + coefficient * last - before, last);
    }
    let power = last * last + before * before - coefficient * last * before;
    power.max(0.0).sqrt() * 2.0 / samples.len() as f64
}

/// Continuous in all but time: one source, numbers one apart.
fn one_stream(packets: &[Packet]) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
}

/// Ten seconds: 500 packets, each when it is due, 160 samples apart.
#[test]
fn a_packet_every_20_ms_and_the_stream_goes_on_before_and_behind() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    // Near a rollover of the counter, for the music to cross it.
    let mut stream = Vec::new();
    while stream.last().is_none_or(|packet: &Packet| packet.sequence != 65_300) {
        stream.push(bench.talk(Side::A, &mut a, &mut b).1);
        bench.pass(ms(20));
    }
    let before = stream.len();
    bench.reports.clear();
    let began = bench.now;
    bench.plan.sides[1].play = Some(music(true));
    bench.apply();
    for second in 0..10 {
        // What the other side says meanwhile is held.
        let (_, wire) = a.say();
        assert_eq!(bench.rtp(Side::A, &wire), None, "{second}");
        bench.talk(Side::B, &mut b, &mut a);
        bench.pass(ms(1000) - ms(u64::from(second == 9)));
    }
    let played = heard(&mut bench, Side::B, &mut b);
    assert_eq!(played.len(), 500);
    for (n, (at, packet)) in played.iter().enumerate() {
        // A timer never rings in the moment in which it is set.
        let due = began + ms(20) * n as u32;
        assert!(*at == due || (n == 0 && *at == began + ms(1)), "{n}: {:?}", *at - began);
        assert_eq!((packet.payload_type, packet.payload.len()), (8, 160));
        assert_eq!(packet.marker, n == 0, "{n}");
    }
    for pair in played.windows(2) {
        assert_eq!(pair[1].1.timestamp, pair[0].1.timestamp.wrapping_add(160));
    }
    let sound = samples(&played, Law::A);
    assert!(peak(&sound[..4000], 1000) > 7700.0 && peak(&sound[..4000], 700) < 100.0);
    assert_eq!(sound[4001..8002], sound[..4001], "it is heard again");

    stream.extend(played.into_iter().map(|(_, packet)| packet));
    bench.plan.sides[1].play = None;
    bench.apply();
    bench.pass(ms(7));
    for _ in 0..100 {
        stream.push(bench.talk(Side::A, &mut a, &mut b).1);
        bench.pass(ms(20));
    }
    assert!(heard(&mut bench, Side::B, &mut b).is_empty());
    one_stream(&stream);
    assert!(stream.windows(2).any(|pair| pair[1].sequence < pair[0].sequence), "it rolled over");
    let [last, first] = [499, 500].map(|n| &stream[before + n]);
    assert_eq!(first.timestamp.wrapping_sub(last.timestamp), 26 * 8, "the time that passed");
    let stats = bench.stats(Side::B);
    assert_eq!((stats.played, stats.sent), (500, before as u64 + 600));
    assert_eq!(bench.stats(Side::A).held, 10);
    assert_eq!(bench.shard.counters().played, 500);
}

/// Where the plan names no source, the one that was passed on so far stays, and nothing of it comes twice.
#[test]
fn a_plain_peer_hears_one_stream_whatever_the_other_side_counts() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(77), Peer::plain(2));
    let mut stream = Vec::new();
    for round in 0..3 {
        for _ in 0..50 {
            stream.push(bench.talk(Side::A, &mut a, &mut b).1);
            bench.pass(ms(20));
        }
        bench.reports.clear();
        bench.plan.sides[1].play = Some(music(true));
        bench.apply();
        bench.pass(ms(1000));
        // A refresh in between changes nothing.
        bench.apply();
        bench.pass(ms(1000));
        let played = heard(&mut bench, Side::B, &mut b);
        assert!((100..=101).contains(&played.len()), "{round}: {}", played.len());
        assert_eq!(played.iter().filter(|(_, packet)| packet.marker).count(), 1, "{round}");
        stream.extend(played.into_iter().map(|(_, packet)| packet));
        bench.plan.sides[1].play = None;
        bench.apply();
        // Held all the while, it counted on, or it said nothing, or it began anew.
        match round {
            0 => a.next.sequence = a.next.sequence.wrapping_add(100),
            1 => {}
            _ => a = Peer::plain(78),
        }
    }
    one_stream(&stream);
    assert!(stream.iter().all(|packet| packet.ssrc == 77));
    // What A hears never went through anything.
    bench.talk(Side::B, &mut b, &mut a);
    let (said, relayed) = bench.talk(Side::B, &mut b, &mut a);
    assert_eq!(said, relayed);
}

/// The thread did not get the processor for a while: no burst.
#[test]
fn after_a_pause_few_packets_follow_at_once() {
    let mut bench = Bench::plain();
    let mut b = Peer::plain(2);
    bench.plan.sides[1].play = Some(music(true));
    bench.apply();
    bench.pass(ms(30));
    let before = heard(&mut bench, Side::B, &mut b);
    assert_eq!(before.len(), 2);
    bench.now += ms(1000);
    bench.pass(ms(0));
    let late = heard(&mut bench, Side::B, &mut b);
    assert_eq!(late.len(), 3);
    bench.pass(ms(40));
    let after = heard(&mut bench, Side::B, &mut b);
    assert_eq!(after.len(), 2, "on the old beat");
    let all: Vec<_> = before.into_iter().chain(late).chain(after).map(|(_, p)| p).collect();
    one_stream(&all);
    let steps: Vec<_> = all.windows(2).map(|p| p[1].timestamp - p[0].timestamp).collect();
    // 50 were due, of which 47 are left out.
    assert_eq!(steps, [160, 48 * 160, 160, 160, 160, 160]);
    bench.now += ms(49);
    bench.pass(ms(0));
    assert_eq!(heard(&mut bench, Side::B, &mut b).len(), 2, "all, of a short one");
}

#[test]
fn what_is_played_once_ends_and_the_other_side_is_heard_again() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.plan.sides[1].play = Some(music(false));
    bench.apply();
    bench.pass(ms(2000));
    let played = heard(&mut bench, Side::B, &mut b);
    // 25 packets and one sample.
    assert_eq!(played.len(), 26);
    assert!(played[25].1.payload[1..].iter().all(|byte| *byte == Law::A.encode(0)));
    let (_, said) = bench.talk(Side::A, &mut a, &mut b);
    assert_eq!(said.sequence, played[25].1.sequence.wrapping_add(1));
    // The same plan again is no reason to begin anew, another piece is.
    bench.apply();
    bench.pass(ms(500));
    assert!(heard(&mut bench, Side::B, &mut b).is_empty());
    bench.plan.sides[1].play = Some(music(false));
    bench.apply();
    bench.pass(ms(2000));
    assert_eq!(heard(&mut bench, Side::B, &mut b).len(), 26);
}

/// Under the other law, as another type, and each country's tone in its cadence.
#[test]
fn ringback_is_heard_in_its_cadence() {
    let mut bench = Bench::plain();
    let mut a = Peer::plain(1);
    let clip = Arc::new(tone::tone(tone::Tone::Ringback, Some("GB")));
    bench.plan.sides[0].play =
        Some(Play { clip, law: Law::Mu, payload: 0, looped: true, yields: false });
    bench.apply();
    bench.pass(ms(6000));
    let played = heard(&mut bench, Side::A, &mut a);
    assert!(played.iter().all(|(_, packet)| packet.payload_type == 0));
    let sound = samples(&played, Law::Mu);
    for (from, to, loud) in [
        (0, 400, true),
        (400, 600, false),
        (600, 1000, true),
        (1000, 3000, false),
        (3000, 3400, true),
        (3400, 3600, false),
    ] {
        let part = &sound[from * 8..to * 8];
        for hertz in [400, 450] {
            assert_eq!(peak(part, hertz) > 4000.0, loud, "{hertz} Hz from {from} ms");
            assert_eq!(peak(part, hertz) < 10.0, !loud, "{hertz} Hz from {from} ms");
        }
    }
}

/// Nothing is sent to nobody, nor to a peer that wants nothing; when it can be heard, it begins with a marker.
#[test]
fn without_a_way_nothing_is_sent() {
    let mut bench = Bench::with(|[_, b]| {
        b.rtp = None;
        b.play = Some(music(true));
    });
    let mut b = Peer::plain(2);
    bench.pass(ms(500));
    bench.plan.sides[1].rtp = Some(ADDRESS[1].parse().unwrap());
    bench.plan.sides[1].send = false;
    bench.apply();
    bench.pass(ms(500));
    assert!(heard(&mut bench, Side::B, &mut b).is_empty());
    assert_eq!(bench.stats(Side::B).played, 0);
    bench.plan.sides[1].send = true;
    bench.apply();
    bench.pass(ms(100));
    let played = heard(&mut bench, Side::B, &mut b);
    assert!((5..=6).contains(&played.len()) && played[0].1.marker && !played[1].1.marker);
}

/// Over the death of a process, while it is played and when it is over, on a plain side and on one with keys.
#[test]
fn r01_the_stream_goes_on_in_the_next_life() {
    for secure in [false, true] {
        let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2).filter(|_| secure));
        let mut a = Peer::plain(77);
        let mut b = if secure { Peer::secure(2, SUITE, 1, 2) } else { Peer::plain(2) };
        for _ in 0..50 {
            bench.talk(Side::A, &mut a, &mut b);
            bench.talk(Side::B, &mut b, &mut a);
            bench.pass(ms(20));
        }
        bench.plan.sides[1].play = Some(music(true));
        bench.apply();
        bench.pass(ms(2500));
        let mut last = heard(&mut bench, Side::B, &mut b).pop().unwrap();
        for playing in [true, false] {
            if !playing {
                bench.plan.sides[1].play = None;
                bench.apply();
                last = (bench.now, bench.talk(Side::A, &mut a, &mut b).1);
                bench.pass(ms(1500));
            }
            let state = bench.checkpoint.clone().map(|(_, state)| state);
            bench.crash(state, ms(400));
            let next = if playing {
                bench.pass(ms(1500));
                let played = heard(&mut bench, Side::B, &mut b);
                assert!(played.len() >= 74, "{}", played.len());
                played[0].clone()
            } else {
                (bench.now, bench.talk(Side::A, &mut a, &mut b).1)
            };
            assert_eq!(next.1.ssrc, last.1.ssrc, "secure {secure}, playing {playing}");
            let ahead = next.1.sequence.wrapping_sub(last.1.sequence);
            let jump = if secure { 8192 } else { 1024 };
            assert!((jump - 60..=jump + 1).contains(&ahead), "{ahead}");
            let passed = (next.0 - last.0).as_millis() as u32 * 8;
            let told = next.1.timestamp.wrapping_sub(last.1.timestamp);
            assert!(told.abs_diff(passed) <= 400, "{told} {passed}");
        }
    }
}

/// Ringback gives way to the first speech of the other side, and to nothing else: not to its RTCP, comfort noise, digits,
/// or what nobody agreed to; and does not come back when the same plan is applied again.
#[test]
fn what_yields_ends_with_the_first_speech_of_the_other_side() {
    let ringback = Play { yields: true, ..music(true) };
    let mut bench = Bench::with(|[a, b]| {
        a.play = Some(ringback.clone());
        b.payloads = vec![(8, 8), (13, 13), (101, 101)];
        b.codecs = vec![(101, media_relay::Codec::Events)];
    });
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    let plays = |bench: &mut Bench| {
        let before = bench.stats(Side::A).played;
        bench.pass(ms(100));
        bench.stats(Side::A).played - before
    };
    assert_eq!(plays(&mut bench), 5, "every 20 ms");
    bench.rtcp(Side::B, &crate::rtcp::receiver_report(2, [9, 0, 0, 0, 0, 0]));
    for kind in [13, 101, 96] {
        b.next.payload_type = kind;
        assert_eq!(bench.rtp(Side::B, &b.say().1), None, "{kind}");
    }
    bench.rtp(Side::A, &a.say().1);
    assert_eq!(plays(&mut bench), 5);
    b.next.payload_type = 8;
    bench.talk(Side::B, &mut b, &mut a);
    assert_eq!(plays(&mut bench), 0);
    bench.apply();
    b.next.payload_type = 13;
    assert!(bench.rtp(Side::B, &b.say().1).is_some(), "noise passes now");
    assert_eq!(plays(&mut bench), 0);
}
