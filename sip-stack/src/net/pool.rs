//! The connections: who is let in, which one a message leaves on, what becomes of it when that ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::{Dial, End, Event, Queued, Task};
use super::{Input, Net, Refusal, socket};
use crate::transport::{FlowId, LocalId, Target, Transport};

#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    local: LocalId,
    remote: SocketAddr,
    inbound: bool,
    open: bool,
    /// For one that we opened.
    target: Option<Target>,
    /// How often it brought what is no message.
    pub(super) faults: usize,
    /// `None` once we close it.
    pub(super) queue: Option<mpsc::Sender<Queued>>,
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
            faults: 0,
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

    pub(super) fn handle(&mut self, event: Event, batch: &mut Vec<Input>) {
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
            faults: 0,
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
