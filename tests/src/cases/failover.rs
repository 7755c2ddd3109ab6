//! Failing over, with a clock: dead ports, black holes, silent ends, 503 with Retry-After; and who gets the next call.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use lab::pki::{KeyKind, Leaf};

use crate::harness::black_hole::BlackHole;
use crate::harness::dialog::Dialog;
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Scene, Teams, options_without_contact};
use crate::harness::talking::{CALLED, CALLER};
use crate::harness::wire::Received;

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// How a place is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    /// Nobody listens.
    Refused,
    /// The connection never comes to be.
    BlackHole,
    /// The connection is there, TLS and all; INVITEs are swallowed.
    Silent,
}

/// Three proxies of which the first `count` are down in that way.
struct Proxies {
    teams: Teams,
    _silent: Vec<Teams>,
    _holes: Vec<BlackHole>,
}

impl Proxies {
    fn new(scene: &Scene, how: Down, count: u8) -> Self {
        let leaf = Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
        let identity = scene.pki.issue("teams", &leaf).unwrap();
        let server = crate::harness::tls::server(&identity, &scene.ca());
        let start = |auto| Teams::start(scene, 0, auto, &identity, server.clone());
        let mut teams = start(Box::new(options_without_contact));
        let (mut silent, mut holes) = (Vec::new(), Vec::new());
        for host in PROXY..PROXY + 3 {
            let address = scene.place.at(host, 5061);
            if host >= PROXY + count {
                teams.end.listen_tls(address, server.clone());
                continue;
            }
            match how {
                Down::Refused => {}
                Down::BlackHole => holes.push(BlackHole::at(address)),
                Down::Silent => {
                    let mut end = start(Box::new(options_without_contact));
                    end.end.listen_tls(address, server.clone());
                    silent.push(end);
                }
            }
        }
        Self { teams, _silent: silent, _holes: holes }
    }
}

fn offer(teams: &Teams, port: u16) -> String {
    let media = MediaEnd::new(teams.place.ip(PROXY), port);
    media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "")
}

fn report(what: &str, took: Duration) {
    eprintln!("measured: {what}: {} ms", took.as_millis());
}

fn rang(received: &[Received]) -> usize {
    received.iter().filter(|r| (101..200).contains(&r.msg.status())).count()
}

/// sip down: by sip2 within 2.5 s; sip and sip2 down: by sip3 within 5 s.
#[test]
fn r07_sip_down_by_sip2_and_both_down_by_sip3_in_time() {
    for how in [Down::Refused, Down::BlackHole, Down::Silent] {
        for (count, limit) in [(1_u8, 2500), (2, 5000)] {
            let mut scene = Scene::usual("r07");
            scene.proxies(3);
            let proxies = Proxies::new(&scene, how, count);
            let (teams, carrier) = (&proxies.teams, scene.carrier_udp(CARRIER_A));
            // At once: before OPTIONS have told who is down.
            let gateway = scene.start();
            let media = MediaEnd::new(carrier.ip(), 7000);
            let start = Instant::now();
            let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
            let (invite, callee) = teams.invited();
            let took = invite.at.duration_since(start);
            report(&format!("R07 {how:?} {count} down, INVITE by the next"), took);
            assert!(took <= Duration::from_millis(limit), "{how:?} {count}: {took:?}");
            let by = invite.flow.local().ip();
            assert_eq!(by, scene.place.ip(PROXY + count), "{how:?}");
            callee.is_busy(&invite, &mut caller);
            // The next call knows, and loses no time.
            let start = Instant::now();
            let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
            let (invite, callee) = teams.invited();
            let took = invite.at.duration_since(start);
            report(&format!("R07 {how:?} {count} down, INVITE of the next call"), took);
            assert!(took < Duration::from_millis(500), "{how:?} {count}: {took:?}");
            callee.is_busy(&invite, &mut caller);
            teams.not_invited();
            drop(gateway);
        }
    }
}

