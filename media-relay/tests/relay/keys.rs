//! Keys that come, stay and go, as both peers hear it: RTP and RTCP through a shard on virtual time. The
//! machine's own table is tested beside it, in `shard/keys`.

use std::time::Duration;

use media_relay::Side;
use media_relay::srtp::{MasterKey, Mki, Suite};

use crate::bench::{ADDRESS, Bench, ms};
use crate::peer::{Peer, key, security, set_receive, word};
use crate::rtcp::{compound, sender_report};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// A plain peer on A, an SRTP peer on B, and what both were told.
struct Call {
    bench: Bench,
    a: Peer,
    b: Peer,
}

impl Call {
    fn new() -> Self {
        let bench = Bench::with(|[_, b]| {
            b.security = security(SUITE, 1, 2);
            b.mux = true;
        });
        Self { bench, a: Peer::plain(1), b: Peer::secure(2, SUITE, 1, 2) }
    }

    /// Both ways, at a packet every 20 ms.
    fn talk(&mut self, packets: usize) {
        for _ in 0..packets {
            self.bench.talk(Side::A, &mut self.a, &mut self.b);
            self.bench.talk(Side::B, &mut self.b, &mut self.a);
            self.bench.pass(ms(20));
        }
    }

    /// Reports cross both ways, ours too: nothing that is heard fails to decrypt.
    fn reports(&mut self) {
        for (_, forward, report) in std::mem::take(&mut self.bench.reports) {
            if forward.to == ADDRESS[1].parse().unwrap() {
                self.b.hear_rtcp(&report);
            }
        }
        let report = sender_report(self.a.next.ssrc, 1, 1, None);
        let told = self.bench.rtcp(Side::A, &report).expect("relayed").1;
        let kind = compound(&self.b.hear_rtcp(&told))[0].0;
        assert!(matches!(kind, 200 | 201), "a report first: {kind}");
        let report = self.b.protect_rtcp(&sender_report(self.b.next.ssrc, 1, 1, None));
        assert!(self.bench.rtcp(Side::B, &report).is_some());
    }

    /// What the relay may be told by the peer's SDP.
    fn keys(&mut self, keys: impl IntoIterator<Item = u8>) {
        let named = keys.into_iter().map(|byte| key(SUITE, byte)).collect();
        self.bench.plan.sides[1].security.as_mut().unwrap().receive = named;
        self.bench.apply();
    }

    fn nothing_was_lost(&self) {
        for side in [Side::A, Side::B] {
            let stats = self.bench.stats(side);
            let faults = (stats.lost, stats.auth_failed, stats.duplicates, stats.dropped);
            assert_eq!(faults, (0, 0, 0, 0), "{side:?} {stats:?}");
        }
    }
}

/// The case of 27 minutes: a call whose sequence numbers have gone round is refreshed with another key, and
/// Teams begins at rollover counter 0. Two-way audio and reports before and after; ours goes on as it was.
#[test]
fn tr_043_a_new_key_after_27_minutes_begins_at_rollover_zero() {
    let mut call = Call::new();
    // 27 minutes at 50 packets a second are 81,000: more than 2^16.
    call.talk(27 * 60 * 50);
    call.reports();
    let ours = (call.bench.talk(Side::A, &mut call.a, &mut call.b)).1;
    call.keys([3]);
    call.b.rekey(SUITE, Some(3), None);
    let next = (call.bench.talk(Side::A, &mut call.a, &mut call.b)).1;
    assert_eq!((next.ssrc, next.sequence), (ours.ssrc, ours.sequence.wrapping_add(1)));
    call.reports();
    // And again, twice: whatever the sequence of the peer is then.
    for fresh in [4, 5] {
        call.talk(20_000);
        call.keys([fresh]);
        call.b.rekey(SUITE, Some(fresh), None);
        call.reports();
    }
    call.talk(70_000);
    call.reports();
    call.nothing_was_lost();
}

/// TR-042: the same SDP again, as often as may be, at any rollover counter.
#[test]
fn tr_042_the_same_key_again_changes_nothing() {
    let mut call = Call::new();
    for _ in 0..50 {
        call.talk(3_000);
        call.bench.apply();
        call.reports();
    }
    call.nothing_was_lost();
}

