//! Attacks on parser and framing by their number: every one is refused as it must be, nothing of it reaches the other
//! side, and a call that was up before is still up.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::harness::media::MediaEnd;
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::raw::{header, status};
use crate::harness::scene::Scene;
use crate::harness::siege::{ATTACKER, Siege, request};
use crate::harness::sip::Msg;
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};
use crate::harness::wire::SOON;

/// The same with one of its lines replaced.
fn instead(method: &str, name: &str, line: &str) -> Vec<u8> {
    let text = String::from_utf8(request(method, "UDP", "", "")).unwrap();
    let lines = text
        .split("\r\n")
        .map(|old| if old.starts_with(name) { line.to_owned() } else { old.to_owned() });
    lines.collect::<Vec<_>>().join("\r\n").into_bytes()
}

/// No line of the attacker's, and no byte that could be one.
fn is_clean(msg: &Msg) {
    assert_eq!(msg.get("X-Evil"), None, "{msg}");
    let head = msg.raw.split(|byte| *byte == b'\n');
    for line in head.take_while(|line| line.len() > 1) {
        assert_eq!(line.iter().position(|byte| *byte == b'\r'), Some(line.len() - 1), "{msg}");
        assert!(!line.contains(&0), "{msg}");
        assert!(!line.starts_with(b"X-Evil") && !line.starts_with(b"x-evil"), "{msg}");
    }
}

#[test]
fn at_18_no_line_of_one_side_reaches_the_other() {
    let siege = Siege::new("at_18");
    let wire = siege.datagrams();
    let at = siege.scene.place.ip(ATTACKER);
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    );
    let invite = |name: &str, line: &str| {
        let text = String::from_utf8(instead("INVITE", name, line)).unwrap();
        let (head, _) = text.split_once("Content-Length").unwrap();
        let length = sdp.len();
        format!("{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}")
    };
    // What a bare CR, LF or NUL is in is refused, and nobody is called.
    for evil in ["\n", "\r", "\0", "\r\r", "\n\r"] {
        for (name, line) in [
            ("From", format!("From: \"a{evil}X-Evil: 1\" <sip:{CALLER}@h>;tag=1")),
            ("From", format!("From: <sip:{CALLER}{evil}X-Evil: 1@h>;tag=1")),
            ("To", format!("To: <sip:{CALLED}@h>{evil}X-Evil: 1")),
            ("Contact", format!("Contact: <sip:h>\r\nX-Any: a{evil}X-Evil: 1")),
            ("Contact", format!("Contact: <sip:h>\r\nReason: SIP;text=\"a{evil}X-Evil: 1\"")),
            ("Contact", format!("Contact: <sip:h;x{evil}X-Evil: 1>")),
            ("Max", format!("Max-Forwards: 70\r\nDiversion: <sip:{CALLED}@h>{evil}X-Evil: 1")),
        ] {
            assert_eq!(wire.ask(invite(name, &line).as_bytes()), 400, "{line:?}");
        }
    }
    siege.teams.not_invited();
    // What is escaped stays so or is replaced; what is folded stays one line; X- headers stay here.
    for (name, line) in [
        ("From", format!("From: \"a\r\n X-Evil: 1\" <sip:{CALLER}@h>;tag=1")),
        ("From", format!("From: \"a%0d%0aX-Evil: 1\" <sip:{CALLER}@h>;tag=1")),
        ("From", format!("From: \"a\\\r\n\tX-Evil: 1\\\"\" <sip:{CALLER}@h>;tag=1")),
        ("From", "From: <sip:a%0d%0aX-Evil:%201@h>;tag=1".to_owned()),
        ("From", format!("From: <sip:{CALLER}%0D%0AX-Evil:%201%00@h>;tag=1")),
        ("To", "To: \"%0d%0aX-Evil: 1\" <sip:%0d%0aX-Evil%3A1@h>".to_owned()),
        ("Contact", "Contact: <sip:%0d%0aX-Evil%3A1@attacker.test;a=%0d%0aX-Evil:1>".to_owned()),
        ("Contact", "Contact: <sip:attacker.test>\r\nX-Evil: 1\r\nx-evil: 2".to_owned()),
        ("Contact", "Contact: <sip:attacker.test>\r\nX-Any: a\r\n X-Evil: 1\r\n\tX-Evil: 2".to_owned()),
        ("Contact", "Contact: <sip:attacker.test>\r\nP-Asserted-Identity: \"a\r\n X-Evil: 1\" <sip:%0d%0aX-Evil@h>".to_owned()),
        ("Contact", "Contact: <sip:attacker.test>\r\nReason: SIP;cause=200;text=\"a\r\n X-Evil: 1\"".to_owned()),
    ] {
        let text = invite(name, &line);
        wire.send(text.as_bytes());
        let (seen, callee) = siege.teams.invited();
        is_clean(&seen.msg);
        callee.reply(&seen, "486 Busy Here", "", "");
        let call_id = header(text.as_bytes(), "Call-ID", "i");
        let answer = wire.answer(SOON, call_id.as_deref()).expect("a final answer");
        is_clean(&Msg::read(&answer).unwrap());
    }
    // The dialled number is read, not copied.
    for uri in ["+15550010001%0d%0aX-Evil:%201", "%0d%0aX-Evil:%201", "+1555001%000001"] {
        let text = invite("INVITE", &format!("INVITE sip:{uri}@gateway.test SIP/2.0"));
        assert!([404, 484].contains(&wire.ask(text.as_bytes())), "{uri}");
    }
    siege.teams.not_invited();
    siege.ends("trunkgate_messages_unreadable_total{cause=\"nul\"}");
}

