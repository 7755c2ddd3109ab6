//! `trunkgate lab teams` and `trunkgate lab carrier`: one end of the demo alone.

use std::io::{self, Write};
use std::time::Duration;

use lab::agent::{SCENARIOS, Scenario};
use lab::capture::Transport;
use lab::cli::{CarrierOptions, LabError, Placed, TeamsOptions, run_carrier, run_teams};

use crate::cli::{EXIT_FAILURE, EXIT_USAGE, LabCall, LabCarrier, LabPlay, LabTeams, LabTransport};
use crate::run::Signals;

/// A fake Teams, until a signal comes. The exit code.
pub fn teams_command(options: LabTeams) -> u8 {
    match scenario(&options.play) {
        Ok(scenario) => until_signal(async { run_teams(teams(options, scenario)?, &say).await }),
        Err(code) => code,
    }
}

/// A fake carrier, until a signal comes. The exit code.
pub fn carrier_command(options: LabCarrier) -> u8 {
    match scenario(&options.play) {
        Ok(scenario) => {
            until_signal(async { run_carrier(carrier(options, scenario)?, &say).await })
        }
        Err(code) => code,
    }
}

/// What is to be played; the exit code if nothing is.
fn scenario(play: &LabPlay) -> Result<&'static Scenario, u8> {
    if play.list {
        SCENARIOS.iter().for_each(|it| say(&format!("{:<15} {}", it.name, it.title)));
        return Err(0);
    }
    Scenario::named(&play.scenario).ok_or_else(|| {
        let name = &play.scenario;
        let _ = writeln!(io::stderr(), "trunkgate lab: no scenario {name:?}; --list names them");
        EXIT_USAGE
    })
}

fn until_signal(run: impl Future<Output = Result<(), LabError>>) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let live = async {
        let mut signals = Signals::open()?;
        tokio::select! {
            done = run => done,
            _ = signals.next() => Ok(()),
        }
    };
    let done = runtime.map_err(LabError::from).and_then(|runtime| runtime.block_on(live));
    let Err(failure) = done else { return 0 };
    // Whoever closed stderr does not want to read it.
    let _ = writeln!(io::stderr(), "trunkgate lab: {failure}");
    EXIT_FAILURE
}

fn teams(options: LabTeams, scenario: &'static Scenario) -> Result<TeamsOptions, LabError> {
    let LabTeams { listen, port, domain, tenants, gateway, call, .. } = options;
    let files = [options.certificate, options.key, options.roots];
    let [Some(certificate), Some(key), Some(roots)] = files else { return Err(missing()) };
    let host = tenants.first().cloned().unwrap_or_default();
    let call = placed(call, host);
    Ok(TeamsOptions {
        addresses: listen,
        port,
        domain,
        certificate,
        key,
        roots,
        tenants,
        gateway,
        call,
        scenario,
    })
}

fn carrier(options: LabCarrier, scenario: &'static Scenario) -> Result<CarrierOptions, LabError> {
    let LabCarrier { transport, listen, gateway, call, .. } = options;
    let (Some(listen), Some(gateway)) = (listen, gateway) else { return Err(missing()) };
    let transport = match transport {
        LabTransport::Udp => Transport::Udp,
        LabTransport::Tcp => Transport::Tcp,
    };
    let call = placed(call, gateway.ip().to_string());
    Ok(CarrierOptions { transport, address: listen, gateway, call, scenario })
}

/// Of what the command line demands; it is there.
fn missing() -> LabError {
    io::Error::from(io::ErrorKind::InvalidInput).into()
}

fn placed(call: LabCall, host: String) -> Option<Placed> {
    let LabCall { call, caller, seconds } = call;
    let time = Duration::from_secs(seconds);
    call.map(|called| Placed { caller, called, host, time })
}

/// Whoever closed stdout does not want to read it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
