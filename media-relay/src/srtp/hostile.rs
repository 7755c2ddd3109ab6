//! What strangers send: noise, forgeries, repeats, floods. Nothing of it is accepted, changes a
//! context, or panics.

use super::{
    MAX_PACKET, Receiver, Sender, SrtpError, Suite,
    fixture::{key, protect, protect_rtcp, rtcp, rtp, unprotect, unprotect_rtcp},
};

/// 200,000 packets of noise, half of which look like RTP or RTCP, offered as both.
#[test]
fn noise_is_never_accepted() {
    for suite in Suite::ALL {
        let mut noise = Noise(suite as u64 + 1);
        let mut receiver = Receiver::new(&key(suite, 1));
        let mut buf = [0; 1500];
        for round in 0..50_000_u32 {
            let len = noise.below(if round % 16 == 0 { 1500 } else { 260 });
            let packet = &mut buf[..len];
            noise.fill(packet);
            if let [first, second, ..] = packet
                && round % 2 == 0
            {
                *first = 0x80 | *first & 0x3f;
                *second = if round % 4 == 0 { 200 + *second % 8 } else { *second };
            }
            let before = packet.to_vec();
            assert!(receiver.unprotect_rtp(packet).is_err(), "{before:02x?}");
            assert!(receiver.unprotect_rtcp(packet).is_err(), "{before:02x?}");
            assert_eq!(packet, before);
        }
        assert_eq!(receiver.snapshot().streams, [], "state for a stranger");
        assert_eq!(receiver.usage(), Default::default());
    }
}

/// Every bit of a packet counts, for SRTCP with the E bit clear too (which made webrtc-srtp
/// accept forgeries without looking at the tag).
#[test]
fn one_changed_bit_is_refused() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let wire = protect(&mut sender, &rtp(1, 7, &[3; 20])).unwrap();
        let wire_rtcp = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
        for bit in 0..8 * wire.len() {
            let mut forged = wire.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(unprotect(&mut receiver, &forged).is_err(), "{suite:?} {bit}");
        }
        for bit in 0..8 * wire_rtcp.len() {
            let mut forged = wire_rtcp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(unprotect_rtcp(&mut receiver, &forged).is_err(), "{suite:?} {bit}");
        }
        assert_eq!(receiver.snapshot().streams, []);
        unprotect(&mut receiver, &wire).unwrap();
        unprotect_rtcp(&mut receiver, &wire_rtcp).unwrap();
    }
}

#[test]
fn every_cut_is_refused() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let wire = protect(&mut sender, &rtp(1, 7, &[3; 40])).unwrap();
        let wire_rtcp = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
        for len in 0..wire.len() {
            assert!(unprotect(&mut receiver, &wire[..len]).is_err());
        }
        for len in 0..wire_rtcp.len() {
            assert!(unprotect_rtcp(&mut receiver, &wire_rtcp[..len]).is_err());
        }
        let shortest = 12 + suite.rtp_tag_len();
        assert_eq!(unprotect(&mut receiver, &wire[..shortest - 1]), Err(SrtpError::Malformed));
        let shortest = 8 + 4 + suite.rtcp_tag_len();
        let cut = &wire_rtcp[..shortest - 1];
        assert_eq!(unprotect_rtcp(&mut receiver, cut), Err(SrtpError::Malformed));
    }
}

/// A header alone, without a payload, is a packet all the same.
#[test]
fn empty_payloads_pass() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let clear = rtp(1, 7, &[]);
        let wire = protect(&mut sender, &clear).unwrap();
        assert_eq!(unprotect(&mut receiver, &wire).unwrap(), clear);
        let clear = [0x80, 201, 0, 1, 0, 0, 0, 1];
        let wire = protect_rtcp(&mut sender, &clear).unwrap();
        assert_eq!(unprotect_rtcp(&mut receiver, &wire).unwrap(), clear);
    }
}

#[test]
fn repeats_are_refused() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let wires: Vec<_> =
            (0..300).map(|at| protect(&mut sender, &rtp(1, at, &[3; 20])).unwrap()).collect();
        // Odd ones first: the even ones come late but within the window.
        for pair in wires.chunks(2) {
            unprotect(&mut receiver, &pair[1]).unwrap();
            unprotect(&mut receiver, &pair[0]).unwrap();
            for wire in pair {
                assert_eq!(unprotect(&mut receiver, wire), Err(SrtpError::Replayed));
            }
        }
        assert_eq!(unprotect(&mut receiver, &wires[300 - 128]), Err(SrtpError::Replayed));
        assert_eq!(unprotect(&mut receiver, &wires[300 - 129]), Err(SrtpError::Late));
        assert_eq!(unprotect(&mut receiver, &wires[0]), Err(SrtpError::Late));

        let wires: Vec<_> =
            (0..200).map(|_| protect_rtcp(&mut sender, &rtcp(1)).unwrap()).collect();
        for wire in &wires {
            unprotect_rtcp(&mut receiver, wire).unwrap();
            assert_eq!(unprotect_rtcp(&mut receiver, wire), Err(SrtpError::Replayed));
        }
        assert_eq!(unprotect_rtcp(&mut receiver, &wires[0]), Err(SrtpError::Late));
    }
}

