//! The crypto suites of SDES that we speak (RFC 4568 §6.2, RFC 7714 §14.2).

use serde::{Deserialize, Serialize};

/// A crypto suite: cipher, tag lengths and key lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 with 80-bit tags.
    #[serde(rename = "AES_CM_128_HMAC_SHA1_80")]
    AesCm128HmacSha1_80,
    /// AES-128 in counter mode, HMAC-SHA1 with 32-bit tags on RTP; 80-bit tags on RTCP.
    #[serde(rename = "AES_CM_128_HMAC_SHA1_32")]
    AesCm128HmacSha1_32,
    /// AES-128 in Galois/counter mode, 128-bit tags.
    #[serde(rename = "AEAD_AES_128_GCM")]
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode, 128-bit tags.
    #[serde(rename = "AEAD_AES_256_GCM")]
    AeadAes256Gcm,
}

impl Suite {
    /// All of them, the one that everybody speaks first.
    pub const ALL: [Self; 4] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// The name in `a=crypto`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of a name in `a=crypto`, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of what stands after `inline:` in base64, key then salt.
    #[must_use]
    pub const fn key_salt_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Bytes of the tag on an SRTP packet.
    #[must_use]
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of the tag on an SRTCP packet.
    #[must_use]
    pub const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_name(suite.name().as_bytes()), Some(suite));
            assert_eq!(Suite::from_name(suite.name().to_lowercase().as_bytes()), Some(suite));
        }
        for name in ["", "AES_CM_128_HMAC_SHA1", "AES_256_CM_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80"] {
            assert_eq!(Suite::from_name(name.as_bytes()), None);
        }
    }

    #[test]
    fn lengths_are_those_of_the_rfcs() {
        let lengths =
            |suite: Suite| (suite.key_salt_len(), suite.rtp_tag_len(), suite.rtcp_tag_len());
        assert_eq!(lengths(Suite::AesCm128HmacSha1_80), (30, 10, 10));
        assert_eq!(lengths(Suite::AesCm128HmacSha1_32), (30, 4, 10));
        assert_eq!(lengths(Suite::AeadAes128Gcm), (28, 16, 16));
        assert_eq!(lengths(Suite::AeadAes256Gcm), (44, 16, 16));
    }

    #[test]
    fn a_snapshot_names_the_suite_as_sdes_does() {
        for suite in Suite::ALL {
            assert_eq!(serde_json::to_string(&suite).unwrap(), format!("\"{}\"", suite.name()));
        }
    }
}
