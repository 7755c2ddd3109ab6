//! The whole core on virtual time: messages in, messages out, no socket. Peers are text templates.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use media_relay::SessionId;
use sip_stack::locate::Answer;
use sip_stack::transport::{LocalId, Transport};

use super::*;
use crate::cdr::Record;
use crate::event::Refusal;
use crate::routing::tests::config;

mod door;
mod failover;
mod faults;
mod flows;
mod hold;
mod isolation;
mod kin;
mod names;
mod ports;
mod rekey;
mod reload;
mod restore;
mod sessions;

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
    /// How many processes came before.
    restarts: u32,
    /// The relay tells no figures.
    silent_relay: bool,
    media: Vec<Command>,
    faults: usize,
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
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let mut seed = u64::from(epoch);
        let random = Random::new(move |buffer| {
            for byte in buffer {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 33) as u8;
            }
        });
        let pools = Pools::new(&config);
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
                routes: routes(config),
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
            restarts: 0,
            silent_relay: false,
            media: Vec::new(),
            faults: 0,
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
                Output::Journal(Entry::Ended(record)) => self.records.push(*record),
                Output::Journal(entry) => self.journal.push(entry),
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
                Output::Query { id, name, kind } => self.queries.push_back((id, name, kind)),
                Output::Event(_) => {}
            }
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

/// Each proxy has one connection.
/// The tables of a configuration; every file of music in it holds a clip as long as its name.
fn routes(config: config::Config) -> Arc<Routes> {
    let of_trunks = config.trunks.iter().filter_map(|trunk| trunk.hold_music.clone());
    let of_tenants = config.tenants.iter().filter_map(|tenant| tenant.hold_music.clone());
    let clip = |path: std::path::PathBuf| {
        let clip = media_relay::audio::Clip::new(&vec![0; path.as_os_str().len()]);
        (path, Arc::new(clip.expect("a name")))
    };
    let sounds = of_trunks.chain(of_tenants).map(clip).collect();
    Arc::new(Routes::new(Arc::new(config)).with_sounds(sounds))
}

