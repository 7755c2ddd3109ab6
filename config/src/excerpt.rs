//! The lines that a report shows: those of its places and one neighbour above and below, from one
//! file or several.
//!
//! Only these lines are kept, long ones are cut around the place, control characters cannot reach
//! a terminal, and lines that look like a private key are not shown.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Lines of one or more files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excerpt {
    text: String,
    lines: Vec<Line>,
}

/// Where a place is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the file: line and column (in characters), counted from 1.
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// In the excerpt: bytes.
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// One line of the excerpt.
#[derive(Clone, Debug)]
struct Line {
    file: String,
    /// Counted from 1.
    number: usize,
    /// Bytes of the excerpt's text, with the line end.
    range: Range<usize>,
    /// Characters cut off at its beginning.
    cut: usize,
}

/// Longest line shown, in characters.
const WIDEST: usize = 120;
/// Characters shown before the place in a line that was cut.
const LEAD: usize = 40;
/// From this length on a word that could be base64 is taken for a part of a key.
const KEY_LIKE: usize = 40;

impl Excerpt {
    /// Adds the lines of `spans` in one file; what is found stands in the order of `spans`, each
    /// of which is cut at the end of its first line.
    pub(crate) fn add(&mut self, file: &str, text: &str, spans: &[Range<usize>]) -> Vec<Found> {
        let starts: Vec<usize> = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1))
            .collect();
        let spans: Vec<_> = spans.iter().map(|span| clamp(text, &starts, span)).collect();
        let mut wanted: Vec<usize> = spans
            .iter()
            .flat_map(|&(line, _)| line.saturating_sub(1)..=line + 1)
            .filter(|&line| line < starts.len())
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = vec![Found { line: 1, column: 1, offset: 0, length: 0 }; spans.len()];
        for number in wanted {
            let start = starts[number];
            let end = starts.get(number + 1).map_or(text.len(), |next| next - 1);
            let line = &text[start..end];
            let line = line.strip_suffix('\r').unwrap_or(line);
            let here: Vec<_> = spans
                .iter()
                .enumerate()
                .filter(|(_, (line, _))| *line == number)
                .map(|(index, (_, span))| (index, span.start - start..span.end - start))
                .collect();
            let focus = here.first().map_or(0, |(_, span)| line[..span.start].chars().count());
            let cut = if line.chars().count() > WIDEST { focus.saturating_sub(LEAD) } else { 0 };
            let begin = self.text.len();
            let offsets = self.push(line, cut);
            self.lines.push(Line {
                file: file.to_owned(),
                number: number + 1,
                range: begin..self.text.len(),
                cut,
            });
            for (index, span) in here {
                let first = offsets(&line[..span.start]);
                let last = offsets(&line[..span.end]);
                found[index] = Found {
                    line: number + 1,
                    column: line[..span.start].chars().count() + 1,
                    offset: first,
                    length: last.saturating_sub(first),
                };
            }
        }
        found
    }

    /// Adds one line from its character `cut` on; gives the function from a beginning of the
    /// original line to the offset where it ends here.
    fn push(&mut self, line: &str, cut: usize) -> impl Fn(&str) -> usize + use<> {
        let whole = looks_like_key(line);
        let secrets = passwords(line);
        let mut ends = vec![self.text.len()];
        for (index, (at, char)) in line.char_indices().enumerate() {
            let hidden = whole || secrets.iter().any(|secret| secret.contains(&at));
            if index < cut || index >= cut + WIDEST {
                ends.push(self.text.len());
                continue;
            }
            self.text.push(match char {
                '\t' => '\t',
                control if control.is_control() => '?',
                _ if hidden => '*',
                char => char,
            });
            ends.push(self.text.len());
        }
        self.text.push('\n');
        move |head| ends[head.chars().count()]
    }

    fn line_at(&self, offset: usize) -> Option<usize> {
        self.lines.iter().position(|line| line.range.contains(&offset))
    }

    fn follows(&self, index: usize) -> bool {
        let (line, next) = (&self.lines[index], &self.lines[index + 1]);
        line.file == next.file && line.number + 1 == next.number
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let last_byte = span.offset() + span.len().saturating_sub(1);
        let mut first = self.line_at(span.offset()).ok_or(MietteError::OutOfBounds)?;
        let mut last = self.line_at(last_byte).ok_or(MietteError::OutOfBounds)?;
        if !(first..last).all(|index| self.follows(index)) {
            return Err(MietteError::OutOfBounds);
        }
        let exact = before == 0;
        for _ in 0..before {
            if first > 0 && self.follows(first - 1) {
                first -= 1;
            }
        }
        for _ in 0..after {
            if last + 1 < self.lines.len() && self.follows(last) {
                last += 1;
            }
        }
        let (top, bottom) = (&self.lines[first], &self.lines[last]);
        let start = if exact { span.offset() } else { top.range.start };
        let column = match exact {
            true => top.cut + self.text[top.range.start..start].chars().count(),
            false => 0,
        };
        Ok(Box::new(MietteSpanContents::new_named(
            top.file.clone(),
            &self.text.as_bytes()[start..bottom.range.end],
            (start, bottom.range.end - start).into(),
            top.number - 1,
            column,
            bottom.number + 1 - top.number,
        )))
    }
}

