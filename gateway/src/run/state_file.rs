//! Files of the state directory that are written whole, so that a restart in between forgets nothing: under another name and
//! renamed, on the disk itself, mode 0600, beside the calls, the newest in place of what still waits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tracing::{error, warn};

/// One kind of them.
pub(super) struct Kind {
    name: &'static str,
    /// What it means when it cannot be read, or not be written.
    unread: &'static str,
    unwritten: &'static str,
}

/// Who may be called back after a call for help.
pub(super) const CALLBACKS: Kind = Kind {
    name: "callbacks.json",
    unread: "whoever called for help before is not called back",
    unwritten: "who may be called back after a call for help is lost with this process",
};
/// What trunks have registered with us.
pub(super) const REGISTERED: Kind = Kind {
    name: "registered.json",
    unread: "trunks are reached when they register again",
    unwritten: "what is registered with us is lost with this process",
};

/// What was kept; nothing when there is no such file, or it cannot be read, which is told.
pub(super) fn read<T: DeserializeOwned>(state: &Path, kind: &Kind) -> Vec<T> {
    let path = state.join(kind.name);
    let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    match read {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(reason) => {
            warn!(%reason, "{} cannot be read: {}", path.display(), kind.unread);
            Vec::new()
        }
    }
}

/// All of it or nothing; what was kept before stays when the disk does not take it.
///
/// # Errors
/// The disk's.
pub(super) fn write<T: Serialize>(path: &Path, kept: &[T]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Writes one of them beside the calls: a disk that is slow holds up no call.
pub(super) struct Keeper<T> {
    desk: Arc<Desk<T>>,
    service: Handle,
}

struct Desk<T> {
    path: PathBuf,
    unwritten: &'static str,
    /// What is to be written next: the newest alone.
    waiting: Mutex<Option<Vec<T>>>,
    /// Held while it is written, so that nothing older comes after something newer.
    writing: Mutex<()>,
}

impl<T: Serialize + Send + 'static> Keeper<T> {
    pub(super) fn new(state: &Path, kind: &Kind, service: Handle) -> Self {
        let (path, unwritten) = (state.join(kind.name), kind.unwritten);
        let (waiting, writing) = (Mutex::new(None), Mutex::default());
        Self { desk: Arc::new(Desk { path, unwritten, waiting, writing }), service }
    }

    /// These are to be kept, in place of those before.
    pub(super) fn keep(&self, kept: Vec<T>) {
        if lock(&self.desk.waiting).replace(kept).is_none() {
            let desk = Arc::clone(&self.desk);
            self.service.spawn_blocking(move || desk.write());
        }
    }

    /// Waits until everything is written: another process is about to read it, or this one ends.
    pub(super) fn flush(&self) {
        self.desk.write();
    }
}

impl<T: Serialize> Desk<T> {
    fn write(&self) {
        let _turn = lock(&self.writing);
        let Some(kept) = lock(&self.waiting).take() else { return };
        if let Err(reason) = write(&self.path, &kept) {
            error!(%reason, "{}", self.unwritten);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;

    fn kept(state: &Path) -> Vec<String> {
        read(state, &CALLBACKS)
    }

    #[test]
    fn a_slow_disk_holds_up_nobody_and_the_newest_is_what_stays() {
        let dir = tempfile::tempdir().unwrap();
        let service = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keeper = Keeper::new(dir.path(), &CALLBACKS, service.handle().clone());
        let slow = lock(&keeper.desk.writing);
        for n in 0..1000 {
            keeper.keep(vec![format!("+{n}")]);
        }
        assert!(kept(dir.path()).is_empty(), "nothing was waited for");
        drop(slow);
        keeper.flush();
        assert_eq!(kept(dir.path()), ["+999"]);
        keeper.keep(vec!["+1".to_owned()]);
        // Without anybody who waits for it.
        let begin = clock();
        while kept(dir.path()) != ["+1"] {
            assert!((clock() - begin).as_secs() < 10, "not written");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_cannot_be_read_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(kept(dir.path()).is_empty());
        let path = dir.path().join(CALLBACKS.name);
        for all in [&["+1".to_owned(), "+3".to_owned()][..], &["+1".to_owned()]] {
            write(&path, all).unwrap();
            assert_eq!(kept(dir.path()), all);
        }
        fs::write(&path, "[{").unwrap();
        assert!(kept(dir.path()).is_empty());
    }
}
