//! Words that every layer shares about where messages come from and go to.
//!
//! Plain data, no sockets: the drivers in `net` give these types their meaning.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A SIP transport (RFC 3261 §7.1 and §18).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Transport {
    /// Datagrams; lossy, so transactions retransmit.
    Udp,
    /// A stream framed by Content-Length.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// Whether the transport itself repeats what is lost.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// The name in a Via header ("UDP").
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The name in a `transport=` URI parameter ("udp").
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The default port (RFC 3261 §19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.via_name())
    }
}

/// One identity of ours (an edge or a realm): its listeners, certificate and trust.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct LocalId(pub u16);

/// One stream connection; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The transport it came by.
    pub transport: Transport,
    /// The identity whose listener or connection received it.
    pub local: LocalId,
    /// The address of ours that received it.
    pub local_addr: SocketAddr,
    /// The address that sent it.
    pub remote: SocketAddr,
    /// The connection, on a stream transport.
    pub flow: Option<FlowId>,
}

/// Where a message shall go: everything a driver needs to pick or open a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The transport to use.
    pub transport: Transport,
    /// The identity that sends: its socket, certificate and trust.
    pub local: LocalId,
    /// The address to send to.
    pub remote: SocketAddr,
    /// The peer's name for SNI and certificate checks; connections are reused only for an equal
    /// (remote, name, local).
    pub name: Option<Arc<str>>,
    /// A connection to prefer while it is open (a response's, a dialog's).
    pub flow: Option<FlowId>,
}

impl Target {
    /// The way back to where a message came from.
    pub const fn reply(source: &Source) -> Self {
        Self {
            transport: source.transport,
            local: source.local,
            remote: source.remote,
            name: None,
            flow: source.flow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_have_the_names_and_ports_of_rfc_3261() {
        let facts = |t: Transport| (t.via_name(), t.uri_name(), t.default_port(), t.is_reliable());
        assert_eq!(facts(Transport::Udp), ("UDP", "udp", 5060, false));
        assert_eq!(facts(Transport::Tcp), ("TCP", "tcp", 5060, true));
        assert_eq!(facts(Transport::Tls), ("TLS", "tls", 5061, true));
        assert_eq!(Transport::Tls.to_string(), "TLS");
    }

    #[test]
    fn a_reply_goes_back_on_the_same_flow() {
        let source = Source {
            transport: Transport::Tls,
            local: LocalId(2),
            local_addr: "192.0.2.1:5061".parse().unwrap(),
            remote: "192.0.2.9:40000".parse().unwrap(),
            flow: Some(FlowId(7)),
        };
        let target = Target::reply(&source);
        assert_eq!((target.transport, target.local), (source.transport, source.local));
        assert_eq!((target.remote, target.flow), (source.remote, source.flow));
        assert_eq!(target.name, None);
    }
}
