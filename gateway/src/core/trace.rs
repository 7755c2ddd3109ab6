//! What an INVITE leaves behind that is refused: always a figure; a log line and a record as well, up to a number each
//! second. Beyond that they are counted, and told together: a flood of refusals must not fill a disk.

use std::time::{Duration, Instant};

use sip_stack::message::{HeaderId, Message, ParseError};
use sip_stack::transport::Source;

use super::inbound::call_uuid;
use super::{Core, Output};
use crate::event::Event;
use crate::failure::Cause;
use crate::logging::Flood;

/// How many more refusals may be recorded now.
#[derive(Debug)]
pub(super) struct Traces {
    left: u32,
    since: Option<Instant>,
    unrecorded: Flood,
    unreadable: Flood,
}

impl Default for Traces {
    fn default() -> Self {
        let (unrecorded, unreadable) = (Flood::default(), Flood::default());
        Self { left: MOST_RECORDS, since: None, unrecorded, unreadable }
    }
}

impl Traces {
    /// Takes one, if one is left; all are there again after a second.
    fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SECOND {
            (self.since, self.left) = (Some(now), MOST_RECORDS);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

impl Core {
    /// An INVITE is refused before it became a call.
    pub(super) fn trace_refusal(
        &mut self,
        source: &Source,
        message: &Message,
        cause: Cause,
        now: Instant,
    ) {
        self.outputs.push_back(Output::Event(Event::CallRefused { cause }));
        let id = call_uuid(self.wall(now), self.random.bytes());
        self.tell_of_refused_help(&id, source, message, cause, now);
        if !self.recordable {
            return;
        }
        if self.traces.take(now) {
            return self.record_refusal(id, source, message, cause, now);
        }
        self.outputs.push_back(Output::Event(Event::RefusalUnrecorded));
        if let Some(count) = self.traces.unrecorded.note(now) {
            tracing::warn!(count, cause = cause.label(), "refused calls are no longer recorded");
        }
    }

    /// Something cannot be read. If it was to be an INVITE, a call was refused.
    pub(super) fn trace_unreadable(&mut self, source: &Source, error: &ParseError, now: Instant) {
        let invite = |cseq: &[u8]| cseq.ends_with(b" INVITE");
        let refusal = error.reply.as_ref().filter(|r| r.value(HeaderId::CSeq).is_some_and(invite));
        let Some(refusal) = refusal else { return };
        let cause = Cause::BadRequest(refusal.status());
        self.outputs.push_back(Output::Event(Event::CallRefused { cause }));
        if let Some(count) = self.traces.unreadable.note(now) {
            let (from, why) = (source.remote, &error.kind);
            tracing::info!(%from, count, status = refusal.status(), %why, "unreadable calls refused");
        }
    }
}

/// Refusals recorded in one second.
const MOST_RECORDS: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);
