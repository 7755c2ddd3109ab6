//! The newest replies that went on connections, for the case that one did not leave: it is sent once more on another
//! connection (RFC 3261 §18.2.2), though its transaction may be over.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ServerId;
use crate::transport::Target;

/// Of any number of transactions, bounded.
pub(super) struct Replies(VecDeque<(ServerId, Target, Bytes)>);

impl Replies {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Keeps a reply, if it goes on a connection. Where there are many, the oldest is forgotten.
    pub(super) fn keep(&mut self, server: ServerId, target: &Target, bytes: &Bytes) {
        if target.flow.is_none() {
            return;
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((server, target.clone(), bytes.clone()));
    }

    /// The last one of a transaction, for a connection that is to be found. Whoever has it needs none of those before: they are
    /// forgotten.
    pub(super) fn take_last(&mut self, server: ServerId) -> Option<(Target, Bytes)> {
        let at = self.0.iter().rposition(|(of, ..)| *of == server)?;
        let (_, target, bytes) = self.0.remove(at)?;
        self.0.retain(|(of, ..)| *of != server);
        Some((Target { flow: None, ..target }, bytes))
    }
}

/// More than are under way at a time.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{FlowId, LocalId, Transport};

    fn target(flow: Option<FlowId>) -> Target {
        let remote = "192.0.2.1:5061".parse().unwrap();
        Target { transport: Transport::Tls, local: LocalId(0), remote, name: None, flow }
    }

    #[test]
    fn the_last_reply_on_a_connection_is_given_once_and_without_that_connection() {
        let (mut replies, flow) = (Replies::new(), target(Some(FlowId(7))));
        for (server, reply) in [(1, "180"), (2, "200"), (1, "200")] {
            replies.keep(ServerId(server), &flow, &Bytes::from(reply));
        }
        replies.keep(ServerId(3), &target(None), &Bytes::from("datagram"));
        assert_eq!(replies.take_last(ServerId(1)), Some((target(None), Bytes::from("200"))));
        assert_eq!(replies.take_last(ServerId(1)), None);
        assert_eq!(replies.take_last(ServerId(3)), None);
        assert!(replies.take_last(ServerId(2)).is_some());
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let (mut replies, flow) = (Replies::new(), target(Some(FlowId(7))));
        for server in 0..=KEPT as u64 {
            replies.keep(ServerId(server), &flow, &Bytes::new());
        }
        assert_eq!(replies.0.len(), KEPT);
        assert!(replies.take_last(ServerId(0)).is_none());
        assert!(replies.take_last(ServerId(1)).is_some());
    }
}
