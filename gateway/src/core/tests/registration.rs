//! Registrations through the whole core: what is sent, what the answers lead to, how calls come afterwards.

use config::{Login, Register, Secret};
use sip_stack::auth::Authorization;
use sip_stack::message::Method;

use super::*;
use crate::event::Registering;

const SECOND: Duration = Duration::from_secs(1);
const WORD: &str = "not-to-be-seen";

fn registering() -> config::Config {
    let mut config = config();
    let trunk = &mut config.trunks[0];
    trunk.credentials = vec![Login {
        realm: "carrier.example".to_owned(),
        username: "line1".to_owned(),
        password: Secret::of(WORD),
    }];
    trunk.register = Some(Register {
        registrar: "carrier.example".to_owned(),
        user: "line1".to_owned(),
        contact: "line1".to_owned(),
        expires: 600 * SECOND,
        each_peer: false,
    });
    config
}

/// The registrar challenges with that nonce; what comes then.
fn challenged(world: &mut World, request: &str, nonce: &str) {
    let header = format!(
        "WWW-Authenticate: Digest realm=\"carrier.example\", nonce=\"{nonce}\", algorithm=SHA-256, qop=\"auth\"\n"
    );
    world.hear(CARRIER, &reply(request, "401 Unauthorized", "r", &header, ""));
}

fn proves(request: &str) -> Authorization {
    let answer = Authorization::parse(value(request, "Authorization").as_bytes()).unwrap();
    assert!(answer.proves(&Method::Register, WORD) && answer.username == "line1", "{request}");
    answer
}

fn granted(world: &mut World, request: &str, seconds: u32) {
    let contact = format!("Contact: {};expires={seconds}\n", value(request, "Contact"));
    world.hear(CARRIER, &reply(request, "200 OK", "r", &contact, ""));
}

/// A world in which the first trunk is registered for so long.
fn registered(seconds: u32) -> World {
    let mut world = World::with(registering());
    world.wait(Duration::ZERO);
    let first = world.expect(CARRIER, "REGISTER sip:carrier.example SIP/2.0");
    assert!(!first.contains("Authorization"));
    assert_eq!(value(&first, "Contact"), "<sip:line1@127.0.0.10:5060>");
    assert_eq!(value(&first, "To"), "<sip:line1@carrier.example>");
    assert!(value(&first, "From").starts_with("<sip:line1@carrier.example>;tag="));
    assert_eq!((value(&first, "Expires"), value(&first, "CSeq")), ("600", "1 REGISTER"));
    challenged(&mut world, &first, "1");
    let second = world.expect(CARRIER, "REGISTER ");
    assert_eq!(value(&second, "CSeq"), "2 REGISTER");
    assert_eq!(value(&second, "Call-ID"), value(&first, "Call-ID"));
    proves(&second);
    granted(&mut world, &second, seconds);
    assert_eq!(world.registered.last(), Some(&(true, u64::from(seconds))));
    world
}

#[test]
fn a_registration_is_refreshed_under_the_same_nonce_and_taken_back_at_the_end() {
    let mut world = registered(100);
    world.wait(49 * SECOND);
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("REGISTER")));
    let began = world.now;
    while !world.sent.iter().any(|(_, text)| text.starts_with("REGISTER")) {
        assert!(world.now - began < 42 * SECOND);
        world.wait(SECOND / 10);
    }
    let refresh = world.expect(CARRIER, "REGISTER ");
    assert_eq!(value(&refresh, "CSeq"), "3 REGISTER");
    assert_eq!(proves(&refresh).count.unwrap().1, 2);
    granted(&mut world, &refresh, 100);
    world.sent.clear();
    world.core.drain(world.now);
    world.drain();
    let last = world.expect(CARRIER, "REGISTER ");
    assert_eq!((value(&last, "Expires"), value(&last, "CSeq")), ("0", "4 REGISTER"));
    assert_eq!(value(&last, "Contact"), "<sip:line1@127.0.0.10:5060>");
    assert_eq!(world.core.unfinished(), 1);
    challenged(&mut world, &last, "2");
    let last = world.expect(CARRIER, "REGISTER ");
    proves(&last);
    world.hear(CARRIER, &reply(&last, "200 OK", "r", "", ""));
    assert_eq!((world.core.unfinished(), world.faults), (0, 0));
    assert_eq!(world.core.challenges.waiting(), (0, 0));
}

