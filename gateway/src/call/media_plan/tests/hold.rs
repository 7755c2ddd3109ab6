//! Music on hold: who is told of a hold, who hears what, and what comes back.

use media_relay::audio::Law;

use super::*;

/// The callee, a trunk, has music; the caller, Teams, as well if `both`.
fn musical(both: bool) -> CallMedia {
    let clip = |length: usize| Some(Arc::new(Clip::new(&vec![0; length]).unwrap()));
    let mut media = media([SECURE, PLAIN]);
    media.set_music([clip(1).filter(|_| both), clip(2)]);
    exchange(&mut media, &secure_80(""), &plain(""));
    media
}

/// The length of what each side hears.
fn heard(media: &CallMedia) -> [Option<usize>; 2] {
    let length = |side: &SidePlan| side.play.as_ref().map(|play| play.clip.bytes(play.law).len());
    media.plan().sides.each_ref().map(length)
}

/// An offer that concerns the offering side alone, and the direction of our answer.
fn alone(media: &mut CallMedia, at: usize, offer: &str) -> Direction {
    media.take_offer(at, offer.as_bytes(), &Owned::default()).unwrap();
    assert!(!media.concerns_other(at), "the other side need not know");
    direction(&text(media.answer(at, &mut random()).unwrap()))
}

fn direction(sdp: &str) -> Direction {
    Sdp::parse(sdp.as_bytes()).unwrap().direction(0)
}

#[test]
fn tr_051_teams_holds_and_the_trunk_hears_music_and_no_offer() {
    let mut media = musical(false);
    assert_eq!(heard(&media), [None, None]);
    for _ in 0..2 {
        let answer = alone(&mut media, 0, &secure_80("a=inactive\r\n"));
        assert_eq!(answer, Direction::Inactive);
        assert_eq!(heard(&media), [None, Some(2)]);
        let [teams, trunk] = media.plan().sides;
        assert!(trunk.send && trunk.receive && !teams.send && !teams.receive);
        let play = trunk.play.unwrap();
        assert_eq!((play.law, play.payload, play.looped), (Law::A, 8, true));
        // Who is held refreshes its session, moves, and is told no hold.
        let moved = plain("").replace("203.0.113.5", "203.0.113.6");
        assert_eq!(alone(&mut media, 1, &moved), Direction::SendRecv);
        assert_eq!(heard(&media), [None, Some(2)]);
        assert!(media.agrees(0) && media.agrees(1));

        assert_eq!(alone(&mut media, 0, &secure_80("")), Direction::SendRecv);
        assert_eq!(heard(&media), [None, None]);
        assert!(media.plan().sides.iter().all(|side| side.send && side.receive));
    }
    // Asked for an offer while it is held.
    alone(&mut media, 0, &secure_80("a=inactive\r\n"));
    assert_eq!(direction(&text(media.offer(1, &mut random()))), Direction::SendRecv);
}

/// Every way in which a trunk holds; Teams stays as it was.
#[test]
fn tr_050_a_trunk_holds_and_teams_hears_music_and_no_offer() {
    for hold in ["a=sendonly\r\n", "a=inactive\r\n", "0.0.0.0"] {
        let mut media = musical(true);
        let offer = match hold {
            "0.0.0.0" => plain("").replace("c=IN IP4 203.0.113.5", "c=IN IP4 0.0.0.0"),
            attribute => plain(attribute),
        };
        let answer = alone(&mut media, 1, &offer);
        assert!(!answer.sends(), "{hold}: {answer:?}");
        assert_eq!(heard(&media), [Some(1), None], "{hold}");
        assert!(media.plan().sides[0].send && !media.plan().sides[1].send, "{hold}");
        assert_eq!(alone(&mut media, 1, &plain("")), Direction::SendRecv);
        assert_eq!(heard(&media), [None, None]);
    }
    // It listens and says nothing: no hold.
    let mut media = musical(true);
    media.take_offer(1, plain("a=recvonly\r\n").as_bytes(), &Owned::default()).unwrap();
    assert!(media.concerns_other(1));
}

