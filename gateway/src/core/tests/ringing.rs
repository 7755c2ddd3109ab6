//! What the caller hears before the answer, by `early_media` of its trunk.

use config::EarlyMedia;
use media_relay::Play;

use super::*;

/// A world whose first trunk has this mode, and the INVITE that reached the proxy.
fn called(mode: EarlyMedia, offer: &str) -> (World, String) {
    let mut config = config();
    config.trunks[0].early_media = mode;
    config.trunks[0].country = config::Country::parse("US");
    let mut world = World::with(config);
    world.hear(CARRIER, &carrier_invite("+442079460001", offer));
    world.expect(CARRIER, "SIP/2.0 100");
    let invite = world.expect(PROXY, "INVITE ");
    (world, invite)
}

/// What the caller was told since: statuses, with `+` where there was SDP.
fn told(world: &mut World) -> Vec<String> {
    let sent = world.sent.drain(..).filter(|(target, _)| target.remote.to_string() == CARRIER);
    let answers = sent.filter(|(_, text)| text.starts_with("SIP/2.0 "));
    answers
        .map(|(_, text)| {
            format!("{}{}", &text[8..11], if body(&text).is_empty() { "" } else { "+" })
        })
        .collect()
}

fn ringback(world: &World) -> Option<&Play> {
    world.plan().sides[0].play.as_ref()
}

fn rings(world: &mut World, invite: &str, status: &str, tag: &str, body: &str) {
    world.hear(PROXY, &reply(invite, status, tag, TEAMS_CONTACT, body));
}

const RINGING: &str = "180 Ringing";
const PROGRESS: &str = "183 Session Progress";

