//! 401 and 407 to requests of ours: those of trunks that have credentials are sent once more, with an answer.
//!
//! Whoever sent the request does not notice, but that its CSeq went up (RFC 3261 §22.2): the transaction is another one
//! under the same name, so that a CANCEL goes to the new one. A request that was cancelled is not sent again. The answer
//! goes to the address that the request went to, and only when the challenge came from there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sip_stack::endpoint::{Owner, Request};
use sip_stack::leg::Extra;
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::Source;

use super::health::PlaceId;
use super::{Core, HEALTH, call_of, registration_of};
use crate::credentials::{Sessions, Tried};
use crate::routing::{Place, Routes, TrunkId};

/// What is known of challenges, and the requests that one may come to.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    sessions: Sessions,
    sent: BTreeMap<(Owner, u32), Sent>,
    /// What an INVITE carried, by owner and CSeq: its ACK carries the same (RFC 3261 §22.1). The newest two of an owner.
    invites: BTreeMap<(Owner, u32), Vec<Extra>>,
}

/// A request without a final response, to a trunk that has credentials.
#[derive(Debug)]
struct Sent {
    request: Request,
    routes: Arc<Routes>,
    trunk: TrunkId,
    tried: Tried,
}

impl Challenges {
    /// Nothing is done about the request any more: it has its final response, or was given up.
    pub(super) fn settle(&mut self, owner: Owner, token: u32) {
        self.sent.remove(&(owner, token));
    }

    /// The owner is gone.
    pub(super) fn forget(&mut self, owner: Owner) {
        let all = (owner, 0)..=(owner, u32::MAX);
        let sent: Vec<_> = self.sent.range(all.clone()).map(|(key, _)| *key).collect();
        let invites: Vec<_> = self.invites.range(all).map(|(key, _)| *key).collect();
        sent.iter().for_each(|key| drop(self.sent.remove(key)));
        invites.iter().for_each(|key| drop(self.invites.remove(key)));
    }

    fn note_invite(&mut self, owner: Owner, draft: &Draft) {
        let answers = draft.fields().filter(|field| is_answer(field.id));
        let answers: Vec<Extra> = answers.map(|field| (field.id, field.value.clone())).collect();
        if *draft.method() != Method::Invite || answers.is_empty() {
            return;
        }
        self.invites.insert((owner, cseq(draft)), answers);
        let all = self.invites.range((owner, 0)..=(owner, u32::MAX)).map(|(key, _)| *key);
        let all: Vec<_> = all.collect();
        for key in all.iter().rev().skip(2) {
            self.invites.remove(key);
        }
    }

    /// How many requests may still be challenged.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.sent.len(), self.invites.len())
    }
}

impl Core {
    /// A request that is about to leave: answers what its trunk is known to ask at that place.
    pub(super) fn authorize(&mut self, owner: Owner, token: u32, request: &mut Request) {
        let Some((routes, trunk)) = self.trunk_of(owner) else { return };
        let of = &routes.config().trunks[trunk.0];
        if of.credentials.is_empty() || !self.is_at(of, owner, request.target.remote.ip()) {
            return;
        }
        let mut tried = Tried::default();
        let plain = request.clone();
        let place = request.target.remote;
        self.challenges.sessions.authorize(of, place, &mut request.draft, &mut tried);
        self.challenges.note_invite(owner, &request.draft);
        let sent = Sent { request: plain, routes, trunk, tried };
        self.challenges.sent.insert((owner, token), sent);
    }

    /// The ACK of a 2xx says of itself what its INVITE said.
    pub(super) fn authorize_ack(&self, owner: Owner, address: IpAddr, draft: &mut Draft) {
        let trunk = self.trunk_of(owner);
        if !trunk
            .is_some_and(|(routes, id)| self.is_at(&routes.config().trunks[id.0], owner, address))
        {
            return;
        }
        let answers = self.challenges.invites.get(&(owner, cseq(draft)));
        for (id, value) in answers.into_iter().flatten() {
            draft.push(*id, value.clone());
        }
    }

    /// A response to a request of ours. Whether it was a challenge and has been answered.
    pub(super) fn answer_challenge(
        &mut self,
        owner: Owner,
        token: u32,
        source: &Source,
        message: &Message,
        now: Instant,
    ) -> bool {
        if message.status() < 200 {
            return false;
        }
        let Some(mut sent) = self.challenges.sent.remove(&(owner, token)) else { return false };
        if !matches!(message.status(), 401 | 407)
            || source.remote.ip() != sent.request.target.remote.ip()
        {
            return false;
        }
        let trunk = &sent.routes.config().trunks[sent.trunk.0];
        let place = sent.request.target.remote;
        let (sessions, random) = (&mut self.challenges.sessions, &mut self.random);
        if let Err(why) = sessions.challenged(trunk, place, message, &mut sent.tried, random) {
            tracing::debug!(trunk = trunk.name, ?why, "challenge not answered");
            return false;
        }
        let Some(number) = self.next_cseq(owner, &sent.request.draft, now) else { return false };
        let draft = &mut sent.request.draft;
        let value = [number.to_string().as_bytes(), b" ", draft.method().as_bytes()].concat();
        draft.set(HeaderId::CSeq, Bytes::from(value));
        let mut request = sent.request.clone();
        let sessions = &mut self.challenges.sessions;
        sessions.authorize(trunk, place, &mut request.draft, &mut sent.tried);
        self.challenges.note_invite(owner, &request.draft);
        self.challenges.sent.insert((owner, token), sent);
        let request = self.fit(owner, token, request, now);
        self.submit(owner, token, request, now);
        true
    }

    /// Whether an address is one of the trunk's: where its leg began, or from where its calls come. A dialog may lead to any
    /// other, which the far end of the call can name.
    fn is_at(&self, trunk: &config::Trunk, owner: Owner, address: IpAddr) -> bool {
        let Some((key, leg)) = call_of(owner) else { return true };
        let began = self.slots.call(key).and_then(|call| call.peer(usize::from(leg)));
        began == Some(address) || trunk.networks.iter().any(|network| network.contains(&address))
    }

    /// The CSeq of the same request, once more. `None`: its call is gone.
    fn next_cseq(&mut self, owner: Owner, draft: &Draft, now: Instant) -> Option<u32> {
        if let Some(id) = registration_of(owner) {
            return self.registrations.next_cseq(id);
        }
        let Some((key, leg)) = call_of(owner) else { return Some(cseq(draft) + 1) };
        let mut number = None;
        self.with_call(key, now, |call, _| number = call.next_cseq(usize::from(leg)));
        number
    }

    /// The trunk that a request goes to.
    fn trunk_of(&self, owner: Owner) -> Option<(Arc<Routes>, TrunkId)> {
        if let Some((key, leg)) = call_of(owner) {
            return self.slots.call(key)?.trunk(usize::from(leg));
        }
        if let Some(id) = registration_of(owner) {
            let known = self.registrations.get(id)?;
            return Some((Arc::clone(&known.routes), known.trunk));
        }
        match self.health.get(PlaceId(owner.0 & !HEALTH))?.place {
            Place::Peer { trunk, .. } => Some((Arc::clone(&self.routes), trunk)),
            Place::Proxy { .. } => None,
        }
    }
}

const fn is_answer(id: HeaderId) -> bool {
    matches!(id, HeaderId::Authorization | HeaderId::ProxyAuthorization)
}

fn cseq(draft: &Draft) -> u32 {
    let value = draft.value(HeaderId::CSeq).unwrap_or_default();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}
