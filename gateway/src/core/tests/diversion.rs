//! Calls that somebody has sent on: what the other side is told of whom, and when that is a loop (TR-069).

use config::Diversion;

use super::*;

/// A call that t001 sends on, as Teams tells of it: to +33123456789, by its number …05 which did not answer.
const HISTORY: &str = "HISTORY-INFO: <sip:+442079460005@sip.teams.test;user=phone?Reason=SIP%3Bcause%3D408%3Btext%3D%22Request%20Timeout%22>;index=1,\n <sip:+33123456789@sip.teams.test;user=phone>;index=1.1\n\
    REFERRED-BY: <sip:+442079460005@sip.teams.test;x-m=8:orgid:1;x-tt=aBc>\n";

/// What the carrier is told of a call of Teams in these words.
fn shown_to_carrier(config: config::Config, more: &str) -> String {
    let mut world = World::with(config);
    world.hear(PROXY, &teams_invite("+33123456789", "t1", more, SECURE));
    world.expect(CARRIER, "INVITE ")
}

/// What Teams is told of a call of the carrier in these words.
fn shown_to_teams(more: &str) -> String {
    let mut world = World::new();
    let contact = "Contact: <sip:ann";
    let invite = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &invite.replace(contact, &format!("{more}{contact}")));
    world.expect(PROXY, "INVITE ")
}

