//! The INVITE of an attempt: whom it asks for, in whose name, with which media.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use sip_stack::leg::{Extra, Leg, LegIdentity, Outgoing};
use sip_stack::locate::Address;
use sip_stack::message::Part;
use sip_stack::transport::{Target, Transport};

use super::attempt::{Sent, tenant_name, when_silent};
use super::attempt_timers::Timer;
use super::media_plan::MediaSide;
use super::{CALLEE, CALLER, Call, CallLeg, Context, Do, leg_number, port};
use crate::admission::{Request, Way};
use crate::failure::Cause;
use crate::numbers::Number;
use crate::profile::{AGENT, Caller, Further, Profile, teams, trunk};
use crate::routing::{Hop, Routes};

/// Who is asked for, and in whose name.
pub(super) struct Parties {
    pub(super) request_uri: Bytes,
    /// The called number as it is sent.
    pub(super) dialled: String,
    /// To, without a tag.
    pub(super) to: Bytes,
    pub(super) caller: Caller,
    pub(super) extra: Vec<Extra>,
    /// What goes beside the offer.
    pub(super) beside: Vec<Part>,
    pub(super) max_forwards: u32,
}

impl Call {
    /// Sends the INVITE of one attempt.
    pub(super) fn invite(&mut self, hop: Hop, address: Address, cx: &mut Context<'_>) {
        let reached = match self.reached(hop, &address, cx) {
            Ok(reached) => reached,
            Err(cause) => {
                self.attempts.last = cause;
                return self.next_hop(cx);
            }
        };
        let Address { transport, addr: remote, name } = address;
        let profile = profile(&self.routes, hop, transport, remote.is_ipv6());
        let side = self.transfer.as_ref().map_or(CALLEE, |transfer| transfer.side);
        if let Err(cause) = self.permitted(hop, cx) {
            self.attempts.last = cause;
            return self.next_hop(cx);
        }
        if !self.take_port(hop, &profile, remote, cx) {
            self.attempts.last = Cause::NoPorts;
            self.next_hop(cx);
            return;
        }
        let speaks = match &self.transfer {
            Some(_) => self.media.can_offer_third(1 - side),
            None => self.media.can_offer(CALLEE),
        };
        if !speaks {
            self.attempts.last = Cause::NothingInCommon;
            self.next_hop(cx);
            return;
        }
        self.attempts.made += 1;
        let (mut parties, offer) = match &self.transfer {
            Some(transfer) => {
                let parties = self.parties_of_transfer(transfer, hop, &profile);
                (parties, self.media.offer_third(1 - side, cx.random))
            }
            None => {
                let ends = [self.legs[CALLER].end, Some(hop.end())];
                self.media.set_music(self.routes.hold_music(ends));
                let mut parties = self.parties(&self.called, self.caller.clone(), hop, &profile);
                parties.extra.extend(self.diversions.headers(self.called.as_str(), &profile));
                if profile.located {
                    let (headers, parts) = self.location.told();
                    parties.extra.extend(headers);
                    parties.beside = parts;
                }
                (parties, self.media.offer(CALLEE, cx.random))
            }
        };
        if let Some(reached) = &reached {
            reached.address(&mut parties, &profile);
        }
        let further = match &self.transfer {
            Some(_) => Further::default().headers(&profile.dialect),
            None => self.further.headers(&profile.dialect),
        };
        let shown = profile.shown(parties.caller.user()).into_owned();
        let face = &profile.face;
        let identity = LegIdentity {
            local: profile.from(&parties.caller, &shown),
            remote: parties.to,
            contact: face.contact(Some(parties.caller.user())),
            sent_by: face.sent_by(),
            allow: profile.allow.into(),
            supported: profile.supported.into(),
            // A call for help goes also where ringing is not acknowledged.
            reliable: profile.wants_reliable() && !self.help,
            agent: AGENT.into(),
            local_id: face.local,
            session_expires: None,
        };
        let (call_id, local_tag) = (cx.identifiers)();
        let flow = reached.as_ref().and_then(|reached| reached.flow);
        let name = Some(name).filter(|_| reached.is_none());
        let target = Target { transport, local: face.local, remote, name, flow };
        let name = self.routes.place_name(hop.place());
        self.story.attempt(format!("{name} {remote}"), cx.wall);
        match &self.transfer {
            Some(transfer) => {
                let (asked, again) = (transfer.asked_for(), self.attempts.made > 1);
                self.story.target(&self.routes, hop, &call_id, &shown, asked, again);
            }
            None => {
                self.story.callee(&self.routes, hop, &call_id, &shown, &parties.dialled);
            }
        }
        let sent = Sent { transport, remote, at: cx.now };
        if let Some(current) = &mut self.attempts.current {
            current.sent = Some(sent);
        }
        let silent = when_silent(hop, face.local, sent, cx);
        self.attempts.timers.set(Timer::Silence, silent);
        let at = self.legs.len();
        cx.out.push(Do::Dialog { tag: local_tag.clone(), leg: leg_number(at) });
        let mut outbox = VecDeque::new();
        let outgoing = Outgoing {
            identity,
            call_id,
            local_tag,
            request_uri: parties.request_uri,
            offer: Some(offer.into()),
            beside: parties.beside,
            extra: parties.extra,
            further,
            max_forwards: parties.max_forwards,
            hop: sip_stack::leg::Hop::Target(target),
        };
        let leg = Leg::outgoing(outgoing, &mut outbox);
        let (end, peer) = (Some(hop.end()), remote.ip());
        self.legs.push(CallLeg { leg, side, profile, end, peer });
        self.set_attempt(Some(at));
        self.pass_on(at, outbox, cx);
    }

