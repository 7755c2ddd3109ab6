//! A pair of UDP sockets with a task that plays a tone every 20 ms and keeps the tape.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Interval, interval};

use crate::clock;
use crate::media::rtp::{Rtp, is_compound, is_rtcp, sender_report};
use crate::media::srtp::{Key, Opener, Protector};
use crate::media::tone::{FRAME, Law, Tone, loudest};

/// What to send, where, and under which key.
#[derive(Clone)]
pub struct Outgoing {
    /// RTP goes here.
    pub rtp: SocketAddr,
    /// RTCP goes here.
    pub rtcp: SocketAddr,
    /// RTCP leaves from the RTP socket (RFC 5761).
    pub mux: bool,
    /// Payload type of the voice.
    pub payload: u8,
    /// Its law.
    pub law: Law,
    /// The tone.
    pub hertz: u32,
    /// `None`: plain RTP.
    pub key: Option<Key>,
    /// Number of the first packet of the stream; `None`: any.
    pub sequence: Option<u16>,
}

/// How to read what arrives.
#[derive(Clone)]
pub struct Incoming {
    /// `None`: plain RTP.
    pub key: Option<Key>,
    /// Law of the voice, whatever its payload type.
    pub law: Law,
    /// Payload type of telephone-event.
    pub events: Option<u8>,
}

/// One audio or event packet that arrived and was authentic.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When it was read.
    pub at: Instant,
    /// From where.
    pub from: SocketAddr,
    /// Payload type.
    pub payload_type: u8,
    /// Marker.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Length of the payload in bytes.
    pub length: usize,
    /// Fingerprint of the payload.
    pub print: u64,
    /// The digit, if it is a telephone-event.
    pub digit: Option<char>,
}

impl Packet {
    #[cfg(test)]
    pub(crate) fn default_at(at: Instant) -> Self {
        Self {
            at,
            from: SocketAddr::from(([127, 0, 0, 1], 1)),
            payload_type: 0,
            marker: false,
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
            length: 0,
            print: 0,
            digit: None,
        }
    }
}

/// Everything that one port sent and received.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// Audio packets sent: when, and the fingerprint of the payload.
    pub sent: Vec<(Instant, u64)>,
    /// Digits sent as telephone-events.
    pub digits: String,
    /// Authentic packets that arrived, in the order of arrival.
    pub received: Vec<Packet>,
    /// Packets that could not be read: not RTP, not authentic, no key known.
    pub refused: usize,
    /// Good RTCP compounds that arrived.
    pub reports: usize,
    /// The tone sent last.
    pub tone: Option<u32>,
    /// The tone heard in the last second.
    pub heard: Option<u32>,
}

impl Tape {
    /// Digits that arrived as telephone-events, each once.
    #[must_use]
    pub fn digits_heard(&self) -> String {
        let mut last = None;
        let mut digits = String::new();
        for packet in &self.received {
            if let Some(digit) = packet.digit
                && last != Some(packet.timestamp)
            {
                last = Some(packet.timestamp);
                digits.push(digit);
            }
        }
        digits
    }
}

/// An open pair of ports. It listens from the start and sends when told.
pub struct Port {
    rtp: SocketAddr,
    rtcp: SocketAddr,
    control: mpsc::Sender<Control>,
    task: JoinHandle<Tape>,
}

impl Port {
    /// Opens an even port and the one above it on `address`.
    pub async fn open(address: IpAddr) -> std::io::Result<Self> {
        let (rtp, rtcp) = pair(address).await?;
        let (control, orders) = mpsc::channel(16);
        let (rtp_address, rtcp_address) = (rtp.local_addr()?, rtcp.local_addr()?);
        let task = tokio::spawn(Player::new(rtp, rtcp).run(orders));
        Ok(Self { rtp: rtp_address, rtcp: rtcp_address, control, task })
    }

    /// Where RTP is heard.
    #[must_use]
    pub const fn rtp(&self) -> SocketAddr {
        self.rtp
    }

