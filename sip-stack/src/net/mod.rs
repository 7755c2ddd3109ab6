//! The driver: sockets, connections, TLS and name queries for the cores, without knowledge of what
//! the messages mean. Transports of RFC 3261 §18; keep-alives of RFC 5626 §3.5.1 are answered here.
//!
//! [`Net`] belongs to one current-thread runtime. It reads datagrams itself, in turns with a budget
//! for each socket; each stream connection is a task that hands whole messages over through one
//! bounded queue. Handshakes and name queries are computed on another runtime.

mod connection;
mod datagrams;
mod flaw;
mod guard;
mod heard;
mod inherit;
mod limits;
mod listen;
mod networks;
mod pending;
mod pool;
mod reconfigure;
pub mod resolver;
mod socket;

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::connection::{Event, Queued};
use self::datagrams::{Arrivals, Datagrams};
pub use self::flaw::Flaw;
use self::heard::Heard;
pub use self::inherit::{Inherited, Listening};
pub use self::limits::Limits;
use self::listen::Listener;
use self::networks::Networks;
use self::pool::{Connection, Peer};
pub use self::reconfigure::{ReconfigureError, Reconfigured};
use crate::endpoint::SendId;
use crate::message::{Message, ParseError};
use crate::own_map::OwnMap;
use crate::transport::{FlowId, LocalId, Source, Target, Transport};

/// One identity of ours: where it listens, what it shows and whom it lets in.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Its name.
    pub id: LocalId,
    /// Its listeners. What we send leaves from their addresses. Port 0 takes a free one.
    pub listen: Vec<(Transport, SocketAddr)>,
    /// Its TLS settings; without them it neither listens nor connects by TLS.
    pub tls: Option<TlsIdentity>,
    /// Networks (address, prefix length) whose connections are taken; `None`: all. Datagrams are taken
    /// from everywhere: they cost nothing before they are read.
    pub networks: Option<Vec<(IpAddr, u8)>>,
    /// Those of them that are known; from others no more than a share of all connections is taken. `None`: all are known.
    pub known: Option<Vec<(IpAddr, u8)>>,
    /// Accepted connections for which there is always room, whatever the others hold.
    pub reserve: usize,
    /// The code point of what we send (RFC 2474).
    pub dscp: Option<u8>,
}

/// TLS settings of an identity.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// For listeners; needed where there is a TLS listener.
    pub server: Option<Arc<rustls::ServerConfig>>,
    /// For connections that we open.
    pub client: Arc<rustls::ClientConfig>,
    /// The name to ask for where a target has none.
    pub default_name: Option<Arc<str>>,
}

/// What the network brings.
#[derive(Clone, Debug)]
pub enum Input {
    /// A datagram, or what was cut from a stream: whether it is a message says [`Net::read`].
    Message {
        /// Where it came from.
        source: Source,
        /// When: by the kernel's stamp of a datagram; when a stream's last bytes were read.
        received: Instant,
        /// The bytes.
        raw: Bytes,
    },
    /// A stream whose framing is lost. The connection is closed after [`Limits::grace`], in which the
    /// refusal can leave.
    Unreadable {
        /// Where it came from.
        source: Source,
        /// What is wrong, and the refusal.
        error: ParseError,
    },
    /// A message did not leave, or not surely.
    SendFailed {
        /// Which.
        id: SendId,
    },
    /// A connection is ready.
    Opened {
        /// The connection.
        flow: FlowId,
        /// The identity it belongs to.
        local: LocalId,
        /// The peer's address.
        remote: SocketAddr,
        /// Whether the peer opened it.
        inbound: bool,
    },
    /// An opened connection is gone.
    Closed {
        /// The connection.
        flow: FlowId,
        /// Why.
        reason: CloseReason,
    },
    /// Something was not let in, or a connection was not reached.
    Refused {
        /// The identity concerned.
        local: LocalId,
        /// The peer's address.
        remote: SocketAddr,
        /// Why.
        reason: Refusal,
    },
}

