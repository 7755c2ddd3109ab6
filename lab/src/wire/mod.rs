//! The sockets of one end: datagrams, plain streams, TLS; and what was found out in each handshake.
//!
//! Every message that crosses is put into the [`Log`]. A stream that was opened is used again for
//! the same (remote, name, own address) while it lives. All tasks end when the [`Wire`] is dropped.

pub(crate) mod knock;
mod stream;
mod tls;
mod udp;
mod weather;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::capture::{Log, Record, Transport};
use crate::clock;
use crate::sip::Message;

pub use tls::{Peer, Tls, Trust};
pub use weather::Weather;

use udp::Datagrams;

/// A message that came in, and the way back.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it was read.
    pub at: Instant,
    /// The message.
    pub message: Arc<Message>,
    /// Where it came from; an answer goes back here.
    pub channel: Channel,
}

/// A way to one remote address: a datagram socket with an address, or one connection.
#[derive(Clone)]
pub struct Channel {
    /// Over what.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The other side's address.
    pub remote: SocketAddr,
    /// Whom the handshake showed; TLS only.
    pub peer: Option<Arc<Peer>>,
    way: Way,
    end: Arc<str>,
    log: Log,
}

#[derive(Clone)]
enum Way {
    Datagram(Arc<Datagrams>),
    Stream(mpsc::Sender<Vec<u8>>),
}

impl Channel {
    /// Sends one message and records it. `false` if the connection is gone or its queue is full.
    pub async fn send(&self, bytes: Vec<u8>) -> bool {
        self.record(true, clock::now(), &bytes);
        match &self.way {
            Way::Datagram(socket) => udp::send(socket, bytes, self.remote).await,
            Way::Stream(queue) => queue.try_send(bytes).is_ok(),
        }
    }

    /// Sends one message in so many parts and records it once: under TLS each is a record.
    pub(crate) async fn send_in_parts(&self, bytes: &[u8], parts: usize) -> bool {
        self.record(true, clock::now(), bytes);
        for part in bytes.chunks(bytes.len().div_ceil(parts.max(1)).max(1)) {
            let sent = match &self.way {
                Way::Datagram(socket) => udp::send(socket, part.to_vec(), self.remote).await,
                Way::Stream(queue) => queue.try_send(part.to_vec()).is_ok(),
            };
            if !sent {
                return false;
            }
        }
        true
    }

    /// Whether it can still be sent on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.way {
            Way::Datagram(_) => true,
            Way::Stream(queue) => !queue.is_closed(),
        }
    }

    fn record(&self, sent: bool, at: Instant, bytes: &[u8]) -> Option<Arc<Message>> {
        let message = Arc::new(Message::read(bytes)?);
        self.log.push(Record {
            at,
            end: Arc::clone(&self.end),
            sent,
            transport: self.transport,
            local: self.local,
            remote: self.remote,
            message: Arc::clone(&message),
        });
        Some(message)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.transport.name(), self.local, self.remote)
    }
}

/// One TLS handshake, as this end saw it.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// When it was over.
    pub at: Instant,
    /// Dialled by the other side.
    pub inbound: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The other side's address.
    pub remote: SocketAddr,
    /// The server name asked for.
    pub name: Option<String>,
    /// `TLSv1_2` or `TLSv1_3`, if it came that far.
    pub version: Option<String>,
    /// Cipher suite, if it came that far.
    pub suite: Option<String>,
    /// What went wrong.
    pub fault: Option<String>,
}

/// All sockets of one end.
pub struct Wire {
    shared: Arc<Shared>,
    arrivals: mpsc::Receiver<Arrival>,
    _life: watch::Sender<()>,
}

/// The part of a wire that its tasks hold as well.
pub(crate) struct Shared {
    end: Arc<str>,
    log: Log,
    tls: Option<Tls>,
    arrivals: mpsc::Sender<Arrival>,
    datagrams: Mutex<Vec<Arc<Datagrams>>>,
    streams: Mutex<HashMap<Route, Channel>>,
    handshakes: Mutex<Vec<Handshake>>,
    life: watch::Receiver<()>,
}

/// What a connection is found by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    transport: Transport,
    from: IpAddr,
    to: SocketAddr,
    name: String,
}

