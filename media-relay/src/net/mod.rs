//! The driver: relay threads, each with its own sockets, its own epoll and its own shard. It holds
//! no knowledge of RTP; it reads, feeds, drains, writes and sleeps until the shard's deadline.

mod counters;
mod pool;
mod queue;
mod socket;
mod worker;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::event::{EventfdFlags, epoll, eventfd};
use tracing::error;

pub use self::counters::ThreadCounters;

use self::counters::SharedCounters;
use self::pool::Pool;
use self::queue::{Alarm, CommandSender, Wake};
use self::worker::{ALARM, Worker, clock};
use crate::plan::{Command, Event, PoolConfig, PoolId, SessionId, Side};
use crate::ports::{PortMap, Ports};
use crate::shard::Shard;
use crate::tap::{TapReader, tap};

/// How the relay is set up.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Relay threads, at least one.
    pub workers: u8,
    /// Local addresses and ports.
    pub pools: Vec<PoolConfig>,
    /// Pairs of each address that a thread binds before it starts.
    pub warm: u16,
    /// Pairs of each address that it keeps bound beyond those in use, as far as there are so many:
    /// as many calls can begin in one moment.
    pub reserve: u16,
    /// A start goes on without any pair of an address, as when another process that is about to
    /// end still has them; they are tried again, and often.
    pub patient: bool,
    /// How long a released pair rests.
    pub rest: Duration,
    /// Pins each thread to a CPU of its own, the last ones first.
    pub pin: bool,
    /// From the system's random source.
    pub seed: [u8; 32],
}

/// The relay cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address of a pool is not one of this machine's.
    #[error("media address {address} cannot be used: {source}")]
    Address {
        /// As configured.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// No pair of a pool's address could be bound for a thread.
    #[error("no media port of {address} (pool {}) could be bound for relay thread {worker}", .pool.0)]
    NoPorts {
        /// As configured.
        pool: PoolId,
        /// As configured.
        address: IpAddr,
        /// The thread, from 0.
        worker: u8,
    },
    /// The system gives no thread, epoll or eventfd.
    #[error("relay thread {worker} cannot start: {source}")]
    Thread {
        /// The thread, from 0.
        worker: u8,
        /// Why.
        source: io::Error,
    },
}

/// A shard does not take this command now: too many are waiting. [`Command::Release`] has room of
/// its own and meets this only if it is given for sessions that were never applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay thread's command queue is full")]
pub struct Full;

/// The running relay.
pub struct Relay {
    config: RelayConfig,
    threads: Vec<Thread>,
    events: Receiver<Event>,
    untaken: Arc<AtomicUsize>,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    #[cfg(test)]
    faults: Arc<AtomicUsize>,
}

struct Thread {
    commands: CommandSender,
    alarm: Arc<Alarm>,
    counters: Arc<SharedCounters>,
    handle: Option<JoinHandle<()>>,
}

impl Relay {
    /// Binds the first ports, starts the threads. `wake` is called, from any of them, when there
    /// are events and no wake is pending; the ports bound so far are told at once.
    pub fn start(
        config: RelayConfig,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        for pool in &config.pools {
            socket::probe(pool.address)
                .map_err(|source| StartError::Address { address: pool.address, source })?;
        }
        let (sender, events) = sync_channel(EVENTS);
        let wake = Arc::new(Wake::new(wake));
        let stop = Arc::new(AtomicBool::new(false));
        let untaken = Arc::default();
        let mut relay = Self {
            config,
            threads: Vec::new(),
            events,
            untaken,
            wake,
            stop,
            #[cfg(test)]
            faults: Arc::default(),
        };
        for number in 0..relay.config.workers.max(1) {
            let thread = relay.start_thread(number, sender.clone())?;
            relay.threads.push(thread);
        }
        Ok(relay)
    }

