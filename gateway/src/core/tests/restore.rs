//! Calls of a process that died, in the next one: what the journal was told goes in, and calls go on.

use std::collections::BTreeMap;

use media_relay::SessionState;
use sip_stack::leg;

use super::*;
use crate::call::Snapshot;
use crate::journal::{CallId, Orphan, Restorable, form};

/// What the journal of a process that dies now amounts to.
fn left(world: &World) -> Vec<Restorable> {
    let mut calls: BTreeMap<CallId, Restorable> = BTreeMap::new();
    for entry in &world.journal {
        match entry {
            Entry::Begun(record) => {
                calls.insert(CallId::of(record), Restorable::Begun(Arc::clone(record)));
            }
            Entry::Standing(snapshot) => {
                // As the journal has it.
                let mut bytes = Vec::new();
                form::encode(&**snapshot, &mut bytes);
                let snapshot = form::decode::<Box<Snapshot>>(&bytes).unwrap();
                let call = CallId::of(snapshot.record());
                calls.insert(call, Restorable::Stood { snapshot, media: None });
            }
            Entry::Media { call, state } => {
                if let Some(Restorable::Stood { media, .. }) = calls.get_mut(call) {
                    let mut bytes = Vec::new();
                    form::encode(&**state, &mut bytes);
                    *media = Some(form::decode(&bytes).unwrap());
                }
            }
            Entry::Ending(record) => {
                calls.remove(&CallId::of(record));
            }
            Entry::Ended(_) => {}
        }
    }
    for record in &world.records {
        calls.remove(&CallId::of(record));
    }
    calls.into_values().collect()
}

fn orphans(calls: Vec<Restorable>, seen: SystemTime) -> Vec<Orphan> {
    calls.into_iter().map(|call| Orphan { call, seen }).collect()
}

/// The process dies, and the next one starts with this configuration `later`.
pub(super) fn restarted_with(
    world: &World,
    config: config::Config,
    later: Duration,
) -> (World, Restored) {
    let epoch = 2 + world.restarts;
    let mut next = World::born(config, epoch);
    next.restarts = world.restarts + 1;
    let seen = world.core.wall(world.now);
    next.core.set_wall(next.now, seen + later);
    let restored = next.core.restore(orphans(left(world), seen), next.now);
    next.drain();
    (next, restored)
}

pub(super) fn restarted(world: &World) -> World {
    let (next, restored) = restarted_with(world, config(), Duration::from_millis(500));
    assert_eq!(restored, Restored { resumed: 1, cut: 0 });
    next
}

fn standing(world: &World) -> usize {
    world.journal.iter().filter(|entry| matches!(entry, Entry::Standing(_))).count()
}

pub(super) fn resumed(world: &World) -> (&media_relay::Plan, Option<&SessionState>) {
    let resumed = world.media.iter().rev().find_map(|command| match command {
        Command::Resume { plan, state } => Some((&**plan, state.as_deref())),
        Command::Apply(_)
        | Command::Kept(_)
        | Command::Tap { .. }
        | Command::Release(_)
        | Command::Cool { .. } => None,
    });
    resumed.expect("a call was resumed")
}

fn cseq(message: &str) -> u32 {
    value(message, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

fn one_record(world: &World) -> &Record {
    let [record] = &world.records[..] else { panic!("one record: {:?}", world.records) };
    record
}

#[test]
fn what_is_kept_of_a_call_and_when() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    assert!(matches!(world.journal[..], [Entry::Begun(_)]), "before the INVITE leaves");
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(standing(&world), 0, "the ACK is missing");
    world.hear(CARRIER, &carrier_ack(&ok));
    assert_eq!(standing(&world), 1);
    world.wait(Duration::from_secs(10));
    world.hear(CARRIER, &carrier_ack(&ok));
    assert_eq!(standing(&world), 1, "nothing new");
    world.hear(CARRIER, &carrier_bye(&ok));
    assert_eq!((standing(&world), world.records.len()), (1, 1));
    assert!(left(&world).is_empty());
}

#[test]
fn a_refused_invite_is_kept_as_its_end_alone() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079999999", PLAIN));
    assert!(world.journal.is_empty() && world.records.len() == 1);
}

