//! TLS settings made of our certificates and the checks of a peer's: TLS 1.2 and 1.3, aws-lc-rs.
//!
//! The provider's own suites are kept: AES-GCM and ChaCha20 with ECDHE, for RSA and ECDSA. No CBC, no
//! renegotiation, no early data, no resumption.

use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use crate::{ClientVerifier, Identities, ServerVerifier};

/// Whether a client must show a certificate.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// It is not asked.
    None,
    /// It is asked; without one the handshake fails.
    Required(Arc<ClientVerifier>),
}

/// Settings of a listener.
pub fn server_config(own: Arc<Identities>, clients: ClientAuth) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .expect("the provider has suites for TLS 1.2 and 1.3");
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Required(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut settings = builder.with_cert_resolver(own);
    settings.session_storage = Arc::new(NoServerSessionStorage {});
    settings.send_tls13_tickets = 0;
    Arc::new(settings)
}

/// Settings of connections that we open. With `own` we show its main certificate when asked.
pub fn client_config(
    own: Option<Arc<Identities>>,
    peers: Arc<ServerVerifier>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(peers);
    let mut settings = match own {
        Some(own) => builder.with_client_cert_resolver(own),
        None => builder.with_no_client_auth(),
    };
    settings.resumption = Resumption::disabled();
    Arc::new(settings)
}

/// The cryptography of every handshake.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

static VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];
