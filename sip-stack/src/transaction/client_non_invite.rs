//! The non-INVITE client transaction: RFC 3261 §17.1.2.
//!
//! The request has been sent when the machine is made. Timers: E repeats the request (unreliable
//! transports only), F ends the wait for a final response, K absorbs its repeats.
//!
//! | State | 1xx | 2xx-6xx | send failed | Timer |
//! |---|---|---|---|---|
//! | Trying | deliver → Proceeding | deliver → Completed | fail → Terminated | E: repeat, E doubles up to T2; F: fail → Terminated |
//! | Proceeding | deliver | deliver → Completed | fail → Terminated | E: repeat, E is T2; F: fail → Terminated |
//! | Completed | - | - | - | K: → Terminated |
//! | Terminated | - | - | - | - |
//!
//! On a reliable transport Timer K is zero: the machine goes to Terminated in place of Completed.

use std::time::{Duration, Instant};

use super::timers::{Deadlines, Timing};

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sent; no response yet.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// A final response came; its repeats are absorbed.
    Completed,
    /// Over; the owner of the machine forgets it.
    Terminated,
}

/// What happens to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A 1xx response.
    Provisional,
    /// A 2xx to 6xx response.
    Final,
    /// The transport could not send the request.
    SendFailed,
    /// A timer of [`ClientNonInvite::take_due`].
    Timer(Timer),
}

/// What the owner of the machine shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the request again, byte for byte.
    Repeat,
    /// Give the response to the user.
    Deliver,
    /// Tell the user that no final response came in time.
    TimedOut,
    /// Tell the user that the request could not be sent.
    SendFailed,
}

