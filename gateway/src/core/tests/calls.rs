//! A call from its INVITE to its record, and the ways in which it fails.

use super::*;

#[test]
fn tr_017_a_carrier_call_bears_the_tenants_name_in_every_message() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE sip:+442079460001@sip.teams.test:5061;user=phone");
    assert_eq!(value(&invite, "Contact"), "<sip:+442071234567@t001.sbc.test:5061;transport=tls>");
    assert!(
        value(&invite, "From").starts_with("\"Ann\" <sip:+442071234567@t001.sbc.test;user=phone>")
    );
    assert!(value(&invite, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
    assert!(invite.contains("RTP/SAVP") && invite.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80"));
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(ok.contains("RTP/AVP") && !ok.contains("crypto"), "{ok}");
    let ack = world.expect(PROXY, "ACK sip:api-du-a.pstnhub.test:443;x-i=");
    assert!(value(&ack, "Contact").contains("@t001.sbc.test:5061;transport=tls"));
    assert!(value(&ack, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443;x-i=");
    assert!(value(&bye, "Contact").contains("@t001.sbc.test:5061;transport=tls"));
    assert!(value(&bye, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
}

#[test]
fn tr_024_the_peers_contact_is_echoed_byte_for_byte() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(PROXY, "BYE ");
    let uri = "sip:api-du-a.pstnhub.test:443;x-i=0900a0b8-ffff-4f45-b1bd-000000000001;x-c=a/s/1/b";
    assert_eq!(line(&bye), format!("BYE {uri} SIP/2.0"));
}

#[test]
fn a_call_ends_on_both_sides_with_one_record_and_leaves_nothing() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.hear(
        PROXY,
        &in_dialog(&invite, "BYE", 3, "t1", "REASON: Q.850;cause=16;text=\"x\"\n", ""),
    );
    world.expect(PROXY, "SIP/2.0 200");
    let bye = world.expect(CARRIER, "BYE sip:ann@127.0.0.50:5070");
    assert_eq!(value(&bye, "Reason"), "Q.850;cause=16;text=\"x\"");
    world.hear(CARRIER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!(world.records.len(), 1);
    let record = &world.records[0];
    assert_eq!((record.ended_by.as_str(), record.cause.sip), ("callee", 200));
    assert_eq!(record.legs[0].trunk.as_deref(), Some("carrier-a"));
    assert_eq!(record.legs[1].tenant.as_deref(), Some("t001"));
    assert_eq!(
        record.legs[1].correlation_id.as_deref(),
        Some("0900a0b8-ffff-4f45-b1bd-000000000001")
    );
    world.wait(Duration::from_secs(70));
    assert_eq!(world.core.calls(), 0);
    assert!(world.core.dialogs.is_empty());
    let options = 2;
    assert!(world.core.gauges().transactions <= options, "{:?}", world.core.gauges());
    assert_eq!(world.core.gauges().free_port_pairs, 100);
}

/// Also where another Reason stands before the one that counts (RFC 3326 §2).
#[test]
fn tr_034_cancel_goes_through_with_every_reason() {
    let elsewhere = "SIP;cause=200;text=\"Call completed elsewhere\"";
    for before in ["", "Reason: Q.850;cause=26\n"] {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
        let cancel = format!(
            "CANCEL sip:+442079460001@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc1\n\
             Max-Forwards: 70\nFrom: <sip:+442071234567@127.0.0.50>;tag=ca\n\
             To: <sip:+442079460001@127.0.0.10>\nCall-ID: c1\nCSeq: 1 CANCEL\n{before}\
             Reason: {elsewhere}\nContent-Length: 0\n\n"
        );
        world.hear(CARRIER, &cancel);
        world.expect(CARRIER, "SIP/2.0 487");
        let cancel = world.expect(PROXY, "CANCEL ");
        let all = if before.is_empty() { "" } else { "Q.850;cause=26, " };
        assert_eq!(value(&cancel, "Reason"), format!("{all}{elsewhere}"));
    }
}

#[test]
fn a_silent_proxy_is_left_for_the_next_and_only_one_rings() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.expect(PROXY, "INVITE ");
    world.wait(Duration::from_millis(2600));
    let second = world.expect("127.0.0.21:5061", "INVITE ");
    world.hear("127.0.0.21:5061", &reply(&second, "200 OK", "t2", TEAMS_CONTACT, SECURE));
    world.expect(CARRIER, "SIP/2.0 200");
}

#[test]
fn tr_033_all_proxies_silent_is_503_within_eight_seconds() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.wait(Duration::from_secs(8));
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert!(value(&refused, "Reason").contains("cause=102"));
    assert_eq!(world.records[0].attempts.len(), 2);
}

#[test]
fn busy_is_final_and_relayed_once() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t1", "", ""));
    let refused = world.expect(CARRIER, "SIP/2.0 486");
    assert!(value(&refused, "Reason").contains("cause=17"));
    world.wait(Duration::from_secs(5));
    world.nothing_but("127.0.0.21:5061", &["OPTIONS"]);
}

#[test]
fn strangers_hear_nothing_and_known_trunks_get_a_reason() {
    let mut world = World::new();
    let stranger = carrier_invite("+442079460001", PLAIN).replace(CARRIER, "127.0.0.99:5070");
    world.hear("127.0.0.99:5070", &stranger);
    world.nothing_but("127.0.0.99:5070", &[]);
    world.hear(CARRIER, &carrier_invite("+442079999999", PLAIN));
    world.expect(CARRIER, "SIP/2.0 404");
    let [record] = &world.records[..] else { panic!("one record: {:?}", world.records) };
    assert_eq!((record.cause.sip, record.legs[0].trunk.as_deref()), (404, Some("carrier-a")));
    assert_eq!(record.legs[0].called, "+442079999999");
}

#[test]
fn tr_047_an_offer_without_keys_is_refused_with_488() {
    let mut world = World::new();
    let invite = |name, body| teams_invite("+33123456789", name, "", body);
    world.hear(PROXY, &invite("t1", PLAIN));
    world.expect(PROXY, "SIP/2.0 488");
    world.nothing_but(CARRIER, &[]);
    let dtls = SECURE.replace("RTP/SAVP", "UDP/TLS/RTP/SAVP")
        + "a=fingerprint:sha-256 00:11\na=setup:actpass\n";
    world.hear(PROXY, &invite("t2", &dtls));
    world.expect(CARRIER, "INVITE sip:+33123456789@127.0.0.50:5070");
}

#[test]
fn hold_and_resume_cross_the_call_as_each_side_knows_them() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    let hold = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
    let head = format!(
        "INVITE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc9\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 2 INVITE\n\
         Contact: <sip:ann@{CARRIER}>\n",
        value(&ok, "From"),
        value(&ok, "To"),
    );
    world.hear(CARRIER, &with_body(&head, &hold));
    let offer = world.expect(PROXY, "INVITE sip:api-du-a.pstnhub.test:443");
    assert!(offer.contains("a=inactive"), "{offer}");
    let answer = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    let accepted = reply(&offer, "200 OK", "", TEAMS_CONTACT, &answer).replace(";tag=\n", "\n");
    world.hear(PROXY, &accepted);
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert!(answer.contains("a=inactive"), "{answer}");
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert!(!plan.sides[0].send && !plan.sides[1].receive);
}

#[test]
fn draining_refuses_new_calls_and_keeps_running_ones() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.core.drain(world.now);
    let other = second_invite();
    world.hear(CARRIER, &other);
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert_eq!(value(&refused, "Retry-After"), "2");
    assert_eq!(world.core.calls(), 1);
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
    assert!(!world.core.is_able());
}

