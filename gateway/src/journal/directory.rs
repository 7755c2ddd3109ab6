//! The directories of a journal: `state/journal/N`, one for each process that runs or died, N its epoch. A process holds
//! a lock on its own as long as it lives; what nobody holds was left by one that died.
//!
//! ```text
//! state/journal/lock          held while directories are made and looked for
//! state/journal/N/lock        held by process N, which touches it every few seconds: so long it lived at least
//! state/journal/N/00000001.log   segments; with a base, which stands for all before it
//! state/journal/N.done        all of it stands elsewhere: nobody reads it, whoever comes removes it
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::disk::{numbers, path};
use super::fold::Fold;
use super::frame::{self, Kind};
use super::seal::Salt;
use super::{CallId, NOBODY};
use crate::cdr::Mark;

/// A directory, and the proof that it is ours alone.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) epoch: u32,
    lock: File,
}

/// What a segment says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Head {
    /// Of this form: 2; in 1 all entries were JSON.
    pub(crate) version: u16,
    /// What makes the directory's key.
    pub(crate) salt: Salt,
    /// It stands for all segments before it as well.
    pub(crate) base: bool,
    /// The CDRs of calls whose end stands in this journal are not before this place.
    pub(crate) mark: Mark,
}

impl Head {
    /// As the first entry of a segment.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        frame::write(into, Kind::Head, NOBODY, |bytes| {
            serde_json::to_writer(bytes, self).expect("a head is plain data, and memory takes it");
        });
    }

    /// Of a segment; none when not even its beginning was written.
    fn read(segment: &[u8]) -> Option<Self> {
        let first = frame::read(segment).next().filter(|frame| frame.kind == Kind::Head)?;
        serde_json::from_slice(first.payload).ok()
    }
}

/// All directories of one state.
pub(crate) struct Root {
    path: PathBuf,
    _lock: File,
}

impl Root {
    /// Makes `state/journal` if it is missing. One process at a time has it.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let path = state.join("journal");
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let lock = lock_file(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    /// The directories of processes that died, oldest first. Those that are done with are removed on the way.
    pub(crate) fn dead(&self) -> io::Result<Vec<Directory>> {
        self.sweep()?;
        let mut dead = Vec::new();
        for epoch in self.epochs()? {
            let path = self.path.join(epoch.to_string());
            let lock = match lock_file(&path) {
                // Whoever had it is done with it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock?,
            };
            match lock.try_lock() {
                Ok(()) if !path.exists() => {}
                Ok(()) => dead.push(Directory { path, epoch, lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(dead)
    }

    /// A new directory, above all that there are.
    pub(crate) fn create(&self, seconds: u32) -> io::Result<Directory> {
        let newest = self.epochs()?.last().map_or(0, |newest| newest.saturating_add(1));
        let epoch = seconds.max(newest);
        let path = self.path.join(epoch.to_string());
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = lock_file(&path)?;
        lock.lock()?;
        Ok(Directory { path, epoch, lock })
    }

    /// Removes what is done with. What the disk keeps harms nobody, and is tried again by the next one.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == DONE) {
                let _ = fs::remove_dir_all(&path);
            }
        }
        Ok(())
    }

    fn epochs(&self) -> io::Result<Vec<u32>> {
        let mut epochs = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            epochs.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        epochs.sort_unstable();
        Ok(epochs)
    }
}

impl Directory {
    /// Its segments from the newest base on, each with its head, in order.
    pub(crate) fn load(&self) -> io::Result<Vec<(Head, Vec<u8>)>> {
        let mut segments = Vec::new();
        for number in numbers(&self.path)? {
            let bytes = fs::read(path(&self.path, number))?;
            if let Some(head) = Head::read(&bytes) {
                if head.base {
                    segments.clear();
                }
                segments.push((head, bytes));
            }
        }
        Ok(segments)
    }

    /// When the process that has it was alive last, as far as is known.
    pub(crate) fn seen(&self) -> io::Result<SystemTime> {
        let mut seen = self.lock.metadata()?.modified()?;
        for number in numbers(&self.path)? {
            seen = seen.max(fs::metadata(path(&self.path, number))?.modified()?);
        }
        Ok(seen)
    }

    /// The process that has it is alive.
    pub(crate) fn beat(&self, wall: SystemTime) -> io::Result<()> {
        self.lock.set_modified(wall)
    }

    /// Removes it with all that is in it: from one moment to the other nobody reads any of it again.
    ///
    /// # Errors
    /// When it will be read again. That something of what nobody reads is left is no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let done = self.path.with_extension(DONE);
        // Of a process that had the same number, when the clock was set back.
        let _ = fs::remove_dir_all(&done);
        match fs::rename(&self.path, &done) {
            // Somebody removed it by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        if let Err(reason) = fs::remove_dir_all(&done) {
            tracing::warn!(%reason, path = %done.display(), "a journal that is done with cannot be removed");
        }
        Ok(())
    }
}

/// Makes one base of all segments up to `last`; how long it is. At any moment the directory amounts to the same.
pub(crate) fn compact(
    directory: &Path,
    last: u32,
    mark: Mark,
    unwritten: impl Fn(CallId) -> bool,
) -> io::Result<u64> {
    let mut segments = Vec::new();
    let mut old = numbers(directory)?;
    old.retain(|number| *number <= last);
    for number in &old {
        let bytes = fs::read(path(directory, *number))?;
        if let Some(head) = Head::read(&bytes) {
            if head.base {
                segments.clear();
            }
            segments.push((head, bytes));
        }
    }
    let mut fold = Fold::default();
    for (_, bytes) in &segments {
        frame::read(bytes).for_each(|frame| fold.take(0, frame));
    }
    let salt = segments.first().map(|(head, _)| head.salt).unwrap_or_default();
    let mut base = Vec::new();
    Head { version: VERSION, salt, base: true, mark }.write(&mut base);
    fold.compact(&mut base, unwritten);
    let draft = directory.join("base");
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    let written = file.write_all(&base).and_then(|()| file.sync_data());
    if let Err(error) = written.and_then(|()| fs::rename(&draft, path(directory, last))) {
        fs::remove_file(&draft)?;
        return Err(error);
    }
    for number in old.into_iter().filter(|number| *number < last) {
        fs::remove_file(path(directory, number))?;
    }
    Ok(base.len() as u64)
}

fn lock_file(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).open(directory.join("lock"))
}

