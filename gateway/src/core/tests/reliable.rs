//! Reliable provisional responses (RFC 3262) and UPDATE before the answer (RFC 3311), with a carrier on one side.

use config::{Dialect, ReliableProvisional};

use super::*;

const RELIABLE: &str = "Require: 100rel\nRSeq: 4711\n";
const SECOND: &str = "127.0.0.51:5070";
const CONTACT: &str = "Contact: <sip:c@127.0.0.50:5070>\n";

fn with(reliable_provisional: ReliableProvisional) -> World {
    let mut config = config();
    let dialect = Dialect { reliable_provisional, ..Dialect::default() };
    config.trunks[0].dialect = Arc::new(dialect);
    World::with(config)
}

/// An INVITE of the carrier with one more line.
fn inviting(line: &str) -> String {
    carrier_invite("+442079460001", PLAIN).replace("Contact:", &format!("{line}\nContact:"))
}

/// A request of the carrier in the dialog that a response of ours to its INVITE began.
fn request(response: &str, method: &str, cseq: u32, more: &str, sdp: &str) -> String {
    let (from, to, call) = ["From", "To", "Call-ID"].map(|name| value(response, name)).into();
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    format!(
        "{method} sip:us@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.50:5070;branch=z9hG4bK-{method}-{cseq}\n\
         From: {from}\nTo: {to}\nCall-ID: {call}\nCSeq: {cseq} {method}\nMax-Forwards: 70\n\
         Contact: <sip:ann@127.0.0.50:5070>\n{more}{kind}Content-Length: {}\n\n{sdp}",
        sdp.replace('\n', "\r\n").len()
    )
}

fn rack(response: &str, cseq: u32) -> String {
    format!("RAck: {} {cseq} INVITE\n", value(response, "RSeq"))
}

/// A request of the called carrier, in the dialog of our INVITE.
fn request_of_callee(prack: &str, method: &str, sdp: &str) -> String {
    let dialog = format!("From: {}\nTo: {}", value(prack, "From"), value(prack, "To"));
    let turned = format!("From: {}\nTo: {}", value(prack, "To"), value(prack, "From"));
    let call = value(prack, "Call-ID");
    assert_ne!(dialog, turned);
    format!(
        "{method} sip:us@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.50:5070;branch=z9hG4bK-{method}-1\n\
         {turned}\nCall-ID: {call}\nCSeq: 1 {method}\nMax-Forwards: 70\n{CONTACT}\
         Content-Type: application/sdp\nContent-Length: {}\n\n{sdp}",
        sdp.replace('\n', "\r\n").len()
    )
}

