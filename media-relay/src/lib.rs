//! RTP, RTCP and SRTP: what the media plane knows about packets, keys, streams and ports.
//!
//! - [`packet`]: reading, rewriting and building RTP (RFC 3550) and RTCP, telling them apart
//!   (RFC 5761, RFC 7983), telephone events (RFC 4733). The door to `rtp-rs`.
//! - [`srtp`]: SRTP and SRTCP contexts (RFC 3711, RFC 7714). The door to the ciphers.
//! - [`plan`]: what signalling asks of a session, and what it hears back.
//! - [`state`]: what of a session outlives the process.
//! - [`audio`]: G.711, tones by country, WAV files: what a peer hears that is not of the other one. The doors to
//!   `audio-codec-algorithms` and `hound`.
//! - [`tap`]: a copy of what a peer says, for whoever listens in another thread.
//! - [`quality`]: speech quality by the E-model (ITU-T G.107).
//! - [`ports`]: which UDP ports exist and which a call may have.
//! - [`shard`]: the sessions of one relay thread, on any clock and any network.
//! - `net`: the relay threads themselves.
//!
//! Everything outside `net` is a core: no socket, no clock, no lock, and no allocation for a
//! packet. This crate knows no SIP and no SDP.
//!
//! # Departures from an RFC
//! - SRTCP is always authenticated and never accepted without its tag; RFC 3711 leaves no choice,
//!   but stacks exist that skip the tag when the packet is not encrypted.
//! - A sender refuses to protect an index twice or an index far behind the newest one (RFC 3711
//!   §3.3 does not ask for it): that would use the same key stream for two payloads.
//! - A stream first heard after its first rollover is tried with rollover counters 0 and 1
//!   (RFC 3711 §3.3.1 assumes that the counter is signalled).
//! - Where an MKI was signalled, packets are taken with it and without it (RFC 3711 §3.1 wants it
//!   in every packet; peers exist that leave it out). The tag decides.
//! - A receiver does not refuse packets when the signalled lifetime is used up (RFC 3711 §9.2); it
//!   reports it. A sender does refuse.
//! - Of relayed RTCP only the reports pass, in the numbers of the side that hears them (RFC 3550
//!   §7.2 would pass the rest of a compound): a BYE speaks of a source that the peer never saw, and
//!   a CNAME may tell addresses of the other network.
//! - No more than 1,000 RTP packets and 50 RTCP compounds of one peer are passed on in a second.
//! - A session that another process had goes on 8,192 packets further on (1,024 without keys), which a
//!   peer takes for a loss or, by RFC 3550 A.1, for a source that began again.
//! - A source is heard from its first packet; RFC 3550 A.1 waits for a second one. Two are wanted
//!   only after a jump of the sequence.

pub mod audio;
#[cfg(feature = "net")]
pub mod net;
pub mod packet;
pub mod plan;
pub mod ports;
pub mod quality;
pub mod shard;
pub mod srtp;
pub mod state;
pub mod tap;

#[cfg(feature = "net")]
pub use net::{Full, Relay, RelayConfig, StartError};
pub use plan::{
    Command, End, Event, Plan, Play, PoolConfig, PoolId, Port, Security, SessionId, Side, SidePlan,
    SideStats, Sound,
};
pub use ports::{Capacity, Family, Ports, Want};
pub use quality::Codec;
pub use state::{Reach, SessionState};
