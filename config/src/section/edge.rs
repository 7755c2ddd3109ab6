//! `[teams]` and `[[edge]]`: our identities towards the cloud.

use serde_json::Value as Json;

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::Key as KeySource;
use crate::read::{Node, Table, Value};
use crate::section::media::{Dscp, MediaOf};
use crate::source::{At, Span};
use crate::text::address::{ListenAddress, Network, UnicastIp};
use crate::text::file::FilePath;
use crate::text::name::{Fqdn, HostName, Name};
use crate::text::scalar::{Cloud, Int, Interval, Plain};

pub(crate) static NAME: Key<Name> =
    Key::required("name", "Unique among edges; tenants name it in `edges`.");
static FQDN_OF_TEAMS: Key<Fqdn> =
    Key::computed("fqdn", "that of [gateway]", "Base name of this edge.");
pub(crate) static FQDN: Key<Fqdn> = Key::required("fqdn", "Base name of this edge.");
pub(crate) static LISTEN: Key<ListenAddress> =
    Key::required("listen", "TLS listener; a client certificate is required there.").restart();
static CLOUD: Key<Cloud> = Key::default(
    "cloud",
    "\"commercial\"",
    "Which cloud: chooses the defaults of `proxies`, `certificate_names` and `networks`.",
);
static MODE: Key<Plain> =
    Key::default("mode", "\"plain\"", "How media go: \"plain\" is through the gateway.");
pub(crate) static PROXIES: Key<Vec<At<HostName>>> = Key::computed(
    "proxies",
    "the names of the cloud, for \"commercial\" sip, sip2 and sip3.pstnhub.microsoft.com",
    "Host names of the proxies, in order of preference.",
);
pub(crate) static PORT: Key<Int<1, 65535>> = Key::default("port", "5061", "Port of the proxies.");
pub(crate) static CERTIFICATE_NAMES: Key<Vec<At<HostName>>> = Key::computed(
    "certificate_names",
    "the first name of the cloud, for \"commercial\" sip.pstnhub.microsoft.com",
    "Names of which the peer's certificate must carry one.",
);
pub(crate) static ROOTS: Key<FilePath> = Key::computed(
    "roots",
    "the seven Microsoft roots shipped with the gateway",
    "PEM file of the roots that may have issued the peer's certificate.",
);
pub(crate) static NETWORKS: Key<Vec<At<Network>>> = Key::computed(
    "networks",
    "those of the cloud, for \"commercial\" 52.112.0.0/14 and 52.120.0.0/14",
    "Source addresses that may connect.",
);
pub(crate) static OPTIONS_INTERVAL: Key<Interval> = Key::default(
    "options_interval",
    "\"60s\"",
    "Time between two OPTIONS to one proxy, 60s to 180s.",
);
pub(crate) static CERTIFICATE: Key<FilePath> = Key::computed(
    "certificate",
    "that of [tls]",
    "PEM file, leaf first, then intermediates; must cover the edge's and its tenants' names.",
);
pub(crate) static KEY: Key<KeySource> =
    Key::computed("key", "that of [tls]", "PEM file of the certificate's key.");
pub(crate) static ADVERTISE: Key<UnicastIp> =
    Key::optional("advertise", "The public address when behind NAT.");
pub(crate) static DSCP: Key<Dscp> = Key::optional("dscp", "DSCP marks.").restart();
pub(crate) static MEDIA: Key<MediaOf> =
    Key::default("media", "\"teams\"", "Name of an entry of [media], or { address, ports } here.")
        .restart();

pub(crate) static TEAMS: Section = Section {
    title: "[teams]",
    doc: "The edge named \"default\".",
    keys: &[
        &FQDN_OF_TEAMS,
        &LISTEN,
        &CLOUD,
        &MODE,
        &PROXIES,
        &PORT,
        &CERTIFICATE_NAMES,
        &ROOTS,
        &NETWORKS,
        &OPTIONS_INTERVAL,
        &CERTIFICATE,
        &KEY,
        &ADVERTISE,
        &DSCP,
        &MEDIA,
    ],
    named: None,
};

pub(crate) static EDGE: Section = Section {
    title: "[[edge]]",
    doc: "A further identity: own base name, port, certificate, cloud, OPTIONS.",
    keys: &[
        &NAME,
        &FQDN,
        &LISTEN,
        &CLOUD,
        &MODE,
        &PROXIES,
        &PORT,
        &CERTIFICATE_NAMES,
        &ROOTS,
        &NETWORKS,
        &OPTIONS_INTERVAL,
        &CERTIFICATE,
        &KEY,
        &ADVERTISE,
        &DSCP,
        &MEDIA,
    ],
    named: None,
};

/// Name of the edge `[teams]`.
pub(crate) const DEFAULT: &str = "default";

#[derive(Debug)]
pub(crate) struct RawEdge {
    pub(crate) name: Option<At<Name>>,
    /// `None` also where `[teams]` leaves it to `[gateway]`.
    pub(crate) fqdn: Option<At<Fqdn>>,
    pub(crate) fqdn_written: bool,
    pub(crate) listen: Option<At<ListenAddress>>,
    pub(crate) cloud: Cloud,
    pub(crate) proxies: Option<At<Vec<At<HostName>>>>,
    pub(crate) port: u16,
    pub(crate) certificate_names: Option<At<Vec<At<HostName>>>>,
    pub(crate) roots: Option<At<FilePath>>,
    pub(crate) networks: Option<At<Vec<At<Network>>>>,
    pub(crate) options_interval: Interval,
    pub(crate) certificate: Option<At<FilePath>>,
    pub(crate) key: Option<At<KeySource>>,
    pub(crate) advertise: Option<UnicastIp>,
    pub(crate) dscp: Option<Dscp>,
    pub(crate) media: At<MediaOf>,
    pub(crate) span: Span,
}

/// `[teams]`.
#[derive(Debug)]
pub(crate) struct RawDefault(pub(crate) RawEdge);

fn read(table: &mut Table<'_, '_>, name: Option<At<Name>>, fqdn: Option<At<Fqdn>>) -> RawEdge {
    let port = table.value(&PORT).value.0;
    table.value(&MODE);
    RawEdge {
        name,
        fqdn,
        fqdn_written: table.has(FQDN.name),
        listen: table.required(&LISTEN),
        cloud: table.value(&CLOUD).value,
        proxies: table.optional(&PROXIES),
        port: u16::try_from(port).unwrap_or(u16::MAX),
        certificate_names: table.optional(&CERTIFICATE_NAMES),
        roots: table.optional(&ROOTS),
        networks: table.optional(&NETWORKS),
        options_interval: table.value(&OPTIONS_INTERVAL).value,
        certificate: table.optional(&CERTIFICATE),
        key: table.optional(&KEY),
        advertise: table.optional(&ADVERTISE).map(|at| at.value),
        dscp: table.optional(&DSCP).map(|at| at.value),
        media: table.value(&MEDIA),
        span: table.span,
    }
}

impl Value for RawDefault {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&TEAMS, node, out)?;
        let name = At { value: Name(DEFAULT.to_owned()), span: node.span };
        let fqdn = table.optional(&FQDN_OF_TEAMS);
        let raw = read(&mut table, Some(name), fqdn);
        table.finish();
        Some(Self(raw))
    }

    fn schema() -> Json {
        TEAMS.schema()
    }
}

impl Value for RawEdge {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&EDGE, node, out)?;
        let name = table.required(&NAME);
        let fqdn = table.required(&FQDN);
        let raw = read(&mut table, name, fqdn);
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        EDGE.schema()
    }
}
