//! Faxes by T.38 (UDPTL) between two trunks: raw ends that change from audio and back, and every datagram as it is.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::dialog::Dialog;
use crate::harness::gateway::Gateway;
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{ADMIN, CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Carrier, Scene};
use crate::harness::sip::Msg;
use crate::harness::talking::{CALLED, CALLER, answer_to};

const FAX_NUMBER: &str = "+442079460042";

/// A carrier, and a fax server that is a trunk; both of their ends talk.
struct Call {
    caller: Dialog,
    callee: Dialog,
    near: MediaEnd,
    far: MediaEnd,
}

fn scene(test: &str, server: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.trunk("carrier-a", "udp", CARRIER_A, "").trunk(
        "fax-server",
        "udp",
        CARRIER_B,
        &format!(
            "numbers = [\"{FAX_NUMBER}\"]\ntrunks = [\"carrier-a\"]\ninbound_trunks = [\"carrier-a\"]\n{server}"
        ),
    );
    scene.tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
    scene
}

impl Call {
    fn new(carrier: &Carrier, server: &Carrier) -> Self {
        let mut near = MediaEnd::new(carrier.ip(), 7000);
        let mut far = MediaEnd::new(server.ip(), 7000);
        let mut caller = carrier.call(CALLER, FAX_NUMBER, &near.plain_sdp("sendrecv"));
        let (invite, callee) = server.invited();
        callee.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
        far.towards(&invite.msg);
        let answer = caller.response(200);
        caller.ack();
        callee.take("ACK");
        near.towards(&answer.msg);
        talk(&mut near, &mut far, 20);
        Self { caller, callee, near, far }
    }

    /// The callee changes the session by re-INVITE: what the caller was offered, and what came back.
    fn callee_changes(&mut self, offer: &str, answer: &str) -> [Msg; 2] {
        exchange(&mut self.callee, &self.caller, offer, answer)
    }

    fn caller_changes(&mut self, offer: &str, answer: &str) -> [Msg; 2] {
        exchange(&mut self.caller, &self.callee, offer, answer)
    }
}

fn exchange(by: &mut Dialog, other: &Dialog, offer: &str, answer: &str) -> [Msg; 2] {
    by.send("INVITE", "", offer);
    let passed = other.take("INVITE");
    other.reply(&passed, "200 OK", "", answer);
    other.take("ACK");
    let back = by.response(200);
    by.ack();
    [passed.msg, back.msg]
}

/// What a fax server writes, behind these m= lines.
fn fax_sdp(ip: IpAddr, port: u16, before: &str) -> String {
    format!(
        "v=0\r\no=- {port} 2 IN IP4 {ip}\r\ns=fax\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{before}m=image {port} udptl t38\r\n\
         a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxFillBitRemoval:0\r\na=T38FaxTranscodingMMR:0\r\n\
         a=T38FaxTranscodingJBIG:0\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxMaxBuffer:1024\r\n\
         a=T38FaxMaxDatagram:238\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    )
}

/// A datagram of T.38 with its number, data of its own, and the two packets before it as redundancy.
fn udptl(number: u16, seed: u8) -> Vec<u8> {
    let packet = |number: u16| {
        let data: Vec<u8> = (0..36).map(|n| seed ^ (number as u8).wrapping_mul(7) ^ n).collect();
        [&[40, 0xc8, 0x80, 0x00, 36][..], &data].concat()
    };
    let before = number.saturating_sub(2)..number;
    let mut datagram =
        [&number.to_be_bytes()[..], &packet(number), &[0, before.len() as u8]].concat();
    for earlier in before.rev() {
        datagram.extend(packet(earlier));
    }
    datagram
}

/// Datagrams with these numbers go both ways; each arrives as it is, in order, and nothing else does.
fn faxes(near: &mut MediaEnd, far: &mut MediaEnd, numbers: std::ops::Range<u16>) {
    let (mut at_near, mut at_far) = (Vec::new(), Vec::new());
    for number in numbers.clone() {
        near.send_raw(&udptl(number, 0x11));
        far.send_raw(&udptl(number, 0xee));
        thread::sleep(Duration::from_millis(4));
        at_near.extend(near.hear_raw());
        at_far.extend(far.hear_raw());
    }
    let end = Instant::now() + Duration::from_secs(1);
    while at_near.len().min(at_far.len()) < numbers.len() && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
        at_near.extend(near.hear_raw());
        at_far.extend(far.hear_raw());
    }
    assert_eq!(
        at_far,
        numbers.clone().map(|n| udptl(n, 0x11)).collect::<Vec<_>>(),
        "to the far end"
    );
    assert_eq!(at_near, numbers.map(|n| udptl(n, 0xee)).collect::<Vec<_>>(), "to the near end");
}