/// Why an open connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// It broke.
    Reset,
    /// It brought nothing for too long.
    Idle,
    /// It began a message and did not end it in time.
    Slow,
    /// The peer took nothing from us for too long.
    Stalled,
    /// It cannot be read any further.
    Unreadable,
    /// It sent keep-alives without end.
    Flood,
    /// We closed it.
    Local,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The peer's address is in none of the permitted networks.
    Network,
    /// The peer's address has too many connections.
    PerAddress,
    /// The identity, or all of them together, have too many connections.
    Full,
    /// Too many handshakes are in progress.
    Busy,
    /// The peer's TLS handshake failed.
    Handshake(Flaw),
    /// We could not connect.
    Unreachable,
    /// The TLS handshake failed on a connection that we opened.
    Untrusted(Flaw),
    /// A connection that we wanted to open was not ready in time.
    Silent,
}

/// Why binding failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {transport} {address}: {source}")]
    Listen {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A TLS listener lacks its certificate.
    #[error("cannot listen on TLS {address}: no certificate is configured")]
    NoCertificate {
        /// The address.
        address: SocketAddr,
    },
    /// Two identities have one name.
    #[error("two identities have the number {number}", number = .0.0)]
    Duplicate(LocalId),
}

/// The sockets and connections of all identities.
#[derive(Debug)]
pub struct Net {
    locals: OwnMap<LocalId, Local>,
    sockets: Vec<Datagrams>,
    heard: Heard,
    listeners: Vec<Listener>,
    connections: OwnMap<FlowId, Connection>,
    /// Connections that take new messages, by whom they lead to.
    pool: HashMap<Peer, FlowId>,
    /// Accepted connections, by address.
    addresses: HashMap<IpAddr, usize>,
    held: Held,
    ready: VecDeque<Input>,
    /// Connections to be closed at the end of the turn.
    doomed: Vec<FlowId>,
    events: mpsc::Receiver<Event>,
    /// For new connections.
    reports: mpsc::Sender<Event>,
    service: Handle,
    limits: Limits,
    arrivals: Arrivals,
    last_flow: u64,
    /// Counts the turns.
    turn: u64,
    /// Where the next turn over the sockets begins.
    first: usize,
    /// Whether the tasks and the driver of the runtime are to run before more is read.
    owes_turn: bool,
    /// Whether nothing is taken from the connections.
    streams_held: bool,
}

/// How many connections there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    accepted: usize,
    /// Of these, in their handshake.
    shaking: usize,
    /// What the identities have in reserve and do not use.
    reserved: usize,
    /// Accepted connections from networks that are not known, in their handshake.
    strange_shaking: usize,
    opened: usize,
}

#[derive(Debug)]
struct Local {
    /// As it was configured, port 0 included.
    listen: Vec<(Transport, SocketAddr)>,
    tls: Option<TlsIdentity>,
    networks: Option<Networks>,
    known: Option<Networks>,
    dscp: Option<u8>,
    reserve: usize,
    /// Addresses that connections leave from, at most one for each family.
    from: Vec<IpAddr>,
    accepted: usize,
    /// Of these, from networks that are not known.
    strange: usize,
}

impl Net {
    /// Binds everything, or nothing. To be called on the runtime that will drive it; handshakes run
    /// on `service`.
    ///
    /// # Errors
    /// When an address cannot be listened on or a certificate is missing.
    pub fn bind(
        locals: Vec<LocalConfig>,
        limits: Limits,
        service: Handle,
    ) -> Result<Self, BindError> {
        Self::bind_with(locals, Inherited::default(), limits, service)
    }

