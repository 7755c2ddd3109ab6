//! What is relayed and what never is: early media, events under other payload types, keys that
//! change, packets of strangers; and requests that stop at the gateway.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use crate::harness::dialog::{Dialog, Invite};
use crate::harness::media::{CM_80, Crypto, MediaEnd, Rtp, talk};
use crate::harness::place::{CARRIER_A, PROXY, STRANGER};
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// The carrier's announcement is heard before the answer.
#[test]
fn early_media_of_the_carrier_reach_teams() {
    let scene = Scene::usual("early_media");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let own = Crypto::fresh(1, CM_80);
    let mut near = MediaEnd::new(scene.place.ip(PROXY), 7000);
    let mut far = MediaEnd::new(carrier.ip(), 7000);
    let offer = near.secure_sdp(&[&own], "sendrecv", "");
    let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
    let (invite, callee) = carrier.invited();
    far.towards(&invite.msg);
    callee.reply(&invite, "183 Session Progress", "", &far.plain_sdp("sendrecv"));
    let progress = caller.response(183);
    near.secure(&own, &Crypto::of(&progress.msg));
    near.towards(&progress.msg);
    talk(&mut near, &mut far, 40);
    callee.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
    let answer = caller.response(200);
    // RFC 3264: the same description again.
    assert_eq!(answer.msg.media(), progress.msg.media());
    assert_eq!(Crypto::of(&answer.msg), Crypto::of(&progress.msg));
    caller.ack();
    callee.take("ACK");
    talk(&mut near, &mut far, 40);
    caller.hang_up();
}

/// Telephone events and comfort noise keep their meaning under other payload types.
#[test]
fn events_and_comfort_noise_change_their_payload_type() {
    let scene = Scene::usual("payload_types");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let own = Crypto::fresh(1, CM_80);
    let mut near = MediaEnd::new(scene.place.ip(PROXY), 7100);
    let mut far = MediaEnd::new(carrier.ip(), 7100);
    let offer = near.secure_sdp(&[&own], "sendrecv", "").replace(
        " 0 8 101\r\n",
        " 104 0 8 13 101\r\na=rtpmap:104 SILK/16000\r\na=rtpmap:13 CN/8000\r\n",
    );
    let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
    let (invite, callee) = carrier.invited();
    let sdp = far
        .plain_sdp("sendrecv")
        .replace(" 0 8 101\r\n", " 8 13 96\r\n")
        .replace("a=rtpmap:0 PCMU/8000\r\n", "")
        .replace(":101 ", ":96 ");
    callee.reply(&invite, "200 OK", "", &sdp);
    far.towards(&invite.msg);
    let answer = caller.response(200);
    caller.ack();
    near.secure(&own, &Crypto::of(&answer.msg));
    near.towards(&answer.msg);
    let formats = answer.msg.line('m').unwrap().to_owned();
    assert!(
        formats.contains(" 8") && formats.contains(" 101") && !formats.contains(" 0 "),
        "{formats}"
    );
    (near.payload_type, far.payload_type) = (8, 8);
    talk(&mut near, &mut far, 10);
    for (here, there, sent, expected) in [(true, false, 101, 96), (false, true, 96, 101)] {
        let (from, to) = if here { (&mut near, &mut far) } else { (&mut far, &mut near) };
        assert_ne!(here, there);
        // An event of three packets and its end, thrice, then comfort noise.
        let mut packets = Vec::new();
        for (n, end) in [(0_u8, false), (1, false), (2, true), (2, true), (2, true)] {
            let payload = vec![5, if end { 0x8a } else { 0x0a }, 0, n * 80];
            packets.push(from.say(sent, n == 0, 0, payload));
        }
        packets.push(from.say(13, false, 160, vec![60]));
        let heard = wait_for(to, packets.len());
        let types: Vec<_> = heard.iter().map(|p| p.payload_type).collect();
        assert_eq!(types, [expected, expected, expected, expected, expected, 13]);
        for (sent, heard) in packets.iter().zip(&heard) {
            assert_eq!((&sent.payload, sent.marker), (&heard.payload, heard.marker));
        }
    }
    caller.hang_up();
}

