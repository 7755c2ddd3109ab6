//! The signalling core: everything that decides, nothing that waits.
//!
//! It owns the endpoint, the locator, all calls, the health of the proxies and the book of media ports. Inputs carry
//! the time; after each, its owner drains [`Core::poll_output`] and reads [`Core::poll_timeout`]. No socket, no clock,
//! no file, no task.

mod admit;
mod authenticate;
mod callback;
mod challenges;
mod delivery;
mod door;
mod flows;
mod health;
mod help;
mod inbound;
mod inputs;
pub mod kin;
mod large;
mod pairs;
mod probe;
mod register;
mod registered;
mod registrar;
mod reload;
mod restore;
mod slots;
mod stray;
mod takeover;
mod trace;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use config::Secret;
use media_relay::{Command, Ports};
use sip_stack::endpoint::{self, Endpoint, Origin, Owner, SendId, ServerId, Settings};
use sip_stack::leg;
use sip_stack::locate::{self, Kind, Locator, LookupId, QueryId};
use sip_stack::message::Message;
use sip_stack::transport::{FlowId, Source, Target};

pub use self::callback::Callback;
pub use self::help::HelpCall;
pub use self::restore::Restored;

use self::callback::Callbacks;
use self::challenges::Challenges;
use self::delivery::Delivery;
use self::door::Door;
use self::flows::Flows;
pub use self::flows::{Opened, Retired};
use self::health::Health;
use self::kin::{Kin, Kindred};
use self::pairs::Pairs;
use self::registered::Keeping;
use self::reload::Departed;
pub use self::reload::Renewal;
use self::slots::Slots;
use self::stray::Strays;
use self::trace::Traces;
use crate::admission::{Admission, Spent};
use crate::authentication::Gate;
use crate::call::media_plan::Owned;
use crate::call::{Call, CallKey, Pools};
use crate::event::Event;
use crate::failure::Cause;
use crate::journal::Entry;
use crate::logging::{Burst, Flood};
use crate::random::Random;
use crate::registrar::{Kept, Registrar};
use crate::registration::{RegistrationId, Registrations};
use crate::routing::Routes;

/// What a core is born with.
pub struct CoreConfig {
    /// The configuration with its look-up tables.
    pub routes: Arc<Routes>,
    /// Random source.
    pub random: Random,
    /// All media ports.
    pub ports: Ports,
    /// This start of the process; grows with every start.
    pub node_epoch: u32,
    /// The key under which our identifiers show who made them; the same in every process of a state directory.
    pub mask: [u8; 32],
    /// The time of day at birth; later times are counted from it.
    pub wall: SystemTime,
}

/// What shall happen outside.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Send {
        /// For [`Core::handle_send_failed`].
        id: SendId,
        /// Where to.
        target: Target,
        /// The message.
        bytes: Bytes,
    },
    /// Ask a resolver.
    Query {
        /// For [`Core::handle_answer`].
        id: QueryId,
        /// The name.
        name: Arc<str>,
        /// The kind of record.
        kind: Kind,
    },
    /// Tell a shard of the relay. [`Command::Kept`] only if what was to be kept before it is written.
    Media {
        /// Which shard.
        shard: u8,
        /// What to do.
        command: Command,
    },
    /// Let nothing new leave on this connection; what names it still goes.
    Retire(FlowId),
    /// Close this connection after what waits on it has left.
    Close(FlowId),
    /// Hand a message to the process it belongs to.
    Hand {
        /// Which.
        to: Kin,
        /// Where it came from.
        source: Source,
        /// The message.
        raw: Bytes,
    },
    /// Keep this: never lost, and before anything that comes with it is sent.
    Journal(Entry),
    /// Keep these in place of those before: who may be called back after a call for help.
    Callbacks(Vec<Callback>),
    /// A call for help is to be told to the webhook.
    Help {
        /// Where it is told.
        url: config::Secret,
        /// The call.
        call: Box<HelpCall>,
    },
    /// Keep these in place of those before: what is registered with us.
    Registered(Vec<Kept>),
    /// May be dropped.
    Event(Event),
}

/// What there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Calls, also those still ringing.
    pub calls: usize,
    /// Client and server transactions.
    pub transactions: usize,
    /// Media port pairs that are free.
    pub free_port_pairs: usize,
    /// Stream connections.
    pub connections: usize,
    /// Of these, connections that go out of use.
    pub retiring_connections: usize,
}

