//! The examples load, mean what they say, and survive being written out in full.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::scratch::Scratch;
use config::{Config, Country, Host, Key, Roots, Srtp, Transport, effective};

const EXAMPLES: [&str; 3] = ["short.toml", "long.toml", "provider.toml"];

#[test]
fn every_example_loads_without_a_warning() {
    let scratch = Scratch::new();
    let mut found: Vec<_> = std::fs::read_dir("examples")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    found.sort();
    let mut known = EXAMPLES;
    known.sort_unstable();
    assert_eq!(found, known);
    for name in EXAMPLES {
        let loaded = scratch.load(name).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(loaded.warnings.is_empty(), "{name}: {}", loaded.warnings);
    }
}

#[test]
fn the_short_form_is_filled_with_defaults() {
    let scratch = Scratch::new();
    let config = scratch.config("short.toml");
    let [edge] = &config.edges[..] else { panic!("{:?}", config.edges) };
    assert_eq!(
        (edge.name.as_str(), edge.fqdn.as_str(), edge.port),
        ("default", "sbc.example.com", 5061)
    );
    let pstnhub = |name: &str| format!("{name}.pstnhub.microsoft.com");
    assert_eq!(edge.proxies, ["sip", "sip2", "sip3"].map(pstnhub));
    assert_eq!(edge.certificate_names, ["sip"].map(pstnhub));
    assert_eq!(
        edge.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["52.112.0.0/14", "52.120.0.0/14"]
    );
    assert_eq!((&edge.roots, edge.options_interval), (&Roots::Shipped, Duration::from_secs(60)));
    assert_eq!(edge.key, Key::File(scratch.path("certs/sbc.key")));
    assert_eq!(config.media[edge.media].name, "teams");
    let [realm] = &config.realms[..] else { panic!("{:?}", config.realms) };
    assert_eq!((realm.name.as_str(), realm.tls.is_none()), ("carrier", true));
    assert_eq!(config.media[realm.media].addresses[0].ports, 20_000..=31_999);
    assert_eq!((config.media[realm.media].pairs(), config.workers), (6_000, 3));
    assert_eq!(config.gateway.state, scratch.path("state"));
    let [trunk] = &config.trunks[..] else { panic!("{:?}", config.trunks) };
    assert_eq!((trunk.realm, trunk.owner, trunk.srtp), (0, None, Srtp::Off));
    assert!(trunk.media_networks.signalled && trunk.media_networks.networks.is_empty());
    let [tenant] = &config.tenants[..] else { panic!("{:?}", config.tenants) };
    assert_eq!((&tenant.trunks[..], &tenant.inbound_trunks[..]), (&[0][..], &[0][..]));
    assert_eq!(tenant.names[0].fqdn, "sbc.example.com");
    assert_eq!((tenant.numbers.count(), tenant.limits.all.calls), (100, None));
}

#[test]
fn the_long_form_means_what_it_says() {
    let config = Scratch::new().config("long.toml");
    let edges: Vec<_> = config.edges.iter().map(|edge| edge.name.as_str()).collect();
    assert_eq!(edges, ["default", "gov"]);
    let gov = &config.edges[1];
    assert_eq!(gov.proxies, ["sip.pstnhub.gov.teams.microsoft.us"]);
    assert_eq!(gov.certificate_names, gov.proxies);
    assert_eq!(gov.networks[0].to_string(), "52.127.88.0/21");
    assert_eq!(config.media[gov.media].name, "gov");
    let inside = &config.realms[1];
    assert_eq!(
        (inside.name.as_str(), inside.dscp_sip, inside.listen.len()),
        ("inside", Some(24), 3)
    );
    let own = &config.media[inside.media];
    assert_eq!((own.name.as_str(), own.addresses.len()), ("inside", 2));
    assert!(own.addresses.iter().all(|address| address.dscp == Some(46)));
    assert!(config.realms[0].tls.as_ref().unwrap().roots.is_some());
    let trunk = |name: &str| config.trunks.iter().position(|trunk| trunk.name == name).unwrap();
    let [a, mobile, centre, fax, pbx] =
        ["carrier-a", "carrier-a-mobile", "contact-centre", "fax", "contoso-pbx"].map(trunk);
    assert_eq!(config.trunks[a].srtp, Srtp::Required, "all its peers are reached by TLS");
    assert_eq!(config.trunks[mobile].matches.called_prefix.as_deref(), Some("+447"));
    assert_eq!(config.trunks[mobile].matches.tgrp.as_deref(), Some("mobile"));
    let peer = &config.trunks[centre].peers[0];
    assert_eq!((peer.transport, peer.port), (Transport::Tcp, None));
    assert_eq!(peer.host, Host::Name("pbx.inside.test".to_owned()));
    assert_eq!(config.trunks[fax].networks[0].to_string(), "2001:db8::61/128", "from its peer");
    assert_eq!(config.trunks[pbx].owner, Some(0));
    let queues = &config.trunks[centre];
    assert_eq!((&queues.trunks[..], &queues.inbound_trunks[..]), (&[a][..], &[a, mobile][..]));
    assert_eq!((queues.numbers.count(), queues.numbers.contains("+8042")), (200, true));
    let own = &config.trunks[pbx];
    assert_eq!((&own.trunks[..], &own.inbound_trunks[..]), (&[a][..], &[a][..]), "its tenant's");
    assert!(own.numbers.is_empty() && config.trunks[fax].trunks.is_empty());
    let contoso = &config.tenants[0];
    let names: Vec<_> = contoso.names.iter().map(|name| (name.edge, name.fqdn.as_str())).collect();
    assert_eq!(names, [(0, "contoso.sbc.example.com"), (1, "contoso.gov.example.com")]);
    assert_eq!(contoso.trunks, [a, pbx]);
    assert_eq!(contoso.inbound_trunks, [a, pbx, mobile, centre, fax]);
    assert_eq!(contoso.country, Country::parse("GB"));
    assert!(contoso.numbers.contains("+1001") && !contoso.numbers.contains("+1002"));
    let fabrikam = &config.tenants[1];
    assert_eq!((&fabrikam.trunks[..], &fabrikam.inbound_trunks[..]), (&[][..], &[a][..]));
    assert_eq!(config.dns.hosts["pbx.inside.test"].len(), 2);
    assert_eq!(config.dns.servers[0].to_string(), "10.0.0.53:53");
}

