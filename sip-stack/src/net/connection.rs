//! One stream connection: its way into being (accepted or opened, TLS or not), its reader and its
//! writer, in one task.
//!
//! The reader waits for room in the driver's queue, so that a busy gateway slows its peers down
//! through TCP; the writer gathers what is queued into one write.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::guard::guarded;
use super::pending::Pending;
use super::{CloseReason, Flaw, Input, Limits, Refusal, socket};
use crate::endpoint::SendId;
use crate::framing::{Frame, Framer};
use crate::transport::{FlowId, LocalId, Source, Transport};

/// What a connection tells the driver.
#[derive(Debug)]
pub(super) enum Event {
    /// For the core.
    Input(Input),
    /// It takes answers for a moment, and nothing new.
    Ending(FlowId),
    /// It is gone.
    Ended {
        flow: FlowId,
        why: End,
        /// Of these an unknown part has left.
        failed: Vec<SendId>,
        /// Of these nothing has left.
        unsent: Vec<Queued>,
    },
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It never came to be.
    Refused(Refusal),
    /// It was open.
    Closed(CloseReason),
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Queued {
    /// Who wants to know of a failure; `None` for a keep-alive.
    pub(super) id: Option<SendId>,
    pub(super) bytes: Bytes,
    /// Whether another connection has ended before it could carry this.
    pub(super) again: bool,
}

/// How to open a connection.
pub(super) struct Dial {
    pub(super) remote: SocketAddr,
    pub(super) from: Option<IpAddr>,
    pub(super) dscp: Option<u8>,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The task's ends of the queues, and what it knows of itself.
pub(super) struct Task {
    pub(super) flow: FlowId,
    pub(super) transport: Transport,
    pub(super) local: LocalId,
    pub(super) remote: SocketAddr,
    pub(super) inbound: bool,
    pub(super) limits: Limits,
    /// Where handshakes are computed.
    pub(super) service: Handle,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) queue: mpsc::Receiver<Queued>,
    pub(super) pending: Arc<Pending>,
    /// The way into our own queue, for keep-alives; it does not keep the queue open.
    pub(super) pongs: mpsc::WeakSender<Queued>,
}

impl Task {
    /// The life of an accepted connection.
    pub(super) async fn accept(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Some(acceptor) = tls else { return self.run(stream).await };
        let shake = async {
            speaks_tls(&stream).await?;
            elsewhere(&self.service, acceptor.accept(stream)).await
        };
        match timeout(self.limits.handshake, shake).await {
            Ok(Ok(stream)) => self.run(TlsStream::from(stream)).await,
            Ok(Err(error)) => {
                tracing::debug!(remote = %self.remote, %error, "handshake failed");
                self.refuse(Refusal::Handshake(Flaw::of(&error))).await;
            }
            Err(_) => self.refuse(Refusal::Handshake(Flaw::Slow)).await,
        }
    }