#[test]
fn r01_a_restored_call_has_its_ports_keys_and_places() {
    let mut world = World::new();
    answered(&mut world);
    let Some(Command::Apply(before)) = world.media.last().cloned() else { panic!("a plan") };
    let world = restarted(&world);
    let (plan, state) = resumed(&world);
    assert!(state.is_none());
    for (side, old) in plan.sides.iter().zip(&before.sides) {
        assert_eq!(side.port, old.port);
        assert_eq!((side.rtp, side.rtcp, side.mux), (old.rtp, old.rtcp, old.mux));
        assert_eq!((side.send, side.receive), (old.send, old.receive));
        assert_eq!((&side.payloads, &side.clocks), (&old.payloads, &old.clocks));
        assert_eq!(side.sources, old.sources);
        assert_eq!(side.security.is_some(), old.security.is_some());
        if let (Some(now), Some(then)) = (&side.security, &old.security) {
            assert!(now.send.same_key(&then.send));
            assert_eq!((now.receive.len(), then.receive.len()), (1, 1));
            assert!(now.receive[0].same_key(&then.receive[0]));
        }
    }
    assert_eq!(world.core.calls(), 1);
    assert_eq!(world.core.gauges().free_port_pairs, 98, "nobody else gets its ports");
}

#[test]
fn r01_after_a_restart_a_bye_of_the_caller_ends_both_legs() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let id = left_id(&world);
    let mut world = restarted(&world);
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
    // Its connection died with the process: the Contact is looked up, then the address last heard is tried.
    world.wait(Duration::from_secs(3));
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443;x-i=");
    assert_eq!(value(&bye, "From"), value(&invite, "From"));
    assert_eq!(value(&bye, "To"), format!("{};tag=t1", value(&invite, "To")));
    assert_eq!(value(&bye, "Call-ID"), value(&invite, "Call-ID"));
    assert!(cseq(&bye) > cseq(&invite));
    world.hear(PROXY, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    let record = one_record(&world);
    assert_eq!((record.id.clone(), record.ended_by.as_str()), (id, "caller"));
    assert_eq!((record.cause.sip, record.attempts.len()), (200, 1));
    assert!(record.t_invite < *record.t_answer.as_ref().unwrap() || record.t_answer.is_some());
    world.wait(Duration::from_secs(70));
    assert_eq!((world.core.calls(), world.core.unfinished()), (0, 0));
    assert!(world.core.dialogs.is_empty());
    assert_eq!(world.core.gauges().free_port_pairs, 100);
    assert!(left(&world).is_empty());
}

#[test]
fn r01_after_a_restart_a_bye_of_the_callee_on_a_new_connection_ends_both_legs() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let mut world = restarted(&world);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.expect(PROXY, "SIP/2.0 200");
    let bye = world.expect(CARRIER, "BYE sip:ann@127.0.0.50:5070");
    assert_eq!(value(&bye, "From"), value(&ok, "To"));
    assert_eq!(value(&bye, "Call-ID"), "c1");
    world.hear(CARRIER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!(one_record(&world).ended_by, "callee");
    assert_eq!(world.core.calls(), 0);
}

#[test]
fn only_those_whom_a_leg_leads_to_are_served_after_a_restart() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    let mut world = restarted(&world);
    world.hear("127.0.0.99:5070", &carrier_bye(&ok).replace(CARRIER, "127.0.0.99:5070"));
    world.nothing_but("127.0.0.99:5070", &[]);
    assert_eq!(world.core.calls(), 1);
}

fn hold_of_carrier(ok: &str) -> String {
    let hold = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
    let head = format!(
        "INVITE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc9\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 2 INVITE\n\
         Contact: <sip:ann@{CARRIER}>\n",
        value(ok, "From"),
        value(ok, "To"),
    );
    with_body(&head, &hold)
}

/// Session id and version of an SDP.
fn origin(message: &str) -> (u64, u64) {
    let line = message.lines().find_map(|l| l.strip_prefix("o=- ")).unwrap();
    let mut words = line.split(' ').map(|word| word.parse().unwrap_or_default());
    (words.next().unwrap(), words.next().unwrap())
}

fn hold(world: &mut World, ok: &str) -> (String, String) {
    world.hear(CARRIER, &hold_of_carrier(ok));
    world.wait(Duration::from_secs(3));
    let offer = world.expect(PROXY, "INVITE sip:api-du-a.pstnhub.test:443");
    let answer = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    let accepted = reply(&offer, "200 OK", "", TEAMS_CONTACT, &answer).replace(";tag=\n", "\n");
    world.hear(PROXY, &accepted);
    let held = world.expect(CARRIER, "SIP/2.0 200");
    let ack = carrier_ack(ok).replace("1 ACK", "2 ACK").replace("z9hG4bKc2", "z9hG4bKca");
    world.hear(CARRIER, &ack);
    (offer, held)
}

