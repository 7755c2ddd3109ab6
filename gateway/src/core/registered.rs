//! Who has registered with us, for the rest of the core: what is told of changes, written down and learned again, and where
//! calls, OPTIONS and requests inside dialogs find them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::Host;
use sip_stack::endpoint::Owner;
use sip_stack::locate::{Address, Located};
use sip_stack::transport::{FlowId, Target};
use sip_stack::uri::Uri;

use super::health::Why;
use super::{Asker, Core, Output, call_of};
use crate::event::Event;
use crate::numbers::Masked;
use crate::registrar::{Change, Kept, Origin, What, host};
use crate::routing::{Place, PlaceName, Reach};

/// What is to be written down, and when.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Since when something has changed that is not written.
    due: Option<Instant>,
    /// When it was written last.
    written: Option<Instant>,
}

impl Core {
    /// Tells of changes, has them written down, and knows how the trunks are.
    pub(super) fn note_changes(&mut self, changes: Vec<Change>, now: Instant) {
        // The newest process alone knows, and speaks for all.
        if self.kindred.has_heir() {
            return;
        }
        let mut trunks: Vec<(&str, bool)> = Vec::new();
        let hidden = self.routes.config().log.mask_numbers;
        for Change { trunk, uri, origin, what } in &changes {
            let contact = shown(uri, hidden);
            let Origin { transport, remote, .. } = origin;
            match what {
                What::Refreshed => tracing::debug!(trunk, %transport, %remote, "registered again"),
                What::Registered => {
                    tracing::info!(trunk, %contact, %transport, %remote, "registered with us");
                }
                What::Moved => {
                    tracing::info!(trunk, %contact, %transport, %remote, "registered from elsewhere");
                }
                What::Removed
                | What::Replaced
                | What::Expired
                | What::Disconnected
                | What::Dropped => {
                    let why = what.label();
                    tracing::info!(trunk, why, %contact, %transport, %remote, "registration is gone");
                }
            }
            let moved = *what == What::Moved;
            match trunks.iter_mut().find(|(name, _)| name == trunk) {
                Some((_, any)) => *any |= moved,
                None => trunks.push((trunk, moved)),
            }
        }
        for (trunk, moved) in trunks {
            self.show_registered(trunk, moved, now);
        }
        if !changes.is_empty() {
            self.keeping.due.get_or_insert(now);
            self.keep_registered(now);
        }
    }

    /// How a trunk's place is: there is none without a contact. With the first one, or where one has moved, it is well; what
    /// else was found of it stands, however often it registers.
    fn show_registered(&mut self, trunk: &str, moved: bool, now: Instant) {
        let contacts = self.registrar.contacts(trunk).len();
        let event = Event::Registered { trunk: trunk.into(), contacts };
        self.outputs.push_back(Output::Event(event));
        let name = PlaceName::Peer { trunk: trunk.to_owned(), peer: Host::Registered.to_string() };
        if let Some(id) = self.health.named(&name) {
            match contacts {
                0 => self.is_ill(id, Why::NotRegistered, None, now),
                _ if moved || self.health.is_missed(id) => self.is_well(id, true, now),
                _ => {}
            }
        }
    }

    /// Another configuration.
    pub(super) fn renew_registrar(&mut self, now: Instant) {
        let routes = Arc::clone(&self.routes);
        let gone = self.registrar.replace(&routes);
        self.note_changes(gone, now);
        let names: Vec<String> = self.registrar.names().map(str::to_owned).collect();
        for name in names {
            self.show_registered(&name, false, now);
        }
    }

    /// Takes in what was registered before, as another process has kept it.
    pub fn learn_registered(&mut self, kept: Vec<Kept>, now: Instant) {
        let wall = self.wall(now);
        let lost = self.registrar.learn(kept, now, wall);
        self.note_changes(lost, now);
        let names: Vec<String> = self.registrar.names().map(str::to_owned).collect();
        for name in names.iter().filter(|name| !self.registrar.contacts(name).is_empty()) {
            for binding in self.registrar.contacts(name) {
                let Origin { transport, remote, .. } = binding.origin;
                tracing::info!(trunk = name, %transport, %remote, "still registered with us");
            }
        }
        for name in names {
            self.show_registered(&name, false, now);
        }
    }

    /// A connection is gone.
    pub(super) fn unregister_on(&mut self, flow: FlowId, now: Instant) {
        let gone = self.registrar.closed(flow);
        self.note_changes(gone, now);
    }

