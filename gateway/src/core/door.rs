//! The door: where a message belongs before it is read, and what is turned away there.
//!
//! Strangers get silence (RFC 3261 has no answer that would not tell them that somebody is here). What they send is
//! looked at only for an identifier in use: the tag of a dialog in a request, the branch of a transaction in a response. Scanners
//! get silence even in a known network. New calls beyond what we can serve get a stateless 503 (§8.2.7).
//!
//! What comes first is what carries an identifier of ours, whatever its method: a tag that a peer made up, or the method
//! alone, buys nobody a place before others.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::endpoint::Shed;
use sip_stack::glance::{Glance, response_branch};
use sip_stack::transport::Source;

#[cfg(test)]
use super::inputs::Trap;
use super::{Core, Output};
use crate::event::{Dropped, Event};
use crate::failure::{Cause, RETRY_AFTER};
use crate::intake::Place;
use crate::locals::{self, Side};
use crate::logging::Flood;
use crate::strangers::Strangers;

/// What the door remembers.
#[derive(Debug, Default)]
pub(super) struct Door {
    strangers: Strangers,
    knocking: Flood,
    refusing: Flood,
    /// When a call was last refused for load: ACKs of refusals are looked for only afterwards.
    shed: Option<Instant>,
}

impl Core {
    /// Where a message belongs that has not been read; `None` when it is dropped.
    pub(super) fn place_of(&mut self, source: &Source, raw: &[u8], now: Instant) -> Option<Place> {
        #[cfg(test)]
        self.spring(Trap::Door);
        let raw = raw.trim_ascii_start();
        if !self.is_known(source) {
            return self.sort_stranger(source, raw, now);
        }
        let peer = self.lane(source, b"");
        if raw.starts_with(b"SIP/2.0 ") {
            return match response_branch(raw) {
                Some(branch) if self.is_ours(branch) => Some(Place::First(peer)),
                // RFC 3261 §18.1.2: it answers nothing that we have asked.
                Some(_) => self.turned_away(Dropped::Astray),
                None => Some(Place::Priority(peer)),
            };
        }
        let Some(glance) = Glance::request(raw) else {
            // Perhaps inside a dialog; whoever has to refuse it reads it first.
            let of_call = [&b"INVITE "[..], b"CANCEL "].iter().find_map(|m| raw.strip_prefix(*m));
            let uri = of_call.and_then(|rest| rest.split(|byte| *byte == b' ').next());
            return Some(match uri {
                Some(uri) if self.routes.may_be_help(uri) => Place::Help(peer),
                Some(uri) => Place::Call(self.lane(source, uri)),
                None => Place::Priority(peer),
            });
        };
        if let Some(tag) = glance.to_tag().filter(|tag| self.is_ours(tag)) {
            if self.may_be_ack_of_shed(now) && self.endpoint.is_ack_of_shed(&glance, tag) {
                return self.turned_away(Dropped::Absorbed);
            }
            return Some(Place::First(peer));
        }
        if is_scanner(glance.agent) {
            return self.turned_away(Dropped::Scanner);
        }
        match glance.method {
            b"ACK" | b"CANCEL" if self.endpoint.knows_glanced(source, &glance) => {
                Some(Place::First(peer))
            }
            b"INVITE" | b"CANCEL" if self.routes.may_be_help(glance.uri) => Some(Place::Help(peer)),
            // A CANCEL waits behind its INVITE, if that waits still.
            b"INVITE" | b"CANCEL" => Some(Place::Call(self.lane(source, glance.uri))),
            _ => Some(Place::Priority(peer)),
        }
    }

    /// Refuses a new call for load. False when it is none, and has to be served.
    pub(super) fn turn_away_for_load(
        &mut self,
        source: &Source,
        raw: &Bytes,
        now: Instant,
    ) -> bool {
        #[cfg(test)]
        self.spring(Trap::Shed);
        if self.is_of_others(source, raw) {
            return false;
        }
        let retry_after = RETRY_AFTER.parse().unwrap_or(1);
        match self.endpoint.shed(source, raw, retry_after) {
            Shed::Refused => {
                self.door.shed = Some(now);
                self.outputs
                    .push_back(Output::Event(Event::CallRefused { cause: Cause::Overload }));
                if let Some(count) = self.door.refusing.note(now) {
                    tracing::warn!(count, "overload: new calls are refused");
                }
                true
            }
            Shed::NotNew | Shed::Unreadable => false,
        }
    }

    /// A message was dropped because too many were waiting.
    pub fn note_dropped(&mut self, dropped: Dropped) {
        self.outputs.push_back(Output::Event(Event::Dropped(dropped)));
    }

    /// How many addresses are left out for knocking too often.
    pub fn banned(&self, now: Instant) -> usize {
        self.door.strangers.banned(now)
    }

