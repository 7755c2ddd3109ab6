//! Transactions: one machine alone, and the endpoint with all it keeps at 2,500 INVITEs a second.
//!
//! Virtual time goes on by 400 us with every transaction, so that the endpoint holds as many
//! finished ones as under that load: 64 x T1 of them, some 80,000, each with its timer.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use sip_stack::endpoint::{Endpoint, Output, Owner, Request, Settings};
use sip_stack::message::{Draft, HeaderId, Message, Method};
use sip_stack::transaction::{Timing, server_invite};
use sip_stack::transport::{LocalId, Source, Target, Transport};

criterion_group!(benches, machine, endpoint);
criterion_main!(benches);

/// An INVITE server transaction from its making to its last timer.
fn machine(criterion: &mut Criterion) {
    let timing = Timing::default();
    let start = clock();
    criterion.bench_function("transaction/server INVITE, whole life", |bencher| {
        bencher.iter(|| {
            let mut machine = server_invite::ServerInvite::new(false, &timing, black_box(start));
            let mut now = start;
            for input in [server_invite::Input::Provisional, server_invite::Input::Success] {
                black_box(machine.handle(input, &timing, now));
            }
            while let Some(due) = machine.poll_timeout() {
                now = due;
                while let Some(timer) = machine.take_due(now) {
                    black_box(machine.handle(server_invite::Input::Timer(timer), &timing, now));
                }
            }
            machine.state()
        });
    });
}

fn endpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("endpoint");
    group.bench_function("server INVITE: 100, 200", |bencher| {
        let mut world = World::new();
        bencher.iter(|| world.serve());
    });
    group.bench_function("client BYE: 200", |bencher| {
        let mut world = World::new();
        bencher.iter(|| world.ask());
    });
    group.finish();
}

struct World {
    endpoint: Endpoint,
    now: Instant,
    count: u64,
}

impl World {
    /// With as many finished transactions as there are under load.
    fn new() -> Self {
        let endpoint = Endpoint::new(Settings::default(), [7; 32]);
        let mut world = Self { endpoint, now: clock(), count: 0 };
        (0..LIVING).for_each(|_| world.serve());
        world
    }

    /// An INVITE comes and is answered.
    fn serve(&mut self) {
        self.pass();
        let text = format!(
            "INVITE sip:+15550010001@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKb{0}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+12025550000@192.0.2.9>;tag={0}\r\nTo: <sip:+15550010001@192.0.2.1>\r\n\
             Call-ID: {0}@bench\r\nCSeq: 1 INVITE\r\nContact: <sip:192.0.2.9>\r\nContent-Length: 0\r\n\r\n",
            self.count
        );
        let message = Message::parse(Bytes::from(text)).expect("a good INVITE");
        self.endpoint.handle_message(source(), message, self.now);
        while let Some(output) = self.endpoint.poll_output() {
            if let Output::Request { server, message, .. } = output {
                let mut answer = Draft::response(&message, 200);
                answer.push(HeaderId::Contact, &b"<sip:192.0.2.1>"[..]);
                self.endpoint.respond(server, answer, self.now);
            }
        }
    }

    /// A BYE of ours leaves and is answered.
    fn ask(&mut self) {
        self.pass();
        let mut draft = Draft::request(Method::Bye, &b"sip:192.0.2.9"[..]);
        draft
            .push(HeaderId::MaxForwards, &b"70"[..])
            .push(HeaderId::From, &b"<sip:+15550010001@192.0.2.1>;tag=ours"[..])
            .push(HeaderId::To, &b"<sip:+12025550000@192.0.2.9>;tag=theirs"[..])
            .push(HeaderId::CallId, format!("{}@bench", self.count))
            .push(HeaderId::CSeq, &b"2 BYE"[..]);
        let target = Target {
            transport: Transport::Udp,
            local: LocalId(1),
            remote: source().remote,
            name: None,
            flow: None,
        };
        let sent_by = Bytes::from_static(b"192.0.2.1:5060");
        let request = Request { draft, target, sent_by, timeout: None };
        self.endpoint.request(Owner(self.count), 1, request, self.now);
        while let Some(output) = self.endpoint.poll_output() {
            if let Output::Send { bytes, .. } = output {
                let request = Message::parse(bytes).expect("our own BYE");
                let answer = Draft::response(&request, 200).write();
                let answer = Message::parse(answer).expect("its answer");
                self.endpoint.handle_message(source(), answer, self.now);
            }
        }
    }

    fn pass(&mut self) {
        self.count += 1;
        self.now += STEP;
        if self.endpoint.poll_timeout().is_some_and(|due| due <= self.now) {
            self.endpoint.handle_timeout(self.now);
        }
        while let Some(output) = self.endpoint.poll_output() {
            black_box(output);
        }
    }
}

fn source() -> Source {
    Source {
        transport: Transport::Udp,
        local: LocalId(1),
        local_addr: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 9], 5060).into(),
        flow: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn clock() -> Instant {
    Instant::now()
}

/// From one transaction to the next: 2,500 a second.
const STEP: Duration = Duration::from_micros(400);
/// More than live at one time.
const LIVING: usize = 100_000;
