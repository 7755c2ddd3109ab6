//! INVITE with Replaces on virtual time: a phone system puts another leg in place of one that it has.

use super::transfer::{KEY, KEY_B, hears};
use super::*;

/// An INVITE of Teams that wants to replace the leg that `invite` began; `tenant` is whom it speaks for.
pub(super) fn replacing(invite: &str, tenant: &str, params: &str, sdp: &str) -> String {
    let from = value(invite, "From");
    let tag = from.split_once(";tag=").expect("a tag").1;
    let replaces = format!("{};to-tag={tag};{params}", value(invite, "Call-ID"));
    let head = format!(
        "INVITE sip:+442071234567@{tenant}.sbc.test:5061;user=phone;transport=tls SIP/2.0\n\
         VIA: SIP/2.0/TLS 127.0.0.21:5061;branch=z9hG4bKr{}\nMAX-FORWARDS: 70\n\
         FROM: <sip:+442079460007@sip.teams.test>;tag=n\nTO: <sip:+442071234567@{tenant}.sbc.test>\n\
         CALL-ID: n1\nCSEQ: 1 INVITE\nCONTACT: <sip:api-new.pstnhub.test:443;x-i=1>\n\
         SUPPORTED: replaces\nREQUIRE: replaces\nREPLACES: {replaces}\n",
        params.len()
    );
    with_body(&head, sdp)
}

/// Media of another place with another key.
fn elsewhere() -> String {
    SECURE.replace(KEY, KEY_B).replace("audio 40000", "audio 42000")
}

pub(super) fn within(ok: &str, method: &str, cseq: u32, body: &str) -> String {
    let head = format!(
        "{method} sip:x@t001.sbc.test:5061 SIP/2.0\n\
         VIA: SIP/2.0/TLS 127.0.0.21:5061;branch=z9hG4bKn{method}{cseq}\nMAX-FORWARDS: 70\n\
         FROM: {}\nTO: {}\nCALL-ID: n1\nCSEQ: {cseq} {method}\n",
        value(ok, "From"),
        value(ok, "To"),
    );
    with_body(&head, body)
}

pub(super) const SECOND: &str = "127.0.0.21:5061";

/// TR-060: the newcomer is answered, the leg that it names is hung up on, and the carrier notices nothing.
#[test]
fn tr_060_a_leg_is_taken_over_and_the_old_one_is_hung_up_on() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.sent.clear();
    let before = world.plan().sides[1].port;
    world.hear(SECOND, &replacing(&invite, "t001", "from-tag=t1", &elsewhere()));
    let ok = world.expect(SECOND, "SIP/2.0 200");
    assert!(ok.contains("a=sendrecv\r\n") && ok.contains("RTP/SAVP 8 101\r\n"), "{ok}");
    assert!(value(&ok, "Contact").contains("t001.sbc.test:5061;transport=tls>"), "{ok}");
    world.hear(SECOND, &within(&ok, "ACK", 1, ""));
    let bye = world.expect(PROXY, "BYE ");
    assert_eq!(value(&bye, "Call-ID"), value(&invite, "Call-ID"));
    super::transfer::ok(&mut world, &bye);
    let side = &world.plan().sides[1];
    assert_eq!((hears(&world, 1), side.rtp), (vec![1], Some("127.0.0.20:42000".parse().unwrap())));
    assert!(side.port != before && side.send && side.receive);
    world.wait(Duration::from_secs(60));
    world.nothing_but(CARRIER, &["OPTIONS"]);
    assert!(world.records.is_empty());
    super::transfer::ended_by_target(&mut world, SECOND, &within(&ok, "BYE", 2, ""), CARRIER);
    let target = &world.records[0].legs[2];
    assert_eq!((&*target.call_id, &*target.caller), ("n1", "+442079460007"));
}

/// TR-060: what is not this tenant's to take over is unknown to it, and nothing moves.
#[test]
fn tr_060_an_unknown_dialog_or_that_of_another_tenant_is_481() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let before = format!("{:?}", world.plan());
    let other_call = invite.replace("Call-ID: ", "Call-ID: x");
    let other_tag = invite.replace(";tag=", ";tag=x");
    for (n, (request, status)) in [
        (replacing(&invite, "t002", "from-tag=t1", SECURE), 481),
        (replacing(&invite, "t001", "from-tag=t2", SECURE), 481),
        (replacing(&other_call, "t001", "from-tag=t1", SECURE), 481),
        (replacing(&other_tag, "t001", "from-tag=t1", SECURE), 481),
        (replacing(&invite, "t001", "from-tag=t1;early-only", SECURE), 486),
        (replacing(&invite, "t001", "nothing=t1", SECURE), 400),
        (replacing(&invite, "t001", "from-tag=t1,x;to-tag=1;from-tag=2", SECURE), 400),
    ]
    .into_iter()
    .enumerate()
    {
        let request = request.replace("CALL-ID: n1", &format!("CALL-ID: n{n}"));
        let request = request.replace("branch=z9hG4bKr", &format!("branch=z9hG4bKr{n}x"));
        world.hear(SECOND, &request);
        world.expect(SECOND, &format!("SIP/2.0 {status} "));
        assert_eq!(world.records.len(), n + 1, "each has its record");
    }
    assert_eq!(format!("{:?}", world.plan()), before);
    world.nothing_but(CARRIER, &["OPTIONS"]);
    // A carrier has no such right unless its trunk may transfer calls.
    let own = format!("Replaces: c1;to-tag=x;from-tag=ca\n{}", "Max-Forwards: 70\n");
    let invite = second_invite().replacen("Max-Forwards: 70\n", &own, 1);
    world.hear(CARRIER, &invite);
    world.expect(CARRIER, "SIP/2.0 501");
    world.records.clear();
    super::reload::ends_well(&mut world, &ok);
}