/// Behind the name of a directory that nobody reads any more.
const DONE: &str = "done";
/// Of the form that we write.
pub(crate) const VERSION: u16 = 2;

#[cfg(test)]
mod tests {
    use super::super::disk::{Disk, Segments};
    use super::*;

    fn entry(kind: Kind, call: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, kind, CallId([call; 16]), |_| {});
        bytes
    }

    fn head(base: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        Head { version: VERSION, salt: [5; 32], base, mark: Mark::default() }.write(&mut bytes);
        bytes
    }

    fn calls(directory: &Directory) -> Vec<(Kind, u8)> {
        let segments = directory.load().unwrap();
        let frames = segments.iter().flat_map(|(_, bytes)| frame::read(bytes));
        frames.filter(|f| f.kind != Kind::Head).map(|f| (f.kind, f.call.0[0])).collect()
    }

    #[test]
    fn only_what_nobody_holds_is_dead_and_epochs_grow() {
        let state = tempfile::tempdir().unwrap();
        let root = Root::open(state.path()).unwrap();
        let first = root.create(100).unwrap();
        let second = root.create(100).unwrap();
        assert_eq!((first.epoch, second.epoch), (100, 101));
        assert!(root.dead().unwrap().is_empty());
        drop(first);
        let dead: Vec<_> = root.dead().unwrap();
        assert_eq!(dead.iter().map(|d| d.epoch).collect::<Vec<_>>(), [100]);
        assert!(root.dead().unwrap().is_empty(), "taken");
        dead.into_iter().for_each(|dead| dead.remove().unwrap());
        drop(second);
        assert_eq!(root.dead().unwrap()[0].epoch, 101);
        assert_eq!(root.create(7).unwrap().epoch, 102, "a clock that went back");
    }

    #[test]
    fn segments_become_one_base_and_what_follows_stays() {
        let state = tempfile::tempdir().unwrap();
        let directory = Root::open(state.path()).unwrap().create(1).unwrap();
        let mut segments = Segments::create(&directory.path, &head(false)).unwrap();
        for call in 1..=3 {
            segments.append(&entry(Kind::Begun, call)).unwrap();
        }
        segments.next(&head(false)).unwrap();
        segments.append(&entry(Kind::Ended, 1)).unwrap();
        segments.append(&entry(Kind::Ended, 2)).unwrap();
        segments.next(&head(false)).unwrap();
        segments.append(&entry(Kind::Standing, 3)).unwrap();
        let before = std::fs::read(path(&directory.path, 1)).unwrap();
        compact(&directory.path, 2, Mark::default(), |call| call.0[0] == 2).unwrap();
        assert_eq!(numbers(&directory.path).unwrap(), [2, 3]);
        let expected = [(Kind::Ended, 2), (Kind::Begun, 3), (Kind::Standing, 3)];
        assert_eq!(calls(&directory), expected);
        // It died before it removed what the base stands for.
        std::fs::write(path(&directory.path, 1), before).unwrap();
        assert_eq!(calls(&directory), expected);
        compact(&directory.path, 3, Mark::default(), |_| false).unwrap();
        assert_eq!(calls(&directory), [(Kind::Begun, 3), (Kind::Standing, 3)]);
        assert_eq!(directory.load().unwrap()[0].0.salt, [5; 32]);
        assert_eq!(numbers(&directory.path).unwrap(), [3]);
    }

    #[test]
    fn a_segment_of_which_nothing_was_written_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        let directory = Root::open(state.path()).unwrap().create(1).unwrap();
        let mut segments = Segments::create(&directory.path, &head(false)).unwrap();
        segments.append(&entry(Kind::Begun, 1)).unwrap();
        std::fs::write(path(&directory.path, 2), b"").unwrap();
        assert_eq!(calls(&directory), [(Kind::Begun, 1)]);
    }
}
