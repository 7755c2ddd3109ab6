//! The torture messages of RFC 4475 and RFC 5118 (`tests/torture`), each with what must become of it
//! in the parser. What the whole gateway answers to them is shown by the black-box tests.

use std::path::PathBuf;

use bytes::Bytes;
use sip_stack::framing::{Frame, Framer};
use sip_stack::message::{HeaderId, Limits, Message, Method, NameAddr};
use sip_stack::sdp::Sdp;
use sip_stack::uri::{Host, Scheme, Uri};

/// What must become of a message that came in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is read; the layers above judge it.
    Accepted,
    /// It is answered with this status.
    Refused(u16),
    /// It is dropped: a response, or a request that shows nobody to answer.
    Dropped,
}

use Fate::{Accepted, Dropped, Refused};

const RFC4475: [(&str, Fate); 50] = [
    ("badaspec", Refused(400)),  // white space inside angle brackets
    ("badbranch", Refused(400)), // the magic cookie alone
    ("baddate", Accepted),       // nobody reads Date here
    ("baddn", Refused(400)),     // this copy lacks its blank line; see `an_unquoted_comma`
    ("badinv01", Refused(400)),  // stray separators in Via and Contact
    ("badvers", Refused(505)),
    ("bcast", Accepted),     // a broadcast address in a lower Via
    ("bext01", Accepted),    // 420 is the leg's
    ("bigcode", Dropped),    // a status beyond any integer
    ("clerr", Refused(400)), // Content-Length beyond the datagram
    ("cparam01", Accepted),
    ("cparam02", Accepted),
    ("dblreq", Accepted), // a second request behind Content-Length is ignored
    ("esc01", Accepted),
    ("esc02", Accepted),
    ("escnull", Accepted),
    ("escruri", Refused(400)), // headers in the Request-URI
    ("insuf", Refused(400)),   // Call-ID, From and To missing
    ("intmeth", Refused(400)), // an escaped NUL; see `wide_range_of_valid_characters`
    ("inv2543", Accepted),     // RFC 2543: no branch, no tag, no Contact
    ("invut", Accepted),       // 415 is the leg's
    ("longreq", Accepted),
    ("ltgtruri", Refused(400)),
    ("lwsdisp", Accepted),
    ("lwsruri", Refused(400)),
    ("lwsstart", Refused(400)),
    ("mcl01", Refused(400)), // two Content-Lengths
    ("mismatch01", Refused(400)),
    ("mismatch02", Refused(400)),
    ("mpart01", Accepted),
    ("multi01", Refused(400)), // doubled single-instance headers
    ("ncl", Refused(400)),     // negative Content-Length
    ("noreason", Accepted),
    ("novelsc", Accepted), // 416 is the leg's
    ("quotbal", Refused(400)),
    ("regaut01", Accepted),
    ("regbadct", Refused(400)), // URI headers outside angle brackets
    ("regescrt", Accepted),
    ("scalar02", Refused(400)), // CSeq beyond 2^31
    ("scalarlg", Dropped),      // the same in a response
    ("sdp01", Accepted),        // 406 is the leg's
    ("semiuri", Accepted),
    ("test", Dropped), // neither a version nor a Via
    ("transports", Accepted),
    ("trws", Refused(400)), // white space behind the version
    ("unkscm", Accepted),   // 416 is the leg's
    ("unksm2", Accepted),
    ("unreason", Accepted),
    ("wsinv", Accepted),
    ("zeromf", Accepted), // 483 is for who forwards
];

const RFC5118: [(&str, Fate); 12] = [
    ("ipv4-mapped-ipv6", Accepted),
    ("ipv6-bad", Refused(400)), // an address without brackets
    ("ipv6-bug-abnf-3-colons", Accepted),
    ("ipv6-correct-abnf-2-colons", Accepted),
    ("ipv6-good", Accepted),
    ("ipv6-in-sdp", Accepted),
    ("mult-ip-in-header", Accepted),
    ("mult-ip-in-sdp", Accepted),
    ("port-ambiguous", Accepted),
    ("port-unambiguous", Accepted),
    ("via-received-param-no-delim", Accepted),
    ("via-received-param-with-delim", Accepted),
];

