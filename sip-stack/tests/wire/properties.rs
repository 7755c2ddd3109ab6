//! Properties: what is written reads the same, no bytes panic, the cut of a stream does not matter.

use bytes::Bytes;
use proptest::prelude::*;
use sip_stack::framing::{Frame, Framer};
use sip_stack::message::{Draft, HeaderId, Limits, Message, Method, NameAddr, Via, stamp_via};
use sip_stack::sdp::Sdp;
use sip_stack::uri::Uri;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_the_same(draft in draft()) {
        let written = draft.write();
        let message = Message::parse(written.clone()).unwrap();
        prop_assert_eq!(message.raw(), &written);
        prop_assert_eq!(message.method(), draft.method());
        prop_assert_eq!(message.uri(), draft.uri());
        prop_assert_eq!(&message.body(), draft.payload());
        // Content-Length comes last; all else is as it was put in, outer white space apart.
        let read: Vec<_> = message.fields().map(|f| (f.id, f.value.to_vec())).collect();
        let put: Vec<_> =
            draft.fields().map(|f| (f.id, f.value.trim_ascii().to_vec())).collect();
        prop_assert_eq!(&read[..read.len() - 1], &put[..]);
        prop_assert_eq!(read[read.len() - 1].0, HeaderId::ContentLength);
        // Read, drafted and written again it is the same bytes, but for outer white space.
        let again = Draft::from(&message).write();
        prop_assert_eq!(Draft::from(&Message::parse(again.clone()).unwrap()).write(), again);
    }

    #[test]
    fn nothing_put_in_becomes_a_line(evil in any::<Vec<u8>>(), name in any::<Vec<u8>>()) {
        let mut draft = base(Method::Options, "sip:h");
        let lines = |draft: &Draft| {
            Message::parse(draft.write()).map(|message| message.fields().count())
        };
        let before = lines(&draft).unwrap();
        draft.push(HeaderId::Subject, evil.clone());
        prop_assert_eq!(lines(&draft).unwrap(), before + 1);
        if HeaderId::from_name(&name) == HeaderId::Other && !name.is_empty() {
            draft.push_other(name, evil);
            let written = draft.write();
            // An odd name may turn out as one that must not stand twice; a new line it never is.
            prop_assert_eq!(written.windows(2).filter(|w| w == b"\r\n").count(), before + 4);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        everything(&bytes);
    }

    #[test]
    fn mutated_messages_are_read_or_refused(
        draft in draft(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), hostile()), 1..8),
    ) {
        let mut bytes = draft.write().to_vec();
        for (at, piece) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + piece.len() / 2).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        everything(&bytes);
    }

    #[test]
    fn mutated_descriptions_are_read_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), hostile()), 0..8),
    ) {
        let mut bytes = OFFER.to_vec();
        for (at, piece) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + piece.len()).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        if let Ok(sdp) = Sdp::parse(&bytes) {
            for (at, media) in sdp.media.iter().enumerate() {
                let _ = (sdp.address(at), sdp.direction(at), sdp.hold(at), media.crypto());
                let _ = (media.rtcp(), media.ptime(), media.payload_types().count());
                let _: Vec<_> = (0..=255).map(|pt| (media.rtpmap(pt), media.fmtp(pt))).collect();
            }
            let again = Sdp::parse(&sdp.write()).unwrap();
            prop_assert_eq!(again, sdp);
        }
    }

    #[test]
    fn the_cut_of_a_stream_does_not_matter(
        drafts in proptest::collection::vec(draft(), 1..4),
        garbage in hostile(),
        sizes in proptest::collection::vec(1_usize..200, 1..8),
    ) {
        let mut stream: Vec<u8> = drafts.iter().flat_map(Draft::write).collect();
        stream.extend_from_slice(&garbage);
        let whole = frames(&stream, &[stream.len()]);
        prop_assert!(whole.len() >= drafts.len());
        prop_assert_eq!(frames(&stream, &sizes), whole);
    }
}

const OFFER: &[u8] = b"v=0\r\no=- 31201 7 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 192.0.2.78\r\n\
    t=0 0\r\nm=audio 49170 RTP/SAVP 104 9 0 101\r\na=rtcp:49171 IN IP4 192.0.2.1\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31|1:1\r\n\
    a=sendonly\r\na=rtpmap:104 SILK/16000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n";

