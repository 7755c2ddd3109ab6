//! Attacks by session descriptions, by their number: where media must not be sent, sizes and numbers out of all bounds,
//! keys that are none, and every way to talk a secure leg into clear text.

use std::time::{Duration, Instant};

use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, EDGE, PROXY};
use crate::harness::raw::{Datagrams, header, status};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::siege::{ATTACKER, Siege, request};
use crate::harness::talking::{CALLED, CALLER, Talking};
use crate::harness::wire::SOON;

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// A description that wants media there.
fn aimed(address: &str, port: &str) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    )
}

/// Status of an INVITE with that description, and how long it took.
fn offer(wire: &Datagrams, sdp: &str) -> (u16, Duration) {
    let bytes = request("INVITE", "UDP", "Content-Type: application/sdp\r\n", sdp);
    let start = Instant::now();
    wire.send(&bytes);
    let call_id = header(&bytes, "Call-ID", "i");
    let answer = wire.answer(SOON, call_id.as_deref());
    (answer.map_or(0, |answer| status(&answer)), start.elapsed())
}

#[test]
fn at_32_media_are_not_sent_to_ourselves_a_crowd_or_this_host() {
    let siege = Siege::new("at_32");
    let wire = siege.datagrams();
    let place = siege.scene.place;
    let (media, edge) = (place.ip(CARRIER_SIDE).to_string(), place.ip(EDGE).to_string());
    let here = place.ip(ATTACKER).to_string();
    for (address, port) in [
        ("127.0.0.1", "30000"),
        ("127.255.255.254", "30000"),
        ("::1", "30000"),
        ("::ffff:127.0.0.1", "30000"),
        ("169.254.169.254", "80"),
        ("169.254.169.254", "30000"),
        ("224.0.0.1", "30000"),
        ("239.255.255.250", "1900"),
        ("255.255.255.255", "30000"),
        ("240.0.0.1", "30000"),
        ("0.0.0.1", "30000"),
        ("ff02::1", "30000"),
        ("fe80::1", "30000"),
        (&media, "20000"),
        (&media, "20199"),
        (&media, "5060"),
        (&media, "5071"),
        (&edge, "20010"),
        (&edge, "5061"),
        (&here, "0"),
        (&here, "22"),
        (&here, "53"),
        (&here, "1023"),
        (&here, "5060"),
        (&here, "5061"),
        (&here, "65536"),
        (&here, "-1"),
        (&here, "99999999999999999999"),
    ] {
        assert_eq!(offer(&wire, &aimed(address, port)).0, 488, "{address}:{port}");
    }
    siege.teams.not_invited();
    // Nobody at all is the old way to hold (RFC 3264 §8.4).
    let bytes =
        request("INVITE", "UDP", "Content-Type: application/sdp\r\n", &aimed("0.0.0.0", "30000"));
    wire.send(&bytes);
    let (invite, callee) = siege.teams.invited();
    assert_eq!(invite.msg.direction(), "inactive", "{}", invite.msg);
    callee.reply(&invite, "486 Busy Here", "", "");
    assert!(wire.answer(SOON, header(&bytes, "Call-ID", "i").as_deref()).is_some());
    siege.ends("trunkgate_calls_ended_total{cause=\"bad_offer\"}");
}

/// The same in an answer, and in the middle of a call.
#[test]
fn at_32_answers_and_changes_are_held_to_the_same() {
    let scene = Scene::usual("at_32_answers");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let own = scene.place.ip(CARRIER_SIDE).to_string();
    let media = MediaEnd::new(teams.place.ip(PROXY), 7600);
    let flow = teams.connect(TENANT);
    for (address, port) in [("127.0.0.1", "30000"), ("224.0.0.1", "30000"), (&own, "20000")] {
        let key = Crypto::fresh(1, CM_80);
        let sdp = media.secure_sdp(&[&key], "sendrecv", "");
        let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &sdp);
        let (invite, callee) = carrier.invited();
        callee.reply(&invite, "200 OK", "", &aimed(address, port));
        let refusal = caller.final_response();
        assert_eq!(refusal.msg.status(), 488, "{address}: {}", refusal.msg);
        caller.ack_failure();
        callee.take("ACK");
        callee.hung_up();
    }
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    for (address, port) in [("127.0.0.1", "30000"), ("255.255.255.255", "30000"), (&own, "20000")] {
        let refusal = call.carrier.ask("INVITE", "", &aimed(address, port));
        assert_eq!(refusal.msg.status(), 488, "{address}");
        call.carrier.send_ack_failure(&refusal.msg);
    }
    call.talk();
    call.carrier_hangs_up();
}

