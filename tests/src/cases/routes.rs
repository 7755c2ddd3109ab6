//! Where calls go: the next proxy, the next peer, peers by name, other edges and realms; and who
//! gets nowhere.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lab::pki::{KeyKind, Leaf};

use crate::harness::dialog::{Dialog, Invite, Persona, token};
use crate::harness::dns::NameServer;
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, CARRIER_B, CARRIER_SIDE, DNS, PROXY, STRANGER};
use crate::harness::scene::{Scene, Teams, options_without_contact};
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};
use crate::harness::wire::{End, Inbox};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

fn offer(teams: &Teams, port: u16) -> String {
    let media = MediaEnd::new(teams.place.ip(PROXY), port);
    media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "")
}

/// The first proxy is not there: the call goes by the second.
#[test]
fn tr_006_the_next_proxy_is_taken_when_the_first_is_gone() {
    let mut scene = Scene::usual("tr_006");
    scene.proxies(3);
    // Only sip2 and sip3 listen.
    let leaf = Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
    let identity = scene.pki.issue("teams", &leaf).unwrap();
    let server = crate::harness::tls::server(&identity, &scene.ca());
    let mut teams =
        Teams::start(&scene, 0, Box::new(options_without_contact), &identity, server.clone());
    for host in [PROXY + 1, PROXY + 2] {
        teams.end.listen_tls(scene.place.at(host, 5061), server.clone());
    }
    teams.persona.record_route = Some("<sip:sip2.teams.test:5061;transport=tls;lr>".to_owned());
    let carrier = scene.carrier_udp(CARRIER_A);
    let gateway = scene.start();
    gateway.healthy();
    let start = Instant::now();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(call.invite.uri().contains("@sip2.teams.test"), "{}", call.invite.uri());
    call.talk();
    call.carrier_hangs_up();
}

/// 503 is not an answer: the INVITE goes on to the next proxy at once.
#[test]
fn tr_032_after_503_the_next_proxy_is_asked() {
    let mut scene = Scene::usual("tr_032");
    scene.proxies(2);
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let media = MediaEnd::new(carrier.ip(), 7000);
    let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
    let (first, refusing) = teams.invited();
    refusing.reply(&first, "503 Service Unavailable", "Retry-After: 1\r\n", "");
    let (second, callee) = teams.invited();
    let gap = second.at.duration_since(first.at);
    assert!(gap < Duration::from_millis(500), "{gap:?}");
    assert_ne!(first.flow.local().ip(), second.flow.local().ip());
    assert_ne!(first.msg.branch(), second.msg.branch());
    callee.is_busy(&second, &mut caller);
    teams.not_invited();
    let record = &gateway.wait_records(1)[0];
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(2), "{record}");
}

#[test]
fn tr_033_without_any_proxy_the_trunk_hears_503_soon() {
    let mut scene = Scene::usual("tr_033");
    scene.proxies(3);
    let carrier = scene.carrier_udp(CARRIER_A);
    let _gateway = scene.start();
    let media = MediaEnd::new(carrier.ip(), 7000);
    let start = Instant::now();
    let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
    let refusal = caller.final_response();
    assert_eq!(refusal.msg.status(), 503);
    assert!(start.elapsed() < Duration::from_secs(8));
    caller.ack_failure();
}

#[test]
fn tr_035_a_dead_carrier_is_503_or_504_before_any_18x() {
    let scene = Scene::usual("tr_035");
    let teams = scene.teams();
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    // A socket that swallows everything: silence, not ICMP.
    let _silence = std::net::UdpSocket::bind(scene.place.at(CARRIER_A, 5060)).unwrap();
    let start = Instant::now();
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
    let refusal = call.final_response();
    assert!(matches!(refusal.msg.status(), 503 | 504), "{}", refusal.msg);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    call.ack_failure();
    let all = teams.inbox.all();
    assert!(all.iter().all(|r| !(101..200).contains(&r.msg.status())), "an 18x before it");
}

