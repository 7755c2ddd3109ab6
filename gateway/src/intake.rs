//! What has come in and is not served yet, in the order in which it will be: overload is decided here.
//!
//! Three classes. First what belongs to something that exists: responses, ACK, BYE, CANCEL, any request inside a
//! dialog. Then calls for help, and other new requests (OPTIONS). Then new calls, in lanes of their own for each caller,
//! one of each lane in turn, so that a peer that floods us waits behind itself. Each class has a budget a turn, so that
//! none starves another, nor the timers.
//!
//! A new call that has waited longer than a bound is refused (RFC 3261 §8.2.7). Nothing that belongs to a call is.
//! The bound is the age of the message, counted from the kernel's stamp, so that nothing hides in a socket:
//! `PATIENCE` 18 ms, which is below what a caller notices and leaves a refusal time to arrive within 50 ms; and
//! `INDULGENCE` 40 ms while the lanes were empty a moment ago, so that a pause of the machine refuses nobody whom we
//! can serve the next moment. With few calls waiting nobody is refused at all: serving them takes less time than it
//! takes to be called busy.
//!
//! Bounded: `MOST_FIRST`, `MOST_PRIORITY` and `MOST_CALLS` messages. When a class is full, its oldest makes room,
//! of the longest lane; it will be repeated. The first class is never full before the connections are held up: the
//! driver reads no more than [`Intake::room`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::transport::Source;

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

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To something that exists.
    First,
    /// A call for help, or another new request.
    Priority,
    /// A new call, of a caller with this number: any number, the same for the same caller.
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

/// The queues.
#[derive(Debug)]
pub struct Intake {
    first: VecDeque<Waiting>,
    priority: VecDeque<Waiting>,
    lanes: Vec<VecDeque<Waiting>>,
    /// Lanes in which somebody waits, the next to be served in front.
    order: VecDeque<u8>,
    calls: usize,
    /// Since when some call was always waiting at the end of a turn.
    standing: Option<Instant>,
    left: Budget,
}

/// What the turn may still do.
#[derive(Clone, Copy, Debug)]
struct Budget {
    first: usize,
    priority: usize,
    calls: usize,
    refusals: usize,
}

impl Intake {
    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            first: VecDeque::new(),
            priority: VecDeque::new(),
            lanes: (0..LANES).map(|_| VecDeque::new()).collect(),
            order: VecDeque::new(),
            calls: 0,
            standing: None,
            left: A_TURN,
        }
    }

    /// How many more messages may be pushed before anything of the first class is lost.
    pub fn room(&self) -> usize {
        MOST_FIRST - self.first.len()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.first.len() + self.priority.len() + self.calls
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message. What had to make room for it comes back, and is dropped: it will be repeated.
    pub fn push(&mut self, place: Place, message: Waiting) -> Option<Waiting> {
        match place {
            Place::First => push(&mut self.first, message, MOST_FIRST),
            Place::Priority => push(&mut self.priority, message, MOST_PRIORITY),
            Place::Call(lane) => {
                let victim = (self.calls >= MOST_CALLS).then(|| self.shorten()).flatten();
                let lane = lane % LANES;
                let queue = &mut self.lanes[usize::from(lane)];
                if queue.is_empty() {
                    self.order.push_back(lane);
                }
                queue.push_back(message);
                self.calls += 1;
                victim
            }
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Instant) {
        self.left = A_TURN;
        self.standing = (self.calls > 0).then(|| self.standing.unwrap_or(now));
    }

    /// What to do next; `None` when nothing waits or the turn's budgets are spent.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        if self.left.first > 0
            && let Some(message) = self.first.pop_front()
        {
            self.left.first -= 1;
            return Some(Next::Serve(message));
        }
        if self.left.priority > 0
            && let Some(message) = self.priority.pop_front()
        {
            self.left.priority -= 1;
            return Some(Next::Serve(message));
        }
        self.next_call(now)
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
        let lane = *self.order.front()?;
        self.left.calls -= 1;
        self.take(lane).map(Next::Serve)
    }

    /// A call that has waited too long, of whichever lane.
    fn overdue(&mut self, now: Instant) -> Option<Waiting> {
        if self.calls <= FEW {
            return None;
        }
        let standing = self.standing.is_some_and(|since| age(since, now) >= STANDING);
        let bound = if standing { PATIENCE } else { INDULGENCE };
        let late = |lane: &&u8| {
            let oldest = self.lanes[usize::from(**lane)].front();
            oldest.is_some_and(|oldest| age(oldest.received, now) > bound)
        };
        let lane = *self.order.iter().find(late)?;
        self.take_oldest(lane)
    }

    /// The oldest of the lane whose turn it is; the lane goes to the end.
    fn take(&mut self, lane: u8) -> Option<Waiting> {
        self.order.pop_front();
        let queue = &mut self.lanes[usize::from(lane)];
        let oldest = queue.pop_front();
        self.calls -= usize::from(oldest.is_some());
        if !queue.is_empty() {
            self.order.push_back(lane);
        }
        oldest
    }

    /// The oldest of any lane, which keeps its turn.
    fn take_oldest(&mut self, lane: u8) -> Option<Waiting> {
        let queue = &mut self.lanes[usize::from(lane)];
        let oldest = queue.pop_front();
        self.calls -= usize::from(oldest.is_some());
        if queue.is_empty() {
            self.order.retain(|other| *other != lane);
        }
        oldest
    }

    /// Takes the oldest of the longest lane out.
    fn shorten(&mut self) -> Option<Waiting> {
        let longest =
            *self.order.iter().max_by_key(|lane| self.lanes[usize::from(**lane)].len())?;
        self.take_oldest(longest)
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

fn push(queue: &mut VecDeque<Waiting>, message: Waiting, most: usize) -> Option<Waiting> {
    let victim = (queue.len() >= most).then(|| queue.pop_front()).flatten();
    queue.push_back(message);
    victim
}

fn age(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

/// Above this age a new call is refused, when calls have been waiting for a while.
const PATIENCE: Duration = Duration::from_millis(18);
/// The same when the lanes were empty a moment ago.
const INDULGENCE: Duration = Duration::from_millis(40);
/// After so long the lanes count as standing.
const STANDING: Duration = Duration::from_millis(100);
/// So few are served whatever their age.
const FEW: usize = 16;
/// Callers that share a lane by chance share its turns.
const LANES: u8 = 64;
/// What one turn does at most: about 5 ms of work.
const A_TURN: Budget = Budget { first: 256, priority: 32, calls: 16, refusals: 512 };
/// Messages of the first class.
const MOST_FIRST: usize = 8192;
/// Calls for help and other new requests.
const MOST_PRIORITY: usize = 1024;
/// New calls, all lanes together.
const MOST_CALLS: usize = 4096;

#[cfg(test)]
mod tests;
