//! The other processes of an upgrade, driven: carries out what [`crate::handover`] decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::endpoint::SendId;
use sip_stack::transport::{FlowId, LocalId, Source, Target, Transport};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::Failure;
use super::driver::Driver;
use super::enter::Predecessor;
use super::pages::Pages;
use super::stop::{Order, Stop};
use crate::core::Restored;
use crate::core::kin::Kin;
use crate::handover::flow;
use crate::handover::heir::{self, Action, Event, Heir};
use crate::handover::note::{Address, Heard, Kind, Note, digest_packets};
use crate::handover::socket::{DESCRIPTORS, Link, Listener, Lock, Packet, Right};
use crate::journal::{self, Entry, Left};
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

impl Driver {
    /// Sends a message: on a connection of ours, or by the process whose connection it is.
    pub(super) fn send(&mut self, id: SendId, mut target: Target, bytes: Bytes) {
        if let Some((kin, inner)) = target.flow.and_then(flow::owner) {
            let local = self.kin.name(target.local);
            let to = Address::new(&target, local, Some(inner));
            if self.kin.tell(kin, &Note::Send { id: id.0, to }, &bytes, Vec::new()) {
                return;
            }
            // That process is gone, and its connections with it.
            target.flow = None;
        }
        self.net.send(id, target, bytes);
    }

    /// Hands a message to the process that it belongs to.
    pub(super) fn hand(&mut self, to: Kin, source: &Source, raw: &[u8]) {
        if let (Kin::Heir, Some(own)) = (to, source.flow.filter(|f| flow::owner(*f).is_none())) {
            self.kin.lent.insert(own);
        }
        let heard = Heard::new(source, self.kin.name(source.local));
        // A datagram will be repeated; what came on a stream never is.
        if source.transport == Transport::Udp && self.kin.is_crowded() {
            return self.kin.lost.add(1);
        }
        if !self.kin.tell(to, &Note::Message(heard), raw, Vec::new()) {
            self.kin.lost.add(1);
        }
    }

    /// A send failed; true: it was another process's, which has been told.
    pub(super) fn unsent_of_others(&mut self, id: SendId) -> bool {
        let Some(whose) = self.kin.sends.take(id) else { return false };
        if let Some((kin, id)) = whose {
            // Else that process is gone.
            let _ = self.kin.tell(kin, &Note::Unsent { id }, b"", Vec::new());
        }
        true
    }

    /// The core needs a connection no more.
    pub(super) fn close_flow(&mut self, flow: FlowId) {
        match flow::owner(flow) {
            Some((kin, inner)) => {
                // Else its connections are gone as well.
                let _ = self.kin.tell(kin, &Note::Free { flow: inner.0 }, b"", Vec::new());
            }
            None if self.kin.lent.contains(&flow) => {
                self.kin.done.insert(flow);
            }
            None => self.net.close(flow),
        }
    }

    /// A connection of ours is gone.
    pub(super) fn forget_flow(&mut self, flow: FlowId) {
        self.kin.lent.remove(&flow);
        self.kin.done.remove(&flow);
    }

    /// Tells the others what concerns them: once a second.
    pub(super) fn beat_kin(&mut self) {
        self.meters.show_elder(self.kin.elder_calls);
        if self.kin.heir.has_taken_over() {
            self.core.give_up_ports(SPARE);
            let calls = self.core.calls() + self.kin.elder_calls;
            let (depth, tenants) = (self.kin.depth, self.core.load());
            let load = Note::Load { calls, depth, tenants };
            let _ = self.kin.tell(Kin::Heir, &load, b"", Vec::new());
        }
    }

    /// Serves what the others have said.
    pub(super) fn serve_kin(&mut self, now: Instant) {
        for _ in 0..self.kin.inbox.len() {
            match self.kin.inbox.pop_front() {
                None => {}
                Some(Came::Newcomer(link)) => self.greet(link, now),
                Some(Came::Packet(kin, packet)) => self.heed(kin, &packet.bytes, now),
                Some(Came::Lost(Kin::Elder)) => self.lose_elder(now),
                Some(Came::Lost(Kin::Heir)) => self.heir_event(Event::Lost, now),
            }
        }
        if self.kin.heir.poll_timeout().is_some_and(|due| due <= now) {
            self.heir_event(Event::Timer, now);
        }
        while self.kin.seek.front().is_some_and(|due| *due <= now) {
            self.kin.seek.pop_front();
            self.take_up_dead(now);
        }
    }

