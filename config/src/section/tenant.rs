//! `[tenant]`: a customer.

use serde_json::Value as Json;

use crate::country::Country;
use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::ForeignCaller;
use crate::numbers::Number;
use crate::read::{Node, Table, Value};
use crate::section::admission::{self, RawAdmission};
use crate::section::callers;
use crate::section::emergency::{self, RawEmergency};
use crate::section::numbers::NumbersEntry;
use crate::source::{At, Span};
use crate::text::file::FilePath;
use crate::text::name::{Fqdn, Label, Name};
use crate::text::scalar::{Derived, Patience};

pub(crate) static NAME: Key<Name> =
    Key::required("name", "Unique among tenants: stands in logs, metrics and CDRs.");
pub(crate) static LABEL: Key<Label> = Key::optional(
    "label",
    "The tenant's FQDN is the label, a dot, and the edge's FQDN; or give `fqdn`.",
);
pub(crate) static FQDN: Key<Fqdn> =
    Key::optional("fqdn", "The tenant's FQDN in full; or give `label`.");
pub(crate) static EDGES: Key<Vec<At<Name>>> = Key::computed(
    "edges",
    "[\"default\"], or the only edge there is",
    "The edges at which the tenant is known.",
);
static PAIRING: Key<Derived> = Key::default(
    "pairing",
    "\"derived\"",
    "How Microsoft knows the tenant's trunk: \"derived\" from the edge's.",
);
pub(crate) static TRUNKS: Key<Vec<At<Name>>> = Key::optional(
    "trunks",
    "Outbound trunks, in order of preference; calls in are taken from these as well.",
);
pub(crate) static INBOUND_TRUNKS: Key<Vec<At<Name>>> =
    Key::optional("inbound_trunks", "Further trunks from which calls in are taken.");
pub(crate) static NUMBERS: Key<Vec<At<NumbersEntry>>> = Key::optional(
    "numbers",
    "Numbers, ranges of them (\"+15550010000-+15550019999\"), { file = \"…\" } with one per line, and { range = \"…\", state = \"…\" }.",
);
pub(crate) static COUNTRY: Key<Country> =
    Key::optional("country", "How its national numbers are read (ISO 3166-1, such as GB).");
pub(crate) static HOLD_MUSIC: Key<FilePath> = Key::optional(
    "hold_music",
    "A WAV file that either side of its calls hears while the other side holds, in place of the hold; a trunk's own comes first on that trunk.",
);
pub(crate) static MAX_DURATION: Key<Patience> = Key::computed(
    "max_duration",
    "unlimited",
    "The longest call, from its answer; where several hold, the shortest.",
);

pub(crate) static TENANT: Section = Section {
    title: "[tenant]",
    doc: "A customer.",
    keys: &[
        &NAME,
        &LABEL,
        &FQDN,
        &EDGES,
        &PAIRING,
        &TRUNKS,
        &INBOUND_TRUNKS,
        &NUMBERS,
        &COUNTRY,
        &admission::MAX_CALLS,
        &admission::LIMITS,
        &admission::TIMEZONE,
        &admission::BARRED,
        &admission::UNBARRED,
        &emergency::TRUNKS,
        &emergency::NUMBERS,
        &HOLD_MUSIC,
        &MAX_DURATION,
        &callers::MAIN_NUMBER,
        &callers::FOREIGN_CALLER,
    ],
    named: None,
};

#[derive(Debug)]
pub(crate) struct RawTenant {
    pub(crate) name: Option<At<Name>>,
    pub(crate) label: Option<At<Label>>,
    pub(crate) label_written: Option<Span>,
    pub(crate) fqdn: Option<At<Fqdn>>,
    pub(crate) fqdn_written: Option<Span>,
    pub(crate) edges: Option<At<Vec<At<Name>>>>,
    pub(crate) edges_written: bool,
    pub(crate) trunks: Option<At<Vec<At<Name>>>>,
    pub(crate) trunks_written: bool,
    pub(crate) inbound_trunks: Option<At<Vec<At<Name>>>>,
    pub(crate) inbound_trunks_written: bool,
    pub(crate) numbers: Vec<At<NumbersEntry>>,
    pub(crate) main_number: Option<At<Number>>,
    pub(crate) foreign_caller: Option<ForeignCaller>,
    pub(crate) country: Option<Country>,
    pub(crate) admission: RawAdmission,
    pub(crate) emergency: RawEmergency,
    pub(crate) hold_music: Option<At<FilePath>>,
    pub(crate) max_duration: Option<Patience>,
    pub(crate) span: Span,
}

impl Value for RawTenant {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&TENANT, node, out)?;
        table.value(&PAIRING);
        let raw = Self {
            name: table.required(&NAME),
            label: table.optional(&LABEL),
            label_written: table.place(LABEL.name),
            fqdn: table.optional(&FQDN),
            fqdn_written: table.place(FQDN.name),
            edges: table.optional(&EDGES),
            edges_written: table.has(EDGES.name),
            trunks: table.optional(&TRUNKS),
            trunks_written: table.has(TRUNKS.name),
            inbound_trunks: table.optional(&INBOUND_TRUNKS),
            inbound_trunks_written: table.has(INBOUND_TRUNKS.name),
            numbers: table.optional(&NUMBERS).map(|at| at.value).unwrap_or_default(),
            main_number: table.optional(&callers::MAIN_NUMBER),
            foreign_caller: table.optional(&callers::FOREIGN_CALLER).map(|at| at.value),
            country: table.optional(&COUNTRY).map(|at| at.value),
            admission: RawAdmission::read(&mut table),
            emergency: RawEmergency::read(&mut table),
            hold_music: table.optional(&HOLD_MUSIC),
            max_duration: table.optional(&MAX_DURATION).map(|at| at.value),
            span: node.span,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        TENANT.schema()
    }

    fn how(name: &str) -> String {
        format!("Add the table [{name}].")
    }
}