    /// The life of a connection that we open.
    pub(super) async fn dial(self, dial: Dial) {
        let deadline = Instant::now() + self.limits.connect;
        let opening = socket::connect(dial.remote, dial.from, dial.dscp);
        let stream = match timeout_at(deadline, opening).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(remote = %self.remote, %error, "connection failed");
                return self.refuse(Refusal::Unreachable).await;
            }
            Err(_) => return self.refuse(Refusal::Silent).await,
        };
        let Some((connector, name)) = dial.tls else { return self.run(stream).await };
        let shake = elsewhere(&self.service, connector.connect(name, stream));
        match timeout_at(deadline, shake).await {
            Ok(Ok(stream)) => self.run(TlsStream::from(stream)).await,
            Ok(Err(error)) => {
                tracing::debug!(remote = %self.remote, %error, "handshake failed");
                self.refuse(Refusal::Untrusted(Flaw::of(&error))).await;
            }
            Err(_) => self.refuse(Refusal::Silent).await,
        }
    }

    /// A connection that never came to be: what waits for it has failed.
    async fn refuse(mut self, refusal: Refusal) {
        self.queue.close();
        let mut failed = Vec::new();
        while let Ok(queued) = self.queue.try_recv() {
            failed.extend(queued.id);
        }
        let why = End::Refused(refusal);
        let end = Event::Ended { flow: self.flow, why, failed, unsent: Vec::new() };
        let _ = self.events.send(end).await;
    }

    async fn run<S: Stream>(self, stream: S) {
        let Ok(local_addr) = stream.local_addr() else {
            return self.refuse(Refusal::Unreachable).await;
        };
        let (flow, inbound, events, limits) =
            (self.flow, self.inbound, self.events.clone(), self.limits);
        let source = Source {
            transport: self.transport,
            local: self.local,
            local_addr,
            remote: self.remote,
            flow: Some(flow),
        };
        let opened = Input::Opened { flow, local: self.local, remote: self.remote, inbound };
        if events.send(Event::Input(opened)).await.is_err() {
            return;
        }
        let (read, write) = tokio::io::split(stream);
        let heard = AtomicU32::new(0);
        let mut writer = Writer {
            half: write,
            queue: self.queue,
            pending: &self.pending,
            buffer: BytesMut::new(),
            leaving: Vec::new(),
            unproven: Vec::new(),
            proof: 0,
            heard: &heard,
            limits,
        };
        let mut reader = Reader {
            half: read,
            scratch: [0; READ],
            framer: Framer::new(limits.messages),
            received: Instant::now().into_std(),
            waiting: None,
            source,
            events: self.events,
            pongs: self.pongs,
            pending: &self.pending,
            allowance: Allowance::new(limits.keep_alives),
            heard: &heard,
            limits,
        };
        let io = async {
            tokio::select! {
                biased;
                why = reader.run(inbound) => why,
                why = writer.run() => why,
            }
        };
        // One turn of the driver may take milliseconds: what has come in meanwhile is read at once, not 128 messages a
        // turn. The queues of either direction are the bounds.
        let why = tokio::task::unconstrained(io).await;
        if events.send(Event::Ending(flow)).await.is_err() {
            return;
        }
        match why {
            CloseReason::Unreadable => linger(&mut reader, &mut writer, limits.grace).await,
            // A peer that closes its half may still wait for answers.
            CloseReason::Peer if inbound => linger(&mut reader, &mut writer, limits.grace).await,
            CloseReason::Peer
            | CloseReason::Reset
            | CloseReason::Idle
            | CloseReason::Slow
            | CloseReason::Stalled
            | CloseReason::Flood
            | CloseReason::Local => {}
        }
        let _ = timeout(limits.grace, writer.half.shutdown()).await;
        match why {
            // What the peer had sent before it saw our end is served as well: TCP has acknowledged it, and nobody
            // repeats it. Its answers go another way (RFC 3261 §18.2.2).
            CloseReason::Local | CloseReason::Reset => {
                let _ = timeout(limits.grace, reader.last()).await;
            }
            // Who takes nothing is not read from any further.
            CloseReason::Stalled
            | CloseReason::Peer
            | CloseReason::Idle
            | CloseReason::Slow
            | CloseReason::Unreadable
            | CloseReason::Flood => {}
        }
        if !matches!(why, CloseReason::Unreadable) {
            // What is whole is served, however long the driver takes to have room for it.
            let _ = reader.deliver().await;
        }
        let (failed, unsent) = writer.remains(why);
        let why = End::Closed(why);
        let _ = events.send(Event::Ended { flow, why, failed, unsent }).await;
    }
}

/// A connected stream that knows its own address.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Stream for TcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

impl Stream for TlsStream<TcpStream> {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.get_ref().0.local_addr()
    }
}

/// Whether the first byte is that of a TLS record with a handshake in it. Who speaks anything else is
/// not answered, not even with an alert.
async fn speaks_tls(stream: &TcpStream) -> io::Result<()> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first[0] == TLS_HANDSHAKE => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Runs a handshake on the service runtime, and ends it when nobody waits for it any more. The
/// socket stays registered with our own runtime; only the computing happens there.
async fn elsewhere<T, F>(service: &Handle, handshake: F) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn_on(handshake, service);
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// Lets answers out for a while. What comes in is read and dropped: closing with unread bytes would
/// reset the connection, and the answers with it.
async fn linger<S: Stream>(
    reader: &mut Reader<'_, S>,
    writer: &mut Writer<'_, S>,
    grace: Duration,
) {
    let _ = timeout(grace, async { tokio::join!(reader.drain(), writer.run()) }).await;
}

