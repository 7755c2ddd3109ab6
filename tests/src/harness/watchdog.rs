//! A limit for each test, its failure told at once, and the list of child processes that must not outlive the run.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;
use std::{io, panic, process, thread};

use rustix::process::{Pid, Signal, kill_process};

static CHILDREN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A child process of ours was started.
pub fn adopt(pid: u32) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
}

/// It has ended and was waited for: its id may belong to another by now.
pub fn forget(pid: u32) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != pid);
}

/// Sends a signal to a child of ours.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// Ends the whole run, children included, when it is not dropped in time.
pub struct Watchdog {
    _alive: SyncSender<()>,
}

impl Watchdog {
    pub fn start(test: &str, limit: Duration) -> Self {
        tell_panics();
        let (alive, dropped) = mpsc::sync_channel(0);
        let test = test.to_owned();
        thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("watchdog: {test} did not end within {limit:?}");
                for pid in CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    signal(*pid, Signal::KILL);
                }
                process::exit(124);
            }
        });
        Self { _alive: alive }
    }
}

/// What a test that fails says is captured until the last one has ended; a run that is cut short never shows it. So it is told
/// when it happens, too.
fn tell_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            let thread = thread::current();
            let told: String = what.to_string().chars().take(TOLD).collect();
            let _ = writeln!(io::stderr(), "{}: {told}", thread.name().unwrap_or_default());
            usual(what);
        }));
    });
}

/// As much of it: comparisons of media are long.
const TOLD: usize = 2_000;
