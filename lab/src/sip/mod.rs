//! Reading captured SIP and SDP, and writing messages from text templates.
//!
//! Small and slow on purpose: it copies, it splits lines, it knows no state. It is the yardstick
//! for the gateway's own parser, so it shares nothing with it.

mod framing;
mod message;
mod sdp;
mod template;

pub use framing::{Frame, Framing};
pub use message::{Message, host_of, port_of, tag_of, uri_of};
pub use sdp::{Crypto, Direction, Rtpmap, Sdp};
pub use template::{fill, message};
