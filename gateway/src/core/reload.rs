//! Another configuration while calls go on: one swap, between two messages.
//!
//! A call holds the configuration under which it began and keeps to it. Everything the core knows beside the calls is
//! kept by name, since positions mean nothing in another configuration: tenants' counts in `admission`, places in
//! `health`. Edges, realms and media pools neither come nor go and keep their order (`config::Config::align`), so that
//! identities of the transport layer and pools of ports mean the same before and after.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use sip_stack::transport::{FlowId, LocalId, Source};

use super::{Core, Retired, listeners};
use crate::call::media_plan::Owned;
use crate::locals::{self, Side};
use crate::routing::{EdgeId, RealmId, Routes};

/// Which connections a new configuration puts out of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The identities with another certificate or less trust than before.
    pub locals: Vec<(LocalId, Retired)>,
    /// The newest connection that was begun under their former settings.
    pub last: FlowId,
}

/// Networks from which new requests are no longer taken, while what began before may still be cancelled, repeated and
/// acknowledged. Bounded: the oldest are forgotten first. Asked for every message of a stranger: as many look-ups as
/// there are lengths of prefixes.
#[derive(Debug, Default)]
pub(super) struct Departed {
    until: HashMap<(LocalId, IpNet), Instant>,
    /// In the order of their end.
    order: VecDeque<(LocalId, IpNet, Instant)>,
    /// How many networks have which length of prefix.
    lengths: BTreeMap<u8, usize>,
}

impl Departed {
    fn note(&mut self, before: &Routes, after: &Routes, now: Instant) {
        let stays: HashSet<(LocalId, IpNet)> = networks(after).collect();
        let gone: BTreeSet<(LocalId, IpNet)> =
            networks(before).filter(|network| !stays.contains(network)).collect();
        for (local, network) in gone {
            if self.order.len() >= MOST_DEPARTED {
                self.forget_oldest();
            }
            let until = now + FAREWELL;
            self.order.push_back((local, network, until));
            if self.until.insert((local, network), until).is_none() {
                *self.lengths.entry(network.prefix_len()).or_default() += 1;
            }
        }
    }

    /// Whether that source was let in a moment ago.
    pub(super) fn holds(&mut self, source: &Source, now: Instant) -> bool {
        while self.order.front().is_some_and(|(.., until)| *until <= now) {
            self.forget_oldest();
        }
        let address = source.remote.ip();
        self.lengths.keys().any(|length| {
            let network = IpNet::new(address, *length).map(|network| network.trunc());
            network.is_ok_and(|network| self.until.contains_key(&(source.local, network)))
        })
    }

    fn forget_oldest(&mut self) {
        let Some((local, network, until)) = self.order.pop_front() else { return };
        // It may have departed again since.
        if self.until.get(&(local, network)) != Some(&until) {
            return;
        }
        self.until.remove(&(local, network));
        if let Some(count) = self.lengths.get_mut(&network.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&network.prefix_len());
            }
        }
    }
}

/// Everything from which requests are taken.
fn networks(routes: &Routes) -> impl Iterator<Item = (LocalId, IpNet)> {
    let config = routes.config();
    let edges = config.edges.iter().enumerate().flat_map(|(index, edge)| {
        edge.networks.iter().map(move |network| (locals::of_edge(EdgeId(index)), network.trunc()))
    });
    let trunks = config.trunks.iter().flat_map(move |trunk| {
        let local = locals::of_realm(config, RealmId(trunk.realm));
        trunk.networks.iter().map(move |network| (local, network.trunc()))
    });
    edges.chain(trunks)
}

