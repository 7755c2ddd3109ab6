//! Files of music: read with the configuration, named from where they are written, and told when they change.

use config::{Change, Footprint};

use crate::scratch::Scratch;

/// A mono WAV of 16 bits with so many samples of one value.
fn wav(rate: u32, samples: u32, value: i16) -> Vec<u8> {
    let mut file = Vec::from(*b"RIFF");
    file.extend((36 + samples * 2).to_le_bytes());
    file.extend(b"WAVEfmt ");
    for word in [16, 0x0001_0001, rate, rate * 2, 0x0010_0002] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"data");
    file.extend((samples * 2).to_le_bytes());
    (0..samples).for_each(|_| file.extend(value.to_le_bytes()));
    file
}

/// The example with a file for a trunk and for a tenant.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("ours.wav", wav(8000, 8000, 100));
    scratch.write("long.d/theirs.wav", wav(16_000, 8000, 100));
    scratch.edit("long.toml", "name = \"fax\"", "name = \"fax\"\nhold_music = \"ours.wav\"");
    let keys = "max_calls = 200\nhold_music = \"theirs.wav\"";
    scratch.edit("long.d/contoso.toml", "max_calls = 200", keys);
    scratch
}

#[test]
fn music_is_read_from_where_it_is_named() {
    let scratch = scratch();
    let loaded = scratch.load("long.toml").unwrap();
    let fax = loaded.config.trunks.iter().find(|trunk| trunk.name == "fax").unwrap();
    let contoso = loaded.config.tenants.iter().find(|tenant| tenant.name == "contoso").unwrap();
    let of = |path: &Option<std::path::PathBuf>| {
        loaded.sounds.get(path.as_ref().unwrap()).unwrap().duration().as_millis()
    };
    assert_eq!((of(&fax.hold_music), of(&contoso.hold_music)), (1000, 500));
    let shown = config::effective(&loaded.config);
    assert!(shown.contains("/ours.wav\"\n") && shown.contains("/theirs.wav\"\n"), "{shown}");
}

#[test]
fn a_file_that_changes_is_a_change_and_one_that_does_not_lies_there_once() {
    let scratch = scratch();
    let files = |scratch: &Scratch| -> Footprint {
        config::read_in(&scratch.path("long.toml"), &crate::scratch::surroundings()).files
    };
    let before = scratch.load("long.toml").unwrap();
    let seen = files(&scratch);
    assert!(seen.paths().any(|path| path.ends_with("theirs.wav")));
    scratch.write("ours.wav", wav(8000, 12_000, 100));
    assert_ne!(seen.look_again(), seen);
    let mut after = scratch.load("long.toml").unwrap();
    let changes: Vec<_> = before.sounds.diff(&after.sounds).iter().map(Change::to_string).collect();
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert!(change.ends_with("ours.wav\": contents: 1.0 s → 1.5 s"), "{change}");
    let path = scratch.path("long.d/theirs.wav");
    let same = |after: &config::Sounds| {
        std::sync::Arc::ptr_eq(before.sounds.get(&path).unwrap(), after.get(&path).unwrap())
    };
    assert!(!same(&after.sounds));
    after.sounds.share(&before.sounds);
    assert!(same(&after.sounds));
    assert_eq!(after.sounds.diff(&after.sounds), []);
}