#[test]
fn tr_033_three_dead_proxies_are_503_in_less_than_8_s() {
    for how in [Down::Refused, Down::BlackHole, Down::Silent] {
        let mut scene = Scene::usual("tr_033_all");
        scene.proxies(3);
        let _proxies = Proxies::new(&scene, how, 3);
        let carrier = scene.carrier_udp(CARRIER_A);
        let _gateway = scene.start();
        let media = MediaEnd::new(carrier.ip(), 7000);
        let start = Instant::now();
        let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
        let refusal = caller.final_response();
        let took = refusal.at.duration_since(start);
        report(&format!("TR-033 {how:?}, 503"), took);
        assert_eq!(refusal.msg.status(), 503, "{how:?}");
        assert!(took < Duration::from_secs(8), "{how:?}: {took:?}");
        assert!(refusal.msg.get("Retry-After").is_none(), "{}", refusal.msg);
        assert_eq!(rang(&carrier.inbox.all()), 0);
        caller.ack_failure();
    }
}

/// 503 with Retry-After: the next proxy at once, another connection, and no new calls there for its time.
#[test]
fn tr_032_retry_after_is_honoured_and_its_connection_is_left() {
    let mut scene = Scene::usual("tr_032_retry");
    scene.proxies(2);
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let media = MediaEnd::new(carrier.ip(), 7000);
    let busy = |from: u8| {
        let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        assert_eq!(invite.flow.local().ip(), scene.place.ip(from), "{}", invite.msg);
        callee.is_busy(&invite, &mut caller);
        invite.flow
    };
    let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
    let (first, refusing) = teams.invited();
    refusing.reply(&first, "503 Service Unavailable", "Retry-After: 3\r\n", "");
    let refused = Instant::now();
    let (second, callee) = teams.invited();
    let took = second.at.duration_since(refused);
    report("TR-032 INVITE on the next FQDN after 503", took);
    assert!(took < Duration::from_millis(500), "{took:?}");
    callee.is_busy(&second, &mut caller);
    busy(PROXY + 1);
    std::thread::sleep((refused + Duration::from_millis(3200)).duration_since(Instant::now()));
    let flow = busy(PROXY);
    assert!(!flow.same(&first.flow), "a connection of its own for what is new");
    // The old one closes once nothing is left on it.
    let end = Instant::now() + Duration::from_secs(15);
    while !first.flow.is_closed() {
        assert!(Instant::now() < end, "the connection of the 503 stays open");
        std::thread::sleep(Duration::from_millis(50));
    }
    let records = gateway.wait_records(3);
    assert_eq!(records[0]["attempts"].as_array().map(Vec::len), Some(2));
}

/// 403 to OPTIONS: calls go by the next proxy; metric and log say why; OPTIONS are not repeated.
#[test]
fn tr_005_a_403_to_options_is_an_alarm_and_no_loop() {
    let mut scene = Scene::usual("tr_005");
    scene.proxies(2);
    let first = scene.place.ip(PROXY);
    let auto = move |received: &Received| {
        let msg = &received.msg;
        if received.flow.local().ip() != first || msg.method() != "OPTIONS" {
            return options_without_contact(received);
        }
        let answer = format!(
            "SIP/2.0 403 Forbidden\r\nVIA: {}\r\nFROM: {}\r\nTO: {};tag=o\r\nCALL-ID: {}\r\nCSEQ: {}\r\n\
             REASON: Q.850;cause=63;text=\"b2c5;Provided Trunk FQDN is not allowed\"\r\nCONTENT-LENGTH: 0\r\n\r\n",
            msg.need("Via"),
            msg.need("From"),
            msg.need("To"),
            msg.call_id(),
            msg.need("CSeq")
        );
        drop(received.flow.try_send(answer.as_bytes()));
        true
    };
    let teams = scene.teams_with(2, Box::new(auto));
    let carrier = scene.carrier_udp(CARRIER_A);
    let gateway = scene.start();
    gateway.healthy();
    let refused = "trunkgate_proxy_refused{edge=\"default\",proxy=\"sip.teams.test\"} 1";
    gateway.until("told by the metrics", || gateway.get("/metrics").1.contains(refused));
    assert!(
        gateway
            .get("/metrics")
            .1
            .contains("trunkgate_proxy_up{edge=\"default\",proxy=\"sip.teams.test\"} 0")
    );
    let alarm = "Provided Trunk FQDN is not allowed";
    gateway.until("told by the log", || {
        gateway.log().lines().any(|line| line.contains("WARN") && line.contains(alarm))
    });
    let media = MediaEnd::new(carrier.ip(), 7000);
    let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
    let (invite, callee) = teams.invited();
    assert_eq!(invite.flow.local().ip(), scene.place.ip(PROXY + 1));
    callee.is_busy(&invite, &mut caller);
    std::thread::sleep(Duration::from_secs(3));
    let asked = teams.inbox.all().into_iter().filter(|r| {
        r.msg.is_request() && r.msg.method() == "OPTIONS" && r.flow.local().ip() == first
    });
    assert_eq!(asked.count(), 1);
}

