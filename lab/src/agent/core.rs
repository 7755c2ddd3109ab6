//! The part of an agent that its calls share: what is repeated, what was answered, who gets what.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::agent::moods::{Moods, Wanted};
use crate::agent::{Call, Dialect, Fault, Home, etiquette};
use crate::capture::{Log, Transport};
use crate::clock;
use crate::sip::{Message, host_of, port_of};
use crate::wire::{Arrival, Channel, Shared, Wire, lock};

/// An OPTIONS that came from the gateway.
#[derive(Clone, Debug)]
pub struct Ping {
    /// When.
    pub at: Instant,
    /// Our address it came to.
    pub local: SocketAddr,
    /// Host in its Contact.
    pub host: String,
    /// What it was answered with.
    pub status: u16,
    /// What the gateway answered when it was asked in return, if it was and did.
    pub back: Option<u16>,
}

/// A call that came in; nobody has taken it yet.
pub struct Offer {
    pub(crate) core: Arc<Core>,
    pub(crate) invite: Arrival,
    pub(crate) mailbox: mpsc::Receiver<Arrival>,
}

impl Offer {
    /// Opens a media port and takes the call.
    pub async fn take(self) -> Result<Call, Fault> {
        Call::incoming(self).await
    }
}

pub(crate) struct Core {
    pub(crate) dialect: Dialect,
    pub(crate) homes: Vec<Home>,
    pub(crate) wire: Arc<Shared>,
    pub(crate) log: Log,
    pub(crate) stop: Notify,
    /// What is asked of this end that a good one would not do.
    pub(crate) moods: Mutex<Moods>,
    gateway: Mutex<Option<SocketAddr>>,
    pub(crate) expected: Mutex<Vec<(Wanted, oneshot::Sender<Offer>)>>,
    pub(crate) strangers: Mutex<Option<mpsc::Sender<Offer>>>,
    pub(crate) pings: Mutex<Vec<Ping>>,
    pub(crate) complaints: Mutex<Vec<String>>,
    mailboxes: Mutex<HashMap<String, mpsc::Sender<Arrival>>>,
    /// What is sent again until something stops it, by transaction.
    repeats: Mutex<HashMap<String, AbortHandle>>,
    /// Last answer by transaction.
    answers: Mutex<Bounded<(Channel, Vec<u8>)>>,
    /// ACK by the transaction (non-2xx) or the dialog (2xx) it belongs to.
    acks: Mutex<Bounded<(Channel, Vec<u8>)>>,
}

impl Core {
    pub(crate) fn new(
        dialect: Dialect,
        homes: Vec<Home>,
        gateway: Option<SocketAddr>,
        wire: Arc<Shared>,
        log: Log,
    ) -> Arc<Self> {
        Arc::new(Self {
            dialect,
            homes,
            wire,
            log,
            stop: Notify::new(),
            moods: Mutex::default(),
            gateway: Mutex::new(gateway),
            expected: Mutex::default(),
            strangers: Mutex::default(),
            pings: Mutex::default(),
            complaints: Mutex::default(),
            mailboxes: Mutex::default(),
            repeats: Mutex::default(),
            answers: Mutex::default(),
            acks: Mutex::default(),
        })
    }

    /// Takes what comes until the agent is dropped; the wire ends with this.
    pub(crate) async fn run(self: Arc<Self>, mut wire: Wire) {
        loop {
            tokio::select! {
                () = self.stop.notified() => return,
                arrival = wire.next() => match arrival {
                    Some(arrival) if lock(&self.moods).ignores(&arrival) => {}
                    Some(arrival) if arrival.message.is_request() => self.request(arrival).await,
                    Some(arrival) => self.response(arrival).await,
                    None => return,
                },
            }
        }
    }

    /// Notes what the gateway did wrong.
    pub(crate) fn complain(&self, what: String) {
        let mut all = lock(&self.complaints);
        if all.len() < LARGEST && !all.contains(&what) {
            all.push(what);
        }
    }

    /// A mailbox for a Call-ID.
    pub(crate) fn mailbox(&self, call: &str) -> mpsc::Receiver<Arrival> {
        let (sender, mailbox) = mpsc::channel(64);
        let mut all = lock(&self.mailboxes);
        all.retain(|_, sender| !sender.is_closed());
        all.insert(call.to_owned(), sender);
        mailbox
    }

