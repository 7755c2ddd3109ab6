//! The end that calls: INVITE, ACK, BYE, and what RFC 3261 §17.1 repeats of them on UDP.
//!
//! ```text
//! Free ──INVITE──> Calling ──2xx/ACK──> Talking ──hold──> Ending ──200──> Free (ended)
//!                    └──3xx-6xx/ACK──> Free (refused, failed)
//! ```
//! Calls lie in a ring by their number. One that is still open when its place is needed again has
//! failed, unless it is one of those that stand: their places are passed over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::report::Counts;
use super::text::{Dialog, Label, Name, Persona, lines, number, status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Calling,
    Talking,
    Ending,
}

struct Call {
    number: u64,
    state: State,
    /// INVITE, later BYE.
    sent: Instant,
    /// Whether a provisional response stopped the INVITE's repeats.
    heard: bool,
    standing: bool,
    dialog: Dialog,
}

/// A caller on either transport.
pub(super) struct Caller {
    persona: Persona,
    salt: u32,
    /// Repeats its requests: on UDP.
    repeats: bool,
    hold: Duration,
    calls: Vec<Call>,
    next: u64,
    open: usize,
    /// By which interval, oldest first: whether the request of that call has to be repeated.
    timers: Vec<VecDeque<(Instant, u64, State)>>,
    /// Calls that talk, by their end.
    talking: VecDeque<(Instant, u64)>,
    /// Calls that stand until told otherwise.
    standing: VecDeque<u64>,
    pub(super) counts: Counts,
}

