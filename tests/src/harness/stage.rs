//! A gateway with PJSIP as the Teams of its one tenant (TLS, client certificate, SDES), and what is left to be judged of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use lab::pki::{Identity, Leaf};
use serde_json::Value;

use super::audit;
use super::capture::{
    Capture, Compared, Pairing, as_pcap, dissected, heard_on_the_wire, verify_media,
};
use super::dns::NameServer;
use super::gateway::Gateway;
use super::media::{Crypto, Rtp};
use super::peer::{Pjsip, PjsipSetup, Sipp};
use super::place::{CARRIER_A, CARRIER_SIDE, DNS, EDGE, OTHER_PROXY, PROXY};
use super::scene::{FQDN, Scene};
use super::sip::Msg;

pub const CALLED: &str = "+15550010001";
/// Where another client of Teams is found.
pub const OTHER_TEAMS: &str = "sip-other.teams.test";
pub const HOTLINE: &str = "+442079460001";

/// A gateway with one tenant, PJSIP as its Teams, a capture.
pub struct Stage {
    pub scene: Scene,
    pub teams: Pjsip,
    pub gateway: Gateway,
    pub capture: Capture,
    _dns: NameServer,
    transport: &'static str,
}

/// What is left to be looked at after the call.
pub struct Evidence {
    pub scene: Scene,
    pub pcap: PathBuf,
    /// Teams' messages: received from the gateway (true) or sent to it.
    pub messages: Vec<(bool, Msg)>,
    /// The calls' records.
    pub records: Vec<Value>,
}

impl Stage {
    pub fn new(test: &str, transport: &'static str) -> Self {
        Self::within(test, transport, Duration::from_secs(60), |_| String::new())
    }

    /// With further keys of the trunk.
    pub fn with(test: &str, transport: &'static str, keys: impl FnOnce(&Scene) -> String) -> Self {
        Self::within(test, transport, Duration::from_secs(60), keys)
    }

    pub fn within(
        test: &str,
        transport: &'static str,
        limit: Duration,
        keys: impl FnOnce(&Scene) -> String,
    ) -> Self {
        let mut scene = Scene::within(test, limit);
        let keys = keys(&scene);
        scene.trunk("carrier-a", transport, CARRIER_A, &keys);
        Self::around(scene, transport)
    }

    /// Around a scene that has its trunk, `carrier-a`.
    pub fn around(mut scene: Scene, transport: &'static str) -> Self {
        // RSA, as Microsoft's suites want it.
        let leaf = scene.pki.issue("rsa", &Leaf::gateway(FQDN)).unwrap();
        scene.certificate(&leaf);
        scene.tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
        let place = scene.place;
        let dns = NameServer::start(
            place.at(DNS, 53),
            HashMap::from([
                ("*.sbc.test".to_owned(), place.ip(EDGE)),
                (OTHER_TEAMS.to_owned(), place.ip(OTHER_PROXY)),
            ]),
        );
        let identity = scene.pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
        let teams = pjsip_as_teams(&scene, &identity);
        let capture = Capture::start(scene.dir(), place);
        let gateway = scene.start();
        gateway.healthy();
        Self { scene, teams, gateway, capture, _dns: dns, transport }
    }

    pub fn sipp_calls(&self) -> Sipp {
        self.sipp_calls_as("uac.xml")
    }

    /// SIPp calls a number of the tenant, by a scenario in tests/peers/sipp.
    pub fn sipp_calls_as(&self, scenario: &str) -> Sipp {
        let call = (self.scene.place.at(CARRIER_SIDE, 5060), "+442071230000", CALLED);
        let local = self.scene.place.at(CARRIER_A, 5060);
        Sipp::start(self.scene.dir(), scenario, self.transport, local, Some(call))
    }

    pub fn sipp_answers(&self) -> Sipp {
        self.sipp_answers_as("uas.xml")
    }

    /// SIPp is called, by a scenario in tests/peers/sipp.
    pub fn sipp_answers_as(&self, scenario: &str) -> Sipp {
        let local = self.scene.place.at(CARRIER_A, 5060);
        Sipp::start(self.scene.dir(), scenario, self.transport, local, None)
    }

    pub fn pjsip_as_carrier(&self) -> Pjsip {
        pjsip_as_carrier(&self.scene, self.transport)
    }

