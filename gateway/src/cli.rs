//! The command line. The door for clap.
//!
//! Exit codes: 0 fine, 1 failure while running, 64 usage (EX_USAGE), 78 configuration (EX_CONFIG). Errors go to stderr,
//! data to stdout.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
#[cfg(feature = "lab")]
use {clap::ValueEnum, std::net::IpAddr, std::net::SocketAddr};

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
    Run(Run),
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

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Take over from the gateway that runs with the same state directory, if there is one, without losing a call
    #[arg(long)]
    pub upgrade: bool,
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
    /// A fake Teams: TLS with client certificates, SRTP, its dialect; answers every call with a tone
    Teams(Box<LabTeams>),
    /// A fake carrier: UDP or TCP, plain RTP; answers every call with a tone
    Carrier(LabCarrier),
}

/// Options of `lab teams`.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct LabTeams {
    /// Addresses of its names sip, sip2 and sip3, one to three
    #[arg(long, value_name = "IP", value_delimiter = ',', num_args = 1..=3, required = true)]
    pub listen: Vec<IpAddr>,
    /// The port of all of them
    #[arg(long, default_value_t = 5061)]
    pub port: u16,
    /// Its names are sip, sip2 and sip3 in this domain
    #[arg(long, value_name = "NAME", default_value = "teams.test")]
    pub domain: String,
    /// Its certificate chain (PEM)
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The roots by which the gateway's certificate is verified (PEM)
    #[arg(long, value_name = "FILE")]
    pub roots: PathBuf,
    /// An FQDN that belongs to a tenant, the first of which calls are made to; may be repeated; none: any
    #[arg(long = "tenant", value_name = "FQDN")]
    pub tenants: Vec<String>,
    /// Where the gateway listens; learnt from its first OPTIONS when left out
    #[arg(long, value_name = "IP:PORT")]
    pub gateway: Option<SocketAddr>,
    /// A call to make.
    #[command(flatten)]
    pub call: LabCall,
}

/// Options of `lab carrier`.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct LabCarrier {
    /// How it speaks with the gateway
    #[arg(long, value_enum, default_value_t = LabTransport::Udp)]
    pub transport: LabTransport,
    /// Where it listens, and from where it calls
    #[arg(long, value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// Where the gateway listens
    #[arg(long, value_name = "IP:PORT")]
    pub gateway: SocketAddr,
    /// A call to make.
    #[command(flatten)]
    pub call: LabCall,
}

/// A call that an end makes by itself.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct LabCall {
    /// Call this number once
    #[arg(long, value_name = "NUMBER")]
    pub call: Option<String>,
    /// The number that calls
    #[arg(long, value_name = "NUMBER", default_value = "+14155550100", requires = "call")]
    pub caller: String,
    /// How long the call lasts
    #[arg(long, default_value_t = 5, requires = "call")]
    pub seconds: u64,
}

/// How a fake carrier speaks.
#[cfg(feature = "lab")]
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LabTransport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}
