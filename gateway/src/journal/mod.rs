//! The journal: what must outlive this process. Lossless, one write for each turn of signalling.
//!
//! ```text
//! Begun      the record so far, before the INVITE leaves
//! Standing   the whole call, when it was answered and confirmed and after each exchange of offer and answer; sealed
//! Media      where its media stand, about once a second
//! Ending     the record without the relay's figures, before the answer to a BYE leaves
//! Ended      the record, as it goes to the CDR file
//! ```
//!
//! A process that starts reads what dead ones left ([`Left`]): calls that stood are restored, calls that only began get
//! a record that says so, and records that are not in the CDR files yet are written there. `write` outlives the
//! process; a grouped fsync on another thread is for power cuts.
//!
//! When the disk takes nothing, entries wait in memory and are written later; media entries are left out
//! ([`Journal::take_left_out`]), and the relay hears of none that it is kept. Above [`MOST_PENDING`] no new calls are taken ([`Journal::is_full`]), so that what waits is bounded by
//! that and by the calls that are up.

mod directory;
pub mod disk;
mod fold;
pub(crate) mod form;
mod frame;
mod left;
mod records;
mod seal;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media_relay::SessionState;
use uuid::Uuid;

pub use self::disk::Turn;
pub use self::left::{Dead, Left, Orphan, Restorable};
pub use self::records::{Keeper, Line, SYNC, Sink, Store};

use self::directory::{Head, Root, VERSION};
use self::disk::{Disk, Segments};
use self::form::encode;
use self::frame::Kind;
use self::seal::{Salt, Sealer};
use crate::call::Snapshot;
use crate::cdr::{self, Record};

/// A call's UUID in its sixteen bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub [u8; 16]);

/// What the journal is told.
#[derive(Debug)]
pub enum Entry {
    /// A call began.
    Begun(Arc<Record>),
    /// A call stands as it is here.
    Standing(Box<Snapshot>),
    /// Its media stand so.
    Media {
        /// Which call.
        call: CallId,
        /// The relay's own.
        state: Box<SessionState>,
    },
    /// A call is over, but for the relay's figures.
    Ending(Arc<Record>),
    /// A call is over; goes to the CDR file as well.
    Ended(Arc<Record>),
}

/// What there is to know of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries written.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Bytes that wait for the disk.
    pub pending: usize,
}

/// The journal of this process.
pub struct Journal<D = Segments> {
    disk: D,
    sealer: Sealer,
    head: Head,
    /// Whole entries that were not written yet.
    pending: Vec<u8>,
    /// How many these are.
    waiting: u64,
    /// The lines of calls whose end is among them. A line that were in the CDR file before its call has ended in the
    /// journal would be written again by the next process.
    lines: Vec<Line>,
    /// The disk failed: when it is tried again.
    retry_at: Option<Instant>,
    /// A media entry was not even taken.
    left_out: bool,
    /// How long a segment may become.
    limit: u64,
    figures: Figures,
}

/// A journal and what was found with it.
pub struct Opened {
    /// The journal of this process.
    pub journal: Journal,
    /// Its directory, for the thread that writes records.
    pub store: Store,
    /// The number of this process, above all others that left anything.
    pub epoch: u32,
    /// What dead processes left.
    pub left: Left,
}

/// Makes the journal of this process, and reads what dead ones left. `master` is the journal's key of the state
/// directory, `seconds` the time since 1970, `salt` random.
///
/// # Errors
/// When the directory cannot be read or written.
pub fn open(state: &Path, master: &[u8; 32], seconds: u32, salt: Salt) -> io::Result<Opened> {
    let writer = cdr::Writer::open(state)?;
    let root = Root::open(state)?;
    let dead = root.dead()?;
    let directory = root.create(seconds)?;
    drop(root);
    let left = Left::read(state, master, dead)?;
    let head = Head { version: VERSION, salt, base: false, mark: writer.mark(seconds)? };
    let mut bytes = Vec::new();
    head.write(&mut bytes);
    let segments = Segments::create(&directory.path, &bytes)?;
    let journal = Journal::new(segments, Sealer::new(master, &salt), head.clone());
    let epoch = directory.epoch;
    Ok(Opened { journal, store: Store::new(directory, writer, head.mark), epoch, left })
}

/// Reads what processes left that died since this one began.
///
/// # Errors
/// When the directory cannot be read.
pub fn dead(state: &Path, master: &[u8; 32]) -> io::Result<Left> {
    let dead = Root::open(state)?.dead()?;
    Left::read(state, master, dead)
}

