//! Logs: to stderr, one event a line, as text or JSON. The door for tracing-subscriber.
//!
//! A thread of its own writes them, behind a bounded queue: whoever reads stderr slowly holds up no
//! call. When the queue is full, the newest line is lost; that is told in the log, with the count.
//! What comes within a few milliseconds is written at once, because waking the thread costs more
//! than a line does: one wake for each was 15 % of a call.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as Text;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

/// Keeps the log's thread; what is queued is written when this is dropped.
#[must_use = "the log ends when this is dropped"]
pub struct Log {
    queue: SyncSender<Line>,
    /// Closes when the thread has ended.
    done: Receiver<()>,
}

enum Line {
    Text(Vec<u8>),
    End,
}

/// Changes the level while the program runs.
#[derive(Clone, Debug)]
pub struct Levels(reload::Handle<LevelFilter, tracing_subscriber::Registry>);

/// Starts logging as configured. Call once.
pub fn start(log: config::Log) -> io::Result<(Log, Levels)> {
    let (handle, queue) = open(io::stderr())?;
    let (level, levels) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(level);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(queue).with_timer(Clock).with_ansi(false);
    match log.format {
        config::LogFormat::Text => registry.with(lines.with_target(false)).init(),
        config::LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok((handle, Levels(levels)))
}

impl Levels {
    /// From now on, nothing less severe is written.
    pub fn set(&self, level: config::LogLevel) {
        // It fails only when the log is gone.
        let _ = self.0.modify(|now| *now = filter(level));
    }
}

const fn filter(level: config::LogLevel) -> LevelFilter {
    match level {
        config::LogLevel::Error => LevelFilter::ERROR,
        config::LogLevel::Warn => LevelFilter::WARN,
        config::LogLevel::Info => LevelFilter::INFO,
        config::LogLevel::Debug => LevelFilter::DEBUG,
        config::LogLevel::Trace => LevelFilter::TRACE,
    }
}

impl Drop for Log {
    /// Waits until everything is written, at most two seconds.
    fn drop(&mut self) {
        let mut tries = CLOSING.as_millis() / PAUSE.as_millis();
        while tries > 0 && matches!(self.queue.try_send(Line::End), Err(TrySendError::Full(_))) {
            tries -= 1;
            std::thread::sleep(PAUSE);
        }
        if tries > 0 {
            // Both outcomes end the wait.
            let _ = self.done.recv_timeout(CLOSING);
        }
    }
}

/// How often something happened since it was last told, so that a flood of it is told once a
/// second.
#[derive(Debug, Default)]
pub struct Flood {
    told: Option<Instant>,
    count: u64,
}

impl Flood {
    /// It happened once more. The count since the last time, when it is time to tell.
    pub fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let quiet = self.told.is_none_or(|at| now.saturating_duration_since(at) >= TELL);
        quiet.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

/// Lines of which each is wanted, until there are too many: a few a second each by itself, the others counted by the next.
#[derive(Debug, Default)]
pub struct Burst {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Burst {
    /// It happened once more. How many were not told since the last line, when this one is to be told.
    pub fn note(&mut self, most: u32, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|at| now.saturating_duration_since(at) >= TELL) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told < most {
            self.told += 1;
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold += 1;
        None
    }
}

/// When a line was written: UTC with microseconds, as tracing-subscriber writes it of itself by 2,100 instructions; by jiff
/// the time of a CDR takes 750 (callgrind).
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, into: &mut Text<'_>) -> std::fmt::Result {
        #[expect(clippy::disallowed_methods, reason = "a line says when it was written")]
        let now = jiff::Timestamp::now();
        write!(into, "{now:.6}")
    }
}

/// The writing end of the queue.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

fn open(into: impl Write + Send + 'static) -> io::Result<(Log, Queue)> {
    let (lines, queued) = sync_channel(LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lost);
    let (ended, done) = sync_channel(1);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        let _ended: SyncSender<()> = ended;
        write(&queued, into, &counted);
    })?;
    let log = Log { queue: lines.clone(), done };
    Ok((log, Queue { lines, lost }))
}

