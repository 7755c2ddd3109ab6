//! Bounds of the driver: what one peer, and all of them, can hold of us and for how long.

use std::time::Duration;

use crate::message;

/// Bounds of [`super::Net`]. Each names what happens above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accepted connections from one address (IPv6: one /64); more are closed at once.
    pub per_address: usize,
    /// Accepted connections of one identity, so that a flood on one leaves the others room.
    pub per_local: usize,
    /// Of these, from networks that are not known; more are closed at once, so that who is known finds room.
    pub strangers: usize,
    /// Accepted connections of all identities.
    pub total: usize,
    /// Accepted connections whose TLS handshake is not done; more are closed at once.
    pub handshakes: usize,
    /// Of these, from networks that are not known.
    pub strange_handshakes: usize,
    /// Connections that we opened; above, a send that needs another one fails.
    pub outbound: usize,
    /// Messages waiting to be written on one connection; above, the newest fails.
    pub queue: usize,
    /// Bytes waiting to be written on one connection since before this turn; above, the newest message
    /// fails. Above half of it, nothing more is read from that peer.
    pub queue_bytes: usize,
    /// Bytes waiting to be written on one connection, whatever one turn brings.
    pub turn_bytes: usize,
    /// Keep-alives that may come at once on one connection; more, and more than one a second, close it.
    pub keep_alives: u32,
    /// Unreadable messages on one connection whose framing is whole, before it is closed.
    pub faults: usize,
    /// A TLS handshake of an accepted connection takes no longer.
    pub handshake: Duration,
    /// Opening a connection, TCP and TLS together, takes no longer.
    pub connect: Duration,
    /// An accepted connection brings its first message within this time.
    pub first_message: Duration,
    /// A message that has begun is whole within this time; so is a write.
    pub message: Duration,
    /// A connection that brings nothing lives no longer.
    pub idle: Duration,
    /// How long a connection that is about to be closed still carries answers.
    pub grace: Duration,
    /// Bounds of one message, whatever brought it.
    pub messages: message::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_address: 64,
            per_local: 2048,
            strangers: 1536,
            total: 4096,
            handshakes: 256,
            strange_handshakes: 192,
            outbound: 1024,
            queue: 4096,
            queue_bytes: 256 * 1024,
            turn_bytes: 4 << 20,
            keep_alives: 8,
            faults: 10,
            handshake: Duration::from_secs(5),
            connect: Duration::from_millis(1500),
            first_message: Duration::from_secs(10),
            message: Duration::from_secs(10),
            idle: Duration::from_secs(900),
            grace: Duration::from_millis(500),
            messages: message::Limits::default(),
        }
    }
}
