//! Trunks that challenge: what is sent once more, to whom, with what; and what is not.

use config::{Login, Secret};
use sip_stack::auth::Authorization;
use sip_stack::message::Method;

use super::*;

const PEER2: &str = "127.0.0.53:5070";
const REALM: &str = "carrier.example";
const WORD: &str = "not-to-be-seen";

/// The carrier has two peers, and credentials for one realm.
fn with_credentials() -> config::Config {
    let mut config = config();
    let trunk = &mut config.trunks[0];
    let mut peer = trunk.peers[0].clone();
    peer.host = config::Host::Ip("127.0.0.53".parse().unwrap());
    trunk.peers.push(peer);
    trunk.credentials = vec![Login {
        realm: REALM.to_owned(),
        username: "t001".to_owned(),
        password: Secret::of(WORD),
    }];
    config
}

/// Teams calls; the INVITE to the carrier.
fn calling(world: &mut World, name: &str) -> String {
    world.hear(PROXY, &teams_invite("+33123456789", name, "", SECURE));
    world.expect(CARRIER, "INVITE ")
}

fn challenge(kind: &str, realm: &str, more: &str) -> String {
    format!(
        "{kind}-Authenticate: Digest realm=\"{realm}\", qop=\"auth\", algorithm=SHA-256, {more}\n"
    )
}

/// The carrier challenges a request.
fn challenged(world: &mut World, request: &str, realm: &str, more: &str) {
    let header = challenge("WWW", realm, more);
    world.hear(CARRIER, &answered_by(request, "401 Unauthorized", &header));
}

/// A response whose To has a tag already when the request is one in a dialog.
fn answered_by(request: &str, status: &str, header: &str) -> String {
    let text = reply(request, status, "n", header, "");
    if value(request, "To").contains(";tag=") { text.replace(";tag=n\n", "\n") } else { text }
}

fn answer(request: &str, name: &str) -> Option<Authorization> {
    let value = request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
    Some(Authorization::parse(value.as_bytes()).unwrap())
}

fn proves(request: &str, method: &Method) -> bool {
    let answer = answer(request, "Authorization").unwrap();
    let uri = line(request).split(' ').nth(1).unwrap();
    answer.realm == REALM && answer.uri == uri && answer.proves(method, WORD)
}

