//! What a context knows of each source under its key: the newest indexes and the windows before
//! them. The few sources in use have windows; of those that fell silent only the newest indexes
//! are kept, so that their old packets stay refused and their rollover counter is not lost.

use super::{MAX_RTP_PACKETS, Snapshot, StreamSnapshot, replay::Window};
use crate::packet::Ssrc;

/// One source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stream {
    pub(super) ssrc: Ssrc,
    /// Its rollover counter may have moved on unseen: the packet that settles it is still to come.
    pub(super) unsettled: bool,
    pub(super) rtp: Window,
    pub(super) rtcp: Window,
}

/// All sources under one key, the one heard last in front.
#[derive(Default)]
pub(super) struct Streams {
    live: [Stream; Self::LIVE],
    used: u8,
    /// Oldest first. Empty, and not allocated, unless a call has more sources than `LIVE`.
    silent: Vec<Silent>,
}

/// A source without windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silent {
    ssrc: Ssrc,
    rtp: Option<u64>,
    rtcp: Option<u64>,
}

impl Streams {
    /// Sources with windows. A leg has one, and for a moment two when a transfer changes it.
    const LIVE: usize = 2;
    /// Sources in all.
    pub(super) const MAX: usize = 32;

    /// What is known of a source, as a copy; [`Self::put`] takes it back.
    #[inline]
    pub(super) fn find(&self, ssrc: Ssrc) -> Option<Stream> {
        let front = &self.live[0];
        if front.ssrc == ssrc && self.used > 0 { Some(*front) } else { self.find_behind(ssrc) }
    }

    /// Forgets a source, which must never be put again.
    pub(super) fn forget(&mut self, ssrc: Ssrc) {
        self.silent.retain(|silent| silent.ssrc != ssrc);
        let used = usize::from(self.used);
        if let Some(at) = self.live().iter().position(|stream| stream.ssrc == ssrc) {
            self.live[at..used].rotate_left(1);
            self.used -= 1;
        }
    }

    /// No room for another source unless the oldest is forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.live().len() + self.silent.len() >= Self::MAX
    }

    /// Keeps what is now known of a source. A new one in a full table displaces the oldest.
    #[inline]
    pub(super) fn put(&mut self, stream: Stream) {
        if self.live[0].ssrc != stream.ssrc || self.used == 0 {
            self.bring_to_front(stream.ssrc);
        }
        self.live[0] = stream;
    }

    /// All sources, oldest first.
    pub(super) fn snapshot(&self) -> Vec<StreamSnapshot> {
        let live = self.live().iter().rev().map(Silent::of);
        let all = self.silent.iter().copied().chain(live);
        all.map(|Silent { ssrc, rtp, rtcp }| StreamSnapshot { ssrc: ssrc.0, rtp, rtcp }).collect()
    }

    /// The sources of a snapshot, the oldest beyond `MAX` left out, each `advance` packets on.
    pub(super) fn restore(snapshot: &Snapshot, advance: u64) -> Self {
        let mut this = Self::default();
        for stream in &snapshot.streams {
            let on = |highest: u64| highest.saturating_add(advance).min(MAX_RTP_PACKETS - 1);
            let ssrc = Ssrc(stream.ssrc);
            this.put(Silent { ssrc, rtp: stream.rtp.map(on), rtcp: stream.rtcp }.wake());
        }
        this
    }

    fn live(&self) -> &[Stream] {
        &self.live[..usize::from(self.used)]
    }

    #[cold]
    fn find_behind(&self, ssrc: Ssrc) -> Option<Stream> {
        let live = self.live().iter().find(|stream| stream.ssrc == ssrc).copied();
        let silent = || self.silent.iter().find(|silent| silent.ssrc == ssrc).map(Silent::wake);
        live.or_else(silent)
    }

    /// Makes the front place that of `ssrc`.
    #[cold]
    fn bring_to_front(&mut self, ssrc: Ssrc) {
        if let Some(place) = self.live().iter().position(|live| live.ssrc == ssrc) {
            self.live[..=place].rotate_right(1);
            return;
        }
        self.silent.retain(|silent| silent.ssrc != ssrc);
        if self.live().len() < Self::LIVE {
            self.used += 1;
        } else {
            if self.is_full() {
                self.silent.remove(0);
            }
            self.silent.push(Silent::of(&self.live[Self::LIVE - 1]));
        }
        self.live[..usize::from(self.used)].rotate_right(1);
    }
}

