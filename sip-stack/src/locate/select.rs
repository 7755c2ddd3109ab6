//! The rules of RFC 3263 §4 and RFC 2782: from a destination and what is known to addresses, or to
//! what must still be asked.
//!
//! Begun anew with each answer, so that there is no state between: a look-up is a handful of steps.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::cache::{Age, Cache, Key, Known};
use super::{Address, Destination, Family, Kind, LocateError, Located, Record};
use crate::random::Random;
use crate::transport::Transport;

/// How far a look-up has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Located(Located),
    /// Nothing can be said before these are answered.
    Missing(Vec<Key>),
}

/// Which addresses an answer may hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    own: Vec<SocketAddr>,
    loopback: bool,
}

impl Allowed {
    pub(super) fn new(own: Vec<SocketAddr>) -> Self {
        let loopback = own.iter().any(|listener| listener.ip().is_loopback());
        Self { own, loopback }
    }

    /// A hostile zone must not make us talk to ourselves or to what is local to this machine.
    pub(super) fn permits(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let special = match ip {
            IpAddr::V4(ip) => {
                ip.is_unspecified()
                    || ip.is_broadcast()
                    || ip.is_multicast()
                    || ip.is_link_local()
                    || ip.octets()[0] == 0
            }
            IpAddr::V6(ip) => {
                ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()
            }
        };
        !special && (self.loopback || !ip.is_loopback()) && !self.own.contains(&address)
    }
}

/// What is known, for one look-up at one time.
pub(super) struct Records<'a> {
    pub(super) cache: &'a mut Cache,
    /// When the query in progress for a key was sent.
    pub(super) flights: &'a dyn Fn(&Key) -> Option<Instant>,
    pub(super) as_of: Instant,
    pub(super) now: Instant,
    /// Answers beyond their TTL will do.
    pub(super) impatient: bool,
    /// What is missing now has failed.
    pub(super) finally: bool,
    /// An answer beyond its TTL was used.
    pub(super) stale: bool,
    pub(super) missing: Vec<Key>,
}

impl Records<'_> {
    /// `None`: it must be asked.
    fn get(&mut self, name: &Arc<str>, kind: Kind) -> Option<Known> {
        let key = Key { name: name.clone(), kind };
        let known = match self.cache.get(&key, self.as_of, self.now) {
            Some((known, Age::Fresh)) => return Some(known),
            Some((known, Age::Failing)) => Some(known),
            Some((known, Age::Stale)) if self.impatient || self.is_slow(&key) => Some(known),
            Some((_, Age::Stale)) | None => None,
        };
        if known.is_some() {
            self.stale = true;
            return known;
        }
        if self.finally {
            return Some(Known::Failed);
        }
        if !self.missing.contains(&key) {
            self.missing.push(key);
        }
        None
    }

    /// What is missing has been asked for longer than anybody would wait.
    fn is_late(&self) -> bool {
        self.impatient || self.missing.iter().all(|key| self.is_slow(key))
    }

    /// The query has been out longer than anybody would wait.
    fn is_slow(&self, key: &Key) -> bool {
        (self.flights)(key).is_some_and(|started| self.now >= started + super::PATIENCE)
    }
}

/// What one step gives: a value, or nothing before more is known.
type Step<T> = Option<T>;

pub(super) fn select(
    destination: &Destination,
    hosts: &HashMap<String, Vec<IpAddr>>,
    allowed: &Allowed,
    records: &mut Records<'_>,
    random: &mut Random,
) -> Selection {
    let host = destination.host.trim_end_matches('.').to_ascii_lowercase();
    let name: Arc<str> = host.as_str().into();
    let fixed = literal(&host).map_or_else(|| hosts.get(&host).cloned(), |ip| Some(vec![ip]));
    if let Some(ips) = fixed {
        let transport = forced(destination).unwrap_or_else(|| fallback(destination));
        let port = destination.port.unwrap_or_else(|| transport.default_port());
        let ips = ips.into_iter().filter(|ip| is_of(destination.family, *ip));
        let found: Vec<Address> = ips
            .take(ADDRESSES)
            .map(|ip| Address { transport, addr: SocketAddr::new(ip, port), name: name.clone() })
            .collect();
        return Selection::Located(nonempty(found, LocateError::NotFound));
    }
    if !is_name(&host) {
        return Selection::Located(Err(LocateError::Name));
    }
    let mut search = Search { destination, allowed, records, random, name };
    match search.run() {
        Some(located) => Selection::Located(located),
        None => Selection::Missing(std::mem::take(&mut search.records.missing)),
    }
}

struct Search<'a, 'b> {
    destination: &'a Destination,
    allowed: &'a Allowed,
    records: &'a mut Records<'b>,
    random: &'a mut Random,
    name: Arc<str>,
}

