//! Trunks that register with us: what they need, what is refused, what is shown.

use std::time::Duration;

use config::{Host, RequestUser, Srtp, Transport, diff, effective};

use crate::scratch::Scratch;

const CLAIM: &str = "authenticate = { username = \"pbx\", password = \"s3cret\" }";

/// The short example with a second trunk of these keys.
fn with(keys: &str) -> Scratch {
    let scratch = Scratch::new();
    let text = scratch.read("short.toml");
    scratch.write(
        "short.toml",
        format!(
            "{text}\n[[trunk]]\nname = \"pbx\"\nnumbers = [\"+442079480000\"]\n\
         inbound_trunks = [\"carrier-a\"]\n{keys}\n"
        ),
    );
    scratch
}

#[test]
fn a_trunk_that_registers_needs_no_more_than_a_password() {
    let scratch = with(&format!("peers = [\"registered\"]\n{CLAIM}"));
    let loaded = scratch.load("short.toml").unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let trunk = &loaded.config.trunks[1];
    assert_eq!((&trunk.peers[0].host, trunk.networks.len()), (&Host::Registered, 0));
    let registrar = trunk.registrar.as_ref().unwrap();
    assert_eq!(registrar.user, "pbx");
    assert_eq!(registrar.min_expires, Duration::from_secs(60));
    assert_eq!(registrar.max_expires, Duration::from_secs(3600));
    assert_eq!((registrar.max_contacts, registrar.networks.len()), (1, 0));
    assert_eq!(registrar.transports, [Transport::Udp], "what its realm listens on");
    assert_eq!((registrar.request_user, trunk.srtp), (RequestUser::Number, Srtp::Off));
    assert_eq!(loaded.config.trunks[0].registrar, None);
}

#[test]
fn it_may_stand_beside_other_peers_and_everything_can_be_said() {
    let keys = format!(
        "peers = [\"registered\", \"udp:192.0.2.50:5060\"]\n{CLAIM}\nregistrar = {{ user = \"4711\", min_expires = \"30s\", \
         max_expires = \"2h\", max_contacts = 3, networks = [\"203.0.113.0/24\"], transports = [\"tls\"], \
         request_user = \"contact\" }}"
    );
    let scratch = with(&keys);
    scratch.edit("short.toml", "listen = [\"udp:", "listen = [\"tls:192.0.2.20:5071\", \"udp:");
    let config = scratch.config("short.toml");
    let trunk = &config.trunks[1];
    assert_eq!(trunk.networks, ["192.0.2.50/32".parse().unwrap()]);
    let registrar = trunk.registrar.as_ref().unwrap();
    assert_eq!((registrar.user.as_str(), registrar.max_contacts), ("4711", 3));
    assert_eq!(registrar.transports, [Transport::Tls]);
    assert_eq!(registrar.request_user, RequestUser::Contact);
    let shown = effective(&config);
    assert!(shown.contains("peers = [\"registered\", \"udp:192.0.2.50:5060\"]"), "{shown}");
    assert!(shown.contains("registrar = { user = \"4711\", min_expires = \"30s\""), "{shown}");
    scratch.edit("short.toml", "max_contacts = 3", "max_contacts = 4");
    let changes = diff(&config, &scratch.config("short.toml"));
    assert_eq!((changes.len(), changes[0].key.as_deref()), (1, Some("registrar")));
    assert!(!changes[0].restart);
    // By TLS alone, its media are encrypted.
    scratch.edit("short.toml", ", \"udp:192.0.2.50:5060\"]", "]");
    assert_eq!(scratch.config("short.toml").trunks[1].srtp, Srtp::Required);
}

#[test]
fn what_cannot_be_is_told_with_its_place_and_what_to_do() {
    for (keys, told) in [
        ("peers = [\"registered\"]".to_owned(), "everybody could register as this trunk"),
        (format!("peers = [\"registered\", \"registered\"]\n{CLAIM}"), "stands twice"),
        (
            format!("peers = [\"udp:192.0.2.50\"]\n{CLAIM}\nregistrar = {{}}"),
            "it does not register",
        ),
        (
            format!("peers = [\"registered\"]\n{CLAIM}\nregister = {{ user = \"a\" }}"),
            "we register with it, and it with us",
        ),
        (
            format!("peers = [\"registered\"]\n{CLAIM}\nregistrar = {{ transports = [\"tcp\"] }}"),
            "does not listen on tcp",
        ),
        (
            format!("peers = [\"registered\"]\n{CLAIM}\nregistrar = {{ transports = [] }}"),
            "by no transport",
        ),
        (
            format!("peers = [\"registered\"]\n{CLAIM}\nregistrar = {{ networks = [] }}"),
            "from nowhere",
        ),
        (
            format!("peers = [\"registered\"]\n{CLAIM}\nregistrar = {{ min_expires = \"5s\" }}"),
            "no registration lasts 5s",
        ),
        (
            format!(
                "peers = [\"registered\"]\n{CLAIM}\nregistrar = {{ min_expires = \"10m\", max_expires = \"5m\" }}"
            ),
            "longer than `max_expires`",
        ),
        (
            format!("peers = [\"registered\"]\n{CLAIM}\nregistrar = {{ max_contacts = 11 }}"),
            "out of range",
        ),
        (
            format!(
                "peers = [\"registered\"]\n{CLAIM}\n[[trunk]]\nname = \"two\"\npeers = [\"registered\"]\n{CLAIM}"
            ),
            "both register as \"pbx\"",
        ),
        (
            format!(
                "peers = [\"registered\"]\n{CLAIM}\n[[trunk]]\nname = \"two\"\npeers = [\"registered\"]\n\
                 authenticate = {{ username = \"b\", password = \"s3cret\", realm = \"other\" }}"
            ),
            "one challenge has to fit all",
        ),
    ] {
        let faults = with(&keys).load("short.toml").unwrap_err().to_string();
        assert!(faults.contains(told), "{keys}: {faults}");
        assert!(faults.contains("short.toml:") && !faults.contains("s3cret"), "{faults}");
    }
}
