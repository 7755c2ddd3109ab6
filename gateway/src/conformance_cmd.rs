//! `trunkgate lab conformance`: the rules of Direct Routing, played against this gateway as a child process, or against
//! somebody else's SBC.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lab::capture::Transport;
use lab::conformance::{Report, Stage, Target, TargetError, TargetTrunk, list, run, set};
use lab::demo::DemoError;

use crate::child::{ChildError, Gateway, end_of_log, log_file, make_directory};
use crate::cli::{EXIT_FAILURE, EXIT_USAGE, LabConformance, LabTransport};
use crate::run::Signals;

/// Plays, and prints what was found. The exit code: 0 if no rule is broken.
pub fn command(options: LabConformance) -> u8 {
    if options.list {
        say(&list());
        return 0;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime.map_err(Failure::System).and_then(|runtime| {
        runtime.block_on(async {
            let mut signals = Signals::open().map_err(Failure::System)?;
            tokio::select! {
                report = judge(&options) => report,
                _ = signals.next() => Err(Failure::Interrupted),
            }
        })
    });
    let printed = found.and_then(|report| print(&options, &report).map(|()| report.is_ok()));
    match printed {
        Ok(true) => 0,
        Ok(false) => EXIT_FAILURE,
        Err(failure) => {
            tell(&format!("trunkgate lab conformance: {failure}"));
            if matches!(failure, Failure::Usage(_)) { EXIT_USAGE } else { EXIT_FAILURE }
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Scene(#[from] DemoError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the operating system refuses: {0}")]
    System(#[source] io::Error),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Usage(&'static str),
    #[error("interrupted")]
    Interrupted,
}

async fn judge(options: &LabConformance) -> Result<Report, Failure> {
    match target(options)? {
        Some(target) => {
            let stage = target.set().await?;
            stage.expect(&options.rules);
            Ok(play(&stage, options).await)
        }
        None => own(options).await,
    }
}

/// This gateway, started again as a child between the fakes.
async fn own(options: &LabConformance) -> Result<Report, Failure> {
    let directory = make_directory("conformance")?;
    let report = beside(&directory, options).await;
    if let Err(failure) = &report {
        tell(&format!("{failure}\nThe end of the gateway's log:\n{}", end_of_log(&directory)));
    }
    // What is left of it does no harm.
    let _ = std::fs::remove_dir_all(&directory);
    report
}

async fn beside(directory: &Path, options: &LabConformance) -> Result<Report, Failure> {
    let own = set(directory).await?;
    own.stage.expect(&options.rules);
    let mut gateway = Gateway::start(&own.config, &log_file(directory))?;
    gateway.ready().await?;
    let report = tokio::select! {
        report = play(&own.stage, options) => report,
        status = gateway.ended() => return Err(ChildError::Ended(status?).into()),
    };
    gateway.stop().await?;
    Ok(report)
}

async fn play(stage: &Arc<Stage>, options: &LabConformance) -> Report {
    // A page or JSON is data for stdout; what happens meanwhile is not.
    run(stage, &options.rules, &|line| tell(line)).await
}

/// The SBC that the command line describes, if it is another.
fn target(options: &LabConformance) -> Result<Option<Target>, Failure> {
    let Some(edge) = options.target else { return Ok(None) };
    let (Some(base), Some(certificate), Some(key), Some(roots)) =
        (&options.base, &options.certificate, &options.key, &options.roots)
    else {
        return Err(Failure::Usage("--target needs --base, --certificate, --key and --roots"));
    };
    let LabConformance { trunks, carriers, tenants, .. } = options;
    if trunks.len() != carriers.len() || trunks.len() != tenants.len() {
        return Err(Failure::Usage("each --trunk needs a --carrier and a --tenant"));
    }
    let transport = match options.transport {
        LabTransport::Udp => Transport::Udp,
        LabTransport::Tcp => Transport::Tcp,
    };
    let mut all = Vec::new();
    for ((sbc, listen), tenant) in trunks.iter().zip(carriers).zip(tenants) {
        let Some((fqdn, number)) = tenant.split_once('=') else {
            return Err(Failure::Usage("--tenant is FQDN=NUMBER"));
        };
        let (fqdn, number) = (fqdn.to_owned(), number.to_owned());
        all.push(TargetTrunk { transport, sbc: *sbc, listen: *listen, fqdn, number });
    }
    Ok(Some(Target {
        edge,
        base: base.clone(),
        teams: options.teams.clone(),
        port: options.port,
        domain: options.domain.clone(),
        certificate: certificate.clone(),
        key: key.clone(),
        roots: roots.clone(),
        trunks: all,
        outside: options.outside.clone(),
        stranger: options.stranger,
        patience: Duration::from_secs(options.patience),
    }))
}

fn print(options: &LabConformance, report: &Report) -> Result<(), Failure> {
    match &options.markdown {
        Some(path) if path.as_os_str() != "-" => {
            let file = |source| Failure::File { path: path.clone(), source };
            std::fs::write(path, report.markdown()).map_err(file)?;
        }
        Some(_) => say(&report.markdown()),
        None if options.json => say(&report.json()),
        None => say(&report.text()),
    }
    Ok(())
}

/// Whoever closed stdout does not want to read it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// The same of stderr.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
