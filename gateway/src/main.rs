//! `trunkgate`: reads the command line, does what it says, and tells by its exit code how that went.

use std::process::ExitCode;

use gateway::cli::{self, Command};
use gateway::{check, profiles_cmd, run};

/// Messages of about a kilobyte come and go with every call, beside what lives as long as a transaction. Under overload
/// the system's allocator spends a fifth of a core on joining and cutting the gaps they leave (docs/performance.md).
/// Elsewhere than with glibc it is not known to work.
#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ExitCode::from(match cli::parse(std::env::args_os()) {
        Ok(command) => obey(command),
        Err(code) => code,
    })
}

fn obey(command: Command) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match command {
        Command::Run(options) => run::command(&options.file.config, options.upgrade),
        Command::Check(options) => check::command(&options, &mut out, &mut err),
        Command::Profiles(options) => profiles_cmd::command(&options, &mut out, &mut err),
        #[cfg(feature = "lab")]
        Command::Demo(options) => gateway::demo::command(&options),
        #[cfg(feature = "lab")]
        Command::Lab(gateway::cli::Lab::Conformance(options)) => {
            gateway::conformance_cmd::command(*options)
        }
        #[cfg(feature = "lab")]
        Command::Lab(gateway::cli::Lab::Teams(options)) => {
            gateway::lab_cmd::teams_command(*options)
        }
        #[cfg(feature = "lab")]
        Command::Lab(gateway::cli::Lab::Carrier(options)) => {
            gateway::lab_cmd::carrier_command(options)
        }
        Command::Version => cli::print_version(&mut out),
    }
}
