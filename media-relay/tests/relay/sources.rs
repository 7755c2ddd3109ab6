//! Who may send to a port, and where our packets go (architecture: no media goes to an address
//! before a valid packet came from it or it is the signalled address of an identified peer).

use std::net::SocketAddr;
use std::time::Duration;

use media_relay::shard::Output;
use media_relay::srtp::Suite;
use media_relay::{Event, Side};

use crate::bench::{ADDRESS, Bench, SESSION, ms};
use crate::peer::{Peer, security};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const STRANGERS: [&str; 10] = [
    "203.0.113.1:4000",
    "203.0.113.2:4000",
    "203.0.113.3:9",
    "203.0.113.4:65535",
    "192.0.2.2:4000",
    "192.0.3.1:4000",
    "198.51.100.2:5000",
    "198.51.101.1:5000",
    "[2001:db8::1]:4000",
    "127.0.0.1:4000",
];

/// AT-39: from ten addresses, during set-up, talk and silence, on both legs: no media leaves to
/// them, none of theirs arrives, and the call is not hurt.
#[test]
fn a_thousand_forged_packets_change_nothing_but_a_counter() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let mut forger = Peer::plain(1);
    let mut secure_forger = Peer::secure(2, SUITE, 66, 67);
    for round in 0..50 {
        for from in STRANGERS {
            assert_eq!(bench.rtp_from(Side::A, from, &forger.say().1), None);
            assert_eq!(bench.rtp_from(Side::B, from, &secure_forger.say().1), None);
            // What they heard of the call does not help them either.
            assert_eq!(bench.rtp_from(Side::B, from, &forger.say().1), None);
        }
        match round {
            10..40 => {
                bench.talk(Side::A, &mut a, &mut b);
                bench.talk(Side::B, &mut b, &mut a);
                bench.pass(ms(20));
            }
            _ => bench.pass(ms(500)),
        }
    }
    let targets = ADDRESS.map(|address| address.parse::<SocketAddr>().unwrap().ip());
    assert!(bench.reports.iter().all(|(_, forward, _)| targets.contains(&forward.to.ip())));
    let (stats_a, stats_b) = (bench.stats(Side::A), bench.stats(Side::B));
    assert_eq!((stats_a.foreign, stats_a.received), (500, 30));
    assert_eq!((stats_b.foreign + stats_b.auth_failed, stats_b.received), (1000, 30));
    assert_eq!((stats_a.lost, stats_a.duplicates, stats_b.lost, stats_b.duplicates), (0, 0, 0, 0));
}

#[test]
fn a_plain_side_latches_to_a_port_or_network_that_was_not_signalled() {
    for from in ["192.0.2.1:40000", "10.9.8.7:1234"] {
        let mut bench = Bench::with(|[a, _]| a.sources = vec!["10.0.0.0/8".parse().unwrap()]);
        let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
        // Before it speaks, the signalled address hears us.
        let (forward, _) = bench.rtp(Side::B, &b.say().1).unwrap();
        assert_eq!(forward.to, ADDRESS[0].parse().unwrap());
        assert!(bench.rtp_from(Side::A, from, &a.say().1).is_some());
        let (forward, _) = bench.rtp(Side::B, &b.say().1).unwrap();
        let from: SocketAddr = from.parse().unwrap();
        assert_eq!(forward.to, from);
        let expected = Event::Latched { session: SESSION, side: Side::A, from };
        assert!(bench.events().contains(&expected));
        // Nobody else of the same network while it speaks.
        assert_eq!(bench.rtp_from(Side::A, "10.9.8.8:1234", &a.say().1), None);
    }
}

#[test]
fn the_signalled_address_itself_takes_over_from_a_looser_one() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    assert!(bench.rtp_from(Side::A, "192.0.2.1:40000", &a.say().1).is_some());
    bench.talk(Side::A, &mut a, &mut b);
    assert_eq!(bench.rtp_from(Side::A, "192.0.2.1:40000", &a.say().1), None);
    bench.talk(Side::B, &mut b, &mut a);
}

#[test]
fn a_secure_side_latches_wherever_an_authentic_packet_came_from() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let from = "203.0.113.77:7777";
    let (_, wire) = b.say();
    let mut forged = wire.clone();
    forged[20] ^= 1;
    assert_eq!(bench.rtp_from(Side::B, "203.0.113.66:6666", &forged), None);
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, ADDRESS[1].parse().unwrap());
    assert!(bench.rtp_from(Side::B, from, &wire).is_some());
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, from.parse().unwrap());
    // A copy of it from elsewhere moves nothing, even after a silence.
    bench.pass(ms(3000));
    assert_eq!(bench.rtp_from(Side::B, "203.0.113.66:6666", &wire), None);
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, from.parse().unwrap());
}

