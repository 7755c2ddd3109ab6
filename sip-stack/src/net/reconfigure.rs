//! New settings while everything goes on: certificates, trust, permitted networks and marks change,
//! no listener is touched, no connection is cut. Connections that shall make room for newer ones are
//! retired: nothing new leaves on them, what names them still does.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::networks::Networks;
use super::{LocalConfig, Net, TlsIdentity};
use crate::transport::{FlowId, LocalId, Transport};

/// What [`Net::reconfigure`] changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconfigured {
    /// The identities whose TLS settings are others than before, in the order given.
    pub renewed: Vec<LocalId>,
    /// The newest connection that was begun under the former settings; later ones have greater ids.
    pub last: FlowId,
}

/// Why settings cannot be taken over while the driver runs. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// An identity came or went, or stands twice.
    #[error("the identities are others than those that were bound")]
    Identities,
    /// An identity listens elsewhere than it was bound.
    #[error("identity {number} has other listeners than it was bound with", number = .0.0)]
    Listeners(LocalId),
    /// A TLS listener would be without its certificate.
    #[error("cannot listen on TLS {0}: no certificate is configured")]
    NoCertificate(SocketAddr),
}

impl Net {
    /// Replaces TLS settings, networks and marks of all identities, or of none. The next handshake,
    /// connection and datagram goes by the new ones; a new mark holds for connections to come. An
    /// identity whose TLS settings are the same objects as before counts as unchanged.
    ///
    /// # Errors
    /// When the identities or their listeners are others than those that were bound.
    pub fn reconfigure(
        &mut self,
        locals: Vec<LocalConfig>,
    ) -> Result<Reconfigured, ReconfigureError> {
        let ids: HashSet<LocalId> = locals.iter().map(|config| config.id).collect();
        if ids.len() != locals.len() || ids.len() != self.locals.len() {
            return Err(ReconfigureError::Identities);
        }
        for config in &locals {
            let local = self.locals.get(&config.id).ok_or(ReconfigureError::Identities)?;
            if local.listen != config.listen {
                return Err(ReconfigureError::Listeners(config.id));
            }
            let tls = config.listen.iter().find(|(transport, _)| *transport == Transport::Tls);
            if let Some((_, address)) = tls
                && config.tls.as_ref().is_none_or(|tls| tls.server.is_none())
            {
                return Err(ReconfigureError::NoCertificate(*address));
            }
        }
        let mut renewed = Vec::new();
        for config in locals {
            let Some(local) = self.locals.get_mut(&config.id) else { continue };
            if !same(local.tls.as_ref(), config.tls.as_ref()) {
                renewed.push(config.id);
            }
            (local.tls, local.dscp) = (config.tls, config.dscp);
            local.networks = config.networks.as_deref().map(Networks::new);
            local.known = config.known.as_deref().map(Networks::new);
            self.held.reserved -= local.unused_reserve();
            local.reserve = config.reserve;
            self.held.reserved += local.unused_reserve();
        }
        Ok(Reconfigured { renewed, last: FlowId(self.last_flow) })
    }

    /// Takes a connection out of use for what is new: no message leaves on it any more but those that
    /// name it. It stays open, and what comes in on it is served, until [`Net::close`].
    pub fn retire(&mut self, flow: FlowId) {
        self.leave_pool(flow);
    }
}

/// Whether two settings are the same objects.
fn same(before: Option<&TlsIdentity>, after: Option<&TlsIdentity>) -> bool {
    match (before, after) {
        (None, None) => true,
        (Some(before), Some(after)) => {
            let server = match (&before.server, &after.server) {
                (None, None) => true,
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (None, Some(_)) | (Some(_), None) => false,
            };
            server
                && Arc::ptr_eq(&before.client, &after.client)
                && before.default_name == after.default_name
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}
