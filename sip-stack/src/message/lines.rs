//! The header lines of a block (RFC 3261 §7.3): where each ends with its folds, its name and its value.
//!
//! A line ends with CRLF and nothing else does: a bare CR, a bare LF and NUL are faults wherever they stand.
//!
//! `Lines::next` and `Line::read` are written into the loops that call them: as functions of their own they cost a
//! third more, for what they answer goes through memory.

use super::error::ParseErrorKind as Fault;
use super::header::HeaderId;
use super::near::{find, find_any, low_bytes};
use super::parse::Span;
use super::scan::{is_lws, is_token};

/// Reads the header lines of a block.
pub(super) struct Lines<'a> {
    block: &'a [u8],
    /// Where the next line begins.
    pub(super) at: usize,
    /// Bytes that may end a line: a bit for each that is below 14, of the 64 before `marked`; those behind us are
    /// taken out.
    marks: u64,
    marked: usize,
}

/// Where a header line begins, and ends with all its folds.
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Lines<'a> {
    /// The lines from `at` on, which is in the block.
    pub(super) const fn new(block: &'a [u8], at: usize) -> Self {
        Self { block, at, marks: 0, marked: at }
    }

    /// The next line; `None` for the blank line, behind which `at` stands then.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Line>, Fault> {
        let start = self.at;
        loop {
            if self.marks == 0 {
                (self.marks, self.marked) = marks(self.block, self.at, self.marked);
                if self.marks == 0 {
                    return Err(Fault::Unterminated);
                }
            }
            let end = self.marked - 64 + self.marks.trailing_zeros() as usize;
            self.marks &= self.marks - 1;
            if self.block.get(end..end + 2) != Some(b"\r\n") {
                match fault(self.block, end) {
                    Some(fault) => return Err(fault),
                    None => continue,
                }
            }
            // The LF has the next mark, or is the first of the next 64 bytes, where `marks` leaves it out.
            self.marks &= self.marks.wrapping_sub(1);
            self.at = end + 2;
            if end == start {
                return Ok(None);
            }
            if !matches!(self.block.get(end + 2), Some(b' ' | b'\t')) {
                return Ok(Some(Line { start, end }));
            }
        }
    }
}

/// The marks of the first 64 bytes behind `marked` that have any at or behind `at`, and where those bytes end.
#[inline(never)]
fn marks(block: &[u8], at: usize, mut marked: usize) -> (u64, usize) {
    let mut rest = block.get(marked..).unwrap_or_default();
    while !rest.is_empty() {
        let marks = low_bytes(rest) & u64::MAX << at.saturating_sub(marked);
        marked += 64;
        if marks != 0 {
            return (marks, marked);
        }
        rest = rest.get(64..).unwrap_or_default();
    }
    (0, marked)
}

impl Line {
    /// Which header the line is, its name, and its value without the white space at both ends.
    #[inline(always)]
    pub(super) fn read(&self, block: &[u8]) -> Result<(HeaderId, Span, Span), Fault> {
        // Not cut off at the end of the line, so that sixteen bytes can be looked at even of a short one.
        let text = &block[self.start..];
        let end = self.end - self.start;
        let colon = find(b':', text).filter(|&at| at < end).ok_or(Fault::HeaderLine)?;
        let mut len = colon;
        while len > 0 && matches!(text[len - 1], b' ' | b'\t') {
            len -= 1;
        }
        let id = HeaderId::of_name(text, len);
        // A known name holds nothing but token bytes.
        if id == HeaderId::Other && (len == 0 || !text[..len].iter().all(|&b| is_token(b))) {
            return Err(Fault::HeaderLine);
        }
        let (mut from, mut to) = (colon + 1, end);
        while from < to && is_lws(text[from]) {
            from += 1;
        }
        while from < to && is_lws(text[to - 1]) {
            to -= 1;
        }
        let span = |from, to| Span::new(self.start + from, self.start + to);
        Ok((id, span(0, len), span(from, to)))
    }
}

/// Where the line that begins at `from` ends: the place of its CRLF.
pub(crate) fn line_end(block: &[u8], from: usize) -> Result<usize, Fault> {
    let rest = block.get(from..).ok_or(Fault::Unterminated)?;
    let end = from + find_any([b'\r', b'\n', 0], rest).ok_or(Fault::Unterminated)?;
    if block.get(end..end + 2) == Some(b"\r\n") {
        return Ok(end);
    }
    Err(fault(block, end).unwrap_or(Fault::Unterminated))
}

/// What is wrong with a byte that does not begin a CRLF: nothing, where it is no CR, LF or NUL.
#[cold]
fn fault(block: &[u8], at: usize) -> Option<Fault> {
    match (block[at], block.get(at + 1)) {
        (b'\r', None) => Some(Fault::Unterminated),
        (0, _) => Some(Fault::Nul),
        (b'\r' | b'\n', _) => Some(Fault::BareLineEnd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines up to the blank one, and where that ends.
    fn read(block: &[u8]) -> Result<(Vec<&[u8]>, usize), Fault> {
        let mut lines = Lines::new(block, 0);
        let mut read = Vec::new();
        while let Some(line) = lines.next()? {
            read.push(&block[line.start..line.end]);
        }
        Ok((read, lines.at))
    }

    /// The same, one byte after the other.
    fn read_slowly(block: &[u8]) -> Result<(Vec<&[u8]>, usize), Fault> {
        let (mut read, mut start) = (Vec::new(), 0);
        loop {
            let mut end = start;
            loop {
                match (block.get(end), block.get(end + 1)) {
                    (None, _) | (Some(b'\r'), None) => return Err(Fault::Unterminated),
                    (Some(0), _) => return Err(Fault::Nul),
                    (Some(b'\r'), Some(b'\n')) => {
                        if end > start && matches!(block.get(end + 2), Some(b' ' | b'\t')) {
                            end += 2;
                            continue;
                        }
                        break;
                    }
                    (Some(b'\r' | b'\n'), _) => return Err(Fault::BareLineEnd),
                    _ => end += 1,
                }
            }
            if end == start {
                return Ok((read, end + 2));
            }
            read.push(&block[start..end]);
            start = end + 2;
        }
    }

    #[test]
    fn lines_are_those_of_a_reader_of_single_bytes() {
        // Each of these begins at every place of the 64 bytes that are looked at together, and goes over their end.
        for piece in [
            "a\r\n",
            "\r\n",
            "a\r\n b\r\n",
            "a\r\n\tb\r\n\r\n",
            "\t\u{1}\r\n",
            "a\n",
            "a\r",
            "a\0",
            "\r\r\n",
            "\n\r",
            "a\r\n\n",
            "a\r\n\0",
            "",
            "\r\n ",
            "\u{c}\u{e}\u{e9}\u{8d}",
        ] {
            for before in 0..200 {
                for behind in ["", "\r", "\r\n", "\r\n\r\n", "x: y\r\nz\r\n\r\nbody\r\n", "\n"] {
                    let text = format!("{}{piece}{behind}", "x".repeat(before));
                    let block = text.as_bytes();
                    assert_eq!(read(block), read_slowly(block), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_block_without_an_end_is_said_to_have_none_however_often_one_asks() {
        let mut lines = Lines::new(b"a\r\nb", 0);
        assert!(matches!(lines.next(), Ok(Some(Line { start: 0, end: 1 }))));
        for _ in 0..3 {
            assert!(matches!(lines.next(), Err(Fault::Unterminated)));
        }
    }
}
