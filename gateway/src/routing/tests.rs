//! Look-ups over a small configuration: two tenants on two carriers, and a contact centre.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{
    Barring, Bound, CallerId, Config, Dns, EarlyMedia, Edge, Emergency, ForeignCaller, Gateway,
    Host, Key, Limits, Listener, Log, LogFormat, LogLevel, Match, MediaAddress, MediaNetworks,
    MediaPool, Number, Numbers, Peer, Realm, Refer, Roots, Srtp, States, Tenant, TenantName,
    Transport, Trunk,
};

use super::*;
use crate::failure::Cause;
use crate::numbers::Number as Called;
use crate::random::Random;

/// Tenants t001 (2 calls at most) and t002; trunks carrier-a, carrier-b and the contact centre `centre`, which is
/// reached from carrier-a and sends its calls out by carrier-b. The private number +1001 is in both tenants.
pub(crate) fn config() -> Config {
    Config {
        gateway: Gateway {
            node: "a".into(),
            fqdn: "sbc.test".into(),
            state: PathBuf::from("state"),
            drain: Duration::from_secs(30),
            watch: false,
            emergency_webhook: None,
            upgrade_drain: Duration::from_secs(14_400),
            media_timeout: None,
        },
        log: Log { level: LogLevel::Info, format: LogFormat::Text, mask_numbers: true },
        edges: vec![edge()],
        realms: vec![realm()],
        media: vec![pool("teams", "127.0.0.11"), pool("carrier", "127.0.0.10")],
        workers: 1,
        admin: None,
        dns: dns(),
        trunks: vec![
            trunk("carrier-a", "127.0.0.50", "GB", "", &[], &[]),
            trunk("carrier-b", "127.0.0.51", "US", "", &[], &[]),
            trunk("centre", "127.0.0.52", "GB", "+442079470000-+442079470099", &[1], &[1, 0]),
        ],
        tenants: vec![
            tenant("t001", &[0], "+442079460000-+442079460099 +1001", Some(2)),
            tenant("t002", &[1], "+12025550100-+12025550199 +1001", None),
        ],
    }
}

/// The tables of [`config`].
pub(crate) fn routes() -> Routes {
    Routes::new(Arc::new(config()))
}

fn edge() -> Edge {
    Edge {
        name: "default".into(),
        fqdn: "sbc.test".into(),
        listen: "127.0.0.11:5061".parse().unwrap(),
        proxies: vec!["sip.teams.test".into(), "sip2.teams.test".into()],
        port: 5061,
        certificate_names: vec!["sip.teams.test".into()],
        roots: Roots::Shipped,
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        options_interval: Duration::from_secs(60),
        certificate: PathBuf::from("c"),
        key: Key::File(PathBuf::from("k")),
        advertise: None,
        dscp_sip: None,
        media: 0,
    }
}

fn realm() -> Realm {
    let listen = |transport| Listener { transport, address: "127.0.0.10:5060".parse().unwrap() };
    Realm {
        name: "carrier".into(),
        listen: vec![listen(Transport::Udp), listen(Transport::Tcp)],
        advertise: None,
        dscp_sip: None,
        tls: None,
        media: 1,
    }
}

fn dns() -> Dns {
    let ip = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    Dns {
        hosts: [("sip.teams.test", "127.0.0.20"), ("sip2.teams.test", "127.0.0.21")]
            .map(|(name, address)| (name.to_owned(), ip(address)))
            .into(),
        servers: Vec::new(),
    }
}

fn pool(name: &str, address: &str) -> MediaPool {
    MediaPool {
        name: name.into(),
        addresses: vec![MediaAddress {
            address: address.parse().unwrap(),
            advertise: None,
            ports: 20000..=20999,
            dscp: None,
        }],
    }
}

