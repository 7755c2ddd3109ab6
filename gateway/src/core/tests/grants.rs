//! Isolation: whatever is configured and whoever calls, no call leaves by a trunk, reaches a tenant, or shows a number of a
//! caller or of who sent it on, that its configuration does not grant. Random configurations and calls go through the whole
//! core; what left is compared with a slow, obvious reading of the same configuration (`grants/reference.rs`).
//!
//! `TRUNKGATE_GRANTS=5000` plays so many calls, `TRUNKGATE_SEED=1234` those of one configuration.

use super::simulation::dice::Dice;
use super::*;

mod ownership;
mod reference;
mod world;

use reference::{Outcome, outcome};
use world::{Call, random_call, random_config};

/// What came of a call in the core: the ends that got an INVITE, in order, what they were shown, and the final status.
fn played(config: &config::Config, call: &Call) -> Outcome {
    let mut world = World::with(config.clone());
    world.sent.clear();
    let from = call.source(config);
    world.hear(&from, &call.invite(config));
    let mut seen = Outcome::default();
    for _ in 0..32 {
        let invite = world.sent.iter().position(|(target, text)| {
            text.starts_with("INVITE ") && target.remote.to_string() != from
                || text.starts_with("INVITE ") && !text.contains(&call.call_id())
        });
        let Some(at) = invite else { break };
        let (target, invite) = world.sent.remove(at).unwrap();
        seen.note(config, &target, &invite);
        world.hear(
            &target.remote.to_string(),
            &reply(&invite, "503 Service Unavailable", "z", "", ""),
        );
    }
    let answer = world.sent.iter().find(|(target, text)| {
        target.remote.to_string() == from
            && text.starts_with("SIP/2.0 ")
            && !text.starts_with("SIP/2.0 100")
            && value(text, "Call-ID") == call.call_id()
    });
    seen.status = answer.map(|(_, text)| text[8..11].parse().unwrap());
    seen
}

fn play(seed: u64, calls: u64) -> [u64; 4] {
    let mut dice = Dice::new(seed);
    let config = random_config(&mut dice);
    let mut tally = [0; 4];
    for at in 0..calls {
        let call = random_call(&config, &mut dice);
        let (seen, wanted) = (played(&config, &call), outcome(&config, &call));
        assert_eq!(seen, wanted, "seed {seed}, call {at}: {call:#?} in {config:#?}");
        tally[0] += u64::from(!seen.hops.is_empty());
        tally[1] += u64::from(seen.hops.is_empty());
        tally[2] += u64::from(wanted.replaced);
        tally[3] += u64::from(seen.hops.iter().any(|hop| !hop.diverted.is_empty()));
    }
    tally
}

#[test]
fn at_04_nobody_gets_what_the_configuration_does_not_grant() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("TRUNKGATE_SEED") {
        play(seed, CALLS);
        return;
    }
    let seeds = number("TRUNKGATE_GRANTS").unwrap_or(100_000) / CALLS;
    let mut sum = [0; 4];
    for seed in 0..seeds {
        for (all, some) in sum.iter_mut().zip(play(seed, CALLS)) {
            *all += some;
        }
    }
    let [placed, refused, replaced, diverted] = sum;
    println!("{placed} placed, {refused} refused, {replaced} in another name, {diverted} diverted");
    // All of it comes about, and often.
    assert!(sum.iter().all(|some| *some >= seeds * CALLS / 40), "{sum:?}");
}

/// In each configuration.
const CALLS: u64 = 10;
