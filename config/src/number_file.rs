//! Files of numbers: one per line, as people keep them in a spreadsheet.
//!
//! ```text
//! number,state,customer          the first line may name the columns; others than these two are not read
//! +15550010000-+15550019999
//! "+442079460000",porting,Head office   # a comment
//! ```

use crate::fault::{Draft, Findings};
use crate::inventory::NumberState;
use crate::numbers::NumberRange;
use crate::read::{Choice, Text};
use crate::section::numbers::Numbered;
use crate::source::{At, SourceId, Span};

/// Faults that one file may leave; behind the first ones follow consequences.
const MOST_FAULTS: usize = 20;

/// Where in a line a column stands.
#[derive(Clone, Copy)]
struct Columns {
    number: usize,
    state: usize,
    /// The first line says so, and may name others beside.
    named: bool,
}

/// Reads all lines; `state` is that of numbers without one.
pub(crate) fn read(
    source: SourceId,
    text: &str,
    state: NumberState,
    numbers: &mut Vec<At<Numbered>>,
    out: &mut Findings,
) {
    let mut columns = Columns { number: 0, state: 1, named: false };
    let mut start = 0;
    let mut bad = 0;
    let mut first = true;
    for line in text.split_inclusive('\n') {
        let content = line.split_once('#').map_or(line, |(content, _)| content).trim();
        let content_start = start + (content.as_ptr() as usize - line.as_ptr() as usize);
        start += line.len();
        if content.is_empty() {
            continue;
        }
        if std::mem::take(&mut first)
            && let Some(named) = heading(content)
        {
            columns = named;
            continue;
        }
        let span = Span::new(source, content_start..content_start + content.len());
        match entry(content, columns, state) {
            Ok(value) => numbers.push(At { value, span }),
            Err(draft) => {
                out.fault(draft(span));
                bad += 1;
                if bad == MOST_FAULTS {
                    return;
                }
            }
        }
    }
}

/// The columns that a first line names, if it names any.
fn heading(content: &str) -> Option<Columns> {
    let at = |name: &str| cells(content).position(|cell| cell.eq_ignore_ascii_case(name));
    let number = at("number")?;
    let alone = cells(content).count() == 1;
    let state = at("state").unwrap_or(if alone { 1 } else { usize::MAX });
    Some(Columns { number, state, named: !alone })
}

fn entry(
    content: &str,
    columns: Columns,
    state: NumberState,
) -> Result<Numbered, impl FnOnce(Span) -> Draft> {
    let cell = |at: usize| cells(content).nth(at).unwrap_or_default();
    let range = NumberRange::parse(cell(columns.number));
    let word = cell(columns.state);
    let stated = NumberState::WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
    let many = !columns.named && cells(content).nth(2).is_some();
    match (range, stated) {
        (Ok(range), Some((_, state))) if !many => Ok(Numbered { range, state: *state }),
        (Ok(range), None) if !many && word.is_empty() => Ok(Numbered { range, state }),
        (range, _) => {
            let word = word.to_owned();
            Err(move |span| fault(range, many, &word).at(span, "in this line"))
        }
    }
}

fn fault(range: Result<NumberRange, crate::read::Bad>, many: bool, word: &str) -> Draft {
    if let Err(bad) = range {
        return Draft::new(format!("`numbers`: {}", bad.message), bad.help);
    }
    if many {
        let help = "Name them in a first line, such as: number,state,customer";
        return Draft::new("this line has more columns than number and state", help);
    }
    let words: Vec<_> = NumberState::WORDS.iter().map(|(word, _)| *word).collect();
    let message = format!("\"{word}\" is no state of a number");
    Draft::new(message, format!("Write one of: {}.", words.join(", ")))
}

fn cells(content: &str) -> impl Iterator<Item = &str> {
    let quoted =
        |cell: &'_ str| -> bool { cell.len() > 1 && cell.starts_with('"') && cell.ends_with('"') };
    content
        .split([',', ';', '\t'])
        .map(str::trim)
        .map(move |cell| if quoted(cell) { cell[1..cell.len() - 1].trim() } else { cell })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn read_all(text: &str) -> (Vec<String>, usize) {
        let mut out = Findings::default();
        let source = out.sources.add(Path::new("n.csv"), Arc::from(text));
        let mut numbers = Vec::new();
        read(source, text, NumberState::Reserved, &mut numbers, &mut out);
        let texts = numbers.iter().map(|at| {
            let (start, end) = (at.span.start as usize, at.span.end as usize);
            let range = at.value.range.to_string();
            assert!(text[start..end].contains(&range));
            format!("{range} {}", at.value.state.as_str())
        });
        (texts.collect(), out.finish().0.len())
    }

    #[test]
    fn a_file_of_numbers_is_a_table() {
        let text = "Number\r\n+15550010000-+15550019999\r\n\r\n# all\n  \"+442079460000\" , Porting # main\n+1001";
        let want =
            ["+15550010000-+15550019999 reserved", "+442079460000 porting", "+1001 reserved"];
        for text in [text, &text[8..]] {
            assert_eq!(read_all(text), (want.map(str::to_owned).to_vec(), 0));
        }
        assert_eq!(
            read_all(
                "number,customer
+1001,porting
"
            )
            .0,
            ["+1001 reserved"]
        );
        let named = "customer;STATE;number\n\"A\";active;+1001\nB;;+1002;more\n";
        assert_eq!(read_all(named).0, ["+1001 active", "+1002 reserved"]);
        assert_eq!(read_all(""), (vec![], 0));
    }

    #[test]
    fn what_cannot_be_read_is_told_for_each_line() {
        assert_eq!(read_all("+1001\nnumber\n+1,gone\n\"+1\n+1,active,x\n").1, 4);
        assert_eq!(read_all(&"x\n".repeat(1000)).1, MOST_FAULTS);
    }
}
