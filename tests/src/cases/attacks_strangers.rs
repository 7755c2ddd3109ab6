//! Whoever is not known gets silence, and costs the others nothing (AT-01, 02, 03, 29, 30, 33).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::attack::{Standing, invite, options, refused_or_closed};
use crate::harness::dialog::token;
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, Place, STRANGER};
use crate::harness::talking::{CALLED, Talking};
use crate::harness::wire::connect_from;

const SCANNERS: [&str; 5] =
    ["friendly-scanner", "sipvicious", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "pplsip"];

#[test]
fn at_01_scanners_get_silence_and_a_hundred_of_them_take_no_room() {
    let standing = Standing::new("at_01");
    let sip = standing.scene.place.at(CARRIER_SIDE, 5060);
    let before = standing.gateway.resident();
    let sockets: Vec<UdpSocket> = (100..200)
        .map(|host| UdpSocket::bind((standing.scene.place.ip(host), 0)).unwrap())
        .collect();
    for (n, socket) in sockets.iter().enumerate() {
        let here = socket.local_addr().unwrap();
        for method in ["OPTIONS", "REGISTER"] {
            let text = options(method, here, SCANNERS[n % SCANNERS.len()]);
            for _ in 0..15 {
                socket.send_to(text.as_bytes(), sip).unwrap();
            }
        }
    }
    // The same from the trunk's own address.
    let known = UdpSocket::bind((standing.scene.place.ip(CARRIER_A), 0)).unwrap();
    for agent in SCANNERS {
        let text = options("OPTIONS", known.local_addr().unwrap(), agent);
        known.send_to(text.as_bytes(), sip).unwrap();
    }
    standing.rises("trunkgate_messages_dropped_total{cause=\"scanner\"}", 5.0);
    standing.rises("trunkgate_messages_dropped_total{cause=\"stranger\"}", 100.0 * 20.0);
    standing.rises("trunkgate_messages_dropped_total{cause=\"banned\"}", 100.0 * 9.0);
    let banned = "trunkgate_banned_addresses";
    standing.gateway.until("banned", || standing.gateway.count(banned) >= 100.0);
    for socket in sockets.iter().chain([&known]) {
        silent(socket);
    }
    // Whoever shares the trunk's network with a scanner is served.
    let honest = options("OPTIONS", known.local_addr().unwrap(), "PBX");
    known.send_to(honest.as_bytes(), sip).unwrap();
    known.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 2048];
    let length = known.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 "));
    assert!(standing.gateway.resident() < before + 8 * 1024);
    standing.untouched();
}

#[test]
fn at_02_a_sweep_over_numbers_learns_nothing() {
    let standing = Standing::new("at_02");
    let sip = standing.scene.place.at(CARRIER_SIDE, 5060);
    let socket = UdpSocket::bind((standing.scene.place.ip(STRANGER), 0)).unwrap();
    let here = socket.local_addr().unwrap();
    for number in 0..1000 {
        // +15550010000 to +15550010999 exist; the others do not.
        let called = format!("+1555001{:04}", number * 7 % 2000);
        socket.send_to(invite(here, &called, &token("sweep")).as_bytes(), sip).unwrap();
    }
    standing.rises_to_all(&["stranger", "banned"], 1000.0);
    silent(&socket);
    standing.teams.not_invited();
    standing.untouched();
}

#[test]
fn at_03_headers_admit_nobody() {
    let standing = Standing::new("at_03");
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let trunk = place.at(CARRIER_A, 5060);
    let socket = UdpSocket::bind((place.ip(STRANGER), 0)).unwrap();
    // Everything in it is the trunk's.
    let text = invite(trunk, CALLED, &token("forged"));
    socket.send_to(text.as_bytes(), sip).unwrap();
    let tgrp =
        text.replace("@gateway.test SIP", ";tgrp=carrier-a;trunk-context=x@gateway.test SIP");
    socket.send_to(tgrp.as_bytes(), sip).unwrap();
    standing.rises("trunkgate_messages_dropped_total{cause=\"stranger\"}", 2.0);
    silent(&socket);
    // By TCP it is closed before it can say anything.
    let stream = connect_from(place.ip(STRANGER), sip);
    refused_or_closed(stream, text.as_bytes(), Duration::from_secs(1));
    standing.rises("trunkgate_connections_refused_total{cause=\"network\"}", 1.0);
    standing.teams.not_invited();
    standing.untouched();
}

