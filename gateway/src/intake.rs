//! What has come in and is not served yet, in the order in which it will be: overload is decided here.
//!
//! Four classes. First what belongs to something that exists: answers to what we asked, and requests that carry a tag
//! or a transaction of ours. Then calls for help. Then other requests (OPTIONS). Then new calls. Within a class each
//! caller has a lane of its own, one of each lane in turn, so that a peer that floods us waits behind itself. Each class
//! has a budget a turn, so that none starves another, nor the timers.
//!
//! A new call that has waited longer than a bound is refused (RFC 3261 §8.2.7). Nothing that belongs to a call is, and
//! no call for help. The bound is the age of the message, counted from the kernel's stamp, so that nothing hides in a
//! socket: `PATIENCE` 12 ms, which is below what a caller notices and leaves a refusal time to arrive within 50 ms; and
//! `INDULGENCE` 40 ms while the lanes were empty a moment ago, so that a pause of the machine refuses nobody whom we
//! can serve the next moment. With few calls waiting nobody is refused at all: serving them takes less time than it
//! takes to be called busy.
//!
//! Bounded: `MOST_FIRST` datagrams and as many messages of streams, `MOST_HELP`, `MOST_PRIORITY` and `MOST_CALLS`
//! messages. When a class is full, the oldest of its longest lane makes room ([`Victim`]): a datagram is dropped, and will
//! be repeated; on a stream nobody repeats a call, so it is refused at once. What belongs to something that exists and came on a stream
//! waits apart from datagrams, and is never full before the connections are held up, for the driver reads no more of
//! them than [`Intake::room`].

mod lanes;

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::transport::Source;

use self::lanes::Lanes;

/// A message that has not been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where it came from.
    pub source: Source,
    /// When.
    pub received: Instant,
    /// Its bytes.
    pub raw: Bytes,
}

/// Where a message belongs: its class, and a number of the peer: any number, the same for the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To something that exists.
    First(u8),
    /// A call for help.
    Help(u8),
    /// Another request.
    Priority(u8),
    /// A new call.
    Call(u8),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Serve it.
    Serve(Waiting),
    /// Refuse it: it has waited too long, and others are waiting.
    Refuse(Waiting),
}

/// What becomes of a message that had to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A datagram, which will be repeated, or no call: it is dropped.
    Dropped(Waiting),
    /// A call that came on a stream: to be refused at once, which costs next to nothing. Even one for help: whoever
    /// sends so many hears soon that it has to go elsewhere.
    Refused(Waiting),
}

impl Victim {
    /// The message.
    pub const fn message(&self) -> &Waiting {
        match self {
            Self::Dropped(message) | Self::Refused(message) => message,
        }
    }
}

/// The queues.
#[derive(Debug)]
pub struct Intake {
    /// Of the first class, what came on streams, and what came in datagrams.
    streams: Lanes,
    datagrams: Lanes,
    /// Whose turn it is in the first class.
    streams_next: bool,
    help: Lanes,
    priority: Lanes,
    calls: Lanes,
    /// Since when some call was always waiting at the end of a turn.
    standing: Option<Instant>,
    left: Budget,
}

/// What the turn may still do.
#[derive(Clone, Copy, Debug)]
struct Budget {
    first: usize,
    help: usize,
    priority: usize,
    calls: usize,
    refusals: usize,
}

impl Intake {
    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            streams: Lanes::new(MOST_FIRST),
            datagrams: Lanes::new(MOST_FIRST),
            streams_next: true,
            help: Lanes::new(MOST_HELP),
            priority: Lanes::new(MOST_PRIORITY),
            calls: Lanes::new(MOST_CALLS),
            standing: None,
            left: A_TURN,
        }
    }

    /// How many more messages of streams may be pushed before anything is lost that nobody repeats.
    pub fn room(&self) -> usize {
        MOST_FIRST - self.streams.len()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        [&self.streams, &self.datagrams, &self.help, &self.priority, &self.calls]
            .into_iter()
            .map(Lanes::len)
            .sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message. What had to make room for it is of the same class.
    pub fn push(&mut self, place: Place, message: Waiting) -> Option<Victim> {
        let (lanes, lane) = match place {
            Place::First(lane) if message.source.flow.is_some() => (&mut self.streams, lane),
            Place::First(lane) => (&mut self.datagrams, lane),
            Place::Help(lane) => (&mut self.help, lane),
            Place::Priority(lane) => (&mut self.priority, lane),
            Place::Call(lane) => (&mut self.calls, lane),
        };
        let victim = lanes.push(lane, message)?;
        Some(match place {
            Place::Call(_) | Place::Help(_) if victim.source.flow.is_some() => {
                Victim::Refused(victim)
            }
            Place::First(_) | Place::Call(_) | Place::Help(_) | Place::Priority(_) => {
                Victim::Dropped(victim)
            }
        })
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Instant) {
        self.left = A_TURN;
        self.standing = (self.calls.len() > 0).then(|| self.standing.unwrap_or(now));
    }

    /// What to do next; `None` when nothing waits or the turn's budgets are spent.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        if self.left.first > 0
            && let Some(message) = self.next_first()
        {
            self.left.first -= 1;
            return Some(Next::Serve(message));
        }
        for (left, lanes) in
            [(&mut self.left.help, &mut self.help), (&mut self.left.priority, &mut self.priority)]
        {
            if *left > 0
                && let Some(message) = lanes.take()
            {
                *left -= 1;
                return Some(Next::Serve(message));
            }
        }
        self.next_call(now)
    }

    /// Streams and datagrams in turn.
    fn next_first(&mut self) -> Option<Waiting> {
        let (one, other) = (&mut self.streams, &mut self.datagrams);
        let (one, other) = if self.streams_next { (one, other) } else { (other, one) };
        self.streams_next = !self.streams_next;
        one.take().or_else(|| other.take())
    }

    fn next_call(&mut self, now: Instant) -> Option<Next> {
        if self.left.refusals > 0
            && let Some(message) = self.overdue(now)
        {
            self.left.refusals -= 1;
            return Some(Next::Refuse(message));
        }
        if self.left.calls == 0 {
            return None;
        }
        let message = self.calls.take()?;
        self.left.calls -= 1;
        Some(Next::Serve(message))
    }

    /// A call that has waited too long, of whichever lane.
    fn overdue(&mut self, now: Instant) -> Option<Waiting> {
        if self.calls.len() <= FEW {
            return None;
        }
        let standing = self.standing.is_some_and(|since| age(since, now) >= STANDING);
        let bound = if standing { PATIENCE } else { INDULGENCE };
        self.calls.take_if(|oldest| age(oldest.received, now) > bound)
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

fn age(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

/// Above this age a new call is refused, when calls have been waiting for a while.
const PATIENCE: Duration = Duration::from_millis(12);
/// The same when the lanes were empty a moment ago.
const INDULGENCE: Duration = Duration::from_millis(40);
/// After so long the lanes count as standing.
const STANDING: Duration = Duration::from_millis(100);
/// So few are served whatever their age.
const FEW: usize = 16;
/// What one turn does at most: about 3 ms of work. A call brings six messages of the first class with it.
const A_TURN: Budget = Budget { first: 64, help: 4, priority: 16, calls: 8, refusals: 256 };
const MOST_FIRST: usize = 8192;
/// Calls for help.
const MOST_HELP: usize = 512;
/// Other requests.
const MOST_PRIORITY: usize = 1024;
/// New calls, all lanes together.
const MOST_CALLS: usize = 4096;

#[cfg(test)]
mod tests;
