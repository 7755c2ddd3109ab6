//! What of a session must outlive the process: indexes, our source, addresses, figures; never keys.
//!
//! The relay tells it now and then ([`Event::Checkpoint`](crate::plan::Event::Checkpoint)); the owner
//! keeps it beside the plan, which has the keys, and gives both back in
//! [`Command::Resume`](crate::plan::Command::Resume).
//!
//! What has been sent since the checkpoint is not known, so that a resumed session jumps
//! `ADVANCE` packets beyond it; and a session never sends more than that beyond what its owner says
//! is kept ([`Command::Kept`](crate::plan::Command::Kept)). An SRTP index is thus never used twice
//! under one key and source (RFC 3711 §9.1), whatever was lost on the way to the disk and whatever
//! the peer sent. Where nothing is kept for long (a full disk), our side goes on as a source of its
//! own, drawn at random, of which no state that is kept knows; so it does without any state, with
//! one in which no RTP was sent yet, and with one older than `TRUST`, which may not be the newest
//! that there was.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::SideStats;
use crate::srtp::{Advance, Snapshot};

/// A checkpoint of one session. Unknown fields are ignored and missing ones defaulted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionState {
    /// Of this structure: 1.
    pub version: u16,
    /// When it was taken: milliseconds since 1970.
    pub at: u64,
    /// A and B, in the order of the plan.
    pub sides: [SideSnapshot; 2],
}

/// One side of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SideSnapshot {
    /// Our source towards the peer: of RTP if it has one, at any rate of our own RTCP.
    pub ssrc: u32,
    /// The CNAME that was drawn where the plan gives none.
    pub name: String,
    /// Our key's indexes, on an SRTP side.
    pub send: Option<KeySnapshot>,
    /// The peer's.
    pub receive: Option<KeySnapshot>,
    /// The newest RTP packet sent under a source of ours.
    pub sent: Option<SentSnapshot>,
    /// Where the peer's RTP came from.
    pub rtp: Option<LatchSnapshot>,
    /// Where its RTCP came from, if not multiplexed.
    pub rtcp: Option<LatchSnapshot>,
    /// The peer has announced a pause: it sends RTP again when there is something to hear.
    pub pauses: bool,
    /// Payload bytes sent, modulo 2^32.
    pub octets: u32,
    /// The side's figures in the order of [`SideStats`], times in nanoseconds.
    pub figures: Vec<u64>,
    /// For [`Command::Kept`](crate::plan::Command::Kept); of no use to another process.
    #[serde(skip)]
    pub reach: Reach,
}

/// How much a side had sent in all when a checkpoint was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Steps of its RTP sequence.
    pub rtp: u64,
    /// RTCP packets.
    pub rtcp: u64,
}

/// The indexes under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeySnapshot {
    /// Which key: eight bytes of a digest, from which nothing of it can be found.
    pub key: u64,
    /// Its indexes.
    pub indexes: Snapshot,
}

/// The newest packet of a stream of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SentSnapshot {
    /// Its sequence number.
    pub sequence: u16,
    /// Its RTP time.
    pub timestamp: u32,
    /// Of that time, in Hz.
    pub clock: u32,
    /// How long before the checkpoint it was sent, in milliseconds.
    pub age: u64,
}

/// Where a peer was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatchSnapshot {
    /// The address it was heard from.
    pub from: SocketAddr,
    /// What it had signalled then; with another signalled address the latch is void.
    pub signalled: Option<SocketAddr>,
}

impl Default for SessionState {
    fn default() -> Self {
        Self { version: Self::VERSION, at: 0, sides: Default::default() }
    }
}

impl SessionState {
    /// The version that we write.
    pub const VERSION: u16 = 1;

    /// What [`Command::Kept`](crate::plan::Command::Kept) says of it.
    #[must_use]
    pub fn reach(&self) -> [Reach; 2] {
        self.sides.each_ref().map(|side| side.reach)
    }

    /// How a session stands that was resumed from this and has sent nothing yet. Keep it before the session is resumed: a
    /// process that dies at once must not leave the same indexes to the next one.
    #[must_use]
    pub fn resumed(&self) -> Self {
        let mut state = self.clone();
        for side in &mut state.sides {
            let Some(send) = &mut side.send else { continue };
            send.indexes.rtcp += u64::from(ADVANCE.rtcp);
            for stream in &mut send.indexes.streams {
                stream.rtp = stream.rtp.map(|index| index + u64::from(ADVANCE.rtp));
            }
        }
        state
    }
}

/// The packets and reports of each source that may have been sent since a checkpoint that is kept.
/// Ten seconds' worth would do for audio; this covers a jump of the sequence and minutes. Below 2^15, or the peer would guess a wrong rollover counter.
pub(crate) const ADVANCE: Advance = Advance { rtp: 8192, rtcp: 8192 };
const _: () = assert!(ADVANCE.rtp < 1 << 15);

