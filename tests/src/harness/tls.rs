//! TLS of the raw ends: rustls with its own verifiers, from the PEM files of the test PKI.

use std::path::Path;
use std::sync::Arc;

use lab::pki::Identity;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};

pub fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn key(path: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(path).unwrap()
}

fn roots(path: &Path) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for certificate in chain(path) {
        store.add(certificate).unwrap();
    }
    store
}

/// As a proxy of Teams: shows `identity`, demands a client certificate under `trust`.
pub fn server(identity: &Identity, trust: &Path) -> Arc<ServerConfig> {
    serving(identity, trust, aws_lc_rs::default_provider())
}

/// The same with one suite only.
pub fn server_of(identity: &Identity, trust: &Path, suite: CipherSuite) -> Arc<ServerConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    assert_eq!(provider.cipher_suites.len(), 1, "{suite:?}");
    serving(identity, trust, provider)
}

fn serving(identity: &Identity, trust: &Path, provider: CryptoProvider) -> Arc<ServerConfig> {
    let provider = Arc::new(provider);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(trust)), Arc::clone(&provider))
            .build()
            .unwrap();
    let suites = &provider.cipher_suites;
    let versions: Vec<_> = rustls::ALL_VERSIONS
        .iter()
        .copied()
        .filter(|version| suites.iter().any(|suite| suite.version().version == version.version))
        .collect();
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&identity.certificate), key(&identity.key))
        .unwrap();
    Arc::new(config)
}

/// As a client: checks the gateway's certificate and its name, shows `identity` if there is one.
pub fn client(identity: Option<&Identity>, trust: &Path) -> Arc<ClientConfig> {
    client_of(identity, trust, rustls::ALL_VERSIONS)
}

/// The same for chosen versions.
pub fn client_of(
    identity: Option<&Identity>,
    trust: &Path,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(trust));
    let config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(chain(&identity.certificate), key(&identity.key)).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    Arc::new(config)
}
