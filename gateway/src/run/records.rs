//! The thread that writes CDRs and keeps the journal short, behind a bounded queue, so that a slow disk holds up no call.
//! What it does is [`Keeper`]'s story.
//!
//! Nothing is lost when the queue is full: what finds no room waits in front of it, and when too much waits, no new calls
//! are taken ([`Records::is_full`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use tracing::{error, info};

use super::{clock, time_of_day};
use crate::journal::{Keeper, Line, SYNC, Sink, Turn};
use crate::metrics::{Loss, Tally};

/// Takes lines and never waits.
pub(super) struct Records<S> {
    queue: SyncSender<Job>,
    /// What found no room in the queue.
    waiting: VecDeque<Job>,
    shared: Arc<Shared>,
    /// Gives the sink back when everything is written.
    done: Receiver<Option<S>>,
}

enum Job {
    Line(Line),
    /// A segment of the journal was closed.
    Closed(Turn),
}

#[derive(Default)]
struct Shared {
    /// Lines that the thread has and the disk has not.
    unwritten: AtomicUsize,
    /// Something was written that should reach the disk itself.
    dirty: AtomicBool,
    closing: AtomicBool,
}

impl<S: Sink + 'static> Records<S> {
    /// Starts the thread.
    pub(super) fn start(sink: S) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let (finished, done) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("records".into()).spawn(move || {
            let sink = work(&jobs, Keeper::new(sink), &theirs);
            // Nobody waits any more when the disk took too long.
            let _ = finished.send(sink);
        })?;
        Ok(Self { queue, waiting: VecDeque::new(), shared, done })
    }

    /// Hands a line over.
    pub(super) fn write(&mut self, line: Line) {
        self.send(Job::Line(line));
    }

    /// A segment of the journal was closed.
    pub(super) fn closed(&mut self, turn: Turn) {
        self.send(Job::Closed(turn));
    }

    /// The journal was written.
    pub(super) fn note_dirty(&self) {
        self.shared.dirty.store(true, Ordering::Release);
    }

    /// Hands over what found no room before.
    pub(super) fn push(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
                self.queue.try_send(job)
            {
                self.waiting.push_front(job);
                return;
            }
        }
    }

    /// How many lines wait for the disk.
    pub(super) fn pending(&self) -> usize {
        self.waiting.len() + self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// Whether so much waits that no new call may be taken.
    pub(super) fn is_full(&self) -> bool {
        self.pending() >= MOST_LINES
    }

    /// Waits until everything is written, at most two seconds; the sink, if it is.
    pub(super) fn close(mut self) -> Option<S> {
        self.push();
        self.shared.closing.store(true, Ordering::Release);
        let Self { queue, waiting, done, .. } = self;
        drop(queue);
        let sink = done.recv_timeout(CLOSING).ok().flatten().filter(|_| waiting.is_empty());
        if sink.is_none() {
            error!("not all CDRs could be written; the next start writes them out of the journal");
        }
        sink
    }

    fn send(&mut self, job: Job) {
        self.waiting.push_back(job);
        self.push();
    }
}

