//! What ends an answered call unasked: `max_duration` and `media_timeout`; and silence, which only tells.

use media_relay::{Event as Relay, Sound};

use super::reload::{ends_well, reload};
use super::restore::{restarted, restarted_with};
use super::*;
use crate::event::Silent;

fn limited(tenant: Option<u64>, trunk: Option<u64>) -> config::Config {
    let mut config = config();
    config.tenants[0].max_duration = tenant.map(Duration::from_secs);
    config.trunks[0].max_duration = trunk.map(Duration::from_secs);
    config
}

fn sound(world: &mut World, sides: [Sound; 2]) {
    let session = world.plan().session;
    world.core.handle_media(Relay::Sound { session, sides }, world.now);
    world.drain();
}

/// Both sides got BYE with our Reason, and the record says why.
fn ended(world: &mut World, words: &str, fault: &str) {
    for peer in [CARRIER, PROXY] {
        let bye = world.expect(peer, "BYE ");
        assert_eq!(value(&bye, "Reason"), "Q.850;cause=102");
    }
    let [record] = &world.records[..] else { panic!("{:?}", world.records) };
    assert_eq!((record.cause.text.as_str(), record.cause.fault.as_str()), (words, fault));
    assert_eq!((record.ended_by.as_str(), record.cause.sip), ("gateway", 408));
}

/// The connection died with the process: the Contact is looked up, then the address last heard is tried.
fn reached_again(world: &mut World) {
    world.wait(Duration::from_secs(3));
}

const TOO_LONG: &str = "the call has lasted for max_duration";

#[test]
fn the_shorter_limit_of_both_ends_counts_from_the_answer() {
    for (tenant, trunk) in [(Some(60), Some(90)), (Some(90), Some(60)), (None, Some(60))] {
        let mut world = World::with(limited(tenant, trunk));
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        let invite = world.expect(PROXY, "INVITE ");
        world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", TEAMS_CONTACT, ""));
        // Ringing does not count.
        world.wait(Duration::from_secs(50));
        world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
        let ok = world.expect(CARRIER, "SIP/2.0 200");
        world.hear(CARRIER, &carrier_ack(&ok));
        world.wait(Duration::from_millis(59_900));
        assert!(world.records.is_empty());
        world.wait(Duration::from_millis(200));
        ended(&mut world, TOO_LONG, "operator");
    }
}

#[test]
fn without_a_limit_a_call_goes_on() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.wait(Duration::from_secs(24 * 3600));
    assert!(world.records.is_empty());
    ends_well(&mut world, &ok);
}

#[test]
fn a_reload_changes_no_limit_of_a_call_that_is_up() {
    let mut world = World::with(limited(Some(60), None));
    answered(&mut world);
    reload(&mut world, |config| config.tenants[0].max_duration = None);
    world.wait(Duration::from_secs(61));
    ended(&mut world, TOO_LONG, "operator");
    let mut world = World::new();
    answered(&mut world);
    reload(&mut world, |config| {
        config.tenants[0].max_duration = Some(Duration::from_secs(60));
        config.gateway.media_timeout = Some(Duration::from_secs(60));
    });
    world.wait(Duration::from_secs(3600));
    assert!(world.records.is_empty());
    assert_eq!(world.plan().sides.each_ref().map(|side| side.timeout), [None; 2]);
}

#[test]
fn a_restart_counts_from_the_answer_and_keeps_what_held_then() {
    let mut config = limited(Some(60), None);
    config.gateway.media_timeout = Some(Duration::from_secs(30));
    let mut world = World::with(config);
    answered(&mut world);
    world.wait(Duration::from_secs(40));
    // The next process has no limits in its configuration.
    let mut world = restarted(&world);
    let plan = world.plan();
    let timeout = Some(Duration::from_secs(30));
    assert_eq!(plan.sides.each_ref().map(|side| (side.expect, side.timeout)), [(true, timeout); 2]);
    world.wait(Duration::from_secs(19));
    assert!(world.records.is_empty());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.records.len(), 1);
    reached_again(&mut world);
    ended(&mut world, TOO_LONG, "operator");
}

