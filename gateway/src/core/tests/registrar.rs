//! PBXs that register with us, through the whole core: who gets in, where calls go, what is kept.

use config::{Host, Login, RequestUser, Secret};
use sip_stack::auth::{self, Challenge, Role, Session};
use sip_stack::message::Method;

use super::*;
use crate::core::health::Why;
use crate::event::RegisterAnswer;
use crate::routing::{Place, PlaceName, TrunkId};

const SECOND: Duration = Duration::from_secs(1);
const WORD: &str = "not-to-be-seen";
/// Behind a NAT, which is what we see of it.
const HOME: &str = "192.0.2.9:40000";
const CONTACT: &str = "sip:pbx@10.0.0.9:5062;ob";

fn registering() -> config::Config {
    let mut config = config();
    let trunk = &mut config.trunks[0];
    trunk.networks = Vec::new();
    trunk.peers[0].host = Host::Registered;
    trunk.peers[0].port = None;
    trunk.authenticate = Some(Login {
        realm: "sbc.test".to_owned(),
        username: "pbx".to_owned(),
        password: Secret::of(WORD),
    });
    trunk.registrar = Some(config::Registrar {
        user: "pbx".to_owned(),
        min_expires: 60 * SECOND,
        max_expires: 3600 * SECOND,
        max_contacts: 1,
        networks: Vec::new(),
        transports: vec![config::Transport::Udp, config::Transport::Tcp],
        request_user: RequestUser::Number,
    });
    config
}

/// Padded as real ones are, which name what they allow.
const USUAL: &str = "Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS\n\
    Supported: outbound, path\nUser-Agent: PBX 1.0\n";

fn request(n: u32, more: &str) -> String {
    format!(
        "REGISTER sip:127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.9:5062;rport;branch=z9hG4bKr{n}\n\
         Max-Forwards: 70\nFrom: <sip:pbx@127.0.0.10>;tag=f\nTo: <sip:pbx@127.0.0.10>\nCall-ID: reg\n\
         CSeq: {n} REGISTER\n{more}Content-Length: 0\n\n"
    )
}

fn answer(challenge: &str, username: &str, password: &str) -> String {
    let value = value(challenge, "WWW-Authenticate");
    let challenge = Challenge::parse(Role::Server, value.as_bytes()).unwrap();
    let login = auth::Login { username, password };
    let uri = b"sip:127.0.0.10";
    let answer = Session::new(challenge, "c".into()).answer(login, &Method::Register, uri);
    format!("Authorization: {}\n", String::from_utf8(answer.write().to_vec()).unwrap())
}

fn asks(contact: &str, expires: u32) -> String {
    format!("Contact: <{contact}>\nExpires: {expires}\n{USUAL}")
}

/// Registers from there with these headers: the final answer.
fn registers(world: &mut World, from: &str, n: u32, headers: &str) -> String {
    world.hear(from, &request(n, headers));
    let challenge = world.expect(from, "SIP/2.0 401");
    let proof = answer(&challenge, "pbx", WORD);
    world.hear(from, &request(n + 1, &format!("{headers}{proof}")));
    world.expect(from, "SIP/2.0 ")
}

fn registered() -> World {
    let mut world = World::with(registering());
    let ok = registers(&mut world, HOME, 1, &asks(CONTACT, 600));
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert_eq!(value(&ok, "Contact"), format!("<{CONTACT}>;expires=600"));
    assert!(value(&ok, "Via").contains("received=192.0.2.9") && ok.contains("rport=40000"));
    world
}

fn pbx_invite(from: &str) -> String {
    carrier_invite("+442079460001", PLAIN).replace(CARRIER, from)
}

