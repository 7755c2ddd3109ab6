//! The whole play: two tenants and two carriers around one gateway, calls in both directions.
//!
//! [`prepare`] makes certificates and configuration and starts the fakes; then the gateway is
//! started with [`Scene::config`]; [`run`] plays the calls and judges them by what was captured.

pub(crate) mod configuration;
pub(crate) mod network;
mod play;
mod report;
pub(crate) mod scene;

pub use play::run;
pub use report::{Outcome, Report};
pub use scene::{DemoError, Scene, prepare};
