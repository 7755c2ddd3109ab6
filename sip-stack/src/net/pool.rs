//! The connections: who is let in, which one a message leaves on, what becomes of it when that ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::{Dial, End, Event, Queued, Task};
use super::pending::Pending;
use super::{Flaw, Input, Local, Net, Refusal, socket};
use crate::transport::{FlowId, LocalId, Target, Transport};

#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    local: LocalId,
    remote: SocketAddr,
    inbound: bool,
    /// It comes from a network that was not known then.
    strange: bool,
    open: bool,
    /// For one that we opened.
    target: Option<Target>,
    /// How often it brought what is no message.
    pub(super) faults: usize,
    /// `None` once we close it.
    pub(super) queue: Option<mpsc::Sender<Queued>>,
    /// What waits to be written on it.
    pending: Arc<Pending>,
    /// A turn, and how many bytes waited when it began.
    before: (u64, usize),
    pub(super) task: AbortHandle,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    transport: Transport,
    local: LocalId,
    remote: SocketAddr,
    name: Option<Arc<str>>,
}

impl Net {
    pub(super) fn accept(
        &mut self,
        id: LocalId,
        transport: Transport,
        stream: TcpStream,
        remote: SocketAddr,
    ) -> Result<(), Refusal> {
        let local = self.locals.get(&id).ok_or(Refusal::Network)?;
        self.room_for(local, remote.ip())?;
        let strange = !local.knows(remote.ip());
        let acceptor = match transport {
            Transport::Udp | Transport::Tcp => None,
            Transport::Tls => {
                let many = self.held.strange_shaking >= self.limits.strange_handshakes;
                if self.held.shaking >= self.limits.handshakes || (strange && many) {
                    return Err(Refusal::Busy);
                }
                let server = local.tls.as_ref().and_then(|tls| tls.server.clone());
                Some(TlsAcceptor::from(server.ok_or(Refusal::Handshake(Flaw::Other))?))
            }
        };
        socket::tune(&stream, local.dscp);
        let peer = Peer { transport, local: id, remote, name: None };
        let (task, queue) = self.task(&peer, true);
        let (flow, pending) = (task.flow, Arc::clone(&task.pending));
        let task = tokio::spawn(task.accept(stream, acceptor)).abort_handle();
        self.count(id, remote.ip(), strange);
        let connection = Connection {
            transport,
            local: id,
            remote,
            inbound: true,
            strange,
            open: false,
            target: None,
            faults: 0,
            queue: Some(queue),
            pending,
            before: (0, 0),
            task,
        };
        self.connections.insert(flow, connection);
        Ok(())
    }

    /// Whether an identity may take one more connection from there. Every answer costs the same,
    /// however many connections there are.
    fn room_for(&self, local: &Local, remote: IpAddr) -> Result<(), Refusal> {
        if !local.admits(remote) {
            return Err(Refusal::Network);
        }
        // What the others have in reserve is not there for this one.
        let others = self.held.reserved - local.unused_reserve();
        let full = self.held.accepted + others >= self.limits.total;
        if full || local.accepted >= self.limits.per_local {
            return Err(Refusal::Full);
        }
        if !local.knows(remote) && local.strange >= self.limits.strangers {
            return Err(Refusal::Full);
        }
        let from_there = self.addresses.get(&holder(remote)).copied().unwrap_or(0);
        if from_there >= self.limits.per_address {
            return Err(Refusal::PerAddress);
        }
        Ok(())
    }

    fn count(&mut self, id: LocalId, remote: IpAddr, strange: bool) {
        *self.addresses.entry(holder(remote)).or_default() += 1;
        self.held.accepted += 1;
        self.held.shaking += 1;
        self.held.strange_shaking += usize::from(strange);
        self.reaccept(id, |accepted| accepted + 1);
        self.locals.get_mut(&id).into_iter().for_each(|it| it.strange += usize::from(strange));
    }