/// The same inside a call: Reason and reason phrases pass, and nothing else does.
#[test]
fn at_18_nothing_inside_a_call_makes_a_line_on_the_other_side() {
    let scene = Scene::usual("at_18_dialog");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    for reason in [
        "Reason: Q.850;cause=16;text=\"a\r\n X-Evil: 1\"\r\n",
        "Reason: Q.850;cause=16;text=\"%0d%0aX-Evil: 1\"\r\nX-Evil: 1\r\n",
        "Reason: SIP;cause=200;text=\"a\r\n\tX-Evil: 1\r\n X-Evil: 2\"\r\nReason: \"\r\n X-Evil: 1\"\r\n",
    ] {
        let mut call = Talking::incoming(&teams, &carrier, CALLED);
        let refused =
            call.carrier.ask("REFER", "Refer-To: <sip:x@h?X-Evil=%0d%0aX-Evil:%201>\r\n", "");
        assert!(refused.msg.status() >= 400, "{}", refused.msg);
        let refused =
            call.carrier.ask("INFO", "Content-Type: text/plain\r\nX-Evil: 1\r\n", "X-Evil: 1");
        assert!(refused.msg.status() >= 400, "{}", refused.msg);
        call.carrier.send("BYE", reason, "");
        let bye = call.teams.hung_up();
        is_clean(&bye.msg);
        call.carrier.took_200("BYE");
    }
    // The other way: phrases and headers of answers.
    for (status, extra) in [
        ("486 Busy%0d%0aX-Evil: 1", "X-Evil: 1\r\n"),
        ("603 Decline", "Reason: Q.850;cause=21;text=\"a\r\n X-Evil: 1\"\r\n"),
        ("404 \u{1}\u{7f}\u{ff}", "Warning: 399 h \"a\r\n X-Evil: 1\"\r\n"),
    ] {
        let sdp = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n";
        let mut caller = carrier.call(CALLER, CALLED, sdp);
        let (invite, callee) = teams.invited();
        callee.reply(&invite, status, extra, "");
        let refusal = caller.final_response();
        is_clean(&refusal.msg);
        caller.ack_failure();
    }
    let call = Talking::incoming(&teams, &carrier, CALLED);
    call.teams_hangs_up();
}

