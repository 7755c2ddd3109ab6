//! The types that are written as strings or numbers: each is parsed once, at the edge.

pub(crate) mod address;
pub(crate) mod file;
pub(crate) mod name;
pub(crate) mod pattern;
pub(crate) mod scalar;
pub(crate) mod timezone;
