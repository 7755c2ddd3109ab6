//! A fake Teams: three names at three addresses, mutual TLS both ways, SDES, and its dialect.
//!
//! OPTIONS get 200 without Contact, and one in return to the FQDN in their Contact. Requests inside
//! a dialog leave from another address and connection than the INVITE did. What the real one would
//! refuse (an address in Contact, an unknown tenant, a name outside the certificate, media in
//! clear) is refused with its status and noted as a complaint.

pub(crate) mod dialect;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use crate::agent::{Agent, Dialect, Home};
use crate::capture::{Log, Transport};
use crate::pki::Identity;
use crate::wire::{Tls, Trust};

/// What a fake Teams is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in logs and ladders.
    pub end: String,
    /// `sip.`, `sip2.`, `sip3.` of this are its names.
    pub domain: String,
    /// Up to three addresses, one for each name, in that order.
    pub addresses: Vec<IpAddr>,
    /// The one port of all; 0 takes any, then only the first address should be given.
    pub port: u16,
    /// Its certificate.
    pub identity: Identity,
    /// Whom it believes.
    pub trust: Trust,
    /// FQDNs that belong to a tenant (the base name too); empty = any.
    pub tenants: Vec<String>,
    /// Where the gateway listens for it; learnt from its first OPTIONS if not given.
    pub gateway: Option<SocketAddr>,
}

/// A running fake Teams.
pub struct FakeTeams {
    agent: Agent,
    domain: String,
}

impl FakeTeams {
    /// Opens its sockets.
    pub async fn start(settings: Settings, log: Log) -> io::Result<Self> {
        let tls = Tls::new(&settings.identity, &settings.trust).map_err(io::Error::other)?;
        let home = |address: &IpAddr| Home {
            transport: Transport::Tls,
            address: SocketAddr::new(*address, settings.port),
        };
        let homes: Vec<Home> = settings.addresses.iter().map(home).collect();
        let domain = settings.domain;
        let habits = dialect::Habits { domain: domain.clone(), tenants: settings.tenants };
        let dialect = Dialect::Teams(habits);
        let (end, gateway) = (settings.end, settings.gateway);
        let agent = Agent::start(&end, dialect, &homes, gateway, Some(tls), log).await?;
        Ok(Self { agent, domain })
    }

    /// Every name that stands in its messages, with the address it is found at: what a resolver
    /// must know.
    #[must_use]
    pub fn hosts(&self) -> Vec<(String, IpAddr)> {
        let homes = self.agent.homes();
        let names = ["sip", "sip2", "sip3"].iter().zip(homes);
        let more = ["sip-du-a-eu", "api-du-a-euwe"].iter().zip(homes.iter().rev());
        names.chain(more).map(|(name, home)| (self.name(name), home.address.ip())).collect()
    }

    fn name(&self, host: &str) -> String {
        format!("{host}.{}", self.domain)
    }
}

impl Deref for FakeTeams {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Invite;
    use crate::media::judge;
    use crate::pki::{KeyKind, Leaf, Pki};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(3);

    async fn start(pki: &Pki, last: u8, other: u8, names: &[&str], tenants: &[&str]) -> FakeTeams {
        let leaf = Leaf::new(names.iter().copied()).key(KeyKind::EcdsaP256);
        let settings = Settings {
            end: "Teams".to_owned(),
            // Each needs to tell its own Record-Route from the other's.
            domain: if last == 1 { "near.test" } else { "teams.test" }.to_owned(),
            addresses: vec![[127, 0, 8, last].into(), [127, 0, 8, last + 1].into()],
            port: 5061,
            identity: pki.issue(&format!("teams{last}"), &leaf).unwrap(),
            trust: Trust { roots: pki.roots(), names: vec!["sip.teams.test".to_owned()] },
            tenants: tenants.iter().map(|&tenant| tenant.to_owned()).collect(),
            gateway: Some(SocketAddr::from(([127, 0, 8, other], 5061))),
        };
        FakeTeams::start(settings, Log::new()).await.unwrap()
    }

