//! Under which keys a peer is heard: one context for each key, each with its own rollover counters.
//!
//! With a new key comes a new context whose rollover counter is 0 (RFC 4568 §7.1.4, and what peers
//! really do); with the same key everything goes on (RFC 3711 §3.3.1), however long another one was in use
//! meanwhile: nothing that was heard under a key is heard again (RFC 3711 §3.3.2, §9.1). While an INVITE of ours is
//! forked, each early dialog answers with a key of its own on our one port (RFC 3261 §12.1, §13.2.2.4):
//! the plan names all of them, and authentication tells whose packet it is. The dialog that is answered
//! is the only one named afterwards; the others leave.
//!
//! | a key is | plan names it | plan names others, one of them new | plan names others, all known | plan names none | its packet comes | another's comes | its time is over |
//! |---|---|---|---|---|---|---|---|
//! | unknown | Named, rollover counter 0 | – | – | – | not authentic | – | – |
//! | Named | Named, indexes go on | Former | Late | Past | taken; tried first from now on | – | – |
//! | Former | Named, indexes go on | Former, time runs on | Former, time runs on | Past | taken, no latch | of a Named one: Late | Past |
//! | Late | Named, indexes go on | Late, time runs on | Late, time runs on | Past | taken into a gap, no latch | – | Past |
//! | Past | Named, indexes go on | – | – | – | not authentic | – | – |
//!
//! Of a Past key the indexes alone are kept, of `PAST` keys at most. Its context is made anew when it is named, and
//! counts as a new one; a rollover that was missed meanwhile is found by its first packet.
//!
//! A packet that authenticates under no context, a second copy, and what was refused for any other
//! cause change nothing, whatever its SSRC, index, MKI or length. Another source (SSRC) or a jump of
//! the sequence under a key is a matter of that context alone; so is a source whose SSRC is also another
//! context's, or ours. Closed directions change nothing here: indexes go on.
//!
//! A key that is left is heard for what is still under way, and never moves a latch:
//! - *Former*: a peer uses its new key once it has our answer. An answer lost on UDP is repeated 0.5, 1.5,
//!   3.5 and 7.5 s later (RFC 3261 §13.3.1.4), so the old key is heard for `WAIT`, eight seconds, as if
//!   nothing had happened; but not longer than `GRACE`, two seconds, after the first packet under the new.
//! - *Late*: from that packet on, and for the forks that lost against a known key, only gaps of the
//!   sequence that is heard are filled: two sources never alternate.
//!
//! What a stranger can cost is bounded: a packet of a source that none of the other contexts has heard is tried under
//! them `STRANGERS` times a second at most, so that a flood costs one try for each packet, as in a call with one key.
//! Sources that were heard are always tried where they were.

use std::time::{Duration, Instant};

use super::refusal;
use crate::packet::Ssrc;
use crate::shard::pace::Pace;
use crate::shard::refusal::Refusal;
use crate::srtp::{MasterKey, Receiver, SrtpError};
use crate::state::KeySnapshot;

/// The contexts of one peer: at most `NAMED`, and `LEAVING` that leave.
pub(crate) struct Inbound {
    /// Of those that the plan names the one heard last. It is tried first, and alone in most calls.
    front: Option<Context>,
    /// The others that the plan names, and those that leave, who left first in front. Not allocated but
    /// for forks and new keys.
    others: Vec<Context>,
    /// Some are former ones: the first packet under a key that is named makes them late.
    waiting: bool,
    /// The indexes of past keys, the oldest in front.
    past: Vec<KeySnapshot>,
    /// Tries of unknown sources beyond the first context.
    strangers: Pace,
}

struct Context {
    key: MasterKey,
    receiver: Receiver,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Named,
    /// Left for a new key, under which nothing was heard yet.
    Former {
        until: Instant,
    },
    /// Left, and another one is heard, or was named already.
    Late {
        until: Instant,
    },
}

/// Whose a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The peer's.
    Current,
    /// The peer's, under a key that it is about to leave.
    Former,
    /// Of a key that was left: good for a gap, and nothing else.
    Late,
}