    /// Whether one more call may go to the end of this hop.
    fn permitted(&self, hop: Hop, cx: &mut Context<'_>) -> Result<(), Cause> {
        let (end, way, help) = (hop.end(), Way::Received, self.help);
        match &self.transfer {
            Some(transfer) => {
                let help = help || self.asks_for_help(transfer);
                let number = Some(transfer.asked_for());
                let (asked, by_caller) =
                    (Request { end, way, number, help }, transfer.side == CALLER);
                cx.permits.for_target(&self.routes, asked, by_caller, cx.now)
            }
            None => {
                let number = Some(self.called.as_str());
                cx.permits.for_callee(&self.routes, Request { end, way, number, help }, cx.now)
            }
        }
    }

    /// A number is asked for by this hop, in the name of a caller.
    pub(super) fn parties(
        &self,
        called: &Number,
        caller: Caller,
        hop: Hop,
        profile: &Profile,
    ) -> Parties {
        let called = called.as_str();
        let dialled = profile.dialled(called).into_owned();
        let config = self.routes.config();
        let (request_uri, host) = match hop {
            Hop::Proxy { edge, proxy, .. } => {
                let edge = &config.edges[edge.0];
                let uri = teams::request_uri(called, &edge.proxies[proxy], edge.port);
                (uri, profile.face.host.clone())
            }
            Hop::Peer { trunk, peer } => {
                let peer = &config.trunks[trunk.0].peers[peer];
                (trunk::request_uri(profile, &dialled, peer), peer.host.to_string())
            }
        };
        let extra = profile.identity(&caller);
        Parties {
            request_uri,
            to: profile.to(&dialled, &host),
            dialled,
            caller,
            extra,
            beside: Vec::new(),
            max_forwards: self.max_forwards,
        }
    }

    /// The port of who is asked lies in the pool of the hop's network; another network takes another port. Keys, port and
    /// offer stay from one attempt to the next otherwise. The target of a transfer has all that for itself, beside those of
    /// who asked for it.
    fn take_port(
        &mut self,
        hop: Hop,
        profile: &Profile,
        remote: SocketAddr,
        cx: &mut Context<'_>,
    ) -> bool {
        let third = self.transfer.is_some();
        let standing = if third { self.media.third() } else { Some(self.media.side(CALLEE)) };
        let port = match standing {
            Some(side) => cx.ports.for_hop(&self.routes, hop, remote, side.port, cx.now),
            None => {
                let shard = self.media.side(CALLER).port.shard;
                cx.ports.another(&self.routes, hop, remote, shard, cx.now)
            }
        };
        let Some(port) = port else { return false };
        let sources = port::sources(&self.routes, hop.end(), remote.ip());
        let fits = |side: &MediaSide| {
            side.port == port && side.rules() == profile.media && side.sources == sources
        };
        if standing.is_some_and(fits) {
            return true;
        }
        let address = cx.ports.address(port);
        let side = MediaSide::new(port, address, profile.media, sources, cx.random);
        if third {
            let before = self.media.begin_third(side).filter(|before| *before != port);
            cx.ports.give_back(before, cx.now);
        } else {
            self.media.replace(CALLEE, side);
        }
        true
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
