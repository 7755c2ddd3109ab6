//! Our edges and realms as the transport layer wants them: listeners, certificates, trust.
//! In the order of [`crate::locals`]: edges, then realms.

use std::sync::Arc;

use certs::{ClientAuth, ClientVerifier, Identities, Identity, Roots, ServerVerifier};
use config::{Config, Edge, Key, Realm, RealmTls};
use sip_stack::net::{LocalConfig, TlsIdentity};
use sip_stack::transport::Transport;

use super::Failure;
use crate::locals;
use crate::routing::{EdgeId, RealmId};

/// Reads every certificate, key and file of roots. Opens no port.
pub(crate) fn local_configs(config: &Config) -> Result<Vec<LocalConfig>, Failure> {
    let edges = config.edges.iter().enumerate().map(|(index, edge)| of_edge(EdgeId(index), edge));
    let realms = config.realms.iter().enumerate();
    let realms = realms.map(|(index, realm)| of_realm(config, RealmId(index), realm));
    edges.chain(realms).collect()
}

/// TLS both ways, with the same certificate, the same roots and the same names to be found in the
/// peer's certificate. Only its networks get as far as TLS.
fn of_edge(id: EdgeId, edge: &Edge) -> Result<LocalConfig, Failure> {
    let own = identities(&edge.certificate, &edge.key)?;
    let roots = match &edge.roots {
        config::Roots::Shipped => Roots::microsoft()?,
        config::Roots::File(path) => Roots::load(path)?,
    };
    let clients = ClientVerifier::new(&roots, &edge.certificate_names)?;
    let servers = ServerVerifier::new(&roots, &edge.certificate_names)?;
    Ok(LocalConfig {
        id: locals::of_edge(id),
        listen: vec![(Transport::Tls, edge.listen)],
        tls: Some(TlsIdentity {
            server: Some(certs::server_config(Arc::clone(&own), ClientAuth::Required(clients))),
            client: certs::client_config(Some(own), servers),
            default_name: edge.proxies.first().map(|name| name.as_str().into()),
        }),
        networks: Some(edge.networks.iter().map(|net| (net.addr(), net.prefix_len())).collect()),
        dscp: edge.dscp_sip,
    })
}

/// Whatever listeners it has; who calls is found out by the trunks' networks.
fn of_realm(config: &Config, id: RealmId, realm: &Realm) -> Result<LocalConfig, Failure> {
    let listen = realm.listen.iter().map(|l| (transport(l.transport), l.address)).collect();
    Ok(LocalConfig {
        id: locals::of_realm(config, id),
        listen,
        tls: realm.tls.as_ref().map(|tls| realm_tls(realm, tls)).transpose()?,
        networks: None,
        dscp: realm.dscp_sip,
    })
}

/// Peers are checked by the name that was dialled; a client needs no certificate.
fn realm_tls(realm: &Realm, tls: &RealmTls) -> Result<TlsIdentity, Failure> {
    let own = identities(&tls.certificate, &tls.key)?;
    let roots = match &tls.roots {
        Some(path) => Roots::load(path)?,
        None => Roots::system()?,
    };
    let listens = realm.listen.iter().any(|l| l.transport == config::Transport::Tls);
    Ok(TlsIdentity {
        server: listens.then(|| certs::server_config(Arc::clone(&own), ClientAuth::None)),
        client: certs::client_config(Some(own), ServerVerifier::as_dialled(&roots)),
        default_name: None,
    })
}

fn identities(certificate: &std::path::Path, key: &Key) -> Result<Arc<Identities>, Failure> {
    let identity = match key {
        Key::File(path) => Identity::load(certificate, path)?,
        Key::Env(_) => {
            let pem = std::fs::read(certificate)
                .map_err(|source| certs::Error::Read { path: certificate.to_owned(), source })?;
            let secret = key.read().map_err(|source| Failure::Key { key: key.label(), source })?;
            Identity::from_pem((&pem, certificate), (&secret, &key.label()))?
        }
    };
    Ok(Identities::new(Arc::new(identity), Vec::new()))
}

const fn transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    }
}
