//! Who calls and who is called, as either side sees it.

use super::*;

/// A call of the carrier in these words; what the proxy is asked.
fn shown_to_teams(config: config::Config, invite: &str) -> String {
    let mut world = World::with(config);
    world.hear(CARRIER, invite);
    world.expect(CARRIER, "SIP/2.0 100");
    world.expect(PROXY, "INVITE ")
}

fn with_headers(called: &str, from: &str, more: &str) -> String {
    let invite = carrier_invite(called, PLAIN);
    let from = format!("From: {from};tag=ca\n{more}");
    invite.replace("From: \"Ann\" <sip:+442071234567@127.0.0.50>;tag=ca\n", &from)
}

const PAI: &str = "P-Asserted-Identity: <sip:+442071230009@127.0.0.50>\n";

/// TR-019: national numbers become E.164 by the trunk's country, in Request-URI, To and From.
#[test]
fn tr_019_national_numbers_reach_teams_as_e164() {
    let mut config = config();
    config.trunks[0].country = config::Country::parse("GB");
    for called in ["02079460001", "00442079460001", "+44 (20) 7946-0001".replace(' ', "").as_str()]
    {
        let invite = with_headers(called, "<sip:02071234567@x>", "");
        let invite = shown_to_teams(config.clone(), &invite);
        assert!(invite.starts_with("INVITE sip:+442079460001@sip.teams.test:5061;user=phone"));
        assert_eq!(value(&invite, "To"), "<sip:+442079460001@t001.sbc.test;user=phone>");
        let from = "<sip:+442071234567@t001.sbc.test;user=phone>;tag=";
        assert!(value(&invite, "From").starts_with(from), "{invite}");
    }
}

/// TR-019: a called number that is none is 484 here; a caller that is none passes.
#[test]
fn tr_019_a_called_number_that_is_none_is_refused_a_caller_that_is_none_is_not() {
    for called in ["alice", "+", "1%0a2", "+12345678901234567"] {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite(called, PLAIN));
        world.expect(CARRIER, "SIP/2.0 484");
        world.nothing_but(PROXY, &["OPTIONS"]);
        assert_eq!(world.records[0].cause.text, Cause::IncompleteNumber.to_string());
    }
    for (from, want) in [
        ("<sip:5558@x>", "<sip:5558@t001.sbc.test;user=phone>"),
        ("\"Info\" <sip:info@x>", "\"Info\" <sip:info@t001.sbc.test>"),
        ("<sip:x@x@x>", "\"Anonymous\" <sip:anonymous@t001.sbc.test>"),
        ("<sip:127.0.0.50>", "\"Anonymous\" <sip:anonymous@t001.sbc.test>"),
    ] {
        let invite = shown_to_teams(config(), &with_headers("+442079460001", from, ""));
        let shown = value(&invite, "From");
        assert!(shown.starts_with(&format!("{want};tag=")), "{from}: {shown}");
    }
}

/// TR-020: Teams sees the asserted number in From, and nobody where that is wanted; never P-Asserted-Identity.
#[test]
fn tr_020_teams_sees_the_asserted_number_in_from_or_nobody() {
    let from = "\"Ann\" <sip:+442071234567@x>";
    let anonymous = "\"Anonymous\" <sip:anonymous@t001.sbc.test>";
    let asserted = "\"Ann\" <sip:+442071230009@t001.sbc.test;user=phone>";
    let own = "\"Ann\" <sip:+442071234567@t001.sbc.test;user=phone>";
    let by_from = |config: &mut config::Config| config.trunks[0].caller_id = config::CallerId::From;
    for (from_wins, more, want) in [
        (false, PAI.to_owned(), asserted),
        (true, PAI.to_owned(), own),
        (false, String::new(), own),
        (false, format!("{PAI}Privacy: id\n"), anonymous),
        (true, format!("{PAI}Privacy: header;critical\n"), anonymous),
        (false, format!("{PAI}Privacy: none\n"), asserted),
    ] {
        let mut config = config();
        if from_wins {
            by_from(&mut config);
        }
        let invite = shown_to_teams(config, &with_headers("+442079460001", from, &more));
        let shown = value(&invite, "From");
        assert!(shown.starts_with(&format!("{want};tag=")), "{more}: {shown}");
        assert!(!invite.contains("P-Asserted-Identity") && !invite.contains("Privacy"), "{invite}");
        assert!(want != anonymous || !invite.contains("4420712"), "{invite}");
    }
    // The record keeps both.
    let mut world = World::new();
    world.hear(CARRIER, &with_headers("+442079460001", from, &format!("{PAI}Privacy: id\n")));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t1", "", ""));
    let [caller, callee] = &world.records[0].legs[..] else { panic!() };
    assert_eq!(
        (&*caller.caller, caller.asserted.as_deref()),
        ("+442071234567", Some("+442071230009"))
    );
    assert_eq!((&*callee.caller, callee.asserted.as_deref()), ("anonymous", None));
}