#[test]
fn a_pbx_registers_calls_and_is_called_where_it_registered_from() {
    let mut world = registered();
    world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    let invite = world.expect(HOME, "INVITE sip:+442071234567@10.0.0.9:5062;ob SIP/2.0");
    assert_eq!(value(&invite, "To"), "<sip:+442071234567@10.0.0.9>");
    world.hear(HOME, &reply(&invite, "200 OK", "p", "Contact: <sip:pbx@10.0.0.9:5062>\n", PLAIN));
    world.expect(PROXY, "SIP/2.0 200");
    world.expect(HOME, "ACK sip:pbx@10.0.0.9:5062 SIP/2.0");
    let plan = world.plan();
    let from = "192.0.2.9/32".parse().unwrap();
    assert!(plan.sides.iter().any(|side| side.sources == [from]), "media behind its NAT");
    // It calls; that is proven by itself.
    let mut world = registered();
    world.hear(HOME, &pbx_invite(HOME));
    world.expect(HOME, "SIP/2.0 407");
}

#[test]
fn at_33_a_stranger_who_registers_gets_fewer_bytes_than_it_sends() {
    let mut world = World::with(registering());
    for (more, least) in [
        (asks(CONTACT, 600), 1),
        (format!("Contact: *\nExpires: 0\n{USUAL}"), 1),
        (format!("{}{USUAL}", asks(CONTACT, 600)), 2),
        (format!("Contact: <{CONTACT}>\nExpires: 1\n"), 0),
        (String::new(), 0),
    ] {
        let text = request(1, &more);
        world.hear(HOME, &text);
        let sent = text.replace('\n', "\r\n").len();
        let back: Vec<String> = world.sent.drain(..).map(|(_, text)| text).collect();
        let bytes: usize = back.iter().map(String::len).sum();
        assert!(bytes <= sent, "{bytes} for {sent}");
        let found = back.iter().map(|text| text.matches("WWW-Authenticate").count()).sum::<usize>();
        assert!(found >= least, "{found} of {least}: {back:?} for {sent} bytes");
    }
    let (clients, servers) = world.core.endpoint.transactions();
    assert_eq!((clients, servers), (0, 0), "nothing is kept of it");
    assert!(world.kept.is_none());
}

#[test]
fn a_stranger_gets_in_by_nothing_but_register() {
    let mut world = registered();
    let near = "192.0.2.9:40001";
    world.hear(near, &pbx_invite(near));
    let options = request(1, USUAL).replace("REGISTER", "OPTIONS");
    world.hear(near, &options);
    let dialog = request(1, USUAL).replace("To: <sip:pbx@127.0.0.10>", "To: <sip:pbx@h>;tag=x");
    world.hear(near, &dialog);
    assert!(world.sent.iter().all(|(target, _)| target.remote.to_string() != near));
    world.hear(HOME, &options);
    world.expect(HOME, "SIP/2.0 200");
    // Its time is over: it is nobody any more.
    world.wait(600 * SECOND);
    world.sent.clear();
    world.hear(HOME, &pbx_invite(HOME));
    assert!(world.sent.is_empty(), "{:?}", world.sent);
}

#[test]
fn unknown_users_and_wrong_passwords_look_alike_and_lock_out_nobody_else() {
    let tries = |username: &str, password: &str| {
        let mut world = World::with(registering());
        let headers = asks(CONTACT, 600);
        world.hear(HOME, &request(1, &headers));
        let challenge = world.expect(HOME, "SIP/2.0 401");
        let mut seen = Vec::new();
        for n in 2..9 {
            let proof = answer(&challenge, username, password);
            world.hear(HOME, &request(n, &format!("{headers}{proof}")));
            let text = world.expect(HOME, "SIP/2.0 ");
            seen.push((line(&text).to_owned(), text.matches("WWW-Auth").count(), text.len()));
        }
        assert!(world.kept.is_none());
        (world, seen)
    };
    let (_, unknown) = tries("abc", WORD);
    let (mut world, wrong) = tries("pbx", "guess");
    assert_eq!(unknown, wrong);
    assert!(wrong[..5].iter().all(|(line, ..)| line.starts_with("SIP/2.0 401")), "{wrong:?}");
    assert!(wrong[5..].iter().all(|(line, ..)| line.starts_with("SIP/2.0 403")), "{wrong:?}");
    let elsewhere = "198.51.100.7:5060";
    let ok = registers(&mut world, elsewhere, 20, &asks(CONTACT, 600));
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
}

