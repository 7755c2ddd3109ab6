//! How many bytes wait to be written on a connection: what bounds its memory, and holds up a peer that
//! asks and does not read.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Shared by the driver, which adds, and the connection's writer, which takes away.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: AtomicUsize,
    fewer: Notify,
}

impl Pending {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many have left.
    pub(super) fn left(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.fewer.notify_waiters();
    }

    /// Waits until no more than `most` are left.
    pub(super) async fn falls_to(&self, most: usize) {
        loop {
            let fewer = self.fewer.notified();
            if self.bytes() <= most {
                return;
            }
            fewer.await;
        }
    }
}
