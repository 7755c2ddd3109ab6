//! One dialog of a raw end: text templates for what it sends, and just enough state for tags,
//! routes and sequence numbers. It repeats nothing and forgives nothing.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::sip::Msg;
use super::wire::{Flow, Inbox, Received};

/// How an end appears in its messages.
#[derive(Clone)]
pub struct Persona {
    pub inbox: Arc<Inbox>,
    /// Via sent-by.
    pub sent_by: String,
    /// Contact with angle brackets.
    pub contact: String,
    /// Lines of every message of its own, each ended by CRLF.
    pub extra: String,
    /// Record-Route of its answers and its initial requests.
    pub record_route: Option<String>,
}

impl Persona {
    /// An end that is reached at one address by UDP.
    pub fn at(address: SocketAddr, inbox: &Arc<Inbox>) -> Self {
        Self {
            inbox: Arc::clone(inbox),
            sent_by: address.to_string(),
            contact: format!("<sip:{address}>"),
            extra: String::new(),
            record_route: None,
        }
    }
}

/// What to say in an INVITE.
#[derive(Clone, Debug, Default)]
pub struct Invite<'a> {
    pub uri: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    /// Further header lines, each ended by CRLF.
    pub extra: &'a str,
    pub sdp: &'a str,
}

pub struct Dialog {
    persona: Persona,
    pub flow: Flow,
    pub call_id: String,
    local: String,
    remote: String,
    pub target: String,
    routes: Vec<String>,
    cseq: u32,
    invite_cseq: u32,
    invite: Option<(String, String)>,
}

