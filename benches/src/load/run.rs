//! The generator's sockets and its loop.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};

use super::callee::Callee;
use super::caller::Caller;
use super::report::Report;
use super::text::{Persona, status};
use super::tls::{Flow, Settings};
use super::{Direction, Place, Plan, clock};

/// Both ends, open for one server.
pub struct Load {
    epoll: std::os::fd::OwnedFd,
    datagrams: UdpSocket,
    listener: TcpListener,
    flows: Vec<Option<Flow>>,
    /// What waits to be written, by flow.
    plain: Vec<Vec<u8>>,
    settings: Settings,
    place: Place,
    /// On which flow the Teams end calls.
    dialled: Option<usize>,
    carrier: Callee,
    teams: Callee,
    caller: Caller,
    direction: Direction,
    salt: u32,
    packet: Box<[u8]>,
    buffer: Vec<u8>,
}

impl Load {
    /// Opens the sockets. The server need not run yet.
    ///
    /// # Errors
    /// When an address is taken or a certificate cannot be read.
    pub fn open(place: Place, certificate: &Path, key: &Path, roots: &Path) -> io::Result<Self> {
        let settings = Settings::read(certificate, key, roots)?;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_send_buffer_size(BUFFER)?;
        socket.bind(&place.carrier().into())?;
        socket.connect(&place.realm().into())?;
        socket.set_nonblocking(true)?;
        let datagrams: UdpSocket = socket.into();
        let listener = TcpListener::bind(place.proxy())?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &datagrams, epoll::EventData::new_u64(DATAGRAMS), IN)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), IN)?;
        let carrier = Persona::carrier(place.carrier(), place.realm());
        let teams = Persona::teams(place.proxy());
        let salt = std::process::id();
        Ok(Self {
            epoll,
            datagrams,
            listener,
            flows: Vec::new(),
            plain: Vec::new(),
            settings,
            place,
            dialled: None,
            caller: Caller::new(carrier.clone(), salt, true, clock()),
            carrier: Callee::new(carrier, true),
            teams: Callee::new(teams, true),
            direction: Direction::FromCarrier,
            salt,
            packet: vec![0; 65_536].into_boxed_slice(),
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Serves both ends for a while without calling: OPTIONS are answered, connections accepted.
    ///
    /// # Errors
    /// When the system gives no events.
    pub fn idle(&mut self, time: Duration) -> io::Result<()> {
        let end = clock() + time;
        loop {
            let now = clock();
            if now >= end {
                return Ok(());
            }
            self.turn(now, end)?;
        }
    }

    /// Whether the server has a connection to the Teams proxy.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.flows.iter().any(Option::is_some)
    }

    /// One run.
    ///
    /// # Errors
    /// When the system gives no events, or the server takes no connection of the Teams end.
    pub fn run(&mut self, plan: &Plan) -> io::Result<Report> {
        self.prepare(plan)?;
        self.raise_standing(plan)?;
        let own = cpu();
        let start = clock();
        let end = start + plan.window;
        let total = (plan.rate * plan.window.as_secs_f64()) as u64;
        let (mut begun, mut in_window, mut ended) = (0, None, 0);
        let close = end + plan.patience;
        loop {
            let now = clock();
            let elapsed = now.saturating_duration_since(start).as_secs_f64();
            let due = ((elapsed * plan.rate) as u64 + 1).min(total);
            for _ in 0..BURST.min(due - begun) {
                let at = Duration::from_secs_f64(begun as f64 / plan.rate);
                let late = now.saturating_duration_since(start + at);
                self.caller.counts.late.push(u32::try_from(late.as_micros()).unwrap_or(u32::MAX));
                begun += 1;
                self.begin(false, now);
            }
            let share = (elapsed / plan.window.as_secs_f64()).min(1.0);
            let due_standing = (share * plan.standing as f64) as usize;
            if due_standing > ended {
                self.end_standing(due_standing - ended, now);
                ended = due_standing;
            }
            if now >= end && in_window.is_none() {
                in_window = Some(self.caller.counts.answers());
            }
            let over = begun == total && self.caller.open() == 0 && ended == plan.standing;
            if over && now >= end || now >= close {
                break;
            }
            let next = start + Duration::from_secs_f64(begun as f64 / plan.rate);
            let next = if begun < total { next } else { end.max(now + TICK) };
            let behind = begun < total && next <= now;
            self.turn(now, if behind { now } else { next })?;
        }
        self.caller.give_up();
        let counts = std::mem::take(&mut self.caller.counts);
        let in_window = in_window.unwrap_or_else(|| counts.answers());
        let mut report = counts.report(plan.rate, plan.window, in_window);
        report.own_cpu = cpu() - own;
        Ok(report)
    }

    fn prepare(&mut self, plan: &Plan) -> io::Result<()> {
        self.salt = self.salt.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        self.carrier.set_ring(plan.ring);
        self.teams.set_ring(plan.ring);
        self.direction = plan.direction;
        let (persona, repeats) = match plan.direction {
            Direction::FromCarrier => {
                (Persona::carrier(self.place.carrier(), self.place.realm()), true)
            }
            Direction::FromTeams => {
                if self.dialled.is_none_or(|flow| self.flows[flow].is_none()) {
                    let flow = Flow::connect(&self.settings, self.place)?;
                    self.dialled = Some(self.keep(flow)?);
                }
                (Persona::teams(self.place.proxy()), false)
            }
        };
        self.caller = Caller::new(persona, self.salt, repeats, clock());
        self.caller.set_hold(plan.hold);
        Ok(())
    }

    /// Begins the calls that stand, gently, and waits until they do.
    fn raise_standing(&mut self, plan: &Plan) -> io::Result<()> {
        for _ in 0..plan.standing {
            let now = clock();
            self.begin(true, now);
            self.turn(now, now + STANDING_PACE)?;
        }
        let limit = clock() + plan.patience;
        while self.caller.standing() < plan.standing {
            let now = clock();
            if now >= limit {
                return Err(io::Error::other("the calls that shall stand do not"));
            }
            self.turn(now, now + TICK)?;
        }
        self.caller.counts.begun = 0;
        Ok(())
    }

    fn begin(&mut self, standing: bool, now: Instant) {
        let Self { caller, buffer, datagrams, plain, dialled, direction, .. } = self;
        caller.begin(standing, now, buffer);
        match (direction, dialled) {
            (Direction::FromTeams, Some(flow)) => plain[*flow].extend_from_slice(buffer),
            (Direction::FromCarrier | Direction::FromTeams, _) => send(datagrams, buffer),
        }
    }

    fn end_standing(&mut self, count: usize, now: Instant) {
        let Self { caller, buffer, datagrams, plain, dialled, direction, .. } = self;
        let mut way = Way { datagrams, plain: dialled.map(|flow| &mut plain[flow]) };
        caller.end_standing(count, now, buffer, &mut |bytes| way.send(*direction, bytes));
    }

    /// Reads, answers, writes, and sleeps until `until` at the latest.
    fn turn(&mut self, now: Instant, until: Instant) -> io::Result<()> {
        self.write_flows();
        let until = self.caller.poll_timeout().map_or(until, |due| due.min(until));
        let left = until.saturating_duration_since(now).min(LOOK);
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        let nothing =
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [nothing; 16];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = match epoll::wait(&self.epoll, &mut events[..], Some(&at_once)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let now = clock();
        for event in &events[..ready] {
            match event.data.u64() {
                DATAGRAMS => self.read_datagrams(now),
                LISTENER => self.accept(),
                flow => self.read_flow((flow - FLOWS) as usize, now),
            }
        }
        let Self { caller, buffer, datagrams, plain, dialled, direction, .. } = self;
        let mut way = Way { datagrams, plain: dialled.map(|flow| &mut plain[flow]) };
        caller.handle_timeout(now, buffer, &mut |bytes| way.send(*direction, bytes));
        self.write_flows();
        Ok(())
    }

    fn read_datagrams(&mut self, now: Instant) {
        for _ in 0..READS {
            let length = match self.datagrams.recv(&mut self.packet) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(_) => return,
            };
            let Self { caller, carrier, buffer, datagrams, packet, .. } = self;
            let message = &packet[..length];
            if status(message).is_some() {
                caller.handle(message, now, buffer, &mut |bytes| send(datagrams, bytes));
            } else {
                carrier.handle(message, buffer, |bytes| send(datagrams, bytes));
            }
        }
    }

    fn read_flow(&mut self, index: usize, now: Instant) {
        let Some(flow) = self.flows.get_mut(index).and_then(Option::as_mut) else { return };
        let alive = flow.fill();
        while let Some((start, end)) = flow.next() {
            let bytes = flow.take();
            let message = &bytes[start..end];
            let Self { caller, teams, buffer, plain, .. } = self;
            let plain = &mut plain[index];
            if status(message).is_some() {
                caller.handle(message, now, buffer, &mut |bytes| plain.extend_from_slice(bytes));
            } else {
                teams.handle(message, buffer, |bytes| plain.extend_from_slice(bytes));
            }
            flow.give_back(bytes);
        }
        if !alive {
            self.drop_flow(index);
        }
    }

    fn drop_flow(&mut self, index: usize) {
        if let Some(flow) = self.flows[index].take() {
            let _ = epoll::delete(&self.epoll, &flow.stream);
        }
        self.plain[index].clear();
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // Who cannot shake hands is not served; the report then shows calls that failed.
            if let Ok(flow) = Flow::accept(&self.settings, stream) {
                let _ = self.keep(flow);
            }
        }
    }

    fn keep(&mut self, flow: Flow) -> io::Result<usize> {
        let index = self.flows.len();
        let token = epoll::EventData::new_u64(FLOWS + index as u64);
        epoll::add(&self.epoll, &flow.stream, token, IN)?;
        self.flows.push(Some(flow));
        self.plain.push(Vec::new());
        // What came with the end of the handshake raises no event any more.
        self.read_flow(index, clock());
        Ok(index)
    }

    fn write_flows(&mut self) {
        for index in 0..self.flows.len() {
            let Some(flow) = &mut self.flows[index] else { continue };
            if (!self.plain[index].is_empty() || flow.is_stuck())
                && !flow.write(&mut self.plain[index])
            {
                self.drop_flow(index);
            }
        }
    }
}

