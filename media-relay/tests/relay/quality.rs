//! Quality and silence through a shard on virtual time: synthetic streams whose figures were computed by hand.

use std::time::Duration;

use media_relay::{Codec, Event, Side, SideStats, Sound};

use crate::bench::{Bench, SESSION, ms};
use crate::peer::{Peer, word};
use crate::rtcp::{packet, receiver_report, sender_report};

const HEARD: Sound = Sound::Heard;
const SILENT: Sound = Sound::Silent;
const DEAD: Sound = Sound::Dead;

/// An answered call.
fn answered() -> Bench {
    Bench::with(|sides| sides.iter_mut().for_each(|side| side.expect = true))
}

fn sounds(bench: &mut Bench) -> Vec<[Sound; 2]> {
    let sound = |event| match event {
        Event::Sound { session, sides } => {
            assert_eq!(session, SESSION);
            Some(sides)
        }
        Event::Warm { .. }
        | Event::Latched { .. }
        | Event::Checkpoint { .. }
        | Event::Cold { .. }
        | Event::Stray { .. }
        | Event::Ended { .. } => None,
    };
    bench.events().into_iter().filter_map(sound).collect()
}

/// Both or one of the peers speak every 20 ms.
fn speak(bench: &mut Bench, a: Option<&mut Peer>, b: Option<&mut Peer>, time: Duration) {
    let (mut a, mut b) = (a, b);
    for _ in 0..time.as_millis() / 20 {
        for (side, peer) in [(Side::A, &mut a), (Side::B, &mut b)] {
            if let Some(peer) = peer {
                bench.rtp(side, &peer.say().1);
            }
        }
        bench.pass(ms(20));
    }
}

/// G.729 at 50 packets a second, each 50th lost: Ppl = 2 %, Ie,eff = 11 + 84 · 2 / (2 + 19) = 19. No round trip
/// is known and no jitter is there: d = 40 ms, Id = 0.96. R = 93.2 − 0.96 − 19 = 73.24.
/// MOS = 1 + 0.035 · 73.24 + 73.24 · 13.24 · 26.76 · 7e-6 = 1 + 2.5634 + 0.1816 = 3.745.
/// G.711 the same way without loss: R = 92.24, MOS = 1 + 3.2284 + 92.24 · 32.24 · 7.76 · 7e-6 = 4.390.
#[test]
fn the_score_of_a_synthetic_stream_is_that_computed_by_hand() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    a.next.payload_type = 18;
    for n in 1..=1000 {
        let (_, wire) = a.say();
        if n % 50 != 25 {
            bench.rtp(Side::A, &wire);
        }
        bench.talk(Side::B, &mut b, &mut Peer::plain(9));
        bench.pass(ms(20));
    }
    let [a, b] = [bench.stats(Side::A), bench.stats(Side::B)];
    assert_eq!((a.received, a.lost, a.payload_type, a.mos), (980, 20, Some(18), 375));
    assert_eq!((b.received, b.lost, b.payload_type, b.mos), (1000, 0, Some(8), 439));
    assert_eq!((a.jitter_max, a.far_mos, a.rtt), (Duration::ZERO, 0, Duration::ZERO));
}

/// A codec by its name in the plan: SILK has no figures of G.113, so Ie 0 and Bpl 10 hold. One of 51 lost is 1.96 %:
/// 95 · 1.9608 / 11.9608 = 15.574, R = 93.2 − 0.96 − 15.574 = 76.666.
/// MOS = 1 + 2.6833 + 76.666 · 16.666 · 23.334 · 7e-6 = 1 + 2.6833 + 0.2087 = 3.892.
#[test]
fn a_dynamic_payload_type_is_scored_as_its_name_says() {
    let mut bench = Bench::with(|[a, _]| a.codecs = vec![(104, Codec::Silk)]);
    let mut a = Peer::plain(1);
    a.next.payload_type = 104;
    for n in 0..51 {
        let (_, wire) = a.say();
        if n != 25 {
            bench.rtp(Side::A, &wire);
        }
        bench.pass(ms(20));
    }
    let stats = bench.stats(Side::A);
    assert_eq!((stats.received, stats.lost, stats.mos), (50, 1, 389));
}

