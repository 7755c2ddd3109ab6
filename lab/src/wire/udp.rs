//! Datagrams: one message each (RFC 3261 §18.1).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::weather::{Fate, Sky};
use crate::capture::Transport;
use crate::wire::{Shared, Way};

/// A socket, and how bad its line is.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    pub(crate) local: SocketAddr,
    pub(crate) sky: Sky,
}

impl Datagrams {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self { socket, local, sky: Sky::default() })
    }
}

/// Sends one; what the line loses or holds back was sent as well.
pub(crate) async fn send(line: &Arc<Datagrams>, bytes: Vec<u8>, to: SocketAddr) -> bool {
    match line.sky.fate() {
        Fate::Passes => line.socket.send_to(&bytes, to).await.is_ok(),
        Fate::Lost => true,
        Fate::Late(time) => {
            let line = Arc::clone(line);
            tokio::spawn(async move {
                sleep(time).await;
                // As on any line nobody hears of it.
                let _ = line.socket.send_to(&bytes, to).await;
            });
            true
        }
    }
}

/// Reads until the wire ends. A datagram that is no message leaves no trace: keep-alives are such.
pub(crate) async fn receive(shared: Arc<Shared>, line: Arc<Datagrams>, local: SocketAddr) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error here is an ICMP answer to something sent before; the socket goes on.
        let Ok((length, from)) = line.socket.recv_from(&mut buffer).await else {
            continue;
        };
        let way = Way::Datagram(Arc::clone(&line));
        let channel = shared.channel(Transport::Udp, local, from, None, way);
        match line.sky.fate() {
            Fate::Passes => shared.arrived(&channel, &buffer[..length]).await,
            Fate::Lost => {}
            Fate::Late(time) => {
                let (late, bytes) = (Arc::clone(&shared), buffer[..length].to_vec());
                shared.spawn(async move {
                    sleep(time).await;
                    late.arrived(&channel, &bytes).await;
                });
            }
        }
    }
}

const LARGEST: usize = 65_535;
