//! A fault of ours costs one call or one message; and answers without a call (RFC 3261 §13.2.2.4).

use super::inputs::Trap;
use super::slots::Fault;
use super::*;

fn second_call() -> String {
    second_invite().replace("tag=ca", "tag=cb")
}

/// The other call goes on, and nothing is left of either.
fn ends_well(mut world: World, other: &str, records: usize) {
    assert_eq!(world.core.calls(), 1, "the other call goes on");
    world.hear(CARRIER, &carrier_bye(other));
    world.expect(CARRIER, "SIP/2.0 200");
    let bye = world.expect(PROXY, "BYE ");
    world.hear(PROXY, &ok(&bye));
    world.wait(Duration::from_secs(200));
    assert_eq!((world.core.calls(), world.core.unfinished()), (0, 0));
    assert_eq!(world.core.gauges().free_port_pairs, 100);
    assert!(world.core.dialogs.is_empty());
    let options = 2;
    assert!(world.core.gauges().transactions <= options, "{:?}", world.core.gauges());
    assert_eq!(world.core.admission.calls("t001"), 0);
    assert_eq!(world.records.len(), records);
}

fn ok(request: &str) -> String {
    reply(request, "200 OK", "", "", "").replace(";tag=\n", "\n")
}

/// Where the fault befalls the second of two calls: the first stays.
fn beside(when: Fault, setup: impl FnOnce(&mut World) -> String) -> (World, String, String) {
    let mut world = World::new();
    let (_, first) = answered(&mut world);
    world.sent.clear();
    world.hear(CARRIER, &second_call());
    world.expect(CARRIER, "SIP/2.0 100");
    let invite = setup(&mut world);
    world.core.fault = Some((CallKey(2), 1, when));
    (world, first, invite)
}

fn ack_of(answer: &str) -> String {
    format!(
        "ACK sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc8\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c7\nCSeq: 1 ACK\nContent-Length: 0\n\n",
        value(answer, "From"),
        value(answer, "To"),
    )
}

#[test]
fn a_fault_in_an_answered_call_hangs_up_on_both_peers() {
    for in_its_deeds in [false, true] {
        let (mut world, first, invite) = beside(Fault::After, |world| {
            let invite = world.expect(PROXY, "INVITE ");
            world.hear(PROXY, &reply(&invite, "200 OK", "t2", TEAMS_CONTACT, SECURE));
            let answer = world.expect(CARRIER, "SIP/2.0 200");
            world.hear(CARRIER, &ack_of(&answer));
            world.sent.clear();
            invite
        });
        if in_its_deeds {
            (world.core.fault, world.core.trap) = (None, Some((Trap::Deeds, 1)));
        }
        world.hear(PROXY, &in_dialog(&invite, "INFO", 3, "t2", "", ""));
        assert_eq!(world.faults, 1);
        for peer in [PROXY, CARRIER] {
            let bye = world.expect(peer, "BYE ");
            assert_eq!(value(&bye, "Reason"), "Q.850;cause=41");
            world.hear(peer, &ok(&bye));
        }
        let record = &world.records[0];
        assert!(record.t_answer.is_some(), "the record knows what there was: {record:?}");
        assert_eq!(record.cause.text, Cause::Internal.to_string());
        ends_well(world, &first, 2);
    }
}

#[test]
fn a_call_that_fails_twice_keeps_when_it_was_answered() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.core.fault = Some((world.core.slots.newest(), 2, Fault::Before));
    world.hear(PROXY, &in_dialog(&invite, "INFO", 3, "t1", "", ""));
    assert_eq!((world.faults, world.core.unfinished(), world.records.len()), (1, 0, 1));
    let record = &world.records[0];
    assert_eq!(record.cause.text, Cause::Internal.to_string());
    assert!(record.t_answer.is_some(), "an hour's call is no call that nobody answered");
}

