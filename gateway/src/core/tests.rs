//! The whole core on virtual time: messages in, messages out, no socket. Peers are text templates.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use media_relay::SessionId;
use sip_stack::locate::Answer;
use sip_stack::transport::{LocalId, Transport};

use super::*;
use crate::cdr::Record;
use crate::event::Refusal;
use crate::routing::tests::config;

mod admission;
mod authentication;
mod calls;
mod causes;
mod challenges;
mod codecs;
mod dialect;
mod diversion;
mod door;
mod failover;
mod faults;
mod fax;
mod flows;
mod grants;
mod help;
mod hold;
mod identity;
mod isolation;
mod kin;
mod large;
mod limits;
mod location;
mod minutes;
mod names;
mod offers;
mod options;
mod ports;
mod redirects;
mod referral;
mod registrar;
mod registration;
mod rekey;
mod reliable;
mod reload;
mod restore;
mod ringing;
mod sessions;
mod simulation;
mod takeover;
mod transfer;

const CARRIER: &str = "127.0.0.50:5070";
const PROXY: &str = "127.0.0.20:5061";

/// A core with its clock, and everything it has sent.
struct World {
    core: Core,
    now: Instant,
    sent: VecDeque<(Target, String)>,
    records: Vec<Record>,
    /// Everything else that was to be kept.
    journal: Vec<Entry>,
    /// Who may be called back.
    callbacks: Vec<Callback>,
    /// Calls for help that were told.
    help: Vec<HelpCall>,
    /// What is to be kept of what is registered with us, and how REGISTERs were answered.
    kept: Option<Vec<crate::registrar::Kept>>,
    registers: Vec<crate::event::RegisterAnswer>,
    /// How many processes came before.
    restarts: u32,
    /// The relay tells no figures.
    silent_relay: bool,
    media: Vec<Command>,
    faults: usize,
    /// What was told of silence.
    silent: Vec<crate::event::Silent>,
    /// How requests too long for a datagram were sent.
    large: Vec<crate::event::Large>,
    /// How the first trunk's registration stood, and the outcomes of its attempts.
    registered: Vec<(bool, u64)>,
    registering: Vec<crate::event::Registering>,
    retired: Vec<FlowId>,
    closed: Vec<FlowId>,
    /// What belongs to another process.
    handed: VecDeque<(Kin, Source, Bytes)>,
    queries: VecDeque<(QueryId, Arc<str>, Kind)>,
    /// Who cannot be reached by a stream, and how that shows.
    dead: HashMap<SocketAddr, Dead>,
    /// Sends that will fail, and when.
    failing: Vec<(Instant, SendId, SocketAddr)>,
}

/// How a connection fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dead {
    /// It is refused at once.
    Refuses,
    /// Nothing comes back: the transport gives up after 1.5 s.
    Hangs,
}