fn trunk(
    name: &str,
    ip: &str,
    country: &str,
    numbers: &str,
    trunks: &[usize],
    inbound: &[usize],
) -> Trunk {
    Trunk {
        name: name.into(),
        realm: 0,
        owner: None,
        country: config::Country::parse(country),
        peers: vec![Peer {
            transport: Transport::Udp,
            host: Host::Ip(ip.parse().unwrap()),
            port: Some(5070),
            weight: None,
        }],
        networks: vec![format!("{ip}/32").parse().unwrap()],
        media_networks: MediaNetworks { signalled: true, networks: Vec::new() },
        matches: Match::default(),
        srtp: Srtp::Off,
        early_media: EarlyMedia::First,
        refer: Refer::Refuse,
        caller_id: CallerId::Asserted,
        diversion: config::Diversion::Diversion,
        location: config::Location::Strip,
        trusted: false,
        dialect: Arc::default(),
        numbers: self::numbers(numbers),
        states: States::default(),
        main_number: first(numbers),
        foreign_caller: if numbers.is_empty() { ForeignCaller::Pass } else { ForeignCaller::Main },
        trunks: trunks.to_vec(),
        inbound_trunks: inbound.to_vec(),
        limits: Limits::default(),
        barring: Barring::default(),
        limit_status: 503,
        options_interval: None,
        max_duration: None,
        status_map: [(500, 503), (502, 503)].into(),
        hold_music: None,
        credentials: Vec::new(),
        register: None,
        authenticate: None,
        registrar: None,
    }
}

fn tenant(name: &str, trunks: &[usize], numbers: &str, max_calls: Option<u32>) -> Tenant {
    Tenant {
        name: name.into(),
        names: vec![TenantName { edge: 0, fqdn: format!("{name}.sbc.test") }],
        trunks: trunks.to_vec(),
        inbound_trunks: trunks.to_vec(),
        numbers: self::numbers(numbers),
        states: States::default(),
        main_number: first(numbers),
        foreign_caller: ForeignCaller::Main,
        limits: Limits { all: Bound { calls: max_calls, rate: None }, ..Limits::default() },
        barring: Barring::default(),
        emergency: Emergency { trunks: trunks.to_vec(), ..Emergency::default() },
        max_duration: None,
        country: config::Country::parse("GB"),
        hold_music: None,
    }
}

fn first(numbers: &str) -> Option<Number> {
    self::numbers(numbers).ranges().iter().map(|range| range.first).find(|n| !n.is_private())
}

pub(crate) fn numbers(text: &str) -> Numbers {
    let ranges = text.split_whitespace().map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        NumberRange { first: Number::parse(first).unwrap(), last: Number::parse(last).unwrap() }
    });
    Numbers::new(ranges.collect())
}

const A: End = End::Trunk(TrunkId(0));
const B: End = End::Trunk(TrunkId(1));
const CENTRE: End = End::Trunk(TrunkId(2));
const T1: End = End::Tenant(TenantId(0));
const T2: End = End::Tenant(TenantId(1));

/// The ends that a call would try, in order, without repetition.
fn ends(from: End, called: &str) -> Result<Vec<End>, Cause> {
    let called = Called::read(called.as_bytes(), None).unwrap();
    let plan = routes().plan(from, &called, false, |_| 0, &mut Random::seeded(1))?;
    let mut ends: Vec<End> = plan.hops.iter().map(|hop| hop.end()).collect();
    ends.dedup();
    Ok(ends)
}

#[test]
fn a_carrier_reaches_the_tenants_that_take_its_calls_and_no_others() {
    assert_eq!(ends(A, "+442079460001"), Ok(vec![T1]));
    assert_eq!(ends(B, "+442079460001"), Err(Cause::UnknownNumber), "t001 is not on carrier-b");
    assert_eq!(ends(A, "+442079460100"), Err(Cause::UnknownNumber), "one past the range");
    assert_eq!(ends(B, "+12025550199"), Ok(vec![T2]));
}

#[test]
fn tr_018_the_same_private_number_is_chosen_by_trunk() {
    assert_eq!(ends(A, "+1001"), Ok(vec![T1]));
    assert_eq!(ends(B, "+1001"), Ok(vec![T2]));
    assert_eq!(ends(A, "1001"), Ok(vec![T1]), "the plus may be missing");
}

