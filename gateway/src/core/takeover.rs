//! INVITE with Replaces (RFC 3891): the dialog that it names, and its call.
//!
//! It is found as any dialog is, by our own tag; Call-ID and the peer's tag have to agree, and the INVITE has to come from
//! the end whose leg it is. It needs no permit: the call has one, and stays what it is. A trunk that may not transfer calls
//! (`refer`) may not take them over either.

use std::time::Instant;

use config::Refer;
use sip_stack::endpoint::ServerId;
use sip_stack::leg::{Leg, LegIdentity};
use sip_stack::message::{HeaderId, Message, Replaces};
use sip_stack::transport::Source;

use super::inbound::Entry;
use super::{Core, owner};
use crate::call::{Call, CallKey, Newcomer};
use crate::failure::Cause;
use crate::routing::End;

impl Core {
    /// The leg that an INVITE may replace, or the status that refuses it; none when it wants nothing replaced.
    pub(super) fn replaced(
        &self,
        source: &Source,
        message: &Message,
        entry: &Entry,
    ) -> Option<Result<(CallKey, u8), u16>> {
        let mut values = message.values(HeaderId::Replaces);
        let value = values.next()?;
        if let End::Trunk(trunk) = entry.from
            && self.routes.config().trunks[trunk.0].refer == Refer::Refuse
        {
            return Some(Err(501));
        }
        let named = Replaces::parse(value).filter(|_| values.next().is_none());
        let Some(named) = named else { return Some(Err(400)) };
        let found = self.dialogs.get(named.to_tag).copied();
        let found = found.and_then(|(key, leg)| Some((key, leg, self.slots.call(key)?)));
        let Some((key, leg, call)) = found else { return Some(Err(481)) };
        let may = call.may_replace(usize::from(leg), &named, entry.from, source.local);
        Some(may.map(|()| (key, leg)))
    }

    /// Lets it. Why not, where it cannot be put into the call: the newcomer is not answered yet then.
    pub(super) fn take_over(
        &mut self,
        (key, replaced): (CallKey, u8),
        server: ServerId,
        (source, message): (&Source, &Message),
        (entry, identity): (Entry, LegIdentity),
        now: Instant,
    ) -> Result<(), Cause> {
        let called = entry.called(&self.routes, message).map(|(_, user)| user);
        let record = self.said_by(source, message, &entry, called);
        let Some(next) = self.slots.call(key).map(Call::next_leg) else {
            return Err(Cause::Internal);
        };
        let local_tag = self.endpoint.new_tag();
        let leg = Leg::incoming(server, message, source, identity, local_tag);
        let Entry { from: end, profile, .. } = entry;
        let newcomer = Newcomer { leg, profile, end, peer: source.remote.ip(), record };
        self.endpoint.adopt(server, owner(key, next));
        let mut refused = Err(Cause::Internal);
        self.with_call(key, now, |call, cx| {
            refused = call.take_over(usize::from(replaced), newcomer, cx);
        });
        refused
    }
}
