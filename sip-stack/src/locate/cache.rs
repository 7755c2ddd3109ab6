//! What resolvers answered, for its TTL and beyond.
//!
//! Keyed by names that peers may choose, so bounded: the answer that was used least recently leaves.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Answer, Kind, Record};

/// What is asked: a name in lower case without a dot at its end, and a kind of record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
}

/// What is known under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Found(Arc<[Record]>),
    Nothing,
    Failed,
}

/// Whether what is known may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Within its TTL, or answered since the look-up began.
    Fresh,
    /// Beyond it, and the last try to fetch it anew has just failed.
    Failing,
    /// Beyond it.
    Stale,
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    fetched: Instant,
    expires: Instant,
    /// Until when it serves beyond its TTL.
    grace: Instant,
    /// Until when no new try is made after a failed one.
    failing: Option<Instant>,
    used: bool,
    /// When it is fetched anew, if it was used.
    refresh: Option<Instant>,
    /// Its place in the order of use.
    rank: u64,
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    ranks: BTreeSet<(u64, Key)>,
    refreshes: BTreeSet<(Instant, Key)>,
    next_rank: u64,
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is known, and how old it is, for a look-up that began at `as_of`.
    pub(super) fn get(&mut self, key: &Key, as_of: Instant, now: Instant) -> Option<(Known, Age)> {
        let rank = self.rank();
        let entry = self.entries.get_mut(key)?;
        let age = if entry.fetched >= as_of || now < entry.expires {
            Age::Fresh
        } else if now >= entry.grace {
            return None;
        } else if entry.failing.is_some_and(|until| now < until) {
            Age::Failing
        } else {
            Age::Stale
        };
        entry.used = true;
        let known = entry.known.clone();
        self.ranks.remove(&(entry.rank, key.clone()));
        entry.rank = rank;
        self.ranks.insert((rank, key.clone()));
        Some((known, age))
    }

    /// Takes an answer.
    pub(super) fn insert(&mut self, key: &Key, answer: Answer, now: Instant) {
        match answer {
            Answer::Found { records, ttl } if !records.is_empty() => {
                let ttl = ttl.clamp(SHORTEST, LONGEST);
                self.put(key, Known::Found(records.into()), now, now + ttl, GRACE);
                if ttl >= WORTHWHILE {
                    self.refresh_at(key, now + ttl * 4 / 5);
                }
            }
            Answer::Found { ttl, .. } | Answer::Nothing { ttl } => {
                let ttl = ttl.clamp(SHORTEST, LONGEST_NOTHING);
                self.put(key, Known::Nothing, now, now + ttl, GRACE);
            }
            Answer::Failed => self.insert_failure(key, now),
        }
    }

    /// A failure hides nothing that is known.
    fn insert_failure(&mut self, key: &Key, now: Instant) {
        let until = now + RETRY;
        match self.entries.get_mut(key) {
            Some(entry) if now < entry.grace => {
                entry.failing = Some(until);
                if now < entry.expires {
                    self.refresh_at(key, until);
                }
            }
            Some(_) | None => self.put(key, Known::Failed, now, until, Duration::ZERO),
        }
    }

    /// When the next answer is to be fetched anew.
    pub(super) fn next_refresh(&self) -> Option<Instant> {
        self.refreshes.first().map(|(at, _)| *at)
    }

    /// Takes an answer that is to be fetched anew, because it was used since it came.
    pub(super) fn due_refresh(&mut self, now: Instant) -> Option<Key> {
        while self.next_refresh().is_some_and(|at| at <= now) {
            let (_, key) = self.refreshes.pop_first()?;
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.refresh = None;
                if entry.used {
                    return Some(key);
                }
            }
        }
        None
    }

    fn refresh_at(&mut self, key: &Key, at: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            if let Some(old) = entry.refresh.replace(at) {
                self.refreshes.remove(&(old, key.clone()));
            }
            self.refreshes.insert((at, key.clone()));
        }
    }

    fn put(&mut self, key: &Key, known: Known, now: Instant, expires: Instant, grace: Duration) {
        self.remove(key);
        if self.entries.len() >= ENTRIES
            && let Some((_, oldest)) = self.ranks.first().cloned()
        {
            self.remove(&oldest);
        }
        let rank = self.rank();
        let entry = Entry {
            known,
            fetched: now,
            expires,
            grace: expires + grace,
            failing: None,
            used: false,
            refresh: None,
            rank,
        };
        self.entries.insert(key.clone(), entry);
        self.ranks.insert((rank, key.clone()));
    }

    fn remove(&mut self, key: &Key) {
        if let Some(old) = self.entries.remove(key) {
            self.ranks.remove(&(old.rank, key.clone()));
            if let Some(at) = old.refresh {
                self.refreshes.remove(&(at, key.clone()));
            }
        }
    }

    const fn rank(&mut self) -> u64 {
        self.next_rank += 1;
        self.next_rank
    }
}

/// A shorter TTL is read as this one.
const SHORTEST: Duration = Duration::from_secs(1);
/// A longer TTL is read as this one: peers move within 15 minutes and expect to be followed.
const LONGEST: Duration = Duration::from_secs(900);
/// The same for "there is nothing".
const LONGEST_NOTHING: Duration = Duration::from_secs(60);
/// How long an answer serves beyond its TTL while it cannot be fetched anew (RFC 8767 §5: 1 to 3
/// days).
const GRACE: Duration = Duration::from_secs(86_400);
/// How long after a failure nothing is asked again.
const RETRY: Duration = Duration::from_secs(2);
/// From what TTL on an answer in use is fetched anew before it passes.
const WORTHWHILE: Duration = Duration::from_secs(10);
/// How many answers are kept.
const ENTRIES: usize = 4_096;
