//! The switch: sockets and transactions are handed to the process that takes over, taken from the one that runs, and taken
//! back where the other one dies, with the calls that it has left.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use sip_stack::transport::Transport;
use tracing::{error, info, warn};

use super::{MOST_DISMISSED, SPARE};
use crate::core::Restored;
use crate::core::kin::Kin;
use crate::handover::heir::{Action, Event};
use crate::handover::note::{Kind, Note, digest_packets};
use crate::handover::socket::{DESCRIPTORS, Link};
use crate::journal::{self, Entry, Left};
use crate::run::driver::Driver;
use crate::run::enter::Predecessor;
use crate::run::pages::Pages;
use crate::run::state_file::{CALLBACKS, REGISTERED};
use crate::run::stop::{Order, Stop};
use crate::run::{Failure, clock, state_file};

impl Driver {
    /// Goes on with the calls of a process that died beside this one.
    pub(super) fn take_up_dead(&mut self, now: Instant) {
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
            self.durable.keep(&Entry::Ended(record));
        }
        let Restored { resumed, cut } = self.core.restore(calls, now);
        warn!(resumed, cut, late, unreadable, "taken up what a process that died had left");
    }

    pub(super) fn greet(&mut self, mut link: Link, now: Instant) {
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

    pub(super) fn lose_elder(&mut self, now: Instant) {
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

    pub(super) fn heir_event(&mut self, event: Event, now: Instant) {
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
                    self.core.keep_ports_for_help(false);
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
                    self.core.keep_ports_for_help(true);
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
        // Those of calls for help that came a moment ago are for the other process to read.
        let callbacks = self.core.callbacks();
        if !callbacks.is_empty() {
            self.callbacks.keep(callbacks);
        }
        self.callbacks.flush();
        if let Some(kept) = self.core.last_registered(now) {
            self.registered.keep(kept);
        }
        self.registered.flush();
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
        self.core.learn_callbacks(state_file::read(&self.kin.state, &CALLBACKS), clock());
        self.core.learn_registered(state_file::read(&self.kin.state, &REGISTERED), clock());
        self.core.keep_ports_ahead(self.kin.reserve);
        self.core.keep_ports_for_help(true);
        self.kin.lent.clear();
        for flow in std::mem::take(&mut self.kin.done) {
            self.net.close(flow);
        }
        self.stop.take_back();
        warn!("the process that had taken over is gone: serving again");
    }

    /// Passes an order on to the process that we took over from.
    pub(in crate::run) fn order_elder(&mut self, order: Order) {
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
    pub(in crate::run) fn begin_alone(&mut self) {
        if !self.kin.serve() {
            warn!("a process that is left of an upgrade still reads the listening sockets");
        }
    }

    /// Says that everything is open, waits until the elder reads no more, and listens.
    ///
    /// # Errors
    /// When the elder goes on instead.
    pub(in crate::run) async fn take_over(
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
        self.core.keep_ports_for_help(true);
        // Those of calls that came until now.
        self.core.learn_callbacks(state_file::read(state, &CALLBACKS), clock());
        self.core.learn_registered(state_file::read(state, &REGISTERED), clock());
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

/// When the journals are looked through after a process is gone.
const SEEK: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Media ports of each pool with which calls can begin to come.
const ENOUGH_PORTS: u32 = 16;
/// How long they are waited for.
const PORTS: Duration = Duration::from_secs(3);
