//! R13: calls at one pace for a long time. The resident memory has no slope, and nothing else grows. Half a minute; with
//! `TRUNKGATE_SOAK_MINUTES` as many minutes as it says (`make soak`: 120).

use std::time::{Duration, Instant};

use benches::load::Place;

use super::leak::{Held, make, open, rest};
use crate::harness::watchdog::Watchdog;

/// Calls a second.
const RATE: f64 = 50.0;
/// One sample of the memory for so many calls, of both sides.
const ROUND: Duration = Duration::from_secs(4);
/// Whoever fills pools and maps for the first time is not yet measured.
const WARM_UP: Duration = Duration::from_secs(90);
/// KiB an hour.
const SLOPE: f64 = 1024.0;
/// What a page more or less at either end makes of a slope, in KiB over the whole window.
const NOISE: f64 = 512.0;

#[test]
fn r13_memory_has_no_slope() {
    let minutes = std::env::var("TRUNKGATE_SOAK_MINUTES").map(|text| text.parse::<u64>().unwrap());
    let window = minutes.map_or(Duration::from_secs(30), |n| Duration::from_secs(60 * n));
    let warm_up = WARM_UP.min(window);
    let limit = warm_up + 2 * window + Duration::from_secs(300);
    let _watchdog = Watchdog::start("memory has no slope", limit);
    let dir = tempfile::TempDir::with_prefix("soak-").unwrap();
    let (site, mut load, gateway) = open(dir.path(), Place::second());

    make(&mut load, RATE, warm_up);
    rest(&gateway, &mut load);
    let warm = Held::by(&gateway, &site);
    // The tables of transactions are as full at the first sample as at the last.
    make(&mut load, RATE, warm_up);
    let start = Instant::now();
    let mut samples = Vec::new();
    let (mut begun, mut answered) = (0, 0);
    while start.elapsed() < window {
        let made = make(&mut load, RATE, ROUND);
        begun += made.begun;
        answered += made.answered;
        samples.push((start.elapsed().as_secs_f64() / 3600.0, gateway.resident() as f64));
    }
    rest(&gateway, &mut load);
    let cold = Held::by(&gateway, &site);

    assert_eq!(warm.without_ports(), cold.without_ports(), "threads, other descriptors");
    assert_eq!((cold.udp_sockets, cold.free), (2 * cold.bound, cold.bound), "ports");
    let slope = slope(&samples);
    let hours = window.as_secs_f64() / 3600.0;
    eprintln!("{begun} calls, {answered} answered, {hours:.2} h: {slope:.0} KiB an hour; {cold:?}");
    assert!(slope <= SLOPE + NOISE / hours, "{slope} KiB an hour: {samples:?}");
}

/// Of the line through the samples with the least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|s| s.0), mean(&|s| s.1));
    let both: f64 = samples.iter().map(|s| (s.0 - x) * (s.1 - y)).sum();
    both / samples.iter().map(|s| (s.0 - x).powi(2)).sum::<f64>()
}

#[test]
fn a_slope_is_seen() {
    let samples: Vec<_> = (0..50).map(|n| (f64::from(n), 3.0 * f64::from(n) + 7.0)).collect();
    assert!((slope(&samples) - 3.0).abs() < 1e-9);
}
