//! Calls of trunks that have to prove who they are: judged by [`crate::authentication`], before anything else is made of
//! them.
//!
//! A call for help is let in by its address alone.

use std::sync::Arc;
use std::time::Instant;

use sip_stack::endpoint::ServerId;
use sip_stack::message::{Draft, HeaderId, Message};
use sip_stack::transport::Source;

use super::inbound::Entry;
use super::{Core, Output};
use crate::authentication::{Claim, Flaw, ROLE, Verdict};
use crate::event::Event;
use crate::failure::Cause;
use crate::profile::{self, AGENT};
use crate::routing::End;

impl Core {
    /// Whether an INVITE was answered with a challenge.
    pub(super) fn is_challenged(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        entry: &Entry,
        now: Instant,
    ) -> Result<bool, Cause> {
        let End::Trunk(trunk) = entry.from else { return Ok(false) };
        let routes = Arc::clone(&self.routes);
        let trunk = &routes.config().trunks[trunk.0];
        let Some(login) = &trunk.authenticate else { return Ok(false) };
        let country = routes.country(entry.from);
        let contact = crate::registration::request::contact(&routes, entry.from);
        let called = profile::called(message, &entry.profile.dialect, country, contact);
        if called.is_some_and(|(called, _)| routes.is_help(entry.from, message.uri(), &called)) {
            return Ok(false);
        }
        let claim = Claim { trunk: &trunk.name, source: source.remote.ip(), login };
        let wall = self.wall(now);
        let flaw = match self.gate.judge(claim, message, wall, now) {
            Verdict::Proven => return Ok(false),
            Verdict::Challenge(flaw) => flaw,
            Verdict::LockedOut => {
                self.note_flaw(&trunk.name, source, Flaw::LockedOut, now);
                return Err(Cause::LockedOut);
            }
        };
        if let Some(flaw) = flaw {
            self.note_flaw(&trunk.name, source, flaw, now);
        }
        let mut draft = Draft::response(message, ROLE.status());
        draft.set_to_tag(&self.endpoint.new_tag());
        for value in self.gate.challenges(claim, flaw, wall, self.random.bytes()) {
            draft.push(ROLE.challenge(), value);
        }
        draft.push(HeaderId::Server, AGENT);
        self.endpoint.respond(server, draft, now);
        Ok(true)
    }

    fn note_flaw(&mut self, trunk: &str, source: &Source, flaw: Flaw, now: Instant) {
        self.outputs.push_back(Output::Event(Event::Unauthentic(flaw)));
        if let Some(count) = self.unauthentic.note(now) {
            let (from, why) = (source.remote.ip(), flaw.label());
            tracing::warn!(count, trunk, %from, why, "calls that do not prove whose they are");
        }
    }
}
