//! What was wrong with a TLS handshake, in words that an operator can do something with.

use std::io;

use rustls::{CertificateError, Error};

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The peer does not speak TLS at all.
    NotTls,
    /// No version or cipher in common: the peer is too old.
    Version,
    /// The peer showed no certificate.
    NoCertificate,
    /// Its certificate comes from an authority that is not trusted.
    Issuer,
    /// Its certificate is expired, or not valid yet.
    Date,
    /// Its certificate is good, and another's.
    Name,
    /// Its certificate is for another purpose.
    Purpose,
    /// Our certificate did not please the peer.
    Ours,
    /// It took too long.
    Slow,
    /// The peer went away, or anything else.
    Other,
}

impl Flaw {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of_tls(error),
            None if error.kind() == io::ErrorKind::InvalidData => Self::NotTls,
            None => Self::Other,
        }
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "non-exhaustive; what is left has no name of its own"
    )]
    const fn of_tls(error: &Error) -> Self {
        use CertificateError as C;
        match error {
            Error::InvalidCertificate(error) => match error {
                C::UnknownIssuer => Self::Issuer,
                C::Expired | C::ExpiredContext { .. } => Self::Date,
                C::NotValidYet | C::NotValidYetContext { .. } => Self::Date,
                C::NotValidForName | C::NotValidForNameContext { .. } => Self::Name,
                C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::Purpose,
                _ => Self::Issuer,
            },
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::PeerIncompatible(_) => Self::Version,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(_) => Self::Ours,
            _ => Self::Other,
        }
    }
}