fn number(request: &str) -> u32 {
    value(request, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_challenged_invite_is_sent_again_and_its_dialog_goes_on_from_there() {
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    assert_eq!(answer(&first, "Authorization"), None);
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    let ack = world.expect(CARRIER, "ACK ");
    assert_eq!((number(&ack), answer(&ack, "Authorization")), (1, None));
    let second = world.expect(CARRIER, "INVITE ");
    assert!(proves(&second, &Method::Invite));
    assert_eq!((number(&first), number(&second)), (1, 2));
    for same in ["From", "To", "Call-ID", "Contact", "Max-Forwards"] {
        assert_eq!(value(&first, same), value(&second, same));
    }
    assert_ne!(value(&first, "Via"), value(&second, "Via"));
    assert_eq!(body(&first), body(&second));
    let contact = format!("Contact: <sip:b@{CARRIER}>\n");
    world.hear(CARRIER, &reply(&second, "200 OK", "b", &contact, PLAIN));
    let ok = world.expect(PROXY, "SIP/2.0 200");
    // RFC 3261 §22.1: the ACK says what the INVITE said.
    let ack = world.expect(CARRIER, "ACK ");
    assert_eq!(number(&ack), 2);
    assert_eq!(answer(&ack, "Authorization"), answer(&second, "Authorization"));
    world.hear(CARRIER, &reply(&second, "200 OK", "b", &contact, PLAIN));
    let repeated = world.expect(CARRIER, "ACK ");
    assert_eq!(answer(&repeated, "Authorization"), answer(&ack, "Authorization"));
    // The BYE uses the nonce again; this one is out of date, and the next one is not.
    world.hear(PROXY, &bye_of_teams(&ok));
    let bye = world.expect(CARRIER, "BYE ");
    assert!(proves(&bye, &Method::Bye) && number(&bye) == 3);
    assert_eq!(answer(&bye, "Authorization").unwrap().count.unwrap().1, 2);
    challenged(&mut world, &bye, REALM, "nonce=\"2\", stale=true");
    let again = world.expect(CARRIER, "BYE ");
    let answer = answer(&again, "Authorization").unwrap();
    assert!(proves(&again, &Method::Bye) && number(&again) == 4);
    assert_eq!((answer.nonce, answer.count.unwrap().1), ("2".into(), 1));
    world.hear(CARRIER, &answered_by(&again, "200 OK", ""));
    assert_eq!(world.core.challenges.waiting().0, 0);
    world.wait(Duration::from_secs(64));
    assert_eq!(world.core.challenges.waiting(), (0, 0));
    assert_eq!((world.core.unfinished(), world.faults), (0, 0));
    assert_eq!(world.records[0].cause.sip, 200);
}

/// The BYE of Teams in the call whose 200 was sent.
fn bye_of_teams(ok: &str) -> String {
    format!(
        "BYE sip:x@t001.sbc.test:5061 SIP/2.0\nVia: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bKbye\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: a\nCSeq: 2 BYE\nContent-Length: 0\n\n",
        value(ok, "From"),
        value(ok, "To"),
    )
}

#[test]
fn at_10_another_realm_gets_nothing_and_the_call_says_so() {
    for header in [
        challenge("WWW", "evil.example", "nonce=\"1\""),
        challenge("WWW", "CARRIER.example", "nonce=\"1\""),
        challenge("Proxy", "evil.example", "nonce=\"1\""),
        "WWW-Authenticate: Basic realm=\"carrier.example\"\n".to_owned(),
        String::new(),
    ] {
        let mut world = World::with(with_credentials());
        let invite = calling(&mut world, "a");
        let status = if header.starts_with("Proxy") { "407 No" } else { "401 No" };
        world.hear(CARRIER, &reply(&invite, status, "n", &header, ""));
        world.expect(CARRIER, "ACK ");
        world.expect(PROXY, "SIP/2.0 403");
        world.wait(Duration::from_secs(64));
        for (_, text) in &world.sent {
            assert!(!text.contains("Authorization") && !text.contains(WORD), "{text}");
        }
        let cause = &world.records[0].cause;
        assert_eq!(cause.text, Cause::ForeignRealm.to_string(), "{header}");
        assert_eq!(world.core.challenges.waiting(), (0, 0));
    }
}

#[test]
fn at_10_a_wrong_password_is_tried_once() {
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    world.expect(CARRIER, "ACK ");
    let second = world.expect(CARRIER, "INVITE ");
    challenged(&mut world, &second, REALM, "nonce=\"2\"");
    let ack = world.expect(CARRIER, "ACK ");
    assert_eq!(answer(&ack, "Authorization"), answer(&second, "Authorization"));
    world.expect(PROXY, "SIP/2.0 403");
    world.nothing_but(CARRIER, &["OPTIONS "]);
    assert_eq!(world.records[0].cause.text, Cause::CredentialsRefused.to_string());
}

#[test]
fn a_proxy_and_the_server_behind_it_are_answered_one_after_the_other() {
    let mut config = with_credentials();
    let mut second = config.trunks[0].credentials[0].clone();
    second.realm = "proxy.example".to_owned();
    config.trunks[0].credentials.push(second);
    let mut world = World::with(config);
    let first = calling(&mut world, "a");
    let header = challenge("Proxy", "proxy.example", "nonce=\"p\"");
    world.hear(CARRIER, &reply(&first, "407 Proxy", "n", &header, ""));
    world.expect(CARRIER, "ACK ");
    let second = world.expect(CARRIER, "INVITE ");
    assert_eq!(answer(&second, "Authorization"), None);
    challenged(&mut world, &second, REALM, "nonce=\"1\"");
    world.expect(CARRIER, "ACK ");
    let third = world.expect(CARRIER, "INVITE ");
    assert!(proves(&third, &Method::Invite) && number(&third) == 3);
    let proxy = answer(&third, "Proxy-Authorization").unwrap();
    assert!(proxy.realm == "proxy.example" && proxy.proves(&Method::Invite, WORD));
}

#[test]
fn a_cancelled_invite_is_not_sent_again_and_a_repeated_one_is_cancelled() {
    // The CANCEL leaves before the challenge comes.
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    world.hear(CARRIER, &reply(&first, "180 Ringing", "b", "", ""));
    world.hear(PROXY, &teams_cancel("a"));
    world.expect(CARRIER, "CANCEL ");
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    world.expect(CARRIER, "ACK ");
    world.nothing_but(CARRIER, &["OPTIONS "]);
    // It comes after it: what is cancelled is the second INVITE.
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    world.expect(CARRIER, "ACK ");
    let second = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&second, "180 Ringing", "b", "", ""));
    world.hear(PROXY, &teams_cancel("a"));
    let cancel = world.expect(CARRIER, "CANCEL ");
    assert_eq!((number(&cancel), value(&cancel, "Via")), (2, value(&second, "Via")));
    world.hear(CARRIER, &reply(&second, "487 Terminated", "b", "", ""));
    world.expect(CARRIER, "ACK ");
    world.wait(Duration::from_secs(64));
    assert_eq!((world.core.unfinished(), world.core.challenges.waiting()), (0, (0, 0)));
}