impl Core {
    /// Puts a configuration in force. Calls that are up go on under theirs. The former one comes back: dropping it may
    /// take a while, and is not for the thread that owns the core.
    pub fn replace(&mut self, routes: Arc<Routes>, renewal: Renewal, now: Instant) -> Arc<Routes> {
        debug_assert_eq!(listeners(&self.routes), listeners(&routes), "listeners take a restart");
        let config = routes.config();
        self.locator.set_hosts(config.dns.hosts.clone().into_iter().collect());
        self.owned = Owned::new(config);
        self.health.replace(&routes, now, &mut self.random);
        self.departed.note(&self.routes, &routes, now);
        self.admission.reload(&self.routes, now);
        let former = std::mem::replace(&mut self.routes, routes);
        self.renew_registrations(now);
        self.renew_registrar(now);
        for (local, why) in renewal.locals {
            self.retire_up_to(local, renewal.last, why, now);
        }
        // Whoever may not call any more keeps the connection for the calls that are up.
        for (flow, opened) in self.flows.inbound() {
            let address = opened.remote.ip();
            if self.lets_in(opened.local, address) {
                continue;
            }
            if self.registrar.expects(opened.local, address) {
                self.watch_stranger(flow, opened, now);
            } else {
                self.retire(flow, Retired::Replaced, now);
            }
        }
        self.settle(now);
        former
    }

    /// Whether anyone at that address may speak to us. At an edge it has shown a certificate as well, unless we opened
    /// the connection.
    pub(super) fn is_known(&self, source: &Source) -> bool {
        self.lets_in(source.local, source.remote.ip())
            || source.flow.is_some_and(|flow| self.flows.is_ours(flow))
            || self.registrar.trunk_at(source).is_some()
    }

    pub(super) fn lets_in(&self, local: LocalId, address: std::net::IpAddr) -> bool {
        let config = self.routes.config();
        match locals::side(config, local) {
            Side::Edge(edge) => {
                config.edges[edge.0].networks.iter().any(|network| network.contains(&address))
            }
            Side::Realm(realm) => self.routes.knows(realm, address),
        }
    }
}

const MOST_DEPARTED: usize = 1024;
/// A call may ring for two minutes, and an INVITE that was refused is acknowledged within 32 s.
const FAREWELL: Duration = Duration::from_secs(160);

#[cfg(test)]
mod tests {
    use sip_stack::transport::Transport;

    use super::*;
    use crate::routing::tests::config;

    fn source(remote: &str) -> Source {
        Source {
            transport: Transport::Udp,
            local: LocalId(1),
            local_addr: "127.0.0.10:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            flow: None,
        }
    }

    /// A configuration whose first trunk has these networks.
    fn with(networks: &[String]) -> Routes {
        let mut config = config();
        config.trunks[0].networks = networks.iter().map(|n| n.parse().unwrap()).collect();
        Routes::new(Arc::new(config))
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn r05_networks_that_departed_are_known_for_a_while_by_few_questions() {
        let now = Instant::now();
        let mut departed = Departed::default();
        let all: Vec<String> =
            (0..2000).map(|n| format!("10.{}.{}.77/24", n / 200, n % 200)).collect();
        let none = with(&["192.0.2.1/32".to_owned()]);
        departed.note(&with(&all), &none, now);
        assert_eq!((departed.until.len(), departed.order.len()), (MOST_DEPARTED, MOST_DEPARTED));
        assert_eq!(departed.lengths.len(), 1, "one question answers for all of one length");
        assert!(departed.holds(&source("10.9.199.5:5060"), now));
        assert!(!departed.holds(&source("10.0.0.5:5060"), now), "the oldest are forgotten");
        assert!(!departed.holds(&source("10.10.0.5:5060"), now));
        // One of them comes back and departs again.
        let later = now + FAREWELL / 2;
        departed.note(&with(&all[1999..]), &none, later);
        let end = now + FAREWELL;
        assert!(!departed.holds(&source("10.9.198.5:5060"), end));
        assert!(departed.holds(&source("10.9.199.5:5060"), end));
        assert!(!departed.holds(&source("10.9.199.5:5060"), later + FAREWELL));
        assert!(departed.until.is_empty() && departed.lengths.is_empty());
    }
}