struct Reader<'a, S> {
    half: ReadHalf<S>,
    scratch: [u8; READ],
    framer: Framer,
    /// When what is in the framer was read.
    received: std::time::Instant,
    /// For the driver, when it has room. Kept here so that nothing is lost where a run is cut short.
    waiting: Option<Input>,
    source: Source,
    events: mpsc::Sender<Event>,
    pongs: mpsc::WeakSender<Queued>,
    pending: &'a Pending,
    allowance: Allowance,
    /// How often something was read, for the writer.
    heard: &'a AtomicU32,
    limits: Limits,
}

impl<S: Stream> Reader<'_, S> {
    /// Reads until the connection shall end.
    async fn run(&mut self, stranger: bool) -> CloseReason {
        let mut first = stranger.then(|| Instant::now() + self.limits.first_message);
        let mut whole = None;
        loop {
            // Who asks and does not read waits. It is closed when nothing of ours leaves for too long.
            self.pending.falls_to(self.limits.queue_bytes / 2).await;
            let idle = Instant::now() + self.limits.idle;
            let deadline = [first, whole].into_iter().flatten().fold(idle, Instant::min);
            let read = match timeout_at(deadline, self.half.read(&mut self.scratch)).await {
                Ok(Ok(0)) => return CloseReason::Peer,
                Ok(Ok(read)) => read,
                // A TLS peer that leaves without close_notify has left all the same.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return CloseReason::Peer;
                }
                Ok(Err(_)) => return CloseReason::Reset,
                Err(_) if whole == Some(deadline) => return CloseReason::Slow,
                Err(_) => return CloseReason::Idle,
            };
            self.take(read);
            match self.deliver().await {
                Ok(0) => {}
                Ok(_) => (first, whole) = (None, None),
                Err(why) => return why,
            }
            if self.framer.is_partial() {
                whole = whole.or_else(|| Some(Instant::now() + self.limits.message));
            } else {
                whole = None;
            }
        }
    }

    /// Reads what the peer had sent before it saw that we close.
    async fn last(&mut self) {
        while self.deliver().await.is_ok() {
            let Ok(read @ 1..) = self.half.read(&mut self.scratch).await else { return };
            self.take(read);
        }
    }

    /// So many bytes were read.
    fn take(&mut self, read: usize) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        self.framer.push(&self.scratch[..read]);
        self.received = Instant::now().into_std();
    }

    /// Gives the driver whatever is whole, and tells how many messages that were. Nothing is lost when the future is
    /// dropped: the next call goes on.
    async fn deliver(&mut self) -> Result<usize, CloseReason> {
        let mut messages = 0;
        loop {
            if self.waiting.is_some() {
                let room = self.events.reserve().await.map_err(|_| CloseReason::Local)?;
                if let Some(input) = self.waiting.take() {
                    let broken = matches!(input, Input::Unreadable { .. });
                    room.send(Event::Input(input));
                    messages += 1;
                    if broken {
                        return Err(CloseReason::Unreadable);
                    }
                }
            }
            let next = guarded(|| {
                #[cfg(test)]
                super::guard::inject(super::guard::FRAMING, &self.scratch);
                self.framer.next()
            });
            let Some(next) = next else { return Err(CloseReason::Unreadable) };
            let Some(frame) = next else { return Ok(messages) };
            let (source, received) = (self.source, self.received);
            match frame {
                Frame::Message(raw) => {
                    self.waiting = Some(Input::Message { source, received, raw });
                }
                Frame::Broken(error) => self.waiting = Some(Input::Unreadable { source, error }),
                Frame::KeepAlive => self.pong()?,
            }
        }
    }

    /// Answers a keep-alive (RFC 5626 §3.5.1).
    fn pong(&mut self) -> Result<(), CloseReason> {
        if !self.allowance.take(Instant::now()) {
            return Err(CloseReason::Flood);
        }
        if let Some(queue) = self.pongs.upgrade() {
            let bytes = Bytes::from_static(b"\r\n");
            self.pending.add(bytes.len());
            // With a full queue there is traffic enough.
            if queue.try_send(Queued { id: None, bytes, again: false }).is_err() {
                self.pending.left(2);
            }
        }
        Ok(())
    }

    /// Drops what still comes in.
    async fn drain(&mut self) {
        while let Ok(1..) = self.half.read(&mut self.scratch).await {}
    }
}

