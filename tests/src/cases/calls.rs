//! Calls between peers that are not ours: PJSIP as Teams (TLS, client certificate, SDES), SIPp and
//! PJSIP as carriers over UDP and TCP. What libsrtp decrypts on one leg is what the other carried;
//! tshark finds nothing malformed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use lab::pki::{Identity, Leaf};
use serde_json::json;

use crate::harness::audit;
use crate::harness::capture::{Capture, Pairing, as_pcap, dissected, silences, verify_media};
use crate::harness::dns::NameServer;
use crate::harness::gateway::Gateway;
use crate::harness::media::Crypto;
use crate::harness::peer::{Baresip, Pjsip, PjsipSetup, Sipp};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, DNS, EDGE, PROXY};
use crate::harness::scene::{FQDN, Scene};
use crate::harness::sip::Msg;

const CALLED: &str = "+15550010001";
const HOTLINE: &str = "+442079460001";

/// A gateway with one tenant, PJSIP as its Teams, a capture.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) teams: Pjsip,
    gateway: Gateway,
    capture: Capture,
    _dns: NameServer,
    transport: &'static str,
}

/// What is left to be looked at after the call.
pub(super) struct Evidence {
    scene: Scene,
    pcap: PathBuf,
    /// Teams' messages: received from the gateway (true) or sent to it.
    messages: Vec<(bool, Msg)>,
}

impl Stage {
    fn new(test: &str, transport: &'static str) -> Self {
        Self::within(test, transport, Duration::from_secs(60), |_| String::new())
    }

    /// With further keys of the trunk.
    pub(super) fn with(
        test: &str,
        transport: &'static str,
        keys: impl FnOnce(&Scene) -> String,
    ) -> Self {
        Self::within(test, transport, Duration::from_secs(60), keys)
    }

    fn within(
        test: &str,
        transport: &'static str,
        limit: Duration,
        keys: impl FnOnce(&Scene) -> String,
    ) -> Self {
        let mut scene = Scene::within(test, limit);
        let keys = keys(&scene);
        // RSA, as Microsoft's suites want it.
        let leaf = scene.pki.issue("rsa", &Leaf::gateway(FQDN)).unwrap();
        scene.certificate(&leaf);
        scene.trunk("carrier-a", transport, CARRIER_A, &keys).tenant(
            "t001",
            &["carrier-a"],
            &["+15550010000-+15550019999"],
            "",
        );
        let place = scene.place;
        let dns = NameServer::start(
            place.at(DNS, 53),
            HashMap::from([("*.sbc.test".to_owned(), place.ip(EDGE))]),
        );
        let identity = scene.pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
        let teams = pjsip_as_teams(&scene, &identity);
        let capture = Capture::start(scene.dir(), place);
        let gateway = scene.start();
        gateway.healthy();
        Self { scene, teams, gateway, capture, _dns: dns, transport }
    }

    fn sipp_calls(&self) -> Sipp {
        let call = (self.scene.place.at(CARRIER_SIDE, 5060), "+442071230000", CALLED);
        let local = self.scene.place.at(CARRIER_A, 5060);
        Sipp::start(self.scene.dir(), "uac.xml", self.transport, local, Some(call))
    }

    fn sipp_answers(&self) -> Sipp {
        let local = self.scene.place.at(CARRIER_A, 5060);
        Sipp::start(self.scene.dir(), "uas.xml", self.transport, local, None)
    }

    pub(super) fn pjsip_as_carrier(&self) -> Pjsip {
        let place = self.scene.place;
        let route = format!("sip:{};transport={}", place.at(CARRIER_SIDE, 5060), self.transport);
        let id = format!("sip:+442071230000@{}", place.ip(CARRIER_A));
        let setup = PjsipSetup {
            name: "carrier",
            transport: self.transport,
            address: place.at(CARRIER_A, 5060),
            id: &id,
            contact: None,
            route: Some(&route),
            dns: None,
            tls: None,
            answer: 200,
        };
        Pjsip::start(self.scene.dir(), &setup)
    }

