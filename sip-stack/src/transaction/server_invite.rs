//! The INVITE server transaction: RFC 3261 §17.2.1 as changed by RFC 6026 §7.1.
//!
//! The request has been given to the user and answered 100 when the machine is made. Timers: C ends
//! a transaction that its user forgot (§16.6), G repeats the final response (unreliable transports
//! only), H ends the wait for the ACK, I absorbs repeats of the ACK, L absorbs repeats of the INVITE
//! after a 2xx.
//!
//! | State | INVITE again | ACK | user: 1xx | user: 2xx | user: 3xx-6xx | Timer |
//! |---|---|---|---|---|---|---|
//! | Proceeding | repeat | - | send | send → Accepted | send → Completed | C: abandoned |
//! | Accepted | - | deliver | - | send | - | L: → Terminated |
//! | Completed | repeat | → Confirmed | - | - | - | G: repeat, G doubles up to T2; H: unacknowledged → Terminated |
//! | Confirmed | - | - | - | - | - | I: → Terminated |
//! | Terminated | - | - | - | - | - | - |
//!
//! On a reliable transport Timer I is zero: the machine goes to Terminated in place of Confirmed.
//! A failure to send a response is no input: the machine stays (RFC 6026 §7.1), so that repeats of
//! the INVITE are absorbed, and its timers end it. The 2xx is repeated by the user, not here.

use std::time::{Duration, Instant};

use super::timers::{Deadlines, Timing};

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The user has not answered finally.
    Proceeding,
    /// The user sent a 2xx; repeats of the INVITE are absorbed (RFC 6026).
    Accepted,
    /// The user sent another final response; the ACK is awaited.
    Completed,
    /// The ACK came; its repeats are absorbed.
    Confirmed,
    /// Over; the owner of the machine forgets it.
    Terminated,
}

/// What happens to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The INVITE came again.
    Invite,
    /// An ACK came.
    Ack,
    /// The user sends a 1xx.
    Provisional,
    /// The user sends a 2xx.
    Success,
    /// The user sends a 3xx to 6xx.
    Failure,
    /// A timer of [`ServerInvite::take_due`].
    Timer(Timer),
}

/// What the owner of the machine shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the response that the user just gave.
    Send,
    /// Send the last response again, byte for byte.
    Repeat,
    /// Give the ACK to the user.
    Deliver,
    /// The user forgot this transaction: answer it with a final response.
    Abandoned,
    /// The peer never acknowledged the final response.
    Unacknowledged,
}

/// The timers of this machine; see the header of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the letters of RFC 3261 and RFC 6026")]
pub enum Timer {
    C,
    G,
    H,
    I,
    L,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    interval: Duration,
    deadlines: Deadlines<Timer>,
}

impl ServerInvite {
    /// An INVITE came and was answered 100 (Trying).
    pub fn new(reliable: bool, timing: &Timing, now: Instant) -> Self {
        let mut deadlines = Deadlines::new();
        deadlines.start_end(Timer::C, now + timing.c);
        Self { state: State::Proceeding, reliable, interval: timing.t1, deadlines }
    }

    /// Where the transaction stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When the next timer is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Takes a timer that is due, to be given to [`Self::handle`].
    pub fn take_due(&mut self, now: Instant) -> Option<Timer> {
        self.deadlines.take_due(now)
    }

