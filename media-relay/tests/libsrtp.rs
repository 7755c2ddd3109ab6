//! The relay's SRTP beside libsrtp, packet for packet, RTP and RTCP (RFC 3711, RFC 7714): what we seal it opens, and for RTP
//! the bytes are the same; what it seals we open; and of what a network and strangers make of it both take the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use media_relay::srtp::{MAX_TRAILER, MasterKey, Receiver, Sender, Suite};

/// Packets of each suite, each way and kind.
const PACKETS: usize = 3000;

/// SplitMix64, so that a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// What libsrtp shall do, line by line, and what it says to each.
#[derive(Default)]
struct Script {
    text: String,
}

impl Script {
    fn context(&mut self, name: &str, suite: Suite, key: &[u8], way: &str) {
        self.text += &format!("new {name} {} {} {way}\n", suite.name(), hex(key));
    }

    fn ask(&mut self, name: &str, what: &str, rtcp: bool, packet: &[u8]) {
        let kind = if rtcp { "_rtcp" } else { "" };
        self.text += &format!("{what}{kind} {name} {}\n", hex(packet));
    }

    fn run(self) -> Vec<Option<Vec<u8>>> {
        let root = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| ".".into(), PathBuf::from);
        let python = root.join("../target/peers/venv/bin/python");
        // A missing peer is a failure, never a test that passes.
        assert!(python.exists(), "{} is missing: run `make peers`", python.display());
        let mut child = Command::new(python)
            .arg(root.join("../tests/peers/differ_srtp.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut input = child.stdin.take().expect("piped");
        let writer = thread::spawn(move || input.write_all(self.text.as_bytes()));
        let output = child.wait_with_output().expect("libsrtp");
        writer.join().expect("a writer").expect("written");
        assert!(output.status.success(), "differ_srtp.py");
        let text = String::from_utf8(output.stdout).expect("hexadecimal");
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let line =
            |line: &str| (line != "-").then(|| line.as_bytes().chunks(2).map(pair).collect());
        text.lines().map(line).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seal(sender: &mut Sender, rtcp: bool, clear: &[u8]) -> Vec<u8> {
    let mut buf = [clear, &[0; MAX_TRAILER]].concat();
    let length = if rtcp {
        sender.protect_rtcp(&mut buf, clear.len())
    } else {
        sender.protect_rtp(&mut buf, clear.len())
    };
    buf.truncate(length.expect("sealed"));
    buf
}

fn open(receiver: &mut Receiver, rtcp: bool, wire: &[u8]) -> Option<Vec<u8>> {
    let mut buf = wire.to_vec();
    let opened =
        if rtcp { receiver.unprotect_rtcp(&mut buf) } else { receiver.unprotect_rtp(&mut buf) };
    let length = opened.ok()?;
    buf.truncate(length);
    Some(buf)
}

/// Two sources with gaps and rollovers; CSRCs, extensions and any size for RTP, any number of words for RTCP.
fn clears(random: &mut Random, rtcp: bool) -> Vec<Vec<u8>> {
    let mut sequences = [random.next() as u16 & 0x7fff, random.next() as u16 & 0x7fff];
    let clear = |_| {
        let source = usize::from(random.below(5) == 0);
        let ssrc = [0x1111_1111_u32, 0x2222_2222][source].to_be_bytes();
        if rtcp {
            let words = random.below(40) as u8;
            let body = random.bytes(4 * usize::from(words));
            return [&[0x80, 200, 0, words + 1][..], &ssrc, &body].concat();
        }
        let step = if random.below(20) == 0 { 1 + random.below(3000) as u16 } else { 1 };
        sequences[source] = sequences[source].wrapping_add(step);
        let (csrcs, extension) = (random.below(3) as u8, random.below(4) == 0);
        let first = 0x80 | csrcs | u8::from(extension) << 4;
        let mut packet = vec![first, random.next() as u8 & 0x7f];
        packet.extend(sequences[source].to_be_bytes());
        packet.extend(random.bytes(4));
        packet.extend(ssrc);
        packet.extend(random.bytes(4 * usize::from(csrcs)));
        if extension {
            packet.extend([0xbe, 0xde, 0, 1]);
            packet.extend(random.bytes(4));
        }
        let length = random.below(1200);
        packet.extend(random.bytes(length));
        packet
    };
    (0..PACKETS).map(clear).collect()
}

/// What a network and strangers make of a line of packets: lost, doubled, up to thirty places late, with one bit
/// changed, cut, of another key, noise.
fn line(random: &mut Random, wires: &[Vec<u8>], others: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, wire) in wires.iter().enumerate() {
        match if at < 3 { 99 } else { random.below(24) } {
            0 => {}
            1 => places.extend([(at, wire.clone()), (at + random.below(200), wire.clone())]),
            2 => places.push((at + random.below(30), wire.clone())),
            3 => {
                let mut forged = wire.clone();
                let bit = random.below(8 * forged.len());
                forged[bit / 8] ^= 1 << (bit % 8);
                places.extend([(at, forged), (at, wire.clone())]);
            }
            4 => {
                let end = random.below(wire.len());
                places.extend([(at, wire[..end].to_vec()), (at, wire.clone())]);
            }
            5 => places.extend([(at, others[at].clone()), (at, wire.clone())]),
            6 => {
                let length = random.below(200);
                let mut noise = random.bytes(length);
                noise.iter_mut().take(1).for_each(|first| *first = 0x80 | *first & 0x1f);
                places.extend([(at, noise), (at, wire.clone())]);
            }
            _ => places.push((at, wire.clone())),
        }
    }
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, wire)| wire).collect()
}