    const ALL: [&str; 3] = ["sip.teams.test", "*.teams.test", "*.near.test"];

    #[tokio::test]
    async fn two_of_them_talk_under_tls_and_srtp_with_forks_and_early_media() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let one = start(&pki, 1, 11, &ALL, &[]).await;
        let other = start(&pki, 11, 1, &ALL, &[]).await;
        let awaited = other.expect("+15550010001");
        let invite = Invite::new("+15550020002", "+15550010001", "sip.teams.test");
        let mut caller = one.call(invite).await.unwrap();
        let mut callee = awaited.call(LIMIT).await.unwrap();
        callee.ring(180, 0).await;
        callee.ring(180, 1).await;
        callee.progress(2).await.unwrap();
        callee.talk(900).await.unwrap();
        assert_eq!(caller.early(LIMIT).await.unwrap(), 183);
        tokio::time::sleep(Duration::from_millis(300)).await;
        callee.mute().await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        let (early, heard) = (callee.tape().await, caller.tape().await);
        let flow = judge(&early, &heard, crate::now());
        assert!(flow.is_clean() && flow.sent > 10, "{flow}");

        let (answered, acked) = tokio::join!(caller.answered(LIMIT), callee.answer(2, LIMIT));
        answered.unwrap();
        acked.unwrap();
        caller.talk(500).await.unwrap();
        callee.talk(700).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        caller.mute().await;
        callee.mute().await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        let (byed, ended) = tokio::join!(callee.bye(LIMIT), caller.ended(LIMIT));
        byed.unwrap();
        ended.unwrap();
        let reason = caller.ended_by().unwrap().header("Reason").unwrap();
        assert!(reason.starts_with("Q.850;cause=16;text=\""), "{reason}");
        let (there, back) = (caller.tape().await, callee.tape().await);
        for flow in [judge(&there, &back, crate::now()), judge(&back, &there, crate::now())] {
            assert!(flow.is_clean() && flow.sent > 20 && flow.refused == 0, "{flow}");
        }
        assert_eq!(caller.suite(), Some("AES_CM_128_HMAC_SHA1_80"));
        assert_eq!(one.complaints(), Vec::<String>::new());
        assert_eq!(other.complaints(), Vec::<String>::new());
        // The BYE came on another connection, from another address.
        assert!(
            one.handshakes()
                .iter()
                .any(|it| it.inbound && it.remote.ip() == IpAddr::from([127, 0, 8, 12]))
        );
        let tags: std::collections::HashSet<_> = one
            .log()
            .calls(&[caller.call_id()])
            .iter()
            .filter(|record| record.message.status() > 100 && record.message.method() == "INVITE")
            .filter_map(|record| record.message.to_tag().map(str::to_owned))
            .collect();
        assert_eq!(tags.len(), 3, "each 18x has a tag of its own");
    }

    #[tokio::test]
    async fn strangers_to_it_get_403() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let one = start(&pki, 21, 31, &["sip.teams.test"], &[]).await;
        let other = start(&pki, 31, 21, &ALL, &["sbc.test"]).await;
        // From `one`: a Contact outside its certificate.
        let invite = Invite::new("+1", "+2", "sip.teams.test");
        let mut caller = one.call(invite).await.unwrap();
        assert_eq!(caller.refused(LIMIT).await.unwrap(), 403);
        assert!(other.complaints()[0].contains("certificate does not cover"));
        // A name that belongs to no tenant, from an end with a good certificate.
        let third = start(&pki, 41, 31, &ALL, &[]).await;
        assert_eq!(third.ping(0, "sip.teams.test").await.unwrap(), 403);
        assert!(other.pings()[0].status == 403 && other.complaints()[1].contains("no trunk"));
        assert_eq!(one.hosts().len(), 4);
    }
}