fn flow_of(remote: SocketAddr) -> FlowId {
    let IpAddr::V4(ip) = remote.ip() else { panic!("IPv4 only") };
    FlowId(u64::from(ip.octets()[3]) - 13)
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

#[test]
fn tr_017_a_carrier_call_bears_the_tenants_name_in_every_message() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE sip:+442079460001@sip.teams.test:5061;user=phone");
    assert_eq!(value(&invite, "Contact"), "<sip:+442071234567@t001.sbc.test:5061;transport=tls>");
    assert!(
        value(&invite, "From").starts_with("\"Ann\" <sip:+442071234567@t001.sbc.test;user=phone>")
    );
    assert!(value(&invite, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
    assert!(invite.contains("RTP/SAVP") && invite.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80"));
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(ok.contains("RTP/AVP") && !ok.contains("crypto"), "{ok}");
    let ack = world.expect(PROXY, "ACK sip:api-du-a.pstnhub.test:443;x-i=");
    assert!(value(&ack, "Contact").contains("@t001.sbc.test:5061;transport=tls"));
    assert!(value(&ack, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443;x-i=");
    assert!(value(&bye, "Contact").contains("@t001.sbc.test:5061;transport=tls"));
    assert!(value(&bye, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
}

#[test]
fn tr_024_the_peers_contact_is_echoed_byte_for_byte() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.hear(CARRIER, &carrier_bye(&ok));
    let bye = world.expect(PROXY, "BYE ");
    let uri = "sip:api-du-a.pstnhub.test:443;x-i=0900a0b8-ffff-4f45-b1bd-000000000001;x-c=a/s/1/b";
    assert_eq!(line(&bye), format!("BYE {uri} SIP/2.0"));
}

#[test]
fn a_call_ends_on_both_sides_with_one_record_and_leaves_nothing() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    world.hear(
        PROXY,
        &in_dialog(&invite, "BYE", 3, "t1", "REASON: Q.850;cause=16;text=\"x\"\n", ""),
    );
    world.expect(PROXY, "SIP/2.0 200");
    let bye = world.expect(CARRIER, "BYE sip:ann@127.0.0.50:5070");
    assert_eq!(value(&bye, "Reason"), "Q.850;cause=16;text=\"x\"");
    world.hear(CARRIER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!(world.records.len(), 1);
    let record = &world.records[0];
    assert_eq!((record.ended_by.as_str(), record.cause.sip), ("callee", 200));
    assert_eq!(record.legs[0].trunk.as_deref(), Some("carrier-a"));
    assert_eq!(record.legs[1].tenant.as_deref(), Some("t001"));
    assert_eq!(
        record.legs[1].correlation_id.as_deref(),
        Some("0900a0b8-ffff-4f45-b1bd-000000000001")
    );
    world.wait(Duration::from_secs(70));
    assert_eq!(world.core.calls(), 0);
    assert!(world.core.dialogs.is_empty());
    let options = 2;
    assert!(world.core.gauges().transactions <= options, "{:?}", world.core.gauges());
    assert_eq!(world.core.gauges().free_port_pairs, 100);
}

#[test]
fn tr_034_cancel_goes_through_with_its_reason() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
    let cancel = format!(
        "CANCEL sip:+442079460001@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc1\n\
         Max-Forwards: 70\nFrom: <sip:+442071234567@127.0.0.50>;tag=ca\n\
         To: <sip:+442079460001@127.0.0.10>\nCall-ID: c1\nCSeq: 1 CANCEL\n\
         Reason: SIP;cause=200;text=\"Call completed elsewhere\"\nContent-Length: 0\n\n"
    );
    world.hear(CARRIER, &cancel);
    world.expect(CARRIER, "SIP/2.0 487");
    let cancel = world.expect(PROXY, "CANCEL ");
    assert_eq!(value(&cancel, "Reason"), "SIP;cause=200;text=\"Call completed elsewhere\"");
}

#[test]
fn a_silent_proxy_is_left_for_the_next_and_only_one_rings() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.expect(PROXY, "INVITE ");
    world.wait(Duration::from_millis(2600));
    let second = world.expect("127.0.0.21:5061", "INVITE ");
    world.hear("127.0.0.21:5061", &reply(&second, "200 OK", "t2", TEAMS_CONTACT, SECURE));
    world.expect(CARRIER, "SIP/2.0 200");
}

#[test]
fn tr_033_all_proxies_silent_is_503_within_eight_seconds() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.wait(Duration::from_secs(8));
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert!(value(&refused, "Reason").contains("cause=102"));
    assert_eq!(world.records[0].attempts.len(), 2);
}

#[test]
fn busy_is_final_and_relayed_once() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "486 Busy Here", "t1", "", ""));
    let refused = world.expect(CARRIER, "SIP/2.0 486");
    assert!(value(&refused, "Reason").contains("cause=17"));
    world.wait(Duration::from_secs(5));
    world.nothing_but("127.0.0.21:5061", &["OPTIONS"]);
}

#[test]
fn strangers_hear_nothing_and_known_trunks_get_a_reason() {
    let mut world = World::new();
    let stranger = carrier_invite("+442079460001", PLAIN).replace(CARRIER, "127.0.0.99:5070");
    world.hear("127.0.0.99:5070", &stranger);
    world.nothing_but("127.0.0.99:5070", &[]);
    world.hear(CARRIER, &carrier_invite("+442079999999", PLAIN));
    world.expect(CARRIER, "SIP/2.0 404");
    let [record] = &world.records[..] else { panic!("one record: {:?}", world.records) };
    assert_eq!((record.cause.sip, record.legs[0].trunk.as_deref()), (404, Some("carrier-a")));
    assert_eq!(record.legs[0].called, "+442079999999");
}

