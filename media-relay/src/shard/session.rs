//! One session: the way of a packet from one peer to the other.
//!
//! Source filter → unprotect → latch → observe → direction → rewrite → protect. Everything after
//! "latch" is known to come from the peer; nothing before it changes any state but a counter.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Forward;
use super::checkpoint::{Due, News};
use super::keys::{Opened, Standing};
use super::observe::Verdict;
use super::random::Random;
use super::refusal::Refusal;
use super::report::{self, Epoch};
use super::side::SideState;
use super::silence::TOGETHER;
use crate::packet::{Header, Rtp, RtpMut};
use crate::plan::{Plan, SessionId, Side, SideStats, Sound};
use crate::ports::Slot;
use crate::quality::Codec;
use crate::state::Reach;

/// One session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) sides: [SideState; 2],
    /// Under which its timer stands.
    pub(crate) deadline: Instant,
    /// A latch changed: connections and the timer have to be looked at.
    pub(crate) attention: bool,
    /// Latches that have not been told yet.
    pub(crate) latched: [bool; 2],
    /// Whether the peers are heard, as it was told last.
    sounds: [Sound; 2],
    /// Stands in the list of sessions that have something to tell.
    pub(crate) listed: bool,
    /// Since the last checkpoint.
    pub(crate) news: News,
    /// How it stands with its next one.
    pub(crate) due: Due,
    /// A checkpoint was told before.
    pub(crate) told: bool,
}

impl Session {
    pub(crate) fn new(plan: &Plan, slots: [Slot; 2], random: &mut Random, now: Instant) -> Self {
        let [a, b] = &plan.sides;
        let sides =
            [SideState::new(a, slots[0], random, now), SideState::new(b, slots[1], random, now)];
        Self {
            id: plan.session,
            sides,
            deadline: now,
            attention: false,
            latched: [false; 2],
            sounds: [Sound::Heard; 2],
            listed: false,
            news: News::None,
            due: Due::Quiet,
            told: false,
        }
    }

    /// Takes on another plan, keeping what it does not change.
    pub(crate) fn apply(&mut self, plan: &Plan, slots: [Slot; 2], now: Instant) {
        for ((side, plan), slot) in self.sides.iter_mut().zip(&plan.sides).zip(slots) {
            side.apply(plan, slot, now);
        }
    }

