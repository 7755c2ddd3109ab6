//! Strangers at a TLS port: with another certificate, or none, of another version, from another address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::pki::{Identity, Roots};
use crate::sip::Message;

/// Where and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door<'a> {
    /// Our address.
    pub(crate) from: IpAddr,
    /// The port.
    pub(crate) to: SocketAddr,
    /// The server name asked for.
    pub(crate) name: &'a str,
    /// Roots of its certificate.
    pub(crate) roots: &'a Roots,
}

/// How TLS is spoken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner<'a> {
    /// The certificate shown.
    pub(crate) identity: Option<&'a Identity>,
    /// TLS 1.2 with this suite alone; `None`: what is usual.
    pub(crate) suite: Option<CipherSuite>,
}

impl Door<'_> {
    /// A whole handshake, then one request; its answer. An error where any of this is refused: under
    /// TLS 1.3 a client hears only after its handshake that its certificate is not liked.
    pub(crate) async fn ask(self, manner: Manner<'_>, request: &[u8]) -> io::Result<Message> {
        let name = ServerName::try_from(self.name.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(self.client(manner)?));
        let talk = async {
            let mut stream = connector.connect(name, self.connect().await?).await?;
            stream.write_all(request).await?;
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let length = stream.read(&mut buffer).await?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                text.extend_from_slice(&buffer[..length]);
                if let Some(message) = Message::read(&text) {
                    return Ok(message);
                }
            }
        };
        timeout(PATIENCE, talk).await.map_err(io::Error::from).flatten()
    }

    /// Whether a handshake that begins with these suites of this version would go on.
    pub(crate) async fn greet(self, version: u16, suites: &[u16]) -> io::Result<bool> {
        let talk = async {
            let mut stream = self.connect().await?;
            stream.write_all(&hello(self.name, version, suites)).await?;
            let mut first = [0];
            Ok::<bool, io::Error>(stream.read(&mut first).await? == 1 && first[0] == HANDSHAKE)
        };
        match timeout(PATIENCE, talk).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Ok(answer) => answer,
            Err(_) => Ok(false),
        }
    }

    async fn connect(self) -> io::Result<TcpStream> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind((self.from, 0).into())?;
        socket.connect(self.to).await
    }

    fn client(self, manner: Manner<'_>) -> io::Result<ClientConfig> {
        let mut provider = aws_lc_rs::default_provider();
        let versions = match manner.suite {
            Some(suite) => {
                provider.cipher_suites.retain(|known| known.suite() == suite);
                &[&rustls::version::TLS12][..]
            }
            None => rustls::DEFAULT_VERSIONS,
        };
        let mut roots = RootCertStore::empty();
        for root in &self.roots.certificates {
            roots.add(root.clone()).map_err(io::Error::other)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        match manner.identity {
            Some(own) => builder.with_client_auth_cert(own.chain(), own.secret()),
            None => Ok(builder.with_no_client_auth()),
        }
        .map_err(io::Error::other)
    }
}

/// A ClientHello (RFC 5246 §7.4.1.2) as an old client writes it; rustls would not.
fn hello(name: &str, version: u16, suites: &[u16]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let host = [&[0][..], &sized(name.as_bytes())].concat();
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &sized(body)].concat();
    let extensions = [
        extension(0, &sized(&host)),
        // secp256r1, secp384r1; uncompressed points; rsa_pkcs1_sha256, rsa_pkcs1_sha1.
        extension(10, &sized(&[0, 23, 0, 24])),
        extension(11, &[1, 0]),
        extension(13, &sized(&[4, 1, 2, 1])),
    ]
    .concat();
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let random = clock::random::<32>();
    let body = [
        &version.to_be_bytes()[..],
        &random,
        // No session to resume; no compression.
        &[0],
        &sized(&suites),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[HANDSHAKE, 3, 1][..], &sized(&handshake)].concat()
}

/// Content type of a record (RFC 5246 §6.2.1).
const HANDSHAKE: u8 = 22;
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Home;
    use crate::capture::{Log, Transport};
    use crate::pki::{Leaf, Pki};
    use crate::wire::{Tls, Trust, Wire};

    #[tokio::test]
    async fn a_modern_server_goes_on_with_ecdhe_and_not_with_3des() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let identity = pki.issue("teams", &Leaf::teams("teams.test")).unwrap();
        let tls = Tls::new(&identity, &Trust { roots: pki.roots(), names: Vec::new() }).unwrap();
        let wire = Wire::new("a", Log::new(), Some(tls));
        let home = Home { transport: Transport::Tls, address: "127.0.0.1:0".parse().unwrap() };
        let to = wire.listen(home.transport, home.address).await.unwrap();
        let roots = pki.roots();
        let door = Door { from: to.ip(), to, name: "sip.teams.test", roots: &roots };
        assert!(door.greet(0x0303, &[0xc02f, 0xc030]).await.unwrap());
        assert!(!door.greet(0x0303, &[0x000a, 0xc012]).await.unwrap());
        assert!(!door.greet(0x0302, &[0xc013, 0x002f]).await.unwrap());
        // Nobody is let in without a certificate.
        assert!(door.ask(Manner::default(), b"OPTIONS sip:a SIP/2.0\r\n\r\n").await.is_err());
    }
}