struct Writer<'a, S> {
    half: WriteHalf<S>,
    queue: mpsc::Receiver<Queued>,
    pending: &'a Pending,
    buffer: BytesMut,
    /// Whose bytes are in the buffer, or have left it in part; and whether they call for an answer.
    leaving: Vec<(SendId, bool)>,
    /// Those that call for an answer and left after the last bytes were read. When the peer closes
    /// now, or refuses our certificate, nobody may have taken them.
    unproven: Vec<SendId>,
    /// Up to which reading the list above was emptied.
    proof: u32,
    heard: &'a AtomicU32,
    limits: Limits,
}

impl<S: Stream> Writer<'_, S> {
    /// Writes until the connection shall end.
    async fn run(&mut self) -> CloseReason {
        loop {
            if self.buffer.is_empty() {
                let Some(queued) = self.queue.recv().await else { return CloseReason::Local };
                self.take(queued);
                while self.buffer.len() < WRITE {
                    let Ok(queued) = self.queue.try_recv() else { break };
                    self.take(queued);
                }
            }
            let bytes = self.buffer.len();
            match timeout(self.limits.message, self.write()).await {
                Ok(Ok(())) => {
                    self.pending.left(bytes);
                    self.left();
                }
                Ok(Err(_)) => return CloseReason::Reset,
                Err(_) => return CloseReason::Stalled,
            }
        }
    }

    fn take(&mut self, queued: Queued) {
        let asks = !queued.bytes.starts_with(b"SIP/") && !queued.bytes.starts_with(b"ACK ");
        self.leaving.extend(queued.id.map(|id| (id, asks)));
        self.buffer.extend_from_slice(&queued.bytes);
    }

    async fn write(&mut self) -> io::Result<()> {
        self.half.write_all_buf(&mut self.buffer).await?;
        // An idle connection keeps no buffer.
        self.buffer = BytesMut::new();
        self.half.flush().await
    }

    /// The buffer has left.
    fn left(&mut self) {
        self.prove();
        let room = self.limits.queue.saturating_sub(self.unproven.len());
        let asking = self.leaving.drain(..).filter_map(|(id, asks)| asks.then_some(id));
        self.unproven.extend(asking.take(room));
    }

    /// What was read since stands for what was written before.
    fn prove(&mut self) {
        let heard = self.heard.load(Ordering::Relaxed);
        if heard != self.proof {
            self.proof = heard;
            self.unproven = Vec::new();
        }
    }

    /// What has not, or not surely, left.
    fn remains(mut self, why: CloseReason) -> (Vec<SendId>, Vec<Queued>) {
        self.queue.close();
        let mut unsent = Vec::new();
        while let Ok(queued) = self.queue.try_recv() {
            unsent.push(queued);
        }
        self.prove();
        let mut failed: Vec<SendId> = self.leaving.into_iter().map(|(id, _)| id).collect();
        match why {
            CloseReason::Peer | CloseReason::Reset | CloseReason::Stalled => {
                failed.append(&mut self.unproven);
            }
            CloseReason::Idle
            | CloseReason::Slow
            | CloseReason::Unreadable
            | CloseReason::Flood
            | CloseReason::Local => {}
        }
        (failed, unsent)
    }
}

/// What a peer may do at once, and one more each second.
struct Allowance {
    left: u32,
    most: u32,
    since: Instant,
}

impl Allowance {
    fn new(most: u32) -> Self {
        Self { left: most, most, since: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(self.most);
            self.since += Duration::from_secs(seconds);
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }
}

/// The content type of a TLS record that holds a part of a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;
/// Bytes read at once: a typical message.
const READ: usize = 4096;
/// Bytes above which no more messages join a write.
const WRITE: usize = 64 * 1024;
