//! docs/operating.md names every figure and every field of a record, and no other; the other documents name no figure and show
//! no log line that there is not.

use std::collections::BTreeSet;
use std::iter::once;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use gateway::cdr::Record;
use gateway::event::{Event, Refusal, Registering};
use gateway::failure::Cause;
use gateway::metrics::{ConfigurationMeters, Exporter, Meters};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/operating.md");

#[test]
fn every_figure_is_described() {
    let exporter = Exporter::install().unwrap();
    let mut meters = Meters::new();
    meters.note(&Event::CallAnswered { setup: Duration::from_millis(800) });
    meters.note(&Event::CallEnded { cause: Cause::Normal });
    meters.note(&Event::Refused(Refusal::Network));
    let heard = media_relay::SideStats { mos: 441, ..<_>::default() };
    meters.note(&Event::MediaEnded { stats: Box::new([heard, heard]) });
    meters.note(&Event::Unreadable { cause: "nul" });
    let (edge, proxy) = ("default".into(), "sip.test".into());
    meters.note(&Event::Proxy { edge, proxy, up: true, refused: false });
    meters.note(&Event::Peer { trunk: "a".into(), peer: "udp:b".into(), up: true });
    let granted = Duration::from_secs(600);
    meters.note(&Event::Registration { trunk: "a".into(), up: true, granted });
    let outcome = Registering::Registered;
    meters.note(&Event::Registering { trunk: "a".into(), outcome });
    meters.note(&Event::Registered { trunk: "a".into(), contacts: 1 });
    ConfigurationMeters::new(UNIX_EPOCH).certificates(once((Path::new("sbc.pem"), 90)));
    let rendered = exporter.render();
    let shown: BTreeSet<&str> = rendered
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next().filter(|name| !name.is_empty()))
        .map(|name| {
            let histogram = HISTOGRAMS.iter().find(|histogram| {
                let part = name.strip_prefix(**histogram);
                matches!(part, Some("_bucket" | "_sum" | "_count"))
            });
            histogram.copied().unwrap_or(name)
        })
        .collect();
    let described: BTreeSet<&str> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `trunkgate_"))
        .map(|line| line.split(['`', '{']).next().unwrap())
        .collect();
    let shown: BTreeSet<&str> =
        shown.iter().filter_map(|name| name.strip_prefix("trunkgate_")).collect();
    assert_eq!(shown, described, "left: what /metrics shows; right: what docs/operating.md names");
}

#[test]
fn every_field_of_a_record_is_described() {
    let sample = DOCUMENT.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let value: Value = serde_json::from_str(sample).unwrap();
    let record: Record = serde_json::from_str(sample).unwrap();
    assert_eq!(
        serde_json::to_value(record).unwrap(),
        value,
        "the sample has each field of a record"
    );
    let mut fields = BTreeSet::new();
    gather(&value, "", &mut fields);
    for field in fields {
        assert!(DOCUMENT.contains(&format!("`{field}`")), "{field}");
    }
}

/// The README and all of docs/.
fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let further = std::fs::read_dir(root.join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("an entry").path());
    let pages = further.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let paths = once(root.join("README.md")).chain(pages);
    paths.map(|path| std::fs::read_to_string(path).expect("a document")).collect()
}

#[test]
fn no_document_names_a_figure_that_there_is_not() {
    let mut named = 0;
    for text in documents() {
        for (at, _) in text.match_indices("trunkgate_") {
            let rest = &text[at..];
            let end =
                rest.find(|c: char| c != '_' && !c.is_ascii_lowercase()).unwrap_or(rest.len());
            let name = &rest[..end];
            // The family of a few, such as trunkgate_media_…_packets_total.
            let whole = !rest[end..].starts_with('…');
            assert!(!whole || DOCUMENT.contains(&format!("| `{name}")), "{name}");
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn no_document_shows_a_log_line_that_there_is_not() {
    let mut sources = String::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut shown = 0;
    for text in documents() {
        let levels = ["  INFO ", "  WARN ", " ERROR "];
        let lines = text.lines().filter(|line| line.starts_with("2026-"));
        for line in lines.filter_map(|line| levels.iter().find_map(|level| line.split_once(level)))
        {
            let words = line.1.split(' ').take_while(|word| !word.contains('='));
            let message = words.collect::<Vec<_>>().join(" ");
            assert!(sources.contains(&format!("\"{message}\"")), "{message}");
            shown += 1;
        }
    }
    assert!(shown > 10, "{shown}");
}

fn gather(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                gather(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(values) => values.iter().for_each(|v| gather(v, &format!("{path}[]"), into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const HISTOGRAMS: [&str; 2] = ["trunkgate_call_setup_seconds", "trunkgate_media_mos"];

/// It is made: `trunkgate check --reference > docs/configuration.md`.
#[test]
fn the_reference_of_the_configuration_is_the_newest() {
    let reference = include_str!("../../docs/configuration.md");
    assert!(
        reference == config::reference(),
        "trunkgate check --reference > docs/configuration.md"
    );
}
