//! A PBX that registers with the gateway: PJSIP over UDP, TCP and TLS. It calls and is called; wrong passwords, expiry, another
//! port, restarts of the gateway; and what strangers get out of it.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lab::pki::{Identity, Leaf};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::attack::invite;
use crate::harness::peer::{Pjsip, PjsipSetup};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE};
use crate::harness::raw::{Datagrams, options};
use crate::harness::scene::Scene;
use crate::harness::sip::Msg;
use crate::harness::stage::{CALLED, Stage, hear_each_other};

const NAME: &str = "pbx";
const WORD: &str = "kennwort-4713";
const CONTACTS: &str = "trunkgate_registered_contacts{trunk=\"carrier-a\"}";

/// A gateway whose only trunk registers, with these further keys of the trunk and of `registrar`.
fn scene(test: &str, keys: &str, rules: &str) -> Scene {
    let mut scene = Scene::within(test, Duration::from_secs(90));
    scene.trunk_text(&format!(
        "name = \"carrier-a\"\npeers = [\"registered\"]\n{keys}\n\
         authenticate = {{ username = \"{NAME}\", password = \"{WORD}\" }}\nregistrar = {{ {rules} }}"
    ));
    scene
}

/// What PJSIP is as a PBX.
struct Pbx<'a> {
    name: &'a str,
    transport: &'a str,
    port: u16,
    word: &'a str,
    expires: u32,
    identity: Option<&'a Identity>,
}

const PBX: Pbx<'_> =
    Pbx { name: "pbx", transport: "udp", port: 5060, word: WORD, expires: 300, identity: None };

impl Pbx<'_> {
    fn start(&self, scene: &Scene) -> Pjsip {
        let place = scene.place;
        let port = if self.transport == "tls" { 5071 } else { 5060 };
        let gateway = place.at(CARRIER_SIDE, port);
        let gateway = format!("sip:{gateway};transport={}", self.transport);
        let auth = format!("{NAME}:{}", self.word);
        let ca = scene.ca();
        let setup = PjsipSetup {
            name: self.name,
            transport: self.transport,
            address: place.at(CARRIER_A, self.port),
            id: &format!("sip:{NAME}@{}", place.ip(CARRIER_SIDE)),
            contact: None,
            route: Some(&gateway),
            dns: None,
            auth: Some(&auth),
            registrar: Some((&gateway, self.expires)),
            tls: self.identity.map(|identity| (identity, ca.as_path())),
            answer: 200,
            reliable: false,
            calls: 1,
        };
        Pjsip::start(scene.dir(), &setup)
    }
}

fn registration(pbx: &Pjsip, code: u16) {
    pbx.wait(&json!({"event": "registration", "code": code}));
}

fn contacts(stage: &Stage, count: f64) {
    let wanted = || (stage.gateway.count(CONTACTS) - count).abs() < 0.1;
    stage.gateway.until(&format!("{CONTACTS} is {count}"), wanted);
}

/// Teams calls a number of the PBX, and both talk.
fn is_called(stage: &mut Stage, pbx: &mut Pjsip) {
    stage.teams_calls();
    pbx.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    hear_each_other(pbx, &mut stage.teams);
    stage.teams.hang_up();
    pbx.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
}

/// The log has a line with all of these words, a moment after it is so: it is written beside the calls.
fn says(stage: &Stage, words: &[&str]) {
    let has = |line: &str| words.iter().all(|word| line.contains(word));
    stage.gateway.until(words[0], || stage.gateway.log().lines().any(has));
}

/// The PBX calls Teams, both talk, and the PBX hangs up.
fn calls(stage: &mut Stage, pbx: &mut Pjsip) {
    pbx.call(&format!("sip:{CALLED}@{}", stage.scene.place.ip(CARRIER_SIDE)));
    pbx.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    hear_each_other(pbx, &mut stage.teams);
    pbx.hang_up();
    pbx.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
}

