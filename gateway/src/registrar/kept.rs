//! What is registered as data, to be kept over a restart.
//!
//! What was reached on a connection is told of and not taken up: the connection died with the process, and only the trunk can
//! make another. So is what was registered with another password than the trunk has by now: it goes with a proof, which says
//! nothing of the password to whoever has not the key of the state directory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use bytes::Bytes;
use config::Login;
use serde::{Deserialize, Serialize};
use sip_stack::transport::Transport;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Binding, Change, Origin, Registrar, What};

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Name of the trunk.
    pub trunk: String,
    /// The contact, a URI.
    pub contact: String,
    /// The transport.
    pub transport: Transport,
    /// Where it is reached.
    pub remote: SocketAddr,
    /// Its preference, in thousandths.
    pub q: u16,
    /// The Call-ID of the REGISTER.
    pub call_id: String,
    /// Its CSeq.
    pub cseq: u32,
    /// Until when, in seconds since 1970.
    pub until: u64,
    /// By which login it has registered.
    #[serde(default)]
    pub proof: String,
}

/// What proofs of logins are made with.
#[derive(Default)]
pub(super) struct Seal(Zeroizing<[u8; 32]>);

impl Seal {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*secret))
    }

    fn proof(&self, login: &Login) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let mut context = hmac::Context::with_key(&key);
        for part in ["registered", &login.realm, &login.username, login.password.reveal()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Registrar {
    /// All that there is, the oldest first.
    pub fn kept(&self, now: Instant, wall: SystemTime) -> Vec<Kept> {
        let names = self.held.keys().filter_map(|name| Some((name, self.accounts.get(name)?)));
        let proofs: HashMap<&str, String> =
            names.map(|(name, account)| (name.as_str(), self.seal.proof(&account.login))).collect();
        let kept = |binding: &Binding| Kept {
            trunk: binding.trunk.clone(),
            contact: String::from_utf8_lossy(&binding.uri).into_owned(),
            transport: binding.origin.transport,
            remote: binding.origin.remote,
            q: binding.q,
            call_id: String::from_utf8_lossy(&binding.call_id).into_owned(),
            cseq: binding.cseq,
            until: seconds(wall + binding.left(now)),
            proof: proofs.get(binding.trunk.as_str()).cloned().unwrap_or_default(),
        };
        self.bindings.values().map(kept).collect()
    }

    /// Takes in what was kept, in place of what is known here: what has time left, and whose trunk may have it. What of it is
    /// no use any more.
    pub fn learn(&mut self, kept: Vec<Kept>, now: Instant, wall: SystemTime) -> Vec<Change> {
        let former: Vec<u64> = self
            .bindings
            .iter()
            .filter(|(_, b)| b.origin.flow.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in former {
            self.remove(id, What::Refreshed);
        }
        let mut lost = Vec::new();
        for one in kept {
            let Some(account) = self.accounts.get(&one.trunk) else { continue };
            let proof = self.seal.proof(&account.login);
            if !bool::from(proof.as_bytes().ct_eq(one.proof.as_bytes())) {
                continue;
            }
            let origin = Origin {
                local: account.local,
                transport: one.transport,
                remote: one.remote,
                flow: None,
            };
            let (rules, uri) = (&account.rules, Bytes::from(one.contact));
            // A clock that was set back keeps nobody for longer.
            let left = Duration::from_secs(one.until.saturating_sub(seconds(wall)));
            let left = left.min(rules.max_expires);
            if left.is_zero() || !account.lets_in(&origin) {
                continue;
            }
            if one.transport.is_reliable() {
                lost.push(Change { trunk: one.trunk, uri, origin, what: What::Disconnected });
                continue;
            }
            let full = self.of(&one.trunk).count() >= usize::from(rules.max_contacts);
            let known = self.find(&one.trunk, &uri).is_some();
            let taken = self.origins.get(&origin).is_some_and(|(other, _)| *other != one.trunk);
            if !(full || known || taken) {
                self.insert(Binding {
                    trunk: one.trunk,
                    uri,
                    origin,
                    q: one.q.min(1000),
                    call_id: one.call_id.into(),
                    cseq: one.cseq,
                    until: now + left,
                });
            }
        }
        lost
    }
}

fn seconds(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