#[test]
fn at_20_doubled_headers_are_400() {
    let siege = Siege::new("at_20");
    let wire = siege.datagrams();
    for lines in [
        "To: <sip:x@h>\r\n",
        "t: <sip:x@h>\r\n",
        "TO : <sip:x@h>;tag=\r\n",
        "To:\r\n <sip:x@h>\r\n",
        "From: <sip:x@h>;tag=2\r\n",
        "f: <sip:x@h>\r\n",
        "CSeq: 2 INVITE\r\n",
        "cseq\t: 1 INVITE\r\n",
        "Call-ID: other\r\n",
        "i: other\r\n",
        "Max-Forwards: 70\r\n",
        "MAX-FORWARDS: 0\r\n",
        "Content-Type: application/sdp\r\nc: text/plain\r\n",
        "Content-Length: 0\r\nl: 0\r\n",
        "Replaces: a;to-tag=b;from-tag=c\r\nreplaces: d;to-tag=e;from-tag=f\r\n",
    ] {
        assert_eq!(wire.ask(&request("INVITE", "UDP", lines, "")), 400, "{lines:?}");
        assert_eq!(wire.ask(&request("OPTIONS", "UDP", lines, "")), 400, "{lines:?}");
    }
    // Two tags in one To.
    for to in [
        "To: <sip:x@h>;tag=a;tag=b",
        "To: <sip:x@h>;tag=",
        "To: <sip:x@h>;tag",
        "To:",
        "To: \"<sip:x@h>",
    ] {
        assert_eq!(wire.ask(&instead("INVITE", "To", to)), 400, "{to}");
    }
    siege.teams.not_invited();
    siege.ends("trunkgate_messages_unreadable_total{cause=\"doubled\"}");
}

#[test]
fn at_21_content_length_that_lies_on_a_stream_is_refused_and_the_connection_closed() {
    let siege = Siege::new("at_21");
    for (lines, status) in [
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: 5,5\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: \"5\"\r\n", 400),
        ("Content-Length: 5;x\r\n", 400),
        ("Content-Length: 1\r\n 2\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nl: 0\r\n", 400),
        ("l : 5\r\nCONTENT-LENGTH:5\r\n", 400),
        ("Content-Length: 200000\r\n", 513),
        ("Content-Length: 4294967295\r\n", 513),
        ("Content-Length: 4294967301\r\n", 513),
        ("Content-Length: 9223372036854775808\r\n", 513),
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("Content-Length: 18446744073709551621\r\n", 400),
        ("Content-Length: 99999999999999999999999999\r\n", 400),
    ] {
        // Behind it a whole request: nobody may take it for one.
        let mut bytes = request("OPTIONS", "TCP", lines, "hello");
        bytes.extend(request("OPTIONS", "TCP", "", ""));
        for size in [usize::MAX, 7] {
            let mut stream = siege.stream();
            let start = Instant::now();
            stream.write(&bytes, size);
            assert_eq!(stream.fate(&bytes, SOON), status, "{lines:?} by {size}");
            assert!(stream.is_closed_within(Duration::from_secs(3)), "{lines:?}: still open");
            assert_eq!(stream.left(), 0, "{lines:?}: another answer");
            assert!(start.elapsed() < Duration::from_secs(5), "{lines:?}: {:?}", start.elapsed());
        }
    }
    // Missing.
    let whole = String::from_utf8(request("OPTIONS", "TCP", "", "")).unwrap();
    let bytes = whole.replace("Content-Length: 0\r\n", "").into_bytes();
    let mut stream = siege.stream();
    stream.write(&bytes, usize::MAX);
    assert_eq!(stream.fate(&bytes, SOON), 400);
    assert!(stream.is_closed_within(Duration::from_secs(3)));
    // A folded one counts; so does a compact one.
    for lines in ["Content-Length:\r\n  5\r\n", "L:\t5 \r\n", "cOnTeNt-LeNgTh : 5\r\n"] {
        let mut stream = siege.stream();
        let bytes = request("OPTIONS", "TCP", lines, "hello");
        stream.write(&bytes, 7);
        assert_eq!(stream.fate(&bytes, SOON), 200, "{lines:?}");
        assert!(stream.answers_options(), "{lines:?}");
    }
    siege.ends("trunkgate_messages_unreadable_total{cause=\"malformed\"}");
}

