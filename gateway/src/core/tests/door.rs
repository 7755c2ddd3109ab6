//! What is turned away at the door, and what is let through before anything of it is read.

use super::*;
use crate::event::Dropped;
use crate::intake::{Intake, Next, Place, Waiting};

const STRANGER: &str = "198.51.100.7:5060";

pub(super) fn source(from: &str) -> Source {
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

pub(super) fn raw(text: &str) -> Bytes {
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
    assert!(matches!(sort(&mut world, CARRIER, &options("PBX")), Ok(Place::Priority(_))));
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
    assert!(matches!(sort(&mut world, CARRIER, &options("PBX")), Ok(Place::Priority(_))));
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
    assert!(matches!(sort(&mut world, STRANGER, &bye), Ok(Place::First(_))));
    let answer = reply(&invite, "200 OK", "x", "", "");
    assert!(matches!(sort(&mut world, STRANGER, &answer), Ok(Place::First(_))));
    let foreign = answer.replace(";branch=z9hG4bK", ";branch=z9hG4bKx");
    assert_eq!(sort(&mut world, STRANGER, &foreign), Err(Dropped::Stranger));
}

/// With that To tag.
fn tagged(text: &str, tag: &str) -> String {
    text.replacen("\nCall-ID", &format!(";tag={tag}\nCall-ID"), 1)
}

#[test]
fn what_belongs_to_a_call_comes_first_then_help_then_calls() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    let Ok(Place::Call(lane)) = sort(&mut world, CARRIER, &invite) else { panic!() };
    world.hear(CARRIER, &invite);
    let (first, priority) = (Ok(Place::First(lane)), Ok(Place::Priority(lane)));
    let ours = String::from_utf8(world.core.endpoint.new_tag().to_vec()).unwrap();
    let help = invite.replace("sip:+442079460001@", "sip:112@");
    for (text, place) in [
        (tagged(&invite, &ours), first),
        (tagged(&invite, &ours).replace("INVITE", "BYE"), first),
        (tagged(&invite, &ours).replace("INVITE", "INFO"), first),
        // Of the INVITE that rings.
        (invite.replace("INVITE", "ACK"), first),
        (invite.replace("INVITE", "CANCEL"), first),
        (help.clone(), Ok(Place::Help(lane))),
        (another(&help, 1).replace("INVITE", "CANCEL"), Ok(Place::Help(lane))),
        (invite.replace("INVITE", "REGISTER"), priority),
        ("rubbish".into(), priority),
        ("".into(), priority),
        ("SIP/2.0 200 OK\n\n".into(), priority),
    ] {
        assert_eq!(sort(&mut world, CARRIER, &text), place, "{text}");
    }
    let Ok(Place::Call(two)) = sort(&mut world, "127.0.0.51:5060", &invite) else { panic!() };
    assert_ne!(lane, two, "each caller has a lane of its own");
}

/// AT-29: a tag that somebody made up, and a method alone, are no reason to come first.
#[test]
fn at_29_what_only_looks_as_if_it_belonged_to_a_call_does_not_come_first() {
    let mut world = World::new();
    let invite = another(&carrier_invite("+442079460001", PLAIN), 1);
    let Ok(Place::Call(lane)) = sort(&mut world, CARRIER, &invite) else { panic!() };
    for tag in ["t", "uuuuuuuuuuuuuuuuuuuuuuuu", "00000000000000000000000"] {
        let forged = tagged(&invite, tag);
        assert_eq!(sort(&mut world, CARRIER, &forged), Ok(Place::Call(lane)));
        for method in ["BYE", "ACK", "INFO", "PRACK", "UPDATE"] {
            let forged = forged.replace("INVITE", method);
            assert_eq!(sort(&mut world, CARRIER, &forged), Ok(Place::Priority(lane)), "{forged}");
        }
    }
    for method in ["BYE", "ACK", "INFO", "PRACK", "UPDATE"] {
        let bare = invite.replace("INVITE", method);
        assert_eq!(sort(&mut world, CARRIER, &bare), Ok(Place::Priority(lane)), "{bare}");
    }
    // It does not overtake the call that it may belong to.
    let cancel = invite.replace("INVITE", "CANCEL");
    assert_eq!(sort(&mut world, CARRIER, &cancel), Ok(Place::Call(lane)));
    let answer = reply(&invite, "200 OK", "x", "", "");
    assert_eq!(sort(&mut world, CARRIER, &answer), Err(Dropped::Astray));
}

