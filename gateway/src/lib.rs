//! The gateway: calls between tenants and trunks, on top of the stack and the relay.
//!
//! [`core`] decides, without socket or clock.

pub mod admin;
pub mod admission;
pub mod authentication;
pub mod call;
pub mod cdr;
pub mod check;
#[cfg(feature = "lab")]
mod child;
pub mod cli;
#[cfg(feature = "lab")]
pub mod conformance_cmd;
pub mod core;
pub mod credentials;
#[cfg(feature = "lab")]
pub mod demo;
pub mod emergency;
pub mod event;
pub mod failure;
pub mod handover;
pub mod intake;
pub mod journal;
#[cfg(feature = "lab")]
pub mod lab_cmd;
pub mod locals;
pub mod logging;
pub mod metrics;
pub mod numbers;
pub mod profile;
pub mod profiles_cmd;
pub mod random;
pub mod registrar;
pub mod registration;
pub mod routing;
pub mod run;
pub mod service;
pub mod sounds;
pub mod state_key;
pub mod strangers;
pub mod webhook;
