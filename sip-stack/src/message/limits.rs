//! Largest sizes of what a peer may send us.

/// Bounds on one message. What lies above is refused, never truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the start line and header lines together, blank line included. Below the largest
    /// datagram, so that there is none which is all header.
    pub header_bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of a whole message.
    pub message_bytes: usize,
    /// Elements of Via, of Route, of Record-Route: as many as Max-Forwards lets a request pass, and each of them is
    /// copied into every answer or every later request.
    pub hops: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 60 * 1024, headers: 256, message_bytes: 192 * 1024, hops: 70 }
    }
}