#[test]
fn a_challenge_is_worth_nothing_at_another_address() {
    let mut world = World::with(registering());
    let headers = asks(CONTACT, 600);
    world.hear(HOME, &request(1, &headers));
    let challenge = world.expect(HOME, "SIP/2.0 401");
    let proof = answer(&challenge, "pbx", WORD);
    // Who heard the challenge sends in the name of another.
    world.hear("198.51.100.7:5060", &request(2, &format!("{headers}{proof}")));
    assert!(world.expect("198.51.100.7:5060", "SIP/2.0 401").contains("stale=true"));
    world.hear(HOME, &request(2, &format!("{headers}{proof}")));
    world.expect(HOME, "SIP/2.0 200");
    world.hear(HOME, &request(3, &format!("{headers}{proof}")));
    assert!(world.expect(HOME, "SIP/2.0 401").contains("stale=true"), "a replay");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut world = registered();
    for (n, headers, status) in [
        (10, format!("Contact: *\nExpires: 60\n{USUAL}"), "400"),
        (20, format!("Contact: <tel:+1>\n{USUAL}"), "400"),
        (30, asks(CONTACT, 10), "423"),
        (40, format!("Require: gruu\n{}", asks(CONTACT, 600)), "420"),
        (50, format!("Contact: <sip:a@h>, <sip:b@h>\n{USUAL}"), "403"),
    ] {
        let refusal = registers(&mut world, HOME, n, &headers);
        assert!(refusal.starts_with(&format!("SIP/2.0 {status}")), "{refusal}");
        if status == "423" {
            assert_eq!(value(&refusal, "Min-Expires"), "60");
        }
    }
    let all = registers(&mut world, HOME, 60, "");
    assert_eq!(value(&all, "Contact"), format!("<{CONTACT}>;expires=600"), "nothing has changed");
    let other = request(70, &asks(CONTACT, 600)).replace("To: <sip:pbx@", "To: <sip:other@");
    world.hear(HOME, &other);
    let proof = answer(&world.expect(HOME, "SIP/2.0 401"), "pbx", WORD);
    let other = request(71, &format!("{}{proof}", asks(CONTACT, 600)));
    world.hear(HOME, &other.replace("To: <sip:pbx@", "To: <sip:other@"));
    world.expect(HOME, "SIP/2.0 403");
}

#[test]
fn nobody_registers_from_the_address_of_another_trunk() {
    let mut config = registering();
    config.trunks[1].realm = config.trunks[0].realm;
    config.trunks[1].networks = vec!["198.51.100.0/24".parse().unwrap()];
    let mut world = World::with(config);
    let refusal = registers(&mut world, "198.51.100.7:5060", 1, &asks(CONTACT, 600));
    assert!(refusal.starts_with("SIP/2.0 403"), "{refusal}");
}

#[test]
fn without_a_contact_the_trunk_is_tried_last_and_the_cause_says_so() {
    let mut config = registering();
    let mut fixed = config.trunks[0].peers[0].clone();
    fixed.host = Host::Ip("127.0.0.50".parse().unwrap());
    config.trunks[0].peers.push(fixed);
    let mut world = World::with(config.clone());
    world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    world.expect("127.0.0.50:5060", "INVITE ");
    config.trunks[0].peers.truncate(1);
    let mut world = World::with(config);
    world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    world.expect(PROXY, "SIP/2.0 480");
    assert_eq!(world.records[0].cause.text, Cause::NotRegistered.to_string());
}

#[test]
fn a_registration_that_goes_is_known_at_once() {
    let mut world = registered();
    // As short as it is: this address hears us.
    let gone = registers(&mut world, HOME, 10, "Contact: *\nExpires: 0\n");
    assert!(gone.starts_with("SIP/2.0 200") && !gone.contains("Contact"), "{gone}");
    world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    world.expect(PROXY, "SIP/2.0 480");
    world.wait(SECOND);
    assert_eq!(world.kept.as_deref(), Some(&[][..]), "nor is it kept");
    use RegisterAnswer::{Challenged, Registered, Removed};
    assert_eq!(world.registers, [Challenged, Registered, Challenged, Removed]);
}