#[test]
fn at_21_a_body_that_is_shorter_or_longer_than_it_says() {
    let siege = Siege::new("at_21_body");
    let wire = siege.datagrams();
    // A datagram is whole: too little is refused, too much is dropped.
    assert_eq!(wire.ask(&request("OPTIONS", "UDP", "Content-Length: 6\r\n", "hello")), 400);
    assert_eq!(wire.ask(&request("OPTIONS", "UDP", "Content-Length: 4\r\n", "hello")), 200);
    // On a stream too much is the next message: it is none, and the connection soon ends.
    let mut stream = siege.stream();
    let bytes = request("OPTIONS", "TCP", "Content-Length: 4\r\n", "hello\n\n");
    stream.write(&bytes, usize::MAX);
    assert_eq!(stream.fate(&bytes, SOON), 200);
    assert!(stream.is_closed_within(Duration::from_secs(3)), "\"o\\n\\n\" begins no message");
    // Too little is waited for, no longer than a message may take, while others are served.
    let mut stream = siege.stream();
    let bytes = request("OPTIONS", "TCP", "Content-Length: 6\r\n", "hello");
    let start = Instant::now();
    stream.write(&bytes, usize::MAX);
    assert!(siege.stream().answers_options());
    assert!(stream.is_closed_within(Duration::from_secs(12)), "still waiting");
    assert!(start.elapsed() > Duration::from_secs(1), "closed at once");
    assert_eq!(stream.left(), 0);
    siege.ends("trunkgate_messages_unreadable_total{cause=\"short\"}");
}

/// A line end that another parser takes and ours does not, or the other way round, would make two messages of one.
#[test]
fn at_21_bare_line_ends_smuggle_no_header_and_no_message() {
    let siege = Siege::new("at_21_lf");
    let inner = String::from_utf8(request("INVITE", "TCP", "", "")).unwrap();
    let wire = siege.datagrams();
    for (what, lines) in [
        ("LF before a header", "X: a\nContent-Length: 0\r\n".to_owned()),
        ("CR before a header", "X: a\rContent-Length: 0\r\n".to_owned()),
        ("LF before a length", format!("X: a\nl: {}\r\n", inner.len())),
        ("LF LF before a message", format!("X: a\n\n{inner}")),
        ("CR CR before a message", format!("X: a\r\r{inner}")),
        ("LF CR LF", format!("X: a\n\r\n{inner}")),
        ("CR CR LF", format!("X: a\r\r\n\r\n{inner}")),
        ("NUL CR LF", format!("X: a\0\r\n\r\n{inner}")),
        ("LF in a fold", "X: a\r\n b\n c\r\n".to_owned()),
        ("CR in a name", "X\r: a\r\n".to_owned()),
    ] {
        let bytes = request("OPTIONS", "TCP", &lines, "");
        for size in [usize::MAX, 7, 1] {
            let mut stream = siege.stream();
            stream.write(&bytes, size);
            assert_eq!(stream.fate(&bytes, SOON), 400, "{what} by {size}");
            assert!(stream.is_closed_within(Duration::from_secs(3)), "{what}: still open");
            assert_eq!(stream.left(), 0, "{what}: two answers");
        }
        assert_eq!(wire.ask(&request("OPTIONS", "UDP", &lines, "")), 400, "{what} over UDP");
    }
    // Nothing but LF.
    let text = String::from_utf8(request("OPTIONS", "UDP", "", "")).unwrap();
    assert_eq!(wire.ask(text.replace("\r\n", "\n").as_bytes()), 400);
    // Between messages nothing but CRLF may stand.
    for gap in ["\n", "\r", " ", "\0", "\t\r\n", "\n\n"] {
        let mut stream = siege.stream();
        let bytes = request("OPTIONS", "TCP", "", "");
        stream.write(&[gap.as_bytes(), &bytes].concat(), usize::MAX);
        assert_eq!(stream.fate(&bytes, Duration::from_millis(300)), 0, "{gap:?}");
    }
    let mut stream = siege.stream();
    let bytes = request("OPTIONS", "TCP", "", "");
    stream.write(&[b"\r\n\r\n\r\n", &bytes[..], b"\r\n"].concat(), 1);
    // The pong is a line end too; what is asked for is behind it.
    assert!(stream.answers_options());
    siege.teams.not_invited();
    siege.ends("trunkgate_messages_unreadable_total{cause=\"bare_line_end\"}");
}