#[test]
fn the_provider_shares_a_private_number_only_between_trunks() {
    let scratch = Scratch::new();
    let config = scratch.config("provider.toml");
    assert_eq!(config.edges[0].key, Key::Env("TRUNKGATE_TLS_KEY".to_owned()));
    assert_eq!(config.edges[0].advertise, "203.0.113.9".parse::<IpAddr>().ok());
    assert!(config.media.iter().all(|pool| pool.addresses[0].dscp == Some(46)));
    let fabrikam = &config.tenants[1];
    assert!(fabrikam.numbers.contains("+15557654321"));
    assert_eq!(fabrikam.numbers.count(), 1_002);
}

#[test]
fn the_effective_form_means_the_same() {
    for name in EXAMPLES {
        let scratch = Scratch::new();
        let config = scratch.config(name);
        assert_eq!(reload(&scratch, &config), config, "{name}");
    }
}

#[test]
fn the_effective_form_shows_defaults_and_hides_what_is_not_there() {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    let scratch = Scratch::new();
    let text = effective(&scratch.config("short.toml"));
    let text = text.replace(scratch.path("").to_str().unwrap(), "/…/");
    settings.bind(|| insta::assert_snapshot!(text));
}

#[test]
fn warnings_do_not_keep_from_starting() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let readable = PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(scratch.path("certs/sbc.key"), readable).unwrap();
    scratch.edit("short.toml", "127.0.0.1:8080", "0.0.0.0:8080");
    scratch.edit(
        "short.toml",
        "[admin]",
        "spare = { address = \"192.0.2.9\", ports = \"20000-20999\" }\n\n[admin]",
    );
    scratch.edit("short.toml", "[[trunk]]", "[[trunk]]\nname = \"carrier-b\"\npeers = [\"udp:b.test\"]\nsrtp = \"required\"\n\n[[trunk]]");
    scratch.edit("short.d/office.toml", "numbers", "# numbers");
    let loaded = scratch.load("short.toml").unwrap();
    let messages: Vec<_> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    let expected = [
        "every user of this host can read the key",
        "the media \"spare\" are used by no edge or realm",
        "metrics and health are open to the network",
        "trunk \"carrier-b\": nobody may call us as this trunk",
        "trunk \"carrier-b\": no tenant uses it",
        "trunk \"carrier-b\": the keys of its media travel in plain text",
        "tenant \"office\": it has no numbers",
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for expected in expected {
        assert!(
            messages.iter().any(|message| message.contains(expected)),
            "{expected}: {messages:#?}"
        );
    }
    assert!(loaded.warnings.render(false).contains("help: chmod 600"));
}