fn teams_cancel(name: &str) -> String {
    format!(
        "CANCEL sip:+33123456789@t001.sbc.test:5061;user=phone;transport=tls SIP/2.0\n\
         VIA: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bK{name}\nMAX-FORWARDS: 70\n\
         FROM: <sip:+442079460001@sip.teams.test>;tag=x\nTO: <sip:+33123456789@t001.sbc.test>\n\
         CALL-ID: {name}\nCSEQ: 1 CANCEL\nContent-Length: 0\n\n"
    )
}

#[test]
fn another_peer_of_the_trunk_has_not_asked_yet() {
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    let second = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&second, "503 Full", "b", "", ""));
    let other = world.expect(PEER2, "INVITE ");
    assert_eq!((answer(&other, "Authorization"), number(&other)), (None, 1));
    let header = challenge("WWW", REALM, "nonce=\"9\"");
    world.hear(PEER2, &reply(&other, "401 Unauthorized", "n", &header, ""));
    world.expect(PEER2, "ACK ");
    assert!(proves(&world.expect(PEER2, "INVITE "), &Method::Invite));
}

#[test]
fn a_challenge_from_elsewhere_is_not_answered() {
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    let header = challenge("WWW", REALM, "nonce=\"1\"");
    world.hear("127.0.0.66:5070", &reply(&first, "401 Unauthorized", "n", &header, ""));
    assert!(!world.sent.iter().any(|(_, text)| text.contains("Authorization")));
}

/// The far end of a call may name any address in its Contact; what proves us to the trunk does not go there.
#[test]
fn at_10_a_dialog_that_leads_elsewhere_takes_no_answer_along() {
    const ELSEWHERE: &str = "127.0.0.66:5070";
    let mut world = World::with(with_credentials());
    let first = calling(&mut world, "a");
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    let second = world.expect(CARRIER, "INVITE ");
    assert!(proves(&second, &Method::Invite));
    let contact = format!("Contact: <sip:b@{ELSEWHERE}>\n");
    world.hear(CARRIER, &reply(&second, "200 OK", "b", &contact, PLAIN));
    let ok = world.expect(PROXY, "SIP/2.0 200");
    let ack = world.expect(ELSEWHERE, "ACK ");
    assert_eq!(answer(&ack, "Authorization"), None);
    world.hear(PROXY, &bye_of_teams(&ok));
    let bye = world.expect(ELSEWHERE, "BYE ");
    assert_eq!(answer(&bye, "Authorization"), None);
    let header = challenge("WWW", REALM, "nonce=\"2\"");
    world.hear(ELSEWHERE, &answered_by(&bye, "401 Unauthorized", &header));
    world.wait(Duration::from_secs(40));
    let sent = world.sent.iter().filter(|(target, _)| target.remote.to_string() == ELSEWHERE);
    assert!(sent.into_iter().all(|(_, text)| !text.contains("Authorization")));
}

#[test]
fn options_of_ours_are_answered_for_as_well() {
    let mut config = with_credentials();
    config.trunks[0].options_interval = Some(Duration::from_secs(30));
    let mut world = World::with(config);
    world.wait(Duration::from_millis(100));
    let first = world.expect(CARRIER, "OPTIONS ");
    challenged(&mut world, &first, REALM, "nonce=\"1\"");
    let second = world.expect(CARRIER, "OPTIONS ");
    assert!(proves(&second, &Method::Options) && number(&second) == 2);
    assert_eq!(value(&first, "Call-ID"), value(&second, "Call-ID"));
    world.hear(CARRIER, &reply(&second, "200 OK", "b", "", ""));
    world.sent.clear();
    world.wait(Duration::from_secs(40));
    assert!(proves(&world.expect(CARRIER, "OPTIONS "), &Method::Options));
}

/// A trunk that calls us may challenge what we send in its dialogs.
#[test]
fn requests_in_the_dialogs_of_a_trunk_that_called_are_answered_for() {
    let mut world = World::with(with_credentials());
    let (invite, _) = answered(&mut world);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 1, "t1", "", ""));
    let bye = world.expect(CARRIER, "BYE ");
    challenged(&mut world, &bye, REALM, "nonce=\"1\"");
    let again = world.expect(CARRIER, "BYE ");
    assert!(proves(&again, &Method::Bye));
    assert_eq!(number(&again), number(&bye) + 1);
}
