//! How a trunk and we prove to each other who we are: secrets, credentials, registration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret: never shown, wiped when it is dropped, compared in constant time.
#[derive(Clone)]
pub struct Secret {
    pub(crate) from: Origin,
    text: Zeroizing<String>,
}

/// Where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the configuration itself.
    Written,
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// Credentials for one realm (RFC 3261 §22): no other is ever answered with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The realm, byte for byte as it stands in challenges.
    pub realm: String,
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How we register with a trunk's registrar (RFC 3261 §10.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The host of the address-of-record and the Request-URI; an IPv6 address in brackets.
    pub registrar: String,
    /// The user of the address-of-record.
    pub user: String,
    /// The user of our Contact: calls come for this one.
    pub contact: String,
    /// For how long we ask, 1 min to 24 h.
    pub expires: Duration,
    /// At every peer, not only at the first that takes it.
    pub each_peer: bool,
}

impl Secret {
    pub(crate) const fn new(from: Origin, text: Zeroizing<String>) -> Self {
        Self { from, text }
    }

    /// A secret of a test or of a program.
    pub fn of(text: &str) -> Self {
        Self::new(Origin::Written, Zeroizing::new(text.to_owned()))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from && bool::from(self.text.as_bytes().ct_eq(other.text.as_bytes()))
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    /// Where it stands, never what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.from).finish()
    }
}
