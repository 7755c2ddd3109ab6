//! The difference of two configurations, as data and as one readable line per change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::block::{Block, Entry, Shown, blocks};
use crate::inventory::States;
use crate::model::Config;
use crate::numbers::Numbers;

/// One change between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed, e.g. `trunk "carrier-a"`, `gateway`, `tenant "t001"`.
    pub subject: String,
    /// The key, e.g. `peers`; `None`: the subject as a whole was added or removed.
    pub key: Option<String>,
    /// TOML of the value before; `None`: there was none.
    pub before: Option<String>,
    /// TOML of the value after; `None`: there is none.
    pub after: Option<String>,
    /// What happened.
    pub kind: ChangeKind,
    /// Whether it can only take effect by a restart.
    pub restart: bool,
}

/// What happened to the subject of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// One of its keys has another value.
    Changed,
}

impl Change {
    /// Of what a file holds.
    pub(crate) fn contents(what: &str, path: &Path, before: String, after: String) -> Self {
        Self {
            subject: format!("{what} \"{}\"", path.display()),
            key: Some("contents".to_owned()),
            before: Some(before),
            after: Some(after),
            kind: ChangeKind::Changed,
            restart: false,
        }
    }
}

/// Characters of a value that a line shows.
const WIDEST: usize = 100;

/// Everything by which `new` differs from `old`: what was removed, then what was added or changed,
/// in the order of `new`.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    if old == new {
        return Vec::new();
    }
    let (before, after) = (blocks(old), blocks(new));
    let by_subject = |blocks: &'_ [Block<'_>]| -> BTreeMap<String, usize> {
        blocks.iter().enumerate().map(|(index, block)| (block.subject.clone(), index)).collect()
    };
    let (was, is) = (by_subject(&before), by_subject(&after));
    let mut changes = Vec::new();
    for block in before.iter().filter(|block| !is.contains_key(&block.subject)) {
        changes.push(whole(block, ChangeKind::Removed));
    }
    for block in &after {
        match was.get(&block.subject) {
            Some(index) => compare(&before[*index], block, &mut changes),
            None => changes.push(whole(block, ChangeKind::Added)),
        }
    }
    changes
}

fn whole(block: &Block<'_>, kind: ChangeKind) -> Change {
    Change {
        subject: block.subject.clone(),
        key: None,
        before: None,
        after: None,
        kind,
        restart: block.restart,
    }
}

fn compare(old: &Block<'_>, new: &Block<'_>, changes: &mut Vec<Change>) {
    if old.file != new.file {
        let owner = |file: Option<&str>| file.map(str::to_owned);
        changes.push(change(new, "owner", owner(old.file), owner(new.file), false));
    }
    let find =
        |block: &'_ Block<'_>, key: &str| block.entries.iter().position(|entry| entry.key == key);
    for gone in old.entries.iter().filter(|entry| find(new, &entry.key).is_none()) {
        changes.push(change(new, &gone.key, shown(&gone.value), None, gone.restart));
    }
    for entry in &new.entries {
        let before = find(old, &entry.key).map(|index| &old.entries[index]);
        changes.extend(compare_entry(new, before, entry));
    }
}

fn compare_entry(block: &Block<'_>, old: Option<&Entry<'_>>, new: &Entry<'_>) -> Option<Change> {
    let old = old.map(|entry| &entry.value);
    if old == Some(&new.value) {
        return None;
    }
    let (before, after) = match (old, &new.value) {
        (Some(Shown::Numbers(old, was)), Shown::Numbers(new, is)) => numbers((old, was), (new, is)),
        (Some(Shown::Secrets { toml: old, .. }), Shown::Secrets { toml: new, .. })
            if old == new =>
        {
            (Some(old.clone()), Some("another secret".to_owned()))
        }
        (old, new) => (old.and_then(shown), shown(new)),
    };
    Some(change(block, &new.key, before, after, new.restart))
}

fn change(
    block: &Block<'_>,
    key: &str,
    before: Option<String>,
    after: Option<String>,
    restart: bool,
) -> Change {
    Change {
        subject: block.subject.clone(),
        key: Some(key.to_owned()),
        before,
        after,
        kind: ChangeKind::Changed,
        restart,
    }
}

fn shown(value: &Shown<'_>) -> Option<String> {
    match value {
        Shown::Toml(toml) | Shown::Secrets { toml, .. } => Some(toml.clone()),
        Shown::Absent(_) => None,
        Shown::Numbers(numbers, _) => Some(format!("{} numbers", numbers.count())),
    }
}

/// How many there are, went, and came; or that their states changed.
fn numbers(
    (old, was): (&Numbers, &States),
    (new, is): (&Numbers, &States),
) -> (Option<String>, Option<String>) {
    let common = old.common(new);
    let gone = old.count() - common;
    let come = new.count() - common;
    let states = if was == is { "" } else { ", with other states" };
    (
        Some(format!("{} numbers", old.count())),
        Some(format!("{} numbers ({come} added, {gone} removed{states})", new.count())),
    )
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        match (self.kind, &self.key) {
            (ChangeKind::Added, _) => f.write_str(": added")?,
            (ChangeKind::Removed, _) => f.write_str(": removed")?,
            (ChangeKind::Changed, key) => {
                let key = key.as_deref().unwrap_or_default();
                let (before, after) = (short(self.before.as_deref()), short(self.after.as_deref()));
                write!(f, ": {key}: {before} → {after}")?;
            }
        }
        match self.restart {
            true => f.write_str(" (needs a restart)"),
            false => Ok(()),
        }
    }
}

fn short(value: Option<&str>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) if value.chars().count() <= WIDEST => value.to_owned(),
        Some(value) => format!("{}…", value.chars().take(WIDEST).collect::<String>()),
    }
}
