//! A bad line between a trunk and the gateway: of a hundred datagrams some are lost, some come twice, some behind the one
//! that was sent after them. Neither side knows of it: to each the other seems to be at the line's own address.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where the line ends. For signalling all addresses must be equally long as text.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub trunk: SocketAddr,
    /// What the trunk takes for the gateway.
    pub near: SocketAddr,
    /// What the gateway takes for the trunk.
    pub far: SocketAddr,
    pub gateway: SocketAddr,
}

/// Of a hundred datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Bad {
    pub lost: u32,
    pub doubled: u32,
    pub late: u32,
    /// So many at the begin of each way pass unharmed.
    pub good: usize,
}

/// What one way of the line carried.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    pub came: Vec<Vec<u8>>,
    pub left: Vec<Vec<u8>>,
    pub lost: usize,
    pub doubled: usize,
    pub late: usize,
}

pub struct Line {
    stop: Arc<AtomicBool>,
    ways: [JoinHandle<Carried>; 2],
}

/// What is late leaves after the next one, or when there is none for so long.
const LATE: Duration = Duration::from_millis(40);

impl Line {
    /// For media: bytes pass as they are.
    pub fn media(ends: Ends, bad: Bad) -> Self {
        Self::start(ends, bad, |_, _| {})
    }

    /// For signalling: addresses in messages are those of the line.
    pub fn signalling(ends: Ends, bad: Bad) -> Self {
        let text = |address: SocketAddr| address.ip().to_string().into_bytes();
        let [trunk, near, far, gateway] = [ends.trunk, ends.near, ends.far, ends.gateway].map(text);
        assert!([&near, &far, &gateway].iter().all(|other| other.len() == trunk.len()));
        let (there, back) = (
            [(trunk.clone(), far.clone()), (near.clone(), gateway.clone())],
            [(far, trunk), (gateway, near)],
        );
        Self::start(ends, bad, move |bytes, to_gateway| {
            let pairs = if to_gateway { &there } else { &back };
            let mut at = 0;
            while at < bytes.len() {
                match pairs.iter().find(|(from, _)| bytes[at..].starts_with(from)) {
                    Some((from, to)) => {
                        bytes[at..at + from.len()].copy_from_slice(to);
                        at += from.len();
                    }
                    None => at += 1,
                }
            }
        })
    }

    fn start(
        ends: Ends,
        bad: Bad,
        change: impl Fn(&mut [u8], bool) + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let bind = |address: SocketAddr| {
            let socket = UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            socket
        };
        let (near, far) = (bind(ends.near), bind(ends.far));
        let ways = [(true, &near, &far, ends.gateway), (false, &far, &near, ends.trunk)].map(
            |(to_gateway, from, by, to)| {
                let (from, by) = (from.try_clone().unwrap(), by.try_clone().unwrap());
                let (stopped, change) = (Arc::clone(&stop), change.clone());
                thread::spawn(move || {
                    let mut way = Way {
                        by,
                        to,
                        bad,
                        random: 1 + u64::from(to_gateway),
                        held: None,
                        carried: Carried::default(),
                    };
                    let mut buffer = [0; 65_536];
                    while !stopped.load(Ordering::Relaxed) {
                        match from.recv_from(&mut buffer) {
                            Ok((length, _)) => {
                                change(&mut buffer[..length], to_gateway);
                                way.take(&buffer[..length]);
                            }
                            Err(_) => way.release(LATE),
                        }
                    }
                    way.release(Duration::ZERO);
                    way.carried
                })
            },
        );
        Self { stop, ways }
    }

    /// What was carried to the gateway, and to the trunk.
    pub fn stop(self) -> [Carried; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.ways.map(|way| way.join().expect("the line's thread"))
    }
}

struct Way {
    by: UdpSocket,
    to: SocketAddr,
    bad: Bad,
    random: u64,
    held: Option<(Instant, Vec<u8>)>,
    carried: Carried,
}

impl Way {
    fn take(&mut self, bytes: &[u8]) {
        self.carried.came.push(bytes.to_vec());
        let good = self.carried.came.len() <= self.bad.good;
        if !good && self.below_100() < self.bad.lost {
            self.carried.lost += 1;
            return;
        }
        if !good && self.held.is_none() && self.below_100() < self.bad.late {
            self.carried.late += 1;
            self.held = Some((Instant::now(), bytes.to_vec()));
            return;
        }
        self.send(bytes.to_vec());
        if !good && self.below_100() < self.bad.doubled {
            self.carried.doubled += 1;
            self.send(bytes.to_vec());
        }
        self.release(Duration::ZERO);
    }

    fn release(&mut self, after: Duration) {
        if let Some((_, bytes)) = self.held.take_if(|(since, _)| since.elapsed() >= after) {
            self.send(bytes);
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        // A port that is closed answers by ICMP.
        drop(self.by.send_to(&bytes, self.to));
        self.carried.left.push(bytes);
    }

    /// Knuth's generator: the same line each time.
    fn below_100(&mut self) -> u32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.random >> 33) % 100).unwrap()
    }
}