#[test]
fn a_fault_in_every_deed_of_a_call_leaves_nothing_of_it() {
    let (mut world, first, invite) = beside(Fault::After, |world| world.expect(PROXY, "INVITE "));
    (world.core.fault, world.core.trap) = (None, Some((Trap::Deeds, 2)));
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t2", "", ""));
    assert_eq!(world.core.unfinished(), 1, "it is gone at once");
    world.expect(CARRIER, "SIP/2.0 500");
    let cancel = world.expect(PROXY, "CANCEL ");
    world.hear(PROXY, &ok(&cancel));
    world.hear(PROXY, &reply(&invite, "487 Request Terminated", "t2", "", ""));
    ends_well(world, &first, 2);
}

#[test]
fn a_request_that_fails_before_anybody_serves_it_gets_500_at_once() {
    let mut world = World::new();
    let (_, first) = answered(&mut world);
    world.sent.clear();
    world.core.trap = Some((Trap::Request, 1));
    world.hear(CARRIER, &second_call());
    assert_eq!((world.faults, world.core.gauges().calls), (1, 1));
    world.expect(CARRIER, "SIP/2.0 500");
    ends_well(world, &first, 1);
}

#[test]
fn a_fault_in_the_making_of_a_call_gives_back_what_it_held() {
    let mut world = World::new();
    let (_, first) = answered(&mut world);
    world.sent.clear();
    let before = world.core.gauges();
    world.core.trap = Some((Trap::Invite, 1));
    world.hear(CARRIER, &second_call());
    assert_eq!((world.faults, world.core.gauges().calls), (1, before.calls));
    assert_eq!(world.core.gauges().free_port_pairs, before.free_port_pairs);
    assert_eq!(world.core.admission.calls("t001"), 1);
    world.expect(CARRIER, "SIP/2.0 500");
    assert_eq!(world.records[0].cause.text, Cause::Internal.to_string());
    // The next one is a call.
    world.hear(CARRIER, &second_call().replace("z9hG4bKc1", "z9hG4bKc9").replace("c7", "c9"));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t9", "", ""));
    world.expect(CARRIER, "SIP/2.0 486");
    ends_well(world, &first, 3);
}

#[test]
fn a_fault_while_it_rings_cancels_and_answers_500() {
    let (mut world, first, invite) = beside(Fault::After, |world| {
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "180 Ringing", "t2", "", ""));
        world.expect(CARRIER, "SIP/2.0 180");
        invite
    });
    world.hear(PROXY, &reply(&invite, "183 Session Progress", "t2", "", ""));
    world.expect(CARRIER, "SIP/2.0 500");
    let cancel = world.expect(PROXY, "CANCEL ");
    world.hear(PROXY, &ok(&cancel));
    world.hear(PROXY, &reply(&invite, "487 Request Terminated", "t2", "", ""));
    world.expect(PROXY, "ACK ");
    ends_well(world, &first, 2);
}

#[test]
fn a_fault_before_the_answer_is_taken_leads_to_ack_and_bye_when_it_is_repeated() {
    let (mut world, first, invite) = beside(Fault::Before, |world| world.expect(PROXY, "INVITE "));
    let answer = reply(&invite, "200 OK", "t2", TEAMS_CONTACT, SECURE);
    world.hear(PROXY, &answer);
    world.expect(CARRIER, "SIP/2.0 500");
    world.hear(PROXY, &answer);
    world.expect(PROXY, "ACK ");
    let bye = world.expect(PROXY, "BYE ");
    world.hear(PROXY, &ok(&bye));
    ends_well(world, &first, 2);
}

#[test]
fn a_fault_after_the_answer_was_taken_hangs_up_on_both_as_the_dialogs_stand() {
    let (mut world, first, invite) = beside(Fault::After, |world| world.expect(PROXY, "INVITE "));
    let answer = reply(&invite, "200 OK", "t2", TEAMS_CONTACT, SECURE);
    world.hear(PROXY, &answer);
    let bye = world.expect(PROXY, "BYE ");
    // The ACK went down with the fault; the answer comes again.
    world.hear(PROXY, &answer);
    world.expect(PROXY, "ACK ");
    world.hear(PROXY, &ok(&bye));
    // The caller's 200 as well: its repeat leaves, and after the ACK the BYE (RFC 3261 §15).
    world.wait(Duration::from_millis(600));
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    world.hear(CARRIER, &ack_of(&answer));
    let bye = world.expect(CARRIER, "BYE ");
    world.hear(CARRIER, &ok(&bye));
    ends_well(world, &first, 2);
}