/// A forged packet with a sequence number far ahead must not move the window.
#[test]
fn forgeries_move_no_window() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let wires: Vec<_> =
            (0..40).map(|at| protect(&mut sender, &rtp(1, at, &[3; 20])).unwrap()).collect();
        unprotect(&mut receiver, &wires[0]).unwrap();
        for wire in &wires[1..] {
            for sequence in (0..=u16::MAX).step_by(997) {
                let mut forged = wire.clone();
                forged[2..4].copy_from_slice(&sequence.to_be_bytes());
                if forged != *wire {
                    assert!(unprotect(&mut receiver, &forged).is_err());
                }
            }
            unprotect(&mut receiver, wire).unwrap();
        }
    }
}

#[test]
fn a_flood_of_sources_leaves_nothing() {
    let (mut sender, mut receiver) = contexts(Suite::AesCm128HmacSha1_80);
    let real = protect(&mut sender, &rtp(1, 7, &[3; 20])).unwrap();
    let real_rtcp = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
    unprotect(&mut receiver, &real).unwrap();
    unprotect_rtcp(&mut receiver, &real_rtcp).unwrap();
    let before = receiver.snapshot();
    for ssrc in 2..50_000_u32 {
        let mut forged = real.clone();
        forged[8..12].copy_from_slice(&ssrc.to_be_bytes());
        assert_eq!(unprotect(&mut receiver, &forged), Err(SrtpError::Unauthenticated));
        let mut forged = real_rtcp.clone();
        forged[4..8].copy_from_slice(&ssrc.to_be_bytes());
        assert_eq!(unprotect_rtcp(&mut receiver, &forged), Err(SrtpError::Unauthenticated));
    }
    assert_eq!(receiver.snapshot(), before);
}

#[test]
fn a_packet_of_another_key_is_refused_and_can_be_offered_on() {
    for suite in Suite::ALL {
        let mut sender = Sender::new(&key(suite, 1));
        let (mut wrong, mut right) = (Receiver::new(&key(suite, 2)), Receiver::new(&key(suite, 1)));
        let clear = rtp(1, 7, &[3; 300]);
        let mut wire = protect(&mut sender, &clear).unwrap();
        assert_eq!(wrong.unprotect_rtp(&mut wire), Err(SrtpError::Unauthenticated));
        let len = right.unprotect_rtp(&mut wire).unwrap();
        assert_eq!(wire[..len], clear);

        let mut wire = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
        assert_eq!(wrong.unprotect_rtcp(&mut wire), Err(SrtpError::Unauthenticated));
        let len = right.unprotect_rtcp(&mut wire).unwrap();
        assert_eq!(wire[..len], rtcp(1));
    }
}

#[test]
fn rtp_is_no_rtcp_and_the_other_way_round() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let wire = protect(&mut sender, &rtp(1, 7, &[3; 60])).unwrap();
        let wire_rtcp = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
        assert!(unprotect_rtcp(&mut receiver, &wire).is_err());
        assert!(unprotect(&mut receiver, &wire_rtcp).is_err());
        unprotect(&mut receiver, &wire).unwrap();
        unprotect_rtcp(&mut receiver, &wire_rtcp).unwrap();
    }
}

#[test]
fn the_largest_packet_passes_and_no_larger_one() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = contexts(suite);
        let most = MAX_PACKET - suite.rtp_tag_len();
        let clear = rtp(1, 7, &vec![3; most - 12]);
        let wire = protect(&mut sender, &clear).unwrap();
        assert_eq!(wire.len(), MAX_PACKET);
        assert_eq!(unprotect(&mut receiver, &wire).unwrap(), clear);
        let longer = rtp(1, 8, &vec![3; most - 11]);
        assert_eq!(protect(&mut sender, &longer), Err(SrtpError::TooLong));
        let longer = rtp(1, 8, &[3; 9000]);
        assert_eq!(protect(&mut sender, &longer), Err(SrtpError::TooLong));
        assert_eq!(unprotect(&mut receiver, &longer), Err(SrtpError::TooLong));
        assert_eq!(unprotect_rtcp(&mut receiver, &longer), Err(SrtpError::TooLong));
    }
}

fn contexts(suite: Suite) -> (Sender, Receiver) {
    (Sender::new(&key(suite, 1)), Receiver::new(&key(suite, 1)))
}

/// xorshift64*: the same noise in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}