#[test]
fn after_a_restart_a_hold_crosses_and_is_kept() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let mut world = restarted(&world);
    assert_eq!(standing(&world), 1, "it stands in the new journal as well");
    let (offer, held) = hold(&mut world, &ok);
    assert!(offer.contains("a=inactive") && held.contains("a=inactive"));
    assert!(cseq(&offer) > cseq(&invite));
    let key = |text: &str| text.lines().find(|l| l.starts_with("a=crypto")).map(str::to_owned);
    assert_eq!(key(&offer), key(&invite), "our key stays for the whole call");
    for (now, before) in [(&offer, &invite), (&held, &ok)] {
        assert_eq!(origin(now), (origin(before).0, origin(before).1 + 1));
    }
    assert_eq!(standing(&world), 2);
    let world = restarted(&world);
    let (plan, _) = resumed(&world);
    assert!(!plan.sides[0].send && !plan.sides[1].receive);
}

#[test]
fn what_was_open_when_the_process_died_stands_as_last_agreed() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.hear(CARRIER, &hold_of_carrier(&ok));
    world.expect(PROXY, "INVITE ");
    let mut world = restarted(&world);
    let (plan, _) = resumed(&world);
    assert!(plan.sides.iter().all(|side| side.send && side.receive));
    // The caller repeats its offer when no answer came.
    let again = hold_of_carrier(&ok).replace("z9hG4bKc9", "z9hG4bKcb");
    world.hear(CARRIER, &again);
    world.wait(Duration::from_secs(3));
    assert!(world.expect(PROXY, "INVITE sip:api-du-a").contains("a=inactive"));
}

#[test]
fn a_call_that_is_restored_twice_ends_as_any_other() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let mut world = restarted(&restarted(&world));
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    let bye = world.expect(CARRIER, "BYE sip:ann@127.0.0.50:5070");
    world.hear(CARRIER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!(one_record(&world).ended_by, "callee");
}

#[test]
fn a_session_that_nobody_refreshes_expires_after_a_restart_as_it_would_have() {
    let mut world = World::new();
    let timed = "Contact: <sip:ann@127.0.0.50:5070>\nSupported: timer\n\
        Session-Expires: 1800;refresher=uac\n";
    let invite = carrier_invite("+442079460001", PLAIN)
        .replace("Contact: <sip:ann@127.0.0.50:5070>\n", timed);
    world.hear(CARRIER, &invite);
    let invite = world.expect(PROXY, "INVITE ");
    let theirs = format!("{TEAMS_CONTACT}Session-Expires: 7200;refresher=uas\n");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", &theirs, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(value(&ok, "Session-Expires").starts_with("1800"));
    world.hear(CARRIER, &carrier_ack(&ok));
    world.wait(Duration::from_secs(900));
    let (mut world, _) = restarted_with(&world, config(), Duration::from_secs(100));
    world.wait(Duration::from_secs(760));
    assert_eq!(world.core.calls(), 1);
    world.wait(Duration::from_secs(45));
    world.expect(CARRIER, "BYE ");
    world.expect(PROXY, "BYE ");
    assert_eq!(one_record(&world).cause.text, Cause::Lost.to_string());
}

#[test]
fn a_call_that_was_not_confirmed_is_recorded_as_cut() {
    for answered in [false, true] {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        let invite = world.expect(PROXY, "INVITE ");
        if answered {
            world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
        }
        let (mut world, restored) = restarted_with(&world, config(), Duration::ZERO);
        assert_eq!(restored, Restored { resumed: 0, cut: 1 });
        let record = one_record(&world).clone();
        assert_eq!((record.ended_by.as_str(), record.cause.fault.as_str()), ("gateway", "us"));
        assert_eq!(record.cause.text, "cut by a restart of the gateway");
        assert_eq!(record.legs[0].call_id, "c1");
        world.nothing_but(CARRIER, &[]);
        assert_eq!(world.core.gauges().free_port_pairs, 100);
    }
}