#[test]
fn a_call_that_fails_again_is_dropped_and_what_comes_for_it_later_is_hung_up_on() {
    let (mut world, first, invite) = beside(Fault::After, |world| {
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "180 Ringing", "t2", "", ""));
        invite
    });
    world.core.fault = Some((CallKey(2), 2, Fault::After));
    world.hear(PROXY, &reply(&invite, "183 Session Progress", "t2", "", ""));
    assert_eq!(world.core.unfinished(), 1, "it is gone at once");
    world.expect(CARRIER, "SIP/2.0 500");
    world.expect(PROXY, "CANCEL ");
    // The answer has crossed the CANCEL, and is repeated.
    let answer = reply(&invite, "200 OK", "t2", TEAMS_CONTACT, SECURE);
    world.hear(PROXY, &answer);
    let ack = world.expect(PROXY, "ACK sip:api-du-a.pstnhub.test:443;x-i=");
    assert_eq!(value(&ack, "Contact"), "<sip:t001.sbc.test:5061;transport=tls>");
    assert_eq!(value(&ack, "To"), value(&answer, "To"));
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443;x-i=");
    assert_eq!(value(&bye, "CSeq"), "2 BYE");
    world.hear(PROXY, &answer);
    world.expect(PROXY, "ACK ");
    world.nothing_but(PROXY, &["OPTIONS"]);
    world.hear(PROXY, &ok(&bye));
    ends_well(world, &first, 2);
}

#[test]
fn a_fault_in_one_message_costs_that_message_and_the_next_ones_are_served() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.core.trap = Some((Trap::Message, 1));
    world.hear(CARRIER, &second_call());
    assert_eq!(world.faults, 1);
    world.nothing_but(CARRIER, &["SIP/2.0 200"]);
    // Its sender repeats it, and all is well.
    world.hear(CARRIER, &second_call());
    world.expect(CARRIER, "SIP/2.0 100");
    world.expect(PROXY, "INVITE sip:+442079460002@");
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
    world.expect(PROXY, "BYE ");
}

/// What lets the core meet a trap, and what the world is like afterwards.
type Input = (Trap, fn(&mut World));

#[test]
fn a_fault_in_any_input_costs_that_input_and_the_daemon_goes_on() {
    const UDP: Source = Source {
        transport: Transport::Udp,
        local: LocalId(1),
        local_addr: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060),
        remote: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 50)), 5070),
        flow: None,
    };
    let raw = || Bytes::from(second_call().replace('\n', "\r\n"));
    let inputs: [Input; 8] = [
        (Trap::Door, |world| {
            assert_eq!(world.core.sort(&UDP, second_call().as_bytes(), world.now), None);
        }),
        (Trap::Shed, |world| {
            let raw = Bytes::from(second_call().replace('\n', "\r\n"));
            assert!(world.core.shed(&UDP, &raw, world.now), "it is dropped");
        }),
        (Trap::Message, |world| {
            let raw = Bytes::from(second_call().replace('\n', "\r\n"));
            world.core.handle_message(UDP, Message::parse(raw).unwrap(), world.now);
        }),
        (Trap::Handed, |world| {
            let raw = Bytes::from(second_call().replace('\n', "\r\n"));
            let message = Message::parse(raw).unwrap();
            world.core.handle_handed(Kin::Elder, UDP, message, world.now);
        }),
        (Trap::Unreadable, |world| {
            let error = Message::parse(Bytes::from_static(b"INVITE x\r\n\r\n")).unwrap_err();
            world.core.handle_unreadable(UDP, error, world.now);
        }),
        (Trap::SendFailed, |world| world.core.handle_send_failed(SendId(1), world.now)),
        (Trap::Answer, |world| {
            world.core.handle_answer(QueryId(1), Answer::Failed, world.now);
        }),
        (Trap::Media, |world| {
            world.core.handle_media(media_relay::Event::Cold { port: PORT }, world.now);
        }),
    ];
    for (trap, input) in inputs {
        let mut world = World::new();
        let (_, first) = answered(&mut world);
        world.sent.clear();
        world.core.trap = Some((trap, 1));
        input(&mut world);
        world.drain();
        assert_eq!((world.faults, world.core.trap), (1, Some((trap, 0))), "{trap:?}");
        assert_eq!(world.core.unfinished(), 1, "{trap:?}");
        // The same comes again, and all is well.
        let message = Message::parse(raw()).unwrap();
        assert!(world.core.sort(&UDP, &raw(), world.now).is_some());
        world.core.handle_message(UDP, message, world.now);
        world.drain();
        world.expect(CARRIER, "SIP/2.0 100");
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "486 Busy Here", "t9", "", ""));
        world.expect(CARRIER, "SIP/2.0 486");
        ends_well(world, &first, 2);
    }
}

