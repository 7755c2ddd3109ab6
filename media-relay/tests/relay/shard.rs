//! RTP through a shard: plain and secure, rekeyed, wrapped, remapped, held.

use media_relay::shard::Output;
use media_relay::srtp::Suite;
use media_relay::{Command, End, Event, SessionId, Side, SideStats};

use crate::bench::{ADDRESS, Bench, SESSION, ms, port};
use crate::peer::{Packet, Peer, key, security, set_receive};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

#[test]
fn plain_to_plain_passes_as_it_is() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    for _ in 0..50 {
        let (said, heard) = bench.talk(Side::A, &mut a, &mut b);
        assert_eq!(said, heard);
        let (said, heard) = bench.talk(Side::B, &mut b, &mut a);
        assert_eq!(said, heard);
        bench.pass(ms(20));
    }
    let expected = SideStats {
        received: 50,
        received_bytes: 50 * 172,
        relayed: 50,
        sent: 50,
        sent_bytes: 50 * 172,
        longest_gap: ms(20),
        payload_type: Some(8),
        mos: 439,
        ..SideStats::default()
    };
    assert_eq!(bench.stats(Side::A), expected);
    assert_eq!(bench.stats(Side::B), expected);
}

#[test]
fn every_suite_crosses_to_plain_and_back() {
    for suite in Suite::ALL {
        let mut bench = Bench::with(|[_, b]| b.security = security(suite, 1, 2));
        let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, suite, 1, 2));
        for _ in 0..20 {
            bench.talk(Side::A, &mut a, &mut b);
            bench.talk(Side::B, &mut b, &mut a);
        }
    }
}

#[test]
fn secure_to_secure_with_two_suites() {
    let gcm = Suite::AeadAes256Gcm;
    let mut bench = Bench::with(|[a, b]| {
        a.security = security(SUITE, 1, 2);
        b.security = security(gcm, 3, 4);
    });
    let (mut a, mut b) = (Peer::secure(1, SUITE, 1, 2), Peer::secure(2, gcm, 3, 4));
    for _ in 0..20 {
        bench.talk(Side::A, &mut a, &mut b);
        bench.talk(Side::B, &mut b, &mut a);
    }
}

/// TR-044 in small: two rollovers each way, then a refresh, then on.
#[test]
fn two_to_the_seventeen_packets_and_a_refresh() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    for round in 0..2 {
        for _ in 0..(1 << 17) / (1 + round * 100) {
            bench.talk(Side::A, &mut a, &mut b);
            bench.talk(Side::B, &mut b, &mut a);
            bench.now += ms(20);
        }
        bench.apply();
    }
    let stats = bench.stats(Side::B);
    assert_eq!((stats.lost, stats.auth_failed, stats.duplicates), (0, 0, 0));
    assert_eq!(stats.received, stats.sent);
}

/// TR-043: with the peer's new key its rollover counter is 0 again; our own key and counter go on.
#[test]
fn a_new_key_begins_at_rollover_zero_and_the_old_one_goes_on() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let mut ours = None;
    for _ in 0..70_000 {
        let (_, heard) = bench.talk(Side::A, &mut a, &mut b);
        ours = Some(heard);
        bench.talk(Side::B, &mut b, &mut a);
        bench.now += ms(20);
    }
    b.rekey(SUITE, Some(3), None);
    set_receive(&mut bench.plan.sides[1], SUITE, 3);
    bench.apply();
    for _ in 0..10 {
        let (_, heard) = bench.talk(Side::A, &mut a, &mut b);
        let ours = ours.replace(heard.clone()).unwrap();
        assert_eq!(heard.ssrc, ours.ssrc);
        assert_eq!(heard.sequence, ours.sequence.wrapping_add(1));
        bench.talk(Side::B, &mut b, &mut a);
    }
    // And ours, should the owner change it.
    b.rekey(SUITE, None, Some(4));
    bench.plan.sides[1].security.as_mut().unwrap().send = key(SUITE, 4);
    bench.apply();
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
}

#[test]
fn before_the_peer_s_key_is_known_nothing_is_believed() {
    let mut bench = Bench::with(|[_, b]| {
        b.security = security(SUITE, 1, 2);
        b.security.as_mut().unwrap().receive.clear();
    });
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let (_, early) = b.say();
    assert_eq!(bench.rtp(Side::B, &early), None);
    assert_eq!(bench.stats(Side::B).auth_failed, 1);
    // Towards it all is known.
    bench.talk(Side::A, &mut a, &mut b);
    set_receive(&mut bench.plan.sides[1], SUITE, 1);
    bench.apply();
    bench.talk(Side::B, &mut b, &mut a);
}

