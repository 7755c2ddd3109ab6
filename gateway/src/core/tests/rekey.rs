//! Keys over the life of a call, on virtual time: refreshes, new keys, hours on hold, forks. What signalling says and what
//! the relay is told.

use media_relay::Security;

use super::*;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const KEY_B: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const KEY_C: &str = "AgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

/// Of the side of Teams: the first byte of each key that is heard, and our own key.
fn keys(world: &World) -> (Vec<u8>, Vec<u8>) {
    let Security { send, receive } = world.plan().sides[1].security.as_ref().expect("keys");
    (receive.iter().map(|key| key.key_salt()[0]).collect(), send.key_salt().to_vec())
}

fn crypto(sdp: &str) -> &str {
    sdp.lines().find(|l| l.starts_with("a=crypto:")).expect("a=crypto")
}

/// A re-INVITE of Teams that needs nobody else: it is answered at once.
fn refreshed(world: &mut World, invite: &str, cseq: u32, sdp: &str) -> String {
    world.hear(PROXY, &in_dialog(invite, "INVITE", cseq, "t1", TEAMS_CONTACT, sdp));
    let ok = world.expect(PROXY, "SIP/2.0 200");
    world.hear(PROXY, &in_dialog(invite, "ACK", cseq, "t1", "", ""));
    ok
}

/// TR-042, TR-043, TR-049: the same SDP after a quarter of an hour changes nothing anywhere; another key after 27 minutes
/// is heard from then on, and our key, address and port stay. The trunk is asked nothing.
#[test]
fn tr_042_tr_043_tr_049_refresh_after_15_minutes_and_another_key_after_27() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let offered = crypto(&invite).to_owned();
    let (heard, ours) = keys(&world);
    assert_eq!(heard, [0]);
    world.sent.clear();
    world.wait(Duration::from_secs(15 * 60));
    let same = refreshed(&mut world, &invite, 2, SECURE);
    assert_eq!(keys(&world), (vec![0], ours.clone()));
    world.wait(Duration::from_secs(12 * 60));
    let rekeyed = SECURE.replace(KEY, KEY_B).replace("o=- 1 1", "o=- 1 2");
    let other = refreshed(&mut world, &invite, 3, &rekeyed);
    assert_eq!(keys(&world), (vec![1], ours.clone()));
    assert_eq!(body(&same), body(&invite), "what we told it is told again, to the letter");
    // And back to the first one, which to the relay is what it then is: named again.
    world.wait(Duration::from_secs(60));
    let back = refreshed(&mut world, &invite, 4, SECURE);
    assert_eq!(keys(&world), (vec![0], ours));
    assert_eq!(body(&back), body(&other));
    for answer in [&same, &other, &back] {
        assert_eq!(crypto(answer), offered, "our key");
        assert!(answer.contains("m=audio 20000 ") && answer.contains("c=IN IP4 127.0.0.11"));
    }
    world.nothing_but(CARRIER, &["OPTIONS"]);
    assert!(world.records.is_empty(), "it goes on");
}

/// TR-051: Teams holds for an hour with refreshes, and comes back with another key. The call stands, both sides are told
/// the direction that they know, and only the direction changes for the relay.
#[test]
fn tr_051_an_hour_on_hold_ends_nothing() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let (_, ours) = keys(&world);
    let mut cseq = 1;
    let mut version = 1;
    let mut offers = |world: &mut World, direction: &str, key: &str, asked: bool| {
        cseq += 1;
        version += 1;
        let sdp = SECURE.replace("o=- 1 1", &format!("o=- 1 {version}")).replace(KEY, key);
        let sdp = format!("{sdp}a={direction}\n");
        world.hear(PROXY, &in_dialog(&invite, "INVITE", cseq, "t1", TEAMS_CONTACT, &sdp));
        if asked {
            let offer = world.expect(CARRIER, "INVITE ");
            let answer = format!("{PLAIN}a={direction}\n").replace("o=- 1 1", "o=- 1 2");
            let ok =
                reply(&offer, "200 OK", "", &format!("Contact: <sip:ann@{CARRIER}>\n"), &answer);
            world.hear(CARRIER, &ok.replace(";tag=\n", "\n"));
        }
        let answer = world.expect(PROXY, "SIP/2.0 200");
        assert!(answer.contains(&format!("a={direction}")), "{answer}");
        world.hear(PROXY, &in_dialog(&invite, "ACK", cseq, "t1", "", ""));
    };
    offers(&mut world, "inactive", KEY, true);
    let held = |world: &World| world.plan().sides.iter().all(|side| !side.send && !side.receive);
    assert!(held(&world));
    for _ in 0..4 {
        world.wait(Duration::from_secs(15 * 60));
        offers(&mut world, "inactive", KEY, false);
        assert!(held(&world));
    }
    assert_eq!((world.core.calls(), world.records.len()), (1, 0));
    offers(&mut world, "sendrecv", KEY_B, true);
    assert!(world.plan().sides.iter().all(|side| side.send && side.receive));
    assert_eq!(keys(&world), (vec![1], ours));
}

