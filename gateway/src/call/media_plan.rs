//! The one place where SDP becomes media streams: what a peer described, what we describe to it, and the relay's plan.
//!
//! RFC 3264 (offer/answer), RFC 8866 (SDP), RFC 4568 (SDES keys), RFC 5761 (rtcp-mux). Each side of a call has its own
//! session: our address, port, keys and origin stay for the whole call; codecs are matched by name, never by payload
//! type number. Only the first usable audio stream is relayed; other streams are refused with port 0. In place of audio there
//! may be a fax between two sides that take one (see `fax.rs`).

mod codecs;
mod description;
mod fax;
mod hold;
mod owned;
mod side;
mod snapshot;

use std::sync::Arc;

use media_relay::audio::Clip;
use media_relay::{Codec, Plan, Port, SessionId, SidePlan};

pub use codecs::Codecs;
pub use description::{Description, Format};
pub use fax::Fax;
pub use owned::Owned;
pub use side::MediaSide;
pub use snapshot::SideSnapshot;

use sip_stack::sdp::Direction;

use self::description::StreamLine;
use crate::failure::Cause;
use crate::random::Random;

/// What offers and answers to one peer must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaRules {
    /// Whether media are encrypted.
    pub secure: Secure,
    /// The suites of our offers, in order. Offers of the peer are taken with any suite that the relay knows.
    pub offered_suites: &'static [media_relay::srtp::Suite],
    /// Whether our offers name rtcp-mux. An offer of the peer that has it is always answered with it.
    pub offer_mux: bool,
    /// How a held stream is described.
    pub holds: Holds,
    /// In which codecs.
    pub codecs: Codecs,
    /// Whether T.38 passes, where media are in clear.
    pub t38: bool,
}

/// Whether media are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// RTP/SAVP with SDES keys, and nothing else.
    Required,
    /// RTP/AVP only.
    Off,
}

/// How a held stream is described to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Anything less than sendrecv becomes inactive: the peer knows no other hold.
    InactiveOnly,
    /// sendonly, recvonly and inactive as the other side has them.
    AsOffered,
}

/// The media of one call: the caller's side and the callee's.
#[derive(Debug)]
pub struct CallMedia {
    session: SessionId,
    sides: [MediaSide; 2],
    /// Of the target of a transfer, until it answers.
    third: Option<MediaSide>,
}

impl CallMedia {
    /// A call's media with both ports reserved.
    pub const fn new(session: SessionId, caller: MediaSide, callee: MediaSide) -> Self {
        Self { session, sides: [caller, callee], third: None }
    }

    /// The relay's name for it.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// One side.
    pub const fn side(&self, at: usize) -> &MediaSide {
        &self.sides[at]
    }

    /// Takes another port and other rules for one side, before anything was agreed with it.
    pub fn replace(&mut self, at: usize, side: MediaSide) -> MediaSide {
        std::mem::replace(&mut self.sides[at], side)
    }

    /// The side of who may take another one's place.
    pub const fn third(&self) -> Option<&MediaSide> {
        self.third.as_ref()
    }

    /// Somebody is to be asked to take a side's place, with this port. That of who was to be asked before, which the relay
    /// has never heard of.
    pub fn begin_third(&mut self, side: MediaSide) -> Option<Port> {
        self.third.replace(side).map(|third| third.port)
    }

    /// Our offer to the third: what side `from` has agreed to as it stands, open both ways. Whoever takes a place talks.
    pub fn offer_third(&mut self, from: usize, random: &mut Random) -> Vec<u8> {
        let Some(third) = &mut self.third else { return Vec::new() };
        third.offer_of(self.sides[from].talk().as_deref(), Direction::SendRecv, random)
    }

    /// Our answer to the offer by which the third comes, of what side `from` has agreed to, open both ways.
    pub fn answer_third(
        &mut self,
        from: usize,
        offer: &[u8],
        owned: &Owned,
        random: &mut Random,
    ) -> Result<Vec<u8>, Cause> {
        let third = self.third.as_mut().ok_or(Cause::Internal)?;
        third.take_offer(offer, owned)?;
        third.answer_of(self.sides[from].talk().as_deref(), random)
    }

    /// The third has answered our offer.
    pub fn take_third(&mut self, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        self.third.as_mut().ok_or(Cause::Internal)?.take_answer(sdp, owned)
    }

    /// The third takes the place of side `at`.
    pub fn put_third(&mut self, at: usize) {
        if let Some(third) = self.third.take() {
            self.sides[at] = third;
        }
    }

    /// Nobody takes anybody's place. The port that was meant for it, as in [`CallMedia::begin_third`].
    pub fn drop_third(&mut self) -> Option<Port> {
        self.third.take().map(|third| third.port)
    }

    /// The peer of side `at` has left: nothing goes there, nothing is taken from there, until another one has its place.
    pub fn vacate(&mut self, at: usize) {
        self.sides[at].vacate();
    }