    /// Where a URI is: a literal address, else the gateway's, with the port written.
    pub(crate) fn locate(&self, uri: &str) -> Result<SocketAddr, Fault> {
        let gateway = *lock(&self.gateway);
        if let Ok(address) = host_of(uri).parse() {
            let default = gateway.map_or(5060, |gateway| gateway.port());
            return Ok(SocketAddr::new(address, port_of(uri).unwrap_or(default)));
        }
        let gateway = gateway.ok_or(Fault::NoGateway)?;
        Ok(SocketAddr::new(gateway.ip(), port_of(uri).unwrap_or_else(|| gateway.port())))
    }

    /// The gateway's address.
    pub(crate) fn gateway(&self) -> Result<SocketAddr, Fault> {
        lock(&self.gateway).ok_or(Fault::NoGateway)
    }

    /// A way from one of our homes to the host of a URI.
    pub(crate) async fn dial(&self, home: usize, uri: &str) -> Result<Channel, Fault> {
        let home = &self.homes[home % self.homes.len()];
        let to = self.locate(uri)?;
        Ok(self.wire.dial(home.transport, home.address.ip(), to, host_of(uri)).await?)
    }

    /// Sends a request; over UDP again and again until an answer stops it.
    pub(crate) async fn send(&self, channel: &Channel, bytes: Vec<u8>) {
        let again = Message::read(&bytes).filter(|message| message.method() != "ACK");
        channel.send(bytes.clone()).await;
        if let Some(message) = again.filter(|_| channel.transport == Transport::Udp) {
            self.repeat(transaction(&message), channel.clone(), bytes);
        }
    }

    /// Sends a request once, cut into so many parts where it goes on a stream.
    pub(crate) async fn send_in_parts(&self, channel: &Channel, bytes: Vec<u8>, parts: usize) {
        if parts < 2 || channel.transport == Transport::Udp {
            return self.send(channel, bytes).await;
        }
        channel.send_in_parts(&bytes, parts).await;
    }

    /// Answers a request and remembers the answer for its repeats.
    pub(crate) async fn answer(&self, to: &Arrival, bytes: Vec<u8>) {
        let channel = self.way_back(to).await;
        lock(&self.answers).put(transaction(&to.message), (channel.clone(), bytes.clone()));
        let message = Message::read(&bytes);
        channel.send(bytes.clone()).await;
        // A 2xx is repeated until its ACK on every transport, a refusal over UDP (RFC 3261 §13.3.1.4, §17.2.1).
        let udp = channel.transport == Transport::Udp;
        let least = |it: &Message| it.status() / 100 == 2 || udp && it.status() >= 300;
        if let Some(message) = message.filter(|it| it.method() == "INVITE" && least(it)) {
            self.repeat(acknowledged(&message), channel, bytes);
        }
    }

    /// Answers with a status alone.
    pub(crate) async fn reply(&self, to: &Arrival, status: u16, phrase: &str) {
        let extra = if status == 405 { "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS" } else { "" };
        self.reply_with(to, status, phrase, extra).await;
    }

    /// Answers with a status and header lines.
    pub(crate) async fn reply_with(&self, to: &Arrival, status: u16, phrase: &str, extra: &str) {
        let tag = clock::token::<4>();
        let bytes = self.dialect.response(&to.message, status, phrase, &tag, None, extra, "");
        self.answer(to, bytes).await;
    }

    /// Sends the ACK of a 2xx and keeps it for repeats of the 2xx.
    pub(crate) async fn acknowledge(&self, answer: &Message, channel: &Channel, bytes: Vec<u8>) {
        let key = acknowledged(answer) + answer.to_tag().unwrap_or_default();
        lock(&self.acks).put(key, (channel.clone(), bytes.clone()));
        channel.send(bytes).await;
    }

    /// Keeps the ACK with which a refusal of this INVITE is to be acknowledged, without its To.
    pub(crate) fn prepare_ack(&self, branch: &str, channel: &Channel, template: Vec<u8>) {
        lock(&self.acks).put(branch.to_owned(), (channel.clone(), template));
    }

    /// The connection a request came on; if it is gone, a new one to the sent-by of the Via.
    async fn way_back(&self, to: &Arrival) -> Channel {
        if to.channel.is_open() {
            return to.channel.clone();
        }
        let via = to.message.header("Via").unwrap_or_default();
        let sent_by = via.split_whitespace().nth(1).unwrap_or_default();
        let sent_by = format!("sip:{}", sent_by.split(';').next().unwrap_or_default());
        let home = self.homes.iter().position(|home| home.transport == to.channel.transport);
        match self.dial(home.unwrap_or(0), &sent_by).await {
            Ok(channel) => channel,
            Err(_) => to.channel.clone(),
        }
    }

