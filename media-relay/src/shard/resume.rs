//! A session as it stands, and a session that goes on where another process left it (see
//! [`state`](crate::state) for what holds then).

use std::time::{Duration, Instant};

use super::checkpoint::{Due, News};
use super::keys::Resumed;
use super::report::{Epoch, millis};
use super::rewrite::Sent;
use super::session::Session;
use super::side::{Kept, SideState};
use crate::packet::Ssrc;
use crate::plan::{Plan, SidePlan};
use crate::state::{
    self, ADVANCE, PLAIN_ADVANCE, Reach, SentSnapshot, SessionState, SideSnapshot, TRUST,
};

impl Session {
    /// What is to be told now; all is told then.
    pub(crate) fn checkpoint(&mut self, epoch: Epoch, now: Instant) -> SessionState {
        self.news = News::None;
        self.due = Due::Quiet;
        self.told = true;
        let sides = self.sides.each_mut().map(|side| {
            let reach = side.told();
            side.snapshot(reach, now)
        });
        SessionState { at: epoch.unix(now), sides, ..SessionState::default() }
    }

    /// Goes on, just made of `plan`, where a state was taken; without one, as far from everything
    /// that may have been sent as can be.
    pub(crate) fn resume(
        &mut self,
        plan: &Plan,
        state: Option<&SessionState>,
        epoch: Epoch,
        now: Instant,
    ) {
        // Before anything is sent, as far as it depends on a checkpoint: a process may die twice.
        self.news = News::Urgent;
        let age = state.and_then(|state| age(state, epoch, now));
        for (index, (side, plan)) in self.sides.iter_mut().zip(&plan.sides).enumerate() {
            side.resume(plan, state.map(|state| &state.sides[index]), age, now);
        }
    }
}

impl SideState {
    fn snapshot(&self, reach: Reach, now: Instant) -> SideSnapshot {
        let (send, receive) = self.keys.snapshot();
        let own = self.rewriter.own();
        let sent = self.rewriter.sent().filter(|_| own.is_some()).map(|sent| SentSnapshot {
            sequence: sent.sequence,
            timestamp: sent.timestamp,
            clock: sent.clock,
            age: millis(now.saturating_duration_since(sent.at)),
        });
        SideSnapshot {
            ssrc: own.unwrap_or(self.reports.drawn()).0,
            name: self.reports.drawn_name(),
            send,
            receive,
            sent,
            rtp: self.rtp.snapshot(),
            rtcp: self.rtcp.snapshot(),
            pauses: self.silence.pauses(),
            octets: self.reports.octets,
            figures: state::figures(&self.figures()),
            reach,
        }
    }

    /// `age` is that of the state, if what we sent may go on from it.
    fn resume(
        &mut self,
        plan: &SidePlan,
        state: Option<&SideSnapshot>,
        age: Option<Duration>,
        now: Instant,
    ) {
        if let Some(state) = state {
            self.stats = state::stats(&state.figures);
            self.observer.resume(&self.stats);
            self.silence.resume(state.pauses);
            self.resume_peer(state);
        }
        let Some((state, age)) = state.zip(age) else {
            self.keep(plan, self.reports.drawn());
            return;
        };
        let ssrc = Ssrc(state.ssrc);
        if self.keys.is_secure() {
            let Some(send) = &state.send else { return self.keep(plan, self.reports.drawn()) };
            match self.keys.resume_send(send, ssrc) {
                // Of a source without RTP it is not known where that began since.
                Resumed::Not | Resumed::Beyond(None) => self.keep(plan, self.reports.drawn()),
                Resumed::Beyond(Some(sequence)) => {
                    self.keep(plan, ssrc);
                    self.reported = ADVANCE.rtcp.into();
                    self.reports.resume(state, &self.stats);
                    let sent = state.sent.unwrap_or_default();
                    self.resume_sent(ssrc, sequence, sent, age, now);
                }
            }
        } else {
            self.reports.resume(state, &self.stats);
            if plan.ssrc.is_none() && state.sent.is_some() {
                // Only of a source of its own it is told what was sent.
                self.adopt(ssrc);
            }
            let own = self.rewriter.own().filter(|own| *own == ssrc);
            if let (Some(own), Some(sent)) = (own, state.sent) {
                self.resume_sent(own, sent.sequence.wrapping_add(PLAIN_ADVANCE), sent, age, now);
            }
        }
    }

    /// What is known of the peer holds whatever became of our own side.
    fn resume_peer(&mut self, state: &SideSnapshot) {
        if let Some(receive) = &state.receive {
            self.keys.resume_receive(receive);
        }
        for (path, latch) in [(&mut self.rtp, &state.rtp), (&mut self.rtcp, &state.rtcp)] {
            if let Some(latch) = latch {
                path.resume(latch);
            }
        }
        self.recheck();
    }

    fn resume_sent(
        &mut self,
        ssrc: Ssrc,
        sequence: u16,
        sent: SentSnapshot,
        age: Duration,
        now: Instant,
    ) {
        let SentSnapshot { timestamp, clock, age: before, .. } = sent;
        let elapsed = age + Duration::from_millis(before);
        let at = now.checked_sub(elapsed).unwrap_or(now);
        self.rewriter.resume(Sent { ssrc, sequence, timestamp, clock, at });
    }

    /// An SRTP side sends under this source, whatever the plan says.
    fn keep(&mut self, plan: &SidePlan, ssrc: Ssrc) {
        if self.keys.is_secure() {
            self.kept = Some(Kept { planned: plan.ssrc, ssrc });
            self.rewriter.set_own(Some(ssrc));
        }
    }
}

/// How old a state is, unless that is too much or makes no sense.
fn age(state: &SessionState, epoch: Epoch, now: Instant) -> Option<Duration> {
    let (then, now) = (state.at, epoch.unix(now));
    let age = Duration::from_millis(now.saturating_sub(then));
    let ahead = Duration::from_millis(then.saturating_sub(now));
    (age <= TRUST && ahead <= SLACK).then_some(age)
}

/// How far clocks may be set back between two processes.
const SLACK: Duration = Duration::from_secs(5);
