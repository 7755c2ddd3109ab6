//! Addresses: of sockets, listeners, peers, networks, and ranges of ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use crate::model::{Host, Listener, Peer, REGISTERED, Transport};
use crate::read::{Bad, Choice, Text, nearest};
use crate::text::name::HostName;

/// An address that others can send to: not 0.0.0.0, not multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnicastIp(pub(crate) IpAddr);

/// A socket on which we listen; its address may be 0.0.0.0 or ::, its port is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) SocketAddr);

/// A DNS server; its port is 53 unless another is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress(pub(crate) SocketAddr);

/// A network from which packets may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) IpNet);

/// `"signalled"` or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaNetwork {
    Signalled,
    Network(IpNet),
}

/// UDP ports with at least one even port and its odd neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) RangeInclusive<u16>);

/// The word for the address in a peer's SDP.
pub(crate) const SIGNALLED: &str = "signalled";

impl Choice for Transport {
    const WHAT: &'static str = "a transport";
    const WORDS: &'static [(&'static str, Self)] =
        &[("udp", Self::Udp), ("tcp", Self::Tcp), ("tls", Self::Tls)];
}

impl Text for UnicastIp {
    const WHAT: &'static str = "an IP address";

    fn parse(text: &str) -> Result<Self, Bad> {
        let Ok(ip) = text.parse::<IpAddr>() else {
            return Err(no_address(text, "Write an IP address, such as \"203.0.113.9\"."));
        };
        if let Some(kind) = no_unicast(ip) {
            let help = "Write the address of one host.";
            return Err(Bad::new(format!("{ip} is {kind}"), help));
        }
        Ok(Self(ip))
    }
}

impl Text for ListenAddress {
    const WHAT: &'static str = "an IP address with a port";

    fn parse(text: &str) -> Result<Self, Bad> {
        let address = socket(text, None)?;
        if address.ip().is_multicast() || address.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
            let message = format!("{} is no address of a host", address.ip());
            return Err(Bad::new(message, "Write an address of this host."));
        }
        Ok(Self(address))
    }
}

impl Text for ServerAddress {
    const WHAT: &'static str = "the address of a DNS server";

    fn parse(text: &str) -> Result<Self, Bad> {
        let address = socket(text, Some(53))?;
        UnicastIp::parse(&address.ip().to_string())?;
        Ok(Self(address))
    }
}

impl Text for Listener {
    const WHAT: &'static str = "a listener";

    fn parse(text: &str) -> Result<Self, Bad> {
        let (transport, rest) = split_transport(text, "udp:192.0.2.1:5060")?;
        let ListenAddress(address) = ListenAddress::parse(rest)?;
        Ok(Self { transport, address })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(udp|tcp|tls):" })
    }
}

impl Text for Peer {
    const WHAT: &'static str = "a peer";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text == REGISTERED {
            let host = Host::Registered;
            return Ok(Self { transport: Transport::Udp, host, port: None, weight: None });
        }
        let (transport, rest) = split_transport(text, "udp:192.0.2.1:5060")?;
        let (host, port) = split_port(rest)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(_) => Host::Ip(UnicastIp::parse(bare)?.0),
            Err(_) => Host::Name(HostName::parse(host)?.0),
        };
        Ok(Self { transport, host, port, weight: None })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(udp|tcp|tls):|^registered$" })
    }
}

impl Text for Network {
    const WHAT: &'static str = "a network";

    fn parse(text: &str) -> Result<Self, Bad> {
        const HELP: &str = "Write a network, such as \"192.0.2.0/24\", or one address.";
        let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(net), _) => net,
            (_, Ok(ip)) => IpNet::from(ip),
            _ => return Err(no_address(text, HELP)),
        };
        let whole = net.prefix_len() == 0;
        if net.addr() != net.network() {
            let message = format!("{net} has bits set behind its prefix");
            let host = IpNet::from(net.addr());
            let help = format!(
                "Write \"{}\" for the network or \"{host}\" for the one address.",
                net.trunc()
            );
            return Err(Bad::new(message, help));
        }
        if let Some(kind) = no_unicast(net.addr()).filter(|_| !whole) {
            let message = format!("{net} is {kind}: no packet comes from there");
            return Err(Bad::new(message, HELP));
        }
        Ok(Self(net))
    }
}

