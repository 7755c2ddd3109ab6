//! Whose call is it: three tenants on two carriers, equal numbers, trunks and tenants among
//! themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::dialog::Dialog;
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Carrier, Scene};
use crate::harness::talking::{CALLER, Talking, answer_to};

const HOTLINE: &str = "+442079460001";

/// t001 and t003 on carrier A, t002 on carrier B.
fn three_on_two(test: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk("carrier-b", "udp", CARRIER_B, "")
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "")
        .tenant("t002", &["carrier-b"], &["+15550020000-+15550029999"], "")
        .tenant("t003", &["carrier-a"], &["+15550030000-+15550039999"], "");
    scene
}

#[test]
fn three_tenants_on_two_carriers_in_both_directions() {
    let scene = three_on_two("three_on_two");
    let (teams, a, b) = (scene.teams(), scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("sbc.test");
    let table = [
        ("t001", &a, "+15550010001", 7000),
        ("t002", &b, "+15550020001", 7002),
        ("t003", &a, "+15550030001", 7004),
    ];
    for (tenant, carrier, number, port) in table {
        let fqdn = format!("{tenant}.sbc.test");
        let mut call = Talking::incoming_from(&teams, carrier, number, port);
        assert_eq!(call.invite.host_of("Contact"), fqdn);
        call.talk();
        call.carrier_hangs_up();
        let mut call = Talking::outgoing(&teams, &flow, &fqdn, carrier, HOTLINE);
        assert!(call.invite.uri().starts_with(&format!("sip:{HOTLINE}@")), "{}", call.invite);
        call.talk();
        call.teams_hangs_up();
    }
    let records = gateway.wait_records(6);
    for (pair, (tenant, ..)) in records.chunks(2).zip(table) {
        assert!(pair[0]["legs"][1]["tenant"] == tenant && pair[1]["legs"][0]["tenant"] == tenant);
    }
}

#[test]
fn equal_numbers_dialled_at_two_tenants_reach_two_carriers() {
    let scene = three_on_two("equal_numbers");
    let (teams, a, b) = (scene.teams(), scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    // Over one and the same connection.
    let flow = teams.connect("t001.sbc.test");
    let own = Crypto::fresh(1, CM_80);
    let media = MediaEnd::new(scene.place.ip(PROXY), 7200);
    let offer = media.secure_sdp(&[&own], "sendrecv", "");
    let mut first = teams.call(&flow, "t001.sbc.test", "+15550010001", HOTLINE, &offer);
    let mut second = teams.call(&flow, "t002.sbc.test", "+15550020001", HOTLINE, &offer);
    for (carrier, call) in [(&a, &mut first), (&b, &mut second)] {
        let (invite, callee) = carrier.invited();
        assert!(invite.msg.uri().contains(HOTLINE));
        callee.is_busy(&invite, call);
    }
    a.not_invited();
    b.not_invited();
}

/// A contact centre is a trunk: the carrier's call to its number goes there, its own calls go out
/// by its own trunks.
#[test]
fn trunk_to_trunk_both_ways() {
    let mut scene = Scene::new("trunk_to_trunk");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk(
            "contact-centre",
            "udp",
            CARRIER_B,
            "numbers = [\"+442079460000-+442079460099\"]\ntrunks = [\"carrier-a\"]\ninbound_trunks = [\"carrier-a\"]",
        )
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
    let (teams, carrier, centre) =
        (scene.teams(), scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    bridged(&carrier, &centre, "+442079460042", 7000);
    bridged(&centre, &carrier, "+33123456789", 7002);
    teams.not_invited();
    let records = gateway.wait_records(2);
    let trunks: Vec<_> = records
        .iter()
        .map(|r| (r["legs"][0]["trunk"].as_str().unwrap(), r["legs"][1]["trunk"].as_str().unwrap()))
        .collect();
    assert_eq!(trunks, [("carrier-a", "contact-centre"), ("contact-centre", "carrier-a")]);
}

/// A whole call between two trunks, media included.
fn bridged(caller: &Carrier, callee: &Carrier, number: &str, port: u16) {
    let mut near = MediaEnd::new(caller.ip(), port);
    let mut far = MediaEnd::new(callee.ip(), port);
    let mut call = caller.call(CALLER, number, &near.plain_sdp("sendrecv"));
    let (invite, answering) = callee.invited();
    assert!(
        invite.msg.uri().starts_with(&format!("sip:{number}@{}", callee.ip())),
        "{}",
        invite.msg
    );
    answering.reply(&invite, "180 Ringing", "", "");
    call.response(180);
    answering.reply(&invite, "200 OK", "", &far.plain_sdp("sendrecv"));
    far.towards(&invite.msg);
    let answer = call.response(200);
    call.ack();
    answering.take("ACK");
    near.towards(&answer.msg);
    assert_ne!(answer.msg.media(), far_address(callee, port), "media are anchored");
    talk(&mut near, &mut far, 40);
    call.send("BYE", "", "");
    answering.hung_up();
    call.took_200("BYE");
}

fn far_address(carrier: &Carrier, port: u16) -> std::net::SocketAddr {
    (carrier.ip(), port).into()
}

/// A user of one tenant dials a public number of another: the call goes back to Teams under the
/// other's name and never to a carrier.
#[test]
fn tenant_to_tenant() {
    let scene = three_on_two("tenant_to_tenant");
    let (teams, a) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("t001.sbc.test");
    let own = Crypto::fresh(1, CM_80);
    let mut near = MediaEnd::new(scene.place.ip(PROXY), 7000);
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7002);
    let offer = near.secure_sdp(&[&own], "sendrecv", "");
    let mut call = teams.call(&flow, "t001.sbc.test", "+15550010001", "+15550030001", &offer);
    let (invite, answering) = teams.invited();
    assert_eq!(invite.msg.host_of("Contact"), "t003.sbc.test");
    assert!(invite.msg.uri().starts_with("sip:+15550030001@sip.teams.test"), "{}", invite.msg);
    let (sdp, _, _) = answer_to(&mut far, &invite.msg);
    answering.reply(&invite, "200 OK", "", &sdp);
    let answer = call.response(200);
    assert_eq!(answer.msg.host_of("Contact"), "t001.sbc.test");
    call.ack();
    answering.take("ACK");
    near.secure(&own, &Crypto::of(&answer.msg));
    near.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    call.send("BYE", "", "");
    answering.hung_up();
    call.took_200("BYE");
    a.not_invited();
    let record = &gateway.wait_records(1)[0];
    assert_eq!(
        (&record["legs"][0]["tenant"], &record["legs"][1]["tenant"]),
        (&"t001".into(), &"t003".into())
    );
}

/// Without a trunk in common, the number goes out by the tenant's own carrier.
#[test]
fn a_tenant_without_a_common_trunk_is_reached_by_the_carrier() {
    let scene = three_on_two("no_common_trunk");
    let (teams, a) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("t001.sbc.test");
    let call = Talking::outgoing(&teams, &flow, "t001.sbc.test", &a, "+15550020001");
    call.teams_hangs_up();
    teams.not_invited();
}

/// AT-07: far more calls than a tenant may have, from the trunk and from Teams: 503 with Retry-After for each of them. Its
/// neighbour on the same trunk notices nothing. (A tenant has no limit of calls a second; what it has at once is limited.)
#[test]
fn at_07_calls_beyond_a_tenants_limit_are_503_and_its_neighbour_notices_nothing() {
    let mut scene = Scene::new("at_07");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "max_calls = 3")
        .tenant("t002", &["carrier-a"], &["+15550020000-+15550029999"], "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let (flow, neighbour) = (teams.connect("t001.sbc.test"), teams.connect("t002.sbc.test"));
    let mut up: Vec<_> = (0..3)
        .map(|n| Talking::incoming_from(&teams, &carrier, "+15550010001", 7000 + 2 * n))
        .collect();
    let (over, begin) = (AtomicBool::new(false), Instant::now());
    let beyond = |mut call: Dialog| {
        let refusal = call.final_response().msg;
        assert_eq!(refusal.status(), 503, "{refusal}");
        assert_eq!(refusal.need("Retry-After"), "2", "{refusal}");
        call.ack_failure();
    };
    let flood = |call: &dyn Fn() -> Dialog| {
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            beyond(call());
            count += 1;
            thread::sleep(Duration::from_millis(4));
        }
        count
    };
    let plain = MediaEnd::new(carrier.ip(), 7090).plain_sdp("sendrecv");
    let keys = Crypto::fresh(1, CM_80);
    let secure = MediaEnd::new(scene.place.ip(PROXY), 7090).secure_sdp(&[&keys], "sendrecv", "");
    let (made, refused) = thread::scope(|scope| {
        let from_trunk = scope.spawn(|| flood(&|| carrier.call(CALLER, "+15550010002", &plain)));
        let from_teams = scope.spawn(|| {
            flood(&|| teams.call(&flow, "t001.sbc.test", "+15550010003", "+442079460001", &secure))
        });
        // Calls of the neighbour, both ways, with media.
        let mut made = 0_usize;
        while begin.elapsed() < Duration::from_secs(4) {
            let mut call = if made.is_multiple_of(2) {
                Talking::incoming_from(&teams, &carrier, "+15550020001", 7100)
            } else {
                let called = ("+442079460002", 7102);
                Talking::outgoing_from(&teams, &neighbour, "t002.sbc.test", &carrier, called)
            };
            call.talk();
            if made.is_multiple_of(4) {
                call.carrier_hangs_up()
            } else {
                call.teams_hangs_up()
            }
            made += 1;
        }
        over.store(true, Ordering::Relaxed);
        let refused: [usize; 2] = [from_trunk, from_teams].map(|thread| thread.join().unwrap());
        (made, refused)
    });
    println!("{refused:?} calls beyond the limit refused, {made} of the neighbour made");
    assert!(made >= 10 && refused.iter().all(|count| *count >= 100), "{made}, {refused:?}");
    up.iter_mut().for_each(Talking::talk);
    // One less, and one more is taken.
    up.remove(0).carrier_hangs_up();
    up.push(Talking::incoming_from(&teams, &carrier, "+15550010001", 7010));
    beyond(carrier.call(CALLER, "+15550010002", &plain));
    let full = "trunkgate_calls_ended_total{cause=\"tenant_full\"}";
    let beyond = refused[0] + refused[1] + 1;
    assert_eq!(gateway.figure(full), beyond as f64, "and nobody else was refused");
    for call in up {
        call.teams_hangs_up();
    }
    gateway.until("all CDRs", || {
        let unrecorded = gateway.figure("trunkgate_refusals_unrecorded_total") as usize;
        gateway.records().len() + unrecorded == made + 4 + beyond
    });
    let good = gateway.records().iter().filter(|r| r["cause"]["sip"] == 200).count();
    assert_eq!(good, made + 4);
}
