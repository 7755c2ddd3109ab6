//! Trunks: peers that their realm can reach, networks by which they can be told apart.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::Surroundings;
use crate::fault::{Draft, Findings};
use crate::inventory::States;
use crate::load::Raw;
use crate::model::{
    ForeignCaller, Host, Listener, Match, MediaNetworks, Peer, Srtp, Transport, Trunk,
};
use crate::numbers::Numbers;
use crate::resolve::access;
use crate::resolve::edge::empty;
use crate::resolve::name::subject;
use crate::resolve::profile::{self, Profiles, Rules};
use crate::resolve::route::{self, Routes};
use crate::resolve::{Names, address_of, callers, registrar};
use crate::section::realm::RawRealm;
use crate::section::trunk::{RawMatch, RawTrunk};
use crate::source::{At, Span};
use crate::text::address::MediaNetwork;
use crate::text::timezone::Timezone;

/// Shortest prefixes of a trunk's network: a source address is what a trunk is known by.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;

/// Shared trunks first, then those of the tenants, as [`Names`] numbers them.
pub(crate) fn resolve(
    raw: &Raw,
    names: &Names<'_>,
    around: &Surroundings,
    out: &mut Findings,
) -> Vec<Option<Trunk>> {
    let gateway = raw.main.gateway.as_ref();
    let fqdn = gateway.and_then(|raw| raw.fqdn.as_ref()).map(|at| at.value.0.as_str());
    let shipped = profile::shipped(out);
    let profiles = Profiles::new(&raw.main, &shipped, out);
    let mut keys = BTreeMap::new();
    let mut registering = registrar::Known::default();
    let mut resolved = Vec::new();
    let utc = Timezone::default();
    for (index, (owner, raw_trunk)) in raw.trunks().enumerate() {
        let realm = realm_of(raw_trunk, names, out);
        let routes = route::of_trunk(raw, raw_trunk, index, names, out);
        let realm_of = realm.map(|index| (index, &raw.main.realms[index]));
        let rules = profiles.of(raw_trunk, out);
        let days = owner.and_then(|owner| raw.tenants[owner].tenant.admission.timezone.as_ref());
        let end = (owner, days.unwrap_or(&utc));
        let trunk = one(raw_trunk, &rules, realm_of, end, routes, (around, fqdn), out);
        if let Some(realm) = realm {
            distinct(raw_trunk, realm, &mut keys, out);
        }
        if let Some(trunk) = &trunk {
            registrar::distinct(raw_trunk, trunk, &mut registering, out);
        }
        resolved.push(trunk);
    }
    resolved
}

fn realm_of(trunk: &RawTrunk, names: &Names<'_>, out: &mut Findings) -> Option<usize> {
    let subject = || subject("trunk", trunk.name.as_ref());
    if let Some(name) = &trunk.realm {
        return names.realms.find(name, &subject(), out);
    }
    let found = names.realm_of(trunk);
    if found.is_none() && !trunk.realm_written && names.realms.len() > 1 {
        let message = format!("{}: `realm` is missing", subject());
        let help = "Say which: there are several realms and no [carrier].";
        out.fault(Draft::new(message, help).at(trunk.span, "through which realm?"));
    }
    found
}