    /// Where RTCP is heard.
    #[must_use]
    pub const fn rtcp(&self) -> SocketAddr {
        self.rtcp
    }

    /// From now on, what arrives is read this way. What came before any key was known is kept
    /// back and read now.
    pub async fn listen(&self, incoming: Incoming) {
        self.order(Control::Listen(incoming)).await;
    }

    /// Begins to send, or changes where and how.
    pub async fn send(&self, outgoing: Outgoing) {
        self.order(Control::Send(outgoing)).await;
    }

    /// Sends digits as telephone-events of this payload type between the voice packets.
    pub async fn dial(&self, digits: &str, events: u8) {
        self.order(Control::Dial(digits.to_owned(), events)).await;
    }

    /// Stops sending and goes on listening. A later [`Self::send`] goes on with the same stream.
    pub async fn mute(&self) {
        self.order(Control::Mute).await;
    }

    /// Hands out the tape so far; what comes now goes on a new one.
    pub async fn take(&self) -> Tape {
        let (reply, tape) = oneshot::channel();
        self.order(Control::Take(reply)).await;
        tape.await.unwrap_or_default()
    }

    /// Closes the sockets and hands out the tape.
    pub async fn close(self) -> Tape {
        drop(self.control);
        self.task.await.unwrap_or_default()
    }

    async fn order(&self, order: Control) {
        // The task ends only with this handle.
        let _ = self.control.send(order).await;
    }
}

enum Control {
    Listen(Incoming),
    Send(Outgoing),
    Dial(String, u8),
    Mute,
    Take(oneshot::Sender<Tape>),
}

struct Player {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ticks: Interval,
    sender: Option<Sender>,
    listener: Option<Listener>,
    early: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
    recent: VecDeque<Vec<u8>>,
    tape: Tape,
}

struct Sender {
    outgoing: Outgoing,
    protector: Option<Protector>,
    tone: Tone,
    ssrc: u32,
    sequence: u16,
    /// Media time of the next frame.
    time: u32,
    /// Timestamp of the last packet; an event holds it still.
    timestamp: u32,
    packets: u32,
    events: VecDeque<Event>,
    /// Since when it is silent.
    muted: Option<Instant>,
    /// The next packet is the first of a talk spurt.
    spurt: bool,
}

/// One telephone-event packet still to be sent.
struct Event {
    payload: u8,
    first: bool,
    body: [u8; 4],
}

struct Listener {
    incoming: Incoming,
    opener: Option<Opener>,
}

impl Player {
    fn new(rtp: UdpSocket, rtcp: UdpSocket) -> Self {
        Self {
            rtp,
            rtcp,
            ticks: interval(PTIME),
            sender: None,
            listener: None,
            early: VecDeque::new(),
            recent: VecDeque::new(),
            tape: Tape::default(),
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Control>) -> Tape {
        let (mut buffer, mut report) = ([0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                biased;
                got = self.rtp.recv_from(&mut buffer) => if let Ok((length, from)) = got {
                    self.arrived(clock::now(), from, &buffer[..length]);
                },
                got = self.rtcp.recv_from(&mut report) => if let Ok((length, from)) = got {
                    self.reported(clock::now(), from, &report[..length]);
                },
                _ = self.ticks.tick(), if self.is_playing() => self.play().await,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
            }
        }
        self.tape.refused += self.early.len();
        self.tape.heard = self.heard();
        self.tape.tone = self.sender.as_ref().map(|sender| sender.outgoing.hertz);
        self.tape
    }

    fn obey(&mut self, order: Control) {
        match order {
            Control::Listen(incoming) => {
                let same = |before: &Listener| before.incoming.key == incoming.key;
                let opener = match self.listener.take().filter(same) {
                    // The same key goes on with its rollover counter.
                    Some(before) => before.opener,
                    None => incoming.key.as_ref().and_then(Opener::new),
                };
                self.listener = Some(Listener { incoming, opener });
                for (at, from, bytes) in std::mem::take(&mut self.early) {
                    self.arrived(at, from, &bytes);
                }
            }
            Control::Send(outgoing) => match &mut self.sender {
                Some(sender) => {
                    if sender.muted.is_some() {
                        self.ticks.reset_immediately();
                    }
                    sender.change(outgoing);
                }
                None => {
                    self.ticks.reset_immediately();
                    self.sender = Some(Sender::new(outgoing));
                }
            },
            Control::Dial(digits, payload) => {
                self.tape.digits.push_str(&digits);
                if let Some(sender) = &mut self.sender {
                    digits.chars().for_each(|digit| sender.queue(digit, payload));
                }
            }
            Control::Mute => {
                if let Some(sender) = &mut self.sender {
                    sender.muted.get_or_insert_with(clock::now);
                }
            }
            Control::Take(reply) => {
                let mut tape = std::mem::take(&mut self.tape);
                tape.heard = self.heard();
                tape.tone = self.sender.as_ref().map(|sender| sender.outgoing.hertz);
                self.recent.clear();
                // Whoever asked may have gone; then nobody wants the tape.
                let _ = reply.send(tape);
            }
        }
    }

    fn is_playing(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.muted.is_none())
    }