    /// Teams dials a number at its tenant's name.
    fn teams_calls(&mut self) {
        self.teams.call(&format!("sip:{HOTLINE}@t001.sbc.test:5061;user=phone;transport=tls"));
    }

    /// Ends everything and judges the messages.
    pub(super) fn end(self, calls: usize) -> Evidence {
        let records = self.gateway.wait_records(calls);
        for record in &records {
            assert!(!record["t_answer"].is_null(), "{record}");
        }
        assert_eq!(records.len(), calls);
        let pcap = self.capture.stop();
        let messages = self.teams.finish();
        drop(self.gateway);
        for (received, msg) in &messages {
            if *received {
                let mut faults = audit::towards_teams(msg);
                faults.extend(audit::anywhere(msg));
                assert!(faults.is_empty(), "{faults:?} in\n{msg}");
            }
        }
        assert!(dissected(&pcap) >= 6, "too few messages on the carrier's side");
        let teams_pcap = self.scene.dir().join("teams.pcap");
        let all: Vec<_> = messages.iter().map(|(_, msg)| msg.clone()).collect();
        as_pcap(&teams_pcap, &all);
        assert_eq!(dissected(&teams_pcap), all.len(), "messages of the Teams side");
        Evidence { scene: self.scene, pcap, messages }
    }
}

fn pjsip_as_teams(scene: &Scene, identity: &Identity) -> Pjsip {
    let setup = PjsipSetup {
        name: "teams",
        transport: "tls",
        address: scene.place.at(PROXY, 5061),
        id: &format!("sip:{CALLED}@sip.teams.test"),
        contact: Some("sip:sip.teams.test:5061;transport=tls"),
        route: None,
        dns: Some(scene.place.ip(DNS)),
        tls: Some((identity, &scene.ca())),
        answer: 200,
    };
    Pjsip::start(scene.dir(), &setup)
}

impl Evidence {
    /// Both directions, payload by payload; `carrier` is the port of the trunk's RTP.
    fn media_is_equal(&self, carrier_port: u16, at_least: u64) {
        let description = |received: bool| {
            let mut with_sdp = self
                .messages
                .iter()
                .filter(|(r, msg)| *r == received && msg.attribute("crypto").is_some());
            &with_sdp.next().unwrap_or_else(|| panic!("no SDP with keys")).1
        };
        let (ours, theirs) = (description(true), description(false));
        let tag = if ours.is_request() { Crypto::of(theirs).tag } else { Crypto::of(ours).tag };
        let carrier = self.scene.place.at(CARRIER_A, carrier_port);
        let gateway = described_by(&self.pcap, self.scene.place.ip(CARRIER_SIDE));
        let (secure_here, secure_there) = (ours.media(), theirs.media());
        let pairings = [
            Pairing {
                secure_from: Some(secure_here),
                secure_to: Some(secure_there),
                crypto: key(ours, tag),
                plain_from: carrier,
                plain_to: gateway,
                sealed_here: true,
            },
            Pairing {
                secure_from: Some(secure_there),
                secure_to: Some(secure_here),
                crypto: key(theirs, tag),
                plain_from: gateway,
                plain_to: carrier,
                sealed_here: false,
            },
        ];
        for equal in verify_media(&self.pcap, &pairings) {
            assert!(equal >= at_least, "only {equal} equal packets");
        }
    }
}

fn sipp_to_pjsip(transport: &'static str) {
    let mut stage = Stage::new("sipp_to_pjsip", transport);
    let sipp = stage.sipp_calls();
    let incoming = stage.teams.wait(&json!({"event": "incoming"}));
    let uri = incoming["uri"].as_str().unwrap_or_default();
    assert!(uri.starts_with(&format!("sip:{CALLED}@sip.teams.test:5061;user=phone")), "{uri}");
    stage.teams.state("CONFIRMED");
    stage.teams.hears(40);
    stage.teams.state("DISCONNECTED");
    sipp.finish();
    stage.end(1).media_is_equal(6000, 40);
}