#[test]
fn a_source_that_changes_is_one_source_to_the_other_side() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let mut b = Peer::secure(2, SUITE, 1, 2);
    let mut last: Option<Packet> = None;
    for (n, sequence) in [(1, 65_500), (2, 9), (1, 30_000), (3, 65_535), (4, 0)] {
        let mut a = Peer::plain(n);
        a.next.sequence = sequence;
        a.next.timestamp = n * 1_000_000_007;
        for _ in 0..300 {
            let (_, heard) = bench.talk(Side::A, &mut a, &mut b);
            if let Some(last) = &last {
                assert_eq!(heard.ssrc, last.ssrc);
                assert_eq!(heard.sequence, last.sequence.wrapping_add(1));
                assert_eq!(heard.timestamp, last.timestamp.wrapping_add(160));
            }
            last = Some(heard);
            bench.pass(ms(20));
        }
    }
    assert_eq!(bench.stats(Side::A).restarts, 4);
    assert_eq!(bench.stats(Side::A).lost, 0);
}

#[test]
fn a_jump_of_the_sequence_loses_one_packet_and_no_index() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let mut last = bench.talk(Side::A, &mut a, &mut b).1.sequence;
    for jump in [40_000, 20_000, 65_000, 32_768, 60_000] {
        a.next.sequence = a.next.sequence.wrapping_add(jump);
        let (_, wire) = a.say();
        assert_eq!(bench.rtp(Side::A, &wire), None);
        for _ in 0..10 {
            let heard = bench.talk(Side::A, &mut a, &mut b).1.sequence;
            assert_eq!(heard, last.wrapping_add(1), "{jump}");
            last = heard;
        }
    }
    assert_eq!(bench.stats(Side::A).dropped, 5);
}

#[test]
fn gaps_and_disorder_pass_and_second_copies_do_not() {
    let mut bench = Bench::with(|[a, b]| {
        a.ssrc = Some(0xaaaa);
        b.security = security(SUITE, 1, 2);
    });
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let from_a: Vec<_> = (0..10).map(|_| a.say()).collect();
    let from_b: Vec<_> = (0..10).map(|_| b.say()).collect();
    let mut heard = [Vec::new(), Vec::new()];
    for n in [0, 1, 3, 2, 2, 6, 3, 5, 9, 9] {
        heard[0].extend(bench.rtp(Side::A, &from_a[n].1).map(|(_, wire)| b.hear(&wire)));
        heard[1].extend(bench.rtp(Side::B, &from_b[n].1).map(|(_, wire)| a.hear(&wire)));
    }
    for heard in &heard {
        let steps: Vec<_> =
            heard.iter().map(|packet| packet.sequence.wrapping_sub(heard[0].sequence)).collect();
        assert_eq!(steps, [0, 1, 3, 2, 6, 5, 9]);
    }
    for side in [Side::A, Side::B] {
        let stats = bench.stats(side);
        let counted = (stats.received, stats.duplicates, stats.reordered, stats.lost);
        assert_eq!(counted, (7, 3, 2, 3), "{side:?}");
    }
}

#[test]
fn payload_types_are_mapped_and_unlisted_ones_dropped() {
    let mut bench = Bench::with(|[a, b]| {
        // PCMA, telephone events, comfort noise.
        a.payloads = vec![(8, 8), (101, 96), (13, 13)];
        b.payloads = vec![(8, 8), (96, 101), (13, 13)];
    });
    let mut peers = [Peer::plain(1), Peer::plain(2)];
    let mut send = |side: Side, payload_type, marker| {
        let peer = &mut peers[side.index()];
        peer.next.payload_type = payload_type;
        peer.next.marker = marker;
        let relayed = bench.rtp(side, &peer.say().1)?;
        let packet = Packet::parse(&relayed.1);
        assert_eq!(packet.marker, marker);
        Some(packet.payload_type)
    };
    assert_eq!(send(Side::A, 8, false), Some(8));
    assert_eq!(send(Side::A, 101, true), Some(96));
    assert_eq!(send(Side::A, 13, true), Some(13));
    assert_eq!(send(Side::A, 0, false), None);
    assert_eq!(send(Side::A, 96, true), None);
    assert_eq!(send(Side::B, 96, false), Some(101));
    assert_eq!(send(Side::B, 101, false), None);
    assert_eq!(bench.stats(Side::A).unlisted, 2);
    assert_eq!(bench.stats(Side::B).unlisted, 1);
}

/// While a direction is closed its rollover counter still goes on, so that it opens again.
#[test]
fn closed_directions_hold_packets_and_keep_count() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    b.next.sequence = 65_000;
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
    bench.plan.sides[1].receive = false;
    bench.apply();
    for _ in 0..2000 {
        assert_eq!(bench.rtp(Side::B, &b.say().1), None);
        bench.talk(Side::A, &mut a, &mut b);
        bench.now += ms(20);
    }
    bench.plan.sides[1].receive = true;
    bench.plan.sides[1].send = false;
    bench.apply();
    for _ in 0..70_000 {
        bench.talk(Side::B, &mut b, &mut a);
        assert_eq!(bench.rtp(Side::A, &a.say().1), None);
        bench.now += ms(20);
    }
    bench.plan.sides[1].send = true;
    bench.apply();
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
    assert_eq!(bench.stats(Side::B).held, 2000);
    assert_eq!(bench.stats(Side::A).held, 70_000);
}