#[test]
fn what_was_registered_outlives_the_process() {
    let world = registered();
    let kept = world.kept.clone().expect("written at once");
    let mut next = World::born(registering(), 2);
    next.core.learn_registered(kept, next.now);
    next.drain();
    next.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    next.expect(HOME, "INVITE sip:+442071234567@10.0.0.9:5062;ob SIP/2.0");
}

/// A BYE of ours goes through the NAT, to where the PBX is by then; its Contact leads nowhere.
#[test]
fn inside_a_dialog_a_pbx_is_reached_where_it_is_by_then() {
    for moved in [false, true] {
        let mut world = registered();
        world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
        let invite = world.expect(HOME, "INVITE ");
        let contact = "Contact: <sip:pbx@10.0.0.9:5062>\n";
        world.hear(HOME, &reply(&invite, "200 OK", "p", contact, PLAIN));
        let ok = world.expect(PROXY, "SIP/2.0 200");
        let ack = "ACK sip:x@t001.sbc.test:5061 SIP/2.0\nVia: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bKa\n";
        let names = |method: &str, cseq: u32| {
            format!(
                "{}Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: t1\nCSeq: {cseq} {method}\nContent-Length: 0\n\n",
                ack.replacen("ACK", method, 1).replace("z9hG4bKa", &format!("z9hG4bK{method}")),
                value(&ok, "From"),
                value(&ok, "To"),
            )
        };
        world.hear(PROXY, &names("ACK", 1));
        world.expect(HOME, "ACK ");
        let home = if moved { "192.0.2.9:40777" } else { HOME };
        if moved {
            registers(&mut world, home, 10, &asks(CONTACT, 600));
        }
        world.hear(PROXY, &names("BYE", 2));
        world.expect(home, "BYE sip:pbx@10.0.0.9:5062 SIP/2.0");
    }
}

/// A REGISTER on that connection of a stranger.
fn hear_on(world: &mut World, flow: FlowId, from: &str, text: &str) {
    let text = text.replace('\n', "\r\n");
    let source = Source {
        transport: Transport::Tcp,
        local: LocalId(1),
        local_addr: "127.0.0.10:5060".parse().unwrap(),
        remote: from.parse().unwrap(),
        flow: Some(flow),
    };
    let opened = Opened { local: source.local, remote: source.remote, inbound: true };
    world.core.handle_opened(flow, opened, world.now);
    if world.core.sort(&source, text.as_bytes(), world.now).is_some() {
        let message = Message::parse(Bytes::from(text)).unwrap();
        world.core.handle_message(source, message, world.now);
    }
    world.drain();
}

fn registers_on(world: &mut World, flow: FlowId, from: &str, n: u32, headers: &str) -> String {
    hear_on(world, flow, from, &request(n, headers));
    // On the connection; the address is where another would be opened to.
    let back = from.replace("40000", "5062");
    let proof = answer(&world.expect(&back, "SIP/2.0 401"), "pbx", WORD);
    hear_on(world, flow, from, &request(n + 1, &format!("{headers}{proof}")));
    world.expect(&back, "SIP/2.0 200")
}

#[test]
fn at_27_a_stranger_holds_a_connection_for_ten_seconds_and_who_registers_for_as_long_as_it_is() {
    let (idle, pbx, known) = (FlowId(50), FlowId(51), FlowId(52));
    let mut config = registering();
    config.trunks[1].realm = config.trunks[0].realm;
    config.trunks[1].networks = vec!["198.51.100.0/24".parse().unwrap()];
    let mut world = World::with(config);
    hear_on(&mut world, idle, "203.0.113.7:4000", &request(1, &asks(CONTACT, 600)));
    registers_on(&mut world, pbx, HOME, 1, &asks(CONTACT, 600));
    hear_on(&mut world, known, "198.51.100.7:4000", &request(9, USUAL));
    for n in 0..4 {
        world.wait(2 * SECOND);
        // What it says meanwhile proves nothing.
        hear_on(&mut world, idle, "203.0.113.7:4000", &request(20 + n, &asks(CONTACT, 600)));
        assert_eq!(world.closed, []);
    }
    world.wait(2 * SECOND);
    assert_eq!(world.closed, [idle]);
    world.wait(580 * SECOND);
    assert_eq!(world.closed, [idle], "it is registered");
    // Its time is over.
    world.wait(20 * SECOND);
    assert_eq!(world.closed, [idle, pbx], "a configured network keeps what it has opened");
}