#[test]
fn a_tenant_calls_out_by_its_own_trunks() {
    assert_eq!(ends(T1, "+33123456789"), Ok(vec![A]));
    assert_eq!(ends(T2, "+33123456789"), Ok(vec![B]));
}

#[test]
fn a_contact_centre_is_an_end_like_a_tenant() {
    assert_eq!(ends(A, "+442079470001"), Ok(vec![CENTRE]), "trunk to trunk");
    assert_eq!(ends(T1, "+442079470001"), Ok(vec![CENTRE]), "tenant to trunk in the house");
    assert_eq!(ends(CENTRE, "+33123456789"), Ok(vec![B]), "out by its own trunks");
    assert_eq!(ends(CENTRE, "+442079470001"), Ok(vec![B]), "never back to itself");
}

#[test]
fn tenants_that_share_a_trunk_reach_each_other() {
    let mut config = config();
    config.tenants[1].inbound_trunks.push(0);
    let routes = Routes::new(Arc::new(config));
    let called = Called::read(b"+12025550100", None).unwrap();
    let plan = routes.plan(T1, &called, false, |_| 0, &mut Random::seeded(1)).unwrap();
    assert!(plan.hops.iter().all(|hop| hop.end() == T2));
    assert_eq!(ends(T1, "+12025550100"), Ok(vec![A]), "without a shared trunk it goes out");
}

#[test]
fn proxies_that_are_down_come_last() {
    let called = Called::read(b"+442079460001", None).unwrap();
    let plan = routes()
        .plan(
            A,
            &called,
            false,
            |place| u8::from(matches!(place, Place::Proxy { proxy: 0, .. })),
            &mut Random::seeded(1),
        )
        .unwrap();
    let order: Vec<usize> = plan
        .hops
        .iter()
        .map(|hop| match hop {
            Hop::Proxy { proxy, .. } => *proxy,
            Hop::Peer { peer, .. } => *peer,
        })
        .collect();
    assert_eq!(order, [1, 0]);
}

#[test]
fn tr_023_a_tenant_is_known_by_the_request_uri_alone() {
    let routes = routes();
    let tenant = |uri: &str| routes.tenant_of(EdgeId(0), uri.as_bytes());
    assert_eq!(tenant("sip:+33123@T002.sbc.test:5061;user=phone"), Some(TenantId(1)));
    for unknown in ["sip:+33123@sbc.test", "sip:+33123@t003.sbc.test", "sip:+33123@127.0.0.11"] {
        assert_eq!(tenant(unknown), None, "{unknown}");
    }
}

#[test]
fn a_trunk_is_known_by_its_source_and_match_only_chooses_among_equals() {
    let mut config = config();
    let mut london = config.trunks[0].clone();
    london.name = "london".into();
    london.matches.called_prefix = Some("+4420".into());
    config.trunks.push(london);
    let mut grouped = config.trunks[0].clone();
    grouped.name = "grouped".into();
    grouped.matches.tgrp = Some("x1".into());
    config.trunks.push(grouped);
    let routes = Routes::new(Arc::new(config));
    let from = |ip: &str, uri: &str| {
        let invite = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let invite = sip_stack::message::Message::parse(invite.into()).unwrap();
        routes.trunk_of(RealmId(0), ip.parse().unwrap(), &invite).map(|id| id.0)
    };
    assert_eq!(from("127.0.0.50", "sip:+442079460000@x"), Some(3));
    assert_eq!(from("127.0.0.50", "sip:02079460000@x"), Some(3), "national numbers are read first");
    assert_eq!(from("127.0.0.50", "sip:+4915112345678@x"), Some(0));
    assert_eq!(from("127.0.0.50", "sip:+4915112345678;tgrp=x1;trunk-context=y@x"), Some(4));
    assert_eq!(from("127.0.0.50", "sip:+4915112345678;tgrp=x2;trunk-context=y@x"), Some(0));
    assert_eq!(from("127.0.0.51", "sip:+442079460000@x"), Some(1));
    assert_eq!(from("127.0.0.99", "sip:+442079460000@x"), None, "AT-03: no header admits anyone");
}
