//! What a peer hears instead of the other side: packets of G.711 every 20 ms, on the shard's own wheel.
//!
//! The player is one more source behind the side's [`Rewriter`](super::rewrite::Rewriter), with a run of its own. So what
//! the peer gets stays one stream: source, sequence and SRTP index go on when playing begins and ends, and the timestamps
//! with the time that passed (RFC 3550 §5.1). The first packet after a silence has the marker (RFC 3551 §4.1).
//!
//! Deadlines count from when playing began, so that nothing drifts. After a pause of the thread at most [`CATCH_UP`]
//! packets follow at once; for those that are left out only the timestamp moves on.
//!
//! A plain side whose plan names no source passes on that of the other peer. It keeps that as its own from when it is
//! first played something: the peer's own numbers would be behind those of the music.

use std::sync::Arc;
use std::time::Instant;

use super::Forward;
use super::rewrite::PLAYED;
use super::side::SideState;
use super::wheel::Place;
use crate::audio::{FRAME, FRAME_TIME, RATE};
use crate::packet::{Header, RtpMut, Ssrc};
use crate::plan::Play;

/// The source of what one peer is played.
#[derive(Debug)]
pub(crate) struct Player {
    play: Play,
    /// The sample that comes next; `None` behind the end.
    at: Option<usize>,
    /// When the next packet is due.
    due: Instant,
    /// Its numbers, before they become the side's.
    next: Header,
    run: u32,
    /// Where it stands, once it does.
    place: Option<Place>,
}

impl Player {
    fn new(play: &Play, source: u64, due: Instant) -> Self {
        let next = Header {
            ssrc: Ssrc((source >> 32) as u32),
            timestamp: 0,
            sequence: 0,
            payload_type: play.payload,
            marker: true,
            len: Header::MIN,
        };
        // Another number for each player of a session, as good as certainly.
        Self {
            play: play.clone(),
            at: Some(0),
            due,
            next,
            run: PLAYED | source as u32,
            place: None,
        }
    }

    fn plays(&self, play: &Play) -> bool {
        let Play { clip, law, payload, looped, yields } = &self.play;
        (law, payload, looped, yields) == (&play.law, &play.payload, &play.looped, &play.yields)
            && Arc::ptr_eq(clip, &play.clip)
    }

    /// How many packets are to be sent now.
    fn come(&mut self, now: Instant) -> u32 {
        if self.at.is_none() || now < self.due {
            return 0;
        }
        let late = now.saturating_duration_since(self.due).as_micros() / FRAME_TIME.as_micros();
        let count = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        let skipped = count.saturating_sub(CATCH_UP);
        self.due += FRAME_TIME * count;
        self.next.timestamp = self.next.timestamp.wrapping_add(skipped.wrapping_mul(STEP));
        count - skipped
    }

    /// The header of the next packet, whose payload is written.
    fn write(&mut self, payload: &mut [u8]) -> Option<Header> {
        let Play { clip, law, looped, .. } = &self.play;
        self.at = clip.copy(*law, self.at?, *looped, payload);
        let header = self.next;
        self.next.sequence = header.sequence.wrapping_add(1);
        self.next.timestamp = header.timestamp.wrapping_add(STEP);
        self.next.marker = false;
        Some(header)
    }

    /// A packet is not sent.
    const fn pause(&mut self) {
        self.next.timestamp = self.next.timestamp.wrapping_add(STEP);
        self.next.marker = true;
    }
}

impl SideState {
    /// Takes on what a plan wants to be played.
    pub(super) fn set_play(&mut self, play: Option<&Play>, now: Instant) {
        let Some(play) = play else {
            self.player = None;
            return;
        };
        if self.player.as_ref().is_some_and(|player| player.plays(play)) {
            return;
        }
        let sent = self.rewriter.sent();
        if self.rewriter.own().is_none() {
            self.adopt(sent.map_or(self.reports.drawn(), |sent| sent.ssrc));
        }
        // In step with what was sent, if that was just now.
        let due = sent.map_or(now, |sent| sent.at + FRAME_TIME).max(now);
        self.player = Some(Box::new(Player::new(play, self.random.next(), due)));
    }

    /// A plain side keeps this as its own source from now on.
    pub(super) const fn adopt(&mut self, ssrc: Ssrc) {
        self.adopted = Some(ssrc);
        self.rewriter.set_own(Some(ssrc));
    }

    /// Whether the peer hears something else than the other side.
    pub(crate) fn is_playing(&self) -> bool {
        self.player.as_ref().is_some_and(|player| player.at.is_some())
    }

    /// The other side speaks: what gives way to that is over. Whether nothing is played any more.
    pub(crate) fn yield_to_speech(&mut self) -> bool {
        match &mut self.player {
            Some(player) if player.play.yields => {
                player.at = None;
                true
            }
            Some(player) => player.at.is_none(),
            None => true,
        }
    }

    /// When the first packet is due, as long as nobody sees to it.
    pub(crate) fn play_due(&self) -> Option<Instant> {
        self.player.as_ref().filter(|player| player.place.is_none()).map(|player| player.due)
    }

    /// From now on its packets are asked for at that place.
    pub(crate) fn play_at(&mut self, place: Place) {
        if let Some(player) = &mut self.player {
            player.place = Some(place);
        }
    }

    /// Whether anything is still to be asked for at that place.
    pub(crate) fn plays_at(&self, place: Place) -> bool {
        let here = |player: &Player| player.at.is_some() && player.place == Some(place);
        self.player.as_deref().is_some_and(here)
    }

    /// How many packets are to be sent now.
    pub(crate) fn packets_due(&mut self, now: Instant) -> u32 {
        self.player.as_mut().map_or(0, |player| player.come(now))
    }

    /// Writes the next packet, if it can be sent.
    pub(crate) fn play(&mut self, buf: &mut [u8], now: Instant) -> Option<Forward> {
        let player = self.player.as_mut()?;
        let Some(to) = self.rtp.destination().filter(|_| self.send) else {
            player.pause();
            return None;
        };
        let packet = buf.get_mut(..PACKET)?;
        let header = player.write(&mut packet[Header::MIN..])?;
        let Some(new) = self.rewriter.rewrite(&header, player.run, RATE, now) else {
            player.next.marker = true;
            self.want_reach(now);
            return None;
        };
        packet[0] = 2 << 6;
        let mut fields = RtpMut::new(packet)?;
        fields.set_payload_type(header.payload_type);
        fields.set_marker(header.marker);
        fields.set_ssrc(new.ssrc);
        fields.set_sequence(new.sequence);
        fields.set_timestamp(new.timestamp);
        let len = self.keys.seal_rtp(buf, PACKET).ok()?;
        self.stats.sent += 1;
        self.stats.sent_bytes += PACKET as u64;
        self.stats.played += 1;
        self.reports.octets = self.reports.octets.wrapping_add(FRAME as u32);
        Some(Forward { slot: self.slot, rtcp: false, to, len })
    }
}

/// Packets that may follow one another at once after a pause.
pub(super) const CATCH_UP: u32 = 3;
/// From the timestamp of one packet to the next one's.
const STEP: u32 = FRAME as u32;
/// A packet before it is sealed.
const PACKET: usize = Header::MIN + FRAME;
