//! Largest sizes of what a peer may send us.

/// Bounds on one message. What lies above is refused, never truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the start line and header lines together, blank line included.
    pub header_bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of a whole message.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 64 * 1024, headers: 256, message_bytes: 192 * 1024 }
    }
}