#[test]
fn every_message_meets_its_fate_in_a_datagram() {
    for (folder, table) in [("rfc4475", &RFC4475[..]), ("rfc5118", &RFC5118)] {
        for (name, expected) in table {
            let bytes = read(folder, name);
            assert_eq!(fate(bytes), *expected, "{folder}/{name}");
        }
    }
}

#[test]
fn no_file_is_left_out() {
    for (folder, table) in [("rfc4475", &RFC4475[..]), ("rfc5118", &RFC5118)] {
        let files = std::fs::read_dir(corpus().join(folder)).unwrap();
        for file in files {
            let name = file.unwrap().file_name().into_string().unwrap();
            let known = table.iter().any(|(known, _)| name == format!("{known}.dat"));
            assert!(known, "{folder}/{name} has no expectation");
        }
    }
}

#[test]
fn every_message_survives_a_stream_in_small_writes() {
    for (folder, table) in [("rfc4475", &RFC4475[..]), ("rfc5118", &RFC5118)] {
        for (name, _) in table {
            let bytes = read(folder, name);
            let whole = frames(&bytes, bytes.len());
            for size in [1, 7, 100] {
                assert_eq!(frames(&bytes, size), whole, "{folder}/{name} by {size}");
            }
        }
    }
}

#[test]
fn an_unquoted_comma() {
    let bytes = read("rfc4475", "baddn");
    let closed = Bytes::from([&bytes[..], b"\r\n"].concat());
    let message = Message::parse(closed).unwrap();
    let from = NameAddr::parse(message.value(HeaderId::From).unwrap()).unwrap();
    assert_eq!(from.display, Some(&b"Bell, Alexander"[..]));
    assert_eq!(from.uri, b"sip:a.g.bell@example.com");
}

#[test]
fn a_short_tortuous_invite() {
    let message = accepted("rfc4475", "wsinv");
    assert_eq!(message.method(), &Method::Invite);
    assert_eq!(message.uri(), b"sip:vivekg@chair-dnrc.example.com;unknownparam");
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!((message.cseq(), message.branch()), (9, &b"390skdjuw"[..]));
    assert_eq!(message.from_tag(), Some(&b"98asjd8"[..]));
    assert_eq!(message.to_tag(), Some(&b"1918181833n"[..]));
    assert_eq!(message.top_via().host, b"192.0.2.2");
    assert_eq!(message.elements(HeaderId::Via).count(), 3);
    let from = NameAddr::parse(message.value(HeaderId::From).unwrap()).unwrap();
    assert_eq!(from.display_text().as_ref(), b"J Rosenberg \\\"");
    let contact = NameAddr::parse(message.elements(HeaderId::Contact).next().unwrap()).unwrap();
    assert_eq!(contact.display_text().as_ref(), b"Quoted string \"\"");
    assert_eq!(contact.param("q"), Some(Some(&b"0.33"[..])));
    assert_eq!(contact.param("secondparam"), Some(None));
    assert_eq!(message.value(HeaderId::Subject), Some(&b""[..]));
    assert_eq!(
        message.other("NewFangledHeader"),
        Some(&b"newfangled value\r\n continued newfangled value"[..])
    );
    assert_eq!(message.other("unknownheaderwithunusualvalue"), Some(&b";;,,;;,;"[..]));
    assert_eq!(message.body().len(), 150);
}

