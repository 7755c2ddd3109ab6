//! Media of the Teams side by their number (TR-045 to TR-049).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::media::{CM_32, CM_80, Crypto, GCM_128, GCM_256, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::talking::{CALLED, CALLER, Talking};
use crate::harness::wire::Received;

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// A call of Teams with that offer, answered by the trunk; gives the gateway's 200.
fn offered(
    teams: &Teams,
    carrier: &Carrier,
    media: &mut MediaEnd,
    far: &mut MediaEnd,
    sdp: &str,
) -> (Received, crate::harness::dialog::Dialog) {
    let flow = teams.connect(TENANT);
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, sdp);
    let (invite, callee) = carrier.invited();
    callee.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
    far.towards(&invite.msg);
    let answer = call.response(200);
    call.ack();
    callee.take("ACK");
    media.towards(&answer.msg);
    (answer, call)
}

fn ends(teams: &Teams, carrier: &Carrier, port: u16) -> (MediaEnd, MediaEnd) {
    (MediaEnd::new(teams.place.ip(PROXY), port), MediaEnd::new(carrier.ip(), port))
}

#[test]
fn tr_045_the_80_bit_suite_is_answered_with_its_tag_and_lifetime() {
    let scene = Scene::usual("tr_045");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let (mut media, mut far) = ends(&teams, &carrier, 8000);
    let (short, long) = (Crypto::fresh(0, CM_32), Crypto::fresh(1, CM_80));
    let sdp = media.secure_sdp(&[&short, &long], "sendrecv", "");
    let (answer, mut call) = offered(&teams, &carrier, &mut media, &mut far, &sdp);
    let theirs = Crypto::of(&answer.msg);
    assert_eq!(answer.msg.attributes("crypto").count(), 1);
    assert_eq!((theirs.tag, theirs.suite.as_str()), (1, CM_80));
    assert_eq!(theirs.lifetime.as_deref(), Some("2^31"));
    media.secure(&long, &theirs);
    talk(&mut media, &mut far, 40);
    call.hang_up();
}

/// What other equipment behind the same edge may offer.
#[test]
fn tr_045_every_suite_alone_is_answered_in_kind() {
    let scene = Scene::usual("tr_045_suites");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    for (suite, port) in [(CM_32, 8100), (GCM_128, 8102), (GCM_256, 8104)] {
        let (mut media, mut far) = ends(&teams, &carrier, port);
        let own = Crypto::fresh(3, suite);
        let sdp = media.secure_sdp(&[&own], "sendrecv", "");
        let (answer, mut call) = offered(&teams, &carrier, &mut media, &mut far, &sdp);
        let theirs = Crypto::of(&answer.msg);
        assert_eq!((theirs.tag, theirs.suite.as_str()), (3, suite));
        media.secure(&own, &theirs);
        talk(&mut media, &mut far, 40);
        call.hang_up();
    }
}

#[test]
fn tr_046_lifetime_and_mki_of_one_byte() {
    let scene = Scene::usual("tr_046");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    // In an offer.
    let (mut media, mut far) = ends(&teams, &carrier, 8200);
    let own = Crypto { mki: Some((1, 1)), ..Crypto::fresh(1, CM_80) };
    let sdp = media.secure_sdp(&[&own], "sendrecv", "");
    assert!(sdp.contains("|2^31|1:1"));
    let (answer, mut call) = offered(&teams, &carrier, &mut media, &mut far, &sdp);
    let theirs = Crypto::of(&answer.msg);
    assert_eq!(theirs.mki, None, "an MKI of our own helps nobody");
    media.secure(&own, &theirs);
    media.report();
    talk(&mut media, &mut far, 40);
    media.report();
    call.hang_up();
    // In an answer.
    let mut near = MediaEnd::new(carrier.ip(), 8202);
    let mut teams_media = MediaEnd::new(scene.place.ip(PROXY), 8202);
    let mut caller = carrier.call("+442071230000", CALLED, &near.plain_sdp("sendrecv"));
    let (invite, callee) = teams.invited();
    let theirs = Crypto::of(&invite.msg);
    let own = Crypto { mki: Some((1, 1)), ..Crypto::fresh(theirs.tag, &theirs.suite) };
    teams_media.secure(&own, &theirs);
    teams_media.towards(&invite.msg);
    callee.reply(&invite, "200 OK", "", &teams_media.secure_sdp(&[&own], "sendrecv", ""));
    let answer = caller.response(200);
    caller.ack();
    near.towards(&answer.msg);
    talk(&mut near, &mut teams_media, 40);
    teams_media.report();
    caller.send("BYE", "", "");
    callee.hung_up();
    // Packets and reports with an MKI were all taken.
    for record in gateway.wait_records(2) {
        for direction in record["media"].as_array().expect("media") {
            assert_eq!(direction["refused"], 0, "{record}");
        }
    }
}

