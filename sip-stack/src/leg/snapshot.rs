//! A leg as data (versioned, our own serde structs): an answered leg survives the process.
//!
//! Unknown fields are ignored and missing ones have defaults, so that a newer or older process can
//! read it. Times are wall clock. What is in flight (an exchange, an ACK that has not come) is not
//! kept: a restored leg stands as last agreed. Connections are not kept either.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::offer_answer::{Exchange, Offers};
use super::session_timer::Agreed;
use super::timer::Timer;
use super::{Leg, LegIdentity, Phase};
use crate::dialog::{Dialog, DialogId};
use crate::transport::{LocalId, Target, Transport};

/// An answered leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The form of this record; larger than [`Snapshot::VERSION`] means: written by a newer one.
    pub version: u16,
    identity: Identity,
    caller: bool,
    call_id: Text,
    local_tag: Text,
    remote_tag: Text,
    remote_target: Text,
    #[serde(default)]
    route_set: Vec<Text>,
    local_cseq: u32,
    #[serde(default)]
    remote_cseq: Option<u32>,
    heard: Heard,
    #[serde(default)]
    local_sdp: Option<Text>,
    #[serde(default)]
    remote_sdp: Option<Text>,
    #[serde(default)]
    session: Option<SessionRecord>,
    #[serde(default)]
    last_token: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    local: Text,
    remote: Text,
    contact: Text,
    sent_by: Text,
    #[serde(default)]
    allow: Text,
    #[serde(default)]
    supported: Text,
    #[serde(default)]
    reliable: bool,
    #[serde(default)]
    agent: Text,
    local_id: LocalId,
    #[serde(default)]
    session_expires: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    transport: Transport,
    /// Without the scope of an IPv6 address, in a form that nobody reads.
    remote: SocketAddr,
    #[serde(default)]
    name: Option<String>,
}

/// An agreed session interval in seconds, and its deadlines in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SessionRecord {
    interval: u64,
    we_refresh: bool,
    #[serde(default)]
    refresh_at: Option<u64>,
    expires_at: u64,
}

/// What of a leg a snapshot shows that changes in the course of a call. A leg with an equal one needs no newer snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    local_cseq: u32,
    remote_target: Bytes,
    heard: (Transport, SocketAddr),
    local_sdp: Option<Bytes>,
    remote_sdp: Option<Bytes>,
    expires: Option<Instant>,
}

impl Snapshot {
    /// The form that this process writes.
    pub const VERSION: u16 = 1;

    /// The identity of ours that the leg has.
    pub const fn local_id(&self) -> LocalId {
        self.identity.local_id
    }

    /// The same identity has another number in this process.
    pub const fn set_local_id(&mut self, local: LocalId) {
        self.identity.local_id = local;
    }

    /// Our SDP as last agreed.
    pub fn local_sdp(&self) -> Option<&Bytes> {
        self.local_sdp.as_ref().map(|sdp| &sdp.0)
    }

    /// The transport and the address by which the peer was heard last.
    pub const fn heard(&self) -> (Transport, SocketAddr) {
        (self.heard.transport, self.heard.remote)
    }

    /// The dialog's name, for the owner's index.
    pub fn dialog_id(&self) -> DialogId {
        DialogId {
            call_id: self.call_id.0.clone(),
            local_tag: self.local_tag.0.clone(),
            remote_tag: self.remote_tag.0.clone(),
        }
    }
}

impl Leg {
    /// The leg as data, while its session is up.
    pub fn snapshot(&self, now: Instant, wall: SystemTime) -> Option<Snapshot> {
        if !matches!(self.phase, Phase::Talking) {
            return None;
        }
        let dialog = &self.dialog;
        Some(Snapshot {
            version: Snapshot::VERSION,
            identity: Identity::from(&self.identity),
            caller: self.caller,
            call_id: Text(dialog.id.call_id.clone()),
            local_tag: Text(dialog.id.local_tag.clone()),
            remote_tag: Text(dialog.id.remote_tag.clone()),
            remote_target: Text(dialog.remote_target.clone()),
            route_set: dialog.route_set.iter().cloned().map(Text).collect(),
            local_cseq: dialog.local_cseq,
            remote_cseq: dialog.remote_cseq,
            heard: Heard {
                transport: dialog.heard.transport,
                remote: dialog.heard.remote,
                name: dialog.heard.name.as_deref().map(str::to_owned),
            },
            local_sdp: self.offers.local.clone().map(Text),
            remote_sdp: self.offers.remote.clone().map(Text),
            session: self.session_record(now, wall),
            last_token: self.last_token,
        })
    }

