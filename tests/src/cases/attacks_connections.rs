//! Connections of peers that mean no good: what they are told, how long they live, what they hold
//! (AT-12, 13, 14, 16, 23, 24, 26, 27).

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use lab::pki::{KeyKind, Leaf, Usage, Validity};

use crate::harness::attack::{Standing, bytes_until_end, invite, options, refused_or_closed};
use crate::harness::dialog::token;
use crate::harness::openssl::{Client, Hello, hello};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE, EDGE, PROXY, Place, STRANGER};
use crate::harness::scene::FQDN;
use crate::harness::talking::{CALLED, Talking};
use crate::harness::tls;
use crate::harness::wire::connect_from;

const TLS_1_2: u16 = 0x0303;
const ECDHE_ECDSA_AES_128_GCM: u16 = 0xc02b;
/// RFC 5246 §7.2: fatal.
const HANDSHAKE_FAILURE: Hello = Hello::Alert(2, 40);

#[test]
fn at_12_at_16_a_refused_certificate_is_counted_by_what_is_wrong_with_it() {
    let standing = Standing::new("at_12");
    let leaf = || Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
    let issue = |name: &str, leaf: &Leaf| standing.scene.pki.issue(name, leaf).unwrap();
    let cases = [
        (None, "no_certificate"),
        (Some(issue("rogue", &leaf().rogue())), "certificate_issuer"),
        (Some(issue("expired", &leaf().validity(Validity::Expired))), "certificate_date"),
        (
            Some(issue("other", &Leaf::new(["sip.evil.test"]).key(KeyKind::EcdsaP256))),
            "certificate_name",
        ),
    ];
    for (identity, cause) in &cases {
        let figure = format!("trunkgate_connections_refused_total{{cause=\"{cause}\"}}");
        assert!(standing.gateway.count(&figure) < 1.0, "{cause}");
        let client = tls::client(identity.as_ref(), &standing.scene.ca());
        let (from, edge) = (standing.scene.place.ip(PROXY), standing.scene.place.at(EDGE, 5061));
        // It claims to be Teams, in the From of what it says at once.
        if let Ok(flow) = standing.teams.end.connect_tls(from, edge, FQDN, &client) {
            let text = options("OPTIONS", standing.scene.place.at(PROXY, 5061), "Teams");
            drop(flow.try_send(text.as_bytes()));
        }
        standing.rises(&figure, 1.0);
    }
    let good = issue("server-only", &leaf().usage(Usage::ServerOnly));
    let client = tls::client(Some(&good), &standing.scene.ca());
    let (from, edge) = (standing.scene.place.ip(PROXY), standing.scene.place.at(EDGE, 5061));
    let flow = standing.teams.end.connect_tls(from, edge, FQDN, &client).unwrap();
    let ping = standing.teams.ping(&flow, FQDN);
    standing.teams.inbox.take("200", |r| r.msg.status() == 200 && r.msg.call_id() == ping);
    standing.untouched();
}

#[test]
fn at_13_the_wrong_protocol_is_closed_without_a_word() {
    let standing = Standing::new("at_13");
    let place = standing.scene.place;
    let (edge, sip) = (place.at(EDGE, 5061), place.at(CARRIER_SIDE, 5060));
    let plain = invite(place.at(PROXY, 5061), CALLED, &token("plain"));
    let http = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for bytes in [plain.as_bytes(), http.as_bytes(), b"\0\x01\0\0\x21\x12\xa4\x42"] {
        let stream = connect_from(place.ip(PROXY), edge);
        refused_or_closed(stream, bytes, Duration::from_secs(1));
    }
    standing.rises("trunkgate_connections_refused_total{cause=\"not_tls\"}", 3.0);
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03rest";
    for bytes in [&hello[..], http.as_bytes(), b"\0\x01\0\0\x21\x12\xa4\x42"] {
        refused_or_closed(connect_from(place.ip(CARRIER_A), sip), bytes, Duration::from_secs(1));
    }
    standing.teams.not_invited();
    standing.untouched();
}

