//! One TLS connection: bytes in, messages out, one write per turn.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Place, text};

/// The TLS settings of the Teams end, both ways.
#[derive(Clone)]
pub(super) struct Settings {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Settings {
    pub(super) fn read(certificate: &Path, key: &Path, roots: &Path) -> io::Result<Self> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
        let mut store = RootCertStore::empty();
        for root in certificates(roots)? {
            store.add(root).map_err(io::Error::other)?;
        }
        let store = Arc::new(store);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(&provider))
                .build()
                .map_err(io::Error::other)?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(io::Error::other)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(store)
            .with_client_auth_cert(chain, key)
            .map_err(io::Error::other)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(io::Error::other)
}

/// A connection after its handshake.
pub(super) struct Flow {
    pub(super) stream: TcpStream,
    tls: Connection,
    bytes: Vec<u8>,
    start: usize,
}

impl Flow {
    pub(super) fn accept(settings: &Settings, stream: TcpStream) -> io::Result<Self> {
        let tls = ServerConnection::new(Arc::clone(&settings.server)).map_err(io::Error::other)?;
        Self::shake(tls.into(), stream)
    }

    /// From the address of the proxy, as the server's list of networks wants it.
    pub(super) fn connect(settings: &Settings, place: Place) -> io::Result<Self> {
        let name = ServerName::try_from(text::SNI).map_err(io::Error::other)?;
        let tls =
            ClientConnection::new(Arc::clone(&settings.client), name).map_err(io::Error::other)?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(place.proxy().ip(), 0).into())?;
        socket.connect(&place.edge().into())?;
        Self::shake(tls.into(), socket.into())
    }

    fn shake(mut tls: Connection, mut stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SHAKE))?;
        stream.set_nodelay(true)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        tls.set_buffer_limit(None);
        Ok(Self { stream, tls, bytes: Vec::new(), start: 0 })
    }

    /// Reads what is there; false when the connection is over.
    pub(super) fn fill(&mut self) -> bool {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        for _ in 0..READS {
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            if self.tls.process_new_packets().is_err() {
                return false;
            }
            match self.tls.reader().read_to_end(&mut self.bytes) {
                Ok(_) => return false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// The next whole message, as a place in [`Self::bytes`].
    pub(super) fn next(&mut self) -> Option<(usize, usize)> {
        while self.bytes[self.start..].starts_with(b"\r\n") {
            self.start += 2;
        }
        let length = text::whole(&self.bytes[self.start..])?;
        let start = self.start;
        self.start += length;
        Some((start, start + length))
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Encrypts and sends, as far as the kernel takes it.
    pub(super) fn write(&mut self, plain: &mut Vec<u8>) -> bool {
        if !plain.is_empty() {
            if self.tls.writer().write_all(plain).is_err() {
                return false;
            }
            plain.clear();
        }
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether the kernel took less than all.
    pub(super) fn is_stuck(&self) -> bool {
        self.tls.wants_write()
    }
}

/// Longest wait for a handshake's next bytes.
const SHAKE: Duration = Duration::from_secs(5);
/// Reads in one turn.
const READS: usize = 16;
