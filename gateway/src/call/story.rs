//! What happened in a call, gathered while it lives; becomes its record.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use media_relay::SideStats;

use super::media_plan::CallMedia;
use super::{CALLEE, CALLER};
use crate::cdr::{AttemptRecord, CauseRecord, LegRecord, MediaRecord, Record, timestamp};
use crate::failure::{Cause, Verdict};
use crate::numbers::Masked;
use crate::routing::{End, Hop, Routes};

/// The record of a call in the making.
#[derive(Debug)]
pub struct Story {
    /// Shared with what the journal and the call's slot have of it, and copied when it goes on after that.
    record: Arc<Record>,
    began: SystemTime,
    answered: Option<SystemTime>,
    /// It was over by then, however late that is found.
    over_by: Option<SystemTime>,
    /// What the peer said last of the end, in a code of its own.
    verdict: Option<Verdict>,
    written: bool,
}

impl Story {
    /// Begins with the caller's leg.
    pub fn new(id: String, node: &str, caller: LegRecord, wall: SystemTime) -> Self {
        let record = Record {
            id,
            node: node.to_owned(),
            legs: vec![LegRecord { role: "caller".to_owned(), ..caller }],
            t_invite: timestamp(wall),
            ..Record::default()
        };
        Self::resume(Arc::new(record), wall)
    }

    /// Goes on with a record that was begun before.
    pub const fn resume(record: Arc<Record>, began: SystemTime) -> Self {
        Self { record, began, answered: None, over_by: None, verdict: None, written: false }
    }

    /// The call is over since then at the latest: nobody has kept it up any more.
    #[must_use]
    pub fn over_by(self, seen: SystemTime) -> Self {
        Self { over_by: Some(seen), ..self }
    }

    /// The record so far.
    pub const fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// When the INVITE came.
    pub const fn began(&self) -> SystemTime {
        self.began
    }

    /// When the call was answered, to the millisecond.
    pub fn answered_at(&self) -> Option<SystemTime> {
        let at: jiff::Timestamp = self.record.t_answer.as_ref()?.parse().ok()?;
        Some(at.into())
    }