#[test]
fn connections_of_an_address_that_is_left_out_are_closed_but_for_those_that_are_registered() {
    let (pbx, idle, late) = (FlowId(50), FlowId(51), FlowId(52));
    let mut world = World::with(registering());
    registers_on(&mut world, pbx, HOME, 1, &asks(CONTACT, 600));
    let near = "192.0.2.9:41000";
    let options = request(1, USUAL).replace("REGISTER", "OPTIONS");
    for _ in 0..20 {
        hear_on(&mut world, idle, near, &options);
    }
    assert_eq!(world.core.banned(world.now), 1);
    world.wait(SECOND);
    assert_eq!(world.closed, [idle]);
    hear_on(&mut world, late, near, &options);
    world.wait(SECOND);
    assert_eq!(world.closed, [idle, late]);
}

#[test]
fn at_33_an_old_challenge_or_a_spoilt_answer_buys_no_transaction_for_long() {
    let mut world = World::with(registering());
    let headers = asks(CONTACT, 600);
    world.hear(HOME, &request(1, &headers));
    let challenge = world.expect(HOME, "SIP/2.0 401");
    let spoilt = answer(&challenge, "pbx", WORD).replace("uri=\"sip:127.0.0.10\"", "uri=\"sip:x\"");
    for n in 2..102 {
        world.hear(HOME, &request(n, &format!("{headers}{spoilt}")));
    }
    let (_, servers) = world.core.endpoint.transactions();
    assert!((1..=20).contains(&servers), "{servers}");
    assert_eq!(world.core.banned(world.now), 1);
    let answers = |n: &str| world.sent.iter().filter(|(_, text)| text.starts_with(n)).count();
    assert_eq!(answers("SIP/2.0 401"), 5, "then it is locked out");
    // Elsewhere: right, but too late. It is asked anew, and forgotten.
    let mut world = World::with(registering());
    world.hear(HOME, &request(1, &headers));
    let challenge = world.expect(HOME, "SIP/2.0 401");
    world.wait(301 * SECOND);
    let proof = answer(&challenge, "pbx", WORD);
    world.hear(HOME, &request(2, &format!("{headers}{proof}")));
    assert!(world.expect(HOME, "SIP/2.0 401").contains("stale=true"));
    assert_eq!(world.core.endpoint.transactions(), (0, 0));
}

#[test]
fn at_33_the_bound_holds_for_configured_networks_too() {
    let mut config = registering();
    config.trunks[0].networks = vec!["192.0.2.0/24".parse().unwrap()];
    let mut world = World::with(config);
    world.hear(HOME, &request(1, ""));
    assert!(world.sent.is_empty(), "{:?}", world.sent);
    registers(&mut world, HOME, 10, &asks(CONTACT, 600));
    world.hear(HOME, &request(20, ""));
    world.expect(HOME, "SIP/2.0 401");
}

#[test]
fn what_the_last_second_brought_is_kept_when_the_process_ends() {
    let mut world = registered();
    registers(&mut world, HOME, 10, "Contact: *\nExpires: 0\n");
    assert_eq!(world.kept.as_ref().map(Vec::len), Some(1), "held back for a second");
    assert_eq!(world.core.last_registered(world.now), Some(Vec::new()));
    world.kept = None;
    world.wait(2 * SECOND);
    assert_eq!(world.kept, None, "nor is it written again");
    assert_eq!(World::new().core.last_registered(world.now), None, "nobody registers");
}

