//! Names on virtual time: answers that change, and a resolver that fails for long.

use super::*;
use sip_stack::locate::Record as Dns;

/// As the usual one, with the proxies and one carrier found by DNS.
fn by_name() -> World {
    let mut config = config();
    config.dns.hosts.clear();
    config.trunks[0].peers[0].host = config::Host::Name("pbx.carrier.test".into());
    World::with(config)
}

/// What the resolver says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolver {
    Answers,
    /// SERVFAIL.
    Fails,
    /// Nothing comes back.
    Silent,
}

impl World {
    /// Lets time pass while the resolver answers for the names with these addresses.
    fn wait_resolving(&mut self, time: Duration, resolver: Resolver, proxy: &str) {
        let end = self.now + time;
        loop {
            while let Some((id, name, kind)) = self.queries.pop_front() {
                let address = match &*name {
                    "sip.teams.test" => Some(proxy),
                    "sip2.teams.test" => Some("127.0.0.21"),
                    "pbx.carrier.test" => Some("127.0.0.50"),
                    _ => None,
                };
                let answer = match (resolver, address.filter(|_| kind == Kind::A)) {
                    (Resolver::Answers, Some(address)) => Answer::Found {
                        records: vec![Dns::Address(address.parse().unwrap())],
                        ttl: Duration::from_secs(60),
                    },
                    (Resolver::Answers, None) => Answer::Nothing { ttl: Duration::from_secs(60) },
                    (Resolver::Fails, _) => Answer::Failed,
                    (Resolver::Silent, _) => continue,
                };
                self.core.handle_answer(id, answer, self.now);
                self.drain();
            }
            if self.now >= end {
                return;
            }
            self.wait(Duration::from_millis(10).min(end - self.now));
        }
    }
}

fn carrier_calls(world: &mut World, name: &str) {
    let text = carrier_invite("+442079460001", PLAIN)
        .replace("Call-ID: c1", &format!("Call-ID: {name}"))
        .replace("z9hG4bKc1", &format!("z9hG4bK{name}"));
    world.hear(CARRIER, &text);
}

fn answer_options(world: &mut World) {
    for to in [PROXY, "127.0.0.21:5061", "127.0.0.30:5061"] {
        while let Some(at) = world
            .sent
            .iter()
            .position(|(t, text)| t.remote.to_string() == to && text.starts_with("OPTIONS "))
        {
            let (_, text) = world.sent.remove(at).unwrap();
            world.hear(to, &reply(&text, "200 OK", "o", "", ""));
        }
    }
}

#[test]
fn tr_007_a_changed_answer_is_used_within_its_ttl_and_old_connections_drain() {
    let mut world = by_name();
    world.core.handle_timeout(world.now);
    world.drain();
    world.wait_resolving(Duration::from_secs(1), Resolver::Answers, "127.0.0.20");
    let opened = Opened { local: LocalId(0), remote: PROXY.parse().unwrap(), inbound: false };
    world.core.handle_opened(FlowId(3), opened, world.now);
    answer_options(&mut world);
    carrier_calls(&mut world, "a");
    world.wait_resolving(Duration::from_millis(20), Resolver::Answers, "127.0.0.20");
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t", "", ""));
    // The name moves.
    for _ in 0..130 {
        world.wait_resolving(Duration::from_secs(1), Resolver::Answers, "127.0.0.30");
        answer_options(&mut world);
    }
    world.sent.clear();
    carrier_calls(&mut world, "b");
    world.wait_resolving(Duration::from_millis(20), Resolver::Answers, "127.0.0.30");
    world.expect("127.0.0.30:5061", "INVITE ");
    assert_eq!(world.retired, [FlowId(3)], "it takes nothing new");
    assert_eq!(world.closed, [FlowId(3)], "and is closed, since nothing was left on it");
}

#[test]
fn r09_ten_minutes_without_dns_fail_no_call_to_a_known_name_and_block_nothing() {
    for resolver in [Resolver::Fails, Resolver::Silent] {
        let mut world = by_name();
        world.core.handle_timeout(world.now);
        world.drain();
        world.wait_resolving(Duration::from_secs(2), Resolver::Answers, "127.0.0.20");
        answer_options(&mut world);
        let (mut made, mut longest) = (0, Duration::ZERO);
        let start = world.now;
        while world.now - start < Duration::from_secs(600) {
            world.sent.clear();
            let began = world.now;
            carrier_calls(&mut world, &format!("a{made}"));
            while !world.sent.iter().any(|(_, text)| text.starts_with("INVITE ")) {
                world.wait_resolving(Duration::from_millis(10), resolver, "");
                assert!(world.now - began < Duration::from_secs(2), "a call waits for DNS");
            }
            longest = longest.max(world.now - began);
            let invite = world.expect(PROXY, "INVITE ");
            world
                .hear(PROXY, &reply(&invite, "200 OK", &format!("t{made}"), TEAMS_CONTACT, SECURE));
            let ok = world.expect(CARRIER, "SIP/2.0 200");
            world.hear(
                CARRIER,
                &carrier_bye(&ok)
                    .replace("Call-ID: c1", &format!("Call-ID: a{made}"))
                    .replace("z9hG4bKc3", &format!("z9hG4bKe{made}")),
            );
            let bye = world.expect_resolving(PROXY, "BYE ", resolver);
            world.hear(PROXY, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
            made += 1;
            world.wait_resolving(Duration::from_secs(5), resolver, "");
            answer_options(&mut world);
        }
        assert!(made > 80, "{made}");
        assert!(longest <= Duration::from_millis(510), "{longest:?}");
        assert!(world.records.iter().all(|record| record.cause.sip == 200), "0 failed calls");
        assert!(world.records.len() >= made - 1);
        // The other way: a trunk whose peer is a name.
        assert!(world.core.is_able());
    }
}

#[test]
fn r09_a_trunk_by_name_is_still_reached_while_dns_fails() {
    let mut world = by_name();
    let call = |world: &mut World, name: &str| {
        world.hear(PROXY, &teams_invite("+33123456789", name, "", SECURE));
    };
    call(&mut world, "a0");
    world.wait_resolving(Duration::from_millis(100), Resolver::Answers, "127.0.0.20");
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "486 Busy Here", "b", "", ""));
    for minute in 1..=10 {
        world.wait_resolving(Duration::from_secs(60), Resolver::Fails, "");
        world.sent.clear();
        call(&mut world, &format!("a{minute}"));
        world.wait_resolving(Duration::from_millis(600), Resolver::Fails, "");
        let invite = world.expect(CARRIER, "INVITE ");
        world.hear(CARRIER, &reply(&invite, "486 Busy Here", "b", "", ""));
        world.expect(PROXY, "SIP/2.0 486");
    }
}

impl World {
    /// As [`World::expect`], within two seconds of the resolver's answers.
    fn expect_resolving(&mut self, to: &str, start: &str, resolver: Resolver) -> String {
        for _ in 0..200 {
            let seen = |(target, text): &(Target, String)| {
                target.remote.to_string() == to && text.starts_with(start)
            };
            if self.sent.iter().any(seen) {
                break;
            }
            self.wait_resolving(Duration::from_millis(10), resolver, "");
        }
        self.expect(to, start)
    }
}
