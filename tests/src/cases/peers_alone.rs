//! The peers against each other, without a gateway.

use std::collections::HashMap;

use lab::pki::Leaf;

use crate::harness::capture::{Capture, Pairing, as_pcap, compare_media, dissected, verify_media};
use crate::harness::dns::NameServer;
use crate::harness::media::{CM_32, CM_80, Crypto, GCM_128, GCM_256, MediaEnd, talk};
use crate::harness::peer::{Pjsip, PjsipSetup, Sipp};
use crate::harness::scene::Scene;
use crate::harness::tape::{Judged, Tape};

#[test]
fn pjsip_calls_pjsip_over_tls_by_name_with_srtp_and_hold() {
    let scene = Scene::new("pjsip_calls_pjsip");
    let place = scene.place;
    let names = HashMap::from([("*.sbc.test".to_owned(), place.ip(2))]);
    let _dns = NameServer::start(place.at(53, 53), names);
    let teams = scene.pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
    let ca = scene.ca();
    let setup = |name, host, id| PjsipSetup {
        name,
        transport: "tls",
        address: place.at(host, 5061),
        id,
        contact: None,
        route: None,
        dns: Some(place.ip(53)),
        auth: None,
        registrar: None,
        tls: Some((&teams, &ca)),
        answer: 200,
        reliable: false,
        calls: 1,
    };
    let mut caller = Pjsip::start(scene.dir(), &setup("caller", 1, "sip:+15550001@sip.teams.test"));
    let mut callee = Pjsip::start(scene.dir(), &setup("callee", 2, "sip:+15550002@sip.teams.test"));
    caller.call("sip:+15550002@t001.sbc.test:5061;transport=tls");
    caller.state("CONFIRMED");
    callee.state("CONFIRMED");
    caller.hears(25);
    callee.hears(25);
    caller.hold("first", "sendonly");
    callee.media("remote hold");
    caller.resume("first");
    callee.media("active");
    caller.hears(25);
    caller.hang_up();
    callee.state("DISCONNECTED");
    let messages = caller.finish();
    let invites = |received| {
        messages
            .iter()
            .filter(|(r, m)| *r == received && m.method() == "INVITE" && m.is_request())
            .count()
    };
    assert_eq!((invites(false), invites(true)), (3, 0));
    let path = scene.dir().join("messages.pcap");
    let messages: Vec<_> = messages.into_iter().map(|(_, msg)| msg).collect();
    as_pcap(&path, &messages);
    assert_eq!(dissected(&path), messages.len());
    callee.finish();
}

#[test]
fn sipp_calls_pjsip_over_udp_and_tcp() {
    for transport in ["udp", "tcp"] {
        let scene = Scene::new("sipp_calls_pjsip");
        let place = scene.place;
        let setup = PjsipSetup {
            name: "callee",
            transport,
            address: place.at(2, 5060),
            id: "sip:+15550002@callee.test",
            contact: None,
            route: None,
            dns: None,
            auth: None,
            registrar: None,
            tls: None,
            answer: 200,
            reliable: false,
            calls: 1,
        };
        let callee = Pjsip::start(scene.dir(), &setup);
        let capture = Capture::start(scene.dir(), place);
        let call = (place.at(2, 5060), "+442071230000", "+15550002");
        let caller = Sipp::start(scene.dir(), "uac.xml", transport, place.at(1, 5060), Some(call));
        callee.state("CONFIRMED");
        callee.state("DISCONNECTED");
        caller.finish();
        assert!(dissected(&capture.stop()) >= 6);
        callee.finish();
    }
}

#[test]
fn pjsip_calls_sipp() {
    let scene = Scene::new("pjsip_calls_sipp");
    let place = scene.place;
    let callee = Sipp::start(scene.dir(), "uas.xml", "udp", place.at(2, 5060), None);
    let setup = PjsipSetup {
        name: "caller",
        transport: "udp",
        address: place.at(1, 5060),
        id: "sip:+15550001@caller.test",
        contact: None,
        route: Some(&format!("sip:{}", place.at(2, 5060))),
        dns: None,
        auth: None,
        registrar: None,
        tls: None,
        answer: 200,
        reliable: false,
        calls: 1,
    };
    let mut caller = Pjsip::start(scene.dir(), &setup);
    caller.call("sip:+15550002@callee.test");
    caller.state("CONFIRMED");
    caller.hears(25);
    caller.hang_up();
    caller.state("DISCONNECTED");
    caller.finish();
    callee.finish();
}