fn pjsip_to_sipp(transport: &'static str) {
    let mut stage = Stage::new("pjsip_to_sipp", transport);
    let sipp = stage.sipp_answers();
    stage.teams_calls();
    stage.teams.state("CONFIRMED");
    stage.teams.hears(60);
    stage.teams.hang_up();
    stage.teams.state("DISCONNECTED");
    sipp.finish();
    stage.end(1).media_is_equal(6000, 40);
}

#[test]
fn sipp_over_udp_calls_pjsip_as_teams() {
    sipp_to_pjsip("udp");
}

#[test]
fn sipp_over_tcp_calls_pjsip_as_teams() {
    sipp_to_pjsip("tcp");
}

#[test]
fn pjsip_as_teams_calls_sipp_over_udp() {
    pjsip_to_sipp("udp");
}

#[test]
fn pjsip_as_teams_calls_sipp_over_tcp() {
    pjsip_to_sipp("tcp");
}

/// Both directions, hold by either side, ended by either side, telephone events.
fn pjsip_on_both_sides(transport: &'static str) {
    let mut stage = Stage::new("pjsip_on_both_sides", transport);
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(30);
    stage.teams.hears(30);
    hold(&mut carrier, &mut stage.teams);
    hold(&mut stage.teams, &mut carrier);
    carrier.command(&json!({"do": "dtmf", "digits": "5"}));
    stage.teams.wait(&json!({"event": "dtmf", "digit": "5"}));
    stage.teams.command(&json!({"do": "dtmf", "digits": "7"}));
    carrier.wait(&json!({"event": "dtmf", "digit": "7"}));
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    teams_calls_back(&mut stage, carrier);
    stage.end(2);
}

/// Teams calls, both hear each other, and the carrier ends it for good.
fn teams_calls_back(stage: &mut Stage, mut carrier: Pjsip) {
    stage.teams_calls();
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(30);
    stage.teams.hears(30);
    carrier.hang_up();
    stage.teams.state("DISCONNECTED");
    carrier.state("DISCONNECTED");
    carrier.finish();
}

/// One side holds and takes back; both hear each other again.
fn hold(holder: &mut Pjsip, other: &mut Pjsip) {
    holder.command(&json!({"do": "hold"}));
    holder.media("local hold");
    other.wait(&json!({"event": "media"}));
    holder.command(&json!({"do": "resume"}));
    other.media("active");
    holder.media("active");
    holder.hears(20);
    other.hears(20);
}

#[test]
fn pjsip_carrier_over_udp_and_pjsip_as_teams() {
    pjsip_on_both_sides("udp");
}

#[test]
fn pjsip_carrier_over_tcp_and_pjsip_as_teams() {
    pjsip_on_both_sides("tcp");
}

/// TR-042, TR-044: PJSIP refreshes, holds and resumes from either side, and both hear each other after each. With
/// `TRUNKGATE_CALL_MINUTES` for so long in real time (`make soak`: 30, beyond the 27 minutes and 2^16 packets).
#[test]
fn tr_042_tr_044_pjsip_refreshes_and_holds_for_as_long_as_it_likes() {
    let minutes = std::env::var("TRUNKGATE_CALL_MINUTES").map_or(0, |n| n.parse().unwrap());
    let limit = Duration::from_secs(60 + 90 * minutes);
    let mut stage = Stage::within("pjsip_refreshes", "udp", limit, |_| String::new());
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    for minute in 0..=minutes {
        refresh(&mut carrier, &mut stage.teams);
        refresh(&mut stage.teams, &mut carrier);
        if minute % 9 == 0 {
            hold(&mut carrier, &mut stage.teams);
            hold(&mut stage.teams, &mut carrier);
        }
        if minute < minutes {
            thread::sleep(Duration::from_secs(60));
        }
    }
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    carrier.finish();
    stage.end(1);
}

