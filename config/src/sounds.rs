//! The music that a configuration names, as it was read and checked with it: what is heard is what was checked, also when
//! a file changes a moment later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use media_relay::audio::Clip;

use crate::credentials::contents;
use crate::diff::Change;

/// All of it, each file once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sounds(pub(crate) BTreeMap<PathBuf, Arc<Clip>>);

impl FromIterator<(PathBuf, Arc<Clip>)> for Sounds {
    fn from_iter<T: IntoIterator<Item = (PathBuf, Arc<Clip>)>>(clips: T) -> Self {
        Self(clips.into_iter().collect())
    }
}

impl Sounds {
    /// What a file holds.
    pub fn get(&self, path: &Path) -> Option<&Arc<Clip>> {
        self.0.get(path)
    }

    /// Keeps from `before` what is the same there, so that it lies in memory once.
    pub fn share(&mut self, before: &Self) {
        for (path, clip) in &mut self.0 {
            if let Some(same) = before.get(path).filter(|same| *same == clip) {
                *clip = Arc::clone(same);
            }
        }
    }

    /// By which contents of the files `new` differs from these. What came or went is told by the configuration itself.
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        let changed = new.0.iter().filter_map(|(path, after)| {
            let before = self.get(path).filter(|before| *before != after)?;
            let shown = |clip: &Clip| format!("{:.1} s", clip.duration().as_secs_f64());
            Some(contents("music", path, shown(before), shown(after)))
        });
        changed.collect()
    }
}
