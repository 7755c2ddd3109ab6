//! Connections: dialled and accepted, plain and TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::capture::Transport;
use crate::sip::{Frame, Framing};
use crate::wire::{Channel, QUEUE, Route, Shared, Way};

/// Accepts until the wire ends.
pub(crate) async fn accept(shared: Arc<Shared>, transport: Transport, listener: TcpListener) {
    loop {
        // Errors here are those of one connection that went before it was taken.
        let Ok((stream, remote)) = listener.accept().await else {
            continue;
        };
        let shared_too = Arc::clone(&shared);
        shared.spawn(async move {
            // The handshake is noted; a stranger gets nothing else.
            let _ = greet(&shared_too, transport, stream, remote).await;
        });
    }
}

/// Opens a connection from an address of ours.
pub(crate) async fn open(shared: &Arc<Shared>, route: &Route) -> io::Result<Channel> {
    let socket = if route.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((route.from, 0).into())?;
    let stream = timeout(PATIENCE, socket.connect(route.to)).await??;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let Some(tls) = shared.tls.as_ref().filter(|_| route.transport == Transport::Tls) else {
        if route.transport == Transport::Tls {
            return Err(io::Error::other("this end has no certificate"));
        }
        return Ok(start(shared, Transport::Tcp, local, route.to, None, stream));
    };
    let shaken = timeout(PATIENCE, tls.connect(stream, &route.name)).await;
    let (peer, stream) = match shaken.map_err(io::Error::from).flatten() {
        Ok((peer, stream)) => {
            shared.note(peer.handshake(false, local, route.to));
            (peer, stream)
        }
        Err(error) => {
            let name = Some(route.name.clone());
            shared.note(super::tls::failed(false, local, route.to, name, &error));
            return Err(error);
        }
    };
    Ok(start(shared, Transport::Tls, local, route.to, Some(Arc::new(peer)), stream))
}

async fn greet(
    shared: &Arc<Shared>,
    transport: Transport,
    stream: TcpStream,
    remote: SocketAddr,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let Some(tls) = shared.tls.as_ref().filter(|_| transport == Transport::Tls) else {
        if transport == Transport::Tcp {
            start(shared, transport, local, remote, None, stream);
        }
        return Ok(());
    };
    match timeout(PATIENCE, tls.accept(stream)).await.map_err(io::Error::from).flatten() {
        Ok((peer, stream)) => {
            shared.note(peer.handshake(true, local, remote));
            start(shared, Transport::Tls, local, remote, Some(Arc::new(peer)), stream);
        }
        Err(error) => shared.note(super::tls::failed(true, local, remote, None, &error)),
    }
    Ok(())
}

fn start(
    shared: &Arc<Shared>,
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    peer: Option<Arc<super::Peer>>,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) -> Channel {
    let (queue, mut outgoing) = mpsc::channel::<Vec<u8>>(QUEUE);
    let weak = queue.downgrade();
    let channel = shared.channel(transport, local, remote, peer, Way::Stream(queue));
    let template = channel.clone();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let shared_too = Arc::clone(shared);
    // The reader keeps a sender alive, so the connection lives until either side closes it.
    let read = async move {
        let mut framing = Framing::default();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length) = reader.read(&mut buffer).await {
            if length == 0 {
                return;
            }
            framing.push(&buffer[..length]);
            while let Some(frame) = framing.next() {
                match frame {
                    Frame::Message(bytes) => shared_too.arrived(&template, &bytes).await,
                    Frame::Ping => {
                        if let Some(queue) = weak.upgrade() {
                            // A full queue loses the pong, as a busy peer would.
                            let _ = queue.try_send(b"\r\n".to_vec());
                        }
                    }
                    Frame::Garbage => return,
                }
            }
        }
    };
    let write = async move {
        while let Some(bytes) = outgoing.recv().await {
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    shared.spawn(async move {
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    });
    channel
}

/// For a connect and for a handshake.
const PATIENCE: Duration = Duration::from_secs(3);