const NO_AUDIO: &str = "m=audio 0 RTP/AVP 0\r\n";
const NO_IMAGE: &str = "m=image 0 udptl t38\r\n";

/// Audio, a fax by the called side's re-INVITE, a pause longer than `media_timeout`, the death of the process, more of the
/// fax, and audio again by the caller's. One record.
#[test]
fn a_fax_passes_unread_outlives_kill_9_and_goes_back_to_audio() {
    let mut scene = scene("fax", "");
    scene.gateway_keys("media_timeout = \"5s\"");
    let (carrier, server) = (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let mut gateway = scene.start();
    let mut call = Call::new(&carrier, &server);
    let ours = [call.near.remote, call.far.remote];
    // The server has another port for its fax, the carrier the same.
    let mut fax = MediaEnd::new(server.ip(), 7010);
    let offer = fax_sdp(server.ip(), 7010, NO_AUDIO);
    let answer = fax_sdp(carrier.ip(), 7000, NO_AUDIO);
    let [passed, back] = call.callee_changes(&offer, &answer);
    for (msg, ours) in [(&passed, ours[0]), (&back, ours[1])] {
        let ours = ours.unwrap();
        let lines: Vec<_> = msg.body.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(lines.len(), 2, "{msg}");
        assert!(lines[0].starts_with("m=audio 0 RTP/AVP "), "{msg}");
        assert_eq!(lines[1], format!("m=image {} udptl t38", ours.port()), "our port stays");
        let attributes = |text: &str| {
            text.lines().filter(|l| l.starts_with("a=T38")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(attributes(&msg.body), attributes(&offer));
    }
    fax.remote = ours[1];
    // What is still under way is no fax; in each direction something else.
    for _ in 0..5 {
        call.near.speak();
        call.far.speak();
    }
    thread::sleep(Duration::from_millis(50));
    drop(call.far.hear());
    assert_eq!(call.near.hear_raw(), [[0; 0]; 0]);
    faxes(&mut call.near, &mut fax, 0..100);
    // Paper takes its time.
    call.near.reports.clear();
    thread::sleep(Duration::from_secs(7));
    faxes(&mut call.near, &mut fax, 100..120);
    assert_eq!(fax.hear().len() + call.near.hear().len(), 0);
    assert_eq!((call.near.reports.len(), fax.reports.len()), (0, 0), "no reports into a fax");
    gateway.signal(Signal::KILL);
    gateway.wait(Duration::from_secs(5));
    drop(gateway);
    let gateway = Gateway::start(&scene.write(), scene.state(), scene.place.at(ADMIN, 8080));
    drop((call.near.hear_raw(), fax.hear_raw()));
    faxes(&mut call.near, &mut fax, 0x7ff0..0x8010);
    let audio = |end: &MediaEnd| end.plain_sdp("sendrecv") + NO_IMAGE;
    let (near, far) = (audio(&call.near), audio(&call.far));
    let [passed, back] = call.caller_changes(&near, &far);
    for (msg, ours) in [(&passed, ours[1]), (&back, ours[0])] {
        assert_eq!(Some(msg.media()), ours, "{msg}");
        assert!(msg.body.ends_with("m=image 0 udptl t38\r\n"), "{msg}");
    }
    talk(&mut call.near, &mut call.far, 40);
    call.caller.send("BYE", "", "");
    call.callee.hung_up();
    call.caller.took_200("BYE");
    let [record] = &gateway.wait_records(1)[..] else { panic!("one record") };
    assert_eq!(record["cause"]["sip"], 200, "{record}");
    for media in record["media"].as_array().unwrap() {
        assert_eq!((&media["codec"], &media["one_way"]), (&"PCMU/8000".into(), &false.into()));
        // What the journal did not know yet when the process died is not counted.
        let count = media["t38"].as_u64().unwrap();
        assert!((132..=152).contains(&count), "{record}");
    }
}

/// A call that is a fax from its INVITE on; the called side changes to audio.
#[test]
fn an_invite_for_a_fax() {
    let scene = scene("fax_at_once", "");
    let (carrier, server) = (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    let mut near = MediaEnd::new(carrier.ip(), 7020);
    let mut far = MediaEnd::new(server.ip(), 7020);
    let mut caller = carrier.call(CALLER, FAX_NUMBER, &fax_sdp(carrier.ip(), 7020, ""));
    let (invite, mut callee) = server.invited();
    assert!(invite.msg.line('m').unwrap().starts_with("image "), "{}", invite.msg);
    callee.reply(&invite, "200 OK", "", &fax_sdp(server.ip(), 7020, ""));
    far.towards(&invite.msg);
    near.towards(&caller.response(200).msg);
    caller.ack();
    callee.take("ACK");
    faxes(&mut near, &mut far, 0..50);
    exchange(&mut callee, &caller, &far.plain_sdp("sendrecv"), &near.plain_sdp("sendrecv"));
    talk(&mut near, &mut far, 20);
    callee.hang_up();
    caller.hung_up();
    let record = gateway.wait_records(1).remove(0);
    assert_eq!(record["media"][0]["t38"], 50, "{record}");
}

/// The other side has no T.38, or its trunk is not to have it: 488, and the audio goes on.
#[test]
fn a_fax_that_is_refused_leaves_the_audio() {
    for (test, keys) in [("fax_488", ""), ("fax_refused", "t38 = \"refuse\"")] {
        let scene = scene(test, keys);
        let (carrier, server) = (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
        let gateway = scene.start();
        let mut call = Call::new(&carrier, &server);
        call.callee.send("INVITE", "", &fax_sdp(server.ip(), 7000, ""));
        if keys.is_empty() {
            let passed = call.caller.take("INVITE");
            call.caller.reply(&passed, "488 Not Acceptable Here", "", "");
            call.caller.take("ACK");
        }
        let refusal = call.callee.final_response().msg;
        assert_eq!(refusal.status(), 488, "{refusal}");
        call.callee.send_ack_failure(&refusal);
        talk(&mut call.near, &mut call.far, 40);
        carrier
            .inbox
            .nothing("a further offer", |r| r.msg.is_request() && r.msg.method() == "INVITE");
        call.callee.hang_up();
        call.caller.hung_up();
        let record = gateway.wait_records(1).remove(0);
        assert_eq!(record["media"][0]["t38"], serde_json::Value::Null, "{record}");
    }
}

/// Teams knows no fax: nothing of it gets there, whoever of the trunk asks, and the encrypted audio goes on.
#[test]
fn teams_gets_no_fax() {
    let scene = scene("fax_teams", "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut near = MediaEnd::new(carrier.ip(), 7040);
    let mut far = MediaEnd::new(teams.place.ip(PROXY), 7040);
    let mut caller = carrier.call(CALLER, CALLED, &near.plain_sdp("sendrecv"));
    let (invite, callee) = teams.invited();
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    near.towards(&caller.response(200).msg);
    caller.ack();
    callee.take("ACK");
    talk(&mut near, &mut far, 20);
    for before in ["", NO_AUDIO] {
        let answer = caller.ask("INVITE", "", &fax_sdp(carrier.ip(), 7040, before)).msg;
        assert_eq!(answer.status(), 488, "{answer}");
        caller.send_ack_failure(&answer);
    }
    talk(&mut near, &mut far, 20);
    teams.inbox.nothing("an offer", |r| r.msg.is_request() && r.msg.method() == "INVITE");
    assert!(Crypto::of(&invite.msg).suite == CM_80 && teams.audit().is_empty());
    caller.hang_up();
    callee.hung_up();
}
