//! Who is calling: a trunk by listener and source, a tenant by the Request-URI host.
//!
//! No header ever admits anyone: `match` only chooses among trunks whose networks already contain the source.

use std::net::IpAddr;

use sip_stack::message::Message;
use sip_stack::uri::{Host, Uri};

use super::{EdgeId, End, RealmId, Routes, TenantId, TrunkId};
use crate::profile::{called, phone_param};

impl Routes {
    /// Whether anyone at all may speak to this realm from that address.
    pub fn knows(&self, realm: RealmId, source: IpAddr) -> bool {
        self.sources.of(realm, source).next().is_some()
    }

    /// The trunks that may speak to this realm from that address.
    pub fn known_at(&self, realm: RealmId, source: IpAddr) -> impl Iterator<Item = TrunkId> {
        self.sources.of(realm, source).flat_map(|(_, trunks)| trunks.iter().copied())
    }

    /// Whether that trunk may be reached where it has registered from, and such an address of one of its legs is such a place.
    pub fn is_registered_at(&self, end: Option<End>, address: IpAddr) -> Option<&str> {
        let Some(End::Trunk(id)) = end else { return None };
        let trunk = &self.config.trunks[id.0];
        let elsewhere = trunk.networks.iter().any(|network| network.contains(&address));
        (trunk.registrar.is_some() && !elsewhere).then_some(&trunk.name)
    }

    /// The trunk that sends this request: realm and source network decide; among several, the narrowest network, then
    /// the trunk with most keys of `match`, then the longest `called_prefix`.
    pub fn trunk_of(&self, realm: RealmId, source: IpAddr, invite: &Message) -> Option<TrunkId> {
        let mut best: Option<((u8, usize, usize), TrunkId)> = None;
        for (width, trunks) in self.sources.of(realm, source) {
            if best.is_some_and(|((narrowest, ..), _)| narrowest > width) {
                break;
            }
            for id in trunks {
                let trunk = &self.config.trunks[id.0];
                let Some(keys) = fits(trunk, invite) else { continue };
                let prefix = trunk.matches.called_prefix.as_deref().map_or(0, str::len);
                let rank = (width, keys, prefix);
                if best.is_none_or(|(so_far, _)| rank > so_far) {
                    best = Some((rank, *id));
                }
            }
        }
        best.map(|(_, trunk)| trunk)
    }

    /// The tenant that this edge knows by the host of the Request-URI, never by From.
    pub fn tenant_of(&self, edge: EdgeId, request_uri: &[u8]) -> Option<TenantId> {
        let uri = Uri::parse(request_uri).ok()?;
        match uri.host() {
            Host::Name(name) => self.hosts.get(&(edge, name.to_ascii_lowercase())).copied(),
            Host::Ip(_) => None,
        }
    }
}

/// How many keys of a trunk's `match` fit; `None` when one does not.
fn fits(trunk: &config::Trunk, invite: &Message) -> Option<usize> {
    let (rule, uri) = (&trunk.matches, Uri::parse(invite.uri()).ok());
    let mut keys = 0;
    if let Some(prefix) = &rule.called_prefix {
        let country = trunk.country.as_ref().map(config::Country::as_str);
        let contact = trunk.register.as_ref().map(|own| own.contact.as_str());
        let (called, _) = called(invite, &trunk.dialect, country, contact)?;
        if !called.as_str().starts_with(prefix.as_str()) {
            return None;
        }
        keys += 1;
    }
    if let Some(host) = &rule.uri_host {
        let same = match uri.as_ref()?.host() {
            Host::Name(name) => name.eq_ignore_ascii_case(host),
            Host::Ip(ip) => host.trim_matches(['[', ']']).parse() == Ok(ip),
        };
        if !same {
            return None;
        }
        keys += 1;
    }
    if let Some(group) = &rule.tgrp {
        // RFC 4904 §4: a parameter of the number.
        if phone_param(uri.as_ref()?, "tgrp") != Some(group.as_bytes()) {
            return None;
        }
        keys += 1;
    }
    Some(keys)
}