#[test]
fn two_seconds_of_silence_let_another_source_take_over() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
    let moved = "203.0.113.77:7777";
    bench.pass(ms(1999));
    assert_eq!(bench.rtp_from(Side::B, moved, &b.say().1), None);
    bench.pass(ms(1));
    assert!(bench.rtp_from(Side::B, moved, &b.say().1).is_some());
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, moved.parse().unwrap());
    // A plain side stays within what its plan allows.
    bench.pass(ms(5000));
    assert_eq!(bench.rtp_from(Side::A, moved, &a.say().1), None);
    assert!(bench.rtp_from(Side::A, "192.0.2.1:9", &a.say().1).is_some());
}

/// A re-INVITE named another peer, which only listens for now; the former one, in the trunk's media networks, goes on as if
/// nobody had told it. Nothing is sent to it, and when the other one speaks, it is not heard either.
#[test]
fn a_former_peer_that_goes_on_draws_nothing_to_itself() {
    let mut bench = Bench::with(|[a, _]| a.sources = vec!["192.0.2.0/24".parse().unwrap()]);
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    let moved = "192.0.2.77:7777";
    bench.plan.sides[0].rtp = Some(moved.parse().unwrap());
    bench.apply();
    for _ in 0..3_000 {
        assert!(bench.rtp_from(Side::A, ADDRESS[0], &a.say().1).is_some());
        let (forward, _) = bench.rtp(Side::B, &b.say().1).unwrap();
        assert_eq!(forward.to, moved.parse().unwrap());
        bench.pass(ms(20));
    }
    assert!(bench.rtp_from(Side::A, moved, &Peer::plain(3).say().1).is_some());
    assert_eq!(bench.rtp_from(Side::A, ADDRESS[0], &a.say().1), None);
}

/// A re-INVITE moved the peer: our packets go there at once, and late ones of the former place
/// are still heard but do not draw us back.
#[test]
fn a_new_signalled_address_counts_at_once() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    bench.talk(Side::B, &mut b, &mut a);
    let moved = "203.0.113.77:7777";
    bench.plan.sides[1].rtp = Some(moved.parse().unwrap());
    bench.apply();
    assert!(bench.rtp(Side::B, &b.say().1).is_some());
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, moved.parse().unwrap());
    assert!(bench.rtp_from(Side::B, moved, &b.say().1).is_some());
    assert_eq!(bench.rtp(Side::B, &b.say().1), None);
    assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, moved.parse().unwrap());
}

#[test]
fn a_refresh_with_the_same_address_moves_nothing() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    let from = "192.0.2.1:40000";
    assert!(bench.rtp_from(Side::A, from, &a.say().1).is_some());
    bench.apply();
    assert_eq!(bench.rtp(Side::B, &b.say().1).unwrap().0.to, from.parse().unwrap());
}

/// `c=0.0.0.0`: the peer wants nothing and is heard no more, until it has an address again.
#[test]
fn a_hold_without_an_address_stops_a_plain_side() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    bench.plan.sides[0].rtp = Some("0.0.0.0:4000".parse().unwrap());
    bench.apply();
    assert_eq!(bench.rtp(Side::B, &b.say().1), None);
    assert_eq!(bench.rtp(Side::A, &a.say().1), None);
    bench.plan.sides[0].rtp = Some(ADDRESS[0].parse().unwrap());
    bench.apply();
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
}

/// Behind NAT the same way: back at the address that it had, it is where it was heard.
#[test]
fn a_hold_without_an_address_loses_no_latch() {
    let mut bench = Bench::with(|[a, _]| a.sources = vec!["192.0.2.0/24".parse().unwrap()]);
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    let from = "192.0.2.1:40000";
    assert!(bench.rtp_from(Side::A, from, &a.say().1).is_some());
    bench.plan.sides[0].rtp = Some("0.0.0.0:4000".parse().unwrap());
    (bench.plan.sides[0].send, bench.plan.sides[0].receive) = (false, false);
    bench.apply();
    assert_eq!(bench.rtp(Side::B, &b.say().1), None);
    bench.plan.sides[0].rtp = Some(ADDRESS[0].parse().unwrap());
    (bench.plan.sides[0].send, bench.plan.sides[0].receive) = (true, true);
    bench.apply();
    assert_eq!(bench.rtp(Side::B, &b.say().1).unwrap().0.to, from.parse().unwrap());
    assert!(bench.rtp_from(Side::A, from, &a.say().1).is_some());
}