impl Text for MediaNetwork {
    const WHAT: &'static str = "\"signalled\" or a network";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text == SIGNALLED {
            return Ok(Self::Signalled);
        }
        match nearest(text, std::iter::once(SIGNALLED)) {
            Some(near) => {
                let message = format!("\"{text}\" is not {}", Self::WHAT);
                Err(Bad::new(message, format!("Did you mean \"{near}\"?")))
            }
            None => Network::parse(text).map(|Network(net)| Self::Network(net)),
        }
    }
}

impl Text for Ports {
    const WHAT: &'static str = "a range of ports";

    fn parse(text: &str) -> Result<Self, Bad> {
        const HELP: &str = "Write the first and the last port, such as \"20000-31999\".";
        let read = |part: &str| part.trim().parse::<u16>().ok();
        let ends = text.split_once('-').and_then(|(first, last)| Some((read(first)?, read(last)?)));
        let Some((first, last)) = ends else {
            return Err(Bad::new(format!("\"{text}\" is no range of ports"), HELP));
        };
        if first > last {
            let help = format!("Write \"{last}-{first}\".");
            return Err(Bad::new("the range runs backwards", help));
        }
        if first < 1024 {
            let message = format!("port {first} is one of the system's");
            return Err(Bad::new(message, "Take ports from 1024 on for media."));
        }
        if u32::from(first).next_multiple_of(2) >= u32::from(last) {
            let message = "the range holds no pair of an even port and the next one";
            return Err(Bad::new(
                message,
                "RTP takes an even port and RTCP the next: give two ports per call and side.",
            ));
        }
        Ok(Self(first..=last))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+-[0-9]+$" })
    }
}

/// Splits "udp:rest".
fn split_transport<'a>(text: &'a str, example: &str) -> Result<(Transport, &'a str), Bad> {
    let Some((word, rest)) = text.split_once(':') else {
        let message = format!("\"{text}\" has no transport");
        return Err(Bad::new(
            message,
            format!("Write udp:, tcp: or tls: before it, such as \"{example}\"."),
        ));
    };
    if let Ok(transport) = <Transport as Text>::parse(word) {
        return Ok((transport, rest));
    }
    let help = match nearest(word, Transport::WORDS.iter().map(|(word, _)| *word)) {
        Some(near) => format!("Did you mean \"{near}:{rest}\"?"),
        None if word.parse::<std::net::Ipv4Addr>().is_ok() => {
            format!("Write \"udp:{text}\" (or tcp:, tls:).")
        }
        None => format!("Write udp:, tcp: or tls: first, such as \"{example}\"."),
    };
    Err(Bad::new(format!("\"{text}\" does not begin with a transport"), help))
}

/// Reads "ip:port", "[ipv6]:port", and without a port if one is given here.
fn socket(text: &str, default_port: Option<u16>) -> Result<SocketAddr, Bad> {
    let (host, port) = split_port(text)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(ip) = bare.parse::<IpAddr>() else {
        let port = port.or(default_port).unwrap_or(5060);
        let help = format!("Write the IP address itself, such as \"192.0.2.1:{port}\".");
        return Err(no_address(host, &help));
    };
    match port.or(default_port) {
        Some(port) => Ok(SocketAddr::new(ip, port)),
        None => {
            let message = format!("the port after {host} is missing");
            Err(Bad::new(message, format!("Write it, such as \"{}\".", SocketAddr::new(ip, 5060))))
        }
    }
}

/// Splits off ":port" if there is one. An IPv6 address with a port stands in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), Bad> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((_, more)) if more.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if text.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_err() {
        let message = format!("\"{text}\" has no IPv6 address in its brackets");
        return Err(Bad::new(message, "Write it such as \"[2001:db8::1]:5060\"."));
    }
    let Some(digits) = port else { return Ok((host, None)) };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && plain => Ok((host, Some(port))),
        _ => {
            let message = format!("\"{digits}\" is no port");
            Err(Bad::new(message, "A port is a number from 1 to 65535."))
        }
    }
}

