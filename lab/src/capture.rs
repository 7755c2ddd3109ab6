//! Every message the lab sent or received, with its time: what ladders and verdicts are made from.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::sip::Message;

/// Which socket a message crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// As in a Via header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// One message that crossed the wire.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was read, or just before it was written.
    pub at: Instant,
    /// Which of the lab's ends captured it ("Teams", "carrier-a").
    pub end: Arc<str>,
    /// `true` if this end sent it.
    pub sent: bool,
    /// Over what.
    pub transport: Transport,
    /// This end's address.
    pub local: SocketAddr,
    /// The other side's address.
    pub remote: SocketAddr,
    /// The message.
    pub message: Arc<Message>,
}

/// A shared, bounded list of records. When it is full the oldest goes.
#[derive(Clone)]
pub struct Log {
    records: Arc<Mutex<VecDeque<Record>>>,
    largest: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::of(LARGEST)
    }

    /// An empty log that forgets the oldest of more messages than this.
    #[must_use]
    pub fn of(largest: usize) -> Self {
        Self { records: Arc::default(), largest }
    }

    pub(crate) fn push(&self, record: Record) {
        let mut records = self.lock();
        if records.len() == self.largest {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// A copy of everything captured so far, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Record> {
        self.lock().iter().cloned().collect()
    }

    /// What carries one of these Call-IDs, in order.
    #[must_use]
    pub fn calls(&self, ids: &[&str]) -> Vec<Record> {
        let wanted = |record: &&Record| ids.contains(&record.message.call_id());
        self.lock().iter().filter(wanted).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Record>> {
        // A panic elsewhere leaves at most a missing record.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A long `--keep` at one call a second stays under 60 MB.
const LARGEST: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn record(call: &str) -> Record {
        let text = format!("BYE sip:a SIP/2.0\r\nCall-ID: {call}\r\n\r\n");
        Record {
            at: clock::now(),
            end: "x".into(),
            sent: true,
            transport: Transport::Udp,
            local: "127.0.0.1:1".parse().unwrap(),
            remote: "127.0.0.1:2".parse().unwrap(),
            message: Arc::new(Message::read(text.as_bytes()).unwrap()),
        }
    }

    #[test]
    fn calls_are_picked_by_their_ids() {
        let log = Log::new();
        for call in ["a", "b", "a", "c"] {
            log.push(record(call));
        }
        assert_eq!(log.calls(&["a", "c"]).len(), 3);
        assert_eq!(log.all().len(), 4);
    }

    #[test]
    fn the_log_is_bounded() {
        let log = Log::new();
        for _ in 0..LARGEST + 5 {
            log.push(record("a"));
        }
        assert_eq!(log.all().len(), LARGEST);
    }
}
