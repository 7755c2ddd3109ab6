//! The files that were read, and places in them.
//!
//! Files are read with care: only regular files, only up to a limit, so that neither a pipe nor a
//! device nor a giant file can hold up or fill the process.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest `gateway.toml` or tenant's file, in bytes.
pub(crate) const TOML_LIMIT: u64 = 4 << 20;
/// Largest file of numbers, in bytes: about four million numbers.
pub(crate) const NUMBERS_LIMIT: u64 = 64 << 20;
/// Largest file of music, in bytes: ten minutes as on a CD are 101 MiB.
pub(crate) const WAV_LIMIT: u64 = 128 << 20;
/// Largest certificate, key or roots file, in bytes.
pub(crate) const PEM_LIMIT: u64 = 4 << 20;

/// A file, by its position in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceId(u32);

/// A range of bytes in a file. Ordered by file, then by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) source: SourceId,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A value and where it was written (for a default: the table it would stand in).
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As shown to the operator: the way it was named, from the working directory.
    pub(crate) name: String,
    /// What relative paths in it are relative to.
    pub(crate) directory: PathBuf,
    pub(crate) text: Arc<str>,
}

/// All files of one reading.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system says no.
    #[error("{0}")]
    Io(io::Error),
    /// A directory, pipe, socket or device.
    #[error("not a regular file")]
    NotAFile,
    /// Too many bytes.
    #[error("larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// The bytes are not text; the position of the first bad one.
    #[error("not UTF-8 text")]
    NotText { valid: Box<str>, line: usize },
}

impl Sources {
    /// Adds a file that was read.
    pub(crate) fn add(&mut self, path: &Path, text: Arc<str>) -> SourceId {
        let id = SourceId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = crate::fault::tame(path.display().to_string());
        self.0.push(Source { name, directory, text });
        id
    }

    /// The file `id`.
    pub(crate) fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0 as usize]
    }
}

impl Span {
    /// The range `start..end` of `source`. Offsets fit: files are limited to [`NUMBERS_LIMIT`].
    pub(crate) fn new(source: SourceId, range: std::ops::Range<usize>) -> Self {
        let offset = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self { source, start: offset(range.start), end: offset(range.end) }
    }
}

impl<T> At<T> {
    /// The same place with another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), span: self.span }
    }
}

/// Whether a file could be read: a regular one of at most `limit` bytes, to which we have the right.
pub(crate) fn can_read(path: &Path, limit: u64) -> Result<(), ReadError> {
    open(path, limit).map(drop)
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (file, length) = open(path, limit)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // It may have grown since.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(bytes)
}

/// Opens a regular file of at most `limit` bytes; its length.
fn open(path: &Path, limit: u64) -> Result<(File, u64), ReadError> {
    // The kind is asked before opening, since opening a pipe waits for its writer.
    let metadata = std::fs::metadata(path).map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok((File::open(path).map_err(ReadError::Io)?, metadata.len()))
}

/// Reads a regular file of at most `limit` bytes of UTF-8; a byte-order mark is dropped.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<Arc<str>, ReadError> {
    let text = String::from_utf8(read_bytes(path, limit)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let valid = String::from_utf8_lossy(valid).into_owned();
        ReadError::NotText { line: valid.split('\n').count(), valid: valid.into() }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.into(),
        None => text.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_text_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, b"\xef\xbb\xbfa = 1").unwrap();
        assert_eq!(&*read_text(&path, 100).unwrap(), "a = 1");
        assert!(matches!(read_text(&path, 4), Err(ReadError::TooLarge(4))));
        assert!(matches!(read_text(dir.path(), 4), Err(ReadError::NotAFile)));
        assert!(matches!(read_text(Path::new("/dev/zero"), 4), Err(ReadError::NotAFile)));
        assert!(matches!(read_text(&dir.path().join("b"), 4), Err(ReadError::Io(_))));
        std::fs::write(&path, b"a\nb\nc\xff").unwrap();
        assert!(matches!(read_text(&path, 9), Err(ReadError::NotText { line: 3, .. })));
    }
}
