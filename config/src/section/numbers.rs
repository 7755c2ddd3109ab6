//! `numbers` of a tenant or trunk: single ones, ranges, files of them, each with the state it is in.

use serde_json::{Value as Json, json};

use crate::fault::{Draft, Findings};
use crate::inventory::NumberState;
use crate::key::{Key, Section};
use crate::numbers::NumberRange;
use crate::read::{Choice, Node, Table, Value};
use crate::source::At;
use crate::text::file::FilePath;

static RANGE: Key<NumberRange> =
    Key::optional("range", "A number or a range of them; or give `file`.");
static FILE: Key<FilePath> = Key::optional(
    "file",
    "A text file with one number or range per line, and its state after a comma if it has one of its own; # begins a comment, and a first line with the words number and state names the columns of a table.",
);
static STATE: Key<NumberState> = Key::default(
    "state",
    "\"active\"",
    "\"active\"; \"reserved\": kept for its owner, neither called nor shown; \"porting\": as active, but others in the house reach it by a trunk, since it may still be at another carrier; \"quarantine\": given back, neither called nor shown.",
);

pub(crate) static NUMBERS: Section = Section {
    title: "numbers",
    doc: "Numbers with a state, or in a file.",
    keys: &[&RANGE, &FILE, &STATE],
    named: None,
};

/// A range and the state it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) range: NumberRange,
    pub(crate) state: NumberState,
}

/// One entry of `numbers`.
#[derive(Clone, Debug)]
pub(crate) enum NumbersEntry {
    Range(Numbered),
    /// With the state of those that have none of their own.
    File(FilePath, NumberState),
}

impl Choice for NumberState {
    const WHAT: &'static str = "a state of a number";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("active", Self::Active),
        ("reserved", Self::Reserved),
        ("porting", Self::Porting),
        ("quarantine", Self::Quarantine),
    ];
}

impl Value for NumbersEntry {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        if !node.value.is_table() {
            let state = NumberState::Active;
            return NumberRange::read(node, out)
                .map(|range| Self::Range(Numbered { range, state }));
        }
        let mut table = Table::open(&NUMBERS, node, out)?;
        let (range, file) = (table.optional(&RANGE), table.optional(&FILE));
        let written = table.has(RANGE.name);
        if written == table.has(FILE.name) {
            let message = match written {
                true => "`numbers`: both `range` and `file` are given",
                false => "`numbers`: neither `range` nor `file` is given",
            };
            let help = "Give one of the two: { range = \"+15550010000-+15550019999\" } or { file = \"t001.csv\" }.";
            table.out.fault(Draft::new(message, help).at(node.span, "one of the two"));
        }
        let state = table.value(&STATE).value;
        table.finish();
        match (range, file) {
            (Some(At { value: range, .. }), None) => Some(Self::Range(Numbered { range, state })),
            (None, Some(At { value: file, .. })) => Some(Self::File(file, state)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [<NumberRange as Value>::schema(), NUMBERS.schema()] })
    }
}
