//! A copy of what a peer says, for another thread.

use media_relay::srtp::Suite;
use media_relay::tap::{TapReader, tap};
use media_relay::{Command, Play, Side};

use crate::bench::{Bench, SESSION, ms};
use crate::peer::{Packet, Peer, security};
use crate::play::music;

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

fn put_on(bench: &mut Bench, side: Side, bytes: usize) -> TapReader {
    let (tap, reader) = tap(bytes, bench.now);
    bench.command(&Command::Tap { session: SESSION, side, tap: Some(tap) });
    reader
}

/// All that waits, as packets, with the time they came.
fn taken(reader: &mut TapReader) -> Vec<(std::time::Instant, Packet)> {
    let mut payload = [0; TapReader::LONGEST];
    std::iter::from_fn(|| {
        let frame = reader.read(&mut payload)?;
        let packet = Packet {
            payload_type: frame.payload_type,
            marker: frame.marker,
            sequence: frame.sequence,
            timestamp: frame.timestamp,
            ssrc: frame.ssrc.0,
            payload: payload[..frame.len].to_vec(),
        };
        Some((frame.at, packet))
    })
    .collect()
}

/// In the clear, with the peer's own numbers, each packet once; what is forged is not in it.
#[test]
fn what_a_peer_says_is_copied_as_it_was_said() {
    let mut bench = Bench::with(|[_, b]| b.security = security(SUITE, 1, 2));
    let (mut a, mut b) = (Peer::plain(1), Peer::secure(2, SUITE, 1, 2));
    bench.talk(Side::B, &mut b, &mut a);
    let mut reader = put_on(&mut bench, Side::B, 100_000);
    let mut said = Vec::new();
    for _ in 0..100 {
        let (packet, wire) = b.say();
        let mut forged = wire.clone();
        forged[20] ^= 1;
        assert!(bench.rtp(Side::B, &forged).is_none());
        bench.rtp(Side::B, &wire).expect("relayed");
        assert!(bench.rtp(Side::B, &wire).is_none(), "a second copy");
        said.push((bench.now, packet));
        bench.talk(Side::A, &mut a, &mut b);
        bench.pass(ms(20));
    }
    assert_eq!(taken(&mut reader), said);
    assert_eq!(reader.dropped(), 0);
    // Also while the call is held and something is played.
    bench.plan.sides[0].play = Some(Play { payload: 0, ..music(true) });
    bench.apply();
    let (packet, wire) = b.say();
    assert!(bench.rtp(Side::B, &wire).is_none());
    assert_eq!(taken(&mut reader), [(bench.now, packet)]);
    // Taken off, it ends.
    bench.plan.sides[0].play = None;
    bench.apply();
    bench.command(&Command::Tap { session: SESSION, side: Side::B, tap: None });
    assert!(reader.has_ended());
    bench.talk(Side::B, &mut b, &mut a);
    assert!(taken(&mut reader).is_empty());
}

/// Who does not read loses frames; the call loses nothing.
#[test]
fn a_reader_that_stalls_costs_the_call_nothing() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    // Room for a hundred frames of 25 words.
    let mut reader = put_on(&mut bench, Side::A, 100 * 25 * 8);
    let mut said = Vec::new();
    for _ in 0..1000 {
        said.push((bench.now, bench.talk(Side::A, &mut a, &mut b).0));
        bench.talk(Side::B, &mut b, &mut a);
        bench.pass(ms(20));
    }
    assert_eq!(reader.dropped(), 900);
    assert_eq!(taken(&mut reader), said[..100], "the first ones, whole");
    let stats = bench.stats(Side::A);
    assert_eq!((stats.received, stats.relayed, stats.lost), (1000, 1000, 0));
    let (_, heard) = (bench.now, bench.talk(Side::A, &mut a, &mut b).1);
    let next = taken(&mut reader);
    assert_eq!(next.len(), 1, "it goes on when there is room");
    assert_eq!(next[0].1.payload, heard.payload);
}

/// A tap serves one side of one session, and ends with it.
#[test]
fn a_tap_has_one_writer_and_ends_with_its_session() {
    let mut bench = Bench::plain();
    let (mut a, mut b) = (Peer::plain(1), Peer::plain(2));
    let (used, mut reader) = tap(10_000, bench.now);
    for side in [Side::A, Side::B] {
        let tap = Some(used.clone());
        bench.command(&Command::Tap { session: SESSION, side, tap });
    }
    drop(used);
    bench.talk(Side::A, &mut a, &mut b);
    bench.talk(Side::B, &mut b, &mut a);
    let packets = taken(&mut reader);
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].1.ssrc, 1);
    assert!(!reader.has_ended());
    bench.command(&Command::Release(SESSION));
    assert!(reader.has_ended());
    // Of a session that is not there.
    let (stray, mut reader) = tap(10_000, bench.now);
    bench.command(&Command::Tap { session: SESSION, side: Side::A, tap: Some(stray) });
    assert!(reader.has_ended() && taken(&mut reader).is_empty());
}
