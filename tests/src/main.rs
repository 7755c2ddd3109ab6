//! Black box: the real binary, started on a configuration of the fixed shape, spoken to only over
//! the wire by peers that share no code with it.
//!
//! | Module | Shows |
//! |---|---|
//! | [`cases::peers_alone`] | the peers work against each other, so that a failure below is the gateway's |
//! | [`cases::calls`] | PJSIP as Teams, SIPp and PJSIP as carriers; media judged by libsrtp, messages by tshark |
//! | [`cases::tenants`] | whose call it is: tenants, trunks, equal numbers |
//! | [`cases::options`], [`cases::tls`], [`cases::rules`], [`cases::srtp`] | rules by their number, TR-nnn |
//! | [`cases::conformance`] | every rule as `trunkgate lab conformance` judges it, and its page in docs/ |
//! | [`cases::conformance_kamailio`] | the same command finds the known faults of a plain proxy |
//! | [`cases::course`] | CANCEL, BYE, hold, refusals, records, draining |
//! | [`cases::keys`] | keys of the configuration, by what they do to a call |
//! | [`cases::routes`] | next hops: failover, names, other edges and realms, strangers |
//! | [`cases::three_hops`] | one call with a black hole, a 503 and a hop that works; the first one comes back |
//! | [`cases::neighbours`] | a tenant at ten times its rate, and who shares its trunks; calls for help with everything full |
//! | [`cases::networks`] | IPv6 beside IPv4, behind NAT, media from another network than signalling |
//! | [`cases::relay`] | what is relayed and what never is: early media, events, forged packets |
//! | [`cases::leak`] | thousands of short calls leave nothing behind |
//! | [`cases::reload`] | another configuration, another certificate, while calls go on |
//! | [`cases::names`], [`cases::bad_line`] | name servers that fail, a network that loses packets |
//! | [`cases::survival`], [`cases::upgrade`] | the process dies, the disk is full, a new process takes over |
//! | [`cases::attacks_strangers`], [`cases::attacks_connections`], [`cases::attacks_dialogs`], [`cases::attacks_numbers`], [`cases::attacks_admin`] | attacks by their number, AT-nn |
//! | [`cases::hostile`] | random bytes on every port |
//! | [`cases::attacks_parsing`], [`cases::attacks_sdp`], [`cases::attacks_media`] | known attacks by their number, AT-nn |
//! | [`cases::torture`] | the torture messages of RFC 4475 and RFC 5118 over UDP and TCP |
//!
//! `TRUNKGATE_BIN` names the binary; `make peers` installs the peers.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "all of this crate is a test, and its clock is the wall's"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "nobody uses this crate; names of tests say what they show"
)]

mod cases;
mod harness;
