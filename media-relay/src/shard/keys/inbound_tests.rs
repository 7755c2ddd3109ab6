//! The machine's table, row by row; and its times and bounds.

use super::super::{rtcp_source, rtp_source};
use super::*;
use crate::packet::RtcpWriter;
use crate::packet::Ssrc;
use crate::srtp::{MAX_TRAILER, Mki, Sender, Suite};

/// Something that happens. Keys are 1, 2 and 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Plan(&'static [u8]),
    /// The next packet under a key.
    From(u8),
    /// The last one under key 1 once more.
    Again,
    /// The next one under key 1, with one bit changed.
    Forged,
    Wait(u64),
}
use Step::{Again, Forged, From, Plan, Wait};

/// What became of a packet: Current, Former, Late, a Second copy, or - not authentic.
fn letter(outcome: Result<Opened, Refusal>) -> char {
    match outcome {
        Ok(Opened { standing: Standing::Current, .. }) => 'C',
        Ok(Opened { standing: Standing::Former, .. }) => 'F',
        Ok(Opened { standing: Standing::Late, .. }) => 'L',
        Err(Refusal::Duplicate) => 'S',
        Err(Refusal::Unauthentic) => '-',
        Err(other) => panic!("{other:?}"),
    }
}

struct Rig {
    suite: Suite,
    rtcp: bool,
    inbound: Inbound,
    senders: Vec<Sender>,
    sequence: u16,
    last: Vec<u8>,
    now: Instant,
}

impl Rig {
    fn new(suite: Suite, rtcp: bool) -> Self {
        let senders = (1..=9).map(|byte| Sender::new(&key(suite, byte))).collect();
        let inbound = Inbound::new(start());
        let last = vec![0x80; 60];
        let mut rig = Self { suite, rtcp, inbound, senders, sequence: 100, last, now: start() };
        for byte in 1..=9 {
            // No two have the same SRTCP index.
            (0..20 * byte).for_each(|_| drop(rig.packet(byte)));
        }
        rig
    }

    /// What a packet became, or a space.
    fn step(&mut self, step: Step) -> char {
        match step {
            Plan(named) => {
                let keys: Vec<_> = named.iter().map(|byte| key(self.suite, *byte)).collect();
                self.inbound.apply(&keys, self.now);
                ' '
            }
            Wait(time) => {
                self.now += Duration::from_millis(time);
                ' '
            }
            From(byte) => {
                let wire = self.packet(byte);
                if byte == 1 {
                    self.last.clone_from(&wire);
                }
                self.open(wire)
            }
            Again => self.open(self.last.clone()),
            Forged => {
                let mut wire = self.packet(1);
                wire[10] ^= 1;
                self.open(wire)
            }
        }
    }

    /// All have the same source: what tells them apart is the key alone.
    fn packet(&mut self, byte: u8) -> Vec<u8> {
        self.sequence += 1;
        let sender = &mut self.senders[usize::from(byte) - 1];
        let mut buf = [0; 100 + MAX_TRAILER];
        let len = if self.rtcp {
            let mut writer = RtcpWriter::new(&mut buf);
            writer.receiver_report(Ssrc(7), &[]).unwrap();
            let len = writer.len();
            sender.protect_rtcp(&mut buf, len).unwrap()
        } else {
            buf[..4].copy_from_slice(&[0x80, 8, (self.sequence >> 8) as u8, self.sequence as u8]);
            buf[8..12].copy_from_slice(&7_u32.to_be_bytes());
            sender.protect_rtp(&mut buf, 60).unwrap()
        };
        buf[..len].to_vec()
    }

    fn open(&mut self, mut wire: Vec<u8>) -> char {
        let before = wire.clone();
        let opened = if self.rtcp {
            self.inbound.open(&mut wire, self.now, rtcp_source, Receiver::unprotect_rtcp)
        } else {
            self.inbound.open(&mut wire, self.now, rtp_source, Receiver::unprotect_rtp)
        };
        assert!(opened.is_ok() || wire == before, "refused, and changed");
        assert!(self.inbound.others.len() < NAMED + LEAVING);
        letter(opened)
    }
}

