//! A call with three next hops, of which the first swallows everything, the second answers 503, and the third works:
//! inside the time table, in one record; and the first is back after three good answers to OPTIONS in a row, not before.
//! The hops are peers of one trunk over UDP, the same over TCP, and trunks of one tenant.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::black_hole::BlackHole;
use crate::harness::dialog::Dialog;
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::PROXY;
use crate::harness::scene::{Carrier, Scene, Teams, answer_options_by};
use crate::harness::talking::CALLED;
use crate::harness::wire::{Auto, Flow, Received};

const TENANT: &str = "t001.sbc.test";
/// Hosts of the three hops.
const HOPS: [u8; 3] = [60, 61, 62];
/// All three hops together, at the most.
const ALL: Duration = Duration::from_secs(4);
/// Between OPTIONS to a peer that is away: 5 s, less what one may be under way longer than the next.
const GAP: Duration = Duration::from_millis(4500);

/// The hops are peers of one trunk, or a trunk each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hops {
    Peers,
    Trunks,
}

#[test]
fn r08_a_black_hole_a_503_and_a_peer_that_works_over_udp() {
    // A bad answer between the good ones: they have to be in a row.
    three_hops("udp", Hops::Peers, &["200 OK", "404 Not Found", "503 Service Unavailable"]);
}

#[test]
fn r08_a_black_hole_a_503_and_a_peer_that_works_over_tcp() {
    three_hops("tcp", Hops::Peers, &[]);
}

#[test]
fn r08_a_black_hole_a_503_and_a_trunk_that_works() {
    three_hops("udp", Hops::Trunks, &[]);
}

/// What swallows everything.
enum Hole {
    Udp { _socket: UdpSocket },
    Tcp { _listener: BlackHole },
}

struct Stage {
    scene: Scene,
    teams: Teams,
    flow: Flow,
    second: Carrier,
    third: Carrier,
    calls: u32,
}

