//! Addresses of one test: a /24 of the loopback net that no other test of this run uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

/// 127.A.B.0/24: A by process (several runs may go on at once), B by test.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    a: u8,
    b: u8,
}

/// Host numbers in it.
pub const ADMIN: u8 = 1;
pub const CARRIER_SIDE: u8 = 10;
pub const EDGE: u8 = 11;
pub const PROXY: u8 = 20;
pub const OTHER_PROXY: u8 = 29;
pub const CARRIER_A: u8 = 50;
pub const CARRIER_B: u8 = 51;
pub const DNS: u8 = 53;
pub const STRANGER: u8 = 66;

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        // 127.70.0.0 to 127.249.255.255; process ids of concurrent runs are near each other.
        let a = 70 + u8::try_from(process::id() % 180).expect("below 180");
        Self { a, b: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    pub fn ip(self, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, self.a, self.b, host))
    }

    pub fn at(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(host), port)
    }

    /// A port of `::1`, of which there is but one for all tests: a test asks for numbers of its own, below 100.
    pub fn ipv6_port(self, n: u16) -> u16 {
        30_000 + u16::from(self.a) * 100 + n
    }

    /// As a capture filter and as an ACL.
    pub fn net(self) -> String {
        format!("127.{}.{}.0/24", self.a, self.b)
    }
}
