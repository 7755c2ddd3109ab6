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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn build(certificate: &str, key: &str) -> Result<Identity, Error> {
        let certificate = (certificate.as_bytes(), Path::new("sbc.pem"));
        Identity::from_pem(certificate, (key.as_bytes(), Path::new("sbc.key")))
    }

    #[test]
    fn files_are_loaded_also_when_they_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = pair("sbc.test");
        let path = dir.path().join("both.pem");
        std::fs::write(&path, certificate + &key).unwrap();
        let identity = Identity::load(&path, &path).unwrap();
        assert!(identity.leaf().covers("sbc.test"));
        assert_eq!(identity.chain().len(), 1);
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let ((certificate, _), (_, key)) = (pair("sbc.test"), pair("sbc.test"));
        let error = build(&certificate, &key).unwrap_err().to_string();
        assert_eq!(error, "sbc.key: the key does not belong to the first certificate in sbc.pem");
    }

    #[test]
    fn a_leaf_that_is_not_first_is_named() {
        let ((issuer, _), (leaf, key)) = (pair("issuer.test"), pair("sbc.test"));
        let error = build(&(issuer + &leaf), &key).unwrap_err().to_string();
        let expected = "sbc.pem: the key sbc.key belongs to certificate 2; put it first, then its intermediates";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_damaged_certificate_is_named() {
        let (certificate, key) = pair("sbc.test");
        let damaged = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let error = build(&(certificate + damaged), &key).unwrap_err();
        assert!(matches!(error, Error::Damaged { position: 2, .. }), "{error}");
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let (certificate, _) = pair("sbc.test");
        let key = "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n";
        assert!(matches!(build(&certificate, key), Err(Error::UnusableKey { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let (certificate, key) = pair("sbc.test");
        let shown = format!("{:?}", build(&certificate, &key).unwrap());
        assert!(shown.contains("sbc.test") && !shown.contains("key"), "{shown}");
    }
}
