//! A relay thread. Each turn, in this order and each within a budget, so that nothing starves:
//! commands, what is due, packets (one of each ready socket: a flood on one port gets no more than
//! any other), ports to bind ahead, events out. Commands come before packets, so that a packet meets
//! every plan that was sent before it came.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tracing::{error, warn};

use super::counters::{SharedCounters, ThreadCounters};
use super::pool::{self, Pool};
use super::queue::{CHECKPOINTS, CommandReceiver, Wake};
use crate::plan::Event;
use crate::shard::{Forward, MAX_DATAGRAM, Output, Shard};
use crate::srtp::MAX_PACKET;

/// One relay thread and all it owns.
pub(super) struct Worker {
    pub(super) number: u8,
    pub(super) pin: bool,
    pub(super) shard: Shard,
    pub(super) pool: Pool,
    pub(super) epoll: Arc<OwnedFd>,
    pub(super) commands: CommandReceiver,
    pub(super) events: SyncSender<Event>,
    pub(super) wake: Arc<Wake>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) counters: Arc<SharedCounters>,
    /// An event that found no room.
    pub(super) unsent: Option<Event>,
    /// Batches of checkpoints that signalling has not taken, of all threads.
    pub(super) untaken: Arc<AtomicUsize>,
    /// When to go on with commands that may wait though the alarm is quiet.
    pub(super) commands_at: Option<Instant>,
    /// Commands came in the last turn, and more may follow.
    pub(super) busy: bool,
    pub(super) send_failed: u64,
    /// In a row.
    pub(super) failed_turns: u32,
    /// So many turns fail, in unit tests.
    #[cfg(test)]
    pub(super) faults: Arc<AtomicUsize>,
}

/// What one turn works with.
struct Space {
    ready: [epoll::Event; READY],
    /// How many are ready, and how many of these were served: the rest stays to be served when one
    /// of them fails.
    batch: usize,
    served: usize,
    packet: [u8; MAX_PACKET],
}

impl Worker {
    /// Runs until stopped.
    pub(super) fn run(mut self) {
        if self.pin {
            pin(self.number);
        }
        let nothing =
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let (ready, packet) = ([nothing; READY], [0; MAX_PACKET]);
        let mut space = Box::new(Space { ready, batch: 0, served: 0, packet });
        while !self.stop.load(Ordering::Acquire) {
            if catch_unwind(AssertUnwindSafe(|| self.turn(&mut space))).is_ok() {
                self.failed_turns = 0;
                continue;
            }
            self.shard.handle_fault();
            self.failed_turns += 1;
            if self.failed_turns.is_power_of_two() {
                let turns = self.failed_turns;
                error!(worker = self.number, turns, "a relay thread failed; its session is ended");
            }
            // What fails in every turn shall not fail a million times a second.
            std::thread::sleep(PENANCE * (self.failed_turns - 1).min(100));
        }
    }

    fn turn(&mut self, space: &mut Space) {
        if space.served == space.batch {
            (space.batch, space.served) = (0, 0);
            space.batch = self.sleep(&mut space.ready);
        }
        let now = clock();
        self.take_commands(now);
        self.work_off_timers(&mut space.packet, now);
        while let Some(event) = space.ready[..space.batch].get(space.served) {
            space.served += 1;
            let token = event.data.u64();
            if token != ALARM {
                self.relay(token, &mut space.packet, now);
            }
        }
        self.work_sockets(now);
        #[cfg(test)]
        self.strike();
        self.pool.refill(now);
        self.counters.store(&ThreadCounters {
            shard: self.shard.counters(),
            send_failed: self.send_failed,
            bound: self.pool.bound(),
        });
        self.tell(now);
    }

    #[cfg(test)]
    fn strike(&self) {
        let faults = &self.faults;
        let left = faults.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        assert!(left.is_err(), "a fault on purpose");
    }

