//! Our edges and realms as the transport layer wants them: listeners, certificates, trust.
//! In the order of [`crate::locals`]: edges, then realms.
//!
//! TLS settings are made anew only where what they are made of has changed, so that a reload renews those connections
//! alone that it concerns.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use certs::{Certificate, ClientAuth, ClientVerifier, Identities, Identity, Roots, ServerVerifier};
use config::{Config, Credentials, Edge, Key, Realm, RealmTls};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sip_stack::net::{Limits, LocalConfig, TlsIdentity};
use sip_stack::transport::{LocalId, Transport};

use super::Failure;
use crate::core::Retired;
use crate::locals;
use crate::routing::{EdgeId, RealmId};

/// All identities, and of what their TLS settings were made.
#[derive(Clone, Debug)]
pub(crate) struct Locals {
    configs: Vec<LocalConfig>,
    made_of: Vec<Option<Made>>,
}

/// What TLS settings are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    /// Our chain, by its fingerprints or bytes: the leaf and what it is sent with.
    chain: Vec<Vec<u8>>,
    /// By fingerprint.
    roots: BTreeSet<[u8; 32]>,
    /// Of which a peer must show one; empty: the name that was dialled.
    names: BTreeSet<String>,
    /// The name to ask for where none is known.
    default_name: Option<String>,
    listens: bool,
}

impl Locals {
    /// Those of a configuration; where `before` was made of the same, its TLS settings are kept.
    ///
    /// # Errors
    /// When a certificate or a root cannot be used.
    pub(crate) fn new(
        config: &Config,
        credentials: &Credentials,
        before: Option<&Self>,
    ) -> Result<Self, Failure> {
        let mut locals = Self { configs: Vec::new(), made_of: Vec::new() };
        for (index, edge) in config.edges.iter().enumerate() {
            let parts = of_edge(edge, credentials)?;
            let tls = locals.settle(Some(parts), before)?;
            locals.configs.push(LocalConfig {
                id: locals::of_edge(EdgeId(index)),
                listen: vec![(Transport::Tls, edge.listen)],
                tls,
                networks: Some(edge.networks.iter().map(network).collect()),
                known: None,
                reserve: reserve(config),
                dscp: edge.dscp_sip,
            });
        }
        for (index, realm) in config.realms.iter().enumerate() {
            let parts = realm.tls.as_ref().map(|tls| of_realm(realm, tls, credentials));
            let tls = locals.settle(parts.transpose()?, before)?;
            locals.configs.push(LocalConfig {
                id: locals::of_realm(config, RealmId(index)),
                listen: realm.listen.iter().map(|l| (transport(l.transport), l.address)).collect(),
                tls,
                networks: Some(networks_of(config, RealmId(index), true)),
                known: Some(networks_of(config, RealmId(index), false)),
                reserve: reserve(config),
                dscp: realm.dscp_sip,
            });
        }
        Ok(locals)
    }

    /// For the transport layer.
    pub(crate) fn configs(&self) -> Vec<LocalConfig> {
        self.configs.clone()
    }

    /// The identities whose connections have to make room, compared with `before`: where less is trusted than before,
    /// and where another certificate is shown. Where only more is trusted, they stay.
    pub(crate) fn renewed(&self, before: &Self) -> Vec<(LocalId, Retired)> {
        let pairs = before.made_of.iter().zip(&self.made_of).zip(&self.configs);
        pairs
            .filter_map(|((before, after), local)| {
                let (before, after) = (before.as_ref()?, after.as_ref()?);
                let narrower = !before.roots.is_subset(&after.roots) || narrows(before, after);
                if narrower {
                    Some((local.id, Retired::Distrusted))
                } else {
                    (before.chain != after.chain).then_some((local.id, Retired::Replaced))
                }
            })
            .collect()
    }

    /// The TLS settings of the next identity: those of `before` when they are made of the same.
    fn settle(
        &mut self,
        parts: Option<Parts>,
        before: Option<&Self>,
    ) -> Result<Option<TlsIdentity>, Failure> {
        let at = self.made_of.len();
        let Some(parts) = parts else {
            self.made_of.push(None);
            return Ok(None);
        };
        let same = before.filter(|before| before.made_of.get(at) == Some(&Some(parts.made())));
        let tls = match same.and_then(|before| before.configs[at].tls.clone()) {
            Some(tls) => tls,
            None => parts.build()?,
        };
        self.made_of.push(Some(parts.made()));
        Ok(Some(tls))
    }
}

