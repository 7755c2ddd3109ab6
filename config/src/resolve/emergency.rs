//! How a tenant's calls for help go: by trunks that it may use, in the name of numbers that are its own.

use crate::emergency::{Emergency, Site};
use crate::fault::{Draft, Findings};
use crate::load::RawUnit;
use crate::numbers::{Number, NumberRange, Numbers};
use crate::resolve::Names;
use crate::resolve::edge::empty;
use crate::resolve::name::{Index, subject};
use crate::resolve::route::{End, routes};
use crate::section::emergency::RawSite;
use crate::section::numbers::Numbered;
use crate::source::At;

/// Of the tenant `index`; `outbound` are its own trunks.
pub(crate) fn resolve(
    unit: &RawUnit,
    index: usize,
    outbound: &[usize],
    names: &Names<'_>,
    out: &mut Findings,
) -> Emergency {
    let tenant = subject("tenant", unit.tenant.name.as_ref());
    let raw = &unit.tenant.emergency;
    empty(&tenant, "emergency_trunks", raw.trunks.as_ref(), out);
    let written = routes(&tenant, raw.trunks.as_ref(), None, End::Tenant(index), names, out);
    let trunks = match raw.trunks {
        Some(_) => written.outbound,
        None => outbound.to_vec(),
    };
    let numbers = raw.numbers.as_ref().map(|list| list.iter().map(|at| at.value.0.clone()));
    let mut taken: Vec<(At<NumberRange>, String)> = Vec::new();
    Index::new("site", unit.sites.iter().map(|site| site.name.as_ref()), out);
    let sites = unit.sites.iter().map(|site| one(unit, site, &mut taken, out)).collect();
    Emergency { trunks, numbers: numbers.map(Iterator::collect), sites }
}

fn one(
    unit: &RawUnit,
    raw: &RawSite,
    taken: &mut Vec<(At<NumberRange>, String)>,
    out: &mut Findings,
) -> Site {
    let subject = subject("site", raw.name.as_ref());
    empty(&subject, "elin", raw.elin.as_ref(), out);
    for range in &raw.numbers {
        let overlaps = |other: &NumberRange| {
            other.first <= range.value.last && range.value.first <= other.last
        };
        let mine = &unit.numbers;
        let within = |at: &At<Numbered>| overlaps(&at.value.range);
        if !mine.iter().any(within) {
            let message = format!("{subject}: {} is none of the tenant's numbers", range.value);
            let help = "Write numbers of the tenant: a caller is at the site whose numbers it has.";
            out.fault(Draft::new(message, help).at(range.span, "whose?"));
        }
        if let Some((first, other)) = taken.iter().find(|(at, _)| overlaps(&at.value)) {
            let message = format!("{} and {subject} have numbers in common", other);
            let help = "A number is at one site: take it out of one of them.";
            let draft = Draft::new(message, help);
            out.fault(draft.at(range.span, "again here").at(first.span, "first here"));
        }
        taken.push((range.clone(), subject.clone()));
    }
    let elins = raw.elin.iter().flat_map(|list| &list.value);
    let elins = elins.filter(|elin| shown(unit, elin, &subject, out)).map(|elin| elin.value);
    Site {
        name: raw.name.as_ref().map(|at| at.value.0.clone()).unwrap_or_default(),
        elins: elins.collect(),
        numbers: Numbers::new(raw.numbers.iter().map(|at| at.value).collect()),
    }
}

/// Whether a number may be shown and called back.
fn shown(unit: &RawUnit, elin: &At<Number>, subject: &str, out: &mut Findings) -> bool {
    let holds = |at: &&At<Numbered>| {
        let range = at.value.range;
        range.first <= elin.value && elin.value <= range.last && at.value.state.is_in_use()
    };
    if !elin.value.is_private() && unit.numbers.iter().any(|at| holds(&at)) {
        return true;
    }
    let message = format!("{subject}: {} is no public number of the tenant in use", elin.value);
    let help = "Add it to `numbers` of the tenant: the emergency service calls it back.";
    out.fault(Draft::new(message, help).at(elin.span, "not called back"));
    false
}
