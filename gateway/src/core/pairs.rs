//! Loops that nobody tells of: a call that is sent on and comes back has the same caller and the same called number each time,
//! and is not answered in between; and whoever is called by it calls out in that caller's name as often. Forwarding that
//! leaves its traces (History-Info, Diversion) is found by them first.
//!
//! As large as the calls that are not answered yet.

use std::collections::HashMap;

/// A call that is not answered yet.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// The number that calls, as received.
    pub(super) caller: String,
    pub(super) called: String,
    /// The name of the tenant or trunk that makes it.
    pub(super) maker: String,
}

/// All of them, counted.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// By who calls whom.
    pairs: HashMap<(String, String), u32>,
    /// By who calls, and who makes the call.
    makers: HashMap<(String, String), u32>,
}

impl Pairs {
    /// Whether so many are under way that this must be a loop; `callee` is the name of whom it would reach.
    pub(super) fn is_loop(&self, call: &UnderWay, callee: &str) -> bool {
        let passes = self.pairs.get(&call.pair()).copied().unwrap_or(0);
        // Callers who dial the same number at a time are many, but it does not call out in their name.
        let sent_on = self.makers.get(&(call.caller.clone(), callee.to_owned()));
        passes >= LOOP && sent_on.is_some_and(|calls| *calls >= LOOP - 1)
    }

    /// One more is under way.
    pub(super) fn begin(&mut self, call: &UnderWay) {
        count(&mut self.pairs, call.pair());
        count(&mut self.makers, call.made());
    }

    /// One is answered, or over.
    pub(super) fn end(&mut self, call: &UnderWay) {
        discount(&mut self.pairs, &call.pair());
        discount(&mut self.makers, &call.made());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pairs.len() + self.makers.len()
    }
}

impl UnderWay {
    fn pair(&self) -> (String, String) {
        (self.caller.clone(), self.called.clone())
    }

    fn made(&self) -> (String, String) {
        (self.caller.clone(), self.maker.clone())
    }
}

fn count(all: &mut HashMap<(String, String), u32>, key: (String, String)) {
    let calls = all.entry(key).or_default();
    *calls = calls.saturating_add(1);
}

fn discount(all: &mut HashMap<(String, String), u32>, key: &(String, String)) {
    let Some(calls) = all.get_mut(key) else { return };
    *calls = calls.saturating_sub(1);
    if *calls == 0 {
        all.remove(key);
    }
}

/// Passes of one call.
const LOOP: u32 = 5;
