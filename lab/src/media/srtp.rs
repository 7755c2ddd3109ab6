//! SRTP and SRTCP by webrtc-srtp: the independent judge of the gateway's own (RFC 3711, RFC 7714).
//!
//! webrtc-srtp 0.17 returns SRTCP without the E bit unauthenticated and panics on short SRTCP, so
//! both are refused here before it sees them. It knows no MKI; that is added and taken off here.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::clock;
use crate::sip::Crypto;

/// The suites of RFC 4568 and RFC 7714 that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`, the one Teams uses.
    AesCm128Sha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`.
    AesCm128Sha1_32,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl Suite {
    /// The name in SDP.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of that name in SDP.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::AesCm128Sha1_80, Self::AesCm128Sha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm]
            .into_iter()
            .find(|suite| suite.name() == name)
    }

    const fn profile(self) -> ProtectionProfile {
        match self {
            Self::AesCm128Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AesCm128Sha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }

    /// Bytes of the tag behind the MKI: (RTP, RTCP). An AEAD tag stands before it.
    const fn tags(self) -> (usize, usize) {
        match self {
            Self::AesCm128Sha1_80 => (10, 10),
            Self::AesCm128Sha1_32 => (4, 10),
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => (0, 0),
        }
    }

    const fn aead(self) -> usize {
        match self {
            Self::AesCm128Sha1_80 | Self::AesCm128Sha1_32 => 0,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

/// A master key of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    suite: Suite,
    key_salt: Vec<u8>,
    mki: Option<(u64, usize)>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key {{ suite: {:?}, .. }}", self.suite)
    }
}

impl Key {
    /// A random key.
    #[must_use]
    pub fn random(suite: Suite) -> Self {
        let profile = suite.profile();
        let length = profile.key_len() + profile.salt_len();
        Self { suite, key_salt: clock::random::<64>()[..length].to_vec(), mki: None }
    }

    /// The same key under an MKI: its value and its length in bytes (RFC 4568 §6.1).
    #[must_use]
    pub const fn with_mki(mut self, value: u64, length: usize) -> Self {
        self.mki = Some((value, length));
        self
    }

    /// The key in an `a=crypto` line; `None` for an unknown suite, a wrong length or a strange MKI.
    #[must_use]
    pub fn from_crypto(crypto: &Crypto) -> Option<Self> {
        let suite = Suite::named(&crypto.suite)?;
        let profile = suite.profile();
        let right = crypto.key_salt.len() == profile.key_len() + profile.salt_len();
        let known = crypto.mki.is_none_or(|(_, length)| (1..=8).contains(&length));
        (right && known).then(|| Self { suite, key_salt: crypto.key_salt.clone(), mki: crypto.mki })
    }

    /// Its suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The `a=crypto` line in Teams' form, with lifetime 2^31 (and the MKI, if any), without CRLF.
    #[must_use]
    pub fn line(&self, tag: u32) -> String {
        let mki = self.mki.map_or(String::new(), |(value, length)| format!("|{value}:{length}"));
        let key = STANDARD.encode(&self.key_salt);
        format!("a=crypto:{tag} {} inline:{key}|2^31{mki}", self.suite.name())
    }

    fn context(&self) -> Option<Context> {
        let profile = self.suite.profile();
        let (key, salt) = self.key_salt.split_at(profile.key_len());
        Context::new(key, salt, profile, None, None).ok()
    }

    fn mki_bytes(&self) -> Vec<u8> {
        self.mki.map_or(Vec::new(), |(value, length)| value.to_be_bytes()[8 - length..].to_vec())
    }
}

/// Protects the packets of one direction.
pub struct Protector {
    key: Key,
    context: Context,
}

impl Protector {
    /// A new context, rollover counter 0.
    #[must_use]
    pub fn new(key: &Key) -> Option<Self> {
        Some(Self { key: key.clone(), context: key.context()? })
    }

    /// One RTP packet to one SRTP packet.
    pub fn rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let protected = self.context.encrypt_rtp(packet).ok()?;
        Some(self.with_mki(&protected, self.key.suite.tags().0))
    }

    /// One compound RTCP packet to one SRTCP packet.
    pub fn rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let protected = self.context.encrypt_rtcp(packet).ok()?;
        Some(self.with_mki(&protected, self.key.suite.tags().1))
    }

    fn with_mki(&self, protected: &[u8], tag: usize) -> Vec<u8> {
        let (body, tag) = protected.split_at(protected.len() - tag);
        [body, &self.key.mki_bytes(), tag].concat()
    }
}

/// Opens the packets of one direction; `None` for whatever does not authenticate.
pub struct Opener {
    key: Key,
    context: Context,
}

impl Opener {
    /// A new context, rollover counter 0.
    #[must_use]
    pub fn new(key: &Key) -> Option<Self> {
        Some(Self { key: key.clone(), context: key.context()? })
    }

    /// One SRTP packet to the RTP packet in it.
    pub fn rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let tag = self.key.suite.tags().0;
        let bare = self.without_mki(packet, tag)?;
        if bare.len() < 12 + tag + self.key.suite.aead() {
            return None;
        }
        self.context.decrypt_rtp(&bare).ok().map(|opened| opened.to_vec())
    }

    /// One SRTCP packet to the RTCP packet in it. One that is not encrypted (E bit clear) is
    /// refused: nothing in these plays sends it, and webrtc-srtp would not check its tag.
    pub fn rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let tag = self.key.suite.tags().1;
        let bare = self.without_mki(packet, tag)?;
        let index = bare.len().checked_sub(tag + 4)?;
        if index < 8 + self.key.suite.aead() || bare[index] & 0x80 == 0 {
            return None;
        }
        self.context.decrypt_rtcp(&bare).ok().map(|opened| opened.to_vec())
    }

    fn without_mki(&self, packet: &[u8], tag: usize) -> Option<Vec<u8>> {
        let mki = self.key.mki_bytes();
        let tag_at = packet.len().checked_sub(tag)?;
        let mki_at = tag_at.checked_sub(mki.len())?;
        (packet[mki_at..tag_at] == mki).then(|| [&packet[..mki_at], &packet[tag_at..]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Rtp;
    use crate::media::rtp::sender_report;
    use crate::sip::Sdp;
    use std::time::Duration;

    const SUITES: [Suite; 4] = [
        Suite::AesCm128Sha1_80,
        Suite::AesCm128Sha1_32,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ];

    fn packet() -> Vec<u8> {
        let rtp = Rtp {
            payload_type: 0,
            marker: false,
            sequence: 9,
            timestamp: 160,
            ssrc: 5,
            payload: &[7; 160],
        };
        rtp.write()
    }

    #[test]
    fn each_suite_protects_and_opens_with_and_without_mki() {
        for suite in SUITES {
            for key in [Key::random(suite), Key::random(suite).with_mki(1, 1)] {
                let (mut one, mut other) =
                    (Protector::new(&key).unwrap(), Opener::new(&key).unwrap());
                let protected = one.rtp(&packet()).unwrap();
                assert_ne!(protected, packet());
                assert_eq!(other.rtp(&protected).unwrap(), packet());
                let report = sender_report(5, Duration::ZERO, 0, 1, 160);
                let protected = one.rtcp(&report).unwrap();
                assert_eq!(other.rtcp(&protected).unwrap(), report, "{suite:?}");
            }
        }
    }

    #[test]
    fn a_wrong_key_or_one_flipped_bit_opens_nothing() {
        for suite in SUITES {
            let key = Key::random(suite);
            let mut protector = Protector::new(&key).unwrap();
            let rtp = protector.rtp(&packet()).unwrap();
            let rtcp = protector.rtcp(&sender_report(5, Duration::ZERO, 0, 1, 160)).unwrap();
            let mut stranger = Opener::new(&Key::random(suite)).unwrap();
            assert!(stranger.rtp(&rtp).is_none() && stranger.rtcp(&rtcp).is_none());
            let mut opener = Opener::new(&key).unwrap();
            for at in [20, rtp.len() - 1] {
                let mut bent = rtp.clone();
                bent[at] ^= 1;
                assert!(opener.rtp(&bent).is_none(), "{suite:?} {at}");
            }
        }
    }

    #[test]
    fn short_or_clear_srtcp_is_refused_before_the_crate_sees_it() {
        for suite in SUITES {
            let key = Key::random(suite);
            let mut opener = Opener::new(&key).unwrap();
            for length in 0..60 {
                assert!(opener.rtcp(&vec![0x80; length]).is_none(), "{suite:?} {length}");
                assert!(opener.rtp(&vec![0x80; length]).is_none(), "{suite:?} {length}");
            }
            let report = sender_report(5, Duration::ZERO, 0, 1, 160);
            let mut clear = Protector::new(&key).unwrap().rtcp(&report).unwrap();
            let index = clear.len() - suite.tags().1 - 4;
            clear[index] &= 0x7f;
            assert!(opener.rtcp(&clear).is_none());
        }
    }

    #[test]
    fn a_key_survives_its_sdp_line() {
        for suite in SUITES {
            let key = Key::random(suite).with_mki(1, 1);
            let text =
                format!("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 2 RTP/SAVP 0\r\n{}\r\n", key.line(2));
            let sdp = Sdp::read(&text).unwrap();
            assert_eq!(sdp.cryptos[0].lifetime.as_deref(), Some("2^31"));
            assert!(Key::from_crypto(&sdp.cryptos[0]).unwrap() == key);
        }
    }
}
