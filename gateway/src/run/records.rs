//! The writer of CDRs: a thread of its own behind a bounded queue, so that a slow disk holds up no
//! call.
//!
//! When the disk fails, the record at hand is tried again every second while others wait behind it.
//! When the queue is full, the newest record is lost; that is counted and logged, and calls go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tracing::error;

use crate::cdr::Record;
use crate::logging::Flood;
use crate::metrics::{Loss, Tally};

/// Takes records and never waits.
pub(super) struct Records {
    queue: SyncSender<Box<Record>>,
    /// Closes when the thread has written everything.
    done: Receiver<()>,
    thread: Thread,
    closing: Arc<AtomicBool>,
    lost: Tally,
    flood: Flood,
}

impl Records {
    /// Starts the thread, which writes each record with `append`.
    pub(super) fn start(
        append: impl FnMut(&Record) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let (finished, done) = sync_channel(1);
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let handle = std::thread::Builder::new().name("records".into()).spawn(move || {
            let _finished: SyncSender<()> = finished;
            write(&records, append, &closed);
        })?;
        let (lost, flood) = (Tally::of(Loss::RecordDropped), Flood::default());
        Ok(Self { queue, done, thread: handle.thread().clone(), closing, lost, flood })
    }

    /// Hands a record over.
    pub(super) fn write(&mut self, record: Box<Record>, now: Instant) {
        let (Err(TrySendError::Full(_)) | Err(TrySendError::Disconnected(_))) =
            self.queue.try_send(record)
        else {
            return;
        };
        self.lost.add(1);
        if let Some(count) = self.flood.note(now) {
            error!(count, "CDRs lost: the writer's queue is full");
        }
    }

    /// Waits until everything is written, at most two seconds.
    pub(super) fn close(self) {
        let Self { queue, done, thread, closing, .. } = self;
        closing.store(true, Ordering::Release);
        drop(queue);
        thread.unpark();
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(CLOSING) {
            error!("CDRs lost: the disk does not answer");
        }
    }
}

fn write(
    records: &Receiver<Box<Record>>,
    mut append: impl FnMut(&Record) -> io::Result<()>,
    closing: &AtomicBool,
) {
    let (failed, lost) = (Tally::of(Loss::RecordNotWritten), Tally::of(Loss::RecordDropped));
    for record in records {
        while let Err(reason) = append(&record) {
            failed.add(1);
            if closing.load(Ordering::Acquire) {
                lost.add(1);
                error!(%reason, call = record.id, "CDR lost: it cannot be written");
                break;
            }
            error!(%reason, call = record.id, "a CDR cannot be written; trying again");
            std::thread::park_timeout(RETRY);
        }
    }
}

/// Records that wait for the disk: at 50 calls/s, over a minute.
const QUEUE: usize = 4096;
/// Between two tries.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the disk.
const CLOSING: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn record(id: usize) -> Box<Record> {
        Box::new(Record { id: id.to_string(), ..Record::default() })
    }

    #[test]
    fn closing_waits_until_all_is_written() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&written);
        let mut records = Records::start(move |record| {
            into.lock().unwrap().push(record.id.clone());
            Ok(())
        })
        .unwrap();
        for id in 0..100 {
            records.write(record(id), Instant::now());
        }
        records.close();
        let expected: Vec<String> = (0..100).map(|id| id.to_string()).collect();
        assert_eq!(*written.lock().unwrap(), expected);
    }

    #[test]
    fn a_failing_disk_is_tried_again_and_holds_up_nobody() {
        let tries = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&tries);
        let mut records = Records::start(move |record| {
            into.lock().unwrap().push(record.id.clone());
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap();
        let started = Instant::now();
        for id in 0..QUEUE + 10 {
            records.write(record(id), started);
        }
        records.close();
        assert!(started.elapsed() < CLOSING + RETRY);
        let tries = tries.lock().unwrap();
        assert_eq!(tries.iter().filter(|id| *id == "1").count(), 1, "once more while closing");
        assert!(tries.iter().any(|id| *id == (QUEUE - 1).to_string()));
        assert!(!tries.iter().any(|id| *id == (QUEUE + 9).to_string()), "the newest is lost");
    }
}
