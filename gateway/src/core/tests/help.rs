//! Calls for help: by their own trunks, in the name of a site, called back within the hour (TR-068).

use std::collections::BTreeSet;

use config::{Bound, Emergency, Number, Site};

use super::restore::restarted_with;
use super::*;

const ELIN: &str = "+442079460090";
const SECOND: &str = "127.0.0.51:5070";

/// t001 calls for help by carrier-b, from a site with two numbers of its own; carrier-a leads to the rest of the world.
fn scene() -> config::Config {
    let mut config = config();
    let elins = [ELIN, "+442079460091"].map(|text| Number::parse(text).unwrap()).into();
    let numbers = crate::routing::tests::numbers("+442079460000-+442079460049");
    config.tenants[0].limits = config::Limits::default();
    config.tenants[0].emergency = Emergency {
        trunks: vec![1],
        numbers: None,
        sites: vec![Site { name: "north".into(), numbers, elins }],
    };
    config
}

fn calls_for_help(world: &mut World, number: &str, caller: &str, name: &str) -> String {
    let invite = teams_invite(number, name, "", SECURE);
    world.hear(PROXY, &invite.replace("sip:+442079460001@sip", &format!("sip:{caller}@sip")));
    world.expect(SECOND, &format!("INVITE sip:{number}@"))
}

/// The emergency service calls back, by the other carrier.
fn calls_back(world: &mut World, called: &str) {
    world.hear(CARRIER, &carrier_invite(called, PLAIN));
}

#[test]
fn tr_068_a_call_for_help_goes_by_its_own_trunks_and_any_other_does_not() {
    let mut world = World::with(scene());
    for (at, number) in ["112", "999", "911"].into_iter().enumerate() {
        calls_for_help(&mut world, number, "+442079460001", &format!("h{at}"));
    }
    // Help elsewhere, but not in Great Britain.
    for (at, number) in ["110", "+33198765432"].into_iter().enumerate() {
        world.hear(PROXY, &teams_invite(number, &format!("o{at}"), "", SECURE));
        world.expect(CARRIER, &format!("INVITE sip:{number}@"));
    }
    let mut config = scene();
    config.tenants[0].emergency.numbers = Some(BTreeSet::from(["7777".to_owned()]));
    let mut world = World::with(config);
    calls_for_help(&mut world, "7777", "+442079460001", "h1");
    world.hear(PROXY, &teams_invite("999", "o1", "", SECURE));
    world.expect(CARRIER, "INVITE sip:999@");
}

#[test]
fn tr_068_the_site_is_shown_and_called_back_past_every_limit() {
    let mut config = scene();
    config.tenants[0].limits.all = Bound { calls: Some(1), rate: None };
    // Nobody may call the tenant from there.
    config.tenants[0].inbound_trunks = vec![1];
    config.trunks[0].limits.made = Bound { calls: Some(1), rate: None };
    let mut world = World::with(config);
    calls_back(&mut world, ELIN);
    world.expect(CARRIER, "SIP/2.0 404");
    let invite = calls_for_help(&mut world, "112", "+442079460007", "h1");
    assert_eq!(value(&invite, "From").split(";tag").next(), Some("<sip:+442079460090@127.0.0.10>"));
    assert!(!invite.contains("+442079460007"));
    // The other caller of the site has the other number.
    let invite = calls_for_help(&mut world, "112", "+442079460008", "h2");
    assert!(value(&invite, "From").starts_with("<sip:+442079460091@"), "{invite}");
    let back = carrier_invite(ELIN, PLAIN);
    for n in 0..3 {
        let back =
            back.replace("z9hG4bKc1", &format!("z9hG4bKb{n}")).replace(": c1", &format!(": b{n}"));
        world.hear(CARRIER, &back);
        world.expect(PROXY, "INVITE sip:+442079460007@sip.teams.test:5061");
    }
    world.wait(Duration::from_secs(3599));
    calls_back(&mut world, &ELIN.replace("90", "91"));
    world.expect(PROXY, "INVITE sip:+442079460008@");
    world.wait(Duration::from_secs(2));
    world.hear(CARRIER, &back.replace("z9hG4bKc1", "z9hG4bKb9").replace(": c1", ": b9"));
    world.expect(CARRIER, "SIP/2.0 404");
}

#[test]
fn tr_068_ports_are_kept_for_calls_for_help() {
    let mut world = World::with(scene());
    world.core.ports.keep_back(8);
    let mut calls = 0;
    while world.sent.iter().all(|(_, text)| !text.starts_with("SIP/2.0 503")) {
        calls += 1;
        world.hear(PROXY, &teams_invite("+33198765432", &format!("o{calls}"), "", SECURE));
    }
    assert_eq!(world.records[0].cause.text, Cause::NoPorts.to_string());
    assert_eq!(calls, 43);
    for n in 0..8 {
        calls_for_help(&mut world, "112", "+442079460001", &format!("h{n}"));
    }
}

