//! Requests outside our calls: OPTIONS, and the INVITE that begins one.
//!
//! The way of a call: trunk identified → tenant → admission → plan → ports → call.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use media_relay::{Port, SessionId, Want};
use sip_stack::endpoint::ServerId;
use sip_stack::leg::{Leg, LegIdentity, refusal_outside};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::sdp::Sdp;
use sip_stack::transport::Source;
use sip_stack::uri::Uri;
use uuid::{Builder, Uuid};

use super::admit::Asked;
use super::help::HelpCall;
use super::pairs::UnderWay;
use super::{Core, Output, owner};
use crate::call::media_plan::{CallMedia, MediaSide};
use crate::call::{Call, CallKey, NewCall, Story, leg_record, sources, tenant_name};
use crate::cdr::LegRecord;
use crate::event::Event;
use crate::failure::{Cause, RETRY_AFTER, reason_header};
use crate::journal;
use crate::locals::{self, Side};
use crate::numbers::Number;
use crate::profile::{
    self, AGENT, Caller, Diversions, Further, Location, Profile, Word, teams, trunk,
};
use crate::registration;
use crate::routing::{EdgeId, End, Hop, RealmId, Routes, TrunkId};

impl Core {
    pub(super) fn on_request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
    ) {
        #[cfg(test)]
        self.spring(super::inputs::Trap::Request);
        if message.to_tag().is_some() {
            return self.on_dialog_request(server, source, message, now);
        }
        let served = [Method::Options, Method::Invite].contains(message.method());
        let supported = match locals::side(self.routes.config(), source.local) {
            Side::Edge(_) => teams::SUPPORTED,
            // What a trunk may require says its profile, once it is known which one it is.
            Side::Realm(_) => trunk::SUPPORTED_ALL,
        };
        let refusal = served.then(|| refusal_outside(message, supported.as_bytes())).flatten();
        if let Some(mut draft) = refusal {
            draft.push(HeaderId::Server, AGENT);
            if *message.method() == Method::Invite {
                let cause = Cause::BadRequest(draft.status());
                self.trace_refusal(source, message, cause, now);
            }
            self.endpoint.respond(server, draft, now);
        } else if *message.method() == Method::Options {
            self.on_options(server, source, message, now);
        } else if *message.method() == Method::Invite {
            self.on_invite(server, source, message, now);
        } else if *message.method() == Method::Register && self.registrar.opens(source) {
            self.on_register(server, source, message, now);
        } else if *message.method() == Method::Bye {
            self.refuse(server, message, 481, &[], now);
        } else {
            let allow = [(HeaderId::Allow, Bytes::from_static(ALLOW))];
            self.refuse(server, message, 405, &allow, now);
        }
    }

    fn on_options(&mut self, server: ServerId, source: &Source, message: &Message, now: Instant) {
        if self.admission.is_draining() {
            return self.refuse(server, message, 503, &[], now);
        }
        let tag = self.endpoint.new_tag();
        let routes = Arc::clone(&self.routes);
        let draft = match locals::side(routes.config(), source.local) {
            Side::Edge(edge) => teams::options_answer(routes.config(), edge, message, &tag),
            Side::Realm(realm) => {
                let known = self.enter(source, message).ok().map(|entry| entry.profile);
                let face = listener_face(&routes, realm, source);
                trunk::options_answer(&face, known.as_ref(), message, &tag)
            }
        };
        self.endpoint.respond(server, draft, now);
    }

    fn on_invite(&mut self, server: ServerId, source: &Source, message: &Message, now: Instant) {
        if let Err(refused) = self.try_invite(server, source, message, now) {
            let cause = match refused {
                Refused::Because(cause) => cause,
                Refused::With(draft) => {
                    let cause = Cause::BadRequest(draft.status());
                    self.trace_refusal(source, message, cause, now);
                    return self.endpoint.respond(server, *draft, now);
                }
            };
            self.trace_refusal(source, message, cause, now);
            let mut extra = vec![(HeaderId::Reason, Bytes::from(reason_header(cause)))];
            let status = self.refusal_status(source, message, cause);
            if cause.asks_to_wait() && status == 503 {
                extra.push((HeaderId::RetryAfter, RETRY_AFTER.into()));
            }
            self.refuse(server, message, status, &extra, now);
        }
    }

    fn enter(&self, source: &Source, message: &Message) -> Result<Entry, Cause> {
        enter(&self.routes, source, message, self.registrar.trunk_at(source))
    }

    /// A trunk says how it wants to hear of limits.
    fn refusal_status(&self, source: &Source, message: &Message, cause: Cause) -> u16 {
        let caller = cause.is_limit().then(|| self.enter(source, message).ok()).flatten();
        match caller.map(|entry| entry.from) {
            Some(End::Trunk(trunk)) => self.routes.config().trunks[trunk.0].limit_status,
            Some(End::Tenant(_)) | None => cause.status(),
        }
    }

    /// A call for help that is refused before it begins is told of, however many others are.
    pub(super) fn tell_of_refused_help(
        &mut self,
        id: &str,
        source: &Source,
        message: &Message,
        cause: Cause,
        now: Instant,
    ) {
        let routes = Arc::clone(&self.routes);
        let Ok(entry) = self.enter(source, message) else { return };
        let called = entry.called(&routes, message);
        if !entry.is_help(&routes, message, &called) {
            return;
        }
        let said = self.said_by(source, message, &entry, called.map(|(_, user)| user));
        let call = self.help_call(id, entry.from, &said.called, self.wall(now));
        let caller = Some(said.caller).filter(|caller| !caller.is_empty());
        self.tell_of_help(HelpCall { caller, refused: Some(cause.label()), ..call }, now);
    }

    /// A call that was refused before it began has its record as well: somebody will ask.
    pub(super) fn record_refusal(
        &mut self,
        id: String,
        source: &Source,
        message: &Message,
        cause: Cause,
        now: Instant,
    ) {
        let routes = Arc::clone(&self.routes);
        let entry = self.enter(source, message).ok();
        let called = entry.as_ref().and_then(|entry| entry.called(&routes, message));
        let record = match &entry {
            Some(entry) => self.said_by(source, message, entry, called.map(|(_, user)| user)),
            None => self.said(source, message, None),
        };
        let (tenant, trunk) = (record.tenant.as_deref(), record.trunk.as_deref());
        let (from, label) = (source.remote, cause.label());
        tracing::info!(call = %id, %from, tenant, trunk, cause = label, why = %cause, "call refused");
        let wall = self.wall(now);
        let mut story = Story::new(id, &routes.config().gateway.node, record, wall);
        story.ended("gateway", cause, false, None, wall);
        self.outputs
            .extend(story.take().map(|record| Output::Journal(journal::Entry::Ended(record))));
    }

    fn try_invite(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
    ) -> Result<(), Refused> {
        let routes = Arc::clone(&self.routes);
        let max_forwards = message.max_forwards().unwrap_or(70);
        if max_forwards == 0 {
            return Err(Cause::TooManyHops.into());
        }
        if self.endpoint.has_passed(message) {
            return Err(Cause::Looped.into());
        }
        let entry = self.enter(source, message)?;
        let called = entry.called(&routes, message);
        let help = entry.is_help(&routes, message, &called);
        if !help && self.is_challenged(server, source, message, &entry, now)? {
            return Ok(());
        }
        let from_value = message.value(HeaderId::From).unwrap_or_default();
        let mut identity = LegIdentity {
            local: name_addr(message.value(HeaderId::To).unwrap_or_default()),
            remote: name_addr(from_value),
            contact: entry.profile.face.contact(None),
            sent_by: entry.profile.face.sent_by(),
            allow: entry.profile.allow.into(),
            supported: entry.profile.supported.into(),
            reliable: entry.profile.wants_reliable() && !help,
            agent: AGENT.into(),
            local_id: source.local,
            session_expires: None,
        };
        if let Some(mut refusal) = Leg::refusal(message, &identity) {
            refusal.set_to_tag(&self.endpoint.new_tag());
            return Err(Refused::With(Box::new(refusal)));
        }
        if let Some(replaced) = self.replaced(source, message, &entry) {
            let replaced = replaced
                .map_err(|status| Refused::With(Box::new(Draft::response(message, status))))?;
            let place = (source, message);
            self.take_over(replaced, server, place, (entry, identity), now)?;
            return Ok(());
        }
        let (called, user) = called.ok_or(Cause::IncompleteNumber)?;
        let country = routes.country(entry.from);
        let wall = self.wall(now);
        let back = self.called_back(entry.from, &called, wall);
        let (called, back) = back.map_or((called, None), |(tenant, whom)| (whom, Some(tenant)));
        // No limit holds for either.
        let free = help || back.is_some();
        if !self.recordable && !free {
            return Err(Cause::NoRecord.into());
        }
        let Profile { caller_id: place, vouches, .. } = entry.profile;
        let caller = Caller::of(message, Word { place, country, vouches, help });
        let diversions = Diversions::of(message, country, vouches);
        let number = caller.shown().map(|(user, _)| user).or(caller.vouched());
        let under_way = number.map(|number| UnderWay {
            caller: number.to_owned(),
            called: called.as_str().to_owned(),
            maker: routes.name(entry.from).to_owned(),
        });
        if diversions.is_loop() && !free {
            return Err(Cause::DivertedTooOften.into());
        }
        identity.contact = entry.profile.face.contact(Some(called.as_str()));

        let rank = |place| self.health.rank(place, now);
        let plan = match back {
            Some(tenant) => routes.plan_back(tenant, rank)?,
            None => routes.plan(entry.from, &called, help, rank, &mut self.random)?,
        };
        let callee = plan.hops.first().map_or("", |hop| routes.name(hop.end()));
        if under_way.as_ref().is_some_and(|call| self.pairs.is_loop(call, callee)) && !free {
            return Err(Cause::DivertedTooOften.into());
        }
        let asserted = Caller::asserted_in(message, country);
        let diverted_by = diversions.last().map(str::to_owned);
        let diversions = diversions.known(|number| routes.may_divert(entry.from, number));
        let diverted = diversions.any(|number| routes.may_show(entry.from, number));
        let caller = routes.granted(entry.from, caller, diverted, free)?;
        let (caller, for_help) = match help {
            true => {
                let (caller, for_help) = self.for_help(entry.from, caller, wall);
                (caller, Some(for_help))
            }
            false => (caller, None),
        };
        let said = self.said_by(source, message, &entry, Some(user));
        let record = LegRecord { asserted, diverted_by, ..said };
        let id = call_uuid(wall, self.random.bytes());
        let story = Story::new(id, &routes.config().gateway.node, record, wall);
        let begun = Arc::clone(story.record());
        let asked =
            Asked { from: entry.from, caller: &caller, called: called.as_str(), help: free };
        let (plan, first, permits) = self.admit(plan, asked, now)?;
        let key = self.slots.next_key();
        under_way.iter().for_each(|call| self.pairs.begin(call));
        self.slots.open(key, permits, under_way, Vec::new(), Arc::clone(&begun));
        let ports = self.ports_for(key, source, message, &entry, (first, help), now);
        let ports = ports.inspect_err(|_| self.reap(key, now))?;
        if let Some(call) = for_help {
            self.note_for_help(call, (story.id(), entry.from, called.as_str()), (wall, now));
        }

        self.endpoint.adopt(server, owner(key, 0));
        #[cfg(test)]
        self.spring(super::inputs::Trap::Invite);
        let local_tag = self.endpoint.new_tag();
        let leg = Leg::incoming(server, message, source, identity, local_tag);
        let rules = entry.profile.media;
        let [caller_port, callee_port] = ports;
        let address = self.pools.address(caller_port);
        let allowed = sources(&routes, entry.from, source.remote.ip());
        let caller_side = MediaSide::new(caller_port, address, rules, allowed, &mut self.random);
        let callee_address = self.pools.address(callee_port);
        let callee_side =
            MediaSide::new(callee_port, callee_address, rules, Vec::new(), &mut self.random);
        let media = CallMedia::new(SessionId(key.0), caller_side, callee_side);
        self.outputs.push_back(Output::Journal(journal::Entry::Begun(begun)));
        story.announce(&routes, entry.from, caller.user(), called.as_str());
        let new = NewCall {
            routes,
            caller,
            called,
            diversions,
            location: Location::of(message),
            further: Further::of(message, &entry.profile.dialect),
            help,
            profile: entry.profile,
            from: entry.from,
            peer: source.remote.ip(),
            leg,
            max_forwards: max_forwards - 1,
            plan,
            media,
            story,
        };
        self.begin(key, now, |cx| Call::start(new, cx));
        Ok(())
    }

    /// What an INVITE says of its leg, for the record; `end` is whose it is.
    fn said(&self, source: &Source, message: &Message, end: Option<End>) -> LegRecord {
        let config = self.routes.config();
        LegRecord {
            edge: match locals::side(config, source.local) {
                Side::Edge(edge) => Some(config.edges[edge.0].name.clone()),
                Side::Realm(_) => None,
            },
            call_id: String::from_utf8_lossy(message.call_id()).into_owned(),
            caller: user_of(message.value(HeaderId::From).unwrap_or_default()),
            called: user_of(message.uri()),
            ..end.map(|end| leg_record(&self.routes, end)).unwrap_or_default()
        }
    }

    /// The same of one whose profile is known, and the user part in which the called number was found.
    pub(super) fn said_by(
        &self,
        source: &Source,
        message: &Message,
        entry: &Entry,
        called: Option<&[u8]>,
    ) -> LegRecord {
        let said = self.said(source, message, Some(entry.from));
        LegRecord {
            correlation_id: entry.profile.correlation.and_then(|read| read(message)),
            called: called.map_or(said.called, |user| String::from_utf8_lossy(user).into()),
            ..said
        }
    }

    /// The media ports of both sides of a call that is to be, held by its slot.
    fn ports_for(
        &mut self,
        key: CallKey,
        source: &Source,
        message: &Message,
        entry: &Entry,
        (first, urgent): (Hop, bool),
        now: Instant,
    ) -> Result<[Port; 2], Cause> {
        let routes = &self.routes;
        let pool = match entry.side {
            Side::Edge(edge) => self.pools.of_edge(routes.config(), edge),
            Side::Realm(realm) => self.pools.of_realm(routes.config(), realm),
        };
        let offered = message.sdp().and_then(|sdp| Sdp::parse(&sdp).ok()?.address(0));
        let ipv6 = offered.map_or(source.remote.is_ipv6(), |address| address.is_ipv6());
        if offered.is_some_and(|a| !a.is_unspecified()) && !self.pools.has(pool, ipv6) {
            return Err(Cause::NothingInCommon);
        }
        let caller = Want { urgent, ..self.pools.want(pool, ipv6) };
        let callee = Want { urgent, ..self.pools.of_hop(routes, first).into() };
        let (caller, callee) = self.ports.reserve(caller, callee, now).ok_or(Cause::NoPorts)?;
        self.slots.hold(key, [caller, callee]);
        Ok([caller, callee])
    }

    /// Answers a request that leads to no call.
    pub(super) fn refuse(
        &mut self,
        server: ServerId,
        message: &Message,
        status: u16,
        extra: &[(HeaderId, Bytes)],
        now: Instant,
    ) {
        if *message.method() != Method::Invite || message.to_tag().is_some() {
            self.outputs.push_back(Output::Event(Event::RequestRefused));
        }
        let mut draft = Draft::response(message, status);
        draft.set_to_tag(&self.endpoint.new_tag());
        for (id, value) in extra {
            draft.push(*id, value.clone());
        }
        draft.push(HeaderId::Server, AGENT);
        self.endpoint.respond(server, draft, now);
    }
}

