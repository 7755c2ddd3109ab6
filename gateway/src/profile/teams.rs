//! Microsoft Teams Direct Routing, as observed and documented.
//!
//! - The FQDN of the tenant stands in Contact of every message, in From, To and our own Via of what we start; an IP
//!   address there is refused with 403.
//! - Numbers carry "+" and `user=phone`.
//! - Media are SRTP with SDES keys; hold is `inactive` only; our offers name AES_CM_128_HMAC_SHA1_80 alone (other
//!   suites first confuse some of its media processors).
//! - Forwarding is told, and read, in History-Info with the reason in the URI's headers; Diversion means nothing to it.
//! - A call for help of its own may come with the caller's location beside the offer; it takes no body but an offer itself.
//! - A call of its own that hears neither 18x nor a final response for 10 s goes to the next trunk.
//! - REFER and NOTIFY in Allow make it transfer by REFER; without them it falls back to other means, and in answers to
//!   OPTIONS their absence marks a gateway as broken.

mod codes;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use config::{CallerId, Config, Dialect, Diversion, EarlyMedia};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::{LocalId, Transport};

use super::{AGENT, Face, Profile, escaped};
use crate::call::media_plan::{Codecs, Holds, MediaRules, Secure};
use crate::routing::EdgeId;

#[cfg(test)]
pub(crate) use codes::code_rows;

/// The profile of a tenant known as `fqdn` at an edge.
pub fn profile(config: &Config, edge: EdgeId, fqdn: &str) -> Profile {
    Profile {
        face: face(config, edge, fqdn),
        media: MediaRules {
            secure: Secure::Required,
            offered_suites: OFFERED_SUITES,
            offer_mux: true,
            holds: Holds::InactiveOnly,
            codecs: Codecs::ANY,
            t38: false,
        },
        allow: ALLOW,
        supported: SUPPORTED,
        caller_id: CallerId::From,
        diversion: Diversion::HistoryInfo,
        located: false,
        trusted: false,
        country: None,
        dialect: dialect(),
        vouches: true,
        early_media: EarlyMedia::Pass,
        patience: Some(FAILOVER_TIME),
        correlation: Some(correlation_id),
        verdict: Some(codes::verdict),
    }
}

/// The Request-URI of a call to `called` by this proxy.
pub fn request_uri(called: &str, proxy: &str, port: u16) -> Bytes {
    format!("sip:{}@{proxy}:{port};user=phone;transport=tls", escaped(called)).into()
}

/// An OPTIONS by which an edge shows that it is alive: the carrier trunk's name, no user part, no address.
pub fn options(config: &Config, edge: EdgeId, proxy: &str, call_id: Bytes, tag: &[u8]) -> Draft {
    let edge_config = &config.edges[edge.0];
    let face = face(config, edge, &edge_config.fqdn);
    let target = format!("sip:{proxy}:{}", edge_config.port);
    let mut draft = Draft::request(Method::Options, format!("{target};transport=tls"));
    let mut from = format!("<sip:{}:{}>;tag=", face.host, face.port).into_bytes();
    from.extend_from_slice(tag);
    draft.push(HeaderId::MaxForwards, "70");
    draft.push(HeaderId::From, from);
    draft.push(HeaderId::To, format!("<{target}>"));
    draft.push(HeaderId::CallId, call_id);
    draft.push(HeaderId::CSeq, "1 OPTIONS");
    describe(&mut draft, &face);
    draft.push(HeaderId::UserAgent, AGENT);
    draft
}

/// Our 200 to its OPTIONS.
pub fn options_answer(config: &Config, edge: EdgeId, request: &Message, tag: &[u8]) -> Draft {
    let mut draft = Draft::response(request, 200);
    draft.set_to_tag(tag);
    describe(&mut draft, &face(config, edge, &config.edges[edge.0].fqdn));
    draft.push(HeaderId::Server, AGENT);
    draft
}

/// The GUID by which Microsoft's support finds a call: `x-i` of Contact, else the first word of the Reason text.
pub fn correlation_id(message: &Message) -> Option<String> {
    let contact = message.value(HeaderId::Contact).and_then(|value| after(value, b"x-i="));
    let reason = || message.value(HeaderId::Reason).and_then(|value| after(value, b"text=\""));
    let guid = contact.or_else(reason)?;
    let end = guid.iter().position(|b| !b.is_ascii_hexdigit() && *b != b'-').unwrap_or(guid.len());
    (end == GUID_LENGTH).then(|| String::from_utf8_lossy(&guid[..end]).into_owned())
}

/// How an edge appears under one of its names.
pub fn face(config: &Config, edge: EdgeId, fqdn: &str) -> Face {
    Face {
        host: fqdn.to_owned(),
        port: config.edges[edge.0].listen.port(),
        transport: Transport::Tls,
        local: local_id(edge),
        always_name_transport: true,
    }
}

/// The identity of an edge in the transport layer.
pub const fn local_id(edge: EdgeId) -> LocalId {
    crate::locals::of_edge(edge)
}

/// Numbers are marked; nothing else differs from what SIP says.
fn dialect() -> Arc<Dialect> {
    static DIALECT: LazyLock<Arc<Dialect>> =
        LazyLock::new(|| Arc::new(Dialect { user_phone: true, ..Dialect::default() }));
    Arc::clone(&DIALECT)
}

fn describe(draft: &mut Draft, face: &Face) {
    draft.push(HeaderId::Contact, face.contact(None));
    draft.push(HeaderId::Allow, ALLOW);
    draft.push(HeaderId::Supported, SUPPORTED);
    draft.push(HeaderId::Accept, "application/sdp");
}

fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(mark.len()).position(|window| window.eq_ignore_ascii_case(mark))?;
    Some(&text[at + mark.len()..])
}

/// Without `replaces` it reports consultative transfers as failed, however they end.
pub const SUPPORTED: &str = "replaces, timer";
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, REFER, NOTIFY";
const OFFERED_SUITES: &[media_relay::srtp::Suite] =
    &[media_relay::srtp::Suite::AesCm128HmacSha1_80];
/// FailoverTimeSeconds of a gateway that nobody has changed: without a 18x by then the call goes to the next trunk.
const FAILOVER_TIME: Duration = Duration::from_secs(10);
const GUID_LENGTH: usize = 36;
