//! RTCP through a shard, and of its own.

use std::time::Duration;

use media_relay::Side;
use media_relay::shard::Forward;
use media_relay::srtp::Suite;

use crate::bench::{ADDRESS, Bench, ms};
use crate::peer::{Packet, Peer, security, word};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// A sender's report, and its CNAME.
pub(crate) fn sender_report(
    ssrc: u32,
    ntp: u64,
    timestamp: u32,
    block: Option<[u32; 6]>,
) -> Vec<u8> {
    let mut words = vec![ssrc, (ntp >> 32) as u32, ntp as u32, timestamp, 77, 88];
    words.extend(block.into_iter().flatten());
    let mut bytes = packet(200, usize::from(block.is_some()), &words);
    bytes.extend(source_description(ssrc));
    bytes
}

pub(crate) fn receiver_report(ssrc: u32, block: [u32; 6]) -> Vec<u8> {
    let mut words = vec![ssrc];
    words.extend(block);
    packet(201, 1, &words)
}

pub(crate) fn source_description(ssrc: u32) -> Vec<u8> {
    let mut bytes = packet(202, 1, &[ssrc, 0, 0, 0]);
    bytes[8..18].copy_from_slice(b"\x01\x08me@10.0.");
    bytes
}

pub(crate) fn packet(kind: u8, count: usize, words: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0x80 | count as u8, kind, 0, words.len() as u8];
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes
}

/// The packets of a compound as type and bytes; fails the test if lengths do not add up.
pub(crate) fn compound(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let end = 4 + 4 * usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        packets.push((bytes[1], &bytes[..end]));
        bytes = &bytes[end..];
    }
    packets
}

fn is_apart(bench: &Bench, forward: &Forward, side: Side) -> bool {
    let port = bench.plan.sides[side.index()].port;
    assert_eq!(Some(forward.slot), bench.shard.socket(port, false).map(|socket| socket.slot));
    forward.rtcp
}

#[test]
fn reports_are_told_in_the_numbers_of_the_side_that_hears_them() {
    let mut bench = Bench::with(|[a, b]| {
        a.cname = Some("gateway".into());
        b.security = security(SUITE, 1, 2);
        b.ssrc = Some(0xb0b0);
        b.cname = Some("trunkgate".into());
    });
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    let mut heard = None;
    for _ in 0..10 {
        heard = Some(bench.talk(Side::A, &mut a, &mut b));
        bench.talk(Side::B, &mut b, &mut a);
    }
    let (said, heard) = heard.unwrap();
    assert_eq!(heard.ssrc, 0xb0b0);

    let ntp = 0x1111_2222_3333_4444;
    let (forward, wire) =
        bench.rtcp(Side::A, &sender_report(1, ntp, said.timestamp, None)).unwrap();
    assert!(is_apart(&bench, &forward, Side::B));
    assert_eq!(forward.to, "198.51.100.1:5001".parse().unwrap());
    let clear = b.hear_rtcp(&wire);
    let [(200, report), (202, names)] = compound(&clear)[..] else { panic!("{clear:02x?}") };
    assert_eq!(report.len(), 28);
    let fields = [4, 8, 12, 16, 20, 24].map(|at| word(report, at));
    assert_eq!(fields, [0xb0b0, 0x1111_2222, 0x3333_4444, heard.timestamp, 10, 1600]);
    assert_eq!((word(names, 4), &names[8..19]), (0xb0b0, &b"\x01\x09trunkgate"[..]));

    // B answers about what it heard, and about that very report.
    let block = [0xb0b0, 0x0100_0001, u32::from(heard.sequence), 5, 0x2222_3333, 0x8000];
    let wire = b.protect_rtcp(&receiver_report(2, block));
    let (forward, clear) = bench.rtcp(Side::B, &wire).unwrap();
    assert!(is_apart(&bench, &forward, Side::A));
    let [(200, report), (202, names)] = compound(&clear)[..] else { panic!("{clear:02x?}") };
    assert_eq!(word(report, 4), 2);
    let told = [28, 32, 36, 40, 44, 48].map(|at| word(report, at));
    assert_eq!(told, [1, 0x0100_0001, u32::from(said.sequence), 5, 0x2222_3333, 0x8000]);
    assert_eq!(&names[8..17], b"\x01\x07gateway");

    // About another report, which A never sent, it tells no time; about others nothing.
    let block = [0xb0b0, 0, 0, 0, 0x9999_9999, 0x8000];
    let clear = bench.rtcp(Side::B, &b.protect_rtcp(&receiver_report(2, block))).unwrap().1;
    let [(201, report), _] = compound(&clear)[..] else { panic!("{clear:02x?}") };
    assert_eq!([8, 24, 28].map(|at| word(report, at)), [1, 0, 0]);
    let block = [0xdead, 0, 0, 0, 0, 0];
    let clear = bench.rtcp(Side::B, &b.protect_rtcp(&receiver_report(2, block))).unwrap().1;
    let [(201, report), _] = compound(&clear)[..] else { panic!("{clear:02x?}") };
    assert_eq!(report.len(), 8);

    let stats = [bench.stats(Side::A), bench.stats(Side::B)];
    assert_eq!(stats.map(|stats| (stats.received_rtcp, stats.sent_rtcp)), [(1, 3), (3, 1)]);
}

