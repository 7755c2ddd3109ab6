//! Sockets of the raw ends: UDP, TCP and TLS, each with a thread that reads whole messages into
//! one inbox. Whatever does not read as SIP is a fault of its sender and is kept as such.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use socket2::{Domain, Socket, Type};

use super::sip::{self, Msg};

/// How long a test waits for what has to come.
pub const SOON: Duration = Duration::from_secs(8);
/// How long it watches for what must not come.
pub const NOTHING: Duration = Duration::from_millis(400);

/// A message, where it came from and when.
#[derive(Clone)]
pub struct Received {
    pub msg: Msg,
    pub flow: Flow,
    pub at: Instant,
}

/// One connection, or one UDP peer.
#[derive(Clone)]
pub struct Flow(Arc<FlowInner>);

struct FlowInner {
    out: Out,
    remote: SocketAddr,
    local: SocketAddr,
    tls: Option<TlsFacts>,
    closed: AtomicBool,
}

enum Out {
    Udp(UdpSocket),
    Tcp(Mutex<TcpStream>),
    Tls(Box<Mutex<(Connection, TcpStream)>>),
}

/// What the other side showed in the handshake.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    pub sni: Option<String>,
    pub chain: Vec<CertificateDer<'static>>,
}

impl Flow {
    fn new(out: Out, remote: SocketAddr, local: SocketAddr, tls: Option<TlsFacts>) -> Self {
        Self(Arc::new(FlowInner { out, remote, local, tls, closed: AtomicBool::new(false) }))
    }

    pub fn remote(&self) -> SocketAddr {
        self.0.remote
    }

    pub fn local(&self) -> SocketAddr {
        self.0.local
    }

    pub fn tls(&self) -> &TlsFacts {
        self.0.tls.as_ref().expect("a TLS flow")
    }

    pub fn transport(&self) -> &'static str {
        match self.0.out {
            Out::Udp(_) => "UDP",
            Out::Tcp(_) => "TCP",
            Out::Tls(_) => "TLS",
        }
    }

    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// One datagram, one write, or for TLS one record.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref())
            .unwrap_or_else(|error| panic!("sending to {}: {error}", self.0.remote));
    }

    pub fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.0.out {
            Out::Udp(socket) => socket.send_to(bytes, self.0.remote).map(drop),
            Out::Tcp(stream) => lock(stream).write_all(bytes),
            Out::Tls(pair) => {
                let mut pair = lock(pair);
                let (connection, stream) = &mut *pair;
                connection.writer().write_all(bytes)?;
                while connection.wants_write() {
                    connection.write_tls(stream)?;
                }
                Ok(())
            }
        }
    }

    /// Closes a connection.
    pub fn close(&self) {
        match &self.0.out {
            Out::Udp(_) => {}
            Out::Tcp(stream) => drop(lock(stream).shutdown(Shutdown::Both)),
            Out::Tls(pair) => drop(lock(pair).1.shutdown(Shutdown::Both)),
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.transport(), self.0.local, self.0.remote)
    }
}

/// Answers a message at once (true), or leaves it for the test.
pub type Auto = dyn Fn(&Received) -> bool + Send + Sync;

/// Everything that one end received.
pub struct Inbox {
    name: String,
    state: Mutex<State>,
    news: Condvar,
    auto: Box<Auto>,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Received>,
    all: Vec<Received>,
    flows: Vec<Flow>,
    faults: Vec<String>,
    refusals: Vec<String>,
    requests: HashSet<(String, String, u32)>,
}