    /// As [`Net::bind`], and takes the sockets of another process where they fit; what fits nowhere is closed.
    ///
    /// # Errors
    /// When an address cannot be listened on or a certificate is missing.
    pub fn bind_with(
        locals: Vec<LocalConfig>,
        mut inherited: Inherited,
        limits: Limits,
        service: Handle,
    ) -> Result<Self, BindError> {
        let (reports, events) = mpsc::channel(EVENTS);
        let mut net = Self {
            locals: OwnMap::default(),
            sockets: Vec::new(),
            heard: Heard::default(),
            listeners: Vec::new(),
            connections: OwnMap::default(),
            pool: HashMap::new(),
            addresses: HashMap::new(),
            held: Held::default(),
            ready: VecDeque::new(),
            doomed: Vec::new(),
            events,
            reports,
            service,
            limits,
            arrivals: Arrivals::new(),
            last_flow: 0,
            turn: 0,
            first: 0,
            owes_turn: false,
            streams_held: false,
        };
        for config in locals {
            net.bind_local(config, &mut inherited)?;
        }
        Ok(net)
    }

    /// What is listened on, with the ports that were taken.
    pub fn local_addrs(&self) -> Vec<(LocalId, Transport, SocketAddr)> {
        let datagrams = self.sockets.iter().map(|s| (s.local, Transport::Udp, s.address));
        let streams = self.listeners.iter().map(|l| (l.local, l.transport, l.address));
        datagrams.chain(streams).collect()
    }

    /// Adds to `batch` what has come in, a few hundred inputs at most; waits until there is
    /// something. Nothing is lost when the future is dropped.
    pub async fn receive(&mut self, batch: &mut Vec<Input>) {
        poll_fn(|context| self.poll_receive(context, batch)).await;
    }

    /// Whether [`Self::receive`] shall leave alone for now what the connections bring: their peers wait then, while
    /// datagrams, which would be lost, are read on.
    pub const fn hold_streams(&mut self, held: bool) {
        self.streams_held = held;
    }

    /// The end of a turn: sends the datagrams that wait, with one system call for each socket.
    /// [`Self::receive`] does so as well before it waits.
    pub fn flush(&mut self) {
        self.flush_datagrams();
        self.turn += 1;
        for flow in std::mem::take(&mut self.doomed) {
            self.close(flow);
        }
    }

    /// What was taken for a message from that source cannot be read. Too many of these end a
    /// connection, after what this turn sends on it.
    pub fn note_unreadable(&mut self, source: &Source) {
        let Some(flow) = source.flow else { return };
        let Some(connection) = self.connections.get_mut(&flow) else { return };
        connection.faults += 1;
        if connection.faults >= self.limits.faults {
            self.doomed.push(flow);
        }
    }

    /// Sends a message: on the target's flow while that is open, else on a connection to the same
    /// peer, else on a new one. A datagram leaves with [`Self::flush`]. Never waits; whatever fails comes back as [`Input::SendFailed`].
    pub fn send(&mut self, id: SendId, target: Target, bytes: Bytes) {
        match target.transport {
            Transport::Udp => self.send_datagram(id, &target, bytes),
            Transport::Tcp | Transport::Tls => {
                self.send_stream(target, Queued { id: Some(id), bytes, again: false });
            }
        }
    }

    /// Reads what [`Input::Message`] brought, within [`Limits::messages`]. `None` when reading it failed by a fault of
    /// ours, which is logged and costs this message alone.
    pub fn read(&self, raw: Bytes) -> Option<Result<Message, ParseError>> {
        guard::guarded(|| {
            #[cfg(test)]
            guard::inject(guard::READING, &raw);
            Message::parse_within(raw, &self.limits.messages)
        })
    }

    /// Closes every connection as [`Net::close`] does.
    pub fn close_all(&mut self) {
        let flows: Vec<FlowId> = self.connections.keys().copied().collect();
        for flow in flows {
            self.close(flow);
        }
    }

    /// Closes a connection after what waits on it has left.
    pub fn close(&mut self, flow: FlowId) {
        self.leave_pool(flow);
        if let Some(connection) = self.connections.get_mut(&flow) {
            connection.queue = None;
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for connection in self.connections.values() {
            connection.task.abort();
        }
    }
}

/// Reports of connections that wait for the driver; above, the connections stop reading.
const EVENTS: usize = 1024;
#[cfg(test)]
mod tests;