#[test]
fn a_pbx_that_answers_nothing_is_not_well_by_registering_again() {
    let mut world = registered();
    let host = Host::Registered.to_string();
    let name =
        PlaceName::Peer { trunk: world.core.routes.config().trunks[0].name.clone(), peer: host };
    let id = world.core.health.named(&name).unwrap();
    let place = Place::Peer { trunk: TrunkId(0), peer: 0 };
    let now = world.now;
    world.core.is_ill(id, Why::Unanswered, None, now);
    registers(&mut world, HOME, 10, &asks(CONTACT, 600));
    let routes = Arc::clone(world.core.routes());
    let renewal = Renewal { locals: Vec::new(), last: FlowId(0) };
    world.core.replace(routes, renewal, now);
    assert_eq!(world.core.health.rank(place, now), 1);
    registers(&mut world, "192.0.2.9:40777", 20, &asks(CONTACT, 600));
    assert_eq!(world.core.health.rank(place, now), 0, "it is elsewhere by now");
    world.core.is_ill(id, Why::Unanswered, None, now);
    registers(&mut world, "192.0.2.9:40777", 30, "Contact: *\nExpires: 0\n");
    registers(&mut world, HOME, 40, &asks(CONTACT, 600));
    assert_eq!(world.core.health.rank(place, now), 0, "it has come back");
}

#[test]
fn contacts_behind_one_socket_are_tried_one_after_the_other() {
    let mut config = registering();
    config.trunks[0].registrar.as_mut().unwrap().max_contacts = 2;
    let mut world = World::with(config);
    let both =
        format!("Contact: <sip:a@10.0.0.9>;q=0.9, <sip:b@10.0.0.10>;q=0.1\nExpires: 600\n{USUAL}");
    assert!(registers(&mut world, HOME, 1, &both).starts_with("SIP/2.0 200"));
    world.hear(PROXY, &teams_invite("+442071234567", "t1", "", SECURE));
    let invite = world.expect(HOME, "INVITE sip:+442071234567@10.0.0.9 ");
    world.hear(HOME, &reply(&invite, "503 No", "p", "", ""));
    world.expect(HOME, "INVITE sip:+442071234567@10.0.0.10 ");
}

#[test]
fn a_log_line_hides_the_number_in_a_contact() {
    let shown = crate::core::registered::shown;
    assert_eq!(shown(b"sip:+442079460000@10.0.0.9:5062;ob", true), "+442\u{2026}00@10.0.0.9");
    assert_eq!(shown(b"sip:+442079460000@10.0.0.9:5062;ob", false), "+442079460000@10.0.0.9");
    assert_eq!(shown(b"sip:10.0.0.9", true), "10.0.0.9");
}

#[test]
fn what_was_registered_with_another_password_does_not_outlive_the_process() {
    let kept = registered().kept.expect("written at once");
    assert!(!format!("{kept:?}").contains(WORD));
    for (word, contacts) in [(WORD, 1), ("changed", 0)] {
        let mut config = registering();
        config.trunks[0].authenticate.as_mut().unwrap().password = Secret::of(word);
        let name = config.trunks[0].name.clone();
        let mut next = World::born(config, 2);
        next.core.learn_registered(kept.clone(), next.now);
        assert_eq!(next.core.registrar.contacts(&name).len(), contacts, "{word}");
    }
}

#[test]
fn who_is_registered_is_not_shut_out_by_guesses_of_others_behind_its_nat() {
    let mut world = registered();
    let near = "192.0.2.9:41000";
    let headers = asks(CONTACT, 600);
    world.hear(near, &request(10, &headers));
    let challenge = world.expect(near, "SIP/2.0 401");
    for n in 11..18 {
        let guess = answer(&challenge, "pbx", "guess");
        world.hear(near, &request(n, &format!("{headers}{guess}")));
    }
    world.expect(near, "SIP/2.0 403");
    let ok = registers(&mut world, HOME, 30, &headers);
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    // Its own guesses shut it out.
    world.hear(HOME, &request(40, &headers));
    let challenge = world.expect(HOME, "SIP/2.0 401");
    for n in 41..48 {
        let guess = answer(&challenge, "pbx", "guess");
        world.hear(HOME, &request(n, &format!("{headers}{guess}")));
    }
    world.expect(HOME, "SIP/2.0 403");
}
