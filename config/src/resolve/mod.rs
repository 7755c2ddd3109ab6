//! From what was read to what the gateway works with: names become indices, defaults that depend
//! on other tables are filled in, and one thing is checked against another.
//!
//! Each part goes on after a fault, so that one reading finds all; what could not be resolved is
//! `None`, and a fault tells why.

mod access;
mod callers;
mod edge;
mod emergency;
mod identity;
mod media;
mod name;
mod number;
pub(crate) mod profile;
mod realm;
mod registrar;
mod route;
mod socket;
mod sound;
mod tenant;
mod trunk;
mod webhook;

use crate::Surroundings;
use crate::credentials::Credentials;
use crate::fault::{Draft, Findings};
use crate::load::Raw;
use crate::model::{Config, Dns, Gateway, Host, Log};
use crate::resolve::identity::Identities;
use crate::resolve::name::Index;
use crate::section::gateway::{NODE, RawDns, RawGateway};
use crate::section::root::RawMain;
use crate::section::trunk::RawTrunk;
use crate::section::{edge as edge_keys, realm as realm_keys};
use crate::text::scalar::LogNumbers;

/// Resolves and checks; the result is good when no fault was noted.
pub(crate) fn resolve(
    raw: &Raw,
    around: &Surroundings,
    out: &mut Findings,
) -> Option<(Config, Credentials)> {
    let main = &raw.main;
    roles(main, out);
    let gateway = main.gateway.as_ref().and_then(|raw| gateway(raw, around, out));
    let names = Names::new(raw, out);
    let mut identities = Identities::new(around);
    let pools = media::pools(main, &names, out);
    let edges = edge::resolve(main, &pools, &mut identities, out);
    let realms = realm::resolve(raw, &names, &pools, &mut identities, out);
    let media = media::resolve(main, &pools, out);
    socket::check(main, &pools, out);
    let trunks = trunk::resolve(raw, &names, around, out);
    let tenants = tenant::resolve(raw, &names, &edges, out);
    number::check(raw, &tenants, &trunks, out);
    route::check(raw, &trunks, out);
    tenant::check_use(raw, &tenants, &trunks, out);
    sound::look(raw, out);
    let tenants: Option<Vec<_>> = tenants.into_iter().collect();
    let config = Config {
        gateway: gateway?,
        log: log(main),
        edges: edges.into_iter().map(|edge| edge.resolved).collect::<Option<_>>()?,
        realms: realms.into_iter().collect::<Option<_>>()?,
        media: media?,
        workers: main
            .media
            .workers
            .as_ref()
            .map_or_else(|| around.cores.saturating_sub(1).clamp(1, 255), |at| at.value.0 as usize),
        admin: main.admin.as_ref().map(|raw| raw.listen.value.0),
        dns: dns(&main.dns, out),
        trunks: trunks.into_iter().collect::<Option<_>>()?,
        tenants: tenants?,
    };
    out.is_clean().then(|| (config, identities.credentials()))
}

/// The names of everything that others refer to.
pub(crate) struct Names<'a> {
    pub(crate) edges: Index<'a>,
    pub(crate) realms: Index<'a>,
    pub(crate) trunks: Index<'a>,
    /// For each trunk the tenant that owns it.
    pub(crate) owners: Vec<Option<usize>>,
}

impl<'a> Names<'a> {
    /// The realm of a trunk, without a fault.
    pub(crate) fn realm_of(&self, trunk: &RawTrunk) -> Option<usize> {
        match &trunk.realm {
            Some(name) => self.realms.get(&name.value.0),
            None if trunk.realm_written => None,
            None => {
                let only = (self.realms.len() == 1).then_some(0);
                self.realms.get(realm_keys::DEFAULT).or(only)
            }
        }
    }

    fn new(raw: &'a Raw, out: &mut Findings) -> Self {
        let main = &raw.main;
        reserved(main, out);
        Index::new("tenant", raw.tenants.iter().map(|unit| unit.tenant.name.as_ref()), out);
        Self {
            edges: Index::new("edge", main.edges.iter().map(|edge| edge.name.as_ref()), out),
            realms: Index::new("realm", main.realms.iter().map(|realm| realm.name.as_ref()), out),
            owners: raw.trunks().map(|(owner, _)| owner).collect(),
            trunks: Index::new("trunk", raw.trunks().map(|(_, raw)| raw.name.as_ref()), out),
        }
    }
}

