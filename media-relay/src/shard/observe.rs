//! What the RTP of one peer looks like by its sequence numbers and arrival times (RFC 3550 A.1,
//! A.3, A.8).
//!
//! The verdict on each packet is also what keeps our own sending safe: only `First`, `Next`, `Late`
//! and `Restart` are passed on, and within one run of a source no sequence number is ever passed
//! on twice, so that an SRTP index is never used twice (see [`rewrite`](super::rewrite)).
//!
//! | packet | verdict |
//! |---|---|
//! | of the first source ever | First |
//! | of the current source, ahead by less than 3000 | Next |
//! | behind by less than 128, not seen, not before the run began | Late |
//! | the same, but seen | Duplicate |
//! | behind by less than 128, before the run began | Stale |
//! | any other distance | Probation; the one that follows it exactly is a Restart |
//! | of another source | Restart |
//! | of the source before, not newer than its last, soon after the change | Stale |

use std::time::{Duration, Instant};

use super::rewrite::units;
use crate::packet::{Header, Ssrc};
use crate::plan::SideStats;

/// What a packet is in the sequence of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The very first.
    First,
    /// In order, perhaps after a gap.
    Next,
    /// Out of order, not seen before.
    Late,
    /// The first of a new run: another source, or the same one after a jump.
    Restart,
    /// Seen before.
    Duplicate,
    /// Behind the beginning of the run, or of a source that was replaced.
    Stale,
    /// A jump that may be an accident.
    Probation,
}

/// The receiving end of one peer's RTP.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    run: Option<Run>,
    runs: u32,
    previous: Option<Previous>,
    /// Lost in runs that are over.
    lost_before: u64,
    longest_gap: Duration,
    /// Of runs that are over, and of other processes.
    highest_jitter: Duration,
    /// The numbers went through zero since the last checkpoint.
    pub(crate) rolled: bool,
}

/// One source without a break.
#[derive(Clone, Debug)]
struct Run {
    ssrc: Ssrc,
    /// Extended by the number of wraps; begins at the first sequence number.
    first: u64,
    highest: u64,
    /// Bit n: `highest - n` was seen.
    seen: u128,
    received: u64,
    /// Where a jump would go on.
    probation: Option<u16>,
    began: Instant,
    heard: Instant,
    timing: Option<Timing>,
    /// In 1/16 timestamp units.
    jitter: u32,
    jitter_max: u32,
    clock: u32,
    /// At the last report (RFC 3550 A.3).
    expected_prior: u64,
    received_prior: u64,
}

#[derive(Clone, Copy, Debug)]
struct Timing {
    timestamp: u32,
    transit: u32,
}

#[derive(Clone, Copy, Debug)]
struct Previous {
    ssrc: Ssrc,
    highest: u16,
    until: Instant,
}

/// What a report says of a source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reception {
    pub(crate) ssrc: Ssrc,
    pub(crate) fraction_lost: u8,
    pub(crate) lost: i32,
    pub(crate) highest: u32,
    pub(crate) jitter: u32,
}

impl Observer {
    pub(crate) const fn new() -> Self {
        Self {
            run: None,
            runs: 0,
            previous: None,
            lost_before: 0,
            longest_gap: Duration::ZERO,
            highest_jitter: Duration::ZERO,
            rolled: false,
        }
    }

    /// Goes on with the figures of another process.
    pub(crate) const fn resume(&mut self, stats: &SideStats) {
        self.lost_before = stats.lost;
        self.longest_gap = stats.longest_gap;
        self.highest_jitter = stats.jitter_max;
    }

