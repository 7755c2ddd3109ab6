//! Which files a reading looked at and what they looked like then: whoever finds them otherwise later
//! knows that reading again is worth it.
//!
//! A file is stamped before it is read, so that no change can slip in between. Links are followed: a
//! certificate that is exchanged by pointing a link elsewhere is seen. Contents are not compared.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files and directories of one reading, also those that were not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint(BTreeMap<PathBuf, Option<Stamp>>);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Footprint {
    /// What the same files look like now.
    #[must_use]
    pub fn look_again(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Stamp::of(path))).collect())
    }

    /// The files, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Notes a file that is about to be read; the first look counts, and is what comes back.
    pub(crate) fn note(&mut self, path: &Path) -> Option<Stamp> {
        *self.0.entry(path.to_owned()).or_insert_with(|| Stamp::of(path))
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
