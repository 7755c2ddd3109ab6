//! Limits of tenants and trunks as callers and callees meet them (AT-07), and numbers that are barred (AT-06).

use config::{Bound, Rate};

use super::reload::reload;
use super::*;
use crate::failure::RETRY_AFTER;

const FRANCE: &str = "+33198765432";
const SECOND: &str = "127.0.0.51:5070";

fn calls(calls: u32) -> Bound {
    Bound { calls: Some(calls), rate: None }
}

/// Call `n` of t001 to a number outside.
fn out(world: &mut World, called: &str, n: u32) {
    world.hear(PROXY, &teams_invite(called, &format!("t{n}"), "", SECURE));
}

/// Call `n` of the carrier to t001.
fn inward(world: &mut World, n: u32) {
    let invite = carrier_invite("+442079460001", PLAIN);
    world.hear(
        CARRIER,
        &invite.replace("z9hG4bKc1", &format!("z9hG4bKc{n}0")).replace(": c1", &format!(": c{n}0")),
    );
}

/// A world in which t001 calls by carrier-a, then by carrier-b.
fn two_trunks(change: impl FnOnce(&mut config::Config)) -> World {
    let mut config = config();
    config.tenants[0].limits = config::Limits::default();
    config.tenants[0].trunks = vec![0, 1];
    change(&mut config);
    World::with(config)
}

#[test]
fn a_full_trunk_is_passed_over_and_the_next_one_taken() {
    let mut world = two_trunks(|config| config.trunks[0].limits.received = calls(1));
    out(&mut world, FRANCE, 1);
    let first = world.expect(CARRIER, "INVITE ");
    out(&mut world, FRANCE, 2);
    world.expect(SECOND, "INVITE ");
    world.hear(CARRIER, &reply(&first, "486 Busy Here", "z", "", ""));
    world.expect(PROXY, "SIP/2.0 486");
    out(&mut world, FRANCE, 3);
    world.expect(CARRIER, "INVITE ");
}

#[test]
fn the_next_trunk_of_a_call_counts_in_place_of_the_one_that_failed() {
    let mut world = two_trunks(|config| {
        config.trunks[0].limits.received = calls(1);
        config.trunks[1].limits.received = calls(1);
    });
    out(&mut world, FRANCE, 1);
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "503 Service Unavailable", "z", "", ""));
    let second = world.expect(SECOND, "INVITE ");
    // The first has room again, the second has none.
    out(&mut world, FRANCE, 2);
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "503 Service Unavailable", "z", "", ""));
    let refused = world.expect(PROXY, "SIP/2.0 503");
    assert_eq!(value(&refused, "Retry-After"), RETRY_AFTER);
    assert_eq!(world.records[0].cause.text, Cause::TrunkFull.to_string());
    world.hear(SECOND, &reply(&second, "486 Busy Here", "z", "", ""));
    assert_eq!(world.core.admission.all_calls(), 0);
}

#[test]
fn at_07_teams_hears_503_and_a_trunk_what_it_wants_to_hear() {
    for status in [503_u16, 486, 403] {
        let mut world = two_trunks(|config| {
            config.tenants[0].limits.all = calls(1);
            config.trunks[0].limit_status = status;
        });
        inward(&mut world, 1);
        world.expect(PROXY, "INVITE ");
        inward(&mut world, 2);
        let refused = world.expect(CARRIER, &format!("SIP/2.0 {status}"));
        assert_eq!(refused.contains("\r\nRetry-After: "), status == 503, "{refused}");
        assert_eq!(value(&refused, "Reason"), "Q.850;cause=34");
        out(&mut world, FRANCE, 1);
        let refused = world.expect(PROXY, "SIP/2.0 503");
        assert_eq!(value(&refused, "Retry-After"), RETRY_AFTER);
        assert_eq!(world.records[0].cause.text, Cause::TenantFull.to_string());
    }
}

/// The trunk is shared: what one tenant has too much of takes no turn of the other's.
#[test]
fn at_07_calls_refused_for_one_tenant_take_no_turn_of_their_trunk() {
    let pace = |per_1000_s, burst| Bound { calls: None, rate: Some(Rate { per_1000_s, burst }) };
    let mut world = two_trunks(|config| {
        config.tenants[0].limits.received = pace(1_000, 1);
        config.tenants[1].inbound_trunks = vec![0];
        config.trunks[0].limits.made = pace(3_000, 3);
    });
    for n in 1..=20 {
        inward(&mut world, n);
    }
    assert_eq!(world.records.len(), 19);
    assert!(world.records.iter().all(|record| record.cause.text == Cause::TooFast.to_string()));
    world.expect(PROXY, "INVITE sip:+442079460001@");
    for n in [30, 31] {
        let invite = carrier_invite("+12025550100", PLAIN);
        let call = invite
            .replace("z9hG4bKc1", &format!("z9hG4bKd{n}"))
            .replace(": c1", &format!(": d{n}"));
        world.hear(CARRIER, &call);
        world.expect(PROXY, "INVITE sip:+12025550100@");
    }
}

#[test]
fn limits_are_those_of_the_newest_configuration_and_count_what_is_up() {
    let mut world = two_trunks(|_| ());
    for n in 1..=3 {
        out(&mut world, FRANCE, n);
        world.expect(CARRIER, "INVITE ");
    }
    reload(&mut world, |config| config.tenants[0].limits.number = calls(4));
    for n in 4..=7 {
        out(&mut world, FRANCE, n);
        world.expect(CARRIER, "INVITE ");
    }
    out(&mut world, FRANCE, 8);
    world.expect(PROXY, "SIP/2.0 503");
    reload(&mut world, |config| config.tenants[0].limits.made = calls(7));
    out(&mut world, FRANCE, 9);
    world.expect(PROXY, "SIP/2.0 503");
    let causes: Vec<_> = world.records.iter().map(|record| record.cause.text.clone()).collect();
    assert_eq!(causes, [Cause::NumberFull, Cause::TenantFull].map(|cause| cause.to_string()));
}

#[test]
fn tr_068_with_everything_full_a_call_for_help_passes() {
    let mut world = two_trunks(|config| {
        let none = config::Limits {
            all: Bound { calls: Some(1), rate: Some(Rate { per_1000_s: 1, burst: 1 }) },
            ..config::Limits::default()
        };
        config.tenants[0].limits = none.clone();
        config.trunks.iter_mut().for_each(|trunk| trunk.limits = none.clone());
    });
    out(&mut world, FRANCE, 1);
    world.expect(CARRIER, "INVITE ");
    out(&mut world, FRANCE, 2);
    world.expect(PROXY, "SIP/2.0 503");
    for n in 3..6 {
        out(&mut world, "112", n);
        world.expect(CARRIER, "INVITE sip:112@");
    }
}

#[test]
fn at_06_a_barred_number_is_refused_and_nothing_is_sent() {
    let mut world = two_trunks(|config| config.tenants[0].barring.premium = true);
    out(&mut world, "+19005551234", 1);
    let refused = world.expect(PROXY, "SIP/2.0 403");
    assert_eq!(value(&refused, "Reason"), "Q.850;cause=21");
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("INVITE ")));
    assert_eq!(world.records[0].cause.text, Cause::Barred.to_string());
}
