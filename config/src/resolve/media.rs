//! Media pools: the entries of `[media]` and those written inside an edge or realm.

use std::ops::RangeInclusive;

use crate::fault::{Draft, Findings};
use crate::model::{MediaAddress, MediaPool};
use crate::read::nearest;
use crate::resolve::Names;
use crate::resolve::name::subject;
use crate::section::media::{Dscp, MediaOf, Pool, RawAddress};
use crate::section::root::RawMain;
use crate::source::{At, Span};
use crate::text::name::Name;

/// All pools in the order of their names, and who uses which.
#[derive(Debug)]
pub(crate) struct Pools<'a> {
    pub(crate) list: Vec<PoolRef<'a>>,
    /// For each edge, in the order of the edges.
    pub(crate) of_edge: Vec<Option<usize>>,
    /// For each realm.
    pub(crate) of_realm: Vec<Option<usize>>,
}

#[derive(Debug)]
pub(crate) struct PoolRef<'a> {
    pub(crate) name: &'a str,
    pub(crate) span: Span,
    pub(crate) addresses: &'a [RawAddress],
}

/// Addresses of all pools together: what the relay can tell apart.
const MOST_ADDRESSES: usize = 255;

/// Collects the pools and resolves who uses which.
pub(crate) fn pools<'a>(main: &'a RawMain, _: &Names<'a>, out: &mut Findings) -> Pools<'a> {
    let mut list: Vec<_> = main
        .media
        .pools
        .iter()
        .map(|raw| PoolRef {
            name: &raw.name.value.0,
            span: raw.name.span,
            addresses: &raw.addresses,
        })
        .collect();
    let users = users(main);
    for User { name, media, .. } in &users {
        if let (Some(name), Some(At { value: MediaOf::Own(Pool(addresses)), span })) = (name, media)
        {
            list.push(PoolRef { name: &name.value.0, span: *span, addresses });
        }
    }
    list.sort_by(|a, b| (a.name, a.span).cmp(&(b.name, b.span)));
    for pair in list.windows(2) {
        if pair[0].name == pair[1].name {
            let help = "Media written inside an edge or realm carry its name: use `media = \"name\"` or another name.";
            let draft = Draft::new(format!("the media \"{}\" are given twice", pair[0].name), help);
            out.fault(draft.at(pair[1].span, "again here").at(pair[0].span, "first here"));
        }
    }
    let count: usize = list.iter().map(|pool| pool.addresses.len()).sum();
    if count > MOST_ADDRESSES {
        let message = format!("there are {count} media addresses");
        let help = format!("At most {MOST_ADDRESSES} can be used.");
        out.fault(Draft::new(message, help).at(list[list.len() - 1].span, "too many"));
    }
    let mut used = users.iter().map(|user| find(user, &list, out)).collect::<Vec<_>>();
    let of_realm = used.split_off(main.edges.len());
    for (index, pool) in list.iter().enumerate() {
        if !used.contains(&Some(index)) && !of_realm.contains(&Some(index)) {
            let message = format!("the media \"{}\" are used by no edge or realm", pool.name);
            let help = "Name them by `media` in an edge or realm, or take them out.";
            out.warn(Draft::new(message, help).at(pool.span, "not used"));
        }
    }
    Pools { list, of_edge: used, of_realm }
}

/// The pools as the gateway sees them, with DSCP from their users where they have none.
pub(crate) fn resolve(
    main: &RawMain,
    pools: &Pools<'_>,
    out: &mut Findings,
) -> Option<Vec<MediaPool>> {
    let marks = marks(main, pools, out);
    let resolved: Option<Vec<_>> = pools
        .list
        .iter()
        .zip(marks)
        .map(|(pool, mark)| {
            let addresses = pool.addresses.iter().map(|raw| resolve_address(raw, mark));
            let addresses: Vec<_> = addresses.collect::<Option<_>>()?;
            Some(MediaPool { name: pool.name.to_owned(), addresses })
        })
        .collect();
    overlaps(pools, out);
    resolved
}

/// Who uses media.
struct User<'a> {
    kind: &'static str,
    name: Option<&'a At<Name>>,
    media: Option<&'a At<MediaOf>>,
    dscp: Option<&'a Dscp>,
}

