//! Thousands of short calls leave nothing behind: no memory, port, transaction, descriptor or thread,
//! by the gateway's own figures and by what the kernel says of it. 2,000 calls; with
//! `TRUNKGATE_LEAK_CALLS` as many as it says (`make soak`: 100,000).

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use benches::load::{Direction, Load, Place, Plan, Report};
use benches::peer::{Site, configure};

use crate::harness::gateway::Gateway;
use crate::harness::watchdog::Watchdog;

/// Calls of the small form, and a second of them.
const CALLS: u64 = 2000;
const RATE: f64 = 250.0;
/// What 100,000 calls may add to the resident memory, in KiB.
const GROWTH: u64 = 4 * 1024;
/// And what any number of them may.
const SLACK: u64 = 1024;
/// Finished transactions are kept for 32 s (RFC 3261 §17, timers D, H, J).
const MEMORY: Duration = Duration::from_secs(34);

#[test]
fn r14_short_calls_leave_nothing_behind() {
    let calls = std::env::var("TRUNKGATE_LEAK_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let run = Duration::from_secs_f64(calls as f64 / RATE);
    let warm_up = run.min(Duration::from_secs(60));
    let limit = warm_up + run + 4 * MEMORY + Duration::from_secs(120);
    let _watchdog = Watchdog::start("short calls leave nothing behind", limit);
    let dir = tempfile::TempDir::with_prefix("leak-").unwrap();
    let (site, mut load, gateway) = open(dir.path(), Place::new());

    let before = make(&mut load, RATE, warm_up);
    rest(&gateway, &mut load);
    let warm = Held::by(&gateway, &site);
    let after = make(&mut load, RATE, run);
    rest(&gateway, &mut load);
    let cold = Held::by(&gateway, &site);

    assert_eq!(warm.without_ports(), cold.without_ports(), "threads, other descriptors");
    for held in [&warm, &cold] {
        assert_eq!(held.udp_sockets, 2 * held.bound, "sockets of ports, by the kernel and by us");
        assert_eq!(held.free, held.bound, "pairs that nobody gave back");
    }
    let grown = cold.resident.saturating_sub(warm.resident);
    let most = SLACK + GROWTH * after.begun / 100_000;
    assert!(grown <= most, "{grown} KiB more after {after:?}: {warm:?}, {cold:?}");
    let answered = before.answered + after.answered;
    gateway.until("all CDRs", || lines(&gateway.cdr_dir()) >= answered);
    let records = gateway.records();
    let ids: HashSet<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), records.len(), "CDRs that came twice");
    let good = records.iter().filter(|record| record["cause"]["sip"] == 200).count();
    assert_eq!(good as u64, answered, "CDRs of answered calls");
    assert!(records.len() as u64 <= before.begun + after.begun, "more CDRs than calls");
    // For whoever runs it by hand with --nocapture.
    eprintln!("{after:?}: {grown} KiB more of {most}: {warm:?}, {cold:?}; {} CDRs", records.len());
}

/// A gateway between the two ends of a load.
pub(super) fn open(dir: &Path, place: Place) -> (Site, Load, Gateway) {
    let site = Site::new(dir.to_owned(), place).unwrap();
    let mut load = Load::open(site.place, &site.teams.0, &site.teams.1, &site.roots).unwrap();
    let config = configure(&site.dir, &site, "warn").unwrap();
    let gateway = Gateway::start(&config, dir.join("state"), site.place.control(8080));
    let up = Instant::now();
    while !load.is_connected() {
        assert!(up.elapsed() < Duration::from_secs(10), "no connection:\n{}", gateway.log());
        load.idle(Duration::from_millis(100)).unwrap();
    }
    load.idle(Duration::from_millis(500)).unwrap();
    (site, load, gateway)
}

#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) begun: u64,
    pub(super) answered: u64,
    /// By a 503.
    refused: u64,
}