/// A packet that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) len: usize,
    pub(crate) standing: Standing,
}

impl Inbound {
    /// No key is known.
    pub(crate) const fn new(now: Instant) -> Self {
        let strangers = Pace::new(STRANGERS, now);
        Self { front: None, others: Vec::new(), waiting: false, past: Vec::new(), strangers }
    }

    /// Takes on the keys that a plan names, of which the first `NAMED` count.
    pub(crate) fn apply(&mut self, keys: &[MasterKey], now: Instant) {
        self.expire(now);
        if keys.is_empty() {
            self.waiting = false;
            let all: Vec<Context> = self.others.drain(..).chain(self.front.take()).collect();
            return all.iter().for_each(|context| self.pass(context));
        }
        let heard = self.front.as_ref().map(|front| front.key.clone());
        let mut before: Vec<Context> = self.others.drain(..).chain(self.front.take()).collect();
        before.sort_by_key(|context| context.state == State::Named);
        let mut named: Vec<Context> = Vec::new();
        let mut fresh = false;
        for key in keys.iter().take(NAMED) {
            if named.iter().any(|context| context.key.same_key(key)) {
                continue;
            }
            let known = before.iter().position(|context| context.key.same_key(key));
            named.push(match known.map(|at| before.remove(at)) {
                Some(mut context) => {
                    context.receiver.adopt(key);
                    context.key.clone_from(key);
                    context.state = State::Named;
                    context
                }
                None => {
                    fresh = true;
                    let receiver = self.recall(key).unwrap_or_else(|| Receiver::new(key));
                    Context { key: key.clone(), receiver, state: State::Named }
                }
            });
        }
        for context in before.iter_mut().filter(|context| context.state == State::Named) {
            context.state = match fresh {
                true => State::Former { until: now + WAIT },
                false => State::Late { until: now + GRACE },
            };
        }
        for context in before.drain(..before.len().saturating_sub(LEAVING)) {
            self.pass(&context);
        }
        self.waiting = before.iter().any(|context| context.state.is_former());
        let same = |context: &Context| heard.as_ref().is_some_and(|key| context.key.same_key(key));
        self.front = Some(named.remove(named.iter().position(same).unwrap_or_default()));
        self.others = named;
        self.others.extend(before);
    }

    /// Whether one of these keys has a context.
    pub(crate) fn knows(&self, keys: &[MasterKey]) -> bool {
        let mut contexts = self.front.iter().chain(&self.others);
        contexts.any(|context| keys.iter().any(|key| context.key.same_key(key)))
    }

    /// Opens a packet that fills `buf`, by `open`, under the first context that it is authentic for; `source` tells whose
    /// it says it is. What is refused leaves `buf` as it was.
    #[inline]
    pub(crate) fn open(
        &mut self,
        buf: &mut [u8],
        now: Instant,
        source: impl Fn(&[u8]) -> Option<Ssrc>,
        open: impl Fn(&mut Receiver, &mut [u8]) -> Result<usize, SrtpError>,
    ) -> Result<Opened, Refusal> {
        let Some(front) = &mut self.front else {
            // Before the peer's key is known nothing of it can be believed.
            return Err(Refusal::Unauthentic);
        };
        match open(&mut front.receiver, buf) {
            Ok(len) => {
                if self.waiting {
                    self.arrive(now);
                }
                Ok(Opened { len, standing: Standing::Current })
            }
            Err(error) if self.others.is_empty() => Err(refusal(error)),
            Err(error) => {
                let source = source(buf);
                let known = self.open_others(buf, now, |one| one.knows(source), &open);
                let opened = known.or_else(|| {
                    let admitted = self.strangers.admits(now);
                    self.open_others(buf, now, |one| admitted && !one.knows(source), &open)
                });
                opened.ok_or(refusal(error))
            }
        }
    }

