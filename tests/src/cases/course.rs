//! The course of a call: refusals, CANCEL, BYE, hold, records, draining.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, CALLER, Talking};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// Over UDP and over TCP, in both directions, ended by either side.
#[test]
fn raw_calls_over_udp_and_tcp_ended_by_either_side() {
    for transport in ["udp", "tcp"] {
        let mut scene = Scene::new("raw_calls");
        scene.trunk("carrier-a", transport, CARRIER_A, "").usual_tenant();
        let teams = scene.teams();
        let gateway = scene.start();
        let carrier = if transport == "udp" {
            scene.carrier_udp(CARRIER_A)
        } else {
            scene.carrier_tcp(CARRIER_A)
        };
        gateway.healthy();
        let flow = teams.connect(TENANT);
        for by_carrier in [true, false] {
            for incoming in [true, false] {
                let mut call = Talking::either(incoming, &teams, &flow, &carrier);
                call.talk();
                if by_carrier { call.carrier_hangs_up() } else { call.teams_hangs_up() }
            }
        }
        let records = gateway.wait_records(4);
        let ended: Vec<_> = records.iter().map(|r| r["ended_by"].as_str().unwrap()).collect();
        assert_eq!(ended, ["caller", "callee", "callee", "caller"]);
    }
}

#[test]
fn refusals_keep_their_status_in_both_directions() {
    let scene = Scene::usual("refusals");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let media = MediaEnd::new(carrier.ip(), 7000);
    let secure = MediaEnd::new(scene.place.ip(PROXY), 7000);
    for status in ["486 Busy Here", "603 Decline", "404 Not Found", "480 Temporarily Unavailable"] {
        let number: u16 = status[..3].parse().unwrap();
        let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        callee.reply(&invite, status, "", "");
        assert_eq!(caller.final_response().msg.status(), number);
        caller.ack_failure();
        callee.take("ACK");
        let offer = secure.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
        let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
        let (invite, callee) = carrier.invited();
        callee.reply(&invite, status, "", "");
        assert_eq!(caller.final_response().msg.status(), number);
        caller.ack_failure();
        callee.take("ACK");
    }
    teams.not_invited();
    carrier.not_invited();
    let records = gateway.wait_records(8);
    assert!(records.iter().all(|r| r["t_answer"].is_null()), "{records:?}");
}

#[test]
fn teams_cancels_and_the_carrier_stops_ringing() {
    let scene = Scene::usual("teams_cancels");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let media = MediaEnd::new(scene.place.ip(PROXY), 7000);
    let offer = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
    let (invite, callee) = carrier.invited();
    callee.reply(&invite, "180 Ringing", "", "");
    caller.response(180);
    caller.cancel("");
    caller.took_200("CANCEL");
    assert_eq!(caller.final_response().msg.status(), 487);
    caller.ack_failure();
    let cancel = callee.take("CANCEL");
    callee.reply(&cancel, "200 OK", "", "");
    callee.reply(&invite, "487 Request Terminated", "", "");
    callee.take("ACK");
    let record = &gateway.wait_records(1)[0];
    assert!(record["t_answer"].is_null() && !record["t_ring"].is_null(), "{record}");
}

/// The answer crosses the CANCEL: the call that nobody wants any more is ended, not lost.
#[test]
fn a_200_that_crosses_cancel_is_acked_and_ended() {
    let scene = Scene::usual("crossing");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let media = MediaEnd::new(carrier.ip(), 7000);
    let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
    let (invite, callee) = teams.invited();
    callee.reply(&invite, "180 Ringing", "", "");
    caller.response(180);
    let mut secure = MediaEnd::new(scene.place.ip(PROXY), 7000);
    let (sdp, _, _) = crate::harness::talking::answer_to(&mut secure, &invite.msg);
    caller.cancel("");
    caller.took_200("CANCEL");
    let cancel = callee.take("CANCEL");
    callee.reply(&invite, "200 OK", "", &sdp);
    callee.reply(&cancel, "481 Call/Transaction Does Not Exist", "", "");
    callee.take("ACK");
    callee.hung_up();
    assert_eq!(caller.final_response().msg.status(), 487);
    caller.ack_failure();
}

