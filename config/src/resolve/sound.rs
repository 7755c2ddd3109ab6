//! Files of music: readable, WAV, of a length that can be kept in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use media_relay::audio::{Clip, wav};

use crate::fault::{Draft, Findings};
use crate::load::{Raw, unreadable};
use crate::sounds::Sounds;
use crate::source::{At, ReadError, Span, WAV_LIMIT, read_bytes};
use crate::text::file::FilePath;

/// Reads all that are named, each once.
pub(crate) fn read(raw: &Raw, out: &mut Findings) -> Sounds {
    let trunks = raw.trunks().filter_map(|(_, trunk)| trunk.hold_music.as_ref());
    let tenants = raw.tenants.iter().filter_map(|unit| unit.tenant.hold_music.as_ref());
    let mut clips: BTreeMap<PathBuf, Option<Clip>> = BTreeMap::new();
    for At { value: FilePath(path), span } in tenants.chain(trunks) {
        if !clips.contains_key(path) {
            clips.insert(path.clone(), clip(path, *span, out));
        }
    }
    let good = |(path, clip): (PathBuf, Option<Clip>)| Some((path, Arc::new(clip?)));
    Sounds(clips.into_iter().filter_map(good).collect())
}

fn clip(path: &Path, span: Span, out: &mut Findings) -> Option<Clip> {
    out.files.note(path);
    let refuse = |message: String, help: &str| Draft::new(message, help).at(span, "this file");
    let file = path.display();
    match read_bytes(path, WAV_LIMIT) {
        Ok(bytes) => match wav::read(&bytes) {
            Ok(clip) => return Some(clip),
            Err(error) => {
                out.fault(refuse(format!("{file} cannot be played: {error}"), error.help()));
            }
        },
        Err(error @ ReadError::TooLarge(_)) => {
            let help = "Save it with one channel, 16 bits, 8000 Hz, at most 10 minutes.";
            out.fault(refuse(format!("{file} cannot be played: {error}"), help));
        }
        Err(error @ (ReadError::Io(_) | ReadError::NotAFile | ReadError::NotText { .. })) => {
            let help = "Check the path, and the right to read it; it is relative to this file.";
            unreadable(path, &error, Some(span), help, out);
        }
    }
    None
}