/// TR-044: 2^17 packets each way, with hold, resume, refresh and another peer behind the other leg after
/// each rollover.
#[test]
fn tr_044_two_to_the_seventeen_packets_with_hold_refresh_and_transfer() {
    let mut call = Call::new();
    let mut sent = 0;
    while sent < 1 << 17 {
        call.talk(33_000);
        sent += 33_000;
        // Held: A sends nothing, B on hold goes on sending what nobody hears.
        for side in &mut call.bench.plan.sides {
            (side.send, side.receive) = (false, false);
        }
        call.bench.apply();
        for _ in 0..3_000 {
            let (_, wire) = call.b.say();
            assert_eq!(call.bench.rtp(Side::B, &wire), None);
            call.bench.pass(ms(20));
        }
        call.reports();
        for side in &mut call.bench.plan.sides {
            (side.send, side.receive) = (true, true);
        }
        call.bench.apply();
        // Another peer takes the place of A, with numbers of its own.
        call.a = Peer::plain(call.a.next.ssrc + 1);
        call.talk(10);
        call.bench.apply();
    }
    let stats = call.bench.stats(Side::B);
    assert_eq!((stats.auth_failed, stats.duplicates, stats.lost), (0, 0, 0), "{stats:?}");
    assert!(stats.received > 1 << 17 && stats.sent > 1 << 17);
}

/// TR-044: the media of the encrypted peer move to one that knows nothing of what was before, once before the numbers go
/// round and twice afterwards, at once or by way of a hold (c=0.0.0.0). It hears us, since where it could not know our
/// rollover counter we are another source; before that, and for who stays or comes by another way, we are the same one.
#[test]
fn tr_044_an_encrypted_peer_that_moves_after_a_rollover_hears_us() {
    let mut call = Call::new();
    let mut ours = None;
    for (n, packets, held, same) in
        [(0, 1_000, false, true), (1, 70_000, false, false), (2, 70_000, true, false)]
    {
        call.talk(packets);
        let before = call.bench.talk(Side::A, &mut call.a, &mut call.b).1;
        assert!(ours.is_none_or(|ours| ours == before.ssrc));
        // What needs no other source: another key alone, another place alone, the same again.
        call.keys([10 + n]);
        call.b.rekey(SUITE, Some(10 + n), None);
        call.talk(100);
        call.bench.apply();
        call.talk(100);
        assert_eq!(call.bench.talk(Side::A, &mut call.a, &mut call.b).1.ssrc, before.ssrc);
        let plan = &mut call.bench.plan.sides[1];
        if held {
            plan.rtp = None;
            call.bench.apply();
        }
        let place = format!("203.0.113.77:{}", 7000 + u16::from(n));
        call.bench.plan.sides[1].rtp = Some(place.parse().unwrap());
        call.keys([20 + n]);
        call.b = Peer::secure(90 + u32::from(n), SUITE, 20 + n, 2);
        let mut heard = Vec::new();
        for _ in 0..3_000 {
            let (_, wire) = call.b.say();
            assert!(call.bench.rtp_from(Side::B, &place, &wire).is_some());
            let (forward, wire) = call.bench.rtp(Side::A, &call.a.say().1).expect("relayed");
            assert_eq!(forward.to, place.parse().unwrap());
            heard.push(call.b.hear(&wire));
            call.bench.pass(ms(20));
        }
        assert!(heard.windows(2).all(|pair| pair[1].ssrc == pair[0].ssrc
            && pair[1].sequence == pair[0].sequence.wrapping_add(1)));
        assert_eq!(heard[0].ssrc == before.ssrc, same, "round {n}");
        let report = call.bench.rtcp(Side::A, &sender_report(call.a.next.ssrc, 1, 1, None));
        let clear = call.b.hear_rtcp(&report.expect("relayed").1);
        assert_eq!(word(&clear, 4), heard[0].ssrc, "reports are of the same source");
        ours = Some(heard[0].ssrc);
        call.bench.plan.sides[1].rtp = Some(ADDRESS[1].parse().unwrap());
        call.bench.apply();
        call.bench.pass(ms(3_000));
        call.bench.reports.clear();
    }
    let stats = call.bench.stats(Side::B);
    assert_eq!((stats.auth_failed, stats.duplicates), (0, 0), "{stats:?}");
}

