//! By which trunks an end's calls go out, and from which it takes calls: the same two keys for a
//! tenant and for a trunk.

use crate::fault::{Draft, Findings};
use crate::load::Raw;
use crate::model::Trunk;
use crate::resolve::Names;
use crate::resolve::name::subject;
use crate::section::trunk::RawTrunk;
use crate::source::At;
use crate::text::name::Name;

/// Who refers to a trunk.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// A tenant, by its index.
    Tenant(usize),
    /// A trunk, by its index, and the tenant that owns it.
    Trunk(usize, Option<usize>),
}

/// The trunks of an end; indices as in [`Names`].
pub(crate) struct Routes {
    /// In order of preference.
    pub(crate) outbound: Vec<usize>,
    /// Those and further ones, without repetition.
    pub(crate) inbound: Vec<usize>,
}

/// What the keys `trunks` and `inbound_trunks` of an end mean.
pub(crate) fn routes(
    subject: &str,
    outbound: Option<&At<Vec<At<Name>>>>,
    inbound: Option<&At<Vec<At<Name>>>>,
    end: End,
    names: &Names<'_>,
    out: &mut Findings,
) -> Routes {
    let mut trunks = |list: Option<&At<Vec<At<Name>>>>| {
        let mut found = Vec::new();
        for name in list.into_iter().flat_map(|list| &list.value) {
            found.extend(trunk(name, subject, end, names, &found, out));
        }
        found
    };
    let outbound = trunks(outbound);
    Routes::new(outbound, trunks(inbound))
}

/// The same of a trunk: in a tenant's file it goes by the tenant's trunks when it names none.
pub(crate) fn of_trunk(
    raw: &Raw,
    trunk: &RawTrunk,
    index: usize,
    names: &Names<'_>,
    out: &mut Findings,
) -> Routes {
    let owner = names.owners[index];
    let own = subject("trunk", trunk.name.as_ref());
    let inbound = trunk.inbound_trunks.as_ref();
    let written =
        routes(&own, trunk.trunks.as_ref(), inbound, End::Trunk(index, owner), names, out);
    match owner {
        Some(owner) if !trunk.trunks_written => {
            Routes::new(of_owner(raw, owner, index, names), written.inbound)
        }
        Some(_) | None => written,
    }
}

/// Notes numbers of trunks that no call can reach, and trunks that are named for numbers which are
/// not there.
pub(crate) fn check(raw: &Raw, trunks: &[Option<Trunk>], out: &mut Findings) {
    for ((owner, written), trunk) in raw.trunks().zip(trunks) {
        let Some(trunk) = trunk else { continue };
        let subject = subject("trunk", written.name.as_ref());
        if let Some(list) = written.inbound_trunks.as_ref().filter(|_| written.entries.is_empty()) {
            let message = format!("{subject}: it has no numbers");
            let help = "Add `numbers`, or take `inbound_trunks` out: it says from where calls to its numbers come.";
            out.warn(Draft::new(message, help).at(list.span, "without `numbers`"));
        }
        if trunk.numbers.is_empty() || !trunk.inbound_trunks.is_empty() {
            continue;
        }
        let by_owner = owner.map(|owner| &raw.tenants[owner].tenant);
        let outbound = match by_owner.filter(|_| !written.trunks_written) {
            Some(tenant) => in_doubt(tenant.trunks.as_ref(), tenant.trunks_written, out),
            None => in_doubt(written.trunks.as_ref(), written.trunks_written, out),
        };
        let further = written.inbound_trunks.as_ref();
        if !outbound && !in_doubt(further, written.inbound_trunks_written, out) {
            let message = format!("{subject}: no call from a trunk can reach its numbers");
            let help = "Add `inbound_trunks = [\"…\"]`, or `trunks` if its own calls go out there as well: calls to its numbers are taken from these.";
            let place = written.entries.first().map_or(written.span, |entry| entry.span);
            out.fault(Draft::new(message, help).at(place, "from no trunk"));
        }
    }
}

/// Whether a fault has been noted that may be why the list names no trunk.
fn in_doubt(list: Option<&At<Vec<At<Name>>>>, written: bool, out: &Findings) -> bool {
    list.map_or(written, |list| out.has_fault_within(list.span))
}

impl Routes {
    fn new(outbound: Vec<usize>, further: Vec<usize>) -> Self {
        let mut inbound = outbound.clone();
        inbound.extend(further.into_iter().filter(|trunk| !outbound.contains(trunk)));
        Self { outbound, inbound }
    }
}

/// The trunks of the tenant `owner` except `own`; what is wrong with them is noted at the tenant.
fn of_owner(raw: &Raw, owner: usize, own: usize, names: &Names<'_>) -> Vec<usize> {
    let list = raw.tenants[owner].tenant.trunks.iter().flat_map(|list| &list.value);
    let mut found = Vec::new();
    for trunk in list.filter_map(|name| names.trunks.get(&name.value.0)) {
        let usable = names.owners[trunk].is_none_or(|of| of == owner);
        if usable && trunk != own && !found.contains(&trunk) {
            found.push(trunk);
        }
    }
    found
}

/// The trunk that `name` means, if the end may use it.
fn trunk(
    name: &At<Name>,
    subject: &str,
    end: End,
    names: &Names<'_>,
    before: &[usize],
    out: &mut Findings,
) -> Option<usize> {
    let found = names.trunks.find(name, subject, out)?;
    let (user, whose, label) = match end {
        End::Tenant(tenant) | End::Trunk(_, Some(tenant)) => {
            (Some(tenant), "another tenant", "not this tenant's")
        }
        End::Trunk(_, None) => (None, "a tenant", "a tenant's alone"),
    };
    if let End::Trunk(own, _) = end
        && own == found
    {
        let message = format!("{subject}: it names itself");
        let help = "Name other trunks: a call does not go back to where it comes from.";
        out.fault(Draft::new(message, help).at(name.span, "itself"));
        return None;
    }
    if names.owners[found].is_some_and(|owner| Some(owner) != user) {
        let message = format!("{subject}: trunk \"{}\" belongs to {whose}", name.value.0);
        let help = "A trunk in a tenant's file is that tenant's alone; define shared ones in the main file.";
        out.fault(Draft::new(message, help).at(name.span, label));
        return None;
    }
    if before.contains(&found) {
        let message = format!("{subject}: trunk \"{}\" stands twice", name.value.0);
        out.fault(Draft::new(message, "Name each trunk once.").at(name.span, "again"));
        return None;
    }
    Some(found)
}