/// Two SRTP stacks and the comparison itself: what one seals is found equal, what differs is not.
#[test]
fn libsrtp_reads_what_the_raw_ends_seal() {
    let scene = Scene::new("libsrtp_reads");
    let place = scene.place;
    let capture = Capture::start(scene.dir(), place);
    let mut pairings = Vec::new();
    for (suite, port) in [(CM_80, 6000), (CM_32, 6002), (GCM_128, 6004), (GCM_256, 6006)] {
        let at = |host| place.at(host, port);
        let end = |host, remote| {
            let mut end = MediaEnd::new(place.ip(host), port);
            end.remote = Some(at(remote));
            end
        };
        let (mut plain_from, mut plain_to) = (end(1, 2), end(2, 1));
        let (mut sealed_from, mut sealed_to) = (end(3, 4), end(4, 3));
        let (ours, theirs) = (Crypto::fresh(1, suite), Crypto::fresh(1, suite));
        sealed_from.secure(&ours, &theirs);
        sealed_to.secure(&theirs, &ours);
        talk(&mut plain_from, &mut plain_to, 30);
        talk(&mut sealed_from, &mut sealed_to, 30);
        sealed_from.report();
        pairings.push(Pairing {
            secure_from: Some(at(3)),
            secure_to: Some(at(4)),
            crypto: ours,
            plain_from: at(1),
            plain_to: at(2),
            sealed_here: true,
            exchanges: 1,
        });
    }
    let pcap = capture.stop();
    let compared = verify_media(&pcap, &pairings);
    let counts: Vec<_> = compared.iter().map(|c| (c.equal, c.lost, c.reports)).collect();
    assert_eq!(counts, [(30, 0, 1); 4]);
    // The comparison can fail: by another key, and by other media on the plain leg.
    let wrong_key = Crypto::fresh(1, CM_80);
    let key = std::mem::replace(&mut pairings[0].crypto, wrong_key);
    let refused = compare_media(&pcap, &pairings[..1]).unwrap_err();
    assert!(refused.contains("does not decrypt"), "{refused}");
    pairings[0].crypto = key;
    pairings[0].plain_from = pairings[1].plain_from;
    pairings[0].plain_to = pairings[1].plain_to;
    let refused = compare_media(&pcap, &pairings[..1]).unwrap_err();
    assert!(refused.contains("was not sent so"), "{refused}");
}

/// A gateway that comes back goes on where it was, further on, or (what must not be) where it began.
#[test]
fn libsrtp_tells_an_index_that_comes_twice_on_a_tape() {
    let scene = Scene::new("libsrtp_tells");
    let place = scene.place;
    for (port, step) in [(6000, 0_i16), (6002, 8192), (6004, -30)] {
        let (own, theirs) = (Crypto::fresh(1, CM_80), Crypto::fresh(1, CM_80));
        // What both say is the same, by the port.
        let [mut plain, mut gateway, mut secure] =
            [1, 2, 3].map(|host| MediaEnd::new(place.ip(host), port));
        plain.remote = Some(place.at(2, port));
        gateway.remote = Some(place.at(3, port));
        gateway.secure(&theirs, &own);
        secure.secure(&own, &theirs);
        let tape = Tape::new(&scene.dir().join(format!("tape-{port}")));
        (plain.track, secure.track) = (Some(tape.track(0, false)), Some(tape.track(0, true)));
        let mut packets = |gateway: &mut MediaEnd| {
            for _ in 0..30 {
                gateway.say(0, false, 160, plain.speak().payload);
                while secure.hear().is_empty() && secure.undecryptable == 0 {}
            }
        };
        packets(&mut gateway);
        tape.died();
        if step < 0 {
            gateway.rekey(&theirs);
        }
        gateway.sequence = gateway.sequence.wrapping_add_signed(step);
        packets(&mut gateway);
        let calls = [Judged { call: 0, own, theirs, lives: 1, least: 0 }];
        let found = tape.judged(&calls);
        if step < 0 {
            assert!(found.unwrap_err().contains("does not authenticate: replay"));
        } else {
            assert_eq!(found.unwrap().jump, step as u64 + 1);
        }
    }
}