impl Wire {
    /// A wire without sockets yet. `end` names it in the log.
    #[must_use]
    pub fn new(end: &str, log: Log, tls: Option<Tls>) -> Self {
        let (sender, arrivals) = mpsc::channel(QUEUE);
        let (_life, life) = watch::channel(());
        let shared = Shared {
            end: end.into(),
            log,
            tls,
            arrivals: sender,
            datagrams: Mutex::default(),
            streams: Mutex::default(),
            handshakes: Mutex::default(),
            life,
        };
        Self { shared: Arc::new(shared), arrivals, _life }
    }

    /// Listens on one more address; port 0 takes any. Gives the address taken.
    pub async fn listen(&self, transport: Transport, at: SocketAddr) -> io::Result<SocketAddr> {
        match transport {
            Transport::Udp => {
                let socket = Arc::new(Datagrams::new(UdpSocket::bind(at).await?)?);
                let local = socket.local;
                lock(&self.shared.datagrams).push(Arc::clone(&socket));
                self.shared.spawn(udp::receive(Arc::clone(&self.shared), socket, local));
                Ok(local)
            }
            Transport::Tcp | Transport::Tls => {
                let listener = TcpListener::bind(at).await?;
                let local = listener.local_addr()?;
                self.shared.spawn(stream::accept(Arc::clone(&self.shared), transport, listener));
                Ok(local)
            }
        }
    }

    /// The next message; `None` never while the wire lives.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Shared {
    /// A way to `to`: the datagram socket of `from`, or a connection, opened if there is none.
    /// `name` is the server name for TLS.
    pub(crate) async fn dial(
        self: &Arc<Self>,
        transport: Transport,
        from: IpAddr,
        to: SocketAddr,
        name: &str,
    ) -> io::Result<Channel> {
        if transport == Transport::Udp {
            let sockets = lock(&self.datagrams).clone();
            let socket = sockets.into_iter().find(|socket| socket.local.ip() == from);
            let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
            return Ok(self.channel(transport, socket.local, to, None, Way::Datagram(socket)));
        }
        let route = Route { transport, from, to, name: name.to_owned() };
        let open = lock(&self.streams).get(&route).cloned();
        if let Some(channel) = open.filter(Channel::is_open) {
            return Ok(channel);
        }
        let channel = stream::open(self, &route).await?;
        let mut streams = lock(&self.streams);
        streams.retain(|_, channel| channel.is_open());
        streams.insert(route, channel.clone());
        Ok(channel)
    }

    /// From now on the line of every datagram socket is so bad.
    pub(crate) fn weather(&self, weather: Weather) {
        for socket in lock(&self.datagrams).iter() {
            socket.sky.set(weather);
        }
    }

