//! Transfers by REFER on virtual time: what the referrer, the target and the survivor see, and what the relay is told.

use super::*;

const TARGET: &str =
    "sip:sip.teams.test:5061;transport=tls;x-m=8:orgid:0f1e2d3c-aaaa-bbbb-cccc-000000000001";
const BY: &str = "<sip:sip.teams.test:5061;x-m=8:orgid:9A8b;x-t=T-1;x-ti=cOrr;x-tt=aHR0cHM6Ly9hUEkuZmxpZ2h0cHJveHkuQ29t%3D%3d>";
pub(super) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
pub(super) const KEY_B: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

/// A REFER of Teams in the dialog that `invite` began.
fn refer(invite: &str, cseq: u32, to: &str) -> String {
    let extra = format!("REFER-TO: <{to}>\nREFERRED-BY: {BY}\n{TEAMS_CONTACT}");
    in_dialog(invite, "REFER", cseq, "t1", &extra, "")
}

pub(super) fn ok(world: &mut World, request: &str) {
    world.hear(PROXY, &reply(request, "200 OK", "", "", "").replace(";tag=\n", "\n"));
}

/// The next NOTIFY to Teams, answered: Event, Subscription-State, and the status line in it.
fn notified(world: &mut World) -> (String, String, String) {
    let notify = world.expect(PROXY, "NOTIFY ");
    ok(world, &notify);
    assert!(value(&notify, "Content-Type").starts_with("message/sipfrag"), "{notify}");
    let line = notify.split_once("\r\n\r\n").expect("a body").1;
    let event = value(&notify, "Event").to_owned();
    (event, value(&notify, "Subscription-State").to_owned(), line.to_owned())
}

/// The transfer has begun: the INVITE to the target.
fn begun(world: &mut World, invite: &str, cseq: u32, to: &str) -> String {
    world.hear(PROXY, &refer(invite, cseq, to));
    world.expect(PROXY, "SIP/2.0 202");
    let (_, state, line) = notified(world);
    assert_eq!((&*state, &*line), ("active;expires=180", "SIP/2.0 100 Trying\r\n"));
    world.expect(PROXY, "INVITE ")
}

/// The target answers from another place with another key.
fn answered_by_target(world: &mut World, invite: &str) -> String {
    let sdp = SECURE.replace(KEY, KEY_B).replace("audio 40000", "audio 42000");
    world.hear(PROXY, &reply(invite, "200 OK", "x1", TEAMS_CONTACT, &sdp));
    world.expect(PROXY, "ACK ");
    sdp
}

pub(super) fn hears(world: &World, side: usize) -> Vec<u8> {
    let keys = world.plan().sides[side].security.as_ref().expect("keys");
    keys.receive.iter().map(|key| key.key_salt()[0]).collect()
}

fn rings(world: &World, side: usize) -> bool {
    world.plan().sides[side].play.is_some()
}

/// The target hangs up; the survivor is told, and the record has all of them.
fn target_ends(world: &mut World, invite: &str, survivor: &str) {
    let bye = in_dialog(invite, "BYE", 2, "x1", "", "");
    ended_by_target(world, PROXY, &bye, survivor);
}

