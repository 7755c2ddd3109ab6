//! The files that operators were promised work as they were written down.

use std::net::SocketAddr;

use crate::scratch::Scratch;
use config::{Host, Transport};

const SHORT: &str = r#"
schema = 1

[gateway]
node = "a"
fqdn = "sbc.test"
state = "state"
tenants = "tenants.d"

[tls]
certificate = "certs/sbc.pem"
key = "certs/sbc.key"

[teams]
listen = "127.0.0.11:5061"
proxies = ["sip.teams.test"]
port = 5061
certificate_names = ["sip.teams.test"]
roots = "certs/sbc.pem"
networks = ["127.0.0.0/8"]
options_interval = "60s"

[carrier]
listen = ["udp:127.0.0.10:5060", "tcp:127.0.0.10:5060", "tls:127.0.0.10:5071"]
advertise = "203.0.113.9"

[media]
teams   = { address = "127.0.0.11", ports = "20000-31999" }
carrier = { address = "127.0.0.10", ports = "20000-31999" }
workers = 1

[admin]
listen = "127.0.0.1:8080"

[dns]
hosts = { "sip.teams.test" = ["127.0.0.20"] }

[[trunk]]
name = "carrier-a"
peers = ["udp:127.0.0.50:5070"]
networks = ["127.0.0.50/32"]
"#;

const LONG: &str = r#"
[[edge]]
name = "bypass"
fqdn = "bypass.sbc.test"
listen = "127.0.0.12:5061"
cloud = "commercial"
mode = "plain"
certificate = "certs/bypass.pem"
key = "certs/bypass.key"
media = "teams"

[[realm]]
name = "inside"
listen = ["udp:127.0.0.13:5060", "udp:[::1]:5060"]
dscp = { sip = 24, rtp = 46 }
media = { address = "127.0.0.13", ports = "20000-21999" }

[[trunk]]
name = "contact-centre"
realm = "inside"
country = "GB"
peers = ["tcp:pbx.inside.test"]
networks = ["127.0.0.60/32"]
media_networks = ["signalled"]
match = { called_prefix = "+4420" }
"#;

const TENANT: &str = r#"
[tenant]
name = "t001"
label = "t001"
trunks = ["carrier-a"]
numbers = ["+15550010000-+15550019999", "+442079460000", { file = "t001.csv" }]
max_calls = 200
"#;

#[test]
fn the_short_form() {
    let scratch = scratch(SHORT);
    let loaded = scratch.load("gateway.toml").unwrap_or_else(|faults| panic!("{faults}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    assert_eq!((config.gateway.node.as_str(), config.workers), ("a", 1));
    assert_eq!(config.admin, Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
    assert_eq!(config.realms[0].listen.len(), 3);
    assert!(config.realms[0].tls.is_some());
    let tenant = &config.tenants[0];
    assert_eq!(tenant.names[0].fqdn, "t001.sbc.test");
    assert_eq!((tenant.limits.all.calls, tenant.numbers.count()), (Some(200), 10_002));
    assert!(tenant.numbers.contains("+1001") && tenant.numbers.contains("+442079460000"));
}

#[test]
fn the_long_form() {
    let scratch = scratch(&format!("{SHORT}{LONG}"));
    scratch.edit("tenants.d/t001.toml", "trunks =", "inbound_trunks = [\"contact-centre\"]\nedges = [\"default\", \"bypass\"]\npairing = \"derived\"\ncountry = \"US\"\ntrunks =");
    let loaded = scratch.load("gateway.toml").unwrap_or_else(|faults| panic!("{faults}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["trunk \"contact-centre\": its realm does not listen on tcp"]);
    let config = loaded.config;
    let peer = &config.trunks[1].peers[0];
    assert_eq!(
        (peer.transport, &peer.host),
        (Transport::Tcp, &Host::Name("pbx.inside.test".into()))
    );
    assert_eq!(config.tenants[0].names[1].fqdn, "t001.bypass.sbc.test");
    assert_eq!(config.media[config.realms[1].media].addresses[0].dscp, Some(46));
}

#[test]
fn schema_and_node_may_be_left_out() {
    let scratch = scratch(&SHORT.replace("schema = 1", "").replace("node = \"a\"", ""));
    assert_eq!(scratch.config("gateway.toml").gateway.node, "host");
}

#[test]
fn a_peer_may_be_a_table() {
    let scratch =
        scratch(&SHORT.replace("\"udp:127.0.0.50:5070\"", "{ uri = \"udp:127.0.0.50:5070\" }"));
    assert_eq!(
        scratch.config("gateway.toml").trunks[0].peers[0].to_string(),
        "udp:127.0.0.50:5070"
    );
}

#[test]
fn a_trunk_in_a_tenants_file_belongs_to_it_alone() {
    let scratch = scratch(SHORT);
    let pbx = "[[trunk]]\nname = \"pbx\"\npeers = [\"udp:127.0.0.61\"]\n";
    let tenant =
        scratch.read("tenants.d/t001.toml").replace("\"carrier-a\"", "\"pbx\", \"carrier-a\"");
    scratch.write("tenants.d/t001.toml", format!("{tenant}\n{pbx}"));
    let config = scratch.config("gateway.toml");
    assert_eq!((config.trunks[1].owner, &config.tenants[0].trunks[..]), (Some(0), &[1, 0][..]));
}

#[test]
fn a_peer_by_tls_needs_no_listener_but_a_certificate() {
    let short = SHORT.replace(", \"tls:127.0.0.10:5071\"", "");
    let scratch = scratch(&short.replace("\"udp:127.0.0.50:5070\"", "\"tls:127.0.0.50:5070\""));
    let config = scratch.config("gateway.toml");
    assert_eq!(config.realms[0].tls.as_ref().unwrap().certificate, scratch.path("certs/sbc.pem"));
}

fn scratch(main: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.certificate("sbc", "sbc.test");
    scratch.certificate("bypass", "bypass.sbc.test");
    std::fs::create_dir(scratch.path("tenants.d")).unwrap();
    scratch.write("gateway.toml", main);
    scratch.write("tenants.d/t001.toml", TENANT);
    scratch.write("tenants.d/t001.csv", "+1001\n");
    scratch
}
