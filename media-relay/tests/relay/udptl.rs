//! Faxes: UDPTL between two peers, beside the RTP before and after it.

use std::sync::Arc;
use std::time::Duration;

use media_relay::audio::{Clip, Law};
use media_relay::srtp::Suite;
use media_relay::{Event, Play, Side, Sound};

use crate::bench::{ADDRESS, Bench, SESSION, ms};
use crate::peer::{Peer, security};

/// A datagram of T.38 with redundancy: its number, a primary packet, and one before it.
fn udptl(number: u16) -> Vec<u8> {
    let mut datagram = number.to_be_bytes().to_vec();
    datagram.extend([
        6,
        0xc0,
        0x01,
        0x80,
        0x00,
        0x00,
        number as u8,
        0,
        1,
        6,
        0xc0,
        1,
        0x80,
        0,
        0,
        9,
    ]);
    datagram
}

impl Bench {
    /// The plan, now or no longer a fax, is applied.
    fn fax(&mut self, udptl: bool) {
        for side in &mut self.plan.sides {
            side.udptl = udptl;
        }
        self.apply();
    }
}

#[test]
fn datagrams_pass_unread_both_ways_whatever_they_look_like() {
    let mut bench = Bench::plain();
    bench.fax(true);
    let like_rtp = Peer::plain(7).say().1;
    let like_rtcp = [&[0x80, 200, 0, 1][..], &[0; 4]].concat();
    let all = [
        udptl(0),
        udptl(1),
        udptl(1),
        udptl(0x8000),
        udptl(0xffff),
        vec![0],
        like_rtp,
        like_rtcp,
        vec![0xaa; 1600],
    ];
    for (side, to) in [(Side::A, ADDRESS[1]), (Side::B, ADDRESS[0])] {
        for datagram in &all {
            let (forward, passed) = bench.rtp(side, datagram).unwrap();
            assert_eq!((forward.to, forward.rtcp), (to.parse().unwrap(), false));
            assert_eq!(&passed, datagram);
        }
        assert_eq!(bench.rtp(side, &[]), None);
        assert_eq!(bench.rtp(side, &vec![0xaa; 1601]), None);
        // Nor anything on the port for RTCP.
        assert_eq!(bench.rtcp(side, &udptl(2)), None);
        let stats = bench.stats(side);
        assert_eq!((stats.udptl, stats.malformed, stats.received), (all.len() as u64, 3, 0));
        assert_eq!((stats.lost, stats.duplicates, stats.mos), (0, 0, 0));
    }
}

/// The same guard as for RTP: the signalled host, the networks of the plan, and the one that is latched.
#[test]
fn who_may_not_send_rtp_may_not_send_a_fax() {
    let mut bench = Bench::with(|[a, _]| a.sources = vec!["10.0.0.0/8".parse().unwrap()]);
    bench.fax(true);
    for stranger in ["203.0.113.1:4000", "192.0.3.1:4000", "198.51.100.1:5000", "127.0.0.1:4000"] {
        assert_eq!(bench.rtp_from(Side::A, stranger, &udptl(0)), None);
    }
    assert_eq!(bench.stats(Side::A).foreign, 4);
    assert_eq!(bench.rtp(Side::B, &udptl(0)).unwrap().0.to, ADDRESS[0].parse().unwrap());
    // From behind a NAT: what goes there follows.
    let from = "10.9.8.7:1234";
    assert!(bench.rtp_from(Side::A, from, &udptl(0)).is_some());
    assert_eq!(bench.rtp(Side::B, &udptl(1)).unwrap().0.to, from.parse().unwrap());
    assert_eq!(bench.rtp_from(Side::A, "10.9.8.8:1234", &udptl(1)), None);
    let latched = Event::Latched { session: SESSION, side: Side::A, from: from.parse().unwrap() };
    assert!(bench.events().contains(&latched));
    // A flood is cut.
    let passed = (0..5000).filter(|n| bench.rtp_from(Side::A, from, &udptl(*n)).is_some()).count();
    assert!((900..=1000).contains(&passed), "{passed}");
}

