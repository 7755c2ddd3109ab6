//! Listening sockets that pass from one process to the next, so that an upgrade refuses nobody.
//!
//! The old process exports duplicates, the new one binds with them: both then hold the same sockets. Exactly one of
//! them listens; the other has [`Net::stop_listening`] and may still send from its UDP sockets. What arrives between
//! the one stopping and the other beginning waits in the kernel. Stream connections are not moved: they stay where
//! they are.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::Net;
use crate::transport::{Source, Transport};

/// One listening socket.
#[derive(Debug)]
pub struct Listening {
    /// What is spoken there.
    pub transport: Transport,
    /// Where it is bound.
    pub address: SocketAddr,
    /// The socket.
    pub fd: OwnedFd,
}

/// Listening sockets of a former process, each for whoever has its transport and address.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Listening>);

impl Inherited {
    /// These sockets.
    pub const fn new(sockets: Vec<Listening>) -> Self {
        Self(sockets)
    }

    /// The socket of this transport and address, if it is there and nobody has taken it.
    pub(super) fn take(&mut self, transport: Transport, address: SocketAddr) -> Option<OwnedFd> {
        let fits = |l: &Listening| (l.transport, l.address) == (transport, address);
        let index = self.0.iter().position(fits)?;
        Some(self.0.swap_remove(index).fd)
    }
}

impl Net {
    /// Duplicates of all UDP sockets and listeners.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn export(&self) -> io::Result<Vec<Listening>> {
        let datagrams = self.sockets.iter().map(|s| (Transport::Udp, s.address, s.socket.as_fd()));
        let streams = self.listeners.iter().map(|l| (l.transport, l.address, l.socket.as_fd()));
        datagrams
            .chain(streams)
            .map(|(transport, address, fd)| {
                Ok(Listening { transport, address, fd: fd.try_clone_to_owned()? })
            })
            .collect()
    }

    /// From now on reads no datagram and accepts no connection at the addresses for which `taken` says so: another
    /// process does. Sends and connections go on.
    pub fn stop_listening(&mut self, taken: impl Fn(Transport, SocketAddr) -> bool) {
        for socket in &mut self.sockets {
            socket.idle |= taken(Transport::Udp, socket.address);
        }
        for listener in &mut self.listeners {
            listener.idle |= taken(listener.transport, listener.address);
        }
    }

    /// Undoes [`Net::stop_listening`].
    pub fn listen_again(&mut self) {
        self.sockets.iter_mut().for_each(|socket| socket.idle = false);
        self.listeners.iter_mut().for_each(|listener| listener.idle = false);
    }

    /// Another process read this for us: what goes to that peer leaves from the socket that heard it.
    pub fn note_heard(&mut self, source: &Source) {
        if source.transport != Transport::Udp {
            return;
        }
        let here = |s: &super::Datagrams| (s.local, s.address) == (source.local, source.local_addr);
        if let Some(index) = self.sockets.iter().position(here) {
            self.heard.note(source.local, source.remote, index);
        }
    }
}
