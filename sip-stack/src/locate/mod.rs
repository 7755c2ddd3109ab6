//! Location of servers (RFC 3263, RFC 2782): from the host of a URI to an ordered list of
//! addresses, over NAPTR, SRV, A and AAAA.
//!
//! [`Locator`] is a pure core: it asks for records through [`Output::Query`], the answers enter as
//! input, and the cache and its TTLs are its own.
//!
//! ```text
//! destination                  | asked
//! -----------------------------+--------------------------------------------------------
//! address                      | nothing; default transport and port where not given
//! name in the hosts overrides  | nothing; likewise
//! name and port                | A, AAAA
//! name and transport           | SRV of that transport; A, AAAA when there is none
//! name                         | NAPTR; its SRV; without NAPTR the SRV of UDP, TCP, TLS in
//!                              | that order; A, AAAA when there is none of these
//! ```
//!
//! A secure destination (sips) takes TLS only, whatever the records offer. A service whose only SRV
//! target is "." is not offered, and nothing else is asked then. The addresses of an answer are
//! checked: none that names no single host, none that is link-local or, unless we listen there
//! ourselves, loopback, and no listener of ours.
//!
//! Answers are kept for their TTL, at most 15 minutes, and fetched anew shortly before it passes
//! while they are in use. When they cannot be fetched, a passed one serves for another day, also one
//! that says "there is none": a resolver that is silent must not delay who needs no such record.
//! Each look-up ends within two seconds, and after half a second if it has addresses of one family.
//!
//! Departures from the RFCs: a NAPTR service that leads to no address gives way to the next one; a
//! failure of NAPTR or SRV counts as "there is none", since some servers know no other types than
//! addresses; which address answers and which does not is the owner's to see
//! ([`Locator::demote`]).

mod cache;
#[cfg(test)]
mod rig;
mod select;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::cache::{Cache, Key};
use self::select::{Allowed, Selection};
use crate::random::Random;
use crate::transport::Transport;

/// One look-up, named by who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LookupId(pub u64);

/// One query, named by the locator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(pub u64);

/// What to locate: the host part of a URI and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// A name, or an address with or without brackets.
    pub host: String,
    /// The port, if the URI has one.
    pub port: Option<u16>,
    /// The transport, if the URI or the configuration names one.
    pub transport: Option<Transport>,
    /// A sips URI: TLS only.
    pub secure: bool,
    /// The families that the sending side can use.
    pub family: Family,
}

/// Families of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 first, then IPv6.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// One place to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The transport to use.
    pub transport: Transport,
    /// The address.
    pub addr: SocketAddr,
    /// The name that was asked for, which the peer's certificate must show (RFC 5922 §7.3): the
    /// host of the destination, not an SRV target.
    pub name: Arc<str>,
}

/// The addresses in the order of trial, at least one and at most 32; or why there are none.
pub type Located = Result<Vec<Address>, LocateError>;

/// Why a destination has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// The host is neither an address nor a name that can be asked for.
    #[error("not a host name")]
    Name,
    /// The name does not exist or has no address of a usable family.
    #[error("no address")]
    NotFound,
    /// The name says that it offers no such service (RFC 2782: target ".").
    #[error("service not offered")]
    NotOffered,
    /// It has addresses, but none that may be sent to.
    #[error("no permitted address")]
    Forbidden,
    /// The resolver failed or was silent.
    #[error("name resolution failed")]
    Failed,
    /// Too many look-ups are in progress.
    #[error("too many look-ups")]
    Busy,
}

/// What kind of record is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// One record of an answer; of another kind than was asked for, it is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// RFC 3403 §4.1, less the regular expression, which SIP does not use.
    Naptr {
        /// Lower first.
        order: u16,
        /// Among equal order, lower first.
        preference: u16,
        /// `s` for a name with SRV records.
        flags: String,
        /// `SIP+D2U`, for example.
        service: String,
        /// The next name.
        replacement: String,
    },
    /// RFC 2782.
    Srv {
        /// Lower first.
        priority: u16,
        /// Among equal priority, the share of the first tries.
        weight: u16,
        /// The port.
        port: u16,
        /// The host name; "." or empty: not offered.
        target: String,
    },
    /// An address.
    Address(IpAddr),
}

/// What a resolver answered; a chain of CNAMEs is followed by the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There are records.
    Found {
        /// All of them.
        records: Vec<Record>,
        /// The shortest of their TTLs.
        ttl: Duration,
    },
    /// The name does not exist, or has no record of that kind.
    Nothing {
        /// The negative TTL (RFC 2308), zero when there is none.
        ttl: Duration,
    },
    /// SERVFAIL, REFUSED, a loop, a time-out.
    Failed,
}

