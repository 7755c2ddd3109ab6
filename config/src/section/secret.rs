//! `{ file = "…" }` and `{ env = "…" }`: where a secret comes from.

use crate::key::{Key, Section};
use crate::text::file::FilePath;
use crate::text::scalar::EnvName;

pub(crate) static FILE: Key<FilePath> = Key::optional("file", "A file that holds it.");
pub(crate) static ENV: Key<EnvName> =
    Key::optional("env", "An environment variable that holds it.");

pub(crate) static SECTION: Section = Section {
    title: "secret",
    doc: "Where a secret comes from: exactly one of these.",
    keys: &[&FILE, &ENV],
    named: None,
};