    /// Waits for sockets, the alarm or the next deadline; how many are ready.
    fn sleep(&self, ready: &mut [epoll::Event]) -> usize {
        let now = clock();
        let look = match self.commands_at {
            Some(at) => Some(at),
            None if self.busy => Some(now + NAP),
            None => (!self.commands.doze()).then_some(now),
        };
        let deadlines = [
            look,
            self.shard.poll_timeout(),
            self.pool.poll_timeout(now),
            (self.unsent.is_some() || self.shard.has_checkpoint()).then(|| now + RETRY),
        ];
        let timeout = deadlines.into_iter().flatten().min().map(|at| {
            let left = at.saturating_duration_since(now).min(LONGEST);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        // An interruption is as good as a timeout.
        let ready = epoll::wait(&*self.epoll, ready, timeout.as_ref()).unwrap_or(0);
        self.commands.wake();
        ready
    }

    fn take_commands(&mut self, now: Instant) {
        self.commands_at = None;
        self.busy = false;
        for _ in 0..COMMANDS {
            if self.shard.backlog() > BACKLOG {
                self.commands_at = Some(now + RETRY);
                return;
            }
            let Ok(command) = self.commands.receive() else { return };
            self.busy = true;
            self.shard.handle_command(&command, now);
            self.work_sockets(now);
        }
        self.commands_at = Some(now);
    }

    fn work_off_timers(&mut self, packet: &mut [u8], now: Instant) {
        if self.shard.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        self.shard.handle_timeout(now);
        self.work_sockets(now);
        while let Some(forward) = self.shard.poll_transmit(packet, now) {
            self.send(packet, &forward);
        }
    }

    /// Reads one packet of a ready socket and passes it on.
    fn relay(&mut self, token: u64, packet: &mut [u8], now: Instant) {
        let socket = pool::socket(token);
        let Some(pair) = self.pool.pair(socket.slot) else { return };
        let received = pair.receive(socket.rtcp, &mut packet[..=MAX_DATAGRAM]);
        // Else nothing is there, or the refusal of something we sent.
        let Ok((len, from)) = received else { return };
        if let Some(forward) = self.shard.handle_packet(socket, from, packet, len, now) {
            self.send(packet, &forward);
        }
        self.work_sockets(now);
    }

    fn send(&mut self, packet: &[u8], forward: &Forward) {
        let Some(pair) = self.pool.pair(forward.slot) else { return };
        let bytes = &packet[..forward.len];
        if let Err(error) = pair.send(forward.rtcp, bytes, forward.to) {
            self.send_failed += 1;
            if self.send_failed.is_power_of_two() && error.kind() != ErrorKind::WouldBlock {
                warn!(worker = self.number, %error, count = self.send_failed, "media not sent");
            }
        }
    }

    /// Does to the sockets what the shard wants.
    fn work_sockets(&mut self, now: Instant) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Use(slot) => {
                    if !self.pool.take(slot, now) {
                        self.shard.handle_lost(slot);
                    }
                }
                Output::Idle(slot) => self.pool.give_back(slot, now),
                Output::Connect(slot, peer) => self.pool.connect(slot, peer),
                Output::Disconnect(slot) => self.pool.disconnect(slot),
                Output::Close(slot) => self.pool.close(slot),
                Output::Keep(reserve) => self.pool.keep(reserve),
            }
        }
    }

    /// Passes on events as far as there is room.
    pub(super) fn tell(&mut self, now: Instant) {
        let mut told = false;
        while let Some(event) = self.unsent.take().or_else(|| self.next_event(now)) {
            match self.events.try_send(event) {
                Ok(()) => told = true,
                Err(TrySendError::Full(event)) => {
                    self.unsent = Some(event);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        if told {
            self.wake.call();
        }
    }

    fn next_event(&mut self, now: Instant) -> Option<Event> {
        if let Some(port) = self.pool.take_cold() {
            return Some(Event::Cold { port });
        }
        let ports = self.pool.take_fresh();
        if !ports.is_empty() {
            return Some(Event::Warm { ports });
        }
        let event = self.shard.poll_event();
        if event.is_some() || self.untaken.load(Ordering::Relaxed) >= CHECKPOINTS {
            return event;
        }
        let checkpoint = self.shard.poll_checkpoint(now)?;
        self.untaken.fetch_add(1, Ordering::Relaxed);
        Some(checkpoint)
    }
}

/// Keeps this thread on one CPU of those the process may use, the last one for the first thread.
/// Threads that wander lose their caches, but one that cannot be pinned still works.
fn pin(number: u8) {
    let allowed = match sched_getaffinity(None) {
        Ok(allowed) => allowed,
        Err(error) => {
            warn!(worker = number, %error, "relay thread not pinned");
            return;
        }
    };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let Some(last) = cpus.len().checked_sub(1) else { return };
    let mut one = CpuSet::new();
    one.set(cpus[last - usize::from(number) % cpus.len()]);
    if let Err(error) = sched_setaffinity(None, &one) {
        warn!(worker = number, %error, "relay thread not pinned");
    }
}

#[allow(clippy::disallowed_methods, reason = "a driver gives its core the time")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

/// The epoll token of the alarm; no socket has it.
pub(super) const ALARM: u64 = u64::MAX;
/// Sockets served in one turn.
const READY: usize = 256;
/// Commands done in one turn.
const COMMANDS: usize = 64;
/// Ends of sessions that nobody took before no more commands are done.
const BACKLOG: usize = 4096;
/// The pause after the second failed turn in a row, longer after each.
const PENANCE: Duration = Duration::from_millis(1);
/// How long to wait for more commands before they have to ring.
const NAP: Duration = Duration::from_millis(2);
/// How soon an event that found no room is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// A turn comes at least this often.
const LONGEST: Duration = Duration::from_secs(10);