impl World {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: config::Config) -> Self {
        Self::born(config, 1)
    }

    /// The process of that epoch.
    fn born(config: config::Config, epoch: u32) -> Self {
        Self::of(routes(config), epoch, u64::from(epoch))
    }

    fn of(routes: Arc<Routes>, epoch: u32, seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let random = Random::seeded(seed);
        let pools = Pools::new(routes.config());
        let mut ports = Ports::new(1, pools.configs(), Duration::from_secs(1));
        let warm: Vec<media_relay::Port> = pools
            .ids()
            .flat_map(|pool| {
                (20000..20100).step_by(2).map(move |number| media_relay::Port {
                    shard: 0,
                    pool,
                    index: 0,
                    number,
                })
            })
            .collect();
        ports.warm(&warm);
        let core = Core::new(
            CoreConfig {
                routes,
                random,
                ports,
                node_epoch: epoch,
                mask: [7; 32],
                wall: std::time::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
            },
            now,
        );
        let mut world = Self {
            core,
            now,
            sent: VecDeque::new(),
            records: Vec::new(),
            journal: Vec::new(),
            callbacks: Vec::new(),
            help: Vec::new(),
            kept: None,
            registers: Vec::new(),
            restarts: 0,
            silent_relay: false,
            media: Vec::new(),
            faults: 0,
            silent: Vec::new(),
            large: Vec::new(),
            registered: Vec::new(),
            registering: Vec::new(),
            retired: Vec::new(),
            closed: Vec::new(),
            handed: VecDeque::new(),
            queries: VecDeque::new(),
            dead: HashMap::new(),
            failing: Vec::new(),
        };
        world.drain();
        world
    }

    /// As [`World::drain`], for peers that may have put any bytes into what is sent back to them.
    fn drain_lossy(&mut self) {
        self.drain();
        self.sent.clear();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.take(output);
        }
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Send { id, target, bytes } => {
                let dead = self.dead.get(&target.remote).copied();
                if let Some(dead) = dead.filter(|_| target.transport.is_reliable()) {
                    let after = match dead {
                        Dead::Refuses => Duration::ZERO,
                        Dead::Hangs => Duration::from_millis(1500),
                    };
                    self.failing.push((self.now + after, id, target.remote));
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                assert_no_forbidden_forms(&target, &text);
                self.sent.push_back((target, text));
            }
            Output::Journal(Entry::Ended(record)) => {
                self.records.push(Arc::unwrap_or_clone(record))
            }
            Output::Journal(entry) => self.journal.push(entry),
            Output::Callbacks(callbacks) => self.callbacks = callbacks,
            Output::Help { call, .. } => self.help.push(*call),
            Output::Registered(kept) => self.kept = Some(kept),
            Output::Event(Event::RegisterAnswered(answer)) => self.registers.push(answer),
            Output::Media { command, .. } => {
                if let Command::Release(session) = command
                    && !self.silent_relay
                {
                    let stats = Box::default();
                    let why = media_relay::End::Released;
                    let event = media_relay::Event::Ended { session, why, stats };
                    self.core.handle_media(event, self.now);
                }
                self.media.push(command);
            }
            Output::Retire(flow) => self.retired.push(flow),
            Output::Close(flow) => self.closed.push(flow),
            Output::Hand { to, source, raw } => self.handed.push_back((to, source, raw)),
            Output::Event(Event::Fault) => self.faults += 1,
            Output::Event(Event::Silent(silent)) => self.silent.push(silent),
            Output::Event(Event::Large(how)) => self.large.push(how),
            Output::Event(Event::Registration { up, granted, .. }) => {
                self.registered.push((up, granted.as_secs()));
            }
            Output::Event(Event::Registering { outcome, .. }) => self.registering.push(outcome),
            Output::Query { id, name, kind } => self.queries.push_back((id, name, kind)),
            Output::Event(_) => {}
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let failing = self.failing.iter().map(|(at, ..)| *at).min();
            let due = self.core.poll_timeout().into_iter().chain(failing).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = due.max(self.now);
            let now = self.now;
            for (_, id, remote) in self.failing.extract_if(.., |(at, ..)| *at <= now) {
                self.core.handle_refused(Refusal::Dial, remote, now);
                self.core.handle_send_failed(id, now);
            }
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// A message from the carrier (UDP) or the proxy (a TLS connection of its own making).
    fn hear(&mut self, from: &str, text: &str) {
        let text = text.replace('\n', "\r\n");
        let message = Message::parse(Bytes::from(text.clone())).unwrap();
        let remote: SocketAddr = from.parse().unwrap();
        let tls = remote.port() == 5061;
        let source = Source {
            transport: if tls { Transport::Tls } else { Transport::Udp },
            local: LocalId(u16::from(!tls)),
            local_addr: "127.0.0.10:5060".parse().unwrap(),
            remote,
            flow: tls.then(|| flow_of(remote)),
        };
        if let Some(flow) = source.flow {
            let opened = Opened { local: source.local, remote, inbound: true };
            self.core.handle_opened(flow, opened, self.now);
        }
        if self.core.sort(&source, text.as_bytes(), self.now).is_some() {
            self.core.handle_message(source, message, self.now);
        }
        self.drain();
    }

    /// The newest plan that the relay was told.
    fn plan(&self) -> &media_relay::Plan {
        let plan = self.media.iter().rev().find_map(|command| match command {
            Command::Apply(plan) | Command::Resume { plan, .. } => Some(&**plan),
            Command::Kept(_) | Command::Tap { .. } | Command::Release(_) | Command::Cool { .. } => {
                None
            }
        });
        plan.expect("a plan")
    }

    /// The first message sent to that address whose first line begins so.
    fn expect(&mut self, to: &str, start: &str) -> String {
        let at = self
            .sent
            .iter()
            .position(|(target, text)| target.remote.to_string() == to && text.starts_with(start));
        let found = at.and_then(|at| self.sent.remove(at));
        found.map(|(_, text)| text).unwrap_or_else(|| {
            let seen: Vec<String> =
                self.sent.iter().map(|(t, m)| format!("{} {}", t.remote, line(m))).collect();
            panic!("nothing like {start:?} was sent to {to}; sent: {seen:#?}")
        })
    }

    fn nothing_but(&mut self, to: &str, starts: &[&str]) {
        for (target, text) in self.sent.drain(..) {
            if target.remote.to_string() == to {
                assert!(starts.iter().any(|start| text.starts_with(start)), "{text}");
            }
        }
    }
}

