//! Mutual TLS with rustls, apart from the gateway's own set-up.
//!
//! The other side's certificate must chain to the roots for serverAuth or clientAuth, whichever
//! side dialled: Microsoft demands serverAuth of a gateway even when the gateway is the client.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::clock;
use crate::pki::{Identity, Roots};
use crate::wire::Handshake;

/// Whom an end believes.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Roots of the other side's chain.
    pub roots: Roots,
    /// When dialling: names of which the certificate must carry one; empty = the name dialled.
    pub names: Vec<String>,
}

/// The TLS of one end, both ways.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Whom a handshake showed.
#[derive(Clone)]
pub struct Peer {
    leaf: Option<CertificateDer<'static>>,
    name: Option<String>,
    version: Option<String>,
    suite: Option<String>,
}

impl Peer {
    /// Whether the certificate shown covers a host name (RFC 2818 §3.1, one label per wildcard).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let Some(leaf) = &self.leaf else {
            return false;
        };
        let parsed = ParsedCertificate::try_from(leaf);
        let name = ServerName::try_from(host.to_owned());
        matches!((parsed, name), (Ok(parsed), Ok(name)) if verify_server_name(&parsed, &name).is_ok())
    }

    /// The server name asked for in the handshake.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn new(state: &CommonState, name: Option<String>) -> Self {
        let leaf = state.peer_certificates().and_then(<[_]>::first).cloned();
        Self {
            leaf: leaf.map(CertificateDer::into_owned),
            name,
            version: state.protocol_version().map(|version| format!("{version:?}")),
            suite: state.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())),
        }
    }

    pub(crate) fn handshake(
        &self,
        inbound: bool,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Handshake {
        Handshake {
            at: clock::now(),
            inbound,
            local,
            remote,
            name: self.name.clone(),
            version: self.version.clone(),
            suite: self.suite.clone(),
            fault: None,
        }
    }
}

/// A handshake that failed.
pub(crate) fn failed(
    inbound: bool,
    local: SocketAddr,
    remote: SocketAddr,
    name: Option<String>,
    error: &io::Error,
) -> Handshake {
    let (at, fault) = (clock::now(), Some(error.to_string()));
    Handshake { at, inbound, local, remote, name, version: None, suite: None, fault }
}

impl Tls {
    /// An end that shows `identity` both ways and always wants a certificate.
    pub fn new(identity: &Identity, trust: &Trust) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier::new(trust, &provider)?);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::clone(&verifier) as _)
            .with_single_cert(identity.chain(), identity.secret())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(identity.chain(), identity.secret())?;
        let (server, client) = (Arc::new(server), Arc::new(client));
        Ok(Self { acceptor: server.into(), connector: client.into() })
    }

    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(Peer, server::TlsStream<TcpStream>)> {
        let stream = self.acceptor.accept(stream).await?;
        let state = stream.get_ref().1;
        let name = state.server_name().map(str::to_owned);
        Ok((Peer::new(state, name), stream))
    }

    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> io::Result<(Peer, client::TlsStream<TcpStream>)> {
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = self.connector.connect(server, stream).await?;
        Ok((Peer::new(stream.get_ref().1, Some(name.to_owned())), stream))
    }
}

/// Believes a chain for serverAuth, else for clientAuth, in both directions.
struct Verifier {
    names: Vec<String>,
    server: Arc<WebPkiServerVerifier>,
    client: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &trust.roots.certificates {
            roots.add(certificate.clone())?;
        }
        let roots = Arc::new(roots);
        let general =
            |error: rustls::client::VerifierBuilderError| rustls::Error::General(error.to_string());
        let server =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let client =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        Ok(Self {
            names: trust.names.clone(),
            server: server.build().map_err(general)?,
            client: client.build().map_err(general)?,
            roots,
            provider: Arc::clone(provider),
        })
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )
        .or_else(|_| self.client.verify_client_cert(leaf, intermediates, now).map(drop))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.chain(leaf, intermediates, now)?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        if self.names.is_empty() {
            verify_server_name(&parsed, dialled)?;
            return Ok(ServerCertVerified::assertion());
        }
        let carried = |name: &String| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        if self.names.iter().any(carried) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::NotValidForName.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.server.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.server.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.server.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.client.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.chain(leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.client.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.client.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.client.supported_verify_schemes()
    }
}
