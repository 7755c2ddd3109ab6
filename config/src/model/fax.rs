//! Whether a trunk's faxes pass as T.38.

/// What becomes of T.38 with a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum T38 {
    /// It passes between two trunks in clear.
    Pass,
    /// It is refused; the call goes on in audio.
    Refuse,
}
