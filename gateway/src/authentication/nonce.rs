//! Nonces that carry what has to be known of them (RFC 7616 §3.3): time, salt, and a tag over both, the trunk and the
//! realm.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use bytes::Bytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Makes nonces and knows its own.
pub(super) struct Nonces(hmac::Key);

impl Nonces {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let of = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let key = Zeroizing::new(hmac::sign(&of, b"nonce").as_ref().to_vec());
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    pub(super) fn make(&self, trunk: &str, realm: &str, wall: SystemTime, salt: [u8; 4]) -> Bytes {
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or_default().to_be_bytes();
        let head = [&millis[8 - TIME..], &salt].concat();
        let tag = self.tag(&head, trunk, realm);
        let bytes = head.iter().chain(&tag);
        bytes.map(|byte| format!("{byte:02x}")).collect::<String>().into()
    }

    /// When we made it for that trunk; `None`: we did not.
    pub(super) fn made(&self, nonce: &[u8], trunk: &str, realm: &str) -> Option<SystemTime> {
        let bytes = bytes(nonce)?;
        let (head, tag) = bytes.split_at(HEAD);
        if !bool::from(self.tag(head, trunk, realm).ct_eq(tag)) {
            return None;
        }
        let mut millis = [0; 8];
        millis[8 - TIME..].copy_from_slice(&head[..TIME]);
        let millis = u64::from_be_bytes(millis);
        UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    fn tag(&self, head: &[u8], trunk: &str, realm: &str) -> [u8; TAG] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(head);
        context.update(trunk.as_bytes());
        // A name of a trunk has none in it.
        context.update(b"\0");
        context.update(realm.as_bytes());
        let whole = context.sign();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole.as_ref()[..TAG]);
        tag
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}

fn bytes(hex: &[u8]) -> Option<[u8; HEAD + TAG]> {
    let mut bytes = [0; HEAD + TAG];
    if hex.len() != bytes.len() * 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Milliseconds since 1970.
const TIME: usize = 6;
/// The time, and salt.
const HEAD: usize = TIME + 4;
/// Short, since a challenge must not be longer than a REGISTER; nobody guesses it while it lasts.
const TAG: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_known_by_the_same_secret_for_the_same_trunk_and_realm() {
        let (ours, theirs) = (Nonces::new(&[1; 32]), Nonces::new(&[2; 32]));
        let wall = UNIX_EPOCH + Duration::from_millis(1_795_000_000_123);
        let nonce = ours.make("a", "r", wall, [7; 4]);
        assert_eq!(Nonces::new(&[1; 32]).made(&nonce, "a", "r"), Some(wall));
        assert_eq!(ours.made(&nonce, "b", "r"), None);
        assert_eq!(ours.made(&nonce, "a", "s"), None);
        assert_eq!(theirs.made(&nonce, "a", "r"), None);
        assert_ne!(nonce, ours.make("a", "r", wall, [8; 4]));
    }

    #[test]
    fn a_changed_nonce_is_not_known() {
        let nonces = Nonces::new(&[1; 32]);
        let nonce = nonces.make("a", "r", UNIX_EPOCH, [7; 4]);
        for at in 0..nonce.len() {
            let mut changed = nonce.to_vec();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(nonces.made(&changed, "a", "r"), None, "{at}");
        }
        for other in [&nonce[1..], &nonce[..nonce.len() - 1], b"", &nonce.to_ascii_uppercase()] {
            assert_eq!(nonces.made(other, "a", "r"), None);
        }
    }
}
