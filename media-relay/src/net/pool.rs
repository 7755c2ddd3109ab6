//! The bound pairs of one relay thread: some ahead of need for each address, more under load.
//!
//! Pairs are bound in random order, so that the port of the next call cannot be guessed from the
//! last one's. A port that another process uses is skipped and tried again later: it may be that
//! of a process that this one replaces. What is bound stays bound.
//!
//! A pair that goes back is not emptied there and then, which costs two system calls: what still
//! comes to it is read in the next turns and is nobody's. Only one that is used again at once is
//! emptied first.

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
    /// Pairs of each address beyond those in use.
    reserve: usize,
    /// Ports that are taken will be free soon.
    patient: bool,
    /// Bound, and not told yet.
    fresh: VecDeque<Slot>,
    /// Not bound any more, or not to be bound, and not told yet.
    cold: VecDeque<Slot>,
    bound: u64,
}

/// The pairs of one address.
struct Stock {
    /// To be tried in this order. Those that were bound out of turn are passed over.
    unbound: VecDeque<Slot>,
    /// Another process had them; not tried before then.
    taken: VecDeque<(Instant, Slot)>,
    bound: usize,
    used: usize,
    /// The system gave no socket; nothing is tried before then.
    retry: Option<Instant>,
}

impl Stock {
    /// How many pairs shall be bound: a reserve for bursts that grows with the load, because the
    /// pairs that rest after their calls come out of it too.
    fn missing(&self, reserve: usize) -> usize {
        let target = self.used + reserve.max(self.used / 4);
        target.saturating_sub(self.bound)
    }

    /// When the next pair can be tried, if there is any.
    fn next(&self, now: Instant) -> Option<Instant> {
        let taken = self.taken.front().map(|(at, _)| *at);
        let next = if self.unbound.is_empty() { taken? } else { now };
        Some(self.retry.map_or(next, |retry| retry.max(next)))
    }
}

impl Pool {
    /// Nothing bound yet. `reserve` is how many pairs of each address are kept beyond those in use.
    pub(super) fn new(
        map: PortMap,
        shard: u8,
        reserve: u16,
        patient: bool,
        seed: [u8; 32],
        epoll: Arc<OwnedFd>,
    ) -> Self {
        let mut random = Random::new(seed.map(|byte| byte ^ 0x5a));
        let stock = |address| {
            let mut unbound: Vec<Slot> = map.dealt(address, shard).collect();
            for last in (1..unbound.len()).rev() {
                unbound.swap(last, random.below(last as u32 + 1) as usize);
            }
            let (unbound, taken) = (unbound.into(), VecDeque::new());
            Stock { unbound, taken, bound: 0, used: 0, retry: None }
        };
        let addresses = (0..map.addresses()).map(stock).collect();
        let mut pairs = Vec::new();
        pairs.resize_with(map.pairs() as usize, || None);
        let (fresh, cold) = (VecDeque::new(), VecDeque::new());
        let mut this =
            Self { map, epoll, pairs, addresses, reserve: 1, patient, fresh, cold, bound: 0 };
        this.keep(reserve);
        this
    }

    /// Keeps so many pairs of each address beyond those in use.
    pub(super) fn keep(&mut self, reserve: u16) {
        self.reserve = usize::from(reserve.max(1));
    }

    /// What one turn may take of [`Pool::fill`]: little, unless calls come faster than that.
    pub(super) fn refill(&mut self, now: Instant) {
        let low = |stock: &Stock| stock.missing(self.reserve) > self.reserve / 2;
        let budget = if self.addresses.iter().any(low) { FILL_LOW } else { FILL };
        self.fill(budget, now);
    }

    /// Binds up to `budget` pairs where some are missing.
    pub(super) fn fill(&mut self, mut budget: usize, now: Instant) {
        for address in 0..self.addresses.len() {
            while budget > 0 && self.addresses[address].missing(self.reserve) > 0 {
                let Some(slot) = self.next_unbound(address, now) else { break };
                budget -= 1;
                match self.open(slot) {
                    Ok(()) => self.fresh.push_back(slot),
                    Err(error) => self.note_failed(slot, &error, now),
                }
            }
        }
    }

    /// The next pair of an address that may be tried now.
    fn next_unbound(&mut self, address: usize, now: Instant) -> Option<Slot> {
        let stock = &mut self.addresses[address];
        loop {
            if stock.next(now).is_none_or(|at| at > now) {
                return None;
            }
            stock.retry = None;
            let next = stock.unbound.pop_front();
            let slot = next.or_else(|| stock.taken.pop_front().map(|(_, slot)| slot))?;
            if self.pairs[slot.0 as usize].is_none() {
                return Some(slot);
            }
        }
    }

