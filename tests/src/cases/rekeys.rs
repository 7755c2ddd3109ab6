//! Keys over the life of a call, through the binary: rollovers, refreshes, new keys, holds, forks. libsrtp judges what was
//! on the wire.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::media::{CM_80, Crypto, MediaEnd, Rtp};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::Scene;
use crate::harness::sip::Msg;
use crate::harness::talking::{CALLED, CALLER, Talking};
use crate::harness::tape::{Judged, Tape};

/// So many packets a second of each end: below what the relay passes on of one stream.
const RATE: u32 = 900;

/// Both ends speak as fast as a stream may, `count` packets each: all of them arrive, in order, and nothing else.
pub(super) fn rush(call: &mut Talking, count: usize) {
    let Talking { carrier_media: plain, teams_media: secure, .. } = call;
    drop((plain.hear(), secure.hear()));
    let (mut sent, mut heard) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for n in 0..count {
        let due = Instant::now() + Duration::from_secs(1) / RATE;
        sent[0].push(plain.speak());
        sent[1].push(secure.speak());
        if n % 200 == 0 {
            plain.report();
            secure.report();
        }
        heard[1].extend(plain.hear());
        heard[0].extend(secure.hear());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let end = Instant::now() + Duration::from_secs(1);
    while (heard[0].len() < count || heard[1].len() < count) && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
        heard[1].extend(plain.hear());
        heard[0].extend(secure.hear());
    }
    for (way, (sent, heard)) in sent.iter().zip(&heard).enumerate() {
        let payloads =
            |packets: &[Rtp]| packets.iter().map(|p| p.payload.clone()).collect::<Vec<_>>();
        assert_eq!(heard.len(), sent.len(), "way {way}");
        assert!(payloads(sent) == payloads(heard), "way {way}: other packets, or in another order");
        let step = |pair: &[Rtp]| pair[1].sequence.wrapping_sub(pair[0].sequence);
        assert!(heard.windows(2).all(|pair| step(pair) == 1), "way {way}: sequence numbers");
    }
    assert_eq!((plain.undecryptable, secure.undecryptable), (0, 0));
}

/// Takes both ends' sequence numbers forward as loss would: by less than what a receiver takes for another stream
/// (RFC 3550 A.1), until so many numbers are gone.
pub(super) fn lose(call: &mut Talking, numbers: u32) {
    for _ in 0..numbers / 2500 {
        for end in [&mut call.carrier_media, &mut call.teams_media] {
            end.sequence = end.sequence.wrapping_add(2499);
            end.speak();
        }
        // What is sent never gets far beyond the last checkpoint that is kept, which takes a moment each.
        thread::sleep(Duration::from_millis(40));
    }
    thread::sleep(Duration::from_millis(100));
    let heard = (call.carrier_media.hear().len(), call.teams_media.hear().len());
    let expected = (numbers / 2500) as usize;
    assert_eq!(heard, (expected, expected), "every packet that was not lost");
}

/// The same SDP of Teams again; answered by the gateway alone, twice by the same SDP.
pub(super) fn refresh(call: &mut Talking) {
    let own = call.own.clone();
    let first = offer(call, &own);
    assert_eq!(offer(call, &own).body, first.body, "what we told it is told again");
}

fn offer(call: &mut Talking, own: &Crypto) -> Msg {
    let mux = if call.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
    let sdp = call.teams_media.secure_sdp(&[own], "sendrecv", mux);
    let answer = call.teams.ask("INVITE", "", &sdp);
    call.teams.ack();
    assert_eq!(answer.msg.status(), 200);
    assert_eq!(Crypto::of(&answer.msg).key, call.theirs.key, "our key stays");
    answer.msg
}

/// Teams offers another key, and uses it once it has the answer. What is under way under the old one is not lost.
pub(super) fn rekey(call: &mut Talking) {
    let own = Crypto::fresh(1, CM_80);
    offer(call, &own);
    let last = call.teams_media.speak();
    let came = heard_by(&mut call.carrier_media, 1);
    assert_eq!(came.last().map(|p| &p.payload), Some(&last.payload), "still under the old key");
    call.teams_media.rekey(&own);
    call.own = own;
}

fn heard_by(end: &mut MediaEnd, count: usize) -> Vec<Rtp> {
    let mut heard = Vec::new();
    let limit = Instant::now() + Duration::from_secs(2);
    while heard.len() < count {
        assert!(Instant::now() < limit, "{} of {count} packets", heard.len());
        thread::sleep(Duration::from_millis(2));
        heard.extend(end.hear());
    }
    heard
}