/// At least one edge and one realm.
fn roles(main: &RawMain, out: &mut Findings) {
    if !main.edges_written {
        let help = "Add [teams] with `listen`, or an [[edge]].";
        out.fault(Draft::new("there is no edge", help).at(main.span, "in this file"));
    }
    if !main.realms_written {
        let help = "Add [carrier] with `listen`, or a [[realm]].";
        out.fault(Draft::new("there is no realm", help).at(main.span, "in this file"));
    }
}

/// The names of `[teams]` and `[carrier]` are not free.
fn reserved(main: &RawMain, out: &mut Findings) {
    let edges =
        main.edges.iter().map(|edge| (&edge.name, edge_keys::DEFAULT, "[teams]", edge.span));
    let realms =
        main.realms.iter().map(|realm| (&realm.name, realm_keys::DEFAULT, "[carrier]", realm.span));
    for (name, reserved, table, span) in edges.chain(realms) {
        let Some(name) = name else { continue };
        // The tables themselves carry their name at their own place.
        if name.value.0 == reserved && name.span != span {
            let message = format!("the name \"{reserved}\" belongs to {table}");
            let help = format!("Write it as {table}, or take another name.");
            out.fault(Draft::new(message, help).at(name.span, "not free"));
        }
    }
}

fn gateway(raw: &RawGateway, around: &Surroundings, out: &mut Findings) -> Option<Gateway> {
    if raw.state.value.0.exists() && !raw.state.value.0.is_dir() {
        let message = format!("{} is not a directory", raw.state.value.0.display());
        let draft = Draft::new(message, "Name a directory; it is created when it is not there.");
        out.fault(draft.at(raw.state.span, "not a directory"));
    }
    let node = match &raw.node {
        Some(node) => Some(node.value.0.clone()),
        None if raw.node_written => None,
        None if node_fits(&around.node) => Some(around.node.clone()),
        None => {
            let message =
                format!("the host name {:?} cannot stand for `{}`", around.node, NODE.name);
            let help = "Write `node = \"…\"` with 1 to 64 letters, digits, `-`, `_` or `.`.";
            out.fault(Draft::new(message, help).at(raw.span, "no `node` in this table"));
            None
        }
    };
    let fqdn = raw.fqdn.as_ref()?.value.0.clone();
    let emergency_webhook = match &raw.emergency_webhook {
        Some(at) => Some(webhook::resolve(at, around, out)?),
        None => None,
    };
    Some(Gateway {
        node: node?,
        fqdn,
        state: raw.state.value.0.clone(),
        drain: raw.drain.0,
        upgrade_drain: raw.upgrade_drain.0,
        media_timeout: raw.media_timeout.map(|timeout| timeout.0),
        watch: raw.watch,
        emergency_webhook,
    })
}

fn node_fits(node: &str) -> bool {
    <crate::text::name::Name as crate::read::Text>::parse(node).is_ok()
}

fn log(main: &RawMain) -> Log {
    use crate::model::{LogFormat, LogLevel};
    match &main.log {
        Some(raw) => Log {
            level: raw.level,
            format: raw.format,
            mask_numbers: raw.numbers == LogNumbers::Masked,
        },
        None => Log { level: LogLevel::Info, format: LogFormat::Text, mask_numbers: true },
    }
}

fn dns(raw: &RawDns, out: &mut Findings) -> Dns {
    let mut dns = Dns::default();
    for (name, addresses) in &raw.hosts.0 {
        let subject = format!("[dns] hosts \"{}\"", name.value.0);
        edge::empty(&subject, "addresses", Some(addresses), out);
        let addresses = addresses.value.iter().map(|at| at.value.0).collect();
        if dns.hosts.insert(name.value.0.clone(), addresses).is_some() {
            let help = "Give each name once: upper and lower case are the same.";
            let draft = Draft::new(format!("{subject} stands twice"), help);
            out.fault(draft.at(name.span, "again"));
        }
    }
    dns.servers = raw.servers.iter().map(|at| at.value.0).collect();
    dns
}

/// `host` as an address, if it is one.
pub(crate) fn address_of(host: &Host) -> Option<std::net::IpAddr> {
    match host {
        Host::Ip(ip) => Some(*ip),
        Host::Name(_) | Host::Registered => None,
    }
}