#[test]
fn a_side_that_becomes_secure_believes_no_former_source() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    assert!(bench.rtp_from(Side::B, "198.51.100.1:9", &b.say().1).is_some());
    bench.plan.sides[1].security = security(SUITE, 1, 2);
    bench.apply();
    let (forward, wire) = bench.rtp(Side::A, &a.say().1).unwrap();
    assert_eq!(forward.to, ADDRESS[1].parse().unwrap());
    Peer::secure(2, SUITE, 1, 2).hear(&wire);
    assert_eq!(bench.rtp(Side::B, &b.say().1), None);
}

/// The socket is closed to others while its peer is certain, and open again when it is not.
#[test]
fn sockets_are_connected_while_the_source_is_certain() {
    let mut bench = Bench::plain();
    let slot = bench.shard.socket(bench.plan.sides[0].port, false).unwrap().slot;
    let mut a = Peer::plain(1);
    let taken = |bench: &mut Bench| -> Vec<Output> {
        let of = |output: &Output| match output {
            Output::Use(s)
            | Output::Idle(s)
            | Output::Connect(s, _)
            | Output::Disconnect(s)
            | Output::Close(s) => Some(*s),
            Output::Keep(_) => None,
        };
        std::mem::take(&mut bench.outputs)
            .into_iter()
            .filter(|output| of(output) == Some(slot))
            .collect()
    };
    assert_eq!(taken(&mut bench), [Output::Use(slot)]);
    // The signalled address itself is certain at once.
    assert!(bench.rtp(Side::A, &a.say().1).is_some());
    let exact = ADDRESS[0].parse().unwrap();
    assert_eq!(taken(&mut bench), [Output::Connect(slot, exact)]);
    bench.pass(ms(1999));
    assert!(bench.rtp(Side::A, &a.say().1).is_some());
    bench.pass(ms(1999));
    assert_eq!(taken(&mut bench), []);
    bench.pass(ms(1));
    assert_eq!(taken(&mut bench), [Output::Disconnect(slot)]);
    // Another port of the host is, after a while in which the signalled one did not speak.
    let loose = "192.0.2.1:9";
    for _ in 0..150 {
        assert!(bench.rtp_from(Side::A, loose, &a.say().1).is_some());
        bench.pass(ms(20));
    }
    assert_eq!(taken(&mut bench), [Output::Connect(slot, loose.parse().unwrap())]);
    // A new address in the plan opens it, and so does the end.
    bench.plan.sides[0].rtp = Some("192.0.2.1:4444".parse().unwrap());
    bench.apply();
    assert_eq!(taken(&mut bench), [Output::Disconnect(slot)]);
    assert!(bench.rtp_from(Side::A, "192.0.2.1:4444", &a.say().1).is_some());
    taken(&mut bench);
    bench.command(&media_relay::Command::Release(SESSION));
    assert_eq!(taken(&mut bench), [Output::Idle(slot)]);
}

#[test]
fn rtcp_on_its_own_port_latches_by_itself_and_waits_longer() {
    let mut bench = Bench::plain();
    let port = bench.plan.sides[0].port;
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    assert!(bench.datagram(port, true, "192.0.2.1:40001", &report).is_some());
    // Loose as it is, the signalled one may take over; after that nobody.
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.datagram(port, true, "192.0.2.1:40009", &report), None);
    assert!(bench.datagram(port, true, "192.0.2.1:4001", &report).is_some());
    assert_eq!(bench.datagram(port, true, "192.0.2.1:40001", &report), None);
    assert_eq!(bench.datagram(port, true, "203.0.113.1:4001", &report), None);
    bench.pass(Duration::from_secs(15));
    assert!(bench.datagram(port, true, "192.0.2.1:40009", &report).is_some());
    assert_eq!(bench.datagram(port, true, "203.0.113.1:4001", &report), None);
    // RTP still goes where RTP was signalled.
    let (forward, _) = bench.rtp(Side::B, &Peer::plain(2).say().1).unwrap();
    assert_eq!(forward.to, ADDRESS[0].parse().unwrap());
}
