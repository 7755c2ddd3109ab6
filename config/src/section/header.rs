//! `headers_to`, `headers_from`: rules for further headers of an INVITE.
//!
//! Headers by which the gateway itself is understood, or that it reads and writes anew, are no business of rules. Names,
//! values and patterns are bounded, and nothing in them can begin a new line.

use serde_json::{Value as Json, json};

use crate::fault::{Draft, Findings};
use crate::key::{Key, Section};
use crate::model::{HeaderRule, Pattern};
use crate::read::{Bad, Node, Table, Text, Value};
use crate::source::At;

pub(crate) static ADD: Key<HeaderName> = Key::optional("add", "A header that gets one more line.");
pub(crate) static SET: Key<HeaderName> = Key::optional("set", "A header that gets this line only.");
pub(crate) static REMOVE: Key<HeaderName> = Key::optional("remove", "A header that is taken out.");
pub(crate) static COPY: Key<HeaderName> =
    Key::optional("copy", "A header that passes from the caller's INVITE.");
pub(crate) static REPLACE: Key<HeaderName> =
    Key::optional("replace", "A header whose value is changed.");
pub(crate) static VALUE: Key<HeaderValue> =
    Key::optional("value", "With add and set: the value, at most 512 bytes.");
pub(crate) static MATCH: Key<Pattern> =
    Key::optional("match", "With replace: a regular expression, at most 256 bytes.");
pub(crate) static WITH: Key<HeaderValue> =
    Key::optional("with", "With replace: what each match becomes; $1 is its first group.");

pub(crate) static RULE: Section = Section {
    title: "a header rule",
    doc: "One thing done to further headers of an INVITE.",
    keys: &[&ADD, &SET, &REMOVE, &COPY, &REPLACE, &VALUE, &MATCH, &WITH],
    named: None,
};

/// The rules of one direction, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(pub(crate) Vec<HeaderRule>);

/// The name of a header that rules may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderName(String);

/// A value of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderValue(String);

/// Which of the words that say what is done.
enum Verb {
    Add,
    Set,
    Remove,
    Copy,
    Replace,
}

impl Value for Rules {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let rules = Vec::<At<RawRule>>::read(node, out)?;
        if rules.len() > MOST_RULES {
            let message = format!("`{}`: {} rules", node.key, rules.len());
            let help = format!("At most {MOST_RULES} are applied to each INVITE.");
            out.fault(Draft::new(message, help).at(node.span, "too many"));
            return None;
        }
        Some(Self(rules.into_iter().map(|at| at.value.0).collect()))
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": RULE.schema() })
    }
}

#[derive(Debug)]
pub(crate) struct RawRule(HeaderRule);

impl Value for RawRule {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&RULE, node, out)?;
        let written = |table: &Table<'_, '_>, name| table.has(name);
        let verbs: Vec<&str> = [&ADD, &SET, &REMOVE, &COPY, &REPLACE]
            .into_iter()
            .map(|key| key.name)
            .filter(|name| written(&table, name))
            .collect();
        let named = [
            (Verb::Add, table.plain(&ADD)),
            (Verb::Set, table.plain(&SET)),
            (Verb::Remove, table.plain(&REMOVE)),
            (Verb::Copy, table.plain(&COPY)),
            (Verb::Replace, table.plain(&REPLACE)),
        ];
        let named = named.into_iter().find_map(|(verb, name)| Some((verb, name?.0)));
        let (value, pattern, with) = (table.plain(&VALUE), table.plain(&MATCH), table.plain(&WITH));
        let beside: &[&str] = match verbs[..] {
            ["add" | "set"] => &["value"],
            ["replace"] => &["match", "with"],
            ["remove" | "copy"] => &[],
            _ => {
                let message = format!("`{}`: a rule does one thing", node.key);
                let help = "Write one of add, set, remove, copy, replace in each { … }.";
                table.out.fault(Draft::new(message, help).at(node.span, "this rule"));
                table.finish();
                return None;
            }
        };
        for name in ["value", "match", "with"] {
            let (stands, belongs) = (written(&table, name), beside.contains(&name));
            if stands != belongs {
                let verb = verbs[0];
                let (message, help) = if belongs {
                    (format!("`{verb}` needs `{name}`"), format!("Add `{name} = \"…\"`."))
                } else {
                    (format!("`{name}` means nothing beside `{verb}`"), "Take it out.".to_owned())
                };
                let place = table.place(name).unwrap_or(node.span);
                table.out.fault(Draft::new(message, help).at(place, "in this rule"));
            }
        }
        table.finish();
        let (verb, name) = named?;
        Some(Self(match verb {
            Verb::Add => HeaderRule::Add { name, value: value?.0 },
            Verb::Set => HeaderRule::Set { name, value: value?.0 },
            Verb::Remove => HeaderRule::Remove { name },
            Verb::Copy => HeaderRule::Copy { name },
            Verb::Replace => HeaderRule::Replace { name, pattern: pattern?, with: with?.0 },
        }))
    }

    fn schema() -> Json {
        RULE.schema()
    }
}

impl Text for HeaderName {
    const WHAT: &'static str = "a header";