    /// Goes on with the calls of a process that died beside this one.
    fn take_up_dead(&mut self, now: Instant) {
        let Left { calls, ended, unreadable, dead } =
            match journal::dead(&self.kin.state, &self.kin.key) {
                Ok(left) => left,
                Err(error) => return warn!(%error, "the journals cannot be looked through"),
            };
        if dead.is_empty() {
            return;
        }
        self.durable.follow(dead);
        let late = ended.len();
        for record in ended {
            self.durable.keep(&Entry::Ended(Box::new(record)));
        }
        let Restored { resumed, cut } = self.core.restore(calls, now);
        warn!(resumed, cut, late, unreadable, "taken up what a process that died had left");
    }

    fn greet(&mut self, mut link: Link, now: Instant) {
        if self.kin.heir.handle(Event::Connected, now).contains(&Action::Busy) {
            let why = "another upgrade goes on".to_owned();
            // Whoever does not hear it sees the end of the link.
            let _ = link.send(Note::Refuse { why }.pack(b""), Vec::new());
            self.kin.dismissed.push_back(link);
            if self.kin.dismissed.len() > MOST_DISMISSED {
                self.kin.dismissed.pop_front();
            }
            return;
        }
        self.kin.to_heir = Some(link);
    }

    fn heed(&mut self, kin: Kin, packet: &Bytes, now: Instant) {
        let Some((note, bytes)) = Note::unpack(packet) else {
            return self.kin.lost.add(1);
        };
        match (kin, note) {
            (Kin::Heir, Note::Hello { version, program }) => {
                info!(program, version, "another process wants to take over");
                let unable = if self.stop != Stop::Serving {
                    Some(heir::STOPPING)
                } else {
                    (self.kin.depth >= DEEPEST).then_some(heir::MANY)
                };
                self.heir_event(Event::Hello(version, unable), now);
            }
            (Kin::Heir, Note::Ready { taken }) => {
                self.kin_taken = taken;
                self.heir_event(Event::Ready, now);
            }
            (Kin::Heir, Note::Stop { drain }) => self.heir_event(Event::Stop(drain), now),
            (Kin::Heir, Note::End) => self.heir_event(Event::End, now),
            (Kin::Heir, Note::Free { flow }) => self.free(FlowId(flow)),
            (Kin::Elder, Note::Load { calls, depth, tenants }) => {
                self.kin.elder_calls = calls;
                self.kin.depth = depth + 1;
                self.core.note_load(tenants);
            }
            (_, Note::Message(heard)) => self.take_handed(kin, &heard, bytes, now),
            (_, Note::Send { id, to }) => self.send_for(kin, id, &to, bytes),
            (_, Note::Unsent { id }) => {
                if !self.unsent_of_others(SendId(id)) {
                    self.core.handle_send_failed(SendId(id), now);
                }
            }
            (
                _,
                Note::Hello { .. }
                | Note::Refuse { .. }
                | Note::Welcome { .. }
                | Note::Sockets(_)
                | Note::Ready { .. }
                | Note::Known
                | Note::Go
                | Note::Free { .. }
                | Note::Load { .. }
                | Note::Stop { .. }
                | Note::End,
            ) => self.kin.lost.add(1),
        }
    }

    fn take_handed(&mut self, kin: Kin, heard: &Heard, raw: Bytes, now: Instant) {
        let (Some(source), Some(Ok(message))) = (self.kin.source(kin, heard), self.net.read(raw))
        else {
            return self.kin.lost.add(1);
        };
        self.net.note_heard(&source);
        self.core.handle_handed(kin, source, message, now);
    }

    fn send_for(&mut self, kin: Kin, id: u64, to: &Address, bytes: Bytes) {
        let Some(target) = self.kin.target(to) else {
            let _ = self.kin.tell(kin, &Note::Unsent { id }, b"", Vec::new());
            return;
        };
        let id = self.kin.sends.name(kin, id);
        self.send(id, target, bytes);
    }