impl<D: Disk> Journal<D> {
    const fn new(disk: D, sealer: Sealer, head: Head) -> Self {
        Self {
            disk,
            sealer,
            head,
            pending: Vec::new(),
            waiting: 0,
            lines: Vec::new(),
            retry_at: None,
            left_out: false,
            limit: SEGMENT,
            figures: Figures { entries: 0, bytes: 0, failures: 0, pending: 0 },
        }
    }

    /// Takes an entry; it is written by the next [`Journal::commit`].
    pub fn add(&mut self, entry: &Entry) {
        let into = &mut self.pending;
        match entry {
            Entry::Begun(record) => {
                frame::write(into, Kind::Begun, CallId::of(record), |into| encode(&**record, into));
            }
            Entry::Standing(snapshot) => {
                let call = CallId::of(snapshot.record());
                frame::write(into, Kind::Standing, call, |into| {
                    self.sealer.seal(Kind::Standing, call, into, |into| encode(&**snapshot, into));
                });
            }
            Entry::Media { .. } if self.retry_at.is_some() => {
                self.left_out = true;
                return;
            }
            Entry::Media { call, state } => {
                frame::write(into, Kind::Media, *call, |into| encode(&**state, into));
            }
            Entry::Ending(record) => {
                let call = CallId::of(record);
                frame::write(into, Kind::Ending, call, |into| encode(&**record, into));
            }
            Entry::Ended(record) => {
                let call = CallId::of(record);
                let start = into.len();
                frame::write(into, Kind::Ended, call, |into| cdr::write(record, into));
                let text = frame::read(&into[start..]).next().map(|frame| frame.payload);
                self.lines.extend(text.map(|text| Line::new(call, record.day(), text)));
            }
        }
        self.waiting += 1;
    }

    /// Writes what was added, unless the disk failed a moment ago. `ended` gets the lines for the CDR files of calls whose
    /// end is written now. A segment that became too long was closed.
    ///
    /// # Errors
    /// When the disk does not take it: it waits for a later commit.
    pub fn commit(&mut self, now: Instant, ended: impl FnMut(Line)) -> io::Result<Option<Turn>> {
        if self.pending.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return Ok(None);
        }
        if let Err(error) = self.disk.append(&self.pending) {
            self.retry_at = Some(now + RETRY);
            self.figures.failures += 1;
            return Err(error);
        }
        self.retry_at = None;
        self.figures.entries += std::mem::take(&mut self.waiting);
        self.figures.bytes += self.pending.len() as u64;
        self.pending.clear();
        self.pending.shrink_to(KEPT);
        self.lines.drain(..).for_each(ended);
        if self.disk.size() < self.limit {
            return Ok(None);
        }
        let mut head = Vec::new();
        self.head.write(&mut head);
        match self.disk.next(&head) {
            Ok(turn) => {
                self.limit = SEGMENT;
                Ok(Some(turn))
            }
            Err(error) => {
                // It grows on for a while.
                self.limit = self.disk.size() + SEGMENT;
                self.figures.failures += 1;
                Err(error)
            }
        }
    }

    /// When [`Journal::commit`] is to be called though nothing happens.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether everything that was added is written.
    pub const fn is_written(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether an entry was left out, and will never be written, since this was last asked.
    pub const fn take_left_out(&mut self) -> bool {
        std::mem::replace(&mut self.left_out, false)
    }

    /// How many CDRs wait for their calls to have ended in the journal.
    pub const fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Whether so much waits for the disk that no new call may be taken.
    pub const fn is_full(&self) -> bool {
        self.pending.len() >= MOST_PENDING
    }

    /// What there is to know.
    pub const fn figures(&self) -> Figures {
        Figures { pending: self.pending.len(), ..self.figures }
    }
}

impl<D> fmt::Debug for Journal<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("figures", &self.figures).finish_non_exhaustive()
    }
}

impl CallId {
    /// Of a record; of one whose id is no UUID, which we never write, zero.
    pub fn of(record: &Record) -> Self {
        Self::parse(&record.id).unwrap_or(NOBODY)
    }

    /// A UUID as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0).hyphenated())
    }
}

/// In place of a call.
const NOBODY: CallId = CallId([0; 16]);
/// What may wait for a disk that fails: at 7 kB a call, some 4,500 calls.
pub const MOST_PENDING: usize = 32 << 20;
/// A segment is closed when it is longer. Whole segments are read to make the journal shorter, so this is memory as well.
const SEGMENT: u64 = 2 << 20;
/// Between two tries at a disk that fails.
const RETRY: Duration = Duration::from_secs(1);
/// What the buffer keeps after a burst.
const KEPT: usize = 1 << 20;

#[cfg(test)]
mod tests;