/// TR-051: an hour in which nobody says a word. Reports go on on both legs every five seconds at most, and
/// afterwards the call is what it was, also when the peer counted on while it was held.
#[test]
fn tr_051_an_hour_on_hold_and_back() {
    for (silent, rekeyed) in [(true, false), (true, true), (false, false)] {
        let mut call = Call::new();
        call.talk(70_000);
        for side in &mut call.bench.plan.sides {
            (side.send, side.receive) = (false, false);
        }
        call.bench.apply();
        call.bench.reports.clear();
        let begin = call.bench.now;
        let mut heard = [Vec::new(), Vec::new()];
        for n in 0..3600 * 50 {
            if !silent {
                let (_, wire) = call.b.say();
                assert_eq!(call.bench.rtp(Side::B, &wire), None);
            }
            call.bench.pass(ms(20));
            // The peer's own reports, every five seconds.
            if n % 250 == 0 {
                let report = call.b.protect_rtcp(&sender_report(2, 1, 1, None));
                assert!(call.bench.rtcp(Side::B, &report).is_some());
            }
            // A refresh every quarter of an hour.
            if n % (900 * 50) == 0 {
                call.bench.apply();
            }
            for (at, forward, report) in std::mem::take(&mut call.bench.reports) {
                let secure = forward.to == ADDRESS[1].parse().unwrap();
                if secure {
                    call.b.hear_rtcp(&report);
                }
                heard[usize::from(secure)].push(at);
            }
        }
        let end = begin + Duration::from_secs(3600);
        for times in &mut heard {
            times.insert(0, begin);
            times.push(end);
            let longest = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).max();
            assert!(longest.unwrap() <= Duration::from_secs(5), "{longest:?}");
        }
        if rekeyed {
            call.b.rekey(SUITE, Some(9), None);
            set_receive(&mut call.bench.plan.sides[1], SUITE, 9);
        }
        for side in &mut call.bench.plan.sides {
            (side.send, side.receive) = (true, true);
        }
        call.bench.apply();
        call.talk(70_000);
        call.reports();
        call.nothing_was_lost();
    }
}

/// What is still under way under the old key arrives, in the gaps it left, and moves no latch; a stream under
/// the old key that goes on is not heard beside the new one.
#[test]
fn late_packets_under_the_old_key_fill_their_gap_and_move_nothing() {
    let mut call = Call::new();
    call.talk(100);
    let [first, second, third] = [0; 3].map(|_| call.b.say().1);
    let mut old = Peer::secure(2, SUITE, 1, 2);
    old.next.sequence = call.b.next.sequence;
    call.keys([3]);
    call.b.rekey(SUITE, Some(3), None);
    // Nothing was heard under the new one: all is as it was.
    assert!(call.bench.rtp(Side::B, &second).is_some());
    call.talk(5);
    assert!(call.bench.rtp(Side::B, &first).is_some());
    assert_eq!(call.bench.rtp(Side::B, &first), None, "a second copy");
    call.bench.pass(ms(1000));
    assert!(call.bench.rtp(Side::B, &third).is_some());
    assert_eq!(call.bench.stats(Side::B).reordered, 2);
    // Whoever sends on under the old key is not heard, and draws nothing to itself.
    let received = call.bench.stats(Side::B).received;
    old.next.sequence = old.next.sequence.wrapping_add(50);
    for _ in 0..20 {
        assert_eq!(call.bench.rtp_from(Side::B, ADDRESS[1], &old.say().1), None);
    }
    assert_eq!(call.bench.stats(Side::B).received, received);
    call.talk(50);
    assert_eq!(call.bench.stats(Side::B).restarts, 0);
}

