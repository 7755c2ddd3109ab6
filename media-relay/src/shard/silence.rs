//! Whether one peer is heard while it should send: a watch on the session's own timer.
//!
//! A side should send while its plan [expects](crate::plan::SidePlan::expect) it (the call is answered) and its
//! stream is open both ways; who is held or holds is never silent. Only RTP that could be passed on counts (known
//! source, authentic, listed payload type), and comfort noise though it be not listed.
//!
//! | heard last | silent after | dead after |
//! |---|---|---|
//! | speech, or nothing since it was expected | 4 s without RTP | the plan's time-out without RTP and RTCP |
//! | comfort noise, or a G.729B frame of it | 15 s without RTP and RTCP | the same, 15 s at least |
//! | telephone events | as before them | the same |
//!
//! RTCP alone does not put silence off: a path on which only RTCP comes is one-way audio too. A peer that pauses
//! (discontinuous transmission) says so by comfort noise and then stays alive by RTCP. Codecs that pause by themselves
//! (AMR, SILK, Opus) send a packet every 400 ms at least.

use std::time::{Duration, Instant};

use crate::plan::{SideStats, Sound};

/// The watch over one side.
#[derive(Clone, Debug)]
pub(crate) struct Silence {
    expected: bool,
    /// RTP since it was expected.
    audible: bool,
    /// When RTP came last, or was expected first.
    heard: Instant,
    /// The same of RTCP.
    reported: Instant,
    /// What came last was comfort noise.
    pauses: bool,
    /// In milliseconds.
    timeout: Option<u32>,
    sound: Sound,
    /// Up to when silence was added up.
    counted: Instant,
    one_way: bool,
}

impl Silence {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            expected: false,
            audible: false,
            heard: now,
            reported: now,
            pauses: false,
            timeout: None,
            sound: Sound::Heard,
            counted: now,
            one_way: false,
        }
    }

    /// Takes on what a plan says. Time begins when the peer is expected to send, not before.
    pub(crate) fn apply(&mut self, expected: bool, timeout: Option<Duration>, now: Instant) {
        self.timeout = timeout.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        if expected && !self.expected {
            self.begin_again(now);
        }
        self.expected = expected;
    }

    /// Nothing was heard yet of who is expected now: whether it pauses will be said again.
    pub(crate) const fn begin_again(&mut self, now: Instant) {
        (self.heard, self.reported) = (now, now);
        (self.audible, self.pauses) = (false, false);
    }

    /// Whether the peer announced a pause, for another process.
    pub(crate) const fn pauses(&self) -> bool {
        self.pauses
    }

    /// What another process knew.
    pub(crate) const fn resume(&mut self, pauses: bool) {
        self.pauses = pauses;
    }

    /// RTP that can be passed on came; `pauses` where that says something. Whether this ends a silence.
    #[inline]
    pub(crate) fn note_rtp(&mut self, pauses: Option<bool>, now: Instant) -> bool {
        self.heard = now;
        self.audible = true;
        self.pauses = pauses.unwrap_or(self.pauses);
        self.is_silent()
    }

    /// RTCP came. Whether this ends a silence, or the peer was taken for dead.
    pub(crate) fn note_rtcp(&mut self, now: Instant) -> bool {
        self.reported = now;
        self.sound == Sound::Dead || self.is_silent() && self.pauses
    }

    /// A second is left to hear what has come and was not read.
    pub(crate) fn forgive(&mut self, now: Instant) {
        let heard = now.checked_sub(SILENCE - READING).unwrap_or(now);
        (self.heard, self.reported) = (self.heard.max(heard), self.reported.max(heard));
    }

    /// Whether it falls silent now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.is_silent() && self.judge(now, Duration::ZERO) != Sound::Heard
    }

    /// How it stands now, silence a `lead` ahead of its time; silence is added to the figures.
    pub(crate) fn look(&mut self, stats: &mut SideStats, lead: Duration, now: Instant) {
        if self.is_silent() {
            stats.silent += now.saturating_duration_since(self.counted);
            self.counted = now;
        }
        let sound = self.judge(now, lead);
        if sound != Sound::Heard && !self.is_silent() {
            stats.silences += 1;
            stats.silent += now.saturating_duration_since(self.heard);
            self.counted = now;
        }
        self.sound = sound;
    }

    /// The same beside the other side: one-way is when only one of two that should be heard is.
    pub(crate) fn compare(&mut self, other_speaks: bool, stats: &mut SideStats) {
        let one_way = self.is_silent() && other_speaks;
        stats.one_way += u32::from(one_way && !self.one_way);
        self.one_way = one_way;
    }

    /// As it was looked at last.
    pub(crate) const fn sound(&self) -> Sound {
        self.sound
    }

    /// Whether it should be heard and is.
    pub(crate) fn speaks(&self) -> bool {
        self.expected && self.audible && !self.is_silent()
    }

    /// When it has to be looked at again.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let moments = [self.silent_at(), self.dead_at()];
        moments.into_iter().flatten().filter(|at| self.expected && *at > now).min()
    }

    fn is_silent(&self) -> bool {
        self.sound != Sound::Heard
    }

    fn judge(&self, now: Instant, lead: Duration) -> Sound {
        let past = |at: Option<Instant>, now| self.expected && at.is_some_and(|at| at <= now);
        if past(self.dead_at(), now) {
            Sound::Dead
        } else if past(self.silent_at(), now + lead) {
            Sound::Silent
        } else {
            Sound::Heard
        }
    }

    fn silent_at(&self) -> Option<Instant> {
        if self.pauses {
            self.heard.max(self.reported).checked_add(PAUSE)
        } else {
            self.heard.checked_add(SILENCE)
        }
    }

    fn dead_at(&self) -> Option<Instant> {
        let timeout = Duration::from_millis(self.timeout?.into());
        let timeout = if self.pauses { timeout.max(PAUSE) } else { timeout };
        self.heard.max(self.reported).checked_add(timeout)
    }
}

/// So that it is known within 5 s, and no gap of a handover or a busy network counts.
const SILENCE: Duration = Duration::from_secs(4);
/// Two that fall silent so near to each other are silent together: no audio at all, not one-way audio.
pub(crate) const TOGETHER: Duration = Duration::from_secs(1);
/// In which what waits in sockets is read.
const READING: Duration = Duration::from_secs(1);
/// Three of RFC 3550's intervals.
const PAUSE: Duration = Duration::from_secs(15);