/// Until the queue is closed and everything is written; the sink, unless the disk still fails then.
fn work<S: Sink>(jobs: &Receiver<Job>, mut keeper: Keeper<S>, shared: &Shared) -> Option<S> {
    let failed = Tally::of(Loss::RecordNotWritten);
    let mut failing = false;
    loop {
        let open = match jobs.recv_timeout(SYNC) {
            Ok(job) => {
                let mut result = take(&mut keeper, job, shared, clock());
                if !shared.closing.load(Ordering::Acquire) {
                    // Many lines in one write.
                    thread::sleep(GATHER);
                }
                for job in jobs.try_iter().take(QUEUE) {
                    result = result.and(take(&mut keeper, job, shared, clock()));
                }
                note(result, &failed, &mut failing);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        };
        let now = if open { clock() } else { clock() + SYNC };
        // Else it is taken for having died earlier, which costs no call before minutes have passed.
        let _ = keeper.beat(now, time_of_day());
        let before = keeper.unwritten();
        let written = keeper.write(now);
        if written.is_ok() && failing && keeper.unwritten() == 0 {
            failing = false;
            info!("CDRs can be written again");
        }
        if keeper.unwritten() < before {
            shared.dirty.store(true, Ordering::Release);
        }
        note(written, &failed, &mut failing);
        shared.unwritten.store(keeper.unwritten(), Ordering::Relaxed);
        note(sync(&mut keeper, shared, now), &failed, &mut failing);
        if !open {
            return (keeper.unwritten() == 0).then(|| keeper.into_sink());
        }
    }
}

/// Has what was written reach the disk itself, if anything was. What is written meanwhile waits for the next time.
fn sync<S: Sink>(keeper: &mut Keeper<S>, shared: &Shared, now: Instant) -> io::Result<()> {
    if !shared.dirty.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    let synced = keeper.sync(now);
    if !matches!(synced, Ok(true)) {
        shared.dirty.store(true, Ordering::Release);
    }
    synced.map(|_| ())
}

fn take<S: Sink>(
    keeper: &mut Keeper<S>,
    job: Job,
    shared: &Shared,
    now: Instant,
) -> io::Result<()> {
    match job {
        Job::Line(line) => {
            keeper.take(line);
            Ok(())
        }
        Job::Closed(turn) => {
            // What stands in the new segment by now was taken for the old one's.
            shared.dirty.store(true, Ordering::Release);
            keeper.close(turn, now)
        }
    }
}

fn note(result: io::Result<()>, failed: &Tally, failing: &mut bool) {
    if let Err(reason) = result {
        failed.add(1);
        *failing = true;
        error!(%reason, "CDRs or journal cannot be written; trying again");
    }
}

/// Lines on their way to the thread.
const QUEUE: usize = 4096;
/// Lines that may wait for the disk: at 50 calls/s, 20 minutes; some 60 MB.
const MOST_LINES: usize = 65_536;
/// Lines that come within as long go into one write. Until then they are in the journal.
const GATHER: Duration = Duration::from_millis(50);
/// How long the end of the process waits for the disk.
const CLOSING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Mutex;

    use crate::journal::CallId;

    /// A disk that may be full.
    #[derive(Clone, Default)]
    struct Disk {
        /// Whether it is, and what it has.
        has: Arc<Mutex<(bool, String)>>,
        syncs: usize,
        /// Something is written here while it syncs for the first and the second time.
        busy: Option<Arc<Shared>>,
    }

    impl Sink for Disk {
        fn append(&mut self, _day: &str, lines: &[u8]) -> io::Result<()> {
            let (full, text) = &mut *self.has.lock().unwrap();
            if *full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            text.push_str(std::str::from_utf8(lines).unwrap());
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.syncs += 1;
            if let Some(shared) = self.busy.as_ref().filter(|_| self.syncs < 3) {
                shared.dirty.store(true, Ordering::Release);
            }
            Ok(())
        }

        fn closed(&mut self, _turn: Turn) -> io::Result<()> {
            Ok(())
        }

        fn beat(&mut self, _wall: std::time::SystemTime) -> io::Result<()> {
            Ok(())
        }

        fn compact(&mut self, _last: u32, _unwritten: &HashSet<CallId>) -> io::Result<u64> {
            Ok(0)
        }
    }

    fn line(number: usize) -> Line {
        Line::new(CallId([0; 16]), "2026-11-19", number.to_string().as_bytes())
    }

    fn lines(count: usize) -> String {
        (0..count).map(|number| format!("{number}\n")).collect()
    }

    #[test]
    fn closing_waits_until_all_is_written() {
        let disk = Disk::default();
        let mut records = Records::start(disk.clone()).unwrap();
        (0..100).for_each(|number| records.write(line(number)));
        assert!(records.close().is_some());
        assert_eq!(disk.has.lock().unwrap().1, lines(100));
    }

    #[test]
    fn r10_a_full_disk_holds_up_nobody_loses_nothing_and_gets_all_of_it_once() {
        let disk = Disk::default();
        disk.has.lock().unwrap().0 = true;
        let mut records = Records::start(disk.clone()).unwrap();
        let many = 2 * QUEUE + 10;
        (0..many).for_each(|number| records.write(line(number)));
        while records.shared.unwritten.load(Ordering::Relaxed) < many {
            records.push();
            thread::yield_now();
        }
        assert_eq!((records.pending(), records.is_full()), (many, false));
        assert_eq!(disk.has.lock().unwrap().1, "");
        disk.has.lock().unwrap().0 = false;
        assert!(records.close().is_some());
        assert_eq!(disk.has.lock().unwrap().1, lines(many));
    }

    #[test]
    fn what_is_written_while_the_disk_syncs_is_synced_the_next_time() {
        let shared = Arc::new(Shared::default());
        let disk = Disk { busy: Some(Arc::clone(&shared)), ..Disk::default() };
        let mut keeper = Keeper::new(disk);
        let mut now = clock();
        shared.dirty.store(true, Ordering::Release);
        for _ in 0..10 {
            sync(&mut keeper, &shared, now).unwrap();
            sync(&mut keeper, &shared, now).unwrap();
            now += SYNC;
        }
        assert_eq!(keeper.into_sink().syncs, 3);

        let mut keeper = Keeper::new(Disk::default());
        let turn = Job::Closed(Turn { closed: 1, open: 2 });
        take(&mut keeper, turn, &shared, now).unwrap();
        assert!(shared.dirty.load(Ordering::Acquire), "the new segment has something already");
    }

    #[test]
    fn a_disk_that_stays_full_does_not_keep_the_process() {
        let disk = Disk::default();
        disk.has.lock().unwrap().0 = true;
        let mut records = Records::start(disk).unwrap();
        records.write(line(1));
        assert!(records.close().is_none());
    }
}