/// TR-042, TR-043, TR-044 and the case of 27 minutes: the sequence numbers of both ends go round twice, with hold and
/// resume, a refresh with the same key and another key after each half round. The numbers pass as by loss; with
/// `TRUNKGATE_PACKETS` so many packets are really sent each way (`make soak`: 2^17, two and a half minutes).
#[test]
fn tr_042_tr_043_tr_044_two_rollovers_with_holds_refreshes_and_new_keys() {
    const AROUND: u32 = 1 << 17;
    let packets = std::env::var("TRUNKGATE_PACKETS").map_or(0, |n| n.parse::<u32>().unwrap());
    let scene = Scene::within("tr_044", Duration::from_secs(120 + u64::from(packets / 200)));
    let mut scene = scene;
    scene.usual_ends();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let tape = Tape::new(&scene.dir().join("tape"));
    call.carrier_media.track = Some(tape.track(0, false));
    call.teams_media.track = Some(tape.track(0, true));
    let first = call.own.clone();
    let theirs = call.theirs.clone();
    let mut sent = 0_u32;
    while sent < AROUND {
        let part = AROUND / 4;
        match packets {
            0 => lose(&mut call, part),
            _ => rush(&mut call, (packets / 4) as usize),
        }
        sent += part;
        rush(&mut call, 300);
        call.carrier_offers("sendonly", "inactive");
        drop((call.carrier_media.hear(), call.teams_media.hear()));
        // Held: nothing passes, and the indexes go on.
        for _ in 0..50 {
            call.carrier_media.speak();
            call.teams_media.speak();
            thread::sleep(Duration::from_millis(4));
        }
        assert_eq!((call.carrier_media.hear().len(), call.teams_media.hear().len()), (0, 0));
        call.carrier_offers("sendrecv", "sendrecv");
        rush(&mut call, 300);
        refresh(&mut call);
        rush(&mut call, 300);
        rekey(&mut call);
        rush(&mut call, 300);
    }
    let (plain, secure) = (call.carrier_media.track.take(), call.teams_media.track.take());
    drop((plain, secure));
    call.carrier_hangs_up();
    let judged = Judged { call: 0, own: first, theirs, lives: 0, least: 4000 };
    let verdict = tape.judge(&[judged]);
    println!("libsrtp: {verdict:?}");
    let record = &gateway.wait_records(1)[0];
    let count = |key: &str| {
        let media = record["media"].as_array().expect("media");
        media.iter().map(|direction| direction[key].as_u64().unwrap_or(0)).sum::<u64>()
    };
    assert_eq!((count("refused"), count("foreign")), (0, 0), "{record}");
}

/// TR-044: after a rollover Teams moves its media to another processor, which has another key and knows nothing of what was
/// before. It hears us at once; the former one, which goes on, hears nothing and is not heard.
#[test]
fn tr_044_another_processor_of_teams_hears_us_after_a_rollover() {
    let scene = Scene::usual("tr_044_moved");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    for round in 0..2 {
        lose(&mut call, 70_000);
        let mut next = MediaEnd::new(scene.place.ip(PROXY + 10), 7400 + 10 * round);
        let own = Crypto::fresh(1, CM_80);
        next.secure(&own, &call.theirs);
        next.mux = call.teams_media.mux;
        next.remote = call.teams_media.remote;
        let mut former = std::mem::replace(&mut call.teams_media, next);
        offer(&mut call, &own);
        call.own = own;
        drop(former.hear());
        call.teams_media.speak();
        heard_by(&mut call.carrier_media, 1);
        for _ in 0..3 {
            (0..20).for_each(|_| drop(former.speak()));
            call.talk();
        }
        assert_eq!((former.hear(), former.undecryptable), (vec![], 0));
    }
    call.carrier_hangs_up();
}