    /// Takes in one packet that is known to be the peer's. `clock` is in Hz.
    pub(crate) fn observe(&mut self, header: &Header, clock: u32, now: Instant) -> Verdict {
        let Some(run) = &mut self.run else {
            self.run = Some(Run::begin(header, clock, now));
            self.runs = self.runs.wrapping_add(1);
            return Verdict::First;
        };
        if header.ssrc != run.ssrc {
            if self.previous.is_some_and(|previous| previous.covers(header, now)) {
                return Verdict::Stale;
            }
            self.begin_again(header, clock, now);
            return Verdict::Restart;
        }
        let newest = run.highest as u16;
        let verdict = run.place(header.sequence);
        self.rolled |= verdict == Verdict::Next && header.sequence < newest;
        match verdict {
            Verdict::First | Verdict::Next | Verdict::Late => {
                run.received += 1;
                let gap = now.saturating_duration_since(run.heard);
                self.longest_gap = self.longest_gap.max(gap);
                run.heard = now;
                if clock != run.clock {
                    self.highest_jitter = self.highest_jitter.max(run.highest_jitter());
                    run.tick_by(clock);
                }
                if gap > PAUSE {
                    run.timing = None;
                }
                run.time(header, clock, now);
            }
            Verdict::Restart => self.begin_again(header, clock, now),
            Verdict::Duplicate | Verdict::Stale | Verdict::Probation => {}
        }
        verdict
    }

    /// Whether it is missing in the run that is heard, so that it would be [`Verdict::Late`].
    pub(crate) fn has_gap_for(&self, header: &Header) -> bool {
        self.run.as_ref().is_some_and(|run| {
            let behind = u64::from((run.highest as u16).wrapping_sub(header.sequence));
            header.ssrc == run.ssrc
                && (1..u64::from(u128::BITS)).contains(&behind)
                && behind <= run.highest - run.first
                && run.seen & (1 << behind) == 0
        })
    }

    /// The next packet begins a new run whatever it is: the peer itself was replaced.
    pub(crate) fn forget(&mut self) {
        if let Some(run) = self.run.take() {
            self.lost_before += run.lost();
            self.highest_jitter = self.highest_jitter.max(run.highest_jitter());
        }
        self.previous = None;
    }

    /// It need not have been heard until now.
    pub(crate) const fn pass_over(&mut self, now: Instant) {
        if let Some(run) = &mut self.run {
            run.heard = now;
            run.timing = None;
        }
    }

    /// Whether this is the source, and was to be heard so short a time ago.
    pub(crate) fn is_near(&self, ssrc: Ssrc, now: Instant, time: Duration) -> bool {
        let near = |run: &Run| now.saturating_duration_since(run.heard) < time;
        self.run.as_ref().is_some_and(|run| run.ssrc == ssrc && near(run))
    }

    /// Whether this is the source, and has not paused for so long, packets that are asked about here included.
    pub(crate) fn lingers(&mut self, ssrc: Ssrc, now: Instant, time: Duration) -> bool {
        let lingers = self.is_near(ssrc, now, time);
        if let Some(run) = self.run.as_mut().filter(|_| lingers) {
            run.heard = now;
        }
        lingers
    }

    /// The source heard now.
    pub(crate) fn ssrc(&self) -> Option<Ssrc> {
        self.run.as_ref().map(|run| run.ssrc)
    }

    /// The run heard now; another number for each.
    pub(crate) const fn run(&self) -> u32 {
        self.runs
    }

    /// Packets missing so far, over all runs.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_before + self.run.as_ref().map_or(0, Run::lost)
    }

    pub(crate) const fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    /// None without a run.
    pub(crate) fn jitter(&self) -> Option<Duration> {
        self.run.as_ref().map(|run| ticks(u64::from(run.jitter), run.clock) / 16)
    }

    /// The highest value that it has had.
    pub(crate) fn jitter_max(&self) -> Duration {
        let now = self.run.as_ref().map_or(Duration::ZERO, Run::highest_jitter);
        self.highest_jitter.max(now)
    }

    /// The figures for a report; begins the next interval.
    pub(crate) fn report(&mut self) -> Option<Reception> {
        self.run.as_mut().map(Run::report)
    }

    fn begin_again(&mut self, header: &Header, clock: u32, now: Instant) {
        let Some(run) = self.run.replace(Run::begin(header, clock, now)) else { return };
        self.runs = self.runs.wrapping_add(1);
        self.lost_before += run.lost();
        self.highest_jitter = self.highest_jitter.max(run.highest_jitter());
        self.longest_gap = self.longest_gap.max(now.saturating_duration_since(run.heard));
        let until = now + PREVIOUS;
        self.previous = (run.ssrc != header.ssrc).then_some(Previous {
            ssrc: run.ssrc,
            highest: run.highest as u16,
            until,
        });
    }
}

