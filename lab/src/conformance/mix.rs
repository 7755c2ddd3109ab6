//! Many calls at a time: plays of the rules, drawn from a seed and begun at a rate, over a bad line to the trunks. Each
//! must end as its rule says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::report::Entry;
use super::rule::{Rule, rules};
use super::stage::Stage;
use super::{play, report};
use crate::clock;
use crate::seeded::Seeded;
use crate::wire::Weather;

/// What is to be played.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// At least so many calls.
    pub calls: u64,
    /// Calls begun in a second.
    pub rate: u64,
    /// What is drawn: the order of the plays and the fate of each datagram.
    pub seed: u64,
    /// Of a hundred datagrams to and from trunks, so many are lost and so many are late.
    pub lost: u64,
    /// See `lost`.
    pub late: u64,
}

/// What came of it.
pub struct Mixed {
    /// Each play, in the order of their ends.
    pub entries: Vec<Entry>,
    /// Calls begun by plays.
    pub calls: u64,
}

impl Mixed {
    /// Those that did not end as they should, with their ladders.
    pub fn broken(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !matches!(entry.verdict, report::Verdict::Kept))
    }
}

/// Plays until that many calls have begun and ended.
pub async fn mix(stage: &Arc<Stage>, mix: Mix, progress: &(dyn Fn(&str) + Sync)) -> Mixed {
    let chosen: Vec<&'static Rule> =
        rules().into_iter().filter(|rule| MIXED.contains(&rule.number)).collect();
    stage.pair(progress).await;
    for (n, trunk) in (1..).zip(&stage.trunks) {
        let seed = mix.seed.wrapping_add(n << 32);
        trunk.carrier.weather(Weather { seed, lost: mix.lost, late: mix.late });
    }
    stage.bad_lines.store(mix.lost > 0, Ordering::Relaxed);
    let mut seeded = Seeded::new(mix.seed);
    let mut playing = JoinSet::new();
    let mut entries = Vec::new();
    let begun = clock::now();
    loop {
        let calls = stage.begun.load(Ordering::Relaxed);
        if calls >= mix.calls {
            break;
        }
        let at = usize::try_from(seeded.below(chosen.len() as u64)).unwrap_or_default();
        let (rule, stage) = (chosen[at], Arc::clone(stage));
        playing.spawn(async move { play(rule, &stage).await });
        // A play begins one call at once; what it begins later counts when it does.
        let due = begun + Duration::from_millis((calls + 1) * 1000 / mix.rate.max(1));
        sleep(due.saturating_duration_since(clock::now())).await;
        while let Some(Ok(entry)) = playing.try_join_next() {
            progress(&entry.line());
            entries.push(entry);
        }
    }
    while let Some(Ok(entry)) = playing.join_next().await {
        progress(&entry.line());
        entries.push(entry);
    }
    Mixed { entries, calls: stage.begun.load(Ordering::Relaxed) }
}

/// Rules whose plays are calls, with numbers of their own, and may meet others of their kind: all directions, ringing in
/// each form, forks, refusals, early media, holds, refreshes, keys, transfers, takeovers.
const MIXED: [u16; 30] = [
    17, 21, 22, 24, 25, 26, 27, 28, 30, 31, 34, 35, 37, 40, 42, 43, 45, 46, 47, 48, 49, 50, 51, 55,
    56, 57, 58, 59, 60, 61,
];
