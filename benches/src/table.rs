//! The whole comparison: what a call costs, how many calls a core carries, and what is left of them
//! under ten times as many. Markdown on stdout, progress on stderr.
//!
//! Every server gets the same: one CPU of its own, the same two ends, the same
//! call (INVITE, 100, 180, 200, ACK, BYE, 200; no hold time). First the price of a call at a modest
//! rate, with the time after the last call in which transactions and ports are let go; then a ladder
//! of rates; then overload. Ours is measured at its rated capacity as well, and judged there.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crate::load::{Load, Place, Plan, Report};
use crate::peer::{self, Gateway, Kamailio, Server, Site};
use crate::verdict::Verdicts;

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

/// Calls at one rate, and what one of them cost with the time after the last one included.
struct Price {
    report: Report,
    cost: Duration,
}

/// What one server showed.
struct Column {
    name: &'static str,
    price: Price,
    resident: u64,
    /// At the rated capacity, and under ten times as much.
    rated: Option<(Price, Report)>,
    /// The highest clean rung, and the first that was not.
    capacity: Option<Report>,
    limit: Option<Report>,
    overload: Option<Report>,
}

/// Measures trunkgate and, where they are installed, Kamailio with and without rtpengine.
///
/// # Errors
/// When a server does not start or the system refuses something.
pub fn run(pace: Pace) -> io::Result<ExitCode> {
    peer::pin_here()?;
    say(&format!("trunkgate: {}", Gateway::binary().display()));
    let mut columns = Vec::new();
    columns.push(column("trunkgate", Some(RATED), pace, |site, load| {
        Gateway::start(&Gateway::binary(), site, load).map(|server| Box::new(server) as _)
    })?);
    if peer::is_installed() {
        columns.push(column("Kamailio + rtpengine", None, pace, |site, load| {
            Kamailio::start(site, true, load).map(|server| Box::new(server) as _)
        })?);
        columns.push(column("Kamailio, no media", None, pace, |site, load| {
            Kamailio::start(site, false, load).map(|server| Box::new(server) as _)
        })?);
    } else {
        say("Kamailio and rtpengine are not installed: their columns are left out");
    }
    io::stdout().write_all(markdown(&columns).as_bytes())?;
    Ok(verdicts(&columns[0]).conclude())
}

fn column(
    name: &'static str,
    rated: Option<f64>,
    pace: Pace,
    start: impl Fn(&Site, &mut Load) -> io::Result<Box<dyn Server>>,
) -> io::Result<Column> {
    let dir = tempfile::TempDir::with_prefix("bench-")?;
    let site = Site::new(dir.path().to_owned(), Place::new()).map_err(io::Error::other)?;
    let mut load = Load::open(site.place, &site.teams.0, &site.teams.1, &site.roots)?;
    let server = start(&site, &mut load)?;
    // Buffers grow, caches fill.
    load.run(&Plan::new(MODEST, Duration::from_secs(2)))?;
    let price = price(name, MODEST, &mut load, &*server, pace)?;
    let resident = server.resident();
    let rated = match rated {
        None => None,
        Some(rate) => {
            let price = self::price(name, rate, &mut load, &*server, pace)?;
            Some((price, overload(name, rate, &mut load, &*server, pace)?))
        }
    };
    let (capacity, limit) = ladder(name, &mut load, &*server, price.cost, pace)?;
    let overload = match &capacity {
        None => None,
        // A server that takes no calls any more has no figures.
        Some(clean) => {
            load.idle(pace.rest)?;
            overload(name, clean.rate, &mut load, &*server, pace).ok()
        }
    };
    Ok(Column { name, price, resident, rated, capacity, limit, overload })
}

fn price(
    name: &str,
    rate: f64,
    load: &mut Load,
    server: &dyn Server,
    pace: Pace,
) -> io::Result<Price> {
    let before = server.cpu();
    let report = load.run(&Plan::new(rate, pace.price))?;
    load.idle(pace.rest)?;
    let cpu = server.cpu() - before;
    say(&format!("{name}: {}", line(&report, cpu, server.resident())));
    let cost = cpu.div_f64(report.answered.max(1) as f64);
    Ok(Price { report, cost })
}

/// Ten times `capacity`, and calls that end in it.
fn overload(
    name: &str,
    capacity: f64,
    load: &mut Load,
    server: &dyn Server,
    pace: Pace,
) -> io::Result<Report> {
    load.idle(SETTLE)?;
    let plan = Plan { standing: STANDING, ..Plan::new(capacity * 10.0, pace.overload) };
    let before = server.cpu();
    let report = load.run(&plan)?;
    let cpu = server.cpu() - before;
    say(&format!("{name}, overload: {}", line(&report, cpu, server.resident())));
    Ok(report)
}

