//! The relay from outside: its shard core on virtual time, and its threads on loopback. The other
//! end builds and reads its own packets and does SRTP with webrtc-srtp, so that no fault of ours
//! can hide behind itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod attacks;
mod bench;
mod keys;
mod lives;
#[cfg(feature = "net")]
mod loopback;
mod peer;
mod play;
mod quality;
mod resume;
mod rtcp;
mod shard;
mod sources;
mod strangers;
mod tap;
mod udptl;
