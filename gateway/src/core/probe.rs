//! OPTIONS to proxies and peers, and everything else from which it is learned how they are.
//!
//! One set of OPTIONS per edge, in the name of the edge alone: its health covers every tenant derived from it. A proxy
//! is well when it answers 2xx (a 403 means that it does not know us); a peer with anything that shows it is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{Failure, Owner, Request};
use sip_stack::locate::{Address, Located};
use sip_stack::message::{HeaderId, Message, Method};
use sip_stack::transport::{LocalId, Source, Target};

use super::health::{Change, PlaceId, Why};
use super::{Asker, Core, HEALTH, Output, Retired, call_of};
use crate::call::{Trouble, retry_after};
use crate::event::Event;
use crate::profile::{teams, trunk};
use crate::routing::{Place, PlaceName, RealmId};

impl Core {
    pub(super) fn probe(&mut self, id: PlaceId, now: Instant) {
        let Some(watched) = self.health.get_mut(id) else { return };
        watched.probe += 1;
        let reach = self.routes.reach(watched.place);
        self.reach(Asker::Health(id), reach, now);
    }

    pub(super) fn probe_located(&mut self, id: PlaceId, located: Located, now: Instant) {
        let addresses = match located {
            Ok(addresses) => addresses,
            Err(error) => {
                self.health.again_soon(id, now);
                tracing::debug!(%error, "not located");
                return self.is_ill(id, Why::NotLocated, None, now);
            }
        };
        let Some(address) = addresses.first().cloned() else { return };
        let Some(watched) = self.health.get_mut(id) else { return };
        let before = watched.remote.replace(address.addr);
        let (place, token) = (watched.place, watched.probe);
        let mut request = self.options_to(place, address);
        if let Some(before) = before
            && addresses.iter().all(|address| address.addr != before)
        {
            self.leave(request.target.local, before, now);
        }
        let owner = Owner(HEALTH | id.0);
        self.challenges.forget(owner);
        self.authorize(owner, token, &mut request);
        self.endpoint.request(owner, token, request, now);
    }

    fn options_to(&mut self, place: Place, address: Address) -> Request {
        let routes = Arc::clone(&self.routes);
        let config = routes.config();
        let (call_id, tag) = (self.endpoint.new_call_id(), self.endpoint.new_tag());
        let contact = self.probed_contact(place, &address);
        let Address { transport, addr: remote, name } = address;
        let (draft, face) = match place {
            Place::Proxy { edge, proxy } => {
                let of = &config.edges[edge.0];
                let draft = teams::options(config, edge, &of.proxies[proxy], call_id, &tag);
                (draft, teams::face(config, edge, &of.fqdn))
            }
            Place::Peer { trunk, peer } => {
                let of = &config.trunks[trunk.0];
                let realm = RealmId(of.realm);
                let face = trunk::face(config, realm, transport, remote.is_ipv6());
                let uri = match &contact {
                    Some((uri, _)) => uri.clone(),
                    None => trunk::peer_uri(&of.peers[peer]),
                };
                (trunk::options(&face, uri, call_id, &tag), face)
            }
        };
        let target = match contact {
            Some((_, target)) => target,
            None => Target { transport, local: face.local, remote, name: Some(name), flow: None },
        };
        let timeout = match place {
            Place::Proxy { .. } => PROXY_PATIENCE,
            Place::Peer { .. } => PEER_PATIENCE,
        };
        Request { draft, target, sent_by: face.sent_by(), timeout: Some(timeout) }
    }

    pub(super) fn probe_answered(
        &mut self,
        owner: Owner,
        token: u32,
        message: &Message,
        now: Instant,
    ) {
        let Some(id) = self.probed(owner, token) else { return };
        let proxy = self.health.get(id).is_some_and(|watched| watched.is_proxy());
        match message.status() {
            100..200 => {}
            200..300 => self.is_well(id, false, now),
            408 | 503 => self.is_ill(id, Why::Refused(message.status()), Some(message), now),
            status if proxy => self.is_ill(id, Why::Refused(status), Some(message), now),
            _ => self.is_well(id, false, now),
        }
    }

    pub(super) fn probe_failed(&mut self, owner: Owner, token: u32, why: Failure, now: Instant) {
        let Some(id) = self.probed(owner, token) else { return };
        let why = match why {
            Failure::Timeout => Why::Unanswered,
            Failure::Transport => Why::NoConnection,
        };
        self.is_ill(id, why, None, now);
    }

