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
use crate::message::{HeaderId, Message, Method};
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

/// Writes the key of the server transaction that `request` belongs to into `key`.
pub(super) fn write(key: &mut Vec<u8>, class: Class<'_>, source: &Source, request: &Message) {
    key.clear();
    key.extend_from_slice(&source.local.0.to_be_bytes());
    key.extend_from_slice(&request.cseq().to_be_bytes());
    match class {
        Class::Invite => part(key, b"INVITE"),
        Class::Cancel => part(key, b"CANCEL"),
        Class::Other(method) => part(key, method.as_bytes()),
    }
    part(key, request.call_id());
    match without_cookie(request.branch()) {
        Some(branch) => {
            let via = request.top_via();
            part(key, branch);
            part(key, via.host);
            let host = key.len() - via.host.len();
            key[host..].make_ascii_lowercase();
            key.extend_from_slice(&via.port.unwrap_or(0).to_be_bytes());
        }
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

/// One part with its length before it, so that no two keys of different parts are equal.
fn part(key: &mut Vec<u8>, bytes: &[u8]) {
    key.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    key.extend_from_slice(bytes);
}
