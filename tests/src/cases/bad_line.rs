//! A trunk at the end of a bad line (R12): 5 % lost, 1 % twice, 3 % out of order, both ways, SIP and RTP.

use std::collections::{BTreeMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::line::{Bad, Carried, Ends, Line};
use crate::harness::load::Load;
use crate::harness::media::{CM_80, Crypto, MediaEnd, Rtp};
use crate::harness::peer::Sipp;
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, PROXY};
use crate::harness::robot::{ANSWERED, answers};
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, CALLER, answer_to};

const TENANT: &str = "t001.sbc.test";
const BAD: Bad = Bad { lost: 5, doubled: 1, late: 3, good: 0 };
/// Hosts of the line: what the trunk takes for the gateway, and the gateway for the trunk.
const NEAR: u8 = 54;
const FAR: u8 = 55;

/// It was as bad as it should be, within four standard deviations.
fn is_bad(carried: &[Carried; 2]) {
    for way in carried {
        for (count, share) in
            [(way.lost, BAD.lost), (way.doubled, BAD.doubled), (way.late, BAD.late)]
        {
            let expected = f64::from(share) / 100.0 * way.came.len() as f64;
            let off = (count as f64 - expected).abs();
            assert!(off <= 4.0 * expected.sqrt() + 0.1 * expected, "{count}, not {expected}");
        }
        let Carried { came, lost, doubled, late, .. } = way;
        println!("{} datagrams: {lost} lost, {doubled} doubled, {late} late", came.len());
    }
}

/// 1,000 calls from the trunk at 100 a second, then 200 from Teams to it.
#[test]
fn r12_calls_over_a_bad_line_complete() {
    let (from_trunk, from_teams) = (1000, 200);
    let mut scene = Scene::within("r12_calls", Duration::from_secs(120));
    scene.ports("20000-20999").trunk("carrier-a", "udp", FAR, "").usual_tenant();
    let place = scene.place;
    let ends = Ends {
        trunk: place.at(CARRIER_A, 5060),
        near: place.at(NEAR, 5060),
        far: place.at(FAR, 5060),
        gateway: place.at(CARRIER_SIDE, 5060),
    };
    let teams = scene.teams_with(1, Box::new(answers));
    let line = Line::signalling(ends, BAD);
    let gateway = scene.start();
    gateway.healthy();
    let call = (ends.near, CALLER, ANSWERED);
    // Whatever is late is no reason to give a call up (RFC 3261 §17.1.1.2: a 180 behind the 200).
    let tolerant = ["-default_behaviors", "all,-abortunexp"];
    let mut sipp = Sipp::load(scene.dir(), ends.trunk, call, (100, from_trunk, 500), &tolerant);
    sipp.over(Duration::from_secs(60));
    let [good, failed, repeats] =
        ["SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)"].map(|name| sipp.figure(name));
    println!("from the trunk: {good} good, {failed} failed, {repeats} repeated");
    drop(sipp);

    let _trunk = Load::callee(scene.dir(), ends.trunk);
    thread::sleep(Duration::from_millis(300));
    let flow = teams.connect(TENANT);
    let offer = MediaEnd::new(place.ip(PROXY), 7000).secure_sdp(
        &[&Crypto::fresh(1, CM_80)],
        "sendrecv",
        "",
    );
    let mut calls: Vec<_> = (0..from_teams)
        .map(|_| {
            thread::sleep(Duration::from_millis(10));
            teams.call(&flow, TENANT, CALLED, "+442079460001", &offer)
        })
        .collect();
    let mut answered = 0;
    for call in &mut calls {
        if call.final_response().msg.status() == 200 {
            answered += 1;
            call.ack();
            call.send("BYE", "", "");
            call.took_200("BYE");
        }
    }
    println!("from Teams: {answered} of {from_teams} good");
    let all = u64::from(from_trunk) + from_teams;
    let whole = good + answered;
    assert!(whole * 1000 >= all * 999, "{whole} of {all} calls complete");
    assert!(repeats > 100, "{repeats} repeats only");
    // Both sides of every call come to their end, and its CDR is written once.
    // A trunk that forgets a call whose last 200 was lost is told of its end for 32 s (RFC 3261 §17.1.2.2).
    let end = Instant::now() + Duration::from_secs(40);
    while gateway.figure("trunkgate_active_calls") > 0.0 {
        assert!(Instant::now() < end, "calls are left");
        thread::sleep(Duration::from_millis(200));
    }
    let records = gateway.wait_records(usize::try_from(all).unwrap());
    let ids: HashSet<_> = records.iter().map(|r| r["id"].as_str().unwrap()).collect();
    let (hung_up, others): (Vec<_>, Vec<_>) =
        records.iter().partition(|r| r["cause"]["sip"] == 200);
    assert_eq!((ids.len() as u64, records.len() as u64), (all, all));
    // SIPp takes a repeated 200 to its INVITE for that to its BYE when a late 180 came between; if both its ACK and its
    // BYE were lost, it has gone without a word.
    let share = hung_up.len() as u64 * 1000;
    assert!(share >= whole * 999, "not hung up: {others:?}");
    is_bad(&line.stop());
}

