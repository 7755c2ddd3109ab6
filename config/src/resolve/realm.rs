//! Realms: listeners that peers can be told of, TLS where a listener needs it.

use std::collections::BTreeSet;

use crate::fault::{Draft, Findings};
use crate::load::Raw;
use crate::model::{Realm, RealmTls, Transport};
use crate::resolve::Names;
use crate::resolve::edge::{empty, mark};
use crate::resolve::identity::Identities;
use crate::resolve::media::Pools;
use crate::resolve::name::subject;
use crate::section::realm::RawRealm;
use crate::section::root::RawMain;

pub(crate) fn resolve(
    raw: &Raw,
    names: &Names<'_>,
    pools: &Pools<'_>,
    identities: &mut Identities<'_>,
    out: &mut Findings,
) -> Vec<Option<Realm>> {
    let main = &raw.main;
    let by_tls = by_tls(raw, names);
    let realms = main.realms.iter().enumerate().zip(&pools.of_realm);
    realms
        .map(|((index, realm), pool)| {
            one(main, realm, by_tls.contains(&index), *pool, identities, out)
        })
        .collect()
}

fn one(
    main: &RawMain,
    raw: &RawRealm,
    peers_by_tls: bool,
    pool: Option<usize>,
    identities: &mut Identities<'_>,
    out: &mut Findings,
) -> Option<Realm> {
    let subject = subject("realm", raw.name.as_ref());
    empty(&subject, "listen", raw.listen.as_ref(), out);
    let listeners = || raw.listen.iter().flat_map(|list| &list.value);
    for listener in listeners() {
        if listener.value.address.ip().is_unspecified() && raw.advertise.is_none() {
            let message = format!("{subject}: peers cannot be told where {} is", listener.value);
            let help = "Write the address itself, or add `advertise = \"…\"`.";
            out.fault(Draft::new(message, help).at(listener.span, "no address of its own"));
        }
    }
    let listens = listeners().any(|listener| listener.value.transport == Transport::Tls);
    let secure = listens || peers_by_tls;
    let tls = if secure {
        Some(tls(main, raw, &subject, identities, out))
    } else {
        without_effect(raw, &subject, out);
        None
    };
    Some(Realm {
        name: raw.name.as_ref()?.value.0.clone(),
        listen: listeners().map(|at| at.value).collect(),
        advertise: raw.advertise.map(|ip| ip.0),
        dscp_sip: mark(raw.dscp.as_ref().and_then(|dscp| dscp.sip.as_ref())),
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        media: pool?,
    })
}

fn tls(
    main: &RawMain,
    raw: &RawRealm,
    subject: &str,
    identities: &mut Identities<'_>,
    out: &mut Findings,
) -> Option<RealmTls> {
    let own = (raw.certificate.as_ref(), raw.key.as_ref());
    let presented = identities.presented(subject, raw.span, own, main.tls.as_ref(), out);
    match &raw.roots {
        Some(roots) => identities.roots(roots, out),
        None => {
            if let Err(error) = identities.system() {
                let help = "Install ca-certificates, or name a file by `roots`; until then no peer is verified as a server.";
                let message = format!("{subject}: {error}");
                out.warn(Draft::new(message, help).at(raw.span, "uses TLS"));
            }
        }
    }
    let presented = presented?;
    Some(RealmTls {
        certificate: presented.certificate,
        key: presented.key,
        roots: raw.roots.as_ref().map(|at| at.value.0.clone()),
    })
}

/// The realms in which some peer is reached by TLS.
fn by_tls(raw: &Raw, names: &Names<'_>) -> BTreeSet<usize> {
    let secure = raw.trunks().map(|(_, trunk)| trunk).filter(|trunk| {
        let mut peers = trunk.peers.iter().flat_map(|list| &list.value);
        peers.any(|peer| peer.value.0.transport == Transport::Tls)
    });
    secure.filter_map(|trunk| names.realm_of(trunk)).collect()
}

/// Keys for TLS where nothing uses it.
fn without_effect(raw: &RawRealm, subject: &str, out: &mut Findings) {
    let written = [
        raw.certificate.as_ref().map(|at| at.span),
        raw.key.as_ref().map(|at| at.span),
        raw.roots.as_ref().map(|at| at.span),
    ];
    if let Some(span) = written.into_iter().flatten().min() {
        let message = format!("{subject}: it has neither listeners nor peers on TLS");
        let help = "Add a listener \"tls:…\", or take out `certificate`, `key` and `roots`.";
        out.warn(Draft::new(message, help).at(span, "has no effect"));
    }
}
