//! Registrations on the wire: what [`crate::registration`] asks for is located, sent and judged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_stack::endpoint::{Failure, Owner, Request};
use sip_stack::locate::Located;
use sip_stack::message::{HeaderId, Message};
use sip_stack::transport::Target;

use super::{Asker, Core, Output, REGISTRATION};
use crate::call::retry_after;
use crate::event::{Event, Registering};
use crate::profile::trunk;
use crate::registration::{FAREWELL, Failed, RegistrationId, Task, request};
use crate::routing::RealmId;

impl Core {
    pub(super) fn serve_registration(&mut self, task: Task, now: Instant) {
        match task {
            // The newest process alone speaks for all.
            Task::Ask { id, .. } if self.kindred.has_heir() => self.registrations.put_off(id, now),
            Task::Ask { id, place } => {
                let reach = self.routes.reach(place);
                self.reach(Asker::Registration(id), reach, now);
            }
            Task::Leave { id, request } => self.deregister(id, *request, now),
            Task::Lapsed { .. } if self.kindred.has_heir() => {}
            Task::Lapsed { id } => {
                if let Some(known) = self.registrations.get(id) {
                    tracing::warn!(trunk = known.name(), "registration has lapsed");
                }
                self.show_registration(id);
            }
        }
    }

    pub(super) fn registration_located(
        &mut self,
        id: RegistrationId,
        located: Located,
        now: Instant,
    ) {
        let address = located.map(|addresses| addresses.into_iter().next());
        let Ok(Some(address)) = address else {
            return self.not_registered(id, Registering::NotLocated, None, None, now);
        };
        let Some(cseq) = self.registrations.next_cseq(id) else { return };
        let Some(known) = self.registrations.get(id) else { return };
        let routes = Arc::clone(&known.routes);
        let realm = RealmId(routes.config().trunks[known.trunk.0].realm);
        let remote = address.addr;
        let face = trunk::face(routes.config(), realm, address.transport, remote.is_ipv6());
        let names = request::Names { call_id: &known.call_id, tag: &known.tag, cseq };
        let draft = request::register(&face, known.register(), names, known.wish);
        let target = Target {
            transport: address.transport,
            local: face.local,
            remote,
            name: Some(address.name),
            flow: None,
        };
        let request = Request { draft, target, sent_by: face.sent_by(), timeout: Some(PATIENCE) };
        self.registrations.sends(id, &request);
        self.send_register(id, request, now);
    }

    fn deregister(&mut self, id: RegistrationId, mut request: Request, now: Instant) {
        let Some(cseq) = self.registrations.next_cseq(id) else { return };
        request::take_back(&mut request.draft, cseq);
        request.timeout = Some(FAREWELL);
        self.send_register(id, request, now);
    }

    fn send_register(&mut self, id: RegistrationId, mut request: Request, now: Instant) {
        let Some(token) = self.registrations.get(id).map(|known| known.attempt) else { return };
        let owner = Owner(REGISTRATION | id.0);
        self.challenges.forget(owner);
        self.authorize(owner, token, &mut request);
        self.endpoint.request(owner, token, request, now);
    }

    pub(super) fn registration_answered(
        &mut self,
        id: RegistrationId,
        token: u32,
        message: &Message,
        now: Instant,
    ) {
        let Some(known) = self.registrations.get(id).filter(|known| known.attempt == token) else {
            return;
        };
        let status = message.status();
        match status {
            ..200 => {}
            200..300 => self.registered(id, message, now),
            _ if known.is_leaving() => {
                tracing::warn!(trunk = known.name(), status, "not taken back by the registrar");
                self.registrations.failed(id, Failed::Refused, None, now, &mut self.random);
            }
            423 => {
                let least = request::least(message);
                let again = least.is_some_and(|t| self.registrations.too_brief(id, t, now));
                if !again {
                    self.not_registered(id, Registering::Refused, Some(message), None, now);
                }
            }
            401 | 407 => {
                self.not_registered(id, Registering::Unauthorized, Some(message), None, now)
            }
            408 | 430 | 500..600 => {
                let wait = retry_after(message);
                self.not_registered(id, Registering::Unavailable, Some(message), wait, now);
            }
            _ => self.not_registered(id, Registering::Refused, Some(message), None, now),
        }
    }