/// What reaches the gateway leaves it, once; digits are exact, though their packets were lost, doubled and disordered.
#[test]
fn r12_the_relay_loses_nothing_and_digits_are_exact() {
    let scene = Scene::usual("r12_media");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let place = scene.place;
    let mut plain = MediaEnd::new(carrier.ip(), 7000);
    let mut secure = MediaEnd::new(place.ip(PROXY), 7000);
    let far = place.ip(FAR).to_string();
    let sdp = plain.plain_sdp("sendrecv").replace(&carrier.ip().to_string(), &far);
    let mut caller = carrier.call(CALLER, CALLED, &sdp);
    let (invite, callee) = teams.invited();
    let (sdp, ..) = answer_to(&mut secure, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    callee.take("ACK");
    let ends = Ends {
        trunk: (carrier.ip(), 7000).into(),
        near: place.at(NEAR, 7000),
        far: place.at(FAR, 7000),
        gateway: answer.msg.media(),
    };
    let line = Line::media(ends, Bad { good: 20, ..BAD });
    plain.remote = Some(ends.near);

    let digits = ["1592637480*#1122334455", "0000987654321#*55664433"];
    let mut speech: Vec<_> = digits.iter().map(|digits| script(digits)).collect();
    let (mut sent, mut at_plain, mut at_secure) =
        ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
    while speech.iter().any(|script| !script.is_empty()) {
        for ((end, script), sent) in
            [&mut plain, &mut secure].into_iter().zip(&mut speech).zip(&mut sent)
        {
            sent.push(match script.pop() {
                None | Some(None) => end.speak(),
                Some(Some((first, step, payload))) => end.say(EVENT, first, step, payload),
            });
        }
        thread::sleep(Duration::from_millis(4));
        at_plain.extend(plain.hear());
        at_secure.extend(secure.hear());
    }
    thread::sleep(Duration::from_millis(300));
    at_plain.extend(plain.hear());
    at_secure.extend(secure.hear());
    let carried = line.stop();
    let payloads = |packets: &[Rtp]| sorted(packets.iter().map(|p| p.payload.clone()));
    // To Teams: each packet that the line delivered, once.
    let unique: HashSet<&Vec<u8>> = carried[0].left.iter().collect();
    let delivered = sorted(unique.iter().map(|packet| packet[12..].to_vec()));
    assert_eq!(payloads(&at_secure), delivered, "towards Teams");
    // To the trunk: each packet that Teams sent enters the line.
    let entered = sorted(carried[1].came.iter().filter(|p| is_rtp(p)).map(|p| p[12..].to_vec()));
    assert_eq!(entered, payloads(&sent[1]), "towards the trunk");
    assert_eq!(heard(&at_secure), digits[0]);
    assert_eq!(heard(&at_plain), digits[1]);
    assert!(at_plain.len() < sent[1].len() && at_secure.len() < sent[0].len(), "a good line");
    assert_eq!((plain.undecryptable, secure.undecryptable), (0, 0));
    is_bad(&carried);
    println!("{} and {} packets relayed, digits exact", delivered.len(), entered.len());
    caller.send("BYE", "", "");
    callee.hung_up();
    let record = &gateway.wait_records(1)[0];
    assert_eq!(record["media"][0]["relayed"], delivered.len(), "{record}");
    assert_eq!(record["media"][1]["relayed"], sent[1].len(), "{record}");
}

/// The payload type of events in [`MediaEnd`]'s descriptions.
const EVENT: u8 = 101;

/// What an end says, last first: `None` is speech; else marker, step of the timestamp and payload of an event (RFC 4733
/// §2.3). Each digit has five packets and its end three times; between digits there is speech.
fn script(digits: &str) -> Vec<Option<(bool, u32, Vec<u8>)>> {
    let mut script = vec![None; 40];
    for digit in digits.chars() {
        let event = u8::try_from("0123456789*#".find(digit).expect("a digit")).unwrap();
        for n in 1..=8_u16 {
            let end = n > 5;
            let [high, low] = (n.min(6) * 160).to_be_bytes();
            let payload = vec![event, if end { 0x8a } else { 0x0a }, high, low];
            script.push(Some((n == 1, if n == 8 { 960 } else { 0 }, payload)));
        }
        script.extend(vec![None; 30]);
    }
    script.reverse();
    script
}

/// One digit for each timestamp, in their order, whatever of its packets came.
fn heard(packets: &[Rtp]) -> String {
    let events = packets.iter().filter(|packet| packet.payload_type == EVENT);
    let base = packets[0].timestamp;
    let digits: BTreeMap<u32, u8> =
        events.map(|packet| (packet.timestamp.wrapping_sub(base), packet.payload[0])).collect();
    digits.values().map(|event| char::from(b"0123456789*#"[usize::from(*event)])).collect()
}

fn is_rtp(packet: &[u8]) -> bool {
    packet.len() > 12 && !(192..=223).contains(&packet[1])
}

fn sorted(payloads: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut payloads: Vec<_> = payloads.collect();
    payloads.sort();
    payloads
}