fn one(
    raw: &RawTrunk,
    rules: &Rules,
    realm: Option<(usize, &RawRealm)>,
    (owner, days): (Option<usize>, &Timezone),
    routes: Routes,
    (around, fqdn): (&Surroundings, Option<&str>),
    out: &mut Findings,
) -> Option<Trunk> {
    let subject = subject("trunk", raw.name.as_ref());
    empty(&subject, "peers", raw.peers.as_ref(), out);
    let listeners: Vec<_> = realm
        .and_then(|(_, realm)| realm.listen.as_ref())
        .map(|list| list.value.iter().map(|at| at.value).collect())
        .unwrap_or_default();
    let peers = || raw.peers.iter().flat_map(|list| &list.value);
    if !listeners.is_empty() {
        for peer in peers() {
            reachable(&subject, &peer.value.0, peer.span, &listeners, out);
        }
        for network in raw.networks.iter().flat_map(|list| &list.value) {
            can_come(&subject, network.value.0, network.span, &listeners, out);
        }
    }
    let networks = networks(raw);
    let registers = peers().any(|peer| peer.value.0.host == Host::Registered);
    if networks.is_empty() && !raw.networks_written && !registers && raw.peers.is_some() {
        let message = format!("{subject}: nobody may call us as this trunk");
        let help = "Its peers are names: add `networks`, or `networks = []` if that is meant.";
        out.warn(Draft::new(message, help).at(raw.span, "without `networks`"));
    }
    let media_networks = MediaNetworks {
        signalled: raw.media_networks.value.iter().any(|at| at.value == MediaNetwork::Signalled),
        networks: raw
            .media_networks
            .value
            .iter()
            .filter_map(|at| media_network(at.value))
            .collect(),
    };
    empty(&subject, "media_networks", Some(&raw.media_networks), out);
    let authenticate = access::authenticate(&raw.access, fqdn, around, out);
    let username = authenticate.as_ref().and_then(|claim| Some(claim.as_ref()?.username.as_str()));
    let registrar = registrar::of_trunk(raw, &listeners, username, out);
    let by_tls = registrar.iter().flatten().any(|own| own.transports == [Transport::Tls]);
    let secure = peers().all(|peer| match peer.value.0.host {
        Host::Registered => by_tls,
        Host::Name(_) | Host::Ip(_) => peer.value.0.transport == Transport::Tls,
    });
    if let Some(At { value: Srtp::Required, span }) = rules.srtp().filter(|_| !secure) {
        let message = format!("{subject}: the keys of its media travel in plain text");
        let help = "Reach every peer by \"tls:…\", so that nobody on the way can read them.";
        out.warn(Draft::new(message, help).at(*span, "without TLS"));
    }
    let main_number = callers::main_number(&subject, raw.main_number.as_ref(), &raw.numbers, out);
    if let Some(place) = rules.needs_country().filter(|_| raw.country.is_none()) {
        let message = format!("{subject}: its numbers are national, and of no country");
        let help = "Add `country`, such as \"GB\", to the trunk.";
        out.fault(Draft::new(message, help).at(raw.span, "in this trunk").at(place, "said here"));
    }
    let peers: Vec<_> = peers().map(|at| at.value.0.clone()).collect();
    let credentials = access::credentials(&subject, &raw.access, around, out);
    let register = access::register(&subject, &raw.access, &peers, out);
    Some(Trunk {
        name: raw.name.as_ref()?.value.0.clone(),
        realm: realm?.0,
        owner,
        country: raw.country,
        peers: raw.peers.as_ref().map(|_| peers)?,
        networks,
        media_networks,
        matches: matches(raw.matches.as_ref()),
        early_media: rules.early_media(),
        refer: rules.refer(),
        caller_id: rules.caller_id(),
        diversion: rules.diversion(),
        location: rules.location(),
        trusted: rules.trusted(),
        dialect: Arc::new(rules.dialect()),
        srtp: match rules.srtp() {
            Some(srtp) => srtp.value,
            None if secure => Srtp::Required,
            None => Srtp::Off,
        },
        numbers: Numbers::new(raw.numbers.iter().map(|at| at.value.range).collect()),
        states: States::new(raw.numbers.iter().map(|at| (at.value.range, at.value.state))),
        main_number,
        foreign_caller: raw.foreign_caller.unwrap_or(
            match owner.is_none() && raw.numbers.is_empty() {
                true => ForeignCaller::Pass,
                false => ForeignCaller::Main,
            },
        ),
        trunks: routes.outbound,
        inbound_trunks: routes.inbound,
        limits: raw.admission.limits_in(days),
        barring: raw.admission.barring.clone(),
        limit_status: raw.limit_status.0,
        options_interval: rules.options_interval().map(|interval| interval.0),
        max_duration: raw.max_duration.map(|longest| longest.0),
        status_map: rules.status_map().0,
        hold_music: raw.hold_music.as_ref().map(|at| at.value.0.clone()),
        credentials: credentials?,
        register: register?,
        authenticate: authenticate?,
        registrar: registrar?,
    })
}

/// The networks written, or else the peers that are addresses.
fn networks(raw: &RawTrunk) -> Vec<IpNet> {
    match &raw.networks {
        Some(list) => list.value.iter().map(|at| at.value.0).collect(),
        None => {
            let peers = raw.peers.iter().flat_map(|list| &list.value);
            let mut networks: Vec<_> =
                peers.filter_map(|at| address_of(&at.value.0.host)).map(IpNet::from).collect();
            networks.sort();
            networks.dedup();
            networks
        }
    }
}