#[test]
fn a_call_whose_time_passed_while_no_process_was_there_ends_at_once() {
    let mut world = World::with(limited(None, Some(60)));
    answered(&mut world);
    world.wait(Duration::from_secs(30));
    let (mut world, _) = restarted_with(&world, config(), Duration::from_secs(100));
    assert_eq!(world.records.len(), 0);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.records.len(), 1);
    reached_again(&mut world);
    ended(&mut world, TOO_LONG, "operator");
}

/// Whoever calls for help is not cut off; that 112 is an extension somewhere makes no difference to who dials it elsewhere.
#[test]
fn calls_for_help_have_no_limits_and_extensions_have() {
    for extension in [false, true] {
        let mut config = limited(Some(60), Some(60));
        config.gateway.media_timeout = Some(Duration::from_secs(30));
        if extension {
            config.tenants[0].numbers = crate::routing::tests::numbers("+112");
        }
        let mut world = World::with(config);
        if extension {
            world.hear(CARRIER, &carrier_invite("112", PLAIN));
            let invite = world.expect(PROXY, "INVITE ");
            world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
            let ok = world.expect(CARRIER, "SIP/2.0 200");
            world.hear(CARRIER, &carrier_ack(&ok));
        } else {
            world.hear(PROXY, &teams_invite("112", "t1", "", SECURE));
            let invite = world.expect(CARRIER, "INVITE ");
            let contact = "Contact: <sip:c@127.0.0.50:5070>\n";
            world.hear(CARRIER, &reply(&invite, "200 OK", "c1", contact, PLAIN));
            world.expect(PROXY, "SIP/2.0 200");
        }
        let timeout = extension.then(|| Duration::from_secs(30));
        assert_eq!(world.plan().sides.each_ref().map(|side| side.timeout), [timeout; 2]);
        if extension {
            world.wait(Duration::from_secs(61));
            ended(&mut world, TOO_LONG, "operator");
        } else {
            world.wait(Duration::from_secs(30));
            assert!(world.records.is_empty());
        }
    }
}

#[test]
fn peers_are_expected_to_be_heard_once_the_call_is_answered() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "183 Session Progress", "t1", TEAMS_CONTACT, SECURE));
    let plan = world.plan();
    assert_eq!(plan.sides.each_ref().map(|side| side.expect), [false; 2], "early media");
    let codecs = plan.sides.each_ref().map(|side| {
        let g711 = side.codecs.contains(&(8, media_relay::Codec::G711));
        g711 && side.codecs.contains(&(101, media_relay::Codec::Events))
    });
    assert_eq!(codecs, [true; 2]);
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let plan = world.plan();
    assert_eq!(plan.sides.each_ref().map(|side| side.expect), [true; 2]);
}

#[test]
fn silence_is_told_and_ends_nothing() {
    use Sound::{Heard, Silent as Quiet};
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    for (sides, told) in [
        ([Quiet, Heard], Some(Silent::Caller)),
        ([Quiet, Quiet], Some(Silent::Both)),
        ([Heard, Quiet], Some(Silent::Callee)),
        ([Heard, Heard], None),
    ] {
        assert_eq!(Silent::of(sides), told);
        sound(&mut world, sides);
    }
    assert_eq!(world.silent, [Silent::Caller, Silent::Both, Silent::Callee]);
    world.wait(Duration::from_secs(60));
    assert!(world.records.is_empty());
    ends_well(&mut world, &ok);
}

#[test]
fn dead_media_end_the_call_by_the_fault_of_that_side() {
    use Sound::{Dead, Heard, Silent as Quiet};
    for (sides, words, fault) in [
        ([Heard, Dead], "no media came from the callee for media_timeout", "callee"),
        ([Dead, Quiet], "no media came from the caller for media_timeout", "caller"),
    ] {
        let mut world = World::new();
        answered(&mut world);
        sound(&mut world, sides);
        ended(&mut world, words, fault);
        // What the relay says afterwards changes nothing.
        sound(&mut world, [Heard, Heard]);
        assert_eq!(world.records.len(), 1);
    }
}