    /// The ports of this relay, none warm yet: feed it the events.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports::new(self.config.workers, &self.config.pools, self.config.rest)
    }

    /// Asks something of a shard. Never blocks. Done by the next [`Relay::flush`] at the latest,
    /// and in any case before a packet that comes after this.
    pub fn send(&self, shard: u8, command: Command) -> Result<(), Full> {
        let thread = self.threads.get(usize::from(shard)).ok_or(Full)?;
        thread.commands.send(command)
    }

    /// Has a copy of what the peer of `side` says written to a ring of so many bytes, in place of one before; the session was
    /// applied already. For another thread to read.
    pub fn tap(
        &self,
        shard: u8,
        session: SessionId,
        side: Side,
        bytes: usize,
    ) -> Result<TapReader, Full> {
        let (tap, reader) = tap(bytes, clock());
        self.send(shard, Command::Tap { session, side, tap: Some(tap) })?;
        Ok(reader)
    }

    /// Wakes the threads that have been asked something. Once after several [`Relay::send`].
    pub fn flush(&self) {
        for thread in &self.threads {
            thread.commands.flush();
        }
    }

    /// Appends what the shards have told since the last call. Never blocks.
    pub fn poll_events(&mut self, events: &mut Vec<Event>) {
        self.wake.clear();
        let taken = events.len();
        events.extend(self.events.try_iter().take(EVENTS));
        let taken = &events[taken..];
        if taken.len() >= EVENTS {
            // There may be more, and their wake was cleared.
            self.wake.call();
        }
        let checkpoints = taken.iter().filter(|event| matches!(event, Event::Checkpoint { .. }));
        self.untaken.fetch_sub(checkpoints.count(), Ordering::Relaxed);
    }

    /// What each thread has done so far.
    pub fn counters(&self) -> impl ExactSizeIterator<Item = ThreadCounters> {
        self.threads.iter().map(|thread| thread.counters.load())
    }

    /// Ends all threads and closes all sockets; sessions are not told.
    pub fn stop(self) {}

    fn start_thread(&self, number: u8, events: SyncSender<Event>) -> Result<Thread, StartError> {
        let failed = |source| StartError::Thread { worker: number, source };
        let os_failed = |error: rustix::io::Errno| failed(error.into());
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).map_err(os_failed)?);
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let alarm = Arc::new(Alarm::new(eventfd(0, flags).map_err(os_failed)?));
        let token = epoll::EventData::new_u64(ALARM);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&*epoll, &alarm.event, token, edge).map_err(os_failed)?;

        let RelayConfig { workers, pools, warm, reserve, patient, pin, seed, .. } = &self.config;
        let map = PortMap::new(*workers, pools);
        let now = clock();
        let mut seed = *seed;
        seed[31] ^= number;
        let mut pool = Pool::new(map.clone(), number, *warm, *patient, seed, Arc::clone(&epoll));
        pool.fill(usize::MAX, now);
        pool.keep((*reserve).max(*warm));
        if let Some(index) = pool.empty_address().filter(|_| !patient) {
            let PoolConfig { id, address, .. } = pools[index];
            return Err(StartError::NoPorts { pool: id, address, worker: number });
        }
        let sessions = map.pairs() as usize;
        let (commands, receiver) = queue::commands(sessions, Arc::clone(&alarm));
        let counters = Arc::new(SharedCounters::default());
        #[allow(clippy::disallowed_methods, reason = "a driver gives its core the time of day")]
        let wall = SystemTime::now();
        let mut worker = Worker {
            number,
            pin: *pin,
            shard: Shard::new(map, number, seed, now, wall),
            pool,
            epoll,
            commands: receiver,
            events,
            wake: Arc::clone(&self.wake),
            stop: Arc::clone(&self.stop),
            counters: Arc::clone(&counters),
            unsent: None,
            untaken: Arc::clone(&self.untaken),
            commands_at: None,
            busy: false,
            send_failed: 0,
            failed_turns: 0,
            #[cfg(test)]
            faults: Arc::clone(&self.faults),
        };
        worker.tell(now);
        let handle = std::thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || worker.run())
            .map_err(failed)?;
        Ok(Thread { commands, alarm, counters, handle: Some(handle) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in &self.threads {
            thread.alarm.ring();
        }
        for handle in self.threads.iter_mut().filter_map(|thread| thread.handle.take()) {
            if handle.join().is_err() {
                error!("a relay thread was lost");
            }
        }
    }
}

