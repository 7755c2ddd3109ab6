//! The bound pairs of one relay thread: some ahead of need for each address, more under load.
//!
//! Pairs are bound in random order, so that the port of the next call cannot be guessed from the
//! last one's. A port that another process uses is skipped and tried again later. What is bound
//! stays bound.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use tracing::{debug, warn};

use super::socket::Pair;
use crate::plan::Port;
use crate::ports::{PortMap, Slot};
use crate::shard::{Random, Socket};

/// The bound pairs of one relay thread.
pub(super) struct Pool {
    map: PortMap,
    epoll: Arc<OwnedFd>,
    /// By slot; `None` is not bound.
    pairs: Vec<Option<Pair>>,
    addresses: Vec<Stock>,
    warm: usize,
    /// Bound, and not told yet.
    fresh: VecDeque<Slot>,
    /// Not bound any more, or not to be bound, and not told yet.
    cold: VecDeque<Slot>,
    bound: u64,
}

/// The pairs of one address.
struct Stock {
    unbound: VecDeque<Slot>,
    bound: usize,
    used: usize,
    retry: Option<Instant>,
}

impl Stock {
    /// How many pairs shall be bound: a reserve for bursts that grows with the load, because the
    /// pairs that rest after their calls come out of it too.
    fn missing(&self, warm: usize) -> usize {
        let target = self.used + warm.max(self.used / 4);
        target.saturating_sub(self.bound).min(self.unbound.len())
    }
}

impl Pool {
    /// Nothing bound yet. `warm` is how many pairs of each address are kept beyond those in use.
    pub(super) fn new(
        map: PortMap,
        shard: u8,
        warm: u16,
        seed: [u8; 32],
        epoll: Arc<OwnedFd>,
    ) -> Self {
        let mut random = Random::new(seed.map(|byte| byte ^ 0x5a));
        let stock = |address| {
            let mut unbound: Vec<Slot> = map.dealt(address, shard).collect();
            for last in (1..unbound.len()).rev() {
                unbound.swap(last, random.below(last as u32 + 1) as usize);
            }
            Stock { unbound: unbound.into(), bound: 0, used: 0, retry: None }
        };
        let addresses = (0..map.addresses()).map(stock).collect();
        let mut pairs = Vec::new();
        pairs.resize_with(map.pairs() as usize, || None);
        let warm = usize::from(warm.max(1));
        let (fresh, cold) = (VecDeque::new(), VecDeque::new());
        Self { map, epoll, pairs, addresses, warm, fresh, cold, bound: 0 }
    }

    /// Binds up to `budget` pairs where some are missing.
    pub(super) fn fill(&mut self, mut budget: usize, now: Instant) {
        for address in 0..self.addresses.len() {
            let stock = &mut self.addresses[address];
            if stock.retry.is_some_and(|at| now < at) {
                continue;
            }
            stock.retry = None;
            let mut tries = stock.unbound.len();
            while budget > 0 && self.addresses[address].missing(self.warm) > 0 {
                if tries == 0 {
                    self.addresses[address].retry = Some(now + TAKEN_RETRY);
                    break;
                }
                tries -= 1;
                budget -= 1;
                let Some(slot) = self.addresses[address].unbound.pop_front() else { break };
                match self.open(slot) {
                    Ok(()) => self.fresh.push_back(slot),
                    Err(error) => {
                        let port = self.map.port(slot).number;
                        debug!(port, %error, "media port skipped");
                        self.addresses[address].unbound.push_back(slot);
                        if error.kind() != io::ErrorKind::AddrInUse {
                            // No descriptors, no memory, the address gone: not this port's fault.
                            warn!(port, %error, "media ports cannot be bound");
                            self.addresses[address].retry = Some(now + FAULT_RETRY);
                            break;
                        }
                    }
                }
            }
        }
    }

