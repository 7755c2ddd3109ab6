//! What must hold when the script is over, and when everything is.

use std::collections::BTreeMap;
use std::time::Duration;

use media_relay::Command;
use sip_stack::leg;

use super::session::{Session, State};
use super::stage::Stage;
use crate::call::CallKey;
use crate::cdr::Record;

impl Stage {
    /// A while after the last thing happened, before anybody is made to hang up.
    pub(super) fn judge_talk(&self, faults: &mut Vec<String>) {
        for agent in &self.agents {
            for session in agent.sessions.iter().filter(|s| s.state == State::Up) {
                if let Some(fault) = self.judge_session(session) {
                    faults.push(format!("{}, call {}: {fault}", agent.site.name, session.call));
                }
            }
        }
        self.judge_calls(faults);
        self.judge_holds(faults);
        self.witness.judge_referrals(self.now(), faults);
        for (_, leg) in self.world.core.slots.legs() {
            let id = leg.id();
            let made = self.witness.dialog(&id.call_id, &id.local_tag, &id.remote_tag);
            if made.heard.is_some()
                && !matches!(leg.state(), leg::State::Ending | leg::State::Ended)
            {
                faults.push(format!("a leg that was hung up on is {:?}", leg.state()));
            }
        }
    }

    /// A call is two legs: nobody is kept for nobody, and whoever was replaced was hung up on.
    fn judge_calls(&self, faults: &mut Vec<String>) {
        let mut up: BTreeMap<CallKey, usize> = BTreeMap::new();
        for (key, leg) in self.world.core.slots.legs() {
            *up.entry(key).or_default() += usize::from(leg.state() == leg::State::Confirmed);
        }
        let odd = up.values().filter(|legs| ![0, 2].contains(*legs));
        faults.extend(odd.map(|legs| format!("a call of {legs} legs")));
    }

    /// Nobody is held whom nobody holds. Who has refused what the gateway offered has itself to blame, and who is cut off
    /// may hold or not.
    fn judge_holds(&self, faults: &mut Vec<String>) {
        for call in 0..self.script.calls.len() {
            let sessions = self.agents.iter().flat_map(|agent| &agent.sessions);
            let up: Vec<_> = sessions
                .filter(|s| s.call == call && s.state == State::Up && s.is_idle())
                .collect();
            let cut = self.deaf.iter().any(|(deaf, _)| *deaf == call);
            if up.len() == 2
                && !cut
                && up.iter().all(|s| s.talk.is_open() && !s.refused)
                && up.iter().any(|s| s.talk.is_held())
            {
                faults.push(format!("somebody is held in call {call}, and nobody holds"));
            }
        }
    }

    /// A peer that talks is talked to, and both have agreed to the same.
    ///
    /// Whom the gateway's BYE could not reach is let off: that is the line's fault. So is a peer that is cut off.
    fn judge_session(&self, session: &Session) -> Option<String> {
        if self.deaf.contains(&(session.call, session.role)) {
            return None;
        }
        let id = &session.dialog.id;
        let made = self.witness.dialog(&id.call_id, &id.remote_tag, &id.local_tag);
        if made.sent.is_some_and(|at| !made.arrived || self.now() - at < FAREWELL) {
            return None;
        }
        let mut legs = self.world.core.slots.legs();
        let leg = legs.find(|(_, leg)| *leg.local_tag() == id.remote_tag).map(|(_, leg)| leg);
        let Some(leg) = leg.filter(|leg| leg.state() == leg::State::Confirmed) else {
            let state = leg.map(leg::Leg::state);
            return Some(format!("half-open: the gateway's leg is {state:?}"));
        };
        let talk = &session.talk;
        let same =
            leg.local_sdp() == talk.remote.as_ref() && leg.remote_sdp() == talk.local.as_ref();
        (session.is_idle() && !same)
            .then(|| "both have agreed to different descriptions".to_owned())
    }

    /// Everything is over: the gateway has nothing left of it.
    pub(super) fn judge_end(&self, faults: &mut Vec<String>) {
        let core = &self.world.core;
        let gauges = core.gauges();
        let mut left = |what: &str, count: usize| {
            if count > 0 {
                faults.push(format!("{count} {what} left"));
            }
        };
        left("calls", core.unfinished());
        left("dialogs", core.dialogs.len());
        left("pairs", core.pairs.len());
        left("permits", core.admission.all_calls() as usize);
        left("deadlines of calls", usize::from(core.slots.poll_timeout().is_some()));
        left("requests under way", core.delivery.waiting());
        left("look-ups", core.lookups.len());
        left("transactions", gauges.transactions);
        left("port pairs", PORTS - gauges.free_port_pairs);
        left("faults", self.world.faults);
        for agent in &self.agents {
            faults.extend(agent.faults.iter().map(|fault| format!("{}: {fault}", agent.site.name)));
        }
        faults.extend(self.witness.faults.iter().cloned());
        self.witness.judge_messages(self.now(), faults);
        self.witness.judge_records(&self.world.records, faults);
        self.judge_media(faults);
        self.judge_success(faults);
    }

    /// What nothing hinders comes about: a gateway that refuses everything would pass all other judgements.
    fn judge_success(&self, faults: &mut Vec<String>) {
        if self.script.is_unhindered() && !self.witness.all_answered() {
            faults
                .push("nothing stood in the way of this call, and it was not answered".to_owned());
        }
        let cut = |record: &&Record| record.t_answer.is_some() && record.ended_by == "gateway";
        let cut = self.world.records.iter().find(cut).filter(|_| self.script.is_calm());
        faults.extend(cut.map(|record| format!("ended without need: {:?}", record.cause)));
    }

    /// The relay releases each session that it was told of, once and last.
    fn judge_media(&self, faults: &mut Vec<String>) {
        let mut released = BTreeMap::new();
        for command in &self.world.media {
            match command {
                Command::Apply(plan) => {
                    if std::mem::replace(released.entry(plan.session).or_insert(false), false) {
                        faults.push(format!("session {} after its end", plan.session.0));
                    }
                }
                Command::Release(session) => {
                    if released.insert(*session, true) != Some(false) {
                        faults.push(format!("session {} released for nothing", session.0));
                    }
                }
                Command::Resume { .. }
                | Command::Kept { .. }
                | Command::Cool { .. }
                | Command::Tap { .. } => {}
            }
        }
        // What the relay has given up by itself needs no release.
        let given = |session| self.given.contains(session);
        let kept = released.iter().filter(|(session, released)| !**released && !given(session));
        faults.extend(kept.map(|(session, _)| format!("session {} never released", session.0)));
    }
}

/// Until a BYE without an answer is given up (64 * T1).
const FAREWELL: Duration = Duration::from_secs(35);
/// As many as a world has.
const PORTS: usize = 100;