/// The signalling core.
pub struct Core {
    routes: Arc<Routes>,
    owned: Owned,
    pools: Pools,
    random: Random,
    ports: Ports,
    birth: (Instant, SystemTime),
    endpoint: Endpoint,
    locator: Locator,
    admission: Admission,
    callbacks: Callbacks,
    help_lines: Burst,
    pairs: Pairs,
    health: Health,
    delivery: Delivery,
    challenges: Challenges,
    registrations: Registrations,
    registrar: Registrar,
    keeping: Keeping,
    /// REGISTERs that are refused.
    refusing_registers: Flood,
    /// A password that nobody has.
    nobody: Secret,
    gate: Gate,
    unauthentic: Flood,
    door: Door,
    traces: Traces,
    departed: Departed,
    strays: Strays,
    slots: Slots,
    /// Dialogs by our tag.
    dialogs: HashMap<Bytes, (CallKey, u8)>,
    flows: Flows,
    kindred: Kindred,
    lookups: HashMap<LookupId, Asker>,
    last_lookup: u64,
    /// What must be kept of a new call can be kept.
    recordable: bool,
    outputs: VecDeque<Output>,
    /// The request that is being looked at: it has an answer even if that fails.
    serving: Option<ServerId>,
    /// A call that shall fail the next so many times that it works, and whether before it has done so.
    #[cfg(test)]
    fault: Option<(CallKey, u8, slots::Fault)>,
    /// A place where the next so many passages shall fail.
    #[cfg(test)]
    trap: Option<(inputs::Trap, u8)>,
}

/// Who asked for a look-up.
#[derive(Debug)]
enum Asker {
    /// A call, for its next hop, by the search of that number.
    Call(CallKey, u32),
    /// A request inside a dialog that has no connection any more.
    Delivery(Box<delivery::Parked>),
    /// The health of a place.
    Health(health::PlaceId),
    /// A registration.
    Registration(RegistrationId),
}

impl Core {
    /// A core with no calls.
    pub fn new(config: CoreConfig, now: Instant) -> Self {
        let CoreConfig { routes, mut random, ports, node_epoch, mask, wall } = config;
        let own = Origin {
            node: node_number(&routes.config().gateway.node),
            shard: 0,
            epoch: node_epoch,
        };
        let Origin { node, shard, epoch } = own;
        let settings = Settings { node, shard, epoch, mask, ..Settings::default() };
        let hosts = routes.config().dns.hosts.clone().into_iter().collect();
        let mut locator = Locator::new(hosts, random.bytes());
        locator.set_own(listeners(&routes));
        let mut core = Self {
            owned: Owned::new(routes.config()),
            pools: Pools::new(routes.config()),
            endpoint: Endpoint::new(settings, random.bytes()),
            locator,
            ports,
            birth: (now, wall),
            admission: Admission::default(),
            callbacks: Callbacks::default(),
            help_lines: Burst::default(),
            pairs: Pairs::default(),
            health: Health::new(&routes, now, &mut random),
            delivery: Delivery::default(),
            challenges: Challenges::default(),
            registrations: Registrations::default(),
            registrar: Registrar::new(&mask),
            keeping: Keeping::default(),
            refusing_registers: Flood::default(),
            nobody: Secret::of(&hex(&random.bytes::<16>())),
            gate: Gate::new(&mask, wall),
            unauthentic: Flood::default(),
            door: Door::default(),
            traces: Traces::default(),
            departed: Departed::default(),
            strays: Strays::default(),
            slots: Slots::default(),
            dialogs: HashMap::new(),
            flows: Flows::default(),
            kindred: Kindred::new(own),
            lookups: HashMap::new(),
            last_lookup: 0,
            recordable: true,
            outputs: VecDeque::new(),
            serving: None,
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            trap: None,
            random,
            routes,
        };
        core.set_wall(now, wall);
        core.renew_registrations(now);
        core.renew_registrar(now);
        core
    }

    /// When [`Core::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.endpoint.poll_timeout(),
            self.locator.poll_timeout(),
            self.slots.poll_timeout(),
            self.health.poll_timeout(),
            self.flows.poll_timeout(),
            self.registrations.poll_timeout(),
            self.registrar_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The configuration by which new calls are made.
    pub const fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Whether what must be kept of a new call can be kept; while not, new calls are refused.
    pub const fn set_recordable(&mut self, recordable: bool) {
        self.recordable = recordable;
    }

    /// Takes in who may be called back, as another process has kept it.
    pub fn learn_callbacks(&mut self, kept: Vec<Callback>, now: Instant) {
        let wall = self.wall(now);
        self.callbacks.learn(kept, wall);
    }

    /// How long the calls of each end with such a limit have lasted today, those that go on aside: to be kept.
    pub fn spent(&self) -> Vec<Spent> {
        self.admission.spent(&self.routes)
    }

