//! `[carrier]` and `[[realm]]`: our networks towards carriers.

use serde_json::Value as Json;

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::{Key as KeySource, Listener};
use crate::read::{Node, Table, Value};
use crate::section::media::{Dscp, MediaOf};
use crate::source::{At, Span};
use crate::text::address::UnicastIp;
use crate::text::file::FilePath;
use crate::text::name::Name;

pub(crate) static NAME: Key<Name> =
    Key::required("name", "Unique among realms; trunks name it in `realm`.");
pub(crate) static LISTEN: Key<Vec<At<Listener>>> =
    Key::required("listen", "Listeners, such as \"udp:192.0.2.1:5060\".").restart();
pub(crate) static ADVERTISE: Key<UnicastIp> =
    Key::optional("advertise", "The public address when behind NAT.");
pub(crate) static DSCP: Key<Dscp> = Key::optional("dscp", "DSCP marks.").restart();
pub(crate) static CERTIFICATE: Key<FilePath> = Key::computed(
    "certificate",
    "that of [tls]",
    "PEM file, leaf first, then intermediates, for TLS listeners.",
);
pub(crate) static KEY: Key<KeySource> =
    Key::computed("key", "that of [tls]", "PEM file of the certificate's key.");
pub(crate) static ROOTS: Key<FilePath> = Key::computed(
    "roots",
    "the system's trust store",
    "PEM file of the roots that may have issued a peer's certificate.",
);
static MEDIA_OF_CARRIER: Key<MediaOf> = Key::default(
    "media",
    "\"carrier\"",
    "Name of an entry of [media], or { address, ports } here.",
)
.restart();
pub(crate) static MEDIA: Key<MediaOf> =
    Key::required("media", "Name of an entry of [media], or { address, ports } here.").restart();

pub(crate) static CARRIER: Section = Section {
    title: "[carrier]",
    doc: "The realm named \"carrier\".",
    keys: &[&LISTEN, &ADVERTISE, &DSCP, &CERTIFICATE, &KEY, &ROOTS, &MEDIA_OF_CARRIER],
    named: None,
};

pub(crate) static REALM: Section = Section {
    title: "[[realm]]",
    doc: "A further network towards carriers, contact centres, PBXs.",
    keys: &[&NAME, &LISTEN, &ADVERTISE, &DSCP, &CERTIFICATE, &KEY, &ROOTS, &MEDIA],
    named: None,
};

/// Name of the realm `[carrier]`.
pub(crate) const DEFAULT: &str = "carrier";

#[derive(Debug)]
pub(crate) struct RawRealm {
    pub(crate) name: Option<At<Name>>,
    pub(crate) listen: Option<At<Vec<At<Listener>>>>,
    pub(crate) advertise: Option<UnicastIp>,
    pub(crate) dscp: Option<Dscp>,
    pub(crate) certificate: Option<At<FilePath>>,
    pub(crate) key: Option<At<KeySource>>,
    pub(crate) roots: Option<At<FilePath>>,
    pub(crate) media: Option<At<MediaOf>>,
    pub(crate) span: Span,
}

/// `[carrier]`.
#[derive(Debug)]
pub(crate) struct RawCarrier(pub(crate) RawRealm);

fn read(table: &mut Table<'_, '_>, name: Option<At<Name>>, media: Option<At<MediaOf>>) -> RawRealm {
    RawRealm {
        name,
        listen: table.required(&LISTEN),
        advertise: table.optional(&ADVERTISE).map(|at| at.value),
        dscp: table.optional(&DSCP).map(|at| at.value),
        certificate: table.optional(&CERTIFICATE),
        key: table.optional(&KEY),
        roots: table.optional(&ROOTS),
        media,
        span: table.span,
    }
}

impl Value for RawCarrier {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&CARRIER, node, out)?;
        let name = At { value: Name(DEFAULT.to_owned()), span: node.span };
        let media = table.value(&MEDIA_OF_CARRIER);
        let raw = read(&mut table, Some(name), Some(media));
        table.finish();
        Some(Self(raw))
    }

    fn schema() -> Json {
        CARRIER.schema()
    }
}

impl Value for RawRealm {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&REALM, node, out)?;
        let name = table.required(&NAME);
        let media = table.required(&MEDIA);
        let raw = read(&mut table, name, media);
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        REALM.schema()
    }
}
