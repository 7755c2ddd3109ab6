//! The endpoint: all transactions of one signalling core, and what lies between them and the
//! transports (RFC 3261 §17 and §18, RFC 3581, RFC 6026).
//!
//! Messages come in, are matched to a transaction or begin one, and reach the user at most once;
//! requests and responses of the user go out and are repeated until they are answered. The machines
//! in [`crate::transaction`] decide, the endpoint carries out. After each `handle_*` or command the
//! owner drains [`Endpoint::poll_output`] and reads [`Endpoint::poll_timeout`].
//!
//! A user of a client transaction sees provisional responses, then exactly one end: a final response
//! or [`Output::Failed`]. Only a 2xx to INVITE may come again. A request is delivered once; ACK for
//! a final response other than 2xx, repeats and CANCEL are dealt with here. An INVITE is answered 100
//! at once.
//!
//! Bounded: above [`Limits::server_transactions`] a new request gets a stateless 503 with Retry-After
//! (RFC 3261 §8.2.7); requests inside dialogs have a reserve above that. Every transaction ends by a
//! timer. Output is as large as what one input causes.
//!
//! Deliberately absent: merged-request detection (§8.2.2.2), `maddr`, the switch from UDP
//! to TCP for large requests (§18.1.1, the choice of whoever locates the target), and sockets, clock
//! and randomness of its own.

mod cancel;
mod client;
mod digest;
mod identifier;
mod key;
mod replies;
mod route;
mod server;
mod stateless;
mod timer_queue;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod pair;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::{Draft, HeaderId, Message, ParseError, Via};
use crate::own_map::OwnMap;
use crate::transaction::Timing;
use crate::transport::{Source, Target};

pub use identifier::Origin;
pub use stateless::Shed;

use client::{Branch, Client};
use identifier::Identifiers;
use replies::Replies;
use server::Server;
use timer_queue::TimerQueue;

/// Who uses a transaction: a call, a probe, anything that may fail as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u64);

/// A client transaction; never reused within an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// A server transaction; never reused within an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u64);

/// What a driver names when a send failed. All sends of one transaction share theirs; every other send
/// has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendId(pub u64);

/// What an endpoint is told at birth.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// This node of the cluster.
    pub node: u8,
    /// This shard of signalling in the process.
    pub shard: u8,
    /// This start of the process: grows with every start.
    pub epoch: u32,
    /// The key under which node, shard and epoch stand in branches, tags and Call-IDs; the same in
    /// all processes that shall read them.
    pub mask: [u8; 32],
    /// The base values of the timers.
    pub timing: Timing,
    /// What bounds the endpoint.
    pub limits: Limits,
}

/// What bounds the endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Server transactions, finished ones that absorb repeats included, above which requests outside
    /// dialogs are refused. 2,500 calls a second over UDP keep about 240,000.
    pub server_transactions: usize,
    /// How many more there may be for requests inside dialogs (with a To tag).
    pub in_dialog_reserve: usize,
    /// The Retry-After of such a refusal, in seconds.
    pub retry_after: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { server_transactions: 300_000, in_dialog_reserve: 100_000, retry_after: 2 }
    }
}

/// A request to be sent in a client transaction.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request, any method but ACK and CANCEL, without a Via of ours.
    pub draft: Draft,
    /// Where it goes.
    pub target: Target,
    /// `host[:port]` for our Via.
    pub sent_by: Bytes,
    /// How long to wait for a first (INVITE) or final (other) response, in place of Timer B or F.
    pub timeout: Option<Duration>,
}

/// Why a client transaction ended without a final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No response came in time: Timer B or F, or 64 × T1 after a CANCEL.
    Timeout,
    /// The request could not be sent.
    Transport,
}