    /// A pair was not bound: it is tried again, later.
    fn note_failed(&mut self, slot: Slot, error: &io::Error, now: Instant) {
        let port = self.map.port(slot).number;
        let stock = &mut self.addresses[self.map.address_index(slot)];
        if error.kind() == io::ErrorKind::AddrInUse {
            debug!(port, %error, "media port skipped");
            // In order of time, but for the few that were tried when the pace changed.
            let few = stock.bound < stock.used + FEW.min(self.reserve);
            let retry = if self.patient && few { PATIENT_RETRY } else { TAKEN_RETRY };
            stock.taken.push_back((now + retry, slot));
        } else {
            // No descriptors, no memory, the address gone: not this port's fault.
            warn!(port, %error, "media ports cannot be bound");
            stock.unbound.push_back(slot);
            stock.retry = Some(now + FAULT_RETRY);
        }
    }

    /// When [`Pool::fill`] is due.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let due = |stock: &Stock| stock.next(now).filter(|_| stock.missing(self.reserve) > 0);
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
    pub(super) fn take(&mut self, slot: Slot, now: Instant) -> bool {
        let stock = &mut self.addresses[self.map.address_index(slot)];
        stock.used += 1;
        if let Some(pair) = &mut self.pairs[slot.0 as usize] {
            pair.take(now);
            return true;
        }
        let Err(error) = self.open(slot) else { return true };
        let port = self.map.port(slot).number;
        warn!(port, %error, "media port of a call cannot be bound");
        let stock = &mut self.addresses[self.map.address_index(slot)];
        stock.used -= 1;
        // Where it stands it is tried again.
        stock.unbound.retain(|other| *other != slot);
        stock.taken.retain(|(_, other)| *other != slot);
        self.note_failed(slot, &error, now);
        self.cold.push_back(slot);
        false
    }

    /// No session uses the pair any more.
    pub(super) fn give_back(&mut self, slot: Slot, now: Instant) {
        let Some(pair) = &mut self.pairs[slot.0 as usize] else { return };
        let stock = &mut self.addresses[self.map.address_index(slot)];
        stock.used = stock.used.saturating_sub(1);
        let Err(error) = pair.give_back(now) else { return };
        // A new socket on the same port does as well.
        let port = self.map.port(slot).number;
        debug!(port, %error, "media socket replaced");
        self.pairs[slot.0 as usize] = None;
        stock.bound -= 1;
        self.bound -= 1;
        if let Err(error) = self.open(slot) {
            self.note_failed(slot, &error, now);
            self.cold.push_back(slot);
        }
    }

