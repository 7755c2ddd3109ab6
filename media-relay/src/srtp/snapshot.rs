//! What must survive a restart of a context: indexes, never keys. The owner keeps the master key
//! sealed and gives it back to `restore`.

use serde::{Deserialize, Serialize};

/// The state of a [`Sender`](super::Sender) or [`Receiver`](super::Receiver). Unknown fields are
/// ignored and missing ones defaulted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Of this structure: 1.
    pub version: u16,
    /// SRTP packets under the key so far.
    pub rtp: u64,
    /// SRTCP packets under the key so far; a sender's next SRTCP index.
    pub rtcp: u64,
    /// Oldest first.
    pub streams: Vec<StreamSnapshot>,
}

/// The newest indexes of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamSnapshot {
    /// The source.
    pub ssrc: u32,
    /// Newest SRTP index: rollover counter * 2^16 + sequence number.
    pub rtp: Option<u64>,
    /// Newest SRTCP index heard.
    pub rtcp: Option<u64>,
}

/// How far a restored sender jumps beyond its snapshot. Both must cover all that can have been
/// sent since: an index used twice gives away the XOR of two payloads. The SRTP part must stay
/// below 2^15, or the peer guesses a wrong rollover counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// SRTP packets, of each source.
    pub rtp: u16,
    /// SRTCP packets.
    pub rtcp: u32,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { version: Self::VERSION, rtp: 0, rtcp: 0, streams: Vec::new() }
    }
}

impl Snapshot {
    /// The version that we write.
    pub const VERSION: u16 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_defaulted() {
        let read = |text| serde_json::from_str::<Snapshot>(text).unwrap();
        assert_eq!(read("{}"), Snapshot::default());
        let snapshot = read(r#"{"version":9,"rtp":5,"colour":"red","streams":[{"ssrc":7,"a":1}]}"#);
        let streams = vec![StreamSnapshot { ssrc: 7, rtp: None, rtcp: None }];
        assert_eq!(snapshot, Snapshot { version: 9, rtp: 5, rtcp: 0, streams });
    }
}
