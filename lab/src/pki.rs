//! A small test PKI: root, intermediate, and leaves, good and bad, as PEM files.
//!
//! The leaves are RSA-2048 unless asked otherwise, because the cipher suites that Teams lists are
//! all ECDHE-RSA. Every leaf is issued by the intermediate, so that a peer which forgets to send
//! it is found out. The only module that knows rcgen.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::clock;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The generator refused, most often a name that is no host name.
    #[error("certificate {name:?}: {source}")]
    Generate {
        /// File name of the certificate.
        name: String,
        /// What the generator said.
        source: rcgen::Error,
    },
    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there but holds no certificate or key.
    #[error("{}: no certificate or key in PEM form in it", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
}

/// The extended key usage of a leaf (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// serverAuth and clientAuth.
    Both,
    /// serverAuth alone: what Microsoft presents in both directions since April 2026.
    ServerOnly,
    /// clientAuth alone.
    ClientOnly,
    /// No extension at all.
    None,
}

/// From when and until when a leaf is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Yesterday to one year from now.
    Good,
    /// Ended in 2020.
    Expired,
    /// Begins in 2090.
    NotYet,
    /// Ends this many days from now.
    Days(u32),
}

/// The kind of key in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 4096 bits (slow to make: about a second).
    Rsa4096,
    /// ECDSA over P-256.
    EcdsaP256,
    /// ECDSA over P-384.
    EcdsaP384,
}

/// Who signs a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The intermediate under the trusted root.
    Trusted,
    /// A root with the same subject that nobody trusts.
    Rogue,
}

/// A leaf to be issued.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// dNSName entries of the subject alternative name; the first is the common name as well.
    pub names: Vec<String>,
    /// Extended key usage.
    pub usage: Usage,
    /// Validity.
    pub validity: Validity,
    /// Kind of key.
    pub key: KeyKind,
    /// Who signs.
    pub signer: Signer,
}

impl Leaf {
    /// A good leaf for these names: RSA-2048, both usages, trusted.
    #[must_use]
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            usage: Usage::Both,
            validity: Validity::Good,
            key: KeyKind::Rsa2048,
            signer: Signer::Trusted,
        }
    }

    /// The leaf of the fake Teams: `sip.`, `sip2.`, `sip3.` of `domain`.
    #[must_use]
    pub fn teams(domain: &str) -> Self {
        Self::new(["sip", "sip2", "sip3"].map(|host| format!("{host}.{domain}")))
    }

    /// The leaf of a gateway: its base name and one label under it.
    #[must_use]
    pub fn gateway(fqdn: &str) -> Self {
        Self::new([fqdn.to_owned(), format!("*.{fqdn}")])
    }

    /// The same with another extended key usage.
    #[must_use]
    pub const fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// The same with another validity.
    #[must_use]
    pub const fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// The same with another kind of key.
    #[must_use]
    pub const fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// The same, signed by the root that nobody trusts.
    #[must_use]
    pub const fn rogue(mut self) -> Self {
        self.signer = Signer::Rogue;
        self
    }
}

/// A certificate chain with its key, and the files they lie in.
#[derive(Debug)]
pub struct Identity {
    /// PEM: leaf first, then the intermediate.
    pub certificate: PathBuf,
    /// PEM, PKCS#8, mode 0600.
    pub key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads `NAME.pem` and `NAME.key` in `dir`.
    pub fn open(dir: &Path, name: &str) -> Result<Self, PkiError> {
        let (certificate, key) = files(dir, name);
        Self::read(&certificate, &key)
    }

    /// Reads a chain, leaf first, and its key from two PEM files.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| PkiError::Pem { path: key.to_owned() })?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), chain, secret })
    }

    /// Only the leaf, without the intermediate: a chain that cannot be verified.
    #[must_use]
    pub fn without_intermediate(&self) -> Self {
        Self { chain: self.chain.iter().take(1).cloned().collect(), ..self.clone() }
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(crate) fn secret(&self) -> PrivateKeyDer<'static> {
        self.secret.clone_key()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            chain: self.chain.clone(),
            secret: self.secret.clone_key(),
        }
    }
}

/// The trusted roots of one end, from a PEM file.
#[derive(Clone, Debug)]
pub struct Roots {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Reads all certificates of a PEM file.
    pub fn open(path: &Path) -> Result<Self, PkiError> {
        Ok(Self { certificates: certificates(path)? })
    }
}