#[test]
fn tr_047_an_offer_without_keys_is_refused_with_488() {
    let mut world = World::new();
    let invite = |body: &str| {
        with_body(
            "INVITE sip:+33123456789@t001.sbc.test:5061;user=phone;transport=tls SIP/2.0\n\
             VIA: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bKt1\nMAX-FORWARDS: 70\n\
             FROM: <sip:+442079460001@sip.teams.test>;tag=x\nTO: <sip:+33123456789@t001.sbc.test>\n\
             CALL-ID: t1\nCSEQ: 1 INVITE\nCONTACT: <sip:api.pstnhub.test:443;x-i=1>\n",
            body,
        )
    };
    world.hear(PROXY, &invite(PLAIN));
    world.expect(PROXY, "SIP/2.0 488");
    world.nothing_but(CARRIER, &[]);
    let dtls = SECURE.replace("RTP/SAVP", "UDP/TLS/RTP/SAVP")
        + "a=fingerprint:sha-256 00:11\na=setup:actpass\n";
    world.hear(PROXY, &invite(&dtls).replace("z9hG4bKt1", "z9hG4bKt2").replace("t1\n", "t2\n"));
    world.expect(CARRIER, "INVITE sip:+33123456789@127.0.0.50:5070");
}

#[test]
fn hold_and_resume_cross_the_call_as_each_side_knows_them() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    let hold = PLAIN.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\n";
    let head = format!(
        "INVITE sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc9\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 2 INVITE\n\
         Contact: <sip:ann@{CARRIER}>\n",
        value(&ok, "From"),
        value(&ok, "To"),
    );
    world.hear(CARRIER, &with_body(&head, &hold));
    let offer = world.expect(PROXY, "INVITE sip:api-du-a.pstnhub.test:443");
    assert!(offer.contains("a=inactive"), "{offer}");
    let answer = SECURE.replace("o=- 1 1", "o=- 1 2") + "a=inactive\n";
    let accepted = reply(&offer, "200 OK", "", TEAMS_CONTACT, &answer).replace(";tag=\n", "\n");
    world.hear(PROXY, &accepted);
    let answer = world.expect(CARRIER, "SIP/2.0 200");
    assert!(answer.contains("a=inactive"), "{answer}");
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert!(!plan.sides[0].send && !plan.sides[1].receive);
}

#[test]
fn draining_refuses_new_calls_and_keeps_running_ones() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.core.drain(world.now);
    let other = carrier_invite("+442079460002", PLAIN)
        .replace("Call-ID: c1", "Call-ID: c7")
        .replace("z9hG4bKc1", "z9hG4bKc7");
    world.hear(CARRIER, &other);
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert_eq!(value(&refused, "Retry-After"), "2");
    assert_eq!(world.core.calls(), 1);
    world.hear(CARRIER, &carrier_bye(&ok));
    world.expect(CARRIER, "SIP/2.0 200");
    assert!(!world.core.is_able());
}

fn proxy_options(world: &mut World) -> Vec<(Duration, String)> {
    let start = world.now;
    let mut seen = Vec::new();
    for _ in 0..400 {
        world.wait(Duration::from_secs(1));
        for (target, text) in world.sent.drain(..) {
            if text.starts_with("OPTIONS ") && target.remote.to_string() == PROXY {
                seen.push((world.now - start, text));
            }
        }
        for (_, text) in &seen {
            if world.now - start == seen.last().unwrap().0 && *text == seen.last().unwrap().1 {
                let ok = reply(text, "200 OK", "o", "Allow: INVITE\n", "");
                let message = Message::parse(Bytes::from(ok.replace('\n', "\r\n"))).unwrap();
                let source = Source {
                    transport: Transport::Tls,
                    local: LocalId(0),
                    local_addr: "127.0.0.11:5061".parse().unwrap(),
                    remote: PROXY.parse().unwrap(),
                    flow: Some(FlowId(9)),
                };
                world.core.handle_message(source, message, world.now);
            }
        }
        world.drain();
    }
    seen
}

#[test]
fn tr_001_tr_002_tr_004_options_every_60_to_65_seconds_in_the_name_of_the_edge() {
    let mut world = World::new();
    world.core.handle_timeout(world.now);
    world.drain();
    let seen = proxy_options(&mut world);
    assert!((6..=7).contains(&seen.len()), "{}", seen.len());
    for pair in seen.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!((Duration::from_secs(60)..=Duration::from_secs(66)).contains(&gap), "{gap:?}");
    }
    let (_, first) = &seen[0];
    assert_eq!(line(first), "OPTIONS sip:sip.teams.test:5061;transport=tls SIP/2.0");
    assert_eq!(value(first, "Contact"), "<sip:sbc.test:5061;transport=tls>");
    assert!(value(first, "Via").starts_with("SIP/2.0/TLS sbc.test:5061;"));
    assert!(value(first, "From").starts_with("<sip:sbc.test:5061>;tag="));
    let allow = value(first, "Allow");
    assert!(allow.contains("REFER") && allow.contains("NOTIFY"));
    // TR-004: that 200 had no Contact.
    assert_eq!(world.core.health.rank(first_proxy(), world.now), 0);
}

