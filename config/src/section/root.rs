//! The top level of `gateway.toml` and of a tenant's file.

use serde_json::{Value as Json, json};

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::read::{Node, Table, Value};
use crate::section::edge::{RawDefault, RawEdge};
use crate::section::emergency::RawSite;
use crate::section::gateway::{RawAdmin, RawDns, RawGateway, RawLog, RawTls};
use crate::section::media::RawMedia;
use crate::section::profile::{self, RawProfile};
use crate::section::realm::{RawCarrier, RawRealm};
use crate::section::tenant::RawTenant;
use crate::section::trunk::RawTrunk;
use crate::source::{At, Span};
use crate::text::scalar::Int;

static SCHEMA: Key<Int<1, 1>> = Key::default("schema", "1", "Version of this format.");
pub(crate) static GATEWAY: Key<RawGateway> = Key::required("gateway", "The node itself.");
static LOG: Key<RawLog> = Key::optional("log", "What is logged and how.");
static TLS: Key<RawTls> = Key::optional("tls", "What we present, as server and as client.");
static TEAMS: Key<RawDefault> = Key::optional("teams", "The edge named \"default\".");
static EDGE: Key<Vec<At<RawEdge>>> = Key::optional("edge", "Further edges, each [[edge]].");
static CARRIER: Key<RawCarrier> = Key::optional("carrier", "The realm named \"carrier\".");
static REALM: Key<Vec<At<RawRealm>>> = Key::optional("realm", "Further realms, each [[realm]].");
static MEDIA: Key<RawMedia> = Key::optional("media", "Media addresses and threads.");
static ADMIN: Key<RawAdmin> = Key::optional("admin", "Metrics and health.");
static DNS: Key<RawDns> = Key::optional("dns", "How names are resolved.");
static TRUNK: Key<Vec<At<RawTrunk>>> = Key::optional("trunk", "SIP peers, each [[trunk]].");
static TENANT: Key<RawTenant> = Key::required("tenant", "The customer.");

static SITE: Key<Vec<At<RawSite>>> =
    Key::optional("site", "Places from which its users call for help, each [[site]].");

pub(crate) static MAIN: Section = Section {
    title: "gateway.toml",
    doc: "The main file.",
    keys: &[
        &SCHEMA,
        &GATEWAY,
        &LOG,
        &TLS,
        &TEAMS,
        &EDGE,
        &CARRIER,
        &REALM,
        &MEDIA,
        &ADMIN,
        &DNS,
        &profile::LIST,
        &TRUNK,
    ],
    named: None,
};

pub(crate) static TENANT_FILE: Section = Section {
    title: "a tenant's file",
    doc: "One tenant.",
    keys: &[&SCHEMA, &TENANT, &TRUNK, &SITE],
    named: None,
};

#[derive(Debug)]
pub(crate) struct RawMain {
    pub(crate) gateway: Option<RawGateway>,
    pub(crate) log: Option<RawLog>,
    pub(crate) tls: Option<RawTls>,
    /// `[teams]` first, when it stands.
    pub(crate) edges: Vec<RawEdge>,
    /// Whether `[teams]` or `[[edge]]` stands, be it good or not.
    pub(crate) edges_written: bool,
    /// `[carrier]` first, when it stands.
    pub(crate) realms: Vec<RawRealm>,
    /// Whether `[carrier]` or `[[realm]]` stands, be it good or not.
    pub(crate) realms_written: bool,
    pub(crate) media: RawMedia,
    pub(crate) admin: Option<RawAdmin>,
    pub(crate) dns: RawDns,
    pub(crate) profiles: Vec<RawProfile>,
    pub(crate) trunks: Vec<RawTrunk>,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct RawTenantFile {
    pub(crate) tenant: Option<RawTenant>,
    pub(crate) trunks: Vec<RawTrunk>,
    pub(crate) sites: Vec<RawSite>,
}

impl Value for RawMain {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&MAIN, node, out)?;
        table.value(&SCHEMA);
        let teams = table.optional(&TEAMS).map(|at| at.value.0);
        let carrier = table.optional(&CARRIER).map(|at| at.value.0);
        let raw = Self {
            gateway: table.required(&GATEWAY).map(|at| at.value),
            log: table.optional(&LOG).map(|at| at.value),
            tls: table.optional(&TLS).map(|at| at.value),
            edges: teams.into_iter().chain(list(table.optional(&EDGE))).collect(),
            edges_written: table.has(TEAMS.name) || table.has(EDGE.name),
            realms: carrier.into_iter().chain(list(table.optional(&REALM))).collect(),
            realms_written: table.has(CARRIER.name) || table.has(REALM.name),
            media: table.optional(&MEDIA).map(|at| at.value).unwrap_or_default(),
            admin: table.optional(&ADMIN).map(|at| at.value),
            dns: table.optional(&DNS).map(|at| at.value).unwrap_or_default(),
            profiles: list(table.optional(&profile::LIST)).collect(),
            trunks: list(table.optional(&TRUNK)).collect(),
            span: node.span,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        MAIN.schema()
    }
}

impl Value for RawTenantFile {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&TENANT_FILE, node, out)?;
        table.value(&SCHEMA);
        let raw = Self {
            tenant: table.required(&TENANT).map(|at| at.value),
            trunks: list(table.optional(&TRUNK)).collect(),
            sites: list(table.optional(&SITE)).collect(),
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        TENANT_FILE.schema()
    }
}

/// The JSON schema of `gateway.toml`, with that of a tenant's file under `$defs`.
pub(crate) fn schema() -> Json {
    let mut schema = MAIN.schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("trunkgate");
    schema["$defs"] = json!({ "tenant-file": TENANT_FILE.schema() });
    schema
}

fn list<T>(read: Option<At<Vec<At<T>>>>) -> impl Iterator<Item = T> {
    read.into_iter().flat_map(|at| at.value).map(|at| at.value)
}
