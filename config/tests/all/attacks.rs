//! AT-60: files that are not what they seem. Each is refused, or warned of, with the line that names it, at once, and
//! nothing is read that is no file. (That the old configuration stays in force is shown where it is: on reload.)

use std::fs::{Permissions, remove_file, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use config::{Fault, Faults};

use crate::scratch::Scratch;

const KEY: &str = "certs/sbc.key";

/// The one that says this, with a place in a file.
fn said<'a>(faults: &'a Faults, text: &str) -> &'a Fault {
    let found = faults.iter().find(|fault| fault.message.contains(text));
    let fault = found.unwrap_or_else(|| panic!("nothing says {text:?}:\n{}", faults.render(false)));
    assert!(!fault.help.is_empty() && fault.places.iter().all(|place| place.line > 0));
    fault
}

/// The line, counted from 1, in which that text stands in the file.
fn line(scratch: &Scratch, file: &str, text: &str) -> usize {
    let found = scratch.read(file).lines().position(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("{file} has no {text:?}")) + 1
}

fn refused(scratch: &Scratch, text: &str) -> Fault {
    let start = Instant::now();
    let faults = scratch.load("short.toml").unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    said(&faults, text).clone()
}

#[test]
fn at_60_a_key_that_all_can_read_is_warned_of_also_behind_a_link() {
    for mode in [0o644, 0o604, 0o666] {
        let scratch = Scratch::new();
        set_permissions(scratch.path(KEY), Permissions::from_mode(mode)).unwrap();
        let warnings = scratch.load("short.toml").unwrap().warnings;
        let fault = said(&warnings, "every user of this host can read the key");
        assert_eq!(fault.places[0].line, line(&scratch, "short.toml", KEY));
        assert!(fault.help.contains("chmod 600"), "{}", fault.help);
    }
    // The link's own mode says nothing; its target's does.
    for (mode, warned) in [(0o600, false), (0o644, true)] {
        let scratch = Scratch::new();
        std::fs::rename(scratch.path(KEY), scratch.path("certs/real.key")).unwrap();
        set_permissions(scratch.path("certs/real.key"), Permissions::from_mode(mode)).unwrap();
        symlink("real.key", scratch.path("certs/link.key")).unwrap();
        symlink("link.key", scratch.path(KEY)).unwrap();
        let warnings = scratch.load("short.toml").unwrap().warnings;
        let found = warnings.iter().any(|fault| fault.message.contains("can read the key"));
        assert_eq!(found, warned, "mode {mode:o}");
    }
}

#[test]
fn at_60_a_key_that_is_no_file_is_refused_and_nothing_waits_for_it() {
    for target in ["nowhere", "/dev/zero", "/dev/full", ".", "sbc.key", "/proc/self/mem"] {
        let scratch = Scratch::new();
        remove_file(scratch.path(KEY)).unwrap();
        symlink(target, scratch.path(KEY)).unwrap();
        let fault = refused(&scratch, "sbc.key");
        let named = line(&scratch, "short.toml", KEY);
        assert!(
            fault.places.iter().any(|place| place.line == named),
            "{target}: {}",
            fault.message
        );
    }
    // A pipe, whose opening would wait for a writer.
    let scratch = Scratch::new();
    remove_file(scratch.path(KEY)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(scratch.path(KEY)).status().unwrap();
    assert!(made.success());
    refused(&scratch, "sbc.key");
    // A key of 10 MB.
    let scratch = Scratch::new();
    scratch.write(KEY, "x".repeat(10 << 20));
    refused(&scratch, "sbc.key");
}

#[test]
fn at_60_files_of_10_mb_are_refused_at_once() {
    let scratch = Scratch::new();
    scratch.write("short.toml", "# a comment\n".repeat(1 << 20));
    refused(&scratch, "larger than 4 MiB");
    let scratch = Scratch::new();
    scratch.write("short.d/office.toml", "# a comment\n".repeat(1 << 20));
    refused(&scratch, "larger than 4 MiB");
    let scratch = Scratch::new();
    remove_file(scratch.path("short.d/office.toml")).unwrap();
    symlink("/dev/zero", scratch.path("short.d/office.toml")).unwrap();
    refused(&scratch, "not a regular file");
}

#[test]
fn at_60_unknown_keys_are_refused_with_their_line() {
    for (table, key) in [
        ("[gateway]", "nodes = \"b\""),
        ("[tls]", "Key = \"x\""),
        ("[teams]", "proxy = \"x\""),
        ("[carrier]", "listens = []"),
        ("[[trunk]]", "network = []"),
        ("[admin]", "\"list\\u0065n2\" = \"x\""),
    ] {
        let scratch = Scratch::new();
        scratch.edit("short.toml", table, &format!("{table}\n{key}"));
        let faults = scratch.load("short.toml").unwrap_err();
        let named = line(&scratch, "short.toml", key);
        let found = faults.iter().any(|fault| fault.places.iter().any(|place| place.line == named));
        assert!(found, "{key}: {}", faults.render(false));
    }
}

#[test]
fn at_60_what_stands_twice_is_refused_with_both_places() {
    let twin = "[tenant]\nname = \"twin\"\nlabel = \"twin\"\ntrunks = [\"carrier-a\"]\nnumbers = [\"+15550020000\"]\n";
    for (from, to) in [
        ("name = \"twin\"", "name = \"office\""),
        ("label = \"twin\"", "fqdn = \"sbc.example.com\""),
        ("\"+15550020000\"", "\"+15550010005\""),
        ("\"+15550020000\"", "\"+15550010099-+15550010199\""),
    ] {
        let scratch = Scratch::new();
        scratch.write("short.d/twin.toml", twin);
        assert!(scratch.load("short.toml").is_ok());
        scratch.edit("short.d/twin.toml", from, to);
        let faults = scratch.load("short.toml").unwrap_err();
        let both = faults.iter().any(|fault| {
            let named = |file: &str| fault.places.iter().any(|place| place.file.ends_with(file));
            named("office.toml") && named("twin.toml")
        });
        assert!(both, "{to}: {}", faults.render(false));
    }
}