/// The same SDP again, and both hear fifty packets more.
fn refresh(by: &mut Pjsip, other: &mut Pjsip) {
    by.command(&json!({"do": "resume"}));
    by.media("active");
    for peer in [by, other] {
        let heard = peer.heard();
        peer.hears(heard + 50);
    }
}

/// A call of before an upgrade and one of afterwards; PJSIP's connections lead to the old process.
fn pjsip_across_an_upgrade(transport: &'static str) {
    let mut stage = Stage::new("pjsip_across_an_upgrade", transport);
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(50);
    stage.teams.hears(50);
    let mut old = std::mem::replace(&mut stage.gateway, stage.scene.upgrade());
    carrier.hears(200);
    stage.teams.hears(200);
    let later = stage.scene.dir().join("later");
    std::fs::create_dir(&later).unwrap();
    let later = Capture::start(&later, stage.scene.place);
    let silences = silences(&std::mem::replace(&mut stage.capture, later).stop());
    hold(&mut carrier, &mut stage.teams);
    hold(&mut stage.teams, &mut carrier);
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    assert!(old.wait(Duration::from_secs(20)).success());
    teams_calls_back(&mut stage, carrier);
    let scene = stage.end(2).scene;
    // Both streams came from the peers and left from the gateway. What a peer pauses by itself is none of ours.
    let ours = [scene.place.ip(EDGE), scene.place.ip(CARRIER_SIDE)];
    let (out, came): (Vec<_>, Vec<_>) =
        silences.into_iter().partition(|(from, ..)| ours.contains(&from.ip()));
    assert_eq!((out.len(), came.len()), (2, 2), "{out:?} {came:?}");
    let longest = |of: &[(SocketAddr, SocketAddr, Duration)]| of.iter().map(|s| s.2).max().unwrap();
    let (out, came) = (longest(&out), longest(&came));
    eprintln!("longest pause over {transport}: {out:?} from the gateway, {came:?} from the peers");
    assert!(
        out <= Duration::from_millis(100).max(came + Duration::from_millis(20)),
        "{out:?} {came:?}"
    );
}

#[test]
fn r03_pjsip_goes_on_talking_across_an_upgrade_over_udp() {
    pjsip_across_an_upgrade("udp");
}

#[test]
fn r03_pjsip_goes_on_talking_across_an_upgrade_over_tcp() {
    pjsip_across_an_upgrade("tcp");
}

/// The payload check on a PJSIP carrier: its RTP port is its own choice.
#[test]
fn media_between_pjsip_and_pjsip_are_equal() {
    let mut stage = Stage::new("pjsip_media", "udp");
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(60);
    stage.teams.hears(60);
    carrier.hang_up();
    stage.teams.state("DISCONNECTED");
    let messages = carrier.finish();
    let offer = messages.iter().find(|(received, m)| !received && m.method() == "INVITE").unwrap();
    stage.end(1).media_is_equal(offer.1.media().port(), 50);
}

