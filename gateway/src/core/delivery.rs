//! Where requests of legs go: to the address that an attempt chose, or inside a dialog to where it was last heard.
//!
//! Inside a dialog the connection on which the peer was last heard comes first, because it leads to the very server
//! that has the dialog. When it is gone, or fails, the next hop's URI is located and a new connection made; when even
//! that fails, the address last heard is tried.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use sip_stack::endpoint::{Owner, Request, SendId};
use sip_stack::leg::Hop;
use sip_stack::locate::{Destination, Family, Located};
use sip_stack::message::{Draft, Method};
use sip_stack::transport::{Target, Transport};
use sip_stack::uri::{Host, Scheme, Uri};

use super::large::Larges;
use super::{Asker, Core, call_of};
use crate::locals::{self, Side};

/// A request that waits for an address, or may have to be sent again elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    owner: Owner,
    /// The leg's mark; `None` is an ACK.
    token: Option<u32>,
    draft: Draft,
    uri: Bytes,
    last: Target,
    sent_by: Bytes,
}

/// What was sent on a dialog's own connection and may have to go another way.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    requests: BTreeMap<(Owner, u32), Parked>,
    /// The newest ACKs, at most [`MOST_ACKS`]: one that got lost unnoticed is asked for again by a repeated 2xx.
    acks: VecDeque<(SendId, Parked)>,
    pub(super) larges: Larges,
}

impl Delivery {
    /// A response came: the way was right.
    pub(super) fn delivered(&mut self, owner: Owner, token: u32) {
        self.requests.remove(&(owner, token));
        self.larges.forget(owner, token);
    }

    /// The owner is gone.
    pub(super) fn forget(&mut self, owner: Owner) {
        self.larges.forget_all(owner);
        let left: Vec<_> =
            self.requests.range((owner, 0)..=(owner, u32::MAX)).map(|(key, _)| *key).collect();
        for key in left {
            self.requests.remove(&key);
        }
    }

    /// How many requests may still have to go another way.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.requests.len() + self.larges.waiting()
    }

    fn remember(&mut self, send: SendId, ack: Parked) {
        if self.acks.len() >= MOST_ACKS {
            self.acks.pop_front();
        }
        self.acks.push_back((send, ack));
    }

    fn take_ack(&mut self, send: SendId) -> Option<Parked> {
        let at = self.acks.iter().position(|(id, _)| *id == send)?;
        self.acks.remove(at).map(|(_, ack)| ack)
    }
}

impl Core {
    pub(super) fn deliver_request(
        &mut self,
        owner: Owner,
        token: u32,
        draft: Draft,
        hop: Hop,
        sent_by: Bytes,
        now: Instant,
    ) {
        match hop {
            Hop::Target(target) => self.send_request(owner, token, draft, target, sent_by, now),
            Hop::Uri { uri, last } => {
                let parked = Parked { owner, token: Some(token), draft, uri, last, sent_by };
                self.deliver(parked, now);
            }
        }
    }

    pub(super) fn deliver_ack(
        &mut self,
        owner: Owner,
        draft: Draft,
        hop: Hop,
        sent_by: Bytes,
        now: Instant,
    ) {
        match hop {
            Hop::Target(target) => {
                self.send_ack(owner, draft, target, sent_by, now);
            }
            Hop::Uri { uri, last } => {
                self.deliver(Parked { owner, token: None, draft, uri, last, sent_by }, now);
            }
        }
    }

    /// A request could not be delivered on its dialog's connection: sends it where its URI leads. False when it had
    /// been sent there in the first place.
    pub(super) fn redeliver(&mut self, owner: Owner, token: u32, now: Instant) -> bool {
        match self.delivery.requests.remove(&(owner, token)) {
            Some(parked) => {
                self.locate_hop(parked, now);
                true
            }
            None => false,
        }
    }

    /// The same for an ACK.
    pub(super) fn retry_ack(&mut self, send: SendId, now: Instant) -> bool {
        match self.delivery.take_ack(send) {
            Some(parked) => {
                self.locate_hop(parked, now);
                true
            }
            None => false,
        }
    }

