//! Calls of processes that died: those that were answered go on, with their ports, keys and dialogs; the others get a
//! record that says what became of them.
//!
//! ```text
//! left      | its ends and ports are there | not, or left for long   | cannot be read
//! ----------+------------------------------+-------------------------+---------------
//! stood     | goes on                      | BYE on both sides, CDR  | CDR
//! begun     | CDR                          | CDR                     | -
//! ```
//!
//! A call that does not go on was over when its process was seen last. One that does, and has no session timer, is asked
//! after at its peers: see [`Leg::restore`](sip_stack::leg::Leg::restore).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use media_relay::{Command, Port, SessionId, SessionState};

use super::{Core, Output};
use crate::admission::{Permits, Request, Way};
use crate::call::{Call, CallKey, Snapshot, Story};
use crate::cdr::Record;
use crate::event::Event;
use crate::failure::Cause;
use crate::journal::{CallId, Entry, Orphan, Restorable};
use crate::routing::End;

/// What became of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// They go on.
    pub resumed: usize,
    /// They were ended.
    pub cut: usize,
}

impl Core {
    /// Takes up what dead processes left.
    pub fn restore(&mut self, calls: Vec<Orphan>, now: Instant) -> Restored {
        let mut restored = Restored::default();
        for Orphan { call, seen } in calls {
            let resumed = match call {
                Restorable::Begun(record) => self.record_cut_guarded(record, seen, now),
                Restorable::Stood { snapshot, media } => {
                    let record = Arc::clone(snapshot.record());
                    let before = self.slots.newest();
                    let attempt = || self.take_up(*snapshot, media, seen, now);
                    let result = catch_unwind(AssertUnwindSafe(attempt));
                    if result.is_err() && self.slots.newest() != before {
                        self.reap(self.slots.newest(), now);
                    }
                    result
                        .ok()
                        .flatten()
                        .unwrap_or_else(|| self.record_cut_guarded(record, seen, now))
                }
            };
            if resumed {
                restored.resumed += 1;
                self.outputs.push_back(Output::Event(Event::CallRestored));
            } else {
                restored.cut += 1;
            }
        }
        self.settle_guarded(now);
        restored
    }

    /// What cannot even be recorded must not keep the others from going on.
    fn record_cut_guarded(&mut self, record: Arc<Record>, seen: SystemTime, now: Instant) -> bool {
        self.guarded(now, |core| core.record_cut(record, seen, now)).unwrap_or(false)
    }

    /// How the media of calls stand: kept for calls that stand themselves, and the relay is told so. Of a call that does
    /// not stand yet nothing is ever resumed, so that nothing has to be kept.
    pub(super) fn keep_media(&mut self, sessions: Vec<(SessionId, SessionState)>) {
        let mut kept: BTreeMap<u8, Vec<_>> = BTreeMap::new();
        for (session, state) in sessions {
            if let Some(shard) = self.slots.shard(CallKey(session.0)) {
                kept.entry(shard).or_default().push((session, state.reach()));
            }
            let call = self.slots.call(CallKey(session.0));
            let id = call.filter(|call| call.is_saved()).and_then(|call| CallId::parse(call.id()));
            if let Some(call) = id {
                let state = Box::new(state);
                self.outputs.push_back(Output::Journal(Entry::Media { call, state }));
            }
        }
        for (shard, sessions) in kept {
            let command = Command::Kept(sessions);
            self.outputs.push_back(Output::Media { shard, command });
        }
    }

    /// Whether a call that stood goes on; `None` when it cannot even be ended properly.
    fn take_up(
        &mut self,
        snapshot: Snapshot,
        media: Option<Box<SessionState>>,
        seen: SystemTime,
        now: Instant,
    ) -> Option<bool> {
        let (routes, wall) = (Arc::clone(&self.routes), self.wall(now));
        let key = self.slots.next_key();
        let session = SessionId(key.0);
        let begun = Arc::clone(snapshot.record());
        let id = CallId::of(&begun);
        let late = wall.duration_since(seen).is_ok_and(|away| away > LONGEST_AWAY);
        let ends = snapshot.ends(&routes).filter(|_| !late);
        let ports = ends.and_then(|_| self.claim(&snapshot, now));
        let Some(ports) = ports else {
            let why =
                if late { "it was left for too long" } else { "the configuration has changed" };
            tracing::warn!(call = %id, why, "a call cannot be restored");
            let mut call = Call::farewell(snapshot, &routes, session, seen, now, wall)?;
            self.slots.open(key, Permits::default(), None, Vec::new(), begun);
            self.begin(key, now, |cx| {
                call.part(cx);
                call
            });
            return Some(false);
        };
        let (calls, called) = snapshot.numbers();
        let mut permit = |end: End, way, number| {
            let asked = Request { end, way, number, help: false };
            self.admission.readmit(&routes, asked, now)
        };
        let caller = ends.map(|(from, _)| permit(from, Way::Made, calls));
        let callee = ends.map(|(_, to)| permit(to, Way::Received, Some(called)));
        let permits = Permits { caller, callee, ..Permits::default() };
        self.slots.open(key, permits, None, ports.to_vec(), Arc::clone(&begun));
        #[cfg(test)]
        self.spring(super::inputs::Trap::Restore);
        let call = Call::restore(snapshot, &routes, session, ports, now, wall);
        let Some(mut call) = call else {
            self.reap(key, now);
            return None;
        };
        self.outputs.push_back(Output::Journal(Entry::Begun(begun)));
        if let Some(state) = &media {
            // This process may die as well, before the relay has told anything: no index comes twice even then.
            let state = Box::new(state.resumed());
            self.outputs.push_back(Output::Journal(Entry::Media { call: id, state }));
        }
        self.begin(key, now, |cx| {
            call.resume(media, cx);
            call
        });
        Some(true)
    }

    /// The very ports that both sides had, under the numbers that they have here.
    fn claim(&mut self, snapshot: &Snapshot, now: Instant) -> Option<[Port; 2]> {
        let [(a, a_told), (b, b_told)] = snapshot.ports();
        let a = self.pools.find(a_told, a)?;
        let b = self.pools.find(b_told, b)?;
        // Pairs are dealt to the threads of the relay, of which there may be another number now.
        let shards = std::iter::once(a.shard).chain(0..MOST_SHARDS);
        for shard in shards {
            let pair = [Port { shard, ..a }, Port { shard, ..b }];
            if self.ports.claim(pair[0]) {
                if self.ports.claim(pair[1]) {
                    return Some(pair);
                }
                self.ports.release(pair[0], now);
            }
        }
        None
    }

    /// The record of a call that is no more; false, for it does not go on.
    fn record_cut(&mut self, record: Arc<Record>, seen: SystemTime, now: Instant) -> bool {
        let wall = self.wall(now);
        let answered = record.t_answer.is_some();
        let mut story = Story::resume(record, wall).over_by(seen);
        story.ended("gateway", Cause::Restart, answered, None, wall);
        let ended = story.take().map(Entry::Ended);
        self.outputs.extend(ended.map(Output::Journal));
        self.outputs.push_back(Output::Event(Event::CallEnded { cause: Cause::Restart }));
        false
    }
}

/// A call whose process was not seen for longer is not taken up: whoever heard nothing for as long has hung up, and a BYE
/// that nobody answered was given up after 32 s. Of a host that boots again, calls are still taken up.
const LONGEST_AWAY: Duration = Duration::from_secs(300);
/// More threads than any machine gives the relay.
const MOST_SHARDS: u8 = 64;
