//! Files of music: each named once or more, there, readable and not too large.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fault::{Draft, Findings};
use crate::load::{Raw, unreadable};
use crate::source::{At, ReadError, Span, WAV_LIMIT, can_read};
use crate::text::file::FilePath;

/// Looks at all that are named, each once.
pub(crate) fn look(raw: &Raw, out: &mut Findings) {
    let trunks = raw.trunks().filter_map(|(_, trunk)| trunk.hold_music.as_ref());
    let tenants = raw.tenants.iter().filter_map(|unit| unit.tenant.hold_music.as_ref());
    let mut named: Vec<(&Path, Span)> =
        tenants.chain(trunks).map(|At { value: FilePath(path), span }| (&**path, *span)).collect();
    named.sort_by_key(|(_, span)| *span);
    let mut seen = BTreeSet::new();
    for (path, span) in named {
        if seen.insert(path) {
            one(path, span, out);
        }
    }
}

fn one(path: &Path, span: Span, out: &mut Findings) {
    let stamp = out.files.note(path);
    let named = |message: String, help: &str| Draft::new(message, help).at(span, "this file");
    match can_read(path, WAV_LIMIT) {
        Ok(()) => out.sound(path, stamp, named(String::new(), "")),
        Err(error @ ReadError::TooLarge(_)) => {
            let message = format!("{} cannot be played: {error}", path.display());
            let help = "Save it with one channel, 16 bits, 8000 Hz, at most 10 minutes.";
            out.fault(named(message, help));
        }
        Err(error @ (ReadError::Io(_) | ReadError::NotAFile | ReadError::NotText { .. })) => {
            let help = "Check the path, and the right to read it; it is relative to this file.";
            unreadable(path, &error, Some(span), help, out);
        }
    }
}
