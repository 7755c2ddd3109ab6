//! What one peer tells about the stream that we send it: loss, jitter and round trip from the blocks of its
//! reports (RFC 3550 §6.4.1), and its VoIP metrics (RFC 3611 §4.7).
//!
//! Figures only: nothing that a peer says of itself changes what is relayed.

use std::time::{Duration, Instant};

use super::observe::ticks;
use crate::packet::{ReportBlock, Ssrc, VoipMetrics};
use crate::plan::SideStats;

/// The sender reports that went to a peer last, by which a round trip is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    /// The middle of their NTP time, and when they were sent.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    /// The stream that the peer's reports are about.
    about: Option<Ssrc>,
    /// What was lost of others before it.
    before: u32,
    next: u8,
    /// A round trip is known by them.
    measured: bool,
}

impl Remote {
    /// A sender report goes to the peer, our own or one relayed under its own time.
    pub(crate) fn note_sent(&mut self, short_ntp: u32, now: Instant) {
        self.sent[usize::from(self.next)] = Some((short_ntp, now));
        self.next = (self.next + 1) % REMEMBERED as u8;
    }

    /// The peer is another one.
    pub(crate) fn forget(&mut self, stats: &SideStats) {
        *self = Self { before: stats.far_lost as u32, ..Self::default() };
    }

    /// The peer's block about our stream, whose clock is in Hz.
    pub(crate) fn heard(
        &mut self,
        block: &ReportBlock,
        clock: u32,
        stats: &mut SideStats,
        now: Instant,
    ) {
        stats.far_reports += 1;
        stats.far_lost = stats.far_lost.max(self.lost(block, stats.far_lost));
        stats.far_jitter = ticks(block.jitter.into(), clock);
        if let Some(trip) = self.round_trip(block, now) {
            self.measured = true;
            note_trip(trip, stats);
        }
    }

    /// The peer's own measurement of our stream. Its round trip counts where we know none.
    pub(crate) fn note_metrics(&self, metrics: &VoipMetrics, stats: &mut SideStats) {
        stats.far_discarded = metrics.discard;
        if let Some(mos) = metrics.mos {
            stats.far_mos = u16::from(mos) * 10;
        }
        let trip = metrics.round_trip.map(|trip| Duration::from_millis(trip.into()));
        if let Some(trip) = trip.filter(|trip| !self.measured && *trip <= LONGEST_TRIP) {
            note_trip(trip, stats);
        }
    }

    /// All that the peer misses. Its figure is that of one stream: with another one it begins again, and the first
    /// that is heard goes on with what is `known`, as it may be of the same stream before a restart of ours.
    fn lost(&mut self, block: &ReportBlock, known: u64) -> u64 {
        let lost = u64::try_from(block.lost).unwrap_or(0);
        match self.about.replace(block.ssrc) {
            Some(ssrc) if ssrc == block.ssrc => {}
            Some(_) => self.before = known as u32,
            None => self.before = self.before.max(known.saturating_sub(lost) as u32),
        }
        u64::from(self.before) + lost
    }

    /// The time since the report that is answered, less what the peer kept it. A peer may round what it kept up by
    /// some milliseconds; beyond that, and beyond any way on earth, it makes no sense.
    fn round_trip(&self, block: &ReportBlock, now: Instant) -> Option<Duration> {
        let known = |(ntp, _): &&(u32, Instant)| *ntp == block.last_sr && block.last_sr != 0;
        let (_, at) = self.sent.iter().flatten().filter(known).max_by_key(|(_, at)| *at)?;
        let kept = u64::from(block.delay_since_last_sr) * 1_000_000_000 / 65_536;
        let kept = Duration::from_nanos(kept);
        let passed = now.saturating_duration_since(*at);
        let sane = kept <= passed + ROUNDING && passed <= kept + LONGEST_TRIP;
        sane.then(|| passed.saturating_sub(kept))
    }
}

fn note_trip(trip: Duration, stats: &mut SideStats) {
    stats.rtt = trip;
    stats.rtt_max = stats.rtt_max.max(trip);
}

