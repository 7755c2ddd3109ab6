//! The samples in the README and in docs/ are configurations that load.

use std::path::PathBuf;

use crate::scratch::Scratch;

#[test]
fn the_configurations_in_the_documents_load_without_a_warning() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut documents = vec![root.join("README.md")];
    let further = std::fs::read_dir(root.join("docs")).unwrap();
    documents.extend(further.map(|entry| entry.unwrap().path()));
    let mut loaded = 0;
    for document in documents.iter().filter(|path| path.extension().is_some_and(|x| x == "md")) {
        let text = std::fs::read_to_string(document).unwrap();
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path("tenants.d")).unwrap();
        // Loaded whenever the next sample does not go on with the same one.
        let samples = samples(&text);
        for (place, (name, sample)) in samples.iter().enumerate() {
            let before = std::fs::read_to_string(scratch.path(name)).unwrap_or_default();
            scratch.write(name, format!("{before}\n{sample}"));
            if samples.get(place + 1).is_some_and(|(next, _)| next.starts_with("tenants.d/")) {
                continue;
            }
            match scratch.load("gateway.toml") {
                Ok(all) => assert!(all.warnings.is_empty(), "{document:?}: {}", all.warnings),
                Err(faults) => panic!("{document:?}: {faults}"),
            }
            loaded += 1;
        }
    }
    assert!(
        loaded >= 2,
        "the README has a first configuration and one with a trunk that has numbers"
    );
}

/// The TOML blocks with the file that their first line names: `# gateway.toml`, `# gateway.toml, added`.
fn samples(document: &str) -> Vec<(String, String)> {
    let blocks = document.split("```toml\n").skip(1);
    let sample = |block: &str| {
        let text = block.split_once("```").unwrap().0;
        let first = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let name = first.split(&[',', ' ']).next().unwrap().to_owned();
        (name, text.to_owned())
    };
    blocks.map(sample).collect()
}
