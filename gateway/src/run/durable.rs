//! What signalling keeps: entries go to the journal, one write for each turn, and lines of calls that ended to the thread
//! of records.

use std::time::Instant;

use tracing::{error, info, warn};

use super::records::Records;
use crate::journal::{Dead, Entry, Figures, Journal, Store};
use crate::metrics::Durability;

/// Journal and records.
pub(super) struct Durable {
    journal: Journal,
    records: Records<Store>,
    /// What dead processes left, until all of it is in this journal.
    dead: Option<Dead>,
    failing: bool,
}

impl Durable {
    pub(super) fn new(journal: Journal, records: Records<Store>, dead: Dead) -> Self {
        Self { journal, records, dead: Some(dead).filter(|dead| !dead.is_empty()), failing: false }
    }

    /// What further processes left is in this journal with the next commit. False when it cannot be taken now.
    pub(super) fn follow(&mut self, dead: Dead) -> bool {
        let free = self.dead.is_none();
        if free {
            self.dead = Some(dead).filter(|dead| !dead.is_empty());
        }
        free
    }

    /// Takes an entry; [`Durable::commit`] writes it.
    pub(super) fn keep(&mut self, entry: &Entry) {
        self.journal.add(entry);
    }

    /// Writes what was taken, before anything that comes with it is sent.
    pub(super) fn commit(&mut self, now: Instant) {
        let waits = !self.journal.is_written();
        match self.journal.commit(now, |line| self.records.write(line)) {
            Ok(closed) => {
                if let Some(segment) = closed {
                    self.records.closed(segment);
                }
                if waits && self.journal.is_written() {
                    self.records.note_dirty();
                    self.written();
                }
            }
            Err(reason) => {
                self.failing = true;
                error!(%reason, "the journal cannot be written; trying again");
            }
        }
        self.records.push();
    }

    /// Whether what must be kept of another call can be kept, if only in memory.
    pub(super) fn has_room(&self) -> bool {
        !self.journal.is_full() && !self.records.is_full()
    }

    /// When [`Durable::commit`] has something to do though nothing happens.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.journal.poll_timeout()
    }

    pub(super) fn figures(&self) -> Durability {
        let Figures { entries, bytes, failures, pending } = self.journal.figures();
        let lines = self.journal.lines() + self.records.pending();
        Durability { entries, bytes, failures, pending, lines }
    }

    /// Writes what is left. The journal is removed if nobody needs it: no call goes on, and all is written.
    pub(super) fn close(mut self, calls: usize, now: Instant) {
        self.commit(now);
        let unneeded = calls == 0 && self.journal.is_written() && self.dead.is_none();
        if let Some(store) = self.records.close().filter(|_| unneeded)
            && let Err(reason) = store.remove()
        {
            warn!(%reason, "the journal cannot be removed; the next start reads it");
        }
    }

    fn written(&mut self) {
        if std::mem::take(&mut self.failing) {
            info!("the journal can be written again");
        }
        if let Some(Err(reason)) = self.dead.take().map(Dead::remove) {
            warn!(%reason, "the journal of a dead process cannot be removed");
        }
    }
}
