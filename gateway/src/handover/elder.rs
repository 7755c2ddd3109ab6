//! The elder as the process that takes over from it sees it: a machine over notes and losses.
//!
//! ```text
//! state   | Refuse     | Welcome            | Sockets          | Known | Go          | lost              | late
//! --------+------------+--------------------+------------------+-------+-------------+-------------------+-----------
//! asked   | → failed   | → offered (or all) | → failed         | failed| → failed    | → failed          | → failed
//! offered | → failed   | → failed           | the last: Open → | failed| → failed    | → failed          | → failed
//! opening | → failed   | → failed           | → failed         | failed| → failed    | → failed          | -
//! ready   | → failed   | → failed           | → failed         | Keep  | Begin → linked | Begin → gone   | → failed
//! linked  | -          | -                  | -                | -     | -           | Alone → gone      | -
//! gone    | -          | -                  | -                | -     | -           | -                 | -
//! ```
//!
//! Failed is the end of this process: the elder goes on as if nothing had happened. An elder that is lost once we are
//! ready, and hold every socket of it, is as good as one that says Go.

/// Where we stand with the elder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elder {
    /// We said Hello.
    Asked,
    /// So many sockets are still to come.
    Offered(usize),
    /// We open what we need.
    Opening,
    /// We said Ready.
    Ready,
    /// We have taken over; it still has calls.
    Linked,
    /// It is no more, or there never was one.
    Gone,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It refuses.
    Refused,
    /// It agrees; so many sockets follow.
    Welcome(usize),
    /// So many sockets came.
    Sockets(usize),
    /// Everything is open here.
    Opened,
    /// Digests of its transactions came.
    Known,
    /// It has stopped reading.
    Go,
    /// The link is gone.
    Lost,
    /// It took too long.
    Late,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing yet.
    Wait,
    /// Open everything.
    Open,
    /// Say Ready.
    SayReady,
    /// Keep the digests.
    Keep,
    /// Read the sockets.
    Begin,
    /// Nothing is handed to it any more.
    Alone,
    /// Give up.
    Fail(Failed),
}

/// Why nothing was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// It said no.
    #[error("it refuses")]
    Refused,
    /// It does not keep to the rules.
    #[error("it does not speak this version of the hand-over")]
    Confused,
    /// It ended in the middle.
    #[error("it ended in the middle of the hand-over")]
    Lost,
    /// It is silent.
    #[error("it does not answer")]
    Silent,
}

impl Elder {
    /// What follows from an event.
    pub fn handle(&mut self, event: Event) -> Action {
        let fail = |why| (Self::Gone, Action::Fail(why));
        let (next, action) = match (*self, event) {
            (Self::Asked | Self::Offered(_) | Self::Opening | Self::Ready, Event::Refused) => {
                fail(Failed::Refused)
            }
            (Self::Asked, Event::Welcome(0)) => (Self::Opening, Action::Open),
            (Self::Asked, Event::Welcome(left)) => (Self::Offered(left), Action::Wait),
            (Self::Offered(left), Event::Sockets(came)) if came < left => {
                (Self::Offered(left - came), Action::Wait)
            }
            (Self::Offered(left), Event::Sockets(came)) if came == left => {
                (Self::Opening, Action::Open)
            }
            (Self::Opening, Event::Opened) => (Self::Ready, Action::SayReady),
            (Self::Ready, Event::Known) => (Self::Ready, Action::Keep),
            (Self::Ready, Event::Go) => (Self::Linked, Action::Begin),
            (Self::Ready, Event::Lost) => (Self::Gone, Action::Begin),
            (Self::Asked | Self::Offered(_) | Self::Opening, Event::Lost) => fail(Failed::Lost),
            (Self::Asked | Self::Offered(_) | Self::Ready, Event::Late) => fail(Failed::Silent),
            (Self::Opening, Event::Late) => (Self::Opening, Action::Wait),
            (
                Self::Asked | Self::Offered(_) | Self::Opening | Self::Ready,
                Event::Welcome(_) | Event::Sockets(_) | Event::Opened | Event::Known | Event::Go,
            ) => fail(Failed::Confused),
            (Self::Linked, Event::Lost) => (Self::Gone, Action::Alone),
            (
                Self::Linked | Self::Gone,
                Event::Refused
                | Event::Welcome(_)
                | Event::Sockets(_)
                | Event::Opened
                | Event::Known
                | Event::Go
                | Event::Lost
                | Event::Late,
            ) => (*self, Action::Wait),
        };
        *self = next;
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state with every event: what is done, and the state afterwards.
    #[test]
    fn r03_every_state_meets_every_event() {
        use Action::{Alone, Begin, Keep, Open, SayReady, Wait};
        use Elder::{Asked, Gone, Linked, Offered, Opening, Ready};
        let events = [
            Event::Refused,
            Event::Welcome(0),
            Event::Welcome(3),
            Event::Sockets(1),
            Event::Sockets(3),
            Event::Sockets(4),
            Event::Opened,
            Event::Known,
            Event::Go,
            Event::Lost,
            Event::Late,
        ];
        let refused = (Action::Fail(Failed::Refused), Gone);
        let confused = (Action::Fail(Failed::Confused), Gone);
        let lost = (Action::Fail(Failed::Lost), Gone);
        let silent = (Action::Fail(Failed::Silent), Gone);
        let (linked, gone) = ((Wait, Linked), (Wait, Gone));
        let table = [
            (
                Asked,
                [
                    refused,
                    (Open, Opening),
                    (Wait, Offered(3)),
                    confused,
                    confused,
                    confused,
                    confused,
                    confused,
                    confused,
                    lost,
                    silent,
                ],
            ),
            (
                Offered(3),
                [
                    refused,
                    confused,
                    confused,
                    (Wait, Offered(2)),
                    (Open, Opening),
                    confused,
                    confused,
                    confused,
                    confused,
                    lost,
                    silent,
                ],
            ),
            (
                Opening,
                [
                    refused,
                    confused,
                    confused,
                    confused,
                    confused,
                    confused,
                    (SayReady, Ready),
                    confused,
                    confused,
                    lost,
                    (Wait, Opening),
                ],
            ),
            (
                Ready,
                [
                    refused,
                    confused,
                    confused,
                    confused,
                    confused,
                    confused,
                    confused,
                    (Keep, Ready),
                    (Begin, Linked),
                    (Begin, Gone),
                    silent,
                ],
            ),
            (
                Linked,
                [
                    linked,
                    linked,
                    linked,
                    linked,
                    linked,
                    linked,
                    linked,
                    linked,
                    linked,
                    (Alone, Gone),
                    linked,
                ],
            ),
            (Gone, [gone; 11]),
        ];
        for (before, row) in table {
            for (event, expected) in events.into_iter().zip(row) {
                let mut elder = before;
                let action = elder.handle(event);
                assert_eq!((action, elder), expected, "{before:?} {event:?}");
            }
        }
    }
}
