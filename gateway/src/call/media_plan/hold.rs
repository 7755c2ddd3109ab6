//! What a peer hears in place of the other side: music on hold, and ringback.
//!
//! Music on hold: what a peer is told and hears while the other side holds the call (RFC 3264 §8.4).
//!
//! A side that has music, speaks G.711 and was told that the other side sends and receives, is not told of a hold: to it,
//! the other side goes on to do so, and neither the hold nor the resumption takes a re-INVITE. A call that began on hold,
//! or was held before there was music, is told everything. It hears the music whenever the other side holds: it receives
//! nothing (inactive, sendonly, c=0.0.0.0), be it that this would send something of its own, and not only because it was
//! shown nobody to hear. A side without G.711 is told of the hold as it is, and hears nothing.

use std::sync::Arc;

use media_relay::Play;
use media_relay::audio::Law;
use sip_stack::sdp::Direction;

use super::{Description, Format, MediaSide};

impl MediaSide {
    /// The direction of the other side, which describes itself so, as this peer is to see it.
    pub(super) fn hears(&self, other: &Self, described: &Description) -> Direction {
        self.hears_if(self.g711().is_some(), other, described)
    }

    /// The same, where it is known whether G.711 is spoken with it.
    pub(super) fn hears_if(
        &self,
        speaks: bool,
        other: &Self,
        described: &Description,
    ) -> Direction {
        let shown = self.local().is_some_and(|told| told.shown == Direction::SendRecv);
        let music = self.music.is_some() && speaks && shown;
        if music && other.holds(described) { Direction::SendRecv } else { described.direction }
    }

    /// Whether the peer holds, if it describes itself so: it receives nothing, and gives less than what it was shown
    /// asks of it. Who was shown nobody to hear or to talk to only obeys (RFC 3264 §6.1).
    pub(super) fn holds(&self, described: &Description) -> bool {
        let direction = described.direction;
        let told = self.before.as_ref().or(self.local());
        let shown = told.map_or(Direction::SendRecv, |told| self.held(told.shown));
        !direction.receives() && (shown.sends() || (shown.receives() && !direction.sends()))
    }

    /// The law that the peer likes best of what both have named, and as which payload type it takes it.
    fn g711(&self) -> Option<(Law, u8)> {
        let named = &self.local()?.formats;
        let both = self.agreed()?.formats.iter().filter(|f| named.iter().any(|n| n.is_same(f)));
        both.filter_map(law).next()
    }
}

/// The ringback that `side` hears, if it may be sent anything.
pub(super) fn ringback(side: &MediaSide, sends: bool) -> Option<Play> {
    let (clip, yields) = side.ringback.clone().filter(|_| sends)?;
    let (law, payload) = side.g711()?;
    Some(Play { clip, law, payload, looped: true, yields })
}

/// What `side` hears in place of `other`, if it may be sent anything.
pub(super) fn play(side: &MediaSide, other: &MediaSide, sends: bool) -> Option<Play> {
    if !sends || !other.agreed().is_some_and(|agreed| other.holds(agreed)) {
        return None;
    }
    // What the peer was told of, it does not hear.
    side.local().filter(|told| told.shown == Direction::SendRecv)?;
    let clip = side.music.as_ref().map(Arc::clone)?;
    let (law, payload) = side.g711()?;
    Some(Play { clip, law, payload, looped: true, yields: false })
}

/// Whether `side` has music for this hold of `other`, and nothing to hear it with.
pub(super) fn is_mute(side: &MediaSide, other: &MediaSide) -> bool {
    let agreed = side.agreed().is_some_and(|agreed| !agreed.is_fax()) && side.g711().is_none();
    side.music.is_some()
        && agreed
        && other.described().is_some_and(|described| other.holds(described))
}

/// The first G.711 of a list.
pub(super) fn g711(formats: &[Format]) -> Option<(Law, u8)> {
    formats.iter().find_map(law)
}

/// Whether this is G.711.
pub(super) fn is_g711(format: &Format) -> bool {
    law(format).is_some()
}

fn law(format: &Format) -> Option<(Law, u8)> {
    let Format { name, clock: 8000, channels: 1, payload, .. } = format else { return None };
    let law = match name.to_ascii_uppercase().as_str() {
        "PCMA" => Law::A,
        "PCMU" => Law::Mu,
        _ => return None,
    };
    Some((law, *payload))
}