#[test]
fn at_34_descriptions_out_of_all_bounds_are_488_within_10_ms() {
    let siege = Siege::new("at_34");
    let wire = siege.datagrams();
    let here = siege.scene.place.ip(ATTACKER).to_string();
    let good = aimed(&here, "30000");
    let with = |line: &str| format!("{good}{line}\r\n");
    let formats = (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    for (what, sdp) in [
        ("1,000 media", good.clone() + &"m=audio 30000 RTP/AVP 0\r\n".repeat(1_000)),
        ("5,000 attributes", good.clone() + &"a=x:y\r\n".repeat(5_000)),
        ("5,000 crypto lines", good.clone() + &"a=crypto:1\r\n".repeat(4_000)),
        ("port 65536", good.replace("30000", "65536")),
        ("ports without a number", good.replace("30000", "30000/x")),
        ("300 formats", good.replace("RTP/AVP 0", &format!("RTP/AVP {formats}"))),
        ("an origin too large", good.replace("o=- 1 1 ", "o=- 1 18446744073709551616 ")),
        ("an origin below zero", good.replace("o=- 1 1 ", "o=- -1 1 ")),
        ("an origin of letters", good.replace("o=- 1 1 ", "o=- a b ")),
        ("no origin", good.replace("o=- 1 1 IN IP4 192.0.2.1\r\n", "")),
        ("version 1", good.replace("v=0", "v=1")),
        ("no version", good.replace("v=0\r\n", "")),
        ("a NUL", with("a=x:\0")),
        ("a line without a letter", with("=x")),
        ("a line without =", with("audio")),
        ("no address", good.replace(&format!("c=IN IP4 {here}\r\n"), "")),
        ("a name for an address", good.replace(&format!("c=IN IP4 {here}"), "c=IN IP4 localhost")),
        ("c= of three words too many", good.replace("c=IN IP4", "c=IN IP4 IP4 IP4 IP4")),
        ("nothing but numbers", "0".repeat(30_000)),
        ("nothing but line ends", "\r\n".repeat(15_000)),
        ("no codec", good.replace("RTP/AVP 0", "RTP/AVP 99999")),
    ] {
        // The best of three: this machine does other things as well.
        let tries = [(); 3].map(|()| offer(&wire, &sdp));
        assert!(tries.iter().all(|(status, _)| [400, 488].contains(status)), "{what}: {tries:?}");
        let best = tries.iter().map(|(_, time)| *time).min().unwrap();
        assert!(best < Duration::from_millis(10), "{what}: {best:?}");
    }
    siege.teams.not_invited();
    // What is odd and does no harm is left out.
    let nested = format!("a=fmtp:0 {}", "a=fmtp:0 ".repeat(500));
    for line in [
        "a=rtpmap:99999 X/8000",
        "a=rtpmap:0 PCMU/4294967296",
        "a=rtpmap:0 /",
        "a=rtpmap:-1 X/8000",
        "a=ptime:0",
        "a=ptime:1000000000",
        "a=ptime:-20",
        "a=maxptime:99999999999999999999",
        "a=rtcp:0",
        "a=rtcp:65536",
        "a=rtcp:53 IN IP4 127.0.0.1",
        "a=rtcp:20000 IN IP4 224.0.0.1",
        &nested,
    ] {
        let bytes = request("INVITE", "UDP", "Content-Type: application/sdp\r\n", &with(line));
        wire.send(&bytes);
        let (invite, callee) = siege.teams.invited();
        let body = &invite.msg.body;
        assert!(!body.contains("99999") && !body.contains("4294967296"), "{line}: {body}");
        if let Some(ptime) = invite.msg.attribute("ptime") {
            assert!((1..=1_000).contains(&ptime.parse::<u32>().unwrap()), "{line}: {ptime}");
        }
        assert!(!body.contains("224.0.0.1") && !body.contains("127.0.0.1\r\n"), "{line}: {body}");
        callee.reply(&invite, "486 Busy Here", "", "");
        assert!(wire.answer(SOON, header(&bytes, "Call-ID", "i").as_deref()).is_some());
    }
    siege.ends("trunkgate_calls_ended_total{cause=\"bad_offer\"}");
}

/// Teams offers these; what the gateway answers.
fn teams_offers(teams: &Teams, sdp: &str) -> u16 {
    let flow = teams.connect(TENANT);
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, sdp);
    let refusal = call.final_response();
    call.ack_failure();
    refusal.msg.status()
}

