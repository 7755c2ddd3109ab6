//! Upgrade in place: a new process takes over from the running one, and no call notices (R03).

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use rustix::process::Signal;

use crate::harness::dialog::Dialog;
use crate::harness::gateway::Gateway;
use crate::harness::media::{Crypto, MediaEnd};
use crate::harness::peer::Sipp;
use crate::harness::place::{ADMIN, CARRIER_A, CARRIER_SIDE, PROXY};
use crate::harness::robot::{ANSWERED, answers};
use crate::harness::scene::{Carrier, FQDN, Scene, Teams};
use crate::harness::stream::Stream;
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};

const TENANT: &str = "t001.sbc.test";

/// A second process takes over; the first is still there.
fn succeed(scene: &Scene, old: &Gateway) -> Gateway {
    let began = Instant::now();
    let new = scene.upgrade();
    eprintln!("upgrade took {:?}", began.elapsed());
    old.until("handed over", || old.log().contains("another process has taken over"));
    new
}

fn ends(mut old: Gateway) {
    let status = old.wait(Duration::from_secs(40));
    assert!(status.success(), "{status}: {}", old.log());
}

#[test]
fn r03_calls_go_on_across_an_upgrade_and_end_from_either_side() {
    let scene = Scene::usual("r03_calls_go_on");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let flow = teams.connect(TENANT);
    let mut calls: Vec<_> = (0..4)
        .map(|n| {
            let called = format!("+1555001000{n}");
            Talking::incoming_from(&teams, &carrier, &called, 7200 + 2 * n)
        })
        .collect();
    let mut outgoing = Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442071230009");
    calls.iter_mut().for_each(Talking::talk);
    outgoing.talk();

    let new = succeed(&scene, &old);
    calls.iter_mut().for_each(Talking::talk);
    outgoing.talk();
    calls[0].carrier_offers("sendonly", "recvonly");
    calls[0].carrier_offers("sendrecv", "sendrecv");
    calls[1].teams_offers("sendonly", "recvonly");
    calls[1].teams_offers("sendrecv", "sendrecv");
    outgoing.carrier_offers("sendonly", "recvonly");
    outgoing.teams_offers("sendrecv", "sendrecv");
    calls.iter_mut().for_each(Talking::talk);
    outgoing.talk();
    // Teams speaks on another connection, which leads to the new process.
    let other = teams.connect(TENANT);
    calls[2].teams.flow = other.clone();
    calls[2].teams_offers("sendonly", "recvonly");
    calls[2].teams_offers("sendrecv", "sendrecv");
    calls[2].talk();
    // A new call, on a connection of the old process: its own, and both ends end it.
    let mut young = Talking::incoming_from(&teams, &carrier, CALLED, 7300);
    young.talk();
    for (n, call) in calls.into_iter().enumerate() {
        if n % 2 == 0 { call.teams_hangs_up() } else { call.carrier_hangs_up() }
    }
    outgoing.carrier_hangs_up();
    ends(old);
    young.talk();
    young.teams_hangs_up();
    let records = new.wait_records(6);
    assert_eq!(ids(&new).len(), records.len());
    assert_eq!(records.len(), 6);
}

