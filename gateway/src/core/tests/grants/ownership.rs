//! In whose name a tenant's and a trunk's calls go out, and numbers that are not in use (TR-020, AT-04).

use config::{ForeignCaller, NumberState, States};

use super::super::*;

const FOREIGN: &str = "+33123456789";

/// The caller that the carrier is shown for a call of t001 in this name, or the refusal.
fn shown(policy: ForeignCaller, caller: &str, more: &str) -> String {
    let mut config = config();
    config.tenants[0].foreign_caller = policy;
    let mut world = World::with(config);
    let invite = teams_invite("+33198765432", "t1", more, SECURE);
    world.hear(PROXY, &invite.replace("sip:+442079460001@sip", &format!("sip:{caller}@sip")));
    match world.sent.iter().find(|(_, text)| text.starts_with("INVITE ")) {
        Some((_, invite)) => value(invite, "From").split(";tag").next().unwrap().to_owned(),
        None => world.expect(PROXY, "SIP/2.0 4"),
    }
}

#[test]
fn at_04_a_foreign_caller_is_shown_as_the_main_number_refused_or_passed() {
    let own = "<sip:+442079460007@127.0.0.10>";
    for policy in [ForeignCaller::Main, ForeignCaller::Refuse, ForeignCaller::Pass] {
        assert_eq!(shown(policy, "+442079460007", ""), own);
    }
    assert_eq!(shown(ForeignCaller::Main, FOREIGN, ""), "<sip:+442079460000@127.0.0.10>");
    assert_eq!(shown(ForeignCaller::Pass, FOREIGN, ""), "<sip:+33123456789@127.0.0.10>");
    let refused = shown(ForeignCaller::Refuse, FOREIGN, "");
    assert_eq!(line(&refused), "SIP/2.0 403 Forbidden");
    assert_eq!(value(&refused, "Reason"), "Q.850;cause=21");
    // Another tenant's is as foreign as anybody's.
    assert_eq!(shown(ForeignCaller::Main, "+12025550100", ""), "<sip:+442079460000@127.0.0.10>");
    assert!(shown(ForeignCaller::Refuse, "+12025550100", "").starts_with("SIP/2.0 403"));
}

#[test]
fn at_04_a_forwarded_call_keeps_its_caller_behind_an_own_number_alone() {
    let by = |number: &str| format!("DIVERSION: <sip:{number}@sip.teams.test>;reason=no-answer\n");
    for policy in [ForeignCaller::Main, ForeignCaller::Refuse] {
        assert_eq!(shown(policy, FOREIGN, &by("+442079460005")), "<sip:+33123456789@127.0.0.10>");
    }
    let kept = "<sip:+442079460000@127.0.0.10>";
    for number in ["+12025550100", "+33111111111", "+1001"] {
        assert_eq!(shown(ForeignCaller::Main, FOREIGN, &by(number)), kept, "{number}");
    }
}

#[test]
fn tr_020_an_asserted_number_that_is_foreign_is_not_vouched_for() {
    let mut config = config();
    config.trunks[0].trusted = true;
    let mut world = World::with(config);
    let more = format!("P-ASSERTED-IDENTITY: <sip:{FOREIGN}@sip.teams.test>\nPRIVACY: id\n");
    world.hear(PROXY, &teams_invite("+33198765432", "t1", &more, SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    assert!(value(&invite, "From").starts_with("\"Anonymous\""), "{invite}");
    assert_eq!(value(&invite, "P-Asserted-Identity"), "<sip:+442079460000@127.0.0.10>");
    assert!(!invite.contains(FOREIGN));
}

#[test]
fn tr_068_a_call_for_help_is_never_refused_for_its_caller() {
    let mut config = config();
    config.tenants[0].foreign_caller = ForeignCaller::Refuse;
    let mut world = World::with(config);
    let invite = teams_invite("112", "t1", "", SECURE);
    world.hear(PROXY, &invite.replace("sip:+442079460001@sip", "sip:+33123456789@sip"));
    let invite = world.expect(CARRIER, "INVITE sip:112@");
    assert!(value(&invite, "From").starts_with("<sip:+442079460000@"), "{invite}");
}

fn in_state(state: NumberState) -> config::Config {
    let mut config = config();
    let number = config::Number::parse("+442079460001").unwrap();
    let range = config::NumberRange { first: number, last: number };
    config.tenants[0].states = States::new([(range, state)].into_iter());
    config
}

#[test]
fn numbers_that_rest_are_neither_called_nor_shown() {
    for state in [NumberState::Reserved, NumberState::Quarantine] {
        let mut world = World::with(in_state(state));
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        world.expect(CARRIER, "SIP/2.0 404");
        assert_eq!(world.records[0].cause.text, Cause::NumberNotInUse.to_string());
        world.hear(PROXY, &teams_invite("+33198765432", "t1", "", SECURE));
        let invite = world.expect(CARRIER, "INVITE ");
        assert!(value(&invite, "From").starts_with("<sip:+442079460000@"), "{invite}");
    }
}

/// Another tenant that shares a trunk reaches it through the public network, which knows where it is.
#[test]
fn a_number_being_ported_is_in_use_and_reached_from_outside() {
    for (state, hop) in [(NumberState::Active, PROXY), (NumberState::Porting, CARRIER)] {
        let mut config = in_state(state);
        config.tenants[1].trunks = vec![0];
        let mut world = World::with(config);
        let invite = teams_invite("+442079460001", "t2", "", SECURE);
        let invite = invite
            .replace("t001.sbc", "t002.sbc")
            .replace("sip:+442079460001@sip", "sip:+12025550100@sip");
        world.hear(PROXY, &invite);
        world.expect(hop, "INVITE ");
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        world.expect(PROXY, "INVITE sip:+442079460001@");
    }
}
