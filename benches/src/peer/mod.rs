//! The servers that are measured: each a set of processes pinned on one CPU.

mod gateway;
mod kamailio;
mod process;

pub use self::gateway::{Gateway, configure};
pub use self::kamailio::{Kamailio, is_installed};
pub use self::process::{SERVER_CPU, pin_here, reload};

use std::path::PathBuf;
use std::time::Duration;

use lab::pki::{KeyKind, Leaf, Pki, PkiError};

use crate::load::{DOMAIN, FQDN, Place};

/// Something that carries calls between the two ends.
pub trait Server {
    /// User and system time of all its processes so far.
    fn cpu(&self) -> Duration;
    /// Resident memory of all its processes, in KiB.
    fn resident(&self) -> u64;
}

/// A directory with everything that servers and ends read.
#[derive(Debug)]
pub struct Site {
    /// Where files lie.
    pub dir: PathBuf,
    /// Addresses.
    pub place: Place,
    /// Roots that all trust.
    pub roots: PathBuf,
    /// Certificate and key of the server.
    pub server: (PathBuf, PathBuf),
    /// Certificate and key of the Teams end.
    pub teams: (PathBuf, PathBuf),
}

impl Site {
    /// Makes certificates in `dir`.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn new(dir: PathBuf, place: Place) -> Result<Self, PkiError> {
        let pki = Pki::create(&dir.join("pki"))?;
        let server = pki.issue("server", &Leaf::gateway(FQDN))?;
        let teams = pki.issue("teams", &Leaf::teams(DOMAIN).key(KeyKind::EcdsaP256))?;
        Ok(Self {
            place,
            roots: pki.roots_path(),
            server: (server.certificate, server.key),
            teams: (teams.certificate, teams.key),
            dir,
        })
    }
}
