//! Call detail records: what happened in one call, one JSON object per call in `state/cdr/YYYY-MM-DD.jsonl`.
//!
//! Numbers are unmasked; files have mode 0600. Billing parses them for years: fields are added, never renamed.
//! Times are UTC, RFC 3339 with milliseconds; a file holds the calls that ended on its day.

use std::collections::{BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::journal::CallId;

/// One call, written once when it has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// UUIDv7 of the call; the same in every log line of it.
    pub id: String,
    /// The node that handled it.
    pub node: String,
    /// The caller's leg first, then the leg that was called last, if any.
    pub legs: Vec<LegRecord>,
    /// Every next hop that was tried, in order.
    pub attempts: Vec<AttemptRecord>,
    /// When the INVITE came.
    pub t_invite: String,
    /// When it first rang (18x).
    pub t_ring: Option<String>,
    /// When it was answered (2xx).
    pub t_answer: Option<String>,
    /// When it was over.
    pub t_end: String,
    /// Who ended it: "caller", "callee" or "gateway".
    pub ended_by: String,
    /// Why it ended.
    pub cause: CauseRecord,
    /// Per direction, what was relayed.
    pub media: Vec<MediaRecord>,
}

/// One side of the call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegRecord {
    /// "caller", "callee", or "target": of a transfer.
    pub role: String,
    /// The tenant at that end, or whose trunk is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The trunk at that end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// The edge it went by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// Call-ID of the leg.
    pub call_id: String,
    /// The calling number as received (caller's leg) or as sent (callee's leg).
    pub caller: String,
    /// The number that the caller's network vouches for (P-Asserted-Identity), if it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asserted: Option<String>,
    /// The called number as received (caller's leg) or as sent (callee's leg).
    pub called: String,
    /// The number that has sent the call on to the one called, as received, if it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverted_by: Option<String>,
    /// The far end's own id of the call, when its profile names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// One next hop that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    /// Where to ("sip.example:5061 203.0.113.9:5061").
    pub to: String,
    /// When the INVITE left.
    pub t: String,
    /// Its final SIP status; 0 when the transport failed, 408 when it was silent.
    pub status: u16,
}

/// Why the call ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CauseRecord {
    /// SIP status; 200 for an answered call that was hung up.
    pub sip: u16,
    /// Q.850 cause.
    pub q850: u8,
    /// In plain words.
    pub text: String,
    /// Who can do something about it.
    pub fault: String,
    /// The peer's own code for it, where its profile knows such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// What that code, or the peer's status, means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// What to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The peer's Reason header, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was relayed in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaRecord {
    /// "caller" or "callee": the side that sent it.
    pub from: String,
    /// RTP packets accepted from that side.
    pub received: u64,
    /// RTP packets relayed to the other side.
    pub relayed: u64,
    /// Packets missing by sequence number.
    pub lost: u64,
    /// Packets that failed SRTP authentication or were replayed.
    pub refused: u64,
    /// Packets from an address that is not this side's.
    pub foreign: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1), the last value.
    pub jitter_ms: f64,
    /// The highest value.
    pub jitter_max_ms: f64,
    /// The longest time between two packets, in milliseconds.
    pub longest_gap_ms: f64,
    /// What that side spoke last, as in SDP ("PCMA/8000"), if it was heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Datagrams of a fax by T.38 (UDPTL) accepted from that side, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t38: Option<u64>,
    /// Mean opinion score of what came from that side, by the E-model (ITU-T G.107), if it was heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// The round trip to that side and back by RTCP in milliseconds, the last value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// The highest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_max_ms: Option<f64>,
    /// Packets of ours missing at that side, by its reports, if it made any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_lost: Option<u64>,
    /// Jitter at that side in milliseconds, by its reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_jitter_ms: Option<f64>,
    /// Mean opinion score of what that side heard, by its reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_mos: Option<f64>,
    /// Seconds in which that side should have sent and was silent.
    pub silent_s: f64,
    /// At some time that side was silent while the other one was heard.
    pub one_way: bool,
    /// The SRTP suite of that side, when encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtp: Option<String>,
}

/// A point in time as CDRs write it.
pub fn timestamp(wall: SystemTime) -> String {
    jiff::Timestamp::try_from(wall)
        .map(|t| format!("{t:.3}"))
        .unwrap_or_else(|_| "1970-01-01T00:00:00.000Z".to_owned())
}

impl Record {
    /// The day on which the call ended, which names its file.
    pub fn day(&self) -> &str {
        self.t_end.get(..10).unwrap_or("1970-01-01")
    }
}

/// Appends a record as it stands in a line.
pub fn write(record: &Record, into: &mut Vec<u8>) {
    serde_json::to_writer(into, record).expect("a record is plain data, and memory takes it");
}

/// A place in the CDR files: what is written from then on is not before it, in the file of that day, or in others.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    day: String,
    offset: u64,
}

/// The calls whose records stand in the files of these days, as far as they were written after the mark.
///
/// # Errors
/// When a file cannot be read.
pub fn written(state: &Path, mark: &Mark, days: &BTreeSet<&str>) -> io::Result<HashSet<CallId>> {
    let mut calls = HashSet::new();
    for day in days {
        let mut file = match File::open(path(&state.join("cdr"), day)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        if *day == mark.day {
            file.seek(SeekFrom::Start(mark.offset))?;
        }
        for line in BufReader::with_capacity(1 << 16, file).split(b'\n') {
            calls.extend(call_of(&line?));
        }
    }
    Ok(calls)
}

/// Whose record a line is. The id comes first in each.
fn call_of(line: &[u8]) -> Option<CallId> {
    let id = line.strip_prefix(b"{\"id\":\"")?.get(..UUID_LENGTH)?;
    let whole = line.ends_with(b"}");
    CallId::parse(std::str::from_utf8(id).ok()?).filter(|_| whole)
}

/// Appends lines to the file of the day.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    open: Option<(String, File)>,
}

