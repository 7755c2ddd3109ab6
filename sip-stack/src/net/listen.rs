//! What listens: UDP sockets and TCP listeners, read in turns with a budget for each.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

use super::datagrams::{Arrival, Datagrams};
use super::networks::Networks;
use super::{BindError, Inherited, Input, Local, LocalConfig, Net, socket};
use crate::endpoint::SendId;
use crate::transport::{LocalId, Source, Target, Transport};

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) local: LocalId,
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    pub(super) socket: TcpListener,
    /// Another process accepts.
    pub(super) idle: bool,
    /// After an error: until when nothing is accepted.
    rest: Option<Pin<Box<Sleep>>>,
}

impl Net {
    pub(super) fn bind_local(
        &mut self,
        config: LocalConfig,
        inherited: &mut Inherited,
    ) -> Result<(), BindError> {
        let LocalConfig { id, listen, tls, networks, known, dscp, reserve } = config;
        let mut from: Vec<IpAddr> = Vec::new();
        for (transport, address) in listen.iter().copied() {
            let failed = |source| BindError::Listen { transport, address, source };
            let ip = address.ip();
            if !ip.is_unspecified() && !from.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
                from.push(ip);
            }
            match transport {
                Transport::Udp => {
                    let socket = match inherited.take(transport, address) {
                        Some(fd) => socket::inherited_datagrams(fd, dscp),
                        None => socket::datagrams(address, dscp),
                    };
                    let socket = socket.map_err(failed)?;
                    let address = socket.local_addr().map_err(failed)?;
                    self.sockets.push(Datagrams::new(id, address, socket));
                    continue;
                }
                Transport::Tcp => {}
                Transport::Tls => {
                    if tls.as_ref().is_none_or(|tls| tls.server.is_none()) {
                        return Err(BindError::NoCertificate { address });
                    }
                }
            }
            let socket = match inherited.take(transport, address) {
                Some(fd) => socket::inherited_listener(fd, dscp),
                None => socket::listener(address, dscp),
            };
            let socket = socket.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            let (idle, rest) = (false, None);
            self.listeners.push(Listener { local: id, transport, address, socket, idle, rest });
        }
        let [networks, known] = [networks, known].map(|set| set.as_deref().map(Networks::new));
        let local =
            Local { listen, tls, networks, known, dscp, reserve, from, accepted: 0, strange: 0 };
        self.held.reserved += reserve;
        match self.locals.insert(id, local) {
            Some(_) => Err(BindError::Duplicate(id)),
            None => Ok(()),
        }
    }

    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        batch: &mut Vec<Input>,
    ) -> Poll<()> {
        if std::mem::take(&mut self.owes_turn) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.flush();
        let before = batch.len();
        batch.extend(self.ready.drain(..));
        let more = [
            self.poll_sockets(context, batch),
            // Nobody wakes us for what is held back: whoever lets it go polls again.
            !self.streams_held && self.poll_events(context, batch),
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
            let index = (self.first + offset) % count;
            let datagrams = &self.sockets[index];
            if datagrams.idle {
                continue;
            }
            let (heard, arrivals) = (&mut self.heard, &mut self.arrivals);
            let mut left = DATAGRAMS;
            while left > 0 {
                let read = datagrams.poll_read(context, arrivals, |arrival| {
                    let input = input(datagrams, arrival);
                    if count > 1 && matches!(input, Some(Input::Message { .. })) {
                        heard.note(datagrams.local, arrival.remote, index);
                    }
                    batch.extend(input);
                });
                let Poll::Ready(read) = read else { break };
                left = left.saturating_sub(read);
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
                && !self.listeners[index].idle
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

    /// Puts a datagram with those that leave at the end of the turn.
    pub(super) fn send_datagram(&mut self, id: SendId, target: &Target, bytes: Bytes) {
        let fits = |s: &Datagrams| {
            s.local == target.local && s.address.is_ipv4() == target.remote.is_ipv4()
        };
        let heard = self.heard.on(target.local, target.remote);
        let heard = heard.filter(|index| *index < self.sockets.len());
        match heard.or_else(|| self.sockets.iter().position(fits)) {
            Some(index) => {
                let ready = &mut self.ready;
                self.sockets[index].send(id, target.remote, bytes, &mut not_sent(ready));
            }
            None => self.ready.push_back(Input::SendFailed { id }),
        }
    }

    /// Sends the datagrams that wait.
    pub(super) fn flush_datagrams(&mut self) {
        for datagrams in &mut self.sockets {
            datagrams.flush(&mut not_sent(&mut self.ready));
        }
    }
}

impl Local {
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| networks.contains(address))
    }

    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.known.as_ref().is_none_or(|networks| networks.contains(address))
    }

    /// What it has in reserve and does not use.
    pub(super) const fn unused_reserve(&self) -> usize {
        self.reserve.saturating_sub(self.accepted)
    }
}

/// What a datagram is; `None` for one without content, a keep-alive of a client behind NAT.
fn input(datagrams: &Datagrams, arrival: Arrival<'_>) -> Option<Input> {
    let Arrival { bytes, remote, received } = arrival;
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0)) {
        return None;
    }
    let source = Source {
        transport: Transport::Udp,
        local: datagrams.local,
        local_addr: datagrams.address,
        remote,
        flow: None,
    };
    Some(Input::Message { source, received, raw: Bytes::copy_from_slice(bytes) })
}

/// Tells of datagrams that could not leave.
fn not_sent(ready: &mut VecDeque<Input>) -> impl FnMut(SendId, SocketAddr, &io::Error) {
    |id, remote, error| {
        tracing::debug!(%remote, %error, "datagram not sent");
        ready.push_back(Input::SendFailed { id });
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

/// Reports taken in one turn.
const TURN: usize = 256;
/// Datagrams taken from one socket in one turn, and less than one batch more: about 0.8 ms of work
/// without looking into them, and more than 100,000 a second bring while a busy turn lasts.
pub(super) const DATAGRAMS: usize = 1024;
/// Connections taken from one listener in one turn.
const ACCEPTS: usize = 16;
/// After an error of accept.
const REST: Duration = Duration::from_millis(100);