/// Not every oddity is a fault: folds, white space, compact names, any case, bytes above 127.
#[test]
fn at_21_folds_and_bytes_above_127_are_read() {
    let siege = Siege::new("at_21_fold");
    let wire = siege.datagrams();
    for line in [
        "From:\r\n \"a\"\r\n\t<sip:a@h>\r\n ;tag\r\n = 1",
        "fRoM : \"\u{e9}\u{20ac}\" <sip:a@h>;tag=1",
        "f:<sip:a@h>;tag=1",
    ] {
        assert_eq!(wire.ask(&instead("OPTIONS", "From", line)), 200, "{line:?}");
        let mut stream = siege.stream();
        let bytes = instead("OPTIONS", "From", line);
        stream.write(&bytes, 7);
        assert_eq!(stream.fate(&bytes, SOON), 200, "{line:?}");
        assert!(stream.answers_options());
    }
    // Latin-1, which is no UTF-8 at all.
    let mut bytes = instead("OPTIONS", "From", "From: \"@@\" <sip:a@h>;tag=1");
    let at = bytes.windows(2).position(|two| two == b"@@").unwrap();
    bytes[at] = 0xe9;
    bytes[at + 1] = 0xff;
    assert_eq!(wire.ask(&bytes), 200);
    siege.ends("trunkgate_active_calls");
}

#[test]
fn at_23_too_much_of_anything_is_513() {
    let siege = Siege::new("at_23");
    let vias = "Via: SIP/2.0/TCP h;branch=z9hG4bK1\r\n".repeat(500);
    let list = format!("Via: {}\r\n", vec!["SIP/2.0/TCP h"; 500].join(","));
    let routes = "Route: <sip:h;lr>\r\n".repeat(200);
    let records = format!("Record-Route: {}\r\n", vec!["<sip:h;lr>"; 200].join(", "));
    for (what, lines) in [
        ("one line of 70 kB", format!("X: {}\r\n", "x".repeat(70_000))),
        ("64 kB of lines", format!("X: {}\r\n", "x".repeat(1_000)).repeat(70)),
        ("10,000 headers", "X: y\r\n".repeat(10_000)),
        ("folds without end", format!("X: y\r\n{}", " z\r\n".repeat(20_000))),
        ("500 Vias", vias),
        ("500 Vias in one line", list),
        ("200 Routes", routes),
        ("200 Record-Routes in one line", records),
    ] {
        let bytes = request("INVITE", "TCP", &lines, "");
        let mut stream = siege.stream();
        stream.write(&bytes, usize::MAX);
        // Where the block is not even read to its end, what is answered is what was read.
        let answer = stream.until(SOON, |response| status(response) >= 200);
        let status = answer.map_or(0, |answer| status(&answer));
        assert_eq!(status, 513, "{what}");
        // Too many hops stand in a message whose end is sure; ten of those end a connection, too.
        let closes = !what.contains("in one line") && what != "200 Routes";
        assert_eq!(stream.is_closed_within(Duration::from_secs(1)), closes, "{what}");
        assert!(siege.stream().answers_options(), "{what}");
    }
    // A body that is announced is refused before it comes.
    let mut stream = siege.stream();
    let bytes = request(
        "INVITE",
        "TCP",
        "Content-Type: application/sdp\r\nContent-Length: 1048576\r\n",
        "",
    );
    stream.write(&bytes, usize::MAX);
    assert_eq!(stream.fate(&bytes, SOON), 513);
    assert!(stream.is_closed_within(Duration::from_secs(3)));
    // The largest datagram there is.
    let wire = siege.datagrams();
    let padding = "x".repeat(65_507 - request("INVITE", "UDP", "X: \r\n", "").len());
    assert_eq!(wire.ask(&request("INVITE", "UDP", &format!("X: {padding}\r\n"), "")), 513);
    siege.teams.not_invited();
    siege.ends("trunkgate_messages_unreadable_total{cause=\"too_large\"}");
}

