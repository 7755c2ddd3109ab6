//! In whose name a tenant's or trunk's calls go out, when the caller's number is not its own.

use crate::fault::{Draft, Findings};
use crate::numbers::Number;
use crate::section::numbers::Numbered;
use crate::source::At;

/// The main number: as written, if it is one of the `numbers` and in use; else the first public one in use.
pub(crate) fn main_number(
    subject: &str,
    written: Option<&At<Number>>,
    numbers: &[At<Numbered>],
    out: &mut Findings,
) -> Option<Number> {
    let mut in_use = numbers.iter().map(|at| at.value).filter(|one| one.state.is_in_use());
    let Some(At { value: main, span }) = written else {
        return in_use.find(|one| !one.range.first.is_private()).map(|one| one.range.first);
    };
    let holds = |one: &Numbered| one.range.first <= *main && *main <= one.range.last;
    if in_use.any(|one| holds(&one)) {
        return Some(*main);
    }
    let stored = numbers.iter().find(|at| holds(&at.value)).map(|at| at.value.state.as_str());
    let message = match stored {
        Some(state) => format!("{subject}: its main number {main} is {state}"),
        None => format!("{subject}: its main number {main} is none of its numbers"),
    };
    let help = "Take one of `numbers` that is active or porting, or add it there.";
    out.fault(Draft::new(message, help).at(*span, "shown in place of other numbers"));
    None
}