fn registers(test: &str, transport: &'static str) {
    let rules = format!("transports = [\"{transport}\"]");
    let scene = scene(test, "", &rules);
    let identity =
        (transport == "tls").then(|| scene.pki.issue("pbx", &Leaf::new(["pbx.test"])).unwrap());
    let mut stage = Stage::around(scene, transport);
    let mut pbx = Pbx { transport, identity: identity.as_ref(), ..PBX }.start(&stage.scene);
    registration(&pbx, 200);
    contacts(&stage, 1.0);
    is_called(&mut stage, &mut pbx);
    calls(&mut stage, &mut pbx);
    pbx.command(&json!({"do": "unregister"}));
    registration(&pbx, 200);
    contacts(&stage, 0.0);
    stage.teams_calls();
    let ended = stage.teams.state("DISCONNECTED");
    assert_eq!(ended["code"], 480, "{ended}");
    let records = stage.gateway.wait_records(3);
    // The log is written beside the calls.
    let gone = |line: &&str| line.contains("registration is gone") && line.contains("removed");
    let lines = |log: &str| log.lines().filter(gone).count();
    stage.gateway.until("the line of its end", || lines(&stage.gateway.log()) > 0);
    let log = stage.gateway.log();
    assert_eq!(lines(&log), 1, "{log}");
    assert!(log.contains("registered with us") && !log.contains(WORD));
    assert_eq!(
        records[2]["cause"]["text"].as_str().unwrap_or_default().split(':').next(),
        Some("not registered"),
        "{}",
        records[2]
    );
    pbx.finish();
}

#[test]
fn a_pbx_registers_over_udp_calls_and_is_called() {
    registers("registrar_udp", "udp");
}

#[test]
fn a_pbx_registers_over_tcp_calls_and_is_called() {
    registers("registrar_tcp", "tcp");
}

#[test]
fn a_pbx_registers_over_tls_calls_and_is_called_with_srtp() {
    registers("registrar_tls", "tls");
}

#[test]
fn at_10_a_pbx_with_a_wrong_password_is_not_registered() {
    let stage = Stage::around(scene("registrar_wrong", "", ""), "udp");
    let pbx = Pbx { word: "not-that", ..PBX }.start(&stage.scene);
    registration(&pbx, 401);
    assert!(stage.gateway.count(CONTACTS) < 1.0);
    assert!(
        stage.gateway.figure("trunkgate_auth_failures_total{reason=\"wrong_credentials\"}") > 0.0
    );
}

/// It comes back at another port, as behind a NAT that was restarted: calls follow it at once.
#[test]
fn a_pbx_that_registers_from_another_port_is_called_there() {
    let mut stage = Stage::around(scene("registrar_port", "", ""), "udp");
    let pbx = PBX.start(&stage.scene);
    registration(&pbx, 200);
    // Killed: it takes nothing back.
    drop(pbx);
    let mut pbx = Pbx { name: "pbx-2", port: 5066, ..PBX }.start(&stage.scene);
    registration(&pbx, 200);
    contacts(&stage, 1.0);
    is_called(&mut stage, &mut pbx);
    says(&stage, &["registration is gone", "replaced"]);
}

#[test]
fn a_pbx_that_is_gone_is_nobody_when_its_time_is_over() {
    let stage = Stage::around(scene("registrar_expiry", "", "min_expires = \"10s\""), "udp");
    let pbx = Pbx { expires: 10, ..PBX }.start(&stage.scene);
    registration(&pbx, 200);
    let began = Instant::now();
    contacts(&stage, 1.0);
    drop(pbx);
    contacts_within(&stage, 0.0, Duration::from_secs(15));
    let took = began.elapsed();
    says(&stage, &["expired"]);
    assert!(took >= Duration::from_secs(9), "{took:?}");
}

