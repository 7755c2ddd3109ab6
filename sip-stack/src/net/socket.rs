//! Sockets and their options.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// A bound UDP socket. An address in use by another process is an error, never shared.
pub(super) fn datagrams(address: SocketAddr, dscp: Option<u8>) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP, dscp)?;
    // The kernel grants what it allows; a burst is then shorter, nothing else.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// A listening TCP socket.
pub(super) fn listener(address: SocketAddr, dscp: Option<u8>) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP, dscp)?;
    // Connections of a former process in TIME_WAIT do not hinder us.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Opens a TCP connection, from `local` if it is given.
pub(super) async fn connect(
    remote: SocketAddr,
    local: Option<IpAddr>,
    dscp: Option<u8>,
) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(remote).await?;
    tune(&stream, dscp);
    Ok(stream)
}

/// Options of a connection. One that the kernel refuses changes speed or marking, not function.
pub(super) fn tune(stream: &TcpStream, dscp: Option<u8>) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let v4 = stream.local_addr().is_ok_and(|address| address.is_ipv4());
    let _ = mark(&socket, v4, dscp);
}

/// Sends a datagram at once, whatever the runtime has seen of the socket so far.
pub(super) fn send(socket: &UdpSocket, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
    SockRef::from(socket).send_to(bytes, &remote.into()).map(drop)
}

fn socket(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    dscp: Option<u8>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = mark(&SockRef::from(&socket), address.is_ipv4(), dscp);
    Ok(socket)
}

/// The differentiated services code point: the upper six bits of the octet (RFC 2474 §3).
fn mark(socket: &SockRef<'_>, v4: bool, dscp: Option<u8>) -> io::Result<()> {
    let Some(dscp) = dscp else { return Ok(()) };
    let octet = u32::from(dscp & 0x3f) << 2;
    if v4 { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) }
}

const RECEIVE_BUFFER: usize = 4 << 20;
const BACKLOG: i32 = 1024;
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