/// A trunk that only listens is shown to Teams as inactive, and Teams obeys: that is nobody's hold.
#[test]
fn who_only_obeys_does_not_hold() {
    let owned = Owned::default();
    let mut media = musical(false);
    let described = |media: &mut CallMedia, offer: &str, answer: &str| {
        media.take_offer(1, plain(offer).as_bytes(), &owned).unwrap();
        assert!(media.concerns_other(1), "{offer}");
        let shown = direction(&text(media.offer(0, &mut random())));
        media.take_answer(0, secure_80(answer).as_bytes(), &owned).unwrap();
        let back = direction(&text(media.answer(1, &mut random()).unwrap()));
        (shown, back)
    };
    for _ in 0..2 {
        let (shown, back) = described(&mut media, "a=recvonly\r\n", "a=inactive\r\n");
        assert_eq!((shown, back), (Direction::Inactive, Direction::Inactive));
        assert_eq!(heard(&media), [None, None]);
        assert!(!media.lacks_music(1) && media.agrees(0) && media.agrees(1));
        // Nor is it when Teams repeats it.
        assert_eq!(alone(&mut media, 0, &secure_80("a=inactive\r\n")), Direction::Inactive);
        assert_eq!(heard(&media), [None, None]);
        let (shown, back) = described(&mut media, "", "");
        assert_eq!((shown, back), (Direction::SendRecv, Direction::SendRecv));
    }
}

/// Between trunks: who is asked to talk to a listener and does so is heard, and not music in its place.
#[test]
fn who_talks_to_a_listener_is_heard() {
    let owned = Owned::default();
    let mut media = media([PLAIN, PLAIN]);
    media.set_music([Some(Arc::new(Clip::new(&[0]).unwrap())), None]);
    exchange(&mut media, &plain(""), &plain(""));
    for (answer, music) in [("a=sendonly\r\n", false), ("a=inactive\r\n", true)] {
        media.take_offer(0, plain("a=recvonly\r\n").as_bytes(), &owned).unwrap();
        assert!(media.concerns_other(0), "{answer}");
        assert_eq!(direction(&text(media.offer(1, &mut random()))), Direction::RecvOnly);
        media.take_answer(1, plain(answer).as_bytes(), &owned).unwrap();
        let back = direction(&text(media.answer(0, &mut random()).unwrap()));
        assert_eq!(back, Direction::SendOnly, "{answer}");
        let [listener, talker] = media.plan().sides;
        assert!(listener.send && talker.receive != music, "{answer}");
        assert_eq!(listener.play.is_some(), music, "{answer}");
        exchange(&mut media, &plain(""), &plain(""));
    }
}

#[test]
fn both_hold_and_each_hears_music_when_it_comes_back() {
    let mut media = musical(true);
    alone(&mut media, 0, &secure_80("a=inactive\r\n"));
    assert_eq!(alone(&mut media, 1, &plain("a=inactive\r\n")), Direction::Inactive);
    assert_eq!(heard(&media), [None, None], "nobody listens");
    assert_eq!(alone(&mut media, 0, &secure_80("")), Direction::SendRecv);
    assert_eq!(heard(&media), [Some(1), None]);
    assert_eq!(alone(&mut media, 1, &plain("")), Direction::SendRecv);
    assert_eq!(heard(&media), [None, None]);
    assert!(media.plan().sides.iter().all(|side| side.send && side.receive));
}