impl Previous {
    fn covers(&self, header: &Header, now: Instant) -> bool {
        let ahead = header.sequence.wrapping_sub(self.highest).cast_signed();
        header.ssrc == self.ssrc && now < self.until && ahead <= 0
    }
}

impl Run {
    fn begin(header: &Header, clock: u32, now: Instant) -> Self {
        let first = u64::from(header.sequence);
        let mut run = Self {
            ssrc: header.ssrc,
            first,
            highest: first,
            seen: 1,
            received: 1,
            probation: None,
            began: now,
            heard: now,
            timing: None,
            jitter: 0,
            jitter_max: 0,
            clock,
            expected_prior: 0,
            received_prior: 0,
        };
        run.time(header, clock, now);
        run
    }

    fn place(&mut self, sequence: u16) -> Verdict {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.highest += u64::from(ahead);
            self.seen = self.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.probation = None;
            return Verdict::Next;
        }
        let behind = u64::from(ahead.wrapping_neg());
        if behind < u64::from(u128::BITS) {
            let bit = 1 << behind;
            if self.seen & bit != 0 {
                return Verdict::Duplicate;
            }
            if behind > self.highest - self.first {
                return Verdict::Stale;
            }
            self.seen |= bit;
            return Verdict::Late;
        }
        if self.probation == Some(sequence) {
            return Verdict::Restart;
        }
        self.probation = Some(sequence.wrapping_add(1));
        Verdict::Probation
    }

    /// RFC 3550 A.8. Packets that repeat a timestamp (telephone events, fragments) say nothing
    /// about the network and are left out.
    fn time(&mut self, header: &Header, clock: u32, now: Instant) {
        self.clock = clock;
        let arrival = units(now.saturating_duration_since(self.began), clock);
        let transit = arrival.wrapping_sub(header.timestamp);
        let Some(last) = self.timing else {
            self.timing = Some(Timing { timestamp: header.timestamp, transit });
            return;
        };
        if last.timestamp == header.timestamp {
            return;
        }
        self.timing = Some(Timing { timestamp: header.timestamp, transit });
        let distance = transit.wrapping_sub(last.transit).cast_signed().unsigned_abs();
        // A distance beyond this is a new timestamp base, not the network.
        if distance > clock.saturating_mul(10) {
            return;
        }
        let jitter = i64::from(self.jitter);
        let jitter = jitter + i64::from(distance) - ((jitter + 8) >> 4);
        self.jitter = u32::try_from(jitter).unwrap_or(0);
        self.jitter_max = self.jitter_max.max(self.jitter);
    }

    /// Goes on in units of another clock. The next distance is the first in them.
    fn tick_by(&mut self, clock: u32) {
        let scaled = u64::from(self.jitter) * u64::from(clock) / u64::from(self.clock.max(1));
        self.jitter = u32::try_from(scaled).unwrap_or(u32::MAX);
        (self.jitter_max, self.clock, self.timing) = (self.jitter, clock, None);
    }

    fn highest_jitter(&self) -> Duration {
        ticks(u64::from(self.jitter_max), self.clock) / 16
    }

    const fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    const fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    fn report(&mut self) -> Reception {
        let expected = self.expected() - self.expected_prior;
        let received = self.received - self.received_prior;
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = expected.saturating_sub(received);
        let fraction_lost = (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8;
        Reception {
            ssrc: self.ssrc,
            fraction_lost,
            lost: i32::try_from(self.lost()).unwrap_or(i32::MAX),
            highest: self.highest as u32,
            jitter: self.jitter >> 4,
        }
    }
}

