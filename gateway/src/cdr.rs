//! Call detail records: what happened in one call, one JSON object per call in `state/cdr/YYYY-MM-DD.jsonl`.
//!
//! Numbers are unmasked; files have mode 0600. Billing parses them for years: fields are added, never renamed.
//! Times are UTC, RFC 3339 with milliseconds; a file holds the calls that ended on its day.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One call, written once when it has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
pub struct LegRecord {
    /// "caller" or "callee".
    pub role: String,
    /// The tenant at that end.
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
    /// The called number as received (caller's leg) or as sent (callee's leg).
    pub called: String,
    /// The far end's own id of the call, when its profile names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// One next hop that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
pub struct CauseRecord {
    /// SIP status; 200 for an answered call that was hung up.
    pub sip: u16,
    /// Q.850 cause.
    pub q850: u8,
    /// In plain words.
    pub text: String,
    /// Who can do something about it.
    pub fault: String,
    /// The peer's Reason header, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was relayed in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
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

/// Appends records to the file of the day.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    open: Option<(String, File)>,
}

impl Writer {
    /// Makes `state/cdr` (mode 0700) if it is missing.
    pub fn open(state: &Path) -> io::Result<Self> {
        let directory = state.join("cdr");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, open: None })
    }

    /// Appends one record as one line, in one write. After an error the file is opened anew, and a
    /// line that was left without its end gets it, so that it spoils no other.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let day = record.t_end.get(..10).unwrap_or("1970-01-01");
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let written = self.file(day)?.write_all(&line);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn file(&mut self, day: &str) -> io::Result<&mut File> {
        let stale = self.open.as_ref().is_none_or(|(open, _)| open != day);
        if stale {
            let path = self.directory.join(format!("{day}.jsonl"));
            let mut options = OpenOptions::new();
            let mut file = options.create(true).append(true).read(true).mode(0o600).open(path)?;
            if is_torn(&mut file)? {
                file.write_all(b"\n")?;
            }
            self.open = Some((day.to_owned(), file));
        }
        let (_, file) = self.open.as_mut().expect("opened just above when it was not");
        Ok(file)
    }
}

/// Whether the last line has no end: a write was cut short by a full disk or a crash.
fn is_torn(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn timestamps_are_utc_with_milliseconds() {
        let wall = UNIX_EPOCH + Duration::from_millis(1_795_000_000_007);
        assert_eq!(timestamp(wall), "2026-11-18T11:06:40.007Z");
    }

    #[test]
    fn records_are_appended_one_a_line_to_the_file_of_the_day() {
        let state = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(state.path()).unwrap();
        let record =
            |id: &str, end: &str| Record { id: id.into(), t_end: end.into(), ..Record::default() };
        for (id, end) in [("a", "2026-11-18T23:59:59.999Z"), ("b", "2026-11-19T00:00:00.000Z")] {
            writer.append(&record(id, end)).unwrap();
        }
        writer.append(&record("c", "2026-11-19T00:00:01.000Z")).unwrap();
        let path = state.path().join("cdr/2026-11-19.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let ids: Vec<String> =
            text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().id).collect();
        assert_eq!(ids, ["b", "c"]);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_cut_short_spoils_no_other() {
        let state = tempfile::tempdir().unwrap();
        let record = Record { t_end: "2026-11-19T00:00:00.000Z".into(), ..Record::default() };
        Writer::open(state.path()).unwrap().append(&record).unwrap();
        let path = state.path().join("cdr/2026-11-19.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..20]).unwrap();
        Writer::open(state.path()).unwrap().append(&record).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n{whole}", &whole[..20]));
    }
}