    /// Relays `buf[..len]`, an RTP packet from the peer of `side`.
    pub(crate) fn handle_rtp(
        &mut self,
        side: Side,
        from: SocketAddr,
        buf: &mut [u8],
        len: usize,
        now: Instant,
    ) -> Result<Forward, Refusal> {
        let (this, other) = split(&mut self.sides, side);
        if !this.admits(false, from, now) {
            return Err(Refusal::Foreign);
        }
        let received = buf.get_mut(..len).ok_or(Refusal::Malformed)?;
        let Opened { len, standing } = this.keys.open_rtp(received, now)?;
        let header = header(&buf[..len]).ok_or(Refusal::Malformed)?;
        if standing == Standing::Late && !this.observer.has_gap_for(&header) {
            return Err(Refusal::Dropped);
        }
        self.news = self.news.max(News::Some);
        if standing == Standing::Current && this.rtp.heard(from, now) {
            self.latched[side.index()] = true;
            self.attention = true;
            self.news = News::Urgent;
        }
        let clock = this.payloads.clock(header.payload_type);
        match this.observer.observe(&header, clock, now) {
            Verdict::First | Verdict::Next => {}
            Verdict::Late => this.stats.reordered += 1,
            Verdict::Restart => this.stats.restarts += 1,
            Verdict::Duplicate => return Err(Refusal::Duplicate),
            Verdict::Stale | Verdict::Probation => return Err(Refusal::Dropped),
        }
        this.stats.received += 1;
        this.stats.received_bytes += len as u64;
        if !this.pace.admits(now) {
            return Err(Refusal::Dropped);
        }
        if let Some(tap) = &mut this.tap {
            tap.copy(&header, &buf[..len], now);
        }
        let payload_type = this.payloads.map(header.payload_type);
        if payload_type.is_some() || this.payloads.codec(header.payload_type) == Codec::ComfortNoise
        {
            self.attention |= this.note_sound(&header, len, now);
        }
        let payload_type = payload_type.ok_or(Refusal::Unlisted)?;
        if !this.receive || !other.send || other.udptl {
            return Err(Refusal::Held);
        }
        let speech = this.payloads.codec(header.payload_type).is_speech();
        if other.is_playing() && !(speech && other.yield_to_speech()) {
            return Err(Refusal::Held);
        }
        let to = other.rtp.destination().ok_or(Refusal::Held)?;
        let run = this.observer.run();
        let Some(new) = other.rewriter.rewrite(&header, run, clock, now) else {
            other.want_reach(now);
            return Err(Refusal::Dropped);
        };
        let mut packet = RtpMut::new(&mut buf[..len]).ok_or(Refusal::Malformed)?;
        packet.set_payload_type(payload_type);
        packet.set_ssrc(new.ssrc);
        packet.set_sequence(new.sequence);
        packet.set_timestamp(new.timestamp);
        let sealed = other.keys.seal_rtp(buf, len)?;
        if other.rewriter.is_urgent() || this.observer.rolled {
            self.news = News::Urgent;
        }
        this.stats.relayed += 1;
        other.stats.sent += 1;
        other.stats.sent_bytes += len as u64;
        other.reports.octets = other.reports.octets.wrapping_add((len - header.len) as u32);
        Ok(Forward { slot: other.slot, rtcp: false, to, len: sealed })
    }

