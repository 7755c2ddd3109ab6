//! How many calls a tenant or trunk may have, how fast they may come, and which numbers it may not call: the keys that
//! both have alike.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::fault::{Draft, Findings};
use crate::key::{Key, Section};
use crate::limits::{Barring, Bound, Limits, Minutes, Rate};
use crate::read::{Bad, Node, Table, Text, Value};
use crate::source::At;
use crate::text::scalar::{Int, NumberPrefix};
use crate::text::timezone::Timezone;

pub(crate) static MAX_CALLS: Key<Calls> =
    Key::computed("max_calls", "unlimited", "Concurrent calls.");
pub(crate) static LIMITS: Key<RawLimits> = Key::computed(
    "limits",
    "none",
    "How fast its calls may come, and how many it may make, receive, or have by one number.",
);
pub(crate) static TIMEZONE: Key<Timezone> = Key::computed(
    "timezone",
    "\"UTC\"; in a tenant's file that of the tenant",
    "When its days begin, for minutes_per_day: a name of the IANA database, such as \"Europe/London\".",
);
pub(crate) static BARRED: Key<Vec<At<Barred>>> = Key::default(
    "barred",
    "[\"premium\", \"satellite\", \"high-risk\", \"codes\"]",
    "Which numbers it may not call through a trunk: beginnings of numbers such as \"+53\", and groups. \"premium\": numbers that cost more than a call, by the plan of their country, and +979. \"satellite\": satellites and networks of no country (+870, +878, +881 to +883, +888). \"high-risk\": countries that calls are often made to for fraud. \"codes\": what has * or # in it. Calls for help are never barred.",
);
pub(crate) static UNBARRED: Key<Vec<At<NumberPrefix>>> = Key::default(
    "unbarred",
    "[]",
    "Beginnings of numbers that it may call though they are barred; of several beginnings the longest counts.",
);

static PER_SECOND: Key<PerSecond> =
    Key::optional("per_second", "Calls per second, on average, such as 5 or 0.2.");
static BURST: Key<Calls> = Key::computed(
    "burst",
    "`per_second`, at least 1",
    "How many of them may come at once after a quiet while.",
);
static MINUTES: Key<Int<1, 1_000_000_000>> = Key::computed(
    "minutes_per_day",
    "unlimited",
    "How long its calls may last together in a day, in minutes from the answer on. Then no new ones begin; those that stand go on.",
);
static MADE: Key<RawBound> = Key::optional("made", "The same of calls that it makes.");
static RECEIVED: Key<RawBound> = Key::optional("received", "The same of calls that it receives.");
static NUMBER: Key<RawNumberBound> = Key::optional(
    "number",
    "The same of each number by itself, but for minutes: as caller of calls that it makes, as called one of calls that it receives.",
);
static CALLS: Key<Calls> = Key::computed("calls", "unlimited", "Concurrent calls.");

pub(crate) static LIMITS_SECTION: Section = Section {
    title: "limits",
    doc: "How fast calls may come, and how many.",
    keys: &[&PER_SECOND, &BURST, &MINUTES, &MADE, &RECEIVED, &NUMBER],
    named: None,
};
pub(crate) static BOUND_SECTION: Section = Section {
    title: "a limit",
    doc: "How many, and how fast.",
    keys: &[&CALLS, &PER_SECOND, &BURST, &MINUTES],
    named: None,
};
pub(crate) static NUMBER_SECTION: Section = Section {
    title: "a limit of numbers",
    doc: "How many, and how fast.",
    keys: &[&CALLS, &PER_SECOND, &BURST],
    named: None,
};

type Calls = Int<1, 1_000_000>;

/// Calls per second, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PerSecond(u32);

/// `limits`, without `max_calls`, which stands beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawLimits(Limits);

#[derive(Clone, Copy, Debug)]
struct RawBound(Bound, Option<u32>);

#[derive(Clone, Copy, Debug)]
struct RawNumberBound(Bound);