impl Caller {
    pub(super) fn new(persona: Persona, salt: u32, repeats: bool, now: Instant) -> Self {
        let free = || Call {
            number: 0,
            state: State::Free,
            sent: now,
            heard: false,
            standing: false,
            dialog: Dialog::default(),
        };
        Self {
            persona,
            salt,
            repeats,
            hold: Duration::ZERO,
            calls: std::iter::repeat_with(free).take(RING).collect(),
            next: 0,
            open: 0,
            timers: vec![VecDeque::new(); INTERVALS.len()],
            talking: VecDeque::new(),
            standing: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    pub(super) const fn set_hold(&mut self, hold: Duration) {
        self.hold = hold;
    }

    /// Calls that are neither ended nor failed, without those that stand.
    pub(super) fn open(&self) -> usize {
        self.open - self.standing.len()
    }

    pub(super) fn standing(&self) -> usize {
        self.standing.len()
    }

    /// Begins a call.
    pub(super) fn begin(&mut self, standing: bool, now: Instant, buffer: &mut Vec<u8>) {
        while self.is_standing(self.next) {
            self.next += 1;
        }
        let number = self.next;
        self.next += 1;
        let call = &mut self.calls[place(number)];
        if call.state != State::Free {
            self.counts.open += 1;
            self.open -= 1;
        }
        call.number = number;
        call.state = State::Calling;
        call.sent = now;
        call.heard = false;
        call.standing = standing;
        self.open += 1;
        self.counts.begun += 1;
        buffer.clear();
        let label = Label { number, salt: self.salt };
        self.persona.invite(buffer, &label, caller(number), called(number));
        if self.repeats {
            self.timers[0].push_back((now + INTERVALS[0], number, State::Calling));
        }
    }

    /// A response came; what has to be sent is written to `buffer` and handed to `send`.
    pub(super) fn handle(
        &mut self,
        response: &[u8],
        now: Instant,
        buffer: &mut Vec<u8>,
        send: &mut dyn FnMut(&[u8]),
    ) {
        let Some(status) = status(response) else { return };
        let (mut id, mut invite, mut to) = (None, false, &[][..]);
        for (name, value, _) in lines(response) {
            match name {
                Name::CallId => id = number(value),
                Name::CSeq => {
                    invite = value.ends_with(b"INVITE");
                    if id.is_some() && !to.is_empty() {
                        break;
                    }
                }
                Name::To => to = value,
                Name::Via
                | Name::From
                | Name::Contact
                | Name::RecordRoute
                | Name::Length
                | Name::Other => {}
            }
        }
        let Some(id) = id else { return };
        let Some(call) = self.calls.get_mut(place(id)).filter(|call| call.number == id) else {
            return;
        };
        match (call.state, invite, status) {
            (State::Calling, true, 100..200) => call.heard = true,
            (State::Calling, true, 200..300) => self.answered(id, response, now, buffer, send),
            (State::Calling, true, _) => {
                call.state = State::Free;
                self.open -= 1;
                self.counts.refused(status, now - call.sent);
                self.ack_refusal(id, to, buffer, send);
            }
            // A repeated answer: the ACK was lost.
            (State::Talking | State::Ending, true, 200..300) => self.ack(id, buffer, send),
            (State::Free, true, 300..) => self.ack_refusal(id, to, buffer, send),
            (State::Ending, false, 200..300) => {
                call.state = State::Free;
                self.open -= 1;
                self.counts.ended(now - call.sent);
            }
            (State::Ending, false, 300..) => {
                call.state = State::Free;
                self.open -= 1;
                self.counts.bye_refused += 1;
            }
            (State::Free | State::Calling | State::Talking | State::Ending, _, _) => {}
        }
    }

    fn answered(
        &mut self,
        id: u64,
        response: &[u8],
        now: Instant,
        buffer: &mut Vec<u8>,
        send: &mut dyn FnMut(&[u8]),
    ) {
        let call = &mut self.calls[place(id)];
        let end = memchr::memmem::find(response, b"\r\n\r\n").map_or(response.len(), |at| at + 2);
        call.dialog.read(&response[..end]);
        call.state = State::Talking;
        let standing = call.standing;
        if !standing {
            self.counts.answered(now - call.sent);
        }
        self.ack(id, buffer, send);
        if standing {
            self.standing.push_back(id);
        } else if self.hold.is_zero() {
            self.bye(id, now, buffer, send);
        } else {
            self.talking.push_back((now + self.hold, id));
        }
    }

    fn ack(&self, id: u64, buffer: &mut Vec<u8>, send: &mut dyn FnMut(&[u8])) {
        self.in_dialog(id, "ACK", buffer, send);
    }

    fn ack_refusal(&self, id: u64, to: &[u8], buffer: &mut Vec<u8>, send: &mut dyn FnMut(&[u8])) {
        buffer.clear();
        let label = Label { number: id, salt: self.salt };
        self.persona.ack_refusal(buffer, &label, caller(id), called(id), to);
        send(buffer);
    }

    fn bye(&mut self, id: u64, now: Instant, buffer: &mut Vec<u8>, send: &mut dyn FnMut(&[u8])) {
        let call = &mut self.calls[place(id)];
        call.state = State::Ending;
        call.sent = now;
        self.counts.byes += 1;
        if self.repeats {
            self.timers[0].push_back((now + INTERVALS[0], id, State::Ending));
        }
        self.in_dialog(id, "BYE", buffer, send);
    }

    fn in_dialog(&self, id: u64, method: &str, buffer: &mut Vec<u8>, send: &mut dyn FnMut(&[u8])) {
        buffer.clear();
        let call = &self.calls[place(id)];
        let label = Label { number: id, salt: self.salt };
        self.persona.in_dialog(buffer, &label, caller(id), method, &call.dialog);
        send(buffer);
    }

    /// Ends `count` of the calls that stand.
    pub(super) fn end_standing(
        &mut self,
        count: usize,
        now: Instant,
        buffer: &mut Vec<u8>,
        send: &mut dyn FnMut(&[u8]),
    ) {
        for _ in 0..count {
            let Some(id) = self.standing.pop_front() else { return };
            self.bye(id, now, buffer, send);
        }
    }

    /// Sends what is due.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
        send: &mut dyn FnMut(&[u8]),
    ) {
        while let Some((_, id)) = self.talking.pop_front_if(|(due, _)| *due <= now) {
            if self.is(id, State::Talking) {
                self.bye(id, now, buffer, send);
            }
        }
        for stage in 0..INTERVALS.len() {
            while let Some((_, id, state)) =
                self.timers[stage].pop_front_if(|(due, ..)| *due <= now)
            {
                let call = &self.calls[place(id)];
                if !self.is(id, state) || call.heard && state == State::Calling {
                    continue;
                }
                self.counts.repeated += 1;
                match state {
                    State::Calling => {
                        buffer.clear();
                        let label = Label { number: id, salt: self.salt };
                        self.persona.invite(buffer, &label, caller(id), called(id));
                        send(buffer);
                    }
                    State::Ending => self.in_dialog(id, "BYE", buffer, send),
                    State::Free | State::Talking => {}
                }
                if let Some(interval) = INTERVALS.get(stage + 1) {
                    self.timers[stage + 1].push_back((now + *interval, id, state));
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let talking = self.talking.front().map(|(due, _)| *due);
        let timers = self.timers.iter().filter_map(|timers| timers.front()).map(|(due, ..)| *due);
        timers.chain(talking).min()
    }

    /// Counts what is still open as failed and forgets it.
    pub(super) fn give_up(&mut self) {
        for call in &mut self.calls {
            if call.state != State::Free {
                match call.state {
                    State::Ending => self.counts.byes_unanswered += 1,
                    State::Calling | State::Talking => self.counts.open += 1,
                    State::Free => {}
                }
                call.state = State::Free;
            }
        }
        self.open = 0;
        self.standing.clear();
        self.talking.clear();
        self.timers.iter_mut().for_each(VecDeque::clear);
    }

    fn is_standing(&self, number: u64) -> bool {
        let call = &self.calls[place(number)];
        call.standing && call.state != State::Free
    }

    fn is(&self, id: u64, state: State) -> bool {
        let call = &self.calls[place(id)];
        call.number == id && call.state == state
    }
}

const fn place(number: u64) -> usize {
    number as usize % RING
}

const fn caller(number: u64) -> u64 {
    12_025_550_000 + number % 10_000
}

const fn called(number: u64) -> u64 {
    15_550_010_000 + number * 7 % 10_000
}

/// Calls that can be open at once: 5 s at 25,000 a second.
const RING: usize = 1 << 17;
/// Timers A and E with T1 = 500 ms.
const INTERVALS: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(4),
    Duration::from_secs(4),
];
