//! The reference of the configuration: every table with its keys, their types, defaults and meaning, and an example of each
//! from the configurations in `examples/`. Made from the same descriptions as everything else that knows the keys.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value as Json;
use toml::Value;

use crate::key::{AnyKey, Presence, Section};
use crate::section;

/// The reference as Markdown: what `docs/configuration.md` holds.
pub fn reference() -> String {
    let examples = examples();
    let mut out = String::from(HEAD);
    for section in section::ALL {
        // Writing into a String cannot fail.
        let _ = write!(out, "\n## `{}`\n\n{}\n\n", section.title, section.doc);
        out.push_str("| key | type | default | example | |\n|---|---|---|---|---|\n");
        for key in section.keys {
            row(&mut out, section, *key, &examples);
        }
    }
    out
}

fn row(out: &mut String, section: &Section, key: &dyn AnyKey, examples: &Examples) {
    let default = match key.presence() {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "none".to_owned(),
        Presence::Default(value) => format!("`{value}`"),
        Presence::Computed(words) => words.to_owned(),
    };
    let example = examples.get(&(bare(section.title), key.name().to_owned()));
    let example = example.map(|value| format!("`{value}`")).unwrap_or_default();
    let restart = if key.restart() { " A change needs a restart." } else { "" };
    let cells = [
        format!("`{}`", key.name()),
        kind(&key.schema()),
        default,
        example,
        format!("{}{restart}", key.doc()),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// What a schema takes, in words.
fn kind(schema: &Json) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if let Some(kinds) = schema["anyOf"].as_array() {
        let mut kinds: Vec<_> = kinds.iter().map(kind).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    let bounds = || match (&schema["minimum"], &schema["maximum"]) {
        (Json::Null, _) | (_, Json::Null) => String::new(),
        (least, most) => format!(" {least} to {most}"),
    };
    match schema["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" => "table".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        other => format!("{other}{}", bounds()),
    }
}

/// By the bare name of a table and a key.
type Examples = BTreeMap<(String, String), String>;

fn examples() -> Examples {
    let mut found = Examples::new();
    for text in EXAMPLES {
        let file: toml::Table = text.parse().expect("the examples are TOML: a test reads them all");
        note("", &file, &mut found);
    }
    found
}

/// Notes the first value of each key, and those of the tables below.
fn note(table: &str, entries: &toml::Table, found: &mut Examples) {
    for (key, value) in entries {
        let tables = match value {
            Value::Table(inner) => vec![inner],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => Vec::new(),
        };
        tables.iter().for_each(|inner| note(key, inner, found));
        if !table.is_empty() {
            let name = (table.to_owned(), key.clone());
            found.entry(name).or_insert_with(|| value.to_string());
        }
    }
}

/// A table's name without brackets.
fn bare(title: &str) -> String {
    title.trim_matches(['[', ']']).to_owned()
}

const HEAD: &str = "# Configuration\n\nEvery table and key, made by `trunkgate check --reference` from the program's own descriptions. `trunkgate check --effective` \
shows what holds in a configuration, `trunkgate check --schema` is the same as JSON schema for an editor. Further trunks and \
realms, numbers, limits: [add-a-carrier.md](add-a-carrier.md), [connect-a-pbx.md](connect-a-pbx.md), [numbers-emergency-limits.md](numbers-emergency-limits.md).\n\n\
`gateway.toml` holds all tables but `[tenant]` and `[[site]]`, which stand in a file of each tenant's own, as `[[trunk]]` may. \
Relative paths are relative to the file that names them. A secret may be `{ file = \"…\" }` or `{ env = \"…\" }`. Unknown keys are refused.\n";

const EXAMPLES: [&str; 6] = [
    include_str!("../examples/long.toml"),
    include_str!("../examples/provider.toml"),
    include_str!("../examples/short.toml"),
    include_str!("../examples/long.d/contoso.toml"),
    include_str!("../examples/provider.d/contoso.toml"),
    include_str!("../examples/short.d/office.toml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_key_is_there_with_its_type() {
        let text = reference();
        for section in section::ALL {
            assert!(text.contains(&format!("\n## `{}`\n", section.title)), "{}", section.title);
            for key in section.keys {
                let line =
                    text.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name())));
                let line = line.unwrap_or_else(|| panic!("{} {}", section.title, key.name()));
                assert!(!line.contains("|  |  |"), "{line}");
            }
        }
    }

    #[test]
    fn types_are_in_words() {
        for (schema, words) in [
            (serde_json::json!({ "enum": ["a", "b"] }), "`\"a\"`, `\"b\"`"),
            (
                serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 9 }),
                "integer 1 to 9",
            ),
            (serde_json::json!({ "type": "array", "items": { "type": "string" } }), "list of text"),
            (
                serde_json::json!({ "anyOf": [{ "type": "string" }, { "type": "object" }] }),
                "text or table",
            ),
        ] {
            assert_eq!(kind(&schema), words);
        }
    }
}