/// One entry of `barred`.
#[derive(Clone, Debug)]
pub(crate) enum Barred {
    Group(Group),
    Prefix(String),
}

/// What the keys of admission say together.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawAdmission {
    pub(crate) limits: Limits,
    pub(crate) barring: Barring,
    pub(crate) timezone: Option<Timezone>,
}

impl RawAdmission {
    pub(crate) fn read(table: &mut Table<'_, '_>) -> Self {
        let calls = table.optional(&MAX_CALLS).map(|at| at.value.0);
        let mut limits = table.optional(&LIMITS).map(|at| at.value.0).unwrap_or_default();
        limits.all.calls = calls;
        let timezone = table.optional(&TIMEZONE).map(|at| at.value);
        let mut barring = Barring::default();
        for At { value, .. } in table.value(&BARRED).value {
            match value {
                Barred::Group(group) => *group(&mut barring) = true,
                Barred::Prefix(prefix) => {
                    barring.prefixes.insert(prefix, true);
                }
            }
        }
        for At { value: NumberPrefix(prefix), span } in table.value(&UNBARRED).value {
            if barring.prefixes.insert(prefix.clone(), false) == Some(true) {
                let message = format!("{prefix} is both barred and unbarred");
                let help = "Take it out of `barred` or of `unbarred`.";
                table.out.fault(Draft::new(message, help).at(span, "barred as well"));
            }
        }
        Self { limits, barring, timezone }
    }

    /// The limits, with days that begin by `other` where the table says nothing.
    pub(crate) fn limits_in(&self, other: &Timezone) -> Limits {
        let timezone = self.timezone.as_ref().unwrap_or(other).clone();
        Limits { timezone, ..self.limits.clone() }
    }
}

impl Value for PerSecond {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let written = match node.value {
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                node.wrong_kind("a number of calls per second", out);
                return None;
            }
        };
        let thousandths = written.map(|rate| (rate * 1000.0).round());
        match thousandths.filter(|rate| (1.0..=100_000_000.0).contains(rate)) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bounded above"
            )]
            Some(rate) => Some(Self(rate as u32)),
            None => {
                let help = "Write a number of calls from 0.001 to 100000.";
                let message = format!("`{}` is out of range", node.key);
                out.fault(Draft::new(message, help).at(node.span, "out of range"));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0.001, "maximum": 100_000 })
    }
}

/// `per_second` and `burst` of a table.
fn rate(table: &mut Table<'_, '_>) -> Option<Rate> {
    let per_second = table.optional(&PER_SECOND);
    let burst = table.optional(&BURST);
    if let (Some(at), false) = (&burst, table.has(PER_SECOND.name)) {
        let help = "Add `per_second`, or take `burst` out.";
        let draft = Draft::new("`burst` stands without `per_second`", help);
        table.out.fault(draft.at(at.span, "of which rate?"));
    }
    let per_1000_s = per_second?.value.0;
    let burst = burst.map_or(per_1000_s.div_ceil(1000), |at| at.value.0);
    Some(Rate { per_1000_s, burst })
}

impl Value for RawLimits {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&LIMITS_SECTION, node, out)?;
        let rate = rate(&mut table);
        let all = table.optional(&MINUTES).map(|at| at.value.0);
        let mut bound = |key: &Key<RawBound>| match table.optional(key) {
            Some(At { value: RawBound(bound, minutes), .. }) => (bound, minutes),
            None => (Bound::default(), None),
        };
        let ((made, made_minutes), (received, received_minutes)) = (bound(&MADE), bound(&RECEIVED));
        let limits = Limits {
            all: Bound { calls: None, rate },
            made,
            received,
            number: table.optional(&NUMBER).map(|at| at.value.0).unwrap_or_default(),
            minutes: Minutes { all, made: made_minutes, received: received_minutes },
            timezone: Timezone::default(),
        };
        table.finish();
        Some(Self(limits))
    }

    fn schema() -> Json {
        LIMITS_SECTION.schema()
    }
}