#[test]
fn at_23_a_connection_holds_no_more_than_256_kb() {
    let siege = Siege::new("at_23_memory");
    // Warm: what one connection leaves behind is no growth.
    drop(siege.stream());
    let before = siege.gateway.resident();
    let head =
        request("INVITE", "TCP", "Content-Type: application/sdp\r\nContent-Length: 190000\r\n", "");
    let count = 40;
    let streams: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = siege.stream();
            stream.write(&head, usize::MAX);
            stream.write(&vec![b'x'; 185_000], usize::MAX);
            stream
        })
        .collect();
    assert!(siege.stream().answers_options());
    let grown = siege.gateway.resident().saturating_sub(before);
    assert!(grown < count * 256, "{grown} KiB for {count} connections");
    drop(streams);
    siege.ends("trunkgate_open_connections");
}

#[test]
fn at_49_numbers_out_of_order() {
    let mut siege = Siege::new("at_49");
    let wire = siege.datagrams();
    for cseq in [
        "2147483648 INVITE",
        "4294967296 INVITE",
        "4294967297 INVITE",
        "18446744073709551617 INVITE",
        "-1 INVITE",
        "+1 INVITE",
        "1",
        "INVITE",
        "1INVITE",
        "1 OPTIONS",
        "1 INVITE x",
        "1.0 INVITE",
    ] {
        assert_eq!(wire.ask(&instead("INVITE", "CSeq", &format!("CSeq: {cseq}"))), 400, "{cseq}");
    }
    siege.teams.not_invited();
    // Inside the dialog: back in time is 500, a PRACK that nobody asked for 481.
    let dialog = &mut siege.call.carrier;
    assert_eq!(dialog.ask("OPTIONS", "", "").msg.status(), 200);
    for rack in ["RAck: 1 1 INVITE\r\n", "RAck: 4294967296 1 INVITE\r\n", "RAck: x\r\n", ""] {
        assert_eq!(dialog.ask("PRACK", rack, "").msg.status(), 481, "{rack}");
    }
    let next = dialog.back(3);
    assert_eq!(dialog.ask("OPTIONS", "", "").msg.status(), 500, "an old CSeq");
    dialog.back_to(next);
    siege.ends("trunkgate_messages_unreadable_total{cause=\"malformed\"}");
}

#[test]
fn at_54_documents_beside_the_sdp_are_not_opened() {
    let scene = Scene::usual("at_54");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut laughs = "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a0 \"ha\">".to_owned();
    for level in 1..30 {
        write!(laughs, "<!ENTITY a{level} \"{}\">", format!("&a{};", level - 1).repeat(10))
            .unwrap();
    }
    laughs.push_str("]><presence>&a29;</presence>");
    let outside = "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a SYSTEM \"file:///etc/passwd\"><!ENTITY b SYSTEM \
                   \"http://127.0.0.1:8080/metrics\">]><presence>&a;&b;</presence>";
    let deep = "<a>".repeat(10_000);
    let place = carrier.ip();
    let before = gateway.resident();
    for (number, (kind, document)) in [
        ("application/pidf+xml", laughs.as_str()),
        ("application/pidf+xml", outside),
        ("application/rs-metadata+xml", laughs.as_str()),
        ("application/reginfo+xml", &deep),
    ]
    .into_iter()
    .enumerate()
    {
        let port = 9100 + 2 * number;
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {place}\r\ns=-\r\nc=IN IP4 {place}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        );
        let body = format!(
            "--b\r\nContent-Type: {kind}\r\nContent-ID: <x@h>\r\n\r\n{document}\r\n--b\r\n\
             Content-Type: application/sdp\r\n\r\n{sdp}\r\n--b--\r\n"
        );
        let extra = "Geolocation: <cid:x@h>, <cid:y@h>\r\nGeolocation: <cid:x@h>\r\nGeolocation-Routing: yes\r\n\
                     Content-Type: multipart/mixed;boundary=b\r\n";
        let start = Instant::now();
        let mut caller = carrier.call_with(CALLER, CALLED, extra, &body);
        let (invite, callee) = teams.invited();
        assert!(start.elapsed() < Duration::from_secs(1), "{kind}: {:?}", start.elapsed());
        assert_eq!(invite.msg.need("Content-Type"), "application/sdp");
        assert!(
            !invite.msg.to_string().contains("ENTITY") && !invite.msg.to_string().contains("cid:")
        );
        let mut media =
            MediaEnd::new(teams.place.ip(PROXY), 9200 + 2 * u16::try_from(number).unwrap());
        let (answer, ..) = answer_to(&mut media, &invite.msg);
        callee.reply(&invite, "200 OK", "", &answer);
        caller.response(200);
        caller.ack();
        callee.take("ACK");
        caller.send("BYE", "", "");
        callee.hung_up();
        caller.took_200("BYE");
    }
    assert!(gateway.resident() < before + 4 * 1024, "grew from {before} to {}", gateway.resident());
}

