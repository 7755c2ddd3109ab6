//! OPTIONS: an edge shows each of its proxies that it is alive, and learns which of them are.
//!
//! One set of probes per edge, in the name of the edge alone: its health covers every tenant derived from it. The
//! first probes leave at once, later ones each interval plus up to 5 s, never sooner.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Config;
use sip_stack::endpoint::{Failure, Owner, Request};
use sip_stack::locate::{Destination, Family, Located};
use sip_stack::message::{HeaderId, Message};
use sip_stack::transport::{Target, Transport};

use super::{Asker, Core, HEALTH, Output};
use crate::event::Event;
use crate::locals;
use crate::profile::teams;
use crate::random::Random;
use crate::routing::EdgeId;

/// One proxy of one edge: a position in [`Health::proxies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProxyId(usize);

/// What is known of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Up,
    Down,
}

#[derive(Debug)]
struct Proxy {
    edge: EdgeId,
    place: usize,
    name: Arc<str>,
    edge_name: Arc<str>,
    interval: Duration,
    state: State,
    /// Where the last probe went.
    remote: Option<SocketAddr>,
    /// Counts the probes, so that a late answer is not taken for the newest.
    probe: u32,
}

/// All proxies of all edges.
#[derive(Debug)]
pub(super) struct Health {
    proxies: Vec<Proxy>,
    timers: BTreeSet<(Instant, ProxyId)>,
    jitter: Vec<Duration>,
}

impl Health {
    pub(super) fn new(config: &Config, now: Instant, random: &mut Random) -> Self {
        let mut proxies = Vec::new();
        for (index, edge) in config.edges.iter().enumerate() {
            for (place, name) in edge.proxies.iter().enumerate() {
                proxies.push(Proxy {
                    edge: EdgeId(index),
                    place,
                    name: name.as_str().into(),
                    edge_name: edge.name.as_str().into(),
                    interval: edge.options_interval,
                    state: State::Unknown,
                    remote: None,
                    probe: 0,
                });
            }
        }
        let timers = (0..proxies.len()).map(|at| (now, ProxyId(at))).collect();
        let jitter = (0..proxies.len())
            .map(|_| Duration::from_millis(random.number() % MOST_JITTER_MS))
            .collect();
        Self { proxies, timers, jitter }
    }

    /// The next proxy to probe; schedules the probe after that.
    pub(super) fn due(&mut self, now: Instant) -> Option<ProxyId> {
        let (due, id) = self.timers.first().copied().filter(|(due, _)| *due <= now)?;
        self.timers.remove(&(due, id));
        let next = now + self.proxies[id.0].interval + self.jitter[id.0];
        self.timers.insert((next, id));
        Some(id)
    }

    /// No connection could be made to that address, so no OPTIONS left.
    pub(super) fn not_reached(&mut self, remote: SocketAddr, now: Instant) {
        for at in 0..self.proxies.len() {
            if self.proxies[at].remote == Some(remote) {
                self.again_soon(ProxyId(at), now);
            }
        }
    }

    /// Tries again before the interval is over: only where no OPTIONS left the last time.
    fn again_soon(&mut self, id: ProxyId, now: Instant) {
        self.timers.retain(|(_, other)| *other != id);
        self.timers.insert((now + RECONNECT, id));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Whether a proxy was found down.
    pub(super) fn is_down(&self, edge: EdgeId, place: usize) -> bool {
        self.proxies.iter().any(|p| p.edge == edge && p.place == place && p.state == State::Down)
    }

    /// Whether calls can be made: there is no edge, or a proxy that is not known to be down.
    pub(super) fn is_able(&self) -> bool {
        self.proxies.is_empty() || self.proxies.iter().any(|p| p.state != State::Down)
    }
}

impl Core {
    pub(super) fn probe(&mut self, id: ProxyId, now: Instant) {
        let proxy = &mut self.health.proxies[id.0];
        proxy.probe += 1;
        let port = self.routes.config().edges[proxy.edge.0].port;
        let destination = Destination {
            host: proxy.name.to_string(),
            port: Some(port),
            transport: Some(Transport::Tls),
            secure: false,
            family: Family::Any,
        };
        self.locate(Asker::Health(id), destination, now);
    }

