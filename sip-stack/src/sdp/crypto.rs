//! `a=crypto`: SRTP keys in the session description (RFC 4568, RFC 7714 for AEAD).
//!
//! Key material is zeroised when dropped and never shown by `Debug`. The line it was read from, like
//! the message, is not: bytes of the wire live until the message is dropped.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// One `a=crypto` attribute.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// The tag, 0 to 999999999; an answer repeats that of the offer.
    pub tag: u32,
    /// The suite as written: "AES_CM_128_HMAC_SHA1_80", any other.
    pub suite: String,
    /// The keys; one at least.
    pub keys: Vec<KeyParam>,
    /// The session parameters as written ("KDR=1", "UNENCRYPTED_SRTCP").
    pub session_params: Vec<String>,
}

/// One `inline:` key (RFC 4568 §6.1).
#[derive(Clone)]
pub struct KeyParam {
    /// Master key and master salt, in that order; their lengths are the suite's.
    pub key_salt: Zeroizing<Vec<u8>>,
    /// How many packets the key may protect; `None` means the suite's own limit.
    pub lifetime: Option<u64>,
    /// The master key identifier in the length it has in each packet, 1 to 128 bytes, big endian.
    pub mki: Option<Vec<u8>>,
}

/// Most packets one master key may protect: 2^48 (RFC 3711 §9.2).
const LIFETIME: u64 = 1 << 48;
/// Keys of one attribute.
const KEYS: usize = 4;
/// Longest key and salt, in bytes; the longest registered is 46 (AES_256_CM).
const KEY_SALT: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Crypto {
    /// An attribute with one key, without lifetime, MKI and session parameters.
    pub fn new(tag: u32, suite: &str, key_salt: &[u8]) -> Self {
        let key_salt = Zeroizing::new(key_salt.to_vec());
        Self {
            tag,
            suite: suite.into(),
            keys: vec![KeyParam { key_salt, lifetime: None, mki: None }],
            session_params: Vec::new(),
        }
    }

    /// The value of the attribute.
    pub fn write(&self) -> Zeroizing<String> {
        // Room for everything at once: growing would leave a copy of the key behind.
        let keys: usize = self.keys.iter().map(|key| key.key_salt.len() * 2 + 352).sum();
        let params: usize = self.session_params.iter().map(|param| param.len() + 1).sum();
        let room = 16 + self.suite.len() + keys + params;
        let mut out = Zeroizing::new(String::with_capacity(room));
        out.push_str(&format!("{} {} ", self.tag, self.suite));
        for (at, key) in self.keys.iter().enumerate() {
            out.push_str(if at == 0 { "inline:" } else { ";inline:" });
            out.push_str(&Zeroizing::new(BASE64.encode(&key.key_salt[..])));
            match key.lifetime {
                Some(packets) if packets.is_power_of_two() => {
                    out.push_str(&format!("|2^{}", packets.trailing_zeros()));
                }
                Some(packets) => out.push_str(&format!("|{packets}")),
                None => {}
            }
            if let Some(mki) = &key.mki {
                out.push_str(&format!("|{}:{}", decimal(mki), mki.len()));
            }
        }
        for param in &self.session_params {
            out.push(' ');
            out.push_str(param);
        }
        out
    }

    /// Whether a session parameter asks for what we do not do: encryption or authentication off, a
    /// key derivation rate, forward error correction, anything unknown that must be understood (RFC
    /// 4568 §6.3). Such an attribute must not be chosen.
    pub fn has_unsupported_params(&self) -> bool {
        self.session_params.iter().any(|param| {
            let name = param.split('=').next().unwrap_or_default();
            // WSH, the window size, is a hint; `-` marks what may be ignored.
            !name.eq_ignore_ascii_case("WSH") && !name.starts_with('-')
        })
    }
}

impl PartialEq for KeyParam {
    /// Takes the same time wherever two keys of one length differ.
    fn eq(&self, other: &Self) -> bool {
        let differs = |sum, (a, b): (&u8, &u8)| sum | (a ^ b);
        self.key_salt.len() == other.key_salt.len()
            && self.key_salt.iter().zip(other.key_salt.iter()).fold(0, differs) == 0
            && self.lifetime == other.lifetime
            && self.mki == other.mki
    }
}

impl Eq for KeyParam {}

