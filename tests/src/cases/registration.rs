//! A carrier that wants passwords and a registration: Kamailio, over UDP, TCP and TLS. Calls in both directions, wrong
//! passwords, other realms, old nonces, a registrar that goes and comes back.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::capture::Capture;
use crate::harness::dialog::{Dialog, Invite, Persona};
use crate::harness::gateway::Gateway;
use crate::harness::kamailio::{Programs, REGISTRAR_NAME, Registrar};
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Scene, Teams, answer_options};
use crate::harness::talking::{CALLED, CALLER, answer_to};
use crate::harness::wire::{End, Flow, Inbox, Received};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";
const REALM: &str = "carrier.example";
/// What must never be on the wire.
const WORD: &str = "kennwort-4711";
const UP: &str = "trunkgate_registration_up{trunk=\"carrier-a\"}";

const fn registrar() -> Registrar<'static> {
    Registrar { realm: REALM, word: WORD, algorithm: "SHA-256", expires: 60, nonce: 300 }
}

/// A gateway's surroundings whose carrier is Kamailio, reached that way, with that password.
fn scene(test: &str, transport: &str, word: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.host(REGISTRAR_NAME, CARRIER_A);
    let port = if transport == "tls" { 5061 } else { 5060 };
    let networks = scene.place.ip(CARRIER_A);
    scene.file("word", word);
    fs::set_permissions(scene.dir().join("word"), Permissions::from_mode(0o600)).unwrap();
    scene.trunk_text(&format!(
        "name = \"carrier-a\"\npeers = [\"{transport}:{REGISTRAR_NAME}:{port}\"]\nnetworks = [\"{networks}/32\"]\n\
         srtp = \"off\"\nregister = {{}}\n\
         credentials = {{ username = \"line1\", password = {{ file = \"word\" }}, realm = \"{REALM}\" }}"
    ));
    scene.usual_tenant();
    scene
}

/// The phone behind Kamailio.
struct Phone {
    _end: End,
    persona: Persona,
    flow: Flow,
    ip: IpAddr,
}

impl Phone {
    fn new(scene: &Scene) -> Self {
        let place = scene.place;
        let inbox = Inbox::new("phone", Box::new(|received| answer_options(received, "")));
        let mut end = End::new(inbox);
        let own = place.at(CARRIER_B, 5060);
        end.listen_udp(own);
        let flow = end.udp_to(place.at(CARRIER_A, 5060));
        let persona = Persona::at(own, &end.inbox);
        Self { _end: end, persona, flow, ip: own.ip() }
    }

    fn calls(&self, sdp: &str) -> Dialog {
        let invite = Invite {
            uri: &format!("sip:{CALLED}@{REGISTRAR_NAME}"),
            from: &format!("<sip:{CALLER}@{REGISTRAR_NAME}>"),
            to: &format!("<sip:{CALLED}@{REGISTRAR_NAME}>"),
            extra: "",
            sdp,
        };
        Dialog::invite(&self.persona, &self.flow, &invite)
    }

    fn rings(&self) -> (Received, Dialog) {
        let inbox = &self.persona.inbox;
        let received = inbox.take("INVITE", |r| {
            r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.to_tag().is_none()
        });
        let dialog = Dialog::answering(&self.persona, &received);
        (received, dialog)
    }
}

fn registered(gateway: &Gateway, up: f64) {
    let end = Instant::now() + Duration::from_secs(40);
    while (gateway.count(UP) - up).abs() > 0.1 {
        assert!(Instant::now() < end, "{UP} is not {up}:\n{}", gateway.log());
        thread::sleep(Duration::from_millis(50));
    }
}

fn attempts(gateway: &Gateway, outcome: &str) -> f64 {
    let name = "trunkgate_registration_attempts_total";
    let labels = [
        format!("{name}{{trunk=\"carrier-a\",outcome=\"{outcome}\"}}"),
        format!("{name}{{outcome=\"{outcome}\",trunk=\"carrier-a\"}}"),
    ];
    labels.iter().map(|name| gateway.count(name)).sum()
}

