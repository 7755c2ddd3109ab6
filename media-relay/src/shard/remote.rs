//! What one peer tells about the stream that we send it: loss, jitter and round trip from the blocks of its
//! reports (RFC 3550 §6.4.1), and its VoIP metrics (RFC 3611 §4.7).
//!
//! Figures only: nothing that a peer says of itself changes what is relayed.

use std::time::{Duration, Instant};

use super::observe::ticks;
use crate::packet::{ReportBlock, VoipMetrics};
use crate::plan::SideStats;

/// The sender reports that went to a peer last, by which a round trip is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    /// The middle of their NTP time, and when they were sent.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
    /// A round trip is known by them.
    measured: bool,
}

impl Remote {
    /// A sender report goes to the peer, our own or one relayed under its own time.
    pub(crate) fn note_sent(&mut self, short_ntp: u32, now: Instant) {
        self.sent[self.next % REMEMBERED] = Some((short_ntp, now));
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// The peer is another one.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
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
        stats.far_lost = stats.far_lost.max(u64::try_from(block.lost).unwrap_or(0));
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
        if let Some(trip) = metrics.round_trip.filter(|_| !self.measured) {
            note_trip(Duration::from_millis(trip.into()), stats);
        }
    }

    /// The time since the report that is answered, less what the peer kept it. A peer may round what it kept up by
    /// some milliseconds; beyond that, and beyond any way on earth, it makes no sense.
    fn round_trip(&self, block: &ReportBlock, now: Instant) -> Option<Duration> {
        let known = |(ntp, _): &&(u32, Instant)| *ntp == block.last_sr && block.last_sr != 0;
        let (_, at) = self.sent.iter().flatten().find(known)?;
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
const REMEMBERED: usize = 4;
const ROUNDING: Duration = Duration::from_millis(10);
const LONGEST_TRIP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Ssrc;

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
        remote.forget();
        assert!(remote.round_trip(&block(10, 0), start + ms(1)).is_none());
    }
}