impl fmt::Debug for Crypto {
    /// Of the session parameters only how many there are: a key in the wrong place is a key all the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("tag", &self.tag)
            .field("suite", &self.suite)
            .field("session_params", &self.session_params.len())
            .finish_non_exhaustive()
    }
}

/// Reads the value of an attribute; `None` when it is malformed.
pub(super) fn parse(value: &[u8]) -> Option<Crypto> {
    let text = std::str::from_utf8(value).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (tag, suite, keys) = (words.next()?, words.next()?, words.next()?);
    // RFC 4568 §9.1. Whatever else stands there may be a key that lost its place.
    if !suite.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let tag_digits = tag.len() <= 9 && tag.bytes().all(|b| b.is_ascii_digit());
    let mut found = Vec::with_capacity(1);
    for key in keys.split(';') {
        if found.len() == KEYS {
            return None;
        }
        found.push(key_param(key)?);
    }
    // With more than one key each needs an MKI, and all the same length (RFC 4568 §6.1).
    let mki_len = |key: &KeyParam| key.mki.as_ref().map(Vec::len);
    let first = mki_len(found.first()?);
    if found.len() > 1 && (first.is_none() || found.iter().any(|key| mki_len(key) != first)) {
        return None;
    }
    Some(Crypto {
        tag: tag.parse().ok().filter(|_| tag_digits)?,
        suite: suite.into(),
        keys: found,
        session_params: words.map(Into::into).collect(),
    })
}

fn key_param(text: &str) -> Option<KeyParam> {
    let (method, info) = text.split_at_checked(7)?;
    if !method.eq_ignore_ascii_case("inline:") {
        return None;
    }
    let mut parts = info.split('|');
    let key_salt = decode(parts.next()?)?;
    let (mut lifetime, mut mki) = (None, None);
    for (at, part) in parts.enumerate() {
        match part.split_once(':') {
            Some((value, len)) if mki.is_none() => mki = Some(identifier(value, len)?),
            None if at == 0 => lifetime = Some(packets(part)?),
            Some(_) | None => return None,
        }
    }
    Some(KeyParam { key_salt, lifetime, mki })
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; KEY_SALT + 3]);
    let len =
        BASE64.decode_slice(text, &mut bytes).ok().filter(|len| (1..=KEY_SALT).contains(len))?;
    bytes.truncate(len);
    Some(bytes)
}

/// `2^n` or a decimal number, 1 to 2^48.
fn packets(text: &str) -> Option<u64> {
    let number = |text: &str| crate::message::number(text.as_bytes());
    let packets = match text.strip_prefix("2^") {
        Some(power) => 1_u64.checked_shl(u32::try_from(number(power)?).ok()?)?,
        None => number(text)?,
    };
    (1..=LIFETIME).contains(&packets).then_some(packets)
}