/// TR-050 and TR-051 in short: the trunk's hold is inactive for Teams and the other way round, and
/// afterwards both hear each other again.
#[test]
fn hold_and_resume_both_ways() {
    let scene = Scene::usual("hold");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    for incoming in [true, false] {
        let mut call = Talking::either(incoming, &teams, &flow, &carrier);
        call.talk();
        for (direction, answer) in
            [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")]
        {
            let (offer, done) = call.carrier_offers(direction, "inactive");
            assert_eq!(offer.msg.direction(), "inactive", "{}", offer.msg);
            assert!(["inactive", answer].contains(&done.direction()), "{done}");
            call.is_silent();
            let (offer, done) = call.carrier_offers("sendrecv", "sendrecv");
            assert_eq!(offer.msg.direction(), "sendrecv");
            assert_eq!(done.direction(), "sendrecv");
            call.talk();
        }
        let (offer, done) = call.teams_offers("inactive", "inactive");
        assert!(matches!(offer.msg.direction(), "inactive" | "sendonly"), "{}", offer.msg);
        assert_eq!(done.direction(), "inactive");
        call.is_silent();
        let (offer, done) = call.teams_offers("sendrecv", "sendrecv");
        assert_eq!(offer.msg.direction(), "sendrecv");
        assert_eq!(done.direction(), "sendrecv");
        call.talk();
        call.carrier_hangs_up();
    }
}

/// The old way to hold (RFC 2543): c=0.0.0.0.
#[test]
fn tr_050_hold_by_a_null_address() {
    let scene = Scene::usual("null_address");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let sdp = call.carrier_media.plain_sdp("sendrecv");
    let held = sdp.replace(&format!("c=IN IP4 {}", carrier.ip()), "c=IN IP4 0.0.0.0");
    call.carrier.send("INVITE", "", &held);
    let offer = call.teams.take("INVITE");
    assert_eq!(offer.msg.direction(), "inactive", "{}", offer.msg);
    assert!(!offer.msg.body.contains("0.0.0.0"), "{}", offer.msg);
    let mux = if call.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
    let answer = call.teams_media.secure_sdp(&[&call.own], "inactive", mux);
    call.teams.reply(&offer, "200 OK", "", &answer);
    call.carrier.response(200);
    call.carrier.ack();
    call.teams.take("ACK");
    call.is_silent();
    call.carrier_offers("sendrecv", "sendrecv");
    call.talk();
    call.carrier_hangs_up();
}

/// Both sides offer at the same moment: one gets 491 and nobody loses the call (RFC 3261 §14.1).
#[test]
fn offers_that_cross_are_refused_with_491_and_the_call_lives() {
    let scene = Scene::usual("glare");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let hold = call.carrier_media.plain_sdp("sendonly");
    call.carrier.send("INVITE", "", &hold);
    let offer = call.teams.take("INVITE");
    // Before it answers, Teams offers too.
    let mux = if call.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
    let sdp = call.teams_media.secure_sdp(&[&call.own], "inactive", mux);
    let glare = call.teams.ask("INVITE", "", &sdp);
    assert_eq!(glare.msg.status(), 491, "{}", glare.msg);
    let ack = sdp_answer(&call, "inactive");
    call.teams.reply(&offer, "200 OK", "", &ack);
    call.carrier.response(200);
    call.carrier.ack();
    call.teams.take("ACK");
    call.carrier_offers("sendrecv", "sendrecv");
    call.talk();
    call.teams_hangs_up();
}

fn sdp_answer(call: &Talking, direction: &str) -> String {
    let mux = if call.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
    call.teams_media.secure_sdp(&[&call.own], direction, mux)
}

/// A refused re-INVITE leaves the call as it was (RFC 3261 §14.1).
#[test]
fn a_refused_offer_changes_nothing() {
    let scene = Scene::usual("refused_offer");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let hold = call.carrier_media.plain_sdp("sendonly");
    call.carrier.send("INVITE", "", &hold);
    let offer = call.teams.take("INVITE");
    call.teams.reply(&offer, "488 Not Acceptable Here", "", "");
    call.teams.take("ACK");
    let refusal = call.carrier.final_response();
    assert_eq!(refusal.msg.status(), 488, "{}", refusal.msg);
    call.talk();
    call.carrier_hangs_up();
}

/// Video and a second audio stream are refused by port 0; the order of the lines stays.
#[test]
fn other_media_are_refused_by_port_zero() {
    let scene = Scene::usual("video");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let own = Crypto::fresh(1, CM_80);
    let mut near = MediaEnd::new(scene.place.ip(PROXY), 7200);
    let mut far = MediaEnd::new(carrier.ip(), 7200);
    let video = format!(
        "m=video 7300 RTP/SAVP 122\r\na=rtpmap:122 H264/90000\r\na=crypto:1 {} inline:{}\r\nm=application 7400 TCP/RTP/SAVP 127\r\n",
        own.suite, own.key
    );
    let offer = near.secure_sdp(&[&own], "sendrecv", "") + &video;
    let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
    let (invite, callee) = carrier.invited();
    assert_eq!(invite.msg.body.matches("m=").count(), 1, "{}", invite.msg);
    callee.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
    far.towards(&invite.msg);
    let answer = caller.response(200);
    caller.ack();
    let lines: Vec<_> = answer.msg.body.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(lines.len(), 3, "{}", answer.msg);
    assert!(
        lines[1].starts_with("m=video 0 ") && lines[2].starts_with("m=application 0 "),
        "{lines:?}"
    );
    near.secure(&own, &Crypto::of(&answer.msg));
    near.towards(&answer.msg);
    crate::harness::media::talk(&mut near, &mut far, 40);
    caller.hang_up();
}

/// TR-040 in short: the timer that Teams asks for is agreed; TR-041: 422 is obeyed.
#[test]
fn tr_040_tr_041_session_timers() {
    let scene = Scene::usual("timers");
    let (mut teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    teams
        .persona
        .extra
        .push_str("SUPPORTED: timer\r\nSESSION-EXPIRES: 1800;refresher=uac\r\nMIN-SE: 90\r\n");
    let flow = teams.connect(TENANT);
    let call = Talking::outgoing(&teams, &flow, TENANT, &carrier, NUMBER);
    let agreed = call.answer.need("Session-Expires");
    assert!(agreed.starts_with("1800") && agreed.contains("refresher=uac"), "{agreed}");
    call.teams_hangs_up();
}

/// SIGHUP with nothing changed disturbs nobody.
#[test]
fn sighup_leaves_calls_alone() {
    let scene = Scene::usual("sighup");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    gateway.signal(Signal::HUP);
    call.talk();
    assert!(gateway.is_running());
    call.carrier_hangs_up();
    let call = Talking::incoming_from(&teams, &carrier, CALLED, 7040);
    call.carrier_hangs_up();
}

/// A TCP trunk closes its connection in mid-call: we dial its Contact.
#[test]
fn a_trunk_that_closed_its_connection_is_dialled_again() {
    let mut scene = Scene::new("tcp_again");
    scene.trunk("carrier-a", "tcp", CARRIER_A, "").usual_tenant();
    let teams = scene.teams();
    let gateway = scene.start();
    let carrier = scene.carrier_tcp(CARRIER_A);
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    carrier.flow.close();
    call.teams.send("BYE", "", "");
    call.carrier.hung_up();
    call.teams.took_200("BYE");
}

#[test]
fn one_record_for_each_call() {
    let scene = Scene::usual("records");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let ids = [call.carrier.call_id.clone(), call.teams.call_id.clone()];
    call.talk();
    call.carrier_hangs_up();
    let records = gateway.wait_records(1);
    assert_eq!(records.len(), 1);
    let record = &records[0];
    let text = |path: &str| {
        record
            .pointer(path)
            .and_then(|v| v.as_str())
            .unwrap_or_else(|| panic!("{path} in {record}"))
            .to_owned()
    };
    assert_eq!(text("/id").len(), 36);
    assert_eq!(text("/id").as_bytes()[14], b'7', "a UUIDv7");
    assert_eq!(text("/node"), "a");
    assert_eq!(text("/legs/0/trunk"), "carrier-a");
    assert_eq!(text("/legs/1/tenant"), "t001");
    assert_eq!([text("/legs/0/call_id"), text("/legs/1/call_id")], ids);
    for leg in 0..2 {
        assert!(text(&format!("/legs/{leg}/caller")).contains(CALLER), "{record}");
        assert!(text(&format!("/legs/{leg}/called")).contains(CALLED), "{record}");
    }
    assert_eq!(text("/legs/1/correlation_id"), "6b2c5fc2-9a3e-5a0d-8e4b-1f0a7c3d2e10");
    let times = ["/t_invite", "/t_ring", "/t_answer", "/t_end"].map(text);
    assert!(times.is_sorted(), "{times:?}");
    for time in &times {
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    }
    assert_eq!(text("/ended_by"), "caller");
    assert_eq!(record["cause"]["sip"], 200);
    assert_eq!(record["cause"]["q850"], 16);
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1));
    for direction in record["media"].as_array().expect("media") {
        assert!(direction["relayed"].as_u64() >= Some(38), "{record}");
    }
    let files: Vec<_> = fs::read_dir(gateway.cdr_dir()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let log = gateway.log();
    assert!(
        !log.contains(&CALLER[1..]) && !log.contains(&CALLED[1..]),
        "a number in the log:\n{log}"
    );
}

#[test]
fn sigterm_drains_and_the_call_goes_on() {
    let scene = Scene::usual("drain");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    gateway.signal(Signal::TERM);
    gateway.until("draining", || gateway.get("/health").0 != 200);
    let media = MediaEnd::new(carrier.ip(), 7010);
    let mut late = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
    let refusal = late.final_response();
    assert_eq!(refusal.msg.status(), 503, "{}", refusal.msg);
    late.ack_failure();
    teams.not_invited();
    call.talk();
    call.carrier_offers("sendonly", "inactive");
    call.carrier_offers("sendrecv", "sendrecv");
    call.talk();
    assert!(gateway.is_running());
    call.teams_hangs_up();
    let status = gateway.wait(Duration::from_secs(8));
    assert!(status.success(), "{status}:\n{}", gateway.log());
    assert!(!gateway.records().is_empty());
}

#[test]
fn tr_073_options_get_503_while_the_gateway_drains() {
    let scene = Scene::usual("tr_073");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("t001.sbc.test");
    let status = |id: String| teams.inbox.take("OPTIONS", |r| r.msg.call_id() == id).msg.status();
    assert_eq!(status(teams.ping(&flow, "t001.sbc.test")), 200);
    let call = Talking::incoming(&teams, &carrier, CALLED);
    gateway.signal(Signal::TERM);
    gateway.until("draining", || gateway.get("/health").0 != 200);
    assert_eq!(status(teams.ping(&flow, "t001.sbc.test")), 503);
    call.carrier_hangs_up();
    assert!(gateway.wait(Duration::from_secs(8)).success());
}

#[test]
fn calls_beyond_the_limit_of_a_drain_are_ended() {
    let mut scene = Scene::usual("drain_limit");
    scene.gateway_keys("drain = \"2s\"");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let call = Talking::incoming(&teams, &carrier, CALLED);
    let begun = std::time::Instant::now();
    gateway.signal(Signal::TERM);
    call.teams.hung_up();
    call.carrier.hung_up();
    assert!(gateway.wait(Duration::from_secs(8)).success());
    assert!((2..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(gateway.records()[0]["ended_by"], "gateway");
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let scene = Scene::usual("stop");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let call = Talking::incoming(&teams, &carrier, CALLED);
    gateway.signal(Signal::TERM);
    gateway.until("draining", || gateway.get("/health").0 != 200);
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_secs(4));
    // Nobody is left in a dead call without being told, and the call is on record.
    call.teams.take("BYE");
    call.carrier.take("BYE");
    assert_eq!(gateway.records().len(), 1);
}

#[test]
fn admin_pages() {
    let scene = Scene::usual("admin");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    assert_eq!(gateway.get("/live").0, 200);
    assert_eq!(gateway.get("/nowhere").0, 404);
    let call = Talking::incoming(&teams, &carrier, CALLED);
    let (status, text) = gateway.get("/metrics");
    assert_eq!(status, 200);
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("metric {line:?}"));
        assert!(name.starts_with("trunkgate_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    call.teams_hangs_up();
}
