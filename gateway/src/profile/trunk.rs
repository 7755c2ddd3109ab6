//! A carrier, contact centre or PBX: our address in its realm, E.164 numbers, media plain or encrypted as configured.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use config::{Config, Peer, Refer, Srtp};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::Transport;

use super::{AGENT, Face, Profile, escaped};
use crate::call::media_plan::{Codecs, Holds, MediaRules, Secure};
use crate::locals;
use crate::routing::{RealmId, TrunkId};

/// The profile of a trunk that is spoken to by `transport`, over IPv6 or IPv4.
pub fn profile(config: &Config, trunk: TrunkId, transport: Transport, ipv6: bool) -> Profile {
    let trunk = &config.trunks[trunk.0];
    let secure = match trunk.srtp {
        Srtp::Off => Secure::Off,
        Srtp::Required => Secure::Required,
    };
    Profile {
        face: face(config, RealmId(trunk.realm), transport, ipv6),
        media: MediaRules {
            secure,
            offered_suites: OFFERED_SUITES,
            offer_mux: false,
            holds: Holds::AsOffered,
            codecs: Codecs::new(&trunk.dialect.codecs),
        },
        allow: match trunk.refer {
            Refer::Refuse => ALLOW,
            Refer::Local | Refer::Pass => ALLOW_REFER,
        },
        supported: match trunk.refer {
            Refer::Refuse => SUPPORTED,
            Refer::Local | Refer::Pass => SUPPORTED_REPLACES,
        },
        caller_id: trunk.caller_id,
        diversion: trunk.diversion,
        located: trunk.location == config::Location::Pass,
        trusted: trunk.trusted,
        country: trunk.country,
        dialect: Arc::clone(&trunk.dialect),
        vouches: trunk.trusted,
        early_media: trunk.early_media,
        patience: None,
        correlation: None,
        verdict: None,
    }
}

/// How a realm appears: the listener of that transport and family, else the nearest there is; the advertised address
/// when there is one.
pub fn face(config: &Config, realm: RealmId, transport: Transport, ipv6: bool) -> Face {
    let listeners = &config.realms[realm.0].listen;
    let listener = listeners
        .iter()
        .max_by_key(|l| (from_config(l.transport) == transport, l.address.is_ipv6() == ipv6))
        .expect("the configuration admits no realm without listeners");
    let address = config.realms[realm.0].advertise.unwrap_or(listener.address.ip());
    Face {
        host: host(address),
        port: listener.address.port(),
        transport: from_config(listener.transport),
        local: locals::of_realm(config, realm),
        always_name_transport: false,
    }
}

/// The Request-URI of a call to a number, as it is `dialled`, by this peer.
pub fn request_uri(profile: &Profile, dialled: &str, peer: &Peer) -> Bytes {
    let mark = if profile.dialect.user_phone { ";user=phone" } else { "" };
    uri(&format!("{}@", escaped(dialled)), peer, mark).into()
}

/// An OPTIONS by which a peer shows that it is alive.
pub fn options(face: &Face, peer: &Peer, call_id: Bytes, tag: &[u8]) -> Draft {
    let target = uri("", peer, "");
    let mut draft = Draft::request(Method::Options, target.clone());
    let mut from = format!("<sip:{}:{}>;tag=", face.host, face.port).into_bytes();
    from.extend_from_slice(tag);
    draft.push(HeaderId::MaxForwards, "70");
    draft.push(HeaderId::From, from);
    draft.push(HeaderId::To, format!("<{target}>"));
    draft.push(HeaderId::CallId, call_id);
    draft.push(HeaderId::CSeq, "1 OPTIONS");
    draft.push(HeaderId::Contact, face.contact(None));
    draft.push(HeaderId::Accept, "application/sdp");
    draft.push(HeaderId::UserAgent, AGENT);
    draft
}

/// Our 200 to its OPTIONS.
pub fn options_answer(face: &Face, request: &Message, tag: &[u8]) -> Draft {
    let mut draft = Draft::response(request, 200);
    draft.set_to_tag(tag);
    draft.push(HeaderId::Contact, face.contact(None));
    draft.push(HeaderId::Allow, ALLOW);
    draft.push(HeaderId::Supported, SUPPORTED);
    draft.push(HeaderId::Accept, "application/sdp");
    draft.push(HeaderId::Server, AGENT);
    draft
}

/// The transport of the configuration in the stack's words.
pub const fn from_config(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    }
}

/// An address as the host of a URI.
pub fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The URI of a peer; `user` ends in "@" or is empty, `mark` is a parameter of its own.
fn uri(user: &str, peer: &Peer, mark: &str) -> String {
    let port = peer.port.map(|port| format!(":{port}")).unwrap_or_default();
    let transport = match peer.transport {
        config::Transport::Udp => String::new(),
        other @ (config::Transport::Tcp | config::Transport::Tls) => {
            format!(";transport={}", from_config(other).uri_name())
        }
    };
    format!("sip:{user}{}{port}{mark}{transport}", peer.host)
}

/// The option tags of a trunk.
const SUPPORTED: &str = "timer";
/// Of one that may transfer its calls.
pub const SUPPORTED_REPLACES: &str = "replaces, timer";
/// NOTIFY tells how a REFER fares that was passed to it.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, NOTIFY";
const ALLOW_REFER: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, NOTIFY, REFER";
/// One suite, so that an offer of ours is also valid as the answer to a refresh.
const OFFERED_SUITES: &[media_relay::srtp::Suite] =
    &[media_relay::srtp::Suite::AesCm128HmacSha1_80];