/// One server of an SRV set, or the host itself.
struct Server {
    transport: Transport,
    target: Arc<str>,
    port: u16,
}

/// The SRV records under one name.
enum Service {
    Servers(Vec<Server>),
    NotOffered,
    None,
}

impl Search<'_, '_> {
    fn run(&mut self) -> Step<Located> {
        if let Some(port) = self.destination.port {
            let transport = forced(self.destination).unwrap_or_else(|| fallback(self.destination));
            return self.host(transport, port);
        }
        if let Some(transport) = forced(self.destination) {
            return match self.service(&service_name(&self.name, transport), transport)? {
                Service::Servers(servers) => self.addresses(&servers),
                Service::NotOffered => Some(Err(LocateError::NotOffered)),
                Service::None => self.host(transport, transport.default_port()),
            };
        }
        match self.records.get(&self.name.clone(), Kind::Naptr)? {
            Known::Found(found) => {
                let services = naptr_services(&found, self.destination.secure);
                if services.is_empty() { self.services() } else { self.named(&services) }
            }
            Known::Nothing | Known::Failed => self.services(),
        }
    }

    /// §4.1: the services that the NAPTR records name, the first that leads anywhere.
    fn named(&mut self, services: &[(Transport, Arc<str>)]) -> Step<Located> {
        let mut last = Err(LocateError::NotFound);
        for (transport, name) in services {
            last = match self.service(name, *transport)? {
                Service::Servers(servers) => self.addresses(&servers)?,
                Service::NotOffered => Err(LocateError::NotOffered),
                Service::None => continue,
            };
            if last.is_ok() {
                break;
            }
        }
        Some(last)
    }

    /// §4.1, without NAPTR: SRV for each transport, all asked at once.
    fn services(&mut self) -> Step<Located> {
        let transports: &[Transport] = if self.destination.secure {
            &[Transport::Tls]
        } else {
            &[Transport::Udp, Transport::Tcp, Transport::Tls]
        };
        let mut found = Vec::new();
        for transport in transports {
            found.push(self.service(&service_name(&self.name, *transport), *transport));
        }
        let mut refused = false;
        for service in found {
            match service? {
                Service::Servers(servers) => return self.addresses(&servers),
                Service::NotOffered => refused = true,
                Service::None => {}
            }
        }
        if refused {
            return Some(Err(LocateError::NotOffered));
        }
        let transport = fallback(self.destination);
        self.host(transport, transport.default_port())
    }

    fn service(&mut self, name: &Arc<str>, transport: Transport) -> Step<Service> {
        let found = match self.records.get(name, Kind::Srv)? {
            Known::Found(found) => found,
            Known::Nothing | Known::Failed => return Some(Service::None),
        };
        let ordered = srv_order(&found, self.random);
        let servers: Vec<Server> = ordered
            .iter()
            .filter(|(target, _)| is_name(target) || literal(target).is_some())
            .map(|(target, port)| Server { transport, target: target.as_str().into(), port: *port })
            .collect();
        Some(match (servers.is_empty(), ordered.is_empty()) {
            (false, _) => Service::Servers(servers),
            (true, false) => Service::NotOffered,
            (true, true) => Service::None,
        })
    }

    fn host(&mut self, transport: Transport, port: u16) -> Step<Located> {
        let target = self.name.clone();
        self.addresses(&[Server { transport, target, port }])
    }

    /// The addresses of all servers, in order.
    fn addresses(&mut self, servers: &[Server]) -> Step<Located> {
        let mut found = Vec::new();
        let mut error = LocateError::NotFound;
        let mut complete = true;
        for server in servers {
            for kind in kinds(self.destination.family) {
                let Some(known) = self.known_addresses(&server.target, *kind) else {
                    complete = false;
                    continue;
                };
                match known {
                    Known::Found(records) => {
                        for ip in records.iter().filter_map(|record| address(record, *kind)) {
                            let addr = SocketAddr::new(ip, server.port);
                            if self.allowed.permits(addr) {
                                let (transport, name) = (server.transport, self.name.clone());
                                found.push(Address { transport, addr, name });
                            } else {
                                error = LocateError::Forbidden;
                            }
                        }
                    }
                    Known::Nothing => {}
                    Known::Failed if error == LocateError::NotFound => {
                        error = LocateError::Failed;
                    }
                    Known::Failed => {}
                }
            }
        }
        // One family will do when the other has been asked for long enough.
        if !complete && (found.is_empty() || !self.records.is_late()) {
            return None;
        }
        found.truncate(ADDRESSES);
        Some(nonempty(found, error))
    }