/// After a rekey with another address the old place is heard until the new one speaks, but nothing is sent
/// there, however long that takes.
#[test]
fn a_packet_under_the_old_key_draws_no_media_to_where_it_came_from() {
    let mut call = Call::new();
    call.talk(10);
    let moved = "203.0.113.77:7777";
    call.bench.plan.sides[1].rtp = Some(moved.parse().unwrap());
    call.keys([3]);
    for _ in 0..7 * 50 {
        assert!(call.bench.rtp(Side::B, &call.b.say().1).is_some());
        let (forward, _) = call.bench.rtp(Side::A, &call.a.say().1).unwrap();
        assert_eq!(forward.to, moved.parse().unwrap());
        let report = call.b.protect_rtcp(&sender_report(2, 1, 1, None));
        assert!(call.bench.rtcp(Side::B, &report).is_some());
        call.bench.pass(ms(20));
    }
    // From elsewhere it is no better.
    assert!(call.bench.rtp_from(Side::B, "203.0.113.66:6666", &call.b.say().1).is_some());
    let (forward, _) = call.bench.rtp(Side::A, &call.a.say().1).unwrap();
    assert_eq!(forward.to, moved.parse().unwrap());
    call.b.rekey(SUITE, Some(3), None);
    assert!(call.bench.rtp_from(Side::B, moved, &call.b.say().1).is_some());
    assert_eq!(call.bench.rtp(Side::B, &call.b.say().1), None, "the new place alone");
}

/// Forked: 183 on tag C with a key and early media, 183 on tag B with another, then the 200 of one of them. Each
/// is heard under its own key from its own place; the winner stays, the loser falls silent at once.
#[test]
fn early_answers_with_two_keys_are_told_apart_and_the_answered_one_stays() {
    for (winner, late) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
        let mut a = Peer::plain(1);
        let places = [ADDRESS[1], "203.0.113.9:9000"];
        let mut forks = [Peer::secure(21, SUITE, 1, 2), Peer::secure(22, SUITE, 3, 2)];
        // C alone.
        for _ in 0..50 {
            let (_, wire) = bench.rtp_from(Side::B, places[0], &forks[0].say().1).unwrap();
            a.hear(&wire);
            let (forward, wire) = bench.rtp(Side::A, &a.say().1).unwrap();
            assert_eq!(forward.to, places[0].parse().unwrap());
            forks[0].hear(&wire);
            bench.pass(ms(20));
        }
        // B described as well, the newest first.
        let keys = [key(SUITE, 3), key(SUITE, 1)];
        let security = bench.plan.sides[1].security.as_mut().unwrap();
        security.receive = keys.to_vec();
        bench.plan.sides[1].rtp = Some(places[1].parse().unwrap());
        bench.apply();
        for _ in 0..50 {
            // C is heard until B speaks.
            assert!(bench.rtp_from(Side::B, places[0], &forks[0].say().1).is_some());
            assert_eq!(bench.rtp(Side::A, &a.say().1).unwrap().0.to, places[1].parse().unwrap());
            bench.pass(ms(20));
        }
        if late {
            for _ in 0..50 {
                assert!(bench.rtp_from(Side::B, places[1], &forks[1].say().1).is_some());
                // Only one of them at a time.
                assert_eq!(bench.rtp_from(Side::B, places[0], &forks[0].say().1), None);
                bench.pass(ms(20));
            }
        }
        let security = bench.plan.sides[1].security.as_mut().unwrap();
        security.receive = vec![[key(SUITE, 1), key(SUITE, 3)][winner].clone()];
        bench.plan.sides[1].rtp = Some(places[winner].parse().unwrap());
        bench.apply();
        for n in 0..200 {
            let loser = 1 - winner;
            // What the loser sends is heard by nobody, before the winner speaks and afterwards.
            assert_eq!(bench.rtp_from(Side::B, places[loser], &forks[loser].say().1), None);
            if n > 25 {
                let (_, wire) =
                    bench.rtp_from(Side::B, places[winner], &forks[winner].say().1).expect("heard");
                a.hear(&wire);
            }
            let (forward, wire) = bench.rtp(Side::A, &a.say().1).unwrap();
            assert_eq!(forward.to, places[winner].parse().unwrap(), "{winner} {late} {n}");
            forks[winner].hear(&wire);
            bench.pass(ms(20));
        }
        // After the grace it is a stranger.
        let failed = bench.stats(Side::B).auth_failed + bench.stats(Side::B).foreign;
        bench.pass(Duration::from_secs(3));
        let loser = 1 - winner;
        assert_eq!(bench.rtp_from(Side::B, places[loser], &forks[loser].say().1), None);
        let stats = bench.stats(Side::B);
        assert_eq!(stats.auth_failed + stats.foreign, failed + 1);
    }
}

