//! Requests that are too long for a datagram (RFC 3261 §18.1.1): a datagram in fragments gets lost behind many firewalls,
//! and nobody tells.
//!
//! A request over UDP that is longer than its trunk's `max_message` goes by TCP to the same place. Where no connection
//! comes about, it goes by UDP after all, and so do the next ones for a while; with less in it, in this order, until it
//! fits:
//!
//! 1. the lines that rules for headers have made, and User-Agent;
//! 2. of Diversion all but the newest, of History-Info all but the last two;
//! 3. lines of the session description that say what holds without them: `a=sendrecv`, the names of static payload types
//!    (RFC 3551 §6), an RTCP port that is the next one (RFC 3605).
//!
//! A caller's location is never left out. What does not fit then goes as it is, and is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::endpoint::{Owner, Request};
use sip_stack::message::{Draft, HeaderId};
use sip_stack::transport::Transport;

use super::{Core, Output, call_of};
use crate::event::{Event, Large};

/// What is known of places where long requests went.
#[derive(Debug, Default)]
pub(super) struct Larges {
    /// Where no connection came about, and until when none is tried again.
    refused: BTreeMap<SocketAddr, Instant>,
    /// Sent by TCP, with nothing heard so far.
    waiting: BTreeMap<(Owner, u32), Request>,
}

impl Larges {
    /// A response came, or nobody waits any more.
    pub(super) fn forget(&mut self, owner: Owner, token: u32) {
        self.waiting.remove(&(owner, token));
    }

    /// The owner is gone.
    pub(super) fn forget_all(&mut self, owner: Owner) {
        let of = (owner, 0)..=(owner, u32::MAX);
        let left: Vec<_> = self.waiting.range(of).map(|(key, _)| *key).collect();
        left.iter().for_each(|key| drop(self.waiting.remove(key)));
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn refuses(&self, place: SocketAddr, now: Instant) -> bool {
        self.refused.get(&place).is_some_and(|until| *until > now)
    }

    pub(super) fn refuse(&mut self, place: SocketAddr, now: Instant) {
        self.refused.retain(|_, until| *until > now);
        if self.refused.len() < MOST_PLACES {
            self.refused.insert(place, now + REFUSED);
        }
    }
}

impl Core {
    /// A request as it goes out: one that is too long for a datagram by TCP, or with less in it.
    pub(super) fn fit(
        &mut self,
        owner: Owner,
        token: u32,
        mut request: Request,
        now: Instant,
    ) -> Request {
        let Some(most) = self.longest(owner).filter(|most| is_longer(&request, *most)) else {
            return request;
        };
        // Whoever has registered with us listens nowhere else.
        let elsewhere = self.registered_leg(owner).is_none();
        if elsewhere && !self.delivery.larges.refuses(request.target.remote, now) {
            self.delivery.larges.waiting.insert((owner, token), request.clone());
            request.target.transport = Transport::Tcp;
            request.target.flow = None;
            self.tell_large(Large::Tcp);
            return request;
        }
        self.trimmed(request, most)
    }

    /// A request could not be sent by TCP: it goes by UDP. False when it had not been too long for that.
    pub(super) fn by_datagram(&mut self, owner: Owner, token: u32, now: Instant) -> bool {
        let Some(request) = self.delivery.larges.waiting.remove(&(owner, token)) else {
            return false;
        };
        let remote = request.target.remote;
        tracing::info!(%remote, "takes no TCP: what is too long for a datagram is sent with less in it");
        self.delivery.larges.refuse(remote, now);
        let request = match self.longest(owner) {
            Some(most) => self.trimmed(request, most),
            None => request,
        };
        self.submit(owner, token, request, now);
        true
    }

    fn trimmed(&mut self, mut request: Request, most: usize) -> Request {
        for trim in [without_extras, with_the_newest_diversion, with_a_short_session] {
            trim(&mut request.draft);
            if !is_longer(&request, most) {
                self.tell_large(Large::Trimmed);
                return request;
            }
        }
        let (to, length) = (request.target.remote, length(&request));
        tracing::warn!(%to, length, most, "a request is longer than a datagram should be");
        self.tell_large(Large::Fragmented);
        request
    }

