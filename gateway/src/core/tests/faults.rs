//! What must not break a call, or a neighbour: crossing offers, cancelled offers, strangers inside dialogs, a relay that
//! says nothing, faults of our own.

use super::*;

#[test]
fn a_fault_in_a_call_ends_that_call_alone_and_leaves_nothing() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    let second = second_invite();
    world.core.fault = Some((CallKey(2), 1, slots::Fault::Before));
    world.hear(CARRIER, &second);
    world.expect(CARRIER, "SIP/2.0 500");
    assert_eq!((world.records.len(), world.faults), (1, 1));
    assert_eq!(world.records[0].cause.text, Cause::Internal.to_string());
    assert_eq!(world.core.calls(), 1, "the other call goes on");
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
    world.expect(PROXY, "BYE ");
    world.wait(Duration::from_secs(70));
    assert_eq!((world.core.calls(), world.core.gauges().free_port_pairs), (0, 100));
    assert_eq!(world.records.len(), 2);
}

#[test]
fn offers_that_cross_are_refused_with_491_and_none_is_lost() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let hold = |cseq: u32, branch: &str| {
        let head = format!(
            "INVITE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch={branch}\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: {cseq} INVITE\n\
             Contact: <sip:ann@{CARRIER}>\n",
            value(&ok, "From"),
            value(&ok, "To"),
        );
        with_body(&head, &(PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n"))
    };
    world.hear(CARRIER, &hold(2, "z9hG4bKh1"));
    let ours = world.expect(PROXY, "INVITE sip:api-du-a");
    // The proxy's own re-INVITE crosses ours: 491 on both ways.
    let theirs = SECURE.replace("o=- 1 1", "o=- 1 3") + "a=inactive\n";
    world.hear(PROXY, &in_dialog(&invite, "INVITE", 5, "t1", TEAMS_CONTACT, &theirs));
    world.expect(PROXY, "SIP/2.0 491");
    world.hear(PROXY, &reply(&ours, "491 Request Pending", "", "", "").replace(";tag=\n", "\n"));
    // It retries first, and is asked to wait, because the carrier's offer goes before.
    world.hear(PROXY, &in_dialog(&invite, "INVITE", 6, "t1", TEAMS_CONTACT, &theirs));
    world.expect(PROXY, "SIP/2.0 491");
    world.wait(Duration::from_secs(5));
    let again = world.expect(PROXY, "INVITE sip:api-du-a");
    let answer = SECURE.replace("o=- 1 1", "o=- 1 4") + "a=inactive\n";
    let accepted = reply(&again, "200 OK", "", TEAMS_CONTACT, &answer).replace(";tag=\n", "\n");
    world.hear(PROXY, &accepted);
    let held = world.expect(CARRIER, "SIP/2.0 200");
    assert!(held.contains("a=inactive") && value(&held, "CSeq") == "2 INVITE", "{held}");
}

#[test]
fn a_hold_taken_back_is_taken_back_on_the_other_side_too() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    let hold = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
    let reinvite = carrier_reinvite(&ok, 2, &hold);
    world.hear(CARRIER, &reinvite);
    let offer = world.expect(PROXY, "INVITE sip:api-du-a");
    let cancel: String = carrier_reinvite(&ok, 2, "")
        .replace("INVITE sip", "CANCEL sip")
        .replace("2 INVITE", "2 CANCEL");
    world.hear(CARRIER, &cancel);
    world.expect(CARRIER, "SIP/2.0 487");
    let theirs = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    world
        .hear(PROXY, &reply(&offer, "200 OK", "", TEAMS_CONTACT, &theirs).replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(10));
    let again = world.expect(PROXY, "INVITE sip:api-du-a");
    assert!(again.contains("a=sendrecv"), "{again}");
    let back = SECURE.replace("o=- 1 1", "o=- 1 3");
    world.hear(PROXY, &reply(&again, "200 OK", "", TEAMS_CONTACT, &back).replace(";tag=\n", "\n"));
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert!(plan.sides.iter().all(|side| side.send && side.receive));
}

#[test]
fn tr_005_a_proxy_that_hangs_up_on_options_is_not_asked_more_often() {
    let mut world = World::new();
    world.core.handle_timeout(world.now);
    let mut times = Vec::new();
    for _ in 0..300 {
        let mut failed = Vec::new();
        while let Some(output) = world.core.poll_output() {
            if let Output::Send { id, target, bytes } = output
                && bytes.starts_with(b"OPTIONS")
                && target.remote.to_string() == PROXY
            {
                times.push(world.now);
                failed.push(id);
            }
        }
        for id in failed {
            let remote = PROXY.parse().unwrap();
            let opened = Opened { local: LocalId(0), remote, inbound: false };
            world.core.handle_opened(FlowId(50), opened, world.now);
            world.core.handle_closed(FlowId(50), world.now);
            world.core.handle_send_failed(id, world.now);
        }
        world.now += Duration::from_secs(1);
        if world.core.poll_timeout().is_some_and(|d| d <= world.now) {
            world.core.handle_timeout(world.now);
        }
    }
    assert!((4..=6).contains(&times.len()), "{}", times.len());
}

