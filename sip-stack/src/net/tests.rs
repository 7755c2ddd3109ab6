//! The driver on the loopback interface, against bare sockets and against itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certs::{ClientAuth, ClientVerifier, Identities, Identity, Roots, ServerVerifier};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::*;

mod connections;
mod datagrams;
mod ending;
mod faults;
mod hostile;
mod inherit;
mod tls;

const HERE: LocalId = LocalId(1);

#[tokio::test]
async fn binding_fails_with_the_reason() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let mut local = config(&[]);
    local.listen = vec![(Transport::Udp, taken.local_addr().unwrap())];
    let error = Net::bind(vec![local], Limits::default(), Handle::current()).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on UDP 127.0.0.1:"), "{error}");

    let local = config(&[Transport::Tls]);
    let error = Net::bind(vec![local], Limits::default(), Handle::current()).unwrap_err();
    assert!(matches!(error, BindError::NoCertificate { .. }));

    let twice = vec![config(&[]), config(&[])];
    let error = Net::bind(twice, Limits::default(), Handle::current()).unwrap_err();
    assert_eq!(error.to_string(), "two identities have the number 1");
}

/// A driver with these listeners on loopback, and their addresses.
fn plain(transports: &[Transport]) -> (Net, Vec<SocketAddr>) {
    bind(config(transports), Limits::default())
}

/// A driver that lets in nobody from loopback.
fn closed(transport: Transport) -> (Net, SocketAddr) {
    let networks = Some(vec![("192.0.2.0".parse().unwrap(), 24)]);
    let (net, addresses) =
        bind(LocalConfig { networks, ..config(&[transport]) }, Limits::default());
    (net, addresses[0])
}

fn bind(config: LocalConfig, limits: Limits) -> (Net, Vec<SocketAddr>) {
    let net = Net::bind(vec![config], limits, service()).unwrap();
    let addresses = net.local_addrs().into_iter().map(|(_, _, address)| address).collect();
    (net, addresses)
}

/// A second runtime without a clock, on a thread that lives as long as the tests.
fn service() -> Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

fn config(transports: &[Transport]) -> LocalConfig {
    let address = "127.0.0.1:0".parse().unwrap();
    LocalConfig {
        id: HERE,
        listen: transports.iter().map(|&transport| (transport, address)).collect(),
        tls: None,
        networks: None,
        known: None,
        reserve: 0,
        dscp: Some(24),
    }
}

fn with_tls(config: LocalConfig, tls: TlsIdentity) -> LocalConfig {
    LocalConfig { tls: Some(tls), ..config }
}

fn target(transport: Transport, remote: SocketAddr, name: Option<&str>) -> Target {
    Target { transport, local: HERE, remote, name: name.map(Arc::from), flow: None }
}

fn options(call_id: &str, transport: &str) -> String {
    format!(
        "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;branch=z9hG4bK1\r\n\
         From: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), future).await.expect("it comes in time")
}

fn message(raw: Bytes) -> Message {
    Message::parse(raw).unwrap()
}

/// The next input, one at a time.
async fn next(net: &mut Net) -> Input {
    let mut batch = Vec::new();
    soon(net.receive(&mut batch)).await;
    let first = batch.remove(0);
    for input in batch.into_iter().rev() {
        net.ready.push_front(input);
    }
    first
}

/// Drives for a while in which nothing comes in.
async fn quiet(net: &mut Net) {
    let mut batch = Vec::new();
    let _ = timeout(Duration::from_millis(50), net.receive(&mut batch)).await;
    assert!(batch.is_empty(), "{batch:?}");
}

async fn opened(net: &mut Net, expected: bool) -> FlowId {
    let input = next(net).await;
    let Input::Opened { flow, inbound, local: HERE, .. } = input else { panic!("{input:?}") };
    assert_eq!(inbound, expected);
    flow
}

async fn refused(net: &mut Net) -> Refusal {
    let input = next(net).await;
    let Input::Refused { reason, .. } = input else { panic!("{input:?}") };
    reason
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// An authority in memory.
struct Pki {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Settings of someone with these names, for peers with those.
    fn identity(&self, own: &[&str], peers: &[&str]) -> TlsIdentity {
        let names: Vec<String> = own.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let (chain, key) = (leaf.pem(), key.serialize_pem());
        let path = Path::new("test.pem");
        let identity = Identity::from_pem((chain.as_bytes(), path), (key.as_bytes(), path));
        let identities = Identities::new(Arc::new(identity.unwrap()), Vec::new());
        let roots = Roots::from_pem(self.root.as_bytes(), path).unwrap();
        let clients = ClientAuth::Required(ClientVerifier::new(&roots, peers).unwrap());
        let servers = ServerVerifier::new(&roots, peers).unwrap();
        TlsIdentity {
            server: Some(certs::server_config(Arc::clone(&identities), clients)),
            client: certs::client_config(Some(identities), servers),
            default_name: None,
        }
    }
}