fn cseq(message: &str) -> u32 {
    value(message, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

fn nothing_of_it_at_teams(world: &World) {
    for (target, text) in world.sent.iter().filter(|(to, _)| to.remote.to_string() == PROXY) {
        assert!(!text.contains("100rel") && !text.contains("RSeq"), "{target:?} {text}");
        assert!(!text.contains("PRACK") && !text.contains("UPDATE "), "{target:?} {text}");
    }
}

#[test]
fn tr_039_a_caller_that_requires_100rel_has_its_prack_answered_on_its_own_leg() {
    let mut world = with(ReliableProvisional::Supported);
    world.hear(CARRIER, &inviting("Require: 100rel"));
    let invite = world.expect(PROXY, "INVITE ");
    assert!(!invite.contains("100rel") && !value(&invite, "Allow").contains("PRACK"), "{invite}");
    world.hear(PROXY, &reply(&invite, "183 Progress", "t1", TEAMS_CONTACT, SECURE));
    let early = world.expect(CARRIER, "SIP/2.0 183");
    assert_eq!(value(&early, "Require"), "100rel");
    assert!(value(&early, "Allow").contains("PRACK"), "{early}");
    assert!(body(&early).contains("m=audio 2"), "{early}");
    // Unacknowledged, it comes again, and the answer waits.
    world.wait(Duration::from_millis(1600));
    world.expect(CARRIER, "SIP/2.0 183");
    world.expect(CARRIER, "SIP/2.0 183");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    world.expect(PROXY, "ACK ");
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 200")));
    let cseq = cseq(&early) + 1;
    world.hear(CARRIER, &request(&early, "PRACK", cseq, &rack(&early, cseq - 1), ""));
    let first = world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(value(&first, "CSeq"), format!("{cseq} PRACK"));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(value(&ok, "CSeq").ends_with("INVITE") && body(&ok).is_empty(), "{ok}");
    nothing_of_it_at_teams(&world);
    world.hear(CARRIER, &request(&ok, "ACK", cseq - 1, "", ""));
    world.hear(CARRIER, &request(&ok, "BYE", cseq + 1, "", ""));
    let bye = world.expect(PROXY, "BYE ");
    world.hear(PROXY, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(40));
    assert!(world.records[0].t_answer.is_some());
    assert_eq!(world.core.unfinished(), 0);
}

#[test]
fn tr_039_a_callee_whose_ringing_is_reliable_gets_its_prack_and_may_update() {
    let mut world = with(ReliableProvisional::Required);
    world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    assert_eq!(value(&invite, "Require"), "100rel");
    assert!(value(&invite, "Supported").contains("100rel"), "{invite}");
    let early = reply(&invite, "183 Progress", "c1", &format!("{RELIABLE}{CONTACT}"), PLAIN);
    world.hear(CARRIER, &early);
    let prack = world.expect(CARRIER, "PRACK sip:c@127.0.0.50:5070 ");
    assert_eq!(value(&prack, "RAck"), format!("4711 {} INVITE", cseq(&invite)));
    assert!(value(&prack, "To").ends_with(";tag=c1"), "{prack}");
    world.expect(PROXY, "SIP/2.0 183");
    world.hear(CARRIER, &early);
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("PRACK ")), "a repeat");
    world.hear(CARRIER, &reply(&prack, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    // Its announcement comes from somewhere else.
    let moved = PLAIN.replace("o=- 1 1", "o=- 1 2").replace("audio 30000", "audio 30010");
    world.hear(CARRIER, &request_of_callee(&prack, "UPDATE", &moved));
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert!(value(&answer, "CSeq").ends_with("UPDATE") && body(&answer).contains("m=audio 2"));
    assert_eq!(world.plan().sides[1].rtp.unwrap().port(), 30010);
    nothing_of_it_at_teams(&world);
    world.hear(CARRIER, &reply(&invite, "200 OK", "c1", CONTACT, ""));
    world.expect(CARRIER, "ACK ");
    world.expect(PROXY, "SIP/2.0 200");
    assert_eq!(world.plan().sides[1].rtp.unwrap().port(), 30010);
    world.core.end_all(world.now);
    world.drain();
    let bye = world.expect(CARRIER, "BYE ");
    assert!(cseq(&bye) > cseq(&prack), "{bye}");
    nothing_of_it_at_teams(&world);
}

#[test]
fn a_caller_that_holds_before_the_answer_is_heard_after_it() {
    let mut world = with(ReliableProvisional::Supported);
    world.hear(CARRIER, &inviting("Require: 100rel"));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "183 Progress", "t1", TEAMS_CONTACT, SECURE));
    let early = world.expect(CARRIER, "SIP/2.0 183");
    let first = cseq(&early);
    // The offer may come in the PRACK itself.
    let held = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
    world.hear(CARRIER, &request(&early, "PRACK", first + 1, &rack(&early, first), &held));
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert!(body(&answer).contains("a=recvonly"), "{answer}");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    world.expect(PROXY, "ACK ");
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    nothing_of_it_at_teams(&world);
    world.hear(CARRIER, &request(&ok, "ACK", first, "", ""));
    let offer = world.expect(PROXY, "INVITE sip:api-du-a");
    assert!(body(&offer).contains("a=inactive"), "{offer}");
}