    /// Takes an offer of side `at`. What was agreed before stays until it is answered.
    pub fn take_offer(&mut self, at: usize, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        self.sides[at].take_offer(sdp, owned)
    }

    /// Takes the answer of side `at` to our offer.
    pub fn take_answer(&mut self, at: usize, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        self.sides[at].take_answer(sdp, owned)
    }

    /// Takes the answer of side `at` to a session refresh, where it differs from what was agreed.
    pub fn take_refreshed(&mut self, at: usize, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        self.sides[at].take_refreshed(sdp, owned)
    }

    /// Takes an early answer of side `at` to our offer, on the early dialog with this To tag. Several dialogs may stand at
    /// the same time. Where encrypted, each is heard under its own key, from wherever its packets are authentic, until one of
    /// them is answered. In clear an address is all that tells them apart: the one described last is sent to and latched,
    /// as any other description of the peer; packets of the others are taken until that one speaks, if they come from
    /// within the trunk's media networks.
    pub fn take_early(
        &mut self,
        at: usize,
        tag: &[u8],
        sdp: &[u8],
        owned: &Owned,
    ) -> Result<(), Cause> {
        self.sides[at].take_early(tag, sdp, owned)
    }

    /// Our offer to side `at`, made of what the other side described; of our own choice while that is nothing.
    pub fn offer(&mut self, at: usize, random: &mut Random) -> Vec<u8> {
        let (side, other) = self.pair(at);
        side.offer(other, random)
    }

    /// Whether there is anything to offer to side `at`: a codec of the other side in which it is spoken to.
    pub fn can_offer(&self, at: usize) -> bool {
        self.sides[at].can_offer(self.sides[1 - at].described())
    }

    /// Whether there is anything to offer to the third, of what side `from` has agreed to.
    pub fn can_offer_third(&self, from: usize) -> bool {
        let agreed = self.sides[from].talk();
        self.third.as_ref().is_some_and(|third| third.can_offer(agreed.as_deref()))
    }

    /// Our offer to side `at`, which asks for one in mid call.
    pub fn offer_asked_for(&mut self, at: usize, random: &mut Random) -> Vec<u8> {
        let (side, other) = self.pair(at);
        side.offer_asked_for(other, random)
    }

    /// Our answer to the offer of side `at`, made of what the other side agreed to.
    pub fn answer(&mut self, at: usize, random: &mut Random) -> Result<Vec<u8>, Cause> {
        let (side, other) = self.pair(at);
        side.answer(other, random)
    }

    /// Whether what side `at` has just offered asks the other side for anything new: other codecs or another
    /// direction, unless it hears music in place of a hold. A new address, port or key concerns nobody else, since media are
    /// anchored here.
    pub fn concerns_other(&self, at: usize) -> bool {
        self.sides[at].changed(&self.sides[1 - at])
    }

    /// Takes our own offer to side `at` back, because it was refused: what was agreed before stays.
    pub fn withdraw_offer(&mut self, at: usize) {
        self.sides[at].withdraw();
    }

    /// Takes our own offer to side `at` back, though it was answered, because the answer cannot be taken: what was agreed
    /// before stays, but for the m= lines. Whether the peer believes in another kind of stream now, or in none.
    pub fn reject_answer(&mut self, at: usize, answer: &[u8]) -> bool {
        let side = &mut self.sides[at];
        let strays = side.switches() || description::is_empty(answer);
        side.lines_before = None;
        side.withdraw();
        strays
    }

    /// Whether one side speaks and the other one faxes.
    pub fn is_apart(&self) -> bool {
        let [a, b] = self.sides.each_ref().map(|side| side.agreed().map(Description::is_fax));
        matches!((a, b), (Some(a), Some(b)) if a != b)
    }

    /// Whether the other side was told just what side `at` has agreed to: no codec too many, the same direction, as far
    /// as it wants that itself.
    pub fn agrees(&self, at: usize) -> bool {
        let (side, other) = (&self.sides[at], &self.sides[1 - at]);
        let (Some(agreed), Some(told)) = (side.agreed(), other.local()) else { return true };
        if agreed.is_fax() || told.fax.is_some() {
            return agreed.is_fax() && told.fax.is_some() && other.was_told(side, agreed);
        }
        let known = |format: &Format| agreed.formats.iter().any(|f| f.is_same(format));
        told.formats.iter().filter(|format| format.is_speech()).all(known)
            && other.was_told(side, agreed)
    }

    /// Whether side `at` wants nothing but speech both ways, and the other side was told of less.
    pub fn wants_more(&self, at: usize) -> bool {
        let whole = |direction| direction == Direction::SendRecv;
        let wants = self.sides[at].agreed().is_some_and(|agreed| whole(agreed.direction));
        wants && self.sides[1 - at].local().is_some_and(|told| !whole(told.direction))
    }