#[test]
fn a_trunk_is_an_end_of_calls_as_a_tenant_is() {
    let scratch = Scratch::new();
    let main = scratch.read("short.toml");
    let pbx = "[[trunk]]\nname = \"pbx\"\npeers = [\"udp:198.51.100.60\"]\n";
    scratch.write("queues.csv", "number\n+15559000000-+15559000999\n+8000\n");
    let shared = |keys: &str| {
        scratch.write("short.toml", format!("{main}\n{pbx}{keys}"));
        let loaded = scratch.load("short.toml").unwrap_or_else(|faults| panic!("{faults}"));
        let warnings = loaded.warnings.iter().map(|warning| warning.message.clone()).collect();
        let trunk = loaded.config.trunks[1].clone();
        (trunk.trunks, trunk.inbound_trunks, trunk.numbers.count(), warnings)
    };
    let warned = |text: &str| vec![format!("trunk \"pbx\": {text}")];
    for (keys, outbound, inbound, numbers, warnings) in [
        ("", vec![], vec![], 0, warned("no tenant uses it, nor a trunk")),
        ("trunks = []", vec![], vec![], 0, warned("no tenant uses it, nor a trunk")),
        ("trunks = [\"carrier-a\"]", vec![0], vec![0], 0, vec![]),
        ("inbound_trunks = [\"carrier-a\"]", vec![], vec![0], 0, warned("it has no numbers")),
        (
            "inbound_trunks = [\"carrier-a\"]\nnumbers = [{ file = \"queues.csv\" }, \"+8001\"]",
            vec![],
            vec![0],
            1_002,
            vec![],
        ),
        (
            "trunks = [\"carrier-a\"]\ninbound_trunks = [\"carrier-a\"]\nnumbers = [\"+8000\"]",
            vec![0],
            vec![0],
            1,
            vec![],
        ),
    ] {
        assert_eq!(shared(keys), (outbound, inbound, numbers, warnings), "{keys}");
    }
    // A trunk that only another trunk names is in use.
    let loaded = {
        scratch.write("short.toml", format!("{main}\n{pbx}"));
        scratch.edit("short.toml", "[[trunk]]\n", "[[trunk]]\ntrunks = [\"pbx\"]\n");
        scratch.load("short.toml").unwrap()
    };
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}

#[test]
fn a_trunk_in_a_tenants_file_goes_out_by_the_tenants_trunks_unless_it_says_otherwise() {
    let scratch = Scratch::new();
    let second = "[[trunk]]\nname = \"carrier-b\"\npeers = [\"udp:198.51.100.66\"]\n";
    scratch.write("short.toml", format!("{}\n{second}", scratch.read("short.toml")));
    scratch.edit("short.d/office.toml", "\"carrier-a\"", "\"carrier-b\", \"pbx\", \"carrier-a\"");
    let tenant = scratch.read("short.d/office.toml");
    for (keys, outbound, inbound) in [
        ("", &[1, 0][..], &[1, 0][..]),
        ("trunks = []", &[], &[]),
        ("trunks = [\"carrier-a\"]", &[0], &[0]),
        ("inbound_trunks = [\"carrier-a\"]\nnumbers = [\"+8000\"]", &[1, 0], &[1, 0]),
        ("trunks = []\ninbound_trunks = [\"carrier-a\"]\nnumbers = [\"+8000\"]", &[], &[0]),
    ] {
        let pbx = "[[trunk]]\nname = \"pbx\"\npeers = [\"udp:198.51.100.60\"]\n";
        scratch.write("short.d/office.toml", format!("{tenant}\n{pbx}{keys}"));
        let config = scratch.config("short.toml");
        let own = &config.trunks[2];
        assert_eq!((own.name.as_str(), own.owner), ("pbx", Some(0)));
        assert_eq!((&own.trunks[..], &own.inbound_trunks[..]), (outbound, inbound), "{keys}");
        assert_eq!(reload(&scratch, &config), config, "{keys}");
    }
}

#[test]
fn a_private_number_may_have_several_owners_on_different_trunks() {
    let scratch = Scratch::new();
    let end = |name: &str, ip: &str, inbound: &str| {
        format!(
            "[[trunk]]\nname = \"{name}\"\npeers = [\"udp:198.51.100.{ip}\"]\nnumbers = [\"+8000\"]\ninbound_trunks = [\"{inbound}\"]\n"
        )
    };
    let ends = [end("east", "60", "carrier-a"), end("west", "61", "east")].join("\n");
    let main = scratch.read("short.toml");
    scratch.write("short.toml", format!("{main}\n{ends}"));
    assert_eq!(scratch.config("short.toml").trunks[2].inbound_trunks, [1]);
    scratch.edit("short.toml", "inbound_trunks = [\"east\"]", "inbound_trunks = [\"carrier-a\"]");
    let faults = scratch.load("short.toml").unwrap_err().to_string();
    assert!(faults.contains("+8000 belongs to trunk \"east\" and to trunk \"west\""), "{faults}");
}