/// The tables of a configuration; every file of music in it holds a clip as long as its name, unless that is `late`.
fn routes(config: config::Config) -> Arc<Routes> {
    let of_trunks = config.trunks.iter().filter_map(|trunk| trunk.hold_music.clone());
    let of_tenants = config.tenants.iter().filter_map(|tenant| tenant.hold_music.clone());
    let sound = |path: std::path::PathBuf| {
        let clip = media_relay::audio::Clip::new(&vec![0; path.as_os_str().len()]).unwrap();
        let late = path.as_os_str() == "late";
        let sound = if late { OnceLock::new() } else { OnceLock::from(Arc::new(clip)) };
        (path, Arc::new(sound))
    };
    let sounds = of_trunks.chain(of_tenants).map(sound).collect();
    Arc::new(Routes::new(Arc::new(config)).with_sounds(sounds))
}

/// Each proxy has one connection.
fn flow_of(remote: SocketAddr) -> FlowId {
    let IpAddr::V4(ip) = remote.ip() else { panic!("IPv4 only") };
    FlowId(u64::from(ip.octets()[3]) - 13)
}

/// The SDP of a message; empty without any.
fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

fn value<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// TR-075, on everything that leaves in any of these tests.
fn assert_no_forbidden_forms(target: &Target, text: &str) {
    // A response repeats these as the peer wrote them (RFC 3261 §8.2.6.2).
    let echoed = |l: &str| {
        text.starts_with("SIP/2.0") && ["Via", "From", "To"].iter().any(|name| l.starts_with(name))
    };
    for l in text.lines().filter(|l| !echoed(l)) {
        assert!(!l.contains("sips:") && !l.contains("sip:@"), "{text}");
    }
    if target.local == LocalId(0) {
        for name in ["Contact", "Record-Route"] {
            for l in text.lines().filter(|l| l.starts_with(name)) {
                assert!(l.contains("sbc.test:5061;transport=tls"), "{l}");
            }
        }
    }
}

fn with_body(head: &str, body: &str) -> String {
    if body.is_empty() {
        return format!("{head}Content-Length: 0\n\n");
    }
    let length = body.replace('\n', "\r\n").len();
    format!("{head}Content-Type: application/sdp\nContent-Length: {length}\n\n{body}")
}

const PLAIN: &str = "v=0\no=- 1 1 IN IP4 127.0.0.50\ns=-\nc=IN IP4 127.0.0.50\nt=0 0\n\
    m=audio 30000 RTP/AVP 8 0 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n";
const SECURE: &str = "v=0\no=- 1 1 IN IP4 127.0.0.20\ns=-\nc=IN IP4 127.0.0.20\nt=0 0\n\
    m=audio 40000 RTP/SAVP 8 101\na=rtpmap:101 telephone-event/8000\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31\n";