/// Forked: two phones behind Teams send early media, each under a key of its own from a place of its own, and one of them
/// answers, or a third one. The caller hears one at a time; the one that answers is heard and hears from then on.
#[test]
fn forked_early_media_with_two_keys() {
    for winner in 0..3 {
        let scene = Scene::usual("forked_early_media");
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let mut caller_media = MediaEnd::new(carrier.ip(), 7000);
        let mut caller = carrier.call(CALLER, CALLED, &caller_media.plain_sdp("sendrecv"));
        let (invite, mut callee) = teams.invited();
        let theirs = Crypto::of(&invite.msg);
        let mut forks: Vec<_> = (0..3)
            .map(|n| {
                let mut media = MediaEnd::new(scene.place.ip(PROXY + 10 + n), 7000);
                let own = Crypto::fresh(theirs.tag, &theirs.suite);
                media.secure(&own, &theirs);
                media.towards(&invite.msg);
                media.mux = true;
                media.ssrc ^= u32::from(n) << 24;
                let sdp = media.secure_sdp(&[&own], "sendrecv", "a=rtcp-mux\r\n");
                (media, sdp)
            })
            .collect();
        let mut progress = None;
        let mut tags = Vec::new();
        for (n, (media, sdp)) in forks.iter_mut().take(2).enumerate() {
            callee.fork();
            tags.push(callee.local_tag().to_owned());
            callee.reply(&invite, "183 Session Progress", "", sdp);
            if n == 0 {
                let received = caller.response(183);
                caller_media.towards(&received.msg);
                progress = Some(received);
            } else {
                // Not told again: it is one dialog to the caller.
                thread::sleep(Duration::from_millis(200));
            }
            drop(caller_media.hear());
            for _ in 0..30 {
                let said = media.speak();
                assert_eq!(heard_by(&mut caller_media, 1)[0].payload, said.payload, "fork {n}");
                let said = caller_media.speak();
                assert_eq!(heard_by(media, 1)[0].payload, said.payload, "to fork {n}");
            }
        }
        // The first one goes on, under its own key: the second one is heard.
        for _ in 0..20 {
            forks[0].0.speak();
            thread::sleep(Duration::from_millis(4));
        }
        assert_eq!(caller_media.hear(), []);
        // It is still one of those that may answer: when the second one has been silent for a while, it is heard again,
        // and hears.
        thread::sleep(Duration::from_millis(2200));
        for _ in 0..20 {
            let (media, _) = &mut forks[0];
            let said = media.speak();
            assert_eq!(heard_by(&mut caller_media, 1)[0].payload, said.payload, "again");
            let said = caller_media.speak();
            assert_eq!(heard_by(media, 1)[0].payload, said.payload, "to it again");
        }
        match winner {
            2 => callee.fork(),
            n => callee.answer_as(&tags[n]),
        }
        callee.reply(&invite, "200 OK", "", &forks[winner].1);
        let answer = caller.response(200);
        assert_eq!(answer.msg.need("To"), progress.unwrap().msg.need("To"));
        caller.ack();
        callee.take("ACK");
        thread::sleep(Duration::from_millis(50));
        drop(caller_media.hear());
        forks.iter_mut().for_each(|(media, _)| drop(media.hear()));
        for round in 0..150 {
            let (chosen, _) = &mut forks[winner];
            let said = chosen.speak();
            let heard = heard_by(&mut caller_media, 1);
            assert_eq!(heard.len(), 1, "round {round}: others are heard too");
            assert_eq!(heard[0].payload, said.payload, "round {round}");
            let said = caller_media.speak();
            assert_eq!(heard_by(chosen, 1)[0].payload, said.payload);
            for (n, (media, _)) in forks.iter_mut().enumerate() {
                if n != winner {
                    media.speak();
                }
            }
            thread::sleep(Duration::from_millis(4));
        }
        assert_eq!(caller_media.hear(), [], "of those that did not answer nothing came");
        for (n, (media, _)) in forks.iter_mut().enumerate() {
            assert_eq!(media.hear(), [], "fork {n} was sent media");
            assert_eq!(media.undecryptable, 0, "fork {n}");
        }
        caller.send("BYE", "", "");
        callee.hung_up();
        caller.took_200("BYE");
    }
}

/// TR-051 in short (an hour passes on virtual time elsewhere): while Teams holds, both ends get a report every five seconds
/// at most, nothing else passes, nobody hangs up; afterwards the call is what it was, also under a new key.
#[test]
fn tr_051_on_hold_reports_go_on_and_the_call_too() {
    let scene = Scene::usual("tr_051");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let (_, answer) = call.teams_offers("inactive", "inactive");
    assert!(answer.attribute("inactive").is_some(), "{answer}");
    drop((call.carrier_media.hear(), call.teams_media.hear()));
    call.carrier_media.reports.clear();
    call.teams_media.reports.clear();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(12) {
        thread::sleep(Duration::from_millis(50));
        assert_eq!((call.carrier_media.hear(), call.teams_media.hear()), (vec![], vec![]));
    }
    for end in [&call.carrier_media, &call.teams_media] {
        let times: Vec<_> = end.reports.iter().map(|(at, _)| *at).collect();
        let all: Vec<_> = [begin].into_iter().chain(times).chain([Instant::now()]).collect();
        let longest = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= Duration::from_millis(5500), "{longest:?}");
    }
    let own = Crypto::fresh(1, CM_80);
    let before = std::mem::replace(&mut call.own, own.clone());
    assert_ne!(before.key, own.key);
    call.teams_offers("sendrecv", "sendrecv");
    call.teams_media.rekey(&own);
    call.talk();
    assert_eq!(call.teams_media.undecryptable, 0);
    call.teams_hangs_up();
}