/// The phone calls the tenant's number; they talk; Teams hangs up, which the carrier wants proven.
fn calls_in(teams: &Teams, phone: &Phone) {
    let mut media = MediaEnd::new(phone.ip, 7000);
    let mut caller = phone.calls(&media.plain_sdp("sendrecv"));
    let (invite, mut callee) = teams.invited();
    let mut secure = MediaEnd::new(teams.place.ip(PROXY), 7000);
    let (sdp, ..) = answer_to(&mut secure, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    callee.take("ACK");
    media.towards(&answer.msg);
    talk(&mut media, &mut secure, 20);
    callee.send("BYE", "", "");
    let bye = caller.hung_up();
    assert!(bye.msg.get("Proxy-Authorization").is_none(), "Kamailio has taken it out");
    callee.took_200("BYE");
}

/// Teams calls a number outside, and its INVITE, ACK and BYE pass Kamailio.
fn calls_out(teams: &Teams, phone: &Phone) {
    let own = Crypto::fresh(1, CM_80);
    let mut secure = MediaEnd::new(teams.place.ip(PROXY), 7100);
    let flow = teams.connect(TENANT);
    let offer = secure.secure_sdp(&[&own], "sendrecv", "");
    let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
    let (invite, callee) = phone.rings();
    assert!(invite.msg.get("Authorization").is_none(), "that was for the registrar alone");
    let mut media = MediaEnd::new(phone.ip, 7100);
    let routes = invite.msg.all("Record-Route").map(|route| format!("Record-Route: {route}\r\n"));
    callee.reply(&invite, "200 OK", &routes.collect::<String>(), &media.plain_sdp("sendrecv"));
    media.towards(&invite.msg);
    let answer = caller.response(200);
    caller.ack();
    callee.take("ACK");
    secure.secure(&own, &Crypto::of(&answer.msg));
    secure.towards(&answer.msg);
    talk(&mut secure, &mut media, 20);
    caller.send("BYE", "", "");
    callee.hung_up();
    caller.took_200("BYE");
}

fn works(test: &str, transport: &str, algorithm: &str) {
    let scene = scene(test, transport, WORD);
    let registrar = Registrar { algorithm, ..registrar() };
    let _kamailio = registrar.start(&scene);
    let (teams, phone) = (scene.teams(), Phone::new(&scene));
    let capture = Capture::start(scene.dir(), scene.place);
    let mut gateway = scene.start();
    gateway.healthy();
    registered(&gateway, 1.0);
    let expires = "trunkgate_registration_expires_seconds{trunk=\"carrier-a\"}";
    assert!((gateway.figure(expires) - 60.0).abs() < 0.1, "what Kamailio grants");
    calls_in(&teams, &phone);
    calls_out(&teams, &phone);
    let records = gateway.wait_records(2);
    assert!(records.iter().all(|record| !record["t_answer"].is_null()), "{records:?}");
    assert!(attempts(&gateway, "registered") >= 1.0 && attempts(&gateway, "unauthorized") < 1.0);
    // A stop takes it back: nobody is there any more.
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_secs(10));
    let mut caller = phone.calls(&MediaEnd::new(phone.ip, 7200).plain_sdp("sendrecv"));
    assert_eq!(caller.final_response().msg.status(), 404);
    caller.ack_failure();
    assert!(!gateway.log().contains(WORD), "{}", gateway.log());
    let pcap = capture.stop();
    assert!(!contains(&pcap, WORD));
    if transport != "tls" {
        assert!(contains(&pcap, &format!("algorithm={algorithm}, qop=auth")), "{algorithm}");
    }
}

