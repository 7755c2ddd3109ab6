//! Tenants: names at their edges, trunks that they may use.

use std::collections::BTreeMap;

use crate::fault::{Draft, Findings};
use crate::inventory::States;
use crate::load::{Raw, RawUnit};
use crate::model::{ForeignCaller, Tenant, TenantName, Trunk};
use crate::numbers::Numbers;
use crate::resolve::edge::{EdgeOf, empty};
use crate::resolve::identity;
use crate::resolve::name::subject;
use crate::resolve::route::{End, Routes, routes};
use crate::resolve::{Names, callers, emergency};
use crate::section::edge;
use crate::section::tenant::RawTenant;
use crate::source::{At, Span};
use crate::text::name::fqdn_fault;
use crate::text::timezone::Timezone;

/// In the order of [`Raw::tenants`].
pub(crate) fn resolve(
    raw: &Raw,
    names: &Names<'_>,
    edges: &[EdgeOf],
    out: &mut Findings,
) -> Vec<Option<Tenant>> {
    let mut taken = BTreeMap::new();
    let unit = |(index, unit): (usize, &RawUnit)| {
        let tenant = one(unit, index, names, edges, out);
        if let Some(tenant) = &tenant {
            unique(&unit.tenant, tenant, edges, &mut taken, out);
        }
        tenant
    };
    raw.tenants.iter().enumerate().map(unit).collect()
}

/// Notes trunks that no tenant uses and tenants that no call can reach.
pub(crate) fn check_use(
    raw: &Raw,
    tenants: &[Option<Tenant>],
    trunks: &[Option<Trunk>],
    out: &mut Findings,
) {
    for (unit, tenant) in raw.tenants.iter().zip(tenants) {
        if tenant.as_ref().is_some_and(|tenant| tenant.numbers.is_empty()) {
            let message =
                format!("{}: it has no numbers", subject("tenant", unit.tenant.name.as_ref()));
            let help = "Add `numbers`: no call from a trunk reaches it.";
            out.warn(Draft::new(message, help).at(unit.tenant.span, "without `numbers`"));
        }
    }
    let Some(tenants) = tenants.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
        return;
    };
    let mut used = vec![false; trunks.len()];
    let by_tenants = tenants.iter().map(|tenant| &tenant.inbound_trunks);
    let by_trunks = trunks.iter().flatten().map(|trunk| &trunk.inbound_trunks);
    for &trunk in by_tenants.chain(by_trunks).flatten() {
        used[trunk] = true;
    }
    for ((_, trunk), used) in raw.trunks().zip(used) {
        if !used && !trunk.is_end() {
            let message = format!(
                "{}: no tenant uses it, nor a trunk",
                subject("trunk", trunk.name.as_ref())
            );
            let help = "Name it in the `trunks` or `inbound_trunks` of a tenant or trunk.";
            out.warn(Draft::new(message, help).at(trunk.span, "not used"));
        }
    }
}

fn one(
    unit: &RawUnit,
    index: usize,
    names: &Names<'_>,
    edges: &[EdgeOf],
    out: &mut Findings,
) -> Option<Tenant> {
    let raw = &unit.tenant;
    let subject = subject("tenant", raw.name.as_ref());
    let at_edges = edges_of(raw, &subject, names, out);
    let fqdns = at_edges.and_then(|at_edges| fqdns(raw, &subject, &at_edges, edges, out));
    empty(&subject, "trunks", raw.trunks.as_ref(), out);
    if !raw.trunks_written && !raw.inbound_trunks_written {
        let message = format!("{subject}: it has no trunks");
        let help = "Add `trunks = [\"…\"]`, or `inbound_trunks` if it only takes calls.";
        out.fault(Draft::new(message, help).at(raw.span, "without `trunks`"));
    }
    let Routes { outbound, inbound } = routes(
        &subject,
        raw.trunks.as_ref(),
        raw.inbound_trunks.as_ref(),
        End::Tenant(index),
        names,
        out,
    );
    let written = raw.main_number.as_ref();
    let main_number = callers::main_number(&subject, written, &unit.numbers, out);
    let emergency = emergency::resolve(unit, index, &outbound, names, out);
    Some(Tenant {
        name: raw.name.as_ref()?.value.0.clone(),
        names: fqdns?,
        trunks: outbound,
        inbound_trunks: inbound,
        numbers: Numbers::new(unit.numbers.iter().map(|at| at.value.range).collect()),
        states: States::new(unit.numbers.iter().map(|at| (at.value.range, at.value.state))),
        main_number,
        foreign_caller: raw.foreign_caller.unwrap_or(ForeignCaller::Main),
        limits: raw.admission.limits_in(&Timezone::default()),
        emergency,
        barring: raw.admission.barring.clone(),
        max_duration: raw.max_duration.map(|longest| longest.0),
        country: raw.country,
        hold_music: raw.hold_music.as_ref().map(|at| at.value.0.clone()),
    })
}

