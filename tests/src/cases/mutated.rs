//! 100,000 damaged messages of a trunk that the gateway knows, over UDP and TCP, twice the same ones: no panic, no
//! growth, every counter moves and every gauge comes back, and nothing that reaches Teams has a forbidden form.

use std::time::{Duration, Instant};

use super::hostile::Dice;
use super::torture;
use crate::harness::place::{CARRIER_A, CARRIER_SIDE};
use crate::harness::raw::{Datagrams, Stream};
use crate::harness::scene::{Scene, options_without_contact};
use crate::harness::talking::{CALLED, CALLER, Talking};
use crate::harness::wire::Received;

/// Messages of a round; a tenth of them on streams.
const MESSAGES: usize = 100_000;
/// As many at once as the smallest socket buffer holds.
const BURST: usize = 40;
const PEER: u8 = 52;

/// Pieces that messages are damaged with: what parsers stumble over.
const PIECES: [&[u8]; 36] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\r\n",
    b"\n\n",
    b"\0",
    b"%00",
    b"%0d%0a",
    b"\xff\xfe",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"<sip:",
    b";",
    b",",
    b"=",
    b":",
    b"@",
    b" ",
    b"\t",
    b"[",
    b"[::]",
    b"-1",
    b"4294967296",
    b"99999999999999999999",
    b"\r\nContent-Length: 5\r\n",
    b"\r\nl: 0\r\n",
    b"\r\nTo: <sip:x>;tag=\r\n",
    b"\r\nVia: SIP/2.0/UDP x\r\n",
    b"SIP/2.0",
    b";tag=",
    b"\r\nm=audio 1 RTP/AVP 0\r\n",
    b"\r\na=crypto:1 ",
    b"--b\r\n",
];

fn damaged(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut text = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(text.len() + 1);
        let end = (at + dice.below(30)).min(text.len());
        match dice.below(5) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied())),
            2 => drop(text.splice(at..end, PIECES[dice.below(PIECES.len())].iter().copied())),
            3 => {
                let more = dice.bytes(4);
                drop(text.splice(at..at, more));
            }
            _ => {
                let copy = text[at..end].repeat(1 + dice.below(3));
                drop(text.splice(at..at, copy));
            }
        }
    }
    text
}

/// Whole messages of every kind: those of the RFCs, and calls that would reach somebody.
fn seeds(transport: &str, via: &str) -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> =
        torture::rows().map(|(folder, row)| torture::message(folder, row.0)).collect();
    let sdp = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0 8 101\r\n\
               a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
               a=ptime:20\r\na=sendrecv\r\n";
    let parts = format!(
        "--b\r\nContent-Type: application/pidf+xml\r\n\r\n<a/>\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b--\r\n"
    );
    let bodies = [
        ("Content-Type: application/sdp\r\n", sdp),
        ("Content-Type: multipart/mixed;boundary=b\r\n", &parts),
        ("", ""),
    ];
    for (method, tag, lines) in [
        ("INVITE", "", "Session-Expires: 1800;refresher=uac\r\nSupported: timer\r\n"),
        (
            "INVITE",
            "",
            "Diversion: <sip:+15550010009@h>;reason=no-answer\r\nPrivacy: id\r\nRequire: timer\r\n",
        ),
        ("INVITE", ";tag=x", "Replaces: a;to-tag=b;from-tag=c\r\n"),
        ("OPTIONS", "", "Accept: application/sdp\r\n"),
        ("BYE", ";tag=x", "Reason: Q.850;cause=16;text=\"x\"\r\n"),
        ("CANCEL", "", "Reason: SIP;cause=200\r\n"),
        ("UPDATE", ";tag=x", "Min-SE: 90\r\n"),
        ("PRACK", ";tag=x", "RAck: 1 1 INVITE\r\n"),
        ("REFER", ";tag=x", "Refer-To: <sip:x@h?Replaces=a%3Bto-tag%3Db>\r\n"),
        ("ACK", ";tag=x", "Route: <sip:h;lr>\r\n"),
    ] {
        for (kind, body) in bodies {
            let number = seeds.len();
            let length = body.len();
            seeds.push(
                format!(
                    "{method} sip:{CALLED}@gateway.test;user=phone SIP/2.0\r\nVia: SIP/2.0/{transport} {via};branch=z9hG4bKm{number};rport\r\n\
                     Max-Forwards: 70\r\nFrom: \"A\" <sip:{CALLER}@h;user=phone>;tag=m{number}\r\n\
                     To: <sip:{CALLED}@gateway.test>{tag}\r\nCall-ID: mutated-{number}@h\r\nCSeq: 1 {method}\r\n\
                     Contact: <sip:{via}>\r\nP-Asserted-Identity: <tel:{CALLER}>\r\n{lines}{kind}Content-Length: {length}\r\n\r\n{body}"
                )
                .into_bytes(),
            );
        }
    }
    seeds
}