    pub(super) fn probe_located(&mut self, id: ProxyId, located: Located, now: Instant) {
        let address = match located {
            Ok(addresses) => addresses.into_iter().next(),
            Err(error) => {
                self.health.again_soon(id, now);
                return self.proxy_is(id, State::Down, &format!("not located: {error}"));
            }
        };
        let Some(address) = address else { return };
        let proxy = &mut self.health.proxies[id.0];
        proxy.remote = Some(address.addr);
        let proxy = &self.health.proxies[id.0];
        let routes = Arc::clone(&self.routes);
        let (call_id, tag) = (self.endpoint.new_call_id(), self.endpoint.new_tag());
        let edge = &routes.config().edges[proxy.edge.0];
        let face = teams::face(routes.config(), proxy.edge, &edge.fqdn);
        let request = Request {
            draft: teams::options(routes.config(), proxy.edge, &proxy.name, call_id, &tag),
            target: Target {
                transport: Transport::Tls,
                local: locals::of_edge(proxy.edge),
                remote: address.addr,
                name: Some(Arc::clone(&proxy.name)),
                flow: None,
            },
            sent_by: face.sent_by(),
            timeout: Some(PATIENCE),
        };
        let owner = Owner(HEALTH | id.0 as u64);
        self.endpoint.request(owner, proxy.probe, request, now);
    }

    pub(super) fn proxy_answered(
        &mut self,
        owner: Owner,
        token: u32,
        message: &Message,
        _now: Instant,
    ) {
        let Some(id) = self.proxy_of(owner, token) else { return };
        match message.status() {
            100..200 => {}
            200..300 => self.proxy_is(id, State::Up, "OPTIONS answered"),
            status => {
                let reason = message.value(HeaderId::Reason).unwrap_or_default();
                let words = format!("{status}: {}", String::from_utf8_lossy(reason));
                self.proxy_is(id, State::Down, &words);
            }
        }
    }

    pub(super) fn proxy_silent(&mut self, owner: Owner, token: u32, why: Failure) {
        let Some(id) = self.proxy_of(owner, token) else { return };
        match why {
            Failure::Timeout => self.proxy_is(id, State::Down, "OPTIONS not answered"),
            Failure::Transport => self.proxy_is(id, State::Down, "no connection"),
        }
    }

    fn proxy_of(&self, owner: Owner, token: u32) -> Option<ProxyId> {
        let at = usize::try_from(owner.0 & !HEALTH).ok()?;
        let proxy = self.health.proxies.get(at)?;
        (proxy.probe == token).then_some(ProxyId(at))
    }

    fn proxy_is(&mut self, id: ProxyId, state: State, why: &str) {
        let proxy = &mut self.health.proxies[id.0];
        if proxy.state == state {
            return;
        }
        proxy.state = state;
        let up = state == State::Up;
        if up {
            tracing::info!(edge = %proxy.edge_name, proxy = %proxy.name, "proxy is up");
        } else {
            tracing::warn!(edge = %proxy.edge_name, proxy = %proxy.name, why, "proxy is down");
        }
        let (edge, proxy) = (Arc::clone(&proxy.edge_name), Arc::clone(&proxy.name));
        self.outputs.push_back(Output::Event(Event::Proxy { edge, proxy, up }));
    }
}

/// A probe that is not answered by then has failed; well before the next one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to reach a proxy that cannot be reached.
const RECONNECT: Duration = Duration::from_secs(10);
/// Not all gateways of an operator ask at the same moment.
const MOST_JITTER_MS: u64 = 5000;
