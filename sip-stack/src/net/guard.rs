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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_one_reading() {
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| if true { panic!("a fault") } else { 1 }), None);
    }
}
