//! `[media]`: named sets of media addresses, and the number of media threads.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::fault::{Draft, Findings};
use crate::key::{Key, Section};
use crate::read::{Node, Table, Text, Value};
use crate::source::At;
use crate::text::address::{Ports, UnicastIp};
use crate::text::name::Name;
use crate::text::scalar::Int;

pub(crate) static WORKERS: Key<Int<1, 255>> =
    Key::computed("workers", "cores - 1, at least 1", "Media threads.").restart();

pub(crate) static MEDIA: Section = Section {
    title: "[media]",
    doc: "Named media addresses (a table or a list of tables each); \"teams\" and \"carrier\" are those of [teams] and [carrier].",
    keys: &[&WORKERS],
    named: Some(Pool::schema),
};

pub(crate) static ADDRESS: Key<UnicastIp> =
    Key::required("address", "The local address.").restart();
pub(crate) static PORTS: Key<Ports> =
    Key::required("ports", "UDP ports for media, two per call and side.").restart();
pub(crate) static ADVERTISE: Key<UnicastIp> =
    Key::optional("advertise", "The public address when behind NAT.");
pub(crate) static DSCP: Key<Int<0, 63>> = Key::computed(
    "dscp",
    "the `dscp.rtp` of the edges and realms that use it, else unmarked",
    "DSCP of media packets.",
)
.restart();

pub(crate) static MEDIA_ADDRESS: Section = Section {
    title: "[media] entry",
    doc: "One media address.",
    keys: &[&ADDRESS, &PORTS, &ADVERTISE, &DSCP],
    named: None,
};

pub(crate) static DSCP_SIP: Key<Int<0, 63>> =
    Key::computed("sip", "unmarked", "DSCP of signalling packets.").restart();
pub(crate) static DSCP_RTP: Key<Int<0, 63>> =
    Key::computed("rtp", "unmarked", "DSCP of media packets.").restart();

static DSCP_SECTION: Section = Section {
    title: "dscp",
    doc: "DSCP marks (RFC 2474), 0 to 63.",
    keys: &[&DSCP_SIP, &DSCP_RTP],
    named: None,
};

#[derive(Debug, Default)]
pub(crate) struct RawMedia {
    pub(crate) workers: Option<At<Int<1, 255>>>,
    pub(crate) pools: Vec<RawPool>,
}

#[derive(Debug)]
pub(crate) struct RawPool {
    pub(crate) name: At<Name>,
    pub(crate) addresses: Vec<RawAddress>,
}

#[derive(Clone, Debug)]
pub(crate) struct RawAddress {
    pub(crate) address: Option<At<UnicastIp>>,
    pub(crate) ports: Option<At<Ports>>,
    pub(crate) advertise: Option<At<UnicastIp>>,
    pub(crate) dscp: Option<At<Int<0, 63>>>,
}

/// The addresses of one entry: a table or a list of tables.
#[derive(Clone, Debug)]
pub(crate) struct Pool(pub(crate) Vec<RawAddress>);

/// Which media an edge or realm uses: the name of an entry of `[media]`, or the entry itself.
#[derive(Clone, Debug)]
pub(crate) enum MediaOf {
    Named(Name),
    Own(Pool),
}

/// `dscp = { sip = 24, rtp = 46 }`.
#[derive(Clone, Debug)]
pub(crate) struct Dscp {
    pub(crate) sip: Option<At<Int<0, 63>>>,
    pub(crate) rtp: Option<At<Int<0, 63>>>,
}

impl Value for RawMedia {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&MEDIA, node, out)?;
        let mut raw = Self { workers: table.optional(&WORKERS), pools: Vec::new() };
        for (name, value) in table.named() {
            if !value.value.is_table() && !value.value.is_array() {
                table.unknown(name);
                continue;
            }
            let pool = Pool::read(value, table.out);
            match Name::parse(name.value) {
                // Also without addresses it has a name, so that nobody misses it.
                Ok(parsed) => raw.pools.push(RawPool {
                    name: At { value: parsed, span: name.span },
                    addresses: pool.map(|Pool(addresses)| addresses).unwrap_or_default(),
                }),
                Err(bad) => table.out.fault(bad.at("[media]", name.span, Name::WHAT)),
            }
        }
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        MEDIA.schema()
    }
}

impl Value for Pool {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let Some(elements) = node.elements() else {
            return RawAddress::read(node, out).map(|address| Self(vec![address]));
        };
        let elements: Vec<_> = elements.collect();
        if elements.is_empty() {
            let draft = Draft::new(
                format!("`{}` has no address", node.key),
                "Write { address = \"192.0.2.1\", ports = \"20000-31999\" }.",
            );
            out.fault(draft.at(node.span, "an empty list"));
            return None;
        }
        let addresses = elements.into_iter().filter_map(|node| RawAddress::read(node, out));
        Some(Self(addresses.collect()))
    }

    fn schema() -> Json {
        let one = MEDIA_ADDRESS.schema();
        json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
    }
}

impl Value for RawAddress {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&MEDIA_ADDRESS, node, out)?;
        let raw = Self {
            address: table.required(&ADDRESS),
            ports: table.required(&PORTS),
            advertise: table.optional(&ADVERTISE),
            dscp: table.optional(&DSCP),
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        MEDIA_ADDRESS.schema()
    }
}

impl Value for MediaOf {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        match node.value {
            DeValue::String(_) => Name::read(node, out).map(Self::Named),
            DeValue::Table(_) | DeValue::Array(_) => Pool::read(node, out).map(Self::Own),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                node.wrong_kind("the name of an entry of [media], or such an entry", out);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [<Name as Text>::schema(), Pool::schema()] })
    }
}

impl Value for Dscp {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&DSCP_SECTION, node, out)?;
        let raw = Self { sip: table.optional(&DSCP_SIP), rtp: table.optional(&DSCP_RTP) };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        DSCP_SECTION.schema()
    }
}