/// The same by a BYE from there.
pub(super) fn ended_by_target(world: &mut World, from: &str, bye: &str, survivor: &str) {
    world.hear(from, bye);
    world.expect(from, "SIP/2.0 200");
    let bye = world.expect(survivor, "BYE ");
    world.hear(survivor, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    let [record] = &world.records[..] else { panic!("{:?}", world.records) };
    let roles: Vec<&str> = record.legs.iter().map(|leg| leg.role.as_str()).collect();
    assert_eq!(roles, ["caller", "callee", "target"]);
    world.wait(Duration::from_secs(70));
    assert_eq!((world.core.calls(), world.core.unfinished()), (0, 0));
    assert_eq!(world.core.gauges().free_port_pairs, 100);
}

/// TR-055, TR-059: the target as it stands in Refer-To, Referred-By to the letter, the tenant's own name, a fresh offer;
/// NOTIFY of each step, ringback meanwhile; and the carrier, which is asked nothing, hears the target.
#[test]
fn tr_055_tr_059_a_user_is_reached_through_teams_and_takes_the_place() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.sent.clear();
    let before = world.plan().sides[1].port;
    let target = begun(&mut world, &invite, 2, TARGET);
    assert!(target.starts_with(&format!("INVITE {TARGET} SIP/2.0\r\n")), "{target}");
    assert_eq!(value(&target, "To"), "<sip:sip.teams.test:5061>");
    assert_eq!(value(&target, "Referred-By"), BY);
    assert!(!target.contains("Replaces:"), "{target}");
    let from = "\"Ann\" <sip:+442071234567@t001.sbc.test;user=phone>;tag=";
    assert!(value(&target, "From").starts_with(from), "{target}");
    assert!(value(&target, "Contact").contains("@t001.sbc.test:5061;transport=tls>"), "{target}");
    assert!(value(&target, "Allow").contains("REFER, NOTIFY"));
    assert!(
        target.contains("a=sendrecv\r\n") && target.contains("RTP/SAVP 8 0 101\r\n"),
        "{target}"
    );
    assert_ne!(value(&target, "Call-ID"), value(&invite, "Call-ID"));
    assert!(!rings(&world, 0));
    for (status, told) in
        [("180 Ringing", true), ("180 Ringing", false), ("183 Session Progress", true)]
    {
        world.hear(PROXY, &reply(&target, status, "x1", TEAMS_CONTACT, ""));
        if told {
            let (event, state, line) = notified(&mut world);
            assert_eq!((&*event, &*state), ("refer", "active;expires=180"));
            assert_eq!(line, format!("SIP/2.0 {status}\r\n"));
        }
        assert!(rings(&world, 0) && !rings(&world, 1));
        assert_eq!((hears(&world, 1), world.plan().sides[1].port), (vec![0], before));
    }
    answered_by_target(&mut world, &target);
    let (_, state, line) = notified(&mut world);
    assert_eq!((&*state, &*line), ("terminated;reason=noresource", "SIP/2.0 200 OK\r\n"));
    assert!(!rings(&world, 0));
    let side = &world.plan().sides[1];
    assert_eq!(hears(&world, 1), [1]);
    assert_eq!(side.rtp, Some("127.0.0.20:42000".parse().unwrap()));
    assert!(side.port != before && side.send && side.receive && side.expect);
    // Teams ends the leg that was replaced; nobody else notices.
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.expect(PROXY, "SIP/2.0 200");
    world.wait(Duration::from_secs(60));
    world.nothing_but(CARRIER, &["OPTIONS"]);
    assert!(world.records.is_empty());
    target_ends(&mut world, &target, CARRIER);
}

/// TR-056: a phone number is Teams' to route as well: no INVITE to the carrier. Parameters stay in the Request-URI, not in
/// To; headers, a Replaces among them, in neither.
#[test]
fn tr_056_a_number_goes_to_teams_as_well() {
    for (to, target, bare) in [
        (
            "sip:+33123456789@sip.teams.test:5061;user=phone;transport=tls",
            "sip:+33123456789@sip.teams.test:5061;user=phone;transport=tls",
            "<sip:+33123456789@sip.teams.test:5061>",
        ),
        (
            "sip:+33123456789@sip.teams.test:5061;x=1?Replaces=a%3Bto-tag%3Db&X=y",
            "sip:+33123456789@sip.teams.test:5061;x=1",
            "<sip:+33123456789@sip.teams.test:5061>",
        ),
    ] {
        let mut world = World::new();
        let (invite, _) = answered(&mut world);
        world.sent.clear();
        let asked = begun(&mut world, &invite, 2, to);
        assert!(asked.starts_with(&format!("INVITE {target} SIP/2.0\r\n")), "{asked}");
        assert_eq!(value(&asked, "To"), bare);
        assert!(!asked.contains("Replaces"), "{asked}");
        answered_by_target(&mut world, &asked);
        notified(&mut world);
        world.nothing_but(CARRIER, &["OPTIONS"]);
    }
}