    /// Leaves the contexts whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(at) = self.others.iter().position(|context| !context.state.lasts(now)) {
            let context = self.others.remove(at);
            self.pass(&context);
        }
    }

    /// The context of the peer, for a restart. Others do not outlive the process.
    pub(crate) fn snapshot(&self) -> Option<KeySnapshot> {
        let Context { key, receiver, .. } = self.front.as_ref()?;
        Some(KeySnapshot { key: key.fingerprint(), indexes: receiver.snapshot() })
    }

    /// Takes nothing again of what came to another process.
    pub(crate) fn resume(&mut self, snapshot: &KeySnapshot) {
        let contexts = self.front.iter_mut().chain(&mut self.others);
        for context in contexts.filter(|context| context.key.fingerprint() == snapshot.key) {
            context.receiver = Receiver::restore(&context.key, &snapshot.indexes);
        }
    }

    /// Every context with its indexes and windows, as text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let contexts = self.front.iter().chain(&self.others);
        let of = |context: &Context| {
            let Context { key, receiver, state } = context;
            format!("{:x} {:?} {state:?}", key.fingerprint(), receiver.snapshot())
        };
        format!("{} {:?} {:?}", self.waiting, contexts.map(of).collect::<Vec<_>>(), self.past)
    }

    /// Keeps the indexes of a context that goes.
    fn pass(&mut self, Context { key, receiver, .. }: &Context) {
        self.past.drain(..(self.past.len() + 1).saturating_sub(PAST));
        self.past.push(KeySnapshot { key: key.fingerprint(), indexes: receiver.snapshot() });
    }

    /// The context of a past key.
    fn recall(&mut self, key: &MasterKey) -> Option<Receiver> {
        if self.past.is_empty() {
            return None;
        }
        let fingerprint = key.fingerprint();
        let at = self.past.iter().position(|past| past.key == fingerprint)?;
        Some(Receiver::restore(key, &self.past.remove(at).indexes))
    }

    #[cold]
    fn open_others(
        &mut self,
        buf: &mut [u8],
        now: Instant,
        fits: impl Fn(&Receiver) -> bool,
        open: impl Fn(&mut Receiver, &mut [u8]) -> Result<usize, SrtpError>,
    ) -> Option<Opened> {
        for other in &mut self.others {
            if !other.state.lasts(now) || !fits(&other.receiver) {
                continue;
            }
            let Ok(len) = open(&mut other.receiver, buf) else { continue };
            let standing = match other.state {
                State::Named => Standing::Current,
                State::Former { .. } => Standing::Former,
                State::Late { .. } => Standing::Late,
            };
            if standing == Standing::Current {
                if let Some(front) = &mut self.front {
                    std::mem::swap(front, other);
                }
                if self.waiting {
                    self.arrive(now);
                }
            }
            return Some(Opened { len, standing });
        }
        None
    }

    /// The first packet under a named key since there is a new one.
    #[cold]
    fn arrive(&mut self, now: Instant) {
        self.waiting = false;
        for context in &mut self.others {
            if let State::Former { until } = context.state {
                context.state = State::Late { until: until.min(now + GRACE) };
            }
        }
    }
}

impl State {
    fn lasts(self, now: Instant) -> bool {
        match self {
            Self::Named => true,
            Self::Former { until } | Self::Late { until } => now < until,
        }
    }

    const fn is_former(self) -> bool {
        match self {
            Self::Former { .. } => true,
            Self::Named | Self::Late { .. } => false,
        }
    }
}

/// The most keys of a plan that are heard: forks of one INVITE that send early media at the same time.
pub(crate) const NAMED: usize = 4;
/// The most that leave at the same time; the one that left first makes room.
pub(crate) const LEAVING: usize = 4;
/// Keys that left of which the indexes are kept; the one that left first makes room.
pub(crate) const PAST: usize = 8;
/// How often in a second a packet of an unknown source is tried under more than one key.
pub(crate) const STRANGERS: u32 = 200;
/// How long an old key is heard while nothing comes under the new one.
pub(crate) const WAIT: Duration = Duration::from_secs(8);
/// How long packets under an old key may be late: no network holds one up for longer, and two seconds of silence
/// open a latch as well.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
