//! INVITE with Replaces (RFC 3891): who has a leg of an answered call sends another one to take its place.
//!
//! The new leg gets a port and keys of its own, and an answer made of what the other side speaks. The old one is hung up
//! on; the other side goes on with the session that it has, and is told only where it was held or speaks other codecs.

use std::net::IpAddr;

use bytes::Bytes;
use sip_stack::leg::{Leg, State};
use sip_stack::message::Replaces;
use sip_stack::transport::LocalId;

use super::bridge::reason;
use super::media_plan::{MediaRules, MediaSide};
use super::transfer::{MOST_TRANSFERS, count};
use super::{Call, CallLeg, Context, Do, Exchange, Phase, leg_number, port};
use crate::cdr::LegRecord;
use crate::event;
use crate::failure::Cause;
use crate::profile::Profile;
use crate::routing::End;

/// Who comes.
pub struct Newcomer {
    /// Its leg; nothing was sent on it yet.
    pub leg: Leg,
    /// How we appear on it.
    pub profile: Profile,
    /// Whose it is: that of the leg it replaces.
    pub end: End,
    /// The address it comes from.
    pub peer: IpAddr,
    /// What its INVITE says, for the record.
    pub record: LegRecord,
}

impl Call {
    /// Whether this end, which comes by that identity of ours, may take the place of a leg; the status that refuses it
    /// (RFC 3891 §3). A leg of somebody else does not exist for it.
    pub fn may_replace(
        &self,
        at: usize,
        named: &Replaces<'_>,
        end: End,
        local: LocalId,
    ) -> Result<(), u16> {
        let Some(CallLeg { leg, end: owner, .. }) = self.legs.get(at) else { return Err(481) };
        let id = leg.id();
        let same = (&id.call_id[..], &id.local_tag[..], &id.remote_tag[..])
            == (named.call_id, named.to_tag, named.from_tag);
        if !same || *owner != Some(end) || leg.identity().local_id != local {
            return Err(481);
        }
        match leg.state() {
            State::Confirmed => {}
            State::Ending | State::Ended => return Err(603),
            State::Inviting | State::Invited | State::Answered => return Err(481),
        }
        if named.early_only {
            return Err(486);
        }
        if self.phase != Phase::Talking || self.transfers >= MOST_TRANSFERS {
            return Err(603);
        }
        let asked = self.transfer.is_some() || self.referral.is_some();
        let busy = asked || self.exchange != Exchange::Idle;
        if busy || !self.speakers.contains(&Some(at)) { Err(491) } else { Ok(()) }
    }

    /// The number that the next leg will have.
    pub fn next_leg(&self) -> u8 {
        leg_number(self.legs.len())
    }

    /// The newcomer takes the place of leg `at`, which it may. Where there is no port for it, or nothing in its offer that
    /// the other side speaks, everything stays as it was, and it is the owner's to refuse.
    pub fn take_over(
        &mut self,
        at: usize,
        newcomer: Newcomer,
        cx: &mut Context<'_>,
    ) -> Result<(), Cause> {
        let Newcomer { leg, profile, end, peer, record } = newcomer;
        let (side, offer, new) = (self.legs[at].side, leg.remote_offer().cloned(), self.legs.len());
        let described =
            self.describe_to_newcomer(side, (end, peer), profile.media, offer.as_ref(), cx);
        let sdp = match described {
            Ok(sdp) => sdp,
            Err(cause) => {
                cx.ports.give_back(self.media.drop_third(), cx.now);
                count(event::Transfer::Refused, cx);
                return Err(cause);
            }
        };
        cx.out.push(Do::Dialog { tag: leg.local_tag().clone(), leg: leg_number(new) });
        self.legs.push(CallLeg { leg, side, profile, end: Some(end), peer });
        self.transfers += 1;
        self.story.joined(record);
        tracing::info!(call = self.story.id(), "taken over");
        count(event::Transfer::Done, cx);
        if offer.is_none() {
            self.exchange = Exchange::InAck(new);
        }
        self.seat(new, cx);
        self.on_leg(new, cx, |leg, now, out| leg.answer(sdp, &[], now, out));
        self.on_leg(at, cx, |leg, now, out| leg.bye(&reason(Cause::Normal), now, out));
        self.bring_together(side, cx);
        Ok(())
    }

    /// A port for the newcomer on this side, and our answer to its offer; our own offer if it made none.
    fn describe_to_newcomer(
        &mut self,
        side: usize,
        (end, peer): (End, IpAddr),
        rules: MediaRules,
        offer: Option<&Bytes>,
        cx: &mut Context<'_>,
    ) -> Result<Bytes, Cause> {
        let port = cx.ports.beside(self.media.side(side).port, cx.now).ok_or(Cause::NoPorts)?;
        let sources = port::sources(&self.routes, end, peer);
        let address = cx.ports.address(port);
        self.media.begin_third(MediaSide::new(port, address, rules, sources, cx.random));
        let sdp = match offer {
            Some(offer) => self.media.answer_third(1 - side, offer, cx.owned, cx.random)?,
            None => self.media.offer_third(1 - side, cx.random),
        };
        Ok(sdp.into())
    }
}
