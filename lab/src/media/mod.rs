//! Media of one end: a tone as G.711 in RTP or SRTP, and the tape of what went out and came in.
//!
//! Every frame carries a mark (stream and frame number in the lowest bit of its first 64 samples),
//! so a payload says by itself which stream and frame it is, whatever happens to the RTP header.
//! [`judge`] compares what one end sent with what the other received.

mod port;
mod rtp;
pub mod srtp;
mod tone;
mod verdict;

pub use port::{Incoming, Outgoing, Packet, Port, Tape};
pub use rtp::Rtp;
pub use tone::{FRAME, Law, loudest};
pub use verdict::{Delay, Flow, judge};
