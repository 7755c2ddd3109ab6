//! Speed, side by side with peers: the load generator, the servers it drives, and the table they fill.
//!
//! The benches of single parts lie in `benches/`; `benches/gateway.rs` is the whole gateway beside
//! Kamailio and rtpengine. The generator shares no code with `sip-stack`: its messages are text
//! templates and it reads only the few headers it needs.

pub mod load;
pub mod peer;
pub mod stolen;
pub mod table;
pub mod verdict;