/// RFC 3550 A.8 at 8000 Hz, packets 20 ms apart by their timestamps. The second comes 10 ms late: |D| = 80,
/// J = 80 / 16 = 5. The third is in time again: |D| = 80, J = 5 + (80 − 5) / 16 = 9.6875 (1.2109375 ms). The fourth too:
/// D = 0, J = 9.6875 · 15 / 16 = 9.08, which the RFC's integers round to 9.0625 (1.1328125 ms).
#[test]
fn jitter_of_a_known_sequence_is_that_of_rfc_3550() {
    let mut bench = answered();
    let mut a = Peer::plain(1);
    for (after, jitter, highest) in
        [(0, 0, 0), (30, 625_000, 625_000), (10, 1_210_937, 1_210_937), (20, 1_132_812, 1_210_937)]
    {
        bench.pass(ms(after));
        bench.rtp(Side::A, &a.say().1);
        let stats = bench.stats(Side::A);
        let seen = [stats.jitter, stats.jitter_max].map(|time| time.as_nanos());
        assert_eq!(seen, [jitter, highest]);
    }
}

/// One packet each 20 ms for 2 s, then a report of B: 5 of 100 lost, jitter 160 units of 8000 Hz (20 ms), our report
/// kept for 1 s, 1.080 s after we sent it: the round trip is 80 ms. Ppl = 5: 95 · 5 / (5 + 25.1) = 15.781. d = 40 + 40 ms:
/// 1.92. R = 75.499. MOS = 1 + 2.6425 + 75.499 · 15.499 · 24.501 · 7e-6 = 1 + 2.6425 + 0.2007 = 3.843.
#[test]
fn the_far_end_tells_its_loss_its_jitter_and_the_round_trip() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    for _ in 0..100 {
        bench.talk(Side::A, &mut a, &mut b);
        bench.pass(ms(20));
    }
    bench.pass(ms(2500));
    let to_b = bench.shard.socket(bench.plan.sides[1].port, false).unwrap().slot;
    let found = bench.reports.iter().find(|(_, forward, _)| forward.slot == to_b);
    let (at, _, report) = found.unwrap().clone();
    assert_eq!((at, report[1]), (bench.now, 200));
    let last_sr = word(&report, 8) << 16 | word(&report, 12) >> 16;
    bench.pass(ms(1080));
    let block = [1, 5, 199, 160, last_sr, 65_536];
    assert!(bench.rtcp(Side::B, &receiver_report(2, block)).is_some());
    let stats = bench.stats(Side::B);
    assert_eq!((stats.rtt, stats.rtt_max, stats.far_jitter), (ms(80), ms(80), ms(20)));
    assert_eq!((stats.far_lost, stats.far_reports, stats.far_mos), (5, 1, 384));

    // A report of A's that went to B under A's own time is answered as well.
    let ntp = 0x1111_2222_3333_4444;
    bench.talk(Side::A, &mut a, &mut b);
    bench.rtcp(Side::A, &sender_report(1, ntp, 7000, None)).unwrap();
    bench.pass(ms(530));
    let block = [1, 6, 199, 160, 0x2222_3333, 32_768];
    bench.rtcp(Side::B, &receiver_report(2, block)).unwrap();
    let stats = bench.stats(Side::B);
    assert_eq!((stats.rtt, stats.rtt_max, stats.far_lost), (ms(30), ms(80), 6));
    assert_eq!(bench.stats(Side::A).far_reports, 0);
}

/// A VoIP metrics block (RFC 3611 §4.7) about this source.
fn metrics(ssrc: u32) -> Vec<u8> {
    let words = [2, 7 << 24 | 8, ssrc, 0x0503_0000, 0, 120 << 16, 0, 0x507f_2927, 0, 0];
    packet(207, 0, &words)
}

