//! Which hop is tried when: silent, unreachable and refusing proxies and peers; what later calls learn from it.

use super::*;
use crate::routing::Place;

const PROXY2: &str = "127.0.0.21:5061";
const PROXY3: &str = "127.0.0.22:5061";
const PEER2: &str = "127.0.0.53:5070";
const PEER3: &str = "127.0.0.54:5070";

/// Three proxies, and three peers of carrier-a.
fn three() -> config::Config {
    let mut config = config();
    config.edges[0].proxies.push("sip3.teams.test".into());
    config.dns.hosts.insert("sip3.teams.test".into(), vec!["127.0.0.22".parse().unwrap()]);
    for address in ["127.0.0.53", "127.0.0.54"] {
        let mut peer = config.trunks[0].peers[0].clone();
        peer.host = config::Host::Ip(address.parse().unwrap());
        config.trunks[0].peers.push(peer);
    }
    config
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The carrier calls, with its own Call-ID and branch.
fn carrier_calls(world: &mut World, name: &str) {
    let text = carrier_invite("+442079460001", PLAIN)
        .replace("Call-ID: c1", &format!("Call-ID: {name}"))
        .replace("z9hG4bKc1", &format!("z9hG4bK{name}"));
    world.hear(CARRIER, &text);
}

/// Teams calls a number outside, by the first proxy.
fn teams_calls(world: &mut World, name: &str) {
    world.hear(PROXY, &teams_invite("+33123456789", name, "", SECURE));
}

/// When the first message to that address that begins so leaves, from now on.
fn when(world: &mut World, to: &str, start: &str, limit: Duration) -> Duration {
    let began = world.now;
    loop {
        let seen = |(target, text): &(Target, String)| {
            target.remote == addr(to) && text.starts_with(start)
        };
        if world.sent.iter().any(seen) {
            return world.now - began;
        }
        assert!(world.now - began < limit, "no {start:?} to {to} within {limit:?}");
        world.wait(ms(10));
    }
}

fn invites_to(world: &World, to: &str) -> usize {
    let is = |(target, text): &&(Target, String)| {
        target.remote == addr(to) && text.starts_with("INVITE ")
    };
    world.sent.iter().filter(is).count()
}

fn opens(world: &mut World, to: &str) {
    let opened = Opened { local: LocalId(0), remote: addr(to), inbound: false };
    world.core.handle_opened(flow_of(addr(to)), opened, world.now);
}

/// Answers the OPTIONS that are out to that address.
fn options_answered(world: &mut World, to: &str, status: &str, extra: &str) -> usize {
    let mut answered = 0;
    while let Some(at) = world
        .sent
        .iter()
        .position(|(target, text)| target.remote == addr(to) && text.starts_with("OPTIONS "))
    {
        let (_, text) = world.sent.remove(at).unwrap();
        world.hear(to, &reply(&text, status, "o", extra, ""));
        answered += 1;
    }
    answered
}

#[test]
fn r07_sip_down_means_sip2_within_2500_ms_and_sip3_within_5_s() {
    for how in [Some(Dead::Refuses), Some(Dead::Hangs), None] {
        let mut world = World::with(three());
        for proxy in [PROXY, PROXY2] {
            match how {
                Some(dead) => drop(world.dead.insert(addr(proxy), dead)),
                // Connected, and silent.
                None => opens(&mut world, proxy),
            }
        }
        carrier_calls(&mut world, "a");
        let second = when(&mut world, PROXY2, "INVITE ", ms(2500));
        let third = second + when(&mut world, PROXY3, "INVITE ", ms(2500));
        assert!(second <= ms(1600) && third <= ms(3100), "{second:?} {third:?}");
        let invite = world.expect(PROXY3, "INVITE ");
        world.hear(PROXY3, &reply(&invite, "180 Ringing", "t3", "", ""));
        world.expect(CARRIER, "SIP/2.0 180");
        // Whoever wakes up now must not ring: its INVITE is taken back as soon as it may be (RFC 3261 §9.1).
        if how.is_none() {
            let late = world.expect(PROXY, "INVITE ");
            world.hear(PROXY, &reply(&late, "180 Ringing", "t1", "", ""));
            world.expect(PROXY, "CANCEL ");
            world.hear(PROXY, &reply(&late, "487 Request Terminated", "t1", "", ""));
        }
        world.hear(PROXY3, &reply(&invite, "200 OK", "t3", TEAMS_CONTACT, SECURE));
        world.expect(CARRIER, "SIP/2.0 200");
    }
}

#[test]
fn silence_is_counted_from_when_the_connection_is_open() {
    let mut world = World::with(three());
    carrier_calls(&mut world, "a");
    world.wait(ms(1400));
    opens(&mut world, PROXY);
    let more = when(&mut world, PROXY2, "INVITE ", ms(2500));
    assert!((ms(1000)..=ms(1020)).contains(&more), "{more:?}");
}

#[test]
fn tr_033_three_silent_proxies_are_503_in_less_than_8_s_however_many_addresses_they_have() {
    for addresses in [1, 4] {
        let mut config = three();
        for (host, ips) in &mut config.dns.hosts {
            let base = host.len() as u8;
            ips.extend((1..addresses).map(|n| IpAddr::from([127, 0, base, n])));
        }
        let mut world = World::with(config);
        carrier_calls(&mut world, "a");
        let after = when(&mut world, CARRIER, "SIP/2.0 503", ms(8000));
        assert!(after >= ms(7000), "{after:?}");
        let refusal = world.expect(CARRIER, "SIP/2.0 503");
        assert!(!refusal.contains("Retry-After"), "the caller may go on calling others: {refusal}");
        assert!(!world.sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 18")));
        assert_eq!(world.core.calls(), 0);
    }
}

#[test]
fn tr_033_three_dead_proxies_are_503_at_once() {
    let mut world = World::with(three());
    for proxy in [PROXY, PROXY2, PROXY3] {
        world.dead.insert(addr(proxy), Dead::Refuses);
    }
    carrier_calls(&mut world, "a");
    let after = when(&mut world, CARRIER, "SIP/2.0 503", ms(100));
    assert!(after <= ms(10), "{after:?}");
    assert_eq!(world.records[0].attempts.len(), 3);
}

#[test]
fn tr_035_a_dead_carrier_is_503_in_less_than_8_s_and_nothing_rings_before() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    world.expect(CARRIER, "INVITE ");
    let after = when(&mut world, PROXY, "SIP/2.0 503", ms(8000));
    assert!(after >= ms(7000), "all three peers had their time: {after:?}");
    assert_eq!((invites_to(&world, PEER2) > 0, invites_to(&world, PEER3) > 0), (true, true));
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 18")));
}

#[test]
fn tr_036_a_slow_carrier_is_bridged_by_our_own_183_before_10_s() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "100 Trying", "", "", "").replace(";tag=\n", "\n"));
    let after = when(&mut world, PROXY, "SIP/2.0 183", ms(10_000));
    assert!((ms(8900)..=ms(9500)).contains(&after), "{after:?}");
    let progress = world.expect(PROXY, "SIP/2.0 183");
    assert!(progress.ends_with("Content-Length: 0\r\n\r\n"), "{progress}");
    world.nothing_but(PEER2, &[]);
    // It rings after all, and then nobody answers.
    world.wait(ms(5000));
    world.hear(CARRIER, &reply(&invite, "180 Ringing", "b", "", ""));
    world.expect(PROXY, "SIP/2.0 180");
    world.wait(Duration::from_secs(110));
    world.expect(CARRIER, "CANCEL ");
    world.expect(PROXY, "SIP/2.0 408");
}

