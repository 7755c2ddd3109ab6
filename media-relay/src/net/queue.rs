//! What lies between signalling and a relay thread: commands in, events out, both bounded.
//!
//! An Apply, a Kept or a Tap is refused while [`APPLIES`] commands wait; a Resume and a Release find room beyond that
//! for every session the shard can have. Checkpoints wait in the shard, where they are renewed, while
//! [`CHECKPOINTS`] batches were not taken. Events wait in the shard itself while the queue out is full, so that
//! none is lost; a wake of signalling is made once and not again until it has looked.
//!
//! A thread is rung only when it sleeps. After commands it naps before it sleeps: then it looks for
//! more by itself soon, and at once when a packet comes, so that commands under load cost no wake
//! and are still done before any packet that came after them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::Full;
use crate::plan::Command;

/// The sending end of a thread's commands.
pub(super) struct CommandSender {
    queue: SyncSender<Command>,
    waiting: Arc<Waiting>,
    alarm: Arc<Alarm>,
}

/// The thread's end.
pub(super) struct CommandReceiver {
    queue: Receiver<Command>,
    waiting: Arc<Waiting>,
    alarm: Arc<Alarm>,
}

/// Commands that were sent and not received.
#[derive(Default)]
struct Waiting {
    all: AtomicUsize,
    resumes: AtomicUsize,
}

/// Wakes a thread that sleeps in epoll, where it stands edge-triggered: nobody reads it.
pub(super) struct Alarm {
    pub(super) event: OwnedFd,
    /// The thread sleeps, or is about to look for commands a last time and sleep then.
    asleep: AtomicBool,
}

impl Alarm {
    pub(super) const fn new(event: OwnedFd) -> Self {
        Self { event, asleep: AtomicBool::new(false) }
    }

    /// Wakes the thread, however it is.
    pub(super) fn ring(&self) {
        // The only failure is a counter that is full, and that takes 2^64 rings.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Wakes the thread if it sleeps.
    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }
}

/// A queue for a shard that has at most `sessions`.
pub(super) fn commands(sessions: usize, alarm: Arc<Alarm>) -> (CommandSender, CommandReceiver) {
    let (sender, receiver) = sync_channel(APPLIES + 2 * sessions + COOLS);
    let waiting = Arc::new(Waiting::default());
    (
        CommandSender { queue: sender, waiting: Arc::clone(&waiting), alarm: Arc::clone(&alarm) },
        CommandReceiver { queue: receiver, waiting, alarm },
    )
}

impl CommandSender {
    pub(super) fn send(&self, command: Command) -> Result<(), Full> {
        let resume = is_resume(&command);
        let resumes = self.waiting.resumes.fetch_add(resume, Ordering::Relaxed);
        // Counted before it is there: who sees none in the count may sleep.
        let all = self.waiting.all.fetch_add(1, Ordering::SeqCst);
        let fits = match &command {
            Command::Apply(_) | Command::Kept(_) | Command::Tap { .. } => {
                all.saturating_sub(resumes) < APPLIES
            }
            Command::Resume { .. } | Command::Release(_) | Command::Cool { .. } => true,
        };
        if fits && self.queue.try_send(command).is_ok() {
            return Ok(());
        }
        self.waiting.all.fetch_sub(1, Ordering::SeqCst);
        self.waiting.resumes.fetch_sub(resume, Ordering::Relaxed);
        Err(Full)
    }

    /// Sees to it that what was sent is received soon.
    pub(super) fn flush(&self) {
        if self.waiting.all.load(Ordering::SeqCst) > 0 {
            self.alarm.rouse();
        }
    }
}

impl CommandReceiver {
    pub(super) fn receive(&self) -> Result<Command, TryRecvError> {
        let command = self.queue.try_recv()?;
        self.waiting.all.fetch_sub(1, Ordering::SeqCst);
        self.waiting.resumes.fetch_sub(is_resume(&command), Ordering::Relaxed);
        Ok(command)
    }

    /// The thread is going to sleep until it is rung: `false`, and it must not, while commands
    /// wait.
    pub(super) fn doze(&self) -> bool {
        self.alarm.asleep.store(true, Ordering::SeqCst);
        if self.waiting.all.load(Ordering::SeqCst) == 0 {
            return true;
        }
        self.wake();
        false
    }

    /// It is awake, and looks for commands before it sleeps again.
    pub(super) fn wake(&self) {
        self.alarm.asleep.store(false, Ordering::SeqCst);
    }
}

/// One for a Resume.
const fn is_resume(command: &Command) -> usize {
    match command {
        Command::Resume { .. } => 1,
        Command::Apply(_)
        | Command::Kept(_)
        | Command::Tap { .. }
        | Command::Release(_)
        | Command::Cool { .. } => 0,
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
/// Room for what is rarer than a session.
const COOLS: usize = 64;
/// Batches of checkpoints that may wait.
pub(super) const CHECKPOINTS: usize = 64;

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::plan::{Plan, PoolId, Port, SessionId, SidePlan};

    #[test]
    fn a_release_has_room_where_an_apply_has_none() {
        let (sender, receiver) = commands(2, alarm());
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
    fn a_thread_is_rung_once_and_only_while_it_sleeps() {
        let alarm = alarm();
        let (sender, receiver) = commands(2, Arc::clone(&alarm));
        let rung = || {
            let mut count = [0; 8];
            rustix::io::read(&alarm.event, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
        };
        sender.flush();
        sender.send(apply()).unwrap();
        sender.flush();
        assert_eq!(rung(), 0);
        assert!(!receiver.doze());
        receiver.receive().unwrap();
        assert!(receiver.doze());
        sender.flush();
        assert_eq!(rung(), 0);
        sender.send(apply()).unwrap();
        sender.send(apply()).unwrap();
        sender.flush();
        sender.flush();
        assert_eq!(rung(), 1);
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

    fn alarm() -> Arc<Alarm> {
        Arc::new(Alarm::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap()))
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
