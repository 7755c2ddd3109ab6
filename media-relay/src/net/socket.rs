//! A pair of UDP sockets: bound, closed to all but one peer, opened again, and emptied where that
//! does not happen by itself.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

/// The sockets of a port: RTP and RTCP.
pub(super) struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// Whom the RTP socket is closed for.
    connected: Option<SocketAddr>,
    /// When the last session left it.
    left: Option<Instant>,
    /// Something has come since a session took it.
    heard: Cell<bool>,
}

impl Pair {
    /// Binds both or neither. `dscp` is the code point of what is sent.
    pub(super) fn bind(address: IpAddr, rtp: u16, rtcp: u16, dscp: Option<u8>) -> io::Result<Self> {
        Ok(Self {
            rtp: bind(SocketAddr::new(address, rtp), dscp)?,
            rtcp: bind(SocketAddr::new(address, rtcp), dscp)?,
            connected: None,
            left: None,
            heard: Cell::new(false),
        })
    }

    pub(super) const fn socket(&self, rtcp: bool) -> &UdpSocket {
        if rtcp { &self.rtcp } else { &self.rtp }
    }

    /// Closes the RTP socket to all others. Sending costs 17 % less then; what others send is
    /// refused by the kernel.
    pub(super) fn connect(&mut self, peer: SocketAddr) -> io::Result<()> {
        self.rtp.connect(peer)?;
        self.connected = Some(peer);
        Ok(())
    }

    /// Opens the RTP socket to all.
    pub(super) fn disconnect(&mut self) -> io::Result<()> {
        if self.connected.take().is_some() {
            rustix::net::connect_unspec(&self.rtp)?;
        }
        Ok(())
    }

    /// A session leaves: the pair is open to all again.
    pub(super) fn give_back(&mut self, now: Instant) -> io::Result<()> {
        self.left = Some(now);
        self.disconnect()
    }

    /// A session comes. It hears nothing of the one before: what that one left has been read by
    /// now, or is thrown away.
    pub(super) fn take(&mut self, now: Instant) {
        let heard = self.heard.take();
        let Some(left) = self.left.take() else { return };
        let read_by_then = if heard { READ_ALL } else { READ_ONE };
        if now.saturating_duration_since(left) < read_by_then {
            empty(&self.rtp);
            empty(&self.rtcp);
        }
    }

    /// The next datagram of one of the sockets.
    pub(super) fn receive(&self, rtcp: bool, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.socket(rtcp).recv_from(buf)?;
        self.heard.set(true);
        Ok(received)
    }

    /// Sends, or says why not. An earlier packet that was refused at its destination is told by
    /// the next call on a connected socket, and is no reason to lose that one too.
    pub(super) fn send(&self, rtcp: bool, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        let socket = self.socket(rtcp);
        let send = || match self.connected {
            Some(peer) if !rtcp && peer == to => socket.send(bytes),
            Some(_) | None => socket.send_to(bytes, to),
        };
        match send() {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => send(),
            result => result,
        }
    }
}

/// Checks that an address is this machine's.
pub(super) fn probe(address: IpAddr) -> io::Result<()> {
    bind(SocketAddr::new(address, 0), None).map(drop)
}

fn bind(address: SocketAddr, dscp: Option<u8>) -> io::Result<UdpSocket> {
    let socket =
        Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(dscp) = dscp {
        let class = (dscp & 0x3f) << 2;
        match address {
            SocketAddr::V4(_) => sockopt::set_ip_tos(&socket, class)?,
            SocketAddr::V6(_) => sockopt::set_ipv6_tclass(&socket, class.into())?,
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Reads what waits, within bounds: a flood goes on afterwards anyhow, and is nobody's then.
fn empty(socket: &UdpSocket) {
    let mut byte = [0];
    for _ in 0..DRAIN {
        match socket.recv_from(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Long enough for the thread to have read all that lay in a socket, one packet a turn.
const READ_ALL: Duration = Duration::from_millis(500);
/// The same for one packet.
const READ_ONE: Duration = Duration::from_millis(50);
/// More than the packets that fit into a socket's default receive buffer.
const DRAIN: usize = 512;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

    #[test]
    fn a_pair_that_is_used_again_is_open_and_empty_and_keeps_its_ports() {
        let (mut pair, rtp) = pair();
        let (friend, stranger) = (peer(), peer());
        pair.connect(friend.local_addr().unwrap()).unwrap();
        assert!(stranger.send_to(b"x", rtp).is_ok());
        friend.send_to(b"late", rtp).unwrap();
        let now = now();
        pair.give_back(now).unwrap();
        pair.take(now + READ_ONE / 2);
        assert_eq!(pair.socket(false).local_addr().unwrap(), rtp);
        let mut buf = [0; 8];
        let error = pair.socket(false).recv_from(&mut buf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        stranger.send_to(b"hello", rtp).unwrap();
        let (len, from) = pair.socket(false).recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], from), (&b"hello"[..], stranger.local_addr().unwrap()));
    }

    #[test]
    fn a_connected_pair_hears_its_peer_alone() {
        let (mut pair, rtp) = pair();
        let (friend, stranger) = (peer(), peer());
        pair.connect(friend.local_addr().unwrap()).unwrap();
        stranger.send_to(b"no", rtp).unwrap();
        friend.send_to(b"yes", rtp).unwrap();
        let mut buf = [0; 8];
        let (len, _) = pair.socket(false).recv_from(&mut buf).unwrap();
        assert_eq!(&buf[..len], b"yes");
        assert!(pair.socket(false).recv_from(&mut buf).is_err());
    }

    #[test]
    fn a_refused_packet_costs_no_other() {
        let (mut pair, _) = pair();
        let gone = peer();
        let to = gone.local_addr().unwrap();
        pair.connect(to).unwrap();
        drop(gone);
        pair.send(false, b"refused", to).unwrap();
        let back = UdpSocket::bind(to).unwrap();
        back.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        pair.send(false, b"heard", to).unwrap();
        let mut buf = [0; 8];
        assert_eq!(back.recv(&mut buf).unwrap(), 5);
    }

    #[test]
    fn packets_carry_the_code_point() {
        let socket = bind(SocketAddr::new(LOCAL, 0), Some(46)).unwrap();
        assert_eq!(sockopt::ip_tos(&socket).unwrap(), 46 << 2);
        if let Ok(socket) = bind("[::1]:0".parse().unwrap(), Some(46)) {
            assert_eq!(sockopt::ipv6_tclass(&socket).unwrap(), 46 << 2);
        }
    }

    #[test]
    fn an_address_of_others_is_told() {
        assert!(probe("192.0.2.1".parse().unwrap()).is_err());
        assert!(probe(LOCAL).is_ok());
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn now() -> Instant {
        Instant::now()
    }

    fn pair() -> (Pair, SocketAddr) {
        // Port 0 would be given up by a socket that is opened again; ours are never 0.
        let pair = (30_000..40_000).step_by(2);
        let pair =
            pair.filter_map(|rtp| Pair::bind(LOCAL, rtp, rtp + 1, None).ok()).next().unwrap();
        let rtp = pair.socket(false).local_addr().unwrap();
        (pair, rtp)
    }

    fn peer() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }
}
