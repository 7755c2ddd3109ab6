//! Calls that Teams or a trunk has sent on, on the wire: who is told of whom, and the end of a loop (TR-069).

use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::Scene;
use crate::harness::sip::Msg;
use crate::harness::talking::{CALLED, CALLER};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// The usual one, with keys of its trunk.
fn scene(test: &str, keys: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.trunk("carrier-a", "udp", CARRIER_A, keys).usual_tenant();
    scene
}

fn offer(scene: &Scene) -> String {
    let media = MediaEnd::new(scene.place.ip(PROXY), 7400);
    media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "")
}

fn lines(msg: &Msg, name: &str) -> Vec<String> {
    msg.all(name).map(str::to_owned).collect()
}

/// History-Info as Teams writes it: of one user who did not answer.
fn history(number: &str) -> String {
    format!(
        "HISTORY-INFO: <sip:{number}@sip.teams.test;user=phone?Reason=SIP%3Bcause%3D408%3Btext%3D%22Request%20Timeout%22>;index=1,\
         <sip:{NUMBER}@sip.teams.test;user=phone>;index=1.1\r\n\
         REFERRED-BY: <sip:{number}@sip.teams.test;x-m=8:orgid:9A8b;x-tt=aBc%3D>\r\n"
    )
}

#[test]
fn tr_069_a_forwarded_call_reaches_the_trunk_in_the_trunks_words() {
    for (keys, name, want) in [
        ("", "Diversion", &[";reason=no-answer;privacy=off;counter=1"][..]),
        (
            "diversion = \"history-info\"",
            "History-Info",
            &["?Reason=SIP%3Bcause%3D408>;index=1", ";cause=408>;index=1.1;mp=1"][..],
        ),
        ("diversion = \"none\"", "Diversion", &[][..]),
    ] {
        let scene = scene("tr_069_out", keys);
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let flow = teams.connect(TENANT);
        // Of its own number; then of somebody else's, which is not passed.
        for (number, told) in [(CALLED, true), ("+442071230009", false)] {
            let parties = [CALLER, NUMBER];
            let mut call =
                teams.call_with(&flow, TENANT, parties, &history(number), &offer(&scene));
            let (invite, callee) = carrier.invited();
            let shown = lines(&invite.msg, name);
            let want = if told { want } else { &[] };
            assert_eq!(shown.len(), want.len(), "{}", invite.msg);
            for (line, end) in shown.iter().zip(want) {
                assert!(line.ends_with(end), "{line}");
            }
            assert!(!shown.iter().any(|line| line.contains("teams.test")), "{shown:?}");
            for other in ["Diversion", "History-Info", "Referred-By"] {
                assert!(other == name || invite.msg.get(other).is_none(), "{}", invite.msg);
            }
            callee.reply(&invite, "486 Busy Here", "", "");
            assert_eq!(call.final_response().msg.status(), 486);
            call.ack_failure();
        }
        let records = gateway.wait_records(2);
        assert_eq!(records[0]["legs"][0]["diverted_by"], CALLED);
        assert_eq!(records[1]["legs"][0].get("diverted_by"), Some(&"+442071230009".into()));
    }
}