#[test]
fn what_a_late_answer_leaves_out_is_offered_anew_to_the_other_side() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", ""));
    let invite = world.expect(PROXY, "INVITE ");
    let both = SECURE.replace("SAVP 8 101", "SAVP 8 0 101");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, &both));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    let ulaw = PLAIN.replace("AVP 8 0 101", "AVP 0 101");
    let ack = with_body(
        &format!(
            "ACK sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc2\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 1 ACK\n",
            value(&ok, "From"),
            value(&ok, "To"),
        ),
        &ulaw,
    );
    world.hear(CARRIER, &ack);
    world.wait(Duration::from_secs(3));
    let again = world.expect(PROXY, "INVITE sip:api-du-a");
    assert!(again.contains("RTP/SAVP 0 101"), "{again}");
}

#[test]
fn a_relay_that_tells_no_figures_costs_the_figures_only() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    // As drain(), without the relay's Ended.
    let text = carrier_bye(&ok).replace('\n', "\r\n");
    let source = Source {
        transport: Transport::Udp,
        local: LocalId(1),
        local_addr: "127.0.0.10:5060".parse().unwrap(),
        remote: CARRIER.parse().unwrap(),
        flow: None,
    };
    world.core.handle_message(source, Message::parse(Bytes::from(text)).unwrap(), world.now);
    while let Some(output) = world.core.poll_output() {
        if let Output::Journal(Entry::Ended(r)) = output {
            world.records.push(Arc::unwrap_or_clone(r));
        }
    }
    world.wait(Duration::from_secs(3600));
    assert_eq!((world.records.len(), world.core.calls()), (1, 0));
}

#[test]
fn tags_alone_admit_nobody_to_a_dialog() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let bye = in_dialog(&invite, "BYE", 3, "t1", "", "")
        .replace("SIP/2.0/TLS sip-du-a.pstnhub.test:5061", "SIP/2.0/UDP 127.0.0.51:5070");
    world.hear("127.0.0.51:5070", &bye);
    let seen: Vec<_> = world
        .sent
        .iter()
        .filter(|(t, _)| t.remote.to_string() == "127.0.0.51:5070")
        .map(|(_, m)| line(m).to_owned())
        .collect();
    assert!(
        seen.iter().any(|l| l.contains("481")),
        "another trunk ended the call over UDP: {seen:?}"
    );
}

#[test]
fn media_at_an_address_that_cannot_be_reached_are_refused() {
    let mut world = World::new();
    let shapes = [("IP6 2001:db8::5", 1), ("IP6 ::ffff:127.0.0.10", 2), ("IP4 127.0.0.10", 3)];
    for (address, number) in shapes {
        let body = PLAIN
            .replace("c=IN IP4 127.0.0.50", &format!("c=IN {address}"))
            .replace("m=audio 30000", "m=audio 20010");
        let text = carrier_invite("+442079460001", &body)
            .replace("z9hG4bKc1", &format!("z9hG4bKv{number}"))
            .replace("Call-ID: c1", &format!("Call-ID: v{number}"));
        world.hear(CARRIER, &text);
        world.expect(CARRIER, "SIP/2.0 488");
        world.nothing_but(PROXY, &["OPTIONS"]);
    }
}

#[test]
fn a_plan_that_the_relay_cannot_take_ends_the_call_and_releases_its_session() {
    let mut world = World::new();
    answered(&mut world);
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    world.core.handle_media_refused(plan.session, world.now);
    world.drain();
    world.expect(CARRIER, "BYE ");
    world.expect(PROXY, "BYE ");
    assert!(matches!(world.media.last(), Some(Command::Release(_))));
    assert_eq!(world.records.len(), 1);
}

/// TR-075 as a property: whatever single bytes of a call are changed, nothing that leaves has a form that is forbidden
/// ([`assert_no_forbidden_forms`] looks at each message), nothing fails inside, and all is given back.
#[test]
fn tr_075_no_mutation_of_a_call_makes_a_forbidden_form_or_a_fault() {
    let mut world = World::new();
    let mut seed = 7_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for round in 0..4000 {
        let text = carrier_invite("+442079460001", PLAIN)
            .replace("Call-ID: c1", &format!("Call-ID: m{round}"))
            .replace("z9hG4bKc1", &format!("z9hG4bKm{round}"))
            .replace('\n', "\r\n");
        let mut bytes = text.into_bytes();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            let odd = [b'@', b':', b';', b'<', b'>', b'"', b'\\', b'%', b's', b'=', 0xff, b' '];
            bytes[at] = if random(2) == 0 { odd[random(odd.len())] } else { random(256) as u8 };
        }
        let source = Source {
            transport: Transport::Udp,
            local: LocalId(1),
            local_addr: "127.0.0.10:5060".parse().unwrap(),
            remote: CARRIER.parse().unwrap(),
            flow: None,
        };
        match Message::parse(Bytes::from(bytes)) {
            Ok(message) => world.core.handle_message(source, message, world.now),
            Err(error) => world.core.handle_unreadable(source, error, world.now),
        }
        world.drain_lossy();
        if round % 40 == 0 {
            world.wait(Duration::from_secs(200));
        }
    }
    world.wait(Duration::from_secs(700));
    assert_eq!(world.faults, 0);
    assert_eq!((world.core.calls(), world.core.gauges().free_port_pairs), (0, 100));
    assert!(world.records.len() > 1000, "most of them are calls: {}", world.records.len());
}

#[test]
fn a_realm_answers_as_the_very_listener_that_was_spoken_to() {
    let mut config = config();
    let mut second = config.realms[0].listen[0];
    second.address.set_port(5080);
    config.realms[0].listen.push(second);
    let mut world = World::with(config);
    // World::hear speaks to port 5060, the first of the two.
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(value(&ok, "Contact").contains("@127.0.0.10:5060"), "{ok}");
}
