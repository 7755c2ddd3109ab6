//! A configuration taken apart again into tables, keys and values: what `effective` writes and
//! `diff` compares.

mod access;
mod dialect;
mod registrar;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::emergency::Site;
use crate::inventory::States;
use crate::key::{AnyKey, Presence};
use crate::limits::{Barring, Limits};
use crate::model::{
    Config, Edge, Key, LogFormat, LogLevel, MediaAddress, MediaPool, Peer, Realm, Roots, Secret,
    Tenant, Trunk,
};
use crate::numbers::Numbers;
use crate::read::Choice;
use crate::section::{admission, callers, edge, emergency, gateway, media, realm, tenant, trunk};
use crate::text::address::SIGNALLED;
use crate::text::scalar::{LogNumbers, Patience};

/// One table.
pub(crate) struct Block<'a> {
    /// The tenant in whose file it stands; `None`: in the main file.
    pub(crate) file: Option<&'a str>,
    /// As it is written, such as `[[trunk]]`.
    pub(crate) title: &'static str,
    /// As it is talked of, such as `trunk "carrier-a"`.
    pub(crate) subject: String,
    pub(crate) entries: Vec<Entry<'a>>,
    /// Whether it comes and goes by a restart only.
    pub(crate) restart: bool,
}

/// One key with its value.
pub(crate) struct Entry<'a> {
    pub(crate) key: String,
    pub(crate) value: Shown<'a>,
    pub(crate) restart: bool,
}

/// A value.
#[derive(PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    /// TOML.
    Toml(String),
    /// Not set; these words say what holds.
    Absent(&'static str),
    /// Numbers, which can be millions.
    Numbers(&'a Numbers, &'a States),
    /// TOML without the secrets that belong to it.
    Secrets { toml: String, secrets: Vec<&'a Secret> },
}

/// All tables, in the order in which they are written.
pub(crate) fn blocks(config: &Config) -> Vec<Block<'_>> {
    let mut blocks = node(config);
    blocks.extend(config.edges.iter().map(|edge| of_edge(config, edge)));
    blocks.extend(config.realms.iter().map(|realm| of_realm(config, realm)));
    let shared = config.trunks.iter().filter(|trunk| trunk.owner.is_none());
    blocks.extend(shared.map(|trunk| of_trunk(config, trunk)));
    for (index, tenant) in config.tenants.iter().enumerate() {
        blocks.push(of_tenant(config, tenant));
        blocks.extend(tenant.emergency.sites.iter().map(|site| of_site(tenant, site)));
        let owned = config.trunks.iter().filter(|trunk| trunk.owner == Some(index));
        blocks.extend(owned.map(|trunk| of_trunk(config, trunk)));
    }
    blocks
}

fn node(config: &Config) -> Vec<Block<'_>> {
    let table = |title, subject: &str, entries| Block {
        file: None,
        title,
        subject: subject.to_owned(),
        entries,
        restart: true,
    };
    let own = &config.gateway;
    let log = config.log;
    let masked = if log.mask_numbers { LogNumbers::Masked } else { LogNumbers::Plain };
    let mut blocks = vec![
        table(
            "[gateway]",
            "gateway",
            vec![
                set(&gateway::NODE, text(&own.node)),
                set(&gateway::FQDN, text(&own.fqdn)),
                set(&gateway::STATE, path(&own.state)),
                set(&gateway::DRAIN, text(Patience(own.drain))),
                set(&gateway::UPGRADE_DRAIN, text(Patience(own.upgrade_drain))),
                maybe(&gateway::MEDIA_TIMEOUT, own.media_timeout.map(span)),
                set(&gateway::WATCH, own.watch.to_string()),
                webhook(own.emergency_webhook.as_ref()),
            ],
        ),
        table(
            "[log]",
            "log",
            vec![
                set(&gateway::LEVEL, text(LogLevel::word(log.level))),
                set(&gateway::FORMAT, text(LogFormat::word(log.format))),
                set(&gateway::NUMBERS, text(LogNumbers::word(masked))),
            ],
        ),
    ];
    if let Some(listen) = config.admin {
        blocks.push(table("[admin]", "admin", vec![set(&gateway::ADMIN_LISTEN, text(listen))]));
    }
    let hosts =
        config.dns.hosts.iter().map(|(name, addresses)| {
            format!("{} = {}", text(name), list(addresses.iter().map(text)))
        });
    let hosts = format!("{{ {} }}", hosts.collect::<Vec<_>>().join(", "));
    let servers = &config.dns.servers;
    blocks.push(table(
        "[dns]",
        "dns",
        vec![
            set(&gateway::HOSTS, if config.dns.hosts.is_empty() { "{}".into() } else { hosts }),
            maybe(&gateway::SERVERS, (!servers.is_empty()).then(|| list(servers.iter().map(text)))),
        ],
    ));
    let mut entries = vec![set(&media::WORKERS, config.workers.to_string())];
    entries.extend(config.media.iter().map(of_pool));
    blocks.push(table("[media]", "media", entries));
    blocks
}

