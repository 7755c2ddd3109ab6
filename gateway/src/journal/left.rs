//! What dead processes left: calls to restore, calls to cut, and records that are in no CDR file yet.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use media_relay::SessionState;

use super::CallId;
use super::directory::{Directory, Head};
use super::fold::{Fold, Life};
use super::form::decode;
use super::frame::{self, Kind};
use super::seal::Sealer;
use crate::call::Snapshot;
use crate::cdr::{self, Record};

/// What there is to do about dead processes.
#[derive(Debug, Default)]
pub struct Left {
    /// Calls that were up, in the order in which they came.
    pub calls: Vec<Orphan>,
    /// Records of calls that are over, which are in no CDR file.
    pub ended: Vec<Arc<Record>>,
    /// Calls of which nothing can be read: they are lost.
    pub unreadable: usize,
    /// Where all this lies.
    pub dead: Dead,
}

/// A call whose process died.
#[derive(Debug)]
pub struct Orphan {
    /// What is known of it.
    pub call: Restorable,
    /// When its process was alive last.
    pub seen: SystemTime,
}

/// A call that was up when its process died.
#[derive(Debug)]
pub enum Restorable {
    /// It was answered and confirmed.
    Stood {
        /// As it stood.
        snapshot: Box<Snapshot>,
        /// The newest checkpoint of its media.
        media: Option<Box<SessionState>>,
    },
    /// It was not yet, or what stood cannot be read: its record as it began.
    Begun(Arc<Record>),
}

/// The directories of dead processes.
#[derive(Debug, Default)]
pub struct Dead(Vec<Directory>);

impl Dead {
    /// Removes them, once everything in them stands elsewhere.
    ///
    /// # Errors
    /// When the disk refuses some. These stay, held by this process so that no other reads them; they must not outlive it,
    /// or their calls would be taken up once more.
    pub fn remove(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        self.0.retain(|directory| {
            let removed = directory.remove();
            let stays = removed.is_err();
            result = std::mem::replace(&mut result, Ok(())).and(removed);
            stays
        });
        result
    }

    /// These as well.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Left {
    /// Reads these directories, and the CDR files as far as they may have records of theirs.
    pub(super) fn read(state: &Path, master: &[u8; 32], dead: Vec<Directory>) -> io::Result<Self> {
        let mut segments = Vec::new();
        let seen = dead.iter().map(Directory::seen).collect::<io::Result<Vec<_>>>()?;
        for (number, directory) in dead.iter().enumerate() {
            let loaded = directory.load()?;
            segments.extend(loaded.into_iter().map(|(head, bytes)| (number, head, bytes)));
        }
        let mut fold = Fold::default();
        let mut sealers: Vec<Option<Sealer>> = dead.iter().map(|_| None).collect();
        for (number, Head { salt, .. }, bytes) in &segments {
            sealers[*number] = Some(Sealer::new(master, salt));
            frame::read(bytes).for_each(|frame| fold.take(*number, frame));
        }
        let mark = segments.iter().map(|(_, head, _)| head.mark.clone()).min().unwrap_or_default();
        let mut left = Self { dead: Dead(dead), ..Self::default() };
        for (call, life) in fold.calls() {
            match restorable(call, &life, &sealers) {
                Some(Found::Up(call)) => {
                    left.calls.push(Orphan { call, seen: seen[life.directory] });
                }
                Some(Found::Over(record)) => left.ended.push(record),
                None => left.unreadable += 1,
            }
        }
        let days: BTreeSet<&str> = left.ended.iter().map(|record| record.day()).collect();
        let written = cdr::written(state, &mark, &days)?;
        left.ended.retain(|record| !written.contains(&CallId::of(record)));
        Ok(left)
    }
}

enum Found {
    Up(Restorable),
    Over(Arc<Record>),
}

fn restorable(call: CallId, life: &Life<'_>, sealers: &[Option<Sealer>]) -> Option<Found> {
    if let Some(frame) = life.ended.or(life.ending) {
        return decode(frame.payload).map(Found::Over);
    }
    let stood = life.standing.and_then(|(directory, frame)| {
        let plain = sealers.get(directory)?.as_ref()?.open(Kind::Standing, call, frame.payload)?;
        decode::<Box<Snapshot>>(&plain)
    });
    if let Some(snapshot) = stood {
        let media = life.media.and_then(|frame| decode(frame.payload));
        return Some(Found::Up(Restorable::Stood { snapshot, media }));
    }
    decode(life.begun?.payload).map(|record| Found::Up(Restorable::Begun(record)))
}
