//! A certificate of ours with its key: what we present as server and as client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::{Certificate, Error, pem, tls};

/// A chain (leaf first, then intermediates) and the leaf's private key, checked against each other.
#[derive(Clone)]
pub struct Identity {
    leaf: Certificate,
    key: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads both files. They may be the same file.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let chain = pem::read_certificates(certificate)?;
        let der = pem::read_key(key)?;
        Self::build(Origin { certificate, key }, chain, der)
    }

    /// The same from PEM text in memory; the paths are for the messages only.
    pub fn from_pem(certificate: (&[u8], &Path), key: (&[u8], &Path)) -> Result<Self, Error> {
        let chain = pem::parse_certificates(certificate.0, certificate.1)?;
        let der = pem::parse_key(key.0, key.1)?;
        Self::build(Origin { certificate: certificate.1, key: key.1 }, chain, der)
    }

    /// The leaf, read.
    pub const fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The chain as it is presented.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Chain and key in the form rustls wants.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    fn build(
        origin: Origin<'_>,
        chain: Vec<CertificateDer<'static>>,
        key: rustls_pki_types::PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let mut leaf = None;
        for (index, der) in chain.iter().enumerate() {
            let read = Certificate::read(der).ok_or_else(|| Error::Damaged {
                path: origin.certificate(),
                position: index + 1,
            })?;
            leaf.get_or_insert(read);
        }
        let leaf = leaf.ok_or_else(|| Error::NoCertificate { path: origin.certificate() })?;
        let key = tls::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| Error::UnusableKey { path: origin.key(), source })?;
        let key = CertifiedKey::new(chain, key);
        if key.keys_match().is_err() {
            return Err(origin.wrong_key(&key));
        }
        Ok(Self { leaf, key: Arc::new(key) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

/// Where the two parts came from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    certificate: &'a Path,
    key: &'a Path,
}

impl Origin<'_> {
    fn certificate(self) -> PathBuf {
        self.certificate.to_owned()
    }

    fn key(self) -> PathBuf {
        self.key.to_owned()
    }

    /// Finds out whether the key belongs to another certificate of the chain.
    fn wrong_key(self, pair: &CertifiedKey) -> Error {
        let belongs = |der: &CertificateDer<'static>| {
            CertifiedKey::new(vec![der.clone()], Arc::clone(&pair.key)).keys_match().is_ok()
        };
        match pair.cert.iter().position(belongs) {
            Some(index) => Error::LeafNotFirst {
                certificate: self.certificate(),
                key: self.key(),
                position: index + 1,
            },
            None => Error::WrongKey { certificate: self.certificate(), key: self.key() },
        }
    }
}
