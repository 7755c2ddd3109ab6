//! Transfers by REFER on the wire: Teams sends one of its calls on, and the trunk goes on talking.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::dialog::Dialog;
use crate::harness::media::{MediaEnd, talk};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::{Scene, Teams};
use crate::harness::talking::{CALLED, Talking, answer_to};
use crate::harness::wire::Received;

const TARGET: &str =
    "sip:sip.teams.test:5061;transport=tls;x-m=8:orgid:0f1e2d3c-aaaa-bbbb-cccc-000000000001";

/// Referred-By as Teams writes it: long, with escapes and tokens whose case matters.
fn referred_by() -> String {
    let token: String = "aHR0cHM6Ly9hUEkuZmxpZ2h0cHJveHkuc2t5cGUuY29t".repeat(8);
    format!("<sip:sip.teams.test:5061;x-m=8:orgid:9A8b;x-t=T-1;x-ti=cOrr;x-tt={token}%3D%3d>")
}

/// The transfer is asked for; the INVITE to the target, and its end.
fn refer(call: &mut Talking, teams: &Teams, to: &str) -> (Received, Dialog) {
    let extra = format!("REFER-TO: <{to}>\r\nREFERRED-BY: {}\r\n", referred_by());
    let accepted = call.teams.ask("REFER", &extra, "");
    assert_eq!(accepted.msg.status(), 202, "{}", accepted.msg);
    assert_eq!(told(call), "SIP/2.0 100 Trying");
    let (invite, target) = teams.invited();
    assert_eq!(invite.msg.uri(), to);
    assert_eq!(invite.msg.need("Referred-By"), referred_by());
    assert_eq!(invite.msg.direction(), "sendrecv");
    (invite, target)
}

/// What the referrer is told next.
fn told(call: &Talking) -> String {
    let notify = call.teams.take("NOTIFY");
    call.teams.reply(&notify, "200 OK", "", "");
    assert_eq!(notify.msg.need("Event").split(';').next(), Some("refer"));
    notify.msg.body.trim_end().to_owned()
}

/// TR-055, TR-056, TR-057, TR-059: to a user and to a number; the referrer hangs up after the transfer, or 280 ms after
/// its 202. The trunk hears ringback, then the target, and is asked nothing.
#[test]
fn tr_055_tr_056_tr_057_tr_059_a_call_is_sent_on_and_its_media_with_it() {
    let scene = Scene::usual("refer");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("t001.sbc.test");
    let number = "sip:+33123456789@sip.teams.test:5061;user=phone;transport=tls";
    for (n, (to, early)) in
        [(TARGET, false), (TARGET, true), (number, false)].into_iter().enumerate()
    {
        for incoming in [true, false] {
            let mut call = Talking::either(incoming, &teams, &flow, &carrier);
            call.talk();
            let (invite, target) = refer(&mut call, &teams, to);
            if early {
                thread::sleep(Duration::from_millis(280));
                call.teams.hang_up();
            }
            target.reply(&invite, "180 Ringing", "", "");
            if !early {
                assert_eq!(told(&call), "SIP/2.0 180 Ringing");
            }
            drop(call.carrier_media.hear());
            let began = Instant::now();
            let mut ringback = Vec::new();
            while began.elapsed() < Duration::from_secs(1) {
                call.carrier_media.speak();
                thread::sleep(Duration::from_millis(20));
                ringback.extend(call.carrier_media.hear());
            }
            assert!((40..=60).contains(&ringback.len()), "{} packets of ringback", ringback.len());
            let mut far = MediaEnd::new(teams.place.ip(PROXY), 7950);
            let (sdp, _, _) = answer_to(&mut far, &invite.msg);
            target.reply(&invite, "200 OK", "", &sdp);
            target.take("ACK");
            if !early {
                assert_eq!(told(&call), "SIP/2.0 200 OK");
                call.teams.hang_up();
            }
            talk(&mut call.carrier_media, &mut far, 60);
            carrier.inbox.nothing("a request of ours", |r| {
                r.msg.is_request() && r.msg.to_tag().is_some() && r.msg.method() != "ACK"
            });
            assert!(gateway.records().len() == 2 * n + usize::from(!incoming));
            call.carrier.hang_up();
            target.hung_up();
            let records = gateway.wait_records(2 * n + usize::from(!incoming) + 1);
            let record = records.last().expect("a record");
            assert_eq!(record["legs"][2]["role"], "target", "{record}");
            assert_eq!(record["cause"]["text"], "hung up");
        }
    }
    assert_eq!(teams.audit(), [""; 0]);
}

/// TR-058: the target is busy. The referrer is told, and talks on.
#[test]
fn tr_058_a_transfer_that_fails_leaves_both_talking() {
    let scene = Scene::usual("refer_busy");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    let (invite, target) = refer(&mut call, &teams, TARGET);
    target.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(told(&call), "SIP/2.0 486 Busy Here");
    call.talk();
    call.carrier_hangs_up();
    assert_eq!(gateway.wait_records(1)[0]["cause"]["text"], "hung up");
}

/// While another process takes over, this one has few media ports left, and none of them is kept back for calls for help:
/// its calls are sent on as before. The other one, which keeps some back, has ports for new calls, and sends those on.
#[test]
fn r03_calls_of_either_process_are_sent_on_across_an_upgrade() {
    let scene = Scene::usual("refer_upgrade");
    let teams = scene.teams();
    let mut old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let mut elder = Talking::incoming(&teams, &carrier, CALLED);
    elder.talk();
    let new = scene.upgrade();
    old.until("handed over", || old.log().contains("another process has taken over"));
    // It gives ports away once a second.
    thread::sleep(Duration::from_millis(1500));
    let mut young = Talking::incoming_from(&teams, &carrier, CALLED, 7300);
    young.talk();
    for (n, mut call) in (0..).zip([elder, young]) {
        let (invite, target) = refer(&mut call, &teams, TARGET);
        let mut far = MediaEnd::new(teams.place.ip(PROXY), 7960 + 2 * n);
        let (sdp, _, _) = answer_to(&mut far, &invite.msg);
        target.reply(&invite, "200 OK", "", &sdp);
        target.take("ACK");
        assert_eq!(told(&call), "SIP/2.0 200 OK");
        call.teams.hang_up();
        talk(&mut call.carrier_media, &mut far, 40);
        call.carrier.hang_up();
        target.hung_up();
    }
    let records = new.wait_records(2);
    assert!(records.iter().all(|r| r["legs"][2]["role"] == "target"), "{records:?}");
    let status = old.wait(Duration::from_secs(40));
    assert!(status.success(), "{status}: {}", old.log());
}
