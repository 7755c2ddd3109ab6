//! `GET /metrics`, `/live` and `/health`, on an address of its own. The door for axum.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Exporter;

/// What the signalling thread tells about itself.
#[derive(Debug, Default)]
pub struct Health {
    able: AtomicBool,
}

impl Health {
    /// Says whether calls can be made.
    pub fn set_able(&self, able: bool) {
        self.able.store(able, Ordering::Relaxed);
    }

    /// Whether calls can be made: every listener is open, the daemon is not stopping, and at least one proxy of an edge
    /// (if there is an edge) is not known to be down.
    pub fn is_able(&self) -> bool {
        self.able.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Shared {
    exporter: Exporter,
    health: Arc<Health>,
}

/// Opens the listener; `serve` it afterwards.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the process ends.
pub async fn serve(
    listener: TcpListener,
    exporter: Exporter,
    health: Arc<Health>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(async || "ok\n"))
        .route("/health", get(healthy))
        .with_state(Shared { exporter, health });
    axum::serve(listener, router).await
}

#[allow(clippy::unused_async, reason = "axum handlers are async")]
async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.exporter.render())
}

#[allow(clippy::unused_async, reason = "axum handlers are async")]
async fn healthy(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.health.is_able() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no calls can be made\n")
    }
}