/// What the locator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask a resolver.
    Query {
        /// For the answer.
        id: QueryId,
        /// The name, without a dot at its end, in lower case.
        name: Arc<str>,
        /// The kind of record.
        kind: Kind,
    },
    /// A look-up came to its end.
    Located {
        /// Which.
        id: LookupId,
        /// What came of it.
        result: Located,
    },
}

/// What was counted since birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Look-ups begun.
    pub lookups: u64,
    /// Look-ups answered at once.
    pub immediate: u64,
    /// Look-ups that used an answer beyond its TTL.
    pub stale: u64,
    /// Look-ups that failed, for whatever reason.
    pub errors: u64,
    /// Queries sent.
    pub queries: u64,
    /// Queries that failed or were not answered in time.
    pub failures: u64,
}

/// Locates servers, with a cache.
pub struct Locator {
    hosts: HashMap<String, Vec<IpAddr>>,
    allowed: Allowed,
    demoted: HashMap<SocketAddr, Instant>,
    cache: Cache,
    lookups: HashMap<LookupId, Lookup>,
    flights: HashMap<Key, Flight>,
    queries: HashMap<QueryId, Key>,
    timers: BTreeSet<(Instant, Timer)>,
    outputs: VecDeque<Output>,
    random: Random,
    counters: Counters,
    next_query: u64,
}

/// A look-up in progress.
struct Lookup {
    destination: Destination,
    started: Instant,
    /// What it waits for.
    waits: Vec<Key>,
    /// When it stops being patient, then when it ends.
    timer: Instant,
}

/// A query in progress.
struct Flight {
    started: Instant,
    waiters: BTreeSet<LookupId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Lookup(LookupId),
    Query(QueryId),
}

impl Locator {
    /// A locator with an empty cache. `hosts` are names with fixed addresses.
    pub fn new(hosts: HashMap<String, Vec<IpAddr>>, seed: [u8; 32]) -> Self {
        let mut locator = Self {
            hosts: HashMap::new(),
            allowed: Allowed::default(),
            demoted: HashMap::new(),
            cache: Cache::default(),
            lookups: HashMap::new(),
            flights: HashMap::new(),
            queries: HashMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            random: Random::new(seed),
            counters: Counters::default(),
            next_query: 0,
        };
        locator.set_hosts(hosts);
        locator
    }

    /// Replaces the names with fixed addresses.
    pub fn set_hosts(&mut self, hosts: HashMap<String, Vec<IpAddr>>) {
        self.hosts = hosts
            .into_iter()
            .map(|(name, addresses)| (name.trim_end_matches('.').to_ascii_lowercase(), addresses))
            .collect();
    }

    /// Our own listeners, to which no name may lead. A loopback address among them permits
    /// loopback addresses in answers.
    pub fn set_own(&mut self, listeners: Vec<SocketAddr>) {
        self.allowed = Allowed::new(listeners);
    }

    /// Puts an address that did not work behind all others, until then.
    pub fn demote(&mut self, address: SocketAddr, until: Instant, now: Instant) {
        self.demoted.retain(|_, until| *until > now);
        if self.demoted.len() < DEMOTED {
            self.demoted.insert(address, until);
        }
    }

    /// Whether an address may be sent to that a peer has chosen: what answers are checked for, for
    /// the addresses that stand in a peer's URIs.
    pub fn permits(&self, address: SocketAddr) -> bool {
        self.allowed.permits(address)
    }