#[test]
fn srtp_and_srtcp_are_those_of_libsrtp_in_every_suite() {
    for (suite, rtcp) in Suite::ALL.into_iter().flat_map(|suite| [(suite, false), (suite, true)]) {
        let mut random = Random(suite as u64 * 2 + u64::from(rtcp));
        let [key, other] = [0; 2].map(|_| random.bytes(suite.key_salt_len()));
        let master = MasterKey::new(suite, &key).unwrap();
        let clears = clears(&mut random, rtcp);

        // Ours, and theirs of the same packets.
        let mut sender = Sender::new(&master);
        let ours: Vec<_> = clears.iter().map(|clear| seal(&mut sender, rtcp, clear)).collect();
        let mut script = Script::default();
        script.context("sender", suite, &key, "out");
        script.context("receiver", suite, &key, "in");
        script.context("other", suite, &other, "out");
        for (clear, ours) in clears.iter().zip(&ours) {
            script.ask("sender", "protect", rtcp, clear);
            script.ask("receiver", "unprotect", rtcp, ours);
            script.ask("other", "protect", rtcp, clear);
        }
        let said = script.run();
        assert_eq!(said.len(), 3 * PACKETS);
        let (mut theirs, mut others) = (Vec::new(), Vec::new());
        let mut receiver = Receiver::new(&master);
        for (n, (said, clear)) in said.chunks(3).zip(&clears).enumerate() {
            let [Some(sealed), Some(opened), Some(other)] = said else {
                panic!("{suite:?} RTCP {rtcp}, packet {n}: {said:02x?}");
            };
            assert_eq!(opened, clear, "{suite:?} RTCP {rtcp}: they open ours, packet {n}");
            // SRTCP indexes begin with 0 (RFC 3711 §3.4) here and with 1 there.
            assert!(rtcp || *sealed == ours[n], "{suite:?}: packet {n} is another one");
            let taken = open(&mut receiver, rtcp, sealed);
            assert_eq!(
                taken.as_ref(),
                Some(clear),
                "{suite:?} RTCP {rtcp}: we open theirs, packet {n}"
            );
            theirs.push(sealed.clone());
            others.push(other.clone());
        }

        // A bad line: both take the same of it.
        let line = line(&mut random, &theirs, &others);
        let mut script = Script::default();
        script.context("receiver", suite, &key, "in");
        line.iter().for_each(|wire| script.ask("receiver", "unprotect", rtcp, wire));
        let said = script.run();
        let mut receiver = Receiver::new(&master);
        let mut refused = 0;
        for (n, (wire, theirs)) in line.iter().zip(&said).enumerate() {
            let ours = open(&mut receiver, rtcp, wire);
            assert_eq!(ours, *theirs, "{suite:?} RTCP {rtcp}, packet {n} of the line: {wire:02x?}");
            refused += usize::from(ours.is_none());
        }
        println!("{suite:?}, RTCP {rtcp}: {} packets, {refused} refused by both", line.len());
        assert!(refused > PACKETS / 12, "{refused}");
    }
}
