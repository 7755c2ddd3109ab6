//! The admin pages, which move with the listeners in an upgrade: opened, closed and opened again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::admin::{self, Health};
use crate::metrics::Exporter;

/// The listener and what it serves.
pub(super) struct Pages {
    address: SocketAddr,
    listener: TcpListener,
    exporter: Exporter,
    health: Arc<Health>,
    service: Handle,
    serving: Option<AbortHandle>,
}

impl Pages {
    /// Takes the listener of another process, or binds one; serves nothing yet.
    ///
    /// # Errors
    /// When the address cannot be opened.
    pub(super) fn new(
        address: SocketAddr,
        inherited: Option<TcpListener>,
        exporter: Exporter,
        health: Arc<Health>,
        service: Handle,
    ) -> io::Result<Self> {
        let fits = |l: &TcpListener| l.local_addr().is_ok_and(|bound| bound == address);
        let listener = match inherited.filter(fits) {
            Some(listener) => listener,
            None => admin::bind(address)?,
        };
        listener.set_nonblocking(true)?;
        Ok(Self { address, listener, exporter, health, service, serving: None })
    }

    /// As it is configured.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// For another process.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone().map(Into::into)
    }

    /// Begins to serve.
    pub(super) fn open(&mut self) {
        let address = self.address;
        let listener = match self.listener.try_clone() {
            Ok(listener) => listener,
            Err(error) => return warn!(%address, %error, "the admin pages cannot be served"),
        };
        let serving = admin::serve(listener, self.exporter.clone(), Arc::clone(&self.health));
        let task = self.service.spawn(async move {
            if let Err(error) = serving.await {
                warn!(%address, %error, "the admin pages are gone");
            }
        });
        if let Some(former) = self.serving.replace(task.abort_handle()) {
            former.abort();
        }
    }

    /// Accepts no more; what is being answered is answered.
    pub(super) fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}