/// What shall happen outside the endpoint.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these bytes.
    Send {
        /// For [`Endpoint::handle_send_failed`].
        id: SendId,
        /// Where to.
        target: Target,
        /// The message.
        bytes: Bytes,
    },
    /// A request came, for the first time. Never ACK or CANCEL.
    Request {
        /// To answer it with [`Endpoint::respond`].
        server: ServerId,
        /// Where it came from.
        source: Source,
        /// The request.
        message: Message,
    },
    /// The peer gave up an INVITE that has no final response. The CANCEL has been answered; the owner
    /// of the INVITE answers it 487.
    Cancelled {
        /// The INVITE.
        server: ServerId,
        /// Who adopted the INVITE.
        owner: Option<Owner>,
        /// The CANCEL.
        message: Message,
    },
    /// An ACK for a 2xx, or one that no transaction knows.
    Ack {
        /// Where it came from.
        source: Source,
        /// The ACK.
        message: Message,
    },
    /// A response, provisional or final. A 2xx to INVITE may come again (RFC 6026).
    Response {
        /// The transaction.
        client: ClientId,
        /// Its owner.
        owner: Owner,
        /// The owner's own mark.
        token: u32,
        /// Where it came from.
        source: Source,
        /// The response.
        message: Message,
    },
    /// A 2xx to an INVITE of ours that nobody waits for: its transaction has ended, or its owner is
    /// gone. It makes a dialog at the peer all the same, which is to be acknowledged and ended (RFC
    /// 3261 §13.2.2.4).
    Stray {
        /// Where it came from.
        source: Source,
        /// The 2xx. Its branch is one of ours, whichever process made it.
        message: Message,
    },
    /// No final response will come.
    Failed {
        /// The transaction.
        client: ClientId,
        /// Its owner.
        owner: Owner,
        /// The owner's own mark.
        token: u32,
        /// Why.
        why: Failure,
    },
}

/// What an endpoint has counted since its birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests delivered to the user.
    pub requests: u64,
    /// Repeats of requests, absorbed or answered again.
    pub repeated_requests: u64,
    /// ACKs, absorbed or delivered.
    pub acks: u64,
    /// CANCELs that found their INVITE.
    pub cancels: u64,
    /// CANCELs that found none, answered 481.
    pub stray_cancels: u64,
    /// Responses to requests of ours.
    pub responses: u64,
    /// Responses that belong to no request of ours, dropped.
    pub stray_responses: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
    /// Requests refused because there were too many transactions.
    pub refused: u64,
    /// Client transactions begun, CANCEL included.
    pub sent_requests: u64,
    /// Messages sent again by a timer.
    pub repeats: u64,
    /// Client transactions that ended by a time-out.
    pub timeouts: u64,
    /// Client transactions that ended because the request could not be sent.
    pub transport_failures: u64,
    /// Messages outside client transactions that could not be sent.
    pub lost_sends: u64,
    /// INVITEs whose final response was never acknowledged.
    pub unacknowledged: u64,
    /// Requests that the user never answered.
    pub unanswered: u64,
    /// Responses of the user that came too late or twice, dropped.
    pub late_responses: u64,
}

/// All transactions of one signalling core.
pub struct Endpoint {
    settings: Settings,
    identifiers: Identifiers,
    /// Boxed, as servers are: a map that grows moves all it has, and a hundred thousand transactions would take longer
    /// than a new call may wait.
    clients: OwnMap<ClientId, Box<Client>>,
    branches: OwnMap<Branch, ClientId>,
    servers: OwnMap<ServerId, Box<Server>>,
    keys: HashMap<Arc<[u8]>, ServerId>,
    replies: Replies,
    owned: BTreeSet<(Owner, Transaction)>,
    timers: TimerQueue<Transaction>,
    outputs: VecDeque<Output>,
    counters: Counters,
    next_transaction: u64,
    next_send: u64,
    key: Vec<u8>,
}

/// A transaction of either side, in the order of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transaction {
    Client(ClientId),
    Server(ServerId),
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// How many starts of the process lie between a request and its return, at most.
const NEAR_EPOCHS: u32 = 1 << 10;

/// Marks the sends that belong to no transaction.
const OTHER_SENDS: u64 = 1 << 63;
/// Marks the sends of a server transaction.
const REPLIES: u64 = 1 << 62;