/// The caller holds, and the callee has narrowed its codecs: the callee is told when the caller has answered or refused.
#[test]
fn both_sides_are_told_in_turn_what_has_changed_before_the_answer() {
    for taken in [true, false] {
        let mut world = with(ReliableProvisional::Supported);
        world.hear(CARRIER, &inviting("Require: 100rel"));
        let invite = world.expect(PROXY, "INVITE ");
        let both = SECURE.replace("SAVP 8 101", "SAVP 8 0 101");
        world.hear(PROXY, &reply(&invite, "183 Progress", "t1", TEAMS_CONTACT, &both));
        let early = world.expect(CARRIER, "SIP/2.0 183");
        let first = cseq(&early);
        let held = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
        world.hear(CARRIER, &request(&early, "PRACK", first + 1, &rack(&early, first), &held));
        world.expect(CARRIER, "SIP/2.0 200");
        world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
        world.expect(PROXY, "ACK ");
        let ok = world.expect(CARRIER, "SIP/2.0 200");
        world.hear(CARRIER, &request(&ok, "ACK", first, "", ""));
        let offer = world.expect(CARRIER, "INVITE sip:ann@");
        assert!(body(&offer).contains("RTP/AVP 8 101"), "{offer}");
        let early = world.sent.iter().any(|(_, text)| text.starts_with("INVITE "));
        assert!(!early, "one after the other");
        let (status, sdp) = match taken {
            true => ("200 OK", held.replace("o=- 1 2", "o=- 1 3").replace("AVP 8 0", "AVP 8")),
            false => ("488 No", String::new()),
        };
        world.hear(CARRIER, &reply(&offer, status, "", CONTACT, &sdp).replace(";tag=\n", "\n"));
        let offer = world.expect(PROXY, "INVITE sip:api-du-a");
        assert!(body(&offer).contains("a=inactive"), "{offer}");
    }
}

/// Two forks of an encrypted trunk have answered early, and the one that has changed its key since is the one that answers.
#[test]
fn a_fork_that_has_lost_is_not_heard_any_more() {
    for late in [false, true] {
        let mut config = config();
        let reliable_provisional = ReliableProvisional::Required;
        config.trunks[0].dialect = Arc::new(Dialect { reliable_provisional, ..Dialect::default() });
        config.trunks[0].srtp = config::Srtp::Required;
        let mut world = World::with(config);
        let key = |first: char| SECURE.replace("inline:AA", &format!("inline:A{first}"));
        let heard = |world: &World| {
            let security = world.plan().sides[1].security.clone().expect("keys");
            security.receive.iter().map(|key| key.key_salt()[0]).collect::<Vec<_>>()
        };
        world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
        let invite = world.expect(CARRIER, "INVITE ");
        let rings = |world: &mut World, tag: &str, key: &str| {
            let headers = format!("{RELIABLE}{CONTACT}");
            world.hear(CARRIER, &reply(&invite, "183 Progress", tag, &headers, key));
            world.expect(CARRIER, "PRACK ")
        };
        let prack = rings(&mut world, "a", &key('Q'));
        if !late {
            rings(&mut world, "b", &key('g'));
        }
        let moved = key('w').replace("o=- 1 1", "o=- 1 2");
        world.hear(CARRIER, &request_of_callee(&prack, "UPDATE", &moved));
        world.expect(CARRIER, "SIP/2.0 200");
        if late {
            rings(&mut world, "b", &key('g'));
        }
        assert!(heard(&world).len() > 1, "both forks are heard");
        world.hear(CARRIER, &reply(&invite, "200 OK", "a", CONTACT, ""));
        world.expect(PROXY, "SIP/2.0 200");
        assert_eq!(heard(&world), [3], "late: {late}");
    }
}

#[test]
fn codecs_that_the_caller_has_not_are_refused_before_the_answer() {
    let mut world = with(ReliableProvisional::Required);
    world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    let early = reply(&invite, "183 Progress", "c1", &format!("{RELIABLE}{CONTACT}"), PLAIN);
    world.hear(CARRIER, &early);
    let prack = world.expect(CARRIER, "PRACK ");
    let other = "v=0\no=- 1 2 IN IP4 127.0.0.50\ns=-\nc=IN IP4 127.0.0.50\nt=0 0\n\
                 m=audio 30010 RTP/AVP 96\na=rtpmap:96 AMR-WB/16000\n";
    world.hear(CARRIER, &request_of_callee(&prack, "UPDATE", other));
    world.expect(CARRIER, "SIP/2.0 488");
    assert_eq!(world.plan().sides[1].rtp.unwrap().port(), 30000, "what was agreed stays");
}

