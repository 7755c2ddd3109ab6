//! `state/minutes/`: how long the calls of today have lasted, so that limits by the day outlive a process. A thread writes
//! what this process has counted to a file of its own, whole under another name and renamed, and reads what others have: those
//! that came before it, and during an upgrade the one beside it. What was counted since the last writing, a few seconds,
//! dies with a process that is killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::{clock, state_file, time_of_day};
use crate::admission::Spent;

/// Takes what is to be kept and never waits.
pub(super) struct Ledger {
    /// Ends the thread when it is gone.
    queue: Option<SyncSender<Vec<Spent>>>,
    others: Receiver<Vec<Spent>>,
    kept: Vec<Spent>,
    /// When it is looked again what is to be kept.
    due: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Starts the thread. `epoch` names this process among all of its state.
    pub(super) fn start(state: &Path, epoch: u32) -> io::Result<Self> {
        let mut book = Book::open(state, epoch);
        let (queue, waiting) = sync_channel(1);
        let (told, others) = sync_channel(1);
        let _ = book.read_others().map(|others| told.try_send(others));
        let thread = thread::Builder::new()
            .name("ledger".into())
            .spawn(move || work(book, &waiting, &told))?;
        let (queue, thread) = (Some(queue), Some(thread));
        Ok(Self { queue, others, kept: Vec::new(), due: clock() + LOOK, thread })
    }

    /// Whether it is time to keep something, again after some seconds.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + LOOK;
        }
        due
    }

    /// Keeps it, unless the thread is busy: then the next one is kept.
    pub(super) fn keep(&mut self, spent: Vec<Spent>) {
        if spent == self.kept {
            return;
        }
        let Some(queue) = &self.queue else { return };
        if queue.try_send(spent.clone()).is_ok() {
            self.kept = spent;
        }
    }

    /// What all other processes have counted, when that is news.
    pub(super) fn others(&self) -> Option<Vec<Spent>> {
        self.others.try_iter().last()
    }

    /// Keeps the last and waits until it is written.
    pub(super) fn close(&mut self, spent: Vec<Spent>) {
        let Some(queue) = self.queue.take() else { return };
        if spent != self.kept {
            let _ = queue.send(spent);
        }
        drop(queue);
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) {
            warn!("the minutes of today could not be kept");
        }
    }
}

fn work(mut book: Book, waiting: &Receiver<Vec<Spent>>, told: &SyncSender<Vec<Spent>>) {
    // What the disk has not taken yet.
    let mut unwritten: Option<Vec<Spent>> = None;
    loop {
        if let Some(others) = book.read_others() {
            // Nobody has taken the last one yet: the next look brings it.
            if told.try_send(others).is_err() {
                book.seen.clear();
            }
        }
        let over = match waiting.recv_timeout(LOOK) {
            Ok(spent) => {
                unwritten = Some(spent);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if let Some(spent) = unwritten.take()
            && let Err(reason) = book.write(&spent)
        {
            let path = book.own.display();
            warn!(%reason, "{path} cannot be written: minutes of today would be lost with this process");
            unwritten = Some(spent);
        }
        if over {
            return;
        }
    }
}

/// The directory, and which of it is ours.
struct Book {
    dir: PathBuf,
    own: PathBuf,
    /// The files of others, as they were when they were read.
    seen: BTreeMap<PathBuf, (u64, SystemTime)>,
}

impl Book {
    fn open(state: &Path, epoch: u32) -> Self {
        let dir = state.join("minutes");
        let own = dir.join(format!("{epoch}.json"));
        Self { dir, own, seen: BTreeMap::new() }
    }

    fn write(&self, spent: &[Spent]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        state_file::write(&self.own, spent)
    }

    /// What others have written, when any of it is new. What is old goes.
    fn read_others(&mut self) -> Option<Vec<Spent>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = entry.metadata() else { continue };
            let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if path.extension().is_none_or(|kind| kind != "json") || path == self.own {
                continue;
            }
            if time_of_day().duration_since(written).is_ok_and(|age| age > OLD) {
                let _ = fs::remove_file(&path);
                continue;
            }
            files.insert(path, (meta.len(), written));
        }
        if files == self.seen {
            return None;
        }
        self.seen = files;
        let read = |path: &PathBuf| match read(path) {
            Ok(spent) => spent,
            Err(reason) => {
                let path = path.display();
                warn!(%reason, "{path} cannot be read: what it says of minutes does not count");
                Vec::new()
            }
        };
        Some(self.seen.keys().flat_map(read).collect())
    }
}

fn read(path: &Path) -> io::Result<Vec<Spent>> {
    Ok(serde_json::from_reader(io::BufReader::new(File::open(path)?))?)
}

/// How often it is looked what there is to keep, and what others have written.
const LOOK: Duration = Duration::from_secs(5);
/// Days are over after that, wherever they began.
const OLD: Duration = Duration::from_secs(3 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(end: &str, made: u64) -> Spent {
        Spent { end: end.into(), day: 7, made, received: 1 }
    }

    #[test]
    fn each_process_reads_what_the_others_have_written_and_not_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Book::open(dir.path(), 1), Book::open(dir.path(), 2));
        assert_eq!(one.read_others(), None);
        one.write(&[spent("tenant a", 5)]).unwrap();
        assert_eq!(one.read_others(), None);
        assert_eq!(other.read_others(), Some(vec![spent("tenant a", 5)]));
        assert_eq!(other.read_others(), None);
        one.write(&[spent("tenant a", 6), spent("trunk b", 1)]).unwrap();
        assert_eq!(other.read_others(), Some(vec![spent("tenant a", 6), spent("trunk b", 1)]));
        other.write(&[spent("tenant a", 2)]).unwrap();
        let mut third = Book::open(dir.path(), 3);
        assert_eq!(third.read_others().unwrap().len(), 3);
        assert_eq!(third.read_others(), None);
    }

    #[test]
    fn what_cannot_be_read_counts_for_nothing_and_what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (one, mut other) = (Book::open(dir.path(), 1), Book::open(dir.path(), 2));
        one.write(&[spent("tenant a", 5)]).unwrap();
        fs::write(one.dir.join("9.json"), "[{").unwrap();
        assert_eq!(other.read_others(), Some(vec![spent("tenant a", 5)]));
        let file = File::options().write(true).open(&one.own).unwrap();
        file.set_modified(time_of_day() - OLD - LOOK).unwrap();
        assert_eq!(other.read_others(), Some(Vec::new()));
        assert!(!one.own.exists());
    }

    #[test]
    fn the_last_is_written_when_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::start(dir.path(), 1).unwrap();
        ledger.keep(vec![spent("tenant a", 5)]);
        ledger.close(vec![spent("tenant a", 8)]);
        assert_eq!(Book::open(dir.path(), 2).read_others(), Some(vec![spent("tenant a", 8)]));
    }
}
