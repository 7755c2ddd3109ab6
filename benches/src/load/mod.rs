//! The load generator: one carrier on UDP and one Teams proxy on TLS, in one thread.
//!
//! Open loop: calls begin at their time, whether the server answers or not; how late the generator
//! itself was is part of the report. RFC 3261 §17 only as far as a load needs it: the caller repeats
//! its INVITE and BYE on UDP (timers A and E) and answers repeated 200s with ACK; the callee keeps
//! no state at all. No media is sent.

mod callee;
mod caller;
mod report;
mod run;
mod text;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

pub use self::report::{Report, Spread};
pub use self::run::Load;

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The carrier calls: G.711 offer on UDP, SDES answer on TLS.
    FromCarrier,
    /// The Teams end calls: SDES offer on a TLS connection of its own, G.711 answer on UDP.
    FromTeams,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Calls a second.
    pub rate: f64,
    /// How long calls begin.
    pub window: Duration,
    /// From answer to BYE.
    pub hold: Duration,
    /// Calls that stand before the window and get their BYE spread over it.
    pub standing: usize,
    /// Whether the callee rings before it answers.
    pub ring: bool,
    /// How long after the window an open call may still come to its end.
    pub patience: Duration,
    /// Who calls.
    pub direction: Direction,
}

impl Plan {
    /// Calls from the carrier without hold time.
    #[must_use]
    pub const fn new(rate: f64, window: Duration) -> Self {
        Self {
            rate,
            window,
            hold: Duration::ZERO,
            standing: 0,
            ring: true,
            patience: Duration::from_secs(5),
            direction: Direction::FromCarrier,
        }
    }
}

/// The addresses of one run: hosts of a /24 on the loopback net.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    net: [u8; 3],
}

impl Place {
    /// Of this process; others may run beside it.
    #[must_use]
    pub fn new() -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        Self { net: [127, 32 + high % 16, low] }
    }

    /// Another one of this process.
    #[must_use]
    pub fn second() -> Self {
        let [_, second, third] = Self::new().net;
        Self { net: [127, 16 + second, third] }
    }

    fn host(self, host: u8) -> IpAddr {
        let [a, b, c] = self.net;
        IpAddr::V4(Ipv4Addr::new(a, b, c, host))
    }

    /// Where the server takes the carrier's calls (UDP).
    #[must_use]
    pub fn realm(self) -> SocketAddr {
        SocketAddr::new(self.host(10), 5060)
    }

    /// Where the server takes Teams' connections (TLS).
    #[must_use]
    pub fn edge(self) -> SocketAddr {
        SocketAddr::new(self.host(11), 5061)
    }

    /// The Teams proxy.
    #[must_use]
    pub fn proxy(self) -> SocketAddr {
        SocketAddr::new(self.host(20), 5061)
    }

    /// The carrier.
    #[must_use]
    pub fn carrier(self) -> SocketAddr {
        SocketAddr::new(self.host(50), 5060)
    }

    /// Pages and control channels of the server.
    #[must_use]
    pub fn control(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(1), port)
    }

    /// All of it.
    #[must_use]
    pub fn network(self) -> String {
        let [a, b, c] = self.net;
        format!("{a}.{b}.{c}.0/24")
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// The domain of the fake Teams.
pub const DOMAIN: &str = "teams.test";
/// The name of the server.
pub const FQDN: &str = "sbc.test";
/// The name of its one tenant.
pub const TENANT: &str = "t001.sbc.test";

#[expect(clippy::disallowed_methods, reason = "a load generator lives by the clock")]
fn clock() -> Instant {
    Instant::now()
}