/// Teams answers OPTIONS, and is busy whoever calls.
fn busy(received: &Received) -> bool {
    let msg = &received.msg;
    if options_without_contact(received) {
        return true;
    }
    // The call that is up has to be answered by the test.
    if !msg.is_request() || msg.method() != "INVITE" || msg.uri().contains("0002@") {
        return msg.is_request() && msg.method() == "ACK" && !msg.uri().contains(":443");
    }
    let vias: String = msg.all("Via").map(|via| format!("Via: {via}\r\n")).collect();
    let text = format!(
        "SIP/2.0 486 Busy Here\r\n{vias}From: {}\r\nTo: {};tag=busy\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
        msg.need("From"),
        msg.need("To"),
        msg.call_id(),
        msg.need("CSeq")
    );
    drop(received.flow.try_send(text.as_bytes()));
    true
}

#[test]
fn a_hundred_thousand_damaged_messages() {
    let mut scene = Scene::within("mutated", Duration::from_secs(180));
    scene.trunk("carrier-a", "udp", CARRIER_A, "").trunk("carrier-b", "udp", PEER, "");
    scene.tenant("t001", &["carrier-a", "carrier-b"], &["+15550010000-+15550019999"], "");
    let teams = scene.teams_with(1, Box::new(busy));
    let carrier = scene.carrier_udp(CARRIER_A);
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, "+15550010002");
    let sip = scene.place.at(CARRIER_SIDE, 5060);
    let wire = Datagrams::open(scene.place.at(PEER, 5060), sip);
    let over_udp = seeds("UDP", &scene.place.at(PEER, 5060).to_string());
    let over_tcp = seeds("TCP", &scene.place.at(PEER, 5060).to_string());

    let send = |round: usize| {
        // The same ones each time.
        let mut dice = Dice::new(0x5851_f42d_4c95_7f2d);
        let (mut sent, mut connections) = (0, 0);
        let start = Instant::now();
        while sent < MESSAGES {
            for _ in 0..BURST {
                let bytes = damaged(&mut dice, &over_udp);
                if !bytes.is_empty() && bytes.len() < 60_000 {
                    wire.send(&bytes);
                }
                sent += 1;
            }
            // Answered, so that nothing is lost on the way and nothing is left to read.
            assert!(wire.answers_options(), "{}", gateway.log());
            if sent % (10 * BURST) == 0 {
                let mut stream = Stream::open(scene.place.ip(PEER), sip);
                connections += 1;
                for _ in 0..BURST {
                    let bytes = damaged(&mut dice, &over_tcp);
                    stream.write(&bytes, 1 + dice.below(2_000));
                    sent += 1;
                }
            }
        }
        let (took, resident) = (start.elapsed(), gateway.resident());
        println!(
            "round {round}: {sent} messages, {connections} connections, {took:?}, {resident} KiB"
        );
        assert!(connections > 200);
        resident
    };
    let gauge = |name: &str| -> f64 {
        let metrics = gateway.get("/metrics").1;
        let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {name}in\n{metrics}"))
    };
    let warm = send(0);
    // Transactions repeat what they said for 32 s (RFC 3261 §17); then nothing is left but the call.
    let end = Instant::now() + Duration::from_secs(60);
    while gauge("trunkgate_transactions ") > 1.0 || gauge("trunkgate_active_calls ") > 1.0 {
        assert!(Instant::now() < end, "{} transactions are left", gauge("trunkgate_transactions "));
        std::thread::sleep(Duration::from_millis(500));
    }
    let again = send(1);
    assert!(again < warm + 4 * 1024, "resident memory grew from {warm} to {again} KiB");

    let metrics = gateway.get("/metrics").1;
    let figure = |name: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    assert!(figure("trunkgate_messages_unreadable_total") > 10_000.0, "{metrics}");
    assert!(figure("trunkgate_calls_ended_total") > 100.0, "{metrics}");
    assert_eq!(figure("trunkgate_faults_total "), 0.0, "{metrics}");
    for cause in [
        "bare_line_end",
        "nul",
        "doubled",
        "missing",
        "malformed",
        "header_line",
        "short",
        "version",
    ] {
        assert!(
            metrics.contains(&format!("unreadable_total{{cause=\"{cause}\"}}")),
            "{cause}: {metrics}"
        );
    }
    // The call that was up still is; when it is over, nothing is left of any.
    call.talk();
    call.carrier_hangs_up();
    let end = Instant::now() + Duration::from_secs(10);
    for name in ["trunkgate_active_calls ", "trunkgate_media_sessions "] {
        while gauge(name) > 0.0 {
            assert!(Instant::now() < end, "{name}{}", gauge(name));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert!(gateway.is_running(), "{}", gateway.log());
}
