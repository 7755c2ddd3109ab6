//! Reliable provisional responses on a trunk (RFC 3262) and UPDATE before the answer (RFC 3311): SIPp, PJSIP and raw ends as
//! the carrier. Nothing of it reaches Teams: PJSIP's and the raw end's messages are judged.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::peer::{Pjsip, Sipp};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, PROXY};
use crate::harness::scene::Scene;
use crate::harness::stage::{CALLED, Stage, hear_each_other, pjsip_requiring_100rel};
use crate::harness::talking::{CALLER, answer_to};

const REQUIRED: &str = "reliable_provisional = \"required\"";

/// TR-039: SIPp requires 100rel, acknowledges a 183 with SDP wrongly, lets it come twice again, and acknowledges it
/// rightly; the 200, which Teams has sent long before, comes after that and without SDP.
fn sipp_requires_it(test: &str, transport: &'static str) {
    let mut scene = Scene::new(test);
    scene.trunk("carrier-a", transport, CARRIER_A, "").usual_tenant();
    let teams = scene.teams();
    let gateway = scene.start();
    gateway.healthy();
    let call = (scene.place.at(CARRIER_SIDE, 5060), CALLER, CALLED);
    let local = scene.place.at(CARRIER_A, 5060);
    let sipp = Sipp::start(scene.dir(), "uac_100rel.xml", transport, local, Some(call));
    let (invite, callee) = teams.invited();
    assert!(!String::from_utf8_lossy(&invite.msg.raw).contains("100rel"), "{}", invite.msg);
    let mut far = MediaEnd::new(teams.place.ip(PROXY), 7930);
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    callee.reply(&invite, "183 Session Progress", "", &sdp);
    callee.reply(&invite, "200 OK", "", &sdp);
    let acked = callee.take("ACK").at;
    let ended = callee.hung_up().at;
    sipp.finish();
    // The carrier's call lasts 1.5 s, and begins when the 183 is 1.5 s old.
    assert!(ended - acked > Duration::from_secs(2), "{:?}", ended - acked);
    assert_eq!(teams.audit(), [""; 0]);
    let record = gateway.wait_records(1).remove(0);
    assert!(!record["t_answer"].is_null(), "{record}");
}

#[test]
fn tr_039_sipp_that_requires_100rel_calls_teams_over_udp() {
    sipp_requires_it("tr_039_udp", "udp");
}

#[test]
fn tr_039_sipp_that_requires_100rel_calls_teams_over_tcp() {
    sipp_requires_it("tr_039_tcp", "tcp");
}

/// TR-039: PJSIP as Teams calls SIPp, which rings reliably, repeats itself and answers without SDP. Media as ever.
#[test]
fn tr_039_teams_calls_sipp_that_rings_reliably() {
    let mut stage = Stage::with("tr_039_called", "udp", |_| REQUIRED.to_owned());
    let sipp = stage.sipp_answers_as("uas_100rel.xml");
    stage.teams_calls();
    stage.teams.state("CONFIRMED");
    stage.teams.hears(60);
    stage.teams.hang_up();
    stage.teams.state("DISCONNECTED");
    sipp.finish();
    stage.end(1).media_is_equal(6000, 40);
}

/// How many PRACKs a client sent, and how many it got.
fn acknowledged(peer: &Pjsip) -> [usize; 2] {
    let count = |received: bool| {
        let all = peer.messages().into_iter().filter(|(got, _)| *got == received);
        all.filter(|(_, msg)| msg.is_request() && msg.method() == "PRACK").count()
    };
    [count(false), count(true)]
}

/// TR-039: PJSIP with 100rel mandatory as the carrier, calling and called.
#[test]
fn tr_039_pjsip_that_requires_100rel_as_the_carrier() {
    let mut stage = Stage::new("tr_039_pjsip", "udp");
    let mut carrier = pjsip_requiring_100rel(&stage.scene, "udp");
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    hear_each_other(&mut carrier, &mut stage.teams);
    let [sent, _] = acknowledged(&carrier);
    assert!(sent >= 1, "PJSIP has acknowledged our ringing");
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    stage.teams_calls();
    carrier.wait(&json!({"event": "incoming"}));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    hear_each_other(&mut carrier, &mut stage.teams);
    let [_, got] = acknowledged(&carrier);
    assert!(got >= 1, "we have acknowledged PJSIP's ringing");
    carrier.hang_up();
    stage.teams.state("DISCONNECTED");
    carrier.state("DISCONNECTED");
    carrier.finish();
    stage.end(2);
}

/// TR-038: the carrier describes an announcement, moves it by UPDATE before the answer, and refreshes by UPDATE
/// afterwards. Teams hears it from both places and is asked for nothing.
#[test]
fn tr_038_tr_039_an_update_of_the_carrier_before_the_answer_moves_its_media() {
    let mut scene = Scene::new("tr_038_early_update");
    scene.trunk("carrier-a", "udp", CARRIER_A, "").usual_tenant();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let own = Crypto::fresh(1, CM_80);
    let mut far = MediaEnd::new(teams.place.ip(PROXY), 7100);
    let flow = teams.connect("t001.sbc.test");
    let offer = far.secure_sdp(&[&own], "sendrecv", "");
    let mut caller = teams.call(&flow, "t001.sbc.test", CALLED, "+442079460001", &offer);
    let (invite, mut callee) = carrier.invited();
    assert!(invite.msg.need("Supported").contains("100rel"), "{}", invite.msg);
    let mut near = MediaEnd::new(carrier.ip(), 7100);
    let reliable = "Require: 100rel\r\nRSeq: 77\r\n";
    callee.reply(&invite, "183 Session Progress", reliable, &near.plain_sdp("sendrecv"));
    let prack = callee.take("PRACK");
    let (cseq, _) = invite.msg.cseq();
    assert_eq!(prack.msg.need("RAck"), format!("77 {cseq} INVITE"));
    callee.reply(&prack, "200 OK", "", "");
    let early = caller.response(183);
    near.towards(&invite.msg);
    far.secure(&own, &Crypto::of(&early.msg));
    far.towards(&early.msg);
    talk(&mut near, &mut far, 20);
    // Elsewhere.
    let mut moved = MediaEnd::new(carrier.ip(), 7200);
    let answer = callee.ask("UPDATE", "", &moved.plain_sdp("sendrecv"));
    assert_eq!(answer.msg.status(), 200, "{}", answer.msg);
    moved.towards(&answer.msg);
    talk(&mut moved, &mut far, 20);
    callee.reply(&invite, "200 OK", "", "");
    caller.response(200);
    caller.ack();
    callee.take("ACK");
    talk(&mut moved, &mut far, 20);
    let refreshed = callee.ask("UPDATE", "", "");
    assert_eq!((refreshed.msg.status(), refreshed.msg.body.len()), (200, 0), "{}", refreshed.msg);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(teams.audit(), [""; 0]);
    let asked = teams.inbox.all().into_iter().filter(|r| r.msg.is_request());
    let asked: Vec<_> = asked.map(|r| r.msg.method().to_owned()).collect();
    assert!(asked.iter().all(|method| method == "OPTIONS"), "{asked:?}");
    caller.hang_up();
    callee.hung_up();
}