    /// The heir needs a connection of ours no more.
    fn free(&mut self, flow: FlowId) {
        if flow::owner(flow).is_some() {
            return self.close_flow(flow);
        }
        self.kin.lent.remove(&flow);
        if self.kin.done.remove(&flow) {
            self.net.close(flow);
        }
    }

    fn lose_elder(&mut self, now: Instant) {
        info!("the process before this one has ended");
        self.kin.elder_calls = 0;
        self.kin.depth = 0;
        self.core.outlive_elder();
        self.seek_dead(now);
    }

    /// One that ended in order has left nothing; what one that died has left is free a moment later, or, where it was
    /// in the middle of a chain, when those before it have ended as well.
    fn seek_dead(&mut self, now: Instant) {
        self.kin.seek = SEEK.map(|after| now + after).into();
    }

    fn heir_event(&mut self, event: Event, now: Instant) {
        for action in self.kin.heir.handle(event, now) {
            match action {
                Action::Refuse(why) => {
                    warn!(why, "the other process is refused");
                    let note = Note::Refuse { why: why.to_owned() };
                    let _ = self.kin.tell(Kin::Heir, &note, b"", Vec::new());
                    self.kin.to_heir = None;
                }
                // The newcomer has been sent away.
                Action::Busy => {}
                Action::Drop => self.kin.to_heir = None,
                Action::Offer => {
                    self.core.give_up_ports(SPARE);
                    if let Err(error) = self.offer() {
                        warn!(%error, "the sockets cannot be handed over");
                        self.kin.to_heir = None;
                        self.heir_event(Event::Lost, now);
                    }
                }
                Action::Restore => {
                    warn!("the other process has not taken over; nothing has changed");
                    self.core.keep_ports_ahead(self.kin.reserve);
                }
                Action::HandOver => self.hand_over(now),
                Action::TakeBack => self.take_back(now),
                Action::Shorten(drain) => self.stop.shorten(now + drain),
                Action::End => {
                    let order = self.stop.signal(Duration::ZERO, now);
                    self.order(order, now);
                }
            }
        }
    }