    fn probed(&self, owner: Owner, token: u32) -> Option<PlaceId> {
        let id = PlaceId(owner.0 & !HEALTH);
        (self.health.get(id)?.probe == token).then_some(id)
    }

    /// A call had trouble at a place.
    pub(super) fn trouble(
        &mut self,
        place: &PlaceName,
        address: SocketAddr,
        all: bool,
        trouble: Trouble,
        now: Instant,
    ) {
        let Some(id) = self.health.named(place) else { return };
        if let Trouble::Busy(wait) = trouble {
            tracing::warn!(place = %place, seconds = wait.as_secs(), "asks for no calls for a while");
            return self.health.hold(id, wait, now);
        }
        self.locator.demote(address, now + DEMOTED, now);
        if let Some(why) = Option::<Why>::from(trouble).filter(|_| all) {
            self.is_ill(id, why, None, now);
        }
    }

    /// A response to a leg's INVITE: what it says of the place where the INVITE went.
    pub(super) fn learn(&mut self, owner: Owner, source: &Source, message: &Message, now: Instant) {
        if *message.method() != Method::Invite || message.status() <= 100 {
            return;
        }
        let Some((key, leg)) = call_of(owner) else { return };
        let Some(call) = self.slots.call(key) else { return };
        let Some(place) = call.tried(usize::from(leg)) else { return };
        if message.status() == 503 {
            // TR-032: the proxy wants nothing more on this connection.
            let retires = matches!(place, Place::Proxy { .. }) && retry_after(message).is_some();
            if let Some(flow) = source.flow.filter(|_| retires) {
                self.retire(flow, Retired::Replaced, now);
            }
            return;
        }
        // A peer that works in calls is up, whatever it says to OPTIONS.
        if matches!(place, Place::Peer { .. })
            && let Some(id) = self.health.troubled(|| call.routes().place_name(place))
        {
            self.is_well(id, true, now);
        }
    }

    pub(super) fn is_well(&mut self, id: PlaceId, enough: bool, now: Instant) {
        if self.health.well(id, enough, now) == Change::Up {
            self.tell(id, None, None);
        }
    }

    pub(super) fn is_ill(
        &mut self,
        id: PlaceId,
        why: Why,
        message: Option<&Message>,
        now: Instant,
    ) {
        if let Change::Down(why) = self.health.ill(id, why, now) {
            self.tell(id, Some(why), message);
        }
    }

    fn tell(&mut self, id: PlaceId, down: Option<Why>, message: Option<&Message>) {
        let Some(watched) = self.health.get(id) else { return };
        let up = down.is_none();
        let reason = message.and_then(|message| message.value(HeaderId::Reason));
        let reason = reason.map(|reason| String::from_utf8_lossy(reason).into_owned());
        let why = down.map(Why::words);
        let refused = matches!(down, Some(Why::Refused(_)));
        let event = match &watched.name {
            PlaceName::Proxy { edge, proxy } => {
                match why {
                    None => tracing::info!(%edge, %proxy, "proxy is up"),
                    Some(why) => tracing::warn!(%edge, %proxy, why, reason, "proxy is down"),
                }
                let (edge, proxy) = (edge.as_str().into(), proxy.as_str().into());
                Event::Proxy { edge, proxy, up, refused }
            }
            PlaceName::Peer { trunk, peer } => {
                match why {
                    None => tracing::info!(%trunk, %peer, "peer is up"),
                    // That it has gone was told.
                    Some(_) if down == Some(Why::NotRegistered) => {}
                    Some(why) => tracing::warn!(%trunk, %peer, why, reason, "peer is down"),
                }
                Event::Peer { trunk: trunk.as_str().into(), peer: peer.as_str().into(), up }
            }
        };
        self.outputs.push_back(Output::Event(event));
    }

    /// A name no longer leads to that address: connections to it take nothing new (TR-007).
    fn leave(&mut self, local: LocalId, remote: SocketAddr, now: Instant) {
        for flow in self.flows.to(local, remote).collect::<Vec<_>>() {
            self.retire(flow, Retired::Replaced, now);
        }
    }
}

/// OPTIONS that are not answered by then have failed; before the next ones leave.
const PROXY_PATIENCE: Duration = Duration::from_secs(10);
/// The same for a peer, which is asked more often while it is down.
const PEER_PATIENCE: Duration = Duration::from_secs(4);
/// How long an address that did not work comes after the others of its name.
const DEMOTED: Duration = Duration::from_secs(60);
