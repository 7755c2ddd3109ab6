//! Trunks that have to prove who they are, through the whole core.

use config::{Login, Secret};
use sip_stack::auth::{self, Challenge, Role, Session};
use sip_stack::message::Method;

use super::*;

const WORD: &str = "not-to-be-seen";

fn proving() -> World {
    let mut config = config();
    config.trunks[0].authenticate = Some(Login {
        realm: "sbc.test".to_owned(),
        username: "pbx".to_owned(),
        password: Secret::of(WORD),
    });
    World::with(config)
}

/// That INVITE, each time in a transaction and a call of its own.
fn tries(world: &mut World, n: u32, answer: &str) {
    let text = carrier_invite("+442079460001", PLAIN)
        .replace("Call-ID: c1", &format!("Call-ID: n{n}"))
        .replace("z9hG4bKc1", &format!("z9hG4bKn{n}"))
        .replacen("Max-Forwards: 70\n", &format!("Max-Forwards: 70\n{answer}"), 1);
    world.hear(CARRIER, &text);
}

fn answer(challenge: &str, password: &str) -> String {
    let value = value(challenge, "Proxy-Authenticate");
    let challenge = Challenge::parse(Role::Proxy, value.as_bytes()).unwrap();
    let login = auth::Login { username: "pbx", password };
    let uri = b"sip:+442079460001@127.0.0.10";
    let answer = Session::new(challenge, "c".into()).answer(login, &Method::Invite, uri);
    format!("Proxy-Authorization: {}\n", String::from_utf8(answer.write().to_vec()).unwrap())
}

#[test]
fn a_call_goes_on_when_it_has_proven_whose_it_is() {
    let mut world = proving();
    tries(&mut world, 1, "");
    let challenge = world.expect(CARRIER, "SIP/2.0 407");
    let offered = challenge.lines().filter(|line| line.starts_with("Proxy-Authenticate: Digest"));
    assert_eq!(offered.count(), 2);
    assert!(world.records.is_empty(), "it was not refused, but asked");
    world.nothing_but(PROXY, &["OPTIONS "]);
    tries(&mut world, 2, &answer(&challenge, WORD));
    let invite = world.expect(PROXY, "INVITE ");
    assert!(!invite.contains("Proxy-Authorization") && !invite.contains("pbx"), "{invite}");
    // The same once more is a replay.
    tries(&mut world, 3, &answer(&challenge, WORD));
    assert!(world.expect(CARRIER, "SIP/2.0 407").contains("stale=true"));
}

#[test]
fn at_10_who_guesses_is_locked_out_and_has_a_record() {
    let mut world = proving();
    tries(&mut world, 0, "");
    let challenge = world.expect(CARRIER, "SIP/2.0 407");
    for n in 1..=5 {
        tries(&mut world, n, &answer(&challenge, "guess"));
        assert!(!world.expect(CARRIER, "SIP/2.0 407").contains("stale=true"));
    }
    tries(&mut world, 6, &answer(&challenge, WORD));
    world.expect(CARRIER, "SIP/2.0 403");
    assert_eq!(world.records.len(), 1);
    assert_eq!(world.records[0].cause.text, Cause::LockedOut.to_string());
    world.wait(Duration::from_secs(30));
    tries(&mut world, 7, &answer(&challenge, WORD));
    world.expect(PROXY, "INVITE ");
}

#[test]
fn a_call_for_help_is_never_asked() {
    let mut world = proving();
    world.hear(CARRIER, &carrier_invite("112", PLAIN));
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 407")));
    // The number for help of another country is none here.
    let mut world = proving();
    world.hear(CARRIER, &carrier_invite("119", PLAIN));
    world.expect(CARRIER, "SIP/2.0 407");
}
