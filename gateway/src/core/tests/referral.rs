//! REFER of trunks, by their policy.

use config::Refer;

use super::*;

const CENTRE: &str = "127.0.0.52:5070";
const OTHER: &str = "127.0.0.51:5070";

/// A call from carrier-a to the contact centre, whose REFER is dealt with so: the 200 to the carrier, the INVITE to the
/// centre.
fn call(refer: Refer) -> (World, String, String) {
    let mut config = config();
    config.trunks[2].refer = refer;
    call_with(config)
}

fn call_with(config: config::Config) -> (World, String, String) {
    let mut world = World::with(config);
    world.hear(CARRIER, &carrier_invite("+442079470001", PLAIN));
    let invite = world.expect(CENTRE, "INVITE ");
    let contact = "Contact: <sip:c@127.0.0.52:5070>\n";
    world.hear(CENTRE, &reply(&invite, "200 OK", "e1", contact, &at(52)));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    world.hear(CARRIER, &carrier_ack(&ok));
    world.sent.clear();
    (world, ok, invite)
}

/// Media of that host.
fn at(host: u8) -> String {
    PLAIN.replace("127.0.0.50", &format!("127.0.0.{host}"))
}

/// A request of the centre in the dialog that `invite` began.
fn centre(invite: &str, method: &str, cseq: u32, extra: &str) -> String {
    let head = format!(
        "{method} sip:x@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP {CENTRE};branch=z9hG4bKe{method}{cseq}\n\
         Max-Forwards: 70\nFrom: {};tag=e1\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\n{extra}",
        value(invite, "To"),
        value(invite, "From"),
        value(invite, "Call-ID"),
    );
    with_body(&head, "")
}

