//! The check of a machine against its table: every state, every input, both kinds of transport.
//!
//! Rows name the pairs at which something happens. Every other pair must change nothing: no action,
//! the same state, the same timers.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What the check needs to know of a machine.
pub(crate) trait Machine: Clone {
    type State: Copy + Debug + PartialEq;
    type Input: Copy + Debug + PartialEq;
    type Action: Copy + Debug + PartialEq + 'static;
    type Timer: Copy + Debug + PartialEq + 'static;

    fn state(&self) -> Self::State;
    fn running(&self) -> Vec<(Self::Timer, Instant)>;
    fn handle(&mut self, input: Self::Input, now: Instant) -> &'static [Self::Action];
}

/// On which transports a row holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum On {
    Both,
    Unreliable,
    Reliable,
}

/// The running timers after a row: as before it, or these, in milliseconds from then on.
pub(crate) enum Timers<T: 'static> {
    Same,
    Set(&'static [(T, u64)]),
}

/// One row: transports, state, input, actions, next state, timers.
pub(crate) type Row<M> = (
    On,
    <M as Machine>::State,
    <M as Machine>::Input,
    &'static [<M as Machine>::Action],
    <M as Machine>::State,
    Timers<<M as Machine>::Timer>,
);

/// Checks `machines` (one in each reachable state, at `now`) against the rows.
pub(crate) fn check<M: Machine>(
    on: On,
    machines: &[M],
    inputs: &[M::Input],
    rows: &[Row<M>],
    now: Instant,
) {
    let mut used = 0;
    for machine in machines {
        for &input in inputs {
            let state = machine.state();
            let mut matching = rows.iter().filter(|(transports, s, i, ..)| {
                (*transports == On::Both || *transports == on) && *s == state && *i == input
            });
            let row = matching.next();
            assert!(matching.next().is_none(), "two rows for {on:?} {state:?} {input:?}");
            used += usize::from(row.is_some());

            let (actions, next, timers) = match row {
                Some((_, _, _, actions, next, timers)) => (*actions, *next, timers),
                None => (&[] as &[M::Action], state, &Timers::Same),
            };
            let mut after = machine.clone();
            let got = after.handle(input, now);
            assert_eq!(got, actions, "actions: {on:?} {state:?} {input:?}");
            assert_eq!(after.state(), next, "next state: {on:?} {state:?} {input:?}");
            let timers = match timers {
                Timers::Same => machine.running(),
                Timers::Set(timers) => timers
                    .iter()
                    .map(|(timer, ms)| (*timer, now + Duration::from_millis(*ms)))
                    .collect(),
            };
            assert_eq!(after.running(), timers, "timers: {on:?} {state:?} {input:?}");
        }
    }
    let states: Vec<_> = machines.iter().map(M::state).collect();
    let applicable = rows
        .iter()
        .filter(|(transports, state, ..)| {
            (*transports == On::Both || *transports == on) && states.contains(state)
        })
        .count();
    assert_eq!(used, applicable, "each row is used once");
}

/// The start of virtual time.
#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
pub(crate) fn start() -> Instant {
    Instant::now()
}
