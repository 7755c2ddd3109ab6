//! Whether ringing and early media are acknowledged on a trunk (RFC 3262).

/// Whether provisional responses are reliable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReliableProvisional {
    /// Never: who requires it is refused.
    Off,
    /// Where the peer has them so.
    Supported,
    /// Wherever the peer can; our calls require it.
    Required,
}
