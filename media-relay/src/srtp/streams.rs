//! What a context knows of each source under its key: the newest indexes and the windows before
//! them. The few sources in use have windows; of those that fell silent only the newest indexes
//! are kept, so that their old packets stay refused and their rollover counter is not lost.

use super::{Snapshot, StreamSnapshot, replay::Window};
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
            let rtp = stream.rtp.map(|highest| highest.saturating_add(advance));
            this.put(Silent { ssrc: Ssrc(stream.ssrc), rtp, rtcp: stream.rtcp }.wake());
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