/// Nobody is replaced who has not answered yet, or who has left.
#[test]
fn tr_060_neither_an_early_dialog_nor_one_that_is_over_is_taken_over() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", TEAMS_CONTACT, ""));
    world.hear(SECOND, &replacing(&invite, "t001", "from-tag=t1", SECURE));
    world.expect(SECOND, "SIP/2.0 481");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    world.hear(CARRIER, &carrier_ack(&ok));
    world.hear(CARRIER, &carrier_bye(&ok));
    let late = replacing(&invite, "t001", "from-tag=t1", SECURE)
        .replace("branch=z9hG4bK", "branch=z9hG4bKl");
    world.hear(SECOND, &late.replace("CALL-ID: n1", "CALL-ID: n2"));
    world.expect(SECOND, "SIP/2.0 603");
}

/// The carrier was held by the leg that is replaced: it is talked to again. The newcomer offered nothing: it is asked.
#[test]
fn tr_060_a_carrier_that_was_held_is_resumed_and_a_newcomer_without_offer_gets_ours() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let hold = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    world.hear(PROXY, &in_dialog(&invite, "INVITE", 2, "t1", TEAMS_CONTACT, &hold));
    let held = world.expect(CARRIER, "INVITE ");
    let own = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    world.hear(CARRIER, &reply(&held, "200 OK", "", "", &own).replace(";tag=\n", "\n"));
    world.expect(PROXY, "SIP/2.0 200");
    world.hear(PROXY, &in_dialog(&invite, "ACK", 2, "t1", "", ""));
    world.hear(SECOND, &replacing(&invite, "t001", "from-tag=t1", ""));
    let ok = world.expect(SECOND, "SIP/2.0 200");
    assert!(ok.contains("a=sendrecv\r\n") && ok.contains("a=crypto:1 "), "{ok}");
    world.hear(SECOND, &within(&ok, "ACK", 1, &elsewhere()));
    let resumed = world.expect(CARRIER, "INVITE ");
    assert!(resumed.contains("a=sendrecv\r\n"), "{resumed}");
    let own = PLAIN.replace("o=- 1 1", "o=- 1 3");
    world.hear(CARRIER, &reply(&resumed, "200 OK", "", "", &own).replace(";tag=\n", "\n"));
    let [carrier, teams] = &world.plan().sides;
    assert!(carrier.send && carrier.receive && teams.send && teams.receive);
    assert_eq!(hears(&world, 1), [1]);
}

/// What cannot be put into the call is refused and recorded, and the call goes on as it was, its ports too.
#[test]
fn tr_060_a_newcomer_that_cannot_be_joined_is_refused_and_recorded() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let before = format!("{:?}", world.plan());
    let free = world.core.gauges().free_port_pairs;
    let strange = SECURE.replace("RTP/SAVP 8 101", "RTP/SAVP 9 101");
    for (n, offer, status) in [(0, PLAIN, 488), (1, strange.as_str(), 488)] {
        let newcomer = replacing(&invite, "t001", "from-tag=t1", offer);
        let newcomer = newcomer.replace("CALL-ID: n1", &format!("CALL-ID: n{n}"));
        world.hear(SECOND, &newcomer.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{n}")));
        world.expect(SECOND, &format!("SIP/2.0 {status}"));
        assert_eq!((world.records.len(), world.records[n].cause.sip), (n + 1, status));
    }
    assert_eq!(format!("{:?}", world.plan()), before);
    assert_eq!(world.core.gauges().free_port_pairs, free);
    world.records.clear();
    super::reload::ends_well(&mut world, &ok);
}

/// A trunk that may transfer its calls says so, and may take over its own legs.
#[test]
fn a_trunk_that_may_transfer_takes_over_its_own_leg() {
    let mut config = config();
    config.trunks[0].refer = config::Refer::Local;
    let mut world = World::with(config);
    let (_, ok) = answered(&mut world);
    assert_eq!(value(&ok, "Supported"), "replaces, timer, 100rel");
    let tag = value(&ok, "To").split_once(";tag=").expect("a tag").1;
    let lines =
        format!("Require: replaces\nReplaces: c1;to-tag={tag};from-tag=ca\nMax-Forwards: 70\n");
    world.sent.clear();
    world.hear(CARRIER, &second_invite().replacen("Max-Forwards: 70\n", &lines, 1));
    world.expect(CARRIER, "SIP/2.0 200");
    let bye = world.expect(CARRIER, "BYE ");
    assert_eq!(value(&bye, "Call-ID"), "c1");
    world.nothing_but(PROXY, &["OPTIONS"]);
}