fn told(invite: &str) -> Vec<&str> {
    let names = ["Diversion:", "History-Info:", "Referred-By:"];
    invite.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

fn with(form: Diversion, trusted: bool) -> config::Config {
    let mut config = config();
    config.trunks[0].diversion = form;
    config.trunks[0].trusted = trusted;
    config
}

/// Each lap is a call of its own, with nothing that tells of the others: the carrier calls t001, whose user sends the call on
/// to a number that leads back to t001.
#[test]
fn at_51_a_loop_that_nobody_tells_of_ends_after_five_laps() {
    let mut config = config();
    config.tenants[0].limits = config::Limits::default();
    config.tenants[0].foreign_caller = config::ForeignCaller::Pass;
    let mut world = World::with(config);
    let lap = |world: &mut World, n: u32, called: &str| {
        let invite = carrier_invite(called, PLAIN);
        let invite = invite.replace("z9hG4bKc1", &format!("z9hG4bKl{n}"));
        world.hear(CARRIER, &invite.replace(": c1", &format!(": l{n}")));
    };
    let sent_on = |world: &mut World, n: u32| {
        let invite = teams_invite("+33123456789", &format!("t{n}"), "", SECURE);
        world.hear(PROXY, &invite.replace("sip:+442079460001@sip", "sip:+442071234567@sip"));
        world.expect(CARRIER, "INVITE sip:+33123456789@");
    };
    // Ten who dial the same number at a time are no loop.
    for n in 0..10 {
        lap(&mut world, 100 + n, "+442079460003");
        world.expect(PROXY, "INVITE sip:+442079460003@");
    }
    let mut last = String::new();
    for n in 0..5 {
        lap(&mut world, n, "+442079460001");
        last = world.expect(PROXY, "INVITE sip:+442079460001@");
        sent_on(&mut world, n);
    }
    lap(&mut world, 5, "+442079460001");
    world.expect(CARRIER, "SIP/2.0 482");
    assert_eq!(world.records.last().unwrap().cause.text, Cause::DivertedTooOften.to_string());
    lap(&mut world, 6, "+442079460002");
    world.expect(PROXY, "INVITE sip:+442079460002@");
    // One of them is answered: it was no loop.
    world.hear(PROXY, &reply(&last, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    lap(&mut world, 7, "+442079460001");
    world.expect(PROXY, "INVITE sip:+442079460001@");
}

#[test]
fn tr_069_a_trunk_is_told_who_sent_a_call_on_in_its_own_way() {
    let history = [
        "History-Info: <sip:+442079460005@127.0.0.10?Reason=SIP%3Bcause%3D408>;index=1",
        "History-Info: <sip:+33123456789@127.0.0.10;cause=408>;index=1.1;mp=1",
    ];
    let diversion =
        ["Diversion: <sip:+442079460005@127.0.0.10>;reason=no-answer;privacy=off;counter=1"];
    for (form, want) in [
        (Diversion::Diversion, &diversion[..]),
        (Diversion::HistoryInfo, &history[..]),
        (Diversion::None, &[]),
    ] {
        assert_eq!(told(&shown_to_carrier(with(form, false), HISTORY)), want);
    }
    // Of a transfer there is Referred-By alone; its tokens reach nobody.
    let by = "REFERRED-BY: <sip:+442079460005@sip.teams.test;x-m=8:orgid:1;x-tt=aBc>\n";
    let want = ["Diversion: <sip:+442079460005@127.0.0.10>;reason=unknown;privacy=off;counter=1"];
    assert_eq!(told(&shown_to_carrier(config(), by)), want);
    let by = by.replace("+442079460005@", "");
    assert_eq!(told(&shown_to_carrier(config(), &by)), [""; 0]);
    assert_eq!(told(&shown_to_carrier(config(), "")), [""; 0]);
}

#[test]
fn tr_069_at_04_a_number_that_is_not_the_tenants_is_not_passed() {
    for foreign in ["+12025550105", "+442071230000", "+442079470001", "1001"] {
        let more = HISTORY.replace("+442079460005", foreign);
        for form in [Diversion::Diversion, Diversion::HistoryInfo] {
            let invite = shown_to_carrier(with(form, true), &more);
            assert_eq!(told(&invite), [""; 0], "{foreign}");
        }
    }
    // One of two: the other one is told, and how many there were.
    let more = "HISTORY-INFO: <sip:+12025550105@x?Reason=SIP%3Bcause%3D302>;index=1,<sip:+442079460005@x?Reason=SIP%3Bcause%3D486>;index=1.1,<sip:+33123456789@x>;index=1.1.1\n";
    let want = ["Diversion: <sip:+442079460005@127.0.0.10>;reason=user-busy;privacy=off;counter=2"];
    assert_eq!(told(&shown_to_carrier(config(), more)), want);
}

#[test]
fn tr_069_of_a_private_call_only_a_trusted_trunk_is_told() {
    let private = HISTORY.replace("?Reason", "?Privacy=history&Reason");
    let caller = format!("{HISTORY}P-Asserted-Identity: <tel:+442079460009>\nPrivacy: id\n");
    for more in [private, caller] {
        for form in [Diversion::Diversion, Diversion::HistoryInfo] {
            assert_eq!(told(&shown_to_carrier(with(form, false), &more)), [""; 0], "{more}");
        }
        let invite = shown_to_carrier(with(Diversion::Diversion, true), &more);
        let want =
            ["Diversion: <sip:+442079460005@127.0.0.10>;reason=no-answer;privacy=full;counter=1"];
        assert_eq!(told(&invite), want);
        let invite = shown_to_carrier(with(Diversion::HistoryInfo, true), &more);
        assert!(told(&invite)[0].contains("?Privacy=history&Reason="), "{invite}");
    }
}

#[test]
fn tr_069_teams_is_told_in_history_info_whatever_the_trunk_says() {
    let by = "<sip:+442071230000@carrier.test;user=phone>";
    let first = "History-Info: <sip:+442071230000@t001.sbc.test;user=phone?Reason=SIP%3Bcause%3D486>;index=1";
    let second =
        "History-Info: <sip:+442079460001@t001.sbc.test;user=phone;cause=486>;index=1.1;mp=1";
    for more in [
        format!("Diversion: {by};reason=user-busy;privacy=off;screen=no;limit=5;X=\"y\"\n"),
        format!("History-Info: {by};index=1, <sip:x@192.0.2.1;cause=486>;index=1.1;mp=1\n"),
        format!("Diversion: {by};reason=user-busy\nHistory-Info: <sip:+442079460001@x>;index=1\n"),
    ] {
        assert_eq!(told(&shown_to_teams(&more)), [first, second], "{more}");
    }
    for more in [
        // To be shown to nobody, and from a trunk that nobody trusts.
        format!("Diversion: {by};reason=user-busy;privacy=full\n"),
        format!("Privacy: history\nDiversion: {by};reason=user-busy\n"),
        // AT-04: of a tenant that takes no calls from this trunk.
        "Diversion: <sip:+12025550105@x>;reason=user-busy\n".to_owned(),
        "Diversion: <sip:alice@x>;reason=user-busy\nHistory-Info: nonsense\n".to_owned(),
    ] {
        assert_eq!(told(&shown_to_teams(&more)), [""; 0], "{more}");
    }
}

#[test]
fn tr_069_at_51_a_call_that_goes_round_is_482_after_five_diversions() {
    let entry = "<sip:+442079460005@x?Reason=SIP%3Bcause%3D302>;index=1";
    for (count, is_loop) in [(4, false), (5, true), (100, true)] {
        let mut world = World::new();
        let more = format!("HISTORY-INFO: {}\n", vec![entry; count].join(","));
        world.hear(PROXY, &teams_invite("+33123456789", "t1", &more, SECURE));
        if is_loop {
            let refused = world.expect(PROXY, "SIP/2.0 482");
            assert_eq!(value(&refused, "Reason"), "Q.850;cause=25");
            world.nothing_but(CARRIER, &["OPTIONS"]);
            let record = &world.records[0];
            assert_eq!(record.cause.text, Cause::DivertedTooOften.to_string());
            assert_eq!(world.core.unfinished(), 0);
        } else {
            let invite = world.expect(CARRIER, "INVITE ");
            assert_eq!(told(&invite).len(), count, "{invite}");
        }
    }
    // The same from a trunk, by a counter; a call for help goes through, and says less.
    let more = "Diversion: <sip:+442071230000@x>;reason=user-busy;counter=5\n";
    let mut world = World::new();
    let contact = "Contact: <sip:ann";
    let invite = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &invite.replace(contact, &format!("{more}{contact}")));
    world.expect(CARRIER, "SIP/2.0 482");
    let more = format!("HISTORY-INFO: {}\n", [entry; 9].join(","));
    let mut world = World::new();
    world.hear(PROXY, &teams_invite("112", "t1", &more, SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    assert!(told(&invite).len() <= 4, "{invite}");
}

/// The record says who diverted, whatever the other side was told.
#[test]
fn tr_069_the_record_names_who_diverted() {
    let mut world = World::with(with(Diversion::None, false));
    world.hear(PROXY, &teams_invite("+33123456789", "t1", HISTORY, SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "486 Busy Here", "c1", "", ""));
    let [caller, callee] = &world.records[0].legs[..] else { panic!("{:?}", world.records) };
    let by = [&caller.diverted_by, &callee.diverted_by].map(|by| by.as_deref());
    assert_eq!(by, [Some("+442079460005"), None]);
}
