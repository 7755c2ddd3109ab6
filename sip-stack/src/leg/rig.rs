//! A leg on a bench: virtual time, messages from text, actions read back as short words.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Action, EndedBy, Event, Failure, Hop, Leg, LegIdentity, Outbox, Outgoing, Rejection, State,
    Token,
};
use crate::endpoint::ServerId;
use crate::message::{Draft, HeaderId, Message};
use crate::transport::{LocalId, Source, Target, Transport};

pub(super) const OURS: &str = "v=0 ours";
pub(super) const THEIRS: &str = "v=0 theirs";

/// A leg, its outbox, and the time.
pub(super) struct Rig {
    pub(super) leg: Leg,
    pub(super) out: Outbox,
    pub(super) now: Instant,
    servers: u64,
    cseq: u32,
}

pub(super) fn identity() -> LegIdentity {
    LegIdentity {
        local: Bytes::from_static(b"<sip:us@gw.example>"),
        remote: Bytes::from_static(b"<sip:them@peer.example>"),
        contact: Bytes::from_static(b"<sip:us@gw.example:5061;transport=tls>"),
        sent_by: Bytes::from_static(b"gw.example:5061"),
        allow: Bytes::from_static(b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, REFER, NOTIFY"),
        supported: Bytes::from_static(b"replaces, timer"),
        reliable: false,
        agent: Bytes::from_static(b"bench"),
        local_id: LocalId(1),
        session_expires: None,
    }
}

pub(super) fn source() -> Source {
    Source {
        transport: Transport::Udp,
        local: LocalId(1),
        local_addr: SocketAddr::from(([127, 0, 0, 1], 5060)),
        remote: SocketAddr::from(([127, 0, 0, 2], 5060)),
        flow: None,
    }
}

pub(super) fn target() -> Target {
    Target::reply(&source())
}

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A message from its start line, headers and SDP; Via, Max-Forwards and Content-Length are added.
pub(super) fn message(start: &str, headers: &str, sdp: &str) -> Message {
    let mut text = format!("{start}\r\nVia: SIP/2.0/UDP peer.example;branch=z9hG4bKx\r\n");
    for line in headers.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if !sdp.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
    Message::parse(Bytes::from(text)).unwrap()
}

impl Rig {
    fn new(leg: Leg, out: Outbox) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let now = Instant::now();
        Self { leg, out, now, servers: 100, cseq: 10 }
    }

    /// The calling side, its INVITE out.
    pub(super) fn calling(offer: &str) -> Self {
        Self::calling_as(identity(), offer)
    }

    pub(super) fn calling_as(identity: LegIdentity, offer: &str) -> Self {
        let mut out = Outbox::new();
        let call = Outgoing {
            identity,
            call_id: bytes("call"),
            local_tag: bytes("us"),
            request_uri: bytes("sip:them@peer.example"),
            offer: (!offer.is_empty()).then(|| bytes(offer)),
            beside: Vec::new(),
            extra: vec![(HeaderId::Reason, bytes("extra"))],
            further: Vec::new(),
            max_forwards: 42,
            hop: Hop::Target(target()),
        };
        let leg = Leg::outgoing(call, &mut out);
        Self::new(leg, out)
    }

    /// The called side, nothing sent.
    pub(super) fn called(offer: &str) -> Self {
        Self::called_with("", offer)
    }

    pub(super) fn called_with(headers: &str, offer: &str) -> Self {
        let invite = Self::invite_with(headers, offer);
        let server = ServerId(1);
        let leg = Leg::incoming(server, &invite, &source(), identity(), bytes("us"));
        Self::new(leg, Outbox::new())
    }

    pub(super) fn invite_with(headers: &str, offer: &str) -> Message {
        let headers = format!(
            "From: <sip:them@peer.example>;tag=them\nTo: <sip:us@gw.example>\nCall-ID: call\n\
             CSeq: 10 INVITE\nContact: <sip:them@10.0.0.1>\n{headers}"
        );
        message("INVITE sip:us@gw.example SIP/2.0", &headers, offer)
    }

    /// A calling leg that was answered by tag `them`.
    pub(super) fn talking() -> Self {
        let mut rig = Self::calling(OURS);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        rig.drain();
        rig
    }

    /// A called leg that was acknowledged.
    pub(super) fn talking_called() -> Self {
        let mut rig = Self::called(THEIRS);
        rig.answer(OURS);
        rig.ack(10, "");
        rig.drain();
        rig
    }

    /// What the leg did since the last look, in short words.
    pub(super) fn drain(&mut self) -> Vec<String> {
        self.out.drain(..).map(|action| word(&action)).collect()
    }

    /// Takes the actions themselves.
    pub(super) fn take(&mut self) -> Vec<Action> {
        self.out.drain(..).collect()
    }

    pub(super) fn last_draft(&self) -> &Draft {
        self.out
            .iter()
            .rev()
            .find_map(|action| match action {
                Action::Request { draft, .. }
                | Action::Ack { draft, .. }
                | Action::Respond { draft, .. } => Some(draft),
                Action::Cancel { .. } | Action::Event(_) => None,
            })
            .unwrap()
    }

    pub(super) fn header(&self, id: HeaderId) -> String {
        let value = self.last_draft().value(id).unwrap_or_default();
        String::from_utf8(value.to_vec()).unwrap()
    }

    /// Time passes, and what is due is served on its minute.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.leg.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.leg.handle_timeout(self.now, &mut self.out);
        }
        self.now = end;
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// A response to the request with that token.
    pub(super) fn response(&mut self, method: &str, token: u32, status: u16, tag: &str, sdp: &str) {
        self.response_with(method, token, status, tag, "", sdp);
    }

    pub(super) fn response_with(
        &mut self,
        method: &str,
        token: u32,
        status: u16,
        tag: &str,
        headers: &str,
        sdp: &str,
    ) {
        let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let cseq = token;
        let contact = if headers.contains("Contact") || status <= 100 {
            ""
        } else {
            "Contact: <sip:them@10.0.0.1;x=%41>"
        };
        let headers = format!(
            "From: <sip:us@gw.example>;tag=us\nTo: <sip:them@peer.example>{tag}\nCall-ID: call\n\
             CSeq: {cseq} {method}\n{headers}\n{contact}"
        );
        let message = message(&format!("SIP/2.0 {status} X"), &headers, sdp);
        self.leg.handle_response(Token(token), &source(), &message, self.now, &mut self.out);
    }

    /// A request inside the dialog, with the next CSeq.
    pub(super) fn request(&mut self, method: &str, headers: &str, sdp: &str) {
        self.cseq += 1;
        self.request_as(method, self.cseq, "them", headers, sdp);
    }

    pub(super) fn request_as(
        &mut self,
        method: &str,
        cseq: u32,
        tag: &str,
        headers: &str,
        sdp: &str,
    ) {
        let contact = if headers.contains("Contact") { "" } else { "Contact: <sip:them@10.0.0.1>" };
        let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let headers = format!(
            "From: <sip:them@peer.example>{tag}\nTo: <sip:us@gw.example>;tag=us\n\
             Call-ID: call\nCSeq: {cseq} {method}\n{headers}\n{contact}"
        );
        let start = format!("{method} sip:us@gw.example SIP/2.0");
        let message = message(&start, &headers, sdp);
        self.servers += 1;
        let server = ServerId(self.servers);
        self.leg.handle_request(server, &source(), &message, self.now, &mut self.out);
    }

    pub(super) fn ack(&mut self, cseq: u32, sdp: &str) {
        let message = self.bare("ACK", cseq, sdp);
        self.leg.handle_ack(&source(), &message, self.now, &mut self.out);
    }

    pub(super) fn cancelled(&mut self, cseq: u32) {
        let message = self.bare("CANCEL", cseq, "");
        self.leg.handle_cancelled(&message, self.now, &mut self.out);
    }

    fn bare(&self, method: &str, cseq: u32, sdp: &str) -> Message {
        let headers = format!(
            "From: <sip:them@peer.example>;tag=them\nTo: <sip:us@gw.example>;tag=us\n\
             Call-ID: call\nCSeq: {cseq} {method}"
        );
        message(&format!("{method} sip:us@gw.example SIP/2.0"), &headers, sdp)
    }

    pub(super) fn failed(&mut self, token: u32, why: Failure) {
        self.leg.handle_failed(Token(token), why, self.now, &mut self.out);
    }

    pub(super) fn ring(&mut self, status: u16, sdp: &str) {
        let sdp = (!sdp.is_empty()).then(|| bytes(sdp));
        self.leg.ring(status, sdp, &[], self.now, &mut self.out);
    }

    pub(super) fn answer(&mut self, sdp: &str) {
        self.leg.answer(bytes(sdp), &[], self.now, &mut self.out);
    }

    pub(super) fn reject(&mut self, status: u16) {
        self.leg.reject(status, None, &[], &mut self.out);
    }

    pub(super) fn cancel(&mut self) {
        self.leg.cancel(None, self.now, &mut self.out);
    }

    pub(super) fn bye(&mut self) {
        self.leg.bye(&[], self.now, &mut self.out);
    }

    pub(super) fn offer(&mut self, sdp: &str) {
        self.leg.offer(bytes(sdp), self.now, &mut self.out);
    }

    pub(super) fn accept(&mut self, sdp: &str) {
        self.leg.accept_offer(bytes(sdp), self.now, &mut self.out);
    }

    pub(super) fn refuse(&mut self, status: u16) {
        self.leg.refuse_offer(status, self.now, &mut self.out);
    }

    /// The RSeq of our last reliable 18x.
    pub(super) const fn last_rseq(&self) -> Option<u32> {
        self.leg.provisionals.last()
    }

    /// The number of the last server transaction that `request` made; the first is 101.
    pub(super) const fn requests(&self) -> u64 {
        self.servers
    }

    pub(super) fn state(&self) -> State {
        self.leg.state()
    }
}

