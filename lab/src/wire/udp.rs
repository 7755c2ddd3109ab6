//! Datagrams: one message each (RFC 3261 §18.1).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;

use crate::capture::Transport;
use crate::wire::{Shared, Way};

/// Reads until the wire ends. A datagram that is no message leaves no trace: keep-alives are such.
pub(crate) async fn receive(shared: Arc<Shared>, socket: Arc<UdpSocket>, local: SocketAddr) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error here is an ICMP answer to something sent before; the socket goes on.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let way = Way::Datagram(Arc::clone(&socket));
        let channel = shared.channel(Transport::Udp, local, from, None, way);
        shared.arrived(&channel, &buffer[..length]).await;
    }
}

const LARGEST: usize = 65_535;