/// Peers of a trunk in order: silent, refusing, answering.
#[test]
fn the_next_peer_of_a_trunk_is_tried() {
    let mut scene = Scene::new("next_peer");
    let place = scene.place;
    let (silent, busy, good) = (place.ip(60), place.ip(CARRIER_B), place.ip(CARRIER_A));
    scene
        .trunk_text(&format!(
            "name = \"carrier-a\"\npeers = [\"udp:{silent}:5060\", \"udp:{busy}:5060\", {{ uri = \"udp:{good}:5060\" }}]\nnetworks = [\"{good}/32\"]"
        ))
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
    let _silence = std::net::UdpSocket::bind(place.at(60, 5060)).unwrap();
    let (teams, refusing, answering) =
        (scene.teams(), scene.carrier_udp(CARRIER_B), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
    let (invite, callee) = refusing.invited();
    callee.reply(&invite, "503 Service Unavailable", "", "");
    let (invite, callee) = answering.invited();
    callee.is_busy(&invite, &mut call);
    let record = &gateway.wait_records(1)[0];
    let attempts = record["attempts"].as_array().expect("attempts");
    let statuses: Vec<_> = attempts.iter().map(|a| a["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [408, 503, 486], "{record}");
}

/// A peer that is a name without port: SRV by priority, then addresses (RFC 3263, RFC 2782).
#[test]
fn a_peer_by_name_is_located_by_srv() {
    let mut scene = Scene::new("by_srv");
    let place = scene.place;
    let networks = place.net();
    scene
        .trunk_text(&format!(
            "name = \"carrier-a\"\npeers = [\"udp:pbx.carrier.test\"]\nnetworks = [\"{networks}\"]"
        ))
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
    let names = HashMap::from([
        ("one.carrier.test".to_owned(), place.ip(CARRIER_A)),
        ("two.carrier.test".to_owned(), place.ip(CARRIER_B)),
    ]);
    let services = HashMap::from([(
        "_sip._udp.pbx.carrier.test".to_owned(),
        vec![(20, 5060, "one.carrier.test".to_owned()), (10, 5060, "two.carrier.test".to_owned())],
    )]);
    let _dns = NameServer::with_services(place.at(DNS, 53), names, services);
    let (teams, one, two) =
        (scene.teams(), scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut call = teams.call(&flow, TENANT, CALLED, NUMBER, &offer(&teams, 7000));
    let (invite, callee) = two.invited();
    callee.reply(&invite, "503 Service Unavailable", "", "");
    let (invite, callee) = one.invited();
    callee.is_busy(&invite, &mut call);
}

/// The long form: another edge with its own name, certificate and media; another realm on IPv6.
#[test]
fn a_second_edge_and_a_realm_on_ipv6() {
    let mut scene = Scene::new("long_form");
    let place = scene.place;
    let leaf = Leaf::gateway("gov.test").key(KeyKind::EcdsaP256);
    let other = scene.pki.issue("gov", &leaf).unwrap();
    let (edge, port) = (place.ip(12), 5061);
    let base = place.ipv6_port(0);
    scene
        .tables(&format!(
            r#"[[edge]]
name = "gov"
fqdn = "gov.test"
listen = "{edge}:{port}"
proxies = ["sip.teams.test"]
certificate_names = ["sip.teams.test"]
roots = "{roots}"
networks = ["{net}"]
certificate = "{certificate}"
key = "{key}"
media = "gov"

[[realm]]
name = "inside"
listen = ["udp:[::1]:{sip}"]
media = {{ address = "::1", ports = "{first}-{last}" }}

[[trunk]]
name = "pbx"
realm = "inside"
peers = ["udp:[::1]:{peer}"]
networks = ["::1/128"]"#,
            roots = scene.ca().display(),
            net = place.net(),
            certificate = other.certificate.display(),
            key = other.key.display(),
            sip = base,
            peer = base + 1,
            first = base + 10,
            last = base + 49,
        ))
        .media(&format!("gov = {{ address = \"{edge}\", ports = \"20000-20099\" }}"))
        .tenant("t009", &["pbx"], &["+15550090000-+15550099999"], "edges = [\"gov\"]");
    let teams = scene.teams();
    let inbox = Inbox::new("pbx", Box::new(|_| false));
    let mut end = End::new(inbox.clone());
    let address: SocketAddr = format!("[::1]:{}", base + 1).parse().unwrap();
    end.listen_udp(address);
    let persona = Persona::at(address, &inbox);
    let gateway = scene.start();
    gateway.healthy();
    let to = end.udp_to(format!("[::1]:{base}").parse().unwrap());
    let mut near = MediaEnd::new(address.ip(), base + 60);
    let mut far = MediaEnd::new(place.ip(PROXY), 7000);
    let mut caller = Dialog::invite(
        &persona,
        &to,
        &Invite {
            uri: &format!("sip:+15550090001@[::1]:{base}"),
            from: "<sip:+442071230000@[::1]>",
            to: "<sip:+15550090001@[::1]>",
            extra: "",
            sdp: &near.plain_sdp("sendrecv"),
        },
    );
    let (invite, callee) = teams.invited();
    assert_eq!(invite.msg.host_of("Contact"), "t009.gov.test");
    assert_eq!(invite.flow.remote().ip(), edge, "the call leaves by its edge");
    assert_eq!(invite.flow.tls().chain, crate::harness::tls::chain(&other.certificate));
    assert_eq!(invite.msg.media().ip(), edge);
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    assert_eq!(answer.msg.line('c'), Some("IN IP6 ::1"));
    near.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    caller.send("BYE", "", "");
    callee.hung_up();
    caller.took_200("BYE");
}

/// Who is no trunk is told as little as possible, and nothing of it reaches anybody.
#[test]
fn strangers_reach_nobody() {
    let scene = Scene::usual("strangers");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let stranger = scene.carrier_udp(STRANGER);
    let media = MediaEnd::new(stranger.ip(), 7000);
    // Everything but the source says carrier-a.
    let (trunk, gate) = (carrier.ip(), scene.place.at(CARRIER_SIDE, 5060));
    let call = Dialog::invite(
        &stranger.persona,
        &stranger.flow,
        &Invite {
            uri: &format!("sip:{CALLED}@{gate}"),
            from: &format!("<sip:{CALLER}@{trunk}>"),
            to: &format!("<sip:{CALLED}@{gate}>"),
            extra: &format!(
                "Record-Route: <sip:{trunk};lr>\r\nP-Asserted-Identity: <sip:{CALLER}@{trunk}>\r\n"
            ),
            sdp: &media.plain_sdp("sendrecv"),
        },
    );
    for method in ["REGISTER", "OPTIONS", "SUBSCRIBE", "BYE"] {
        stranger.flow.send(format!(
            "{method} sip:{gate} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\nFrom: <sip:100@{trunk}>;tag=1\r\n\
             To: <sip:100@{trunk}>\r\nCall-ID: {}\r\nCSeq: 1 {method}\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n",
            stranger.ip(),
            token("s"),
            token("stranger-"),
        ));
    }
    teams.not_invited();
    carrier.not_invited();
    for received in stranger.inbox.all() {
        let msg = &received.msg;
        assert!(!(200..300).contains(&msg.status()), "{msg}");
        assert!(
            msg.get("Server").is_none() && msg.get("Allow").is_none(),
            "too much is told:\n{msg}"
        );
    }
    drop(call);
    assert!(gateway.records().is_empty());
}

/// The carrier's own OPTIONS are answered.
#[test]
fn options_of_a_trunk_are_answered() {
    let scene = Scene::usual("trunk_options");
    let carrier = scene.carrier_udp(CARRIER_A);
    let _gateway = scene.start();
    let gate = scene.place.at(CARRIER_SIDE, 5060);
    let call_id = token("ping-");
    carrier.flow.send(format!(
        "OPTIONS sip:{gate} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{call_id};rport\r\nMax-Forwards: 70\r\nFrom: <sip:{}>;tag=1\r\n\
         To: <sip:{gate}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        scene.place.at(CARRIER_A, 5060),
        carrier.ip(),
    ));
    carrier.inbox.take("200", |r| r.msg.status() == 200 && r.msg.call_id() == call_id);
}

/// A loop, and a message that has gone too far.
#[test]
fn max_forwards_ends_a_loop() {
    let scene = Scene::usual("max_forwards");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let gate = scene.place.at(CARRIER_SIDE, 5060);
    let media = MediaEnd::new(carrier.ip(), 7000);
    let to = format!("<sip:{CALLED}@{gate}>");
    let uri = format!("sip:{CALLED}@{gate}");
    let from = format!("<sip:{CALLER}@{}>", carrier.ip());
    let sdp = media.plain_sdp("sendrecv");
    let invite = Invite { uri: &uri, from: &from, to: &to, extra: "", sdp: &sdp };
    let mut call = Dialog::prepare(&carrier.persona, &carrier.flow, &invite);
    let text = call.invite_text(&invite).replace("Max-Forwards: 70", "Max-Forwards: 0");
    carrier.flow.send(text);
    assert_eq!(call.final_response().msg.status(), 483);
    call.ack_failure();
    let mut call = Dialog::prepare(&carrier.persona, &carrier.flow, &invite);
    let text = call.invite_text(&invite).replace("Max-Forwards: 70", "Max-Forwards: 5");
    carrier.flow.send(text);
    let (received, callee) = teams.invited();
    assert_eq!(received.msg.need("Max-Forwards"), "4");
    callee.is_busy(&received, &mut call);
}