/// An action as a short word: "INVITE 1 +sdp", "200 BYE", "ACK", "Answered".
pub(super) fn word(action: &Action) -> String {
    let sdp = |draft: &Draft| if draft.payload().is_empty() { "" } else { " +sdp" };
    match action {
        Action::Request { token, draft, .. } => {
            format!("{} {}{}", draft.method(), token.0, sdp(draft))
        }
        Action::Ack { draft, .. } => format!("ACK{}", sdp(draft)),
        Action::Respond { draft, .. } => {
            format!("{} {}{}", draft.status(), draft.method(), sdp(draft))
        }
        Action::Cancel { token, .. } => format!("CANCEL {}", token.0),
        Action::Event(event) => event_word(event),
    }
}

fn event_word(event: &Event) -> String {
    let text = |sdp: &Option<Bytes>| sdp.as_ref().map_or_else(|| "-".to_owned(), lossy);
    match event {
        Event::Provisional { message, sdp } => {
            format!("Provisional {} {}", message.status(), text(sdp))
        }
        Event::Answered { sdp, .. } => format!("Answered {}", text(sdp)),
        Event::Rejected { status, why, .. } => format!("Rejected {status} {}", rejection(*why)),
        Event::Confirmed => "Confirmed".to_owned(),
        Event::Answer { sdp } => format!("Answer {}", lossy(sdp)),
        Event::Refreshed { sdp } => format!("Refreshed {}", lossy(sdp)),
        Event::Offer { sdp, .. } => format!("Offer {}", text(sdp)),
        Event::OfferWithdrawn => "OfferWithdrawn".to_owned(),
        Event::OfferRefused { status } => format!("OfferRefused {status}"),
        Event::Request { message, .. } => format!("Request {}", message.method()),
        Event::Ended { by, .. } => format!("Ended {}", ended(*by)),
        Event::Referred { status } => format!("Referred {status}"),
        Event::Cancelled { .. } => "Cancelled".to_owned(),
    }
}

fn lossy(sdp: &Bytes) -> String {
    String::from_utf8_lossy(sdp).into_owned()
}

fn rejection(why: Rejection) -> String {
    format!("{why:?}")
}

fn ended(by: EndedBy) -> String {
    format!("{by:?}")
}
