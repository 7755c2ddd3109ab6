//! Packets on the wire: RTP and RTCP (RFC 3550), extended reports (RFC 3611), their neighbours on one port (RFC 5761,
//! RFC 7983) and telephone events (RFC 4733). Views borrow, rewriting is in place, building goes
//! into the caller's buffer; nothing here allocates or panics, whatever the bytes are.
//!
//! This is the door to `rtp-rs`; no type of it leaves this module.

mod demux;
mod extended;
mod report;
mod rtcp;
mod rtp;
mod telephone_event;

pub use demux::{Kind, classify};
pub use extended::{VoipMetrics, voip_metrics};
pub use report::{NoRoom, ReportBlock, RtcpWriter, SenderInfo};
pub(crate) use rtcp::EXTENDED_REPORT;
pub use rtcp::{Compound, Goodbye, Packet, Packets, Report, rewrite_ssrcs};
pub use rtp::{Header, Rtp, RtpMut};
pub use telephone_event::TelephoneEvent;

/// A synchronisation source (RFC 3550 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ssrc(pub u32);

impl std::fmt::Display for Ssrc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The four bytes at `at` as a number in network order; `None` past the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// The two bytes at `at` as a number in network order; `None` past the end.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}