    async fn play(&mut self) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        let (packet, print) = sender.next();
        let target = sender.outgoing.rtp;
        let report = sender.packets % REPORT_EVERY == 1;
        let report = report.then(|| sender.report()).flatten();
        let (rtcp, mux) = (sender.outgoing.rtcp, sender.outgoing.mux);
        if let Some(packet) = packet {
            let at = clock::now();
            // A closed port on the other side shows as loss, which is what it is.
            let _ = self.rtp.send_to(&packet, target).await;
            if let Some(print) = print {
                self.tape.sent.push((at, print));
            }
        }
        if let Some(report) = report {
            let socket = if mux { &self.rtp } else { &self.rtcp };
            let _ = socket.send_to(&report, rtcp).await;
        }
    }

    fn arrived(&mut self, at: Instant, from: SocketAddr, bytes: &[u8]) {
        let Some(listener) = &mut self.listener else {
            return self.keep(at, from, bytes);
        };
        if is_rtcp(bytes) {
            return self.reported(at, from, bytes);
        }
        let opened = listener.open(bytes);
        let Some(rtp) = opened.as_deref().and_then(Rtp::read) else {
            self.tape.refused += 1;
            return;
        };
        let event = listener.incoming.events == Some(rtp.payload_type);
        let digit = event.then(|| rtp.payload.first().copied().map_or('?', digit_of));
        if !event {
            self.recent.push_back(rtp.payload.to_vec());
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        self.tape.received.push(Packet {
            at,
            from,
            payload_type: rtp.payload_type,
            marker: rtp.marker,
            sequence: rtp.sequence,
            timestamp: rtp.timestamp,
            ssrc: rtp.ssrc,
            length: rtp.payload.len(),
            print: print(rtp.payload),
            digit,
        });
    }

    fn reported(&mut self, at: Instant, from: SocketAddr, bytes: &[u8]) {
        let Some(listener) = &mut self.listener else {
            return self.keep(at, from, bytes);
        };
        let plain = match (&listener.incoming.key, &mut listener.opener) {
            (None, _) => Some(bytes.to_vec()),
            (Some(_), Some(opener)) => opener.rtcp(bytes),
            (Some(_), None) => None,
        };
        if plain.is_some_and(|plain| is_compound(&plain)) {
            self.tape.reports += 1;
        } else {
            self.tape.refused += 1;
        }
    }

    /// Kept until it is known how to read it.
    fn keep(&mut self, at: Instant, from: SocketAddr, bytes: &[u8]) {
        if self.early.len() < EARLY {
            self.early.push_back((at, from, bytes.to_vec()));
        } else {
            self.tape.refused += 1;
        }
    }

    fn heard(&self) -> Option<u32> {
        let law = self.listener.as_ref()?.incoming.law;
        let samples: Vec<i16> =
            self.recent.iter().flatten().map(|byte| law.decode(*byte)).collect();
        loudest(&samples)
    }
}