/// Where the caller's requests leave.
struct Way<'a> {
    datagrams: &'a UdpSocket,
    plain: Option<&'a mut Vec<u8>>,
}

impl Way<'_> {
    fn send(&mut self, direction: Direction, bytes: &[u8]) {
        match (direction, &mut self.plain) {
            (Direction::FromTeams, Some(plain)) => plain.extend_from_slice(bytes),
            (Direction::FromCarrier | Direction::FromTeams, _) => send(self.datagrams, bytes),
        }
    }
}

/// What does not leave is as good as lost on the way.
fn send(datagrams: &UdpSocket, bytes: &[u8]) {
    if let Err(error) = datagrams.send(bytes)
        && error.kind() == ErrorKind::ConnectionRefused
    {
        let _ = datagrams.send(bytes);
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const IN: epoll::EventFlags = epoll::EventFlags::IN;
const DATAGRAMS: u64 = 0;
const LISTENER: u64 = 1;
/// The token of the first flow.
const FLOWS: u64 = 2;
/// Kernel buffers of the UDP socket.
const BUFFER: usize = 8 << 20;
/// Calls begun in one turn.
const BURST: u64 = 64;
/// Datagrams read in one turn.
const READS: usize = 256;
/// How often the sockets are looked at. They do not wake the generator: that would be paid by the
/// server that sends, with an interrupt of another CPU, which a network card does not ask of it.
const LOOK: Duration = Duration::from_micros(200);
/// Between two calls that shall stand.
const STANDING_PACE: Duration = Duration::from_millis(2);
const TICK: Duration = Duration::from_millis(20);
