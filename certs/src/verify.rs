//! The checks of a peer's certificate: a chain to our roots, in date, for TLS, and for an expected
//! name.
//!
//! rustls' own check of client certificates refuses those whose extended key usage lists serverAuth
//! alone. Microsoft presents such since April 2026, also as client, and public issuers no longer add
//! clientAuth. So a client's chain is checked as a server's first, and as a client's when that fails
//! on the purpose alone: serverAuth, clientAuth, both or no extended key usage are all accepted.
//!
//! Only the subject alternative name is looked at, never the common name (RFC 6125 §6.4.4). A
//! wildcard in it stands for one label. Refusals are counted by reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{Error, Roots, tls};

/// Checks the certificates of clients at a listener.
#[derive(Debug)]
pub struct ClientVerifier {
    chain: Chain,
    names: Option<Vec<ServerName<'static>>>,
    as_client: Arc<dyn ClientCertVerifier>,
    counts: Counts,
}

/// Checks the certificates of servers that we connect to.
#[derive(Debug)]
pub struct ServerVerifier {
    chain: Chain,
    names: Option<Vec<ServerName<'static>>>,
    counts: Counts,
}

/// How certificates were judged, each counted once, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Chain, dates, purpose and name were right.
    pub accepted: u64,
    /// No chain to one of our roots.
    pub untrusted: u64,
    /// A certificate of the chain had expired or was not valid yet.
    pub out_of_date: u64,
    /// The chain was right, the name was not.
    pub wrong_name: u64,
    /// The extended key usage allows neither servers nor clients.
    pub wrong_purpose: u64,
    /// The bytes could not be read, a signature was wrong, or its algorithm unknown.
    pub damaged: u64,
}

impl ClientVerifier {
    /// Accepts clients whose certificate is for any of `names`.
    pub fn new<N: AsRef<str>>(roots: &Roots, names: &[N]) -> Result<Arc<Self>, Error> {
        Ok(Self::build(roots, Some(parse_names(names)?)))
    }

    /// Accepts clients of any name below the roots: for private roots only.
    pub fn any_name(roots: &Roots) -> Arc<Self> {
        Self::build(roots, None)
    }

    /// How certificates were judged so far.
    pub fn verdicts(&self) -> Verdicts {
        self.counts.read()
    }

    fn build(roots: &Roots, names: Option<Vec<ServerName<'static>>>) -> Arc<Self> {
        let as_client = WebPkiClientVerifier::builder_with_provider(roots.store(), tls::provider())
            .build()
            .expect("a set of roots is never empty, and no revocation lists are given");
        Arc::new(Self { chain: Chain::new(roots), names, as_client, counts: Counts::default() })
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        match self.chain.check(&parsed, intermediates, now) {
            Err(error) if Fault::of(&error) == Fault::Purpose => {
                self.as_client.verify_client_cert(leaf, intermediates, now)?;
            }
            other => other?,
        }
        match &self.names {
            Some(names) => check_names(&parsed, names),
            None => Ok(()),
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    /// No hints: a long list of issuers makes the handshake large, and some clients hide their only
    /// certificate when its issuer is not among them.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verdict = self.check(leaf, intermediates, now);
        self.counts.add(&verdict);
        verdict.map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.chain.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.chain.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.algorithms.supported_schemes()
    }
}

impl ServerVerifier {
    /// Accepts servers whose certificate is for any of `names`, whatever name was dialled: the hosts
    /// `sip2.…` and `sip3.…` of a cloud may present a certificate for `sip.…`.
    pub fn new<N: AsRef<str>>(roots: &Roots, names: &[N]) -> Result<Arc<Self>, Error> {
        Ok(Self::build(roots, Some(parse_names(names)?)))
    }

    /// Accepts servers whose certificate is for the name (or address) that was dialled.
    pub fn as_dialled(roots: &Roots) -> Arc<Self> {
        Self::build(roots, None)
    }

    /// How certificates were judged so far.
    pub fn verdicts(&self) -> Verdicts {
        self.counts.read()
    }

