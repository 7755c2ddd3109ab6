//! Attacks on media ports, by their number: STUN and DTLS are dropped without an answer, whoever sends them, and the call
//! that has the port does not notice; events beyond all measure are cut to what a phone could send (AT-38, 44, 45).

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::place::{CARRIER_A, STRANGER};
use crate::harness::scene::Scene;
use crate::harness::siege::{ATTACKER, Siege};
use crate::harness::talking::{CALLED, Talking};

/// A STUN message (RFC 8489 §5) with that type, stated length and attributes.
fn stun(kind: u16, length: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_be_bytes(), length.to_be_bytes()].concat();
    bytes.extend(0x2112_a442_u32.to_be_bytes());
    bytes.extend([7; 12]);
    bytes.extend(attributes);
    bytes
}

/// One attribute; `length` is what it says, `value` what it has.
fn attribute(kind: u16, length: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_be_bytes(), length.to_be_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// 27 messages: good ones, and every lie about a length that is known to have broken somebody.
fn messages() -> Vec<Vec<u8>> {
    let whole = |kind: u16, attributes: &[u8]| {
        stun(kind, u16::try_from(attributes.len()).unwrap(), attributes)
    };
    let (request, success, error) = (0x0001, 0x0101, 0x0111);
    let user = attribute(0x0006, 8, b"evtj:h6v");
    let mut cookie = whole(request, &user);
    cookie[4] = 0;
    vec![
        whole(request, &[]),
        whole(request, &user),
        whole(success, &attribute(0x0020, 8, &[0, 1, 0, 9, 1, 2, 3, 4])),
        whole(0x0011, &[]),
        stun(request, 0xffff, &[]),
        stun(request, 4, &[]),
        stun(request, 3, &[1, 2, 3]),
        stun(request, 8, &user),
        stun(request, 0, &user),
        whole(request, &attribute(0x0006, 0xffff, b"user")),
        whole(request, &attribute(0x0006, 0xfffd, b"user")),
        whole(request, &attribute(0x0006, 0, b"")),
        whole(request, &attribute(0x0006, 513, &[b'u'; 513])),
        whole(request, &attribute(0x7ffe, 4, b"what")),
        whole(request, &attribute(0x0009, 1, &[4])),
        whole(error, &attribute(0x0009, 2, &[0, 0])),
        whole(error, &attribute(0x0009, 0xffff, &[0, 0, 4, 1])),
        whole(success, &attribute(0x0020, 4, &[0, 1, 0, 9])),
        whole(success, &attribute(0x0020, 8, &[0, 2, 0, 9, 1, 2, 3, 4])),
        whole(success, &attribute(0x0020, 20, &[0, 9, 0, 9, 1, 2, 3, 4])),
        whole(request, &attribute(0x8028, 4, &[0; 4])),
        whole(request, &attribute(0x8028, 2, &[0; 2])),
        whole(request, &attribute(0x0008, 20, &[0; 20])),
        whole(request, &attribute(0x0008, 4, &[0; 4])),
        whole(request, &user.repeat(100)),
        cookie,
        stun(request, 0, &[])[..19].to_vec(),
    ]
}

/// A DTLS 1.2 ClientHello record, and what else begins like one.
fn records() -> Vec<Vec<u8>> {
    let mut hello = vec![
        22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 254, 253,
    ];
    hello.extend([9; 32]);
    hello.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let mut length = hello.clone();
    length[11] = 0xff;
    vec![
        hello.clone(),
        length,
        hello[..13].to_vec(),
        hello[..1].to_vec(),
        vec![20, 254, 253],
        vec![63; 1_400],
    ]
}

fn sprayed(test: &str, packets: &[Vec<u8>]) {
    let scene = Scene::usual(test);
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let stranger = UdpSocket::bind(scene.place.at(STRANGER, 0)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let ports = [call.described_to_teams().media(), call.carrier_media.remote.unwrap()];
    let before = gateway.resident();
    // Before any packet of the peers, and afterwards.
    for _ in 0..2 {
        for _ in 0..5 {
            for packet in packets {
                for port in ports {
                    stranger.send_to(packet, port).unwrap();
                    stranger.send_to(packet, SocketAddr::new(port.ip(), port.port() + 1)).unwrap();
                }
                // From the peers' own sockets: one is authentic by its address, the other only by its key.
                call.carrier_media.send_raw(packet);
                call.teams_media.send_raw(packet);
            }
        }
        // What was sprayed is read before anybody speaks.
        std::thread::sleep(std::time::Duration::from_millis(200));
        call.talk();
    }
    let mut buffer = [0; 2048];
    assert!(stranger.recv_from(&mut buffer).is_err(), "a stranger was answered");
    assert!(gateway.is_running(), "{}", gateway.log());
    assert!(gateway.resident() < before + 1024, "state was kept");
    call.carrier_hangs_up();
}

#[test]
fn at_38_stun_is_dropped_on_media_ports() {
    let messages = messages();
    assert_eq!(messages.len(), 27);
    sprayed("at_38", &messages);
}

#[test]
fn at_44_dtls_is_dropped_on_media_ports() {
    sprayed("at_44", &records());
}

/// AT-45. The gateway does not read digits (RFC 4733): it relays their packets as it relays speech. A digit stays one digit,
/// whatever is repeated; a storm of events reaches the other end at a bounded rate; other calls do not notice.
#[test]
fn at_45_a_storm_of_events_is_policed_and_one_digit_stays_one() {
    const EVENT: u8 = 101;
    let siege = Siege::new("at_45");
    let carrier = siege.scene.carrier_udp(ATTACKER);
    let mut call = Talking::incoming_from(&siege.teams, &carrier, "+15550010007", 7300);
    call.talk();
    // One digit: its end twenty times over, the last duration as long as can be.
    let digit = |end: bool, duration: u16| {
        let [high, low] = duration.to_be_bytes();
        vec![7, if end { 0x8a } else { 0x0a }, high, low]
    };
    let mut sent = vec![call.carrier_media.say(EVENT, true, 0, digit(false, 160))];
    for n in 1..=20 {
        let (duration, step) = if n == 20 { (65_535, 960) } else { (800, 0) };
        sent.push(call.carrier_media.say(EVENT, false, step, digit(true, duration)));
    }
    let mut heard = Vec::new();
    let end = Instant::now() + Duration::from_secs(3);
    while heard.len() < sent.len() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        heard.extend(call.teams_media.hear());
    }
    let stamps: BTreeSet<_> = heard.iter().map(|packet| packet.timestamp).collect();
    assert_eq!((heard.len(), stamps.len()), (sent.len(), 1), "one digit, every packet of it");
    assert_eq!(
        heard.last().map(|packet| &packet.payload),
        sent.last().map(|packet| &packet.payload)
    );
    // The storm: events that are none, too short, each a new one.
    let begin = Instant::now();
    let (mut storm, mut came) = (0_u32, 0_u32);
    while begin.elapsed() < Duration::from_secs(3) {
        for n in 0..200_u8 {
            let payload = match n % 4 {
                0 => vec![255, 0xff, 0xff, 0xff],
                1 => vec![n, 0x8a, 0, 0],
                2 => vec![n],
                _ => Vec::new(),
            };
            call.carrier_media.say(EVENT, true, 160, payload);
            storm += 1;
        }
        thread::sleep(Duration::from_millis(5));
        came += u32::try_from(call.teams_media.hear().len()).unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    came += u32::try_from(call.teams_media.hear().len()).unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    println!("{storm} events in {seconds:.1} s, {came} came through");
    assert!(f64::from(storm) > 5_000.0 * seconds, "a storm: {storm}");
    assert!(f64::from(came) <= 1_000.0 * (seconds + 1.0), "{came} of {storm}");
    // The same call is good again in the next second.
    thread::sleep(Duration::from_millis(1100));
    call.talk();
    call.carrier_hangs_up();
    siege.ends("trunkgate_media_relayed_packets_total");
}
