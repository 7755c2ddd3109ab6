//! Answers to INVITEs that nobody waits for any more: a 2xx that comes after its call was given up and forgotten, or after
//! a fault took the call away. The peer believes in a dialog; it gets ACK and BYE (RFC 3261 §13.2.2.4), made from the
//! 2xx alone.
//!
//! They go back to where the 2xx came from, so that it leads nowhere else whatever its headers say. One BYE for a dialog,
//! however often its 2xx is repeated.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Instant;

use bytes::Bytes;
use sip_stack::dialog::Dialog;
use sip_stack::endpoint::{Owner, Request};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::{Source, Target};

use super::inbound::name_addr;
use super::{Core, HEALTH};
use crate::locals::{self, Side};
use crate::profile::AGENT;

/// The dialogs that were hung up on lately, by a hash of their names: at most [`MOST`], the oldest leaves.
#[derive(Debug, Default)]
pub(super) struct Strays {
    ended: VecDeque<u64>,
    token: u32,
}

impl Strays {
    /// Whether this dialog is new; remembers it.
    fn is_new(&mut self, message: &Message) -> bool {
        let mut hasher = DefaultHasher::new();
        (message.call_id(), message.from_tag(), message.to_tag()).hash(&mut hasher);
        let name = hasher.finish();
        if self.ended.contains(&name) {
            return false;
        }
        if self.ended.len() >= MOST {
            self.ended.pop_front();
        }
        self.ended.push_back(name);
        true
    }
}

impl Core {
    /// Acknowledges a 2xx that has no call, and ends its dialog. A dialog that lives after all keeps living.
    pub(super) fn hang_up_stray(&mut self, source: &Source, message: &Message, now: Instant) {
        let Some(tag) = message.from_tag() else { return };
        if !self.is_known(source) || self.endpoint.origin(tag).is_none() {
            return;
        }
        let lives = self.dialogs.contains_key(tag);
        let from = name_addr(message.value(HeaderId::From).unwrap_or_default());
        let to = name_addr(message.value(HeaderId::To).unwrap_or_default());
        let call_id = Bytes::copy_from_slice(message.call_id());
        let tag = Bytes::copy_from_slice(tag);
        let uri = Bytes::copy_from_slice(inside(&to));
        let target = Target::reply(source);
        let seed = Dialog::calling(call_id, tag, from, to, uri, target.clone());
        let mut dialog = seed.uac(message, source);
        dialog.local_cseq = message.cseq();
        let via = message.top_via();
        let host = String::from_utf8_lossy(via.host);
        let sent_by = match via.port {
            Some(port) => format!("{host}:{port}"),
            None => host.into_owned(),
        };
        let contact = match locals::side(self.routes.config(), source.local) {
            Side::Edge(_) => format!("<sip:{sent_by};transport=tls>"),
            Side::Realm(_) => format!("<sip:{sent_by};transport={}>", source.transport.uri_name()),
        };
        let sign = |draft: &mut Draft| {
            draft.push(HeaderId::Contact, contact.clone());
            draft.push(HeaderId::UserAgent, AGENT);
        };
        let (mut ack, _) = dialog.ack(message.cseq());
        sign(&mut ack);
        self.endpoint.send(target.clone(), sent_by.clone().into(), ack, now);
        if lives || !self.strays.is_new(message) {
            return;
        }
        tracing::info!(remote = %source.remote, "an answer without a call was hung up on");
        let (mut bye, _) = dialog.request(Method::Bye);
        sign(&mut bye);
        self.strays.token = self.strays.token.wrapping_add(1);
        let request = Request { draft: bye, target, sent_by: sent_by.into(), timeout: None };
        self.endpoint.request(OWNER, self.strays.token, request, now);
    }
}

/// The URI of a name-addr.
fn inside(name_addr: &[u8]) -> &[u8] {
    let begin = name_addr.iter().position(|b| *b == b'<').map_or(0, |at| at + 1);
    let end = name_addr.iter().position(|b| *b == b'>').unwrap_or(name_addr.len());
    name_addr.get(begin..end).unwrap_or_default()
}

/// Whose these BYEs are: no call's and no place's.
const OWNER: Owner = Owner(HEALTH | 1 << 62);
/// Dialogs that are remembered.
const MOST: usize = 256;