/// The primary is black-holed: the secondary rings within 4 s; the primary is back after three good OPTIONS.
#[test]
fn r08_a_black_holed_carrier_is_left_and_comes_back() {
    for transport in ["udp", "tcp"] {
        let mut scene = Scene::new("r08");
        let place = scene.place;
        let (primary, secondary) = (place.ip(CARRIER_B), place.ip(CARRIER_A));
        scene
            .trunk_text(&format!(
                "name = \"carrier-a\"\npeers = [\"{transport}:{primary}:5060\", \"udp:{secondary}:5060\"]\nnetworks = [\"{primary}/32\", \"{secondary}/32\"]"
            ))
            .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
        let address = place.at(CARRIER_B, 5060);
        let hole = (transport == "tcp").then(|| BlackHole::at(address));
        let mute = (transport == "udp").then(|| UdpSocket::bind(address).unwrap());
        let teams = scene.teams();
        let answering = scene.carrier_udp(CARRIER_A);
        let gateway = scene.start();
        gateway.healthy();
        let flow = teams.connect(TENANT);
        let start = Instant::now();
        let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
        let (invite, callee) = answering.invited();
        let took = invite.at.duration_since(start);
        report(&format!("R08 {transport}, secondary"), took);
        assert!(took <= Duration::from_secs(4), "{took:?}");
        callee.is_busy(&invite, &mut call);
        // Meanwhile calls go to the secondary at once.
        let start = Instant::now();
        let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7010));
        let (invite, callee) = answering.invited();
        let took = invite.at.duration_since(start);
        report(&format!("R08 {transport}, next call"), took);
        assert!(took < Duration::from_millis(400), "{took:?}");
        callee.is_busy(&invite, &mut call);
        let down = format!(
            "trunkgate_peer_up{{trunk=\"carrier-a\",peer=\"{transport}:{primary}:5060\"}} 0"
        );
        assert!(gateway.get("/metrics").1.contains(&down), "{}", gateway.get("/metrics").1);
        // It is back.
        drop((hole, mute));
        let back = Instant::now();
        let primary = match transport {
            "tcp" => scene.carrier_tcp(CARRIER_B),
            _ => scene.carrier_udp(CARRIER_B),
        };
        primary.inbox.until("asked three times", Duration::from_secs(30), |all, _| {
            all.iter().filter(|r| r.msg.is_request() && r.msg.method() == "OPTIONS").count() >= 3
        });
        let up = down.replace("} 0", "} 1");
        gateway.until("up", || gateway.get("/metrics").1.contains(&up));
        report(&format!("R08 {transport}, primary back after"), back.elapsed());
        // To another number: the INVITE of the first call was repeated to it meanwhile.
        let number = "+442079460002";
        let mut call = teams.call(&flow, TENANT, CALLED, number, &offer(&teams, 7020));
        let invite = primary.inbox.take("the INVITE", |r| {
            r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.uri().contains(number)
        });
        let callee = Dialog::answering(&primary.persona, &invite);
        callee.is_busy(&invite, &mut call);
    }
}

/// Three peers that swallow everything: 503 before Teams gives up, and nothing that sounds like ringing.
#[test]
fn tr_035_three_silent_peers_are_503_in_less_than_8_s() {
    let mut scene = Scene::new("tr_035_three");
    let place = scene.place;
    let peers: Vec<_> = (60..63).map(|host| format!("\"udp:{}:5060\"", place.ip(host))).collect();
    let _mute: Vec<_> =
        (60..63).map(|host| UdpSocket::bind(place.at(host, 5060)).unwrap()).collect();
    scene
        .trunk_text(&format!("name = \"carrier-a\"\npeers = [{}]", peers.join(", ")))
        .usual_tenant();
    let teams = scene.teams();
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let start = Instant::now();
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
    let refusal = call.final_response();
    let took = refusal.at.duration_since(start);
    report("TR-035 three silent peers, 503", took);
    assert_eq!(refusal.msg.status(), 503, "{}", refusal.msg);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(rang(&teams.inbox.all()), 0);
    call.ack_failure();
    let record = &gateway.wait_records(1)[0];
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(3), "{record}");
}

