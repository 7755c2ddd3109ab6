//! Re-INVITEs of a trunk that others have been seen to pass on where they should not (§9 of the rules, and the field): a
//! refresh that changes nothing, one without an offer, one for a fax.

use super::*;

/// The trunk's re-INVITE, and our final answer to it, acknowledged with this body.
fn re_invites(world: &mut World, ok: &str, cseq: u32, offer: &str, in_ack: &str) -> String {
    world.hear(CARRIER, &carrier_reinvite(ok, cseq, offer));
    world.expect(CARRIER, "SIP/2.0 100");
    let answer = world.expect(CARRIER, "SIP/2.0 ");
    acknowledge(world, ok, cseq, in_ack);
    answer
}

fn acknowledge(world: &mut World, ok: &str, cseq: u32, body: &str) {
    let head = format!(
        "ACK sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKa{cseq}\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: {cseq} ACK\n",
        value(ok, "From"),
        value(ok, "To"),
    );
    world.hear(CARRIER, &with_body(&head, body));
}

/// TR-042 on the trunk's side: the same session, whatever the version of its description, goes no further; nor does a
/// refresh without any.
#[test]
fn tr_042_a_refresh_of_the_trunk_is_absorbed() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.sent.clear();
    let before = format!("{:?}", world.plan());
    for (cseq, version) in [(2, 1), (3, 2), (4, 7)] {
        let sdp = PLAIN.replace("o=- 1 1", &format!("o=- 1 {version}"));
        let answer = re_invites(&mut world, &ok, cseq, &sdp, "");
        assert!(answer.starts_with("SIP/2.0 200") && body(&answer) == body(&ok), "{answer}");
    }
    let update = carrier_reinvite(&ok, 5, "").replace("INVITE", "UPDATE");
    world.hear(CARRIER, &update.replace("z9hG4bKr5", "z9hG4bKu5"));
    world.expect(CARRIER, "SIP/2.0 200");
    world.nothing_but(PROXY, &["OPTIONS"]);
    assert_eq!(format!("{:?}", world.plan()), before);
}

/// Asked to offer, we offer what stands, and its answer goes on only where it changes something: a hold does, and so does
/// its end, though the other side has only obeyed it.
#[test]
fn tr_050_an_offerless_re_invite_is_answered_with_what_stands() {
    let mut world = World::new();
    let (invite, ok) = answered(&mut world);
    world.sent.clear();
    let offer = re_invites(&mut world, &ok, 2, "", PLAIN);
    assert_eq!(body(&offer), body(&ok));
    world.nothing_but(PROXY, &["OPTIONS"]);
    let mut version = 1;
    for (cseq, direction, told) in
        [(3, "a=sendonly\n", "a=inactive"), (4, "a=sendrecv\n", "a=sendrecv")]
    {
        let offer = re_invites(&mut world, &ok, cseq, "", &(PLAIN.to_owned() + direction));
        assert!(offer.starts_with("SIP/2.0 200") && offer.contains("a=sendrecv"), "{offer}");
        let passed = world.expect(PROXY, "INVITE ");
        assert!(passed.contains(told), "{passed}");
        version += 1;
        let sdp = SECURE.replace("o=- 1 1", &format!("o=- 1 {version}")) + told + "\n";
        world.hear(PROXY, &reply(&passed, "200 OK", "", "", &sdp).replace(";tag=\n", "\n"));
        world.expect(PROXY, "ACK ");
        let teams = &world.plan().sides[1];
        assert_eq!(teams.send && teams.receive, told == "a=sendrecv", "{direction}");
    }
    // Teams asks as well: it gets what stands, and the trunk hears of nothing.
    world.hear(PROXY, &in_dialog(&invite, "INVITE", 2, "t1", TEAMS_CONTACT, ""));
    let offer = world.expect(PROXY, "SIP/2.0 200");
    assert!(offer.contains("a=sendrecv"), "{offer}");
    world.hear(PROXY, &in_dialog(&invite, "ACK", 2, "t1", "", SECURE));
    world.nothing_but(CARRIER, &["OPTIONS"]);
}

/// A fax is 488 at once, nothing of it reaches Teams, and the call stays; beside audio its stream alone is refused. Between
/// two trunks it passes ([`super::fax`]).
#[test]
fn t_38_is_refused_and_the_call_stays() {
    const FAX: &str = "m=image 30002 udptl t38\na=T38FaxVersion:0\n";
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.sent.clear();
    let before = format!("{:?}", world.plan());
    let audio = PLAIN.find("m=audio").expect("audio");
    let audio_line = PLAIN[audio..].lines().next().expect("a line");
    let alone = PLAIN[..audio].to_owned() + FAX;
    let instead = PLAIN.replace(audio_line, "m=audio 0 RTP/AVP 8 0 101") + FAX;
    for (cseq, offer) in [(2, &alone), (3, &instead)] {
        let answer = re_invites(&mut world, &ok, cseq, offer, "");
        assert!(answer.starts_with("SIP/2.0 488"), "{answer}");
    }
    let answer = re_invites(&mut world, &ok, 4, &(PLAIN.to_owned() + FAX), "");
    assert!(
        answer.starts_with("SIP/2.0 200") && answer.contains("m=image 0 udptl t38"),
        "{answer}"
    );
    world.nothing_but(PROXY, &["OPTIONS"]);
    assert_eq!(format!("{:?}", world.plan()), before);
    assert!(world.records.is_empty());
}
