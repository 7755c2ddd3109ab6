//! A carrier, contact centre or PBX: our address in its realm, E.164 numbers, media plain or encrypted as configured.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use config::{Config, Peer, Realm, Refer, ReliableProvisional, Srtp, T38, Trunk};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transport::Transport;

use super::{AGENT, Face, Profile, escaped};
use crate::call::media_plan::{Codecs, Holds, MediaRules, Secure};
use crate::locals;
use crate::registrar::with_user;
use crate::routing::{RealmId, TrunkId};

/// The profile of a trunk that is spoken to by `transport`, over IPv6 or IPv4.
pub fn profile(config: &Config, trunk: TrunkId, transport: Transport, ipv6: bool) -> Profile {
    let trunk = &config.trunks[trunk.0];
    let secure = match trunk.srtp {
        Srtp::Off => Secure::Off,
        Srtp::Required => Secure::Required,
    };
    let (allow, supported) = abilities(trunk);
    Profile {
        face: face(config, RealmId(trunk.realm), transport, ipv6),
        media: MediaRules {
            secure,
            offered_suites: OFFERED_SUITES,
            offer_mux: false,
            holds: Holds::AsOffered,
            codecs: Codecs::new(&trunk.dialect.codecs),
            t38: trunk.dialect.t38 == T38::Pass,
        },
        allow,
        supported,
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

/// What a trunk may send inside a dialog, and the extensions that it may require.
fn abilities(trunk: &Trunk) -> (&'static str, &'static str) {
    let transfers = trunk.refer != Refer::Refuse;
    let reliable = trunk.dialect.reliable_provisional != ReliableProvisional::Off;
    match (transfers, reliable) {
        (false, false) => (ALLOW, SUPPORTED),
        (false, true) => (ALLOW_PRACK, "timer, 100rel"),
        (true, false) => (ALLOW_REFER, "replaces, timer"),
        (true, true) => (ALLOW_REFER_PRACK, SUPPORTED_ALL),
    }
}

/// How a realm appears: the listener of that transport and family, else the nearest there is; the advertised address
/// when there is one.
pub fn face(config: &Config, realm: RealmId, transport: Transport, ipv6: bool) -> Face {
    let of = &config.realms[realm.0];
    let listener = of
        .listen
        .iter()
        .max_by_key(|l| (from_config(l.transport) == transport, l.address.is_ipv6() == ipv6))
        .expect("the configuration admits no realm without listeners");
    Face {
        host: host(told(of, listener.address.ip())),
        port: listener.address.port(),
        transport: from_config(listener.transport),
        local: locals::of_realm(config, realm),
        always_name_transport: false,
    }
}

/// What peers are told in place of an own address of a realm: behind NAT the public one, of the same family.
pub fn told(realm: &Realm, own: IpAddr) -> IpAddr {
    let stands = |public: &IpAddr| own.is_unspecified() || public.is_ipv6() == own.is_ipv6();
    realm.advertise.filter(stands).unwrap_or(own)
}

/// The Request-URI of a call to a number, as it is `dialled`, by this peer.
pub fn request_uri(profile: &Profile, dialled: &str, peer: &Peer) -> Bytes {
    let mark = if profile.dialect.user_phone { ";user=phone" } else { "" };
    uri(&format!("{}@", escaped(dialled)), peer, mark).into()
}

/// The Request-URI of a call to a number, as it is `dialled`, by a contact that has registered with us: its own with the
/// number in place of its user.
pub fn contact_uri(profile: &Profile, dialled: &str, contact: &[u8]) -> Bytes {
    let mut uri = with_user(contact, &escaped(dialled));
    if profile.dialect.user_phone {
        uri.extend_from_slice(b";user=phone");
    }
    uri.into()
}

/// What is asked whether a peer is there.
pub fn peer_uri(peer: &Peer) -> Bytes {
    uri("", peer, "").into()
}

/// An OPTIONS by which a peer shows that it is alive.
pub fn options(face: &Face, target: Bytes, call_id: Bytes, tag: &[u8]) -> Draft {
    let mut draft = Draft::request(Method::Options, target.clone());
    let mut from = format!("<sip:{}:{}>;tag=", face.host, face.port).into_bytes();
    from.extend_from_slice(tag);
    draft.push(HeaderId::MaxForwards, "70");
    draft.push(HeaderId::From, from);
    draft.push(HeaderId::To, [b"<", &target[..], b">"].concat());
    draft.push(HeaderId::CallId, call_id);
    draft.push(HeaderId::CSeq, "1 OPTIONS");
    draft.push(HeaderId::Contact, face.contact(None));
    draft.push(HeaderId::Accept, "application/sdp");
    draft.push(HeaderId::UserAgent, AGENT);
    draft
}

/// Our 200 to its OPTIONS; `known` is the profile of the trunk that asks, if it is one.
pub fn options_answer(
    face: &Face,
    known: Option<&Profile>,
    request: &Message,
    tag: &[u8],
) -> Draft {
    let (allow, supported) =
        known.map_or((ALLOW, SUPPORTED), |known| (known.allow, known.supported));
    let mut draft = Draft::response(request, 200);
    draft.set_to_tag(tag);
    draft.push(HeaderId::Contact, face.contact(None));
    draft.push(HeaderId::Allow, allow);
    draft.push(HeaderId::Supported, supported);
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

/// The option tags of any trunk.
const SUPPORTED: &str = "timer";
/// Of one that may transfer its calls, with reliable provisional responses.
pub const SUPPORTED_ALL: &str = "replaces, timer, 100rel";
/// NOTIFY tells how a REFER fares that was passed to it.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, NOTIFY";
const ALLOW_REFER: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, NOTIFY, REFER";
const ALLOW_PRACK: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, NOTIFY, PRACK";
const ALLOW_REFER_PRACK: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, NOTIFY, REFER, PRACK";
/// One suite, so that an offer of ours is also valid as the answer to a refresh.
const OFFERED_SUITES: &[media_relay::srtp::Suite] =
    &[media_relay::srtp::Suite::AesCm128HmacSha1_80];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_stands_for_own_ones_of_its_family() {
        let mut realm = crate::routing::tests::config().realms.remove(0);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(told(&realm, ip("192.0.2.1")), ip("192.0.2.1"));
        realm.advertise = Some(ip("203.0.113.7"));
        for (own, expected) in [
            ("192.0.2.1", "203.0.113.7"),
            ("0.0.0.0", "203.0.113.7"),
            ("::", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(told(&realm, ip(own)), ip(expected), "{own}");
        }
    }
}
