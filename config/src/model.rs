//! The resolved configuration: what the rest of the gateway works with.
//!
//! Everything here is already checked: names are resolved to indices, relative paths to paths,
//! left-out keys to their defaults. Nothing in it can be invalid any more. Indices (`edge`,
//! `realm`, `media`, `trunk`, `tenant`) are positions in the vectors of the same [`Config`] and
//! mean nothing in another one.

mod access;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub(crate) use self::access::Origin;
pub use self::access::{Login, Register, Secret};
use crate::country::Country;
use crate::emergency::Emergency;
use crate::inventory::States;
use crate::limits::{Barring, Limits};
use crate::numbers::{Number, Numbers};

mod dialect;
mod fax;
mod registrar;
mod reliable;

pub use dialect::*;
pub use fax::T38;
pub use registrar::{Registrar, RequestUser};
pub use reliable::ReliableProvisional;

/// A whole configuration: `gateway.toml` with every file of its tenants' directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node itself.
    pub gateway: Gateway,
    /// What is logged and how.
    pub log: Log,
    /// Our identities towards the cloud; `[teams]`, when present, is the first, named "default".
    pub edges: Vec<Edge>,
    /// Our networks towards carriers; `[carrier]`, when present, is the first, named "carrier".
    pub realms: Vec<Realm>,
    /// Named sets of media addresses; edges and realms refer to them.
    pub media: Vec<MediaPool>,
    /// Media threads, at least 1.
    pub workers: usize,
    /// Where metrics and health are served; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// How names are resolved.
    pub dns: Dns,
    /// SIP peers that are no tenants. Shared ones first, then those of the tenants.
    pub trunks: Vec<Trunk>,
    /// Customers, in the order of their names.
    pub tenants: Vec<Tenant>,
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Unique per node: 1 to 64 letters, digits, `-`, `.`, `_`.
    pub node: String,
    /// Base name, lower case; the default of an edge's name.
    pub fqdn: String,
    /// Directory for what must survive a restart.
    pub state: PathBuf,
    /// How long calls may go on after SIGTERM.
    pub drain: Duration,
    /// How long calls may go on in a process that another has taken over from.
    pub upgrade_drain: Duration,
    /// How long a side of a call that should send may send neither RTP nor RTCP before the call is
    /// ended; `None`: for ever.
    pub media_timeout: Option<Duration>,
    /// Whether files are watched, and a change of one is a reload.
    pub watch: bool,
    /// The URL to which each call for help is told.
    pub emergency_webhook: Option<Secret>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// One line of text or one JSON object per event.
    pub format: LogFormat,
    /// Whether phone numbers and addresses are masked (not so at TRACE).
    pub mask_numbers: bool,
}

/// Levels of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// The daemon cannot do its job.
    Error,
    /// Worth waking someone.
    Warn,
    /// A change an operator cares about.
    Info,
    /// A deviation.
    Debug,
    /// Every message.
    Trace,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One identity of ours towards the cloud: name, TLS listener, certificate, proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// "default" for `[teams]`.
    pub name: String,
    /// Base name, lower case: the carrier trunk. Tenants' names are derived from it.
    pub fqdn: String,
    /// TLS listener; a client certificate is required there.
    pub listen: SocketAddr,
    /// Host names of the cloud's proxies, in order of preference; never empty.
    pub proxies: Vec<String>,
    /// Port of the proxies.
    pub port: u16,
    /// The peer's certificate must carry one of these names; never empty.
    pub certificate_names: Vec<String>,
    /// Whom we trust to have issued it.
    pub roots: Roots,
    /// Source addresses that may connect; never empty.
    pub networks: Vec<IpNet>,
    /// Time between two OPTIONS to one proxy, 60 s to 180 s.
    pub options_interval: Duration,
    /// PEM file: leaf first, then intermediates.
    pub certificate: PathBuf,
    /// The key of `certificate`.
    pub key: Key,
    /// The public address when behind NAT.
    pub advertise: Option<IpAddr>,
    /// DSCP of signalling packets, 0 to 63; `None`: unmarked.
    pub dscp_sip: Option<u8>,
    /// Index in [`Config::media`].
    pub media: usize,
}

/// Trust anchors of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those shipped with the gateway.
    Shipped,
    /// A PEM file with one or more certificates.
    File(PathBuf),
}

/// Where a private key (PEM) comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A file.
    File(PathBuf),
    /// An environment variable that holds the PEM text.
    Env(String),
}

/// One network of ours towards carriers and other peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    /// "carrier" for `[carrier]`.
    pub name: String,
    /// Never empty.
    pub listen: Vec<Listener>,
    /// The public address when behind NAT; always present when a listener has no own address.
    pub advertise: Option<IpAddr>,
    /// DSCP of signalling packets, 0 to 63; `None`: unmarked.
    pub dscp_sip: Option<u8>,
    /// Present when a listener is TLS or a trunk of this realm reaches a peer by TLS.
    pub tls: Option<RealmTls>,
    /// Index in [`Config::media`].
    pub media: usize,
}

