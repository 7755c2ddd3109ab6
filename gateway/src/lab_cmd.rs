//! `trunkgate lab teams` and `trunkgate lab carrier`: one end of the demo alone.

use std::io::{self, Write};
use std::time::Duration;

use lab::capture::Transport;
use lab::cli::{CarrierOptions, LabError, Placed, TeamsOptions, run_carrier, run_teams};

use crate::cli::{EXIT_FAILURE, LabCall, LabCarrier, LabTeams, LabTransport};
use crate::run::Signals;

/// A fake Teams, until a signal comes. The exit code.
pub fn teams_command(options: LabTeams) -> u8 {
    until_signal(run_teams(teams(options), &say))
}

/// A fake carrier, until a signal comes. The exit code.
pub fn carrier_command(options: LabCarrier) -> u8 {
    until_signal(run_carrier(carrier(options), &say))
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

fn teams(options: LabTeams) -> TeamsOptions {
    let LabTeams { listen, port, domain, certificate, key, roots, tenants, gateway, call } =
        options;
    let host = tenants.first().cloned().unwrap_or_default();
    let call = placed(call, host);
    TeamsOptions {
        addresses: listen,
        port,
        domain,
        certificate,
        key,
        roots,
        tenants,
        gateway,
        call,
    }
}

fn carrier(options: LabCarrier) -> CarrierOptions {
    let LabCarrier { transport, listen, gateway, call } = options;
    let transport = match transport {
        LabTransport::Udp => Transport::Udp,
        LabTransport::Tcp => Transport::Tcp,
    };
    let call = placed(call, gateway.ip().to_string());
    CarrierOptions { transport, address: listen, gateway, call }
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
