//! The files of music that a configuration names: there, readable, of a size that may be read. What they hold is for
//! others to judge, who say what is wrong with one at the place where it is named.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::diff::Change;
use crate::fault::Fault;
use crate::footprint::Stamp;

/// One of them. A file that is named several times is one, at the place where it was named first.
#[derive(Clone, Debug)]
pub struct SoundFile {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Option<Stamp>,
    /// A fault that says nothing yet.
    pub(crate) named: Fault,
}

impl SoundFile {
    /// Its path, as it stands in the configuration.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the same file as `before`, and nobody has written to it since.
    pub fn is_same(&self, before: &Self) -> bool {
        self.path == before.path && self.stamp.is_some() && self.stamp == before.stamp
    }

    /// Opens it once more.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// What is wrong with it, and what to do.
    pub fn fault(&self, message: &str, help: &str) -> Fault {
        self.named.saying(message, help)
    }

    /// The change of what it holds.
    pub fn changed(&self, before: String, after: String) -> Change {
        Change::contents("music", &self.path, before, after)
    }
}