fn contains(pcap: &Path, text: &str) -> bool {
    let bytes = fs::read(pcap).unwrap();
    bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

#[test]
fn kamailio_over_udp_is_registered_with_and_called_both_ways() {
    works("registration_udp", "udp", "SHA-256");
}

#[test]
fn kamailio_over_tcp_is_registered_with_and_called_both_ways() {
    works("registration_tcp", "tcp", "MD5");
}

#[test]
fn kamailio_over_tls_is_registered_with_and_called_both_ways() {
    works("registration_tls", "tls", "SHA-256");
}

/// Teams calls and is refused; the record says why.
fn refused(teams: &Teams, gateway: &Gateway, text: &str) {
    let secure = MediaEnd::new(teams.place.ip(PROXY), 7100);
    let flow = teams.connect(TENANT);
    let offer = secure.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    let mut caller = teams.call(&flow, TENANT, CALLED, NUMBER, &offer);
    assert_eq!(caller.final_response().msg.status(), 403);
    caller.ack_failure();
    let records = gateway.wait_records(1);
    assert_eq!(records[0]["cause"]["text"], text);
}

#[test]
fn at_10_a_wrong_password_is_told_and_not_tried_again_and_again() {
    let scene = scene("registration_word", "udp", "not-that-word");
    let _kamailio = registrar().start(&scene);
    let (teams, capture) = (scene.teams(), Capture::start(scene.dir(), scene.place));
    let gateway = scene.start();
    gateway.healthy();
    gateway.until("refused", || attempts(&gateway, "unauthorized") > 0.0);
    registered(&gateway, 0.0);
    refused(&teams, &gateway, "the trunk did not take its credentials");
    assert!((attempts(&gateway, "unauthorized") - 1.0).abs() < 0.1, "it waits");
    assert!(gateway.log().contains("not registered"), "{}", gateway.log());
    let pcap = capture.stop();
    assert!(!contains(&pcap, "not-that-word") && !gateway.log().contains("not-that-word"));
}

/// The carrier asks for another realm than that of the configuration: nothing that proves anything leaves.
#[test]
fn at_10_another_realm_gets_no_answer_on_the_wire() {
    let scene = scene("registration_realm", "udp", WORD);
    let _kamailio = Registrar { realm: "evil.example", ..registrar() }.start(&scene);
    let (teams, capture) = (scene.teams(), Capture::start(scene.dir(), scene.place));
    let gateway = scene.start();
    gateway.healthy();
    gateway.until("refused", || attempts(&gateway, "unauthorized") > 0.0);
    registered(&gateway, 0.0);
    refused(&teams, &gateway, "the trunk asks for credentials of another realm");
    let pcap = capture.stop();
    assert!(contains(&pcap, "realm=\"evil.example\""), "it was asked for");
    for text in ["Authorization:", "response=", "line1\", realm", WORD] {
        assert!(!contains(&pcap, text), "{text}");
    }
}

/// A second of age makes a nonce stale, and a registration lasts for four: refreshes go on.
#[test]
fn an_expired_nonce_is_replaced() {
    let mut scene = scene("registration_nonce", "udp", WORD);
    scene.times(4);
    let _kamailio = Registrar { expires: 24, nonce: 1, ..registrar() }.start(&scene);
    let capture = Capture::start(scene.dir(), scene.place);
    let gateway = scene.start();
    registered(&gateway, 1.0);
    let end = Instant::now() + Duration::from_secs(30);
    while attempts(&gateway, "registered") < 4.0 {
        assert!(Instant::now() < end && gateway.count(UP) > 0.5, "{}", gateway.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(attempts(&gateway, "unauthorized") < 1.0);
    assert!(contains(&capture.stop(), "stale=true"), "Kamailio has said so");
}

/// A registrar that is killed: up goes to 0 when what was granted is over. It comes back, without any memory, and so does
/// the registration; then with another realm, which ends it again.
#[test]
fn a_registrar_that_goes_and_comes_back_is_registered_with_again() {
    let mut scene = scene("registration_gone", "udp", WORD);
    scene.times(4);
    let short = || Registrar { expires: 16, ..registrar() };
    let kamailio: Programs = short().start(&scene);
    let gateway = scene.start();
    registered(&gateway, 1.0);
    drop(kamailio);
    registered(&gateway, 0.0);
    assert!(gateway.log().contains("registration has lapsed"), "{}", gateway.log());
    gateway.until("silent", || attempts(&gateway, "unanswered") > 0.0);
    let kamailio = short().start(&scene);
    registered(&gateway, 1.0);
    drop(kamailio);
    let _kamailio = Registrar { realm: "evil.example", ..short() }.start(&scene);
    registered(&gateway, 0.0);
    gateway.until("refused", || attempts(&gateway, "unauthorized") > 0.0);
}