/// A tag of a process that died, or of one beside this one, is ours as well.
#[test]
fn r01_what_belongs_to_a_call_of_another_process_of_ours_comes_first() {
    let mut elder = World::born(config(), 1);
    let (invite, ok) = answered(&mut elder);
    let mut world = World::born(config(), 2);
    assert!(matches!(sort(&mut world, CARRIER, &carrier_bye(&ok)), Ok(Place::First(_))));
    let answer = reply(&invite, "200 OK", "x", "", "");
    assert!(matches!(sort(&mut world, CARRIER, &answer), Ok(Place::First(_))));
}

/// AT-29: through the door and the queues, as the driver does it.
#[test]
fn at_29_a_call_for_help_is_served_first_while_its_own_trunk_floods_us() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    let mut intake = Intake::new();
    let help = another(&invite.replace("sip:+442079460001@", "sip:112@"), 9);
    let flood = [
        options("PBX"),
        invite.replace("INVITE", "REGISTER"),
        tagged(&invite, "forged").replace("INVITE", "BYE"),
        invite.clone(),
        "rubbish".into(),
    ];
    let mut push = |world: &mut World, text: &str| {
        let (source, raw) = (source(CARRIER), raw(text));
        let place = world.core.sort(&source, &raw, world.now).unwrap();
        intake.push(place, Waiting { source, received: world.now, raw })
    };
    for n in 0..5000 {
        push(&mut world, &flood[n % flood.len()]);
    }
    assert_eq!(push(&mut world, &help), None);
    for n in 0..5000 {
        let dropped = push(&mut world, &flood[n % flood.len()]);
        assert!(dropped.is_none_or(|dropped| dropped.message().raw != raw(&help)));
    }
    intake.begin_turn(world.now);
    let Some(Next::Serve(first)) = intake.next(world.now) else { panic!() };
    assert_eq!(first.raw, raw(&help));
}

/// The numbers for help that a tenant has of its own come as early as those of countries.
#[test]
fn at_29_a_tenants_own_number_for_help_is_served_first_too() {
    let mut config = config();
    config.tenants[1].emergency.numbers = Some(["7777".to_owned()].into());
    let mut world = World::with(config);
    for (number, first) in [("7777", true), ("+7777", true), ("7778", false), ("77777", false)] {
        let invite = teams_invite(number, "h1", "", SECURE);
        let place = sort(&mut world, PROXY, &invite);
        assert_eq!(matches!(place, Ok(Place::Help(_))), first, "{number}: {place:?}");
        assert!(first || matches!(place, Ok(Place::Call(_))), "{number}: {place:?}");
        let cancel = sort(&mut world, PROXY, &invite.replace("INVITE", "CANCEL"));
        assert_eq!(matches!(cancel, Ok(Place::Help(_))), first, "{number}: {cancel:?}");
    }
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
            | Output::Callbacks(_)
            | Output::Help { .. }
            | Output::Registered(_)
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

/// A peer that tries again with the same Call-ID, and is served, has its ACK heard.
#[test]
fn the_ack_of_a_call_that_was_refused_before_is_none_of_a_refusal() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    assert!(world.core.shed(&source(CARRIER), &raw(&invite), world.now));
    let ours = String::from_utf8(world.core.endpoint.new_tag().to_vec()).unwrap();
    let ack = tagged(&invite.replace("INVITE", "ACK"), &ours);
    assert!(matches!(sort(&mut world, CARRIER, &ack), Ok(Place::First(_))));
}