#[test]
fn a_caller_that_never_acknowledges_ends_the_call_with_one_record() {
    let mut world = with(ReliableProvisional::Supported);
    world.hear(CARRIER, &inviting("Require: 100rel"));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
    world.wait(Duration::from_secs(33));
    world.expect(CARRIER, "SIP/2.0 504");
    let cancel = world.expect(PROXY, "CANCEL ");
    world.hear(PROXY, &reply(&cancel, "200 OK", "t1", "", ""));
    world.hear(PROXY, &reply(&invite, "487 Terminated", "t1", "", ""));
    world.wait(Duration::from_secs(40));
    assert_eq!(world.records.len(), 1);
    assert_eq!(world.records[0].cause.text, Cause::NotAcknowledged.to_string());
    assert_eq!(world.core.unfinished(), 0);
}

/// The callee has answered meanwhile, and the caller was told with an 18x that it never acknowledged.
#[test]
fn an_answer_that_waits_for_a_prack_in_vain_ends_as_what_it_is() {
    let mut world = with(ReliableProvisional::Supported);
    world.hear(CARRIER, &inviting("Require: 100rel"));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "183 Progress", "t1", TEAMS_CONTACT, SECURE));
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    world.expect(PROXY, "ACK ");
    world.wait(Duration::from_secs(33));
    world.expect(CARRIER, "SIP/2.0 504");
    let bye = world.expect(PROXY, "BYE ");
    world.hear(PROXY, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(40));
    let record = &world.records[0];
    assert_eq!(
        (record.cause.sip, record.cause.text.as_str()),
        (504, Cause::NotAcknowledged.to_string().as_str())
    );
    assert_eq!(world.core.unfinished(), 0);
}

/// OPTIONS says of each trunk what its calls have.
#[test]
fn options_of_a_trunk_are_answered_with_what_it_may_do() {
    for (reliable, can) in
        [(ReliableProvisional::Off, false), (ReliableProvisional::Supported, true)]
    {
        let mut world = with(reliable);
        let asks = carrier_invite("+442079460001", "").replace("INVITE", "OPTIONS");
        world.hear(CARRIER, &asks);
        let ok = world.expect(CARRIER, "SIP/2.0 200");
        assert_eq!(value(&ok, "Allow").contains("PRACK"), can, "{ok}");
        assert_eq!(value(&ok, "Supported").contains("100rel"), can, "{ok}");
    }
}

/// Only 420 to what we required leads on.
#[test]
fn where_a_trunk_has_not_what_is_required_the_next_one_is_tried() {
    for (reliable, leads_on) in
        [(ReliableProvisional::Required, true), (ReliableProvisional::Supported, false)]
    {
        let mut config = config();
        config.trunks[0].dialect =
            Arc::new(Dialect { reliable_provisional: reliable, ..Dialect::default() });
        config.tenants[0].trunks = vec![0, 1];
        let mut world = World::with(config);
        world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
        let invite = world.expect(CARRIER, "INVITE ");
        assert_eq!(invite.contains("\r\nRequire: 100rel"), leads_on, "{invite}");
        world.hear(CARRIER, &reply(&invite, "420 Bad", "c1", "Unsupported: 100rel\n", ""));
        if leads_on {
            world.expect(SECOND, "INVITE ");
        } else {
            world.expect(PROXY, "SIP/2.0 420");
        }
    }
}

#[test]
fn a_call_for_help_requires_nothing_of_its_trunk() {
    let mut config = config();
    let reliable_provisional = ReliableProvisional::Required;
    config.trunks[0].dialect = Arc::new(Dialect { reliable_provisional, ..Dialect::default() });
    config.tenants[0].emergency.trunks = vec![0];
    let mut world = World::with(config);
    world.hear(PROXY, &teams_invite("112", "h1", "", SECURE));
    let invite = world.expect(CARRIER, "INVITE sip:112@");
    assert!(!invite.contains("Require"), "{invite}");
    assert!(value(&invite, "Supported").contains("100rel"), "{invite}");
}

#[test]
fn where_it_is_off_who_requires_it_is_refused_and_nobody_is_offered_it() {
    let mut world = with(ReliableProvisional::Off);
    world.hear(CARRIER, &inviting("Require: 100rel"));
    let refused = world.expect(CARRIER, "SIP/2.0 420");
    assert_eq!(value(&refused, "Unsupported"), "100rel");
    world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    assert!(!invite.contains("100rel") && !invite.contains("PRACK"), "{invite}");
}