/// The line (counted from 0) in which `span` begins, and `span` cut at that line's end and at
/// character boundaries.
fn clamp(text: &str, starts: &[usize], span: &Range<usize>) -> (usize, Range<usize>) {
    let floor = |mut offset: usize| {
        offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    };
    let start = floor(span.start);
    let line = starts.partition_point(|&begin| begin <= start) - 1;
    let end = starts.get(line + 1).map_or(text.len(), |next| next - 1);
    let end = text[..end].strip_suffix('\r').map_or(end, str::len);
    let start = start.min(end);
    (line, start..floor(span.end).clamp(start, end))
}

/// Whether a line could be a part of a PEM body or another long secret.
fn looks_like_key(line: &str) -> bool {
    let base64 = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=');
    let word = line.trim().trim_matches(['"', '\'', ',']);
    word.len() >= KEY_LIKE && word.chars().all(base64)
}

/// What stands between the quotes behind `password =`; up to the end of the line when they are not closed.
fn passwords(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, key) in line.match_indices("password") {
        let rest = line[at + key.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
        let Some(rest) = rest.strip_prefix('=') else { continue };
        let rest = rest.trim_start();
        let Some(quote) = rest.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
            continue;
        };
        let start = line.len() - rest.len();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, char)| {
            let closes = *char == quote && !escaped;
            escaped = *char == '\\' && quote == '"' && !escaped;
            closes
        });
        let end = end.map_or(line.len(), |(at, _)| start + at);
        // An empty one may begin a text of several lines.
        let many = line[end..].starts_with([quote; 2].iter().collect::<String>().as_str());
        found.push(start + 1..if many { line.len() } else { end });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn contents(excerpt: &Excerpt, found: Found, context: usize) -> (String, usize, usize) {
        let span = (found.offset, found.length).into();
        let read = excerpt.read_span(&span, context, context).unwrap();
        (String::from_utf8(read.data().to_vec()).unwrap(), read.line(), read.column())
    }

    #[test]
    fn a_place_is_shown_with_its_neighbours_and_its_own_numbers() {
        let mut excerpt = Excerpt::default();
        let found = excerpt.add("f", "one\ntwo\nthree\nfour\nfive", from_ref(&(8..13)));
        assert_eq!(found, [Found { line: 3, column: 1, offset: 4, length: 5 }]);
        assert_eq!(contents(&excerpt, found[0], 1), ("two\nthree\nfour\n".into(), 1, 0));
        assert_eq!(contents(&excerpt, found[0], 0).1, 2);
    }

    #[test]
    fn places_of_two_files_or_far_lines_do_not_run_together() {
        let mut excerpt = Excerpt::default();
        let a = excerpt.add("a", "1\n2\n3\n4\n5\n6\n7", &[0..1, 12..13]);
        let b = excerpt.add("b", "x", from_ref(&(0..1)));
        for (from, to) in [(a[0], a[1]), (a[1], b[0])] {
            let span = (from.offset, to.offset + 1 - from.offset).into();
            assert!(excerpt.read_span(&span, 1, 1).is_err());
        }
        assert_eq!(contents(&excerpt, b[0], 1), ("x\n".into(), 0, 0));
    }

    #[test]
    fn long_lines_are_cut_and_nothing_harmful_is_shown() {
        let mut excerpt = Excerpt::default();
        let long = format!("{}é!{}", "a ".repeat(5_000), "b ".repeat(5_000));
        let found = excerpt.add("f", &long, from_ref(&(10_002..10_003)));
        let (text, _, column) = contents(&excerpt, found[0], 0);
        assert_eq!((found[0].column, column), (10_002, 10_001));
        assert!(text.starts_with("!b b") && text.len() < 200, "{text}");

        let mut excerpt = Excerpt::default();
        let key = format!("k = \"\"\"\x1b[31m\r\n{}\n", "MIIEvQIBADAN".repeat(5));
        let found = excerpt.add("f", &key, from_ref(&(0..500)));
        assert_eq!(found[0].length, 12, "up to the end of the line");
        let (text, ..) = contents(&excerpt, found[0], 1);
        assert_eq!(text, format!("k = \"\"\"?[31m\n{}\n", "*".repeat(60)));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (line, shown) in [
            ("password = \"a b\"", "password = \"***\""),
            ("{ password='a\"é', realm = \"r\" }", "{ password='***', realm = \"r\" }"),
            ("{ \"password\" = \"a\\\"b\", x = 1 }", "{ \"password\" = \"****\", x = 1 }"),
            ("password=\"open", "password=\"****"),
            ("password = \"\"\"x", "password = \"***"),
            ("password = { file = \"p\" }", "password = { file = \"p\" }"),
            (
                "a = [{ password = \"1\" }, { password = \"2\" }]",
                "a = [{ password = \"*\" }, { password = \"*\" }]",
            ),
        ] {
            let mut excerpt = Excerpt::default();
            let found = excerpt.add("f", line, from_ref(&(0..1)));
            assert_eq!(contents(&excerpt, found[0], 1).0, format!("{shown}\n"));
        }
    }

    #[test]
    fn any_range_can_be_shown() {
        let text = "é\r\nü\n";
        for start in 0..9 {
            for end in 0..9 {
                let mut excerpt = Excerpt::default();
                let found = excerpt.add("f", text, from_ref(&(start..end)));
                contents(&excerpt, found[0], 1);
            }
        }
    }
}
