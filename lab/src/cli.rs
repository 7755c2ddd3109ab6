//! One end alone, for `trunkgate lab teams` and `trunkgate lab carrier`.
//!
//! It answers every call as its scenario says, by default with a tone of 440 Hz, and, if told so, places one call itself. It runs
//! until the future is dropped; `progress` gets a line for whatever happens.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::agent::{Agent, Fault, Invite, Scenario, robot};
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
#[derive(Clone)]
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
    /// What it does in calls.
    pub scenario: &'static Scenario,
}

/// A fake carrier.
#[derive(Clone)]
pub struct CarrierOptions {
    /// UDP or TCP.
    pub transport: Transport,
    /// Where it listens, and from where it calls.
    pub address: SocketAddr,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// One call to be placed.
    pub call: Option<Placed>,
    /// What it does in calls.
    pub scenario: &'static Scenario,
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
    live(&teams, options.call, options.scenario, progress).await
}

/// Runs a fake carrier until the future is dropped.
pub async fn run_carrier(
    options: CarrierOptions,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LabError> {
    let CarrierOptions { transport, address, gateway, call, scenario } = options;
    let settings = carrier::Settings { end: "carrier".to_owned(), transport, address, gateway };
    let carrier = FakeCarrier::start(settings, Log::new()).await?;
    progress(&format!("listening on {} {}", transport.name(), carrier.address()));
    live(&carrier, call, scenario, progress).await
}

async fn live(
    agent: &Agent,
    call: Option<Placed>,
    scenario: &'static Scenario,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LabError> {
    let place = async {
        if let Some(Placed { caller, called, host, time }) = call {
            progress(&format!("calling {called}"));
            let invite = Invite::new(&caller, &called, &host);
            progress(&robot::place(agent, invite, scenario, time).await?);
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
        robot::answer(agent.strangers(), scenario, progress).await;
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

    /// Two carriers, one of which calls the other, until `over` says so of what both have told.
    async fn played(
        net: u8,
        caller: &'static Scenario,
        callee: &'static Scenario,
        over: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let lines = Mutex::new(Vec::new());
        let progress = |line: &str| lines.lock().unwrap().push(line.to_owned());
        let at = |last: u8| SocketAddr::from(([127, 0, net, last], 5060));
        let call = Placed {
            caller: "+1".to_owned(),
            called: "+2".to_owned(),
            host: format!("127.0.{net}.2"),
            time: Duration::from_secs(5),
        };
        let end = |own: u8, other: u8, call: Option<Placed>, scenario| CarrierOptions {
            transport: Transport::Udp,
            address: at(own),
            gateway: at(other),
            call,
            scenario,
        };
        let called = run_carrier(end(2, 1, None, callee), &progress);
        let calling = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // A call that is refused ends it, and nothing else.
            if let Err(fault) = run_carrier(end(1, 2, Some(call), caller), &progress).await {
                progress(&fault.to_string());
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        let done = async {
            while !over(&lines.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            result = async { tokio::try_join!(called, calling) } => panic!("{:?}", result.err()),
            () = done => {}
            () = tokio::time::sleep(Duration::from_secs(15)) => panic!("{:?}", lines.lock().unwrap()),
        }
        lines.into_inner().unwrap()
    }

    fn named(name: &str) -> &'static Scenario {
        Scenario::named(name).unwrap()
    }

    fn ended(lines: &[String]) -> usize {
        lines.iter().filter(|line| line.contains("ended by")).count()
    }

    #[tokio::test]
    async fn two_carriers_alone_call_each_other() {
        let lines = played(7, named("hang-up"), named("answer"), |lines| ended(lines) == 2).await;
        let heard = lines.iter().filter(|line| line.contains("a tone of 440 Hz")).count();
        assert_eq!(heard, 2, "{lines:?}");
    }

    #[tokio::test]
    async fn each_scenario_of_a_callee_is_played_to_its_end() {
        let refusals =
            [("busy", "486"), ("decline", "603"), ("unknown", "404"), ("overload", "503")];
        for (net, (name, says)) in (20..).zip(refusals) {
            let over = |lines: &[String]| lines.iter().any(|line| line.contains(says));
            played(net, named("answer"), named(name), over).await;
        }
        for (net, name) in (24..).zip(["early-media", "silent-183", "forked", "voicemail"]) {
            let lines = played(net, named("hang-up"), named(name), |lines| ended(lines) == 2).await;
            assert!(
                lines.iter().any(|line| line.contains("a tone of 440 Hz")),
                "{name}: {lines:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_call_is_held_refreshed_and_offered_late_while_it_lasts() {
        let last = |net, name| {
            let over = |lines: &[String]| ended(lines) == 2;
            async move { (name, played(net, named("answer"), named(name), over).await) }
        };
        let all = tokio::join!(
            last(28, "hold"),
            last(29, "hold-sendonly"),
            last(30, "refresh"),
            last(31, "late-offer"),
            last(32, "digits"),
        );
        for (name, lines) in [all.0, all.1, all.2, all.3, all.4] {
            assert!(!lines.iter().any(|line| line.contains("failed")), "{name}: {lines:?}");
            let dialled = lines.iter().any(|line| line.contains("1234#"));
            assert_eq!(dialled, name == "digits", "{lines:?}");
        }
    }
}