/// Every view that can be had from bytes; the test is that none panics, and that a refusal that is
/// offered is itself a message or at least well-formed lines.
pub(super) fn everything(bytes: &[u8]) {
    let raw = Bytes::copy_from_slice(bytes);
    match Message::parse(raw.clone()) {
        Ok(message) => {
            let via = message.top_via();
            let _ = (via.branch(), via.received(), via.rport(), message.sdp(), message.parts());
            for field in message.fields() {
                let _ = (NameAddr::parse(field.value), message.elements(field.id).count());
            }
            let _ = Uri::parse(message.uri());
            assert!(Message::parse(Draft::from(&message).write()).is_ok());
            if message.is_request() {
                let mut reply = Draft::response(&message, 200);
                reply.set_to_tag(b"t").stamp_via("192.0.2.1:1".parse().unwrap());
                let reply = Message::parse(reply.write()).unwrap();
                assert!(reply.to_tag().is_some());
                assert_eq!(reply.branch(), message.branch());
            }
        }
        Err(error) => {
            if let Some(reply) = error.reply {
                let written = reply.write();
                let lines = written.windows(2).filter(|w| w == b"\r\n").count();
                assert_eq!(lines, reply.fields().count() + 3);
            }
        }
    }
    let _ = (Uri::parse(bytes), NameAddr::parse(bytes), Via::parse(bytes), Sdp::parse(bytes));
    let _ = (stamp_via(&raw, "[::1]:1".parse().unwrap()), HeaderId::from_name(bytes));
    let _ = frames(bytes, &[3, 50]);
}

fn frames(stream: &[u8], sizes: &[usize]) -> Vec<String> {
    let mut framer = Framer::new(Limits::default());
    let mut found = Vec::new();
    let mut rest = stream;
    for size in sizes.iter().cycle() {
        let (chunk, tail) = rest.split_at((*size).min(rest.len()));
        framer.push(chunk);
        rest = tail;
        while let Some(frame) = framer.next() {
            found.push(match frame {
                Frame::Message(bytes) => format!("{bytes:?}"),
                Frame::KeepAlive => "keep-alive".into(),
                Frame::Broken(error) => error.kind.to_string(),
            });
        }
        if rest.is_empty() {
            return found;
        }
    }
    found
}

fn base(method: Method, uri: &str) -> Draft {
    let mut draft = Draft::request(method.clone(), uri.to_owned());
    draft.push(HeaderId::Via, "SIP/2.0/UDP h;branch=z9hG4bK1");
    draft.push(HeaderId::From, "<sip:a>;tag=1").push(HeaderId::To, "<sip:b>");
    draft.push(HeaderId::CallId, "c");
    draft.push(HeaderId::CSeq, format!("1 {method}"));
    draft
}

fn draft() -> impl Strategy<Value = Draft> {
    let method = prop_oneof![
        Just(Method::Invite),
        Just(Method::Options),
        "[A-Z]{1,12}".prop_map(|token| Method::from_bytes(token.as_bytes())),
    ];
    let known = proptest::sample::select(vec![
        HeaderId::Subject,
        HeaderId::Route,
        HeaderId::Allow,
        HeaderId::UserAgent,
        HeaderId::SessionExpires,
        HeaderId::PAssertedIdentity,
    ]);
    let value = || proptest::collection::vec(byte(), 0..40);
    let line = prop_oneof![
        (known, value()).prop_map(|(id, value)| (id, String::new(), value)),
        ("X-[A-Za-z0-9-]{1,12}", value()).prop_map(|(name, v)| (HeaderId::Other, name, v)),
    ];
    let uri = "sips?:(\\+?[a-z0-9;&=$,?/]{1,9}@)?[a-z0-9]{1,9}(\\.[a-z]{2,5})?(:[1-9][0-9]{0,3})?(;[a-z]{1,5}(=[a-z0-9%]{1,5})?)?";
    (
        method,
        uri,
        proptest::collection::vec(line, 0..12),
        proptest::collection::vec(any::<u8>(), 0..90),
    )
        .prop_map(|(method, uri, lines, body)| {
            let mut draft = base(method, &uri);
            for (id, name, value) in lines {
                match name.as_str() {
                    "" => draft.push(id, value),
                    _ => draft.push_other(name, value),
                };
            }
            if !body.is_empty() {
                draft.body("application/octet-stream", body);
            }
            draft
        })
}

/// A byte that a value may hold as it is.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0x20_u8..0x7f, 1 => 0x80_u8..=0xff, 1 => Just(b'\t')]
}

/// Pieces that parsers stumble over.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\r\n\r\n",
        b"\r\n ",
        b":",
        b";",
        b";;",
        b",",
        b"\"",
        b"\\",
        b"<",
        b">",
        b"=",
        b" ",
        b"%",
        b"@",
        b"[",
        b"]",
        b"[::",
        b"-1",
        b"99999999999999999999",
        b"\r\nContent-Length: 5\r\n",
        b"\r\nl: 0\r\n",
        b"\r\nTo: <sip:x>\r\n",
        b"\r\nVia: \r\n",
        b"SIP/2.0",
        b"tag=",
        b"\r\nm=audio 1 RTP/AVP 0\r\n",
        b"\na=crypto:",
        b"|2^",
        b"|1:",
    ];
    prop_oneof![
        proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 1..5),
    ]
}
