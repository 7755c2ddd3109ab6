//! The music of a configuration, by the files that it names.
//!
//! It is there from some moment on: reading minutes of it takes longer than a start may. Until then whoever is held is
//! told so, as where there is no music. [`crate::run`] reads the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use media_relay::audio::Clip;

/// All of it, each file once.
#[derive(Clone, Debug, Default)]
pub struct Sounds(BTreeMap<PathBuf, Sound>);

/// What a file holds, once that is known. Everybody who has it sees it come.
pub type Sound = Arc<OnceLock<Arc<Clip>>>;

impl FromIterator<(PathBuf, Sound)> for Sounds {
    fn from_iter<T: IntoIterator<Item = (PathBuf, Sound)>>(sounds: T) -> Self {
        Self(sounds.into_iter().collect())
    }
}

impl Sounds {
    /// That of a file.
    pub fn get(&self, path: &Path) -> Option<&Sound> {
        self.0.get(path)
    }
}
