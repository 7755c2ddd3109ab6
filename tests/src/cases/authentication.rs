//! A trunk that has to prove who it is: PJSIP with the password and without, a thousand guesses, replays.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::dialog::{Dialog, Invite, Persona};
use crate::harness::media::MediaEnd;
use crate::harness::place::{CARRIER_A, CARRIER_SIDE};
use crate::harness::sip::Msg;
use crate::harness::stage::{CALLED, Stage, hear_each_other, pjsip_with};
use crate::harness::wire::{End, Flow, Inbox};

const WORD: &str = "kennwort-4712";
const NAME: &str = "pbx";

fn stage(test: &str, transport: &'static str) -> Stage {
    let keys = format!("authenticate = {{ username = \"{NAME}\", password = \"{WORD}\" }}");
    Stage::with(test, transport, |_| keys)
}

fn failures(stage: &Stage, reason: &str) -> f64 {
    stage.gateway.figure(&format!("trunkgate_auth_failures_total{{reason=\"{reason}\"}}"))
}

fn proves(test: &str, transport: &'static str) {
    let mut stage = stage(test, transport);
    let auth = format!("{NAME}:{WORD}");
    let mut carrier = pjsip_with(&stage.scene, transport, Some(&auth));
    for _ in 0..2 {
        carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
        carrier.state("CONFIRMED");
        stage.teams.state("CONFIRMED");
        hear_each_other(&mut carrier, &mut stage.teams);
        stage.teams.hang_up();
        carrier.state("DISCONNECTED");
        stage.teams.state("DISCONNECTED");
    }
    for reason in ["wrong_credentials", "forged_nonce", "malformed", "locked_out", "replayed"] {
        assert!(failures(&stage, reason) < 1.0, "{reason}");
    }
    carrier.finish();
    assert!(!stage.gateway.log().contains(WORD));
    let evidence = stage.end(2);
    let bytes = fs::read(&evidence.pcap).unwrap();
    assert!(found(&bytes, "Proxy-Authorization: ").is_some() && found(&bytes, WORD).is_none());
}

fn found(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

#[test]
fn pjsip_over_udp_proves_who_it_is_and_calls() {
    proves("authentication_udp", "udp");
}

#[test]
fn pjsip_over_tcp_proves_who_it_is_and_calls() {
    proves("authentication_tcp", "tcp");
}

#[test]
fn at_10_pjsip_with_a_wrong_password_calls_nobody() {
    let stage = stage("authentication_wrong", "udp");
    let mut carrier = pjsip_with(&stage.scene, "udp", Some("pbx:not-that"));
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    let ended = carrier.wait(&json!({"event": "state", "state": "DISCONNECTED"}));
    assert_eq!(ended["code"], 407, "{ended}");
    // PJSIP takes another nonce for a stale one, and tries up to five times.
    let wrong = failures(&stage, "wrong_credentials");
    assert!((1.0..=5.0).contains(&wrong), "{wrong}");
    assert!(stage.gateway.records().is_empty(), "{:?}", stage.gateway.records());
}

/// Another program at the trunk's address.
struct Raw {
    _end: End,
    persona: Persona,
    flow: Flow,
    uri: String,
}

impl Raw {
    fn new(stage: &Stage) -> Self {
        let place = stage.scene.place;
        let own = place.at(CARRIER_A, 5066);
        let mut end = End::new(Inbox::new("raw", Box::new(|_| false)));
        end.listen_udp(own);
        let gateway = place.at(CARRIER_SIDE, 5060);
        let persona = Persona::at(own, &end.inbox);
        let flow = end.udp_to(gateway);
        Self { _end: end, persona, flow, uri: format!("sip:{CALLED}@{gateway}") }
    }

    /// An INVITE with this answer; what comes back.
    fn tries(&self, answer: &str) -> Msg {
        let ip = self.flow.local().ip();
        let invite = Invite {
            uri: &self.uri,
            from: &format!("<sip:+442071230000@{ip}>"),
            to: &format!("<{}>", self.uri),
            extra: answer,
            sdp: &MediaEnd::new(ip, 7600).plain_sdp("sendrecv"),
        };
        let mut dialog = Dialog::invite(&self.persona, &self.flow, &invite);
        let refusal = dialog.final_response().msg;
        dialog.ack_failure();
        refusal
    }
}

/// The value of a parameter between quotes.
fn param<'a>(value: &'a str, name: &str) -> &'a str {
    let (_, rest) = value.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{value}"));
    rest.split_once('"').expect("closed").0
}

