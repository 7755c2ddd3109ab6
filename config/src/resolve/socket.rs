//! No two listeners on one socket, none among the ports for media.

use std::net::{IpAddr, SocketAddr};

use crate::fault::{Draft, Findings};
use crate::model::Transport;
use crate::resolve::media::{Pools, ports_of};
use crate::section::root::RawMain;
use crate::source::Span;

/// A socket that will be bound.
struct Socket {
    datagram: bool,
    address: SocketAddr,
    span: Span,
}

pub(crate) fn check(main: &RawMain, pools: &Pools<'_>, out: &mut Findings) {
    let edges = main.edges.iter().filter_map(|edge| edge.listen.as_ref()).map(|at| Socket {
        datagram: false,
        address: at.value.0,
        span: at.span,
    });
    let realms = main.realms.iter().filter_map(|realm| realm.listen.as_ref());
    let listeners = realms.flat_map(|list| &list.value).map(|at| Socket {
        datagram: at.value.transport == Transport::Udp,
        address: at.value.address,
        span: at.span,
    });
    let admin = main.admin.as_ref().map(|raw| Socket {
        datagram: false,
        address: raw.listen.value.0,
        span: raw.listen.span,
    });
    if let Some(admin) = admin.as_ref().filter(|admin| !admin.address.ip().is_loopback()) {
        let message = "metrics and health are open to the network";
        let help =
            "They ask for no password: listen on 127.0.0.1, or guard the port by a firewall.";
        out.warn(Draft::new(message, help).at(admin.span, "not a loopback address"));
    }
    let mut sockets: Vec<_> = edges.chain(listeners).chain(admin).collect();
    // Within one port an unspecified address sorts before the others of its family.
    sockets.sort_by_key(|socket| {
        let Socket { datagram, address, span } = *socket;
        (datagram, address.port(), address.is_ipv6(), address.ip(), span)
    });
    let key = |socket: &Socket| (socket.datagram, socket.address.port(), socket.address.is_ipv6());
    for group in sockets.chunk_by(|a, b| key(a) == key(b)) {
        let all = group[0].address.ip().is_unspecified();
        for pair in group.windows(2) {
            if all {
                clash(&pair[1], &group[0], out);
            } else if pair[0].address == pair[1].address {
                clash(&pair[1], &pair[0], out);
            }
        }
    }
    for socket in sockets.iter().filter(|socket| socket.datagram) {
        check_media(socket, pools, out);
    }
}

fn clash(a: &Socket, b: &Socket, out: &mut Findings) {
    let (first, again) = if a.span < b.span { (a, b) } else { (b, a) };
    let kind = if a.datagram { "UDP" } else { "TCP" };
    let message = match a.address == b.address {
        true => format!("{kind} {} is listened on twice", again.address),
        false => format!("{kind} {} and {} clash", first.address, again.address),
    };
    let help = "Give each listener its own address or port (TLS listens on TCP).";
    out.fault(Draft::new(message, help).at(again.span, "this listener").at(first.span, "and this"));
}

fn check_media(socket: &Socket, pools: &Pools<'_>, out: &mut Findings) {
    let (ip, port) = (socket.address.ip(), socket.address.port());
    let same =
        |address: IpAddr| address == ip || ip.is_unspecified() && address.is_ipv4() == ip.is_ipv4();
    let ranges = pools.list.iter().flat_map(|pool| pool.addresses).filter_map(ports_of);
    for (address, ports, place) in ranges {
        if same(address) && ports.contains(&port) {
            let message = format!("UDP {} lies among the ports for media", socket.address);
            let help = "Listen on a port outside the range, or change the range.";
            let draft = Draft::new(message, help).at(socket.span, "this listener");
            out.fault(draft.at(place, "these ports"));
        }
    }
}
