//! Who may be called back: for an hour after a call for help, whoever calls the number that it showed reaches whoever called,
//! past every limit, whoever else has the number, by any trunk. Kept over restarts by the name of the tenant.
//!
//! The number shown can be one of a site's few (ELIN): each is taken by one caller at a time while there are enough, and
//! by the newest one after that.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One who called for help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// The number that was shown.
    pub shown: String,
    /// The tenant whose call it was.
    pub tenant: String,
    /// Who called.
    pub caller: String,
    /// Until when, in seconds since 1970.
    pub until: u64,
}

/// All of them, by the number that was shown.
#[derive(Debug, Default)]
pub(super) struct Callbacks(BTreeMap<String, Callback>);

impl Callbacks {
    /// Takes in what was kept; what is known here already stays when it lasts longer.
    pub(super) fn learn(&mut self, kept: Vec<Callback>, wall: SystemTime) {
        let now = seconds(wall);
        for callback in kept.into_iter().filter(|callback| callback.until > now) {
            let known = self.0.get(&callback.shown).map_or(0, |known| known.until);
            // A clock that was set back keeps nobody for longer.
            let until = callback.until.min(now + TIME.as_secs());
            if until > known {
                self.0.insert(callback.shown.clone(), Callback { until, ..callback });
            }
        }
    }

    /// Which of a site's numbers a caller is shown with: the one that it has, else one that nobody has, else the one that
    /// was shown longest ago.
    pub(super) fn choose<'a>(
        &self,
        elins: &'a [String],
        tenant: &str,
        caller: &str,
        wall: SystemTime,
    ) -> Option<&'a String> {
        let now = seconds(wall);
        let rank = |elin: &&String| match self.0.get(*elin) {
            Some(it) if it.tenant == tenant && it.caller == caller => 0,
            Some(it) if it.until > now => it.until,
            Some(_) | None => 1,
        };
        elins.iter().min_by_key(rank)
    }

    /// A call for help shows this number.
    pub(super) fn note(&mut self, shown: &str, tenant: &str, caller: &str, wall: SystemTime) {
        let now = seconds(wall);
        self.0.retain(|_, callback| callback.until > now);
        if self.0.len() >= MOST && !self.0.contains_key(shown) {
            let oldest = self.0.values().min_by_key(|callback| callback.until);
            if let Some(oldest) = oldest.map(|callback| callback.shown.clone()) {
                self.0.remove(&oldest);
            }
        }
        let callback = Callback {
            shown: shown.to_owned(),
            tenant: tenant.to_owned(),
            caller: caller.to_owned(),
            until: now + TIME.as_secs(),
        };
        self.0.insert(shown.to_owned(), callback);
    }

    /// Who is meant by a call to this number.
    pub(super) fn find(&self, called: &str, wall: SystemTime) -> Option<&Callback> {
        self.0.get(called).filter(|callback| callback.until > seconds(wall))
    }

    /// All of them, to be kept.
    pub(super) fn all(&self) -> Vec<Callback> {
        self.0.values().cloned().collect()
    }
}

fn seconds(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long one may be called back.
const TIME: Duration = Duration::from_secs(60 * 60);
/// More are forgotten, the oldest first.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn elins() -> Vec<String> {
        ["+1", "+2"].map(str::to_owned).into()
    }

    #[test]
    fn each_caller_has_a_number_while_there_are_enough() {
        let mut callbacks = Callbacks::default();
        let mut call = |caller: &str, seconds: u64| {
            let shown = callbacks.choose(&elins(), "t", caller, at(seconds)).unwrap().clone();
            callbacks.note(&shown, "t", caller, at(seconds));
            shown
        };
        assert_eq!([call("a", 0), call("b", 10), call("a", 20)], ["+1", "+2", "+1"]);
        assert_eq!(call("c", 30), "+2", "that of b was shown longer ago");
        assert_eq!(call("b", 3700), "+1", "that of a is free again");
    }

    #[test]
    fn after_an_hour_nobody_is_called_back() {
        let mut callbacks = Callbacks::default();
        callbacks.note("+1", "t", "a", at(0));
        assert_eq!(callbacks.find("+1", at(3599)).map(|it| it.caller.as_str()), Some("a"));
        assert_eq!((callbacks.find("+1", at(3600)), callbacks.find("+2", at(0))), (None, None));
        callbacks.note("+2", "t", "b", at(4000));
        assert_eq!(callbacks.all().len(), 1);
    }

    #[test]
    fn what_was_kept_is_learnt_and_never_lasts_longer() {
        let mut before = Callbacks::default();
        before.note("+1", "t", "a", at(0));
        before.note("+2", "t", "b", at(3000));
        let mut callbacks = Callbacks::default();
        callbacks.note("+2", "t", "c", at(3500));
        callbacks.learn(before.all(), at(3500));
        let caller = |number: &str| callbacks.find(number, at(3500)).unwrap().caller.clone();
        assert_eq!([caller("+1"), caller("+2")], ["a", "c"]);
        let mut set_back = Callbacks::default();
        set_back.learn(before.all(), at(0));
        assert_eq!(set_back.find("+2", at(3600)), None);
    }

    #[test]
    fn they_are_bounded() {
        let mut callbacks = Callbacks::default();
        for n in 0..MOST as u64 + 10 {
            callbacks.note(&format!("+{n}"), "t", "a", at(n / 10));
        }
        assert_eq!(callbacks.all().len(), MOST);
        assert!(callbacks.find(&format!("+{}", MOST + 9), at(1000)).is_some());
    }
}