#[test]
fn at_35_keys_that_are_none_are_488_and_nobody_is_called() {
    let scene = Scene::usual("at_35");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let media = MediaEnd::new(teams.place.ip(PROXY), 7700);
    let key = Crypto::fresh(1, CM_80).key;
    let gcm = format!("1 AEAD_AES_128_GCM inline:{key}");
    let unknown: Vec<String> =
        (1..=50).map(|tag| format!("{tag} F8_128_HMAC_SHA1_{tag} inline:{key}")).collect();
    for (what, lines) in [
        ("none", vec![]),
        ("29 bytes", vec![format!("1 {CM_80} inline:{}", &key[..39])]),
        ("31 bytes", vec![format!("1 {CM_80} inline:{key}AA")]),
        ("no bytes", vec![format!("1 {CM_80} inline:")]),
        ("not base64", vec![format!("1 {CM_80} inline:{}*", &key[..39])]),
        ("the length of another suite", vec![gcm]),
        ("50 unknown suites", unknown),
        ("lifetime 2^99", vec![format!("1 {CM_80} inline:{key}|2^99")]),
        ("lifetime 0", vec![format!("1 {CM_80} inline:{key}|0")]),
        ("lifetime below zero", vec![format!("1 {CM_80} inline:{key}|-1")]),
        ("an MKI of 129 bytes", vec![format!("1 {CM_80} inline:{key}|2^31|1:129")]),
        ("an MKI that does not fit", vec![format!("1 {CM_80} inline:{key}|2^31|256:1")]),
        ("a tag beyond its digits", vec![format!("1234567890 {CM_80} inline:{key}")]),
        ("no encryption", vec![format!("1 {CM_80} inline:{key} UNENCRYPTED_SRTP")]),
        ("no authentication", vec![format!("1 {CM_80} inline:{key} UNAUTHENTICATED_SRTP")]),
        ("a NULL suite", vec![format!("1 NULL_HMAC_SHA1_80 inline:{key}")]),
        ("two keys without MKI", vec![format!("1 {CM_80} inline:{key};inline:{key}")]),
    ] {
        let lines: String = lines.iter().map(|line| format!("a=crypto:{line}\r\n")).collect();
        let sdp = media.sdp("RTP/SAVP", &lines);
        assert_eq!(teams_offers(&teams, &sdp), 488, "{what}");
    }
    carrier.not_invited();
    // One good key among rubbish is enough; of two with one tag the first counts.
    for lines in [
        format!(
            "a=crypto:7 X inline:{key}\r\na=crypto:1 {CM_80} inline:{key}|2^31\r\na=crypto:1 {CM_80} inline:{}\r\n",
            key.to_lowercase()
        ),
        format!("a=crypto:1 {CM_80} inline:AAAA\r\na=crypto:2 {CM_80} inline:{key}\r\n"),
    ] {
        let flow = teams.connect(TENANT);
        let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &media.sdp("RTP/SAVP", &lines));
        let (invite, callee) = carrier.invited();
        let far = aimed(&carrier.ip().to_string(), "30000");
        callee.reply(&invite, "200 OK", "", &far);
        let answer = call.response(200);
        is_secure(&answer.msg.body);
        call.ack();
        callee.take("ACK");
        call.send("BYE", "", "");
        callee.hung_up();
        call.took_200("BYE");
    }
}

fn is_secure(body: &str) {
    assert!(body.contains("RTP/SAVP ") && body.contains("a=crypto:"), "{body}");
}

