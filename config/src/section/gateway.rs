//! `[gateway]`, `[tls]`, `[admin]`, `[dns]` and `[log]`: the node itself.

use serde_json::Value as Json;

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::{Key as KeySource, LogFormat, LogLevel};
use crate::read::{Node, Table, Text, Value};
use crate::section::access::RawSecret;
use crate::section::media_timeout::MediaTimeout;
use crate::source::{At, Span};
use crate::text::address::{ListenAddress, ServerAddress, UnicastIp};
use crate::text::file::FilePath;
use crate::text::name::{Fqdn, HostName, Name};
use crate::text::scalar::{LogNumbers, Patience};

pub(crate) static NODE: Key<Name> = Key::computed(
    "node",
    "the host name",
    "Unique per node; stands in our branches, tags, Call-IDs and CDRs.",
)
.restart();
pub(crate) static FQDN: Key<Fqdn> = Key::required(
    "fqdn",
    "Base name: the carrier trunk, registered in the provider's own Microsoft 365 tenant.",
);
pub(crate) static STATE: Key<FilePath> =
    Key::default("state", "\"state\"", "Directory for what must survive a restart.").restart();
pub(crate) static TENANTS: Key<FilePath> =
    Key::default("tenants", "\"tenants.d\"", "Directory; each *.toml in it is one tenant.");
pub(crate) static DRAIN: Key<Patience> = Key::default(
    "drain",
    "\"30s\"",
    "How long calls may go on after SIGTERM; then they are ended with BYE.",
);
pub(crate) static UPGRADE_DRAIN: Key<Patience> = Key::default(
    "upgrade_drain",
    "\"4h\"",
    "The same for the calls of a process that another has taken over from.",
);
pub(crate) static MEDIA_TIMEOUT: Key<MediaTimeout> = Key::computed(
    "media_timeout",
    "never",
    "How long a side that should send may send neither RTP nor RTCP, 5s at least; then the call is ended. Held sides may be quiet, and so may a fax (T.38).",
);
pub(crate) static WATCH: Key<bool> = Key::default(
    "watch",
    "false",
    "Reload when this file, the tenants' directory or a file that is named changes.",
);

pub(crate) static EMERGENCY_WEBHOOK: Key<RawSecret> = Key::optional(
    "emergency_webhook",
    "Where each call for help is told at once: the URL, http or https, of a POST with a JSON object. As such URLs often hold a secret, it is kept like one: a string, { file = \"…\" } or { env = \"…\" }.",
);

pub(crate) static GATEWAY: Section = Section {
    title: "[gateway]",
    doc: "The node itself.",
    keys: &[
        &NODE,
        &FQDN,
        &STATE,
        &TENANTS,
        &DRAIN,
        &UPGRADE_DRAIN,
        &MEDIA_TIMEOUT,
        &WATCH,
        &EMERGENCY_WEBHOOK,
    ],
    named: None,
};

pub(crate) static CERTIFICATE: Key<FilePath> = Key::required(
    "certificate",
    "PEM file, leaf first, then intermediates; must cover the FQDN and *.FQDN.",
);
pub(crate) static KEY: Key<KeySource> = Key::required("key", "PEM file of the certificate's key.");

pub(crate) static TLS: Section = Section {
    title: "[tls]",
    doc: "What we present, as server and as client, where an edge or realm has nothing of its own.",
    keys: &[&CERTIFICATE, &KEY],
    named: None,
};

pub(crate) static ADMIN_LISTEN: Key<ListenAddress> =
    Key::default("listen", "\"127.0.0.1:8080\"", "Where /metrics, /live and /health are served.")
        .restart();

pub(crate) static ADMIN: Section = Section {
    title: "[admin]",
    doc: "Metrics and health; not served without this table.",
    keys: &[&ADMIN_LISTEN],
    named: None,
};

pub(crate) static HOSTS: Key<Hosts> =
    Key::optional("hosts", "Names with fixed addresses: { \"name\" = [\"address\", …] }.");
pub(crate) static SERVERS: Key<Vec<At<ServerAddress>>> = Key::computed(
    "servers",
    "the system's resolvers",
    "DNS servers to ask, such as 127.0.0.53:53.",
);

pub(crate) static DNS: Section = Section {
    title: "[dns]",
    doc: "How names are resolved.",
    keys: &[&HOSTS, &SERVERS],
    named: None,
};

static HOSTS_SECTION: Section = Section {
    title: "[dns] hosts",
    doc: "Names with fixed addresses.",
    keys: &[],
    named: Some(<Vec<At<UnicastIp>> as Value>::schema),
};

