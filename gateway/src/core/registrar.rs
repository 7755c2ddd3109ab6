//! Registrations of trunks with us on the wire (RFC 3261 §10.3): REGISTER is challenged, proven and served by
//! [`crate::registrar`].
//!
//! It is read from addresses that nobody knows. So until it answers a challenge that we made for its very address nothing is
//! kept of it, and over UDP the answer is no longer than what came: who writes another's address into a datagram gets nobody
//! anything (AT-33). Whose a REGISTER is says the username of its credentials; unknown names are asked, judged and locked out
//! as known ones.

use std::time::Instant;

use bytes::Bytes;
use config::Login;
use sip_stack::auth::Role;
use sip_stack::endpoint::ServerId;
use sip_stack::leg::refusal_outside;
use sip_stack::message::{Draft, HeaderId, Message, Method, NameAddr};
use sip_stack::transport::{Source, Transport};
use sip_stack::uri::Uri;

use super::{Core, Output};
use crate::authentication::{Claim, Flaw, Verdict, answer};
use crate::event::{Event, RegisterAnswer};
use crate::locals::{self, Side};
use crate::profile::AGENT;
use crate::registrar::{Refused, What, Wish};
use crate::routing::TrunkId;

/// A REGISTER that registers nothing: how it is counted, and its answer.
type Denied = Box<(RegisterAnswer, Draft)>;

impl Core {
    /// Whether a message is a REGISTER that is served, whoever sends it.
    pub(super) fn is_registering(&self, source: &Source, message: &Message) -> bool {
        message.is_request()
            && *message.method() == Method::Register
            && message.to_tag().is_none()
            && self.registrar.opens(source)
    }

    /// The same of one that was not read.
    pub(super) fn may_be_registering(&self, source: &Source, raw: &[u8]) -> bool {
        raw.starts_with(b"REGISTER ") && self.registrar.opens(source)
    }

    /// A REGISTER came. One that answers no challenge of ours gets one, and is forgotten.
    pub(super) fn take_register(&mut self, source: Source, message: Message, now: Instant) {
        let Some(realm) = self.registrar.realm(source.local).map(str::to_owned) else { return };
        let scope = scope(&realm, &source);
        let invited = match answer(&message, Role::Server, &realm) {
            Some(Some(answer)) => self.gate.has_made(&answer, &scope, &realm, self.wall(now)),
            Some(None) | None => false,
        };
        if invited || self.endpoint.knows(&source, &message) {
            return self.endpoint.handle_message(source, message, now);
        }
        let flaw = message.value(HeaderId::Authorization).map(|_| Flaw::Forged);
        // Who is registered from there has shown that it hears us.
        let datagram =
            source.transport == Transport::Udp && self.registrar.trunk_at(&source).is_none();
        let most = if datagram { message.raw().len() } else { usize::MAX };
        let mut values = self.register_challenges(&scope, &realm, flaw, now);
        let told = loop {
            let draft = challenge(&message, &values);
            if self.endpoint.answer_once(&source, draft, most) {
                break RegisterAnswer::Challenged;
            }
            // The last one alone, which everybody knows.
            if values.len() < 2 {
                tracing::debug!(from = %source.remote, "a REGISTER shorter than any answer gets none");
                break RegisterAnswer::TooShort;
            }
            values.remove(0);
        };
        self.tell_register(told);
    }

    /// Serves a REGISTER that answers a challenge of ours.
    pub(super) fn on_register(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
    ) {
        match self.try_register(source, message, now) {
            Ok(mut draft) => {
                draft.set_to_tag(&self.endpoint.new_tag());
                draft.push(HeaderId::Server, AGENT);
                self.endpoint.respond(server, draft, now);
            }
            Err(denied) => {
                let (told, mut draft) = *denied;
                self.tell_register(told);
                draft.set_to_tag(&self.endpoint.new_tag());
                self.endpoint.respond(server, draft, now);
            }
        }
    }

