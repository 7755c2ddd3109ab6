//! A second opinion: what rsip takes of plain messages we take too, with the same values.
//!
//! Plain, because rsip refuses folds, white space before a colon, compact names, IPv6 hosts, unknown
//! schemes and bytes that are not UTF-8, and looks neither at Content-Length nor at doubled headers.

use bytes::Bytes;
use proptest::prelude::*;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::{HasHeaders, HeadersExt};
use sip_stack::message::{HeaderId, Message, NameAddr};
use sip_stack::uri::{Host, Uri};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_messages_are_read_alike(text in plain()) {
        let Ok(theirs) = rsip::SipMessage::try_from(text.as_bytes()) else {
            return Err(TestCaseError::reject("rsip refuses it"));
        };
        let ours = Message::parse(Bytes::from(text.clone())).unwrap();

        match &theirs {
            rsip::SipMessage::Request(request) => {
                prop_assert_eq!(ours.method().to_string(), request.method.to_string());
                let uri = Uri::parse(ours.uri()).unwrap();
                let user = uri.user().map(|user| String::from_utf8(user.to_vec()).unwrap());
                prop_assert_eq!(user, request.uri.auth.as_ref().map(|auth| auth.user.clone()));
                let host = match uri.host() {
                    Host::Name(name) => name.to_owned(),
                    Host::Ip(address) => address.to_string(),
                };
                prop_assert_eq!(host, request.uri.host_with_port.host.to_string());
                let port = request.uri.host_with_port.port.map(u16::from);
                prop_assert_eq!(uri.port(), port);
            }
            rsip::SipMessage::Response(response) => {
                prop_assert_eq!(ours.status(), response.status_code.code());
            }
        }
        prop_assert_eq!(ours.call_id(), theirs.call_id_header().unwrap().value().as_bytes());
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        prop_assert_eq!(ours.cseq(), cseq.seq);
        let via = theirs.via_header().unwrap().typed().unwrap();
        let branch = via.branch().map(|branch| branch.value().to_owned());
        prop_assert_eq!(Some(ours.branch()), branch.as_deref().map(str::as_bytes));
        prop_assert_eq!(ours.top_via().port, via.uri.host_with_port.port.map(u16::from));
        let from = theirs.from_header().unwrap();
        let tag = from.tag().unwrap().map(|tag| tag.value().to_owned());
        prop_assert_eq!(ours.from_tag(), tag.as_deref().map(str::as_bytes));
        let tag = theirs.to_header().unwrap().tag().unwrap().map(|tag| tag.value().to_owned());
        prop_assert_eq!(ours.to_tag(), tag.as_deref().map(str::as_bytes));
        let address = NameAddr::parse(ours.value(HeaderId::From).unwrap()).unwrap();
        let typed = from.typed().unwrap();
        let uri = typed.uri.to_string();
        prop_assert_eq!(address.uri, uri.as_bytes());
        prop_assert_eq!(address.display, typed.display_name.as_deref().map(str::as_bytes));
        prop_assert_eq!(ours.fields().count(), theirs.headers().iter().count());
        prop_assert_eq!(&ours.body()[..], &theirs.body()[..]);
    }
}

fn plain() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-z]{1,8}(\\.[a-z]{2,6}){0,2}",
        (1_u8..224, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}.7")),
    ];
    let port = prop_oneof![Just(String::new()), (1_u16..).prop_map(|port| format!(":{port}"))];
    let user = prop_oneof!["[a-z]{1,8}", "\\+[0-9]{7,15}"];
    let uri = (user, host, port).prop_map(|(user, host, port)| format!("sip:{user}@{host}{port}"));
    let method = proptest::sample::select(vec!["INVITE", "OPTIONS", "BYE", "REFER", "UPDATE"]);
    let start = (method, uri.clone(), proptest::option::of((0_usize..9).prop_map(code)));
    let display = prop_oneof![Just(String::new()), "\"[A-Za-z ]{1,9}\" ", "[A-Z][a-z]{1,9} "];
    let tags = ("[a-zA-Z0-9]{1,12}", proptest::option::of("[a-z0-9.-]{1,9}"));
    let ids = ("[a-z0-9-]{1,20}(@[a-z]{1,5})?", 1_u32..0x7fff_ffff, "[a-zA-Z0-9]{1,20}");
    let via = proptest::sample::select(vec!["UDP", "TCP", "TLS"]);
    let extra = proptest::collection::vec(("X-[A-Za-z]{1,8}", "[a-zA-Z0-9;=,.]{1,30}"), 0..6);
    (start, uri, display, tags, ids, via, extra, "[a-z \r\n]{0,60}").prop_map(
        |((method, target, code), uri, display, (tag, to_tag), (call, cseq, branch), via, extra, body)| {
            let start = match code {
                Some(code) => format!("SIP/2.0 {code}"),
                None => format!("{method} {target} SIP/2.0"),
            };
            let to_tag = to_tag.map_or_else(String::new, |tag| format!(";tag={tag}"));
            let extra: String =
                extra.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            format!(
                "{start}\r\nVia: SIP/2.0/{via} host.example.com:5070;branch=z9hG4bK{branch}\r\n\
                 From: {display}<{uri}>;tag={tag}\r\nTo: <{target}>{to_tag}\r\nCall-ID: {call}\r\n\
                 CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        },
    )
}

fn code(at: usize) -> &'static str {
    [
        "100 Trying",
        "180 Ringing",
        "183 Session Progress",
        "200 OK",
        "302 Moved Temporarily",
        "404 Not Found",
        "486 Busy Here",
        "503 Service Unavailable",
        "603 Decline",
    ][at]
}
