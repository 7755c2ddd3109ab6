//! The stage around our own gateway: three names of Teams, five trunks, each with a tenant, and the configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::stage::{Known, Stage, Trunk};
use crate::capture::{Log, Transport};
use crate::carrier::{self, FakeCarrier};
use crate::demo::DemoError;
use crate::demo::configuration::{BASE, DOMAIN, SBC, gateway_toml, write};
use crate::demo::network::Network;
use crate::pki::{Leaf, Pki};
use crate::teams::{self, FakeTeams};
use crate::wire::Trust;

/// A stage that waits for our own gateway.
pub struct Own {
    /// What the gateway is to be started with.
    pub config: PathBuf,
    /// `/live`, `/health` and `/metrics` of the gateway.
    pub admin: SocketAddr,
    /// The ends around it.
    pub stage: Arc<Stage>,
}

/// Makes certificates and configuration in `dir` and starts the fakes. Must be called inside a Tokio runtime.
pub async fn set(dir: &Path) -> Result<Own, DemoError> {
    let net = Network::choose(&[10, 50, 51, 52, 53, 54], &[11, 20, 21, 22]);
    let net = net.ok_or(DemoError::NoPorts)?;
    let pki = Pki::create(&dir.join("certs"))?;
    pki.issue(SBC, &Leaf::gateway(BASE))?;
    let identity = pki.issue("teams", &Leaf::teams(DOMAIN))?;
    let log = Log::of(CAPTURED);
    let edge = SocketAddr::new(net.host(11), net.tls);
    let settings = teams::Settings {
        end: "Teams".to_owned(),
        domain: DOMAIN.to_owned(),
        addresses: (20..=22).map(|last| net.host(last)).collect(),
        port: net.tls,
        identity: identity.clone(),
        trust: Trust { roots: pki.roots(), names: Vec::new() },
        tenants: std::iter::once(BASE.to_owned()).chain((1..=5).map(fqdn)).collect(),
        gateway: Some(edge),
    };
    let teams = FakeTeams::start(settings, log.clone()).await.map_err(DemoError::Listen)?;
    let sip = SocketAddr::new(net.host(10), net.sip);
    let mut trunks = Vec::new();
    for (n, last) in (1..=5).zip(50..) {
        let end = format!("trunk-{n}");
        let transport = if n == 2 { Transport::Tcp } else { Transport::Udp };
        let address = SocketAddr::new(net.host(last), net.sip);
        let settings = carrier::Settings { end: end.clone(), transport, address, gateway: sip };
        let carrier = FakeCarrier::start(settings, log.clone()).await.map_err(DemoError::Listen)?;
        let (host, first) = (sip.ip().to_string(), 15_550_000_000 + 10_000 * u64::from(n));
        trunks.push(Arc::new(Trunk { end, carrier, host, fqdn: fqdn(n), first }));
        let path = dir.join("tenants.d").join(format!("t00{n}.toml"));
        write(&path, &tenant_toml(n))?;
    }
    let config = dir.join("gateway.toml");
    // Not one more: what comes from anywhere else is a rule of its own.
    let networks = [20, 21, 22].map(|last| format!("\"{}/32\"", net.host(last))).join(", ");
    let text =
        gateway_toml("trunkgate lab conformance", &net, &teams, &networks, &trunks_toml(&net));
    write(&config, &text)?;
    let [first, pass, generate, limited] = [0, 1, 2, 3].map(|n| Arc::clone(&trunks[n]));
    let known = Known { first, pass, generate, limited, private: PRIVATE, national: NATIONAL };
    let stage = Stage {
        teams,
        trunks,
        log,
        edge,
        domain: DOMAIN.to_owned(),
        base: BASE.to_owned(),
        roots: pki.roots(),
        identity,
        pki: Some(pki),
        stranger: Some(net.host(66)),
        known: Some(known),
        own: true,
        patience: Duration::from_secs(10),
        numbers: AtomicU64::new(1),
        span: 9_000,
        bad_lines: AtomicBool::new(false),
        begun: AtomicU64::new(0),
        outside: 14_155_550_200,
    };
    let admin = SocketAddr::new(net.host(1), net.admin);
    Ok(Own { config, admin, stage: Arc::new(stage) })
}

fn fqdn(n: u8) -> String {
    format!("t00{n}.{BASE}")
}

fn trunks_toml(net: &Network) -> String {
    let sip = net.sip;
    let [a, b, c, d, e] = [50, 51, 52, 53, 54].map(|last| net.host(last));
    format!(
        r#"
[[trunk]]
name = "trunk-1"
peers = ["udp:{a}:{sip}"]
networks = ["{a}/32"]
country = "GB"

[[trunk]]
name = "trunk-2"
peers = ["tcp:{b}:{sip}"]
networks = ["{b}/32"]
early_media = "pass"
trusted = true

[[trunk]]
name = "trunk-3"
peers = ["udp:{c}:{sip}"]
networks = ["{c}/32"]
country = "FR"
early_media = "generate"

[[trunk]]
name = "trunk-4"
peers = ["udp:{d}:{sip}"]
networks = ["{d}/32"]

[[trunk]]
name = "trunk-5"
peers = ["udp:{e}:{sip}"]
networks = ["{e}/32"]
"#
    )
}

fn tenant_toml(n: u8) -> String {
    let more = match n {
        1 => format!(", \"{PRIVATE}\", \"{}\"", NATIONAL[1]),
        2 => format!(", \"{PRIVATE}\""),
        _ => String::new(),
    };
    let limit = if n == 4 { "max_calls = 1\n" } else { "" };
    format!(
        r#"[tenant]
name = "t00{n}"
label = "t00{n}"
trunks = ["trunk-{n}"]
numbers = ["+155500{n}0000-+155500{n}9999"{more}]
{limit}"#
    )
}

/// Messages of a thousand calls with everything that may happen in them.
const CAPTURED: usize = 100_000;
const PRIVATE: &str = "+1001";
const NATIONAL: [&str; 2] = ["02079460123", "+442079460123"];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stage_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let own = set(dir.path()).await.unwrap();
        let text = std::fs::read_to_string(&own.config).unwrap();
        assert!(text.contains("sip3.teams.test") && text.contains("trunk-5"), "{text}");
        let stage = &own.stage;
        assert_ne!(stage.number(&stage.trunks[0]), stage.number(&stage.trunks[0]));
        assert!(stage.number(&stage.trunks[1]).starts_with("+155500200"));
        assert!(dir.path().join("tenants.d/t004.toml").exists());
    }
}
