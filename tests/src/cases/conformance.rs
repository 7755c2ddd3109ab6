//! `trunkgate lab conformance` against the gateway of this build: every rule of Direct Routing, and the page that shows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::gateway::binary;

const RENEW: &str = "trunkgate lab conformance --markdown docs/teams-conformance.md";

fn conformance(arguments: &[&str]) -> Output {
    let output = Command::new(binary()).args(["lab", "conformance"]).args(arguments).output();
    output.expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All 76 rules stand in the report, none is broken, and docs/teams-conformance.md is what is found now.
#[test]
fn every_rule_is_judged_and_its_page_is_of_today() {
    let output = conformance(&["--markdown", "-"]);
    let (page, told) = (said(&output), String::from_utf8_lossy(&output.stderr).into_owned());
    for number in 1..=76 {
        assert!(page.contains(&format!("\n## TR-{number:03}\n")), "TR-{number:03} in\n{page}");
    }
    let sections = page.split("\n## ").filter(|section| section.contains("**broken**"));
    let broken: Vec<_> = sections.filter_map(|section| section.get(..6)).collect();
    assert_eq!((broken, output.status.code()), (vec![], Some(0)), "{told}");
    let kept = fs::read_to_string(root().join("docs/teams-conformance.md")).unwrap_or_default();
    assert!(
        kept == page,
        "docs/teams-conformance.md is stale: {RENEW}\n{}",
        difference(&kept, &page)
    );
}

/// The first line that differs.
fn difference(one: &str, other: &str) -> String {
    let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    differs.map(|(one, other)| format!("- {one}\n+ {other}")).unwrap_or_default()
}

/// JSON for programs, one rule alone, exit codes.
#[test]
fn one_rule_as_json() {
    let output = conformance(&["--rule", "TR-003", "--rule", "62", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_str(&said(&output)).unwrap();
    let rules: Vec<_> = report.as_array().unwrap().iter().map(|entry| &entry["rule"]).collect();
    assert_eq!(rules, ["TR-003", "TR-062"]);
    assert!(
        report[0]["verdict"] == "kept" && report[0]["steps"][0]["sent"].is_string(),
        "{report}"
    );
    assert!(report[0]["ladder"].is_null(), "nothing is broken: {report}");
    assert_eq!(said(&conformance(&["--list"])).lines().count(), 76);
    for wrong in [&["--rule", "TR-077"][..], &["--target", "127.0.0.1:5061"]] {
        assert_eq!(conformance(wrong).status.code(), Some(64), "{wrong:?}");
    }
}

/// What the page names as the test of a rule is a test in these sources, and begins with the rule's number.
#[test]
fn the_tests_that_the_page_names_exist() {
    let page = fs::read_to_string(root().join("docs/teams-conformance.md")).unwrap();
    let mut tests = BTreeSet::new();
    for directory in ["sip-stack", "media-relay", "certs", "config", "gateway", "tests"] {
        gather(&root().join(directory), &mut tests);
    }
    let mut named = 0;
    let mut rule = String::new();
    for line in page.lines() {
        if let Some(number) = line.strip_prefix("## TR-") {
            rule = format!("tr_{number}");
        }
        if let Some(test) = line.strip_prefix("- test: `").and_then(|rest| rest.strip_suffix('`')) {
            assert!(tests.contains(test), "{test} is no test");
            assert!(test.contains(&rule), "{test} does not name {rule}");
            named += 1;
        }
    }
    assert!(named > 8, "{named} tests are named");
}

fn gather(directory: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            gather(&path, tests);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            tests.extend(names.filter(|name| name.starts_with("tr_")).map(str::to_owned));
        }
    }
}