/// Why an INVITE leads to no call.
enum Refused {
    Because(Cause),
    With(Box<Draft>),
}

impl From<Cause> for Refused {
    fn from(cause: Cause) -> Self {
        Self::Because(cause)
    }
}

/// Who calls, and how we appear to them.
pub(super) struct Entry {
    pub(super) from: End,
    side: Side,
    pub(super) profile: Profile,
}

impl Entry {
    /// The number that an INVITE of this caller asks for, and the user part in which it was found.
    pub(super) fn called<'m>(
        &self,
        routes: &Routes,
        message: &'m Message,
    ) -> Option<(Number, &'m [u8])> {
        let contact = registration::request::contact(routes, self.from);
        profile::called(message, &self.profile.dialect, routes.country(self.from), contact)
    }

    /// Whether it asks for help.
    fn is_help(
        &self,
        routes: &Routes,
        message: &Message,
        called: &Option<(Number, &[u8])>,
    ) -> bool {
        let called = called.as_ref().map(|(called, _)| called);
        called.is_some_and(|called| routes.is_help(self.from, message.uri(), called))
    }
}

/// Identifies the caller: at an edge by the Request-URI's host, in a realm by listener and source; who has registered from
/// exactly there comes first.
fn enter(
    routes: &Routes,
    source: &Source,
    message: &Message,
    registered: Option<TrunkId>,
) -> Result<Entry, Cause> {
    let config = routes.config();
    let side = locals::side(config, source.local);
    match side {
        Side::Edge(edge) => {
            let tenant = routes.tenant_of(edge, message.uri()).ok_or(Cause::UnknownTenant)?;
            let profile = teams_profile(routes, edge, tenant);
            Ok(Entry { from: End::Tenant(tenant), side, profile })
        }
        Side::Realm(realm) => {
            let by_network = || routes.trunk_of(realm, source.remote.ip(), message);
            let id = registered.or_else(by_network).ok_or(Cause::UnknownNumber)?;
            let mut profile = trunk::profile(config, id, source.transport, source.remote.is_ipv6());
            profile.face = listener_face(routes, realm, source);
            Ok(Entry { from: End::Trunk(id), side, profile })
        }
    }
}

