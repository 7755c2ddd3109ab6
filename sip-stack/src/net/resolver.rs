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