    /// What a snapshot would show, while the session is up and nothing is being negotiated.
    pub fn stamp(&self) -> Option<Stamp> {
        let stable = matches!(self.phase, Phase::Talking)
            && matches!(self.offers.exchange, Exchange::Idle)
            && self.offers.next.is_none();
        stable.then(|| Stamp {
            local_cseq: self.dialog.local_cseq,
            remote_target: self.dialog.remote_target.clone(),
            heard: (self.dialog.heard.transport, self.dialog.heard.remote),
            local_sdp: self.offers.local.clone(),
            remote_sdp: self.offers.remote.clone(),
            expires: self.timers.at(Timer::Expiry),
        })
    }

    fn session_record(&self, now: Instant, wall: SystemTime) -> Option<SessionRecord> {
        let agreed = self.session.agreed?;
        let at = |timer| self.timers.at(timer).map(|at| to_wall(at, now, wall));
        Some(SessionRecord {
            interval: agreed.interval.as_secs(),
            we_refresh: agreed.we_refresh,
            refresh_at: at(Timer::Refresh),
            expires_at: at(Timer::Expiry)?,
        })
    }

    /// The leg of a snapshot. Deadlines that have passed meanwhile are due at once. Where no session timer was agreed,
    /// the peer is asked once whether it still has the session, see `ask_after`.
    pub fn restore(snapshot: Snapshot, now: Instant, wall: SystemTime) -> Self {
        let identity = LegIdentity::from(snapshot.identity);
        let dialog = Dialog {
            id: DialogId {
                call_id: snapshot.call_id.0,
                local_tag: snapshot.local_tag.0,
                remote_tag: snapshot.remote_tag.0,
            },
            local: identity.local.clone(),
            remote: identity.remote.clone(),
            remote_target: snapshot.remote_target.0,
            route_set: snapshot.route_set.into_iter().map(|route| route.0).collect(),
            local_cseq: snapshot.local_cseq,
            remote_cseq: snapshot.remote_cseq,
            heard: Target {
                transport: snapshot.heard.transport,
                local: identity.local_id,
                remote: snapshot.heard.remote,
                name: snapshot.heard.name.map(Arc::from),
                flow: None,
            },
        };
        let offers = Offers {
            local: snapshot.local_sdp.map(|sdp| sdp.0),
            remote: snapshot.remote_sdp.map(|sdp| sdp.0),
            ..Offers::default()
        };
        let mut leg = Self::new(identity, dialog, snapshot.caller, Phase::Talking, offers);
        leg.last_token = snapshot.last_token;
        if let Some(session) = snapshot.session {
            let interval = Duration::from_secs(session.interval);
            leg.session.agreed = Some(Agreed { interval, we_refresh: session.we_refresh });
            leg.timers.set(Timer::Expiry, from_wall(session.expires_at, now, wall));
            if let Some(at) = session.refresh_at {
                leg.timers.set(Timer::Refresh, from_wall(at, now, wall));
            }
        } else {
            leg.ask_after(now);
        }
        leg
    }
}

