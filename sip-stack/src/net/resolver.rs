//! The driver of name queries: one record type of one name at a time, as [`crate::locate`] asks for
//! it, put to the system's name servers or to configured ones.
//!
//! Nothing is remembered here: the cache is the locator's. CNAMEs are followed; names are taken as
//! they stand, without search domains. Where the system's servers are used, its hosts file is, too,
//! as it was at the start. `localhost` and `invalid` are answered without a query (RFC 6761).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::locate::{Answer, Kind, Record};

/// Asks name servers. Its queries run on the runtime that [`Self::resolve`] is awaited on.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
}

impl Resolver {
    /// A resolver that asks `servers`; where there are none, those of `/etc/resolv.conf`, and without
    /// that file the one on this machine (resolv.conf(5)).
    pub fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        let (config, mut options) = match servers {
            [] => system()?,
            [..] => (of(servers), ResolverOpts::default()),
        };
        options.use_hosts_file =
            if servers.is_empty() { ResolveHosts::Always } else { ResolveHosts::Never };
        options.cache_size = 0;
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.max_active_requests = ACTIVE;
        let provider = TokioRuntimeProvider::default();
        let inner = TokioResolver::builder_with_config(config, provider)
            .with_options(options)
            .build()
            .map_err(|error| io::Error::other(format!("name resolution: {error}")))?;
        Ok(Self { inner })
    }

    /// Asks for the records of one kind. Ends within a few seconds; may be dropped at any time.
    pub async fn resolve(&self, name: &str, kind: Kind) -> Answer {
        let Ok(mut name) = Name::from_ascii(name) else {
            return Answer::Nothing { ttl: Duration::ZERO };
        };
        name.set_fqdn(true);
        let kind = match kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        match self.inner.lookup(name, kind).await {
            Ok(lookup) => found(&lookup, kind),
            Err(error) => failed(&error),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn system() -> io::Result<(ResolverConfig, ResolverOpts)> {
    let (config, options) = match read_system_conf() {
        Ok(read) => read,
        Err(NetError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Default::default(),
        Err(error) => {
            let text = format!("/etc/resolv.conf: {error}; mend it or name servers under [dns]");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    };
    if !config.name_servers.is_empty() {
        return Ok((config, options));
    }
    Ok((of(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]), options))
}

fn of(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = server.port();
            connection
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    ResolverConfig::from_name_servers(servers.collect())
}

/// The records of that kind. The TTL is the shortest on the way to them, CNAMEs included.
fn found(lookup: &Lookup, kind: RecordType) -> Answer {
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    let ttl = Duration::from_secs(ttl.into());
    let wanted = lookup.answers().iter().filter(|record| record.record_type() == kind);
    let records: Vec<_> = wanted.filter_map(|record| read(&record.data)).collect();
    if records.is_empty() { Answer::Nothing { ttl } } else { Answer::Found { records, ttl } }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "record types that were not asked for")]
fn read(data: &RData) -> Option<Record> {
    Some(match data {
        RData::A(address) => Record::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => Record::Address(IpAddr::V6(address.0)),
        RData::SRV(srv) => Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
        },
        RData::NAPTR(naptr) => Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: naptr.replacement.to_ascii(),
        },
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// "There is none" is an answer; everything else is a failure.
fn failed(error: &NetError) -> Answer {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error
        && matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
    {
        let ttl = none.negative_ttl.unwrap_or(0);
        return Answer::Nothing { ttl: Duration::from_secs(ttl.into()) };
    }
    tracing::debug!(%error, "name query failed");
    Answer::Failed
}

/// How long one server is waited for. Two of these fit into the two seconds of a look-up.
const TIMEOUT: Duration = Duration::from_millis(800);
/// How often a silent set of servers is asked.
const ATTEMPTS: usize = 3;
/// Queries under way to one server, above which further ones fail.
const ACTIVE: usize = 1_000;
#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use hickory_resolver::proto::op::{Message, OpCode, Query};
    use hickory_resolver::proto::rr::Record as Raw;
    use hickory_resolver::proto::rr::rdata::{CNAME, NAPTR, SOA, SRV};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};
    use tokio::time::timeout;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// The reply of a small zone to a query; `None`: silence.
    fn reply(query: &Message, datagram: bool) -> Option<Message> {
        let asked: Query = query.queries[0].clone();
        let mut reply = Message::response(query.id, OpCode::Query);
        reply.metadata.recursion_available = true;
        reply.add_query(asked.clone());
        let mut add = |owner: &str, ttl: u32, data: RData| {
            reply.add_answer(Raw::from_rdata(name(owner), ttl, data));
        };
        let address = |last: u8| RData::A(Ipv4Addr::new(192, 0, 2, last).into());
        match (asked.name().to_ascii().as_str(), asked.query_type()) {
            ("a.test.", RecordType::A) => {
                add("a.test.", 300, address(1));
                add("a.test.", 60, address(2));
            }
            ("a.test.", RecordType::AAAA) => {
                let v6: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
                add("a.test.", 60, RData::AAAA(v6.into()));
            }
            ("alias.test.", RecordType::A) => {
                add("alias.test.", 30, RData::CNAME(CNAME(name("b.test."))));
                add("b.test.", 300, address(3));
            }
            ("_sip._udp.test.", RecordType::SRV) => {
                let srv = SRV::new(1, 2, 5070, name("a.test."));
                add("_sip._udp.test.", 60, RData::SRV(srv));
                let none = SRV::new(3, 0, 0, Name::root());
                add("_sip._udp.test.", 60, RData::SRV(none));
            }
            ("test.", RecordType::NAPTR) => {
                let naptr = NAPTR::new(
                    10,
                    20,
                    Box::from(*b"s"),
                    Box::from(*b"SIP+D2U"),
                    Box::default(),
                    name("_sip._udp.test."),
                );
                add("test.", 60, RData::NAPTR(naptr));
            }
            ("long.test.", RecordType::A) if datagram => reply.metadata.truncation = true,
            ("long.test.", RecordType::A) => {
                (1..=100).for_each(|i| add("long.test.", 60, address(i)))
            }
            ("broken.test.", _) => reply.metadata.response_code = ResponseCode::ServFail,
            ("refused.test.", _) => reply.metadata.response_code = ResponseCode::Refused,
            ("silent.test.", _) => return None,
            (other, _) => {
                if other != "empty.test." && other != "a.test." {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                let soa = SOA::new(name("ns.test."), name("h.test."), 1, 2, 3, 4, 45);
                reply.add_authority(Raw::from_rdata(name("test."), 600, RData::SOA(soa)));
            }
        }
        Some(reply)
    }

    /// A name server on one port, for datagrams and streams.
    struct Zone {
        address: SocketAddr,
        queries: Arc<AtomicUsize>,
        resolver: Resolver,
    }

    impl Zone {
        async fn serve() -> Self {
            let (datagrams, streams) = loop {
                let streams = TcpListener::bind("127.0.0.1:0").await.unwrap();
                if let Ok(datagrams) = UdpSocket::bind(streams.local_addr().unwrap()).await {
                    break (datagrams, streams);
                }
            };
            let address = streams.local_addr().unwrap();
            let queries = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&queries);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                loop {
                    let (length, from) = datagrams.recv_from(&mut buffer).await.unwrap();
                    counted.fetch_add(1, Relaxed);
                    let query = Message::from_vec(&buffer[..length]).unwrap();
                    if let Some(reply) = reply(&query, true) {
                        datagrams.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                    }
                }
            });
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = streams.accept().await.unwrap();
                    let length = usize::from(stream.read_u16().await.unwrap());
                    let mut buffer = vec![0; length];
                    stream.read_exact(&mut buffer).await.unwrap();
                    let reply = reply(&Message::from_vec(&buffer).unwrap(), false).unwrap();
                    let bytes = reply.to_vec().unwrap();
                    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                }
            });
            Self { address, queries, resolver: Resolver::new(&[address]).unwrap() }
        }

        async fn ask(&self, name: &str, kind: Kind) -> Answer {
            timeout(seconds(9), self.resolver.resolve(name, kind)).await.unwrap()
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn address(text: &str) -> Record {
        Record::Address(text.parse().unwrap())
    }

    #[tokio::test]
    async fn every_kind_is_read_with_the_shortest_ttl() {
        let zone = Zone::serve().await;
        let found = |records, ttl| Answer::Found { records, ttl: seconds(ttl) };
        assert_eq!(
            zone.ask("a.test", Kind::A).await,
            found(vec![address("192.0.2.1"), address("192.0.2.2")], 60)
        );
        assert_eq!(zone.ask("a.test", Kind::Aaaa).await, found(vec![address("2001:db8::1")], 60));
        let srv = |priority, weight, port, target: &str| Record::Srv {
            priority,
            weight,
            port,
            target: target.into(),
        };
        assert_eq!(
            zone.ask("_sip._udp.test", Kind::Srv).await,
            found(vec![srv(1, 2, 5070, "a.test."), srv(3, 0, 0, ".")], 60)
        );
        let naptr = Record::Naptr {
            order: 10,
            preference: 20,
            flags: "s".into(),
            service: "SIP+D2U".into(),
            replacement: "_sip._udp.test.".into(),
        };
        assert_eq!(zone.ask("test", Kind::Naptr).await, found(vec![naptr], 60));
    }

    #[tokio::test]
    async fn an_alias_is_followed_and_its_ttl_counts() {
        let zone = Zone::serve().await;
        let expected = Answer::Found { records: vec![address("192.0.2.3")], ttl: seconds(30) };
        assert_eq!(zone.ask("alias.test", Kind::A).await, expected);
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_from_what_failed() {
        let zone = Zone::serve().await;
        let nothing = Answer::Nothing { ttl: seconds(45) };
        assert_eq!(zone.ask("absent.test", Kind::A).await, nothing);
        assert_eq!(zone.ask("empty.test", Kind::A).await, nothing);
        assert_eq!(zone.ask("a.test", Kind::Srv).await, nothing);
        assert_eq!(zone.ask("broken.test", Kind::A).await, Answer::Failed);
        assert_eq!(zone.ask("refused.test", Kind::A).await, Answer::Failed);
        let zero = Answer::Nothing { ttl: Duration::ZERO };
        assert_eq!(zone.ask("a..test", Kind::A).await, zero);
        let long = "x".repeat(64);
        assert_eq!(zone.ask(&long, Kind::A).await, zero);
    }

    #[tokio::test]
    async fn nothing_is_remembered() {
        let zone = Zone::serve().await;
        for asked in 1..=3 {
            zone.ask("a.test", Kind::A).await;
            assert_eq!(zone.queries.load(Relaxed), asked);
        }
    }

    #[tokio::test]
    async fn a_truncated_answer_is_fetched_by_tcp() {
        let zone = Zone::serve().await;
        let Answer::Found { records, .. } = zone.ask("long.test", Kind::A).await else {
            panic!("no records");
        };
        assert_eq!(records.len(), 100);
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up() {
        let zone = Zone::serve().await;
        assert_eq!(zone.ask("silent.test", Kind::A).await, Answer::Failed);
    }

    #[tokio::test]
    async fn another_server_serves_when_one_is_dead() {
        let zone = Zone::serve().await;
        let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = Resolver::new(&[dead.local_addr().unwrap(), zone.address]).unwrap();
        for _ in 0..3 {
            let answer = timeout(seconds(3), resolver.resolve("a.test", Kind::A)).await.unwrap();
            assert!(matches!(answer, Answer::Found { .. }), "{answer:?}");
        }
    }

    #[test]
    fn the_system_has_servers() {
        assert!(Resolver::new(&[]).is_ok());
        assert!(!system().unwrap().0.name_servers.is_empty());
    }
}
