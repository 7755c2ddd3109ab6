//! Certificates, configuration and fakes, all on loopback addresses that nobody uses.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::agent::{SCENARIOS, robot};
use crate::capture::{Log, Transport};
use crate::carrier::{self, FakeCarrier};
use crate::demo::configuration::{BASE, DOMAIN, SBC, gateway_toml, write};
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

/// Each tenant of the provider with its first label.
pub(crate) const TENANTS: [&str; 2] = ["t001.sbc.test", "t002.sbc.test"];
pub(crate) const CARRIERS: [&str; 2] = ["carrier-a", "carrier-b"];
pub(crate) const TEAMS: &str = "Teams";

/// Makes certificates and configuration in `dir` and starts a fake Teams and two fake carriers, the
/// first over UDP, the second over TCP. Must be called inside a Tokio runtime.
pub async fn prepare(dir: &Path) -> Result<Scene, DemoError> {
    let net = Network::choose(&[10, 50, 51], &[11, 20, 21, 22]).ok_or(DemoError::NoPorts)?;
    let pki = Pki::create(&dir.join("certs"))?;
    pki.issue(SBC, &Leaf::gateway(BASE))?;
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
    let text = gateway_toml("trunkgate demo", &net, &teams, "\"127.0.0.0/8\"", &trunks_toml(&net));
    write(&config, &text)?;
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

/// The demo's trunks: the two carriers, and whoever has a softphone on this machine.
fn trunks_toml(net: &Network) -> String {
    let (a, b, sip) = (net.host(50), net.host(51), net.sip);
    format!(
        r#"
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

#[cfg(test)]
mod tests {
    use std::fs;

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
