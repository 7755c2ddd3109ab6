//! The driver: sockets, connections, TLS and name queries for the cores, without knowledge of what
//! the messages mean. Transports of RFC 3261 §18; keep-alives of RFC 5626 §3.5.1 are answered here.
//!
//! [`Net`] belongs to one current-thread runtime. It reads datagrams itself, in turns with a budget
//! for each socket; each stream connection is a task that hands whole messages over through one
//! bounded queue. Handshakes and name queries are computed on another runtime.

mod connection;
mod limits;
pub mod resolver;
mod socket;

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::connection::{Dial, End, Event, Queued, Task};
pub use self::limits::Limits;
use crate::endpoint::SendId;
use crate::message::{Message, ParseError};
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
    /// Networks (address, prefix length) whose datagrams and connections are taken; `None`: all.
    pub networks: Option<Vec<(IpAddr, u8)>>,
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
    /// A message.
    Message {
        /// Where it came from.
        source: Source,
        /// The message.
        message: Message,
    },
    /// Something that is no message. On a stream whose framing is lost the connection is closed
    /// after [`Limits::grace`], in which the refusal can leave.
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
    Handshake,
    /// The peer's TLS handshake took too long.
    HandshakeTimeout,
    /// We could not connect.
    Unreachable,
    /// The TLS handshake failed on a connection that we opened.
    Untrusted,
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
    locals: HashMap<LocalId, Local>,
    sockets: Vec<Datagrams>,
    listeners: Vec<Listener>,
    connections: HashMap<FlowId, Connection>,
    /// Connections that take new messages, by whom they lead to.
    pool: HashMap<Peer, FlowId>,
    /// Accepted connections, by address.
    addresses: HashMap<IpAddr, usize>,
    ready: VecDeque<Input>,
    events: mpsc::Receiver<Event>,
    /// For new connections.
    reports: mpsc::Sender<Event>,
    service: Handle,
    limits: Limits,
    buffer: Box<[u8]>,
    last_flow: u64,
    /// Where the next turn over the sockets begins.
    first: usize,
    /// Whether the tasks and the driver of the runtime are to run before more is read.
    owes_turn: bool,
}

#[derive(Debug)]
struct Local {
    tls: Option<TlsIdentity>,
    networks: Option<Vec<(IpAddr, u8)>>,
    dscp: Option<u8>,
    /// Addresses that connections leave from, at most one for each family.
    from: Vec<IpAddr>,
    accepted: usize,
}

#[derive(Debug)]
struct Datagrams {
    local: LocalId,
    address: SocketAddr,
    socket: UdpSocket,
}

