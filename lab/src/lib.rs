//! The laboratory: a fake Teams, a fake carrier, a test PKI and tones.
//!
//! It serves `trunkgate demo`, `trunkgate lab` and the black-box tests, and it must not share the
//! gateway's bugs. So it shares no code with the gateway's crates: messages are text templates,
//! verdicts read the captured bytes with a small reader of its own, media is judged with an SRTP
//! written by others ([`media::srtp`]).
//!
//! | Module | Is |
//! |---|---|
//! | [`pki`] | root, intermediate and leaf certificates, good and bad, as PEM files |
//! | [`sip`] | the reader of captured messages and SDP, the text templates |
//! | [`wire`] | UDP, TCP and TLS sockets; facts about each TLS handshake |
//! | [`agent`] | a SIP end: retransmissions, dialogs, the steps of a call |
//! | [`teams`], [`carrier`] | the two dialects on top of it |
//! | [`media`] | G.711 tones, RTP and SRTP, what was sent against what arrived |
//! | [`capture`], [`ladder`] | every message with its time; a call drawn from them |
//! | [`demo`], [`cli`] | the whole play; one end alone |
//! | [`conformance`] | the rules of Direct Routing, each played and judged |
//!
//! What it leaves out on purpose: registration, authentication, DNS, forking towards several
//! branches, ICE. A fake answers as its script says and never guesses.

pub mod agent;
pub mod capture;
pub mod carrier;
pub mod cli;
mod clock;
pub mod conformance;
pub mod demo;
pub mod ladder;
pub mod media;
pub mod pki;
mod seeded;
pub mod sip;
pub mod teams;
pub mod wire;

pub use clock::now;