    fn parse(text: &str) -> Result<Self, Bad> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
        if text.is_empty() || text.len() > LONGEST_NAME || !text.bytes().all(token) {
            let message = format!("{text:?} is no name of a header");
            let help = format!("It has 1 to {LONGEST_NAME} letters, digits and hyphens.");
            return Err(Bad::new(message, help));
        }
        let lower = text.to_ascii_lowercase();
        let Some((_, why)) = owned(&lower) else { return Ok(Self(text.to_owned())) };
        let message = format!("{text} is no business of rules: {why}");
        Err(Bad::new(message, "Take this rule out; most of what it could do has a key of its own."))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9.!%*_+`'~-]{2,64}$" })
    }
}

impl Text for HeaderValue {
    const WHAT: &'static str = "a value of one line";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text.len() > LONGEST_VALUE {
            let message = format!("the value has {} bytes", text.len());
            return Err(Bad::new(message, format!("At most {LONGEST_VALUE} are sent.")));
        }
        if text.chars().any(char::is_control) {
            let message = "the value has a line break or another control character";
            return Err(Bad::new(message, "A header is one line of text."));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": LONGEST_VALUE })
    }
}

/// The entry of a header that the gateway owns, by its name in lower case.
fn owned(name: &str) -> Option<(&'static str, &'static str)> {
    if name.len() == 1 {
        return Some(("", "a compact name stands for another one: write that out"));
    }
    let known = |(entry, _): &&(&str, &str)| match entry.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *entry,
    };
    OWNED.iter().find(known).copied()
}

const DIALOG: &str = "it makes the dialog, and is the gateway's own on each side";
const BODY: &str = "it describes the body";
const ABLE: &str = "it says what the gateway can do";
const TIMER: &str = "the gateway keeps the session's time";
const MOVES: &str = "it replaces or transfers calls";
const SECRET: &str = "credentials belong to one trunk and realm";
const CALLER: &str = "who calls is written by caller_id_out, trusted and display_name";
const DIVERTED: &str = "who has sent a call on is written by diversion";
const PLACE: &str = "where a caller is, is written by location";

/// Headers that rules must not touch, and why.
const OWNED: &[(&str, &str)] = &[
    ("via", DIALOG),
    ("from", DIALOG),
    ("to", DIALOG),
    ("call-id", DIALOG),
    ("cseq", DIALOG),
    ("contact", DIALOG),
    ("route", DIALOG),
    ("record-route", DIALOG),
    ("path", DIALOG),
    ("service-route", DIALOG),
    ("max-forwards", DIALOG),
    ("user-agent", DIALOG),
    ("server", DIALOG),
    ("reason", DIALOG),
    ("retry-after", DIALOG),
    ("expires", DIALOG),
    ("timestamp", DIALOG),
    ("warning", DIALOG),
    ("content-*", BODY),
    ("mime-version", BODY),
    ("accept", ABLE),
    ("accept-encoding", ABLE),
    ("allow", ABLE),
    ("allow-events", ABLE),
    ("supported", ABLE),
    ("unsupported", ABLE),
    ("require", ABLE),
    ("proxy-require", ABLE),
    ("rseq", ABLE),
    ("rack", ABLE),
    ("recv-info", ABLE),
    ("info-package", ABLE),
    ("event", MOVES),
    ("subscription-state", MOVES),
    ("session-expires", TIMER),
    ("min-se", TIMER),
    ("min-expires", TIMER),
    ("replaces", MOVES),
    ("join", MOVES),
    ("target-dialog", MOVES),
    ("refer-to", MOVES),
    ("refer-sub", MOVES),
    ("referred-by", MOVES),
    ("authorization", SECRET),
    ("authentication-info", SECRET),
    ("proxy-authorization", SECRET),
    ("proxy-authenticate", SECRET),
    ("proxy-authentication-info", SECRET),
    ("www-authenticate", SECRET),
    ("p-asserted-identity", CALLER),
    ("p-preferred-identity", CALLER),
    ("remote-party-id", CALLER),
    ("privacy", CALLER),
    ("diversion", DIVERTED),
    ("history-info", DIVERTED),
    ("geolocation*", PLACE),
];
const MOST_RULES: usize = 32;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_owns_is_refused_with_the_reason() {
        for name in ["Via", "FROM", "Content-Type", "content-x", "P-Asserted-Identity", "v", "t"] {
            let refused = HeaderName::parse(name).unwrap_err();
            assert!(refused.message.contains("no business of rules: "), "{}", refused.message);
        }
        for name in ["X-Account", "P-Charging-Vector", "Alert-Info", "User-to-User", "Vias"] {
            assert_eq!(HeaderName::parse(name), Ok(HeaderName(name.to_owned())));
        }
        for name in ["", "X A", "X:", "X\r\nVia", "X\0", &"x".repeat(65), "Ü"] {
            assert!(HeaderName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn at_18_no_value_can_begin_a_new_line() {
        for value in ["a\r\nVia: x", "a\n", "\0", "a\u{85}b", &"x".repeat(513)] {
            assert!(HeaderValue::parse(value).is_err(), "{value:?}");
        }
        assert!(HeaderValue::parse("").is_ok() && HeaderValue::parse("a ü").is_ok());
    }
}
