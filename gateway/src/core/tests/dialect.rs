//! What a trunk's peers expect of headers, and what theirs mean, from the configuration to the wire.

use config::{CalledFrom, CallerId, CallerIdOut, Dialect, DisplayName, HeaderRule, NumberForm};

use super::*;

/// The usual configuration with another dialect of the carrier.
fn with(dialect: Dialect) -> config::Config {
    let mut config = config();
    config.trunks[0].country = config::Country::parse("GB");
    config.trunks[0].dialect = Arc::new(dialect);
    config
}

/// What the carrier is asked by a call of Teams.
fn shown_to_carrier(config: config::Config, called: &str, more: &str) -> String {
    let mut world = World::with(config);
    world.hear(PROXY, &teams_invite(called, "t1", more, SECURE));
    world.expect(CARRIER, "INVITE ")
}

/// What Teams is asked by a call of the carrier.
fn shown_to_teams(config: config::Config, invite: &str) -> String {
    let mut world = World::with(config);
    world.hear(CARRIER, invite);
    world.expect(PROXY, "INVITE ")
}

/// An INVITE of the carrier for that URI, with further headers.
fn asking(uri: &str, more: &str) -> String {
    let invite = carrier_invite("+442079460001", PLAIN);
    let invite = invite.replace("INVITE sip:+442079460001@127.0.0.10 ", &format!("INVITE {uri} "));
    invite.replace("Contact: <sip:ann", &format!("{more}Contact: <sip:ann"))
}

#[test]
fn tr_019_a_trunk_is_told_every_number_in_its_own_form() {
    const HISTORY: &str = "HISTORY-INFO: <sip:+442079460005@x?Reason=SIP%3Bcause%3D302>;index=1,<sip:x@x>;index=1.1\n";
    for (form, called, caller, diverted) in [
        (NumberForm::E164, "+442071234567", "+442079460001", "+442079460005"),
        (NumberForm::WithoutPlus, "442071234567", "442079460001", "442079460005"),
        (NumberForm::National, "02071234567", "02079460001", "02079460005"),
        (NumberForm::International, "00442071234567", "00442079460001", "00442079460005"),
    ] {
        for mark in ["", ";user=phone"] {
            let dialect = Dialect {
                numbers_out: form,
                user_phone: !mark.is_empty(),
                called_prefix_out: "99".into(),
                caller_id_out: Some(CallerIdOut::Asserted),
                ..Dialect::default()
            };
            let invite = shown_to_carrier(with(dialect), "+442071234567", HISTORY);
            let start = format!("INVITE sip:99{called}@127.0.0.50:5070{mark} SIP/2.0");
            assert_eq!(line(&invite), start);
            assert_eq!(value(&invite, "To"), format!("<sip:99{called}@127.0.0.50{mark}>"));
            let from = format!("<sip:{caller}@127.0.0.10{mark}>;tag=");
            assert!(value(&invite, "From").starts_with(&from), "{invite}");
            let asserted = format!("<sip:{caller}@127.0.0.10{mark}>");
            assert_eq!(value(&invite, "P-Asserted-Identity"), asserted);
            let diversion = format!("<sip:{diverted}@127.0.0.10{mark}>;reason=unconditional");
            assert!(value(&invite, "Diversion").starts_with(&diversion), "{invite}");
        }
    }
}

#[test]
fn short_and_emergency_numbers_are_dialled_as_they_are() {
    for form in [NumberForm::WithoutPlus, NumberForm::National, NumberForm::International] {
        let dialect =
            Dialect { numbers_out: form, called_prefix_out: "99".into(), ..Dialect::default() };
        for called in ["112", "+112", "116117"] {
            let invite = shown_to_carrier(with(dialect.clone()), called, "");
            assert!(line(&invite).starts_with(&format!("INVITE sip:{called}@")), "{invite}");
        }
    }
}

/// The record has the numbers as they were received, and as they were sent.
#[test]
fn the_record_has_what_was_received_and_what_was_sent() {
    let dialect = Dialect { numbers_out: NumberForm::National, ..Dialect::default() };
    let mut world = World::with(with(dialect));
    world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "486 Busy Here", "c1", "", ""));
    let [caller, callee] = &world.records[0].legs[..] else { panic!("{:?}", world.records) };
    assert_eq!((&*caller.caller, &*caller.called), ("+442079460001", "+442071234567"));
    assert_eq!((&*callee.caller, &*callee.called), ("02079460001", "02071234567"));
}

#[test]
fn the_called_number_is_read_where_the_trunk_has_it() {
    use CalledFrom::{CalledPartyId, Diversion, RequestUri, To};
    let pilot = "sip:+442079460099@127.0.0.10";
    let more = "P-Called-Party-ID: <tel:02079460003>\nDiversion: <sip:+442079460004@x>;reason=unconditional\n";
    for (from, want) in [
        (vec![RequestUri], "+442079460099"),
        (vec![To], "+442079460001"),
        (vec![CalledPartyId, RequestUri], "+442079460003"),
        (vec![Diversion], "+442079460004"),
    ] {
        let dialect = Dialect { called_from: from, ..Dialect::default() };
        let invite = shown_to_teams(with(dialect), &asking(pilot, more));
        assert!(
            line(&invite).starts_with(&format!("INVITE sip:{want}@sip.teams.test")),
            "{invite}"
        );
    }
    // It is what `match` goes by, and what the record says, also of a call that is refused.
    let dialect = Dialect { called_from: vec![CalledPartyId], ..Dialect::default() };
    let mut config = with(dialect);
    let mut other = config.trunks[0].clone();
    other.name = "other".into();
    other.matches.called_prefix = Some("+442079460003".into());
    config.trunks.push(other);
    let mut world = World::with(config);
    world.hear(CARRIER, &asking(pilot, more));
    world.expect(CARRIER, "SIP/2.0 404");
    let [caller] = &world.records[0].legs[..] else { panic!("{:?}", world.records) };
    assert_eq!((caller.trunk.as_deref(), &*caller.called), (Some("other"), "02079460003"));
}