    fn reaccept(&mut self, id: LocalId, change: impl FnOnce(usize) -> usize) {
        let Some(local) = self.locals.get_mut(&id) else { return };
        self.held.reserved -= local.unused_reserve();
        local.accepted = change(local.accepted);
        self.held.reserved += local.unused_reserve();
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
            pending: Arc::default(),
            pongs: sender.downgrade(),
        };
        (task, sender)
    }

    pub(super) fn handle(&mut self, event: Event, batch: &mut Vec<Input>) {
        match event {
            Event::Input(input) => {
                if let Input::Opened { flow, .. } = &input
                    && let Some(connection) = self.connections.get_mut(flow)
                {
                    connection.open = true;
                    self.held.shaking -= usize::from(connection.inbound);
                    self.held.strange_shaking -= usize::from(connection.strange);
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
            self.held.opened -= 1;
            return;
        }
        self.held.accepted -= 1;
        self.held.shaking -= usize::from(!connection.open);
        self.held.strange_shaking -= usize::from(connection.strange && !connection.open);
        self.reaccept(connection.local, |accepted| accepted - 1);
        let local = self.locals.get_mut(&connection.local).into_iter();
        local.for_each(|it| it.strange -= usize::from(connection.strange));
        let holder = holder(connection.remote.ip());
        if let Some(count) = self.addresses.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&holder);
            }
        }
    }

    pub(super) fn leave_pool(&mut self, flow: FlowId) {
        let Some(connection) = self.connections.get(&flow) else { return };
        let Some(target) = &connection.target else { return };
        let peer = Peer::of(target);
        if self.pool.get(&peer) == Some(&flow) {
            self.pool.remove(&peer);
        }
    }

    pub(super) fn send_stream(&mut self, target: Target, queued: Queued) {
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

    fn offer(
        &mut self,
        flow: FlowId,
        queued: Queued,
    ) -> Result<(), mpsc::error::TrySendError<Queued>> {
        let Some(connection) = self.connections.get_mut(&flow) else {
            return Err(mpsc::error::TrySendError::Closed(queued));
        };
        let Some(queue) = &connection.queue else {
            return Err(mpsc::error::TrySendError::Closed(queued));
        };
        let waiting = connection.pending.bytes();
        if connection.before.0 != self.turn {
            connection.before = (self.turn, waiting);
        }
        let (_, before) = connection.before;
        if before > self.limits.queue_bytes || waiting > self.limits.turn_bytes {
            return Err(mpsc::error::TrySendError::Full(queued));
        }
        let bytes = queued.bytes.len();
        queue.try_send(queued)?;
        connection.pending.add(bytes);
        Ok(())
    }

    /// Begins to open a connection; `None` when that cannot be.
    fn dial(&mut self, target: Target) -> Option<FlowId> {
        if self.held.opened >= self.limits.outbound {
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
        let (flow, pending) = (task.flow, Arc::clone(&task.pending));
        let task = tokio::spawn(task.dial(dial)).abort_handle();
        self.held.opened += 1;
        self.pool.insert(peer, flow);
        let connection = Connection {
            transport: target.transport,
            local: target.local,
            remote,
            inbound: false,
            strange: false,
            open: false,
            target: Some(Target { flow: None, ..target }),
            faults: 0,
            queue: Some(queue),
            pending,
            before: (0, 0),
            task,
        };
        self.connections.insert(flow, connection);
        Some(flow)
    }

    fn fail(&mut self, queued: &Queued) {
        self.ready.extend(queued.id.map(|id| Input::SendFailed { id }));
    }
}

impl Connection {
    /// Bytes that wait to be written.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending.bytes()
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
pub(super) fn server_name(target: &Target, default: Option<&str>) -> ServerName<'static> {
    let names = [target.name.as_deref(), default];
    names
        .into_iter()
        .flatten()
        .filter_map(|name| ServerName::try_from(name.trim_end_matches('.').to_owned()).ok())
        .find(|name| matches!(name, ServerName::DnsName(_)))
        .unwrap_or_else(|| ServerName::IpAddress(target.remote.ip().into()))
}

/// Who is counted as one peer: an IPv4 address, or the /64 that one IPv6 customer has.
pub(super) fn holder(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}
