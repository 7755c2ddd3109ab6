//! One end of a session: what its plan says, and what has been seen of its peer since.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::keys::{Change, Keys};
use super::observe::Observer;
use super::pace::Pace;
use super::path::{Path, usable};
use super::payload::Payloads;
use super::play::Player;
use super::random::Random;
use super::remote::Remote;
use super::report::Reports;
use super::rewrite::Rewriter;
use super::silence::Silence;
use crate::packet::{Header, Ssrc};
use crate::plan::{SidePlan, SideStats};
use crate::ports::Slot;
use crate::quality::{self, Codec};
use crate::state::{ADVANCE, Reach};
use crate::tap;

/// One end of a session.
pub(crate) struct SideState {
    pub(crate) slot: Slot,
    pub(crate) rtp: Path,
    /// Unused while multiplexed, except for what a peer sends there all the same.
    pub(crate) rtcp: Path,
    pub(crate) mux: bool,
    /// Its datagrams are UDPTL.
    pub(super) udptl: bool,
    pub(crate) send: bool,
    pub(crate) receive: bool,
    pub(crate) keys: Keys,
    sources: Vec<IpNet>,
    pub(crate) payloads: Payloads,
    pub(crate) observer: Observer,
    pub(crate) rewriter: Rewriter,
    pub(crate) reports: Reports,
    pub(crate) remote: Remote,
    pub(crate) silence: Silence,
    pub(crate) pace: Pace,
    pub(crate) rtcp_pace: Pace,
    pub(crate) stats: SideStats,
    /// What the peer hears instead of the other side.
    pub(super) player: Option<Box<Player>>,
    /// The source of a plain side that was played something, if its plan gives none.
    pub(super) adopted: Option<Ssrc>,
    /// Who gets a copy of what the peer sends.
    pub(crate) tap: Option<tap::Writer>,
    /// The source that a resumed session keeps, or that one took when nothing was kept.
    pub(super) kept: Option<Kept>,
    /// RTCP sent since the last checkpoint.
    untold_rtcp: u32,
    /// RTCP sent in all, and of that, what is known to be kept.
    pub(super) reported: u64,
    kept_rtcp: u64,
    /// When a checkpoint was kept last, or a source taken of which nothing has to be.
    kept_at: Instant,
    planned: Option<u32>,
    pub(super) random: Random,
}

/// The source of an SRTP side, whatever its plan says: under that key, no other can be known to be
/// unused but one that was drawn just now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// What the plan says; when it says something else one day, that is meant.
    pub(super) planned: Option<u32>,
    pub(super) ssrc: Ssrc,
}

impl SideState {
    pub(crate) fn new(plan: &SidePlan, slot: Slot, random: &mut Random, now: Instant) -> Self {
        let mut this = Self {
            slot,
            rtp: Path::new(SILENCE),
            rtcp: Path::new(RTCP_SILENCE),
            mux: plan.mux,
            udptl: false,
            send: plan.send,
            receive: plan.receive,
            keys: Keys::default(),
            sources: Vec::new(),
            payloads: Payloads::new(&[], &[], &[]),
            observer: Observer::new(),
            rewriter: Rewriter::new(None, random.next_u32() as u16),
            reports: Reports::new(random, now),
            remote: Remote::default(),
            silence: Silence::new(now),
            pace: Pace::new(Pace::RTP, now),
            rtcp_pace: Pace::new(Pace::RTCP, now),
            stats: SideStats::default(),
            player: None,
            adopted: None,
            tap: None,
            kept: None,
            untold_rtcp: 0,
            reported: 0,
            kept_rtcp: 0,
            kept_at: now,
            planned: None,
            random: random.split(),
        };
        this.apply(plan, slot, now);
        this
    }

