//! What is turned away at the door, and what is let through before anything of it is read.

use super::*;
use crate::event::Dropped;
use crate::intake::Place;

const STRANGER: &str = "198.51.100.7:5060";

fn source(from: &str) -> Source {
    let remote: SocketAddr = from.parse().unwrap();
    let tls = remote.port() == 5061;
    Source {
        transport: if tls { Transport::Tls } else { Transport::Udp },
        local: LocalId(u16::from(!tls)),
        local_addr: "127.0.0.10:5060".parse().unwrap(),
        remote,
        flow: tls.then_some(FlowId(7)),
    }
}

fn raw(text: &str) -> Bytes {
    Bytes::from(text.replace('\n', "\r\n"))
}

/// Where it belongs, or why it was dropped.
fn sort(world: &mut World, from: &str, text: &str) -> Result<Place, Dropped> {
    let place = world.core.sort(&source(from), &raw(text), world.now);
    let mut dropped = None;
    while let Some(output) = world.core.poll_output() {
        if let Output::Event(Event::Dropped(why)) = output {
            dropped = Some(why);
        }
    }
    place.ok_or_else(|| dropped.expect("what is dropped is counted"))
}

fn options(agent: &str) -> String {
    format!(
        "OPTIONS sip:sbc.test SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKo1\nFrom: <sip:a@b>;tag=1\n\
         To: <sip:sbc.test>\nCall-ID: o1\nCSeq: 1 OPTIONS\nUser-Agent: {agent}\nContent-Length: 0\n\n"
    )
}

#[test]
fn at_01_strangers_and_scanners_get_silence() {
    let mut world = World::new();
    assert_eq!(sort(&mut world, STRANGER, &options("friend")), Err(Dropped::Stranger));
    assert_eq!(sort(&mut world, STRANGER, "rubbish"), Err(Dropped::Stranger));
    for agent in ["friendly-scanner", "sipvicious", "sipcli/1", "VaxSIPUserAgent/3", "pplsip"] {
        assert_eq!(sort(&mut world, CARRIER, &options(agent)), Err(Dropped::Scanner), "{agent}");
    }
    assert_eq!(sort(&mut world, CARRIER, &options("PBX")), Ok(Place::Priority));
    assert!(world.sent.is_empty());
}

#[test]
fn at_01_who_knocks_too_often_is_left_out_and_no_known_network_ever() {
    let mut world = World::new();
    for _ in 0..100 {
        let _ = sort(&mut world, STRANGER, "x");
        assert_eq!(sort(&mut world, CARRIER, &options("sipcli")), Err(Dropped::Scanner));
    }
    assert_eq!(sort(&mut world, STRANGER, "x"), Err(Dropped::Banned));
    assert_eq!(world.core.banned(world.now), 1);
    assert_eq!(sort(&mut world, CARRIER, &options("PBX")), Ok(Place::Priority));
    world.now += Duration::from_secs(301);
    assert_eq!(sort(&mut world, STRANGER, "x"), Err(Dropped::Stranger));
}

#[test]
fn at_03_no_header_admits_a_source() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    assert_eq!(sort(&mut world, STRANGER, &invite), Err(Dropped::Stranger));
    let forged = invite.replace("To: ", "To: <sip:x>;tag=aaaaaaaaaaaaaaaaaaaaaaaa\nX: ");
    assert_eq!(sort(&mut world, STRANGER, &forged), Err(Dropped::Stranger));
    // Even without the door.
    let message = Message::parse(raw(&invite)).unwrap();
    world.core.handle_message(source(STRANGER), message, world.now);
    world.drain();
    assert!(world.sent.is_empty() && world.core.calls() == 0);
}

#[test]
fn what_carries_an_identifier_of_ours_passes_from_anywhere() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let bye = carrier_bye(&ok);
    assert_eq!(sort(&mut world, STRANGER, &bye), Ok(Place::First));
    let answer = reply(&invite, "200 OK", "x", "", "");
    assert_eq!(sort(&mut world, STRANGER, &answer), Ok(Place::First));
    let foreign = answer.replace(";branch=z9hG4bK", ";branch=z9hG4bKx");
    assert_eq!(sort(&mut world, STRANGER, &foreign), Err(Dropped::Stranger));
}

#[test]
fn what_belongs_to_a_call_comes_first_then_help_then_calls() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    let in_dialog =
        |text: &str| text.replace("To: <", "To: x <").replacen("\nCall-ID", ";tag=t\nCall-ID", 1);
    assert!(matches!(sort(&mut world, CARRIER, &invite), Ok(Place::Call(_))));
    for (text, place) in [
        (in_dialog(&invite), Place::First),
        (invite.replace("INVITE", "BYE"), Place::First),
        (invite.replace("INVITE", "ACK"), Place::First),
        (invite.replace("INVITE", "CANCEL"), Place::First),
        ("SIP/2.0 200 OK\n\n".into(), Place::First),
        (invite.replace("sip:+442079460001@", "sip:112@"), Place::Priority),
        (invite.replace("INVITE", "REGISTER"), Place::Priority),
        ("rubbish".into(), Place::Priority),
        ("".into(), Place::Priority),
    ] {
        assert_eq!(sort(&mut world, CARRIER, &text), Ok(place), "{text}");
    }
    let Ok(Place::Call(one)) = sort(&mut world, CARRIER, &invite) else { panic!() };
    let Ok(Place::Call(two)) = sort(&mut world, "127.0.0.51:5060", &invite) else { panic!() };
    assert_ne!(one, two, "each caller has a lane of its own");
}

#[test]
fn a_call_refused_for_load_leaves_nothing_but_a_figure() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    assert!(world.core.shed(&source(CARRIER), &raw(&invite), world.now));
    let mut refused = 0;
    while let Some(output) = world.core.poll_output() {
        match &output {
            Output::Event(Event::CallRefused { cause: Cause::Overload }) => refused += 1,
            Output::Send { target, bytes, .. } => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                world.sent.push_back((target.clone(), text));
            }
            Output::Journal(entry) => panic!("{entry:?}"),
            Output::Query { .. }
            | Output::Media { .. }
            | Output::Retire(_)
            | Output::Close(_)
            | Output::Hand { .. }
            | Output::Event(_) => panic!("{output:?}"),
        }
    }
    let refusal = world.expect(CARRIER, "SIP/2.0 503");
    assert_eq!((value(&refusal, "Retry-After"), refused), ("2", 1));
    assert!(refusal.len() < invite.len(), "AT-33: less goes out than came in");
    assert_eq!(world.core.gauges().transactions, 0);
    let to = format!("To: {}\n", value(&refusal, "To"));
    let ack = invite.replace("INVITE", "ACK");
    let start = ack.find("To: ").unwrap();
    let end = start + ack[start..].find('\n').unwrap() + 1;
    let ack = format!("{}{to}{}", &ack[..start], &ack[end..]);
    assert_eq!(sort(&mut world, CARRIER, &ack), Err(Dropped::Absorbed));
}

#[test]
fn a_call_that_was_taken_is_not_refused_by_its_repeat() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &invite);
    world.sent.clear();
    assert!(!world.core.shed(&source(CARRIER), &raw(&invite), world.now));
    world.drain();
    assert!(world.sent.is_empty());
    assert_eq!(world.core.calls(), 1);
}