impl Endpoint {
    /// An endpoint without transactions; `seed` comes from the system's random source.
    pub fn new(mut settings: Settings, seed: [u8; 32]) -> Self {
        // An interval of zero would repeat a message for ever without time passing.
        let timing = &mut settings.timing;
        timing.t1 = timing.t1.max(SHORTEST_INTERVAL);
        timing.t2 = timing.t2.max(SHORTEST_INTERVAL);
        let origin = Origin { node: settings.node, shard: settings.shard, epoch: settings.epoch };
        Self {
            identifiers: Identifiers::new(origin, settings.mask, seed),
            settings,
            clients: OwnMap::default(),
            branches: OwnMap::default(),
            servers: OwnMap::default(),
            keys: HashMap::new(),
            replies: Replies::new(),
            owned: BTreeSet::new(),
            timers: TimerQueue::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            next_transaction: 0,
            next_send: 0,
            key: Vec::new(),
        }
    }

    /// A message came.
    pub fn handle_message(&mut self, source: Source, message: Message, now: Instant) {
        if message.is_request() {
            self.handle_request(source, message, now);
        } else {
            self.handle_response(source, message, now);
        }
    }

    /// Something came that is no message; it is answered where that is possible.
    pub fn handle_unreadable(&mut self, source: Source, error: ParseError, _now: Instant) {
        self.counters.unreadable += 1;
        if let Some(reply) = error.reply {
            self.reply_stateless(&source, *reply);
        }
    }

