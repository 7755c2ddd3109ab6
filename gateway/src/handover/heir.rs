//! The heir as the process before it sees it: a machine over notes, losses and time.
//!
//! ```text
//! state    | connected | Hello, ours      | Hello, other  | Ready              | Stop              | End | lost             | late
//! ---------+-----------+------------------+---------------+--------------------+-------------------+-----+------------------+-----------------
//! nobody   | → greeted | -                | -             | -                  | -                 | -   | -                | -
//! greeted  | busy      | Offer → offering | No → nobody   | Drop → nobody      | Drop → nobody     | Drop| → nobody         | Drop → nobody
//! offering | busy      | Drop → nobody *  | Drop *        | HandOver → linked  | Drop → nobody *   | Drop| → nobody *       | Drop → nobody *
//! linked   | busy      | -                | -             | -                  | Shorten → leaving | End | TakeBack → nobody| -
//! leaving  | busy      | -                | -             | -                  | Shorten           | End | End → nobody     | -
//! ```
//!
//! \* with `Restore`: the media ports that were given back are taken again. Busy: the newcomer is sent away. While this
//! process is not serving, or too many before it are left, a Hello is answered with a refusal too.

use std::time::{Duration, Instant};

use super::VERSION;

/// Where we stand with an heir.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heir {
    /// There is none.
    #[default]
    Nobody,
    /// It has connected and says who it is until then.
    Greeted(Instant),
    /// It has our sockets and is ready until then.
    Offering(Instant),
    /// It has taken over.
    Linked,
    /// It has taken over, and stops by order.
    Leaving,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody connected.
    Connected,
    /// It says which version it speaks; why we give nothing away now, if so.
    Hello(u16, Option<&'static str>),
    /// Everything is open there.
    Ready,
    /// It was told to stop.
    Stop(Duration),
    /// It ends what is left.
    End,
    /// The link is gone.
    Lost,
    /// Time has passed.
    Timer,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the newcomer away: another upgrade goes on.
    Busy,
    /// Say Refuse with these words, and close the link.
    Refuse(&'static str),
    /// Give free media ports back; say Welcome and Sockets.
    Offer,
    /// Close the link.
    Drop,
    /// Take the free media ports again.
    Restore,
    /// Stop listening; say Known and Go.
    HandOver,
    /// Listen again: the heir is dead.
    TakeBack,
    /// Calls may go on so long.
    Shorten(Duration),
    /// End every call.
    End,
}

impl Heir {
    /// What follows from an event, in this order.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let (next, actions) = match *self {
            Self::Nobody => match event {
                Event::Connected => (Self::Greeted(now + GREETING), vec![]),
                Event::Hello(..)
                | Event::Ready
                | Event::Stop(_)
                | Event::End
                | Event::Lost
                | Event::Timer => (Self::Nobody, vec![]),
            },
            Self::Greeted(until) => match event {
                Event::Connected => (*self, vec![Action::Busy]),
                Event::Hello(VERSION, None) => (Self::Offering(now + OFFER), vec![Action::Offer]),
                Event::Hello(VERSION, Some(why)) => (Self::Nobody, vec![Action::Refuse(why)]),
                Event::Hello(..) => (Self::Nobody, vec![Action::Refuse(OTHER_VERSION)]),
                Event::Timer if now < until => (*self, vec![]),
                Event::Ready | Event::Stop(_) | Event::End | Event::Timer => {
                    (Self::Nobody, vec![Action::Drop])
                }
                Event::Lost => (Self::Nobody, vec![]),
            },
            Self::Offering(until) => match event {
                Event::Connected => (*self, vec![Action::Busy]),
                Event::Ready => (Self::Linked, vec![Action::HandOver]),
                Event::Timer if now < until => (*self, vec![]),
                Event::Hello(..) | Event::Stop(_) | Event::End | Event::Timer => {
                    (Self::Nobody, vec![Action::Drop, Action::Restore])
                }
                Event::Lost => (Self::Nobody, vec![Action::Restore]),
            },
            Self::Linked => match event {
                Event::Connected => (*self, vec![Action::Busy]),
                Event::Stop(drain) => (Self::Leaving, vec![Action::Shorten(drain)]),
                Event::End => (*self, vec![Action::End]),
                Event::Lost => (Self::Nobody, vec![Action::TakeBack]),
                Event::Hello(..) | Event::Ready | Event::Timer => (*self, vec![]),
            },
            Self::Leaving => match event {
                Event::Connected => (*self, vec![Action::Busy]),
                Event::Stop(drain) => (*self, vec![Action::Shorten(drain)]),
                Event::End => (*self, vec![Action::End]),
                Event::Lost => (Self::Nobody, vec![Action::End]),
                Event::Hello(..) | Event::Ready | Event::Timer => (*self, vec![]),
            },
        };
        *self = next;
        actions
    }

    /// When [`Event::Timer`] has something to do.
    pub const fn poll_timeout(self) -> Option<Instant> {
        match self {
            Self::Greeted(until) | Self::Offering(until) => Some(until),
            Self::Nobody | Self::Linked | Self::Leaving => None,
        }
    }

    /// Whether it has taken over: what is new belongs to it.
    pub const fn has_taken_over(self) -> bool {
        match self {
            Self::Linked | Self::Leaving => true,
            Self::Nobody | Self::Greeted(_) | Self::Offering(_) => false,
        }
    }
}

