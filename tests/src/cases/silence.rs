//! Sides that fall silent, calls that last too long: what is told, and what ends.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::gateway::Gateway;
use crate::harness::media::MediaEnd;
use crate::harness::place::CARRIER_A;
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, Talking};

/// Packets every 20 ms and RTCP every second, while it fits.
fn speak_while(end: &mut MediaEnd, mut fits: impl FnMut() -> bool) {
    let mut count = 0_u32;
    while fits() {
        end.speak();
        if count.is_multiple_of(50) {
            end.report();
        }
        count += 1;
        thread::sleep(Duration::from_millis(20));
        end.hear();
    }
}

fn media<'a>(record: &'a Value, from: &str) -> &'a Value {
    let media = record["media"].as_array().expect("media");
    media.iter().find(|media| media["from"] == from).unwrap_or_else(|| panic!("{record}"))
}

fn told(gateway: &Gateway, words: &str) -> bool {
    gateway.log().lines().any(|line| line.contains("no audio comes") && line.contains(words))
}

/// The callee is muted on purpose: it sends nothing at all. The log and the figure say so within 5 s of the answer, and
/// the record has the score of the side that spoke and the mark of the one that did not.
#[test]
fn one_way_audio_is_told_within_5_s_and_stands_in_the_record() {
    let scene = Scene::usual("one_way");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let answered = Instant::now();
    speak_while(&mut call.carrier_media, || {
        !told(&gateway, "silent=\"callee\"") && answered.elapsed() < Duration::from_secs(8)
    });
    let after = answered.elapsed();
    assert!(after < Duration::from_secs(5), "{after:?}\n{}", gateway.log());
    eprintln!("one-way audio told {after:?} after the answer");
    let figure = "trunkgate_silent_calls_total{silent=\"callee\"}";
    gateway.until("counted", || gateway.count(figure) > 0.0);
    for other in ["caller", "both"] {
        assert_eq!(
            gateway.count(&format!("trunkgate_silent_calls_total{{silent=\"{other}\"}}")),
            0.0
        );
    }
    // It speaks after all: that is told too.
    for _ in 0..50 {
        call.teams_media.speak();
        call.carrier_media.speak();
        thread::sleep(Duration::from_millis(20));
    }
    gateway.until("told", || gateway.log().contains("audio comes again"));
    call.carrier_hangs_up();
    let records = gateway.wait_records(1);
    eprintln!("{}", records[0]["media"]);
    let (caller, callee) = (media(&records[0], "caller"), media(&records[0], "callee"));
    assert_eq!((&caller["one_way"], &callee["one_way"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!(caller["silent_s"], 0.0);
    let silent = callee["silent_s"].as_f64().unwrap();
    assert!((4.0..8.0).contains(&silent), "{silent}");
    // G.711 without loss, a buffer for the jitter of this machine.
    for side in [caller, callee] {
        let mos = side["mos"].as_f64().unwrap_or_else(|| panic!("no score: {side}"));
        assert!((4.0..=4.41).contains(&mos), "{mos}");
        assert_eq!((&side["codec"], &side["lost"]), (&Value::from("PCMU/8000"), &Value::from(0)));
    }
    assert!(gateway.count("trunkgate_media_mos_count") >= 2.0);
}

/// The trunk speaks and reports; nothing comes from Teams' side, which is dead after 5 s.
#[test]
fn dead_media_end_the_call_on_both_sides() {
    let mut scene = Scene::usual("media_timeout");
    scene.gateway_keys("media_timeout = \"5s\"");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let answered = Instant::now();
    speak_while(&mut call.carrier_media, || answered.elapsed() < Duration::from_millis(4800));
    assert!(gateway.records().is_empty());
    let bye = call.carrier.hung_up();
    let after = answered.elapsed();
    assert!((4.5..6.0).contains(&after.as_secs_f64()), "{after:?}");
    assert_eq!(bye.msg.get("Reason"), Some("Q.850;cause=102"));
    call.teams.hung_up();
    let records = gateway.wait_records(1);
    let cause = &records[0]["cause"];
    assert_eq!(cause["text"], "no media came from the callee for media_timeout");
    assert_eq!((&cause["fault"], &cause["sip"]), (&Value::from("callee"), &Value::from(408)));
    assert_eq!(records[0]["ended_by"], "gateway");
    assert!(gateway.count("trunkgate_calls_ended_total{cause=\"media_timeout\"}") > 0.0);
}

/// TR-051: nobody sends anything while the call is held, for twice the time-out; RTCP of ours goes on, the call too.
#[test]
fn tr_051_a_held_call_is_not_ended_for_want_of_media() {
    let mut scene = Scene::usual("held_timeout");
    scene.gateway_keys("media_timeout = \"5s\"");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    call.teams_offers("inactive", "inactive");
    call.teams_media.hear();
    call.carrier_media.hear();
    let held = Instant::now();
    thread::sleep(Duration::from_secs(11));
    assert!(gateway.records().is_empty());
    assert!(!gateway.log().contains("no audio comes"), "{}", gateway.log());
    call.teams_media.hear();
    call.carrier_media.hear();
    for end in [&call.teams_media, &call.carrier_media] {
        let since = end.reports.iter().filter(|(at, _)| *at > held).count();
        assert!(since >= 2, "{since} reports in 11 s of hold");
    }
    call.teams_offers("sendrecv", "sendrecv");
    call.talk();
    call.teams_hangs_up();
    let records = gateway.wait_records(1);
    assert_eq!(records[0]["cause"]["text"], "hung up");
}

#[test]
fn a_call_that_has_lasted_as_long_as_it_may_is_ended() {
    let mut scene = Scene::new("max_duration");
    scene.trunk("carrier-a", "udp", CARRIER_A, "max_duration = \"1h\"").tenant(
        "t001",
        &["carrier-a"],
        &["+15550010000-+15550019999"],
        "max_duration = \"3s\"",
    );
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let answered = Instant::now();
    call.talk();
    call.carrier.hung_up();
    let after = answered.elapsed();
    assert!((2.3..4.0).contains(&after.as_secs_f64()), "{after:?}");
    call.teams.hung_up();
    let records = gateway.wait_records(1);
    assert_eq!(records[0]["cause"]["text"], "the call has lasted for max_duration");
    assert_eq!(records[0]["cause"]["fault"], "operator");
    assert!(gateway.count("trunkgate_calls_ended_total{cause=\"max_duration\"}") > 0.0);
}