impl Value for RawBound {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&BOUND_SECTION, node, out)?;
        let rate = rate(&mut table);
        let calls = table.optional(&CALLS).map(|at| at.value.0);
        let minutes = table.optional(&MINUTES).map(|at| at.value.0);
        table.finish();
        Some(Self(Bound { calls, rate }, minutes))
    }

    fn schema() -> Json {
        BOUND_SECTION.schema()
    }
}

impl Value for RawNumberBound {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&NUMBER_SECTION, node, out)?;
        let rate = rate(&mut table);
        let calls = table.optional(&CALLS).map(|at| at.value.0);
        table.finish();
        Some(Self(Bound { calls, rate }))
    }

    fn schema() -> Json {
        NUMBER_SECTION.schema()
    }
}

impl Text for Barred {
    const WHAT: &'static str = "a beginning of numbers, or a group of them";

    fn parse(text: &str) -> Result<Self, Bad> {
        if let Some((_, group)) = GROUPS.iter().find(|(word, _)| *word == text) {
            return Ok(Self::Group(*group));
        }
        if text.starts_with('+') {
            return <NumberPrefix as Text>::parse(text).map(|prefix| Self::Prefix(prefix.0));
        }
        let words: Vec<_> = GROUPS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let help = format!("Write {}, or a beginning such as \"+53\".", words.join(", "));
        Err(Bad::new(format!("\"{text}\" is neither a group nor a beginning of numbers"), help))
    }

    fn schema() -> Json {
        let words: Vec<_> = GROUPS.iter().map(|(word, _)| *word).collect();
        json!({ "anyOf": [{ "enum": words }, <NumberPrefix as Text>::schema()] })
    }
}

/// The keys by which limits are written again: `per_second` and the rest of a bound.
fn bound_entries(bound: Bound, minutes: Option<u32>) -> Vec<(&'static str, String)> {
    let calls = bound.calls.map(|calls| (CALLS.name, calls.to_string()));
    let rate = bound.rate.into_iter().flat_map(|rate| {
        [(PER_SECOND.name, rate.to_string()), (BURST.name, rate.burst.to_string())]
    });
    let minutes = minutes.map(|minutes| (MINUTES.name, minutes.to_string()));
    calls.into_iter().chain(rate).chain(minutes).collect()
}

/// `limits` as TOML; none when there are none.
pub(crate) fn limits_toml(limits: &Limits) -> Option<String> {
    let table = |entries: Vec<(&'static str, String)>| {
        let entries: Vec<_> =
            entries.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("{{ {} }}", entries.join(", "))
    };
    let minutes = limits.minutes;
    let mut entries = bound_entries(Bound { calls: None, ..limits.all }, minutes.all);
    for (key, bound, minutes) in [
        (MADE.name, limits.made, minutes.made),
        (RECEIVED.name, limits.received, minutes.received),
        (NUMBER.name, limits.number, None),
    ] {
        let of_bound = bound_entries(bound, minutes);
        if !of_bound.is_empty() {
            entries.push((key, table(of_bound)));
        }
    }
    (!entries.is_empty()).then(|| table(entries))
}

/// What stands in `barred` and in `unbarred`.
pub(crate) fn barred_words(barring: &Barring) -> [Vec<String>; 2] {
    let mut copy = barring.clone();
    let groups = GROUPS.iter().filter(|(_, group)| *group(&mut copy));
    let mut words: Vec<String> = groups.map(|(word, _)| (*word).to_owned()).collect();
    let prefixes = |wanted: bool| {
        let some = barring.prefixes.iter().filter(move |(_, barred)| **barred == wanted);
        some.map(|(prefix, _)| prefix.clone())
    };
    words.extend(prefixes(true));
    [words, prefixes(false).collect()]
}

pub(crate) type Group = fn(&mut Barring) -> &mut bool;
const GROUPS: &[(&str, Group)] = &[
    ("premium", |barring| &mut barring.premium),
    ("satellite", |barring| &mut barring.satellite),
    ("high-risk", |barring| &mut barring.high_risk),
    ("codes", |barring| &mut barring.codes),
];
