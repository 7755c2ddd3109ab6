//! The whole comparison: what a call costs, how many calls a core carries, and what is left of them
//! under ten times as many. Markdown on stdout, progress on stderr.
//!
//! Every server gets the same: one CPU of its own, the same two ends, the same
//! call (INVITE, 100, 180, 200, ACK, BYE, 200; no hold time). First the price of a call at a modest
//! rate, with the time after the last call in which transactions and ports are let go; then a ladder
//! of rates; then overload.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::time::Duration;

use crate::load::{Load, Place, Plan, Report};
use crate::peer::{self, Gateway, Kamailio, Server, Site};

/// How long the parts take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Calls for the price.
    pub price: Duration,
    /// After them: timers J, K and D end.
    pub rest: Duration,
    /// One rung of the ladder.
    pub rung: Duration,
    /// Overload.
    pub overload: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            price: Duration::from_secs(15),
            rest: Duration::from_secs(34),
            rung: Duration::from_secs(4),
            overload: Duration::from_secs(8),
        }
    }
}

/// What one server showed.
struct Column {
    name: &'static str,
    price: Report,
    /// Of one call, time after the last one included.
    cost: Duration,
    resident: u64,
    /// The highest clean rung, and the first that was not.
    capacity: Option<Report>,
    limit: Option<Report>,
    overload: Option<Report>,
}

/// Measures trunkgate and, where they are installed, Kamailio with and without rtpengine.
///
/// # Errors
/// When a server does not start or the system refuses something.
pub fn run(pace: Pace) -> io::Result<()> {
    peer::pin_here()?;
    let mut columns = Vec::new();
    columns.push(column("trunkgate", 500.0, pace, |site, load| {
        Gateway::start(&Gateway::binary(), site, load).map(|server| Box::new(server) as _)
    })?);
    if peer::is_installed() {
        columns.push(column("Kamailio + rtpengine", 500.0, pace, |site, load| {
            Kamailio::start(site, true, load).map(|server| Box::new(server) as _)
        })?);
        columns.push(column("Kamailio, no media", 500.0, pace, |site, load| {
            Kamailio::start(site, false, load).map(|server| Box::new(server) as _)
        })?);
    } else {
        say("Kamailio and rtpengine are not installed: their columns are left out");
    }
    io::stdout().write_all(markdown(&columns).as_bytes())
}

fn column(
    name: &'static str,
    rate: f64,
    pace: Pace,
    start: impl Fn(&Site, &mut Load) -> io::Result<Box<dyn Server>>,
) -> io::Result<Column> {
    let dir = tempfile::TempDir::with_prefix("bench-")?;
    let site = Site::new(dir.path().to_owned(), Place::new()).map_err(io::Error::other)?;
    let mut load = Load::open(site.place, &site.teams.0, &site.teams.1, &site.roots)?;
    let server = start(&site, &mut load)?;
    // Buffers grow, caches fill.
    load.run(&Plan::new(rate, Duration::from_secs(2)))?;
    let before = server.cpu();
    let price = load.run(&Plan::new(rate, pace.price))?;
    load.idle(pace.rest)?;
    let cpu = server.cpu() - before;
    say(&format!("{name}: {}", line(&price, cpu, server.resident())));
    let cost = cpu.div_f64(price.answered.max(1) as f64);
    let resident = server.resident();
    let (capacity, limit) = ladder(name, &mut load, &*server, cost, pace)?;
    let overload = match &capacity {
        None => None,
        Some(clean) => {
            load.idle(SETTLE)?;
            let plan = Plan { standing: STANDING, ..Plan::new(clean.rate * 10.0, pace.overload) };
            let before = server.cpu();
            let report = load.run(&plan);
            if let Ok(report) = &report {
                let cpu = server.cpu() - before;
                say(&format!("{name}, overload: {}", line(report, cpu, server.resident())));
            }
            report.ok()
        }
    };
    Ok(Column { name, price, cost, resident, capacity, limit, overload })
}

/// Climbs from half of what the price promises, in steps of a tenth of that; the last clean rung and
/// the first that was not, each tried twice.
fn ladder(
    name: &str,
    load: &mut Load,
    server: &dyn Server,
    cost: Duration,
    pace: Pace,
) -> io::Result<(Option<Report>, Option<Report>)> {
    let promised = 1.0 / cost.as_secs_f64().max(1e-5);
    let step = (promised / 1000.0).round().max(1.0) * 100.0;
    let mut rate = (promised * 0.5 / 100.0).round() * 100.0;
    let mut clean: Option<Report> = None;
    loop {
        let mut tries = [None, None];
        for report in &mut tries {
            let before = server.cpu();
            let mut tried = load.run(&Plan::new(rate, pace.rung))?;
            tried.server_cpu = server.cpu() - before;
            say(&format!("{name}: {}", line(&tried, tried.server_cpu, server.resident())));
            let good = tried.is_clean();
            *report = Some(tried);
            if good {
                break;
            }
            load.idle(SETTLE)?;
        }
        let [first, second] = tries;
        match second.or(first) {
            Some(report) if report.is_clean() => clean = Some(report),
            failed if clean.is_some() || rate <= step => return Ok((clean, failed)),
            // Began too high.
            _ => {
                rate = (rate / 2.0 / 100.0).round().max(1.0) * 100.0;
                continue;
            }
        }
        rate += step;
    }
}

