//! What ends an answered call without either side asking for it: its longest time, and media that have died. And the watch
//! over silence, which only tells.
//!
//! A call keeps the limits that it was answered under, over reloads and over the death of its process: its end is a time
//! of day. Calls for help have none. Where several limits hold (both ends, tenant or trunk), the shortest does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media_relay::{Plan, Sound};
use serde::{Deserialize, Serialize};

use super::{CALLEE, CALLER, Call, Context, Do, Phase};
use crate::event::{Event, Silent};
use crate::failure::{Cause, Party};
use crate::routing::{End, Routes};

/// The limits of an answered call, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    /// When it ends, since 1970.
    ends: Option<u64>,
    /// How long a side that should send may send nothing at all.
    media_timeout: Option<u64>,
}

/// The limits as they stand on this process's clock, and what is heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    limits: Limits,
    due: Option<Instant>,
    sounds: [Sound; 2],
}

impl Limits {
    /// Those of a call that is answered now.
    fn of(routes: &Routes, ends: [Option<End>; 2], wall: SystemTime) -> Self {
        let config = routes.config();
        let longest = |end: Option<End>| match end? {
            End::Tenant(id) => config.tenants[id.0].max_duration,
            End::Trunk(id) => config.trunks[id.0].max_duration,
        };
        let longest = ends.into_iter().filter_map(longest).min();
        let at = |longest: Duration| {
            millis((wall + longest).duration_since(UNIX_EPOCH).unwrap_or_default())
        };
        Self { ends: longest.map(at), media_timeout: config.gateway.media_timeout.map(millis) }
    }
}

impl Bounds {
    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// On this clock. What should have ended while no process was there ends now.
    pub(super) fn new(limits: Limits, now: Instant, wall: SystemTime) -> Self {
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = |ends| Duration::from_millis(ends).saturating_sub(wall);
        let due = limits.ends.and_then(|ends| now.checked_add(left(ends)));
        Self { limits, due, sounds: Default::default() }
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A plan of an answered call: both sides are expected to send as far as their directions are open.
    pub(super) fn watched(&self, mut plan: Plan) -> Plan {
        for side in &mut plan.sides {
            side.expect = true;
            side.timeout = self.limits.media_timeout.map(Duration::from_millis);
        }
        plan
    }
}

impl Call {
    /// The call is answered by this leg: its limits begin.
    pub(super) fn bound(&mut self, at: usize, cx: &Context<'_>) {
        if self.help {
            return;
        }
        let ends = [self.legs[CALLER].end, self.legs[at].end];
        self.bounds = Bounds::new(Limits::of(&self.routes, ends, cx.wall), cx.now, cx.wall);
    }

    /// Ends a call that has lasted as long as it may.
    pub(super) fn limit_timeout(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Talking && self.bounds.due.is_some_and(|due| due <= cx.now) {
            self.conclude("gateway", Cause::TooLong, None, cx);
        }
    }

    /// The relay tells who is heard.
    pub fn handle_sound(&mut self, sounds: [Sound; 2], cx: &mut Context<'_>) {
        let before = std::mem::replace(&mut self.bounds.sounds, sounds);
        if self.phase != Phase::Talking {
            return;
        }
        let call = self.story.id();
        match (Silent::of(before), Silent::of(sounds)) {
            (before, Some(silent)) if before != Some(silent) => {
                tracing::warn!(call, silent = silent.label(), "no audio comes");
                cx.out.push(Do::Event(Event::Silent(silent)));
            }
            (Some(_), None) => tracing::info!(call, "audio comes again"),
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
        let dead = [(CALLER, Party::Caller), (CALLEE, Party::Callee)];
        if let Some((_, party)) = dead.into_iter().find(|(at, _)| sounds[*at] == Sound::Dead) {
            self.conclude("gateway", Cause::MediaTimeout(party), None, cx);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
