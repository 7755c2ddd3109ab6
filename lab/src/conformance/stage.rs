//! The ends around an SBC, whoever's it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::capture::Log;
use crate::carrier::FakeCarrier;
use crate::clock;
use crate::pki::{Identity, Pki, Roots};
use crate::teams::FakeTeams;

/// A trunk and the tenant that has it.
pub(crate) struct Trunk {
    /// Its name in the log.
    pub(crate) end: String,
    pub(crate) carrier: FakeCarrier,
    /// Host of the Request-URI of its calls.
    pub(crate) host: String,
    /// The tenant's name.
    pub(crate) fqdn: String,
    /// The first of the tenant's numbers, digits.
    pub(crate) first: u64,
}

/// What the SBC does by its configuration; only known of our own gateway.
pub(crate) struct Known {
    /// Early media of a call of this trunk: the first of 180 and 183 with SDP.
    pub(crate) first: Arc<Trunk>,
    /// Each 18x as it comes; and it is told, and believed, who calls.
    pub(crate) pass: Arc<Trunk>,
    /// Ringback of the SBC.
    pub(crate) generate: Arc<Trunk>,
    /// Its tenant may have one call at a time.
    pub(crate) limited: Arc<Trunk>,
    /// A number of the first two tenants, each by its trunk.
    pub(crate) private: &'static str,
    /// A number of the first tenant as its trunk dials it, and in E.164.
    pub(crate) national: [&'static str; 2],
}

/// Fake ends around an SBC.
pub struct Stage {
    pub(crate) teams: FakeTeams,
    /// At least one.
    pub(crate) trunks: Vec<Arc<Trunk>>,
    pub(crate) log: Log,
    /// Where the SBC listens for Teams.
    pub(crate) edge: SocketAddr,
    /// The names of Teams, and the SBC's own name in OPTIONS.
    pub(crate) domain: String,
    pub(crate) base: String,
    /// What the SBC's certificate chains to.
    pub(crate) roots: Roots,
    /// The certificate of Teams.
    pub(crate) identity: Identity,
    /// Who issues certificates that the SBC trusts.
    pub(crate) pki: Option<Pki>,
    /// An address of ours that the SBC should not talk TLS with.
    pub(crate) stranger: Option<IpAddr>,
    pub(crate) known: Option<Known>,
    /// The SBC is our own gateway.
    pub(crate) own: bool,
    /// How long the first OPTIONS may take.
    pub(crate) patience: Duration,
    pub(crate) numbers: AtomicU64,
    /// How many numbers a tenant has from its first on.
    pub(crate) span: u64,
    /// The lines to the trunks lose datagrams.
    pub(crate) bad_lines: AtomicBool,
    /// Calls that plays have begun.
    pub(crate) begun: AtomicU64,
    /// The first number outside, digits.
    pub(crate) outside: u64,
}

impl Stage {
    /// A number of the trunk's tenant that no other play uses now.
    pub(crate) fn number(&self, trunk: &Trunk) -> String {
        format!("+{}", trunk.first + self.fresh())
    }

    /// A number outside that no other play uses now.
    pub(crate) fn outside(&self) -> String {
        format!("+{}", self.outside + self.fresh())
    }

    fn fresh(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) % self.span
    }

    /// What the ends captured.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// To be called before the SBC starts: what its first messages must meet, if these rules are played (all if there are
    /// none).
    pub fn expect(&self, numbers: &[u16]) {
        if numbers.is_empty() || numbers.contains(&5) {
            let reason = "REASON: Q.850;cause=63;text=\"lab;Provided Trunk FQDN is not allowed\"";
            self.teams.refuse_pings(self.teams.homes().len() - 1, Some((403, reason)));
        }
    }

    /// Waits until the SBC has sent OPTIONS to each name of Teams and answered those in return.
    pub(crate) async fn pair(&self, progress: &(dyn Fn(&str) + Sync)) {
        progress("waiting for the SBC's OPTIONS");
        let end = clock::now() + self.patience;
        while clock::now() < end && !self.is_paired() {
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn is_paired(&self) -> bool {
        let pings = self.teams.pings();
        self.teams.homes().iter().all(|home| {
            let here = |ping: &&crate::agent::Ping| ping.local == home.address;
            pings.iter().filter(here).any(|ping| ping.back.is_some() || ping.status != 200)
        })
    }
}

/// Somebody else's SBC need not know more numbers of a tenant.
pub(crate) const FEW: u64 = 250;
