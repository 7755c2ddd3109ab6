//! The attacks on media of the list of attacks and faults, by their numbers: whatever comes, the call
//! goes on, nothing is sent to an attacker, and nothing grows.

use media_relay::srtp::Suite;
use media_relay::{Event, Side};

use crate::bench::{ADDRESS, Bench, ms, port};
use crate::lives::Random;
use crate::peer::{Peer, security};
use crate::rtcp::{compound, packet, sender_report, source_description};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// A carrier on A, whose media networks are its own address alone; an SRTP peer on B.
fn call() -> (Bench, Peer, Peer) {
    let bench = Bench::with(|[a, b]| {
        a.sources = vec!["192.0.2.1/32".parse().unwrap()];
        b.security = security(SUITE, 1, 2);
    });
    (bench, Peer::plain(1), Peer::secure(2, SUITE, 1, 2))
}

fn peers(bench: &Bench) -> Vec<std::net::SocketAddr> {
    let rtp = bench.plan.sides.iter().filter_map(|side| side.rtp);
    rtp.flat_map(|rtp| [0, 1].map(|up| (rtp.ip(), rtp.port() + up).into())).collect()
}

/// Ten addresses send to every port of the relay before the call, while it is set up, while it talks,
/// in a silence long enough for a latch to be given up, and after it.
#[test]
fn at_39_no_media_goes_to_whoever_sends_to_every_port() {
    let (mut bench, mut a, mut b) = call();
    let attackers: Vec<String> = (0..10).map(|n| format!("203.0.113.{n}:{}", 5000 + n)).collect();
    let mut forged = Peer::secure(2, SUITE, 7, 8);
    let mut like_a = Peer::plain(1);
    let mut spray = |bench: &mut Bench| {
        for attacker in &attackers {
            for pair in 0..10 {
                for rtcp in [false, true] {
                    // As the carrier would send it, as somebody with another key, and a report.
                    let plain = like_a.say().1;
                    let report = sender_report(1, 1, 1, None);
                    for bytes in [plain, forged.say().1, report] {
                        let sent = bench.datagram(port(20000 + 2 * pair), rtcp, attacker, &bytes);
                        assert_eq!(sent, None, "{attacker} to pair {pair}");
                    }
                }
            }
        }
    };
    let answered = bench.plan.sides[1].rtp.take();
    bench.apply();
    spray(&mut bench);
    // Before the answer nothing is known of B, and nothing is sent there.
    assert_eq!(bench.rtp(Side::A, &a.say().1), None);
    spray(&mut bench);
    bench.plan.sides[1].rtp = answered;
    bench.apply();
    spray(&mut bench);
    for _ in 0..50 {
        bench.talk(Side::A, &mut a, &mut b);
        spray(&mut bench);
        bench.talk(Side::B, &mut b, &mut a);
        bench.pass(ms(20));
    }
    bench.pass(ms(10_000));
    spray(&mut bench);
    for _ in 0..50 {
        bench.talk(Side::A, &mut a, &mut b);
        bench.talk(Side::B, &mut b, &mut a);
        spray(&mut bench);
        bench.pass(ms(20));
    }
    let known = peers(&bench);
    assert!(bench.reports.iter().all(|(_, forward, _)| known.contains(&forward.to)));
    let latched = |event: Event| match event {
        Event::Latched { from, .. } => Some(from),
        Event::Warm { .. }
        | Event::Cold { .. }
        | Event::Checkpoint { .. }
        | Event::Sound { .. }
        | Event::Stray { .. }
        | Event::Ended { .. } => None,
    };
    assert!(bench.events().into_iter().filter_map(latched).all(|from| known.contains(&from)));
    let stats = [Side::A, Side::B].map(|side| bench.stats(side));
    assert!(stats[0].foreign > 1000 && stats[1].auth_failed > 1000, "{stats:?}");
    assert_eq!(stats.map(|stats| (stats.lost, stats.restarts)), [(0, 0); 2]);
}