/// The same for RTP without keys, where no more is at stake than a packet that looks late: less
/// than the gap at which a receiver thinks of another source (RFC 3550 A.1).
pub(crate) const PLAIN_ADVANCE: u16 = 1024;

/// The oldest state from which our own indexes go on. Under keys there is always RTCP, so that a
/// state is renewed every few seconds as long as somebody keeps it.
pub(crate) const TRUST: Duration = Duration::from_secs(60);

/// Writes and reads figures by one list of them. Its order is that of the journal.
macro_rules! in_order {
    (counts: $($count:ident)*; times: $($time:ident)*;
     more counts: $($later:ident)*; more times: $($late:ident)*; or none: $($maybe:ident)*;
     last counts: $($last:ident)*) => {
        /// Figures as they stand in a snapshot.
        pub(crate) fn figures(stats: &SideStats) -> Vec<u64> {
            let SideStats { $($count,)* $($time,)* $($later,)* $($late,)* $($maybe,)* $($last,)* } =
                *stats;
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            vec![
                $($count,)*
                $(nanos($time),)*
                $($later.into(),)*
                $(nanos($late),)*
                $($maybe.map_or(0, |number| u64::from(number) + 1),)*
                $($last,)*
            ]
        }

        /// Figures out of a snapshot; what is missing is zero.
        pub(crate) fn stats(figures: &[u64]) -> SideStats {
            let mut figures = figures.iter().copied();
            let mut next = || figures.next().unwrap_or_default();
            SideStats {
                $($count: next(),)*
                $($time: Duration::from_nanos(next()),)*
                $($later: next().try_into().unwrap_or_default(),)*
                $($late: Duration::from_nanos(next()),)*
                $($maybe: next().checked_sub(1).and_then(|number| number.try_into().ok()),)*
                $($last: next(),)*
            }
        }
    };
}

in_order! {
    counts: received received_bytes relayed sent sent_bytes received_rtcp sent_rtcp lost reordered
        duplicates auth_failed foreign malformed unlisted held dropped restarts;
    times: jitter longest_gap;
    more counts: played far_lost far_reports far_discarded silences one_way mos far_mos;
    more times: jitter_max far_jitter rtt rtt_max silent;
    or none: payload_type;
    last counts: udptl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_defaulted() {
        let read = |text| serde_json::from_str::<SessionState>(text).unwrap();
        assert_eq!(read("{}"), SessionState::default());
        let state = read(
            r#"{"version":7,"at":5,"colour":1,
                "sides":[{"ssrc":3,"sent":{"sequence":9,"x":1},"figures":[1,2]},{}]}"#,
        );
        assert_eq!((state.version, state.at, state.sides[0].ssrc), (7, 5, 3));
        assert_eq!(state.sides[0].sent.map(|sent| sent.sequence), Some(9));
        let known = stats(&state.sides[0].figures);
        assert_eq!((known.received, known.received_bytes, known.relayed), (1, 2, 0));
        assert_eq!(state.sides[1], SideSnapshot::default());
    }

    #[test]
    fn a_session_that_is_resumed_twice_goes_on_behind_both() {
        use crate::srtp::StreamSnapshot;
        let streams = vec![StreamSnapshot { ssrc: 7, rtp: Some(70_000), rtcp: None }];
        let indexes = Snapshot { rtp: 9, rtcp: 5, streams, ..Snapshot::default() };
        let mut state = SessionState { at: 3, ..SessionState::default() };
        state.sides[1].send = Some(KeySnapshot { key: 1, indexes: indexes.clone() });
        state.sides[1].receive = Some(KeySnapshot { key: 2, indexes: indexes.clone() });
        let resumed = state.resumed();
        let send = &resumed.sides[1].send.as_ref().unwrap().indexes;
        assert_eq!((send.streams[0].rtp, send.rtcp), (Some(70_000 + 8192), 5 + 8192));
        assert_eq!(resumed.sides[1].receive, state.sides[1].receive, "the peer sends as it did");
        assert_eq!((resumed.at, &resumed.sides[0]), (3, &state.sides[0]));
    }

    #[test]
    fn figures_come_back_in_their_order() {
        let numbers: Vec<u64> = (1..35).collect();
        assert_eq!(figures(&stats(&numbers)), numbers);
        let longest_gap = Duration::from_nanos(19);
        let known = SideStats { received: 1, lost: 8, longest_gap, ..SideStats::default() };
        let back = stats(&figures(&known));
        assert_eq!(back, known);
        assert_eq!(stats(&numbers[..1]), SideStats { received: 1, ..SideStats::default() });
    }
}