fn of_pool(pool: &MediaPool) -> Entry<'_> {
    let address = |at: &MediaAddress| {
        let mut entries = vec![
            set(&media::ADDRESS, text(at.address)),
            set(&media::PORTS, text(format_args!("{}-{}", at.ports.start(), at.ports.end()))),
        ];
        entries.extend(at.advertise.map(|ip| set(&media::ADVERTISE, text(ip))));
        entries.extend(at.dscp.map(|dscp| set(&media::DSCP, dscp.to_string())));
        inline(entries)
    };
    let value = list(pool.addresses.iter().map(address));
    Entry { key: pool.name.clone(), value: Shown::Toml(value), restart: true }
}

fn of_edge<'a>(config: &'a Config, of: &'a Edge) -> Block<'a> {
    let default = of.name == edge::DEFAULT;
    let mut entries = Vec::new();
    if !default {
        entries.push(set(&edge::NAME, text(&of.name)));
    }
    entries.extend([
        set(&edge::FQDN, text(&of.fqdn)),
        set(&edge::LISTEN, text(of.listen)),
        set(&edge::PROXIES, list(of.proxies.iter().map(text))),
        set(&edge::PORT, of.port.to_string()),
        set(&edge::CERTIFICATE_NAMES, list(of.certificate_names.iter().map(text))),
        match &of.roots {
            Roots::Shipped => maybe(&edge::ROOTS, None),
            Roots::File(file) => set(&edge::ROOTS, path(file)),
        },
        set(&edge::NETWORKS, list(of.networks.iter().map(text))),
        set(&edge::OPTIONS_INTERVAL, text(format_args!("{}s", of.options_interval.as_secs()))),
        set(&edge::CERTIFICATE, path(&of.certificate)),
        set(&edge::KEY, key(&of.key)),
        maybe(&edge::ADVERTISE, of.advertise.map(text::<IpAddr>)),
        maybe(&edge::DSCP, of.dscp_sip.map(dscp)),
        set(&edge::MEDIA, text(&config.media[of.media].name)),
    ]);
    Block {
        file: None,
        title: if default { "[teams]" } else { "[[edge]]" },
        subject: format!("edge \"{}\"", of.name),
        entries,
        restart: true,
    }
}

fn of_realm<'a>(config: &'a Config, of: &'a Realm) -> Block<'a> {
    let default = of.name == realm::DEFAULT;
    let mut entries = Vec::new();
    if !default {
        entries.push(set(&realm::NAME, text(&of.name)));
    }
    entries.extend([
        set(&realm::LISTEN, list(of.listen.iter().map(text))),
        maybe(&realm::ADVERTISE, of.advertise.map(text::<IpAddr>)),
        maybe(&realm::DSCP, of.dscp_sip.map(dscp)),
    ]);
    if let Some(tls) = &of.tls {
        entries.extend([
            set(&realm::CERTIFICATE, path(&tls.certificate)),
            set(&realm::KEY, key(&tls.key)),
            maybe(&realm::ROOTS, tls.roots.as_deref().map(path)),
        ]);
    }
    entries.push(set(&realm::MEDIA, text(&config.media[of.media].name)));
    Block {
        file: None,
        title: if default { "[carrier]" } else { "[[realm]]" },
        subject: format!("realm \"{}\"", of.name),
        entries,
        restart: true,
    }
}

