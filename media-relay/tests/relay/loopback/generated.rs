//! What the threads make themselves: music on their own timer, and copies for a reader in another thread.

use media_relay::tap::TapReader;

use super::*;
use crate::play::music;

/// Two seconds: the peer hears every packet at its time; what it says itself is read here meanwhile.
#[test]
fn music_leaves_by_the_clock_and_what_is_said_is_tapped() {
    let mut rig = Rig::start(17, 1, 4);
    let (a, mut b) = (Phone::plain(1), Phone::secure(2));
    let mut plan = rig.plan(SessionId(1), &a, &b);
    plan.sides[1].play = Some(music(true));
    rig.apply(&plan);
    let began = clock();
    let mut tap = rig.relay.tap(rig.shard, SessionId(1), Side::B, 100_000).unwrap();
    rig.relay.flush();
    let (mut times, mut said, mut buf) = (Vec::new(), Vec::new(), [0; 2048]);
    for n in 0..100 {
        let len = b.socket.recv(&mut buf).unwrap();
        times.push(began.elapsed());
        let heard = b.peer.hear(&buf[..len]);
        assert_eq!((heard.payload.len(), heard.marker), (160, n == 0));
        said.push(b.say(rig.address(plan.sides[1].port)));
    }
    // On the beat, whatever delayed one packet or the other.
    let late = times.iter().zip(0..).filter(|(at, n)| **at > Duration::from_millis(20 * n + 15));
    assert!(late.count() <= 10, "{times:?}");
    assert!(times[99] >= Duration::from_millis(99 * 20 - 5), "{:?}", times[99]);
    let mut payload = [0; TapReader::LONGEST];
    let start = clock();
    let mut tapped = Vec::new();
    while tapped.len() < said.len() {
        assert!(start.elapsed() < PATIENCE, "{} of {}", tapped.len(), said.len());
        match tap.read(&mut payload) {
            Some(frame) => {
                assert!(frame.at >= began && frame.at <= clock());
                tapped.push(payload[..frame.len].to_vec());
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    assert_eq!(tapped, said);
    assert!(!tap.has_ended());
    let [_, b] = rig.release(SessionId(1));
    assert!((100..=103).contains(&b.played) && b.played == b.sent, "{b:?}");
    assert!(tap.has_ended());
    assert_eq!((tap.dropped(), tap.read(&mut payload)), (0, None));
    assert_eq!(rig.relay.counters().next().unwrap().shard.played, b.played);
}