/// Nothing can be done about a stderr that takes nothing, so its errors are passed over.
fn write(queued: &Receiver<Line>, mut into: impl Write, lost: &AtomicU64) {
    let mut lines = Vec::new();
    let mut open = true;
    while open && let Ok(first) = queued.recv() {
        let mut next = Some(first);
        if matches!(next, Some(Line::Text(_))) {
            // While this thread sleeps, whoever sends need not wake it.
            std::thread::sleep(GATHER);
        }
        while let Some(line) = next {
            match line {
                Line::Text(text) => lines.extend_from_slice(&text),
                Line::End => open = false,
            }
            next = if lines.len() < WRITE { queued.try_recv().ok() } else { None };
        }
        let _ = into.write_all(&lines);
        lines.clear();
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(into, "{count} log lines lost: stderr is read too slowly");
        }
    }
    let _ = into.flush();
}

/// One event, formatted into one buffer.
struct Writer<'a> {
    queue: &'a Queue,
    line: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer { queue: self, line: Vec::new() }
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.queue.lines.try_send(Line::Text(line)).is_err() {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long the first of some lines waits for others.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes above which no more lines join a write.
const WRITE: usize = 256 * 1024;
/// Lines that wait to be written.
const LINES: usize = 8192;
/// How long the end of the process waits for stderr.
const CLOSING: Duration = Duration::from_secs(2);
/// Between two looks at a full queue.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two tellings of one flood.
const TELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_utc_to_the_microsecond() {
        let mut text = String::new();
        Clock.format_time(&mut Text::new(&mut text)).unwrap();
        assert_eq!((text.len(), &text[10..11], &text[19..20], &text[26..]), (27, "T", ".", "Z"));
        assert!(text.parse::<jiff::Timestamp>().is_ok());
    }
    use std::sync::Mutex;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn a_flood_is_told_once_a_second_with_its_count() {
        let start = Instant::now();
        let mut flood = Flood::default();
        assert_eq!(flood.note(start), Some(1));
        for _ in 0..10 {
            assert_eq!(flood.note(start + TELL / 2), None);
        }
        assert_eq!(flood.note(start + TELL), Some(11));
        assert_eq!(flood.note(start + TELL * 5), Some(1));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn each_line_is_told_until_there_are_too_many() {
        let start = Instant::now();
        let mut burst = Burst::default();
        let told: Vec<_> = (0..10).map(|_| burst.note(3, start)).collect();
        assert_eq!(told[..4], [Some(0), Some(0), Some(0), None]);
        assert_eq!(told.iter().flatten().count(), 3);
        assert_eq!(burst.note(3, start + TELL), Some(7), "what was not told is counted");
        assert_eq!(burst.note(3, start + TELL * 9), Some(0));
    }

    #[test]
    fn what_is_queued_is_written_before_the_end() {
        let sink = Sink::default();
        let (log, queue) = open(sink.clone()).unwrap();
        for number in 0..100 {
            writeln!(queue.make_writer(), "line {number}").unwrap();
        }
        drop(log);
        let text = sink.0.lock().unwrap().clone();
        assert_eq!(text.lines().count(), 100);
        assert!(text.ends_with("line 99\n"));
    }

    #[test]
    fn a_reader_that_is_stuck_holds_up_nobody() {
        let sink = Sink::default();
        let stuck = sink.0.lock().unwrap();
        let (log, queue) = open(sink.clone()).unwrap();
        // The thread takes one write's worth out of the queue and hangs in it.
        let line = "x".repeat(1000);
        for _ in 0..LINES + WRITE / 1000 + 10 {
            writeln!(queue.make_writer(), "{line}").unwrap();
        }
        drop(stuck);
        drop(log);
        let text = sink.0.lock().unwrap().clone();
        assert!(text.contains("log lines lost"), "{} lines", text.lines().count());
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<String>>);

    impl Write for Sink {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push_str(std::str::from_utf8(text).unwrap());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
