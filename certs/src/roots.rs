//! The roots we trust: the seven that Microsoft's signalling certificates chain to, shipped as
//! files; a file of the operator's; or the system's store, for carriers.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::{Certificate, Error, pem};

/// A set of trust anchors.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    certificates: Vec<Certificate>,
}

/// One of the roots shipped with the gateway.
#[derive(Clone, Copy, Debug)]
pub struct ShippedRoot {
    /// Its common name.
    pub name: &'static str,
    /// The PEM file.
    pub pem: &'static [u8],
    /// SHA-256 over its DER bytes, lower-case hexadecimal.
    pub sha256: &'static str,
}

impl Roots {
    /// The seven of [`MICROSOFT`].
    pub fn microsoft() -> Result<Self, Error> {
        let mut ders = Vec::new();
        for root in &MICROSOFT {
            ders.extend(pem::parse_certificates(root.pem, Path::new(root.name))?);
        }
        Self::strict(ders, Path::new("the shipped roots"))
    }

    /// All certificates of a PEM file, each of which must be usable.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::strict(pem::read_certificates(path)?, path)
    }

    /// The same from PEM text; the path is for the messages only.
    pub fn from_pem(text: &[u8], path: &Path) -> Result<Self, Error> {
        Self::strict(pem::parse_certificates(text, path)?, path)
    }

    /// The system's trust store: the first of [`SYSTEM_STORES`] that exists. Certificates in it that
    /// rustls cannot use are left out.
    pub fn system() -> Result<Self, Error> {
        Self::lenient(system_store()?)
    }

    /// The certificates of the system's trust store as they stand there, in DER: for clients that keep roots of their own.
    pub fn system_ders() -> Result<Vec<CertificateDer<'static>>, Error> {
        pem::read_certificates(system_store()?)
    }

    /// The roots, read.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The roots in the form rustls wants.
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    fn strict(ders: Vec<CertificateDer<'static>>, path: &Path) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        let mut certificates = Vec::with_capacity(ders.len());
        for (index, der) in ders.into_iter().enumerate() {
            let position = index + 1;
            let damaged = || Error::Damaged { path: path.to_owned(), position };
            certificates.push(Certificate::read(&der).ok_or_else(damaged)?);
            store.add(der).map_err(|source| Error::UnusableRoot {
                path: path.to_owned(),
                position,
                source,
            })?;
        }
        Ok(Self { store: Arc::new(store), certificates })
    }

    fn lenient(path: &Path) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        let mut certificates = Vec::new();
        for der in pem::read_certificates(path)? {
            let Some(certificate) = Certificate::read(&der) else { continue };
            if store.add(der).is_ok() {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() {
            return Err(Error::NoCertificate { path: path.to_owned() });
        }
        Ok(Self { store: Arc::new(store), certificates })
    }
}

fn system_store() -> Result<&'static Path, Error> {
    let found = SYSTEM_STORES.iter().map(Path::new).find(|path| path.is_file());
    found.ok_or(Error::NoSystemRoots)
}

/// The roots of Microsoft's Direct Routing certificates (its list of 2025-12-12).
pub const MICROSOFT: [ShippedRoot; 7] = [
    ShippedRoot {
        name: "DigiCert Global Root CA",
        pem: include_bytes!("../roots/digicert-global-root-ca.pem"),
        sha256: "4348a0e9444c78cb265e058d5e8944b4d84f9662bd26db257f8934a443c70161",
    },
    ShippedRoot {
        name: "DigiCert Global Root G2",
        pem: include_bytes!("../roots/digicert-global-root-g2.pem"),
        sha256: "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f",
    },
    ShippedRoot {
        name: "DigiCert Global Root G3",
        pem: include_bytes!("../roots/digicert-global-root-g3.pem"),
        sha256: "31ad6648f8104138c738f39ea4320133393e3a18cc02296ef97c2ac9ef6731d0",
    },
    ShippedRoot {
        name: "DigiCert TLS ECC P384 Root G5",
        pem: include_bytes!("../roots/digicert-tls-ecc-p384-root-g5.pem"),
        sha256: "018e13f0772532cf809bd1b17281867283fc48c6e13be9c69812854a490c1b05",
    },
    ShippedRoot {
        name: "DigiCert TLS RSA4096 Root G5",
        pem: include_bytes!("../roots/digicert-tls-rsa4096-root-g5.pem"),
        sha256: "371a00dc0533b3721a7eeb40e8419e70799d2b0a0f2c1d80693165f7cec4ad75",
    },
    ShippedRoot {
        name: "Microsoft ECC Root Certificate Authority 2017",
        pem: include_bytes!("../roots/microsoft-ecc-root-certificate-authority-2017.pem"),
        sha256: "358df39d764af9e1b766e9c972df352ee15cfac227af6ad1d70e8e4a6edcba02",
    },
    ShippedRoot {
        name: "Microsoft RSA Root Certificate Authority 2017",
        pem: include_bytes!("../roots/microsoft-rsa-root-certificate-authority-2017.pem"),
        sha256: "c741f70f4b2a8d88bf2e71c14122ef53ef10eba0cfa5e64cfa20f418853073e0",
    },
];

/// Where distributions keep their trust store, in the order we look.
pub const SYSTEM_STORES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, Gentoo, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",   // older RHEL, CentOS
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // Alpine, BSD, macOS
    "/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn tr_012_the_seven_roots_have_their_fingerprints() {
        let roots = Roots::microsoft().unwrap();
        assert_eq!(roots.store().len(), 7);
        for (read, shipped) in roots.certificates().iter().zip(&MICROSOFT) {
            assert_eq!(hex(read.fingerprint()), shipped.sha256, "{}", shipped.name);
            assert!(
                read.subject().ends_with(&format!("CN={}", shipped.name)),
                "{}",
                read.subject()
            );
            assert_eq!(read.subject(), read.issuer());
            assert!(read.is_authority());
        }
    }

    #[test]
    fn a_file_must_hold_usable_roots_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        let damaged = b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, [MICROSOFT[0].pem, MICROSOFT[1].pem].concat()).unwrap();
        assert_eq!(Roots::load(&path).unwrap().certificates().len(), 2);
        std::fs::write(&path, [MICROSOFT[0].pem, damaged].concat()).unwrap();
        assert!(matches!(Roots::load(&path), Err(Error::Damaged { position: 2, .. })));
        assert_eq!(Roots::lenient(&path).unwrap().certificates().len(), 1);
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(Roots::lenient(&path), Err(Error::NoCertificate { .. })));
    }

    #[test]
    fn the_system_store_is_read_where_there_is_one() {
        match Roots::system() {
            Ok(roots) => assert!(roots.certificates().len() > 10),
            Err(error) => assert!(matches!(error, Error::NoSystemRoots), "{error}"),
        }
    }
}