/// TR-057: the referrer is gone 280 ms after its 202. The survivor hears ringback, then the target.
#[test]
fn tr_057_an_early_bye_of_the_referrer_cuts_nobody() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let target = begun(&mut world, &invite, 2, TARGET);
    world.wait(Duration::from_millis(280));
    world.sent.clear();
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.expect(PROXY, "SIP/2.0 200");
    assert!(rings(&world, 0));
    let gone = &world.plan().sides[1];
    assert!(!gone.send && !gone.receive);
    world.hear(PROXY, &reply(&target, "180 Ringing", "x1", TEAMS_CONTACT, ""));
    world.wait(Duration::from_secs(20));
    answered_by_target(&mut world, &target);
    assert_eq!((hears(&world, 1), rings(&world, 0)), (vec![1], false));
    world.wait(Duration::from_secs(60));
    world.nothing_but(CARRIER, &["OPTIONS"]);
    world.nothing_but(PROXY, &["OPTIONS"]);
    target_ends(&mut world, &target, CARRIER);
}

/// TR-057: while nobody is there but ringback, the survivor's refresh and its own hold are answered here.
#[test]
fn tr_057_who_is_left_with_ringback_may_still_refresh_and_hold() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let target = begun(&mut world, &invite, 2, TARGET);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    for (cseq, direction) in [(2, "sendrecv"), (3, "sendonly"), (4, "sendrecv")] {
        let offer = PLAIN.replace("o=- 1 1", &format!("o=- 1 {cseq}"));
        world.hear(CARRIER, &carrier_reinvite(&ok, cseq, &format!("{offer}a={direction}\n")));
        world.expect(CARRIER, "SIP/2.0 200");
    }
    answered_by_target(&mut world, &target);
    let [carrier, teams] = &world.plan().sides;
    assert!(carrier.send && carrier.receive && teams.send && teams.receive);
    target_ends(&mut world, &target, CARRIER);
}

/// TR-058: the target is busy: the referrer is told, and everything is as it was; another transfer may follow.
#[test]
fn tr_058_a_target_that_is_busy_leaves_the_call_as_it_was() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let before = format!("{:?}", world.plan());
    let target = begun(&mut world, &invite, 2, TARGET);
    world.hear(PROXY, &reply(&target, "180 Ringing", "x1", TEAMS_CONTACT, ""));
    notified(&mut world);
    world.hear(PROXY, &reply(&target, "486 Busy Here", "x1", "", ""));
    world.expect(PROXY, "ACK ");
    let (event, state, line) = notified(&mut world);
    assert_eq!((&*event, &*state), ("refer", "terminated;reason=noresource"));
    assert_eq!(line, "SIP/2.0 486 Busy Here\r\n");
    assert_eq!(format!("{:?}", world.plan()), before);
    world.hear(PROXY, &refer(&invite, 7, TARGET));
    world.expect(PROXY, "SIP/2.0 202");
    assert_eq!(notified(&mut world).0, "refer;id=7");
    let target = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&target, "603 Decline", "x1", "", ""));
    notified(&mut world);
    super::reload::ends_well(&mut world, &ok);
}

/// 503 of a proxy is no answer of the target: the next one is asked, and the referrer hears of neither.
#[test]
fn a_target_is_asked_for_at_the_next_proxy() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let target = begun(&mut world, &invite, 2, TARGET);
    world.hear(PROXY, &reply(&target, "503 Service Unavailable", "x1", "", ""));
    let again = world.expect("127.0.0.21:5061", "INVITE ");
    assert!(again.starts_with(&format!("INVITE {TARGET} SIP/2.0\r\n")));
    assert_eq!(value(&again, "Referred-By"), BY);
    world.nothing_but(PROXY, &["OPTIONS", "ACK "]);
}