    /// Moves on.
    pub fn handle(&mut self, input: Input, timing: &Timing, now: Instant) -> &'static [Action] {
        match self.state {
            State::Proceeding => match input {
                Input::Invite => &[Action::Repeat],
                Input::Ack => &[],
                Input::Provisional => {
                    self.deadlines.start_end(Timer::C, now + timing.c);
                    &[Action::Send]
                }
                Input::Success => {
                    self.enter(State::Accepted, Timer::L, now + timing.t1_64());
                    &[Action::Send]
                }
                Input::Failure => {
                    self.enter(State::Completed, Timer::H, now + timing.t1_64());
                    if !self.reliable {
                        self.deadlines.start_repeat(Timer::G, now + self.interval);
                    }
                    &[Action::Send]
                }
                Input::Timer(Timer::C) => {
                    self.deadlines.start_end(Timer::C, now + timing.c);
                    &[Action::Abandoned]
                }
                Input::Timer(Timer::G | Timer::H | Timer::I | Timer::L) => &[],
            },
            State::Accepted => match input {
                Input::Ack => &[Action::Deliver],
                Input::Success => &[Action::Send],
                Input::Timer(Timer::L) => self.end(&[]),
                Input::Invite | Input::Provisional | Input::Failure => &[],
                Input::Timer(Timer::C | Timer::G | Timer::H | Timer::I) => &[],
            },
            State::Completed => match input {
                Input::Invite => &[Action::Repeat],
                Input::Ack => self.confirm(timing, now),
                Input::Timer(Timer::G) => self.repeat(timing, now),
                Input::Timer(Timer::H) => self.end(&[Action::Unacknowledged]),
                Input::Provisional | Input::Success | Input::Failure => &[],
                Input::Timer(Timer::C | Timer::I | Timer::L) => &[],
            },
            State::Confirmed => match input {
                Input::Timer(Timer::I) => self.end(&[]),
                Input::Invite | Input::Ack => &[],
                Input::Provisional | Input::Success | Input::Failure => &[],
                Input::Timer(Timer::C | Timer::G | Timer::H | Timer::L) => &[],
            },
            State::Terminated => &[],
        }
    }

    fn repeat(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        if self.reliable {
            return &[];
        }
        self.interval = self.interval.saturating_mul(2).min(timing.t2);
        self.deadlines.start_repeat(Timer::G, now + self.interval);
        &[Action::Repeat]
    }

    fn confirm(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        if self.reliable {
            return self.end(&[]);
        }
        self.enter(State::Confirmed, Timer::I, now + timing.t4);
        &[]
    }

    fn enter(&mut self, state: State, timer: Timer, at: Instant) {
        self.state = state;
        self.deadlines.clear();
        self.deadlines.start_end(timer, at);
    }

    fn end(&mut self, actions: &'static [Action]) -> &'static [Action] {
        self.state = State::Terminated;
        self.deadlines.clear();
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{self, Machine, On, Row, Timers};
    use super::Action::{Abandoned, Deliver, Repeat, Send, Unacknowledged};
    use super::Input::{Ack, Failure, Invite, Provisional, Success};
    use super::State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
    use super::*;
    use On::{Both, Reliable, Unreliable};
    use Timers::{Same, Set};

    const INPUTS: [Input; 10] = [
        Invite,
        Ack,
        Provisional,
        Success,
        Failure,
        Input::Timer(Timer::C),
        Input::Timer(Timer::G),
        Input::Timer(Timer::H),
        Input::Timer(Timer::I),
        Input::Timer(Timer::L),
    ];

    const STATES: [State; 5] = [Proceeding, Accepted, Completed, Confirmed, Terminated];

    const NONE: Timers<Timer> = Set(&[]);
    const RINGING: Timers<Timer> = Set(&[(Timer::C, 600_000)]);
    const ABSORBING: Timers<Timer> = Set(&[(Timer::L, 32_000)]);
    const REPEATING: Timers<Timer> = Set(&[(Timer::G, 500), (Timer::H, 32_000)]);
    const REPEATED: Timers<Timer> = Set(&[(Timer::G, 1000), (Timer::H, 31_900)]);
    const AWAITING: Timers<Timer> = Set(&[(Timer::H, 32_000)]);
    const CONFIRMED: Timers<Timer> = Set(&[(Timer::I, 5000)]);

    #[rustfmt::skip]
    const ROWS: [Row<ServerInvite>; 15] = [
        (Both, Proceeding, Invite, &[Repeat], Proceeding, Same),
        (Both, Proceeding, Provisional, &[Send], Proceeding, RINGING),
        (Both, Proceeding, Success, &[Send], Accepted, ABSORBING),
        (Unreliable, Proceeding, Failure, &[Send], Completed, REPEATING),
        (Reliable, Proceeding, Failure, &[Send], Completed, AWAITING),
        (Both, Proceeding, Input::Timer(Timer::C), &[Abandoned], Proceeding, RINGING),

        (Both, Accepted, Ack, &[Deliver], Accepted, Same),
        (Both, Accepted, Success, &[Send], Accepted, Same),
        (Both, Accepted, Input::Timer(Timer::L), &[], Terminated, NONE),

        (Both, Completed, Invite, &[Repeat], Completed, Same),
        (Unreliable, Completed, Ack, &[], Confirmed, CONFIRMED),
        (Reliable, Completed, Ack, &[], Terminated, NONE),
        (Unreliable, Completed, Input::Timer(Timer::G), &[Repeat], Completed, REPEATED),
        (Both, Completed, Input::Timer(Timer::H), &[Unacknowledged], Terminated, NONE),

        (Both, Confirmed, Input::Timer(Timer::I), &[], Terminated, NONE),
    ];

    #[test]
    fn every_state_meets_every_input() {
        for on in [Unreliable, Reliable] {
            let now = table::start();
            let machines: Vec<_> =
                STATES.iter().filter_map(|state| reach(*state, on == Reliable, now)).collect();
            let unreached = STATES.len() - machines.len();
            assert_eq!(unreached, usize::from(on == Reliable), "only Confirmed, on a stream");
            table::check(on, &machines, &INPUTS, &ROWS, now + Duration::from_millis(100));
        }
    }

    #[test]
    fn timer_g_doubles_up_to_t2_until_timer_h() {
        let start = table::start();
        let timing = Timing::default();
        let mut machine = ServerInvite::new(false, &timing, start);
        machine.handle(Failure, &timing, start);

        let mut repeats = Vec::new();
        while let Some(now) = machine.poll_timeout() {
            let timer = machine.take_due(now).unwrap();
            if machine.handle(Input::Timer(timer), &timing, now) == [Repeat] {
                repeats.push((now - start).as_millis());
            }
        }

        assert_eq!(
            repeats,
            [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
        );
        assert_eq!(machine.state(), Terminated);
    }

    fn reach(state: State, reliable: bool, now: Instant) -> Option<ServerInvite> {
        let path: &[Input] = match state {
            Proceeding => &[],
            Accepted => &[Success],
            Completed => &[Failure],
            Confirmed => &[Failure, Ack],
            Terminated => &[Failure, Input::Timer(Timer::H)],
        };
        let timing = Timing::default();
        let mut machine = ServerInvite::new(reliable, &timing, now);
        for &input in path {
            machine.handle(input, &timing, now);
        }
        (machine.state() == state).then_some(machine)
    }

    impl Machine for ServerInvite {
        type State = State;
        type Input = Input;
        type Action = Action;
        type Timer = Timer;

        fn state(&self) -> State {
            self.state
        }

        fn running(&self) -> Vec<(Timer, Instant)> {
            self.deadlines.running()
        }

        fn handle(&mut self, input: Input, now: Instant) -> &'static [Action] {
            Self::handle(self, input, &Timing::default(), now)
        }
    }
}
