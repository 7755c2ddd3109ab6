//! A queue in lanes, one for each peer, of which one after the other has its turn.
//!
//! Bounded by the number it is made with, over all lanes together: the oldest of the longest lane makes room.

use std::collections::VecDeque;

use super::Waiting;

/// Messages of one class.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<VecDeque<Waiting>>,
    /// Lanes in which somebody waits, the next to be served in front.
    order: VecDeque<u8>,
    len: usize,
    most: usize,
}

impl Lanes {
    /// Empty lanes for so many messages.
    pub(super) fn new(most: usize) -> Self {
        let lanes = (0..LANES).map(|_| VecDeque::new()).collect();
        Self { lanes, order: VecDeque::new(), len: 0, most }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a message. What had to make room for it comes back.
    pub(super) fn push(&mut self, lane: u8, message: Waiting) -> Option<Waiting> {
        let victim = (self.len >= self.most).then(|| self.shorten()).flatten();
        let lane = lane % LANES;
        let queue = &mut self.lanes[usize::from(lane)];
        if queue.is_empty() {
            self.order.push_back(lane);
        }
        queue.push_back(message);
        self.len += 1;
        victim
    }

    /// The oldest of the lane whose turn it is; the lane goes to the end.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let lane = self.order.pop_front()?;
        let queue = &mut self.lanes[usize::from(lane)];
        let oldest = queue.pop_front();
        self.len -= usize::from(oldest.is_some());
        if !queue.is_empty() {
            self.order.push_back(lane);
        }
        oldest
    }

    /// The oldest of the first lane of which that holds; the lane keeps its turn.
    pub(super) fn take_if(&mut self, holds: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let held = |lane: &&u8| self.lanes[usize::from(**lane)].front().is_some_and(&holds);
        let lane = *self.order.iter().find(held)?;
        self.take_oldest(lane)
    }

    fn take_oldest(&mut self, lane: u8) -> Option<Waiting> {
        let queue = &mut self.lanes[usize::from(lane)];
        let oldest = queue.pop_front();
        self.len -= usize::from(oldest.is_some());
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

/// Peers that share a lane by chance share its turns.
const LANES: u8 = 64;