/// Spoofed sources: 500 addresses of nobody, each INVITE with a branch and a Call-ID of its own, 20,000 a second in all
/// (or what this machine sends beside everything else). The trunk makes 10 calls a second.
#[test]
fn at_29_a_flood_of_invites_from_strangers_costs_the_trunks_nothing() {
    const CALLS: u16 = 60;
    const PACE: Duration = Duration::from_millis(100);
    let standing = Standing::within("at_29", Duration::from_secs(120));
    let sip = standing.scene.place.at(CARRIER_SIDE, 5060);
    let stop = Arc::new(AtomicBool::new(false));
    let flooding: Vec<_> = [Place::new(), Place::new()]
        .map(|place| {
            let stop = Arc::clone(&stop);
            let bind = |host| UdpSocket::bind((place.ip(host), 0)).unwrap();
            let sockets: Vec<UdpSocket> = (1..=250).map(bind).collect();
            thread::spawn(move || flood(&sockets, sip, &stop))
        })
        .into();
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    for n in 0..CALLS {
        let due = start + PACE * u32::from(n);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let call = Talking::incoming_from(&standing.teams, &standing.carrier, CALLED, 7050 + 4 * n);
        worst = worst.max(due.elapsed());
        call.carrier_hangs_up();
    }
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent: u64 = flooding.into_iter().map(|thread| thread.join().unwrap()).sum();
    // Each call went through, or the test would have ended there; none of them is repeated. What is left is the pace.
    let goodput = (PACE * u32::from(CALLS)).as_secs_f64() / took.as_secs_f64().max(6.0);
    println!(
        "goodput {:.1} % of 10 calls a second, the slowest set up in {} ms, beside {:.0} INVITEs a second of strangers",
        goodput * 100.0,
        worst.as_millis(),
        sent as f64 / took.as_secs_f64(),
    );
    assert!(goodput >= 0.95, "{CALLS} calls took {took:?}");
    // They did come, and were dropped; nothing is kept of them.
    standing.rises_to_all(&["stranger", "banned"], 10_000.0);
    let transactions = standing.gateway.count("trunkgate_transactions");
    let most = 100.0 + 20.0 * f64::from(CALLS);
    assert!(transactions < most, "{transactions} transactions after {CALLS} calls");
    standing.untouched();
}

#[test]
fn at_30_a_storm_of_repeats_is_one_call_and_answers_are_bounded() {
    let standing = Standing::new("at_30");
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let socket = UdpSocket::bind((place.ip(CARRIER_A), 0)).unwrap();
    let text = invite(socket.local_addr().unwrap(), CALLED, &token("storm"));
    for _ in 0..1000 {
        socket.send_to(text.as_bytes(), sip).unwrap();
    }
    let (_invite, _callee) = standing.teams.invited();
    standing.teams.not_invited();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut count, mut bytes, mut buffer) = (0, 0, [0; 4096]);
    while let Ok(length) = socket.recv(&mut buffer) {
        count += 1;
        bytes += length;
    }
    assert!((1..=1001).contains(&count), "{count} answers");
    assert!(bytes <= 1000 * text.len(), "{bytes} bytes for {}", 1000 * text.len());
    standing.untouched();
}

#[test]
fn at_33_strangers_get_fewer_bytes_than_they_send() {
    let standing = Standing::new("at_33");
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let socket = UdpSocket::bind((place.ip(STRANGER), 0)).unwrap();
    let here = socket.local_addr().unwrap();
    let whole = invite(here, CALLED, &token("amplify"));
    for text in [
        "OPTIONS sip:a SIP/2.0\r\n\r\n",
        "INVITE sip:a SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n",
        "\r\n\r\n",
        "\0\x01\0\0\x21\x12abcdefghijkl",
        &whole,
        &whole.replace("INVITE", "BYE"),
        &whole.replace("CSeq: 1 INVITE", "CSeq: x"),
        &options("SUBSCRIBE", here, "x"),
    ] {
        socket.send_to(text.as_bytes(), sip).unwrap();
    }
    // A retransmitted 200 would come within 0.5 s and again and again.
    thread::sleep(Duration::from_secs(2));
    silent(&socket);
    standing.untouched();
}

/// Nothing has come, and nothing comes for a moment.
fn silent(socket: &UdpSocket) {
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut buffer = [0; 2048];
    if let Ok(length) = socket.recv(&mut buffer) {
        panic!("answered: {}", String::from_utf8_lossy(&buffer[..length]));
    }
}

/// 10 INVITEs each millisecond, of one source after the other; how many left.
fn flood(sockets: &[UdpSocket], sip: SocketAddr, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    let (mut sent, mut sources) = (0_u64, sockets.iter().cycle());
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(start.elapsed().as_millis()).unwrap() * 10;
        // What a pause of the machine has held up does not come all at once.
        for _ in 0..due.saturating_sub(sent).min(100) {
            let socket = sources.next().unwrap();
            let here = socket.local_addr().unwrap();
            let text = invite(here, CALLED, &format!("flood{}x{sent}", here.port()));
            // What does not leave is no flood; the count of what came is the gateway's.
            drop(socket.send_to(text.as_bytes(), sip));
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    sent
}
