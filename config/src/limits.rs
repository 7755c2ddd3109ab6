//! How many calls a tenant or trunk may have, how fast they may come, and which numbers it may not call.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::text::timezone::Timezone;

/// The bounds of one tenant or trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of all its calls.
    pub all: Bound,
    /// Of the calls that it makes.
    pub made: Bound,
    /// Of the calls that it receives.
    pub received: Bound,
    /// Of each number of it: as the caller of calls that it makes, as the called one of those that it receives.
    pub number: Bound,
    /// Of the time that its calls last.
    pub minutes: Minutes,
    /// When its days begin.
    pub timezone: Timezone,
}

/// Minutes a day, from the answer on; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minutes {
    /// Of all its calls.
    pub all: Option<u32>,
    /// Of the calls that it makes.
    pub made: Option<u32>,
    /// Of the calls that it receives.
    pub received: Option<u32>,
}

/// How many, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Calls at a time; `None`: unlimited.
    pub calls: Option<u32>,
    /// Calls that begin; `None`: unlimited.
    pub rate: Option<Rate>,
}

/// Calls per second, on average, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In 1000 s; at least 1.
    pub per_1000_s: u32,
    /// At least 1.
    pub burst: u32,
}

/// Which numbers may not be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Barring {
    /// Numbers that cost more than a call, as their country's numbering plan says.
    pub premium: bool,
    /// Numbers of satellites and of networks of no country.
    pub satellite: bool,
    /// Countries that calls are often made to for fraud.
    pub high_risk: bool,
    /// Codes with `*` and `#`, which command the network of a carrier.
    pub codes: bool,
    /// Whether numbers that begin so, in E.164, are barred; the longest prefix counts, before any group.
    pub prefixes: BTreeMap<String, bool>,
}

impl Bound {
    /// Whether it bounds nothing.
    pub const fn is_open(self) -> bool {
        self.calls.is_none() && self.rate.is_none()
    }
}

impl Minutes {
    /// Whether they bound nothing.
    pub const fn is_open(self) -> bool {
        self.all.is_none() && self.made.is_none() && self.received.is_none()
    }
}

impl Rate {
    /// The time between two calls at this rate.
    pub fn interval(self) -> Duration {
        Duration::from_secs(1000) / self.per_1000_s
    }
}

/// Calls per second, in decimal.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.per_1000_s / 1000, self.per_1000_s % 1000);
        let rest = format!("{rest:03}");
        match rest.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            rest => write!(f, "{whole}.{rest}"),
        }
    }
}