    /// Relays the reports in `buf[..len]`, an RTCP packet from the peer of `side` that came on its
    /// RTCP socket or, multiplexed, on its RTP socket.
    #[allow(clippy::too_many_arguments, reason = "a packet and where it came from")]
    pub(crate) fn handle_rtcp(
        &mut self,
        side: Side,
        apart: bool,
        from: SocketAddr,
        buf: &mut [u8],
        len: usize,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Forward, Refusal> {
        let (this, other) = split(&mut self.sides, side);
        if !this.admits(apart, from, now) {
            return Err(Refusal::Foreign);
        }
        let received = buf.get_mut(..len).ok_or(Refusal::Malformed)?;
        let Opened { len, standing } = this.keys.open_rtcp(received, now)?;
        if standing == Standing::Late {
            return Err(Refusal::Dropped);
        }
        let relayable = report::read(this, other, &buf[..len], now).ok_or(Refusal::Malformed)?;
        self.news = self.news.max(News::Some);
        if standing != Standing::Current {
            // What is under way draws no latch.
        } else if apart {
            if this.rtcp.heard(from, now) {
                self.news = News::Urgent;
            }
        } else if this.rtp.heard(from, now) {
            self.latched[side.index()] = true;
            self.attention = true;
            self.news = News::Urgent;
        }
        this.stats.received_rtcp += 1;
        self.attention |= this.silence.note_rtcp(now);
        if !this.rtcp_pace.admits(now) {
            return Err(Refusal::Dropped);
        }
        let relayable = relayable.ok_or(Refusal::Dropped)?;
        if other.udptl {
            return Err(Refusal::Held);
        }
        let to = other.rtcp_path().destination().ok_or(Refusal::Held)?;
        let len = report::relay(other, &relayable, buf, epoch, now).ok_or(Refusal::Dropped)?;
        let sent = send_rtcp(other, to, buf, len);
        if other.is_urgent() {
            self.news = News::Urgent;
        }
        sent
    }

    /// Makes a report of our own for the peer of `side`.
    pub(crate) fn report(
        &mut self,
        side: Side,
        buf: &mut [u8],
        epoch: Epoch,
        now: Instant,
    ) -> Option<Forward> {
        let (this, _) = split(&mut self.sides, side);
        if this.udptl {
            return None;
        }
        this.keys.expire(now);
        let to = this.rtcp_path().destination()?;
        let len = report::own(this, buf, epoch, now)?;
        self.news = self.news.max(News::Some);
        send_rtcp(this, to, buf, len).ok()
    }

    /// Makes a packet of what the peer of `side` is played.
    pub(crate) fn play(&mut self, side: Side, buf: &mut [u8], now: Instant) -> Option<Forward> {
        let (this, _) = split(&mut self.sides, side);
        let forward = this.play(buf, now)?;
        let news = if this.is_urgent() { News::Urgent } else { News::Some };
        self.news = self.news.max(news);
        Some(forward)
    }

    /// A checkpoint is kept.
    pub(crate) fn kept(&mut self, reach: &[Reach; 2], now: Instant) {
        for (side, reach) in self.sides.iter_mut().zip(reach) {
            side.keep_reach(*reach, now);
        }
    }

    /// When its timer has to ring next, if nothing happens before.
    pub(crate) fn next_deadline(&self, now: Instant) -> Instant {
        let [a, b] = &self.sides;
        let latches = [a.rtp.deadline(now), b.rtp.deadline(now)].into_iter().flatten();
        let sounds = [a.silence.deadline(now), b.silence.deadline(now)].into_iter().flatten();
        let reports = [a.reports.due(), b.reports.due()];
        latches.chain(sounds).chain(reports).fold(reports[0], Instant::min)
    }

    pub(crate) fn figures(&self) -> [SideStats; 2] {
        let [a, b] = &self.sides;
        [a.figures_beside(b), b.figures_beside(a)]
    }

    /// Looks whether the peers are heard. Two that fall silent within a second fall silent together.
    pub(crate) fn look(&mut self, now: Instant) {
        let lead = match self.sides.iter().any(|side| side.silence.is_due(now)) {
            true => TOGETHER,
            false => Duration::ZERO,
        };
        for side in &mut self.sides {
            side.silence.look(&mut side.stats, lead, now);
        }
        let speaks = self.sides.each_ref().map(|side| side.silence.speaks());
        for (side, other) in self.sides.iter_mut().zip([speaks[1], speaks[0]]) {
            side.silence.compare(other, &mut side.stats);
        }
    }

    /// The thread was held up for long: what came meanwhile is still to be read, and nobody is silent by that.
    pub(crate) fn forgive(&mut self, now: Instant) {
        for side in &mut self.sides {
            side.silence.forgive(now);
        }
    }

    /// Whether there is something to tell.
    pub(crate) fn has_news(&self) -> bool {
        self.latched != [false; 2] || self.sounds != self.heard()
    }

    /// Whether the peers are heard, if that is not what was told last.
    pub(crate) fn new_sounds(&mut self) -> Option<[Sound; 2]> {
        let heard = self.heard();
        (std::mem::replace(&mut self.sounds, heard) != heard).then_some(heard)
    }

    fn heard(&self) -> [Sound; 2] {
        self.sides.each_ref().map(|side| side.silence.sound())
    }
}

pub(super) fn split(sides: &mut [SideState; 2], side: Side) -> (&mut SideState, &mut SideState) {
    let [a, b] = sides;
    match side {
        Side::A => (a, b),
        Side::B => (b, a),
    }
}

/// The header of an RTP packet that is whole, padding included.
fn header(packet: &[u8]) -> Option<Header> {
    Rtp::parse(packet)?;
    Header::peek(packet)
}

fn send_rtcp(
    side: &mut SideState,
    to: SocketAddr,
    buf: &mut [u8],
    len: usize,
) -> Result<Forward, Refusal> {
    if !side.may_report() {
        return Err(Refusal::Dropped);
    }
    let len = side.keys.seal_rtcp(buf, len)?;
    side.note_report();
    side.stats.sent_rtcp += 1;
    Ok(Forward { slot: side.slot, rtcp: !side.mux, to, len })
}