    fn known_addresses(&mut self, target: &Arc<str>, kind: Kind) -> Step<Known> {
        match literal(target) {
            Some(ip) => Some(Known::Found([Record::Address(ip)].into())),
            None => self.records.get(target, kind),
        }
    }
}

fn nonempty(found: Vec<Address>, error: LocateError) -> Located {
    if found.is_empty() { Err(error) } else { Ok(found) }
}

/// The transport that the destination demands.
fn forced(destination: &Destination) -> Option<Transport> {
    if destination.secure {
        return destination.transport.map(|_| Transport::Tls);
    }
    destination.transport
}

/// §4.1: the transport where nothing says otherwise.
const fn fallback(destination: &Destination) -> Transport {
    if destination.secure { Transport::Tls } else { Transport::Udp }
}

fn service_name(name: &str, transport: Transport) -> Arc<str> {
    match transport {
        Transport::Udp => format!("_sip._udp.{name}").into(),
        Transport::Tcp => format!("_sip._tcp.{name}").into(),
        Transport::Tls => format!("_sips._tcp.{name}").into(),
    }
}

const fn kinds(family: Family) -> &'static [Kind] {
    match family {
        Family::Any => &[Kind::A, Kind::Aaaa],
        Family::V4 => &[Kind::A],
        Family::V6 => &[Kind::Aaaa],
    }
}

const fn is_of(family: Family, ip: IpAddr) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => ip.is_ipv4(),
        Family::V6 => ip.is_ipv6(),
    }
}

fn address(record: &Record, kind: Kind) -> Option<IpAddr> {
    match (record, kind) {
        (Record::Address(ip), Kind::A) if ip.is_ipv4() => Some(*ip),
        (Record::Address(ip), Kind::Aaaa) if ip.is_ipv6() => Some(*ip),
        (Record::Address(_) | Record::Naptr { .. } | Record::Srv { .. }, _) => None,
    }
}

/// An address as text, with or without brackets.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// RFC 1035 §2.3.4 and the letters of RFC 1123 §2.1, with `_` for service names.
fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        })
}

/// The services that we speak, in the order of the records (RFC 3263 §4.1, RFC 3403 §4.1).
fn naptr_services(records: &[Record], secure: bool) -> Vec<(Transport, Arc<str>)> {
    let mut services: Vec<(u16, u16, Transport, String)> = records
        .iter()
        .filter_map(|record| match record {
            Record::Naptr { order, preference, flags, service, replacement }
                if flags.eq_ignore_ascii_case("s") =>
            {
                let transport = match service.to_ascii_uppercase().as_str() {
                    "SIPS+D2T" => Transport::Tls,
                    "SIP+D2T" if !secure => Transport::Tcp,
                    "SIP+D2U" if !secure => Transport::Udp,
                    _ => return None,
                };
                let name = replacement.trim_end_matches('.').to_ascii_lowercase();
                is_name(&name).then_some((*order, *preference, transport, name))
            }
            Record::Naptr { .. } | Record::Srv { .. } | Record::Address(_) => None,
        })
        .collect();
    services.sort();
    services.truncate(SERVICES);
    services.into_iter().map(|(_, _, transport, name)| (transport, name.into())).collect()
}

/// RFC 2782: by priority, and among equal ones by lot according to weight. A target of "." is kept
/// as an empty name.
fn srv_order(records: &[Record], random: &mut Random) -> Vec<(String, u16)> {
    let mut left: Vec<(u16, u16, u16, String)> = records
        .iter()
        .filter_map(|record| match record {
            Record::Srv { priority, weight, port, target } => {
                let target = target.trim_end_matches('.').to_ascii_lowercase();
                Some((*priority, *weight, *port, target))
            }
            Record::Naptr { .. } | Record::Address(_) => None,
        })
        .collect();
    // Records of weight 0 stand first among equals, so that they have a small chance.
    left.sort();
    left.truncate(SERVERS);
    let mut ordered = Vec::with_capacity(left.len());
    while let Some((priority, ..)) = left.first() {
        let equals = left.iter().take_while(|(other, ..)| other == priority);
        let weights: Vec<u64> = equals.map(|(_, weight, ..)| u64::from(*weight)).collect();
        let total: u64 = weights.iter().sum();
        let lot = u64::from_le_bytes(random.bytes()) % (total + 1);
        let mut sum = 0;
        let at = weights.iter().position(|weight| {
            sum += weight;
            sum >= lot
        });
        let (_, _, port, target) = left.remove(at.unwrap_or(0));
        ordered.push((target, port));
    }
    ordered
}

/// Addresses in one result.
const ADDRESSES: usize = 32;
/// Servers of one SRV set that are tried.
const SERVERS: usize = 16;
/// NAPTR services that are tried.
const SERVICES: usize = 8;
