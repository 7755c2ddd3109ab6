//! `trunkgate check`: reads the configuration and everything it names, says what is wrong with it,
//! and opens no port.

use std::io::{IsTerminal, Write};
use std::path::Path;

use config::{Config, Fault, Faults, Loaded};
use serde_json::{Value, json};

use crate::cli::{Check, EXIT_CONFIG, EXIT_FAILURE};
use crate::run::{self, Capacity, Failure};

/// Does it: data to `out`, faults to `err`. The exit code.
pub fn command(options: &Check, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let done = if options.schema {
        writeln!(out, "{:#}", config::schema()).map(|()| 0)
    } else if options.reference {
        write!(out, "{}", config::reference()).map(|()| 0)
    } else if options.json {
        in_json(&options.file.config, out)
    } else {
        in_words(options, out, err)
    };
    done.unwrap_or(EXIT_FAILURE)
}

fn in_words(options: &Check, out: &mut impl Write, err: &mut impl Write) -> std::io::Result<u8> {
    let colour = std::io::stderr().is_terminal();
    let file = &options.file.config;
    let Loaded { config, warnings, .. } = match read(file) {
        Ok(loaded) => loaded,
        Err(Failure::Configuration(faults)) => {
            write!(err, "{}", faults.render(colour))?;
            return Ok(EXIT_CONFIG);
        }
        Err(failure) => {
            writeln!(err, "{failure}")?;
            return Ok(failure.exit_code());
        }
    };
    write!(err, "{}", warnings.render(colour))?;
    if options.effective {
        write!(out, "{}", config::effective(&config))?;
    } else {
        write!(out, "{}", summary(file, &config, Capacity::new(&config, run::descriptors())))?;
    }
    Ok(0)
}

fn in_json(file: &Path, out: &mut impl Write) -> std::io::Result<u8> {
    let (answer, code) = match read(file) {
        Ok(Loaded { config, warnings, .. }) => {
            let Capacity { by_ports, by_descriptors, .. } =
                Capacity::new(&config, run::descriptors());
            let calls = json!({ "ports": by_ports, "descriptors": by_descriptors });
            (json!({ "faults": [], "warnings": list(&warnings), "calls": calls }), 0)
        }
        Err(failure) => {
            let faults = if let Failure::Configuration(faults) = &failure {
                list(faults)
            } else {
                json!([{ "message": failure.to_string(), "help": "", "places": [] }])
            };
            (json!({ "faults": faults, "warnings": [] }), failure.exit_code())
        }
    };
    writeln!(out, "{answer:#}")?;
    Ok(code)
}

/// Reads everything that a start would read.
fn read(file: &Path) -> Result<Loaded, Failure> {
    let (loaded, _) = run::music::read(file).0.map_err(Failure::Configuration)?;
    run::Locals::new(&loaded.config, &loaded.credentials, None)?;
    Ok(loaded)
}

fn list(faults: &Faults) -> Value {
    faults.iter().map(one).collect()
}

fn one(fault: &Fault) -> Value {
    let place = |place: &config::Place| {
        json!({
            "file": place.file,
            "line": place.line,
            "column": place.column,
            "label": place.label,
        })
    };
    let places: Vec<Value> = fault.places.iter().map(place).collect();
    json!({ "message": fault.message, "help": fault.help, "places": places })
}

fn summary(file: &Path, config: &Config, capacity: Capacity) -> String {
    let Capacity { by_ports, by_descriptors, descriptors } = capacity;
    let count = |n: usize, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
    let things = [
        count(config.edges.len(), "edge"),
        count(config.realms.len(), "realm"),
        count(config.trunks.len(), "trunk"),
        count(config.tenants.len(), "tenant"),
    ];
    format!(
        "{}: no fault found; node {}, {}\n\
         calls at one time: {} (media ports allow {by_ports}; {descriptors} open files allow {by_descriptors})\n",
        file.display(),
        config.gateway.node,
        things.join(", "),
        capacity.calls(),
    )
}
