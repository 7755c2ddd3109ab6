//! How a leg writes what it sends: the headers that are ours in every request and response.

use bytes::Bytes;

use super::{Action, Extra, Leg, Outbox};
use crate::endpoint::ServerId;
use crate::message::{Draft, HeaderId, Message, Method};

impl Leg {
    /// A response with our tag, and the headers that its class wants.
    pub(super) fn response(&self, request: &Message, status: u16) -> Draft {
        let mut draft = Draft::response(request, status);
        self.complete(request, &mut draft);
        draft
    }

    /// Adds what is ours to a response: To tag, Record-Route and Contact where a dialog begins or
    /// its target is refreshed (RFC 3261 §12.1.1, §12.2.2), Allow, Supported, Server.
    pub(super) fn complete(&self, request: &Message, draft: &mut Draft) {
        let status = draft.status();
        draft.set_to_tag(&self.dialog.id.local_tag);
        let refreshes = matches!(request.method(), Method::Invite | Method::Update);
        let describes = matches!(request.method(), Method::Invite | Method::Options);
        // Of these the response refreshes or names the target too (RFC 6665, RFC 3515).
        let subscribes =
            matches!(request.method(), Method::Refer | Method::Subscribe | Method::Notify);
        if (101..300).contains(&status) {
            if matches!(request.method(), Method::Invite) && request.to_tag().is_none() {
                draft.copy(request, HeaderId::RecordRoute);
            }
            if refreshes || describes || subscribes {
                draft.set(HeaderId::Contact, self.identity.contact.clone());
            }
        }
        if (describes && (101..300).contains(&status)) || status == 405 {
            draft.set(HeaderId::Allow, self.identity.allow.clone());
        }
        if (refreshes || describes) && (101..300).contains(&status) {
            self.push_supported(draft);
        }
        if !self.identity.agent.is_empty() {
            draft.set(HeaderId::Server, self.identity.agent.clone());
        }
    }

    /// Answers a request at once, without a body.
    pub(super) fn reply(&self, server: ServerId, request: &Message, status: u16, out: &mut Outbox) {
        out.push_back(Action::Respond { server, draft: self.response(request, status) });
    }

    /// Adds what is ours to a request: Contact, Allow and Supported where they mean something,
    /// User-Agent.
    pub(super) fn sign(&self, draft: &mut Draft, method: &Method) {
        draft.push(HeaderId::Contact, self.identity.contact.clone());
        if matches!(method, Method::Invite) {
            draft.push(HeaderId::Allow, self.identity.allow.clone());
            self.push_supported(draft);
        }
        if !self.identity.agent.is_empty() {
            draft.push(HeaderId::UserAgent, self.identity.agent.clone());
        }
    }

    fn push_supported(&self, draft: &mut Draft) {
        if !self.identity.supported.is_empty() {
            draft.set(HeaderId::Supported, self.identity.supported.clone());
        }
    }
}

/// Adds the owner's headers.
pub(super) fn push_extra(draft: &mut Draft, extra: &[Extra]) {
    for (id, value) in extra {
        draft.push(*id, value.clone());
    }
}

/// Adds an SDP body.
pub(super) fn push_sdp(draft: &mut Draft, sdp: Bytes) {
    draft.body(Bytes::from_static(b"application/sdp"), sdp);
}