    /// Another process shall have the pair.
    pub(super) fn close(&mut self, slot: Slot) {
        if self.pairs[slot.0 as usize].take().is_some() {
            let stock = &mut self.addresses[self.map.address_index(slot)];
            stock.unbound.push_back(slot);
            stock.bound -= 1;
            self.bound -= 1;
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

/// After a port was found taken.
const TAKEN_RETRY: Duration = Duration::from_secs(5);
/// The same while another process is known to leave its ports to this one, and few are bound.
const PATIENT_RETRY: Duration = Duration::from_millis(250);
/// So few.
const FEW: usize = 64;
/// After the system gave no socket.
const FAULT_RETRY: Duration = Duration::from_secs(1);
/// Pairs bound in one turn, about 20 us each.
const FILL: usize = 4;
/// The same when less than half of the reserve is left.
const FILL_LOW: usize = 16;
/// Ports in one event.
const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};

    use super::*;
    use crate::plan::{PoolConfig, PoolId};

    #[test]
    fn a_port_of_another_process_is_tried_again_later_and_nothing_spins() {
        let (mut pool, address, now) = pool(1, 10, 10, false);
        let taken = [20002, 20007, 20011].map(|port| UdpSocket::bind((address, port)).unwrap());
        pool.fill(usize::MAX, now);
        assert_eq!((pool.bound(), pool.take_fresh().len()), (7, 7));
        assert_eq!(pool.poll_timeout(now), Some(now + TAKEN_RETRY));
        pool.fill(usize::MAX, now + TAKEN_RETRY / 2);
        assert_eq!(pool.bound(), 7);
        drop(taken);
        let later = now + TAKEN_RETRY;
        for _ in 0..10 {
            pool.refill(later);
        }
        assert_eq!((pool.bound(), pool.take_fresh().len()), (10, 3));
        assert_eq!(pool.poll_timeout(later), None);
    }

    /// As when another process still has nearly all of them: every turn costs little.
    #[test]
    fn few_binds_are_tried_in_one_turn() {
        let (mut pool, address, now) = pool(2, 100, 100, false);
        let taken: Vec<_> = (20000..20200)
            .step_by(2)
            .map(|port| UdpSocket::bind((address, port)).unwrap())
            .collect();
        let mut turns = 0;
        while pool.poll_timeout(now) == Some(now) {
            pool.refill(now);
            turns += 1;
        }
        assert!((100 / FILL_LOW..=100 / FILL_LOW + 1).contains(&turns), "{turns}");
        assert_eq!(pool.poll_timeout(now), Some(now + TAKEN_RETRY));
        drop(taken);
    }

    #[test]
    fn the_reserve_is_refilled_as_calls_take_it() {
        let (mut pool, _, now) = pool(3, 200, 20, false);
        pool.fill(usize::MAX, now);
        assert_eq!(pool.bound(), 20);
        let fresh = pool.take_fresh();
        for port in &fresh {
            let slot = pool.map.slot(*port).unwrap();
            assert!(pool.take(slot, now));
        }
        assert_eq!(pool.poll_timeout(now), Some(now));
        pool.refill(now);
        assert_eq!(pool.bound(), 36);
        while pool.poll_timeout(now).is_some() {
            pool.refill(now);
        }
        assert_eq!(pool.bound(), 40);
        for port in fresh {
            pool.give_back(pool.map.slot(port).unwrap(), now);
        }
        assert_eq!((pool.bound(), pool.poll_timeout(now)), (40, None));
    }

    #[test]
    fn a_patient_pool_without_ports_looks_again_soon() {
        let (mut pool, address, now) = pool(5, 3, 3, true);
        let taken = [20000, 20003, 20004].map(|port| UdpSocket::bind((address, port)).unwrap());
        pool.fill(usize::MAX, now);
        assert_eq!((pool.bound(), pool.poll_timeout(now)), (0, Some(now + PATIENT_RETRY)));
        drop(taken);
        pool.refill(now + PATIENT_RETRY);
        assert_eq!(pool.bound(), 3);
    }

    #[test]
    fn a_pair_is_closed_for_another_process_and_comes_back_when_it_is_needed() {
        let (mut pool, address, now) = pool(6, 3, 3, false);
        pool.fill(usize::MAX, now);
        let ports = pool.take_fresh();
        pool.keep(1);
        for port in &ports[..2] {
            pool.close(pool.map.slot(*port).unwrap());
        }
        let taken = UdpSocket::bind((address, ports[0].number)).unwrap();
        assert_eq!((pool.bound(), pool.poll_timeout(now)), (1, None));
        assert!(pool.take(pool.map.slot(ports[2]).unwrap(), now));
        pool.refill(now);
        assert_eq!((pool.bound(), pool.take_fresh()), (2, vec![ports[1]]));
        drop(taken);
    }

    #[test]
    fn a_claimed_pair_is_bound_when_it_is_used_or_told_as_cold() {
        let (mut pool, address, now) = pool(4, 4, 1, false);
        pool.fill(usize::MAX, now);
        let warm = pool.take_fresh()[0];
        let mut cold = (20000..20008).step_by(2).map(|number| Port { number, ..warm });
        let mut cold = || cold.find(|port| *port != warm).unwrap();
        let (mine, other) = (cold(), cold());
        assert!(pool.take(pool.map.slot(mine).unwrap(), now));
        assert_eq!((pool.bound(), pool.take_cold()), (2, None));
        let taken = UdpSocket::bind((address, other.rtcp())).unwrap();
        assert!(!pool.take(pool.map.slot(other).unwrap(), now));
        assert_eq!((pool.bound(), pool.take_cold(), pool.take_cold()), (2, Some(other), None));
        drop(taken);
        // It comes back as any other pair does.
        pool.keep(4);
        pool.fill(usize::MAX, now);
        assert!(!pool.take_fresh().contains(&other));
        pool.fill(usize::MAX, now + TAKEN_RETRY);
        assert_eq!((pool.bound(), pool.take_fresh()), (4, vec![other]));
    }

    fn pool(test: u8, pairs: u16, reserve: u16, patient: bool) -> (Pool, IpAddr, Instant) {
        #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
        let now = Instant::now();
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 128 + (high & 63), low, test).into();
        let config =
            PoolConfig { id: PoolId(0), address, ports: 20000..=20000 + 2 * pairs - 1, dscp: None };
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        let map = PortMap::new(1, &[config]);
        (Pool::new(map, 0, reserve, patient, [1; 32], epoll), address, now)
    }
}