/// What a glance does not see is no reason to take a call for help for another.
#[test]
fn a_call_that_is_not_beyond_doubt_has_its_place_by_its_first_line() {
    let mut world = World::new();
    let folded = |method: &str, user: &str| {
        let invite = carrier_invite("+442079460001", PLAIN).replace("INVITE", method);
        let invite = invite.replace("sip:+442079460001@", &format!("sip:{user}@"));
        invite.replacen("Call-ID:", "X: a\n b\nCall-ID:", 1)
    };
    for method in ["INVITE", "CANCEL"] {
        let help = sort(&mut world, CARRIER, &folded(method, "112"));
        assert!(matches!(help, Ok(Place::Help(_))), "{help:?}");
        let call = sort(&mut world, CARRIER, &folded(method, "+442079460001"));
        assert!(matches!(call, Ok(Place::Call(_))), "{call:?}");
    }
    let bye = sort(&mut world, CARRIER, &folded("BYE", "112"));
    assert!(matches!(bye, Ok(Place::Priority(_))), "{bye:?}");
}

#[test]
fn a_call_with_a_tag_that_somebody_made_up_is_refused_for_load_as_well() {
    let mut world = World::new();
    let forged = tagged(&carrier_invite("+442079460001", PLAIN), "forged");
    assert!(world.core.shed(&source(CARRIER), &raw(&forged), world.now));
    world.drain();
    let refusal = world.expect(CARRIER, "SIP/2.0 503");
    assert!(value(&refusal, "To").ends_with(";tag=forged"), "RFC 3261 §8.2.6.2: {refusal}");
    // What is no INVITE is never refused: serving it is as quick.
    let cancel = forged.replace("INVITE", "CANCEL");
    assert!(!world.core.shed(&source(CARRIER), &raw(&cancel), world.now));
    let ours = String::from_utf8(world.core.endpoint.new_tag().to_vec()).unwrap();
    let inside = tagged(&carrier_invite("+442079460001", PLAIN), &ours);
    assert!(!world.core.shed(&source(CARRIER), &raw(&inside), world.now));
    assert_eq!(world.core.gauges().transactions, 0);
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

#[test]
fn at_51_a_call_that_comes_back_is_refused() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    for (changed, status) in [
        (invite.replace("Max-Forwards: 70", "Max-Forwards: 0"), "SIP/2.0 483"),
        (looped(&mut world, &invite), "SIP/2.0 482"),
    ] {
        world.hear(CARRIER, &changed);
        world.expect(CARRIER, status);
        assert_eq!(world.core.calls(), 0);
    }
    assert_eq!(world.records.len(), 2, "each has its record");
    world.hear(CARRIER, &another(&invite, 3).replace("Max-Forwards: 70", "Max-Forwards: 1"));
    assert_eq!(value(&world.expect(PROXY, "INVITE "), "Max-Forwards"), "0");
}

/// As it would come back by a proxy: with a Via of ours under that of the proxy.
fn looped(world: &mut World, invite: &str) -> String {
    let branch = String::from_utf8(world.core.endpoint.new_tag().to_vec()).unwrap();
    let ours = format!("\nVia: SIP/2.0/UDP 127.0.0.10:5060;branch=z9hG4bK{branch}\nMax-Forwards");
    another(&invite.replacen("\nMax-Forwards", &ours, 1), 2)
}

/// The same call of another transaction.
fn another(invite: &str, n: usize) -> String {
    invite
        .replace("Call-ID: c1", &format!("Call-ID: d{n}"))
        .replace("z9hG4bKc1", &format!("z9hG4bKd{n}"))
}

#[test]
fn at_30_a_storm_of_repeats_is_one_transaction() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &invite);
    let before = (world.core.gauges(), world.core.unfinished());
    world.sent.clear();
    for _ in 0..1000 {
        world.hear(CARRIER, &invite);
    }
    assert_eq!((world.core.gauges(), world.core.unfinished()), before);
    let (mut count, mut bytes) = (0, 0);
    for (target, text) in world.sent.drain(..) {
        assert_eq!(
            (target.remote.to_string().as_str(), line(&text)),
            (CARRIER, "SIP/2.0 100 Trying")
        );
        count += 1;
        bytes += text.len();
    }
    assert!(count <= 1000 && bytes <= 1000 * invite.len(), "{count} answers, {bytes} bytes");
}

