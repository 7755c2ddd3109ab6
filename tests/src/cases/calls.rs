//! Calls between peers that are not ours: PJSIP as Teams (TLS, client certificate, SDES), SIPp and
//! PJSIP as carriers over UDP and TCP. What libsrtp decrypts on one leg is what the other carried;
//! tshark finds nothing malformed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lab::pki::Leaf;
use serde_json::json;

use crate::harness::audit;
use crate::harness::capture::{Capture, Pairing, silences, verify_media};
use crate::harness::dns::NameServer;
use crate::harness::media::Crypto;
use crate::harness::peer::{Baresip, Pjsip, Sipp};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, DNS, EDGE, PROXY};
use crate::harness::scene::Scene;
use crate::harness::stage::{CALLED, HOTLINE, Stage, described_by, hold, key};

fn sipp_to_pjsip(transport: &'static str) {
    let mut stage = Stage::new("sipp_to_pjsip", transport);
    let sipp = stage.sipp_calls();
    let incoming = stage.teams.wait(&json!({"event": "incoming"}));
    let uri = incoming["uri"].as_str().unwrap_or_default();
    assert!(uri.starts_with(&format!("sip:{CALLED}@sip.teams.test:5061;user=phone")), "{uri}");
    stage.teams.state("CONFIRMED");
    stage.teams.hears(40);
    stage.teams.state("DISCONNECTED");
    sipp.finish();
    stage.end(1).media_is_equal(6000, 40);
}

fn pjsip_to_sipp(transport: &'static str) {
    let mut stage = Stage::new("pjsip_to_sipp", transport);
    let sipp = stage.sipp_answers();
    stage.teams_calls();
    stage.teams.state("CONFIRMED");
    stage.teams.hears(60);
    stage.teams.hang_up();
    stage.teams.state("DISCONNECTED");
    sipp.finish();
    stage.end(1).media_is_equal(6000, 40);
}

#[test]
fn sipp_over_udp_calls_pjsip_as_teams() {
    sipp_to_pjsip("udp");
}

#[test]
fn sipp_over_tcp_calls_pjsip_as_teams() {
    sipp_to_pjsip("tcp");
}

#[test]
fn pjsip_as_teams_calls_sipp_over_udp() {
    pjsip_to_sipp("udp");
}

#[test]
fn pjsip_as_teams_calls_sipp_over_tcp() {
    pjsip_to_sipp("tcp");
}

/// Both directions, hold by either side, ended by either side, telephone events.
fn pjsip_on_both_sides(transport: &'static str) {
    let mut stage = Stage::new("pjsip_on_both_sides", transport);
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(30);
    stage.teams.hears(30);
    hold(&mut carrier, &mut stage.teams, "sendonly");
    hold(&mut stage.teams, &mut carrier, "sendonly");
    carrier.command(&json!({"do": "dtmf", "digits": "5"}));
    stage.teams.wait(&json!({"event": "dtmf", "digit": "5"}));
    stage.teams.command(&json!({"do": "dtmf", "digits": "7"}));
    carrier.wait(&json!({"event": "dtmf", "digit": "7"}));
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    teams_calls_back(&mut stage, carrier);
    stage.end(2);
}

/// Teams calls, both hear each other, and the carrier ends it for good.
fn teams_calls_back(stage: &mut Stage, mut carrier: Pjsip) {
    stage.teams_calls();
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(30);
    stage.teams.hears(30);
    carrier.hang_up();
    stage.teams.state("DISCONNECTED");
    carrier.state("DISCONNECTED");
    carrier.finish();
}

#[test]
fn pjsip_carrier_over_udp_and_pjsip_as_teams() {
    pjsip_on_both_sides("udp");
}

#[test]
fn pjsip_carrier_over_tcp_and_pjsip_as_teams() {
    pjsip_on_both_sides("tcp");
}

/// A call of before an upgrade and one of afterwards; PJSIP's connections lead to the old process.
fn pjsip_across_an_upgrade(transport: &'static str) {
    let mut stage = Stage::new("pjsip_across_an_upgrade", transport);
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(50);
    stage.teams.hears(50);
    let mut old = std::mem::replace(&mut stage.gateway, stage.scene.upgrade());
    carrier.hears(200);
    stage.teams.hears(200);
    let later = stage.scene.dir().join("later");
    std::fs::create_dir(&later).unwrap();
    let later = Capture::start(&later, stage.scene.place);
    let silences = silences(&std::mem::replace(&mut stage.capture, later).stop());
    hold(&mut carrier, &mut stage.teams, "sendonly");
    hold(&mut stage.teams, &mut carrier, "sendonly");
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    assert!(old.wait(Duration::from_secs(20)).success());
    teams_calls_back(&mut stage, carrier);
    let scene = stage.end(2).scene;
    // Both streams came from the peers and left from the gateway. What a peer pauses by itself is none of ours.
    let ours = [scene.place.ip(EDGE), scene.place.ip(CARRIER_SIDE)];
    let (out, came): (Vec<_>, Vec<_>) =
        silences.into_iter().partition(|(from, ..)| ours.contains(&from.ip()));
    assert_eq!((out.len(), came.len()), (2, 2), "{out:?} {came:?}");
    let longest = |of: &[(SocketAddr, SocketAddr, Duration)]| of.iter().map(|s| s.2).max().unwrap();
    let (out, came) = (longest(&out), longest(&came));
    eprintln!("longest pause over {transport}: {out:?} from the gateway, {came:?} from the peers");
    assert!(
        out <= Duration::from_millis(100).max(came + Duration::from_millis(20)),
        "{out:?} {came:?}"
    );
}

