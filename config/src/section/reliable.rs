//! Whether ringing and early media are acknowledged on a trunk (RFC 3262): `reliable_provisional`.

use crate::key::Key;
use crate::model::ReliableProvisional;
use crate::read::Choice;

pub(crate) static RELIABLE_PROVISIONAL: Key<ReliableProvisional> = Key::default(
    "reliable_provisional",
    "\"supported\"",
    "Whether provisional responses (18x) between it and us are acknowledged by PRACK (100rel). \"supported\": as far as it has them so. \"required\": our calls to it require that, and ours to its calls are so where it can. \"off\": never; a call that requires it is refused with 420. Nothing of it is seen by the other side of a call.",
);

impl Choice for ReliableProvisional {
    const WHAT: &'static str = "a way with provisional responses";
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("supported", Self::Supported), ("required", Self::Required)];
}
