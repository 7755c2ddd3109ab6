//! The certificates, keys and roots that a configuration names, as they were read and checked with
//! it: what is presented is what was checked, also when a file changes a moment later.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use certs::{Certificate, Identity, Roots};

use crate::diff::Change;
use crate::model::Key;

/// All of them, each once.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub(crate) identities: Vec<(PathBuf, Key, Arc<Identity>)>,
    pub(crate) roots: Vec<(PathBuf, Roots)>,
    pub(crate) system: Option<Roots>,
}

impl Credentials {
    /// The chain of a file with its key.
    pub fn identity(&self, certificate: &Path, key: &Key) -> Option<&Arc<Identity>> {
        let is = |(path, of, _): &&(PathBuf, Key, _)| path == certificate && of == key;
        self.identities.iter().find(is).map(|(_, _, identity)| identity)
    }

    /// The roots of a file, or with `None` the system's.
    pub fn roots(&self, path: Option<&Path>) -> Option<&Roots> {
        match path {
            Some(path) => self.roots.iter().find(|(of, _)| of == path).map(|(_, roots)| roots),
            None => self.system.as_ref(),
        }
    }

    /// The leaf of each certificate file.
    pub fn leaves(&self) -> impl Iterator<Item = (&Path, &Certificate)> {
        self.identities.iter().map(|(path, _, identity)| (path.as_path(), identity.leaf()))
    }

    /// By which contents of the files `new` differs from these. What came or went is told by the
    /// configuration itself.
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, key, after) in &new.identities {
            let Some(before) = self.identity(path, key) else { continue };
            if before.chain() == after.chain() {
                continue;
            }
            let same = before.leaf().fingerprint() == after.leaf().fingerprint();
            let shown = |identity: &Identity| match same {
                true => format!("a chain of {}", identity.chain().len()),
                false => described(identity.leaf()),
            };
            changes.push(Change::contents("certificate", path, shown(before), shown(after)));
        }
        for (path, after) in &new.roots {
            let Some(before) = self.roots(Some(path)) else { continue };
            let common = common(before, after);
            let (was, is) = (before.certificates().len(), after.certificates().len());
            if (common, common) == (was, is) {
                continue;
            }
            let (come, gone) = (is - common, was - common);
            let after = format!("{is} certificates ({come} added, {gone} removed)");
            changes.push(Change::contents("roots", path, format!("{was} certificates"), after));
        }
        changes
    }
}

/// Whose certificate it is and how long it holds.
fn described(leaf: &Certificate) -> String {
    let day = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| "ever".to_owned(), |t| t.strftime("%Y-%m-%d").to_string())
    };
    let print: String = leaf.fingerprint().iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}, valid until {}, SHA-256 {print}…", leaf.subject(), day(leaf.not_after()))
}

/// Roots that both have.
fn common(before: &Roots, after: &Roots) -> usize {
    let has = |of: &Roots, one: &Certificate| {
        of.certificates().iter().any(|other| other.fingerprint() == one.fingerprint())
    };
    after.certificates().iter().filter(|one| has(before, one)).count()
}
