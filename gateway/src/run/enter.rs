//! The way into a state directory: alone, with its lock; or by taking over from the process that is there.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use sip_stack::endpoint::Origin;
use sip_stack::net::{Inherited, Listening};
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::Failure;
use crate::handover::elder::{Action, Elder, Event, Failed};
use crate::handover::note::{self, Kind, Note};
use crate::handover::socket::{Link, Listener, Lock, Right};
use crate::handover::{self};

/// What a process of this directory holds from its first moment.
#[derive(Debug)]
pub(super) struct Entry {
    /// Nobody else is in the directory but those who share this.
    pub(super) lock: Lock,
    /// Where the next process says Hello.
    pub(super) control: Listener,
    /// The SIP listeners of the elder.
    pub(super) inherited: Inherited,
    /// What each of the elder's sockets is.
    pub(super) taken: Vec<Kind>,
    /// The listener of the elder's admin pages.
    pub(super) admin: Option<TcpListener>,
    /// The process that we take over from.
    pub(super) elder: Option<Predecessor>,
}

/// The process that we take over from.
#[derive(Debug)]
pub(super) struct Predecessor {
    machine: Elder,
    link: Link,
    /// The newest epoch so far.
    pub(super) epoch: u32,
    /// Whose tags and branches belong on its side.
    pub(super) origins: Vec<Origin>,
    /// How many processes before it are left.
    pub(super) depth: usize,
}

/// Enters alone, or with `upgrade` takes over if somebody is there. Inside a runtime only.
pub(super) async fn enter(state: &Path, upgrade: bool) -> Result<Entry, Failure> {
    let failed = |source| Failure::State { state: state.to_owned(), source };
    if upgrade {
        match Link::connect(state) {
            Ok(link) => return take_over(state, link).await,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let lock = Lock::take(state, Right::Enter).map_err(failed)?;
    let lock = lock.ok_or_else(|| Failure::Occupied { state: state.to_owned() })?;
    let control = Listener::bind(state).map_err(failed)?;
    let (inherited, taken) = (Inherited::default(), Vec::new());
    Ok(Entry { lock, control, inherited, taken, admin: None, elder: None })
}

/// Says Hello and takes what is offered.
async fn take_over(state: &Path, mut link: Link) -> Result<Entry, Failure> {
    let until = Instant::now() + ANSWER;
    let hello = Note::Hello { version: handover::VERSION, program: PROGRAM.to_owned() };
    let mut machine = Elder::Asked;
    let mut event = match link.send(hello.pack(b""), Vec::new()) {
        true => hear(&mut link, until).await,
        false => Heard::just(Event::Lost),
    };
    let (mut epoch, mut depth, mut origins, mut sockets) = (0, 0, Vec::new(), Vec::new());
    loop {
        match event.note {
            Some(Note::Welcome {
                epoch: newest,
                origins: made,
                depth: before,
                ref program,
                ..
            }) => {
                info!(program, "taking over from the running process");
                (epoch, depth) = (newest, before);
                origins = made.into_iter().map(Origin::from).collect();
            }
            Some(Note::Sockets(kinds)) => sockets.extend(kinds.into_iter().zip(event.descriptors)),
            _ => {}
        }
        match machine.handle(event.event) {
            Action::Open => break,
            Action::Fail(why) => return Err(refused(state, why, event.words)),
            Action::Wait | Action::SayReady | Action::Keep | Action::Begin | Action::Alone => {}
        }
        event = hear(&mut link, until).await;
    }
    let mut listening = Vec::new();
    let (mut lock, mut control, mut admin, mut taken) = (None, None, None, Vec::new());
    for (kind, fd) in sockets {
        match &kind {
            Kind::Sip(transport, address) => {
                let (transport, address) = (*transport, *address);
                listening.push(Listening { transport, address, fd });
            }
            Kind::Admin(_) => admin = Some(TcpListener::from(fd)),
            Kind::Control => control = Some(Listener::inherited(fd)),
            Kind::Lock => lock = Some(Lock::inherited(fd)),
        }
        taken.push(kind);
    }
    let confused = || refused(state, Failed::Confused, None);
    let control = control.ok_or_else(confused)?;
    let control = control.map_err(super::system("an event queue"))?;
    let lock = lock.ok_or_else(confused)?;
    let inherited = Inherited::new(listening);
    let elder = Some(Predecessor { machine, link, epoch, origins, depth });
    Ok(Entry { lock, control, inherited, taken, admin, elder })
}

impl Predecessor {
    /// Says that everything is open, and waits until the elder reads no more: its transactions, and the link.
    pub(super) async fn succeed(
        self,
        state: &Path,
        taken: Vec<Kind>,
    ) -> Result<(Vec<u64>, Option<Link>), Failure> {
        let Self { mut machine, mut link, .. } = self;
        let until = Instant::now() + ANSWER;
        let mut known = Vec::new();
        let mut event = Heard::just(Event::Opened);
        loop {
            match machine.handle(event.event) {
                Action::SayReady => {
                    let ready = Note::Ready { taken: taken.clone() };
                    if !link.send(ready.pack(b""), Vec::new()) {
                        return Err(refused(state, Failed::Lost, None));
                    }
                }
                Action::Keep => known.extend(note::digests(&event.bytes)),
                Action::Begin if machine == Elder::Linked => return Ok((known, Some(link))),
                Action::Begin => return Ok((known, None)),
                Action::Fail(why) => return Err(refused(state, why, event.words)),
                Action::Wait | Action::Open | Action::Alone => {}
            }
            event = hear(&mut link, until).await;
        }
    }
}

/// What came over the link, or did not.
struct Heard {
    event: Event,
    note: Option<Note>,
    bytes: bytes::Bytes,
    descriptors: Vec<std::os::fd::OwnedFd>,
    /// Why the elder refuses.
    words: Option<String>,
}

impl Heard {
    const fn just(event: Event) -> Self {
        let bytes = bytes::Bytes::new();
        Self { event, note: None, bytes, descriptors: Vec::new(), words: None }
    }
}

async fn hear(link: &mut Link, until: Instant) -> Heard {
    let packet = match timeout_at(until, link.receive()).await {
        Ok(Some(packet)) => packet,
        Ok(None) => return Heard::just(Event::Lost),
        Err(_) => return Heard::just(Event::Late),
    };
    let Some((note, bytes)) = Note::unpack(&packet.bytes) else {
        // Of no use here, and so out of turn.
        return Heard::just(Event::Opened);
    };
    let event = match &note {
        Note::Refuse { why } => {
            return Heard { words: Some(why.clone()), ..Heard::just(Event::Refused) };
        }
        Note::Welcome { sockets, .. } => Event::Welcome(*sockets),
        Note::Sockets(kinds) if kinds.len() == packet.descriptors.len() => {
            Event::Sockets(kinds.len())
        }
        Note::Known => Event::Known,
        Note::Go => Event::Go,
        Note::Sockets(_)
        | Note::Hello { .. }
        | Note::Ready { .. }
        | Note::Message(_)
        | Note::Send { .. }
        | Note::Unsent { .. }
        | Note::Free { .. }
        | Note::Load { .. }
        | Note::Stop { .. }
        | Note::End => Event::Opened,
    };
    Heard { event, note: Some(note), bytes, descriptors: packet.descriptors, words: None }
}

fn refused(state: &Path, why: Failed, words: Option<String>) -> Failure {
    let state = state.to_owned();
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    Failure::Upgrade { state, why, words }
}

const PROGRAM: &str = env!("CARGO_PKG_VERSION");
/// How long the elder may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
