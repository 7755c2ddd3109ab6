//! Matching requests to server transactions: RFC 3261 §17.2.3.
//!
//! A request with the magic cookie is known by branch, sent-by and method, ACK counting as INVITE.
//! Call-ID, CSeq number and the identity that received it stand in the key as well: they are equal in
//! every repeat, ACK and CANCEL, and they keep apart peers that reuse branches and networks of ours
//! that know nothing of each other.
//!
//! A request without the cookie (RFC 2543) is known by Request-URI, From tag, Call-ID, CSeq number
//! and the whole topmost Via. The To tag counts for what is neither INVITE nor ACK nor CANCEL: an ACK
//! carries the tag of our response, which the INVITE does not.

use super::identifier::without_cookie;
use crate::glance::Glance;
use crate::message::{HeaderId, Message, Method, Via};
use crate::transport::Source;

/// Which transaction of its branch a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class<'a> {
    /// INVITE, and the ACK and CANCEL that look for it.
    Invite,
    /// A CANCEL itself.
    Cancel,
    /// Any other method.
    Other(&'a Method),
}

impl<'a> Class<'a> {
    /// The class of a request's own method.
    pub(super) const fn of(method: &'a Method) -> Self {
        match method {
            Method::Invite | Method::Ack => Self::Invite,
            Method::Cancel => Self::Cancel,
            Method::Bye
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
            | Method::Other(_) => Self::Other(method),
        }
    }
}

/// Writes the key of the server transaction that `request` belongs to into `key`.
pub(super) fn write(key: &mut Vec<u8>, class: Class<'_>, source: &Source, request: &Message) {
    let method = match class {
        Class::Invite => b"INVITE",
        Class::Cancel => b"CANCEL",
        Class::Other(method) => method.as_bytes(),
    };
    begin(key, method, source, request.cseq(), request.call_id());
    match without_cookie(request.branch()) {
        Some(branch) => end(key, branch, &request.top_via()),
        None => {
            part(key, request.uri());
            part(key, request.from_tag().unwrap_or_default());
            part(key, request.elements(HeaderId::Via).next().unwrap_or_default());
            match class {
                Class::Invite | Class::Cancel => {}
                Class::Other(_) => part(key, request.to_tag().unwrap_or_default()),
            }
        }
    }
}

/// The key of the transaction of an INVITE that has only been glanced at; false when only reading it
/// can tell.
pub(super) fn glance_at(key: &mut Vec<u8>, source: &Source, glance: &Glance<'_>) -> bool {
    let Some((via, cseq)) = glance.top_via().zip(glance.cseq_number()) else { return false };
    let Some(branch) = without_cookie(via.branch()) else { return false };
    begin(key, b"INVITE", source, cseq, glance.call_id);
    end(key, branch, &via);
    true
}

fn begin(key: &mut Vec<u8>, method: &[u8], source: &Source, cseq: u32, call_id: &[u8]) {
    key.clear();
    key.extend_from_slice(&source.local.0.to_be_bytes());
    key.extend_from_slice(&cseq.to_be_bytes());
    part(key, method);
    part(key, call_id);
}

/// What makes an identifier of one peer unique (RFC 3261 §17.2.3): branch and sent-by.
fn end(key: &mut Vec<u8>, branch: &[u8], via: &Via<'_>) {
    part(key, branch);
    part(key, via.host);
    let host = key.len() - via.host.len();
    key[host..].make_ascii_lowercase();
    key.extend_from_slice(&via.port.unwrap_or(0).to_be_bytes());
}

