//! Where everything is: loopback addresses and ports that nobody uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::clock;

/// One /24 of loopback addresses and the ports used on it.
pub(crate) struct Network {
    base: [u8; 3],
    pub(crate) sip: u16,
    pub(crate) tls: u16,
    pub(crate) admin: u16,
}

impl Network {
    /// Ports that are free for SIP and for TLS at these hosts.
    pub(crate) fn choose(sips: &[u8], edges: &[u8]) -> Option<Self> {
        (0..50).find_map(|_| {
            let [one, other, ..] = clock::random::<2>();
            let base = [127, 16 + one % 200, other];
            let net = Self { base, sip: 0, tls: 0, admin: 0 };
            let sip = net.free(5060, sips)?;
            let tls = net.free(5061, edges)?;
            let admin = net.free(8080, &[1])?;
            Some(Self { base, sip, tls, admin })
        })
    }

    pub(crate) fn host(&self, last: u8) -> IpAddr {
        let [one, two, three] = self.base;
        Ipv4Addr::new(one, two, three, last).into()
    }

    /// `port`, or a later one, that is free at all of these addresses. A softphone that listens on
    /// every address takes the usual ones away.
    fn free(&self, port: u16, hosts: &[u8]) -> Option<u16> {
        let is_free = |port: &u16| {
            hosts.iter().all(|last| {
                let at = SocketAddr::new(self.host(*last), *port);
                TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
            })
        };
        (port..port.saturating_add(1000)).step_by(10).find(is_free)
    }
}