    /// What was counted since birth.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Answers kept, look-ups and queries in progress.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.cache.len(), self.lookups.len(), self.flights.len())
    }

    /// Locates a destination: at once where what is known suffices, else by
    /// [`Output::Located`] with this id, within two seconds.
    pub fn locate(
        &mut self,
        id: LookupId,
        destination: Destination,
        now: Instant,
    ) -> Option<Located> {
        self.counters.lookups += 1;
        let lookup = Lookup { destination, started: now, waits: Vec::new(), timer: now + PATIENCE };
        match self.select(&lookup, now) {
            Selection::Located(result) => {
                self.counters.immediate += 1;
                Some(result)
            }
            Selection::Missing(_) if self.lookups.len() >= LOOKUPS => {
                self.counters.errors += 1;
                Some(Err(LocateError::Busy))
            }
            Selection::Missing(keys) => {
                self.forget(id);
                self.timers.insert((lookup.timer, Timer::Lookup(id)));
                self.lookups.insert(id, lookup);
                self.wait(id, keys, now);
                None
            }
        }
    }

    /// Drops a look-up whose result nobody wants any more.
    pub fn forget(&mut self, id: LookupId) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        self.timers.remove(&(lookup.timer, Timer::Lookup(id)));
        for key in &lookup.waits {
            if let Some(flight) = self.flights.get_mut(key) {
                flight.waiters.remove(&id);
            }
        }
    }

    /// A query was answered.
    pub fn handle_answer(&mut self, query: QueryId, answer: Answer, now: Instant) {
        let Some(key) = self.queries.remove(&query) else { return };
        let Some(flight) = self.flights.remove(&key) else { return };
        self.timers.remove(&(flight.started + QUERY, Timer::Query(query)));
        if matches!(answer, Answer::Failed) {
            self.counters.failures += 1;
        }
        self.cache.insert(&key, answer, now);
        for id in flight.waiters {
            self.advance(id, now);
        }
    }

    /// The next thing that is wanted.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.cache.next_refresh()).min()
    }

    /// Serves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.cache.due_refresh(now) {
            self.fly(&key, now);
        }
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, timer)) = self.timers.pop_first() else { return };
            match timer {
                Timer::Query(query) => self.handle_answer(query, Answer::Failed, now),
                Timer::Lookup(id) => {
                    if let Some(lookup) = self.lookups.get_mut(&id)
                        && lookup.timer < lookup.started + DEADLINE
                    {
                        lookup.timer = lookup.started + DEADLINE;
                        self.timers.insert((lookup.timer, Timer::Lookup(id)));
                    }
                    self.advance(id, now);
                }
            }
        }
    }

    /// Goes on with a look-up after something has changed.
    fn advance(&mut self, id: LookupId, now: Instant) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        match self.select(&lookup, now) {
            Selection::Located(result) => {
                self.timers.remove(&(lookup.timer, Timer::Lookup(id)));
                self.outputs.push_back(Output::Located { id, result });
            }
            Selection::Missing(keys) => {
                self.lookups.insert(id, lookup);
                self.wait(id, keys, now);
            }
        }
    }

    fn select(&mut self, lookup: &Lookup, now: Instant) -> Selection {
        let waited = now.duration_since(lookup.started);
        let mut records = select::Records {
            cache: &mut self.cache,
            flights: &|key: &Key| self.flights.get(key).map(|flight| flight.started),
            as_of: lookup.started,
            now,
            impatient: waited >= PATIENCE,
            finally: waited >= DEADLINE,
            stale: false,
            missing: Vec::new(),
        };
        let mut selection = select::select(
            &lookup.destination,
            &self.hosts,
            &self.allowed,
            &mut records,
            &mut self.random,
        );
        if let Selection::Located(result) = &mut selection {
            self.counters.stale += u64::from(records.stale);
            match result {
                Ok(addresses) => {
                    let demoted = |address: &Address| {
                        self.demoted.get(&address.addr).is_some_and(|until| *until > now)
                    };
                    addresses.sort_by_key(demoted);
                }
                Err(_) => self.counters.errors += 1,
            }
        }
        selection
    }

    fn wait(&mut self, id: LookupId, keys: Vec<Key>, now: Instant) {
        for key in &keys {
            self.fly(key, now);
            if let Some(flight) = self.flights.get_mut(key) {
                flight.waiters.insert(id);
            }
        }
        if let Some(lookup) = self.lookups.get_mut(&id) {
            lookup.waits = keys;
        }
    }

    /// Asks, unless that is asked already.
    fn fly(&mut self, key: &Key, now: Instant) {
        if self.flights.contains_key(key) || self.flights.len() >= FLIGHTS {
            return;
        }
        self.next_query += 1;
        let id = QueryId(self.next_query);
        self.counters.queries += 1;
        self.queries.insert(id, key.clone());
        let flight = Flight { started: now, waiters: BTreeSet::new() };
        self.timers.insert((now + QUERY, Timer::Query(id)));
        self.flights.insert(key.clone(), flight);
        self.outputs.push_back(Output::Query { id, name: key.name.clone(), kind: key.kind });
    }
}

/// How long a look-up waits for a fresh answer before a passed one serves.
const PATIENCE: Duration = Duration::from_millis(500);
/// When a look-up ends at the latest.
const DEADLINE: Duration = Duration::from_millis(1900);
/// When a query without answer is given up; its answer still serves later look-ups until then.
const QUERY: Duration = Duration::from_secs(10);
/// Look-ups in progress, above which new ones are refused.
const LOOKUPS: usize = 10_000;
/// Queries in progress, above which look-ups wait in vain.
const FLIGHTS: usize = 1_000;
/// Addresses remembered as not working, above which no more are.
const DEMOTED: usize = 1_000;