#[test]
fn tr_069_teams_gets_history_info_and_nothing_else_of_it() {
    let scene = scene("tr_069_in", "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let by = "<sip:+442071230009@192.0.2.7;user=phone>";
    let want = [
        "<sip:+442071230009@t001.sbc.test;user=phone?Reason=SIP%3Bcause%3D486>;index=1".to_owned(),
        format!("<sip:{CALLED}@t001.sbc.test;user=phone;cause=486>;index=1.1;mp=1"),
    ];
    let sdp = MediaEnd::new(carrier.ip(), 7400).plain_sdp("sendrecv");
    for extra in [
        format!("Diversion: {by};reason=user-busy;limit=3;X=y\r\n"),
        format!("History-Info: {by};index=1,<sip:a@192.0.2.9;cause=486>;index=1.1;mp=1\r\n"),
    ] {
        let mut call = carrier.call_with(CALLER, CALLED, &extra, &sdp);
        let (invite, callee) = teams.invited();
        assert_eq!(lines(&invite.msg, "History-Info"), want);
        assert!(invite.msg.get("Diversion").is_none(), "{}", invite.msg);
        callee.reply(&invite, "486 Busy Here", "", "");
        assert_eq!(call.final_response().msg.status(), 486);
        call.ack_failure();
    }
}

/// A user forwards to a number that leads back to the user: each pass is one diversion more, until there are five.
#[test]
fn tr_069_at_51_a_loop_of_forwarding_ends_after_five_passes() {
    let scene = scene("tr_069_loop", "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let sdp = MediaEnd::new(carrier.ip(), 7400).plain_sdp("sendrecv");
    let secure = offer(&scene);
    let (mut passes, mut told) = (Vec::new(), String::new());
    let mut last = loop {
        let from_trunk = carrier.call_with(CALLER, CALLED, &told, &sdp);
        let (to_teams, teams_leg) = teams.invited();
        let mut entries = lines(&to_teams.msg, "History-Info");
        // The last one is who is called: it sends the call on.
        entries.pop();
        let index = "1".to_owned() + &".1".repeat(entries.len());
        entries.push(format!("<sip:{CALLED}@x?Reason=SIP%3Bcause%3D302>;index={index}"));
        let extra = format!("HISTORY-INFO: {}\r\n", entries.join(","));
        let mut from_teams = teams.call_with(&flow, TENANT, [CALLER, NUMBER], &extra, &secure);
        passes.push((from_trunk, to_teams, teams_leg));
        if passes.len() == 5 {
            assert_eq!(from_teams.final_response().msg.status(), 482);
            from_teams.ack_failure();
            break passes;
        }
        let (to_trunk, trunk_leg) = carrier.invited();
        let lines = lines(&to_trunk.msg, "Diversion");
        assert_eq!(lines.len(), passes.len());
        told = lines.iter().map(|line| format!("Diversion: {line}\r\n")).collect();
        // The forwarded leg is refused at once: only how it is told matters here.
        trunk_leg.reply(&to_trunk, "486 Busy Here", "", "");
        assert_eq!(from_teams.final_response().msg.status(), 486);
        from_teams.ack_failure();
    };
    for (from_trunk, to_teams, teams_leg) in &mut last {
        teams_leg.reply(to_teams, "482 Loop Detected", "", "");
        assert_eq!(from_trunk.final_response().msg.status(), 482);
        from_trunk.ack_failure();
    }
    let records = gateway.wait_records(10);
    let text = "the call goes round: diverted, or under way, five times";
    assert_eq!(records.iter().filter(|record| record["cause"]["text"] == text).count(), 1);
    assert_eq!(gateway.figure("trunkgate_calls_ended_total{cause=\"diverted_too_often\"}"), 1.0);
}

/// AT-18, AT-23: nothing of a damaged or huge header comes out on the other side, and the call goes on.
#[test]
fn tr_069_damaged_and_huge_headers_end_here() {
    let scene = scene("tr_069_bad", "trusted = true");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let long = "a".repeat(20_000);
    for extra in [
        "HISTORY-INFO: <sip:+15550010001%0d%0aX-Evil:%201@x?Reason=SIP%3Bcause%3D302>;index=1\r\n"
            .to_owned(),
        "HISTORY-INFO: <sip:+15550010001@x?Reason=SIP%3Bcause%3D302%0d%0aX-Evil>;index=\"\r\n"
            .to_owned(),
        format!("HISTORY-INFO: <sip:{long}@x?Reason=SIP%3Bcause%3D302>;index=1\r\n"),
        format!("HISTORY-INFO: <sip:x@x?Reason={long}>;index=1\r\nREFERRED-BY: <sip:{long}@x>\r\n"),
        format!(
            "DIVERSION: \"{long}\" <sip:+15550010001;phone-context={long}@x>;reason={long}\r\n"
        ),
        "DIVERSION: ;;;=,<,>,\"\r\nHISTORY-INFO: \r\nREFERRED-BY: <<>>\r\n".to_owned(),
    ] {
        let mut call = teams.call_with(&flow, TENANT, [CALLER, NUMBER], &extra, &offer(&scene));
        let (invite, callee) = carrier.invited();
        assert!(
            invite.msg.raw.len() < 3000 && invite.msg.get("X-Evil").is_none(),
            "{}",
            invite.msg
        );
        callee.reply(&invite, "486 Busy Here", "", "");
        assert_eq!(call.final_response().msg.status(), 486, "{extra:.80}");
        call.ack_failure();
    }
}