/// `before`: how the first hop answers OPTIONS once it is there again, before it answers well for good.
fn three_hops(transport: &str, hops: Hops, before: &'static [&'static str]) {
    let mut scene = Scene::within("three_hops", Duration::from_secs(120));
    let ips = HOPS.map(|host| scene.place.ip(host));
    configure(&mut scene, transport, hops, ips);
    let first = scene.place.at(HOPS[0], 5060);
    let hole = hole(transport, first);
    let teams = scene.teams();
    let gateway = scene.start();
    let [second, third] = [HOPS[1], HOPS[2]].map(|host| carrier(&scene, transport, host, None));
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut stage = Stage { scene, teams, flow, second, third, calls: 0 };

    // The call itself: silence for as long as the table says, 503, an answer; then it is talked and hung up.
    let silence = if transport == "tcp" { 1500 } else { 2500 };
    let (to_second, to_third) = stage.talks();
    eprintln!(
        "measured: {transport}: second hop after {} ms, third {} ms later",
        to_second.as_millis(),
        to_third.as_millis()
    );
    let silence = Duration::from_millis(silence);
    assert!(to_second >= silence && to_second + to_third < ALL, "{to_second:?}, {to_third:?}");
    let records = gateway.wait_records(1);
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    let attempts = record["attempts"].as_array().expect("attempts");
    let to: Vec<_> = attempts.iter().map(|a| a["to"].as_str().unwrap().to_owned()).collect();
    assert!(
        to.len() == 3 && to.iter().zip(ips).all(|(to, ip)| to.contains(&ip.to_string())),
        "{to:?}"
    );
    let statuses: Vec<_> = attempts.iter().map(|a| a["status"].as_u64().unwrap()).collect();
    // 0: no connection came about.
    let nothing = if transport == "tcp" { 0 } else { 408 };
    assert_eq!(statuses, [nothing, 503, 200], "{record}");
    let times: Vec<_> = attempts.iter().map(|a| a["t"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(record["cause"]["sip"], 200, "{record}");
    let trunk = if hops == Hops::Trunks { "carrier-3" } else { "carrier-1" };
    assert_eq!(record["legs"][1]["trunk"], trunk, "{record}");

    // While it is away it costs nobody anything.
    let took = stage.goes_by_second(None);
    assert!(took < silence, "{took:?}");
    let up = |state: u8| {
        let peer = format!("{transport}:{first}");
        let line = format!("trunkgate_peer_up{{trunk=\"carrier-1\",peer=\"{peer}\"}} {state}");
        gateway.get("/metrics").1.contains(&line)
    };
    assert!(up(0), "{}", gateway.get("/metrics").1);

    // It is there again, and asked.
    drop(hole);
    let (asked, auto) = answering(before);
    let back = carrier(&stage.scene, transport, HOPS[0], Some(auto));
    let enough = before.len() + 3;
    for answered in 1..enough {
        wait_for(&asked, answered);
        // Time to be wrong.
        thread::sleep(Duration::from_millis(150));
        assert!(up(0), "after {answered} answers");
        stage.goes_by_second(Some(&back));
    }
    wait_for(&asked, enough);
    gateway.until("up", || up(1));
    let at = asked_at(&back);
    assert!(at.windows(2).all(|two| two[1] - two[0] > GAP), "asked faster than each 5 s: {at:?}");
    let number = stage.next_number();
    let mut call = stage.calls_out(&number);
    let invite = invited(&back, &number);
    Dialog::answering(&back.persona, &invite).is_busy(&invite, &mut call);
    let elsewhere = [&stage.second, &stage.third].map(|other| invites(other, &number));
    assert_eq!(elsewhere, [0, 0], "the first hop comes first again");
    assert_eq!(asked.load(Ordering::Relaxed), enough, "a peer that is well is not asked any more");
    // Each call has its record, and in each stands what was tried.
    let records = gateway.wait_records(enough + 2);
    let tried: Vec<_> = records.iter().map(|r| r["attempts"].as_array().unwrap().len()).collect();
    assert_eq!((tried[0], tried[enough + 1]), (3, 1), "{tried:?}");
    assert!(tried[1..=enough].iter().all(|tried| *tried == 2), "{tried:?}");
}

fn configure(scene: &mut Scene, transport: &str, hops: Hops, ips: [IpAddr; 3]) {
    let peers = ips.map(|ip| format!("\"{transport}:{ip}:5060\""));
    let networks = ips.map(|ip| format!("\"{ip}/32\""));
    let trunk = |n: usize, peers: &[String], networks: &[String]| {
        let (peers, networks) = (peers.join(", "), networks.join(", "));
        format!("name = \"carrier-{n}\"\npeers = [{peers}]\nnetworks = [{networks}]")
    };
    let numbers = ["+15550010000-+15550019999"];
    match hops {
        Hops::Peers => {
            scene.trunk_text(&trunk(1, &peers, &networks));
            scene.tenant("t001", &["carrier-1"], &numbers, "");
        }
        Hops::Trunks => {
            for n in 0..3 {
                scene.trunk_text(&trunk(n + 1, &peers[n..=n], &networks[n..=n]));
            }
            scene.tenant("t001", &["carrier-1", "carrier-2", "carrier-3"], &numbers, "");
        }
    }
}

fn hole(transport: &str, address: SocketAddr) -> Hole {
    match transport {
        "tcp" => Hole::Tcp { _listener: BlackHole::at(address) },
        _ => Hole::Udp { _socket: UdpSocket::bind(address).unwrap() },
    }
}

fn carrier(scene: &Scene, transport: &str, host: u8, auto: Option<Box<Auto>>) -> Carrier {
    let auto =
        auto.unwrap_or_else(|| Box::new(|received| answer_options_by(received, "200 OK", "")));
    match transport {
        "tcp" => scene.carrier_tcp_with(host, auto),
        _ => scene.carrier_udp_with(host, auto),
    }
}

/// Answers OPTIONS with these, and with 200 afterwards; counts them.
fn answering(first: &'static [&'static str]) -> (Arc<AtomicUsize>, Box<Auto>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let auto = move |received: &Received| {
        let status = first.get(counter.load(Ordering::Relaxed)).unwrap_or(&"200 OK");
        let answered = answer_options_by(received, status, "");
        counter.fetch_add(usize::from(answered), Ordering::Relaxed);
        answered
    };
    (asked, Box::new(auto))
}

fn wait_for(asked: &AtomicUsize, count: usize) {
    let end = Instant::now() + Duration::from_secs(8);
    while asked.load(Ordering::Relaxed) < count {
        assert!(Instant::now() < end, "not asked {count} times");
        thread::sleep(Duration::from_millis(5));
    }
}

/// When each OPTIONS came, as a datagram that may have been repeated.
fn asked_at(carrier: &Carrier) -> Vec<Instant> {
    let mut asked = carrier.inbox.all();
    asked.retain(|r| r.msg.is_request() && r.msg.method() == "OPTIONS");
    asked.dedup_by(|one, before| one.msg.branch() == before.msg.branch());
    asked.iter().map(|r| r.at).collect()
}

/// The INVITE to that number: those of calls before may still be repeated.
fn invited(carrier: &Carrier, number: &str) -> Received {
    carrier.inbox.take(&format!("INVITE to {number}"), |r| is_invite(r, number))
}

fn invites(carrier: &Carrier, number: &str) -> usize {
    carrier.inbox.all().iter().filter(|r| is_invite(r, number)).count()
}

fn is_invite(received: &Received, number: &str) -> bool {
    let msg = &received.msg;
    msg.is_request() && msg.method() == "INVITE" && msg.uri().contains(number)
}

impl Stage {
    /// A number that no call before was made to.
    fn next_number(&mut self) -> String {
        self.calls += 1;
        format!("+4420794600{:02}", self.calls)
    }

    fn calls_out(&self, number: &str) -> Dialog {
        let media = MediaEnd::new(self.teams.place.ip(PROXY), 7000);
        let offer = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
        self.teams.call(&self.flow, TENANT, CALLED, number, &offer)
    }

    /// A call that the second hop refuses and the third answers; how long until either heard of it.
    fn talks(&mut self) -> (Duration, Duration) {
        let number = self.next_number();
        let own = Crypto::fresh(1, CM_80);
        let mut near = MediaEnd::new(self.teams.place.ip(PROXY), 7100);
        let mut far = MediaEnd::new(self.third.ip(), 7100);
        let offer = near.secure_sdp(&[&own], "sendrecv", "");
        let begin = Instant::now();
        let mut call = self.teams.call(&self.flow, TENANT, CALLED, &number, &offer);
        let refused = invited(&self.second, &number);
        let said = Instant::now();
        let refusing = Dialog::answering(&self.second.persona, &refused);
        refusing.reply(&refused, "503 Service Unavailable", "", "");
        let invite = invited(&self.third, &number);
        let callee = Dialog::answering(&self.third.persona, &invite);
        callee.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
        let answer = call.response(200);
        call.ack();
        callee.take("ACK");
        near.secure(&own, &Crypto::of(&answer.msg));
        near.towards(&answer.msg);
        far.towards(&invite.msg);
        talk(&mut far, &mut near, 40);
        call.send("BYE", "", "");
        callee.hung_up();
        call.took_200("BYE");
        (refused.at.duration_since(begin), invite.at.duration_since(said))
    }

    /// A call that reaches the second hop first, and not the one that is said to be away; how long that took.
    fn goes_by_second(&mut self, away: Option<&Carrier>) -> Duration {
        let number = self.next_number();
        let begin = Instant::now();
        let mut call = self.calls_out(&number);
        let refused = invited(&self.second, &number);
        let refusing = Dialog::answering(&self.second.persona, &refused);
        refusing.reply(&refused, "503 Service Unavailable", "", "");
        let invite = invited(&self.third, &number);
        Dialog::answering(&self.third.persona, &invite).is_busy(&invite, &mut call);
        assert_eq!(away.map_or(0, |away| invites(away, &number)), 0, "it was asked too early");
        refused.at.duration_since(begin)
    }
}