#[test]
fn tr_036_what_rang_or_calls_from_a_trunk_need_no_183_of_ours() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "180 Ringing", "b", "", ""));
    world.wait(ms(20_000));
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 183")));
    let mut world = World::with(three());
    carrier_calls(&mut world, "b");
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "100 Trying", "", "", "").replace(";tag=\n", "\n"));
    world.wait(ms(20_000));
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 18")));
}

#[test]
fn an_attempt_that_was_alive_and_fails_late_still_leads_to_the_next_hop() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "100 Trying", "", "", "").replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(30));
    world.hear(CARRIER, &reply(&invite, "503 Service Unavailable", "b", "", ""));
    let second = world.expect(PEER2, "INVITE ");
    world.hear(PEER2, &reply(&second, "200 OK", "b2", &format!("Contact: <sip:{PEER2}>\n"), PLAIN));
    world.expect(PROXY, "SIP/2.0 200");
}

#[test]
fn tr_006_a_proxy_that_does_not_answer_options_is_left_until_it_does() {
    let mut world = World::with(three());
    for proxy in [PROXY, PROXY2, PROXY3] {
        opens(&mut world, proxy);
    }
    world.core.handle_timeout(world.now);
    world.drain();
    for proxy in [PROXY2, PROXY3] {
        assert_eq!(options_answered(&mut world, proxy, "200 OK", ""), 1);
    }
    world.wait(ms(10_500));
    world.sent.clear();
    carrier_calls(&mut world, "a");
    assert_eq!((invites_to(&world, PROXY), invites_to(&world, PROXY2)), (0, 1));
    // Both are gone: the third.
    world.wait(ms(51_000));
    options_answered(&mut world, PROXY3, "200 OK", "");
    world.wait(ms(15_000));
    world.sent.clear();
    carrier_calls(&mut world, "b");
    assert_eq!((invites_to(&world, PROXY2), invites_to(&world, PROXY3)), (0, 1));
    // sip is back: new calls return to it.
    world.sent.clear();
    when(&mut world, PROXY, "OPTIONS ", ms(70_000));
    options_answered(&mut world, PROXY, "200 OK", "");
    world.sent.clear();
    carrier_calls(&mut world, "c");
    assert_eq!(invites_to(&world, PROXY), 1);
}