/// The next NOTIFY to the centre, answered: its state and its line.
fn notified(world: &mut World) -> String {
    let notify = world.expect(CENTRE, "NOTIFY ");
    world.hear(CENTRE, &reply(&notify, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    let state = value(&notify, "Subscription-State").split(';').next().expect("a state").to_owned();
    format!("{state} {}", body(&notify).trim_end())
}

/// The carrier hangs up, and the centre is told.
fn ends_well(world: &mut World, ok: &str) {
    let cseq = "CSeq: 90 BYE";
    world.hear(CARRIER, &carrier_bye(ok).replace("CSeq: 2 BYE", cseq));
    world.expect(CARRIER, "SIP/2.0 200");
    world.expect(CENTRE, "BYE ");
    assert_eq!(world.records.len(), 1);
}

const TO: &str = "Refer-To: <sip:0033123456789@127.0.0.10>\nReferred-By: <sip:agent@127.0.0.52>\n";

/// "local": the gateway calls the number, by the trunks of who asked, in the name of who is left.
#[test]
fn a_trunk_that_may_transfers_its_call_to_a_number() {
    let (mut world, ok, invite) = call(Refer::Local);
    assert!(value(&invite, "Allow").contains("REFER"));
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    world.expect(CENTRE, "SIP/2.0 202");
    assert_eq!(notified(&mut world), "active SIP/2.0 100 Trying");
    let target = world.expect(OTHER, "INVITE sip:+33123456789@127.0.0.51:5070 ");
    assert!(value(&target, "From").starts_with("\"Ann\" <sip:+442071234567@"), "{target}");
    assert!(!target.contains("Referred-By"), "{target}");
    world.hear(OTHER, &reply(&target, "180 Ringing", "o1", "", ""));
    assert_eq!(notified(&mut world), "active SIP/2.0 180 Ringing");
    let contact = "Contact: <sip:o@127.0.0.51:5070>\n";
    world.hear(OTHER, &reply(&target, "200 OK", "o1", contact, &at(51)));
    world.expect(OTHER, "ACK ");
    assert_eq!(notified(&mut world), "terminated SIP/2.0 200 OK");
    assert_eq!(world.plan().sides[1].rtp, Some("127.0.0.51:30000".parse().unwrap()));
    world.hear(CENTRE, &centre(&invite, "BYE", 3, ""));
    world.expect(CENTRE, "SIP/2.0 200");
    world.nothing_but(CARRIER, &["OPTIONS"]);
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(OTHER, "BYE ");
    world.hear(OTHER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    let [record] = &world.records[..] else { panic!("{:?}", world.records) };
    assert_eq!(record.legs[2].trunk.as_deref(), Some("carrier-b"));
    assert_eq!(record.legs[2].called, "+33123456789");
}

/// "refuse", numbers that are none, calls that cannot be joined: nobody is called, the call goes on.
#[test]
fn what_a_trunk_may_not_do_is_refused() {
    let (mut world, ok, invite) = call(Refer::Refuse);
    assert!(!value(&invite, "Allow").contains("REFER"));
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    world.expect(CENTRE, "SIP/2.0 405");
    ends_well(&mut world, &ok);
    let (mut world, ok, invite) = call(Refer::Local);
    for (cseq, (to, status)) in (2..).zip([
        ("<sip:alice@127.0.0.10>", 484),
        ("<sip:127.0.0.10>", 484),
        ("<sip:+33123456789@127.0.0.10?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>", 603),
        ("nonsense", 400),
    ]) {
        world.hear(CENTRE, &centre(&invite, "REFER", cseq, &format!("Refer-To: {to}\n")));
        world.expect(CENTRE, &format!("SIP/2.0 {status}"));
    }
    world.nothing_but(OTHER, &[]);
    ends_well(&mut world, &ok);
}

/// A NOTIFY of the carrier.
fn notify(ok: &str, cseq: u32, state: &str, line: &str) -> String {
    let head = format!(
        "NOTIFY sip:x@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKn{cseq}\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: {cseq} NOTIFY\nEvent: refer\n\
         Subscription-State: {state}\n",
        value(ok, "From"),
        value(ok, "To"),
    );
    with_body(&head, line).replace("application/sdp", "message/sipfrag")
}

/// "pass": the other trunk is asked, and what it says of that comes back: each status once, and no NOTIFY of strangers.
#[test]
fn a_refer_is_passed_to_a_trunk_and_its_notifies_come_back() {
    let (mut world, ok, invite) = call(Refer::Pass);
    let notify = |cseq, state: &str, line: &str| notify(&ok, cseq, state, line);
    world.hear(CARRIER, &notify(2, "active", "SIP/2.0 100 Trying\n"));
    world.expect(CARRIER, "SIP/2.0 481");
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    let refer = world.expect(CARRIER, "REFER ");
    assert_eq!(value(&refer, "Refer-To"), "<sip:0033123456789@127.0.0.10>");
    assert_eq!(value(&refer, "Referred-By"), "<sip:agent@127.0.0.52>");
    world.hear(CENTRE, &centre(&invite, "REFER", 3, TO));
    world.expect(CENTRE, "SIP/2.0 491");
    world.hear(CARRIER, &reply(&refer, "202 Accepted", "", "", "").replace(";tag=\n", "\n"));
    world.expect(CENTRE, "SIP/2.0 202");
    for (cseq, state, line, told) in [
        (3, "active;expires=60", "SIP/2.0 100 Trying\n", Some("active SIP/2.0 100 Trying")),
        (4, "active;expires=60", "SIP/2.0 100 Trying\n", None),
        (5, "active", "SIP/2.0 180 R\u{fc}\n", Some("active SIP/2.0 180 Ringing")),
        (6, "active", "nonsense", None),
        (
            7,
            "Terminated;reason=noresource",
            "SIP/2.0 486 x\n",
            Some("terminated SIP/2.0 486 Busy Here"),
        ),
    ] {
        world.hear(CARRIER, &notify(cseq, state, line));
        world.expect(CARRIER, "SIP/2.0 200");
        match told {
            Some(told) => assert_eq!(notified(&mut world), told),
            None => world.nothing_but(CENTRE, &[]),
        }
    }
    world.hear(CARRIER, &notify(8, "active", "SIP/2.0 180 Ringing\n"));
    world.expect(CARRIER, "SIP/2.0 481");
    // Refused by the other side: that is what the referrer hears.
    world.hear(CENTRE, &centre(&invite, "REFER", 4, TO));
    let refer = world.expect(CARRIER, "REFER ");
    world.hear(
        CARRIER,
        &reply(&refer, "405 Method Not Allowed", "", "", "").replace(";tag=\n", "\n"),
    );
    world.expect(CENTRE, "SIP/2.0 405");
    // What names a dialog of ours means nothing there.
    let joining =
        "Refer-To: <sip:+33123456789@127.0.0.10?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>\n";
    world.hear(CENTRE, &centre(&invite, "REFER", 5, joining));
    world.expect(CENTRE, "SIP/2.0 603");
    world.nothing_but(CARRIER, &["OPTIONS", "SIP/2.0"]);
    ends_well(&mut world, &ok);
}

/// The first NOTIFY overtakes the 202 (RFC 6665 §4.1.2.4): it is that 202 as well.
#[test]
fn a_notify_that_comes_before_the_202_is_taken() {
    let (mut world, ok, invite) = call(Refer::Pass);
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    let refer = world.expect(CARRIER, "REFER ");
    world.hear(CARRIER, &notify(&ok, 2, "active;expires=60", "SIP/2.0 100 Trying\n"));
    world.expect(CARRIER, "SIP/2.0 200");
    world.expect(CENTRE, "SIP/2.0 202");
    assert_eq!(notified(&mut world), "active SIP/2.0 100 Trying");
    world.hear(CARRIER, &reply(&refer, "202 Accepted", "", "", "").replace(";tag=\n", "\n"));
    world.nothing_but(CENTRE, &[]);
    world.hear(CARRIER, &notify(&ok, 3, "terminated", "SIP/2.0 200 OK\n"));
    world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(notified(&mut world), "terminated SIP/2.0 200 OK");
    ends_well(&mut world, &ok);
}

/// While the other trunk is at it, nobody else may ask; what it never ends, ends by itself.
#[test]
fn a_refer_that_was_passed_on_has_an_end_whoever_asks_meanwhile_and_whatever_the_other_says() {
    let (mut world, ok, invite) = call(Refer::Pass);
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    let refer = world.expect(CARRIER, "REFER ");
    world.hear(CARRIER, &reply(&refer, "202 Accepted", "", "", "").replace(";tag=\n", "\n"));
    world.expect(CENTRE, "SIP/2.0 202");
    world.hear(CENTRE, &centre(&invite, "REFER", 3, TO));
    world.expect(CENTRE, "SIP/2.0 491");
    world.hear(CARRIER, &notify(&ok, 2, "active", "SIP/2.0 180 Ringing\n"));
    world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(notified(&mut world), "active SIP/2.0 180 Ringing");
    world.wait(Duration::from_secs(181));
    assert_eq!(notified(&mut world), "terminated SIP/2.0 408 Request Timeout");
    world.hear(CENTRE, &centre(&invite, "REFER", 4, TO));
    world.expect(CARRIER, "REFER ");
    ends_well(&mut world, &ok);
}

/// The other trunk says nothing to the REFER: the referrer hears that before it takes the call for lost.
#[test]
fn a_refer_that_is_passed_to_a_silent_trunk_is_answered_in_time() {
    let (mut world, ok, invite) = call(Refer::Pass);
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    let refer = world.expect(CARRIER, "REFER ");
    world.wait(Duration::from_secs(19));
    world.nothing_but(CENTRE, &[]);
    world.wait(Duration::from_secs(2));
    world.expect(CENTRE, "SIP/2.0 504");
    // Too late.
    world.hear(CARRIER, &reply(&refer, "202 Accepted", "", "", "").replace(";tag=\n", "\n"));
    world.nothing_but(CENTRE, &[]);
    world.hear(CENTRE, &centre(&invite, "REFER", 3, TO));
    world.expect(CARRIER, "REFER ");
    ends_well(&mut world, &ok);
}

/// A target that is sought at one trunk after the other is offered what each of them needs: no key where media are plain, and
/// none of it in clear where they are not.
#[test]
fn a_target_at_the_next_trunk_is_offered_what_that_one_needs() {
    let mut config = config();
    config.trunks[1].srtp = config::Srtp::Required;
    config.trunks[2].refer = Refer::Local;
    config.trunks[2].trunks = vec![1, 0];
    let (mut world, _, invite) = call_with(config);
    let free = world.core.gauges().free_port_pairs;
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    let first = world.expect(OTHER, "INVITE sip:+33123456789@");
    assert!(first.contains("RTP/SAVP") && first.contains("a=crypto:"), "{first}");
    world.hear(OTHER, &reply(&first, "503 Service Unavailable", "o1", "", ""));
    let second = world.expect(CARRIER, "INVITE sip:+33123456789@");
    assert!(second.contains("RTP/AVP") && !second.contains("a=crypto:"), "{second}");
    world.hear(CARRIER, &reply(&second, "486 Busy Here", "o2", "", ""));
    assert_eq!(world.core.gauges().free_port_pairs, free, "the ports of the transfer are back");
}

/// A call of the centre to the public network.
fn centre_calls(world: &mut World, name: &str) {
    let invite = carrier_invite("+33123456789", PLAIN).replace("c1", name);
    world.hear(CENTRE, &invite.replace(CARRIER, CENTRE).replace("127.0.0.50", "127.0.0.52"));
}

/// With limits of the centre, which may transfer.
fn bounded(limits: config::Limits) -> config::Config {
    let mut config = config();
    (config.trunks[2].refer, config.trunks[2].limits) = (Refer::Local, limits);
    config.trunks[2].limit_status = 486;
    config
}

fn answered_by_target(world: &mut World) {
    let target = world.expect(OTHER, "INVITE sip:+33123456789@");
    let contact = "Contact: <sip:o@127.0.0.51:5070>\n";
    world.hear(OTHER, &reply(&target, "200 OK", "o1", contact, &at(51)));
    world.expect(OTHER, "ACK ");
}

/// A call that a trunk makes by REFER is a call that it makes: it takes its place among them as long as the target is there,
/// though the trunk itself has left.
#[test]
fn at_08_a_transfer_counts_as_a_call_of_who_asked_for_it() {
    let one = config::Bound { calls: Some(1), rate: None };
    let limits = config::Limits { made: one, ..config::Limits::default() };
    let (mut world, ok, invite) = call_with(bounded(limits));
    let all = world.core.admission.all_calls();
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    world.expect(CENTRE, "SIP/2.0 202");
    answered_by_target(&mut world);
    world.hear(CENTRE, &centre(&invite, "BYE", 3, ""));
    centre_calls(&mut world, "c5");
    world.expect(CENTRE, "SIP/2.0 486");
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(OTHER, "BYE ");
    world.hear(OTHER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!((all, world.core.admission.all_calls()), (2, 0));
    centre_calls(&mut world, "c6");
    world.expect(OTHER, "INVITE ");
    // While it has that call, it may make no other, by no REFER either.
    world.hear(CARRIER, &second_invite().replace("+442079460002", "+442079470001"));
    let invite = world.expect(CENTRE, "INVITE ");
    let contact = "Contact: <sip:c@127.0.0.52:5070>\n";
    world.hear(CENTRE, &reply(&invite, "200 OK", "e1", contact, &at(52)));
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    world.expect(CENTRE, "SIP/2.0 486");
}

/// How fast it may call holds for transfers; its own call is not in the way of one, since it goes; a target that does not
/// answer gives the place back.
#[test]
fn at_08_a_transfer_takes_a_turn_and_the_place_of_the_call_that_it_ends() {
    let one = config::Bound { calls: Some(1), rate: None };
    let (mut world, _, invite) =
        call_with(bounded(config::Limits { all: one, ..Default::default() }));
    for cseq in [2, 3] {
        world.hear(CENTRE, &centre(&invite, "REFER", cseq, TO));
        world.expect(CENTRE, "SIP/2.0 202");
        let target = world.expect(OTHER, "INVITE sip:+33123456789@");
        world.hear(OTHER, &reply(&target, "486 Busy Here", "o1", "", ""));
        assert_eq!(world.core.admission.all_calls(), 2);
    }
    let rate = Some(config::Rate { per_1000_s: 100, burst: 1 });
    let made = config::Bound { calls: None, rate };
    let (mut world, _, invite) = call_with(bounded(config::Limits { made, ..Default::default() }));
    for (cseq, status) in [(2, "SIP/2.0 202"), (3, "SIP/2.0 486")] {
        world.hear(CENTRE, &centre(&invite, "REFER", cseq, TO));
        world.expect(CENTRE, status);
        if cseq == 2 {
            let target = world.expect(OTHER, "INVITE sip:+33123456789@");
            world.hear(OTHER, &reply(&target, "486 Busy Here", "o1", "", ""));
        }
    }
    world.wait(Duration::from_secs(10));
    world.hear(CENTRE, &centre(&invite, "REFER", 4, TO));
    world.expect(CENTRE, "SIP/2.0 202");
}

/// A transfer to 112 is a call for help: past the limits of who asks and of who is asked, and of what is barred there.
#[test]
fn tr_068_a_transfer_to_112_is_a_call_for_help() {
    let full = config::Bound { calls: Some(1), rate: None };
    let mut config = bounded(config::Limits { made: full, ..Default::default() });
    config.trunks[1].limits.received = full;
    let (mut world, _, invite) = call_with(config);
    centre_calls(&mut world, "c5");
    world.expect(OTHER, "INVITE ");
    world.hear(CENTRE, &centre(&invite, "REFER", 2, TO));
    world.expect(CENTRE, "SIP/2.0 486");
    world.nothing_but(OTHER, &[]);
    world.hear(CENTRE, &centre(&invite, "REFER", 3, "Refer-To: <sip:112@127.0.0.10>\n"));
    world.expect(CENTRE, "SIP/2.0 202");
    world.expect(OTHER, "INVITE sip:112@127.0.0.51:5070 ");
}

/// TR-038: "pass" ends at a tenant: it never gets a REFER; the gateway calls the target.
#[test]
fn tr_038_a_tenant_is_never_asked_to_call_somebody() {
    let mut config = config();
    config.trunks[0].refer = Refer::Pass;
    let mut world = World::with(config);
    let (_, ok) = answered(&mut world);
    world.sent.clear();
    let refer = carrier_bye(&ok).replace("BYE", "REFER").replace("z9hG4bKc3", "z9hG4bKr1");
    let to = "Refer-To: <sip:+442079460002@127.0.0.10>\nContent-Length";
    world.hear(CARRIER, &refer.replace("Content-Length", to));
    world.expect(CARRIER, "SIP/2.0 202");
    let target = world.expect(PROXY, "INVITE sip:+442079460002@sip.teams.test:5061;user=phone");
    assert!(value(&target, "From").starts_with("<sip:+442079460001@t001.sbc.test"), "{target}");
    world.nothing_but(PROXY, &["OPTIONS"]);
}
