//! Attacks by the fields of calls that are well-formed: loops, session intervals, credentials (AT-10, 51, 52).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::harness::attack::{Standing, invite, options};
use crate::harness::dialog::{Dialog, Invite, token};
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, PROXY, STRANGER};
use crate::harness::raw::{header, status};
use crate::harness::scene::{Carrier, Scene};
use crate::harness::sip::Msg;
use crate::harness::talking::{CALLED, CALLER, Talking};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// An INVITE of the trunk with its text changed.
fn call(carrier: &Carrier, called: &str, change: impl Fn(String) -> String) -> Dialog {
    let media = MediaEnd::new(carrier.ip(), 7800);
    let gate = carrier.flow.remote();
    let invite = Invite {
        uri: &format!("sip:{called}@{gate}"),
        from: &format!("<sip:{CALLER}@{}>", carrier.ip()),
        to: &format!("<sip:{called}@{gate}>"),
        extra: "",
        sdp: &media.plain_sdp("sendrecv"),
    };
    let mut dialog = Dialog::prepare(&carrier.persona, &carrier.flow, &invite);
    carrier.flow.send(change(dialog.invite_text(&invite)));
    dialog
}

fn refused(mut call: Dialog) -> Msg {
    let refusal = call.final_response().msg;
    call.ack_failure();
    refusal
}

#[test]
fn at_51_max_forwards_and_our_own_via_end_a_loop() {
    let scene = Scene::usual("at_51");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let forwards = |n: &'static str| {
        call(&carrier, CALLED, move |text| {
            text.replace("Max-Forwards: 70", &format!("Max-Forwards: {n}"))
        })
    };
    assert_eq!(refused(forwards("0")).status(), 483);
    teams.not_invited();
    let last = forwards("1");
    let (invite, callee) = teams.invited();
    assert_eq!(invite.msg.need("Max-Forwards"), "0");
    callee.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(refused(last).status(), 486);
    // What the gateway sent to the trunk comes back through proxies: with its own Via under theirs, whoever wrote the rest.
    let flow = teams.connect(TENANT);
    let mut first = teams.call(&flow, TENANT, CALLED, NUMBER, &secure_offer(&scene));
    let (invite, callee) = carrier.invited();
    let via = invite.msg.need("Via").to_owned();
    for depth in [1, 3] {
        let others = "Via: SIP/2.0/UDP proxy.test;branch=z9hG4bKp\r\n".repeat(depth - 1);
        let looped = call(&carrier, CALLED, |text| {
            text.replacen("Max-Forwards", &format!("{others}Via: {via}\r\nMax-Forwards"), 1)
        });
        assert_eq!(refused(looped).status(), 482, "{depth}");
    }
    teams.not_invited();
    callee.is_busy(&invite, &mut first);
    gateway.wait_records(5);
}

fn secure_offer(scene: &Scene) -> String {
    let media = MediaEnd::new(scene.place.ip(PROXY), 7802);
    media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "")
}