/// Says why `text` is no address, for a name in particular.
fn no_address(text: &str, help: &str) -> Bad {
    match HostName::parse(text) {
        Ok(_) => Bad::new(format!("the name \"{text}\" stands where an IP address must"), help),
        Err(_) => Bad::new(format!("\"{text}\" is no IP address"), help),
    }
}

/// What an address is when it is not that of one host.
fn no_unicast(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("the unspecified address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("the broadcast address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: Text>(texts: &[&str]) {
        for text in texts {
            assert!(T::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn listeners() {
        for text in ["udp:127.0.0.10:5060", "tls:[::1]:5061", "tcp:0.0.0.0:1"] {
            assert_eq!(<Listener as Text>::parse(text).unwrap().to_string(), text);
        }
        refused::<Listener>(&[
            "",
            "udp",
            "udp:",
            "127.0.0.1:5060",
            "udp:127.0.0.1",
            "udp:127.0.0.1:0",
            "udp:127.0.0.1:65536",
            "udp:a.test:5060",
            "sctp:127.0.0.1:1",
            "udp:::1:5060",
            "udp:[::1]",
            "udp:[127.0.0.1]:5060",
            "udp:224.0.0.1:5060",
            "udp:1.2.3.4:+5",
            "udp:[::1]5060",
            "UDP:127.0.0.1:5060",
        ]);
    }

    #[test]
    fn peers_are_names_or_addresses() {
        for text in [
            "udp:127.0.0.50:5070",
            "tcp:pbx.inside.test",
            "tls:a.test:5061",
            "udp:[2001:db8::1]:5060",
            "udp:[::1]",
        ] {
            assert_eq!(Peer::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Peer::parse("udp:2001:db8::1").unwrap().port, None);
        refused::<Peer>(&[
            "",
            "pbx.test",
            "sip:pbx.test",
            "udp:",
            "udp:0.0.0.0",
            "udp:a_b",
            "udp:a.test:",
            "udp:a.test:x",
            "udp:[::1",
            "udp:]",
        ]);
    }

    #[test]
    fn networks_have_no_stray_bits_and_can_be_a_source() {
        for (text, want) in [
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(Network::parse(text).unwrap().0.to_string(), want);
        }
        refused::<Network>(&[
            "",
            "a.test",
            "127.0.0.1/8",
            "127.0.0.0/33",
            "224.0.0.0/4",
            "0.0.0.0/32",
            "255.255.255.255",
            "ff00::/8",
            "10.0.0.0/",
            "::/128",
        ]);
        assert_eq!(MediaNetwork::parse("signalled"), Ok(MediaNetwork::Signalled));
        refused::<MediaNetwork>(&["signaled", "Signalled", "any"]);
    }

    #[test]
    fn ranges_of_ports_hold_a_pair() {
        assert_eq!(Ports::parse("20000-31999").unwrap().0, 20000..=31999);
        assert_eq!(Ports::parse("2001 - 2003").unwrap().0, 2001..=2003);
        refused::<Ports>(&[
            "",
            "20000",
            "20000-",
            "2000-2000",
            "2001-2002",
            "3000-2000",
            "80-90",
            "1-70000",
            "65535-65535",
        ]);
    }

    #[test]
    fn other_addresses() {
        assert_eq!(ServerAddress::parse("127.0.0.53").unwrap().0.port(), 53);
        assert_eq!(ServerAddress::parse("[::1]:5353").unwrap().0.port(), 5353);
        assert_eq!(ServerAddress::parse("::1").unwrap().0.port(), 53);
        refused::<ServerAddress>(&["0.0.0.0:53", "dns.test"]);
        refused::<UnicastIp>(&["0.0.0.0", "224.0.0.1", "1.2.3.4:5", "a.test", ""]);
    }
}
