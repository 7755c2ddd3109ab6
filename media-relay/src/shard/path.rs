//! One path to a peer: its RTP, or its RTCP where that has a port of its own. The signalled
//! address, the latch, and whether the socket is closed to all but the latched source.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::latch::Latch;
use crate::state::LatchSnapshot;

/// One path to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// The last address that the peer signalled and that could be used: a hold as in RFC 2543 is no other place.
    place: Option<SocketAddr>,
    /// It is what the peer signals now.
    named: bool,
    latch: Latch,
    /// What the socket was last told.
    pub(crate) connected: Option<SocketAddr>,
}

impl Path {
    pub(crate) const fn new(silence: Duration) -> Self {
        Self { place: None, named: false, latch: Latch::new(silence), connected: None }
    }

    /// Takes on the address that the peer signalled: whether it has moved there from another one.
    pub(crate) fn signal(&mut self, address: Option<SocketAddr>, now: Instant) -> bool {
        let address = address.filter(usable);
        self.named = address.is_some();
        let Some(new) = address.filter(|new| self.place != Some(*new)) else { return false };
        self.latch.signalled(new, now);
        self.place.replace(new).is_some()
    }

    fn signalled(&self) -> Option<SocketAddr> {
        self.place.filter(|_| self.named)
    }

    /// Whether a packet from `from` may be looked at. `sources` is what a plain side allows besides
    /// the signalled address; `None` on an SRTP side, where authentication comes next.
    pub(crate) fn admits(
        &mut self,
        from: SocketAddr,
        sources: Option<&[IpNet]>,
        now: Instant,
    ) -> bool {
        let exact = self.signalled() == Some(from);
        sources.is_none_or(|sources| self.allows(from, sources))
            && self.latch.admits(from, exact, now)
    }

    /// Whether the peer was heard from the very address that it has signalled, which is not this one.
    pub(crate) fn is_exactly_elsewhere(&self, from: SocketAddr) -> bool {
        self.latch.exact_source().is_some_and(|source| source != from)
    }

    /// A good packet came from an admitted source. `true` when it is a new latch.
    pub(crate) fn heard(&mut self, from: SocketAddr, now: Instant) -> bool {
        self.latch.heard(from, self.signalled() == Some(from), now)
    }

    /// What a restart should know.
    pub(crate) fn snapshot(&self) -> Option<LatchSnapshot> {
        Some(LatchSnapshot { from: self.source()?, signalled: self.signalled() })
    }

    /// Takes on a latch of another process, unless the peer has signalled another address since.
    pub(crate) fn resume(&mut self, latch: &LatchSnapshot) {
        if latch.signalled == self.signalled() && usable(&latch.from) {
            self.latch.resume(latch.from, self.signalled() == Some(latch.from));
        }
    }

    /// Where to send.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.latch.source().or(self.signalled())
    }

    pub(crate) const fn source(&self) -> Option<SocketAddr> {
        self.latch.source()
    }

    /// Forgets a latch that the plan's sources no longer allow.
    pub(crate) fn recheck(&mut self, sources: &[IpNet]) {
        if self.latch.source().is_some_and(|from| !self.allows(from, sources)) {
            self.latch.reset();
        }
    }

    pub(crate) const fn reset(&mut self) {
        self.latch.reset();
    }

    /// The source that the socket should be closed to all others for.
    pub(crate) fn settled(&mut self, now: Instant) -> Option<SocketAddr> {
        self.latch.settled(now)
    }

    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.latch.deadline(now)
    }

    fn allows(&self, from: SocketAddr, sources: &[IpNet]) -> bool {
        self.signalled().is_some_and(|signalled| signalled.ip() == from.ip())
            || sources.iter().any(|network| network.contains(&from.ip()))
    }
}

/// Addresses that cannot be a peer's are as good as none (hold as in RFC 2543 among them).
pub(crate) fn usable(address: &SocketAddr) -> bool {
    let broadcast = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.is_broadcast(),
        std::net::IpAddr::V6(_) => false,
    };
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_addresses_are_none() {
        for text in ["0.0.0.0:4000", "192.0.2.1:0", "224.0.0.1:4000", "255.255.255.255:4", "[::]:4"]
        {
            let mut path = Path::new(Duration::from_secs(2));
            path.signal(Some(text.parse().unwrap()), now());
            assert_eq!(path.destination(), None, "{text}");
        }
    }

    #[test]
    fn a_plain_path_takes_the_signalled_host_and_the_networks_alone() {
        let sources: Vec<IpNet> = vec!["198.51.100.0/24".parse().unwrap()];
        let mut path = Path::new(Duration::from_secs(2));
        path.signal(Some("192.0.2.1:4000".parse().unwrap()), now());
        for (from, taken) in [
            ("192.0.2.1:4000", true),
            ("192.0.2.1:9", true),
            ("198.51.100.77:9", true),
            ("192.0.2.2:4000", false),
            ("[2001:db8::1]:4000", false),
        ] {
            let from = from.parse().unwrap();
            assert_eq!(path.admits(from, Some(&sources), now()), taken, "{from}");
            assert!(path.admits(from, None, now()), "{from}");
        }
        assert_eq!(path.destination(), Some("192.0.2.1:4000".parse().unwrap()));
    }

    #[test]
    fn a_latch_that_is_no_longer_allowed_is_forgotten() {
        let sources: Vec<IpNet> = vec!["198.51.100.0/24".parse().unwrap()];
        let from = "198.51.100.77:9".parse().unwrap();
        let mut path = Path::new(Duration::from_secs(2));
        assert!(path.heard(from, now()));
        path.recheck(&sources);
        assert_eq!(path.destination(), Some(from));
        path.recheck(&[]);
        assert_eq!(path.destination(), None);
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn now() -> Instant {
        Instant::now()
    }
}
