//! The INVITE client transaction: RFC 3261 §17.1.1 as changed by RFC 6026 §7.2, and the waiting of
//! the CANCEL of RFC 3261 §9.1.
//!
//! The INVITE itself has been sent when the machine is made. Timers: A repeats the INVITE
//! (unreliable transports only), B ends the wait for a first response, C (§16.6) ends a ringing that
//! nobody ends, Cancel ends the wait for the final response after a CANCEL (64 × T1), D absorbs
//! repeats of a final response, M absorbs repeats of a 2xx.
//!
//! | State | 1xx | 2xx | 3xx-6xx | Cancel | send failed | Timer |
//! |---|---|---|---|---|---|---|
//! | Calling | deliver → Proceeding | deliver → Accepted | ACK, deliver → Completed | → CallingCancelled | fail → Terminated | A: repeat; B: fail → Terminated |
//! | CallingCancelled | deliver, CANCEL → Cancelling | deliver → Accepted | ACK, deliver → Completed | - | fail → Terminated | A: repeat; B: fail → Terminated |
//! | Proceeding | deliver | deliver → Accepted | ACK, deliver → Completed | CANCEL → Cancelling | - | C: CANCEL → Cancelling |
//! | Cancelling | deliver | deliver → Accepted | ACK, deliver → Completed | - | - | Cancel: fail → Terminated |
//! | Completed | - | - | ACK | - | → Terminated | D: → Terminated |
//! | Accepted | - | deliver | - | - | - | M: → Terminated |
//! | Terminated | - | - | - | - | - | - |
//!
//! On a reliable transport Timer D is zero: the machine goes to Terminated in place of Completed.
//! Departure: a failure to send the ACK in Completed is not told to the user, who has the final
//! response already; so a user sees exactly one end of each transaction.

use std::time::{Duration, Instant};

use super::timers::{Deadlines, Timing};

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sent; no response yet.
    Calling,
    /// As Calling, but the user gave up: the CANCEL waits for a provisional response (§9.1).
    CallingCancelled,
    /// A provisional response came.
    Proceeding,
    /// The CANCEL was sent; the final response is awaited for 64 × T1.
    Cancelling,
    /// A final response other than 2xx came; its repeats are acknowledged.
    Completed,
    /// A 2xx came; its repeats, and those of other branches of a fork, go to the user (RFC 6026).
    Accepted,
    /// Over; the owner of the machine forgets it.
    Terminated,
}

/// What happens to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A 1xx response.
    Provisional,
    /// A 2xx response.
    Success,
    /// A 3xx to 6xx response.
    Failure,
    /// The user gives up.
    Cancel,
    /// The transport could not send the INVITE or the ACK.
    SendFailed,
    /// A timer of [`ClientInvite::take_due`].
    Timer(Timer),
}

/// What the owner of the machine shall do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the INVITE again, byte for byte.
    Repeat,
    /// Send an ACK for this response (§17.1.1.3), or the same bytes again for a repeated one.
    Ack,
    /// Send a CANCEL (§9.1), which is a transaction of its own.
    Cancel,
    /// Give the response to the user.
    Deliver,
    /// Tell the user that no final response came in time.
    TimedOut,
    /// Tell the user that the INVITE could not be sent.
    SendFailed,
}

/// The timers of this machine; see the header of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the letters of RFC 3261 and RFC 6026")]
pub enum Timer {
    A,
    B,
    C,
    Cancel,
    D,
    M,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    interval: Duration,
    deadlines: Deadlines<Timer>,
}