    /// Takes on a plan, keeping what it does not change.
    pub(crate) fn apply(&mut self, plan: &SidePlan, slot: Slot, now: Instant) {
        if slot != self.slot {
            self.move_to(slot);
        }
        let was_secure = self.keys.is_secure();
        let change = self.keys.apply(plan.security.as_ref(), plan.rtp.filter(usable), now);
        if change == Change::OurKey {
            self.kept = None;
        }
        self.sources.clone_from(&plan.sources);
        if self.keys.is_secure() != was_secure {
            self.rtp.reset();
            self.rtcp.reset();
            let own = self.kept.map(|kept| kept.ssrc).or(self.planned.map(Ssrc));
            let own = own.unwrap_or(self.reports.drawn());
            if !was_secure && self.rewriter.sent().is_some_and(|sent| sent.ssrc != own) {
                // The numbers went on as another source; under a key that is known none may come twice.
                self.reports.draw(Ssrc(self.random.next_u32()));
                self.kept = None;
            }
        }
        self.mux = plan.mux;
        self.send = plan.send;
        self.receive = plan.receive;
        self.payloads = Payloads::new(&plan.payloads, &plan.clocks, &plan.codecs);
        self.set_udptl(plan.udptl, now);
        let talks = plan.receive && plan.send && !plan.udptl;
        self.silence.apply(plan.expect && talks, plan.timeout, now);
        let next = plan.rtp.and_then(|mut rtp| {
            rtp.set_port(rtp.port().checked_add(1)?);
            Some(rtp)
        });
        if self.rtp.signal(plan.rtp, now) {
            // Another peer, or the same elsewhere: what was known of the one before says nothing of it.
            self.silence.begin_again(now);
            self.remote.forget(&self.stats);
            self.stats.far_mos = 0;
        }
        self.rtcp.signal(plan.rtcp.or(next), now);
        self.recheck();
        self.planned = plan.ssrc;
        self.kept = self.kept.filter(|kept| kept.planned == plan.ssrc);
        let drawn = self.keys.is_secure().then_some(self.reports.drawn());
        let kept = self.kept.filter(|_| self.keys.is_secure()).map(|kept| kept.ssrc);
        self.rewriter.set_own(kept.or(plan.ssrc.map(Ssrc)).or(drawn).or(self.adopted));
        self.rewriter.set_reach(if self.keys.is_secure() { ADVANCE.rtp.into() } else { u32::MAX });
        if change == Change::Peer
            && self.rewriter.own().is_some_and(|own| self.keys.has_rolled(own))
        {
            self.begin_own(now);
        }
        self.reports.set_name(plan.cname.as_deref());
        self.set_play(plan.play.as_ref().filter(|_| !plan.udptl), now);
    }

    /// Forgets sources that a plain side no longer allows.
    pub(super) fn recheck(&mut self) {
        if !self.keys.is_secure() {
            self.rtp.recheck(&self.sources);
            self.rtcp.recheck(&self.sources);
        }
    }

    /// Whether a packet from `from` may be looked at, on the RTCP path (`apart`) or the RTP path.
    pub(crate) fn admits(&mut self, apart: bool, from: SocketAddr, now: Instant) -> bool {
        let sources = (!self.keys.is_secure()).then_some(&self.sources[..]);
        let path = if apart { &mut self.rtcp } else { &mut self.rtp };
        path.admits(from, sources, now)
    }

    /// Whether more RTCP may be sent before another checkpoint is kept.
    pub(crate) fn may_report(&self) -> bool {
        self.reported - self.kept_rtcp < ADVANCE.rtcp.into() || !self.keys.is_secure()
    }

    /// RTCP was sent.
    pub(crate) const fn note_report(&mut self) {
        self.untold_rtcp = self.untold_rtcp.saturating_add(1);
        self.reported += 1;
    }

    /// A checkpoint is told.
    pub(crate) const fn told(&mut self) -> Reach {
        self.observer.rolled = false;
        self.untold_rtcp = 0;
        Reach { rtp: self.rewriter.told(), rtcp: self.reported }
    }

    /// A checkpoint is kept, which was told as this.
    pub(crate) fn keep_reach(&mut self, reach: Reach, now: Instant) {
        self.rewriter.keep(reach.rtp);
        self.kept_rtcp = self.kept_rtcp.max(reach.rtcp.min(self.reported));
        self.kept_at = now;
    }