#[test]
fn nothing_is_sent_where_nothing_is_known() {
    let mut bench = Bench::with(|[_, b]| b.rtp = None);
    let mut a = Peer::plain(1);
    assert_eq!(bench.rtp(Side::A, &a.say().1), None);
    assert_eq!(bench.stats(Side::A).held, 1);
    bench.plan.sides[1].rtp = Some(ADDRESS[1].parse().unwrap());
    bench.apply();
    bench.talk(Side::A, &mut a, &mut Peer::plain(2));
}

#[test]
fn another_peer_on_another_port_goes_on_with_our_numbers() {
    let mut bench = Bench::with(|[a, _]| a.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::secure(1, SUITE, 1, 2), Peer::plain(2));
    let first = bench.talk(Side::B, &mut b, &mut a).1;
    bench.outputs.clear();
    let old = bench.plan.sides[1].port;
    bench.plan.sides[1].port = port(20010);
    bench.apply();
    let slot = |bench: &Bench, port| bench.shard.socket(port, false).unwrap().slot;
    let (was, is) = (slot(&bench, old), slot(&bench, port(20010)));
    assert_eq!(bench.outputs, [Output::Disconnect(was), Output::Idle(was), Output::Use(is)]);
    // By chance the same SSRC, and numbers that look like a gap.
    let mut c = Peer::plain(2);
    c.next.sequence = b.next.sequence + 1000;
    let heard = bench.talk(Side::B, &mut c, &mut a).1;
    assert_eq!((heard.ssrc, heard.sequence), (first.ssrc, first.sequence + 1));
    // The old port is nobody's.
    assert_eq!(bench.datagram(old, false, ADDRESS[1], &b.say().1), None);
    assert_eq!(bench.shard.counters().stray, 1);
}

#[test]
fn a_session_ends_once_with_its_figures_and_its_ports_serve_again() {
    let mut bench = Bench::plain();
    bench.talk(Side::A, &mut Peer::plain(1), &mut Peer::plain(2));
    bench.events();
    bench.outputs.clear();
    bench.command(&Command::Release(SESSION));
    bench.command(&Command::Release(SESSION));
    let events = bench.events();
    let [Event::Ended { session: SESSION, why: End::Released, stats }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((stats[0].relayed, stats[1].sent), (1, 1));
    assert_eq!(bench.outputs.len(), 2);
    assert_eq!(bench.shard.poll_timeout(), None);
    bench.plan.session = SessionId(2);
    bench.apply();
    bench.talk(Side::A, &mut Peer::plain(1), &mut Peer::plain(2));
    assert_eq!(bench.shard.counters().sessions, 1);
}

#[test]
fn a_plan_for_ports_it_may_not_have_is_refused() {
    let mut bench = Bench::plain();
    let good = bench.plan.clone();
    let mut refused = |change: fn(&mut media_relay::Plan)| {
        let mut plan = good.clone();
        plan.session = SessionId(2);
        change(&mut plan);
        bench.command(&Command::Apply(Box::new(plan)));
        bench.events()
    };
    let changes: [fn(&mut media_relay::Plan); 4] = [
        |_| (),
        |plan| plan.sides[1].port = port(20004),
        |plan| plan.sides = [20004, 20004].map(|number| media_relay::SidePlan::new(port(number))),
        |plan| plan.sides = [20004, 30000].map(|number| media_relay::SidePlan::new(port(number))),
    ];
    for change in changes {
        let stats = Box::default();
        let why = End::Refused;
        assert_eq!(refused(change), [Event::Ended { session: SessionId(2), why, stats }]);
    }
    assert_eq!(bench.shard.counters().refused, 4);
    bench.talk(Side::A, &mut Peer::plain(1), &mut Peer::plain(2));
}

#[test]
fn sides_may_change_places() {
    let mut bench = Bench::plain();
    bench.talk(Side::A, &mut Peer::plain(1), &mut Peer::plain(2));
    bench.plan.sides.swap(0, 1);
    bench.apply();
    let mut peer = Peer::plain(3);
    let (forward, _) = bench.rtp_from(Side::A, ADDRESS[1], &peer.say().1).unwrap();
    assert_eq!(forward.to, ADDRESS[0].parse().unwrap());
    bench.command(&Command::Release(SESSION));
    assert_eq!(bench.shard.counters().sessions, 0);
}
