//! The credentials of trunks: which challenges are answered, with what, and how often (RFC 3261 §22, RFC 7616).
//!
//! ```text
//! a request got 401 or 407, and its realm    | then
//! -------------------------------------------+------------------------------------------------
//! is none of the trunk's                     | ForeignRealm: nothing of ours is sent
//! was not answered in this request           | answered
//! was answered under a nonce from before     | answered under the new one
//! was answered anew; stale=true              | answered once more
//! was answered anew                          | Refused: the password is wrong
//! ```
//!
//! A nonce is used again in later requests of the same trunk to the same address, with its count going up, until the
//! server wants another one. Nothing of a trunk ever goes to another trunk, to an address that has not asked, or to a
//! realm that the trunk's configuration does not name.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use config::Trunk;
use sip_stack::auth::{self, Challenge, Role, Session};
use sip_stack::message::{Draft, Message, Method};

use crate::random::Random;

/// The challenges that are known.
#[derive(Debug, Default)]
pub struct Sessions(BTreeMap<Key, Vec<Session>>);

/// Who challenged: by name of the trunk, and by address. A registrar's is answered to the registrar alone: in another
/// request it would pass the proxy, and reach whoever is called.
type Key = (String, SocketAddr, bool);

/// What was done so far about the challenges to one request.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// The answers that it carried the last time.
    given: Vec<(Role, Bytes, Bytes)>,
    /// Realms that were answered under a nonce that came in answer to this request, and whether twice.
    fresh: Vec<(Role, Bytes, bool)>,
}

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The trunk has no credentials for that realm, or not by an algorithm that we have.
    ForeignRealm,
    /// The answer was not taken.
    Refused,
}

impl Sessions {
    /// Adds to a request what is known to be asked for at that place, in place of what it carries so far.
    pub fn authorize(
        &mut self,
        trunk: &Trunk,
        place: SocketAddr,
        draft: &mut Draft,
        tried: &mut Tried,
    ) {
        for role in [Role::Server, Role::Proxy] {
            draft.remove(role.answer());
        }
        tried.given.clear();
        let Some(sessions) = self.0.get_mut(&key(trunk, place, draft.method())) else { return };
        for session in sessions {
            let Challenge { role, realm, nonce, .. } = session.challenge().clone();
            let Some(login) = trunk.credentials.iter().find(|login| login.realm == realm) else {
                continue;
            };
            let login =
                auth::Login { username: &login.username, password: login.password.reveal() };
            let uri = Bytes::copy_from_slice(draft.uri());
            let answer = session.answer(login, draft.method(), &uri);
            draft.push(role.answer(), answer.write());
            tried.given.push((role, realm, nonce));
        }
    }

    /// Takes in the challenges of a 401 or 407 from that place; [`Sessions::authorize`] answers them.
    pub fn challenged(
        &mut self,
        trunk: &Trunk,
        place: SocketAddr,
        response: &Message,
        tried: &mut Tried,
        random: &mut Random,
    ) -> Result<(), Unanswered> {
        let challenges = answerable(trunk, response);
        if challenges.is_empty() {
            return Err(Unanswered::ForeignRealm);
        }
        let key = key(trunk, place, response.method());
        for challenge in &challenges {
            if !tried.takes(challenge) {
                // The next request asks anew, in case that it was the challenge.
                self.0.remove(&key);
                return Err(Unanswered::Refused);
            }
        }
        if self.0.len() >= MOST_PLACES && !self.0.contains_key(&key) {
            self.0.pop_first();
        }
        let sessions = self.0.entry(key).or_default();
        for challenge in challenges {
            let Challenge { role, realm, .. } = &challenge;
            sessions.retain(|session| {
                let known = session.challenge();
                (known.role, &known.realm) != (*role, realm)
            });
            sessions.push(Session::new(challenge, cnonce(random)));
        }
        Ok(())
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        self.0.len()
    }
}

impl Tried {
    /// Whether a challenge may be answered; notes that it is.
    fn takes(&mut self, challenge: &Challenge) -> bool {
        let Challenge { role, realm, nonce, stale, .. } = challenge;
        let same = |known: &(Role, Bytes, Bytes)| (known.0, &known.1) == (*role, realm);
        let repeated = self.given.iter().find(|known| same(known)).is_some_and(|g| g.2 == *nonce);
        match self.fresh.iter_mut().find(|known| (known.0, &known.1) == (*role, realm)) {
            Some((.., twice)) => *stale && !repeated && !std::mem::replace(twice, true),
            None if repeated => false,
            None => {
                self.fresh.push((*role, realm.clone(), false));
                true
            }
        }
    }
}

fn key(trunk: &Trunk, place: SocketAddr, method: &Method) -> Key {
    (trunk.name.clone(), place, *method == Method::Register)
}

/// Why a challenge of that trunk was not answered, as far as it shows.
pub fn unanswered(trunk: &Trunk, response: &Message) -> Unanswered {
    match answerable(trunk, response).is_empty() {
        true => Unanswered::ForeignRealm,
        false => Unanswered::Refused,
    }
}