impl Listener {
    fn open(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match (&self.incoming.key, &mut self.opener) {
            (None, _) => Some(bytes.to_vec()),
            (Some(_), Some(opener)) => opener.rtp(bytes),
            (Some(_), None) => None,
        }
    }
}

impl Sender {
    fn new(outgoing: Outgoing) -> Self {
        let random = clock::random::<14>();
        let word = |at: usize| {
            u32::from_be_bytes([random[at], random[at + 1], random[at + 2], random[at + 3]])
        };
        Self {
            protector: outgoing.key.as_ref().and_then(Protector::new),
            tone: Tone::new(outgoing.hertz, outgoing.law, word(0)),
            ssrc: word(4),
            time: word(8),
            timestamp: word(8),
            sequence: outgoing.sequence.unwrap_or(u16::from_be_bytes([random[12], random[13]])),
            packets: 0,
            events: VecDeque::new(),
            muted: None,
            spurt: true,
            outgoing,
        }
    }

    /// A new target keeps the stream and, under the same key, the rollover counter.
    fn change(&mut self, outgoing: Outgoing) {
        if outgoing.key != self.outgoing.key {
            self.protector = outgoing.key.as_ref().and_then(Protector::new);
        }
        if (outgoing.hertz, outgoing.law) != (self.outgoing.hertz, self.outgoing.law) {
            self.tone = Tone::new(outgoing.hertz, outgoing.law, self.ssrc ^ self.packets);
        }
        if let Some(since) = self.muted.take() {
            let silence = clock::now().saturating_duration_since(since).as_millis() as u32;
            self.time = self.time.wrapping_add(silence * 8);
            self.spurt = true;
        }
        self.outgoing = outgoing;
    }

    /// The next packet and, for voice, the fingerprint of its payload.
    fn next(&mut self) -> (Option<Vec<u8>>, Option<u64>) {
        let event = self.events.pop_front();
        let voice = self.tone.next();
        let (payload_type, marker, payload) = match &event {
            Some(event) => (event.payload, event.first, &event.body[..]),
            None => (self.outgoing.payload, std::mem::take(&mut self.spurt), &voice[..]),
        };
        // All packets of one event carry the time of its beginning (RFC 4733 §2.5.1.2).
        if event.as_ref().is_none_or(|event| event.first) {
            self.timestamp = self.time;
        }
        self.time = self.time.wrapping_add(FRAME as u32);
        self.sequence = self.sequence.wrapping_add(1);
        let rtp = Rtp {
            payload_type,
            marker,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload,
        };
        self.packets = self.packets.wrapping_add(1);
        let packet = self.protect(&rtp.write());
        (packet, event.is_none().then(|| print(&voice)))
    }

    fn queue(&mut self, digit: char, payload: u8) {
        let code = code_of(digit);
        for step in 0..EVENT_PACKETS + 2 {
            let end = step >= EVENT_PACKETS - 1;
            let frames = (step + 1).min(EVENT_PACKETS);
            let [high, low] = (frames * FRAME as u16).to_be_bytes();
            let flags = if end { 0x80 | VOLUME } else { VOLUME };
            let body = [code, flags, high, low];
            self.events.push_back(Event { payload, first: step == 0, body });
        }
    }

    fn report(&mut self) -> Option<Vec<u8>> {
        let octets = self.packets.wrapping_mul(FRAME as u32);
        let report = sender_report(self.ssrc, clock::wall(), self.timestamp, self.packets, octets);
        match (&self.outgoing.key, &mut self.protector) {
            (None, _) => Some(report),
            (Some(_), Some(protector)) => protector.rtcp(&report),
            (Some(_), None) => None,
        }
    }

    fn protect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match (&self.outgoing.key, &mut self.protector) {
            (None, _) => Some(packet.to_vec()),
            (Some(_), Some(protector)) => protector.rtp(packet),
            (Some(_), None) => None,
        }
    }
}

