//! Connections that go out of use: who holds them, who does not, and for how long.

use super::*;

/// The proxy's own connection in [`World::hear`].
const THEIRS: FlowId = FlowId(7);
/// One that we opened to the proxy.
const OURS: FlowId = FlowId(5);
const EDGE: LocalId = LocalId(0);

fn open(world: &mut World, flow: FlowId, inbound: bool) {
    let opened = Opened { local: EDGE, remote: PROXY.parse().unwrap(), inbound };
    world.core.handle_opened(flow, opened, world.now);
}

fn retire(world: &mut World, flow: FlowId, why: Retired) {
    world.core.retire(flow, why, world.now);
    world.drain();
}

#[test]
fn tr_015_an_answered_call_keeps_its_connection_until_it_ends() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    retire(&mut world, THEIRS, Retired::Replaced);
    assert_eq!(world.retired, [THEIRS]);
    world.wait(Duration::from_secs(600));
    assert_eq!(world.closed, []);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.expect(PROXY, "SIP/2.0 200");
    let bye = world.expect(CARRIER, "BYE ");
    world.hear(CARRIER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(2));
    assert_eq!(world.closed, [THEIRS]);
    assert_eq!(world.core.flows.retiring(), 0);
}

#[test]
fn a_connection_without_calls_is_closed_soon_and_ours_after_what_we_asked_on_it() {
    for (flow, inbound, seconds) in [(THEIRS, true, 1), (OURS, false, 10)] {
        let mut world = World::new();
        open(&mut world, flow, inbound);
        retire(&mut world, flow, Retired::Replaced);
        world.wait(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(world.closed, []);
        world.wait(Duration::from_secs(1));
        assert_eq!(world.closed, [flow]);
        assert_eq!(world.core.flows.len(), 0);
    }
}

#[test]
fn an_invite_that_nobody_answered_yet_keeps_the_connection_it_left_on_but_no_later_one_does() {
    let mut world = World::new();
    open(&mut world, OURS, false);
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.expect(PROXY, "INVITE ");
    retire(&mut world, OURS, Retired::Distrusted);
    world.wait(Duration::from_secs(11));
    // The proxies said nothing in time, so that the attempts were given up one by one.
    assert_eq!(world.closed, []);
    world.wait(Duration::from_secs(35));
    assert_eq!(world.closed, [OURS]);

    open(&mut world, FlowId(6), false);
    retire(&mut world, FlowId(6), Retired::Replaced);
    let later = carrier_invite("+442079460001", PLAIN).replace("c1", "c9");
    world.hear(CARRIER, &later);
    world.expect(PROXY, "INVITE ");
    world.wait(Duration::from_secs(10));
    assert_eq!(world.closed, [OURS, FlowId(6)]);
}

#[test]
fn a_call_loses_a_connection_that_is_not_trusted_any_more_and_goes_on() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    retire(&mut world, THEIRS, Retired::Replaced);
    retire(&mut world, THEIRS, Retired::Distrusted);
    assert!(!world.core.flows.serves(THEIRS));
    world.wait(Duration::from_secs(2));
    assert_eq!(world.closed, [THEIRS]);
    world.hear(CARRIER, &carrier_bye(&ok));
    world.wait(Duration::from_secs(3));
    world.expect(PROXY, "BYE ");
}

#[test]
fn no_call_keeps_a_connection_for_ever() {
    let mut world = World::new();
    answered(&mut world);
    retire(&mut world, THEIRS, Retired::Replaced);
    world.wait(Duration::from_secs(3599));
    assert_eq!(world.closed, []);
    world.wait(Duration::from_secs(2));
    assert_eq!(world.closed, [THEIRS]);
    assert_eq!(world.core.calls(), 1);
}

#[test]
fn a_connection_that_is_ready_after_the_settings_changed_is_retired_when_it_was_begun_before() {
    let mut world = World::new();
    open(&mut world, FlowId(3), true);
    world.core.retire_up_to(EDGE, FlowId(4), Retired::Replaced, world.now);
    for (flow, inbound) in [(FlowId(4), true), (OURS, false)] {
        open(&mut world, flow, inbound);
    }
    world.drain();
    assert_eq!(world.retired, [FlowId(3), FlowId(4)]);
    let ours: Vec<FlowId> = world.core.flows.to(EDGE, PROXY.parse().unwrap()).collect();
    assert_eq!(ours, [OURS]);
    assert_eq!(world.core.flows.opened_at(EDGE, PROXY.parse().unwrap()), Some(world.now));
    world.core.handle_closed(FlowId(3), world.now);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.closed, [FlowId(4)]);
    retire(&mut world, FlowId(99), Retired::Replaced);
    assert_eq!(world.core.flows.retiring(), 0, "nobody knows such a connection");
}