impl Writer {
    /// Makes `state/cdr` (mode 0700) if it is missing.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(state: &Path) -> io::Result<Self> {
        let directory = state.join("cdr");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, open: None })
    }

    /// Appends whole lines in one write; all of them, or none. A line that a crash left without its end is removed: its
    /// call stands in the journal and is written again.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn append(&mut self, day: &str, lines: &[u8]) -> io::Result<()> {
        let written = self.file(day).and_then(|file| append(file, lines));
        if written.is_err() {
            self.open = None;
        }
        written
    }

    /// Has what was written reach the disk itself.
    ///
    /// # Errors
    /// When it may not have.
    pub fn sync(&mut self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(_, file)| file.sync_data())
    }

    /// The end of the file that was written last, if any was.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn place(&self) -> io::Result<Option<Mark>> {
        let place = |(day, file): &(String, File)| {
            Ok(Mark { day: day.clone(), offset: file.metadata()?.len() })
        };
        self.open.as_ref().map(place).transpose()
    }

    /// The end of the file of the day that has this second (since 1970).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mark(&self, seconds: u32) -> io::Result<Mark> {
        let text = timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()));
        let day = text.get(..10).unwrap_or_default().to_owned();
        match std::fs::metadata(path(&self.directory, &day)) {
            Ok(file) => Ok(Mark { day, offset: file.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Mark { day, offset: 0 }),
            Err(error) => Err(error),
        }
    }

    fn file(&mut self, day: &str) -> io::Result<&mut File> {
        let stale = self.open.as_ref().is_none_or(|(open, _)| open != day);
        if stale {
            if let Some((_, before)) = self.open.take() {
                before.sync_data()?;
            }
            let mut options = OpenOptions::new();
            let options = options.create(true).append(true).read(true).mode(0o600);
            self.open = Some((day.to_owned(), options.open(path(&self.directory, day))?));
        }
        let (_, file) = self.open.as_mut().expect("opened just above when it was not");
        Ok(file)
    }
}

/// Under a lock, since another process of this state directory may be at the end of its calls.
fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    file.lock()?;
    let appended = whole_length(file).and_then(|length| {
        let written = file.write_all(lines);
        if written.is_err() {
            file.set_len(length)?;
        }
        written
    });
    file.unlock()?;
    appended
}

/// The length of the file, once a line without its end was cut off.
fn whole_length(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

fn path(directory: &Path, day: &str) -> PathBuf {
    directory.join(format!("{day}.jsonl"))
}

const UUID_LENGTH: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::UNIX_EPOCH;

    #[test]
    fn timestamps_are_utc_with_milliseconds() {
        let wall = UNIX_EPOCH + Duration::from_millis(1_795_000_000_007);
        assert_eq!(timestamp(wall), "2026-11-18T11:06:40.007Z");
    }

    fn line(id: u8) -> Vec<u8> {
        let id = format!("01936b6a-2f3c-7c41-9d0e-0000000000{id:02x}");
        let mut text = Vec::new();
        write(&Record { id, ..Record::default() }, &mut text);
        text.push(b'\n');
        text
    }

    fn file(state: &Path) -> PathBuf {
        state.join("cdr/2026-11-19.jsonl")
    }

    #[test]
    fn lines_are_appended_to_the_file_of_the_day() {
        let state = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(state.path()).unwrap();
        for (at, day) in [(1, "2026-11-18"), (2, "2026-11-19"), (3, "2026-11-19")] {
            writer.append(day, &line(at)).unwrap();
        }
        let path = file(state.path());
        assert_eq!(std::fs::read(&path).unwrap(), [line(2), line(3)].concat());
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_cut_short_is_removed() {
        let state = tempfile::tempdir().unwrap();
        Writer::open(state.path()).unwrap();
        for whole in [Vec::new(), line(1), line(1).repeat(20)] {
            std::fs::write(file(state.path()), [&whole[..], &line(2)[..20]].concat()).unwrap();
            Writer::open(state.path()).unwrap().append("2026-11-19", &line(3)).unwrap();
            let text = std::fs::read(file(state.path())).unwrap();
            assert_eq!(text, [whole, line(3)].concat());
        }
    }

    #[test]
    fn what_was_written_after_a_mark_is_found() {
        let state = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(state.path()).unwrap();
        let days = BTreeSet::from(["2026-11-18", "2026-11-19", "2026-11-20"]);
        let seconds = 1_795_046_400;
        assert_eq!(writer.mark(seconds).unwrap(), Mark { day: "2026-11-19".into(), offset: 0 });
        assert!(written(state.path(), &Mark::default(), &days).unwrap().is_empty());
        writer.append("2026-11-18", &line(1)).unwrap();
        writer.append("2026-11-19", &line(2)).unwrap();
        let mark = writer.mark(seconds).unwrap();
        assert_eq!(writer.place().unwrap(), Some(mark.clone()));
        writer.append("2026-11-19", &line(3)).unwrap();
        writer.append("2026-11-20", &line(4)).unwrap();
        let mut torn = OpenOptions::new().append(true).open(file(state.path())).unwrap();
        torn.write_all(&line(5)[..60]).unwrap();
        let found = written(state.path(), &mark, &days).unwrap();
        let mut found: Vec<u8> = found.into_iter().map(|call| call.0[15]).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 3, 4], "of other days all, of that day what is after it");
        assert_eq!(written(state.path(), &mark, &BTreeSet::from(["2026-11-20"])).unwrap().len(), 1);
    }
}
