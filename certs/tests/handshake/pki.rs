//! A certificate authority in memory for the tests of this crate.

use std::path::Path;

use certs::{Identity, Roots};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PKCS_RSA_SHA384, RsaKeySize, date_time_ymd,
};

/// The kinds of key that roots have in the field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 4096 bits.
    Rsa4096,
    /// ECDSA, P-256.
    P256,
    /// ECDSA, P-384.
    P384,
}

impl Kind {
    /// A fresh key.
    pub(crate) fn key(self) -> KeyPair {
        match self {
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA384, RsaKeySize::_4096),
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        }
        .unwrap()
    }
}

/// A root or an intermediate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// What a leaf's chain must carry besides the leaf.
    above: String,
}

impl Authority {
    /// A self-signed root.
    pub(crate) fn root(name: &str, kind: Kind) -> Self {
        let (params, key) = (authority(name), kind.key());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, above: String::new() }
    }

    /// An intermediate below this authority.
    pub(crate) fn intermediate(&self, name: &str, kind: Kind) -> Self {
        let (params, key) = (authority(name), kind.key());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let above = format!("{pem}{}", self.above);
        Self { issuer: Issuer::new(params, key), pem, above }
    }

    /// This authority as the only root.
    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.pem.as_bytes(), Path::new("root.pem")).unwrap()
    }

    /// A leaf for `names` with a P-256 key, valid now.
    pub(crate) fn leaf(&self, names: &[&str], usage: &[ExtendedKeyUsagePurpose]) -> Leaf {
        self.sign(leaf(names, usage), Kind::P256)
    }

    /// A leaf that expired in 2020.
    pub(crate) fn expired(&self, names: &[&str]) -> Leaf {
        let mut params = leaf(names, &[]);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params, Kind::P256)
    }

    /// A leaf with a key of a certain kind.
    pub(crate) fn leaf_of(&self, kind: Kind, names: &[&str]) -> Leaf {
        self.sign(leaf(names, &[ExtendedKeyUsagePurpose::ServerAuth]), kind)
    }

    fn sign(&self, params: CertificateParams, kind: Kind) -> Leaf {
        let key = kind.key();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf { chain: format!("{pem}{}", self.above), key: key.serialize_pem() }
    }
}

/// A leaf with its chain and key, as PEM.
pub(crate) struct Leaf {
    /// Leaf first, then intermediates.
    pub chain: String,
    /// PKCS#8.
    pub key: String,
}

impl Leaf {
    /// As ours.
    pub(crate) fn identity(&self) -> Identity {
        let chain = (self.chain.as_bytes(), Path::new("sbc.pem"));
        Identity::from_pem(chain, (self.key.as_bytes(), Path::new("sbc.key"))).unwrap()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = leaf(&[], &[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(names: &[&str], usage: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = usage.to_vec();
    params
}
