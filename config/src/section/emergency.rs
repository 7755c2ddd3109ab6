//! Calls for help: by which trunks, by which numbers, and as whom the callers of a site are shown.

use serde_json::Value as Json;

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::numbers::{Number, NumberRange};
use crate::read::{Bad, Node, Table, Text, Value};
use crate::source::At;
use crate::text::name::Name;

pub(crate) static TRUNKS: Key<Vec<At<Name>>> = Key::computed(
    "emergency_trunks",
    "`trunks`",
    "By which trunks calls for help go out, in order of preference.",
);
pub(crate) static NUMBERS: Key<Vec<At<ShortNumber>>> = Key::computed(
    "emergency_numbers",
    "those of its country; without one those of many countries",
    "By which numbers it calls for help, beside 112 and 911.",
);

pub(crate) static NAME: Key<Name> = Key::required("name", "Unique among the tenant's sites.");
pub(crate) static OF: Key<Vec<At<NumberRange>>> = Key::required(
    "numbers",
    "Whose callers are there: numbers of the tenant, and ranges of them (\"+15550010000-+15550010099\").",
);
pub(crate) static ELIN: Key<Vec<At<Number>>> = Key::required(
    "elin",
    "Numbers of the tenant that tell the emergency service where this site is (ELIN, NENA). A call for help shows one of them; who calls it back within an hour reaches whoever called.",
);

pub(crate) static SITE: Section = Section {
    title: "[[site]]",
    doc: "A place from which a tenant's users call for help.",
    keys: &[&NAME, &OF, &ELIN],
    named: None,
};

/// A number for help: 2 to 6 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShortNumber(pub(crate) String);

#[derive(Debug)]
pub(crate) struct RawEmergency {
    pub(crate) trunks: Option<At<Vec<At<Name>>>>,
    pub(crate) numbers: Option<Vec<At<ShortNumber>>>,
}

#[derive(Debug)]
pub(crate) struct RawSite {
    pub(crate) name: Option<At<Name>>,
    pub(crate) numbers: Vec<At<NumberRange>>,
    pub(crate) elin: Option<At<Vec<At<Number>>>>,
}

impl RawEmergency {
    pub(crate) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            trunks: table.optional(&TRUNKS),
            numbers: table.optional(&NUMBERS).map(|at| at.value),
        }
    }
}

impl Text for ShortNumber {
    const WHAT: &'static str = "a number for help";

    fn parse(text: &str) -> Result<Self, Bad> {
        if (2..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("\"{text}\" is no number for help");
        Err(Bad::new(message, "Write 2 to 6 digits as they are dialled, such as \"110\"."))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^[0-9]{2,6}$" })
    }
}

impl Value for RawSite {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&SITE, node, out)?;
        let raw = Self {
            name: table.required(&NAME),
            numbers: table.required(&OF).map(|at| at.value).unwrap_or_default(),
            elin: table.required(&ELIN),
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        SITE.schema()
    }
}