#[derive(Debug)]
struct Listener {
    local: LocalId,
    transport: Transport,
    address: SocketAddr,
    socket: TcpListener,
    /// After an error: until when nothing is accepted.
    rest: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Connection {
    transport: Transport,
    local: LocalId,
    remote: SocketAddr,
    inbound: bool,
    open: bool,
    /// For one that we opened.
    target: Option<Target>,
    /// `None` once we close it.
    queue: Option<mpsc::Sender<Queued>>,
    task: AbortHandle,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    transport: Transport,
    local: LocalId,
    remote: SocketAddr,
    name: Option<Arc<str>>,
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
        let (reports, events) = mpsc::channel(EVENTS);
        let mut net = Self {
            locals: HashMap::new(),
            sockets: Vec::new(),
            listeners: Vec::new(),
            connections: HashMap::new(),
            pool: HashMap::new(),
            addresses: HashMap::new(),
            ready: VecDeque::new(),
            events,
            reports,
            service,
            limits,
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
            last_flow: 0,
            first: 0,
            owes_turn: false,
        };
        for config in locals {
            net.bind_local(config)?;
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

    /// Sends a message: on the target's flow while that is open, else on a connection to the same
    /// peer, else on a new one. Never waits; whatever fails comes back as [`Input::SendFailed`].
    pub fn send(&mut self, id: SendId, target: Target, bytes: Bytes) {
        match target.transport {
            Transport::Udp => {
                if let Err(error) = self.send_datagram(&target, &bytes) {
                    tracing::debug!(remote = %target.remote, %error, "datagram not sent");
                    self.ready.push_back(Input::SendFailed { id });
                }
            }
            Transport::Tcp | Transport::Tls => {
                self.send_stream(target, Queued { id: Some(id), bytes, again: false });
            }
        }
    }

    /// Closes a connection after what waits on it has left.
    pub fn close(&mut self, flow: FlowId) {
        self.leave_pool(flow);
        if let Some(connection) = self.connections.get_mut(&flow) {
            connection.queue = None;
        }
    }

    fn bind_local(&mut self, config: LocalConfig) -> Result<(), BindError> {
        let LocalConfig { id, listen, tls, networks, dscp } = config;
        let mut from: Vec<IpAddr> = Vec::new();
        for (transport, address) in listen {
            let failed = |source| BindError::Listen { transport, address, source };
            let ip = address.ip();
            if !ip.is_unspecified() && !from.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
                from.push(ip);
            }
            match transport {
                Transport::Udp => {
                    let socket = socket::datagrams(address, dscp).map_err(failed)?;
                    let address = socket.local_addr().map_err(failed)?;
                    self.sockets.push(Datagrams { local: id, address, socket });
                    continue;
                }
                Transport::Tcp => {}
                Transport::Tls => {
                    if tls.as_ref().is_none_or(|tls| tls.server.is_none()) {
                        return Err(BindError::NoCertificate { address });
                    }
                }
            }
            let socket = socket::listener(address, dscp).map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            self.listeners.push(Listener { local: id, transport, address, socket, rest: None });
        }
        let local = Local { tls, networks, dscp, from, accepted: 0 };
        match self.locals.insert(id, local) {
            Some(_) => Err(BindError::Duplicate(id)),
            None => Ok(()),
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>, batch: &mut Vec<Input>) -> Poll<()> {
        if std::mem::take(&mut self.owes_turn) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = batch.len();
        batch.extend(self.ready.drain(..));
        let more = [
            self.poll_sockets(context, batch),
            self.poll_events(context, batch),
            self.poll_listeners(context, batch),
        ];
        batch.extend(self.ready.drain(..));
        if batch.len() > before {
            self.owes_turn = true;
            return Poll::Ready(());
        }
        if more.contains(&true) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads datagrams. True when a budget was spent.
    fn poll_sockets(&mut self, context: &mut Context<'_>, batch: &mut Vec<Input>) -> bool {
        let count = self.sockets.len();
        self.first = self.first.wrapping_add(1) % count.max(1);
        let mut more = false;
        for offset in 0..count {
            let datagrams = &self.sockets[(self.first + offset) % count];
            let mut left = DATAGRAMS;
            while left > 0 {
                left -= 1;
                match datagrams.socket.try_recv_from(&mut self.buffer) {
                    Ok((length, remote)) => {
                        let Some(local) = self.locals.get(&datagrams.local) else { break };
                        batch.extend(datagrams.read(local, &self.buffer[..length], remote));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        match datagrams.socket.poll_recv_ready(context) {
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(_)) | Poll::Pending => break,
                        }
                    }
                    // The network's answer to something we sent.
                    Err(_) => {}
                }
            }
            more |= left == 0;
        }
        more
    }

    /// Takes what the connections report. True when the budget was spent.
    fn poll_events(&mut self, context: &mut Context<'_>, batch: &mut Vec<Input>) -> bool {
        for _ in 0..TURN {
            // We hold a sender, so the queue never ends.
            let Poll::Ready(Some(event)) = self.events.poll_recv(context) else { return false };
            self.handle(event, batch);
        }
        true
    }

    /// Accepts connections. True when a budget was spent.
    fn poll_listeners(&mut self, context: &mut Context<'_>, batch: &mut Vec<Input>) -> bool {
        let mut more = false;
        for index in 0..self.listeners.len() {
            let mut left = ACCEPTS;
            while left > 0
                && let Poll::Ready((stream, remote)) = self.listeners[index].poll_accept(context)
            {
                left -= 1;
                let listener = &self.listeners[index];
                let (local, transport) = (listener.local, listener.transport);
                if let Err(reason) = self.accept(local, transport, stream, remote) {
                    batch.push(Input::Refused { local, remote, reason });
                }
            }
            more |= left == 0;
        }
        more
    }

    fn accept(
        &mut self,
        id: LocalId,
        transport: Transport,
        stream: TcpStream,
        remote: SocketAddr,
    ) -> Result<(), Refusal> {
        let local = self.locals.get(&id).ok_or(Refusal::Network)?;
        if !local.admits(remote.ip()) {
            return Err(Refusal::Network);
        }
        let total: usize = self.locals.values().map(|local| local.accepted).sum();
        if local.accepted >= self.limits.per_local || total >= self.limits.total {
            return Err(Refusal::Full);
        }
        let from_there = self.addresses.get(&holder(remote.ip())).copied().unwrap_or(0);
        if from_there >= self.limits.per_address {
            return Err(Refusal::PerAddress);
        }
        let acceptor = match transport {
            Transport::Udp | Transport::Tcp => None,
            Transport::Tls => {
                let half_open = |c: &&Connection| c.inbound && !c.open;
                if self.connections.values().filter(half_open).count() >= self.limits.handshakes {
                    return Err(Refusal::Busy);
                }
                let server = local.tls.as_ref().and_then(|tls| tls.server.clone());
                Some(TlsAcceptor::from(server.ok_or(Refusal::Handshake)?))
            }
        };
        socket::tune(&stream, local.dscp);
        let peer = Peer { transport, local: id, remote, name: None };
        let (task, queue) = self.task(&peer, true);
        let flow = task.flow;
        let task = tokio::spawn(task.accept(stream, acceptor)).abort_handle();
        *self.addresses.entry(holder(remote.ip())).or_default() += 1;
        if let Some(local) = self.locals.get_mut(&id) {
            local.accepted += 1;
        }
        let connection = Connection {
            transport,
            local: id,
            remote,
            inbound: true,
            open: false,
            target: None,
            queue: Some(queue),
            task,
        };
        self.connections.insert(flow, connection);
        Ok(())
    }

    /// A new connection's task and the way into its queue.
    fn task(&mut self, peer: &Peer, inbound: bool) -> (Task, mpsc::Sender<Queued>) {
        self.last_flow += 1;
        let (sender, queue) = mpsc::channel(self.limits.queue);
        let task = Task {
            flow: FlowId(self.last_flow),
            transport: peer.transport,
            local: peer.local,
            remote: peer.remote,
            inbound,
            limits: self.limits,
            service: self.service.clone(),
            events: self.reports.clone(),
            queue,
            pongs: sender.downgrade(),
        };
        (task, sender)
    }

    fn handle(&mut self, event: Event, batch: &mut Vec<Input>) {
        match event {
            Event::Input(input) => {
                if let Input::Opened { flow, .. } = &input
                    && let Some(connection) = self.connections.get_mut(flow)
                {
                    connection.open = true;
                }
                batch.push(input);
            }
            Event::Ending(flow) => self.leave_pool(flow),
            Event::Ended { flow, why, failed, unsent } => {
                self.leave_pool(flow);
                let Some(connection) = self.connections.remove(&flow) else { return };
                self.uncount(&connection);
                let (local, remote) = (connection.local, connection.remote);
                batch.push(match why {
                    End::Refused(reason) => Input::Refused { local, remote, reason },
                    End::Closed(reason) => Input::Closed { flow, reason },
                });
                batch.extend(failed.into_iter().map(|id| Input::SendFailed { id }));
                for queued in unsent {
                    match &connection.target {
                        Some(target) if !queued.again => {
                            self.send_stream(target.clone(), Queued { again: true, ..queued });
                        }
                        Some(_) | None => self.fail(&queued),
                    }
                }
            }
        }
    }

    fn uncount(&mut self, connection: &Connection) {
        if !connection.inbound {
            return;
        }
        if let Some(local) = self.locals.get_mut(&connection.local) {
            local.accepted -= 1;
        }
        let holder = holder(connection.remote.ip());
        if let Some(count) = self.addresses.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&holder);
            }
        }
    }

    fn leave_pool(&mut self, flow: FlowId) {
        let Some(connection) = self.connections.get(&flow) else { return };
        let Some(target) = &connection.target else { return };
        let peer = Peer::of(target);
        if self.pool.get(&peer) == Some(&flow) {
            self.pool.remove(&peer);
        }
    }

    fn send_datagram(&self, target: &Target, bytes: &[u8]) -> io::Result<()> {
        let fits = |s: &&Datagrams| {
            s.local == target.local && s.address.is_ipv4() == target.remote.is_ipv4()
        };
        let datagrams = self.sockets.iter().find(fits).ok_or(io::ErrorKind::AddrNotAvailable)?;
        match socket::send(&datagrams.socket, bytes, target.remote) {
            // As good as lost on the way: the transaction repeats it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    fn send_stream(&mut self, target: Target, queued: Queued) {
        let of_flow = target.flow.filter(|flow| {
            self.connections.get(flow).is_some_and(|connection| {
                connection.transport == target.transport && connection.local == target.local
            })
        });
        let pooled = self.pool.get(&Peer::of(&target)).copied();
        let mut queued = queued;
        for flow in [of_flow, pooled].into_iter().flatten() {
            match self.offer(flow, queued) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(queued)) => return self.fail(&queued),
                Err(mpsc::error::TrySendError::Closed(back)) => queued = back,
            }
        }
        match self.dial(target) {
            Some(flow) => {
                if let Err(error) = self.offer(flow, queued) {
                    self.fail(&error.into_inner());
                }
            }
            None => self.fail(&queued),
        }
    }

    fn offer(&self, flow: FlowId, queued: Queued) -> Result<(), mpsc::error::TrySendError<Queued>> {
        match self.connections.get(&flow).and_then(|connection| connection.queue.as_ref()) {
            Some(queue) => queue.try_send(queued),
            None => Err(mpsc::error::TrySendError::Closed(queued)),
        }
    }

    /// Begins to open a connection; `None` when that cannot be.
    fn dial(&mut self, target: Target) -> Option<FlowId> {
        let outbound = self.connections.values().filter(|connection| !connection.inbound).count();
        if outbound >= self.limits.outbound {
            return None;
        }
        let local = self.locals.get(&target.local)?;
        let tls = match target.transport {
            Transport::Udp | Transport::Tcp => None,
            Transport::Tls => {
                let tls = local.tls.as_ref()?;
                let name = server_name(&target, tls.default_name.as_deref());
                Some((TlsConnector::from(Arc::clone(&tls.client)), name))
            }
        };
        let remote = target.remote;
        let from = local.from.iter().copied().find(|ip| ip.is_ipv4() == remote.is_ipv4());
        let dial = Dial { remote, from, dscp: local.dscp, tls };
        let peer = Peer::of(&target);
        let (task, queue) = self.task(&peer, false);
        let flow = task.flow;
        let task = tokio::spawn(task.dial(dial)).abort_handle();
        self.pool.insert(peer, flow);
        let connection = Connection {
            transport: target.transport,
            local: target.local,
            remote,
            inbound: false,
            open: false,
            target: Some(Target { flow: None, ..target }),
            queue: Some(queue),
            task,
        };
        self.connections.insert(flow, connection);
        Some(flow)
    }

    fn fail(&mut self, queued: &Queued) {
        self.ready.extend(queued.id.map(|id| Input::SendFailed { id }));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for connection in self.connections.values() {
            connection.task.abort();
        }
    }
}