    pub(super) fn deliver_located(&mut self, parked: Parked, located: Located, now: Instant) {
        let target = match located {
            Ok(addresses) => addresses.into_iter().next().map(|address| Target {
                transport: address.transport,
                local: parked.last.local,
                remote: address.addr,
                name: Some(address.name),
                flow: None,
            }),
            Err(error) => {
                tracing::debug!(%error, "next hop of a dialog not located");
                None
            }
        };
        let target = target.unwrap_or_else(|| parked.last.clone());
        self.transmit(parked, target, now);
    }

    fn deliver(&mut self, parked: Parked, now: Instant) {
        let alive = parked.last.flow.is_some_and(|flow| self.flows.serves(flow));
        if !alive {
            return self.locate_hop(parked, now);
        }
        let target = parked.last.clone();
        match parked.token {
            Some(token) => {
                self.delivery.requests.insert((parked.owner, token), parked.clone());
                self.transmit(parked, target, now);
            }
            None => {
                let draft = parked.draft.clone();
                let sent_by = parked.sent_by.clone();
                let send = self.send_ack(parked.owner, draft, target, sent_by, now);
                self.delivery.remember(send, parked);
            }
        }
    }

    fn locate_hop(&mut self, parked: Parked, now: Instant) {
        if let Some(trunk) = self.registered_leg(parked.owner).map(str::to_owned) {
            let target = self.registered_hop(&trunk, &parked.last);
            return self.transmit(parked, target, now);
        }
        let destination = self.destination(&parked);
        match destination {
            Some(destination) => self.locate(Asker::Delivery(Box::new(parked)), destination, now),
            None => {
                let target = parked.last.clone();
                self.transmit(parked, target, now);
            }
        }
    }

    fn destination(&self, parked: &Parked) -> Option<Destination> {
        let uri = Uri::parse(&parked.uri).ok()?;
        let on_edge =
            matches!(locals::side(self.routes.config(), parked.last.local), Side::Edge(_));
        let named = uri.param("transport").flatten().and_then(|name| {
            [Transport::Udp, Transport::Tcp, Transport::Tls]
                .into_iter()
                .find(|t| name.eq_ignore_ascii_case(t.uri_name().as_bytes()))
        });
        let transport = if on_edge { Some(Transport::Tls) } else { named };
        Some(Destination {
            host: match uri.host() {
                Host::Name("") => return None,
                Host::Name(name) => name.to_owned(),
                Host::Ip(ip) => ip.to_string(),
            },
            port: uri.port(),
            transport: transport.or(Some(parked.last.transport)),
            secure: uri.scheme() == Scheme::Sips,
            family: Family::Any,
        })
    }

    fn transmit(&mut self, parked: Parked, target: Target, now: Instant) {
        match parked.token {
            Some(token) => {
                self.send_request(parked.owner, token, parked.draft, target, parked.sent_by, now);
            }
            None => {
                self.send_ack(parked.owner, parked.draft, target, parked.sent_by, now);
            }
        }
    }

    fn send_ack(
        &mut self,
        owner: Owner,
        mut draft: Draft,
        target: Target,
        sent_by: Bytes,
        now: Instant,
    ) -> SendId {
        self.authorize_ack(owner, target.remote.ip(), &mut draft);
        self.endpoint.send(target, sent_by, draft, now)
    }

    fn send_request(
        &mut self,
        owner: Owner,
        token: u32,
        draft: Draft,
        target: Target,
        sent_by: Bytes,
        now: Instant,
    ) {
        let mut request = Request { draft, target, sent_by, timeout: None };
        self.authorize(owner, token, &mut request);
        let request = self.fit(owner, token, request, now);
        self.submit(owner, token, request, now);
    }

    /// Sends a request as it is.
    pub(super) fn submit(&mut self, owner: Owner, token: u32, request: Request, now: Instant) {
        if call_of(owner).is_some_and(|(key, _)| !self.slots.has(key)) {
            return;
        }
        let invite = *request.draft.method() == Method::Invite;
        let client = self.endpoint.request(owner, token, request, now);
        if invite {
            self.note_invite(owner, token, client);
        }
    }
}

const MOST_ACKS: usize = 1024;
