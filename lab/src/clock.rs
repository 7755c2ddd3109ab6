//! The lab's one reading of the clock: everything here is a driver, on real sockets.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time now, for stamps on captured messages and packets.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the lab drives real sockets; this is its only clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock since 1970-01-01 UTC, for certificates and RTCP sender reports.
#[allow(clippy::disallowed_methods, reason = "the lab drives real sockets; this is its only clock")]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `N` random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the system's random source no TLS handshake would work either.
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// A random token of `2 * N` lower-case hexadecimal digits: tags, branches, Call-IDs.
pub(crate) fn token<const N: usize>() -> String {
    random::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random GUID in the usual notation.
pub(crate) fn guid() -> String {
    let t = token::<16>();
    format!("{}-{}-{}-{}-{}", &t[..8], &t[8..12], &t[12..16], &t[16..20], &t[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_guids_have_their_shape() {
        assert_ne!(token::<8>(), token::<8>());
        let guid = guid();
        assert_eq!(guid.len(), 36);
        assert_eq!(guid.matches('-').count(), 4);
    }
}
