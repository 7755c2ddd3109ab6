//! SRTP and SRTCP (RFC 3711), with AES-GCM (RFC 7714), keyed by SDES (RFC 4568).
//!
//! A [`Sender`] protects what we send under one master key, a [`Receiver`] opens what a peer sends
//! under one of its own. Both work in the packet's buffer, allocate nothing for a packet, and hold
//! no clock and no socket. This is the door to `aes`, `sha1`, `aws-lc-rs` and `subtle`.
//!
//! What holds whatever the network sends:
//! - a packet is authenticated before anything of it is used; SRTCP too, whatever its E bit says;
//! - a packet that is refused changes neither its buffer nor the context, so the same bytes may
//!   be offered to another context;
//! - state belongs to authenticated sources only, and their number is bounded;
//! - an index is never protected twice under one key.
//!
//! Not here: key derivation rates (RFC 3711 §4.3.1), unauthenticated or unencrypted SRTP session
//! parameters (RFC 4568 §6.3), EKT, DTLS.

mod cipher;
mod cm;
mod derive;
mod gcm;
mod hmac;
mod index;
mod key;
mod receiver;
mod replay;
mod sender;
mod snapshot;
mod streams;
mod suite;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod vectors;

pub use key::{KeyError, MasterKey, Mki};
pub use receiver::Receiver;
pub use sender::Sender;
pub use snapshot::{Advance, Snapshot, StreamSnapshot};
pub use suite::Suite;

/// The largest packet that is protected or opened, trailer included.
pub const MAX_PACKET: usize = 2048;

/// The most that protection adds to a packet: tag, SRTCP index and the longest MKI.
pub const MAX_TRAILER: usize = 16 + 4 + Mki::MAX;

/// Why a packet was not protected or not opened. Packet and context are then unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// Not RTP or RTCP, or shorter than its header and trailer.
    #[error("packet is malformed")]
    Malformed,
    /// Longer than [`MAX_PACKET`].
    #[error("packet is too long")]
    TooLong,
    /// The buffer has no room for the trailer.
    #[error("buffer has no room for the trailer")]
    NoRoom,
    /// The tag is wrong: another key, another rollover counter, or forged.
    #[error("packet is not authentic")]
    Unauthenticated,
    /// This index was seen before.
    #[error("packet was seen before")]
    Replayed,
    /// Too far behind the newest packet to know whether it was seen.
    #[error("packet is too old")]
    Late,
    /// The key has protected as many packets as it may (RFC 3711 §9.2, RFC 4568 §6.1).
    #[error("key has reached its lifetime")]
    Exhausted,
    /// The key has protected as many sources as it may.
    #[error("too many sources under one key")]
    TooManySources,
}

/// How much of a master key's life is used (RFC 3711 §9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// SRTP packets under this key.
    pub rtp: u64,
    /// SRTCP packets under this key.
    pub rtcp: u64,
    /// A bound is reached: the peers need a new key. A sender refuses from here on.
    pub exhausted: bool,
}

/// RFC 3711 §9.2: no key protects more SRTP packets.
const MAX_RTP_PACKETS: u64 = 1 << 48;

/// RFC 3711 §9.2: no key protects more SRTCP packets; also the modulus of the SRTCP index.
const MAX_RTCP_PACKETS: u64 = 1 << 31;
