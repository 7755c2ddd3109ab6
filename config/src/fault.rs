//! What is wrong with a configuration, shown with file, line, column and a framed snippet.
//!
//! Messages are composed where the fault is found: they are read by people, and nothing in the
//! program branches on them.

use std::fmt;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity};

use crate::excerpt::Excerpt;
use crate::footprint::{Footprint, Stamp};
use crate::sounds::SoundFile;
use crate::source::{SourceId, Sources, Span};

/// All that was found in one reading, in the order of files and lines.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    /// Findings beyond [`MOST`], which are only counted.
    more: usize,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Where; the first is the place to change, others explain. Empty when a file could not even
    /// be found.
    pub places: Vec<Place>,
    severity: Severity,
    excerpt: Excerpt,
    labels: Vec<LabeledSpan>,
    /// By which it stands in the order of files and lines.
    order: Option<Span>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as named from the working directory.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is to be seen there.
    pub label: String,
}

/// A finding while files are still being read.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    message: String,
    help: String,
    labels: Vec<(Span, String)>,
}

/// Everything found so far, and the files it was found in.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) sources: Sources,
    pub(crate) files: Footprint,
    /// The files of music, each with a draft at its place.
    sounds: Vec<(PathBuf, Option<Stamp>, Draft)>,
    faults: Vec<Draft>,
    warnings: Vec<Draft>,
    more: usize,
}

/// Findings of one reading that are kept; a broken file can have millions.
const MOST: usize = 500;
/// Characters of a message.
const WIDEST: usize = 600;

impl Faults {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len() + self.more
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them (at most 500).
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// The report for people; `colour` when it goes to a terminal.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for fault in &self.list {
            out.push_str(&fault.render(colour));
            out.push('\n');
        }
        if self.more > 0 {
            out.push_str(&format!("… and {} more\n", self.more));
        }
        out
    }
}

/// What was found later in the same reading takes its place among the others.
impl Extend<Fault> for Faults {
    fn extend<T: IntoIterator<Item = Fault>>(&mut self, later: T) {
        self.list.extend(later);
        self.list.sort_by_key(|fault| fault.order);
        self.more += self.list.len().saturating_sub(MOST);
        self.list.truncate(MOST);
    }
}

impl Fault {
    /// Another one at the same place.
    pub(crate) fn saying(&self, message: &str, help: &str) -> Self {
        Self { message: tame(message.into()), help: tame(help.into()), ..self.clone() }
    }

    /// This one for people, with its snippet; `colour` when it goes to a terminal.
    pub fn render(&self, colour: bool) -> String {
        let theme =
            if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(100)
            .with_context_lines(1)
            .without_syntax_highlighting();
        let mut out = String::new();
        // Writing into a String cannot fail, and a report is worth having in part.
        let _ = handler.render_report(&mut out, &Shown(self));
        out
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

impl Draft {
    /// A finding with what is wrong and what to do.
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: tame(message.into()), help: tame(help.into()), labels: Vec::new() }
    }

    /// Points at a place; the first one given is the one to change.
    pub(crate) fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, tame(label.into())));
        self
    }

    fn place(&self) -> Option<Span> {
        self.labels.first().map(|(span, _)| *span)
    }

    fn finish(self, severity: Severity, sources: &Sources) -> Fault {
        let mut files: Vec<SourceId> = Vec::new();
        for (span, _) in &self.labels {
            if !files.contains(&span.source) {
                files.push(span.source);
            }
        }
        let mut excerpt = Excerpt::default();
        let mut places = Vec::new();
        let mut labels = Vec::new();
        for file in files {
            let source = sources.get(file);
            let here = || self.labels.iter().filter(|(span, _)| span.source == file);
            let spans: Vec<_> =
                here().map(|(span, _)| span.start as usize..span.end as usize).collect();
            let found = excerpt.add(&source.name, &source.text, &spans);
            for ((_, label), place) in here().zip(found) {
                let span = (place.offset, place.length);
                labels.push(match labels.is_empty() {
                    true => LabeledSpan::new_primary_with_span(Some(label.clone()), span),
                    false => LabeledSpan::new_with_span(Some(label.clone()), span),
                });
                places.push(Place {
                    file: source.name.clone(),
                    line: place.line,
                    column: place.column,
                    label: label.clone(),
                });
            }
        }
        let order = self.place();
        Fault { message: self.message, help: self.help, places, severity, excerpt, labels, order }
    }
}

impl Findings {
    /// None yet, in files that were read before.
    pub(crate) fn in_files(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Notes something that forbids a start.
    pub(crate) fn fault(&mut self, draft: Draft) {
        if self.faults.len() < MOST {
            self.faults.push(draft);
        } else {
            self.more += 1;
        }
    }

    /// Notes something worth a look.
    pub(crate) fn warn(&mut self, draft: Draft) {
        if self.warnings.len() < MOST {
            self.warnings.push(draft);
        }
    }

    /// Notes a file of music; `named` points at its place.
    pub(crate) fn sound(&mut self, path: &Path, stamp: Option<Stamp>, named: Draft) {
        self.sounds.push((path.to_owned(), stamp, named));
    }

    /// The files of music, in the order of the places that name them.
    pub(crate) fn take_sounds(&mut self) -> Vec<SoundFile> {
        let sounds = std::mem::take(&mut self.sounds).into_iter();
        let finish = |(path, stamp, named): (_, _, Draft)| SoundFile {
            path,
            stamp,
            named: named.finish(Severity::Error, &self.sources),
        };
        sounds.map(finish).collect()
    }

    /// Whether a fault was noted inside `span`.
    pub(crate) fn has_fault_within(&self, span: Span) -> bool {
        let within = |(at, _): &(Span, String)| {
            at.source == span.source && span.start <= at.start && at.end <= span.end
        };
        self.faults.iter().any(|draft| draft.labels.first().is_some_and(within))
    }

    /// Whether nothing forbids a start so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// The faults and the warnings, each in the order of files and lines.
    pub(crate) fn finish(mut self) -> (Faults, Faults) {
        self.faults.sort_by_key(Draft::place);
        self.warnings.sort_by_key(Draft::place);
        let sources = &self.sources;
        let finish = |drafts: Vec<Draft>, severity, more| Faults {
            list: drafts.into_iter().map(|draft| draft.finish(severity, sources)).collect(),
            more,
        };
        let faults = finish(self.faults, Severity::Error, self.more);
        (faults, finish(self.warnings, Severity::Warning, 0))
    }
}

/// Text that quotes what was read, fit for a terminal: of bounded length, without control
/// characters.
pub(crate) fn tame(text: String) -> String {
    if text.len() <= WIDEST && !text.contains(char::is_control) {
        return text;
    }
    let mut tamed: String =
        text.chars().take(WIDEST).map(|char| if char.is_control() { '?' } else { char }).collect();
    if tamed.len() < text.len() {
        tamed.push('…');
    }
    tamed
}

/// A fault as miette draws it.
#[derive(Debug)]
struct Shown<'a>(&'a Fault);

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(self.0.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.0.help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        (!self.0.labels.is_empty()).then_some(&self.0.excerpt as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.0.labels.iter().cloned()))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Shown<'_> {}