    fn try_register(
        &mut self,
        source: &Source,
        message: &Message,
        now: Instant,
    ) -> Result<Draft, Denied> {
        let refuse = |told, status| Box::new((told, Draft::response(message, status)));
        let nobody = || refuse(RegisterAnswer::Refused, 403);
        let realm = self.registrar.realm(source.local).ok_or_else(nobody)?.to_owned();
        let trunk = self.prove_register(source, message, &realm, now)?;
        if let Some(draft) = refusal_outside(message, b"") {
            return Err(Box::new((RegisterAnswer::Refused, draft)));
        }
        let address = self.registrar.address_of(&trunk);
        if address.is_none() || user_of_to(message).as_deref() != address {
            self.warn_register(&trunk, source, "another address than its own", now);
            return Err(nobody());
        }
        let position = self.registrar.position(&trunk);
        if self.belongs_to_another(source, position) {
            self.warn_register(&trunk, source, "the address of another trunk", now);
            return Err(nobody());
        }
        let Some(wish) = Wish::of(message) else {
            self.warn_register(&trunk, source, "contacts that make no sense", now);
            return Err(refuse(RegisterAnswer::Refused, 400));
        };
        let order = (message.call_id(), message.cseq());
        match self.registrar.register(&trunk, source, order, &wish, now) {
            Ok(changes) => {
                self.tell_register(match (&wish, changes.iter().any(|it| it.what.is_there())) {
                    (Wish::Query, _) => RegisterAnswer::Told,
                    (_, true) => RegisterAnswer::Registered,
                    (_, false) => RegisterAnswer::Removed,
                });
                self.note_changes(changes, now);
                Ok(self.registered_answer(&trunk, message, now))
            }
            Err(Refused::TooBrief(least)) => {
                let mut denied = refuse(RegisterAnswer::TooBrief, 423);
                denied.1.push(HeaderId::MinExpires, least.as_secs().to_string());
                Err(denied)
            }
            Err(why) => {
                let (words, status) = match why {
                    Refused::Overtaken | Refused::TooBrief(_) => ("a CSeq that is too low", 500),
                    Refused::TooMany => ("more contacts than it may have", 403),
                    Refused::Elsewhere => ("a network or transport that is not its own", 403),
                    Refused::Taken => ("the address of another trunk", 403),
                };
                self.warn_register(&trunk, source, words, now);
                Err(refuse(RegisterAnswer::Refused, status))
            }
        }
    }

    /// The name of the trunk whose credentials a REGISTER has.
    fn prove_register(
        &mut self,
        source: &Source,
        message: &Message,
        realm: &str,
        now: Instant,
    ) -> Result<String, Denied> {
        let username = answer(message, Role::Server, realm).flatten().map(|it| it.username);
        let username = username.unwrap_or_default();
        let username = String::from_utf8_lossy(&username);
        let known = self.registrar.user(source.local, &username);
        // Nobody's password is judged as somebody's.
        let nobody = || Login {
            realm: realm.to_owned(),
            username: username.clone().into_owned(),
            password: self.nobody.clone(),
        };
        let (trunk, login) = match known {
            Some((trunk, login)) => (Some(trunk.to_owned()), login.clone()),
            None => (None, nobody()),
        };
        let scope = scope(realm, source);
        let short: String = username.chars().take(LONGEST_NAME).collect();
        let name = format!("{realm} {short}");
        let address = source.remote.ip();
        // Who is registered from there is not shut out by what others behind its NAT guess.
        let own = trunk.as_deref().and_then(|trunk| self.own_door(trunk, source, &name));
        let claim = Claim {
            role: Role::Server,
            scope: &scope,
            name: own.as_deref().unwrap_or(&name),
            source: address,
            login: &login,
        };
        let wall = self.wall(now);
        let flaw = match self.gate.judge(claim, message, wall, now) {
            Verdict::Proven => match trunk {
                Some(trunk) => return Ok(trunk),
                None => Some(Flaw::Wrong),
            },
            Verdict::Challenge(flaw) => flaw,
            Verdict::LockedOut => {
                self.note_flaw(&name, source, Flaw::LockedOut, now);
                self.note_guess(source, now);
                return Err(Box::new((RegisterAnswer::LockedOut, Draft::response(message, 403))));
            }
        };
        if let Some(flaw) = flaw {
            self.note_flaw(&name, source, flaw, now);
            // It has heard the challenge that it spoils: each such answer costs us a transaction.
            if matches!(flaw, Flaw::Wrong | Flaw::Malformed) {
                self.note_guess(source, now);
            }
        }
        let values = self.register_challenges(&scope, realm, flaw, now);
        let draft = challenge(message, &values);
        Err(Box::new((RegisterAnswer::Challenged, draft)))
    }

