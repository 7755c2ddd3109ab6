//! Every bad configuration below `tests/bad` gives its report: place, snippet, what to do.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::{Faults, Surroundings, load_in};

#[test]
fn every_bad_configuration_is_reported() {
    let mut names: Vec<_> = std::fs::read_dir("tests/bad")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 40, "{} cases", names.len());
    let failed: Vec<_> =
        names.iter().filter(|name| std::panic::catch_unwind(|| check(name)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn check(name: &str) {
    let faults = faults(&Path::new("tests/bad").join(name).join("gateway.toml"));
    for fault in faults.iter() {
        assert!(!fault.message.is_empty() && !fault.help.is_empty());
        assert!(!fault.places.is_empty(), "{}: no place", fault.message);
        for place in &fault.places {
            assert!(place.file.starts_with("tests/bad/"), "{}", place.file);
        }
    }
    let settings = {
        let mut settings = insta::Settings::clone_current();
        settings.set_omit_expression(true);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path("snapshots/bad");
        settings
    };
    settings.bind(|| insta::assert_snapshot!(name, faults.render(false)));
    assert!(faults.render(true).contains("\x1b["), "a terminal gets colour");
}

#[test]
fn a_missing_or_giant_main_file_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    assert!(faults(&path).render(false).contains("cannot be read: No such file"));
    std::fs::write(&path, "# \n".repeat(3_500_000)).unwrap();
    assert!(faults(&path).render(false).contains("larger than 4 MiB"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(faults(&path).render(false).contains("not a regular file"));
}

#[test]
fn a_file_full_of_faults_is_reported_in_part_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    let keys: String = (0..20_000).map(|n| format!("k{n} = {n}\n")).collect();
    std::fs::write(&path, keys).unwrap();
    let faults = faults(&path);
    assert_eq!((faults.len(), faults.iter().count()), (20_003, 500));
    let report = faults.render(false);
    assert!(report.ends_with("… and 19503 more\n"), "{}", &report[report.len() - 100..]);
}

fn faults(path: &Path) -> Faults {
    load_in(path, &surroundings()).map(|loaded| loaded.config).unwrap_err()
}

/// 1 January 2027, see `pki/README.md`.
fn surroundings() -> Surroundings {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(1_798_761_600);
    Surroundings { now, node: "host".to_owned(), cores: 2, variable: |_| None }
}
