//! Networks that are not alike on both sides: a carrier on IPv6 and Teams on IPv4; a gateway behind NAT, whose peers are told
//! another address than its own; a carrier whose media come from another network than its signalling. Calls in both
//! directions, media both ways, and their records.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::dialog::{Dialog, token};
use crate::harness::gateway::Gateway;
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, EDGE, PROXY};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};
use crate::harness::wire::{Flow, Received};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";
const NUMBERS: [&str; 1] = ["+15550010000-+15550019999"];
/// What peers are told of a gateway behind NAT; nobody here has it.
const PUBLIC: &str = "203.0.113.7";

/// A call in one direction, with media on these ports; SRTP on the side of Teams is that of [`MediaEnd`].
fn call(incoming: bool, teams: &Teams, flow: &Flow, carrier: &Carrier, port: u16) -> Talking {
    if incoming {
        Talking::incoming_from(teams, carrier, CALLED, port)
    } else {
        Talking::outgoing_from(teams, flow, TENANT, carrier, (NUMBER, port))
    }
}

/// The record of a call that was talked and hung up; media of both sides were relayed.
fn good(record: &Value) {
    assert_eq!(record["cause"]["sip"], 200, "{record}");
    let media = record["media"].as_array().expect("media");
    assert!(
        media.len() == 2 && media.iter().all(|way| way["relayed"].as_u64() > Some(30)),
        "{record}"
    );
}

#[test]
fn a_carrier_on_ipv6_and_teams_on_ipv4() {
    let mut scene = Scene::new("ipv6");
    let port = |n: u16| scene.place.ipv6_port(n);
    let at = |n: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port(n)));
    let (gate, peer, near) = (at(62), at(63), port(90));
    let tables = format!(
        "[[realm]]\nname = \"six\"\nlisten = [\"udp:{gate}\"]\n\
         media = {{ address = \"::1\", ports = \"{}-{}\" }}\n\n\
         [[trunk]]\nname = \"carrier-6\"\nrealm = \"six\"\npeers = [\"udp:{peer}\"]\nnetworks = [\"::1/128\"]",
        port(64),
        port(79),
    );
    scene.tables(&tables).tenant("t001", &["carrier-6"], &NUMBERS, "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp_at(peer, gate));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    for (n, incoming) in (0..).zip([true, false]) {
        let mut call = call(incoming, &teams, &flow, &carrier, near + 2 * n);
        // Each side hears of its own kind of address alone.
        let (to_teams, to_carrier) =
            if incoming { (&call.invite, &call.answer) } else { (&call.answer, &call.invite) };
        for (msg, family, own) in [(to_teams, "IP4", EDGE), (to_carrier, "IP6", 0)] {
            let ip = if own == 0 { gate.ip() } else { scene.place.ip(own) };
            let said = format!("IN {family} {ip}");
            assert_eq!(msg.line('c'), Some(said.as_str()), "{msg}");
            assert!(msg.line('o').is_some_and(|origin| origin.ends_with(&said)), "{msg}");
        }
        assert!(to_teams.attribute("crypto").is_some(), "{to_teams}");
        assert!(to_carrier.attribute("crypto").is_none(), "{to_carrier}");
        assert_eq!(to_carrier.host_of("Contact"), "[::1", "{to_carrier}");
        if !incoming {
            assert!(to_carrier.sent_by().starts_with(&gate.to_string()), "{to_carrier}");
        }
        call.talk();
        // Hold and resume by either, then either hangs up.
        call.carrier_offers("sendonly", "recvonly");
        call.teams_offers("sendrecv", "sendrecv");
        call.talk();
        if incoming { call.carrier_hangs_up() } else { call.teams_hangs_up() }
    }
    gateway.wait_records(2).iter().for_each(good);
    teams.not_invited();
}

