//! Pairing and health: OPTIONS in both directions (TR-001 to TR-004).

use std::time::Duration;

use crate::harness::place::PROXY;
use crate::harness::scene::{FQDN, PROXIES, Scene};
use crate::harness::wire::Received;

fn is_options(received: &Received) -> bool {
    received.msg.is_request() && received.msg.method() == "OPTIONS"
}

#[test]
fn tr_001_three_sessions_within_two_seconds_and_options_every_minute() {
    let mut scene = Scene::within("tr_001", Duration::from_secs(120));
    scene.proxies(3);
    let teams = scene.teams();
    let gateway = scene.start();
    let at = |all: &[Received], host: u8| {
        let ip = scene.place.ip(host);
        let here = |r: &&Received| is_options(r) && r.flow.local().ip() == ip;
        all.iter().filter(here).cloned().collect::<Vec<_>>()
    };
    let everywhere =
        |all: &[Received], count| (PROXY..PROXY + 3).all(|host| at(all, host).len() >= count);
    let soon = Duration::from_secs(2);
    teams.inbox.until("an OPTIONS at each proxy", soon, |all, _| everywhere(all, 1));
    for (host, name) in (PROXY..).zip(PROXIES) {
        let first = &at(&teams.inbox.all(), host)[0];
        assert_eq!(first.flow.tls().sni.as_deref(), Some(name));
        assert!(first.at.duration_since(gateway.started) < Duration::from_secs(2));
        assert!(first.msg.uri().contains(name), "{}", first.msg);
    }
    let minute = Duration::from_secs(70);
    teams.inbox.until("a second OPTIONS at each", minute, |all, _| everywhere(all, 2));
    for host in PROXY..PROXY + 3 {
        let pings = at(&teams.inbox.all(), host);
        let gap = pings[1].at.duration_since(pings[0].at).as_secs_f64();
        assert!((59.9..=65.5).contains(&gap), "{gap} s between two OPTIONS");
        assert_eq!(pings.len(), 2, "a fast loop");
    }
}

#[test]
fn tr_002_options_name_the_trunk_and_no_address() {
    let scene = Scene::usual("tr_002");
    let teams = scene.teams();
    let _gateway = scene.start();
    teams.inbox.until("an OPTIONS", Duration::from_secs(3), |all, _| all.iter().any(is_options));
    let all = teams.inbox.all();
    let msg = &all.iter().find(|r| is_options(r)).unwrap().msg;
    let contact = msg.uri_of("Contact");
    assert_eq!(msg.host_of("Contact"), FQDN);
    assert!(contact.contains("transport=tls"), "{contact}");
    assert!(!contact.contains('@'), "a user part in {contact}");
    assert_eq!(msg.sent_by().split(':').next(), Some(FQDN));
    assert_eq!(msg.host_of("From"), FQDN);
    assert!(!msg.uri_of("From").contains('@'));
    let allow: Vec<_> = msg.all("Allow").flat_map(|line| line.split(',').map(str::trim)).collect();
    assert!(allow.contains(&"REFER") && allow.contains(&"NOTIFY"), "{allow:?}");
    assert!(msg.uri().starts_with("sip:sip.teams.test:5061"), "{}", msg.uri());
    assert_eq!(msg.all("Record-Route").count(), 0);
}

#[test]
fn tr_003_options_of_teams_are_answered_on_their_connection() {
    let scene = Scene::usual("tr_003");
    let teams = scene.teams();
    let _gateway = scene.start();
    let flow = teams.connect(FQDN);
    for (fqdn, limit) in [(FQDN, 1_000), (FQDN, 200), ("t001.sbc.test", 200)] {
        let call_id = teams.ping(&flow, fqdn);
        let sent = std::time::Instant::now();
        let answer = teams
            .inbox
            .take("200 to OPTIONS", |r| r.msg.status() > 0 && r.msg.call_id() == call_id);
        let took = answer.at.duration_since(sent);
        assert!(took < Duration::from_millis(limit), "{took:?}");
        assert_eq!(answer.msg.status(), 200);
        assert!(answer.flow.same(&flow));
        assert!(answer.msg.host_of("Contact").ends_with(FQDN));
        let allow = answer.msg.need("Allow");
        assert!(allow.contains("REFER") && allow.contains("NOTIFY"), "{allow}");
        let supported: Vec<_> = answer
            .msg
            .all("Supported")
            .flat_map(|line| line.split(',').map(|item| item.trim().to_owned()))
            .collect();
        for option in ["replaces", "timer"] {
            assert!(supported.iter().any(|item| item == option), "{option} not in {supported:?}");
        }
    }
}

#[test]
fn tr_004_a_200_without_contact_means_healthy() {
    let scene = Scene::usual("tr_004");
    let gateway = scene.start();
    gateway.until("unhealthy while nobody answers", || gateway.get("/health").0 == 503);
    assert_eq!(gateway.get("/live").0, 200);
    // From now on OPTIONS are answered; the answer has no Contact.
    let teams = scene.teams();
    let again = Duration::from_secs(13);
    teams.inbox.until("an OPTIONS", again, |all, _| all.iter().any(is_options));
    gateway.healthy();
}