#[test]
fn tr_047_no_crypto_is_488_and_sdes_wins_over_dtls() {
    let scene = Scene::usual("tr_047");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let (mut media, mut far) = ends(&teams, &carrier, 8300);
    let flow = teams.connect(TENANT);
    let fingerprint =
        format!("a=fingerprint:sha-256 {}\r\na=setup:actpass\r\n", vec!["AB"; 32].join(":"));
    let without = media.sdp("RTP/AVP", "a=sendrecv\r\n");
    let dtls_only = media.sdp("UDP/TLS/RTP/SAVP", &fingerprint);
    for sdp in [without, dtls_only] {
        let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &sdp);
        let refusal = call.final_response();
        assert_eq!(refusal.msg.status(), 488, "{}", refusal.msg);
        call.ack_failure();
    }
    carrier.not_invited();
    let own = Crypto::fresh(2, CM_80);
    let sdp =
        media.secure_sdp(&[&own], "sendrecv", &fingerprint).replace("RTP/SAVP", "UDP/TLS/RTP/SAVP");
    let (answer, mut call) = offered(&teams, &carrier, &mut media, &mut far, &sdp);
    let theirs = Crypto::of(&answer.msg);
    assert_eq!((theirs.tag, theirs.suite.as_str()), (2, CM_80));
    assert_eq!(answer.msg.attribute("fingerprint"), None, "{}", answer.msg);
    media.secure(&own, &theirs);
    talk(&mut media, &mut far, 40);
    call.hang_up();
}

/// Offered and not offered by Teams; offered by us, and taken or not.
#[test]
fn tr_048_rtcp_with_and_without_mux_every_five_seconds() {
    let scene = Scene::usual("tr_048");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    for (mux, incoming, port) in
        [(true, false, 8400), (false, false, 8402), (true, true, 8404), (false, true, 8406)]
    {
        let (mut media, mut far) = ends(&teams, &carrier, port);
        let more =
            if mux { "a=rtcp-mux\r\n".to_owned() } else { format!("a=rtcp:{}\r\n", port + 1) };
        let mut call = if incoming {
            let mut caller = carrier.call(CALLER, CALLED, &far.plain_sdp("sendrecv"));
            let (invite, callee) = teams.invited();
            assert!(invite.msg.attribute("rtcp-mux").is_some(), "{}", invite.msg);
            let theirs = Crypto::of(&invite.msg);
            let own = Crypto::fresh(theirs.tag, &theirs.suite);
            media.secure(&own, &theirs);
            media.towards(&invite.msg);
            callee.reply(&invite, "200 OK", "", &media.secure_sdp(&[&own], "sendrecv", &more));
            let answer = caller.response(200);
            caller.ack();
            callee.take("ACK");
            far.towards(&answer.msg);
            callee
        } else {
            let own = Crypto::fresh(1, CM_80);
            let sdp = media.secure_sdp(&[&own], "sendrecv", &more);
            let (answer, call) = offered(&teams, &carrier, &mut media, &mut far, &sdp);
            assert_eq!(answer.msg.attribute("rtcp-mux").is_some(), mux, "{}", answer.msg);
            media.secure(&own, &Crypto::of(&answer.msg));
            call
        };
        media.mux = mux;
        let start = Instant::now();
        talk(&mut media, &mut far, 10);
        // What Teams reports reaches the trunk.
        media.report();
        far.report();
        while (media.reports.is_empty() || far.reports.is_empty()) && start.elapsed().as_secs() < 6
        {
            far.speak();
            media.speak();
            thread::sleep(Duration::from_millis(20));
            media.hear();
            far.hear();
        }
        let first = media.reports.first().expect("a report at Teams").0.duration_since(start);
        assert!(first <= Duration::from_millis(5_100), "{first:?}");
        assert!(!far.reports.is_empty(), "a report at the trunk");
        // The trunk falls silent: Teams still gets one within five seconds.
        let count = media.reports.len();
        let silent = Instant::now();
        while media.reports.len() == count {
            assert!(silent.elapsed() < Duration::from_millis(5_100), "mux {mux}: no report in 5 s");
            far.speak();
            thread::sleep(Duration::from_millis(20));
            media.hear();
        }
        let bytes = &media.reports.last().unwrap().1;
        assert!(matches!(bytes[1], 200 | 201), "a compound begins with SR or RR: {bytes:02x?}");
        let apart = if mux { 0 } else { media.reports.len() };
        assert_eq!(media.reports_apart, apart, "mux {mux}: by the port that was agreed");
        assert_eq!(far.reports_apart, far.reports.len(), "the trunk has a port for them");
        assert_eq!((media.undecryptable, far.undecryptable), (0, 0));
        call.hang_up();
    }
    // Those of Teams were taken, wherever they came.
    for record in gateway.wait_records(4) {
        for direction in record["media"].as_array().expect("media") {
            let count = |key: &str| direction[key].as_u64().expect(key);
            assert_eq!([count("refused"), count("foreign")], [0, 0], "{record}");
        }
    }
}

#[test]
fn tr_049_our_address_and_port_never_change() {
    let scene = Scene::usual("tr_049");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    for incoming in [true, false] {
        let mut call = Talking::either(incoming, &teams, &flow, &carrier);
        let first = call.described_to_teams().media();
        let key = call.theirs.key.clone();
        call.talk();
        call.carrier_offers("sendonly", "inactive");
        call.carrier_offers("sendrecv", "sendrecv");
        call.talk();
        call.teams_offers("inactive", "inactive");
        call.teams_offers("sendrecv", "sendrecv");
        call.talk();
        let sources = call.teams_media.sources.clone();
        assert_eq!(sources, [first], "media came from elsewhere");
        let call_id = call.teams.call_id.clone();
        call.teams_hangs_up();
        let mut described = 0;
        for received in teams.inbox.all() {
            let msg = &received.msg;
            if msg.call_id() == call_id && !msg.body.is_empty() {
                assert_eq!(msg.media(), first, "{msg}");
                assert_eq!(Crypto::of(msg).key, key, "our key changed\n{msg}");
                described += 1;
            }
        }
        assert!(described >= 5, "{described} descriptions");
    }
}
