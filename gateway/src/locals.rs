//! Which number an edge or a realm has in the transport layer: edges first, then realms.

use config::Config;
use sip_stack::transport::LocalId;

use crate::routing::{EdgeId, RealmId};

/// What an identity of the transport layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An edge.
    Edge(EdgeId),
    /// A realm.
    Realm(RealmId),
}

/// The identity of an edge.
pub const fn of_edge(edge: EdgeId) -> LocalId {
    LocalId(edge.0 as u16)
}

/// The identity of a realm.
pub fn of_realm(config: &Config, realm: RealmId) -> LocalId {
    LocalId((config.edges.len() + realm.0) as u16)
}

/// What stands behind an identity.
pub fn side(config: &Config, local: LocalId) -> Side {
    let index = usize::from(local.0);
    match index.checked_sub(config.edges.len()) {
        None => Side::Edge(EdgeId(index)),
        Some(realm) => Side::Realm(RealmId(realm)),
    }
}

/// What an identity is called between processes, whose configurations may number it differently.
pub fn names(config: &Config) -> Vec<String> {
    let edges = config.edges.iter().map(|edge| format!("edge {}", edge.name));
    edges.chain(config.realms.iter().map(|realm| format!("realm {}", realm.name))).collect()
}