/// TR-070: Teams forwards the identity and asks for privacy: the trunk sees nobody in From; only a trusted one is told
/// who it is, and that it is to be shown to nobody.
#[test]
fn tr_070_a_private_caller_of_teams_is_named_to_trusted_trunks_alone() {
    let more = "P-Asserted-Identity: <tel:+442079460009>,<sip:ann@contoso.test>\nPrivacy: id\n";
    for (trusted, privacy) in [(false, true), (true, true), (true, false), (false, false)] {
        let mut config = config();
        config.trunks[0].trusted = trusted;
        let mut world = World::with(config);
        let more = if privacy { more.to_owned() } else { more.replace("Privacy: id\n", "") };
        world.hear(PROXY, &teams_invite("+33123456789", "t1", &more, SECURE));
        let invite = world.expect(CARRIER, "INVITE ");
        let has = |line: &str| invite.lines().any(|l| l.trim_end() == line);
        let told = has("P-Asserted-Identity: <sip:+442079460009@127.0.0.10>");
        assert_eq!((told, has("Privacy: id")), (trusted, trusted && privacy), "{invite}");
        assert_eq!(value(&invite, "From").contains("anonymous"), privacy, "{invite}");
        assert!(trusted || !invite.contains("+442079460009"), "{invite}");
    }
}

/// TR-053: two codecs of the carrier under one payload type have one each towards Teams.
#[test]
fn tr_053_doubled_payload_types_are_parted_before_teams() {
    let doubled = PLAIN
        .replace("AVP 8 0 101", "AVP 8 97 97 101")
        .replace("a=rtpmap:101", "a=rtpmap:97 G726-32/8000\na=rtpmap:97 iLBC/8000\na=rtpmap:101");
    let invite = shown_to_teams(config(), &carrier_invite("+442079460001", &doubled));
    let line = invite.lines().find(|l| l.starts_with("m=audio")).expect("m=audio");
    let mut kinds: Vec<&str> = line.split_whitespace().skip(3).collect();
    let all = kinds.len();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), all, "{line}");
    for kind in kinds.iter().filter(|kind| kind.parse::<u8>().is_ok_and(|kind| kind >= 96)) {
        let maps = invite.lines().filter(|l| l.starts_with(&format!("a=rtpmap:{kind} "))).count();
        assert_eq!(maps, 1, "{invite}");
    }
}

/// TR-071: Microsoft's id of the call, from Contact or from the text of Reason, stands in the record.
#[test]
fn tr_071_microsofts_id_of_the_call_is_in_the_record() {
    let guid = "0900a0b8-ffff-4f45-b1bd-000000000001";
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(PROXY, "BYE ");
    world.hear(PROXY, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!(world.records[0].legs[1].correlation_id.as_deref(), Some(guid));
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    let reason = "REASON: Q.850;cause=17;text=\"0900a0b8-ffff-4f45-b1bd-000000000002;User busy\"\n";
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t1", reason, ""));
    let record = &world.records[0];
    let other = guid.replace("001", "002");
    assert_eq!(record.legs[1].correlation_id.as_deref(), Some(&*other));
    assert!(record.cause.reason.as_ref().is_some_and(|text| text.contains("User busy")));
}