#[test]
fn at_06_a_number_is_routed_by_what_it_means() {
    for uri in [
        "tel:+44-20-7946-0001",
        "tel:02079460001;phone-context=+44",
        "sip:79460001;phone-context=+4420@127.0.0.10;user=phone",
        "sip:+442079460001;npdi;rn=+442079460099@127.0.0.10",
    ] {
        let invite = shown_to_teams(with(Dialect::default()), &asking(uri, ""));
        assert!(line(&invite).starts_with("INVITE sip:+442079460001@sip.teams.test"), "{uri}");
        assert!(!invite.contains("npdi") && !invite.contains("phone-context"), "{invite}");
    }
    let forty = format!("sip:{}@127.0.0.10", "4".repeat(40));
    for (uri, status) in [
        ("sip:+19005550143;phone-context=+442079460001@127.0.0.10", "SIP/2.0 404"),
        ("sip:%D9%A4%D9%A4%D9%A2%D9%A0@127.0.0.10", "SIP/2.0 484"),
        (&forty, "SIP/2.0 484"),
    ] {
        let mut world = World::with(with(Dialect::default()));
        world.hear(CARRIER, &asking(uri, ""));
        world.expect(CARRIER, status);
        world.nothing_but(PROXY, &["OPTIONS"]);
    }
}

#[test]
fn tr_020_who_calls_is_read_from_and_told_by_remote_party_id() {
    let dialect = Dialect {
        caller_id_out: Some(CallerIdOut::RemotePartyId),
        display_name: DisplayName::Drop,
        ..Dialect::default()
    };
    let mut config = with(dialect);
    config.trunks[0].caller_id = CallerId::RemotePartyId;
    let told = "Remote-Party-ID: \"Bob\" <sip:02071230005@x>;party=calling;screen=yes";
    for (more, want) in [
        (format!("{told}\n"), "\"Bob\" <sip:+442071230005@t001.sbc.test;user=phone>"),
        (format!("{told};privacy=full\n"), "\"Anonymous\" <sip:anonymous@t001.sbc.test>"),
        (format!("{told}\nPrivacy: id\n"), "\"Anonymous\" <sip:anonymous@t001.sbc.test>"),
        (String::new(), "\"Ann\" <sip:+442071234567@t001.sbc.test;user=phone>"),
    ] {
        let invite = shown_to_teams(config.clone(), &asking("sip:+442079460001@x", &more));
        assert!(value(&invite, "From").starts_with(&format!("{want};tag=")), "{more}: {invite}");
        assert!(!invite.contains("Remote-Party-ID"), "{invite}");
    }
    for (privacy, trusted) in [(false, false), (false, true), (true, false), (true, true)] {
        config.trunks[0].trusted = trusted;
        let privacy_line = if privacy { "Privacy: id\n" } else { "" };
        let more = format!("P-Asserted-Identity: <tel:+442079460009>\n{privacy_line}");
        let invite = shown_to_carrier(config.clone(), "+33123456789", &more);
        let told: Vec<&str> =
            invite.lines().filter(|line| line.starts_with("Remote-Party-ID")).collect();
        let off =
            "Remote-Party-ID: <sip:+442079460009@127.0.0.10>;party=calling;screen=yes;privacy=off";
        let full = off.replace("=off", "=full");
        let want: &[&str] = match (privacy, trusted) {
            (false, _) => &[off],
            (true, true) => &[&full],
            (true, false) => &[],
        };
        assert_eq!(told, want);
        assert!(!invite.contains("P-Asserted-Identity"), "{invite}");
        assert_eq!(value(&invite, "From").contains("anonymous"), privacy);
    }
}

#[test]
fn only_headers_that_a_rule_names_are_made_or_pass() {
    let rule = |name: &str, value: Option<&str>| match value {
        Some(value) => HeaderRule::Add { name: name.into(), value: value.into() },
        None => HeaderRule::Copy { name: name.into() },
    };
    let more = "X-MS-Call: 1\nP-Charging-Vector: icid-value=\"a\"\nX-Other: 2\n";
    let headers = |invite: &str| {
        let known = |line: &&str| line.starts_with("X-") || line.starts_with("P-Charging");
        invite.lines().filter(known).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(headers(&shown_to_carrier(config(), "+33123456789", more)), [""; 0]);
    let to = vec![rule("X-Account", Some("42")), rule("p-charging-vector", None)];
    let dialect = Dialect { headers_to: to, ..Dialect::default() };
    let invite = shown_to_carrier(with(dialect), "+33123456789", more);
    assert_eq!(headers(&invite), ["X-Account: 42", "P-Charging-Vector: icid-value=\"a\""]);
    let from = vec![rule("X-Other", None)];
    let dialect = Dialect { headers_from: from, ..Dialect::default() };
    let call = asking("sip:+442079460001@x", more);
    assert_eq!(headers(&shown_to_teams(with(dialect), &call)), ["X-Other: 2"]);
}