#[test]
fn at_42_voip_metrics_are_read_never_relayed_and_refused_when_lengths_lie() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    // About somebody else.
    bench.rtcp(Side::B, &metrics(77));
    assert_eq!(bench.stats(Side::B).far_mos, 0);
    // Alone, and behind a report: 3.9 for conversation, 120 ms, 3/256 discarded.
    assert_eq!(bench.rtcp(Side::B, &metrics(1)), None);
    let stats = bench.stats(Side::B);
    assert_eq!((stats.far_mos, stats.far_discarded, stats.rtt), (390, 3, ms(120)));
    let block = [1, 0, 100, 0, 0, 0];
    let both = [receiver_report(2, block), metrics(1)].concat();
    let (_, relayed) = bench.rtcp(Side::B, &both).unwrap();
    assert_eq!(crate::rtcp::compound(&relayed).iter().map(|(kind, _)| *kind).max(), Some(202));
    // A lie about the block's length, in one way or the other, costs the compound.
    let before = bench.stats(Side::B);
    for words in [0, 7, 9, 255] {
        let mut lie = both.clone();
        let at = lie.len() - metrics(1).len() + 11;
        lie[at] = words;
        assert_eq!(bench.rtcp(Side::B, &lie), None, "{words}");
    }
    let after = bench.stats(Side::B);
    assert_eq!(after, SideStats { malformed: before.malformed + 4, ..before });
}

/// RTCP of any kind, BYE included, changes nothing about a call that talks.
#[test]
fn at_42_a_goodbye_of_either_side_ends_nothing() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(1000));
    for (side, ssrc) in [(Side::A, 1), (Side::B, 2)] {
        let mut bye = sender_report(ssrc, 9, 9, None);
        bye.extend(packet(203, 1, &[ssrc]));
        bench.rtcp(side, &bye).unwrap();
        bench.rtcp(side, &packet(203, 1, &[ssrc]));
    }
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(10_000));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    assert_eq!([Side::A, Side::B].map(|side| bench.stats(side).relayed), [550, 550]);
}

#[test]
fn one_way_audio_is_told_within_five_seconds_with_its_side() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    speak(&mut bench, Some(&mut a), None, ms(3980));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    speak(&mut bench, Some(&mut a), None, ms(1000));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]], "4.98 s after the answer");
    // Told once, however long it lasts; and then that it is over.
    speak(&mut bench, Some(&mut a), None, ms(5020));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(1000));
    assert_eq!(sounds(&mut bench), [[HEARD, HEARD]]);
    let stats = bench.stats(Side::B);
    assert_eq!((stats.silent, stats.silences, stats.one_way), (ms(10_000), 1, 1));
    assert_eq!(bench.stats(Side::A).silences, 0);
    // The other way round, in the middle of the call.
    speak(&mut bench, None, Some(&mut b), ms(4020));
    assert_eq!(sounds(&mut bench), [[SILENT, HEARD]]);
}

#[test]
fn no_audio_at_all_is_told_as_both_and_is_not_one_way() {
    let mut bench = answered();
    bench.pass(ms(5000));
    assert_eq!(sounds(&mut bench), [[SILENT, SILENT]]);
    // Half a minute later one of them begins: from then on it is one-way.
    bench.pass(ms(25_000));
    let mut a = Peer::plain(1);
    speak(&mut bench, Some(&mut a), None, ms(100));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    bench.pass(ms(0));
    let stats = [bench.stats(Side::A), bench.stats(Side::B)];
    assert_eq!(stats.map(|side| (side.silences, side.one_way)), [(1, 0), (1, 1)]);
    assert_eq!(stats[0].silent, ms(30_000));
}

/// Early media and closed directions need not be heard, for however long; time begins when they open.
#[test]
fn tr_051_what_is_held_or_not_answered_is_never_silent_nor_dead() {
    let hour = Duration::from_secs(3600);
    let mut bench = Bench::with(|sides| {
        for side in sides {
            side.timeout = Some(Duration::from_secs(10));
        }
    });
    bench.pass(hour);
    for side in &mut bench.plan.sides {
        side.expect = true;
        side.receive = false;
    }
    bench.apply();
    bench.pass(hour);
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    bench.plan.sides[0].receive = true;
    bench.apply();
    bench.pass(ms(3999));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    bench.pass(ms(1));
    assert_eq!(sounds(&mut bench), [[SILENT, HEARD]], "that side alone");
    // Held again, it is fine at once, and not one-way: the other side need not be heard.
    bench.plan.sides[0].receive = false;
    bench.apply();
    assert_eq!(sounds(&mut bench), [[HEARD, HEARD]]);
    bench.pass(hour);
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    let stats = bench.stats(Side::A);
    assert_eq!((stats.silent, stats.silences, stats.one_way), (ms(4000), 1, 0));
}

