//! Certificates, configuration and fakes, all on loopback addresses that nobody uses.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::agent::{SCENARIOS, robot};
use crate::capture::{Log, Transport};
use crate::carrier::{self, FakeCarrier};
use crate::demo::network::Network;
use crate::pki::{Leaf, Pki, PkiError};
use crate::teams::{self, FakeTeams};
use crate::wire::Trust;

/// Why the scene could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A file of the configuration.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A socket of a fake.
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// No loopback address with free ports.
    #[error("no free ports on 127.0.0.0/8: is every 127.x.y.z address usable here?")]
    NoPorts,
}

/// Everything but the gateway.
pub struct Scene {
    /// What the gateway is to be started with.
    pub config: PathBuf,
    /// `/live`, `/health` and `/metrics` of the gateway.
    pub admin: SocketAddr,
    pub(crate) teams: FakeTeams,
    pub(crate) carriers: [FakeCarrier; 2],
    pub(crate) log: Log,
    /// Where the gateway listens for carriers.
    pub(crate) sip: SocketAddr,
}

/// The provider's base name, and each tenant with its first label.
pub(crate) const BASE: &str = "sbc.test";
pub(crate) const TENANTS: [&str; 2] = ["t001.sbc.test", "t002.sbc.test"];
pub(crate) const CARRIERS: [&str; 2] = ["carrier-a", "carrier-b"];
pub(crate) const TEAMS: &str = "Teams";
const DOMAIN: &str = "teams.test";

/// Makes certificates and configuration in `dir` and starts a fake Teams and two fake carriers, the
/// first over UDP, the second over TCP. Must be called inside a Tokio runtime.
pub async fn prepare(dir: &Path) -> Result<Scene, DemoError> {
    let net = Network::choose(&[10, 50, 51], &[11, 20, 21, 22]).ok_or(DemoError::NoPorts)?;
    let pki = Pki::create(&dir.join("certs"))?;
    let sbc = pki.issue("sbc", &Leaf::gateway(BASE))?;
    let identity = pki.issue("teams", &Leaf::teams(DOMAIN))?;
    let log = Log::new();
    let settings = teams::Settings {
        end: TEAMS.to_owned(),
        domain: DOMAIN.to_owned(),
        addresses: (20..=22).map(|last| net.host(last)).collect(),
        port: net.tls,
        identity,
        trust: Trust { roots: pki.roots(), names: Vec::new() },
        tenants: [BASE, TENANTS[0], TENANTS[1]].map(str::to_owned).to_vec(),
        gateway: Some(SocketAddr::new(net.host(11), net.tls)),
    };
    let teams = FakeTeams::start(settings, log.clone()).await.map_err(DemoError::Listen)?;
    let sip = SocketAddr::new(net.host(10), net.sip);
    let carrier = |at: usize, transport: Transport, last: u8| {
        let address = SocketAddr::new(net.host(last), net.sip);
        let end = CARRIERS[at].to_owned();
        let settings = carrier::Settings { end, transport, address, gateway: sip };
        FakeCarrier::start(settings, log.clone())
    };
    let carriers = [
        carrier(0, Transport::Udp, 50).await.map_err(DemoError::Listen)?,
        carrier(1, Transport::Tcp, 51).await.map_err(DemoError::Listen)?,
    ];
    let admin = SocketAddr::new(net.host(1), net.admin);
    let config = dir.join("gateway.toml");
    let hosts = hosts(&teams);
    write(&config, &gateway_toml(&net, &hosts, &sbc.certificate, &pki.roots_path()))?;
    for (at, trunks) in [r#"["carrier-a", "softphone"]"#, r#"["carrier-b"]"#].iter().enumerate() {
        let path = dir.join("tenants.d").join(format!("t00{}.toml", at + 1));
        write(&path, &tenant_toml(at, trunks))?;
    }
    Ok(Scene { config, admin, teams, carriers, log, sip })
}