fn first_proxy() -> crate::routing::Place {
    crate::routing::Place::Proxy { edge: crate::routing::EdgeId(0), proxy: 0 }
}

#[test]
fn tr_003_options_of_the_peer_are_answered_on_the_same_connection() {
    let mut world = World::new();
    world.hear(
        PROXY,
        "OPTIONS sip:sbc.test:5061;transport=tls SIP/2.0\n\
         FROM: <sip:sip-du-a-eu.pstnhub.test:5061>;tag=1\nTO: <sip:sbc.test>\nCSEQ: 1 OPTIONS\n\
         CALL-ID: o1\nMAX-FORWARDS: 70\nVIA: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bKo1\n\
         CONTACT: <sip:sip-du-a-eu.pstnhub.test:5061>\nCONTENT-LENGTH: 0\n\n",
    );
    let (target, ok) =
        world.sent.iter().find(|(_, text)| text.starts_with("SIP/2.0 200")).cloned().unwrap();
    assert_eq!(target.flow, Some(FlowId(7)));
    assert_eq!(value(&ok, "Contact"), "<sip:sbc.test:5061;transport=tls>");
    assert!(value(&ok, "Allow").contains("REFER"));
    assert_eq!(value(&ok, "Supported"), "replaces, timer");
}

#[test]
fn tr_025_a_bye_on_another_connection_finds_its_dialog() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    let bye = in_dialog(&invite, "BYE", 3, "t1", "", "");
    let message = Message::parse(Bytes::from(bye.replace('\n', "\r\n"))).unwrap();
    let source = Source {
        transport: Transport::Tls,
        local: LocalId(0),
        local_addr: "127.0.0.11:5061".parse().unwrap(),
        remote: "127.0.0.99:61234".parse().unwrap(),
        flow: Some(FlowId(77)),
    };
    let opened = Opened { local: source.local, remote: source.remote, inbound: true };
    world.core.handle_opened(FlowId(77), opened, world.now);
    world.core.handle_message(source, message, world.now);
    world.drain();
    let (target, _) =
        world.sent.iter().rev().find(|(_, text)| text.starts_with("SIP/2.0 200")).unwrap();
    assert_eq!(target.flow, Some(FlowId(77)));
    world.expect(CARRIER, "BYE ");
}

#[test]
fn tr_030_an_answer_without_ringing_is_an_answer() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "200 OK", "v1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(ok.contains("m=audio 2"), "{ok}");
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert!(plan.sides.iter().all(|side| side.send && side.receive));
}

#[test]
fn a_dead_connection_inside_a_dialog_is_replaced() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    world.core.handle_closed(FlowId(7), world.now);
    world.hear(CARRIER, &carrier_bye(&ok));
    // The Contact's name is unknown here, so a query leaves first; then the address last heard is tried.
    world.wait(Duration::from_secs(3));
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test:443");
    assert!(value(&bye, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
}

#[test]
fn a_caller_without_an_offer_gets_ours() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", ""));
    let invite = world.expect(PROXY, "INVITE ");
    assert!(invite.contains("RTP/SAVP 8 0 101"), "{invite}");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    assert!(ok.contains("RTP/AVP 8") && ok.contains("a=rtpmap:101 telephone-event"), "{ok}");
    let ack = with_body(
        &format!(
            "ACK sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKc2\n\
             Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: c1\nCSeq: 1 ACK\n",
            value(&ok, "From"),
            value(&ok, "To"),
        ),
        PLAIN,
    );
    world.hear(CARRIER, &ack);
    let Some(Command::Apply(plan)) = world.media.last() else { panic!("a plan") };
    assert_eq!(plan.sides[0].rtp, Some("127.0.0.50:30000".parse().unwrap()));
    assert!(plan.sides.iter().all(|side| side.send && side.receive));
}
