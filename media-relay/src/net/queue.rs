//! What lies between signalling and a relay thread: commands in, events out, both bounded.
//!
//! An Apply is refused while [`APPLIES`] commands wait; a Resume and a Release find room beyond that
//! for every session the shard can have. Checkpoints wait in the shard, where they are renewed, while
//! [`CHECKPOINTS`] batches were not taken. Events wait in the shard itself while the queue out is full, so that
//! none is lost; a wake of signalling is made once and not again until it has looked.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::Full;
use crate::plan::Command;

/// The sending end of a thread's commands.
pub(super) struct CommandSender {
    queue: SyncSender<Command>,
    /// Applies and Releases.
    waiting: Arc<AtomicUsize>,
    alarm: Arc<Alarm>,
}

/// The thread's end.
pub(super) struct CommandReceiver {
    queue: Receiver<Command>,
    waiting: Arc<AtomicUsize>,
}

/// Wakes a thread that sleeps in epoll.
pub(super) struct Alarm(pub(super) OwnedFd);

impl Alarm {
    pub(super) fn ring(&self) {
        // The only failure is a counter that is full, and then the thread is awake anyhow.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn quiet(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

/// A queue for a shard that has at most `sessions`.
pub(super) fn commands(sessions: usize, alarm: Arc<Alarm>) -> (CommandSender, CommandReceiver) {
    let (sender, receiver) = sync_channel(APPLIES + 2 * sessions + 2);
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        CommandSender { queue: sender, waiting: Arc::clone(&waiting), alarm },
        CommandReceiver { queue: receiver, waiting },
    )
}

impl CommandSender {
    pub(super) fn send(&self, command: Command) -> Result<(), Full> {
        let counted = is_counted(&command);
        let waiting = self.waiting.fetch_add(usize::from(counted), Ordering::Relaxed);
        let fits = match &command {
            Command::Apply(_) => waiting < APPLIES,
            Command::Resume { .. } | Command::Release(_) => true,
        };
        if fits && self.queue.try_send(command).is_ok() {
            self.alarm.ring();
            return Ok(());
        }
        self.waiting.fetch_sub(usize::from(counted), Ordering::Relaxed);
        Err(Full)
    }
}

impl CommandReceiver {
    pub(super) fn receive(&self) -> Result<Command, TryRecvError> {
        let command = self.queue.try_recv()?;
        self.waiting.fetch_sub(usize::from(is_counted(&command)), Ordering::Relaxed);
        Ok(command)
    }
}

const fn is_counted(command: &Command) -> bool {
    match command {
        Command::Apply(_) | Command::Release(_) => true,
        Command::Resume { .. } => false,
    }
}

/// Wakes signalling.
pub(super) struct Wake {
    pending: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Wake {
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { pending: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Something was told.
    pub(super) fn call(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Signalling looks now; what is told from here on wakes it again.
    pub(super) fn clear(&self) {
        // A swap: whoever told something before it is seen by the look that follows.
        self.pending.swap(false, Ordering::AcqRel);
    }
}

/// Commands that may wait before an Apply is refused, Resumes apart.
pub(super) const APPLIES: usize = 1024;
/// Batches of checkpoints that may wait.
pub(super) const CHECKPOINTS: usize = 64;

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::plan::{Plan, PoolId, Port, SessionId, SidePlan};

    #[test]
    fn a_release_has_room_where_an_apply_has_none() {
        let alarm = Alarm(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let (sender, receiver) = commands(2, Arc::new(alarm));
        for _ in 0..APPLIES {
            assert_eq!(sender.send(apply()), Ok(()));
        }
        assert_eq!(sender.send(apply()), Err(Full));
        assert_eq!(sender.send(Command::Release(SessionId(1))), Ok(()));
        assert_eq!(sender.send(Command::Release(SessionId(2))), Ok(()));
        let plan = Box::new(plan());
        assert_eq!(sender.send(Command::Resume { plan, state: None }), Ok(()));
        assert_eq!(sender.send(apply()), Err(Full));
        for _ in 0..3 {
            assert!(receiver.receive().is_ok());
        }
        assert_eq!(sender.send(apply()), Ok(()));
    }

    #[test]
    fn signalling_is_woken_once_until_it_looks() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let wake = Wake::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        wake.call();
        wake.call();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        wake.clear();
        wake.call();
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    fn apply() -> Command {
        Command::Apply(Box::new(plan()))
    }

    fn plan() -> Plan {
        let port = Port { shard: 0, pool: PoolId(0), index: 0, number: 20000 };
        let sides = [SidePlan::new(port), SidePlan::new(port)];
        Plan { session: SessionId(1), sides }
    }
}
