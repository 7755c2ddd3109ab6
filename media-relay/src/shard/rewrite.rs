//! What one peer gets from us as RTP: one source with one run of sequence numbers, however often
//! the source behind it changes (RFC 3550 §5.1, §7.1 as a translator).
//!
//! A new run of the source continues one after the highest number sent. Since the
//! [`observe`](super::observe) verdicts let no number of a run pass twice, and nothing from before
//! the first packet sent of a run passes here, no outgoing number ever comes twice, and with it no
//! SRTP index.
//!
//! After a restart the numbers go on beyond all that can have been sent: what is sent never gets
//! further than a fixed number of packets beyond the last checkpoint that is known to be kept.

use std::time::{Duration, Instant};

use crate::packet::{Header, Ssrc};

/// The outgoing stream of one side.
#[derive(Clone, Debug)]
pub(crate) struct Rewriter {
    /// `None`: the source's own numbers pass as they are.
    own: Option<Ssrc>,
    /// The first sequence number of all; below 2^15, so that both ends agree on rollover counter 0
    /// even if the first packets are lost (RFC 3711 §3.3.1).
    first: u16,
    sequence_offset: u16,
    timestamp_offset: u32,
    source: Option<Source>,
    sent: Option<Sent>,
    /// How far the numbers have grown since the last checkpoint.
    untold: u32,
    /// How far they have grown in all, and of that, what is known to be kept.
    grown: u64,
    kept: u64,
    /// How far they may grow beyond what is kept.
    reach: u32,
    /// A packet was not sent for that.
    at_the_end: bool,
    /// They went through zero since then.
    rolled: bool,
}

/// What is being sent.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: Ssrc,
    run: u32,
    /// How far its numbers have grown since its first packet sent.
    grown: u32,
}

/// The newest packet sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) clock: u32,
    pub(crate) at: Instant,
}

/// New numbers for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
}

impl Rewriter {
    /// `own` is the SSRC of everything sent; `first` is cut to 15 bits.
    pub(crate) const fn new(own: Option<Ssrc>, first: u16) -> Self {
        Self {
            own,
            first: first & 0x7fff,
            sequence_offset: 0,
            timestamp_offset: 0,
            source: None,
            sent: None,
            untold: 0,
            grown: 0,
            kept: 0,
            reach: u32::MAX,
            at_the_end: false,
            rolled: false,
        }
    }

    /// Goes on behind a packet that was sent by another process; `reach` as in
    /// [`Self::set_reach`]. Nothing is sent within it until a checkpoint is kept.
    pub(crate) const fn resume(&mut self, sent: Sent) {
        self.sent = Some(sent);
        self.untold = self.reach;
        self.grown = self.reach as u64;
        self.kept = 0;
    }

    /// How far the numbers may grow beyond the last checkpoint kept; packets beyond are not sent.
    pub(crate) const fn set_reach(&mut self, reach: u32) {
        self.reach = reach;
    }

    /// A checkpoint is told: how far the numbers have grown in all.
    pub(crate) const fn told(&mut self) -> u64 {
        self.untold = 0;
        self.rolled = false;
        self.grown
    }

    /// A checkpoint is kept, which was told when they had grown so far.
    pub(crate) fn keep(&mut self, grown: u64) {
        self.kept = self.kept.max(grown.min(self.grown));
        self.at_the_end = false;
    }

    /// Whether a packet was not sent since what is kept lies too far behind.
    pub(crate) const fn is_at_the_end(&self) -> bool {
        self.at_the_end
    }

    /// Begins anew under a source that was never used, of which nothing has to be kept.
    pub(crate) const fn begin_own(&mut self, own: Ssrc) {
        self.own = Some(own);
        self.source = None;
        self.kept = self.grown;
        self.at_the_end = false;
        if let Some(sent) = &mut self.sent {
            // As at first: below 2^15.
            sent.sequence &= 0x3fff;
        }
    }

    /// A checkpoint should not wait.
    pub(crate) const fn is_urgent(&self) -> bool {
        self.untold >= URGENT || self.rolled
    }

    /// Another SSRC from now on; the numbers go on.
    pub(crate) const fn set_own(&mut self, own: Option<Ssrc>) {
        self.own = own;
    }

    pub(crate) const fn own(&self) -> Option<Ssrc> {
        self.own
    }