/// Forks may take different suites of one offer: each is sent to under our key of its suite, and a key that is
/// taken up again goes on behind what it sealed before, for RTCP as well.
#[test]
fn our_key_of_a_suite_goes_on_when_it_is_taken_up_again() {
    let gcm = Suite::AeadAes128Gcm;
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let mut a = Peer::plain(1);
    let (mut first, mut second) = (Peer::secure(21, SUITE, 1, 2), Peer::secure(22, gcm, 3, 4));
    for round in 0..6 {
        let hears = if round % 2 == 0 { &mut first } else { &mut second };
        for _ in 0..30 {
            bench.talk(Side::A, &mut a, hears);
            let report = bench.rtcp(Side::A, &sender_report(1, 1, 1, None)).unwrap().1;
            // webrtc-srtp keeps a window: an index that came before would fail here.
            hears.hear_rtcp(&report);
            bench.pass(ms(20));
        }
        bench.plan.sides[1].security =
            if round % 2 == 0 { security(gcm, 3, 4) } else { security(SUITE, 1, 2) };
        bench.apply();
    }
}

/// A plan without keys, and then with those that there were: no index of ours comes twice under them, neither of RTP
/// nor of RTCP, and nothing that was heard is heard again (RFC 3711 §9.1, §3.3.2).
#[test]
fn keys_that_come_back_after_none_go_on_where_they_were() {
    for plain in [0, 30] {
        let mut call = Call::new();
        let security = call.bench.plan.sides[1].security.clone();
        let mut copies = Vec::new();
        for _ in 0..3 {
            call.talk(30);
            call.reports();
            copies.push(call.b.say().1);
            assert!(call.bench.rtp(Side::B, copies.last().unwrap()).is_some());
            call.bench.plan.sides[1].security = None;
            call.bench.apply();
            for _ in 0..plain {
                // As its own numbers, which are lower.
                assert!(call.bench.rtp(Side::A, &call.a.say().1).is_some());
                call.bench.pass(ms(20));
            }
            call.bench.reports.clear();
            call.bench.plan.sides[1].security.clone_from(&security);
            call.bench.apply();
            assert!(copies.iter().all(|copy| call.bench.rtp(Side::B, copy).is_none()), "{plain}");
        }
        call.talk(30);
        call.reports();
    }
}

/// A peer that is put through to another one and comes back with its key after a minute, its counter rolled over:
/// it is heard, and nothing that it said before.
#[test]
fn a_key_that_comes_back_is_at_its_rollover_counter() {
    let mut call = Call::new();
    call.talk(70_000);
    let copy = call.b.say().1;
    assert!(call.bench.rtp(Side::B, &copy).is_some());
    let mut other = Peer::secure(77, SUITE, 3, 2);
    call.keys([3]);
    for _ in 0..3000 {
        let (_, wire) = other.say();
        assert!(call.bench.rtp(Side::B, &wire).is_some());
        call.bench.pass(ms(20));
    }
    call.keys([1]);
    assert!(call.bench.rtp(Side::B, &copy).is_none(), "heard already");
    let (said, wire) = call.b.say();
    let heard = call.bench.rtp(Side::B, &wire).expect("its counter is known").1;
    assert_eq!(call.a.hear(&heard).payload, said.payload);
}

