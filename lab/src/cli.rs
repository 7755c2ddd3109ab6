//! One end alone, for `trunkgate lab teams` and `trunkgate lab carrier`.
//!
//! It answers every call with a tone of 440 Hz and, if told so, places one call itself. It runs
//! until the future is dropped; `progress` gets a line for whatever happens.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::agent::{Agent, Fault, Invite, robot};
use crate::capture::{Log, Transport};
use crate::carrier::{self, FakeCarrier};
use crate::pki::{Identity, PkiError, Roots};
use crate::teams::{self, FakeTeams};
use crate::wire::Trust;

/// Why an end could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// An address that cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// The call that was asked for failed.
    #[error("the call failed: {0}")]
    Call(#[from] Fault),
}

/// A call to be placed.
#[derive(Clone, Debug)]
pub struct Placed {
    /// User part of From.
    pub caller: String,
    /// User part of the Request-URI.
    pub called: String,
    /// Host of the Request-URI: a tenant's FQDN from Teams, the gateway's address from a carrier.
    pub host: String,
    /// How long it lasts.
    pub time: Duration,
}

/// A fake Teams.
#[derive(Clone, Debug)]
pub struct TeamsOptions {
    /// Addresses of sip, sip2 and sip3, one to three.
    pub addresses: Vec<IpAddr>,
    /// The port of all.
    pub port: u16,
    /// `sip.`, `sip2.`, `sip3.` of this are its names; the certificate must carry the first.
    pub domain: String,
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Roots of the gateway's certificate, PEM.
    pub roots: PathBuf,
    /// FQDNs that belong to a tenant; empty = any.
    pub tenants: Vec<String>,
    /// Where the gateway listens; learnt from its first OPTIONS if not given.
    pub gateway: Option<SocketAddr>,
    /// One call to be placed. Without a gateway's address it is placed after the first OPTIONS.
    pub call: Option<Placed>,
}

/// A fake carrier.
#[derive(Clone, Debug)]
pub struct CarrierOptions {
    /// UDP or TCP.
    pub transport: Transport,
    /// Where it listens, and from where it calls.
    pub address: SocketAddr,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// One call to be placed.
    pub call: Option<Placed>,
}

/// Runs a fake Teams until the future is dropped.
pub async fn run_teams(
    options: TeamsOptions,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LabError> {
    let identity = Identity::read(&options.certificate, &options.key)?;
    let settings = teams::Settings {
        end: "Teams".to_owned(),
        domain: options.domain,
        addresses: options.addresses,
        port: options.port,
        identity,
        trust: Trust { roots: Roots::open(&options.roots)?, names: Vec::new() },
        tenants: options.tenants,
        gateway: options.gateway,
    };
    let teams = FakeTeams::start(settings, Log::new()).await?;
    for (name, address) in teams.hosts() {
        progress(&format!("{name} is {address}"));
    }
    if options.gateway.is_none() && options.call.is_some() {
        progress("waiting for OPTIONS of the gateway");
        while teams.pings().iter().all(|ping| ping.back.is_none()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    live(&teams, options.call, progress).await
}

/// Runs a fake carrier until the future is dropped.
pub async fn run_carrier(
    options: CarrierOptions,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LabError> {
    let CarrierOptions { transport, address, gateway, call } = options;
    let settings = carrier::Settings { end: "carrier".to_owned(), transport, address, gateway };
    let carrier = FakeCarrier::start(settings, Log::new()).await?;
    progress(&format!("listening on {} {}", transport.name(), carrier.address()));
    live(&carrier, call, progress).await
}

async fn live(
    agent: &Agent,
    call: Option<Placed>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LabError> {
    let place = async {
        if let Some(Placed { caller, called, host, time }) = call {
            progress(&format!("calling {called}"));
            progress(&robot::place(agent, Invite::new(&caller, &called, &host), time).await?);
        }
        Ok::<(), LabError>(())
    };
    let watch = async {
        let (mut pings, mut complaints, mut shaken) = (0, 0, 0);
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            for ping in agent.pings().iter().skip(pings) {
                progress(&format!("OPTIONS of {}: {}", ping.host, ping.status));
            }
            pings = agent.pings().len();
            for complaint in agent.complaints().iter().skip(complaints) {
                progress(&format!("rule broken: {complaint}"));
            }
            complaints = agent.complaints().len();
            for handshake in agent.handshakes().iter().skip(shaken) {
                if let Some(fault) = &handshake.fault {
                    progress(&format!("TLS with {} failed: {fault}", handshake.remote));
                }
            }
            shaken = agent.handshakes().len();
        }
    };
    let answer = async {
        robot::answer(agent.strangers(), progress).await;
        Ok::<(), LabError>(())
    };
    tokio::select! {
        () = watch => Ok(()),
        both = async { tokio::try_join!(place, answer) } => both.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn two_carriers_alone_call_each_other() {
        let lines = Mutex::new(Vec::new());
        let progress = |line: &str| lines.lock().unwrap().push(line.to_owned());
        let at = |last: u8| SocketAddr::from(([127, 0, 7, last], 5060));
        let call = Placed {
            caller: "+1".to_owned(),
            called: "+2".to_owned(),
            host: "127.0.7.2".to_owned(),
            time: Duration::from_millis(500),
        };
        let end = |own: u8, other: u8, call: Option<Placed>| CarrierOptions {
            transport: Transport::Udp,
            address: at(own),
            gateway: at(other),
            call,
        };
        let callee = run_carrier(end(2, 1, None), &progress);
        let caller = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            run_carrier(end(1, 2, Some(call)), &progress).await
        };
        let done = async {
            while lines.lock().unwrap().iter().filter(|line| line.contains("ended by")).count() < 2
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            result = async { tokio::try_join!(callee, caller) } => panic!("{:?}", result.err()),
            () = done => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => panic!("{:?}", lines.lock().unwrap()),
        }
        let lines = lines.lock().unwrap();
        let heard = lines.iter().filter(|line| line.contains("a tone of 440 Hz")).count();
        assert_eq!(heard, 2, "{lines:?}");
    }
}