/// TR-029, TR-027: a ringback that has begun is not broken off by a 183 with SDP that may be silent; `pass` passes it.
#[test]
fn tr_027_tr_029_first_keeps_to_what_came_first_and_pass_passes_all() {
    use EarlyMedia::{First, Pass};
    type Case = (EarlyMedia, &'static [(&'static str, &'static str)], &'static [&'static str]);
    let cases: [Case; 8] = [
        (First, &[(RINGING, ""), (PROGRESS, SECURE)], &["180"]),
        (First, &[(PROGRESS, SECURE), (RINGING, "")], &["183+"]),
        (First, &[("181 Forwarded", ""), (PROGRESS, ""), (RINGING, "")], &["181", "183", "180"]),
        (First, &[(RINGING, SECURE), (PROGRESS, SECURE)], &["180+"]),
        (Pass, &[(RINGING, ""), (PROGRESS, SECURE)], &["180", "183+"]),
        (Pass, &[(PROGRESS, SECURE), (RINGING, "")], &["183+", "180"]),
        (Pass, &[(RINGING, ""), (RINGING, ""), (RINGING, SECURE)], &["180", "180+"]),
        (First, &[(RINGING, ""), (RINGING, "")], &["180"]),
    ];
    for (mode, ringing, want) in cases {
        let (mut world, invite) = called(mode, PLAIN);
        for (n, (status, body)) in ringing.iter().enumerate() {
            rings(&mut world, &invite, status, &format!("t{n}"), body);
        }
        assert_eq!(told(&mut world), want, "{mode:?} {ringing:?}");
        rings(&mut world, &invite, "200 OK", "t0", SECURE);
        assert_eq!(told(&mut world), ["200+"]);
        assert!(ringback(&world).is_none());
    }
}

/// TR-029: ringback of the trunk's country from the first sign of ringing to the answer; the relay ends it earlier, when
/// the callee speaks.
#[test]
fn tr_029_generate_rings_until_the_first_packet() {
    for first in [(RINGING, ""), (PROGRESS, SECURE), (PROGRESS, "")] {
        let (mut world, invite) = called(EarlyMedia::Generate, PLAIN);
        rings(&mut world, &invite, first.0, "t1", first.1);
        assert_eq!(told(&mut world), ["183+"], "{first:?}");
        let play = ringback(&world).expect("ringback");
        // 2 s of tone and 4 s of silence (North America), as PCMA, which the caller offered first.
        assert_eq!(
            (play.clip.duration(), play.payload, play.looped && play.yields),
            (Duration::from_secs(6), 8, true)
        );
        let [caller, callee] = &world.plan().sides;
        assert_eq!((caller.send, callee.receive), (true, !first.1.is_empty()));
        rings(&mut world, &invite, RINGING, "t2", "");
        rings(&mut world, &invite, PROGRESS, "t3", SECURE);
        assert_eq!(told(&mut world), [""; 0], "it hears enough");
        assert!(ringback(&world).is_some());
        rings(&mut world, &invite, "200 OK", "t1", SECURE);
        assert_eq!(told(&mut world), ["200+"]);
        assert!(ringback(&world).is_none());
    }
}

/// Nothing was heard before the answer: the answer ends the ringback. The 200 says what the 183 said (RFC 3261 §13.2.1),
/// and nothing is left to be told.
#[test]
fn an_answer_ends_the_ringback() {
    let (mut world, invite) = called(EarlyMedia::Generate, PLAIN);
    rings(&mut world, &invite, RINGING, "t1", "");
    let early = world.expect(CARRIER, "SIP/2.0 183");
    assert!(ringback(&world).is_some());
    let both = SECURE.replace("SAVP 8 101", "SAVP 8 0 101");
    rings(&mut world, &invite, "200 OK", "t1", &both);
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(body(&ok), body(&early));
    assert!(ringback(&world).is_none());
    world.hear(CARRIER, &carrier_ack(&ok));
    world.wait(Duration::from_secs(5));
    world.nothing_but(CARRIER, &["OPTIONS"]);
}

/// A caller that offers wideband as well is asked for G.711, so that one answer fits all that may follow. Without G.711,
/// or without an offer, there is no ringback of ours.
#[test]
fn generated_ringback_is_g711() {
    let wide = PLAIN.replace("AVP 8 0 101", "AVP 9 0 101");
    let (mut world, invite) = called(EarlyMedia::Generate, &wide);
    assert!(invite.contains("RTP/SAVP 0 101\r\n"), "{invite}");
    rings(&mut world, &invite, RINGING, "t1", "");
    let early = world.expect(CARRIER, "SIP/2.0 183");
    assert!(body(&early).contains("RTP/AVP 0 101\r\n"), "{early}");
    assert_eq!(ringback(&world).expect("ringback").payload, 0);
    for offer in [PLAIN.replace("AVP 8 0 101", "AVP 9 101"), String::new()] {
        let (mut world, invite) = called(EarlyMedia::Generate, &offer);
        rings(&mut world, &invite, RINGING, "t1", "");
        assert_eq!(told(&mut world), ["180"]);
        assert!(world.media.is_empty());
    }
}

/// Early media of one device, the answer of another that takes another codec: the caller keeps the description that it
/// has, and is told of the change in a re-INVITE once it has acknowledged (RFC 3261 §13.2.1, §14.1).
#[test]
fn an_answer_that_differs_from_early_media_is_offered_anew() {
    let (mut world, invite) = called(EarlyMedia::Pass, PLAIN);
    rings(&mut world, &invite, PROGRESS, "t1", SECURE);
    let early = world.expect(CARRIER, "SIP/2.0 183");
    assert!(body(&early).contains("RTP/AVP 8 101\r\n"));
    rings(&mut world, &invite, PROGRESS, "t2", &SECURE.replace("SAVP 8 101", "SAVP 0 101"));
    rings(&mut world, &invite, "200 OK", "t2", &SECURE.replace("SAVP 8 101", "SAVP 0 101"));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert_eq!(body(&ok), body(&early));
    world.hear(CARRIER, &carrier_ack(&ok));
    let offer = world.expect(CARRIER, "INVITE ");
    assert!(body(&offer).contains("RTP/AVP 0 101\r\n"), "{offer}");
    // Meanwhile the caller is asked to wait with what it wants.
    world.hear(CARRIER, &carrier_reinvite(&ok, 2, PLAIN));
    world.expect(CARRIER, "SIP/2.0 491");
    let answer = PLAIN.replace("AVP 8 0 101", "AVP 0 101");
    world.hear(CARRIER, &reply(&offer, "200 OK", "", "", &answer).replace(";tag=\n", "\n"));
    world.expect(CARRIER, "ACK ");
    assert_eq!(world.plan().sides[0].payloads.first(), Some(&(0, 0)));
    assert!(world.records.is_empty());
}