pub(crate) static LEVEL: Key<LogLevel> =
    Key::default("level", "\"info\"", "The least severe level that is written.");
pub(crate) static FORMAT: Key<LogFormat> =
    Key::default("format", "\"text\"", "Lines for people or one JSON object per line.").restart();
pub(crate) static NUMBERS: Key<LogNumbers> = Key::default(
    "numbers",
    "\"masked\"",
    "Whether phone numbers and addresses are masked in logs.",
);

pub(crate) static LOG: Section = Section {
    title: "[log]",
    doc: "What is logged and how.",
    keys: &[&LEVEL, &FORMAT, &NUMBERS],
    named: None,
};

#[derive(Debug)]
pub(crate) struct RawGateway {
    pub(crate) node: Option<At<Name>>,
    /// Whether `node` stands in the file, be it good or not.
    pub(crate) node_written: bool,
    pub(crate) fqdn: Option<At<Fqdn>>,
    pub(crate) state: At<FilePath>,
    pub(crate) tenants: At<FilePath>,
    pub(crate) tenants_written: bool,
    pub(crate) drain: Patience,
    pub(crate) upgrade_drain: Patience,
    pub(crate) media_timeout: Option<MediaTimeout>,
    pub(crate) watch: bool,
    pub(crate) emergency_webhook: Option<At<RawSecret>>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct RawTls {
    pub(crate) certificate: Option<At<FilePath>>,
    pub(crate) key: Option<At<KeySource>>,
}

#[derive(Debug)]
pub(crate) struct RawAdmin {
    pub(crate) listen: At<ListenAddress>,
}

#[derive(Debug, Default)]
pub(crate) struct RawDns {
    pub(crate) hosts: Hosts,
    pub(crate) servers: Vec<At<ServerAddress>>,
}

#[derive(Debug)]
pub(crate) struct RawLog {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
    pub(crate) numbers: LogNumbers,
}

/// Names with their addresses.
#[derive(Debug, Default)]
pub(crate) struct Hosts(pub(crate) Vec<(At<HostName>, Addresses)>);

/// The addresses of one name.
pub(crate) type Addresses = At<Vec<At<UnicastIp>>>;

impl Value for RawGateway {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&GATEWAY, node, out)?;
        let raw = Self {
            node: table.optional(&NODE),
            node_written: table.has(NODE.name),
            fqdn: table.required(&FQDN),
            state: table.value(&STATE),
            tenants: table.value(&TENANTS),
            tenants_written: table.has(TENANTS.name),
            drain: table.value(&DRAIN).value,
            upgrade_drain: table.value(&UPGRADE_DRAIN).value,
            media_timeout: table.optional(&MEDIA_TIMEOUT).map(|at| at.value),
            watch: table.value(&WATCH).value,
            emergency_webhook: table.optional(&EMERGENCY_WEBHOOK),
            span: node.span,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        GATEWAY.schema()
    }

    fn how(name: &str) -> String {
        format!("Add the table [{name}].")
    }
}

impl Value for RawTls {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&TLS, node, out)?;
        let raw = Self { certificate: table.required(&CERTIFICATE), key: table.required(&KEY) };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        TLS.schema()
    }
}

impl Value for RawAdmin {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&ADMIN, node, out)?;
        let raw = Self { listen: table.value(&ADMIN_LISTEN) };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        ADMIN.schema()
    }
}

impl Value for RawDns {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&DNS, node, out)?;
        let raw = Self {
            hosts: table.optional(&HOSTS).map(|at| at.value).unwrap_or_default(),
            servers: table.optional(&SERVERS).map(|at| at.value).unwrap_or_default(),
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        DNS.schema()
    }
}

impl Value for Hosts {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let table = Table::open(&HOSTS_SECTION, node, out)?;
        let mut hosts = Vec::new();
        for (name, value) in table.named() {
            match HostName::parse(name.value) {
                Ok(host) => {
                    let addresses = <Vec<At<UnicastIp>>>::read(value, table.out);
                    let host = At { value: host, span: name.span };
                    let span = value.span;
                    hosts.extend(addresses.map(|value| (host, At { value, span })));
                }
                Err(bad) => table.out.fault(bad.at("[dns] hosts", name.span, HostName::WHAT)),
            }
        }
        Some(Self(hosts))
    }

    fn schema() -> Json {
        HOSTS_SECTION.schema()
    }
}

impl Value for RawLog {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&LOG, node, out)?;
        let raw = Self {
            level: table.value(&LEVEL).value,
            format: table.value(&FORMAT).value,
            numbers: table.value(&NUMBERS).value,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        LOG.schema()
    }
}
