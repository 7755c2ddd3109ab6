//! The other processes of an upgrade, driven: carries out what [`crate::handover`] decides. Here are the links to them;
//! `traffic` is what goes over these, `switch` how one process takes over from another.

mod switch;
mod traffic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sip_stack::endpoint::SendId;
use sip_stack::transport::{FlowId, LocalId, Source, Target};
use tracing::warn;
use zeroize::Zeroizing;

use super::pages::Pages;
use crate::core::kin::Kin;
use crate::handover::flow;
use crate::handover::heir::Heir;
use crate::handover::note::{Address, Heard, Note};
use crate::handover::socket::{Link, Listener, Lock, Packet, Right};
use crate::metrics::{Loss, Tally};

/// The other processes.
pub(super) struct Kindred {
    state: PathBuf,
    /// Of the journals in `state`.
    key: Zeroizing<[u8; 32]>,
    lock: Lock,
    /// While this process reads the listening sockets.
    serving: Option<Lock>,
    /// When journals of processes that died are looked for.
    seek: VecDeque<Instant>,
    control: Listener,
    /// The admin pages, if there are any.
    pages: Option<Pages>,
    /// What our identities are called between processes.
    names: Vec<String>,
    epoch: u32,
    /// Media ports that we keep ahead while we are alone.
    reserve: u16,
    heir: Heir,
    to_heir: Option<Link>,
    /// Newcomers that were sent away, until they have read why: closed at once, a link with something unread is reset.
    /// At most [`MOST_DISMISSED`].
    dismissed: VecDeque<Link>,
    to_elder: Option<Link>,
    /// Calls of the elder.
    elder_calls: usize,
    /// How many processes before this one are left.
    depth: usize,
    inbox: VecDeque<Came>,
    sends: Sends,
    /// Connections of ours on which something came that is the heir's.
    lent: BTreeSet<FlowId>,
    /// Of these, the ones that we need no more.
    done: BTreeSet<FlowId>,
    lost: Tally,
    patience: Patience,
}

/// What came from the others.
#[derive(Debug)]
enum Came {
    Newcomer(Link),
    Packet(Kin, Packet),
    Lost(Kin),
}

/// What others asked us to send: our numbers, and whose they are.
#[derive(Debug, Default)]
struct Sends {
    last: u64,
    /// At most [`MOST_SENDS`]: what failed later is not told.
    open: BTreeMap<u64, (Kin, u64)>,
}

impl Sends {
    fn name(&mut self, kin: Kin, id: u64) -> SendId {
        self.last += 1;
        if self.open.len() >= MOST_SENDS {
            self.open.pop_first();
        }
        self.open.insert(self.last, (kin, id));
        SendId(OF_OTHERS | self.last)
    }

    /// Whose send that was; `None` for one of ours.
    fn take(&mut self, id: SendId) -> Option<Option<(Kin, u64)>> {
        let others = id.0 & (OF_OTHERS | OF_NO_CLIENT) == OF_OTHERS;
        others.then(|| self.open.remove(&(id.0 & !OF_OTHERS)))
    }
}

/// Since when another process has been behind.
#[derive(Debug, Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// Whether we go on waiting for it.
    fn holds(&mut self, behind: bool, now: Instant) -> bool {
        let since = behind.then(|| self.0.unwrap_or(now));
        self.0 = since;
        since.is_some_and(|since| now.saturating_duration_since(since) < PATIENCE)
    }
}

impl Kindred {
    /// The state directory.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Alone so far; `names` are those of our identities.
    pub(super) fn new(
        (state, key): (PathBuf, Zeroizing<[u8; 32]>),
        lock: Lock,
        control: Listener,
        pages: Option<Pages>,
        names: Vec<String>,
        epoch: u32,
        reserve: u16,
    ) -> Self {
        Self {
            state,
            key,
            lock,
            serving: None,
            seek: VecDeque::new(),
            control,
            pages,
            names,
            epoch,
            reserve,
            heir: Heir::default(),
            to_heir: None,
            dismissed: VecDeque::new(),
            to_elder: None,
            elder_calls: 0,
            depth: 0,
            inbox: VecDeque::new(),
            sends: Sends::default(),
            lent: BTreeSet::new(),
            done: BTreeSet::new(),
            lost: Tally::of(Loss::HandedDropped),
            patience: Patience::default(),
        }
    }

    /// Begins to serve the admin pages.
    pub(super) fn open_pages(&mut self) {
        if let Some(pages) = &mut self.pages {
            pages.open();
        }
    }

    /// What other processes still need of this one: none of them counts as a call.
    pub(super) fn owed(&self) -> usize {
        usize::from(self.to_elder.is_some()) + self.lent.len()
    }