/// A call that Teams forwards to the trunk and the trunk back to Teams, and so on, each time as another call: it is over
/// when Max-Forwards, which both carry on, is used up; all of its calls end, and nothing stays.
#[test]
fn at_51_a_spiral_through_teams_and_the_trunk_ends_with_max_forwards() {
    let scene = Scene::usual("at_51_spiral");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let offer = secure_offer(&scene);
    let (mut forwards, mut passes) = ("10".to_owned(), Vec::new());
    let last = loop {
        let hops = format!("Max-Forwards: {forwards}");
        let from_trunk = call(&carrier, CALLED, |text| text.replace("Max-Forwards: 70", &hops));
        if forwards == "0" {
            break from_trunk;
        }
        let (to_teams, teams_leg) = teams.invited();
        let hops = format!("Max-Forwards: {}", to_teams.msg.need("Max-Forwards"));
        let uri = format!("sip:{NUMBER}@{TENANT}:5061;user=phone;transport=tls");
        let invite = Invite {
            uri: &uri,
            from: &format!("<sip:{CALLED}@sip.teams.test:5061;user=phone>"),
            to: &format!("<sip:{NUMBER}@{TENANT}:5061;user=phone>"),
            extra: "History-Info: <sip:+15550010001@sip.teams.test?Reason=SIP%3Bcause%3D302>;index=1\r\n",
            sdp: &offer,
        };
        let mut from_teams = Dialog::prepare(&teams.persona, &flow, &invite);
        flow.send(from_teams.invite_text(&invite).replace("Max-Forwards: 70", &hops));
        let (to_trunk, trunk_leg) = carrier.invited();
        to_trunk.msg.need("Max-Forwards").clone_into(&mut forwards);
        passes.push((from_trunk, to_teams, teams_leg, from_teams, to_trunk, trunk_leg));
        assert!(passes.len() < 10, "no end");
    };
    assert_eq!(passes.len(), 5, "two hops a pass");
    assert_eq!(refused(last).status(), 483);
    gateway.until("ten calls are up", || gateway.figure("trunkgate_active_calls") == 10.0);
    // The refusal goes all the way back.
    for (mut from_trunk, to_teams, teams_leg, mut from_teams, to_trunk, trunk_leg) in
        passes.into_iter().rev()
    {
        trunk_leg.reply(&to_trunk, "483 Too Many Hops", "", "");
        assert_eq!(from_teams.final_response().msg.status(), 483);
        from_teams.ack_failure();
        teams_leg.reply(&to_teams, "483 Too Many Hops", "", "");
        assert_eq!(from_trunk.final_response().msg.status(), 483);
        from_trunk.ack_failure();
    }
    gateway.until("no call is left", || gateway.figure("trunkgate_active_calls") == 0.0);
    assert_eq!(gateway.wait_records(11).len(), 11);
}

#[test]
fn at_52_session_intervals_have_a_floor_and_odd_ones_do_no_harm() {
    let scene = Scene::usual("at_52");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let with = |lines: &'static str| {
        call(&carrier, CALLED, move |text| {
            text.replacen("Contact", &format!("{lines}\r\nContact"), 1)
        })
    };
    // From the trunk and from Teams: below the floor.
    for lines in [
        "Supported: timer\r\nSession-Expires: 1",
        "Supported: timer\r\nSession-Expires: 89;refresher=uac",
        "Require: timer\r\nSession-Expires: 0",
    ] {
        let refusal = refused(with(lines));
        assert_eq!((refusal.status(), refusal.need("Min-SE")), (422, "90"), "{lines}");
        let offer = secure_offer(&scene);
        let uri = format!("sip:{NUMBER}@{TENANT}:5061;user=phone;transport=tls");
        let from = format!("<sip:{CALLED}@sip.teams.test:5061;user=phone>");
        let to = format!("<sip:{NUMBER}@{TENANT}:5061;user=phone>");
        let extra = format!("{lines}\r\n");
        let invite = Invite { uri: &uri, from: &from, to: &to, extra: &extra, sdp: &offer };
        let mut from_teams = Dialog::prepare(&teams.persona, &flow, &invite);
        flow.send(from_teams.invite_text(&invite));
        let refusal = refused(from_teams);
        assert_eq!((refusal.status(), refusal.need("Min-SE")), (422, "90"), "{lines}");
    }
    teams.not_invited();
    carrier.not_invited();
    // Beyond what a number holds, below zero, no number: not taken for an interval, or refused; never passed on.
    for lines in [
        "Supported: timer\r\nSession-Expires: 4294967296",
        "Supported: timer\r\nSession-Expires: -1",
        "Supported: timer\r\nSession-Expires: soon;refresher=nobody",
        "Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 4294967296",
        "Min-SE: 4294967296",
    ] {
        let mut caller = with(lines);
        let invited = teams.inbox.find(Duration::from_millis(500), |r| {
            r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.to_tag().is_none()
        });
        if let Some(invite) = invited {
            for name in ["Session-Expires", "Min-SE"] {
                let interval = invite.msg.get(name).and_then(|v| v.split(';').next());
                let good = interval.is_none_or(|n| n.parse::<u32>().is_ok_and(|n| n >= 90));
                assert!(good, "{}", invite.msg);
            }
            let callee = Dialog::answering(&teams.persona, &invite);
            callee.reply(&invite, "486 Busy Here", "", "");
        }
        let status = caller.final_response().msg.status();
        assert!([400, 422, 486].contains(&status), "{lines}: {status}");
        caller.ack_failure();
    }
    // A refresher that flaps: each is answered as asked, the call goes on, and an interval too short is refused in it too.
    let mut up = Talking::incoming(&teams, &carrier, CALLED);
    for n in 0..20 {
        let refresher = if n % 2 == 0 { "uac" } else { "uas" };
        let extra = format!("Supported: timer\r\nSession-Expires: 1800;refresher={refresher}\r\n");
        let answer = up.carrier.ask("UPDATE", &extra, "").msg;
        assert_eq!(answer.status(), 200, "{answer}");
        assert_eq!(answer.need("Session-Expires"), format!("1800;refresher={refresher}"));
    }
    let short = up.carrier.ask("UPDATE", "Supported: timer\r\nSession-Expires: 5\r\n", "").msg;
    assert_eq!((short.status(), short.need("Min-SE")), (422, "90"));
    up.talk();
    up.carrier_hangs_up();
}