fn teams_profile(routes: &Routes, edge: EdgeId, tenant: crate::routing::TenantId) -> Profile {
    teams::profile(routes.config(), edge, tenant_name(routes, tenant, edge))
}

/// How a realm appears to a peer that spoke to one of its listeners: as that very listener.
fn listener_face(routes: &Routes, realm: RealmId, source: &Source) -> crate::profile::Face {
    let config = routes.config();
    let mut face = trunk::face(config, realm, source.transport, source.remote.is_ipv6());
    let heard = config.realms[realm.0].listen.iter().any(|listener| {
        listener.address == source.local_addr
            && trunk::from_config(listener.transport) == source.transport
    });
    if heard {
        face.port = source.local_addr.port();
        face.host = trunk::host(trunk::told(&config.realms[realm.0], source.local_addr.ip()));
    }
    face
}

/// A From or To value without its parameters: the leg keeps tags by itself.
pub(super) fn name_addr(value: &[u8]) -> Bytes {
    match sip_stack::message::NameAddr::parse(value) {
        Ok(address) => {
            let mut text = Vec::with_capacity(value.len());
            if let Some(display) = address.display {
                text.extend_from_slice(display);
                text.push(b' ');
            }
            text.push(b'<');
            text.extend_from_slice(address.uri);
            text.push(b'>');
            text.into()
        }
        Err(_) => {
            let end = value.iter().position(|b| *b == b';').unwrap_or(value.len());
            Bytes::copy_from_slice(&value[..end])
        }
    }
}

fn user_of(value: &[u8]) -> String {
    sip_stack::message::NameAddr::parse(value)
        .ok()
        .and_then(|address| Uri::parse(address.uri).ok()?.user().map(<[u8]>::to_vec))
        .map(|user| String::from_utf8_lossy(&user).into_owned())
        .unwrap_or_default()
}

/// A UUIDv7 of this time and these random bytes.
pub(super) fn call_uuid(wall: std::time::SystemTime, random: [u8; 10]) -> String {
    let since = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or_default();
    let uuid: Uuid = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    uuid.to_string()
}

const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS";