#[test]
fn a_goodbye_and_what_holds_no_report_go_no_further() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    let app = packet(204, 0, &[1, 0x6e61_6d65]);
    for bytes in [packet(203, 1, &[1]), source_description(1), app, packet(207, 0, &[1])] {
        assert_eq!(bench.rtcp(Side::A, &bytes), None);
    }
    assert_eq!(bench.stats(Side::A).dropped, 4);
    let mut farewell = sender_report(1, 9, 9, None);
    farewell.extend(packet(203, 1, &[1]));
    let relayed = bench.rtcp(Side::A, &farewell).unwrap().1;
    let kinds: Vec<_> = compound(&relayed).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [200, 202]);
    bench.talk(Side::A, &mut a, &mut b);
}

#[test]
fn broken_and_forged_reports_are_refused() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let mut b = Peer::secure(2, SUITE, 1, 2);
    let good = sender_report(1, 9, 9, None);
    for end in [4, 7, 8, 27, 29, 33, good.len() - 1] {
        assert_eq!(bench.rtcp(Side::A, &good[..end]), None, "{end}");
    }
    assert_eq!(bench.stats(Side::A).malformed, 7);
    let wire = b.protect_rtcp(&good);
    // The E bit cleared, as if the packet were not encrypted; any other bit flipped; too short.
    let index = wire.len() - 14;
    for at in [index, 5, 20, wire.len() - 1] {
        let mut forged = wire.clone();
        forged[at] ^= 0x80;
        assert_eq!(bench.rtcp(Side::B, &forged), None, "{at}");
    }
    for end in 0..22 {
        assert_eq!(bench.rtcp(Side::B, &wire[..end]), None, "{end}");
    }
    assert!(bench.rtcp(Side::B, &wire).is_some());
    assert_eq!(bench.rtcp(Side::B, &wire), None);
    let stats = bench.stats(Side::B);
    assert_eq!((stats.duplicates, stats.received_rtcp), (1, 1));
}

/// TR-048: multiplexed or not, on each side by itself; from both ports in the end.
#[test]
fn multiplexing_is_each_side_s_own() {
    for (mux_a, mux_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut bench = Bench::with(|[a, b]| {
            a.mux = mux_a;
            b.mux = mux_b;
            b.security = security(SUITE, 1, 2);
        });
        let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
        bench.talk(Side::A, &mut a, &mut b);
        bench.talk(Side::B, &mut b, &mut a);
        let (forward, wire) = bench.rtcp(Side::A, &sender_report(1, 1, 1, None)).unwrap();
        assert_eq!(is_apart(&bench, &forward, Side::B), !mux_b);
        assert_eq!(forward.to.port(), if mux_b { 5000 } else { 5001 });
        assert_eq!(b.hear_rtcp(&wire)[1], 200);
        let wire = b.protect_rtcp(&sender_report(2, 1, 1, None));
        let (forward, clear) = bench.rtcp(Side::B, &wire).unwrap();
        assert_eq!(is_apart(&bench, &forward, Side::A), !mux_a);
        assert_eq!(forward.to.port(), if mux_a { 4000 } else { 4001 });
        assert_eq!(clear[1], 200);
        bench.pass(ms(4600));
        let made: Vec<_> = bench.reports.iter().map(|(_, forward, _)| forward.rtcp).collect();
        assert_eq!(made, [!mux_a, !mux_b]);
    }
}

#[test]
fn a_peer_may_multiplex_before_we_agreed_and_use_two_ports_after() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    let port = bench.plan.sides[0].port;
    let report = sender_report(1, 1, 1, None);
    let (forward, _) = bench.datagram(port, false, ADDRESS[0], &report).unwrap();
    assert!(forward.rtcp);
    bench.plan.sides[0].mux = true;
    bench.apply();
    assert!(bench.datagram(port, true, "192.0.2.1:4001", &report).is_some());
    // RTP has no business there.
    assert_eq!(bench.datagram(port, true, "192.0.2.1:4001", &a.say().1), None);
}

#[test]
fn payload_types_that_look_like_rtcp_pass_unless_multiplexed() {
    let mut bench = Bench::plain();
    let mut a = Peer::plain(1);
    a.next.payload_type = 95;
    a.next.marker = true;
    let (_, wire) = bench.rtp(Side::A, &a.say().1).unwrap();
    assert_eq!(Packet::parse(&wire).payload_type, 95);
    bench.plan.sides[0].mux = true;
    bench.apply();
    assert_eq!(bench.rtp(Side::A, &a.say().1), None);
}