/// AT-10: there are no credentials to be guessed. Who may call is a matter of networks (and of certificates): a thousand wrong
/// answers to a challenge that nobody made are neither challenged nor passed on, and open nothing to a stranger.
#[test]
fn at_10_credentials_admit_nobody_and_are_never_asked_for() {
    let standing = Standing::new("at_10");
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let credentials = |n: usize| {
        format!(
            "Authorization: Digest username=\"carrier-a\",realm=\"sbc.test\",nonce=\"{n:032x}\",uri=\"sip:sbc.test\",\
             response=\"{:032x}\",algorithm=MD5,qop=auth,nc=00000001,cnonce=\"x\"\r\n\
             Proxy-Authorization: Digest username=\"carrier-a\",realm=\"sbc.test\",nonce=\"{n:032x}\",response=\"0\"\r\n",
            n.wrapping_mul(0x9e37_79b9)
        )
    };
    let with = |text: String, n| {
        text.replacen("Max-Forwards", &format!("{}Max-Forwards", credentials(n)), 1)
    };
    let stranger = UdpSocket::bind(place.at(STRANGER, 0)).unwrap();
    let known = UdpSocket::bind((place.ip(CARRIER_A), 0)).unwrap();
    known.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let start = Instant::now();
    let mut buffer = [0; 65_536];
    for n in 0..1000 {
        let id = token("brute");
        let here = stranger.local_addr().unwrap();
        let text = with(invite(here, CALLED, &id), n);
        stranger.send_to(text.as_bytes(), sip).unwrap();
        // The trunk itself may register nowhere, with credentials or without.
        let here = known.local_addr().unwrap();
        let text = with(options("REGISTER", here, "PBX"), n)
            .replace(";branch=z9hG4bKs", &format!(";branch=z9hG4bK{id}"))
            .replace("Call-ID: ", &format!("Call-ID: {id}"));
        known.send_to(text.as_bytes(), sip).unwrap();
        let length = known.recv(&mut buffer).unwrap();
        let answer = &buffer[..length];
        assert_eq!(status(answer), 405, "{}", String::from_utf8_lossy(answer));
        assert_eq!(header(answer, "WWW-Authenticate", "WWW-Authenticate"), None);
    }
    println!("1000 tries in {:?}", start.elapsed());
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(stranger.recv(&mut buffer).is_err(), "a stranger was answered");
    standing.rises_to_all(&["stranger", "banned"], 1000.0);
    standing.teams.not_invited();
    // From the trunk a call is a call, and its credentials stay here.
    let caller = call(&standing.carrier, CALLED, |text| with(text, 1));
    let (invite, callee) = standing.teams.invited();
    for name in ["Authorization", "Proxy-Authorization"] {
        assert!(invite.msg.get(name).is_none(), "{}", invite.msg);
    }
    callee.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(refused(caller).status(), 486);
    standing.untouched();
}