    /// Forgets an offer of side `at` that was refused.
    pub fn drop_offer(&mut self, at: usize) {
        self.sides[at].drop_offer();
    }

    /// The encoding that side `at` sends with this payload type, as in `rtpmap`.
    pub fn encoding(&self, at: usize, payload: u8) -> Option<String> {
        let side = self.side(at);
        let told = side.local().into_iter().flat_map(|local| &local.formats);
        let mut known = told.chain(side.agreed().into_iter().flat_map(|d| &d.formats));
        let format = known.find(|format| format.payload == payload)?;
        Some(format!("{}/{}", format.name, format.clock))
    }

    /// What the relay has to do now.
    pub fn plan(&self) -> Plan {
        let [a, b] = &self.sides;
        Plan { session: self.session, sides: [side_plan(a, b), side_plan(b, a)] }
    }

    /// What each side hears while the other one holds.
    pub fn set_music(&mut self, music: [Option<Arc<Clip>>; 2]) {
        for (side, music) in self.sides.iter_mut().zip(music) {
            side.music = music;
        }
    }

    /// Narrows the open offer of side `at` to G.711, if it has any: whether it has.
    pub fn speak_g711(&mut self, at: usize) -> bool {
        self.sides[at].speak_g711()
    }

    /// From now on side `at` hears this in place of the other side, in G.711 as it was agreed; if it `yields`, until the other
    /// side speaks.
    pub fn begin_ringback(&mut self, at: usize, clip: Arc<Clip>, yields: bool) {
        self.sides[at].ringback = Some((clip, yields));
    }

    /// Whether side `at` hears ringback.
    pub const fn rings(&self, at: usize) -> bool {
        self.sides[at].ringback.is_some()
    }

    /// That is over.
    pub fn end_ringback(&mut self, at: usize) {
        self.sides[at].ringback = None;
    }

    /// Whether anybody hears music.
    pub fn plays(&self) -> bool {
        self.plan().sides.iter().any(|side| side.play.is_some())
    }

    /// Whether side `at` is held, and has music that it cannot hear for want of G.711.
    pub fn lacks_music(&self, at: usize) -> bool {
        hold::is_mute(&self.sides[at], &self.sides[1 - at])
    }

    fn pair(&mut self, at: usize) -> (&mut MediaSide, &MediaSide) {
        let [a, b] = &mut self.sides;
        if at == 0 { (a, b) } else { (b, a) }
    }
}

/// One side of the relay's plan. What this peer sends carries the payload types we told it; what the other peer gets
/// carries those it told us.
fn side_plan(side: &MediaSide, other: &MediaSide) -> SidePlan {
    let mut plan = SidePlan::new(side.port);
    plan.sources.clone_from(&side.sources);
    plan.security = side.security();
    if side.rules().secure == Secure::Required && plan.security.is_none() {
        // Before there are keys nothing can be known to be this peer's.
        plan.sources.clear();
    }
    let there = side.is_safe() && !side.vacant;
    let (Some(ours), Some(theirs), true) = (side.local(), side.agreed(), there) else {
        plan.send = false;
        plan.receive = false;
        return plan;
    };
    plan.rtp = theirs.rtp;
    plan.rtcp = theirs.rtcp;
    plan.mux = side.mux();
    plan.send = ours.direction.sends() && theirs.direction.receives();
    plan.receive = ours.direction.receives() && theirs.direction.sends();
    if side.is_fax() || other.is_fax() {
        plan.udptl = side.is_fax();
        // On the way from one to the other nothing crosses.
        let both = side.is_fax() == other.is_fax();
        (plan.send, plan.receive) = (plan.send && both, plan.receive && both);
        return plan;
    }
    plan.play = hold::ringback(side, plan.send).or_else(|| hold::play(side, other, plan.send));
    let wanted = other.agreed().map_or(&[][..], |description| &description.formats);
    for format in &ours.formats {
        if let Some(as_wanted) = wanted.iter().find(|f| f.is_same(format)) {
            plan.payloads.push((format.payload, as_wanted.payload));
        }
        plan.clocks.push((format.payload, format.clock));
        plan.codecs.push((format.payload, Codec::of_encoding(&format.name)));
    }
    // A peer that sends with the numbers of its own answer is understood as well.
    for format in &theirs.formats {
        let taken = plan.payloads.iter().any(|(from, _)| *from == format.payload);
        if let Some(as_wanted) = wanted.iter().find(|f| f.is_same(format))
            && !taken
        {
            plan.payloads.push((format.payload, as_wanted.payload));
            plan.clocks.push((format.payload, format.clock));
            plan.codecs.push((format.payload, Codec::of_encoding(&format.name)));
        }
    }
    plan
}

#[cfg(test)]
mod tests;