    /// Numbers for a packet to be sent, in the run that the observer of its source counts. `None`:
    /// it is older than the first one sent of this run, and its place is taken.
    pub(crate) fn rewrite(
        &mut self,
        header: &Header,
        run: u32,
        clock: u32,
        now: Instant,
    ) -> Option<Rewritten> {
        let known = self.source.filter(|source| source.run == run && self.is_near(header));
        let source = known.unwrap_or_else(|| self.begin(header, run, now));
        let rewritten = Rewritten {
            ssrc: self.own.unwrap_or(header.ssrc),
            sequence: header.sequence.wrapping_add(self.sequence_offset),
            timestamp: header.timestamp.wrapping_add(self.timestamp_offset),
        };
        let Rewritten { ssrc, sequence, timestamp } = rewritten;
        let ahead = match self.sent {
            Some(sent) if sent.ssrc == ssrc && known.is_some() => {
                sequence.wrapping_sub(sent.sequence).cast_signed()
            }
            Some(_) | None => 1,
        };
        if ahead > 0 {
            let step = u32::from(ahead.unsigned_abs());
            let unkept = (self.grown - self.kept).min(self.reach.into());
            if u64::from(step) > u64::from(self.reach) - unkept {
                self.at_the_end = true;
                // What is not sent leaves no gap, or that would grow until it looked like the past.
                self.source = None;
                return None;
            }
            self.untold = self.untold.saturating_add(step);
            self.grown = self.grown.saturating_add(step.into());
            self.rolled |= self.sent.is_some_and(|sent| sequence < sent.sequence);
            let grown = source.grown.saturating_add(step);
            self.source = Some(Source { grown, ..source });
            self.sent = Some(Sent { ssrc, sequence, timestamp, clock, at: now });
        } else if u32::from(ahead.unsigned_abs()) >= source.grown {
            return None;
        }
        Some(rewritten)
    }

    /// The newest packet sent.
    pub(crate) const fn sent(&self) -> Option<Sent> {
        self.sent
    }

    /// The other side's source whose packets are being sent; none while that is what we play.
    pub(crate) fn source(&self) -> Option<Ssrc> {
        self.source.filter(|source| source.run < PLAYED).map(|source| source.ssrc)
    }

    /// A timestamp of the source as the peer sees it.
    pub(crate) const fn timestamp(&self, source: u32) -> u32 {
        source.wrapping_add(self.timestamp_offset)
    }

    /// What the source would call an extended sequence number that the peer reports.
    pub(crate) const fn source_highest(&self, reported: u32) -> u32 {
        let sequence = (reported as u16).wrapping_sub(self.sequence_offset);
        (reported & 0xffff_0000) | sequence as u32
    }

    /// Whether a packet of the same run comes soon after the newest one sent. Where a direction was
    /// closed for long, it does not, and the numbers go on without the gap: it may be any number of
    /// rollovers.
    fn is_near(&self, header: &Header) -> bool {
        self.sent.is_none_or(|sent| {
            let sequence = header.sequence.wrapping_add(self.sequence_offset);
            let ahead = sequence.wrapping_sub(sent.sequence).cast_signed();
            (-LATE..MAX_DROPOUT).contains(&ahead)
        })
    }

    fn begin(&mut self, header: &Header, run: u32, now: Instant) -> Source {
        self.renumber(header, now);
        let source = Source { ssrc: header.ssrc, run, grown: 0 };
        self.source = Some(source);
        source
    }

    fn renumber(&mut self, header: &Header, now: Instant) {
        if self.own.is_none() {
            self.sequence_offset = 0;
            self.timestamp_offset = 0;
            return;
        }
        let Some(sent) = self.sent else {
            self.sequence_offset = self.first.wrapping_sub(header.sequence);
            return;
        };
        let sequence = sent.sequence.wrapping_add(1);
        self.sequence_offset = sequence.wrapping_sub(header.sequence);
        let timestamp = sent.timestamp.wrapping_add(sent.units_until(now).max(1));
        self.timestamp_offset = timestamp.wrapping_sub(header.timestamp);
    }
}

impl Sent {
    /// The RTP time that corresponds to `now`.
    pub(crate) fn timestamp_at(&self, now: Instant) -> u32 {
        self.timestamp.wrapping_add(self.units_until(now))
    }

    fn units_until(&self, now: Instant) -> u32 {
        units(now.saturating_duration_since(self.at), self.clock)
    }
}