#[test]
fn a_deadline_that_fails_is_taken_out_and_the_others_are_served() {
    let mut world = World::new();
    let (_, first) = answered(&mut world);
    world.sent.clear();
    world.hear(CARRIER, &second_call());
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t9", "", ""));
    world.expect(CARRIER, "SIP/2.0 486");
    // Nobody acknowledges the refusal, so that it is to be repeated; that fails, however often.
    world.core.trap = Some((Trap::Timer, u8::MAX));
    let (_, before) = world.core.endpoint.transactions();
    world.wait(Duration::from_secs(1));
    assert!(world.faults > 0);
    assert!(world.core.endpoint.transactions().1 < before, "what fails is forgotten");
    world.core.trap = None;
    ends_well(world, &first, 2);
}

const PORT: media_relay::Port =
    media_relay::Port { shard: 0, pool: media_relay::PoolId(0), index: 9, number: 20999 };

#[test]
fn tr_028_an_attempt_that_answers_after_it_was_given_up_gets_ack_and_bye() {
    for minutes in [0, 5] {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        let late = world.expect(PROXY, "INVITE ");
        world.wait(Duration::from_millis(2600));
        let second = world.expect("127.0.0.21:5061", "INVITE ");
        world.hear("127.0.0.21:5061", &reply(&second, "486 Busy Here", "t2", "", ""));
        world.expect(CARRIER, "SIP/2.0 486");
        world.wait(Duration::from_secs(60 * minutes));
        world.sent.clear();
        let answer = reply(&late, "200 OK", "t1", TEAMS_CONTACT, SECURE);
        world.hear(PROXY, &answer);
        world.expect(PROXY, "ACK sip:api-du-a");
        let bye = world.expect(PROXY, "BYE sip:api-du-a");
        world.hear(PROXY, &ok(&bye));
        world.wait(Duration::from_secs(120));
        assert_eq!(world.core.unfinished(), 0);
    }
}

#[test]
fn an_answer_that_comes_again_late_does_not_end_its_call() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    world.wait(Duration::from_secs(40));
    world.sent.clear();
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    world.expect(PROXY, "ACK ");
    world.nothing_but(PROXY, &["OPTIONS"]);
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
}

#[test]
fn answers_to_what_we_never_asked_get_nothing() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.wait(Duration::from_secs(40));
    world.sent.clear();
    let answer = reply(&invite, "200 OK", "t9", TEAMS_CONTACT, SECURE);
    let branch = value(&invite, "Via").split("branch=").nth(1).unwrap().to_owned();
    let tag = value(&invite, "From").split("tag=").nth(1).unwrap().to_owned();
    // Another branch; another tag of ours; from a stranger.
    world.hear(PROXY, &answer.replace(&branch, "z9hG4bKsomethingelse"));
    world.hear(PROXY, &answer.replace(&tag, "somethingelse"));
    world.hear("127.0.0.99:5070", &answer.replace("SIP/2.0/TLS", "SIP/2.0/UDP"));
    for (target, text) in world.sent.drain(..) {
        assert!(text.starts_with("OPTIONS"), "{} {text}", target.remote);
    }
}
