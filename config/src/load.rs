//! Reading the files: the main file, the tenants' directory, the files of numbers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::fault::{Draft, Findings};
use crate::number_file;
use crate::read::{Node, Value};
use crate::section::emergency::RawSite;
use crate::section::gateway::TENANTS;
use crate::section::numbers::{Numbered, NumbersEntry};
use crate::section::root::{RawMain, RawTenantFile};
use crate::section::tenant::RawTenant;
use crate::section::trunk::RawTrunk;
use crate::source::{At, NUMBERS_LIMIT, ReadError, SourceId, Span, TOML_LIMIT, read_text};
use crate::text::file::FilePath;

/// Everything that was read, not yet resolved.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) main: RawMain,
    /// In the order of their names.
    pub(crate) tenants: Vec<RawUnit>,
}

impl Raw {
    /// All trunks with the tenants that own them: shared ones first, then those of the tenants.
    /// Everything that numbers trunks goes by this order.
    pub(crate) fn trunks(&self) -> impl Iterator<Item = (Option<usize>, &RawTrunk)> {
        let shared = self.main.trunks.iter().map(|trunk| (None, trunk));
        let owned =
            self.tenants.iter().enumerate().flat_map(|(tenant, unit)| {
                unit.trunks.iter().map(move |trunk| (Some(tenant), trunk))
            });
        shared.chain(owned)
    }
}

/// One tenant's file.
#[derive(Debug)]
pub(crate) struct RawUnit {
    pub(crate) tenant: RawTenant,
    pub(crate) trunks: Vec<RawTrunk>,
    pub(crate) sites: Vec<RawSite>,
    /// All its numbers, also those of files.
    pub(crate) numbers: Vec<At<Numbered>>,
}

/// Faults of one kind that one file may leave; behind the first ones follow consequences.
const MOST_PER_FILE: usize = 20;

/// Reads everything. `None` when too little could be read to check one thing against another.
pub(crate) fn read(path: &Path, out: &mut Findings) -> Option<Raw> {
    out.files.note(path);
    let (main, mut whole) = match read_text(path, TOML_LIMIT) {
        Ok(text) => parse::<RawMain>(path, text, out),
        Err(error) => {
            unreadable(path, &error, None, "Name the main file, such as gateway.toml.", out);
            return None;
        }
    };
    let mut main = main?;
    for trunk in &mut main.trunks {
        trunk.numbers = numbers(&trunk.entries, out);
    }
    let mut tenants = Vec::new();
    let files = match &main.gateway {
        Some(raw) => tenant_files(&raw.tenants, raw.tenants_written, out),
        None => Vec::new(),
    };
    for path in files {
        out.files.note(&path);
        let read = match read_text(&path, TOML_LIMIT) {
            Ok(text) => parse::<RawTenantFile>(&path, text, out),
            Err(error) => {
                let help =
                    "Every *.toml in the tenants' directory is read; take it out or put it right.";
                unreadable(&path, &error, None, help, out);
                (None, false)
            }
        };
        whole &= read.1;
        let Some(RawTenantFile { tenant: Some(tenant), mut trunks, sites }) = read.0 else {
            continue;
        };
        for trunk in &mut trunks {
            trunk.numbers = numbers(&trunk.entries, out);
        }
        let numbers = numbers(&tenant.numbers, out);
        tenants.push(RawUnit { tenant, trunks, sites, numbers });
    }
    tenants.sort_by(|a, b| {
        let name = |unit: &RawUnit| unit.tenant.name.as_ref().map(|at| at.value.clone());
        name(a).cmp(&name(b))
    });
    whole.then_some(Raw { main, tenants })
}

/// Reads one TOML file. The flag says whether it is TOML as a whole; what can be read of one that
/// is not serves to find further files only.
pub(crate) fn parse<T: Value>(
    path: &Path,
    text: Arc<str>,
    out: &mut Findings,
) -> (Option<T>, bool) {
    let source = out.sources.add(path, Arc::clone(&text));
    let (table, errors) = DeTable::parse_recoverable(&text);
    let span = Span::new(source, 0..0);
    let table = DeValue::Table(table.into_inner());
    let node = Node { key: "", value: &table, span };
    if errors.is_empty() {
        return (T::read(node, out), true);
    }
    for error in worth_showing(&text, &errors) {
        out.fault(syntax_fault(source, &text, error));
    }
    let mut scratch = Findings::in_files(out.sources.clone());
    (T::read(node, &mut scratch), false)
}