#[test]
fn at_55_multipart_bodies_that_lie() {
    let siege = Siege::new("at_55");
    let wire = siege.datagrams();
    let at = siege.scene.place.ip(ATTACKER);
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n"
    );
    let part = format!("Content-Type: application/sdp\r\n\r\n{sdp}");
    let nested = |depth: usize| {
        let mut body = format!("--b\r\n{part}\r\n--b--\r\n");
        for level in 0..depth {
            body = format!(
                "--n{level}\r\nContent-Type: multipart/mixed;boundary={}\r\n\r\n{body}\r\n--n{level}--\r\n",
                if level == 0 { "b".to_owned() } else { format!("n{}", level - 1) }
            );
        }
        body
    };
    let long_header = format!("--b\r\nX: {}\r\n{part}\r\n--b--\r\n", "x".repeat(30_000));
    let parts = format!("{}--b--\r\n", format!("--b\r\n{part}\r\n").repeat(60));
    let long = "b".repeat(71);
    for (what, parameter, body, expected) in [
        ("no boundary", "", format!("--b\r\n{part}\r\n--b--\r\n"), 400),
        ("an empty boundary", ";boundary=\"\"", format!("--\r\n{part}\r\n----\r\n"), 400),
        (
            "a boundary too long",
            &*format!(";boundary={long}"),
            format!("--{long}\r\n{part}\r\n--{long}--\r\n"),
            400,
        ),
        ("another boundary", ";boundary=c", format!("--b\r\n{part}\r\n--b--\r\n"), 400),
        ("no end", ";boundary=b", format!("--b\r\n{part}\r\n"), 400),
        ("an end only", ";boundary=b", "--b--\r\n".to_owned(), 400),
        (
            "no blank line",
            ";boundary=b",
            "--b\r\nContent-Type: application/sdp\r\n--b--\r\n".to_owned(),
            400,
        ),
        ("a header of 30 kB", ";boundary=b", long_header, 400),
        ("60 parts", ";boundary=b", parts, 400),
        (
            "a bare LF in a part's header",
            ";boundary=b",
            format!("--b\r\nX: a\n{part}\r\n--b--\r\n"),
            400,
        ),
        ("50 levels", ";boundary=n49", nested(50), 415),
    ] {
        let kind = format!("Content-Type: multipart/mixed{parameter}\r\n");
        let start = Instant::now();
        assert_eq!(wire.ask(&request("INVITE", "UDP", &kind, &body)), expected, "{what}");
        assert!(start.elapsed() < Duration::from_secs(1), "{what}: {:?}", start.elapsed());
    }
    siege.teams.not_invited();
    // A boundary inside the content is content, unless a line of its own.
    let body = format!("--b\r\nX: a\r\n\r\nx--b\r\n --b\r\n--bb\r\n--b\r\n{part}\r\n--b--\r\n");
    let text = request("INVITE", "UDP", "Content-Type: multipart/mixed;boundary=b\r\n", &body);
    wire.send(&text);
    let (invite, callee) = siege.teams.invited();
    assert!(!invite.msg.body.contains("--b"), "{}", invite.msg);
    callee.reply(&invite, "486 Busy Here", "", "");
    let call_id = header(&text, "Call-ID", "i");
    assert!(wire.answer(SOON, call_id.as_deref()).is_some());
    siege.ends("trunkgate_calls_ended_total");
}
