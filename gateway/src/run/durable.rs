//! What signalling keeps: entries go to the journal, one write for each turn, and lines of calls that ended to the thread
//! of records.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::ledger::Ledger;
use super::records::Records;
use crate::journal::{Dead, Entry, Figures, Journal, Store};
use crate::metrics::Durability;

/// Journal and records.
pub(super) struct Durable {
    journal: Journal,
    records: Records<Store>,
    /// How long calls have lasted today.
    pub(super) ledger: Ledger,
    /// What dead processes left, until all of it is in this journal.
    dead: Dead,
    /// They could not be removed: when that is tried again.
    remove_at: Option<Instant>,
    failing: bool,
}

impl Durable {
    pub(super) fn new(
        journal: Journal,
        records: Records<Store>,
        ledger: Ledger,
        dead: Dead,
    ) -> Self {
        Self { journal, records, ledger, dead, remove_at: None, failing: false }
    }

    /// What further processes left is in this journal with the next commit.
    pub(super) fn follow(&mut self, dead: Dead) {
        self.dead.append(dead);
    }

    /// Takes an entry; [`Durable::commit`] writes it.
    pub(super) fn keep(&mut self, entry: &Entry) {
        self.journal.add(entry);
    }

    /// Writes what was taken, before anything that comes with it is sent. Whether all of it is written.
    pub(super) fn commit(&mut self, now: Instant) -> bool {
        let waits = !self.journal.is_written();
        match self.journal.commit(now, |line| self.records.write(line)) {
            Ok(turn) => {
                if let Some(turn) = turn {
                    self.records.closed(turn);
                }
                if waits && self.journal.is_written() {
                    self.records.note_dirty();
                    if std::mem::take(&mut self.failing) {
                        info!("the journal can be written again");
                    }
                }
            }
            Err(reason) => {
                self.failing = true;
                error!(%reason, "the journal cannot be written; trying again");
            }
        }
        if self.journal.is_written() && !self.dead.is_empty() {
            self.remove_dead(now);
        }
        self.records.push();
        !self.journal.take_left_out() && self.journal.is_written()
    }

    /// Whether what must be kept of another call can be kept, if only in memory.
    pub(super) fn has_room(&self) -> bool {
        !self.journal.is_full() && !self.records.is_full()
    }

    /// When [`Durable::commit`] has something to do though nothing happens.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // Nothing is removed before all is written.
        let remove_at = self.remove_at.filter(|_| self.journal.is_written());
        self.journal.poll_timeout().into_iter().chain(remove_at).min()
    }

    pub(super) fn figures(&self) -> Durability {
        let Figures { entries, bytes, failures, pending } = self.journal.figures();
        let lines = self.journal.lines() + self.records.pending();
        Durability { entries, bytes, failures, pending, lines }
    }

    /// Writes what is left. The journal is removed if nobody needs it: no call goes on, and all is written.
    pub(super) fn close(mut self, calls: usize, now: Instant) {
        self.commit(now);
        let unneeded = calls == 0 && self.journal.is_written() && self.dead.is_empty();
        if let Some(store) = self.records.close().filter(|_| unneeded)
            && let Err(reason) = store.remove()
        {
            warn!(%reason, "the journal cannot be removed; the next start reads it");
        }
    }

    /// All that dead processes left stands in this journal.
    fn remove_dead(&mut self, now: Instant) {
        if self.remove_at.is_some_and(|at| now < at) {
            return;
        }
        self.remove_at = self.dead.remove().err().map(|reason| {
            warn!(%reason, "the journal of a dead process cannot be removed; trying again");
            now + RETRY
        });
    }
}

/// Between two tries to remove the journal of a dead process.
const RETRY: Duration = Duration::from_secs(1);