/// The referrer has left and the target does not answer: the survivor is not kept for nobody.
#[test]
fn a_survivor_that_is_alone_is_hung_up_on() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let target = begun(&mut world, &invite, 2, TARGET);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.hear(PROXY, &reply(&target, "480 Nobody", "x1", "", ""));
    world.expect(CARRIER, "BYE ");
    assert_eq!(world.records[0].cause.sip, 480);
    // Or it hangs up itself: the target rings no longer.
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let target = begun(&mut world, &invite, 2, TARGET);
    world.hear(PROXY, &reply(&target, "180 Ringing", "x1", TEAMS_CONTACT, ""));
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(PROXY, "CANCEL ");
    world.expect(PROXY, "BYE ");
    assert_eq!(world.records[0].ended_by, "caller");
}

/// TR-061: held before the transfer, the survivor is talked to again: the target is offered sendrecv, and so is it.
#[test]
fn tr_061_who_was_held_before_the_transfer_is_resumed_by_it() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let hold = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    world.hear(PROXY, &in_dialog(&invite, "INVITE", 2, "t1", TEAMS_CONTACT, &hold));
    let held = world.expect(CARRIER, "INVITE ");
    assert!(held.contains("a=inactive"), "{held}");
    let own = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    world.hear(CARRIER, &reply(&held, "200 OK", "", "", &own).replace(";tag=\n", "\n"));
    world.expect(PROXY, "SIP/2.0 200");
    world.hear(PROXY, &in_dialog(&invite, "ACK", 2, "t1", "", ""));
    let target = begun(&mut world, &invite, 3, TARGET);
    assert!(target.contains("a=sendrecv\r\n"), "{target}");
    answered_by_target(&mut world, &target);
    let resumed = world.expect(CARRIER, "INVITE ");
    assert!(resumed.contains("a=sendrecv\r\n"), "{resumed}");
    let own = PLAIN.replace("o=- 1 1", "o=- 1 3");
    world.hear(CARRIER, &reply(&resumed, "200 OK", "", "", &own).replace(";tag=\n", "\n"));
    let [carrier, teams] = &world.plan().sides;
    assert!(carrier.send && carrier.receive && teams.send && teams.receive);
}

/// The leg that is replaced had an offer of ours to answer, which its peer had taken back: nobody waits for that any more,
/// and the next offer is not refused for it.
#[test]
fn an_offer_that_was_left_with_a_replaced_leg_blocks_no_other() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let carrier = |method: &str, branch: &str, cseq: u32, body: &str| {
        let head = format!(
            "{method} sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bK{branch}\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: {cseq} {method}\n\
             Contact: <sip:ann@{CARRIER}>\n",
            value(&ok, "From"),
            value(&ok, "To"),
        );
        with_body(&head, body)
    };
    let hold =
        |version: u32| PLAIN.replace("o=- 1 1", &format!("o=- 1 {version}")) + "a=sendonly\n";
    world.hear(CARRIER, &carrier("INVITE", "h1", 2, &hold(2)));
    world.expect(PROXY, "INVITE ");
    world.hear(CARRIER, &carrier("CANCEL", "h1", 2, ""));
    world.expect(CARRIER, "SIP/2.0 487");
    let target = begun(&mut world, &invite, 2, TARGET);
    answered_by_target(&mut world, &target);
    notified(&mut world);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.sent.clear();
    world.hear(CARRIER, &carrier("INVITE", "h2", 3, &hold(3)));
    let offer = world.expect(PROXY, "INVITE ");
    assert_eq!(value(&offer, "Call-ID"), value(&target, "Call-ID"));
    world.nothing_but(CARRIER, &["SIP/2.0 100"]);
}