impl ClientInvite {
    /// An INVITE was just sent. `timeout` stands in for Timer B where the user has a shorter
    /// patience.
    pub fn new(reliable: bool, timeout: Option<Duration>, timing: &Timing, now: Instant) -> Self {
        let mut deadlines = Deadlines::new();
        if !reliable {
            deadlines.start_repeat(Timer::A, now + timing.t1);
        }
        deadlines.start_end(Timer::B, now + timeout.unwrap_or(timing.t1_64()));
        Self { state: State::Calling, reliable, interval: timing.t1, deadlines }
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
            State::Calling => match input {
                Input::Provisional => self.proceed(timing, now),
                Input::Success => self.accept(timing, now),
                Input::Failure => self.complete(timing, now),
                Input::Cancel => {
                    self.state = State::CallingCancelled;
                    &[]
                }
                Input::SendFailed => self.end(&[Action::SendFailed]),
                Input::Timer(timer) => self.calling_timer(timer, now),
            },
            State::CallingCancelled => match input {
                Input::Provisional => {
                    self.cancel(timing, now);
                    &[Action::Deliver, Action::Cancel]
                }
                Input::Success => self.accept(timing, now),
                Input::Failure => self.complete(timing, now),
                Input::Cancel => &[],
                Input::SendFailed => self.end(&[Action::SendFailed]),
                Input::Timer(timer) => self.calling_timer(timer, now),
            },
            State::Proceeding => match input {
                Input::Provisional => self.proceed(timing, now),
                Input::Success => self.accept(timing, now),
                Input::Failure => self.complete(timing, now),
                Input::Cancel | Input::Timer(Timer::C) => {
                    self.cancel(timing, now);
                    &[Action::Cancel]
                }
                // A response came, so a copy of the INVITE arrived.
                Input::SendFailed => &[],
                Input::Timer(Timer::A | Timer::B | Timer::Cancel | Timer::D | Timer::M) => &[],
            },
            State::Cancelling => match input {
                Input::Provisional => &[Action::Deliver],
                Input::Success => self.accept(timing, now),
                Input::Failure => self.complete(timing, now),
                Input::Cancel | Input::SendFailed => &[],
                Input::Timer(Timer::Cancel) => self.end(&[Action::TimedOut]),
                Input::Timer(Timer::A | Timer::B | Timer::C | Timer::D | Timer::M) => &[],
            },
            State::Completed => match input {
                Input::Failure => &[Action::Ack],
                Input::SendFailed | Input::Timer(Timer::D) => self.end(&[]),
                Input::Provisional | Input::Success | Input::Cancel => &[],
                Input::Timer(Timer::A | Timer::B | Timer::C | Timer::Cancel | Timer::M) => &[],
            },
            State::Accepted => match input {
                Input::Success => &[Action::Deliver],
                Input::Timer(Timer::M) => self.end(&[]),
                Input::Provisional | Input::Failure | Input::Cancel | Input::SendFailed => &[],
                Input::Timer(Timer::A | Timer::B | Timer::C | Timer::Cancel | Timer::D) => &[],
            },
            State::Terminated => &[],
        }
    }

    fn calling_timer(&mut self, timer: Timer, now: Instant) -> &'static [Action] {
        match timer {
            Timer::A if self.reliable => &[],
            Timer::A => {
                self.interval = self.interval.saturating_mul(2);
                self.deadlines.start_repeat(Timer::A, now + self.interval);
                &[Action::Repeat]
            }
            Timer::B => self.end(&[Action::TimedOut]),
            Timer::C | Timer::Cancel | Timer::D | Timer::M => &[],
        }
    }

    fn proceed(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        self.enter(State::Proceeding, Timer::C, now + timing.c);
        &[Action::Deliver]
    }

    fn cancel(&mut self, timing: &Timing, now: Instant) {
        self.enter(State::Cancelling, Timer::Cancel, now + timing.t1_64());
    }

    fn accept(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        self.enter(State::Accepted, Timer::M, now + timing.t1_64());
        &[Action::Deliver]
    }

    fn complete(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        if self.reliable {
            return self.end(&[Action::Ack, Action::Deliver]);
        }
        self.enter(State::Completed, Timer::D, now + timing.d());
        &[Action::Ack, Action::Deliver]
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
    use super::Action::{Ack, Deliver, Repeat, TimedOut};
    use super::Input::{Cancel, Failure, Provisional, SendFailed, Success};
    use super::State::{
        Accepted, Calling, CallingCancelled, Cancelling, Completed, Proceeding, Terminated,
    };
    use super::*;
    use On::{Both, Reliable, Unreliable};
    use Timers::{Same, Set};

    const INPUTS: [Input; 11] = [
        Provisional,
        Success,
        Failure,
        Cancel,
        SendFailed,
        Input::Timer(Timer::A),
        Input::Timer(Timer::B),
        Input::Timer(Timer::C),
        Input::Timer(Timer::Cancel),
        Input::Timer(Timer::D),
        Input::Timer(Timer::M),
    ];

    const STATES: [State; 7] =
        [Calling, CallingCancelled, Proceeding, Cancelling, Completed, Accepted, Terminated];

    const NONE: Timers<Timer> = Set(&[]);
    const RINGING: Timers<Timer> = Set(&[(Timer::C, 600_000)]);
    const WAITING: Timers<Timer> = Set(&[(Timer::Cancel, 32_000)]);
    const ABSORBING: Timers<Timer> = Set(&[(Timer::M, 32_000)]);
    const ANSWERING: Timers<Timer> = Set(&[(Timer::D, 32_000)]);
    const REPEATED: Timers<Timer> = Set(&[(Timer::A, 1000), (Timer::B, 31_900)]);

    #[rustfmt::skip]
    const ROWS: [Row<ClientInvite>; 31] = [
        (Both, Calling, Provisional, &[Deliver], Proceeding, RINGING),
        (Both, Calling, Success, &[Deliver], Accepted, ABSORBING),
        (Unreliable, Calling, Failure, &[Ack, Deliver], Completed, ANSWERING),
        (Reliable, Calling, Failure, &[Ack, Deliver], Terminated, NONE),
        (Both, Calling, Cancel, &[], CallingCancelled, Same),
        (Both, Calling, SendFailed, &[Action::SendFailed], Terminated, NONE),
        (Unreliable, Calling, Input::Timer(Timer::A), &[Repeat], Calling, REPEATED),
        (Both, Calling, Input::Timer(Timer::B), &[TimedOut], Terminated, NONE),

        (Both, CallingCancelled, Provisional, &[Deliver, Action::Cancel], Cancelling, WAITING),
        (Both, CallingCancelled, Success, &[Deliver], Accepted, ABSORBING),
        (Unreliable, CallingCancelled, Failure, &[Ack, Deliver], Completed, ANSWERING),
        (Reliable, CallingCancelled, Failure, &[Ack, Deliver], Terminated, NONE),
        (Both, CallingCancelled, SendFailed, &[Action::SendFailed], Terminated, NONE),
        (Unreliable, CallingCancelled, Input::Timer(Timer::A), &[Repeat], CallingCancelled, REPEATED),
        (Both, CallingCancelled, Input::Timer(Timer::B), &[TimedOut], Terminated, NONE),

        (Both, Proceeding, Provisional, &[Deliver], Proceeding, RINGING),
        (Both, Proceeding, Success, &[Deliver], Accepted, ABSORBING),
        (Unreliable, Proceeding, Failure, &[Ack, Deliver], Completed, ANSWERING),
        (Reliable, Proceeding, Failure, &[Ack, Deliver], Terminated, NONE),
        (Both, Proceeding, Cancel, &[Action::Cancel], Cancelling, WAITING),
        (Both, Proceeding, Input::Timer(Timer::C), &[Action::Cancel], Cancelling, WAITING),

        (Both, Cancelling, Provisional, &[Deliver], Cancelling, Same),
        (Both, Cancelling, Success, &[Deliver], Accepted, ABSORBING),
        (Unreliable, Cancelling, Failure, &[Ack, Deliver], Completed, ANSWERING),
        (Reliable, Cancelling, Failure, &[Ack, Deliver], Terminated, NONE),
        (Both, Cancelling, Input::Timer(Timer::Cancel), &[TimedOut], Terminated, NONE),

        (Both, Completed, Failure, &[Ack], Completed, Same),
        (Both, Completed, SendFailed, &[], Terminated, NONE),
        (Both, Completed, Input::Timer(Timer::D), &[], Terminated, NONE),

        (Both, Accepted, Success, &[Deliver], Accepted, Same),
        (Both, Accepted, Input::Timer(Timer::M), &[], Terminated, NONE),
    ];

    #[test]
    fn every_state_meets_every_input() {
        for on in [Unreliable, Reliable] {
            let now = table::start();
            let machines: Vec<_> =
                STATES.iter().filter_map(|state| reach(*state, on == Reliable, now)).collect();
            let unreached = STATES.len() - machines.len();
            assert_eq!(unreached, usize::from(on == Reliable), "only Completed, on a stream");
            table::check(on, &machines, &INPUTS, &ROWS, now + Duration::from_millis(100));
        }
    }

    #[test]
    fn timer_a_doubles_until_timer_b_ends_the_wait() {
        let start = table::start();
        let mut machine = ClientInvite::new(false, None, &Timing::default(), start);

        let repeats = run(&mut machine, start);

        assert_eq!(repeats, [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(machine.state(), Terminated);
    }

    #[test]
    fn the_users_patience_stands_in_for_timer_b() {
        let start = table::start();
        let patience = Some(Duration::from_millis(2500));
        let mut machine = ClientInvite::new(false, patience, &Timing::default(), start);

        let repeats = run(&mut machine, start);

        assert_eq!(repeats, [500, 1500]);
        assert_eq!(machine.state(), Terminated);
    }

    #[test]
    fn a_stream_sends_once_and_waits() {
        let start = table::start();
        let mut machine = ClientInvite::new(true, None, &Timing::default(), start);

        assert_eq!(machine.poll_timeout(), Some(start + Duration::from_secs(32)));
        assert_eq!(run(&mut machine, start), [0u128; 0]);
        assert_eq!(machine.state(), Terminated);
    }

    /// Lets all timers run; the times of the repeats in milliseconds.
    fn run(machine: &mut ClientInvite, start: Instant) -> Vec<u128> {
        let mut repeats = Vec::new();
        while let Some(now) = machine.poll_timeout() {
            let timer = machine.take_due(now).unwrap();
            if machine.handle(Input::Timer(timer), &Timing::default(), now) == [Repeat] {
                repeats.push((now - start).as_millis());
            }
        }
        repeats
    }

    fn reach(state: State, reliable: bool, now: Instant) -> Option<ClientInvite> {
        let path: &[Input] = match state {
            Calling => &[],
            CallingCancelled => &[Cancel],
            Proceeding => &[Provisional],
            Cancelling => &[Provisional, Cancel],
            Completed => &[Failure],
            Accepted => &[Success],
            Terminated => &[SendFailed],
        };
        let timing = Timing::default();
        let mut machine = ClientInvite::new(reliable, None, &timing, now);
        for &input in path {
            machine.handle(input, &timing, now);
        }
        (machine.state() == state).then_some(machine)
    }

    impl Machine for ClientInvite {
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