/// With openssl as the client, and ClientHellos of our own for what it has forgotten.
#[test]
fn at_14_old_versions_weak_suites_and_renegotiation_are_refused() {
    let standing = Standing::new("at_14");
    let scene = &standing.scene;
    let leaf = Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
    let identity = scene.pki.issue("old", &leaf).unwrap();
    for version in ["-tls1", "-tls1_1"] {
        let (done, text) =
            Client::start(scene, &identity, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]).ends();
        assert!(done.is_some_and(|status| !status.success()), "{version}: {text}");
    }
    standing.rises("trunkgate_connections_refused_total{cause=\"tls_version\"}", 2.0);
    let weak = [
        ("RSA_NULL_SHA", 0x0002),
        ("ECDHE_ECDSA_NULL_SHA", 0xc006),
        ("RSA_EXPORT_RC4_40_MD5", 0x0003),
        ("RSA_EXPORT_DES40_CBC_SHA", 0x0008),
        ("RSA_RC4_128_SHA", 0x0005),
        ("ECDHE_ECDSA_RC4_128_SHA", 0xc007),
        ("DH_anon_AES_128_CBC_SHA", 0x0034),
    ];
    for (name, suite) in weak {
        assert_eq!(hello(scene, TLS_1_2, &[suite]), HANDSHAKE_FAILURE, "{name}");
    }
    let all: Vec<_> =
        weak.iter().map(|(_, suite)| *suite).chain([ECDHE_ECDSA_AES_128_GCM]).collect();
    assert_eq!(hello(scene, TLS_1_2, &all), Hello::Chosen(ECDHE_ECDSA_AES_128_GCM));
    // "R" on a line by itself asks for a renegotiation.
    let mut client = Client::start(scene, &identity, &["-tls1_2"]);
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(300));
        client.write(b"R\n");
    }
    client.says("RENEGOTIATING");
    let (done, text) = client.ends();
    assert!(done.is_some(), "renegotiation goes on: {text}");
    standing.untouched();
}

#[test]
fn at_23_what_is_too_large_is_refused_and_forgotten() {
    let standing = Standing::new("at_23");
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let good = |n: usize| invite(place.at(CARRIER_A, 5099), CALLED, &format!("large{n}"));
    let with =
        |n: usize, more: &str| good(n).replacen("Max-Forwards", &format!("{more}Max-Forwards"), 1);
    let texts = [
        with(1, &format!("X: {}\r\n", "y".repeat(70_000))),
        with(2, &"X: y\r\n".repeat(10_000)),
        with(3, &"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".repeat(500)),
        with(4, &"Route: <sip:a;lr>\r\n".repeat(400)),
        good(5).replacen("Content-Length: ", "Content-Length: 1000", 1)
            + &"a=x\r\n".repeat(200_000),
    ];
    let before = standing.gateway.resident();
    for _ in 0..20 {
        for text in &texts {
            let stream = connect_from(place.ip(CARRIER_A), sip);
            let answer = bytes_until_end_or_answer(stream, text.as_bytes());
            let answer = String::from_utf8_lossy(&answer);
            let status = answer.get(8..11).unwrap_or_default().to_owned();
            assert!(["400", "413", "513", ""].contains(&status.as_str()), "{answer}");
        }
    }
    // The largest datagrams: refused, or dropped where nothing of it can be answered.
    let socket = UdpSocket::bind((place.ip(CARRIER_A), 0)).unwrap();
    for n in 0..50 {
        let padding = 65_400 - good(n).len();
        let text = with(10 + n, &format!("X: {}\r\n", "y".repeat(padding)));
        socket.send_to(text.as_bytes(), sip).unwrap();
    }
    standing.teams.not_invited();
    let now = standing.gateway.resident();
    assert!(now < before + 24 * 1024, "{before} KiB before, {now} KiB now");
    standing.untouched();
}

#[test]
fn at_24_a_peer_that_asks_and_never_reads_is_let_go() {
    let standing = Standing::within("at_24", Duration::from_secs(90));
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let before = standing.gateway.resident();
    let mut stream = connect_from(place.ip(CARRIER_A), sip).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let text = options("OPTIONS", place.at(CARRIER_A, 5099), "PBX").replace("/UDP", "/TCP");
    let start = Instant::now();
    let mut written = 0;
    // Far more than the sockets' own buffers hold, of question and of answer.
    let end = loop {
        let branch = format!("z9hG4bKp{written}");
        let text = text
            .replace("z9hG4bKs5099", &branch)
            .replace("Call-ID: ", &format!("Call-ID: {written}"));
        if stream.write_all(text.as_bytes()).is_err() {
            break start.elapsed();
        }
        written += 1;
        assert!(written < 2_000_000, "nobody held it up");
    };
    assert!(end < Duration::from_secs(45), "let go after {end:?}");
    assert!(written > 1000, "{written} only");
    let now = standing.gateway.resident();
    assert!(now < before + 64 * 1024, "{before} KiB before, {now} KiB after {written} requests");
    standing.untouched();
}