/// A user of Teams called outside and transfers: the target sees the number that was called, and takes the caller's place.
#[test]
fn the_caller_may_transfer_as_well() {
    let mut world = World::new();
    let head = "INVITE sip:+33123456789@t001.sbc.test:5061;user=phone;transport=tls SIP/2.0\n\
        VIA: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bKt1\nMAX-FORWARDS: 70\n\
        FROM: <sip:+442079460001@sip.teams.test>;tag=x\nTO: <sip:+33123456789@t001.sbc.test>\n\
        CALL-ID: t1\nCSEQ: 1 INVITE\nCONTACT: <sip:api.pstnhub.test:443;x-i=1>\n";
    world.hear(PROXY, &with_body(head, SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    let contact = "Contact: <sip:c@127.0.0.50:5070>\n";
    world.hear(CARRIER, &reply(&invite, "200 OK", "c1", contact, PLAIN));
    world.expect(CARRIER, "ACK ");
    let ok = world.expect(PROXY, "SIP/2.0 200");
    let within = |method: &str, cseq: u32, extra: &str| {
        let head =
            head.replace("INVITE", method).replace("z9hG4bKt1", &format!("z9hG4bKt{method}{cseq}"));
        let head = head.replace("CSEQ: 1", &format!("CSEQ: {cseq}"));
        let to = format!("TO: {}\n", value(&ok, "To"));
        with_body(&(head.replace("TO: <sip:+33123456789@t001.sbc.test>\n", &to) + extra), "")
    };
    world.hear(PROXY, &within("ACK", 1, ""));
    world.hear(PROXY, &within("REFER", 2, &format!("REFER-TO: <{TARGET}>\nREFERRED-BY: {BY}\n")));
    world.expect(PROXY, "SIP/2.0 202");
    notified(&mut world);
    let target = world.expect(PROXY, "INVITE ");
    let from = "<sip:+33123456789@t001.sbc.test;user=phone>;tag=";
    assert!(value(&target, "From").starts_with(from), "{target}");
    world.hear(PROXY, &reply(&target, "180 Ringing", "x1", TEAMS_CONTACT, ""));
    notified(&mut world);
    assert!(rings(&world, 1) && !rings(&world, 0));
    answered_by_target(&mut world, &target);
    notified(&mut world);
    assert_eq!(hears(&world, 0), [1]);
    // Teams keeps the leg that was replaced: it is ended in the end.
    world.wait(Duration::from_secs(33));
    let bye = world.expect(PROXY, "BYE sip:api.pstnhub.test:443");
    assert_eq!(value(&bye, "Call-ID"), "t1");
    super::transfer::ok(&mut world, &bye);
    target_ends(&mut world, &target, CARRIER);
}

/// TR-062: what cannot be done is refused, and the carrier hears of nothing.
#[test]
fn tr_062_what_is_no_transfer_is_refused() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.sent.clear();
    let cases = [
        ("", 400),
        ("REFER-TO: nonsense\n", 400),
        ("REFER-TO: <tel:+33123456789>\n", 416),
        ("REFER-TO: <sips:a@x>\n", 416),
    ];
    for (n, (extra, status)) in (2..).zip(cases) {
        world.hear(PROXY, &in_dialog(&invite, "REFER", n, "t1", extra, ""));
        world.expect(PROXY, &format!("SIP/2.0 {status}"));
    }
    let target = begun(&mut world, &invite, 10, TARGET);
    world.hear(PROXY, &refer(&invite, 11, TARGET));
    world.expect(PROXY, "SIP/2.0 491");
    world.hear(PROXY, &reply(&target, "486 Busy Here", "x1", "", ""));
    notified(&mut world);
    for cseq in 12..19 {
        let target = begun(&mut world, &invite, cseq, TARGET);
        world.hear(PROXY, &reply(&target, "486 Busy Here", "x1", "", ""));
        notified(&mut world);
    }
    world.hear(PROXY, &refer(&invite, 19, TARGET));
    world.expect(PROXY, "SIP/2.0 603");
    world.nothing_but(CARRIER, &["OPTIONS"]);
    assert!(world.records.is_empty());
}
