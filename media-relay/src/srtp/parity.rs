//! The same packets through webrtc-srtp: byte for byte for RTP both ways, and valid packets for
//! RTCP, with loss, reordering and the sequence number going round.

use proptest::{collection::vec, prelude::*, sample::select};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

use super::{
    Receiver, Sender, Suite,
    fixture::{key, protect, protect_rtcp, rtcp, unprotect, unprotect_rtcp},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Ours and theirs make the same packets, and each opens the other's.
    #[test]
    fn rtp(
        suite in select(&Suite::ALL[..]),
        seed: u8,
        start: u16,
        line in vec((1..16_u16, 0..4_usize, any::<[u8; 4]>(), 0..220_usize), 1..400),
    ) {
        let key = key(suite, seed);
        let (mut sender, mut receiver) = (Sender::new(&key), Receiver::new(&key));
        let (mut their_sender, mut their_receiver) = (theirs(suite, seed), theirs(suite, seed));
        // Sent in order, with gaps: what webrtc-srtp and we both take for granted of a sender.
        let mut sequence = start;
        let mut wires = Vec::new();
        for (step, shape, noise, len) in line {
            let clear = packet(sequence, shape, noise, len);
            let wire = protect(&mut sender, &clear).unwrap();
            prop_assert_eq!(&wire, &their_sender.encrypt_rtp(&clear).unwrap());
            wires.push((clear, wire, usize::from(noise[0] % 8)));
            sequence = sequence.wrapping_add(step);
        }
        // Heard with loss (an eighth) and reordering: up to seven places, within the window.
        let mut heard: Vec<_> = wires.into_iter().enumerate().collect();
        heard.retain(|(at, (.., noise))| *at == 0 || *noise != 7);
        heard.sort_by_key(|(at, (.., noise))| if *at == 0 { 0 } else { at + noise });
        for (_, (clear, wire, _)) in heard {
            prop_assert_eq!(&unprotect(&mut receiver, &wire).unwrap(), &clear);
            prop_assert_eq!(&their_receiver.decrypt_rtp(&wire).unwrap(), &clear);
        }
    }

    /// Each opens the other's RTCP, and after our first packet (we begin with index 0 as RFC 3711
    /// §3.4 says, they and libsrtp with 1) the bytes are the same.
    #[test]
    fn srtcp(suite in select(&Suite::ALL[..]), seed: u8, sources in vec(any::<u32>(), 1..40)) {
        let key = key(suite, seed);
        let (mut sender, mut receiver) = (Sender::new(&key), Receiver::new(&key));
        let (mut their_sender, mut their_receiver) = (theirs(suite, seed), theirs(suite, seed));
        let first = protect_rtcp(&mut sender, &rtcp(sources[0])).unwrap();
        prop_assert_eq!(&their_receiver.decrypt_rtcp(&first).unwrap(), &rtcp(sources[0]));
        let one_source = rtcp(sources[0]);
        for _ in &sources {
            let ours = protect_rtcp(&mut sender, &one_source).unwrap();
            let same = their_sender.encrypt_rtcp(&one_source).unwrap();
            prop_assert_eq!(&ours, &same);
            prop_assert_eq!(&their_receiver.decrypt_rtcp(&ours).unwrap(), &one_source);
            prop_assert_eq!(&unprotect_rtcp(&mut receiver, &same).unwrap(), &one_source);
        }
        for ssrc in sources {
            let clear = rtcp(ssrc);
            let ours = protect_rtcp(&mut sender, &clear).unwrap();
            prop_assert_eq!(&their_receiver.decrypt_rtcp(&ours).unwrap(), &clear);
        }
    }
}

/// A call of 44 minutes at 50 packets a second: the sequence number goes round twice.
#[test]
fn sequence_goes_round_for_2_17_packets() {
    let suite = Suite::AesCm128HmacSha1_80;
    let key = key(suite, 1);
    let (mut sender, mut receiver) = (Sender::new(&key), Receiver::new(&key));
    let (mut their_sender, mut their_receiver) = (theirs(suite, 1), theirs(suite, 1));
    for at in 0..(1_u32 << 17) + 1000 {
        let clear = packet((at + 30_000) as u16, 0, at.to_be_bytes(), 20);
        let wire = protect(&mut sender, &clear).unwrap();
        assert_eq!(wire, their_sender.encrypt_rtp(&clear).unwrap(), "{at}");
        // One in eight is lost, and a whole minute around the second time round.
        if at % 8 != 3 && !(96_000..99_000).contains(&at) {
            assert_eq!(unprotect(&mut receiver, &wire).unwrap(), clear, "{at}");
            assert_eq!(their_receiver.decrypt_rtp(&wire).unwrap(), clear, "{at}");
        }
    }
    let highest = receiver.highest(crate::packet::Ssrc(SSRC)).unwrap();
    assert_eq!(highest, 30_000 + (1 << 17) + 999);
}

const SSRC: u32 = 0xcafe_babe;

/// Without anything, with CSRCs, with an extension, with both.
fn packet(sequence: u16, shape: usize, noise: [u8; 4], len: usize) -> Vec<u8> {
    let (csrcs, extension) = (shape & 1, shape >> 1);
    let mut packet = vec![0x80 | (extension as u8) << 4 | (csrcs as u8 * 3), noise[1] & 0x7f];
    packet.extend(sequence.to_be_bytes());
    packet.extend(noise);
    packet.extend(SSRC.to_be_bytes());
    packet.extend([noise; 3].as_flattened().repeat(csrcs));
    packet.extend([0xbe, 0xde, 0, 1, 0x10, noise[2], 0, 0].repeat(extension));
    packet.extend((0..len).map(|i| noise[i % 4].wrapping_mul(i as u8)));
    packet
}

fn theirs(suite: Suite, seed: u8) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let key = key(suite, seed);
    Context::new(key.key(), key.salt(), profile, None, None).unwrap()
}
