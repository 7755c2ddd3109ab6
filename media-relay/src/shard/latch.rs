//! Where one peer's packets come from and where ours go: the latch of one path (RTP, or RTCP where
//! it is not multiplexed).
//!
//! A packet gets here only if its source may send at all: on a plain side the signalled address or
//! one of the plan's networks, on an SRTP side only after authentication. So nothing is ever sent
//! to an address that was neither signalled nor proved. An *exact* source is the signalled address
//! and port itself; it may take over from a looser one, never the other way round.
//!
//! | state | same source | exact source | other source | signalled moved | silence |
//! |---|---|---|---|---|---|
//! | Open: nothing heard | – | Latched | Latched | Open | – |
//! | Latched to a source | Latched | Latched to it, if the latch is not exact | foreign | Moved | Silent |
//! | Silent: as Latched, but quiet for a while | Latched | Latched to it | Latched to it | Moved | – |
//! | Moved: signalled address changed; the former source is still heard, but not sent to | Moved | Latched to it | Latched to it | Moved | Open, if the former source was a loose one |
//!
//! A former source that was exact was where it said it was. When it says that it is elsewhere, that is another peer, or
//! one that sends from where it does not hear: it is never sent to again, however long the other one is silent. A loose one
//! is behind a NAT, perhaps, and where it is now has to be learned again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The latch of one path.
#[derive(Clone, Debug)]
pub(crate) struct Latch {
    state: State,
    silence: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Latched { from: SocketAddr, exact: bool, since: Instant, heard: Instant },
    Silent { from: SocketAddr, exact: bool },
    Moved { former: SocketAddr, exact: bool, until: Instant },
}

impl Latch {
    /// `silence` is how long a latched source may be quiet before another may take over.
    pub(crate) const fn new(silence: Duration) -> Self {
        Self { state: State::Open, silence }
    }

    /// It was heard from there by another process: what we send goes there, and whoever is heard
    /// next may take over.
    pub(crate) const fn resume(&mut self, from: SocketAddr, exact: bool) {
        self.state = State::Silent { from, exact };
    }

    /// Whether a packet from this source would be taken now, if it proves to be good.
    pub(crate) fn admits(&mut self, from: SocketAddr, exact: bool, now: Instant) -> bool {
        self.age(now);
        match self.state {
            State::Open | State::Silent { .. } | State::Moved { .. } => true,
            State::Latched { from: latched, exact: tight, .. } => {
                from == latched || (exact && !tight)
            }
        }
    }

    /// A good packet from an admitted source. `true` when this is a new latch.
    pub(crate) fn heard(&mut self, from: SocketAddr, exact: bool, now: Instant) -> bool {
        self.age(now);
        match &mut self.state {
            State::Latched { from: latched, exact: tight, heard, .. } => {
                if from == *latched {
                    *heard = now;
                    return false;
                }
                if !exact || *tight {
                    return false;
                }
            }
            State::Moved { former, .. } if !exact && *former == from => return false,
            State::Open | State::Silent { .. } | State::Moved { .. } => {}
        }
        self.state = State::Latched { from, exact, since: now, heard: now };
        true
    }

    /// The peer signalled another address.
    pub(crate) fn signalled(&mut self, address: SocketAddr, now: Instant) {
        match &mut self.state {
            State::Open => {}
            State::Latched { from, exact, .. } if *from == address => *exact = true,
            State::Silent { from, exact } if *from == address => *exact = true,
            State::Latched { from: former, exact, .. } | State::Silent { from: former, exact } => {
                let until = now + self.silence;
                self.state = State::Moved { former: *former, exact: *exact, until };
            }
            State::Moved { until, .. } => *until = now + self.silence,
        }
    }

    /// Nothing was heard: another peer took the place of this one.
    pub(crate) const fn reset(&mut self) {
        self.state = State::Open;
    }

    /// Where to send, if not to the signalled address.
    pub(crate) const fn source(&self) -> Option<SocketAddr> {
        match self.state {
            State::Open | State::Moved { .. } => None,
            State::Latched { from, .. } | State::Silent { from, .. } => Some(from),
        }
    }

    /// The same, if it is the signalled address.
    pub(crate) const fn exact_source(&self) -> Option<SocketAddr> {
        match self.state {
            State::Latched { from, exact: true, .. } | State::Silent { from, exact: true } => {
                Some(from)
            }
            State::Open
            | State::Moved { .. }
            | State::Latched { exact: false, .. }
            | State::Silent { exact: false, .. } => None,
        }
    }