/// On the carrier's own address: whoever shares it by a translator may send from another port only
/// until the signalled one was heard.
#[test]
fn at_39_the_signalled_address_and_port_cannot_be_taken_over() {
    let (mut bench, mut a, mut b) = call();
    let mut thief = Peer::plain(99);
    bench.rtp_from(Side::A, "192.0.2.1:9999", &thief.say().1);
    for _ in 0..100 {
        bench.talk(Side::A, &mut a, &mut b);
        assert_eq!(bench.rtp_from(Side::A, "192.0.2.1:9999", &thief.say().1), None);
        bench.talk(Side::B, &mut b, &mut a);
        bench.pass(ms(20));
    }
}

/// Reports that lie about their lengths, 31 blocks, extended reports, a goodbye forged in clear and
/// one of the peer's own: the session goes on, and what is relayed is ours.
#[test]
fn at_42_reports_that_lie_or_say_goodbye_end_nothing() {
    let (mut bench, mut a, mut b) = call();
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
    let goodbye = [sender_report(2, 9, 9, None), packet(203, 1, &[2])].concat();
    // Without our peer's key.
    let mut forger = Peer::secure(2, SUITE, 7, 8);
    for bytes in [goodbye.clone(), forger.protect_rtcp(&goodbye)] {
        assert_eq!(bench.rtcp(Side::B, &bytes), None);
    }
    assert_eq!(bench.stats(Side::B).auth_failed, 2);
    // With it.
    let wire = b.protect_rtcp(&goodbye);
    let relayed = bench.rtcp(Side::B, &wire).unwrap().1;
    let kinds: Vec<u8> = compound(&relayed).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [200, 202], "a report and no goodbye");

    let mut many = vec![1];
    many.extend((0..31 * 6).map(|n| n * 7));
    let thirty_one = [packet(201, 31, &many), source_description(1)].concat();
    let relayed = bench.rtcp(Side::A, &thirty_one).unwrap().1;
    assert!(relayed.len() < 200, "grew to {}", relayed.len());
    let extended = [sender_report(1, 1, 1, None), packet(207, 0, &[1, 0x0400_0002, 5, 6])].concat();
    let clear = b.hear_rtcp(&bench.rtcp(Side::A, &extended).unwrap().1);
    assert!(!compound(&clear).iter().any(|(kind, _)| *kind == 207), "{clear:02x?}");

    let malformed = bench.stats(Side::A).malformed;
    let mut lies = Vec::new();
    for (at, value) in [(0, 0x9f), (0, 0x00), (2, 0xff), (3, 0), (3, 1), (3, 5), (3, 7), (3, 255)] {
        let mut lie = sender_report(1, 1, 1, None);
        lie[at] = value;
        lies.push(lie);
    }
    // A count of blocks, of sources, and an item longer than what is there.
    lies.push(packet(201, 31, &[1]));
    lies.push([sender_report(1, 1, 1, None), packet(203, 31, &[1])].concat());
    let mut item = [sender_report(1, 1, 1, None), source_description(1)].concat();
    let length = item.len() - 7;
    item[length] = 255;
    lies.push(item);
    for lie in &lies {
        let sent = bench.rtcp(Side::A, lie);
        assert!(sent.is_none_or(|(_, wire)| wire.len() < 200), "{lie:02x?}");
    }
    assert!(bench.stats(Side::A).malformed - malformed >= 9, "{:?}", bench.stats(Side::A));
    for _ in 0..10 {
        bench.talk(Side::A, &mut a, &mut b);
        bench.talk(Side::B, &mut b, &mut a);
    }
    assert!(!bench.events().iter().any(|event| matches!(event, Event::Ended { .. })));
}

