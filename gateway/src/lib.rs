//! The gateway: calls between tenants and trunks, on top of the stack and the relay.
//!
//! [`core`] decides, without socket or clock.

pub mod admin;
pub mod admission;
pub mod call;
pub mod cdr;
pub mod check;
pub mod cli;
pub mod core;
pub mod event;
pub mod failure;
pub mod locals;
pub mod logging;
pub mod metrics;
pub mod numbers;
pub mod profile;
pub mod random;
pub mod routing;
pub mod run;
pub mod service;
