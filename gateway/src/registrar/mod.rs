//! Trunks that register with us (RFC 3261 §10.3): who may, and where they can be reached. A pure machine; `core/registrar.rs`
//! has it on the wire.
//!
//! ```text
//! contact in a REGISTER that was proven      | known                              | not known
//! --------------------------------------------+------------------------------------+--------------------------
//! Call-ID as before, CSeq not higher          | the whole request is refused       | -
//! no time                                     | removed                            | nothing
//! less time than the least, and than an hour  | the whole request is refused (423) | the same
//! else                                        | lasts anew, from where it came now | added; the oldest of too
//!                                             |                                    | many makes room
//! ```
//!
//! A trunk is reached where its REGISTER came from, whatever its contact says: the very connection (RFC 5626 §5.3), or the
//! address and port that a NAT has given it (RFC 3581). Whoever speaks from there is the trunk, and nobody else is: two
//! trunks never have the same place. A binding whose connection has died is gone.
//!
//! As large as the configuration: of each trunk at most `max_contacts`. Kept by name of the trunk, so that a reload leaves
//! those of trunks that remain.

mod kept;
mod wish;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::Login;
use ipnet::IpNet;
use sip_stack::locate::Address;
use sip_stack::transport::{FlowId, LocalId, Source, Target, Transport};

pub use self::kept::Kept;
use self::kept::Seal;
pub use self::wish::{Contact, Wish, host, with_user};
use crate::locals;
use crate::profile::trunk::from_config;
use crate::routing::{RealmId, Routes, TrunkId};

/// Where something comes from, and goes to: on a stream one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The identity of ours.
    pub local: LocalId,
    /// The transport.
    pub transport: Transport,
    /// The peer's address, as we see it.
    pub remote: SocketAddr,
    /// The connection.
    pub flow: Option<FlowId>,
}

/// A contact that is registered.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Name of the trunk.
    pub trunk: String,
    /// The contact, a URI.
    pub uri: Bytes,
    /// Where it is reached.
    pub origin: Origin,
    /// Its preference, in thousandths.
    pub q: u16,
    call_id: Bytes,
    cseq: u32,
    until: Instant,
}

/// Why nothing was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A request that came before it says otherwise.
    Overtaken,
    /// It asks for less than this.
    TooBrief(Duration),
    /// It names more contacts than it may have.
    TooMany,
    /// Not from there, or not by this transport.
    Elsewhere,
    /// Another trunk is known by the address that it comes from.
    Taken,
}

/// What has become of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the trunk.
    pub trunk: String,
    /// The contact.
    pub uri: Bytes,
    /// Where it is, or was, reached.
    pub origin: Origin,
    /// What happened.
    pub what: What,
}

/// What happens to contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Registered,
    /// It lasts anew.
    Refreshed,
    /// It lasts anew, and is reached elsewhere.
    Moved,
    /// It was taken back.
    Removed,
    /// A newer one has its place.
    Replaced,
    /// Its time is over.
    Expired,
    /// Its connection is gone.
    Disconnected,
    /// The configuration has it no more.
    Dropped,
}

/// All that is registered, and who may register.
#[derive(Debug, Default)]
pub struct Registrar {
    /// By name of the trunk.
    accounts: HashMap<String, Account>,
    /// Names of trunks by username.
    users: HashMap<(LocalId, String), String>,
    doors: HashMap<LocalId, Door>,
    /// The higher the newer.
    bindings: BTreeMap<u64, Binding>,
    /// Those of each trunk.
    held: HashMap<String, BTreeSet<u64>>,
    /// Whose a place is, and how many of its contacts are there.
    origins: HashMap<Origin, (String, usize)>,
    /// Those on each connection.
    flows: HashMap<FlowId, BTreeSet<u64>>,
    timers: BTreeSet<(Instant, u64)>,
    last: u64,
    seal: Seal,
}

/// A trunk that may register.
#[derive(Clone, Debug)]
struct Account {
    trunk: TrunkId,
    local: LocalId,
    rules: config::Registrar,
    login: Login,
}