/// Why a process that was told to stop hands nothing over.
pub const STOPPING: &str = "it is stopping";
/// Why no process is added to a long chain.
pub const MANY: &str = "four processes before it still have calls";
const OTHER_VERSION: &str = "it speaks another version of the hand-over";
/// How long a newcomer may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);
/// How long an heir may take from the offer until it is ready.
const OFFER: Duration = Duration::from_secs(60);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    /// What each event leads to.
    type Row<'a> = [(&'a [Action], Heir); 11];

    /// Every state with every event: what is done, and the state afterwards.
    #[test]
    fn r03_every_state_meets_every_event() {
        use Action::{Busy, Drop, HandOver, Offer, Refuse, Restore, Shorten, TakeBack};
        let now = Instant::now();
        let late = now + OFFER;
        let drain = Duration::from_secs(30);
        let (nobody, linked, leaving) = (Heir::Nobody, Heir::Linked, Heir::Leaving);
        let (greeted, offering) = (Heir::Greeted(now + GREETING), Heir::Offering(now + OFFER));
        let events = [
            (Event::Connected, now),
            (Event::Hello(VERSION, None), now),
            (Event::Hello(VERSION, Some(STOPPING)), now),
            (Event::Hello(VERSION - 1, None), now),
            (Event::Hello(VERSION + 1, Some(MANY)), now),
            (Event::Ready, now),
            (Event::Stop(drain), now),
            (Event::End, now),
            (Event::Lost, now),
            (Event::Timer, now),
            (Event::Timer, late),
        ];
        let table: [(Heir, Row<'_>); 5] = [
            (
                nobody,
                [
                    (&[], greeted),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                    (&[], nobody),
                ],
            ),
            (
                greeted,
                [
                    (&[Busy], greeted),
                    (&[Offer], offering),
                    (&[Refuse(STOPPING)], nobody),
                    (&[Refuse(OTHER_VERSION)], nobody),
                    (&[Refuse(OTHER_VERSION)], nobody),
                    (&[Drop], nobody),
                    (&[Drop], nobody),
                    (&[Drop], nobody),
                    (&[], nobody),
                    (&[], greeted),
                    (&[Drop], nobody),
                ],
            ),
            (
                offering,
                [
                    (&[Busy], offering),
                    (&[Drop, Restore], nobody),
                    (&[Drop, Restore], nobody),
                    (&[Drop, Restore], nobody),
                    (&[Drop, Restore], nobody),
                    (&[HandOver], linked),
                    (&[Drop, Restore], nobody),
                    (&[Drop, Restore], nobody),
                    (&[Restore], nobody),
                    (&[], offering),
                    (&[Drop, Restore], nobody),
                ],
            ),
            (
                linked,
                [
                    (&[Busy], linked),
                    (&[], linked),
                    (&[], linked),
                    (&[], linked),
                    (&[], linked),
                    (&[], linked),
                    (&[Shorten(drain)], leaving),
                    (&[Action::End], linked),
                    (&[TakeBack], nobody),
                    (&[], linked),
                    (&[], linked),
                ],
            ),
            (
                leaving,
                [
                    (&[Busy], leaving),
                    (&[], leaving),
                    (&[], leaving),
                    (&[], leaving),
                    (&[], leaving),
                    (&[], leaving),
                    (&[Shorten(drain)], leaving),
                    (&[Action::End], leaving),
                    (&[Action::End], nobody),
                    (&[], leaving),
                    (&[], leaving),
                ],
            ),
        ];
        for (before, row) in table {
            for ((event, at), (actions, after)) in events.into_iter().zip(row) {
                let mut heir = before;
                let done = heir.handle(event, at);
                assert_eq!((&done[..], heir), (actions, after), "{before:?} {event:?}");
            }
        }
    }

    #[test]
    fn an_heir_that_says_nothing_is_sent_away() {
        let mut now = Instant::now();
        let mut heir = Heir::default();
        heir.handle(Event::Connected, now);
        heir.handle(Event::Hello(VERSION, None), now);
        now = heir.poll_timeout().unwrap();
        assert_eq!(heir.handle(Event::Timer, now), [Action::Drop, Action::Restore]);
        assert_eq!((heir, heir.poll_timeout()), (Heir::Nobody, None));
    }
}