/// A carrier that says 100 and then thinks: 183 of our own before the ten seconds are over.
#[test]
fn tr_036_a_slow_carrier_is_bridged_by_our_own_183() {
    let scene = Scene::usual("tr_036");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let start = Instant::now();
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
    let (invite, callee) = carrier.invited();
    let progress =
        teams.inbox.take_within(Duration::from_secs(10), "183", |r| r.msg.status() == 183);
    let took = progress.at.duration_since(start);
    report("TR-036 our own 183", took);
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(10), "{took:?}");
    assert!(progress.msg.body.is_empty(), "{}", progress.msg);
    callee.reply(&invite, "180 Ringing", "", "");
    call.response(180);
    callee.is_busy(&invite, &mut call);
}

/// What the carrier says is what Teams hears, but for the map.
#[test]
fn tr_037_statuses_of_a_carrier_are_told_as_the_map_says() {
    let mut scene = Scene::new("tr_037");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk("carrier-b", "udp", CARRIER_B, "status_map = { 500 = 480 }")
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "")
        .tenant("t002", &["carrier-b"], &["+15550020000-+15550029999"], "");
    let teams = scene.teams();
    let (a, b) = (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    for (carrier, tenant, caller, said, heard) in [
        (&a, TENANT, CALLED, "486 Busy Here", 486),
        (&a, TENANT, CALLED, "404 Not Found", 404),
        (&a, TENANT, CALLED, "603 Decline", 603),
        (&a, TENANT, CALLED, "500 Server Internal Error", 503),
        (&a, TENANT, CALLED, "502 Bad Gateway", 503),
        (&a, TENANT, CALLED, "401 Unauthorized", 403),
        (&b, "t002.sbc.test", "+15550020001", "500 Server Internal Error", 480),
        (&b, "t002.sbc.test", "+15550020001", "502 Bad Gateway", 502),
    ] {
        let mut call = teams.call(&flow, tenant, caller, NUMBER, &offer(&teams, 7000));
        let (invite, callee) = carrier.invited();
        callee.reply(&invite, said, "", "");
        let refusal = call.final_response();
        assert_eq!(refusal.msg.status(), heard, "{said}\n{}", refusal.msg);
        call.ack_failure();
    }
    gateway.wait_records(8);
}

/// 486 and 603 end the call: no second INVITE, and Q.850 says the same.
#[test]
fn tr_031_busy_and_decline_are_final() {
    let mut scene = Scene::usual("tr_031");
    scene.proxies(3);
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let media = MediaEnd::new(carrier.ip(), 7000);
    for (said, q850) in [("486 Busy Here", "17"), ("603 Decline", "21")] {
        let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        callee.reply(&invite, said, "", "");
        let refusal = caller.final_response();
        assert!(said.starts_with(&refusal.msg.status().to_string()));
        assert!(refusal.msg.need("Reason").contains(&format!("cause={q850}")), "{}", refusal.msg);
        caller.ack_failure();
        teams.not_invited();
    }
}

/// An attempt that was given up answers all the same: ACK and BYE, and the caller never hears of it.
#[test]
fn tr_028_an_answer_of_an_attempt_that_was_given_up_is_hung_up_on() {
    let mut scene = Scene::new("late_answer");
    let place = scene.place;
    let (slow, good) = (place.ip(CARRIER_B), place.ip(CARRIER_A));
    scene
        .trunk_text(&format!(
            "name = \"carrier-a\"\npeers = [\"udp:{slow}:5060\", \"udp:{good}:5060\"]"
        ))
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
    let (teams, late, answering) =
        (scene.teams(), scene.carrier_udp(CARRIER_B), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
    let first = late.inbox.take("INVITE", |r| r.msg.is_request() && r.msg.method() == "INVITE");
    let (second, callee) = answering.invited();
    callee.is_busy(&second, &mut call);
    let media = MediaEnd::new(late.ip(), 7000);
    let waking = Dialog::answering(&late.persona, &first);
    waking.reply(&first, "200 OK", "", &media.plain_sdp("sendrecv"));
    waking.take("ACK");
    waking.hung_up();
    gateway.wait_records(1);
}
