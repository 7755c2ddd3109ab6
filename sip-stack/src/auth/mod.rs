//! Digest authentication (RFC 3261 §22, RFC 7616; algorithms and several challenges by RFC 8760).
//!
//! Both sides as plain values: a [`Challenge`] is read and written, a [`Session`] answers one challenge again and again
//! with a count that goes up, an [`Authorization`] is read and says whether a password is behind it. Who may have a
//! password, and how long a nonce lives, is the owner's to know.
//!
//! On purpose: only `qop=auth`, or none for servers of RFC 2069; no `auth-int`, no `userhash`, no `nextnonce`. Values are
//! kept as they stand between their quotes: escapes in them are neither undone nor made, since both sides hash the
//! bytes that they see.

mod algorithm;
mod authorization;
mod challenge;
mod pairs;

pub use self::algorithm::{Algorithm, Hash};
pub use self::authorization::{Authorization, Login, Session};
pub use self::challenge::{Challenge, Role};
