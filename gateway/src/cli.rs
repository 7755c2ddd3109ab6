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
    /// List the profiles of trunks that come with the gateway, or print one as it stands in a configuration
    Profiles(Profiles),
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
    /// Print the reference of all tables and keys as Markdown and read no file
    #[arg(long, conflicts_with_all = ["schema", "json", "effective"])]
    pub reference: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `profiles`.
#[derive(Debug, Args)]
pub struct Profiles {
    /// Print this one
    pub name: Option<String>,
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
    /// Play the rules TR-001 to TR-076 against this gateway, or another SBC, and judge each; exit code 1 if one is broken
    Conformance(Box<LabConformance>),
}

/// Options of `lab conformance`.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct LabConformance {
    /// Play this rule only (TR-055, or 55); may be repeated
    #[arg(long = "rule", value_name = "TR-NNN", value_parser = rule_number)]
    pub rules: Vec<u16>,
    /// List the rules and play none
    #[arg(long)]
    pub list: bool,
    /// Print the report as JSON
    #[arg(long, conflicts_with = "list")]
    pub json: bool,
    /// Write the report as a page to this file; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "json"])]
    pub markdown: Option<PathBuf>,
    /// Another SBC: where it listens for Teams
    #[arg(long, value_name = "IP:PORT", requires_all = ["base", "teams", "certificate", "key", "roots", "trunks", "carriers", "tenants"])]
    pub target: Option<SocketAddr>,
    /// Its own name, that of its OPTIONS
    #[arg(long, value_name = "FQDN", requires = "target")]
    pub base: Option<String>,
    /// Where it listens for a trunk; may be repeated, each with --carrier and --tenant
    #[arg(long = "trunk", value_name = "IP:PORT", requires = "target")]
    pub trunks: Vec<SocketAddr>,
    /// Where the fake carrier of a trunk listens
    #[arg(long = "carrier", value_name = "IP:PORT", requires = "target")]
    pub carriers: Vec<SocketAddr>,
    /// The tenant of a trunk, and the first of 250 numbers of it
    #[arg(long = "tenant", value_name = "FQDN=NUMBER", requires = "target")]
    pub tenants: Vec<String>,
    /// How it speaks with its trunks
    #[arg(long, value_enum, default_value_t = LabTransport::Udp)]
    pub transport: LabTransport,
    /// Addresses of the names sip, sip2 and sip3 of the fake Teams, one to three
    #[arg(long, value_name = "IP", value_delimiter = ',', requires = "target")]
    pub teams: Vec<IpAddr>,
    /// The port of all of them
    #[arg(long, default_value_t = 5061)]
    pub port: u16,
    /// Their domain
    #[arg(long, value_name = "NAME", default_value = "teams.test")]
    pub domain: String,
    /// Certificate chain of the fake Teams (PEM)
    #[arg(long, value_name = "FILE", requires = "target")]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "target")]
    pub key: Option<PathBuf>,
    /// The roots of the SBC's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "target")]
    pub roots: Option<PathBuf>,
    /// The first of 250 numbers that it sends to the trunk of who calls
    #[arg(long, value_name = "NUMBER", default_value = "+14155550200")]
    pub outside: String,
    /// An address of this machine from which it should take no TLS
    #[arg(long, value_name = "IP", requires = "target")]
    pub stranger: Option<IpAddr>,
    /// Seconds to wait for its first OPTIONS
    #[arg(long, value_name = "SECONDS", default_value_t = 70)]
    pub patience: u64,
}

#[cfg(feature = "lab")]
fn rule_number(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("TR-").unwrap_or(text);
    let number = digits.parse().ok().filter(|number| (1..=76).contains(number));
    number.ok_or_else(|| format!("{text} is none of TR-001 to TR-076"))
}

/// Options of `lab teams`.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct LabTeams {
    /// What it does in calls.
    #[command(flatten)]
    pub play: LabPlay,
    /// Addresses of its names sip, sip2 and sip3, one to three
    #[arg(long, value_name = "IP", value_delimiter = ',', num_args = 1..=3, required_unless_present = "list")]
    pub listen: Vec<IpAddr>,
    /// The port of all of them
    #[arg(long, default_value_t = 5061)]
    pub port: u16,
    /// Its names are sip, sip2 and sip3 in this domain
    #[arg(long, value_name = "NAME", default_value = "teams.test")]
    pub domain: String,
    /// Its certificate chain (PEM)
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    pub key: Option<PathBuf>,
    /// The roots by which the gateway's certificate is verified (PEM)
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    pub roots: Option<PathBuf>,
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
    /// What it does in calls.
    #[command(flatten)]
    pub play: LabPlay,
    /// How it speaks with the gateway
    #[arg(long, value_enum, default_value_t = LabTransport::Udp)]
    pub transport: LabTransport,
    /// Where it listens, and from where it calls
    #[arg(long, value_name = "IP:PORT", required_unless_present = "list")]
    pub listen: Option<SocketAddr>,
    /// Where the gateway listens
    #[arg(long, value_name = "IP:PORT", required_unless_present = "list")]
    pub gateway: Option<SocketAddr>,
    /// A call to make.
    #[command(flatten)]
    pub call: LabCall,
}

/// How an end behaves in calls.
#[cfg(feature = "lab")]
#[derive(Debug, Args)]
pub struct LabPlay {
    /// What it does in each call, by name
    #[arg(long, value_name = "NAME", default_value = "answer")]
    pub scenario: String,
    /// List the scenarios and do nothing else
    #[arg(long)]
    pub list: bool,
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
