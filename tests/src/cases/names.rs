//! Names that cannot be looked up (R09).

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::dns::{Mood, NameServer};
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_B, DNS, PROXY};
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, CALLER};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// R09: the name server fails or falls silent, longer than its answers hold. Calls to names that were known go on both ways,
/// at once; a call to a name that never was fails by itself and holds up nobody. (Ten minutes of it: on virtual time.)
#[test]
fn r09_calls_to_known_names_go_on_while_dns_fails() {
    let mut scene = Scene::new("r09");
    let place = scene.place;
    scene
        .forget_hosts()
        .trunk_text(&format!(
            "name = \"carrier-a\"\npeers = [\"udp:gw.carrier.test:5060\"]\nnetworks = [\"{}/32\"]",
            place.ip(CARRIER_A)
        ))
        .trunk_text(&format!(
            "name = \"carrier-b\"\npeers = [\"udp:gw.nowhere.test:5060\"]\nnetworks = [\"{}/32\"]",
            place.ip(CARRIER_B)
        ))
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "")
        .tenant("t002", &["carrier-b"], &["+15550020000-+15550029999"], "");
    let names = [("sip.teams.test", PROXY), ("gw.carrier.test", CARRIER_A)];
    let names = names.map(|(name, host)| (name.to_owned(), place.ip(host)));
    let dns = NameServer::brief(place.at(DNS, 53), HashMap::from(names));
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let (flow, lost) = (teams.connect(TENANT), teams.connect("t002.sbc.test"));
    let media = MediaEnd::new(carrier.ip(), 7000);
    let plain = media.plain_sdp("sendrecv");
    let keys = Crypto::fresh(1, CM_80);
    let secure = MediaEnd::new(place.ip(PROXY), 7000).secure_sdp(&[&keys], "sendrecv", "");
    // One call each way, refused by whom it reached; how long that took at most.
    let both = || {
        let begin = Instant::now();
        let mut caller = carrier.call(CALLER, CALLED, &plain);
        let (invite, callee) = teams.invited();
        let there = invite.at.duration_since(begin);
        callee.is_busy(&invite, &mut caller);
        let begin = Instant::now();
        let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &secure);
        let (invite, callee) = carrier.invited();
        let back = invite.at.duration_since(begin);
        callee.is_busy(&invite, &mut caller);
        there.max(back)
    };
    both();
    let mut made = 0;
    for mood in [Mood::Fails, Mood::Silent] {
        dns.is(mood);
        // What was answered last holds no more.
        thread::sleep(Duration::from_millis(2500));
        let begin = Instant::now();
        let mut unknown = teams.call(&lost, "t002.sbc.test", CALLED, NUMBER, &secure);
        let mut longest = Duration::ZERO;
        while begin.elapsed() < Duration::from_secs(6) {
            longest = longest.max(both());
            made += 2;
            assert_eq!(gateway.get("/live").0, 200);
        }
        println!("R09 {mood:?}: INVITE to a known name after {longest:?} at most");
        assert!(longest < Duration::from_secs(1), "{mood:?}: {longest:?}");
        let refusal = unknown.final_response();
        assert_eq!(refusal.msg.status(), 503, "{}", refusal.msg);
        assert!(refusal.at.duration_since(begin) < Duration::from_secs(8));
        unknown.ack_failure();
        dns.is(Mood::Answers);
        both();
    }
    assert!(made >= 20, "{made} calls");
    assert_eq!(gateway.get("/health").0, 200);
    let records = gateway.wait_records(made + 6 + 2);
    let reached = records.iter().filter(|record| record["cause"]["sip"] == 486).count();
    assert_eq!(reached, made + 6, "no call to a known name failed");
}