/// The next trunk is in another realm, whose media ports are all taken but those that are kept back: a call for help goes on
/// there, another one does not.
#[test]
fn tr_068_a_call_for_help_fails_over_to_media_ports_that_are_all_taken() {
    const CENTRE: &str = "127.0.0.52:5070";
    let mut config = scene();
    let mut realm = config.realms[0].clone();
    (realm.name, realm.media) = ("other".into(), 2);
    realm.listen.iter_mut().for_each(|listener| listener.address.set_port(5070));
    config.realms.push(realm);
    let mut pool = config.media[1].clone();
    pool.name = "other".into();
    pool.addresses[0].address = "127.0.0.13".parse().unwrap();
    config.media.push(pool);
    config.trunks[2].realm = 1;
    config.tenants[0].trunks = vec![1, 2];
    config.tenants[0].emergency.trunks = vec![1, 2];
    let mut world = World::with(config);
    world.core.keep_ports_for_help(true);
    let other = media_relay::PoolId(2);
    while world.core.ports.reserve_in(0, other, world.now).is_some() {}
    for (number, name) in [("+33198765432", "o1"), ("112", "h1")] {
        world.hear(PROXY, &teams_invite(number, name, "", SECURE));
        let first = world.expect(SECOND, &format!("INVITE sip:{number}@"));
        world.hear(SECOND, &reply(&first, "503 Service Unavailable", "s", "", ""));
        if number == "112" {
            let second = world.expect(CENTRE, "INVITE sip:112@");
            assert!(second.contains("c=IN IP4 127.0.0.13"), "{second}");
        } else {
            world.expect(PROXY, "SIP/2.0 503");
            world.nothing_but(CENTRE, &["OPTIONS"]);
        }
    }
}

/// What another process reads at an upgrade is all that this one knows, the call of a moment ago included.
#[test]
fn tr_068_who_may_be_called_back_is_known_before_it_is_written() {
    let mut world = World::with(scene());
    calls_for_help(&mut world, "112", "+442079460007", "h1");
    let known = world.core.callbacks();
    assert_eq!((known.len(), &known), (1, &world.callbacks));
}

#[test]
fn tr_068_a_caller_of_no_site_shows_its_own_number_and_is_called_back() {
    let mut config = scene();
    config.tenants[0].inbound_trunks = vec![1];
    let mut world = World::with(config);
    let invite = calls_for_help(&mut world, "112", "+442079460077", "h1");
    assert!(value(&invite, "From").starts_with("<sip:+442079460077@"), "{invite}");
    calls_back(&mut world, "+442079460077");
    world.expect(PROXY, "INVITE sip:+442079460077@");
}

#[test]
fn tr_068_who_called_for_help_is_called_back_after_a_restart() {
    let mut world = World::with(scene());
    calls_for_help(&mut world, "112", "+442079460007", "h1");
    let kept = world.callbacks.clone();
    assert_eq!(kept.len(), 1);
    let (mut next, _) = restarted_with(&world, scene(), Duration::from_millis(500));
    next.core.learn_callbacks(kept, next.now);
    calls_back(&mut next, ELIN);
    next.expect(PROXY, "INVITE sip:+442079460007@");
}

#[test]
fn who_was_refused_is_not_called_back() {
    let mut world = World::with(scene());
    world.core.drain(world.now);
    world.hear(PROXY, &teams_invite("112", "h1", "", SECURE));
    world.expect(PROXY, "SIP/2.0 503");
    assert!(world.callbacks.is_empty());
}

#[test]
fn a_call_for_help_is_told_whether_it_goes_on_or_not() {
    let mut config = scene();
    let url = config::Secret::of("http://127.0.0.1/help");
    config.gateway.emergency_webhook = Some(url);
    let mut world = World::with(config);
    calls_for_help(&mut world, "112", "+442079460007", "h1");
    let [call] = &world.help[..] else { panic!("{:?}", world.help) };
    assert_eq!((call.tenant.as_deref(), call.site.as_deref()), (Some("t001"), Some("north")));
    let shown = (call.caller.as_deref(), call.shown.as_deref());
    assert_eq!(shown, (Some("+442079460007"), Some(ELIN)));
    assert_eq!((call.called.as_str(), call.refused), ("112", None));
    world.core.drain(world.now);
    world.hear(PROXY, &teams_invite("112", "h2", "", SECURE));
    assert_eq!(world.help[1].refused, Some("draining"));
    assert_eq!(world.help[1].called, "112");
    // A trunk has no site; another call is not told.
    let mut config = scene();
    config.gateway.emergency_webhook = Some(config::Secret::of("http://127.0.0.1/help"));
    config.trunks[0].trunks = vec![1];
    let mut world = World::with(config);
    world.hear(CARRIER, &carrier_invite("112", PLAIN));
    world.expect(SECOND, "INVITE sip:112@");
    assert_eq!(world.help[0].trunk.as_deref(), Some("carrier-a"));
    world.hear(PROXY, &teams_invite("+33198765432", "o1", "", SECURE));
    assert_eq!(world.help.len(), 1);
}