/// Every state met by every event: what the event's packet becomes, and what the next packets under key 1,
/// 2 and 3 would become after it; for RTP and RTCP, in every suite.
#[test]
fn every_state_and_every_event() {
    const EVENTS: [Step; 12] = [
        From(1),
        From(2),
        From(3),
        Again,
        Forged,
        Plan(&[1]),
        Plan(&[2]),
        Plan(&[3]),
        Plan(&[1, 2]),
        Plan(&[]),
        Wait(2000),
        Wait(8000),
    ];
    type Row = (&'static str, &'static [Step], [&'static str; 12]);
    #[rustfmt::skip]
    let table: [Row; 8] = [
        ("no key", &[], [
            "----", "----", "----", "----", "----",
            " C--", " -C-", " --C", " CC-", " ---", " ---", " ---",
        ]),
        ("one, unheard", &[Plan(&[1])], [
            "CC--", "-C--", "-C--", "-C--", "-C--",
            " C--", " FC-", " F-C", " CC-", " ---", " C--", " C--",
        ]),
        ("one, heard", &[Plan(&[1]), From(1)], [
            "CC--", "-C--", "-C--", "SC--", "-C--",
            " C--", " FC-", " F-C", " CC-", " ---", " C--", " C--",
        ]),
        ("two early dialogs", &[Plan(&[1, 2]), From(1)], [
            "CCC-", "CCC-", "-CC-", "SCC-", "-CC-",
            " CL-", " LC-", " FFC", " CC-", " ---", " CC-", " CC-",
        ]),
        ("new key, unheard", &[Plan(&[1]), From(1), Plan(&[2])], [
            "FFC-", "CLC-", "-FC-", "-FC-", "-FC-",
            " CL-", " FC-", " FFC", " CC-", " ---", " FC-", " -C-",
        ]),
        ("new key, heard", &[Plan(&[1]), From(1), Plan(&[2]), From(2)], [
            "LLC-", "CLC-", "-LC-", "-LC-", "-LC-",
            " CL-", " LC-", " LFC", " CC-", " ---", " -C-", " -C-",
        ]),
        ("the other fork was answered", &[Plan(&[1, 2]), From(1), Plan(&[2])], [
            "LLC-", "CLC-", "-LC-", "-LC-", "-LC-",
            " CL-", " LC-", " LFC", " CC-", " ---", " -C-", " -C-",
        ]),
        ("past, the new key unheard", &[Plan(&[1]), From(1), Plan(&[2]), Wait(8000)], [
            "--C-", "C-C-", "--C-", "--C-", "--C-",
            " CF-", " -C-", " -FC", " CC-", " ---", " -C-", " -C-",
        ]),
    ];
    for (suite, rtcp) in Suite::ALL.into_iter().flat_map(|suite| [(suite, false), (suite, true)]) {
        for (name, before, expected) in &table {
            for (event, expected) in EVENTS.into_iter().zip(expected) {
                let found: String = (0..=3)
                    .map(|probe| {
                        let mut rig = Rig::new(suite, rtcp);
                        before.iter().for_each(|step| _ = rig.step(*step));
                        let outcome = rig.step(event);
                        if probe == 0 { outcome } else { rig.step(From(probe)) }
                    })
                    .collect();
                assert_eq!(found, *expected, "{name}, {event:?}, {suite:?}, RTCP {rtcp}");
            }
        }
    }
}

/// An old key ends two seconds after the first packet under the new one, and after eight without any.
#[test]
fn an_old_key_lasts_as_long_as_it_may() {
    let begin = |rtcp| {
        let mut rig = Rig::new(Suite::ALL[0], rtcp);
        assert_eq!([Plan(&[1]), From(1), Plan(&[2])].map(|step| rig.step(step)), [' ', 'C', ' ']);
        rig
    };
    for rtcp in [false, true] {
        let steps = [(Wait(7999), ' '), (From(1), 'F'), (Wait(1), ' '), (From(1), '-')];
        let mut rig = begin(rtcp);
        assert_eq!(steps.map(|(step, _)| rig.step(step)), steps.map(|(_, out)| out));
        let steps = [
            (Wait(5000), ' '),
            (From(2), 'C'),
            (Wait(1999), ' '),
            (From(1), 'L'),
            (Wait(1), ' '),
            (From(1), '-'),
        ];
        let mut rig = begin(rtcp);
        assert_eq!(steps.map(|(step, _)| rig.step(step)), steps.map(|(_, out)| out));
        // Not longer than that for a packet of the new one that comes late.
        let steps = [(Wait(7500), ' '), (From(2), 'C'), (Wait(500), ' '), (From(1), '-')];
        let mut rig = begin(rtcp);
        assert_eq!(steps.map(|(step, _)| rig.step(step)), steps.map(|(_, out)| out));
        // A refresh does not prolong it.
        let steps = [(Wait(7999), ' '), (Plan(&[2]), ' '), (Wait(1), ' '), (From(1), '-')];
        let mut rig = begin(rtcp);
        assert_eq!(steps.map(|(step, _)| rig.step(step)), steps.map(|(_, out)| out));
        rig.inbound.expire(rig.now);
        assert!(rig.inbound.others.is_empty());
    }
}

/// A key is taken up again where it was: what was heard under it is not heard again.
#[test]
fn a_key_that_comes_back_keeps_its_indexes() {
    for rtcp in [false, true] {
        let mut rig = Rig::new(Suite::ALL[0], rtcp);
        let steps = [
            (Plan(&[1]), ' '),
            (From(1), 'C'),
            (Plan(&[2]), ' '),
            (From(2), 'C'),
            (Plan(&[1]), ' '),
            (Again, 'S'),
            (From(1), 'C'),
        ];
        assert_eq!(steps.map(|(step, _)| rig.step(step)), steps.map(|(_, out)| out));
    }
}

/// Also after its time was over, and after a plan that named none; as often as may be.
#[test]
fn what_was_heard_under_a_key_is_never_heard_again() {
    for rtcp in [false, true] {
        for away in [
            &[Plan(&[2]), From(2), Wait(8000), Plan(&[1])][..],
            &[Plan(&[2]), Wait(8000), Plan(&[1])],
            &[Plan(&[]), Plan(&[1])],
            &[Plan(&[2]), Wait(8000), Plan(&[3]), Wait(8000), Plan(&[]), Wait(1), Plan(&[1])],
        ] {
            let mut rig = Rig::new(Suite::ALL[0], rtcp);
            rig.step(Plan(&[1]));
            assert_eq!(rig.step(From(1)), 'C');
            for _ in 0..3 {
                for step in away {
                    rig.step(*step);
                }
                assert_eq!(rig.step(Again), 'S', "{away:?}");
                assert_eq!(rig.step(From(1)), 'C', "{away:?}");
            }
        }
    }
}

/// Of more past keys than are kept, the oldest is forgotten.
#[test]
fn past_keys_are_bounded() {
    let mut rig = Rig::new(Suite::ALL[0], false);
    rig.step(Plan(&[1]));
    for _ in 0..3 {
        for named in [&[2], &[3], &[4], &[5], &[6], &[7], &[8], &[9_u8]] {
            rig.step(Plan(named));
            rig.step(Wait(8000));
            rig.inbound.expire(rig.now);
            assert!(rig.inbound.others.is_empty() && rig.inbound.past.len() <= PAST);
        }
    }
}

/// AT-43: while four forks are heard and four keys leave, a flood of forged packets costs a try for each, and not one
/// for each key; and who was heard is heard all the while.
#[test]
fn at_43_a_flood_is_not_tried_under_every_key() {
    for rtcp in [false, true] {
        let mut rig = Rig::new(Suite::ALL[0], rtcp);
        for named in [&[1, 2, 3, 4][..], &[5, 6, 7, 8]] {
            rig.step(Plan(named));
        }
        assert_eq!([5, 6].map(|byte| rig.step(From(byte))), ['C', 'C']);
        let tries = std::cell::Cell::new(0);
        let flood = |rig: &mut Rig, count: u32| {
            tries.set(0);
            for n in 0..count {
                let mut wire = rig.packet(9);
                let source = if rtcp { 4..8 } else { 8..12 };
                wire[source].copy_from_slice(&(1000 + n).to_be_bytes());
                let source = if rtcp { rtcp_source } else { rtp_source };
                let opened = rig.inbound.open(&mut wire, rig.now, source, |receiver, buf| {
                    tries.set(tries.get() + 1);
                    match rtcp {
                        true => receiver.unprotect_rtcp(buf),
                        false => receiver.unprotect_rtp(buf),
                    }
                });
                assert_eq!(opened, Err(Refusal::Unauthentic));
            }
            tries.get()
        };
        let others = rig.inbound.others.len() as u32;
        assert_eq!(others, 7);
        // The first packet under key 6 was one of them.
        assert_eq!(flood(&mut rig, 5000), 5000 + (STRANGERS - 1) * others);
        assert_eq!([5, 6].map(|byte| rig.step(From(byte))), ['C', 'C']);
        assert_eq!(flood(&mut rig, 100), 100);
        assert_eq!(rig.step(From(7)), '-', "not before the second is over");
        rig.step(Wait(1000));
        assert_eq!(rig.step(From(7)), 'C');
    }
}

#[test]
fn four_keys_are_heard_at_once_and_four_may_leave() {
    let mut rig = Rig::new(Suite::ALL[0], false);
    rig.step(Plan(&[1, 2, 1, 3, 4, 5, 6]));
    let heard: String = (1..=6).map(|byte| rig.step(From(byte))).collect();
    // Of a key that is named twice the second does not count; the fifth and sixth are too many.
    assert_eq!(heard, "CCC---");
    let mut rig = Rig::new(Suite::ALL[0], false);
    for named in [&[1], &[2], &[3], &[4], &[5], &[6_u8]] {
        rig.step(Plan(named));
    }
    let heard: String = (1..=6).map(|byte| rig.step(From(byte))).collect();
    assert_eq!(heard, "-FFFFC", "the one that left first made room");
}

/// The same key with another MKI is the same key; a packet may have the MKI or lack it.
#[test]
fn an_mki_comes_and_goes_with_its_indexes_kept() {
    let suite = Suite::ALL[0];
    for rtcp in [false, true] {
        let mut rig = Rig::new(suite, rtcp);
        rig.step(Plan(&[1]));
        assert_eq!(rig.step(From(1)), 'C');
        let named = key(suite, 1).with_mki(Some(Mki::new(&[1]).unwrap()));
        rig.senders[0].adopt(&named);
        assert_eq!(rig.step(From(1)), '-', "not signalled yet");
        rig.inbound.apply(&[named], rig.now);
        assert_eq!(rig.step(From(1)), 'C');
        assert_eq!(rig.step(Again), 'S');
        // Another one: what is under way with the former, or with none, is still the peer's.
        let renamed = key(suite, 1).with_mki(Some(Mki::new(&[2, 2]).unwrap()));
        rig.inbound.apply(&[renamed], rig.now);
        assert_eq!(rig.step(From(1)), 'C', "under way");
        rig.senders[0].adopt(&key(suite, 1).with_mki(Some(Mki::new(&[3]).unwrap())));
        assert_eq!(rig.step(From(1)), '-', "never signalled");
        rig.senders[0].adopt(&key(suite, 1));
        assert_eq!(rig.step(From(1)), 'C', "left out");
        rig.inbound.apply(&[key(suite, 1)], rig.now);
        rig.senders[0].adopt(&key(suite, 1).with_mki(Some(Mki::new(&[2, 2]).unwrap())));
        assert_eq!(rig.step(From(1)), 'C', "under way when it is left out");
    }
}

fn key(suite: Suite, byte: u8) -> MasterKey {
    MasterKey::new(suite, &vec![byte; suite.key_salt_len()]).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn start() -> Instant {
    Instant::now()
}