/// Calls from both sides for so long. A machine that is busy with other tests may have to refuse some; none fails.
pub(super) fn make(load: &mut Load, rate: f64, window: Duration) -> Made {
    let half = |direction| Plan { direction, ..Plan::new(rate, window / 2) };
    let mut made = Made::default();
    for direction in [Direction::FromCarrier, Direction::FromTeams] {
        let report: Report = load.run(&half(direction)).unwrap();
        assert_eq!(report.failed, 0, "{direction:?}: {report:?}");
        assert_eq!(report.answered + report.refused, report.begun, "{direction:?}: {report:?}");
        assert_eq!(report.byes_served, report.answered, "{direction:?}: {report:?}");
        assert!(report.answered * 10 >= report.begun * 9, "{direction:?}: {report:?}");
        made.begun += report.begun;
        made.answered += report.answered;
        made.refused += report.refused;
    }
    made
}

/// Until all that lives for a while after a call is gone.
pub(super) fn rest(gateway: &Gateway, load: &mut Load) {
    load.idle(MEMORY).unwrap();
    let start = Instant::now();
    loop {
        let held = ["trunkgate_transactions", "trunkgate_active_calls", "trunkgate_media_sessions"]
            .map(|name| gauge(gateway, name));
        if held == [0; 3] {
            return;
        }
        // Some transactions are those of OPTIONS, which come and go.
        assert!(start.elapsed() < MEMORY, "transactions, calls, sessions left: {held:?}");
        load.idle(Duration::from_millis(200)).unwrap();
    }
}

/// What the gateway holds.
#[derive(Debug)]
pub(super) struct Held {
    /// KiB.
    resident: u64,
    threads: u64,
    descriptors: u64,
    /// Sockets on the addresses of media, by the kernel's table.
    pub(super) udp_sockets: u64,
    /// Pairs, by the gateway's figures.
    pub(super) bound: u64,
    pub(super) free: u64,
}

impl Held {
    pub(super) fn by(gateway: &Gateway, site: &Site) -> Self {
        // The gauges of a moment; ports are still being bound for some time after a burst.
        let pairs = || gauge(gateway, "trunkgate_bound_port_pairs");
        gateway.until("steady", || {
            let last = pairs();
            thread::sleep(Duration::from_millis(1100));
            pairs() == last
        });
        // The fewest of half a second: what asked for the figures above may still be closing.
        let of = |what: &str| {
            let count = |_| {
                thread::sleep(Duration::from_millis(50));
                fs::read_dir(format!("/proc/{}/{what}", gateway.pid())).unwrap().count()
            };
            (0..10).map(count).min().unwrap()
        };
        let media = [site.place.edge(), site.place.realm()];
        Self {
            resident: gateway.resident(),
            threads: of("task") as u64,
            descriptors: of("fd") as u64,
            udp_sockets: media.iter().map(|address| udp_sockets(*address)).sum(),
            bound: pairs(),
            free: gauge(gateway, "trunkgate_free_port_pairs"),
        }
    }

    /// Threads, and descriptors that are not ports'.
    pub(super) fn without_ports(&self) -> (u64, u64) {
        (self.threads, self.descriptors - self.udp_sockets)
    }
}

fn gauge(gateway: &Gateway, name: &str) -> u64 {
    let (status, text) = gateway.get("/metrics");
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse::<f64>().unwrap() as u64
}

/// UDP sockets on an address, but for the port of signalling. The kernel's table is read in pieces, each by its place:
/// while sockets of others come and go, a reading may pass over some, or show some twice. So each counts once that any of
/// a few readings shows.
fn udp_sockets(address: SocketAddr) -> u64 {
    let SocketAddr::V4(v4) = address else { panic!("{address}") };
    let ip = format!("{:08X}:", u32::from_le_bytes(v4.ip().octets()));
    let signalling = format!("{ip}{:04X}", v4.port());
    let mut sockets = HashSet::new();
    for _ in 0..5 {
        let table = fs::read_to_string("/proc/net/udp").unwrap();
        let local = table.lines().filter_map(|line| line.split_whitespace().nth(1));
        let ours = local.filter(|local| local.starts_with(&ip) && *local != signalling);
        sockets.extend(ours.map(str::to_owned));
        thread::sleep(Duration::from_millis(20));
    }
    sockets.len() as u64
}

fn lines(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.map(|file| fs::read_to_string(file.path()).unwrap().lines().count() as u64).sum()
}
