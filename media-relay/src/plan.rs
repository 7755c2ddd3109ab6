//! What signalling tells the relay about a session, and what the relay tells signalling.
//!
//! A [`Plan`] always describes the whole session: the shard compares it with what it has and
//! changes only what differs, so that signalling keeps no history. Plain data; no SDP, no SIP.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::audio::{Clip, Law};
use crate::quality::Codec;
use crate::srtp::MasterKey;
use crate::state::{Reach, SessionState};
use crate::tap::Tap;

/// A set of local addresses and ports with one purpose (one `[media]` entry, or a realm's).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct PoolId(pub u8);

/// A call's media, named by the owner of the call; never reused within a process.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct SessionId(pub u64);

/// One of the two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// The first side of a plan, most often the caller.
    A,
    /// The second side of a plan.
    B,
}

impl Side {
    /// The position in arrays of two.
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The opposite side.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A pair of UDP ports that we own: RTP on `number`, RTCP on `number + 1`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Port {
    /// The relay thread that owns the pair; both sides of a session lie in one shard.
    pub shard: u8,
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Which address of the pool: the position among the [`PoolConfig`]s with equal `id`.
    pub index: u8,
    /// The RTP port, always even.
    pub number: u16,
}

impl Port {
    /// The RTCP port of the pair.
    pub const fn rtcp(self) -> u16 {
        self.number | 1
    }
}

/// One local address with its ports. Several with an equal `id` make a pool of several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The pool this address belongs to.
    pub id: PoolId,
    /// The local address that the sockets are bound to.
    pub address: IpAddr,
    /// The ports to use. Pairs are (even, odd) and lie wholly inside.
    pub ports: RangeInclusive<u16>,
    /// Differentiated services code point of what is sent (RFC 2474), e.g. 46.
    pub dscp: Option<u8>,
}

/// Everything the relay has to know about one session.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The session that is made or changed.
    pub session: SessionId,
    /// Both ends, A first.
    pub sides: [SidePlan; 2],
}

/// One end of a session: our port and what is known about the peer.
#[derive(Clone, Debug)]
pub struct SidePlan {
    /// Our pair of ports towards this peer.
    pub port: Port,
    /// Where the peer said it wants RTP (its SDP); unknown before its offer or answer. An address
    /// that cannot be a peer's (0.0.0.0, a group, port 0) counts as none. Without one, a plain side
    /// sends nothing and takes nothing except from [`SidePlan::sources`].
    pub rtp: Option<SocketAddr>,
    /// Where the peer wants RTCP when not multiplexed; `None` means the RTP port + 1.
    pub rtcp: Option<SocketAddr>,
    /// RTP and RTCP share the RTP port (RFC 5761).
    pub mux: bool,
    /// Its datagrams are UDPTL (a fax by T.38) and no RTP: they pass unread to the other side, if that has the same. Never
    /// with keys.
    pub udptl: bool,
    /// SRTP with these keys; `None` is plain RTP.
    pub security: Option<Security>,
    /// Networks from which plain media may come besides the signalled address. A side with
    /// [`SidePlan::security`] does not look at it: there only authentication counts.
    pub sources: Vec<IpNet>,
    /// We may send RTP to this peer. RTCP flows in every direction setting.
    pub send: bool,
    /// We take RTP from this peer and relay it.
    pub receive: bool,
    /// Payload types: (as received from this peer, as sent to the other side). Empty: all pass as
    /// they are; otherwise what is not listed is dropped, so list DTMF events and comfort noise.
    pub payloads: Vec<(u8, u8)>,
    /// RTP clock rates in Hz by payload type as received from this peer; 8000 where absent.
    pub clocks: Vec<(u8, u32)>,
    /// What payload types as received from this peer carry; by RFC 3551 §6 where absent.
    pub codecs: Vec<(u8, Codec)>,
    /// This peer should send while it is open both ways ([`SidePlan::receive`], [`SidePlan::send`]): the call is
    /// answered. When it does not, that is told as [`Event::Sound`].
    pub expect: bool,
    /// How long this peer may send neither RTP nor RTCP, while it should, before it is taken for dead.
    pub timeout: Option<Duration>,
    /// The SSRC of all that is sent to this peer. `None` passes the source's SSRC and sequence on
    /// as they are on a plain side; a side with [`SidePlan::security`] then draws one of its own,
    /// because an SRTP index must never come twice under one key and SSRC.
    pub ssrc: Option<u32>,
    /// The CNAME in RTCP towards this peer, at most 63 bytes of it; `None` draws a random one
    /// (RFC 7022).
    pub cname: Option<Arc<str>>,
    /// What this peer hears instead of the other side, as far as it may be sent anything.
    pub play: Option<Play>,
}

