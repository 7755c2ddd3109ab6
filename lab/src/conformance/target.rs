//! The stage around somebody else's SBC, as the command line describes it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::stage::{FEW, Stage, Trunk};
use crate::agent::digits;
use crate::capture::{Log, Transport};
use crate::carrier::{self, FakeCarrier};
use crate::pki::{Identity, PkiError, Roots};
use crate::teams::{self, FakeTeams};
use crate::wire::Trust;

/// An SBC to be judged.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens for Teams.
    pub edge: SocketAddr,
    /// Its own name, that of its OPTIONS.
    pub base: String,
    /// Addresses of sip, sip2 and sip3, one to three.
    pub teams: Vec<IpAddr>,
    /// The port of all.
    pub port: u16,
    /// `sip.`, `sip2.`, `sip3.` of this are the names of Teams.
    pub domain: String,
    /// The certificate chain of Teams, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Roots of the SBC's certificate, PEM.
    pub roots: PathBuf,
    /// Its trunks, the one with which most is played first.
    pub trunks: Vec<TargetTrunk>,
    /// The first of 250 numbers that the SBC sends to the trunk of who calls.
    pub outside: String,
    /// An address of ours with which the SBC should not talk TLS.
    pub stranger: Option<IpAddr>,
    /// How long its first OPTIONS may take.
    pub patience: Duration,
}

/// One trunk of it.
#[derive(Clone, Debug)]
pub struct TargetTrunk {
    /// How SIP is spoken with it.
    pub transport: Transport,
    /// Where the SBC listens for it.
    pub sbc: SocketAddr,
    /// Where we are.
    pub listen: SocketAddr,
    /// The name of the tenant that has it.
    pub fqdn: String,
    /// The first of 250 numbers of the tenant.
    pub number: String,
}

/// Why the stage could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// An address that cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// No number in E.164.
    #[error("{0:?} is no number in E.164")]
    Number(String),
    /// No trunk.
    #[error("no trunk is given")]
    NoTrunk,
}

impl Target {
    /// Starts the fakes. Must be called inside a Tokio runtime.
    pub async fn set(self) -> Result<Arc<Stage>, TargetError> {
        if self.trunks.is_empty() {
            return Err(TargetError::NoTrunk);
        }
        let log = Log::new();
        let identity = Identity::read(&self.certificate, &self.key)?;
        let roots = Roots::open(&self.roots)?;
        let settings = teams::Settings {
            end: "Teams".to_owned(),
            domain: self.domain.clone(),
            addresses: self.teams,
            port: self.port,
            identity: identity.clone(),
            trust: Trust { roots: roots.clone(), names: Vec::new() },
            tenants: Vec::new(),
            gateway: Some(self.edge),
        };
        let teams = FakeTeams::start(settings, log.clone()).await?;
        let mut trunks = Vec::new();
        for (n, trunk) in (1..).zip(self.trunks) {
            let end = format!("trunk-{n}");
            let TargetTrunk { transport, sbc, listen, fqdn, number } = trunk;
            let (address, gateway) = (listen, sbc);
            let settings = carrier::Settings { end: end.clone(), transport, address, gateway };
            let carrier = FakeCarrier::start(settings, log.clone()).await?;
            let (host, first) = (sbc.ip().to_string(), e164(&number)?);
            trunks.push(Arc::new(Trunk { end, carrier, host, fqdn, first }));
        }
        Ok(Arc::new(Stage {
            teams,
            trunks,
            log,
            edge: self.edge,
            domain: self.domain,
            base: self.base,
            roots,
            identity,
            pki: None,
            stranger: self.stranger,
            known: None,
            own: false,
            patience: self.patience,
            numbers: AtomicU64::new(1),
            span: FEW,
            bad_lines: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            outside: e164(&self.outside)?,
        }))
    }
}

fn e164(number: &str) -> Result<u64, TargetError> {
    let read = digits(number).parse().ok().filter(|_| number.starts_with('+'));
    read.ok_or_else(|| TargetError::Number(number.to_owned()))
}