#[test]
fn wide_range_of_valid_characters() {
    let bytes = read("rfc4475", "intmeth");
    let without_nul: Vec<u8> = bytes.iter().map(|&b| if b == 0 { b'0' } else { b }).collect();
    let message = Message::parse(Bytes::from(without_nul)).unwrap();
    assert_eq!(message.method().as_bytes(), b"!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(Uri::parse(message.uri()).unwrap().host(), Host::Name("example.com"));
    assert_eq!(message.call_id(), b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    let to = NameAddr::parse(message.value(HeaderId::To).unwrap()).unwrap();
    assert_eq!(to.display_text().as_ref(), b"BEL:\x07 NUL:0 DEL:\x7f");
}

#[test]
fn a_body_with_bytes_of_every_kind() {
    let message = accepted("rfc4475", "mpart01");
    let parts = message.parts().unwrap().unwrap();
    assert_eq!(parts[0].content_type, "text/plain");
    assert_eq!(parts[0].body, "Hello");
    assert_eq!(parts[1].content_type, "application/octet-stream");
    assert_eq!((parts.len(), message.sdp()), (2, None));
}

#[test]
fn what_follows_the_body_is_ignored() {
    let message = accepted("rfc4475", "dblreq");
    assert_eq!(message.method(), &Method::Register);
    assert!(message.body().is_empty());
    assert_eq!(message.raw().windows(6).filter(|w| w == b"INVITE").count(), 0);
}

#[test]
fn schemes_that_nobody_knows() {
    for (name, text) in [("unkscm", "nobodyKnowsThisScheme"), ("novelsc", "soap.beep")] {
        let message = accepted("rfc4475", name);
        let uri = Uri::parse(message.uri()).unwrap();
        assert_eq!((uri.scheme(), uri.scheme_text()), (Scheme::Other, text.as_bytes()));
    }
}

#[test]
fn addresses_of_both_families() {
    let message = accepted("rfc5118", "port-ambiguous");
    let uri = Uri::parse(message.uri()).unwrap();
    let address = "2001:db8::10:5070".parse().unwrap();
    assert_eq!((uri.host(), uri.port()), (Host::Ip(address), None));

    let message = accepted("rfc5118", "ipv6-bug-abnf-3-colons");
    let address = "2001:db8::192.0.2.1".parse().unwrap();
    assert_eq!(Uri::parse(message.uri()).unwrap().host(), Host::Ip(address));

    for name in ["via-received-param-no-delim", "via-received-param-with-delim"] {
        let message = accepted("rfc5118", name);
        assert_eq!(message.top_via().received(), "2001:db8::9:255".parse().ok());
    }

    let message = accepted("rfc5118", "mult-ip-in-sdp");
    let sdp = Sdp::parse(&message.sdp().unwrap()).unwrap();
    assert_eq!(sdp.address(0), "192.0.2.1".parse().ok());
    assert_eq!(sdp.address(1), "2001:db8::1".parse().ok());
}

#[test]
fn descriptions_are_written_as_they_were_read() {
    for (folder, table) in [("rfc4475", &RFC4475[..]), ("rfc5118", &RFC5118)] {
        for (name, _) in table.iter().filter(|(_, fate)| *fate == Accepted) {
            let message = accepted(folder, name);
            let Some(body) = message.sdp() else { continue };
            if let Ok(sdp) = Sdp::parse(&body) {
                let text = String::from_utf8_lossy(&body);
                assert_eq!(sdp.write(), format!("{}\r\n", text.trim_end()), "{folder}/{name}");
            }
        }
    }
}

fn fate(bytes: Bytes) -> Fate {
    match Message::parse(bytes) {
        Ok(_) => Accepted,
        Err(error) => error.reply.map_or(Dropped, |reply| {
            let written = reply.write();
            let first = written.split(|&b| b == b'\r').next().unwrap();
            assert!(first.starts_with(format!("SIP/2.0 {} ", reply.status()).as_bytes()));
            Refused(reply.status())
        }),
    }
}

fn accepted(folder: &str, name: &str) -> Message {
    Message::parse(read(folder, name)).unwrap()
}

/// What comes out of a stream, as text, when it arrives in writes of `size` bytes.
fn frames(bytes: &[u8], size: usize) -> Vec<String> {
    let mut framer = Framer::new(Limits::default());
    let mut found = Vec::new();
    for chunk in bytes.chunks(size) {
        framer.push(chunk);
        while let Some(frame) = framer.next() {
            found.push(match frame {
                Frame::Message(bytes) => format!("{:?}", Message::parse(bytes)),
                Frame::KeepAlive => "keep-alive".into(),
                Frame::Broken(error) => format!("broken: {}", error.kind),
            });
        }
    }
    found
}

fn read(folder: &str, name: &str) -> Bytes {
    std::fs::read(corpus().join(folder).join(format!("{name}.dat"))).unwrap().into()
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture"))
}
