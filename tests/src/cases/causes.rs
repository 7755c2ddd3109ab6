//! Why a call failed, on the wire and for the operator: the same words in the record, in the log and in
//! docs/why-did-my-call-fail.md (TR-071).

use crate::harness::media::MediaEnd;
use crate::harness::place::CARRIER_A;
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, CALLER};

const GUID: &str = "0900a0b8-ffff-4f45-b1bd-000000000002";
const DOCUMENT: &str = include_str!("../../../docs/why-did-my-call-fail.md");

#[test]
fn tr_071_record_log_and_document_say_what_to_check() {
    let scene = Scene::usual("tr_071");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let sdp = MediaEnd::new(carrier.ip(), 7600).plain_sdp("sendrecv");
    for (n, (status, text, code)) in [
        ("404 Not Found", "511404", Some(511_404)),
        ("403 Forbidden", "No trunk config", Some(510_532)),
        ("403 Forbidden", "560403", Some(560_403)),
        ("480 Temporarily Unavailable", "User offline", None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut call = carrier.call(CALLER, CALLED, &sdp);
        let (invite, callee) = teams.invited();
        let reason = format!("REASON: Q.850;cause=1;text=\"{GUID};{text}\"\r\n");
        callee.reply(&invite, status, &reason, "");
        assert!(status.starts_with(&call.final_response().msg.status().to_string()));
        call.ack_failure();
        let record = &gateway.wait_records(n + 1)[n];
        let cause = &record["cause"];
        assert_eq!(cause.get("code").and_then(serde_json::Value::as_u64), code, "{record}");
        assert_eq!((&record["ended_by"], &cause["fault"]), (&"callee".into(), &"callee".into()));
        let check = cause["check"].as_str().expect("what to check");
        let meaning = cause["meaning"].as_str().expect("what it means");
        assert!(DOCUMENT.contains(&format!("| {meaning} | {check} |")), "{record}");
        let id = record["id"].as_str().expect("an id");
        gateway.until("the log says so", || {
            let log = gateway.log();
            let mut lines =
                log.lines().filter(|line| line.contains("call ended") && line.contains(id));
            lines.next().is_some_and(|line| line.contains(check) && line.contains(meaning))
        });
    }
    // Refused here.
    let mut call = carrier.call(CALLER, "+15559990001", &sdp);
    assert_eq!(call.final_response().msg.status(), 404);
    call.ack_failure();
    let records = gateway.wait_records(5);
    assert!(records[4]["cause"]["check"].as_str().is_some_and(|it| it.contains("inbound_trunks")));
}