#[test]
fn r03_a_ringing_call_is_answered_or_cancelled_across_an_upgrade() {
    let scene = Scene::usual("r03_a_ringing_call");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let flow = teams.connect(TENANT);
    let ring = |n: u16| {
        let media = MediaEnd::new(carrier.ip(), 7400 + 2 * n);
        let mut caller = carrier.call(CALLER, CALLED, &media.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        callee.reply(&invite, "180 Ringing", "", "");
        caller.response(180);
        (media, caller, invite, callee)
    };
    let (_answered_media, mut answered, answered_invite, answerer) = ring(0);
    let (_cancelled_media, mut cancelled, _, loser) = ring(1);
    let (_refused_media, mut refused, refused_invite, refuser) = ring(2);
    // One from Teams, on its own connection, which the old process keeps.
    let mut own_media = MediaEnd::new(teams.place.ip(PROXY), 7500);
    let own = Crypto::fresh(1, crate::harness::media::CM_80);
    let offer = own_media.secure_sdp(&[&own], "sendrecv", "");
    own_media.remote = None;
    let mut from_teams = teams.call(&flow, TENANT, CALLED, "+442071230010", &offer);
    let (to_carrier, carrier_leg) = carrier.invited();
    carrier_leg.reply(&to_carrier, "180 Ringing", "", "");
    from_teams.response(180);

    let new = succeed(&scene, &old);
    let mut teams_media = MediaEnd::new(teams.place.ip(PROXY), 7600);
    let (sdp, ..) = answer_to(&mut teams_media, &answered_invite.msg);
    answerer.reply(&answered_invite, "200 OK", "", &sdp);
    answered.response(200);
    answered.ack();
    answerer.take("ACK");
    cancelled.cancel("");
    cancelled.took_200("CANCEL");
    let lost = loser.take("CANCEL");
    loser.reply(&lost, "200 OK", "", "");
    cancelled.response(487);
    cancelled.ack_failure();
    refuser.reply(&refused_invite, "486 Busy Here", "", "");
    refused.response(486);
    refused.ack_failure();
    // Teams cancels by another connection than the one that brought the INVITE.
    from_teams.flow = teams.connect(TENANT);
    from_teams.cancel("");
    from_teams.took_200("CANCEL");
    let given_up = carrier_leg.take("CANCEL");
    carrier_leg.reply(&given_up, "200 OK", "", "");
    carrier_leg.reply(&to_carrier, "487 Request Terminated", "", "");
    carrier_leg.take("ACK");
    let ended = from_teams.response(487);
    assert!(ended.flow.same(&flow), "an answer goes back on the connection of its request");
    answered.send("BYE", "", "");
    answerer.hung_up();
    answered.took_200("BYE");
    new.wait_records(4);
    ends(old);
}

#[test]
fn r03_connections_to_the_old_process_serve_until_they_are_closed() {
    let scene = Scene::usual("r03_connections_to_the_old_process");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let flow = teams.connect(TENANT);
    teams.ping(&flow, FQDN);
    let mut staying = Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442071230009");

    let new = succeed(&scene, &old);
    // OPTIONS and a call on the old connection: served by the new process, not refused.
    let id = teams.ping(&flow, FQDN);
    let answer = teams.inbox.take("answer to OPTIONS", |r| r.msg.call_id() == id);
    assert_eq!(answer.msg.status(), 200, "{}", answer.msg);
    staying.talk();
    staying.teams_hangs_up();
    let young = Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442071230011");
    new.until("metrics", || new.get("/metrics").1.contains("trunkgate_calls_started_total 1"));
    // When nothing is set up on it, the old process closes it, and ends; peers come to the new one.
    ends(old);
    teams.inbox.until("closed", Duration::from_secs(5), |_, _| flow.is_closed());
    let mut young = young;
    young.talk();
    young.teams.flow = teams.connect(TENANT);
    young.teams_hangs_up();
    let again = teams.connect(TENANT);
    Talking::outgoing(&teams, &again, TENANT, &carrier, "+442071230012").carrier_hangs_up();
    new.wait_records(3);
}

#[test]
fn r03_one_upgrade_after_the_other() {
    let scene = Scene::usual("r03_one_upgrade_after_the_other");
    let teams = scene.teams();
    let first = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    first.healthy();
    let flow = teams.connect(TENANT);
    let mut generations = vec![first];
    let mut calls = Vec::new();
    for n in 0..4_u16 {
        let mut call = Talking::incoming_from(&teams, &carrier, CALLED, 7200 + 2 * n);
        call.talk();
        calls.push(call);
        if n < 3 {
            let new = succeed(&scene, generations.last().unwrap());
            generations.push(new);
        }
    }
    teams.inbox.until("closed", Duration::from_secs(5), |_, _| flow.is_closed());
    let flow = teams.connect(TENANT);
    let mut outgoing = Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442071230009");
    for call in &mut calls {
        call.talk();
        call.carrier_offers("sendonly", "recvonly");
        call.teams_offers("sendrecv", "sendrecv");
    }
    outgoing.talk();
    outgoing.teams_hangs_up();
    // The one in the middle first: those before it still need it.
    let middle = calls.remove(1);
    middle.teams_hangs_up();
    for call in &mut calls {
        call.talk();
    }
    for call in calls {
        call.carrier_hangs_up();
    }
    let newest = generations.pop().unwrap();
    newest.wait_records(5);
    generations.into_iter().for_each(ends);
    Talking::incoming_from(&teams, &carrier, CALLED, 7300).carrier_hangs_up();
    newest.wait_records(6);
    assert_eq!(ids(&newest).len(), 6);
}

#[test]
fn r03_a_second_process_is_refused_and_an_upgrade_that_fails_changes_nothing() {
    let scene = Scene::usual("r03_a_second_process");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let admin = scene.place.at(ADMIN, 8080);

    let mut second = Gateway::launch(&scene.write(), scene.state(), admin, false);
    assert_eq!(second.wait(Duration::from_secs(10)).code(), Some(1));
    let log = second.log();
    assert!(log.contains("another trunkgate runs with this state directory"), "{log}");

    let text = std::fs::read_to_string(scene.write()).unwrap();
    let bad = scene.dir().join("bad.toml");
    std::fs::write(&bad, text.replace("[carrier]", "[carier]")).unwrap();
    let mut failed = Gateway::launch(&bad, scene.state(), admin, true);
    assert_eq!(failed.wait(Duration::from_secs(10)).code(), Some(78));

    // Its own listener is taken by somebody else: it fails after the offer.
    let taken = std::net::UdpSocket::bind(scene.place.at(CARRIER_SIDE, 5090)).unwrap();
    let more = format!(":5060\", \"udp:{}\", \"tcp:", taken.local_addr().unwrap());
    let more = text.replace(":5060\", \"tcp:", &more);
    assert_ne!(more, text);
    std::fs::write(&bad, more).unwrap();
    let mut failed = Gateway::launch(&bad, scene.state(), admin, true);
    assert_eq!(failed.wait(Duration::from_secs(10)).code(), Some(1), "{}", failed.log());
    old.until("noticed", || old.log().contains("nothing has changed"));

    // Another version; nothing but noise; and one that dies after the offer.
    let mut speaker = Speaker::connect(&scene);
    speaker.say(r#"{"Hello":{"version":0,"program":"0.0.1"}}"#);
    assert!(speaker.hear().contains("another version"));
    Speaker::connect(&scene).say("noise");
    let hello = r#"{"Hello":{"version":1,"program":"0.0.1"}}"#;
    let (mut speaker, mut heard) = (Speaker::connect(&scene), String::new());
    old.until("rid of the noise", || {
        speaker = Speaker::connect(&scene);
        speaker.say(hello);
        heard = speaker.hear();
        heard.contains("Welcome")
    });
    let mut busy = Speaker::connect(&scene);
    busy.say(hello);
    assert!(busy.hear().contains("another upgrade"));
    drop(speaker);

    call.talk();
    call.carrier_offers("sendonly", "recvonly");
    call.teams_offers("sendrecv", "sendrecv");
    let mut later = Talking::incoming_from(&teams, &carrier, CALLED, 7020);
    later.talk();
    assert_eq!(old.get("/health").0, 200);
    // And then it succeeds.
    let new = succeed(&scene, &old);
    call.talk();
    call.teams_hangs_up();
    later.carrier_hangs_up();
    ends(old);
    Talking::incoming_from(&teams, &carrier, CALLED, 7040).carrier_hangs_up();
    new.wait_records(3);
}

#[test]
fn r03_a_new_process_that_dies_leaves_everything_to_the_old_one() {
    let scene = Scene::usual("r03_a_new_process_that_dies");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let mut new = succeed(&scene, &old);
    new.healthy();
    call.talk();
    let mut young = Talking::incoming_from(&teams, &carrier, "+15550010002", 7060);
    young.talk();
    new.signal(Signal::KILL);
    new.wait(Duration::from_secs(5));
    old.until("serving again", || old.log().contains("serving again"));
    old.healthy();
    // Not only its own calls: it goes on with those of the dead process too.
    old.until("heir to the heir", || old.log().contains("taken up"));
    young.talk();
    young.carrier_hangs_up();
    call.carrier_offers("sendonly", "recvonly");
    call.teams_offers("sendrecv", "sendrecv");
    call.talk();
    let mut later = Talking::incoming_from(&teams, &carrier, CALLED, 7020);
    later.talk();
    let flow = teams.connect(TENANT);
    Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442071230009").teams_hangs_up();
    // The next one takes over from it.
    let next = succeed(&scene, &old);
    call.teams_hangs_up();
    later.carrier_hangs_up();
    ends(old);
    Talking::incoming_from(&teams, &carrier, CALLED, 7040).carrier_hangs_up();
    next.wait_records(5);
    assert_eq!(ids(&next).len(), 5);
}

#[test]
fn r03_an_old_process_that_dies_leaves_its_calls_to_the_new_one() {
    let scene = Scene::usual("r03_an_old_process_that_dies");
    let teams = scene.teams();
    let mut first = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    first.healthy();
    let mut calls = vec![Talking::incoming_from(&teams, &carrier, CALLED, 7200)];
    let mut second = succeed(&scene, &first);
    calls.push(Talking::incoming_from(&teams, &carrier, CALLED, 7220));
    let third = succeed(&scene, &second);
    calls.push(Talking::incoming_from(&teams, &carrier, CALLED, 7240));
    calls.iter_mut().for_each(Talking::talk);

    // The one in the middle dies: the first is cut off by that and leaves, and the third goes on with all calls.
    second.signal(Signal::KILL);
    second.wait(Duration::from_secs(5));
    first.wait(Duration::from_secs(5));
    third.until("their heir", || third.get("/metrics").1.contains("trunkgate_active_calls 3"));
    calls.iter_mut().for_each(Talking::talk);
    // The connections of the dead processes are gone with them.
    let flow = teams.connect(TENANT);
    for (n, mut call) in calls.into_iter().enumerate() {
        call.teams.flow = flow.clone();
        if n == 1 { call.teams_hangs_up() } else { call.carrier_hangs_up() }
    }
    third.wait_records(3);
    assert_eq!((third.records().len(), ids(&third).len()), (3, 3));
    Talking::incoming_from(&teams, &carrier, CALLED, 7260).carrier_hangs_up();
}

#[test]
fn r03_an_order_to_stop_reaches_every_generation() {
    let scene = Scene::usual("r03_an_order_to_stop");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let first = Talking::incoming(&teams, &carrier, CALLED);
    let mut new = succeed(&scene, &old);
    let second = Talking::incoming_from(&teams, &carrier, CALLED, 7020);
    new.signal(Signal::TERM);
    new.until("stopping", || new.log().contains("no new calls"));
    assert_eq!(new.get("/health").0, 503);
    second.carrier_hangs_up();
    thread::sleep(Duration::from_millis(300));
    assert!(new.is_running(), "the old process has a call, and is heard through this one");
    first.carrier_hangs_up();
    ends(old);
    assert!(new.wait(Duration::from_secs(10)).success());
    assert_eq!(new.records().len(), 2);
}

#[test]
fn r03_calls_beyond_the_limit_of_an_upgrade_are_ended() {
    let mut scene = Scene::usual("r03_calls_beyond_the_limit");
    scene.gateway_keys("upgrade_drain = \"2s\"");
    let teams = scene.teams();
    let old = scene.start();
    let carrier = scene.carrier_udp(CARRIER_A);
    old.healthy();
    let call = Talking::incoming(&teams, &carrier, CALLED);
    let new = succeed(&scene, &old);
    let (teams_leg, carrier_leg) = (call.teams, call.carrier);
    teams_leg.hung_up();
    carrier_leg.hung_up();
    ends(old);
    let records = new.wait_records(1);
    assert_eq!(records[0]["ended_by"], "gateway");
}

/// 20 calls a second from a carrier by SIPp, calls from Teams on one connection, and four calls with media, over three
/// upgrades.
#[test]
fn r03_upgrade_at_twenty_calls_a_second_loses_no_call_and_no_media() {
    let mut scene = Scene::within("r03_upgrade_at_twenty", Duration::from_secs(180));
    scene.ports("20000-20999");
    scene.trunk("carrier-a", "udp", CARRIER_A, "").trunk("load", "udp", 60, "").tenant(
        "t001",
        &["carrier-a", "load"],
        &["+15550010000-+15550019999"],
        "",
    );
    let teams = scene.teams_with(1, Box::new(answers));
    let carrier = scene.carrier_udp(CARRIER_A);
    let mut gateways = vec![scene.start()];
    gateways[0].healthy();
    let place = scene.place;
    let streams: Vec<_> = (0..4).map(|n| streaming(&teams, &carrier, 7700 + 2 * n)).collect();
    let call = (place.at(CARRIER_SIDE, 5060), CALLER, ANSWERED);
    let mut sipp = Sipp::load(scene.dir(), place.at(60, 5060), call, (20, 500, 3000), &[]);
    let mut upgrades = Vec::new();
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(5));
        let began = Instant::now();
        let new = scene.upgrade();
        upgrades.push(began.elapsed());
        gateways.push(new);
    }
    sipp.done(Duration::from_secs(60));
    let figures = ["SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)"];
    let [good, failed, repeats] = figures.map(|name| sipp.figure(name));
    let mut worst = Duration::ZERO;
    let mut lost = 0;
    for (mut caller, callee, stream) in streams {
        let (_, _, heard) = stream.stop();
        for way in heard {
            assert!(way.sent > 500, "{way:?}");
            worst = worst.max(way.gap);
            lost += way.lost;
        }
        caller.send("BYE", "", "");
        callee.hung_up();
        caller.took_200("BYE");
    }
    eprintln!(
        "3 upgrades ({upgrades:?}) at 20 calls/s: {good} good, {failed} failed, {repeats} repeated; RTP: longest gap {worst:?}, {lost} lost"
    );
    assert_eq!((good, failed, lost), (500, 0, 0));
    assert!(worst <= Duration::from_millis(100), "{worst:?}");
    let newest = gateways.pop().unwrap();
    gateways.into_iter().for_each(ends);
    let records = newest.wait_records(504);
    assert_eq!((records.len(), ids(&newest).len()), (504, 504));
}

fn ids(gateway: &Gateway) -> BTreeSet<String> {
    gateway.records().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

/// A call from the carrier with media that goes on.
fn streaming(teams: &Teams, carrier: &Carrier, port: u16) -> (Dialog, Dialog, Stream) {
    let mut call = Talking::incoming_from(teams, carrier, "+15550010001", port);
    call.talk();
    let Talking { teams, carrier, teams_media, carrier_media, .. } = call;
    (carrier, teams, Stream::start(carrier_media, teams_media))
}

/// Another program at the gateway's control socket.
struct Speaker(OwnedFd);

impl Speaker {
    fn connect(scene: &Scene) -> Self {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let address = SocketAddrUnix::new(scene.state().join("control.sock")).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        let limit = Some(Duration::from_secs(5));
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            limit,
        )
        .unwrap();
        Self(socket)
    }

    fn say(&mut self, json: &str) {
        let mut packet = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
        packet.extend_from_slice(json.as_bytes());
        rustix::net::send(&self.0, &packet, SendFlags::NOSIGNAL).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut buffer = vec![0; 65_536];
        let (length, _) =
            rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()).expect("an answer");
        String::from_utf8_lossy(&buffer[4.min(length)..length]).into_owned()
    }
}