    /// Another PJSIP on Teams' side, at an address of its own, where it has a number.
    pub fn another_teams(&self, number: &str) -> Pjsip {
        let identity = self.scene.pki.issue("teams-2", &Leaf::teams("teams.test")).unwrap();
        let ca = self.scene.ca();
        let setup = PjsipSetup {
            name: "teams-2",
            address: self.scene.place.at(OTHER_PROXY, 5061),
            contact: Some(&format!("sip:{OTHER_TEAMS}:5061;transport=tls")),
            // Whom it is asked to call, it calls by the gateway, whatever transport the URI leaves open.
            route: Some(&format!("sip:{};transport=tls", self.scene.place.at(EDGE, 5061))),
            id: &format!("sip:{number}@sip.teams.test"),
            ..as_teams(&self.scene, &identity, &ca)
        };
        Pjsip::start(self.scene.dir(), &setup)
    }

    /// PJSIP at a trunk calls a number of the tenant, and both ends talk.
    pub fn pjsip_calls_pjsip(&mut self) -> Pjsip {
        let mut carrier = self.pjsip_as_carrier();
        carrier.call(&format!("sip:{CALLED}@{}", self.scene.place.at(CARRIER_SIDE, 5060)));
        carrier.state("CONFIRMED");
        self.teams.state("CONFIRMED");
        hear_each_other(&mut carrier, &mut self.teams);
        carrier
    }

    /// Teams dials a number at its tenant's name.
    pub fn teams_calls(&mut self) {
        self.teams.call(&format!("sip:{HOTLINE}@t001.sbc.test:5061;user=phone;transport=tls"));
    }

    /// Ends everything and judges the messages.
    pub fn end(self, calls: usize) -> Evidence {
        let evidence = self.end_encrypted(calls);
        assert!(dissected(&evidence.pcap) >= 6, "too few messages on the carrier's side");
        evidence
    }

    /// The same where the trunk's messages are encrypted as well.
    pub fn end_encrypted(self, calls: usize) -> Evidence {
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
        let teams_pcap = self.scene.dir().join("teams.pcap");
        let all: Vec<_> = messages.iter().map(|(_, msg)| msg.clone()).collect();
        as_pcap(&teams_pcap, &all);
        assert_eq!(dissected(&teams_pcap), all.len(), "messages of the Teams side");
        Evidence { scene: self.scene, pcap, messages, records }
    }
}

/// Each hears another fifty packets in the present stream, none lost.
pub fn hear_each_other(one: &mut Pjsip, other: &mut Pjsip) {
    for peer in [one, other] {
        let heard = peer.heard();
        peer.hears(heard + 50);
    }
}

/// One side holds in that form (`sendonly`, `inactive`, `null`: c=0.0.0.0) and takes back. Held, nobody hears anything;
/// afterwards both hear each other again.
pub fn hold(holder: &mut Pjsip, other: &mut Pjsip, form: &str) {
    holder.hold("first", form);
    other.media("remote hold");
    // What was under way.
    thread::sleep(Duration::from_millis(100));
    let before = [holder.heard(), other.heard()];
    thread::sleep(Duration::from_millis(300));
    assert_eq!([holder.heard(), other.heard()], before, "{form}: heard on hold");
    holder.resume("first");
    other.media("active");
    hear_each_other(holder, other);
}

/// PJSIP as a trunk's peer, with plain RTP.
pub fn pjsip_as_carrier(scene: &Scene, transport: &str) -> Pjsip {
    pjsip_with(scene, transport, None)
}

/// The same, with 100rel mandatory.
pub fn pjsip_requiring_100rel(scene: &Scene, transport: &str) -> Pjsip {
    pjsip_of(scene, transport, None, true)
}

/// The same, with what it answers challenges with.
pub fn pjsip_with(scene: &Scene, transport: &str, auth: Option<&str>) -> Pjsip {
    pjsip_of(scene, transport, auth, false)
}

