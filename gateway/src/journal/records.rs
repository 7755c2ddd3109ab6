//! What the thread of records does, without the thread: writes CDRs, each once, keeps the journal short, and has both
//! reach the disk itself about once a second.
//!
//! A line that the disk does not take waits with those behind it and is tried again every second. The end of its call
//! stays in the journal for as long, so that the line is written even by another process.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::CallId;
use super::directory::{self, Directory};
use super::disk::{Turn, path};
use crate::cdr::{Mark, Writer};

/// One record as a line of the CDR file of its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    call: CallId,
    day: Box<str>,
    text: Box<[u8]>,
}

/// Where lines and segments go.
pub trait Sink: Send {
    /// Appends whole lines to the CDR file of a day, all or none.
    ///
    /// # Errors
    /// When the disk does not take them.
    fn append(&mut self, day: &str, lines: &[u8]) -> io::Result<()>;

    /// Has what was written reach the disk itself.
    ///
    /// # Errors
    /// When it may not have.
    fn sync(&mut self) -> io::Result<()>;

    /// Makes one of all segments up to this one, without the ends of calls except these; how long it is.
    ///
    /// # Errors
    /// When the disk does not take it: nothing has changed.
    fn compact(&mut self, last: u32, unwritten: &HashSet<CallId>) -> io::Result<u64>;

    /// The process is alive.
    ///
    /// # Errors
    /// When that cannot be left for the next one to see.
    fn beat(&mut self, wall: SystemTime) -> io::Result<()>;

    /// A segment of the journal was closed, and another is written now.
    ///
    /// # Errors
    /// When what is in the closed one may not be on the disk.
    fn closed(&mut self, turn: Turn) -> io::Result<()>;
}

/// CDR files and journal of one process.
#[derive(Debug)]
pub struct Store {
    pub(super) directory: Directory,
    writer: Writer,
    mark: Mark,
    /// The newest segment, and its handle once it was needed.
    segment: (u32, Option<File>),
}

/// The work of the thread of records.
#[derive(Debug)]
pub struct Keeper<S> {
    sink: S,
    unwritten: VecDeque<Line>,
    retry_at: Option<Instant>,
    /// Segments that were closed and are not compacted: the last, and how many.
    closed: Option<(u32, u64)>,
    /// How long the base is, in segments.
    base: u64,
    synced_at: Option<Instant>,
    beaten_at: Option<Instant>,
}

impl Line {
    pub(crate) fn new(call: CallId, day: &str, text: &[u8]) -> Self {
        Self { call, day: day.into(), text: [text, b"\n"].concat().into() }
    }

    /// Whose record it is.
    pub const fn call(&self) -> CallId {
        self.call
    }
}

impl Store {
    pub(super) const fn new(directory: Directory, writer: Writer, mark: Mark) -> Self {
        Self { directory, writer, mark, segment: (1, None) }
    }

    /// Removes the journal: nothing in it matters any more.
    ///
    /// # Errors
    /// When the disk refuses. The next start reads it, and finds that all its calls have ended.
    pub fn remove(self) -> io::Result<()> {
        self.directory.remove()
    }
}

impl Sink for Store {
    fn append(&mut self, day: &str, lines: &[u8]) -> io::Result<()> {
        self.writer.append(day, lines)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (number, file) = &mut self.segment;
        let file = match file {
            Some(file) => file,
            None => file.insert(File::open(path(&self.directory.path, *number))?),
        };
        file.sync_data()?;
        self.writer.sync()
    }

    fn beat(&mut self, wall: SystemTime) -> io::Result<()> {
        self.directory.beat(wall)
    }

    fn closed(&mut self, turn: Turn) -> io::Result<()> {
        let synced = self.sync();
        self.segment = (turn.open, None);
        synced
    }

    fn compact(&mut self, last: u32, unwritten: &HashSet<CallId>) -> io::Result<u64> {
        // What is left out of the journal must be in the CDR files, even after a power cut.
        self.writer.sync()?;
        self.mark = self.writer.place()?.unwrap_or_else(|| self.mark.clone());
        let mark = self.mark.clone();
        directory::compact(&self.directory.path, last, mark, |call| unwritten.contains(&call))
    }
}

impl<S: Sink> Keeper<S> {
    /// Nothing to do yet.
    pub const fn new(sink: S) -> Self {
        Self {
            sink,
            unwritten: VecDeque::new(),
            retry_at: None,
            closed: None,
            base: 0,
            synced_at: None,
            beaten_at: None,
        }
    }

    /// Takes a line; [`Keeper::write`] writes it.
    pub fn take(&mut self, line: Line) {
        self.unwritten.push_back(line);
    }

    /// Writes what waits, unless the disk failed a moment ago.
    ///
    /// # Errors
    /// When the disk does not take it: it is tried again later.
    pub fn write(&mut self, now: Instant) -> io::Result<()> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.retry_at = None;
        while let Some(first) = self.unwritten.front() {
            let day = first.day.clone();
            let mut lines = Vec::new();
            let mut count = 0;
            for line in self.unwritten.iter().take_while(|line| line.day == day) {
                if count > 0 && lines.len() + line.text.len() > LARGEST_WRITE {
                    break;
                }
                lines.extend_from_slice(&line.text);
                count += 1;
            }
            if let Err(error) = self.sink.append(&day, &lines) {
                self.retry_at = Some(now + RETRY);
                return Err(error);
            }
            self.unwritten.drain(..count);
        }
        Ok(())
    }

    /// A segment of the journal was closed; every line of a call that ended in it has been taken.
    ///
    /// # Errors
    /// When the journal could not be made shorter: it is tried with the next segment.
    pub fn close(&mut self, turn: Turn, now: Instant) -> io::Result<()> {
        let segment = turn.closed;
        let written = self.write(now).and(self.sink.closed(turn));
        let (_, count) = self.closed.unwrap_or_default();
        self.closed = Some((segment, count + 1));
        // The base is written anew each time: only when as much has come in again.
        if count < self.base {
            return written;
        }
        let unwritten = self.unwritten.iter().map(Line::call).collect();
        let length = self.sink.compact(segment, &unwritten)?;
        self.base = length / super::SEGMENT;
        self.closed = None;
        written
    }

    /// Has what was written reach the disk itself, at most once a second. Whether it did.
    ///
    /// # Errors
    /// When it may not have.
    pub fn sync(&mut self, now: Instant) -> io::Result<bool> {
        if self.synced_at.is_some_and(|at| now < at + SYNC) {
            return Ok(false);
        }
        self.synced_at = Some(now);
        self.sink.sync().map(|()| true)
    }

    /// Shows that the process is alive, every `BEAT`.
    ///
    /// # Errors
    /// When it cannot be shown: if the process dies, it is taken for having died earlier.
    pub fn beat(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        if self.beaten_at.is_some_and(|at| now < at + BEAT) {
            return Ok(());
        }
        self.beaten_at = Some(now);
        self.sink.beat(wall)
    }

    /// How many lines wait.
    pub fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// The sink, at the end.
    pub fn into_sink(self) -> S {
        self.sink
    }
}

/// How exactly it is known when a process died that wrote nothing: a call is billed to that moment.
const BEAT: Duration = Duration::from_secs(2);
/// Between two tries at a disk that fails.
const RETRY: Duration = Duration::from_secs(1);
/// A power cut costs what was written in as long.
pub const SYNC: Duration = Duration::from_secs(1);
/// One write takes no more, so that a disk that is nearly full takes what it can.
const LARGEST_WRITE: usize = 64 << 10;
