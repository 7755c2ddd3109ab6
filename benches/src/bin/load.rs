//! The load generator by hand: one server, one rate, one report.
//!
//! `cargo run --profile dist -p benches --bin load -- --rate 500 --seconds 10`

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use benches::load::{Direction, Load, Place, Plan};
use benches::peer::{self, Gateway, Kamailio, Server, Site};
use benches::table;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "load: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut plan = Plan::new(500.0, Duration::from_secs(10));
    let (mut server, mut repeat, mut tail, mut demand) = ("trunkgate".to_owned(), 1, 0, 0.0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} lacks its value"));
        match argument.as_str() {
            "--rate" => plan.rate = value()?.parse()?,
            "--seconds" => plan.window = Duration::from_secs_f64(value()?.parse()?),
            "--hold" => plan.hold = Duration::from_secs_f64(value()?.parse()?),
            "--standing" => plan.standing = value()?.parse()?,
            "--patience" => plan.patience = Duration::from_secs_f64(value()?.parse()?),
            "--repeat" => repeat = value()?.parse()?,
            "--tail" => tail = value()?.parse()?,
            "--demand" => demand = value()?.parse()?,
            "--no-ring" => plan.ring = false,
            "--from-teams" => plan.direction = Direction::FromTeams,
            "--server" => server = value()?,
            _ => return Err(format!("{argument} is unknown").into()),
        }
    }
    peer::pin_here()?;
    let dir = tempfile::TempDir::with_prefix("load-")?;
    let site = Site::new(dir.path().to_owned(), Place::new())?;
    let mut load = Load::open(site.place, &site.teams.0, &site.teams.1, &site.roots)?;
    let server: Box<dyn Server> = match server.as_str() {
        "trunkgate" => Box::new(Gateway::start(&Gateway::binary(), &site, &mut load)?),
        "kamailio" => Box::new(Kamailio::start(&site, false, &mut load)?),
        "kamailio+rtpengine" => Box::new(Kamailio::start(&site, true, &mut load)?),
        other => return Err(format!("{other}: no such server").into()),
    };
    let mut out = std::io::stdout();
    for _ in 0..repeat {
        let before = server.cpu();
        let report = load.run(&plan)?;
        load.idle(Duration::from_secs(tail))?;
        let cpu = server.cpu() - before;
        writeln!(out, "{}", table::line(&report, cpu, server.resident()))?;
        let served = report.answered.min(report.byes_served) as f64 / report.begun.max(1) as f64;
        if served < demand {
            return Err(format!("{served:.3} of all calls were answered and ended").into());
        }
    }
    Ok(())
}

const USAGE: &str = "usage: load [--server trunkgate|kamailio|kamailio+rtpengine] [--rate CALLS] [--seconds S] \
[--hold S] [--standing CALLS] [--patience S] [--repeat N] [--tail S] [--demand SHARE] [--no-ring] [--from-teams]";