/// What all who register with a realm have in common.
#[derive(Debug)]
struct Door {
    /// The realm that challenges name.
    realm: String,
    transports: BTreeSet<Transport>,
    /// From where; empty: from anywhere.
    networks: Vec<IpNet>,
}

impl Registrar {
    /// Nobody may register yet. `secret` is the same in every process of a state directory.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { seal: Seal::new(secret), ..Self::default() }
    }

    /// Another configuration: contacts stay whose trunk may have them still.
    pub fn replace(&mut self, routes: &Routes) -> Vec<Change> {
        let before = std::mem::take(&mut self.accounts);
        (self.users, self.doors) = (HashMap::new(), HashMap::new());
        let config = routes.config();
        for (index, trunk) in config.trunks.iter().enumerate() {
            let (Some(rules), Some(login)) = (&trunk.registrar, &trunk.authenticate) else {
                continue;
            };
            let local = locals::of_realm(config, RealmId(trunk.realm));
            self.users.insert((local, login.username.clone()), trunk.name.clone());
            self.open(local, rules, login);
            let (rules, login) = (rules.clone(), login.clone());
            let account = Account { trunk: TrunkId(index), local, rules, login };
            self.accounts.insert(trunk.name.clone(), account);
        }
        let stays = |binding: &Binding| {
            let (old, new) = (before.get(&binding.trunk), self.accounts.get(&binding.trunk));
            let (Some(old), Some(new)) = (old, new) else { return false };
            (old.local, &old.login, &old.rules.user) == (new.local, &new.login, &new.rules.user)
                && new.lets_in(&binding.origin)
        };
        let gone: Vec<u64> =
            self.bindings.iter().filter(|(_, b)| !stays(b)).map(|(id, _)| *id).collect();
        gone.into_iter().filter_map(|id| self.remove(id, What::Dropped)).collect()
    }

    fn open(&mut self, local: LocalId, rules: &config::Registrar, login: &Login) {
        let transports = rules.transports.iter().map(|transport| from_config(*transport));
        match self.doors.get_mut(&local) {
            None => {
                let door = Door {
                    realm: login.realm.clone(),
                    transports: transports.collect(),
                    networks: rules.networks.clone(),
                };
                self.doors.insert(local, door);
            }
            Some(door) => {
                door.transports.extend(transports);
                match door.networks.is_empty() || rules.networks.is_empty() {
                    true => door.networks = Vec::new(),
                    false => door.networks.extend_from_slice(&rules.networks),
                }
            }
        }
    }

    /// Whether a REGISTER from there is read.
    pub fn opens(&self, source: &Source) -> bool {
        let door = self.doors.get(&source.local);
        door.is_some_and(|door| {
            door.transports.contains(&source.transport) && is_in(&door.networks, source.remote.ip())
        })
    }

    /// Whether one may come from that address by whatever transport.
    pub fn expects(&self, local: LocalId, address: IpAddr) -> bool {
        self.doors.get(&local).is_some_and(|door| is_in(&door.networks, address))
    }

    /// The realm of the challenge.
    pub fn realm(&self, local: LocalId) -> Option<&str> {
        self.doors.get(&local).map(|door| door.realm.as_str())
    }

    /// Whose a username is, and what it has to prove.
    pub fn user(&self, local: LocalId, username: &str) -> Option<(&str, &Login)> {
        let name = self.users.get(&(local, username.to_owned()))?;
        let account = self.accounts.get(name)?;
        Some((name, &account.login))
    }

    /// The user of the address that a trunk registers.
    pub fn address_of(&self, trunk: &str) -> Option<&str> {
        self.accounts.get(trunk).map(|account| account.rules.user.as_str())
    }

    /// The position of a trunk that may register.
    pub fn position(&self, trunk: &str) -> Option<TrunkId> {
        self.accounts.get(trunk).map(|account| account.trunk)
    }

    /// All trunks that may register.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(String::as_str)
    }

    /// The trunk that is registered from exactly there.
    pub fn trunk_at(&self, source: &Source) -> Option<TrunkId> {
        let (name, _) = self.origins.get(&Origin::of(source))?;
        self.position(name)
    }

    /// Serves a REGISTER of that trunk, which was proven to be its own.
    ///
    /// # Errors
    /// When nothing is changed by it.
    pub fn register(
        &mut self,
        trunk: &str,
        source: &Source,
        (call_id, cseq): (&[u8], u32),
        wish: &Wish,
        now: Instant,
    ) -> Result<Vec<Change>, Refused> {
        let origin = Origin::of(source);
        let account = self.accounts.get(trunk).ok_or(Refused::Elsewhere)?;
        if !account.lets_in(&origin) {
            return Err(Refused::Elsewhere);
        }
        if self.origins.get(&origin).is_some_and(|(holder, _)| holder != trunk) {
            return Err(Refused::Taken);
        }
        let overtakes = |id: &u64| {
            let known = &self.bindings[id];
            known.call_id != call_id || cseq > known.cseq
        };
        match wish {
            Wish::Query => Ok(Vec::new()),
            Wish::RemoveAll => {
                let all: Vec<u64> = self.of(trunk).map(|(id, _)| *id).collect();
                if !all.iter().all(overtakes) {
                    return Err(Refused::Overtaken);
                }
                Ok(all.into_iter().filter_map(|id| self.remove(id, What::Removed)).collect())
            }
            Wish::Set(contacts) => {
                let rules = &account.rules;
                let longest = rules.max_expires;
                let mut asks = Vec::new();
                for contact in contacts {
                    asks.push((contact, self.find(trunk, &contact.uri), time(contact, longest)));
                }
                if asks.iter().any(|(_, known, _)| !known.iter().all(overtakes)) {
                    return Err(Refused::Overtaken);
                }
                let brief =
                    |time: &Duration| !time.is_zero() && *time < rules.min_expires && *time < HOUR;
                if asks.iter().any(|(_, _, time)| brief(time)) {
                    return Err(Refused::TooBrief(rules.min_expires));
                }
                let most = usize::from(rules.max_contacts);
                if asks.iter().filter(|(_, _, time)| !time.is_zero()).count() > most {
                    return Err(Refused::TooMany);
                }
                let place = (origin, call_id, cseq);
                let mut changes = Vec::new();
                for (contact, known, time) in asks {
                    if time.is_zero() {
                        changes.extend(known.and_then(|id| self.remove(id, What::Removed)));
                    } else {
                        let until = now + time.min(longest);
                        changes.push(self.bind(trunk, contact, known, place, until));
                    }
                }
                while self.of(trunk).count() > most {
                    let oldest = self.of(trunk).map(|(id, _)| *id).next();
                    changes.extend(oldest.and_then(|id| self.remove(id, What::Replaced)));
                }
                Ok(changes)
            }
        }
    }

    /// Adds a contact, or has it last anew.
    fn bind(
        &mut self,
        trunk: &str,
        contact: &Contact,
        known: Option<u64>,
        (origin, call_id, cseq): (Origin, &[u8], u32),
        until: Instant,
    ) -> Change {
        let before = known.and_then(|id| self.remove(id, What::Refreshed));
        let what = match &before {
            None => What::Registered,
            Some(before) if before.origin == origin => What::Refreshed,
            Some(_) => What::Moved,
        };
        // Copies of their own: what came must not live as long as this.
        let binding = Binding {
            trunk: trunk.to_owned(),
            uri: contact.uri.clone(),
            origin,
            q: contact.q,
            call_id: Bytes::copy_from_slice(call_id),
            cseq,
            until,
        };
        self.insert(binding);
        Change { trunk: trunk.to_owned(), uri: contact.uri.clone(), origin, what }
    }

    /// The contacts of a trunk in the order in which they are tried: by preference, the newest of equals first.
    pub fn contacts(&self, trunk: &str) -> Vec<&Binding> {
        let mut contacts: Vec<_> = self.of(trunk).collect();
        contacts.sort_by_key(|(id, binding)| std::cmp::Reverse((binding.q, **id)));
        contacts.into_iter().map(|(_, binding)| binding).collect()
    }

    /// The contact of a trunk that is reached there: the one of that name, else what is there by now.
    pub fn contact_at(&self, trunk: &str, address: &Address) -> Option<&Binding> {
        let mut there = self.contacts(trunk);
        there
            .retain(|b| (b.origin.transport, b.origin.remote) == (address.transport, address.addr));
        let named = there.iter().find(|b| String::from_utf8_lossy(&b.uri) == *address.name);
        named.or(there.first()).copied()
    }

    /// Whether something leans on that connection.
    pub fn leans_on(&self, flow: FlowId) -> bool {
        self.flows.contains_key(&flow)
    }

    /// A connection is gone, and with it what was reached on it.
    pub fn closed(&mut self, flow: FlowId) -> Vec<Change> {
        let gone = self.flows.remove(&flow).unwrap_or_default();
        gone.into_iter().filter_map(|id| self.remove(id, What::Disconnected)).collect()
    }

    /// When [`Registrar::expired`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(until, _)| *until)
    }

    /// The contacts whose time is over.
    pub fn expired(&mut self, now: Instant) -> Vec<Change> {
        let mut gone = Vec::new();
        while let Some((_, id)) = self.timers.first().copied().filter(|(until, _)| *until <= now) {
            gone.extend(self.remove(id, What::Expired));
        }
        gone
    }

    fn of(&self, trunk: &str) -> impl Iterator<Item = (&u64, &Binding)> {
        let held = self.held.get(trunk).into_iter().flatten();
        held.filter_map(|id| Some((id, self.bindings.get(id)?)))
    }

    fn find(&self, trunk: &str, uri: &[u8]) -> Option<u64> {
        let mut all = self.of(trunk);
        all.find(|(_, binding)| wish::is_same(&binding.uri, uri)).map(|(id, _)| *id)
    }

    fn insert(&mut self, binding: Binding) {
        self.last += 1;
        self.timers.insert((binding.until, self.last));
        let place = self.origins.entry(binding.origin);
        place.or_insert_with(|| (binding.trunk.clone(), 0)).1 += 1;
        self.held.entry(binding.trunk.clone()).or_default().insert(self.last);
        if let Some(flow) = binding.origin.flow {
            self.flows.entry(flow).or_default().insert(self.last);
        }
        self.bindings.insert(self.last, binding);
    }

    fn remove(&mut self, id: u64, what: What) -> Option<Change> {
        let Binding { trunk, uri, origin, until, .. } = self.bindings.remove(&id)?;
        self.timers.remove(&(until, id));
        take_out(&mut self.held, &trunk, id);
        origin.flow.iter().for_each(|flow| take_out(&mut self.flows, flow, id));
        if let Some((_, contacts)) = self.origins.get_mut(&origin) {
            *contacts -= 1;
            if *contacts == 0 {
                self.origins.remove(&origin);
            }
        }
        Some(Change { trunk, uri, origin, what })
    }
}

