//! Edges: defaults by cloud, certificate, names.

use ipnet::IpNet;

use crate::fault::{Draft, Findings};
use crate::model::{Edge, Roots};
use crate::resolve::identity::{self, Identities, Presented};
use crate::resolve::media::Pools;
use crate::resolve::name::subject;
use crate::section::edge::RawEdge;
use crate::section::root::RawMain;
use crate::source::At;
use crate::text::scalar::Cloud;

/// An edge, and what its tenants need of it although it may be faulty.
#[derive(Debug)]
pub(crate) struct EdgeOf {
    pub(crate) fqdn: Option<At<String>>,
    pub(crate) presented: Option<Presented>,
    pub(crate) resolved: Option<Edge>,
}

pub(crate) fn resolve(
    main: &RawMain,
    pools: &Pools<'_>,
    identities: &mut Identities<'_>,
    out: &mut Findings,
) -> Vec<EdgeOf> {
    let edges: Vec<_> = main
        .edges
        .iter()
        .zip(&pools.of_edge)
        .map(|(raw, pool)| one(main, raw, *pool, identities, out))
        .collect();
    let mut names: Vec<_> = edges.iter().filter_map(|edge| edge.fqdn.as_ref()).collect();
    names.sort_by_key(|at| (&at.value, at.span));
    for pair in names.windows(2) {
        if pair[0].value == pair[1].value {
            let message = format!("two edges have the name \"{}\"", pair[0].value);
            let help = "Give each edge a base name of its own: tenants' names are derived from it.";
            let draft = Draft::new(message, help).at(pair[1].span, "again here");
            out.fault(draft.at(pair[0].span, "first here"));
        }
    }
    edges
}

fn one(
    main: &RawMain,
    raw: &RawEdge,
    pool: Option<usize>,
    identities: &mut Identities<'_>,
    out: &mut Findings,
) -> EdgeOf {
    let subject = subject("edge", raw.name.as_ref());
    let inherited = || main.gateway.as_ref().filter(|_| !raw.fqdn_written)?.fqdn.as_ref();
    let fqdn = raw.fqdn.as_ref().or_else(inherited).cloned().map(|at| at.map(|name| name.0));
    let own = (raw.certificate.as_ref(), raw.key.as_ref());
    let presented = identities.presented(&subject, raw.span, own, main.tls.as_ref(), out);
    if let (Some(presented), Some(fqdn)) = (&presented, &fqdn) {
        identity::check_name(presented, &subject, fqdn, out);
    }
    if let Some(roots) = &raw.roots {
        identities.roots(roots, out);
    }
    empty(&subject, "proxies", raw.proxies.as_ref(), out);
    empty(&subject, "certificate_names", raw.certificate_names.as_ref(), out);
    empty(&subject, "networks", raw.networks.as_ref(), out);
    for network in raw.networks.iter().flat_map(|list| &list.value) {
        if network.value.0.prefix_len() == 0 {
            let message = format!("{subject}: every address may connect");
            let help = "Certificates still decide, but name the networks to keep strangers away.";
            out.warn(Draft::new(message, help).at(network.span, "all addresses"));
        }
    }
    let resolved = build(raw, pool, fqdn.as_ref(), presented.as_ref());
    EdgeOf { fqdn, presented, resolved }
}

fn build(
    raw: &RawEdge,
    pool: Option<usize>,
    fqdn: Option<&At<String>>,
    presented: Option<&Presented>,
) -> Option<Edge> {
    let presented = presented?;
    let defaults = Defaults::of(raw.cloud);
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
    Some(Edge {
        name: raw.name.as_ref()?.value.0.clone(),
        fqdn: fqdn?.value.clone(),
        listen: raw.listen.as_ref()?.value.0,
        proxies: match &raw.proxies {
            Some(list) => list.value.iter().map(|at| at.value.0.clone()).collect(),
            None => names(defaults.proxies),
        },
        port: raw.port,
        certificate_names: match &raw.certificate_names {
            Some(list) => list.value.iter().map(|at| at.value.0.clone()).collect(),
            None => names(&defaults.proxies[..1]),
        },
        roots: match &raw.roots {
            Some(file) => Roots::File(file.value.0.clone()),
            None => Roots::Shipped,
        },
        networks: match &raw.networks {
            Some(list) => list.value.iter().map(|at| at.value.0).collect(),
            None => defaults.networks.iter().map(|text| network(text)).collect(),
        },
        options_interval: raw.options_interval.0,
        certificate: presented.certificate.clone(),
        key: presented.key.clone(),
        advertise: raw.advertise.map(|ip| ip.0),
        dscp_sip: mark(raw.dscp.as_ref().and_then(|dscp| dscp.sip.as_ref())),
        media: pool?,
    })
}

/// A DSCP as a byte; its type bounds it.
pub(crate) fn mark(value: Option<&At<crate::text::scalar::Int<0, 63>>>) -> Option<u8> {
    value.and_then(|at| u8::try_from(at.value.0).ok())
}

/// Notes that a list which may not be empty is.
pub(crate) fn empty<T>(subject: &str, key: &str, list: Option<&At<Vec<T>>>, out: &mut Findings) {
    if let Some(At { span, .. }) = list.filter(|list| list.value.is_empty()) {
        // A list whose elements were all bad is empty as well; that has left faults.
        if out.has_fault_within(*span) {
            return;
        }
        let message = format!("{subject}: `{key}` is empty");
        let help = "Name at least one, or leave the key out if it has a default.";
        out.fault(Draft::new(message, help).at(*span, "empty"));
    }
}

/// What holds for a cloud.
struct Defaults {
    proxies: &'static [&'static str],
    networks: &'static [&'static str],
}

impl Defaults {
    const fn of(cloud: Cloud) -> Self {
        match cloud {
            Cloud::Commercial => Self {
                proxies: &[
                    "sip.pstnhub.microsoft.com",
                    "sip2.pstnhub.microsoft.com",
                    "sip3.pstnhub.microsoft.com",
                ],
                networks: &["52.112.0.0/14", "52.120.0.0/14"],
            },
            Cloud::Gcch => Self {
                proxies: &["sip.pstnhub.gov.teams.microsoft.us"],
                networks: &["52.127.88.0/21"],
            },
            Cloud::Dod => Self {
                proxies: &["sip.pstnhub.dod.teams.microsoft.us"],
                networks: &["52.127.64.0/21"],
            },
        }
    }
}

fn network(text: &str) -> IpNet {
    text.parse().expect("a constant that a test reads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_every_cloud_can_be_read() {
        for cloud in [Cloud::Commercial, Cloud::Gcch, Cloud::Dod] {
            let defaults = Defaults::of(cloud);
            assert!(!defaults.proxies.is_empty() && !defaults.networks.is_empty());
            for text in defaults.networks {
                assert_eq!(network(text), network(text).trunc());
            }
        }
    }
}
