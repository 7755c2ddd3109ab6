//! The header lines of a block (RFC 3261 §7.3): where each ends with its folds, its name and its value.
//!
//! CRLF ends a line and nothing else does: a bare CR, a bare LF and NUL are faults wherever they stand, for what
//! another parser takes for a line end must not be part of a line of ours.
//!
//! `Lines::next` and `Line::read` are written into the loops that call them. As functions of their own they made
//! the index of an INVITE take 0.98 in place of 0.88 us (`--bench message`): what they answer goes through memory.

use super::error::ParseErrorKind as Fault;
use super::header::HeaderId;
use super::scan::{is_lws, is_token};
use super::span::Span;
use super::vector::{find, find_any, low_bytes};

/// Reads the header lines of a block.
pub(super) struct Lines<'a> {
    block: &'a [u8],
    /// Where the next line begins.
    at: usize,
    /// A bit for each byte below 14, so for each that can have to do with a line end, of the 64 that end at `marked`;
    /// without those before `at`.
    marks: u64,
    marked: usize,
}

/// Where a header line begins, and ends with all its folds.
pub(super) struct Line {
    pub(super) start: usize,
    end: usize,
}

impl<'a> Lines<'a> {
    /// The lines from `at` on, which is in the block.
    pub(super) const fn new(block: &'a [u8], at: usize) -> Self {
        Self { block, at, marks: 0, marked: at }
    }

    /// Where the next line begins; once there is none, where the blank line ended.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The next line; `None` for the blank line.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Line>, Fault> {
        let start = self.at;
        loop {
            if self.marks == 0 {
                (self.marks, self.marked) = mark(self.block, self.at, self.marked);
                if self.marks == 0 {
                    return Err(Fault::Unterminated);
                }
            }
            let end = self.marked - 64 + self.marks.trailing_zeros() as usize;
            self.marks &= self.marks - 1;
            if self.block.get(end..end + 2) != Some(b"\r\n") {
                if is_line_break(self.block[end]) {
                    return Err(fault(self.block, end));
                }
                continue;
            }
            // The next mark is that of the LF. Without one it is the first of the next 64 bytes, where `mark` leaves
            // it out.
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

impl Line {
    /// Which header the line is, its name, and its value without the white space at both ends.
    #[inline(always)]
    pub(super) fn read(&self, block: &[u8]) -> Result<(HeaderId, Span, Span), Fault> {
        // Not cut off at the end of the line, so that sixteen bytes can be looked at even of a short one. A colon of
        // another line makes a name with a CRLF in it, which is no token.
        let text = &block[self.start..];
        let end = self.end - self.start;
        let colon = find(b':', text).ok_or(Fault::HeaderLine)?;
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

/// The marks of the first 64 bytes from `marked` on that have any at or behind `at`, and where those bytes end. `at`
/// is at most one byte behind `marked`: a CRLF can lie across.
#[inline(never)]
fn mark(block: &[u8], at: usize, mut marked: usize) -> (u64, usize) {
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

/// Where the line that begins at `from` ends: the place of its CRLF.
pub(crate) fn line_end(block: &[u8], from: usize) -> Result<usize, Fault> {
    let rest = block.get(from..).ok_or(Fault::Unterminated)?;
    let end = from + find_any([b'\r', b'\n', 0], rest).ok_or(Fault::Unterminated)?;
    if block.get(end..end + 2) == Some(b"\r\n") { Ok(end) } else { Err(fault(block, end)) }
}

const fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

/// What is wrong with a CR, LF or NUL that does not begin a CRLF.
#[cold]
fn fault(block: &[u8], at: usize) -> Fault {
    match (block[at], block.get(at + 1)) {
        (b'\r', None) => Fault::Unterminated,
        (0, _) => Fault::Nul,
        _ => Fault::BareLineEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines from a place up to the blank one, and where that ends.
    fn read(block: &[u8], from: usize) -> Result<(Vec<&[u8]>, usize), Fault> {
        let mut lines = Lines::new(block, from);
        let mut read = Vec::new();
        while let Some(line) = lines.next()? {
            read.push(&block[line.start..line.end]);
        }
        Ok((read, lines.at()))
    }

    /// The same, one byte after the other.
    fn read_slowly(block: &[u8], from: usize) -> Result<(Vec<&[u8]>, usize), Fault> {
        let (mut read, mut start) = (Vec::new(), from);
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
                    for from in [0, before / 2, before] {
                        assert_eq!(read(block, from), read_slowly(block, from), "{text:?} {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_is_read_without_what_is_around_its_name_and_value() {
        let line = |text: &'static str| {
            let mut lines = Lines::new(text.as_bytes(), 2);
            let line = lines.next().unwrap().unwrap();
            let (id, name, value) = line.read(text.as_bytes())?;
            Ok((id, name.of(text.as_bytes()), value.of(text.as_bytes())))
        };
        for (text, id, name, value) in [
            ("\r\nVia: x\r\n\r\n", HeaderId::Via, "Via", "x"),
            ("\r\nv \t:x\r\n\r\n", HeaderId::Via, "v", "x"),
            ("\r\nTo:\r\n\t \r\n x y \r\n z \t\r\nA: b\r\n", HeaderId::To, "To", "x y \r\n z"),
            ("\r\nX-Y: \r\n \r\n\r\n", HeaderId::Other, "X-Y", ""),
            ("\r\nQ:\r\n\r\n", HeaderId::Other, "Q", ""),
            ("\r\nQ:::\r\n\r\n", HeaderId::Other, "Q", "::"),
        ] {
            assert_eq!(line(text), Ok((id, name.as_bytes(), value.as_bytes())), "{text:?}");
        }
        for text in [
            "\r\n: x\r\n\r\n",
            "\r\n \t: x\r\n\r\n",
            "\r\nVia\r\nTo: x\r\n\r\n",
            "\r\nVia\r\n : x\r\n\r\n",
            "\r\nVi a: x\r\n\r\n",
            "\r\n Via: x\r\n\r\n",
            "\r\nX\r\n\r\n",
        ] {
            assert_eq!(line(text), Err(Fault::HeaderLine), "{text:?}");
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
