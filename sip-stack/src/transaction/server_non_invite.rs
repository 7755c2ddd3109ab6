//! The non-INVITE server transaction: RFC 3261 §17.2.2.
//!
//! The request has been given to the user when the machine is made. Timers: J absorbs repeats of
//! the request after the final response; Unanswered (64 × T1) ends a transaction whose user did not
//! answer while the client still waited (RFC 4320 §4.2: a later answer is useless).
//!
//! | State | request again | user: 1xx | user: 2xx-6xx | Timer |
//! |---|---|---|---|---|
//! | Trying | - | send → Proceeding | send → Completed | Unanswered: unanswered → Terminated |
//! | Proceeding | repeat | send | send → Completed | Unanswered: unanswered → Terminated |
//! | Completed | repeat | - | - | J: → Terminated |
//! | Terminated | - | - | - | - |
//!
//! On a reliable transport Timer J is zero: the machine goes to Terminated in place of Completed.
//! Departure: a failure to send a response is no input; the machine stays, as RFC 6026 §7.1 has it
//! for INVITE, so that a repeat is absorbed and no request is carried out twice.

use std::time::Instant;

use super::timers::{Deadlines, Timing};

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The user has not answered.
    Trying,
    /// The user sent a provisional response.
    Proceeding,
    /// The user sent a final response.
    Completed,
    /// Over; the owner of the machine forgets it.
    Terminated,
}

/// What happens to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The request came again.
    Request,
    /// The user sends a 1xx.
    Provisional,
    /// The user sends a 2xx to 6xx.
    Final,
    /// A timer of [`ServerNonInvite::take_due`].
    Timer(Timer),
}

/// What the owner of the machine shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the response that the user just gave.
    Send,
    /// Send the last response again, byte for byte.
    Repeat,
    /// The user did not answer in time.
    Unanswered,
}

/// The timers of this machine; see the header of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "explained in the header of the file")]
pub enum Timer {
    Unanswered,
    J,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct ServerNonInvite {
    state: State,
    reliable: bool,
    deadlines: Deadlines<Timer>,
}

impl ServerNonInvite {
    /// A request came.
    pub fn new(reliable: bool, timing: &Timing, now: Instant) -> Self {
        let mut deadlines = Deadlines::new();
        deadlines.start_end(Timer::Unanswered, now + timing.t1_64());
        Self { state: State::Trying, reliable, deadlines }
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
            State::Trying => match input {
                Input::Request => &[],
                Input::Provisional => {
                    self.state = State::Proceeding;
                    &[Action::Send]
                }
                Input::Final => self.complete(timing, now),
                Input::Timer(Timer::Unanswered) => self.end(&[Action::Unanswered]),
                Input::Timer(Timer::J) => &[],
            },
            State::Proceeding => match input {
                Input::Request => &[Action::Repeat],
                Input::Provisional => &[Action::Send],
                Input::Final => self.complete(timing, now),
                Input::Timer(Timer::Unanswered) => self.end(&[Action::Unanswered]),
                Input::Timer(Timer::J) => &[],
            },
            State::Completed => match input {
                Input::Request => &[Action::Repeat],
                Input::Provisional | Input::Final | Input::Timer(Timer::Unanswered) => &[],
                Input::Timer(Timer::J) => self.end(&[]),
            },
            State::Terminated => &[],
        }
    }

    fn complete(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        if self.reliable {
            return self.end(&[Action::Send]);
        }
        self.state = State::Completed;
        self.deadlines.clear();
        self.deadlines.start_end(Timer::J, now + timing.t1_64());
        &[Action::Send]
    }

    fn end(&mut self, actions: &'static [Action]) -> &'static [Action] {
        self.state = State::Terminated;
        self.deadlines.clear();
        actions
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::table::{self, Machine, On, Row, Timers};
    use super::Action::{Repeat, Send, Unanswered};
    use super::Input::{Final, Provisional, Request};
    use super::State::{Completed, Proceeding, Terminated, Trying};
    use super::*;
    use On::{Both, Reliable, Unreliable};
    use Timers::{Same, Set};

    const INPUTS: [Input; 5] =
        [Request, Provisional, Final, Input::Timer(Timer::Unanswered), Input::Timer(Timer::J)];

    const STATES: [State; 4] = [Trying, Proceeding, Completed, Terminated];

    const NONE: Timers<Timer> = Set(&[]);
    const ABSORBING: Timers<Timer> = Set(&[(Timer::J, 32_000)]);

    #[rustfmt::skip]
    const ROWS: [Row<ServerNonInvite>; 11] = [
        (Both, Trying, Provisional, &[Send], Proceeding, Same),
        (Unreliable, Trying, Final, &[Send], Completed, ABSORBING),
        (Reliable, Trying, Final, &[Send], Terminated, NONE),
        (Both, Trying, Input::Timer(Timer::Unanswered), &[Unanswered], Terminated, NONE),

        (Both, Proceeding, Request, &[Repeat], Proceeding, Same),
        (Both, Proceeding, Provisional, &[Send], Proceeding, Same),
        (Unreliable, Proceeding, Final, &[Send], Completed, ABSORBING),
        (Reliable, Proceeding, Final, &[Send], Terminated, NONE),
        (Both, Proceeding, Input::Timer(Timer::Unanswered), &[Unanswered], Terminated, NONE),

        (Both, Completed, Request, &[Repeat], Completed, Same),
        (Both, Completed, Input::Timer(Timer::J), &[], Terminated, NONE),
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
    fn a_request_that_nobody_answers_ends_when_the_client_stops_waiting() {
        let start = table::start();
        let mut machine = ServerNonInvite::new(false, &Timing::default(), start);

        let end = machine.poll_timeout().unwrap();
        let timer = machine.take_due(end).unwrap();

        assert_eq!(end - start, Duration::from_secs(32));
        assert_eq!(machine.handle(Input::Timer(timer), &Timing::default(), end), [Unanswered]);
        assert_eq!(machine.poll_timeout(), None);
    }

    fn reach(state: State, reliable: bool, now: Instant) -> Option<ServerNonInvite> {
        let path: &[Input] = match state {
            Trying => &[],
            Proceeding => &[Provisional],
            Completed => &[Final],
            Terminated => &[Input::Timer(Timer::Unanswered)],
        };
        let timing = Timing::default();
        let mut machine = ServerNonInvite::new(reliable, &timing, now);
        for &input in path {
            machine.handle(input, &timing, now);
        }
        (machine.state() == state).then_some(machine)
    }

    impl Machine for ServerNonInvite {
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