#[test]
fn a_call_whose_end_is_gone_from_the_configuration_is_ended_on_both_sides() {
    type Change = (&'static str, fn(&mut config::Config));
    let changes: [Change; 4] = [
        ("its tenant", |config| drop(config.tenants.remove(0))),
        ("its trunk", |config| {
            config.trunks[0].name = "another".into();
        }),
        ("its media address", |config| {
            config.media[1].addresses[0].address = "127.0.0.77".parse().unwrap();
        }),
        ("its ports", |config| config.media[0].addresses[0].ports = 40000..=40100),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let (_, ok) = answered(&mut world);
        let mut config = config();
        change(&mut config);
        let (mut world, restored) = restarted_with(&world, config, Duration::ZERO);
        assert_eq!(restored, Restored { resumed: 0, cut: 1 }, "{what}");
        world.wait(Duration::from_secs(3));
        let bye = world.expect(CARRIER, "BYE sip:ann@127.0.0.50:5070");
        assert_eq!(value(&bye, "From"), value(&ok, "To"));
        assert_eq!(value(&bye, "Reason"), "Q.850;cause=41");
        world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443");
        assert_eq!(one_record(&world).cause.text, Cause::Restart.to_string());
        assert!(one_record(&world).t_answer.is_some());
        assert!(world.media.is_empty(), "{what}");
        world.wait(Duration::from_secs(70));
        assert_eq!((world.core.unfinished(), world.core.calls()), (0, 0), "{what}");
    }
}

#[test]
fn r01_a_call_that_was_left_for_long_is_ended_when_its_process_was_seen_last() {
    for (away, cut) in [(299, 0), (301, 1), (62 * 3600, 1)] {
        let mut world = World::new();
        answered(&mut world);
        world.wait(Duration::from_secs(60));
        let died = crate::cdr::timestamp(world.core.wall(world.now));
        let (mut world, restored) = restarted_with(&world, config(), Duration::from_secs(away));
        assert_eq!(restored, Restored { resumed: 1 - cut, cut }, "{away}");
        if cut == 0 {
            continue;
        }
        assert!(world.media.is_empty(), "nothing is relayed");
        let record = one_record(&world).clone();
        assert_eq!((record.t_end, record.cause.text), (died, Cause::Restart.to_string()));
        world.wait(Duration::from_secs(3));
        world.expect(CARRIER, "BYE ");
        world.expect(PROXY, "BYE ");
        world.wait(Duration::from_secs(70));
        assert_eq!((world.core.unfinished(), world.core.calls()), (0, 0));
        assert_eq!(world.core.gauges().free_port_pairs, 100);
    }
}

#[test]
fn a_call_that_is_cut_does_not_end_before_it_was_answered() {
    // Its process was seen before: the clock was set back, or files were copied.
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.expect(PROXY, "INVITE ");
    let long_ago = world.core.wall(world.now) - Duration::from_secs(3600);
    let mut next = World::born(config(), 2);
    assert_eq!(next.core.restore(orphans(left(&world), long_ago), next.now).cut, 1);
    next.drain();
    let record = one_record(&next);
    assert_eq!(record.t_end, record.t_invite);

    let mut world = World::new();
    answered(&mut world);
    let mut next = World::born(config(), 2);
    assert_eq!(next.core.restore(orphans(left(&world), long_ago), next.now).cut, 1);
    next.drain();
    let record = one_record(&next);
    assert_eq!(Some(&record.t_end), record.t_answer.as_ref());
}

/// A peer without session timer may have hung up meanwhile: nobody would ever tell.
#[test]
fn r01_a_peer_without_session_timer_is_asked_whether_it_still_has_the_call() {
    for (answer, ended) in [
        ("481 Call/Transaction Does Not Exist", true),
        ("408 Request Timeout", true),
        ("", true),
        ("500 Server Internal Error", false),
        ("200 OK", false),
    ] {
        let mut world = World::new();
        answered(&mut world);
        let mut world = restarted(&world);
        let asked = std::iter::repeat_with(|| {
            world.wait(Duration::from_secs(1));
            let at = world.sent.iter().position(|(to, text)| {
                to.remote.to_string() == CARRIER && text.starts_with("INVITE ")
            })?;
            world.sent.remove(at).map(|(_, text)| text)
        });
        let asked = asked.take(31).flatten().next().expect("asked within half a minute");
        assert!(asked.contains("a=rtpmap") || asked.contains("m=audio"), "{asked}");
        if !answer.is_empty() {
            let sdp = if answer.starts_with("200") { PLAIN } else { "" };
            let contact = "Contact: <sip:ann@127.0.0.50:5070>\n";
            let text = reply(&asked, answer, "", contact, sdp).replace(";tag=\n", "\n");
            world.hear(CARRIER, &text);
        }
        let (mut over, mut proxy_asked) = (false, false);
        // The other side answers in any case.
        for _ in 0..100 {
            world.wait(Duration::from_secs(1));
            over |= world.core.calls() == 0;
            let at = world.sent.iter().position(|(to, text)| {
                to.remote.to_string() == PROXY && text.starts_with("INVITE ")
            });
            if let Some((_, asked)) = at.and_then(|at| world.sent.remove(at)) {
                proxy_asked = true;
                let ok = reply(&asked, "200 OK", "", TEAMS_CONTACT, SECURE);
                world.hear(PROXY, &ok.replace(";tag=\n", "\n"));
            }
        }
        assert_eq!(over, ended, "{answer}");
        assert!(ended || proxy_asked, "{answer}");
        // Once: whoever was there is not asked again.
        world.sent.clear();
        world.wait(Duration::from_secs(3600));
        let again = world.sent.iter().any(|(_, text)| text.starts_with("INVITE "));
        assert!(!again && world.core.calls() == usize::from(!ended), "{answer}");
    }
}

#[test]
fn a_fault_while_a_call_is_taken_up_gives_back_what_it_held() {
    let mut world = World::new();
    answered(&mut world);
    let seen = world.core.wall(world.now);
    let mut next = World::born(config(), 2);
    next.core.trap = Some((crate::core::inputs::Trap::Restore, 1));
    let restored = next.core.restore(orphans(left(&world), seen), next.now);
    assert_eq!(restored, Restored { resumed: 0, cut: 1 });
    next.drain();
    assert_eq!(one_record(&next).cause.text, Cause::Restart.to_string());
    assert_eq!((next.core.calls(), next.core.admission.calls("t001")), (0, 0));
    next.wait(Duration::from_secs(2));
    assert_eq!(next.core.gauges().free_port_pairs, 100);
}

#[test]
fn a_call_whose_edge_is_gone_is_ended_on_the_other_side() {
    let mut world = World::new();
    answered(&mut world);
    let mut config = config();
    config.edges[0].name = "another".into();
    let (mut world, restored) = restarted_with(&world, config, Duration::ZERO);
    assert_eq!(restored.cut, 1);
    world.wait(Duration::from_secs(3));
    world.expect(CARRIER, "BYE ");
    world.nothing_but(PROXY, &["OPTIONS"]);
    assert_eq!(world.records.len(), 1);
}

#[test]
fn numbers_of_ends_and_places_may_change() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    let mut config = config();
    config.tenants.reverse();
    config.trunks.swap(0, 2);
    config.media.reverse();
    config.edges[0].media = 1;
    config.realms[0].media = 0;
    for trunk in &mut config.trunks {
        trunk.inbound_trunks.clear();
    }
    for tenant in &mut config.tenants {
        tenant.inbound_trunks.clear();
    }
    let (mut world, restored) = restarted_with(&world, config, Duration::ZERO);
    assert_eq!(restored.resumed, 1);
    let (plan, _) = resumed(&world);
    assert_eq!(plan.sides[0].port.pool, media_relay::PoolId(0));
    assert_eq!(plan.sides[1].port.pool, media_relay::PoolId(1));
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    assert_eq!(value(&world.expect(CARRIER, "BYE "), "From"), value(&ok, "To"));
}

