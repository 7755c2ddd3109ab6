//! Rules of the Teams side by their number: identities, dialogs, forms of messages.

use std::fmt::Write as _;

use crate::harness::dialog::{Dialog, Invite};
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, CARRIER_B, OTHER_PROXY, PROXY};
use crate::harness::scene::{Scene, TEAMS_CONTACT};
use crate::harness::sip::{Msg, uri_in};
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};

const TENANT: &str = "t001.sbc.test";

/// Contact and From of our request, and our Via, carry the tenant's name.
fn names_the_tenant(msg: &Msg) {
    if msg.method() != "BYE" && msg.method() != "CANCEL" {
        assert_eq!(msg.host_of("Contact"), TENANT, "{msg}");
    }
    if let Some(contact) = msg.get("Contact") {
        assert!(contact.contains("transport=tls"), "{contact}");
    }
    assert_eq!(msg.host_of("From"), TENANT, "{msg}");
    assert_eq!(msg.sent_by().split(':').next(), Some(TENANT), "{msg}");
}

#[test]
fn tr_017_every_request_of_a_tenants_call_names_the_tenant() {
    let scene = Scene::usual("tr_017");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let invite = call.invite.clone();
    assert!(
        invite.uri().starts_with(&format!("sip:{CALLED}@sip.teams.test")),
        "Request-URI {}",
        invite.uri()
    );
    assert!(invite.uri().contains(";user=phone"), "Request-URI {}", invite.uri());
    assert!(invite.uri_of("From").starts_with(&format!("sip:{CALLER}@{TENANT}")), "{invite}");
    assert_eq!(invite.need("Content-Type"), "application/sdp");
    call.carrier_offers("sendonly", "inactive");
    call.carrier_offers("sendrecv", "sendrecv");
    call.carrier_hangs_up();
    let all = teams.inbox.all();
    let of_call: Vec<_> =
        all.iter().filter(|r| r.msg.is_request() && r.msg.method() != "OPTIONS").collect();
    for method in ["INVITE", "ACK", "BYE"] {
        assert!(of_call.iter().any(|r| r.msg.method() == method), "no {method}");
    }
    assert!(of_call.iter().filter(|r| r.msg.method() == "INVITE").count() >= 2, "no re-INVITE");
    for received in of_call {
        names_the_tenant(&received.msg);
    }
}

/// The same on a call that Teams starts: the answers carry the tenant's name too.
#[test]
fn tr_017_answers_to_teams_name_the_tenant() {
    let scene = Scene::usual("tr_017_answers");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut call = Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442079460001");
    call.carrier_offers("sendonly", "inactive");
    call.carrier_offers("sendrecv", "sendrecv");
    call.carrier_hangs_up();
    for received in teams.inbox.all() {
        let msg = &received.msg;
        if msg.method() == "OPTIONS" {
            continue;
        }
        if msg.is_request() {
            names_the_tenant(msg);
        } else if msg.method() == "INVITE" && msg.status() > 100 {
            assert_eq!(msg.host_of("Contact"), TENANT, "{msg}");
        }
    }
}