async fn pair(address: IpAddr) -> std::io::Result<(UdpSocket, UdpSocket)> {
    let mut last = None;
    for _ in 0..64 {
        let rtp = UdpSocket::bind((address, 0)).await?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 1 || port == u16::MAX - 1 {
            continue;
        }
        match UdpSocket::bind((address, port + 1)).await {
            Ok(rtcp) => return Ok((rtp, rtcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("no even port is free")))
}

fn print(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(payload);
    hasher.finish()
}

fn digit_of(code: u8) -> char {
    DIGITS.chars().nth(usize::from(code)).unwrap_or('?')
}

fn code_of(digit: char) -> u8 {
    DIGITS.chars().position(|known| known == digit).map_or(0, |at| at as u8)
}

const DIGITS: &str = "0123456789*#ABCD";
const PTIME: Duration = Duration::from_millis(20);
/// A report a second.
const REPORT_EVERY: u32 = 50;
/// Packets kept until a key is known: two seconds.
const EARLY: usize = 100;
/// Frames in which a tone is looked for: one second.
const RECENT: usize = 50;
/// A digit lasts 100 ms; its end is said three times (RFC 4733 §2.5.1.4).
const EVENT_PACKETS: u16 = 5;
/// -10 dBm0.
const VOLUME: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::judge;
    use crate::media::srtp::Suite;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn outgoing(to: &Port, hertz: u32, key: Option<Key>, mux: bool) -> Outgoing {
        let rtcp = if mux { to.rtp() } else { to.rtcp() };
        Outgoing { rtp: to.rtp(), rtcp, mux, payload: 8, law: Law::A, hertz, key, sequence: None }
    }

    async fn talk(key: [Option<Key>; 2], mux: bool) -> [crate::media::Flow; 2] {
        let (one, other) = (Port::open(HOME).await.unwrap(), Port::open(HOME).await.unwrap());
        let [left, right] = key;
        let listen =
            |key: &Option<Key>| Incoming { key: key.clone(), law: Law::A, events: Some(101) };
        one.send(outgoing(&other, 500, left.clone(), mux)).await;
        other.send(outgoing(&one, 700, right.clone(), mux)).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        // The keys arrive late: what came before is not lost.
        other.listen(listen(&left)).await;
        one.listen(listen(&right)).await;
        one.dial("1#", 101).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        one.mute().await;
        other.mute().await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let (one, other) = (one.close().await, other.close().await);
        [judge(&one, &other, clock::now()), judge(&other, &one, clock::now())]
    }

    #[tokio::test]
    async fn a_tone_each_way_in_clear() {
        for flow in talk([None, None], false).await {
            assert!(flow.is_clean() && flow.reports > 0 && flow.heard.is_some(), "{flow}");
        }
    }

    #[tokio::test]
    async fn a_tone_each_way_under_srtp_with_digits() {
        let keys = [
            Some(Key::random(Suite::AesCm128Sha1_80)),
            Some(Key::random(Suite::AesCm128Sha1_80).with_mki(1, 1)),
        ];
        let [there, back] = talk(keys, true).await;
        assert!(there.is_clean() && back.is_clean(), "{there}\n{back}");
        assert_eq!(there.digits_heard, "1#");
        assert!(there.reports > 0 && there.delay.worst > Duration::ZERO);
    }

    #[tokio::test]
    async fn clear_media_under_an_agreed_key_is_refused() {
        let (one, other) = (Port::open(HOME).await.unwrap(), Port::open(HOME).await.unwrap());
        let key = Some(Key::random(Suite::AesCm128Sha1_80));
        other.listen(Incoming { key, law: Law::A, events: None }).await;
        one.send(outgoing(&other, 500, None, false)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (one, other) = (one.close().await, other.close().await);
        let flow = judge(&one, &other, clock::now());
        assert!(flow.refused > 0 && flow.received == 0 && !flow.is_clean(), "{flow}");
    }
}
