//! The whole core among its peers: the phone system's proxies over connections, carriers over datagrams or connections, on
//! one virtual clock, over a line that loses, delays, doubles and reorders. A seed decides who calls whom, how they
//! answer, hold, cancel, cross each other, fall silent and forget; then everything must have ended well.
//!
//! `TRUNKGATE_SEED=1234` plays one seed and prints what happened, `TRUNKGATE_SEEDS=100000` plays more of them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::stage::{LONGEST_CALL, Stage};

mod agent;
pub(super) mod dice;
mod line;
mod script;
mod session;
mod stage;
mod talk;
mod verdict;
mod witness;

type Tally = BTreeMap<String, usize>;

/// What came of a seed.
struct Outcome {
    faults: Vec<String>,
    trace: Vec<String>,
    /// Calls that were answered, the most messages in one dialog, and what else came about.
    answered: usize,
    most: usize,
    tally: Tally,
}

/// Plays a seed from its first call until nothing is left of any.
fn play(seed: u64, traced: bool) -> Outcome {
    let mut stage = Stage::new(seed, traced);
    let mut faults = Vec::new();
    stage.run(stage.last_event() + LULL);
    stage.judge_talk(&mut faults);
    stage.finish();
    let mut waited = Duration::ZERO;
    while waited < LONGEST_CALL + LULL && (stage.world.core.unfinished() > 0 || waited < AFTERMATH)
    {
        stage.run(STEP);
        waited += STEP;
    }
    stage.run(AFTERMATH);
    // OPTIONS may be under way at any time.
    for _ in 0..100 {
        if stage.world.core.gauges().transactions > 0 {
            stage.run(Duration::from_millis(300));
        }
    }
    stage.judge_end(&mut faults);
    let answered = stage.world.records.iter().filter(|record| record.t_answer.is_some()).count();
    let most = stage.witness.most();
    let mut tally = Tally::new();
    stage.witness.tally(&mut tally);
    let mut trace = stage.take_trace();
    if traced {
        trace.splice(0..0, stage.script.lines());
        trace.extend(stage.world.records.iter().map(|record| format!("{record:?}")));
    }
    Outcome { faults, trace, answered, most, tally }
}

/// As [`play`]; a panic is a fault as well.
fn judge(seed: u64) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| play(seed, false))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let faults = vec![format!("panic: {}", text.unwrap_or_default())];
        Outcome { faults, trace: Vec::new(), answered: 0, most: 0, tally: Tally::new() }
    })
}

/// What came of all seeds.
#[derive(Default)]
struct All {
    bad: BTreeMap<u64, Vec<String>>,
    answered: usize,
    most: (usize, u64),
    tally: Tally,
}

impl All {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.answered += outcome.answered;
        self.most = self.most.max((outcome.most, seed));
        outcome.tally.into_iter().for_each(|(what, n)| *self.tally.entry(what).or_default() += n);
        if !outcome.faults.is_empty() {
            self.bad.insert(seed, outcome.faults);
        }
    }

    fn merge(&mut self, other: Self) {
        self.answered += other.answered;
        self.most = self.most.max(other.most);
        other.tally.into_iter().for_each(|(what, n)| *self.tally.entry(what).or_default() += n);
        self.bad.extend(other.bad);
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_call_ends_well_whatever_the_line_and_its_peers_do() {
    if let Some(seed) = from_environment("TRUNKGATE_SEED") {
        let outcome = play(seed, true);
        eprintln!("{}", outcome.trace.join("\n"));
        assert!(outcome.faults.is_empty(), "seed {seed}: {:#?}", outcome.faults);
        return;
    }
    let seeds = from_environment("TRUNKGATE_SEEDS").unwrap_or(10_000);
    let next = AtomicU64::new(0);
    let work = || {
        let mut all = All::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return all;
            }
            all.add(seed, judge(seed));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all = All::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| all.merge(worker.join().unwrap()));
    });
    let All { bad, answered, most, tally } = all;
    eprintln!("{seeds} seeds, {answered} answered calls, most messages in a dialog: {most:?}");
    eprintln!("{tally:?}");
    if let Some((seed, _)) = bad.first_key_value() {
        for (seed, faults) in bad.iter().take(40) {
            eprintln!("seed {seed}: {faults:?}");
        }
        let trace = catch_unwind(|| play(*seed, true).trace).unwrap_or_default();
        panic!(
            "{} of {seeds} seeds fail, the first is TRUNKGATE_SEED={seed}:\n{}",
            bad.len(),
            trace.join("\n")
        );
    }
    assert!(answered as u64 > seeds / 4, "most calls come about: {answered}");
    // What is to be judged has to come about.
    for what in [
        "re-INVITE 200",
        "REFER 202",
        "INVITE with Replaces 200",
        "our re-INVITE 200",
        "our REFER 202",
        "our NOTIFY 200",
    ] {
        let times = tally.get(what).map_or(0, |times| *times as u64);
        assert!(times >= seeds / 500, "{what}: {times} times in {seeds} seeds");
    }
}

#[test]
fn a_seed_plays_the_same_every_time() {
    for seed in 0..20 {
        assert_eq!(play(seed, true).trace, play(seed, true).trace, "seed {seed}");
    }
}

/// After the last thing of the script: longer than a call rings, than a transfer lasts, and than their ends take.
const LULL: Duration = Duration::from_secs(260);
/// Until the last transactions are over.
const AFTERMATH: Duration = Duration::from_secs(100);
const STEP: Duration = Duration::from_secs(20);
