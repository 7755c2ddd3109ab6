//! CANCEL on both sides: RFC 3261 §9.1 and §9.2.
//!
//! Ours waits for a provisional response to the INVITE (the INVITE's machine sees to that), goes where
//! the INVITE went, and is a transaction of its own whose responses concern nobody: the INVITE ends
//! by its own final response, or 64 × T1 after the CANCEL.
//!
//! The peer's is answered 200 when there is such an INVITE, else 481 without state. The user is told
//! while the INVITE has no final response, once, and answers it 487.

use std::time::Instant;

use bytes::Bytes;

use super::client::{Branch, Client, follow_up};
use super::key::Class;
use super::{ClientId, Endpoint, Output};
use crate::message::{Draft, HeaderId, Message, Method};
use crate::transaction::client_invite;
use crate::transport::Source;

impl Endpoint {
    /// Gives up an INVITE (§9.1): the CANCEL goes when a provisional response is there. Its `reason`
    /// becomes the Reason header (RFC 3326). Nothing happens after a final response.
    pub fn cancel(&mut self, client: ClientId, reason: Option<Bytes>, now: Instant) {
        let pending = self.clients.get_mut(&client).and_then(|found| found.pending.as_mut());
        let Some(pending) = pending else { return };
        pending.reason = reason.or(pending.reason.take());
        self.client_invite(client, client_invite::Input::Cancel, None, now);
    }

    pub(super) fn send_cancel(&mut self, invite: ClientId, now: Instant) {
        let Some(client) = self.clients.get(&invite) else { return };
        let Some(pending) = &client.pending else { return };
        let mut cancel = follow_up(&pending.draft, Method::Cancel);
        if let Some(reason) = &pending.reason {
            cancel.push(HeaderId::Reason, reason.clone());
        }
        let branch = Branch { cancel: true, ..client.branch };
        let target = client.target.clone();
        let timing = &self.settings.timing;
        let client = Client::new(branch, None, target, cancel, None, timing, now);
        self.begin(client);
    }

