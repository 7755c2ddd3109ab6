//! What the caller hears until the answer, by `early_media` of its trunk, on the wire.

use std::thread;
use std::time::{Duration, Instant};

use lab::media::{Law, loudest};

use crate::harness::dialog::Dialog;
use crate::harness::media::{MediaEnd, Rtp, talk};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::talking::{CALLED, CALLER, answer_to};
use crate::harness::wire::Received;

fn scene(test: &str, trunk: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.trunk("carrier-a", "udp", CARRIER_A, trunk).usual_tenant();
    scene
}

/// A call that has reached Teams: the trunk's end and its media, and the two of Teams.
struct Ringing {
    caller: Dialog,
    near: MediaEnd,
    invite: Received,
    callee: Dialog,
    far: MediaEnd,
}

impl Ringing {
    fn new(teams: &Teams, carrier: &Carrier) -> Self {
        let near = MediaEnd::new(carrier.ip(), 7930);
        let far = MediaEnd::new(teams.place.ip(PROXY), 7930);
        let caller = carrier.call(CALLER, CALLED, &near.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        Self { caller, near, invite, callee, far }
    }

    /// Statuses of the trunk's INVITE so far, with `+` where there was SDP.
    fn told(&self, carrier: &Carrier) -> Vec<String> {
        let answers = carrier.inbox.all().into_iter().filter(|r| r.msg.status() > 100);
        let shown = |r: Received| {
            format!("{}{}", r.msg.status(), if r.msg.body.is_empty() { "" } else { "+" })
        };
        let mut told: Vec<String> = answers.map(shown).collect();
        // On UDP the 200 is repeated until its ACK.
        told.dedup();
        told
    }

    fn hang_up(mut self) {
        self.caller.send("BYE", "", "");
        self.callee.hung_up();
        self.caller.took_200("BYE");
    }
}

/// TR-029: Teams rings, then describes early media that stay silent. By default the trunk keeps the ringback that it
/// has begun; `pass` lets it know.
#[test]
fn tr_029_a_silent_183_breaks_no_ringback_unless_it_is_passed() {
    for (test, keys, told) in [
        ("tr_029_first", "", &["180", "200+"][..]),
        ("tr_029_pass", "early_media = \"pass\"", &["180", "183+", "200+"]),
    ] {
        let scene = scene(test, keys);
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let mut call = Ringing::new(&teams, &carrier);
        call.callee.reply(&call.invite, "180 Ringing", "", "");
        call.caller.response(180);
        let (sdp, _, _) = answer_to(&mut call.far, &call.invite.msg);
        call.callee.reply(&call.invite, "183 Session Progress", "", &sdp);
        thread::sleep(Duration::from_millis(300));
        call.callee.reply(&call.invite, "200 OK", "", &sdp);
        let answer = call.caller.response(200);
        call.caller.ack();
        call.callee.take("ACK");
        assert_eq!(call.told(&carrier), told, "{test}");
        call.near.towards(&answer.msg);
        talk(&mut call.near, &mut call.far, 40);
        call.hang_up();
    }
}

fn samples(heard: &[Rtp]) -> Vec<i16> {
    let law = |kind: u8| if kind == 8 { Law::A } else { Law::Mu };
    let bytes = heard.iter().flat_map(|p| p.payload.iter().map(|byte| (p.payload_type, *byte)));
    bytes.map(|(kind, byte)| law(kind).decode(byte)).collect()
}

/// TR-029: ringback of France (440 Hz, 1.5 s on, 3.5 s off) from the gateway, also while Teams has described early
/// media and sends none; then what Teams sends, and after the answer both ways: one stream to the trunk over all of it.
#[test]
fn tr_029_generated_ringback_lasts_until_the_first_packet_of_teams() {
    let scene = scene("tr_029_generate", "country = \"FR\"\nearly_media = \"generate\"");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Ringing::new(&teams, &carrier);
    call.callee.reply(&call.invite, "180 Ringing", "", "");
    let early = call.caller.response(183);
    call.near.towards(&early.msg);
    let began = Instant::now();
    let (sdp, _, _) = answer_to(&mut call.far, &call.invite.msg);
    let mut described = false;
    let mut heard = Vec::new();
    while began.elapsed() < Duration::from_secs(6) {
        if !described && began.elapsed() > Duration::from_secs(2) {
            described = true;
            call.callee.reply(&call.invite, "183 Session Progress", "", &sdp);
        }
        heard.extend(call.near.hear());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(heard.len().abs_diff(300) < 8, "{} packets in 6 s", heard.len());
    // In parts of a quarter of a second: 6 of tone, 14 of silence, tone again; edges between two parts aside.
    let parts = samples(&heard);
    for (n, part) in parts.chunks_exact(2000).enumerate() {
        let want = if n % 20 < 6 { Some(440) } else { None };
        assert_eq!(loudest(part), want, "part {n}");
    }
    // The first packet of Teams ends it; from then on the trunk hears what Teams says.
    let mut said = Vec::new();
    for _ in 0..50 {
        said.push(call.far.speak());
        thread::sleep(Duration::from_millis(20));
    }
    let late = call.near.hear();
    let first = late.iter().position(|p| said.iter().any(|s| s.payload == p.payload));
    let first = first.expect("Teams is heard");
    assert!(first < 10, "{first} packets of ringback after Teams spoke");
    let rest: Vec<_> = late[first..].iter().map(|packet| &packet.payload).collect();
    let ends: Vec<_> =
        said[said.len() - rest.len()..].iter().map(|packet| &packet.payload).collect();
    assert_eq!(rest, ends, "nothing of ringback in between, nothing lost");
    for pair in heard.iter().chain(&late).collect::<Vec<_>>().windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    call.callee.reply(&call.invite, "200 OK", "", &sdp);
    let answer = call.caller.response(200);
    assert_eq!(answer.msg.body, early.msg.body, "one answer (RFC 3261 13.2.1)");
    call.caller.ack();
    call.callee.take("ACK");
    assert_eq!(call.told(&carrier), ["183+", "200+"]);
    talk(&mut call.near, &mut call.far, 40);
    call.hang_up();
}