#[test]
fn restored_calls_count_against_their_tenant() {
    let mut world = World::new();
    answered(&mut world);
    let mut one = config();
    one.tenants[0].limits.all.calls = Some(1);
    let (mut world, _) = restarted_with(&world, one, Duration::ZERO);
    let other = second_invite();
    world.hear(CARRIER, &other);
    assert_eq!(value(&world.expect(CARRIER, "SIP/2.0 503"), "Reason"), "Q.850;cause=34");
}

#[test]
fn where_media_stand_is_kept_for_calls_that_stand_and_given_back_behind_itself() {
    use media_relay::state::{KeySnapshot, SideSnapshot};
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    let mut state = SessionState { at: 7, ..SessionState::default() };
    let mut indexes = media_relay::srtp::Snapshot { rtcp: 5, ..Default::default() };
    let send = Some(KeySnapshot { key: 1, indexes: indexes.clone() });
    state.sides[1] = SideSnapshot { send, ..SideSnapshot::default() };
    let session = SessionId(1);
    let told = || media_relay::Event::Checkpoint { sessions: vec![(session, state.clone())] };
    let acknowledged = |world: &World| match world.media.last() {
        Some(Command::Kept(kept)) => kept[..] == [(session, state.reach())],
        other => panic!("{other:?}"),
    };
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    world.core.handle_media(told(), world.now);
    world.drain();
    assert_eq!(world.journal.len(), 1, "it does not stand yet");
    assert!(acknowledged(&world), "nobody will ever resume it");
    world.hear(CARRIER, &carrier_ack(&ok));
    world.drain();
    world.media.clear();
    world.core.handle_media(told(), world.now);
    let mut written = false;
    while let Some(output) = world.core.poll_output() {
        match output {
            Output::Journal(entry) => {
                written |= matches!(entry, Entry::Media { .. });
                world.journal.push(entry);
            }
            Output::Media { command, .. } => {
                assert!(written, "not before it is written");
                world.media.push(command);
            }
            Output::Send { .. }
            | Output::Query { .. }
            | Output::Retire(_)
            | Output::Close(_)
            | Output::Hand { .. }
            | Output::Callbacks(_)
            | Output::Help { .. }
            | Output::Registered(_)
            | Output::Event(_) => panic!("{output:?}"),
        }
    }
    assert!(acknowledged(&world));
    let world = restarted(&world);
    assert_eq!(resumed(&world).1, Some(&state));
    let kept = world.journal.iter().find_map(|entry| match entry {
        Entry::Media { state, .. } => state.sides[1].send.clone(),
        Entry::Begun(_) | Entry::Standing(_) | Entry::Ending(_) | Entry::Ended(_) => None,
    });
    indexes.rtcp += 8192;
    assert_eq!(kept.unwrap().indexes, indexes, "this process may die at once");
}

