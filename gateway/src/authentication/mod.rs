//! Trunks that have to prove who they are: our challenges, and what is made of the answers (RFC 3261 §22, RFC 7616; one
//! challenge for each algorithm by RFC 8760 §2.4).
//!
//! ```text
//! the INVITE of a trunk with `authenticate` | verdict             | counts as a failure
//! -------------------------------------------+---------------------+--------------------
//! while its source is locked out             | LockedOut           | no
//! no answer for our realm                    | Challenge           | no
//! it cannot be read, or is for another URI   | Challenge Malformed | where the nonce was made for its address
//! the nonce is not ours, or another trunk's  | Challenge Forged    | no
//! unknown user or wrong password             | Challenge Wrong     | yes
//! all right, but for the age of the nonce    | Challenge Stale     | no
//! all right, but its count has come before   | Challenge Replayed  | no
//! all right                                  | Proven              | -
//! ```
//!
//! Unknown user and wrong password are the same in every respect: the hash is made in both cases, and compared in
//! constant time. A nonce carries its time, and a tag over that and the trunk under a key that every process of a state
//! directory has (`nonce.rs`), so that nothing is kept of a challenge. What was answered is kept until its nonce is
//! stale (`replay.rs`); failures are kept by source and trunk (`lockout.rs`). Both tables are bounded.

mod lockout;
mod nonce;
mod replay;

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use config::Login;
use sip_stack::auth::{Algorithm, Authorization, Challenge, Hash, Role};
use sip_stack::message::Message;
use subtle::ConstantTimeEq;

use self::lockout::Lockout;
use self::nonce::Nonces;
use self::replay::Replays;

/// Who asks to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// How it is asked: 407 of a call, 401 of a REGISTER.
    pub role: Role,
    /// For what its nonces are made.
    pub scope: &'a str,
    /// By what it is locked out, together with its address.
    pub name: &'a str,
    /// The address that it comes from.
    pub source: IpAddr,
    /// What has to be proven.
    pub login: &'a Login,
}

/// What is made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes from who it says.
    Proven,
    /// It proves nothing yet; why, when it tried.
    Challenge(Option<Flaw>),
    /// So many answers of this source were wrong that none is looked at for a while.
    LockedOut,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It cannot be read, or is for another request.
    Malformed,
    /// We did not make the nonce for this trunk.
    Forged,
    /// Unknown user or wrong password.
    Wrong,
    /// The nonce is too old.
    Stale,
    /// The count of the nonce has come before.
    Replayed,
    /// It was not looked at.
    LockedOut,
}

/// Judges requests.
#[derive(Debug)]
pub struct Gate {
    nonces: Nonces,
    replays: Replays,
    lockout: Lockout,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::Forged, Self::Wrong, Self::Stale, Self::Replayed, Self::LockedOut];

    /// The label in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged_nonce",
            Self::Wrong => "wrong_credentials",
            Self::Stale => "stale_nonce",
            Self::Replayed => "replayed",
            Self::LockedOut => "locked_out",
        }
    }

    /// Whether whoever sent it is guessing, and has heard our challenge: what a stranger can send in the name of another
    /// address locks nobody out.
    const fn is_guess(self) -> bool {
        match self {
            Self::Wrong => true,
            Self::Malformed | Self::Forged | Self::Stale | Self::Replayed | Self::LockedOut => {
                false
            }
        }
    }
}

impl Gate {
    /// `secret` is the same in every process of a state directory. Nonces of processes before `birth` are stale: what
    /// was answered under them is not known here.
    pub fn new(secret: &[u8; 32], birth: SystemTime) -> Self {
        Self {
            nonces: Nonces::new(secret),
            replays: Replays::new(birth),
            lockout: Lockout::default(),
        }
    }

