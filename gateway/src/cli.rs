//! The command line. The door for clap.
//!
//! Exit codes: 0 fine, 1 failure while running, 64 usage (EX_USAGE), 78 configuration (EX_CONFIG). Errors go to stderr,
//! data to stdout.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Exit code for a wrong command line.
pub const EXIT_USAGE: u8 = 64;
/// Exit code for a wrong configuration.
pub const EXIT_CONFIG: u8 = 78;
/// Exit code for a failure while running.
pub const EXIT_FAILURE: u8 = 1;

/// Reads the command line. `Err` is the exit code when there is nothing to do: help was printed, or
/// the usage is wrong and was explained on stderr.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, u8> {
    Cli::try_parse_from(arguments).map(|cli| cli.command).map_err(|error| {
        // Whoever closed stdout or stderr does not want to read it.
        let _ = error.print();
        if error.use_stderr() { EXIT_USAGE } else { 0 }
    })
}

/// `trunkgate version`. The exit code.
pub fn print_version(out: &mut impl Write) -> u8 {
    match writeln!(out, "trunkgate {}", env!("CARGO_PKG_VERSION")) {
        Ok(()) => 0,
        Err(_) => EXIT_FAILURE,
    }
}

/// A Direct Routing gateway between carrier SIP trunks and Microsoft Teams Phone.
#[derive(Debug, Parser)]
#[command(name = "trunkgate", version, arg_required_else_help = true)]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway in the foreground; prints `ready` when every listener is open
    Run(ConfigFile),
    /// Check a configuration: every fault with file, line and what to do; opens no port
    Check(Check),
    /// Print the version
    Version,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The main file; the tenants' directory is named in it
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    pub config: PathBuf,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Print the whole configuration with every default
    #[arg(long, conflicts_with_all = ["schema", "json"])]
    pub effective: bool,
    /// Print the JSON schema of the configuration and read no file
    #[arg(long)]
    pub schema: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}