/// A decimal number as `len` bytes, big endian; `None` when it does not fit.
fn identifier(value: &str, len: &str) -> Option<Vec<u8>> {
    let len = crate::message::number(len.as_bytes()).filter(|len| (1..=128).contains(len))?;
    // 128 bytes are 309 digits.
    if value.is_empty() || value.len() > 309 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut bytes = vec![0_u8; usize::try_from(len).ok()?];
    for digit in value.bytes() {
        let mut carry = u16::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            let sum = u16::from(*byte) * 10 + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(bytes)
}

/// Big-endian bytes as a decimal number.
fn decimal(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    let mut digits = Vec::new();
    while bytes.iter().any(|&b| b != 0) {
        let mut rest = 0_u16;
        for byte in &mut bytes {
            let part = rest << 8 | u16::from(*byte);
            *byte = (part / 10) as u8;
            rest = part % 10;
        }
        digits.push(b'0' + rest as u8);
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    digits.iter().rev().map(|&digit| digit as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

    fn read(text: &str) -> Option<Crypto> {
        parse(text.as_bytes())
    }

    fn one(text: &str) -> KeyParam {
        read(text).unwrap().keys.remove(0)
    }

    #[test]
    fn key_salt_lifetime_and_mki() {
        let suite = "AES_CM_128_HMAC_SHA1_80";
        let plain = read(&format!("2 {suite} inline:{KEY}")).unwrap();
        assert_eq!((plain.tag, plain.suite.as_str()), (2, suite));
        assert_eq!(plain.keys[0].key_salt[..], (0..30).collect::<Vec<u8>>()[..]);
        assert_eq!((plain.keys[0].lifetime, plain.keys[0].mki.as_deref()), (None, None));

        for (text, lifetime, mki) in [
            ("|2^31", Some(1 << 31), None),
            ("|2^48", Some(1 << 48), None),
            ("|1048576", Some(1 << 20), None),
            ("|2^31|1:1", Some(1 << 31), Some(&[1][..])),
            ("|1:4", None, Some(&[0, 0, 0, 1][..])),
            ("|2^20|66051:3", Some(1 << 20), Some(&[1, 2, 3][..])),
        ] {
            let key = one(&format!("1 {suite} INLINE:{KEY}{text}"));
            assert_eq!((key.lifetime, key.mki.as_deref()), (lifetime, mki), "{text}");
        }
    }

    #[test]
    fn padding_may_be_left_out() {
        // 28 bytes, AEAD_AES_128_GCM.
        for key in
            ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw"]
        {
            assert_eq!(one(&format!("1 AEAD_AES_128_GCM inline:{key}")).key_salt.len(), 28);
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "1",
            "1 S",
            "x S inline:AAAA",
            "-1 S inline:AAAA",
            "1234567890 S inline:AAAA",
            "1 S inline:",
            "1 S outline:AAAA",
            "1 S inline:A*AA",
            "1 S inline:AAAA|",
            "1 S inline:AAAA|0",
            "1 S inline:AAAA|2^49",
            "1 S inline:AAAA|2^99",
            "1 S inline:AAAA|2^18446744073709551616",
            "1 S inline:AAAA|1:0",
            "1 S inline:AAAA|1:129",
            "1 S inline:AAAA|256:1",
            "1 S inline:AAAA|-1:1",
            "1 S inline:AAAA|1:1|2^31",
            "1 S inline:AAAA|1:1|1:1",
            "1 S inline:AAAA|2^31|1:1|x",
            "1 S inline:AAAA;inline:AAAB",
            "1 S inline:AAAA|1:1;inline:AAAB|2:2",
            "1 S inline:AAAA;",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let long = "A".repeat(88);
        assert_eq!(read(&format!("1 S inline:{long}")), None);
    }

    #[test]
    fn several_keys_are_told_apart_by_mki() {
        let crypto =
            read("1 S inline:AAAA|2^20|1:4;inline:AAAB|2^20|2:4 KDR=3 UNENCRYPTED_SRTCP").unwrap();
        assert_eq!(crypto.keys.len(), 2);
        assert_eq!(crypto.keys[1].mki.as_deref(), Some(&[0, 0, 0, 2][..]));
        assert_eq!(crypto.session_params, ["KDR=3", "UNENCRYPTED_SRTCP"]);
        assert!(crypto.has_unsupported_params());
    }

    #[test]
    fn hints_do_not_bar_an_attribute() {
        assert!(!read("1 S inline:AAAA WSH=128 -x").unwrap().has_unsupported_params());
        assert!(read("1 S inline:AAAA UNAUTHENTICATED_SRTP").unwrap().has_unsupported_params());
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1"),
            format!("7 S inline:{KEY}|1000001"),
            "1 S inline:AAAA|2^20|1:16;inline:AAAB|2^20|340282366920938463463374607431768211455:16 WSH=99".into(),
        ] {
            assert_eq!(read(&text).unwrap().write().as_str(), text);
        }
    }

    #[test]
    fn debug_hides_keys() {
        let shown = format!("{:?}", read(&format!("1 S inline:{KEY}")).unwrap());
        assert!(!shown.contains("AAEC") && !shown.contains("1, 2, 3"), "{shown}");
    }

    #[test]
    fn what_stands_for_a_suite_shows_no_key() {
        for value in
            ["1 AES!inline:AAECAwQF inline:AAAA", "1 AES:AAEC inline:AAAA", "1 A-B inline:AAAA"]
        {
            assert!(parse(value.as_bytes()).is_none(), "{value}");
        }
    }

    #[test]
    fn debug_hides_a_key_that_stands_among_the_parameters() {
        let shown = format!("{:?}", read(&format!("1 S inline:AAAA inline:{KEY}")).unwrap());
        assert!(!shown.contains("AAEC") && !shown.contains("inline"), "{shown}");
    }
}
