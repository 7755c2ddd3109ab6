//! The JSON schema takes the examples and refuses what the reader refuses.

use crate::scratch::Scratch;
use serde_json::{Value, json};

#[test]
fn the_schema_takes_every_example() {
    let schema = config::schema();
    let scratch = Scratch::new();
    for name in ["short.toml", "long.toml", "provider.toml"] {
        assert_eq!(faults(&schema, &table(&scratch.read(name))), Vec::<String>::new(), "{name}");
    }
    for name in ["short.d/office.toml", "long.d/contoso.toml", "provider.d/fabrikam.toml"] {
        let tenant = &schema["$defs"]["tenant-file"];
        assert_eq!(faults(tenant, &table(&scratch.read(name))), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = config::schema();
    let short = Scratch::new().read("short.toml");
    for (from, to) in [
        ("node = \"a\"", "nod = \"a\""),
        ("node = \"a\"", "node = 1"),
        ("node = \"a\"", "node = \"a\"\nwatch = 1"),
        ("listen = \"192.0.2.10:5061\"", ""),
        ("listen = \"192.0.2.10:5061\"", "listen = \"192.0.2.10:5061\"\nport = 0"),
        ("listen = \"192.0.2.10:5061\"", "listen = \"192.0.2.10:5061\"\nmode = \"bypass\""),
        ("listen = [\"udp:192.0.2.20:5060\"]", "listen = \"udp:192.0.2.20:5060\""),
        ("teams = {", "teams = 1\nt = {"),
        ("schema = 1", "schema = 2"),
    ] {
        assert!(short.contains(from));
        assert_ne!(
            faults(&schema, &table(&short.replacen(from, to, 1))),
            Vec::<String>::new(),
            "{to}"
        );
    }
}

#[test]
fn every_key_is_described_and_defaults_are_shown() {
    fn walk(schema: &Value, keys: &mut usize) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, key) in properties {
                *keys += 1;
                let doc = key["description"].as_str().unwrap_or_default();
                assert!(doc.len() > 8 && doc.ends_with('.'), "{name}: {doc:?}");
                walk(key, keys);
            }
        }
        for part in ["items", "additionalProperties"] {
            schema.get(part).into_iter().for_each(|part| walk(part, keys));
        }
        schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .for_each(|part| walk(part, keys));
    }
    let schema = config::schema();
    let mut keys = 0;
    walk(&schema, &mut keys);
    walk(&schema["$defs"]["tenant-file"], &mut keys);
    assert!(keys > 90, "{keys}");
    let teams = &schema["properties"]["teams"]["properties"];
    assert_eq!(teams["port"]["default"], json!(5061));
    assert_eq!(teams["options_interval"]["default"], json!("60s"));
    assert!(
        teams["proxies"]["description"].as_str().unwrap().contains("sip3.pstnhub.microsoft.com")
    );
}

fn table(toml: &str) -> Value {
    serde_json::to_value(toml.parse::<toml::Table>().unwrap()).unwrap()
}

/// As much of JSON Schema as the schema uses; patterns and formats aside.
fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|schema| faults(schema, value).is_empty());
        if !fits {
            found.push(format!("{at}: fits none"));
        }
        return;
    }
    if *schema == json!(false) || !schema["not"].is_null() {
        found.push(format!("{at}: must not stand"));
        return;
    }
    let kind = match value {
        Value::String(_) => "string",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Bool(_) | Value::Null | Value::Number(_) => "other",
    };
    if schema["type"].as_str().is_some_and(|expected| expected != kind) {
        found.push(format!("{at}: {kind}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{at}: {value}"));
    }
    let number = value.as_i64();
    let below = number.zip(schema["minimum"].as_i64()).is_some_and(|(value, least)| value < least);
    let above = number.zip(schema["maximum"].as_i64()).is_some_and(|(value, most)| value > most);
    if below || above {
        found.push(format!("{at}: {value} out of range"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{at}[{index}]"), found);
    }
    let Some(object) = value.as_object() else { return };
    for key in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(key.as_str().unwrap()) {
            found.push(format!("{at}: no {key}"));
        }
    }
    for (key, value) in object {
        let known = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
        check(known, value, &format!("{at}.{key}"), found);
    }
}