#[test]
fn a_proxy_found_silent_by_a_call_is_tried_last_by_the_next_one() {
    let mut world = World::with(three());
    opens(&mut world, PROXY);
    world.core.handle_timeout(world.now);
    world.drain();
    carrier_calls(&mut world, "a");
    when(&mut world, PROXY2, "INVITE ", ms(2500));
    world.sent.clear();
    carrier_calls(&mut world, "b");
    assert_eq!((invites_to(&world, PROXY), invites_to(&world, PROXY2)), (0, 1));
}

#[test]
fn tr_005_a_403_to_options_marks_the_proxy_down_and_is_not_asked_about_faster() {
    let mut world = World::with(three());
    world.core.handle_timeout(world.now);
    let refused = "Reason: Q.850;cause=63;text=\"9d5c;Trunk FQDN sbc.test is not known\"\n";
    let start = world.now;
    let mut times = Vec::new();
    world.drain();
    while world.now - start < Duration::from_secs(300) {
        if options_answered(&mut world, PROXY, "403 Forbidden", refused) > 0 {
            times.push(world.now - start);
        }
        for proxy in [PROXY2, PROXY3] {
            options_answered(&mut world, proxy, "200 OK", "");
        }
        world.wait(ms(500));
    }
    assert!((5..=6).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(60)), "{times:?}");
    assert!(world.core.is_able());
    world.sent.clear();
    carrier_calls(&mut world, "a");
    assert_eq!((invites_to(&world, PROXY), invites_to(&world, PROXY2)), (0, 1));
}

#[test]
fn tr_032_a_503_with_retry_after_retires_its_connection_and_is_honoured_by_later_calls() {
    let mut world = World::with(three());
    for proxy in [PROXY, PROXY2, PROXY3] {
        opens(&mut world, proxy);
    }
    carrier_calls(&mut world, "a");
    let first = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&first, "503 Service Unavailable", "t1", "Retry-After: 30\n", ""));
    assert_eq!(world.retired, [flow_of(addr(PROXY))]);
    let second = world.expect(PROXY2, "INVITE ");
    world.hear(PROXY2, &reply(&second, "486 Busy Here", "t2", "", ""));
    world.expect(CARRIER, "SIP/2.0 486");
    // Later calls leave it alone until its time, even though it answers OPTIONS.
    for (wait, name) in [(0, "b"), (29_000, "c")] {
        world.wait(ms(wait));
        options_answered(&mut world, PROXY, "200 OK", "");
        world.sent.clear();
        carrier_calls(&mut world, name);
        assert_eq!((invites_to(&world, PROXY), invites_to(&world, PROXY2)), (0, 1), "{name}");
    }
    world.wait(ms(1100));
    world.sent.clear();
    carrier_calls(&mut world, "d");
    assert_eq!(invites_to(&world, PROXY), 1);
}

