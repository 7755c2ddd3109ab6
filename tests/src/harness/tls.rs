//! TLS of the raw ends: rustls with its own verifiers, from the PEM files of the test PKI.

use std::path::Path;
use std::sync::Arc;

use lab::pki::Identity;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

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
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(trust)), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
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