#[test]
fn r03_pjsip_goes_on_talking_across_an_upgrade_over_udp() {
    pjsip_across_an_upgrade("udp");
}

#[test]
fn r03_pjsip_goes_on_talking_across_an_upgrade_over_tcp() {
    pjsip_across_an_upgrade("tcp");
}

/// The payload check on a PJSIP carrier: its RTP port is its own choice.
#[test]
fn media_between_pjsip_and_pjsip_are_equal() {
    let mut stage = Stage::new("pjsip_media", "udp");
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(60);
    stage.teams.hears(60);
    carrier.hang_up();
    stage.teams.state("DISCONNECTED");
    let messages = carrier.finish();
    let offer = messages.iter().find(|(received, m)| !received && m.method() == "INVITE").unwrap();
    stage.end(1).media_is_equal(offer.1.media().port(), 50);
}

/// baresip: another TLS client, another SRTP, and RTP that leaves from 127.0.0.1 whatever its SDP
/// says, so that the secure leg has to learn the address from an authenticated packet.
#[test]
fn baresip_as_teams_is_called_and_calls() {
    let mut scene = Scene::new("baresip");
    scene.teams_also_from("127.0.0.1/32").usual_ends();
    let place = scene.place;
    let names = HashMap::from([("*.sbc.test".to_owned(), place.ip(EDGE))]);
    let _dns = NameServer::start(place.at(DNS, 53), names);
    let identity = scene.pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
    let teams =
        Baresip::start(scene.dir(), place.ip(PROXY), place.ip(DNS), CALLED, &identity, &scene.ca());
    let gateway = scene.start();
    let (local, gate) = (place.at(CARRIER_A, 5060), place.at(CARRIER_SIDE, 5060));
    let capture = Capture::start(scene.dir(), place);
    let call = (gate, "+442071230000", CALLED);
    let sipp = Sipp::start(scene.dir(), "uac.xml", "udp", local, Some(call));
    teams.said("Call established", 1);
    sipp.finish();
    gateway.wait_records(1);
    baresip_media(&scene, &teams, &capture.stop());
    let capture = Capture::start(scene.dir(), place);
    let sipp = Sipp::start(scene.dir(), "uas.xml", "udp", local, None);
    teams.command("dial", &format!("sip:{HOTLINE}@t001.sbc.test:5061"));
    teams.said("Call established", 2);
    // The length of the call.
    thread::sleep(Duration::from_millis(1_500));
    teams.command("hangup", "");
    sipp.finish();
    let records = gateway.wait_records(2);
    for record in &records {
        for direction in record["media"].as_array().expect("media") {
            assert!(direction["relayed"].as_u64() > Some(40), "{record}");
            // baresip sends one RTCP packet in clear before it has the keys.
            assert!(direction["refused"].as_u64() <= Some(1), "{record}");
        }
    }
    baresip_media(&scene, &teams, &capture.stop());
    for msg in teams.messages() {
        // Those that the gateway wrote.
        let product = msg.get("User-Agent").or(msg.get("Server")).unwrap_or_default();
        if product.starts_with("trunkgate") {
            let faults = audit::towards_teams(&msg);
            assert!(faults.is_empty(), "{faults:?} in\n{msg}");
        }
    }
}

/// Both directions of its last call.
fn baresip_media(scene: &Scene, teams: &Baresip, pcap: &Path) {
    let messages = teams.messages();
    let last = messages.last().expect("a message").call_id().to_owned();
    let (edge, gate) = (scene.place.ip(EDGE), scene.place.ip(CARRIER_SIDE));
    let described = |ours: bool| {
        messages
            .iter()
            .find(|m| {
                m.call_id() == last
                    && m.attribute("crypto").is_some()
                    && (m.media().ip() == edge) == ours
            })
            .unwrap_or_else(|| panic!("no SDP (ours: {ours})"))
    };
    let (ours, theirs) = (described(true), described(false));
    let tag = if ours.is_request() { Crypto::of(theirs).tag } else { Crypto::of(ours).tag };
    let carrier = scene.place.at(CARRIER_A, 6000);
    let gateway = described_by(pcap, gate);
    let pairings = [
        Pairing {
            secure_from: Some(ours.media()),
            secure_to: None,
            crypto: key(ours, tag),
            plain_from: carrier,
            plain_to: gateway,
            sealed_here: true,
            exchanges: 1,
        },
        Pairing {
            secure_from: None,
            secure_to: Some(ours.media()),
            crypto: key(theirs, tag),
            plain_from: gateway,
            plain_to: carrier,
            sealed_here: false,
            exchanges: 1,
        },
    ];
    for compared in verify_media(pcap, &pairings) {
        assert!(compared.equal >= 40, "{compared:?}");
    }
}
