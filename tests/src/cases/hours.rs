//! Hours of a call through the binary: its clock runs many times as fast as ours (libfaketime), so that its timers, reports
//! and checkpoints are those of hours. libsrtp judges what was on the wire.

use std::thread;
use std::time::{Duration, Instant};

use super::rekeys::{lose, refresh, rekey, rush};
use crate::harness::place::CARRIER_A;
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, Talking};
use crate::harness::tape::{Judged, Tape};

/// How many times as fast as ours the gateway's clock runs.
const TIMES: u32 = 60;
const HOLD: Duration = Duration::from_secs(3600);

/// TR-051, TR-042, TR-044: sixty minutes of hold by Teams, after a rollover, with a refresh each quarter of an hour. All the
/// while both ends get reports, nothing else passes, nobody hangs up. Afterwards both hear each other under the same keys,
/// and under another one of Teams.
#[test]
fn tr_051_sixty_minutes_of_hold_after_a_rollover_and_back() {
    let mut scene = Scene::within("sixty_minutes", Duration::from_secs(180));
    // Over TCP: what is repeated is repeated sixty times as soon.
    scene.times(TIMES).trunk("carrier-a", "tcp", CARRIER_A, "").usual_tenant();
    let teams = scene.teams();
    let gateway = scene.start();
    gateway.until("a proxy is there", || gateway.log().contains("proxy is up"));
    let carrier = scene.carrier_tcp(CARRIER_A);
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let tape = Tape::new(&scene.dir().join("tape"));
    call.carrier_media.track = Some(tape.track(0, false));
    call.teams_media.track = Some(tape.track(0, true));
    let (own, theirs) = (call.own.clone(), call.theirs.clone());
    rush(&mut call, 300);
    lose(&mut call, 70_000);
    rush(&mut call, 300);
    let (_, held) = call.teams_offers("inactive", "inactive");
    assert_eq!(held.direction(), "inactive", "{held}");
    call.is_silent();
    let (begin, mut refreshes) = (Instant::now(), 0);
    while begin.elapsed() * TIMES < HOLD {
        // Teams' own reports, every six seconds.
        thread::sleep(Duration::from_millis(100));
        call.teams_media.report();
        call.carrier_media.report();
        assert_eq!((call.carrier_media.hear(), call.teams_media.hear()), (vec![], vec![]));
        if begin.elapsed() * TIMES > HOLD / 4 * (refreshes + 1) {
            let sdp = call.teams_media.own_sdp("inactive");
            let answer = call.teams.ask("INVITE", "", &sdp).msg;
            call.teams.ack();
            assert_eq!((answer.status(), answer.direction()), (200, "inactive"), "{answer}");
            refreshes += 1;
        }
    }
    assert!(refreshes >= 3, "{refreshes}");
    let (_, back) = call.teams_offers("sendrecv", "sendrecv");
    assert_eq!(back.direction(), "sendrecv", "{back}");
    rush(&mut call, 300);
    refresh(&mut call);
    rush(&mut call, 300);
    rekey(&mut call);
    rush(&mut call, 300);
    call.carrier_media.track = None;
    call.teams_media.track = None;
    call.teams_hangs_up();
    let verdict = tape.judge(&[Judged { call: 0, own, theirs, lives: 0, least: 1500 }]);
    println!("libsrtp: {verdict:?}");
    // One every five seconds at most.
    assert!(verdict.reports >= HOLD.as_secs() / 5, "{verdict:?}");
    let record = &gateway.wait_records(1)[0];
    let at = |key: &str| record[key].as_str().expect(key).to_owned();
    println!("answered {}, ended {}", at("t_answer"), at("t_end"));
    for direction in record["media"].as_array().expect("media") {
        let count = |key: &str| direction[key].as_u64().expect(key);
        assert_eq!([count("refused"), count("foreign")], [0, 0], "{record}");
    }
}