    /// All handshakes so far.
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        lock(&self.handshakes).clone()
    }

    fn note(&self, handshake: Handshake) {
        let mut all = lock(&self.handshakes);
        if all.len() < HANDSHAKES {
            all.push(handshake);
        }
    }

    /// Runs a task for as long as the wire lives.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut life = self.life.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                // Nothing is ever sent: this ends when the wire is dropped.
                _ = life.changed() => {}
                () = task => {}
            }
        });
        task.abort_handle()
    }

    fn channel(
        &self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<Peer>>,
        way: Way,
    ) -> Channel {
        let (end, log) = (Arc::clone(&self.end), self.log.clone());
        Channel { transport, local, remote, peer, way, end, log }
    }

    async fn arrived(&self, channel: &Channel, bytes: &[u8]) {
        let at = clock::now();
        if let Some(message) = channel.record(false, at, bytes) {
            // The receiver goes only together with this task.
            let _ = self.arrivals.send(Arrival { at, message, channel: channel.clone() }).await;
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves these lists whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that wait to be read or written; the fakes read at once.
const QUEUE: usize = 256;
/// A long `--keep` must not grow.
const HANDSHAKES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Leaf, Pki, Roots, Usage};
    use std::time::Duration;
    use tokio::time::timeout;

    const PING: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\nContent-Length: 0\r\n\r\n";

    async fn pass(one: Wire, mut other: Wire, transport: Transport) -> io::Result<(Wire, Wire)> {
        let home: IpAddr = [127, 0, 0, 1].into();
        let at = other.listen(transport, (home, 0).into()).await?;
        if transport == Transport::Udp {
            one.listen(transport, (home, 0).into()).await?;
        }
        let channel = one.shared().dial(transport, home, at, "sip.teams.test").await?;
        assert!(channel.send(PING.to_vec()).await);
        let got = timeout(Duration::from_secs(2), other.next()).await?;
        let got = got.ok_or(io::ErrorKind::BrokenPipe)?;
        assert_eq!(got.message.raw(), PING);
        assert!(got.channel.send(b"SIP/2.0 200 OK\r\nCall-ID: x\r\nL: 0\r\n\r\n".to_vec()).await);
        let again = one.shared().dial(transport, home, at, "sip.teams.test").await?;
        assert_eq!(again.local, channel.local, "the connection is used again");
        let mut one = one;
        let answer = timeout(Duration::from_secs(2), one.next()).await?;
        assert_eq!(answer.ok_or(io::ErrorKind::BrokenPipe)?.message.status(), 200);
        Ok((one, other))
    }

    #[tokio::test]
    async fn messages_cross_in_clear() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let log = Log::new();
            let (one, other) =
                (Wire::new("a", log.clone(), None), Wire::new("b", log.clone(), None));
            let kept = pass(one, other, transport).await.unwrap();
            assert_eq!(log.calls(&["x"]).len(), 4);
            drop(kept);
        }
    }

    fn tls(pki: &Pki, name: &str, leaf: &Leaf, roots: Roots) -> Tls {
        let identity = pki.issue(name, &leaf.clone().key(crate::pki::KeyKind::EcdsaP256)).unwrap();
        Tls::new(&identity, &Trust { roots, names: vec![] }).unwrap()
    }

    #[tokio::test]
    async fn messages_cross_under_mutual_tls_and_the_handshake_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        for usage in [Usage::Both, Usage::ServerOnly, Usage::ClientOnly, Usage::None] {
            let one = tls(&pki, "sbc", &Leaf::gateway("sbc.test").usage(usage), pki.roots());
            let other = tls(&pki, "teams", &Leaf::teams("teams.test"), pki.roots());
            let ends =
                (Wire::new("a", Log::new(), Some(one)), Wire::new("b", Log::new(), Some(other)));
            let (_one, other) = pass(ends.0, ends.1, Transport::Tls).await.unwrap();
            let shaken = other.shared().handshakes();
            assert_eq!(shaken.len(), 1);
            assert_eq!(shaken[0].name.as_deref(), Some("sip.teams.test"));
            assert!(shaken[0].inbound && shaken[0].fault.is_none(), "{shaken:?}");
            assert_eq!(shaken[0].version.as_deref(), Some("TLSv1_3"));
        }
    }

    #[tokio::test]
    async fn a_wrong_certificate_on_either_side_ends_the_handshake() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let good = Leaf::teams("teams.test");
        for (name, leaf) in [
            ("name", Leaf::new(["other.test"])),
            ("rogue", good.clone().rogue()),
            ("expired", good.clone().validity(crate::pki::Validity::Expired)),
        ] {
            let one = tls(&pki, "sbc", &Leaf::gateway("sbc.test"), pki.roots());
            let other = tls(&pki, name, &leaf, pki.roots());
            let one = Wire::new("a", Log::new(), Some(one));
            let other = Wire::new("b", Log::new(), Some(other));
            let shared = one.shared();
            pass(one, other, Transport::Tls).await.err().expect("refused");
            assert!(shared.handshakes()[0].fault.is_some(), "{name}");
        }
        // A client that nobody knows: TLS 1.3 tells it only after its own handshake is over.
        let one = tls(&pki, "rogue-sbc", &Leaf::gateway("sbc.test").rogue(), pki.roots());
        let other = tls(&pki, "teams", &good, pki.roots());
        let other = Wire::new("b", Log::new(), Some(other));
        let shared = other.shared();
        let one = Wire::new("a", Log::new(), Some(one));
        let at = other.listen(Transport::Tls, "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let from = [127, 0, 0, 1].into();
        let _ = one.shared().dial(Transport::Tls, from, at, "sip.teams.test").await;
        let waited = timeout(Duration::from_secs(2), async {
            while shared.handshakes().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap();
        assert!(shared.handshakes()[0].fault.is_some());
    }
}