/// A page takes half a minute, in which its receiver sends nothing.
#[test]
fn the_pause_of_a_fax_is_nobody_elses_turn() {
    let mut bench = Bench::plain();
    bench.fax(true);
    assert!(bench.rtp(Side::A, &udptl(0)).is_some());
    bench.pass(Duration::from_secs(30));
    let elsewhere = ADDRESS[0].replace(":4000", ":6666");
    assert_ne!(elsewhere, ADDRESS[0]);
    assert_eq!(bench.rtp_from(Side::A, &elsewhere, &udptl(1)), None);
    assert_eq!(bench.stats(Side::A).foreign, 1);
    assert_eq!(bench.rtp(Side::B, &udptl(0)).unwrap().0.to, ADDRESS[0].parse().unwrap());
    assert!(bench.rtp(Side::A, &udptl(1)).is_some());
}

/// Nobody is told reports, music or of silence, however long the fax pauses; and a side that never sends is not dead.
#[test]
fn nothing_of_ours_is_in_a_fax_and_it_may_pause() {
    let mut bench = Bench::with(|sides| {
        for side in sides {
            side.expect = true;
            side.timeout = Some(Duration::from_secs(10));
            let clip = Arc::new(Clip::new(&[1; 100]).unwrap());
            let (looped, yields) = (true, false);
            side.play = Some(Play { clip, law: Law::A, payload: 8, looped, yields });
        }
    });
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    let talk = |bench: &mut Bench, a: &mut Peer, b: &mut Peer| {
        for side in &mut bench.plan.sides {
            side.play = None;
        }
        bench.apply();
        for _ in 0..50 {
            bench.talk(Side::A, a, b);
            bench.talk(Side::B, b, a);
            bench.pass(ms(20));
        }
    };
    bench.pass(ms(200));
    assert!(!bench.reports.is_empty(), "it plays");
    let plays = bench.plan.sides.each_ref().map(|side| side.play.clone());
    talk(&mut bench, &mut a, &mut b);
    for (side, play) in bench.plan.sides.iter_mut().zip(plays) {
        side.play = play;
    }
    bench.fax(true);
    bench.reports.clear();
    bench.events();
    for pause in [1, 20, 60, 600] {
        assert!(bench.rtp(Side::A, &udptl(pause)).is_some());
        bench.pass(Duration::from_secs(pause.into()));
        assert!(bench.rtp(Side::B, &udptl(pause)).is_some());
    }
    assert_eq!(bench.reports, []);
    assert!(!bench.events().iter().any(|event| matches!(event, Event::Sound { .. })));
    // Back in audio it is as before: 4 s of it missing are told, and 10 s are the end.
    bench.fax(false);
    talk(&mut bench, &mut a, &mut b);
    bench.pass(Duration::from_secs(5));
    assert!(!bench.reports.is_empty());
    let sounds = |event| {
        let Event::Sound { sides, .. } = event else { return None };
        Some(sides)
    };
    let last = |bench: &mut Bench| bench.events().into_iter().filter_map(sounds).next_back();
    assert_eq!(last(&mut bench), Some([Sound::Silent; 2]));
    bench.pass(Duration::from_secs(6));
    assert_eq!(last(&mut bench), Some([Sound::Dead; 2]));
    let stats = bench.stats(Side::A);
    assert_eq!((stats.received, stats.lost, stats.udptl), (100, 0, 4));
    assert!(stats.longest_gap < ms(100), "{:?}", stats.longest_gap);
}

