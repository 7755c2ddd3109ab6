//! Requests outside our calls: OPTIONS, and the INVITE that begins one.
//!
//! The way of a call: trunk identified → tenant → admission → plan → ports → call.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use media_relay::{Port, SessionId, Want};
use sip_stack::endpoint::ServerId;
use sip_stack::leg::{Leg, LegIdentity, refusal_outside};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::sdp::Sdp;
use sip_stack::transport::Source;
use sip_stack::uri::Uri;
use uuid::{Builder, Uuid};

use super::pairs::UnderWay;
use super::{Core, Output, owner};
use crate::admission::{Permits, Request, Way};
use crate::call::media_plan::{CallMedia, MediaSide};
use crate::call::{Call, CallKey, NewCall, Story, leg_record, sources, tenant_name};
use crate::cdr::LegRecord;
use crate::event::Event;
use crate::failure::{Cause, RETRY_AFTER, reason_header};
use crate::journal;
use crate::locals::{self, Side};
use crate::numbers::{Masked, Number};
use crate::profile::{
    self, AGENT, Caller, Diversions, Further, Location, Profile, Word, teams, trunk,
};
use crate::registration;
use crate::routing::{EdgeId, End, Hop, Plan, RealmId, Routes, TenantId};

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
            Side::Realm(_) => trunk::SUPPORTED_REPLACES,
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
                let face = listener_face(&routes, realm, source);
                trunk::options_answer(&face, message, &tag)
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

    /// A trunk says how it wants to hear of limits.
    fn refusal_status(&self, source: &Source, message: &Message, cause: Cause) -> u16 {
        let caller = cause.is_limit().then(|| enter(&self.routes, source, message).ok()).flatten();
        match caller.map(|entry| entry.from) {
            Some(End::Trunk(trunk)) => self.routes.config().trunks[trunk.0].limit_status,
            Some(End::Tenant(_)) | None => cause.status(),
        }
    }

    /// A call that was refused before it began has its record as well: somebody will ask.
    pub(super) fn record_refusal(
        &mut self,
        source: &Source,
        message: &Message,
        cause: Cause,
        now: Instant,
    ) {
        let routes = Arc::clone(&self.routes);
        let record = match enter(&routes, source, message) {
            Ok(entry) => self.said_by(source, message, &entry),
            Err(_) => self.said(source, message, None),
        };
        let wall = self.wall(now);
        let id = call_uuid(wall, self.random.bytes());
        tracing::info!(
            call = %id,
            from = %source.remote,
            tenant = record.tenant.as_deref(),
            trunk = record.trunk.as_deref(),
            cause = cause.label(),
            why = %cause,
            "call refused"
        );
        let mut story = Story::new(id, &routes.config().gateway.node, record, wall);
        story.ended("gateway", cause, false, None, wall);
        self.outputs.extend(
            story.take().map(|record| Output::Journal(journal::Entry::Ended(Box::new(record)))),
        );
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
        let entry = enter(&routes, source, message)?;
        if self.is_challenged(server, source, message, &entry, now)? {
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
        let dialect = &entry.profile.dialect;
        let contact = registration::request::contact(&routes, entry.from);
        let called = profile::called(message, dialect, routes.country(entry.from), contact);
        let (called, _) = called.ok_or(Cause::IncompleteNumber)?;
        let country = routes.country(entry.from);
        let help = routes.is_help(entry.from, message.uri(), &called);
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
            None => routes.plan(entry.from, &called, help, rank)?,
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
        let caller = if help { self.ask_for_help(entry.from, caller, wall) } else { caller };
        let record = LegRecord { asserted, diverted_by, ..self.said_by(source, message, &entry) };
        let id = call_uuid(wall, self.random.bytes());
        let story = Story::new(id, &routes.config().gateway.node, record, wall);
        let begun = Arc::new(story.record().clone());
        let asked =
            Asked { from: entry.from, caller: &caller, called: called.as_str(), help: free };
        let (plan, first, permits) = self.admit(plan, asked, now)?;
        let key = self.slots.next_key();
        under_way.iter().for_each(|call| self.pairs.begin(call));
        self.slots.open(key, permits, under_way, Vec::new(), Arc::clone(&begun));
        let ports = self.ports_for(key, source, message, &entry, (first, help), now);
        let ports = ports.inspect_err(|_| self.reap(key, now))?;

        self.endpoint.adopt(server, owner(key, 0));
        #[cfg(test)]
        self.spring(super::inputs::Trap::Invite);
        let local_tag = self.endpoint.new_tag();
        let leg = Leg::incoming(server, message, source, identity, local_tag);
        let rules = entry.profile.media;
        let [caller_port, callee_port] = ports;
        let address = self.pools.address(caller_port);
        let allowed = sources(&routes, entry.from);
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

    /// Whom a call of a trunk means that calls back whoever called for help.
    fn called_back(
        &self,
        from: End,
        called: &Number,
        wall: SystemTime,
    ) -> Option<(TenantId, Number)> {
        let (End::Trunk(_), Number::Public(number)) = (from, called) else { return None };
        let back = self.callbacks.find(number, wall)?;
        let tenant = self.routes.tenant_named(&back.tenant)?;
        Some((tenant, Number::read(back.caller.as_bytes(), None)?))
    }

    /// A tenant's call for help, in the name of its site; whoever is shown may be called back.
    fn ask_for_help(&mut self, from: End, caller: Caller, wall: SystemTime) -> Caller {
        let End::Tenant(tenant) = from else { return caller };
        let Some(number) = caller.shown().map(|(user, _)| user.to_owned()) else { return caller };
        let routes = Arc::clone(&self.routes);
        let tenant = routes.config().tenants[tenant.0].name.clone();
        let site = routes.site_of(from, &number);
        let elins: Vec<String> =
            site.iter().flat_map(|site| &site.elins).map(ToString::to_string).collect();
        let elin = self.callbacks.choose(&elins, &tenant, &number, wall);
        let shown = elin.unwrap_or(&number);
        // In another's name it is not called back there: that number is not this tenant's.
        let own = elin.is_some() || routes.may_show(from, shown);
        let hidden = self.routes.config().log.mask_numbers;
        tracing::warn!(
            tenant,
            site = site.map(|site| site.name.as_str()),
            caller = %Masked::new(&number, hidden),
            shown = %Masked::new(shown, hidden),
            "a call for help"
        );
        if own {
            self.callbacks.note(shown, &tenant, &number, wall);
            self.outputs.push_back(Output::Callbacks(self.callbacks.all()));
        }
        match elin {
            Some(elin) => caller.replaced([true; 2], Some(elin)),
            None => caller,
        }
    }

    /// The permits of a call that is to be, and the hops by which it may go: those of ends that are full last. No permit is
    /// taken before it is known that both are granted, so that a refused call takes nobody's turn.
    fn admit(
        &mut self,
        mut plan: Plan,
        asked: Asked<'_>,
        now: Instant,
    ) -> Result<(Plan, Hop, Permits), Cause> {
        let routes = Arc::clone(&self.routes);
        let Asked { from, caller, called, help } = asked;
        let number = caller.shown().map(|(user, _)| user).or(caller.vouched());
        let made = Request { end: from, way: Way::Made, number, help };
        self.admission.check(&routes, made, now)?;
        let received = |end| Request { end, way: Way::Received, number: Some(called), help };
        let mut full: Vec<(End, Cause)> = Vec::new();
        let mut fits: Vec<End> = Vec::new();
        for end in plan.hops.iter().map(|hop| hop.end()) {
            if fits.contains(&end) || full.iter().any(|(other, _)| *other == end) {
                continue;
            }
            match self.admission.check(&routes, received(end), now) {
                Ok(()) => fits.push(end),
                Err(cause) => full.push((end, cause)),
            }
        }
        // They may have room when it comes to them.
        plan.hops.sort_by_key(|hop| !fits.contains(&hop.end()));
        let first = plan.hops.first().copied().filter(|hop| fits.contains(&hop.end()));
        let first = first.ok_or(full.first().map_or(Cause::NoRoute, |(_, cause)| *cause))?;
        let callee = Some(self.admission.admit(&routes, received(first.end()), now)?);
        let caller = match self.admission.admit(&routes, made, now) {
            Ok(permit) => Some(permit),
            Err(cause) => {
                self.admission.release_all(Permits { callee, ..Permits::default() });
                return Err(cause);
            }
        };
        Ok((plan, first, Permits { caller, callee, target: None }))
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

    /// The same of one whose profile is known.
    pub(super) fn said_by(&self, source: &Source, message: &Message, entry: &Entry) -> LegRecord {
        let said = self.said(source, message, Some(entry.from));
        let country = self.routes.country(entry.from);
        let contact = registration::request::contact(&self.routes, entry.from);
        let called = profile::called(message, &entry.profile.dialect, country, contact);
        LegRecord {
            correlation_id: entry.profile.correlation.and_then(|read| read(message)),
            called: called.map_or(said.called, |(_, user)| String::from_utf8_lossy(user).into()),
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

/// A call that wants permits.
struct Asked<'a> {
    from: End,
    caller: &'a Caller,
    called: &'a str,
    help: bool,
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

/// Identifies the caller: at an edge by the Request-URI's host, in a realm by listener and source.
fn enter(routes: &Routes, source: &Source, message: &Message) -> Result<Entry, Cause> {
    let config = routes.config();
    let side = locals::side(config, source.local);
    match side {
        Side::Edge(edge) => {
            let tenant = routes.tenant_of(edge, message.uri()).ok_or(Cause::UnknownTenant)?;
            let profile = teams_profile(routes, edge, tenant);
            Ok(Entry { from: End::Tenant(tenant), side, profile })
        }
        Side::Realm(realm) => {
            let id =
                routes.trunk_of(realm, source.remote.ip(), message).ok_or(Cause::UnknownNumber)?;
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
        if config.realms[realm.0].advertise.is_none() {
            face.host = trunk::host(source.local_addr.ip());
        }
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
fn call_uuid(wall: std::time::SystemTime, random: [u8; 10]) -> String {
    let since = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or_default();
    let uuid: Uuid = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    uuid.to_string()
}

const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS";