/// An answer that has no usable key ends the call, and not a packet goes out in clear.
#[test]
fn at_35_at_36_an_answer_in_clear_ends_the_call() {
    let scene = Scene::usual("at_36_answer");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7800);
    let mut end = MediaEnd::new(teams.place.ip(PROXY), 7800);
    let fresh = || Crypto::fresh(1, CM_80);
    let foreign = Crypto::fresh(1, "AEAD_AES_256_GCM").write();
    for (what, answer) in [
        ("RTP/AVP", end.plain_sdp("sendrecv")),
        ("RTP/AVP with a key", end.sdp("RTP/AVP", &format!("a=crypto:{}\r\n", fresh().write()))),
        ("RTP/SAVP without a key", end.sdp("RTP/SAVP", "")),
        ("a suite that was not offered", end.sdp("RTP/SAVP", &format!("a=crypto:{foreign}\r\n"))),
        ("a tag that was not offered", end.secure_sdp(&[&Crypto::fresh(9, CM_80)], "sendrecv", "")),
        ("a key too short", end.sdp("RTP/SAVP", &format!("a=crypto:1 {CM_80} inline:AAAA\r\n"))),
    ] {
        let mut caller = carrier.call(CALLER, CALLED, &near.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        is_secure(&invite.msg.body);
        end.towards(&invite.msg);
        callee.reply(&invite, "183 Session Progress", "", &answer);
        callee.reply(&invite, "200 OK", "", &answer);
        let refusal = caller.final_response();
        assert_eq!(refusal.msg.status(), 488, "{what}: {}", refusal.msg);
        caller.ack_failure();
        callee.take("ACK");
        callee.hung_up();
        assert!(silent(&mut end), "{what}: packets in clear");
    }
    // In the middle of a call the description in clear is refused, and the call stays as it was.
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    for sdp in [call.teams_media.plain_sdp("sendrecv"), call.teams_media.sdp("RTP/SAVP", "")] {
        let refusal = call.teams.ask("INVITE", "", &sdp);
        assert_eq!(refusal.msg.status(), 488, "{}", refusal.msg);
        call.teams.send_ack_failure(&refusal.msg);
    }
    call.talk();
    drop(near.hear());
    call.carrier_hangs_up();
}

/// Nothing has come to that end.
fn silent(end: &mut MediaEnd) -> bool {
    end.hear().is_empty() && end.reports.is_empty() && end.undecryptable == 0
}

#[test]
fn at_36_no_offer_in_clear_is_taken_from_teams_and_no_other_profile_from_the_trunk() {
    let scene = Scene::usual("at_36");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let media = MediaEnd::new(teams.place.ip(PROXY), 7900);
    let key = format!("a=crypto:{}\r\n", Crypto::fresh(1, CM_80).write());
    for (protocol, more) in [
        ("RTP/AVP", ""),
        ("RTP/AVP", key.as_str()),
        ("RTP/AVPF", key.as_str()),
        ("rtp/avp", ""),
        ("RTP/SAVP", ""),
        ("UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 00:11\r\na=setup:actpass\r\n"),
        ("RTP/XSAVPX", key.as_str()),
        ("TCP/RTP/AVP", key.as_str()),
        ("udp", ""),
    ] {
        assert_eq!(teams_offers(&teams, &media.sdp(protocol, more)), 488, "{protocol} {more}");
    }
    carrier.not_invited();
    answered_by_trunk_in_another_profile(&teams, &carrier, &media);
}

/// The trunk answers our RTP/AVP with something else.
fn answered_by_trunk_in_another_profile(teams: &Teams, carrier: &Carrier, media: &MediaEnd) {
    let flow = teams.connect(TENANT);
    let far = MediaEnd::new(carrier.ip(), 7900);
    for answer in [
        far.sdp("RTP/SAVP", ""),
        far.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", ""),
        far.sdp("UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 00:11\r\n"),
    ] {
        let key = Crypto::fresh(1, CM_80);
        let sdp = media.secure_sdp(&[&key], "sendrecv", "");
        let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &sdp);
        let (invite, callee) = carrier.invited();
        callee.reply(&invite, "200 OK", "", &answer);
        let refusal = caller.final_response();
        assert_eq!(refusal.msg.status(), 488, "{answer}");
        caller.ack_failure();
        callee.take("ACK");
        callee.hung_up();
    }
}
