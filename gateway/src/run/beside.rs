//! Work that nobody waits for, on a thread of its own that makes room for all others: reading a configuration of a million
//! numbers takes a second of a processor, on which calls may be served.

use std::thread;

use tokio::sync::oneshot;
use tracing::error;

/// What `work` returns; `None` where it panicked or no thread could be had.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let thread = thread::Builder::new().name("beside".to_owned()).spawn(move || {
        // Of this thread alone, and of those that it begins. Where that may not be, it goes on like the others.
        let _ = rustix::process::nice(NICE);
        let _ = done.send(work());
    });
    if let Err(reason) = thread {
        error!(%reason, "no thread for work beside the calls");
    }
    result.await.ok()
}

/// A tenth of the share that a thread of the calls has while both want the same processor.
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn own_nice() -> i32 {
        rustix::process::nice(0).unwrap()
    }

    #[tokio::test]
    async fn work_beside_comes_back_and_is_less_urgent_and_a_panic_is_none() {
        let own = own_nice();
        assert_eq!(beside(own_nice).await, Some((own + NICE).min(19)));
        assert_eq!(own_nice(), own, "of its thread alone");
        let nothing: Option<()> = beside(|| panic!("a fault")).await;
        assert_eq!(nothing, None);
    }
}
