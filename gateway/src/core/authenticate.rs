//! Calls of trunks that have to prove who they are: judged by [`crate::authentication`], before anything else is made of
//! them.
//!
//! A call for help is let in by its address alone: it is not asked here.

use std::sync::Arc;
use std::time::Instant;

use sip_stack::auth::Role;
use sip_stack::endpoint::ServerId;
use sip_stack::message::{Draft, HeaderId, Message};
use sip_stack::transport::Source;

use super::inbound::Entry;
use super::{Core, Output};
use crate::authentication::{Claim, Flaw, Verdict};
use crate::event::Event;
use crate::failure::Cause;
use crate::profile::AGENT;
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
        let (name, source_ip) = (trunk.name.as_str(), source.remote.ip());
        let own = self.own_door(name, source, name);
        let door = own.as_deref().unwrap_or(name);
        let claim = Claim { role: ROLE, scope: name, name: door, source: source_ip, login };
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
        for value in
            self.gate.challenges((ROLE, name, &login.realm), flaw, wall, self.random.bytes())
        {
            draft.push(ROLE.challenge(), value);
        }
        draft.push(HeaderId::Server, AGENT);
        self.endpoint.respond(server, draft, now);
        Ok(true)
    }

    pub(super) fn note_flaw(&mut self, trunk: &str, source: &Source, flaw: Flaw, now: Instant) {
        self.outputs.push_back(Output::Event(Event::Unauthentic(flaw)));
        if let Some(count) = self.unauthentic.note(now) {
            let (from, why) = (source.remote.ip(), flaw.label());
            tracing::warn!(count, trunk, %from, why, "requests that do not prove whose they are");
        }
    }
}

/// The gateway stands before the phone system, as a proxy does: 407.
const ROLE: Role = Role::Proxy;