/// Audio that a peer hears: packets of 20 ms in the peer's own source, numbers and keys. What the other side sends
/// meanwhile is held. A plan with the same one goes on with it; another one begins at its beginning.
#[derive(Clone, Debug)]
pub struct Play {
    /// What.
    pub clip: Arc<Clip>,
    /// Under which law of G.711.
    pub law: Law,
    /// As which payload type.
    pub payload: u8,
    /// Again and again; otherwise once, and then the peer hears the other side.
    pub looped: bool,
    /// Until the other side speaks: from its first packet of speech that can be passed on, the peer hears that.
    pub yields: bool,
}

impl SidePlan {
    /// A plain side with nothing known of the peer, both directions open, payloads as they are.
    pub const fn new(port: Port) -> Self {
        Self {
            port,
            rtp: None,
            rtcp: None,
            mux: false,
            udptl: false,
            security: None,
            sources: Vec::new(),
            send: true,
            receive: true,
            payloads: Vec::new(),
            clocks: Vec::new(),
            codecs: Vec::new(),
            expect: false,
            timeout: None,
            ssrc: None,
            cname: None,
            play: None,
        }
    }
}

/// SRTP keys of one side (RFC 4568: each direction has its own).
#[derive(Clone)]
pub struct Security {
    /// Our key: encrypts what we send. Keep it for the whole call.
    pub send: MasterKey,
    /// The peer's key; none before its answer, and until then all it sends is dropped. Several while
    /// early answers of several dialogs stand, each with a key of its own; of more than four the first
    /// four count. A key that is left out is heard for a moment more, as long as there is another.
    pub receive: Vec<MasterKey>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("receive", &self.receive.len()).finish_non_exhaustive()
    }
}

/// What signalling asks of a shard. Commands to one shard are done in the order they were sent.
#[derive(Clone, Debug)]
pub enum Command {
    /// Makes the session or changes it to this plan.
    Apply(Box<Plan>),
    /// Makes a session that another process had: on the same ports, which are bound if they are
    /// not yet, with the plan's keys, going on behind the last checkpoint. Without one an SRTP side
    /// takes a source of its own, whatever the plan says. A session that is up is changed as by
    /// Apply.
    Resume {
        /// As it stood.
        plan: Box<Plan>,
        /// The newest checkpoint that was kept.
        state: Option<Box<SessionState>>,
    },
    /// Closes these pairs, which no session has and which [`Ports::cool`](crate::ports::Ports::cool)
    /// gave, for another process to take; and keeps another number of pairs of each address bound
    /// beyond those in use from now on. A pair comes back as warm when it is needed again.
    Cool {
        /// The pairs.
        ports: Vec<Port>,
        /// Instead of [`RelayConfig::reserve`](crate::RelayConfig).
        reserve: u16,
    },
    /// These checkpoints are kept: what was told as [`SideSnapshot::reach`](crate::state::SideSnapshot)
    /// outlives the process.
    Kept(Vec<(SessionId, [Reach; 2])>),
    /// From now on `tap` gets what this peer sends, in place of a tap before; `None` takes it away. Nothing happens without
    /// such a session, or when the tap has served before.
    Tap {
        /// The session.
        session: SessionId,
        /// The side of the peer.
        side: Side,
        /// See [`tap`](crate::tap).
        tap: Option<Tap>,
    },
    /// Ends the session. Its ports are free for another Apply as soon as this has been sent, since
    /// the shard does commands in order.
    Release(SessionId),
}

/// What a shard tells signalling.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// These pairs are bound and may be reserved.
    Warm {
        /// All in one shard and pool.
        ports: Vec<Port>,
    },
    /// A peer's media was heard (authenticated, on an SRTP side) from a new address, and is sent
    /// there from now on. Only the newest is told.
    Latched {
        /// The session.
        session: SessionId,
        /// The side of the peer.
        side: Side,
        /// Where its RTP comes from.
        from: SocketAddr,
    },
    /// A peer that should send fell silent, is taken for dead, or is heard again. Only the newest is told.
    Sound {
        /// The session.
        session: SessionId,
        /// A and B.
        sides: [Sound; 2],
    },
    /// How sessions stand, in order that they can be resumed: each at most a second after packets
    /// came or went, at once after a rollover, a new latch or many packets. Sessions that nothing
    /// happened in are not told. The owner says [`Command::Kept`] of those that it keeps; an SRTP side
    /// of which none is kept for long takes a source of its own (see [`state`](crate::state)).
    Checkpoint {
        /// Few enough to be done with at once.
        sessions: Vec<(SessionId, SessionState)>,
    },
    /// A pair that was bound, or that a session claimed, cannot be bound now: nobody can have it
    /// until it is told as warm again.
    Cold {
        /// The pair.
        port: Port,
    },
    /// A packet came to a pair that no session uses; told at most once a second for one pair.
    Stray {
        /// The pair.
        port: Port,
    },
    /// The session is over and its figures are final. Exactly one for each session that was
    /// applied; never lost.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        why: End,
        /// Figures of A and B.
        stats: Box<[SideStats; 2]>,
    },
}

