//! Bytes from anyone, of any kind: no panic, nothing sent, and a call that cannot tell that they
//! came. Two shards with equal seeds carry the same call; one of them is also sprayed.

use proptest::prelude::*;

use media_relay::srtp::Suite;
use media_relay::{Event, Side};

use crate::bench::{ADDRESS, Bench, ms, port};
use crate::peer::{Peer, security};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// What somebody sends: to which pair (0 is A's, 1 is B's, others nobody's), which socket, whether
/// from the address of that very peer, and what.
type Spray = (u16, bool, bool, Vec<u8>);

fn spray() -> impl Strategy<Value = Spray> {
    let header = prop_oneof![
        Just(vec![0x80, 8]),
        Just(vec![0x80, 200, 0, 6]),
        Just(vec![0x81, 201, 0, 7]),
        Just(vec![0x90, 0xff]),
        Just(vec![0xbf, 101]),
        Just(vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]),
        Just(vec![22, 254, 253]),
        Just(Vec::new()),
    ];
    let rest = prop::collection::vec(any::<u8>(), 0..300);
    let bytes = (header, rest).prop_map(|(header, rest)| [header, rest].concat());
    (0_u16..10, any::<bool>(), any::<bool>(), bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_on_every_port_change_nothing_but_counters(
        sprays in prop::collection::vec(prop::collection::vec(spray(), 0..20), 1..20)
    ) {
        let call = || {
            let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
            bench.plan.sides[1].mux = true;
            bench.apply();
            (bench, Peer::plain(1), Peer::secure(2, SUITE, 1, 2))
        };
        let (mut quiet, mut a, mut b) = call();
        let (mut sprayed, mut a2, mut b2) = call();
        for (n, sprays) in sprays.iter().enumerate() {
            for (pair, rtcp, same, bytes) in sprays {
                // A plain peer's own address could only be told from it by the bytes.
                let from = match (same, pair) {
                    (true, 1) => ADDRESS[1],
                    _ => "203.0.113.9:4000",
                };
                let sent = sprayed.datagram(port(20000 + 2 * pair), *rtcp, from, bytes);
                prop_assert_eq!(sent, None);
            }
            // The call begins under way and pauses now and then.
            if n >= 2 {
                let (said, again) = (a.say().1, a2.say().1);
                prop_assert_eq!(quiet.rtp(Side::A, &said), sprayed.rtp(Side::A, &again));
                let (said, again) = (b.say().1, b2.say().1);
                prop_assert_eq!(quiet.rtp(Side::B, &said), sprayed.rtp(Side::B, &again));
            }
            let pause = if n % 7 == 6 { ms(2500) } else { ms(20) };
            quiet.pass(pause);
            sprayed.pass(pause);
        }
        quiet.pass(ms(5000));
        sprayed.pass(ms(5000));
        prop_assert_eq!(&quiet.reports, &sprayed.reports);
        prop_assert_eq!(&quiet.outputs, &sprayed.outputs);
        let calls = |bench: &mut Bench| -> Vec<Event> {
            bench.events().into_iter().filter(|event| !matches!(event, Event::Stray { .. })).collect()
        };
        prop_assert_eq!(calls(&mut quiet), calls(&mut sprayed));
        for side in [Side::A, Side::B] {
            let (quiet, mut sprayed) = (quiet.stats(side), sprayed.stats(side));
            // A replay check sees the index before the tag: a guess at it counts as a copy.
            (sprayed.foreign, sprayed.malformed) = (quiet.foreign, quiet.malformed);
            (sprayed.auth_failed, sprayed.duplicates) = (quiet.auth_failed, quiet.duplicates);
            prop_assert_eq!(quiet, sprayed);
        }
    }

    /// A plain peer may send what it likes: RTP-like bytes never panic, and what goes on is RTP
    /// towards its partner alone.
    #[test]
    fn a_plain_peer_s_own_nonsense_harms_nobody(
        packets in prop::collection::vec((any::<bool>(), spray()), 1..200)
    ) {
        let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
        let mut b = Peer::secure(2, SUITE, 1, 2);
        for (mux, (_, rtcp, _, bytes)) in packets {
            bench.plan.sides[0].mux = mux;
            bench.apply();
            let from = if rtcp { "192.0.2.1:4001" } else { ADDRESS[0] };
            let own = bench.plan.sides[0].port;
            if let Some((forward, wire)) = bench.datagram(own, rtcp, from, &bytes) {
                prop_assert_eq!(forward.to.ip(), ADDRESS[1].parse::<std::net::SocketAddr>().unwrap().ip());
                if forward.rtcp {
                    b.hear_rtcp(&wire);
                } else {
                    prop_assert!(wire.len() >= 12 + SUITE.rtp_tag_len());
                }
            }
            bench.pass(ms(20));
        }
    }
}

/// Every pair of the pool is sprayed: each is told once a second at most, and nothing grows.
#[test]
fn stray_packets_are_told_once_a_second() {
    let mut bench = Bench::plain();
    bench.events();
    for _ in 0..30 {
        for _ in 0..10 {
            for pair in 2..10 {
                assert_eq!(bench.datagram(port(20000 + 2 * pair), false, ADDRESS[0], b"?"), None);
            }
        }
        bench.pass(ms(100));
    }
    let strays = bench.events();
    assert_eq!(strays.len(), 8);
    assert_eq!(bench.shard.counters().stray, 2400);
    bench.pass(ms(1000));
    bench.datagram(port(20004), true, ADDRESS[0], b"?");
    assert_eq!(bench.events(), [Event::Stray { port: port(20004) }]);
}