    /// The call's UUID.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    pub(super) fn attempt(&mut self, to: String, wall: SystemTime) {
        self.edit().attempts.push(AttemptRecord { to, t: timestamp(wall), status: 0 });
    }

    pub(super) fn attempt_result(&mut self, status: u16) {
        if let Some(attempt) = self.edit().attempts.last_mut() {
            attempt.status = status;
        }
    }

    /// The leg that is called now takes the place of the one called before.
    pub(super) fn callee(
        &mut self,
        routes: &Routes,
        hop: Hop,
        call_id: &[u8],
        caller: &str,
        called: &str,
    ) {
        let mut leg = leg_record(routes, hop.end());
        leg.role = "callee".to_owned();
        if let Hop::Proxy { edge, .. } = hop {
            leg.edge = Some(routes.config().edges[edge.0].name.clone());
        }
        leg.call_id = String::from_utf8_lossy(call_id).into_owned();
        caller.clone_into(&mut leg.caller);
        called.clone_into(&mut leg.called);
        let legs = &mut self.edit().legs;
        legs.truncate(1);
        legs.push(leg);
    }

    /// The leg to the target of a transfer, which takes the place of one that was tried before.
    pub(super) fn target(
        &mut self,
        routes: &Routes,
        hop: Hop,
        call_id: &[u8],
        caller: &str,
        target: &str,
        again: bool,
    ) {
        let mut leg = leg_record(routes, hop.end());
        leg.role = TARGET.to_owned();
        if let Hop::Proxy { edge, .. } = hop {
            leg.edge = Some(routes.config().edges[edge.0].name.clone());
        }
        leg.call_id = String::from_utf8_lossy(call_id).into_owned();
        caller.clone_into(&mut leg.caller);
        target.clone_into(&mut leg.called);
        let legs = &mut self.edit().legs;
        if again {
            legs.pop();
        }
        legs.push(leg);
    }

    /// Somebody has come in place of one of the others, by an INVITE of its own.
    pub(super) fn joined(&mut self, leg: LegRecord) {
        self.edit().legs.push(LegRecord { role: TARGET.to_owned(), ..leg });
    }

    pub(super) fn rings(&mut self, wall: SystemTime) {
        if self.record.t_ring.is_none() {
            self.edit().t_ring = Some(timestamp(wall));
        }
    }

    pub(super) fn answered(&mut self, wall: SystemTime) {
        self.answered = Some(wall);
        self.edit().t_answer = Some(timestamp(wall));
        tracing::info!(
            call = %self.record.id,
            setup_ms = self.setup().as_millis() as u64,
            "call answered"
        );
    }

    /// From the INVITE to the answer; zero while there is none.
    pub(super) fn setup(&self) -> Duration {
        self.answered
            .and_then(|answered| answered.duration_since(self.began).ok())
            .unwrap_or_default()
    }

    /// The peer's own name for the leg with this Call-ID.
    pub(super) fn correlation(&mut self, call_id: &[u8], id: String) {
        let legs = &self.record.legs;
        if let Some(at) = legs.iter().position(|leg| leg.call_id.as_bytes() == call_id) {
            self.edit().legs[at].correlation_id = Some(id);
        }
    }

    /// A peer has spoken its last word, with a code of its own or not.
    pub(super) const fn heard(&mut self, verdict: Option<Verdict>) {
        self.verdict = verdict;
    }

    /// The end, and why.
    pub fn ended(
        &mut self,
        by: &str,
        cause: Cause,
        answered: bool,
        reason: Option<&[u8]>,
        wall: SystemTime,
    ) {
        let end = self.over_by.map_or(wall, |by| by.min(wall));
        let Record { t_invite, t_ring, t_answer, .. } = &*self.record;
        // Written the same way, they compare as the times do.
        let known = [Some(t_invite), t_ring.as_ref(), t_answer.as_ref()];
        let last = known.into_iter().flatten().max().cloned();
        let t_end = last.unwrap_or_default().max(timestamp(end));
        let theirs = matches!(cause, Cause::Peer(_) | Cause::Normal | Cause::CallerGaveUp);
        let verdict = self.verdict.filter(|_| theirs);
        let advice = verdict.map(|verdict| verdict.advice);
        let meaning = advice.map_or_else(|| cause.meaning(), |advice| Some(advice.meaning));
        let check = advice.map_or_else(|| cause.check(), |advice| Some(advice.check));
        let cause_told = CauseRecord {
            sip: if answered && cause == Cause::Normal { 200 } else { cause.status() },
            q850: cause.q850(),
            text: cause.to_string(),
            fault: cause.fault().label().to_owned(),
            code: verdict.map(|verdict| verdict.code),
            meaning: meaning.map(str::to_owned),
            check: check.map(str::to_owned),
            reason: reason.map(|reason| String::from_utf8_lossy(reason).into_owned()),
        };
        let record = self.edit();
        record.t_end = t_end;
        by.clone_into(&mut record.ended_by);
        record.cause = cause_told;
        tracing::info!(
            call = %self.record.id,
            by,
            cause = cause.label(),
            sip = self.record.cause.sip,
            why = %cause,
            code = self.record.cause.code,
            meaning,
            check,
            "call ended"
        );
    }

    pub(super) fn media(&mut self, stats: &[SideStats; 2], media: &CallMedia) {
        self.edit().media = [(CALLER, "caller"), (CALLEE, "callee")]
            .into_iter()
            .map(|(at, from)| {
                let side = &stats[at];
                let known = |time: Duration| (!time.is_zero()).then(|| millis(time));
                let told = side.far_reports > 0;
                MediaRecord {
                    from: from.to_owned(),
                    received: side.received,
                    relayed: side.relayed,
                    lost: side.lost,
                    refused: side.auth_failed + side.duplicates,
                    foreign: side.foreign,
                    jitter_ms: millis(side.jitter),
                    jitter_max_ms: millis(side.jitter_max),
                    longest_gap_ms: millis(side.longest_gap),
                    reordered: side.reordered,
                    codec: side.payload_type.and_then(|number| media.encoding(at, number)),
                    t38: (side.udptl > 0).then_some(side.udptl),
                    mos: score(side.mos),
                    rtt_ms: known(side.rtt),
                    rtt_max_ms: known(side.rtt_max),
                    far_lost: told.then_some(side.far_lost),
                    far_jitter_ms: told.then(|| millis(side.far_jitter)),
                    far_mos: score(side.far_mos),
                    silent_s: (side.silent.as_secs_f64() * 10.0).round() / 10.0,
                    one_way: side.one_way > 0,
                    srtp: media.side(at).suite().map(|suite| suite.name().to_owned()),
                }
            })
            .collect();
    }

    /// The finished record; once.
    pub fn take(&mut self) -> Option<Arc<Record>> {
        (!std::mem::replace(&mut self.written, true)).then(|| Arc::clone(&self.record))
    }

    fn edit(&mut self) -> &mut Record {
        Arc::make_mut(&mut self.record)
    }

    /// Says in the log that a call came.
    pub fn announce(&self, routes: &Routes, from: End, caller: &str, called: &str) {
        let [tenant, trunk] = routes.names(from);
        let hidden = routes.config().log.mask_numbers;
        tracing::info!(
            call = %self.record.id,
            tenant,
            trunk,
            caller = %Masked::new(caller, hidden),
            called = %Masked::new(called, hidden),
            "call"
        );
    }
}

/// The role of the leg to the target of a transfer.
const TARGET: &str = "target";

/// In milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A mean opinion score out of hundredths.
fn score(hundredths: u16) -> Option<f64> {
    (hundredths > 0).then(|| f64::from(hundredths) / 100.0)
}

/// The names of an end in a record.
pub fn leg_record(routes: &Routes, end: End) -> LegRecord {
    let [tenant, trunk] = routes.names(end).map(|name| name.map(str::to_owned));
    LegRecord { tenant, trunk, ..LegRecord::default() }
}