/// The edges at which a tenant is known.
fn edges_of(
    raw: &RawTenant,
    subject: &str,
    names: &Names<'_>,
    out: &mut Findings,
) -> Option<Vec<usize>> {
    if let Some(list) = &raw.edges {
        empty(subject, "edges", Some(list), out);
        let mut found = Vec::new();
        for name in &list.value {
            let edge = names.edges.find(name, subject, out)?;
            if !found.contains(&edge) {
                found.push(edge);
            }
        }
        return Some(found).filter(|found| !found.is_empty());
    }
    let only = (names.edges.len() == 1).then_some(0);
    let found = names.edges.get(edge::DEFAULT).or(only);
    if found.is_none() && !raw.edges_written && names.edges.len() > 1 {
        let message = format!("{subject}: `edges` is missing");
        let help = "Say which: there are several edges and no [teams].";
        out.fault(Draft::new(message, help).at(raw.span, "at which edges?"));
    }
    found.filter(|_| !raw.edges_written).map(|edge| vec![edge])
}

/// The tenant's names at its edges, each checked.
fn fqdns(
    raw: &RawTenant,
    subject: &str,
    at_edges: &[usize],
    edges: &[EdgeOf],
    out: &mut Findings,
) -> Option<Vec<TenantName>> {
    const HELP: &str = "Give one of the two: `label = \"t1\"`, or `fqdn = \"t1.sbc.example.com\"`.";
    match (raw.label_written, raw.fqdn_written) {
        (None, None) => {
            let message = format!("{subject}: `label` or `fqdn` is missing");
            out.fault(Draft::new(message, HELP).at(raw.span, "in this table"));
            return None;
        }
        (Some(label), Some(fqdn)) => {
            let message = format!("{subject}: both `label` and `fqdn` are given");
            out.fault(Draft::new(message, HELP).at(fqdn, "this").at(label, "and this"));
            return None;
        }
        (Some(_), None) => {}
        (None, Some(place)) if at_edges.len() > 1 => {
            let message =
                format!("{subject}: `fqdn` is one name, but it has {} edges", at_edges.len());
            let help = "Give `label` instead: it makes a name below each edge's.";
            out.fault(Draft::new(message, help).at(place, "one name"));
            return None;
        }
        (None, Some(_)) => {}
    }
    let mut names = Some(Vec::new());
    for &index in at_edges {
        let name = full_name(raw, &edges[index])
            .and_then(|name| checked(name, subject, &edges[index], out));
        match (&mut names, name) {
            (Some(names), Some(fqdn)) => names.push(TenantName { edge: index, fqdn }),
            (_, None) => names = None,
            (None, Some(_)) => {}
        }
    }
    names
}

fn full_name(raw: &RawTenant, edge: &EdgeOf) -> Option<At<String>> {
    match (&raw.label, &raw.fqdn) {
        (Some(label), _) => {
            let value = format!("{}.{}", label.value.0, edge.fqdn.as_ref()?.value);
            Some(At { value, span: label.span })
        }
        (None, Some(fqdn)) => Some(fqdn.clone().map(|fqdn| fqdn.0)),
        (None, None) => None,
    }
}

/// A name that the edge's certificate covers and by which Microsoft finds the tenant.
fn checked(name: At<String>, subject: &str, edge: &EdgeOf, out: &mut Findings) -> Option<String> {
    if let Some(bad) = fqdn_fault(&name.value) {
        let message = format!("{subject}: {}", bad.message);
        out.fault(Draft::new(message, bad.help).at(name.span, "makes this name"));
        return None;
    }
    if let Some(presented) = &edge.presented {
        identity::check_name(presented, subject, &name, out);
    }
    if let Some(base) = &edge.fqdn {
        let parent = name.value.split_once('.').map(|(_, parent)| parent);
        if name.value != base.value && parent != Some(base.value.as_str()) {
            let message =
                format!("{subject}: \"{}\" is not directly below \"{}\"", name.value, base.value);
            let help = "Microsoft finds a derived trunk by taking off the first label: take a name directly below the edge's.";
            out.warn(Draft::new(message, help).at(name.span, "not below the edge's name"));
        }
    }
    Some(name.value)
}

/// Notes names that another tenant or edge has.
fn unique(
    raw: &RawTenant,
    tenant: &Tenant,
    edges: &[EdgeOf],
    taken: &mut BTreeMap<String, (String, Span)>,
    out: &mut Findings,
) {
    let written = raw.label.as_ref().map(|at| at.span).or(raw.fqdn.as_ref().map(|at| at.span));
    let place = written.unwrap_or(raw.span);
    for name in &tenant.names {
        let others = edges.iter().enumerate().filter(|(index, _)| *index != name.edge);
        let base =
            others.filter_map(|(_, edge)| edge.fqdn.as_ref()).find(|base| base.value == name.fqdn);
        if let Some(base) = base {
            let message = format!(
                "tenant \"{}\": \"{}\" is the name of another edge",
                tenant.name, name.fqdn
            );
            let help = "Take another name, or that edge.";
            out.fault(
                Draft::new(message, help).at(place, "makes this name").at(base.span, "that edge"),
            );
        }
        match taken.get(&name.fqdn) {
            Some((other, first)) => {
                let message = format!(
                    "tenants \"{other}\" and \"{}\" have the same name \"{}\"",
                    tenant.name, name.fqdn
                );
                let help = "Give each its own `label` or `fqdn`: calls from Microsoft go by it.";
                out.fault(
                    Draft::new(message, help).at(place, "again here").at(*first, "first here"),
                );
            }
            None => {
                taken.insert(name.fqdn.clone(), (tenant.name.clone(), place));
            }
        }
    }
}
