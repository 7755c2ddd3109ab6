//! A fault of ours in reading one message must not end more than that message.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `read` returns; `None` when it panicked. It must not leave anything half changed that is
/// used afterwards.
pub(super) fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(read));
    if result.is_err() {
        tracing::error!("a message was dropped: reading it panicked, which is a bug");
    }
    result.ok()
}

/// A header line by which a test lets the reading of a message fail.
#[cfg(test)]
pub(super) const READING: &str = "X-Fault: reading";
/// The same for the framing of a stream.
#[cfg(test)]
pub(super) const FRAMING: &str = "X-Fault: framing";

/// Fails where the bytes hold that line.
#[cfg(test)]
pub(super) fn inject(fault: &str, bytes: &[u8]) {
    let found = bytes.windows(fault.len()).any(|window| window == fault.as_bytes());
    assert!(!found, "a fault injected by a test");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_one_reading() {
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| if true { panic!("a fault") } else { 1 }), None);
    }
}