    /// Takes in what other processes have kept of that, all of it.
    pub fn learn_spent(&mut self, spent: &[Spent], now: Instant) {
        self.admission.learn_spent(&self.routes, spent, now);
    }

    /// Who may be called back, to be kept.
    pub fn callbacks(&self) -> Vec<Callback> {
        self.callbacks.all()
    }

    /// Takes no new calls from now on, and takes back what it has registered.
    pub fn drain(&mut self, now: Instant) {
        self.admission.drain();
        self.registrations.leave_all(now);
        self.serve_registrations(now);
        self.settle_guarded(now);
    }

    /// The music of the configuration can be heard from now on, in the calls that are up as well.
    pub fn handle_music(&mut self, now: Instant) {
        for key in self.slots.keys() {
            self.with_call(key, now, Call::handle_music);
        }
        self.settle_guarded(now);
    }

    /// Ends every call.
    pub fn end_all(&mut self, now: Instant) {
        for key in self.slots.keys() {
            self.with_call(key, now, |call, cx| call.end(Cause::Draining, cx));
        }
        self.settle_guarded(now);
    }

    /// The process ends: calls that are over have their records written without waiting for the relay's figures.
    pub fn close(&mut self, now: Instant) {
        for key in self.slots.keys() {
            self.with_call(key, now, |call, _| call.forgo_figures());
        }
    }

    /// The time of day now; told again and again, since clocks are set and hosts sleep.
    pub fn set_wall(&mut self, now: Instant, wall: SystemTime) {
        self.birth = (now, wall);
        self.admission.set_clock(now, wall);
    }

    /// How many calls are not over.
    pub fn calls(&self) -> usize {
        self.slots.live()
    }

    /// How many calls there are with those that are over and only finish what they owe: a BYE to be answered, an ACK; and
    /// how many registrations are being taken back.
    pub fn unfinished(&self) -> usize {
        self.slots.all() + self.registrations.leaving()
    }

    /// Whether calls can be made: records can be kept, not draining, and where there is an edge, a proxy that is not known to be down.
    pub fn is_able(&self) -> bool {
        self.recordable && !self.admission.is_draining() && self.health.is_able()
    }

    /// What there is now.
    pub fn gauges(&self) -> Gauges {
        let (clients, servers) = self.endpoint.transactions();
        let pools = self.pools.ids();
        Gauges {
            calls: self.calls(),
            transactions: clients + servers,
            free_port_pairs: pools
                .map(|id| self.ports.capacity(id))
                .map(|c| (c.warm - c.reserved) as usize)
                .sum(),
            connections: self.flows.len(),
            retiring_connections: self.flows.retiring(),
        }
    }

    fn wall(&self, now: Instant) -> SystemTime {
        self.birth.1 + now.saturating_duration_since(self.birth.0)
    }

