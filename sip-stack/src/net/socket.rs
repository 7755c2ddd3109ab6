//! Sockets and their options.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimestampns};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// A bound UDP socket. An address in use by another process is an error, never shared.
pub(super) fn datagrams(address: SocketAddr, dscp: Option<u8>) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP, dscp)?;
    tune_datagrams(&socket);
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

/// A UDP socket that another process has bound.
pub(super) fn inherited_datagrams(fd: OwnedFd, dscp: Option<u8>) -> io::Result<UdpSocket> {
    let socket = inherited(fd, Type::DGRAM, dscp)?;
    tune_datagrams(&socket);
    UdpSocket::from_std(socket.into())
}

/// A TCP socket on which another process listens.
pub(super) fn inherited_listener(fd: OwnedFd, dscp: Option<u8>) -> io::Result<TcpListener> {
    TcpListener::from_std(inherited(fd, Type::STREAM, dscp)?.into())
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
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let v4 = stream.local_addr().is_ok_and(|address| address.is_ipv4());
    let _ = mark(&socket, v4, dscp);
}

/// Sends a datagram at once, whatever the runtime has seen of the socket so far.
pub(super) fn send(socket: &UdpSocket, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
    SockRef::from(socket).send_to(bytes, &remote.into()).map(drop)
}

fn tune_datagrams(socket: &Socket) {
    // The kernel grants what it allows; a burst is then shorter, nothing else.
    if setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    // Without stamps a datagram counts as received when it is read.
    let _ = setsockopt(socket, ReceiveTimestampns, &true);
}

fn inherited(fd: OwnedFd, kind: Type, dscp: Option<u8>) -> io::Result<Socket> {
    let socket = Socket::from(fd);
    if socket.r#type()? != kind {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    socket.set_nonblocking(true)?;
    let v4 = socket.local_addr()?.is_ipv4();
    let _ = mark(&SockRef::from(&socket), v4, dscp);
    Ok(socket)
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

const RECEIVE_BUFFER: usize = 16 << 20;
const BACKLOG: i32 = 1024;
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// What we sent and the peer has not acknowledged ends a connection after this time. The kernel's own
/// patience is a quarter of an hour, in which every message on a connection to a dead peer is lost.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_reach_the_kernel() {
        let listener = listener("127.0.0.1:0".parse().unwrap(), Some(24)).unwrap();
        let remote = listener.local_addr().unwrap();
        let stream = connect(remote, Some(remote.ip()), Some(24)).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        tune(&accepted, Some(24));
        for stream in [&stream, &accepted] {
            let socket = SockRef::from(stream);
            assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tos_v4().unwrap(), 24 << 2);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
        }
        let datagrams = datagrams("127.0.0.1:0".parse().unwrap(), Some(46)).unwrap();
        assert_eq!(SockRef::from(&datagrams).tos_v4().unwrap(), 46 << 2);
    }

    #[tokio::test]
    async fn an_address_is_bound_once() {
        let first = datagrams("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let taken = datagrams(first.local_addr().unwrap(), None).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let first = listener("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let taken = listener(first.local_addr().unwrap(), None).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