#[test]
fn tr_018_the_trunk_decides_when_two_tenants_have_the_same_number() {
    let mut scene = Scene::new("tr_018");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk("carrier-b", "udp", CARRIER_B, "")
        .tenant("t001", &["carrier-a"], &["+1001", "+15550010000-+15550019999"], "")
        .tenant("t002", &["carrier-b"], &["+1001", "+15550020000-+15550029999"], "");
    let (teams, a, b) = (scene.teams(), scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    for (carrier, fqdn, port) in [(&a, TENANT, 7000), (&b, "t002.sbc.test", 7002)] {
        let call = Talking::incoming_from(&teams, carrier, "+1001", port);
        assert_eq!(call.invite.host_of("Contact"), fqdn);
        assert!(call.invite.uri().starts_with("sip:+1001@"), "{}", call.invite.uri());
        call.carrier_hangs_up();
    }
    // A number of the other tenant is nobody's on this trunk.
    let mut call =
        a.call(CALLER, "+15550020001", &MediaEnd::new(a.ip(), 7010).plain_sdp("sendrecv"));
    let refusal = call.final_response();
    assert!((400..500).contains(&refusal.msg.status()), "{}", refusal.msg);
    call.ack_failure();
    teams.not_invited();
}

#[test]
fn tr_023_the_request_uri_chooses_the_tenant_and_unknown_names_get_nowhere() {
    let mut scene = Scene::new("tr_023");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk("carrier-b", "udp", CARRIER_B, "")
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "")
        .tenant("t002", &["carrier-b"], &["+15550020000-+15550029999"], "");
    let (teams, a, b) = (scene.teams(), scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let call = Talking::outgoing(&teams, &flow, "t002.sbc.test", &b, "+442079460001");
    call.teams_hangs_up();
    a.not_invited();
    let media = MediaEnd::new(scene.place.ip(PROXY), 7300);
    let offer = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    for fqdn in ["nobody.sbc.test", "sbc.test", "t001.elsewhere.test"] {
        let mut call = teams.call(&flow, fqdn, CALLED, "+442079460001", &offer);
        let refusal = call.final_response();
        assert!(matches!(refusal.msg.status(), 403 | 404), "{fqdn}: {}", refusal.msg);
        call.ack_failure();
    }
    a.not_invited();
    b.not_invited();
}

/// ACK, re-INVITE and BYE go to the Contact of Teams, byte for byte, whatever stands in it.
#[test]
fn tr_024_the_contact_of_teams_is_echoed_untouched() {
    let scene = Scene::usual("tr_024");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let contact = uri_in(TEAMS_CONTACT);
    let route = "<sip:sip.teams.test:5061;transport=tls;lr>";
    // Teams as callee, then as caller.
    let flow = teams.connect(TENANT);
    for incoming in [true, false] {
        let mut call = Talking::either(incoming, &teams, &flow, &carrier);
        call.talk();
        let (offer, _) = call.carrier_offers("sendonly", "inactive");
        assert_eq!(offer.msg.uri(), contact);
        assert_eq!(offer.msg.need("Route"), route);
        call.carrier.send("BYE", "", "");
        let bye = call.teams.hung_up();
        assert_eq!(bye.msg.uri(), contact);
        assert_eq!(bye.msg.need("Route"), route);
        let all = teams.inbox.all();
        let acks: Vec<_> = all
            .iter()
            .filter(|r| r.msg.method() == "ACK" && r.msg.call_id() == call.teams.call_id)
            .collect();
        assert!(!acks.is_empty());
        for ack in acks {
            assert_eq!(ack.msg.uri(), contact);
        }
        call.carrier.took_200("BYE");
    }
}

/// Without Record-Route and with a Contact that nobody can resolve, the way back is the connection.
#[test]
fn tr_024_a_contact_that_cannot_be_resolved_is_reached_where_it_was_heard() {
    let scene = Scene::usual("tr_024_unresolved");
    let (mut teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    teams.persona.record_route = None;
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    call.carrier.send("BYE", "", "");
    let bye = call.teams.hung_up();
    assert_eq!(bye.msg.uri(), uri_in(TEAMS_CONTACT));
}

#[test]
fn tr_025_requests_on_a_new_connection_find_their_dialog() {
    let scene = Scene::usual("tr_025");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    for incoming in [true, false] {
        let first = teams.connect(TENANT);
        let mut call = Talking::either(incoming, &teams, &first, &carrier);
        first.close();
        call.teams.flow = teams.connect_from(OTHER_PROXY, TENANT);
        call.teams_offers("inactive", "inactive");
        call.teams_offers("sendrecv", "sendrecv");
        call.talk();
        // REFER finds its dialog as well; whether it is taken is another rule.
        let refer = call.teams.ask(
            "REFER",
            "Refer-To: <sip:+15550010002@sip.teams.test:5061;user=phone>\r\n",
            "",
        );
        assert_ne!(refer.msg.status(), 481, "{}", refer.msg);
        call.teams.flow = teams.connect_from(OTHER_PROXY + 1, TENANT);
        call.teams_hangs_up();
    }
}

/// Teams closes the connection in mid-call: what we have to say goes over a new one.
#[test]
fn tr_025_our_own_requests_find_a_new_connection() {
    let scene = Scene::usual("tr_025_ours");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let before = call.teams.flow.clone();
    before.close();
    teams.inbox.until("closed", std::time::Duration::from_secs(2), |_, _| before.is_closed());
    let (offer, _) = call.carrier_offers("sendonly", "inactive");
    assert!(!offer.flow.same(&before));
    for flow in teams.inbox.flows() {
        flow.close();
    }
    call.carrier_hangs_up();
}

/// Capitals, compact forms, folded lines, odd spacing.
#[test]
fn tr_026_every_form_of_header_is_read() {
    let scene = Scene::usual("tr_026_forms");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let number = "+442079460001";
    let media = MediaEnd::new(scene.place.ip(PROXY), 7400);
    let sdp = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    let ways: [(&str, Change); 3] = [
        ("capitals", |text| rename(text, str::to_ascii_uppercase)),
        ("compact", |text| rename(text, compact)),
        ("folded", |text| {
            text.replacen(";branch", ";\r\n \tbranch", 1)
                .replacen("Max-Forwards: ", "max-forwards  :  \r\n  ", 1)
                .replacen("CSeq: 1 ", "cSeq \t:1   ", 1)
        }),
    ];
    for (way, change) in ways {
        let (uri, to) =
            (format!("sip:{number}@{TENANT}:5061;user=phone"), format!("<sip:{number}@{TENANT}>"));
        let from = format!("<sip:{CALLED}@sip.teams.test>");
        let invite = Invite { uri: &uri, from: &from, to: &to, extra: "", sdp: &sdp };
        let mut call = Dialog::prepare(&teams.persona, &flow, &invite);
        let text = call.invite_text(&invite);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        flow.send(format!("{}\r\n\r\n{body}", change(head)));
        let (invite, callee) = carrier.invited();
        callee.reply(&invite, "486 Busy Here", "", "");
        carrier.inbox.take("ACK", |r| r.msg.method() == "ACK");
        let refusal = call.final_response();
        assert_eq!(refusal.msg.status(), 486, "{way}");
        call.ack_failure();
    }
}

type Change = fn(&str) -> String;

fn rename(head: &str, change: impl Fn(&str) -> String) -> String {
    let mut lines = head.split("\r\n");
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        write!(out, "\r\n{}:{value}", change(name)).unwrap();
    }
    out
}

fn compact(name: &str) -> String {
    let forms = [
        ("Via", "v"),
        ("From", "f"),
        ("To", "t"),
        ("Call-ID", "i"),
        ("Contact", "m"),
        ("Content-Type", "c"),
        ("Content-Length", "l"),
    ];
    forms.iter().find(|(long, _)| *long == name).map_or(name, |(_, short)| short).to_owned()
}

#[test]
fn tr_026_a_message_over_three_records_and_one_of_8_kb() {
    let scene = Scene::usual("tr_026_size");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut media = MediaEnd::new(scene.place.ip(PROXY), 7500);
    let own = Crypto::fresh(1, CM_80);
    let candidates: String = (0..90).fold(String::new(), |mut text, n| {
        write!(
            text,
            "a=candidate:{n} 1 UDP 2130706431 203.0.113.{n} 50000 typ host generation 0\r\n"
        )
        .unwrap();
        text
    });
    let sdp = media.secure_sdp(&[&own], "sendrecv", &candidates);
    let extra = format!(
        "REFERRED-BY: <sip:sip.teams.test:5061;x-m=8:orgid:{};x-tt={}%3D>\r\nX-MS-LONG: {}\r\n",
        "0".repeat(36),
        "aB3_".repeat(90),
        "x".repeat(1000)
    );
    let uri = format!("sip:+442079460001@{TENANT}:5061;user=phone");
    let invite = Invite {
        uri: &uri,
        from: &format!("<sip:{CALLED}@sip.teams.test>"),
        to: &format!("<sip:+442079460001@{TENANT}>"),
        extra: &extra,
        sdp: &sdp,
    };
    let mut call = Dialog::prepare(&teams.persona, &flow, &invite);
    let text = call.invite_text(&invite).into_bytes();
    assert!(text.len() > 8_000, "{}", text.len());
    for part in text.chunks(text.len() / 3 + 1) {
        flow.send(part);
    }
    let (invite, callee) = carrier.invited();
    let mut far = MediaEnd::new(carrier.ip(), 7500);
    callee.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
    far.towards(&invite.msg);
    let answer = call.response(200);
    call.ack();
    media.secure(&own, &Crypto::of(&answer.msg));
    media.towards(&answer.msg);
    talk(&mut far, &mut media, 20);
    // Two messages in one record.
    let first = teams.ping(&flow, TENANT);
    let both = format!("{0}{0}", options_text()).replacen("pair-1", "pair-2", 2);
    flow.send(both);
    for call_id in [first.as_str(), "pair-1", "pair-2"] {
        teams.inbox.take(call_id, |r| r.msg.status() == 200 && r.msg.call_id() == call_id);
    }
    call.hang_up();
}

fn options_text() -> String {
    format!(
        "OPTIONS sip:{TENANT}:5061 SIP/2.0\r\nVia: SIP/2.0/TLS sip.teams.test:5061;branch=z9hG4bKpair-1\r\nMax-Forwards: 70\r\n\
         From: <sip:sip.teams.test>;tag=1\r\nTo: <sip:{TENANT}>\r\nCall-ID: pair-1\r\nCSeq: 1 OPTIONS\r\nContact: <sip:sip.teams.test>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Voicemail answers without ringing.
#[test]
fn tr_030_a_200_without_18x() {
    let scene = Scene::usual("tr_030");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7600);
    let mut caller = carrier.call(CALLER, CALLED, &near.plain_sdp("sendrecv"));
    let (invite, callee) = teams.invited();
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7600);
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    callee.take("ACK");
    near.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    caller.send("BYE", "", "");
    callee.hung_up();
    caller.took_200("BYE");
}

#[test]
fn tr_034_cancel_reaches_teams_with_its_reason() {
    let scene = Scene::usual("tr_034");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
    for extra in ["", &format!("Reason: {reason}\r\n")] {
        let media = MediaEnd::new(carrier.ip(), 7700);
        let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        callee.reply(&invite, "180 Ringing", "", "");
        caller.response(180);
        caller.cancel(extra);
        caller.took_200("CANCEL");
        let cancel = callee.take("CANCEL");
        assert_eq!(cancel.msg.uri(), invite.msg.uri());
        assert_eq!(cancel.msg.branch(), invite.msg.branch());
        if !extra.is_empty() {
            assert!(cancel.msg.need("Reason").contains("SIP;cause=200"), "{}", cancel.msg);
        }
        callee.reply(&cancel, "200 OK", "", "");
        callee.reply(&invite, "487 Request Terminated", "", "");
        let over = caller.final_response();
        assert_eq!(over.msg.status(), 487);
        caller.ack_failure();
        callee.take("ACK");
    }
}

/// Explicit calls of every kind; the audit of every raw Teams end says the same in all tests.
#[test]
fn tr_075_no_sips_no_empty_user_no_address() {
    let scene = Scene::usual("tr_075");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    // Callers without a number, with a scheme that Teams refuses, with an address.
    for from in [
        "<sip:anonymous@anonymous.invalid>",
        "\"Anonymous\" <sip:anonymous@127.9.9.9>",
        "<sips:+442071230000@127.9.9.9>",
        "<sip:127.9.9.9>",
        "<tel:+442071230000>",
        "<sip:12345@carrier.test;user=phone>",
        "\"O'Brien, \\\"x\\\" <sip:@>\" <sip:+442071230000@[::1]:5060>",
    ] {
        let media = MediaEnd::new(carrier.ip(), 7800);
        let gateway = carrier.flow.remote();
        let mut call = Dialog::invite(
            &carrier.persona,
            &carrier.flow,
            &Invite {
                uri: &format!("sip:{CALLED}@{gateway}"),
                from,
                to: &format!("<sip:{CALLED}@{gateway}>"),
                extra: "P-Asserted-Identity: <sip:+442071230000@127.9.9.9>\r\n",
                sdp: &media.plain_sdp("sendrecv"),
            },
        );
        let (invite, callee) = teams.invited();
        callee.is_busy(&invite, &mut call);
    }
    for incoming in [true, false] {
        let mut call = Talking::either(incoming, &teams, &flow, &carrier);
        call.carrier_offers("sendonly", "inactive");
        call.teams_offers("sendrecv", "sendrecv");
        if incoming { call.teams_hangs_up() } else { call.carrier_hangs_up() }
    }
    let faults = teams.audit();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(teams.inbox.all().len() > 20);
}

/// A trunk that leaves the offer to us: Teams gets one of our own making all the same.
#[test]
fn tr_021_an_invite_without_sdp() {
    let scene = Scene::usual("tr_021");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7900);
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7900);
    let mut caller = carrier.call(CALLER, CALLED, "");
    let (invite, callee) = teams.invited();
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let offer = caller.response(200);
    near.towards(&offer.msg);
    caller.ack_with(&near.plain_sdp("sendrecv"));
    callee.take("ACK");
    talk(&mut near, &mut far, 40);
    caller.send("BYE", "", "");
    callee.hung_up();
    caller.took_200("BYE");
}