/// baresip: another TLS client, another SRTP, and RTP that leaves from 127.0.0.1 whatever its SDP
/// says, so that the secure leg has to learn the address from an authenticated packet.
#[test]
fn baresip_as_teams_is_called_and_calls() {
    let mut scene = Scene::new("baresip");
    scene.teams_also_from("127.0.0.1/32").usual_ends();
    let place = scene.place;
    let names = HashMap::from([("*.sbc.test".to_owned(), place.ip(EDGE))]);
    let _dns = NameServer::start(place.at(DNS, 53), names);
    let identity = scene.pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
    let teams =
        Baresip::start(scene.dir(), place.ip(PROXY), place.ip(DNS), CALLED, &identity, &scene.ca());
    let gateway = scene.start();
    let (local, gate) = (place.at(CARRIER_A, 5060), place.at(CARRIER_SIDE, 5060));
    let capture = Capture::start(scene.dir(), place);
    let call = (gate, "+442071230000", CALLED);
    let sipp = Sipp::start(scene.dir(), "uac.xml", "udp", local, Some(call));
    teams.said("Call established", 1);
    sipp.finish();
    gateway.wait_records(1);
    baresip_media(&scene, &teams, &capture.stop());
    let capture = Capture::start(scene.dir(), place);
    let sipp = Sipp::start(scene.dir(), "uas.xml", "udp", local, None);
    teams.command("dial", &format!("sip:{HOTLINE}@t001.sbc.test:5061"));
    teams.said("Call established", 2);
    // The length of the call.
    thread::sleep(Duration::from_millis(1_500));
    teams.command("hangup", "");
    sipp.finish();
    let records = gateway.wait_records(2);
    for record in &records {
        for direction in record["media"].as_array().expect("media") {
            assert!(direction["relayed"].as_u64() > Some(40), "{record}");
            // baresip sends one RTCP packet in clear before it has the keys.
            assert!(direction["refused"].as_u64() <= Some(1), "{record}");
        }
    }
    baresip_media(&scene, &teams, &capture.stop());
    for msg in teams.messages() {
        // Those that the gateway wrote.
        let product = msg.get("User-Agent").or(msg.get("Server")).unwrap_or_default();
        if product.starts_with("trunkgate") {
            let faults = audit::towards_teams(&msg);
            assert!(faults.is_empty(), "{faults:?} in\n{msg}");
        }
    }
}

/// Both directions of its last call.
fn baresip_media(scene: &Scene, teams: &Baresip, pcap: &Path) {
    let messages = teams.messages();
    let last = messages.last().expect("a message").call_id().to_owned();
    let (edge, gate) = (scene.place.ip(EDGE), scene.place.ip(CARRIER_SIDE));
    let described = |ours: bool| {
        messages
            .iter()
            .find(|m| {
                m.call_id() == last
                    && m.attribute("crypto").is_some()
                    && (m.media().ip() == edge) == ours
            })
            .unwrap_or_else(|| panic!("no SDP (ours: {ours})"))
    };
    let (ours, theirs) = (described(true), described(false));
    let tag = if ours.is_request() { Crypto::of(theirs).tag } else { Crypto::of(ours).tag };
    let carrier = scene.place.at(CARRIER_A, 6000);
    let gateway = described_by(pcap, gate);
    let pairings = [
        Pairing {
            secure_from: Some(ours.media()),
            secure_to: None,
            crypto: key(ours, tag),
            plain_from: carrier,
            plain_to: gateway,
            sealed_here: true,
        },
        Pairing {
            secure_from: None,
            secure_to: Some(ours.media()),
            crypto: key(theirs, tag),
            plain_from: gateway,
            plain_to: carrier,
            sealed_here: false,
        },
    ];
    for equal in verify_media(pcap, &pairings) {
        assert!(equal >= 40, "only {equal} equal packets");
    }
}

/// Of an offer with several keys the one with the answer's tag counts.
fn key(msg: &Msg, tag: u32) -> Crypto {
    msg.attributes("crypto").map(Crypto::read).find(|c| c.tag == tag).expect("the tag")
}

/// The first media address in SDP that `ip` sent in clear.
fn described_by(pcap: &Path, ip: IpAddr) -> SocketAddr {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(pcap)
        .args(["-d", "udp.port==5060,sip", "-d", "tcp.port==5060,sip", "-T", "fields"])
        .args(["-Y", &format!("sdp && ip.src == {ip}"), "-e", "sdp.media.port"])
        .output()
        .expect("tshark");
    let text = String::from_utf8_lossy(&output.stdout);
    let port = text.lines().next().and_then(|line| line.trim().parse().ok());
    (ip, port.unwrap_or_else(|| panic!("no SDP from {ip}: {text}"))).into()
}
