//! `GET /metrics`, `/live` and `/health`, on an address of its own. The door for axum.

mod bounded;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use self::bounded::Bounded;
use crate::metrics::Exporter;

/// What the signalling thread tells about itself.
#[derive(Debug)]
pub struct Health {
    able: AtomicBool,
    born: Instant,
    /// The last sign of life, in milliseconds since birth.
    beat: AtomicU64,
}

impl Health {
    /// Alive, and not yet able.
    pub const fn new(now: Instant) -> Self {
        Self { able: AtomicBool::new(false), born: now, beat: AtomicU64::new(0) }
    }

    /// A sign of life, due at least every second.
    pub fn beat(&self, now: Instant) {
        self.beat.store(self.age(now), Ordering::Relaxed);
    }

    /// Whether the signalling thread works: the last sign of life is not long ago.
    pub fn is_alive(&self, now: Instant) -> bool {
        let silence = self.age(now).saturating_sub(self.beat.load(Ordering::Relaxed));
        Duration::from_millis(silence) < SILENCE
    }

    fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64
    }

    /// Says whether calls can be made.
    pub fn set_able(&self, able: bool) {
        self.able.store(able, Ordering::Relaxed);
    }

    /// Whether calls can be made: every listener is open, the daemon is not stopping, and at least
    /// one proxy of an edge (if there is an edge) is not known to be down.
    pub fn is_able(&self) -> bool {
        self.able.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Shared {
    exporter: Exporter,
    health: Arc<Health>,
}

/// Opens the listener; [`serve`] it afterwards.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until the process ends. Inside a runtime only.
pub async fn serve(
    listener: TcpListener,
    exporter: Exporter,
    health: Arc<Health>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/health", get(healthy))
        .with_state(Shared { exporter, health });
    axum::serve(Bounded::new(listener), router).await
}

#[allow(clippy::unused_async, reason = "axum handlers are async")]
async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.exporter.render())
}

#[allow(clippy::unused_async, reason = "axum handlers are async")]
#[expect(clippy::disallowed_methods, reason = "a driver reads the clock")]
async fn live(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.health.is_alive(Instant::now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the signalling thread is stuck\n")
    }
}

#[allow(clippy::unused_async, reason = "axum handlers are async")]
async fn healthy(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.health.is_able() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no calls can be made\n")
    }
}

/// Without a sign of life for so long, the signalling thread is stuck.
const SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn a_thread_without_a_sign_of_life_is_stuck() {
        let born = Instant::now();
        let health = Health::new(born);
        assert!(health.is_alive(born + Duration::from_secs(9)));
        assert!(!health.is_alive(born + SILENCE));
        health.beat(born + SILENCE);
        assert!(health.is_alive(born + SILENCE + Duration::from_secs(9)));
        assert!(!health.is_alive(born + SILENCE * 2));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn nobody_is_able_at_birth() {
        let health = Health::new(Instant::now());
        assert!(!health.is_able());
        health.set_able(true);
        assert!(health.is_able());
    }
}