    /// When [`Pool::fill`] is due.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let due =
            |stock: &Stock| (stock.missing(self.warm) > 0).then(|| stock.retry.unwrap_or(now));
        self.addresses.iter().filter_map(due).min()
    }

    /// The first address with no pair at all, if there is one.
    pub(super) fn empty_address(&self) -> Option<usize> {
        self.addresses.iter().position(|stock| stock.bound == 0)
    }

    /// Pairs that were bound since the last call, of one pool.
    pub(super) fn take_fresh(&mut self) -> Vec<Port> {
        let Some(first) = self.fresh.front().map(|slot| self.map.port(*slot).pool) else {
            return Vec::new();
        };
        let map = &self.map;
        let mut ports = Vec::new();
        self.fresh.retain(|slot| {
            let port = map.port(*slot);
            if port.pool == first && ports.len() < BATCH {
                ports.push(port);
                return false;
            }
            true
        });
        ports
    }

    /// A pair that is not to be had, though it was told or claimed.
    pub(super) fn take_cold(&mut self) -> Option<Port> {
        self.cold.pop_front().map(|slot| self.map.port(slot))
    }

    /// A session uses the pair from now on. It is bound by now unless it was never told as warm,
    /// as after a restart; `false` when that fails.
    pub(super) fn take(&mut self, slot: Slot) -> bool {
        let address = self.map.address_index(slot);
        if self.pairs[slot.0 as usize].is_none() {
            let unbound = &mut self.addresses[address].unbound;
            unbound.retain(|other| *other != slot);
            if let Err(error) = self.open(slot) {
                let port = self.map.port(slot).number;
                warn!(port, %error, "media port of a call cannot be bound");
                self.addresses[address].unbound.push_back(slot);
                self.cold.push_back(slot);
                return false;
            }
        }
        self.addresses[address].used += 1;
        true
    }

    /// No session uses the pair any more.
    pub(super) fn give_back(&mut self, slot: Slot) {
        let Some(pair) = &mut self.pairs[slot.0 as usize] else { return };
        let stock = &mut self.addresses[self.map.address_index(slot)];
        stock.used = stock.used.saturating_sub(1);
        let Err(error) = pair.recycle() else { return };
        // A new socket on the same port does as well.
        let port = self.map.port(slot).number;
        debug!(port, %error, "media socket replaced");
        self.pairs[slot.0 as usize] = None;
        stock.bound -= 1;
        self.bound -= 1;
        if self.open(slot).is_err() {
            self.addresses[self.map.address_index(slot)].unbound.push_back(slot);
            self.cold.push_back(slot);
        }
    }

    pub(super) fn connect(&mut self, slot: Slot, peer: SocketAddr) {
        if let Some(pair) = &mut self.pairs[slot.0 as usize]
            && let Err(error) = pair.connect(peer)
        {
            // It works unconnected too, if more slowly.
            debug!(%error, "media socket not connected");
        }
    }

    pub(super) fn disconnect(&mut self, slot: Slot) {
        if let Some(pair) = &mut self.pairs[slot.0 as usize]
            && let Err(error) = pair.disconnect()
        {
            debug!(%error, "media socket not disconnected");
        }
    }

    pub(super) fn pair(&self, slot: Slot) -> Option<&Pair> {
        self.pairs.get(slot.0 as usize)?.as_ref()
    }

    /// Pairs bound now.
    pub(super) const fn bound(&self) -> u64 {
        self.bound
    }

    fn open(&mut self, slot: Slot) -> io::Result<()> {
        let port = self.map.port(slot);
        let (address, dscp) = (self.map.address(slot), self.map.dscp(slot));
        let pair = Pair::bind(address, port.number, port.rtcp(), dscp)?;
        for rtcp in [false, true] {
            let token = epoll::EventData::new_u64(token(Socket { slot, rtcp }));
            epoll::add(&*self.epoll, pair.socket(rtcp), token, epoll::EventFlags::IN)?;
        }
        self.pairs[slot.0 as usize] = Some(pair);
        self.addresses[self.map.address_index(slot)].bound += 1;
        self.bound += 1;
        Ok(())
    }
}

/// A socket as an epoll token.
pub(super) fn token(socket: Socket) -> u64 {
    u64::from(socket.slot.0) << 1 | u64::from(socket.rtcp)
}

/// The socket of an epoll token.
pub(super) fn socket(token: u64) -> Socket {
    Socket { slot: Slot((token >> 1) as u32), rtcp: token & 1 == 1 }
}

/// After all ports that are left were found taken.
const TAKEN_RETRY: Duration = Duration::from_secs(5);
/// After the system gave no socket.
const FAULT_RETRY: Duration = Duration::from_secs(1);
/// Ports in one event.
const BATCH: usize = 256;