/// Nothing is kept for long, so that a source of ours is given up: neither another key nor the return to the former
/// one brings it back, under which its indexes are forgotten.
#[test]
fn a_source_that_was_given_up_stays_so_under_every_key() {
    let mut call = Call::new();
    call.talk(10);
    call.bench.full = true;
    let given_up = call.bench.talk(Side::A, &mut call.a, &mut call.b).1.ssrc;
    let mut other = Peer::secure(77, SUITE, 3, 4);
    let source = |call: &mut Call, ear: &mut Peer| -> u32 {
        // Some are not sent, while it is waited for that something is kept.
        loop {
            let wire = call.a.say().1;
            let heard = call.bench.rtp(Side::A, &wire);
            call.bench.pass(ms(20));
            if let Some((_, wire)) = heard {
                return ear.hear(&wire).ssrc;
            }
        }
    };
    for n in 0.. {
        let wire = call.a.say().1;
        let heard = call.bench.rtp(Side::A, &wire);
        call.bench.pass(ms(20));
        if heard.is_some_and(|(_, wire)| call.b.hear(&wire).ssrc != given_up) {
            break;
        }
        assert!(n < 20_000, "it goes on as another source");
    }
    let security = [security(SUITE, 3, 4), security(SUITE, 1, 2)];
    for (round, security) in security.into_iter().cycle().take(4).enumerate() {
        call.bench.plan.sides[1].security = security;
        call.bench.apply();
        let found = match round % 2 {
            0 => source(&mut call, &mut other),
            _ => {
                let mut ear = std::mem::replace(&mut call.b, Peer::plain(0));
                let found = source(&mut call, &mut ear);
                call.b = ear;
                found
            }
        };
        assert_ne!(found, given_up, "round {round}");
    }
}

/// TR-046: keys with an MKI, of the peer and of ours; the same key without it is the same key.
#[test]
fn tr_046_an_mki_in_every_packet_or_in_none() {
    let with = |byte: u8| -> MasterKey {
        key(SUITE, byte).with_mki(Some(Mki::new(&[1]).unwrap())).with_lifetime(1 << 31)
    };
    let mut call = Call::new();
    let tag = |wire: &[u8]| wire.len() - 10;
    let mut said = 0;
    for round in 0..4 {
        let named = if round % 2 == 0 { with(1) } else { key(SUITE, 1) };
        call.bench.plan.sides[1].security.as_mut().unwrap().receive = vec![named];
        call.bench.apply();
        for n in 0..50 {
            // Peers that signal one may leave it out; who did not signal one has none.
            let (_, mut wire) = call.b.say();
            if round % 2 == 0 && n % 2 == 0 {
                wire.insert(tag(&wire), 1);
            }
            assert!(call.bench.rtp(Side::B, &wire).is_some(), "round {round}, packet {n}");
            said += 1;
            let mut report = call.b.protect_rtcp(&sender_report(2, 1, 1, None));
            if round % 2 == 0 && n % 2 == 0 {
                report.insert(tag(&report), 1);
            }
            assert!(call.bench.rtcp(Side::B, &report).is_some(), "round {round}, report {n}");
            call.bench.pass(ms(20));
        }
    }
    let stats = call.bench.stats(Side::B);
    assert_eq!((stats.received, stats.auth_failed), (said, 0));
}

/// A peer changes its source, jumps in its sequence, and takes the very SSRC that we send to it by (RFC 3550
/// §8.2): each direction has keys of its own, so that nothing of it makes a packet undecryptable.
#[test]
fn sources_change_and_collide_under_one_key() {
    let mut call = Call::new();
    let (_, heard) = call.bench.talk(Side::A, &mut call.a, &mut call.b);
    let ours = heard.ssrc;
    for (ssrc, sequence) in [(2, 65_000), (77, 40_000), (ours, 10), (77, 60_000), (2, 20_000)] {
        call.b.next.ssrc = ssrc;
        call.b.next.sequence = sequence;
        let mut relayed = 0;
        for _ in 0..2_000 {
            let (_, wire) = call.b.say();
            relayed += usize::from(call.bench.rtp(Side::B, &wire).is_some());
            let (_, heard) = call.bench.talk(Side::A, &mut call.a, &mut call.b);
            assert_eq!(heard.ssrc, ours);
            call.bench.pass(ms(20));
        }
        assert!(relayed >= 1_999, "{ssrc} {sequence}: {relayed}");
        call.reports();
    }
    assert_eq!(call.bench.stats(Side::B).auth_failed, 0);
}