/// Edges first, then realms.
fn users(main: &RawMain) -> Vec<User<'_>> {
    let edges = main.edges.iter().map(|edge| User {
        kind: "edge",
        name: edge.name.as_ref(),
        media: Some(&edge.media),
        dscp: edge.dscp.as_ref(),
    });
    let realms = main.realms.iter().map(|realm| User {
        kind: "realm",
        name: realm.name.as_ref(),
        media: realm.media.as_ref(),
        dscp: realm.dscp.as_ref(),
    });
    edges.chain(realms).collect()
}

fn find(user: &User<'_>, list: &[PoolRef<'_>], out: &mut Findings) -> Option<usize> {
    let At { value, span } = user.media?;
    let name = match value {
        MediaOf::Own(_) => return list.iter().position(|pool| pool.span == *span),
        MediaOf::Named(Name(name)) => name,
    };
    let found = list.iter().position(|pool| pool.name == name);
    if found.is_none() {
        let help = match nearest(name, list.iter().map(|pool| pool.name)) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => format!(
                "Add it to [media]: {name} = {{ address = \"192.0.2.1\", ports = \"20000-31999\" }}."
            ),
        };
        let message =
            format!("{}: media \"{name}\" are not defined", subject(user.kind, user.name));
        out.fault(Draft::new(message, help).at(*span, "needs them"));
    }
    found
}

/// The DSCP that the users of each pool ask for.
fn marks(main: &RawMain, pools: &Pools<'_>, out: &mut Findings) -> Vec<Option<u8>> {
    let mut marks: Vec<Option<(u8, Span)>> = vec![None; pools.list.len()];
    let used = pools.of_edge.iter().chain(&pools.of_realm);
    for (user, pool) in users(main).iter().zip(used) {
        let Some(rtp) = user.dscp.and_then(|dscp| dscp.rtp.as_ref()) else { continue };
        let (Some(pool), Ok(value)) = (*pool, u8::try_from(rtp.value.0)) else { continue };
        match marks[pool] {
            Some((other, place)) if other != value => {
                let message = format!(
                    "the media \"{}\" would be marked {other} and {value}",
                    pools.list[pool].name
                );
                let help = "Give both the same mark, or media of their own.";
                out.fault(Draft::new(message, help).at(rtp.span, "here").at(place, "and here"));
            }
            Some(_) => {}
            None => marks[pool] = Some((value, rtp.span)),
        }
    }
    marks.into_iter().map(|mark| mark.map(|(value, _)| value)).collect()
}

fn resolve_address(raw: &RawAddress, mark: Option<u8>) -> Option<MediaAddress> {
    let own = raw.dscp.as_ref().and_then(|dscp| u8::try_from(dscp.value.0).ok());
    Some(MediaAddress {
        address: raw.address.as_ref()?.value.0,
        advertise: raw.advertise.as_ref().map(|at| at.value.0),
        ports: raw.ports.as_ref()?.value.0.clone(),
        dscp: own.or(mark),
    })
}

/// Ranges of ports on one address must not overlap.
fn overlaps(pools: &Pools<'_>, out: &mut Findings) {
    let mut ranges: Vec<_> =
        pools.list.iter().flat_map(|pool| pool.addresses).filter_map(ports_of).collect();
    ranges.sort_by_key(|(address, ports, place)| (*address, *ports.start(), *place));
    for pair in ranges.windows(2) {
        let [(address, first, place), (other, second, again)] = pair else { continue };
        if address == other && second.start() <= first.end() {
            let message = format!(
                "ports {}-{} and {}-{} overlap on {address}",
                first.start(),
                first.end(),
                second.start(),
                second.end()
            );
            let help = "Give each its own ports, or its own address.";
            out.fault(Draft::new(message, help).at(*again, "these ports").at(*place, "and these"));
        }
    }
}

/// Address and ports of an entry, and where the ports stand.
pub(crate) fn ports_of(raw: &RawAddress) -> Option<(std::net::IpAddr, &RangeInclusive<u16>, Span)> {
    let ports = raw.ports.as_ref()?;
    Some((raw.address.as_ref()?.value.0, &ports.value.0, ports.span))
}