/// Whether a name that a peer could show no longer suffices.
fn narrows(before: &Made, after: &Made) -> bool {
    match (before.names.is_empty(), after.names.is_empty()) {
        (true, true) => false,
        (true, false) | (false, true) => true,
        (false, false) => !before.names.is_subset(&after.names),
    }
}

/// The parts of TLS settings.
struct Parts {
    own: Arc<Identity>,
    roots: Roots,
    names: Vec<String>,
    default_name: Option<String>,
    listens: bool,
}

impl Parts {
    fn made(&self) -> Made {
        let chain = self.own.chain().iter().map(|der| der.as_ref().to_vec()).collect();
        let print = |root: &Certificate| *root.fingerprint();
        Made {
            chain,
            roots: self.roots.certificates().iter().map(print).collect(),
            names: self.names.iter().cloned().collect(),
            default_name: self.default_name.clone(),
            listens: self.listens,
        }
    }

    /// At an edge TLS is mutual, with the same roots and the same names to be found in the peer's certificate. In a
    /// realm peers are checked by the name that was dialled, and a client needs no certificate.
    fn build(&self) -> Result<TlsIdentity, Failure> {
        let own = Identities::new(Arc::clone(&self.own), Vec::new());
        let (clients, servers) = if self.names.is_empty() {
            (ClientAuth::None, ServerVerifier::as_dialled(&self.roots))
        } else {
            let clients = ClientVerifier::new(&self.roots, &self.names)?;
            (ClientAuth::Required(clients), ServerVerifier::new(&self.roots, &self.names)?)
        };
        Ok(TlsIdentity {
            server: self.listens.then(|| certs::server_config(Arc::clone(&own), clients)),
            client: certs::client_config(Some(own), servers),
            default_name: self.default_name.as_deref().map(Arc::from),
        })
    }
}

fn of_edge(edge: &Edge, credentials: &Credentials) -> Result<Parts, Failure> {
    Ok(Parts {
        own: own(credentials, &edge.certificate, &edge.key)?,
        roots: match &edge.roots {
            config::Roots::Shipped => Roots::microsoft()?,
            config::Roots::File(path) => match credentials.roots(Some(path)) {
                Some(roots) => roots.clone(),
                None => Roots::load(path)?,
            },
        },
        names: edge.certificate_names.clone(),
        default_name: edge.proxies.first().cloned(),
        listens: true,
    })
}

fn of_realm(realm: &Realm, tls: &RealmTls, credentials: &Credentials) -> Result<Parts, Failure> {
    let roots = match (credentials.roots(tls.roots.as_deref()), &tls.roots) {
        (Some(roots), _) => roots.clone(),
        (None, Some(path)) => Roots::load(path)?,
        (None, None) => Roots::system()?,
    };
    Ok(Parts {
        own: own(credentials, &tls.certificate, &tls.key)?,
        roots,
        names: Vec::new(),
        default_name: None,
        listens: realm.listen.iter().any(|l| l.transport == config::Transport::Tls),
    })
}

/// What was read and checked with the configuration.
fn own(
    credentials: &Credentials,
    certificate: &std::path::Path,
    key: &Key,
) -> Result<Arc<Identity>, Failure> {
    let missing = || certs::Error::NoCertificate { path: certificate.to_owned() };
    Ok(Arc::clone(credentials.identity(certificate, key).ok_or_else(missing)?))
}

/// Those of the realm's trunks, and from where they may register, each once. `anywhere`: also where that is from all networks.
fn networks_of(config: &Config, realm: RealmId, anywhere: bool) -> Vec<(IpAddr, u8)> {
    let trunks = config.trunks.iter().filter(|trunk| trunk.realm == realm.0);
    let mut networks = BTreeSet::new();
    for trunk in trunks {
        networks.extend(trunk.networks.iter().copied());
        if let Some(registrar) = &trunk.registrar {
            networks.extend(registrar.networks.iter().copied());
            if anywhere && registrar.networks.is_empty() {
                networks.extend(ANYWHERE);
            }
        }
    }
    networks.iter().map(network).collect()
}

fn network(network: &IpNet) -> (IpAddr, u8) {
    (network.addr(), network.prefix_len())
}

/// Connections that each edge and realm can always accept: half of all there may be, in equal parts.
fn reserve(config: &Config) -> usize {
    let identities = config.edges.len() + config.realms.len();
    (Limits::default().total / 2 / identities.max(1)).min(MOST_RESERVED)
}

const MOST_RESERVED: usize = 64;
const ANYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

const fn transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    }
}