/// RTP that is still under way when both have agreed to a fax is none, nor are its reports; what only looks like it, is one.
#[test]
fn late_rtp_is_not_passed_on_as_a_fax() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(0x0102_0304), Peer::plain(2));
    for _ in 0..5 {
        bench.talk(Side::A, &mut a, &mut b);
    }
    bench.fax(true);
    let late = a.say().1;
    assert_eq!(bench.rtp(Side::A, &late), None);
    let report = [&[0x80, 200, 0, 6][..], &0x0102_0304_u32.to_be_bytes(), &[0; 20]].concat();
    assert_eq!(bench.rtp(Side::A, &report), None);
    assert_eq!(bench.stats(Side::A).dropped, 2);
    assert_eq!(bench.stats(Side::A).udptl, 0);
    // It is told by its source, not by its version.
    let mut like = late.clone();
    like[11] ^= 1;
    assert!(bench.rtp(Side::A, &like).is_some());
    assert!(bench.rtp(Side::B, &late).is_some(), "the other side has spoken as nobody");
    // It is late as long as it goes on; another plan begins nothing anew.
    for _ in 0..150 {
        bench.pass(ms(20));
        assert_eq!(bench.rtp(Side::A, &a.say().1), None);
    }
    bench.fax(true);
    bench.pass(ms(1900));
    assert_eq!(bench.rtp(Side::A, &late), None);
    assert_eq!(bench.stats(Side::A).udptl, 1);
    // After two seconds of nothing, nothing is under way any more.
    bench.pass(ms(2000));
    assert!(bench.rtp(Side::A, &late).is_some());
}

/// A fax that begins before its plan, or goes on after it, is not RTP; nor does it cross while only one side has it.
#[test]
fn a_fax_is_not_passed_on_as_rtp() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    bench.talk(Side::A, &mut a, &mut b);
    for number in 0..40 {
        assert_eq!(bench.rtp(Side::A, &udptl(number)), None);
    }
    assert_eq!(bench.stats(Side::A).malformed, 40);
    bench.plan.sides[0].udptl = true;
    bench.apply();
    assert_eq!(bench.rtp(Side::A, &udptl(0)), None);
    assert_eq!(bench.rtp(Side::B, &b.say().1), None, "RTP into a fax");
    assert_eq!((bench.stats(Side::A).held, bench.stats(Side::B).held), (1, 1));
    bench.fax(true);
    assert!(bench.rtp(Side::A, &udptl(0)).is_some());
    bench.fax(false);
    assert_eq!(bench.rtp(Side::A, &udptl(1)), None);
    bench.talk(Side::A, &mut a, &mut b);
    assert_eq!(bench.stats(Side::A).restarts, 0);
}

/// A closed direction, a peer without a place, a side with keys: nothing passes, whatever the plan says.
#[test]
fn a_fax_goes_nowhere_where_it_may_not() {
    let mut bench = Bench::plain();
    bench.plan.sides[0].receive = false;
    bench.fax(true);
    assert_eq!(bench.rtp(Side::A, &udptl(0)), None);
    bench.plan.sides[0].receive = true;
    bench.plan.sides[1].rtp = None;
    bench.apply();
    assert_eq!(bench.rtp(Side::A, &udptl(0)), None);
    assert_eq!(bench.stats(Side::A).held, 2);
    for secure in [0, 1] {
        let suite = Suite::AesCm128HmacSha1_80;
        let mut bench = Bench::with(|sides| sides[secure].security = security(suite, 1, 2));
        bench.fax(true);
        for (at, side) in [Side::A, Side::B].into_iter().enumerate() {
            assert_eq!(bench.rtp(side, &udptl(0)), None);
            let (refused, stats) = (u64::from(at == secure), bench.stats(side));
            assert_eq!((stats.auth_failed, stats.held, stats.udptl), (refused, 1 - refused, 0));
        }
    }
}

/// In the next process the fax goes on where it was heard, with its figures.
#[test]
fn a_fax_goes_on_in_the_next_process() {
    let mut bench = Bench::with(|[a, _]| a.sources = vec!["10.0.0.0/8".parse().unwrap()]);
    bench.fax(true);
    assert!(bench.rtp_from(Side::A, "10.9.8.7:1234", &udptl(0)).is_some());
    bench.pass(ms(1500));
    let (_, state) = bench.checkpoint.clone().unwrap();
    bench.crash(Some(state), ms(500));
    let (forward, passed) = bench.rtp(Side::B, &udptl(9)).unwrap();
    assert_eq!((forward.to, passed), ("10.9.8.7:1234".parse().unwrap(), udptl(9)));
    assert!(bench.rtp_from(Side::A, "10.9.8.7:1234", &udptl(1)).is_some());
    assert_eq!(bench.stats(Side::A).udptl, 2);
}
