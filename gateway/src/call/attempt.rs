//! Reaching the callee: hops one after the other, each located, each address an INVITE of its own.
//!
//! The next one is tried when a hop cannot be reached, is silent, or answers with a status that says "elsewhere", and
//! only while nothing has rung.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::leg::{Leg, LegIdentity, Outgoing, Rejection};
use sip_stack::locate::{Address, Destination, Family, Located};
use sip_stack::message::Message;
use sip_stack::transport::{Target, Transport};

use super::media_plan::MediaSide;
use super::{CALLEE, Call, CallLeg, Context, Do, Phase, leg_number, port};
use crate::failure::Cause;
use crate::profile::{AGENT, Profile, teams, trunk};
use crate::routing::{EdgeId, Hop, Routes, TenantId};

/// What is left to try.
#[derive(Debug)]
pub(super) struct Attempts {
    hops: VecDeque<Hop>,
    /// The hop being tried, with the addresses that are left of it.
    current: Option<(Hop, VecDeque<Address>)>,
    /// When the attempt counts as silent; `None` once it said anything.
    pub(super) silent_since: Option<Instant>,
    /// Something rang: no other hop is tried any more.
    rang: bool,
    /// Why the last one failed.
    last: Cause,
    made: usize,
}

impl Attempts {
    pub(super) fn new(hops: Vec<Hop>) -> Self {
        Self {
            hops: hops.into(),
            current: None,
            silent_since: None,
            rang: false,
            last: Cause::Unreachable,
            made: 0,
        }
    }
}

impl Call {
    /// Tries the next hop, or gives up when there is none.
    pub(super) fn next_hop(&mut self, cx: &mut Context<'_>) {
        self.attempts.silent_since = None;
        let Some(hop) = self.attempts.hops.pop_front() else {
            let cause = self.attempts.last;
            self.conclude("gateway", cause, None, cx);
            return;
        };
        self.attempts.current = Some((hop, VecDeque::new()));
        cx.out.push(Do::Locate(destination(&self.routes, hop)));
    }

    /// The addresses of the hop that was asked for.
    pub fn located(&mut self, located: Located, cx: &mut Context<'_>) {
        if self.phase != Phase::Trying {
            return;
        }
        let Some((hop, addresses)) = &mut self.attempts.current else { return };
        match located {
            Ok(found) => {
                addresses.extend(found.into_iter().take(MOST_ADDRESSES));
            }
            Err(error) => {
                tracing::warn!(hop = %describe(&self.routes, *hop), %error, "next hop not located");
                self.story.attempt(describe(&self.routes, *hop), cx.wall);
                self.story.attempt_result(0);
            }
        }
        self.next_address(cx);
    }

    fn next_address(&mut self, cx: &mut Context<'_>) {
        let next = self.attempts.current.as_mut().and_then(|(hop, addresses)| {
            let address = addresses.pop_front()?;
            Some((*hop, address))
        });
        match next {
            Some((hop, address)) if self.attempts.made < MOST_ATTEMPTS => {
                self.invite(hop, address, cx)
            }
            Some(_) | None => self.next_hop(cx),
        }
    }

    fn invite(&mut self, hop: Hop, address: Address, cx: &mut Context<'_>) {
        let Address { transport, addr: remote, name } = address;
        let profile = profile(&self.routes, hop, transport, remote.is_ipv6());
        if !self.take_port(hop, &profile, remote, cx) {
            self.attempts.last = Cause::NoPorts;
            self.next_hop(cx);
            return;
        }
        self.attempts.made += 1;
        let offer = self.media.offer(CALLEE, cx.random);
        let called = self.called.as_str();
        let (request_uri, to_host) = match hop {
            Hop::Proxy { edge, proxy, .. } => {
                let edge = &self.routes.config().edges[edge.0];
                let uri = teams::request_uri(called, &edge.proxies[proxy], edge.port);
                (uri, profile.face.host.clone())
            }
            Hop::Peer { trunk, peer } => {
                let peer = &self.routes.config().trunks[trunk.0].peers[peer];
                (trunk::request_uri(called, peer), peer.host.to_string())
            }
        };
        let face = &profile.face;
        let identity = LegIdentity {
            local: face.from(&self.caller),
            remote: face.to(called, &to_host),
            contact: face.contact(Some(self.caller.user())),
            sent_by: face.sent_by(),
            allow: profile.allow.into(),
            supported: profile.supported.into(),
            agent: AGENT.into(),
            local_id: face.local,
            session_expires: None,
        };
        let (call_id, local_tag) = (cx.identifiers)();
        let target = Target { transport, local: face.local, remote, name: Some(name), flow: None };
        self.story.attempt(format!("{} {remote}", describe(&self.routes, hop)), cx.wall);
        self.story.callee(&self.routes, hop, &call_id, self.caller.user(), called);
        self.attempts.silent_since = Some(cx.now + silence(hop, transport));
        let at = self.legs.len();
        cx.out.push(Do::Dialog { tag: local_tag.clone(), leg: leg_number(at) });
        let mut outbox = VecDeque::new();
        let outgoing = Outgoing {
            identity,
            call_id,
            local_tag,
            request_uri,
            offer: Some(offer.into()),
            extra: Vec::new(),
            max_forwards: self.max_forwards,
            hop: sip_stack::leg::Hop::Target(target),
        };
        let leg = Leg::outgoing(outgoing, &mut outbox);
        self.legs.push(CallLeg { leg, end: hop.end(), peer: remote.ip() });
        self.callee = Some(at);
        self.callee_profile = Some(profile);
        self.pass_on(at, outbox, cx);
    }