#[test]
fn at_26_keep_alives_and_foreign_protocols_without_end_are_closed() {
    let standing = Standing::new("at_26");
    let place = standing.scene.place;
    let sip = place.at(CARRIER_SIDE, 5060);
    let stream = connect_from(place.ip(CARRIER_A), sip);
    let pongs = bytes_until_end(stream, &b"\r\n\r\n".repeat(5_000), Duration::from_secs(1));
    assert!(pongs.len() <= 16, "{} bytes of pongs", pongs.len());
    let upgrade = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    refused_or_closed(
        connect_from(place.ip(CARRIER_A), sip),
        upgrade.as_bytes(),
        Duration::from_secs(1),
    );
    let socket = UdpSocket::bind((place.ip(CARRIER_A), 0)).unwrap();
    for _ in 0..100 {
        socket.send_to(b"\r\n\r\n", sip).unwrap();
        socket.send_to(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", sip).unwrap();
    }
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(socket.recv(&mut [0; 2048]).is_err(), "a datagram was answered");
    standing.untouched();
}

/// As it is written: thousands of idle connections from one address, then as many from 500. Each address holds 64, all
/// of one identity 2,048; Teams connects and calls meanwhile; who says nothing is gone after 10 s.
#[test]
fn at_27_thousands_of_idle_connections_hold_their_share_and_no_more_and_do_not_last() {
    const PER_ADDRESS: usize = 64;
    const PER_IDENTITY: usize = 2048;
    let crowd = [Place::new(), Place::new()];
    let standing = Standing::beside("at_27", Duration::from_secs(120), |scene| {
        let networks = crowd.map(|place| format!("\"{}\"", place.net())).join(", ");
        scene.trunk_text(&format!(
            "name = \"crowd\"\npeers = [\"tcp:{}:5060\"]\nnetworks = [{networks}]",
            crowd[0].ip(1)
        ));
    });
    let place = standing.scene.place;
    let (edge, sip) = (place.at(EDGE, 5061), place.at(CARRIER_SIDE, 5060));
    let count = most_idle();
    let refused = || standing.gateway.count("trunkgate_connections_refused_total{cause=\"limit\"}");

    let from_one = idle(count, sip, |_| place.ip(CARRIER_A));
    let of_one = (count - PER_ADDRESS) as f64;
    standing.gateway.until("refused by address", || refused() >= of_one);
    standing.gateway.until("64 of one address", || alive(&from_one) <= PER_ADDRESS);
    assert_eq!(alive(&from_one), PER_ADDRESS);

    let addresses: Vec<IpAddr> = (0..500).map(|n| crowd[n % 2].ip((1 + n / 2) as u8)).collect();
    let from_many = idle(count, sip, |n| addresses[n % addresses.len()]);
    let last = Instant::now();
    let share = count.min(PER_IDENTITY - PER_ADDRESS);
    let of_many = (count - share) as f64;
    standing.gateway.until("refused by number", || refused() >= of_one + of_many);
    standing.gateway.until("2,048 of all", || alive(&from_many) <= share);
    assert_eq!(alive(&from_many), share);
    println!("{count} from one address: 64 are open; {count} from 500: {share} more");

    // The edge is as reachable as before, even with silent connections of its own.
    let shaking = idle(40, edge, |_| place.ip(PROXY));
    let flow = standing.teams.connect(FQDN);
    let ping = standing.teams.ping(&flow, FQDN);
    standing.teams.inbox.take("200", |r| r.msg.status() == 200 && r.msg.call_id() == ping);
    let mut call = Talking::incoming_from(&standing.teams, &standing.carrier, CALLED, 7300);
    call.talk();
    call.teams_hangs_up();
    // Strangers hold none at all.
    let strangers = idle(300, sip, |n| place.ip(STRANGER + (n % 100) as u8));
    standing.rises("trunkgate_connections_refused_total{cause=\"network\"}", 300.0);

    // 10 s after the last of them nobody who said nothing is left; 3 s are for a busy machine.
    let all = [from_one, from_many, shaking, strangers];
    while let left @ 1.. = all.iter().map(|some| alive(some)).sum::<usize>() {
        assert!(last.elapsed() < Duration::from_secs(13), "{left} idle ones are open");
        thread::sleep(Duration::from_millis(50));
    }
    println!("all are closed {:.1} s after the last was opened", last.elapsed().as_secs_f64());
    standing.untouched();
}

/// How many of them the gateway has not closed.
fn alive(connections: &[TcpStream]) -> usize {
    let is_alive = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    connections.iter().filter(is_alive).count()
}

/// Connections that say nothing.
fn idle(count: usize, to: SocketAddr, from: impl Fn(usize) -> IpAddr) -> Vec<TcpStream> {
    (0..count).filter_map(|n| connect_from(from(n), to).ok()).collect()
}

/// 5,000, or what the descriptors of this process allow twice, beside what other tests need.
fn most_idle() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    let most = (limit.saturating_sub(4000) / 2).min(5000);
    assert!(most > 100, "a limit of {limit} open files shows nothing");
    most
}

/// The first answer, or what came until the end.
fn bytes_until_end_or_answer(
    stream: std::io::Result<std::net::TcpStream>,
    bytes: &[u8],
) -> Vec<u8> {
    use std::io::Read;
    let Ok(mut stream) = stream else { return Vec::new() };
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    drop(stream.write_all(bytes));
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).unwrap_or(0);
    buffer[..length].to_vec()
}
