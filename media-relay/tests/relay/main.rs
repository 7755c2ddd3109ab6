//! The relay from outside: its shard core on virtual time, and its threads on loopback. The other
//! end builds and reads its own packets and does SRTP with webrtc-srtp, so that no fault of ours
//! can hide behind itself.

mod bench;
mod loopback;
mod peer;
mod shard;
