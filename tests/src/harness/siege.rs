//! A gateway under attack: a trunk that attacks, and a call of another trunk that must not notice.

use std::fmt::Write as _;

use super::dialog::token;
use super::gateway::Gateway;
use super::place::{CARRIER_A, CARRIER_SIDE};
use super::raw::{Datagrams, Stream};
use super::scene::{Carrier, Scene, Teams};
use super::talking::{CALLED, CALLER, Talking};

/// The trunk that attacks; carrier-a is the one that must not notice.
pub const ATTACKER: u8 = 52;

/// A gateway with a call up, and a second trunk.
pub struct Siege {
    pub scene: Scene,
    pub teams: Teams,
    _carrier: Carrier,
    pub gateway: Gateway,
    pub call: Talking,
}

impl Siege {
    pub fn new(test: &str) -> Self {
        let mut scene = Scene::new(test);
        scene.trunk("carrier-a", "udp", CARRIER_A, "").trunk("carrier-b", "udp", ATTACKER, "");
        scene.tenant("t001", &["carrier-a", "carrier-b"], &["+15550010000-+15550019999"], "");
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let call = Talking::incoming(&teams, &carrier, CALLED);
        Self { scene, teams, _carrier: carrier, gateway, call }
    }

    pub fn datagrams(&self) -> Datagrams {
        let here = self.scene.place.at(ATTACKER, 5060);
        Datagrams::open(here, self.scene.place.at(CARRIER_SIDE, 5060))
    }

    pub fn stream(&self) -> Stream {
        Stream::open(self.scene.place.ip(ATTACKER), self.scene.place.at(CARRIER_SIDE, 5060))
    }

    /// The call goes on, the process lives, and of the attacks something was counted.
    pub fn ends(mut self, metric: &str) {
        self.call.talk();
        assert!(self.gateway.is_running(), "{}", self.gateway.log());
        let metrics = self.gateway.get("/metrics").1;
        assert!(metrics.contains(metric), "no {metric} in\n{metrics}");
        assert!(metrics.contains("trunkgate_faults_total 0"), "{metrics}");
        self.call.carrier_hangs_up();
    }
}

/// A request line by line: `lines` stand before Content-Length, which is left out where they have one.
pub fn request(method: &str, transport: &str, lines: &str, body: &str) -> Vec<u8> {
    let id = token("attack-");
    let mut text = format!(
        "{method} sip:{CALLED}@gateway.test SIP/2.0\r\nVia: SIP/2.0/{transport} attacker.test;branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{CALLER}@attacker.test>;tag=1\r\nTo: <sip:{CALLED}@gateway.test>\r\n\
         Call-ID: {id}\r\nCSeq: 1 {method}\r\nContact: <sip:attacker.test>\r\n{lines}"
    );
    let lower = lines.to_ascii_lowercase();
    if !lower.contains("content-length") && !lower.contains("\nl:") && !lower.starts_with("l:") {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    write!(text, "\r\n{body}").unwrap();
    text.into_bytes()
}
