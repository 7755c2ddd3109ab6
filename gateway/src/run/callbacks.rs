//! `state/callbacks.json`: who may be called back after a call for help, so that a restart in between cuts nobody off.
//! Written whole under another name and renamed, mode 0600, since it holds numbers.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tracing::warn;

use crate::core::Callback;

/// What was kept; nothing when there is no such file, or it cannot be read, which is told.
pub(super) fn read(state: &Path) -> Vec<Callback> {
    let path = state.join(FILE);
    let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    match read {
        Ok(callbacks) => callbacks,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(reason) => {
            let path = path.display();
            warn!(%reason, "{path} cannot be read: whoever called for help before is not called back");
            Vec::new()
        }
    }
}

/// Keeps them.
///
/// # Errors
/// When the disk does not take it; what was kept before stays.
pub(super) fn write(state: &Path, callbacks: &[Callback]) -> io::Result<()> {
    let draft = state.join(DRAFT);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(callbacks)?)?;
    fs::rename(&draft, state.join(FILE))
}

const FILE: &str = "callbacks.json";
const DRAFT: &str = "callbacks.json.new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_empty());
        let callback = |shown: &str| Callback {
            shown: shown.into(),
            tenant: "t".into(),
            caller: "+2".into(),
            until: 7,
        };
        for all in [vec![callback("+1"), callback("+3")], vec![callback("+1")]] {
            write(dir.path(), &all).unwrap();
            assert_eq!(read(dir.path()), all);
        }
        fs::write(dir.path().join(FILE), "[{").unwrap();
        assert!(read(dir.path()).is_empty());
    }
}