    /// When [`Core::serve_registrar`] has something to do.
    pub(super) fn registrar_due(&self) -> Option<Instant> {
        if self.kindred.has_heir() {
            return None;
        }
        let expires = self.registrar.poll_timeout();
        expires.into_iter().chain(self.keeping.next()).min()
    }

    /// What is due: contacts whose time is over, and what is to be written.
    pub(super) fn serve_registrar(&mut self, now: Instant) {
        if self.kindred.has_heir() {
            return;
        }
        let gone = self.registrar.expired(now);
        self.note_changes(gone, now);
        self.keep_registered(now);
    }

    /// What is registered, to be written down now: there will be no later. `None` where it is another process that speaks
    /// for all, or nobody registers.
    pub fn last_registered(&mut self, now: Instant) -> Option<Vec<Kept>> {
        let some = self.keeping.due.is_some() || self.registrar.names().next().is_some();
        if self.kindred.has_heir() || !some {
            return None;
        }
        (self.keeping.due, self.keeping.written) = (None, Some(now));
        // It must not be written after this.
        self.outputs.retain(|output| !matches!(output, Output::Registered(_)));
        Some(self.registrar.kept(now, self.wall(now)))
    }

    /// Has what is registered written down: what changes in the same second at once.
    fn keep_registered(&mut self, now: Instant) {
        if self.keeping.next().is_none_or(|at| now < at) {
            return;
        }
        (self.keeping.due, self.keeping.written) = (None, Some(now));
        let wall = self.wall(now);
        self.outputs.push_back(Output::Registered(self.registrar.kept(now, wall)));
    }

    /// Finds where a place is: by the locator, or where it has registered from. A trunk that has not is nowhere.
    pub(super) fn reach(&mut self, asker: Asker, reach: Reach, now: Instant) {
        match reach {
            Reach::Locate(destination) => self.locate(asker, destination, now),
            Reach::Registered(trunk) => {
                let contacts = self.registrar.contacts(&trunk).into_iter().map(|binding| Address {
                    transport: binding.origin.transport,
                    addr: binding.origin.remote,
                    // Several may be reached at one place.
                    name: String::from_utf8_lossy(&binding.uri).into(),
                });
                let located: Located = Ok(contacts.collect());
                self.located(asker, located, now);
            }
        }
    }

    /// The contact of a trunk that is asked whether it is there, and the way to it.
    pub(super) fn probed_contact(
        &self,
        place: Place,
        address: &Address,
    ) -> Option<(Bytes, Target)> {
        let Place::Peer { trunk, peer } = place else { return None };
        let trunk = &self.routes.config().trunks[trunk.0];
        if trunk.peers[peer].host != Host::Registered {
            return None;
        }
        let contact = self.registrar.contact_at(&trunk.name, address)?;
        Some((contact.uri.clone(), contact.origin.target()))
    }

    /// Where a request inside a dialog goes whose peer has registered with us: to where it was last heard while that is its
    /// place, else to where it is now. Its own Contact may lead nowhere, behind a NAT.
    pub(super) fn registered_hop(&self, trunk: &str, last: &Target) -> Target {
        let Target { transport, local, remote, flow, .. } = *last;
        let here = Origin { local, transport, remote, flow };
        let contacts = self.registrar.contacts(trunk);
        let stays = contacts.iter().any(|contact| contact.origin == here);
        match contacts.first().filter(|_| !stays) {
            Some(contact) => contact.origin.target(),
            None => Target { name: None, ..last.clone() },
        }
    }

    /// The trunk that a leg leads to, where that has registered with us.
    pub(super) fn registered_leg(&self, owner: Owner) -> Option<&str> {
        let (key, leg) = call_of(owner)?;
        self.slots.call(key)?.registered(usize::from(leg))
    }
}

impl Keeping {
    fn next(&self) -> Option<Instant> {
        let due = self.due?;
        Some(self.written.map_or(due, |written| due.max(written + GRAIN)))
    }
}

/// A contact in a log line: a telephone has its number in it.
pub(super) fn shown(uri: &[u8], hidden: bool) -> String {
    let user = Uri::parse(uri).ok().and_then(|uri| Some(uri.user_text()?.into_owned()));
    let host = host(uri);
    match user.map(|user| String::from_utf8_lossy(&user).into_owned()) {
        Some(user) => format!("{}@{host}", Masked::new(&user, hidden)),
        None => host,
    }
}

/// Between two writings.
const GRAIN: Duration = Duration::from_secs(1);