    pub(super) fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        self.door.strangers.is_banned(address, now)
    }

    /// A stranger did what nobody we know does.
    pub(super) fn note_stranger(&mut self, address: IpAddr, now: Instant) {
        if self.door.strangers.note(address, now) {
            tracing::debug!(%address, "knocks too often: left out for a while");
            self.retire_banned(now);
        }
        if let Some(count) = self.door.knocking.note(now) {
            let banned = self.door.strangers.banned(now);
            tracing::info!(count, %address, banned, "unknown sources get no answer");
        }
    }

    /// What a stranger sends is taken when it carries an identifier that is in use: everybody whom we ever called has
    /// one of calls long over. All strangers share a lane.
    fn sort_stranger(&mut self, source: &Source, raw: &[u8], now: Instant) -> Option<Place> {
        let address = source.remote.ip();
        let awaited = if raw.starts_with(b"SIP/2.0 ") {
            response_branch(raw)
                .is_some_and(|branch| self.endpoint.awaits(branch) || self.is_of_kin(branch))
        } else {
            let tag = Glance::request(raw).and_then(|glance| glance.to_tag());
            tag.is_some_and(|tag| self.dialogs.contains_key(tag) || self.is_of_kin(tag))
        };
        if awaited {
            return Some(Place::First(STRANGERS));
        }
        if self.departed.holds(source, now) {
            return Some(Place::Priority(self.lane(source, b"")));
        }
        let banned = self.door.strangers.is_banned(address, now);
        if !banned && self.may_be_registering(source, raw) {
            let scans = Glance::request(raw).is_some_and(|glance| is_scanner(glance.agent));
            return match scans {
                true => self.turned_away(Dropped::Scanner),
                false => Some(Place::Priority(STRANGERS)),
            };
        }
        self.note_stranger(address, now);
        self.turned_away(if banned { Dropped::Banned } else { Dropped::Stranger })
    }

    /// Whether we made that tag or branch: this process, one before it, or one beside it.
    fn is_ours(&self, identifier: &[u8]) -> bool {
        self.endpoint.origin(identifier).is_some()
    }

    /// Whether a process beside this one made that tag or branch.
    fn is_of_kin(&self, identifier: &[u8]) -> bool {
        let origin = self.endpoint.origin(identifier);
        origin.is_some_and(|origin| self.kindred.made_by(origin).is_some())
    }

    fn turned_away(&mut self, why: Dropped) -> Option<Place> {
        self.outputs.push_back(Output::Event(Event::Dropped(why)));
        None
    }

    fn may_be_ack_of_shed(&self, now: Instant) -> bool {
        self.door.shed.is_some_and(|at| now.saturating_duration_since(at) < ACK_COMES)
    }

    /// Callers are kept apart by address; at an edge, where a few addresses speak for all, by tenant.
    fn lane(&self, source: &Source, uri: &[u8]) -> u8 {
        let (host, address) = match locals::side(self.routes.config(), source.local) {
            Side::Edge(_) => (host(uri), source.remote.ip()),
            Side::Realm(_) => (&[][..], source.remote.ip()),
        };
        let mut hash = fnv(FNV, &source.local.0.to_be_bytes());
        hash = match address {
            _ if !host.is_empty() => fnv(hash, host),
            IpAddr::V4(v4) => fnv(hash, &v4.octets()),
            IpAddr::V6(v6) => fnv(hash, &v6.octets()[..8]),
        };
        (hash ^ (hash >> 8) ^ (hash >> 16) ^ (hash >> 24)) as u8
    }
}

/// Tools that only ever look for open doors. They change their names, and then meet the other rules.
fn is_scanner(agent: &[u8]) -> bool {
    !agent.is_empty()
        && SCANNERS.iter().any(|name| {
            agent.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
        })
}

/// The host of a URI as it stands there.
fn host(uri: &[u8]) -> &[u8] {
    let start = uri.iter().position(|b| *b == b'@').map_or(0, |at| at + 1);
    let rest = &uri[start..];
    let end = rest.iter().position(|b| matches!(b, b':' | b';' | b'?')).unwrap_or(rest.len());
    &rest[..end]
}

/// FNV-1a.
fn fnv(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

const FNV: u32 = 0x811c_9dc5;
const SCANNERS: [&str; 10] = [
    "friendly-scanner",
    "sipvicious",
    "sipcli",
    "vaxsipuseragent",
    "pplsip",
    "sundayddr",
    "sip-scan",
    "iwar",
    "sipsak",
    "smap",
];
/// The lane of all whom we do not know.
const STRANGERS: u8 = 0;
/// 64 × T1: after that no ACK comes any more.
const ACK_COMES: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_known_by_any_part_of_their_name() {
        for agent in
            ["friendly-scanner", "SIPVicious/0.3", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "pplsip"]
        {
            assert!(is_scanner(agent.as_bytes()), "{agent}");
        }
        for agent in ["", "Asterisk PBX 18", "Grandstream", "Microsoft.PSTNHub.SIPProxy", "sip"] {
            assert!(!is_scanner(agent.as_bytes()), "{agent}");
        }
    }

    #[test]
    fn hosts_of_uris() {
        for (uri, expected) in [
            ("sip:+1@a.test:5061;transport=tls", "a.test"),
            ("sip:+1;phone-context=x@b.test", "b.test"),
            ("sip:b.test", "sip"),
            ("", ""),
        ] {
            assert_eq!(host(uri.as_bytes()), expected.as_bytes(), "{uri}");
        }
    }
}
