//! The rules of Direct Routing, TR-001 to TR-076, played against an SBC on the wire, each with a verdict.
//!
//! A [`Stage`] has the fake ends around the SBC: one of its own beside the gateway ([`set`]), or one for somebody else's
//! SBC ([`Target`]). Each rule is one function of a chapter below. It plays on the stage, says what it sent and what came
//! back, and judges what was captured by the lab's own reader. [`run`] plays many at once; [`Report`] says of each rule
//! whether it was kept, was broken, or could not be judged, and why. What cannot be seen from outside has its reason in
//! the table, and the name of the test that shows it of our own gateway.

mod answers;
mod bench;
mod emergency;
mod forms;
mod identity;
mod mix;
mod options;
mod outside;
mod provisional;
mod report;
mod rule;
mod scene;
mod sdp;
mod session;
mod stage;
mod target;
mod tls;
mod transfer;
mod whole;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use mix::{Mix, Mixed, mix};
pub use report::{Entry, Report, Step, Verdict, list};
pub use rule::{Rule, rules};
pub use scene::{Own, set};
pub use stage::Stage;
pub use target::{Target, TargetError, TargetTrunk};

use bench::Bench;
use rule::{How, When};

/// Plays the rules with these numbers, all if there are none, and judges them. `progress` gets a line for each.
pub async fn run(stage: &Arc<Stage>, numbers: &[u16], progress: &(dyn Fn(&str) + Sync)) -> Report {
    let chosen = |rule: &&'static Rule| numbers.is_empty() || numbers.contains(&rule.number);
    let chosen: Vec<&'static Rule> = rules().into_iter().filter(chosen).collect();
    stage.pair(progress).await;
    let mut entries = Vec::new();
    let mut playing = JoinSet::new();
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    // What takes long begins first and has a seat of its own.
    for (when, seated) in [(When::Throughout, false), (When::Any, true)] {
        for rule in chosen.iter().filter(|rule| rule.when() == Some(when)) {
            let (rule, stage, seats) = (*rule, Arc::clone(stage), Arc::clone(&seats));
            playing.spawn(async move {
                let seat = if seated { seats.acquire_owned().await.ok() } else { None };
                let entry = play(rule, &stage).await;
                drop(seat);
                (when, entry)
            });
        }
    }
    let mut left = chosen.iter().filter(|rule| rule.when() == Some(When::Any)).count();
    let take = |entry: Entry, entries: &mut Vec<Entry>| {
        progress(&entry.line());
        entries.push(entry);
    };
    while left > 0
        && let Some(played) = playing.join_next().await
    {
        let Ok((when, entry)) = played else { break };
        left -= usize::from(when == When::Any);
        take(entry, &mut entries);
    }
    // Backwards: the last of them waits until the first name of Teams is well again.
    for rule in chosen.iter().rev().filter(|rule| rule.when() == Some(When::Alone)) {
        take(play(rule, stage).await, &mut entries);
    }
    while let Some(Ok((_, entry))) = playing.join_next().await {
        take(entry, &mut entries);
    }
    for rule in chosen.iter().filter(|rule| rule.when() == Some(When::Last)) {
        take(play(rule, stage).await, &mut entries);
    }
    entries.extend(chosen.iter().filter_map(|rule| match &rule.how {
        How::Played { .. } => None,
        How::Unseen(why) => Some(Entry::unseen(rule, why)),
    }));
    entries.sort_by_key(|entry| entry.rule.number);
    Report { entries, own: stage.own }
}

async fn play(rule: &'static Rule, stage: &Arc<Stage>) -> Entry {
    let How::Played { play, .. } = &rule.how else { return Entry::unseen(rule, "") };
    let mut bench = Bench::new(Arc::clone(stage));
    let judged = play(&mut bench).await;
    bench.entry(rule, judged)
}

/// Rules that are played at a time: a small machine keeps the time of all their media.
const AT_ONCE: usize = 10;