fn to_wall(at: Instant, now: Instant, wall: SystemTime) -> u64 {
    let at = wall + at.saturating_duration_since(now);
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn from_wall(millis: u64, now: Instant, wall: SystemTime) -> Instant {
    let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_millis(millis).saturating_sub(wall);
    now + left.min(LONGEST)
}

impl From<&LegIdentity> for Identity {
    fn from(identity: &LegIdentity) -> Self {
        Self {
            local: Text(identity.local.clone()),
            remote: Text(identity.remote.clone()),
            contact: Text(identity.contact.clone()),
            sent_by: Text(identity.sent_by.clone()),
            allow: Text(identity.allow.clone()),
            supported: Text(identity.supported.clone()),
            reliable: identity.reliable,
            agent: Text(identity.agent.clone()),
            local_id: identity.local_id,
            session_expires: identity.session_expires.map(|wish| wish.as_secs()),
        }
    }
}

impl From<Identity> for LegIdentity {
    fn from(identity: Identity) -> Self {
        Self {
            local: identity.local.0,
            remote: identity.remote.0,
            contact: identity.contact.0,
            sent_by: identity.sent_by.0,
            allow: identity.allow.0,
            supported: identity.supported.0,
            reliable: identity.reliable,
            agent: identity.agent.0,
            local_id: identity.local_id,
            session_expires: identity.session_expires.map(Duration::from_secs),
        }
    }
}

/// Bytes; where people read, a string in which each character is one byte (Latin-1): readable where they are ASCII, and
/// lossless where they are not even UTF-8.
#[derive(Clone, Default, PartialEq, Eq)]
struct Text(Bytes);

impl fmt::Debug for Text {
    /// Its length only: it may be an SDP with keys, or a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({})", self.0.len())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let text: String = self.0.iter().map(|byte| char::from(*byte)).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Bytes::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        text.chars()
            .map(|letter| u8::try_from(u32::from(letter)))
            .collect::<Result<Vec<u8>, _>>()
            .map(|bytes| Self(bytes.into()))
            .map_err(|_| serde::de::Error::custom("a character beyond U+00FF"))
    }
}