fn of_trunk<'a>(config: &'a Config, of: &'a Trunk) -> Block<'a> {
    let signalled = of.media_networks.signalled.then(|| text(SIGNALLED));
    let matches = &of.matches;
    let name = |index: &usize| text(&config.trunks[*index].name);
    let further = of.inbound_trunks.iter().filter(|index| !of.trunks.contains(index));
    let further: Vec<_> = further.map(name).collect();
    let mut keys = Vec::new();
    keys.extend(
        matches.called_prefix.as_ref().map(|prefix| set(&trunk::CALLED_PREFIX, text(prefix))),
    );
    keys.extend(matches.uri_host.as_ref().map(|host| set(&trunk::URI_HOST, text(host))));
    keys.extend(matches.tgrp.as_ref().map(|group| set(&trunk::TGRP, text(group))));
    let mut block = Block {
        file: of.owner.map(|owner| config.tenants[owner].name.as_str()),
        title: "[[trunk]]",
        subject: format!("trunk \"{}\"", of.name),
        entries: vec![
            set(&trunk::NAME, text(&of.name)),
            set(&trunk::REALM, text(&config.realms[of.realm].name)),
            maybe(&trunk::COUNTRY, of.country.map(text)),
            set(&trunk::PEERS, list(of.peers.iter().map(peer))),
            set(&trunk::NETWORKS, list(of.networks.iter().map(text))),
            set(
                &trunk::MEDIA_NETWORKS,
                list(signalled.into_iter().chain(of.media_networks.networks.iter().map(text))),
            ),
            maybe(&trunk::MATCH, (!matches.is_empty()).then(|| inline(keys))),
            set(&trunk::SRTP, text(of.srtp.word())),
            set(&trunk::EARLY_MEDIA, text(of.early_media.word())),
            set(&trunk::REFER, text(of.refer.word())),
            set(&trunk::CALLER_ID, text(of.caller_id.word())),
            set(&trunk::DIVERSION, text(of.diversion.word())),
            set(&trunk::LOCATION, text(of.location.word())),
            set(&trunk::TRUSTED, of.trusted.to_string()),
            match of.numbers.is_empty() {
                true => maybe(&trunk::NUMBERS, None),
                false => numbers(&trunk::NUMBERS, &of.numbers, &of.states),
            },
            maybe(&callers::MAIN_NUMBER, of.main_number.map(text)),
            set(&callers::FOREIGN_CALLER, text(of.foreign_caller.word())),
            // Always: in a tenant's file no key and an empty list are not the same.
            set(&trunk::TRUNKS, list(of.trunks.iter().map(name))),
            maybe(&trunk::INBOUND_TRUNKS, (!further.is_empty()).then(|| list(further.into_iter()))),
        ]
        .into_iter()
        .chain(of_admission(&of.limits, &of.barring))
        .chain([
            set(&trunk::LIMIT_STATUS, of.limit_status.to_string()),
            maybe(
                &trunk::OPTIONS_INTERVAL,
                of.options_interval.map(|every| text(format_args!("{}s", every.as_secs()))),
            ),
            maybe(&trunk::MAX_DURATION, of.max_duration.map(span)),
            set(&trunk::STATUS_MAP, status_map(&of.status_map)),
            maybe(&trunk::HOLD_MUSIC, of.hold_music.as_deref().map(path)),
        ])
        .chain(dialect::entries(&of.dialect))
        .collect(),
        restart: false,
    };
    block.entries.extend(access::entries(of));
    block.entries.push(registrar::entry(of));
    block
}

fn of_tenant<'a>(config: &'a Config, of: &'a Tenant) -> Block<'a> {
    let trunk = |index: &usize| text(&config.trunks[*index].name);
    let edge = |index: usize| &config.edges[index];
    let inbound = of.inbound_trunks.iter().filter(|index| !of.trunks.contains(index));
    let inbound: Vec<_> = inbound.map(trunk).collect();
    let first = &of.names[0];
    // Several names come from one label; a single name can be any.
    let name = match of.names.len() {
        1 => set(&tenant::FQDN, text(&first.fqdn)),
        _ => {
            let base = edge(first.edge).fqdn.len();
            set(&tenant::LABEL, text(&first.fqdn[..first.fqdn.len().saturating_sub(base + 1)]))
        }
    };
    Block {
        file: Some(&of.name),
        title: "[tenant]",
        subject: format!("tenant \"{}\"", of.name),
        entries: vec![
            set(&tenant::NAME, text(&of.name)),
            name,
            set(&tenant::EDGES, list(of.names.iter().map(|name| text(&edge(name.edge).name)))),
            maybe(
                &tenant::TRUNKS,
                (!of.trunks.is_empty()).then(|| list(of.trunks.iter().map(trunk))),
            ),
            maybe(
                &tenant::INBOUND_TRUNKS,
                (!inbound.is_empty()).then(|| list(inbound.into_iter())),
            ),
            numbers(&tenant::NUMBERS, &of.numbers, &of.states),
            maybe(&callers::MAIN_NUMBER, of.main_number.map(text)),
            set(&callers::FOREIGN_CALLER, text(of.foreign_caller.word())),
            maybe(&tenant::COUNTRY, of.country.map(text)),
        ]
        .into_iter()
        .chain(of_admission(&of.limits, &of.barring))
        .chain([
            maybe(
                &emergency::TRUNKS,
                (!of.emergency.trunks.is_empty())
                    .then(|| list(of.emergency.trunks.iter().map(trunk))),
            ),
            maybe(
                &emergency::NUMBERS,
                of.emergency.numbers.as_ref().map(|all| list(all.iter().map(text))),
            ),
            maybe(&tenant::HOLD_MUSIC, of.hold_music.as_deref().map(path)),
            maybe(&tenant::MAX_DURATION, of.max_duration.map(span)),
        ])
        .collect(),
        restart: false,
    }
}

