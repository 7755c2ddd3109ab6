//! Where media must never be sent, whatever a peer describes: to ourselves, to a crowd, to nobody, to this very host,
//! to a port that is no media port. A description that names such a place is refused (488), so that nobody can make the
//! relay talk to itself, to a service of this host or to somebody's SIP port.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// Our own addresses and ports, and the peers that live on this host.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    places: Vec<(IpAddr, RangeInclusive<u16>)>,
    /// Networks of peers within the loopback net: in a laboratory everything is there. Empty elsewhere, and then no
    /// loopback address is taken.
    near: Vec<IpNet>,
}

impl Owned {
    /// Every media address and every listener of the configuration.
    pub fn new(config: &config::Config) -> Self {
        let media = config.media.iter().flat_map(|pool| &pool.addresses).flat_map(|a| {
            let public = a.advertise.map(|ip| (ip, a.ports.clone()));
            std::iter::once((a.address, a.ports.clone())).chain(public)
        });
        let edges = config.edges.iter().flat_map(|edge| {
            let public = edge.advertise.map(|ip| SocketAddr::new(ip, edge.listen.port()));
            std::iter::once(edge.listen).chain(public)
        });
        let realms = config.realms.iter().flat_map(|realm| {
            realm.listen.iter().flat_map(|listener| {
                let public = realm.advertise.map(|ip| SocketAddr::new(ip, listener.address.port()));
                std::iter::once(listener.address).chain(public)
            })
        });
        let listeners = edges.chain(realms).chain(config.admin);
        let listeners = listeners.map(|at| (at.ip(), at.port()..=at.port()));

        let trunks = config.trunks.iter().flat_map(|trunk| {
            let peers = trunk.peers.iter().filter_map(|peer| match peer.host {
                config::Host::Ip(ip) => Some(IpNet::from(ip)),
                config::Host::Name(_) | config::Host::Registered => None,
            });
            trunk.networks.iter().chain(&trunk.media_networks.networks).copied().chain(peers)
        });
        let clouds = config.edges.iter().flat_map(|edge| &edge.networks).copied();
        Self {
            places: media.chain(listeners).collect(),
            near: trunks.chain(clouds).filter(|net| net.addr().is_loopback()).collect(),
        }
    }

    /// Whether media must not be sent there.
    pub fn forbids(&self, at: SocketAddr) -> bool {
        let (ip, port) = (at.ip().to_canonical(), at.port());
        let strange = match ip {
            IpAddr::V4(v4) => {
                // "This network" (RFC 791) and the former class E, broadcast included.
                v4.is_multicast() || v4.is_link_local() || matches!(v4.octets()[0], 0 | 240..)
            }
            IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
        };
        let own = |(address, ports): &(IpAddr, RangeInclusive<u16>)| {
            (*address == ip || address.is_unspecified()) && ports.contains(&port)
        };
        strange
            || ip.is_unspecified()
            || (ip.is_loopback() && !self.near.iter().any(|net| net.contains(&ip)))
            || port < LOWEST_PORT
            || SIP_PORTS.contains(&port)
            || self.places.iter().any(own)
    }
}

/// Below are the ports of system services.
const LOWEST_PORT: u16 = 1024;
/// RFC 3261 §19.1.2: nobody receives media there.
const SIP_PORTS: RangeInclusive<u16> = 5060..=5061;

#[cfg(test)]
impl Owned {
    /// With just that place of ours, and no peer on this host.
    pub(super) fn only(address: &str, ports: RangeInclusive<u16>) -> Self {
        Self { places: vec![(address.parse().unwrap(), ports)], near: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_32_where_media_never_go() {
        let mut owned = Owned::only("192.0.2.11", 20000..=20999);
        for (at, forbidden) in [
            ("203.0.113.5:30000", false),
            ("10.0.0.1:1024", false),
            ("[2001:db8::1]:30000", false),
            ("192.0.2.11:21000", false),
            ("192.0.2.11:20010", true),
            ("[::ffff:192.0.2.11]:20010", true),
            ("127.0.0.1:30000", true),
            ("127.3.2.1:30000", true),
            ("[::1]:30000", true),
            ("[::ffff:127.0.0.1]:30000", true),
            ("0.0.0.0:30000", true),
            ("[::]:30000", true),
            ("0.0.0.1:30000", true),
            ("169.254.169.254:30000", true),
            ("[fe80::1]:30000", true),
            ("224.0.0.1:30000", true),
            ("239.255.255.250:30000", true),
            ("[ff02::1]:30000", true),
            ("240.0.0.1:30000", true),
            ("255.255.255.255:30000", true),
            ("203.0.113.5:0", true),
            ("203.0.113.5:22", true),
            ("203.0.113.5:53", true),
            ("203.0.113.5:1023", true),
            ("203.0.113.5:5060", true),
            ("203.0.113.5:5061", true),
        ] {
            assert_eq!(owned.forbids(at.parse().unwrap()), forbidden, "{at}");
        }
        // In a laboratory the peers are on this host: they and nobody else there.
        owned.near = vec!["127.3.2.0/24".parse().unwrap()];
        assert!(!owned.forbids("127.3.2.1:30000".parse().unwrap()));
        assert!(owned.forbids("127.0.0.1:30000".parse().unwrap()));
    }

    #[test]
    fn a_listener_on_every_address_is_ours_on_every_address() {
        let owned = Owned::only("0.0.0.0", 5080..=5080);
        assert!(owned.forbids("203.0.113.5:5080".parse().unwrap()));
        assert!(!owned.forbids("203.0.113.5:5082".parse().unwrap()));
    }
}