    /// The one source that a socket may be closed to all others for: exact, or latched long enough
    /// that an exact one need not be waited for.
    pub(crate) fn settled(&mut self, now: Instant) -> Option<SocketAddr> {
        self.age(now);
        match self.state {
            State::Open | State::Silent { .. } | State::Moved { .. } => None,
            State::Latched { from, exact, since, .. } => {
                (exact || now.saturating_duration_since(since) >= SETTLE).then_some(from)
            }
        }
    }

    /// When to look at [`Latch::settled`] again.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Open | State::Silent { .. } | State::Moved { exact: true, .. } => None,
            State::Moved { exact: false, until, .. } => Some(until),
            State::Latched { exact, since, heard, .. } => {
                let settle = Some(since + SETTLE).filter(|at| !exact && *at > now);
                settle.into_iter().chain([heard + self.silence]).min()
            }
        }
    }

    fn age(&mut self, now: Instant) {
        match self.state {
            State::Latched { from, exact, heard, .. } => {
                if now.saturating_duration_since(heard) >= self.silence {
                    self.state = State::Silent { from, exact };
                }
            }
            State::Moved { exact: false, until, .. } => {
                if now >= until {
                    self.state = State::Open;
                }
            }
            State::Open | State::Silent { .. } | State::Moved { exact: true, .. } => {}
        }
    }
}