#[test]
fn a_certificate_about_to_expire_is_a_warning() {
    for (pki, warning) in [("soon", "expires in 10 days"), ("no-usage", "no extended key usage")] {
        let scratch = Scratch::new();
        scratch.write("certs/sbc.pem", std::fs::read(format!("tests/pki/{pki}.pem")).unwrap());
        scratch.write("certs/sbc.key", std::fs::read(format!("tests/pki/{pki}.key")).unwrap());
        let short = scratch.read("short.toml").replace("sbc.example.com", "sbc.test");
        scratch.write("short.toml", short);
        scratch.edit("short.d/office.toml", "sbc.example.com", "sbc.test");
        let mut around = crate::scratch::surroundings();
        around.now = std::time::UNIX_EPOCH + Duration::from_secs(1_798_761_600);
        let loaded = config::load_in(&scratch.path("short.toml"), &around).unwrap();
        assert!(loaded.warnings.to_string().contains(warning), "{}", loaded.warnings);
    }
}

#[test]
fn the_tenants_directory_may_hold_other_things_and_may_be_missing() {
    let scratch = Scratch::new();
    scratch.write("short.d/.office.toml.swp.toml", "not TOML");
    scratch.write("short.d/README", "not TOML");
    scratch.write("short.d/office.toml~", "not TOML");
    assert_eq!(scratch.config("short.toml").tenants.len(), 1);
    scratch.edit("short.toml", "tenants = \"short.d\"", "");
    let loaded = scratch.load("short.toml").unwrap();
    assert!(loaded.config.tenants.is_empty());
    assert!(loaded.warnings.to_string().contains("there are no tenants"));
}

#[test]
fn files_with_carriage_returns_and_a_byte_order_mark_are_read() {
    let scratch = Scratch::new();
    let config = scratch.config("short.toml");
    for name in ["short.toml", "short.d/office.toml"] {
        let text = scratch.read(name).replace('\n', "\r\n");
        scratch.write(name, format!("\u{feff}{text}"));
    }
    assert_eq!(scratch.config("short.toml"), config);
}

#[test]
fn a_thousand_tenants_in_a_thousand_files_load_in_under_a_second() {
    let scratch = Scratch::new();
    std::fs::remove_dir_all(scratch.path("short.d")).unwrap();
    std::fs::create_dir(scratch.path("short.d")).unwrap();
    for n in 0..1_000 {
        let tenant = format!(
            "[tenant]\nname = \"t{n:04}\"\nlabel = \"t{n:04}\"\ntrunks = [\"carrier-a\"]\n\
             numbers = [\"+1555{n:04}000-+1555{n:04}999\", \"+4420{n:08}\"]\nmax_calls = 200\n"
        );
        scratch.write(&format!("short.d/t{n:04}.toml"), tenant);
    }
    let start = Instant::now();
    let config = scratch.config("short.toml");
    let took = start.elapsed();
    assert_eq!(config.tenants.len(), 1_000);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let start = Instant::now();
    assert!(config::diff(&config, &scratch.config("short.toml")).is_empty());
    assert!(start.elapsed() < Duration::from_secs(1));
    println!("1,000 tenants: {took:?}");
}

#[test]
fn a_million_numbers_in_files_load_in_a_second_and_stay_compact() {
    let scratch = Scratch::new();
    let numbers: String = (0..1_000_000).map(|n| format!("+4930{:08}\n", n * 2)).collect();
    scratch.write("short.d/office.csv", numbers);
    scratch.edit("short.d/office.toml", "numbers = [", "numbers = [{ file = \"office.csv\" }, ");
    let start = Instant::now();
    let config = scratch.config("short.toml");
    let took = start.elapsed();
    let numbers = &config.tenants[0].numbers;
    assert_eq!((numbers.count(), numbers.ranges().len()), (1_000_100, 1_000_001));
    assert!(numbers.contains("+493000000002") && !numbers.contains("+493000000001"));
    assert!(took < Duration::from_secs(2), "{took:?}");
    println!("1,000,000 numbers: {took:?}");
}

/// Writes the effective form into files and loads these.
fn reload(scratch: &Scratch, config: &Config) -> Config {
    let text = effective(config);
    std::fs::create_dir_all(scratch.path("again/tenants.d")).unwrap();
    for file in text.split("# file: ").skip(1) {
        let (name, text) = file.split_once('\n').unwrap();
        scratch.write(&format!("again/{name}"), text);
    }
    scratch.config("again/gateway.toml")
}