/// Unique in this run.
pub fn token(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}{:06}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Dialog {
    /// Sends an INVITE.
    pub fn invite(persona: &Persona, flow: &Flow, invite: &Invite<'_>) -> Self {
        let mut dialog = Self::prepare(persona, flow, invite);
        let text = dialog.invite_text(invite);
        flow.send(text);
        dialog
    }

    /// The dialog of an INVITE whose text the test sends in its own way.
    pub fn prepare(persona: &Persona, flow: &Flow, invite: &Invite<'_>) -> Self {
        Self {
            persona: persona.clone(),
            flow: flow.clone(),
            call_id: token("call-"),
            local: format!("{};tag={}", invite.from, token("c")),
            remote: invite.to.to_owned(),
            target: invite.uri.to_owned(),
            routes: Vec::new(),
            cseq: 1,
            invite_cseq: 1,
            invite: None,
        }
    }

    pub fn invite_text(&mut self, invite: &Invite<'_>) -> String {
        let branch = token("z9hG4bK-");
        self.invite = Some((invite.uri.to_owned(), branch.clone()));
        let mut extra = invite.extra.to_owned();
        if let Some(route) = &self.persona.record_route {
            write!(extra, "Record-Route: {route}\r\n").unwrap();
        }
        self.text("INVITE", self.cseq, &branch, &extra, invite.sdp)
    }

    /// The answering side of a received INVITE.
    pub fn answering(persona: &Persona, received: &Received) -> Self {
        let msg = &received.msg;
        Self {
            persona: persona.clone(),
            flow: received.flow.clone(),
            call_id: msg.call_id().to_owned(),
            local: format!("{};tag={}", msg.need("To"), token("a")),
            remote: msg.need("From").to_owned(),
            target: msg.uri_of("Contact").to_owned(),
            routes: msg.all("Record-Route").map(str::to_owned).collect(),
            cseq: 100,
            invite_cseq: 0,
            invite: None,
        }
    }

    /// Another To-tag from now on: another branch of a fork answers.
    pub fn fork(&mut self) {
        let base = self.local.rsplit_once(";tag=").expect("a tag").0.to_owned();
        self.local = format!("{base};tag={}", token("f"));
    }

    /// The branch of a fork that had this To-tag goes on.
    pub fn answer_as(&mut self, tag: &str) {
        let base = self.local.rsplit_once(";tag=").expect("a tag").0.to_owned();
        self.local = format!("{base};tag={tag}");
    }

    pub fn local_tag(&self) -> &str {
        self.local.rsplit_once(";tag=").map_or("", |(_, tag)| tag)
    }

    /// Answers a request of this dialog.
    pub fn reply(&self, received: &Received, status: &str, extra: &str, sdp: &str) {
        received.flow.send(self.reply_text(&received.msg, status, extra, sdp));
    }

    pub fn reply_text(&self, msg: &Msg, status: &str, extra: &str, sdp: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for via in msg.all("Via") {
            write!(text, "Via: {via}\r\n").unwrap();
        }
        if msg.method() == "INVITE"
            && !status.starts_with("100")
            && let Some(route) = &self.persona.record_route
        {
            write!(text, "Record-Route: {route}\r\n").unwrap();
        }
        let to = if msg.to_tag().is_some() || status.starts_with("100") {
            msg.need("To").to_owned()
        } else {
            self.local.clone()
        };
        write!(
            text,
            "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: {}\r\n",
            msg.need("From"),
            self.call_id,
            msg.need("CSeq"),
            self.persona.contact
        )
        .unwrap();
        text.push_str(&self.persona.extra);
        text.push_str(extra);
        close(&mut text, sdp);
        text
    }

    /// The response to our INVITE (or re-INVITE) with that status; routes and target are kept.
    pub fn response(&mut self, status: u16) -> Received {
        let (call_id, number) = (self.call_id.clone(), self.invite_cseq);
        let received = self.persona.inbox.take(&format!("{status} to INVITE {call_id}"), |r| {
            r.msg.status() == status
                && r.msg.call_id() == call_id
                && r.msg.cseq() == (number, "INVITE")
        });
        self.heard(&received);
        received
    }

    /// The final response to our INVITE, whatever it is.
    pub fn final_response(&mut self) -> Received {
        let (call_id, number) = (self.call_id.clone(), self.invite_cseq);
        let received = self.persona.inbox.take(&format!("final to INVITE {call_id}"), |r| {
            r.msg.status() >= 200
                && r.msg.call_id() == call_id
                && r.msg.cseq() == (number, "INVITE")
        });
        self.heard(&received);
        received
    }

    /// Keeps what an answer to our INVITE says of the other side.
    pub fn heard(&mut self, received: &Received) {
        let msg = &received.msg;
        if msg.status() > 100 && msg.to_tag().is_some() {
            self.remote = msg.need("To").to_owned();
        }
        if (200..300).contains(&msg.status()) {
            self.target = msg.uri_of("Contact").to_owned();
            if self.invite_cseq == 1 {
                self.routes = msg.all("Record-Route").map(str::to_owned).collect();
                self.routes.reverse();
            }
        }
    }

    /// ACK for the 2xx.
    pub fn ack(&self) {
        let text = self.text("ACK", self.invite_cseq, &token("z9hG4bK-"), "", "");
        self.flow.send(text);
    }

    /// ACK for a 2xx that answered without an offer of ours: carries the answer.
    pub fn ack_with(&self, sdp: &str) {
        self.flow.send(self.text("ACK", self.invite_cseq, &token("z9hG4bK-"), "", sdp));
    }

    /// ACK for another final response (RFC 3261 §17.1.1.3).
    pub fn ack_failure(&self) {
        let (uri, branch) = self.invite.clone().expect("an INVITE of ours");
        let mut same = self.plain();
        same.target = uri;
        self.flow.send(same.text("ACK", self.invite_cseq, &branch, "", ""));
    }

    pub fn cancel(&self, extra: &str) {
        let (uri, branch) = self.invite.clone().expect("an INVITE of ours");
        let mut same = self.plain();
        same.target = uri;
        same.remote = self.remote.split(";tag=").next().unwrap_or_default().to_owned();
        self.flow.send(same.text("CANCEL", self.invite_cseq, &branch, extra, ""));
    }

    fn plain(&self) -> Self {
        Self {
            persona: self.persona.clone(),
            flow: self.flow.clone(),
            call_id: self.call_id.clone(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            target: self.target.clone(),
            routes: Vec::new(),
            cseq: self.cseq,
            invite_cseq: self.invite_cseq,
            invite: None,
        }
    }

    /// Sends a request in the dialog.
    pub fn send(&mut self, method: &str, extra: &str, sdp: &str) -> u32 {
        self.cseq += 1;
        if method == "INVITE" {
            self.invite_cseq = self.cseq;
        }
        self.flow.send(self.text(method, self.cseq, &token("z9hG4bK-"), extra, sdp));
        self.cseq
    }

    /// ACK for a refusal of a re-INVITE of ours: the branch is that of its Via.
    pub fn send_ack_failure(&self, refusal: &Msg) {
        let branch = refusal.branch().to_owned();
        self.flow.send(self.text("ACK", self.invite_cseq, &branch, "", ""));
    }

    /// ACK for a final answer to one of several re-INVITEs.
    pub fn ack_to(&self, answer: &Msg) {
        let accepted = answer.status() < 300;
        let branch = if accepted { token("z9hG4bK-") } else { answer.branch().to_owned() };
        self.flow.send(self.text("ACK", answer.cseq().0, &branch, "", ""));
    }

    /// The next request of this side has a CSeq so much lower; gives where it was.
    pub fn back(&mut self, by: u32) -> u32 {
        let before = self.cseq;
        self.cseq -= by;
        before
    }

    pub fn back_to(&mut self, cseq: u32) {
        self.cseq = cseq;
    }

    /// Sends a request and takes its final response.
    pub fn ask(&mut self, method: &str, extra: &str, sdp: &str) -> Received {
        let number = self.send(method, extra, sdp);
        let call_id = self.call_id.clone();
        let received =
            self.persona.inbox.take(&format!("final response to {method} {call_id}"), |r| {
                r.msg.status() >= 200
                    && r.msg.call_id() == call_id
                    && r.msg.cseq() == (number, method)
            });
        if method == "INVITE" {
            self.heard(&received);
        }
        received
    }

    /// The other side's next request of that method in this dialog.
    pub fn take(&self, method: &str) -> Received {
        let call_id = &self.call_id;
        self.persona.inbox.take(&format!("{method} in {call_id}"), |r| {
            r.msg.is_request() && r.msg.method() == method && r.msg.call_id() == call_id
        })
    }

    /// The 200 to a request that was sent before.
    pub fn took_200(&self, method: &str) -> Received {
        let call_id = &self.call_id;
        self.persona.inbox.take(&format!("200 to {method} in {call_id}"), |r| {
            r.msg.status() == 200 && r.msg.method() == method && r.msg.call_id() == call_id
        })
    }

    /// Refuses a call that came in; whoever made it hears that.
    pub fn is_busy(&self, invite: &Received, caller: &mut Self) {
        self.reply(invite, "486 Busy Here", "", "");
        let refusal = caller.final_response().msg;
        assert_eq!(refusal.status(), 486, "{refusal}");
        caller.ack_failure();
    }

    /// Ends the call from here.
    pub fn hang_up(&mut self) {
        let response = self.ask("BYE", "", "");
        assert_eq!(response.msg.status(), 200, "BYE was answered\n{}", response.msg);
    }

    /// The other side ends it.
    pub fn hung_up(&self) -> Received {
        let bye = self.take("BYE");
        self.reply(&bye, "200 OK", "", "");
        bye
    }

    fn text(&self, method: &str, number: u32, branch: &str, extra: &str, sdp: &str) -> String {
        let mut text = format!("{method} {} SIP/2.0\r\n", self.target);
        write!(
            text,
            "Via: SIP/2.0/{} {};branch={branch};rport\r\nMax-Forwards: 70\r\n",
            self.flow.transport(),
            self.persona.sent_by
        )
        .unwrap();
        for route in &self.routes {
            write!(text, "Route: {route}\r\n").unwrap();
        }
        write!(
            text,
            "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n",
            self.local, self.remote, self.call_id
        )
        .unwrap();
        if method != "CANCEL" && method != "BYE" {
            write!(text, "Contact: {}\r\n", self.persona.contact).unwrap();
        }
        text.push_str(&self.persona.extra);
        text.push_str(extra);
        close(&mut text, sdp);
        text
    }
}

/// The end of a message: the body and its headers.
fn close(text: &mut String, sdp: &str) {
    // A test that has a type of its own has said so above.
    if !sdp.is_empty() && !text.contains("\r\nContent-Type:") {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    write!(text, "Content-Length: {}\r\n\r\n{sdp}", sdp.len()).unwrap();
}