impl Scene {
    /// How to call the gateway with a softphone while it is left running.
    #[must_use]
    pub fn help(&self) -> String {
        let sip = self.sip;
        format!(
            "The gateway is left running; Ctrl-C ends it.\n\
             \n\
             Call it with a softphone on this machine, without registration:\n\
             \x20   sip:+15550010001@{sip}    UDP or TCP\n\
             The fake Teams of tenant t001 rings for a second, answers and plays 440 Hz. With pjsua:\n\
             \x20   pjsua --null-audio --local-port=15060 --ip-addr=127.0.0.1 \\\n\
             \x20         --id=sip:+14155550100@127.0.0.1 'sip:+15550010001@{sip}'\n\
             With baresip, whose file of accounts has <sip:+14155550100@127.0.0.1>;regint=0 :\n\
             \x20   baresip -e '/dial sip:+15550010001@{sip}'\n\
             \n\
             Figures: curl http://{admin}/metrics    Health: curl http://{admin}/health\n\
             Configuration: {config}\n",
            admin = self.admin,
            config = self.config.display(),
        )
    }

    /// Answers every further call at all three fakes, for ever.
    pub async fn keep(&self, progress: &(dyn Fn(&str) + Sync)) {
        let usual = &SCENARIOS[0];
        tokio::join!(
            robot::answer(self.teams.strangers(), usual, progress),
            robot::answer(self.carriers[0].strangers(), usual, progress),
            robot::answer(self.carriers[1].strangers(), usual, progress),
        );
    }
}

pub(crate) fn hosts(teams: &FakeTeams) -> String {
    let mut text = String::new();
    for (name, address) in teams.hosts() {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}\"{name}\" = [\"{address}\"]");
    }
    text
}

fn gateway_toml(net: &Network, hosts: &str, certificate: &Path, roots: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (certificate, roots) = (name(certificate), name(roots));
    let (inside, edge, sip, tls) = (net.host(10), net.host(11), net.sip, net.tls);
    let (a, b, admin, admin_port) = (net.host(50), net.host(51), net.host(1), net.admin);
    format!(
        r#"# Written by `trunkgate demo`.
schema = 1

[gateway]
node = "demo"
fqdn = "{BASE}"
state = "state"
tenants = "tenants.d"

[tls]
certificate = "certs/{certificate}"
key = "certs/sbc.key"

[teams]
listen = "{edge}:{tls}"
proxies = ["sip.{DOMAIN}", "sip2.{DOMAIN}", "sip3.{DOMAIN}"]
port = {tls}
certificate_names = ["sip.{DOMAIN}"]
roots = "certs/{roots}"
networks = ["127.0.0.0/8"]

[carrier]
listen = ["udp:{inside}:{sip}", "tcp:{inside}:{sip}"]

[media]
teams = {{ address = "{edge}", ports = "20000-20999" }}
carrier = {{ address = "{inside}", ports = "20000-20999" }}
workers = 1

[admin]
listen = "{admin}:{admin_port}"

[dns]
hosts = {{ {hosts} }}

[[trunk]]
name = "carrier-a"
peers = ["udp:{a}:{sip}"]
networks = ["{a}/32"]

[[trunk]]
name = "carrier-b"
peers = ["tcp:{b}:{sip}"]
networks = ["{b}/32"]
early_media = "pass"

[[trunk]]
name = "softphone"
peers = ["udp:127.0.0.1:{sip}"]
networks = ["127.0.0.1/32"]
# Its SDP often names another address of this machine; its packets come from here all the same.
media_networks = ["signalled", "127.0.0.1/32"]
"#
    )
}

fn tenant_toml(at: usize, inbound: &str) -> String {
    let (number, carrier) = (at + 1, CARRIERS[at]);
    format!(
        r#"[tenant]
name = "t00{number}"
label = "t00{number}"
trunks = ["{carrier}"]
inbound_trunks = {inbound}
numbers = ["+155500{number}0000-+155500{number}9999"]
"#
    )
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    let file = |source| DemoError::File { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(file)?;
    }
    fs::write(path, text).map_err(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_scene_is_set_twice_at_once() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let one = prepare(dirs[0].path()).await.unwrap();
        let other = prepare(dirs[1].path()).await.unwrap();
        assert_ne!(one.sip, other.sip);
        for name in ["gateway.toml", "tenants.d/t001.toml", "tenants.d/t002.toml", "certs/sbc.key"]
        {
            assert!(dirs[0].path().join(name).exists(), "{name}");
        }
        let text = fs::read_to_string(&one.config).unwrap();
        assert!(
            text.contains("sip-du-a-eu.teams.test") && !text.contains("{"[..].repeat(2).as_str())
        );
        assert!(one.help().contains(&format!("sip:+15550010001@{}", one.sip)));
    }
}