    /// Passes on what endpoint and locator have to say, until both are silent.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.endpoint.poll_output() {
                self.on_endpoint(output, now);
            } else if let Some(output) = self.locator.poll_output() {
                self.on_locator(output, now);
            } else {
                return;
            }
        }
    }

    fn on_endpoint(&mut self, output: endpoint::Output, now: Instant) {
        match output {
            endpoint::Output::Send { id, target, bytes } => {
                self.outputs.push_back(Output::Send { id, target, bytes });
            }
            endpoint::Output::Request { server, source, message } => {
                self.serving = Some(server);
                self.on_request(server, &source, &message, now);
                self.serving = None;
            }
            endpoint::Output::Cancelled { owner, message, .. } => {
                if let Some((key, leg)) = owner.and_then(call_of) {
                    self.with_call(key, now, |call, cx| {
                        call.handle_cancelled(usize::from(leg), &message, cx);
                    });
                }
            }
            endpoint::Output::Ack { source, message } => {
                if let Some((key, leg)) = self.dialog_of(&source, &message) {
                    self.with_call(key, now, |call, cx| {
                        call.handle_ack(usize::from(leg), &source, &message, cx);
                    });
                }
            }
            endpoint::Output::Response { owner, token, source, message, .. } => {
                self.delivery.delivered(owner, token);
                if self.answer_challenge(owner, token, &source, &message, now) {
                    return;
                }
                self.learn(owner, &source, &message, now);
                match call_of(owner) {
                    Some((key, leg)) => self.with_call(key, now, |call, cx| {
                        let token = leg::Token(token);
                        call.handle_response(usize::from(leg), token, &source, &message, cx);
                    }),
                    None => match registration_of(owner) {
                        Some(id) => self.registration_answered(id, token, &message, now),
                        None => self.probe_answered(owner, token, &message, now),
                    },
                }
            }
            endpoint::Output::Stray { source, message } => {
                self.hang_up_stray(&source, &message, now)
            }
            endpoint::Output::Failed { owner, token, why, .. } => {
                let Some((key, leg)) = call_of(owner) else {
                    self.challenges.settle(owner, token);
                    self.delivery.delivered(owner, token);
                    return match registration_of(owner) {
                        Some(id) => self.registration_failed(id, token, why, now),
                        None => self.probe_failed(owner, token, why, now),
                    };
                };
                if why == endpoint::Failure::Transport
                    && (self.by_datagram(owner, token, now) || self.redeliver(owner, token, now))
                {
                    return;
                }
                self.challenges.settle(owner, token);
                self.delivery.delivered(owner, token);
                let why = match why {
                    endpoint::Failure::Timeout => leg::Failure::Timeout,
                    endpoint::Failure::Transport => leg::Failure::Transport,
                };
                self.with_call(key, now, |call, cx| {
                    call.handle_failed(usize::from(leg), leg::Token(token), why, cx);
                });
            }
        }
    }

    fn on_locator(&mut self, output: locate::Output, now: Instant) {
        match output {
            locate::Output::Query { id, name, kind } => {
                self.outputs.push_back(Output::Query { id, name, kind });
            }
            locate::Output::Located { id, result } => {
                if let Some(asker) = self.lookups.remove(&id) {
                    self.located(asker, result, now);
                }
            }
        }
    }

    fn locate(&mut self, asker: Asker, destination: locate::Destination, now: Instant) {
        self.last_lookup += 1;
        let id = LookupId(self.last_lookup);
        match self.locator.locate(id, destination, now) {
            Some(result) => self.located(asker, result, now),
            None => {
                self.lookups.insert(id, asker);
            }
        }
    }

    fn located(&mut self, asker: Asker, result: locate::Located, now: Instant) {
        match asker {
            Asker::Call(key, search) => {
                self.with_call(key, now, |call, cx| call.located(search, result, cx));
            }
            Asker::Delivery(parked) => self.deliver_located(*parked, result, now),
            Asker::Health(place) => self.probe_located(place, result, now),
            Asker::Registration(id) => self.registration_located(id, result, now),
        }
    }

    /// The leg whose dialog a request belongs to, if it may come from there.
    fn dialog_of(&self, source: &Source, message: &Message) -> Option<(CallKey, u8)> {
        let (key, leg) = self.dialogs.get(message.to_tag()?).copied()?;
        let call = self.slots.call(key)?;
        call.admits(usize::from(leg), source).then_some((key, leg))
    }

    /// An in-dialog request for the leg that has its dialog; 481 when there is none.
    fn on_dialog_request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        now: Instant,
    ) {
        let Some((key, leg)) = self.dialog_of(source, message) else {
            return self.refuse(server, message, 481, &[], now);
        };
        self.endpoint.adopt(server, owner(key, leg));
        self.with_call(key, now, |call, cx| {
            call.handle_request(usize::from(leg), server, source, message, cx);
        });
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

/// The owner of a leg's transactions. The top bits mark those of a place's health and of registrations.
const fn owner(key: CallKey, leg: u8) -> Owner {
    Owner(key.0 << 8 | leg as u64)
}

fn call_of(owner: Owner) -> Option<(CallKey, u8)> {
    let ours = owner.0 & (HEALTH | REGISTRATION) == 0;
    ours.then_some((CallKey(owner.0 >> 8), (owner.0 & 0xff) as u8))
}

/// The registration that a transaction belongs to.
fn registration_of(owner: Owner) -> Option<RegistrationId> {
    let ours = owner.0 & (HEALTH | REGISTRATION) == REGISTRATION;
    ours.then_some(RegistrationId(owner.0 & !REGISTRATION))
}

/// The node's number in our identifiers: a hash of its name (FNV-1a), since names are what operators give.
fn node_number(name: &str) -> u8 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 8) ^ (hash >> 16) ^ (hash >> 24)) as u8
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listeners(routes: &Routes) -> Vec<std::net::SocketAddr> {
    let config = routes.config();
    let edges = config.edges.iter().map(|edge| edge.listen);
    let realms = config.realms.iter().flat_map(|realm| &realm.listen).map(|l| l.address);
    edges.chain(realms).collect()
}

const HEALTH: u64 = 1 << 63;
const REGISTRATION: u64 = 1 << 62;
/// How long a call that is over may keep a slot while its legs finish.
const LONGEST_FAREWELL: Duration = Duration::from_secs(64);

#[cfg(test)]
mod tests;
