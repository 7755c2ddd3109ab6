//! What the tests of the endpoint share: messages, addresses, and a look at what came out.

use std::time::{Duration, Instant};

use super::*;
use crate::message::Method;
use crate::transport::{FlowId, LocalId, Transport};

/// An endpoint with a fixed seed, and the start of virtual time.
pub(super) fn endpoint() -> (Endpoint, Instant) {
    with_limits(Limits::default())
}

pub(super) fn with_limits(limits: Limits) -> (Endpoint, Instant) {
    let settings = Settings { node: 3, epoch: 77, limits, ..Settings::default() };
    (Endpoint::new(settings, [5; 32]), crate::transaction::table::start())
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn source(transport: Transport) -> Source {
    Source {
        transport,
        local: LocalId(1),
        local_addr: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:40000".parse().unwrap(),
        flow: transport.is_reliable().then_some(FlowId(4)),
    }
}

pub(super) fn target(transport: Transport) -> Target {
    Target {
        transport,
        local: LocalId(1),
        remote: "192.0.2.9:5060".parse().unwrap(),
        name: None,
        flow: None,
    }
}

/// A request of ours to be sent, without Via.
pub(super) fn outgoing(method: Method, transport: Transport) -> Request {
    let cseq = [b"7 ", method.as_bytes()].concat();
    let mut draft = Draft::request(method, &b"sip:bob@peer.example"[..]);
    draft
        .push(HeaderId::MaxForwards, &b"70"[..])
        .push(HeaderId::Route, &b"<sip:one.example;lr>"[..])
        .push(HeaderId::Route, &b"<sip:two.example;lr>"[..])
        .push(HeaderId::From, &b"<sip:alice@us.example>;tag=ours"[..])
        .push(HeaderId::To, &b"<sip:bob@peer.example>"[..])
        .push(HeaderId::CallId, &b"call-1"[..])
        .push(HeaderId::CSeq, cseq)
        .push(HeaderId::Contact, &b"<sip:us.example>"[..]);
    let sent_by = Bytes::from_static(b"us.example:5060");
    Request { draft, target: target(transport), sent_by, timeout: None }
}

/// The peer's response to a request of ours.
pub(super) fn answer(request: &Message, status: u16) -> Message {
    let mut draft = Draft::response(request, status);
    if status > 100 {
        draft.set_to_tag(b"theirs");
    }
    Message::parse(draft.write()).unwrap()
}

/// The peer's request, with lines that stand in place of the usual ones or are added.
pub(super) fn incoming(method: &str, changes: &[&str]) -> Message {
    let mut lines = vec![
        "Via: SIP/2.0/UDP peer.example:5070;branch=z9hG4bKpeer1;rport".to_owned(),
        "From: <sip:bob@peer.example>;tag=theirs".to_owned(),
        "To: <sip:alice@us.example>".to_owned(),
        "Call-ID: call-9".to_owned(),
        format!("CSeq: 21 {method}"),
    ];
    for change in changes {
        let name = |line: &str| line.split(':').next().map(str::to_owned);
        match lines.iter_mut().find(|line| name(line) == name(change)) {
            Some(line) => *line = (*change).to_owned(),
            None => lines.push((*change).to_owned()),
        }
    }
    let head = lines.join("\r\n");
    let text = format!("{method} sip:alice@us.example SIP/2.0\r\n{head}\r\n\r\n");
    Message::parse(Bytes::from(text)).unwrap()
}

/// All that came out, sends as messages.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) sent: Vec<(SendId, Target, Message)>,
    pub(super) requests: Vec<(ServerId, Message)>,
    pub(super) cancelled: Vec<(ServerId, Option<Owner>)>,
    pub(super) acks: Vec<Message>,
    pub(super) responses: Vec<(ClientId, Owner, u32, u16)>,
    pub(super) strays: Vec<Message>,
    pub(super) failed: Vec<(ClientId, Owner, u32, Failure)>,
}

pub(super) fn drain(endpoint: &mut Endpoint) -> Out {
    let mut out = Out::default();
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Send { id, target, bytes } => {
                out.sent.push((id, target, Message::parse(bytes).unwrap()));
            }
            Output::Request { server, message, .. } => out.requests.push((server, message)),
            Output::Cancelled { server, owner, .. } => out.cancelled.push((server, owner)),
            Output::Ack { message, .. } => out.acks.push(message),
            Output::Response { client, owner, token, message, .. } => {
                out.responses.push((client, owner, token, message.status()));
            }
            Output::Stray { message, .. } => out.strays.push(message),
            Output::Failed { client, owner, token, why } => {
                out.failed.push((client, owner, token, why));
            }
        }
    }
    out
}

impl Out {
    /// What the sends are: methods and statuses, in order.
    pub(super) fn kinds(&self) -> Vec<String> {
        self.sent.iter().map(|(_, _, message)| kind(message)).collect()
    }

    /// Whether nothing at all came out.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
            && self.requests.is_empty()
            && self.cancelled.is_empty()
            && self.acks.is_empty()
            && self.responses.is_empty()
            && self.strays.is_empty()
            && self.failed.is_empty()
    }
}

fn kind(message: &Message) -> String {
    if message.is_request() {
        String::from_utf8_lossy(message.method().as_bytes()).into_owned()
    } else {
        message.status().to_string()
    }
}

/// Lets all timers run until none is left.
pub(super) fn run_out(endpoint: &mut Endpoint) -> Out {
    let mut all = Out::default();
    while let Some(now) = endpoint.poll_timeout() {
        endpoint.handle_timeout(now);
        let out = drain(endpoint);
        all.sent.extend(out.sent);
        all.responses.extend(out.responses);
        all.failed.extend(out.failed);
    }
    assert_eq!((endpoint.transactions(), endpoint.timers()), ((0, 0), 0));
    assert!(endpoint.branches.is_empty() && endpoint.keys.is_empty() && endpoint.owned.is_empty());
    all
}
