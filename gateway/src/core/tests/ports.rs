//! Media ports run out, and come back.

use super::*;

/// A call from the trunk with a Call-ID of its own.
fn call(n: usize) -> String {
    carrier_invite("+442079460001", PLAIN)
        .replace("Call-ID: c1", &format!("Call-ID: c{n}"))
        .replace("z9hG4bKc1", &format!("z9hG4bKport{n}"))
}

/// Fifty pairs of each pool are warm (see [`World::born`]): so many calls, and not one more. Each that ends lets one more in.
#[test]
fn without_ports_a_call_is_503_with_its_cause_and_nobody_is_called() {
    let mut config = config();
    config.tenants[0].limits.all.calls = None;
    let mut world = World::with(config);
    let mut invites = Vec::new();
    for n in 0..50 {
        world.hear(CARRIER, &call(100 + n));
        invites.push(world.expect(PROXY, "INVITE "));
    }
    assert_eq!(world.core.gauges().free_port_pairs, 0);
    for n in 0..20 {
        world.sent.clear();
        world.hear(CARRIER, &call(200 + n));
        let refusal = world.expect(CARRIER, "SIP/2.0 503");
        assert_eq!(value(&refusal, "Retry-After"), "2");
        assert!(value(&refusal, "Reason").contains("cause=34"), "{refusal}");
        world.nothing_but(PROXY, &["OPTIONS"]);
        let record = world.records.last().unwrap();
        assert_eq!((record.cause.sip, record.cause.q850), (503, 34));
        assert_eq!((record.cause.fault.as_str(), record.attempts.len()), ("operator", 0));
        // One call less: the next one gets the ports that it had, though they rest.
        let held: Vec<_> =
            invites.remove(0).lines().filter(|l| l.starts_with("m=")).map(str::to_owned).collect();
        let gone = call(100 + n).replace("INVITE", "CANCEL");
        world.hear(CARRIER, &with_body(gone.split("Content-").next().unwrap(), ""));
        world.expect(CARRIER, "SIP/2.0 487");
        assert_eq!(world.core.gauges().free_port_pairs, 2);
        world.hear(CARRIER, &call(300 + n));
        let again = world.expect(PROXY, "INVITE ");
        assert!(held.iter().all(|line| again.contains(line.as_str())), "{held:?} {again}");
        invites.push(again);
    }
    assert_eq!(world.core.calls(), 50);
}
