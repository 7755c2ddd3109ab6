//! The choice among our certificates: by server name (SNI, RFC 6066 §3) as server, the main one as
//! client. Replaced whole while connections go on: a reload is one swap.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::Identity;
use crate::certificate::{normal, wildcard_of};

/// Our certificates at one listener: the exact name first, then a wildcard, then the main one, which
/// also serves peers that send no name or one we do not know, and is what we present as client.
#[derive(Debug)]
pub struct Identities {
    table: ArcSwap<Table>,
}

impl Identities {
    /// `main` and any number of others; where names are equal the earlier one wins.
    pub fn new(main: Arc<Identity>, others: Vec<Arc<Identity>>) -> Arc<Self> {
        Arc::new(Self { table: ArcSwap::from_pointee(Table::new(main, others)) })
    }

    /// Puts a new set in place; the next handshake sees it.
    pub fn replace(&self, main: Arc<Identity>, others: Vec<Arc<Identity>>) {
        self.table.store(Arc::new(Table::new(main, others)));
    }

    /// The main one.
    pub fn main(&self) -> Arc<Identity> {
        Arc::clone(&self.table.load().main)
    }

    /// The one to present to a client that asked for `name`.
    pub fn choose(&self, name: Option<&str>) -> Arc<Identity> {
        let table = self.table.load();
        Arc::clone(name.and_then(|name| table.find(name)).unwrap_or(&table.main))
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).certified_key())
    }
}

impl ResolvesClientCert for Identities {
    /// The issuers a server hints at are not looked at: we have one certificate, and a peer that
    /// hints at too few issuers still wants to see it.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.main().certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Table {
    main: Arc<Identity>,
    by_name: HashMap<String, Arc<Identity>>,
}

impl Table {
    fn new(main: Arc<Identity>, others: Vec<Arc<Identity>>) -> Self {
        let mut by_name = HashMap::new();
        for identity in std::iter::once(&main).chain(&others) {
            for name in identity.leaf().names() {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(identity));
            }
        }
        Self { main, by_name }
    }

    fn find(&self, name: &str) -> Option<&Arc<Identity>> {
        let name = normal(name);
        self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard_of(&name)?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn identity(names: &[&str]) -> Arc<Identity> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let pem = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        let (path, key) = (Path::new("test"), key.serialize_pem());
        Arc::new(Identity::from_pem((pem.as_bytes(), path), (key.as_bytes(), path)).unwrap())
    }

    #[test]
    fn exact_before_wildcard_before_main() {
        let (main, wild) = (identity(&["main.test"]), identity(&["*.sbc.test"]));
        let exact = identity(&["t001.sbc.test", "main.test"]);
        let own = Identities::new(Arc::clone(&main), vec![wild.clone(), exact.clone()]);
        let chosen = |name: &str, expected: &Arc<Identity>| {
            assert!(Arc::ptr_eq(&own.choose(Some(name)), expected), "{name}");
        };
        chosen("t001.sbc.test", &exact);
        chosen("T001.sbc.Test", &exact);
        chosen("t002.sbc.test", &wild);
        chosen("a.t002.sbc.test", &main);
        chosen("sbc.test", &main);
        chosen("main.test", &main);
        chosen("localhost", &main);
        assert!(Arc::ptr_eq(&own.choose(None), &main));
    }

    #[test]
    fn a_replacement_is_whole() {
        let (old, new) = (identity(&["a.test"]), identity(&["a.test"]));
        let own = Identities::new(Arc::clone(&old), vec![identity(&["b.test"])]);
        own.replace(Arc::clone(&new), Vec::new());
        assert!(Arc::ptr_eq(&own.choose(Some("a.test")), &new));
        assert!(Arc::ptr_eq(&own.choose(Some("b.test")), &new));
        assert!(Arc::ptr_eq(&own.main(), &new));
    }
}
