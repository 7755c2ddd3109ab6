//! The torture messages of RFC 4475 and RFC 5118 against the running gateway, from a trunk that it knows: over UDP, over
//! TCP, and over TCP in writes of seven bytes. Each has the status that must come back, or a reason for silence; after
//! each an OPTIONS is answered, and at the end a call that was up before is still up.
//!
//! Messages that are in order are refused here as calls, not as messages: nobody of this configuration has the number.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::dialog::token;
use crate::harness::place::{CARRIER_A, CARRIER_SIDE};
use crate::harness::raw::{Stream, ack, header, options, status};
use crate::harness::scene::Scene;
use crate::harness::talking::{CALLED, Talking};

/// What comes back to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// This final status.
    Status(u16),
    /// Nothing.
    Silence,
}

use Fate::{Silence, Status};

/// Name, what comes back over UDP, what comes back over TCP, why.
pub(super) type Row = (&'static str, Fate, Fate, &'static str);

/// A stream without Content-Length is refused with 400 and closed, where a datagram is whole without it (RFC 3261 §18.3).
const RFC4475: [Row; 50] = [
    ("badaspec", Status(400), Status(400), "white space inside angle brackets"),
    ("badbranch", Status(400), Status(400), "the magic cookie alone"),
    ("baddate", Status(484), Status(484), "nobody reads Date; \"user\" is no number"),
    ("baddn", Status(400), Silence, "this copy lacks its blank line; a stream waits for it"),
    ("badinv01", Status(400), Status(400), "stray separators in Via and Contact"),
    ("badvers", Status(505), Status(505), "SIP/7.0"),
    ("bcast", Silence, Silence, "a response that belongs to no request of ours"),
    ("bext01", Status(420), Status(420), "Require names what nobody has"),
    ("bigcode", Silence, Silence, "a response with a status beyond any integer"),
    (
        "clerr",
        Status(400),
        Silence,
        "Content-Length beyond the datagram; a stream waits for the rest",
    ),
    ("cparam01", Status(405), Status(405), "REGISTER is not served"),
    ("cparam02", Status(405), Status(405), "REGISTER is not served"),
    (
        "dblreq",
        Status(405),
        Status(405),
        "REGISTER is not served; what follows it is another message",
    ),
    ("esc01", Status(484), Status(484), "the user part is no number"),
    ("esc02", Status(405), Status(405), "RE%47IST%45R is a method, and not REGISTER"),
    ("escnull", Status(405), Status(405), "REGISTER is not served; %00 stays escaped"),
    ("escruri", Status(400), Status(400), "headers in the Request-URI"),
    ("insuf", Status(400), Status(400), "Call-ID, From and To are missing"),
    (
        "intmeth",
        Status(400),
        Status(400),
        "a NUL in the header block, which this gateway never takes",
    ),
    (
        "inv2543",
        Status(400),
        Status(400),
        "no Contact, so that nobody could be reached in the dialog",
    ),
    ("invut", Status(415), Status(415), "a body that must be understood and is not"),
    ("longreq", Status(484), Status(484), "long values everywhere; \"user\" is no number"),
    ("ltgtruri", Status(400), Status(400), "angle brackets round the Request-URI"),
    ("lwsdisp", Status(200), Status(200), "no space before the angle bracket"),
    ("lwsruri", Status(400), Status(400), "a space in the Request-URI"),
    ("lwsstart", Status(400), Status(400), "two spaces in the start line"),
    ("mcl01", Status(400), Status(400), "two Content-Lengths"),
    ("mismatch01", Status(400), Status(400), "CSeq names another method"),
    ("mismatch02", Status(400), Status(400), "CSeq names another method, of an unknown one"),
    ("mpart01", Status(405), Status(405), "MESSAGE is not served"),
    ("multi01", Status(400), Status(400), "doubled single-instance headers"),
    ("ncl", Status(400), Status(400), "a negative Content-Length"),
    ("noreason", Silence, Silence, "a response that belongs to no request of ours"),
    ("novelsc", Status(416), Status(416), "soap.beep: is not served"),
    ("quotbal", Status(400), Status(400), "an open quote"),
    ("regaut01", Status(405), Status(405), "REGISTER is not served"),
    ("regbadct", Status(400), Status(400), "URI headers outside angle brackets"),
    ("regescrt", Status(405), Status(405), "REGISTER is not served"),
    ("scalar02", Status(400), Status(400), "CSeq beyond 2^31"),
    ("scalarlg", Silence, Silence, "a response with numbers beyond any integer"),
    (
        "sdp01",
        Status(484),
        Status(484),
        "we answer with SDP whatever Accept says; \"user\" is no number",
    ),
    ("semiuri", Status(200), Status(200), "a semicolon in the user part"),
    ("test", Silence, Silence, "no Via and no version: nobody to answer"),
    ("transports", Status(200), Status(200), "Vias of every transport"),
    ("trws", Status(400), Status(400), "spaces behind the version"),
    ("unkscm", Status(416), Status(416), "an unknown scheme"),
    ("unksm2", Status(405), Status(405), "REGISTER is not served, whatever To is"),
    ("unreason", Silence, Silence, "a response that belongs to no request of ours"),
    ("wsinv", Status(481), Status(481), "white space wherever it may stand; a To tag of no dialog"),
    ("zeromf", Status(200), Status(200), "Max-Forwards is for who forwards; we are the end"),
];