#[test]
fn at_33_nothing_that_a_stranger_sends_makes_us_send() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    // Nobody but the peer knows our branch.
    let guessed = invite.replace(";branch=z9hG4bK", ";branch=z9hG4bKx");
    world.sent.clear();
    for text in [
        carrier_invite("+442079460001", PLAIN),
        options("PBX"),
        "INVITE sip:x SIP/2.0\n\n".into(),
        carrier_bye(&ok),
        carrier_bye(&ok).replace("BYE", "INVITE"),
        reply(&guessed, "200 OK", "x", "", ""),
        reply(&guessed, "401 Unauthorized", "x", "", ""),
    ] {
        let raw = raw(&text);
        if world.core.sort(&source(STRANGER), &raw, world.now).is_none() {
            continue;
        }
        match Message::parse(raw) {
            Ok(message) => world.core.handle_message(source(STRANGER), message, world.now),
            Err(error) => world.core.handle_unreadable(source(STRANGER), error, world.now),
        }
        world.drain();
    }
    world.wait(Duration::from_secs(40));
    let to_stranger = world.sent.iter().filter(|(t, _)| t.remote.to_string() == STRANGER).count();
    assert_eq!(to_stranger, 0);
}

#[test]
fn at_52_a_session_interval_under_the_floor_gets_422_and_leaves_a_trace() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    let interval = |text: &str, n| another(&invite.replacen("\nMax-Forwards", text, 1), n);
    world.hear(CARRIER, &interval("\nSession-Expires: 1\nSupported: timer\nMax-Forwards", 1));
    let refusal = world.expect(CARRIER, "SIP/2.0 422");
    assert_eq!(value(&refusal, "Min-SE"), "90");
    assert_eq!(world.records[0].cause.sip, 422);
    world.hear(CARRIER, &interval("\nMin-SE: 4294967296\nMax-Forwards", 2));
    assert!(world.sent.iter().all(|(_, text)| !text.contains("4294967296")));
    assert!(world.core.calls() <= 1);
}

#[test]
fn every_refused_invite_leaves_a_trace_and_a_flood_of_them_a_bounded_one() {
    let mut world = World::new();
    let invite = carrier_invite("+442079460001", PLAIN);
    for (n, (with, status)) in [
        ("\nReplaces: a;to-tag=b;from-tag=c\nMax-Forwards", "501"),
        ("\nRequire: precondition\nMax-Forwards", "420"),
    ]
    .into_iter()
    .enumerate()
    {
        world.hear(CARRIER, &another(&invite.replacen("\nMax-Forwards", with, 1), n));
        world.expect(CARRIER, &format!("SIP/2.0 {status}"));
        assert_eq!(world.records.len(), n + 1);
        assert_eq!(world.records[n].cause.sip, status.parse::<u16>().unwrap());
    }
    world.wait(Duration::from_secs(2));
    let unknown = carrier_invite("+4420794", PLAIN);
    for n in 0..500 {
        world.hear(CARRIER, &another(&unknown, 10 + n));
    }
    assert_eq!(world.records.len(), 2 + 100);
    world.wait(Duration::from_secs(1));
    world.hear(CARRIER, &another(&unknown, 1000));
    assert_eq!(world.records.len(), 2 + 100 + 1);
}

/// AT-29: whoever was ever called by us has a tag of ours.
#[test]
fn at_29_an_identifier_that_is_not_in_use_opens_no_door_to_strangers() {
    let mut world = World::new();
    let (invite, answer) = answered(&mut world);
    let bye = carrier_bye(&answer);
    let ringing = reply(&invite, "180 Ringing", "x", "", "");
    assert!(matches!(sort(&mut world, STRANGER, &bye), Ok(Place::First(_))));
    assert!(matches!(sort(&mut world, STRANGER, &ringing), Ok(Place::First(_))));
    world.hear(CARRIER, &bye);
    let farewell = world.expect(PROXY, "BYE ");
    world.hear(PROXY, &reply(&farewell, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(100));
    assert_eq!(world.core.unfinished(), 0);
    for text in [&bye, &ringing] {
        assert_eq!(sort(&mut world, STRANGER, text), Err(Dropped::Stranger), "{text}");
        assert!(matches!(sort(&mut world, CARRIER, text), Ok(Place::First(_))), "{text}");
    }
}