impl Local {
    fn admits(&self, address: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| {
            networks.iter().any(|&(network, length)| contains(network, length, address))
        })
    }
}

impl Datagrams {
    /// What a datagram is; `None` for one without content (a keep-alive of a client behind NAT).
    fn read(&self, local: &Local, bytes: &[u8], remote: SocketAddr) -> Option<Input> {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0)) {
            return None;
        }
        if !local.admits(remote.ip()) {
            let reason = Refusal::Network;
            return Some(Input::Refused { local: self.local, remote, reason });
        }
        let source = Source {
            transport: Transport::Udp,
            local: self.local,
            local_addr: self.address,
            remote,
            flow: None,
        };
        Some(match Message::parse(Bytes::copy_from_slice(bytes)) {
            Ok(message) => Input::Message { source, message },
            Err(error) => Input::Unreadable { source, error },
        })
    }
}

impl Listener {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<(TcpStream, SocketAddr)> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            match ready!(self.socket.poll_accept(context)) {
                Ok(accepted) => return Poll::Ready(accepted),
                // Most likely no descriptor is left: asking at once would only spin.
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot accept connections");
                    self.rest = Some(Box::pin(sleep(REST)));
                }
            }
        }
    }
}

impl Peer {
    fn of(target: &Target) -> Self {
        Self {
            transport: target.transport,
            local: target.local,
            remote: target.remote,
            name: target.name.clone(),
        }
    }
}

/// The name to ask for and to check: the target's, else the identity's, else the address.
fn server_name(target: &Target, default: Option<&str>) -> ServerName<'static> {
    let names = [target.name.as_deref(), default];
    names
        .into_iter()
        .flatten()
        .filter_map(|name| ServerName::try_from(name.trim_end_matches('.').to_owned()).ok())
        .find(|name| matches!(name, ServerName::DnsName(_)))
        .unwrap_or_else(|| ServerName::IpAddress(target.remote.ip().into()))
}

/// Who is counted as one peer: an IPv4 address, or the /64 that one IPv6 customer has.
fn holder(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Reports of connections that wait for the driver; above, the connections stop reading.
const EVENTS: usize = 1024;
/// Reports taken in one turn.
const TURN: usize = 256;
/// Datagrams taken from one socket in one turn.
const DATAGRAMS: usize = 64;
/// Connections taken from one listener in one turn.
const ACCEPTS: usize = 16;
/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// After an error of accept.
const REST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
