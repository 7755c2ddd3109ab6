//! Reading PEM (RFC 7468) files: certificates in order, and one private key.
//!
//! Text around the sections and sections of other kinds are skipped, as openssl does.

use std::fs;
use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// All certificates of a file, in the file's order; at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    parse_certificates(&read(path)?, path)
}

/// All certificates in `text`, in order; at least one. `path` is for the messages only.
pub fn parse_certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut found = Vec::new();
    for (index, item) in CertificateDer::pem_slice_iter(text).enumerate() {
        let position = index + 1;
        found.push(item.map_err(|source| Error::Armour {
            path: path.to_owned(),
            position,
            source,
        })?);
    }
    if found.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1, not encrypted.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    parse_key(&read(path)?, path)
}

/// The first private key in `text`. `path` is for the messages only.
pub fn parse_key(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let path = || path.to_owned();
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(_) if is_encrypted(text) => Err(Error::EncryptedKey { path: path() }),
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if is_encrypted(text) => {
            Err(Error::EncryptedKey { path: path() })
        }
        Err(pem::Error::NoItemsFound) => Err(Error::NoKey { path: path() }),
        Err(source) => Err(Error::Armour { path: path(), position: 1, source }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// PKCS#8's own label, or the header of the older format.
fn is_encrypted(text: &[u8]) -> bool {
    [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| text.windows(mark.len()).any(|part| part == *mark))
}
