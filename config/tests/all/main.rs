//! Black-box tests of the configuration: files in, configuration or report out.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a panic is a failure, and speed is measured"
)]

mod access;
mod attacks;
mod bad;
mod contract;
mod diff;
mod documents;
mod files;
mod good;
mod hostile;
mod profiles;
mod registrar;
mod schema;
mod scratch;
mod sounds;
