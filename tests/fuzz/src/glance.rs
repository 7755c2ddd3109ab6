//! What is decided before a message is read: its place in the queue, and its refusal for load.

use bytes::Bytes;
use sip_stack::endpoint::{Endpoint, Output, Settings, Shed};
use sip_stack::glance::{Glance, response_branch};
use sip_stack::message::{HeaderId, Message};
use sip_stack::transport::{LocalId, Source, Target, Transport};

/// One message of which only a glance is taken: what is seen is what reading shows, and a refusal from a glance is the
/// answer that reading would have given.
///
/// # Panics
/// When what must hold does not.
pub fn glance(bytes: &[u8]) {
    let raw = Bytes::copy_from_slice(bytes);
    let seen = Glance::request(&raw);
    let branch = response_branch(&raw);
    if let Some(seen) = &seen {
        let _ = (seen.to_tag(), seen.cseq_number(), seen.top_via().map(|via| via.branch().len()));
    }
    if let Ok(message) = Message::parse(raw.clone()) {
        match seen.filter(|_| message.is_request()) {
            Some(seen) => agrees(&seen, &message),
            None => assert!(message.is_request() || branch.is_none_or(|b| b == message.branch())),
        }
    }
    if bytes.starts_with(b"INVITE ") {
        refusal(&raw);
    }
}

fn agrees(seen: &Glance<'_>, message: &Message) {
    assert_eq!(seen.method, message.method().as_bytes());
    assert_eq!(seen.uri, message.uri());
    assert_eq!(seen.to_tag(), message.to_tag(), "whether it stands in a dialog");
    assert_eq!(seen.call_id, message.call_id());
    assert!(seen.cseq_number().is_none_or(|number| number == message.cseq()));
    assert!(seen.top_via().is_none_or(|via| via.branch() == message.branch()));
    for (seen, id) in [(seen.from, HeaderId::From), (seen.to, HeaderId::To)] {
        assert_eq!(Some(seen), message.value(id));
    }
    assert_eq!(message.values(HeaderId::Via).count(), seen.vias().count());
}

/// Refused for load, from a glance where that is possible.
fn refusal(raw: &Bytes) {
    let source = Source {
        transport: Transport::Udp,
        local: LocalId(0),
        local_addr: "192.0.2.1:5060".parse().expect("an address"),
        remote: "192.0.2.9:5070".parse().expect("an address"),
        flow: None,
    };
    let mut endpoint = Endpoint::new(Settings::default(), [0; 32]);
    let shed = endpoint.shed(&source, raw, 2);
    let mut sent: Vec<(Target, Bytes)> = Vec::new();
    while let Some(output) = endpoint.poll_output() {
        let Output::Send { target, bytes, .. } = output else { panic!("{output:?}") };
        sent.push((target, bytes));
    }
    assert_eq!(endpoint.transactions(), (0, 0), "nothing is kept");
    match shed {
        Shed::Refused => {}
        Shed::NotNew | Shed::Unreadable => return assert!(sent.is_empty()),
    }
    let [(target, refusal)] = &sent[..] else { panic!("{} answers", sent.len()) };
    assert_eq!(target.remote.ip(), source.remote.ip(), "it goes where the request came from");
    let lines = refusal.windows(2).filter(|two| two == b"\r\n").count();
    assert_eq!(refusal.iter().filter(|b| matches!(b, b'\r' | b'\n')).count(), 2 * lines);
    assert!(refusal.len() <= raw.len() + 192 + 12 * lines, "amplified");
    let Ok(request) = Message::parse(raw.clone()) else { return };
    let refusal = Message::parse(refusal.clone()).expect("what we write we read");
    assert_eq!((refusal.status(), refusal.branch()), (503, request.branch()));
    assert_eq!((refusal.call_id(), refusal.cseq()), (request.call_id(), request.cseq()));
    assert_eq!(refusal.from_tag(), request.from_tag());
    assert!(refusal.to_tag().is_some());
    assert!(request.to_tag().is_none_or(|tag| refusal.to_tag() == Some(tag)));
    assert_eq!(refusal.values(HeaderId::Via).count(), request.values(HeaderId::Via).count());
}