    /// By what a source is locked out that is registered as that trunk.
    pub(super) fn own_door(&self, trunk: &str, source: &Source, name: &str) -> Option<String> {
        let there = self.registrar.trunk_at(source)?;
        (self.registrar.position(trunk) == Some(there))
            .then(|| format!("{name} {} {}", source.transport, source.remote))
    }

    /// Who guesses is left out, unless somebody is registered from there.
    fn note_guess(&mut self, source: &Source, now: Instant) {
        if !self.is_known(source) {
            self.note_stranger(source.remote.ip(), now);
        }
    }

    fn register_challenges(
        &mut self,
        scope: &str,
        realm: &str,
        flaw: Option<Flaw>,
        now: Instant,
    ) -> Vec<Bytes> {
        let wall = self.wall(now);
        self.gate.challenges((Role::Server, scope, realm), flaw, wall, self.random.bytes())
    }

    /// Whether the configuration knows another trunk by that address.
    fn belongs_to_another(&self, source: &Source, own: Option<TrunkId>) -> bool {
        match locals::side(self.routes.config(), source.local) {
            Side::Edge(_) => true,
            Side::Realm(realm) => {
                self.routes.known_at(realm, source.remote.ip()).any(|trunk| Some(trunk) != own)
            }
        }
    }

    /// 200 with all contacts that are registered (RFC 3261 §10.3 step 8).
    fn registered_answer(&self, trunk: &str, message: &Message, now: Instant) -> Draft {
        let mut draft = Draft::response(message, 200);
        for binding in self.registrar.contacts(trunk) {
            // Rounded up: what has just been granted is told whole.
            let seconds = binding.left(now).as_millis().div_ceil(1000);
            let mut value = [b"<", &binding.uri[..], b">"].concat();
            if binding.q < 1000 {
                value.extend_from_slice(format!(";q=0.{:03}", binding.q).as_bytes());
            }
            value.extend_from_slice(format!(";expires={seconds}").as_bytes());
            draft.push(HeaderId::Contact, value);
        }
        draft
    }

    fn tell_register(&mut self, answer: RegisterAnswer) {
        self.outputs.push_back(Output::Event(Event::RegisterAnswered(answer)));
    }

    fn warn_register(&mut self, trunk: &str, source: &Source, why: &str, now: Instant) {
        if let Some(count) = self.refusing_registers.note(now) {
            let from = source.remote;
            tracing::warn!(count, trunk, %from, why, "REGISTER is refused");
        }
    }
}

impl What {
    const fn is_there(self) -> bool {
        match self {
            Self::Registered | Self::Refreshed | Self::Moved => true,
            Self::Removed | Self::Replaced | Self::Expired | Self::Disconnected | Self::Dropped => {
                false
            }
        }
    }
}

fn challenge(message: &Message, values: &[Bytes]) -> Draft {
    let mut draft = Draft::response(message, Role::Server.status());
    for value in values {
        draft.push(Role::Server.challenge(), value.clone());
    }
    draft
}

/// For what the nonces of a REGISTER are made: for the address alone that was sent them.
fn scope(realm: &str, source: &Source) -> String {
    format!("REGISTER {realm} {}", source.remote.ip())
}

fn user_of_to(message: &Message) -> Option<String> {
    let to = NameAddr::parse(message.value(HeaderId::To)?).ok()?;
    let user = Uri::parse(to.uri).ok()?.user_text()?.into_owned();
    String::from_utf8(user).ok()
}

/// As much of a username is told apart as anybody has.
const LONGEST_NAME: usize = 64;
