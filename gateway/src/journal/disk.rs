//! Where a journal is written: segments of a directory, one after the other. A trait, so that tests have disks that fail.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What takes the bytes of a journal.
pub trait Disk {
    /// Appends all of these bytes, or nothing that would be read.
    ///
    /// # Errors
    /// When the disk does not take them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// How long the segment is.
    fn size(&self) -> u64;

    /// Begins the next segment with these bytes.
    ///
    /// # Errors
    /// When there can be none: the old one goes on.
    fn next(&mut self, head: &[u8]) -> io::Result<Turn>;
}

/// One segment was closed, and another begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The number of the one that is written no more.
    pub closed: u32,
    /// The number of the one that is written now: the next, but for numbers that came to nothing.
    pub open: u32,
}

/// The segments of one process.
#[derive(Debug)]
pub struct Segments {
    directory: PathBuf,
    number: u32,
    file: File,
    size: u64,
    /// Bytes that are not to be read could not be taken back.
    spoilt: bool,
}

impl Segments {
    /// The first segment of a new directory.
    pub(crate) fn create(directory: &Path, head: &[u8]) -> io::Result<Self> {
        let file = create(&path(directory, 1))?;
        let directory = directory.to_owned();
        let mut segments = Self { directory, number: 1, file, size: 0, spoilt: false };
        segments.append(head)?;
        Ok(segments)
    }
}

impl Disk for Segments {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.spoilt {
            self.file.set_len(self.size)?;
            self.spoilt = false;
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.spoilt = self.file.set_len(self.size).is_err();
            return Err(error);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next(&mut self, head: &[u8]) -> io::Result<Turn> {
        let mut number = self.number + 1;
        let mut file = loop {
            match create(&path(&self.directory, number)) {
                // One that could not be removed below. The reader passes over what has no head.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                file => break file?,
            }
        };
        if let Err(error) = file.write_all(head) {
            // Without a whole head it is nothing, there or not.
            let _ = file.set_len(0);
            drop(file);
            let _ = std::fs::remove_file(path(&self.directory, number));
            return Err(error);
        }
        (self.file, self.size, self.spoilt) = (file, head.len() as u64, false);
        Ok(Turn { closed: std::mem::replace(&mut self.number, number), open: number })
    }
}

/// The file of a segment.
pub(crate) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.log"))
}

/// The numbers of all segments of a directory, in order.
pub(crate) fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other() {
        let scratch = tempfile::tempdir().unwrap();
        let mut segments = Segments::create(scratch.path(), b"head").unwrap();
        segments.append(b"one").unwrap();
        assert_eq!(segments.size(), 7);
        assert_eq!(segments.next(b"HEAD").unwrap(), Turn { closed: 1, open: 2 });
        segments.append(b"two").unwrap();
        assert_eq!(numbers(scratch.path()).unwrap(), [1, 2]);
        let read = |number| std::fs::read(path(scratch.path(), number)).unwrap();
        assert_eq!((read(1), read(2)), (b"headone".to_vec(), b"HEADtwo".to_vec()));
    }

    #[test]
    fn r10_a_segment_that_came_to_nothing_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let mut segments = Segments::create(scratch.path(), b"head").unwrap();
        // The head did not fit, and the disk did not even let it go.
        std::fs::write(path(scratch.path(), 2), b"").unwrap();
        assert_eq!(segments.next(b"HEAD").unwrap(), Turn { closed: 1, open: 3 });
        segments.append(b"three").unwrap();
        assert_eq!(std::fs::read(path(scratch.path(), 3)).unwrap(), b"HEADthree");
        assert_eq!(segments.next(b"HEAD").unwrap(), Turn { closed: 3, open: 4 });
    }

    #[test]
    fn two_processes_never_share_a_segment() {
        let scratch = tempfile::tempdir().unwrap();
        let _first = Segments::create(scratch.path(), b"head").unwrap();
        let error = Segments::create(scratch.path(), b"head").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