/// No deadline lies further away, whatever a record says.
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::State;
    use super::super::rig::{OURS, Rig, THEIRS, identity};
    use super::*;

    const WALL: Duration = Duration::from_secs(1_800_000_000);

    /// Through a form that people read and one that they do not, `later` after it was taken.
    fn revived(rig: &Rig, later: Duration) -> Rig {
        let wall = UNIX_EPOCH + WALL;
        let snapshot = rig.leg.snapshot(rig.now, wall).unwrap();
        let json = serde_json::to_string(&snapshot).unwrap();
        let read: Snapshot = serde_json::from_str(&json).unwrap();
        assert_eq!(read, snapshot);
        let read: Snapshot =
            rmp_serde::from_slice(&rmp_serde::to_vec_named(&snapshot).unwrap()).unwrap();
        assert_eq!(read, snapshot);
        assert_eq!(read.dialog_id(), *rig.leg.id());
        let mut revived = Rig::talking();
        revived.leg = Leg::restore(read, revived.now, wall + later);
        revived
    }

    fn with_session(session: &str) -> Rig {
        let mut asks = identity();
        asks.session_expires = Some(Duration::from_secs(1800));
        let mut rig = Rig::calling_as(asks, OURS);
        rig.response_with("INVITE", 1, 200, "them", session, THEIRS);
        rig.drain();
        rig
    }

    #[test]
    fn restored_leg_goes_on_as_before() {
        for mut before in [Rig::talking(), Rig::talking_called()] {
            let mut after = revived(&before, Duration::from_secs(3));
            assert_eq!(after.state(), State::Confirmed);
            assert_eq!(after.leg.is_caller(), before.leg.is_caller());
            assert_eq!(after.leg.identity(), before.leg.identity());
            before.bye();
            after.bye();
            assert_eq!(after.last_draft().write(), before.last_draft().write());
            assert_eq!(after.drain(), before.drain());
        }
    }

    #[test]
    fn restored_leg_answers_the_peer() {
        let mut rig = revived(&Rig::talking(), Duration::ZERO);
        rig.request_as("OPTIONS", 5, "them", "", "");
        rig.request_as("INVITE", 6, "them", "", THEIRS);
        rig.ack(6, "");
        rig.request_as("INVITE", 7, "them", "", "v=0 new");
        rig.request_as("BYE", 8, "them", "", "");
        assert_eq!(
            rig.drain(),
            [
                "200 OPTIONS",
                "200 INVITE +sdp",
                "Offer v=0 new",
                "200 BYE",
                "487 INVITE",
                "Ended Remote"
            ]
        );
    }

    #[test]
    fn cseq_order_survives() {
        let mut rig = Rig::talking_called();
        rig.request_as("OPTIONS", 70, "them", "", "");
        let mut rig = revived(&rig, Duration::ZERO);
        rig.request_as("BYE", 69, "them", "", "");
        assert_eq!(rig.drain(), ["500 BYE"]);
    }

    #[test]
    fn session_deadlines_are_wall_clock() {
        let before = with_session("Session-Expires: 1800;refresher=uac");
        let mut rig = revived(&before, Duration::from_secs(800));
        rig.seconds(99);
        assert!(rig.drain().is_empty());
        rig.seconds(1);
        assert_eq!(rig.drain(), ["INVITE 2 +sdp"]);

        let before = with_session("Session-Expires: 1800;refresher=uas");
        let mut rig = revived(&before, Duration::from_secs(1700));
        rig.seconds(68);
        assert_eq!(rig.drain(), ["BYE 2", "Ended Expired"]);

        let mut rig = revived(&before, Duration::from_secs(1_000_000));
        rig.seconds(0);
        assert_eq!(rig.drain(), ["BYE 2", "Ended Expired"], "what passed meanwhile is due at once");

        let wall = UNIX_EPOCH + WALL;
        let snapshot = before.leg.snapshot(before.now, wall).unwrap();
        let mut rig = Rig::talking();
        rig.leg = Leg::restore(snapshot, rig.now, UNIX_EPOCH);
        assert!(rig.leg.poll_timeout().unwrap() <= rig.now + LONGEST, "a clock that went back");
    }

    #[test]
    fn only_answered_legs_are_kept() {
        let wall = UNIX_EPOCH + WALL;
        let rig = Rig::calling(OURS);
        assert!(rig.leg.snapshot(rig.now, wall).is_none());
        let mut rig = Rig::called(THEIRS);
        assert!(rig.leg.snapshot(rig.now, wall).is_none());
        rig.answer(OURS);
        assert!(rig.leg.snapshot(rig.now, wall).is_some());
        rig.bye();
        assert!(rig.leg.snapshot(rig.now, wall).is_none());
    }

    #[test]
    fn a_stamp_changes_with_what_a_snapshot_shows_and_is_none_while_anything_is_open() {
        let mut rig = Rig::called(THEIRS);
        assert_eq!(rig.leg.stamp(), None);
        rig.answer(OURS);
        assert_eq!(rig.leg.stamp(), None, "the ACK is missing");
        rig.ack(10, "");
        let confirmed = rig.leg.stamp();
        assert!(confirmed.is_some());
        rig.request_as("OPTIONS", 70, "them", "", "");
        assert_eq!(rig.leg.stamp(), confirmed);
        rig.request_as("INVITE", 71, "them", "", "v=0 new");
        assert_eq!(rig.leg.stamp(), None, "an offer is open");
        rig.accept("v=0 ours new");
        assert_eq!(rig.leg.stamp(), None, "the ACK is missing");
        rig.ack(71, "");
        assert!(rig.leg.stamp().is_some_and(|now| Some(now) != confirmed));
        rig.bye();
        assert_eq!(rig.leg.stamp(), None);

        let mut rig = with_session("Session-Expires: 1800;refresher=uac");
        let before = rig.leg.stamp();
        rig.seconds(900);
        assert_eq!(rig.leg.stamp(), None, "a refresh is under way");
        rig.response_with("INVITE", 2, 200, "them", "Session-Expires: 1800;refresher=uac", THEIRS);
        assert!(rig.leg.stamp().is_some_and(|now| Some(now) != before), "another deadline");
    }

    #[test]
    fn other_versions_can_be_read() {
        let wall = UNIX_EPOCH + WALL;
        let rig = Rig::talking();
        let snapshot = rig.leg.snapshot(rig.now, wall).unwrap();
        let mut json = serde_json::to_value(&snapshot).unwrap();
        json["version"] = 2.into();
        json["colour"] = "blue".into();
        json.as_object_mut().unwrap().remove("last_token");
        json["identity"].as_object_mut().unwrap().remove("agent");
        let read: Snapshot = serde_json::from_value(json).unwrap();
        assert_eq!(read.version, 2);
        assert!(Leg::restore(read, rig.now, wall).state() == State::Confirmed);
    }

    #[test]
    fn bytes_that_are_not_text_survive() {
        let all: Vec<u8> = (0..=255).collect();
        let text = Text(all.into());
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text);
        assert!(serde_json::from_str::<Text>("\"\u{100}\"").is_err());
        assert_eq!(serde_json::to_string(&Text("sip:a".into())).unwrap(), "\"sip:a\"");
    }
}