fn carrier_invite(called: &str, body: &str) -> String {
    with_body(
        &format!(
            "INVITE sip:{called}@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc1\n\
             Max-Forwards: 70\nFrom: \"Ann\" <sip:+442071234567@127.0.0.50>;tag=ca\n\
             To: <sip:{called}@127.0.0.10>\nCall-ID: c1\nCSeq: 1 INVITE\n\
             Contact: <sip:ann@{CARRIER}>\n"
        ),
        body,
    )
}

/// The same for another call, to the next number.
fn second_invite() -> String {
    let invite = carrier_invite("+442079460002", PLAIN);
    invite.replace("Call-ID: c1", "Call-ID: c7").replace("z9hG4bKc1", "z9hG4bKc7")
}

/// Teams calls a number outside; `name` is the Call-ID.
fn teams_invite(called: &str, name: &str, more: &str, body: &str) -> String {
    let head = format!(
        "INVITE sip:{called}@t001.sbc.test:5061;user=phone;transport=tls SIP/2.0\n\
         VIA: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bK{name}\nMAX-FORWARDS: 70\n\
         FROM: <sip:+442079460001@sip.teams.test>;tag=x\nTO: <sip:{called}@t001.sbc.test>\n\
         CALL-ID: {name}\nCSEQ: 1 INVITE\nCONTACT: <sip:api.pstnhub.test:443;x-i=1>\n{more}"
    );
    with_body(&head, body)
}

fn carrier_reinvite(ok: &str, cseq: u32, body: &str) -> String {
    with_body(
        &format!(
            "INVITE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKr{cseq}\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: {cseq} INVITE\n\
             Contact: <sip:ann@{CARRIER}>\n",
            value(ok, "From"),
            value(ok, "To"),
        ),
        body,
    )
}

/// A response to a request that the gateway sent.
fn reply(request: &str, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let head = format!(
        "SIP/2.0 {status}\nVia: {}\nFrom: {}\nTo: {};tag={tag}\nCall-ID: {}\nCSeq: {}\n{extra}",
        value(request, "Via"),
        value(request, "From"),
        value(request, "To"),
        value(request, "Call-ID"),
        value(request, "CSeq"),
    );
    with_body(&head, body)
}

/// A request of the proxy inside the dialog that `invite` began.
fn in_dialog(invite: &str, method: &str, cseq: u32, tag: &str, extra: &str, body: &str) -> String {
    let head = format!(
        "{method} sip:x@t001.sbc.test:5061 SIP/2.0\n\
         Via: SIP/2.0/TLS sip-du-a.pstnhub.test:5061;branch=z9hG4bKp{method}{cseq}\n\
         Max-Forwards: 70\nFrom: {};tag={tag}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\n{extra}",
        value(invite, "To"),
        value(invite, "From"),
        value(invite, "Call-ID"),
    );
    with_body(&head, body)
}

const TEAMS_CONTACT: &str = "Contact: <sip:api-du-a.pstnhub.test:443;x-i=0900a0b8-ffff-4f45-b1bd-000000000001;x-c=a/s/1/b>\n";

/// A call from the carrier, answered by the proxy: the INVITE to the proxy, and the 200 to the carrier.
fn answered(world: &mut World) -> (String, String) {
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.expect(CARRIER, "SIP/2.0 100");
    let invite = world.expect(PROXY, "INVITE sip:+442079460001@sip.teams.test:5061;user=phone");
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
    world.expect(CARRIER, "SIP/2.0 180");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    world.hear(CARRIER, &carrier_ack(&ok));
    (invite, ok)
}

fn carrier_ack(ok: &str) -> String {
    format!(
        "ACK sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc2\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 1 ACK\nContent-Length: 0\n\n",
        value(ok, "From"),
        value(ok, "To"),
    )
}

fn carrier_bye(ok: &str) -> String {
    format!(
        "BYE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc3\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 2 BYE\nContent-Length: 0\n\n",
        value(ok, "From"),
        value(ok, "To"),
    )
}

fn first_proxy() -> crate::routing::Place {
    crate::routing::Place::Proxy { edge: crate::routing::EdgeId(0), proxy: 0 }
}