#[test]
fn tr_032_when_all_ask_to_wait_calls_are_still_tried_and_no_wait_is_endless() {
    let mut world = World::with(three());
    carrier_calls(&mut world, "a");
    for proxy in [PROXY, PROXY2, PROXY3] {
        let invite = world.expect(proxy, "INVITE ");
        let forever = "Retry-After: 99999999 (maintenance);duration=5\n";
        world.hear(proxy, &reply(&invite, "503 Service Unavailable", "t", forever, ""));
    }
    world.expect(CARRIER, "SIP/2.0 503");
    world.sent.clear();
    carrier_calls(&mut world, "b");
    assert_eq!(invites_to(&world, PROXY), 1, "the first again: none is better");
    world.wait(Duration::from_secs(601));
    assert_eq!(world.core.health.rank(first_proxy(), world.now), 1, "only silent now");
}

#[test]
fn a_503_without_retry_after_keeps_connection_and_order() {
    let mut world = World::with(three());
    carrier_calls(&mut world, "a");
    let first = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&first, "503 Service Unavailable", "t1", "", ""));
    world.expect(PROXY2, "INVITE ");
    assert!(world.retired.is_empty());
    world.sent.clear();
    carrier_calls(&mut world, "b");
    assert_eq!(invites_to(&world, PROXY), 1);
}

#[test]
fn r08_a_black_holed_peer_is_left_within_4_s_and_comes_back_after_3_good_options() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    let after = when(&mut world, PEER2, "INVITE ", ms(4000));
    assert!(after <= ms(2600), "{after:?}");
    let invite = world.expect(PEER2, "INVITE ");
    world.hear(PEER2, &reply(&invite, "486 Busy Here", "b", "", ""));
    // Later calls go there at once, and the first is asked how it is.
    world.sent.clear();
    teams_calls(&mut world, "b");
    assert_eq!((invites_to(&world, CARRIER), invites_to(&world, PEER2)), (0, 1));
    let first = Place::Peer { trunk: crate::routing::TrunkId(0), peer: 0 };
    let mut good = 0;
    for _ in 0..300 {
        world.wait(ms(100));
        // Anything that is no 503 shows that it is there.
        good += options_answered(&mut world, CARRIER, "404 Not Found", "");
        assert_eq!(world.core.health.rank(first, world.now) == 0, good >= 3, "{good}");
    }
    assert_eq!(good, 3, "a peer that is well is not asked any more");
    world.sent.clear();
    teams_calls(&mut world, "c");
    assert_eq!(invites_to(&world, CARRIER), 1);
}

#[test]
fn r08_a_peer_that_is_mute_to_options_is_given_calls_again_after_a_while() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    when(&mut world, PEER2, "INVITE ", ms(4000));
    world.wait(Duration::from_secs(310));
    world.sent.clear();
    teams_calls(&mut world, "b");
    assert_eq!(invites_to(&world, CARRIER), 1);
    // It rings: it is well, whatever it says to OPTIONS.
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "180 Ringing", "b", "", ""));
    world.sent.clear();
    world.wait(Duration::from_secs(60));
    assert!(!world.sent.iter().any(|(t, m)| t.remote == addr(CARRIER) && m.starts_with("OPTIONS")));
}

#[test]
fn peers_with_an_options_interval_are_asked_all_the_time_and_ordered_by_it() {
    let mut config = three();
    config.trunks[0].options_interval = Some(Duration::from_secs(30));
    let mut world = World::with(config);
    world.core.handle_timeout(world.now);
    world.drain();
    options_answered(&mut world, PEER2, "200 OK", "");
    world.wait(ms(4500));
    world.sent.clear();
    teams_calls(&mut world, "a");
    assert_eq!((invites_to(&world, CARRIER), invites_to(&world, PEER2)), (0, 1));
}