/// Unknown users and wrong passwords get the same answer, five of them; then nothing is looked at. Teams hears nothing.
#[test]
fn at_10_a_thousand_guesses_are_locked_out_after_five() {
    let stage = stage("authentication_guesses", "udp");
    let raw = Raw::new(&stage);
    let first = raw.tries("");
    assert_eq!(first.status(), 407);
    let challenge = first.need("Proxy-Authenticate").to_owned();
    assert!(challenge.contains("algorithm=SHA-256") && param(&challenge, "realm") == "sbc.test");
    let mut statuses = Vec::new();
    let mut shapes = Vec::new();
    for n in 0..1000 {
        let user = if n % 2 == 0 { NAME } else { "nobody" };
        let answer = format!(
            "Proxy-Authorization: Digest username=\"{user}\", realm=\"sbc.test\", nonce=\"{}\", uri=\"{}\", \
             response=\"{n:064x}\", algorithm=SHA-256, qop=auth, nc={:08x}, cnonce=\"c\"\r\n",
            param(&challenge, "nonce"),
            raw.uri,
            n + 1
        );
        let refusal = raw.tries(&answer);
        statuses.push(refusal.status());
        if refusal.status() == 407 {
            let names: Vec<_> = refusal.all("Proxy-Authenticate").map(str::len).collect();
            shapes.push((refusal.to_string().len(), names));
        }
    }
    assert!(statuses[..5].iter().all(|status| *status == 407), "{:?}", &statuses[..6]);
    assert!(statuses[5..].iter().all(|status| *status == 403));
    // Call-ID and CSeq have one length here.
    assert!(shapes.windows(2).all(|two| two[0].1 == two[1].1), "{shapes:?}");
    assert!((failures(&stage, "wrong_credentials") - 5.0).abs() < 0.1);
    assert!((failures(&stage, "locked_out") - 995.0).abs() < 0.1);
    let lines = stage.gateway.log();
    let warned = lines.lines().filter(|line| line.contains("do not prove whose")).count();
    assert!((1..60).contains(&warned), "{warned} lines");
    eprintln!("measured: AT-10: 1000 guesses, 5 looked at, {warned} lines in the log");
}

/// What PJSIP proved with is worth nothing a second time, nor is a nonce that we did not make.
#[test]
fn at_10_replays_and_forged_nonces_prove_nothing() {
    let mut stage = stage("authentication_replay", "udp");
    let auth = format!("{NAME}:{WORD}");
    let mut carrier = pjsip_with(&stage.scene, "udp", Some(&auth));
    let raw = Raw::new(&stage);
    carrier.call(&raw.uri);
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    hear_each_other(&mut carrier, &mut stage.teams);
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    carrier.finish();
    let answer = heard(&stage.capture.path);
    for _ in 0..3 {
        let refusal = raw.tries(&format!("{answer}\r\n"));
        assert_eq!(refusal.status(), 407);
        assert!(refusal.need("Proxy-Authenticate").contains("stale=true"), "{refusal}");
    }
    assert!((failures(&stage, "replayed") - 3.0).abs() < 0.1);
    let nonce = param(&answer, "nonce").to_owned();
    let forged = answer.replace(&nonce, &nonce.chars().rev().collect::<String>());
    assert_eq!(raw.tries(&format!("{forged}\r\n")).status(), 407);
    assert!((failures(&stage, "forged_nonce") - 1.0).abs() < 0.1);
    assert_eq!(stage.gateway.wait_records(1).len(), 1, "one call, and no other");
}

/// The last answer in a capture, a whole header line.
fn heard(pcap: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let bytes = fs::read(pcap).unwrap();
        if let Some(at) = found(&bytes, "Proxy-Authorization: ") {
            let rest = &bytes[at..];
            let line = &rest[..found(rest, "\r\n").expect("a whole line")];
            return String::from_utf8(line.to_vec()).unwrap();
        }
        assert!(Instant::now() < end, "nobody has proven anything");
        thread::sleep(Duration::from_millis(50));
    }
}
