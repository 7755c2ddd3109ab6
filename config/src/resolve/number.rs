//! The look-up keys of calls from trunks: a public number belongs to one tenant, a private one to
//! one tenant per trunk.

use crate::fault::{Draft, Findings};
use crate::load::Raw;
use crate::model::Tenant;
use crate::numbers::NumberRange;
use crate::resolve::name::subject;
use crate::source::Span;

/// A range of a tenant; `trunk` is the one by which it is looked up, for public ones none.
struct Entry {
    trunk: Option<usize>,
    range: NumberRange,
    tenant: usize,
    span: Span,
}

pub(crate) fn check(raw: &Raw, tenants: &[Option<Tenant>], out: &mut Findings) {
    let count = raw.tenants.iter().map(|unit| unit.numbers.len()).sum();
    let mut entries = Vec::with_capacity(count);
    for (index, unit) in raw.tenants.iter().enumerate() {
        let trunks = tenants[index].as_ref().map_or(&[][..], |tenant| &tenant.inbound_trunks);
        for number in &unit.numbers {
            let entry =
                |trunk| Entry { trunk, range: number.value, tenant: index, span: number.span };
            if number.value.first.is_private() != number.value.last.is_private() {
                let message = format!("{} holds public and private numbers", number.value);
                let help = "Write two ranges: private numbers have fewer than 8 digits, a leading 0, or country code 1 with other than 11 digits.";
                out.fault(Draft::new(message, help).at(number.span, "both kinds"));
            } else if number.value.first.is_private() {
                entries.extend(trunks.iter().map(|trunk| entry(Some(*trunk))));
            } else {
                entries.push(entry(None));
            }
        }
    }
    entries.sort_unstable_by_key(|entry| (entry.trunk, entry.range, entry.tenant, entry.span));
    // Of two tenants that share a number, one is seen beside the range that reaches furthest.
    let mut furthest: Option<&Entry> = None;
    let mut noted = std::collections::BTreeSet::new();
    for entry in &entries {
        match furthest {
            Some(before)
                if before.trunk == entry.trunk && entry.range.first <= before.range.last =>
            {
                // A private number on several trunks is noted once.
                if before.tenant != entry.tenant && noted.insert((before.span, entry.span)) {
                    out.fault(shared(raw, before, entry));
                }
                if entry.range.last > before.range.last {
                    furthest = Some(entry);
                }
            }
            Some(_) | None => furthest = Some(entry),
        }
    }
}

fn shared(raw: &Raw, a: &Entry, b: &Entry) -> Draft {
    let (first, again) = if a.span < b.span { (a, b) } else { (b, a) };
    let name = |entry: &Entry| subject("tenant", raw.tenants[entry.tenant].tenant.name.as_ref());
    let number = a.range.first.max(b.range.first);
    let (message, help) = match a.trunk {
        None => (
            format!("{number} belongs to {} and to {}", name(first), name(again)),
            "A public number belongs to one tenant: take it out of one of them.",
        ),
        Some(_) => (
            format!(
                "the private number {number} belongs to {} and to {} on one trunk",
                name(first),
                name(again)
            ),
            "A private number belongs to one tenant per trunk: change it, or take calls from different trunks.",
        ),
    };
    Draft::new(message, help).at(again.span, "again here").at(first.span, "first here")
}
