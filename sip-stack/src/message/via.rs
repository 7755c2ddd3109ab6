//! Via (RFC 3261 §20.42) with the response parameters of RFC 3581.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::scan::{Elements, Params, are_quotes_closed, is_lws, is_token, number, trim};
use super::vector::find;

/// One Via element. Borrows the value that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as received ("UDP", "TLS", any token).
    pub transport: &'a [u8],
    /// The sent-by host as received; an IPv6 address with its brackets.
    pub host: &'a [u8],
    /// The sent-by port, where one is given.
    pub port: Option<u16>,
    /// The parameters, from their first `;`.
    pub params: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one element; `None` when it is malformed.
    pub fn parse(element: &'a [u8]) -> Option<Self> {
        let element = trim(element);
        let mut rest = Rest(element);
        match element.strip_prefix(b"SIP/2.0/") {
            Some(behind) => rest = Rest(behind),
            None => rest.protocol()?,
        }
        rest.skip_lws();
        let transport = rest.token()?;
        if !rest.skip_lws() {
            return None;
        }
        let host = rest.host()?;
        rest.skip_lws();
        let port = match rest.0.first() {
            Some(b':') => {
                rest.expect(b':')?;
                let port = u16::try_from(number(rest.token()?)?).ok()?;
                rest.skip_lws();
                Some(port)
            }
            _ => None,
        };
        let params = rest.0;
        matches!(params.first(), None | Some(b';')).then_some(Self {
            transport,
            host,
            port,
            params,
        })
    }

    /// The parameter of that name, in any case: `Some(None)` when it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        Params::new(self.params).find(name)
    }

    /// The branch; empty when there is none (RFC 2543 peers).
    pub fn branch(&self) -> &'a [u8] {
        self.param("branch").flatten().unwrap_or_default()
    }

    /// The branch, where the parameters are in order: a parameter behind every `;`, every quote
    /// closed, one branch at most. Anything else means a broken or forged list (RFC 4475 §3.1.2.1).
    pub(super) fn checked_branch(&self) -> Option<&'a [u8]> {
        if self.params.ends_with(b";") || !are_quotes_closed(self.params) {
            return None;
        }
        let mut branch = None;
        let mut params = Params::new(self.params);
        while let Some((name, value)) = params.next_raw() {
            if name.eq_ignore_ascii_case(b"branch") && branch.is_none() {
                branch = Some(value.unwrap_or_default());
            } else if name.is_empty() || name.eq_ignore_ascii_case(b"branch") {
                return None;
            }
        }
        Some(branch.unwrap_or_default())
    }

    /// The `received` address, with or without brackets round IPv6 (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        ip(self.param("received").flatten()?)
    }

    /// Whether the peer asked for, or an answer carries, `rport` (RFC 3581).
    pub fn has_rport(&self) -> bool {
        self.param("rport").is_some()
    }

    /// The port that `rport` carries.
    pub fn rport(&self) -> Option<u16> {
        u16::try_from(number(self.param("rport").flatten()?)?).ok()
    }

    /// The sent-by host where it is an IP address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }
}

/// A Via header value whose first element tells where the request came from: `received` where
/// sent-by differs or `rport` was asked for, `rport` filled in where asked for (RFC 3261 §18.2.1,
/// RFC 3581 §4). What stood in either before is replaced: a peer cannot steer our answer.
pub fn stamp(value: &Bytes, source: SocketAddr) -> Bytes {
    let Some(first) = Elements::new(value).next() else {
        return value.clone();
    };
    let Some(via) = Via::parse(first) else {
        return value.clone();
    };
    let from = source.ip().to_canonical();
    let differs = via.host_ip().is_none_or(|host| host.to_canonical() != from);
    if !differs && !via.has_rport() && via.param("received").is_none() {
        return value.clone();
    }
    let head = &first[..first.len() - via.params.len()];
    let mut stamped = Vec::with_capacity(value.len() + 64);
    stamped.extend_from_slice(head);
    for (name, text) in Params::new(via.params) {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        stamped.push(b';');
        stamped.extend_from_slice(name);
        if let Some(text) = text {
            stamped.push(b'=');
            stamped.extend_from_slice(text);
        }
    }
    if differs || via.has_rport() {
        stamped.extend_from_slice(format!(";received={from}").as_bytes());
    }
    if via.has_rport() {
        stamped.extend_from_slice(format!(";rport={}", source.port()).as_bytes());
    }
    let end = super::scan::offset(value, first).map_or(value.len(), |at| at + first.len());
    stamped.extend_from_slice(&value[end..]);
    Bytes::from(stamped)
}