    /// Whether another process is so far behind that what comes on streams should wait there. Not for ever: one that
    /// hangs must not silence this one, and what is for it is then lost once its link is full.
    pub(super) fn holds_up(&mut self, now: Instant) -> bool {
        let crowded = self.is_crowded();
        self.patience.holds(crowded, now)
    }

    fn is_crowded(&self) -> bool {
        [&self.to_heir, &self.to_elder].into_iter().flatten().any(Link::is_crowded)
    }

    /// Whether another process has taken over, and lives.
    pub(super) const fn has_heir(&self) -> bool {
        self.heir.has_taken_over()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.heir.poll_timeout().into_iter().chain(self.seek.front().copied()).min()
    }

    /// Takes the right to read the listening sockets; false when another process reads them.
    pub(super) fn serve(&mut self) -> bool {
        match Lock::take(&self.state, Right::Serve) {
            Ok(lock) => self.serving = lock,
            Err(error) => warn!(%error, "cannot lock the listening sockets"),
        }
        self.serving.is_some()
    }

    /// Waits until another process says something; nothing is lost when this is dropped.
    pub(super) async fn hear(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let crowded = self.is_crowded();
        for (kin, link) in [(Kin::Heir, &mut self.to_heir), (Kin::Elder, &mut self.to_elder)] {
            let mut left = PACKETS_A_TURN;
            while let Some(open) = link
                && left > 0
            {
                left -= 1;
                match open.poll(context) {
                    Poll::Pending => break,
                    Poll::Ready(Some(packet)) => self.inbox.push_back(Came::Packet(kin, packet)),
                    Poll::Ready(None) => {
                        *link = None;
                        self.inbox.push_back(Came::Lost(kin));
                    }
                }
            }
        }
        self.dismissed.retain_mut(|link| !matches!(link.poll(context), Poll::Ready(None)));
        // Last, so that one that left makes room for the next. After the switch the heir listens for the next one.
        if !self.heir.has_taken_over()
            && let Poll::Ready(link) = self.control.poll_accept(context)
        {
            self.inbox.push_back(Came::Newcomer(link));
        }
        // Streams that wait for that are read again.
        let relieved = crowded && !self.is_crowded();
        if self.inbox.is_empty() && !relieved { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Says something to another process; false when it cannot be said.
    fn tell(&mut self, kin: Kin, note: &Note, bytes: &[u8], carried: Vec<OwnedFd>) -> bool {
        self.post(kin, note.pack(bytes), carried)
    }

    fn post(&mut self, kin: Kin, packet: Vec<u8>, carried: Vec<OwnedFd>) -> bool {
        let link = match kin {
            Kin::Heir => &mut self.to_heir,
            Kin::Elder => &mut self.to_elder,
        };
        link.as_mut().is_some_and(|link| link.send(packet, carried))
    }

    fn name(&self, local: LocalId) -> String {
        self.names.get(usize::from(local.0)).cloned().unwrap_or_default()
    }

    fn local(&self, name: &str) -> Option<LocalId> {
        let index = self.names.iter().position(|own| own == name)?;
        u16::try_from(index).ok().map(LocalId)
    }

    fn source(&self, kin: Kin, heard: &Heard) -> Option<Source> {
        let flow = match heard.flow {
            Some(flow) => Some(flow::beyond(kin, FlowId(flow))?),
            None => None,
        };
        let Heard { transport, local_addr, remote, .. } = *heard;
        Some(Source { transport, local: self.local(&heard.local)?, local_addr, remote, flow })
    }

    fn target(&self, to: &Address) -> Option<Target> {
        Some(Target {
            transport: to.transport,
            local: self.local(&to.local)?,
            remote: to.remote,
            name: to.name.as_deref().map(Into::into),
            flow: to.flow.map(FlowId),
        })
    }
}

/// Marks what we send for others; the numbers of client transactions stay far below.
const OF_OTHERS: u64 = 1 << 62;
/// As the endpoint marks its sends outside client transactions.
const OF_NO_CLIENT: u64 = 1 << 63;
/// Media ports of each address that a process keeps ahead while another takes over.
const SPARE: u16 = 4;
/// How long streams wait for another process that is behind.
const PATIENCE: Duration = Duration::from_secs(3);
const MOST_DISMISSED: usize = 4;
const MOST_SENDS: usize = 4096;
/// Packets that one turn takes from each process.
const PACKETS_A_TURN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_hangs_holds_nobody_up_for_long() {
        let mut patience = Patience::default();
        let start = super::super::clock();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!patience.holds(false, at(0)));
        assert!(patience.holds(true, at(1000)) && patience.holds(true, at(3999)));
        assert!(!patience.holds(true, at(4000)) && !patience.holds(true, at(60_000)));
        // It has caught up once, and has its time again.
        assert!(!patience.holds(false, at(61_000)));
        assert!(patience.holds(true, at(62_000)));
    }
}
