//! Black-box tests of everything that reads and writes bytes: torture messages, properties, and a
//! second parser's opinion. One binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod differential;
mod mutated;
mod properties;
mod torture;