    /// The longest datagram to who a leg leads to; none for who is spoken to by streams alone.
    fn longest(&self, owner: Owner) -> Option<usize> {
        let (key, leg) = call_of(owner)?;
        self.slots.call(key)?.longest_datagram(usize::from(leg))
    }

    fn tell_large(&mut self, how: Large) {
        self.outputs.push_back(Output::Event(Event::Large(how)));
    }
}

fn is_longer(request: &Request, most: usize) -> bool {
    request.target.transport == Transport::Udp && length(request) > most
}

/// With the Via that it will have.
fn length(request: &Request) -> usize {
    request.draft.write().len() + request.sent_by.len() + VIA
}

fn without_extras(draft: &mut Draft) {
    let extra: Vec<_> = draft
        .fields()
        .filter(|field| !NEEDED.contains(&field.id))
        .map(|field| (field.id, field.name.clone()))
        .collect();
    for (id, name) in extra {
        if id == HeaderId::Other {
            draft.remove_other(&String::from_utf8_lossy(&name));
        } else {
            draft.remove(id);
        }
    }
}

fn with_the_newest_diversion(draft: &mut Draft) {
    for (id, first, most) in [(HeaderId::Diversion, true, 1), (HeaderId::HistoryInfo, false, 2)] {
        let of = draft.fields().filter(|field| field.id == id);
        let lines: Vec<Bytes> = of.map(|field| field.value.clone()).collect();
        let less = lines.len().saturating_sub(most);
        if less > 0 {
            draft.remove(id);
            let kept = if first { &lines[..most] } else { &lines[less..] };
            for line in kept {
                draft.push(id, line.clone());
            }
        }
    }
}

fn with_a_short_session(draft: &mut Draft) {
    let Some(kind) = draft.value(HeaderId::ContentType).filter(|kind| *kind == SDP) else { return };
    let kind = Bytes::copy_from_slice(kind);
    let Ok(text) = std::str::from_utf8(draft.payload()) else { return };
    let port = text.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next());
    let port: Option<u16> = port.and_then(|port| port.parse().ok());
    let rtcp = port.map(|port| format!("a=rtcp:{}", u32::from(port) + 1));
    let said = |line: &str| {
        line == "a=sendrecv" || Some(line) == rtcp.as_deref() || STATIC.contains(&line)
    };
    let lines = text.split("\r\n").filter(|line| !said(line));
    let short = lines.collect::<Vec<_>>().join("\r\n");
    draft.body(kind, short);
}

/// `Via: SIP/2.0/UDP ;branch=z9hG4bK…;rport` with its line end.
const VIA: usize = 64;
const SDP: &[u8] = b"application/sdp";
/// How long a place that took no connection is sent datagrams.
const REFUSED: Duration = Duration::from_secs(600);
const MOST_PLACES: usize = 1024;
/// Headers that no request may lose.
const NEEDED: [HeaderId; 33] = [
    HeaderId::Via,
    HeaderId::MaxForwards,
    HeaderId::Route,
    HeaderId::From,
    HeaderId::To,
    HeaderId::CallId,
    HeaderId::CSeq,
    HeaderId::Contact,
    HeaderId::Allow,
    HeaderId::Supported,
    HeaderId::Require,
    HeaderId::SessionExpires,
    HeaderId::MinSe,
    HeaderId::Reason,
    HeaderId::Replaces,
    HeaderId::ReferTo,
    HeaderId::ReferredBy,
    HeaderId::Event,
    HeaderId::SubscriptionState,
    HeaderId::PAssertedIdentity,
    HeaderId::PPreferredIdentity,
    HeaderId::RemotePartyId,
    HeaderId::Privacy,
    HeaderId::Diversion,
    HeaderId::HistoryInfo,
    HeaderId::Authorization,
    HeaderId::ProxyAuthorization,
    HeaderId::Geolocation,
    HeaderId::GeolocationRouting,
    HeaderId::ContentType,
    HeaderId::ContentDisposition,
    HeaderId::ContentId,
    HeaderId::MimeVersion,
];
/// As they are written for payload types that need no name.
const STATIC: [&str; 6] = [
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:3 GSM/8000",
    "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:9 G722/8000",
    "a=rtpmap:13 CN/8000",
    "a=rtpmap:18 G729/8000",
];