/// Without G.711 there is nothing to play it as: the hold is passed on.
#[test]
fn a_side_without_g_711_is_told_of_the_hold() {
    let owned = Owned::default();
    let mut media = media([SECURE, PLAIN]);
    media.set_music([None, Some(Arc::new(Clip::new(&[0]).unwrap()))]);
    let silk = plain("a=rtpmap:104 SILK/16000\r\n").replace("AVP 8 96", "AVP 104 96");
    exchange(&mut media, &secure_80(""), &silk);
    media.take_offer(0, secure_80("a=inactive\r\n").as_bytes(), &owned).unwrap();
    assert!(media.lacks_music(1) && media.concerns_other(0));
    assert_eq!(direction(&text(media.offer(1, &mut random()))), Direction::Inactive);
    let held = silk.clone() + "a=inactive\r\n";
    media.take_answer(1, held.as_bytes(), &owned).unwrap();
    media.answer(0, &mut random()).unwrap();
    assert_eq!(heard(&media), [None, None]);
    assert!(!musical(true).lacks_music(1), "nobody holds");
}

/// The law and type that the held side wants, not those of the talk.
#[test]
fn the_music_is_sent_as_the_held_side_wants_it() {
    for (formats, law, payload) in [
        ("AVP 0 8 96", Law::Mu, 0),
        ("AVP 8 0 96", Law::A, 8),
        ("AVP 97 96\r\na=rtpmap:97 pcmu/8000", Law::Mu, 97),
        ("AVP 97 8 96\r\na=rtpmap:97 PCMU/16000", Law::A, 8),
    ] {
        let mut media = media([SECURE, PLAIN]);
        media.set_music([None, Some(Arc::new(Clip::new(&[0]).unwrap()))]);
        let answer = plain("").replace("AVP 8 96", formats);
        exchange(&mut media, &secure_80(""), &answer);
        alone(&mut media, 0, &secure_80("a=inactive\r\n"));
        let play = media.plan().sides[1].play.clone().unwrap();
        assert_eq!((play.law, play.payload), (law, payload), "{formats}");
    }
}

/// A call that begins on hold is offered so; nothing is known of the other side yet.
#[test]
fn a_call_that_begins_on_hold_begins_so_on_both_sides() {
    let mut media = media([SECURE, PLAIN]);
    media.set_music([None, Some(Arc::new(Clip::new(&[0]).unwrap()))]);
    let (offer, _, plan) =
        exchange(&mut media, &secure_80("a=inactive\r\n"), &plain("a=inactive\r\n"));
    assert_eq!(direction(&offer), Direction::Inactive);
    assert!(plan.sides.iter().all(|side| side.play.is_none()));
    // Resumed, both sides are told, and from then on a hold is music.
    media.take_offer(0, secure_80("").as_bytes(), &Owned::default()).unwrap();
    assert!(media.concerns_other(0));
    assert_eq!(direction(&text(media.offer(1, &mut random()))), Direction::SendRecv);
    media.take_answer(1, plain("").as_bytes(), &Owned::default()).unwrap();
    let answer = media.answer(0, &mut random()).unwrap();
    assert_eq!(direction(&text(answer)), Direction::SendRecv);
    assert_eq!(alone(&mut media, 0, &secure_80("a=inactive\r\n")), Direction::Inactive);
    assert_eq!(heard(&media), [None, Some(1)]);
    assert_eq!(alone(&mut media, 0, &secure_80("")), Direction::SendRecv);
}

/// G.711 that only the peer named is none that it expects (RFC 3264 §6.1).
#[test]
fn music_is_never_sent_as_what_we_did_not_name() {
    let owned = Owned::default();
    let mut media = media([SECURE, PLAIN]);
    media.set_music([Some(Arc::new(Clip::new(&[0]).unwrap())), None]);
    // Teams offers G.711 as well; the trunk takes SILK, and so do we.
    let trunk = plain("a=rtpmap:104 SILK/16000\r\n").replace("AVP 8 96", "AVP 104 96");
    exchange(&mut media, &secure_80(""), &trunk);
    media.take_offer(1, (trunk + "a=inactive\r\n").as_bytes(), &owned).unwrap();
    assert!(media.lacks_music(0) && media.concerns_other(1), "the hold is passed on");
}