impl Inbox {
    pub fn new(name: &str, auto: Box<Auto>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            state: Mutex::default(),
            news: Condvar::new(),
            auto,
            stop: AtomicBool::new(false),
        })
    }

    /// The first waiting message that fits, now or soon; it is taken out.
    pub fn take(&self, what: &str, fits: impl Fn(&Received) -> bool) -> Received {
        self.take_within(SOON, what, fits)
    }

    pub fn take_within(
        &self,
        limit: Duration,
        what: &str,
        fits: impl Fn(&Received) -> bool,
    ) -> Received {
        self.find(limit, fits).unwrap_or_else(|| {
            panic!("{}: no {what} within {limit:?}; received:\n{}", self.name, self.transcript())
        })
    }

    pub fn find(&self, limit: Duration, fits: impl Fn(&Received) -> bool) -> Option<Received> {
        let end = Instant::now() + limit;
        let mut state = lock(&self.state);
        loop {
            if let Some(index) = state.waiting.iter().position(&fits) {
                return state.waiting.remove(index);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until what is known about this end fits.
    pub fn until(&self, what: &str, limit: Duration, fits: impl Fn(&[Received], &[Flow]) -> bool) {
        let end = Instant::now() + limit;
        let mut state = lock(&self.state);
        while !fits(&state.all, &state.flows) {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                drop(state);
                panic!("{}: not {what} within {limit:?}:\n{}", self.name, self.transcript());
            };
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Watches for a while that nothing of that kind comes.
    pub fn nothing(&self, what: &str, fits: impl Fn(&Received) -> bool) {
        if let Some(found) = self.find(NOTHING, fits) {
            panic!("{}: {what} came, and should not have:\n{}", self.name, found.msg);
        }
    }

    /// Every message so far.
    pub fn all(&self) -> Vec<Received> {
        lock(&self.state).all.clone()
    }

    /// Every connection so far, and for UDP every peer.
    pub fn flows(&self) -> Vec<Flow> {
        lock(&self.state).flows.clone()
    }

    /// What did not read as SIP.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.state).faults.clone()
    }

    /// Why handshakes failed here.
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.state).refusals.clone()
    }

    pub fn transcript(&self) -> String {
        lock(&self.state)
            .all
            .iter()
            .map(|received| format!("--- {:?}\n{}\n", received.flow, received.msg))
            .collect()
    }

    fn put(&self, raw: &[u8], flow: &Flow) {
        let at = Instant::now();
        let msg = match Msg::read(raw) {
            Ok(msg) => msg,
            Err(why) => {
                let text = format!("{}: {why}:\n{}", self.name, String::from_utf8_lossy(raw));
                lock(&self.state).faults.push(text);
                self.news.notify_all();
                return;
            }
        };
        let received = Received { msg, flow: flow.clone(), at };
        let mut state = lock(&self.state);
        state.all.push(received.clone());
        let repeat = received.msg.is_request() && {
            let msg = &received.msg;
            let (number, method) = msg.cseq();
            !state.requests.insert((msg.branch().to_owned(), method.to_owned(), number))
        };
        drop(state);
        if !repeat && !(self.auto)(&received) {
            lock(&self.state).waiting.push_back(received);
        }
        self.news.notify_all();
    }

    fn opened(&self, flow: &Flow) {
        lock(&self.state).flows.push(flow.clone());
        self.news.notify_all();
    }
}

/// One end: its inbox and the threads that fill it. Several listeners may share it.
pub struct End {
    pub inbox: Arc<Inbox>,
    udp: Option<UdpSocket>,
    listeners: Vec<SocketAddr>,
}

impl End {
    pub fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox, udp: None, listeners: Vec::new() }
    }

    pub fn listen_udp(&mut self, address: SocketAddr) {
        let socket = UdpSocket::bind(address).unwrap_or_else(|e| panic!("UDP {address}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        self.udp = Some(socket.try_clone().unwrap());
        let inbox = Arc::clone(&self.inbox);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            let mut peers: Vec<Flow> = Vec::new();
            while !inbox.stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let flow = match peers.iter().find(|flow| flow.remote() == from) {
                    Some(flow) => flow.clone(),
                    None => {
                        let out = Out::Udp(socket.try_clone().unwrap());
                        let flow = Flow::new(out, from, address, None);
                        peers.push(flow.clone());
                        inbox.opened(&flow);
                        flow
                    }
                };
                inbox.put(&buffer[..length], &flow);
            }
        });
    }

    pub fn listen_tcp(&mut self, address: SocketAddr) {
        self.listen(address, None);
    }

    pub fn listen_tls(&mut self, address: SocketAddr, config: Arc<ServerConfig>) {
        self.listen(address, Some(config));
    }

    fn listen(&mut self, address: SocketAddr, tls: Option<Arc<ServerConfig>>) {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("TCP {address}: {e}"));
        self.listeners.push(address);
        let inbox = Arc::clone(&self.inbox);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if inbox.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (inbox, tls) = (Arc::clone(&inbox), tls.clone());
                thread::spawn(move || {
                    let connection = tls.map(|config| {
                        Connection::Server(ServerConnection::new(config).expect("a configuration"))
                    });
                    match open(stream, connection) {
                        Ok((flow, reader)) => {
                            inbox.opened(&flow);
                            pump(&inbox, &flow, reader);
                        }
                        Err(why) => {
                            lock(&inbox.state).refusals.push(why);
                            inbox.news.notify_all();
                        }
                    }
                });
            }
        });
    }

    /// The UDP socket as a flow to `remote`.
    pub fn udp_to(&self, remote: SocketAddr) -> Flow {
        let socket = self.udp.as_ref().expect("listen_udp first").try_clone().unwrap();
        let local = socket.local_addr().unwrap();
        Flow::new(Out::Udp(socket), remote, local, None)
    }

    pub fn connect_tcp(&self, from: IpAddr, remote: SocketAddr) -> Flow {
        self.connect(from, remote, None).unwrap_or_else(|why| panic!("TCP to {remote}: {why}"))
    }

    pub fn connect_tls(
        &self,
        from: IpAddr,
        remote: SocketAddr,
        sni: &str,
        config: &Arc<ClientConfig>,
    ) -> Result<Flow, String> {
        let name = ServerName::try_from(sni.to_owned()).expect("a host name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
        self.connect(from, remote, Some(Connection::Client(connection)))
    }

    fn connect(
        &self,
        from: IpAddr,
        remote: SocketAddr,
        tls: Option<Connection>,
    ) -> Result<Flow, String> {
        let stream = connect_from(from, remote).map_err(|error| error.to_string())?;
        let (flow, reader) = open(stream, tls)?;
        self.inbox.opened(&flow);
        let (inbox, reading) = (Arc::clone(&self.inbox), flow.clone());
        thread::spawn(move || pump(&inbox, &reading, reader));
        Ok(flow)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.inbox.stop.store(true, Ordering::Relaxed);
        for flow in self.inbox.flows() {
            flow.close();
        }
        for address in &self.listeners {
            drop(TcpStream::connect(address));
        }
    }
}