/// A time in units of an RTP clock.
pub(super) fn ticks(units: u64, clock: u32) -> Duration {
    Duration::from_nanos(units.saturating_mul(1_000_000_000) / u64::from(clock.max(1)))
}

/// RFC 3550 A.1.
const MAX_DROPOUT: u16 = 3000;
/// After which the distance to the packet before says how long it was, not how the network is: senders may stop their
/// timestamps while they are held or muted.
const PAUSE: Duration = Duration::from_secs(1);
/// How long late packets of a source that was replaced are told from its return.
const PREVIOUS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_row_of_the_table() {
        use Verdict::*;
        type Row = (&'static str, &'static [(u32, u16)], Verdict);
        let rows: [Row; 17] = [
            ("first", &[(1, 100)], First),
            ("next", &[(1, 100), (1, 101)], Next),
            ("over the wrap", &[(1, 65535), (1, 0)], Next),
            ("gap", &[(1, 100), (1, 3099)], Next),
            ("late", &[(1, 100), (1, 102), (1, 101)], Late),
            ("late over the wrap", &[(1, 65534), (1, 0), (1, 65535)], Late),
            ("duplicate", &[(1, 100), (1, 100)], Duplicate),
            ("duplicate of a late one", &[(1, 1), (1, 3), (1, 2), (1, 2)], Duplicate),
            ("before the run", &[(1, 100), (1, 99)], Stale),
            ("jump ahead", &[(1, 100), (1, 3100)], Probation),
            ("jump back", &[(1, 3000), (1, 2800)], Probation),
            ("jump goes on", &[(1, 100), (1, 9000), (1, 9001)], Restart),
            ("jump was an accident", &[(1, 100), (1, 9000), (1, 101), (1, 9001)], Probation),
            ("two accidents", &[(1, 100), (1, 9000), (1, 20000)], Probation),
            ("another source", &[(1, 100), (2, 7)], Restart),
            ("late of the one before", &[(1, 100), (2, 7), (1, 100)], Stale),
            ("the one before goes on", &[(1, 100), (2, 7), (1, 101)], Restart),
        ];
        for (name, packets, expected) in rows {
            let mut observer = Observer::new();
            let verdicts: Vec<_> = packets
                .iter()
                .map(|(ssrc, sequence)| observer.observe(&header(*ssrc, *sequence, 0), 8000, now()))
                .collect();
            assert_eq!(verdicts.last(), Some(&expected), "{name}: {verdicts:?}");
        }
    }

    #[test]
    fn the_source_before_may_return_later() {
        let (mut observer, start) = (Observer::new(), now());
        observer.observe(&header(1, 100, 0), 8000, start);
        observer.observe(&header(2, 7, 0), 8000, start);
        let later = start + PREVIOUS;
        assert_eq!(observer.observe(&header(1, 50, 0), 8000, later), Verdict::Restart);
    }

    #[test]
    fn loss_is_counted_over_all_runs() {
        let mut observer = Observer::new();
        for sequence in [10, 11, 14, 13] {
            observer.observe(&header(1, sequence, 0), 8000, now());
        }
        assert_eq!(observer.lost(), 1);
        for sequence in [500, 503] {
            observer.observe(&header(2, sequence, 0), 8000, now());
        }
        assert_eq!(observer.lost(), 3);
        observer.forget();
        assert_eq!(observer.observe(&header(2, 504, 0), 8000, now()), Verdict::First);
        assert_eq!(observer.lost(), 3);
    }

    #[test]
    fn reports_speak_of_the_interval_and_of_the_whole() {
        let mut observer = Observer::new();
        assert_eq!(observer.report(), None);
        for sequence in [65534, 65535, 1, 2] {
            observer.observe(&header(9, sequence, 0), 8000, now());
        }
        let report = observer.report().unwrap();
        assert_eq!((report.ssrc, report.lost), (Ssrc(9), 1));
        assert_eq!(report.fraction_lost, (256 / 5) as u8);
        assert_eq!(report.highest, 0x0001_0002);
        observer.observe(&header(9, 3, 0), 8000, now());
        let report = observer.report().unwrap();
        assert_eq!((report.fraction_lost, report.lost), (0, 1));
        assert_eq!(observer.report().unwrap().fraction_lost, 0);
    }

    /// Packets every 20 ms, each second one 5 ms late: |D| is 40 units at 8000 Hz for every pair,
    /// and J moves to it by a sixteenth of the rest each time.
    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let (mut observer, start) = (Observer::new(), now());
        let mut expected = 0.0_f64;
        for n in 0..500_u16 {
            let late = if n % 2 == 1 { 5 } else { 0 };
            let at = start + Duration::from_millis(u64::from(n) * 20 + late);
            observer.observe(&header(1, n, u32::from(n) * 160), 8000, at);
            if n > 0 {
                expected += (40.0 - expected) / 16.0;
            }
        }
        let report = observer.report().unwrap();
        assert!((f64::from(report.jitter) - expected).abs() <= 1.0, "{report:?} {expected}");
        assert!((observer.jitter().unwrap().as_secs_f64() - 0.005).abs() < 0.0002);
    }

    #[test]
    fn a_new_timestamp_base_and_repeated_timestamps_are_no_jitter() {
        let (mut observer, start) = (Observer::new(), now());
        let at = |n: u64| start + Duration::from_millis(20 * n);
        observer.observe(&header(1, 0, 0), 8000, at(0));
        observer.observe(&header(1, 1, 0x8000_0000), 8000, at(1));
        observer.observe(&header(1, 2, 0x8000_0000), 8000, at(2));
        observer.observe(&header(1, 3, 0x8000_0000), 8000, at(3));
        assert_eq!(observer.jitter(), Some(Duration::ZERO));
    }

    #[test]
    fn the_longest_gap_spans_runs_and_holds() {
        let (mut observer, start) = (Observer::new(), now());
        observer.observe(&header(1, 0, 0), 8000, start);
        observer.observe(&header(1, 1, 160), 8000, start + Duration::from_millis(20));
        observer.observe(&header(2, 1, 160), 8000, start + Duration::from_secs(60));
        assert_eq!(observer.longest_gap(), Duration::from_millis(59_980));
    }

    #[test]
    fn two_to_the_seventeen_packets_wrap_twice_without_loss() {
        let (mut observer, start) = (Observer::new(), now());
        for n in 0..1_u32 << 17 {
            let at = start + Duration::from_millis(20 * u64::from(n));
            let verdict = observer.observe(&header(1, n as u16, n.wrapping_mul(160)), 8000, at);
            assert_eq!(verdict, if n == 0 { Verdict::First } else { Verdict::Next });
        }
        assert_eq!((observer.lost(), observer.jitter()), (0, Some(Duration::ZERO)));
        assert_eq!(observer.report().unwrap().highest, (1 << 17) - 1);
    }

    proptest! {
        /// Within one run no sequence number passes twice, whatever comes.
        #[test]
        fn a_run_never_passes_a_number_twice(
            packets in prop::collection::vec((0..2_u32, prop_oneof![0..300_u16, any::<u16>()]), 1..400)
        ) {
            let mut observer = Observer::new();
            let mut passed = std::collections::HashSet::new();
            for (ssrc, sequence) in packets {
                match observer.observe(&header(ssrc, sequence, 0), 8000, now()) {
                    Verdict::First | Verdict::Restart => {
                        passed.clear();
                        passed.insert(sequence);
                    }
                    Verdict::Next | Verdict::Late => prop_assert!(passed.insert(sequence)),
                    Verdict::Duplicate | Verdict::Stale | Verdict::Probation => {}
                }
            }
        }
    }

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header { ssrc: Ssrc(ssrc), timestamp, sequence, payload_type: 8, marker: false, len: 12 }
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn now() -> Instant {
        Instant::now()
    }
}