/// What a realm presents and trusts on TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmTls {
    /// PEM file: leaf first, then intermediates.
    pub certificate: PathBuf,
    /// The key of `certificate`.
    pub key: Key,
    /// PEM file of the roots by which peers are verified; `None`: the system's trust store.
    pub roots: Option<PathBuf>,
}

/// A socket on which SIP is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Its address; the port is never 0.
    pub address: SocketAddr,
}

/// How SIP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

/// A named set of media addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPool {
    /// As in `[media]`; a realm's own inline pool carries the realm's name.
    pub name: String,
    /// Never empty.
    pub addresses: Vec<MediaAddress>,
}

/// One local address with its UDP ports for RTP and RTCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// Local address, never 0.0.0.0 or ::.
    pub address: IpAddr,
    /// What peers are told instead, when behind NAT.
    pub advertise: Option<IpAddr>,
    /// At least one even port with its odd neighbour, none below 1024.
    pub ports: RangeInclusive<u16>,
    /// DSCP of media packets, 0 to 63; `None`: unmarked.
    pub dscp: Option<u8>,
}

/// `[dns]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Lower-case names with fixed addresses.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Resolvers to ask; empty: the system's.
    pub servers: Vec<SocketAddr>,
}

/// A SIP peer that is no tenant: a carrier, a contact centre, a PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Unique among all trunks, also those of tenants.
    pub name: String,
    /// Index in [`Config::realms`].
    pub realm: usize,
    /// The tenant whose file defines it and to which alone it belongs; index in
    /// [`Config::tenants`].
    pub owner: Option<usize>,
    /// How its national numbers are read.
    pub country: Option<Country>,
    /// Where calls to it go, in order of preference; never empty.
    pub peers: Vec<Peer>,
    /// Who may call us as this trunk, together with `matches`; empty: nobody.
    pub networks: Vec<IpNet>,
    /// From where its media may come.
    pub media_networks: MediaNetworks,
    /// Chooses among trunks with the same source network.
    pub matches: Match,
    /// Whether its media are encrypted.
    pub srtp: Srtp,
    /// What its callers hear until the answer.
    pub early_media: EarlyMedia,
    /// What becomes of its REFER.
    pub refer: Refer,
    /// Where its callers' numbers stand.
    pub caller_id: CallerId,
    /// How it is told who has sent a call on.
    pub diversion: Diversion,
    /// Whether it is told where callers are.
    pub location: Location,
    /// It is told numbers that are to be shown to nobody (RFC 3325).
    pub trusted: bool,
    /// What its peers expect of headers.
    pub dialect: Arc<Dialect>,
    /// Numbers reached through it, public and private; empty: it is no end of calls.
    pub numbers: Numbers,
    /// Which of these are not active.
    pub states: States,
    /// Shown in place of a caller's number that is not its own; one of `numbers`, in use.
    pub main_number: Option<Number>,
    /// What becomes of a call in the name of a number that is not its own.
    pub foreign_caller: ForeignCaller,
    /// By which trunks calls from it go out when nobody owns the called number, in order of
    /// preference; index in [`Config::trunks`], never its own.
    pub trunks: Vec<usize>,
    /// All trunks from which a call to its numbers may come: `trunks` and those of the key
    /// `inbound_trunks`, without repetition, never itself; not empty when it has numbers.
    pub inbound_trunks: Vec<usize>,
    /// How many calls it may have, and how fast they may come.
    pub limits: Limits,
    /// Which numbers calls from it may not be made to.
    pub barring: Barring,
    /// What it is told as a caller when a limit is reached: 403, 486 or 503.
    pub limit_status: u16,
    /// Time between two OPTIONS to each of its peers, 5 s to 10 min; `None`: only those that have
    /// failed are asked.
    pub options_interval: Option<Duration>,
    /// The longest call to or from it, from its answer; `None`: unlimited.
    pub max_duration: Option<Duration>,
    /// What a caller is told (400 to 699) in place of a final status (300 to 699) of this trunk.
    pub status_map: BTreeMap<u16, u16>,
    /// What its side of a call hears while the other side holds; `None`: what the tenant has.
    pub hold_music: Option<PathBuf>,
    /// With what its challenges are answered, one for each realm.
    pub credentials: Vec<Login>,
    /// How we register with it; `None`: not at all.
    pub register: Option<Register>,
    /// What its calls have to prove; `None`: its address is enough.
    pub authenticate: Option<Login>,
    /// How it registers with us: there exactly when one of `peers` is [`Host::Registered`].
    pub registrar: Option<Registrar>,
}

/// One address of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// A name or an address.
    pub host: Host,
    /// `None`: located by RFC 3263 when `host` is a name, else the transport's default port.
    pub port: Option<u16>,
    /// Its share of the calls among neighbours that have one as well; `None`: it is tried in its place.
    pub weight: Option<u16>,
}

/// A host: a name (lower case) or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// To be resolved.
    Name(String),
    /// Literal.
    Ip(IpAddr),
    /// Where the peer has registered with us from, whatever the transport.
    Registered,
}

/// From where a trunk's media may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaNetworks {
    /// From the address given in its SDP.
    pub signalled: bool,
    /// From these as well.
    pub networks: Vec<IpNet>,
}

