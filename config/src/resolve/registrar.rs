//! Trunks that register with us: what they need, and by what they are told apart.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fault::{Draft, Findings};
use crate::model::{Host, Listener, Registrar, RequestUser, Transport, Trunk};
use crate::resolve::name::subject;
use crate::section::registrar::RawRegistrar;
use crate::section::trunk::RawTrunk;
use crate::source::{At, Span};

/// Whom the registering trunks of each realm are known by, and the realm that their challenges name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    names: BTreeMap<(usize, String), (String, Span)>,
    realms: BTreeMap<usize, (String, Span)>,
}

/// `None` where a fault was noted; `Some(None)`: it does not register with us.
pub(crate) fn of_trunk(
    raw: &RawTrunk,
    listeners: &[Listener],
    username: Option<&str>,
    out: &mut Findings,
) -> Option<Option<Registrar>> {
    let subject = subject("trunk", raw.name.as_ref());
    let table = raw.access.registrar.as_ref();
    let mut places = places(raw);
    let Some(place) = places.next() else {
        let Some(At { span, .. }) = table else { return Some(None) };
        let message = format!("{subject}: it does not register");
        let help = "Add \"registered\" to `peers`, or take out `registrar`.";
        out.fault(Draft::new(message, help).at(*span, "has no effect"));
        return None;
    };
    if let Some(second) = places.next() {
        let message = format!("{subject}: \"registered\" stands twice in `peers`");
        let help = "Name it once: all its contacts are tried there.";
        out.fault(Draft::new(message, help).at(second, "again").at(place, "first"));
        return None;
    }
    if let Some(At { span, .. }) = &raw.access.register {
        let message = format!("{subject}: we register with it, and it with us");
        let help = "Take out `register`, or make two trunks of it.";
        out.fault(Draft::new(message, help).at(*span, "we with it").at(place, "it with us"));
        return None;
    }
    if raw.access.authenticate.is_none() {
        let message = format!("{subject}: everybody could register as this trunk");
        let help = "Add `authenticate = { username = \"…\", password = { file = \"…\" } }`.";
        out.fault(Draft::new(message, help).at(place, "without `authenticate`"));
        return None;
    }
    let heard = |transport| listeners.iter().any(|own| own.transport == transport);
    let mut registrar = Registrar {
        user: username?.to_owned(),
        min_expires: LEAST,
        max_expires: MOST,
        max_contacts: 1,
        networks: Vec::new(),
        transports: [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .filter(|transport| heard(*transport))
            .collect(),
        request_user: RequestUser::Number,
    };
    if let Some(table) = table {
        fill(&mut registrar, &subject, &table.value, &heard, out)?;
    }
    Some(Some(registrar))
}

fn fill(
    registrar: &mut Registrar,
    subject: &str,
    raw: &RawRegistrar,
    heard: &impl Fn(Transport) -> bool,
    out: &mut Findings,
) -> Option<()> {
    if let Some(user) = &raw.user {
        registrar.user.clone_from(user);
    }
    (registrar.min_expires, registrar.max_expires) = (raw.min_expires.value, raw.max_expires);
    if registrar.min_expires > registrar.max_expires {
        let message = format!("{subject}: `min_expires` is longer than `max_expires`");
        let help = "No time would be short enough and long enough.";
        out.fault(Draft::new(message, help).at(raw.min_expires.span, "too long"));
        return None;
    }
    (registrar.max_contacts, registrar.request_user) = (raw.max_contacts, raw.request_user);
    if let Some(At { value: networks, span }) = &raw.networks {
        if networks.is_empty() {
            let message = format!("{subject}: it may register from nowhere");
            let help = "Name networks, or take out `networks`: then it may register from anywhere.";
            out.fault(Draft::new(message, help).at(*span, "no network"));
            return None;
        }
        registrar.networks = networks.iter().map(|at| at.value.0).collect();
    }
    if let Some(At { value: transports, span }) = &raw.transports {
        if transports.is_empty() {
            let message = format!("{subject}: it may register by no transport");
            let help = "Name \"udp\", \"tcp\" or \"tls\", or take out `transports`.";
            out.fault(Draft::new(message, help).at(*span, "no transport"));
            return None;
        }
        for At { value, span } in transports.iter().filter(|at| !heard(at.value)) {
            let word = value.as_str();
            let message = format!("{subject}: its realm does not listen on {word}");
            let help = format!("Add a listener \"{word}:…\" to the realm: REGISTER comes there.");
            out.fault(Draft::new(message, help).at(*span, "cannot be reached"));
        }
        registrar.transports = transports.iter().map(|at| at.value).collect();
        registrar.transports.sort_unstable();
        registrar.transports.dedup();
    }
    Some(())
}

/// Notes a trunk that a REGISTER could mean as well as another, or that would have to be challenged in another realm: before
/// its credentials are there nobody knows whose a REGISTER is.
pub(crate) fn distinct(raw: &RawTrunk, trunk: &Trunk, known: &mut Known, out: &mut Findings) {
    let (Some(registrar), Some(login)) = (&trunk.registrar, &trunk.authenticate) else { return };
    let own = subject("trunk", raw.name.as_ref());
    let place = places(raw).next().unwrap_or(raw.span);
    let mut names = vec![&login.username, &registrar.user];
    names.dedup();
    for name in names {
        let key = (trunk.realm, name.clone());
        let Some((other, first)) = known.names.get(&key) else {
            known.names.insert(key, (own.clone(), place));
            continue;
        };
        let message = format!("{own} and {other} both register as {name:?}");
        let help = "Give each a username (and a `registrar` user) of its own.";
        out.fault(Draft::new(message, help).at(place, "this trunk").at(*first, "and this"));
        return;
    }
    let (realm, first) =
        known.realms.entry(trunk.realm).or_insert_with(|| (login.realm.clone(), place));
    if *realm != login.realm {
        let message =
            format!("{own} registers in the realm {:?}, another trunk in {realm:?}", login.realm);
        let help =
            "Give `authenticate` the same `realm`: one challenge has to fit all who register here.";
        out.fault(Draft::new(message, help).at(place, "this trunk").at(*first, "and the other"));
    }
}

/// Where `peers` says that it registers.
fn places(raw: &RawTrunk) -> impl Iterator<Item = Span> + '_ {
    let peers = raw.peers.iter().flat_map(|list| &list.value);
    peers.filter(|at| at.value.0.host == Host::Registered).map(|at| at.span)
}

const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(3600);
