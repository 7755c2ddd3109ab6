//! Names of things: unique, and found where they are referred to.

use std::collections::BTreeMap;

use crate::fault::{Draft, Findings};
use crate::read::nearest;
use crate::source::{At, Span};
use crate::text::name::Name;

/// Things of one kind by name.
pub(crate) struct Index<'a> {
    kind: &'static str,
    names: BTreeMap<&'a str, (usize, Span)>,
    /// Whether some thing has no readable name, so that a missing one may be that.
    gaps: bool,
}

impl<'a> Index<'a> {
    /// Takes the names in the order of the things; notes those that stand twice.
    pub(crate) fn new(
        kind: &'static str,
        names: impl Iterator<Item = Option<&'a At<Name>>>,
        out: &mut Findings,
    ) -> Self {
        let mut index = Self { kind, names: BTreeMap::new(), gaps: false };
        for (position, name) in names.enumerate() {
            let Some(At { value: Name(name), span }) = name else {
                index.gaps = true;
                continue;
            };
            match index.names.get(name.as_str()) {
                Some((_, first)) => out.fault(
                    Draft::new(
                        format!("the {kind} name \"{name}\" is given twice"),
                        "Give each a name of its own, over all files: logs, metrics and CDRs go by it.",
                    )
                    .at(*span, "again here")
                    .at(*first, "first here"),
                ),
                None => {
                    index.names.insert(name, (position, *span));
                }
            }
        }
        index
    }

    /// The position of `name`, without a fault.
    pub(crate) fn get(&self, name: &str) -> Option<usize> {
        self.names.get(name).map(|(position, _)| *position)
    }

    /// How many things have a name.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The position of the thing that is referred to; notes that there is none. `subject` is who
    /// refers to it.
    pub(crate) fn find(&self, name: &At<Name>, subject: &str, out: &mut Findings) -> Option<usize> {
        let found = self.get(&name.value.0);
        if found.is_none() && !self.gaps {
            let help = match nearest(&name.value.0, self.names.keys().copied()) {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None if self.names.is_empty() => {
                    format!("Define it: there is no {} at all.", self.kind)
                }
                None => {
                    let known: Vec<_> = self.names.keys().take(8).copied().collect();
                    let more = if self.names.len() > known.len() { ", …" } else { "" };
                    format!("Define it, or take one of: {}{more}.", known.join(", "))
                }
            };
            let message = format!("{subject}: {} \"{}\" is not defined", self.kind, name.value.0);
            out.fault(Draft::new(message, help).at(name.span, "not defined"));
        }
        found
    }
}

/// How a thing is named in messages.
pub(crate) fn subject(kind: &str, name: Option<&At<Name>>) -> String {
    match name {
        Some(name) => format!("{kind} \"{}\"", name.value.0),
        None => format!("a {kind} without name"),
    }
}