/// The test is the NAT: what peers send to the public address it sends to the private one.
#[test]
fn behind_nat_peers_are_told_the_public_address_alone() {
    for transport in ["udp", "tcp"] {
        let mut scene = Scene::new("behind_nat");
        let public: IpAddr = PUBLIC.parse().unwrap();
        scene
            .behind(public)
            .trunk("carrier-a", transport, CARRIER_A, "options_interval = \"30s\"")
            .usual_tenant();
        let teams = scene.teams();
        // The one over TCP has a connection of its own, so it comes second; it is asked for OPTIONS before that in vain.
        let waiting = (transport == "udp").then(|| scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let mut carrier = waiting.unwrap_or_else(|| scene.carrier_tcp(CARRIER_A));
        carrier.gate = format!("{PUBLIC}:5060");
        let flow = teams.connect(TENANT);
        for (n, incoming) in (0..).zip([true, false]) {
            let mut call = call(incoming, &teams, &flow, &carrier, 7000 + 2 * n);
            let (to_teams, to_carrier) =
                if incoming { (&call.invite, &call.answer) } else { (&call.answer, &call.invite) };
            for msg in [to_teams, to_carrier] {
                assert_eq!(msg.media().ip(), public, "{msg}");
                assert!(msg.line('o').is_some_and(|origin| origin.ends_with(PUBLIC)), "{msg}");
            }
            assert_eq!(to_carrier.host_of("Contact"), PUBLIC, "{to_carrier}");
            assert_eq!(to_teams.host_of("Contact"), TENANT, "{to_teams}");
            if !incoming {
                assert_eq!(to_carrier.sent_by(), format!("{PUBLIC}:5060"), "{to_carrier}");
            }
            for (end, own) in
                [(&mut call.carrier_media, CARRIER_SIDE), (&mut call.teams_media, EDGE)]
            {
                let told = end.remote.expect("an address");
                end.remote = Some(SocketAddr::new(scene.place.ip(own), told.port()));
            }
            call.talk();
            // Requests of the call name what Contact said.
            call.carrier_offers("sendonly", "inactive");
            call.carrier_offers("sendrecv", "sendrecv");
            call.talk();
            if incoming { call.carrier_hangs_up() } else { call.teams_hangs_up() }
        }
        asks(&carrier);
        sends_media_to_ourselves(&carrier);
        gateway.wait_records(3)[..2].iter().for_each(good);
        if transport == "udp" {
            let asked = carrier.inbox.all().into_iter().filter(|r| is(r, "OPTIONS"));
            let sent_by: Vec<_> = asked.map(|r| r.msg.sent_by().to_owned()).collect();
            assert!(
                sent_by.iter().all(|by| by.starts_with(PUBLIC)) && !sent_by.is_empty(),
                "{sent_by:?}"
            );
        }
        for received in carrier.inbox.all().iter().chain(&teams.inbox.all()) {
            for own in [EDGE, CARRIER_SIDE] {
                let (text, own) = (received.msg.to_string(), scene.place.ip(own).to_string());
                assert!(!text.contains(&own), "a private address is told:\n{text}");
            }
        }
    }
}

fn is(received: &Received, method: &str) -> bool {
    received.msg.is_request() && received.msg.method() == method
}

/// OPTIONS to the public address are for us.
fn asks(carrier: &Carrier) {
    let id = token("ping-");
    carrier.flow.send(format!(
        "OPTIONS sip:{gate} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{}>;tag=1\r\nTo: <sip:{gate}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        carrier.flow.transport(),
        carrier.persona.sent_by,
        carrier.ip(),
        gate = carrier.gate,
    ));
    carrier.inbox.take("200", |r| r.msg.call_id() == id && r.msg.status() == 200);
}

/// Media to a port of ours, by the name that the world knows it by: refused (AT-32).
fn sends_media_to_ourselves(carrier: &Carrier) {
    let sdp = MediaEnd::new(carrier.ip(), 7050).plain_sdp("sendrecv");
    let ours =
        sdp.replace(&carrier.ip().to_string(), PUBLIC).replace("m=audio 7050", "m=audio 20010");
    let mut call = carrier.call(CALLER, CALLED, &ours);
    let refusal = call.final_response().msg;
    assert_eq!(refusal.status(), 488, "{refusal}");
    call.ack_failure();
}

/// Hosts: what the carrier's descriptions name, where its media come from, and who else sends.
const DESCRIBED: u8 = 80;
const SENDING: u8 = 81;
const THIRD: u8 = 82;

#[test]
fn media_may_come_from_the_networks_of_the_trunk_and_no_third() {
    let mut scene = Scene::new("media_networks");
    let networks = format!(
        "media_networks = [\"signalled\", \"{}/32\", \"{}/32\"]",
        scene.place.ip(DESCRIBED),
        scene.place.ip(SENDING)
    );
    scene.trunk("carrier-a", "udp", CARRIER_A, &networks).usual_tenant();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    for (n, incoming) in (0..).zip([true, false]) {
        let mut stage = Elsewhere::new(&scene, incoming, (&teams, &flow, &carrier), 7000 + 4 * n);
        // A third network speaks before anybody else does, and all the while.
        stage.third_speaks();
        let before = gateway.figure("trunkgate_media_foreign_packets_total");
        talk(&mut stage.sending, &mut stage.teams_media, 40);
        stage.third_speaks();
        talk(&mut stage.sending, &mut stage.teams_media, 40);
        assert!(stage.third.hear().is_empty(), "media to a third network");
        assert!(
            stage.described.hear().is_empty(),
            "it does not send from there, so it is not sent to there"
        );
        stage.hangs_up();
        let record = &gateway.wait_records(1 + usize::from(n))[usize::from(n)];
        good(record);
        let side = if incoming { "caller" } else { "callee" };
        foreign_of(record, side);
        counted(&gateway, before);
    }
}

/// Without `media_networks` only what is described may send.
#[test]
fn media_from_another_network_than_is_described_are_refused() {
    let mut scene = Scene::new("no_media_networks");
    let near = format!("networks = [\"{}\"]", scene.place.net());
    let peer = format!("peers = [\"udp:{}:5060\"]", scene.place.ip(CARRIER_A));
    scene.trunk_text(&format!("name = \"carrier-a\"\n{peer}\n{near}")).usual_tenant();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    for (n, incoming) in (0..).zip([true, false]) {
        let mut stage = Elsewhere::new(&scene, incoming, (&teams, &flow, &carrier), 7000 + 4 * n);
        let before = gateway.figure("trunkgate_media_foreign_packets_total");
        for _ in 0..30 {
            stage.sending.speak();
            stage.teams_media.speak();
            thread::sleep(Duration::from_millis(4));
        }
        thread::sleep(Duration::from_millis(50));
        assert!(stage.teams_media.hear().is_empty() && stage.sending.hear().is_empty());
        // Where it says that it is, it is heard.
        talk(&mut stage.described, &mut stage.teams_media, 40);
        stage.hangs_up();
        let record = &gateway.wait_records(1 + usize::from(n))[usize::from(n)];
        good(record);
        foreign_of(record, if incoming { "caller" } else { "callee" });
        counted(&gateway, before);
    }
}

/// Packets that may not come are told of in the record, on the side that they came to and on no other.
fn foreign_of(record: &Value, side: &str) {
    for way in record["media"].as_array().expect("media") {
        let foreign = way["foreign"].as_u64().expect("a number");
        assert_eq!(foreign >= 20, way["from"] == side, "{record}");
    }
}

fn counted(gateway: &Gateway, before: f64) {
    gateway.until("counted", || {
        gateway.figure("trunkgate_media_foreign_packets_total") >= before + 20.0
    });
}

/// A call whose carrier describes one address and sends from another.
struct Elsewhere {
    call: (Dialog, Dialog),
    teams_media: MediaEnd,
    described: MediaEnd,
    sending: MediaEnd,
    third: MediaEnd,
}

impl Elsewhere {
    fn new(
        scene: &Scene,
        incoming: bool,
        (teams, flow, carrier): (&Teams, &Flow, &Carrier),
        port: u16,
    ) -> Self {
        let [mut described, mut sending, mut third] =
            [DESCRIBED, SENDING, THIRD].map(|host| MediaEnd::new(scene.place.ip(host), port));
        let mut teams_media = MediaEnd::new(scene.place.ip(PROXY), port);
        let sdp = described.plain_sdp("sendrecv");
        let (caller, callee, to_carrier);
        if incoming {
            let mut calling = carrier.call(CALLER, CALLED, &sdp);
            let (invite, called) = teams.invited();
            let (answer, ..) = answer_to(&mut teams_media, &invite.msg);
            called.reply(&invite, "200 OK", "", &answer);
            to_carrier = calling.response(200).msg;
            calling.ack();
            called.take("ACK");
            (caller, callee) = (calling, called);
        } else {
            let own = Crypto::fresh(1, CM_80);
            let offer = teams_media.secure_sdp(&[&own], "sendrecv", "");
            let mut calling = teams.call(flow, TENANT, CALLED, NUMBER, &offer);
            let (invite, called) = carrier.invited();
            called.reply(&invite, "200 OK", "", &sdp);
            let answer = calling.response(200).msg;
            calling.ack();
            called.take("ACK");
            teams_media.secure(&own, &Crypto::of(&answer));
            teams_media.towards(&answer);
            to_carrier = invite.msg;
            (caller, callee) = (calling, called);
        }
        for end in [&mut described, &mut sending, &mut third] {
            end.towards(&to_carrier);
        }
        Self { call: (caller, callee), teams_media, described, sending, third }
    }

    fn third_speaks(&mut self) {
        for _ in 0..20 {
            self.third.speak();
        }
        thread::sleep(Duration::from_millis(20));
        assert!(self.teams_media.hear().is_empty(), "a third network is heard");
    }

    fn hangs_up(&mut self) {
        self.call.0.send("BYE", "", "");
        self.call.1.hung_up();
        self.call.0.took_200("BYE");
    }
}