/// A TCP connection from a chosen address.
pub fn connect_from(from: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&remote.into(), Duration::from_secs(3))?;
    Ok(socket.into())
}

fn open(stream: TcpStream, tls: Option<Connection>) -> Result<(Flow, TcpStream), String> {
    let text = |error: io::Error| error.to_string();
    stream.set_nodelay(true).map_err(text)?;
    let (remote, local) = (stream.peer_addr().map_err(text)?, stream.local_addr().map_err(text)?);
    let reader = stream.try_clone().map_err(text)?;
    let Some(mut connection) = tls else {
        return Ok((Flow::new(Out::Tcp(Mutex::new(stream)), remote, local, None), reader));
    };
    let mut stream = stream;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(text)?;
    }
    stream.set_read_timeout(None).map_err(text)?;
    let facts = TlsFacts {
        sni: match &connection {
            Connection::Server(server) => server.server_name().map(ToString::to_string),
            Connection::Client(_) => None,
        },
        chain: connection
            .peer_certificates()
            .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect())
            .unwrap_or_default(),
    };
    let out = Out::Tls(Box::new(Mutex::new((connection, stream))));
    Ok((Flow::new(out, remote, local, Some(facts)), reader))
}

/// Reads a connection until it ends.
fn pump(inbox: &Inbox, flow: &Flow, mut reader: TcpStream) {
    let mut cipher = vec![0; 65_536];
    let mut plain: Vec<u8> = Vec::new();
    // A TLS handshake may have left records behind.
    let mut first = true;
    loop {
        let length = if first && flow.0.tls.is_some() {
            0
        } else {
            match reader.read(&mut cipher) {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            }
        };
        first = false;
        match &flow.0.out {
            Out::Udp(_) => return,
            Out::Tcp(_) => plain.extend_from_slice(&cipher[..length]),
            Out::Tls(pair) => {
                let mut pair = lock(pair);
                let (connection, stream) = &mut *pair;
                if decrypt(connection, stream, &cipher[..length], &mut plain).is_err() {
                    break;
                }
            }
        }
        loop {
            match sip::frame(&plain) {
                Ok(Some((from, to))) => {
                    inbox.put(&plain[from..to], flow);
                    plain.drain(..to);
                }
                Ok(None) => break,
                Err(_) => {
                    inbox.put(&plain, flow);
                    plain.clear();
                    break;
                }
            }
        }
    }
    flow.0.closed.store(true, Ordering::Relaxed);
    inbox.news.notify_all();
}

fn decrypt(
    connection: &mut Connection,
    stream: &mut TcpStream,
    mut cipher: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), ()> {
    loop {
        if !cipher.is_empty() {
            connection.read_tls(&mut cipher).map_err(drop)?;
        }
        let result = connection.process_new_packets();
        let mut chunk = [0; 16_384];
        while let Ok(length @ 1..) = connection.reader().read(&mut chunk) {
            plain.extend_from_slice(&chunk[..length]);
        }
        while connection.wants_write() {
            connection.write_tls(stream).map_err(drop)?;
        }
        result.map_err(drop)?;
        if cipher.is_empty() {
            return Ok(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
