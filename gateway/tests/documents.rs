//! docs/operating.md names every figure and every field of a record, and no other.

use std::collections::BTreeSet;
use std::iter::once;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use gateway::cdr::Record;
use gateway::event::{Event, Refusal};
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
