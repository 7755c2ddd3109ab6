//! Music on hold: what a peer is told and hears while the other side holds the call (RFC 3264 §8.4).
//!
//! A side that has music and speaks G.711 is not told of a hold: to it, the other side goes on to send and receive, so
//! that neither the hold nor the resumption takes a re-INVITE. It hears the music whenever the other side receives
//! nothing (inactive, sendonly, c=0.0.0.0), be it that this would send something of its own. A side without G.711 is
//! told of the hold as it is, and hears nothing.

use std::sync::Arc;

use media_relay::Play;
use media_relay::audio::Law;
use sip_stack::sdp::Direction;

use super::{Description, Format, MediaSide};

impl MediaSide {
    /// The direction of the other side as this peer is to see it; `own` is what this one described.
    pub(super) fn hears(&self, direction: Direction, own: Option<&Description>) -> Direction {
        let music = self.music.is_some() && own.and_then(g711).is_some();
        if music && !direction.receives() { Direction::SendRecv } else { direction }
    }
}

/// What `side` hears in place of `other`, if it may be sent anything.
pub(super) fn play(side: &MediaSide, other: &MediaSide, sends: bool) -> Option<Play> {
    if !sends || !other.agreed().is_some_and(holds) {
        return None;
    }
    let clip = side.music.as_ref().map(Arc::clone)?;
    let (law, payload) = g711(side.agreed()?)?;
    Some(Play { clip, law, payload, looped: true })
}

/// Whether `side` has music for this hold of `other`, and nothing to hear it with.
pub(super) fn is_mute(side: &MediaSide, other: &MediaSide) -> bool {
    let agreed = side.agreed().is_some_and(|agreed| g711(agreed).is_none());
    side.music.is_some() && agreed && other.described().is_some_and(holds)
}

/// Whether a peer that describes itself so receives nothing.
fn holds(described: &Description) -> bool {
    !described.direction.receives()
}

/// The law that a peer likes best, and as which payload type it takes it.
fn g711(described: &Description) -> Option<(Law, u8)> {
    described.formats.iter().find_map(|format| {
        let Format { name, clock: 8000, channels: 1, payload, .. } = format else { return None };
        let law = match name.to_ascii_uppercase().as_str() {
            "PCMA" => Law::A,
            "PCMU" => Law::Mu,
            _ => return None,
        };
        Some((law, *payload))
    })
}