#[test]
fn r10_without_room_for_records_new_calls_are_refused_and_running_ones_go_on() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.core.set_recordable(false);
    let before = world.journal.len();
    let other = second_invite();
    world.hear(CARRIER, &other);
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert_eq!(value(&refused, "Retry-After"), "2");
    assert_eq!((world.journal.len(), world.records.len()), (before, 0), "nothing more to keep");
    assert!(!world.core.is_able());
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(PROXY, "BYE ");
    assert_eq!(world.records.len(), 1);
    world.core.set_recordable(true);
    assert!(world.core.is_able());
}

#[test]
fn a_process_that_ends_writes_records_without_waiting_for_figures() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.silent_relay = true;
    world.hear(CARRIER, &carrier_bye(&ok));
    assert!(world.records.is_empty());
    let Some(Entry::Ending(record)) = world.journal.last() else { panic!("its end") };
    assert_eq!((record.ended_by.as_str(), record.cause.sip), ("caller", 200));
    assert!(left(&world).is_empty(), "the next process does not take it up");
    world.core.close(world.now);
    world.drain();
    assert_eq!(one_record(&world).ended_by, "caller");
}

#[test]
fn other_versions_of_a_snapshot_can_be_read() {
    let mut world = World::new();
    answered(&mut world);
    let mut json = None;
    for entry in &world.journal {
        if let Entry::Standing(snapshot) = entry {
            json = Some(serde_json::to_value(snapshot).unwrap());
        }
    }
    let mut json = json.unwrap();
    json["version"] = 2.into();
    json["colour"] = "blue".into();
    json["legs"][0]["colour"] = "blue".into();
    json["legs"][0]["leg"]["version"] = (leg::Snapshot::VERSION + 1).into();
    json["media"][1]["colour"] = "blue".into();
    json["record"].as_object_mut().unwrap().remove("attempts");
    json["media"][1].as_object_mut().unwrap().remove("place");
    let read: Box<Snapshot> = serde_json::from_value(json).unwrap();
    assert_eq!(read.version, 2);
    let mut next = World::born(config(), 2);
    let calls = vec![Restorable::Stood { snapshot: read, media: None }];
    let calls = orphans(calls, next.core.wall(next.now));
    assert_eq!(next.core.restore(calls, next.now).resumed, 1);
}

#[test]
fn no_key_shows_in_a_debug_line() {
    let mut world = World::new();
    answered(&mut world);
    let text = format!("{:?}", world.journal);
    for secret in ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd", "000102030405060708090a0b"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn left_id(world: &World) -> String {
    match &left(world)[..] {
        [Restorable::Stood { snapshot, .. }] => snapshot.record().id.clone(),
        other => panic!("one call that stands: {other:?}"),
    }
}
