//! An answered call as data (versioned, our own serde structs), and a call made of it in another process.
//!
//! Unknown fields are ignored and missing ones have defaults. Ends are named as the configuration names them, since
//! their numbers are another process's. What is in flight is not kept: a restored call stands as last agreed. Holds
//! keys: it is written only where it is sealed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media_relay::{Command, Port, SessionId, SessionState};
use serde::{Deserialize, Serialize};
use sip_stack::leg::{self, Action, Failure, Leg, Outbox, Stamp};
use sip_stack::transport::LocalId;

use super::attempt::Attempts;
use super::attempt_timers::Timers;
use super::limits::{Bounds, Limits};
use super::media_plan::{CallMedia, SideSnapshot};
use super::seat::Parting;
use super::{CALLEE, CALLER, Call, CallLeg, Context, Do, Exchange, Phase, Story, leg_number, port};
use crate::cdr::Record;
use crate::failure::Cause;
use crate::locals::{self, Side};
use crate::numbers::Number;
use crate::profile::{Caller, Diversions, Further, Location, Profile, teams, trunk};
use crate::routing::{EdgeId, End, RealmId, Routes, TenantId, TrunkId};

/// An answered call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The form of this record; larger than [`Snapshot::VERSION`] means: written by a newer one.
    pub version: u16,
    record: Arc<Record>,
    /// Milliseconds since 1970.
    began: u64,
    caller: Caller,
    called: Number,
    legs: [LegSnapshot; 2],
    media: [SideSnapshot; 2],
    #[serde(default)]
    limits: Limits,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LegSnapshot {
    end: EndName,
    place: PlaceName,
    peer: IpAddr,
    leg: leg::Snapshot,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndName {
    Tenant(String),
    Trunk(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlaceName {
    Edge(String),
    Realm(String),
}

/// What the snapshots of a call have shown last.
#[derive(Debug, Default)]
pub(super) struct Saved(Option<[Stamp; 2]>);

impl Snapshot {
    /// The form that this process writes.
    pub const VERSION: u16 = 1;

    /// The record so far.
    pub const fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The ports of both sides, as they were numbered, with the addresses that the peers were told.
    pub const fn ports(&self) -> [(Port, IpAddr); 2] {
        [self.media[CALLER].port(), self.media[CALLEE].port()]
    }

    /// The number that calls, as it is shown, and the one that is called.
    pub fn numbers(&self) -> (Option<&str>, &str) {
        (self.caller.shown().map(|(user, _)| user), self.called.as_str())
    }

    /// Who talks, if this configuration still has both, where they were met.
    pub fn ends(&self, routes: &Routes) -> Option<(End, End)> {
        Some((self.legs[CALLER].found(routes)?.end, self.legs[CALLEE].found(routes)?.end))
    }
}

impl Call {
    /// The call as data when it stands, and not as it did when this was last asked.
    pub fn news(&mut self, now: Instant, wall: SystemTime) -> Option<Box<Snapshot>> {
        if self.phase != Phase::Talking || self.exchange != Exchange::Idle {
            return None;
        }
        let [Some(caller), Some(callee)] = self.speakers else { return None };
        let stamps = [self.legs[caller].leg.stamp()?, self.legs[callee].leg.stamp()?];
        if self.saved.0.as_ref() == Some(&stamps) {
            return None;
        }
        let legs = [self.leg_snapshot(caller, now, wall)?, self.leg_snapshot(callee, now, wall)?];
        self.saved = Saved(Some(stamps));
        let began = self.story.began().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Box::new(Snapshot {
            version: Snapshot::VERSION,
            record: Arc::clone(self.story.record()),
            began: u64::try_from(began.as_millis()).unwrap_or_default(),
            caller: self.caller.clone(),
            called: self.called.clone(),
            legs,
            media: self.media.snapshot(),
            limits: self.bounds.limits(),
        }))
    }

    /// Whether it was told as data, so that where its media stand is worth keeping.
    pub const fn is_saved(&self) -> bool {
        self.saved.0.is_some()
    }

    fn leg_snapshot(&self, at: usize, now: Instant, wall: SystemTime) -> Option<LegSnapshot> {
        let CallLeg { leg, end, peer, .. } = &self.legs[at];
        let config = self.routes.config();
        let place = match locals::side(config, leg.identity().local_id) {
            Side::Edge(edge) => PlaceName::Edge(config.edges[edge.0].name.clone()),
            Side::Realm(realm) => PlaceName::Realm(config.realms[realm.0].name.clone()),
        };
        let end = match (*end)? {
            End::Tenant(id) => EndName::Tenant(config.tenants[id.0].name.clone()),
            End::Trunk(id) => EndName::Trunk(config.trunks[id.0].name.clone()),
        };
        Some(LegSnapshot { end, place, peer: *peer, leg: leg.snapshot(now, wall)? })
    }

    /// The call of a snapshot, on these ports. `None` when something in it cannot be read or is not in the configuration
    /// any more: see [`Call::farewell`].
    pub fn restore(
        snapshot: Snapshot,
        routes: &Arc<Routes>,
        session: SessionId,
        ports: [Port; 2],
        now: Instant,
        wall: SystemTime,
    ) -> Option<Self> {
        let found = [snapshot.legs[CALLER].found(routes)?, snapshot.legs[CALLEE].found(routes)?];
        Self::revive(snapshot, routes, session, ports, found.map(Some), now, wall)
    }

    /// The call of a snapshot that cannot go on: with its legs as far as there is a way to their peers, without media. It was
    /// over when its process was `seen` last.
    pub fn farewell(
        snapshot: Snapshot,
        routes: &Arc<Routes>,
        session: SessionId,
        seen: SystemTime,
        now: Instant,
        wall: SystemTime,
    ) -> Option<Self> {
        let ports = snapshot.ports().map(|(port, _)| port);
        let found = snapshot.legs.each_ref().map(|leg| leg.found(routes));
        let mut call = Self::revive(snapshot, routes, session, ports, found, now, wall)?;
        call.story = call.story.over_by(seen);
        Some(call)
    }

    /// A restored call goes on; its media behind `state`.
    pub fn resume(&mut self, state: Option<Box<SessionState>>, cx: &mut Context<'_>) {
        self.tell_dialogs(cx);
        self.relayed = true;
        let plan = Box::new(self.bounds.watched(self.media.plan()));
        cx.out.push(Do::Media(Command::Resume { plan, state }));
    }

    /// A call that cannot go on ends: with BYE on both sides.
    pub fn part(&mut self, cx: &mut Context<'_>) {
        self.tell_dialogs(cx);
        self.conclude("gateway", Cause::Restart, None, cx);
    }

    fn tell_dialogs(&self, cx: &mut Context<'_>) {
        for (at, CallLeg { leg, .. }) in self.legs.iter().enumerate() {
            cx.out.push(Do::Dialog { tag: leg.local_tag().clone(), leg: leg_number(at) });
        }
    }

    fn revive(
        snapshot: Snapshot,
        routes: &Arc<Routes>,
        session: SessionId,
        ports: [Port; 2],
        found: [Option<Found>; 2],
        now: Instant,
        wall: SystemTime,
    ) -> Option<Self> {
        let Snapshot { record, began, caller, called, legs, media, limits, .. } = snapshot;
        let profiles = found.each_ref().map(|found| match found {
            Some(Found { profile, .. }) => profile.clone(),
            None => Profile::of_nobody(),
        });
        let mut sides = Vec::new();
        for (at, side) in media.into_iter().enumerate() {
            let end = found[at].as_ref().map(|found| found.end);
            let sources = end.map(|end| port::sources(routes, end, legs[at].peer));
            let sdp = legs[at].leg.local_sdp().map_or(&[][..], |sdp| sdp);
            let rules = profiles[at].media;
            sides.push(side.restore(ports[at], rules, sources.unwrap_or_default(), sdp)?);
        }
        let mut media = CallMedia::restored(session, sides.try_into().ok()?);
        let ends = found.each_ref().map(|found| found.as_ref().map(|found| found.end));
        media.set_music(routes.hold_music(ends));
        let legs = legs.into_iter().zip(found).zip(profiles).enumerate();
        let legs = legs.map(|(side, ((leg, found), profile))| {
            leg.revive(side, profile, routes, found, now, wall)
        });
        Some(Self {
            legs: legs.collect(),
            routes: Arc::clone(routes),
            caller,
            called,
            diversions: Diversions::default(),
            location: Location::default(),
            further: Further::default(),
            asked: Vec::new(),
            // Its limits are as they were.
            help: false,
            max_forwards: 0,
            phase: Phase::Talking,
            speakers: [Some(CALLER), Some(CALLEE)],
            attempts: Attempts::new(Vec::new(), Timers::stopped()),
            searches: 0,
            media,
            exchange: Exchange::Idle,
            rung: None,
            ringback: None,
            told: None,
            amended: false,
            story: Story::resume(record, UNIX_EPOCH + Duration::from_millis(began)),
            relayed: false,
            figures_deadline: None,
            bounds: Bounds::new(limits, now, wall),
            transfer: None,
            transfers: 0,
            parting: Parting::default(),
            referral: None,
            saved: Saved::default(),
        })
    }
}

/// What this configuration has for a leg.
struct Found {
    end: End,
    local: LocalId,
    profile: Profile,
}

impl LegSnapshot {
    /// Its end, where it was met; `None` when either is gone, or they have parted.
    fn found(&self, routes: &Routes) -> Option<Found> {
        let config = routes.config();
        match (&self.end, &self.place) {
            (EndName::Tenant(name), PlaceName::Edge(_)) => {
                let (local, Side::Edge(edge)) = self.place.find(routes)? else { return None };
                let tenant = config.tenants.iter().position(|tenant| tenant.name == *name)?;
                let met = config.tenants[tenant].names.iter().find(|name| name.edge == edge.0)?;
                let profile = teams::profile(config, edge, &met.fqdn);
                Some(Found { end: End::Tenant(TenantId(tenant)), local, profile })
            }
            (EndName::Trunk(name), PlaceName::Realm(_)) => {
                let (local, Side::Realm(realm)) = self.place.find(routes)? else { return None };
                let trunk = config.trunks.iter().position(|trunk| trunk.name == *name)?;
                let (transport, heard) = self.leg.heard();
                let id = TrunkId(trunk);
                let profile = trunk::profile(config, id, transport, heard.is_ipv6());
                let same = config.trunks[trunk].realm == realm.0;
                same.then_some(Found { end: End::Trunk(id), local, profile })
            }
            (EndName::Tenant(_), PlaceName::Realm(_)) | (EndName::Trunk(_), PlaceName::Edge(_)) => {
                None
            }
        }
    }

    /// The leg again. One without a place any more is closed: nothing can be sent from there.
    fn revive(
        self,
        side: usize,
        profile: Profile,
        routes: &Routes,
        found: Option<Found>,
        now: Instant,
        wall: SystemTime,
    ) -> CallLeg {
        let place = self.place.find(routes).map(|(local, _)| local);
        let mut snapshot = self.leg;
        let local = found.as_ref().map(|found| found.local).or(place);
        if let Some(local) = local {
            snapshot.set_local_id(local);
        }
        let mut leg = Leg::restore(snapshot, now, wall);
        if local.is_none() {
            close(&mut leg, now);
        }
        CallLeg { leg, side, profile, end: found.map(|found| found.end), peer: self.peer }
    }
}

impl PlaceName {
    fn find(&self, routes: &Routes) -> Option<(LocalId, Side)> {
        let config = routes.config();
        match self {
            Self::Edge(name) => {
                let edge = EdgeId(config.edges.iter().position(|edge| edge.name == *name)?);
                Some((locals::of_edge(edge), Side::Edge(edge)))
            }
            Self::Realm(name) => {
                let realm = RealmId(config.realms.iter().position(|realm| realm.name == *name)?);
                Some((locals::of_realm(config, realm), Side::Realm(realm)))
            }
        }
    }
}

/// Ends a leg as if its peer could not be reached.
fn close(leg: &mut Leg, now: Instant) {
    let mut unsent = Outbox::new();
    leg.bye(&[], now, &mut unsent);
    let mut ignored = Outbox::new();
    for action in unsent {
        if let Action::Request { token, .. } = action {
            leg.handle_failed(token, Failure::Transport, now, &mut ignored);
        }
    }
}
