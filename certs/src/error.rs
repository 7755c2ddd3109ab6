//! What can be wrong with the operator's certificate files: each message says what, where, and what
//! to do. What a peer presents is never an error here, see [`crate::verify`].

use std::io;
use std::path::PathBuf;

/// A fault in a certificate, key or roots file, or in the names given with them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("{}: no certificate in this file; PEM (-----BEGIN CERTIFICATE-----) is expected, leaf first, then intermediates", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no private key.
    #[error("{}: no private key in this file; PEM (-----BEGIN PRIVATE KEY-----, RSA or EC too) is expected", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key is protected by a passphrase.
    #[error("{}: the private key is encrypted; give it without a passphrase (openssl pkey -in … -out …)", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The armour of a PEM section is damaged.
    #[error("{}: section {position} is not valid PEM: {source}", path.display())]
    Armour {
        /// The file.
        path: PathBuf,
        /// Which section, counted from 1.
        position: usize,
        /// What the reader met.
        source: rustls_pki_types::pem::Error,
    },
    /// The bytes within a PEM section are no X.509 certificate.
    #[error("{}: certificate {position} is damaged: it is not a valid X.509 certificate", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which certificate, counted from 1.
        position: usize,
    },
    /// The private key is of a kind we cannot use.
    #[error("{}: this private key cannot be used ({source}); RSA of at least 2048 bits or ECDSA P-256/P-384 is expected", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What the provider said.
        source: rustls::Error,
    },
    /// The key is not the leaf's.
    #[error("{}: the key does not belong to the first certificate in {}", key.display(), certificate.display())]
    WrongKey {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The key belongs to a certificate that is not the first one.
    #[error("{}: the key {} belongs to certificate {position}; put it first, then its intermediates", certificate.display(), key.display())]
    LeafNotFirst {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Which certificate the key belongs to, counted from 1.
        position: usize,
    },
    /// A root that rustls cannot use as a trust anchor.
    #[error("{}: certificate {position} cannot be a trust anchor: {source}", path.display())]
    UnusableRoot {
        /// The file.
        path: PathBuf,
        /// Which certificate, counted from 1.
        position: usize,
        /// What rustls said.
        source: rustls::Error,
    },
    /// None of the known places has a trust store.
    #[error("no system trust store found (looked at {}); install ca-certificates or name a roots file", crate::roots::SYSTEM_STORES.join(", "))]
    NoSystemRoots,
    /// A name to check peers against is neither a host name nor an address.
    #[error(
        "\"{name}\" is neither a host name nor an IP address; a certificate cannot be checked against it"
    )]
    BadName {
        /// The text given.
        name: String,
    },
    /// An empty list of names would accept nobody.
    #[error("no certificate name given; nobody could be accepted")]
    NoNames,
}
