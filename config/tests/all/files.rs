//! The files that a reading depends on, and the certificates and roots that come with it.

use std::path::Path;

use config::{Change, Footprint, Reading, read_in};

use crate::scratch::{Scratch, surroundings};

fn reading(scratch: &Scratch, name: &str) -> Reading {
    read_in(&scratch.path(name), &surroundings())
}

fn changed(files: &Footprint) -> bool {
    files.look_again() != *files
}

#[test]
fn every_file_that_is_named_is_watched() {
    let scratch = Scratch::new();
    let files = reading(&scratch, "long.toml").files;
    let names: Vec<_> = files
        .paths()
        .map(|path| path.strip_prefix(scratch.path("")).unwrap().display().to_string())
        .collect();
    for name in ["long.toml", "long.d", "long.d/contoso.toml", "certs/sbc.pem", "certs/gov.key"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert!(!changed(&files));
    type Edit = fn(&Scratch);
    let edits: [(&str, Edit); 5] = [
        ("a text", |s| s.edit("long.d/contoso.toml", "max_calls = 200", "max_calls = 201")),
        ("a new tenant", |s| s.write("long.d/new.toml", "")),
        ("a tenant less", |s| std::fs::remove_file(s.path("long.d/fabrikam.toml")).unwrap()),
        ("a certificate", |s| s.certificate("gov", "gov.example.com")),
        ("a link", |s| {
            s.certificate("other", "gov.example.com");
            std::fs::remove_file(s.path("certs/gov.pem")).unwrap();
            std::os::unix::fs::symlink("other.pem", s.path("certs/gov.pem")).unwrap();
        }),
    ];
    for (what, edit) in edits {
        let scratch = Scratch::new();
        let files = reading(&scratch, "long.toml").files;
        edit(&scratch);
        assert!(changed(&files), "{what}");
    }
}

#[test]
fn a_file_that_is_missing_is_waited_for() {
    let scratch = Scratch::new();
    scratch.edit("short.toml", "certs/sbc.pem", "certs/later.pem");
    let Reading { outcome, files, .. } = reading(&scratch, "short.toml");
    assert!(outcome.is_err() && !changed(&files));
    scratch.write("certs/later.pem", scratch.read("certs/sbc.pem"));
    assert!(changed(&files));
}

#[test]
fn certificates_come_with_the_reading_and_their_contents_are_compared() {
    let scratch = Scratch::new();
    let load = || scratch.load("long.toml").unwrap_or_else(|faults| panic!("{faults}"));
    let before = load();
    let gov = &before.config.edges[1];
    let own = before.credentials.identity(&gov.certificate, &gov.key).unwrap();
    assert!(own.leaf().covers("gov.example.com"));
    assert!(before.credentials.identity(Path::new("certs/none.pem"), &gov.key).is_none());
    assert_eq!(before.credentials.diff(&load().credentials), []);

    scratch.certificate("gov", "gov.example.com");
    let carriers = scratch.read("certs/carriers.pem");
    scratch.write("certs/carriers.pem", format!("{carriers}{}", scratch.read("certs/gov.pem")));
    let after = load();
    assert_eq!(config::diff(&before.config, &after.config), []);
    let lines: Vec<_> = before
        .credentials
        .diff(&after.credentials)
        .iter()
        .map(Change::to_string)
        .map(|line| line.replace(&scratch.path("").display().to_string(), ""))
        .collect();
    let start = "certificate \"certs/gov.pem\": contents: CN=rcgen self signed cert, valid until 4096-01-01, SHA-256 ";
    assert!(lines[0].starts_with(start) && lines[0].contains(" → CN=rcgen"), "{}", lines[0]);
    assert_eq!(
        lines[1..],
        [
            "roots \"certs/carriers.pem\": contents: 1 certificates → 2 certificates (1 added, 0 removed)"
        ]
    );
}
