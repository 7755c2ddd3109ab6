//! The whole configuration written out, with every default.

use std::fmt::Write;

use crate::block::{Block, Shown, blocks};
use crate::inventory::NumberState;
use crate::model::Config;

/// Numbers and ranges in one line of output.
const PER_LINE: usize = 4;

/// The main file, then each tenant's, headed by a comment with the file's name. What has no value
/// stands as a comment.
pub(crate) fn effective(config: &Config) -> String {
    let mut out = String::from("# file: gateway.toml\nschema = 1\n");
    let mut file = None;
    for block in blocks(config) {
        if block.file != file {
            file = block.file;
            let _ = writeln!(out, "\n# file: tenants.d/{}.toml", file.unwrap_or_default());
        }
        write_block(&mut out, &block);
    }
    out
}

fn write_block(out: &mut String, block: &Block<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "\n{}", block.title);
    for entry in &block.entries {
        let key = &entry.key;
        let _ = match &entry.value {
            Shown::Toml(toml) | Shown::Secrets { toml, .. } => {
                writeln!(out, "{} = {toml}", bare_or_quoted(key))
            }
            Shown::Absent(words) => writeln!(out, "# {key}: {words}"),
            Shown::Numbers(numbers, states) => {
                let pieces = states.pieces(numbers);
                let lines = pieces.chunks(PER_LINE).map(|pieces| {
                    let texts = pieces.iter().map(|(range, state)| match state {
                        NumberState::Active => format!("\"{range}\""),
                        NumberState::Reserved | NumberState::Porting | NumberState::Quarantine => {
                            format!("{{ range = \"{range}\", state = \"{}\" }}", state.as_str())
                        }
                    });
                    format!("    {},\n", texts.collect::<Vec<_>>().join(", "))
                });
                writeln!(out, "{key} = [\n{}]", lines.collect::<String>())
            }
        };
    }
}

/// Names of media entries may hold dots, which mean something in a bare key.
fn bare_or_quoted(key: &str) -> String {
    if key.contains('.') { crate::block::text(key) } else { key.to_owned() }
}
