//! Where a response goes: RFC 3261 §18.2.2 and RFC 3581 §4.
//!
//! Over a stream it goes back on the connection of the request; when that is gone, the driver opens
//! one to the address that sent the request and the sent-by port. A datagram goes to the address that
//! sent the request: to its port where `rport` asks for it, else to the sent-by port. `maddr` is not
//! followed: a peer must not steer our packets to somebody else.

use std::sync::Arc;

use crate::message::Via;
use crate::transport::{Source, Target, Transport};

/// The target of responses to a request that came from `source` with this topmost Via.
pub(super) fn response_target(source: &Source, via: &Via<'_>) -> Target {
    let sent_by_port = via.port.unwrap_or(source.transport.default_port());
    let (port, name) = match source.transport {
        Transport::Udp if via.has_rport() => (source.remote.port(), None),
        Transport::Udp | Transport::Tcp => (sent_by_port, None),
        Transport::Tls => (sent_by_port, name(via)),
    };
    let mut remote = source.remote;
    remote.set_port(port);
    Target { transport: source.transport, local: source.local, remote, name, flow: source.flow }
}

/// The sent-by host, where it is a name: what a certificate must cover should a connection be opened.
fn name(via: &Via<'_>) -> Option<Arc<str>> {
    if via.host_ip().is_some() {
        return None;
    }
    std::str::from_utf8(via.host).ok().map(|host| host.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::source;
    use super::*;

    #[test]
    fn responses_go_back_where_requests_came_from() {
        // transport, Via, where to, name
        let table = [
            (Transport::Udp, "UDP peer.example:5070;branch=1;rport", 40000, None),
            (Transport::Udp, "UDP peer.example:5070;branch=1", 5070, None),
            (Transport::Udp, "UDP peer.example;branch=1", 5060, None),
            (Transport::Udp, "UDP 198.51.100.1;maddr=198.51.100.2", 5060, None),
            (Transport::Udp, "UDP 192.0.2.9;received=198.51.100.3;rport=9", 40000, None),
            (Transport::Tcp, "TCP peer.example;branch=1;rport", 5060, None),
            (Transport::Tls, "TLS Peer.Example;branch=1", 5061, Some("peer.example")),
            (Transport::Tls, "TLS peer.example:5070;branch=1", 5070, Some("peer.example")),
            (Transport::Tls, "TLS 192.0.2.9:5070;branch=1", 5070, None),
            (Transport::Tls, "TLS [2001:db8::9]:5070;branch=1", 5070, None),
        ];
        for (transport, via, port, name) in table {
            let text = format!("SIP/2.0/{via}");
            let via = Via::parse(text.as_bytes()).unwrap();
            let source = source(transport);
            let target = response_target(&source, &via);
            assert_eq!((target.transport, target.local), (transport, source.local), "{text}");
            assert_eq!(target.remote.ip(), source.remote.ip(), "{text}");
            assert_eq!(target.remote.port(), port, "{text}");
            assert_eq!(target.name.as_deref(), name, "{text}");
            assert_eq!(target.flow, source.flow, "{text}");
        }
    }

    #[test]
    fn a_link_local_address_keeps_its_scope() {
        let remote = "[fe80::1%7]:40000".parse().unwrap();
        let source = Source { remote, ..source(Transport::Udp) };
        let via = Via::parse(b"SIP/2.0/UDP peer.example;branch=1").unwrap();
        assert_eq!(response_target(&source, &via).remote, "[fe80::1%7]:5060".parse().unwrap());
    }
}
