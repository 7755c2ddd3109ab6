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
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(text) => Err(Error::EncryptedKey { path: path() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key_error(text: &str) -> String {
        parse_key(text.as_bytes(), Path::new("sbc.key")).unwrap_err().to_string()
    }

    #[test]
    fn certificates_come_in_order_and_other_text_is_skipped() {
        let text = b"subject=a\n-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\n\
            junk\n-----BEGIN PUBLIC KEY-----\nAQ==\n-----END PUBLIC KEY-----\n\
            -----BEGIN CERTIFICATE-----\r\nAg==\r\n-----END CERTIFICATE-----\r\n";
        let found = parse_certificates(text, Path::new("a.pem")).unwrap();
        assert_eq!(found, [CertificateDer::from(vec![1]), CertificateDer::from(vec![2])]);
    }

    #[test]
    fn a_file_without_certificate_is_named() {
        let error = parse_certificates(b"hello", Path::new("certs/sbc.pem")).unwrap_err();
        assert!(error.to_string().starts_with("certs/sbc.pem: no certificate in this file"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_certificates(Path::new("/nowhere/sbc.pem")).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/sbc.pem: cannot be read: "));
    }

    #[test]
    fn damaged_armour_names_the_section() {
        let text = b"-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\n\
            -----BEGIN CERTIFICATE-----\nA*==\n-----END CERTIFICATE-----\n";
        let error = parse_certificates(text, Path::new("a.pem")).unwrap_err();
        assert!(matches!(error, Error::Armour { position: 2, .. }), "{error}");
    }

    #[test]
    fn keys_of_all_three_kinds_are_read() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let text = format!("-----BEGIN {label}-----\nAQ==\n-----END {label}-----\n");
            assert!(parse_key(text.as_bytes(), Path::new("a.key")).is_ok(), "{label}");
        }
    }

    #[test]
    fn encrypted_and_absent_keys_are_told_apart() {
        let pkcs8 =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQ==\n-----END ENCRYPTED PRIVATE KEY-----";
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
            AQ==\n-----END RSA PRIVATE KEY-----\n";
        assert!(key_error(pkcs8).contains("the private key is encrypted"));
        assert!(key_error(old).contains("the private key is encrypted"));
        assert!(key_error("").contains("no private key in this file"));
    }
}
