//! Certificates: chains and keys from PEM files, the roots we trust, the checks of a peer's
//! certificate, the choice of ours by server name, and the TLS settings made of them.
//!
//! Knows nobody: no sockets, no clock of its own, no configuration. rustls takes the time of a
//! handshake from the system; everything else gets it as an argument. Revocation (CRL, OCSP) is not
//! checked.
//!
//! Session resumption is off on both sides ([`tls`]): a resumed session would skip the peer's
//! certificate and keep an old one of ours alive, and a gateway opens few connections.

pub mod certificate;
pub mod error;
pub mod identities;
pub mod identity;
pub mod pem;
pub mod roots;
pub mod tls;
pub mod verify;

pub use certificate::{Certificate, Usage};
pub use error::Error;
pub use identities::Identities;
pub use identity::Identity;
pub use roots::Roots;
pub use tls::{ClientAuth, client_config, provider, server_config};
pub use verify::{ClientVerifier, ServerVerifier, Verdicts};