/// A peer that pauses says so by comfort noise, and is alive as long as its RTCP comes.
#[test]
fn comfort_noise_announces_a_pause() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.rtp(Side::B, &b.say().1);
    b.next.payload_type = 13;
    bench.rtp(Side::B, &b.say().1);
    for _ in 0..12 {
        bench.rtcp(Side::B, &receiver_report(2, [9, 0, 0, 0, 0, 0]));
        speak(&mut bench, Some(&mut a), None, ms(5000));
    }
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0], "a minute of pause");
    speak(&mut bench, Some(&mut a), None, ms(10_000));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]], "15 s without anything");
    assert_eq!(bench.stats(Side::B).payload_type, Some(8), "noise is no speech");
    // RTCP alone puts nothing off when speech came last.
    b.next.payload_type = 8;
    bench.rtp(Side::B, &b.say().1);
    assert_eq!(sounds(&mut bench), [[HEARD, HEARD]]);
    bench.rtcp(Side::B, &receiver_report(2, [9, 0, 0, 0, 0, 0]));
    speak(&mut bench, Some(&mut a), None, ms(4020));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
}

/// Nobody agreed to comfort noise, so that none is passed on. That its sender pauses is known all the same; and of who
/// has not spoken, there is no score.
#[test]
fn comfort_noise_that_nobody_agreed_to_announces_a_pause_too() {
    let mut bench = Bench::with(|[a, b]| {
        (a.expect, b.expect) = (true, true);
        b.payloads = vec![(8, 8)];
    });
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    b.next.payload_type = 13;
    assert_eq!(bench.rtp(Side::B, &b.say().1), None);
    speak(&mut bench, Some(&mut a), None, ms(14_980));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    speak(&mut bench, Some(&mut a), None, ms(40));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    // Its reports say that it is there.
    bench.rtcp(Side::B, &receiver_report(2, [9, 0, 0, 0, 0, 0]));
    assert_eq!(sounds(&mut bench), [[HEARD, HEARD]]);
    let stats = bench.stats(Side::B);
    assert_eq!((stats.received, stats.unlisted, stats.payload_type, stats.mos), (1, 1, None, 0));
}

/// The shortest time-out is shorter than RTCP's interval may be (RFC 3550 §6.3.1: up to 7.5 s), and who pauses sends
/// nothing else.
#[test]
fn who_pauses_is_not_dead_between_two_reports() {
    let mut bench = answered();
    bench.plan.sides.iter_mut().for_each(|side| side.timeout = Some(Duration::from_secs(5)));
    bench.apply();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    b.next.payload_type = 13;
    bench.rtp(Side::B, &b.say().1);
    for _ in 0..4 {
        speak(&mut bench, Some(&mut a), None, ms(7500));
        bench.rtcp(Side::B, &receiver_report(2, [9, 0, 0, 0, 0, 0]));
    }
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    speak(&mut bench, Some(&mut a), None, ms(15_020));
    assert_eq!(sounds(&mut bench), [[HEARD, DEAD]]);
}