/// What ours must be.
fn verdicts(ours: &Column) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let (price, overload) = ours.rated.as_ref().map(|(p, o)| (p, o)).unzip();
    let what = |text: &str| format!("{text} at {RATED:.0} calls/s");
    let report = price.map(|price| &price.report);
    verdicts.below(&what("CPU of a call"), price.map(|p| millis(p.cost)), 0.3, "ms");
    let lost = report.map(|r| (r.begun - r.answered.min(r.begun)) as f64);
    verdicts.below(&what("calls that failed"), lost, 1.0, "");
    verdicts.below(&what("set-up, 99 of 100"), report.map(|r| millis(r.setup.p99)), 20.0, "ms");
    let clean = ours.capacity.as_ref().map(|report| report.rate);
    verdicts.at_least("highest clean rate", clean, RATED, "/s");
    let what = |text: &str| format!("{text} at {:.0} calls/s", 10.0 * RATED);
    let share = |r: &Report| 100.0 * r.goodput / RATED;
    verdicts.at_least(&what("goodput, of the rated capacity,"), overload.map(share), 90.0, "%");
    let refusal = overload.filter(|r| r.refused > 0).map(|r| millis(r.refusal.p99));
    verdicts.below(&what("refusals, 99 of 100,"), refusal, 50.0, "ms");
    let served = |r: &Report| 100.0 * r.served();
    verdicts.at_least(&what("in-dialog requests served"), overload.map(served), 99.9, "%");
    let served = ours.overload.as_ref().map(served);
    let what = "in-dialog requests served at ten times the highest clean rate";
    verdicts.at_least(what, served, 99.9, "%");
    verdicts
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
    let price = |c: &Column| format!("{:.3} ms", millis(c.price.cost));
    row(&format!("CPU of a call at {MODEST:.0}/s"), &price);
    row("set-up there, p50 / p99", &|c| two(c.price.report.setup.p50, c.price.report.setup.p99));
    row("calls that failed there", &|c| {
        let Report { begun, answered, .. } = c.price.report;
        format!("{} of {begun}", begun - answered.min(begun))
    });
    let rated = |cell: &dyn Fn(&Price, &Report) -> String, c: &Column| {
        c.rated.as_ref().map_or_else(dash, |(price, overload)| cell(price, overload))
    };
    row(&format!("CPU of a call at {RATED:.0}/s"), &|c| {
        rated(&|price, _| format!("{:.3} ms", millis(price.cost)), c)
    });
    row("set-up there, p50 / p99", &|c| {
        rated(&|p, _| two(p.report.setup.p50, p.report.setup.p99), c)
    });
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
    let rated: &dyn Fn(&Column) -> Option<&Report> = &|c| c.rated.as_ref().map(|(_, o)| o);
    let highest: &dyn Fn(&Column) -> Option<&Report> = &|c| c.overload.as_ref();
    for (title, of) in [
        (format!("**overload: ten times {RATED:.0}/s**"), rated),
        ("**overload: ten times the highest clean rate**".to_owned(), highest),
    ] {
        let mut row = |title: &str, cell: &dyn Fn(&Column, &Report) -> String| {
            row(title, &|c| of(c).map_or_else(dash, |report| cell(c, report)));
        };
        row(&title, &|_, r| format!("{:.0} calls/s", r.rate));
        row("goodput, of the highest clean rate", &|c, r| {
            let clean = c.capacity.as_ref().map_or(1.0, |clean| clean.rate);
            format!("{:.0}/s, {:.0} %", r.goodput, 100.0 * r.goodput / clean)
        });
        row("refusals, p99", &|_, r| format!("{}, {:.1} ms", r.refused, millis(r.refusal.p99)));
        row("neither answered nor refused", &|_, r| {
            format!("{:.1} %", 100.0 * r.failed as f64 / r.begun.max(1) as f64)
        });
        row("in-dialog requests served", &|_, r| {
            format!("{} of {}, {:.3} %", r.byes_served, r.byes, 100.0 * r.served())
        });
        row("generator's lateness, p99", &|_, r| format!("{:.1} ms", millis(r.late.p99)));
    }
    row("resident memory after the first part", &|c| format!("{} MiB", c.resident / 1024));
    row(&format!("generator at {MODEST:.0}/s: own CPU of a call, lateness p99"), &|c| {
        let report = &c.price.report;
        two(report.own_cpu.div_f64(report.answered.max(1) as f64), report.late.p99)
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

/// What one core is said to carry, in calls a second; bounds are for this rate and ten times it.
const RATED: f64 = 2500.0;
/// A rate at which every server is at ease.
const MODEST: f64 = 500.0;
/// Between two parts.
const SETTLE: Duration = Duration::from_secs(2);
/// Calls that stand before an overload and end in it.
const STANDING: usize = 400;