    fn build(roots: &Roots, names: Option<Vec<ServerName<'static>>>) -> Arc<Self> {
        Arc::new(Self { chain: Chain::new(roots), names, counts: Counts::default() })
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        self.chain.check(&parsed, intermediates, now)?;
        match &self.names {
            Some(names) => check_names(&parsed, names),
            None => verify_server_name(&parsed, dialled),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.check(leaf, intermediates, dialled, now);
        self.counts.add(&verdict);
        verdict.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.chain.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.chain.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.algorithms.supported_schemes()
    }
}

/// The path from a leaf to one of our roots, for the purpose of a server.
#[derive(Debug)]
struct Chain {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Chain {
    fn new(roots: &Roots) -> Self {
        Self { roots: roots.store(), algorithms: tls::provider().signature_verification_algorithms }
    }

    fn check(
        &self,
        leaf: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (roots, algorithms) = (&self.roots, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(leaf, roots, intermediates, now, algorithms)
    }
}

fn parse_names<N: AsRef<str>>(names: &[N]) -> Result<Vec<ServerName<'static>>, Error> {
    if names.is_empty() {
        return Err(Error::NoNames);
    }
    let parse = |name: &N| {
        let name = name.as_ref();
        let bad = |_| Error::BadName { name: name.to_owned() };
        ServerName::try_from(name.to_owned()).map_err(bad)
    };
    names.iter().map(parse).collect()
}

/// One of the names is enough; the error is that of the last.
fn check_names(
    leaf: &ParsedCertificate<'_>,
    names: &[ServerName<'static>],
) -> Result<(), rustls::Error> {
    let mut verdict = Err(CertificateError::NotValidForName.into());
    for name in names {
        verdict = verify_server_name(leaf, name);
        if verdict.is_ok() {
            break;
        }
    }
    verdict
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Untrusted,
    Date,
    Name,
    Purpose,
    Damaged,
}

impl Fault {
    fn of(error: &rustls::Error) -> Self {
        use CertificateError as C;
        let rustls::Error::InvalidCertificate(error) = error else { return Self::Damaged };
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "non-exhaustive; what is left can only be damage"
        )]
        match error {
            C::UnknownIssuer => Self::Untrusted,
            C::Expired | C::ExpiredContext { .. } => Self::Date,
            C::NotValidYet | C::NotValidYetContext { .. } => Self::Date,
            C::NotValidForName | C::NotValidForNameContext { .. } => Self::Name,
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::Purpose,
            _ => Self::Damaged,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    untrusted: AtomicU64,
    out_of_date: AtomicU64,
    wrong_name: AtomicU64,
    wrong_purpose: AtomicU64,
    damaged: AtomicU64,
}

impl Counts {
    fn add(&self, verdict: &Result<(), rustls::Error>) {
        let count = match verdict {
            Ok(()) => &self.accepted,
            Err(error) => match Fault::of(error) {
                Fault::Untrusted => &self.untrusted,
                Fault::Date => &self.out_of_date,
                Fault::Name => &self.wrong_name,
                Fault::Purpose => &self.wrong_purpose,
                Fault::Damaged => &self.damaged,
            },
        };
        count.fetch_add(1, Relaxed);
    }

    fn read(&self) -> Verdicts {
        Verdicts {
            accepted: self.accepted.load(Relaxed),
            untrusted: self.untrusted.load(Relaxed),
            out_of_date: self.out_of_date.load(Relaxed),
            wrong_name: self.wrong_name.load(Relaxed),
            wrong_purpose: self.wrong_purpose.load(Relaxed),
            damaged: self.damaged.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_to_check_must_be_names() {
        let roots = Roots::microsoft().unwrap();
        let none: [&str; 0] = [];
        assert!(matches!(ClientVerifier::new(&roots, &none), Err(Error::NoNames)));
        let error = ServerVerifier::new(&roots, &["sip.a.test", "a b"]).unwrap_err();
        assert!(error.to_string().starts_with("\"a b\" is neither a host name nor"), "{error}");
    }

    #[test]
    fn clients_get_no_list_of_issuers() {
        let verifier = ClientVerifier::any_name(&Roots::microsoft().unwrap());
        assert!(verifier.root_hint_subjects().is_empty());
        assert!(verifier.client_auth_mandatory());
    }
}