/// How long an exact source may still take over from a looser one.
const SETTLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(2);

    /// The signalled address, and two others.
    const SIGNALLED: &str = "192.0.2.1:4000";
    const FIRST: &str = "192.0.2.1:5000";
    const SECOND: &str = "192.0.2.1:6000";

    #[derive(Clone, Copy, Debug)]
    enum Input {
        From(&'static str),
        Signalled(&'static str),
        Pause,
    }

    /// Every state met by every input: what is taken, and where we send afterwards ("" is the
    /// signalled address).
    #[test]
    fn every_state_and_every_input() {
        use Input::{From, Pause, Signalled};
        let open: &[Input] = &[];
        let latched = &[From(FIRST)][..];
        let exact = &[From(SIGNALLED)][..];
        let silent = &[From(FIRST), Pause][..];
        let moved = &[From(FIRST), Signalled(SIGNALLED)][..];
        let rows: [(&str, &[Input], Input, bool, &str); 21] = [
            ("open", open, From(FIRST), true, FIRST),
            ("open", open, From(SIGNALLED), true, SIGNALLED),
            ("open", open, Signalled(SIGNALLED), true, ""),
            ("open", open, Pause, true, ""),
            ("latched", latched, From(FIRST), true, FIRST),
            ("latched", latched, From(SECOND), false, FIRST),
            ("latched", latched, From(SIGNALLED), true, SIGNALLED),
            ("latched", latched, Signalled(SIGNALLED), true, ""),
            ("latched", latched, Signalled(FIRST), true, FIRST),
            ("latched", latched, Pause, true, FIRST),
            ("exact", exact, From(FIRST), false, SIGNALLED),
            ("exact", exact, From(SIGNALLED), true, SIGNALLED),
            ("silent", silent, From(FIRST), true, FIRST),
            ("silent", silent, From(SECOND), true, SECOND),
            ("silent", silent, From(SIGNALLED), true, SIGNALLED),
            ("silent", silent, Signalled(SIGNALLED), true, ""),
            ("silent", silent, Signalled(FIRST), true, FIRST),
            ("moved", moved, From(FIRST), true, ""),
            ("moved", moved, From(SECOND), true, SECOND),
            ("moved", moved, From(SIGNALLED), true, SIGNALLED),
            ("moved", moved, Pause, true, ""),
        ];
        for (state, before, input, taken, target) in rows {
            let mut now = start();
            let mut latch = Latch::new(SILENCE);
            for step in before {
                apply(&mut latch, *step, &mut now);
            }
            assert_eq!(apply(&mut latch, input, &mut now), taken, "{state} {input:?}");
            let source = latch.source().map(|from| from.to_string()).unwrap_or_default();
            assert_eq!(source, target, "{state} {input:?}");
        }
    }

    #[test]
    fn the_former_source_may_come_back_after_the_pause() {
        let mut now = start();
        let mut latch = Latch::new(SILENCE);
        apply(&mut latch, Input::From(FIRST), &mut now);
        apply(&mut latch, Input::Signalled(SIGNALLED), &mut now);
        assert!(!latch.heard(address(FIRST), false, now + Duration::from_millis(1999)));
        assert!(latch.heard(address(FIRST), false, now + Duration::from_secs(2)));
        assert_eq!(latch.source(), Some(address(FIRST)));
    }

    #[test]
    fn a_former_source_that_was_signalled_is_never_sent_to_again() {
        for pause in [Duration::ZERO, SILENCE] {
            let now = start();
            let mut latch = Latch::new(SILENCE);
            latch.heard(address(SIGNALLED), true, now);
            let moved = now + pause;
            latch.signalled(address(SECOND), moved);
            assert_eq!(latch.deadline(moved), None);
            for seconds in 0..60 {
                let later = moved + Duration::from_secs(seconds);
                assert!(latch.admits(address(SIGNALLED), false, later), "it may send from there");
                assert!(!latch.heard(address(SIGNALLED), false, later));
                assert_eq!((latch.source(), latch.settled(later)), (None, None));
            }
            let later = moved + Duration::from_secs(60);
            assert!(latch.heard(address(SECOND), true, later));
            assert!(!latch.admits(address(SIGNALLED), false, later));
        }
        // Unless it is named again.
        let mut latch = Latch::new(SILENCE);
        latch.heard(address(SIGNALLED), true, start());
        latch.signalled(address(SECOND), start());
        latch.signalled(address(SIGNALLED), start());
        assert!(latch.heard(address(SIGNALLED), true, start()));
        assert_eq!(latch.source(), Some(address(SIGNALLED)));
    }

    #[test]
    fn packets_keep_a_latch_and_two_seconds_without_open_it() {
        let mut now = start();
        let mut latch = Latch::new(SILENCE);
        latch.heard(address(FIRST), false, now);
        for _ in 0..100 {
            now += Duration::from_millis(1999);
            assert!(!latch.admits(address(SECOND), false, now));
            assert!(!latch.heard(address(FIRST), false, now));
        }
        now += SILENCE;
        assert!(latch.admits(address(SECOND), false, now));
        // Our packets still go to the last one that was heard.
        assert_eq!(latch.source(), Some(address(FIRST)));
    }

    #[test]
    fn an_exact_latch_settles_at_once_and_a_loose_one_later() {
        let now = start();
        let mut latch = Latch::new(SILENCE);
        latch.heard(address(SIGNALLED), true, now);
        assert_eq!(latch.settled(now), Some(address(SIGNALLED)));
        assert_eq!(latch.deadline(now), Some(now + SILENCE));

        let mut latch = Latch::new(SILENCE);
        latch.heard(address(FIRST), false, now);
        assert_eq!(latch.settled(now), None);
        let heard = now + Duration::from_millis(1500);
        latch.heard(address(FIRST), false, heard);
        assert_eq!(latch.deadline(heard), Some(now + SETTLE));
        assert_eq!(latch.settled(now + SETTLE), Some(address(FIRST)));
        assert_eq!(latch.deadline(now + SETTLE), Some(heard + SILENCE));
        assert_eq!(latch.settled(heard + SILENCE), None);
        assert_eq!(latch.deadline(heard + SILENCE), None);
    }

    #[test]
    fn a_moved_latch_is_not_settled() {
        let now = start();
        let mut latch = Latch::new(SILENCE);
        latch.heard(address(FIRST), false, now);
        latch.signalled(address(SIGNALLED), now);
        assert_eq!(latch.settled(now), None);
        assert_eq!(latch.deadline(now), Some(now + SILENCE));
        latch.reset();
        assert_eq!((latch.source(), latch.deadline(now)), (None, None));
    }

    /// What the owner of a latch does with an input; whether a packet was taken.
    fn apply(latch: &mut Latch, input: Input, now: &mut Instant) -> bool {
        match input {
            Input::From(from) => {
                let (from, exact) = (address(from), from == SIGNALLED);
                let taken = latch.admits(from, exact, *now);
                if taken {
                    latch.heard(from, exact, *now);
                }
                return taken;
            }
            Input::Signalled(to) => latch.signalled(address(to), *now),
            Input::Pause => {
                *now += SILENCE;
                assert_eq!(latch.settled(*now), None);
            }
        }
        true
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn start() -> Instant {
        Instant::now()
    }
}
