//! Processes pinned on one CPU, and what `/proc` says of them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The CPU of what is measured.
pub const SERVER_CPU: usize = 0;
/// The CPU of the load generator.
const OWN_CPU: usize = 1;

/// Pins this thread beside what is measured.
///
/// # Errors
/// When there is no second CPU.
pub fn pin_here() -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(OWN_CPU);
    sched_setaffinity(None, &set).map_err(Into::into)
}

/// Tells a gateway to read its configuration again.
///
/// # Errors
/// When there is no such process.
pub fn reload(pid: u32) -> io::Result<()> {
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::NotFound)?;
    kill_process(pid, Signal::HUP).map_err(Into::into)
}

/// One process with its children, ended with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` on the server's CPU; both its outputs go to `log`.
    pub(super) fn start(program: &Path, arguments: &[&str], log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", &SERVER_CPU.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time, its descendants included.
    pub(super) fn cpu(&self) -> Duration {
        let ticks: u64 =
            family(self.child.id()).iter().filter_map(|pid| stat(*pid)).map(|s| s.ticks).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Resident memory in KiB, its descendants included; pages that they share count for each.
    pub(super) fn resident(&self) -> u64 {
        let of = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        };
        family(self.child.id()).iter().filter_map(of).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pids = family(self.child.id());
        for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
            if !self.is_running() {
                break;
            }
            let whom = if signal == Signal::KILL { &pids[..] } else { &pids[..1] };
            for pid in whom.iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
                let _ = kill_process(pid, signal);
            }
            for _ in 0..100 {
                if !self.is_running() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.wait();
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// A line of `/proc/PID/stat`, read after the name in brackets (proc(5)).
fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: number(1)? as u32, ticks: number(11)? + number(12)? })
}

/// A process and its descendants, parents first.
fn family(root: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?.parent))
    });
    let all: Vec<(u32, u32)> = pids.collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}