/// A peer answers the last one, or the one before when the two cross.
const REMEMBERED: usize = 2;
const ROUNDING: Duration = Duration::from_millis(10);
const LONGEST_TRIP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn start() -> Instant {
        Instant::now()
    }

    fn block(last_sr: u32, millis: u32) -> ReportBlock {
        let delay_since_last_sr = (u64::from(millis) * 65_536 / 1000) as u32;
        let (lost, jitter) = (-3, 80);
        ReportBlock { ssrc: Ssrc(1), lost, jitter, last_sr, delay_since_last_sr, ..<_>::default() }
    }

    /// RFC 3550 §6.4.1: sent at 0, answered at 3.120 s by a peer that kept it for 3 s: 120 ms.
    #[test]
    fn the_round_trip_is_what_the_peer_did_not_keep_it_for() {
        let (mut remote, start, mut stats) = (Remote::default(), start(), SideStats::default());
        let ms = Duration::from_millis;
        remote.note_sent(7, start);
        remote.note_sent(8, start + ms(50));
        remote.heard(&block(7, 3000), 8000, &mut stats, start + ms(3120));
        assert_eq!((stats.rtt, stats.far_lost, stats.far_jitter), (ms(120), 0, ms(10)));
        remote.heard(&block(8, 3000), 16_000, &mut stats, start + ms(3070));
        assert_eq!((stats.rtt, stats.rtt_max, stats.far_jitter), (ms(20), ms(120), ms(5)));
    }

    /// 5 of one stream, 2 of the next; a report that comes late or is negative takes nothing back. After a restart
    /// of ours, the figure of the same stream goes on: 10 in all.
    #[test]
    fn loss_adds_up_over_streams_and_restarts() {
        let (mut remote, start, mut stats) = (Remote::default(), start(), SideStats::default());
        let mut lost = |remote: &mut Remote, ssrc, lost| {
            let block = ReportBlock { ssrc: Ssrc(ssrc), lost, ..<_>::default() };
            remote.heard(&block, 8000, &mut stats, start);
            stats.far_lost
        };
        let told = [(1, 4), (1, 5), (1, 3), (1, -2), (2, 0), (2, 2)];
        let sums = told.map(|(ssrc, n)| lost(&mut remote, ssrc, n));
        assert_eq!(sums, [4, 5, 5, 5, 5, 7]);
        let mut remote = Remote::default();
        assert_eq!([2, 3, 5].map(|n| lost(&mut remote, 2, n)), [7, 8, 10]);
        // Another peer counts what it misses of the same stream from nothing.
        remote.forget(&SideStats { far_lost: 10, ..SideStats::default() });
        assert_eq!([1, 2].map(|n| lost(&mut remote, 2, n)), [11, 12]);
    }

    #[test]
    fn a_peers_own_round_trip_counts_where_none_is_known_and_it_makes_sense() {
        let (mut remote, start, mut stats) = (Remote::default(), start(), SideStats::default());
        let ms = Duration::from_millis;
        let metrics = |trip| VoipMetrics {
            ssrc: Ssrc(1),
            loss: 0,
            discard: 0,
            round_trip: Some(trip),
            mos: None,
        };
        remote.note_metrics(&metrics(u16::MAX), &mut stats);
        assert_eq!(stats.rtt_max, Duration::ZERO);
        remote.note_metrics(&metrics(120), &mut stats);
        assert_eq!(stats.rtt, ms(120));
        remote.note_sent(7, start);
        remote.heard(&block(7, 0), 8000, &mut stats, start + ms(80));
        remote.note_metrics(&metrics(120), &mut stats);
        assert_eq!(stats.rtt, ms(80));
    }

    #[test]
    fn what_makes_no_sense_is_no_round_trip() {
        let (mut remote, start, mut stats) = (Remote::default(), start(), SideStats::default());
        let ms = Duration::from_millis;
        remote.note_sent(0, start);
        remote.note_sent(7, start);
        // Of no report, of one that we never sent, kept for longer than it can have been, an age ago.
        for (block, at) in [(block(0, 0), 5), (block(9, 0), 5), (block(7, 500), 5)] {
            remote.heard(&block, 8000, &mut stats, start + ms(at));
        }
        remote.heard(&block(7, 0), 8000, &mut stats, start + ms(60_000));
        assert_eq!(stats.rtt_max, Duration::ZERO);
        // Rounded up by the peer.
        remote.heard(&block(7, 1000), 8000, &mut stats, start + ms(995));
        assert_eq!(stats.rtt, Duration::ZERO);
        // Only the last few are remembered, and none for another peer.
        for ntp in 10..10 + REMEMBERED as u32 {
            remote.note_sent(ntp, start);
        }
        assert!(remote.round_trip(&block(7, 0), start + ms(1)).is_none());
        assert!(remote.round_trip(&block(10, 0), start + ms(1)).is_some());
        remote.forget(&stats);
        assert!(remote.round_trip(&block(10, 0), start + ms(1)).is_none());
    }
}