/// 183 on tag C with a key, 183 on tag B with another, then the 200 of either: both are heard before it, the one that
/// answers alone afterwards. The caller has one dialog and one answer.
#[test]
fn forks_are_heard_under_their_own_keys_until_one_answers() {
    for (winner, port, key) in [("c", 40100, 1), ("b", 40200, 2), ("d", 40300, 0)] {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
        let invite = world.expect(PROXY, "INVITE ");
        let sdp =
            |key: &str, port: u16| SECURE.replace(KEY, key).replace("40000", &port.to_string());
        let rtp = |world: &World| world.plan().sides[1].rtp.unwrap().port();
        let progress = |tag, sdp: &str| reply(&invite, "183 Session Progress", tag, "", sdp);
        world.hear(PROXY, &progress("c", &sdp(KEY_B, 40100)));
        let first = world.expect(CARRIER, "SIP/2.0 183");
        assert_eq!((keys(&world).0, rtp(&world)), (vec![1], 40100));
        world.hear(PROXY, &progress("b", &sdp(KEY_C, 40200)));
        assert_eq!((keys(&world).0, rtp(&world)), (vec![2, 1], 40200));
        // A repeated one takes nothing over.
        world.hear(PROXY, &progress("c", &sdp(KEY_B, 40100)));
        assert_eq!((keys(&world).0, rtp(&world)), (vec![2, 1], 40200));
        // The winner's answer; it may have been silent until now.
        let (_, ours) = keys(&world);
        let answer = match winner {
            "c" => sdp(KEY_B, 40100),
            "b" => sdp(KEY_C, 40200),
            _ => sdp(KEY, 40300),
        };
        world.hear(PROXY, &reply(&invite, "200 OK", winner, TEAMS_CONTACT, &answer));
        assert_eq!((keys(&world), rtp(&world)), ((vec![key], ours), port));
        let ok = world.expect(CARRIER, "SIP/2.0 200");
        assert_eq!(value(&ok, "To"), value(&first, "To"));
        assert_eq!(body(&ok), body(&first), "the preview was the answer");
    }
}

/// TR-040, TR-043: Teams calls and lets us refresh. It answers our refresh with another key and another address: that is
/// what is heard and sent to from then on. A hold of the trunk that waits behind the refresh is not answered by it.
#[test]
fn tr_040_tr_043_another_key_in_the_answer_to_our_refresh_is_taken() {
    for (waiting, tag) in [(false, 1), (true, 2)] {
        let mut world = World::new();
        let offer = SECURE.replace("crypto:1", &format!("crypto:{tag}"));
        let timer = "SUPPORTED: timer\nSESSION-EXPIRES: 1800;refresher=uas\n";
        let call = teams_invite("+33123456789", "t1", timer, &offer);
        world.hear(PROXY, &call);
        let invite = world.expect(CARRIER, "INVITE ");
        let answer = reply(&invite, "200 OK", "c1", "Contact: <sip:c@127.0.0.50:5070>\n", PLAIN);
        world.hear(CARRIER, &answer);
        world.expect(CARRIER, "ACK ");
        let ok = world.expect(PROXY, "SIP/2.0 200");
        assert!(value(&ok, "Session-Expires").ends_with("refresher=uas"), "{ok}");
        let ack = teams_invite("+33123456789", "t1", "", "").replace("INVITE", "ACK");
        let to = format!("TO: {}", value(&ok, "To"));
        let ack = ack.replace("TO: <sip:+33123456789@t001.sbc.test>", &to);
        world.hear(PROXY, &ack.replace("z9hG4bKt1", "z9hG4bKt2"));
        world.wait(Duration::from_secs(900));
        let refresh = world.expect(PROXY, "INVITE ");
        assert_eq!(body(&refresh), body(&ok), "what stands");
        if waiting {
            let hold = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
            let hold = with_body(
                &format!(
                    "INVITE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKh\n\
                     Max-Forwards: 70\nFrom: {};tag=c1\nTo: {}\nCall-ID: {}\nCSeq: 2 INVITE\n\
                     Contact: <sip:c@{CARRIER}>\n",
                    value(&invite, "To"),
                    value(&invite, "From"),
                    value(&invite, "Call-ID"),
                ),
                &hold,
            );
            world.hear(CARRIER, &hold);
        }
        let moved = offer.replace(KEY, KEY_B).replace("o=- 1 1", "o=- 1 2");
        let moved = moved.replace("audio 40000", "audio 42000");
        world.hear(PROXY, &reply(&refresh, "200 OK", "", "", &moved).replace(";tag=\n", "\n"));
        world.expect(PROXY, "ACK ");
        let side = &world.plan().sides[0];
        let receive = &side.security.as_ref().expect("keys").receive;
        assert_eq!(receive.iter().map(|key| key.key_salt()[0]).collect::<Vec<_>>(), [1]);
        assert_eq!(side.rtp.map(|at| at.port()), Some(42000));
        if !waiting {
            world.nothing_but(CARRIER, &["OPTIONS"]);
            continue;
        }
        // The hold reaches Teams in an offer of its own, and its refusal the trunk.
        let offered = world.expect(PROXY, "INVITE ");
        assert!(body(&offered).contains("a=inactive"), "{offered}");
        world.hear(PROXY, &reply(&offered, "488 No", "", "", "").replace(";tag=\n", "\n"));
        world.expect(CARRIER, "SIP/2.0 488");
    }
}