/// Which of several trunks with the same source network a request means. Every key that is
/// present must fit. Where more than one trunk fits, the one with more keys wins, then the longer
/// `called_prefix`; a trunk without any key takes what no other takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Match {
    /// The called number in E.164 begins so, e.g. "+4420".
    pub called_prefix: Option<String>,
    /// The host of the Request-URI, lower case, a name or an address.
    pub uri_host: Option<String>,
    /// The trunk group of RFC 4904.
    pub tgrp: Option<String>,
}

/// Where a caller's number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerId {
    /// In P-Asserted-Identity (RFC 3325), else in From.
    Asserted,
    /// In Remote-Party-ID (draft-ietf-sip-privacy), else as `Asserted`.
    RemotePartyId,
    /// In From.
    From,
}

/// What becomes of a call in the name of a number that is not its end's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignCaller {
    /// The main number is shown; without one the caller is anonymous.
    Main,
    /// It is refused.
    Refuse,
    /// It is shown as it came.
    Pass,
}

/// What callers get to hear of ringing and early media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyMedia {
    /// The first 180, or 183 with SDP, and no other: a ringback that has begun is not broken off by silence.
    First,
    /// Each 18x as it comes.
    Pass,
    /// Ringback of ours, until the other side sends audio.
    Generate,
}

/// What becomes of a REFER by which a trunk wants to transfer a call (RFC 3515).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refer {
    /// 405: REFER does not stand in Allow.
    Refuse,
    /// We call the target, and join it to the other side.
    Local,
    /// The other side is asked to call it, if that is a trunk; else as `Local`.
    Pass,
}

/// By which header a trunk is told that a call was diverted to it, and from which numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diversion {
    /// Diversion (RFC 5806).
    Diversion,
    /// History-Info (RFC 7044).
    HistoryInfo,
    /// It is not told.
    None,
}

/// What becomes of a caller's location (RFC 6442) on the way to a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// It ends here.
    Strip,
    /// It is passed on as it came.
    Pass,
}

/// Whether a trunk's media are encrypted with SDES keys (RFC 4568).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// RTP/AVP only.
    Off,
    /// RTP/SAVP only.
    Required,
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Unique.
    pub name: String,
    /// By which names it is known, one per edge; never empty.
    pub names: Vec<TenantName>,
    /// Outbound trunks in order of preference; index in [`Config::trunks`].
    pub trunks: Vec<usize>,
    /// All trunks from which a call to it may come: `trunks` and those of the key
    /// `inbound_trunks`, without repetition.
    pub inbound_trunks: Vec<usize>,
    /// Its numbers, public and private.
    pub numbers: Numbers,
    /// Which of these are not active.
    pub states: States,
    /// Shown in place of a caller's number that is not its own; one of `numbers`, in use.
    pub main_number: Option<Number>,
    /// What becomes of a call in the name of a number that is not its own.
    pub foreign_caller: ForeignCaller,
    /// How many calls it may have, and how fast they may come.
    pub limits: Limits,
    /// Which numbers it may not call.
    pub barring: Barring,
    /// How its calls for help go.
    pub emergency: Emergency,
    /// The longest call, from its answer; `None`: unlimited.
    pub max_duration: Option<Duration>,
    /// How its national numbers are read.
    pub country: Option<Country>,
    /// What either side of its calls hears while the other side holds, but for trunks that have their own.
    pub hold_music: Option<PathBuf>,
}

/// A tenant's name at one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantName {
    /// Index in [`Config::edges`].
    pub edge: usize,
    /// Lower case, at most 63 characters, unique at all edges, covered by the edge's certificate.
    pub fqdn: String,
}

impl Key {
    /// The PEM text: what the file holds, or the variable.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::File(path) => std::fs::read(path),
            Self::Env(name) => std::env::var(name).map(String::into_bytes).map_err(|_| {
                let message = format!("the environment has no variable {name}");
                std::io::Error::new(std::io::ErrorKind::NotFound, message)
            }),
        }
    }

    /// How the key is called in messages: its path, or `$VARIABLE`.
    pub fn label(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Env(name) => PathBuf::from(format!("${name}")),
        }
    }
}

impl Match {
    /// Whether no key is present.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl MediaAddress {
    /// Pairs of an even port and its odd neighbour.
    pub fn pairs(&self) -> usize {
        let first = usize::from(*self.ports.start()).next_multiple_of(2);
        (usize::from(*self.ports.end()) + 1).saturating_sub(first) / 2
    }
}

impl MediaPool {
    /// Pairs of ports over all addresses: each stream of a call takes one on each side.
    pub fn pairs(&self) -> usize {
        self.addresses.iter().map(MediaAddress::pairs).sum()
    }
}

impl Transport {
    /// As written in the configuration: `udp`, `tcp`, `tls`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The port when none is given and none is located (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.as_str(), self.address)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Registered => f.write_str(REGISTERED),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host == Host::Registered {
            return self.host.fmt(f);
        }
        write!(f, "{}:{}", self.transport.as_str(), self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// How a peer that registers with us is written.
pub(crate) const REGISTERED: &str = "registered";