fn pjsip_of(scene: &Scene, transport: &str, auth: Option<&str>, reliable: bool) -> Pjsip {
    let place = scene.place;
    let route = format!("sip:{};transport={transport}", place.at(CARRIER_SIDE, 5060));
    let id = format!("sip:+442071230000@{}", place.ip(CARRIER_A));
    let setup = PjsipSetup {
        name: "carrier",
        transport,
        address: place.at(CARRIER_A, 5060),
        id: &id,
        contact: None,
        route: Some(&route),
        dns: None,
        auth,
        registrar: None,
        tls: None,
        answer: 200,
        reliable,
        calls: 1,
    };
    Pjsip::start(scene.dir(), &setup)
}

fn pjsip_as_teams(scene: &Scene, identity: &Identity) -> Pjsip {
    let ca = scene.ca();
    let setup = PjsipSetup {
        id: &format!("sip:{CALLED}@sip.teams.test"),
        ..as_teams(scene, identity, &ca)
    };
    Pjsip::start(scene.dir(), &setup)
}

fn as_teams<'a>(scene: &Scene, identity: &'a Identity, ca: &'a Path) -> PjsipSetup<'a> {
    PjsipSetup {
        name: "teams",
        transport: "tls",
        address: scene.place.at(PROXY, 5061),
        id: "sip:anonymous@sip.teams.test",
        contact: Some("sip:sip.teams.test:5061;transport=tls"),
        route: None,
        dns: Some(scene.place.ip(DNS)),
        auth: None,
        registrar: None,
        tls: Some((identity, ca)),
        answer: 200,
        reliable: false,
        calls: 2,
    }
}

impl Evidence {
    /// The first SDP of the gateway to Teams and that of Teams, each with the key that its writer sends with.
    fn descriptions(&self) -> [(&Msg, Crypto); 2] {
        let description = |received: bool| {
            let mut with_sdp = self
                .messages
                .iter()
                .filter(|(r, msg)| *r == received && msg.attribute("crypto").is_some());
            &with_sdp.next().unwrap_or_else(|| panic!("no SDP with keys")).1
        };
        let (ours, theirs) = (description(true), description(false));
        let tag = if ours.is_request() { Crypto::of(theirs).tag } else { Crypto::of(ours).tag };
        [ours, theirs].map(|msg| (msg, key(msg, tag)))
    }

    /// What the gateway sent to Teams on the wire, and what Teams sent.
    pub fn heard_and_said_by_teams(&self) -> [Vec<Rtp>; 2] {
        let [(ours, our_key), (theirs, their_key)] = self.descriptions();
        let (here, there) = (ours.media(), theirs.media());
        [
            heard_on_the_wire(&self.pcap, here, there, Some(&our_key)),
            heard_on_the_wire(&self.pcap, there, here, Some(&their_key)),
        ]
    }

    /// Both directions, payload by payload, over the whole call; `carrier` is the port of the trunk's RTP.
    pub fn media_is_equal(&self, carrier_port: u16, at_least: u64) -> Vec<Compared> {
        let [(ours, our_key), (theirs, their_key)] = self.descriptions();
        let carrier = self.scene.place.at(CARRIER_A, carrier_port);
        let gateway = described_by(&self.pcap, self.scene.place.ip(CARRIER_SIDE));
        let (secure_here, secure_there) = (ours.media(), theirs.media());
        let is_offer = |msg: &Msg| msg.is_request() && msg.method() == "INVITE";
        let exchanges = self.messages.iter().filter(|(_, msg)| is_offer(msg)).count();
        let pairings = [
            Pairing {
                secure_from: Some(secure_here),
                secure_to: Some(secure_there),
                crypto: our_key,
                plain_from: carrier,
                plain_to: gateway,
                sealed_here: true,
                exchanges,
            },
            Pairing {
                secure_from: Some(secure_there),
                secure_to: Some(secure_here),
                crypto: their_key,
                plain_from: gateway,
                plain_to: carrier,
                sealed_here: false,
                exchanges,
            },
        ];
        let compared = verify_media(&self.pcap, &pairings);
        for Compared { equal, .. } in &compared {
            assert!(*equal >= at_least, "only {equal} equal packets");
        }
        compared
    }
}

/// Of an offer with several keys the one with the answer's tag counts.
pub fn key(msg: &Msg, tag: u32) -> Crypto {
    msg.attributes("crypto").map(Crypto::read).find(|c| c.tag == tag).expect("the tag")
}

/// The first media address in SDP that `ip` sent in clear.
pub fn described_by(pcap: &Path, ip: IpAddr) -> SocketAddr {
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
