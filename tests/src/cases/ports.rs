//! Media ports run out: calls beyond are refused with a cause, those that are up notice nothing, and ports that come back
//! carry nothing of the call before.

use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, CALLER, Talking};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

#[test]
fn calls_beyond_the_ports_are_503_with_a_cause_and_those_that_are_up_go_on() {
    let mut scene = Scene::new("ports");
    // Three pairs on each side.
    scene.ports("20000-20005").usual_ends();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut up: Vec<_> =
        (0..3).map(|n| Talking::incoming_from(&teams, &carrier, CALLED, 7000 + 4 * n)).collect();
    gateway.until("none is free", || gateway.figure("trunkgate_free_port_pairs") == 0.0);
    let plain = MediaEnd::new(carrier.ip(), 7090).plain_sdp("sendrecv");
    let keys = Crypto::fresh(1, CM_80);
    let secure = MediaEnd::new(scene.place.ip(PROXY), 7090).secure_sdp(&[&keys], "sendrecv", "");
    for round in 0..5 {
        for from_teams in [false, true] {
            let mut call = if from_teams {
                teams.call(&flow, TENANT, CALLED, NUMBER, &secure)
            } else {
                carrier.call(CALLER, CALLED, &plain)
            };
            let refusal = call.final_response().msg;
            assert_eq!(refusal.status(), 503, "{refusal}");
            assert_eq!(refusal.need("Retry-After"), "2", "{refusal}");
            assert!(refusal.need("Reason").contains("cause=34"), "{refusal}");
            call.ack_failure();
        }
        up.iter_mut().for_each(Talking::talk);
        // Its end goes on sending for a while: what comes to the ports is not the next call's.
        let gone = up.remove(0);
        let Talking { teams: far, carrier: mut near, mut carrier_media, .. } = gone;
        near.send("BYE", "", "");
        far.hung_up();
        near.took_200("BYE");
        let called = (CALLED, 7012 + 4 * round);
        let mut next = if round % 2 == 0 {
            Talking::incoming_from(&teams, &carrier, called.0, called.1)
        } else {
            Talking::outgoing_from(&teams, &flow, TENANT, &carrier, (NUMBER, called.1))
        };
        next.talk();
        for _ in 0..20 {
            carrier_media.speak();
        }
        next.talk();
        assert!(carrier_media.hear().is_empty(), "nothing of the next call");
        up.push(next);
    }
    assert_eq!(gateway.count("trunkgate_calls_ended_total{cause=\"no_ports\"}"), 10.0);
    for call in up {
        call.teams_hangs_up();
    }
    let records = gateway.wait_records(18);
    let refused: Vec<_> = records.iter().filter(|r| r["cause"]["sip"] == 503).collect();
    assert_eq!(refused.len(), 10);
    assert!(
        refused.iter().all(|r| r["cause"]["q850"] == 34 && r["attempts"] == serde_json::json!([]))
    );
    teams.not_invited();
    carrier.not_invited();
    gateway.until("all are back", || gateway.figure("trunkgate_free_port_pairs") == 6.0);
}