/// A time in units of an RTP clock, modulo 2^32. Clocks are at most 1 MHz, so nothing overflows
/// within a century; wider arithmetic costs 30 ns.
pub(super) fn units(time: Duration, clock: u32) -> u32 {
    let clock = u64::from(clock);
    let part = u64::from(time.subsec_nanos()) * clock / 1_000_000_000;
    time.as_secs().wrapping_mul(clock).wrapping_add(part) as u32
}

/// Runs of what we play ourselves count from here; those of a peer never get there.
pub(super) const PLAYED: u32 = 1 << 31;
/// Any packet that is not too late has a number within this of the newest one's (see
/// [`observe`](super::observe)).
const LATE: i16 = 128;
/// Between two packets of a run.
const MAX_DROPOUT: i16 = 3000;
/// Packets after which a checkpoint should not wait for its time.
const URGENT: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ssrc = Ssrc(0xabcd);

    #[test]
    fn without_an_own_source_all_passes_as_it_is() {
        let mut rewriter = Rewriter::new(None, 77);
        let now = now();
        for (run, ssrc, sequence, timestamp) in [(1, 1, 5, 50), (1, 1, 6, 60), (2, 2, 1000, 9)] {
            let expected = Rewritten { ssrc: Ssrc(ssrc), sequence, timestamp };
            let header = header(ssrc, sequence, timestamp);
            assert_eq!(rewriter.rewrite(&header, run, 8000, now), Some(expected));
            assert_eq!(rewriter.sent().map(|sent| sent.ssrc), Some(Ssrc(ssrc)));
        }
    }

    #[test]
    fn the_first_number_is_ours_and_order_is_kept() {
        let mut rewriter = Rewriter::new(Some(OWN), 0xffff);
        let now = now();
        let mut send =
            |sequence| rewriter.rewrite(&header(1, sequence, 160), 1, 8000, now).unwrap();
        assert_eq!(send(65000), Rewritten { ssrc: OWN, sequence: 0x7fff, timestamp: 160 });
        assert_eq!(send(65003).sequence, 0x8002);
        assert_eq!(send(65001).sequence, 0x8000);
        assert_eq!(rewriter.sent().unwrap().sequence, 0x8002);
    }

    #[test]
    fn another_run_goes_on_where_the_last_one_stopped() {
        let mut rewriter = Rewriter::new(Some(OWN), 100);
        let now = now();
        rewriter.rewrite(&header(1, 500, 8000), 1, 8000, now);
        rewriter.rewrite(&header(1, 502, 8320), 1, 8000, now);
        let later = now + Duration::from_millis(500);
        let next = rewriter.rewrite(&header(2, 9, 77), 2, 8000, later);
        assert_eq!(next, Some(Rewritten { ssrc: OWN, sequence: 103, timestamp: 8320 + 4000 }));
        let next = rewriter.rewrite(&header(2, 10, 77 + 160), 2, 8000, later).unwrap();
        assert_eq!((next.sequence, next.timestamp), (104, 8320 + 4160));
        assert_eq!(rewriter.source(), Some(Ssrc(2)));
    }

    #[test]
    fn a_jump_of_the_same_source_goes_on_too_and_time_never_stands_still() {
        let mut rewriter = Rewriter::new(Some(OWN), 0);
        let now = now();
        rewriter.rewrite(&header(1, 10, 1000), 1, 8000, now);
        let next = rewriter.rewrite(&header(1, 40000, 5), 2, 8000, now).unwrap();
        assert_eq!((next.sequence, next.timestamp), (1, 1001));
    }

    #[test]
    fn nothing_older_than_the_first_sent_of_a_run_takes_a_number_twice() {
        let mut rewriter = Rewriter::new(Some(OWN), 100);
        let now = now();
        let mut send = |run, sequence| {
            let rewritten = rewriter.rewrite(&header(1, sequence, 0), run, 8000, now);
            rewritten.map(|rewritten| rewritten.sequence)
        };
        assert_eq!(send(1, 10), Some(100));
        // The run began unsent, while the direction was closed.
        assert_eq!(send(2, 5000), Some(101));
        assert_eq!(send(2, 4999), None);
        assert_eq!(send(2, 5002), Some(103));
        assert_eq!(send(2, 5001), Some(102));
        assert_eq!(send(2, 4998), None);
    }

    /// Packets were not sent for so long that their numbers came round.
    #[test]
    fn a_run_goes_on_after_any_pause_in_sending() {
        for gap in [3_001_u32, 20_000, 32_768, 40_000, 65_536, 100_000] {
            for own in [Some(OWN), None] {
                let mut rewriter = Rewriter::new(own, 100);
                let now = now();
                for number in 0..1000 {
                    rewriter.rewrite(&header(1, number, 0), 1, 8000, now).unwrap();
                }
                let sent = rewriter.sent().unwrap().sequence;
                for number in 0..100 {
                    let sequence = (1000 + gap + number) as u16;
                    let out = rewriter.rewrite(&header(1, sequence, 0), 1, 8000, now).unwrap();
                    let expected = own.map_or(sequence, |_| sent + 1 + number as u16);
                    assert_eq!(out.sequence, expected, "after {gap}");
                }
            }
        }
    }

    #[test]
    fn a_jump_back_of_a_source_that_passes_as_it_is_passes_too() {
        let mut rewriter = Rewriter::new(None, 0);
        let now = now();
        for (run, sequence) in [(1, 20_000), (1, 20_001), (2, 10), (2, 11), (2, 9)] {
            let out = rewriter.rewrite(&header(1, sequence, 0), run, 8000, now);
            assert_eq!(out.map(|out| out.sequence), (sequence != 9).then_some(sequence));
        }
    }

    /// Further than a restart would jump nothing is sent until somebody knows of it.
    #[test]
    fn nothing_is_sent_beyond_the_reach_until_it_is_kept() {
        let mut rewriter = Rewriter::new(Some(OWN), 100);
        rewriter.set_reach(1000);
        let now = now();
        let sent = |rewriter: &mut Rewriter, range: std::ops::Range<u32>| {
            let send = |number: &u32| {
                rewriter.rewrite(&header(1, *number as u16, 0), 1, 8000, now).is_some()
            };
            range.filter(send).count()
        };
        assert_eq!(sent(&mut rewriter, 0..200), 200);
        assert!(!rewriter.is_urgent());
        assert_eq!(sent(&mut rewriter, 200..100_000), 800);
        assert!(rewriter.is_urgent() && rewriter.is_at_the_end());
        let told = rewriter.told();
        assert!(!rewriter.is_urgent() && told == 1000);
        assert_eq!(sent(&mut rewriter, 100_000..110_000), 0, "it may be lost on the way");
        rewriter.keep(told);
        assert!(!rewriter.is_at_the_end());
        assert_eq!(sent(&mut rewriter, 110_000..120_000), 1000);
        assert_eq!(rewriter.sent().unwrap().sequence, 100 + 1999);
        rewriter.keep(1400);
        assert_eq!(sent(&mut rewriter, 120_000..130_000), 400, "an older one than the newest told");
        rewriter.keep(1000);
        assert_eq!(sent(&mut rewriter, 130_000..140_000), 0, "and a late one takes nothing back");
        rewriter.begin_own(Ssrc(9));
        assert_eq!(sent(&mut rewriter, 140_000..150_000), 1000, "of a new source nobody knows");
        assert_eq!(rewriter.sent().unwrap().ssrc, Ssrc(9));
    }

    #[test]
    fn numbers_wrap() {
        let mut rewriter = Rewriter::new(Some(OWN), 0x7fff);
        let now = now();
        let mut last = 0x7ffe_u16;
        for number in 0..200_000_u32 {
            let header = header(number / 5000, (number * 7) as u16, number);
            // Every run begins anywhere; within a run numbers grow by seven.
            let out = rewriter.rewrite(&header, number / 5000, 8000, now).unwrap().sequence;
            assert_eq!(out, last.wrapping_add(if number % 5000 == 0 { 1 } else { 7 }));
            last = out;
        }
    }

    #[test]
    fn reports_are_told_in_the_source_s_numbers() {
        let mut rewriter = Rewriter::new(Some(OWN), 100);
        let now = now();
        rewriter.rewrite(&header(1, 500, 8000), 1, 8000, now);
        assert_eq!(rewriter.source_highest(0x0001_0064), 0x0001_01f4);
        assert_eq!(rewriter.timestamp(5), 5);
        let sent = rewriter.sent().unwrap();
        assert_eq!(sent.timestamp_at(now + Duration::from_secs(2)), 8000 + 16000);
    }

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header { ssrc: Ssrc(ssrc), timestamp, sequence, payload_type: 8, marker: false, len: 12 }
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn now() -> Instant {
        Instant::now()
    }
}