/// Notes a peer that the realm cannot reach, or that is ourselves. Streams can be opened without a
/// listener, datagrams cannot be sent.
fn reachable(subject: &str, peer: &Peer, span: Span, listeners: &[Listener], out: &mut Findings) {
    if peer.host == Host::Registered {
        return;
    }
    let word = peer.transport.as_str();
    let same: Vec<_> = listeners.iter().filter(|own| own.transport == peer.transport).collect();
    if same.is_empty() {
        let message = format!("{subject}: its realm does not listen on {word}");
        let help =
            format!("Add a listener \"{word}:…\" to the realm: the peer's requests come there.");
        let draft = |label| Draft::new(message, help).at(span, label);
        if peer.transport == Transport::Udp {
            out.fault(draft("cannot be reached"));
            return;
        }
        out.warn(draft("cannot open a connection to us"));
    }
    let Host::Ip(ip) = peer.host else { return };
    let address = SocketAddr::new(ip, peer.port.unwrap_or(peer.transport.default_port()));
    let from = if same.is_empty() { listeners.iter().collect() } else { same };
    if from.iter().any(|own| own.transport == peer.transport && own.address == address) {
        let message = format!("{subject}: {address} is a listener of ours");
        let help = "Write the peer's address: calls would come back to us.";
        out.fault(Draft::new(message, help).at(span, "this is us"));
    } else if !from.iter().any(|own| own.address.is_ipv4() == ip.is_ipv4()) {
        let family = family(ip);
        let message = format!("{subject}: its realm has no {family} listener on {word}");
        let help = format!("Add one to the realm, or write a peer that is not {family}.");
        out.fault(Draft::new(message, help).at(span, "cannot be reached"));
    }
}

/// Notes a network from which nothing can come, or everyone.
fn can_come(subject: &str, network: IpNet, span: Span, listeners: &[Listener], out: &mut Findings) {
    let shortest = if network.addr().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
    if network.prefix_len() < shortest {
        let message = format!("{subject}: {network} would let nearly everyone call as this trunk");
        let help = format!("Name the peer's own networks: /{shortest} is the widest.");
        out.fault(Draft::new(message, help).at(span, "too wide"));
    } else if !listeners.iter().any(|own| own.address.is_ipv4() == network.addr().is_ipv4()) {
        let family = family(network.addr());
        let message = format!("{subject}: nothing can come from {network}");
        let help = format!("Its realm has no {family} listener: add one, or take the network out.");
        out.fault(Draft::new(message, help).at(span, "no listener for it"));
    }
}

/// Notes a trunk that a request could mean as well as another.
fn distinct(
    raw: &RawTrunk,
    realm: usize,
    keys: &mut BTreeMap<(usize, IpNet, Match), (String, Span)>,
    out: &mut Findings,
) {
    let own = subject("trunk", raw.name.as_ref());
    let matches = matches(raw.matches.as_ref());
    let mut networks = networks(raw);
    networks.sort();
    networks.dedup();
    let place = raw.networks.as_ref().map_or(raw.span, |at| at.span);
    for network in networks {
        let Some((other, first)) = keys.get(&(realm, network, matches.clone())) else {
            keys.insert((realm, network, matches.clone()), (own.clone(), place));
            continue;
        };
        let message =
            format!("{own} and {other} cannot be told apart: both take calls from {network}");
        let help =
            "Give one of them `match = { called_prefix = \"…\" }` (or uri_host, tgrp) of its own.";
        out.fault(Draft::new(message, help).at(place, "this trunk").at(*first, "and this"));
        return;
    }
}

fn matches(raw: Option<&At<RawMatch>>) -> Match {
    let Some(At { value, .. }) = raw else { return Match::default() };
    Match {
        called_prefix: value.called_prefix.as_ref().map(|prefix| prefix.0.clone()),
        uri_host: value.uri_host.as_ref().map(|host| host.0.clone()),
        tgrp: value.tgrp.as_ref().map(|group| group.0.clone()),
    }
}

fn media_network(entry: MediaNetwork) -> Option<IpNet> {
    match entry {
        MediaNetwork::Signalled => None,
        MediaNetwork::Network(network) => Some(network),
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}
