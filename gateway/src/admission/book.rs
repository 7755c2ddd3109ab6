//! The permits of a call that goes on: for its further hops, for whoever is asked to take a side's place, and for the trunk
//! that asks for that.

use std::time::Instant;

use super::{Admission, Permits, Request, Who, permit};
use crate::failure::Cause;
use crate::routing::Routes;

/// Where a call gets permits for further hops.
pub struct PermitBook<'a> {
    /// Of all calls.
    pub admission: &'a mut Admission,
    /// Those of this call.
    pub held: &'a mut Permits,
}

impl PermitBook<'_> {
    /// Gets a permit for the callee of another attempt, in place of the one for the last.
    ///
    /// # Errors
    /// The bound that is reached; no permit for a callee is held then.
    pub fn for_callee(
        &mut self,
        routes: &Routes,
        asked: Request<'_>,
        now: Instant,
    ) -> Result<(), Cause> {
        let (wanted, _) = permit(routes, asked);
        if self.held.callee.as_ref().is_some_and(|held| {
            held.who == wanted.who && (held.number.is_none() || held.number == wanted.number)
        }) {
            return Ok(());
        }
        self.admission.give_back(self.held.callee.take(), now);
        self.held.callee = Some(self.admission.admit(routes, asked, now)?);
        Ok(())
    }

    /// Gets a permit for who is asked to take a side's place. None is needed at the end whose place that is: it has one call
    /// before and after.
    ///
    /// # Errors
    /// The bound that is reached; no permit for a target is held then.
    pub fn for_target(
        &mut self,
        routes: &Routes,
        asked: Request<'_>,
        caller_side: bool,
        now: Instant,
    ) -> Result<(), Cause> {
        let who = Who::of(routes, asked.end);
        if self.held.target.as_ref().is_some_and(|permit| permit.who == who) {
            return Ok(());
        }
        self.admission.give_back(self.held.target.take(), now);
        let replaced = if caller_side { &self.held.caller } else { &self.held.callee };
        if replaced.as_ref().is_none_or(|permit| permit.who != who) {
            self.held.target = Some(self.admission.admit(routes, asked, now)?);
        }
        Ok(())
    }

    /// Gets a permit for the call that the trunk on a side makes by asking somebody to take its place. That side's own call
    /// is not in the way of it, since it will be over.
    ///
    /// # Errors
    /// The bound that is reached; no permit for it is held then.
    pub fn for_referrer(
        &mut self,
        routes: &Routes,
        asked: Request<'_>,
        caller_side: bool,
        now: Instant,
    ) -> Result<(), Cause> {
        let own = if caller_side { &self.held.caller } else { &self.held.callee };
        let own = own.as_ref().filter(|own| own.who == Who::of(routes, asked.end));
        self.admission.take_out(own);
        let permit = self.admission.admit(routes, asked, now);
        self.admission.put_back(own, now);
        let before = self.held.referrer.replace(permit?);
        self.admission.give_back(before, now);
        Ok(())
    }

    /// Somebody has taken a side's place, and whoever had it, with that side's permits, is gone.
    pub fn settle(&mut self, caller_side: bool, now: Instant) {
        let wall = self.admission.wall(now);
        let mut referrer = self.held.referrer.take();
        referrer.iter_mut().for_each(|permit| self.admission.begin_minutes(permit, wall));
        let referred = &mut self.held.referred[usize::from(!caller_side)];
        let before = std::mem::replace(referred, referrer);
        self.admission.give_back(before, now);
        let Some(mut permit) = self.held.target.take() else { return };
        // It has not been there before.
        self.admission.begin_minutes(&mut permit, wall);
        let side = if caller_side { &mut self.held.caller } else { &mut self.held.callee };
        let before = side.replace(permit);
        self.admission.give_back(before, now);
    }
}