/// 180 of one endpoint, 180 of another, 183 of the media processor; the second endpoint answers.
#[test]
fn tr_027_several_endpoints_ring_and_one_answers() {
    let scene = Scene::usual("tr_027");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7910);
    let mut early = MediaEnd::new(scene.place.ip(PROXY), 7910);
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7912);
    let mut caller = carrier.call(CALLER, CALLED, &near.plain_sdp("sendrecv"));
    let (invite, mut first) = teams.invited();
    first.reply(&invite, "180 Ringing", "", "");
    let second = Dialog::answering(&teams.persona, &invite);
    second.reply(&invite, "180 Ringing", "", "");
    first.fork();
    let (sdp, _, _) = answer_to(&mut early, &invite.msg);
    first.reply(&invite, "183 Session Progress", "", &sdp);
    caller.response(180);
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    second.reply(&invite, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    let ack = second.take("ACK");
    assert_eq!(ack.msg.to_tag(), Some(second.local_tag()));
    near.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    let tags: std::collections::BTreeSet<_> = carrier
        .inbox
        .all()
        .iter()
        .filter(|r| r.msg.method() == "INVITE" && r.msg.status() > 100)
        .filter_map(|r| r.msg.to_tag().map(str::to_owned))
        .collect();
    assert_eq!(tags.len(), 1, "the trunk sees one early dialog: {tags:?}");
    caller.send("BYE", "", "");
    second.hung_up();
    caller.took_200("BYE");
}

/// Two endpoints answer at once: both are acknowledged, the second is ended.
#[test]
fn tr_028_the_second_of_two_answers_is_ended() {
    let scene = Scene::usual("tr_028");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7920);
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7920);
    let mut caller = carrier.call(CALLER, CALLED, &near.plain_sdp("sendrecv"));
    let (invite, first) = teams.invited();
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    first.reply(&invite, "200 OK", "", &sdp);
    let mut second = Dialog::answering(&teams.persona, &invite);
    second.fork();
    second.reply(&invite, "200 OK", "", &sdp);
    let to = |method: &'static str, tag: &str| {
        let tag = tag.to_owned();
        teams.inbox.take(&format!("{method} to {tag}"), move |r| {
            r.msg.is_request() && r.msg.method() == method && r.msg.to_tag() == Some(&tag)
        })
    };
    to("ACK", first.local_tag());
    to("ACK", second.local_tag());
    let bye = to("BYE", second.local_tag());
    second.reply(&bye, "200 OK", "", "");
    let answer = caller.response(200);
    caller.ack();
    near.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    caller.send("BYE", "", "");
    first.hung_up();
    caller.took_200("BYE");
}
