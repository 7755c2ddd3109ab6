//! The configuration of a gateway of ours between the fakes, as far as it is the same whatever is played: one edge, one
//! realm, the files of certificates. Trunks and tenants are the play's.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::network::Network;
use super::scene::DemoError;
use crate::teams::FakeTeams;

/// The provider's base name.
pub(crate) const BASE: &str = "sbc.test";
/// Of which `sip.`, `sip2.` and `sip3.` are the names of the fake Teams.
pub(crate) const DOMAIN: &str = "teams.test";
/// The gateway's certificate in the directory `certs` beside the configuration.
pub(crate) const SBC: &str = "sbc";

/// The text of gateway.toml, written by that command; `networks` are those of Teams, in TOML.
pub(crate) fn gateway_toml(
    command: &str,
    net: &Network,
    teams: &FakeTeams,
    networks: &str,
    trunks: &str,
) -> String {
    let (inside, edge, sip, tls) = (net.host(10), net.host(11), net.sip, net.tls);
    let (admin, admin_port, hosts) = (net.host(1), net.admin, hosts(teams));
    format!(
        r#"# Written by `{command}`.
schema = 1

[gateway]
node = "lab"
fqdn = "{BASE}"
state = "state"
tenants = "tenants.d"

[tls]
certificate = "certs/{SBC}.pem"
key = "certs/{SBC}.key"

[teams]
listen = "{edge}:{tls}"
proxies = ["sip.{DOMAIN}", "sip2.{DOMAIN}", "sip3.{DOMAIN}"]
port = {tls}
certificate_names = ["sip.{DOMAIN}"]
roots = "certs/ca.crt"
networks = [{networks}]

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
{trunks}"#
    )
}

fn hosts(teams: &FakeTeams) -> String {
    let mut text = String::new();
    for (name, address) in teams.hosts() {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}\"{name}\" = [\"{address}\"]");
    }
    text
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    let file = |source| DemoError::File { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(file)?;
    }
    fs::write(path, text).map_err(file)
}