#[test]
fn tr_025_a_bye_on_another_connection_finds_its_dialog() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let bye = in_dialog(&invite, "BYE", 3, "t1", "", "");
    let message = Message::parse(Bytes::from(bye.replace('\n', "\r\n"))).unwrap();
    let source = Source {
        transport: Transport::Tls,
        local: LocalId(0),
        local_addr: "127.0.0.11:5061".parse().unwrap(),
        remote: "127.0.0.99:61234".parse().unwrap(),
        flow: Some(FlowId(77)),
    };
    let opened = Opened { local: source.local, remote: source.remote, inbound: true };
    world.core.handle_opened(FlowId(77), opened, world.now);
    world.core.handle_message(source, message, world.now);
    world.drain();
    let (target, _) =
        world.sent.iter().rev().find(|(_, text)| text.starts_with("SIP/2.0 200")).unwrap();
    assert_eq!(target.flow, Some(FlowId(77)));
    world.expect(CARRIER, "BYE ");
}

#[test]
fn tr_030_an_answer_without_ringing_is_an_answer() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "200 OK", "v1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(ok.contains("m=audio 2"), "{ok}");
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert!(plan.sides.iter().all(|side| side.send && side.receive));
}

#[test]
fn a_dead_connection_inside_a_dialog_is_replaced() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.core.handle_closed(FlowId(7), world.now);
    world.hear(CARRIER, &carrier_bye(&ok));
    // The Contact's name is unknown here, so a query leaves first; then the address last heard is tried.
    world.wait(Duration::from_secs(3));
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443");
    assert!(value(&bye, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
}

#[test]
fn a_caller_without_an_offer_gets_ours() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", ""));
    let invite = world.expect(PROXY, "INVITE ");
    assert!(invite.contains("RTP/SAVP 8 0 101"), "{invite}");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(ok.contains("RTP/AVP 8") && ok.contains("a=rtpmap:101 telephone-event"), "{ok}");
    let ack = with_body(
        &format!(
            "ACK sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc2\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 1 ACK\n",
            value(&ok, "From"),
            value(&ok, "To"),
        ),
        PLAIN,
    );
    world.hear(CARRIER, &ack);
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert_eq!(plan.sides[0].rtp, Some("127.0.0.50:30000".parse().unwrap()));
    assert!(plan.sides.iter().all(|side| side.send && side.receive));
}
