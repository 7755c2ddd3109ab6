//! Calls to trunks that have registered with us: they are asked for by their contact, and reached where that was registered
//! from.

use bytes::Bytes;
use config::{Host, RequestUser};
use sip_stack::locate::Address;
use sip_stack::transport::FlowId;

use super::invitation::Parties;
use super::{Call, Context};
use crate::failure::Cause;
use crate::profile::{Profile, trunk};
use crate::registrar;
use crate::routing::Hop;

/// A contact that a call goes to.
pub(super) struct Reached {
    uri: Bytes,
    user: RequestUser,
    /// The connection on which it has registered.
    pub(super) flow: Option<FlowId>,
}

impl Call {
    /// The hop being tried has registered nothing with us: nobody is asked.
    pub(super) fn not_registered(&mut self, cx: &mut Context<'_>) {
        if let Some(hop) = self.attempts.tried_hop() {
            let name = self.routes.place_name(hop.place()).to_string();
            self.story.attempt(name, cx.wall);
            self.story.attempt_result(0);
        }
        self.attempts.last = Cause::NotRegistered;
    }

    /// The contact that is reached at that address, where the hop is one that registers with us.
    pub(super) fn reached(
        &self,
        hop: Hop,
        address: &Address,
        cx: &Context<'_>,
    ) -> Result<Option<Reached>, Cause> {
        let Hop::Peer { trunk, peer } = hop else { return Ok(None) };
        let trunk = &self.routes.config().trunks[trunk.0];
        let Some(rules) = &trunk.registrar else { return Ok(None) };
        if trunk.peers[peer].host != Host::Registered {
            return Ok(None);
        }
        let contact = (cx.contact)(&trunk.name, address);
        let (uri, flow) = contact.ok_or(Cause::NotRegistered)?;
        Ok(Some(Reached { uri, user: rules.request_user, flow }))
    }

    /// The trunk that a leg leads to, where it is reached as it has registered with us.
    pub fn registered(&self, leg: usize) -> Option<&str> {
        let slot = self.legs.get(leg)?;
        self.routes.is_registered_at(slot.end, slot.peer)
    }
}

impl Reached {
    /// Asks for the contact.
    pub(super) fn address(&self, parties: &mut Parties, profile: &Profile) {
        parties.request_uri = match self.user {
            RequestUser::Number => trunk::contact_uri(profile, &parties.dialled, &self.uri),
            RequestUser::Contact => self.uri.clone(),
        };
        parties.to = profile.to(&parties.dialled, &registrar::host(&self.uri));
    }
}