/// Noise before a hold says nothing of what comes after it; before a restart it does.
#[test]
fn a_pause_is_forgotten_with_a_hold_or_a_move_and_kept_over_a_restart() {
    let pausing = || {
        let mut bench = answered();
        let mut b = Peer::plain(2);
        b.next.payload_type = 13;
        bench.rtp(Side::B, &b.say().1);
        bench.pass(ms(1000));
        bench
    };
    let mut a = Peer::plain(1);
    let mut bench = pausing();
    bench.plan.sides[1].receive = false;
    bench.apply();
    bench.plan.sides[1].receive = true;
    bench.apply();
    speak(&mut bench, Some(&mut a), None, ms(4020));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    let mut bench = pausing();
    bench.plan.sides[1].rtp = Some("198.51.100.9:5000".parse().unwrap());
    bench.apply();
    speak(&mut bench, Some(&mut a), None, ms(3980));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    speak(&mut bench, Some(&mut a), None, ms(40));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    let mut bench = pausing();
    let state = bench.checkpoint.clone().unwrap().1;
    bench.crash(Some(state), ms(500));
    speak(&mut bench, Some(&mut a), None, ms(14_980));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
}

/// One is silent for long; the other's gaps of 3.5 s are no silence all the same.
#[test]
fn who_is_silent_makes_nobody_else_silent() {
    let mut bench = answered();
    let mut a = Peer::plain(1);
    speak(&mut bench, Some(&mut a), None, ms(5000));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    for _ in 0..10 {
        bench.pass(ms(3500));
        bench.rtp(Side::A, &a.say().1);
    }
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    assert_eq!(bench.stats(Side::B).one_way, 1);
}

/// 10 ms late on a clock of 16 kHz, then a digit on one of 8 kHz: J = 160 / 16 = 10 units of 16 kHz, 0.625 ms, 5 of 8 kHz.
#[test]
fn jitter_is_a_time_whatever_clock_comes_last() {
    let mut bench = Bench::with(|[a, _]| a.clocks = vec![(104, 16_000)]);
    let mut a = Peer::plain(1);
    a.next.payload_type = 104;
    for after in [0, 30] {
        bench.pass(ms(after));
        bench.rtp(Side::A, &a.say().1);
        a.next.timestamp += 160;
    }
    let late = Duration::from_micros(625);
    let figures = |bench: &Bench| (bench.stats(Side::A).jitter, bench.stats(Side::A).jitter_max);
    assert_eq!(figures(&bench), (late, late));
    a.next.payload_type = 101;
    bench.pass(ms(10));
    bench.rtp(Side::A, &a.say().1);
    assert_eq!(figures(&bench), (late, late));
    bench.pass(ms(1500));
    let state = bench.checkpoint.clone().unwrap().1;
    bench.crash(Some(state), ms(500));
    assert_eq!(figures(&bench), (late, late), "until there is another");
}

/// Both go quiet within a second of each other: that is no audio at all, not first one-way audio.
#[test]
fn two_that_stop_at_nearly_one_time_are_silent_together() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(2000));
    speak(&mut bench, Some(&mut a), None, ms(900));
    bench.pass(ms(3090));
    assert_eq!(sounds(&mut bench), [[SILENT, SILENT]]);
    let stats = [Side::A, Side::B].map(|side| bench.stats(side));
    assert_eq!(stats.map(|side| (side.silences, side.one_way)), [(1, 0), (1, 0)]);
    // A second and more is one after the other.
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(2000));
    speak(&mut bench, Some(&mut a), None, ms(1100));
    bench.pass(ms(2990));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
}

/// A stream that nobody talks back to: who holds, or is held, need not be heard.
#[test]
fn tr_051_who_only_sends_or_only_hears_is_not_watched() {
    for (send, receive) in [(false, true), (true, false), (false, false)] {
        let mut bench = answered();
        (bench.plan.sides[1].send, bench.plan.sides[1].receive) = (send, receive);
        bench.plan.sides[1].timeout = Some(Duration::from_secs(5));
        bench.apply();
        bench.pass(ms(60_000));
        assert_eq!(sounds(&mut bench), [[SILENT, HEARD]], "{send} {receive}");
    }
}

/// The thread stood still for 20 s and finds its timers first, what came meanwhile afterwards: nobody was silent. Who
/// says nothing in the second after it was.
#[test]
fn a_thread_that_stood_still_takes_nobody_for_silent() {
    let mut bench = answered();
    bench.plan.sides.iter_mut().for_each(|side| side.timeout = Some(Duration::from_secs(10)));
    bench.apply();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(2000));
    bench.stand_still(ms(20_000));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(5000));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    bench.stand_still(ms(20_000));
    speak(&mut bench, Some(&mut a), None, ms(1000));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
}

