//! A peer that sends and hears RTP and RTCP, plain or by webrtc-srtp.

use media_relay::srtp::{MasterKey, Suite};
use media_relay::{Security, SidePlan};
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

/// An RTP packet as a peer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        assert_eq!(bytes[0], 0x80, "version 2, nothing else: {bytes:02x?}");
        Self {
            payload_type: bytes[1] & 0x7f,
            marker: bytes[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: word(bytes, 4),
            ssrc: word(bytes, 8),
            payload: bytes[12..].to_vec(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.payload_type | (u8::from(self.marker) << 7)];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// One end of a call.
pub(crate) struct Peer {
    /// The next packet.
    pub(crate) next: Packet,
    sends: Option<Context>,
    hears: Option<Context>,
}

impl Peer {
    /// Sends PCMA with this SSRC, beginning at sequence number 100.
    pub(crate) fn plain(ssrc: u32) -> Self {
        let payload = vec![0; 160];
        let next = Packet {
            payload_type: 8,
            marker: false,
            sequence: 100,
            timestamp: 7000,
            ssrc,
            payload,
        };
        Self { next, sends: None, hears: None }
    }

    /// The same under keys: what it sends with, and what it hears with.
    pub(crate) fn secure(ssrc: u32, suite: Suite, sends: u8, hears: u8) -> Self {
        let mut peer = Self::plain(ssrc);
        peer.rekey(suite, Some(sends), Some(hears));
        peer
    }

    /// New keys, with them rollover counters of 0.
    pub(crate) fn rekey(&mut self, suite: Suite, sends: Option<u8>, hears: Option<u8>) {
        if let Some(key) = sends {
            self.sends = Some(context(suite, key));
        }
        if let Some(key) = hears {
            self.hears = Some(context(suite, key));
        }
    }

    /// The next packet in the clear and as it goes on the wire.
    pub(crate) fn say(&mut self) -> (Packet, Vec<u8>) {
        let packet = self.next.clone();
        self.next.sequence = packet.sequence.wrapping_add(1);
        self.next.timestamp = packet.timestamp.wrapping_add(160);
        let number = packet.timestamp.to_be_bytes();
        self.next
            .payload
            .iter_mut()
            .zip(number.iter().cycle())
            .for_each(|(a, b)| *a = a.wrapping_add(*b).wrapping_add(1));
        let wire = self.protect(&packet.bytes());
        (packet, wire)
    }

    pub(crate) fn protect(&mut self, clear: &[u8]) -> Vec<u8> {
        match &mut self.sends {
            Some(context) => context.encrypt_rtp(clear).unwrap().to_vec(),
            None => clear.to_vec(),
        }
    }

    pub(crate) fn protect_rtcp(&mut self, clear: &[u8]) -> Vec<u8> {
        match &mut self.sends {
            Some(context) => context.encrypt_rtcp(clear).unwrap().to_vec(),
            None => clear.to_vec(),
        }
    }

    /// A packet off the wire; fails the test if it cannot be read.
    pub(crate) fn hear(&mut self, wire: &[u8]) -> Packet {
        match &mut self.hears {
            Some(context) => Packet::parse(&context.decrypt_rtp(wire).unwrap()),
            None => Packet::parse(wire),
        }
    }

    pub(crate) fn hear_rtcp(&mut self, wire: &[u8]) -> Vec<u8> {
        match &mut self.hears {
            Some(context) => context.decrypt_rtcp(wire).unwrap().to_vec(),
            None => wire.to_vec(),
        }
    }
}

/// Key and salt made of one byte.
pub(crate) fn key(suite: Suite, byte: u8) -> MasterKey {
    MasterKey::new(suite, &key_salt(suite, byte)).unwrap()
}

/// The relay's view of a peer that [`Peer::secure`] makes.
pub(crate) fn security(suite: Suite, peer_sends: u8, peer_hears: u8) -> Option<Security> {
    let receive = vec![key(suite, peer_sends)];
    Some(Security { send: key(suite, peer_hears), receive })
}

/// A plan's side with another receive key.
pub(crate) fn set_receive(plan: &mut SidePlan, suite: Suite, byte: u8) {
    plan.security.as_mut().unwrap().receive = vec![key(suite, byte)];
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn key_salt(suite: Suite, byte: u8) -> Vec<u8> {
    (0..suite.key_salt_len() as u8).map(|n| n.wrapping_mul(31) ^ byte).collect()
}

fn context(suite: Suite, byte: u8) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let bytes = key_salt(suite, byte);
    let (key, salt) = bytes.split_at(suite.key_len());
    let (rtp, rtcp) = (srtp_replay_protection(128), srtcp_replay_protection(128));
    Context::new(key, salt, profile, Some(rtp), Some(rtcp)).unwrap()
}