impl Silent {
    fn of(stream: &Stream) -> Self {
        Self { ssrc: stream.ssrc, rtp: stream.rtp.highest(), rtcp: stream.rtcp.highest() }
    }

    /// With windows that take nothing old.
    fn wake(&self) -> Stream {
        let window = |highest: Option<u64>| highest.map(Window::up_to).unwrap_or_default();
        Stream { ssrc: self.ssrc, unsettled: true, rtp: window(self.rtp), rtcp: window(self.rtcp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(streams: &mut Streams, ssrc: u32, index: u64) {
        let ssrc = Ssrc(ssrc);
        let mut stream = streams.find(ssrc).unwrap_or(Stream { ssrc, ..Stream::default() });
        stream.rtp.accept(index);
        streams.put(stream);
    }

    fn order(streams: &Streams) -> Vec<(u32, Option<u64>)> {
        streams.snapshot().into_iter().map(|stream| (stream.ssrc, stream.rtp)).collect()
    }

    #[test]
    fn the_oldest_lose_their_windows_and_keep_their_index() {
        let mut streams = Streams::default();
        assert_eq!(streams.find(Ssrc(0)), None);
        for (ssrc, index) in [(1, 10), (2, 20), (1, 11), (3, 30), (4, 40)] {
            heard(&mut streams, ssrc, index);
        }
        assert_eq!(order(&streams), [(2, Some(20)), (1, Some(11)), (3, Some(30)), (4, Some(40))]);
        assert_eq!(streams.silent.len(), 2);
        assert_eq!(streams.find(Ssrc(3)).unwrap().rtp, {
            let mut window = Window::default();
            window.accept(30);
            window
        });
        let woken = streams.find(Ssrc(2)).unwrap();
        assert_eq!((woken.rtp, woken.rtcp), (Window::up_to(20), Window::default()));
        assert!(woken.unsettled);

        heard(&mut streams, 2, 21);
        assert_eq!(order(&streams), [(1, Some(11)), (3, Some(30)), (4, Some(40)), (2, Some(21))]);
    }

    #[test]
    fn source_zero_is_a_source() {
        let mut streams = Streams::default();
        heard(&mut streams, 0, 5);
        assert_eq!(order(&streams), [(0, Some(5))]);
        heard(&mut streams, 0, 6);
        assert_eq!(order(&streams), [(0, Some(6))]);
    }

    #[test]
    fn never_more_than_the_most_and_the_oldest_leaves() {
        let mut streams = Streams::default();
        for ssrc in 0..Streams::MAX as u32 {
            assert!(!streams.is_full());
            heard(&mut streams, ssrc, 1);
        }
        assert!(streams.is_full());
        heard(&mut streams, 1000, 1);
        assert_eq!(streams.snapshot().len(), Streams::MAX);
        assert_eq!(streams.find(Ssrc(0)), None);
        assert!(streams.find(Ssrc(1)).is_some());
    }

    #[test]
    fn a_snapshot_restores_order_and_indexes() {
        let mut streams = Streams::default();
        for ssrc in 0..5 {
            heard(&mut streams, ssrc, u64::from(ssrc) * 100);
        }
        let snapshot = Snapshot { streams: streams.snapshot(), ..Snapshot::default() };
        assert_eq!(Streams::restore(&snapshot, 0).snapshot(), snapshot.streams);
        let jumped = order(&Streams::restore(&snapshot, 50));
        let want: Vec<_> = (0..5).map(|ssrc| (ssrc, Some(u64::from(ssrc) * 100 + 50))).collect();
        assert_eq!(jumped, want);
    }
}
