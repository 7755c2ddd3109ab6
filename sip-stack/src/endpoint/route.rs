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
