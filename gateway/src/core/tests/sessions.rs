//! What a session asks for on the way (RFC 4028, RFC 3311), and what never crosses to the phone system.

use super::*;

fn carrier_request(ok: &str, method: &str, cseq: u32, extra: &str, body: &str) -> String {
    with_body(
        &format!(
            "{method} sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bK{method}{cseq}\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: {cseq} {method}\n\
             Contact: <sip:ann@{CARRIER}>\n{extra}",
            value(ok, "From"),
            value(ok, "To"),
        ),
        body,
    )
}

#[test]
fn tr_041_a_422_of_the_proxy_is_heeded_with_its_min_se() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let first = world.expect(PROXY, "INVITE ");
    assert!(!first.contains("Session-Expires"), "{first}");
    world.hear(PROXY, &reply(&first, "422 Session Interval Too Small", "t1", "Min-SE: 1800\n", ""));
    world.expect(PROXY, "ACK ");
    let second = world.expect(PROXY, "INVITE ");
    assert_eq!(value(&second, "Min-SE"), "1800");
    assert_eq!(value(&second, "Session-Expires"), "1800");
    assert_eq!(value(&second, "CSeq"), "2 INVITE");
    assert_eq!(value(&second, "Call-ID"), value(&first, "Call-ID"));
    let session = format!("{TEAMS_CONTACT}Session-Expires: 1800;refresher=uac\n");
    world.hear(PROXY, &reply(&second, "200 OK", "t1", &session, SECURE));
    world.expect(CARRIER, "SIP/2.0 200");
    // A second 422 is final.
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    for _ in 0..2 {
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "422 Too Small", "t1", "Min-SE: 3600\n", ""));
    }
    world.expect(CARRIER, "SIP/2.0 422");
}

#[test]
fn at_52_session_intervals_below_the_floor_are_refused_and_odd_ones_do_no_harm() {
    for (headers, status) in [
        ("Supported: timer\nSession-Expires: 1\n", 422),
        ("Supported: timer\nSession-Expires: 89;refresher=uac\n", 422),
        ("Require: timer\nSession-Expires: 0\n", 422),
        ("Supported: timer\nSession-Expires: 90\nMin-SE: 90\n", 100),
        ("Supported: timer\nSession-Expires: 1800\nMin-SE: 4294967296\n", 100),
        ("Supported: timer\nSession-Expires: 4294967296\n", 100),
        ("Supported: timer\nSession-Expires: -1\n", 100),
        // Who does not know the extension would not understand a 422 (RFC 4028 §9).
        ("Session-Expires: 1\n", 100),
    ] {
        let mut world = World::new();
        let text = carrier_invite("+442079460001", PLAIN);
        world.hear(CARRIER, &text.replace("Contact:", &format!("{headers}Contact:")));
        let answer = world.sent.iter().rev().find(|(target, text)| {
            target.remote.to_string() == CARRIER && !text.starts_with("SIP/2.0 100")
                || status == 100
        });
        if status == 422 {
            let (_, refusal) = answer.unwrap();
            assert!(refusal.starts_with("SIP/2.0 422"), "{headers}: {refusal}");
            assert_eq!(value(refusal, "Min-SE"), "90");
            world.nothing_but(PROXY, &["OPTIONS"]);
            assert_eq!(world.core.calls(), 0);
            continue;
        }
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
        let ok = world.expect(CARRIER, "SIP/2.0 200");
        if headers.contains("Session-Expires: 1\n") {
            assert!(value(&ok, "Session-Expires").starts_with("90;"), "{ok}");
        }
    }
}

#[test]
fn at_52_a_refresher_that_flaps_is_answered_each_time_and_refreshed_once() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    for cseq in 2..40 {
        let refresher = if cseq % 2 == 0 { "uac" } else { "uas" };
        let extra = format!("Supported: timer\nSession-Expires: 1800;refresher={refresher}\n");
        world.hear(CARRIER, &carrier_request(&ok, "UPDATE", cseq, &extra, ""));
        let answer = world.expect(CARRIER, "SIP/2.0 200");
        assert_eq!(value(&answer, "Session-Expires"), format!("1800;refresher={refresher}"));
    }
    world.hear(
        CARRIER,
        &carrier_request(&ok, "UPDATE", 40, "Supported: timer\nSession-Expires: 5\n", ""),
    );
    assert_eq!(value(&world.expect(CARRIER, "SIP/2.0 422"), "Min-SE"), "90");
    // The last word was that we refresh: once, at half time.
    world.sent.clear();
    world.wait(Duration::from_secs(901));
    let refreshes = world.sent.iter().filter(|(target, text)| {
        target.remote.to_string() == CARRIER && text.starts_with("INVITE ")
    });
    let branches: std::collections::HashSet<_> =
        refreshes.map(|(_, text)| value(text, "CSeq").to_owned()).collect();
    assert_eq!(branches.len(), 1, "{branches:?}");
}

#[test]
fn tr_038_nothing_but_invite_ack_bye_cancel_and_options_goes_to_the_phone_system() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.sent.clear();
    // A target refresh: answered here.
    world.hear(CARRIER, &carrier_request(&ok, "UPDATE", 2, "", ""));
    world.expect(CARRIER, "SIP/2.0 200");
    for (cseq, method) in
        (3..).zip(["INFO", "PRACK", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE", "PUBLISH"])
    {
        let extra = "RAck: 1 1 INVITE\nRefer-To: <sip:+33@127.0.0.50>\nEvent: x\n";
        world.hear(CARRIER, &carrier_request(&ok, method, cseq, extra, ""));
        world.expect(CARRIER, "SIP/2.0 4");
    }
    world.nothing_but(PROXY, &["OPTIONS"]);
    // Another port: our side alone. A hold: a re-INVITE, never an UPDATE.
    let moved = PLAIN.replace("o=- 1 1", "o=- 1 2").replace("audio 30000", "audio 30002");
    world.hear(CARRIER, &carrier_request(&ok, "UPDATE", 20, "", &moved));
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert!(answer.contains("m=audio 2"), "{answer}");
    world.nothing_but(PROXY, &["OPTIONS"]);
    let held = moved.replace("o=- 1 2", "o=- 1 3") + "a=sendonly\n";
    world.hear(CARRIER, &carrier_request(&ok, "UPDATE", 21, "", &held));
    let offer = world.expect(PROXY, "INVITE sip:api-du-a");
    assert!(offer.contains("a=inactive"), "{offer}");
    let answer = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    let accepted = reply(&offer, "200 OK", "", TEAMS_CONTACT, &answer).replace(";tag=\n", "\n");
    world.hear(PROXY, &accepted);
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(value(&answer, "CSeq"), "21 UPDATE");
    world.expect(PROXY, "ACK ");
    world.nothing_but(PROXY, &["OPTIONS"]);
}

#[test]
fn tr_038_tr_039_a_carrier_that_wants_reliable_ringing_gets_none_of_it_to_the_phone_system() {
    let mut world = World::new();
    let text = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &text.replace("Contact:", "Supported: 100rel, timer\nContact:"));
    let invite = world.expect(PROXY, "INVITE ");
    assert!(!invite.contains("100rel"), "{invite}");
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "Require: 100rel\nRSeq: 1\n", ""));
    let ringing = world.expect(CARRIER, "SIP/2.0 180");
    assert!(!ringing.contains("RSeq") && !ringing.contains("Require"), "{ringing}");
    world.wait(Duration::from_secs(5));
    world.nothing_but(PROXY, &["OPTIONS"]);
}
