//! No bytes make the reader panic, and whatever it refuses it explains.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::scratch::Scratch;
use config::{diff, effective};
use proptest::prelude::*;

const FILES: [&str; 5] = [
    "long.toml",
    "long.d/contoso.toml",
    "provider.d/fabrikam.toml",
    "provider.d/fabrikam.csv",
    "short.toml",
];

static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let scratch = Scratch::new();
    FILES.iter().map(|name| scratch.read(name)).collect()
});

#[derive(Clone, Debug)]
enum Edit {
    Delete { at: usize, length: usize },
    Insert { at: usize, text: String },
    Copy { from: usize, length: usize, to: usize },
    Word { at: usize, word: &'static str },
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused(file in 0..FILES.len(), bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        examine(file, &bytes);
    }

    #[test]
    fn random_toml_is_refused(file in 0..FILES.len(), text in "([a-z]{1,8}( = |\\.|\n)|\\[{1,2}[a-z]{1,8}\\]{1,2}|[\\[\\]{}\"',=.#\n ]|[0-9+:-]{1,12}|[\\PC\r\t]){0,200}") {
        examine(file, text.as_bytes());
    }

    #[test]
    fn damaged_files_are_read_or_refused(file in 0..FILES.len(), edits in prop::collection::vec(edit(), 1..6)) {
        let mut text = GOOD[file].clone();
        for edit in &edits {
            apply(edit, &mut text);
        }
        examine(file, text.as_bytes());
    }
}

#[test]
fn deep_and_wide_files_end_soon() {
    let start = Instant::now();
    for text in [
        "[".repeat(100_000),
        "a = ".to_owned() + &"[".repeat(100_000),
        "a = ".to_owned() + &"{ a = ".repeat(100_000),
        "a.".repeat(100_000) + "a = 1",
        format!("a = \"{}\"", "é".repeat(1_000_000)),
        format!("[[trunk]]\n{}", "name = \"a\"\n[[trunk]]\n".repeat(50_000)),
        format!("[tenant]\nnumbers = [{}]", "\"+1\", ".repeat(400_000)),
        "\r".repeat(1_000_000),
    ] {
        for file in 0..FILES.len() {
            examine(file, text.as_bytes());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// Loads everything with one file replaced.
fn examine(file: usize, bytes: &[u8]) {
    let scratch = Scratch::new();
    scratch.write(FILES[file], bytes);
    for main in ["short.toml", "long.toml", "provider.toml"] {
        match scratch.load(main) {
            Ok(loaded) => {
                loaded.warnings.render(false);
                effective(&loaded.config);
                assert_eq!(diff(&loaded.config, &loaded.config), []);
            }
            Err(faults) => {
                assert!(
                    faults.iter().all(|fault| !fault.message.is_empty() && !fault.help.is_empty())
                );
                let report = faults.render(false);
                assert!(report.contains("help:"));
                let control = |char: char| char.is_control() && char != '\n' && char != '\t';
                assert!(!report.contains(control), "{report:?}");
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    const WORDS: [&str; 24] = [
        "\"\"",
        "[]",
        "{}",
        "= ",
        "[[trunk]]\n",
        "[[edge]]\n",
        "\n",
        "\"",
        "'",
        "#",
        "true",
        "-1",
        "1e9",
        "1979-05-27",
        "\"a b\"",
        "\"+1001\"",
        "\"udp:0.0.0.0:1\"",
        "\"::/0\"",
        "{ file = \"x\" }",
        "schema = 1\n",
        "name = \"default\"\n",
        "0x10",
        "\"\\u0000\\u001b[2J\"",
        "\\",
    ];
    let at = 0..10_000usize;
    prop_oneof![
        (at.clone(), 1..200usize).prop_map(|(at, length)| Edit::Delete { at, length }),
        (at.clone(), "\\PC{0,8}").prop_map(|(at, text)| Edit::Insert { at, text }),
        (at.clone(), 1..200usize, at.clone()).prop_map(|(from, length, to)| Edit::Copy {
            from,
            length,
            to
        }),
        (at, prop::sample::select(&WORDS[..])).prop_map(|(at, word)| Edit::Word { at, word }),
    ]
}

fn apply(edit: &Edit, text: &mut String) {
    let place = |text: &str, at: usize| {
        let at = at % (text.len() + 1);
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap()
    };
    let range = |text: &str, at: usize, length: usize| {
        let start = place(text, at);
        let end = (start + length).min(text.len());
        start..(end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap()
    };
    match edit {
        Edit::Delete { at, length } => text.replace_range(range(text, *at, *length), ""),
        Edit::Insert { at, text: inserted } => text.insert_str(place(text, *at), inserted),
        Edit::Copy { from, length, to } => {
            let copied = text[range(text, *from, *length)].to_owned();
            text.insert_str(place(text, *to), &copied);
        }
        Edit::Word { at, word } => {
            // In place of a value, where most of the rules are.
            let start = place(text, *at);
            let start = text[start..].find("= ").map_or(start, |found| start + found + 2);
            let end =
                text[start..].find(['\n', ',', '}', ']']).map_or(text.len(), |found| start + found);
            text.replace_range(start..end, word);
        }
    }
}
