//! The command line. The door for clap.
//!
//! Exit codes: 0 fine, 1 failure while running, 64 usage (EX_USAGE), 78 configuration (EX_CONFIG). Errors go to stderr,
//! data to stdout.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Exit code for a wrong command line.
pub const EXIT_USAGE: u8 = 64;
/// Exit code for a wrong configuration.
pub const EXIT_CONFIG: u8 = 78;
/// Exit code for a failure while running.
pub const EXIT_FAILURE: u8 = 1;

/// A Direct Routing gateway between carrier SIP trunks and Microsoft Teams Phone.
#[derive(Debug, Parser)]
#[command(name = "trunkgate", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway in the foreground; prints `ready` when every listener is open
    Run(ConfigFile),
    /// Check a configuration: every fault with file, line and what to do; opens no port
    Check(Check),
    /// Make calls between a fake Teams and fake carriers through a real gateway, and show them
    #[cfg(feature = "lab")]
    Demo(Demo),
    /// Run one end of the demo alone, to call or be called by a gateway
    #[cfg(feature = "lab")]
    #[command(subcommand)]
    Lab(Lab),
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
    #[arg(long, conflicts_with = "schema")]
    pub effective: bool,
    /// Print the JSON schema of the configuration and read no file
    #[arg(long)]
    pub schema: bool,
    /// Print the faults as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `demo`.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave everything running afterwards and say how to call it with a softphone
    #[arg(long)]
    pub keep: bool,
}

/// Which end to run.
#[cfg(feature = "lab")]
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// A fake Teams: TLS with client certificates, SRTP, its dialect
    Teams(LabTeams),
    /// A fake carrier: UDP or TCP, plain RTP
    Carrier(LabCarrier),
}
