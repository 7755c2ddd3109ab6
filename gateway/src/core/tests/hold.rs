//! Calls on hold where somebody has music for it.

use super::reload::reload;
use super::restore::{restarted_with, resumed};
use super::*;

/// Of the trunk that the calls come from, or of the tenant; see [`routes`] for how long each is.
fn with_music(trunk: Option<&str>, tenant: Option<&str>) -> config::Config {
    let mut config = config();
    config.trunks[0].hold_music = trunk.map(Into::into);
    config.tenants[0].hold_music = tenant.map(Into::into);
    config
}

/// A re-INVITE of Teams with this direction.
fn teams_offers(world: &mut World, invite: &str, cseq: u32, direction: &str) -> String {
    let sdp = SECURE.replace("o=- 1 1", &format!("o=- 1 {cseq}")) + direction + "\n";
    world.hear(PROXY, &in_dialog(invite, "INVITE", cseq, "t1", TEAMS_CONTACT, &sdp));
    let answer = world.expect(PROXY, "SIP/2.0 200");
    world.hear(PROXY, &in_dialog(invite, "ACK", cseq, "t1", "", ""));
    answer
}

/// The length of the clip that each side hears by the last plan: the carrier's, then Teams'.
fn heard(world: &World) -> [Option<usize>; 2] {
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    lengths(plan)
}

fn lengths(plan: &media_relay::Plan) -> [Option<usize>; 2] {
    plan.sides
        .each_ref()
        .map(|side| Some(side.play.as_ref()?.clip.bytes(side.play.as_ref()?.law).len()))
}

#[test]
fn tr_051_teams_hold_is_music_for_a_trunk_that_has_some() {
    for (trunk, tenant, length) in
        [(Some("own"), None, 3), (Some("own"), Some("tenant"), 3), (None, Some("tenant"), 6)]
    {
        let mut world = World::with(with_music(trunk, tenant));
        let (invite, _) = answered(&mut world);
        for cseq in [2, 4] {
            let held = teams_offers(&mut world, &invite, cseq, "a=inactive");
            assert!(held.contains("a=inactive"), "{held}");
            assert_eq!(heard(&world), [Some(length), None]);
            let back = teams_offers(&mut world, &invite, cseq + 1, "a=sendrecv");
            assert!(back.contains("a=sendrecv"), "{back}");
            assert_eq!(heard(&world), [None, None]);
        }
        world.nothing_but(CARRIER, &[]);
    }
}

#[test]
fn tr_050_a_trunk_s_hold_is_music_for_a_tenant_that_has_some() {
    let mut world = World::with(with_music(Some("own"), Some("tenant")));
    let (_, ok) = answered(&mut world);
    let hold = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
    world.hear(CARRIER, &carrier_reinvite(&ok, 2, &hold));
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert!(answer.contains("a=recvonly"), "{answer}");
    assert_eq!(heard(&world), [None, Some(6)]);
    world.nothing_but(PROXY, &["OPTIONS", "ACK"]);
    // The tenant has none: it is told.
    let mut world = World::with(with_music(Some("own"), None));
    let (_, ok) = answered(&mut world);
    world.hear(CARRIER, &carrier_reinvite(&ok, 2, &hold));
    assert!(world.expect(PROXY, "INVITE sip:api-du-a").contains("a=inactive"));
}

#[test]
fn r01_music_goes_on_in_the_next_process_and_ends_there() {
    let music = || with_music(Some("own"), None);
    let mut world = World::with(music());
    let (invite, _) = answered(&mut world);
    teams_offers(&mut world, &invite, 2, "a=inactive");
    let later = Duration::from_millis(500);
    let (mut next, restored) = restarted_with(&world, music(), later);
    assert_eq!(restored, Restored { resumed: 1, cut: 0 });
    assert_eq!(lengths(resumed(&next).0), [Some(3), None]);
    teams_offers(&mut next, &invite, 3, "a=sendrecv");
    assert_eq!(heard(&next), [None, None]);
    next.nothing_but(CARRIER, &[]);
    // Where the next one has no music, the trunk is told nothing but hears nothing, and the talk is offered again.
    let (mut next, _) = restarted_with(&world, config(), later);
    let (plan, _) = resumed(&next);
    assert!(lengths(plan) == [None, None] && plan.sides[0].send);
    let sdp = SECURE.replace("o=- 1 1", "o=- 1 3");
    next.hear(PROXY, &in_dialog(&invite, "INVITE", 3, "t1", TEAMS_CONTACT, &sdp));
    next.wait(Duration::from_secs(3));
    assert!(next.expect(CARRIER, "INVITE ").contains("a=sendrecv"));
}

/// A process that was started again says that it is ready before it has read its music.
#[test]
fn r01_music_that_is_read_late_is_heard_by_who_is_held_then() {
    let mut world = World::with(with_music(Some("own"), None));
    let (invite, _) = answered(&mut world);
    teams_offers(&mut world, &invite, 2, "a=inactive");
    let later = Duration::from_millis(500);
    let (mut next, _) = restarted_with(&world, with_music(Some("late"), None), later);
    let (plan, _) = resumed(&next);
    assert!(lengths(plan) == [None, None] && plan.sides[0].send);
    let clip = media_relay::audio::Clip::new(&[0; 5]).unwrap();
    next.core.routes().sounds().get("late".as_ref()).unwrap().set(Arc::new(clip)).unwrap();
    next.core.handle_music(next.now);
    next.drain();
    assert_eq!(heard(&next), [Some(5), None]);
    teams_offers(&mut next, &invite, 3, "a=sendrecv");
    assert_eq!(heard(&next), [None, None]);
    next.nothing_but(CARRIER, &[]);
    // Nobody is held: nothing to tell the relay.
    let commands = next.media.len();
    next.core.handle_music(next.now);
    next.drain();
    assert_eq!(next.media.len(), commands);
}

#[test]
fn a_call_keeps_the_music_it_began_with() {
    let mut world = World::with(with_music(Some("own"), None));
    let (invite, _) = answered(&mut world);
    reload(&mut world, |config| config.trunks[0].hold_music = Some("another".into()));
    teams_offers(&mut world, &invite, 2, "a=inactive");
    assert_eq!(heard(&world), [Some(3), None]);
    reload(&mut world, |config| config.trunks[0].hold_music = None);
    teams_offers(&mut world, &invite, 3, "a=sendrecv");
    teams_offers(&mut world, &invite, 4, "a=inactive");
    assert_eq!(heard(&world), [Some(3), None]);
}