/// A hundred times what a phone sends, of good packets from the peer itself: what goes on is bounded,
/// for RTP and for reports, and the peer is heard again as soon as it is reasonable.
#[test]
fn at_43_a_flood_of_the_peer_itself_is_policed() {
    let (mut bench, mut a, mut b) = call();
    let (mut rtp, mut rtcp) = (0, 0);
    for _ in 0..3 * 50 {
        for _ in 0..100 {
            rtp += usize::from(bench.rtp(Side::A, &a.say().1).is_some());
            rtcp += usize::from(bench.rtcp(Side::A, &sender_report(1, 1, 1, None)).is_some());
        }
        bench.pass(ms(20));
    }
    assert!((3000..=4000).contains(&rtp), "{rtp}");
    assert!((150..=200).contains(&rtcp), "{rtcp}");
    bench.pass(ms(1000));
    for _ in 0..100 {
        bench.talk(Side::A, &mut a, &mut b);
        bench.pass(ms(10));
    }
}

/// A browser's or a scanner's ClientHello of DTLS on ports with SDES keys: dropped, no state, no reply,
/// from the peer's own address too.
#[test]
fn at_44_dtls_is_dropped() {
    let (mut bench, mut a, mut b) = call();
    let mut hello = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 150, 1, 0, 0, 138, 0, 0];
    hello.extend([0; 4]);
    hello.extend([0xfe, 0xfd]);
    hello.resize(163, 0x5a);
    for n in 0..1000_u16 {
        hello[4] = (n >> 8) as u8;
        hello[10] = n as u8;
        let attacker = format!("203.0.113.{}:{}", n % 250, 1024 + n);
        for (pair, from) in [(0, ADDRESS[0]), (1, ADDRESS[1]), (0, &attacker), (1, &attacker)] {
            for rtcp in [false, true] {
                let sent = bench.datagram(port(20000 + 2 * pair), rtcp, from, &hello);
                assert_eq!(sent, None);
            }
        }
        if n % 10 == 0 {
            bench.talk(Side::A, &mut a, &mut b);
            bench.talk(Side::B, &mut b, &mut a);
            bench.pass(ms(20));
        }
    }
    let stats = [Side::A, Side::B].map(|side| bench.stats(side));
    assert!(stats.iter().all(|stats| stats.malformed + stats.foreign == 4000), "{stats:?}");
    assert!(stats.iter().all(|stats| stats.relayed == 100), "{stats:?}");
}

/// Five per cent lost, one doubled, three out of order: what reaches us leaves us, once, and in the
/// numbers in which it came.
#[test]
fn r12_a_bad_network_loses_nothing_here() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let (mut bench, mut a, mut b) = call();
        for side in [Side::A, Side::B] {
            let (from, to) = match side {
                Side::A => (&mut a, &mut b),
                Side::B => (&mut b, &mut a),
            };
            let (mut came, mut left) = (0, Vec::new());
            let mut delayed: Vec<Vec<u8>> = Vec::new();
            for n in 0..2000 {
                let (_, wire) = from.say();
                // The line is good for the first few: whoever comes before the first is too late.
                if n > 5 && random.below(100) < 5 {
                    continue;
                }
                came += 1;
                let mut now = match n > 5 && random.below(100) < 3 {
                    true => {
                        delayed.push(wire);
                        continue;
                    }
                    false => vec![wire],
                };
                if random.below(100) == 0 {
                    now.push(now[0].clone());
                }
                if random.one_in(3) {
                    now.append(&mut delayed);
                }
                for wire in now {
                    left.extend(bench.rtp(side, &wire).map(|(_, relayed)| to.hear(&relayed)));
                }
                bench.pass(ms(20));
            }
            for wire in delayed {
                left.extend(bench.rtp(side, &wire).map(|(_, relayed)| to.hear(&relayed)));
            }
            assert_eq!(left.len(), came, "seed {seed}, {side:?}: {:?}", bench.stats(side));
            // As far apart as they were: sequence and time belong to each other as at the source.
            let offset = |packet: &crate::peer::Packet| {
                packet
                    .timestamp
                    .wrapping_sub(160 * u32::from(packet.sequence.wrapping_sub(left[0].sequence)))
            };
            assert!(left.iter().all(|packet| offset(packet) == left[0].timestamp));
        }
    }
}
