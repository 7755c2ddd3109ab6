//! What one tenant or trunk has at the moment: its calls each way, how fast they came, and the same of its numbers.

use std::collections::HashMap;
use std::time::Instant;

use config::{Bound, Limits};

use super::Way;
use super::minutes::Minutes;
use super::pace::Pace;

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Calls,
    CallsOfNumber,
    Rate,
    Minutes,
}

/// Of one tenant or trunk.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Calls made, calls received.
    calls: [u32; 2],
    /// Of all calls, and each way.
    all: Pace,
    paces: [Pace; 2],
    /// How long they lasted.
    pub(super) minutes: Minutes,
    /// Kept only where numbers have bounds.
    numbers: HashMap<Box<str>, OfNumber>,
    /// How many of these there may be before the quiet ones are forgotten.
    enough: usize,
}

/// Of one number.
#[derive(Debug, Default)]
struct OfNumber {
    calls: u32,
    pace: Pace,
}

impl Usage {
    /// Whether one more call fits, beside so many made and received in another process.
    pub(super) fn fits(
        &self,
        limits: &Limits,
        way: Way,
        number: Option<&str>,
        elsewhere: [u32; 2],
        now: Instant,
    ) -> Result<(), Reached> {
        let bound = way.bound(limits);
        let calls = [0, 1].map(|at| self.calls[at].saturating_add(elsewhere[at]));
        let calls = [(calls[0].saturating_add(calls[1]), limits.all), (calls[way.at()], bound)];
        if calls.into_iter().any(|(calls, bound)| calls >= bound.calls.unwrap_or(u32::MAX)) {
            return Err(Reached::Calls);
        }
        let of_number = number.and_then(|number| self.numbers.get(number));
        let (taken, pace) = of_number.map_or_else(Default::default, |it| (it.calls, it.pace));
        if taken >= limits.number.calls.unwrap_or(u32::MAX) {
            return Err(Reached::CallsOfNumber);
        }
        let paces = [(self.all, limits.all), (self.paces[way.at()], bound), (pace, limits.number)];
        match paces.into_iter().all(|(pace, bound)| pace.lets(bound.rate, now)) {
            true => Ok(()),
            false => Err(Reached::Rate),
        }
    }

    /// One more call began.
    pub(super) fn begin(&mut self, limits: &Limits, way: Way, number: Option<&str>, now: Instant) {
        self.all.took(limits.all.rate, now);
        self.paces[way.at()].took(way.bound(limits).rate, now);
        if let Some(of_number) = self.join(way, number, now) {
            of_number.pace.took(limits.number.rate, now);
        }
    }

    /// One more call is there that began long ago, or that takes nobody's turn.
    pub(super) fn add(&mut self, way: Way, number: Option<&str>, now: Instant) {
        self.join(way, number, now);
    }

    fn join(&mut self, way: Way, number: Option<&str>, now: Instant) -> Option<&mut OfNumber> {
        self.calls[way.at()] += 1;
        let number = number?;
        if !self.numbers.contains_key(number) {
            self.forget_quiet(now);
        }
        let of_number = self.numbers.entry(number.into()).or_default();
        of_number.calls += 1;
        Some(of_number)
    }

    /// A call is over.
    pub(super) fn end(&mut self, way: Way, number: Option<&str>) {
        let calls = &mut self.calls[way.at()];
        *calls = calls.saturating_sub(1);
        if let Some(of_number) = number.and_then(|number| self.numbers.get_mut(number)) {
            of_number.calls = of_number.calls.saturating_sub(1);
        }
    }

    /// Of how many numbers something is kept.
    #[cfg(test)]
    pub(super) fn numbers(&self) -> usize {
        self.numbers.len()
    }

    /// Calls made, calls received.
    pub(super) const fn calls(&self) -> [u32; 2] {
        self.calls
    }

    pub(super) fn all(&self) -> u32 {
        self.calls[0].saturating_add(self.calls[1])
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_idle(&self, now: Instant, wall: u64) -> bool {
        self.all() == 0
            && self.minutes.is_quiet(wall)
            && self.all.is_quiet(now)
            && self.paces.iter().all(|pace| pace.is_quiet(now))
            && self.numbers.values().all(|number| number.is_idle(now))
    }

    /// A look at all numbers comes when as many are new as stayed after the last one.
    fn forget_quiet(&mut self, now: Instant) {
        if self.numbers.len() >= self.enough.max(FEW) {
            self.numbers.retain(|_, number| !number.is_idle(now));
            self.enough = self.numbers.len() * 2;
        }
    }
}

impl OfNumber {
    fn is_idle(&self, now: Instant) -> bool {
        self.calls == 0 && self.pace.is_quiet(now)
    }
}

impl Way {
    pub(super) const fn at(self) -> usize {
        match self {
            Self::Made => 0,
            Self::Received => 1,
        }
    }

    const fn bound(self, limits: &Limits) -> Bound {
        match self {
            Self::Made => limits.made,
            Self::Received => limits.received,
        }
    }
}

const FEW: usize = 256;