/// The strongest challenge of each realm that the trunk has credentials for.
fn answerable(trunk: &Trunk, response: &Message) -> Vec<Challenge> {
    let mut chosen: Vec<Challenge> = Vec::new();
    for challenge in Challenge::all(response) {
        let known =
            |other: &Challenge| (other.role, &other.realm) == (challenge.role, &challenge.realm);
        let ours = trunk.credentials.iter().any(|login| login.realm == challenge.realm);
        if ours && !chosen.iter().any(known) {
            chosen.push(challenge);
        }
    }
    chosen
}

fn cnonce(random: &mut Random) -> Bytes {
    let bytes: [u8; 12] = random.bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// How many places are remembered: the others are challenged once more.
const MOST_PLACES: usize = 4096;

#[cfg(test)]
mod tests {
    use config::{Login, Secret};
    use sip_stack::auth::Authorization;

    use super::*;
    use crate::routing::tests::config;

    const PLACE: &str = "192.0.2.1:5060";

    struct Bench {
        trunk: Trunk,
        sessions: Sessions,
        tried: Tried,
        random: Random,
    }

    impl Bench {
        fn new(realms: &[&str]) -> Self {
            let mut trunk = config().trunks.remove(0);
            let login = |realm: &&str| Login {
                realm: (*realm).to_owned(),
                username: format!("user-{realm}"),
                password: Secret::of(&format!("word-{realm}")),
            };
            trunk.credentials = realms.iter().map(login).collect();
            let random = Random::new(|bytes| bytes.fill(7));
            Self { trunk, sessions: Sessions::default(), tried: Tried::default(), random }
        }

        /// Another request.
        fn next(&mut self) -> Draft {
            self.tried = Tried::default();
            self.send()
        }

        fn send(&mut self) -> Draft {
            let mut draft = Draft::request(Method::Invite, "sip:b@b");
            let place = PLACE.parse().unwrap();
            self.sessions.authorize(&self.trunk, place, &mut draft, &mut self.tried);
            draft
        }

        fn challenged(&mut self, headers: &[(&str, &str)]) -> Result<(), Unanswered> {
            let place = PLACE.parse().unwrap();
            let response = response(headers);
            let Self { trunk, sessions, tried, random } = self;
            sessions.challenged(trunk, place, &response, tried, random)
        }

        fn server(&mut self, realm: &str, rest: &str) -> Result<(), Unanswered> {
            let value = format!("Digest realm=\"{realm}\", qop=\"auth\", {rest}");
            self.challenged(&[("WWW-Authenticate", &value)])
        }
    }

    fn response(headers: &[(&str, &str)]) -> Message {
        let lines: String = headers.iter().map(|(n, value)| format!("{n}: {value}\r\n")).collect();
        let text = format!(
            "SIP/2.0 401 No\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>;tag=2\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn answers(draft: &Draft) -> Vec<(Role, Authorization)> {
        let all = draft.fields().filter_map(|field| {
            let role = [Role::Server, Role::Proxy].into_iter().find(|r| r.answer() == field.id)?;
            Some((role, Authorization::parse(&field.value).unwrap()))
        });
        all.collect()
    }

    fn counts(draft: &Draft) -> Vec<u32> {
        answers(draft).iter().map(|(_, answer)| answer.count.as_ref().unwrap().1).collect()
    }

    #[test]
    fn nothing_is_sent_before_somebody_asks_and_then_it_is_counted() {
        let mut bench = Bench::new(&["r"]);
        assert!(answers(&bench.next()).is_empty());
        assert_eq!(bench.server("r", "nonce=\"1\""), Ok(()));
        let draft = bench.send();
        let [(Role::Server, answer)] = &answers(&draft)[..] else { panic!() };
        assert!(answer.username == "user-r" && answer.proves(&Method::Invite, "word-r"));
        assert_eq!(counts(&draft), [1]);
        assert_eq!(counts(&bench.next()), [2]);
        assert_eq!(counts(&bench.next()), [3]);
    }

    #[test]
    fn another_realm_gets_nothing() {
        let mut bench = Bench::new(&["r"]);
        bench.next();
        for realm in ["R", "r.", "", "other"] {
            assert_eq!(bench.server(realm, "nonce=\"1\""), Err(Unanswered::ForeignRealm));
        }
        assert_eq!(
            bench.server("r", "nonce=\"1\", algorithm=AKAv1-MD5"),
            Err(Unanswered::ForeignRealm)
        );
        assert!(answers(&bench.send()).is_empty() && bench.sessions.known() == 0);
        assert_eq!(bench.server("r", "nonce=\"1\""), Ok(()));
        // The realm is gone from the configuration, or the address is another one.
        bench.trunk.credentials[0].realm = "s".to_owned();
        assert!(answers(&bench.next()).is_empty());
        bench.trunk.credentials[0].realm = "r".to_owned();
        let mut draft = Draft::request(Method::Invite, "sip:b@b");
        let elsewhere = "192.0.2.1:5061".parse().unwrap();
        let tried = &mut Tried::default();
        bench.sessions.authorize(&bench.trunk, elsewhere, &mut draft, tried);
        assert!(answers(&draft).is_empty());
        bench.trunk.name = "another".to_owned();
        assert!(answers(&bench.next()).is_empty());
    }

    #[test]
    fn a_wrong_password_is_tried_once() {
        let mut bench = Bench::new(&["r"]);
        bench.next();
        assert_eq!(bench.server("r", "nonce=\"1\""), Ok(()));
        bench.send();
        assert_eq!(bench.server("r", "nonce=\"2\""), Err(Unanswered::Refused));
        assert!(answers(&bench.next()).is_empty(), "the next one asks anew");
        assert_eq!(bench.server("r", "nonce=\"3\""), Ok(()));
        bench.send();
        assert_eq!(bench.server("r", "nonce=\"3\", stale=true"), Err(Unanswered::Refused));
    }

    #[test]
    fn a_stale_nonce_is_replaced_once_more() {
        let mut bench = Bench::new(&["r"]);
        bench.next();
        assert_eq!(bench.server("r", "nonce=\"1\""), Ok(()));
        bench.send();
        assert_eq!(bench.server("r", "nonce=\"2\", stale=true"), Ok(()));
        assert_eq!(counts(&bench.send()), [1]);
        assert_eq!(bench.server("r", "nonce=\"3\", stale=true"), Err(Unanswered::Refused));
    }

    #[test]
    fn a_nonce_from_before_may_be_refused_without_being_called_stale() {
        let mut bench = Bench::new(&["r"]);
        bench.next();
        bench.server("r", "nonce=\"1\"").unwrap();
        bench.send();
        assert_eq!(counts(&bench.next()), [2]);
        assert_eq!(bench.server("r", "nonce=\"2\""), Ok(()));
        assert_eq!(counts(&bench.send()), [1]);
        // The same nonce again: it was the password.
        bench.next();
        assert_eq!(bench.server("r", "nonce=\"2\""), Err(Unanswered::Refused));
    }

    /// RFC 3261 §22.3: proxies on the way each have their own, one after the other or at once.
    #[test]
    fn each_realm_on_the_way_is_answered() {
        let mut bench = Bench::new(&["p", "s"]);
        let (proxy, server) =
            ("Digest realm=\"p\", nonce=\"1\"", "Digest realm=\"s\", nonce=\"2\"");
        let foreign = "Digest realm=\"x\", nonce=\"9\"";
        bench.next();
        bench.challenged(&[("Proxy-Authenticate", proxy)]).unwrap();
        assert_eq!(answers(&bench.send()).len(), 1);
        bench.challenged(&[("WWW-Authenticate", server), ("WWW-Authenticate", foreign)]).unwrap();
        let draft = bench.send();
        let realms: Vec<_> =
            answers(&draft).into_iter().map(|(role, answer)| (role, answer.realm)).collect();
        assert_eq!(realms, [(Role::Proxy, "p".into()), (Role::Server, "s".into())]);
    }

    #[test]
    fn one_realm_in_several_algorithms_gets_the_strongest_answer() {
        let mut bench = Bench::new(&["r"]);
        let md5 = "Digest realm=\"r\", nonce=\"1\", algorithm=MD5";
        let sha = "Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256";
        bench.next();
        bench.challenged(&[("WWW-Authenticate", md5), ("WWW-Authenticate", sha)]).unwrap();
        let draft = bench.send();
        let nonces: Vec<_> = answers(&draft).into_iter().map(|(_, answer)| answer.nonce).collect();
        assert_eq!(nonces, ["2"]);
    }

    #[test]
    fn what_a_registrar_asks_for_is_for_the_registrar_alone() {
        let mut bench = Bench::new(&["r"]);
        bench.next();
        bench.server("r", "nonce=\"1\"").unwrap();
        let mut draft = Draft::request(Method::Register, "sip:r");
        let (place, tried) = (PLACE.parse().unwrap(), &mut Tried::default());
        bench.sessions.authorize(&bench.trunk, place, &mut draft, tried);
        assert!(answers(&draft).is_empty());
        assert_eq!(counts(&bench.send()), [1]);
    }

    #[test]
    fn places_are_bounded() {
        let mut bench = Bench::new(&["r"]);
        let response = response(&[("WWW-Authenticate", "Digest realm=\"r\", nonce=\"1\"")]);
        for n in 0..MOST_PLACES + 100 {
            let place = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5060));
            let Bench { trunk, sessions, random, .. } = &mut bench;
            sessions.challenged(trunk, place, &response, &mut Tried::default(), random).unwrap();
        }
        assert_eq!(bench.sessions.known(), MOST_PLACES);
    }
}