/// Whether a peer is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sound {
    /// It is, or need not be: it is held or holds, or the call is not answered yet.
    #[default]
    Heard,
    /// It should be, and no audio has come from it for 4 s (after comfort noise: neither RTP nor RTCP
    /// for 15 s).
    Silent,
    /// Neither RTP nor RTCP has come from it for [`SidePlan::timeout`].
    Dead,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// [`Command::Release`].
    Released,
    /// Its plan names a port that is not this shard's, is used by another session, or cannot be
    /// bound: a fault of the owner. Nothing was relayed under that plan.
    Refused,
    /// A fault in the relay's own code while it worked on this session; others go on.
    Failed,
}

/// Figures of one side. "Received" is from this peer, "sent" is to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SideStats {
    /// RTP packets taken from the peer: right source, authentic, first copy.
    pub received: u64,
    /// Their size, RTP header and payload, without SRTP's additions.
    pub received_bytes: u64,
    /// Of these, passed on to the other side.
    pub relayed: u64,
    /// RTP packets sent to the peer.
    pub sent: u64,
    /// Their size, without SRTP's additions.
    pub sent_bytes: u64,
    /// RTCP packets (compounds) taken from the peer.
    pub received_rtcp: u64,
    /// RTCP packets (compounds) sent to the peer, relayed and our own.
    pub sent_rtcp: u64,
    /// RTP packets missing by sequence number.
    pub lost: u64,
    /// Came after one with a higher sequence number.
    pub reordered: u64,
    /// Second copies, dropped.
    pub duplicates: u64,
    /// SRTP or SRTCP that did not authenticate, or came before the peer's key was known.
    pub auth_failed: u64,
    /// Packets from addresses that may not send here.
    pub foreign: u64,
    /// Not RTP or RTCP at all, or too long.
    pub malformed: u64,
    /// Payload type not in the plan.
    pub unlisted: u64,
    /// Not passed on because a direction is closed or the other side's address is unknown.
    pub held: u64,
    /// Not passed on for any other cause: late from a source already replaced, on probation after a
    /// jump of the sequence, beyond a thousand packets (or fifty reports) in a second, or further
    /// beyond what is kept than a restart jumps (see [`state`](crate::state)).
    pub dropped: u64,
    /// How often the peer changed its SSRC or jumped in sequence.
    pub restarts: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1), the last value.
    pub jitter: Duration,
    /// The longest time between two RTP packets of the peer.
    pub longest_gap: Duration,
    /// Of those sent, how many were of a [`Play`].
    pub played: u64,
    /// Packets of ours missing at the peer, by its reports.
    pub far_lost: u64,
    /// Blocks of the peer's reports about what we sent.
    pub far_reports: u64,
    /// The share in 1/256 that the peer's jitter buffer discarded, by its VoIP metrics (RFC 3611 §4.7).
    pub far_discarded: u8,
    /// Payload type of the last speech packet.
    pub payload_type: Option<u8>,
    /// How often the peer fell silent.
    pub silences: u32,
    /// How often it was silent while the other side was heard.
    pub one_way: u32,
    /// Mean opinion score of what came from the peer, in hundredths; 0 when nothing came. See
    /// [`quality`](crate::quality).
    pub mos: u16,
    /// The same of what the peer hears: its own score if it tells one (RFC 3611), else by its
    /// reports, and then with what was lost on the other leg; 0 when it tells nothing.
    pub far_mos: u16,
    /// The highest interarrival jitter.
    pub jitter_max: Duration,
    /// Interarrival jitter at the peer, by its last report.
    pub far_jitter: Duration,
    /// The round trip to the peer and back by RTCP, the last value; zero when it is not known.
    pub rtt: Duration,
    /// The highest.
    pub rtt_max: Duration,
    /// Time in which the peer should have sent and was silent, from its last packet on.
    pub silent: Duration,
    /// Datagrams of a fax taken from the peer. They count nowhere else but where they are refused.
    pub udptl: u64,
}