    /// A packet was not sent for want of a checkpoint that is kept. When that lasts, the disk is full or worse: we go on
    /// as a source of which nothing has to be known later, whatever process comes.
    pub(crate) fn want_reach(&mut self, now: Instant) {
        let patient = now.saturating_duration_since(self.kept_at) < PATIENCE;
        if patient || !self.rewriter.is_at_the_end() || !self.keys.is_secure() {
            return;
        }
        self.begin_own(now);
    }

    /// Goes on as another source under the same key, at rollover counter 0.
    fn begin_own(&mut self, now: Instant) {
        if let Some(own) = self.rewriter.own().filter(|own| self.planned != Some(own.0)) {
            self.keys.forget(own);
        }
        let ssrc = Ssrc(self.random.next_u32());
        // Nor does another key, or an older one, bring the former one back.
        self.reports.draw(ssrc);
        self.kept = Some(Kept { planned: self.planned, ssrc });
        self.rewriter.begin_own(ssrc);
        self.kept_rtcp = self.reported;
        self.kept_at = now;
    }

    /// A checkpoint should not wait.
    pub(crate) const fn is_urgent(&self) -> bool {
        self.rewriter.is_urgent() || self.observer.rolled || self.untold_rtcp >= URGENT_RTCP
    }

    /// The path on which RTCP is sent.
    pub(crate) const fn rtcp_path(&self) -> &Path {
        if self.mux { &self.rtp } else { &self.rtcp }
    }

    /// Figures so far.
    pub(crate) fn figures(&self) -> SideStats {
        SideStats {
            lost: self.observer.lost(),
            jitter: self.observer.jitter().unwrap_or(self.stats.jitter),
            jitter_max: self.observer.jitter_max(),
            longest_gap: self.observer.longest_gap(),
            ..self.stats
        }
    }

    /// RTP came that can be passed on, or comfort noise, which says that the peer is there also where nobody agreed
    /// to hear it. Whether that ends a silence.
    pub(crate) fn note_sound(&mut self, header: &Header, len: usize, now: Instant) -> bool {
        let codec = self.payloads.codec(header.payload_type);
        let pauses = codec.pauses(len - header.len);
        if codec.is_speech() {
            self.stats.payload_type = Some(header.payload_type);
        }
        self.silence.note_rtp((codec != Codec::Events).then_some(pauses), now)
    }

    /// Figures so far, with the scores of both directions: of what comes from the peer up to here, and of what it
    /// hears, which `other` has sent.
    pub(crate) fn figures_beside(&self, other: &Self) -> SideStats {
        let mut stats = self.figures();
        let delay = quality::mouth_to_ear(stats.rtt, stats.jitter_max);
        if let Some(spoken) = stats.payload_type {
            let codec = self.payloads.codec(spoken);
            stats.mos = quality::score(codec, stats.lost, stats.received + stats.lost, delay);
        }
        if stats.far_mos == 0 && stats.far_reports > 0 {
            // What was lost before it came here is missing there too.
            let expected = stats.sent + other.observer.lost();
            let theirs = other.stats.payload_type.map(|spoken| other.payloads.codec(spoken));
            let theirs = theirs.unwrap_or_default();
            let delay = quality::mouth_to_ear(stats.rtt, stats.far_jitter);
            stats.far_mos = quality::score(theirs, stats.far_lost, expected, delay);
        }
        stats
    }

    /// Another port of ours means another peer. The owner has opened the old socket again.
    fn move_to(&mut self, slot: Slot) {
        self.slot = slot;
        self.rtp = Path::new(SILENCE);
        self.rtcp = Path::new(RTCP_SILENCE);
        self.observer.forget();
        self.reports.forget();
        self.remote.forget(&self.stats);
    }
}

/// Without any checkpoint kept for longer, a side that may send no more takes another source.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a latched source may be quiet before another one may take over.
const SILENCE: Duration = Duration::from_secs(2);
/// The same for RTCP alone, which comes every few seconds: three of RFC 3550's intervals.
const RTCP_SILENCE: Duration = Duration::from_secs(15);
/// Reports after which a checkpoint should not wait for its time.
const URGENT_RTCP: u32 = 256;
