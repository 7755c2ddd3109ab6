//! Places in a message.

use super::scan::offset;

/// A range of the message, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// Offsets fit: what is read is bounded far below 4 GiB, a message by the index, a header block by its reader.
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        &raw[self.start as usize..self.end as usize]
    }

    pub(super) fn within(raw: &[u8], part: &[u8]) -> Self {
        offset(raw, part).map_or(Self::default(), |at| Self::new(at, at + part.len()))
    }
}