    /// The driver could not deliver that send.
    pub fn handle_send_failed(&mut self, send: SendId, now: Instant) {
        if send.0 & (OTHER_SENDS | REPLIES) == 0 {
            self.client_send_failed(ClientId(send.0), now);
        } else if send.0 & OTHER_SENDS == 0 {
            self.reply_send_failed(ServerId(send.0 & !REPLIES));
        } else {
            self.counters.lost_sends += 1;
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(transaction) = self.timers.due(now) {
            match transaction {
                Transaction::Client(client) => self.client_timeout(client, now),
                Transaction::Server(server) => self.server_timeout(server, now),
            }
        }
    }

    /// Forgets the transaction that is due first: serving it has failed by a fault, which would come again. Its owner
    /// hears that it is over.
    pub fn forget_due(&mut self, now: Instant) {
        match self.timers.take_due(now) {
            None => {}
            Some(Transaction::Client(client)) => self.forget_client(client),
            Some(Transaction::Server(server)) => self.forget_server(server),
        }
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next thing that shall happen.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends a message outside transactions, with a Via of its own: the ACK for a 2xx (RFC 3261
    /// §13.2.2.4). The id is that of its [`Output::Send`].
    pub fn send(
        &mut self,
        target: Target,
        sent_by: Bytes,
        mut draft: Draft,
        _now: Instant,
    ) -> SendId {
        let branch = self.identifiers.fresh();
        draft.insert_first(HeaderId::Via, client::via(&target, &sent_by, &branch));
        self.push_send(target, draft.write())
    }

    /// Reaps what a failed owner left: its client transactions fall silent, its INVITEs are cancelled
    /// (§9.1), and what it did not answer gets 500.
    pub fn release(&mut self, owner: Owner, now: Instant) {
        let first = (owner, Transaction::Client(ClientId(0)));
        let last = (owner, Transaction::Server(ServerId(u64::MAX)));
        let left: Vec<_> = self.owned.range(first..=last).map(|(_, left)| *left).collect();
        for transaction in left {
            match transaction {
                Transaction::Client(client) => self.orphan_client(client, now),
                Transaction::Server(server) => self.abandon(server, now),
            }
        }
    }

    /// A tag for From or To.
    pub fn new_tag(&mut self) -> Bytes {
        identifier::text(&self.identifiers.fresh())
    }

    /// A Call-ID. It names no host of ours.
    pub fn new_call_id(&mut self) -> Bytes {
        identifier::text(&self.identifiers.fresh())
    }

    /// Which process made this branch, tag or Call-ID; `None` when none of ours did.
    pub fn origin(&self, identifier: &[u8]) -> Option<Origin> {
        self.identifiers.origin(identifier)
    }

    /// Whether a request has passed this node before: a Via of ours stands in it. It has come back by
    /// proxies, and would do so again (RFC 3261 §16.3).
    ///
    /// What another one of our kind makes looks like ours once in 256 times: of an origin all must be likely.
    pub fn has_passed(&self, request: &Message) -> bool {
        let Settings { node, shard, epoch, .. } = self.settings;
        let ours = |origin: Origin| {
            (origin.node, origin.shard) == (node, shard)
                && origin.epoch.abs_diff(epoch) < NEAR_EPOCHS
        };
        let mut vias = request.elements(HeaderId::Via).filter_map(Via::parse);
        vias.any(|via| self.origin(via.branch()).is_some_and(ours))
    }

    /// What was counted since birth.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Client and server transactions that have not ended.
    pub fn transactions(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// Deadlines that are set: at most one for each transaction.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    fn push_send(&mut self, target: Target, bytes: Bytes) -> SendId {
        let id = SendId(OTHER_SENDS | self.next_send);
        self.next_send += 1;
        self.outputs.push_back(Output::Send { id, target, bytes });
        id
    }

    const fn next_transaction(&mut self) -> u64 {
        self.next_transaction += 1;
        self.next_transaction
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixture::{answer, drain, incoming, outgoing, run_out, seconds, source};
    use super::*;
    use crate::message::Method;
    use crate::transport::Transport;

    #[test]
    fn timers_of_zero_still_let_time_pass() {
        let timing = Timing { t1: Duration::ZERO, t2: Duration::ZERO, ..Timing::default() };
        let settings = Settings { timing, ..Settings::default() };
        let mut endpoint = Endpoint::new(settings, [0; 32]);
        let now = crate::transaction::table::start();
        endpoint.request(Owner(1), 0, outgoing(Method::Invite, Transport::Udp), now);
        endpoint.request(Owner(1), 0, outgoing(Method::Options, Transport::Udp), now);
        assert_eq!(run_out(&mut endpoint).failed.len(), 2);
    }

    #[test]
    fn what_is_forgotten_when_it_is_due_is_forgotten_whole() {
        let (mut endpoint, now) = super::fixture::endpoint();
        endpoint.request(Owner(1), 7, outgoing(Method::Options, Transport::Udp), now);
        endpoint.request(Owner(1), 8, outgoing(Method::Invite, Transport::Udp), now);
        endpoint.handle_message(source(Transport::Udp), incoming("INVITE", &[]), now);
        let (server, invite) = drain(&mut endpoint).requests.remove(0);
        endpoint.adopt(server, Owner(2));
        endpoint.respond(server, crate::message::Draft::response(&invite, 486), now);
        drain(&mut endpoint);
        endpoint.forget_due(now);
        assert_eq!(endpoint.transactions(), (2, 1), "nothing is due yet");

        for _ in 0..3 {
            endpoint.forget_due(now + seconds(1));
        }

        let told = drain(&mut endpoint).failed;
        let told: Vec<u32> = told.into_iter().map(|(_, _, token, _)| token).collect();
        assert_eq!(told, [7, 8], "who waits for an answer is told that none will come");
        assert_eq!((endpoint.transactions(), endpoint.timers()), ((0, 0), 0));
        assert!(
            endpoint.branches.is_empty() && endpoint.keys.is_empty() && endpoint.owned.is_empty()
        );
    }

    #[test]
    fn tags_and_call_ids_are_fresh_and_ours() {
        let mut endpoint = Endpoint::new(Settings { node: 9, ..Settings::default() }, [0; 32]);
        let texts = [endpoint.new_tag(), endpoint.new_tag(), endpoint.new_call_id()];
        assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
        for text in texts {
            assert_eq!(endpoint.origin(&text).map(|origin| origin.node), Some(9));
        }
    }

    /// One thing that a peer without manners, or a user without memory, does.
    #[derive(Clone, Debug)]
    enum Step {
        Request { method: usize, branch: u8, dialog: bool, stream: bool },
        Response { of: usize, status: u16 },
        Ask { method: usize, owner: u64 },
        Cancel { client: usize },
        Respond { server: usize, status: u16 },
        Adopt { server: usize, owner: u64 },
        Release { owner: u64 },
        SendFailed { send: usize },
        Wait { millis: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..METHODS.len(), 0..6_u8, any::<bool>(), any::<bool>()).prop_map(
                |(method, branch, dialog, stream)| Step::Request { method, branch, dialog, stream }
            ),
            4 => (0..20_usize, 100..700_u16).prop_map(|(of, status)| Step::Response { of, status }),
            2 => (0..METHODS.len(), 0..3_u64)
                .prop_map(|(method, owner)| Step::Ask { method, owner }),
            1 => (0..20_usize).prop_map(|client| Step::Cancel { client }),
            4 => (0..20_usize, 100..700_u16)
                .prop_map(|(server, status)| Step::Respond { server, status }),
            1 => (0..20_usize, 0..3_u64).prop_map(|(server, owner)| Step::Adopt { server, owner }),
            1 => (0..3_u64).prop_map(|owner| Step::Release { owner }),
            1 => (0..40_usize).prop_map(|send| Step::SendFailed { send }),
            2 => (0..40_000_u64).prop_map(|millis| Step::Wait { millis }),
        ];
        prop::collection::vec(step, 0..60)
    }

    const METHODS: [Method; 6] = [
        Method::Invite,
        Method::Ack,
        Method::Cancel,
        Method::Bye,
        Method::Options,
        Method::Other(Bytes::from_static(b"ODD")),
    ];

    proptest! {
        #[test]
        fn whatever_happens_every_transaction_ends(steps in steps()) {
            let settings = Settings { limits: TIGHT, ..Settings::default() };
            let mut endpoint = Endpoint::new(settings, [1; 32]);
            let mut now = crate::transaction::table::start();
            let (mut clients, mut servers) = (Vec::new(), Vec::new());
            let (mut sends, mut requests) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Request { method, branch, dialog, stream } => {
                        let method = METHODS[method].clone();
                        let method = String::from_utf8_lossy(method.as_bytes());
                        let via = format!("Via: SIP/2.0/UDP peer.example;branch=z9hG4bK{branch}");
                        let to = if dialog { "To: <sip:a@us>;tag=1" } else { "To: <sip:a@us>" };
                        let transport = if stream { Transport::Tls } else { Transport::Udp };
                        let message = incoming(&method, &[&via, to]);
                        endpoint.handle_message(source(transport), message, now);
                    }
                    Step::Response { of, status } => {
                        if let Some(request) = requests.get(of) {
                            let response = answer(request, status);
                            endpoint.handle_message(source(Transport::Udp), response, now);
                        }
                    }
                    Step::Ask { method, owner } => {
                        let method = METHODS[method].clone();
                        if !matches!(method, Method::Ack | Method::Cancel) {
                            let request = outgoing(method, Transport::Udp);
                            clients.push(endpoint.request(Owner(owner), 0, request, now));
                        }
                    }
                    Step::Cancel { client } => {
                        if let Some(client) = clients.get(client) {
                            endpoint.cancel(*client, None, now);
                        }
                    }
                    Step::Respond { server, status } => {
                        if let Some((server, request)) = servers.get(server) {
                            let response = Draft::response(request, status);
                            endpoint.respond(*server, response, now);
                        }
                    }
                    Step::Adopt { server, owner } => {
                        if let Some((server, _)) = servers.get(server) {
                            endpoint.adopt(*server, Owner(owner));
                        }
                    }
                    Step::Release { owner } => endpoint.release(Owner(owner), now),
                    Step::SendFailed { send } => {
                        if let Some(send) = sends.get(send) {
                            endpoint.handle_send_failed(*send, now);
                        }
                    }
                    Step::Wait { millis } => {
                        now += Duration::from_millis(millis);
                        endpoint.handle_timeout(now);
                    }
                }
                let out = drain(&mut endpoint);
                servers.extend(out.requests);
                for (id, _, message) in out.sent {
                    sends.push(id);
                    if message.is_request() {
                        requests.push(message);
                    }
                }
                let (live_clients, live_servers) = endpoint.transactions();
                // A CANCEL stands beside its INVITE, outside the limit.
                prop_assert!(live_servers <= 2 * (TIGHT.server_transactions + TIGHT.in_dialog_reserve));
                prop_assert_eq!(endpoint.timers(), live_clients + live_servers);
                prop_assert!(endpoint.poll_timeout().is_none_or(|at| at <= now + seconds(601)));
            }
            run_out(&mut endpoint);
        }
    }

    const TIGHT: Limits = Limits { server_transactions: 4, in_dialog_reserve: 2, retry_after: 1 };
}
