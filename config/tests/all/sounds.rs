//! Files of music: looked at with the configuration, named from where they are written, and told when they change.

use config::{Reading, SoundFile};

use crate::scratch::Scratch;

/// The example with a file for a trunk and for a tenant. What they hold is not looked at here.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("ours.wav", "ours");
    scratch.write("long.d/theirs.wav", "theirs");
    scratch.edit("long.toml", "name = \"fax\"", "name = \"fax\"\nhold_music = \"ours.wav\"");
    let keys = "max_calls = 200\nhold_music = \"theirs.wav\"";
    scratch.edit("long.d/contoso.toml", "max_calls = 200", keys);
    scratch
}

fn read(scratch: &Scratch) -> Reading {
    config::read_in(&scratch.path("long.toml"), &crate::scratch::surroundings())
}

#[test]
fn music_is_found_from_where_it_is_named() {
    let scratch = scratch();
    let Reading { outcome, files, sounds } = read(&scratch);
    let config = outcome.unwrap().config;
    let fax = config.trunks.iter().find(|trunk| trunk.name == "fax").unwrap();
    let contoso = config.tenants.iter().find(|tenant| tenant.name == "contoso").unwrap();
    let named = [&fax.hold_music, &contoso.hold_music].map(|path| path.as_deref().unwrap());
    let found: Vec<_> = sounds.iter().map(SoundFile::path).collect();
    assert_eq!(found, named, "in the order of files and lines");
    assert!(named.into_iter().all(|path| files.paths().any(|known| known == path)));
    let shown = config::effective(&config);
    assert!(shown.contains("/ours.wav\"\n") && shown.contains("/theirs.wav\"\n"), "{shown}");
}

#[test]
fn a_file_that_was_written_to_is_another_one() {
    let scratch = scratch();
    let before = read(&scratch).sounds;
    scratch.write("ours.wav", "others");
    let after = read(&scratch).sounds;
    let same: Vec<_> = before.iter().zip(&after).map(|(before, now)| now.is_same(before)).collect();
    assert_eq!(same, [false, true]);
    assert!(!after[0].is_same(&after[1]));
    let change = after[0].changed("1.0 s".to_owned(), "1.5 s".to_owned()).to_string();
    assert!(change.ends_with("ours.wav\": contents: 1.0 s → 1.5 s"), "{change}");
}

/// What is found in the files later stands among all other faults, at the place where the file is named.
#[test]
fn what_is_wrong_inside_a_file_is_told_where_it_is_named() {
    let scratch = scratch();
    scratch.edit("long.d/contoso.toml", "max_calls = 200", "max_calls = 0");
    let Reading { outcome, sounds, .. } = read(&scratch);
    let mut faults = outcome.unwrap_err();
    assert_eq!((faults.len(), sounds.len()), (1, 2));
    let later = sounds.iter().map(|file| file.fault("it is bad", "Take another.")).rev();
    faults.extend(later);
    let told: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let [first, _, last] = &told[..] else { panic!("{faults}") };
    assert_eq!((*first, *last), ("it is bad", "it is bad"), "{faults}");
    let report = faults.render(false);
    assert!(
        report.contains("hold_music = \"ours.wav\"") && report.contains("this file"),
        "{report}"
    );
    assert!(report.contains("hold_music = \"theirs.wav\""), "{report}");
}