    pub(super) fn handle_cancel(&mut self, source: Source, message: Message, now: Instant) {
        if self.absorb(Class::Cancel, &source, &message, now) {
            return;
        }
        let Some(invite) = self.find(Class::Invite, &source, &message) else {
            self.counters.stray_cancels += 1;
            return self.reply_stateless(&source, Draft::response(&message, 481));
        };
        self.counters.cancels += 1;
        // Tagged as the responses to the INVITE are.
        let mut response = Draft::response(&message, 200);
        self.tag(invite, &mut response);
        let server = self.begin_server(Class::Cancel, source, &message, now);
        self.respond(server, response, now);
        let pending = self.servers.get_mut(&invite).and_then(|found| found.pending.as_mut());
        if let Some(pending) = pending
            && !std::mem::replace(&mut pending.cancelled, true)
        {
            let owner = pending.owner;
            self.outputs.push_back(Output::Cancelled { server: invite, owner, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{answer, drain, endpoint, incoming, outgoing, run_out, source};
    use super::super::{Failure, Owner};
    use super::*;
    use crate::transport::Transport::{Tcp, Tls, Udp};

    const US: Owner = Owner(8);

    #[test]
    fn a_cancel_waits_for_a_provisional_response() {
        let (mut endpoint, now) = endpoint();
        let client = endpoint.request(US, 1, outgoing(Method::Invite, Udp), now);
        let (_, target, invite) = drain(&mut endpoint).sent.remove(0);

        endpoint.cancel(client, Some(Bytes::from_static(b"SIP;cause=200")), now);
        endpoint.cancel(client, None, now);
        assert!(drain(&mut endpoint).is_empty());
        endpoint.handle_message(source(Udp), answer(&invite, 100), now);
        let out = drain(&mut endpoint);

        assert_eq!(out.responses, [(client, US, 1, 100)]);
        assert_eq!(out.kinds(), ["CANCEL"]);
        let (_, cancel_target, cancel) = &out.sent[0];
        assert_eq!((cancel_target, cancel.uri()), (&target, invite.uri()));
        assert_eq!(cancel.value(HeaderId::Via), invite.value(HeaderId::Via));
        assert_eq!(cancel.elements(HeaderId::Via).count(), 1);
        assert_eq!(cancel.value(HeaderId::To), invite.value(HeaderId::To));
        assert_eq!(cancel.value(HeaderId::CSeq), Some(&b"7 CANCEL"[..]));
        assert_eq!(cancel.value(HeaderId::Reason), Some(&b"SIP;cause=200"[..]));
        assert!(cancel.values(HeaderId::Route).eq(invite.values(HeaderId::Route)));

        endpoint.cancel(client, None, now);
        endpoint.handle_message(source(Udp), answer(cancel, 200), now);
        assert!(drain(&mut endpoint).is_empty(), "once, and its answer is nobody's business");

        endpoint.handle_message(source(Udp), answer(&invite, 487), now);
        let out = drain(&mut endpoint);
        assert_eq!((out.kinds(), out.responses.len()), (vec!["ACK".to_owned()], 1));
        run_out(&mut endpoint);
    }

    #[test]
    fn a_cancel_after_the_final_response_does_nothing() {
        for status in [200, 486] {
            let (mut endpoint, now) = endpoint();
            let client = endpoint.request(US, 1, outgoing(Method::Invite, Udp), now);
            let (_, _, invite) = drain(&mut endpoint).sent.remove(0);
            endpoint.handle_message(source(Udp), answer(&invite, status), now);
            drain(&mut endpoint);

            endpoint.cancel(client, None, now);

            assert!(drain(&mut endpoint).is_empty());
            assert!(run_out(&mut endpoint).is_empty());
        }
    }

    #[test]
    fn a_peer_that_ignores_the_cancel_is_given_up() {
        let (mut endpoint, now) = endpoint();
        let client = endpoint.request(US, 1, outgoing(Method::Invite, Tcp), now);
        let (_, _, invite) = drain(&mut endpoint).sent.remove(0);
        endpoint.handle_message(source(Tcp), answer(&invite, 180), now);
        endpoint.cancel(client, None, now);
        drain(&mut endpoint);

        let out = run_out(&mut endpoint);

        assert_eq!(out.failed, [(client, US, 1, Failure::Timeout)]);
        assert_eq!(endpoint.counters().timeouts, 2, "the INVITE and its CANCEL");
    }

    #[test]
    fn a_cancel_is_answered_and_tells_the_owner_once() {
        let (mut endpoint, now) = endpoint();
        endpoint.handle_message(source(Tls), incoming("INVITE", &[]), now);
        let (server, invite) = drain(&mut endpoint).requests.remove(0);
        endpoint.adopt(server, US);
        let mut ringing = Draft::response(&invite, 180);
        ringing.set_to_tag(b"mine");
        endpoint.respond(server, ringing, now);
        drain(&mut endpoint);

        // Over TLS the CANCEL's own transaction ends at once, so the second copy is no repeat.
        for expected in [vec![(server, Some(US))], vec![]] {
            endpoint.handle_message(source(Tls), incoming("CANCEL", &[]), now);
            let out = drain(&mut endpoint);
            assert_eq!(out.kinds(), ["200"]);
            assert_eq!(out.sent[0].2.method(), &Method::Cancel);
            assert_eq!(out.sent[0].2.to_tag(), Some(&b"mine"[..]), "as the INVITE's responses");
            assert_eq!(out.cancelled, expected);
        }
        endpoint.respond(server, Draft::response(&invite, 487), now);
        assert_eq!(drain(&mut endpoint).kinds(), ["487"]);

        endpoint.handle_message(source(Tls), incoming("CANCEL", &[]), now);
        let out = drain(&mut endpoint);
        assert_eq!((out.kinds(), out.cancelled.len()), (vec!["200".to_owned()], 0));
        run_out(&mut endpoint);
    }

    #[test]
    fn a_cancel_without_invite_gets_481_without_state() {
        let (mut endpoint, now) = endpoint();
        let mut replies = Vec::new();
        for _ in 0..2 {
            endpoint.handle_message(source(Udp), incoming("CANCEL", &[]), now);
            let out = drain(&mut endpoint);
            assert_eq!(out.kinds(), ["481"]);
            replies.push(out.sent[0].2.raw().clone());
        }
        assert_eq!(replies[0], replies[1]);
        assert_eq!((endpoint.transactions(), endpoint.counters().stray_cancels), ((0, 0), 2));
    }
}