/// The timers of this machine; see the header of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the letters of RFC 3261")]
pub enum Timer {
    E,
    F,
    K,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct ClientNonInvite {
    state: State,
    reliable: bool,
    interval: Duration,
    deadlines: Deadlines<Timer>,
}

impl ClientNonInvite {
    /// A request was just sent. `timeout` stands in for Timer F where the user has a shorter
    /// patience.
    pub fn new(reliable: bool, timeout: Option<Duration>, timing: &Timing, now: Instant) -> Self {
        let mut deadlines = Deadlines::new();
        if !reliable {
            deadlines.start_repeat(Timer::E, now + timing.t1);
        }
        deadlines.start_end(Timer::F, now + timeout.unwrap_or(timing.t1_64()));
        Self { state: State::Trying, reliable, interval: timing.t1, deadlines }
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
                Input::Provisional => {
                    self.state = State::Proceeding;
                    &[Action::Deliver]
                }
                Input::Final => self.complete(timing, now),
                Input::SendFailed => self.end(&[Action::SendFailed]),
                Input::Timer(Timer::E) => {
                    self.repeat(self.interval.saturating_mul(2).min(timing.t2), now)
                }
                Input::Timer(Timer::F) => self.end(&[Action::TimedOut]),
                Input::Timer(Timer::K) => &[],
            },
            State::Proceeding => match input {
                Input::Provisional => &[Action::Deliver],
                Input::Final => self.complete(timing, now),
                Input::SendFailed => self.end(&[Action::SendFailed]),
                Input::Timer(Timer::E) => self.repeat(timing.t2, now),
                Input::Timer(Timer::F) => self.end(&[Action::TimedOut]),
                Input::Timer(Timer::K) => &[],
            },
            State::Completed => match input {
                Input::Timer(Timer::K) => self.end(&[]),
                Input::Provisional | Input::Final | Input::SendFailed => &[],
                Input::Timer(Timer::E | Timer::F) => &[],
            },
            State::Terminated => &[],
        }
    }

    fn repeat(&mut self, next: Duration, now: Instant) -> &'static [Action] {
        if self.reliable {
            return &[];
        }
        self.interval = next;
        self.deadlines.start_repeat(Timer::E, now + next);
        &[Action::Repeat]
    }

    fn complete(&mut self, timing: &Timing, now: Instant) -> &'static [Action] {
        if self.reliable {
            return self.end(&[Action::Deliver]);
        }
        self.state = State::Completed;
        self.deadlines.clear();
        self.deadlines.start_end(Timer::K, now + timing.t4);
        &[Action::Deliver]
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
    use super::Action::{Deliver, Repeat, TimedOut};
    use super::Input::{Final, Provisional, SendFailed};
    use super::State::{Completed, Proceeding, Terminated, Trying};
    use super::*;
    use On::{Both, Reliable, Unreliable};
    use Timers::{Same, Set};

    const INPUTS: [Input; 6] = [
        Provisional,
        Final,
        SendFailed,
        Input::Timer(Timer::E),
        Input::Timer(Timer::F),
        Input::Timer(Timer::K),
    ];

    const STATES: [State; 4] = [Trying, Proceeding, Completed, Terminated];

    const NONE: Timers<Timer> = Set(&[]);
    const ABSORBING: Timers<Timer> = Set(&[(Timer::K, 5000)]);
    const DOUBLED: Timers<Timer> = Set(&[(Timer::E, 1000), (Timer::F, 31_900)]);
    const SLOW: Timers<Timer> = Set(&[(Timer::E, 4000), (Timer::F, 31_900)]);

    #[rustfmt::skip]
    const ROWS: [Row<ClientNonInvite>; 13] = [
        (Both, Trying, Provisional, &[Deliver], Proceeding, Same),
        (Unreliable, Trying, Final, &[Deliver], Completed, ABSORBING),
        (Reliable, Trying, Final, &[Deliver], Terminated, NONE),
        (Both, Trying, SendFailed, &[Action::SendFailed], Terminated, NONE),
        (Unreliable, Trying, Input::Timer(Timer::E), &[Repeat], Trying, DOUBLED),
        (Both, Trying, Input::Timer(Timer::F), &[TimedOut], Terminated, NONE),

        (Both, Proceeding, Provisional, &[Deliver], Proceeding, Same),
        (Unreliable, Proceeding, Final, &[Deliver], Completed, ABSORBING),
        (Reliable, Proceeding, Final, &[Deliver], Terminated, NONE),
        (Both, Proceeding, SendFailed, &[Action::SendFailed], Terminated, NONE),
        (Unreliable, Proceeding, Input::Timer(Timer::E), &[Repeat], Proceeding, SLOW),
        (Both, Proceeding, Input::Timer(Timer::F), &[TimedOut], Terminated, NONE),

        (Both, Completed, Input::Timer(Timer::K), &[], Terminated, NONE),
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
    fn timer_e_doubles_up_to_t2_until_timer_f() {
        let start = table::start();
        let mut machine = ClientNonInvite::new(false, None, &Timing::default(), start);

        let repeats = run(&mut machine, start);

        assert_eq!(
            repeats,
            [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
        );
        assert_eq!(machine.state(), Terminated);
    }

    #[test]
    fn timer_e_is_t2_after_a_provisional_response() {
        let start = table::start();
        let patience = Some(Duration::from_secs(10));
        let mut machine = ClientNonInvite::new(false, patience, &Timing::default(), start);
        machine.handle(Provisional, &Timing::default(), start);

        let repeats = run(&mut machine, start);

        assert_eq!(repeats, [500, 4500, 8500]);
    }

    /// Lets all timers run; the times of the repeats in milliseconds.
    fn run(machine: &mut ClientNonInvite, start: Instant) -> Vec<u128> {
        let mut repeats = Vec::new();
        while let Some(now) = machine.poll_timeout() {
            let timer = machine.take_due(now).unwrap();
            if machine.handle(Input::Timer(timer), &Timing::default(), now) == [Repeat] {
                repeats.push((now - start).as_millis());
            }
        }
        repeats
    }

    fn reach(state: State, reliable: bool, now: Instant) -> Option<ClientNonInvite> {
        let path: &[Input] = match state {
            Trying => &[],
            Proceeding => &[Provisional],
            Completed => &[Final],
            Terminated => &[SendFailed],
        };
        let timing = Timing::default();
        let mut machine = ClientNonInvite::new(reliable, None, &timing, now);
        for &input in path {
            machine.handle(input, &timing, now);
        }
        (machine.state() == state).then_some(machine)
    }

    impl Machine for ClientNonInvite {
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