/// The files of the tenants' directory, by name.
fn tenant_files(directory: &At<FilePath>, written: bool, out: &mut Findings) -> Vec<PathBuf> {
    let path = &directory.value.0;
    out.files.note(path);
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if written => {
            let draft = Draft::new(
                format!("the tenants' directory {} cannot be read: {error}", path.display()),
                "Create it, or change the key; the path is relative to this file.",
            );
            out.fault(draft.at(directory.span, "this directory"));
            return Vec::new();
        }
        Err(_) => {
            let draft = Draft::new(
                format!("there are no tenants: {} is not there", path.display()),
                format!("Create it, or name another directory by `{}`.", TENANTS.name),
            );
            out.warn(draft.at(directory.span, "no tenants"));
            return Vec::new();
        }
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes()[0] == b'.');
            !hidden && path.extension().is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

/// All numbers of a tenant or a trunk.
fn numbers(entries: &[At<NumbersEntry>], out: &mut Findings) -> Vec<At<Numbered>> {
    let mut numbers = Vec::with_capacity(entries.len());
    for entry in entries {
        match &entry.value {
            NumbersEntry::Range(range) => numbers.push(At { value: *range, span: entry.span }),
            NumbersEntry::File(FilePath(path), state) => {
                out.files.note(path);
                match read_text(path, NUMBERS_LIMIT) {
                    Ok(text) => {
                        let source = out.sources.add(path, Arc::clone(&text));
                        number_file::read(source, &text, *state, &mut numbers, out);
                    }
                    Err(error) => {
                        let help = "Create it, or change the path; it is relative to this file.";
                        unreadable(path, &error, Some(entry.span), help, out);
                    }
                }
            }
        }
    }
    numbers
}

/// Notes that a file cannot be read.
pub(crate) fn unreadable(
    path: &Path,
    error: &ReadError,
    named: Option<Span>,
    help: &str,
    out: &mut Findings,
) {
    let message = format!("{} cannot be read: {error}", path.display());
    let help = match error {
        ReadError::Io(_) => help,
        ReadError::NotAFile => "Name a file: directories, pipes and devices are not read.",
        ReadError::TooLarge(_) => {
            "Nothing of this size is meant to be read here: split it or put numbers into files."
        }
        ReadError::NotText { .. } => "Save it as UTF-8.",
    };
    let mut draft = Draft::new(message, help);
    if let Some(span) = named {
        draft = draft.at(span, "named here");
    }
    if let ReadError::NotText { valid, .. } = error {
        let end = valid.len();
        let source = out.sources.add(path, Arc::from(&**valid));
        draft = draft.at(Span::new(source, end..end), "up to here it is text");
    }
    out.fault(draft);
}

/// Of the parser's errors the first of each line; where something was never closed, just that and
/// where it was noticed first: everything between is a consequence.
fn worth_showing<'e>(text: &str, errors: &'e [toml::de::Error]) -> Vec<&'e toml::de::Error> {
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let unclosed = errors.iter().rev().find(|error| error.message().contains("unclosed"));
    if let (Some(first), Some(unclosed)) = (errors.first(), unclosed) {
        let same = std::ptr::eq(first, unclosed);
        return if same { vec![first] } else { vec![first, unclosed] };
    }
    let line = |error: &toml::de::Error| {
        text.as_bytes()[..start(error).min(text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    };
    let mut shown: Vec<&toml::de::Error> = Vec::new();
    for error in errors.iter().take(MOST_PER_FILE) {
        if shown.last().is_none_or(|last| line(last) != line(error)) {
            shown.push(error);
        }
    }
    shown
}

/// What the TOML parser met, with what to do.
fn syntax_fault(source: SourceId, text: &str, error: &toml::de::Error) -> Draft {
    const HELP: &[(&str, &str)] = &[
        ("duplicate key", "A key stands once in a table: take one of the two out."),
        ("must be quoted", "Write a value here; text stands in double quotes."),
        ("invalid basic string", "Close the string with a double quote."),
        ("missing comma", "Put a comma between the elements, or close the list before."),
        ("unclosed", "Close it: every [ needs a ], every { a }, every quote another one."),
        ("key with no value", "Write `key = value`."),
        ("newline", "The line ends too early: look for a missing quote, bracket or value."),
    ];
    let range = error.span().unwrap_or(0..0);
    let message = error.message();
    let help = HELP.iter().find(|(part, _)| message.contains(part)).map_or(
        "This is not TOML (https://toml.io): look for a missing quote, bracket, comma or `=`.",
        |(_, help)| help,
    );
    let at_end = range.start >= text.trim_end().len();
    let label = if at_end { "the file ends here" } else { "here" };
    Draft::new(format!("TOML: {message}"), help).at(Span::new(source, range), label)
}