/// Events that wait for signalling; what finds no room waits in its shard.
const EVENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

    use super::*;
    use crate::plan::{End, Plan, Port, SidePlan};
    use crate::shard::FAULTY;

    /// A session that panics ends; the thread and its neighbours in the same batch lose nothing, and
    /// its ports serve again.
    #[test]
    fn a_thread_outlives_a_fault() {
        let (mut relay, address) = relay(1);
        let phones = [(); 5].map(|()| phone());
        let sessions = [1, 2, u64::MAX, 4, 5].map(SessionId);
        let ports = [20000, 20004, 20008, 20012, 20016];
        for (n, session) in sessions.into_iter().enumerate() {
            let sides = [ports[n], ports[n] + 2].map(|number| side(number, &phones[n]));
            relay.send(0, Command::Apply(Box::new(Plan { session, sides }))).unwrap();
        }
        relay.flush();
        let mut packet = [0; 172];
        packet[0] = 0x80;
        for sequence in 0..20 {
            packet[3] = sequence;
            for (phone, port) in phones.iter().zip(ports) {
                phone.send_to(&packet, SocketAddr::new(address, port)).unwrap();
            }
        }
        for n in [0, 1, 3, 4] {
            let heard = (0..20).filter(|_| phones[n].recv(&mut [0; 2048]).is_ok()).count();
            assert_eq!(heard, 20, "{n}");
        }
        assert!(phones[2].recv(&mut [0; 2048]).is_err());
        let mut events = Vec::new();
        let ended =
            |event: &Event| matches!(event, Event::Ended { why: End::Failed, session: FAULTY, .. });
        await_until(|| {
            relay.poll_events(&mut events);
            events.iter().any(ended)
        });
        assert_eq!(events.iter().filter(|event| matches!(event, Event::Ended { .. })).count(), 1);
        let sides = [20008, 20010].map(|number| side(number, &phones[2]));
        relay.send(0, Command::Apply(Box::new(Plan { session: SessionId(6), sides }))).unwrap();
        relay.flush();
        phones[2].send_to(&packet, SocketAddr::new(address, 20008)).unwrap();
        assert!(phones[2].recv(&mut [0; 2048]).is_ok());
        assert_eq!(relay.counters().next().unwrap().shard.faults, 1);
        relay.stop();
    }

    /// A fault that is no session's costs a turn, even if it comes again and again.
    #[test]
    fn a_fault_outside_any_session_costs_its_turn_alone() {
        let (mut relay, address) = relay(2);
        let phone = phone();
        let sides = [20000, 20002].map(|number| side(number, &phone));
        relay.send(0, Command::Apply(Box::new(Plan { session: SessionId(1), sides }))).unwrap();
        relay.flush();
        let mut packet = [0; 172];
        packet[0] = 0x80;
        for sequence in 0..50 {
            packet[3] = sequence;
            relay.faults.fetch_add(usize::from(sequence) % 5, Ordering::Relaxed);
            phone.send_to(&packet, SocketAddr::new(address, 20000)).unwrap();
            assert!(phone.recv(&mut [0; 2048]).is_ok(), "{sequence}");
        }
        await_until(|| relay.counters().next().unwrap().shard.faults >= 40);
        let mut events = Vec::new();
        relay.poll_events(&mut events);
        assert!(!events.iter().any(|event| matches!(event, Event::Ended { .. })), "{events:?}");
        relay.stop();
    }

    fn relay(test: u8) -> (Relay, IpAddr) {
        let [.., low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 63, low, test).into();
        let pool = PoolConfig { id: PoolId(0), address, ports: 20000..=20019, dscp: None };
        let config = RelayConfig {
            workers: 1,
            pools: vec![pool],
            warm: 10,
            reserve: 10,
            patient: false,
            rest: Duration::ZERO,
            pin: false,
            seed: [1; 32],
        };
        (Relay::start(config, || ()).unwrap(), address)
    }

    fn phone() -> UdpSocket {
        let phone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        phone.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        phone
    }

    fn side(number: u16, phone: &UdpSocket) -> SidePlan {
        let port = Port { shard: 0, pool: PoolId(0), index: 0, number };
        SidePlan { rtp: phone.local_addr().ok(), ..SidePlan::new(port) }
    }

    fn await_until(mut done: impl FnMut() -> bool) {
        let start = clock();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(5), "waited in vain");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