fn markdown(columns: &[Column]) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "\n{}\n", machine());
    let mut row = |title: &str, cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    };
    row("", &|c| c.name.to_owned());
    row("---", &|_| "---:".to_owned());
    row("CPU of a call", &|c| format!("{:.3} ms", millis(c.cost)));
    row("measured at", &|c| format!("{:.0} calls/s, {} calls", c.price.rate, c.price.answered));
    row("calls that failed there", &|c| (c.price.begun - c.price.answered).to_string());
    row("set-up there, p50 / p99", &|c| two(c.price.setup.p50, c.price.setup.p99));
    row("highest clean rate", &|c| {
        c.capacity.as_ref().map_or("none".to_owned(), |r| format!("{:.0}/s", r.rate))
    });
    row("set-up there, p50 / p99", &|c| {
        c.capacity.as_ref().map_or_else(dash, |r| two(r.setup.p50, r.setup.p99))
    });
    row("CPU of a call there", &|c| {
        let each = |r: &Report| r.server_cpu.div_f64(r.answered.max(1) as f64);
        c.capacity.as_ref().map_or_else(dash, |r| format!("{:.3} ms", millis(each(r))))
    });
    row("first rate that is not clean", &|c| {
        c.limit.as_ref().map_or_else(dash, |r| {
            let lost = 100.0 * (r.begun - r.answered.min(r.begun)) as f64 / r.begun.max(1) as f64;
            format!("{:.0}/s: p99 {:.1} ms, {lost:.1} % lost", r.rate, millis(r.setup.p99))
        })
    });
    let overload = |cell: &dyn Fn(&Column, &Report) -> String, c: &Column| {
        c.overload.as_ref().map_or_else(dash, |report| cell(c, report))
    };
    row("overload", &|c| overload(&|_, r| format!("{:.0} calls/s", r.rate), c));
    row("goodput", &|c| {
        let share = |c: &Column, r: &Report| {
            let clean = c.capacity.as_ref().map_or(1.0, |clean| clean.rate);
            format!("{:.0}/s, {:.0} %", r.goodput, 100.0 * r.goodput / clean)
        };
        overload(&share, c)
    });
    row("refusals, p99", &|c| {
        overload(&|_, r| format!("{}, {:.1} ms", r.refused, millis(r.refusal.p99)), c)
    });
    row("neither answered nor refused", &|c| {
        overload(&|_, r| format!("{:.1} %", 100.0 * r.failed as f64 / r.begun.max(1) as f64), c)
    });
    row("in-dialog requests served", &|c| {
        overload(&|_, r| format!("{:.2} % of {}", 100.0 * r.served(), r.byes), c)
    });
    row("resident memory after the first part", &|c| format!("{} MiB", c.resident / 1024));
    row("generator: own CPU of a call, lateness p99", &|c| {
        let own = c.price.own_cpu.div_f64(c.price.answered.max(1) as f64);
        two(own, c.price.late.p99)
    });
    text
}

/// The processor and the kernel.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default();
    format!(
        "{model}, {count} CPUs, Linux {}; server on one CPU, generator on the other; load average at the end {load}.",
        kernel.trim()
    )
}

/// A report on one line.
#[must_use]
pub fn line(report: &Report, cpu: Duration, resident: u64) -> String {
    let Report { rate, begun, answered, goodput, refused, failed, byes, byes_served, .. } = report;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (*answered).max(1) as f64;
    let mut text = format!("{rate:.0}/s begun {begun} answered {answered} goodput {goodput:.0}/s");
    let _ = write!(
        text,
        " refused {refused} failed {failed}{} bye {byes_served}/{byes} repeats {} | set-up p50 {:.2} p99 {:.2} max {:.1} ms \
         | refusal p99 {:.1} ms | bye p99 {:.2} ms | late p99 {:.2} max {:.1} ms | server {:.0} us/call, own {:.0} us/call, {resident} KiB",
        report.first_failure.map(|status| format!(" (first {status})")).unwrap_or_default(),
        report.repeated,
        millis(report.setup.p50),
        millis(report.setup.p99),
        millis(report.setup.most),
        millis(report.refusal.p99),
        millis(report.farewell.p99),
        millis(report.late.p99),
        millis(report.late.most),
        each(cpu),
        each(report.own_cpu),
    );
    text
}

fn two(a: Duration, b: Duration) -> String {
    format!("{:.2} / {:.2} ms", millis(a), millis(b))
}

fn dash() -> String {
    "-".to_owned()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Between two parts.
const SETTLE: Duration = Duration::from_secs(2);
/// Calls that stand before an overload and end in it.
const STANDING: usize = 400;