/// A peer that does not know OPTIONS, or wants nothing of us, is there.
#[test]
fn any_answer_to_options_but_408_and_503_shows_that_a_peer_is_alive() {
    for (status, alive) in [
        ("200 OK", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("405 Method Not Allowed", true),
        ("481 No Call", true),
        ("500 Error", true),
        ("501 Not Implemented", true),
        ("504 Late", true),
        ("603 Decline", true),
        ("408 Request Timeout", false),
        ("503 Service Unavailable", false),
    ] {
        let mut config = three();
        config.trunks[0].options_interval = Some(Duration::from_secs(30));
        let mut world = World::with(config);
        world.core.handle_timeout(world.now);
        world.drain();
        assert_eq!(options_answered(&mut world, PEER2, "200 OK", ""), 1);
        assert_eq!(options_answered(&mut world, CARRIER, status, ""), 1, "{status}");
        world.wait(ms(4500));
        world.sent.clear();
        teams_calls(&mut world, "a");
        let to = (invites_to(&world, CARRIER), invites_to(&world, PEER2));
        assert_eq!(to, if alive { (1, 0) } else { (0, 1) }, "{status}");
    }
}

#[test]
fn a_carriers_retry_after_is_honoured_too() {
    let mut world = World::with(three());
    teams_calls(&mut world, "a");
    let invite = world.expect(CARRIER, "INVITE ");
    let full = reply(&invite, "503 Service Unavailable", "b", "Retry-After: 20\n", "");
    world.hear(CARRIER, &full);
    world.expect(PEER2, "INVITE ");
    world.sent.clear();
    teams_calls(&mut world, "b");
    assert_eq!((invites_to(&world, CARRIER), invites_to(&world, PEER2)), (0, 1));
    world.wait(ms(20_100));
    world.sent.clear();
    teams_calls(&mut world, "c");
    assert_eq!(invites_to(&world, CARRIER), 1);
}

#[test]
fn tr_031_486_and_603_are_relayed_once_without_a_second_invite() {
    for (status, number, q850) in [("486 Busy Here", "486", "17"), ("603 Decline", "603", "21")] {
        let mut world = World::with(three());
        carrier_calls(&mut world, "a");
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
        world.hear(PROXY, &reply(&invite, status, "t1", "", ""));
        world.expect(PROXY, "ACK ");
        let refused = world.expect(CARRIER, &format!("SIP/2.0 {number}"));
        assert_eq!(value(&refused, "Reason"), format!("Q.850;cause={q850}"));
        let ack = carrier_invite("+442079460001", "").replace("INVITE", "ACK");
        let ack = ack.replace("Call-ID: c1", "Call-ID: a").replace("z9hG4bKc1", "z9hG4bKa");
        world.hear(
            CARRIER,
            &ack.replace(
                "To: <sip:+442079460001@127.0.0.10>",
                &format!("To: {}", value(&refused, "To")),
            ),
        );
        world.sent.clear();
        world.wait(Duration::from_secs(60));
        world.nothing_but(CARRIER, &["OPTIONS"]);
        for proxy in [PROXY, PROXY2, PROXY3] {
            assert_eq!(invites_to(&world, proxy), 0);
        }
    }
}

#[test]
fn tr_037_a_carriers_status_is_told_as_the_map_says() {
    let told = |status: &str, map: &[(u16, u16)]| {
        let mut config = three();
        config.trunks[0].peers.truncate(1);
        config.trunks[0].status_map = map.iter().copied().collect();
        let mut world = World::with(config);
        teams_calls(&mut world, "a");
        let invite = world.expect(CARRIER, "INVITE ");
        world.hear(CARRIER, &reply(&invite, status, "b", "", ""));
        let refusal = world.expect(PROXY, "SIP/2.0 ");
        let refusal =
            if line(&refusal).contains("100") { world.expect(PROXY, "SIP/2.0 ") } else { refusal };
        assert_eq!(
            world.records[0].cause.sip.to_string(),
            status[..3],
            "the record has the carrier's own"
        );
        line(&refusal)[8..11].to_owned()
    };
    let usual = [(500, 503), (502, 503)];
    for same in ["486 Busy Here", "404 Not Found", "603 Decline", "480 Away", "504 Late"] {
        assert_eq!(told(same, &usual), same[..3]);
    }
    assert_eq!(told("500 Server Internal Error", &usual), "503");
    assert_eq!(told("502 Bad Gateway", &usual), "503");
    assert_eq!(told("500 Server Internal Error", &[]), "500");
    assert_eq!(told("502 Bad Gateway", &[(502, 480)]), "480");
    // No credentials to answer a challenge with.
    assert_eq!(told("403 Forbidden", &usual), "403");
}

#[test]
fn a_challenge_of_a_carrier_is_403_for_the_caller() {
    for status in ["401 Unauthorized", "407 Proxy Authentication Required"] {
        let mut world = World::with(three());
        teams_calls(&mut world, "a");
        let invite = world.expect(CARRIER, "INVITE ");
        world.hear(
            CARRIER,
            &reply(&invite, status, "b", "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\n", ""),
        );
        let refusal = world.expect(PROXY, "SIP/2.0 403");
        assert!(!refusal.contains("Authenticate"), "{refusal}");
        world.nothing_but(PEER2, &[]);
    }
}