/// A root, an intermediate, a rogue root, and the directory their files lie in.
pub struct Pki {
    dir: PathBuf,
    root: CertificateDer<'static>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
    rogue: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes the authorities and writes `ca.crt` (the root) and `rogue-ca.crt` into `dir`, which is
    /// made if it is missing.
    pub fn create(dir: &Path) -> Result<Self, PkiError> {
        fs::create_dir_all(dir).map_err(file(dir))?;
        let generate = |source| PkiError::Generate { name: "ca".to_owned(), source };
        let root = authority("trunkgate lab root", None).map_err(generate)?;
        let intermediate =
            authority("trunkgate lab intermediate", Some(&root)).map_err(generate)?;
        let rogue = authority("trunkgate lab root", None).map_err(generate)?;
        write(&dir.join("ca.crt"), &root.pem(), 0o644)?;
        write(&dir.join("rogue-ca.crt"), &rogue.pem(), 0o644)?;
        Ok(Self { dir: dir.to_owned(), root: root.der().clone(), intermediate, rogue })
    }

    /// The file with the root certificate.
    #[must_use]
    pub fn roots_path(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The root as something to trust.
    #[must_use]
    pub fn roots(&self) -> Roots {
        Roots { certificates: vec![self.root.clone()] }
    }

    /// The rogue root as something to trust.
    #[must_use]
    pub fn rogue_roots(&self) -> Roots {
        Roots { certificates: vec![self.rogue.der().clone()] }
    }

    /// Issues a leaf and writes it as `NAME.pem` (with its intermediate) and `NAME.key`.
    pub fn issue(&self, name: &str, leaf: &Leaf) -> Result<Identity, PkiError> {
        let generate = |source| PkiError::Generate { name: name.to_owned(), source };
        let key = key_pair(leaf.key).map_err(generate)?;
        let params = leaf_params(leaf).map_err(generate)?;
        let issuer = match leaf.signer {
            Signer::Trusted => &self.intermediate,
            Signer::Rogue => &self.rogue,
        };
        let certificate = params.signed_by(&key, issuer).map_err(generate)?;
        let (certificate_path, key_path) = files(&self.dir, name);
        write(&certificate_path, &(certificate.pem() + &issuer.pem()), 0o644)?;
        write(&key_path, &key.serialize_pem(), 0o600)?;
        Identity::open(&self.dir, name)
    }
}

fn authority(
    name: &str,
    issuer: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = issuer.is_some();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    match issuer {
        Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer),
        None => CertifiedIssuer::self_signed(params, key),
    }
}

fn leaf_params(leaf: &Leaf) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(leaf.names.clone())?;
    params.distinguished_name = common_name(leaf.names.first().map_or("unnamed", String::as_str));
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = match leaf.usage {
        Usage::Both => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
        Usage::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::ClientOnly => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::None => vec![],
    };
    let today = rcgen::date_time_ymd(1970, 1, 1) + clock::wall();
    let (from, to) = match leaf.validity {
        Validity::Good => (today - DAY, today + DAY * 365),
        Validity::Expired => (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1)),
        Validity::NotYet => (rcgen::date_time_ymd(2090, 1, 1), rcgen::date_time_ymd(2091, 1, 1)),
        Validity::Days(days) => (today - DAY, today + DAY * days),
    };
    params.not_before = from;
    params.not_after = to;
    Ok(params)
}

fn key_pair(kind: KeyKind) -> Result<KeyPair, rcgen::Error> {
    match kind {
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn files(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(PkiError::Pem { path: path.to_owned() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    fs::read(path).map_err(file(path))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { path, source }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_leaf_comes_with_its_intermediate_and_a_private_key_file() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let identity = pki.issue("sbc", &Leaf::gateway("sbc.test")).unwrap();
        assert_eq!(identity.chain().len(), 2);
        assert_eq!(identity.without_intermediate().chain().len(), 1);
        assert_eq!(fs::metadata(&identity.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Roots::open(&pki.roots_path()).unwrap().certificates.len(), 1);
        assert_eq!(Identity::open(dir.path(), "sbc").unwrap().chain().len(), 2);
    }

    #[test]
    fn every_kind_of_leaf_can_be_issued() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let base = Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
        for (name, leaf) in [
            ("server", base.clone().usage(Usage::ServerOnly)),
            ("client", base.clone().usage(Usage::ClientOnly)),
            ("none", base.clone().usage(Usage::None)),
            ("expired", base.clone().validity(Validity::Expired)),
            ("early", base.clone().validity(Validity::NotYet)),
            ("soon", base.clone().validity(Validity::Days(10))),
            ("rogue", base.clone().rogue()),
            ("p384", base.key(KeyKind::EcdsaP384)),
        ] {
            pki.issue(name, &leaf).unwrap();
        }
    }

    #[test]
    fn faults_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Identity::open(dir.path(), "nobody").unwrap_err();
        assert!(missing.to_string().contains("nobody.pem"), "{missing}");
        fs::write(dir.path().join("empty.crt"), "nothing").unwrap();
        let empty = Roots::open(&dir.path().join("empty.crt")).unwrap_err();
        assert!(empty.to_string().contains("no certificate"), "{empty}");
    }
}
