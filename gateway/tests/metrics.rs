//! A gateway that nobody asks for its metrics keeps figures, not measurements. Alone in its process, whose memory it
//! looks at.

#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use std::time::Duration;

use gateway::event::Event;
use gateway::metrics::{Exporter, Meters};

/// Each would take 8 bytes for ever.
const CALLS: u64 = 4_000_000;
/// KiB.
const MOST: u64 = 8 * 1024;

#[tokio::test(flavor = "current_thread")]
async fn measurements_do_not_pile_up_while_nobody_asks() {
    let exporter = Exporter::install().unwrap();
    tokio::spawn(exporter.clone().tend(Duration::from_millis(1)));
    let mut meters = Meters::new();
    let before = resident();
    for call in 1..=CALLS {
        meters.note(&Event::CallAnswered { setup: Duration::from_millis(call % 1000) });
        if call % 10_000 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let grown = resident().saturating_sub(before);
    let text = exporter.render();
    assert!(text.contains(&format!("trunkgate_call_setup_seconds_count {CALLS}")), "{text}");
    assert!(grown < MOST, "{grown} KiB more after {CALLS} calls");
}

/// In KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