/// After a pause the timestamps may go on where they stopped: 9 s of difference are not the network's.
#[test]
fn a_pause_is_no_jitter() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(1000));
    bench.pass(ms(9000));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(1000));
    assert_eq!(bench.stats(Side::A).jitter_max, Duration::ZERO);
    assert_eq!(bench.stats(Side::A).longest_gap, ms(9020));
}

/// What cannot be passed on is not heard by anybody.
#[test]
fn packets_of_strangers_and_of_unlisted_types_are_silence() {
    let mut bench = Bench::with(|[a, b]| {
        (a.expect, b.expect) = (true, true);
        b.payloads = vec![(8, 8)];
    });
    let (mut a, mut b, mut stranger) = (Peer::plain(1), Peer::plain(2), Peer::plain(3));
    b.next.payload_type = 96;
    for _ in 0..250 {
        bench.rtp(Side::A, &a.say().1);
        bench.rtp(Side::B, &b.say().1);
        bench.rtp_from(Side::B, "203.0.113.9:5000", &stranger.say().1);
        bench.pass(ms(20));
    }
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    assert_eq!((bench.stats(Side::B).unlisted, bench.stats(Side::B).foreign), (250, 250));
}

#[test]
fn a_side_without_rtp_and_rtcp_is_dead_after_the_plans_time() {
    let mut bench = answered();
    bench.plan.sides.iter_mut().for_each(|side| side.timeout = Some(Duration::from_secs(20)));
    bench.apply();
    let mut a = Peer::plain(1);
    // RTCP holds it off for a minute, though it is silent.
    for _ in 0..12 {
        bench.rtcp(Side::B, &receiver_report(2, [9, 0, 0, 0, 0, 0]));
        speak(&mut bench, Some(&mut a), None, ms(5000));
    }
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    speak(&mut bench, Some(&mut a), None, ms(14_980));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    speak(&mut bench, Some(&mut a), None, ms(40));
    assert_eq!(sounds(&mut bench), [[HEARD, DEAD]]);
    // Nobody has to act on it: when it comes back, that is told.
    bench.rtcp(Side::B, &receiver_report(2, [9, 0, 0, 0, 0, 0]));
    assert_eq!(sounds(&mut bench), [[HEARD, SILENT]]);
    assert_eq!(bench.stats(Side::B).silences, 1);
}

/// Events are flags: an owner that takes none for an hour finds the newest.
#[test]
fn sounds_that_nobody_takes_do_not_pile_up() {
    let mut bench = answered();
    let mut b = Peer::plain(2);
    for _ in 0..100 {
        bench.pass(ms(5000));
        bench.rtp(Side::B, &b.say().1);
    }
    assert_eq!(sounds(&mut bench), [[SILENT, HEARD]]);
    bench.pass(ms(5000));
    bench.rtp(Side::B, &b.say().1);
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0], "as it was told");
}

#[test]
fn figures_go_on_in_another_process() {
    let mut bench = answered();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    speak(&mut bench, Some(&mut a), None, ms(8000));
    speak(&mut bench, Some(&mut a), Some(&mut b), ms(2000));
    let before = bench.stats(Side::B);
    let state = bench.checkpoint.clone().unwrap().1;
    bench.crash(Some(state), ms(500));
    let after = bench.stats(Side::B);
    let lasting = |stats: SideStats| {
        (stats.silent, stats.silences, stats.one_way, stats.payload_type, stats.jitter_max)
    };
    assert_eq!(lasting(after), lasting(before));
    assert_eq!((after.silences, after.one_way, after.mos), (1, 1, 439));
    // And it is watched again, from the moment it was taken up.
    bench.pass(ms(3999));
    assert_eq!(sounds(&mut bench), [] as [[Sound; 2]; 0]);
    bench.pass(ms(1));
    assert_eq!(sounds(&mut bench), [[SILENT, SILENT]]);
}
