//! `trunkgate profiles`: the profiles that come with the gateway.

use std::io::Write;

use crate::cli::{EXIT_FAILURE, EXIT_USAGE, Profiles};

/// Does it: data to `out`, what is wrong to `err`. The exit code.
pub fn command(options: &Profiles, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let shipped = config::profiles();
    let Some(name) = &options.name else {
        let width = shipped.iter().map(|it| it.name.len()).max().unwrap_or_default();
        let line = |it: &config::Shipped| format!("{:width$}  {}\n", it.name, it.about);
        let lines: String = shipped.iter().map(line).collect();
        return done(out.write_all(lines.as_bytes()), 0);
    };
    match shipped.iter().find(|it| it.name == name) {
        Some(it) => done(out.write_all(it.toml.as_bytes()), 0),
        None => {
            let known: Vec<_> = shipped.iter().map(|it| it.name).collect();
            let line = writeln!(err, "no profile {name:?}; there are {}", known.join(", "));
            done(line, EXIT_USAGE)
        }
    }
}

fn done(written: std::io::Result<()>, code: u8) -> u8 {
    if written.is_ok() { code } else { EXIT_FAILURE }
}