fn wait_for(end: &mut MediaEnd, count: usize) -> Vec<Rtp> {
    let mut heard = Vec::new();
    for _ in 0..400 {
        heard.extend(end.hear());
        if heard.len() >= count {
            return heard;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{} of {count} packets", heard.len());
}

/// TR-042, TR-043: a refresh changes nothing, a new key begins anew, ours stays.
#[test]
fn tr_043_a_new_key_of_teams_is_used_from_then_on() {
    let scene = Scene::usual("tr_043");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let mux = if call.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
    // The same again: answered here, the trunk is not asked.
    let same = call.teams_media.secure_sdp(&[&call.own], "sendrecv", mux);
    let answer = call.teams.ask("INVITE", "", &same);
    call.teams.ack();
    assert_eq!(answer.msg.status(), 200);
    assert_eq!(Crypto::of(&answer.msg).key, call.theirs.key);
    carrier.inbox.nothing("a re-INVITE", |r| r.msg.is_request() && r.msg.method() == "INVITE");
    call.talk();
    let fresh = Crypto::fresh(1, CM_80);
    let sdp = call.teams_media.secure_sdp(&[&fresh], "sendrecv", mux);
    let answer = call.teams.ask("INVITE", "", &sdp);
    call.teams.ack();
    assert_eq!(answer.msg.status(), 200);
    assert_eq!(Crypto::of(&answer.msg).key, call.theirs.key, "our key stays");
    call.teams_media.rekey(&fresh);
    call.talk();
    call.carrier_hangs_up();
}

/// Packets of others never reach an ear, and nothing is ever sent to them.
#[test]
fn media_of_strangers_are_dropped() {
    let scene = Scene::usual("bleed");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let stranger = UdpSocket::bind(scene.place.at(STRANGER, 0)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let ports = [call.described_to_teams().media(), call.carrier_media.remote.unwrap()];
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.extend([0xee; 170]);
    // Before the first packet of the peers, and afterwards; on the plain leg and the secure one.
    for round in 0..2 {
        for sequence in 0..100 {
            packet[3] = sequence;
            for port in ports {
                stranger.send_to(&packet, port).unwrap();
            }
        }
        if round == 0 {
            call.talk();
        }
    }
    // The peer's own address, but not its key: what is not authenticated is not relayed.
    for sequence in 100..200 {
        packet[3] = sequence;
        call.teams_media.send_raw(&packet);
    }
    call.talk();
    let mut byte = [0; 2048];
    assert!(stranger.recv_from(&mut byte).is_err(), "a stranger was sent something");
    call.carrier_hangs_up();
    let record = &gateway.wait_records(1)[0];
    let count = |key: &str| {
        let media = record["media"].as_array().expect("media");
        media.iter().map(|direction| direction[key].as_u64().unwrap_or(0)).sum::<u64>()
    };
    assert!(count("refused") + count("foreign") > 0, "{record}");
}

/// TR-022, TR-038: what belongs to the trunk's side ends at the gateway.
#[test]
fn tr_022_tr_038_what_teams_must_not_see() {
    let scene = Scene::usual("tr_038");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7200);
    let sdp = near.plain_sdp("sendrecv");
    let multipart = format!(
        "--b1\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b1\r\nContent-Type: application/isup;version=itu-t92+\r\n\r\n\u{1}\u{2}\u{3}\r\n\
         --b1\r\nContent-Type: application/pidf+xml\r\n\r\n<presence/>\r\n--b1--\r\n"
    );
    let gate = carrier.flow.remote();
    let invite = Invite {
        uri: &format!("sip:{CALLED}@{gate}"),
        from: &format!("<sip:{CALLER}@{}>", carrier.ip()),
        to: &format!("<sip:{CALLED}@{gate}>"),
        extra: "X-Secret: carrier\r\nP-Charging-Vector: icid-value=1\r\nGeolocation: <cid:a@b>\r\n",
        sdp: &multipart,
    };
    let mut caller = Dialog::prepare(&carrier.persona, &carrier.flow, &invite);
    let text = caller.invite_text(&invite).replacen(
        "Content-Type: application/sdp\r\n",
        "Content-Type: multipart/mixed;boundary=b1\r\n",
        1,
    );
    carrier.flow.send(text);
    let (received, callee) = teams.invited();
    assert_eq!(received.msg.need("Content-Type"), "application/sdp");
    for name in ["X-Secret", "P-Charging-Vector", "Geolocation", "Replaces"] {
        assert!(received.msg.get(name).is_none(), "{}", received.msg);
    }
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7200);
    let (sdp, _, _) = answer_to(&mut far, &received.msg);
    callee.reply(&received, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    callee.take("ACK");
    near.towards(&answer.msg);
    // In the dialog: each is answered here.
    for (method, extra) in [
        ("INFO", "Info-Package: x\r\n"),
        ("UPDATE", ""),
        ("OPTIONS", ""),
        ("REFER", "Refer-To: <sip:+15550010009@gateway.test>\r\n"),
        ("NOTIFY", "Event: refer\r\nSubscription-State: terminated\r\n"),
        ("MESSAGE", ""),
        ("UNHEARD", ""),
    ] {
        let response = caller.ask(method, extra, "").msg;
        // There is nothing that a NOTIFY could be about (RFC 6665 §4.1.3).
        let unknown = response.status() == 481;
        assert_eq!(unknown, method == "NOTIFY", "{method} lost its dialog:\n{response}");
    }
    teams.inbox.nothing("a request", |r| r.msg.is_request());
    talk(&mut near, &mut far, 40);
    caller.send("BYE", "", "");
    callee.hung_up();
    caller.took_200("BYE");
}

/// UDP repeats: one call, the same answers, until the other side has heard them.
#[test]
fn repeats_over_udp_are_absorbed_and_answers_are_repeated() {
    let scene = Scene::usual("repeats");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let near = MediaEnd::new(carrier.ip(), 7300);
    let gate = carrier.flow.remote();
    let invite = Invite {
        uri: &format!("sip:{CALLED}@{gate}"),
        from: &format!("<sip:{CALLER}@{}>", carrier.ip()),
        to: &format!("<sip:{CALLED}@{gate}>"),
        extra: "",
        sdp: &near.plain_sdp("sendrecv"),
    };
    let mut caller = Dialog::prepare(&carrier.persona, &carrier.flow, &invite);
    let text = caller.invite_text(&invite);
    for _ in 0..5 {
        carrier.flow.send(&text);
    }
    let (received, mut callee) = teams.invited();
    carrier.flow.send(&text);
    teams.not_invited();
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7300);
    let (sdp, _, _) = answer_to(&mut far, &received.msg);
    callee.reply(&received, "200 OK", "", &sdp);
    // No ACK yet: the 200 comes again, the same.
    let first = caller.response(200);
    let second = caller.response(200);
    let third = caller.response(200);
    assert_eq!(first.msg.raw, second.msg.raw);
    assert_eq!(first.msg.raw, third.msg.raw);
    let gap = second.at.duration_since(first.at);
    assert!((400..700).contains(&gap.as_millis()), "T1 is 500 ms: {gap:?}");
    caller.ack();
    callee.take("ACK");
    let call_id = caller.call_id.clone();
    carrier.inbox.find(Duration::from_millis(100), |r| r.msg.status() == 200);
    carrier.inbox.nothing("another 200", |r| r.msg.status() == 200 && r.msg.call_id() == call_id);
    // The same the other way round: a BYE comes again until it is answered, then never more.
    let byes = || {
        let all = carrier.inbox.all();
        all.iter().filter(|r| r.msg.is_request() && r.msg.method() == "BYE").count()
    };
    callee.send("BYE", "", "");
    carrier.inbox.until("repeated BYEs", Duration::from_secs(4), |all, _| {
        all.iter().filter(|r| r.msg.is_request() && r.msg.method() == "BYE").count() >= 3
    });
    caller.hung_up();
    let seen = byes();
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(seen, byes(), "a BYE after its 200");
}