    /// Judges a request of that trunk.
    pub fn judge(
        &mut self,
        claim: Claim<'_>,
        request: &Message,
        wall: SystemTime,
        now: Instant,
    ) -> Verdict {
        if self.lockout.holds(claim.source, claim.name, now) {
            return Verdict::LockedOut;
        }
        let Some(answer) = answer(request, claim.role, &claim.login.realm) else {
            return Verdict::Challenge(None);
        };
        match self.flaw(claim, answer.as_ref(), request, wall) {
            None => {
                self.lockout.forgive(claim.source, claim.name);
                Verdict::Proven
            }
            Some(flaw) => {
                // Whoever answers a challenge that was made for its address alone has heard it.
                let heard = |answer: &Authorization| {
                    claim.role == Role::Server
                        && self.has_made(answer, claim.scope, &claim.login.realm, wall)
                };
                let spoils = flaw == Flaw::Malformed && answer.as_ref().is_some_and(heard);
                if flaw.is_guess() || spoils {
                    self.lockout.note(claim.source, claim.name, now);
                }
                Verdict::Challenge(Some(flaw))
            }
        }
    }

    fn flaw(
        &mut self,
        claim: Claim<'_>,
        answer: Option<&Authorization>,
        request: &Message,
        wall: SystemTime,
    ) -> Option<Flaw> {
        let Login { realm, username, password } = claim.login;
        let known = |answer: &&Authorization| {
            OFFERED.contains(&answer.algorithm) && answer.uri == request.uri()
        };
        let Some(answer) = answer.filter(known) else { return Some(Flaw::Malformed) };
        let Some((_, count)) = answer.count else { return Some(Flaw::Malformed) };
        let Some(made) = self.nonces.made(&answer.nonce, claim.scope, realm) else {
            return Some(Flaw::Forged);
        };
        // Both are looked at, whatever comes of the first.
        let user = answer.username.ct_eq(username.as_bytes());
        let word = answer.proves(request.method(), password.reveal());
        if !(bool::from(user) & word) {
            return Some(Flaw::Wrong);
        }
        if made > wall + SLACK || made + LIFE < wall || self.replays.predates(made) {
            return Some(Flaw::Stale);
        }
        (!self.replays.is_new(&answer.nonce, made, count, wall)).then_some(Flaw::Replayed)
    }

    /// Whether we made the nonce of an answer for that scope, and it may still be used.
    pub fn has_made(
        &self,
        answer: &Authorization,
        scope: &str,
        realm: &str,
        wall: SystemTime,
    ) -> bool {
        let made = self.nonces.made(&answer.nonce, scope, realm);
        made.is_some_and(|made| made <= wall + SLACK && wall <= made + LIFE)
    }

    /// The values of our challenge, the strongest algorithm first.
    pub fn challenges(
        &self,
        (role, scope, realm): (Role, &str, &str),
        flaw: Option<Flaw>,
        wall: SystemTime,
        salt: [u8; 4],
    ) -> Vec<Bytes> {
        let nonce = self.nonces.make(scope, realm, wall, salt);
        let challenge = |algorithm| Challenge {
            role,
            realm: Bytes::copy_from_slice(realm.as_bytes()),
            nonce: nonce.clone(),
            opaque: None,
            algorithm,
            qop: true,
            stale: matches!(flaw, Some(Flaw::Forged | Flaw::Stale | Flaw::Replayed)),
        };
        OFFERED.into_iter().map(|algorithm| challenge(algorithm).write()).collect()
    }
}

/// The answer in a request to a challenge of that realm; `Some(None)`: one that cannot be read.
pub fn answer(request: &Message, role: Role, realm: &str) -> Option<Option<Authorization>> {
    let answers = request.values(role.answer()).take(MOST).map(Authorization::parse);
    let ours = |answer: &Option<Authorization>| {
        answer.as_ref().is_none_or(|answer| answer.realm == realm.as_bytes())
    };
    answers.into_iter().find(ours)
}

const OFFERED: [Algorithm; 2] = [
    Algorithm { hash: Hash::Sha256, session: false },
    Algorithm { hash: Hash::Md5, session: false },
];
/// How long a nonce may be used.
const LIFE: Duration = Duration::from_secs(300);
/// Clocks of processes beside each other.
const SLACK: Duration = Duration::from_secs(5);
/// How many answers of one request are looked at.
const MOST: usize = 4;

#[cfg(test)]
mod tests;