/// One part with its length before it, so that no two keys of different parts are equal.
fn part(key: &mut Vec<u8>, bytes: &[u8]) {
    key.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    key.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{incoming, source};
    use super::*;
    use crate::transport::{LocalId, Transport};

    const OLD_VIA: &str = "Via: SIP/2.0/UDP peer.example:5070;branch=1";

    #[test]
    fn a_cookie_makes_branch_sent_by_and_method_the_key() {
        let invite = key(&incoming("INVITE", &[]));
        let same = [
            incoming("INVITE", &["To: <sip:alice@us.example>;tag=any", "From: <sip:b@p>;tag=x"]),
            incoming("INVITE", &["Via: SIP/2.0/UDP PEER.example:5070;branch=z9hG4bKpeer1;x=y"]),
            incoming("INVITE", &["Via: SIP/2.0/TCP peer.example:5070;branch=Z9HG4BKpeer1"]),
            incoming("ACK", &["To: <sip:alice@us.example>;tag=ours"]),
        ];
        for request in &same {
            assert_eq!(key(request), invite, "{request:?}");
        }
        let different = [
            incoming("INVITE", &["Via: SIP/2.0/UDP peer.example:5070;branch=z9hG4bKpeer2"]),
            incoming("INVITE", &["Via: SIP/2.0/UDP peer.example:5071;branch=z9hG4bKpeer1"]),
            incoming("INVITE", &["Via: SIP/2.0/UDP other.example:5070;branch=z9hG4bKpeer1"]),
            incoming("INVITE", &["Call-ID: other"]),
            incoming("INVITE", &["CSeq: 22 INVITE"]),
            incoming("BYE", &[]),
            incoming("CANCEL", &[]),
        ];
        let mut keys: Vec<_> = different.iter().map(key).collect();
        keys.push(invite);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), different.len() + 1, "all differ");
    }

    #[test]
    fn a_cancel_looks_for_its_invite() {
        for changes in [&[][..], &[OLD_VIA]] {
            let mut found = Vec::new();
            let cancel = incoming("CANCEL", changes);
            write(&mut found, Class::Invite, &source(Transport::Udp), &cancel);
            assert_eq!(found, key(&incoming("INVITE", changes)));
        }
    }

    #[test]
    fn networks_of_ours_are_kept_apart() {
        let request = incoming("OPTIONS", &[]);
        let elsewhere = Source { local: LocalId(2), ..source(Transport::Udp) };
        let mut other = Vec::new();
        write(&mut other, Class::Other(request.method()), &elsewhere, &request);
        assert_ne!(other, key(&request));
    }

    #[test]
    fn without_cookie_the_whole_tuple_is_the_key() {
        let invite = key(&incoming("INVITE", &[OLD_VIA]));
        assert_eq!(key(&incoming("INVITE", &[OLD_VIA, "Max-Forwards: 3"])), invite);
        let ack = incoming("ACK", &[OLD_VIA, "To: <sip:alice@us.example>;tag=ours"]);
        assert_eq!(key(&ack), invite);
        let bare = "Via: SIP/2.0/UDP peer.example:5070";
        for different in [
            incoming("INVITE", &[bare]),
            incoming("INVITE", &[OLD_VIA, "From: <sip:bob@peer.example>;tag=other"]),
            incoming("INVITE", &[OLD_VIA, "Call-ID: other"]),
            incoming("INVITE", &[OLD_VIA, "CSeq: 22 INVITE"]),
            incoming("OPTIONS", &[OLD_VIA]),
        ] {
            assert_ne!(key(&different), invite);
        }
        let bye = |to: &str| key(&incoming("BYE", &[bare, to]));
        assert_ne!(
            bye("To: <sip:a@us>;tag=1"),
            bye("To: <sip:a@us>;tag=2"),
            "two dialogs of a fork"
        );
    }

    #[test]
    fn a_glance_finds_the_same_transaction() {
        for via in [
            "Via: SIP/2.0/UDP PEER.example:5070;branch=Z9HG4BKx",
            "Via: SIP/2.0/UDP b;branch=z9hG4bKy",
        ] {
            let request = incoming("INVITE", &[via]);
            let mut glanced = Vec::new();
            let glance = Glance::request(request.raw()).unwrap();
            assert!(glance_at(&mut glanced, &source(Transport::Udp), &glance));
            assert_eq!(glanced, key(&request));
        }
        let old = incoming("INVITE", &[OLD_VIA]);
        let glance = Glance::request(old.raw()).unwrap();
        assert!(!glance_at(&mut Vec::new(), &source(Transport::Udp), &glance));
    }

    fn key(request: &Message) -> Vec<u8> {
        let mut key = Vec::new();
        write(&mut key, Class::of(request.method()), &source(Transport::Udp), request);
        key
    }
}
