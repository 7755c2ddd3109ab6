//! A master key with its salt, identifier and lifetime, as an SDES `inline` parameter gives them
//! (RFC 4568 §6.1). Zeroised when dropped; has no `Debug` on purpose.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{MAX_RTP_PACKETS, Suite};

/// One master key of one direction.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    /// Key then salt; what the suite does not need is zero.
    key_salt: [u8; 44],
    #[zeroize(skip)]
    mki: Option<Mki>,
    #[zeroize(skip)]
    lifetime: u64,
}

/// Why bytes are no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The suite wants another number of bytes.
    #[error("key and salt of {} take {} bytes", .suite.name(), .suite.key_salt_len())]
    Length {
        /// The suite that the key was given for.
        suite: Suite,
    },
    /// A master key identifier has 1-128 bytes, and its number fits into them (RFC 4568 §6.1).
    #[error("a master key identifier has 1 to 128 bytes")]
    Mki,
}

impl MasterKey {
    /// Takes master key and master salt, one after the other. No MKI; the longest lifetime.
    pub fn new(suite: Suite, key_salt: &[u8]) -> Result<Self, KeyError> {
        if key_salt.len() != suite.key_salt_len() {
            return Err(KeyError::Length { suite });
        }
        let mut this = Self { suite, key_salt: [0; 44], mki: None, lifetime: MAX_RTP_PACKETS };
        this.key_salt[..key_salt.len()].copy_from_slice(key_salt);
        Ok(this)
    }

    /// With an identifier in every packet.
    #[must_use]
    pub fn with_mki(mut self, mki: Option<Mki>) -> Self {
        self.mki = mki;
        self
    }

    /// With the lifetime that was signalled, in packets. More than RFC 3711 allows is cut to
    /// that; zero, which RFC 4568 forbids, means not signalled.
    #[must_use]
    pub fn with_lifetime(mut self, packets: u64) -> Self {
        self.lifetime = match packets {
            0 => MAX_RTP_PACKETS,
            packets => packets.min(MAX_RTP_PACKETS),
        };
        self
    }

    /// The crypto suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Master key and master salt, for `inline:` and for the journal's sealed part only.
    #[must_use]
    pub fn key_salt(&self) -> &[u8] {
        &self.key_salt[..self.suite.key_salt_len()]
    }

    /// The identifier that stands in every packet.
    #[must_use]
    pub fn mki(&self) -> Option<&Mki> {
        self.mki.as_ref()
    }

    /// How many packets it may protect.
    #[must_use]
    pub fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// Whether both make the same session keys, whatever their MKI and lifetime: then indexes go
    /// on; else they begin at zero. Takes the same time wherever the keys differ.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.suite == other.suite && bool::from(self.key_salt.ct_eq(&other.key_salt))
    }

    /// Tells keys apart in a snapshot, and nothing else: eight bytes of a digest.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let digest = Sha1::new()
            .chain_update(b"trunkgate key fingerprint")
            .chain_update(self.suite.name())
            .chain_update(&self.key_salt[..])
            .finalize();
        let [a, b, c, d, e, f, g, h, ..]: [u8; 20] = digest.into();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key_salt[..self.suite.key_len()]
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.key_salt()[self.suite.key_len()..]
    }
}

/// A master key identifier (RFC 3711 §3.1): 1-128 bytes that name the key in each packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mki(Box<[u8]>);

impl Mki {
    /// The most bytes that SDES allows.
    pub const MAX: usize = 128;

    /// The bytes as they stand in a packet.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            1..=Self::MAX => Ok(Self(bytes.into())),
            _ => Err(KeyError::Mki),
        }
    }

    /// As SDES writes it, `|number:len`: the number, big-endian, in `len` bytes.
    pub fn from_number(number: u128, len: usize) -> Result<Self, KeyError> {
        if len == 0 || len > Self::MAX {
            return Err(KeyError::Mki);
        }
        let mut bytes = vec![0; len];
        let mut rest = number;
        for byte in bytes.iter_mut().rev() {
            *byte = rest as u8;
            rest >>= 8;
        }
        if rest != 0 {
            return Err(KeyError::Mki);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes as they stand in a packet.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(suite: Suite, byte: u8) -> MasterKey {
        MasterKey::new(suite, &vec![byte; suite.key_salt_len()]).unwrap()
    }

    #[test]
    fn only_the_suite_s_length_is_taken() {
        for suite in Suite::ALL {
            for len in 0..60 {
                let taken = MasterKey::new(suite, &vec![1; len]).is_ok();
                assert_eq!(taken, len == suite.key_salt_len(), "{suite:?} {len}");
            }
        }
    }

    #[test]
    fn key_and_salt_are_cut_where_the_suite_says() {
        for suite in Suite::ALL {
            let bytes: Vec<u8> = (0..suite.key_salt_len() as u8).collect();
            let key = MasterKey::new(suite, &bytes).unwrap();
            assert_eq!(key.key_salt(), bytes);
            assert_eq!([key.key(), key.salt()].concat(), bytes);
            assert_eq!(key.salt().len(), suite.salt_len());
        }
    }

    #[test]
    fn lifetime_is_never_zero_and_never_too_long() {
        let lifetime = |packets| key(Suite::ALL[0], 1).with_lifetime(packets).lifetime();
        assert_eq!(lifetime(0), 1 << 48);
        assert_eq!(lifetime(1 << 31), 1 << 31);
        assert_eq!(lifetime(1 << 48), 1 << 48);
        assert_eq!(lifetime(u64::MAX), 1 << 48);
    }

    #[test]
    fn same_key_looks_at_key_salt_and_suite_alone() {
        let a = key(Suite::AesCm128HmacSha1_80, 1);
        let renamed = a.clone().with_mki(Some(Mki::new(&[1]).unwrap())).with_lifetime(9);
        assert!(a.same_key(&renamed));
        assert!(!a.same_key(&key(Suite::AesCm128HmacSha1_80, 2)));
        assert!(!a.same_key(&key(Suite::AesCm128HmacSha1_32, 1)));
        let mut other_salt = [1; 30];
        other_salt[29] = 2;
        assert!(!a.same_key(&MasterKey::new(a.suite(), &other_salt).unwrap()));
    }

    #[test]
    fn an_mki_is_a_number_in_so_many_bytes() {
        assert_eq!(Mki::from_number(1, 1).unwrap().as_bytes(), [1]);
        assert_eq!(Mki::from_number(0x1234, 4).unwrap().as_bytes(), [0, 0, 0x12, 0x34]);
        assert_eq!(Mki::from_number(7, 128).unwrap().as_bytes().len(), 128);
        for (number, len) in [(1, 0), (1, 129), (256, 1), (u128::MAX, 15)] {
            assert_eq!(Mki::from_number(number, len), Err(KeyError::Mki));
        }
        assert_eq!(Mki::new(&[]), Err(KeyError::Mki));
        assert_eq!(Mki::new(&[0; 129]), Err(KeyError::Mki));
    }
}