fn contacts_within(stage: &Stage, count: f64, limit: Duration) {
    let end = Instant::now() + limit;
    while (stage.gateway.count(CONTACTS) - count).abs() > 0.1 {
        assert!(Instant::now() < end, "{CONTACTS} is not {count}: {}", stage.gateway.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a registration is in the state directory.
fn is_kept(stage: &Stage) {
    let file = stage.scene.state().join("registered.json");
    let end = Instant::now() + Duration::from_secs(5);
    while !std::fs::read_to_string(&file).unwrap_or_default().contains("carrier-a") {
        assert!(Instant::now() < end, "{} has nothing", file.display());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Over UDP a PBX is reached at once by the next process, whatever became of the one before.
#[test]
fn a_registration_outlives_restart_and_kill_9() {
    let mut stage = Stage::around(scene("registrar_restart", "", ""), "udp");
    let mut pbx = PBX.start(&stage.scene);
    registration(&pbx, 200);
    contacts(&stage, 1.0);
    is_kept(&stage);
    for signal in [Signal::KILL, Signal::TERM] {
        stage.gateway.signal(signal);
        stage.gateway.wait(Duration::from_secs(5));
        stage.gateway = stage.scene.start();
        stage.gateway.healthy();
        says(&stage, &["still registered with us"]);
        is_called(&mut stage, &mut pbx);
    }
    let registers = pbx
        .messages()
        .iter()
        .filter(|(received, msg)| !received && msg.is_request() && msg.method() == "REGISTER")
        .count();
    assert_eq!(registers, 2, "one that was challenged, one that was proven, and no other");
}

/// Over TCP the connection is gone with the process: it is said so, and the PBX registers anew by itself.
#[test]
fn a_registration_on_a_connection_is_made_anew_after_a_restart() {
    let mut stage = Stage::around(scene("registrar_restart_tcp", "", ""), "tcp");
    let mut pbx = Pbx { transport: "tcp", ..PBX }.start(&stage.scene);
    registration(&pbx, 200);
    contacts(&stage, 1.0);
    is_kept(&stage);
    stage.gateway.signal(Signal::KILL);
    stage.gateway.wait(Duration::from_secs(5));
    stage.gateway = stage.scene.start();
    stage.gateway.healthy();
    says(&stage, &["registration is gone", "disconnected"]);
    registration(&pbx, 200);
    contacts(&stage, 1.0);
    is_called(&mut stage, &mut pbx);
}

fn register(from: SocketAddr, n: u32, more: &str) -> String {
    let ip = from.ip();
    format!(
        "REGISTER sip:gateway.test SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKreg{n};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{NAME}@{ip}>;tag=r{n}\r\nTo: <sip:{NAME}@{ip}>\r\nCall-ID: reg{n}\r\nCSeq: 1 REGISTER\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

/// Two thousand REGISTERs of every length from an address that nobody knows: no answer is longer than what it answers,
/// and nothing is kept of any.
#[test]
fn at_33_strangers_who_register_get_fewer_bytes_than_they_send() {
    let stage = Stage::around(scene("registrar_at_33", "", ""), "udp");
    let own = stage.scene.place.at(CARRIER_A, 5099);
    let raw = Datagrams::open(own, stage.scene.place.at(CARRIER_SIDE, 5060));
    let (mut sent, mut back, mut answers) = (Vec::new(), 0, 0_u32);
    let mut buffer = vec![0; 65_536];
    for n in 0..2000_u32 {
        let more = match n % 4 {
            0 => String::new(),
            1 => format!("Contact: <sip:{NAME}@{own}>\r\n"),
            2 => format!(
                "Contact: <sip:{NAME}@{own}>\r\nExpires: 300\r\nX: {}\r\n",
                "x".repeat(n as usize % 700)
            ),
            _ => format!(
                "Contact: <sip:{NAME}@{own}>\r\nAuthorization: Digest username=\"{NAME}\", realm=\"sbc.test\", nonce=\"{}\", \
                 uri=\"sip:gateway.test\", response=\"{}\", algorithm=MD5\r\n",
                "0".repeat(44),
                "0".repeat(32)
            ),
        };
        let text = register(own, n, &more);
        raw.send(text.as_bytes());
        sent.push(text.len());
        while let Ok(length) = raw.socket.recv(&mut buffer) {
            let answer = Msg::read(&buffer[..length]).unwrap();
            let to = answer.call_id().strip_prefix("reg").and_then(|n| n.parse::<usize>().ok());
            let asked = sent[to.unwrap()];
            assert!(answer.status() == 401 && length <= asked, "{length} for {asked}: {answer}");
            back += length;
            answers += 1;
            if n % 50 != 0 {
                break;
            }
        }
    }
    let sent: usize = sent.iter().sum();
    assert!(answers > 500, "{answers} answers, {back} bytes for {sent}");
    assert!(stage.gateway.figure("trunkgate_transactions") < 50.0);
    assert!(stage.gateway.count(CONTACTS) < 1.0);
    eprintln!("measured: AT-33: {sent} bytes in, {back} out in {answers} answers");
}

/// Beside a PBX that is registered, at its very address: another port gets nothing, whatever it asks for.
#[test]
fn a_stranger_beside_a_registered_pbx_gets_nothing() {
    let mut stage = Stage::around(scene("registrar_stranger", "", ""), "udp");
    let mut pbx = PBX.start(&stage.scene);
    registration(&pbx, 200);
    let place = stage.scene.place;
    let own = place.at(CARRIER_A, 5077);
    let raw = Datagrams::open(own, place.at(CARRIER_SIDE, 5060));
    let call = invite(own, CALLED, "stranger");
    for text in [call.clone(), options(own, "UDP", "o1"), call.replace("INVITE", "SUBSCRIBE")] {
        raw.send(text.as_bytes());
        let mut buffer = vec![0; 65_536];
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            assert!(
                raw.socket.recv(&mut buffer).is_err(),
                "an answer: {}",
                String::from_utf8_lossy(&buffer)
            );
        }
    }
    assert!(stage.gateway.records().is_empty());
    calls(&mut stage, &mut pbx);
}