    fn repeat(&self, key: String, channel: Channel, bytes: Vec<u8>) {
        let task = self.wire.spawn(async move {
            let mut pause = T1;
            for _ in 0..10 {
                tokio::time::sleep(pause).await;
                channel.send(bytes.clone()).await;
                pause = (pause * 2).min(T2);
            }
        });
        let mut all = lock(&self.repeats);
        all.retain(|_, task| !task.is_finished());
        if let Some(before) = all.insert(key, task) {
            before.abort();
        }
    }

    fn stop_repeating(&self, key: &str) {
        if let Some(task) = lock(&self.repeats).remove(key) {
            task.abort();
        }
    }

    fn deliver(&self, arrival: Arrival) -> bool {
        let mailbox = lock(&self.mailboxes).get(arrival.message.call_id()).cloned();
        mailbox.is_some_and(|mailbox| mailbox.try_send(arrival).is_ok())
    }

    async fn request(self: &Arc<Self>, arrival: Arrival) {
        let message = Arc::clone(&arrival.message);
        for fault in etiquette::faults(&message) {
            self.complain(format!("{} {}: {fault}", message.method(), message.uri()));
        }
        if message.method() == "ACK" {
            self.stop_repeating(&acknowledged(&message));
            self.deliver(arrival);
            return;
        }
        let before = lock(&self.answers).find(&transaction(&message)).cloned();
        if let Some((channel, bytes)) = before {
            channel.send(bytes).await;
            return;
        }
        match (message.method(), message.to_tag()) {
            ("CANCEL", _) => {
                let known = lock(&self.mailboxes).contains_key(message.call_id());
                let (status, phrase) =
                    if known { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
                self.reply(&arrival, status, phrase).await;
                self.deliver(arrival);
            }
            ("INVITE", None) => self.invited(arrival).await,
            ("OPTIONS", None) => self.pinged(arrival).await,
            (_, Some(_)) => {
                if !self.deliver(arrival.clone()) {
                    self.reply(&arrival, 481, "Call/Transaction Does Not Exist").await;
                }
            }
            (_, None) => self.reply(&arrival, 405, "Method Not Allowed").await,
        }
    }

    async fn invited(self: &Arc<Self>, arrival: Arrival) {
        if let Some((status, why)) = self.dialect.refuse(&arrival) {
            self.complain(format!("INVITE {}: {why}", arrival.message.uri()));
            return self.reply(&arrival, status, &why).await;
        }
        let bytes = self.dialect.response(&arrival.message, 100, "Trying", "", None, "", "");
        self.answer(&arrival, bytes).await;
        let mailbox = self.mailbox(arrival.message.call_id());
        let offer = Offer { core: Arc::clone(self), invite: arrival, mailbox };
        let waiting = {
            let mut expected = lock(&self.expected);
            expected.retain(|(_, sender)| !sender.is_closed());
            let at = expected.iter().position(|(wanted, _)| wanted.is(&offer.invite.message));
            at.map(|at| expected.remove(at).1)
        };
        let unwanted = match waiting {
            Some(waiting) => waiting.send(offer).err(),
            None => {
                let strangers = lock(&self.strangers).clone();
                match strangers {
                    Some(strangers) => {
                        strangers.try_send(offer).err().map(mpsc::error::TrySendError::into_inner)
                    }
                    None => Some(offer),
                }
            }
        };
        if let Some(offer) = unwanted {
            self.reply(&offer.invite, 404, "Not Found").await;
        }
    }

    async fn pinged(self: &Arc<Self>, arrival: Arrival) {
        let host = arrival.message.contact().map(host_of).unwrap_or_default().to_owned();
        let refused = self.dialect.refuse(&arrival);
        let (status, phrase) = match refused {
            Some((status, why)) => {
                self.complain(format!("OPTIONS {}: {why}", arrival.message.uri()));
                (status, why)
            }
            None => (200, "OK".to_owned()),
        };
        let mood = lock(&self.moods).pings.get(&arrival.channel.local).cloned();
        let (status, phrase, extra) = match mood {
            Some((status, extra)) => (status, "Refused".to_owned(), extra),
            None => (status, phrase, String::new()),
        };
        self.reply_with(&arrival, status, &phrase, &extra).await;
        let at = {
            let mut pings = lock(&self.pings);
            if pings.len() == LARGEST {
                pings.clear();
            }
            let local = arrival.channel.local;
            pings.push(Ping { at: arrival.at, local, host: host.clone(), status, back: None });
            pings.len() - 1
        };
        // Two fakes would go on for ever.
        let fake =
            arrival.message.header("User-Agent").is_some_and(|it| it.starts_with("Microsoft"));
        if status != 200 || fake || !self.dialect.pings_back() {
            return;
        }
        lock(&self.gateway).get_or_insert_with(|| {
            let port = arrival.message.contact().and_then(port_of).unwrap_or(5061);
            SocketAddr::new(arrival.channel.remote.ip(), port)
        });
        let home = self.homes.iter().position(|home| home.address == arrival.channel.local);
        let core = Arc::clone(self);
        self.wire.spawn(async move {
            let back = core.ping(home.unwrap_or(0), &host).await;
            if let Err(fault) = &back {
                core.complain(format!("OPTIONS to {host} in return: {fault}"));
            }
            if let Some(ping) = lock(&core.pings).get_mut(at) {
                ping.back = back.ok().map(|(answer, ..)| answer.status());
            }
        });
    }

    /// Sends one OPTIONS and waits for its answer: that, its delay, and whether it came the way it was asked for.
    pub(crate) async fn ping(
        &self,
        home: usize,
        host: &str,
    ) -> Result<(Arc<Message>, Duration, bool), Fault> {
        let uri = self.dialect.host_uri(host, self.gateway()?);
        let channel = self.dial(home, &uri).await?;
        let (call, tag) = (clock::token::<12>(), clock::token::<4>());
        let mut mailbox = self.mailbox(&call);
        let bytes = self.dialect.options(&channel, &uri, &call, &tag);
        let sent = clock::now();
        self.send(&channel, bytes).await;
        let answer = timeout(PATIENCE, async {
            loop {
                match mailbox.recv().await {
                    Some(arrival) if arrival.message.status() >= 200 => return arrival,
                    Some(_) => {}
                    None => std::future::pending().await,
                }
            }
        });
        let answer = answer.await.map_err(|_| Fault::Silence("answer to OPTIONS"))?;
        if let Some(why) = self.dialect.blame_ping_answer(&answer.message) {
            self.complain(format!("answer to OPTIONS {uri}: {why}"));
        }
        let (delay, same) =
            (answer.at.saturating_duration_since(sent), answer.channel.local == channel.local);
        Ok((answer.message, delay, same))
    }

    async fn response(&self, arrival: Arrival) {
        let message = &arrival.message;
        let key = transaction(message);
        if message.method() != "INVITE" {
            if message.status() >= 200 {
                self.stop_repeating(&key);
            }
            self.deliver(arrival);
            return;
        }
        self.stop_repeating(&key);
        if message.status() < 200 {
            self.deliver(arrival);
            return;
        }
        let accepted = message.status() < 300;
        let ack_key = if accepted {
            acknowledged(message) + message.to_tag().unwrap_or_default()
        } else {
            message.branch().to_owned()
        };
        let ack = lock(&self.acks).find(&ack_key).cloned();
        let Some((channel, ack)) = ack else {
            self.deliver(arrival);
            return;
        };
        if accepted {
            channel.send(ack).await;
            return;
        }
        let to = message.header("To").unwrap_or_default();
        let ack = String::from_utf8_lossy(&ack).replace("{to}", to);
        channel.send(ack.into_bytes()).await;
        let first = lock(&self.answers).put(format!("final {ack_key}"), (channel, Vec::new()));
        if first {
            self.deliver(arrival);
        }
    }
}

/// What a response and its request have in common (RFC 3261 §17.1.3).
fn transaction(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}

/// What a 2xx and its ACK have in common.
fn acknowledged(message: &Message) -> String {
    format!("{} {} ", message.call_id(), message.cseq())
}

/// The value of a whole header line, several or none.
pub(crate) fn lines(name: &str, values: &[String]) -> String {
    let all: Vec<String> = values.iter().map(|value| format!("{name}: {value}")).collect();
    all.join("\r\n")
}

/// A map that forgets the oldest.
struct Bounded<T> {
    map: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Bounded<T> {
    /// `true` if the key is new.
    fn put(&mut self, key: String, value: T) -> bool {
        if self.map.insert(key.clone(), value).is_some() {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > LARGEST
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
        true
    }

    fn find(&self, key: &str) -> Option<&T> {
        self.map.get(key)
    }
}

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.1.
const T2: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(5);
/// Entries of each list here.
const LARGEST: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes() {
        let mut map = Bounded::default();
        for i in 0..=LARGEST {
            assert!(map.put(i.to_string(), i));
        }
        assert!(map.find("0").is_none() && map.find("1").is_some());
        assert!(!map.put("1".to_owned(), 0));
    }
}
