//! Minutes of a day: counted from the answer, for both ends, over restarts.

use config::Minutes;

use super::restore::restarted_with;
use super::*;
use crate::failure::RETRY_AFTER;

const MINUTE: Duration = Duration::from_secs(60);
const FRANCE: &str = "+33198765432";

/// t001 receives five minutes a day, the rest of the world by carrier-a.
fn limited() -> config::Config {
    let mut config = config();
    config.tenants[0].limits = config::Limits::default();
    config.tenants[0].limits.minutes = Minutes { received: Some(5), ..Minutes::default() };
    config
}

/// Another call of the carrier to t001.
fn calls_again(world: &mut World, name: &str) {
    let invite = carrier_invite("+442079460001", PLAIN);
    world.hear(
        CARRIER,
        &invite
            .replace("z9hG4bKc1", &format!("z9hG4bK{name}"))
            .replace(": c1", &format!(": {name}")),
    );
}

/// It is let in, and nobody answers.
fn fits(world: &mut World, name: &str) {
    calls_again(world, name);
    let invite = world.expect(PROXY, "INVITE sip:+442079460001@sip.teams.test");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "b", "", ""));
    world.expect(CARRIER, "SIP/2.0 486");
}

fn refused(world: &mut World, name: &str) {
    calls_again(world, name);
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert_eq!(value(&refused, "Retry-After"), RETRY_AFTER);
    let record = world.records.last().unwrap();
    assert_eq!(record.cause.text, Cause::MinutesSpent.to_string());
    assert_eq!(record.cause.fault, "operator");
}

#[test]
fn minutes_are_spent_while_calls_last_and_no_call_is_cut() {
    let mut world = World::with(limited());
    let (_, ok) = answered(&mut world);
    world.wait(5 * MINUTE - Duration::from_secs(5));
    fits(&mut world, "d2");
    world.wait(Duration::from_secs(6));
    refused(&mut world, "d3");
    assert!(world.core.calls() >= 1, "the first goes on");
    // The other way is free.
    world.hear(PROXY, &teams_invite(FRANCE, "o1", "", SECURE));
    world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
    refused(&mut world, "d4");
    world.wait(24 * 60 * MINUTE);
    fits(&mut world, "d5");
}

#[test]
fn what_was_spent_counts_after_a_restart_and_so_does_what_goes_on() {
    let mut world = World::with(limited());
    let (_, ok) = answered(&mut world);
    world.wait(5 * MINUTE - Duration::from_secs(5));
    // It goes on in the next process, by the time of its answer.
    let (mut next, restored) = restarted_with(&world, limited(), Duration::from_millis(500));
    assert_eq!(restored.resumed, 1);
    fits(&mut next, "e1");
    next.wait(Duration::from_secs(6));
    refused(&mut next, "e2");
    // It is over in the first one: the next has it from what was kept.
    world.hear(CARRIER, &carrier_bye(&ok));
    let kept = world.core.spent();
    assert_eq!(kept.iter().map(|spent| &*spent.end).collect::<Vec<_>>(), ["tenant t001"]);
    assert_eq!((kept[0].made, kept[0].received / 1000), (0, 295));
    for (minutes, room) in [(4, false), (5, true)] {
        let mut config = limited();
        config.tenants[0].limits.minutes.received = Some(minutes);
        let (mut next, _) = restarted_with(&world, config, Duration::from_secs(1));
        next.core.learn_spent(&kept, next.now);
        // Told again, it counts once.
        next.core.learn_spent(&kept, next.now);
        match room {
            true => fits(&mut next, "f1"),
            false => refused(&mut next, "f1"),
        }
    }
}