    /// The callee's port lies in the pool of the hop's network; another network takes another port. Keys, port and
    /// offer stay from one attempt to the next otherwise.
    fn take_port(
        &mut self,
        hop: Hop,
        profile: &Profile,
        remote: SocketAddr,
        cx: &mut Context<'_>,
    ) -> bool {
        let before = self.media.side(CALLEE).port;
        let Some(port) = cx.ports.for_hop(&self.routes, hop, remote, before, cx.now) else {
            return false;
        };
        let sources = port::sources(&self.routes, hop.end());
        let side = self.media.side(CALLEE);
        if port == before && side.rules() == profile.media && side.sources == sources {
            return true;
        }
        let address = cx.ports.address(port);
        let side = MediaSide::new(port, address, profile.media, sources, cx.random);
        self.media.replace(CALLEE, side);
        true
    }

    /// An attempt said nothing in time.
    pub(super) fn attempt_silent(&mut self, cx: &mut Context<'_>) {
        self.attempts.silent_since = None;
        self.attempts.last = Cause::Silent;
        self.story.attempt_result(408);
        if let Some(at) = self.callee.take() {
            self.on_leg(at, cx, |leg, now, out| leg.cancel(None, now, out));
        }
        self.next_address(cx);
    }

    /// An attempt is alive.
    pub(super) const fn attempt_alive(&mut self, rings: bool) {
        self.attempts.silent_since = None;
        self.attempts.rang |= rings;
    }

    /// An attempt failed for good: the next one, or the end.
    pub(super) fn attempt_failed(
        &mut self,
        status: u16,
        message: Option<&Message>,
        why: Rejection,
        cx: &mut Context<'_>,
    ) {
        self.attempts.silent_since = None;
        self.callee = None;
        let (cause, elsewhere) = match why {
            Rejection::Response => (Cause::Peer(status), self.tries_elsewhere(status)),
            Rejection::Timeout => (Cause::Silent, true),
            Rejection::Transport => (Cause::Unreachable, true),
            Rejection::Cancelled => (Cause::NoAnswer, false),
            Rejection::NoAnswer => (Cause::BadOffer, false),
        };
        self.attempts.last = cause;
        self.story.attempt_result(match why {
            Rejection::Transport => 0,
            Rejection::Response
            | Rejection::Timeout
            | Rejection::Cancelled
            | Rejection::NoAnswer => status,
        });
        if elsewhere && !self.attempts.rang {
            self.next_address(cx);
        } else {
            self.conclude("callee", cause, message, cx);
        }
    }

    /// Whether a final status means that another hop may do better. A tenant's proxies say so by 503 alone: every
    /// other answer is the phone system's word on the call.
    fn tries_elsewhere(&self, status: u16) -> bool {
        match self.attempts.current {
            Some((Hop::Proxy { .. }, _)) => status == 503,
            Some((Hop::Peer { .. }, _)) => matches!(status, 408 | 500 | 502..=504),
            None => false,
        }
    }
}

/// The profile by which a hop is spoken to.
fn profile(routes: &Routes, hop: Hop, transport: Transport, ipv6: bool) -> Profile {
    match hop {
        Hop::Proxy { tenant, edge, .. } => {
            teams::profile(routes.config(), edge, tenant_name(routes, tenant, edge))
        }
        Hop::Peer { trunk, .. } => trunk::profile(routes.config(), trunk, transport, ipv6),
    }
}

/// The name of a tenant at an edge.
pub fn tenant_name(routes: &Routes, tenant: TenantId, edge: EdgeId) -> &str {
    let names = &routes.config().tenants[tenant.0].names;
    names.iter().find(|name| name.edge == edge.0).map_or("", |name| name.fqdn.as_str())
}

fn destination(routes: &Routes, hop: Hop) -> Destination {
    let config = routes.config();
    match hop {
        Hop::Proxy { edge, proxy, .. } => {
            let edge = &config.edges[edge.0];
            Destination {
                host: edge.proxies[proxy].clone(),
                port: Some(edge.port),
                transport: Some(Transport::Tls),
                secure: false,
                family: Family::Any,
            }
        }
        Hop::Peer { trunk, peer } => {
            let peer = &config.trunks[trunk.0].peers[peer];
            Destination {
                host: peer.host.to_string().trim_matches(['[', ']']).to_owned(),
                port: peer.port,
                transport: Some(trunk::from_config(peer.transport)),
                secure: false,
                family: Family::Any,
            }
        }
    }
}

fn describe(routes: &Routes, hop: Hop) -> String {
    match hop {
        Hop::Proxy { edge, proxy, .. } => routes.config().edges[edge.0].proxies[proxy].clone(),
        Hop::Peer { trunk, peer } => routes.config().trunks[trunk.0].peers[peer].to_string(),
    }
}

/// How long an attempt may say nothing, not even 100; with time to connect where there is a connection to make.
const fn silence(hop: Hop, transport: Transport) -> Duration {
    let connect = if transport.is_reliable() { 1500 } else { 0 };
    let quiet = match hop {
        Hop::Proxy { .. } => 1000,
        Hop::Peer { .. } => 2500,
    };
    Duration::from_millis(connect + quiet)
}

const MOST_ADDRESSES: usize = 4;
const MOST_ATTEMPTS: usize = 16;
