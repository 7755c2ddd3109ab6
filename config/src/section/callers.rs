//! In whose name calls go out: the keys that a tenant and a trunk have alike.

use crate::key::Key;
use crate::model::ForeignCaller;
use crate::numbers::Number;
use crate::read::{Bad, Choice, Text};
use crate::text::scalar::{NumberPrefix, no_number};

pub(crate) static MAIN_NUMBER: Key<Number> = Key::computed(
    "main_number",
    "its first public number in use",
    "Stands for a caller's number that is not its own; one of its numbers in use.",
);
pub(crate) static FOREIGN_CALLER: Key<ForeignCaller> = Key::computed(
    "foreign_caller",
    "\"main\"; of a trunk without numbers that belongs to no tenant \"pass\"",
    "What becomes of a call in the name of a number that is not its own. \"main\": its `main_number` is shown; without one the caller is anonymous. \"refuse\": 403. \"pass\": shown as it came. A call that one of its own numbers has sent on keeps its caller.",
);

impl Choice for ForeignCaller {
    const WHAT: &'static str = "a way with callers' numbers that are not its own";
    const WORDS: &'static [(&'static str, Self)] =
        &[("main", Self::Main), ("refuse", Self::Refuse), ("pass", Self::Pass)];
}

impl Text for Number {
    const WHAT: &'static str = "a number";

    fn parse(text: &str) -> Result<Self, Bad> {
        Self::parse(text).ok_or_else(|| no_number(text))
    }

    fn schema() -> serde_json::Value {
        <NumberPrefix as Text>::schema()
    }
}
