//! `trunkgate demo`: a real gateway as a child process between fake ends, calls in both directions,
//! and what came of them.

use std::io::{self, Write};
use std::path::Path;

use lab::demo::{DemoError, Report, Scene};

use crate::child::{ChildError, Gateway, end_of_log, log_file, make_directory};
use crate::cli::{Demo, EXIT_FAILURE};
use crate::run::Signals;

/// Does it. The exit code.
pub fn command(options: &Demo) -> u8 {
    let directory = match make_directory("demo") {
        Ok(directory) => directory,
        Err(failure) => return fail(&failure.into(), None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = runtime
        .map_err(Failure::System)
        .and_then(|runtime| runtime.block_on(play(options, &directory)));
    if matches!(played, Ok(()) | Err(Failure::Interrupted)) {
        // What is left of it does no harm.
        let _ = std::fs::remove_dir_all(&directory);
    }
    match played {
        Ok(()) => 0,
        Err(Failure::Interrupted) => fail(&Failure::Interrupted, None),
        Err(failure) => fail(&failure, Some(&directory)),
    }
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Scene(#[from] DemoError),
    #[error("the operating system refuses: {0}")]
    System(#[source] io::Error),
    #[error("not every call went well")]
    Calls,
    #[error("interrupted")]
    Interrupted,
}

async fn play(options: &Demo, directory: &Path) -> Result<(), Failure> {
    let started = lab::now();
    let progress = move |line: &str| {
        let seconds = started.elapsed().as_secs_f64();
        say(&format!("[{seconds:5.1} s] {line}\n"));
    };
    let mut signals = Signals::open().map_err(Failure::System)?;
    progress("making certificates and a configuration, starting the fakes");
    let scene = lab::demo::prepare(directory).await?;
    progress("starting the gateway");
    let mut gateway = Gateway::start(&scene.config, &log_file(directory))?;
    let report = tokio::select! {
        report = run(&mut gateway, &scene, &progress) => report?,
        _ = signals.next() => return Err(Failure::Interrupted),
    };
    say(&format!("\n{report}"));
    if options.keep {
        say(&format!("\n{}\n", scene.help()));
        tokio::select! {
            () = scene.keep(&progress) => {}
            _ = signals.next() => {}
            status = gateway.ended() => return Err(ChildError::Ended(status?).into()),
        }
    }
    let stopped = gateway.stop().await;
    if report.is_ok() { Ok(stopped?) } else { Err(Failure::Calls) }
}

async fn run(
    gateway: &mut Gateway,
    scene: &Scene,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, Failure> {
    gateway.ready().await?;
    progress("the gateway is ready");
    tokio::select! {
        report = lab::demo::run(scene, progress) => Ok(report),
        status = gateway.ended() => Err(ChildError::Ended(status?).into()),
    }
}

/// Says what failed, with the end of the gateway's log. The exit code.
fn fail(failure: &Failure, directory: Option<&Path>) -> u8 {
    let mut text = format!("trunkgate demo: {failure}\n");
    if let Some(directory) = directory {
        text.push_str(&format!("The end of the gateway's log:\n{}", end_of_log(directory)));
        text.push_str(&format!("Everything is left in {}\n", directory.display()));
    }
    // Whoever closed stderr does not want to read it.
    let _ = io::stderr().write_all(text.as_bytes());
    EXIT_FAILURE
}

/// Whoever closed stdout does not want to read it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
