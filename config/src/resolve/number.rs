//! The look-up keys of calls from trunks: a public number belongs to one end of calls, tenant or
//! trunk, a private one to one end per trunk from which calls to it are taken.

use crate::fault::{Draft, Findings};
use crate::inventory::NumberState;
use crate::load::Raw;
use crate::model::{Tenant, Trunk};
use crate::numbers::NumberRange;
use crate::resolve::name::subject;
use crate::section::numbers::Numbered;
use crate::source::{At, Span};

/// A tenant or a trunk with its numbers.
struct End<'a> {
    subject: String,
    numbers: &'a [At<Numbered>],
    /// From which trunks calls to it are taken.
    inbound: &'a [usize],
}

/// A range of an end; `trunk` is the one by which it is looked up, for public ones none.
struct Entry {
    trunk: Option<usize>,
    range: NumberRange,
    state: NumberState,
    end: usize,
    span: Span,
}

pub(crate) fn check(
    raw: &Raw,
    tenants: &[Option<Tenant>],
    trunks: &[Option<Trunk>],
    out: &mut Findings,
) {
    let ends = ends(raw, tenants, trunks);
    let mut entries = Vec::with_capacity(ends.iter().map(|end| end.numbers.len()).sum());
    for (index, end) in ends.iter().enumerate() {
        for number in end.numbers {
            let Numbered { range, state } = number.value;
            let entry = |trunk| Entry { trunk, range, state, end: index, span: number.span };
            if range.first.is_private() != range.last.is_private() {
                let message = format!("{range} holds public and private numbers");
                let help = "Write two ranges: private numbers have fewer than 8 digits, a leading 0, or country code 1 with other than 11 digits.";
                out.fault(Draft::new(message, help).at(number.span, "both kinds"));
            } else if range.first.is_private() {
                entries.extend(end.inbound.iter().map(|trunk| entry(Some(*trunk))));
            } else {
                entries.push(entry(None));
            }
        }
    }
    entries.sort_unstable_by_key(|entry| (entry.trunk, entry.range, entry.end, entry.span));
    // Of two ends that share a number, one is seen beside the range that reaches furthest.
    let mut furthest: Option<&Entry> = None;
    let mut noted = std::collections::BTreeSet::new();
    for entry in &entries {
        match furthest {
            Some(before)
                if before.trunk == entry.trunk && entry.range.first <= before.range.last =>
            {
                // A private number on several trunks is noted once.
                if before.end != entry.end && noted.insert((before.span, entry.span)) {
                    out.fault(shared(&ends, before, entry));
                } else if before.end == entry.end
                    && before.state != entry.state
                    && !is_within(before.range, entry.range)
                    && noted.insert((before.span, entry.span))
                {
                    out.fault(in_two_states(&ends, before, entry));
                }
                if entry.range.last > before.range.last {
                    furthest = Some(entry);
                }
            }
            Some(_) | None => furthest = Some(entry),
        }
    }
}

/// The tenants, then the trunks; what could not be resolved takes calls from nowhere.
fn ends<'a>(
    raw: &'a Raw,
    tenants: &'a [Option<Tenant>],
    trunks: &'a [Option<Trunk>],
) -> Vec<End<'a>> {
    let of_tenants = raw.tenants.iter().zip(tenants).map(|(unit, tenant)| End {
        subject: subject("tenant", unit.tenant.name.as_ref()),
        numbers: &unit.numbers,
        inbound: tenant.as_ref().map_or(&[], |tenant| &tenant.inbound_trunks),
    });
    let of_trunks = raw.trunks().zip(trunks).map(|((_, raw), trunk)| End {
        subject: subject("trunk", raw.name.as_ref()),
        numbers: &raw.numbers,
        inbound: trunk.as_ref().map_or(&[], |trunk| &trunk.inbound_trunks),
    });
    of_tenants.chain(of_trunks).collect()
}

/// Whether one of two that overlap, and begin in this order, lies within the other and is narrower.
fn is_within(before: NumberRange, then: NumberRange) -> bool {
    before != then && (then.last <= before.last || before.first == then.first)
}

fn in_two_states(ends: &[End<'_>], a: &Entry, b: &Entry) -> Draft {
    let (first, again) = if a.span < b.span { (a, b) } else { (b, a) };
    let number = a.range.first.max(b.range.first);
    let message = format!(
        "{}: {number} stands as {} and as {}",
        ends[first.end].subject,
        first.state.as_str(),
        again.state.as_str()
    );
    let help = "A number is in one state; of two ranges that overlap the narrower one counts only if it lies within the other.";
    Draft::new(message, help).at(again.span, "again here").at(first.span, "first here")
}

fn shared(ends: &[End<'_>], a: &Entry, b: &Entry) -> Draft {
    let (first, again) = if a.span < b.span { (a, b) } else { (b, a) };
    let name = |entry: &Entry| &ends[entry.end].subject;
    let number = a.range.first.max(b.range.first);
    let (message, help) = match a.trunk {
        None => (
            format!("{number} belongs to {} and to {}", name(first), name(again)),
            "A public number belongs to one tenant or trunk: take it out of one of them.",
        ),
        Some(_) => (
            format!(
                "the private number {number} belongs to {} and to {} on one trunk",
                name(first),
                name(again)
            ),
            "A private number belongs to one tenant or trunk for calls from one trunk: change it, or take calls from different trunks.",
        ),
    };
    Draft::new(message, help).at(again.span, "again here").at(first.span, "first here")
}
