//! Short names of server transactions, by which one process tells another which requests it has already.
//!
//! An initial request carries no tag of ours, so that [`Endpoint::origin`] cannot say whose its repeat, its CANCEL or
//! its ACK is. The digest is 64 bits of FNV-1a over the transaction's key without the identity, whose number may
//! differ from process to process. It is spoken between versions of the program: what changes here or in
//! [`super::key`] changes the version of the hand-over as well. Two requests with one digest harm nobody: the second
//! is served by the process that has the first.

use super::Endpoint;
use super::key::{self, Class};
use crate::glance::Glance;
use crate::message::{Message, Method};
use crate::transport::Source;

impl Endpoint {
    /// The digests of all server transactions that have not ended.
    pub fn server_digests(&self) -> impl Iterator<Item = u64> {
        self.keys.keys().map(|key| digest(key))
    }

    /// The digest of the server transaction that a request belongs to: for an ACK or a CANCEL, the INVITE's.
    pub fn digest(&mut self, source: &Source, request: &Message) -> u64 {
        key::write(&mut self.key, wanted(request.method()), source, request);
        digest(&self.key)
    }

    /// Whether a request of which only a glance was taken belongs to the server transaction of an INVITE: its ACK, its
    /// CANCEL, a repeat. False also where only reading it could tell.
    pub fn knows_glanced(&mut self, source: &Source, glance: &Glance<'_>) -> bool {
        key::glance_at(&mut self.key, source, glance) && self.keys.contains_key(&self.key[..])
    }

    /// Whether the request belongs to a server transaction: a repeat, or the ACK or CANCEL of an INVITE.
    pub fn knows(&mut self, source: &Source, request: &Message) -> bool {
        self.find(wanted(request.method()), source, request).is_some()
    }
}

const fn wanted(method: &Method) -> Class<'_> {
    match method {
        Method::Cancel => Class::Invite,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Options
        | Method::Register
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Refer
        | Method::Notify
        | Method::Subscribe
        | Method::Message
        | Method::Publish
        | Method::Other(_) => Class::of(method),
    }
}

fn digest(key: &[u8]) -> u64 {
    let without_local = key.get(2..).unwrap_or_default();
    without_local.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{drain, endpoint, incoming, source};
    use super::*;
    use crate::transport::{LocalId, Transport};

    #[test]
    fn r03_another_process_finds_repeat_ack_and_cancel_by_digest() {
        let (mut old, now) = endpoint();
        let (mut new, _) = endpoint();
        let heard = source(Transport::Udp);
        let there = Source { local: LocalId(7), ..heard };
        old.handle_message(heard, incoming("INVITE", &[]), now);
        drain(&mut old);
        let digests: Vec<u64> = old.server_digests().collect();
        assert_eq!(digests.len(), 1);
        for method in ["INVITE", "ACK", "CANCEL"] {
            let message = incoming(method, &[]);
            assert_eq!(new.digest(&there, &message), digests[0], "{method}");
            assert!(old.knows(&heard, &message) && !new.knows(&heard, &message), "{method}");
        }
        for other in [incoming("OPTIONS", &[]), incoming("INVITE", &["CSeq: 22 INVITE"])] {
            assert_ne!(new.digest(&there, &other), digests[0]);
            assert!(!old.knows(&heard, &other));
        }
    }

    /// Versions of the program speak it: with another value here, the hand-over has another version.
    #[test]
    fn digests_stay_the_same_from_version_to_version() {
        let (mut endpoint, _) = endpoint();
        let message = incoming("INVITE", &[]);
        assert_eq!(endpoint.digest(&source(Transport::Udp), &message), 6_977_612_813_029_000_032);
    }
}