/// TR-051 and TR-048: an hour on hold, not a packet from anyone, and a report to each side at
/// least every 5 s, which the other end can read.
#[test]
fn an_hour_on_hold_is_not_an_hour_of_silence() {
    for mux in [true, false] {
        let mut bench = Bench::with(|[a, b]| {
            for side in [a, b] {
                side.mux = mux;
                side.send = false;
                side.receive = false;
            }
        });
        bench.plan.sides[1].security = security(SUITE, 1, 2);
        bench.apply();
        let mut b = Peer::secure(2, SUITE, 1, 2);
        let begin = bench.now;
        bench.pass(Duration::from_secs(3600));
        for side in [Side::A, Side::B] {
            let slot = bench.shard.socket(bench.plan.sides[side.index()].port, false).unwrap().slot;
            let mut last = begin;
            let mut ssrc = None;
            for (at, forward, wire) in bench.reports.iter().filter(|(_, f, _)| f.slot == slot) {
                assert!(*at - last <= Duration::from_secs(5));
                last = *at;
                assert_eq!(forward.rtcp, !mux);
                let clear = if side == Side::B { b.hear_rtcp(wire) } else { wire.clone() };
                let [(201, report), (202, _)] = compound(&clear)[..] else {
                    panic!("{clear:02x?}")
                };
                assert_eq!(word(report, 4), *ssrc.get_or_insert(word(report, 4)));
            }
            assert!(bench.now - last <= Duration::from_secs(5));
        }
        assert_eq!(bench.reports.len(), 1600);
        assert_eq!(bench.shard.counters().own_rtcp, 1600);
    }
}

#[test]
fn our_reports_say_what_was_sent_and_heard() {
    let mut bench = Bench::with(|[_, b]| b.ssrc = Some(0xb0b0));
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    let mut last = None;
    for n in 0..100 {
        last = Some(bench.talk(Side::A, &mut a, &mut b).1);
        if n % 4 == 0 {
            // One in four of B's packets is lost.
            b.say();
        } else {
            bench.talk(Side::B, &mut b, &mut a);
        }
        if n == 50 {
            bench.rtcp(Side::B, &sender_report(2, 0xaaaa_bbbb_cccc_dddd, 0, None)).unwrap();
        }
        bench.pass(ms(20));
    }
    let last = last.unwrap();
    bench.pass(ms(2500));
    let to_b = bench.shard.socket(bench.plan.sides[1].port, false).unwrap().slot;
    let [(at, _, bytes)] =
        &bench.reports.iter().filter(|(_, f, _)| f.slot == to_b).collect::<Vec<_>>()[..]
    else {
        panic!("one report is due");
    };
    let [(200, report), (202, _)] = compound(bytes)[..] else { panic!("{bytes:02x?}") };
    assert_eq!(word(report, 4), 0xb0b0);
    // NTP began at the Unix epoch, when the call did; RTP time goes on since the last packet.
    let elapsed = (*at - (bench.now - ms(4500))).as_millis() as u32;
    assert_eq!(word(report, 8), 2_208_988_800 + elapsed / 1000);
    assert_eq!(word(report, 16), last.timestamp + (elapsed - 99 * 20) * 8);
    assert_eq!([20, 24].map(|at| word(report, at)), [100, 100 * 160]);
    let block = [28, 32, 36, 44, 48].map(|at| word(report, at));
    let (fraction, lost) = (block[1] >> 24, block[1] & 0xff_ffff);
    // The first lost one was never expected.
    assert_eq!((block[0], lost, block[2]), (2, 24, u32::from(b.next.sequence) - 1));
    assert_eq!(fraction, 24 * 256 / 99);
    assert_eq!(block[3], 0xbbbb_cccc);
    let since = u64::from(elapsed - 50 * 20) * 65_536 / 1000;
    assert_eq!(u64::from(block[4]), since);
    assert_eq!(bench.stats(Side::B).lost, 24);
}

#[test]
fn relayed_reports_put_off_our_own() {
    let mut bench = Bench::plain();
    for _ in 0..10 {
        bench.pass(ms(4000));
        assert!(bench.rtcp(Side::A, &sender_report(1, 1, 1, None)).is_some());
    }
    let to_a = bench.shard.socket(bench.plan.sides[0].port, false).unwrap().slot;
    assert!(bench.reports.iter().all(|(_, forward, _)| forward.slot == to_a));
    assert_eq!(bench.reports.len(), 8);
}

#[test]
fn reports_flow_while_the_directions_are_closed() {
    let mut bench = Bench::with(|[a, b]| {
        for side in [a, b] {
            side.send = false;
            side.receive = false;
        }
    });
    assert!(bench.rtcp(Side::A, &sender_report(1, 1, 1, None)).is_some());
    assert!(bench.rtcp(Side::B, &sender_report(2, 1, 1, None)).is_some());
}

#[test]
fn nothing_is_reported_to_nobody() {
    let mut bench = Bench::with(|[a, b]| {
        a.rtp = None;
        b.rtp = None;
    });
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.reports, []);
    bench.plan.sides[0].rtp = Some(ADDRESS[0].parse().unwrap());
    bench.apply();
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.reports.len(), 13);
}