fn ip(text: &[u8]) -> Option<IpAddr> {
    let text = match text {
        [b'[', inner @ .., b']'] => inner,
        _ => text,
    };
    std::str::from_utf8(text).ok()?.parse().ok()
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Skips white space and says whether there was any.
    fn skip_lws(&mut self) -> bool {
        let len = self.0.iter().take_while(|&&b| is_lws(b)).count();
        self.0 = &self.0[len..];
        len > 0
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let len = self.0.iter().take_while(|&&b| is_token(b)).count();
        (len > 0).then(|| self.take(len))
    }

    /// The name and version of the protocol, however it is written.
    fn protocol(&mut self) -> Option<()> {
        let name = self.token()?;
        self.expect(b'/')?;
        let version = self.token()?;
        self.expect(b'/')?;
        (name.eq_ignore_ascii_case(b"SIP") && version == b"2.0").then_some(())
    }

    /// One separator with white space on both sides.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip_lws();
        if self.0.first() != Some(&byte) {
            return None;
        }
        self.take(1);
        self.skip_lws();
        Some(())
    }

    fn host(&mut self) -> Option<&'a [u8]> {
        if self.0.first() == Some(&b'[') {
            let end = find(b']', self.0)?;
            let inner = &self.0[1..end];
            let plain = inner.iter().all(|&b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
            return (plain && !inner.is_empty()).then(|| self.take(end + 1));
        }
        self.token()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_forms() {
        let via = Via::parse(b"SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bKx").unwrap();
        assert_eq!(
            (via.transport, via.host, via.port),
            (&b"UDP"[..], &b"192.0.2.1"[..], Some(5062))
        );
        assert_eq!(via.branch(), b"z9hG4bKx");
        assert!(via.has_rport());
        assert_eq!(via.rport(), None);

        let via =
            Via::parse(b"SIP/2.0/TLS [2001:db8::9]:5061;received=[2001:db8::1];rport=9;branch=b")
                .unwrap();
        assert_eq!(via.host, b"[2001:db8::9]");
        assert_eq!(via.host_ip(), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(via.received(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(via.rport(), Some(9));

        let wild =
            Via::parse(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ;branch = 390skdjuw").unwrap();
        assert_eq!((wild.host, wild.port), (&b"192.0.2.2"[..], Some(5060)));
        assert_eq!(wild.branch(), b"390skdjuw");
        for odd in ["SIP/2.0/ UDP h", "sip/2.0/UDP h", "Sip /2.0/UDP\th", " SIP/2.0/UDP h"] {
            let via = Via::parse(odd.as_bytes()).unwrap();
            assert_eq!((via.transport, via.host), (&b"UDP"[..], &b"h"[..]), "{odd}");
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 UDP h",
            "HTTP/2.0/UDP h",
            "SIP/3.0/UDP h",
            "SIP/2.0/UDP h:0x1",
            "SIP/2.0/UDP h:65536",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP []",
            "SIP/2.0/UDP [x]",
            "SIP/2.0//UDP h",
            "SIP/2.0/UDP h i;branch=x",
            "SIP/2.0/UDPh",
        ] {
            assert_eq!(Via::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_branch_comes_from_a_list_in_order() {
        let branch = |text: &str| {
            let text = format!("SIP/2.0/UDP {text}");
            Via::parse(text.as_bytes()).unwrap().checked_branch().map(<[u8]>::to_vec)
        };
        for bad in [
            "h;;branch=x",
            "h;branch=x; ",
            "h;",
            "h; ;rport",
            "h;a=\";branch=x",
            "h;branch=x;branch=x",
        ] {
            assert_eq!(branch(bad), None, "{bad}");
        }
        assert_eq!(branch("h"), Some(vec![]));
        assert_eq!(branch("h;branch"), Some(vec![]));
        assert_eq!(branch("h; rport ;Branch = x"), Some(b"x".to_vec()));
    }

    fn stamped(value: &str, source: &str) -> String {
        let value = Bytes::copy_from_slice(value.as_bytes());
        String::from_utf8(stamp(&value, source.parse().unwrap()).to_vec()).unwrap()
    }

    #[test]
    fn the_source_is_stamped() {
        assert_eq!(
            stamped("SIP/2.0/UDP 192.0.2.1;branch=b", "192.0.2.1:5060"),
            "SIP/2.0/UDP 192.0.2.1;branch=b"
        );
        assert_eq!(
            stamped("SIP/2.0/UDP a.example;branch=b, SIP/2.0/UDP x", "192.0.2.1:5061"),
            "SIP/2.0/UDP a.example;branch=b;received=192.0.2.1, SIP/2.0/UDP x"
        );
        assert_eq!(
            stamped("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=b", "192.0.2.1:7000"),
            "SIP/2.0/UDP 192.0.2.1:5060;branch=b;received=192.0.2.1;rport=7000"
        );
        assert_eq!(
            stamped("SIP/2.0/UDP [::1];branch=b", "[2001:db8::1]:1"),
            "SIP/2.0/UDP [::1];branch=b;received=2001:db8::1"
        );
    }

    #[test]
    fn a_forged_received_is_replaced() {
        assert_eq!(
            stamped("SIP/2.0/UDP h;received=203.0.113.9;rport=1;branch=b", "192.0.2.1:2"),
            "SIP/2.0/UDP h;branch=b;received=192.0.2.1;rport=2"
        );
        assert_eq!(
            stamped("SIP/2.0/UDP 192.0.2.1;received=203.0.113.9;branch=b", "192.0.2.1:2"),
            "SIP/2.0/UDP 192.0.2.1;branch=b"
        );
    }
}