#[test]
fn a_registrar_that_is_gone_is_asked_again_and_its_return_is_seen() {
    let mut world = registered(60);
    world.wait(120 * SECOND);
    assert_eq!(world.registered.last(), Some(&(false, 0)));
    assert!(world.registering.contains(&Registering::Unanswered));
    world.sent.clear();
    let began = world.now;
    while !world.sent.iter().any(|(_, text)| text.starts_with("REGISTER")) {
        assert!(world.now - began < 1800 * SECOND);
        world.wait(SECOND);
    }
    let request = world.expect(CARRIER, "REGISTER ");
    granted(&mut world, &request, 60);
    assert_eq!(world.registered.last(), Some(&(true, 60)));
    assert_eq!(world.registering.last(), Some(&Registering::Registered));
}

#[test]
fn at_10_another_realm_or_a_wrong_password_is_told_and_not_tried_for_ever() {
    for (realm, answers) in [("evil.example", 1), ("carrier.example", 2)] {
        let mut world = World::with(registering());
        world.wait(Duration::ZERO);
        let mut sent = 0;
        while let Some(at) = world.sent.iter().position(|(_, text)| text.starts_with("REGISTER")) {
            let (_, request) = world.sent.remove(at).unwrap();
            assert!(realm == "carrier.example" || !request.contains("Authorization"));
            sent += 1;
            let header = format!("WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{sent}\"\n");
            world.hear(CARRIER, &reply(&request, "401 Unauthorized", "r", &header, ""));
        }
        assert_eq!(sent, answers);
        assert_eq!(world.registering, [Registering::Unauthorized]);
        assert_eq!(world.registered.last(), Some(&(false, 0)));
        world.wait(14 * SECOND);
        assert!(!world.sent.iter().any(|(_, text)| text.starts_with("REGISTER")));
    }
}

#[test]
fn a_registrar_that_wants_a_longer_time_gets_it() {
    let mut world = World::with(registering());
    world.wait(Duration::ZERO);
    let first = world.expect(CARRIER, "REGISTER ");
    world.hear(CARRIER, &reply(&first, "423 Too Brief", "r", "Min-Expires: 1800\n", ""));
    world.wait(Duration::ZERO);
    let second = world.expect(CARRIER, "REGISTER ");
    assert_eq!((value(&second, "Expires"), value(&second, "CSeq")), ("1800", "2 REGISTER"));
    granted(&mut world, &second, 1800);
    assert_eq!(world.registered.last(), Some(&(true, 1800)));
}

/// RFC 3261 §16.5: the registrar's proxy puts our Contact into the Request-URI, and the number stays in To.
#[test]
fn calls_come_to_the_contact_and_the_number_stands_in_to() {
    let mut world = registered(600);
    let invite = carrier_invite("+442079460001", PLAIN).replacen(
        "INVITE sip:+442079460001@127.0.0.10",
        "INVITE sip:line1@127.0.0.10:5060",
        1,
    );
    world.hear(CARRIER, &invite);
    world.expect(PROXY, "INVITE sip:+442079460001@sip.teams.test:5061;user=phone");
    // Another user is none of ours.
    let mut world = registered(600);
    world.hear(CARRIER, &invite.replacen("sip:line1@", "sip:line2@", 1));
    world.expect(CARRIER, "SIP/2.0 484");
}

#[test]
fn a_reload_registers_what_is_new_and_takes_back_what_is_gone() {
    let mut world = registered(600);
    let renewal = || Renewal { locals: Vec::new(), last: FlowId(0) };
    let now = world.now;
    world.core.replace(routes(config()), renewal(), now);
    world.wait(Duration::ZERO);
    let last = world.expect(CARRIER, "REGISTER ");
    assert_eq!(value(&last, "Expires"), "0");
    assert_eq!(world.registered.last(), Some(&(false, 0)));
    world.hear(CARRIER, &reply(&last, "200 OK", "r", "", ""));
    let now = world.now;
    world.core.replace(routes(registering()), renewal(), now);
    world.wait(Duration::ZERO);
    let request = world.expect(CARRIER, "REGISTER ");
    assert_eq!(value(&request, "Expires"), "600");
    proves(&request);
}

/// The newest process alone speaks for all.
#[test]
fn a_process_that_was_taken_over_neither_refreshes_nor_takes_back() {
    let mut world = registered(100);
    world.core.hand_over(world.now);
    world.wait(300 * SECOND);
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("REGISTER")));
    assert_eq!(world.registered.len(), 1, "what has become of it is not for this one to say");
}
