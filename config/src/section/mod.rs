//! The tables of the configuration, one file each: keys, meaning, and what is read from them.
//!
//! What is read stands in `Raw…` structs: each value typed and with its place, names not yet
//! resolved, `None` where a fault was noted.

pub(crate) mod access;
pub(crate) mod admission;
pub(crate) mod callers;
pub(crate) mod edge;
pub(crate) mod emergency;
pub(crate) mod failover;
pub(crate) mod fax;
pub(crate) mod gateway;
pub(crate) mod header;
pub(crate) mod media;
pub(crate) mod media_timeout;
pub(crate) mod numbers;
pub(crate) mod profile;
pub(crate) mod realm;
pub(crate) mod registrar;
pub(crate) mod reliable;
pub(crate) mod root;
pub(crate) mod secret;
pub(crate) mod tenant;
pub(crate) mod trunk;

use crate::key::Section;

/// All tables with keys of their own, for telling where a misplaced key belongs.
pub(crate) static ALL: &[&Section] = &[
    &gateway::GATEWAY,
    &gateway::TLS,
    &edge::TEAMS,
    &edge::EDGE,
    &realm::CARRIER,
    &realm::REALM,
    &media::MEDIA,
    &media::MEDIA_ADDRESS,
    &gateway::ADMIN,
    &gateway::DNS,
    &gateway::LOG,
    &trunk::TRUNK,
    &profile::PROFILE,
    &trunk::MATCH_SECTION,
    &access::LOGIN,
    &access::CLAIM,
    &access::REGISTER_SECTION,
    &registrar::REGISTRAR_SECTION,
    &tenant::TENANT,
    &emergency::SITE,
    &admission::LIMITS_SECTION,
    &admission::BOUND_SECTION,
    &admission::NUMBER_SECTION,
    &numbers::NUMBERS,
];