    fn offer(&mut self) -> std::io::Result<()> {
        let mut sockets: Vec<(Kind, OwnedFd)> =
            vec![(Kind::Lock, self.kin.lock.share()?), (Kind::Control, self.kin.control.share()?)];
        if let Some(pages) = &self.kin.pages {
            sockets.push((Kind::Admin(pages.address()), pages.share()?));
        }
        let sip = self.net.export()?;
        sockets.extend(sip.into_iter().map(|l| (Kind::Sip(l.transport, l.address), l.fd)));
        let welcome = Note::Welcome {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.core.origins().iter().map(|o| o.epoch).fold(self.kin.epoch, u32::max),
            origins: self.core.origins().into_iter().map(Into::into).collect(),
            sockets: sockets.len(),
            depth: self.kin.depth,
        };
        let mut said = self.kin.tell(Kin::Heir, &welcome, b"", Vec::new());
        while !sockets.is_empty() {
            let rest = sockets.split_off(sockets.len().min(DESCRIPTORS));
            let (kinds, carried) = std::mem::replace(&mut sockets, rest).into_iter().unzip();
            said &= self.kin.tell(Kin::Heir, &Note::Sockets(kinds), b"", carried);
        }
        if said { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    }

    /// The moment of the switch.
    fn hand_over(&mut self, now: Instant) {
        let taken = std::mem::take(&mut self.kin_taken);
        let is_taken = |transport: Transport, address: SocketAddr| {
            taken.contains(&Kind::Sip(transport, address))
        };
        self.net.stop_listening(is_taken);
        if let Some(pages) = &mut self.kin.pages
            && taken.contains(&Kind::Admin(pages.address()))
        {
            pages.close();
        }
        self.kin.serving = None;
        // What has come is ours: if it were handed over after this, a CANCEL could be there before its INVITE.
        self.serve_waiting(now);
        let known = self.core.hand_over(now);
        let mut said = digest_packets(&known).all(|p| self.kin.post(Kin::Heir, p, Vec::new()));
        said &= self.kin.tell(Kin::Heir, &Note::Go, b"", Vec::new());
        if !said {
            self.kin.to_heir = None;
            return self.heir_event(Event::Lost, now);
        }
        // Our calls count there from the first new one on.
        self.beat_kin();
        self.stop.hand_over(self.core.routes().config().gateway.upgrade_drain, now);
        let (calls, transactions) = (self.core.calls(), known.len());
        info!(calls, transactions, "another process has taken over");
    }

    fn take_back(&mut self, now: Instant) {
        if !self.kin.serve() {
            // One between us and the newest has died: we hear nothing any more. The newest goes on with our calls as
            // if we had died too; they must not end here.
            error!(
                "the process that had taken over is gone, and another serves: leaving the calls to it"
            );
            self.stop = Stop::Over;
            return;
        }
        self.seek_dead(now);
        self.net.listen_again();
        self.kin.open_pages();
        self.core.take_back();
        self.core.keep_ports_ahead(self.kin.reserve);
        self.kin.lent.clear();
        for flow in std::mem::take(&mut self.kin.done) {
            self.net.close(flow);
        }
        self.stop.take_back();
        warn!("the process that had taken over is gone: serving again");
    }

    /// Passes an order on to the process that we took over from.
    pub(super) fn order_elder(&mut self, order: Order) {
        let note = match order {
            Order::Drain => Note::Stop { drain: self.core.routes().config().gateway.drain },
            Order::EndAll => Note::End,
        };
        let _ = self.kin.tell(Kin::Elder, &note, b"", Vec::new());
    }

    /// The elder has given up its free media ports a moment ago: before any call comes, some have to be ours.
    async fn wait_for_ports(&mut self) {
        let wait = async {
            while !self.core.has_ports(ENOUGH_PORTS) {
                self.relay_tells().await;
            }
        };
        if tokio::time::timeout(PORTS, wait).await.is_err() {
            warn!("few media ports are free: the running process has nearly all of them");
        }
    }

    /// Nobody was there.
    pub(super) fn begin_alone(&mut self) {
        if !self.kin.serve() {
            warn!("a process that is left of an upgrade still reads the listening sockets");
        }
    }

    /// Says that everything is open, waits until the elder reads no more, and listens.
    ///
    /// # Errors
    /// When the elder goes on instead.
    pub(super) async fn take_over(
        &mut self,
        elder: Predecessor,
        state: &Path,
        taken: Vec<Kind>,
    ) -> Result<(), Failure> {
        let mine: Vec<_> = self.net.local_addrs().into_iter().map(|(_, t, a)| (t, a)).collect();
        let admin = self.kin.pages.as_ref().map(Pages::address);
        let taken = taken.into_iter().filter(|kind| match kind {
            Kind::Sip(transport, address) => mine.contains(&(*transport, *address)),
            Kind::Admin(address) => admin == Some(*address),
            Kind::Control | Kind::Lock => true,
        });
        let (origins, depth) = (elder.origins.clone(), elder.depth + 1);
        self.wait_for_ports().await;
        let (known, link) = elder.succeed(state, taken.collect()).await?;
        if link.is_some() {
            self.kin.depth = depth;
            self.core.succeed(origins, known);
        }
        self.kin.to_elder = link;
        if !self.kin.serve() {
            warn!("another process has not given up the listening sockets");
        }
        self.net.listen_again();
        Ok(())
    }
}

/// Processes that may be left before one that is taken over from: a connection is named over four links.
const DEEPEST: usize = 4;
/// When the journals are looked through after a process is gone.
const SEEK: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Marks what we send for others; the numbers of client transactions stay far below.
const OF_OTHERS: u64 = 1 << 62;
/// As the endpoint marks its sends outside client transactions.
const OF_NO_CLIENT: u64 = 1 << 63;
/// Media ports of each address that a process keeps ahead while another takes over.
const SPARE: u16 = 4;
/// Media ports of each pool with which calls can begin to come.
const ENOUGH_PORTS: u32 = 16;
/// How long they are waited for.
const PORTS: Duration = Duration::from_secs(3);
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