const RFC5118: [Row; 12] = [
    ("ipv4-mapped-ipv6", Status(484), Status(484), "\"user\" is no number"),
    ("ipv6-bad", Status(400), Status(400), "an address without brackets"),
    ("ipv6-bug-abnf-3-colons", Status(200), Status(200), "the grammar's own fault is forgiven"),
    ("ipv6-correct-abnf-2-colons", Status(200), Status(200), "an address with an IPv4 tail"),
    ("ipv6-good", Status(405), Status(405), "REGISTER is not served"),
    ("ipv6-in-sdp", Status(484), Status(484), "\"user\" is no number"),
    ("mult-ip-in-header", Status(481), Status(481), "a BYE for no call"),
    ("mult-ip-in-sdp", Status(484), Status(484), "\"user\" is no number"),
    ("port-ambiguous", Status(405), Status(405), "REGISTER is not served"),
    ("port-unambiguous", Status(405), Status(405), "REGISTER is not served"),
    ("via-received-param-no-delim", Status(200), Status(200), "received without brackets"),
    ("via-received-param-with-delim", Status(481), Status(481), "a BYE for no call"),
];

/// Kamailio is silent 18 times on the same 62 messages.
const MOST_SILENCES: usize = 6;

#[test]
fn torture_messages_over_udp() {
    let mut scene = Scene::usual("torture_udp");
    scene.trunk("carrier-b", "udp", OTHER, "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let gateway_at = scene.place.at(CARRIER_SIDE, 5060);
    // Answers go to the sent-by port where no rport is asked for.
    let sockets: Vec<UdpSocket> = [5060, 5050, 6050, 19823]
        .into_iter()
        .map(|port| {
            let socket = UdpSocket::bind(scene.place.at(OTHER, port)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();

    let mut wrong = Vec::new();
    let mut silences = 0;
    for (folder, (name, expected, _, why)) in rows() {
        let bytes = message(folder, name);
        sockets[0].send_to(&bytes, gateway_at).unwrap();
        let found = over_udp(&sockets, gateway_at, &bytes, expected);
        silences += usize::from(found == Silence);
        if found != expected {
            wrong.push(format!("{folder}/{name}: {found:?}, not {expected:?} ({why})"));
        }
        assert!(gateway.is_running(), "{name}: {}", gateway.log());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(silences <= MOST_SILENCES, "{silences} silences");
    call.talk();
    call.carrier_hangs_up();
}

#[test]
fn torture_messages_over_tcp() {
    over_streams("torture_tcp", usize::MAX);
}

#[test]
fn torture_messages_over_tcp_in_seven_byte_writes() {
    over_streams("torture_tcp_7", 7);
}

fn over_streams(test: &str, size: usize) {
    let mut scene = Scene::usual(test);
    scene.trunk("carrier-b", "tcp", OTHER, "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let gateway_at = scene.place.at(CARRIER_SIDE, 5060);

    let mut wrong = Vec::new();
    for (folder, (name, _, expected, why)) in rows() {
        let bytes = message(folder, name);
        let mut stream = Stream::open(scene.place.ip(OTHER), gateway_at);
        stream.write(&bytes, size);
        let wait = Duration::from_millis(if expected == Silence { 100 } else { 5_000 });
        let found = match stream.fate(&bytes, wait) {
            0 => Silence,
            status => Status(status),
        };
        // A refusal of the framing, and no other, ends the connection.
        let is_open = stream.answers_options();
        if LEFT_OVER.contains(&name) {
            assert!(!is_open, "{name}: the OPTIONS belongs to what is waited for");
        } else if is_open == breaks(&bytes) {
            wrong.push(format!("{folder}/{name}: open: {is_open}"));
        }
        let mut next = Stream::open(scene.place.ip(OTHER), gateway_at);
        assert!(next.answers_options(), "{name}: no answer to OPTIONS afterwards");
        if found != expected {
            wrong.push(format!("{folder}/{name}: {found:?}, not {expected:?} ({why})"));
        }
        assert!(gateway.is_running(), "{name}: {}", gateway.log());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    call.talk();
    call.carrier_hangs_up();
}

/// On a stream their end is not where they stop: header or body are still open, or there are a few bytes too many.
const LEFT_OVER: [&str; 3] = ["clerr", "baddn", "dblreq"];

/// The trunk that sends the messages.
const OTHER: u8 = 52;

pub(super) fn rows() -> impl Iterator<Item = (&'static str, Row)> {
    let first = RFC4475.iter().map(|row| ("rfc4475", *row));
    first.chain(RFC5118.iter().map(|row| ("rfc5118", *row)))
}

pub(super) fn message(folder: &str, name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../sip-stack/tests/torture")
        .join(folder)
        .join(format!("{name}.dat"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether the framing of a stream must refuse it (RFC 3261 §18.3): no single Content-Length that is a number, a NUL,
/// or no end of the header block.
fn breaks(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return true };
    let lengths: Vec<_> = head
        .replace("\r\n ", " ")
        .split("\r\n")
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim().to_ascii_lowercase();
            (name == "l" || name == "content-length").then(|| value.trim().to_owned())
        })
        .collect();
    head.contains('\0') || lengths.len() != 1 || lengths[0].parse::<u64>().is_err()
}

/// What came back to a message, and that an OPTIONS sent after it is answered.
fn over_udp(sockets: &[UdpSocket], gateway: SocketAddr, bytes: &[u8], expected: Fate) -> Fate {
    let call_id = header(bytes, "Call-ID", "i");
    let probe = token("probe-");
    let here = sockets[0].local_addr().unwrap();
    sockets[0].send_to(options(here, "UDP", &probe).as_bytes(), gateway).unwrap();
    let (mut found, mut answered) = (None, false);
    let mut end = Instant::now() + Duration::from_secs(5);
    let mut buffer = [0; 65_536];
    while Instant::now() < end && !(answered && found.is_some()) {
        for socket in sockets {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            assert_eq!(from, gateway);
            let response = &buffer[..length];
            if header(response, "Call-ID", "i").as_deref() == Some(&probe) {
                assert_eq!(status(response), 200);
                answered = true;
                if expected == Silence {
                    // It was handled before the OPTIONS; an answer would be here by then.
                    end = Instant::now() + Duration::from_millis(100);
                }
            } else if status(response) >= 200 && header(response, "Call-ID", "i") == call_id {
                found = Some(status(response));
                socket.send_to(&ack(response), gateway).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(answered, "no answer to OPTIONS");
    found.map_or(Silence, Status)
}
