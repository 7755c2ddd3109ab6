//! Why a packet goes no further. Input, not an error: it is counted once for the side and once for
//! the shard, and the packet is dropped.

use crate::plan::SideStats;

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// From an address that may not send here.
    Foreign,
    /// Not RTP or RTCP.
    Malformed,
    /// Does not authenticate, or the peer's key is not known yet.
    Unauthentic,
    /// A second copy.
    Duplicate,
    /// A payload type that the plan does not name.
    Unlisted,
    /// A direction is closed, or the other side's address or key is unknown.
    Held,
    /// Late from a source that was replaced, on probation after a jump, nothing in it to relay, or more
    /// than a peer may send.
    Dropped,
}

/// What a shard has done since its start. Gauges say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that came to a socket.
    pub received: u64,
    /// Of these, passed on to the other side.
    pub relayed: u64,
    /// RTCP that was made here.
    pub own_rtcp: u64,
    /// RTP of what peers are played.
    pub played: u64,
    /// Came to a pair that no session uses.
    pub stray: u64,
    /// See [`SideStats::foreign`].
    pub foreign: u64,
    /// See [`SideStats::malformed`].
    pub malformed: u64,
    /// See [`SideStats::auth_failed`].
    pub auth_failed: u64,
    /// See [`SideStats::duplicates`].
    pub duplicates: u64,
    /// See [`SideStats::unlisted`].
    pub unlisted: u64,
    /// See [`SideStats::held`].
    pub held: u64,
    /// See [`SideStats::dropped`].
    pub dropped: u64,
    /// Panics of the relay's own code: each ended a session, or cut a turn short. Always a bug.
    pub faults: u64,
    /// Plans that named a port they may not use. Always a bug of the owner.
    pub refused: u64,
    /// Sessions now (a gauge).
    pub sessions: u64,
}

impl Refusal {
    /// Counts it.
    pub(crate) const fn count(self, side: &mut SideStats, all: &mut Counters) {
        let (side, all) = match self {
            Self::Foreign => (&mut side.foreign, &mut all.foreign),
            Self::Malformed => (&mut side.malformed, &mut all.malformed),
            Self::Unauthentic => (&mut side.auth_failed, &mut all.auth_failed),
            Self::Duplicate => (&mut side.duplicates, &mut all.duplicates),
            Self::Unlisted => (&mut side.unlisted, &mut all.unlisted),
            Self::Held => (&mut side.held, &mut all.held),
            Self::Dropped => (&mut side.dropped, &mut all.dropped),
        };
        *side += 1;
        *all += 1;
    }
}