    pub(super) fn registration_failed(
        &mut self,
        id: RegistrationId,
        token: u32,
        why: Failure,
        now: Instant,
    ) {
        let known = self.registrations.get(id).filter(|known| known.attempt == token);
        let Some(sent) = known.and_then(|known| known.sent_to()) else { return };
        self.locator.demote(sent, now + DEMOTED, now);
        let outcome = match why {
            Failure::Timeout => Registering::Unanswered,
            Failure::Transport => Registering::Unreachable,
        };
        self.not_registered(id, outcome, None, None, now);
    }

    fn registered(&mut self, id: RegistrationId, message: &Message, now: Instant) {
        let Some(known) = self.registrations.get(id) else { return };
        let (trunk, contact) = (known.name().to_owned(), known.contact());
        let granted = request::granted(message, &contact.unwrap_or_default(), known.wish);
        if known.is_leaving() {
            tracing::info!(trunk, "registration taken back");
            self.registrations.granted(id, granted, now, &mut self.random);
            return;
        }
        if granted.is_zero() {
            return self.not_registered(id, Registering::Refused, Some(message), None, now);
        }
        let at = known.sent_to();
        if self.registrations.granted(id, granted, now, &mut self.random) {
            tracing::info!(trunk, at = ?at, seconds = granted.as_secs(), "registered");
        }
        self.attempted(&trunk, Registering::Registered);
        self.show_registration(id);
    }

    fn not_registered(
        &mut self,
        id: RegistrationId,
        outcome: Registering,
        message: Option<&Message>,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let Some(known) = self.registrations.get(id) else { return };
        let (trunk, leaving) = (known.name().to_owned(), known.is_leaving());
        let why = if outcome.is_elsewhere() { Failed::Elsewhere } else { Failed::Refused };
        let wait = self.registrations.failed(id, why, retry_after, now, &mut self.random);
        if leaving {
            return;
        }
        self.attempted(&trunk, outcome);
        if let Some(wait) = wait.filter(|wait| !wait.is_zero())
            && self.registrations.complain(id)
        {
            let (status, seconds) = (message.map(Message::status), wait.as_secs());
            let reason = message.and_then(|message| message.value(HeaderId::Reason));
            let reason = reason.map(|reason| String::from_utf8_lossy(reason).into_owned());
            let why = outcome.label();
            tracing::warn!(trunk, why, status, reason, again_in = seconds, "not registered");
        }
        self.show_registration(id);
    }

    fn attempted(&mut self, trunk: &str, outcome: Registering) {
        let event = Event::Registering { trunk: trunk.into(), outcome };
        self.outputs.push_back(Output::Event(event));
    }

    fn show_registration(&mut self, id: RegistrationId) {
        let Some(trunk) = self.registrations.get(id).map(|known| known.name().to_owned()) else {
            return;
        };
        if let Some(standing) = self.registrations.standing(&trunk) {
            let event = Event::Registration {
                trunk: trunk.as_str().into(),
                up: standing.up,
                granted: standing.granted,
            };
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Registers what the configuration in force wants, and takes back the rest.
    pub(super) fn renew_registrations(&mut self, now: Instant) {
        let endpoint = &mut self.endpoint;
        let identifiers = || (endpoint.new_call_id(), endpoint.new_tag());
        let gone = self.registrations.replace(&self.routes, now, identifiers);
        for trunk in gone {
            let trunk = trunk.as_str().into();
            let event = Event::Registration { trunk, up: false, granted: Duration::ZERO };
            self.outputs.push_back(Output::Event(event));
        }
    }
}

/// A REGISTER that is not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an address that did not work comes after the others of its name.
const DEMOTED: Duration = Duration::from_secs(60);