fn of_site<'a>(tenant: &'a Tenant, of: &'a Site) -> Block<'a> {
    let numbers = of.numbers.ranges().iter().map(text);
    Block {
        file: Some(&tenant.name),
        title: "[[site]]",
        subject: format!("tenant \"{}\", site \"{}\"", tenant.name, of.name),
        entries: vec![
            set(&emergency::NAME, text(&of.name)),
            set(&emergency::OF, list(numbers)),
            set(&emergency::ELIN, list(of.elins.iter().map(text))),
        ],
        restart: false,
    }
}

fn of_admission<'a>(limits: &Limits, barring: &Barring) -> [Entry<'a>; 5] {
    let [barred, unbarred] = admission::barred_words(barring);
    [
        maybe(&admission::MAX_CALLS, limits.all.calls.map(|calls| calls.to_string())),
        maybe(&admission::LIMITS, admission::limits_toml(limits)),
        set(&admission::TIMEZONE, text(&limits.timezone)),
        set(&admission::BARRED, list(barred.iter().map(text))),
        set(&admission::UNBARRED, list(unbarred.iter().map(text))),
    ]
}

fn set<'a>(key: &dyn AnyKey, toml: String) -> Entry<'a> {
    Entry { key: key.name().to_owned(), value: Shown::Toml(toml), restart: key.restart() }
}

fn numbers<'a>(key: &dyn AnyKey, numbers: &'a Numbers, states: &'a States) -> Entry<'a> {
    let value = Shown::Numbers(numbers, states);
    Entry { key: key.name().to_owned(), value, restart: key.restart() }
}

fn maybe<'a>(key: &dyn AnyKey, toml: Option<String>) -> Entry<'a> {
    let value = match (toml, key.presence()) {
        (Some(toml), _) => Shown::Toml(toml),
        (None, Presence::Computed(words)) => Shown::Absent(words),
        (None, Presence::Required | Presence::Optional | Presence::Default(_)) => {
            Shown::Absent("none")
        }
    };
    Entry { key: key.name().to_owned(), value, restart: key.restart() }
}

/// A string in TOML.
pub(crate) fn text<T: Display>(value: T) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn span(span: Duration) -> String {
    text(Patience(span))
}

fn path(path: &Path) -> String {
    text(path.display())
}

fn key(key: &Key) -> String {
    match key {
        Key::File(file) => path(file),
        Key::Env(name) => format!("{{ env = {} }}", text(name)),
    }
}

fn status_map(map: &BTreeMap<u16, u16>) -> String {
    let entries: Vec<_> = map.iter().map(|(from, to)| format!("{from} = {to}")).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn dscp(sip: u8) -> String {
    inline(vec![set(&media::DSCP_SIP, sip.to_string())])
}

fn webhook(url: Option<&Secret>) -> Entry<'_> {
    let value = match url {
        Some(url) => Shown::Secrets { toml: access::secret(url), secrets: vec![url] },
        None => Shown::Absent("none"),
    };
    let key: &dyn AnyKey = &gateway::EMERGENCY_WEBHOOK;
    Entry { key: key.name().to_owned(), value, restart: key.restart() }
}

/// A peer, with its weight where it has one.
fn peer(peer: &Peer) -> String {
    let weight = peer.weight.map(|weight| set(&trunk::WEIGHT, weight.to_string()));
    match weight {
        Some(weight) => inline(vec![set(&trunk::URI, text(peer)), weight]),
        None => text(peer),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn inline(entries: Vec<Entry<'_>>) -> String {
    let entries = entries.iter().filter_map(|entry| match &entry.value {
        Shown::Toml(toml) => Some(format!("{} = {toml}", entry.key)),
        Shown::Absent(_) | Shown::Numbers(..) | Shown::Secrets { .. } => None,
    });
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::model::Host;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(text("a\"b\\"), toml::Value::from("a\"b\\").to_string());
        assert_eq!(text(SocketAddr::from(([127, 0, 0, 1], 5060))), "\"127.0.0.1:5060\"");
        assert_eq!(text(Host::Ip(IpAddr::from([1, 2, 3, 4]))), "\"1.2.3.4\"");
    }
}
