//! The permits of a call that is to be: of who calls, and of the first hop that has room.

use std::sync::Arc;
use std::time::Instant;

use super::Core;
use crate::admission::{Permits, Request, Way};
use crate::failure::Cause;
use crate::profile::Caller;
use crate::routing::{End, Hop, Plan};

/// A call that wants permits.
pub(super) struct Asked<'a> {
    pub(super) from: End,
    pub(super) caller: &'a Caller,
    pub(super) called: &'a str,
    pub(super) help: bool,
}

impl Core {
    /// The permits of a call that is to be, and the hops by which it may go: those of ends that are full last. No permit is
    /// taken before it is known that both are granted, so that a refused call takes nobody's turn.
    pub(super) fn admit(
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
                self.admission.release_all(Permits { callee, ..Permits::default() }, now);
                return Err(cause);
            }
        };
        Ok((plan, first, Permits { caller, callee, ..Permits::default() }))
    }
}