impl Account {
    fn lets_in(&self, origin: &Origin) -> bool {
        let by = self.rules.transports.iter().any(|own| from_config(*own) == origin.transport);
        by && self.local == origin.local && is_in(&self.rules.networks, origin.remote.ip())
    }
}

impl Origin {
    /// Where that came from.
    pub const fn of(source: &Source) -> Self {
        let Source { transport, local, remote, flow, .. } = *source;
        Self { local, transport, remote, flow }
    }

    /// The way there.
    pub const fn target(&self) -> Target {
        let Self { local, transport, remote, flow } = *self;
        Target { transport, local, remote, name: None, flow }
    }
}

impl Binding {
    /// How long it still lasts.
    pub fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}

impl What {
    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Refreshed => "refreshed",
            Self::Moved => "moved",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Disconnected => "disconnected",
            Self::Dropped => "dropped",
        }
    }
}

fn take_out<K: Eq + Hash>(sets: &mut HashMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&id);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// For how long a contact is asked for; what says nothing gets what is usual (RFC 3261 §10.2.1.1), as far as it may be.
fn time(contact: &Contact, longest: Duration) -> Duration {
    let asked = contact.expires.map(|seconds| Duration::from_secs(seconds.into()));
    asked.unwrap_or_else(|| HOUR.min(longest))
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&address))
}

const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
